//! A thread for each receiver, behind a bounded queue: one that hangs stops neither the plugin nor the others.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::Sender as Ending;
use std::time::{Duration, Instant};
use std::{io, mem, thread};

use gmetad_core::stats::Counter;
use parking_lot::{Condvar, Mutex};

use super::active::Counts;
use super::notice::Notice;

/// Alerts that wait for a receiver, at most; over it the oldest notices go. One notice may have more.
const MOST_EVENTS: usize = 50_000;
/// Notices that wait for a receiver, at most.
const MOST_NOTICES: usize = 1_000;

/// How long a receiver may take, and when it is tried again. For tests, too.
#[derive(Clone, Debug)]
#[doc(hidden)]
pub struct Times {
    /// For one try.
    pub deadline: Duration,
    /// Before the second, third, … try.
    pub pauses: Vec<Duration>,
    /// In which no more than `maxmails` mails are sent.
    pub window: Duration,
    /// For all that waits, at the end.
    pub closing: Duration,
}

impl Default for Times {
    fn default() -> Self {
        Self {
            deadline: Duration::from_secs(30),
            pauses: [2, 10, 60, 300].map(Duration::from_secs).to_vec(),
            window: Duration::from_secs(60),
            closing: Duration::from_secs(3),
        }
    }
}

/// Why a message did not get through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// It may later.
    Later(String),
    /// It never will.
    Never(String),
}

/// Where messages go.
pub(crate) trait Receiver: Send {
    /// What it is called in the log.
    fn name(&self) -> String;
    /// The message number `part` (from 0) about these notices; `None` behind the last.
    fn message(&self, notices: &[Arc<Notice>], part: usize) -> Option<Vec<u8>>;
    /// Tries once.
    fn send(&self, message: &[u8], closing: &Closing) -> Result<(), Failure>;
}

/// Tells one try how long it may take.
pub(crate) struct Closing<'a> {
    outbox: &'a Outbox,
    until: Instant,
}

impl Closing<'_> {
    /// An error when the time is over.
    pub(crate) fn check(&self) -> Result<(), String> {
        let now = Instant::now();
        if now >= self.until {
            return Err("was ended: it took too long".to_owned());
        }
        match self.outbox.inner.lock().ends {
            Some(ends) if now >= ends => Err("was ended: gmetad stops".to_owned()),
            _ => Ok(()),
        }
    }
}

/// Notices that wait for one receiver.
#[derive(Default)]
pub(crate) struct Outbox {
    inner: Mutex<Inner>,
    ready: Condvar,
}

#[derive(Default)]
struct Inner {
    notices: VecDeque<Arc<Notice>>,
    events: usize,
    /// When all must be over; set at the stop.
    ends: Option<Instant>,
}

impl Outbox {
    /// Puts a notice in; how many alerts had to go.
    pub(crate) fn push(&self, notice: Arc<Notice>) -> u64 {
        let mut gone = 0;
        let mut inner = self.inner.lock();
        inner.events += notice.events.len();
        inner.notices.push_back(notice);
        while inner.notices.len() > 1 && (inner.events > MOST_EVENTS || inner.notices.len() > MOST_NOTICES) {
            let old = inner.notices.pop_front().map_or(0, |notice| notice.events.len());
            inner.events -= old;
            gone += old;
        }
        drop(inner);
        self.ready.notify_all();
        gone as u64
    }

    /// Waits for the next; `None` when closed and empty.
    fn pop(&self) -> Option<Arc<Notice>> {
        let mut inner = self.inner.lock();
        loop {
            if let Some(notice) = inner.notices.pop_front() {
                inner.events -= notice.events.len();
                return Some(notice);
            }
            if inner.ends.is_some() {
                return None;
            }
            self.ready.wait(&mut inner);
        }
    }

    fn drain(&self) -> VecDeque<Arc<Notice>> {
        let mut inner = self.inner.lock();
        inner.events = 0;
        mem::take(&mut inner.notices)
    }

    /// Lets so much time pass; false if closed meanwhile.
    fn rest(&self, until: Instant) -> bool {
        let mut inner = self.inner.lock();
        while inner.ends.is_none() && !self.ready.wait_until(&mut inner, until).timed_out() {}
        inner.ends.is_none()
    }

    fn ends(&self) -> Option<Instant> {
        self.inner.lock().ends
    }

    /// What waits is still tried, once, until then.
    pub(crate) fn close(&self, ends: Instant) {
        self.inner.lock().ends = Some(ends);
        self.ready.notify_all();
    }
}

/// Where sent and failed messages are counted.
pub(crate) type Counters = fn(&Counts) -> (&Counter, &Counter);

/// The life of a receiver's thread.
struct Sender<R> {
    receiver: R,
    outbox: Arc<Outbox>,
    counts: Arc<Counts>,
    counters: Counters,
    times: Times,
    /// Messages in a window.
    most: usize,
    sent: VecDeque<Instant>,
    /// A failure was said, and no success since; and that a message was given up.
    failing: (bool, bool),
    /// Messages that the stop left.
    left: u64,
}

/// Starts the thread of a receiver; `end` is dropped when it ends.
pub(crate) fn start<R: Receiver + 'static>(
    name: &str,
    receiver: R,
    counts: &Arc<Counts>,
    counters: Counters,
    (times, most): (&Times, usize),
    end: Ending<()>,
) -> io::Result<Arc<Outbox>> {
    let outbox = Arc::new(Outbox::default());
    let mut sender = Sender {
        receiver,
        outbox: Arc::clone(&outbox),
        counts: Arc::clone(counts),
        counters,
        times: times.clone(),
        most,
        sent: VecDeque::new(),
        failing: (false, false),
        left: 0,
    };
    thread::Builder::new().name(name.to_owned()).spawn(move || {
        sender.run();
        drop(end);
    })?;
    Ok(outbox)
}

impl<R: Receiver> Sender<R> {
    fn run(&mut self) {
        while let Some(first) = self.outbox.pop() {
            let mut batch = vec![first];
            if self.waited() {
                batch.extend(self.outbox.drain());
            }
            let mut part = 0;
            while let Some(message) = self.receiver.message(&batch, part) {
                self.deliver(&message);
                part += 1;
            }
        }
        if self.left > 0 {
            log::warn!("alert: {}: {} messages were not sent before the stop", self.receiver.name(), self.left);
        }
    }

    /// Waits until one more message may be sent; true if that took time.
    fn waited(&mut self) -> bool {
        if self.most == usize::MAX {
            return false;
        }
        let now = Instant::now();
        while self.sent.front().is_some_and(|sent| now.duration_since(*sent) >= self.times.window) {
            self.sent.pop_front();
        }
        let full = self.sent.len() >= self.most;
        if full && let Some(oldest) = self.sent.pop_front() {
            self.outbox.rest(oldest + self.times.window);
        }
        self.sent.push_back(Instant::now());
        full
    }

    fn deliver(&mut self, message: &[u8]) {
        let (sent, failed) = (self.counters)(&self.counts);
        let mut pauses = self.times.pauses.clone().into_iter();
        loop {
            let begin = Instant::now();
            if self.outbox.ends().is_some_and(|ends| begin >= ends) {
                failed.add(1);
                self.left += 1;
                return;
            }
            let closing = Closing { outbox: &self.outbox, until: begin + self.times.deadline };
            let (text, pause) = match self.receiver.send(message, &closing) {
                Ok(()) => {
                    sent.add(1);
                    if mem::take(&mut self.failing).0 {
                        log::info!("alert: {}: works again", self.receiver.name());
                    }
                    return;
                }
                Err(Failure::Later(text)) => (text, pauses.next()),
                Err(Failure::Never(text)) => (text, None),
            };
            if !mem::replace(&mut self.failing.0, true) {
                log::warn!("alert: {}: {text}", self.receiver.name());
            }
            let again = pause.is_some_and(|pause| self.outbox.rest(Instant::now() + pause));
            if !again {
                failed.add(1);
                if !mem::replace(&mut self.failing.1, true) {
                    log::error!("alert: {}: a message is given up: {text}", self.receiver.name());
                }
                return;
            }
        }
    }
}
