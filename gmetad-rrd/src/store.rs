//! What writers of RRD files have in common.

use std::path::Path;

use crate::error::RrdError;
use crate::schema::Schema;
use crate::value::Point;

/// One file, and points for it.
#[derive(Debug, Clone, Copy)]
pub struct Job<'a> {
    /// The file.
    pub path: &'a Path,
    /// What to make it of if it is missing.
    pub schema: &'a Schema,
    /// The points, in order of time.
    pub points: &'a [Point<'a>],
    /// Whether the file is written again soon, so that it is worth to keep it open.
    pub hot: bool,
    /// Whether a missing file is to be made.
    pub create: bool,
}

/// What became of a job that did not fail.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Written {
    /// The file was made.
    pub made: bool,
    /// Somebody has read the file since it was last written, as far as that is known.
    pub read: bool,
}

/// A way to write RRD files. One thread uses one of them; with several, no file may be written by two at the same time.
pub trait Backend: Send {
    /// Makes the file, and the directories above it, with `start` (seconds since 1970) as its last update.
    /// An existing file is replaced.
    ///
    /// # Errors
    /// [`RrdError`]; then nothing is left behind but directories.
    fn create(&mut self, path: &Path, schema: &Schema, start: i64) -> Result<(), RrdError>;

    /// Takes the points, in order of time, into the file. A refused point costs only itself.
    ///
    /// # Errors
    /// [`RrdError::Missing`] when there is no file; [`RrdError::Refused`] or [`RrdError::Librrd`] when points were refused,
    /// the others having been taken; any other means that points may be missing from the file.
    fn update(&mut self, path: &Path, points: &[Point<'_>]) -> Result<(), RrdError>;

    /// Updates many files, making first those that are missing: from one second before their first point, as gmetad does.
    /// The results come in the order of the jobs and are those of [`Backend::create`] and [`Backend::update`].
    fn write(&mut self, jobs: &[Job<'_>]) -> Vec<Result<Written, RrdError>> {
        jobs.iter().map(|job| self.write_one(job)).collect()
    }

    /// One file of [`Backend::write`].
    ///
    /// # Errors
    /// As [`Backend::create`] and [`Backend::update`].
    fn write_one(&mut self, job: &Job<'_>) -> Result<Written, RrdError> {
        match (self.update(job.path, job.points), job.points.first()) {
            (Err(RrdError::Missing { .. }), Some(first)) if job.create => {
                self.create(job.path, job.schema, first.time.saturating_sub(1))?;
                self.update(job.path, job.points)?;
                Ok(Written { made: true, read: false })
            }
            (other, _) => other.map(|()| Written::default()),
        }
    }

    /// Whether points are kept after [`Backend::write`] before they are in the file.
    fn keeps_points(&self) -> bool {
        false
    }

    /// Has such points written; returns when they are in the file.
    ///
    /// # Errors
    /// [`RrdError`] by cause.
    fn write_out(&mut self, path: &Path) -> Result<(), RrdError> {
        let _ = path;
        Ok(())
    }

    /// Gives back what is kept open.
    fn rest(&mut self) {}
}
