//! The writer: pieces, well-formedness, reading back, paths.

use std::sync::Arc;

use gmetad_core::xml::{PROLOG, Progress};
use gmetad_core::{GridView, Query, XmlWriter};
use proptest::collection::vec;
use proptest::prelude::*;
use quick_xml::Reader;
use quick_xml::events::Event;

use crate::document::{START, any_document};
use crate::parser::reader;
use crate::summaries::store;

fn query(line: &str) -> Query {
    Query::parse(line).unwrap()
}

/// The query of these names, whatever is in them.
fn path(names: &[&str], strict: bool) -> Query {
    Query { path: names.iter().map(|name| (*name).to_owned()).collect(), summary: false, strict }
}

fn answer(view: &GridView, query: Query, now: i64) -> String {
    String::from_utf8(XmlWriter::new(view, query, now).into_bytes()).unwrap()
}

/// Checks that every tag is closed by its own end; returns how many elements there are.
pub fn well_formed(document: &str) -> usize {
    assert!(document.is_ascii());
    let mut reader = Reader::from_str(document);
    let (mut open, mut elements) = (0, 0);
    loop {
        match reader.read_event().expect("well-formed") {
            Event::Start(tag) => {
                assert!(tag.attributes().all(|a| quick_xml::escape::unescape(&a.unwrap().value).is_ok()));
                (open, elements) = (open + 1, elements + 1);
            }
            Event::Empty(_) => elements += 1,
            Event::End(_) => open -= 1,
            Event::Eof => break,
            _ => {}
        }
    }
    assert_eq!(open, 0, "everything is closed");
    elements
}

fn view(document: &[u8]) -> GridView {
    let store = store();
    store.publish(store.add_source("s"), reader(true).read_document(document, START).expect("a whole document"));
    store.view()
}

/// What every answer of this grid has around it.
fn around<'a>(lines: &[&'a str], inside: Vec<&'a str>) -> Vec<&'a str> {
    [&lines[..2], &inside, &lines[lines.len() - 2..]].concat()
}

/// From the line that begins with `start` to the line `end`, in lines.
fn section<'a>(lines: &[&'a str], start: &str, end: &str) -> Vec<&'a str> {
    let from = lines.iter().position(|line| line.starts_with(start)).expect("its start");
    let to = from + lines[from..].iter().position(|line| *line == end).expect("its end");
    lines[from..=to].to_vec()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn pieces_of_any_size_make_the_same_answer(
        document in any_document(),
        budgets in vec(prop_oneof![0..3usize, 1..5000usize], 1..9),
        summary: bool,
    ) {
        let view = view(&document.lines());
        let mut queries = vec![query("/"), query("/Alpha"), query("/East"), query("/no such"), query("/Alpha/h1/load")];
        queries.iter_mut().for_each(|query| query.summary = summary);
        for query in queries {
            let whole = answer(&view, query.clone(), START + 3);
            well_formed(&whole);
            let mut writer = XmlWriter::new(&view, query, START + 3);
            let mut out = Vec::new();
            // A budget of nothing is allowed, now and then.
            let mut budgets = budgets.iter().copied().chain([1]).cycle();
            while writer.fill(&mut out, budgets.next().unwrap()) == Progress::More {}
            prop_assert_eq!(String::from_utf8(out).unwrap(), whole);
        }
    }

    #[test]
    fn what_is_written_can_be_read(document in any_document()) {
        let view = view(&document.lines());
        let now = START + 3;
        let dump = answer(&view, Query::dump(), now);
        // As a parent without `scalable`: it looks into our GRID.
        let back = reader(false).read_document(dump.as_bytes(), now).expect("our own dump");
        prop_assert_eq!(back.report().skipped + back.report().mended, 0);
        prop_assert_eq!(back.clusters().len(), view.clusters().count());
        for cluster in view.clusters() {
            let copy = back.clusters().find(|c| c.name() == cluster.name()).expect("each cluster");
            prop_assert_eq!(
                (copy.localtime(), copy.owner(), copy.latlong(), copy.url()),
                (cluster.localtime(), cluster.owner(), cluster.latlong(), cluster.url())
            );
            prop_assert_eq!(copy.hosts().len(), cluster.hosts().len());
            for (host, copy) in cluster.hosts().zip(copy.hosts()) {
                let facts = |h: &gmetad_core::model::Host| {
                    (h.name().to_owned(), h.ip().to_owned(), h.location().to_owned(), h.tags().to_owned(), h.reported())
                };
                let times = |h: &gmetad_core::model::Host| (h.tn(now), h.tmax(), h.dmax(), h.gmond_started());
                prop_assert_eq!(facts(copy), facts(host));
                prop_assert_eq!(times(copy), times(host));
                if !copy.is_up() {
                    // Whoever reads of a host that is down takes none of its metrics.
                    continue;
                }
                let shown: Vec<_> = host.metrics().filter(|m| !m.is_expired(now)).collect();
                prop_assert_eq!(shown.len(), copy.metrics().len());
                for metric in shown {
                    let copy = copy.metric(metric.name()).expect("each metric");
                    prop_assert_eq!(format!("{:?}", metric.def()), format!("{:?}", copy.def()));
                    prop_assert_eq!((metric.value(), metric.tn(now)), (copy.value(), copy.tn(now)));
                }
            }
        }
    }

    /// A path shows the start tags along it and the very lines the dump has.
    #[test]
    fn a_path_is_the_matching_part_of_the_dump(document in any_document(), strict: bool) {
        let view = view(&document.lines());
        let dump = answer(&view, Query::dump(), START);
        let lines: Vec<&str> = dump[PROLOG.len()..].lines().collect();
        let ask = |names: &[&str]| {
            let text = answer(&view, path(names, strict), START);
            text[PROLOG.len()..].lines().map(str::to_owned).collect::<Vec<_>>()
        };
        for grid in view.grids() {
            let tag = format!("<GRID NAME=\"{}\"", attribute(grid.name()));
            // The first line that begins so is our own GRID where the names are the same; ours are not.
            let part = section(&lines, &tag, "</GRID>");
            prop_assert_eq!(ask(&[grid.name()]), around(&lines, part.clone()));
            prop_assert_eq!(ask(&["Root", grid.name(), "anything"]), around(&lines, part));
        }
        for cluster in view.clusters() {
            let tag = format!("<CLUSTER NAME=\"{}\"", attribute(cluster.name()));
            let part = section(&lines, &tag, "</CLUSTER>");
            prop_assert_eq!(ask(&[cluster.name()]), around(&lines, part.clone()));
            prop_assert_eq!(ask(&["Root", cluster.name()]), around(&lines, part.clone()));
            let empty = vec![part[0], "</CLUSTER>"];
            prop_assert_eq!(ask(&[cluster.name(), "none"]), around(&lines, if strict { empty } else { part.clone() }));
            for host in cluster.hosts() {
                let own = section(&part, &format!("<HOST NAME=\"{}\"", attribute(host.name())), "</HOST>");
                let in_cluster = |inside: &[&str]| around(&lines, [&part[..1], inside, &["</CLUSTER>"][..]].concat())
                    .into_iter().map(str::to_owned).collect::<Vec<_>>();
                prop_assert_eq!(ask(&[cluster.name(), host.name()]), in_cluster(&own));
                prop_assert_eq!(ask(&["Root", cluster.name(), host.name()]), in_cluster(&own));
                let bare = [own[0], "</HOST>"];
                let expected = in_cluster(if strict { &bare } else { &own });
                prop_assert_eq!(ask(&[cluster.name(), host.name(), "none"]), expected);
                for metric in host.metrics().filter(|m| !m.is_expired(START)) {
                    let start = format!("<METRIC NAME=\"{}\"", attribute(metric.name()));
                    let expected = [&own[..1], &section(&own, &start, "</METRIC>"), &["</HOST>"][..]].concat();
                    prop_assert_eq!(ask(&[cluster.name(), host.name(), metric.name()]), in_cluster(&expected));
                    prop_assert_eq!(ask(&[cluster.name(), host.name(), metric.name(), "more"]), in_cluster(&expected));
                }
            }
        }
        let bare: Vec<&str> = around(&lines, Vec::new());
        prop_assert_eq!(ask(&["none", "h1"]), if strict { bare } else { lines.clone() });
        prop_assert_eq!(ask(&["*"]), lines);
    }
}

fn attribute(text: &str) -> String {
    let escaped = quick_xml::escape::escape(text);
    escaped.chars().map(|c| if c.is_ascii() { c.to_string() } else { format!("&#{};", u32::from(c)) }).collect()
}

#[test]
fn a_cluster_with_the_grids_own_name_comes_first() {
    let document = b"<GANGLIA_XML VERSION=\"3.7.2\"><CLUSTER NAME=\"Root\"><HOST NAME=\"h\" TMAX=\"20\">\
        <METRIC NAME=\"m\" VAL=\"1\" TYPE=\"int8\"/></HOST></CLUSTER><CLUSTER NAME=\"c\"><HOST NAME=\"i\"/></CLUSTER>\
        </GANGLIA_XML>";
    let view = view(document);
    let shows = |line: &str, what: &str| answer(&view, query(line), START).contains(what);
    for line in ["/Root", "/Root/h", "/Root/Root/h", "/Root/h/m", "/Root/Root/h/m", "/Root/Root"] {
        assert!(shows(line, "NAME=\"h\"") && !shows(line, "NAME=\"i\""), "{line}");
    }
    assert!(shows("/Root/c", "NAME=\"i\"") && shows("/Root/c/i", "NAME=\"i\"") && !shows("/Root/c", "NAME=\"h\""));
    // A wildcard stands for one element, in HTTP mode only.
    assert!(shows("GET /*/h HTTP/1.0", "NAME=\"h\"") && !shows("GET /*/h HTTP/1.0", "NAME=\"i\""));
    assert!(shows("GET /*/*/m HTTP/1.0", "NAME=\"m\"") && shows("GET /*/*/m HTTP/1.0", "NAME=\"i\""));
    assert!(shows("/*/h", "NAME=\"i\""), "no wildcard: no match, everything");
}

/// What was opened is closed as what it was, whatever a reload makes of the grid meanwhile.
#[test]
fn a_live_answer_is_well_formed_when_its_source_goes() {
    let metrics: String = (0..99).map(|n| format!("<METRICS NAME=\"m{n}\" SUM=\"1\" NUM=\"1\"/>")).collect();
    let hosts: String = (0..99).map(|n| format!("<HOST NAME=\"h{n}\" TMAX=\"20\"/>")).collect();
    let grid = format!("<GANGLIA_XML><GRID NAME=\"x\">{metrics}</GRID></GANGLIA_XML>");
    let cluster = format!("<GANGLIA_XML><CLUSTER NAME=\"x\">{hosts}</CLUSTER></GANGLIA_XML>");
    for (first, second) in [(&grid, &cluster), (&cluster, &grid)] {
        for replaced in [false, true] {
            let store = Arc::new(store());
            let publish = |text: &str| {
                let id = store.add_source("s");
                store.publish(id, reader(true).read_document(text.as_bytes(), START).unwrap());
                id
            };
            let old = publish(first);
            let mut writer = XmlWriter::live(Arc::clone(&store), Query::dump(), START);
            let mut out = Vec::new();
            writer.fill(&mut out, PROLOG.len() + 1000);
            store.remove_source(old);
            if replaced {
                publish(second);
            }
            while writer.fill(&mut out, 100) == Progress::More {}
            well_formed(&String::from_utf8(out).unwrap());
        }
    }
}
