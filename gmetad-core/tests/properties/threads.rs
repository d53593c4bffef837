//! Publishers and readers at once: a view never changes, and what is written while the grid changes is well-formed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use gmetad_core::xml::Progress;
use gmetad_core::{Query, XmlWriter};

use crate::document::START;
use crate::parser::reader;
use crate::summaries::store;
use crate::writer::well_formed;

/// A source with a cluster of its own, one that the others have, and one name that is now a cluster, now a grid.
fn document(source: usize, turn: usize) -> String {
    let hosts = |from: usize| -> String {
        (from..from + 4 + turn % 5)
            .map(|host| {
                let metrics: String = (0..1 + (turn + host) % 6)
                    .map(|m| format!("<METRIC NAME=\"m{m}\" VAL=\"{turn}\" TYPE=\"double\" DMAX=\"{}\"/>", m * 20))
                    .collect();
                format!("<HOST NAME=\"h{source}.{host}\" TMAX=\"20\" DMAX=\"30\" REPORTED=\"{turn}\">{metrics}</HOST>")
            })
            .collect()
    };
    let both = match turn % 2 {
        0 => format!("<CLUSTER NAME=\"both\">{}</CLUSTER>", hosts(turn)),
        _ => "<GRID NAME=\"both\"><METRICS NAME=\"m\" SUM=\"1\" NUM=\"1\"/></GRID>".to_owned(),
    };
    format!(
        "<GANGLIA_XML VERSION=\"3.7.2\"><CLUSTER NAME=\"own {source}\">{}</CLUSTER>\
         <CLUSTER NAME=\"shared\">{}</CLUSTER>{both}</GANGLIA_XML>",
        hosts(turn % 7),
        hosts(turn % 3)
    )
}

#[test]
fn readers_and_publishers_do_not_disturb_each_other() {
    let store = Arc::new(store());
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        for seed in 0..2usize {
            let (store, done) = (&store, &done);
            scope.spawn(move || {
                let mut budget = 1 + seed;
                while !done.load(Ordering::Relaxed) {
                    let view = store.view();
                    let dump = |query: &str| {
                        let query = Query::parse(query).expect("a path");
                        XmlWriter::new(&view, query, START).into_bytes()
                    };
                    let (all, summary) = (dump("/"), dump("/?filter=summary"));
                    // Slow readers of a grid that changes.
                    for query in ["/", "/?filter=summary", "/both", "/shared?filter=summary"] {
                        let query = Query::parse(query).expect("a path");
                        let mut writer = XmlWriter::live(Arc::clone(store), query, START);
                        let mut out = Vec::new();
                        loop {
                            budget = budget * 31 % 1009;
                            if writer.fill(&mut out, budget) == Progress::Done {
                                break;
                            }
                            thread::yield_now();
                        }
                        well_formed(&String::from_utf8(out).expect("ASCII"));
                    }
                    assert!(all == dump("/") && summary == dump("/?filter=summary"), "a view changed");
                }
            });
        }
        let publishers: Vec<_> = (0..3)
            .map(|source| {
                let store = &store;
                scope.spawn(move || {
                    for life in 0..4 {
                        let id = store.add_source(&format!("{source}"));
                        let mut reader = reader(true);
                        for turn in 0..40 {
                            let now = START + (life * 40 + turn) as i64 * 15;
                            let text = document(source, life * 41 + turn);
                            store.publish(id, reader.read_document(text.as_bytes(), now).expect("whole"));
                            if turn % 7 == 0 {
                                store.mark_dead(id, now + 100);
                            }
                            thread::yield_now();
                        }
                        store.remove_source(id);
                    }
                })
            })
            .collect();
        let ended: Vec<_> = publishers.into_iter().map(|publisher| publisher.join()).collect();
        done.store(true, Ordering::Relaxed);
        ended.into_iter().for_each(|ended| ended.expect("a publisher"));
    });
    assert_eq!(store.view().clusters().count() + store.view().grids().count(), 0);
}
