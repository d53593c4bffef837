//! What an RRD point costs: the C daemon, the same with rrdcached, and ours in each of its modes, one after the other on the
//! same synthetic clusters.
//!
//! Time runs 7.5 times as fast as in a usual set-up: polls every 2 s instead of 15. Linux writes a changed page about
//! 30 s later, every second poll; so here everything is synced every second poll. Two figures of bytes: the pages that the
//! programs changed, and what the disks got (with the file system's own, and whatever else is written meanwhile).
//! Files have Ganglia's archives (630 kB). CPU is that of the daemon, and of rrdcached where there is one, polling included.
//!
//! All files begin to wait together, and jitter spreads them only after some turns: of the first 2 minutes too many writes
//! fall into some windows (18 % more in the second minute). So modes with jitter are warmed for three times as long as
//! points wait at least. And a row of the coarsest archive ends every 80 s, for all files together: a window should have
//! as many such ends as belong to it.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use gmetad_core::synthetic::Change;

use super::daemon::{Daemon, Scratch, spawn};
use super::gmond::{Gmonds, Shape, Twist};
use super::{Args, Fallible};

const CLUSTERS: usize = 1;
const METRICS: usize = 33;
const INTERVAL: u64 = 2;
/// 300 s of a set-up that polls every 15.
const CACHE: u64 = 40;

pub(crate) fn run(args: &Args) -> Fallible<()> {
    let (hosts, seconds) = (args.number("--hosts", 240)?, args.number("--seconds", 4 * CACHE)?);
    let only = args.get("--only").unwrap_or_default();
    let (c, ours, rrdcached) = (args.program("C"), args.program("ours"), args.program("rrdcached"));
    let shape = Shape {
        clusters: CLUSTERS,
        hosts,
        metrics: METRICS,
        change: Change::Values,
        unique: false,
        twist: Twist::None,
    };
    let gmonds = Gmonds::start(&shape)?;
    println!("{shape}, every {INTERVAL} s, synced every {} s, {seconds} s each", 2 * INTERVAL);
    println!("{:<46}{:>14}{:>14}{:>14}{:>14}", "", "CPU us/point", "dirty B/point", "disk B/point", "resident MB");
    let batched = format!("rrd_cache_seconds {CACHE}\nrrd_cache_jitter 0\n");
    let jittered = format!("rrd_cache_seconds {CACHE}\n");
    let modes = [
        ("C gmetad", c, "", None),
        ("C gmetad, rrdcached (300 s, 300 s jitter)", c, "", rrdcached),
        ("ours, written through", ours, "rrd_cache_seconds 0\n", None),
        ("ours, as installed", ours, "", None),
        ("ours, 300 s without jitter", ours, &*batched, None),
        ("ours, 300 s (300 s jitter)", ours, &*jittered, None),
        ("ours, rrdcached (300 s, 300 s jitter)", ours, "", rrdcached),
    ];
    for (name, program, conf, rrdcached) in modes {
        let Some(program) = program else { continue };
        if !name.contains(only) || name.contains("rrdcached") && rrdcached.is_none() {
            continue;
        }
        let warm = if name.ends_with("jitter)") { 3 * CACHE } else { CACHE } + 2 * INTERVAL;
        let [cpu, dirty, disk, resident] = measure(program, conf, rrdcached, &shape, [warm, seconds], &gmonds)?;
        println!("{name:<46}{cpu:>14.2}{dirty:>14.0}{disk:>14.0}{resident:>14.1}");
    }
    Ok(())
}

fn measure(
    program: &str,
    conf: &str,
    rrdcached: Option<&str>,
    shape: &Shape,
    [warm, seconds]: [u64; 2],
    gmonds: &Gmonds,
) -> Fallible<[f64; 4]> {
    let dir = Scratch::new()?;
    let rrds = dir.path("rrds");
    let (mut helpers, mut environment) = (Vec::new(), None);
    if let Some(rrdcached) = rrdcached {
        // By the environment: rrdcached refuses the absolute paths that the C daemon sends over TCP, and it does not look.
        let socket = format!("unix:{}", dir.path("socket").display());
        let mut command = Command::new(rrdcached);
        command.args(["-g", "-w", &CACHE.to_string(), "-z", &CACHE.to_string(), "-t", "2", "-l"]);
        command.arg(&socket).arg("-p").arg(dir.path("pid")).arg("-j").arg(dir.path("")).arg("-b").arg(dir.path(""));
        helpers.push(spawn(&mut command)?);
        environment = Some(("RRDCACHED_ADDRESS", socket));
    }
    let daemon = Daemon::start(program, dir, &gmonds.addresses, INTERVAL, conf, helpers, environment)?;

    // Warm: all files are made and have been written in their turn.
    let files = CLUSTERS * shape.hosts * METRICS * 8 / 10; // some metrics are texts
    let deadline = Instant::now() + Duration::from_secs(120);
    while count(&rrds) < files {
        if Instant::now() > deadline {
            return Err(format!("{program} made {} files", count(&rrds)).into());
        }
        std::thread::sleep(Duration::from_millis(500));
    }
    beat(warm);
    let points = points_a_poll(&daemon.ask("/\n")?);
    let (cpu, dirtied, disk_before, polls) = (daemon.cpu(), daemon.dirtied(), disk(), gmonds.polls());
    beat(seconds);
    let points = points * (gmonds.polls() - polls) as f64 / CLUSTERS as f64;
    Ok([
        (daemon.cpu() - cpu) * 1e6 / points,
        (daemon.dirtied() - dirtied) as f64 / points,
        (disk() - disk_before) as f64 / points,
        daemon.memory()?.0 / 1e6,
    ])
}

/// Lets that many seconds pass, with the page cache written out every second poll.
fn beat(seconds: u64) {
    let end = Instant::now() + Duration::from_secs(seconds);
    while Instant::now() < end {
        std::thread::sleep(Duration::from_secs(2 * INTERVAL).min(end - Instant::now()));
        let _ = Command::new("sync").status();
    }
}

/// Numeric metrics of all hosts.
fn points_a_poll(answer: &[u8]) -> f64 {
    let text = String::from_utf8_lossy(answer);
    let numeric = |line: &&str| {
        line.starts_with("<METRIC ") && !line.contains("\" TYPE=\"string\"") && !line.contains("\" TYPE=\"timestamp\"")
    };
    text.lines().filter(numeric).count() as f64
}

fn count(dir: &Path) -> usize {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|entry| if entry.file_type().is_ok_and(|kind| kind.is_dir()) { count(&entry.path()) } else { 1 }).sum()
}

/// Bytes written to all disks since the start of the machine.
fn disk() -> u64 {
    let disks = fs::read_dir("/sys/block").into_iter().flatten().flatten();
    let sectors = disks.filter_map(|disk| {
        let text = fs::read_to_string(disk.path().join("stat")).ok()?;
        text.split_whitespace().nth(6)?.parse::<u64>().ok()
    });
    sectors.sum::<u64>() * 512
}
