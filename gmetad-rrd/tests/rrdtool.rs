//! The `rrdtool` program reads our files: fresh, updated, and updated by turns with it.
#![allow(clippy::unwrap_used, clippy::panic)] // in a test they are the report

use std::fs;
use std::path::Path;
use std::process::Command;

use gmetad_rrd::fetch::Fetched;
use gmetad_rrd::native::Options;
use gmetad_rrd::{Backend, Cf, DsKind, DsSpec, NativeStore, Point, RraSpec, RrdError, Schema, Value, View, format};
use proptest::prelude::*;

/// Whether rrdtool is there; without it tests are left out, but not on CI.
fn rrdtool_missing() -> bool {
    if Command::new("rrdtool").arg("--version").output().is_ok_and(|output| output.status.success()) {
        return false;
    }
    assert!(std::env::var("CI").as_deref() != Ok("true"), "rrdtool is not installed (Debian package rrdtool)");
    println!("left out: rrdtool is not installed");
    true
}

fn rrdtool(arguments: &[&str]) -> Result<String, String> {
    let output = Command::new("rrdtool").env("LC_ALL", "C").env("TZ", "UTC").args(arguments).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
}

fn store() -> NativeStore {
    NativeStore::new(Options::default())
}

fn assert_same_info(path: &Path) {
    let name = path.to_str().unwrap();
    assert_eq!(View::open(path).unwrap().info_text(name), rrdtool(&["info", name]).unwrap());
}

fn schema() -> Schema {
    let ds = |name: &str, kind, min, max| DsSpec { name: name.into(), kind, heartbeat: 40, min, max };
    let rra = |cf, steps, rows| RraSpec { cf, xff: 0.5, steps, rows };
    Schema {
        step: 10,
        ds: vec![ds("sum", DsKind::Gauge, -5.0, 1e6), ds("num", DsKind::Derive, format::NAN, 100.0)],
        rras: vec![
            rra(Cf::Average, 1, 20),
            rra(Cf::Average, 4, 20),
            rra(Cf::Max, 3, 7),
            rra(Cf::Min, 3, 7),
            rra(Cf::Last, 2, 9),
        ],
    }
}

#[test]
fn info_and_fetch_print_the_same() {
    if rrdtool_missing() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a metric: 50 %.rrd");
    let name = path.to_str().unwrap();
    let mut store = store();
    let file = &path;
    store.create(file, &schema(), 1_000_000_003).unwrap();
    assert_same_info(&path);
    for i in 0..60i64 {
        let (time, gauge, count) = (1_000_000_010 + i * 7 + i % 3, format!("{}", i * i / 4), format!("{}", 5 - i * 3));
        store.update(file, &[Point { time, values: &[Value::Text(&gauge), Value::Text(&count)] }]).unwrap();
        assert_same_info(&path);
        // By turns: the kept descriptor must not hide what rrdtool did.
        let argument = format!("{}:{}:U", time + 1, i);
        rrdtool(&["update", name, &argument]).unwrap();
        assert_same_info(&path);
    }
    let last = View::open(&path).unwrap().last();
    for cf in [Cf::Average, Cf::Min, Cf::Max, Cf::Last] {
        for (start, end) in [
            (last - 100, last),
            (last - 193, last - 50),
            (last - 700, last + 60),
            (last - 5000, last),
            (last - 20, last - 20),
            (last + 100, last + 150),
        ] {
            for resolution in [1, 10, 15, 30, 40, 300] {
                let ours = View::open(&path).unwrap().fetch(cf, start, end, resolution).unwrap().unwrap();
                let theirs = rrdtool(&[
                    "fetch",
                    name,
                    cf.name(),
                    "-s",
                    &start.to_string(),
                    "-e",
                    &end.to_string(),
                    "-r",
                    &resolution.to_string(),
                ])
                .unwrap();
                assert_eq!(
                    printed(&ours),
                    theirs.replace("-nan", "nan"),
                    "{cf:?} {start}..{end} at {resolution}, last {last}"
                );
            }
        }
    }
}

/// As `rrdtool fetch` prints it.
fn printed(fetched: &Fetched) -> String {
    let mut out = format!("           {}\n\n", fetched.names.iter().map(|n| format!("{n:>20}")).collect::<String>());
    for (i, row) in fetched.values.chunks(fetched.names.len()).enumerate() {
        out.push_str(&format!("{:>10}:", fetched.start + (i as i64 + 1) * fetched.step as i64));
        for value in row {
            let text = if value.is_nan() { "nan".into() } else { format!("{value:.10e}") };
            let text = match text.split_once('e') {
                Some((digits, exponent)) => {
                    let number: i32 = exponent.parse().unwrap();
                    format!("{digits}e{}{:02}", if number < 0 { '-' } else { '+' }, number.abs())
                }
                None => text,
            };
            out.push_str(&format!(" {text}"));
        }
        out.push('\n');
    }
    out
}

#[test]
fn errors_have_the_words_admins_search_for() {
    if rrdtool_missing() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.rrd");
    let name = path.to_str().unwrap();
    let mut store = store();
    let file = &path;
    store.create(file, &schema(), 1_000_000_000).unwrap();
    for (time, gauge, derive) in
        [(1_000_000_000, "1", "1"), (999_999_990, "1", "1"), (1_000_000_005, "1", "1.5"), (1_000_000_005, "1", "x")]
    {
        let ours =
            store.update(file, &[Point { time, values: &[Value::Text(gauge), Value::Text(derive)] }]).unwrap_err();
        let theirs = rrdtool(&["update", name, &format!("{time}:{gauge}:{derive}")]).unwrap_err();
        assert_eq!(format!("ERROR: {ours}\n"), theirs);
    }
    assert_same_info(&path);
}

#[test]
fn tuned_restored_and_fractional_files_go_on_working() {
    if rrdtool_missing() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (ours, theirs) = (dir.path().join("ours.rrd"), dir.path().join("theirs.rrd"));
    let (our_name, their_name) = (ours.to_str().unwrap(), theirs.to_str().unwrap());
    let mut store = store();
    let file = &ours;
    store.create(file, &schema(), 1_000_000_000).unwrap();
    let state = |path: &Path| View::open(path).unwrap().state().clone();
    let both = |store: &mut NativeStore, time: i64, gauge: &str, derive: &str| {
        store.update(file, &[Point { time, values: &[Value::Text(gauge), Value::Text(derive)] }]).unwrap();
        rrdtool(&["update", their_name, &format!("{time}:{gauge}:{derive}")]).unwrap();
        let (a, b) = (state(&ours), state(&theirs));
        assert!(a == b || format!("{a:?}") == format!("{b:?}"), "at {time}\nours   {a:?}\ntheirs {b:?}");
        assert!(fs::read(&ours).unwrap() == fs::read(&theirs).unwrap(), "rows at {time}");
    };
    fs::copy(&ours, &theirs).unwrap();
    both(&mut store, 1_000_000_015, "5", "1");
    for name in [our_name, their_name] {
        rrdtool(&["tune", name, "--heartbeat", "sum:3", "--maximum", "num:7"]).unwrap();
    }
    both(&mut store, 1_000_000_029, "5", "90");
    for name in [our_name, their_name] {
        rrdtool(&["update", name, "1000000031.640625:4:91"]).unwrap();
    }
    both(&mut store, 1_000_000_033, "5", "92");
    for name in [our_name, their_name] {
        rrdtool(&["tune", name, "--heartbeat", "sum:60"]).unwrap();
        rrdtool(&["update", name, "1000000035.25:4:91"]).unwrap();
    }
    both(&mut store, 1_000_000_038, "8", "94");
    both(&mut store, 1_000_000_068, "8", "96");
    // A dump restored over the file: another inode, under a kept descriptor.
    let xml = dir.path().join("dump.xml");
    rrdtool(&["dump", our_name, xml.to_str().unwrap()]).unwrap();
    for name in [our_name, their_name] {
        rrdtool(&["restore", "-f", xml.to_str().unwrap(), name]).unwrap();
    }
    fs::copy(&ours, &theirs).unwrap(); // the start rows of restore are random
    both(&mut store, 1_000_000_090, "8", "97");
    fs::remove_file(&ours).unwrap();
    let values = [Value::Number(1.0), Value::Unknown];
    let error = store.update(file, &[Point { time: 1_000_000_100, values: &values }]).unwrap_err();
    assert!(matches!(error, RrdError::Missing { .. }), "{error}");
}

fn cf() -> impl Strategy<Value = Cf> {
    prop::sample::select(vec![Cf::Average, Cf::Min, Cf::Max, Cf::Last])
}

fn any_schema() -> impl Strategy<Value = Schema> {
    let steps = prop::sample::select(vec![1u64, 1, 2, 3, 4, 6, 12, 50]);
    let rra = (cf(), steps, prop::sample::select(vec![1u64, 2, 3, 10, 50]), prop::sample::select(vec![0.0, 0.5, 0.9]));
    let rra = rra.prop_map(|(cf, steps, rows, xff)| RraSpec { cf, xff, steps, rows });
    let kinds = prop::sample::select(vec![DsKind::Gauge, DsKind::Derive]);
    let ds = (kinds, 1u64..60).prop_map(|(kind, heartbeat)| (kind, heartbeat));
    let step = prop::sample::select(vec![1u64, 5, 10, 15]);
    (step, prop::collection::vec(ds, 1..3), prop::collection::vec(rra, 1..6)).prop_map(|(step, ds, rras)| {
        let ds = ds.into_iter().enumerate().map(|(i, (kind, heartbeat))| DsSpec {
            name: format!("ds{i}"),
            kind,
            heartbeat,
            min: format::NAN,
            max: format::NAN,
        });
        Schema { step, ds: ds.collect(), rras }
    })
}

/// As `rrdtool lastupdate` prints it.
fn last_update(view: &View) -> String {
    let (names, texts): (Vec<_>, Vec<_>) = view.last_values().unzip();
    let texts: String = texts.iter().map(|text| format!(" {text}")).collect();
    format!(" {}\n\n{}:{texts}\n", names.join(" "), view.last())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 25, max_shrink_iters: 40, failure_persistence: None, ..ProptestConfig::default() })]

    /// Also with the second half of the points only waiting, while rrdtool has them in the file.
    #[test]
    fn any_view_is_what_rrdtool_sees(
        schema in any_schema(),
        points in prop::collection::vec((1i64..40, "[0-9]{1,6}|U"), 0..40),
        queries in prop::collection::vec((cf(), -400i64..3000, -1i64..3000, 1u64..900, 1i64..10), 12),
    ) {
        if rrdtool_missing() {
            return Ok(());
        }
        let dir = tempfile::tempdir().unwrap();
        let (path, short) = (dir.path().join("all.rrd"), dir.path().join("short.rrd"));
        let name = path.to_str().unwrap();
        let mut store = store();
        store.create(&path, &schema, 1_000_000_003).unwrap();
        fs::copy(&path, &short).unwrap();
        let values: Vec<_> = points.iter().map(|(_, text)| vec![Value::Text(text); schema.ds.len()]).collect();
        let mut time = 1_000_000_003;
        let points: Vec<_> = points.iter().zip(&values).map(|((gap, _), values)| {
            time += gap;
            Point { time, values }
        }).collect();
        store.update(&short, &points[..points.len() / 2]).unwrap();
        for point in &points {
            let texts: String = point.values.iter().map(|value| match value {
                Value::Text(text) => format!(":{text}"),
                other => panic!("{other:?}"),
            }).collect();
            rrdtool(&["update", name, &format!("{}{texts}", point.time)]).unwrap();
        }
        let view = View::with_points(&short, None, &points).unwrap();
        prop_assert_eq!(view.info_text(name), rrdtool(&["info", name]).unwrap());
        prop_assert_eq!(last_update(&view), rrdtool(&["lastupdate", name]).unwrap());
        prop_assert_eq!(format!("{}\n", view.last()), rrdtool(&["last", name]).unwrap());
        for archive in 0..schema.rras.len() {
            let theirs = rrdtool(&["first", name, "--rraindex", &archive.to_string()]).unwrap();
            prop_assert_eq!(format!("{}\n", view.first(archive).unwrap()), theirs);
        }
        prop_assert_eq!(view.first(schema.rras.len()), None);
        for (cf, before, length, resolution, align) in queries {
            let align = align * schema.step as i64;
            let start = (time - before) / align * align;
            let end = if length % 3 == 0 { start + length / align * align } else { start + length };
            let [s, e, r] = [start, end, resolution as i64].map(|number| number.to_string());
            let theirs = rrdtool(&["fetch", name, cf.name(), "-s", &s, "-e", &e, "-r", &r]);
            match (view.fetch(cf, start, end, resolution).unwrap(), theirs) {
                (Some(ours), Ok(theirs)) => prop_assert_eq!(printed(&ours), theirs.replace("-nan", "nan")),
                (None, Err(_)) => {}
                (ours, theirs) => prop_assert!(false, "{:?}, but {:?}", ours, theirs),
            }
        }
    }

    /// `xport` reduces as `graph` does, and prints the values. Its own step is taken; the groups at the ends are ours.
    #[test]
    fn rows_are_merged_as_by_xport(
        cf in cf(),
        points in prop::collection::vec((5i64..15, "[0-9]{1,4}|U|U"), 60..90),
        (skipped, length, most) in (0i64..200, 200i64..400, 10usize..30),
    ) {
        if rrdtool_missing() {
            return Ok(());
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.rrd");
        let rras = [RraSpec { cf: Cf::Average, xff: 0.5, steps: 1, rows: 200 }];
        let mut store = store();
        store.create(&path, &Schema::host(10, DsKind::Gauge, &rras), 1_000_000_000).unwrap();
        let mut time = 1_000_000_000;
        for (gap, text) in &points {
            time += gap;
            store.update(&path, &[Point { time, values: &[Value::Text(text)] }]).unwrap();
        }
        let (start, end) = (1_000_000_000 + skipped, 1_000_000_000 + skipped + length);
        let definition = format!("DEF:v={}:sum:{}", path.display(), cf.name());
        let [s, e, m] = [start, end, most as i64].map(|number| number.to_string());
        let xml = rrdtool(&["xport", "-t", "-s", &s, "-e", &e, "-m", &m, &definition, "XPORT:v"]).unwrap();
        let number = |tag: &str, text: &str| -> String {
            text.split_once(&format!("<{tag}>")).unwrap().1.split('<').next().unwrap().to_owned()
        };
        let step: u64 = number("step", &xml).parse().unwrap();
        let rows = View::open(&path).unwrap().fetch(cf, start, end, 1).unwrap().unwrap();
        let ours = rows.reduce(cf, step / rows.step);
        prop_assert_eq!((ours.step, step % rows.step), (step, 0));
        let mut same = 0;
        for row in xml.lines().filter(|line| line.contains("<row>")) {
            let (time, theirs) = (number("t", row).parse::<i64>().unwrap(), number("v", row));
            if time - (step as i64) < rows.start || time > rows.end {
                continue;
            }
            let value = ours.values[((time - ours.start) / step as i64 - 1) as usize];
            match theirs.parse::<f64>() {
                Ok(theirs) if !theirs.is_nan() => prop_assert!((value - theirs).abs() <= 1e-9 * theirs.abs()),
                _ => prop_assert!(value.is_nan()),
            }
            same += 1;
        }
        prop_assert!(same > 4, "{}", xml);
        let few = rows.consolidate(cf, most);
        prop_assert!(few.values.len() <= most && few.start % few.step as i64 == 0 && few.end >= rows.end);
    }
}
