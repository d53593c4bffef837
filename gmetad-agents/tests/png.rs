//! Pictures by librrd, drawn by a helper process that is this very program: so it has a `main` of its own.
#![allow(clippy::unwrap_used, clippy::panic)] // in a test they are the report

mod programs;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use gmetad_agents::graph::{PngError, WORD, arguments, draw, png};
use gmetad_agents::spec::{Draw, Graph, Series};
use gmetad_rrd::native::Options;
use gmetad_rrd::{Backend, Cf, DsKind, DsSpec, NativeStore, Point, RraSpec, Schema, Value};
use programs::left_out;

const START: i64 = 1_700_000_000;

type Test = (&'static str, fn(&Path));

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some(WORD) {
        return draw();
    }
    let tests: &[Test] = &[
        ("pictures_as_rrdtool_draws_them", pictures_as_rrdtool_draws_them),
        ("a_picture_has_what_is_measured", a_picture_has_what_is_measured),
        ("hostile_arguments", hostile_arguments),
        ("many_at_once", many_at_once),
    ];
    if std::env::args().any(|arg| arg == "--list") {
        tests.iter().for_each(|(name, _)| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    if !is_installed() {
        left_out("png", "librrd is not installed (Debian package librrd8)");
        return ExitCode::SUCCESS;
    }
    println!("\nrunning {} tests", tests.len());
    for (name, test) in tests {
        // A panic ends it all, with a status that says so.
        test(tempfile::tempdir().unwrap().path());
        println!("test {name} ... ok");
    }
    println!("\ntest result: ok. {} passed; 0 failed; 0 ignored; 0 measured; 0 filtered out\n", tests.len());
    ExitCode::SUCCESS
}

fn is_installed() -> bool {
    let nothing = raw(&[("a", "AVERAGE")], &["LINE1:a#000000"]);
    let result = png(&nothing, &|_| Some(PathBuf::from("/dev/null")), START, START + 100, 100, 50);
    !matches!(result, Err(PngError::NotInstalled(_)))
}

fn raw(names: &[(&str, &str)], options: &[&str]) -> Graph {
    Graph {
        pngname: "x.png".into(),
        vnamedefs: names
            .iter()
            .map(|(name, cf)| ((*name).to_owned(), ("value".to_owned(), (*cf).to_owned())))
            .collect(),
        options: options.iter().map(|one| (*one).to_owned()).collect(),
        ..Graph::default()
    }
}

/// A file as the agents' store writes them, with a saw of values.
fn file(path: &Path) -> PathBuf {
    let mut store = NativeStore::new(Options { sync_new: false, ..Options::default() });
    let ds = DsSpec { name: "value".into(), kind: DsKind::Gauge, heartbeat: 150, min: f64::NAN, max: f64::NAN };
    let rra = |cf| RraSpec { cf, xff: 0.5, steps: 1, rows: 600 };
    let schema = Schema { step: 60, ds: vec![ds], rras: vec![rra(Cf::Average), rra(Cf::Max)] };
    store.create(path, &schema, START).unwrap();
    let numbers: Vec<[Value<'_>; 1]> = (0..300).map(|n| [Value::Number(f64::from(n % 37))]).collect();
    let points: Vec<Point<'_>> =
        numbers.iter().zip(1..).map(|(values, n)| Point { time: START + n * 60, values }).collect();
    store.update(path, &points).unwrap();
    path.to_owned()
}

/// Width and height, of a file whose parts are whole.
fn size(png: &[u8]) -> (u32, u32) {
    assert!(png.starts_with(b"\x89PNG\r\n\x1a\n"));
    let number = |at: usize| u32::from_be_bytes(png[at..at + 4].try_into().unwrap());
    let mut at = 8;
    while &png[at + 4..at + 8] != b"IEND" {
        at += 12 + number(at) as usize;
    }
    assert_eq!((at + 12, &png[12..16]), (png.len(), &b"IHDR"[..]));
    (number(16), number(20))
}

fn pictures_as_rrdtool_draws_them(root: &Path) {
    if Command::new("rrdtool").output().is_err() {
        left_out("pictures_as_rrdtool_draws_them", "no rrdtool");
        return;
    }
    let odd = root.join("a:b c");
    std::fs::create_dir(&odd).unwrap();
    let path = file(&odd.join("d\\e.rrd"));
    let usual =
        ["-l0", "-u100", "-v koctets/s", "-t Entrées/sorties", "AREA:a#00FF00:Entrée", "LINE2:b#0000FF:max\\: x\\l"];
    let graphs = [
        raw(&[("a", "AVERAGE"), ("b", "MAX")], &usual),
        raw(
            &[("a", "AVERAGE"), ("b", "MAX")],
            &[
                "--rigid",
                "--logarithmic",
                "-l",
                "1",
                "CDEF:c=a,8,*",
                "VDEF:m=c,MAXIMUM",
                "AREA:a#aaaaaa",
                "STACK:b#bbbbbb:s",
                "HRULE:20#ff0000:limit",
                "VRULE:1700005000#00ff00",
                "GPRINT:m:max %6.2lf %s\\l",
                "COMMENT:done\\c",
                "-E",
                "-W mark",
                "-c BACK#ffffff",
                "-n DEFAULT:8",
            ],
        ),
        Graph {
            series: vec![
                Series { ds: "a".into(), draw: Draw::Area, legend: "in: 1".into(), ..Series::default() },
                Series {
                    ds: "b".into(),
                    draw: Draw::Stack,
                    color: "#123456".into(),
                    cf: "MAX".into(),
                    ..Series::default()
                },
            ],
            title: "T: é".into(),
            unit: "B/s".into(),
            lower: Some(0.0),
            ..Graph::default()
        },
    ];
    for (number, graph) in graphs.iter().enumerate() {
        let files = |_: &str| Some(path.clone());
        let ours =
            png(graph, &files, START, START + 18_000, 400, 100).unwrap_or_else(|error| panic!("{number}: {error}"));
        let (width, height) = size(&ours);
        assert!(width > 400 && height > 100, "{width} x {height}");
        let theirs = root.join("theirs.png");
        let words = arguments(graph, &files, START, START + 18_000, 400, 100).unwrap();
        let output =
            Command::new("rrdtool").arg("graph").arg(&theirs).args(&words).env("LC_ALL", "C.UTF-8").output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(std::fs::read(&theirs).unwrap() == ours, "picture {number} is that of rrdtool, to the byte");
    }
}

fn a_picture_has_what_is_measured(root: &Path) {
    let path = file(&root.join("x.rrd"));
    let graph = raw(&[("a", "AVERAGE")], &["LINE2:a#ff0000"]);
    let of = |start, width| png(&graph, &|_| Some(path.clone()), start, start + 18_000, width, 100).unwrap();
    let (full, empty) = (of(START, 300), of(START - 90_000, 300));
    assert_ne!(full, empty);
    assert_eq!(size(&full), size(&empty));
    assert_eq!(size(&of(START, 400)).0, size(&full).0 + 100);
    let missing = png(&graph, &|_| Some(root.join("none.rrd")), START, START + 10, 300, 100);
    assert_eq!(missing, Err(PngError::NoFile("value".into())));
}

fn hostile_arguments(root: &Path) {
    let path = file(&root.join("x.rrd"));
    let victim = root.join("victim");
    let of = |options: &[&str]| {
        png(&raw(&[("a", "AVERAGE")], options), &|_| Some(path.clone()), START, START + 18_000, 300, 100)
    };
    let written = victim.display().to_string();
    for options in [
        &["--imginfo=%s%n", "LINE1:a#000000"][..],
        &[&written, "LINE1:a#000000"],
        &["-a", "XML", "--", &written, "LINE1:a#000000"],
        &[&format!("DEF:b={written}:value:AVERAGE"), "LINE1:a#000000"],
        &["--daemon", "unix:/tmp/x", "LINE1:a#000000"],
        &["LINE1:a#000000", "XPORT:a:x"],
    ] {
        assert!(matches!(of(options), Err(PngError::Graph(_))), "{options:?}");
    }
    // What is on the list, and wrong: librrd complains, or the process dies; nothing else happens.
    for options in [
        &["LINE1:nothing#000000"][..],
        &["GPRINT:a:AVERAGE:%s%s%s%n", "LINE1:a#000000"],
        &["CDEF:b=a,+,+,+", "LINE1:b#000000"],
        &["--x-grid=1:2:3", "LINE1:a#000000"],
        &["--base=0", "--units-exponent=999999", "LINE1:a#000000"],
        &["--font=TITLE:9999999999", "-t", "x", "LINE1:a#000000"],
        &["--border=999999", "LINE1:a#000000"],
        &["--tabwidth=1e99", "COMMENT:a\tb", "LINE1:a#000000"],
        &["-P", "-t <span size='99999999'>x</span>", "LINE1:a#000000"],
        &["LINE1:a#000000", &format!("COMMENT:{}", "x".repeat(4000))],
        &["CDEF:b=a,1e9,PREDICT", "CDEF:c=a,1e9,TREND", "LINE1:c#000000"],
    ] {
        let start = Instant::now();
        let result = of(options);
        println!(
            "  {options:?}: {}",
            result.as_ref().map_or_else(
                |error| error.to_string().chars().take(100).collect(),
                |png| format!("{} bytes", png.len())
            )
        );
        assert!(start.elapsed() < Duration::from_secs(15), "{options:?}");
    }
    assert!(!victim.exists());
    assert!(of(&["LINE1:a#000000"]).is_ok());
}

fn many_at_once(root: &Path) {
    let path = file(&root.join("x.rrd"));
    let graph = raw(&[("a", "AVERAGE")], &["LINE2:a#ff0000"]);
    let pictures: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| png(&graph, &|_| Some(path.clone()), START, START + 18_000, 300, 100)))
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap().unwrap()).collect()
    });
    assert!(pictures.windows(2).all(|two| two[0] == two[1]));
}
