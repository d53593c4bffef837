//! Many sources over TCP, alerts, and executables that parse every line they get: whether polls are missed or late,
//! transactions dropped, and what it costs.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use super::daemon::{self, Daemon, Scratch};
use super::gmond::{Gmonds, Shape};
use super::{Args, Fallible, percentile};

/// The executables, each with what it wants.
const EXECUTABLES: [(&str, &str); 2] = [("all", ""), ("load", r#", metrics=["load_*"]"#)];

/// Adds up the numbers of a cluster, so that everything is looked at.
const PYTHON: &str = r#"#!/usr/bin/env python3
import json, sys
def answer(**document):
    print(json.dumps(document), flush=True)
for line in sys.stdin.buffer:
    message = json.loads(line)
    if message["type"] == "hello":
        answer(type="hello", protocol=1WANTS)
        continue
    if message["type"] == "cluster":
        metrics = [metric for host in message["hosts"] for metric in host["metrics"]]
        total = sum(float(metric["val"]) for metric in metrics if metric["type"] not in ("string", "timestamp"))
    answer(type="ok", id=message.get("id"))
    if message["type"] == "stop":
        break
"#;

const ALERTS: &str = r#"
alert {
    metricrule load_one "$val > 1000 * $metric.cpu_num" "load of $host is $val" for 3
    metricrule cpu_* "$val > 1000" "$name of $host is $val"
    metricrule disk_free "$val < 0.001 and not $down" "$host has no room"
    hostrule "$down" "$host is not heard of" for 4
    clusterrule "$hosts_down > $hosts_up / 10" "$cluster is in trouble"
}
"#;

pub(crate) fn run(args: &Args) -> Fallible<()> {
    let program = args.program("ours").ok_or("ours=PROGRAM is wanted")?;
    let shape = Shape::new(args, 500, 20)?;
    let (interval, seconds) = (args.number("--interval", 15)?, args.number("--seconds", 90)?);
    let gmonds = Gmonds::start(&shape)?;
    let dir = Scratch::new()?;
    let plugins = dir.path("plugins");
    fs::create_dir(&plugins)?;
    EXECUTABLES.iter().try_for_each(|(name, wants)| put(&plugins.join(name), &PYTHON.replace("WANTS", wants)))?;
    let page = daemon::free_port()?;
    let conf = format!("write_rrds off\nhttp_port {page}\nplugins_dir \"{}\"\n{ALERTS}", plugins.display());
    let daemon = Daemon::start(program, dir, &gmonds.addresses, interval, &conf, Vec::new(), None)?;
    daemon.wait_for(shape.clusters)?;
    // The first polls come all at once, perhaps before the executables are there.
    std::thread::sleep(Duration::from_secs(interval));

    println!("{shape}, every {interval} s over TCP, RRDs off, alerts and {} executables", EXECUTABLES.len());
    let before = Page::read(page)?;
    let (cpu, started) = (daemon.cpu(), daemon.started());
    let cpu_before: Vec<f64> = started.iter().map(|(pid, _)| daemon::cpu(*pid)).collect();
    // How old the oldest news of a source is, each second.
    let mut oldest: f64 = 0.0;
    for _ in 0..seconds {
        std::thread::sleep(Duration::from_secs(1));
        oldest = oldest.max(Page::read(page)?.oldest_poll());
    }
    let after = Page::read(page)?;
    let figure = |name: &str| after.of(name) - before.of(name);
    let took: Vec<f64> = after.each("gmetad_source_poll_seconds{").collect();
    println!(
        "polls: {} of about {} due in {seconds} s, {} failed, {} late; the oldest was {oldest:.0} s ago; they take p50 {:.1} p99 {:.1} ms",
        figure(r#"gmetad_poll_duration_seconds_count{result="ok"}"#),
        shape.clusters as u64 * seconds / interval,
        figure(r#"gmetad_poll_duration_seconds_count{result="failed"}"#),
        figure("gmetad_polls_late_total"),
        percentile(&took, 0.5) * 1e3,
        percentile(&took, 0.99) * 1e3
    );
    for name in ["alert"].into_iter().chain(EXECUTABLES.map(|(name, _)| name)) {
        let of = |what: &str| format!("gmetad_plugin_{what}{{plugin=\"{name}\"}}");
        println!(
            "plugin {name}: {} taken, {:.2} ms each, {} dropped ({} since the start), {} failed, {} wait",
            figure(&of("transactions_total")),
            figure(&of("seconds_total")) * 1e3 / figure(&of("transactions_total")),
            figure(&of("dropped_total")),
            after.of(&of("dropped_total")),
            after.of(&of("failures_total")),
            after.of(&of("waiting"))
        );
    }
    let share = |seconds_of_cpu: f64| 100.0 * seconds_of_cpu / seconds as f64;
    println!(
        "transactions dropped by full queues: {}; CPU of the daemon: {:.1} % of a core, resident {:.0} MB",
        figure("gmetad_transactions_dropped_total"),
        share(daemon.cpu() - cpu),
        daemon.memory()?.0 / 1e6
    );
    for ((pid, arguments), before) in started.iter().zip(cpu_before) {
        let name = arguments.trim_end_matches('\0').rsplit('/').next().unwrap_or_default();
        println!("CPU of the executable {name}: {:.1} % of a core", share(daemon::cpu(*pid) - before));
    }
    Ok(())
}

fn put(path: &Path, text: &str) -> std::io::Result<()> {
    fs::write(path, text)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
}

/// What `/metrics` says.
struct Page(String);

impl Page {
    fn read(port: u16) -> Fallible<Self> {
        let request = "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        Ok(Self(String::from_utf8(daemon::ask(port, request)?)?))
    }

    /// The values of the samples whose line begins so.
    fn each(&self, begin: &str) -> impl Iterator<Item = f64> {
        self.0
            .lines()
            .filter(move |line| line.starts_with(begin))
            .filter_map(|line| line.rsplit(' ').next()?.parse().ok())
    }

    fn of(&self, name: &str) -> f64 {
        self.each(&format!("{name} ")).sum()
    }

    /// Seconds since the source that was polled longest ago was.
    fn oldest_poll(&self) -> f64 {
        let polled = self.each("gmetad_source_last_poll_timestamp_seconds{").fold(f64::INFINITY, f64::min);
        gmetad_core::now() as f64 - polled
    }
}
