//! librrd as judge: random schemas and updates go to the native writer and to librrd, and the files must be the same.
//!
//! "The same" is byte for byte, also in the second run, which has decimals of all lengths and counters beyond 2^53, where
//! librrd does not take the nearest number. Seeds are fixed; `ORACLE_SEED=n` adds another. A failure prints schema, seed
//! and update.
#![allow(clippy::unwrap_used, clippy::panic)] // in a test they are the report
#![cfg(feature = "librrd")]

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use gmetad_rrd::librrd::LibrrdStore;
use gmetad_rrd::native::Options;
use gmetad_rrd::{Backend, Cf, DsKind, DsSpec, Layout, NativeStore, Point, RraSpec, RrdError, Schema, Value, format};

/// Schemas of the great run.
const RUNS: u64 = 1000;
/// Schemas of the run with numbers that cannot be read exactly.
const ROUNDED_RUNS: u64 = 100;
const UPDATES: usize = 400;

/// librrd, or `None` where it may be left out.
fn librrd() -> Option<LibrrdStore> {
    match LibrrdStore::new() {
        Ok(store) => Some(store),
        Err(reason) if std::env::var("CI").as_deref() == Ok("true") => panic!("{reason}"),
        Err(_) => {
            println!("left out: librrd is not installed");
            None
        }
    }
}

/// SplitMix64: enough chance for tests, and the same on every machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }
}

/// Which numbers a run feeds.
#[derive(Clone, Copy, PartialEq)]
enum Numbers {
    /// Such as both parsers read alike.
    Exact,
    /// Any decimals and 64-bit counters. Not negative, and without limits: where values cancel out or meet a limit, a
    /// difference in the last place becomes a great one.
    Rounded,
}

fn random_schema(random: &mut Random, numbers: Numbers) -> Schema {
    let step = random.pick(&[1, 5, 10, 15, 60]);
    if random.one_in(12) {
        return Schema::host(step, DsKind::Gauge, &Schema::ganglia_rras());
    }
    let kinds = [DsKind::Gauge, DsKind::Counter, DsKind::Derive, DsKind::Absolute];
    let ds = (0..1 + random.below(2))
        .map(|i| {
            let kind = random.pick(&kinds);
            let (min, max) = match random.below(4) {
                _ if numbers == Numbers::Rounded => (format::NAN, format::NAN),
                0 => (0.0, 100.0),
                1 => (format::NAN, 50.0),
                2 => (3.0, format::NAN),
                _ => (format::NAN, format::NAN),
            };
            let heartbeat = random.pick(&[step * 8, step * 2, step, step * 3 + 1, step / 2 + 1]);
            DsSpec { name: format!("ds{i}"), kind, heartbeat, min, max }
        })
        .collect();
    let rras = (0..1 + random.below(4))
        .map(|_| RraSpec {
            cf: random.pick(&[Cf::Average, Cf::Min, Cf::Max, Cf::Last]),
            xff: random.pick(&[0.0, 0.25, 0.5, 0.75, 0.99]),
            steps: random.pick(&[1, 1, 2, 3, 4, 7, 20]),
            rows: random.pick(&[1, 2, 3, 10, 50]),
        })
        .collect();
    Schema { step, ds, rras }
}

/// A text COUNTER and DERIVE refuse.
const REFUSED: &str = "12.5";

/// A run of readings of one data source.
struct Feed {
    kind: DsKind,
    first: bool,
    counter: i128,
    numbers: Numbers,
}

impl Feed {
    fn next(&mut self, random: &mut Random) -> Option<String> {
        if random.one_in(15) {
            return None;
        }
        if self.numbers == Numbers::Rounded {
            return Some(self.rounded(random));
        }
        if self.first && random.one_in(100) && matches!(self.kind, DsKind::Counter | DsKind::Derive) {
            // Refused. As a later value librrd refuses it too, but has by then changed the text of the first.
            return Some(REFUSED.to_owned());
        }
        Some(match self.kind {
            // 1/64 needs six decimals and is exact in binary.
            DsKind::Gauge | DsKind::Absolute => match random.below(3) {
                0 => random.below(120).to_string(),
                1 => (random.below(1 << 20) as f64 / 64.0 - 4000.0).to_string(),
                _ => (random.below(200) as f64 / 4.0).to_string(),
            },
            DsKind::Counter => {
                self.counter += i128::from(random.pick(&[0, 1, 7, 300, 1 << 20]) * random.below(5));
                if random.one_in(20) {
                    self.counter = random.pick(&[0, 5, (1 << 32) - 50, (1 << 32) - 2, (1 << 53) - 100]);
                }
                if random.one_in(10) && self.counter >= 1 << 32 && self.counter < 1 << 33 {
                    self.counter -= 1 << 32; // wrapped
                }
                self.counter.to_string()
            }
            DsKind::Derive => {
                self.counter += i128::from(random.below(2000)) - 900;
                self.counter.to_string()
            }
        })
    }

    fn rounded(&mut self, random: &mut Random) -> String {
        let digits = random.below(1 << 53) as f64;
        match self.kind {
            DsKind::Gauge | DsKind::Absolute => match random.below(3) {
                0 => format!("{:.5}", digits / 1e12).trim_end_matches('0').trim_end_matches('.').to_owned(),
                1 => (digits / 1e14).to_string(),
                _ => (digits * 1e3).to_string(),
            },
            DsKind::Counter | DsKind::Derive => {
                self.counter += i128::from(random.below(1 << 55)); // 400 of these fit into 64 bit
                self.counter.to_string()
            }
        }
    }
}

type Reading = (i64, Vec<Option<String>>);

fn random_readings(random: &mut Random, schema: &Schema, count: usize, numbers: Numbers) -> Vec<Reading> {
    let mut feeds: Vec<Feed> = schema
        .ds
        .iter()
        .enumerate()
        .map(|(i, ds)| Feed { kind: ds.kind, first: i == 0, counter: 1000, numbers })
        .collect();
    let step = schema.step;
    let style = random.below(4);
    let mut time = 1_000_000_000 + random.below(1000).cast_signed();
    (0..count)
        .map(|_| {
            let interval = match random.below(40) {
                0 => step * 9 + random.below(step * 40),
                1 => step * 3 + random.below(step),
                2..6 => 1 + random.below(step),
                _ => match style {
                    0 => step,
                    1 => (step + random.below(3)).saturating_sub(1),
                    2 => 1 + random.below(step),
                    _ => 1 + random.below(step * 3),
                },
            };
            if !random.one_in(80) {
                time += interval.max(1).cast_signed(); // else refused
            }
            let texts: Vec<_> = feeds.iter_mut().map(|feed| feed.next(random)).collect();
            (time, texts)
        })
        .collect()
}

fn update(store: &mut dyn Backend, file: &Path, readings: &[Reading]) -> Result<(), RrdError> {
    let values: Vec<Vec<Value<'_>>> = readings
        .iter()
        .map(|(_, texts)| texts.iter().map(|t| t.as_deref().map_or(Value::Unknown, Value::Text)).collect())
        .collect();
    let points: Vec<Point<'_>> =
        readings.iter().zip(&values).map(|((time, _), values)| Point { time: *time, values }).collect();
    store.update(file, &points)
}

/// What differs between two files, or `None`.
fn difference(ours: &Path, theirs: &Path) -> Option<String> {
    let (a, b) = (fs::read(ours).unwrap(), fs::read(theirs).unwrap());
    if a == b {
        return None;
    }
    let mut text = format!("{} and {} bytes", a.len(), b.len());
    let (layout, state) = format::parse(&a, a.len() as u64).unwrap();
    let (_, their_state) = format::parse(&b, b.len() as u64).unwrap();
    let _ = write!(text, "\nours   {state:?}\ntheirs {their_state:?}");
    let rows = (layout.header_size()..a.len()).step_by(8).filter(|&at| a[at..at + 8] != b[at..at + 8]);
    for at in rows.take(10) {
        let value = |bytes: &[u8]| f64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
        let _ = write!(text, "\nat {at}: ours {:?} theirs {:?}", value(&a), value(&b));
    }
    Some(text)
}

/// The same random readings through both stores. Returns how many.
fn compare(
    seed: u64,
    librrd: &mut LibrrdStore,
    dir: &Path,
    numbers: Numbers,
    mut check: impl FnMut(&Path, &Path) -> Option<String>,
) -> usize {
    let mut random = Random(seed);
    let schema = random_schema(&mut random, numbers);
    let (ours, theirs) = (dir.join(format!("{seed}-ours.rrd")), dir.join(format!("{seed}-theirs.rrd")));
    let mut native = NativeStore::new(Options { max_descriptors: random.below(2) as usize, sync_new: false });
    let (our_file, their_file) = (&ours, &theirs);
    let readings = random_readings(&mut random, &schema, UPDATES, numbers);
    let start = readings[0].0 - 1 - random.below(schema.step * 3).cast_signed();
    // One makes the file, the other gets a copy.
    if random.one_in(2) {
        native.create(our_file, &schema, start).unwrap();
        fs::copy(&ours, &theirs).unwrap();
    } else {
        librrd.create(their_file, &schema, start).unwrap();
        fs::copy(&theirs, &ours).unwrap();
    }
    let small = Layout::new(schema.clone()).unwrap().file_size() < 100_000;
    let per_call = random.pick(&[1, 1, 3, 20]);
    let calls = readings.len().div_ceil(per_call);
    for (number, some) in readings.chunks(per_call).enumerate() {
        let mine = update(&mut native, our_file, some).map_err(|e| e.to_string());
        let other = update(librrd, their_file, some).map_err(|e| e.to_string());
        assert_eq!(mine.is_ok(), other.is_ok(), "seed {seed}, {schema:?}: {mine:?} {other:?} at {some:?}");
        if !(small || number % 20 == 0 || number + 1 == calls) {
            continue; // comparing the large files takes the time
        }
        if let Some(difference) = check(&ours, &theirs) {
            let before = readings[..number * per_call].iter().rev().take(3).collect::<Vec<_>>();
            panic!(
                "seed {seed}, call {number}\n{schema:?}\nstart {start}, before {before:?}, updates {some:?}\n{difference}"
            );
        }
    }
    fs::remove_file(ours).unwrap();
    fs::remove_file(theirs).unwrap();
    readings.len()
}

#[test]
fn files_are_byte_for_byte_those_of_librrd() {
    let Some(mut librrd) = librrd() else { return };
    let dir = tempfile::tempdir().unwrap();
    let extra = std::env::var("ORACLE_SEED").ok().and_then(|seed| seed.parse().ok());
    let mut updates = 0;
    for seed in (1..=RUNS).chain(extra) {
        updates += compare(seed, &mut librrd, dir.path(), Numbers::Exact, difference);
    }
    println!("{updates} updates, {RUNS} schemas: every file byte for byte the same");
    assert!(updates >= 100_000);
}

#[test]
fn numbers_are_rounded_as_by_librrd() {
    let Some(mut librrd) = librrd() else { return };
    let dir = tempfile::tempdir().unwrap();
    let extra = std::env::var("ORACLE_SEED").ok().and_then(|seed| seed.parse().ok());
    let mut updates = 0;
    for seed in (1..=ROUNDED_RUNS).chain(extra) {
        updates += compare(seed, &mut librrd, dir.path(), Numbers::Rounded, difference);
    }
    println!("{updates} updates, {ROUNDED_RUNS} schemas: every file byte for byte the same");
}

#[test]
fn fresh_files_differ_in_the_start_rows_only() {
    let Some(mut librrd) = librrd() else { return };
    let dir = tempfile::tempdir().unwrap();
    let mut native = NativeStore::new(Options { sync_new: false, ..Options::default() });
    for seed in 1..=50 {
        let mut random = Random(seed);
        let schema = random_schema(&mut random, Numbers::Exact);
        let (ours, theirs) = (dir.path().join(format!("{seed}.o")), dir.path().join(format!("{seed}.t")));
        let (our_file, their_file) = (&ours, &theirs);
        let start = 1_000_000_000 + random.below(10_000).cast_signed();
        native.create(our_file, &schema, start).unwrap();
        librrd.create(their_file, &schema, start).unwrap();
        let (mut a, b) = (fs::read(&ours).unwrap(), fs::read(&theirs).unwrap());
        let header = Layout::new(schema.clone()).unwrap().header_size();
        let rows = header - 8 * schema.rras.len()..header;
        a[rows.clone()].copy_from_slice(&b[rows]);
        assert!(a == b, "seed {seed}: {schema:?}");
        assert_eq!(fs::metadata(&ours).unwrap().permissions(), fs::metadata(&theirs).unwrap().permissions());
    }
}
