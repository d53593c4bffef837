//! The saved tree in the wired daemon: who is shown it, and who never hears of it.
#![allow(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;
use gmetad_core::daemon::SourceState;
use gmetad_core::model::UnixTime;
use gmetad_core::plugin::Subject;
use gmetad_core::source::{Source, Stop};
use gmetad_core::synthetic::{SyntheticCluster, SyntheticSource};
use gmetad_core::{Gmetad, PollError, SourceSnapshot, Transaction};

const INTERVAL: Duration = Duration::from_millis(200);
const PATIENCE: Duration = Duration::from_secs(20);

/// Can be polled while the gate is open.
struct Gated(SyntheticSource, Arc<AtomicBool>);

impl Source for Gated {
    fn poll(&mut self, now: UnixTime, stop: &Stop) -> Result<SourceSnapshot, PollError> {
        match self.1.load(Ordering::Relaxed) {
            true => self.0.poll(now, stop),
            false => Err(PollError::Other("the gate is shut".to_owned())),
        }
    }

    fn restore(&mut self, document: &mut dyn Read, polled: UnixTime) -> io::Result<Option<SourceSnapshot>> {
        self.0.restore(document, polled)
    }
}

/// A daemon with one source of so many hosts, and all it tells plugins.
fn start(dir: &Path, hosts: usize, gate: &Arc<AtomicBool>) -> (Gmetad, Receiver<Arc<Transaction>>) {
    let gate = Arc::clone(gate);
    let make = move || Gated(SyntheticSource::new(SyntheticCluster::new("lab", hosts, 5)), Arc::clone(&gate));
    let builder = Gmetad::builder().state_dir(dir).custom_source("lab", INTERVAL, make);
    let (builder, transactions) = builder.subscribe(1000);
    (builder.start().expect("start"), transactions)
}

#[track_caller]
fn wait_for(gmetad: &Gmetad, what: &str, holds: impl Fn(&SourceState) -> bool) {
    let end = Instant::now() + PATIENCE;
    while !gmetad.sources().iter().all(&holds) {
        assert!(Instant::now() < end, "{what}: {:?}", gmetad.sources());
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn hosts(gmetad: &Gmetad) -> usize {
    gmetad.store().view().cluster("lab").map_or(0, |lab| lab.hosts().len())
}

#[test]
fn what_was_saved_is_shown_until_the_first_good_poll_and_nobody_is_told() {
    let dir = tempfile::tempdir().expect("a directory");
    let gate = Arc::new(AtomicBool::new(true));
    let (gmetad, _) = start(dir.path(), 7, &gate);
    wait_for(&gmetad, "polled", |source| source.polls > 0);
    gmetad.stop(PATIENCE).expect("it ends");
    assert!(dir.path().join("lab").is_file(), "saved at the stop");

    gate.store(false, Ordering::Relaxed);
    let (gmetad, told) = start(dir.path(), 3, &gate);
    wait_for(&gmetad, "failed", |source| source.failures > 2);
    assert_eq!(hosts(&gmetad), 7, "shown");
    assert!(gmetad.sources()[0].saved.is_some_and(|polled| (gmetad_core::now() - polled) < 60));
    assert_eq!(gmetad.store().view().summary().hosts_up(), 0, "a dead source is not in the root's sum");
    let of_root = |transaction: Arc<Transaction>| match transaction.subject() {
        Subject::Root(summary) => assert_eq!(summary.hosts_up(), 0, "points of what was saved"),
        _ => panic!("told of what was saved: {transaction:?}"),
    };
    told.try_iter().for_each(of_root);
    let report = gmetad.stats().reports.all().into_iter().find(|report| report.name() == "state").expect("counted");
    let loaded = report.figures().into_iter().find(|figure| figure.name == "loaded").expect("counted");
    assert_eq!(loaded.value, 1);

    gate.store(true, Ordering::Relaxed);
    wait_for(&gmetad, "polled", |source| source.polls > 0);
    assert_eq!((hosts(&gmetad), gmetad.sources()[0].saved), (3, None), "nothing of it is carried over");
    let told = told.iter().find(|told| !matches!(told.subject(), Subject::Root(_))).expect("told of the poll");
    assert_eq!(told.summary().hosts_up(), 3);
    gmetad.stop(PATIENCE).expect("it ends");
}

/// A process that never had a good poll hands on the file it found.
#[test]
fn the_file_of_a_source_that_is_not_polled_stays() {
    let dir = tempfile::tempdir().expect("a directory");
    let gate = Arc::new(AtomicBool::new(true));
    let (gmetad, _) = start(dir.path(), 7, &gate);
    wait_for(&gmetad, "polled", |source| source.polls > 0);
    gmetad.stop(PATIENCE).expect("it ends");
    let file = || std::fs::read(dir.path().join("lab")).expect("there");
    let saved = file();
    gate.store(false, Ordering::Relaxed);
    for _ in 0..2 {
        let (gmetad, _) = start(dir.path(), 7, &gate);
        wait_for(&gmetad, "failed", |source| source.failures > 0 && source.saved.is_some());
        gmetad.stop(PATIENCE).expect("it ends");
        assert!(file() == saved);
    }
}

#[test]
fn sources_of_one_name_have_files_of_their_own() {
    let dir = tempfile::tempdir().expect("a directory");
    let start = || {
        let source = |name: &'static str| move || SyntheticSource::new(SyntheticCluster::new(name, 2, 3));
        let builder = Gmetad::builder().state_dir(dir.path());
        let builder = builder.custom_source("x", INTERVAL, source("one")).custom_source("x", INTERVAL, source("two"));
        builder.start().expect("start")
    };
    let gmetad = start();
    wait_for(&gmetad, "polled", |source| source.polls > 0);
    gmetad.stop(PATIENCE).expect("it ends");
    assert!(dir.path().join("x").is_file() && dir.path().join("x+1").is_file());
    let gmetad = start();
    wait_for(&gmetad, "polled", |source| source.polls > 0);
    assert_eq!(gmetad.store().view().clusters().count(), 2);
    gmetad.stop(PATIENCE).expect("it ends");
}
