//! The `rrdtool` program reads our files: fresh, updated, and updated by turns with it.
#![allow(clippy::unwrap_used, clippy::panic)] // in a test they are the report

use std::fs;
use std::path::Path;
use std::process::Command;

use gmetad_rrd::native::Options;
use gmetad_rrd::{
    Backend, Cf, DsKind, DsSpec, NativeStore, Point, RraSpec, RrdError, Schema, Value, fetch, format, info,
};

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
    let (layout, state) = info::header(path).unwrap();
    assert_eq!(info::text(name, &layout, &state), rrdtool(&["info", name]).unwrap());
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
    let last = info::header(&path).unwrap().1.last_update;
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
                let ours = fetch::fetch(&path, cf, start, end, resolution).unwrap().unwrap();
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
fn printed(fetched: &fetch::Fetched) -> String {
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
    let both = |store: &mut NativeStore, time: i64, gauge: &str, derive: &str| {
        store.update(file, &[Point { time, values: &[Value::Text(gauge), Value::Text(derive)] }]).unwrap();
        rrdtool(&["update", their_name, &format!("{time}:{gauge}:{derive}")]).unwrap();
        let (a, b) = (info::header(&ours).unwrap().1, info::header(&theirs).unwrap().1);
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
