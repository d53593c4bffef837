//! What a plugin has asked for in its hello, and which hosts that is at a transaction.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use gmetad_core::model::{Cluster, Host};
use gmetad_core::plugin::{Subject, Transaction};

use crate::pattern::Patterns;

/// How long the last snapshot of a cluster is kept to compare the next one with.
const REMEMBERED: Duration = Duration::from_secs(3600);

/// How much of a cluster is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Detail {
    Hosts,
    Changed,
    Summary,
}

/// A subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wants {
    pub(super) changer: bool,
    pub(super) detail: Detail,
    pub(super) clusters: Patterns,
    pub(super) hosts: Patterns,
    pub(super) metrics: Patterns,
    pub(super) grids: bool,
    pub(super) root: bool,
}

impl Wants {
    /// Whether a transaction is to be told at all.
    pub(super) fn wants(&self, transaction: &Transaction) -> bool {
        match transaction.subject() {
            Subject::Cluster(cluster) => self.clusters.matches(cluster.name()),
            Subject::Grid(grid) => self.grids && self.clusters.matches(grid.name()),
            Subject::Root(_) => self.root,
        }
    }

    /// Hosts of a cluster that may be told.
    pub(super) fn hosts<'a>(&'a self, cluster: &'a Cluster) -> impl Iterator<Item = &'a Host> {
        cluster.hosts().filter(|host| self.hosts.matches(host.name()))
    }

    /// Whether a host says something else than before, as far as its values are wanted.
    fn is_changed(&self, before: &Host, now: &Host) -> bool {
        if std::ptr::eq(before, now) {
            return false;
        }
        if before.is_up() != now.is_up() {
            return true;
        }
        let wanted = |host| Host::metrics(host).filter(|metric| self.metrics.matches(metric.name()));
        let (mut old, mut new) = (wanted(before), wanted(now));
        loop {
            match (old.next(), new.next()) {
                (None, None) => return false,
                (Some(old), Some(new)) if old.value() == new.value() && old.name() == new.name() => {}
                _ => return true,
            }
        }
    }
}

/// What a process got last of each cluster, for `detail` `changed`.
#[derive(Debug, Default)]
pub(super) struct Sent {
    last: HashMap<u64, (Arc<Cluster>, Instant)>,
}

impl Sent {
    /// The hosts to be told and the names of those that went, compared with `before`.
    pub(super) fn changed<'a>(
        wants: &'a Wants,
        before: Option<&'a Cluster>,
        now: &'a Cluster,
    ) -> (Vec<&'a Host>, Vec<&'a str>) {
        let Some(before) = before else { return (wants.hosts(now).collect(), Vec::new()) };
        let is_new = |host: &&Host| before.host(host.name()).is_none_or(|old| wants.is_changed(old, host));
        let gone = wants.hosts(before).map(Host::name).filter(|name| now.host(name).is_none()).collect();
        (wants.hosts(now).filter(is_new).collect(), gone)
    }

    /// Remembers what is being sent, forgets what has not been for long, and tells what was sent before.
    pub(super) fn put(&mut self, key: u64, cluster: &Arc<Cluster>) -> Option<Arc<Cluster>> {
        let now = Instant::now();
        self.last.retain(|_, (_, when)| now.duration_since(*when) < REMEMBERED);
        self.last.insert(key, (Arc::clone(cluster), now)).map(|(before, _)| before)
    }
}
