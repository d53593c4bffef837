//! The store: points wait, are journalled, written, replayed; a killed process, removed and restored files, two stores.
#![allow(clippy::unwrap_used, clippy::panic)] // in a test they are the report

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use gmetad_core::stats::Stats;
use gmetad_rrd::cache::{CacheOptions, MakeBackend, NotTaken, RowWriter, StoreError};
use gmetad_rrd::native::Options;
use gmetad_rrd::{Backend, Cached, Cf, DsKind, NativeStore, RraSpec, RrdStore, Schema, Value, View};

const START: i64 = 1_000_000_000;

fn native() -> MakeBackend {
    Box::new(|| Ok(Box::new(NativeStore::new(Options { sync_new: false, ..Options::default() }))))
}

fn patient() -> CacheOptions {
    CacheOptions {
        cache: Some(Duration::from_secs(3600)),
        journal_sync: Duration::from_millis(10),
        ..CacheOptions::default()
    }
}

fn open(root: &Path, options: CacheOptions) -> Result<RrdStore, StoreError> {
    RrdStore::open(root, options, &native(), Arc::new(Stats::default()))
}

fn schema(store: &RrdStore) -> Arc<Schema> {
    let rra = |steps, rows| RraSpec { cf: Cf::Average, xff: 0.5, steps, rows };
    store.schema(Schema::host(10, DsKind::Gauge, &[rra(1, 200), rra(3, 200)]))
}

fn wait(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !done() {
        assert!(Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn figure(store: &RrdStore, name: &str) -> u64 {
    store.counters().into_iter().find(|(known, _)| *known == name).unwrap().1
}

fn last(path: &Path) -> Option<i64> {
    View::open(path).ok().map(|view| view.last())
}

/// Rounds of values for some hosts with some metrics.
fn accept(store: &RrdStore, hosts: usize, metrics: usize, rounds: std::ops::Range<i64>) {
    let schema = schema(store);
    for host in 0..hosts {
        let group = store.group(&PathBuf::from(format!("a cluster/h{host}")));
        let slots: Vec<u32> =
            (0..metrics).map(|m| store.slot(&group, &format!("m{m}.rrd"), &schema).unwrap()).collect();
        for round in rounds.clone() {
            let values: Vec<String> = (0..metrics).map(|m| format!("{}.{m}", round * 3 + host as i64)).collect();
            let mut row = RowWriter::default();
            row.start(START + round * 10);
            slots.iter().zip(&values).for_each(|(slot, value)| row.put(*slot, &[Value::Text(value)]));
            store.accept(&group, &row, &Arc::from("source")).unwrap();
        }
    }
}

fn expected(root: &Path, hosts: usize, metrics: usize, rounds: i64) {
    let store = open(root, CacheOptions { journal_sync: Duration::ZERO, ..patient() }).unwrap();
    accept(&store, hosts, metrics, 0..rounds);
    assert_eq!(store.close(Duration::from_secs(10)), 0);
}

/// Every RRD file below both is the same.
fn same_trees(a: &Path, b: &Path) {
    let files = |root: &Path| {
        let mut found = Vec::new();
        let mut dirs = vec![root.to_owned()];
        while let Some(dir) = dirs.pop() {
            for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
                if entry.file_name() == ".gmetad" {
                } else if entry.file_type().unwrap().is_dir() {
                    dirs.push(entry.path());
                } else {
                    found.push(entry.path().strip_prefix(root).unwrap().to_owned());
                }
            }
        }
        found.sort();
        found
    };
    assert_eq!(files(a), files(b));
    for file in files(a) {
        // The start rows come from the path; all else must be the same.
        let text = |root: &Path| {
            let text = View::open(&root.join(&file)).unwrap().info_text("x");
            text.lines().filter(|line| !line.contains("cur_row")).map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(text(a), text(b), "{}", file.display());
        let rows = |root: &Path| {
            let view = View::open(&root.join(&file)).unwrap();
            view.fetch(Cf::Average, START, START + 1000, 10).unwrap().unwrap()
        };
        let [x, y] = [rows(a), rows(b)].map(|f| f.values.iter().map(|v| v.to_bits()).collect::<Vec<_>>());
        assert_eq!(x, y, "{}", file.display());
    }
}

#[test]
fn points_wait_and_are_written_at_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), patient()).unwrap();
    accept(&store, 1, 3, 0..1);
    let file = dir.path().join("a cluster/h0/m1.rrd");
    wait("a new file is made at once", || last(&file) == Some(START));
    accept(&store, 1, 3, 1..20);
    assert_eq!(last(&file), Some(START), "later points wait");
    let pending = store.pending(Path::new("a cluster/h0/m1.rrd")).unwrap();
    let view = store.view(&file).unwrap();
    assert_eq!((view.last(), view.last_values().next().unwrap().1.as_ref()), (START + 190, "57.1"), "readers see all");
    assert_eq!((pending.len(), pending[0].as_str(), pending[18].as_str()), (19, "1000000010:3.1", "1000000190:57.1"));
    store.flush(&file).unwrap();
    assert_eq!(last(&file), Some(START + 190));
    assert_eq!(last(&dir.path().join("a cluster/h0/m2.rrd")), Some(START + 190), "a directory is written together");
    accept(&store, 1, 3, 20..30);
    assert_eq!(store.close(Duration::from_secs(10)), 0);
    assert_eq!(last(&file), Some(START + 290));
    assert_eq!(figure(&store, "points_pending"), 0);
    let left: Vec<_> = fs::read_dir(dir.path().join(".gmetad")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left, ["lock"], "nothing is left in the journal");
}

/// What a killed process leaves: the files and the journal as they are.
fn killed(root: &Path, copy: &Path) {
    let status = std::process::Command::new("cp").arg("-a").arg(root.join(".")).arg(copy).status().unwrap();
    assert!(status.success());
}

#[test]
fn a_killed_store_loses_nothing_that_was_synced() {
    let (dir, copy, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = open(dir.path(), patient()).unwrap();
    accept(&store, 5, 4, 0..1);
    wait("files are made", || figure(&store, "files_made") == 20);
    accept(&store, 5, 4, 1..12);
    let before = figure(&store, "journal_syncs");
    wait("the journal is synced", || {
        figure(&store, "journal_syncs") > before + 1 || figure(&store, "journal_written_bytes") > 1000
    });
    wait("the journal has all", || {
        fs::read_dir(dir.path().join(".gmetad")).unwrap().flatten().map(|e| e.metadata().unwrap().len()).sum::<u64>()
            > 800
    });
    std::thread::sleep(Duration::from_millis(50)); // five sync intervals
    killed(dir.path(), copy.path());
    let again = open(copy.path(), patient()).unwrap();
    assert_eq!(figure(&again, "journal_replayed"), 5 * 4 * 12);
    assert_eq!(again.close(Duration::from_secs(10)), 0);
    expected(other.path(), 5, 4, 12);
    same_trees(copy.path(), other.path());
    drop(store);
    same_trees(dir.path(), other.path());
}

#[test]
fn removed_hosts_stay_removed_and_restored_files_get_what_they_lack() {
    let (dir, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = open(dir.path(), CacheOptions { haste: 20_000, ..patient() }).unwrap();
    let _held: Vec<_> = (0..3).map(|h| store.group(&PathBuf::from(format!("a cluster/h{h}")))).collect();
    accept(&store, 3, 2, 0..1);
    wait("files are made", || figure(&store, "files_made") == 6);
    wait("and are on the disk for sure", || !dir.path().join(".gmetad/journal-0000000000000001").exists());
    let backup = fs::read(dir.path().join("a cluster/h1/m0.rrd")).unwrap();
    accept(&store, 3, 2, 1..10);
    store.flush(Path::new("a cluster/h1/m0.rrd")).unwrap();
    std::thread::sleep(Duration::from_millis(100)); // ten sync intervals
    killed(dir.path(), copy.path());
    fs::remove_dir_all(copy.path().join("a cluster/h0")).unwrap();
    fs::write(copy.path().join("a cluster/h1/m0.rrd"), backup).unwrap();
    let again = open(copy.path(), patient()).unwrap();
    assert_eq!(again.close(Duration::from_secs(10)), 0);
    assert!(!copy.path().join("a cluster/h0").exists(), "removed while the daemon was down");
    assert_eq!(last(&copy.path().join("a cluster/h1/m0.rrd")), Some(START + 90), "restored: gets its points again");
    assert_eq!(last(&copy.path().join("a cluster/h2/m1.rrd")), Some(START + 90));
}

/// Also in a store that has just begun, and whose points wait so long that its first segment stays.
#[test]
fn hosts_removed_soon_after_a_start_stay_removed() {
    let (dir, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = open(dir.path(), CacheOptions { haste: 200, ..patient() }).unwrap();
    accept(&store, 2, 2, 0..1);
    wait("files are made", || figure(&store, "files_made") == 4);
    accept(&store, 2, 2, 1..5);
    wait("the journal knows that they are on the disk", || {
        killed(dir.path(), copy.path());
        fs::remove_dir_all(copy.path().join("a cluster/h0")).unwrap();
        assert_eq!(open(copy.path(), patient()).unwrap().close(Duration::from_secs(10)), 0);
        assert!(dir.path().join(".gmetad/journal-0000000000000001").exists(), "its first segment");
        let (h0, h1) = (copy.path().join("a cluster/h0"), copy.path().join("a cluster/h1/m0.rrd"));
        let is_away = !h0.exists() && last(&h1) == Some(START + 40);
        fs::remove_dir_all(copy.path()).unwrap();
        fs::create_dir(copy.path()).unwrap();
        is_away
    });
}

#[test]
fn two_stores_do_not_share_a_tree() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), patient()).unwrap();
    let error = open(dir.path(), patient()).err().unwrap().to_string();
    assert!(error.contains("is in use by process") && error.contains(&std::process::id().to_string()), "{error}");
    drop(store);
    open(dir.path(), patient()).unwrap();
}

#[test]
fn a_host_that_is_asked_for_is_written_through_for_a_while() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), patient()).unwrap();
    let file = |host| dir.path().join(format!("a cluster/h{host}/m1.rrd"));
    accept(&store, 2, 3, 0..1);
    wait("files are made", || figure(&store, "files_made") == 6);
    accept(&store, 2, 3, 1..5);
    store.asked("a cluster/h1".into());
    wait("what waited is written", || last(&file(1)) == Some(START + 40));
    accept(&store, 2, 3, 5..6);
    wait("and what comes next", || last(&file(1)) == Some(START + 50));
    assert_eq!(last(&file(0)), Some(START), "the other one waits");
    store.asked("a cluster".into());
    wait("a cluster is written once", || last(&file(0)) == Some(START + 50));
    assert_eq!(store.close(Duration::from_secs(10)), 0);
}

#[test]
fn a_file_that_is_read_is_written_through() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), patient()).unwrap();
    let file = |m| dir.path().join(format!("a cluster/h0/m{m}.rrd"));
    accept(&store, 1, 3, 0..1);
    wait("files are made", || figure(&store, "files_made") == 3);
    let accessed = || fs::metadata(file(1)).unwrap().accessed().unwrap();
    let before = accessed();
    std::thread::sleep(Duration::from_millis(20)); // the clock of the file system
    fs::read(file(1)).unwrap();
    if accessed() == before {
        println!("left out: a_file_that_is_read_is_written_through: the file system keeps no access times");
        return;
    }
    accept(&store, 1, 3, 1..2);
    store.flush(&file(1)).unwrap(); // sees that it was read
    accept(&store, 1, 3, 2..3);
    wait("it is hot", || last(&file(1)) == Some(START + 20));
    assert_eq!(last(&file(0)), Some(START + 10), "the others of its directory are not");
    accept(&store, 1, 3, 3..4);
    wait("and stays so", || last(&file(1)) == Some(START + 30));
    assert_eq!(last(&file(0)), Some(START + 10));
    assert_eq!(store.close(Duration::from_secs(10)), 0);
    assert_eq!(last(&file(0)), Some(START + 30), "the others have got all of it, too");
}

#[test]
fn damaged_segments_cost_what_is_damaged() {
    let (dir, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = open(dir.path(), patient()).unwrap();
    accept(&store, 1, 3, 0..1);
    wait("files are made", || figure(&store, "files_made") == 3);
    accept(&store, 1, 3, 1..9);
    std::thread::sleep(Duration::from_millis(100)); // ten sync intervals
    accept(&store, 1, 3, 9..11); // behind the names of the files
    std::thread::sleep(Duration::from_millis(100));
    killed(dir.path(), copy.path());
    let segment = fs::read_dir(copy.path().join(".gmetad"))
        .unwrap()
        .map(|e| e.unwrap().path())
        .find(|p| p.to_string_lossy().contains("journal"))
        .unwrap();
    let mut bytes = fs::read(&segment).unwrap();
    let at = bytes.len() - 30; // in one of the last rows
    bytes[at] ^= 0x55;
    bytes.truncate(bytes.len() - 5);
    fs::write(&segment, bytes).unwrap();
    let again = open(copy.path(), patient()).unwrap();
    let replayed = figure(&again, "journal_replayed");
    assert!((24..=30).contains(&replayed), "{replayed}");
    assert_eq!(again.close(Duration::from_secs(10)), 0);
}

#[test]
fn what_is_too_old_is_refused_and_said_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), patient()).unwrap();
    let schema = schema(&store);
    let group = store.group(Path::new("c/h"));
    let slot = store.slot(&group, "m.rrd", &schema).unwrap();
    let accept = |time, source: &str| {
        let mut row = RowWriter::default();
        row.start(time);
        row.put(slot, &[Value::Text("1")]);
        store.accept(&group, &row, &Arc::from(source))
    };
    accept(START + 10, "a").unwrap();
    assert_eq!(accept(START + 10, "a"), Err(NotTaken::TooOld { last: START + 10, first: true }));
    assert_eq!(accept(START, "a"), Err(NotTaken::TooOld { last: START + 10, first: false }));
    accept(START + 10, "b").unwrap(); // another source of the same cluster: the file decides
    accept(START + 20, "a").unwrap();
    assert_eq!(store.close(Duration::from_secs(10)), 0);
    assert_eq!(last(&dir.path().join("c/h/m.rrd")), Some(START + 20));
    assert_eq!(figure(&store, "points_refused"), 2);
}

#[test]
fn names_that_are_no_longer_used_are_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), patient()).unwrap();
    let schema = schema(&store);
    let group = std::cell::RefCell::new(store.group(Path::new("c/h")));
    let put = |time: i64, name: &str| {
        let group = group.borrow();
        let slot = store.slot(&group, name, &schema).unwrap();
        let mut row = RowWriter::default();
        row.start(time);
        row.put(slot, &[Value::Text("1")]);
        store.accept(&group, &row, &Arc::from("a")).unwrap();
        slot
    };
    for at in 0..50 {
        assert_eq!(put(START + at, &format!("m{at}.rrd")), at as u32);
    }
    assert!(!store.retire(&group.borrow()), "points wait");
    store.flush(Path::new("c/h/m0.rrd")).unwrap();
    wait("it is idle", || store.retire(&group.borrow()));
    assert_eq!(figure(&store, "files"), 0);
    let mut row = RowWriter::default();
    row.start(START + 90);
    row.put(0, &[Value::Text("1")]);
    let late = store.accept(&group.borrow(), &row, &Arc::from("another source"));
    assert_eq!(late, Err(NotTaken::Retired), "whoever kept it has to ask again");
    let renewed = store.group(Path::new("c/h"));
    *group.borrow_mut() = renewed;
    assert_eq!(put(START + 100, "m7.rrd"), 0);
    assert_eq!(store.pending(Path::new("c/h/m7.rrd")).unwrap(), [format!("{}:1", START + 100)]);
    std::thread::sleep(Duration::from_millis(100)); // ten sync intervals
    let copy = tempfile::tempdir().unwrap();
    killed(dir.path(), copy.path());
    let again = open(copy.path(), patient()).unwrap();
    assert_eq!(again.close(Duration::from_secs(10)), 0);
    for (name, time) in [("m7", START + 100), ("m0", START), ("m49", START + 49)] {
        assert_eq!(last(&copy.path().join(format!("c/h/{name}.rrd"))), Some(time), "{name}");
    }
}

#[test]
fn updates_of_others_have_a_time_for_each_file() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), patient()).unwrap();
    let path = |name: &str| dir.path().join(format!("own/{name}.rrd"));
    let mut native = NativeStore::new(Options::default());
    let rra = RraSpec { cf: Cf::Average, xff: 0.5, steps: 1, rows: 100 };
    for name in ["a", "b", "c"] {
        native.create(&path(name), &Schema::host(10, DsKind::Gauge, &[rra]), START).unwrap();
    }
    native.create(&path("two"), &Schema::summary(10, DsKind::Gauge, DsKind::Gauge, &[rra]), START).unwrap();
    let update = |name: &str, texts: &[&str]| store.update(&path(name), texts);
    let at = |after: i64| START + after;
    assert_eq!(update("a", &[&format!("{}:1", at(20))]).unwrap(), 1);
    assert_eq!(update("b", &[&format!("{}:2", at(20)), &format!("{}:3", at(30))]).unwrap(), 2);
    assert_eq!(update("c", &[&format!("{}:4", at(15))]).unwrap(), 1, "earlier than its neighbours");
    assert!(update("a", &[&format!("{}:1", at(20))]).is_err(), "not newer than what waits");
    assert!(update("two", &[&format!("{}:1", at(20))]).is_err(), "one value for two data sources");
    assert_eq!(update("a", &["99999999999999:1"]).ok(), Some(1), "refused by the file later");
    assert_eq!(update("c", &[&format!("{}:5", at(40))]).unwrap(), 1, "which is nothing to the others");
    // The file is another one now: what is meant for it must not become a neighbour's.
    native.create(&path("b"), &Schema::summary(10, DsKind::Gauge, DsKind::Gauge, &[rra]), START).unwrap();
    assert!(update("b", &[&format!("{}:7:8", at(50))]).is_err());
    assert_eq!(store.close(Duration::from_secs(10)), 0);
    assert_eq!(["a", "c"].map(|name| last(&path(name))), [Some(at(20)), Some(at(40))]);
}

#[test]
fn any_damaged_byte_of_the_journal_costs_one_row_at_most() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), patient()).unwrap();
    accept(&store, 1, 3, 0..1);
    wait("files are made", || figure(&store, "files_made") == 3);
    accept(&store, 1, 3, 1..6);
    std::thread::sleep(Duration::from_millis(100)); // ten sync intervals
    let copy = tempfile::tempdir().unwrap();
    killed(dir.path(), copy.path());
    let segment = |root: &Path| {
        let names = fs::read_dir(root.join(".gmetad")).unwrap().map(|e| e.unwrap().path());
        names.filter(|path| path.to_string_lossy().contains("/journal-")).min().unwrap()
    };
    let whole = fs::read(segment(copy.path())).unwrap();
    for at in (0..whole.len()).step_by(7) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x20;
        let place = tempfile::tempdir().unwrap();
        fs::create_dir(place.path().join(".gmetad")).unwrap();
        fs::write(place.path().join(".gmetad/journal-0000000000000001"), bytes).unwrap();
        let again = open(place.path(), CacheOptions { journal_sync: Duration::ZERO, ..patient() }).unwrap();
        assert!(figure(&again, "journal_replayed") >= 15, "byte {at}: {}", figure(&again, "journal_replayed"));
        assert_eq!(again.close(Duration::from_secs(10)), 0);
        assert!(
            !place.path().join(".gmetad/journal-0000000000000001").exists(),
            "gone, although there is no journal now"
        );
    }
}
