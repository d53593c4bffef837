//! Runs daemons side by side on the same synthetic clusters and prints what each costs; `scripts/compare` calls it.
//!
//! ```text
//! compare [--clusters N] [--hosts N] [--metrics N] [--interval S] [--seconds S] [--rrd on|off] NAME=PROGRAM...
//! ```
//!
//! The daemons run one after the other in each round, three rounds; medians are printed, and ratios to the first.

use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use gmetad_core::synthetic::{SyntheticCluster, SyntheticGmond};

type Fallible<T> = Result<T, Box<dyn Error>>;

const ROUNDS: usize = 3;
const QUERIES: usize = 200;

struct Shape {
    clusters: usize,
    hosts: usize,
    metrics: usize,
    interval: u64,
    seconds: u64,
    rrd: bool,
}

/// What is measured of one run, in the order of [`LABELS`].
type Figures = [f64; LABELS.len()];
const LABELS: [&str; 7] = [
    "CPU a series a poll, µs",
    "resident, MB",
    "peak, MB",
    "full dump, ms",
    "/?filter=summary, p50 ms",
    "one host, p50 ms",
    "CPU a dump, ms per MB",
];

fn main() -> Fallible<()> {
    let mut shape = Shape { clusters: 4, hosts: 250, metrics: 33, interval: 5, seconds: 20, rrd: false };
    let mut programs = Vec::new();
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or(format!("{arg} needs a value"));
        match arg.as_str() {
            "--clusters" => shape.clusters = value()?.parse()?,
            "--hosts" => shape.hosts = value()?.parse()?,
            "--metrics" => shape.metrics = value()?.parse()?,
            "--interval" => shape.interval = value()?.parse()?,
            "--seconds" => shape.seconds = value()?.parse()?,
            "--rrd" => shape.rrd = value()? == "on",
            _ => {
                let (name, program) = arg.split_once('=').ok_or(format!("{arg}: NAME=PROGRAM is wanted"))?;
                programs.push((name.to_owned(), program.to_owned()));
            }
        }
    }
    let gmonds: Vec<SyntheticGmond> = (0..shape.clusters)
        .map(|i| SyntheticGmond::start(SyntheticCluster::new(format!("cluster {i:03}"), shape.hosts, shape.metrics)))
        .collect::<Result<_, _>>()?;
    println!(
        "{} clusters x {} hosts x {} metrics = {} series, every {} s, RRDs {}; medians of {ROUNDS} rounds of {} s",
        shape.clusters,
        shape.hosts,
        shape.metrics,
        shape.clusters * shape.hosts * shape.metrics,
        shape.interval,
        if shape.rrd { "on" } else { "off" },
        shape.seconds
    );
    let mut runs: Vec<Vec<Figures>> = vec![Vec::new(); programs.len()];
    for _ in 0..ROUNDS {
        for ((_, program), runs) in programs.iter().zip(&mut runs) {
            runs.push(run(program, &shape, &gmonds)?);
        }
    }
    let medians: Vec<Figures> = runs.iter().map(|runs| median(runs)).collect();
    let mut head = format!("{:<28}", "");
    for (name, _) in &programs {
        let _ = write!(head, "{name:>12}");
    }
    programs.iter().skip(1).for_each(|(name, _)| {
        let _ = write!(head, "{:>14}", format!("{}/{name}", programs[0].0));
    });
    println!("{head}");
    for (at, label) in LABELS.iter().enumerate() {
        let mut line = format!("{label:<28}");
        for figures in &medians {
            let _ = write!(line, "{:>12.3}", figures[at]);
        }
        for figures in medians.iter().skip(1) {
            // Below what the system's clock can tell there is no ratio.
            let ratio =
                if figures[at] > 0.0 { format!("{:.1}x", medians[0][at] / figures[at]) } else { "-".to_owned() };
            let _ = write!(line, "{ratio:>14}");
        }
        println!("{line}");
    }
    Ok(())
}

fn median(runs: &[Figures]) -> Figures {
    std::array::from_fn(|at| {
        let mut values: Vec<f64> = runs.iter().map(|run| run[at]).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    })
}

/// A daemon that ends with its scratch folder.
struct Daemon {
    child: Child,
    dir: PathBuf,
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // SIGTERM first, so that it may finish what it has.
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.dir);
    }
}

fn run(program: &str, shape: &Shape, gmonds: &[SyntheticGmond]) -> Fallible<Figures> {
    let dir = std::env::temp_dir().join(format!("gmetad-compare-{}", std::process::id()));
    fs::create_dir_all(dir.join("rrds"))?;
    let ports = [free_port()?, free_port()?];
    let mut conf = format!(
        "gridname compare\nsetuid off\nxml_port {}\ninteractive_port {}\nrrd_rootdir \"{}\"\nRRAs \"RRA:AVERAGE:0.5:1:244\"\n",
        ports[0],
        ports[1],
        dir.join("rrds").display()
    );
    if !shape.rrd {
        conf += "write_rrds off\n";
    }
    for (i, gmond) in gmonds.iter().enumerate() {
        let _ = writeln!(conf, "data_source \"{i}\" {} {}", shape.interval, gmond.address());
    }
    let file = dir.join("gmetad.conf");
    fs::write(&file, conf)?;
    let child = Command::new(program)
        .args(["-d", "1", "-c"])
        .arg(&file)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| format!("{program}: {error}"))?;
    let daemon = Daemon { child, dir };
    let pid = daemon.child.id();

    // Warm: every cluster has been polled twice, RRD files and tables are made.
    let whole = "</CLUSTER>";
    let deadline = Instant::now() + Duration::from_secs(60);
    while ask(ports[1], "/\n").is_ok_and(|answer| answer.matches(whole).count() < shape.clusters)
        || ask(ports[1], "/\n").is_err()
    {
        if Instant::now() > deadline {
            return Err(format!("{program} does not show all clusters").into());
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    std::thread::sleep(Duration::from_secs(shape.interval + 1));

    let before = cpu(pid)?;
    let began = Instant::now();
    std::thread::sleep(Duration::from_secs(shape.seconds));
    let used = cpu(pid)? - before;
    let polls = began.elapsed().as_secs_f64() / shape.interval as f64;
    let series = (shape.clusters * shape.hosts * shape.metrics) as f64;

    let before = cpu(pid)?;
    let mut size = 0;
    let dump = p50(5, || {
        size = ask(ports[0], "").map_or(0, |answer| answer.len());
    });
    let dump_cpu = (cpu(pid)? - before) / 5.0;
    let summary = p50(QUERIES, || {
        let _ = ask(ports[1], "/?filter=summary\n");
    });
    let host = p50(QUERIES, || {
        let _ = ask(ports[1], "/cluster 000/node00001.cluster-000\n");
    });
    Ok([
        used * 1e6 / (polls * series),
        status(pid, "VmRSS:")?,
        status(pid, "VmHWM:")?,
        dump,
        summary,
        host,
        dump_cpu * 1e3 / (size as f64 / 1e6),
    ])
}

/// Median time of `n` calls, in milliseconds.
fn p50(n: usize, mut call: impl FnMut()) -> f64 {
    let mut times: Vec<f64> = (0..n)
        .map(|_| {
            let began = Instant::now();
            call();
            began.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[n / 2]
}

fn ask(port: u16, request: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

fn free_port() -> std::io::Result<u16> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// Seconds of user and system time.
fn cpu(pid: u32) -> Fallible<f64> {
    let stat = fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat"))?;
    let fields: Vec<&str> = stat.rsplit_once(") ").ok_or("stat")?.1.split(' ').collect();
    // Fields 14 and 15, in ticks of 10 ms on every Linux.
    Ok((fields[11].parse::<f64>()? + fields[12].parse::<f64>()?) / 100.0)
}

/// A figure of /proc/PID/status, in MB.
fn status(pid: u32, key: &str) -> Fallible<f64> {
    let status = fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(key)).ok_or("status")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<f64>()? * 1024.0 / 1e6)
}
