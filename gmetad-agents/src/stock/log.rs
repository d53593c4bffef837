//! Lines of a log that match a pattern.

use std::collections::VecDeque;
use std::fs::{self, File, Metadata};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::PathBuf;

use gmetad_core::agent::{AgentError, Cell, Context, Element, Measurement, Message, State, Status, Table as Shown};
use gmetad_core::message;
use regex::bytes::{Regex, RegexBuilder};
use serde::Deserialize;
use toml::Table;

use super::net::problem;
use super::plan::{GREY, Limits, MINUTE, Plan, Probe, RED, area, graph, keys, line};
use crate::kind::Kind;
use crate::said::Said;
use crate::spec::Installed;

/// Most that is read in one measurement; of more only the end. A flood must not make the agent lag ever more behind.
const MOST: u64 = 8 << 20;
/// Longest line; a longer one counts as several.
const LINE: usize = 64 << 10;
/// The last matching lines are shown, that many of them, cut to that many letters.
const SHOWN: usize = 20;
const LETTERS: usize = 300;
/// Bytes before the place where reading goes on, by which the file is recognised.
const MARK: usize = 64;
/// Memory of a compiled pattern.
const PATTERN: usize = 1 << 20;
/// Measurements that a window can span.
const WINDOW: usize = 10_000;

pub(super) const KIND: Kind = Kind { name: "log", about: "Log", section: "System", build, default: Vec::new };

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {
    file: PathBuf,
    /// Regular expression.
    pattern: String,
    /// Lines that match this as well do not count.
    ignore: Option<String>,
    /// Seconds for which a match counts.
    #[serde(default = "window")]
    window: u64,
    /// Upper and lower case are the same.
    #[serde(default)]
    any_case: bool,
    /// What is in the file at the start is read, too.
    #[serde(default)]
    from_start: bool,
}

fn window() -> u64 {
    600
}

struct Log {
    keys: Keys,
    pattern: Regex,
    ignore: Option<Regex>,
    /// The file that is being read; it may have another name by now.
    open: Option<Open>,
    /// When and how often a line matched, the oldest first.
    matches: VecDeque<(i64, u64)>,
    /// The last matching lines.
    last: VecDeque<String>,
}

struct Open {
    file: File,
    offset: u64,
    /// The bytes before `offset`.
    mark: Vec<u8>,
}

/// What a reading brought.
#[derive(Debug, Default, PartialEq)]
struct Progress {
    lines: u64,
    matches: u64,
    skipped: u64,
}

fn build(name: &str, mut own: Table) -> Result<Installed, Message> {
    let limits = Limits::take(&mut own)?;
    let keys: Keys = keys(own)?;
    if !keys.file.is_absolute() {
        return Err(message!(
            "file: \"{}\" does not begin with /: write the whole path",
            keys.file.display().to_string()
        ));
    }
    if !(1..=7 * 86_400).contains(&keys.window) {
        return Err(message!("window = {}: write 1 to 604800 seconds", keys.window));
    }
    let compile = |key: &str, pattern: &str| {
        let mut builder = RegexBuilder::new(pattern);
        let built = builder.case_insensitive(keys.any_case).size_limit(PATTERN).dfa_size_limit(PATTERN).build();
        built.map_err(|error| message!("{}: this is no regular expression: {}", key, error.said()))
    };
    let pattern = compile("pattern", &keys.pattern)?;
    let ignore = keys.ignore.as_deref().map(|ignore| compile("ignore", ignore)).transpose()?;
    let log = Log { pattern, ignore, open: None, matches: VecDeque::new(), last: VecDeque::new(), keys };
    Ok(Plan::new(name, &KIND, MINUTE, log)
        .gauge("matches", message!("lines that match"), "")
        .shown("recent", message!("lines that matched lately"), "")
        .gauge("lines", message!("new lines"), "")
        .shown("skipped", message!("not read, too much at once"), "B")
        .limited("recent", "~:0", "", 1, limits)
        .graph(graph("matches.png", message!("Lines that match"), "", vec![area("matches", RED)]))
        .graph(graph("lines.png", message!("New lines"), "", vec![line("lines", GREY)]))
        .build())
}

impl Probe for Log {
    fn measure(&mut self, context: &Context) -> Result<Measurement, AgentError> {
        let read = self.advance().map_err(|error| {
            let file = self.keys.file.display().to_string();
            if error.kind() == ErrorKind::PermissionDenied {
                message!("{}: permission denied: the service's user must be in the file's group (often adm)", file)
            } else {
                message!("{}: {}", file, problem(&error))
            }
        })?;
        if read.matches > 0 {
            self.matches.push_back((context.now, read.matches));
        }
        let oldest = context.now.saturating_sub(i64::try_from(self.keys.window).unwrap_or(i64::MAX));
        while self.matches.len() > WINDOW || self.matches.front().is_some_and(|(time, _)| *time <= oldest) {
            self.matches.pop_front();
        }
        let recent = self.matches.iter().fold(0_u64, |sum, (_, count)| sum.saturating_add(*count));
        let rows = self.last.iter().rev().map(|line| vec![Cell::Text(line.as_str().into())]).collect();
        let table = Shown { title: Message::default(), columns: vec![message!("Last matching lines")], rows };
        Ok(Measurement::new()
            .number("matches", read.matches as f64)
            .number("recent", recent as f64)
            .number("lines", read.lines as f64)
            .number("skipped", read.skipped as f64)
            .element(Element::Table(table)))
    }

    fn judge(&self, last: &Measurement) -> Status {
        match last.get_number("recent") {
            // Whether that is bad is for the rule.
            Some(recent) if recent > 0.0 => Status::new(State::Ok, message!("{} {line|lines} matched lately", recent)),
            _ => Status::new(State::Ok, message!("no line matched lately")),
        }
    }
}

impl Log {
    /// Reads what is new: of the file that is open, and of the one that has its name by now.
    fn advance(&mut self) -> io::Result<Progress> {
        let mut read = Progress::default();
        // Opening a pipe would wait for somebody who writes.
        let named = match fs::metadata(&self.keys.file) {
            Ok(file) if !file.is_file() => {
                Err(io::Error::new(ErrorKind::InvalidInput, message!("it is no regular file")))
            }
            Ok(_) => File::open(&self.keys.file),
            Err(error) => Err(error),
        };
        if let Some(open) = self.open.take() {
            let same = |one: &Metadata, two: &Metadata| (one.dev(), one.ino()) == (two.dev(), two.ino());
            let here = open.file.metadata()?;
            match named {
                Ok(named) if same(&here, &named.metadata()?) => {
                    let open = if here.len() < open.offset || !open.is_marked() {
                        Open { offset: 0, mark: Vec::new(), ..open }
                    } else {
                        open
                    };
                    self.open = Some(self.read(open, false, &mut read)?);
                    return Ok(read);
                }
                // Rotated: what was written to the old one meanwhile, then the new one from its beginning.
                Ok(named) => {
                    self.read(open, true, &mut read)?;
                    let open = Open { file: named, offset: 0, mark: Vec::new() };
                    self.open = Some(self.read(open, false, &mut read)?);
                    return Ok(read);
                }
                // Rotated, and nothing was logged since.
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    self.open = Some(self.read(open, false, &mut read)?);
                    return Ok(read);
                }
                Err(error) => return Err(error),
            }
        }
        let file = named?;
        let offset = if self.keys.from_start { 0 } else { file.metadata()?.len() };
        let mut open = Open { file, offset, mark: Vec::new() };
        open.set_mark()?;
        self.open = Some(self.read(open, false, &mut read)?);
        Ok(read)
    }

    /// Reads to the end; a line without an end is left for the next time, unless there is none (`last`).
    fn read(&mut self, mut open: Open, last: bool, read: &mut Progress) -> io::Result<Open> {
        let size = open.file.metadata()?.len();
        if size.saturating_sub(open.offset) > MOST {
            read.skipped = read.skipped.saturating_add(size - MOST - open.offset);
            open.offset = size - MOST;
        }
        let mut rest = Vec::with_capacity(LINE);
        let mut from = Offset { file: &open.file, at: open.offset };
        // Up to what was there at the beginning: a file that grows as fast as it is read has no end.
        let mut left = size.saturating_sub(open.offset);
        let mut buffer = vec![0; LINE];
        while left > 0 {
            let most = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            let length = from.read(&mut buffer[..most])?;
            if length == 0 {
                break;
            }
            left -= length as u64;
            rest.extend_from_slice(&buffer[..length]);
            let end = match memchr::memrchr(b'\n', &rest) {
                Some(end) => end + 1,
                None if rest.len() >= LINE => rest.len(),
                None => continue,
            };
            rest[..end].split_inclusive(|byte| *byte == b'\n').for_each(|line| self.look_at(line, read));
            rest.drain(..end);
        }
        if last && !rest.is_empty() {
            self.look_at(&rest, read);
            rest.clear();
        }
        open.offset = from.at - rest.len() as u64;
        open.set_mark()?;
        Ok(open)
    }

    fn look_at(&mut self, line: &[u8], read: &mut Progress) {
        read.lines += 1;
        let line = line.trim_ascii_end();
        if !self.pattern.is_match(line) || self.ignore.as_ref().is_some_and(|ignore| ignore.is_match(line)) {
            return;
        }
        read.matches += 1;
        if self.last.len() == SHOWN {
            self.last.pop_front();
        }
        let printable = |letter: char| if letter.is_control() { ' ' } else { letter };
        self.last.push_back(String::from_utf8_lossy(line).chars().map(printable).take(LETTERS).collect());
    }
}

impl Open {
    /// Whether the file still has what was read last: one that was emptied and filled again has not.
    fn is_marked(&self) -> bool {
        let mut found = vec![0; self.mark.len()];
        let at = self.offset.saturating_sub(self.mark.len() as u64);
        self.file.read_exact_at(&mut found, at).is_ok() && found == self.mark
    }

    fn set_mark(&mut self) -> io::Result<()> {
        let length = self.offset.min(MARK as u64);
        self.mark = vec![0; length as usize];
        match self.file.read_exact_at(&mut self.mark, self.offset - length) {
            // It was emptied this moment: the next time begins anew.
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(()),
            other => other,
        }
    }
}

/// Reads a file from a place of its own.
struct Offset<'a> {
    file: &'a File,
    at: u64,
}

impl Read for Offset<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.file.read_at(buffer, self.at)?;
        self.at += length as u64;
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::path::Path;

    use gmetad_core::agent::Agent;
    use proptest::prelude::*;

    use super::*;

    struct Watched {
        directory: tempfile::TempDir,
        agent: Box<dyn Agent>,
        now: i64,
    }

    impl Watched {
        fn new(content: &str, more: &str) -> Self {
            let directory = tempfile::tempdir().unwrap();
            let file = directory.path().join("log");
            fs::write(&file, content).unwrap();
            let agent = build("log", format!("file = {file:?}\npattern = \"err(or)?\"\n{more}").parse().unwrap())
                .unwrap()
                .agent;
            Self { directory, agent, now: 1_000_000 }
        }

        fn path(&self) -> PathBuf {
            self.directory.path().join("log")
        }

        fn append(&self, to: &Path, text: &str) {
            fs::OpenOptions::new().append(true).create(true).open(to).unwrap().write_all(text.as_bytes()).unwrap();
        }

        /// Lines, matches, recent matches.
        fn measure(&mut self) -> [f64; 3] {
            let context = Context { now: self.now, ..super::super::context() };
            let measurement = self.agent.measure(&context).unwrap();
            ["lines", "matches", "recent"].map(|field| measurement.get_number(field).unwrap())
        }
    }

    #[test]
    fn new_lines_only_and_half_lines_later() {
        let mut log = Watched::new("error of yesterday\n", "ignore = \"harmless\"");
        assert_eq!(log.measure(), [0.0, 0.0, 0.0]);
        let path = log.path();
        log.append(&path, "fine\nan error\na harmless error\nhalf an er");
        assert_eq!(log.measure(), [3.0, 1.0, 1.0]);
        log.append(&path, "ror\n");
        assert_eq!(log.measure(), [1.0, 1.0, 2.0]);
        log.now += 601;
        assert_eq!(log.measure(), [0.0, 0.0, 0.0]);
    }

    #[test]
    fn rotation_and_truncation() {
        let mut log = Watched::new("", "from_start = true");
        let (path, old) = (log.path(), log.directory.path().join("log.1"));
        log.append(&path, "error 1\n");
        assert_eq!(log.measure()[..2], [1.0, 1.0]);
        log.append(&path, "error 2\n");
        fs::rename(&path, &old).unwrap();
        log.append(&old, "error 3 without an end");
        log.append(&path, "error 4\nx\n");
        assert_eq!(log.measure()[..2], [4.0, 3.0], "both files");
        // copytruncate, and it has grown beyond the old place.
        fs::write(&path, "error 5 that is longer than everything that was there before\n").unwrap();
        assert_eq!(log.measure()[..2], [1.0, 1.0]);
        fs::write(&path, "").unwrap();
        assert_eq!(log.measure()[..2], [0.0, 0.0]);
        fs::remove_file(&path).unwrap();
        assert_eq!(log.measure()[..2], [0.0, 0.0]);
        log.append(&path, "error 6\n");
        assert_eq!(log.measure()[..2], [1.0, 1.0]);
    }

    #[test]
    fn floods_and_lines_without_end_are_bounded() {
        let mut log = Watched::new("", "");
        let path = log.path();
        log.measure();
        log.append(&path, &"x".repeat(3 * LINE));
        log.append(&path, " error\n");
        let [lines, matches, _] = log.measure();
        assert!((2.0..6.0).contains(&lines) && matches == 1.0, "{lines}");
        let flood = "an error happened here\n".repeat(1 << 20);
        log.append(&path, &flood);
        let context = Context { now: log.now, ..super::super::context() };
        let measurement = log.agent.measure(&context).unwrap();
        let get = |field| measurement.get_number(field).unwrap();
        assert_eq!(get("skipped"), flood.len() as f64 - MOST as f64);
        assert!(get("lines") * 23.0 <= MOST as f64 + 23.0 && get("matches") > 300_000.0);
        let Element::Table(table) = &measurement.elements()[0] else { panic!("a table") };
        assert_eq!(table.rows.len(), SHOWN);
        assert_eq!(log.measure()[0], 0.0);
    }

    #[test]
    fn refusals() {
        let error = |text: &str| build("x", text.parse().unwrap()).unwrap_err().to_string();
        assert!(error("file = \"/x\"\npattern = \"(\"").starts_with("pattern: "));
        assert!(error("file = \"x\"\npattern = \"a\"").contains("whole path"));
        assert!(error("file = \"/x\"\npattern = \"a\"\nwindow = 0").contains("604800"));
        assert!(error("file = \"/x\"\npattern = \"(a{1000}){1000}\"").starts_with("pattern: "), "too large");
        let mut agent = build("x", "file = \"/no such log\"\npattern = \"a\"".parse().unwrap()).unwrap().agent;
        assert!(agent.measure(&super::super::context()).unwrap_err().to_string().starts_with("/no such log: "));
        let mut agent = build("x", "file = \"/dev/null\"\npattern = \"a\"".parse().unwrap()).unwrap().agent;
        assert!(agent.measure(&super::super::context()).unwrap_err().to_string().contains("no regular file"));
    }

    proptest! {
        #[test]
        fn whatever_is_written_piece_by_piece_is_counted_once(pieces in proptest::collection::vec("[a\né]{0,9}(error)?\n?", 0..8)) {
            let mut log = Watched::new("", "");
            log.measure();
            let path = log.path();
            let mut counted = [0.0; 2];
            for piece in &pieces {
                log.append(&path, piece);
                let [lines, matches, _] = log.measure();
                counted = [counted[0] + lines, counted[1] + matches];
            }
            let text = pieces.concat();
            let complete = &text[..text.rfind('\n').map_or(0, |end| end + 1)];
            let matches = complete.lines().filter(|line| line.contains("err")).count();
            prop_assert_eq!(counted, [complete.lines().count() as f64, matches as f64]);
        }
    }
}
