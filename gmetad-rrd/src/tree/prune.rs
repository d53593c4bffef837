//! What nobody writes any more in a tree.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::aside::Aside;
use super::{Entry, Kind, TreeError, date, may_change, root, shown, tree_is_locked, walk};
use crate::view::View;

/// What to prune.
#[derive(Debug, Clone, Copy)]
pub struct Prune {
    /// Seconds since the last update that the file's header tells; its modification time does not count.
    pub older_than: u64,
    /// Moves the files to `DIR/.gmetad/pruned/DATE/`, where they keep their relative path, and removes directories that this
    /// leaves empty. Else they are only listed.
    pub move_files: bool,
    /// Seconds since 1970.
    pub now: i64,
}

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PruneReport {
    /// RRD files.
    pub files: u64,
    /// Those that are old.
    pub old: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Files moved.
    pub moved: u64,
    /// Files and directories that could not be read, or not be moved.
    pub failed: u64,
}

impl PruneReport {
    /// The exit status: 0 done, 1 something could not be read or moved.
    pub fn status(&self) -> u8 {
        u8::from(self.failed > 0)
    }
}

struct Old {
    path: PathBuf,
    age: u64,
    size: u64,
}

/// Lists old files, one a line with age and size, and directories all of whose RRD files are old in one line; moves them if
/// told so. Files that are no RRD files or broken are left alone.
///
/// # Errors
/// [`TreeError`]; [`TreeError::Empty`] if there is no RRD file at all: it is the wrong directory.
pub fn prune(dir: &Path, options: Prune, mut out: impl Write) -> Result<PruneReport, TreeError> {
    let root = root(dir)?;
    if options.move_files {
        may_change(&root)?;
    } else if let Some(pid) = tree_is_locked(&root) {
        writeln!(out, "warning: gmetad ({pid}) is running: it may hold newer values of some files")?;
    }
    let aside = Aside::new(&root, &["pruned", &date(options.now)]);
    let mut report = PruneReport::default();
    walk(&root, |dir, entries| match entries {
        Ok(entries) => directory(dir, entries, options, &aside, &mut report, &mut out),
        Err(e) => failed(&mut report, &mut out, dir, "cannot be read", &e),
    })?;
    if report.files == 0 && report.failed == 0 {
        return Err(TreeError::Empty(root));
    }
    let PruneReport { files, old, bytes, moved, .. } = report;
    let (days, place) = (days(options.older_than), shown(&root.join(&aside.place)));
    writeln!(out, "{old} of {files} files, {bytes} bytes, are older than {days} days")?;
    match options.move_files {
        true => writeln!(out, "{moved} moved to {place}")?,
        false if old > 0 => writeln!(out, "nothing was moved; --move moves them to {place}")?,
        false => {}
    }
    Ok(report)
}

fn directory(
    dir: &Path,
    entries: Vec<Entry>,
    options: Prune,
    aside: &Aside<'_>,
    report: &mut PruneReport,
    out: &mut impl Write,
) -> io::Result<()> {
    let mut files = 0;
    let mut old = Vec::new();
    for entry in entries.into_iter().filter(|entry| matches!(entry.kind, Kind::Rrd)) {
        let path = dir.join(entry.name);
        files += 1;
        match View::open(&path) {
            Ok(view) => {
                let age = u64::try_from(options.now.saturating_sub(view.last())).unwrap_or(0);
                if age > options.older_than {
                    let size = path.symlink_metadata().map_or(0, |metadata| metadata.len());
                    old.push(Old { path, age, size });
                }
            }
            Err(crate::RrdError::Io { source, .. }) => failed(report, out, &path, "cannot be read", &source)?,
            Err(_) => {} // what fsck tells
        }
    }
    report.files += files;
    report.old += old.len() as u64;
    let bytes: u64 = old.iter().map(|file| file.size).sum();
    report.bytes += bytes;
    match old.iter().map(|file| file.age).min() {
        Some(newest) if old.len() as u64 == files => {
            let newest = days(newest);
            writeln!(out, "{}/: all {files} files, the newest {newest} days old, {bytes} bytes", shown(dir))?;
        }
        _ => {
            for Old { path, age, size } in &old {
                writeln!(out, "{}: {} days old, {size} bytes", shown(path), days(*age))?;
            }
        }
    }
    if !options.move_files || old.is_empty() {
        return Ok(());
    }
    for file in &old {
        match aside.take(&file.path) {
            Ok(_) => report.moved += 1,
            Err(e) => failed(report, out, &file.path, "cannot be moved", &e)?,
        }
    }
    // One that is not empty refuses.
    let _ = dir.ancestors().take_while(|dir| *dir != aside.root).try_for_each(fs::remove_dir);
    Ok(())
}

fn failed(report: &mut PruneReport, out: &mut impl Write, path: &Path, what: &str, e: &io::Error) -> io::Result<()> {
    report.failed += 1;
    writeln!(out, "{}: {what}: {e}", shown(path))
}

fn days(seconds: u64) -> String {
    format!("{:.1}", seconds as f64 / 86_400.0)
}
