//! The store in trouble: directories that cannot be written, a journal that cannot, a lock that comes late, sectors that are
//! lost, back ends that panic. Each case lost points once.
#![allow(clippy::unwrap_used, clippy::panic)] // in a test they are the report

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use gmetad_core::model::UnixTime;
use gmetad_core::source::{Source, Stop};
use gmetad_core::stats::Stats;
use gmetad_core::{Gmetad, GmondReader, PollError, ReaderOptions, SourceSnapshot};
use gmetad_rrd::cache::{CacheOptions, MakeBackend, RowWriter};
use gmetad_rrd::files::{Disk, Files};
use gmetad_rrd::native::Options;
use gmetad_rrd::{
    Backend, Cached, Cf, DsKind, Job, NativeStore, Point, RraSpec, RrdError, RrdPlugin, RrdSettings, RrdStore, Schema,
    Value, View, Written,
};

const START: i64 = 1_000_000_000;

fn plain() -> NativeStore {
    NativeStore::new(Options { sync_new: false, ..Options::default() })
}

fn patient() -> CacheOptions {
    let journal_sync = Duration::from_millis(10);
    CacheOptions { cache: Some(Duration::from_secs(3600)), journal_sync, haste: 100, ..CacheOptions::default() }
}

fn open_with(root: &Path, options: CacheOptions, backend: &MakeBackend, files: Arc<dyn Files + Sync>) -> RrdStore {
    RrdStore::with_files(root, options, backend, Arc::new(Stats::default()), files).unwrap()
}

fn open(root: &Path) -> RrdStore {
    open_with(root, patient(), &native(), Arc::new(Disk))
}

fn native() -> MakeBackend {
    Box::new(|| Ok(Box::new(plain())))
}

fn wait(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(30);
    while !done() {
        assert!(Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn figure(store: &RrdStore, name: &str) -> u64 {
    store.counters().into_iter().find(|(known, _)| *known == name).unwrap().1
}

fn last(path: &Path) -> Option<i64> {
    View::open(path).ok().map(|view| view.last())
}

/// Waits until the journal has what was accepted: it is not written any more.
fn journalled(store: &RrdStore) {
    let mut seen = (0, Instant::now());
    wait("the journal rests", || {
        let bytes = figure(store, "journal_written_bytes");
        if bytes != seen.0 {
            seen = (bytes, Instant::now());
        }
        seen.1.elapsed() > Duration::from_millis(300) // thirty times the sync interval
    });
}

/// The tree as a crash leaves it.
fn crashed(root: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    let status = std::process::Command::new("cp").arg("-a").arg(root.join(".")).arg(copy.path()).status().unwrap();
    assert!(status.success());
    copy
}

fn own_files(root: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(root.join(".gmetad"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn put(store: &RrdStore, dir: &str, metrics: usize, time: i64, text: &str) {
    let rra = RraSpec { cf: Cf::Average, xff: 0.5, steps: 1, rows: 3000 };
    let schema = store.schema(Schema::host(10, DsKind::Gauge, &[rra]));
    let group = store.group(Path::new(dir));
    let mut row = RowWriter::default();
    row.start(time);
    for metric in 0..metrics {
        row.put(store.slot(&group, &format!("m{metric}.rrd"), &schema).unwrap(), &[Value::Text(text)]);
    }
    store.accept(&group, &row, &Arc::from("s")).unwrap();
}

/// Files below "stuck" cannot be written while the flag is set.
struct Stuck(NativeStore, Arc<AtomicBool>);

impl Backend for Stuck {
    fn create(&mut self, path: &Path, schema: &Schema, start: i64) -> Result<(), RrdError> {
        self.0.create(path, schema, start)
    }

    fn update(&mut self, path: &Path, points: &[Point<'_>]) -> Result<(), RrdError> {
        self.0.update(path, points)
    }

    fn write(&mut self, jobs: &[Job<'_>]) -> Vec<Result<Written, RrdError>> {
        let one = |job: &Job<'_>| {
            if self.1.load(Ordering::Relaxed) && job.path.to_string_lossy().contains("stuck") {
                let source = io::Error::from_raw_os_error(5);
                return Err(RrdError::Io { action: "write", path: job.path.to_owned(), source });
            }
            self.0.write(std::slice::from_ref(job)).pop().unwrap()
        };
        jobs.iter().map(one).collect()
    }
}

fn stuck(flag: &Arc<AtomicBool>) -> MakeBackend {
    let flag = Arc::clone(flag);
    Box::new(move || Ok(Box::new(Stuck(plain(), Arc::clone(&flag)))))
}

/// A disk whose journal can fail or be slow, whose lock can be refused, whose syncs can last.
#[derive(Default)]
struct Bad {
    fail: AtomicBool,
    /// MB a second; 0 is no limit.
    speed: AtomicUsize,
    no_lock: AtomicBool,
    slow_sync: AtomicBool,
    syncing: AtomicBool,
}

impl Files for Bad {
    fn write_at(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        if self.fail.load(Ordering::Relaxed) {
            return Err(io::Error::from_raw_os_error(5));
        }
        if let Some(micros) = bytes.len().checked_div(self.speed.load(Ordering::Relaxed)) {
            std::thread::sleep(Duration::from_micros(micros as u64));
        }
        Disk.write_at(file, bytes, offset)
    }

    fn make_private_dir(&self, path: &Path) -> io::Result<()> {
        if self.no_lock.load(Ordering::Relaxed) {
            return Err(io::Error::from_raw_os_error(30)); // EROFS
        }
        Disk.make_private_dir(path)
    }

    fn sync_tree(&self, dir: &Path) -> io::Result<()> {
        if self.slow_sync.load(Ordering::SeqCst) {
            self.syncing.store(true, Ordering::SeqCst);
            std::thread::sleep(Duration::from_millis(100));
        }
        Disk.sync_tree(dir)
    }
}

/// The journal stays within its bound, and everything that waits survives a crash, also when it is much more than a buffer,
/// and all of one directory.
#[test]
fn a_bounded_journal_keeps_what_waits_for_stuck_directories() {
    for directories in [1, 4] {
        let dir = tempfile::tempdir().unwrap();
        let flag = Arc::new(AtomicBool::new(true));
        let most = 100 << 20;
        let options = CacheOptions { journal_bytes: most, haste: 50, ..patient() };
        let store = open_with(dir.path(), options, &stuck(&flag), Arc::new(Disk));
        let text = "7".repeat(390);
        // 35 MB that cannot be written, among twice as much that can.
        let (mut time, mut stuck) = (START, 0u64);
        let mut highest = 0;
        while stuck < 88_000 {
            time += 10;
            put(&store, &format!("c/stuck{}", time / 10 % directories), 100, time, &text);
            stuck += 100;
            (0..2).for_each(|at| put(&store, &format!("c/h{at}"), 100, time, &text));
            if stuck % 2_000 == 0 {
                store.flush(Path::new("c/h0/m0.rrd")).unwrap();
                store.flush_all();
                highest = highest.max(figure(&store, "journal_bytes"));
            }
        }
        assert_eq!(figure(&store, "points_dropped"), 0);
        wait("the rest is written", || figure(&store, "points_pending") == stuck);
        wait("the journal shrinks", || figure(&store, "journal_bytes") <= most);
        assert!(highest < 2 * most, "{highest} bytes while points came faster than any site's");
        assert_eq!(figure(&store, "journal_gap_bytes"), 0);
        let copy = crashed(dir.path());
        let again = open_with(copy.path(), patient(), &self::stuck(&flag), Arc::new(Disk));
        assert!(figure(&again, "journal_replayed") >= stuck, "{}", figure(&again, "journal_replayed"));
    }
}

/// Without anything stuck: directories that come, wait, and go.
#[test]
fn a_journal_is_bounded_while_few_points_wait_for_long() {
    let dir = tempfile::tempdir().unwrap();
    let most = 400_000;
    let options = CacheOptions { journal_bytes: most, ..patient() };
    let store = open_with(dir.path(), options, &native(), Arc::new(Disk));
    let text = "7".repeat(390);
    let (mut time, mut waiting) = (START, Vec::new());
    for round in 0..60 {
        put(&store, &format!("c/q{round}"), 1, time, "1");
        wait("a new file is made", || last(&dir.path().join(format!("c/q{round}/m0.rrd"))).is_some());
        put(&store, &format!("c/q{round}"), 1, time + 10, "1");
        waiting.push(time + 10);
        for _ in 0..10 {
            time += 10;
            put(&store, "c/busy", 10, time, &text);
        }
        store.flush(Path::new("c/busy/m0.rrd")).unwrap();
        wait("the journal is not larger than its bound for long", || figure(&store, "journal_bytes") <= most);
    }
    assert!(figure(&store, "journal_written_bytes") > 4 * most);
    journalled(&store);
    let copy = crashed(dir.path());
    assert!(figure(&store, "points_pending") > 40);
    let again = open(copy.path());
    assert_eq!(again.close(Duration::from_secs(20)), 0);
    for (round, time) in waiting.into_iter().enumerate() {
        assert_eq!(last(&copy.path().join(format!("c/q{round}/m0.rrd"))), Some(time));
    }
}

#[test]
fn segments_stay_until_their_repeated_rows_are_on_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    let flag = Arc::new(AtomicBool::new(true));
    let files = Arc::new(Bad::default());
    let options = CacheOptions { journal_bytes: 20_000, ..patient() };
    let store = open_with(dir.path(), options, &stuck(&flag), Arc::clone(&files) as _);
    (0..150).for_each(|n| put(&store, "c/stuck", 10, START + n * 10, "12345"));
    wait("they are in the journal", || figure(&store, "journal_bytes") > 10_000);
    files.fail.store(true, Ordering::Relaxed);
    let mut time = START + 10_000;
    let errors = figure(&store, "journal_errors");
    wait("the journal fails some times", || {
        time += 10;
        put(&store, "c/stuck", 10, time, "1");
        store.flush_all();
        figure(&store, "journal_errors") > errors + 20
    });
    let copy = crashed(dir.path());
    let again = open_with(copy.path(), patient(), &stuck(&flag), Arc::new(Disk));
    assert!(figure(&again, "journal_replayed") >= 1_500, "{}", figure(&again, "journal_replayed"));
}

#[test]
fn a_lock_that_comes_late_brings_the_journal_before_everything_else() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    put(&store, "c/h", 1, START, "1");
    wait("it is made", || figure(&store, "files_made") == 1);
    (1..20).for_each(|n| put(&store, "c/h", 1, START + n * 10, "5"));
    journalled(&store);
    let tree = crashed(dir.path());
    drop(store);
    let files = Arc::new(Bad::default());
    files.no_lock.store(true, Ordering::Relaxed);
    let store = open_with(tree.path(), patient(), &native(), Arc::clone(&files) as _);
    put(&store, "c/h", 1, START + 300, "9");
    assert!(store.flush(Path::new("c/h/m0.rrd")).is_err(), "not before the lock");
    assert_eq!(last(&tree.path().join("c/h/m0.rrd")), Some(START));
    files.no_lock.store(false, Ordering::Relaxed);
    wait("the lock comes", || store.has_lock());
    assert_eq!(store.close(Duration::from_secs(10)), 0);
    assert_eq!(own_files(tree.path()), ["lock"]);
    let view = View::open(&tree.path().join("c/h/m0.rrd")).unwrap();
    assert_eq!(view.last(), START + 300);
    let rows = view.fetch(Cf::Average, START, START + 200, 10).unwrap().unwrap();
    assert_eq!(rows.values.iter().filter(|value| **value == 5.0).count(), 19);
}

#[test]
fn without_the_lock_nothing_of_another_store_is_touched() {
    let tree = tempfile::tempdir().unwrap();
    let files = Arc::new(Bad::default());
    files.no_lock.store(true, Ordering::Relaxed);
    let options = CacheOptions { journal_sync: Duration::ZERO, ..patient() };
    let first = open_with(tree.path(), options, &native(), Arc::clone(&files) as _);
    let second = open(tree.path());
    files.no_lock.store(false, Ordering::Relaxed);
    put(&first, "c/h", 1, START + 500, "1");
    put(&second, "c/h", 1, START + 100, "1");
    wait("the owner writes", || last(&tree.path().join("c/h/m0.rrd")) == Some(START + 100));
    (11..20).for_each(|n| put(&second, "c/g", 1, START + n * 10, "5"));
    journalled(&second);
    let before = own_files(tree.path());
    assert_eq!(first.close(Duration::from_secs(3)), 1);
    assert_eq!(own_files(tree.path()), before);
    assert_eq!(last(&tree.path().join("c/h/m0.rrd")), Some(START + 100));
    let copy = crashed(tree.path());
    let again = open(copy.path());
    assert!(figure(&again, "journal_replayed") >= 8);
}

#[test]
fn a_lost_page_costs_the_rows_in_it() {
    for (from, to) in [(0, 512), (0, 4096), (17, 1200)] {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path());
        (0..4).for_each(|host| put(&store, &format!("c/h{host}"), 30, START, "1"));
        wait("all are made", || figure(&store, "files_made") == 120);
        for n in 1..100 {
            (0..4).for_each(|host| put(&store, &format!("c/h{host}"), 30, START + n * 10, "5"));
        }
        journalled(&store);
        let copy = crashed(dir.path());
        let segment = copy.path().join(".gmetad").join(&own_files(copy.path())[0]);
        let mut bytes = fs::read(&segment).unwrap();
        bytes[from..to].fill(0);
        fs::write(&segment, bytes).unwrap();
        let again = open(copy.path());
        let (replayed, damaged) = (figure(&again, "journal_replayed"), figure(&again, "journal_damaged"));
        // A row is about 75 bytes.
        assert!(replayed >= 12_000 - 30 * (4096 / 75 + 2), "{from}..{to}: {replayed} points");
        assert!(damaged > 0, "told");
        assert_eq!(again.close(Duration::from_secs(10)), 0);
    }
}

/// A segment with rows of which nobody knows where they belong is not thrown away.
#[test]
fn what_cannot_be_understood_is_set_aside() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    put(&store, "c/h", 1, START, "1");
    wait("it is made", || figure(&store, "files_made") == 1);
    (1..9).for_each(|n| put(&store, "c/h", 1, START + n * 10, "5"));
    journalled(&store);
    let copy = crashed(dir.path());
    let name = own_files(copy.path())[0].clone();
    let path = copy.path().join(".gmetad").join(&name);
    let mut bytes = fs::read(&path).unwrap();
    // Both copies of the directory's name, and with them the records.
    let places: Vec<usize> = (0..bytes.len()).filter(|&at| bytes[at..].starts_with(b"c/h")).collect();
    assert_eq!(places.len(), 2);
    places.iter().for_each(|&at| bytes[at] = b'x');
    fs::write(&path, bytes).unwrap();
    let again = open(copy.path());
    assert_eq!(figure(&again, "journal_replayed"), 0);
    assert_eq!(again.close(Duration::from_secs(10)), 0);
    let left = own_files(copy.path());
    assert!(left.len() == 2 && left[0].starts_with(&format!("damaged-{name}-")) && left[1] == "lock", "{left:?}");
}

#[test]
fn damaged_segments_are_kept_side_by_side_but_not_for_ever() {
    let dir = tempfile::tempdir().unwrap();
    let own = dir.path().join(".gmetad");
    fs::create_dir(&own).unwrap();
    let older = "damaged-journal-0000000000000001-1700000000";
    fs::write(own.join(older), "an older one").unwrap();
    for number in 1..=12 {
        fs::write(own.join(format!("journal-{number:016x}")), "damaged").unwrap();
    }
    assert_eq!(open(dir.path()).close(Duration::from_secs(5)), 0);
    let left = own_files(dir.path());
    assert_eq!(left.iter().filter(|name| name.starts_with("damaged-")).count(), 8, "{left:?}");
    assert_eq!(left.len(), 9, "{left:?}");
    assert_eq!(fs::read_to_string(own.join(older)).unwrap(), "an older one");
}

/// A journal that is larger than what may wait, and has a number that a new one would not have, found late.
#[test]
fn a_late_lock_takes_a_large_journal_whole() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    put(&store, "c/h", 20, START, "1");
    wait("they are made", || figure(&store, "files_made") == 20);
    (1..1000).for_each(|n| put(&store, "c/h", 20, START + n * 10, "12345.678"));
    journalled(&store);
    let tree = crashed(dir.path());
    drop(store);
    let segment = |number: u64| tree.path().join(format!(".gmetad/journal-{number:016x}"));
    fs::rename(segment(1), segment(7)).unwrap();
    let files = Arc::new(Bad::default());
    files.no_lock.store(true, Ordering::Relaxed);
    let flag = Arc::new(AtomicBool::new(true));
    let options = CacheOptions { memory: 50_000, ..patient() };
    let store = open_with(tree.path(), options, &stuck(&flag), Arc::clone(&files) as _);
    put(&store, "c/stuck", 1, START + 30_000, "9");
    files.no_lock.store(false, Ordering::Relaxed);
    wait("the lock comes", || store.has_lock());
    let mut time = START + 30_000;
    wait("a segment is begun", || {
        time += 10;
        put(&store, "c/h", 1, time, "9");
        own_files(tree.path()).len() > 1
    });
    assert!(!segment(1).exists(), "numbers go on behind the old ones: {:?}", own_files(tree.path()));
    flag.store(false, Ordering::Relaxed);
    wait("files are written", || store.flush(Path::new("c/h/m0.rrd")).is_ok());
    assert_eq!(store.close(Duration::from_secs(20)), 0);
    assert_eq!(figure(&store, "points_dropped"), 0);
    let view = View::open(&tree.path().join("c/h/m5.rrd")).unwrap();
    let rows = view.fetch(Cf::Average, START, START + 9990, 10).unwrap().unwrap();
    assert_eq!(rows.values.iter().filter(|value| !value.is_nan()).count(), 999);
}

/// A crash while the journal was made smaller leaves rows in two segments. They count once, and nothing is dropped for them.
#[test]
fn rows_that_stand_in_the_journal_twice_count_once() {
    let dir = tempfile::tempdir().unwrap();
    let flag = Arc::new(AtomicBool::new(true));
    let store = open_with(dir.path(), patient(), &stuck(&flag), Arc::new(Disk));
    (0..200).for_each(|n| put(&store, "c/stuck", 20, START + n * 10, "12345.678"));
    journalled(&store);
    let bytes = usize::try_from(figure(&store, "pending_bytes")).unwrap();
    let copy = crashed(dir.path());
    let own = copy.path().join(".gmetad");
    fs::copy(own.join("journal-0000000000000001"), own.join("journal-0000000000000002")).unwrap();
    fs::write(own.join("compact"), "not finished").unwrap();
    let options = CacheOptions { memory: bytes - bytes / 10, ..patient() };
    let again = open_with(copy.path(), options, &stuck(&flag), Arc::new(Disk));
    assert_eq!(figure(&again, "points_pending"), 4000);
    (200..203).for_each(|n| put(&again, "c/stuck", 20, START + n * 10, "12345.678"));
    assert_eq!(figure(&again, "points_dropped"), 0);
    assert_eq!(again.close(Duration::from_secs(1)), 4060, "stuck");
    let counted = ["points_written", "points_past", "points_removed", "points_failed"].map(|name| figure(&again, name));
    assert_eq!(counted, [0; 4], "what is tried again is not counted yet");
    drop(again);
    flag.store(false, Ordering::Relaxed);
    let again = open(copy.path());
    assert_eq!(again.close(Duration::from_secs(10)), 0);
    assert_eq!(own_files(copy.path()), ["lock"]);
    let view = View::open(&copy.path().join("c/stuck/m7.rrd")).unwrap();
    let rows = view.fetch(Cf::Average, START, START + 2020, 10).unwrap().unwrap();
    assert_eq!(rows.values.iter().filter(|value| !value.is_nan()).count(), 202);
}

/// Every point of the journal is accounted for.
#[test]
fn points_of_removed_files_are_counted() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_with(dir.path(), CacheOptions { haste: 1000, ..patient() }, &native(), Arc::new(Disk));
    let _held = store.group(Path::new("c/h")); // as a plugin does: else it is forgotten while it has nothing
    put(&store, "c/h", 2, START, "1");
    wait("they are made", || figure(&store, "files_made") == 2);
    let mut time = START;
    let rotations = figure(&store, "JournalRotate");
    wait("the names are known to last", || {
        time += 10;
        put(&store, "c/o", 1, time, "1");
        store.flush(Path::new("c/o/m0.rrd")).unwrap();
        figure(&store, "JournalRotate") > rotations + 2 && figure(&store, "journal_segments") <= 2
    });
    (1..20).for_each(|n| put(&store, "c/h", 2, START + n * 10, "5"));
    journalled(&store);
    let tree = crashed(dir.path());
    drop(store);
    fs::remove_file(tree.path().join("c/h/m0.rrd")).unwrap();
    let store = open(tree.path());
    assert_eq!(store.close(Duration::from_secs(10)), 0);
    let figure = |name| figure(&store, name);
    let all = ["journal_replayed", "points_written", "points_past", "points_removed", "points_failed", "files_made"]
        .map(figure);
    assert!(figure("points_removed") >= 19, "{all:?}");
    let sum = figure("points_written") + figure("points_past") + figure("points_removed");
    assert_eq!(sum, figure("journal_replayed"));
    assert!(!tree.path().join("c/h/m0.rrd").exists());
}

/// Panics as often as the number says.
struct Panics(NativeStore, Arc<AtomicUsize>);

impl Backend for Panics {
    fn create(&mut self, path: &Path, schema: &Schema, start: i64) -> Result<(), RrdError> {
        self.0.create(path, schema, start)
    }

    fn update(&mut self, path: &Path, points: &[Point<'_>]) -> Result<(), RrdError> {
        self.0.update(path, points)
    }

    fn write(&mut self, jobs: &[Job<'_>]) -> Vec<Result<Written, RrdError>> {
        if self.1.load(Ordering::SeqCst) > 0 {
            self.1.fetch_sub(1, Ordering::SeqCst);
            panic!("as the test wants it");
        }
        self.0.write(jobs)
    }
}

#[test]
fn a_panic_of_a_back_end_costs_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let panics = Arc::new(AtomicUsize::new(0));
    let backend: MakeBackend = {
        let panics = Arc::clone(&panics);
        Box::new(move || Ok(Box::new(Panics(plain(), Arc::clone(&panics)))))
    };
    let store = open_with(dir.path(), patient(), &backend, Arc::new(Disk));
    let file = dir.path().join("c/h/m0.rrd");
    put(&store, "c/h", 1, START, "1");
    wait("it is made", || last(&file) == Some(START));
    // While it is written through.
    store.asked(PathBuf::from("c/h"));
    put(&store, "c/h", 1, START + 10, "2");
    wait("hot", || last(&file) == Some(START + 10));
    panics.store(1, Ordering::SeqCst);
    put(&store, "c/h", 1, START + 20, "3");
    wait("the panic", || panics.load(Ordering::SeqCst) == 0);
    put(&store, "c/h", 1, START + 30, "4");
    wait("hot again", || last(&file) == Some(START + 30));
    let rows = View::open(&file).unwrap().fetch(Cf::Average, START, START + 30, 10).unwrap().unwrap();
    assert_eq!(rows.values[..3], [2.0, 3.0, 4.0]);
    // While all that waits is written.
    (4..10).for_each(|n| put(&store, "c/g", 1, START + n * 10, "4"));
    wait("it is made", || last(&dir.path().join("c/g/m0.rrd")).is_some());
    put(&store, "c/g", 1, START + 200, "4");
    panics.store(1, Ordering::SeqCst);
    assert!(store.flush(Path::new("c/g/m0.rrd")).is_err(), "told, not waited for");
    put(&store, "c/g", 1, START + 210, "4");
    wait("written the next time", || store.flush(Path::new("c/g/m0.rrd")).is_ok());
    assert_eq!(last(&dir.path().join("c/g/m0.rrd")), Some(START + 210));
    store.flush(Path::new("c/h/m0.rrd")).unwrap();
    assert_eq!((figure(&store, "points_pending"), figure(&store, "points_dropped")), (0, 0));
    assert_eq!(store.close(Duration::from_secs(5)), 0);
    assert_eq!(own_files(dir.path()), ["lock"]);
}

#[test]
fn a_group_may_be_retired_while_the_disk_syncs() {
    let dir = tempfile::tempdir().unwrap();
    let files = Arc::new(Bad::default());
    files.slow_sync.store(true, Ordering::SeqCst);
    let options = CacheOptions { haste: 1000, ..patient() };
    let store = open_with(dir.path(), options, &native(), Arc::clone(&files) as _);
    put(&store, "c/h", 5, START, "1");
    wait("they are made", || figure(&store, "files_made") == 5);
    let mut time = START;
    let mut more = || {
        time += 10;
        put(&store, "c/other", 1, time, "1");
        store.flush(Path::new("c/other/m0.rrd")).unwrap();
    };
    wait("a sync", || {
        more();
        files.syncing.load(Ordering::SeqCst)
    });
    let group = store.group(Path::new("c/h"));
    wait("it is idle", || store.retire(&group));
    let syncs = figure(&store, "journal_syncs");
    wait("syncing goes on", || {
        more();
        figure(&store, "journal_syncs") > syncs + 20
    });
}

/// A host of a cluster that two sources have; some of its metrics have other names at each poll.
struct Part {
    reader: GmondReader,
    name: char,
    polls: Arc<AtomicUsize>,
}

impl Source for Part {
    fn poll(&mut self, now: UnixTime, _stop: &Stop) -> Result<SourceSnapshot, PollError> {
        let poll = self.polls.fetch_add(1, Ordering::Relaxed);
        let metric = |name: String, val: u32| {
            format!(
                "<METRIC NAME=\"{name}\" VAL=\"{val}\" TYPE=\"uint32\" TN=\"0\" TMAX=\"60\" DMAX=\"1\" SLOPE=\"both\"/>"
            )
        };
        let stable = (0..3).map(|n| metric(format!("{}{n}", self.name), u32::from(self.name) * 10 + n));
        let changing = (0..40).map(|n| metric(format!("x{poll}_{n}"), 7)).take(if self.name == 'a' { 40 } else { 0 });
        let document = format!(
            "<GANGLIA_XML VERSION=\"3.7.2\" SOURCE=\"gmond\"><CLUSTER NAME=\"c\" LOCALTIME=\"{}\">\
             <HOST NAME=\"h\" REPORTED=\"{now}\" TN=\"0\" TMAX=\"20\">{}</HOST></CLUSTER></GANGLIA_XML>",
            START + poll as i64,
            stable.chain(changing).collect::<String>()
        );
        // Its DMAX is over at once: only what this poll has is there.
        self.reader.read_document(document.as_bytes(), now + poll as i64).map_err(|e| PollError::Other(e.to_string()))
    }
}

/// Slots of names that are no longer used go; nobody else's values may come into the files then.
#[test]
fn two_sources_of_a_host_keep_their_files_apart() {
    let dir = tempfile::tempdir().unwrap();
    let mut settings = RrdSettings::new(dir.path());
    settings.rras = vec!["RRA:AVERAGE:0.5:1:3000".to_owned()];
    settings.cache = CacheOptions { cache: Some(Duration::ZERO), ..CacheOptions::default() };
    let polls = ['a', 'b'].map(|name| (name, Arc::new(AtomicUsize::new(0))));
    let mut builder = Gmetad::builder().plugin(RrdPlugin::hosts(settings));
    for (name, polls) in &polls {
        let (name, polls) = (*name, Arc::clone(polls));
        builder = builder.custom_source(name, Duration::from_millis(20), move || Part {
            reader: GmondReader::new(Vec::new(), ReaderOptions::default()),
            name,
            polls: Arc::clone(&polls),
        });
    }
    let gmetad = builder.start().unwrap();
    wait("many polls", || polls.iter().all(|(_, polls)| polls.load(Ordering::Relaxed) > 60));
    gmetad.stop(Duration::from_secs(10)).unwrap();
    for (name, polls) in &polls {
        for n in 0..3 {
            let view = View::open(&dir.path().join(format!("c/h/{name}{n}.rrd"))).unwrap();
            let end = START + polls.load(Ordering::Relaxed) as i64;
            let rows = view.fetch(Cf::Average, START, end, 1).unwrap().unwrap();
            let known: Vec<f64> = rows.values.iter().copied().filter(|value| !value.is_nan()).collect();
            assert!(known.len() > 50, "{name}{n}: {} rows", known.len());
            let own = f64::from(u32::from(*name) * 10 + n);
            assert!(known.iter().all(|value| *value == own), "{name}{n}: {known:?}");
        }
    }
}
