//! A poll as rules see it.

use std::sync::Arc;
use std::time::Duration;

use gmetad_core::Transaction;
use gmetad_core::model::{Cluster, Host, Metric, UnixTime};
use gmetad_core::plugin::Subject;
use gmetad_core::summary::Summary;

/// What a poll of a cluster or grid brought.
#[derive(Clone, Copy)]
pub(crate) struct Poll<'a> {
    /// [`Transaction::key`].
    pub(crate) id: u64,
    pub(crate) name: &'a str,
    pub(crate) source: &'a Arc<str>,
    pub(crate) interval: Duration,
    pub(crate) time: UnixTime,
    pub(crate) alive: bool,
    /// Its hosts; a grid has none.
    pub(crate) cluster: Option<&'a Cluster>,
    pub(crate) summary: &'a Summary,
}

impl<'a> Poll<'a> {
    /// `None` for the root.
    pub(crate) fn of(transaction: &'a Transaction, source: &'a Arc<str>) -> Option<Self> {
        let name = match transaction.subject() {
            Subject::Cluster(cluster) => cluster.name(),
            Subject::Grid(grid) => grid.name(),
            Subject::Root(_) => return None,
        };
        Some(Self {
            id: transaction.key(),
            name,
            source,
            interval: transaction.interval(),
            time: transaction.time(),
            alive: transaction.is_alive(),
            cluster: transaction.cluster(),
            summary: transaction.summary(),
        })
    }
}

/// Whether a host is not heard of, at `now`.
pub(crate) fn is_down(host: &Host, now: UnixTime) -> bool {
    !host.is_up() || host.tmax() != 0 && host.tn(now) >= host.tmax().saturating_mul(4)
}

/// What is there of a metric that has this name; nothing if the last poll did not have it, or if it expired.
pub(crate) fn current<'a>(host: &'a Host, name: &str, now: UnixTime) -> Option<Metric<'a>> {
    host.metric(name).filter(|metric| metric.is_fresh() && !metric.is_expired(now))
}
