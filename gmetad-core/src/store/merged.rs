//! Clusters that more than one source has.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::model::{Cluster, Host, Hosts};
use crate::summary::{self, Summary};

/// The cluster of one of several sources, and whether that source is alive.
pub(super) type Part = (Arc<Cluster>, bool);

/// A cluster of several sources.
#[derive(Debug)]
pub(super) struct Merged {
    pub(super) parts: Vec<Part>,
    /// No host is in two of them.
    disjoint: bool,
    pub(super) result: Arc<Cluster>,
}

impl Merged {
    /// `before`: what was shown of it until now; its series ids go on.
    pub(super) fn new(parts: Vec<Part>, before: &Summary) -> Self {
        let names: usize = parts.iter().map(|(part, _)| part.hosts.len()).sum();
        let different: HashSet<&str> = parts.iter().flat_map(|(part, _)| part.hosts()).map(Host::name).collect();
        let disjoint = different.len() == names;
        let result = Arc::new(combined(&parts, disjoint, before));
        Self { parts, disjoint, result }
    }

    /// The part that is this object.
    pub(super) fn position(&self, part: &Arc<Cluster>) -> Option<usize> {
        self.parts.iter().position(|(known, _)| Arc::ptr_eq(known, part))
    }

    /// The part at `at` was polled.
    pub(super) fn replace(&mut self, at: usize, new: Arc<Cluster>) {
        let (old, _) = std::mem::replace(&mut self.parts[at], (new, true));
        let (new, _) = &self.parts[at];
        if !self.disjoint {
            *self = Self::new(std::mem::take(&mut self.parts), &self.result.summary);
            return;
        }
        if !new.hosts.are_named_like(&old.hosts) {
            let others = || self.parts.iter().enumerate().filter(|(part, _)| *part != at).map(|(_, (part, _))| part);
            let is_elsewhere = |host: &Host| others().any(|part| part.host(host.name()).is_some());
            self.disjoint = !new.hosts().filter(|host| old.host(host.name()).is_none()).any(is_elsewhere);
        }
        self.result = Arc::new(combined(&self.parts, self.disjoint, &self.result.summary));
    }
}

/// The union of the hosts of clusters of one name; of a host that is in several the one with the newer REPORTED. The
/// summary counts the hosts of sources that are alive, or, if none is, stays what it was, as that of any dead source. If
/// no host is in two of them it is the sum of theirs, and a poll of one costs nothing for the hosts of the others.
fn combined(parts: &[Part], disjoint: bool, before: &Summary) -> Cluster {
    let (newest, _) = parts.iter().max_by_key(|(part, _)| part.localtime).unwrap_or(&parts[0]);
    let all_dead = parts.iter().all(|(_, alive)| !alive);
    if disjoint && !parts.iter().any(|(part, _)| part.pruned) {
        let summaries = parts.iter().map(|(part, alive)| (&*part.summary, *alive || all_dead));
        let summary = summary::of_parts(summaries, parts.iter().flat_map(|(part, _)| part.hosts()), Some(before));
        let hosts = Hosts::joined(parts.iter().map(|(part, _)| part.hosts.clone()).collect());
        return Cluster { hosts, summary: Arc::new(summary), ..Cluster::clone(newest) };
    }
    let mut hosts: Vec<(Arc<Host>, bool)> = Vec::new();
    let mut by_name: HashMap<&str, usize> = HashMap::new();
    for (part, alive) in parts {
        for host in part.hosts.iter() {
            let counted = part.is_fresh(host) && (*alive || all_dead);
            match by_name.get(host.name()) {
                Some(at) if host.reported() > hosts[*at].0.reported() => hosts[*at] = (Arc::clone(host), counted),
                Some(_) => {}
                None => {
                    by_name.insert(host.name(), hosts.len());
                    hosts.push((Arc::clone(host), counted));
                }
            }
        }
    }
    let summary = summary::of_hosts(hosts.iter().map(|(host, counted)| (&**host, *counted)), Some(before));
    let hosts = Hosts::new(hosts.into_iter().map(|(host, _)| host).collect(), None);
    Cluster { hosts, summary: Arc::new(summary), ..Cluster::clone(newest) }
}
