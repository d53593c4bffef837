//! One RRD file as it would be with the points that still wait for it: what pages and the socket read.

use std::path::{Path, PathBuf};

use crate::error::RrdError;
use crate::fetch::{self, Fetched};
use crate::format::{Layout, State};
use crate::info;
use crate::schema::Cf;

/// A file, read once: header now, rows on demand.
#[derive(Debug)]
pub struct View {
    path: PathBuf,
    layout: Layout,
    state: State,
}

impl View {
    /// Reads the header of the file.
    ///
    /// # Errors
    /// [`RrdError::Missing`], [`RrdError::Io`] or [`RrdError::Format`].
    pub fn open(path: &Path) -> Result<Self, RrdError> {
        let (layout, state) = info::header(path)?;
        Ok(Self { path: path.to_owned(), layout, state })
    }

    /// Step, data sources and archives.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The changing part of the header.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Seconds since 1970 of the last update.
    pub fn last(&self) -> i64 {
        self.state.last_update
    }

    /// See [`fetch::fetch`].
    ///
    /// # Errors
    /// [`RrdError`] if the file cannot be read.
    pub fn fetch(&self, cf: Cf, start: i64, end: i64, resolution: u64) -> Result<Option<Fetched>, RrdError> {
        fetch::fetch(&self.path, cf, start, end, resolution)
    }
}
