//! What the end-to-end tests share: programs to run (ours, the C gmetad, gmond, rrdtool), sources that lie, and comparers.
//!
//! Everything listens on the loopback address with ports that were free a moment ago, lives in a directory of its own that is
//! removed at the end, and is stopped by its own handle. Nothing waits for a fixed time: see [`wait_for`].

pub mod compare;
pub mod daemon;
pub mod document;
pub mod fake_gmond;
pub mod net;
pub mod plugins;
pub mod real_gmond;
pub mod rrd;
pub mod xml;

use std::fs;
use std::io::Write;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How long a condition may take that normally holds after a poll or two. Generous, because machines that test are busy.
pub const SOON: Duration = Duration::from_secs(20);

/// Polls `attempt` until it yields a value, and panics naming `what` after `limit`.
pub fn wait_for<T>(what: &str, limit: Duration, mut attempt: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + limit;
    loop {
        if let Some(value) = attempt() {
            return value;
        }
        assert!(Instant::now() < end, "waited {limit:?} in vain for: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// [`wait_for`] a condition.
pub fn wait_until(what: &str, limit: Duration, mut holds: impl FnMut() -> bool) {
    wait_for(what, limit, || holds().then_some(()));
}

/// Seconds since the epoch.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// The bytes of `tests/data/NAME`.
pub fn data(name: &str) -> Vec<u8> {
    let path = data_dir().join(name);
    fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Where the captures are.
pub fn data_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data")
}

/// True under `scripts/test --long`: the same tests with finer steps.
pub fn long() -> bool {
    std::env::var_os("GMETAD_TEST_LONG").is_some_and(|value| value == "1")
}

/// Says that `test` (or a part of it) was not run, and why. `scripts/test` collects these lines and, in CI, fails on any.
pub fn left_out(test: &str, why: &str) {
    let line = format!("left out: {test}: {why}");
    println!("{line}");
    if let Some(path) = std::env::var_os("GMETAD_TEST_LEFT_OUT") {
        let mut file =
            fs::OpenOptions::new().create(true).append(true).open(path).expect("GMETAD_TEST_LEFT_OUT is writable");
        writeln!(file, "{line}").expect("GMETAD_TEST_LEFT_OUT is writable");
    }
}

/// The program `name` of the search path or of a system directory that an ordinary user's search path lacks.
pub fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/usr/bin", "/sbin", "/bin"].map(PathBuf::from))
        .map(|directory| directory.join(name))
        .find(|candidate| candidate.is_file())
}

/// A TCP port nobody listens on. Below the kernel's range for outgoing connections, so that no client takes it meanwhile, and
/// never the same one twice in a process.
pub fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    const FIRST: u32 = 18_000;
    const COUNT: u32 = 14_000;
    loop {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let offset = std::process::id().wrapping_mul(131).wrapping_add(step) % COUNT;
        let port = u16::try_from(FIRST + offset).unwrap();
        if TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok() {
            return port;
        }
    }
}

/// Raises this process's limit of open files (inherited by daemons started later) as far as it goes, and returns it.
pub fn raise_open_files() -> u64 {
    let limits = || {
        let text = fs::read_to_string("/proc/self/limits").unwrap();
        let line = text.lines().find(|line| line.starts_with("Max open files")).unwrap().to_owned();
        let mut numbers = line.split_whitespace().skip(3).map(|word| word.parse().unwrap_or(u64::MAX));
        (numbers.next().unwrap(), numbers.next().unwrap())
    };
    let (soft, hard) = limits();
    let wanted = hard.min(65_536);
    if soft < wanted {
        // Without unsafe code another program has to do it; prlimit is part of every Linux base system.
        let pid = std::process::id().to_string();
        let _ = Command::new("prlimit").args(["--pid", &pid, &format!("--nofile={wanted}:{hard}")]).status();
    }
    limits().0
}

/// Sends `signal` (`TERM`, `HUP` …) to one process.
pub fn signal(pid: u32, signal: &str) {
    let status = Command::new("sh").args(["-c", &format!("kill -{signal} {pid}")]).status().unwrap();
    assert!(status.success(), "kill -{signal} {pid}");
}

/// True if the tests run as root.
pub fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}

/// True while the process `pid` exists and is no zombie.
pub fn alive(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit(')').next().unwrap_or("").trim_start().starts_with('Z'))
}
