//! A store whose disk fails: every call for itself and for a while, with each of the errors that disks have. The store goes
//! on, says it once, counts it, and has everything in the files when it is over, by itself.
#![allow(clippy::unwrap_used, clippy::panic)] // in a test they are the report

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use gmetad_core::stats::Stats;
use gmetad_rrd::cache::{CacheOptions, Group, MakeBackend, RowWriter};
use gmetad_rrd::files::{Disk, Files, Stamp};
use gmetad_rrd::native::Options;
use gmetad_rrd::{
    Backend, Cached, Cf, DsKind, Job, NativeStore, Point, RraSpec, RrdError, RrdStore, Schema, Value, View,
};

const START: i64 = 1_000_000_020;
const EIO: i32 = 5;
const EACCES: i32 = 13;
const EMFILE: i32 = 24;
const ENOSPC: i32 = 28;
const EROFS: i32 = 30;

/// The disk, on which some calls fail; failing writes write a half.
#[derive(Default)]
struct Faulty {
    calls: AtomicUsize,
    /// Calls that fail, by their numbers from 1.
    bad: Mutex<Range<usize>>,
    code: Mutex<i32>,
    /// Only calls with a path that has this word; descriptors have none.
    word: Mutex<Option<&'static str>>,
    failed: AtomicUsize,
    /// While it is shut, calls wait.
    gate: Gate,
}

#[derive(Default)]
struct Gate {
    shut: Mutex<bool>,
    opened: Condvar,
}

impl Faulty {
    fn failing(bad: Range<usize>, code: i32) -> Arc<Self> {
        let faulty = Self::default();
        faulty.fail(bad, code);
        Arc::new(faulty)
    }

    fn fail(&self, bad: Range<usize>, code: i32) {
        *self.code.lock().unwrap() = code;
        *self.bad.lock().unwrap() = bad;
    }

    fn fail_all(&self, code: i32) {
        self.fail(0..usize::MAX, code);
    }

    fn heal(&self) {
        self.fail(0..0, 0);
    }

    fn shut(&self, shut: bool) {
        *self.gate.shut.lock().unwrap() = shut;
        self.gate.opened.notify_all();
    }

    fn at(&self, path: Option<&Path>) -> io::Result<()> {
        let mut shut = self.gate.shut.lock().unwrap();
        while *shut {
            shut = self.gate.opened.wait(shut).unwrap();
        }
        drop(shut);
        let number = self.calls.fetch_add(1, Ordering::Relaxed) + 1;
        let meant = match *self.word.lock().unwrap() {
            Some(word) => path.is_some_and(|path| path.to_string_lossy().contains(word)),
            None => true,
        };
        if meant && self.bad.lock().unwrap().contains(&number) {
            self.failed.fetch_add(1, Ordering::Relaxed);
            return Err(io::Error::from_raw_os_error(*self.code.lock().unwrap()));
        }
        Ok(())
    }
}

impl Files for Faulty {
    fn open(&self, path: &Path) -> io::Result<File> {
        self.at(Some(path)).and_then(|()| Disk.open(path))
    }
    fn stat(&self, path: &Path) -> io::Result<Stamp> {
        self.at(Some(path)).and_then(|()| Disk.stat(path))
    }
    fn fstat(&self, file: &File) -> io::Result<Stamp> {
        self.at(None).and_then(|()| Disk.fstat(file))
    }
    fn lock(&self, file: &File) -> io::Result<bool> {
        self.at(None).and_then(|()| Disk.lock(file))
    }
    fn unlock(&self, file: &File) -> io::Result<()> {
        self.at(None).and_then(|()| Disk.unlock(file))
    }
    fn read_at(&self, file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.at(None).and_then(|()| Disk.read_at(file, buffer, offset))
    }
    fn write_at(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        match self.at(None) {
            Ok(()) => Disk.write_at(file, bytes, offset),
            // Not half a header: the disk writes pages.
            Err(e) if bytes.len().is_multiple_of(8) && bytes.len() < 304 => {
                Disk.write_at(file, &bytes[..bytes.len() / 2], offset).and(Err(e))
            }
            Err(e) => Err(e),
        }
    }
    fn write_new(&self, path: &Path, bytes: &[u8]) -> io::Result<File> {
        match self.at(Some(path)) {
            Ok(()) => Disk.write_new(path, bytes),
            Err(e) => {
                let _ = Disk.write_new(path, &bytes[..bytes.len() / 2]);
                Err(e)
            }
        }
    }
    fn sync(&self, _: &[&File]) -> io::Result<()> {
        self.at(None)
    }
    fn make_dirs(&self, path: &Path) -> io::Result<()> {
        self.at(Some(path)).and_then(|()| Disk.make_dirs(path))
    }
    fn make_private_dir(&self, path: &Path) -> io::Result<()> {
        self.at(Some(path)).and_then(|()| Disk.make_private_dir(path))
    }
    fn create(&self, path: &Path) -> io::Result<File> {
        self.at(Some(path)).and_then(|()| Disk.create(path))
    }
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.at(Some(path)).and_then(|()| Disk.read(path))
    }
    fn list(&self, path: &Path) -> io::Result<Vec<OsString>> {
        self.at(Some(path)).and_then(|()| Disk.list(path))
    }
    fn sync_tree(&self, dir: &Path) -> io::Result<()> {
        self.at(Some(dir))
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.at(Some(dir))
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.at(Some(from)).and_then(|()| Disk.rename(from, to))
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.at(Some(path)).and_then(|()| Disk.remove(path))
    }
}

/// Keeps what is logged.
struct Lines(Mutex<Vec<String>>);

static LINES: Lines = Lines(Mutex::new(Vec::new()));

impl log::Log for Lines {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }
    fn log(&self, record: &log::Record<'_>) {
        self.0.lock().unwrap().push(format!("{}: {}", record.level(), record.args()));
    }
    fn flush(&self) {}
}

/// One test at a time: they share the log.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    let guard = ALONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let _ = log::set_logger(&LINES);
    log::set_max_level(log::LevelFilter::Info);
    LINES.0.lock().unwrap().clear();
    guard
}

fn lines(word: &str) -> Vec<String> {
    LINES.0.lock().unwrap().iter().filter(|line| line.contains(word)).cloned().collect()
}

fn open(root: &Path, options: CacheOptions, journal: &Arc<Faulty>, native: &Arc<Faulty>) -> RrdStore {
    let native = Arc::clone(native);
    let backend: MakeBackend =
        Box::new(move || Ok(Box::new(NativeStore::with_files(Options::default(), Arc::clone(&native)))));
    RrdStore::with_files(root, options, &backend, Arc::new(Stats::default()), Arc::clone(journal) as _).unwrap()
}

fn options(cache: Duration) -> CacheOptions {
    CacheOptions {
        cache: Some(cache),
        journal_sync: Duration::from_millis(5),
        haste: 500, // a segment each 120 ms, tidying each 20 ms, tried again after 2 ms
        ..CacheOptions::default()
    }
}

fn schema() -> Schema {
    let rra = |steps, rows| RraSpec { cf: Cf::Average, xff: 0.5, steps, rows };
    Schema::host(10, DsKind::Gauge, &[rra(1, 100), rra(3, 30)])
}

fn hosts(round: usize) -> usize {
    1 + round / 2
}

/// A round of values for some hosts; later rounds have more of them.
fn accept(store: &RrdStore, groups: &mut Vec<Arc<Group>>, round: usize) {
    let schema = store.schema(schema());
    for host in 0..hosts(round) {
        if groups.len() <= host {
            groups.push(store.group(&PathBuf::from(format!("c/h{host}"))));
        }
        let values = [round * 7 + host, round * round].map(|value| value.to_string());
        let slots = ["m0.rrd", "m1.rrd"].map(|name| store.slot(&groups[host], name, &schema).unwrap());
        let mut row = RowWriter::default();
        row.start(START + round as i64 * 10);
        slots.into_iter().zip(&values).for_each(|(slot, value)| row.put(slot, &[Value::Text(value)]));
        store.accept(&groups[host], &row, &Arc::from("source")).unwrap();
    }
}

/// The bytes of all files there should be, by their place, without the start rows, which come from the path.
fn rows(root: &Path, rounds: usize) -> Vec<(i64, Vec<u64>)> {
    let files = (0..hosts(rounds - 1)).flat_map(|host| (0..2).map(move |m| format!("c/h{host}/m{m}.rrd")));
    files
        .map(|file| {
            let path = root.join(file);
            let last = last(&path).unwrap_or(0);
            let fetched = View::open(&path).and_then(|view| view.fetch(Cf::Average, START - 10, START + 300, 10));
            let values = fetched.ok().flatten().map_or(Vec::new(), |fetched| fetched.values);
            (last, values.into_iter().map(f64::to_bits).collect())
        })
        .collect()
}

fn last(path: &Path) -> Option<i64> {
    View::open(path).ok().map(|view| view.last())
}

fn wait(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !done() {
        assert!(Instant::now() < end, "{what}");
        thread::sleep(Duration::from_millis(2));
    }
}

fn figure(store: &RrdStore, name: &str) -> u64 {
    store.counters().into_iter().find(|(known, _)| *known == name).map_or(0, |(_, value)| value)
}

const ROUNDS: usize = 12;

/// The scenario, with calls failing; returns how many calls there were, and how many failed.
fn run(bad: Range<usize>, code: i32, wanted: &[(i64, Vec<u64>)]) -> (usize, usize) {
    let context = format!("calls {bad:?} fail with {code}");
    let dir = tempfile::tempdir_in(scratch()).unwrap();
    let faulty = Faulty::failing(bad, code);
    let store = open(dir.path(), options(Duration::from_millis(5)), &faulty, &faulty);
    let mut groups = Vec::new();
    for round in 0..ROUNDS {
        accept(&store, &mut groups, round);
        // Each round finds the store at work.
        let before = faulty.calls.load(Ordering::Relaxed);
        let until = Instant::now() + Duration::from_millis(10);
        while faulty.calls.load(Ordering::Relaxed) < before + 8 && Instant::now() < until {
            thread::sleep(Duration::from_millis(1));
        }
    }
    wait(&format!("{context}: all is written"), || figure(&store, "points_pending") == 0);
    let accepted: usize = (0..ROUNDS).map(|round| hosts(round) * 2).sum();
    assert_eq!(figure(&store, "points_accepted"), accepted as u64, "{context}");
    for name in ["points_failed", "points_dropped", "points_refused", "points_removed"] {
        assert_eq!(figure(&store, name), 0, "{context}: {name}");
    }
    assert!(rows(dir.path(), ROUNDS) == wanted, "{context}: the files are not as they should be");
    wait(&format!("{context}: over"), || figure(&store, "troubles") == 0);
    // What failed was said, and once. Each kind has its line: the lock, the journal, the files.
    let said = lines(&dir.path().to_string_lossy());
    for kind in ["the journal", "tried again", "no lock"] {
        let count = said.iter().filter(|line| line.starts_with("ERROR") && line.contains(kind)).count();
        assert!(count <= 1, "{context}: {said:#?}");
    }
    let failed = faulty.failed.load(Ordering::Relaxed);
    if figure(&store, "journal_errors") > 0 {
        let root = dir.path().to_string_lossy();
        wait(&format!("{context}: it is said"), || lines(&root).iter().any(|line| line.contains("the journal:")));
    }
    assert_eq!(store.close(Duration::from_secs(10)), 0, "{context}");
    drop(store);
    let left: Vec<_> = ["c/h0", "c/h1", "c/h2", "c/h5"]
        .iter()
        .flat_map(|dir_name| fs::read_dir(dir.path().join(dir_name)).unwrap().flatten())
        .map(|entry| entry.file_name())
        .filter(|name| !name.to_string_lossy().ends_with(".rrd"))
        .collect();
    // A file whose very removal failed is taken away when its place is needed again, which may be never.
    assert!(left.len() <= failed, "{context}: {left:?}");
    let calls = faulty.calls.load(Ordering::Relaxed);
    (calls, failed)
}

fn scratch() -> PathBuf {
    let shared = PathBuf::from("/dev/shm");
    if shared.is_dir() { shared } else { std::env::temp_dir() }
}

fn wanted() -> Vec<(i64, Vec<u64>)> {
    let dir = tempfile::tempdir_in(scratch()).unwrap();
    let good = Arc::new(Faulty::default());
    let store = open(dir.path(), options(Duration::from_millis(5)), &good, &good);
    let mut groups = Vec::new();
    (0..ROUNDS).for_each(|round| accept(&store, &mut groups, round));
    assert_eq!(store.close(Duration::from_secs(10)), 0);
    let wanted = rows(dir.path(), ROUNDS);
    assert!(wanted.iter().all(|(last, _)| *last == START + (ROUNDS as i64 - 1) * 10));
    wanted
}

/// Runs the cases, some at a time: they mostly wait.
fn run_all(cases: &[(Range<usize>, i32)]) -> usize {
    let wanted = wanted();
    let next = AtomicUsize::new(0);
    let reached = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..12 {
            scope.spawn(|| {
                while let Some((bad, code)) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let (_, failed) = run(bad.clone(), *code, &wanted);
                    reached.fetch_add(usize::from(failed > 0), Ordering::Relaxed);
                }
            });
        }
    });
    reached.into_inner()
}

fn calls() -> usize {
    (0..3).map(|_| run(0..0, 0, &wanted()).0).max().unwrap()
}

const CODES: [i32; 5] = [EIO, ENOSPC, EROFS, EMFILE, EACCES];

#[test]
fn any_call_may_fail_once() {
    let _alone = alone();
    let calls = calls();
    assert!(calls > 150, "{calls} calls");
    let cases: Vec<_> = (1..=calls).flat_map(|nth| CODES.map(|code| (nth..nth + 1, code))).collect();
    let reached = run_all(&cases);
    println!("{calls} calls, {} cases, {reached} reached", cases.len());
    assert!(reached > cases.len() / 2, "{reached} of {}", cases.len());
}

#[test]
fn all_calls_may_fail_for_a_while() {
    let _alone = alone();
    let calls = calls();
    let lengths = [2, 7, 30, 120];
    let starts = (1..=calls).step_by(7);
    let cases: Vec<_> = starts
        .enumerate()
        .flat_map(|(at, first)| lengths.map(|length| (first..first + length, CODES[(at + length) % CODES.len()])))
        .collect();
    let reached = run_all(&cases);
    println!("{} cases, {reached} reached", cases.len());
    assert!(reached > cases.len() / 2);
}

#[test]
fn the_files_are_written_without_a_journal() {
    let _alone = alone();
    let wanted = wanted();
    for from_start in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let (journal, native) = (Arc::new(Faulty::default()), Arc::new(Faulty::default()));
        if from_start {
            *journal.word.lock().unwrap() = Some("journal-");
            journal.fail_all(ENOSPC);
        }
        let store = open(dir.path(), options(Duration::from_millis(5)), &journal, &native);
        journal.fail_all(ENOSPC);
        LINES.0.lock().unwrap().retain(|line| from_start && line.contains("the journal"));
        let mut groups = Vec::new();
        for round in 0..ROUNDS {
            accept(&store, &mut groups, round);
            let failed = figure(&store, "journal_errors");
            wait("the journal is tried", || figure(&store, "journal_errors") > failed);
        }
        wait("all is written", || figure(&store, "points_pending") == 0);
        assert!(rows(dir.path(), ROUNDS) == wanted);
        let said = lines("the journal");
        assert_eq!(said.len(), 1, "{said:#?}");
        journal.heal();
        accept(&store, &mut groups, ROUNDS);
        wait("it is written again", || lines("the journal").len() == 2 && figure(&store, "journal_written_bytes") > 0);
        assert!(lines("the journal")[1].contains("the journal is written again"), "{:?}", lines("the journal"));
        assert_eq!(store.close(Duration::from_secs(10)), 0);
    }
}

/// What a killed process leaves.
fn killed(root: &Path, copy: &Path) {
    let status = std::process::Command::new("cp").arg("-a").arg(root.join(".")).arg(copy).status().unwrap();
    assert!(status.success());
}

#[test]
fn the_journal_holds_what_the_files_do_not_take() {
    let _alone = alone();
    let wanted = wanted();
    let (dir, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (journal, native) = (Arc::new(Faulty::default()), Arc::new(Faulty::default()));
    native.fail_all(EIO);
    let store = open(dir.path(), options(Duration::from_millis(5)), &journal, &native);
    let mut groups = Vec::new();
    (0..ROUNDS).for_each(|round| accept(&store, &mut groups, round));
    wait("it is tried", || native.failed.load(Ordering::Relaxed) > 20);
    let written = || figure(&store, "journal_written_bytes");
    wait("the journal has it", || written() > 0);
    let (bytes, syncs) = (written(), figure(&store, "journal_syncs"));
    wait("a few more syncs or nothing to sync", || figure(&store, "journal_syncs") > syncs || written() == bytes);
    thread::sleep(Duration::from_millis(50)); // ten sync intervals
    killed(dir.path(), copy.path());
    let good = Arc::new(Faulty::default());
    // The journal cannot be read: it stays for the next start.
    let blind = Arc::new(Faulty::default());
    *blind.word.lock().unwrap() = Some("journal-0000000000000001");
    blind.fail_all(EIO);
    let again = open(copy.path(), options(Duration::from_millis(5)), &blind, &good);
    assert_eq!((again.close(Duration::from_secs(10)), figure(&again, "journal_replayed")), (0, 0));
    drop(again);
    let again = open(copy.path(), options(Duration::from_millis(5)), &good, &good);
    assert_eq!(again.close(Duration::from_secs(10)), 0);
    assert!(rows(copy.path(), ROUNDS) == wanted);
    // And the first one ends with the disk still failing, in time, and leaves the same.
    let began = Instant::now();
    let left = store.close(Duration::from_secs(3));
    assert!(left > 0 && began.elapsed() < Duration::from_secs(5));
    drop(store);
    let again = open(dir.path(), options(Duration::from_millis(5)), &good, &good);
    assert_eq!(again.close(Duration::from_secs(10)), 0);
    assert!(rows(dir.path(), ROUNDS) == wanted);
}

#[test]
fn accepting_never_waits_for_the_disk() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let faulty = Arc::new(Faulty::default());
    let store = Arc::new(open(dir.path(), options(Duration::ZERO), &faulty, &faulty));
    faulty.shut(true);
    let (of_thread, done) = (Arc::clone(&store), Arc::new(AtomicBool::new(false)));
    let told = Arc::clone(&done);
    let accepting = thread::spawn(move || {
        let mut groups = Vec::new();
        let mut longest = Duration::ZERO;
        for round in 0..30 {
            let began = Instant::now();
            accept(&of_thread, &mut groups, round);
            of_thread.asked("c/h0".into());
            let _ = of_thread.pending(Path::new("c/h0/m0.rrd"));
            longest = longest.max(began.elapsed());
            thread::sleep(Duration::from_millis(3)); // so that writers and the journal are in the midst of calls
        }
        told.store(true, Ordering::Relaxed);
        longest
    });
    wait("all is accepted while every call hangs", || done.load(Ordering::Relaxed));
    assert_eq!(figure(&store, "points_written"), 0);
    let longest = accepting.join().unwrap();
    assert!(longest < Duration::from_secs(1), "{longest:?}");
    faulty.shut(false);
    wait("all is written", || figure(&store, "points_pending") == 0);
    assert_eq!(last(&dir.path().join("c/h14/m1.rrd")), Some(START + 290));
}

#[test]
fn memory_is_bounded_and_recovers() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let (journal, native) = (Arc::new(Faulty::default()), Arc::new(Faulty::default()));
    let memory = 20_000;
    let options = CacheOptions { memory, ..options(Duration::from_millis(5)) };
    let store = open(dir.path(), options, &journal, &native);
    let schema = store.schema(Schema { rras: vec![RraSpec { rows: 3000, ..schema().rras[0] }], ..schema() });
    let groups: Vec<_> = (0..5).map(|host| store.group(&PathBuf::from(format!("c/h{host}")))).collect();
    let accept = |round: usize| {
        for group in &groups {
            let slot = store.slot(group, "m0.rrd", &schema).unwrap();
            let text = format!("{round}.5");
            let mut row = RowWriter::default();
            row.start(START + round as i64 * 10);
            row.put(slot, &[Value::Text(&text)]);
            store.accept(group, &row, &Arc::from("s")).unwrap();
        }
    };
    native.fail_all(ENOSPC);
    let mut round = 0;
    while figure(&store, "points_dropped") < 2000 {
        accept(round);
        round += 1;
        assert!(figure(&store, "pending_bytes") < memory as u64 * 2, "{} bytes", figure(&store, "pending_bytes"));
        assert!(round < 20_000, "nothing is dropped");
    }
    assert_eq!(lines("the oldest are dropped").len(), 1, "{:#?}", lines(""));
    assert_eq!(lines("tried again").len(), 1, "{:#?}", lines(""));
    native.heal();
    wait("what is left is written", || figure(&store, "points_pending") == 0);
    let newest = START + (round as i64 - 1) * 10;
    for host in 0..5 {
        assert_eq!(last(&dir.path().join(format!("c/h{host}/m0.rrd"))), Some(newest), "the newest are kept");
    }
    let over = lines("RRD files are written again");
    assert!(over.len() == 1 && over[0].contains("points dropped so far"), "{over:#?}");
    assert_eq!(figure(&store, "points_written") + figure(&store, "points_dropped"), figure(&store, "points_accepted"));
    // The bound is as it was.
    let dropped = figure(&store, "points_dropped");
    assert!(figure(&store, "pending_bytes") < memory as u64 / 4, "{} bytes", figure(&store, "pending_bytes"));
    for more in 0..20 {
        accept(round + more);
    }
    wait("what comes later is written", || figure(&store, "points_pending") == 0);
    assert_eq!(figure(&store, "points_dropped"), dropped);
    assert_eq!(store.close(Duration::from_secs(10)), 0);
}

#[test]
fn a_disk_that_fails_is_said_once_and_its_end_too() {
    let _alone = alone();
    for code in CODES {
        let dir = tempfile::tempdir().unwrap();
        let (journal, native) = (Arc::new(Faulty::default()), Arc::new(Faulty::default()));
        let store = open(dir.path(), options(Duration::from_millis(5)), &journal, &native);
        LINES.0.lock().unwrap().clear();
        let mut groups = Vec::new();
        accept(&store, &mut groups, 0);
        wait("files are made", || figure(&store, "files_made") == 2);
        native.fail_all(code);
        for round in 1..30 {
            accept(&store, &mut groups, round);
            let failed = native.failed.load(Ordering::Relaxed);
            wait("it is tried", || native.failed.load(Ordering::Relaxed) > failed);
        }
        assert_eq!((lines("").len(), lines("tried again").len()), (1, 1), "{:#?}", lines(""));
        assert_eq!(figure(&store, "troubles"), 1);
        native.heal();
        wait("all is written", || figure(&store, "points_pending") == 0 && lines("").len() == 2);
        let over = lines("RRD files are written again");
        assert!(over.len() == 1 && over[0].contains("no point was lost"), "{over:#?}");
        assert_eq!(figure(&store, "troubles"), 0);
        assert_eq!(store.close(Duration::from_secs(10)), 0);
    }
}

/// A file that is written through gets its points in their order, though one could not be written: a file refuses what is
/// older than what it has.
#[test]
fn later_points_do_not_overtake_those_that_failed() {
    let _alone = alone();
    for full in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let (journal, native) = (Arc::new(Faulty::default()), Arc::new(Faulty::default()));
        let store = open(dir.path(), options(Duration::from_secs(3600)), &journal, &native);
        let file = dir.path().join("c/h0/m0.rrd");
        let mut groups = Vec::new();
        accept(&store, &mut groups, 0);
        wait("files are made", || figure(&store, "files_made") == 2);
        accept(&store, &mut groups, 1);
        store.asked("c/h0".into());
        wait("the file is hot", || last(&file) == Some(START + 10));
        for round in [2, 4, 6] {
            native.fail_all(EIO);
            accept(&store, &mut groups, round);
            if full {
                store.flush_all();
            }
            let failed = native.failed.load(Ordering::Relaxed);
            wait("it fails", || native.failed.load(Ordering::Relaxed) > failed || figure(&store, "troubles") > 0);
            native.heal();
            accept(&store, &mut groups, round + 1);
            wait("the next is written", || last(&file) == Some(START + (round as i64 + 1) * 10));
        }
        let fetched = View::open(&file).unwrap().fetch(Cf::Average, START - 10, START + 60, 10).unwrap().unwrap();
        let values: Vec<_> = fetched.values.iter().skip(1).take(7).copied().collect();
        assert_eq!(values, [7.0, 14.0, 21.0, 28.0, 35.0, 42.0, 49.0], "full flush: {full}");
        assert_eq!(store.close(Duration::from_secs(10)), 0);
    }
}

#[test]
fn the_end_writes_what_can_be_written() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let (journal, native) = (Arc::new(Faulty::default()), Arc::new(Faulty::default()));
    *native.word.lock().unwrap() = Some("c/h0/");
    native.fail_all(EACCES);
    let options = CacheOptions { journal_sync: Duration::ZERO, ..options(Duration::from_secs(3600)) };
    let store = open(dir.path(), options, &journal, &native);
    let mut groups = Vec::new();
    accept(&store, &mut groups, 8);
    wait("the others are made, the first fails", || {
        figure(&store, "files_made") == 8 && figure(&store, "troubles") == 1
    });
    (9..12).for_each(|round| accept(&store, &mut groups, round));
    let began = Instant::now();
    assert_eq!(store.close(Duration::from_secs(10)), 8, "two files, four points each");
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    for host in 1..5 {
        assert_eq!(last(&dir.path().join(format!("c/h{host}/m1.rrd"))), Some(START + 110), "h{host}");
    }
}

/// Writes one point into each of these files, making them.
fn write_each(store: &mut dyn Backend, paths: &[PathBuf], time: i64) -> Vec<Option<RrdError>> {
    let (schema, values) = (schema(), [Value::Number(1.0)]);
    let points = [Point { time, values: &values }];
    let job = |path| Job { path, schema: &schema, points: &points, hot: true, create: true };
    let jobs: Vec<_> = paths.iter().map(|path| job(path.as_path())).collect();
    store.write(&jobs).into_iter().map(Result::err).collect()
}

#[test]
fn descriptors_are_few_and_given_back() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let faulty = Arc::new(Faulty::default());
    let mut store = NativeStore::with_files(Options { max_descriptors: 50, ..Options::default() }, Arc::clone(&faulty));
    let paths: Vec<_> = (0..1000).map(|i| dir.path().join(format!("c/h/{i}.rrd"))).collect();
    let open = || fs::read_dir("/proc/self/fd").unwrap().count();
    let (before, most, stop) = (open(), AtomicUsize::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                most.fetch_max(open(), Ordering::Relaxed);
            }
        });
        assert!(write_each(&mut store, &paths, START).iter().all(Option::is_none));
        stop.store(true, Ordering::Relaxed);
    });
    assert!(most.into_inner() < before + 300, "new files wait for their sync by the hundred");
    assert!(write_each(&mut store, &paths, START + 10).iter().all(Option::is_none));
    assert_eq!(store.descriptors(), 50);
    *faulty.word.lock().unwrap() = Some("/77.rrd");
    faulty.fail_all(EMFILE);
    let errors = write_each(&mut store, &paths, START + 20).into_iter().flatten().count();
    assert_eq!((errors, store.descriptors()), (1, 0), "somebody needs them more");
}
