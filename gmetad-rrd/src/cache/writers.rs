//! The threads that write files.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use parking_lot::MutexGuard;

use super::group::{Decoded, Group, NEVER, Slot};
use super::{Inner, trouble};
use crate::error::RrdError;
use crate::store::{Backend, Job, Written};
use crate::update::UpdateError;

/// Groups written together, at most: new files of all of them are synced by one call.
const GROUPS: usize = 32;
/// Groups taken together, at least, if so many are due: all writers end a flush together.
const FEW_GROUPS: usize = 2;
/// Points written together, at most.
const POINTS: usize = 20_000;
/// Longest time to the next try after failures, in milliseconds.
const LONGEST_BACK_OFF: u64 = 30_000;
/// How long a group may have been silent for its removed files to be made again, in milliseconds.
const SILENT: u64 = 90_000;
/// How long FLUSH waits.
const FLUSH_TIME: Duration = Duration::from_secs(60);

/// What one writer works on.
struct Taken<'a> {
    group: &'a Arc<Group>,
    _writing: MutexGuard<'a, ()>,
    /// All slots; otherwise the hot ones.
    full: bool,
    rows: Arc<Vec<u8>>,
    points: u64,
    slots: Vec<Slot>,
    /// Points up to that time are not to be written: their file was removed, or has them.
    left_out: HashMap<u32, i64>,
    create: bool,
    segment: u64,
    settled: u64,
}

/// What became of a file: its slot, the number of its points, the time of the last, the result.
type Outcome = ((u32, usize, i64), Result<Written, RrdError>);

impl Inner {
    /// The life of a writer.
    pub(super) fn write_on(self: &Arc<Self>, backend: &mut dyn Backend) {
        loop {
            let mut asked = Vec::new();
            let mut groups: Vec<(u64, Arc<Group>)> = Vec::new();
            {
                let mut schedule = self.schedule.lock();
                loop {
                    if self.held.load(Ordering::Relaxed) && !schedule.stopping {
                        self.wake.wait(&mut schedule);
                        continue;
                    }
                    let now = self.now();
                    // The last shares of a flush are small, so that all writers end it together.
                    let shares = 2 * self.options.writers.max(1);
                    let due = schedule.at.keys().take(GROUPS * shares).take_while(|key| key.0 <= now).count();
                    let share = (due / shares).clamp(FEW_GROUPS, GROUPS);
                    while groups.len() < share
                        && let Some(entry) = schedule.at.first_entry()
                        && entry.key().0 <= now
                    {
                        let ((at, _), group) = entry.remove_entry();
                        groups.push((at, group));
                    }
                    asked.append(&mut schedule.asked);
                    if !groups.is_empty() || !asked.is_empty() || schedule.stopping {
                        break;
                    }
                    match schedule.at.first_key_value() {
                        Some((&(at, _), _)) => {
                            self.wake.wait_for(&mut schedule, Duration::from_millis(at - now));
                        }
                        None => self.wake.wait(&mut schedule),
                    }
                }
                if schedule.stopping {
                    break;
                }
                if !schedule.at.is_empty() {
                    self.wake.notify_one(); // another writer may have something to do, too
                }
            }
            for dir in asked {
                self.answer(&dir);
            }
            let groups: Vec<_> = groups
                .into_iter()
                .filter(|(at, group)| {
                    let mut state = group.state.lock();
                    let current = state.queued == *at;
                    if current {
                        state.queued = NEVER;
                    }
                    current
                })
                .map(|(_, group)| group)
                .collect();
            if catch_unwind(AssertUnwindSafe(|| self.write_groups(backend, &groups))).is_err() {
                log::error!("a writer of RRD files panicked and goes on");
            }
        }
        backend.rest();
    }

    /// Somebody asked for this directory.
    fn answer(self: &Arc<Self>, dir: &PathBuf) {
        let until = self.seconds().saturating_add(self.options.hot.as_secs().min(u64::from(u32::MAX / 2)) as u32);
        let now = self.now();
        let host = self.groups.lock().get(dir).cloned();
        let groups = match host {
            Some(group) => {
                let mut state = group.state.lock();
                state.slots.iter_mut().for_each(|slot| slot.hot_until = until);
                state.hot_from = 0; // what waits must not come after what comes next
                drop(state);
                vec![group]
            }
            None => {
                let groups = self.groups.lock();
                groups.iter().filter(|(path, _)| path.starts_with(dir)).map(|(_, group)| Arc::clone(group)).collect()
            }
        };
        for group in groups {
            let mut state = group.state.lock();
            if state.due != NEVER && state.due > now && state.failures == 0 {
                state.due = now;
                self.look_at(&group, &mut state, now);
            }
        }
    }

    pub(super) fn write_groups(self: &Arc<Self>, backend: &mut dyn Backend, groups: &[Arc<Group>]) {
        let mut rest = groups;
        while !rest.is_empty() {
            let began = Instant::now();
            let mut taken: Vec<Taken<'_>> = Vec::new();
            let mut points = 0;
            while let Some((group, others)) = rest.split_first()
                && (taken.is_empty() || points < POINTS)
            {
                rest = others;
                if let Some(one) = self.take(group) {
                    points += one.points as usize;
                    taken.push(one);
                }
            }
            let results = catch_unwind(AssertUnwindSafe(|| self.write_taken(backend, &taken)));
            // What a panic interrupts is tried again, as after a failure of the disk.
            let results = results.unwrap_or_else(|_| {
                let panicked = |one: &Taken<'_>| RrdError::Io {
                    action: "write",
                    path: self.root.join(&one.group.dir),
                    source: std::io::Error::from_raw_os_error(nix::libc::EIO),
                };
                log::error!("a writer of RRD files panicked; its points are tried again");
                taken.iter().map(|one| vec![((0, 0, 0), Err(panicked(one)))]).collect()
            });
            let before = (self.counters.written.get(), self.counters.failed.get());
            for (one, results) in taken.into_iter().zip(results) {
                self.settle(one, results);
            }
            self.stats.rrd.done_many(self.counters.written.get() - before.0, began.elapsed());
            self.stats.rrd_errors.add(self.counters.failed.get() - before.1);
        }
    }

    /// What is to be written of a group now; it stays visible to readers.
    fn take<'a>(self: &Arc<Self>, group: &'a Arc<Group>) -> Option<Taken<'a>> {
        let now = self.now();
        let Some(writing) = group.writing.try_lock() else {
            let mut state = group.state.lock();
            self.look_at(group, &mut state, now + 20);
            return None;
        };
        let mut state = group.state.lock();
        let full = state.due <= now;
        let slots = state.slots.clone();
        let mut left_out = state.done.clone();
        for &(slot, until) in &state.removed {
            let latest = left_out.entry(slot).or_insert(until);
            *latest = until.max(*latest);
        }
        let step = state.slots.first().map_or(0, |slot| slot.schema.step);
        let silent = SILENT.max(step.saturating_mul(4000));
        let create = now.saturating_sub(state.accepted_at) < silent || !state.removed.is_empty();
        let settled = state.accepted;
        if !full {
            let due = state.due;
            self.look_at(group, &mut state, due);
            if state.hot_from >= state.rows.len() || !state.has_hot(self.seconds()) {
                return None;
            }
            let rows = Arc::new(state.rows[state.hot_from..].to_vec());
            state.hot_from = state.rows.len();
            return Some(Taken {
                group,
                _writing: writing,
                full,
                rows,
                points: 0,
                slots,
                left_out,
                create,
                segment: NEVER,
                settled: 0,
            });
        }
        let rows = Arc::new(std::mem::take(&mut state.rows));
        state.in_flight = Some(Arc::clone(&rows));
        state.hot_from = 0;
        state.due = NEVER;
        let points = std::mem::take(&mut state.points);
        // Stays the group's oldest until the flush has ended.
        let segment = state.segment;
        Some(Taken { group, _writing: writing, full, rows, points, slots, left_out, create, segment, settled })
    }

    fn write_taken(self: &Arc<Self>, backend: &mut dyn Backend, taken: &[Taken<'_>]) -> Vec<Vec<Outcome>> {
        let seconds = self.seconds();
        let decoded: Vec<Decoded> = taken
            .iter()
            .map(|one| {
                let mut decoded = Decoded::default();
                decoded.add(&one.rows, &one.slots, |slot, time| {
                    let wanted = one.full || one.slots.get(slot as usize).is_some_and(|slot| slot.hot_until > seconds);
                    wanted && (one.left_out.is_empty() || one.left_out.get(&slot).is_none_or(|until| time > *until))
                });
                decoded
            })
            .collect();
        let values: Vec<_> = decoded.iter().map(Decoded::values).collect();
        let points: Vec<_> = decoded
            .iter()
            .zip(&values)
            .zip(taken)
            .map(|((decoded, values), one)| decoded.points(values, &one.slots))
            .collect();
        let mut paths: Vec<PathBuf> = Vec::new();
        for (one, (starts, _)) in taken.iter().zip(&points) {
            let dir = self.root.join(&one.group.dir);
            paths.extend(starts.iter().map(|&(slot, _)| dir.join(&*one.slots[slot as usize].name)));
        }
        let mut jobs: Vec<Job<'_>> = Vec::with_capacity(paths.len());
        for (one, (starts, points)) in taken.iter().zip(&points) {
            for (place, &(slot, start)) in starts.iter().enumerate() {
                let end = starts.get(place + 1).map_or(points.len(), |&(_, next)| next);
                let slot = &one.slots[slot as usize];
                jobs.push(Job {
                    path: &paths[jobs.len()],
                    schema: &slot.schema,
                    points: &points[start..end],
                    hot: !one.full || one.group.always_hot || self.options.cache.is_some_and(|cache| cache.is_zero()),
                    create: one.create || !slot.made,
                });
            }
        }
        self.counters.updates.add(jobs.len() as u64);
        self.counters.flushes.add(taken.len() as u64);
        let mut results = backend.write(&jobs).into_iter();
        points
            .iter()
            .map(|(starts, points)| {
                let counts = starts.iter().enumerate().map(|(place, &(slot, start))| {
                    let end = starts.get(place + 1).map_or(points.len(), |&(_, next)| next);
                    (slot, end - start, points[end - 1].time)
                });
                counts.zip(results.by_ref()).collect()
            })
            .collect()
    }

    /// Takes over what became of a group's files: slot, number of points, result.
    fn settle(self: &Arc<Self>, one: Taken<'_>, results: Vec<Outcome>) {
        let count = &self.counters;
        let mut kept: Option<(i32, RrdError)> = None;
        let mut first_error: Option<String> = None;
        let seconds = self.seconds();
        let hot_until = seconds.saturating_add(self.options.hot.as_secs().min(u64::from(u32::MAX / 2)) as u32);
        let mut state = one.group.state.lock();
        let (mut young, mut hot_failed) = (state.young, false);
        let told: u64 = results.iter().map(|((_, points, _), _)| *points as u64).sum();
        // Files that need not be tried again, should others have to.
        let mut done: Vec<(u32, i64)> = Vec::new();
        let (mut written, mut past, mut removed, mut failed) = (0u64, 0u64, 0u64, 0u64);
        for ((at, points, last), result) in results {
            let Some(slot) = state.slots.get_mut(at as usize) else { continue };
            if result.as_ref().err().and_then(trouble::code).is_none() {
                done.push((at, last));
            }
            // Of these points that many came to nothing.
            let mut lost = points;
            let error = match result {
                Ok(Written { made, read }) => {
                    written += points as u64;
                    count.made.add(made.into());
                    young |= !slot.lasting;
                    slot.made = true;
                    slot.failing = false;
                    if read {
                        slot.hot_until = hot_until;
                    }
                    continue;
                }
                // In the file already: written as a hot one before, or replayed.
                Err(RrdError::Refused { refused, source: UpdateError::Past { .. }, .. }) => {
                    past += refused as u64;
                    written += (points - refused.min(points)) as u64;
                    young |= !slot.lasting;
                    slot.made = true;
                    slot.failing = false;
                    continue;
                }
                Err(RrdError::Missing { .. }) => {
                    removed += points as u64;
                    continue;
                }
                Err(error) => {
                    if let RrdError::Refused { refused, .. } = &error {
                        lost = points.min(*refused);
                    }
                    error
                }
            };
            first_error.get_or_insert_with(|| error.to_string());
            match trouble::code(&error) {
                Some(code) if one.full => {
                    kept.get_or_insert((code, error));
                }
                // The full flush will tell. Until then no later point may go into the file alone: it would refuse these.
                Some(_) => hot_failed = true,
                None => {
                    failed += lost as u64;
                    written += (points - lost) as u64;
                    if !std::mem::replace(&mut slot.failing, true) {
                        log::warn!("{}", error.log_line());
                    }
                }
            }
        }
        state.young = young;
        if hot_failed {
            state.hot_from = 0;
        }
        let tell = |removed: u64| {
            count.written.add(written);
            count.past.add(past);
            count.removed.add(removed);
            count.failed.add(failed);
        };
        if !one.full {
            tell(removed);
            return;
        }
        let now = self.now();
        state.in_flight = None;
        state.failure = first_error.map(Into::into);
        let before = state.trouble;
        match kept {
            None => {
                state.settled = one.settled;
                state.failures = 0;
                state.trouble = None;
                // Of files that were removed: nobody wrote them.
                let counted = told + std::mem::take(&mut state.counted);
                removed += if state.removed.is_empty() { 0 } else { one.points.saturating_sub(counted) };
                tell(removed);
                state.removed.clear();
                state.done.clear();
                self.memory.sub(one.rows.capacity());
                self.pending.fetch_sub(one.points, Ordering::Relaxed);
                state.segment = if state.rows.is_empty() { NEVER } else { state.rows_segment };
                if self.memory.get() < self.options.memory {
                    self.replaying.store(0, Ordering::Relaxed);
                }
                if self.memory.get() < self.options.memory / 2 {
                    self.dropping.store(false, Ordering::Relaxed);
                }
                if let Some(code) = before {
                    drop(state);
                    self.trouble.leave(code, Some(count.dropped.get()));
                }
            }
            Some((code, error)) => {
                // What is tried again is counted then.
                tell(removed);
                state.counted += written + past + removed + failed;
                state.done.extend(done);
                let newer = std::mem::take(&mut state.rows);
                let mut rows = Vec::with_capacity(one.rows.len() + newer.len());
                rows.extend_from_slice(&one.rows);
                rows.extend_from_slice(&newer);
                self.memory.add(rows.capacity());
                self.memory.sub(one.rows.capacity() + newer.capacity());
                state.hot_from = 0;
                state.rows = rows;
                state.points += one.points;
                state.segment = state.segment.min(one.segment);
                state.rows_segment = state.segment;
                state.failures = state.failures.saturating_add(1);
                state.trouble = Some(code);
                let pause =
                    (500u64 << state.failures.min(8)).min(LONGEST_BACK_OFF) / u64::from(self.options.haste.max(1));
                state.due = now + pause;
                self.look_at(one.group, &mut state, now + pause);
                drop(state);
                if before != Some(code) {
                    self.trouble.enter(code, &error);
                    if let Some(before) = before {
                        self.trouble.leave(before, None);
                    }
                }
            }
        }
        one.group.flushed.notify_all();
    }

    /// Writes what waits for a group; returns when it is done.
    pub(super) fn flush_group(self: &Arc<Self>, group: &Arc<Group>) -> Result<(), RrdError> {
        let until = Instant::now() + FLUSH_TIME;
        if self.held.load(Ordering::Relaxed) {
            let text = "the lock of the RRD tree cannot be had".to_owned();
            return Err(RrdError::Librrd { path: self.root.join(&group.dir), text });
        }
        let mut state = group.state.lock();
        let (wanted, now) = (state.accepted, self.now());
        if state.rows.is_empty() && state.in_flight.is_none() {
            return Ok(());
        }
        let failures = state.failures;
        state.due = state.due.min(now);
        self.look_at(group, &mut state, now);
        while state.settled < wanted {
            if group.flushed.wait_until(&mut state, until).timed_out() || state.failures > failures {
                let text = state.failure.as_deref().unwrap_or("not written in time").to_owned();
                return Err(RrdError::Librrd { path: self.root.join(&group.dir), text });
            }
        }
        Ok(())
    }
}
