//! Reading a file, distrusting it.

use std::fs::{self, File};
use std::io::{self, BufRead, Read};
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError};
use lz4_flex::frame::FrameDecoder;

use super::{END, HEADER_BYTES, Header, State, encoded};
use crate::limits;
use crate::model::UnixTime;
use crate::source::{Source, SourceSnapshot, Stop};

/// Why a file was not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    /// Too long ago; nothing is wrong with it.
    #[error("it was polled {0} s ago, which is too long")]
    Old(i64),
    #[error("it says that it was polled {0} s from now: is the clock right?")]
    Future(i64),
    #[error("it is not a saved tree")]
    NotOurs,
    #[error("it is of version \"{0}\", not of {v}", v = super::VERSION)]
    Version(String),
    #[error("it is that of source {0}")]
    OtherSource(String),
    #[error("its first line was changed")]
    Changed,
    #[error("its end is missing")]
    Cut,
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl State {
    /// Has `source` understand the file of its name; whether it was up then. `None` if there is none.
    pub(crate) fn load(
        &self,
        file: &str,
        name: &str,
        now: UnixTime,
        stop: &Stop,
        source: &mut dyn Source,
    ) -> Result<Option<(SourceSnapshot, bool)>, Refusal> {
        let mut chunks = Chunks::open(self.dir.join(file), stop)?;
        let mut line = Vec::new();
        match chunks.by_ref().take(HEADER_BYTES).read_until(b'\n', &mut line) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            read => read?,
        };
        let header = Header::parse(&line)?;
        if header.source != encoded(name) {
            return Err(Refusal::OtherSource(header.source.chars().take(100).collect()));
        }
        // The clock may have been set a little.
        match now.saturating_sub(header.polled) {
            age if age > limits::STATE_AGE.as_secs() as i64 => return Err(Refusal::Old(age)),
            age if age < -60 => return Err(Refusal::Future(age.saturating_neg())),
            _ => {}
        }
        let mut frame = Frame { decoder: FrameDecoder::new(chunks), ended: false };
        let mut copy = vec![0; line.len()];
        frame.read_exact(&mut copy)?;
        if copy != line {
            return Err(Refusal::Changed);
        }
        let snapshot = source.restore(&mut frame, header.polled)?;
        let mut end = Vec::new();
        frame.decoder.get_mut().take(END.len() as u64 + 1).read_to_end(&mut end)?;
        if snapshot.is_some() && !(frame.ended && end == END) {
            return Err(Refusal::Cut);
        }
        Ok(snapshot.map(|snapshot| {
            let snapshot = snapshot.without_expired(now).unwrap_or(snapshot);
            (snapshot, header.alive)
        }))
    }
}

/// The one frame of a file. The decoder would look for another one behind it.
struct Frame {
    decoder: FrameDecoder<Chunks>,
    ended: bool,
}

impl Read for Frame {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.ended || buffer.is_empty() {
            return Ok(0);
        }
        let n = self.decoder.read(buffer)?;
        self.ended = n == 0;
        Ok(n)
    }
}

/// How long nothing is heard of the stop flag.
const SLICE: Duration = Duration::from_millis(250);
/// Pieces of a file that are read ahead.
const AHEAD: usize = 4;

/// A file, read by another thread: should the disk hang, it is that thread that waits for it, and the source is polled.
struct Chunks {
    path: PathBuf,
    pieces: Receiver<io::Result<Vec<u8>>>,
    piece: Vec<u8>,
    at: usize,
    stop: Stop,
}

impl Chunks {
    fn open(path: PathBuf, stop: &Stop) -> io::Result<Self> {
        let (sender, pieces) = crossbeam_channel::bounded(AHEAD);
        let file = path.clone();
        thread::Builder::new().name("state-load".to_owned()).spawn(move || {
            let read = || {
                // Anything else, a pipe say, may never end, or not even be opened.
                if !fs::symlink_metadata(&file)?.is_file() {
                    return Err(io::Error::new(io::ErrorKind::InvalidData, "it is not a regular file"));
                }
                let mut file = File::open(&file)?;
                loop {
                    let mut piece = vec![0; limits::ANSWER_CHUNK];
                    let len = file.read(&mut piece)?;
                    piece.truncate(len);
                    // Nobody wants the rest.
                    if len == 0 || sender.send(Ok(piece)).is_err() {
                        return Ok(());
                    }
                }
            };
            if let Err(error) = read() {
                let _ = sender.send(Err(error));
            }
        })?;
        Ok(Self { path, pieces, piece: Vec::new(), at: 0, stop: stop.clone() })
    }
}

impl BufRead for Chunks {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        let began = Instant::now();
        while self.at == self.piece.len() {
            match self.pieces.recv_timeout(SLICE) {
                Ok(piece) => (self.piece, self.at) = (piece?, 0),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) if self.stop.is_stopped() => return Err(io::Error::other("stopped")),
                Err(RecvTimeoutError::Timeout) if began.elapsed() >= limits::STATE_IDLE => {
                    let text = format!("the disk of {} does not answer", self.path.display());
                    return Err(io::Error::new(io::ErrorKind::TimedOut, text));
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
        Ok(&self.piece[self.at..])
    }

    fn consume(&mut self, n: usize) {
        self.at = (self.at + n).min(self.piece.len());
    }
}

impl Read for Chunks {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.fill_buf()?.read(buffer)?;
        self.consume(n);
        Ok(n)
    }
}
