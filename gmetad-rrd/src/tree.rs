//! Looking after a whole tree of RRD files: [`fsck`] says what is broken, [`prune`] what nobody writes any more.
//!
//! Neither deletes anything: files are moved below `DIR/.gmetad`, which no data source's directory can be. Symbolic links
//! are not followed, other files are left alone. Names come from the network: reports show control characters escaped.
//! The caller brings the clock (`now`, seconds since 1970) and the writer for the report.

mod aside;
mod fsck;
mod prune;

use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::fs::{self, OpenOptions};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::libc;
use thiserror::Error;

use crate::files::locked_by_other;
use crate::path::OWN_PREFIX;
pub use fsck::{Fsck, FsckReport, fsck};
pub use prune::{Prune, PruneReport, prune};

/// The daemon's own directory in the root of a tree.
pub const OWN_DIR: &str = ".gmetad";

/// Why a tree was not looked at, or not to the end.
#[derive(Debug, Error)]
pub enum TreeError {
    /// The file system's root.
    #[error("{} is not a tree of RRD files: give the directory that rrd_rootdir names", shown(.0))]
    Root(PathBuf),
    /// There is nothing in it.
    #[error("{}: no RRD file in it: give the directory that rrd_rootdir names", shown(.0))]
    Empty(PathBuf),
    /// Files would be moved to a place within the tree.
    #[error("{}: this is a part of the tree {}: give that", shown(dir), shown(tree))]
    Part {
        /// The directory given.
        dir: PathBuf,
        /// The tree above it.
        tree: PathBuf,
    },
    /// A daemon works on it.
    #[error("{}: gmetad ({pid}) is running on it: stop it first, or only look", shown(dir))]
    Locked {
        /// The directory given.
        dir: PathBuf,
        /// What its lock file says.
        pid: String,
    },
    /// The directory itself cannot be read.
    #[error("{}: cannot be read: {source}", shown(dir))]
    Look {
        /// The directory given.
        dir: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The report cannot be written.
    #[error("the report cannot be written: {0}")]
    Report(#[from] io::Error),
}

/// A text that is no age.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "\"{0}\" is not an age: write a whole number above 0 and s, m, h, d, w or y, as in 90d (without a letter: days)"
)]
pub struct AgeError(String);

/// Reads an age as seconds: a whole number above 0 and one of `s m h d w y`, a year being 365 days; without a letter days.
///
/// # Errors
/// [`AgeError`] for anything else, and for more than 2^53 seconds.
///
/// ```
/// assert_eq!(gmetad_rrd::tree::parse_age("90d"), Ok(90 * 86_400));
/// ```
pub fn parse_age(text: &str) -> Result<u64, AgeError> {
    let wrong = || AgeError(text.chars().take(60).flat_map(char::escape_debug).collect());
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let unit: u64 = match &text[digits..] {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "" | "d" => 86_400,
        "w" => 7 * 86_400,
        "y" => 365 * 86_400,
        _ => return Err(wrong()),
    };
    let seconds = text[..digits].parse::<u64>().ok().and_then(|number| number.checked_mul(unit));
    seconds.filter(|&seconds| (1..=1 << 53).contains(&seconds)).ok_or_else(wrong)
}

/// Who holds the lock of a tree: what `DIR/.gmetad/lock` says, usually a process id, while somebody holds a write lock on
/// that file. `None`: nobody. A lock file that cannot be looked at counts as held.
pub fn tree_is_locked(dir: &Path) -> Option<String> {
    let path = dir.join(OWN_DIR).join("lock");
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
    let file = match OpenOptions::new().read(true).custom_flags(flags).open(&path) {
        Ok(file) => file,
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => return None,
        Err(e) => return Some(format!("{}: {e}", shown(&path))),
    };
    if !locked_by_other(&file) {
        return None;
    }
    let mut bytes = Vec::new();
    let _ = file.take(64).read_to_end(&mut bytes); // the lock is known, its text only helps
    match shown(Path::new(OsStr::from_bytes(bytes.trim_ascii()))).as_str() {
        "" => Some("unknown".to_owned()),
        pid => Some(format!("pid {pid}")),
    }
}

/// The directory as an absolute path; it is none that must not be meant.
fn root(dir: &Path) -> Result<PathBuf, TreeError> {
    let look = |source| TreeError::Look { dir: dir.to_owned(), source };
    let path = fs::canonicalize(dir).map_err(look)?;
    fs::read_dir(&path).map_err(look)?;
    if path.parent().is_none() { Err(TreeError::Root(path)) } else { Ok(path) }
}

/// Whether files of it may be moved.
fn may_change(root: &Path) -> Result<(), TreeError> {
    if let Some(tree) = root.ancestors().skip(1).find(|dir| dir.join(OWN_DIR).symlink_metadata().is_ok()) {
        return Err(TreeError::Part { dir: root.to_owned(), tree: tree.to_owned() });
    }
    match tree_is_locked(root) {
        Some(pid) => Err(TreeError::Locked { dir: root.to_owned(), pid }),
        None => Ok(()),
    }
}

/// One name in a directory, directories left out.
struct Entry {
    name: OsString,
    kind: Kind,
}

enum Kind {
    /// A regular file `*.rrd`.
    Rrd,
    /// A FIFO, socket or device `*.rrd`.
    Special,
    /// A new file that a daemon of this process id had begun.
    Leftover(u32),
    Link,
    Other,
}

/// Calls `visit` with each directory and what is in it, by name, subdirectories after their parent. What cannot be read is
/// given as the error. Directories that vanish meanwhile are left out; so are in the root itself names of the daemon's own.
fn walk(root: &Path, mut visit: impl FnMut(&Path, io::Result<Vec<Entry>>) -> io::Result<()>) -> io::Result<()> {
    let mut todo = vec![root.to_owned()];
    while let Some(dir) = todo.pop() {
        let mut below = Vec::new();
        match read(&dir, dir == root, &mut below) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            other => visit(&dir, other)?,
        }
        below.sort_unstable();
        todo.extend(below.into_iter().rev().map(|name| dir.join(name)));
    }
    Ok(())
}

fn read(dir: &Path, is_root: bool, below: &mut Vec<OsString>) -> io::Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let (name, kind) = (entry.file_name(), entry.file_type()?);
        let leftover = leftover(&name).filter(|_| kind.is_file());
        if is_root && leftover.is_none() && name.as_bytes().starts_with(OWN_PREFIX.as_bytes()) {
            continue;
        }
        let rrd = name.as_bytes().ends_with(b".rrd");
        let kind = match leftover {
            Some(pid) => Kind::Leftover(pid),
            None if kind.is_dir() => {
                below.push(name);
                continue;
            }
            None if kind.is_symlink() => Kind::Link,
            None if rrd && kind.is_file() => Kind::Rrd,
            None if rrd => Kind::Special,
            None => Kind::Other,
        };
        entries.push(Entry { name, kind });
    }
    entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    Ok(entries)
}

/// The process id in `.gmetad-rrd-PID-HASH.new`.
fn leftover(name: &OsStr) -> Option<u32> {
    let (pid, hash) = name.to_str()?.strip_prefix(".gmetad-rrd-")?.strip_suffix(".new")?.split_once('-')?;
    hash.bytes().all(|b| b.is_ascii_hexdigit()).then_some(())?;
    pid.parse().ok()
}

/// A path for a line of text.
fn shown(path: &Path) -> String {
    let mut out = String::new();
    for c in path.to_string_lossy().chars() {
        // Writing to a String does not fail.
        let _ = if c.is_control() { write!(out, "{}", c.escape_debug()) } else { write!(out, "{c}") };
    }
    out
}

/// `2026-01-31`.
fn date(seconds: i64) -> String {
    // Years begin in March here, so that the leap day is the last of one.
    let days = seconds.div_euclid(86_400) + 719_468;
    let era = days.div_euclid(146_097);
    let day = days.rem_euclid(146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let (year, day) = (year + era * 400 + i64::from(month >= 10), day - (153 * month + 2) / 5 + 1);
    format!("{year:04}-{:02}-{day:02}", if month < 10 { month + 3 } else { month - 9 })
}

/// `2026-01-31 23:59:59 UTC`.
fn moment(seconds: i64) -> String {
    let of_day = seconds.rem_euclid(86_400);
    format!("{} {:02}:{:02}:{:02} UTC", date(seconds), of_day / 3600, of_day / 60 % 60, of_day % 60)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn dates() {
        for (seconds, text) in [
            (0, "1970-01-01 00:00:00 UTC"),
            (951_782_399, "2000-02-28 23:59:59 UTC"),
            (951_782_400, "2000-02-29 00:00:00 UTC"),
            (1_767_225_599, "2025-12-31 23:59:59 UTC"),
            (4_107_542_400, "2100-03-01 00:00:00 UTC"),
        ] {
            assert_eq!(moment(seconds), text);
        }
    }

    #[test]
    fn leftovers_are_known_by_their_names() {
        let of = |name: &str| leftover(OsStr::new(name));
        assert_eq!(of(".gmetad-rrd-123-00000000deadbeef.new"), Some(123));
        for name in [".gmetad-rrd-1.new", ".gmetad-rrd--1-2.new", ".gmetad-rrd-1-x.new", "a.new", ".gmetad-rrd-1-2.rrd"]
        {
            assert_eq!(of(name), None, "{name}");
        }
    }

    proptest! {
        #[test]
        fn ages(number in 1u64..5000, unit in prop::sample::select(vec![("s", 1), ("m", 60), ("h", 3600), ("", 86_400), ("d", 86_400), ("w", 604_800), ("y", 31_536_000)])) {
            prop_assert_eq!(parse_age(&format!("{number}{}", unit.0)), Ok(number * unit.1));
        }

        #[test]
        fn any_text_is_an_age_or_refused(text in "\\PC{0,10}|[0-9]{0,25}[smhdwyM]{0,2}|[-+ ]?[0-9]{1,3} ?d?") {
            let good = text.trim_end_matches(['s', 'm', 'h', 'd', 'w', 'y']);
            let shape = text.len() - good.len() <= 1 && !good.is_empty() && good.bytes().all(|b| b.is_ascii_digit());
            match parse_age(&text) {
                Ok(seconds) => prop_assert!(shape && seconds > 0),
                Err(e) => prop_assert!(!shape || good.len() > 8 || good.bytes().all(|b| b == b'0'), "{}", e),
            }
        }
    }
}
