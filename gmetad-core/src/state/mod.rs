//! The saved tree: what each data source said last, in files, so that a restart shows it at once with its true age.
//!
//! A file is a line of text (what it is, its version, when the source was polled, whether it was up, whose it is) and an
//! LZ4 frame with a checksum, in which are the same line, to be covered by that checksum, and the document of
//! [`crate::xml::saved`]; then a last line, since a frame that is cut between two blocks looks like a whole one. It is read by the parser that reads the network's documents, within the same limits: nothing
//! that is in a file is trusted.
//!
//! What is loaded is only shown: plugins do not hear of it, and the first good poll replaces it wholly, so that a restart
//! still gets rid of hosts that are gone for good.

mod load;
mod save;

use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

pub(crate) use load::Refusal;
pub(crate) use save::{Deadline, Saved, Saver};

use crate::model::UnixTime;
use crate::stats::{Counter, Figure, Report};

/// A directory of saved trees, and what was done there.
#[derive(Debug)]
pub(crate) struct State {
    dir: PathBuf,
    pub(crate) saves: Counter,
    pub(crate) files: Counter,
    pub(crate) bytes: Counter,
    last_save_ms: AtomicU64,
    pub(crate) errors: Counter,
    pub(crate) loaded: Counter,
    pub(crate) refused: Counter,
}

impl State {
    pub(crate) fn new(dir: PathBuf) -> Self {
        Self {
            dir,
            saves: Counter::default(),
            files: Counter::default(),
            bytes: Counter::default(),
            last_save_ms: AtomicU64::new(0),
            errors: Counter::default(),
            loaded: Counter::default(),
            refused: Counter::default(),
        }
    }

    fn took(&self, time: Duration) {
        self.saves.add(1);
        self.last_save_ms.store(time.as_millis() as u64, Ordering::Relaxed);
    }
}

impl Report for State {
    fn name(&self) -> &str {
        "state"
    }

    fn figures(&self) -> Vec<Figure> {
        let counter = |name, counter: &Counter| Figure { name, gauge: false, value: counter.get() };
        vec![
            counter("saves", &self.saves),
            counter("files_written", &self.files),
            counter("bytes_written", &self.bytes),
            Figure { name: "last_save_ms", gauge: true, value: self.last_save_ms.load(Ordering::Relaxed) },
            counter("errors", &self.errors),
            counter("loaded", &self.loaded),
            counter("refused", &self.refused),
        ]
    }
}

/// What every file of ours begins with.
const MAGIC: &str = "gmetad-tree";
/// The version behind it. A file of another one is not read.
const VERSION: &str = "1";
/// The last line.
const END: &[u8] = b"end of gmetad-tree\n";
/// Bytes of the first line, at most. Longer names of sources are their owner's joke.
const HEADER_BYTES: u64 = 128 << 10;

/// The first line of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Header {
    polled: UnixTime,
    alive: bool,
    /// The name of the source, encoded.
    source: String,
}

impl fmt::Display for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let alive = if self.alive { "up" } else { "down" };
        writeln!(f, "{MAGIC} {VERSION} {} {alive} {}", self.polled, self.source)
    }
}

impl Header {
    fn parse(line: &[u8]) -> Result<Self, Refusal> {
        let line = std::str::from_utf8(line).ok().and_then(|line| line.strip_suffix('\n')).ok_or(Refusal::NotOurs)?;
        let mut words = line.split(' ');
        if words.next() != Some(MAGIC) {
            return Err(Refusal::NotOurs);
        }
        match words.next() {
            Some(VERSION) => {}
            other => return Err(Refusal::Version(other.unwrap_or_default().chars().take(20).collect())),
        }
        let (Some(polled), Some(alive @ ("up" | "down")), Some(source), None) =
            (words.next().and_then(|n| n.parse().ok()), words.next(), words.next(), words.next())
        else {
            return Err(Refusal::NotOurs);
        };
        Ok(Self { polled, alive: alive == "up", source: source.to_owned() })
    }
}

/// Bytes of a file's name, at most; file systems take 255.
const NAME_BYTES: usize = 200;

/// The file of the `nth` source of this name, from 0 (a configuration may have a name twice).
pub(crate) fn file_name(source: &str, nth: usize) -> String {
    let mut name = encoded(source);
    if name.len() > NAME_BYTES {
        // Where it is cut another one may be the same: the checksum tells them apart, and the header has the whole.
        name.truncate(NAME_BYTES - 20);
        let fnv = |sum: u64, byte: u8| (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        name += &format!("+{:016x}", source.bytes().fold(0xcbf2_9ce4_8422_2325, fnv));
    }
    if nth > 0 {
        name += &format!("+{nth}");
    }
    name
}

/// A name as letters that are safe in a file name and in our header: no blank, no dot in front, no `+` or `~`.
fn encoded(source: &str) -> String {
    use fmt::Write;
    let mut out = String::with_capacity(source.len());
    for (at, byte) in source.bytes().enumerate() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'-' => out.push(char::from(byte)),
            b'.' if at > 0 => out.push('.'),
            _ => {
                // Writing to a String cannot fail.
                let _ = write!(out, "%{byte:02X}");
            }
        }
    }
    // The source without a name.
    if out.is_empty() { "%".to_owned() } else { out }
}

#[cfg(test)]
mod tests;
