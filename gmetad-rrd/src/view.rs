//! One RRD file as it would be with the points that still wait for it: what pages and the socket read.
//!
//! A reader takes no lock, so it meets updates half done; a writer locks the file, writes rows, then the header, and gives
//! the lock back. What is promised all the same:
//!
//! - **Header**: it is read twice, with a look in between whether somebody holds the lock, until both are the same and nobody
//!   does. So it is that of one moment between two updates.
//! - **Rows** come later, from the file that was opened then, even if another has its name now. What updates have overwritten
//!   since are the oldest rows, which have left the archive: once the lock is free again the time of the last update tells
//!   which, and they are given as unknown. No other row changes.
//! - If the file stays locked for [`TRIES`] looks (about 10 ms: a stopped writer, a `rrdtool` at work), what was read last counts;
//!   then a header may be half new, and the oldest rows may hold the values of the newest.
//!
//! Writers that do not lock, or copy another content over the file, are not guarded against: values may be wrong then.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use nix::libc;

use crate::error::RrdError;
use crate::fetch::{self, Fetched, Span};
use crate::files::locked_by_other;
use crate::format::{self, FormatError, HEAD, Layout, NAN, State, push_f64};
use crate::info;
use crate::path;
use crate::schema::{Cf, Schema};
use crate::update::{self, Rows};
use crate::value::{Point, last_text};

/// How often a file that is being written is looked at again.
pub const TRIES: u32 = 10;

/// Read first, in bytes: the header of any usual file in one call.
const FIRST_READ: usize = 4096;

/// A file and its points, as of one moment: header now, rows on demand.
#[derive(Debug)]
pub struct View {
    path: PathBuf,
    /// `None`: there is none yet, every row that is not in `pending` is unknown.
    file: Option<File>,
    layout: Layout,
    /// With the points.
    state: State,
    /// Last update and current rows in the file.
    base: (i64, Vec<u64>),
    pending: Pending,
}

/// Rows that the points complete.
#[derive(Debug, Default)]
struct Pending {
    /// Offset in the file -> where the row begins in `bytes`.
    rows: HashMap<u64, usize>,
    bytes: Vec<u8>,
}

impl View {
    /// The file alone.
    ///
    /// # Errors
    /// [`RrdError::Missing`] (also for an empty file), [`RrdError::Io`] or [`RrdError::Format`].
    pub fn open(path: &Path) -> Result<Self, RrdError> {
        let file = open(path)?;
        let (layout, state) = read_header(path, &file)?;
        Ok(Self::of(path, Some(file), layout, state))
    }

    /// The file with points, in order of time, that are not in it yet. Those that are, or that an update would refuse, are
    /// left out silently. If there is no file, the one that a [`crate::NativeStore`] would make of `schema_if_missing`, which
    /// begins one second before the first point.
    ///
    /// Takes memory for the rows that the points complete, at most those of the file.
    ///
    /// # Errors
    /// As [`View::open`]; [`RrdError::Missing`] when there are no points or no schema to make it of; [`RrdError::Schema`].
    pub fn with_points(
        path: &Path,
        schema_if_missing: Option<&Schema>,
        points: &[Point<'_>],
    ) -> Result<Self, RrdError> {
        let mut view = match (Self::open(path), schema_if_missing, points.first()) {
            (Err(RrdError::Missing { .. }), Some(schema), Some(first)) => {
                let layout = Layout::new(schema.clone()).map_err(|e| RrdError::schema(path, e))?;
                let state = layout.fresh(first.time.saturating_sub(1), path::seed(path));
                Self::of(path, None, layout, state)
            }
            (other, _, _) => other?,
        };
        let mut rows = Rows::default();
        for &point in points {
            if update::apply(&view.layout, &mut view.state, point, &mut rows).is_ok() {
                view.pending.take(&mut rows, view.layout.row_size());
            }
        }
        Ok(view)
    }

    fn of(path: &Path, file: Option<File>, layout: Layout, state: State) -> Self {
        let base = (state.last_update, state.cur_row.clone());
        Self { path: path.to_owned(), file, layout, state, base, pending: Pending::default() }
    }

    /// Step, data sources and archives.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The changing part of the header, with the points.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Seconds since 1970 of the last update.
    pub fn last(&self) -> i64 {
        self.state.last_update
    }

    /// Seconds since 1970 of the oldest row of an archive, known or not, as `rrdtool first --rraindex`. `None`: no such archive.
    pub fn first(&self, archive: usize) -> Option<i64> {
        let span = self.span(archive)?;
        Some(span.oldest.saturating_add(span.step))
    }

    /// Names of the data sources and the texts of their last values, which `rrdtool lastupdate` prints after [`View::last`].
    pub fn last_values(&self) -> impl Iterator<Item = (&str, Cow<'_, str>)> {
        let texts = self.state.pdp.iter().map(|pdp| String::from_utf8_lossy(last_text(&pdp.last_ds)));
        self.layout.schema().ds.iter().map(|ds| ds.name.as_str()).zip(texts)
    }

    /// What `rrdtool info NAME` prints, byte for byte.
    pub fn info_text(&self, name: &str) -> String {
        info::text(name, &self.layout, &self.state)
    }

    /// Reads the archive that `rrdtool fetch CF --start --end --resolution` chooses: among those of that CF, and those of one PDP
    /// a row, which serve every CF, the one nearest to `resolution` (seconds a row) of those that reach back to `start`; else
    /// the one that reaches back the longest. `start` and `end` are seconds since 1970.
    ///
    /// `Ok(None)`: no archive serves that CF, or see [`View::fetch_archive`].
    ///
    /// # Errors
    /// [`RrdError::Io`] if the file cannot be read.
    pub fn fetch(&self, cf: Cf, start: i64, end: i64, resolution: u64) -> Result<Option<Fetched>, RrdError> {
        let schema = self.layout.schema();
        let start = start.max(0);
        let away = |span: &Span| span.step.abs_diff(i64::try_from(resolution.max(1)).unwrap_or(i64::MAX));
        let candidates = || {
            let fits = schema.rras.iter().enumerate().filter(move |(_, rra)| rra.cf == cf || rra.steps == 1);
            fits.filter_map(|(index, _)| Some((index, self.span(index)?)))
        };
        let chosen = candidates()
            .filter(|(_, span)| span.oldest <= start)
            .min_by_key(|(_, span)| away(span))
            .or_else(|| candidates().min_by_key(|(_, span)| (span.oldest, away(span))));
        match chosen {
            Some((index, _)) => self.fetch_archive(index, start, end),
            None => Ok(None),
        }
    }

    /// Reads one archive from the row that `start` is in to the row that `end` is in, of any CF. Rows beyond its ends are
    /// unknown.
    ///
    /// `Ok(None)`: no such archive, `end` is before `start` or after the year 10000, or the answer would be over
    /// [`fetch::MAX_VALUES`].
    ///
    /// # Errors
    /// [`RrdError::Io`] if the file cannot be read.
    pub fn fetch_archive(&self, archive: usize, start: i64, end: i64) -> Result<Option<Fetched>, RrdError> {
        let (start, end) = (start.max(0), end.max(0));
        let Some(span) = self.span(archive) else { return Ok(None) };
        if end < start || end > 253_402_300_800 {
            return Ok(None);
        }
        let step = span.step;
        let (first, last) = (start - start % step, end - end % step + step);
        let ds = self.layout.schema().ds.len();
        let count = ((last - first) / step).cast_unsigned();
        if count.saturating_mul(ds as u64) > fetch::MAX_VALUES {
            return Ok(None);
        }
        // What of it is in the archive: from one step before the first row to the last.
        let (from, to) = (first.max(span.oldest), last.min(span.newest));
        let mut values = Vec::with_capacity(count as usize * ds);
        if from < to {
            values.resize((from - first).cast_unsigned() as usize / step as usize * ds, f64::NAN);
            let newest_age = ((span.newest - to) / step).cast_unsigned();
            self.rows(archive, newest_age, ((to - from) / step).cast_unsigned(), &mut values)?;
        }
        values.resize(count as usize * ds, f64::NAN);
        let names = self.layout.schema().ds.iter().map(|ds| ds.name.clone()).collect();
        Ok(Some(Fetched { start: first, end: last, step: step.cast_unsigned(), names, values }))
    }

    fn span(&self, archive: usize) -> Option<Span> {
        self.layout.schema().rras.get(archive).map(|rra| Span::of(self.layout.schema().step, rra, self.last()))
    }

    /// Appends `count` rows of an archive in order of time; `newest_age` says how many rows the last of them is behind the
    /// newest.
    fn rows(&self, archive: usize, newest_age: u64, count: u64, values: &mut Vec<f64>) -> Result<(), RrdError> {
        let in_archive = self.layout.schema().rras[archive].rows;
        let row_size = self.layout.row_size();
        // The rows are a ring: they lie in one piece, or in two.
        let begin = (self.state.cur_row[archive] + 2 * in_archive + 1 - newest_age - count) % in_archive;
        let places = |i: u64| (begin + i) % in_archive;
        let mut bytes = Vec::with_capacity(count as usize * row_size);
        let overwritten = match &self.file {
            None => {
                (0..count as usize * row_size / 8).for_each(|_| push_f64(&mut bytes, NAN));
                0
            }
            Some(file) => {
                bytes.resize(count as usize * row_size, 0);
                let (one, two) = bytes.split_at_mut((in_archive - begin).min(count) as usize * row_size);
                file.read_exact_at(one, self.layout.row_offset(archive, begin))
                    .and_then(|()| file.read_exact_at(two, self.layout.row_offset(archive, 0)))
                    .and_then(|()| self.overwritten_since(file, archive))
                    .map_err(|e| RrdError::io("read", &self.path, e))?
            }
        };
        let next = self.base.1[archive] + 1;
        for (i, row) in (0..).zip(bytes.chunks_exact(row_size)) {
            let place = places(i);
            match self.pending.row(self.layout.row_offset(archive, place), row_size) {
                Some(row) => fetch::push_row(row, values),
                None if (place + in_archive - next % in_archive) % in_archive < overwritten => {
                    values.extend(row.chunks_exact(8).map(|_| f64::NAN));
                }
                None => fetch::push_row(row, values),
            }
        }
        Ok(())
    }

    /// How many rows of an archive updates have written since the header was read.
    fn overwritten_since(&self, file: &File, archive: usize) -> io::Result<u64> {
        for turn in 0..TRIES {
            if !locked_by_other(file) {
                break;
            }
            pause(turn);
        }
        let mut last = [0; 8];
        file.read_exact_at(&mut last, self.layout.state_start() as u64)?;
        let (schema, last) = (self.layout.schema(), i64::from_le_bytes(last));
        let newest = |last| Span::of(schema.step, &schema.rras[archive], last).newest;
        let step = (schema.step * schema.rras[archive].steps).cast_signed();
        Ok(u64::try_from(newest(last).saturating_sub(newest(self.base.0)) / step).unwrap_or(0))
    }
}

impl Pending {
    fn take(&mut self, rows: &mut Rows, row_size: usize) {
        let Ok(()) = rows.runs(|offset, run| {
            for (i, row) in (0..).zip(run.chunks_exact(row_size)) {
                let end = self.bytes.len();
                let at = *self.rows.entry(offset + i * row_size as u64).or_insert(end);
                if at == end {
                    self.bytes.extend_from_slice(row);
                } else {
                    self.bytes[at..at + row_size].copy_from_slice(row);
                }
            }
            Ok::<(), std::convert::Infallible>(())
        });
        rows.clear();
    }

    fn row(&self, offset: u64, row_size: usize) -> Option<&[u8]> {
        self.rows.get(&offset).map(|&at| &self.bytes[at..at + row_size])
    }
}

/// Opens for reading what is a regular file, without waiting for the other end of a FIFO.
fn open(path: &Path) -> Result<File, RrdError> {
    let open = |flags| OpenOptions::new().read(true).custom_flags(flags).open(path);
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
    // Our own reading does not count as somebody's.
    let file = match open(flags | libc::O_NOATIME) {
        Err(e) if e.raw_os_error() == Some(libc::EPERM) => open(flags),
        other => other,
    };
    file.map_err(|e| RrdError::io("open", path, e))
}

fn read_header(path: &Path, file: &File) -> Result<(Layout, State), RrdError> {
    let wrong = |e| RrdError::format(path, e);
    let metadata = file.metadata().map_err(|e| RrdError::io("stat", path, e))?;
    if !metadata.is_file() {
        return Err(RrdError::io("read", path, io::Error::new(io::ErrorKind::InvalidInput, "not a regular file")));
    }
    let read = |buffer: &mut Vec<u8>, size: usize| {
        buffer.resize(size, 0);
        let got = read_at(file, buffer).map_err(|e| RrdError::io("read", path, e))?;
        buffer.truncate(got);
        Ok(())
    };
    let mut bytes = Vec::new();
    read(&mut bytes, FIRST_READ)?;
    if bytes.is_empty() {
        return Err(RrdError::Missing { path: path.to_owned() });
    }
    let size = format::header_size(&bytes[..bytes.len().min(HEAD)]).map_err(wrong)?;
    if bytes.len() < size {
        read(&mut bytes, size)?;
    }
    bytes.truncate(size);
    let mut again = Vec::new();
    for turn in 0..TRIES {
        let busy = locked_by_other(file);
        read(&mut again, size)?;
        if again == bytes && !busy {
            break;
        }
        std::mem::swap(&mut bytes, &mut again);
        pause(turn);
    }
    if bytes.len() < size {
        return Err(wrong(FormatError::Truncated { have: bytes.len() as u64, need: size as u64 }));
    }
    format::parse(&bytes, metadata.len()).map_err(wrong)
}

/// Reads from the start; fewer bytes only at the end of the file.
fn read_at(file: &File, buffer: &mut [u8]) -> io::Result<usize> {
    let mut done = 0;
    while done < buffer.len() {
        match file.read_at(&mut buffer[done..], done as u64) {
            Ok(0) => break,
            Ok(n) => done += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(done)
}

/// An update takes some 10 µs; whoever needs longer is waited for a little.
fn pause(turn: u32) {
    if turn < 2 { thread::yield_now() } else { thread::sleep(Duration::from_millis(1)) }
}
