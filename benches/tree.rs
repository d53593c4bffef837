//! XML parse, merge, summary, dump and query, at 100 and 1,000 hosts. Criterion prints times and MB/s; the first lines
//! have nanoseconds a series. `scripts/compare` runs the same against the C daemon as whole processes.

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use gmetad_core::query::Query;
use gmetad_core::store::Identity;
use gmetad_core::summary::RootRules;
use gmetad_core::synthetic::{Change, SyntheticCluster};
use gmetad_core::{GmondReader, GridStore, ReaderOptions, XmlWriter};

const METRICS: usize = 33;
const NOW: i64 = 1_800_000_000;

fn reader() -> GmondReader {
    GmondReader::new(Vec::new(), ReaderOptions::default())
}

fn store(snapshot: &gmetad_core::SourceSnapshot) -> GridStore {
    let store = GridStore::new(Identity::default(), RootRules::default());
    store.publish(store.add_source("bench"), snapshot.clone());
    store
}

/// Nanoseconds a series of a poll and of a dump, as medians of 41.
fn per_series(_: &mut Criterion) {
    for hosts in [100, 1000] {
        let cluster = SyntheticCluster::new("bench", hosts, METRICS);
        let documents = [cluster.document(NOW), cluster.document(NOW + 15)];
        let series = (hosts * METRICS) as f64;
        let mut reader = reader();
        let mut at = 0;
        let poll = median(|| {
            at += 1;
            black_box(reader.read_document(&documents[at % 2], NOW + at as i64)).is_ok()
        });
        let view = store(&reader.read_document(&documents[0], NOW).expect("a document")).view();
        let dump = median(|| XmlWriter::new(&view, Query::dump(), NOW).into_bytes().is_empty());
        println!(
            "{hosts} hosts x {METRICS}: poll {:.0} ns a series, dump {:.0} ns a series",
            poll / series,
            dump / series
        );
    }
}

/// Median time of a call, in nanoseconds.
fn median(mut call: impl FnMut() -> bool) -> f64 {
    let mut times: Vec<f64> = (0..41)
        .map(|_| {
            let began = Instant::now();
            black_box(call());
            began.elapsed().as_secs_f64() * 1e9
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[20]
}

/// From bytes to the published summary: the first poll of a source, and the polls after it.
fn parse(c: &mut Criterion) {
    for hosts in [100, 1000] {
        let mut cluster = SyntheticCluster::new("bench", hosts, METRICS);
        let bytes = cluster.document(NOW).len() as u64;
        let mut group = c.benchmark_group(format!("parse {hosts} hosts x {METRICS}"));
        group.throughput(Throughput::Bytes(bytes));
        let document = cluster.document(NOW);
        group.bench_function("first poll", |b| {
            b.iter_batched_ref(reader, |reader| black_box(reader.read_document(&document, NOW)), BatchSize::LargeInput);
        });
        for (name, change) in
            [("values change", Change::Values), ("order changes", Change::Order), ("same values", Change::Nothing)]
        {
            cluster.change = change;
            let documents = [cluster.document(NOW + 15), cluster.document(NOW + 30)];
            let mut reader = reader();
            let mut at = 0;
            group.bench_function(BenchmarkId::new("next poll", name), |b| {
                b.iter(|| {
                    at += 1;
                    black_box(reader.read_document(&documents[at % 2], NOW + at as i64))
                });
            });
        }
        group.finish();

        let mut group = c.benchmark_group(format!("store {hosts} hosts x {METRICS}"));
        let mut reader = reader();
        let snapshot = reader.read_document(&document, NOW).expect("a document");
        let polls = [snapshot.clone(), reader.read_document(&document, NOW + 15).expect("a document")];
        group.bench_function("publish", |b| {
            let store = GridStore::new(Identity::default(), RootRules::default());
            let id = store.add_source("bench");
            let mut at = 0;
            b.iter(|| {
                at += 1;
                store.publish(id, polls[at % 2].clone())
            });
        });
        group.bench_function("root summary", |b| {
            b.iter_batched(
                || store(&snapshot).view(),
                |view| black_box(view.summary().hosts_up()),
                BatchSize::SmallInput,
            );
        });
        group.finish();
    }
}

fn print(c: &mut Criterion) {
    for hosts in [100, 1000] {
        let document = SyntheticCluster::new("bench", hosts, METRICS).document(NOW);
        let snapshot = reader().read_document(&document, NOW).expect("a document");
        let view = store(&snapshot).view();
        let mut group = c.benchmark_group(format!("print {hosts} hosts x {METRICS}"));
        for (name, query) in [("dump", "/"), ("summary", "/?filter=summary"), ("host", "/bench/node00007.bench")] {
            let query = Query::parse(query).expect("a query");
            let bytes = XmlWriter::new(&view, query.clone(), NOW).into_bytes().len() as u64;
            group.throughput(Throughput::Bytes(bytes));
            group
                .bench_function(name, |b| b.iter(|| black_box(XmlWriter::new(&view, query.clone(), NOW).into_bytes())));
        }
        group.finish();
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20).measurement_time(Duration::from_secs(3)).warm_up_time(Duration::from_secs(1));
    targets = per_series, parse, print
}
criterion_main!(benches);
