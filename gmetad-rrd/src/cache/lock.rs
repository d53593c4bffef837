//! The lock of a tree, also where it can be had only later.

use std::fs::File;
use std::io::{self, Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::Ordering;

use super::{Inner, OWN_PREFIX, StoreError, journal};
use crate::files::Files;

impl Inner {
    /// The lock could not be had at the start; now it may be. The points of an earlier run come before those that wait.
    pub(super) fn take_lock_late(&self) {
        let own = self.root.join(OWN_PREFIX);
        let lock = match take_lock(&*self.files, &self.root, &own) {
            Ok(Locked::Ours(lock)) => lock,
            Ok(Locked::InUse(error)) => {
                self.held.store(true, Ordering::Relaxed);
                if !self.in_use.swap(true, Ordering::Relaxed) {
                    log::error!("{error}; points wait until then");
                }
                return;
            }
            Err(_) => return, // was said at the start
        };
        *self.lock.lock() = Some(lock);
        let old = old_segments(&*self.files, &own);
        if let Some(journal) = &self.journal {
            journal.adopt(&old);
            // What waits goes behind that; should the end come while the old is read, it is there.
            journal.allow();
        }
        // All of it comes at once, and goes soon.
        self.replaying.store(usize::MAX / 2, Ordering::Relaxed);
        for (number, _) in old {
            if catch_unwind(AssertUnwindSafe(|| self.replay(number, &own))).is_err() {
                log::error!(
                    "{}: reading it panicked; it stays for the next start",
                    journal::path(&own, number).display()
                );
                if let Some(journal) = &self.journal {
                    journal.leave(number);
                }
            }
        }
        if catch_unwind(AssertUnwindSafe(|| self.settle_replay())).is_err() {
            log::error!("{}: looking for the files of the journal panicked", self.root.display());
        }
        self.make_room_for_replayed();
        let schedule = self.schedule.lock();
        self.held.store(false, Ordering::Relaxed);
        drop(schedule);
        self.wake.notify_all();
        log::info!("{}: lock and journal are there now", self.root.display());
    }
}

/// What became of taking the lock.
pub(super) enum Locked {
    Ours(File),
    InUse(StoreError),
}

/// Takes the lock of the tree. An error: it cannot be had, since the tree cannot be written to.
pub(super) fn take_lock(files: &dyn Files, root: &Path, own: &Path) -> io::Result<Locked> {
    let path = own.join("lock");
    files.make_private_dir(own)?;
    let mut file = match files.create(&path) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => files.open(&path)?,
        other => other?,
    };
    if files.lock(&file)? {
        let _ = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id())); // for people only
        return Ok(Locked::Ours(file));
    }
    let mut owner = String::new();
    let _ = File::open(&path).and_then(|file| file.take(20).read_to_string(&mut owner));
    let owner = format!("process {}", owner.trim());
    Ok(Locked::InUse(StoreError::InUse { root: root.to_owned(), owner, lock: path }))
}

/// The segments that an earlier run left, with their sizes.
pub(super) fn old_segments(files: &dyn Files, own: &Path) -> Vec<(u64, u64)> {
    let _ = files.remove(&journal::compact_path(own)); // one that was not finished
    let names = files.list(own).unwrap_or_else(|error| {
        log::error!("{}: cannot look for a journal: {error}", own.display());
        Vec::new()
    });
    let size = |number| files.stat(&journal::path(own, number)).map_or(0, |stamp| stamp.size);
    journal::numbers(&names).into_iter().map(|number| (number, size(number))).collect()
}
