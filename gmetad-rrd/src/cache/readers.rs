//! What the store offers to readers: files with the points that wait, updates of others, and its counters.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{SystemTime, UNIX_EPOCH};

use gmetad_core::stats::{Counter, Figure, Report};

use super::group::{self, Decoded, Group, NEVER};
use super::row::RowWriter;
use super::{Inner, NotTaken, RrdStore, relative_path};
use crate::cached::Cached;
use crate::error::RrdError;
use crate::update::UpdateError;
use crate::value::Value;
use crate::view::View;

impl Inner {
    /// The path below the root, as it is spelled there.
    fn inside(&self, path: &Path) -> Result<PathBuf, RrdError> {
        let relative = if path.is_absolute() { path.strip_prefix(&self.root).ok() } else { Some(path) };
        relative.and_then(relative_path).ok_or_else(|| RrdError::Outside { path: path.to_owned() })
    }

    /// Has a file written whose points the back end keeps.
    fn write_out(&self, relative: &Path) -> Result<(), RrdError> {
        match &mut *self.reader.lock() {
            Some(reader) => reader.write_out(&self.root.join(relative)),
            None => Ok(()),
        }
    }

    /// The group and slot of a file, if points ever came for it.
    fn find(&self, relative: &Path) -> Option<Found> {
        let (dir, name) = (relative.parent()?, relative.file_name()?.to_str()?);
        let group = Arc::clone(self.groups.lock().get(dir)?);
        // Under one lock: slots may be given anew.
        let (slot, rows, slots) = {
            let state = group.state.lock();
            let slot = state.slots.iter().position(|slot| &*slot.name == name)?;
            (slot as u32, state.all_rows(), state.slots.clone())
        };
        Some(Found { group, slot, rows, slots })
    }
}

/// A file that points came for, and what waits.
struct Found {
    group: Arc<Group>,
    slot: u32,
    rows: Vec<u8>,
    slots: Vec<group::Slot>,
}

impl Found {
    fn decoded(&self) -> Decoded {
        let mut decoded = Decoded::default();
        decoded.add(&self.rows, &self.slots, |at, _| at == self.slot);
        decoded
    }
}

impl Cached for RrdStore {
    fn flush(&self, path: &Path) -> Result<(), RrdError> {
        let relative = self.inner.inside(path)?;
        self.inner.counters.flush_requests.add(1);
        match self.inner.find(&relative) {
            Some(Found { group, .. }) => {
                self.inner.flush_group(&group)?;
                self.inner.write_out(&relative)
            }
            None => match self.inner.files.stat(&self.inner.root.join(&relative)) {
                Ok(_) => Ok(()),
                Err(e) => Err(RrdError::io("open", &self.inner.root.join(&relative), e)),
            },
        }
    }

    fn flush_all(&self) {
        self.inner.hurry();
    }

    fn pending(&self, path: &Path) -> Result<Vec<String>, RrdError> {
        let relative = self.inner.inside(path)?;
        let Some(found) = self.inner.find(&relative) else {
            let path = self.inner.root.join(&relative);
            return self.inner.files.stat(&path).map(|_| Vec::new()).map_err(|e| RrdError::io("open", &path, e));
        };
        let decoded = found.decoded();
        let values = decoded.values();
        let (_, points) = decoded.points(&values, &found.slots);
        Ok(points
            .iter()
            .map(|point| {
                let value = |value: &Value<'_>| match value {
                    Value::Text(text) => (*text).to_owned(),
                    Value::Number(number) => number.to_string(),
                    Value::Unknown => "U".to_owned(),
                };
                let values: Vec<_> = point.values.iter().map(value).collect();
                format!("{}:{}", point.time, values.join(":"))
            })
            .collect())
    }

    fn update(&self, path: &Path, updates: &[&str]) -> Result<usize, RrdError> {
        let inner = &self.inner;
        let relative = inner.inside(path)?;
        let full = inner.root.join(&relative);
        let view = self.view(&relative)?;
        let (Some(dir), Some(name)) = (relative.parent(), relative.file_name().and_then(|name| name.to_str())) else {
            return Err(RrdError::Outside { path: full });
        };
        let schema = inner.schema(view.layout().schema().clone());
        let place = || -> Result<(Arc<Group>, u32), RrdError> {
            let group = inner.group(dir);
            let slot = self.slot(&group, name, &schema).ok_or_else(|| RrdError::Librrd {
                path: full.clone(),
                text: "too many files in its directory".to_owned(),
            })?;
            let mut state = group.state.lock();
            state.slots[slot as usize].made = true;
            state.young = true;
            drop(state);
            Ok((group, slot))
        };
        let (mut group, mut slot) = place()?;
        let mut last = view.last();
        let mut row = RowWriter::default();
        // What waits was accepted for the file as it was; it may have been replaced since.
        let known = group.state.lock().slots.get(slot as usize).map_or(0, |slot| slot.schema.ds.len());
        let refused = |source: UpdateError| RrdError::Refused { path: full.clone(), refused: 1, source };
        for update in updates {
            let mut parts = update.split(':');
            let time = match parts.next() {
                Some("N" | "n") => {
                    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs()).cast_signed()
                }
                Some(text) => text.split('.').next().and_then(|text| text.parse().ok()).unwrap_or(-1),
                None => -1,
            };
            let values: Vec<Value<'_>> =
                parts.map(|text| if text == "U" { Value::Unknown } else { Value::Text(text) }).collect();
            let expected = if known == schema.ds.len() { known } else { 0 };
            let error = if values.len() != expected {
                Some(UpdateError::Count { expected, got: values.len(), time })
            } else if time < 0 {
                Some(UpdateError::Time(time))
            } else if time <= last {
                Some(UpdateError::Past { time, last })
            } else {
                None
            };
            if let Some(error) = error {
                // Those before it are taken, as rrdcached does it.
                return Err(refused(error));
            }
            last = time;
            loop {
                row.start(time);
                row.put(slot, &values);
                // From nobody the daemon knows: each file has a time of its own, so it is never too old.
                match inner.accept(&group, row.bytes(), row.points(), time, &Arc::from("")) {
                    Err(NotTaken::Retired) => (group, slot) = place()?,
                    Ok(()) | Err(NotTaken::TooOld { .. }) => break,
                }
            }
        }
        Ok(updates.len())
    }

    fn view(&self, path: &Path) -> Result<View, RrdError> {
        let relative = self.inner.inside(path)?;
        let full = self.inner.root.join(&relative);
        // First what waits, then the file: a flush in between brings points twice, which the view skips, not never.
        let found = self.inner.find(&relative);
        self.inner.write_out(&relative)?;
        let Some(found) = found else { return View::open(&full) };
        let decoded = found.decoded();
        let values = decoded.values();
        let (_, points) = decoded.points(&values, &found.slots);
        View::with_points(&full, found.slots.get(found.slot as usize).map(|slot| &*slot.schema), &points)
    }

    fn counters(&self) -> Vec<(&'static str, u64)> {
        let count = &self.inner.counters;
        let waiting = {
            let groups = self.inner.groups.lock();
            let waits = |group: &Arc<Group>| group.state.lock().due != NEVER;
            groups.values().filter(|group| waits(group)).map(|group| group.state.lock().slots.len() as u64).sum()
        };
        let journal = self.inner.journal.as_ref();
        // What rrdcached calls them.
        let mut all = vec![
            ("QueueLength", waiting),
            ("UpdatesReceived", count.accepted.get()),
            ("FlushesReceived", count.flush_requests.get()),
            ("UpdatesWritten", count.updates.get()),
            ("DataSetsWritten", count.written.get()),
            (
                "TreeNodesNumber",
                self.inner.groups.lock().values().map(|group| group.state.lock().slots.len() as u64).sum(),
            ),
            ("JournalBytes", journal.map_or(0, |journal| journal.counters.bytes.get())),
            ("JournalRotate", journal.map_or(0, |journal| journal.counters.rotations.get())),
        ];
        all.extend(self.inner.figures().into_iter().map(|figure| (figure.name, figure.value)));
        all
    }
}

impl Report for Inner {
    fn name(&self) -> &str {
        "rrd"
    }

    fn figures(&self) -> Vec<Figure> {
        let count = &self.counters;
        let (groups, files) = {
            let groups = self.groups.lock();
            (groups.len(), groups.values().map(|group| group.state.lock().slots.len()).sum::<usize>())
        };
        let counter = |name, counter: &Counter| Figure { name, gauge: false, value: counter.get() };
        let gauge = |name, value| Figure { name, gauge: true, value };
        let mut out = vec![
            counter("points_accepted", &count.accepted),
            counter("points_written", &count.written),
            gauge("points_pending", self.pending.load(Ordering::Relaxed)),
            gauge("pending_bytes", self.memory.get() as u64),
            counter("points_refused", &count.refused),
            counter("points_past", &count.past),
            counter("points_dropped", &count.dropped),
            counter("points_removed", &count.removed),
            counter("points_failed", &count.failed),
            counter("file_updates", &count.updates),
            counter("files_made", &count.made),
            counter("flushes", &count.flushes),
            counter("asked", &count.requests),
            gauge("directories", groups as u64),
            gauge("files", files as u64),
            gauge("troubles", self.trouble.count()),
            counter("journal_replayed", &count.replayed),
            counter("journal_damaged", &count.damaged),
        ];
        if let Some(journal) = &self.journal {
            let (segments, bytes) = journal.size();
            out.extend([
                gauge("journal_segments", segments),
                gauge("journal_bytes", bytes),
                counter("journal_written_bytes", &journal.counters.bytes),
                counter("journal_syncs", &journal.counters.syncs),
                counter("journal_errors", &journal.counters.errors),
                counter("journal_gap_bytes", &journal.counters.gaps),
            ]);
        }
        out
    }
}
