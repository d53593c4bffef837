//! What is broken in a tree.

use std::collections::HashMap;
use std::io::{self, Write};
use std::path::Path;

use super::aside::Aside;
use super::{Kind, TreeError, may_change, moment, root, shown, walk};
use crate::error::RrdError;
use crate::format::FormatError;
use crate::schema::Schema;
use crate::view::View;

/// Clocks may differ by so many seconds before a last update is in the future.
const CLOCKS: i64 = 300;
/// Layouts told one by one.
const LAYOUTS: usize = 20;
/// Layouts counted one by one.
const MOST_LAYOUTS: usize = 1000;

/// How to check.
#[derive(Debug, Clone, Copy)]
pub struct Fsck {
    /// Moves what is broken to `DIR/.gmetad/broken/`, where it keeps its relative path. What only needs another program
    /// (versions, archives of librrd alone) or another clock stays.
    pub repair: bool,
    /// Seconds since 1970.
    pub now: i64,
}

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FsckReport {
    /// RRD files, broken ones too.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Problems, those that were moved too.
    pub problems: u64,
    /// Files moved aside.
    pub moved: u64,
    /// Files and directories that could not be read, or not be moved.
    pub failed: u64,
    /// Files that are no RRD files; nothing is known of them.
    pub others: u64,
    /// Symbolic links, not followed.
    pub links: u64,
    /// Oldest and newest last update of good files, in seconds since 1970.
    pub updates: Option<(i64, i64)>,
    /// Each kind of layout in words, and how many files have it; the most usual first.
    pub layouts: Vec<(String, u64)>,
}

impl FsckReport {
    /// The exit status: 0 all is well, or was repaired; 1 problems are left; 2 something could not be looked at or moved.
    pub fn status(&self) -> u8 {
        if self.failed > 0 { 2 } else { u8::from(self.problems > self.moved) }
    }
}

struct Check<'a, W: Write> {
    options: Fsck,
    aside: Aside<'a>,
    out: W,
    report: FsckReport,
    layouts: HashMap<String, u64>,
}

/// Reads the header of every file and writes a line for each problem, `PATH: what: remedy`, then a summary. Without
/// [`Fsck::repair`] nothing is changed and a daemon may be at work.
///
/// # Errors
/// [`TreeError`] when nothing or not everything was looked at; files that cannot be read are part of the report.
pub fn fsck(dir: &Path, options: Fsck, out: impl Write) -> Result<FsckReport, TreeError> {
    let root = root(dir)?;
    if options.repair {
        may_change(&root)?;
    }
    let aside = Aside::new(&root, &["broken"]);
    let mut check = Check { options, aside, out, report: FsckReport::default(), layouts: HashMap::new() };
    walk(&root, |dir, entries| {
        let entries = match entries {
            Ok(entries) => entries,
            Err(e) => return check.failed(dir, "cannot be read", &e),
        };
        for entry in entries {
            let path = dir.join(&entry.name);
            match entry.kind {
                Kind::Rrd => check.file(&path)?,
                Kind::Special => check.problem(&path, "not a regular file: move it away", true)?,
                Kind::Leftover(pid) if Path::new("/proc").join(pid.to_string()).exists() => {} // may be at it
                Kind::Leftover(pid) => {
                    let what = format!("left by process {pid}, which was killed while it made a file: move it away");
                    check.problem(&path, &what, true)?;
                }
                Kind::Link => check.report.links += 1,
                Kind::Other => check.report.others += 1,
            }
        }
        Ok(())
    })?;
    check.summary()?;
    Ok(check.report)
}

impl<W: Write> Check<'_, W> {
    fn file(&mut self, path: &Path) -> io::Result<()> {
        let size = path.symlink_metadata().map_or(0, |metadata| metadata.len());
        let (what, broken) = match View::open(path) {
            Ok(view) => {
                let last = view.last();
                let (oldest, newest) = self.report.updates.unwrap_or((last, last));
                self.report.updates = Some((oldest.min(last), newest.max(last)));
                self.count(view.layout().schema());
                if last <= self.options.now.saturating_add(CLOCKS) {
                    (None, false)
                } else {
                    let what = format!("last update in the future, {}", moment(last));
                    (
                        Some(format!(
                            "{what}: look at the clocks; until then no value is taken, unless it is moved away"
                        )),
                        false,
                    )
                }
            }
            Err(RrdError::Missing { .. }) if !path.exists() => return Ok(()), // gone meanwhile
            Err(RrdError::Missing { .. }) => (Some("empty: move it away, it will be made anew".to_owned()), true),
            Err(RrdError::Format { source, .. }) => (Some(source.to_string()), is_broken(&source)),
            Err(RrdError::Io { source, .. }) => {
                self.report.files += 1;
                return self.failed(path, "cannot be read", &source);
            }
            Err(other) => (Some(other.to_string()), false),
        };
        self.report.files += 1;
        self.report.bytes += size;
        what.map_or(Ok(()), |what| self.problem(path, &what, broken))
    }

    fn problem(&mut self, path: &Path, what: &str, broken: bool) -> io::Result<()> {
        self.report.problems += 1;
        if !(self.options.repair && broken) {
            return writeln!(self.out, "{}: {what}", shown(path));
        }
        match self.aside.take(path) {
            Ok(target) => {
                self.report.moved += 1;
                writeln!(self.out, "{}: {what}; moved to {}", shown(path), shown(&target))
            }
            Err(e) => {
                writeln!(self.out, "{}: {what}", shown(path))?;
                self.failed(path, "cannot be moved", &e)
            }
        }
    }

    fn failed(&mut self, path: &Path, what: &str, e: &io::Error) -> io::Result<()> {
        self.report.failed += 1;
        writeln!(self.out, "{}: {what}: {e}", shown(path))
    }

    fn count(&mut self, schema: &Schema) {
        let words = words(schema);
        if self.layouts.len() < MOST_LAYOUTS || self.layouts.contains_key(&words) {
            *self.layouts.entry(words).or_default() += 1;
        } else {
            *self.layouts.entry("other layouts".to_owned()).or_default() += 1;
        }
    }

    fn summary(&mut self) -> io::Result<()> {
        let Self { report, out, layouts, .. } = self;
        report.layouts = layouts.drain().collect();
        report.layouts.sort_unstable_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        let FsckReport { files, bytes, problems, moved, failed, others, links, .. } = report;
        writeln!(out, "{files} RRD files, {bytes} bytes; {others} other files, {links} links not followed")?;
        if let Some((oldest, newest)) = report.updates {
            writeln!(out, "last updates from {} to {}", moment(oldest), moment(newest))?;
        }
        for (words, count) in report.layouts.iter().take(LAYOUTS) {
            writeln!(out, "{count} with {words}")?;
        }
        if let Some(more) = report.layouts.len().checked_sub(LAYOUTS).filter(|&more| more > 0) {
            writeln!(out, "and {more} rarer layouts")?;
        }
        writeln!(out, "{problems} problems, {moved} files moved aside, {failed} failures")
    }
}

/// Whether moving it away is the best that can be done: no other program makes sense of it.
fn is_broken(error: &FormatError) -> bool {
    use FormatError::{Architecture, Cf, Damaged, DsKind, NotRrd, Schema, Truncated, Version, Word};
    match error {
        NotRrd | Truncated { .. } | Word { .. } | Damaged { .. } | Schema(_) => true,
        Version(_) | Architecture | DsKind { .. } | Cf { .. } => false,
    }
}

fn words(schema: &Schema) -> String {
    let mut words = format!("step {} s", schema.step);
    for ds in &schema.ds {
        words += &format!(", {} {} {} s", shown(Path::new(&ds.name)), ds.kind.name(), ds.heartbeat);
    }
    for rra in &schema.rras {
        words += &format!(" {rra}");
    }
    words
}
