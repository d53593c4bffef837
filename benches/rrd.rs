//! RRD updates, written through: one value a call, and several; the files of 100 and of 1,000 hosts with 33 metrics.

use std::time::Duration;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use gmetad_rrd::native::{NativeStore, Options};
use gmetad_rrd::schema::{DsKind, RraSpec, Schema};
use gmetad_rrd::{Backend, Point, Value};

const METRICS: usize = 33;
/// Descriptors kept; of more files the others are opened and closed at each update.
const DESCRIPTORS: usize = 900;
const STEP: i64 = 15;
const START: i64 = 1_800_000_000;

/// All files get `points` values in one call each.
fn update(c: &mut Criterion) {
    let rras: Vec<RraSpec> = ["RRA:AVERAGE:0.5:1:244", "RRA:AVERAGE:0.5:24:244", "RRA:AVERAGE:0.5:168:244"]
        .iter()
        .map(|text| text.parse().expect("an archive"))
        .collect();
    let schema = Schema::host(STEP as u64, DsKind::Gauge, &rras);
    for (hosts, points) in [(100, 1), (100, 20), (1000, 1), (1000, 20)] {
        let dir = std::env::temp_dir().join(format!("gmetad-bench-{}-{hosts}-{points}", std::process::id()));
        let mut store = NativeStore::new(Options { max_descriptors: DESCRIPTORS, sync_new: false });
        let path = |i: usize| dir.join(format!("h{}/m{}.rrd", i / METRICS, i % METRICS));
        let files: Vec<_> = (0..hosts * METRICS).map(path).collect();
        for file in &files {
            store.create(file, &schema, START).expect("a new file");
        }
        let mut group = c.benchmark_group(format!("rrd update, {hosts} hosts x {METRICS}, {points} values a call"));
        group.throughput(Throughput::Elements((files.len() * points) as u64));
        let mut time = START;
        group.bench_function("native", |b| {
            b.iter_batched(
                || {
                    time += STEP * points as i64;
                    time
                },
                |time| {
                    let values = [Value::Text("1.25")];
                    let batch: Vec<_> =
                        (0..points as i64).map(|i| Point { time: time + i * STEP, values: &values }).collect();
                    for file in &files {
                        store.update(file, &batch).expect("an update");
                    }
                },
                BatchSize::PerIteration,
            );
        });
        group.finish();
        std::fs::remove_dir_all(&dir).expect("scratch folder");
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20).measurement_time(Duration::from_secs(3)).warm_up_time(Duration::from_secs(1));
    targets = update
}
criterion_main!(benches);
