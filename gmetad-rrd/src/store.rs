//! What writers of RRD files have in common: handles, and the operations of [`Backend`].

use std::path::{Path, PathBuf};

use crate::error::RrdError;
use crate::schema::Schema;
use crate::value::Point;

/// Handle of one file in one store. Cheap to copy and keep; valid until [`Backend::close`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileId(u32);

/// A way to write RRD files. One thread uses one store; to write with several, give each its own store and its own files.
pub trait Backend: Send {
    /// A handle for a path. Nothing is opened or looked up yet, so it cannot fail.
    fn open(&mut self, path: PathBuf) -> FileId;

    /// Gives the handle back, and with it the memory and the descriptor kept for it.
    fn close(&mut self, file: FileId);

    /// Makes the file, and the directories above it, with `start` (seconds since 1970) as its last update.
    /// An existing file is replaced.
    ///
    /// # Errors
    /// [`RrdError`]; then nothing is left behind but directories.
    fn create(&mut self, file: FileId, schema: &Schema, start: i64) -> Result<(), RrdError>;

    /// Takes the points, in order of time, into the file. A refused point costs only itself.
    ///
    /// # Errors
    /// [`RrdError::Missing`] when there is no file; [`RrdError::Refused`] or [`RrdError::Librrd`] when points were refused,
    /// the others having been taken; any other means that points may be missing from the file.
    fn update(&mut self, file: FileId, points: &[Point<'_>]) -> Result<(), RrdError>;

    /// Updates the file, making it first if it is missing: from one second before the first point, as gmetad does.
    ///
    /// # Errors
    /// As [`Backend::create`] and [`Backend::update`].
    fn write(&mut self, file: FileId, schema: &Schema, points: &[Point<'_>]) -> Result<(), RrdError> {
        match self.update(file, points) {
            Err(RrdError::Missing { path }) => {
                let Some(first) = points.first() else { return Err(RrdError::Missing { path }) };
                self.create(file, schema, first.time.saturating_sub(1))?;
                self.update(file, points)
            }
            other => other,
        }
    }
}

/// Paths by handle; freed places are used again.
#[derive(Debug, Default)]
pub(crate) struct Handles<T> {
    files: Vec<Option<(Box<Path>, T)>>,
    free: Vec<u32>,
}

impl<T> Handles<T> {
    pub(crate) fn add(&mut self, path: PathBuf, extra: T) -> FileId {
        let entry = Some((path.into_boxed_path(), extra));
        match self.free.pop() {
            Some(id) => {
                self.files[id as usize] = entry;
                FileId(id)
            }
            None => {
                self.files.push(entry);
                FileId((self.files.len() - 1) as u32)
            }
        }
    }

    pub(crate) fn remove(&mut self, file: FileId) -> Option<T> {
        let (_, extra) = self.files.get_mut(file.0 as usize)?.take()?;
        self.free.push(file.0);
        Some(extra)
    }

    pub(crate) fn get(&mut self, file: FileId) -> Result<(&Path, &mut T), RrdError> {
        match self.files.get_mut(file.0 as usize) {
            Some(Some((path, extra))) => Ok((path, extra)),
            _ => Err(RrdError::Handle(file)),
        }
    }
}
