//! A [`Site`] on ports of its own: one thread accepts, one thread a connection serves it and ends with it.
//!
//! Each connection has one request and one answer under absolute deadlines: bytes that drip do not move them. Threads are
//! bounded; where all are taken, whoever dawdles over a request (or over taking an answer) makes room for who comes now,
//! and if nobody dawdles the newcomer gets 503 at once. A few places are for loopback alone.

mod channel;
mod connection;
mod slots;
mod stats;
mod tls;

use std::collections::VecDeque;
use std::io::{self, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use gmetad_core::serve;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};
use parking_lot::Mutex;

use connection::Connection;
use slots::{Admission, Slots};
pub use stats::ServerStats;
pub use tls::{Tls, TlsError};

use crate::response::Response;
use crate::site::Site;

/// The stack of a connection's thread; pages are made on it. Only what is touched costs memory.
const STACK: usize = 1 << 20;
/// Connections that got 503 and are given a moment to read it before they are closed; the oldest is closed for the next.
const LEAVING: usize = 256;
/// How long that moment is.
const MOMENT: Duration = Duration::from_secs(1);
/// How long accepting rests when the system has no descriptors or threads left.
const REST: Duration = Duration::from_millis(100);

/// How a server serves. The defaults are for a page that people and a few programs look at.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// Where it listens. `[::]` takes IPv4 too; port 0 takes a free one.
    pub listen: Vec<SocketAddr>,
    /// Connections served at once, each by a thread.
    pub threads: usize,
    /// How many of those are for loopback alone; less than `threads`.
    pub reserved: usize,
    /// Connections of one address at once (of one /64 with IPv6); loopback has no such bound.
    pub per_address: usize,
    /// From the connection to the end of the request's head, with the handshake of TLS.
    pub head: Duration,
    /// From there to the end of its body.
    pub body: Duration,
    /// For sending the answer.
    pub answer: Duration,
    /// TLS, and nothing else, if there is a certificate.
    pub tls: Option<Arc<Tls>>,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            listen: Vec::new(),
            threads: 64,
            reserved: 4,
            per_address: 16,
            head: Duration::from_secs(10),
            body: Duration::from_secs(10),
            answer: Duration::from_secs(30),
            tls: None,
        }
    }
}

/// Why a server does not start.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// An address that cannot be bound.
    #[error("cannot listen on {address}: {error}: choose another port or address, or stop what listens there")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The system's reason.
        error: io::Error,
    },
    /// Threads or descriptors ran out.
    #[error("cannot start serving: {0}")]
    Start(#[from] io::Error),
}

/// A site that is served. Dropped, it stops.
#[derive(Debug)]
pub struct Server {
    addresses: Vec<SocketAddr>,
    shared: Arc<Shared>,
    waker: Waker,
    acceptor: Option<JoinHandle<()>>,
}

/// What all threads of a server have.
pub(crate) struct Shared {
    site: Site,
    options: ServerOptions,
    slots: Mutex<Slots<Arc<TcpStream>>>,
    stats: Arc<ServerStats>,
    stop: AtomicBool,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("options", &self.options).finish_non_exhaustive()
    }
}

impl Server {
    /// Listens and serves.
    ///
    /// # Errors
    /// [`ServerError`]: an address is taken, or the system has no threads left.
    pub fn start(site: Site, options: ServerOptions) -> Result<Self, ServerError> {
        let mut listeners = Vec::new();
        for &address in &options.listen {
            let listener = serve::bind(address).map_err(|error| ServerError::Listen { address, error })?;
            listeners.push(listener);
        }
        let addresses = listeners.iter().map(TcpListener::local_addr).collect::<io::Result<_>>()?;
        let poll = Poll::new()?;
        for (index, listener) in listeners.iter().enumerate() {
            use std::os::fd::AsRawFd;
            poll.registry().register(&mut SourceFd(&listener.as_raw_fd()), Token(index), Interest::READABLE)?;
        }
        let waker = Waker::new(poll.registry(), Token(listeners.len()))?;
        let slots = Mutex::new(Slots::new(options.threads, options.reserved, options.per_address));
        let shared = Arc::new(Shared { site, options, slots, stats: Arc::default(), stop: AtomicBool::new(false) });
        let acceptor = {
            let shared = Arc::clone(&shared);
            thread::Builder::new()
                .name("http-accept".to_owned())
                .spawn(move || accept_all(&shared, poll, &listeners))?
        };
        Ok(Self { addresses, shared, waker, acceptor: Some(acceptor) })
    }

    /// Where it listens, in the order of [`ServerOptions::listen`].
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// What it counts.
    pub fn stats(&self) -> &Arc<ServerStats> {
        &self.shared.stats
    }

    /// Closes the ports, lets answers that are under way be sent for `patience`, and cuts off the rest. True if every
    /// thread ended.
    pub fn stop(mut self, patience: Duration) -> bool {
        self.end(patience)
    }

    fn end(&mut self, patience: Duration) -> bool {
        let Some(acceptor) = self.acceptor.take() else { return true };
        self.shared.stop.store(true, Ordering::Release);
        let _ = self.waker.wake();
        let _ = acceptor.join();
        let until = Instant::now() + patience;
        while self.shared.slots.lock().len() > 0 && Instant::now() < until {
            thread::sleep(Duration::from_millis(5));
        }
        for stream in self.shared.slots.lock().handles() {
            let _ = stream.shutdown(Shutdown::Both);
        }
        // Cut off, a thread needs no longer than its page does.
        let until = Instant::now() + MOMENT;
        while self.shared.slots.lock().len() > 0 && Instant::now() < until {
            thread::sleep(Duration::from_millis(5));
        }
        self.shared.slots.lock().len() == 0
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end(Duration::ZERO);
    }
}

fn accept_all(shared: &Arc<Shared>, mut poll: Poll, listeners: &[TcpListener]) {
    let mut events = Events::with_capacity(16);
    let mut leaving: VecDeque<(Instant, TcpStream)> = VecDeque::new();
    loop {
        let timeout = leaving.front().map(|(until, _)| until.saturating_duration_since(Instant::now()));
        if let Err(error) = poll.poll(&mut events, timeout)
            && error.kind() != io::ErrorKind::Interrupted
        {
            log::error!("waiting for connections failed: {error}");
            thread::sleep(REST);
        }
        if shared.stop.load(Ordering::Acquire) {
            return;
        }
        let now = Instant::now();
        while leaving.front().is_some_and(|(until, _)| *until <= now) {
            leaving.pop_front();
        }
        for listener in listeners {
            while let Some((stream, peer)) = accept(shared, listener) {
                if let Some(refused) = admit(shared, stream, peer) {
                    leaving.push_back((Instant::now() + MOMENT, refused));
                    if leaving.len() > LEAVING {
                        leaving.pop_front();
                    }
                }
            }
        }
    }
}

/// The next connection, if one waits.
fn accept(shared: &Shared, listener: &TcpListener) -> Option<(TcpStream, SocketAddr)> {
    loop {
        match listener.accept() {
            Ok(accepted) => return Some(accepted),
            Err(error) if matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
            Err(error) => {
                // Out of descriptors, most likely: those that are served give theirs back.
                shared.stats.failed(&error);
                thread::sleep(REST);
                return None;
            }
        }
        if shared.stop.load(Ordering::Acquire) {
            return None;
        }
    }
}

/// Has a connection served, or gives it back with 503 written.
fn admit(shared: &Arc<Shared>, stream: TcpStream, peer: SocketAddr) -> Option<TcpStream> {
    shared.stats.accepted.add(1);
    let stream = Arc::new(stream);
    let admission = shared.slots.lock().admit(peer.ip(), Instant::now(), &stream);
    let slot = match admission {
        Admission::Taken(slot) => slot,
        Admission::Instead(slot, of) => {
            shared.stats.crowded_out.add(1);
            let _ = of.shutdown(Shutdown::Both);
            slot
        }
        Admission::Full => {
            shared.stats.refused.add(1);
            return refuse(shared, stream);
        }
    };
    let connection = Connection::new(Arc::clone(shared), slot, peer, Arc::clone(&stream));
    let spawned = thread::Builder::new().name("http".to_owned()).stack_size(STACK).spawn(move || connection.serve());
    if let Err(error) = spawned {
        // The connection, dropped with the closure, has given its slot back.
        shared.stats.failed(&error);
        return refuse(shared, stream);
    }
    None
}

/// Writes 503 if the client can take it at once. Who began with TLS understands nothing and is closed.
fn refuse(shared: &Shared, stream: Arc<TcpStream>) -> Option<TcpStream> {
    let stream = Arc::into_inner(stream).filter(|_| shared.options.tls.is_none())?;
    let response = Response::text(503, "Too many connections: try again in a moment.\n").header("Retry-After", "1");
    let _ = stream.set_nonblocking(true);
    let _ = (&stream).write(&shared.site.word(None, response).render(1, true));
    let _ = stream.shutdown(Shutdown::Write);
    Some(stream)
}
