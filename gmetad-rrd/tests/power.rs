//! Power cuts: what a disk may hold after one, at each call the store makes, and what the next start makes of it.
//!
//! A store writes through a layer that logs every call. For each call, disks are made as they may be found if the power
//! went right after it, the next store is opened on each, and everything must be there that was accepted before the last
//! finished sync of the journal.
//!
//! The model of a disk:
//!
//! - [`Files::sync`] of a file: its bytes and size are on the disk, not its name. [`Files::sync_dir`]: the names in that directory
//!   are. [`Files::sync_tree`]: everything is. Only what was done before the call began.
//! - Other writes survive page by page (4 KiB) or not at all, a page in a state it once had: of the writes to it the first few.
//!   A page is never torn. A file that grew has its old size or a later one; pages that did not make it are zeros.
//! - Other creations, renames and removals survive in order up to one of them, as in a journalling file system, or, in every
//!   second disk, any of them are missing. A name that survives shows its file with the bytes that survive.
//! - Nothing that was synced is lost; the disk does not lie about its cache.
//!
//! A file larger than a page may therefore have its header on the disk but not the rows of its last updates. Nobody can mend
//! that afterwards, since the header says that they were written; C gmetad and rrdcached have it no better. For these files
//! the rows since the last sync are not compared.
#![allow(clippy::type_complexity, clippy::unwrap_used, clippy::panic)] // in a test they are the report

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use gmetad_core::stats::Stats;
use gmetad_rrd::cache::{CacheOptions, Group, MakeBackend, RowWriter};
use gmetad_rrd::files::{Disk, Files};
use gmetad_rrd::native::Options;
use gmetad_rrd::{Cached, Cf, DsKind, NativeStore, RraSpec, RrdStore, Schema, Value, View, format};

const START: i64 = 1_000_000_020; // begins a step and a row
const PAGE: u64 = 4096;

/// Bytes of a file, whatever names it has or had.
type Ino = usize;

/// A write: whether it is on the disk for sure, its offset, its bytes.
type Part<'a> = (bool, u64, &'a [u8]);

/// A group and what it gets: slots with values.
type Entries = (Arc<Group>, Vec<(u32, String)>);

#[derive(Debug)]
enum Op {
    Mkdir(PathBuf),
    Create(PathBuf, Ino),
    Write(Ino, u64, Vec<u8>),
    Rename(PathBuf, PathBuf, Ino),
    Remove(PathBuf),
    Sync(Vec<Ino>),
    SyncDir(PathBuf),
    SyncTree,
}

/// A disk: its files and directories, relative to the root.
#[derive(Debug, Clone, Default)]
struct Image {
    dirs: BTreeSet<PathBuf>,
    files: BTreeMap<PathBuf, Vec<u8>>,
}

impl Image {
    fn write(&self, root: &Path) {
        for dir in &self.dirs {
            fs::create_dir_all(root.join(dir)).unwrap();
        }
        for (path, bytes) in &self.files {
            fs::write(root.join(path), bytes).unwrap();
        }
    }
}

/// The disk, writing down what is done to it. Calls are made one after another; nothing is really synced.
struct Recorder {
    root: PathBuf,
    base: Image,
    log: Mutex<Log>,
}

#[derive(Default)]
struct Log {
    ops: Vec<Op>,
    inos: HashMap<u64, Ino>,
    paths: HashMap<PathBuf, Ino>,
    count: Ino,
}

impl Recorder {
    /// Everything that is there now is on the disk.
    fn new(root: &Path, base: Image) -> Self {
        let mut log = Log::default();
        for path in base.files.keys() {
            log.inos.insert(fs::metadata(root.join(path)).unwrap().ino(), log.count);
            log.paths.insert(path.clone(), log.count);
            log.count += 1;
        }
        Self { root: root.to_owned(), base, log: Mutex::new(log) }
    }

    fn relative(&self, path: &Path) -> PathBuf {
        path.strip_prefix(&self.root).unwrap().to_owned()
    }

    fn created(&self, log: &mut Log, path: &Path, file: &File) -> Ino {
        let ino = log.count;
        log.count += 1;
        log.inos.insert(file.metadata().unwrap().ino(), ino);
        log.paths.insert(self.relative(path), ino);
        log.ops.push(Op::Create(self.relative(path), ino));
        ino
    }

    fn dirs(&self, path: &Path, make: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        let mut log = self.log.lock().unwrap();
        let missing: Vec<_> = path.ancestors().take_while(|dir| !dir.exists()).map(|dir| self.relative(dir)).collect();
        make()?;
        log.ops.extend(missing.into_iter().rev().map(Op::Mkdir));
        Ok(())
    }
}

impl Log {
    fn ino(&self, file: &File) -> Ino {
        self.inos[&file.metadata().unwrap().ino()]
    }
}

impl Files for Recorder {
    fn write_at(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut log = self.log.lock().unwrap();
        Disk.write_at(file, bytes, offset)?;
        let ino = log.ino(file);
        log.ops.push(Op::Write(ino, offset, bytes.to_vec()));
        Ok(())
    }
    fn write_new(&self, path: &Path, bytes: &[u8]) -> io::Result<File> {
        let mut log = self.log.lock().unwrap();
        let file = Disk.write_new(path, bytes)?;
        let ino = self.created(&mut log, path, &file);
        log.ops.push(Op::Write(ino, 0, bytes.to_vec()));
        Ok(file)
    }
    fn sync(&self, files: &[&File]) -> io::Result<()> {
        let mut log = self.log.lock().unwrap();
        let inos = files.iter().map(|file| log.ino(file)).collect();
        log.ops.push(Op::Sync(inos));
        Ok(())
    }
    fn make_dirs(&self, path: &Path) -> io::Result<()> {
        self.dirs(path, || Disk.make_dirs(path))
    }
    fn make_private_dir(&self, path: &Path) -> io::Result<()> {
        self.dirs(path, || Disk.make_private_dir(path))
    }
    fn create(&self, path: &Path) -> io::Result<File> {
        let mut log = self.log.lock().unwrap();
        let file = Disk.create(path)?;
        self.created(&mut log, path, &file);
        Ok(file)
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.log.lock().unwrap().ops.push(Op::SyncDir(self.relative(dir)));
        Ok(())
    }
    fn sync_tree(&self, _: &Path) -> io::Result<()> {
        self.log.lock().unwrap().ops.push(Op::SyncTree);
        Ok(())
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut log = self.log.lock().unwrap();
        Disk.rename(from, to)?;
        let (from, to) = (self.relative(from), self.relative(to));
        let ino = log.paths.remove(&from).unwrap();
        log.paths.insert(to.clone(), ino);
        log.ops.push(Op::Rename(from, to, ino));
        Ok(())
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut log = self.log.lock().unwrap();
        Disk.remove(path)?;
        let path = self.relative(path);
        log.paths.remove(&path);
        log.ops.push(Op::Remove(path));
        Ok(())
    }
}

/// The disk without waiting for it.
struct Hasty;

impl Files for Hasty {
    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }
    fn sync(&self, _: &[&File]) -> io::Result<()> {
        Ok(())
    }
    fn sync_tree(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }
}

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn upto(&mut self, most: usize) -> usize {
        (self.next() % (most as u64 + 1)) as usize
    }
}

/// What was recorded.
struct Recording {
    base: Image,
    /// A round that was safe before.
    floor: Option<usize>,
    ops: Vec<Op>,
}

impl Recording {
    /// A disk as it may be after a power cut behind the first `cut` calls; `None`: as it is if nothing survives by luck.
    fn disk(&self, cut: usize, mut luck: Option<&mut Random>) -> Image {
        let ops = &self.ops[..cut];
        let tree = ops.iter().rposition(|op| matches!(op, Op::SyncTree)).unwrap_or(0);
        // Names.
        let mut image = Image { dirs: self.base.dirs.clone(), files: BTreeMap::new() };
        let mut names: BTreeMap<PathBuf, Ino> = self.base.files.keys().cloned().zip(0..).collect();
        let mut listed: HashMap<&Path, usize> = HashMap::new();
        for (at, op) in ops.iter().enumerate() {
            if let Op::SyncDir(dir) = op {
                listed.insert(dir, at);
            }
        }
        let any_order = luck.as_deref_mut().is_some_and(|luck| luck.next() & 1 == 0);
        let until = luck.as_deref_mut().map_or(0, |luck| tree + luck.upto(cut - tree));
        for (at, op) in ops.iter().enumerate() {
            let (Op::Mkdir(path) | Op::Create(path, _) | Op::Rename(path, ..) | Op::Remove(path)) = op else {
                continue;
            };
            let sure = at < tree || listed.get(path.parent().unwrap()).is_some_and(|&listed| at < listed);
            let lucky = match luck.as_deref_mut() {
                Some(luck) if any_order => luck.next() & 1 == 0,
                _ => at < until,
            };
            if !sure && !lucky {
                continue;
            }
            match op {
                Op::Mkdir(path) => drop(image.dirs.insert(path.clone())),
                Op::Create(path, ino) => drop(names.insert(path.clone(), *ino)),
                Op::Rename(from, to, ino) => {
                    names.remove(from);
                    names.insert(to.clone(), *ino);
                }
                _ => drop(names.remove(path)),
            }
        }
        let reachable = |path: &Path, dirs: &BTreeSet<PathBuf>| {
            path.ancestors().skip(1).all(|dir| dir.as_os_str().is_empty() || dirs.contains(dir))
        };
        let dirs = image.dirs.clone();
        image.dirs.retain(|dir| reachable(dir, &dirs));
        // Bytes.
        let mut synced: HashMap<Ino, usize> = HashMap::new();
        for (at, op) in ops.iter().enumerate() {
            if let Op::Sync(inos) = op {
                synced.extend(inos.iter().map(|&ino| (ino, at)));
            }
        }
        let mut writes: HashMap<Ino, Vec<Part<'_>>> = HashMap::new();
        for (at, op) in ops.iter().enumerate() {
            if let Op::Write(ino, offset, bytes) = op {
                let sure = at < tree || synced.get(ino).is_some_and(|&synced| at < synced);
                writes.entry(*ino).or_default().push((sure, *offset, bytes));
            }
        }
        for (path, ino) in names.into_iter().filter(|(path, _)| reachable(path, &dirs)) {
            let mut bytes = if ino < self.base.files.len() { self.base.files[&path].clone() } else { Vec::new() };
            let (sure, loose): (Vec<_>, Vec<_>) =
                writes.remove(&ino).unwrap_or_default().into_iter().partition(|(sure, ..)| *sure);
            sure.into_iter().for_each(|(_, offset, with)| put(&mut bytes, offset, with));
            if let Some(luck) = luck.as_deref_mut() {
                let grown = luck.upto(loose.len());
                let end = |(_, offset, with): &Part<'_>| *offset as usize + with.len();
                let size = loose[..grown].iter().map(end).max().unwrap_or(0).max(bytes.len());
                let mut pages: BTreeMap<u64, Vec<(u64, &[u8])>> = BTreeMap::new();
                for (_, offset, with) in loose {
                    let (mut offset, mut with) = (offset, with);
                    while !with.is_empty() {
                        let (now, later) = with.split_at(with.len().min((PAGE - offset % PAGE) as usize));
                        pages.entry(offset / PAGE).or_default().push((offset, now));
                        (offset, with) = (offset + now.len() as u64, later);
                    }
                }
                for parts in pages.into_values() {
                    let survive = luck.upto(parts.len());
                    parts[..survive].iter().for_each(|(offset, with)| put(&mut bytes, *offset, with));
                }
                bytes.resize(size, 0);
            }
            image.files.insert(path, bytes);
        }
        image
    }

    /// The rounds whose journal records were synced before the cut; they end with a word that the journal has in plain text.
    fn safe(&self, cut: usize) -> Option<usize> {
        let mut written: HashMap<Ino, usize> = HashMap::new();
        let mut safe = self.floor;
        for op in &self.ops[..cut] {
            match op {
                Op::Write(ino, _, bytes) => {
                    let text = String::from_utf8_lossy(bytes);
                    for place in text.match_indices("end/r").map(|(at, _)| at + 5) {
                        if let Ok(round) = text[place..].chars().take(3).collect::<String>().parse::<usize>() {
                            written.insert(*ino, round);
                        }
                    }
                }
                Op::Sync(inos) => safe = inos.iter().filter_map(|ino| written.get(ino).copied()).max().max(safe),
                Op::SyncTree => safe = written.values().copied().max().max(safe),
                _ => {}
            }
        }
        safe
    }
}

fn put(bytes: &mut Vec<u8>, offset: u64, with: &[u8]) {
    let offset = offset as usize;
    if bytes.len() < offset + with.len() {
        bytes.resize(offset + with.len(), 0);
    }
    bytes[offset..offset + with.len()].copy_from_slice(with);
}

/// What is written: hosts with metrics, every few rounds a host more.
#[derive(Clone, Copy)]
struct Scene {
    name: &'static str,
    /// Rows of the finer archive; up to 150 fit into one page with the header.
    rows: u64,
    cache: Duration,
    rounds: usize,
    /// At these rounds the store is closed and opened again.
    again: usize,
}

const KINDS: [DsKind; 4] = [DsKind::Gauge, DsKind::Counter, DsKind::Absolute, DsKind::Derive];

impl Scene {
    fn schemas(self, store: &RrdStore) -> Vec<Arc<Schema>> {
        let rra = |steps, rows| RraSpec { cf: Cf::Average, xff: 0.5, steps, rows };
        let rras = [rra(1, self.rows), rra(3, 50)];
        KINDS.iter().map(|kind| store.schema(Schema::host(10, *kind, &rras))).collect()
    }

    fn hosts(self, round: usize) -> usize {
        2 + round / 5
    }

    /// Host, metric and the first round of all files of that round but the marks.
    fn files(self, round: usize) -> impl Iterator<Item = (String, usize)> {
        let metrics = move |host| 0..if host == 0 && round >= 7 { 4 } else { 3 }; // a metric comes later
        (0..self.hosts(round)).flat_map(move |host| metrics(host).map(move |m| (format!("c/h{host}/m{m}.rrd"), m)))
    }

    fn accept(self, store: &RrdStore, round: usize) {
        let schemas = self.schemas(store);
        let time = START + round as i64 * 10;
        let source: Arc<str> = Arc::from("source");
        let mut groups: BTreeMap<PathBuf, Entries> = BTreeMap::new();
        for (file, m) in self.files(round) {
            let dir = Path::new(&file).parent().unwrap();
            let new = || (store.group(dir), Vec::new());
            let (group, entries) = groups.entry(dir.to_owned()).or_insert_with(new);
            let value = (round * round * 7 + m * 13 + file.len()).to_string();
            entries.push((store.slot(group, &format!("m{m}.rrd"), &schemas[m]).unwrap(), value));
        }
        for (group, entries) in groups.values() {
            let mut row = RowWriter::default();
            row.start(time);
            entries.iter().for_each(|(slot, value)| row.put(*slot, &[Value::Text(value)]));
            store.accept(group, &row, &source).unwrap();
        }
        // A new directory, so that the journal has its name.
        let end = store.group(&PathBuf::from(format!("end/r{round:03}")));
        let slot = store.slot(&end, "m.rrd", &schemas[0]).unwrap();
        let mut row = RowWriter::default();
        row.start(time);
        row.put(slot, &[Value::Text("1")]);
        store.accept(&end, &row, &source).unwrap();
    }

    fn options(self) -> CacheOptions {
        CacheOptions {
            cache: Some(self.cache),
            journal_sync: Duration::from_millis(3),
            haste: 20_000, // a segment each 3 or 30 ms, tidying each millisecond
            ..CacheOptions::default()
        }
    }

    fn open(self, root: &Path, files: &Arc<Recorder>) -> RrdStore {
        let backend: MakeBackend = {
            let files = Arc::clone(files);
            Box::new(move || Ok(Box::new(NativeStore::with_files(Options::default(), Arc::clone(&files)))))
        };
        RrdStore::with_files(root, self.options(), &backend, Arc::new(Stats::default()), Arc::clone(files) as _)
            .unwrap()
    }

    /// Writes all rounds onto an empty disk.
    fn record(self) -> Recording {
        let (dir, floor) = (tempfile::tempdir_in(scratch()).unwrap(), None);
        let recorder = Arc::new(Recorder::new(dir.path(), Image::default()));
        let mut store = self.open(dir.path(), &recorder);
        for round in 0..self.rounds {
            if round > 0 && round % self.again == 0 {
                assert_eq!(store.close(Duration::from_secs(20)), 0);
                drop(store);
                store = self.open(dir.path(), &recorder);
            }
            self.accept(&store, round);
            let ops = || recorder.log.lock().unwrap().ops.len();
            let begun = ops();
            wait("the journal has the round", || {
                let written = |op: &Op| matches!(op, Op::Write(_, _, bytes) if String::from_utf8_lossy(bytes).contains(&format!("end/r{round:03}")));
                recorder.log.lock().unwrap().ops[begun.saturating_sub(200)..].iter().any(written)
            });
            match round % 4 {
                0 => store.flush_all(),
                1 => wait("some calls", || ops() > begun + 6),
                2 => store.flush(Path::new("c/h1/m0.rrd")).unwrap(),
                _ => {}
            }
        }
        store.flush_all();
        wait("all is written", || figure(&store, "points_pending") == 0);
        wait("a segment has gone", || recorder.log.lock().unwrap().ops.iter().any(|op| matches!(op, Op::Remove(_))));
        assert_eq!(store.close(Duration::from_secs(20)), 0);
        drop(store);
        let Recorder { base, log, .. } = Arc::into_inner(recorder).unwrap();
        Recording { base, floor, ops: log.into_inner().unwrap().ops }
    }

    /// The tree that has every round.
    fn expected(self) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let options = CacheOptions { journal_sync: Duration::ZERO, ..self.options() };
        let backend: MakeBackend =
            Box::new(|| Ok(Box::new(NativeStore::with_files(Options::default(), Arc::new(Hasty)))));
        let store = RrdStore::open(dir.path(), options, &backend, Arc::new(Stats::default())).unwrap();
        (0..self.rounds).for_each(|round| self.accept(&store, round));
        assert_eq!(store.close(Duration::from_secs(20)), 0);
        dir
    }

    /// Starts on a disk as a power cut has left it.
    fn check(self, recording: &Recording, cut: usize, seed: u64, expected: &Expected, rrdtool: bool) {
        let mut luck = Random(seed ^ (cut as u64) << 20);
        let image = recording.disk(cut, Some(&mut luck));
        let context = format!("{}, cut {cut}, seed {seed}", self.name);
        for (path, bytes) in image.files.iter().filter(|(path, _)| path.extension().is_some_and(|ext| ext == "rrd")) {
            if let Err(error) = format::parse(bytes, bytes.len() as u64) {
                panic!("{context}: {}: {error}", path.display());
            }
        }
        let dir = tempfile::Builder::new().prefix("cut").tempdir_in(scratch()).unwrap();
        image.write(dir.path());
        if rrdtool {
            for path in image.files.keys().filter(|path| path.extension().is_some_and(|ext| ext == "rrd")) {
                let status = Command::new("rrdtool").arg("info").arg(dir.path().join(path)).output().unwrap().status;
                assert!(status.success(), "{context}: rrdtool cannot read {}", path.display());
            }
        }
        let files: Arc<dyn Files + Sync> = Arc::new(Hasty);
        let backend: MakeBackend =
            Box::new(|| Ok(Box::new(NativeStore::with_files(Options::default(), Arc::new(Hasty)))));
        let store =
            RrdStore::with_files(dir.path(), self.options(), &backend, Arc::new(Stats::default()), files).unwrap();
        assert_eq!(store.close(Duration::from_secs(20)), 0, "{context}");
        let damage = ["points_failed", "points_dropped"].map(|name| figure(&store, name));
        assert_eq!(damage, [0, 0], "{context}");
        drop(store);
        let own = fs::read_dir(dir.path().join(".gmetad")).unwrap().map(|e| e.unwrap().file_name());
        // A segment that was not synced may be in pieces; it is set aside.
        let own: Vec<_> = own.filter(|name| !name.to_str().unwrap().starts_with("damaged-")).collect();
        assert_eq!(own, ["lock"], "{context}: nothing is left in the journal");

        let Some(safe) = recording.safe(cut) else { return };
        // Of a larger file only the rows that were on the disk for sure, and what came from the journal behind them.
        let sure = (self.rows > 150).then(|| recording.disk(cut, None));
        let time = START + safe as i64 * 10;
        for (file, _) in self.files(safe) {
            let path = dir.path().join(&file);
            let view = match View::open(&path) {
                Ok(view) => view,
                Err(error) => panic!("{context}: round {safe} was safe, but {file}: {error}"),
            };
            assert!(view.last() >= time, "{context}: {file} was updated at {}, {time} was safe", view.last());
            let size = fs::metadata(&path).unwrap().len();
            assert_eq!(size, view.layout().file_size(), "{context}: {file}");
            let lost = sure.as_ref().map(|sure| {
                let before = sure.files.get(Path::new(&file)).and_then(|b| format::parse(b, b.len() as u64).ok());
                let found = image.files.get(Path::new(&file)).and_then(|b| format::parse(b, b.len() as u64).ok());
                (before.map_or(START - 1, |(_, s)| s.last_update), found.map_or(START - 1, |(_, s)| s.last_update))
            });
            for (steps, wanted) in [1, 3].into_iter().zip(&expected[&file]) {
                let got = view.fetch(Cf::Average, START - 30, time, steps * 10).unwrap().unwrap();
                for (at, (a, b)) in got.values.iter().zip(wanted).enumerate() {
                    let row = got.start + (at as i64 + 1) * got.step as i64;
                    let unsure = lost.is_some_and(|(from, to)| row > from && row <= to);
                    if row <= time && !unsure {
                        let same = a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan();
                        assert!(same, "{context}: {file} at {row}: {a} for {b} ({time} was safe)");
                    }
                }
            }
        }
    }
}

/// Rows of the two archives of each file.
type Expected = BTreeMap<String, [Vec<f64>; 2]>;

fn rows(scene: Scene, root: &Path) -> Expected {
    let end = START + scene.rounds as i64 * 10;
    let rows = |file: &str, step| {
        let view = View::open(&root.join(file)).unwrap();
        view.fetch(Cf::Average, START - 30, end, step).unwrap().unwrap().values
    };
    scene.files(scene.rounds - 1).map(|(file, _)| (file.clone(), [rows(&file, 10), rows(&file, 30)])).collect()
}

fn wait(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !done() {
        assert!(Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn figure(store: &RrdStore, name: &str) -> u64 {
    store.counters().into_iter().find(|(known, _)| *known == name).unwrap().1
}

/// Memory if there is some: the disks are many, and small.
fn scratch() -> PathBuf {
    let shared = PathBuf::from("/dev/shm");
    if shared.is_dir() { shared } else { std::env::temp_dir() }
}

fn is_long() -> bool {
    std::env::var_os("GMETAD_TEST_LONG").is_some_and(|value| value == "1")
}

/// Disks for each cut.
fn draws() -> u64 {
    if is_long() { 20 } else { 2 }
}

/// Checks disks of all cuts; returns how many cuts there are.
fn all_cuts(scene: Scene, recording: &Recording) -> usize {
    let tree = scene.expected();
    let expected = rows(scene, tree.path());
    let has_rrdtool = Command::new("rrdtool").arg("--version").output().is_ok();
    let cuts = recording.ops.len();
    let next = AtomicUsize::new(0);
    // Starting and stopping threads is most of it, and waiting for them.
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                loop {
                    let cut = next.fetch_add(1, Ordering::Relaxed) + 1;
                    if cut > cuts {
                        break;
                    }
                    for seed in 0..draws() {
                        scene.check(recording, cut, seed, &expected, has_rrdtool && seed == 0 && cut % 200 == 7);
                    }
                }
            });
        }
    });
    cuts
}

/// What a recording has, to see that the test tests.
fn shape(recording: &Recording) -> String {
    let count = |which: fn(&Op) -> bool| recording.ops.iter().filter(|op| which(op)).count();
    format!(
        "{} calls: {} writes, {} new, {} renamed, {} removed, {} syncs, {} of directories, {} of all",
        recording.ops.len(),
        count(|op| matches!(op, Op::Write(..))),
        count(|op| matches!(op, Op::Create(..))),
        count(|op| matches!(op, Op::Rename(..))),
        count(|op| matches!(op, Op::Remove(..))),
        count(|op| matches!(op, Op::Sync(..))),
        count(|op| matches!(op, Op::SyncDir(..))),
        count(|op| matches!(op, Op::SyncTree)),
    )
}

#[test]
fn a_power_cut_at_any_call_loses_nothing_that_was_synced() {
    let small = Scene { name: "cached", rows: 100, cache: Duration::from_secs(3600), rounds: 36, again: 15 };
    let scenes = [
        small,
        Scene { name: "written through", cache: Duration::ZERO, rounds: 26, ..small },
        Scene { name: "large", rows: 1200, rounds: 26, again: 11, ..small },
    ];
    let mut cuts = 0;
    for scene in scenes {
        let recording = scene.record();
        println!("{}: {}", scene.name, shape(&recording));
        cuts += all_cuts(scene, &recording);
        // And a second cut, at the start after one: in the midst of the replay. Of large files it is not known what is on
        // the disk then.
        let starts = if scene.rows > 150 {
            0
        } else if is_long() {
            8
        } else {
            1
        };
        for _ in 0..starts {
            let mut luck = Random(cuts as u64);
            let cut = recording.ops.len() / 2 + luck.upto(recording.ops.len() / 4);
            let again = start_after(scene, recording.disk(cut, Some(&mut luck)), recording.safe(cut));
            println!("{}, after cut {cut}: {}", scene.name, shape(&again));
            cuts += all_cuts(scene, &again);
        }
    }
    assert!(cuts >= 2000, "{cuts} cuts");
}

/// A start, with its replay, on what a cut has left.
fn start_after(scene: Scene, base: Image, floor: Option<usize>) -> Recording {
    let dir = tempfile::tempdir_in(scratch()).unwrap();
    base.write(dir.path());
    let recorder = Arc::new(Recorder::new(dir.path(), base));
    let store = scene.open(dir.path(), &recorder);
    assert_eq!(store.close(Duration::from_secs(20)), 0);
    drop(store);
    let Recorder { base, log, .. } = Arc::into_inner(recorder).unwrap();
    Recording { base, floor, ops: log.into_inner().unwrap().ops }
}
