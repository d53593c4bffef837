//! Graphs as PNG, drawn by librrd where it is installed: `vnamedefs` and raw arguments of rrdgraph, as users' files have them, and
//! the others as well.
//!
//! librrd crashes when several threads draw (before 1.8), keeps fonts and caches, and was written for friendly input. So a process
//! of its own draws, this program called with `draw`: bounded in time, memory and output, two at once at most. `main` must call
//! [`draw`] for that word before anything else.

use std::ffi::CString;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use gmetad_core::agent::Message;
use gmetad_core::message;
use gmetad_process::child::{Ended, Limits, Spawn};
use gmetad_process::run::{Bounds, Output, run};
use gmetad_rrd::Cf;
use librrd_forward::NOT_INSTALLED;
use parking_lot::{Condvar, Mutex};
use thiserror::Error;

use crate::said::{self, Said};
use crate::spec::{Draw, Graph};

mod options;

/// The word by which this program is told to be the helper.
pub const WORD: &str = "draw";
/// How long a picture may take, and how long one waits for its turn.
const TIME: Duration = Duration::from_secs(10);
/// Pictures drawn at once.
const AT_ONCE: usize = 2;
/// Bytes of a picture, of a request.
const PICTURE: usize = 8 << 20;
const REQUEST: usize = 4 << 20;
/// Address space of the helper: librrd and its fonts map much and use little.
const MEMORY: u64 = 1 << 30;
/// Pixels of the drawn part.
const SIZE: std::ops::RangeInclusive<u32> = 20..=4000;
/// Series of a picture.
const SERIES: usize = 200;
/// Colours of series that have none.
const COLORS: [&str; 8] = ["#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b", "#e377c2", "#7f7f7f"];

/// Why there is no picture.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PngError {
    /// librrd cannot be opened.
    #[error("{0}; pictures of raw rrdgraph arguments need it")]
    NotInstalled(String),
    /// An argument of the graph that may not be passed on, or a name that cannot be.
    #[error("{0}")]
    Graph(Message),
    /// A data source without a file (yet).
    #[error("there is no file of the data source \"{0}\" yet")]
    NoFile(String),
    /// librrd's words.
    #[error("librrd: {0}")]
    Librrd(String),
    /// The helper did not end well, or could not be started.
    #[error("the process that draws: {0}")]
    Helper(Message),
    /// Too many want pictures.
    #[error("too many pictures are being drawn; try again")]
    Busy,
}

impl PngError {
    /// The same, to be translated.
    pub fn message(&self) -> Message {
        match self {
            Self::NotInstalled(_) => {
                message!("librrd is not installed (Debian package librrd8); pictures of raw rrdgraph arguments need it")
            }
            Self::Graph(what) => what.clone(),
            Self::NoFile(ds) => message!("there is no file of the data source \"{}\" yet", ds),
            Self::Librrd(text) => message!("librrd: {}", text),
            Self::Helper(why) => message!("the process that draws: {}", why.clone()),
            Self::Busy => message!("too many pictures are being drawn; try again"),
        }
    }
}

/// Draws a graph from `start` to `end` (seconds since the epoch); width and height in pixels are those of the drawn part, between
/// the axes. `files`: the RRD file of a data source, an absolute path.
///
/// # Errors
/// See [`PngError`]. It takes 20 s at most, waiting included.
pub fn png(
    graph: &Graph,
    files: &dyn Fn(&str) -> Option<PathBuf>,
    start: i64,
    end: i64,
    width: u32,
    height: u32,
) -> Result<Vec<u8>, PngError> {
    let arguments = arguments(graph, files, start, end, width, height)?;
    let request = serde_json::to_vec(&arguments).map_err(|error| PngError::Helper(error.said()))?;
    let _turn = Turn::wait(Instant::now() + TIME).ok_or(PngError::Busy)?;
    // Not by its path: the file may have been replaced since we were started.
    let mut helper = Spawn::new("/proc/self/exe").args([WORD]).dir("/").bare_env().env("LC_ALL", "C.UTF-8");
    if let Some(zone) = std::env::var_os("TZ") {
        helper = helper.env("TZ", zone);
    }
    let helper =
        helper.limits(Limits { memory: Some(MEMORY), cpu: Some(TIME.as_secs()), files: Some(64) }).dies_with_thread();
    let bounds = Bounds { time: TIME, grace: Duration::ZERO, stdout: PICTURE, ..Bounds::default() };
    let output = run(&helper, &request, &bounds, &|| false).map_err(|error| PngError::Helper(error.said()))?;
    picture(output)
}

fn picture(output: Output) -> Result<Vec<u8>, PngError> {
    let text = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    match output.result {
        Ok(Ended::Exit(0)) if output.stdout.starts_with(b"\x89PNG\r\n\x1a\n") => Ok(output.stdout),
        Ok(Ended::Exit(FAILED)) if text.starts_with(NOT_INSTALLED) => Err(PngError::NotInstalled(text)),
        Ok(Ended::Exit(FAILED)) => Err(PngError::Librrd(text)),
        Ok(Ended::Exit(0)) => {
            Err(PngError::Helper(message!("it made no PNG; does main() call graph::draw() for the word \"draw\"?")))
        }
        Ok(ended) => Err(PngError::Helper(match &*text {
            "" => said::ended(ended),
            text => message!("{}; it said: {}", said::ended(ended), text),
        })),
        Err(cut) => Err(PngError::Helper(said::cut(cut))),
    }
}

/// The helper's exit status if librrd does not draw.
const FAILED: i32 = 3;

/// The helper: arguments as a JSON array on the standard input, the picture on the standard output. Exit status 3 with librrd's
/// words on the standard error if it does not draw.
pub fn draw() -> ExitCode {
    let fail = |status: u8, text: &str| {
        eprintln!("{text}");
        ExitCode::from(status)
    };
    let mut request = Vec::new();
    if let Err(error) = io::stdin().take(REQUEST as u64).read_to_end(&mut request) {
        return fail(1, &error.to_string());
    }
    let arguments: Vec<String> = match serde_json::from_slice(&request) {
        Ok(arguments) => arguments,
        Err(error) => return fail(1, &format!("not a request: {error}; this word is for the program itself")),
    };
    let arguments: Result<Vec<CString>, _> = arguments.into_iter().map(CString::new).collect();
    let Ok(arguments) = arguments else { return fail(1, "an argument has a NUL") };
    match librrd_forward::graph(&arguments) {
        Ok(image) => match io::stdout().write_all(&image) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(1, &error.to_string()),
        },
        Err(text) => fail(FAILED as u8, &text),
    }
}

/// The arguments of rrdgraph for a graph; `rrdtool graph FILE ARGUMENT…` draws the same picture.
///
/// # Errors
/// [`PngError::Graph`] and [`PngError::NoFile`].
pub fn arguments(
    graph: &Graph,
    files: &dyn Fn(&str) -> Option<PathBuf>,
    start: i64,
    end: i64,
    width: u32,
    height: u32,
) -> Result<Vec<String>, PngError> {
    let bad = |what| Err(PngError::Graph(what));
    if start < 0 || start >= end || !SIZE.contains(&width) || !SIZE.contains(&height) {
        return bad(message!("the times {} and {} and the size {} x {} make no picture", start, end, width, height));
    }
    let mut all = vec![
        format!("--start={start}"),
        format!("--end={end}"),
        format!("--width={width}"),
        format!("--height={height}"),
        "--imgformat=PNG".to_owned(),
    ];
    let definition = |name: &str, ds: &str, cf: &str| {
        let path = files(ds).ok_or_else(|| PngError::NoFile(ds.to_owned()))?;
        if !path.exists() {
            return Err(PngError::NoFile(ds.to_owned()));
        }
        Ok(format!("DEF:{name}={}:value:{}", escaped(&path)?, function(cf)?))
    };
    if graph.vnamedefs.is_empty() {
        plain(graph, &mut all, &definition)?;
        return Ok(all);
    }
    let mut raw = options::checked(&graph.options).map_err(PngError::Graph)?;
    let elements = raw.split_off(raw.iter().position(|one| !one.starts_with("--")).unwrap_or(raw.len()));
    all.append(&mut raw);
    for (name, (ds, cf)) in graph.vnamedefs.iter().take(SERIES) {
        let is_name = (1..=64).contains(&name.len())
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
        if !is_name {
            return bad(message!("vnamedefs: `{}` is no name; letters, digits, `_` and `-` make one", name));
        }
        all.push(definition(name, ds, cf)?);
    }
    all.extend(elements);
    Ok(all)
}

/// A graph of series.
fn plain(
    graph: &Graph,
    all: &mut Vec<String>,
    definition: &dyn Fn(&str, &str, &str) -> Result<String, PngError>,
) -> Result<(), PngError> {
    let text = |name: &str, value: &str| (!value.is_empty()).then(|| format!("--{name}={}", value.replace('\0', "")));
    all.extend(text("title", &graph.title.to_string()));
    all.extend(text("vertical-label", &graph.unit));
    let limit = |name: &str, limit: Option<f64>| {
        limit.filter(|limit| limit.is_finite()).map(|limit| format!("--{name}={limit}"))
    };
    all.extend(limit("lower-limit", graph.lower));
    all.extend(limit("upper-limit", graph.upper));
    if graph.series.is_empty() {
        return Err(PngError::Graph(message!("nothing is to be drawn: the graph has neither series nor vnamedefs")));
    }
    for (at, series) in graph.series.iter().take(SERIES).enumerate() {
        let cf = if series.cf.is_empty() { "AVERAGE" } else { &series.cf };
        all.push(definition(&format!("v{at}"), &series.ds, cf)?);
    }
    for (at, series) in graph.series.iter().take(SERIES).enumerate() {
        let is_color = series
            .color
            .strip_prefix('#')
            .is_some_and(|rest| rest.len() == 6 && rest.bytes().all(|b| b.is_ascii_hexdigit()));
        let color = if is_color { &series.color } else { COLORS[at % COLORS.len()] };
        let legend = series.legend.to_string();
        let legend = if legend.is_empty() { &series.ds } else { &legend };
        let legend = legend.replace('\\', "\\\\").replace(':', "\\:").replace('\0', "");
        let (head, stack) = match series.draw {
            Draw::Line1 => ("LINE1", ""),
            Draw::Line2 => ("LINE2", ""),
            Draw::Line3 => ("LINE3", ""),
            Draw::Area => ("AREA", ""),
            Draw::Stack if at == 0 => ("AREA", ""),
            Draw::Stack => ("AREA", ":STACK"),
        };
        all.push(format!("{head}:v{at}{color}:{legend}{stack}"));
    }
    Ok(())
}

fn function(cf: &str) -> Result<&'static str, PngError> {
    let known = Cf::from_name(cf).map(Cf::name);
    known.ok_or_else(|| PngError::Graph(message!("`{}` is none of AVERAGE, MIN, MAX, LAST", cf)))
}

/// A path within an argument: a colon would end it. librrd has no way to write a backslash before one.
fn escaped(path: &Path) -> Result<String, PngError> {
    match path.to_str() {
        Some(text) if path.is_absolute() && !text.contains("\\:") && !text.contains('\0') => {
            Ok(text.replace(':', "\\:"))
        }
        _ => Err(PngError::Graph(message!("librrd cannot be given the path {}", path.display().to_string()))),
    }
}

/// The right to draw, given back when dropped.
struct Turn;

static FREE: Mutex<usize> = Mutex::new(AT_ONCE);
static FREED: Condvar = Condvar::new();

impl Turn {
    fn wait(until: Instant) -> Option<Self> {
        let mut free = FREE.lock();
        while *free == 0 {
            if FREED.wait_until(&mut free, until).timed_out() {
                return None;
            }
        }
        *free -= 1;
        Some(Self)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        *FREE.lock() += 1;
        FREED.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use gmetad_process::run::Cut;

    use super::*;
    use crate::spec::Series;

    fn output(result: Result<Ended, Cut>, stdout: &[u8], stderr: &str) -> Output {
        Output { result, stdout: stdout.to_vec(), stderr: stderr.as_bytes().to_vec(), alive: Vec::new() }
    }

    #[test]
    fn what_the_helper_says() {
        let png = b"\x89PNG\r\n\x1a\nx";
        assert_eq!(picture(output(Ok(Ended::Exit(0)), png, "")), Ok(png.to_vec()));
        let failed = |stderr: &str| picture(output(Ok(Ended::Exit(3)), b"", stderr)).unwrap_err();
        assert_eq!(failed("no"), PngError::Librrd("no".into()));
        let missing = failed(&format!("{NOT_INSTALLED}: librrd.so.8: cannot open\n"));
        assert!(missing.to_string().contains("Debian package librrd8") && matches!(missing, PngError::NotInstalled(_)));
        let killed = picture(output(Ok(Ended::Signal(gmetad_process::child::Signal::SIGSEGV)), b"", "")).unwrap_err();
        assert_eq!(killed.to_string(), "the process that draws: ended by the signal SIGSEGV");
        assert!(picture(output(Err(Cut::Late(TIME)), b"", "")).is_err());
        assert!(picture(output(Ok(Ended::Exit(0)), b"usage", "")).is_err());
    }

    #[test]
    fn paths_names_and_functions() {
        assert_eq!(escaped(Path::new("/a:b/c\\d.rrd")), Ok("/a\\:b/c\\d.rrd".to_owned()));
        assert!(escaped(Path::new("a.rrd")).is_err() && escaped(Path::new("/a\\:b")).is_err());
        let files = |_: &str| Some(PathBuf::from("/dev/null"));
        let graph = |name: &str, cf: &str| Graph {
            vnamedefs: vec![(name.into(), ("x".into(), cf.into()))],
            options: vec!["LINE1:a#000000".into()],
            ..Graph::default()
        };
        let of = |graph: &Graph| arguments(graph, &files, 0, 10, 100, 100);
        assert_eq!(of(&graph("a", "MAX")).unwrap()[5..], ["DEF:a=/dev/null:value:MAX", "LINE1:a#000000"]);
        assert!(
            of(&graph("a=b", "MAX")).is_err()
                && of(&graph("a", "MAX:step=1")).is_err()
                && of(&Graph::default()).is_err()
        );
        assert_eq!(arguments(&graph("a", "MAX"), &|_| None, 0, 10, 100, 100), Err(PngError::NoFile("x".into())));
        assert!(arguments(&graph("a", "MAX"), &files, 10, 10, 100, 100).is_err());
        assert!(arguments(&graph("a", "MAX"), &files, 0, 10, 100_000, 100).is_err());
        let series = Series {
            ds: "x".into(),
            legend: "a:b\\n".into(),
            color: "#00ff00:DEF".into(),
            draw: Draw::Stack,
            ..Series::default()
        };
        let plain = of(&Graph {
            series: vec![series.clone(), series],
            title: "T".into(),
            lower: Some(f64::NAN),
            ..Graph::default()
        })
        .unwrap();
        assert_eq!(plain[5..7], ["--title=T", "DEF:v0=/dev/null:value:AVERAGE"]);
        assert_eq!(plain[8..], ["AREA:v0#1f77b4:a\\:b\\\\n", "AREA:v1#ff7f0e:a\\:b\\\\n:STACK"]);
    }

    #[test]
    fn two_at_once() {
        let soon = || Instant::now() + Duration::from_millis(20);
        let (first, second) = (Turn::wait(soon()), Turn::wait(soon()));
        assert!(first.is_some() && second.is_some() && Turn::wait(soon()).is_none());
        drop(first);
        assert!(Turn::wait(soon()).is_some());
    }
}
