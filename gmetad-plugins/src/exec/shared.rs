//! What the chain's thread and a plugin's own thread have in common. Locks are held for moments, never across a system call.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use gmetad_core::limits;
use gmetad_core::plugin::Transaction;
use gmetad_core::stats::PluginStats;
use nix::sys::eventfd::{EfdFlags, EventFd};
use parking_lot::{Condvar, Mutex};

use super::changes::Changes;
use super::wants::Wants;

/// How long a plugin may work on what it has when it is to end.
pub(super) const FINISH: Duration = Duration::from_secs(1);
/// How long all of its end may take: what it has, "stop", SIGTERM, and something to breathe.
const END: Duration = Duration::from_millis(4_000);

pub(super) struct Shared {
    inner: Mutex<Inner>,
    changed: Condvar,
    /// Wakes the plugin's thread out of its poll.
    wake: EventFd,
    changer: AtomicBool,
}

#[derive(Default)]
struct Inner {
    queue: Newest,
    request: Option<Request>,
    reply: Option<(u64, Reply)>,
    tickets: u64,
    /// The process is there and takes transactions.
    up: bool,
    /// It will not come back.
    gone: bool,
    closing: Option<Instant>,
    wants: Option<Arc<Wants>>,
}

impl Inner {
    /// Whether the process that is there, or was there last, does not want it.
    fn is_unwanted(&self, transaction: &Transaction) -> bool {
        self.wants.as_ref().is_some_and(|wants| !wants.wants(transaction))
    }
}

/// A transaction of which somebody waits for the changes.
pub(super) struct Request {
    pub(super) ticket: u64,
    pub(super) asked: Instant,
    /// How long the answer may take.
    pub(super) time: Duration,
    pub(super) transaction: Transaction,
}

/// What came of a [`Request`].
pub(super) enum Reply {
    Changes(Changes),
    /// It answered `error`, which has been logged and counted.
    Refused,
}

/// What came of asking.
pub(super) enum Asked {
    Replied(Reply),
    NotWanted,
    /// The process is not there, or went meanwhile.
    Away,
    Late,
}

/// What came of telling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// It waits for its turn, or is not wanted.
    Taken,
    /// An older one had to go for it.
    Full,
    /// There is nobody to take it.
    Away,
}

/// What the plugin's thread is to do.
pub(super) enum Work {
    Tell(Transaction),
    Ask(Request),
    Nothing,
    Close,
}

impl Shared {
    pub(super) fn new() -> io::Result<Self> {
        let wake = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        Ok(Self { inner: Mutex::default(), changed: Condvar::new(), wake, changer: AtomicBool::new(false) })
    }

    pub(super) fn wake(&self) -> &EventFd {
        &self.wake
    }

    pub(super) fn is_changer(&self) -> bool {
        self.changer.load(Ordering::Relaxed)
    }

    /// Puts a transaction into the queue; never waits.
    pub(super) fn tell(&self, transaction: &Transaction, stats: &PluginStats) -> Told {
        let mut inner = self.inner.lock();
        if inner.is_unwanted(transaction) {
            return Told::Taken;
        }
        // One who is a changer since a moment ago was not there yet when it was its turn.
        let is_changer = inner.wants.as_ref().is_some_and(|wants| wants.changer);
        if inner.gone || inner.closing.is_some() || is_changer {
            return Told::Away;
        }
        let old = inner.queue.push(transaction.clone());
        // Under the lock: else the other thread's later number could come first.
        stats.set_waiting(inner.queue.len());
        drop(inner);
        self.arm();
        // A snapshot that goes here is freed outside the lock.
        if old.is_some() { Told::Full } else { Told::Taken }
    }

    /// Hands a transaction over and waits for what is to be changed, so long at most.
    pub(super) fn ask(&self, transaction: &Transaction, time: Duration) -> Asked {
        let asked = Instant::now();
        let mut inner = self.inner.lock();
        if inner.is_unwanted(transaction) {
            return Asked::NotWanted;
        }
        if !inner.up || inner.closing.is_some() {
            return Asked::Away;
        }
        inner.tickets += 1;
        let ticket = inner.tickets;
        inner.reply = None;
        inner.request = Some(Request { ticket, asked, time, transaction: transaction.clone() });
        drop(inner);
        self.arm();
        let mut inner = self.inner.lock();
        loop {
            if let Some((_, reply)) = inner.reply.take_if(|(of, _)| *of == ticket) {
                return Asked::Replied(reply);
            }
            if !inner.up {
                return Asked::Away;
            }
            if self.changed.wait_until(&mut inner, asked + time).timed_out() && inner.reply.is_none() && inner.up {
                inner.request = None;
                return Asked::Late;
            }
        }
    }

    fn arm(&self) {
        // It fails only if it was woken 2^64 times and did not look.
        let _ = self.wake.write(1);
    }

    /// Tells the thread to end; when that began.
    pub(super) fn close(&self) -> Instant {
        let mut inner = self.inner.lock();
        let when = *inner.closing.get_or_insert_with(Instant::now);
        drop(inner);
        self.changed.notify_all();
        self.arm();
        when
    }

    // For the plugin's thread.

    pub(super) fn closing(&self) -> Option<Instant> {
        self.inner.lock().closing
    }

    /// The process takes transactions. How many that it wants a changer will never see, since they came before.
    pub(super) fn up(&self, wants: &Arc<Wants>) -> usize {
        let mut inner = self.inner.lock();
        inner.up = true;
        inner.wants = Some(Arc::clone(wants));
        let passed = if wants.changer { std::mem::take(&mut inner.queue) } else { Newest::default() };
        drop(inner);
        self.changer.store(wants.changer, Ordering::Relaxed);
        passed.by_key.values().filter(|transaction| wants.wants(transaction)).count()
    }

    /// The process is away; whoever waits for it does so no longer.
    pub(super) fn down(&self) {
        let mut inner = self.inner.lock();
        inner.up = false;
        let request = inner.request.take();
        drop(inner);
        drop(request);
        self.changed.notify_all();
    }

    /// It will not come back. How many transactions it did not get.
    pub(super) fn gone(&self) -> usize {
        let mut inner = self.inner.lock();
        inner.gone = true;
        let queue = std::mem::take(&mut inner.queue);
        drop(inner);
        queue.len()
    }

    /// What is to be done next.
    pub(super) fn next(&self, stats: &PluginStats) -> Work {
        let mut inner = self.inner.lock();
        let is_time = inner.closing.is_some_and(|when| when.elapsed() >= FINISH);
        let work = match (inner.request.take(), is_time) {
            (Some(request), _) => Work::Ask(request),
            (None, true) => Work::Close,
            (None, false) => match inner.queue.pop() {
                Some(transaction) => Work::Tell(transaction),
                None if inner.closing.is_some() => Work::Close,
                None => Work::Nothing,
            },
        };
        stats.set_waiting(inner.queue.len());
        work
    }

    pub(super) fn reply(&self, ticket: u64, reply: Reply) {
        let old = self.inner.lock().reply.replace((ticket, reply));
        drop(old);
        self.changed.notify_all();
    }

    /// Lets so much time pass, or less if it is to end.
    pub(super) fn rest(&self, time: Duration) {
        let until = Instant::now() + time;
        let mut inner = self.inner.lock();
        while inner.closing.is_none() && !self.changed.wait_until(&mut inner, until).timed_out() {}
    }
}

/// A queue of the newest transaction of each cluster, in the order the first of them came.
#[derive(Default)]
struct Newest {
    order: VecDeque<u64>,
    by_key: HashMap<u64, Transaction>,
}

impl Newest {
    /// Puts one in; the one that had to go, if any.
    fn push(&mut self, transaction: Transaction) -> Option<Transaction> {
        let key = transaction.key();
        let old = self.by_key.insert(key, transaction);
        if old.is_some() {
            return old;
        }
        self.order.push_back(key);
        if self.order.len() > limits::SINK_QUEUE { self.pop() } else { None }
    }

    fn pop(&mut self) -> Option<Transaction> {
        self.order.pop_front().and_then(|key| self.by_key.remove(&key))
    }

    fn len(&self) -> usize {
        self.order.len()
    }
}

/// A plugin's thread. The last one to let go of it waits for its end, for a bounded time.
pub(super) struct Handle {
    pub(super) shared: Arc<Shared>,
    pub(super) thread: Mutex<Option<JoinHandle<()>>>,
}

impl Handle {
    /// Whether the thread has ended, or never began.
    pub(super) fn is_finished(&self) -> bool {
        self.thread.lock().as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Waits for the thread's end, until it would take too long; whether it came.
    pub(super) fn wait(&self) -> bool {
        let deadline = self.shared.close() + END;
        while !self.is_finished() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
        self.is_finished()
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.wait();
    }
}
