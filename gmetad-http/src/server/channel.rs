//! A socket whose reads and writes end at a moment, and the same with TLS around it.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::{ServerConnection, StreamOwned};

/// What a connection talks through.
pub(super) trait Channel: Read + Write {
    /// From now on everything ends there.
    fn until(&mut self, deadline: Instant);

    /// No more is sent.
    fn finish(&mut self);
}

/// A socket with a moment after which every call is [`io::ErrorKind::TimedOut`].
pub(super) struct Timed {
    stream: Arc<TcpStream>,
    deadline: Instant,
}

impl Timed {
    pub(super) fn new(stream: Arc<TcpStream>, deadline: Instant) -> Self {
        Self { stream, deadline }
    }

    /// Looks at the first byte without taking it.
    pub(super) fn first(&self) -> io::Result<Option<u8>> {
        self.stream.set_read_timeout(Some(self.left()?))?;
        let mut byte = [0];
        Ok((self.stream.peek(&mut byte)? == 1).then_some(byte[0]))
    }

    fn left(&self) -> io::Result<Duration> {
        let left = self.deadline.checked_duration_since(Instant::now()).filter(|left| !left.is_zero());
        left.ok_or_else(|| io::ErrorKind::TimedOut.into())
    }
}

/// What the system says when a socket's own timeout passed.
fn timed_out<T>(result: io::Result<T>) -> io::Result<T> {
    result
        .map_err(|error| if error.kind() == io::ErrorKind::WouldBlock { io::ErrorKind::TimedOut.into() } else { error })
}

impl Read for Timed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(Some(self.left()?))?;
        timed_out((&*self.stream).read(buffer))
    }
}

impl Write for Timed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(Some(self.left()?))?;
        timed_out((&*self.stream).write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Channel for Timed {
    fn until(&mut self, deadline: Instant) {
        self.deadline = deadline;
    }

    fn finish(&mut self) {
        let _ = self.stream.shutdown(std::net::Shutdown::Write);
    }
}

impl Channel for StreamOwned<ServerConnection, Timed> {
    fn until(&mut self, deadline: Instant) {
        self.sock.deadline = deadline;
    }

    fn finish(&mut self) {
        self.conn.send_close_notify();
        let _ = self.flush();
        self.sock.finish();
    }
}
