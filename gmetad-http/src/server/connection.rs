//! One connection: a request is read, the site asked, its answer written.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::{ServerConnection, StreamOwned};

use super::Shared;
use super::channel::{Channel, Timed};
use super::slots::Phase;
use crate::response::Response;

/// Bytes read at once; a request of a browser is about 1 kB.
const PIECE: usize = 4096;
/// What a client sends after its request (or after a refusal) is thrown away for so long and so many bytes: closed with
/// unread bytes, a socket takes the answer with it.
const LEFT: (Duration, usize) = (Duration::from_secs(1), 1 << 16);
/// The first byte of TLS: a handshake record.
const HANDSHAKE: u8 = 22;

/// A connection that has its slot; dropped, it gives it back.
pub(super) struct Connection {
    shared: Arc<Shared>,
    slot: u64,
    peer: SocketAddr,
    stream: Arc<TcpStream>,
    accepted: Instant,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.shared.slots.lock().free(self.slot);
    }
}

impl Connection {
    pub(super) fn new(shared: Arc<Shared>, slot: u64, peer: SocketAddr, stream: Arc<TcpStream>) -> Self {
        Self { shared, slot, peer, stream, accepted: Instant::now() }
    }

    pub(super) fn serve(self) {
        match self.converse_with_or_without_tls() {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::TimedOut => self.shared.stats.timed_out.add(1),
            // Clients go away in many ways; none is news.
            Err(error) => log::debug!("HTTP connection of {}: {error}", self.peer),
        }
    }

    fn converse_with_or_without_tls(&self) -> io::Result<()> {
        // Linux does not hand O_NONBLOCK on to accepted sockets, others do.
        self.stream.set_nonblocking(false)?;
        self.stream.set_nodelay(true)?;
        let options = &self.shared.options;
        let mut socket = Timed::new(Arc::clone(&self.stream), self.accepted + options.head);
        let Some(tls) = &options.tls else { return self.converse(socket) };
        match socket.first()? {
            None => Ok(()),
            Some(HANDSHAKE) => {
                let session = ServerConnection::new(tls.config()).map_err(io::Error::other)?;
                let result = self.converse(StreamOwned::new(session, socket));
                if result.as_ref().is_err_and(|error| error.kind() == ErrorKind::InvalidData) {
                    self.shared.stats.handshakes_failed.add(1);
                }
                result
            }
            Some(_) => {
                let response = Response::text(400, "This port speaks TLS: ask for https:// instead of http://.\n");
                self.answer(&mut socket, &self.shared.site.word(None, response).render(1, true))
            }
        }
    }

    fn converse(&self, mut channel: impl Channel) -> io::Result<()> {
        let Some(reply) = self.read(&mut channel)? else { return Ok(()) };
        if matches!(reply.status, 400 | 405 | 411 | 413 | 431) {
            self.shared.stats.malformed.add(1);
        }
        if matches!(reply.status, 401 | 429) {
            self.shared.stats.unauthorised.add(1);
        }
        self.answer(&mut channel, &reply.bytes)?;
        self.shared.stats.answered.done(self.accepted.elapsed());
        Ok(())
    }

    /// The site's answer to what comes in; `None` for who closes without a byte, as port checks do.
    fn read(&self, channel: &mut impl Channel) -> io::Result<Option<crate::Reply>> {
        let site = &self.shared.site;
        let (mut received, mut in_body) = (Vec::with_capacity(PIECE), false);
        loop {
            let start = received.len();
            received.resize((start + PIECE).min(site.limit()), 0);
            let read = match channel.read(&mut received[start..]) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {
                    received.truncate(start);
                    continue;
                }
                // Ended without a farewell of TLS.
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => 0,
                other => other?,
            };
            received.truncate(start + read);
            let end = read == 0;
            if end && received.is_empty() {
                return Ok(None);
            }
            let ready = || self.shared.slots.lock().phase(self.slot, Phase::Page, Instant::now());
            if let Some(reply) = site.input_from(Some(self.peer.ip()), &received, end) {
                return Ok(ready().then_some(reply));
            }
            if !in_body && received[start.saturating_sub(3)..].windows(4).any(|end| end == b"\r\n\r\n") {
                in_body = true;
                channel.until(Instant::now() + self.shared.options.body);
            }
        }
    }

    fn answer(&self, channel: &mut impl Channel, bytes: &[u8]) -> io::Result<()> {
        let phase = |phase| self.shared.slots.lock().phase(self.slot, phase, Instant::now());
        phase(Phase::Answer);
        channel.until(Instant::now() + self.shared.options.answer);
        channel.write_all(bytes)?;
        channel.flush()?;
        phase(Phase::Leaving);
        let (time, mut most) = LEFT;
        channel.until(Instant::now() + time);
        channel.finish();
        let mut rest = [0; PIECE];
        while most > 0 {
            match channel.read(&mut rest) {
                Ok(0) | Err(_) => break,
                Ok(read) => most = most.saturating_sub(read),
            }
        }
        Ok(())
    }
}
