//! The journal: every accepted point, on the disk within the sync interval.
//!
//! Rows go into a buffer; one thread writes it out each interval, another waits for the disk, so that a slow sync does not
//! delay the next write (a killed process loses what was not written, a power cut what was not synced). A segment is
//! closed by age or size, and removed when all its rows are in files that the disk has.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use parking_lot::{Condvar, Mutex};

use super::group::{Group, Slot, State, take_row};
use super::record::{MAGIC, Record, SlotRecord};
use crate::files::Files;
use crate::format::encode_fixed;
use crate::schema::Schema;
use gmetad_core::stats::Counter;

/// Bytes in the buffer after which it is written before its time.
const BUFFER: usize = 256 << 10;
/// Most bytes kept while the disk does not take them; then the journal has a gap, which is counted.
const BUFFER_MAX: usize = 32 << 20;
/// Size after which a segment is closed.
const SEGMENT: u64 = 64 << 20;
const PREFIX: &str = "journal-";
const DAMAGED: &str = "damaged-";
/// Segments that could not be understood and are kept for people, at most.
const KEPT: usize = 8;
/// Files that one record names, at most.
const NAMED: usize = 4096;
/// Bytes of a compact segment that are written at once.
const COMPACT: usize = 1 << 20;

pub(super) struct Journal {
    files: Arc<dyn Files + Sync>,
    dir: PathBuf,
    interval: Duration,
    /// Age after which a segment is closed.
    age: Duration,
    /// Most bytes of all segments.
    most: u64,
    buffer: Mutex<Buffer>,
    wake: Condvar,
    segments: Mutex<Vec<Segment>>,
    /// Nothing is needed any more.
    ended: AtomicBool,
    /// The lock of the tree is ours.
    allowed: AtomicBool,
    /// The name of the newest segment may not be on the disk yet.
    unlisted: AtomicBool,
    pub(super) counters: Counters,
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) bytes: Counter,
    pub(super) syncs: Counter,
    pub(super) errors: Counter,
    pub(super) rotations: Counter,
    /// Bytes of rows that no segment has because the disk did not take them.
    pub(super) gaps: Counter,
}

struct Buffer {
    bytes: Vec<u8>,
    /// What the rows in `bytes` need to be understood, once more.
    again: Vec<u8>,
    /// The segment that these bytes go to.
    segment: u64,
    /// Schemas that the segment knows, by id.
    schemas: Vec<Arc<Schema>>,
    /// Rows were left out since the buffer was emptied.
    gap: bool,
    closing: bool,
    /// What does not work now, as bits; the first was logged.
    failing: u8,
}

/// What may fail.
#[derive(Debug, Clone, Copy)]
pub(super) enum What {
    Write = 1,
    Begin = 2,
    Sync = 4,
    SyncFiles = 8,
    Remove = 16,
    Compact = 32,
}

struct Segment {
    number: u64,
    size: u64,
    born: Instant,
    /// Open while it is the newest one, or not synced.
    file: Option<Arc<File>>,
    dirty: bool,
    /// Has rows that nobody could understand: it is set aside, not removed.
    keep: bool,
}

impl Buffer {
    /// Empties the buffer into `batch`, which is empty. Definitions stand in it twice, with more than a page of a disk in
    /// between: what is damaged costs itself, not the rows that need it.
    fn take(&mut self, batch: &mut Vec<u8>) {
        std::mem::swap(batch, &mut self.bytes);
        if !self.again.is_empty() {
            Record::Pad.put(batch);
            batch.append(&mut self.again);
        }
    }
}

impl Journal {
    /// Begins a new segment behind `old` ones that stay until their rows are written. What cannot be begun now is begun later;
    /// nothing is begun before it is allowed.
    pub(super) fn open(
        files: Arc<dyn Files + Sync>,
        dir: PathBuf,
        old: &[(u64, u64)],
        allowed: bool,
        interval: Duration,
        age: Duration,
        most: u64,
    ) -> Self {
        let number = old.last().map_or(1, |(number, _)| number + 1);
        let buffer = Buffer {
            bytes: Vec::new(),
            again: Vec::new(),
            segment: number,
            schemas: Vec::new(),
            gap: false,
            closing: false,
            failing: 0,
        };
        let journal = Self {
            files,
            dir,
            interval,
            age,
            most,
            buffer: Mutex::new(buffer),
            wake: Condvar::new(),
            segments: Mutex::new(Vec::new()),
            ended: AtomicBool::new(false),
            allowed: AtomicBool::new(allowed),
            unlisted: AtomicBool::new(false),
            counters: Counters::default(),
        };
        journal.adopt(old);
        journal.begin_first();
        journal
    }

    /// Old segments are ours: they stay until their rows are written. What is written comes behind them.
    pub(super) fn adopt(&self, old: &[(u64, u64)]) {
        if let Some((last, _)) = old.last() {
            let mut buffer = self.buffer.lock();
            buffer.segment = buffer.segment.max(last + 1);
        }
        let closed = |&(number, size): &(u64, u64)| Segment {
            number,
            size,
            born: Instant::now(),
            file: None,
            dirty: false,
            keep: false,
        };
        self.segments.lock().splice(..0, old.iter().map(closed));
    }

    /// From now on the journal is written.
    pub(super) fn allow(&self) {
        self.allowed.store(true, Ordering::Relaxed);
    }

    fn begin_first(&self) {
        if !self.allowed.load(Ordering::Relaxed) {
            return;
        }
        let number = self.buffer.lock().segment;
        // The directory may be as new as the segment.
        let listed = self.dir.parent().map_or(Ok(()), |root| self.files.sync_dir(root));
        let begun = listed.and_then(|()| begin(&*self.files, &self.dir, number));
        let listed = begun.and_then(|segment| match self.files.sync_dir(&self.dir) {
            Ok(()) => Ok(segment),
            Err(error) => {
                let _ = self.files.remove(&path(&self.dir, segment.number)); // or each try would leave one
                Err(error)
            }
        });
        match listed {
            Ok(segment) => {
                self.buffer.lock().segment = segment.number;
                self.push(segment);
                self.recovered(What::Begin);
            }
            Err(error) => self.failed(What::Begin, &error),
        }
    }

    fn push(&self, segment: Segment) {
        let mut segments = self.segments.lock();
        if self.ended.load(Ordering::Relaxed) {
            drop(segments);
            let _ = self.files.remove(&path(&self.dir, segment.number)); // it is empty
        } else {
            segments.push(segment);
        }
    }

    /// Leaves an old segment for a later start.
    pub(super) fn leave(&self, number: u64) {
        self.segments.lock().retain(|segment| segment.number != number);
    }

    /// An old segment has rows that could not be understood: when its other rows are in files it is set aside, not removed.
    pub(super) fn keep(&self, number: u64) {
        self.segments
            .lock()
            .iter_mut()
            .filter(|segment| segment.number == number)
            .for_each(|segment| segment.keep = true);
    }

    /// Removes a segment's file, or sets it aside.
    fn remove(&self, number: u64, keep: bool) -> io::Result<()> {
        let path = path(&self.dir, number);
        let done = if keep { self.set_aside(number) } else { self.files.remove(&path) };
        done.or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) })
    }

    fn set_aside(&self, number: u64) -> io::Result<()> {
        match self.aside(number)? {
            Some(aside) => self.files.rename(&path(&self.dir, number), &aside),
            None => self.files.remove(&path(&self.dir, number)),
        }
    }

    /// Where a segment is to be kept; `None` if enough are kept already.
    fn aside(&self, number: u64) -> io::Result<Option<PathBuf>> {
        let damaged = |name: &&OsString| name.as_encoded_bytes().starts_with(DAMAGED.as_bytes());
        if self.files.list(&self.dir)?.iter().filter(damaged).count() >= KEPT {
            log::warn!("{}: {KEPT} damaged segments are kept already: {} goes", self.dir.display(), name(number));
            return Ok(None);
        }
        // Numbers begin anew when a journal was empty.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        Ok(Some(self.dir.join(format!("{DAMAGED}{}-{now}", name(number)))))
    }

    /// Keeps a copy of a segment that is about to be replaced.
    fn copy_aside(&self, number: u64) -> io::Result<()> {
        if let Some(aside) = self.aside(number)? {
            let bytes = self.files.read(&path(&self.dir, number))?;
            let file = self.files.create(&aside)?;
            let kept = self.files.write_at(&file, &bytes, 0).and_then(|()| self.files.sync(&[&file]));
            if let Err(error) = kept {
                let _ = self.files.remove(&aside); // half a copy keeps nothing, and takes the place of another
                return Err(error);
            }
        }
        self.segments
            .lock()
            .iter_mut()
            .filter(|segment| segment.number == number)
            .for_each(|segment| segment.keep = false);
        Ok(())
    }

    /// Takes a row; returns the segment it goes to.
    pub(super) fn append(&self, group: &Group, state: &mut State, row: &[u8]) -> u64 {
        let mut buffer = self.buffer.lock();
        let Buffer { bytes, again, segment, schemas, gap, .. } = &mut *buffer;
        if bytes.len() > BUFFER_MAX {
            *gap = true;
            self.counters.gaps.add(row.len() as u64);
            return *segment;
        }
        if state.told_in != *segment || state.told < state.slots.len() {
            let first = if state.told_in == *segment { state.told } else { 0 };
            put_slots([&mut *bytes, &mut *again], schemas, group, &state.slots, first);
            (state.told_in, state.told) = (*segment, state.slots.len());
        }
        Record::Row { group: group.id, row }.put(bytes);
        let (segment, full) = (*segment, bytes.len() > BUFFER);
        drop(buffer);
        if full {
            self.wake.notify_all();
        }
        segment
    }

    /// Notes which files of the group's slots will exist whatever happens to the machine.
    pub(super) fn made(&self, group: &Group, state: &State) {
        let mut buffer = self.buffer.lock();
        let Buffer { bytes, again, segment, schemas, .. } = &mut *buffer;
        if state.told_in == *segment && bytes.len() < BUFFER_MAX {
            let told = &state.slots[..state.told];
            if told.iter().all(|slot| slot.lasting) {
                Record::Made { group: group.id }.put(bytes);
            } else {
                put_slots([&mut *bytes, &mut *again], schemas, group, told, 0);
            }
        }
    }

    /// The life of the thread that writes. Ends after [`Journal::close`].
    pub(super) fn write_on(&self) {
        let mut kept: Vec<u8> = Vec::new();
        let mut told = false;
        loop {
            let until = Instant::now() + self.interval;
            let (closing, gap) = {
                let mut buffer = self.buffer.lock();
                while !buffer.closing && (buffer.bytes.len() <= BUFFER || !kept.is_empty()) {
                    if self.wake.wait_until(&mut buffer, until).timed_out() {
                        break;
                    }
                }
                if kept.is_empty() {
                    buffer.take(&mut kept);
                }
                (buffer.closing, std::mem::take(&mut buffer.gap))
            };
            if gap && !std::mem::replace(&mut told, true) {
                log::error!(
                    "{}: the disk does not take the journal as fast as points come: those not in files yet would not all \
                     survive a crash; told once",
                    self.dir.display()
                );
            }
            match self.write(&kept) {
                Ok(true) => {
                    if !kept.is_empty() {
                        self.counters.bytes.add(kept.len() as u64);
                        kept.clear();
                        self.recovered(What::Write);
                    }
                    self.rotate_if_due(&mut kept);
                }
                Ok(false) => {}
                Err(error) => self.failed(What::Write, &error),
            }
            let buffer = self.buffer.lock();
            let stuck =
                buffer.failing & (What::Write as u8 | What::Begin as u8) != 0 || !self.allowed.load(Ordering::Relaxed);
            if closing && (kept.is_empty() && buffer.bytes.is_empty() || stuck) {
                break;
            }
        }
        self.sync();
    }

    /// `false`: there is no segment, which was logged.
    fn write(&self, bytes: &[u8]) -> io::Result<bool> {
        if self.ended.load(Ordering::Relaxed) {
            return Ok(true);
        }
        let open = || {
            let segments = self.segments.lock();
            segments.last().and_then(|last| Some((Arc::clone(last.file.as_ref()?), last.size)))
        };
        if open().is_none() {
            self.begin_first();
        }
        let Some((file, at)) = open() else { return Ok(false) };
        if bytes.is_empty() {
            return Ok(true);
        }
        self.files.write_at(&file, bytes, at)?;
        if let Some(last) = self.segments.lock().last_mut() {
            last.size += bytes.len() as u64;
            last.dirty = true;
        }
        Ok(true)
    }

    /// Closes the segment if it is old or large enough.
    fn rotate_if_due(&self, kept: &mut Vec<u8>) {
        let full = SEGMENT.min(self.most / 4);
        let due =
            |last: &Segment| last.size > MAGIC.len() as u64 && (last.size > full || last.born.elapsed() > self.age);
        let Some(next) = self.segments.lock().last().filter(|last| due(last)).map(|last| last.number + 1) else {
            return;
        };
        let segment = match begin(&*self.files, &self.dir, next) {
            Ok(segment) => segment,
            Err(error) => return self.failed(What::Begin, &error),
        };
        self.unlisted.store(true, Ordering::Relaxed);
        self.recovered(What::Begin);
        let mut buffer = self.buffer.lock();
        buffer.take(kept); // these still speak of the old segment's ids
        buffer.segment = segment.number;
        buffer.schemas.clear();
        drop(buffer);
        if let Err(error) = self.write(kept) {
            // The rows are in memory all the same; only a crash would miss them.
            self.counters.gaps.add(kept.len() as u64);
            self.failed(What::Write, &error);
        }
        kept.clear();
        // The thread that syncs brings both to the disk: the next rows need not wait for it.
        if let Some(last) = self.segments.lock().last_mut().filter(|last| !last.dirty) {
            last.file = None;
        }
        self.push(segment);
        self.counters.rotations.add(1);
    }

    /// Waits until what was written is on the disk.
    pub(super) fn sync(&self) {
        if self.unlisted.swap(false, Ordering::Relaxed)
            && let Err(error) = self.files.sync_dir(&self.dir)
        {
            self.unlisted.store(true, Ordering::Relaxed);
            return self.failed(What::Sync, &error);
        }
        let dirty: Vec<_> = {
            let mut segments = self.segments.lock();
            let take = |segment: &mut Segment| {
                let dirty = std::mem::take(&mut segment.dirty);
                Some((segment.number, segment.file.clone().filter(|_| dirty)?))
            };
            segments.iter_mut().filter_map(take).collect()
        };
        for (number, file) in dirty {
            let synced = self.files.sync(&[&file]);
            let mut segments = self.segments.lock();
            let newest = segments.last().is_some_and(|last| last.number == number);
            let segment = segments.iter_mut().find(|segment| segment.number == number);
            match synced {
                Ok(()) => {
                    if let Some(segment) = segment.filter(|segment| !newest && !segment.dirty) {
                        segment.file = None;
                    }
                    drop(segments);
                    self.counters.syncs.add(1);
                    self.recovered(What::Sync);
                }
                Err(error) => {
                    if let Some(segment) = segment {
                        (segment.dirty, segment.file) = (true, Some(file));
                    }
                    drop(segments);
                    self.failed(What::Sync, &error);
                }
            }
        }
    }

    /// The segment that is written now; to be asked before what is needed is looked for.
    pub(super) fn newest(&self) -> u64 {
        self.segments.lock().last().map_or(0, |last| last.number)
    }

    /// Removes the segments below `needed`, once `sync_files` has brought the files to the disk.
    pub(super) fn forget(&self, needed: u64, sync_files: impl FnOnce() -> io::Result<()>) {
        let old = |segment: &Segment| segment.number < needed;
        if !self.segments.lock().iter().any(old) {
            return;
        }
        if let Err(error) = sync_files() {
            return self.failed(What::SyncFiles, &error);
        }
        self.recovered(What::SyncFiles);
        let gone: Vec<_> = self.segments.lock().iter().filter(|s| old(s)).map(|s| (s.number, s.keep)).collect();
        for (number, keep) in gone {
            if let Err(error) = self.remove(number, keep) {
                return self.failed(What::Remove, &error);
            }
            self.segments.lock().retain(|segment| segment.number != number);
        }
        self.recovered(What::Remove);
    }

    /// Everything is in the files, and they are on the disk: nothing is needed any more.
    pub(super) fn forget_all(&self) {
        let segments = {
            let mut segments = self.segments.lock();
            self.ended.store(true, Ordering::Relaxed);
            std::mem::take(&mut *segments)
        };
        for segment in segments {
            if let Err(error) = self.remove(segment.number, segment.keep) {
                self.failed(What::Remove, &error);
            }
        }
    }

    /// The newest closed segment, if the journal has more bytes than its bound, and more than `than`.
    pub(super) fn too_much(&self, than: u64) -> Option<u64> {
        let segments = self.segments.lock();
        let size: u64 = segments.iter().map(|segment| segment.size).sum();
        let [.., closed, _] = &segments[..] else { return None };
        (size > self.most.max(than)).then_some(closed.number)
    }

    /// Puts what the closed segments up to `last` still have in the place of that one: `write` writes the rows that wait for
    /// groups, `sync_files` then brings to the disk what the others have got. Returns the bytes of the new one.
    ///
    /// # Errors
    /// The system's; then the segments are as they were.
    pub(super) fn compact(
        &self,
        last: u64,
        write: impl FnOnce(&mut Compact<'_>) -> io::Result<()>,
        sync_files: impl FnOnce() -> io::Result<()>,
    ) -> io::Result<u64> {
        let aside = compact_path(&self.dir);
        let done = self.compact_by(&aside, last, write, sync_files);
        if done.is_err() {
            let _ = self.files.remove(&aside); // on a full disk its room is wanted
        }
        done
    }

    fn compact_by(
        &self,
        aside: &Path,
        last: u64,
        write: impl FnOnce(&mut Compact<'_>) -> io::Result<()>,
        sync_files: impl FnOnce() -> io::Result<()>,
    ) -> io::Result<u64> {
        let file = self.files.create(aside)?;
        let (bytes, again, schemas) = (MAGIC.to_vec(), Vec::new(), Vec::new());
        let mut compact = Compact { journal: self, file: &file, at: 0, bytes, again, schemas };
        write(&mut compact)?;
        compact.put_out()?;
        let size = compact.at;
        self.files.sync(&[&file])?;
        sync_files()?;
        if self.segments.lock().iter().any(|segment| segment.number == last && segment.keep) {
            self.copy_aside(last)?;
        }
        self.files.rename(aside, &path(&self.dir, last))?;
        self.files.sync_dir(&self.dir)?;
        if let Some(segment) = self.segments.lock().iter_mut().find(|segment| segment.number == last) {
            (segment.size, segment.file, segment.dirty, segment.keep) = (size, None, false, false);
        }
        Ok(size)
    }

    pub(super) fn close(&self) {
        self.buffer.lock().closing = true;
        self.wake.notify_all();
    }

    /// Segments, and their bytes.
    pub(super) fn size(&self) -> (u64, u64) {
        let segments = self.segments.lock();
        (segments.len() as u64, segments.iter().map(|segment| segment.size).sum())
    }

    pub(super) fn failed(&self, what: What, error: &io::Error) {
        self.counters.errors.add(1);
        let before = {
            let mut buffer = self.buffer.lock();
            let failing = buffer.failing | what as u8;
            std::mem::replace(&mut buffer.failing, failing)
        };
        if before == 0 {
            let tried = match what {
                What::Write => "write",
                What::Begin => "begin a segment of",
                What::Sync => "sync",
                What::SyncFiles => "sync the files of",
                What::Remove => "remove a segment of",
                What::Compact => "make a smaller segment of",
            };
            log::error!(
                "{}: cannot {tried} the journal: {error}; RRD points go on, but a crash would lose those not in files yet",
                self.dir.display()
            );
        }
    }

    pub(super) fn recovered(&self, what: What) {
        let (before, after) = {
            let mut buffer = self.buffer.lock();
            let before = buffer.failing;
            buffer.failing &= !(what as u8);
            (before, buffer.failing)
        };
        if before != 0 && after == 0 {
            log::info!("{}: the journal is written again", self.dir.display());
        }
    }
}

/// A segment that is written in the place of others.
pub(super) struct Compact<'a> {
    journal: &'a Journal,
    file: &'a File,
    at: u64,
    bytes: Vec<u8>,
    again: Vec<u8>,
    schemas: Vec<Arc<Schema>>,
}

impl Compact<'_> {
    /// Adds rows of a group, each with its length before it.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn add(&mut self, group: &Group, slots: &[Slot], rows: &[u8]) -> io::Result<()> {
        put_slots([&mut self.bytes, &mut self.again], &mut self.schemas, group, slots, 0);
        let mut rest = rows;
        while let Some(row) = take_row(&mut rest) {
            Record::Row { group: group.id, row }.put(&mut self.bytes);
            if self.bytes.len() > COMPACT {
                self.put_out()?;
            }
        }
        Ok(())
    }

    fn put_out(&mut self) -> io::Result<()> {
        if !self.again.is_empty() {
            Record::Pad.put(&mut self.bytes);
            self.bytes.append(&mut self.again);
        }
        self.journal.files.write_at(self.file, &self.bytes, self.at)?;
        self.at += self.bytes.len() as u64;
        self.bytes.clear();
        // What comes in meanwhile goes to the disk as ever.
        self.journal.sync();
        Ok(())
    }
}

fn begin(files: &dyn Files, dir: &Path, number: u64) -> io::Result<Segment> {
    let (number, file) = match files.create(&path(dir, number)) {
        // Left by a start that could not look, or a begin that failed.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let number = numbers(&files.list(dir)?).last().map_or(number, |last| last + 1);
            (number, files.create(&path(dir, number))?)
        }
        other => (number, other?),
    };
    if let Err(error) = files.write_at(&file, MAGIC, 0) {
        let _ = files.remove(&path(dir, number));
        return Err(error);
    }
    let size = MAGIC.len() as u64;
    Ok(Segment { number, size, born: Instant::now(), file: Some(Arc::new(file)), dirty: true, keep: false })
}

/// What the journal has to know of slots from `first` on.
fn put_slots(out: [&mut Vec<u8>; 2], schemas: &mut Vec<Arc<Schema>>, group: &Group, slots: &[Slot], first: usize) {
    let [bytes, again] = out;
    let dir = group.dir.as_os_str().as_encoded_bytes();
    for (first, slots) in (first..).step_by(NAMED).zip(slots[first..].chunks(NAMED)) {
        let slots = slots
            .iter()
            .map(|slot| SlotRecord {
                schema: schema_id([&mut *bytes, &mut *again], schemas, &slot.schema),
                made: slot.lasting,
                name: &slot.name,
            })
            .collect();
        let record = Record::Slots { group: group.id, first: first as u32, dir, slots };
        record.put(bytes);
        record.put(again);
    }
}

fn schema_id(out: [&mut Vec<u8>; 2], schemas: &mut Vec<Arc<Schema>>, schema: &Arc<Schema>) -> u32 {
    if let Some(id) = schemas.iter().position(|known| Arc::ptr_eq(known, schema)) {
        return id as u32;
    }
    let id = schemas.len() as u32;
    let header = encode_fixed(schema);
    out.into_iter().for_each(|bytes| Record::Schema { id, header: &header }.put(bytes));
    schemas.push(Arc::clone(schema));
    id
}

fn name(number: u64) -> String {
    format!("{PREFIX}{number:016x}")
}

/// The numbers of the segments among these names, oldest first.
pub(super) fn numbers(names: &[OsString]) -> Vec<u64> {
    let number = |name: &OsString| u64::from_str_radix(name.to_str()?.strip_prefix(PREFIX)?, 16).ok();
    let mut numbers: Vec<u64> = names.iter().filter_map(number).collect();
    numbers.sort_unstable();
    numbers
}

/// Where a segment is made in which what waits is written anew.
pub(super) fn compact_path(dir: &Path) -> PathBuf {
    dir.join("compact")
}

/// Where a segment lies.
pub(super) fn path(dir: &Path, number: u64) -> PathBuf {
    dir.join(name(number))
}
