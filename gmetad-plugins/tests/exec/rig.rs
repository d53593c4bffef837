//! What the tests share: transactions, scripts, the log.

use std::fs::{self, Permissions, set_permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Once};
use std::time::{Duration, Instant};

use gmetad_core::conf::{MemoryLoader, RawConfig, Section};
use gmetad_core::stats::{PluginStats, Stats};
use gmetad_core::synthetic::{SyntheticCluster, SyntheticSource};
use gmetad_core::{Gmetad, Plugin, Transaction};
use gmetad_plugins::exec::{About, ExecPlugin};
use parking_lot::Mutex;

pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
pub(crate) const SECOND: Duration = Duration::from_secs(1);

/// What each Python script begins with.
const PYTHON: &str = r#"#!/usr/bin/env python3
import json, os, signal, subprocess, sys, time
def answer(**document):
    sys.stdout.write(json.dumps(document) + "\n")
    sys.stdout.flush()
def ask():
    line = sys.stdin.readline()
    if not line:
        sys.exit(0)
    return json.loads(line)
def begin(**hello):
    asked = ask()
    assert asked["type"] == "hello", asked
    answer(type="hello", protocol=1, **hello)
    for kind in ["config", "start"]:
        assert ask()["type"] == kind
        answer(type="ok")
"#;

/// Waits for something to become true.
#[track_caller]
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(
            Instant::now() < end,
            "{what}; the log has {:#?}",
            LOG.0.lock().iter().rev().take(10).collect::<Vec<_>>()
        );
        std::thread::sleep(Duration::from_millis(3));
    }
}

/// A cluster after a poll.
pub(crate) fn transaction(cluster: &str, hosts: usize, metrics: usize) -> Transaction {
    let source = SyntheticCluster::new(cluster, hosts, metrics);
    let (builder, polls) = Gmetad::builder()
        .custom_source(format!("source of {cluster}"), SECOND, move || SyntheticSource::new(source.clone()))
        .subscribe(8);
    let gmetad = builder.start().unwrap();
    let polled = polls.iter().find(|polled| polled.cluster().is_some()).unwrap();
    gmetad.stop(PATIENCE).unwrap();
    Transaction::clone(&polled)
}

pub(crate) struct Log(Mutex<Vec<String>>);

static LOG: Log = Log(Mutex::new(Vec::new()));

impl log::Log for Log {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        self.0.lock().push(format!("{} {}", record.level(), record.args()));
    }

    fn flush(&self) {}
}

/// Lines of the log about a plugin that have this text.
pub(crate) fn logged(plugin: &str, text: &str) -> usize {
    let begin = format!("plugin {plugin}: ");
    LOG.0.lock().iter().filter(|line| line.contains(&begin) && line.contains(text)).count()
}

pub(crate) fn catch_log() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        log::set_logger(&LOG).unwrap();
        log::set_max_level(log::LevelFilter::Debug);
    });
}

pub(crate) fn section(name: &str, body: &str) -> Section {
    let text = format!("{name} {{\n{body}\n}}\n");
    RawConfig::parse_str(&text, "gmetad.conf", &MemoryLoader::default()).sections.remove(0)
}

/// A directory that only we may write.
pub(crate) fn directory() -> tempfile::TempDir {
    catch_log();
    let dir = tempfile::Builder::new().prefix("exec-").tempdir().unwrap();
    set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
    dir
}

/// Writes a script; one without `#!` is Python behind [`PYTHON`].
pub(crate) fn script(dir: &Path, name: &str, body: &str) -> PathBuf {
    let path = dir.join(name);
    let text = if body.starts_with("#!") { body.to_owned() } else { format!("{PYTHON}{body}\n") };
    // Renamed into place: whoever forks just now may hold the file open for writing, which would be "text file busy".
    let new = dir.join(format!(".{name}.new"));
    fs::write(&new, text).unwrap();
    set_permissions(&new, Permissions::from_mode(0o755)).unwrap();
    fs::rename(&new, &path).unwrap();
    path
}

/// A plugin that runs, without a daemon.
pub(crate) struct Rig {
    pub(crate) plugin: ExecPlugin,
    pub(crate) stats: Arc<PluginStats>,
    pub(crate) all: Arc<Stats>,
    pub(crate) dir: tempfile::TempDir,
    pub(crate) name: String,
}

impl Rig {
    /// `{dir}` of the script is its directory.
    pub(crate) fn start(name: &str, body: &str, directives: &str) -> Self {
        let dir = directory();
        let body = body.replace("{dir}", dir.path().to_str().unwrap());
        let path = script(dir.path(), name, &body);
        let about = About { grid: "the grid".to_owned(), version: "0.0.1".to_owned(), ..About::default() };
        about.sources.lock().push(("lab".to_owned(), 15));
        let mut plugin = ExecPlugin::new(name, path, &Arc::new(about)).unwrap();
        let all = Arc::new(Stats::default());
        plugin.attach(&all);
        plugin.configure(&[section(name, directives)]).unwrap();
        plugin.start().unwrap();
        Self { plugin, stats: all.plugins.of(name), all, dir, name: name.to_owned() }
    }

    pub(crate) fn file(&self, name: &str) -> String {
        fs::read_to_string(self.dir.path().join(name)).unwrap_or_default()
    }

    pub(crate) fn logged(&self, text: &str) -> usize {
        logged(&self.name, text)
    }

    #[track_caller]
    pub(crate) fn await_log(&self, text: &str) {
        until(&format!("the log names {}: {text}", self.name), || self.logged(text) > 0);
    }

    /// Stops it as a daemon does; how long that took.
    pub(crate) fn stop(mut self) -> (tempfile::TempDir, Duration) {
        let began = Instant::now();
        self.plugin.stop();
        let called = began.elapsed();
        assert!(called < Duration::from_millis(500), "stop only signals: {called:?}");
        drop(self.plugin);
        (self.dir, began.elapsed())
    }
}

/// Whether a process runs (a zombie does not).
pub(crate) fn is_alive(pid: &str) -> bool {
    assert!(!pid.trim().is_empty(), "a process that has said its number");
    fs::read_to_string(format!("/proc/{}/stat", pid.trim()))
        .is_ok_and(|stat| !stat.rsplit(')').next().unwrap_or("").trim_start().starts_with('Z'))
}

/// Memory of this process, in bytes.
pub(crate) fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}
