//! The daemon on disks that are full, read-only or somebody else's, without descriptors, and killed: XML and polls go on, the
//! log says it once, and the files have in the end what the source has sent.
//!
//! Mounts and users need root; without it those tests are left out. A file system with a file open for writing cannot be
//! remounted read-only but by its own errors; so the tree is covered by a read-only mount of itself, which does the same to
//! every file that is opened.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

#[allow(dead_code, unreachable_pub, missing_docs, reason = "each test program uses a part of the helpers")]
mod util;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use gmetad_rrd::{Cf, View};
use util::daemon::{Gmetad, Launch};
use util::fake_gmond::{FakeGmond, Reply};
use util::{document, left_out};

/// A source that sends another value at each poll and remembers it.
struct Source {
    gmond: FakeGmond,
    /// By the second they were sent for: what the metrics of each host are, and how many hosts there were.
    sent: Arc<Mutex<BTreeMap<u64, (usize, usize)>>>,
    hosts: Arc<AtomicUsize>,
}

impl Source {
    fn start(hosts: usize) -> Self {
        let sent: Arc<Mutex<BTreeMap<u64, (usize, usize)>>> = Arc::default();
        let hosts = Arc::new(AtomicUsize::new(hosts));
        let (of_thread, count) = (Arc::clone(&sent), Arc::clone(&hosts));
        let gmond = FakeGmond::scripted(move |poll| {
            let (now, hosts, value) = (util::now(), count.load(Ordering::Relaxed), poll * 3 + 1);
            of_thread.lock().unwrap().entry(now).or_insert((value, hosts));
            let metrics = ["a", "b"].map(|name| document::metric(name, &value.to_string(), "float", "both")).concat();
            let mut text = String::new();
            (0..hosts).for_each(|host| write!(text, "{}", document::host(&format!("h{host}"), now, &metrics)).unwrap());
            Reply::Bytes(document::of_cluster("C", now, &text))
        });
        Self { gmond, sent, hosts }
    }

    fn launch(&self, cache: &str) -> Launch {
        Launch::ours()
            .source("source", 1, self.gmond.address())
            .line("RRAs \"RRA:AVERAGE:0.5:1:300\"")
            .line(format!("rrd_cache_seconds {cache}"))
            .line("rrd_journal_sync 1")
    }

    /// Whether the files have every value sent up to then; else what is wrong.
    fn compare(&self, root: &Path, until: u64) -> Result<(), String> {
        let sent = self.sent.lock().unwrap().clone();
        let hosts = sent.range(..=until).map(|(_, (_, hosts))| *hosts).max().unwrap_or(0);
        for host in 0..hosts {
            let mine = || sent.iter().filter(|(time, (_, hosts))| **time <= until && host < *hosts);
            let Some((&first, _)) = mine().next() else { continue };
            for metric in ["a", "b"] {
                let path = root.join(format!("C/h{host}/{metric}.rrd"));
                let view = View::open(&path).map_err(|error| error.to_string())?;
                let rows = view.fetch(Cf::Average, first as i64 - 1, until as i64, 1);
                let rows = rows.map_err(|error| error.to_string())?.ok_or("no archive")?;
                for (&time, &(value, _)) in mine() {
                    let found = rows.values[(time as i64 - rows.start - 1) as usize];
                    // A poll that took more than a second has its value in the rows before, too.
                    if found != value as f64 {
                        return Err(format!("{}: {found} at {time}, sent was {value}", path.display()));
                    }
                }
            }
        }
        Ok(())
    }

    fn wait_files(&self, root: &Path, until: u64) {
        let mut last = String::new();
        util::wait_until("the files have what was sent", util::SOON * 3, || match self.compare(root, until) {
            Ok(()) => true,
            Err(error) => {
                if error != last {
                    eprintln!("{error}");
                    last = error;
                }
                false
            }
        });
    }
}

/// Polls go on, and a summary is answered at once.
fn goes_on(daemon: &mut Gmetad, source: &Source, polls: usize) {
    let since = Instant::now();
    for _ in 0..polls {
        source.gmond.wait_polls(1);
        let asked = Instant::now();
        let summary = daemon.tree("/?filter=summary");
        assert!(asked.elapsed() < Duration::from_secs(1), "a summary took {:?}", asked.elapsed());
        assert!(summary.at(&[("GRID", ""), ("CLUSTER", "C")]).is_some());
    }
    let gap = source.gmond.longest_gap(since);
    assert!(gap < Duration::from_millis(2900), "not polled for {gap:?}, the interval is 1 s");
    assert!(daemon.running());
}

fn lines(daemon: &Gmetad, word: &str) -> Vec<String> {
    daemon.log().lines().filter(|line| line.contains(word)).map(str::to_owned).collect()
}

fn wait_line(daemon: &Gmetad, word: &str) {
    util::wait_until(&format!("the log says: {word}"), util::SOON * 2, || !lines(daemon, word).is_empty());
}

/// The files' trouble is said once, the journal's once.
fn said_once(daemon: &Gmetad) {
    for word in ["are kept in memory and tried again", "the journal: ", "RRD files are written again"] {
        let said = lines(daemon, word);
        assert!(said.len() <= 1, "{said:#?}");
    }
}

fn is_root(test: &str) -> bool {
    let root = fs::metadata("/proc/self").unwrap().uid() == 0;
    if !root {
        left_out(test, "not root");
    }
    root
}

/// Something mounted, until it is dropped.
struct Mounted(PathBuf);

impl Mounted {
    /// `None`: this machine (a container) does not allow it.
    fn new(test: &str, place: &Path, arguments: &[&str]) -> Option<Self> {
        let status = Command::new("mount").args(arguments).arg(place).status().unwrap();
        if !status.success() {
            left_out(test, "mount is not allowed here");
        }
        status.success().then(|| Self(place.to_owned()))
    }

    fn tmpfs(test: &str, place: &Path) -> Option<Self> {
        Self::new(test, place, &["-t", "tmpfs", "-o", "size=2m,mode=755", "tmpfs"])
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// Takes all space there is; what it returns has it.
fn fill(root: &Path) -> PathBuf {
    let path = root.join("filler");
    let mut file = File::create(&path).unwrap();
    while file.write_all(&[1; 4096]).is_ok() {}
    path
}

#[test]
fn a_full_disk() {
    let test = "a_full_disk";
    let place = tempfile::tempdir().unwrap();
    if !is_root(test) {
        return;
    }
    let Some(_mounted) = Mounted::tmpfs(test, place.path()) else { return };
    let source = Source::start(2);
    let mut daemon = source.launch("2").with_rrds_at(place.path()).start();
    let began = util::now();
    source.wait_files(place.path(), began);
    let filler = fill(place.path());
    source.hosts.store(5, Ordering::Relaxed); // their files have no place
    wait_line(&daemon, "are kept in memory and tried again");
    goes_on(&mut daemon, &source, 6);
    said_once(&daemon);
    assert!(lines(&daemon, "No space left").len() <= 2, "{:#?}", lines(&daemon, "No space left"));
    assert!(lines(&daemon, "RRD files are written again").is_empty());
    let full = util::now();
    fs::remove_file(filler).unwrap();
    wait_line(&daemon, "RRD files are written again");
    source.wait_files(place.path(), full);
    said_once(&daemon);
}

#[test]
fn sigterm_on_a_full_disk() {
    let test = "sigterm_on_a_full_disk";
    let place = tempfile::tempdir().unwrap();
    if !is_root(test) {
        return;
    }
    let Some(_mounted) = Mounted::tmpfs(test, place.path()) else { return };
    let source = Source::start(2);
    let mut daemon = source.launch("3600").with_rrds_at(place.path()).start();
    let file = place.path().join("C/h1/b.rrd");
    util::wait_until("files are made", util::SOON, || View::open(&file).is_ok());
    goes_on(&mut daemon, &source, 3);
    let filler = fill(place.path());
    let full = util::now();
    source.hosts.store(3, Ordering::Relaxed);
    wait_line(&daemon, "are kept in memory and tried again");
    goes_on(&mut daemon, &source, 2);
    // Of the third host nothing can be kept, neither in files nor in the journal.
    let until = util::now() - 1;
    let took = daemon.restart_after("TERM");
    assert!(took < Duration::from_secs(5), "{took:?}");
    for values in source.sent.lock().unwrap().values_mut() {
        values.1 = values.1.min(2);
    }
    source.wait_files(place.path(), until.max(full));
    fs::remove_file(filler).unwrap();
    util::wait_until("the third host has its files", util::SOON * 2, || place.path().join("C/h2/b.rrd").exists());
}

#[test]
fn a_tree_that_is_read_only_for_a_while() {
    let test = "a_tree_that_is_read_only_for_a_while";
    let place = tempfile::tempdir().unwrap();
    if !is_root(test) {
        return;
    }
    let Some(_mounted) = Mounted::tmpfs(test, place.path()) else { return };
    let source = Source::start(2);
    let mut daemon = source.launch("2").with_rrds_at(place.path()).start();
    source.wait_files(place.path(), util::now());
    let path = place.path().to_str().unwrap();
    let Some(cover) = Mounted::new(test, place.path(), &["--bind", path]) else { return };
    if !Command::new("mount").args(["-o", "remount,bind,ro", path]).status().unwrap().success() {
        return left_out(test, "mount is not allowed here");
    }
    wait_line(&daemon, "Read-only file system");
    goes_on(&mut daemon, &source, 5);
    said_once(&daemon);
    let until = util::now();
    drop(cover);
    wait_line(&daemon, "RRD files are written again");
    source.wait_files(place.path(), until);
    said_once(&daemon);
}

#[test]
fn host_directories_of_somebody_else() {
    let test = "host_directories_of_somebody_else";
    if !is_root(test) {
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let chown = |owner: &str, path: &Path| {
        assert!(Command::new("chown").args(["-R", owner]).arg(path).status().unwrap().success());
    };
    chown("nobody", place.path());
    let source = Source::start(2);
    let mut probe = Command::new("setpriv");
    probe.args(["--reuid=nobody", "--regid=nogroup", "--clear-groups", "test", "-x"]).arg(util::daemon::under_test());
    if !probe.status().is_ok_and(|status| status.success()) {
        return left_out(test, "nobody cannot run the program");
    }
    let mut daemon = source.launch("2").with_rrds_at(place.path()).by_nobody().start();
    source.wait_files(place.path(), util::now());
    chown("root", &place.path().join("C/h0"));
    chown("root", &place.path().join("C/h1"));
    source.hosts.store(3, Ordering::Relaxed);
    wait_line(&daemon, "Permission denied");
    goes_on(&mut daemon, &source, 5);
    said_once(&daemon);
    let until = util::now();
    chown("nobody", place.path());
    wait_line(&daemon, "RRD files are written again");
    source.wait_files(place.path(), until);
    said_once(&daemon);
}

#[test]
fn no_descriptors_left() {
    let source = Source::start(2);
    let mut daemon = source.launch("2").with_rrds().start();
    let root = daemon.rrd_root();
    source.wait_files(&root, util::now());
    let pid = daemon.pid().to_string();
    let limit = |soft: &str| {
        let status = Command::new("prlimit").args(["--pid", &pid, &format!("--nofile={soft}:")]).status();
        status.unwrap().success()
    };
    let open = fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    let open: Vec<usize> = open.map(|fd| fd.unwrap().file_name().to_string_lossy().parse().unwrap()).collect();
    // Room for a poll, a client and a few files; the new hosts' files want more.
    let low = (0..).find(|low| low - open.iter().filter(|fd| *fd < low).count() == 8).unwrap();
    if !limit(&low.to_string()) {
        return left_out("no_descriptors_left", "prlimit does not work here");
    }
    source.hosts.store(40, Ordering::Relaxed);
    // While the files are made, clients and polls may find the last descriptor taken for a moment; not for long, since the
    // store then makes do with fewer.
    util::wait_until("the new files are made", util::SOON, || root.join("C/h39/b.rrd").exists());
    source.wait_files(&root, util::now());
    goes_on(&mut daemon, &source, 5);
    assert!(lines(&daemon, "Too many open files").len() <= 1, "{:#?}", lines(&daemon, "Too many open files"));
    let until = util::now();
    assert!(limit("1024"));
    source.wait_files(&root, until);
}

/// The process is killed; what it had before the last sync is there after the next start.
#[test]
fn kill_9() {
    let source = Source::start(3);
    let mut daemon = source.launch("3600").with_rrds().start();
    let root = daemon.rrd_root();
    for _ in 0..2 {
        goes_on(&mut daemon, &source, 5);
        // A sync interval, the second that a poll is counted for, and a poll on its way.
        let until = util::now() - 3;
        daemon.restart_after("KILL");
        source.wait_files(&root, until);
        // What was lost leaves a gap, which is filled with what came later.
        let now = util::now();
        source.sent.lock().unwrap().retain(|time, _| *time <= until || *time > now);
    }
}

#[test]
fn sigterm_loses_nothing() {
    let source = Source::start(3);
    let mut daemon = source.launch("3600").with_rrds().start();
    let root = daemon.rrd_root();
    goes_on(&mut daemon, &source, 5);
    let until = util::now() - 1;
    let took = daemon.restart_after("TERM");
    assert!(took < Duration::from_secs(5), "{took:?}");
    assert_eq!(source.compare(&root, until), Ok(()), "right after the end");
    goes_on(&mut daemon, &source, 3);
}
