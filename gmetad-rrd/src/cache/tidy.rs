//! What a store does beside taking and writing points: waiting for the disk, making the journal smaller, forgetting.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use super::group::{Group, NEVER};
use super::journal::{self, Journal};
use super::{Inner, OWN_PREFIX, TIDY};

/// How often the journal is told, at most, which files are on the disk for good: until then one that is removed while the
/// daemon is down comes back.
const NAMES: Duration = Duration::from_secs(60);

impl Inner {
    /// The life of the thread that waits for the disk: what the journal has is there within the interval.
    pub(super) fn sync_on(&self) {
        let Some(journal) = &self.journal else { return };
        loop {
            let closed = {
                let mut schedule = self.schedule.lock();
                if !schedule.stopping {
                    self.tick.wait_for(&mut schedule, self.options.journal_sync);
                }
                schedule.stopping
            };
            journal.sync();
            if closed {
                break;
            }
        }
    }

    /// The life of the thread that tidies up, which may wait for the disk long.
    pub(super) fn tidy_on(&self) {
        let haste = self.options.haste.max(1);
        let tidy = TIDY / haste;
        let mut named = Instant::now();
        // What waited when the journal was last made smaller.
        let mut compact = 0u64;
        loop {
            let until = Instant::now() + tidy;
            {
                let mut schedule = self.schedule.lock();
                while !schedule.stopping && !self.tick.wait_until(&mut schedule, until).timed_out() {}
                if schedule.stopping {
                    break;
                }
            }
            if let Some(journal) = &self.journal {
                let newest = journal.newest();
                let needed = self.oldest_segment().min(newest);
                journal.forget(needed, || self.sync_files(journal));
                if named.elapsed() >= NAMES / haste && self.has_young() {
                    named = Instant::now();
                    match self.sync_files(journal) {
                        Ok(()) => journal.recovered(journal::What::SyncFiles),
                        Err(error) => journal.failed(journal::What::SyncFiles, &error),
                    }
                }
                match journal.too_much(compact.saturating_mul(2)) {
                    None => journal.recovered(journal::What::Compact),
                    Some(last) => match self.compact(journal, last) {
                        Ok(size) => {
                            compact = size;
                            journal.recovered(journal::What::Compact);
                            // What it has now is not in the segments before it any more.
                            journal.forget(self.oldest_segment().min(last), || Ok(()));
                        }
                        Err(error) => journal.failed(journal::What::Compact, &error),
                    },
                }
            }
            self.sweep();
            if self.lock.lock().is_none() {
                self.take_lock_late();
            }
        }
        let nothing_to_remove = self.journal.is_none() && self.replayed.lock().is_empty();
        if nothing_to_remove
            || self.pending.load(Ordering::Relaxed) > 0
            || self.lock.lock().is_none()
            || self.files.sync_tree(&self.root).is_err()
        {
            return;
        }
        match &self.journal {
            Some(journal) => journal.forget_all(),
            // What an earlier run, which had a journal, left.
            None => {
                for number in std::mem::take(&mut *self.replayed.lock()) {
                    let own = self.root.join(OWN_PREFIX);
                    let _ = self.files.remove(&journal::path(&own, number)); // the next end tries again
                }
            }
        }
    }

    /// Whether there are files of which the journal does not say yet that the disk has them.
    fn has_young(&self) -> bool {
        self.groups.lock().values().any(|group| group.state.lock().young)
    }

    /// Waits until the disk has all files; those made before have their names there then, which the journal may say.
    fn sync_files(&self, journal: &Journal) -> io::Result<()> {
        let groups: Vec<_> = self.groups.lock().values().cloned().collect();
        let young = |group: Arc<Group>| {
            let state = group.state.lock();
            let slots = || state.slots.iter().enumerate().filter(|(_, slot)| slot.made && !slot.lasting);
            let slots: Option<Vec<usize>> = state.young.then(|| slots().map(|(at, _)| at).collect());
            drop(state);
            Some((group, slots?))
        };
        let young: Vec<_> = groups.into_iter().filter_map(young).collect();
        self.files.sync_tree(&self.root)?;
        for (group, slots) in young {
            let mut state = group.state.lock();
            slots.into_iter().for_each(|at| state.slots[at].lasting = true);
            state.young = state.slots.iter().any(|slot| slot.made && !slot.lasting);
            journal.made(&group, &state);
        }
        Ok(())
    }

    /// Writes what waits of the closed segments up to `last` into one, so that the others can go. Returns its bytes.
    fn compact(&self, journal: &Journal, last: u64) -> io::Result<u64> {
        let groups: Vec<_> = self.groups.lock().values().cloned().collect();
        let mut repeated = Vec::new();
        let size = journal.compact(
            last,
            |compact| {
                for group in groups {
                    let state = group.state.lock();
                    if state.segment > last {
                        continue;
                    }
                    let (slots, rows) = (state.slots.clone(), state.all_rows());
                    drop(state);
                    compact.add(&group, &slots, &rows)?;
                    repeated.push(group);
                }
                Ok(())
            },
            || self.sync_files(journal),
        )?;
        for group in repeated {
            // Also right if a flush has ended meanwhile: whatever is older stands in it.
            let mut state = group.state.lock();
            state.segment = state.segment.max(last);
            state.rows_segment = state.rows_segment.max(last);
        }
        Ok(size)
    }

    /// The oldest segment with rows that are in no file yet.
    fn oldest_segment(&self) -> u64 {
        let groups: Vec<_> = self.groups.lock().values().cloned().collect();
        groups.iter().map(|group| group.state.lock().segment).min().unwrap_or(NEVER)
    }

    /// Forgets groups that nobody uses and that have nothing.
    fn sweep(&self) {
        self.groups.lock().retain(|_, group| {
            // One here; a plugin's and the schedule's are more.
            Arc::strong_count(group) > 1 || group.state.lock().segment != NEVER || !group.state.lock().rows.is_empty()
        });
        self.names.lock().retain(|name| Arc::strong_count(name) > 1);
    }
}

/// Runs the work of a thread until it ends by itself.
pub(super) fn unbroken(thread: &str, work: impl Fn()) {
    while catch_unwind(AssertUnwindSafe(&work)).is_err() {
        log::error!("{thread} panicked and goes on");
        thread::sleep(Duration::from_secs(1)); // not in circles
    }
}
