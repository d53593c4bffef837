//! A journal on a disk that is slow, full or comes late. Each case lost points, or counted them wrongly, once.
#![allow(clippy::unwrap_used, clippy::panic)] // in a test they are the report

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use gmetad_core::stats::Stats;
use gmetad_rrd::cache::{CacheOptions, MakeBackend, RowWriter};
use gmetad_rrd::files::{Disk, Files};
use gmetad_rrd::native::Options;
use gmetad_rrd::{
    Backend, Cached, Cf, DsKind, Job, NativeStore, Point, RraSpec, RrdError, RrdStore, Schema, Value, View, Written,
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

/// A disk on which one thing or another goes wrong.
#[derive(Default)]
struct Bad {
    no_lock: AtomicBool,
    slow_read: AtomicBool,
    /// It has no room for copies of damaged segments.
    full: AtomicBool,
    copies: Mutex<Vec<(u64, u64)>>,
    failed_copies: AtomicUsize,
    /// It does not come to an end with a sync.
    syncs_hang: AtomicBool,
    hanging: AtomicUsize,
}

impl Files for Bad {
    fn make_private_dir(&self, path: &Path) -> io::Result<()> {
        if self.no_lock.load(Ordering::SeqCst) {
            return Err(io::Error::from_raw_os_error(30)); // EROFS
        }
        Disk.make_private_dir(path)
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        while self.slow_read.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(2));
        }
        Disk.read(path)
    }

    fn create(&self, path: &Path) -> io::Result<File> {
        let file = Disk.create(path)?;
        if path.to_string_lossy().contains("damaged-") {
            let stamp = Disk.fstat(&file)?;
            self.copies.lock().unwrap().push((stamp.dev, stamp.ino));
        }
        Ok(file)
    }

    fn write_at(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        let stamp = Disk.fstat(file)?;
        if self.full.load(Ordering::SeqCst) && self.copies.lock().unwrap().contains(&(stamp.dev, stamp.ino)) {
            Disk.write_at(file, &bytes[..bytes.len().min(5)], offset)?;
            self.failed_copies.fetch_add(1, Ordering::SeqCst);
            return Err(io::Error::from_raw_os_error(28)); // ENOSPC after the first bytes
        }
        Disk.write_at(file, bytes, offset)
    }

    fn sync(&self, files: &[&File]) -> io::Result<()> {
        self.hanging.fetch_add(1, Ordering::SeqCst);
        while self.syncs_hang.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(2));
        }
        self.hanging.fetch_sub(1, Ordering::SeqCst);
        Disk.sync(files)
    }
}

#[test]
fn an_end_while_a_late_journal_is_read_keeps_what_waits() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    put(&store, "c/h", 1, START, "1");
    wait("it is made", || figure(&store, "files_made") == 1);
    (1..20).for_each(|n| put(&store, "c/h", 1, START + n * 10, "5"));
    journalled(&store);
    let tree = crashed(dir.path());
    drop(store);
    let files = Arc::new(Bad::default());
    files.no_lock.store(true, Ordering::SeqCst);
    files.slow_read.store(true, Ordering::SeqCst);
    let store = open_with(tree.path(), patient(), &native(), Arc::clone(&files) as _);
    (0..50).for_each(|n| put(&store, "c/new", 1, START + 1000 + n * 10, "9"));
    files.no_lock.store(false, Ordering::SeqCst);
    wait("the lock comes", || store.has_lock());
    assert_eq!(store.close(Duration::from_millis(500)), 50);
    files.slow_read.store(false, Ordering::SeqCst);
    drop(store);
    // The thread that was left behind has the lock for a moment more.
    let mut again = None;
    wait("the lock", || {
        let stats = Arc::new(Stats::default());
        again = RrdStore::with_files(tree.path(), patient(), &native(), stats, Arc::new(Disk)).ok();
        again.is_some()
    });
    let again = again.unwrap();
    assert!(figure(&again, "journal_replayed") >= 50);
    assert_eq!(again.close(Duration::from_secs(10)), 0);
    assert_eq!(last(&tree.path().join("c/h/m0.rrd")), Some(START + 190));
    assert_eq!(last(&tree.path().join("c/new/m0.rrd")), Some(START + 1490));
}

#[test]
fn what_stands_beside_a_file_that_fails_is_counted_once() {
    let dir = tempfile::tempdir().unwrap();
    let flag = Arc::new(AtomicBool::new(true));
    let store = open_with(dir.path(), patient(), &stuck(&flag), Arc::new(Disk));
    let rra = RraSpec { cf: Cf::Average, xff: 0.5, steps: 1, rows: 300 };
    let schema = store.schema(Schema::host(10, DsKind::Gauge, &[rra]));
    let group = store.group(Path::new("c/h"));
    for n in 0..10 {
        let mut row = RowWriter::default();
        row.start(START + n * 10);
        for name in ["a.rrd", "b.rrd", "stuck.rrd"] {
            row.put(store.slot(&group, name, &schema).unwrap(), &[Value::Text("1")]);
        }
        store.accept(&group, &row, &Arc::from("s")).unwrap();
    }
    store.flush_all();
    wait("tried", || figure(&store, "troubles") == 1);
    flag.store(false, Ordering::SeqCst);
    wait("written", || figure(&store, "points_pending") == 0);
    assert_eq!(["points_accepted", "points_written", "points_past"].map(|name| figure(&store, name)), [30, 30, 0]);
}

#[test]
fn a_damaged_segment_stays_while_the_disk_has_no_room_for_its_copy() {
    let dir = tempfile::tempdir().unwrap();
    let flag = Arc::new(AtomicBool::new(true));
    let store = open_with(dir.path(), patient(), &stuck(&flag), Arc::new(Disk));
    (0..40).for_each(|n| put(&store, "c/stuck", 5, START + n * 10, "12345"));
    (0..40).for_each(|n| put(&store, "c/lost", 5, START + n * 10, "777"));
    journalled(&store);
    let copy = crashed(dir.path());
    let path = copy.path().join(".gmetad").join(&own_files(copy.path())[0]);
    let mut bytes = fs::read(&path).unwrap();
    let places: Vec<usize> = (0..bytes.len()).filter(|&at| bytes[at..].starts_with(b"c/lost")).collect();
    places.iter().for_each(|&at| bytes[at] = b'x');
    fs::write(&path, bytes).unwrap();
    let files = Arc::new(Bad::default());
    files.full.store(true, Ordering::SeqCst);
    let options = CacheOptions { journal_bytes: 3_000, memory: 1 << 20, haste: 50, ..patient() };
    let again = open_with(copy.path(), options, &stuck(&flag), Arc::clone(&files) as _);
    wait("ten copies failed", || files.failed_copies.load(Ordering::SeqCst) >= 10);
    files.full.store(false, Ordering::SeqCst);
    wait("a copy is kept", || {
        own_files(copy.path()).iter().any(|name| {
            let bytes = fs::read(copy.path().join(".gmetad").join(name)).unwrap_or_default();
            name.starts_with("damaged-") && bytes.windows(6).any(|window| window == b"x/lost")
        })
    });
    drop(again);
}

#[test]
fn rows_are_written_while_a_sync_hangs() {
    let dir = tempfile::tempdir().unwrap();
    let files = Arc::new(Bad::default());
    let store = open_with(dir.path(), patient(), &native(), Arc::clone(&files) as _);
    put(&store, "c/h", 5, START, "1");
    files.syncs_hang.store(true, Ordering::SeqCst);
    let mut time = START;
    let mut more = |until: &dyn Fn() -> bool| {
        wait("it goes on", || {
            time += 10;
            put(&store, "c/h", 5, time, "12345");
            until()
        });
    };
    more(&|| files.hanging.load(Ordering::SeqCst) > 0);
    // Also over the end of a segment.
    let segments = figure(&store, "journal_segments");
    more(&|| figure(&store, "journal_segments") > segments);
    let bytes = figure(&store, "journal_written_bytes");
    more(&|| figure(&store, "journal_written_bytes") > bytes + 1000);
    files.syncs_hang.store(false, Ordering::SeqCst);
    assert_eq!(store.close(Duration::from_secs(10)), 0);
}
