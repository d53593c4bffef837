//! What the plugin shows of itself.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use gmetad_core::model::UnixTime;
use gmetad_core::stats::{Counter, Figure, Report};
use parking_lot::Mutex;

/// Alerts that are shown, at most.
pub const SHOWN: usize = 1000;

/// An alert that fires.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Active {
    /// Name of the rule.
    pub rule: String,
    /// Its severity.
    pub severity: String,
    /// Name of the data source.
    pub source: Arc<str>,
    /// Name of the cluster or grid.
    pub cluster: String,
    /// Name of the host; empty if the rule is about the cluster.
    pub host: String,
    /// Name of the metric; empty if the rule is not about one.
    pub metric: String,
    /// Its value at the last poll that knew it, as the source sent it.
    pub value: String,
    /// When it began: seconds since the epoch.
    pub since: UnixTime,
    /// When the receivers were last told: seconds since the epoch.
    pub sent: UnixTime,
}

/// The alerts that fire, for those who show them. Reading waits for nobody.
#[derive(Debug, Default)]
pub struct ActiveAlerts {
    lists: Mutex<HashMap<u64, Arc<Vec<Active>>>>,
}

impl ActiveAlerts {
    /// The newest [`SHOWN`] of them, the newest first. How many there are is the figure `active`.
    pub fn list(&self) -> Vec<Active> {
        let lists: Vec<_> = self.lists.lock().values().cloned().collect();
        let mut all: Vec<&Active> = lists.iter().flat_map(|list| list.iter()).collect();
        all.sort_by(|a, b| {
            b.since.cmp(&a.since).then_with(|| (&a.cluster, &a.host, &a.rule).cmp(&(&b.cluster, &b.host, &b.rule)))
        });
        all.into_iter().take(SHOWN).cloned().collect()
    }

    /// Puts another list in the place of a subject's.
    pub(crate) fn publish(&self, subject: u64, list: Vec<Active>) {
        let list = Arc::new(list);
        let old = match list.is_empty() {
            true => self.lists.lock().remove(&subject),
            false => self.lists.lock().insert(subject, list),
        };
        // Outside the lock: it may be long.
        drop(old);
    }
}

/// What the plugin counts.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    rules: AtomicU64,
    pub(crate) fired: Counter,
    pub(crate) recovered: Counter,
    pub(crate) repeated: Counter,
    pub(crate) mails_sent: Counter,
    pub(crate) mails_failed: Counter,
    pub(crate) webhooks_sent: Counter,
    pub(crate) webhooks_failed: Counter,
    pub(crate) unknown: Counter,
    pub(crate) dropped: Counter,
    /// Active, pending.
    pub(crate) now: Mutex<(u64, u64)>,
}

impl Counts {
    pub(crate) fn set_rules(&self, rules: usize) {
        self.rules.store(rules as u64, Ordering::Relaxed);
    }
}

impl Report for Counts {
    fn name(&self) -> &str {
        "alert"
    }

    fn figures(&self) -> Vec<Figure> {
        let (active, pending) = *self.now.lock();
        let counter = |name, counter: &Counter| Figure { name, gauge: false, value: counter.get() };
        let gauge = |name, value| Figure { name, gauge: true, value };
        vec![
            gauge("rules", self.rules.load(Ordering::Relaxed)),
            gauge("active", active),
            gauge("pending", pending),
            counter("fired", &self.fired),
            counter("recovered", &self.recovered),
            counter("repeated", &self.repeated),
            counter("mails_sent", &self.mails_sent),
            counter("mails_failed", &self.mails_failed),
            counter("webhooks_sent", &self.webhooks_sent),
            counter("webhooks_failed", &self.webhooks_failed),
            counter("unknown", &self.unknown),
            counter("dropped", &self.dropped),
        ]
    }
}
