//! The loop that moves bytes of connections. The same for the port thread and for the workers; a worker just has no
//! listeners and gets its connections from the port thread.

use std::collections::{HashMap, VecDeque};
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token, Waker};
use parking_lot::Mutex;

use super::{Body, Progress, Service, Session, Step};
use crate::limits;
use crate::source::Stop;
use crate::stats::Stats;

/// Wakes the loop.
const WAKE: Token = Token(usize::MAX);
/// How often deadlines are looked at.
const TICK: Duration = Duration::from_secs(1);
/// How long a client may take to close after it got its answer.
const LINGER: Duration = Duration::from_secs(2);

/// Connections that another loop hands over, and the way to wake the loop.
pub(super) struct Inbox {
    connections: Mutex<Vec<Connection>>,
    waker: Waker,
}

impl Inbox {
    pub(super) fn wake(&self) {
        let _ = self.waker.wake();
    }
}

pub(super) struct EventLoop {
    poll: Poll,
    inbox: Arc<Inbox>,
    listeners: Vec<(TcpListener, Arc<dyn Service>)>,
    connections: HashMap<usize, Connection>,
    /// Connections by age, for the one to close when there are too many. May name closed ones.
    oldest: VecDeque<usize>,
    /// Connections that can be written to, in turn.
    writable: VecDeque<usize>,
    next: usize,
    workers: Vec<Arc<Inbox>>,
    next_worker: usize,
    chunk: Vec<u8>,
    /// Connections of all loops together.
    total: Arc<AtomicUsize>,
    stats: Arc<Stats>,
    stop: Stop,
    /// Accepting failed for want of descriptors; try again then.
    accept_again: bool,
}

struct Connection {
    stream: TcpStream,
    peer: SocketAddr,
    state: State,
    accepted: Instant,
    /// When the client last took a byte of its answer.
    moved: Instant,
    /// Bytes that came after the request.
    discarded: usize,
    /// It is in the queue of those that can be written to.
    queued: bool,
}

enum State {
    Reading {
        session: Box<dyn Session>,
        received: Vec<u8>,
    },
    Writing {
        body: Box<dyn Body>,
        made: Progress,
        pending: Vec<u8>,
        sent: usize,
    },
    /// Answered; waits for the client to close, so that nothing on its way is lost.
    Lingering,
}

impl EventLoop {
    pub(super) fn new(stop: &Stop, stats: &Arc<Stats>, total: &Arc<AtomicUsize>) -> io::Result<Self> {
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), WAKE)?;
        Ok(Self {
            poll,
            inbox: Arc::new(Inbox { connections: Mutex::new(Vec::new()), waker }),
            listeners: Vec::new(),
            connections: HashMap::new(),
            oldest: VecDeque::new(),
            writable: VecDeque::new(),
            next: 0,
            workers: Vec::new(),
            next_worker: 0,
            chunk: Vec::with_capacity(limits::ANSWER_CHUNK + 4096),
            total: Arc::clone(total),
            stats: Arc::clone(stats),
            stop: stop.clone(),
            accept_again: false,
        })
    }

    pub(super) fn inbox(&self) -> Arc<Inbox> {
        Arc::clone(&self.inbox)
    }

    pub(super) fn listen(&mut self, socket: std::net::TcpListener, service: Arc<dyn Service>) -> io::Result<()> {
        let mut listener = TcpListener::from_std(socket);
        self.poll.registry().register(&mut listener, Token(self.listeners.len()), Interest::READABLE)?;
        self.listeners.push((listener, service));
        self.next = self.listeners.len();
        Ok(())
    }

    pub(super) fn hand_over_to(&mut self, workers: Vec<Arc<Inbox>>) {
        self.workers = workers;
    }

    pub(super) fn run(mut self) {
        let mut events = Events::with_capacity(1024);
        let mut ticked = Instant::now();
        while !self.stop.is_stopped() {
            // Without connections nothing has a deadline; a stop wakes us.
            let timeout = match () {
                () if !self.writable.is_empty() => Some(Duration::ZERO),
                () if self.connections.is_empty() && !self.accept_again => None,
                () => Some(TICK),
            };
            match self.poll.poll(&mut events, timeout) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    log::error!(target: "critical", "the ports cannot be served: {error}");
                    return;
                }
            }
            for event in &events {
                let token = event.token();
                if token == WAKE {
                    self.take_over();
                } else if token.0 < self.listeners.len() {
                    self.accept(token.0);
                } else {
                    if event.is_readable() || event.is_read_closed() || event.is_error() {
                        self.readable(token.0);
                    }
                    if event.is_writable() {
                        self.enqueue(token.0);
                    }
                }
            }
            // Each gets one piece before any gets its second: fair by bytes.
            for _ in 0..self.writable.len().min(64) {
                let Some(id) = self.writable.pop_front() else { break };
                self.write(id);
            }
            if ticked.elapsed() >= TICK {
                ticked = Instant::now();
                self.tick();
            }
        }
    }

    fn accept(&mut self, listener: usize) {
        loop {
            let (stream, peer) = match self.listeners[listener].0.accept() {
                Ok(accepted) => accepted,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if matches!(error.raw_os_error(), Some(EMFILE | ENFILE)) => {
                    // Descriptors come back when connections close; the event will not.
                    self.accept_again = true;
                    if !self.close_oldest() {
                        return;
                    }
                    continue;
                }
                // The client was gone already.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => continue,
                Err(error) => {
                    // No memory, no network: it may last, so no trying in circles.
                    log::debug!("server_thread() cannot accept: {error}");
                    self.accept_again = true;
                    return;
                }
            };
            self.stats.accepted.add(1);
            let service = &self.listeners[listener].1;
            if !service.allows(peer.ip()) {
                log::debug!("server_thread() {} tried to connect and is not a trusted host", peer.ip().to_canonical());
                self.stats.untrusted.add(1);
                continue;
            }
            let session = service.open(peer);
            let _ = stream.set_nodelay(true);
            if self.total.fetch_add(1, Ordering::Relaxed) >= limits::CONNECTIONS {
                self.close_oldest();
            }
            let now = Instant::now();
            let state = State::Reading { session, received: Vec::new() };
            let id =
                self.add(Connection { stream, peer, state, accepted: now, moved: now, discarded: 0, queued: false });
            // Ports that answer without a request do so now.
            if let Some(id) = id {
                self.ask(id, false);
            }
        }
    }

    fn add(&mut self, mut connection: Connection) -> Option<usize> {
        let id = self.next;
        // Skips what a long-lived connection still has, should the numbers ever wrap.
        self.next = if id >= usize::MAX - 2 { self.listeners.len() } else { id + 1 };
        let interest = Interest::READABLE | Interest::WRITABLE;
        if let Err(error) = self.poll.registry().register(&mut connection.stream, Token(id), interest) {
            log::warn!("cannot serve {}: {error}", connection.peer);
            self.total.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        self.connections.insert(id, connection);
        self.oldest.push_back(id);
        Some(id)
    }

    fn take_over(&mut self) {
        let handed = std::mem::take(&mut *self.inbox.connections.lock());
        for connection in handed {
            if let Some(id) = self.add(connection) {
                self.enqueue(id);
            }
        }
        // Connections beyond the cap end here if they were handed over: the port loop can close only its own.
        while self.total.load(Ordering::Relaxed) > limits::CONNECTIONS && self.close_oldest() {}
    }

    fn enqueue(&mut self, id: usize) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        if matches!(connection.state, State::Writing { .. }) && !std::mem::replace(&mut connection.queued, true) {
            self.writable.push_back(id);
        }
    }

    fn readable(&mut self, id: usize) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let mut buffer = [0; 4096];
        let mut end = false;
        loop {
            let room = match &connection.state {
                State::Reading { session, received } => {
                    session.limit().saturating_sub(received.len()).min(buffer.len())
                }
                // What comes after the request is thrown away.
                State::Writing { .. } | State::Lingering => buffer.len(),
            };
            if room == 0 {
                break;
            }
            match connection.stream.read(&mut buffer[..room]) {
                Ok(0) => {
                    end = true;
                    break;
                }
                Ok(n) => match &mut connection.state {
                    State::Reading { received, .. } => received.extend_from_slice(&buffer[..n]),
                    // What it sends wins it no time, and whoever sends without end is no client.
                    State::Writing { .. } | State::Lingering => {
                        connection.discarded += n;
                        if connection.discarded > limits::DISCARDED_BYTES {
                            self.close(id);
                            return;
                        }
                    }
                },
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => {
                    self.close(id);
                    return;
                }
            }
        }
        match (&connection.state, end) {
            (State::Reading { .. }, _) => self.ask(id, end),
            (State::Lingering, true) => self.close(id),
            _ => {}
        }
    }

    /// Lets the session look at what it received.
    fn ask(&mut self, id: usize, end: bool) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let State::Reading { session, received } = &mut connection.state else { return };
        let fresh = received.is_empty() && !end && session.limit() > 0;
        if fresh {
            return;
        }
        match guarded("a request", || session.input(received, end)).unwrap_or(Step::Close) {
            Step::Read if end => self.close(id),
            Step::Read => {}
            Step::Close => self.close(id),
            Step::Answer(body) => {
                connection.state = State::Writing { body, made: Progress::More, pending: Vec::new(), sent: 0 };
                self.write(id);
            }
        }
    }

    /// Sends one piece.
    fn write(&mut self, id: usize) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        connection.queued = false;
        let State::Writing { body, made, pending, sent } = &mut connection.state else { return };
        self.chunk.clear();
        // Its memory goes, too: the next rest is often a small one.
        self.chunk.extend_from_slice(&std::mem::take(pending));
        if self.chunk.len() < limits::ANSWER_CHUNK && *made == Progress::More {
            let budget = limits::ANSWER_CHUNK - self.chunk.len();
            match guarded("an answer", || body.fill(&mut self.chunk, budget)) {
                Some(progress) => *made = progress,
                None => return self.close(id),
            }
        }
        let mut written = 0;
        while written < self.chunk.len() {
            match connection.stream.write(&self.chunk[written..]) {
                Ok(0) => break,
                Ok(n) => {
                    written += n;
                    connection.moved = Instant::now();
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => {
                    log::debug!("server_thread() unable to write XML tree info to {}: {error}", connection.peer.ip());
                    self.close(id);
                    return;
                }
            }
        }
        *sent += written;
        if written < self.chunk.len() {
            // The socket is full: the rest waits for its event.
            *pending = self.chunk[written..].to_vec();
            return;
        }
        if *made == Progress::Done {
            body.sent(connection.accepted.elapsed());
            connection.state = State::Lingering;
            connection.moved = Instant::now();
            let _ = connection.stream.shutdown(Shutdown::Write);
            self.readable(id);
            return;
        }
        if (*sent >= limits::SMALL_ANSWER || body.costly()) && !self.workers.is_empty() {
            self.hand_over(id);
        } else {
            self.enqueue(id);
        }
    }

    fn hand_over(&mut self, id: usize) {
        let Some(mut connection) = self.connections.remove(&id) else { return };
        let _ = self.poll.registry().deregister(&mut connection.stream);
        self.next_worker = (self.next_worker + 1) % self.workers.len();
        let worker = &self.workers[self.next_worker];
        worker.connections.lock().push(connection);
        worker.wake();
    }

    fn tick(&mut self) {
        let now = Instant::now();
        let late: Vec<usize> = self
            .connections
            .iter()
            .filter(|(_, c)| match c.state {
                State::Reading { .. } => now - c.accepted >= limits::REQUEST_TIMEOUT,
                State::Writing { .. } => {
                    now - c.moved >= limits::WRITE_TIMEOUT || now - c.accepted >= limits::ANSWER_TIMEOUT
                }
                State::Lingering => now - c.moved >= LINGER,
            })
            .map(|(id, _)| *id)
            .collect();
        for id in late {
            if self.connections.get(&id).is_some_and(|c| !matches!(c.state, State::Lingering)) {
                self.stats.timed_out.add(1);
            }
            self.close(id);
        }
        let known = &self.connections;
        self.oldest.retain(|id| known.contains_key(id));
        if std::mem::take(&mut self.accept_again) {
            (0..self.listeners.len()).for_each(|listener| self.accept(listener));
        }
    }

    /// Makes room: closes the oldest connection that waits for its request, else the oldest one of this loop.
    fn close_oldest(&mut self) -> bool {
        while self.oldest.front().is_some_and(|id| !self.connections.contains_key(id)) {
            self.oldest.pop_front();
        }
        let idle = |id: &&usize| self.connections.get(id).is_some_and(|c| matches!(c.state, State::Reading { .. }));
        let victim = self.oldest.iter().find(idle).or(self.oldest.front()).copied();
        if let Some(id) = victim {
            self.stats.crowded_out.add(1);
            self.close(id);
        }
        victim.is_some()
    }

    fn close(&mut self, id: usize) {
        if let Some(mut connection) = self.connections.remove(&id) {
            let _ = self.poll.registry().deregister(&mut connection.stream);
            self.total.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// Runs code of a port; `None` if it panicked: that costs its connection, not the loop.
fn guarded<T>(what: &str, run: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(run))
        .map_err(|panic| log::error!("{what} panicked: {}", crate::plugin::panic_text(&*panic)))
        .ok()
}

// The numbers of "too many open files", of the process and of the system, on every Unix.
const EMFILE: i32 = 24;
const ENFILE: i32 = 23;
