//! The lock of the directory, which says that it is in use.

use std::fs::{File, Metadata, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use gmetad_core::message;
use log::Level;

use super::super::{EVERY, StoreError, Waiting, files};
use super::room::MOST_FILES;
use super::{Keeper, shown};
use crate::said::Said;
use crate::view::AgentView;

/// The file that is locked.
const LOCK: &str = ".lock";

impl Keeper {
    /// Locks the directory again if somebody removed it; false: another process has it, and nothing is to be written there.
    pub(super) fn lock(&mut self) -> bool {
        let root = self.shared.root.clone();
        let held = self.shared.lock.lock().clone().and_then(|lock| lock.metadata().ok());
        let same = |held: &Metadata, there: &Metadata| (held.dev(), held.ino()) == (there.dev(), there.ino());
        match (&held, &root.join(LOCK).metadata()) {
            (Some(held), Ok(there)) if same(held, there) => return true,
            // A disk that does not answer says nothing about who has it.
            (Some(_), Err(error)) if error.kind() != io::ErrorKind::NotFound => return true,
            _ => {}
        }
        // It is worth nothing any more.
        self.shared.unlock();
        match take(&root) {
            Ok(lock) => {
                *self.shared.lock.lock() = Some(Arc::new(lock));
                // They are other files now.
                self.rooms.clear();
                for agent in &self.active {
                    let known = files::known(&root, agent, MOST_FILES);
                    self.shared.known.lock().insert(agent.clone(), known);
                }
                self.well("");
                true
            }
            Err(error) => {
                let is_ours = !matches!(error, StoreError::InUse { .. });
                let root = shown(&root);
                if self.trouble.enter(&message!("no lock of {}", root), "") {
                    let text = if is_ours {
                        error.said()
                    } else {
                        message!("{}: another z_stats has taken this directory: nothing is kept until it is free", root)
                    };
                    self.say(Level::Error, &text);
                }
                is_ours
            }
        }
    }

    /// Puts views back that cannot be written now, unless there are newer ones.
    pub(super) fn keep_waiting(&self, views: Vec<Arc<AgentView>>) {
        let mut inbox = self.shared.inbox.lock();
        if inbox.closed {
            return;
        }
        let due = Instant::now() + EVERY;
        for view in views {
            inbox.views.entry(view.spec.name.clone()).or_insert(Waiting { view, due });
        }
    }
}

/// Makes the directory, if it is missing, and locks it.
pub(in super::super) fn take(root: &Path) -> Result<File, StoreError> {
    let io = |source| StoreError::Io { path: root.to_owned(), source };
    files::make(root).map_err(io)?;
    let file = File::create(root.join(LOCK)).map_err(io)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::InUse { path: root.to_owned() }),
        Err(TryLockError::Error(source)) => Err(io(source)),
    }
}
