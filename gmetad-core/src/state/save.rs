//! Writing the files.

use std::cell::Cell;
use std::collections::HashMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

use lz4_flex::frame::{FrameEncoder, FrameInfo};

use super::{END, Header, MAGIC, State, encoded};
use crate::limits;
use crate::model::UnixTime;
use crate::source::{SourceSnapshot, Stop};
use crate::xml::{Progress, XmlWriter};

/// A source to be saved.
pub(crate) struct Saved {
    /// See [`super::file_name`].
    pub(crate) file: String,
    pub(crate) name: String,
    pub(crate) alive: bool,
    /// Its last good poll; `None` if it had none yet: then the file of the earlier process stays.
    pub(crate) snapshot: Option<SourceSnapshot>,
}

/// The end of a file that is being written or left behind.
const ASIDE: &str = "~";

/// Time that is left for a save: without end while the daemon runs.
pub(crate) struct Deadline<'a> {
    stop: &'a Stop,
    limit: Duration,
    since: Cell<Option<Instant>>,
}

impl<'a> Deadline<'a> {
    /// `limit` counts from when the stop is noticed.
    pub(crate) fn new(stop: &'a Stop, limit: Duration) -> Self {
        Self { stop, limit, since: Cell::new(None) }
    }

    fn check(&self) -> io::Result<()> {
        if self.since.get().is_none() && self.stop.is_stopped() {
            self.since.set(Some(Instant::now()));
        }
        match self.since.get() {
            Some(since) if since.elapsed() >= self.limit => {
                Err(io::Error::new(io::ErrorKind::TimedOut, "there is no time left before the stop"))
            }
            _ => Ok(()),
        }
    }
}

/// What is known from save to save.
#[derive(Debug, Default)]
pub(crate) struct Saver {
    /// The poll that each file has.
    written: HashMap<String, (UnixTime, u64, bool)>,
    /// What was logged last, to log it once.
    failing: Option<String>,
}

impl Saver {
    /// Saves all that changed, and removes the files of sources that are not among `sources`. What fails is counted, and
    /// logged once.
    pub(crate) fn save(&mut self, state: &State, sources: &[Saved], deadline: &Deadline<'_>) {
        let began = Instant::now();
        let result = self.try_save(state, sources, deadline);
        match result {
            Ok(()) => {
                if self.failing.take().is_some() {
                    log::info!("the tree is saved in {} again", state.dir.display());
                }
            }
            Err(error) => {
                state.errors.add(1);
                let text = error.to_string();
                if self.failing.as_ref() != Some(&text) {
                    log::error!("cannot save the tree in {}: {text}", state.dir.display());
                    self.failing = Some(text);
                }
            }
        }
        state.took(began.elapsed());
    }

    /// Goes on with the next source where one fails; returns the first error.
    fn try_save(&mut self, state: &State, sources: &[Saved], deadline: &Deadline<'_>) -> io::Result<()> {
        let mut result = DirBuilder::new().recursive(true).mode(0o700).create(&state.dir);
        let mut changed = false;
        for source in sources {
            let Some(snapshot) = &source.snapshot else { continue };
            let poll = (snapshot.polled(), snapshot.round(), source.alive);
            let path = state.dir.join(&source.file);
            // Somebody may have removed it.
            if self.written.get(&source.file) == Some(&poll) && path.is_file() {
                continue;
            }
            match write_aside(&path, source, snapshot, deadline) {
                Ok(bytes) => {
                    changed = true;
                    state.files.add(1);
                    state.bytes.add(bytes);
                    self.written.insert(source.file.clone(), poll);
                }
                Err(error) if result.is_ok() => result = Err(named(error, &path)),
                Err(_) => {}
            }
            if deadline.check().is_err() {
                break;
            }
        }
        self.written.retain(|file, _| sources.iter().any(|source| source.file == *file));
        result.and_then(|()| {
            changed |= remove_others(&state.dir, sources)?;
            // The new names last, too.
            if changed { File::open(&state.dir)?.sync_all() } else { Ok(()) }
        })
    }
}

fn named(error: io::Error, path: &Path) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

/// Writes a file beside `path` and puts it in its place when it is complete and on the disk; its length.
fn write_aside(path: &Path, source: &Saved, snapshot: &SourceSnapshot, deadline: &Deadline<'_>) -> io::Result<u64> {
    let aside = path.with_file_name(format!("{}{ASIDE}", source.file));
    match fs::remove_file(&aside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&aside)?;
    let written = write(file, source, snapshot, deadline).and_then(|bytes| {
        fs::rename(&aside, path)?;
        Ok(bytes)
    });
    if written.is_err() {
        let _ = fs::remove_file(&aside);
    }
    written
}

fn write(file: File, source: &Saved, snapshot: &SourceSnapshot, deadline: &Deadline<'_>) -> io::Result<u64> {
    let header = Header { polled: snapshot.polled(), alive: source.alive, source: encoded(&source.name) }.to_string();
    let mut out = BufWriter::with_capacity(limits::ANSWER_CHUNK, file);
    out.write_all(header.as_bytes())?;
    let mut frame = FrameEncoder::with_frame_info(FrameInfo::new().content_checksum(true), out);
    frame.write_all(header.as_bytes())?;
    let mut writer = XmlWriter::saved(snapshot);
    let mut piece = Vec::with_capacity(2 * limits::ANSWER_CHUNK);
    loop {
        let progress = writer.fill(&mut piece, limits::ANSWER_CHUNK);
        frame.write_all(&piece)?;
        piece.clear();
        if progress == Progress::Done {
            break;
        }
        deadline.check()?;
    }
    let mut out = frame.finish().map_err(io::Error::other)?;
    out.write_all(END)?;
    let file = out.into_inner().map_err(io::IntoInnerError::into_error)?;
    file.sync_all()?;
    Ok(file.metadata()?.len())
}

/// Removes our files of other sources, and what a crash left half written; true if there was any. What is not ours stays.
fn remove_others(dir: &Path, sources: &[Saved]) -> io::Result<bool> {
    let mut removed = false;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        if sources.iter().any(|source| *source.file == *name) || !entry.file_type()?.is_file() {
            continue;
        }
        if name.to_string_lossy().ends_with(ASIDE) || is_ours(&entry.path()) {
            fs::remove_file(entry.path())?;
            removed = true;
        }
    }
    Ok(removed)
}

fn is_ours(path: &Path) -> bool {
    let mut start = [0; MAGIC.len()];
    File::open(path).and_then(|mut file| file.read_exact(&mut start)).is_ok() && start == *MAGIC.as_bytes()
}
