//! A source that sends what a test tells it to, well or badly.

use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// What one connection gets. Whatever it is, the connection is closed afterwards.
pub enum Reply {
    /// These bytes.
    Bytes(Vec<u8>),
    /// These bytes one by one, this far apart.
    Drip(Vec<u8>, Duration),
    /// Nothing, and no close, until the client leaves or the source is dropped.
    Silence,
    /// Whatever the function writes; an error (the client left) ends it.
    Stream(Box<Writing>),
}

/// A function that writes an answer itself.
pub type Writing = dyn FnOnce(&mut TcpStream) -> io::Result<()> + Send;

type Script = dyn Fn(usize) -> Reply + Send + Sync;

struct Shared {
    script: Box<Script>,
    polls: Mutex<Vec<Instant>>,
    stop: AtomicBool,
}

/// Listens on 127.0.0.1 and serves each connection in a thread of its own, until it is dropped.
pub struct FakeGmond {
    address: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

impl FakeGmond {
    /// Sends the same bytes at each poll.
    pub fn serving(bytes: impl Into<Vec<u8>>) -> Self {
        let bytes = bytes.into();
        Self::scripted(move |_| Reply::Bytes(bytes.clone()))
    }

    /// Sends `document` with its clocks moved to the present at each poll.
    pub fn serving_now(document: impl Into<Vec<u8>>) -> Self {
        let document = document.into();
        Self::scripted(move |_| Reply::Bytes(super::document::at_time(&document, super::now())))
    }

    /// Accepts and says nothing.
    pub fn silent() -> Self {
        Self::scripted(|_| Reply::Silence)
    }

    /// Does at the n-th connection (from 0) what `script(n)` says.
    pub fn scripted(script: impl Fn(usize) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let shared =
            Arc::new(Shared { script: Box::new(script), polls: Mutex::default(), stop: AtomicBool::new(false) });
        let of_thread = Arc::clone(&shared);
        let acceptor = thread::spawn(move || accept_all(&listener, &of_thread));
        Self { address, shared, acceptor: Some(acceptor) }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Connections so far.
    pub fn polls(&self) -> usize {
        self.shared.polls.lock().unwrap().len()
    }

    /// Waits for `count` more connections.
    pub fn wait_polls(&self, count: usize) {
        let goal = self.polls() + count;
        super::wait_until(&format!("{count} more polls"), super::SOON * 3, || self.polls() >= goal);
    }

    /// The longest time without a connection between `since` and now.
    pub fn longest_gap(&self, since: Instant) -> Duration {
        let polls = self.shared.polls.lock().unwrap();
        let before = polls.iter().copied().rfind(|poll| *poll <= since).unwrap_or(since);
        let mut marks = vec![before];
        marks.extend(polls.iter().copied().filter(|poll| *poll > since));
        marks.push(Instant::now());
        marks.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap()
    }
}

impl Drop for FakeGmond {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.address);
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

fn accept_all(listener: &TcpListener, shared: &Arc<Shared>) {
    for stream in listener.incoming() {
        if shared.stop.load(Ordering::Relaxed) {
            return;
        }
        let Ok(mut stream) = stream else { continue };
        let number = {
            let mut polls = shared.polls.lock().unwrap();
            polls.push(Instant::now());
            polls.len() - 1
        };
        let shared = Arc::clone(shared);
        // Detached: it ends with its connection, or at the next look at `stop`.
        thread::spawn(move || {
            let reply = (shared.script)(number);
            let _ = send(reply, &mut stream, &shared.stop);
        });
    }
}

fn send(reply: Reply, stream: &mut TcpStream, stop: &AtomicBool) -> io::Result<()> {
    match reply {
        Reply::Bytes(bytes) => stream.write_all(&bytes),
        Reply::Drip(bytes, pause) => {
            for byte in bytes {
                stream.write_all(&[byte])?;
                if idle(stream, pause, stop) {
                    break;
                }
            }
            Ok(())
        }
        Reply::Silence => {
            while !idle(stream, Duration::from_secs(3600), stop) {}
            Ok(())
        }
        Reply::Stream(write) => write(stream),
    }
}

/// Lets `pause` go by; true as soon as the client has left or the source is to stop.
fn idle(stream: &TcpStream, pause: Duration, stop: &AtomicBool) -> bool {
    let end = Instant::now() + pause;
    while let Some(left) = end.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
        stream.set_read_timeout(Some(left.min(Duration::from_millis(100)))).unwrap();
        let waiting = |error: &io::Error| matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut);
        match io::Read::read(&mut &*stream, &mut [0]) {
            Err(error) if waiting(&error) && !stop.load(Ordering::Relaxed) => {}
            _ => return true,
        }
    }
    false
}

/// A port whose connections are reset: they wait in the queue of a listener that is closed every 200 ms.
///
/// std cannot make a close abortive; a listener going away with unaccepted connections does the same to the client.
pub struct ResettingGmond {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl ResettingGmond {
    pub fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, super::free_port())).unwrap();
        let address = listener.local_addr().unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let of_thread = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let mut listener = Some(listener);
            while !of_thread.load(Ordering::Relaxed) {
                thread::sleep(Duration::from_millis(200));
                drop(listener.take());
                listener = TcpListener::bind(address).ok();
            }
        });
        Self { address, stop, thread: Some(thread) }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for ResettingGmond {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
