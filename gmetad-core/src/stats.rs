//! Counters of everything the daemon does; what `/status` shows.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// What it stands at.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// How often something was done, how long it took in all, and when it was done last.
#[derive(Debug, Default)]
pub struct Timed {
    num: Counter,
    nanos: Counter,
    last: AtomicU64,
}

impl Timed {
    /// Counts one that took `time` and has just ended.
    pub fn done(&self, time: Duration) {
        self.done_many(1, time);
    }

    /// Counts `n` that took `time` together.
    pub fn done_many(&self, n: u64, time: Duration) {
        self.num.add(n);
        self.nanos.add(time.as_nanos() as u64);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64);
        self.last.store(now, Ordering::Relaxed);
    }

    /// How often.
    pub fn num(&self) -> u64 {
        self.num.get()
    }

    /// Milliseconds in all.
    pub fn total_millis(&self) -> u64 {
        self.nanos.get() / 1_000_000
    }

    /// When last: milliseconds since the epoch; 0 is never.
    pub fn last_millis(&self) -> u64 {
        self.last.load(Ordering::Relaxed)
    }
}

/// Further counters, of a plugin say.
pub trait Report: Send + Sync {
    /// What the counters are about: letters and `_`.
    fn name(&self) -> &str;
    /// What it counts now.
    fn figures(&self) -> Vec<Figure>;
}

/// A number of a [`Report`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Figure {
    /// Letters and `_`.
    pub name: &'static str,
    /// Whether it also falls; else it only grows while the daemon runs.
    pub gauge: bool,
    /// The number.
    pub value: u64,
}

/// The reports of a daemon.
#[derive(Default)]
pub struct Reports(Mutex<Vec<Weak<dyn Report>>>);

impl Reports {
    /// Shows a report for as long as its owner keeps it.
    pub fn add(&self, report: &Arc<dyn Report>) {
        self.0.lock().push(Arc::downgrade(report));
    }

    /// Those that are there.
    pub fn all(&self) -> Vec<Arc<dyn Report>> {
        self.0.lock().iter().filter_map(Weak::upgrade).collect()
    }
}

impl std::fmt::Debug for Reports {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} reports", self.0.lock().len())
    }
}

/// All counters. One for each [`crate::Gmetad`], shared by its threads.
#[derive(Debug, Default)]
pub struct Stats {
    /// Metrics received.
    pub metrics: Counter,
    /// Bytes received, inflated.
    pub bytes: Counter,
    /// Polls that brought a snapshot.
    pub polls_ok: Timed,
    /// Polls that brought none.
    pub polls_failed: Timed,
    /// Polls that began late because the one before took longer than the interval.
    pub polls_late: Counter,
    /// Elements left out of snapshots.
    pub skipped: Counter,
    /// Damaged elements that could be kept.
    pub mended: Counter,
    /// Summaries of clusters and grids.
    pub summaries: Timed,
    /// Root summaries.
    pub root_summaries: Timed,
    /// Requests on the interactive port.
    pub interactive: Timed,
    /// Dumps on the xml port.
    pub xml: Timed,
    /// Pages over HTTP, errors included.
    pub pages: Timed,
    /// Connections accepted.
    pub accepted: Counter,
    /// Connections refused because the client is not trusted.
    pub untrusted: Counter,
    /// Requests that were malformed or too long.
    pub malformed: Counter,
    /// Connections closed because there were too many.
    pub crowded_out: Counter,
    /// Connections closed because a deadline was over.
    pub timed_out: Counter,
    /// Transactions that a full queue dropped or replaced.
    pub dropped: Counter,
    /// Plugin calls that failed or panicked.
    pub plugin_errors: Counter,
    /// Points written to RRD files.
    pub rrd: Timed,
    /// Points that could not be written.
    pub rrd_errors: Counter,
    /// What others count.
    pub reports: Reports,
}
