//! The files of one directory, and the points that wait for them.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::{Condvar, Mutex};

use super::row::{RowReader, put_varint, take_varint};
use crate::path::SUMMARY_DIR;
use crate::schema::Schema;
use crate::value::{Point, Value};

/// Most files of one directory; points for more are dropped, and counted.
const MAX_SLOTS: usize = 1 << 17;

/// "Not now": a due time that never comes, a segment that is none.
pub(super) const NEVER: u64 = u64::MAX;

/// The files of one directory. They are flushed together: their inodes lie together on the disk.
///
/// A slot's number never changes its meaning. A group with too many slots that nobody uses any more is retired whole, and
/// the directory gets another one.
#[derive(Debug)]
pub struct Group {
    /// Counts within the process.
    pub(super) id: u32,
    /// Relative to the root.
    pub(super) dir: PathBuf,
    /// Written through at each poll: summaries.
    pub(super) always_hot: bool,
    pub(super) state: Mutex<State>,
    /// Held by the one thread that writes the group's files.
    pub(super) writing: Mutex<()>,
    /// Signalled after each flush.
    pub(super) flushed: Condvar,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) slots: Vec<Slot>,
    /// Rows that wait, each with its length before it.
    pub(super) rows: Vec<u8>,
    /// Points in `rows`.
    pub(super) points: u64,
    /// Where the rows begin that hot slots have not got yet.
    pub(super) hot_from: usize,
    /// Rows that are being written; still shown to readers.
    pub(super) in_flight: Option<Arc<Vec<u8>>>,
    /// Of the newest row: its time, and the source that brought it.
    pub(super) last: Option<(i64, Arc<str>)>,
    /// When (milliseconds of the store's clock) a row last came.
    pub(super) accepted_at: u64,
    /// When everything that waits is to be written; [`NEVER`] if nothing waits.
    pub(super) due: u64,
    /// When the writers shall look at the group again.
    pub(super) queued: u64,
    /// The oldest journal segment with rows that wait or are being written.
    pub(super) segment: u64,
    /// The same of `rows` alone.
    pub(super) rows_segment: u64,
    /// The journal segment that knows the first `told` slots.
    pub(super) told_in: u64,
    pub(super) told: usize,
    /// Some slots may be made but not lasting.
    pub(super) young: bool,
    /// Rows accepted, and rows whose flush has ended, well or not.
    pub(super) accepted: u64,
    pub(super) settled: u64,
    /// What the last flush said; kept until one succeeds.
    pub(super) failure: Option<Arc<str>>,
    /// Flushes that failed in a row.
    pub(super) failures: u32,
    /// The kind of trouble it is counted in.
    pub(super) trouble: Option<i32>,
    /// A row too old was refused, which was logged.
    pub(super) refused: bool,
    /// Takes no rows any more: the directory has another group.
    pub(super) retired: bool,
    /// Slots whose file was there when rows were journalled and is gone at replay: nothing up to this time comes back.
    pub(super) removed: Vec<(u32, i64)>,
    /// After a flush of which some files failed: the others have all up to this time, and it is counted.
    pub(super) done: HashMap<u32, i64>,
    /// Points in `rows` that are counted so.
    pub(super) counted: u64,
}

/// A file.
#[derive(Debug, Clone)]
pub(super) struct Slot {
    /// Its name, with `.rrd`; shared by like files of other groups.
    pub(super) name: Arc<str>,
    pub(super) schema: Arc<Schema>,
    /// Until when (seconds of the store's clock) it is written through.
    pub(super) hot_until: u32,
    /// We have written it: it exists unless somebody removed it.
    pub(super) made: bool,
    /// And its name is on the disk: it exists after a power cut, too.
    pub(super) lasting: bool,
    /// Its last write failed for a reason of its own, which was logged.
    pub(super) failing: bool,
}

impl Group {
    pub(super) fn new(id: u32, dir: PathBuf) -> Self {
        let always_hot = dir.ends_with(SUMMARY_DIR);
        let state = State {
            slots: Vec::new(),
            rows: Vec::new(),
            points: 0,
            hot_from: 0,
            in_flight: None,
            last: None,
            accepted_at: 0,
            due: NEVER,
            queued: NEVER,
            segment: NEVER,
            rows_segment: NEVER,
            told_in: NEVER,
            told: 0,
            young: false,
            accepted: 0,
            settled: 0,
            failure: None,
            failures: 0,
            trouble: None,
            refused: false,
            retired: false,
            removed: Vec::new(),
            done: HashMap::new(),
            counted: 0,
        };
        Self { id, dir, always_hot, state: Mutex::new(state), writing: Mutex::new(()), flushed: Condvar::new() }
    }

    /// The directory, relative to the root.
    pub fn dir(&self) -> &Path {
        &self.dir
    }
}

impl State {
    /// The slot of that file name, made if there is none; `None` if there are too many.
    pub(super) fn slot(&mut self, name: &Arc<str>, schema: &Arc<Schema>) -> Option<u32> {
        let known = self.slots.iter().position(|slot| Arc::ptr_eq(&slot.name, name) || slot.name == *name);
        if known.is_none() && self.slots.len() >= MAX_SLOTS {
            return None;
        }
        let at = known.unwrap_or_else(|| {
            self.slots.push(Slot {
                name: Arc::clone(name),
                schema: Arc::clone(schema),
                hot_until: 0,
                made: false,
                lasting: false,
                failing: false,
            });
            self.slots.len() - 1
        });
        Some(at as u32)
    }

    /// Adds a row; returns by how many bytes the memory grew.
    pub(super) fn push(&mut self, row: &[u8], points: u32) -> usize {
        let before = self.rows.capacity();
        let needed = self.rows.len() + row.len() + 5;
        if needed > before {
            // By a quarter at a time: doubling would cost as much memory as the points.
            self.rows.reserve_exact((needed - self.rows.len()).max(before / 4));
        }
        put_varint(&mut self.rows, row.len() as u64);
        self.rows.extend_from_slice(row);
        self.points += u64::from(points);
        self.accepted += 1;
        self.rows.capacity() - before
    }

    /// Every row that is in no file yet, oldest first.
    pub(super) fn all_rows(&self) -> Vec<u8> {
        let mut all = self.in_flight.as_deref().cloned().unwrap_or_default();
        all.extend_from_slice(&self.rows);
        all
    }

    /// Forgets the oldest half of what waits; returns how many points that were.
    pub(super) fn drop_half(&mut self) -> u64 {
        let half = self.rows.len() / 2;
        let mut rest = self.rows.as_slice();
        let mut dropped = 0;
        while self.rows.len() - rest.len() < half {
            let Some(row) = take_row(&mut rest) else { break };
            dropped += count(row, &self.slots);
        }
        let kept = rest.to_vec();
        self.hot_from = self.hot_from.saturating_sub(self.rows.len() - kept.len());
        self.rows = kept;
        self.points = self.points.saturating_sub(dropped);
        dropped
    }

    pub(super) fn has_hot(&self, now: u32) -> bool {
        self.slots.iter().any(|slot| slot.hot_until > now)
    }
}

fn count(row: &[u8], slots: &[Slot]) -> u64 {
    let mut scratch = String::new();
    let Some(mut reader) = RowReader::new(row) else { return 0 };
    let mut points = 0;
    while let Some(slot) = reader.slot() {
        scratch.clear();
        let ds = slots.get(slot as usize).map_or(0, |slot| slot.schema.ds.len());
        if ds == 0 || (0..ds).any(|_| reader.value(&mut scratch).is_none()) {
            break;
        }
        points += 1;
    }
    points
}

/// Cuts the next row off rows with their lengths.
pub(super) fn take_row<'a>(rows: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::try_from(take_varint(rows)?).ok()?;
    let (row, rest) = rows.split_at_checked(length)?;
    *rows = rest;
    Some(row)
}

/// Rows of one group as texts, slot by slot.
#[derive(Debug, Default)]
pub(super) struct Decoded {
    text: String,
    /// Slot, time, and the end in `text` of its last value; in the order of the rows.
    entries: Vec<(u32, i64, u32)>,
    /// Ends of all values in `text`.
    ends: Vec<u32>,
}

impl Decoded {
    /// Adds the values of the slots that `wanted` wants.
    pub(super) fn add(&mut self, rows: &[u8], slots: &[Slot], wanted: impl Fn(u32, i64) -> bool) {
        let mut rest = rows;
        while let Some(row) = take_row(&mut rest) {
            let Some(mut reader) = RowReader::new(row) else { continue };
            let time = reader.time();
            while let Some(slot) = reader.slot() {
                // Both come from our own memory or passed a checksum.
                let Some(ds) = slots.get(slot as usize).map(|slot| slot.schema.ds.len()) else { break };
                let (text, ends) = (self.text.len(), self.ends.len());
                let whole = (0..ds).all(|_| {
                    let read = reader.value(&mut self.text).is_some();
                    self.ends.push(self.text.len() as u32);
                    read
                });
                if !whole || !wanted(slot, time) {
                    self.text.truncate(text);
                    self.ends.truncate(ends);
                    if !whole {
                        break;
                    }
                    continue;
                }
                self.entries.push((slot, time, ends as u32));
            }
        }
    }

    /// The values, in the order of `entries`.
    pub(super) fn values(&self) -> Vec<Value<'_>> {
        let mut start = 0;
        let value = |&end: &u32| {
            let text = &self.text[start..end as usize];
            start = end as usize;
            if text == "U" { Value::Unknown } else { Value::Text(text) }
        };
        self.ends.iter().map(value).collect()
    }

    /// The points slot by slot, each slot's by time, as a file wants them: where a slot's begin, and all points.
    pub(super) fn points<'a>(&self, values: &'a [Value<'a>], slots: &[Slot]) -> (Vec<(u32, usize)>, Vec<Point<'a>>) {
        let mut order: Vec<u32> = (0..self.entries.len() as u32).collect();
        order.sort_by_key(|&at| (self.entries[at as usize].0, self.entries[at as usize].1)); // stable: the first one counts
        let mut starts: Vec<(u32, usize)> = Vec::new();
        let mut points = Vec::with_capacity(order.len());
        for at in order {
            let (slot, time, first) = self.entries[at as usize];
            if starts.last().is_none_or(|&(last, _)| last != slot) {
                starts.push((slot, points.len()));
            }
            let ds = slots.get(slot as usize).map_or(0, |slot| slot.schema.ds.len());
            points.push(Point { time, values: &values[first as usize..first as usize + ds] });
        }
        (starts, points)
    }
}

/// Bytes of memory that points take, counted where they come and go.
#[derive(Debug, Default)]
pub(super) struct Memory(AtomicUsize);

impl Memory {
    pub(super) fn add(&self, bytes: usize) {
        self.0.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn sub(&self, bytes: usize) {
        self.0.fetch_sub(bytes, Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}
