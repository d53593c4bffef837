//! A file and its waiting points read as the file will read; hostile files; readers beside a writer.
#![allow(clippy::unwrap_used, clippy::panic)] // in a test they are the report

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use gmetad_rrd::fetch::Fetched;
use gmetad_rrd::files::{Disk, Files};
use gmetad_rrd::native::Options;
use gmetad_rrd::{Backend, Cf, DsKind, Job, NativeStore, Point, RraSpec, RrdError, Schema, Value, View};
use proptest::prelude::*;

const CFS: [Cf; 4] = [Cf::Average, Cf::Min, Cf::Max, Cf::Last];
const START: i64 = 1_000_000_007;

fn store() -> NativeStore {
    NativeStore::new(Options { sync_new: false, ..Options::default() })
}

fn any_schema() -> impl Strategy<Value = Schema> {
    let pick = |from: &[u64]| prop::sample::select(from.to_vec());
    let kind = || prop::sample::select(vec![DsKind::Gauge, DsKind::Counter, DsKind::Derive, DsKind::Absolute]);
    let rra = (prop::sample::select(CFS.to_vec()), pick(&[1, 2, 3, 7]), pick(&[1, 2, 3, 10, 40]));
    let rra = rra.prop_map(|(cf, steps, rows)| RraSpec { cf, xff: 0.5, steps, rows });
    (pick(&[1, 5, 10]), kind(), prop::option::of(kind()), prop::collection::vec(rra, 1..5)).prop_map(
        |(step, sum, num, rras)| match num {
            Some(num) => Schema::summary(step, sum, num, &rras),
            None => Schema::host(step, sum, &rras),
        },
    )
}

/// Bits, for NaN is not equal to itself.
fn bits(fetched: Option<Fetched>) -> Option<(i64, i64, u64, Vec<u64>)> {
    fetched
        .map(|f| (f.start, f.end, f.step, f.values.iter().map(|v| if v.is_nan() { 0 } else { v.to_bits() }).collect()))
}

fn assert_same(ours: &View, expected: &View, queries: &[(i64, i64, u64)]) {
    assert_eq!(ours.info_text(""), expected.info_text(""));
    assert_eq!((ours.layout(), ours.last()), (expected.layout(), expected.last()));
    for (archive, rra) in ours.layout().schema().rras.iter().enumerate() {
        assert_eq!(ours.first(archive), expected.first(archive));
        let start = ours.first(archive).unwrap() - 3 * rra.steps as i64;
        let both = [ours, expected].map(|view| bits(view.fetch_archive(archive, start, view.last() + 99).unwrap()));
        assert_eq!(both[0], both[1], "archive {archive}");
    }
    for &(before, length, resolution) in queries {
        let start = ours.last() - before;
        for cf in CFS {
            let both = [ours, expected].map(|view| bits(view.fetch(cf, start, start + length, resolution).unwrap()));
            assert_eq!(both[0], both[1], "{cf:?} from {start} for {length} at {resolution}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    /// Some points in the file already, some of them given again, some refused; or no file yet.
    #[test]
    fn pending_points_read_as_if_written(
        schema in any_schema(),
        points in prop::collection::vec((-2i64..60, "[0-9]{1,5}|U|[0-9]{1,2}\\.[0-9]|x"), 1..50),
        (there, again) in (any::<prop::sample::Index>(), 0usize..5),
        exists in any::<bool>(),
        queries in prop::collection::vec((-100i64..900, 0i64..900, 1u64..100), 3),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.rrd");
        let values: Vec<_> = points.iter().map(|(_, text)| vec![Value::Text(text); schema.ds.len()]).collect();
        let mut time = START;
        let points: Vec<_> = points.iter().zip(&values).map(|((gap, _), values)| {
            time += gap;
            Point { time, values }
        }).collect();
        let job = |points| Job { path: &path, schema: &schema, points, hot: true, create: true };
        let mut store = store();
        let (first, rest) = if exists { points.split_at(there.index(points.len())) } else { points.split_at(0) };
        if exists {
            store.create(&path, &schema, START - 1).unwrap();
            let _ = store.write_one(&job(first));
        }
        let ours = View::with_points(&path, Some(&schema), &points[first.len().saturating_sub(again)..]).unwrap();
        // Read before and after the points came into the file.
        let before: Vec<_> = queries.iter().map(|q| bits(ours.fetch(Cf::Average, time - q.0, time, q.2).unwrap())).collect();
        let _ = store.write_one(&job(rest));
        let written = View::open(&path).unwrap();
        assert_same(&ours, &written, &queries);
        let after: Vec<_> = queries.iter().map(|q| bits(written.fetch(Cf::Average, time - q.0, time, q.2).unwrap())).collect();
        prop_assert_eq!(before, after);
    }

    #[test]
    fn hostile_files_are_refused_or_read(
        cut in prop_oneof![Just(usize::MAX), 0usize..3000],
        changes in prop::collection::vec((0usize..1500, any::<u8>()), 0..10),
        (start, end, resolution) in (any::<i64>(), any::<i64>(), any::<u64>()),
        (near, length, most) in (-500i64..500, 0i64..3000, 0usize..50),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.rrd");
        let rra = |cf, steps, rows| RraSpec { cf, xff: 0.5, steps, rows };
        let schema = Schema::host(10, DsKind::Gauge, &[rra(Cf::Average, 1, 100), rra(Cf::Max, 3, 50)]);
        store().create(&path, &schema, START).unwrap();
        let mut bytes = fs::read(&path).unwrap();
        for (at, byte) in changes {
            bytes[at] = byte;
        }
        bytes.truncate(cut);
        fs::write(&path, &bytes).unwrap();
        let values = [Value::Text("5")];
        let points: Vec<_> = [START + 10, START + 25, start, end].iter().map(|&time| Point { time, values: &values }).collect();
        for view in [View::open(&path), View::with_points(&path, Some(&schema), &points)] {
            let Ok(view) = view else { continue };
            view.info_text("x");
            prop_assert!(view.first(99).is_none() && view.fetch_archive(99, 0, 1).unwrap().is_none());
            view.first(0);
            view.last_values().for_each(drop);
            for (start, end) in [(start, end), (view.last() - near, view.last() - near + length)] {
                if let Ok(Some(fetched)) = view.fetch(Cf::Max, start, end.min(start.saturating_add(1 << 22)), resolution) {
                    prop_assert!(fetched.consolidate(Cf::Min, most).values.len() <= most.max(2) * fetched.names.len());
                    let _ = fetched.reduce(Cf::Last, resolution);
                }
            }
        }
    }

    #[test]
    fn merged_rows_keep_what_they_were_made_of(
        rows in prop::collection::vec(prop_oneof![3 => -100i32..100, 1 => Just(i32::MAX)], 0..200),
        (start, step, most) in (0i64..1000, 1u64..50, 0usize..300),
    ) {
        let start = start * step as i64;
        let values: Vec<f64> = rows.iter().map(|&v| if v == i32::MAX { f64::NAN } else { v.into() }).collect();
        let end = start + values.len() as i64 * step as i64;
        let rows = Fetched { start, end, step, names: vec!["sum".into()], values };
        let known = |f: &Fetched| f.values.iter().copied().filter(|v| !v.is_nan()).collect::<Vec<_>>();
        for cf in CFS {
            let few = rows.consolidate(cf, most);
            prop_assert!(few.values.len() <= most.max(2) && few.step.is_multiple_of(step) && few.start % few.step as i64 == 0);
            prop_assert!(few.values.is_empty() || (few.start <= start && few.end >= end));
            prop_assert_eq!(few.values.len() as i64 * few.step as i64, few.end - few.start);
            let (few, all) = (known(&few), known(&rows));
            match cf {
                Cf::Min => prop_assert_eq!(few.into_iter().reduce(f64::min), all.into_iter().reduce(f64::min)),
                Cf::Max => prop_assert_eq!(few.into_iter().reduce(f64::max), all.into_iter().reduce(f64::max)),
                Cf::Last => prop_assert_eq!(few.last(), all.last()),
                Cf::Average => prop_assert!(few.iter().all(|v| v.abs() <= 100.0)),
            }
        }
    }
}

#[test]
fn what_is_no_file_is_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.rrd");
    let schema = Schema::host(10, DsKind::Gauge, &Schema::ganglia_rras());
    let points = [Point { time: START, values: &[Value::Number(1.0)] }];
    let missing = |view: Result<View, RrdError>| assert!(matches!(view, Err(RrdError::Missing { .. })), "{view:?}");
    let all = || {
        missing(View::open(&path));
        missing(View::with_points(&path, None, &points));
        missing(View::with_points(&path, Some(&schema), &[]));
        assert_eq!(View::with_points(&path, Some(&schema), &points).unwrap().last(), START);
    };
    all();
    fs::write(&path, "").unwrap();
    all();
    let rras = [RraSpec { rows: 0, ..schema.rras[0] }];
    let none = View::with_points(&path, Some(&Schema::host(10, DsKind::Gauge, &rras)), &points);
    assert!(matches!(none, Err(RrdError::Schema { .. })));
    let fifo = dir.path().join("fifo.rrd");
    assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    for other in [dir.path(), &fifo] {
        assert!(matches!(View::open(other), Err(RrdError::Io { .. })), "{}", other.display());
    }
}

/// Rests before each write and in the middle of it, and after each update for longer.
struct Slow;

impl Files for Slow {
    fn write_at(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        let (one, two) = bytes.split_at(bytes.len() / 16 * 8);
        for (part, offset) in [(one, offset), (two, offset + one.len() as u64)] {
            thread::sleep(Duration::from_micros(50));
            Disk.write_at(file, part, offset)?;
        }
        Ok(())
    }

    fn unlock(&self, file: &File) -> io::Result<()> {
        Disk.unlock(file)?;
        thread::sleep(Duration::from_millis(3));
        Ok(())
    }
}

/// Lets go of the lock for a moment after each update. (What a writer that never does leaves readers with is not promised.)
struct Brisk;

impl Files for Brisk {
    fn unlock(&self, file: &File) -> io::Result<()> {
        Disk.unlock(file)?;
        thread::sleep(Duration::from_micros(200));
        Ok(())
    }
}

#[test]
fn no_reader_sees_an_update_half_done() {
    beside(NativeStore::with_files(Options::default(), Brisk));
    assert!(beside(NativeStore::with_files(Options::default(), Slow)) > 0);
}

/// Every row tells its own time, so that a row in a wrong place is seen.
fn beside<F: Files + Sync>(mut writing: NativeStore<F>) -> u64 {
    const STEP: i64 = 10;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.rrd");
    let rras = [1, 2].map(|steps| RraSpec { cf: Cf::Last, xff: 0.5, steps, rows: 64 });
    let schema = Schema::host(STEP as u64, DsKind::Gauge, &rras);
    let start = 1_000_000_000;
    store().create(&path, &schema, start).unwrap();
    let stop = AtomicBool::new(false);
    let end = Instant::now() + Duration::from_secs(2);
    let write = |store: &mut NativeStore<F>, path: &Path| {
        let mut time = start;
        while !stop.load(Ordering::Relaxed) && Instant::now() < end + Duration::from_secs(1) {
            let values: Vec<_> = (1..=5).map(|i| [Value::Number((time + i * STEP) as f64)]).collect();
            let times = (1..).map(|i| time + i * STEP);
            let points: Vec<_> = times.zip(&values).map(|(time, values)| Point { time, values }).collect();
            store.update(path, &points).unwrap();
            time += 5 * STEP;
        }
        time
    };
    let begin = View::open(&path).unwrap().state().cur_row[0];
    let mut pauses = [0, 0, 30, 300, 0, 900, 3000].into_iter().cycle();
    let (mut known, mut lost) = (0u64, 0u64);
    thread::scope(|scope| {
        let writer = scope.spawn(|| write(&mut writing, &path));
        while Instant::now() < end {
            thread::sleep(Duration::from_micros(pauses.next().unwrap()));
            let view = View::open(&path).unwrap();
            // The current row is the end of the header, the time its beginning.
            let moved = (view.state().cur_row[0] + 64 - begin) % 64;
            assert_eq!(moved as i64, (view.last() - start) / STEP % 64, "a header of two updates");
            thread::sleep(Duration::from_micros(pauses.next().unwrap()));
            for archive in 0..2 {
                let step = STEP * (archive as i64 + 1);
                let first = view.first(archive).unwrap().max(start + step);
                let fetched = view.fetch_archive(archive, (first - 1).min(view.last()), view.last()).unwrap().unwrap();
                for (i, value) in (1..).zip(&fetched.values) {
                    let time = fetched.start + i * step;
                    if time > view.last() {
                        continue;
                    }
                    (known, lost) = (known + u64::from(!value.is_nan()), lost + u64::from(value.is_nan()));
                    assert!(value.is_nan() || *value == time as f64, "{value} at {time}, last {}", view.last());
                }
            }
        }
        stop.store(true, Ordering::Relaxed);
        assert!(writer.join().unwrap() > start + 500 * STEP);
    });
    println!("{known} rows known, {lost} overwritten while they were read");
    known
}
