//! The protocol of rrdcached as a server, for whatever is [`Cached`].
//!
//! rrdtool, and with it ganglia-web, sees the points that wait for their files through `--daemon` or
//! `RRDCACHED_ADDRESS`; so graphs are up to date without a write before each of them. rrdtool 1.7.2 sends FETCH for
//! `fetch`, `graph` and `xport`, `flush` for what reads the file itself (`lastupdate`, `dump`, `flushcached`), `flush` and
//! `info` for `info`, and `first`, `last`, `update`; nothing else that is served here.
//!
//! Whoever may connect may read and flush. Points are taken only from local users whose files these are: UPDATE, and BATCH
//! with it, need a unix socket and our user or root behind it, unless [`Updates::All`].
//!
//! Each connection has a thread, so that a client that reads slowly, or a FLUSH that waits for a disk, holds nobody else.
//!
//! Different from rrdcached, on purpose: CREATE, FORGET, QUEUE, LIST, SUSPEND and their like are refused; the answers to
//! FETCH, INFO, FIRST and LAST have the waiting points in them; times of updates are whole seconds; an UPDATE with another
//! number of values than the file has is refused instead of lost later; FETCH times are decimal; too long lines and too many
//! connections are told.

mod client;
pub mod protocol;

use std::collections::HashMap;
use std::fs;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use gmetad_core::limits;
use gmetad_core::serve::AccessList;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{self, AddressFamily, Backlog, SockFlag, SockType, UnixAddr, sockopt};
use nix::unistd::geteuid;
use parking_lot::{Condvar, Mutex};

use self::client::{Client, Shared, Stream};
use self::protocol::Root;
use crate::cached::Cached;

pub use self::client::{LINE_BYTES, SMALL_FETCH, VALUES_UNDER_WAY};

/// Connections at once; over it a client is told so and the connection closed.
pub const CONNECTIONS: usize = 64;
/// Time a client has for its next whole line.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(300);
/// Time [`RrdSocket::stop`] waits for threads.
const STOP: Duration = Duration::from_secs(1);
/// Pause after a listener failed, which most often means that there are no descriptors left.
const PAUSE: u16 = 100; // milliseconds

/// Where to listen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listen {
    /// A unix socket at this path.
    Unix(PathBuf),
    /// A TCP address; port 0: any, see [`RrdSocket::addresses`].
    Tcp(SocketAddr),
}

/// Who may send UPDATE and BATCH.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Updates {
    /// Clients of a unix socket that run as our user or root.
    #[default]
    Own,
    /// All who may connect.
    All,
}

/// How an [`RrdSocket`] works.
#[derive(Debug, Clone)]
pub struct SocketOptions {
    /// Where to listen; each place must be usable.
    pub listen: Vec<Listen>,
    /// Root of the tree: relative paths begin there, and no path leaves it.
    pub root: PathBuf,
    /// Who may send points.
    pub updates: Updates,
    /// Who may connect by TCP. Others are closed without a word.
    pub access: AccessList,
    /// Permission bits of unix sockets; who may write to it may connect.
    pub mode: u32,
    /// Time a client has for its next whole line.
    pub idle: Duration,
    /// Time in which a client must take at least one byte of its answer.
    pub write: Duration,
}

impl SocketOptions {
    /// Listens nowhere yet; everybody on this machine may connect to unix sockets, nobody but this machine by TCP.
    pub fn new(root: PathBuf) -> Self {
        Self {
            listen: Vec::new(),
            root,
            updates: Updates::Own,
            access: AccessList::default(),
            mode: 0o666,
            idle: IDLE_TIMEOUT,
            write: limits::WRITE_TIMEOUT,
        }
    }
}

/// A running server. Dropping it stops it.
pub struct RrdSocket {
    shared: Arc<Shared>,
    clients: Arc<Clients>,
    access: Arc<Mutex<AccessList>>,
    addresses: Vec<SocketAddr>,
    /// Closing it wakes the listening thread.
    wake: Option<UnixStream>,
    thread: Option<JoinHandle<()>>,
}

impl RrdSocket {
    /// Listens and serves. The socket file of a server that ended without removing it is replaced.
    ///
    /// # Errors
    /// What the system said, with the place; [`ErrorKind::AddrInUse`] for a unix socket on which a server answers,
    /// [`ErrorKind::AlreadyExists`] for a file that is no socket. Nothing is left behind.
    pub fn start(options: SocketOptions, cached: Arc<dyn Cached>) -> io::Result<Self> {
        let given = std::path::absolute(&options.root)?;
        // A root that is not there yet has no other name.
        let real = fs::canonicalize(&given).unwrap_or_else(|_| given.clone());
        let shared = Arc::new(Shared {
            cached,
            root: Root::new(given, real),
            idle: options.idle,
            write: options.write,
            stop: AtomicBool::new(false),
            values: AtomicU64::new(0),
        });
        let listeners =
            options.listen.iter().map(|listen| Listener::new(listen, options.mode)).collect::<io::Result<Vec<_>>>()?;
        let addresses = listeners.iter().filter_map(Listener::address).collect();
        let (wake, woken) = UnixStream::pair()?;
        let clients = Arc::new(Clients::default());
        let access = Arc::new(Mutex::new(options.access));
        let door = Door {
            listeners,
            woken,
            shared: Arc::clone(&shared),
            clients: Arc::clone(&clients),
            updates: options.updates,
            access: Arc::clone(&access),
        };
        let thread = thread::Builder::new().name("rrd-socket".into()).spawn(move || door.run())?;
        Ok(Self { shared, clients, access, addresses, wake: Some(wake), thread: Some(thread) })
    }

    /// The TCP addresses listened on, in the order of the options.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Who may connect by TCP from now on; connections that are open stay.
    pub fn set_access(&self, access: AccessList) {
        *self.access.lock() = access;
    }

    /// Connections now.
    pub fn connections(&self) -> usize {
        self.clients.open.lock().len()
    }

    /// Closes all connections and removes the socket files. Returns how many clients' threads did not end within a
    /// second: such a thread is inside a call of [`Cached`] and ends after it.
    pub fn stop(mut self) -> usize {
        self.end()
    }

    fn end(&mut self) -> usize {
        let deadline = Instant::now() + STOP;
        self.shared.stop.store(true, Ordering::Relaxed);
        self.wake = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join(); // an Err is a panic, which the panic hook told
        }
        let mut open = self.clients.open.lock();
        open.values().for_each(|stream| stream.hang_up());
        while !open.is_empty() && !self.clients.ended.wait_until(&mut open, deadline).timed_out() {}
        open.len()
    }
}

impl Drop for RrdSocket {
    fn drop(&mut self) {
        self.end();
    }
}

/// The connections that have a thread.
#[derive(Default)]
struct Clients {
    open: Mutex<HashMap<u64, Arc<Stream>>>,
    ended: Condvar,
}

/// Takes a connection off the list, also if its thread panics.
struct Listed {
    clients: Arc<Clients>,
    number: u64,
}

impl Drop for Listed {
    fn drop(&mut self) {
        if let Some(stream) = self.clients.open.lock().remove(&self.number) {
            stream.hang_up();
        }
        self.clients.ended.notify_all();
    }
}

/// Who lets connections in.
struct Door {
    listeners: Vec<Listener>,
    woken: UnixStream,
    shared: Arc<Shared>,
    clients: Arc<Clients>,
    updates: Updates,
    access: Arc<Mutex<AccessList>>,
}

impl Door {
    fn run(self) {
        let mut number = 0;
        let mut failing = false;
        while !self.shared.stop.load(Ordering::Relaxed) {
            let mut fds = vec![PollFd::new(self.woken.as_fd(), PollFlags::POLLIN)];
            if !failing {
                fds.extend(self.listeners.iter().map(|listener| PollFd::new(listener.as_fd(), PollFlags::POLLIN)));
            }
            let timeout = if failing { PollTimeout::from(PAUSE) } else { PollTimeout::NONE };
            // An error is an interruption; with any other the pause is right too.
            let failed = poll(&mut fds, timeout).is_err();
            failing = false;
            for listener in &self.listeners {
                match listener.accept() {
                    Ok(stream) => {
                        number += 1;
                        failing |= self.let_in(stream, number).is_err();
                    }
                    Err(e) if e.kind() == ErrorKind::WouldBlock || e.kind() == ErrorKind::ConnectionAborted => {}
                    Err(e) if e.kind() == ErrorKind::Interrupted => {}
                    Err(e) => {
                        log::warn!("rrd_socket: cannot accept a connection: {e}");
                        failing = true;
                    }
                }
            }
            failing |= failed;
        }
    }

    fn let_in(&self, stream: Stream, number: u64) -> io::Result<()> {
        let own = match &stream {
            Stream::Tcp(tcp) => {
                let _ = tcp.set_nodelay(true); // slower without, not wrong
                // One that is gone already has no address.
                if !tcp.peer_addr().is_ok_and(|peer| self.access.lock().allows(peer.ip())) {
                    return Ok(());
                }
                false
            }
            Stream::Unix(unix) => socket::getsockopt(unix, sockopt::PeerCredentials)
                .is_ok_and(|peer| peer.uid() == 0 || peer.uid() == geteuid().as_raw()),
        };
        let stream = Arc::new(stream);
        {
            let mut open = self.clients.open.lock();
            if open.len() >= CONNECTIONS {
                drop(open);
                // Whether it can be told or not, it is closed.
                let _ =
                    stream.set_nonblocking(true).and_then(|()| stream.write(&protocol::error(b"Too many connections")));
                return Ok(());
            }
            open.insert(number, Arc::clone(&stream));
        }
        let listed = Listed { clients: Arc::clone(&self.clients), number };
        stream.set_nonblocking(false)?;
        let client = Client::new(Arc::clone(&self.shared), stream, own || self.updates == Updates::All);
        let thread = thread::Builder::new().name("rrd-client".into()).spawn(move || {
            let _listed = listed;
            let _ = client.run(); // the connection is closed, which is all there is to do
        });
        thread.map(drop).inspect_err(|e| log::warn!("rrd_socket: cannot start a thread for a client: {e}"))
    }
}

/// A listening socket that does not block.
enum Listener {
    Unix { listener: UnixListener, _file: SocketFile },
    Tcp(TcpListener),
}

/// A socket file of ours, removed with its listener.
struct SocketFile {
    path: PathBuf,
    /// Device and inode, to know it again.
    id: (u64, u64),
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if fs::symlink_metadata(&self.path).is_ok_and(|now| (now.dev(), now.ino()) == self.id) {
            let _ = fs::remove_file(&self.path); // one left is replaced at the next start
        }
    }
}

impl Listener {
    fn new(listen: &Listen, mode: u32) -> io::Result<Self> {
        match listen {
            Listen::Tcp(address) => {
                let listener = TcpListener::bind(address).map_err(|e| told(address, &e))?;
                listener.set_nonblocking(true)?;
                Ok(Self::Tcp(listener))
            }
            Listen::Unix(path) => {
                let wrong = |e: io::Error| told(&path.display(), &e);
                make_way(path).map_err(wrong)?;
                let address = UnixAddr::new(path).map_err(|e| wrong(e.into()))?;
                let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
                let fd = socket::socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
                socket::bind(fd.as_raw_fd(), &address).map_err(|e| wrong(e.into()))?;
                let made = fs::symlink_metadata(path).map_err(wrong)?;
                let file = SocketFile { path: path.clone(), id: (made.dev(), made.ino()) };
                // Nobody can connect before it listens, so the mode holds from the beginning.
                fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(wrong)?;
                socket::listen(&fd, Backlog::MAXCONN).map_err(|e| wrong(e.into()))?;
                Ok(Self::Unix { listener: UnixListener::from(fd), _file: file })
            }
        }
    }

    fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Unix { .. } => None,
            Self::Tcp(listener) => listener.local_addr().ok(),
        }
    }

    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Unix { listener, .. } => listener.as_fd(),
            Self::Tcp(listener) => listener.as_fd(),
        }
    }

    fn accept(&self) -> io::Result<Stream> {
        match self {
            Self::Unix { listener, .. } => listener.accept().map(|(stream, _)| Stream::Unix(stream)),
            Self::Tcp(listener) => listener.accept().map(|(stream, _)| Stream::Tcp(stream)),
        }
    }
}

/// Removes the socket file of a server that is no more.
fn make_way(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(e),
        Ok(found) if !found.file_type().is_socket() => {
            return Err(io::Error::new(ErrorKind::AlreadyExists, "a file that is no socket is in the way"));
        }
        Ok(_) => {}
    }
    match UnixStream::connect(path) {
        Ok(_) => Err(io::Error::new(ErrorKind::AddrInUse, "another server answers on this socket; stop it first")),
        Err(e) if e.kind() == ErrorKind::ConnectionRefused => fs::remove_file(path),
        Err(e) => Err(e),
    }
}

fn told(place: &dyn std::fmt::Display, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("rrd_socket: cannot listen on {place}: {error}"))
}
