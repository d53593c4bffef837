//! What is wrong with the disk: said once, until it is over.

use std::time::Instant;

use parking_lot::Mutex;

use crate::error::RrdError;

/// Kinds of failure that concern more than one file, with the number of groups that have them.
#[derive(Debug, Default)]
pub(super) struct Trouble(Mutex<Vec<Kind>>);

#[derive(Debug)]
struct Kind {
    code: i32,
    since: Instant,
    groups: u64,
}

impl Trouble {
    /// A group got into it. The first one is told.
    pub(super) fn enter(&self, code: i32, error: &RrdError) {
        let mut kinds = self.0.lock();
        match kinds.iter_mut().find(|kind| kind.code == code) {
            Some(kind) => kind.groups += 1,
            None => {
                kinds.push(Kind { code, since: Instant::now(), groups: 1 });
                drop(kinds);
                log::error!("{}; RRD points are kept in memory and tried again", error.log_line());
            }
        }
    }

    /// A group got out of it, and nothing else is wrong with it if there is a count of points dropped so far. The last one is
    /// told.
    pub(super) fn leave(&self, code: i32, dropped: Option<u64>) {
        let mut kinds = self.0.lock();
        let Some(at) = kinds.iter().position(|kind| kind.code == code) else { return };
        kinds[at].groups -= 1;
        if kinds[at].groups == 0 {
            let since = kinds.swap_remove(at).since;
            drop(kinds);
            let Some(dropped) = dropped else { return };
            let what = std::io::Error::from_raw_os_error(code);
            let lost =
                if dropped == 0 { "no point was lost".to_owned() } else { format!("{dropped} points dropped so far") };
            log::info!("RRD files are written again after {} s of \"{what}\"; {lost}", since.elapsed().as_secs());
        }
    }

    /// Kinds of it.
    pub(super) fn count(&self) -> u64 {
        self.0.lock().len() as u64
    }
}

/// The code of a failure that is not the file's own: the points are kept, and tried again. `None`: it costs that file.
pub(super) fn code(error: &RrdError) -> Option<i32> {
    use nix::libc::{EISDIR, ELOOP, ENAMETOOLONG, ENOTDIR};
    match error {
        RrdError::Io { source, .. } => match source.raw_os_error() {
            Some(ENOTDIR | EISDIR | ELOOP | ENAMETOOLONG) | None => None,
            Some(code) => Some(code),
        },
        RrdError::Locked { .. } => Some(nix::libc::EAGAIN),
        RrdError::Rrdcached { .. } => Some(nix::libc::ENOTCONN),
        _ => None,
    }
}
