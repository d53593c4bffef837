//! A connection to rrdcached. Every step ends: by its own timeout, and by the deadline of the call it is part of.

use std::io::{self, ErrorKind, Read};
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use gmetad_core::source::Resolver;
use nix::libc::{MSG_DONTWAIT, MSG_NOSIGNAL, MSG_PEEK};
use socket2::{Domain, SockAddr, Socket, Type};

use super::protocol::{self, Complaint};
use super::{Address, Timeouts};

/// Longest line of an answer in bytes: an error tells the path (4096 at most) and a sentence.
const MAX_ANSWER_LINE: usize = 16_384;

#[derive(Debug)]
pub(super) struct Connection {
    socket: Socket,
    local: bool,
    step: Duration,
    /// What was read and not yet used: from `used` on.
    buffer: Vec<u8>,
    used: usize,
}

impl Connection {
    pub(super) fn open(
        address: &Address,
        resolver: &Resolver,
        timeouts: Timeouts,
        deadline: Instant,
    ) -> io::Result<Self> {
        let connected = |socket, local| Self { socket, local, step: timeouts.step, buffer: Vec::new(), used: 0 };
        match address {
            Address::Unix(path) => {
                let socket = connect(Domain::UNIX, &SockAddr::unix(path)?, left(deadline, timeouts.connect)?)?;
                Ok(connected(socket, true))
            }
            Address::Tcp { host, port } => {
                let mut failed = io::Error::new(ErrorKind::NotFound, "the name has no address");
                for ip in resolver.resolve(host, left(deadline, timeouts.connect)?)? {
                    let at = SocketAddr::new(ip, *port);
                    match connect(Domain::for_address(at), &at.into(), left(deadline, timeouts.connect)?) {
                        Ok(socket) => {
                            socket.set_tcp_nodelay(true)?;
                            return Ok(connected(socket, ip.to_canonical().is_loopback()));
                        }
                        Err(e) => failed = e,
                    }
                }
                Err(failed)
            }
        }
    }

    /// Whether the other end is on this machine.
    pub(super) fn is_local(&self) -> bool {
        self.local
    }

    /// Whether it is closed, or has bytes nobody asked for. Does not block.
    pub(super) fn is_stale(&self) -> bool {
        let mut byte = [MaybeUninit::uninit()];
        let peeked = self.socket.recv_with_flags(&mut byte, MSG_PEEK | MSG_DONTWAIT);
        self.used < self.buffer.len() || !peeked.is_err_and(|e| e.kind() == ErrorKind::WouldBlock)
    }

    /// Sends `lines`, complete with the dot, as one BATCH of `count` commands and gives what rrdcached complained about.
    /// It answers only at the end, so that neither side waits for the other to read.
    pub(super) fn batch(&mut self, lines: &[u8], count: usize, deadline: Instant) -> io::Result<Vec<Complaint>> {
        self.send(b"BATCH\n", deadline)?;
        // Waited for: where BATCH is not allowed (`-P`), each line would be answered by itself.
        let line = self.line(deadline)?;
        match protocol::status(&line) {
            Some((0, _)) => {}
            _ => return Err(nonsense("BATCH", &line)),
        }
        self.send(lines, deadline)?;
        let line = self.line(deadline)?;
        let errors = match protocol::status(&line) {
            // Each command has an error of two lines at most.
            Some((errors, text)) if text.starts_with("error") => {
                usize::try_from(errors).ok().filter(|&n| n <= 2 * count)
            }
            _ => None,
        };
        let mut complaints: Vec<Complaint> = Vec::new();
        for _ in 0..errors.ok_or_else(|| nonsense("a batch", &line))? {
            let line = self.line(deadline)?;
            match (protocol::complaint(&line, count), complaints.last_mut()) {
                (Some(complaint), Some(last)) if complaint.command <= last.command => {
                    return Err(nonsense("a batch", &line)); // its errors come in the order of the commands
                }
                (Some(complaint), _) => complaints.push(complaint),
                // "Did you pass -R to the daemon?" is counted as an error of its own.
                (None, Some(last)) => last.text = format!("{} {line}", last.text),
                (None, None) => return Err(nonsense("a batch", &line)),
            }
        }
        Ok(complaints)
    }

    /// Sends one command outside a batch and gives the text of its status line, or the lines that follow it.
    /// The inner error is what rrdcached refused it with.
    pub(super) fn command(&mut self, line: &[u8], deadline: Instant) -> io::Result<Result<Vec<String>, String>> {
        self.send(line, deadline)?;
        let answer = self.line(deadline)?;
        match protocol::status(&answer) {
            Some((0, _)) => Ok(Ok(Vec::new())),
            Some((lines @ 1..=protocol::MAX_ANSWER_LINES, _)) => {
                (0..lines).map(|_| self.line(deadline)).collect::<io::Result<_>>().map(Ok)
            }
            Some((..0, text)) => Ok(Err(text.to_owned())),
            _ => Err(nonsense("a command", &answer)),
        }
    }

    fn send(&mut self, mut bytes: &[u8], deadline: Instant) -> io::Result<()> {
        while !bytes.is_empty() {
            self.socket.set_write_timeout(Some(left(deadline, self.step)?))?;
            match self.socket.send_with_flags(bytes, MSG_NOSIGNAL) {
                Ok(sent) => bytes = &bytes[sent..],
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(late(e, "it does not read what it is sent")),
            }
        }
        Ok(())
    }

    /// The next line, without its end.
    fn line(&mut self, deadline: Instant) -> io::Result<String> {
        let mut looked_at = self.used;
        loop {
            if let Some(length) = self.buffer[looked_at..].iter().position(|&b| b == b'\n') {
                let end = looked_at + length;
                let line = String::from_utf8_lossy(&self.buffer[self.used..end]).trim_end_matches('\r').to_owned();
                self.used = end + 1;
                return Ok(line);
            }
            self.buffer.drain(..self.used);
            self.used = 0;
            looked_at = self.buffer.len();
            if looked_at > MAX_ANSWER_LINE {
                return Err(io::Error::new(ErrorKind::InvalidData, "an answer without end: this is not rrdcached"));
            }
            self.buffer.resize(looked_at + 8192, 0);
            let read = self.read(looked_at, deadline);
            self.buffer.truncate(looked_at + read.as_ref().map_or(0, |&n| n));
            if read? == 0 {
                return Err(closed());
            }
        }
    }

    fn read(&mut self, at: usize, deadline: Instant) -> io::Result<usize> {
        loop {
            self.socket.set_read_timeout(Some(left(deadline, self.step)?))?;
            match self.socket.read(&mut self.buffer[at..]) {
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                other => return other.map_err(|e| late(e, "no answer in time")),
            }
        }
    }
}

fn connect(domain: Domain, at: &SockAddr, timeout: Duration) -> io::Result<Socket> {
    let socket = Socket::new(domain, Type::STREAM, None)?;
    socket.connect_timeout(at, timeout)?;
    Ok(socket)
}

/// What a step may take.
fn left(deadline: Instant, step: Duration) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now()).min(step);
    // Less would be no timeout at all to the system.
    if left < Duration::from_millis(1) {
        return Err(io::Error::new(ErrorKind::TimedOut, "no time left for the call as a whole"));
    }
    Ok(left)
}

fn closed() -> io::Error {
    io::Error::new(ErrorKind::UnexpectedEof, "it closed the connection")
}

/// A step's error, in words where the system's are of no use.
fn late(error: io::Error, text: &'static str) -> io::Error {
    match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => io::Error::new(ErrorKind::TimedOut, text),
        ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => closed(),
        _ => error,
    }
}

fn nonsense(to: &str, line: &str) -> io::Error {
    let line: String = line.chars().take(100).flat_map(char::escape_debug).collect();
    io::Error::new(ErrorKind::InvalidData, format!("its answer to {to} is \"{line}\""))
}
