//! The native writer: RRD files updated in place with a few small writes.
//!
//! Nothing of a file's content is kept between two calls. Each update locks the file as librrd does, reads its header
//! (about 1000 bytes, 0.7 µs from the page cache), and writes the completed rows, then the changed part of the header. So
//! whatever an admin or another program did to a file meanwhile – removed, restored, tuned, updated by librrd – is seen, whatever
//! its inode times say, and a million files cost no memory but their paths. A kept header would save 0.6 µs of 13.
//!
//! What is kept: descriptors, up to [`Options::max_descriptors`]. Files beyond that are opened and closed at each update
//! (0.8 µs). The bytes of known layouts are kept too, at most [`MAX_LAYOUTS`], to recognise a header without parsing it.
//!
//! Locks of one process do not exclude each other (POSIX): give each file to one store only.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::Arc;

use crate::error::RrdError;
use crate::files::{Disk, Files};
use crate::format::{self, FormatError, HEAD, Layout, State};
use crate::path::hash;
use crate::schema::Schema;
use crate::store::{Backend, FileId, Handles};
use crate::update::{self, Rows, UpdateError};
use crate::value::Point;

/// Layouts remembered by a store. A tree has a handful: host and summary files for each step and type.
pub const MAX_LAYOUTS: usize = 32;

/// Read first, in bytes: the header of any usual file (two DS and ten RRAs need 3.4 kB) in one call.
const FIRST_READ: usize = 4096;

/// Bounds of a [`NativeStore`].
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Descriptors kept open. Best not less than the number of files; the process limit (`ulimit -n`) must allow it.
    pub max_descriptors: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { max_descriptors: 512 }
    }
}

/// Writes RRD files without librrd.
#[derive(Debug)]
pub struct NativeStore<F: Files = Disk> {
    files: F,
    handles: Handles<Option<File>>,
    kept: usize,
    max_kept: usize,
    layouts: Vec<Arc<Layout>>,
    rows: Rows,
    buffer: Vec<u8>,
}

impl NativeStore {
    /// A store on the real file system.
    pub fn new(options: Options) -> Self {
        Self::with_files(options, Disk)
    }
}

impl<F: Files> NativeStore<F> {
    /// A store whose file calls go through `files`.
    pub fn with_files(options: Options, files: F) -> Self {
        Self {
            files,
            handles: Handles::default(),
            kept: 0,
            max_kept: options.max_descriptors,
            layouts: Vec::new(),
            rows: Rows::default(),
            buffer: Vec::new(),
        }
    }

    /// Descriptors kept open now.
    pub fn descriptors(&self) -> usize {
        self.kept
    }
}

impl<F: Files> Backend for NativeStore<F> {
    fn open(&mut self, path: PathBuf) -> FileId {
        self.handles.add(path, None)
    }

    fn close(&mut self, file: FileId) {
        if let Some(Some(_descriptor)) = self.handles.remove(file) {
            self.kept -= 1;
        }
    }

    fn create(&mut self, file: FileId, schema: &Schema, start: i64) -> Result<(), RrdError> {
        let (path, _) = self.handles.get(file)?;
        let layout = Layout::new(schema.clone()).map_err(|e| RrdError::schema(path, e))?;
        let seed = hash(path.as_os_str().as_encoded_bytes()) as u64;
        let image = layout.image(start, seed);
        // Beside the file, so that the rename stays on one file system; no metric's file can have this name (no ".rrd").
        let aside = path.with_file_name(format!(".gmetad-rrd-{}-{seed:016x}.new", process::id()));
        let made = match self.files.write_new(&aside, &image) {
            Err(e) => again(&self.files, e, path, &aside, &image),
            Ok(()) => Ok(()),
        };
        made.inspect_err(|_| {
            let _ = self.files.remove(&aside); // the first error is the one to tell
        })?;
        self.files.rename(&aside, path).map_err(|e| {
            let _ = self.files.remove(&aside);
            RrdError::io("create", path, e)
        })
    }

    fn update(&mut self, file: FileId, points: &[Point<'_>]) -> Result<(), RrdError> {
        let Self { files, handles, kept, max_kept, layouts, rows, buffer } = self;
        let (path, place) = handles.get(file)?;
        let descriptor = match place.take() {
            Some(descriptor) => {
                *kept -= 1;
                reopened_if_replaced(files, path, descriptor)?
            }
            None => files.open(path).map_err(|e| RrdError::io("open", path, e))?,
        };
        let result = update_locked(files, path, &descriptor, layouts, rows, buffer, points);
        let keep = matches!(result, Ok(()) | Err(RrdError::Refused { .. } | RrdError::Locked { .. }));
        if keep && *kept < *max_kept {
            *place = Some(descriptor);
            *kept += 1;
        }
        result
    }
}

/// After a first failure: makes the missing directories, or removes what a killed process of our number left.
fn again<F: Files>(files: &F, error: io::Error, path: &Path, aside: &Path, image: &[u8]) -> Result<(), RrdError> {
    let create = |e| RrdError::io("create", path, e);
    match (error.kind(), path.parent()) {
        (io::ErrorKind::NotFound, Some(parent)) => {
            files.make_dirs(parent).map_err(|e| RrdError::io("make the directory of", path, e))?;
        }
        (io::ErrorKind::AlreadyExists, _) => files.remove(aside).map_err(create)?,
        _ => return Err(create(error)),
    }
    files.write_new(aside, image).map_err(create)
}

/// A kept descriptor may stand for a file that was removed or replaced since.
fn reopened_if_replaced<F: Files>(files: &F, path: &Path, kept: File) -> Result<File, RrdError> {
    let at_path = files.stat(path).map_err(|e| RrdError::io("open", path, e))?;
    let open = files.fstat(&kept).map_err(|e| RrdError::io("stat", path, e))?;
    if (at_path.dev, at_path.ino) == (open.dev, open.ino) {
        return Ok(kept);
    }
    files.open(path).map_err(|e| RrdError::io("open", path, e))
}

fn update_locked<F: Files>(
    files: &F,
    path: &Path,
    file: &File,
    layouts: &mut Vec<Arc<Layout>>,
    rows: &mut Rows,
    buffer: &mut Vec<u8>,
    points: &[Point<'_>],
) -> Result<(), RrdError> {
    if !files.lock(file).map_err(|e| RrdError::io("lock", path, e))? {
        return Err(RrdError::Locked { path: path.to_owned() });
    }
    let result = update_file(files, path, file, layouts, rows, buffer, points);
    match files.unlock(file) {
        // A lock that stays would keep rrdtool out; closing the descriptor, which an error leads to, ends it.
        Err(e) if matches!(result, Ok(()) | Err(RrdError::Refused { .. })) => Err(RrdError::io("unlock", path, e)),
        _ => result,
    }
}

fn update_file<F: Files>(
    files: &F,
    path: &Path,
    file: &File,
    layouts: &mut Vec<Arc<Layout>>,
    rows: &mut Rows,
    buffer: &mut Vec<u8>,
    points: &[Point<'_>],
) -> Result<(), RrdError> {
    let (layout, mut state) = read_header(files, path, file, layouts, buffer)?;
    rows.clear();
    let mut first_refusal: Option<UpdateError> = None;
    let mut refused = 0;
    for &point in points {
        if let Err(e) = update::apply(&layout, &mut state, point, rows) {
            refused += 1;
            first_refusal.get_or_insert(e);
        }
    }
    if refused < points.len() {
        rows.runs(|offset, bytes| files.write_at(file, bytes, offset))
            .map_err(|e| RrdError::io("write rows of", path, e))?;
        // The header last: cut short before it, the file is as it was, but for rows that will be written again.
        buffer.clear();
        layout.encode_state(&state, buffer);
        files
            .write_at(file, buffer, layout.state_start() as u64)
            .map_err(|e| RrdError::io("write the header of", path, e))?;
    }
    match first_refusal {
        Some(source) => Err(RrdError::Refused { path: path.to_owned(), refused, source }),
        None => Ok(()),
    }
}

fn read_header<F: Files>(
    files: &F,
    path: &Path,
    file: &File,
    layouts: &mut Vec<Arc<Layout>>,
    buffer: &mut Vec<u8>,
) -> Result<(Arc<Layout>, State), RrdError> {
    let wrong = |e| RrdError::format(path, e);
    let read = |buffer: &mut Vec<u8>, size: usize| {
        buffer.resize(size, 0);
        let got = files.read_at(file, buffer, 0).map_err(|e| RrdError::io("read", path, e))?;
        buffer.truncate(got);
        Ok(())
    };
    read(buffer, layouts.first().map_or(FIRST_READ, |layout| layout.header_size()))?;
    if buffer.is_empty() {
        // What a crash of the machine may leave of a file just created; there is nothing in it to lose.
        return Err(RrdError::Missing { path: path.to_owned() });
    }
    let size = files.fstat(file).map_err(|e| RrdError::io("stat", path, e))?.size;
    if let Some(place) = layouts.iter().position(|layout| layout.matches(buffer)) {
        layouts.swap(0, place); // the next file is likely of this layout too
        let layout = Arc::clone(&layouts[0]);
        if size < layout.file_size() {
            return Err(wrong(FormatError::Truncated { have: size, need: layout.file_size() }));
        }
        if buffer.len() < layout.header_size() {
            read(buffer, layout.header_size())?;
        }
        let state = layout.decode_state(buffer).map_err(wrong)?;
        return Ok((layout, state));
    }
    if buffer.len() < HEAD {
        read(buffer, HEAD)?;
    }
    let needed = format::header_size(buffer).map_err(wrong)?;
    if buffer.len() < needed {
        read(buffer, needed)?;
    }
    let (layout, state) = format::parse(buffer, size).map_err(wrong)?;
    let layout = Arc::new(layout);
    layouts.truncate(MAX_LAYOUTS - 1);
    layouts.insert(0, Arc::clone(&layout));
    Ok((layout, state))
}
