//! Clusters that more than one source has.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::SourceId;
use crate::model::{Cluster, Host, Hosts};
use crate::summary::{self, Summary};

/// The cluster of one of several sources.
#[derive(Clone, Debug)]
pub(super) struct Part {
    source: SourceId,
    pub(super) cluster: Arc<Cluster>,
    /// Its source answers.
    alive: bool,
    /// An earlier process polled it.
    saved: bool,
    /// The sum over the hosts it has.
    summary: Arc<Summary>,
}

impl Part {
    pub(super) fn new(source: SourceId, cluster: Arc<Cluster>, alive: bool, saved: bool) -> Self {
        let summary = if cluster.pruned {
            let hosts = cluster.hosts().map(|host| (host, cluster.is_fresh(host)));
            Arc::new(summary::of_hosts(hosts, Some(&cluster.summary)))
        } else {
            Arc::clone(&cluster.summary)
        };
        Self { source, cluster, alive, saved, summary }
    }

    fn is(&self, source: SourceId, cluster: &Arc<Cluster>) -> bool {
        self.source == source && Arc::ptr_eq(&self.cluster, cluster)
    }

    pub(super) fn is_like(&self, other: &Self) -> bool {
        self.is(other.source, &other.cluster) && (self.alive, self.saved) == (other.alive, other.saved)
    }
}

/// A cluster of several sources.
#[derive(Debug)]
pub(super) struct Merged {
    pub(super) parts: Vec<Part>,
    /// No host is in two of them.
    disjoint: bool,
    pub(super) result: Arc<Cluster>,
    /// The sum without the parts that an earlier process polled, as it was asked for last.
    polled: Option<Arc<Summary>>,
}

impl Merged {
    /// `before`: what was shown of it until now; its series ids go on.
    pub(super) fn new(parts: Vec<Part>, before: &Summary) -> Self {
        let names: usize = parts.iter().map(|part| part.cluster.hosts.len()).sum();
        let different: HashSet<&str> = parts.iter().flat_map(|part| part.cluster.hosts()).map(Host::name).collect();
        let disjoint = different.len() == names;
        let result = Arc::new(if disjoint { joined(&parts, before) } else { united(&parts, before).0 });
        Self { parts, disjoint, result, polled: None }
    }

    /// Which part this cluster of this source is.
    pub(super) fn position(&self, source: SourceId, cluster: &Arc<Cluster>) -> Option<usize> {
        self.parts.iter().position(|part| part.is(source, cluster))
    }

    /// The part at `at` was polled.
    pub(super) fn replace(&mut self, at: usize, new: Arc<Cluster>) {
        let new = Part::new(self.parts[at].source, new, true, false);
        let old = std::mem::replace(&mut self.parts[at], new).cluster;
        let new = &self.parts[at].cluster;
        if self.disjoint && !new.hosts.are_named_like(&old.hosts) {
            let others = || self.parts.iter().enumerate().filter(|(part, _)| *part != at).map(|(_, part)| part);
            let is_elsewhere = |host: &Host| others().any(|part| part.cluster.host(host.name()).is_some());
            self.disjoint = !new.hosts().filter(|host| old.host(host.name()).is_none()).any(is_elsewhere);
        }
        let before = &self.result.summary;
        self.result = Arc::new(if self.disjoint {
            joined(&self.parts, before)
        } else {
            let (united, disjoint) = united(&self.parts, before);
            self.disjoint = disjoint;
            united
        });
    }

    /// The sum over the parts that this process polled; of all, if there is none.
    pub(super) fn polled_summary(&mut self) -> Arc<Summary> {
        let saved = self.parts.iter().filter(|part| part.saved).count();
        if saved == 0 || saved == self.parts.len() {
            self.polled = None;
            return Arc::clone(&self.result.summary);
        }
        let polled: Vec<_> = self.parts.iter().filter(|part| !part.saved).cloned().collect();
        let before = self.polled.as_ref().unwrap_or(&self.result.summary);
        let cluster = if self.disjoint { joined(&polled, before) } else { united(&polled, before).0 };
        Arc::clone(self.polled.insert(cluster.summary))
    }
}

/// The newest of them, and whose hosts count: those of sources that are alive, or, if none is, of all.
fn counting(parts: &[Part]) -> (&Cluster, impl Fn(&Part) -> bool + Copy) {
    let newest = parts.iter().max_by_key(|part| part.cluster.localtime).expect("clusters of several sources");
    let all_dead = parts.iter().all(|part| !part.alive);
    (&newest.cluster, move |part: &Part| part.alive || all_dead)
}

/// All of them together, where no host is in two: one list behind the other, and the sum of their sums, so that a poll of
/// one costs nothing for the hosts of the others.
fn joined(parts: &[Part], before: &Summary) -> Cluster {
    let (newest, counts) = counting(parts);
    let summaries = parts.iter().map(|part| (&*part.summary, counts(part)));
    let summary = summary::of_parts(summaries, parts.iter().flat_map(|part| part.cluster.hosts()), Some(before));
    let hosts = Hosts::joined(parts.iter().map(|part| part.cluster.hosts.clone()).collect());
    Cluster { hosts, summary: Arc::new(summary), ..newest.clone() }
}

/// The union of their hosts; of a host that is in several one that counts, and of those the one with the newer REPORTED:
/// what a source that is dead, or no longer has the host, said last must not hide what another one says. And whether no
/// host was.
fn united(parts: &[Part], before: &Summary) -> (Cluster, bool) {
    let (newest, counts) = counting(parts);
    let mut hosts: Vec<(Arc<Host>, bool)> = Vec::new();
    let mut by_name: HashMap<&str, usize> = HashMap::new();
    let mut disjoint = true;
    for part in parts {
        for host in part.cluster.hosts.iter() {
            let counted = part.cluster.is_fresh(host) && counts(part);
            match by_name.get(host.name()) {
                Some(at) => {
                    disjoint = false;
                    let (known, known_counts) = &hosts[*at];
                    if (counted, host.reported()) > (*known_counts, known.reported()) {
                        hosts[*at] = (Arc::clone(host), counted);
                    }
                }
                None => {
                    by_name.insert(host.name(), hosts.len());
                    hosts.push((Arc::clone(host), counted));
                }
            }
        }
    }
    let summary = summary::of_hosts(hosts.iter().map(|(host, counted)| (&**host, *counted)), Some(before));
    let hosts = Hosts::new(hosts.into_iter().map(|(host, _)| host).collect(), None);
    (Cluster { hosts, summary: Arc::new(summary), ..newest.clone() }, disjoint)
}

#[cfg(test)]
mod tests {
    use crate::source::{GmondReader, ReaderOptions, SourceSnapshot};
    use crate::store::{GridStore, Identity, SourceId};
    use crate::summary::RootRules;

    const NOW: i64 = 1_800_000_000;

    /// Sources of a store.
    struct Site {
        store: GridStore,
        sources: Vec<(SourceId, GmondReader)>,
        now: i64,
    }

    impl Site {
        fn new(sources: usize) -> Self {
            let store = GridStore::new(Identity::default(), RootRules::default());
            let source = |_| (store.add_source(""), GmondReader::new(Vec::new(), ReaderOptions::default()));
            Self { sources: (0..sources).map(source).collect(), store, now: NOW }
        }

        /// A poll that brings these hosts of the cluster "X", each with metrics of value 1; a minute after the last.
        fn poll(&mut self, source: usize, hosts: &[(&str, &[&str])]) -> SourceSnapshot {
            self.now += 60;
            let now = self.now;
            let metric = |name: &&str| {
                format!(
                    "<METRIC NAME=\"{name}\" VAL=\"1\" TYPE=\"int32\" UNITS=\"\" TN=\"0\" TMAX=\"60\" DMAX=\"90\"/>"
                )
            };
            let host = |(name, metrics): &(&str, &[&str])| {
                let metrics: String = metrics.iter().map(metric).collect();
                format!(
                    "<HOST NAME=\"{name}\" IP=\"\" REPORTED=\"{now}\" TN=\"0\" TMAX=\"20\" DMAX=\"0\">{metrics}</HOST>"
                )
            };
            let hosts: String = hosts.iter().map(host).collect();
            let cluster = if hosts.is_empty() {
                String::new()
            } else {
                format!("<CLUSTER NAME=\"X\" LOCALTIME=\"{now}\">{hosts}</CLUSTER>")
            };
            let document = format!("<GANGLIA_XML VERSION=\"3.7.2\" SOURCE=\"gmond\">{cluster}</GANGLIA_XML>");
            let (id, reader) = &mut self.sources[source];
            let snapshot = reader.read_document(document.as_bytes(), now).expect("whole");
            self.store.publish(*id, snapshot.clone()).expect("a source of the store");
            snapshot
        }

        /// NUM of a metric, in the cluster and in the root.
        fn num(&self, metric: &str) -> [Option<u64>; 2] {
            let view = self.store.view();
            let cluster = view.cluster("X").expect("X").summary().metric(metric).map(|m| m.num());
            [cluster, view.summary().metric(metric).map(|m| m.num())]
        }
    }

    #[test]
    fn a_metric_that_comes_again_is_summed_again() {
        let mut site = Site::new(2);
        let without: &[(&str, &[&str])] = &[("h1", &["load"]), ("h2", &["load"])];
        let with: &[(&str, &[&str])] = &[("h1", &["load"]), ("h2", &["load", "gpu"])];
        site.poll(0, with);
        // Its time is over.
        site.poll(0, without);
        site.poll(0, without);
        assert_eq!(site.num("gpu"), [None; 2]);
        // The second source comes, and what is known of all is laid out.
        site.poll(1, &[("h3", &["load"])]);
        assert_eq!(site.num("load"), [Some(3); 2]);
        site.poll(0, with);
        assert_eq!(site.num("gpu"), [Some(1); 2]);
    }

    #[test]
    fn a_host_that_moves_is_counted_once() {
        let mut site = Site::new(2);
        site.poll(0, &[("h1", &["load"]), ("h2", &["load"])]);
        site.poll(1, &[("h3", &["load"])]);
        let is_disjoint = |site: &Site| site.store.inner.lock().merged["X"].disjoint;
        assert!(is_disjoint(&site));
        site.poll(1, &[("h3", &["load"]), ("h2", &["load"])]);
        assert!(!is_disjoint(&site));
        assert_eq!(site.num("load"), [Some(3); 2]);
        // Without it, and without anything: what a document does not have is no change.
        let since = |site: &Site| site.store.view().state(Some("X")).0;
        let before = since(&site);
        site.poll(0, &[]);
        assert_eq!((since(&site), site.num("load")), (before, [Some(3); 2]));
        // Dead, it leaves the sum, but its hosts stay; of h2 what the other one said last counts then.
        site.store.mark_dead(site.sources[1].0, site.now);
        let up = |site: &Site| site.store.view().cluster("X").map(|x| (x.hosts().len(), x.summary().hosts_up()));
        assert_eq!(up(&site), Some((3, 2)));
        site.store.mark_dead(site.sources[0].0, site.now);
        assert_eq!(up(&site), Some((3, 3)));
        site.poll(0, &[("h1", &["load"])]);
        assert_eq!(up(&site), Some((3, 1)));
    }

    /// Two gmonds of one multicast group: what the dead one said must not hide what the other one says, whatever its REPORTED.
    #[test]
    fn hosts_of_a_source_that_answers_count_if_the_other_one_is_dead() {
        for dead in [0, 1] {
            let mut site = Site::new(2);
            let hosts: &[(&str, &[&str])] = &[("h1", &["load"]), ("h2", &["load"])];
            // The one that was heard of later dies, and the other one's clock is behind.
            for source in [1 - dead, dead] {
                site.poll(source, hosts);
            }
            assert_eq!(site.num("load"), [Some(2); 2]);
            site.store.mark_dead(site.sources[dead].0, site.now);
            assert_eq!(site.num("load"), [Some(2); 2]);
            site.now -= 60;
            site.poll(1 - dead, hosts);
            assert_eq!(site.num("load"), [Some(2); 2]);
            // And one that no longer has a host does not hide the other one's.
            site.poll(dead, hosts);
            site.poll(dead, &hosts[..1]);
            assert_eq!(site.num("load"), [Some(2); 2]);
        }
    }
}
