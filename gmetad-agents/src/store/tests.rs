//! Bounds of what waits and of what is kept.

use std::fs;
use std::process::Command;

use gmetad_core::agent::{Agent, AgentError, Context, Measurement};

use super::keeper::room::{MOST_BYTES, MOST_FILES};
use super::*;
use crate::spec::{Archive, Graphs, Installed, Keep};

struct Some1;

impl Agent for Some1 {
    fn name(&self) -> &str {
        "some"
    }
    fn measure(&mut self, _: &Context) -> Result<Measurement, AgentError> {
        Ok(Measurement::new())
    }
}

/// An agent with small files.
fn spec() -> Arc<Spec> {
    let mut spec = Installed::new(Some1).spec;
    let archives = vec![Archive { cf: Cf::Average, resolution: 60, keep: 600 }];
    spec.keep = Keep::Rrd(Graphs { archives, ..Graphs::default() });
    Arc::new(spec)
}

fn taken(time: UnixTime, fields: usize) -> Taken {
    let measurement = (0..fields).fold(Measurement::new(), |all, n| all.number(format!("field{n}"), 1.0));
    Taken { time, took: 0.0, measurement: Arc::new(measurement) }
}

#[test]
fn files_have_a_bound() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::start(dir.path().to_owned(), Lang::English).unwrap();
    assert_eq!(store.adopt(vec!["some".to_owned()], Some(Vec::new()), Duration::from_secs(20)), Some(HashMap::new()));
    store.points(spec(), taken(1_000_000, MOST_FILES + 50));
    store.points(spec(), taken(1_000_060, MOST_FILES + 50));
    assert!(store.close(Duration::from_secs(60)));
    assert_eq!(store.kept("some").len(), MOST_FILES);
    let files = fs::read_dir(dir.path().join("some")).unwrap().count();
    assert_eq!((files, store.dropped()), (MOST_FILES, 0));
}

#[test]
fn bytes_of_files_have_a_bound() {
    let dir = tempfile::tempdir().unwrap();
    let spec = spec();
    let Keep::Rrd(graphs) = &spec.keep else { panic!("no files") };
    let schema = schema::schema(spec.period, graphs, &schema::source(graphs, "x").unwrap());
    let size = gmetad_rrd::format::Layout::new(schema).unwrap().file_size();
    // What was set aside takes room, too; this one takes none on the disk.
    fs::create_dir_all(dir.path().join("some/eth0")).unwrap();
    File::create(dir.path().join("some/eth0/rx.rrd.old")).unwrap().set_len(MOST_BYTES - 3 * size).unwrap();
    let store = Store::start(dir.path().to_owned(), Lang::English).unwrap();
    store.adopt(vec!["some".to_owned()], Some(Vec::new()), Duration::from_secs(20)).unwrap();
    store.points(Arc::clone(&spec), taken(1_000_000, 5));
    store.points(spec, taken(1_000_060, 5));
    assert!(store.close(Duration::from_secs(20)));
    assert_eq!(store.kept("some").len(), 3);
    let file = dir.path().join("some/field0.rrd");
    assert_eq!(fs::metadata(&file).unwrap().len(), size);
    assert_eq!(gmetad_rrd::View::open(&file).unwrap().last(), 1_000_060, "what has a file is written on");
    assert!(!dir.path().join("some/field3.rrd").exists());
}

#[test]
fn what_waits_for_a_disk_that_hangs_has_a_bound() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("some")).unwrap();
    // Who opens this waits for a reader that never comes.
    let fifo = dir.path().join("some/agent.json");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let store = Store::start(dir.path().to_owned(), Lang::English).unwrap();
    let begin = Instant::now();
    assert_eq!(store.adopt(vec!["some".to_owned()], Some(Vec::new()), Duration::from_millis(100)), None, "given up");
    let (spec, taken) = (spec(), taken(1_000_000, 1000));
    for _ in 0..MOST_WAITING / 1000 + 5 {
        store.points(Arc::clone(&spec), taken.clone());
    }
    assert_eq!(store.dropped(), 5 * 1000);
    assert!(!store.close(Duration::from_millis(100)) && begin.elapsed() < Duration::from_secs(20));
}

#[test]
fn names_that_cannot_be_are_not_kept() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::start(dir.path().to_owned(), Lang::English).unwrap();
    store.adopt(vec!["some".to_owned()], Some(Vec::new()), Duration::from_secs(20)).unwrap();
    let of_it = Measurement::new().number("n", 1.0);
    let long = "x".repeat(1000);
    let measurement = Measurement::new()
        .number("n", 1.0)
        .number(long.as_str(), 1.0)
        .instance(long.as_str(), of_it.clone())
        .instance("../..", of_it);
    store.points(spec(), Taken { time: 1_000_000, took: 0.0, measurement: Arc::new(measurement.clone()) });
    // Of nobody whose data are to be written.
    let mut other = (*spec()).clone();
    other.name = "other".to_owned();
    store.points(Arc::new(other), Taken { time: 1_000_000, took: 0.0, measurement: Arc::new(measurement) });
    assert!(store.close(Duration::from_secs(20)));
    let n = || "n".to_owned();
    assert_eq!(store.kept("some"), [(None, n()), (Some("../..".to_owned()), n())]);
    let names: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 2, "the agent and the lock: {names:?}");
}

#[test]
fn a_clock_that_was_in_the_future_costs_no_more_than_what_it_measured() {
    let dir = tempfile::tempdir().unwrap();
    let now = gmetad_core::now();
    let last = |name: &str| gmetad_rrd::View::open(&dir.path().join("some").join(name)).map(|view| view.last()).ok();
    for (time, expected) in [(now + 200_000, [Some(now + 200_000), None]), (now, [Some(now), Some(now + 200_000)])] {
        let store = Store::start(dir.path().to_owned(), Lang::English).unwrap();
        store.adopt(vec!["some".to_owned()], Some(Vec::new()), Duration::from_secs(20)).unwrap();
        store.points(spec(), taken(time, 1));
        assert!(store.close(Duration::from_secs(20)));
        assert_eq!(["field0.rrd", "field0.rrd.old"].map(last), expected);
    }
    // And while it runs.
    let store = Store::start(dir.path().to_owned(), Lang::English).unwrap();
    store.adopt(vec!["some".to_owned()], Some(Vec::new()), Duration::from_secs(20)).unwrap();
    [now + 7200, now + 60].into_iter().for_each(|time| store.points(spec(), taken(time, 1)));
    assert!(store.close(Duration::from_secs(20)));
    let expected = [now + 60, now + 200_000, now + 7200].map(Some);
    assert_eq!(["field0.rrd", "field0.rrd.old", "field0.rrd.old.2"].map(last), expected);
}

#[test]
fn what_is_retired_takes_along_what_is_known_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::start(dir.path().to_owned(), Lang::English).unwrap();
    store.adopt(vec!["some".to_owned()], Some(Vec::new()), Duration::from_secs(20)).unwrap();
    let view = Arc::new(AgentView { measured: 7, ..AgentView::fresh(spec(), 1_000_000) });
    // Its first numbers and its end come before anything that is known of it was written.
    store.points(spec(), taken(1_000_000, 1));
    store.retire(vec![Arc::clone(&view)]);
    store.save(view, true);
    let back = store.adopt(vec!["some".to_owned()], None, Duration::from_secs(20)).unwrap();
    assert_eq!(back.get("some").map(|view| view.measured), Some(7));
    assert!(store.close(Duration::from_secs(20)));
}

#[test]
fn a_directory_that_was_removed_is_locked_again() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("stats");
    let store = Store::start(root.clone(), Lang::English).unwrap();
    store.adopt(vec!["some".to_owned()], None, Duration::from_secs(20)).unwrap();
    fs::remove_dir_all(&root).unwrap();
    store.save(Arc::new(AgentView::fresh(spec(), 1_000_000)), true);
    let file = root.join("some/agent.json");
    while !file.exists() {
        thread::sleep(Duration::from_millis(10));
    }
    assert!(matches!(Store::start(root.clone(), Lang::English), Err(StoreError::InUse { .. })));
    assert!(store.close(Duration::from_secs(20)));
    assert!(Store::start(root, Lang::English).is_ok());
}

#[test]
fn a_directory_that_another_process_has_taken_is_left_alone_until_it_is_free() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("stats");
    let store = Store::start(root.clone(), Lang::English).unwrap();
    store.adopt(vec!["some".to_owned()], None, Duration::from_secs(20)).unwrap();
    fs::remove_dir_all(&root).unwrap();
    let other = Store::start(root.clone(), Lang::English).unwrap();
    store.points(spec(), taken(1_000_000, 1));
    store.save(Arc::new(AgentView { measured: 7, ..AgentView::fresh(spec(), 1_000_000) }), true);
    let known = store.adopt(vec!["more".to_owned()], None, Duration::from_secs(20));
    assert_eq!(known, Some(HashMap::new()), "it answers");
    store.retire(vec![Arc::new(AgentView::fresh(Arc::new(Spec { name: "more".to_owned(), ..(*spec()).clone() }), 1))]);
    assert_eq!(store.adopt(Vec::new(), None, Duration::from_secs(20)), Some(HashMap::new()), "all that is done");
    assert!(!root.join("some").exists() && !root.join(".retired").exists());
    assert!(other.close(Duration::from_secs(20)));
    let file = root.join("some/agent.json");
    let end = Instant::now() + Duration::from_secs(20);
    while !file.exists() {
        assert!(Instant::now() < end, "it takes the directory again by itself");
        thread::sleep(Duration::from_millis(5));
    }
    assert!(fs::read_to_string(&file).unwrap().contains("\"measured\":7"), "what was known last");
    store.points(spec(), taken(1_000_060, 1));
    assert!(store.close(Duration::from_secs(20)));
    assert!(root.join("some/field0.rrd").exists());
}
