#![allow(clippy::panic, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;
use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::limits;
use crate::query::Query;
use crate::source::{GmondReader, ReaderOptions, Source, SourceSnapshot, Stop};
use crate::store::{GridStore, GridView, Identity};
use crate::summary::RootRules;
use crate::synthetic::SyntheticCluster;
use crate::xml::{PROLOG, XmlWriter};

const NOW: UnixTime = 1_800_000_000;

fn reader() -> GmondReader {
    GmondReader::new(Vec::new(), ReaderOptions::default())
}

fn document(body: &str) -> Vec<u8> {
    let text = format!("<GANGLIA_XML VERSION=\"3.7.2\" SOURCE=\"gmond\">{body}</GANGLIA_XML>");
    [PROLOG, text.as_bytes()].concat()
}

fn metric(name: &str, val: &str, dmax: u32) -> String {
    format!(
        "<METRIC NAME=\"{name}\" VAL=\"{val}\" TYPE=\"float\" UNITS=\"a&amp;b\" TN=\"3\" TMAX=\"60\" DMAX=\"{dmax}\" \
         SLOPE=\"both\"><EXTRA_DATA><EXTRA_ELEMENT NAME=\"DESC\" VAL=\"ü &lt; &quot;x&quot;&#10;y\"/></EXTRA_DATA></METRIC>"
    )
}

fn host(name: &str, tn: u32, dmax: u32, metrics: &str) -> String {
    format!(
        "<HOST NAME=\"{name}\" IP=\"::1\" REPORTED=\"1799999990\" TN=\"{tn}\" TMAX=\"20\" DMAX=\"{dmax}\">{metrics}</HOST>"
    )
}

fn cluster(name: &str, hosts: &str) -> String {
    format!("<CLUSTER NAME=\"{name}\" LOCALTIME=\"{NOW}\" OWNER=\"o'o\" URL=\"http://x/?a=1&amp;b\">{hosts}</CLUSTER>")
}

/// A source of which everything happened that can: hosts down, gone, forgetful; clusters and grids, gone and there.
fn eventful(reader: &mut GmondReader) -> SourceSnapshot {
    let all = metric("a", "1.5", 0) + &metric("b", "&lt;&#10;é", 0) + &metric("short", "2", 30);
    let first = cluster("c", &(host("up", 2, 0, &all) + &host("goes", 1, 0, &all) + &host("falls", 1, 900, &all)))
        + &cluster("gone", &host("old", 5, 0, &all))
        + &format!("<GRID NAME=\"g1\" LOCALTIME=\"5\">{}</GRID>", cluster("x", &host("h", 1, 0, &all)))
        + "<GRID NAME=\"g2\" AUTHORITY=\"http://g2/\" LOCALTIME=\"7\"><HOSTS UP=\"3\" DOWN=\"1\"/>\
           <METRICS NAME=\"a\" SUM=\"1.25\" NUM=\"3\" TYPE=\"double\" UNITS=\"u\" SLOPE=\"both\" SOURCE=\"gmond\"/></GRID>";
    reader.read_document(&document(&first), NOW - 60).expect("whole");
    let second = cluster(
        "c",
        &(host("up", 2, 0, &(metric("a", "-7.125", 0) + &metric("late", "1", 0)))
            + &host("falls", 500, 900, &all)
            + &host("new", 0, 0, &metric("b", "", 0))
            + &host("bare", 0, 0, "")),
    ) + &cluster("empty", "")
        + &format!("<GRID NAME=\"g1\" LOCALTIME=\"65\">{}</GRID>", cluster("x", &host("h", 99, 0, &all)));
    reader.read_document(&document(&second), NOW).expect("whole")
}

/// Everything that a grid of this source alone prints: all, the summary, each cluster's. Without the document type.
fn printed(view: &GridView, now: UnixTime) -> Vec<String> {
    let lines = ["/", "/?filter=summary", "/c?filter=summary", "/gone?filter=summary", "/c/up/a", "/c/goes"];
    let print =
        |line| XmlWriter::new(view, Query::parse(line).expect("a query"), now).into_bytes().split_off(PROLOG.len());
    let text = String::from_utf8(lines.map(print).concat()).expect("UTF-8");
    text.lines().map(str::to_owned).collect()
}

#[track_caller]
fn same(before: &SourceSnapshot, after: &SourceSnapshot, now: UnixTime) {
    let [before, after] = [before, after].map(|snapshot| printed(&GridView::of_snapshot(snapshot), now));
    for (at, (before, after)) in before.iter().zip(&after).enumerate() {
        assert_eq!(before, after, "line {at}");
    }
    assert_eq!(before.len(), after.len());
}

struct Place {
    dir: tempfile::TempDir,
    state: State,
    saver: Saver,
    stop: Stop,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let state = State::new(dir.path().join("tree-1"));
        Self { dir, state, saver: Saver::default(), stop: Stop::default() }
    }

    fn save(&mut self, sources: &[(&str, Option<&SourceSnapshot>)]) {
        let saved = |(name, snapshot): &(&str, Option<&SourceSnapshot>)| Saved {
            file: file_name(name, 0),
            name: (*name).to_owned(),
            alive: true,
            snapshot: snapshot.cloned(),
        };
        let sources: Vec<_> = sources.iter().map(saved).collect();
        self.saver.save(&self.state, &sources, &Deadline::new(&self.stop, Duration::ZERO));
    }

    fn load(&self, name: &str, now: UnixTime, reader: &mut GmondReader) -> Result<Option<SourceSnapshot>, Refusal> {
        let loaded = self.state.load(&file_name(name, 0), name, now, &self.stop, reader)?;
        Ok(loaded.map(|(snapshot, alive)| {
            assert!(alive);
            snapshot
        }))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join("tree-1").join(file_name(name, 0))
    }

    fn names(&self) -> Vec<String> {
        let name =
            |entry: std::io::Result<fs::DirEntry>| entry.expect("an entry").file_name().into_string().expect("UTF-8");
        let mut names: Vec<_> = fs::read_dir(self.dir.path().join("tree-1")).expect("there").map(name).collect();
        names.sort();
        names
    }
}

#[test]
fn what_is_printed_is_the_same_before_and_after() {
    let snapshot = eventful(&mut reader());
    let mut place = Place::new();
    place.save(&[("My source", Some(&snapshot))]);
    let mut second = reader();
    let loaded = place.load("My source", NOW + 20, &mut second).expect("good").expect("there");
    assert_eq!((loaded.round(), loaded.polled(), loaded.report().skipped), (0, NOW, 0));
    for later in [0, 1, 20, 4000] {
        same(&snapshot, &loaded, NOW + later);
    }
    let c = loaded.clusters().next().expect("c");
    assert_eq!((c.summary().hosts_up(), c.summary().hosts_down()), (3, 1), "the host that went is not counted");
    // Beyond DMAX hosts go; what was summed stays, as that of any source that is not polled.
    let loaded = place.load("My source", NOW + 1000, &mut second).expect("good").expect("there");
    let c = loaded.clusters().next().expect("c");
    assert!(c.host("falls").is_none() && c.host("up").is_some());
    assert_eq!(c.summary().hosts_down(), 1);
}

/// Lines with what they are in, sorted: metrics of a host come in the order in which like hosts had them. Without EXTRA_DATA,
/// of which there is none here.
fn orderless(lines: Vec<String>) -> Vec<String> {
    let (mut cluster, mut host) = (String::new(), String::new());
    let mut inside = |line: String| {
        if line.starts_with("<CLUSTER") || line.starts_with("<GRID") {
            cluster.clone_from(&line);
        } else if line.starts_with("<HOST") {
            host.clone_from(&line);
        }
        format!("{cluster}{host}{line}")
    };
    let said = |line: &String| !line.contains("EXTRA_DATA") && *line != "</METRICS>";
    let mut lines: Vec<_> = lines.into_iter().filter(said).map(&mut inside).collect();
    lines.sort();
    lines
}

/// A poll of a source with hosts and metrics that come and go, are up and down, and say anything.
/// (But no fractions of whole types: a GRID keeps only what is printed of a sum.)
fn any_poll() -> impl Strategy<Value = String> {
    let metric = ("[a-d]", "[ -~\n\té€]{0,5}|-?[0-9]{1,3}(\\.[0-9]{1,3})?", "float|string", 0u32..80, 0u32..2);
    let metric = metric.prop_map(|(name, val, kind, tn, dmax)| {
        let val = crate::xml::escaped(&val);
        format!(
            "<METRIC NAME=\"{name}\" VAL=\"{val}\" TYPE=\"{kind}\" TN=\"{tn}\" DMAX=\"{}\" SLOPE=\"both\"/>",
            dmax * 60
        )
    });
    let host = ("[p-s]", 0u32..100, 0u32..2, 0u32..3, vec(metric, 0..5)).prop_map(|(name, tn, tmax, dmax, metrics)| {
        // Never over before the save: a cluster that its source no longer has would sum hosts that are gone.
        let (tmax, dmax) = (tmax * 20, dmax * 700);
        let reported = NOW - i64::from(tn);
        format!(
            "<HOST NAME=\"{name}\" REPORTED=\"{reported}\" TN=\"{tn}\" TMAX=\"{tmax}\" DMAX=\"{dmax}\">{}</HOST>",
            metrics.concat()
        )
    });
    let item = ("c|d|g", any::<bool>(), vec(host, 0..5)).prop_map(|(name, grid, hosts)| {
        let cluster = cluster(&name, &hosts.concat());
        if grid { format!("<GRID NAME=\"g {name}\" LOCALTIME=\"{NOW}\">{cluster}</GRID>") } else { cluster }
    });
    vec(item, 0..3).prop_map(|items| items.concat())
}

proptest! {
    #[test]
    fn any_source_comes_back_as_it_was(polls in vec((any_poll(), 0i64..100), 1..4)) {
        let mut first = reader();
        let (mut now, mut snapshot) = (NOW, SourceSnapshot::default());
        for (body, pause) in &polls {
            snapshot = first.read_document(&document(body), now).expect("whole");
            now += pause;
        }
        let saved = XmlWriter::saved(&snapshot).into_bytes();
        let loaded = reader().restore(&mut &saved[..], snapshot.polled()).expect("good").expect("read");
        prop_assert_eq!(loaded.report().skipped + loaded.report().mended, 0);
        for later in [0, 30, 1000] {
            let printed = |snapshot| orderless(printed(&GridView::of_snapshot(snapshot), NOW + later));
            prop_assert_eq!(printed(&snapshot), printed(&loaded));
        }
    }
}

#[test]
fn saving_again_what_was_loaded_changes_nothing() {
    let snapshot = eventful(&mut reader());
    let (mut one, mut two) = (Place::new(), Place::new());
    one.save(&[("s", Some(&snapshot))]);
    let loaded = one.load("s", NOW, &mut reader()).expect("good").expect("there");
    two.save(&[("s", Some(&loaded))]);
    assert_eq!(fs::read(one.path("s")).expect("read"), fs::read(two.path("s")).expect("read"));
}

#[test]
fn the_first_poll_replaces_all_that_was_saved() {
    let snapshot = eventful(&mut reader());
    let mut place = Place::new();
    place.save(&[("s", Some(&snapshot))]);
    let body =
        cluster("c", &(host("up", 2, 0, &metric("late", "9", 0)) + "<HOST NAME=\"falls\" TN=\"900\" TMAX=\"20\"/>"));
    let fresh = reader().read_document(&document(&body), NOW + 30).expect("whole");
    let mut second = reader();
    let loaded = place.load("s", NOW + 20, &mut second).expect("good").expect("there");
    // A poll that fails in between changes nothing of that.
    assert!(second.read_document(b"<GANGLIA_XML>", NOW + 25).is_err());
    let after = second.read_document(&document(&body), NOW + 30).expect("whole");
    // As if there had been no file.
    same(&fresh, &after, NOW + 31);
    assert_eq!(after.round(), 1);
    drop(loaded);
}

/// Where the hosts of a source are alike, as what all sources have in common; otherwise as those that were loaded.
#[test]
fn definitions_and_shapes_are_found_again() {
    let mut source = SyntheticCluster::new("s", 5, 33);
    let [_, after, other] = shapes_after_loading(&source);
    assert!(after.defs().iter().zip(other.defs()).all(|(a, b)| Arc::ptr_eq(a, b)));
    (source.hosts, source.unique_extra) = (limits::COMMON_DEFINITIONS / 33 + 5, true);
    let [loaded, after, _] = shapes_after_loading(&source);
    assert!(Arc::ptr_eq(&loaded, &after));
}

/// The last host's: of what was loaded, of the poll after it, and of that document for another source.
fn shapes_after_loading(source: &SyntheticCluster) -> [Arc<crate::model::Shape>; 3] {
    let snapshot = reader().read_document(&source.document(NOW), NOW).expect("whole");
    let mut place = Place::new();
    place.save(&[("s", Some(&snapshot))]);
    let mut second = reader();
    let loaded = place.load("s", NOW, &mut second).expect("good").expect("there");
    let after = second.read_document(&source.document(NOW + 15), NOW + 15).expect("whole");
    let shape = |snapshot: &SourceSnapshot| {
        let cluster = snapshot.clusters().next().expect("a cluster");
        Arc::clone(&cluster.hosts[cluster.hosts.len() - 1].parts().shape)
    };
    let other = reader().read_document(&source.document(NOW + 15), NOW + 15).expect("whole");
    [shape(&loaded), shape(&after), shape(&other)]
}

/// Every byte changed, and the file cut at every place, is found out.
#[test]
fn damage_is_found_wherever_it_is() {
    let all = metric("a", "1.5", 0) + &metric("b", "2", 0);
    let body = cluster("c", &(host("h", 2, 0, &all) + &host("i", 2, 0, &all)));
    let snapshot = reader().read_document(&document(&body), NOW).expect("whole");
    let mut place = Place::new();
    place.save(&[("s", Some(&snapshot))]);
    let path = place.path("s");
    let good = fs::read(&path).expect("read");
    let bytes_of_document = place.load("s", NOW, &mut reader()).expect("good").expect("there").report().bytes;
    let refused = |bytes: &[u8], what: &str| {
        fs::write(&path, bytes).expect("written");
        let mut reader = reader();
        match place.load("s", NOW, &mut reader) {
            Err(_) => {}
            // A copy of another place that says the same is no damage.
            Ok(Some(loaded)) => {
                assert_eq!(loaded.report().bytes, bytes_of_document, "{what}");
                same(&snapshot, &loaded, NOW);
            }
            Ok(None) => panic!("{what}: no file"),
        }
        // And the reader is as good as new.
        reader.read_document(&document(&body), NOW).expect("whole");
    };
    for len in 0..good.len() {
        refused(&good[..len], &format!("cut to {len} of {} bytes", good.len()));
    }
    for at in 0..good.len() {
        for flip in [0x01, 0xff] {
            let mut bytes = good.clone();
            bytes[at] ^= flip;
            refused(&bytes, &format!("byte {at} of {} changed by {flip:#x}", good.len()));
        }
    }
    fs::write(&path, &good).expect("written");
    assert!(place.load("s", NOW, &mut reader()).expect("good").is_some());
}

#[test]
fn what_is_not_ours_is_refused_by_name() {
    let snapshot = reader().read_document(&document(&cluster("c", "")), NOW).expect("whole");
    let mut place = Place::new();
    place.save(&[("s", Some(&snapshot)), ("t", Some(&snapshot))]);
    let said = |now| place.load("s", now, &mut reader()).expect_err("refused").to_string();
    assert_eq!(said(NOW + 24 * 3600 + 1), "it was polled 86401 s ago, which is too long");
    assert_eq!(said(NOW - 61), "it says that it was polled 61 s from now: is the clock right?");
    assert!(place.load("s", NOW - 60, &mut reader()).is_ok());
    assert!(place.load("nobody", NOW, &mut reader()).expect("no file is no error").is_none());

    let path = place.path("s");
    fs::copy(place.path("t"), &path).expect("copied");
    assert_eq!(said(NOW), "it is that of source t");
    let file = |bytes: &[u8]| fs::write(&path, bytes).expect("written");
    file(b"gmetad-tree 2 whatever\n");
    assert_eq!(said(NOW), "it is of version \"2\", not of 1");
    for other in ["", "\n", "<GANGLIA_XML/>\n", "gmetad-tree", "gmetad-tree 1 x up s\n", "gmetad-tree 1 5 up s s\n"] {
        file(other.as_bytes());
        assert_eq!(said(NOW), "it is not a saved tree", "{other:?}");
    }
    file(&vec![b'x'; 1 << 20]);
    assert_eq!(said(NOW), "it is not a saved tree");
    // A first line without a frame, and with a frame of something else, and of something endless.
    let header = format!("gmetad-tree 1 {NOW} up s\n");
    file(header.as_bytes());
    said(NOW);
    let frame = |content: &[u8]| {
        let mut frame = lz4_flex::frame::FrameEncoder::new(header.clone().into_bytes());
        std::io::Write::write_all(&mut frame, header.as_bytes()).expect("into memory");
        std::io::Write::write_all(&mut frame, content).expect("into memory");
        frame.finish().expect("into memory")
    };
    file(&frame(b"not XML"));
    assert!(said(NOW).contains("no GANGLIA_XML element"), "{}", said(NOW));
    file(&frame(&[b"<".as_slice(), &vec![b'a'; 5 << 20]].concat()));
    assert!(said(NOW).contains("no end of the tag"), "{}", said(NOW));

    fs::remove_file(&path).expect("removed");
    fs::create_dir(&path).expect("made");
    assert_eq!(said(NOW), "it is not a regular file");
    fs::remove_dir(&path).expect("removed");
    std::os::unix::fs::symlink("/dev/zero", &path).expect("linked");
    assert_eq!(said(NOW), "it is not a regular file");
}

#[test]
fn only_what_is_new_is_written_and_only_ours_is_removed() {
    let poll = |now| reader().read_document(&document(&cluster("c", "")), now).expect("whole");
    let (first, second) = (poll(NOW), poll(NOW + 15));
    let mut place = Place::new();
    place.save(&[("a", Some(&first)), ("b", Some(&first)), ("c", None)]);
    assert_eq!((place.names(), place.state.files.get()), (vec!["a".to_owned(), "b".to_owned()], 2));
    place.save(&[("a", Some(&second)), ("b", Some(&first))]);
    assert_eq!(place.state.files.get(), 3, "b was not polled since");
    let dir = place.dir.path().join("tree-1");
    fs::write(dir.join("README"), "not ours").expect("written");
    fs::write(dir.join("a~"), "half").expect("written");
    // b has not been polled yet by a process that was just started: its file stays.
    place.save(&[("a", Some(&second)), ("b", None)]);
    assert_eq!(place.names(), ["README", "a", "b"]);
    fs::remove_file(dir.join("a")).expect("removed");
    place.save(&[("a", Some(&second))]);
    assert_eq!((place.names(), place.state.files.get()), (vec!["README".to_owned(), "a".to_owned()], 4));
    assert_eq!((place.state.saves.get(), place.state.errors.get()), (4, 0));
}

#[test]
fn a_save_that_has_no_time_leaves_the_file_before() {
    let poll = |now| reader().read_document(&SyntheticCluster::new("s", 400, 33).document(now), now).expect("whole");
    let mut place = Place::new();
    place.save(&[("s", Some(&poll(NOW)))]);
    place.stop.stop();
    place.save(&[("s", Some(&poll(NOW + 15)))]);
    assert_eq!((place.names(), place.state.errors.get()), (vec!["s".to_owned()], 1));
    assert_eq!(place.load("s", NOW, &mut reader()).expect("good").map(|s| s.polled()), Some(NOW));
}

#[test]
fn a_directory_that_cannot_be_written_is_an_error_and_no_more() {
    let snapshot = reader().read_document(&document(&cluster("c", "")), NOW).expect("whole");
    let mut place = Place::new();
    fs::write(place.dir.path().join("tree-1"), "a file").expect("written");
    place.save(&[("s", Some(&snapshot))]);
    place.save(&[("s", Some(&snapshot))]);
    assert_eq!(place.state.errors.get(), 2);
    assert!(place.load("s", NOW, &mut reader()).is_err());
}

#[test]
fn names_become_files() {
    assert_eq!(file_name("My cluster.1", 0), "My%20cluster.1");
    assert_eq!(file_name("a", 1), "a+1");
    for name in ["", ".", "..", "../../etc/passwd", ".hidden", "a/b", "a\0b", "ü", "a~", "a+1", "%", "é\n"] {
        let file = file_name(name, 0);
        assert!(!file.is_empty() && !file.starts_with('.') && Path::new(&file).file_name().is_some(), "{file}");
        assert!(file.bytes().all(|b| b.is_ascii_alphanumeric() || b"%._-".contains(&b)), "{file}");
    }
    let (long, longer) = ("x".repeat(300), "x".repeat(301));
    assert!(file_name(&long, 12).len() < 255 && file_name(&long, 0) != file_name(&longer, 0));
}

/// RRDs of a cluster that several sources have get the sum of those that were polled; readers see all.
#[test]
fn what_was_saved_is_shown_and_not_handed_on() {
    let poll = |host_name: &str, reader: &mut GmondReader| {
        let body = cluster("c", &host(host_name, 1, 0, &metric("a", "1", 0)));
        reader.read_document(&document(&body), NOW).expect("whole")
    };
    let store = GridStore::new(Identity::default(), RootRules::default());
    let (saved, polled) = (store.add_source("saved"), store.add_source("polled"));
    let (mut one, mut two) = (reader(), reader());
    store.restore(saved, poll("x", &mut one), true);
    assert!(store.view().counts_saved());
    let up = |clusters: Option<Vec<Arc<crate::model::Cluster>>>| clusters.expect("there")[0].summary().hosts_up();
    assert_eq!(up(store.publish(polled, poll("y", &mut two))), 1, "for plugins");
    assert_eq!(store.view().cluster("c").map(|c| c.summary().hosts_up()), Some(2), "for readers");
    assert_eq!(store.view().summary().hosts_up(), 2);
    store.mark_dead(saved, NOW);
    assert!(!store.view().counts_saved(), "it has left the sum");
    assert_eq!(up(store.publish(saved, poll("x", &mut one))), 2);
    assert_eq!(up(store.publish(polled, poll("y", &mut two))), 2);
}

#[test]
fn a_source_may_have_no_use_for_files() {
    struct Other;
    impl Source for Other {
        fn poll(&mut self, _: UnixTime, _: &Stop) -> Result<SourceSnapshot, crate::PollError> {
            Err(crate::PollError::Stopped)
        }
    }
    let snapshot = eventful(&mut reader());
    let mut place = Place::new();
    place.save(&[("s", Some(&snapshot))]);
    assert!(place.state.load("s", "s", NOW, &place.stop, &mut Other).expect("good").is_none());
}
