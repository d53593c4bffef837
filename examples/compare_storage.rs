//! What an RRD point costs: the C daemon, the same with rrdcached, and ours in each of its modes, one after the other on the
//! same synthetic clusters. `scripts/compare --storage` calls it.
//!
//! ```text
//! compare_storage C=PROGRAM ours=PROGRAM [rrdcached=PROGRAM] [--hosts N] [--seconds S] [--only PART-OF-A-NAME]
//! ```
//!
//! Time runs 7.5 times as fast as in a usual set-up: polls every 2 s instead of 15. Linux writes a changed page about
//! 30 s later, every second poll; so here everything is synced every second poll. Two figures of bytes: the pages that the
//! programs changed, and what the disks got (with the file system's own, and whatever else is written meanwhile).
//! Files have Ganglia's archives (630 kB). CPU is that of the daemon, and of rrdcached where there is one, polling included.

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

const CLUSTERS: usize = 1;
const METRICS: usize = 33;
const INTERVAL: u64 = 2;
/// 300 s of a set-up that polls every 15.
const CACHE: u64 = 40;

fn main() -> Fallible<()> {
    let (mut c, mut ours, mut rrdcached, mut hosts, mut seconds, mut only) = (None, None, None, 240, 80, String::new());
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match (arg.as_str(), arg.split_once('=')) {
            ("--hosts", _) => hosts = args.next().ok_or("--hosts needs a value")?.parse()?,
            ("--only", _) => only = args.next().ok_or("--only needs a part of a name")?,
            ("--seconds", _) => seconds = args.next().ok_or("--seconds needs a value")?.parse()?,
            (_, Some(("C", program))) => c = Some(program.to_owned()),
            (_, Some(("ours", program))) => ours = Some(program.to_owned()),
            (_, Some(("rrdcached", program))) => rrdcached = Some(program.to_owned()),
            _ => return Err(format!("{arg}: see the head of this program").into()),
        }
    }
    let gmonds: Vec<SyntheticGmond> = (0..CLUSTERS)
        .map(|i| SyntheticGmond::start(SyntheticCluster::new(format!("cluster {i:03}"), hosts, METRICS)))
        .collect::<Result<_, _>>()?;
    println!(
        "{CLUSTERS} clusters x {hosts} hosts x {METRICS} metrics, every {INTERVAL} s, synced every {} s, {seconds} s each",
        2 * INTERVAL
    );
    println!("{:<46}{:>14}{:>14}{:>14}{:>14}", "", "CPU us/point", "dirty B/point", "disk B/point", "resident MB");
    let batched = format!("rrd_cache_seconds {CACHE}\nrrd_cache_jitter 0\n");
    let jittered = format!("rrd_cache_seconds {CACHE}\n");
    let modes = [
        ("C gmetad", &c, "", None),
        ("C gmetad, rrdcached (300 s, 300 s jitter)", &c, "", rrdcached.as_deref()),
        ("ours, written through", &ours, "rrd_cache_seconds 0\n", None),
        ("ours, as installed", &ours, "", None),
        ("ours, 300 s without jitter", &ours, &*batched, None),
        ("ours, 300 s (300 s jitter)", &ours, &*jittered, None),
        ("ours, rrdcached (300 s, 300 s jitter)", &ours, "", rrdcached.as_deref()),
    ];
    for (name, program, conf, rrdcached) in modes {
        let Some(program) = program else { continue };
        if !name.contains(&only) || name.contains("rrdcached") && rrdcached.is_none() {
            continue;
        }
        let [cpu, dirty, disk, resident] = run(program, conf, rrdcached, hosts, seconds, &gmonds)?;
        println!("{name:<46}{cpu:>14.2}{dirty:>14.0}{disk:>14.0}{resident:>14.1}");
    }
    Ok(())
}

/// A program that ends with its scratch folder.
struct Running {
    children: Vec<Child>,
    dir: PathBuf,
}

impl Drop for Running {
    fn drop(&mut self) {
        for child in self.children.iter_mut().rev() {
            let _ = Command::new("kill").arg(child.id().to_string()).status();
            let _ = child.wait();
        }
        let _ = fs::remove_dir_all(&self.dir);
    }
}

fn run(
    program: &str,
    more: &str,
    rrdcached: Option<&str>,
    hosts: usize,
    seconds: u64,
    gmonds: &[SyntheticGmond],
) -> Fallible<[f64; 4]> {
    let dir = std::env::temp_dir().join(format!("gmetad-compare-{}", std::process::id()));
    fs::create_dir_all(dir.join("rrds"))?;
    let mut running = Running { children: Vec::new(), dir: dir.clone() };
    let spawn = |command: &mut Command, name: &str| {
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().map_err(|error| format!("{name}: {error}"))
    };
    let ports = [free_port()?, free_port()?];
    let mut conf = format!(
        "gridname compare\nsetuid off\nxml_port {}\ninteractive_port {}\nrrd_rootdir \"{}\"\n{more}",
        ports[0],
        ports[1],
        dir.join("rrds").display()
    );
    let mut environment = None;
    if let Some(rrdcached) = rrdcached {
        // By the environment: rrdcached refuses the absolute paths that the C daemon sends over TCP, and it does not look.
        let socket = format!("unix:{}", dir.join("socket").display());
        let mut command = Command::new(rrdcached);
        command.args(["-g", "-w", &CACHE.to_string(), "-z", &CACHE.to_string(), "-t", "2", "-l"]);
        command.arg(&socket).arg("-p").arg(dir.join("pid")).arg("-j").arg(&dir).arg("-b").arg(&dir);
        running.children.push(spawn(&mut command, rrdcached)?);
        environment = Some(("RRDCACHED_ADDRESS", socket));
    }
    for (i, gmond) in gmonds.iter().enumerate() {
        let _ = writeln!(conf, "data_source \"{i}\" {INTERVAL} {}", gmond.address());
    }
    let file = dir.join("gmetad.conf");
    fs::write(&file, conf)?;
    running.children.push(spawn(Command::new(program).args(["-d", "1", "-c"]).arg(&file).envs(environment), program)?);
    let pids: Vec<u32> = running.children.iter().map(Child::id).collect();

    // Warm: all files are made and have been written in their turn.
    let files = CLUSTERS * hosts * METRICS * 8 / 10; // some metrics are texts
    let deadline = Instant::now() + Duration::from_secs(120);
    while count(&dir.join("rrds")) < files {
        if Instant::now() > deadline {
            return Err(format!("{program} made {} files", count(&dir.join("rrds"))).into());
        }
        std::thread::sleep(Duration::from_millis(500));
    }
    beat(CACHE + 4);
    let points = points_a_poll(ports[1])?;
    let (cpu_before, dirty_before, disk_before) = (cpu(&pids)?, dirty(&pids), disk());
    let began = Instant::now();
    beat(seconds);
    let polls = began.elapsed().as_secs_f64() / INTERVAL as f64;
    let (used, dirtied, written) = (cpu(&pids)? - cpu_before, dirty(&pids) - dirty_before, disk() - disk_before);
    let points = points * polls;
    let resident = pids.iter().map(|pid| resident(*pid)).sum::<Fallible<f64>>()?;
    Ok([used * 1e6 / points, dirtied as f64 / points, written as f64 / points, resident])
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
fn points_a_poll(port: u16) -> Fallible<f64> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.write_all(b"/\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let text = String::from_utf8_lossy(&answer);
    Ok(text
        .lines()
        .filter(|line| {
            line.starts_with("<METRIC ")
                && !line.contains("\" TYPE=\"string\"")
                && !line.contains("\" TYPE=\"timestamp\"")
        })
        .count() as f64)
}

fn count(dir: &Path) -> usize {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|entry| if entry.file_type().is_ok_and(|kind| kind.is_dir()) { count(&entry.path()) } else { 1 }).sum()
}

fn free_port() -> std::io::Result<u16> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// Seconds of user and system time.
fn cpu(pids: &[u32]) -> Fallible<f64> {
    let mut sum = 0.0;
    for pid in pids {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        let fields: Vec<&str> = stat.rsplit_once(") ").ok_or("stat")?.1.split(' ').collect();
        // Fields 14 and 15, in ticks of 10 ms on every Linux.
        sum += (fields[11].parse::<f64>()? + fields[12].parse::<f64>()?) / 100.0;
    }
    Ok(sum)
}

/// Bytes of the pages that the programs changed, which go to the disk sooner or later.
fn dirty(pids: &[u32]) -> u64 {
    let text = |pid: &u32| fs::read_to_string(format!("/proc/{pid}/io")).unwrap_or_default();
    let bytes = |text: String| text.lines().find_map(|line| line.strip_prefix("write_bytes: ")?.parse::<u64>().ok());
    pids.iter().filter_map(|pid| bytes(text(pid))).sum()
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

fn resident(pid: u32) -> Fallible<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("status")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<f64>()? * 1024.0 / 1e6)
}
