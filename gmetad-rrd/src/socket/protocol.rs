//! The protocol of rrdcached, without I/O: bytes of a line in, a [`Command`] or the reason why not out; answers as bytes.
//!
//! A request is one line. Its fields are parted by single spaces, so two spaces have an empty field between them; a
//! backslash makes the next byte part of the field, quotes mean nothing. A NUL ends the line, as does one carriage return
//! before the line feed. The name of a command is known in any case. An answer is `N text`, then N lines; N below zero is
//! an error. All this, and the words of the answers, is what rrdcached 1.7.2 was seen to do.

use std::path::{Path, PathBuf};

use crate::fetch::Fetched;
use crate::format::{Layout, State};
use crate::info::{self, Item, scientific};
use crate::{RrdError, UpdateError};

/// Error messages that one BATCH keeps; the rest of them is counted.
pub const BATCH_ERRORS: usize = 1_000;

/// Bytes of an answer made ahead of what is sent.
const CHUNK: usize = 64 << 10;

/// The commands that are served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Takes points.
    Update,
    /// Writes the points of a file.
    Flush,
    /// Begins to write all points.
    FlushAll,
    /// Shows the points of a file.
    Pending,
    /// Shows counters.
    Stats,
    /// Shows commands.
    Help,
    /// Answers.
    Ping,
    /// Takes many commands at once.
    Batch,
    /// Shows rows.
    Fetch,
    /// Shows a header.
    Info,
    /// Time of the first row of an archive.
    First,
    /// Time of the last update.
    Last,
    /// Ends the connection.
    Quit,
}

/// Name, usage as rrdcached prints it, and help in our words.
const VERBS: [(Verb, &str, &str, &str); 13] = {
    use Verb::*;
    [
        (Update, "UPDATE", "UPDATE <filename> <values> [<values> ...]", UPDATE_HELP),
        (Flush, "FLUSH", "FLUSH <filename>", "Writes the points that wait for the file; answers when they are in it."),
        (FlushAll, "FLUSHALL", "FLUSHALL", "Begins to write all waiting points; does not wait for the end."),
        (Pending, "PENDING", "PENDING <filename>", "Shows the points that wait for the file, oldest first."),
        (Stats, "STATS", "STATS", "Shows counters."),
        (Help, "HELP", "HELP [<command>]", ""),
        (Ping, "PING", "PING", "Answers PONG."),
        (Batch, "BATCH", "BATCH", "Takes UPDATE and FLUSH lines until a line '.', then tells the errors by line."),
        (Fetch, "FETCH", "FETCH <file> <CF> [<start> [<end>] [<column>...]]", FETCH_HELP),
        (Info, "INFO", "INFO <filename>", "Shows the header of the file, waiting points taken in: key, type, value."),
        (First, "FIRST", "FIRST <filename> <rra index>", "Shows the time of the first row of an archive."),
        (Last, "LAST", "LAST <filename>", "Shows the time of the last update, down to a whole step."),
        (Quit, "QUIT", "QUIT", "Ends the connection."),
    ]
};
const UPDATE_HELP: &str = "Takes points, each written <time>:<value>[:<value>...]; <time> in seconds since 1970.";
const FETCH_HELP: &str = "Shows rows, waiting points taken in. Times in seconds since 1970, or up to 0: from now.";

/// What rrdcached has and this server refuses.
const REFUSED: [&str; 10] =
    ["CREATE", "FETCHBIN", "FORGET", "LIST", "QUEUE", "RESUME", "RESUMEALL", "SUSPEND", "SUSPENDALL", "WROTE"];

const DENIED: &[u8] = b"Permission denied.";

impl Verb {
    fn named(name: &[u8]) -> Option<Self> {
        VERBS.iter().find(|(_, known, ..)| name.eq_ignore_ascii_case(known.as_bytes())).map(|(verb, ..)| *verb)
    }

    fn entry(self) -> (&'static str, &'static str, &'static str) {
        VERBS.iter().find(|(verb, ..)| *verb == self).map_or(("", "", ""), |(_, name, usage, help)| (name, usage, help))
    }

    fn usage(self) -> Vec<u8> {
        format!("Usage: {}", self.entry().1).into_bytes()
    }
}

/// A request, understood. Paths are as written.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// `UPDATE FILE VALUES…`; the values as written.
    Update(Vec<u8>, Vec<Vec<u8>>),
    /// `FLUSH FILE`.
    Flush(Vec<u8>),
    /// `FLUSHALL`.
    FlushAll,
    /// `PENDING FILE`.
    Pending(Vec<u8>),
    /// `STATS`.
    Stats,
    /// `HELP` or `HELP COMMAND`.
    Help(Option<Verb>),
    /// `PING`.
    Ping,
    /// `BATCH`.
    Batch,
    /// The `.` that ends a batch.
    EndOfBatch,
    /// `FETCH FILE CF …`.
    Fetch(Fetch),
    /// `INFO FILE`.
    Info(Vec<u8>),
    /// `FIRST FILE INDEX`.
    First(Vec<u8>, u64),
    /// `LAST FILE`.
    Last(Vec<u8>),
    /// `QUIT`.
    Quit,
}

/// The arguments of FETCH.
#[derive(Debug, Clone, PartialEq)]
pub struct Fetch {
    /// The file.
    pub path: Vec<u8>,
    /// Name of the consolidation function.
    pub cf: Vec<u8>,
    /// Seconds since 1970; up to 0: counted from now.
    pub start: i64,
    /// Seconds since 1970; up to 0: counted from now.
    pub end: i64,
    /// Names of the data sources wanted; none: all.
    pub columns: Vec<Vec<u8>>,
}

/// Where a line stands and what its sender may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Context {
    /// UPDATE and BATCH are permitted.
    pub updates: bool,
    /// Between BATCH and its dot.
    pub batch: bool,
}

/// Understands a line, its line feed taken off.
///
/// # Errors
/// The text of the error answer, without the status number.
pub fn parse(line: &[u8], context: Context) -> Result<Command, Vec<u8>> {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let line = line.split(|&b| b == 0).next().unwrap_or_default();
    let mut fields = Fields(Some(line));
    let name = fields.next().unwrap_or_default();
    let not_here = || Err([b"Can't use '", &name[..], b"' here."].concat());
    if name == b"." {
        return match context {
            Context { updates: false, .. } => Err(DENIED.to_vec()),
            Context { batch: false, .. } => not_here(),
            _ => Ok(Command::EndOfBatch),
        };
    }
    let Some(verb) = Verb::named(&name) else {
        let known = REFUSED.iter().any(|refused| name.eq_ignore_ascii_case(refused.as_bytes()));
        return Err(if known { DENIED.to_vec() } else { [b"Unknown command: ", &name[..]].concat() });
    };
    if matches!(verb, Verb::Update | Verb::Batch) && !context.updates {
        return Err(DENIED.to_vec());
    }
    if context.batch && !matches!(verb, Verb::Update | Verb::Flush | Verb::Quit) {
        return not_here();
    }
    let mut need = || fields.next().ok_or_else(|| verb.usage());
    Ok(match verb {
        Verb::Update => Command::Update(need()?, fields.collect()),
        Verb::Flush => Command::Flush(need()?),
        Verb::FlushAll => Command::FlushAll,
        Verb::Pending => Command::Pending(need()?),
        Verb::Stats => Command::Stats,
        Verb::Help => Command::Help(fields.next().and_then(|name| Verb::named(&name))),
        Verb::Ping => Command::Ping,
        Verb::Batch => Command::Batch,
        Verb::Fetch => {
            let (path, cf) = (need()?, need()?);
            let mut time = |what: &str, default| match fields.next() {
                None => Ok(default),
                Some(text) => integer(&text).ok_or_else(|| {
                    let what = format!("Cannot parse {what} time `");
                    [what.as_bytes(), &text, b"': Only simple integers are allowed."].concat()
                }),
            };
            let (start, end) = (time("start", -86_400)?, time("end", 0)?);
            Command::Fetch(Fetch { path, cf, start, end, columns: fields.collect() })
        }
        Verb::Info => Command::Info(need()?),
        Verb::First => {
            let (path, index) = (need()?, need()?);
            match integer(&index).and_then(|index| u64::try_from(index).ok()) {
                Some(index) => Command::First(path, index),
                None => return Err([b"Invalid index specified (", &index[..], b")"].concat()),
            }
        }
        Verb::Last => Command::Last(need()?),
        Verb::Quit => Command::Quit,
    })
}

/// The fields of what is left of a line. A field that ends in a lone backslash is none.
struct Fields<'a>(Option<&'a [u8]>);

impl Iterator for Fields<'_> {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        let rest = self.0.take()?;
        let mut field = Vec::new();
        let mut at = 0;
        while let Some(&b) = rest.get(at) {
            at += 1;
            match b {
                b' ' => {
                    self.0 = Some(&rest[at..]);
                    break;
                }
                b'\\' => {
                    field.push(*rest.get(at)?);
                    at += 1;
                }
                _ => field.push(b),
            }
        }
        Some(field)
    }
}

/// The whole number a text begins with; the largest or smallest one if it is beyond them.
fn integer(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        _ => (false, text),
    };
    let end = digits.iter().position(|b| !b.is_ascii_digit()).unwrap_or(digits.len());
    if end == 0 {
        return None;
    }
    let number = digits[..end].iter().fold(0_i64, |n, b| n.saturating_mul(10).saturating_add(i64::from(b - b'0')));
    Some(if negative { -number } else { number })
}

/// An update with its time as whole seconds, which is what files have here: `1e9:1` becomes `1000000000:1`.
///
/// # Errors
/// The text of the error answer, as for [`parse`]: no time before the first colon (`N` is none), or no UTF-8.
pub fn update_text(written: &[u8]) -> Result<String, Vec<u8>> {
    let wrong = || [b"Cannot find timestamp in '", written, b"'!"].concat();
    let (time, values) = std::str::from_utf8(written).ok().and_then(|text| text.split_once(':')).ok_or_else(wrong)?;
    // Whole numbers apart, so that no digit is lost; letters other than e would be inf and nan.
    let seconds = match time.parse::<i64>() {
        Ok(seconds) => seconds,
        Err(_) if time.bytes().all(|b| b.is_ascii_digit() || b"+-.eE".contains(&b)) => {
            time.parse::<f64>().map_err(|_| wrong())?.floor() as i64 // beyond i64: its ends
        }
        Err(_) => return Err(wrong()),
    };
    Ok(format!("{seconds}:{values}"))
}

/// The root of the tree: what a path must begin with, by its text.
#[derive(Debug, Clone)]
pub struct Root {
    given: PathBuf,
    /// The same without symbolic links: clients send the paths of their files so.
    real: PathBuf,
}

/// A path of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// As answers show it: as written, below the root if it was relative.
    pub shown: Vec<u8>,
    /// The file, below the root as configured.
    pub path: PathBuf,
}

impl Root {
    /// Both must be absolute; `real` is `given` without symbolic links.
    pub fn new(given: PathBuf, real: PathBuf) -> Self {
        Self { given, real }
    }

    /// Finds a path of a request. Looks at its text only: symbolic links below the root lead where they lead.
    ///
    /// # Errors
    /// The text of the error answer for a path that is not below the root, or has `..` in it.
    pub fn place(&self, written: &[u8]) -> Result<Place, Vec<u8>> {
        use std::os::unix::ffi::OsStrExt;
        let bytes = |root: &Path| root.as_os_str().as_bytes().to_vec();
        let below = |root: &Path| {
            let root = bytes(root);
            let root = root.strip_suffix(b"/").unwrap_or(&root); // "/" alone ends so
            written.strip_prefix(root).and_then(|rest| rest.strip_prefix(b"/")).map(<[u8]>::to_vec)
        };
        let absolute = written.starts_with(b"/");
        let shown = if absolute { written.to_vec() } else { [&bytes(&self.given)[..], b"/", written].concat() };
        let rest = match absolute {
            true => below(&self.given).or_else(|| below(&self.real)),
            false => Some(written.to_vec()),
        };
        let parts =
            rest.as_deref().unwrap_or_default().split(|&b| b == b'/').filter(|part| !matches!(*part, b"" | b"."));
        if rest.is_none() || parts.clone().any(|part| part == b"..") {
            return Err([&shown[..], b": Permission denied"].concat());
        }
        let mut path = self.given.clone();
        path.extend(parts.map(std::ffi::OsStr::from_bytes));
        Ok(Place { shown, path })
    }
}

/// `-1 TEXT`; a line feed in the text becomes a space, so that it stays one line.
pub fn error(text: &[u8]) -> Vec<u8> {
    let mut out = [b"-1 ", text].concat();
    one_line(&mut out);
    out.push(b'\n');
    out
}

/// `0 TEXT`.
pub fn good(text: &[u8]) -> Vec<u8> {
    [b"0 ", text, b"\n"].concat()
}

/// `N TEXT` and those N lines.
pub fn list<L: AsRef<[u8]>>(text: &[u8], lines: &[L]) -> Vec<u8> {
    let mut out = format!("{} ", lines.len()).into_bytes();
    out.extend_from_slice(text);
    out.push(b'\n');
    for line in lines {
        let start = out.len();
        out.extend_from_slice(line.as_ref());
        one_line(&mut out[start..]);
        out.push(b'\n');
    }
    out
}

fn one_line(bytes: &mut [u8]) {
    bytes.iter_mut().filter(|b| **b == b'\n').for_each(|b| *b = b' ');
}

/// The answer to HELP.
pub fn help(verb: Option<Verb>) -> Vec<u8> {
    match verb {
        None => list(b"Command overview", &VERBS.map(|(_, _, usage, _)| usage)),
        Some(verb) => {
            let (name, usage, help) = verb.entry();
            let usage = format!("Usage: {usage}");
            let lines: &[&str] = if help.is_empty() { &[&usage, ""] } else { &[&usage, "", help, ""] };
            list(format!("Help for {name}").as_bytes(), lines)
        }
    }
}

/// The answer to STATS: rrdcached's counters in its order, 0 where there is none, then all others.
pub fn stats(counters: &[(&str, u64)]) -> Vec<u8> {
    const NAMES: [&str; 9] = [
        "QueueLength",
        "UpdatesReceived",
        "FlushesReceived",
        "UpdatesWritten",
        "DataSetsWritten",
        "TreeNodesNumber",
        "TreeDepth",
        "JournalBytes",
        "JournalRotate",
    ];
    let value = |name: &str| counters.iter().find(|(known, _)| *known == name).map_or(0, |(_, value)| *value);
    let others = counters.iter().copied().filter(|(name, _)| !NAMES.contains(name));
    let lines: Vec<_> =
        NAMES.map(|name| (name, value(name))).into_iter().chain(others).map(|(n, v)| format!("{n}: {v}")).collect();
    list(b"Statistics follow", &lines)
}

/// The answer to INFO: a line is key, type (0 number, 1 whole number, 2 text) and value.
pub fn info(shown: &[u8], layout: &Layout, state: &State) -> Vec<u8> {
    let mut lines = vec![[b"filename 2 ", shown].concat()];
    lines.extend(info::items(layout, state).into_iter().map(|(key, item)| {
        let line = match item {
            Item::Number(value) => format!("{key} 0 {}", scientific(value, 10)),
            Item::Count(count) => format!("{key} 1 {count}"),
            Item::Text(text) => format!("{key} 2 {text}"),
        };
        line.into_bytes()
    }));
    list(&[b"Info for ", shown, b" follows"].concat(), &lines)
}

/// Time of the first row of an archive, in seconds since 1970, as rrdcached answers FIRST. `None`: no such archive.
pub fn first(layout: &Layout, state: &State, index: u64) -> Option<i64> {
    let rra = layout.schema().rras.get(usize::try_from(index).ok()?)?;
    let step = (layout.schema().step * rra.steps).cast_signed().max(1);
    Some(state.last_update - state.last_update % step - (rra.rows.cast_signed() - 1).saturating_mul(step))
}

/// Time of the last update in seconds since 1970, down to a whole step, as rrdcached answers LAST.
pub fn last(layout: &Layout, state: &State) -> i64 {
    state.last_update - state.last_update % layout.schema().step.cast_signed().max(1)
}

/// The text of the error answer where a file was to be read, in the words of rrdcached where it has some.
pub fn read_error(shown: &[u8], error: &RrdError) -> Vec<u8> {
    match error {
        RrdError::Missing { .. } => [b"opening '", shown, b"': No such file or directory"].concat(),
        other => other.to_string().into_bytes(),
    }
}

/// The text of the error answer where points were to be taken or written, in the words of rrdcached where it has some.
pub fn write_error(shown: &[u8], error: &RrdError) -> Vec<u8> {
    match error {
        RrdError::Missing { .. } => [b"No such file: ", shown].concat(),
        RrdError::Outside { .. } => [shown, b": Permission denied"].concat(),
        RrdError::Refused { source: UpdateError::Past { time, last }, .. } => format!(
            "illegal attempt to update using time {time}.000000 when last update time is {last}.000000 \
             (minimum one second step)"
        )
        .into_bytes(),
        other => other.to_string().into_bytes(),
    }
}

/// What went wrong in a batch.
#[derive(Debug, Default)]
pub struct Batch {
    commands: u64,
    errors: Vec<Vec<u8>>,
    more: u64,
}

impl Batch {
    /// Counts a command; `Some`: the text of its error answer.
    pub fn command(&mut self, error: Option<&[u8]>) {
        self.commands += 1;
        match error {
            None => {}
            Some(text) if self.errors.len() < BATCH_ERRORS => {
                self.errors.push([format!("{} ", self.commands).as_bytes(), text].concat());
            }
            Some(_) => self.more += 1,
        }
    }

    /// The answer to the dot. Errors over [`BATCH_ERRORS`] are one line, so that the number of lines stays true.
    pub fn answer(mut self) -> Vec<u8> {
        if self.more > 0 {
            self.errors.push(format!("{} and {} more errors", self.commands, self.more).into_bytes());
        }
        list(b"errors", &self.errors)
    }
}

/// The answer to FETCH, made piece by piece.
#[derive(Debug)]
pub struct Rows {
    fetched: Fetched,
    columns: Vec<usize>,
    row: usize,
}

impl Rows {
    /// `columns` are the names wanted; none: all.
    ///
    /// # Errors
    /// The text of the error answer for a name that is not there, or there twice.
    pub fn new(fetched: Fetched, columns: &[Vec<u8>], shown: &[u8]) -> Result<Self, Vec<u8>> {
        let mut chosen = Vec::new();
        for column in columns {
            match fetched.names.iter().position(|name| name.as_bytes() == column) {
                None => return Err([b"field ", &column[..], b" not found in ", shown].concat()),
                Some(index) if chosen.contains(&index) => {
                    return Err([b"field ", &column[..], b" already used"].concat());
                }
                Some(index) => chosen.push(index),
            }
        }
        if columns.is_empty() {
            chosen = (0..fetched.names.len()).collect();
        }
        Ok(Self { fetched, columns: chosen, row: 0 })
    }

    /// The lines before the rows.
    pub fn head(&self) -> Vec<u8> {
        let Fetched { start, end, step, names, .. } = &self.fetched;
        let names: Vec<_> = self.columns.iter().map(|&index| names[index].as_str()).collect();
        format!(
            "{} Success\nFlushVersion: 1\nStart: {start}\nEnd: {end}\nStep: {step}\nDSCount: {}\nDSName: {}\n",
            self.rows() + 6,
            names.len(),
            names.join(" ")
        )
        .into_bytes()
    }

    fn rows(&self) -> usize {
        self.fetched.values.len() / self.fetched.names.len().max(1)
    }

    /// The next rows, about 64 kB; empty: there are no more.
    pub fn next_piece(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        let Fetched { start, step, names, values, .. } = &self.fetched;
        for row in values.chunks(names.len().max(1)).skip(self.row) {
            if out.len() >= CHUNK {
                break;
            }
            self.row += 1;
            out.extend_from_slice(format!("{:>10}:", start + self.row as i64 * step.cast_signed()).as_bytes());
            for &index in &self.columns {
                out.push(b' ');
                // The sign is that of the unknown which librrd stores.
                let text = if row[index].is_nan() { "-nan".to_owned() } else { scientific(row[index], 17) };
                out.extend_from_slice(text.as_bytes());
            }
            out.push(b'\n');
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ALL: Context = Context { updates: true, batch: false };
    const READER: Context = Context { updates: false, batch: false };
    const BATCH: Context = Context { updates: true, batch: true };

    fn refused(line: &[u8], context: Context) -> String {
        String::from_utf8(parse(line, context).unwrap_err()).unwrap()
    }

    fn root() -> Root {
        Root::new("/var/rrds".into(), "/data/rrds".into())
    }

    #[test]
    fn fields_are_split_as_by_rrdcached() {
        let path = |line: &[u8]| match parse(line, ALL) {
            Ok(Command::Last(path)) => String::from_utf8(path).unwrap(),
            other => panic!("{other:?}"),
        };
        assert_eq!(path(b"last a\\ b.rrd"), "a b.rrd");
        assert_eq!(path(b"LAST a\\\\b.rrd x"), "a\\b.rrd");
        assert_eq!(path(b"LAST a\\b.rrd"), "ab.rrd");
        assert_eq!(path(b"LAST \"a b\""), "\"a");
        assert_eq!(path(b"LAST  a.rrd"), "");
        assert_eq!(path(b"LAST \ta.rrd\r"), "\ta.rrd");
        assert_eq!(path(b"LAST a.rrd\0b"), "a.rrd");
        assert_eq!(refused(b"LAST a.rrd\\", ALL), "Usage: LAST <filename>");
        assert_eq!(refused(b" LAST a.rrd", ALL), "Unknown command: ");
        assert_eq!(refused(b"PING\r\r", ALL), "Unknown command: PING\r");
    }

    #[test]
    fn rights_and_places_are_looked_at() {
        assert_eq!(refused(b"update a 1:1", READER), "Permission denied.");
        assert_eq!(refused(b"BATCH", READER), "Permission denied.");
        assert_eq!(refused(b".", READER), "Permission denied.");
        assert_eq!(refused(b".", ALL), "Can't use '.' here.");
        assert_eq!(refused(b"ping", BATCH), "Can't use 'ping' here.");
        assert_eq!(refused(b"FORGET a", ALL), "Permission denied.");
        assert_eq!(refused(b"NOPE", BATCH), "Unknown command: NOPE");
        assert_eq!(parse(b". x", BATCH), Ok(Command::EndOfBatch));
        assert_eq!(parse(b"quit", BATCH), Ok(Command::Quit));
        assert!(parse(b"FLUSH a", READER).is_ok());
    }

    #[test]
    fn times_are_read() {
        let times = |line: &[u8]| match parse(line, ALL) {
            Ok(Command::Fetch(fetch)) => (fetch.start, fetch.end, fetch.columns.len()),
            other => panic!("{other:?}"),
        };
        assert_eq!(times(b"FETCH f AVERAGE"), (-86_400, 0, 0));
        assert_eq!(times(b"FETCH f AVERAGE -100"), (-100, 0, 0));
        assert_eq!(times(b"FETCH f AVERAGE +100x 99999999999999999999 a b"), (100, i64::MAX, 2));
        let error = refused(b"FETCH f AVERAGE 1 end", ALL);
        assert_eq!(error, "Cannot parse end time `end': Only simple integers are allowed.");
        assert_eq!(refused(b"FIRST f -1", ALL), "Invalid index specified (-1)");
    }

    #[test]
    fn updates_have_whole_seconds() {
        let text = |written: &str| update_text(written.as_bytes()).map_err(|e| String::from_utf8(e).unwrap());
        assert_eq!(text("1000000015.75:1:2"), Ok("1000000015:1:2".into()));
        assert_eq!(text("1e9:U"), Ok("1000000000:U".into()));
        assert_eq!(text("9007199254740993:"), Ok("9007199254740993:".into()));
        for wrong in ["N:1", "inf:1", "nan:1", "0x10:1", ":1", "1", "", "1@1:2", "1 :2"] {
            assert_eq!(text(wrong), Err(format!("Cannot find timestamp in '{wrong}'!")));
        }
        assert!(update_text(b"1:\xff").is_err());
    }

    #[test]
    fn paths_stay_below_the_root() {
        let place = |written: &str| root().place(written.as_bytes()).map(|place| place.path.display().to_string());
        for good in ["a/b.rrd", "/var/rrds/a/b.rrd", "/data/rrds/a/b.rrd", "./a//b.rrd", "/var/rrds//a/./b.rrd"] {
            assert_eq!(place(good), Ok("/var/rrds/a/b.rrd".into()));
        }
        for bad in ["..", "a/../b", "/etc/passwd", "/", "/var/rrds", "/var/rrdsx/a", "/var/rrds/../x", "//var/rrds/a"] {
            assert!(String::from_utf8(place(bad).unwrap_err()).unwrap().ends_with(": Permission denied"), "{bad}");
        }
        assert_eq!(place("..a/b.."), Ok("/var/rrds/..a/b..".into()));
        assert_eq!(root().place(b"a").unwrap().shown, b"/var/rrds/a");
        assert_eq!(Root::new("/".into(), "/".into()).place(b"/a").unwrap().path, PathBuf::from("/a"));
    }

    #[test]
    fn the_number_of_lines_is_told_truly() {
        let mut batch = Batch::default();
        for _ in 0..BATCH_ERRORS + 2 {
            batch.command(Some(b"no\nno"));
            batch.command(None);
        }
        let answer = String::from_utf8(batch.answer()).unwrap();
        let lines: Vec<_> = answer.lines().collect();
        assert_eq!((lines[0], lines[2], lines.len()), ("1001 errors", "3 no no", 1002));
        assert_eq!(lines[1001], "2004 and 2 more errors");
        for verb in VERBS.map(|(verb, ..)| Some(verb)).into_iter().chain([None]) {
            let text = String::from_utf8(help(verb)).unwrap();
            let told: usize = text.split(' ').next().unwrap().parse().unwrap();
            assert_eq!(text.lines().count(), told + 1, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(line in proptest::collection::vec(any::<u8>(), 0..80), updates: bool, batch: bool) {
            let _ = parse(&line, Context { updates, batch });
            let _ = update_text(&line);
            prop_assert_eq!(error(&line).iter().filter(|&&b| b == b'\n').count(), 1);
        }

        #[test]
        fn any_arguments_are_read(
            verb in proptest::sample::select(&VERBS[..]),
            rest in proptest::collection::vec(proptest::sample::select(&b" \\\"'/.:-019aN\r\t\xff\0"[..]), 0..40),
        ) {
            let line = [verb.1.as_bytes(), b" ", &rest].concat();
            if let Ok(command) = parse(&line, ALL) {
                prop_assert!(!matches!(command, Command::EndOfBatch));
            }
        }

        #[test]
        fn no_path_leaves_the_root(path in "[./a]{0,12}|(/var/rrds|/data/rrds)[./a]{0,12}") {
            if let Ok(place) = root().place(path.as_bytes()) {
                prop_assert!(place.path.starts_with("/var/rrds"));
                prop_assert!(place.path.components().all(|c| c != std::path::Component::ParentDir));
            }
        }

        #[test]
        fn escaped_fields_come_back(field in proptest::collection::vec(1u8.., 1..40)) {
            prop_assume!(!field.contains(&b'\n') && field.last() != Some(&b'\r'));
            let mut line = b"FLUSH ".to_vec();
            for &b in &field {
                if b == b' ' || b == b'\\' {
                    line.push(b'\\');
                }
                line.push(b);
            }
            prop_assert_eq!(parse(&line, ALL), Ok(Command::Flush(field)));
        }
    }
}
