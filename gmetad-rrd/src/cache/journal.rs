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
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::group::{Group, NEVER, State};
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
    /// The segment that these bytes go to.
    segment: u64,
    /// Schemas that the segment knows, by id.
    schemas: Vec<Arc<Schema>>,
    closing: bool,
    failing: bool,
}

struct Segment {
    number: u64,
    size: u64,
    born: Instant,
    /// Open while it is the newest one.
    file: Option<Arc<File>>,
    dirty: bool,
}

impl Journal {
    /// Begins a new segment behind `last` ones that stay until their rows are written.
    pub(super) fn open(
        files: Arc<dyn Files + Sync>,
        dir: PathBuf,
        old: Vec<(u64, u64)>,
        interval: Duration,
        age: Duration,
        most: u64,
    ) -> io::Result<Self> {
        let number = old.last().map_or(1, |(number, _)| number + 1);
        let closed =
            |&(number, size): &(u64, u64)| Segment { number, size, born: Instant::now(), file: None, dirty: false };
        let mut segments: Vec<Segment> = old.iter().map(closed).collect();
        segments.push(begin(&*files, &dir, number)?);
        let buffer = Buffer { bytes: Vec::new(), segment: number, schemas: Vec::new(), closing: false, failing: false };
        Ok(Self {
            files,
            dir,
            interval,
            age,
            most,
            buffer: Mutex::new(buffer),
            wake: Condvar::new(),
            segments: Mutex::new(segments),
            counters: Counters::default(),
        })
    }

    /// Takes a row; returns the segment it goes to.
    pub(super) fn append(&self, group: &Group, state: &mut State, row: &[u8]) -> u64 {
        let mut buffer = self.buffer.lock();
        let Buffer { bytes, segment, schemas, .. } = &mut *buffer;
        if bytes.len() > BUFFER_MAX {
            self.counters.gaps.add(row.len() as u64);
            return *segment;
        }
        if state.told_in != *segment || state.told < state.slots.len() {
            let first = if state.told_in == *segment { state.told } else { 0 };
            let slots = state.slots[first..]
                .iter()
                .map(|slot| SlotRecord {
                    schema: schema_id(bytes, schemas, &slot.schema),
                    made: slot.made,
                    name: &slot.name,
                })
                .collect();
            let dir = group.dir.as_os_str().as_encoded_bytes();
            Record::Slots { group: group.id, first: first as u32, dir, slots }.put(bytes);
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

    /// Notes that the files of the group's slots exist.
    pub(super) fn made(&self, group: &Group, state: &State) {
        let mut buffer = self.buffer.lock();
        if state.told_in == buffer.segment && buffer.bytes.len() < BUFFER_MAX {
            Record::Made { group: group.id }.put(&mut buffer.bytes);
        }
    }

    /// The life of the thread that writes. Ends after [`Journal::close`].
    pub(super) fn write_on(&self) {
        let mut kept: Vec<u8> = Vec::new();
        loop {
            let until = Instant::now() + self.interval;
            let closing = {
                let mut buffer = self.buffer.lock();
                while !buffer.closing && (buffer.bytes.len() <= BUFFER || !kept.is_empty()) {
                    if self.wake.wait_until(&mut buffer, until).timed_out() {
                        break;
                    }
                }
                if kept.is_empty() {
                    std::mem::swap(&mut kept, &mut buffer.bytes);
                }
                buffer.closing
            };
            match self.write(&kept) {
                Ok(()) => {
                    self.counters.bytes.add(kept.len() as u64);
                    kept.clear();
                    self.recovered();
                    self.rotate_if_due(&mut kept);
                }
                Err(error) => self.failed("write", &error),
            }
            if closing && (kept.is_empty() && self.buffer.lock().bytes.is_empty() || self.buffer.lock().failing) {
                break;
            }
        }
        self.sync();
    }

    fn write(&self, bytes: &[u8]) -> io::Result<()> {
        let (file, at) = {
            let segments = self.segments.lock();
            match segments.last().and_then(|last| Some((Arc::clone(last.file.as_ref()?), last.size))) {
                Some(open) if !bytes.is_empty() => open,
                _ => return Ok(()),
            }
        };
        self.files.write_at(&file, bytes, at)?;
        if let Some(last) = self.segments.lock().last_mut() {
            last.size += bytes.len() as u64;
            last.dirty = true;
        }
        Ok(())
    }

    /// Closes the segment if it is old or large enough.
    fn rotate_if_due(&self, kept: &mut Vec<u8>) {
        let due =
            |last: &Segment| last.size > MAGIC.len() as u64 && (last.size > SEGMENT || last.born.elapsed() > self.age);
        let Some(next) = self.segments.lock().last().filter(|last| due(last)).map(|last| last.number + 1) else {
            return;
        };
        let segment = match begin(&*self.files, &self.dir, next) {
            Ok(segment) => segment,
            Err(error) => return self.failed("begin a segment", &error),
        };
        let mut buffer = self.buffer.lock();
        std::mem::swap(kept, &mut buffer.bytes); // these still speak of the old segment's ids
        buffer.segment = next;
        buffer.schemas.clear();
        drop(buffer);
        if let Err(error) = self.write(kept) {
            // The rows are in memory all the same; only a crash would miss them.
            self.counters.gaps.add(kept.len() as u64);
            self.failed("write", &error);
        }
        kept.clear();
        self.sync();
        let mut segments = self.segments.lock();
        if let Some(last) = segments.last_mut() {
            last.file = None;
        }
        segments.push(segment);
        self.counters.rotations.add(1);
    }

    /// Waits until what was written is on the disk.
    pub(super) fn sync(&self) {
        let (number, file) = {
            let mut segments = self.segments.lock();
            match segments.last_mut().filter(|last| last.dirty) {
                Some(last) => {
                    last.dirty = false;
                    (last.number, last.file.clone())
                }
                None => return,
            }
        };
        let Some(file) = file else { return };
        match self.files.sync(&[&file]) {
            Ok(()) => self.counters.syncs.add(1),
            Err(error) => {
                if let Some(segment) = self.segments.lock().iter_mut().find(|segment| segment.number == number) {
                    segment.dirty = true;
                }
                self.failed("sync", &error);
            }
        }
    }

    /// Removes the segments below `needed`, once `sync_files` has brought the files to the disk.
    pub(super) fn forget(&self, needed: u64, sync_files: impl FnOnce() -> io::Result<()>) {
        let newest = self.segments.lock().last().map_or(0, |last| last.number);
        let old = |segment: &Segment| segment.number < needed.min(newest);
        if !self.segments.lock().iter().any(old) {
            return;
        }
        if let Err(error) = sync_files() {
            return self.failed("sync the files of", &error);
        }
        let gone: Vec<u64> = self.segments.lock().iter().filter(|s| old(s)).map(|s| s.number).collect();
        for number in gone {
            match self.files.remove(&self.dir.join(name(number))) {
                Ok(()) => self.segments.lock().retain(|segment| segment.number != number),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    self.segments.lock().retain(|segment| segment.number != number);
                }
                Err(error) => return self.failed("remove a segment of", &error),
            }
        }
    }

    /// Everything is in the files, and they are on the disk: nothing is needed any more.
    pub(super) fn forget_all(&self) {
        for segment in self.segments.lock().drain(..) {
            if let Err(error) = self.files.remove(&self.dir.join(name(segment.number))) {
                self.failed("remove a segment of", &error);
            }
        }
    }

    /// The segment whose rows must be written first because the journal is over its bound.
    pub(super) fn too_much(&self) -> Option<u64> {
        let segments = self.segments.lock();
        let size: u64 = segments.iter().map(|segment| segment.size).sum();
        (size > self.most).then(|| segments.first().map_or(NEVER, |first| first.number))
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

    fn failed(&self, what: &str, error: &io::Error) {
        self.counters.errors.add(1);
        if !std::mem::replace(&mut self.buffer.lock().failing, true) {
            log::error!(
                "{}: cannot {what} the journal: {error}; RRD points go on, but a crash would lose those not in files yet",
                self.dir.display()
            );
        }
    }

    fn recovered(&self) {
        if std::mem::replace(&mut self.buffer.lock().failing, false) {
            log::info!("{}: the journal is written again", self.dir.display());
        }
    }
}

fn begin(files: &dyn Files, dir: &Path, number: u64) -> io::Result<Segment> {
    let path = dir.join(name(number));
    let file = files.create(&path)?;
    files.write_at(&file, MAGIC, 0)?;
    let size = MAGIC.len() as u64;
    Ok(Segment { number, size, born: Instant::now(), file: Some(Arc::new(file)), dirty: true })
}

fn schema_id(bytes: &mut Vec<u8>, schemas: &mut Vec<Arc<Schema>>, schema: &Arc<Schema>) -> u32 {
    if let Some(id) = schemas.iter().position(|known| Arc::ptr_eq(known, schema)) {
        return id as u32;
    }
    let id = schemas.len() as u32;
    Record::Schema { id, header: &encode_fixed(schema) }.put(bytes);
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

/// Where a segment lies.
pub(super) fn path(dir: &Path, number: u64) -> PathBuf {
    dir.join(name(number))
}
