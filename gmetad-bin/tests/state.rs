//! The saved tree, with the real program: what is shown after a restart, how old it is, and that no RRD hears of it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

#[allow(dead_code, unreachable_pub, missing_docs, reason = "each test program uses a part of the helpers")]
mod util;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use util::daemon::{Gmetad, Launch, under_test_is_c};
use util::document;
use util::fake_gmond::{FakeGmond, Reply};
use util::xml::Element;

/// Within this time a daemon that was told to stop has stopped.
const STOP: Duration = Duration::from_secs(5);
/// See gmetad-bin/src/state.rs.
const INTERVAL: &str = "GMETAD_TEST_STATE_SECONDS";

fn left_out(test: &str) -> bool {
    if under_test_is_c() {
        util::left_out(test, "the C gmetad saves nothing");
    }
    under_test_is_c()
}

/// What does not change while nothing is polled: all but ages and our own clock.
fn ageless(mut tree: Element) -> Element {
    fn strip(element: &mut Element) {
        element.attributes.retain(|(name, _)| name != "TN");
        element.children.iter_mut().for_each(strip);
    }
    strip(&mut tree);
    let grid = &mut tree.children[0];
    grid.attributes.retain(|(name, _)| name != "LOCALTIME");
    tree
}

/// The TNs of all hosts and metrics.
fn ages(tree: &Element) -> Vec<u64> {
    let own = tree.attribute("TN").map(|tn| tn.parse().unwrap());
    own.into_iter().chain(tree.children.iter().flat_map(ages)).collect()
}

/// Waits until `/status` says this of a source: when what it shows was saved, and how often it could not be polled.
fn wait_status(daemon: &Gmetad, source: &str, holds: impl Fn(Option<u64>, u64) -> bool) {
    util::wait_until("its /status", util::SOON * 2, || {
        let status = String::from_utf8(daemon.query("/status")).unwrap();
        let Some(at) = status.find(&format!("{{\"name\":\"{source}\"")) else { return false };
        let status = &status[at..];
        let number = |key: &str| {
            let text = &status[status.find(key).unwrap() + key.len()..];
            text[..text.find([',', '}']).unwrap()].parse::<u64>().ok()
        };
        holds(number("\"saved\":"), number("\"failures\":").unwrap())
    });
}

/// The bytes of all RRD files.
fn rrds(root: &Path) -> BTreeMap<String, Vec<u8>> {
    let names = util::rrd::tree(root).into_iter().filter(|name| name.ends_with(".rrd"));
    names.map(|name| (name.clone(), fs::read(root.join(name)).unwrap())).collect()
}

fn files_in(state: &Path, daemon: &Gmetad) -> PathBuf {
    state.join(format!("tree-{}", daemon.xml_port()))
}

#[test]
fn a_restart_without_its_source_shows_the_same_tree_older() {
    if left_out("a_restart_without_its_source_shows_the_same_tree_older") {
        return;
    }
    let source = FakeGmond::serving_now(document::honest("Honest", 5, 7));
    let mut daemon = Launch::ours().with_rrds().source("a source", 1, source.address()).start();
    daemon.wait_source("Honest");
    daemon.wait_root_summary();
    util::wait_until("there are RRDs", util::SOON, || rrds(&daemon.rrd_root()).len() >= 5 * 7 + 2 * 7);
    // It is down before the daemon is, so that no poll comes between what is looked at and what is saved.
    drop(source);
    let stopped = util::now();
    wait_status(&daemon, "a source", |saved, failures| saved.is_none() && failures > 0);
    let before = ["/", "/?filter=summary"].map(|line| ageless(daemon.tree(line)));
    daemon.end_by("TERM");
    let points = rrds(&daemon.rrd_root());
    assert!(files_in(&daemon.dir().join("state"), &daemon).join("a%20source").is_file());

    daemon.start_again();
    daemon.wait_source("Honest");
    assert_eq!(ageless(daemon.tree("/")), before[0]);
    assert_eq!(ageless(daemon.parse(&daemon.dump())), before[0]);
    assert_eq!(ageless(daemon.tree("/Honest?filter=summary")).children[0].children, {
        let grid = &before[1].children[0];
        grid.all("CLUSTER").cloned().collect::<Vec<_>>()
    });
    daemon.wait_tree("ages grow from the poll's time", "/", |tree| {
        let (ages, since) = (ages(tree), util::now() - stopped);
        assert!(ages.len() == 5 * 8 && ages.iter().all(|age| *age + 1 >= since), "{ages:?} after {since} s");
        ages.iter().all(|age| *age >= 5).then_some(())
    });
    wait_status(&daemon, "a source", |saved, failures| saved.is_some() && failures > 2);
    let log = daemon.log();
    assert!(log.contains("[a source] shows what was saved"), "{log}");
    daemon.end_by("TERM");
    let after = rrds(&daemon.rrd_root());
    for (name, bytes) in &after {
        assert!(points.get(name) == Some(bytes), "{name} has a point that nobody polled");
    }
    assert_eq!(points.len(), after.len());
}

#[test]
fn the_first_answer_after_a_restart_is_whole() {
    if left_out("the_first_answer_after_a_restart_is_whole") {
        return;
    }
    let source = FakeGmond::serving_now(document::honest("Honest", 2000, 10));
    let mut daemon = Launch::ours().source("x", 1, source.address()).start();
    daemon.wait_source("Honest");
    drop(source);
    daemon.end_by("TERM");
    // Returns when somebody accepts, which the system does for ports that are bound.
    daemon.start_again();
    assert_eq!(daemon.tree("/").count("METRIC"), 20_000);
}

#[test]
fn a_save_now_and_then_outlives_kill_9() {
    if left_out("a_save_now_and_then_outlives_kill_9") {
        return;
    }
    let source = FakeGmond::serving_now(document::honest("Honest", 2, 2));
    let mut daemon = Launch::ours().env(INTERVAL, "0.1").source("x", 1, source.address()).start();
    let file = files_in(&daemon.dir().join("state"), &daemon).join("x");
    util::wait_until("it is saved", util::SOON, || file.is_file());
    let first = fs::read(&file).unwrap();
    util::wait_until("it is saved again after a poll", util::SOON, || fs::read(&file).unwrap() != first);
    drop(source);
    daemon.restart_after("KILL");
    daemon.wait_source("Honest");
    wait_status(&daemon, "x", |saved, failures| saved.is_some() && failures > 0);
    assert_eq!(daemon.tree("/").count("METRIC"), 4);
}

#[test]
fn hosts_that_are_gone_for_good_are_gone_after_a_restart() {
    if left_out("hosts_that_are_gone_for_good_are_gone_after_a_restart") {
        return;
    }
    let few = Arc::new(AtomicBool::new(false));
    let fewer = Arc::clone(&few);
    let source = FakeGmond::scripted(move |_| {
        let hosts = if fewer.load(Ordering::Relaxed) { 1 } else { 3 };
        Reply::Bytes(document::honest("Honest", hosts, 2))
    });
    let mut daemon = Launch::ours().source("x", 1, source.address()).start();
    daemon.wait_source("Honest");
    few.store(true, Ordering::Relaxed);
    source.wait_polls(2);
    assert_eq!(daemon.tree("/").count("HOST"), 3, "they stay, and age");
    daemon.restart_after("TERM");
    daemon.wait_tree("the dead hosts are gone", "/", |tree| (tree.count("HOST") == 1).then_some(()));
}

#[test]
fn two_daemons_share_a_directory() {
    if left_out("two_daemons_share_a_directory") {
        return;
    }
    let shared = tempfile::tempdir().unwrap();
    let state = format!("state_dir \"{}\"", shared.path().display());
    let sources = ["One", "Two"].map(|name| FakeGmond::serving_now(document::honest(name, 2, 2)));
    let mut daemons = [0, 1].map(|n| Launch::ours().line(&state).source("same name", 1, sources[n].address()).start());
    for (daemon, name) in daemons.iter_mut().zip(["One", "Two"]) {
        daemon.wait_source(name);
        daemon.end_by("TERM");
    }
    drop(sources);
    for (daemon, name) in daemons.iter_mut().zip(["One", "Two"]) {
        daemon.start_again();
        daemon.wait_source(name);
        assert_eq!(daemon.tree("/").count("CLUSTER"), 1, "{name} alone");
    }
}

/// Whatever is in the file: it is named, and the daemon does what it does without one.
#[test]
fn a_damaged_file_costs_nothing_but_itself() {
    if left_out("a_damaged_file_costs_nothing_but_itself") {
        return;
    }
    let source = FakeGmond::serving_now(document::honest("Honest", 2, 2));
    let mut daemon = Launch::ours().source("x", 1, source.address()).start();
    daemon.wait_source("Honest");
    daemon.end_by("TERM");
    let file = files_in(&daemon.dir().join("state"), &daemon).join("x");
    let mut bytes = fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes.truncate(middle);
    fs::write(&file, bytes).unwrap();
    daemon.start_again();
    daemon.wait_source("Honest");
    let log = daemon.log();
    assert!(log.contains("saved tree x of [x]: ") && log.contains("going on without it"), "{log}");
    assert!(daemon.end_by("TERM") < STOP);
    assert!(fs::metadata(&file).unwrap().len() > middle as u64, "it is saved anew");
}

#[test]
fn a_state_dir_that_cannot_be_written_is_told() {
    if left_out("a_state_dir_that_cannot_be_written_is_told") {
        return;
    }
    let source = FakeGmond::serving_now(document::honest("Honest", 2, 2));
    let mut daemon = Launch::ours().line("state_dir /dev/null/x").source("x", 1, source.address()).start();
    daemon.wait_source("Honest");
    let log = daemon.log();
    assert!(log.contains("state_dir: /dev/null/x/tree-"), "{log}");
    assert!(daemon.end_by("TERM") < STOP);
}
