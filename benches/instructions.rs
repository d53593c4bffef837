//! Cases whose instructions `scripts/instructions` counts and compares with `benches/instructions.txt`. No criterion: times
//! of a shared machine guard nothing, while a count is the same today and tomorrow.
//!
//! With a CASE and a number, this does the case so many times; without, it lists the cases: name, how many times to do it
//! (and twice that: the difference is without what comes before and after), what a repetition consists of.

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use gmetad_core::stats::Stats;
use gmetad_core::store::Identity;
use gmetad_core::summary::RootRules;
use gmetad_core::synthetic::{Change, SyntheticCluster};
use gmetad_core::{GmondReader, GridStore, Query, ReaderOptions, XmlWriter};
use gmetad_rrd::cache::{CacheOptions, MakeBackend, RowWriter};
use gmetad_rrd::native::Options;
use gmetad_rrd::{Backend, Cached, DsKind, NativeStore, Point, RraSpec, RrdStore, Schema, Value};

const HOSTS: usize = 20;
const METRICS: usize = 33;
const SERIES: usize = HOSTS * METRICS;
const NOW: i64 = 1_800_000_000;
const STEP: i64 = 15;

/// Makes everything ready; what it returns is done once a repetition.
type Prepare = fn(&Path) -> Box<dyn FnMut()>;

struct Case {
    name: &'static str,
    /// So many that what is random (seeds of hash tables) is lost in them.
    repeat: usize,
    /// What a repetition has, and how many of them.
    unit: &'static str,
    units: usize,
    prepare: Prepare,
}

const fn case(name: &'static str, repeat: usize, (units, unit): (usize, &'static str), prepare: Prepare) -> Case {
    Case { name, repeat, unit, units, prepare }
}

const CASES: [Case; 12] = [
    case("first-poll", 10, (SERIES, "series"), first_poll),
    case("next-poll-values", 24, (SERIES, "series"), |_| next_poll(cluster())),
    case("next-poll-order", 24, (SERIES, "series"), |_| {
        next_poll(SyntheticCluster { change: Change::Order, ..cluster() })
    }),
    case("next-poll-unique", 24, (SERIES, "series"), |_| {
        next_poll(SyntheticCluster { unique_extra: true, ..cluster() })
    }),
    case("next-poll-nothing", 24, (SERIES, "series"), |_| {
        next_poll(SyntheticCluster { change: Change::Nothing, ..cluster() })
    }),
    case("next-poll-grid", 24, (SERIES, "series"), |_| next_poll_of(&cluster(), in_grid)),
    case("publish-and-root", 400, (1, "call"), publish),
    case("dump", 40, (SERIES, "series"), |_| query("/")),
    case("summary-query", 200, (1, "call"), |_| query("/?filter=summary")),
    case("host-query", 400, (1, "call"), |_| query("/bench/node00007.bench")),
    case("rrd-accept", 200, (SERIES, "point"), rrd_accept),
    case("rrd-update", 20, (METRICS * POINTS, "point"), rrd_update),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [name, repeat] = &arguments[..] else {
        for Case { name, repeat, unit, units, .. } in CASES {
            println!("{name} {repeat} {units} {unit}");
        }
        return ExitCode::SUCCESS;
    };
    let (Some(case), Ok(repeat)) = (CASES.iter().find(|case| case.name == name), repeat.parse::<usize>()) else {
        eprintln!("no such case, or no number");
        return ExitCode::FAILURE;
    };
    // A path of the same length each time: its bytes are hashed and compared.
    let scratch = std::env::temp_dir().join(format!("gmetad-instructions-{:010}", std::process::id()));
    let mut run = (case.prepare)(&scratch);
    for _ in 0..repeat {
        run();
    }
    drop(run);
    let _ = std::fs::remove_dir_all(&scratch);
    ExitCode::SUCCESS
}

fn cluster() -> SyntheticCluster {
    SyntheticCluster::new("bench", HOSTS, METRICS)
}

fn reader() -> GmondReader {
    GmondReader::new(Vec::new(), ReaderOptions::default())
}

fn store() -> GridStore {
    GridStore::new(Identity::default(), RootRules::default())
}

fn first_poll(_: &Path) -> Box<dyn FnMut()> {
    let document = cluster().document(NOW);
    Box::new(move || drop(black_box(reader().read_document(&document, NOW).expect("a document"))))
}

/// Two documents in turn, read before.
fn next_poll(cluster: SyntheticCluster) -> Box<dyn FnMut()> {
    next_poll_of(&cluster, |document| document)
}

/// What a child's dump has around its clusters.
fn in_grid(document: Vec<u8>) -> Vec<u8> {
    let text = String::from_utf8(document).expect("ASCII");
    let text =
        text.replacen("<CLUSTER ", "<GRID NAME=\"child\" AUTHORITY=\"\" LOCALTIME=\"1800000000\">\n<CLUSTER ", 1);
    text.replace("</CLUSTER>", "</CLUSTER>\n</GRID>").into_bytes()
}

fn next_poll_of(cluster: &SyntheticCluster, change: fn(Vec<u8>) -> Vec<u8>) -> Box<dyn FnMut()> {
    let documents = [NOW + STEP, NOW + 2 * STEP].map(|time| change(cluster.document(time)));
    let mut reader = reader();
    let mut at = 0;
    let mut poll = move || {
        at += 1;
        drop(black_box(reader.read_document(&documents[at % 2], NOW + at as i64).expect("a document")));
    };
    (0..4).for_each(|_| poll());
    Box::new(poll)
}

/// A cluster and a second one, whose sum is the root.
fn publish(_: &Path) -> Box<dyn FnMut()> {
    let store = store();
    let mut other = cluster();
    other.name = "other".to_owned();
    let first = reader().read_document(&other.document(NOW), NOW).expect("a document");
    store.publish(store.add_source("other"), first);
    let id = store.add_source("bench");
    let mut reader = reader();
    let mut poll = |now| reader.read_document(&cluster().document(now), now).expect("a document");
    let polls = [poll(NOW), poll(NOW + STEP)];
    let mut at = 0;
    let mut publish = move || {
        at += 1;
        black_box(store.publish(id, polls[at % 2].clone()));
        black_box(store.view().summary().hosts_up());
    };
    (0..2).for_each(|_| publish());
    Box::new(publish)
}

fn query(path: &str) -> Box<dyn FnMut()> {
    let (store, query) = (store(), Query::parse(path).expect("a query"));
    let snapshot = reader().read_document(&cluster().document(NOW), NOW).expect("a document");
    store.publish(store.add_source("bench"), snapshot);
    let view = store.view();
    black_box(view.summary().hosts_up());
    Box::new(move || drop(black_box(XmlWriter::new(&view, query.clone(), NOW).into_bytes())))
}

fn schema() -> Schema {
    let rra: RraSpec = "RRA:AVERAGE:0.5:1:244".parse().expect("an archive");
    Schema::host(STEP as u64, DsKind::Gauge, &[rra])
}

/// A value of each kind that gmond sends.
fn value(metric: usize, turn: usize) -> String {
    match metric % 4 {
        0 => format!("{}.{:02}", turn % 90, turn * 37 % 100),
        1 => format!("{}.0", turn * 977 % 101),
        2 => format!("{}", 16_000_000 + turn * 13_331 % 4_000_000),
        _ => format!("{}", 8 + metric),
    }
}

/// Points that wait in memory. Without a journal: its thread writes when it likes.
fn rrd_accept(scratch: &Path) -> Box<dyn FnMut()> {
    let options = CacheOptions {
        cache: Some(Duration::from_secs(86_400)),
        jitter: Some(Duration::ZERO),
        journal_sync: Duration::ZERO,
        writers: 1,
        ..CacheOptions::default()
    };
    let native: MakeBackend = Box::new(|| Ok(Box::new(NativeStore::new(Options::default()))));
    std::fs::create_dir_all(scratch).expect("scratch folder");
    let store = RrdStore::open(scratch, options, &native, Arc::new(Stats::default())).expect("a store");
    let schema = store.schema(schema());
    let groups: Vec<_> = (0..HOSTS)
        .map(|host| {
            let group = store.group(Path::new(&format!("bench/h{host}")));
            let slots: Vec<_> =
                (0..METRICS).map(|m| store.slot(&group, &format!("m{m}.rrd"), &schema).expect("few files")).collect();
            (group, slots)
        })
        .collect();
    let texts: Vec<_> = (0..16 * METRICS).map(|at| value(at % METRICS, at / METRICS)).collect();
    let source: Arc<str> = Arc::from("bench");
    let mut row = RowWriter::default();
    let mut time = NOW;
    let mut accept = move |store: &RrdStore| {
        time += STEP;
        let turn = (time / STEP) as usize % 16;
        for (group, slots) in &groups {
            row.start(time);
            for (slot, text) in slots.iter().zip(&texts[turn * METRICS..]) {
                row.put(*slot, &[Value::Text(text)]);
            }
            store.accept(group, &row, &source).expect("newer");
        }
    };
    // The first points make the files at once; from then on they wait.
    accept(&store);
    store.flush_all();
    while store.counters().into_iter().any(|(name, n)| name == "points_pending" && n > 0) {
        // Seldom: what looking costs is in the count, and how often depends on the load of the machine.
        std::thread::sleep(Duration::from_millis(50));
    }
    // What waits is not written at the end.
    let store = std::mem::ManuallyDrop::new(store);
    Box::new(move || accept(&store))
}

const POINTS: usize = 20;

/// What a flush is: the points of a file in one call.
fn rrd_update(scratch: &Path) -> Box<dyn FnMut()> {
    let mut store = NativeStore::new(Options { max_descriptors: 2 * METRICS, sync_new: false });
    let files: Vec<PathBuf> = (0..METRICS).map(|m| scratch.join(format!("m{m}.rrd"))).collect();
    for file in &files {
        store.create(file, &schema(), NOW).expect("a new file");
    }
    let texts: Vec<_> = (0..POINTS * METRICS).map(|at| value(at % METRICS, at / METRICS)).collect();
    let mut time = NOW;
    let mut update = move || {
        for (metric, file) in files.iter().enumerate() {
            let values: Vec<_> = (0..POINTS).map(|i| [Value::Text(&texts[i * METRICS + metric])]).collect();
            let points: Vec<_> = values
                .iter()
                .zip(1..)
                .map(|(values, i)| Point { time: time + i * STEP, values: &values[..] })
                .collect();
            store.update(file, &points).expect("an update");
        }
        time += POINTS as i64 * STEP;
    };
    update();
    Box::new(update)
}
