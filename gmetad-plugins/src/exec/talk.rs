//! What a plugin writes for people: bounded, printable, behind its name.

use std::time::{Duration, Instant};

use super::protocol::printable;

/// Lines and bytes of the log that a plugin may fill in a transaction, or in a minute without one.
const LINES: u32 = 100;
const BYTES: usize = 64 << 10;
const PERIOD: Duration = Duration::from_secs(60);
/// A line longer than this is cut into several.
const LINE: usize = 4 << 10;

/// The log of one plugin.
#[derive(Debug)]
pub(super) struct Talk {
    name: String,
    lines: u32,
    bytes: usize,
    /// Lines that were too many.
    lost: u64,
    /// Bytes of the standard error that no line feed has ended yet.
    partial: Vec<u8>,
    /// Bytes on the standard error since [`Talk::renew`].
    complained: usize,
    since: Instant,
}

impl Talk {
    pub(super) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            lines: 0,
            bytes: 0,
            lost: 0,
            partial: Vec::new(),
            complained: 0,
            since: Instant::now(),
        }
    }

    /// A transaction begins.
    pub(super) fn renew(&mut self) {
        if self.lost > 0 {
            log::warn!(
                "plugin {}: {} more lines are not shown ({LINES} lines and {BYTES} bytes each time)",
                self.name,
                self.lost
            );
        }
        (self.lines, self.bytes, self.lost, self.complained) = (0, 0, 0, 0);
        self.since = Instant::now();
    }

    /// The same while there is none, each minute. Whether it was so.
    pub(super) fn renew_in_time(&mut self) -> bool {
        let is_time = self.since.elapsed() >= PERIOD;
        if is_time {
            self.renew();
        }
        is_time
    }

    pub(super) fn say(&mut self, level: log::Level, text: &str) {
        for line in text.lines() {
            if self.lines >= LINES || self.bytes + line.len() > BYTES {
                self.lost += 1;
                continue;
            }
            self.lines += 1;
            self.bytes += line.len();
            log::log!(level, "plugin {}: {}", self.name, printable(line));
        }
    }

    /// Takes what came on the standard error; how much that was since [`Talk::renew`].
    pub(super) fn complain(&mut self, mut bytes: &[u8]) -> usize {
        self.complained += bytes.len();
        while let Some(end) = memchr::memchr(b'\n', bytes) {
            self.keep(&bytes[..end]);
            self.flush();
            bytes = &bytes[end + 1..];
        }
        self.keep(bytes);
        self.complained
    }

    fn keep(&mut self, mut bytes: &[u8]) {
        while self.partial.len() + bytes.len() > LINE {
            let (now, later) = bytes.split_at(LINE - self.partial.len());
            self.partial.extend_from_slice(now);
            self.flush();
            bytes = later;
        }
        self.partial.extend_from_slice(bytes);
    }

    /// Ends a line.
    pub(super) fn flush(&mut self) {
        if self.partial.is_empty() {
            return;
        }
        if self.lines >= LINES {
            self.lost += 1;
        } else {
            let line = String::from_utf8_lossy(&self.partial).into_owned();
            self.say(log::Level::Warn, &line);
        }
        self.partial.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_bounded() {
        let mut talk = Talk::new("x");
        for _ in 0..1000 {
            talk.complain(b"a line\nhalf ");
        }
        assert_eq!((talk.lines, talk.lost), (LINES, 900));
        assert_eq!(talk.complained, 12_000);
        talk.renew();
        assert_eq!(talk.complain(&[b'x'; 1 << 20]), 1 << 20);
        assert!(talk.lines > 10 && talk.lost > 200 && talk.bytes <= BYTES && talk.partial.len() <= LINE);
        assert!(!talk.renew_in_time());
    }
}
