//! What an earlier run left in the journal.

use std::collections::{HashMap, HashSet};
use std::hash::{Hash, Hasher};
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::group::{self, Group};
use super::record::{Record, Records};
use super::row::{RowReader, RowWriter};
use super::{Inner, journal, relative_path};
use crate::format;
use crate::schema::Schema;
use crate::value::Value;

/// What a replay has to remember from segment to segment.
#[derive(Default)]
pub(super) struct Notes {
    /// Rows, by group, as hashes: some stand in the journal twice.
    rows: HashSet<u64>,
    /// Time of the newest row of a group.
    newest: HashMap<u32, i64>,
}

impl Inner {
    /// Takes what a segment of an earlier run says.
    pub(super) fn replay(&self, number: u64, own: &Path) {
        let bytes = match self.files.read(&journal::path(own, number)) {
            Ok(bytes) => bytes,
            Err(error) => {
                let path = journal::path(own, number);
                log::error!("{}: cannot be read: {error}; its points wait for the next start", path.display());
                self.journal.iter().for_each(|journal| journal.leave(number));
                return self.counters.damaged.add(1);
            }
        };
        if bytes.iter().all(|byte| *byte == 0) {
            return self.replayed.lock().push(number); // the machine stopped before it was written
        }
        // What rows need stands twice; the second time perhaps behind them.
        let mut records = Records::new(&bytes);
        let groups = self.known_in(records.by_ref());
        let mut row_writer = RowWriter::default();
        let mut texts = String::new();
        let (mut taken, mut lost) = (0u64, 0u64);
        let mut notes = self.replay.lock();
        for record in Records::new(&bytes) {
            let Record::Row { group, row } = record else { continue };
            let Some((ours, places)) = groups.get(&group) else {
                lost += 1;
                continue;
            };
            let mut state = ours.state.lock();
            // The slots have other numbers here.
            let Some(time) = translate(row, places, &state, &mut row_writer, &mut texts) else {
                lost += 1;
                continue;
            };
            taken += 1;
            let newest = notes.newest.entry(ours.id).or_insert(time);
            *newest = time.max(*newest);
            if !notes.rows.insert(row_hash(ours.id, row_writer.bytes())) {
                continue;
            }
            let points = row_writer.points();
            state.rows_segment = if state.rows.is_empty() { number } else { state.rows_segment.min(number) };
            self.memory.add(state.push(row_writer.bytes(), points));
            self.pending.fetch_add(points.into(), Ordering::Relaxed);
            self.counters.replayed.add(points.into());
            state.segment = state.segment.min(number);
            if state.last.as_ref().is_none_or(|(last, _)| *last < time) {
                state.last = Some((time, Arc::from("")));
            }
        }
        self.counters.damaged.add(records.damaged + lost);
        if records.damaged > 0 || records.torn > 0 {
            log::warn!(
                "journal segment {number:016x}: {} damaged places skipped, {} bytes at its end not whole",
                records.damaged,
                records.torn
            );
        }
        if lost > 0 || records.damaged > 0 && groups.is_empty() {
            log::error!(
                "journal segment {number:016x}: {lost} rows of values in it belong to no file that could be read, {taken} do; it \
                 is kept as damaged-journal-{number:016x}-… when these are in files"
            );
            self.journal.iter().for_each(|journal| journal.keep(number));
            return;
        }
        self.replayed.lock().push(number);
    }

    /// The groups that a segment speaks of: ours, and their slots by their place there.
    fn known_in<'a>(&self, records: impl Iterator<Item = Record<'a>>) -> HashMap<u32, (Arc<Group>, Vec<Option<u32>>)> {
        let mut schemas: HashMap<u32, Arc<Schema>> = HashMap::new();
        let mut groups: HashMap<u32, (Arc<Group>, Vec<Option<u32>>)> = HashMap::new();
        for record in records {
            match record {
                Record::Schema { id, header } => {
                    if let Ok(schema) = format::decode_fixed(header) {
                        schemas.insert(id, self.schema(schema));
                    }
                }
                Record::Slots { group, first, dir, slots } => {
                    let Some(dir) = relative(dir) else { continue };
                    let (ours, places) = groups.entry(group).or_insert_with(|| (self.group(&dir), Vec::new()));
                    let mut state = ours.state.lock();
                    let first = first as usize;
                    places.resize(places.len().max(first + slots.len()).min(1 << 20), None);
                    for (place, slot) in places.iter_mut().skip(first).zip(slots) {
                        let plain = Path::new(slot.name).components().eq([Component::Normal(slot.name.as_ref())]);
                        let Some(schema) = schemas.get(&slot.schema).filter(|_| plain) else { continue };
                        let Some(at) = state.slot(&self.name(slot.name), schema) else { continue };
                        state.slots[at as usize].made |= slot.made;
                        state.slots[at as usize].lasting |= slot.made;
                        *place = Some(at);
                    }
                }
                Record::Made { group } => {
                    if let Some((ours, places)) = groups.get(&group) {
                        let mut state = ours.state.lock();
                        for &at in places.iter().flatten() {
                            state.slots[at as usize].made = true;
                            state.slots[at as usize].lasting = true;
                        }
                    }
                }
                Record::Row { .. } | Record::Pad => {}
            }
        }
        groups
    }

    /// After the replay: what waits is due; files that an admin removed since stay removed.
    pub(super) fn settle_replay(&self) {
        let groups: Vec<_> = self.groups.lock().values().cloned().collect();
        let newest = self.replay.lock().newest.clone();
        let mut gone = 0u64;
        for group in &groups {
            let Some(&newest) = newest.get(&group.id) else { continue };
            let made: Vec<_> = {
                let state = group.state.lock();
                let made = state.slots.iter().enumerate().filter(|(_, slot)| slot.made);
                made.map(|(at, slot)| (at as u32, Arc::clone(&slot.name))).collect()
            };
            // After a late lock polls go on meanwhile: they must not wait for the disk.
            let dir = self.root.join(&group.dir);
            let is_gone = |name: &str| {
                self.files.stat(&dir.join(name)).is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
            };
            let removed: Vec<_> = made.iter().filter(|(_, name)| is_gone(name)).map(|(at, _)| (*at, newest)).collect();
            gone += removed.len() as u64;
            let mut state = group.state.lock();
            state.removed.extend(removed);
            let now = self.now();
            state.due = now;
            self.look_at(group, &mut state, now);
        }
        let points = self.pending.load(Ordering::Relaxed);
        if points > 0 {
            log::info!("{points} RRD points for {} directories read from the journal", groups.len());
        }
        if gone > 0 {
            log::warn!("{gone} RRD files have been removed since; their points in the journal are dropped");
        }
    }
}

fn row_hash(group: u32, row: &[u8]) -> u64 {
    let mut hasher = std::hash::DefaultHasher::new();
    group.hash(&mut hasher);
    row.hash(&mut hasher);
    hasher.finish()
}

/// A row with the slots' numbers of this process. Returns its time; `None` if the row cannot be read.
fn translate(
    row: &[u8],
    places: &[Option<u32>],
    state: &group::State,
    out: &mut RowWriter,
    text: &mut String,
) -> Option<i64> {
    let mut reader = RowReader::new(row)?;
    out.start(reader.time());
    while let Some(slot) = reader.slot() {
        let at = (*places.get(slot as usize)?)?;
        let ds = state.slots.get(at as usize)?.schema.ds.len();
        text.clear();
        let mut ends = Vec::with_capacity(ds);
        for _ in 0..ds {
            reader.value(text)?;
            ends.push(text.len());
        }
        let starts = std::iter::once(0).chain(ends.iter().copied());
        let values: Vec<Value<'_>> = starts
            .zip(&ends)
            .map(|(start, &end)| match &text[start..end] {
                "U" => Value::Unknown,
                text => Value::Text(text),
            })
            .collect();
        out.put(at, &values);
    }
    Some(reader.time())
}

/// A directory as the journal has it, if it is one below the root.
fn relative(bytes: &[u8]) -> Option<PathBuf> {
    use std::os::unix::ffi::OsStrExt;
    relative_path(Path::new(std::ffi::OsStr::from_bytes(bytes)))
}
