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
    /// Things that it lists instead, if it is a list: a bounded one.
    fn rows(&self) -> Option<Vec<Row>> {
        None
    }
}

/// One of the things a [`Report`] lists: texts by name (letters and `_`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Row {
    /// What it is: the labels of its metric.
    pub labels: Vec<(&'static str, String)>,
    /// What else is to be said of it.
    pub more: Vec<(&'static str, String)>,
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

/// What the plugins of a daemon did, by name.
#[derive(Debug, Default)]
pub struct Plugins(Mutex<Vec<Arc<PluginStats>>>);

impl Plugins {
    /// The counters of the plugin of that name; made if there are none.
    pub fn of(&self, name: &str) -> Arc<PluginStats> {
        let mut all = self.0.lock();
        if let Some(known) = all.iter().find(|plugin| plugin.name == name) {
            return Arc::clone(known);
        }
        let new = Arc::new(PluginStats { name: name.to_owned(), ..PluginStats::default() });
        all.push(Arc::clone(&new));
        new
    }

    /// All of them, in the order they came.
    pub fn all(&self) -> Vec<Arc<PluginStats>> {
        self.0.lock().clone()
    }

    /// Forgets one that is gone.
    pub fn forget(&self, name: &str) {
        self.0.lock().retain(|plugin| plugin.name != name);
    }
}

/// What one plugin did.
#[derive(Debug, Default)]
pub struct PluginStats {
    name: String,
    /// Transactions it took, and how long that took.
    pub notified: Timed,
    /// Calls that failed or panicked.
    pub failed: Counter,
    /// Transactions that it did not get: newer ones of the same cluster came first, its queue was full, or it was not
    /// there.
    pub dropped: Counter,
    /// Changes that it made.
    pub changes: Counter,
    /// Changes of things that are not there, and others that could not be made.
    pub refused: Counter,
    waiting: AtomicU64,
    resting: AtomicU64,
}

impl PluginStats {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Transactions that wait for it.
    pub fn waiting(&self) -> u64 {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Whether it rests, after failures.
    pub fn is_resting(&self) -> bool {
        self.resting.load(Ordering::Relaxed) != 0
    }

    /// For what runs it.
    pub fn set_waiting(&self, transactions: usize) {
        self.waiting.store(transactions as u64, Ordering::Relaxed);
    }

    /// For what runs it.
    pub fn set_resting(&self, resting: bool) {
        self.resting.store(resting.into(), Ordering::Relaxed);
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
    /// Transactions that a full queue dropped or replaced. What a plugin did not get for another reason only it counts.
    pub dropped: Counter,
    /// Plugin calls that failed or panicked.
    pub plugin_errors: Counter,
    /// What each plugin did.
    pub plugins: Plugins,
    /// Points written to RRD files.
    pub rrd: Timed,
    /// Points that could not be written.
    pub rrd_errors: Counter,
    /// What others count.
    pub reports: Reports,
}
