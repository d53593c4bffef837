//! The disk below the real monitor: RRD files read back, and disks that are full, damaged or hang.
#![allow(clippy::unwrap_used, clippy::panic)]

mod acts;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use acts::{Acts, Rrd, eventually, log_lines};
use gmetad_agents::config::Layout;
use gmetad_agents::spec::{Datasource, Keep};
use gmetad_agents::{Control, Installed, Monitor, MonitorOptions};
use gmetad_core::agent::{Agent, AgentError, Context, Counted, Described, DescribedField, Measurement, State, Status};
use gmetad_rrd::{Cf, DsKind, View};

const SECOND: Duration = Duration::from_secs(1);

fn start(data: &Path, agents: Vec<Installed>) -> Monitor {
    let options = MonitorOptions { jitter: Duration::ZERO, ..MonitorOptions::new(data) };
    Monitor::start(options, agents, Layout::default()).unwrap()
}

fn datasource(name: &str, ds_type: DsKind) -> Datasource {
    Datasource { name: name.to_owned(), ds_type, min_bound: Some(0.0), max_bound: None }
}

fn with(mut installed: Installed, change: impl FnOnce(&mut gmetad_agents::spec::Graphs)) -> Installed {
    if let Keep::Rrd(graphs) = &mut installed.spec.keep {
        change(graphs);
    }
    installed
}

#[test]
fn what_is_measured_is_read_back() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("stats");
    let count = Arc::new(AtomicU64::new(0));
    let theirs = Arc::clone(&count);
    let agent = Acts::new("disks", move |_| {
        let n = theirs.fetch_add(1, Ordering::SeqCst) as f64;
        let of = |value: f64| Measurement::new().number("used", value).number("bytes", n * 1000.0).text("type", "ext4");
        let all = ["/", "C:\\", "..", "eth0", "agent.json"].iter().zip(1u32..);
        let instances =
            all.fold(Measurement::new().number("used", 7.5), |all, (name, n)| all.instance(*name, of(n.into())));
        Ok(instances.number("left out", 1.0).judged(Status::ok()))
    });
    let installed = with(agent.installed(SECOND).rrd(), |graphs| {
        graphs.datasources = vec![datasource("used", DsKind::Gauge), datasource("bytes", DsKind::Counter)];
    });
    let monitor = start(&data, vec![installed]);
    eventually("six measurements", || count.load(Ordering::SeqCst) >= 6);
    monitor.stop(Duration::from_secs(20)).unwrap();

    let inside: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(inside, ["stats"], "nothing leaves the directory");
    let kept = monitor.kept("disks");
    assert_eq!(kept.len(), 1 + 5 * 2, "{kept:?}");
    assert_eq!(kept[0], (None, "used".to_owned()));
    let now = gmetad_core::now();
    let rows = |instance: Option<&str>, field: &str| {
        let fetched = monitor.series("disks", instance, field, Cf::Average, now - 60, now, 100).unwrap().unwrap();
        assert_eq!((fetched.step, fetched.names.as_slice()), (1, &["value".to_owned()][..]));
        let known: Vec<f64> = fetched.values.into_iter().filter(|value| !value.is_nan()).collect();
        assert!(known.len() >= 3, "{instance:?} {field}: {known:?}");
        known
    };
    assert!(rows(None, "used").iter().all(|value| (*value - 7.5).abs() < 1e-9));
    for (instance, value) in [("/", 1.0), ("C:\\", 2.0), ("..", 3.0), ("eth0", 4.0), ("agent.json", 5.0)] {
        assert!(rows(Some(instance), "used").iter().all(|found| (*found - value).abs() < 1e-9), "{instance}");
        // A counter that grows by 1000 a second, as exactly as measurements are a second apart.
        assert!(rows(Some(instance), "bytes").iter().all(|rate| (500.0..2000.0).contains(rate)), "{instance}");
    }
    assert!(monitor.series("disks", None, "left out", Cf::Average, now - 60, now, 100).unwrap().is_none());
    assert!(monitor.series("ghost", None, "used", Cf::Average, now - 60, now, 100).unwrap().is_none());
    let all = monitor.series("disks", None, "used", Cf::Average, 0, i64::MAX, 50).unwrap().unwrap();
    assert!(all.values.len() <= 50 && all.values.iter().any(|value| !value.is_nan()), "{all:?}");
    // Only the archive of single seconds has minima: all of time must not be made of seconds.
    let least = monitor.series("disks", None, "used", Cf::Min, 0, i64::MAX, 50).unwrap().unwrap();
    assert!(least.values.len() <= 50 && least.values.iter().any(|value| !value.is_nan()), "{least:?}");
    let backwards = monitor.series("disks", None, "used", Cf::Average, now, now - 60, 50).unwrap();
    assert!(backwards.is_none_or(|fetched| fetched.values.len() <= 50));

    let file = monitor.rrd_file("disks", Some(".."), "used").unwrap();
    assert!(file.starts_with(&data) && file.exists(), "{file:?}");
    let Ok(output) = Command::new("rrdtool").arg("info").arg(&file).output() else {
        println!("rrdtool is not installed: its part is left out");
        return;
    };
    let info = String::from_utf8(output.stdout).unwrap();
    let wanted =
        ["step = 1\n", "ds[value].type = \"GAUGE\"", "ds[value].minimal_heartbeat = 3\n", "ds[value].min = 0.0"];
    assert!(wanted.iter().all(|line| info.contains(line)), "{info}");
    let fetch =
        Command::new("rrdtool").arg("fetch").arg(&file).args(["AVERAGE", "-s", "end-60s", "-e", "now"]).output();
    let fetched = String::from_utf8(fetch.unwrap().stdout).unwrap();
    assert!(fetched.matches("3.0000000000e+00").count() >= 3, "{fetched}");
}

#[test]
fn a_file_that_should_be_another_is_set_aside() {
    let dir = tempfile::tempdir().unwrap();
    let count = Arc::new(AtomicU64::new(0));
    let agent = |kind: DsKind, max: f64| {
        let count = Arc::clone(&count);
        let agent = Acts::new("aside", move |context| {
            count.fetch_add(1, Ordering::SeqCst);
            Ok(Measurement::new().number("n", (context.now % 1000) as f64).judged(Status::ok()))
        });
        with(agent.installed(SECOND).rrd(), |graphs| {
            graphs.datasources = vec![Datasource { max_bound: Some(max), ..datasource("n", kind) }];
        })
    };
    let file = dir.path().join("aside/n.rrd");
    let kind = |path: &Path| View::open(path).ok().map(|view| view.layout().schema().ds[0].kind);
    let lines =
        |text: &str| log_lines().iter().filter(|line| line.contains("aside/n.rrd") && line.contains(text)).count();
    for (wanted, max, old) in
        [(DsKind::Gauge, 1e6, None), (DsKind::Gauge, 1e9, None), (DsKind::Derive, 1e6, Some(DsKind::Gauge))]
    {
        let before = count.load(Ordering::SeqCst);
        let monitor = start(dir.path(), vec![agent(wanted, max)]);
        // What an earlier round measured is shown at once; the second of this one begins when the first is done.
        eventually("it measures", || count.load(Ordering::SeqCst) >= before + 2);
        monitor.stop(Duration::from_secs(20)).unwrap();
        assert_eq!((kind(&file), kind(&file.with_extension("rrd.old"))), (Some(wanted), old));
    }
    assert_eq!((lines("keeps the bounds"), lines("is set aside as")), (1, 1));
    fs::write(&file, "RRD\0 this is none").unwrap();
    let monitor = start(dir.path(), vec![agent(DsKind::Derive, 1e6)]);
    eventually("it is made anew", || kind(&file) == Some(DsKind::Derive));
    monitor.stop(Duration::from_secs(20)).unwrap();
    assert_eq!(lines("is set aside as"), 2);
    assert_eq!(kind(&file.with_extension("rrd.old")), Some(DsKind::Gauge), "what was set aside first stays");
    assert!(file.with_extension("rrd.old.2").exists());
}

#[test]
fn a_disk_that_refuses_is_said_once_and_hurts_nobody() {
    let dir = tempfile::tempdir().unwrap();
    // A file is in the place of both agents' directories: no name can be made there.
    for name in ["full1", "full2"] {
        fs::write(dir.path().join(name), "").unwrap();
    }
    let agents = ["full1", "full2"].map(|name| {
        Acts::new(name, |_| Ok(Measurement::new().number("n", 1.0).judged(Status::ok()))).installed(SECOND / 5).rrd()
    });
    let monitor = start(dir.path(), agents.into());
    let measured = |name: &str| monitor.board().agent(name).unwrap().measured;
    eventually("they measure", || measured("full1") >= 5 && measured("full2") >= 5);
    let said = |text: &str| log_lines().iter().filter(|line| line.contains(text)).count();
    eventually("it is said", || said("full1") + said("full2") >= 1);
    let before = said("full1") + said("full2");
    let seen = measured("full1");
    eventually("they go on measuring", || measured("full1") >= seen + 5);
    assert!(before <= 3 && said("full1") + said("full2") == before, "once for each cause: {:?}", log_lines());
    for name in ["full1", "full2"] {
        fs::remove_file(dir.path().join(name)).unwrap();
    }
    eventually("it is over, and said", || said("data of agents are written again") >= 1);
    eventually("there are files", || dir.path().join("full2/n.rrd").exists());
    monitor.stop(Duration::from_secs(20)).unwrap();
}

#[test]
fn a_disk_that_hangs_delays_neither_measurements_nor_the_stop() {
    let dir = tempfile::tempdir().unwrap();
    let agent = Acts::new("stuck", |_| Ok(Measurement::new().number("n", 1.0).judged(Status::ok())));
    fs::create_dir(dir.path().join("stuck")).unwrap();
    // Who opens this waits for a reader that never comes, as on a file server that is gone.
    let fifo = dir.path().join("stuck/agent.json.new");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let monitor = start(dir.path(), vec![agent.installed(SECOND / 10).rrd()]);
    eventually("it measures", || monitor.board().agent("stuck").unwrap().measured >= 10);
    assert_eq!(monitor.board().agent("stuck").unwrap().status.state, State::Ok);
    let begin = Instant::now();
    let hanging = monitor.stop(2 * SECOND).unwrap_err();
    assert_eq!(hanging, [dir.path().display().to_string()]);
    assert!(begin.elapsed() < 4 * SECOND);
}

/// An agent that knows only after its first measurement what it measures, as programs do that are asked.
#[derive(Default)]
struct Asked(Option<Described>, f64);

impl Agent for Asked {
    fn name(&self) -> &str {
        "asked"
    }
    fn measure(&mut self, _: &Context) -> Result<Measurement, AgentError> {
        let field = DescribedField { counted: Counted::Counter, ..DescribedField::new("bytes").unit("B/s") };
        let notes = vec!["half of it is not understood".into()];
        self.0 = Some(Described { notes, ..Described::default() }.field(field));
        self.1 += 1000.0;
        Ok(Measurement::new().number("bytes", self.1).judged(Status::ok()))
    }
    fn describe(&self) -> Option<&Described> {
        self.0.as_ref()
    }
}

#[test]
fn what_an_agent_says_of_itself_is_known_before_its_first_point_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let installed = || {
        let mut installed = Installed::new(Asked::default()).rrd();
        installed.spec.period = SECOND;
        installed
    };
    let monitor = start(dir.path(), vec![installed()]);
    let measured = |least: u64| {
        eventually("measurements", || monitor.board().agent("asked").is_some_and(|view| view.measured >= least));
        monitor.board().agent("asked").unwrap()
    };
    assert_eq!(measured(1).spec.fields[0].unit, "B/s");
    assert!(measured(1).notes.iter().any(|note| note.to_string() == "half of it is not understood"));
    monitor.replace(vec![installed()], Layout::default());
    let view = measured(2);
    assert_eq!(view.spec.fields[0].unit, "B/s", "a reload finds the same agent");
    let file = monitor.rrd_file("asked", None, "bytes").unwrap();
    eventually("its file", || file.exists());
    monitor.stop(Duration::from_secs(20)).unwrap();
    assert_eq!(View::open(&file).unwrap().layout().schema().ds[0].kind, DsKind::Counter);
}
