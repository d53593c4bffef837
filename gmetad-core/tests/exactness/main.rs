//! The fast way against the plain one: the same documents go to a reader that recognises what it has seen before and to one
//! that understands everything anew, and must be the same to everybody who looks. Documents that are well-formed in spite of
//! what was done to them are judged by the oracle of the property tests, too, so that a mistake of both is seen.
//!
//! The cases are the same at each run. `GMETAD_TEST_LONG=1` (`scripts/test --long`) goes ten times as far. One that fails is
//! printed with everything left out that it does not need.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    missing_docs,
    unreachable_pub,
    reason = "a test fails by panicking and is nobody's library"
)]

mod compare;
mod corpus;
mod mutate;
#[allow(dead_code, reason = "the property tests use the rest")]
#[path = "../properties/oracle.rs"]
mod oracle;
mod rng;
mod wellformed;

use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use gmetad_core::xml::ParseOptions;
use gmetad_core::{GmondReader, ReaderOptions};

use compare::{Ids, Shown};
use mutate::Mutation;
use oracle::Oracle;
use rng::Rng;

/// The clock of the first poll.
const START: i64 = 1_700_000_000;
/// Sequences of documents.
const CASES: u64 = 29_000;

/// Documents that one source sends, one after the other.
#[derive(Clone, Debug)]
struct Case {
    scalable: bool,
    /// Done to all documents alike, so that what is odd comes again with other values.
    always: Vec<Mutation>,
    documents: Vec<Document>,
}

#[derive(Clone, Debug)]
struct Document {
    base: usize,
    /// Decides the values.
    values: u64,
    once: Vec<Mutation>,
    now: i64,
    /// Where the fast reader's document is cut on its way.
    cuts: Vec<u64>,
}

/// A document as it is sent.
#[derive(Clone, Debug)]
struct Sent {
    bytes: Vec<u8>,
    now: i64,
    cuts: Vec<usize>,
}

/// What was looked at.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    documents: u64,
    mutated: u64,
    whole: u64,
    judged: u64,
    metrics: u64,
}

impl Case {
    fn new(seed: u64, bases: usize) -> Self {
        let rng = &mut Rng::new(seed);
        let mild = rng.one_in(2);
        let mutation = |rng: &mut Rng| if mild || rng.one_in(3) { Mutation::mild(rng) } else { Mutation::harsh(rng) };
        let always = (0..rng.below(4)).map(|_| mutation(rng)).collect();
        let base = rng.below(bases);
        let mut now = START;
        let documents = (0..rng.within(2..7))
            .map(|at| {
                now += *rng.pick(&[0i64, 1, 15, 15, 15, 40, 200]);
                Document {
                    base: if rng.one_in(12) { rng.below(bases) } else { base },
                    values: rng.next(),
                    // The first one is to be learned from.
                    once: (0..if at == 0 { rng.below(2) } else { rng.within(1..4) }).map(|_| mutation(rng)).collect(),
                    now,
                    cuts: (0..if rng.one_in(3) { rng.within(1..5) } else { 0 }).map(|_| rng.next()).collect(),
                }
            })
            .collect();
        Self { scalable: !rng.one_in(4), always, documents }
    }

    fn sent(&self, bases: &[Vec<u8>]) -> Vec<Sent> {
        let mut all: Vec<Sent> = Vec::new();
        for document in &self.documents {
            let mut bytes = bases[document.base].clone();
            let other = all.last().map_or_else(|| bytes.clone(), |last| last.bytes.clone());
            self.always.iter().for_each(|mutation| mutation.apply(&mut bytes, &bases[document.base]));
            mutate::next_poll(&mut bytes, document.values);
            document.once.iter().for_each(|mutation| mutation.apply(&mut bytes, &other));
            let mut cuts: Vec<_> = document.cuts.iter().map(|cut| (cut % (bytes.len() as u64 + 1)) as usize).collect();
            cuts.sort_unstable();
            all.push(Sent { bytes, now: document.now, cuts });
        }
        all
    }

    /// The case with one thing less.
    fn smaller(&self) -> impl Iterator<Item = Self> + '_ {
        let documents = (0..self.documents.len()).map(|at| {
            let mut case = self.clone();
            case.documents.remove(at);
            case
        });
        let always = (0..self.always.len()).map(|at| {
            let mut case = self.clone();
            case.always.remove(at);
            case
        });
        let once = (0..self.documents.len()).flat_map(move |document| {
            (0..self.documents[document].once.len()).map(move |at| {
                let mut case = self.clone();
                case.documents[document].once.remove(at);
                case
            })
        });
        let cuts = (0..self.documents.len()).filter(|at| !self.documents[*at].cuts.is_empty()).map(|at| {
            let mut case = self.clone();
            case.documents[at].cuts.pop();
            case
        });
        documents.chain(always).chain(once).chain(cuts)
    }
}

fn reader(scalable: bool, plain: bool) -> GmondReader {
    let mut parse = ParseOptions::default();
    (parse.scalable, parse.plain) = (scalable, plain);
    GmondReader::new(Vec::new(), ReaderOptions { parse, ..ReaderOptions::default() })
}

/// Reads the documents in both ways.
fn check(sent: &[Sent], scalable: bool, counts: &mut Counts) -> Result<(), String> {
    let (mut fast, mut plain) = (reader(scalable, false), reader(scalable, true));
    let (fast_shown, plain_shown) = (Shown::default(), Shown::default());
    let mut ids = Ids::default();
    let mut oracle = Some(Oracle::new(scalable));
    for (at, Sent { bytes, now, cuts }) in sent.iter().enumerate() {
        let in_document = |error: String| format!("document {at}: {error}");
        let ends = cuts.iter().copied().chain([bytes.len()]);
        let pieces = ends.scan(0, |from, end| Some(&bytes[std::mem::replace(from, end)..end]));
        let a = fast.read_pieces(pieces, *now);
        let b = plain.read_document(bytes, *now);
        let (a, b) = match (a, b) {
            (Ok(a), Ok(b)) => (a, b),
            (Err(a), Err(b)) if a.to_string() == b.to_string() => continue,
            (a, b) => return Err(in_document(format!("{:?} and {:?}", a.map(drop), b.map(drop)))),
        };
        compare::snapshots(&a, &b, *now, &mut ids).map_err(in_document)?;
        fast_shown.publish(&a);
        plain_shown.publish(&b);
        for (query, now) in [("/", now + 30 * (at as i64 % 2)), ("/?filter=summary", *now)] {
            if fast_shown.print(query, now) != plain_shown.print(query, now) {
                return Err(in_document(format!("{query} at {now} differs")));
            }
        }
        counts.whole += 1;
        counts.metrics += a.report().metrics;
        // What it did not understand may have changed anything, so that it knows nothing of what comes.
        oracle = oracle.and_then(|mut oracle| {
            oracle.poll(wellformed::judged(bytes)?.as_bytes(), *now);
            oracle.check(&b, *now);
            counts.judged += 1;
            Some(oracle)
        });
    }
    Ok(())
}

/// What `call` returns, with panics as errors.
fn caught<T>(call: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|panic| match panic.downcast::<String>() {
        Ok(text) => Err(*text),
        Err(panic) => Err(panic.downcast_ref::<&str>().map_or("a panic", |text| text).to_owned()),
    })
}

/// What is left of a case that fails when everything is taken off that can be.
fn reduced(mut case: Case, bases: &[Vec<u8>]) -> String {
    let fails = |sent: &[Sent], scalable| caught(|| check(sent, scalable, &mut Counts::default())).is_err();
    if let Err(error) = caught(|| Ok(case.sent(bases))) {
        return format!("a mutation fails: {error}, {case:?}");
    }
    loop {
        let smaller = case.smaller().find(|case| fails(&case.sent(bases), case.scalable));
        let Some(smaller) = smaller else { break };
        case = smaller;
    }
    let mut sent = case.sent(bases);
    // Then, tag by tag, of the documents themselves.
    let mut at = (0, 0);
    while at.0 < sent.len() {
        let ends = memchr::memchr_iter(b'<', &sent[at.0].bytes).filter(|end| *end > at.1);
        let ends: Vec<_> = ends.chain([sent[at.0].bytes.len()]).collect();
        let less = ends.iter().copied().rev().filter(|end| *end > at.1).find_map(|end| {
            let mut less = sent.clone();
            less[at.0].bytes.drain(at.1..end);
            let len = less[at.0].bytes.len();
            less[at.0].cuts.iter_mut().for_each(|cut| *cut = (*cut).min(len));
            fails(&less, case.scalable).then_some(less)
        });
        match less {
            Some(less) => sent = less,
            None => at.1 = ends[0],
        }
        if at.1 >= sent[at.0].bytes.len() {
            at = (at.0 + 1, 0);
        }
    }
    let why = caught(|| check(&sent, case.scalable, &mut Counts::default())).err();
    let mut text = format!("{}\nscalable: {}, {:?}", why.unwrap_or_default(), case.scalable, case.always);
    for (sent, document) in sent.iter().zip(&case.documents) {
        let Sent { bytes, now, cuts } = sent;
        text += &format!("\n\nat {now}, cut at {cuts:?}, {:?}:\n{}", document.once, bytes.escape_ascii());
    }
    text.replace("\\n", "\\n\n").replace("\\\"", "\"")
}

#[test]
fn what_is_recognised_is_what_is_understood() {
    let long = std::env::var_os("GMETAD_TEST_LONG").is_some_and(|value| value == "1");
    let cases = if long { 10 * CASES } else { CASES };
    let bases = corpus::bases();
    let began = Instant::now();
    let next = AtomicU64::new(0);
    let total = Mutex::new(Counts::default());
    let failed: Mutex<Option<u64>> = Mutex::new(None);
    // Panics are told with their case.
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, |n| n.get().min(8)) {
            scope.spawn(|| {
                let mut counts = Counts::default();
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= cases {
                        break;
                    }
                    let case = Case::new(seed, bases.len());
                    let mutated = |d: &&Document| !d.once.is_empty() || !case.always.is_empty();
                    counts.documents += case.documents.len() as u64;
                    counts.mutated += case.documents.iter().filter(mutated).count() as u64;
                    if caught(|| check(&case.sent(&bases), case.scalable, &mut counts)).is_err() {
                        next.store(cases, Ordering::Relaxed);
                        let mut failed = failed.lock().unwrap();
                        *failed = Some(failed.map_or(seed, |other| other.min(seed)));
                    }
                }
                let mut total = total.lock().unwrap();
                total.documents += counts.documents;
                total.mutated += counts.mutated;
                total.whole += counts.whole;
                total.judged += counts.judged;
                total.metrics += counts.metrics;
            });
        }
    });
    let failed = failed.lock().unwrap().map(|seed| (seed, reduced(Case::new(seed, bases.len()), &bases)));
    std::panic::set_hook(hook);
    let counts = *total.lock().unwrap();
    // Past libtest, which keeps what a test prints that passes.
    let _ = writeln!(std::io::stderr(), "exactness: {counts:?} in {:.1} s", began.elapsed().as_secs_f64());
    if let Some((seed, text)) = failed {
        panic!("case {seed}: {text}");
    }
    assert!(counts.mutated >= 100_000, "too few: {counts:?}");
    assert!(counts.whole > counts.documents / 2, "too many are no documents any more: {counts:?}");
    assert!(counts.judged > counts.documents / 8, "the oracle judges too few: {counts:?}");
}

#[test]
fn quotes_in_names_are_recognised_exactly() {
    let document = |val: &str, end: &str| {
        let bytes = format!(
            "<GANGLIA_XML VERSION=\"3.7.2\"><CLUSTER NAME=\"c\" LOCALTIME=\"1\"><HOST NAME=\"h\" TN=\"1\" TMAX=\"20\">\
             <METRIC a\"b=\"c\" NAME=\"x\" VAL=\"{val}\" TYPE=\"string\" TN=\"5\" d\"e=\"f\"/>{end}</HOST></CLUSTER></GANGLIA_XML>"
        );
        Sent { bytes: bytes.into_bytes(), now: START, cuts: Vec::new() }
    };
    for (val, end, other, other_end) in [("1", "", "1>", ""), ("1", "", "1'", ""), ("1", "\n", "1", "\n  ")] {
        check(&[document(val, end), document(other, other_end)], true, &mut Counts::default()).unwrap();
    }
}
