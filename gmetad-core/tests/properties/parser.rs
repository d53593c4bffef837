//! The parser against the oracle.

use std::collections::{HashMap, HashSet};

use gmetad_core::model::SeriesId;
use gmetad_core::summary::Summary;
use gmetad_core::xml::ParseOptions;
use gmetad_core::{GmondReader, ReaderOptions, SourceSnapshot};
use proptest::prelude::*;

use crate::document::{Poll, any_document, clusters, polls};
use crate::oracle::Oracle;

pub fn reader(scalable: bool) -> GmondReader {
    let options =
        ReaderOptions { parse: ParseOptions { scalable, ..ParseOptions::default() }, ..ReaderOptions::default() };
    GmondReader::new(Vec::new(), options)
}

/// All series of hosts and summaries: name, id, and how long it must keep that id if nothing is heard of it.
fn series(snapshot: &SourceSnapshot, now: i64) -> Vec<(String, SeriesId, i64)> {
    let until = |dmax: u32, tn: u32| if dmax == 0 { i64::MAX } else { now + i64::from(dmax) - i64::from(tn) };
    let mut all = Vec::new();
    let mut summary = |name: &str, summary: &Summary| {
        all.extend(summary.metrics().iter().map(|m| {
            let until = if m.num() > 0 { i64::MAX } else { 0 };
            (format!("{:?}", (name, m.name())), m.series(), until)
        }));
    };
    snapshot.clusters().for_each(|c| summary(c.name(), c.summary()));
    snapshot.grids().for_each(|g| summary(g.name(), g.summary()));
    for cluster in snapshot.clusters() {
        for host in cluster.hosts() {
            all.extend(host.metrics().map(|m| {
                let until = until(host.dmax(), host.tn(now)).min(until(m.def().dmax(), m.tn(now)));
                (format!("{:?}", (cluster.name(), host.name(), m.name())), m.series(), until)
            }));
        }
    }
    all
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn the_parser_understands_what_the_oracle_understands(polls in polls(any_document(), 4), scalable: bool) {
        let (mut reader, mut oracle) = (reader(scalable), Oracle::new(scalable));
        for Poll { document, now } in polls {
            let snapshot = reader.read_document(&document, now).expect("a whole document");
            oracle.poll(&document, now);
            oracle.check(&snapshot, now);
        }
    }

    /// An id stays with its series while that is there, and never names another one.
    #[test]
    fn series_ids_are_stable_and_unique(polls in polls(clusters(), 4)) {
        let mut reader = reader(true);
        let mut owners: HashMap<SeriesId, String> = HashMap::new();
        let mut before: HashMap<String, (SeriesId, i64)> = HashMap::new();
        for Poll { document, now } in polls {
            let snapshot = reader.read_document(&document, now).expect("a whole document");
            let all = series(&snapshot, now);
            let ids: HashSet<_> = all.iter().map(|(_, id, _)| *id).collect();
            prop_assert_eq!(ids.len(), all.len(), "an id twice");
            for (name, id, _) in &all {
                let owner = owners.entry(*id).or_insert_with(|| name.clone());
                prop_assert_eq!(&*owner, name);
                match before.get(name) {
                    Some((known, until)) if now <= *until => prop_assert_eq!(known, id, "{} got another id", name),
                    _ => {}
                }
            }
            before = all.into_iter().map(|(name, id, until)| (name, (id, until))).collect();
        }
    }
}
