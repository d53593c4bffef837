//! What plugins cost. Not a criterion bench: what counts is the CPU of all threads, and whether anything is dropped.
//!
//! `cargo bench --bench plugins` (half a minute): CPU a cluster of 1000 hosts × 33 metrics, above that of a daemon without
//! plugins. `-- 500 [SECONDS]`: so many sources of 20 hosts × 33 metrics at 15 s with 8 Rust plugins and 2 executables.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use gmetad_core::conf::{Config, MemoryLoader, Section};
use gmetad_core::model::UnixTime;
use gmetad_core::plugin::{Change, MetricChange, PluginError, Role};
use gmetad_core::source::{Source, Stop};
use gmetad_core::synthetic::SyntheticCluster;
use gmetad_core::{Gmetad, GmondReader, Plugin, PollError, ReaderOptions, SourceSnapshot, Transaction};
use gmetad_plugins::alert::AlertPlugin;
use gmetad_plugins::exec::{About, ExecPlugin};

const METRICS: usize = 33;

/// Snapshots that were read beforehand, in turn: a poll costs next to nothing.
struct Prepared {
    snapshots: Vec<SourceSnapshot>,
    at: usize,
}

impl Prepared {
    fn new(name: String, hosts: usize) -> Self {
        let cluster = SyntheticCluster::new(name, hosts, METRICS);
        let mut reader = GmondReader::new(Vec::new(), ReaderOptions::default());
        let now = gmetad_core::now();
        let snapshots = (0..3)
            .map(|turn| reader.read_document(&cluster.document(now + 15 * turn), now + 15 * turn).expect("a document"))
            .collect();
        Self { snapshots, at: 0 }
    }
}

impl Source for Prepared {
    fn poll(&mut self, _: UnixTime, _: &Stop) -> Result<SourceSnapshot, PollError> {
        self.at += 1;
        Ok(self.snapshots[self.at % self.snapshots.len()].clone())
    }
}

/// Adds up all values.
struct Reads(String, f64);

impl Plugin for Reads {
    fn name(&self) -> &str {
        &self.0
    }

    fn notify(&mut self, transaction: &mut Transaction) -> Result<(), PluginError> {
        let hosts = transaction.cluster().into_iter().flat_map(|cluster| cluster.hosts());
        self.1 += hosts.flat_map(|host| host.metrics()).map(|metric| metric.number()).sum::<f64>();
        Ok(())
    }
}

/// Changes a metric of the first host.
struct Changes(String);

impl Plugin for Changes {
    fn name(&self) -> &str {
        &self.0
    }

    fn role(&self) -> Role {
        Role::Changer
    }

    fn notify(&mut self, transaction: &mut Transaction) -> Result<(), PluginError> {
        let first = transaction.cluster().and_then(|cluster| cluster.hosts().next());
        if let Some((host, metric)) = first.and_then(|host| Some((host.name(), host.metrics().next()?.name()))) {
            let set = MetricChange { value: Some("1".to_owned()), ..MetricChange::default() };
            let (host, metric) = (host.to_owned(), metric.to_owned());
            transaction.change(Change::Metric { host, metric, set });
        }
        Ok(())
    }
}

const EXECUTABLE: &str = r#"#!/usr/bin/env python3
import sys
def answer(text):
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
for line in sys.stdin.buffer:
    if line.startswith(b'{"type":"hello"'):
        answer('{"type":"hello","protocol":1,WANTS}')
    elif line.startswith(b'{"type":"cluster"'):
        answer('{"type":"ok","id":%d}' % int(line[line.index(b'"id":') + 5:].split(b",", 1)[0]))
    else:
        answer('{"type":"ok"}')
"#;

fn executable(dir: &Path, name: &str, wants: &str, about: &Arc<About>) -> ExecPlugin {
    let path = dir.join(name);
    std::fs::write(&path, EXECUTABLE.replace("WANTS", wants)).expect("a file");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("its mode");
    ExecPlugin::new(name, path, about).expect("descriptors")
}

fn cpu() -> Duration {
    let threads = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten().filter_map(|task| {
        let text = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(threads.sum())
}

fn wait(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Ten rules, as a section of gmetad.conf.
fn rules() -> Vec<Section> {
    let metrics = [
        "load_one",
        "load_five",
        "cpu_user",
        "cpu_idle",
        "mem_free",
        "swap_free",
        "disk_free",
        "proc_run",
        "bytes_in",
        "pkts_in",
    ];
    let rules: String = metrics.map(|metric| format!("metricrule {metric} \"$val < -1\" \"m\"\n")).concat();
    let text = format!("data_source x localhost\nalert {{\n{rules}}}\n");
    Config::parse_str(&text, "bench", &MemoryLoader::default()).expect("a configuration").sections
}

/// CPU (µs) a cluster with these plugins.
fn cost(plugins: Vec<Box<dyn Plugin>>) -> f64 {
    let interval = Duration::from_millis(100);
    let mut source = Some(Prepared::new("bench".to_owned(), 1000));
    let gmetad = Gmetad::builder()
        .custom_source("bench", interval, move || source.take().expect("made once"))
        .start()
        .expect("a daemon");
    let names: Vec<String> = plugins.iter().map(|plugin| plugin.name().to_owned()).collect();
    plugins.into_iter().for_each(|plugin| gmetad.add_plugin(plugin, &rules()).expect("a plugin"));
    let taken = || names.iter().map(|name| gmetad.stats().plugins.of(name).notified.num()).collect::<Vec<_>>();
    wait("every plugin works", || taken().iter().all(|&n| n > 5));
    let (before, polls) = (cpu(), gmetad.stats().polls_ok.num());
    std::thread::sleep(Duration::from_secs(4));
    let (used, polls) = (cpu() - before, gmetad.stats().polls_ok.num() - polls);
    let dropped: u64 = names.iter().map(|name| gmetad.stats().plugins.of(name).dropped.get()).sum();
    assert_eq!(dropped, 0, "{names:?}");
    gmetad.stop(Duration::from_secs(5)).expect("it ends");
    used.as_secs_f64() * 1e6 / polls as f64
}

fn costs(dir: &Path) {
    let about = Arc::new(About::default());
    let none = cost(Vec::new());
    println!("CPU a cluster of 1000 hosts x {METRICS} metrics; without plugins {none:.0} us (poll, publish, root)");
    let cases: [(&str, Vec<Box<dyn Plugin>>); 7] = [
        ("a sink in Rust that reads all", vec![Box::new(Reads("reads".to_owned(), 0.0))]),
        ("a changer in Rust, one host", vec![Box::new(Changes("changes".to_owned()))]),
        ("the alert plugin with 10 rules", vec![Box::new(AlertPlugin::new())]),
        ("an executable that takes all", vec![Box::new(executable(dir, "all", r#""detail":"hosts""#, &about))]),
        (
            "an executable, load_* and cpu_*",
            vec![Box::new(executable(dir, "some", r#""metrics":["load_*","cpu_*"]"#, &about))],
        ),
        ("an executable, changed hosts", vec![Box::new(executable(dir, "changed", r#""detail":"changed""#, &about))]),
        (
            "an executable that takes summaries",
            vec![Box::new(executable(dir, "summaries", r#""detail":"summary""#, &about))],
        ),
    ];
    for (name, plugins) in cases {
        println!("{name:<40} {:>8.0} us more", cost(plugins) - none);
    }
}

fn many(dir: &Path, sources: usize, seconds: u64) {
    let about = Arc::new(About::default());
    let mut builder = Gmetad::builder();
    for n in 0..sources {
        let mut source = Some(Prepared::new(format!("cluster {n}"), 20));
        let make = move || source.take().expect("made once");
        builder = builder.custom_source(format!("source {n}"), Duration::from_secs(15), make);
    }
    for n in 0..4 {
        builder = builder.plugin(Changes(format!("changes {n}"))).plugin(Reads(format!("reads {n}"), 0.0));
    }
    let gmetad = builder.start().expect("a daemon");
    for (name, wants) in [("all", r#""detail":"hosts""#), ("summaries", r#""detail":"summary""#)] {
        gmetad.add_plugin(Box::new(executable(dir, name, wants, &about)), &[]).expect("a plugin");
    }
    let stats = Arc::clone(gmetad.stats());
    wait("the executables work", || ["all", "summaries"].iter().all(|name| stats.plugins.of(name).notified.num() > 0));
    let (before, polls) = (cpu(), stats.polls_ok.num());
    std::thread::sleep(Duration::from_secs(seconds));
    let (used, polls) = (cpu() - before, stats.polls_ok.num() - polls);
    println!(
        "{sources} sources of 20 hosts x {METRICS} metrics at 15 s, 8 Rust plugins, 2 executables, {seconds} s: {polls} polls (about {} expected), \
         {} late, {} transactions dropped, {:.1} % of a core",
        sources as u64 * (seconds / 15),
        stats.polls_late.get(),
        stats.dropped.get(),
        used.as_secs_f64() / seconds as f64 * 100.0
    );
    for plugin in stats.plugins.all() {
        println!(
            "  {:<12} {:>8} taken, {} dropped, {} failed, {:.1} us each",
            plugin.name(),
            plugin.notified.num(),
            plugin.dropped.get(),
            plugin.failed.get(),
            plugin.notified.total_millis() as f64 * 1e3 / plugin.notified.num().max(1) as f64
        );
    }
    gmetad.stop(Duration::from_secs(10)).expect("it ends");
}

fn main() {
    let args: Vec<u64> = std::env::args().skip(1).filter_map(|arg| arg.parse().ok()).collect();
    let dir = std::env::temp_dir().join(format!("gmetad-bench-plugins-{}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("a scratch directory");
    match args[..] {
        [] => costs(&dir),
        [sources] => many(&dir, sources as usize, 67),
        [sources, seconds, ..] => many(&dir, sources as usize, seconds),
    }
    let _ = std::fs::remove_dir_all(&dir);
}
