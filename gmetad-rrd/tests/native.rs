//! The native store where things go wrong: any file call fails, files vanish or are damaged, locks are taken.
#![allow(clippy::unwrap_used, clippy::panic)] // in a test they are the report

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use gmetad_rrd::files::{Disk, Files, Stamp};
use gmetad_rrd::native::Options;
use gmetad_rrd::{Backend, Cf, DsKind, Job, NativeStore, Point, RraSpec, RrdError, Schema, Value, View};

/// The disk, but the n-th call from now fails (0: none), a failing write having written half.
#[derive(Clone, Default)]
struct Faulty {
    fail_in: Arc<AtomicUsize>,
    locked: Arc<AtomicBool>,
}

impl Faulty {
    fn hit(&self) -> io::Result<()> {
        match self.fail_in.load(Ordering::Relaxed) {
            0 => Ok(()),
            n => {
                self.fail_in.store(n - 1, Ordering::Relaxed);
                if n == 1 { Err(io::Error::from_raw_os_error(5)) } else { Ok(()) }
            }
        }
    }
}

impl Files for Faulty {
    fn open(&self, path: &Path) -> io::Result<File> {
        self.hit().and_then(|()| Disk.open(path))
    }
    fn stat(&self, path: &Path) -> io::Result<Stamp> {
        self.hit().and_then(|()| Disk.stat(path))
    }
    fn fstat(&self, file: &File) -> io::Result<Stamp> {
        self.hit().and_then(|()| Disk.fstat(file))
    }
    fn lock(&self, file: &File) -> io::Result<bool> {
        self.hit()?;
        if self.locked.load(Ordering::Relaxed) { Ok(false) } else { Disk.lock(file) }
    }
    fn unlock(&self, file: &File) -> io::Result<()> {
        self.hit().and_then(|()| Disk.unlock(file))
    }
    fn read_at(&self, file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.hit().and_then(|()| Disk.read_at(file, buffer, offset))
    }
    fn write_at(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        match self.hit() {
            Ok(()) => Disk.write_at(file, bytes, offset),
            // Whole words: the header's torn write is another matter, see below.
            Err(e) if offset > 4096 => Disk.write_at(file, &bytes[..bytes.len() / 16 * 8], offset).and(Err(e)),
            Err(e) => Err(e),
        }
    }
    fn sync(&self, files: &[&File]) -> io::Result<()> {
        self.hit().and_then(|()| Disk.sync(files))
    }
    fn write_new(&self, path: &Path, bytes: &[u8]) -> io::Result<File> {
        match self.hit() {
            Ok(()) => Disk.write_new(path, bytes),
            Err(e) => {
                let _ = Disk.write_new(path, &bytes[..bytes.len() / 2]);
                Err(e)
            }
        }
    }
    fn make_dirs(&self, path: &Path) -> io::Result<()> {
        self.hit().and_then(|()| Disk.make_dirs(path))
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.hit().and_then(|()| Disk.rename(from, to))
    }
}

fn schema() -> Schema {
    let rra = |steps, rows| RraSpec { cf: Cf::Average, xff: 0.5, steps, rows };
    Schema::host(10, DsKind::Gauge, &[rra(1, 2000), rra(3, 2000)])
}

/// Seven points, twenty seconds apart.
fn write(store: &mut dyn Backend, path: &Path, round: i64) -> Result<(), RrdError> {
    let values: Vec<[Value<'_>; 1]> = (0..7).map(|i| [Value::Number((round * 7 + i) as f64)]).collect();
    let time = |i: usize| 1_000_000_000 + round * 140 + i as i64 * 20;
    let points: Vec<_> = values.iter().enumerate().map(|(i, values)| Point { time: time(i), values }).collect();
    store.write(&[Job { path, schema: &schema(), points: &points, hot: true, create: true }]).remove(0).map(drop)
}

#[test]
fn any_failing_call_costs_one_try_of_one_file() {
    for kept in [0, 8] {
        for nth in 1.. {
            let dir = tempfile::tempdir().unwrap();
            let (bad, good) = (dir.path().join("c/h/bad.rrd"), dir.path().join("c/h/good.rrd"));
            let faulty = Faulty::default();
            let mut store =
                NativeStore::with_files(Options { max_descriptors: kept, ..Options::default() }, faulty.clone());
            faulty.fail_in.store(nth, Ordering::Relaxed);
            let mut failed = false;
            for round in 0..3 {
                if let Err(error) = write(&mut store, &bad, round) {
                    assert!(error.to_string().contains("bad.rrd"), "{error}");
                    failed = true;
                    // Tried again: done, or refused as past because only the unlocking had failed.
                    match write(&mut store, &bad, round) {
                        Ok(()) | Err(RrdError::Refused { refused: 7, .. }) => {}
                        Err(other) => panic!("{nth}: {error}, then {other}"),
                    }
                }
                if faulty.fail_in.load(Ordering::Relaxed) == 0 {
                    write(&mut store, &good, round).ok(); // its first rounds may be missing
                }
            }
            let never_reached = faulty.fail_in.swap(0, Ordering::Relaxed) > 0;
            // A reference with the same seed of start rows is one at the same path.
            let written = fs::read(&bad).unwrap();
            fs::remove_file(&bad).unwrap();
            for round in 0..3 {
                write(&mut store, &bad, round).unwrap();
            }
            assert!(fs::read(&bad).unwrap() == written, "call {nth}, {kept} descriptors");
            write(&mut store, &good, 3).unwrap();
            assert!(store.descriptors() <= kept);
            let names: Vec<_> = fs::read_dir(dir.path().join("c/h")).unwrap().map(|e| e.unwrap().file_name()).collect();
            assert_eq!(names.len(), 2, "nothing left behind: {names:?}");
            assert_eq!(failed, !never_reached, "call {nth}");
            if never_reached {
                assert!(nth > 20, "{nth} calls");
                break;
            }
        }
    }
}

#[test]
fn a_locked_file_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let faulty = Faulty::default();
    let mut store = NativeStore::with_files(Options::default(), faulty.clone());
    let file = &dir.path().join("m.rrd");
    write(&mut store, file, 0).unwrap();
    let before = fs::read(dir.path().join("m.rrd")).unwrap();
    faulty.locked.store(true, Ordering::Relaxed);
    let error = write(&mut store, file, 1).unwrap_err();
    assert!(matches!(error, RrdError::Locked { .. }) && error.to_string().contains("could not lock RRD"));
    assert!(fs::read(dir.path().join("m.rrd")).unwrap() == before);
    faulty.locked.store(false, Ordering::Relaxed);
    write(&mut store, file, 1).unwrap();
}

#[test]
fn files_removed_replaced_and_damaged_under_a_kept_descriptor() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a/b/m.rrd");
    let last = |path: &Path| View::open(path).unwrap().last();
    let mut store = NativeStore::new(Options::default());
    let file = &path;
    write(&mut store, file, 0).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o133, 0, "0644 less the umask");
    let backup = fs::read(&path).unwrap();

    fs::remove_dir_all(dir.path().join("a")).unwrap();
    write(&mut store, file, 1).unwrap();
    assert_eq!(last(&path), 1_000_000_260, "made anew, directories and all");

    fs::write(dir.path().join("restored"), &backup).unwrap();
    fs::rename(dir.path().join("restored"), &path).unwrap();
    write(&mut store, file, 2).unwrap();
    assert_eq!(last(&path), 1_000_000_400, "another inode");

    fs::write(&path, &backup).unwrap(); // the same inode, as cp restores it
    write(&mut store, file, 1).unwrap();
    assert_eq!(last(&path), 1_000_000_260, "the same inode");

    fs::write(&path, b"").unwrap();
    write(&mut store, file, 2).unwrap();
    assert_eq!(last(&path), 1_000_000_400, "an empty file holds nothing to keep");

    for damaged in [&b"x"[..], b"RRD\0", &backup[..500], &backup[..backup.len() - 8]] {
        fs::write(&path, damaged).unwrap();
        let error = write(&mut store, file, 3).unwrap_err();
        assert!(matches!(error, RrdError::Format { .. }), "{error}");
        assert_eq!(fs::read(&path).unwrap(), damaged, "what is damaged is left for the admin");
    }

    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert!(matches!(write(&mut store, file, 3), Err(RrdError::Io { .. })));
    store.rest();
    assert_eq!(store.descriptors(), 0);
}

#[test]
fn a_refused_point_costs_only_itself() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = NativeStore::new(Options::default());
    let file = &dir.path().join("m.rrd");
    store.create(file, &schema(), 999).unwrap();
    let good = [Value::Text("1")];
    let bad = [Value::Text("1 apple")];
    let two = [Value::Unknown; 2];
    let point = |time, values| Point { time, values };
    let points = [point(1000, &good[..]), point(1000, &good), point(1001, &bad), point(1002, &two), point(1003, &good)];
    let error = store.update(file, &points).unwrap_err();
    assert!(matches!(error, RrdError::Refused { refused: 3, .. }), "{error}");
    assert!(error.to_string().ends_with("Cannot convert '1 apple' to float (and 2 more points refused)"), "{error}");
    assert_eq!(View::open(&dir.path().join("m.rrd")).unwrap().last(), 1003);
}

#[test]
fn descriptors_stay_within_their_bound() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = NativeStore::new(Options { max_descriptors: 3, ..Options::default() });
    let files: Vec<_> = (0..10).map(|i| dir.path().join(format!("{i}.rrd"))).collect();
    for round in 0..4 {
        for file in &files {
            write(&mut store, file, round).unwrap();
        }
    }
    assert_eq!(store.descriptors(), 3);
    store.rest();
    assert_eq!(store.descriptors(), 0);
}
