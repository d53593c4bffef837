//! Summaries against the slow sum, up to the root, and merged clusters.

use std::collections::HashMap;
use std::sync::Arc;

use gmetad_core::model::{Cluster, Host, SeriesId};
use gmetad_core::store::Identity;
use gmetad_core::summary::{RootRules, Summary};
use gmetad_core::{GridStore, GridView};
use proptest::prelude::*;

use crate::document::{Node, Poll, START, any_document, clusters, polls};
use crate::oracle::{Oracle, Sums};
use crate::parser::reader;

pub fn store() -> GridStore {
    GridStore::new(Identity { name: "Root".to_owned(), authority: "http://r/".to_owned() }, RootRules::default())
}

fn total<'s>(parts: impl Iterator<Item = &'s Summary>) -> Sums {
    let mut total = Sums::default();
    for part in parts {
        let part = Sums::of(part);
        total.up += part.up;
        total.down += part.down;
        part.metrics.iter().for_each(|(name, (sum, num, decimals))| total.add(name, *sum, *num, *decimals));
    }
    total
}

fn root_is_the_total(view: &GridView) {
    let parts = view.clusters().map(|c| c.summary()).chain(view.grids().map(|g| g.summary()));
    assert_eq!(Sums::of(view.summary()), total(parts));
}

/// The same document with everything in another order.
fn reversed(node: &Node) -> Node {
    match node {
        Node::Element { name, attributes, children } => {
            let children = children.iter().rev().map(reversed).collect();
            Node::Element { name, attributes: attributes.iter().rev().cloned().collect(), children }
        }
        noise @ Node::Noise(_) => noise.clone(),
    }
}

fn printed(summary: &Summary) -> Vec<(String, String, u64)> {
    let mut all: Vec<_> =
        summary.metrics().iter().map(|m| (m.name().to_owned(), m.sum_text(), m.num())).filter(|m| m.2 > 0).collect();
    all.sort();
    all
}

/// Whether no host and no metric comes twice: of those the last one counts, so that order does matter.
fn once(document: &[u8], oracle: &Oracle) -> bool {
    let count = |tag: &str| String::from_utf8_lossy(document).matches(tag).count();
    let hosts: usize = oracle.clusters.values().map(|c| c.hosts.len()).sum();
    let metrics: usize = oracle.clusters.values().flat_map(|c| c.hosts.values()).map(|h| h.metrics.len()).sum();
    let prolog = |n: usize| n - String::from_utf8_lossy(gmetad_core::xml::PROLOG).matches("<HOST ").count();
    prolog(count("<HOST ")) == hosts && count("<METRIC ") >= metrics
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn the_root_is_the_sum_of_its_sources(one in polls(any_document(), 3), two in polls(any_document(), 3)) {
        let store = store();
        let ids = [store.add_source("1"), store.add_source("2")];
        for (id, polls) in ids.into_iter().zip([one, two]) {
            let mut reader = reader(true);
            for Poll { document, now } in polls {
                store.publish(id, reader.read_document(&document, now).expect("a whole document"));
                root_is_the_total(&store.view());
            }
        }
        // What is dead is left out.
        ids.into_iter().for_each(|id| drop(store.mark_dead(id, START)));
        prop_assert_eq!(Sums::of(store.view().summary()), Sums::default());
    }

    #[test]
    fn the_order_of_hosts_changes_no_printed_sum(document in clusters()) {
        let (there, back) = (document.lines(), reversed(&document).lines());
        let mut oracle = Oracle::new(true);
        oracle.poll(&there, START);
        prop_assume!(once(&there, &oracle));
        let there = reader(true).read_document(&there, START).expect("a whole document");
        let back = reader(true).read_document(&back, START).expect("a whole document");
        for cluster in there.clusters() {
            // Metrics that come twice still differ.
            let same = |a: &str| back.clusters().find(|c| c.name() == a);
            let other = same(cluster.name()).expect("the same clusters");
            let values = |c: &Cluster| {
                let mut all: Vec<_> = c.hosts().flat_map(|h| h.metrics().map(|m| {
                    (h.name().to_owned(), m.name().to_owned(), m.value().to_owned(), m.def().kind().name())
                }).collect::<Vec<_>>()).collect();
                all.sort();
                all
            };
            if values(cluster) == values(other) {
                prop_assert_eq!(printed(cluster.summary()), printed(other.summary()));
            }
        }
    }

    /// Two sources with clusters of the same names.
    #[test]
    fn merged_clusters_have_the_union_and_stable_ids(one in polls(clusters(), 3), two in polls(clusters(), 3)) {
        let store = store();
        let mut sources = [
            (store.add_source("1"), reader(true), one.into_iter()),
            (store.add_source("2"), reader(true), two.into_iter()),
        ];
        let mut ids: HashMap<(String, String), SeriesId> = HashMap::new();
        let mut last = [None, None];
        for turn in 0..6 {
            let (id, reader, polls) = &mut sources[turn % 2];
            let Some(Poll { document, now }) = polls.next() else { continue };
            let snapshot = reader.read_document(&document, now).expect("a whole document");
            store.publish(*id, snapshot.clone());
            last[turn % 2] = Some(snapshot);
            let view = store.view();
            root_is_the_total(&view);
            for cluster in view.clusters() {
                let parts: Vec<_> =
                    last.iter().flatten().flat_map(|s| s.clusters()).filter(|c| c.name() == cluster.name()).collect();
                // Of a host that two sources have, one that was in its source's last poll; of those the one that was heard of later; of equals the first.
                let mut expected = Sums::default();
                let mut names: Vec<&str> = parts.iter().flat_map(|c| c.hosts()).map(|h| h.name()).collect();
                names.sort_unstable();
                names.dedup();
                prop_assert_eq!(cluster.hosts().len(), names.len());
                for name in names {
                    let mut candidates = parts.iter().filter_map(|part| Some((part, part.host(name)?)));
                    let first = candidates.next().expect("one at least");
                    let (part, host) = candidates.fold(first, |best, other| {
                        let rank = |(part, host): (&&Arc<Cluster>, &Host)| (part.is_fresh(host), host.reported());
                        if rank(other) > rank(best) { other } else { best }
                    });
                    let shown = cluster.host(name).expect("in the union");
                    prop_assert!(std::ptr::eq(shown, host), "the newer {}", name);
                    if !part.is_fresh(host) {
                        continue;
                    }
                    *(if host.is_up() { &mut expected.up } else { &mut expected.down }) += 1;
                    for metric in host.metrics().filter(|m| host.is_up() && m.is_fresh() && m.def().kind().is_numeric()) {
                        expected.add(metric.name(), metric.number(), 1, 0);
                    }
                }
                let mut found = Sums::of(cluster.summary());
                // A cluster of one absent from its last document keeps the summary it had: no sum of what is fresh.
                found.metrics.values_mut().for_each(|m| m.2 = 0);
                if parts.len() > 1 {
                    prop_assert_eq!(found, expected, "{}", cluster.name());
                }
            }
            // Ids go on for as long as the name is there, in clusters and the root.
            let root = view.summary().metrics().iter().map(|m| (("".to_owned(), m.name().to_owned()), m.series()));
            let now: HashMap<_, _> = view
                .clusters()
                .flat_map(|c| c.summary().metrics().iter().map(|m| ((c.name().to_owned(), m.name().to_owned()), m.series())))
                .chain(root)
                .collect();
            for (key, id) in &now {
                prop_assert_eq!(ids.get(key).unwrap_or(id), id, "{:?} got another id", key);
            }
            ids = now;
        }
    }
}
