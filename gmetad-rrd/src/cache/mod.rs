//! The store: points wait in memory, in the journal on the disk, and are written to their files many at a time.
//!
//! ```text
//! accept -> group: row in memory, row in the journal's buffer -> due -> a writer: all rows of the group, file by file
//! ```
//!
//! What is written through at once: summaries; the files of a host that was asked for; and each file that somebody has read
//! since it was last written, which its access time tells. [`CacheOptions::hot`] is how long that lasts. Everything else
//! waits up to [`CacheOptions::cache`].
//!
//! Writing twice is harmless, since a file refuses what is not newer than its last update: a flush that failed is
//! repeated, the journal is replayed, and hot files are written before the others, without keeping accounts.

mod group;
mod journal;
mod lock;
mod readers;
mod record;
mod replay;
mod row;
mod tidy;
mod trouble;
mod writers;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::File;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use gmetad_core::stats::{Counter, Report, Stats};
use nix::sys::statvfs::{FsFlags, statvfs};
use parking_lot::{Condvar, Mutex};

pub use group::Group;
use group::{Memory, NEVER};
use journal::Journal;
use lock::{Locked, old_segments, take_lock};
pub use row::RowWriter;
use tidy::unbroken;
use trouble::Trouble;

use crate::cached::Cached;
use crate::files::{Disk, Files};
use crate::path::{OWN_PREFIX, seed};
use crate::schema::Schema;
use crate::store::Backend;

/// How points wait.
#[derive(Debug, Clone, PartialEq)]
pub struct CacheOptions {
    /// How long points wait, at most, for files that nobody reads. Zero: everything is written through. `None`: 4 steps, but
    /// not over [`AUTO`]; zero where the file system keeps no access times, so that nobody could be seen reading.
    pub cache: Option<Duration>,
    /// Added to `cache` by chance, at most, anew for each flush of a directory. `None`: as much as `cache`, if that is set.
    pub jitter: Option<Duration>,
    /// How long files are written through after somebody asked for them or read them.
    pub hot: Duration,
    /// Most bytes of memory for points that wait. At three quarters of it everything is written as fast as the disk takes it;
    /// beyond it the oldest points of the directory that gets more are dropped, and counted.
    pub memory: usize,
    /// How often the journal is written and synced. Zero: no journal.
    pub journal_sync: Duration,
    /// Most bytes of the journal; beyond it what waits is written into it anew, and the rest of it goes. Points wait in half as
    /// many bytes of memory at most, so that this helps.
    pub journal_bytes: u64,
    /// Threads that write files.
    pub writers: usize,
    /// By how much the store's own times are shorter than they are: the age of a segment, the pause between two tidyings and
    /// after failures. For tests.
    #[doc(hidden)]
    pub haste: u32,
}

/// Most points that wait for one directory: the memory that writing them takes is several times their own.
const GROUP_POINTS: u64 = 2_000_000;
/// How often what nobody needs any more is looked for.
const TIDY: Duration = Duration::from_secs(10);

/// Longest time that points wait if none is set: the first graph of a file that nobody read lacks that much.
pub const AUTO: Duration = Duration::from_secs(60);

impl Default for CacheOptions {
    fn default() -> Self {
        Self {
            cache: None,
            jitter: None,
            hot: Duration::from_secs(600),
            memory: 512 << 20,
            journal_sync: Duration::from_secs(1),
            journal_bytes: 1 << 30,
            writers: 2,
            haste: 1,
        }
    }
}

/// Why a store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another program has the tree.
    #[error(
        "the RRD tree {} is in use by {owner} (lock file {}): stop that one first, or set another rrd_rootdir",
        .root.display(), .lock.display()
    )]
    InUse {
        /// The tree.
        root: PathBuf,
        /// What the lock file says: a pid.
        owner: String,
        /// The lock file.
        lock: PathBuf,
    },
    /// A back end could not be made.
    #[error("{0}")]
    Backend(String),
    /// No thread could be started.
    #[error("cannot start a thread for RRD files: {0}")]
    Thread(io::Error),
}

/// A row that was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotTaken {
    /// It is not newer than the row before.
    TooOld {
        /// Time of the row before: seconds since 1970.
        last: i64,
        /// It is the first one in a row that is not taken, so that it should be said.
        first: bool,
    },
    /// The directory has another group now: ask for it, and for the slots, and try again.
    Retired,
}

/// What makes a back end; called once for each writer.
pub type MakeBackend = Box<dyn Fn() -> Result<Box<dyn Backend>, String> + Send + Sync>;

/// A tree of RRD files and the points that wait for them. See the [module](self).
pub struct RrdStore {
    inner: Arc<Inner>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

struct Inner {
    root: PathBuf,
    options: CacheOptions,
    files: Arc<dyn Files + Sync>,
    began: Instant,
    groups: Mutex<HashMap<PathBuf, Arc<Group>>>,
    next_group: AtomicU64,
    names: Mutex<HashSet<Arc<str>>>,
    schemas: Mutex<Vec<Arc<Schema>>>,
    schedule: Mutex<Schedule>,
    wake: Condvar,
    memory: Memory,
    pending: AtomicU64,
    /// Points are being dropped for want of memory, which was said.
    dropping: AtomicBool,
    journal: Option<Journal>,
    trouble: Trouble,
    /// Has points written that the back end keeps, where it does, before a file is read.
    reader: Mutex<Option<Box<dyn Backend>>>,
    counters: Counters,
    stats: Arc<Stats>,
    /// Says when to stop to the thread that syncs.
    tick: Condvar,
    lock: Mutex<Option<File>>,
    /// Nothing is written before the lock of the tree is ours.
    held: AtomicBool,
    /// Bytes that a late journal brought, beyond what may wait.
    replaying: AtomicUsize,
    /// Another program has the lock, which was said.
    in_use: AtomicBool,
    /// Segments of earlier runs whose rows are all ours.
    replayed: Mutex<Vec<u64>>,
    replay: Mutex<replay::Notes>,
}

/// When which group is to be looked at; and who is at work.
#[derive(Default)]
struct Schedule {
    at: BTreeMap<(u64, u32), Arc<Group>>,
    /// Directories asked for: their hosts are written now.
    asked: Vec<PathBuf>,
    stopping: bool,
}

#[derive(Default)]
struct Counters {
    accepted: Counter,
    written: Counter,
    /// Not newer than what the file had.
    past: Counter,
    refused: Counter,
    /// Dropped for want of memory.
    dropped: Counter,
    /// Not written because the file had been removed.
    removed: Counter,
    failed: Counter,
    flushes: Counter,
    made: Counter,
    updates: Counter,
    replayed: Counter,
    damaged: Counter,
    requests: Counter,
    flush_requests: Counter,
}

impl RrdStore {
    /// Takes the tree below `root`, replays its journal, and starts the threads. What cannot be had at first (a tree that
    /// cannot be written to) is logged, and the points wait.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn open(
        root: &Path,
        options: CacheOptions,
        backend: &MakeBackend,
        stats: Arc<Stats>,
    ) -> Result<Self, StoreError> {
        Self::with_files(root, options, backend, stats, Arc::new(Disk))
    }

    /// [`RrdStore::open`] with the journal's file calls going through `files`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn with_files(
        root: &Path,
        options: CacheOptions,
        backend: &MakeBackend,
        stats: Arc<Stats>,
        files: Arc<dyn Files + Sync>,
    ) -> Result<Self, StoreError> {
        let own = root.join(OWN_PREFIX);
        let (lock, held) = match take_lock(&*files, root, &own) {
            Ok(Locked::Ours(file)) => (Some(file), false),
            Ok(Locked::InUse(error)) => return Err(error),
            Err(error) => {
                // A user who may not write to the root, only further below, has the tree as ever. Anything else may pass, and
                // then there may be a journal whose points must come first.
                let listed = files.list(&own).map(|names| journal::numbers(&names));
                let never = error.kind() == io::ErrorKind::PermissionDenied
                    && listed.map_or_else(|e| e.kind() == io::ErrorKind::NotFound, |old| old.is_empty());
                let until = if never { "no lock and no journal" } else { "points wait" };
                log::error!("{}: {error}; {until} for RRD files until the lock can be had", own.join("lock").display());
                (None, !never)
            }
        };
        let mut options = options;
        if !options.journal_sync.is_zero() {
            options.memory = options.memory.min(usize::try_from(options.journal_bytes / 2).unwrap_or(usize::MAX));
        }
        let mut backends: Vec<_> =
            (0..options.writers.max(1)).map(|_| backend()).collect::<Result<_, _>>().map_err(StoreError::Backend)?;
        let reader = if backends[0].keeps_points() { Some(backend().map_err(StoreError::Backend)?) } else { None };
        if options.cache.is_none() && (reader.is_some() || keeps_no_access_times(root)) {
            options.cache = Some(Duration::ZERO);
        }
        let old = if lock.is_some() { old_segments(&*files, &own) } else { Vec::new() };
        let journal = match &lock {
            _ if !options.journal_sync.is_zero() => {
                let age = options.cache.unwrap_or(AUTO).clamp(Duration::from_secs(60), Duration::from_secs(600));
                let age = age / options.haste.max(1);
                let (files, own, most) = (Arc::clone(&files), own.clone(), options.journal_bytes);
                Some(Journal::open(files, own, &old, lock.is_some(), options.journal_sync, age, most))
            }
            _ => None,
        };
        let inner = Arc::new(Inner {
            root: root.to_owned(),
            options,
            files,
            began: Instant::now(),
            groups: Mutex::default(),
            next_group: AtomicU64::new(0),
            names: Mutex::default(),
            schemas: Mutex::default(),
            schedule: Mutex::default(),
            wake: Condvar::new(),
            memory: Memory::default(),
            pending: AtomicU64::new(0),
            dropping: AtomicBool::new(false),
            journal,
            trouble: Trouble::default(),
            reader: Mutex::new(reader),
            counters: Counters::default(),
            stats,
            tick: Condvar::new(),
            lock: Mutex::new(lock),
            held: AtomicBool::new(held),
            replaying: AtomicUsize::new(0),
            in_use: AtomicBool::new(false),
            replayed: Mutex::default(),
            replay: Mutex::default(),
        });
        for number in old.iter().map(|(number, _)| *number) {
            inner.replay(number, &own);
            if inner.memory.get() > inner.options.memory / 2 {
                // Most of it is in the files already; what is not goes there before more is read.
                inner.settle_replay();
                let groups: Vec<_> = inner.groups.lock().values().cloned().collect();
                inner.write_groups(&mut *backends[0], &groups);
            }
        }
        inner.settle_replay();
        inner.make_room_for_replayed();
        let report: Arc<dyn Report> = Arc::clone(&inner) as _;
        inner.stats.reports.add(&report);
        let mut threads = Vec::new();
        let mut spawn = |name: &str, run: Box<dyn FnOnce() + Send>| -> Result<(), StoreError> {
            threads.push(thread::Builder::new().name(name.into()).spawn(run).map_err(StoreError::Thread)?);
            Ok(())
        };
        for mut backend in backends {
            let inner = Arc::clone(&inner);
            spawn("rrd-writer", Box::new(move || inner.write_on(&mut *backend)))?;
        }
        let (syncing, tidying) = (Arc::clone(&inner), Arc::clone(&inner));
        spawn("rrd-sync", Box::new(move || unbroken("rrd-sync", || syncing.sync_on())))?;
        spawn("rrd-tidy", Box::new(move || unbroken("rrd-tidy", || tidying.tidy_on())))?;
        if inner.journal.is_some() {
            let writing = Arc::clone(&inner);
            spawn(
                "rrd-journal",
                Box::new(move || {
                    if let Some(journal) = &writing.journal {
                        unbroken("rrd-journal", || journal.write_on());
                    }
                }),
            )?;
        }
        Ok(Self { inner, threads: Mutex::new(threads) })
    }

    /// The root of the tree.
    pub fn root(&self) -> &Path {
        &self.inner.root
    }

    /// Whether the lock of the tree could be had, and with it the journal.
    pub fn has_lock(&self) -> bool {
        self.inner.lock.lock().is_some()
    }

    /// The group of a directory (relative to the root), made if there is none.
    pub fn group(&self, dir: &Path) -> Arc<Group> {
        self.inner.group(dir)
    }

    /// The slot of a file (its name, with `.rrd`) in a group; `None` if the group has too many.
    pub fn slot(&self, group: &Group, name: &str, schema: &Arc<Schema>) -> Option<u32> {
        let name = self.inner.name(name);
        let slot = group.state.lock().slot(&name, schema);
        if slot.is_none() {
            self.inner.counters.dropped.add(1);
        }
        slot
    }

    /// How many points wait.
    pub fn waiting(&self) -> u64 {
        self.inner.pending.load(Ordering::Relaxed)
    }

    /// Takes a group out of use whose slots are mostly of names that are no longer used; the directory gets another one when it
    /// is asked for. `false`: something waits or is at work; try again later.
    pub fn retire(&self, group: &Arc<Group>) -> bool {
        let mut groups = self.inner.groups.lock();
        let Some(_writing) = group.writing.try_lock() else { return false };
        let mut state = group.state.lock();
        let idle = state.rows.is_empty() && state.in_flight.is_none();
        if idle && !std::mem::replace(&mut state.retired, true) {
            groups.remove(&group.dir);
        }
        idle
    }

    /// One object for like schemas.
    pub fn schema(&self, schema: Schema) -> Arc<Schema> {
        self.inner.schema(schema)
    }

    /// Takes a row, whose time that is, for a group; `source` is who brings it. Without a name nobody looks whether the row is
    /// newer; the files refuse what is not.
    ///
    /// # Errors
    /// [`NotTaken`].
    pub fn accept(&self, group: &Arc<Group>, row: &RowWriter, source: &Arc<str>) -> Result<(), NotTaken> {
        self.inner.accept(group, row.bytes(), row.points(), row.time(), source)
    }

    /// Somebody asked for a host's directory, or a cluster's (relative to the root): what waits for it is written now; a
    /// host's files are written through for a while.
    pub fn asked(&self, dir: PathBuf) {
        self.inner.counters.requests.add(1);
        let mut schedule = self.inner.schedule.lock();
        if schedule.asked.len() < 1000 && !schedule.asked.contains(&dir) {
            schedule.asked.push(dir);
            drop(schedule);
            self.inner.wake.notify_one();
        }
    }

    /// Writes what waits and ends the threads; what could not be written within the time stays in the journal. Returns how
    /// many points that are.
    pub fn close(&self, within: Duration) -> u64 {
        let until = Instant::now() + within;
        let mut threads = std::mem::take(&mut *self.threads.lock());
        if threads.is_empty() {
            return 0;
        }
        let inner = &self.inner;
        // The journal of the run before is being read, after which all can be written.
        while inner.held.load(Ordering::Relaxed) && inner.lock.lock().is_some() && Instant::now() < until {
            thread::sleep(Duration::from_millis(5));
        }
        let groups: Vec<_> = inner.groups.lock().values().cloned().collect();
        let failures = |group: &Group| group.state.lock().failures;
        let before: Vec<_> = groups.into_iter().map(|group| (failures(&group), group)).collect();
        self.flush_all();
        // What fails once more is left to the journal.
        let may_be_written = |(failures, group): &(u32, Arc<Group>)| {
            let state = group.state.lock();
            state.failures <= *failures && !(state.rows.is_empty() && state.in_flight.is_none())
        };
        while !inner.held.load(Ordering::Relaxed)
            && inner.pending.load(Ordering::Relaxed) > 0
            && Instant::now() < until
            && before.iter().any(may_be_written)
        {
            thread::sleep(Duration::from_millis(5));
        }
        inner.schedule.lock().stopping = true;
        inner.wake.notify_all();
        inner.tick.notify_all();
        if let Some(journal) = &inner.journal {
            journal.close();
        }
        // A thread that hangs in a system call is left behind.
        while threads.iter().any(|thread| !thread.is_finished()) && Instant::now() < until + Duration::from_millis(500)
        {
            thread::sleep(Duration::from_millis(5));
        }
        for thread in threads.extract_if(.., |thread| thread.is_finished()) {
            let _ = thread.join(); // a panic was reported where it happened
        }
        inner.pending.load(Ordering::Relaxed)
    }
}

impl Drop for RrdStore {
    fn drop(&mut self) {
        self.close(Duration::from_secs(3));
    }
}

impl Inner {
    /// Milliseconds since the start; never goes back.
    fn now(&self) -> u64 {
        self.began.elapsed().as_millis() as u64
    }

    /// Seconds since the start, from 1: 0 is "never" for hot slots.
    fn seconds(&self) -> u32 {
        self.began.elapsed().as_secs() as u32 + 1
    }

    fn group(&self, dir: &Path) -> Arc<Group> {
        let mut groups = self.groups.lock();
        if let Some(group) = groups.get(dir) {
            return Arc::clone(group);
        }
        let id = self.next_group.fetch_add(1, Ordering::Relaxed) as u32;
        let group = Arc::new(Group::new(id, dir.to_owned()));
        groups.insert(dir.to_owned(), Arc::clone(&group));
        group
    }

    fn name(&self, name: &str) -> Arc<str> {
        let mut names = self.names.lock();
        match names.get(name) {
            Some(known) => Arc::clone(known),
            None => {
                let name: Arc<str> = name.into();
                names.insert(Arc::clone(&name));
                name
            }
        }
    }

    fn schema(&self, schema: Schema) -> Arc<Schema> {
        let mut schemas = self.schemas.lock();
        match schemas.iter().find(|known| ***known == schema) {
            Some(known) => Arc::clone(known),
            None => {
                schemas.push(Arc::new(schema));
                Arc::clone(&schemas[schemas.len() - 1])
            }
        }
    }

    fn accept(
        &self,
        group: &Arc<Group>,
        row: &[u8],
        points: u32,
        time: i64,
        source: &Arc<str>,
    ) -> Result<(), NotTaken> {
        if points == 0 {
            return Ok(());
        }
        let (now, seconds) = (self.now(), self.seconds());
        let mut state = group.state.lock();
        if state.retired {
            return Err(NotTaken::Retired);
        }
        if let Some((last, by)) = &state.last
            && time <= *last
            && by == source
            && !source.is_empty()
        {
            let last = *last;
            self.counters.refused.add(points.into());
            let said = std::mem::replace(&mut state.refused, true);
            return Err(NotTaken::TooOld { last, first: !said });
        }
        state.refused = false;
        let segment = match &self.journal {
            Some(journal) => journal.append(group, &mut state, row),
            None => NEVER,
        };
        let most = self.options.memory + self.replaying.load(Ordering::Relaxed);
        let replaying = most > self.options.memory;
        if self.memory.get() > most || state.points > GROUP_POINTS && !replaying {
            let before = state.rows.capacity();
            let dropped = state.drop_half();
            self.memory.sub(before - state.rows.capacity());
            self.counters.dropped.add(dropped);
            self.pending.fetch_sub(dropped, Ordering::Relaxed);
            if dropped > 0 && !self.dropping.swap(true, Ordering::Relaxed) {
                log::error!(
                    "{}: the RRD points that wait to be written take {} bytes, {} of them below {}: the oldest are dropped",
                    self.root.display(),
                    self.memory.get(),
                    state.points,
                    group.dir.display()
                );
            }
        }
        if state.rows.is_empty() {
            state.rows_segment = segment;
        }
        self.memory.add(state.push(row, points));
        self.pending.fetch_add(points.into(), Ordering::Relaxed);
        self.counters.accepted.add(points.into());
        if !source.is_empty() {
            state.last = Some((time, Arc::clone(source)));
        }
        state.accepted_at = now;
        state.segment = state.segment.min(segment);
        if state.due == NEVER {
            let fresh = state.accepted == 1; // its files may have to be made, which is worth seeing soon
            let cache = self.cache_of(&state);
            let through = group.always_hot || cache.is_zero() || fresh;
            state.due = if through { now } else { self.due(group, cache, now) };
        } else if self.memory.get() > self.options.memory / 4 * 3 {
            state.due = state.due.min(now);
        }
        let look = if state.has_hot(seconds) { now } else { state.due };
        self.look_at(group, &mut state, look);
        Ok(())
    }

    /// What an earlier run accepted is not dropped because it comes all at once.
    fn make_room_for_replayed(&self) {
        *self.replay.lock() = replay::Notes::default();
        let replayed = self.memory.get();
        // Rows grow by a quarter when one comes behind them.
        let room = if replayed > self.options.memory / 2 { replayed.saturating_mul(2) } else { 0 };
        self.replaying.store(room, Ordering::Relaxed);
    }

    /// How long the points of a group wait.
    fn cache_of(&self, state: &group::State) -> Duration {
        self.options.cache.unwrap_or_else(|| {
            let step = state.slots.first().map_or(1, |slot| slot.schema.step);
            Duration::from_secs(step.saturating_mul(4)).min(AUTO)
        })
    }

    /// When a group that gets its first point `now` is due: by chance, or each at a place of its own in the period, so that
    /// the load of the disk is flat.
    fn due(&self, group: &Group, cache: Duration, now: u64) -> u64 {
        let cache = cache.as_millis().max(1) as u64;
        let seed = seed(&group.dir);
        let jitter = self.options.jitter.or(self.options.cache).unwrap_or_default().as_millis() as u64;
        let chance = (seed ^ now).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
        match chance.checked_rem(jitter) {
            Some(chance) => now + cache + chance,
            // A place of its own in the period.
            None => now + cache - now.wrapping_add(seed % cache) % cache,
        }
    }

    /// Has a writer look at the group at that time, or earlier if so agreed before.
    fn look_at(&self, group: &Arc<Group>, state: &mut group::State, at: u64) {
        if at >= state.queued {
            return;
        }
        state.queued = at;
        let mut schedule = self.schedule.lock();
        let first = schedule.at.first_key_value().is_none_or(|(&(next, _), _)| at < next);
        schedule.at.insert((at, group.id), Arc::clone(group));
        drop(schedule);
        if first {
            self.wake.notify_one();
        }
    }

    /// Makes groups due.
    fn hurry(&self) {
        let groups: Vec<_> = self.groups.lock().values().cloned().collect();
        let now = self.now();
        for group in &groups {
            let mut state = group.state.lock();
            if state.due != NEVER {
                state.due = state.due.min(now);
                let due = state.due;
                self.look_at(group, &mut state, due);
            }
        }
    }
}

fn relative_path(path: &Path) -> Option<PathBuf> {
    let inner = |part: Component<'_>| matches!(part, Component::Normal(_) | Component::CurDir);
    let own = path.iter().next().is_some_and(|first| first.as_encoded_bytes().starts_with(OWN_PREFIX.as_bytes()));
    (path.components().all(inner) && !own).then(|| path.components().filter(|c| *c != Component::CurDir).collect())
}

/// Whether the file system would not tell that somebody reads.
fn keeps_no_access_times(dir: &Path) -> bool {
    statvfs(dir).is_ok_and(|found| found.flags().contains(FsFlags::ST_NOATIME))
}
