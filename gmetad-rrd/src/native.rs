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

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::error::RrdError;
use crate::files::{Disk, Files, Stamp};
use crate::format::{self, FormatError, HEAD, Layout, State};
use crate::path;
use crate::schema::Schema;
use crate::store::{Backend, Job, Written};
use crate::update::{self, Rows, UpdateError};
use crate::value::Point;

/// Layouts remembered by a store. A tree has a handful: host and summary files for each step and type.
pub const MAX_LAYOUTS: usize = 32;

/// Read first, in bytes: the header of any usual file (two DS and ten RRAs need 3.4 kB) in one call.
const FIRST_READ: usize = 4096;

/// New files that wait for one sync, at most: each has a descriptor until then.
const MAX_ASIDES: usize = 256;

/// How long fewer descriptors are used after they ran out.
const FEW: Duration = Duration::from_secs(600);

/// How long a file stays open that is not written.
const UNUSED: Duration = Duration::from_secs(600);

/// How a [`NativeStore`] works.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Descriptors kept open. Best not less than the number of hot files; the process limit (`ulimit -n`) must allow it.
    pub max_descriptors: usize,
    /// A new file is on the disk before it has its name, so that a power cut leaves no file without its header.
    pub sync_new: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { max_descriptors: 512, sync_new: true }
    }
}

/// Writes RRD files without librrd.
#[derive(Debug)]
pub struct NativeStore<F: Files = Disk> {
    files: F,
    /// Descriptors, with device and inode.
    kept: HashMap<Box<Path>, Kept>,
    /// When those that are no longer used were looked for.
    tidied: Instant,
    /// When the last call began.
    now: Instant,
    /// New files that may wait for one sync.
    asides: usize,
    /// When descriptors last ran out: none is kept for [`FEW`] then.
    few: Option<Instant>,
    options: Options,
    scratch: Scratch,
}

/// An open file.
#[derive(Debug)]
struct Kept {
    file: File,
    /// Device and inode.
    known: (u64, u64),
    used: Instant,
}

/// What is used again from file to file.
#[derive(Debug, Default)]
struct Scratch {
    layouts: Vec<Arc<Layout>>,
    rows: Rows,
    buffer: Vec<u8>,
}

/// A new file, written under another name.
struct Aside {
    name: PathBuf,
    file: File,
    /// What became of its points.
    points: Result<(), RrdError>,
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
            kept: HashMap::new(),
            tidied: Instant::now(),
            now: Instant::now(),
            asides: MAX_ASIDES,
            few: None,
            options,
            scratch: Scratch::default(),
        }
    }

    /// Descriptors kept open now.
    pub fn descriptors(&self) -> usize {
        self.kept.len()
    }

    fn update_kept(&mut self, path: &Path, points: &[Point<'_>], hot: bool) -> Result<Written, RrdError> {
        let Self { files, kept, few, options, scratch, now, .. } = self;
        let stat = |e| RrdError::io("stat", path, e);
        if let Some(Kept { file: descriptor, known, used }) = kept.get_mut(path).filter(|_| hot) {
            // It may have been removed or replaced since.
            let stamp = match files.stat(path) {
                Ok(stamp) => stamp,
                Err(e) => {
                    kept.remove(path);
                    return Err(RrdError::io("open", path, e));
                }
            };
            if (stamp.dev, stamp.ino) == *known {
                let result = update_locked(files, path, descriptor, stamp, scratch, points);
                let result = unlocked(files, path, descriptor, result);
                *used = *now;
                if !is_good(&result) {
                    kept.remove(path);
                }
                return result;
            }
        }
        kept.remove(path);
        let descriptor = files.open(path).map_err(|e| RrdError::io("open", path, e))?;
        let stamp = files.fstat(&descriptor).map_err(stat)?;
        let result = update_locked(files, path, &descriptor, stamp, scratch, points);
        if !hot || !is_good(&result) || kept.len() >= options.max_descriptors || few.is_some() {
            return result; // closing it ends the lock
        }
        let result = unlocked(files, path, &descriptor, result);
        if is_good(&result) {
            let known = (stamp.dev, stamp.ino);
            kept.insert(path.into(), Kept { file: descriptor, known, used: *now });
        }
        result
    }

    /// Writes a new file with the points already in it, under another name.
    fn prepare(&mut self, path: &Path, schema: &Schema, start: i64, points: &[Point<'_>]) -> Result<Aside, RrdError> {
        let layout = Layout::new(schema.clone()).map_err(|e| RrdError::schema(path, e))?;
        let seed = path::seed(path);
        let (mut image, mut state) = layout.image(start, seed);
        let points = self.scratch.take(path, &layout, &mut state, points);
        self.scratch.put_into(&layout, &state, &mut image);
        // Beside the file, so that the rename stays on one file system; no metric's file can have this name (no ".rrd").
        let name = path.with_file_name(format!(".gmetad-rrd-{}-{seed:016x}.new", process::id()));
        let made = match self.files.write_new(&name, &image) {
            Err(e) => again(&self.files, e, path, &name, &image),
            Ok(file) => Ok(file),
        };
        match made {
            Ok(file) => Ok(Aside { name, file, points }),
            Err(e) => {
                let _ = self.files.remove(&name); // the first error is the one to tell
                Err(e)
            }
        }
    }

    fn put_in_place(&self, path: &Path, aside: Aside) -> Result<(), RrdError> {
        self.files.rename(&aside.name, path).map_err(|e| {
            let _ = self.files.remove(&aside.name);
            RrdError::io("create", path, e)
        })?;
        aside.points
    }

    fn sync(&self, asides: &[&File]) -> io::Result<()> {
        if self.options.sync_new && !asides.is_empty() { self.files.sync(asides) } else { Ok(()) }
    }

    /// Updates the file of a job, or writes a new one aside.
    fn attempt(&mut self, at: usize, job: &Job<'_>, made: &mut Vec<(usize, Aside)>) -> Result<Written, RrdError> {
        match (self.update_kept(job.path, job.points, job.hot), job.points.first()) {
            (Err(RrdError::Missing { .. }), Some(first)) if job.create => {
                let start = first.time.saturating_sub(1);
                made.push((at, self.prepare(job.path, job.schema, start, job.points)?));
                Ok(Written { made: true, read: false })
            }
            (other, _) => other,
        }
    }

    /// Gives new files their names; each comes with the place of its job.
    fn put_all_in_place(
        &self,
        jobs: &[Job<'_>],
        made: &mut Vec<(usize, Aside)>,
        results: &mut [Result<Written, RrdError>],
    ) {
        let synced = self.sync(&made.iter().map(|(_, aside)| &aside.file).collect::<Vec<_>>());
        for (at, aside) in made.drain(..) {
            let path = jobs[at].path;
            results[at] = match &synced {
                Ok(()) => self.put_in_place(path, aside).map(|()| Written { made: true, read: false }),
                Err(e) => {
                    let _ = self.files.remove(&aside.name);
                    Err(RrdError::io("create", path, copy_of(e)))
                }
            };
        }
    }
}

impl<F: Files> Backend for NativeStore<F> {
    fn create(&mut self, path: &Path, schema: &Schema, start: i64) -> Result<(), RrdError> {
        let aside = self.prepare(path, schema, start, &[])?;
        if let Err(e) = self.sync(&[&aside.file]) {
            let _ = self.files.remove(&aside.name);
            return Err(RrdError::io("create", path, e));
        }
        self.put_in_place(path, aside)
    }

    fn update(&mut self, path: &Path, points: &[Point<'_>]) -> Result<(), RrdError> {
        self.update_kept(path, points, true).map(drop)
    }

    fn write(&mut self, jobs: &[Job<'_>]) -> Vec<Result<Written, RrdError>> {
        let mut made: Vec<(usize, Aside)> = Vec::new();
        let mut results = Vec::with_capacity(jobs.len());
        self.now = Instant::now();
        if self.now - self.tidied > UNUSED / 10 {
            // A removed file takes its space for as long as it is open.
            self.kept.retain(|_, kept| self.now - kept.used < UNUSED);
            self.tidied = self.now;
        }
        if self.few.is_some_and(|since| since.elapsed() > FEW) {
            (self.few, self.asides) = (None, MAX_ASIDES);
        }
        for (at, job) in jobs.iter().enumerate() {
            let mut result = self.attempt(at, job, &mut made);
            if lacks_descriptors(&result) {
                // Sockets need them more; what this file needs is there then, too.
                self.kept.clear();
                self.asides = (made.len() / 4).clamp(1, MAX_ASIDES / 2);
                self.few = Some(Instant::now());
                self.put_all_in_place(jobs, &mut made, &mut results);
                result = self.attempt(at, job, &mut made);
            }
            results.push(result);
            if made.len() >= self.asides {
                self.put_all_in_place(jobs, &mut made, &mut results);
            }
        }
        self.put_all_in_place(jobs, &mut made, &mut results);
        results
    }

    fn rest(&mut self) {
        self.kept.clear();
    }
}

/// The same error once more.
fn copy_of(error: &io::Error) -> io::Error {
    error.raw_os_error().map_or_else(|| error.kind().into(), io::Error::from_raw_os_error)
}

/// Whether there were no descriptors left.
fn lacks_descriptors(result: &Result<Written, RrdError>) -> bool {
    use nix::libc::{EMFILE, ENFILE};
    matches!(result, Err(RrdError::Io { source, .. }) if matches!(source.raw_os_error(), Some(EMFILE | ENFILE)))
}

/// Whether the descriptor may be used again.
fn is_good(result: &Result<Written, RrdError>) -> bool {
    matches!(result, Ok(_) | Err(RrdError::Refused { .. } | RrdError::Locked { .. }))
}

/// After a first failure: makes the missing directories, or removes what a killed process of our number left.
fn again<F: Files>(files: &F, error: io::Error, path: &Path, aside: &Path, image: &[u8]) -> Result<File, RrdError> {
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

/// Updates the file; it stays locked.
fn update_locked<F: Files>(
    files: &F,
    path: &Path,
    file: &File,
    stamp: Stamp,
    scratch: &mut Scratch,
    points: &[Point<'_>],
) -> Result<Written, RrdError> {
    if !files.lock(file).map_err(|e| RrdError::io("lock", path, e))? {
        return Err(RrdError::Locked { path: path.to_owned() });
    }
    update_file(files, path, file, stamp, scratch, points)
}

/// Gives the lock back after that.
fn unlocked<F: Files>(
    files: &F,
    path: &Path,
    file: &File,
    result: Result<Written, RrdError>,
) -> Result<Written, RrdError> {
    if matches!(result, Err(RrdError::Locked { .. })) {
        return result;
    }
    match files.unlock(file) {
        // A lock that stays would keep rrdtool out; closing the descriptor, which an error leads to, ends it.
        Err(e) if matches!(result, Ok(_) | Err(RrdError::Refused { .. })) => Err(RrdError::io("unlock", path, e)),
        _ => result,
    }
}

fn update_file<F: Files>(
    files: &F,
    path: &Path,
    file: &File,
    stamp: Stamp,
    scratch: &mut Scratch,
    points: &[Point<'_>],
) -> Result<Written, RrdError> {
    let (layout, mut state) = read_header(files, path, file, stamp.size, &mut scratch.layouts, &mut scratch.buffer)?;
    let before = state.last_update;
    let result = scratch.take(path, &layout, &mut state, points);
    if state.last_update != before {
        let Scratch { rows, buffer, .. } = scratch;
        rows.runs(|offset, bytes| files.write_at(file, bytes, offset))
            .map_err(|e| RrdError::io("write rows of", path, e))?;
        // The header last: cut short before it, the file is as it was, but for rows that will be written again.
        buffer.clear();
        layout.encode_state(&state, buffer);
        files
            .write_at(file, buffer, layout.state_start() as u64)
            .map_err(|e| RrdError::io("write the header of", path, e))?;
    }
    result.map(|()| Written { made: false, read: stamp.read })
}

impl Scratch {
    /// Takes the points into the state; the rows they complete are in `self.rows` then.
    fn take(&mut self, path: &Path, layout: &Layout, state: &mut State, points: &[Point<'_>]) -> Result<(), RrdError> {
        self.rows.clear();
        let mut first: Option<UpdateError> = None;
        let mut refused = 0;
        for &point in points {
            if let Err(e) = update::apply(layout, state, point, &mut self.rows) {
                refused += 1;
                if first.as_ref().is_none_or(|first| matches!(first, UpdateError::Past { .. })) {
                    first = Some(e); // any other reason is better worth telling
                }
            }
        }
        match first {
            Some(source) => Err(RrdError::Refused { path: path.to_owned(), refused, source }),
            None => Ok(()),
        }
    }

    /// Writes rows and state into the bytes of a whole file.
    fn put_into(&mut self, layout: &Layout, state: &State, image: &mut [u8]) {
        let mut put = |at: usize, bytes: &[u8]| image[at..at + bytes.len()].copy_from_slice(bytes);
        let Ok(()) = self.rows.runs(|offset, bytes| {
            put(offset as usize, bytes);
            Ok::<(), std::convert::Infallible>(())
        });
        self.buffer.clear();
        layout.encode_state(state, &mut self.buffer);
        put(layout.state_start(), &self.buffer);
    }
}

fn read_header<F: Files>(
    files: &F,
    path: &Path,
    file: &File,
    size: u64,
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
