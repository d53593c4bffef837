//! What a store of RRD files offers to those who read through it: [`Cached`].

use std::path::Path;

use crate::error::RrdError;
use crate::view::View;

/// Files and the points that wait for them. Paths are absolute, or relative to the root of the tree.
pub trait Cached: Send + Sync {
    /// Writes the points that wait for this file; returns when they are in it. A file without any is no error.
    ///
    /// # Errors
    /// [`RrdError::Outside`] for a path that is not below the root, [`RrdError::Missing`] when neither file nor points exist,
    /// else what the write said.
    fn flush(&self, path: &Path) -> Result<(), RrdError>;

    /// Begins to write all points that wait for any file; does not wait for the end.
    fn flush_all(&self);

    /// The points that wait for this file, in order of time, as `TIME:VALUE[:VALUE...]`.
    ///
    /// # Errors
    /// As [`Cached::flush`].
    fn pending(&self, path: &Path) -> Result<Vec<String>, RrdError>;

    /// Takes updates written `TIME:VALUE[:VALUE...]` (TIME may be `N`, now) for an existing file, in order.
    /// Returns how many were taken.
    ///
    /// # Errors
    /// As [`Cached::flush`]; [`RrdError::Refused`] for the first update that is none or not newer, those before it are taken.
    fn update(&self, path: &Path, updates: &[&str]) -> Result<usize, RrdError>;

    /// The file with its points, for info, first, last and fetch.
    ///
    /// # Errors
    /// As [`Cached::flush`], and [`RrdError::Format`].
    fn view(&self, path: &Path) -> Result<View, RrdError>;

    /// Counters by the names rrdcached's STATS has, and others of our own.
    fn counters(&self) -> Vec<(&'static str, u64)>;
}
