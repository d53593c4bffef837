//! The ports: one loop accepts and answers what is small, workers write what is long.
//!
//! A port is a [`Service`]; it makes a [`Session`] for each connection, which turns bytes into a [`Body`]. None of
//! them does I/O. Long answers are made piece by piece as the client takes them, in turn by bytes.

mod access;
mod event_loop;
mod gzip;
mod http;
mod requests;
mod xml_ports;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

pub use access::AccessList;
use event_loop::{EventLoop, Inbox};
pub use gzip::{Gzip, gzip};
pub use http::{accepts_gzip, has_tag};
pub use requests::{Asked, Requests};
pub use xml_ports::{InteractivePort, StatusPage, XmlPort};

use crate::limits;
use crate::source::Stop;
use crate::stats::Stats;
pub use crate::xml::Progress;

/// What a port does.
pub trait Service: Send + Sync {
    /// A connection was accepted.
    fn open(&self, peer: SocketAddr) -> Box<dyn Session>;
    /// Who may connect; others are closed without a byte.
    fn allows(&self, peer: IpAddr) -> bool;
}

/// One connection that has not been answered yet.
pub trait Session: Send {
    /// Looks at everything received so far. `end` tells that the client sends no more.
    fn input(&mut self, received: &[u8], end: bool) -> Step;
    /// How many bytes of a request are read at most.
    fn limit(&self) -> usize {
        limits::REQUEST_BYTES + 1
    }
}

/// What a session wants.
pub enum Step {
    /// More bytes.
    Read,
    /// To answer, and then to close.
    Answer(Box<dyn Body>),
    /// To close without a byte.
    Close,
}

/// An answer, made as the client takes it.
pub trait Body: Send {
    /// Appends about `budget` bytes.
    fn fill(&mut self, out: &mut Vec<u8>, budget: usize) -> Progress;
    /// Whether making it is work: after its first piece it goes on in a dump worker, however short it may be.
    fn costly(&self) -> bool {
        false
    }
    /// The answer was sent whole, `time` after the connection was accepted.
    fn sent(&mut self, time: Duration) {
        let _ = time;
    }
}

/// An answer that is short and complete.
impl Body for Vec<u8> {
    fn fill(&mut self, out: &mut Vec<u8>, _budget: usize) -> Progress {
        out.append(self);
        Progress::Done
    }
}

/// Why the ports could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("tcp_listen() on {port} failed: {address}: {error}")]
pub struct ListenError {
    /// The directive of the port.
    pub port: String,
    /// Where it should have listened.
    pub address: SocketAddr,
    /// Why it does not.
    pub error: io::Error,
}

/// A bound port that is not served yet.
pub struct Listener {
    socket: std::net::TcpListener,
    service: Arc<dyn Service>,
}

impl Listener {
    /// Binds `address`. `[::]` takes IPv4 too; where the system has no IPv6, `0.0.0.0` is bound instead. Port 0 takes
    /// a free one. `port` is the directive's name, for the error.
    ///
    /// # Errors
    /// [`ListenError`] with the system's reason.
    pub fn bind(port: &str, address: SocketAddr, service: Arc<dyn Service>) -> Result<Self, ListenError> {
        match bind(address) {
            Ok(socket) => Ok(Self { socket, service }),
            Err(error) => Err(ListenError { port: port.to_owned(), address, error }),
        }
    }

    pub(crate) fn service(&self) -> Arc<dyn Service> {
        Arc::clone(&self.service)
    }

    /// The same socket once more.
    pub(crate) fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { socket: self.socket.try_clone()?, service: Arc::clone(&self.service) })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }
}

/// A socket that listens and does not block, under the rules of [`Listener::bind`]; for servers that do not serve
/// [`Service`]s.
///
/// # Errors
/// The system's reason.
pub fn bind(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    listening(address).or_else(|error| match address {
        SocketAddr::V6(v6) if v6.ip().is_unspecified() && error.kind() != io::ErrorKind::AddrInUse => {
            listening(SocketAddr::from(([0, 0, 0, 0], v6.port())))
        }
        _ => Err(error),
    })
}

fn listening(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() && address.ip().is_unspecified() {
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    // Accepted sockets have it from the listener. Without it the kernel takes up to 4 MB ahead for each slow reader.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let _ = socket.set_tcp_notsent_lowat(limits::UNSENT_BYTES);
    socket.bind(&address.into())?;
    socket.listen(1024)?;
    Ok(socket.into())
}

/// The running threads of the ports.
pub struct Server {
    stop: Stop,
    wakers: Vec<Arc<Inbox>>,
    threads: Vec<JoinHandle<()>>,
}

impl Server {
    /// Serves all listeners: one loop, and [`limits::DUMP_WORKERS`] workers for long answers.
    ///
    /// # Errors
    /// The system has no threads or descriptors left.
    pub fn start(listeners: Vec<Listener>, stats: &Arc<Stats>) -> io::Result<Self> {
        let stop = Stop::default();
        let connections = Arc::new(AtomicUsize::new(0));
        let mut server = Self { stop: stop.clone(), wakers: Vec::new(), threads: Vec::new() };
        let mut workers = Vec::new();
        for n in 0..limits::DUMP_WORKERS {
            let worker = EventLoop::new(&stop, stats, &connections)?;
            workers.push(worker.inbox());
            server.spawn(format!("dump {n}"), worker)?;
        }
        let mut main = EventLoop::new(&stop, stats, &connections)?;
        for listener in listeners {
            main.listen(listener.socket, listener.service)?;
        }
        main.hand_over_to(workers);
        server.spawn("serve".to_owned(), main)?;
        Ok(server)
    }

    fn spawn(&mut self, name: String, event_loop: EventLoop) -> io::Result<()> {
        self.wakers.push(event_loop.inbox());
        self.threads.push(thread::Builder::new().name(name).spawn(move || event_loop.run())?);
        Ok(())
    }

    /// Closes the ports and all connections. The threads, which end in a moment, are the caller's to wait for.
    #[must_use]
    pub fn close(self) -> Vec<JoinHandle<()>> {
        self.stop.stop();
        self.wakers.iter().for_each(|inbox| inbox.wake());
        self.threads
    }
}
