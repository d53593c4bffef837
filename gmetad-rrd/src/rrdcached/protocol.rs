//! rrdcached's lines: what is sent, and what the answers mean. No I/O.
//!
//! What the manual does not say, seen at rrdcached 1.7.2:
//!
//! - It queues values without looking at them. When it writes the queue of a file, one bad text or a wrong number of values
//!   costs all that is queued behind it, and nobody hears of it. So values are checked here, before they are sent.
//! - It takes the points of a line one by one and stops at the first whose time is not newer than the last: those behind it
//!   are not taken. So times on one line grow here, the first is the only one that can be too old, and what is newer than
//!   the last update the answer tells of is sent again.
//! - A line that is too long (between 5000 and 9000 bytes) ends the connection.
//! - A batch counts the lines of its errors, and one error has two lines.

use std::fmt::Write as _;
use std::path::Path;

use crate::error::RrdError;
use crate::schema::{DsKind, Schema};
use crate::update::UpdateError;
use crate::value::{Point, Reading, Value, ValueError};

/// Longest line sent, in bytes with its end.
pub(super) const MAX_LINE: usize = 4096;

/// Most lines of the answer to one command: points queued of a file, above all.
pub(super) const MAX_ANSWER_LINES: i64 = 1_000_000;

/// An error of a batch.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Complaint {
    /// Which command, from 0.
    pub(super) command: usize,
    pub(super) text: String,
}

/// The status line of an answer: its number, and its text.
pub(super) fn status(line: &str) -> Option<(i64, &str)> {
    let (number, text) = line.split_once(' ')?;
    Some((number.parse().ok()?, text))
}

/// An error line of a batch of `count` commands; `None` for the second line of an error.
pub(super) fn complaint(line: &str, count: usize) -> Option<Complaint> {
    let (number, text) = line.split_once(' ')?;
    let command: usize = number.parse().ok()?;
    (1..=count).contains(&command).then(|| Complaint { command: command - 1, text: text.to_owned() })
}

/// Why a line cannot be sent.
pub(super) fn unsendable(path: &Path) -> RrdError {
    let text =
        format!("a path with a line break, or a line of more than {MAX_LINE} bytes, cannot be sent to rrdcached");
    RrdError::Librrd { path: path.to_owned(), text }
}

/// What rrdcached said of a file, without the path at its beginning.
pub(super) fn refusal(path: &Path, text: &str) -> RrdError {
    if text.starts_with("No such file: ") {
        return RrdError::Missing { path: path.to_owned() };
    }
    let prefix = format!("{}: ", path.display());
    RrdError::Librrd { path: path.to_owned(), text: text.strip_prefix(&prefix).unwrap_or(text).to_owned() }
}

/// Appends `WORD PATH`; `false`, and half of it, if the path cannot be sent.
#[must_use]
pub(super) fn put_command(word: &str, path: &Path, out: &mut Vec<u8>) -> bool {
    let path = path.as_os_str().as_encoded_bytes();
    out.extend_from_slice(word.as_bytes());
    out.push(b' ');
    for &b in path {
        if matches!(b, b' ' | b'\\') {
            out.push(b'\\');
        }
        out.push(b);
    }
    !path.is_empty() && !path.iter().any(|b| matches!(b, b'\n' | b'\0'))
}

/// Appends a CREATE line, `replace`: also over an existing file.
///
/// # Errors
/// The schema is no good, or the line too long.
pub(super) fn put_create(
    path: &Path,
    schema: &Schema,
    start: i64,
    replace: bool,
    out: &mut Vec<u8>,
) -> Result<(), RrdError> {
    schema.check().map_err(|e| RrdError::schema(path, e))?;
    let begin = out.len();
    let good = put_command("CREATE", path, out);
    let mut text = format!(" -s {} -b {start}", schema.step);
    if !replace {
        text.push_str(" -O");
    }
    for ds in &schema.ds {
        let _ = write!(text, " DS:{}:{}:{}", ds.name, ds.kind.name(), ds.heartbeat); // a String takes all
        for limit in [ds.min, ds.max] {
            let _ = if limit.is_nan() { write!(text, ":U") } else { write!(text, ":{limit}") };
        }
    }
    for rra in &schema.rras {
        let _ = write!(text, " {rra}");
    }
    text.push('\n');
    out.extend_from_slice(text.as_bytes());
    if !good || out.len() - begin > MAX_LINE {
        out.truncate(begin);
        return Err(unsendable(path));
    }
    Ok(())
}

/// One file's way through a call: at most one line of it is under way at a time, as a refused line hides what became of
/// the next.
#[derive(Debug)]
pub(super) struct Task<'a> {
    pub(super) path: &'a Path,
    /// Without: values must be numbers, as many as there are.
    pub(super) schema: Option<&'a Schema>,
    points: &'a [Point<'a>],
    /// Points before this one have their verdict.
    next: usize,
    /// Points must be newer.
    last: i64,
    /// Points up to here may have been taken in an earlier call.
    doubt: i64,
    refused: Refused,
    line: Line,
    /// The file was made in this call.
    pub(super) made: bool,
    pub(super) result: Option<Result<(), RrdError>>,
}

/// Points refused so far.
#[derive(Debug, Clone, Default)]
struct Refused {
    count: usize,
    first: Option<UpdateError>,
}

/// What holds once the line under way is taken.
#[derive(Debug, Default)]
struct Line {
    next: usize,
    last: i64,
    refused: Refused,
}

impl<'a> Task<'a> {
    pub(super) fn new(path: &'a Path, schema: Option<&'a Schema>, points: &'a [Point<'a>], doubt: Option<i64>) -> Self {
        Self {
            path,
            schema,
            points,
            next: 0,
            last: i64::MIN,
            doubt: doubt.unwrap_or(i64::MIN),
            refused: Refused::default(),
            line: Line::default(),
            made: false,
            result: None,
        }
    }

    /// The points without a verdict.
    pub(super) fn rest(&self) -> &'a [Point<'a>] {
        &self.points[self.next..]
    }

    /// The time of the newest point of the line under way.
    pub(super) fn newest_sent(&self) -> i64 {
        self.line.last
    }

    /// Appends the next line; `false`: there is none, the task is done.
    pub(super) fn put_line(&mut self, out: &mut Vec<u8>) -> bool {
        let begin = out.len();
        let mut line = Line { next: self.next, last: self.last, refused: self.refused.clone() };
        let sendable = put_command("update", self.path, out);
        let bare = out.len();
        for point in self.rest() {
            let before = out.len();
            match self.put_point(point, line.last, out) {
                Ok(()) if out.len() - begin < MAX_LINE => line.last = point.time,
                Ok(()) => {
                    out.truncate(before);
                    break;
                }
                Err(e) => {
                    out.truncate(before);
                    if !matches!(e, UpdateError::Past { time, .. } if time <= self.doubt) {
                        line.refused.add(e);
                    }
                }
            }
            line.next += 1;
        }
        if sendable && out.len() > bare {
            out.push(b'\n');
            self.line = line;
            return true;
        }
        out.truncate(begin);
        if sendable && line.next == self.points.len() {
            self.line = line;
            self.taken();
        } else {
            self.result = Some(Err(unsendable(self.path)));
        }
        false
    }

    fn put_point(&self, point: &Point<'_>, last: i64, out: &mut Vec<u8>) -> Result<(), UpdateError> {
        let Point { time, values } = *point;
        if let Some(expected) = self.schema.map(|schema| schema.ds.len()).filter(|&n| n != values.len()) {
            return Err(UpdateError::Count { expected, got: values.len(), time });
        }
        if time <= last {
            return Err(UpdateError::Past { time, last });
        }
        if !(0..253_402_300_800).contains(&time) {
            return Err(UpdateError::Time(time));
        }
        out.extend_from_slice(format!(" {time}").as_bytes());
        for (i, &value) in values.iter().enumerate() {
            let kind = self.schema.and_then(|schema| schema.ds.get(i)).map_or(DsKind::Gauge, |ds| ds.kind);
            out.push(b':');
            put_value(value, kind, out)?;
        }
        Ok(())
    }

    /// The line under way was taken.
    pub(super) fn taken(&mut self) {
        let Line { next, last, refused } = std::mem::take(&mut self.line);
        (self.next, self.last, self.refused) = (next, last, refused);
        if self.next == self.points.len() {
            self.result = Some(self.verdict());
        }
    }

    /// The line under way was refused with that text: nothing of it was taken.
    pub(super) fn refused(&mut self, text: &str) {
        match last_update(text).filter(|&last| last > self.last) {
            Some(last) => self.last = last, // and the line is made again of what is newer
            None => self.result = Some(Err(refusal(self.path, text))),
        }
    }

    /// What is to be told in the end, if all that could be taken was.
    pub(super) fn verdict(&self) -> Result<(), RrdError> {
        let Refused { count, first } = self.refused.clone();
        first.map_or(Ok(()), |source| Err(RrdError::Refused { path: self.path.to_owned(), refused: count, source }))
    }
}

impl Refused {
    fn add(&mut self, error: UpdateError) {
        self.count += 1;
        if self.first.as_ref().is_none_or(|first| matches!(first, UpdateError::Past { .. })) {
            self.first = Some(error); // any other reason is better worth telling
        }
    }
}

/// The file's last update in whole seconds, of "illegal attempt to update using time 5.0 when last update time is 6.0 …".
fn last_update(text: &str) -> Option<i64> {
    let (_, times) = text.split_once("illegal attempt to update using time ")?;
    let (_, last) = times.split_once("last update time is ")?;
    let end = last.find(|c: char| !c.is_ascii_digit()).unwrap_or(last.len());
    last[..end].parse().ok()
}

/// Appends a value that librrd will take and that is one word.
fn put_value(value: Value<'_>, kind: DsKind, out: &mut Vec<u8>) -> Result<(), ValueError> {
    Reading::of(value, kind)?;
    match value {
        Value::Unknown => out.push(b'U'),
        Value::Text(text) if text.starts_with('U') => out.push(b'U'), // whatever follows
        Value::Text(text) => {
            let number = text.trim_ascii_start();
            if number.is_empty() || !number.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b)) {
                return Err(ValueError::Float(text.chars().take(60).flat_map(char::escape_debug).collect()));
            }
            out.extend_from_slice(number.as_bytes());
        }
        Value::Number(number) => out.extend_from_slice(number.to_string().as_bytes()),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    use proptest::prelude::*;

    use super::*;

    /// A line as rrdcached cuts it: at blanks, a backslash takes the next byte as it is.
    fn fields(line: &[u8]) -> Vec<Vec<u8>> {
        let mut fields = vec![Vec::new()];
        let mut bytes = line.iter();
        while let Some(&b) = bytes.next() {
            match b {
                b' ' => fields.push(Vec::new()),
                b'\\' => fields.last_mut().unwrap().push(*bytes.next().unwrap()),
                _ => fields.last_mut().unwrap().push(b),
            }
        }
        fields
    }

    fn line(task: &mut Task<'_>) -> Option<String> {
        let mut out = Vec::new();
        let put = task.put_line(&mut out);
        assert_eq!(put, !out.is_empty());
        put.then(|| String::from_utf8(out).unwrap())
    }

    const ONE: [Value<'_>; 1] = [Value::Text("1")];

    fn at(times: &[i64]) -> Vec<Point<'static>> {
        times.iter().map(|&time| Point { time, values: &ONE }).collect()
    }

    #[test]
    fn a_line_has_all_points_of_a_file() {
        let values = [
            [Value::Text("0.42"), Value::Text(" 7")],
            [Value::Unknown, Value::Text("U nknown:\n")],
            [Value::Number(1.5), Value::Number(f64::INFINITY)],
        ];
        let points: Vec<_> = values.iter().zip(5..).map(|(values, time)| Point { time, values }).collect();
        let mut task = Task::new(Path::new("/r/A B\\é%/m.rrd"), None, &points, None);
        assert_eq!(line(&mut task).unwrap(), "update /r/A\\ B\\\\é%/m.rrd 5:0.42:7 6:U:U 7:1.5:inf\n");
        task.taken();
        assert!(matches!(task.result, Some(Ok(()))));
    }

    #[test]
    fn what_is_too_old_is_left_out_and_the_rest_sent_again() {
        let points = at(&[10, 10, 20, 30, -1, 40]);
        let mut task = Task::new(Path::new("/m"), None, &points, None);
        assert_eq!(line(&mut task).unwrap(), "update /m 10:1 20:1 30:1 40:1\n");
        let text = "illegal attempt to update using time 10.000000 when last update time is 25.500000 (minimum one second step)";
        task.refused(text);
        assert_eq!(line(&mut task).unwrap(), "update /m 30:1 40:1\n");
        task.taken();
        let error = task.result.unwrap().unwrap_err();
        assert!(matches!(error, RrdError::Refused { refused: 4, source: UpdateError::Past { .. }, .. }), "{error:?}");
        // The same answer again is no way out.
        let mut task = Task::new(Path::new("/m"), None, &points, None);
        line(&mut task).unwrap();
        task.refused(text);
        line(&mut task).unwrap();
        task.refused(text);
        assert!(matches!(task.result, Some(Err(RrdError::Librrd { .. }))));
        // What may have been taken before is not told of.
        let mut task = Task::new(Path::new("/m"), None, &points[2..4], Some(20));
        line(&mut task).unwrap();
        task.refused(text);
        assert_eq!(line(&mut task).unwrap(), "update /m 30:1\n");
        task.taken();
        assert!(matches!(task.result, Some(Ok(()))));
    }

    #[test]
    fn points_beyond_one_line_go_on_the_next() {
        let points = at(&(1_000_000_000..1_000_001_000).collect::<Vec<_>>());
        let mut task = Task::new(Path::new("/m.rrd"), None, &points, None);
        let mut sent = Vec::new();
        while let Some(line) = line(&mut task) {
            assert!(line.len() <= MAX_LINE);
            sent.extend(line.trim_end().split(' ').skip(2).map(str::to_owned));
            task.taken();
            if task.result.is_some() {
                break;
            }
        }
        assert!(sent.into_iter().eq(points.iter().map(|p| format!("{}:1", p.time))));
    }

    #[test]
    fn what_cannot_be_sent_costs_one_file() {
        let long = "x".repeat(5000);
        for path in ["/a\nb", "", long.as_str()] {
            let points = at(&[1]);
            let mut task = Task::new(Path::new(path), None, &points, None);
            assert_eq!(line(&mut task), None);
            assert!(matches!(task.result, Some(Err(RrdError::Librrd { .. }))));
        }
        let schema = Schema::host(15, DsKind::Counter, &Schema::ganglia_rras());
        for (value, good) in [("5", true), ("1.5", false), ("1:2", false), ("1\nFLUSHALL", false), ("", false)] {
            let values = [Value::Text(value)];
            let points = [Point { time: 5, values: &values }];
            let mut task = Task::new(Path::new("/m"), Some(&schema), &points, None);
            assert_eq!(line(&mut task).is_some(), good, "{value}");
        }
    }

    #[test]
    fn create_lines() {
        let mut schema = Schema::summary(15, DsKind::Gauge, DsKind::Derive, &Schema::ganglia_rras()[..1]);
        (schema.ds[0].min, schema.ds[0].max) = (-0.5, 1e6);
        let mut out = Vec::new();
        put_create(Path::new("/a b"), &schema, 99, false, &mut out).unwrap();
        let text =
            "CREATE /a\\ b -s 15 -b 99 -O DS:sum:GAUGE:120:-0.5:1000000 DS:num:DERIVE:120:U:U RRA:AVERAGE:0.5:1:5856\n";
        assert_eq!(String::from_utf8(out).unwrap(), text);
    }

    #[test]
    fn answers() {
        assert_eq!(status("-1 No such file: /x y"), Some((-1, "No such file: /x y")));
        assert_eq!(status("220"), None);
        assert_eq!(status("HTTP/1.1 400 Bad Request"), None);
        assert_eq!(complaint("3 Unknown command: ", 3).unwrap().command, 2);
        assert_eq!(complaint("4 x", 3), None);
        assert_eq!(complaint("0 x", 3), None);
        assert_eq!(complaint("Did you pass -R to the daemon?", 3), None);
        assert_eq!(last_update("illegal attempt to update using time x"), None);
        assert!(matches!(refusal(Path::new("/a"), "No such file: /a"), RrdError::Missing { .. }));
        assert_eq!(refusal(Path::new("/a"), "/a: Permission denied").to_string(), "/a: Permission denied");
    }

    fn value() -> impl Strategy<Value = String> {
        prop_oneof!["[0-9:. \\n\\r\\t\\\\U+-]{0,8}", "\\PC{0,8}", "[ \\x0b\\n]?[0-9]{1,4}", "(?s).{0,6}"]
    }

    proptest! {
        #[test]
        fn a_task_is_one_line_whatever_it_holds(
            path in prop_oneof![
                proptest::collection::vec(any::<u8>(), 0..40),
                proptest::collection::vec(prop_oneof![Just(b' '), Just(b'\\'), Just(b'\n'), Just(b'a')], 0..12)
            ],
            values in proptest::collection::vec((any::<i64>(), value(), value(), any::<f64>()), 0..20),
            kinds: bool,
        ) {
            let path = Path::new(OsStr::from_bytes(&path));
            let schema = Schema::summary(15, DsKind::Derive, DsKind::Gauge, &Schema::ganglia_rras());
            let values: Vec<_> = values.iter()
                .map(|(time, a, b, c)| (*time >> 30, [Value::Text(a), if c.is_normal() { Value::Text(b) } else { Value::Number(*c) }]))
                .collect();
            let points: Vec<_> = values.iter().map(|(time, values)| Point { time: *time, values }).collect();
            let mut task = Task::new(path, kinds.then_some(&schema), &points, None);
            let mut out = Vec::new();
            if task.put_line(&mut out) {
                prop_assert!(out.len() <= MAX_LINE);
                prop_assert_eq!(out.iter().filter(|&&b| b == b'\n').count(), 1);
                let fields = fields(out.strip_suffix(b"\n").unwrap());
                prop_assert_eq!(&fields[0][..], b"update");
                prop_assert_eq!(&fields[1][..], path.as_os_str().as_bytes());
                prop_assert!(fields.len() > 2);
                for field in &fields[2..] {
                    prop_assert_eq!(field.iter().filter(|&&b| b == b':').count(), 2, "{:?}", field);
                    prop_assert!(field.iter().all(|b| b.is_ascii_graphic()));
                }
            } else {
                prop_assert!(out.is_empty() && task.result.is_some());
            }
        }

        #[test]
        fn any_answer_is_read(line in "\\PC*|-?[0-9]{1,20} .*", count in 0usize..5) {
            let _ = status(&line);
            let _ = last_update(&line);
            prop_assert!(complaint(&line, count).is_none_or(|complaint| complaint.command < count));
        }
    }
}
