//! The store as a whole: CPU of a point, bytes to the disk, memory of a point that waits, writers side by side, the start
//! after a crash. Not a criterion bench: what counts is the CPU of all threads, which the kernel counts.
//!
//! `cargo bench --bench store [-- HOSTS [small]]`, and in the environment ROUNDS and ONLY (part of a line): HOSTS × 33 files (default 60), of 630 kB each, or with small archives of 7 kB.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use gmetad_core::stats::Stats;
use gmetad_rrd::cache::{CacheOptions, Group, MakeBackend, RowWriter};
use gmetad_rrd::native::Options;
use gmetad_rrd::{Cached, DsKind, NativeStore, RraSpec, RrdStore, Schema, Value};

const METRICS: usize = 33;
const STEP: i64 = 15;
const START: i64 = 1_800_000_000;

struct Tree {
    root: PathBuf,
    schema: Schema,
    hosts: usize,
    time: i64,
}

/// Values as a gmond has them: decimals, integers, constants, counters.
fn value(metric: usize, host: usize, time: i64) -> String {
    let turn = (time / STEP).unsigned_abs() as usize + host * 7;
    match metric % 4 {
        0 => format!("{}.{:02}", turn % 90, turn * 37 % 100),
        1 => format!("{}.0", turn * 977 % 101),
        2 => format!("{}", 16_000_000 + turn * 13_331 % 4_000_000),
        _ => format!("{}", 8 + metric),
    }
}

impl Tree {
    fn open(&self, options: CacheOptions) -> RrdStore {
        let descriptors = self.hosts * METRICS;
        let native: MakeBackend = Box::new(move || {
            Ok(Box::new(NativeStore::new(Options { max_descriptors: descriptors.min(8192), ..Options::default() })))
        });
        RrdStore::open(&self.root, options, &native, Arc::new(Stats::default())).expect("a store")
    }

    fn groups(&self, store: &RrdStore) -> Vec<(Arc<Group>, Vec<u32>)> {
        let schema = store.schema(self.schema.clone());
        (0..self.hosts)
            .map(|host| {
                let group = store.group(Path::new(&format!("cluster/h{host}")));
                let slots = (0..METRICS)
                    .map(|m| store.slot(&group, &format!("metric_{m}.rrd"), &schema).expect("few files"))
                    .collect();
                (group, slots)
            })
            .collect()
    }

    /// One poll of all hosts. Returns the CPU of making the texts, which is the bench's own.
    fn poll(&mut self, store: &RrdStore, groups: &[(Arc<Group>, Vec<u32>)], source: &Arc<str>) -> Duration {
        self.time += STEP;
        let before = cpu();
        let texts: Vec<String> =
            (0..self.hosts * METRICS).map(|at| value(at % METRICS, at / METRICS, self.time)).collect();
        let own = cpu() - before;
        let mut row = RowWriter::default();
        for ((group, slots), texts) in groups.iter().zip(texts.chunks(METRICS)) {
            row.start(self.time);
            for (slot, text) in slots.iter().zip(texts) {
                row.put(*slot, &[Value::Text(text)]);
            }
            store.accept(group, &row, source).expect("newer");
        }
        own
    }
}

fn cpu() -> Duration {
    let threads = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten().filter_map(|task| {
        let text = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(threads.sum())
}

/// Bytes written to all disks since the start of the machine. (What `/proc/self/io` says counts whole folios.)
fn written() -> u64 {
    sync();
    let stats = std::fs::read_dir("/sys/block").into_iter().flatten().flatten().filter_map(|disk| {
        let text = std::fs::read_to_string(disk.path().join("stat")).ok()?;
        text.split_whitespace().nth(6)?.parse::<u64>().ok()
    });
    stats.sum::<u64>() * 512
}

fn figure(store: &RrdStore, name: &str) -> u64 {
    store.counters().into_iter().find(|(known, _)| *known == name).map_or(0, |(_, value)| value)
}

fn settle(store: &RrdStore) {
    // Looking must not take a core from the writers.
    while store.waiting() > 0 {
        std::thread::sleep(Duration::from_micros(500));
    }
}

/// What is in the page cache goes to the disk, so that each round starts alike.
fn sync() {
    let _ = std::process::Command::new("sync").status();
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Rounds of `polls` polls each that are written at their end; CPU (µs) of a point, median; bytes of a point, mean (every
/// second time all archives get a row); points a second of the flush, median.
fn rounds(tree: &mut Tree, polls: usize, writers: usize, journal: bool) -> (f64, f64, f64) {
    let sync_interval = if journal { Duration::from_secs(1) } else { Duration::ZERO };
    let cache = if polls == 1 { Duration::ZERO } else { Duration::from_secs(86_400) };
    let store =
        tree.open(CacheOptions { cache: Some(cache), writers, journal_sync: sync_interval, ..CacheOptions::default() });
    let (groups, source) = (tree.groups(&store), Arc::from("bench"));
    tree.poll(&store, &groups, &source); // makes the files
    settle(&store);
    let (mut micros, mut bytes, mut walls) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..std::env::var("ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(6) {
        let (written_before, cpu_before) = (written(), cpu());
        let mut own = Duration::ZERO;
        for _ in 0..polls {
            own += tree.poll(&store, &groups, &source);
            if polls == 1 {
                settle(&store);
            }
        }
        let flush = Instant::now();
        store.flush_all();
        settle(&store);
        let wall = flush.elapsed();
        let used = cpu() - cpu_before - own;
        let points = (polls * tree.hosts * METRICS) as f64;
        micros.push(used.as_secs_f64() * 1e6 / points);
        bytes.push((written() - written_before) as f64 / points);
        walls.push(points / wall.as_secs_f64());
    }
    store.close(Duration::from_secs(60));
    (median(micros), bytes.iter().sum::<f64>() / bytes.len() as f64, median(walls))
}

/// Two writers against one: of two stores, in turn, each with a tree of its own, 20 points a write; the median of the
/// pairs. The third figure is what the machine itself gives: two stores of one writer each at the same time.
fn pairs(root: &Path, schema: &Schema, hosts: usize, count: usize) -> (f64, f64) {
    let source: Arc<str> = Arc::from("bench");
    let options =
        |writers| CacheOptions { cache: Some(Duration::from_secs(86_400)), writers, ..CacheOptions::default() };
    let mut all: Vec<_> = [("one", 1), ("two", 2), ("left", 1), ("right", 1)]
        .map(|(name, writers)| {
            std::fs::create_dir_all(root.join(name)).expect("a directory");
            let mut tree = Tree {
                root: root.join(name),
                schema: schema.clone(),
                hosts: if writers == 1 && name != "one" { hosts / 2 } else { hosts },
                time: START,
            };
            let store = tree.open(options(writers));
            let groups = tree.groups(&store);
            tree.poll(&store, &groups, &source); // makes the files
            settle(&store);
            (tree, store, groups)
        })
        .into();
    let (mut two, mut machine) = (Vec::new(), Vec::new());
    for _ in 0..count {
        let mut walls = Vec::new();
        for part in [0..1, 1..2, 2..4] {
            for (tree, store, groups) in &mut all[part.clone()] {
                for _ in 0..20 {
                    tree.poll(store, groups, &source);
                }
            }
            sync();
            std::thread::sleep(Duration::from_millis(1500)); // the journal's last commit
            let began = Instant::now();
            for (_, store, _) in &all[part.clone()] {
                store.flush_all();
            }
            for (_, store, _) in &all[part] {
                settle(store);
            }
            walls.push(began.elapsed().as_secs_f64());
        }
        if std::env::var_os("SHOW").is_some() {
            eprintln!("{:.1} {:.1} {:.1} ms", walls[0] * 1e3, walls[1] * 1e3, walls[2] * 1e3);
        }
        two.push(walls[0] / walls[1]);
        machine.push(walls[0] / walls[2]);
    }
    for (_, store, _) in all {
        store.close(Duration::from_secs(60));
    }
    (median(two), median(machine))
}

fn memory(tree: &mut Tree) -> f64 {
    let store = tree.open(CacheOptions {
        cache: Some(Duration::from_secs(86_400)),
        journal_sync: Duration::ZERO,
        ..CacheOptions::default()
    });
    let (groups, source) = (tree.groups(&store), Arc::from("bench"));
    tree.poll(&store, &groups, &source);
    settle(&store);
    let resident = || {
        let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
        text.split(' ').nth(1).and_then(|pages| pages.parse::<f64>().ok()).unwrap_or_default() * 4096.0
    };
    for _ in 0..5 {
        tree.poll(&store, &groups, &source);
    }
    let (before, had) = (resident(), figure(&store, "points_pending"));
    while figure(&store, "points_pending") < had + 1_000_000 {
        tree.poll(&store, &groups, &source);
    }
    let grown = (resident() - before) / (figure(&store, "points_pending") - had) as f64;
    println!(
        "  counted by the store itself: {:.1} B",
        figure(&store, "pending_bytes") as f64 / figure(&store, "points_pending") as f64
    );
    store.close(Duration::from_secs(60));
    grown
}

/// A journal of a million points, as a killed daemon leaves it; how long the start takes, and until all is in files.
fn replay(tree: &mut Tree) -> (f64, f64) {
    let options = || CacheOptions { cache: Some(Duration::from_secs(86_400)), ..CacheOptions::default() };
    let store = tree.open(options());
    let (groups, source) = (tree.groups(&store), Arc::from("bench"));
    while figure(&store, "points_pending") < 1_000_000 {
        tree.poll(&store, &groups, &source);
    }
    let length = || {
        let entries = std::fs::read_dir(tree.root.join(".gmetad")).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.metadata().ok()).map(|meta| meta.len()).sum::<u64>()
    };
    let mut last = 0;
    while length() != last {
        last = length();
        std::thread::sleep(Duration::from_millis(2500));
    }
    let copy = tree.root.with_extension("copy");
    let status = std::process::Command::new("cp").arg("-a").arg(tree.root.join(".gmetad")).arg(&copy).status();
    assert!(status.is_ok_and(|status| status.success()), "a copy of the journal");
    // The files stay as they are: the points that wait are dropped with the store's memory.
    std::mem::forget(store);
    let fresh = tree.root.with_extension("fresh");
    std::fs::create_dir_all(&fresh).expect("a directory");
    std::fs::rename(&copy, fresh.join(".gmetad")).expect("a journal");
    std::os::unix::fs::symlink(tree.root.join("cluster"), fresh.join("cluster")).expect("a link");
    let began = Instant::now();
    let again = Tree { root: fresh, schema: tree.schema.clone(), hosts: tree.hosts, time: tree.time }.open(options());
    let opened = began.elapsed().as_secs_f64();
    assert!(figure(&again, "journal_replayed") >= 1_000_000, "{}", figure(&again, "journal_replayed"));
    settle(&again);
    let written = began.elapsed().as_secs_f64();
    again.close(Duration::from_secs(60));
    (opened, written)
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with("--")).collect();
    let hosts = args.first().and_then(|arg| arg.parse().ok()).unwrap_or(60);
    let only = std::env::var("ONLY").ok();
    let small = args.iter().any(|arg| arg == "small");
    let rras = if small {
        ["RRA:AVERAGE:0.5:1:244", "RRA:AVERAGE:0.5:24:244", "RRA:AVERAGE:0.5:168:244"]
            .map(|t| t.parse::<RraSpec>().expect("an archive"))
            .to_vec()
    } else {
        Schema::ganglia_rras()
    };
    let root = std::env::temp_dir().join(format!("gmetad-bench-store-{}", std::process::id()));
    std::fs::create_dir_all(&root).expect("a scratch directory");
    let mut tree =
        Tree { root: root.clone(), schema: Schema::host(STEP as u64, DsKind::Gauge, &rras), hosts, time: START };
    println!("{} files of {}", hosts * METRICS, if small { "3 x 244 rows" } else { "Ganglia's archives" });
    println!("medians of the rounds              CPU us/point   bytes written/point   points/s of the flush");
    for (name, polls, writers, journal) in [
        ("written through, no journal", 1, 2, false),
        ("written through, journal", 1, 2, true),
        ("4 a write, journal", 4, 2, true),
        ("20 a write, journal", 20, 2, true),
        ("30 a write, journal", 30, 2, true),
        ("20 a write, no journal", 20, 2, false),
        ("20 a write, journal, 1 writer", 20, 1, true),
        ("written through, 1 writer", 1, 1, true),
    ] {
        if !only.as_deref().is_none_or(|only| name.contains(only)) {
            continue;
        }
        let (micros, bytes, speed) = rounds(&mut tree, polls, writers, journal);
        println!("{name:<34} {micros:>10.3} {bytes:>18.0} {speed:>20.0}");
    }
    if only.as_deref().is_none_or(|only| "two writers against one".contains(only)) {
        let (two, machine) = pairs(&root, &tree.schema, hosts, 15);
        println!("two writers against one: {two:.2}; two stores side by side, one writer each: {machine:.2}");
    }
    if only.is_none() {
        println!("memory of a point that waits (resident): {:.1} B", memory(&mut tree));
        let (opened, written) = replay(&mut tree);
        println!("start with 1,000,000 journalled points: {opened:.2} s, all in files after {written:.2} s");
    }
    for extension in ["", "copy", "fresh"] {
        let _ =
            std::fs::remove_dir_all(if extension.is_empty() { root.clone() } else { root.with_extension(extension) });
    }
}
