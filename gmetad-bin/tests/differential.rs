//! Our gmetad beside the C gmetad 3.7.2: the same input, and answers that mean the same.
//!
//! Where ours must differ, the table [`DEVIATIONS`] says so, with the reason; everything else that differs is a failure, and so
//! is a line of the table that did not come true. Section numbers are those of the behavioural reference of the C daemon.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

#[allow(dead_code, unreachable_pub, missing_docs, reason = "each test program uses a part of the helpers")]
mod util;

use std::collections::BTreeSet;

use util::compare::{self, Difference, Options, assert_same_meaning, differences};
use util::daemon::{Gmetad, Kind, Launch, have_c_gmetad, under_test_is_c};
use util::fake_gmond::{FakeGmond, Reply};
use util::net::{After, Answer};
use util::real_gmond::RealGmond;
use util::xml::Element;
use util::{document, net, rrd};

/// Where ours is meant to differ from the C daemon.
struct Deviation {
    /// The test's name for the document.
    document: &'static str,
    /// The path of the element; one `*` in it stands for any text.
    path: &'static str,
    /// The attribute, or `element`.
    what: &'static str,
    ours: &'static str,
    c: &'static str,
    reason: &'static str,
}

const MISSING_UNITS: &str =
    "4.2: without UNITS the C daemon prints the metric's first stored string, its VAL; ours prints nothing";
const NESTED_METRICS: &str = "5.3, defect 9: the C daemon loses the METRICS of nested grids; ours adds them";
const DUPLICATE_HOST: &str = "4.5: the C daemon counts and sums a host twice that comes twice in a document; ours once";

/// The one table of what differs on purpose.
const DEVIATIONS: &[Deviation] = &[
    units("GRID[Test Grid]/*[m_noslope]", "5.25"),
    units("GRID[Test Grid]/*[m_min]", "9"),
    units("GRID[Test Grid]/*[m_posfloat]", "1.5"),
    units("GRID[Test Grid]/*[m_nan]", "nan"),
    units("GRID[Test Grid]/*[m_inf]", "inf"),
    units("GRID[Test Grid]/*[m_hex]", "0x10"),
    units("GRID[Test Grid]/*[m_txt]", "abc"),
    units("GRID[Test Grid]/*[m_intdot]", "3.75"),
    units("GRID[Test Grid]/*[m_slopeX]", "3"),
    units("GRID[Test Grid]/*[m_unspec]", "3"),
    units("GRID[Test Grid]/*[m_neg]", "3"),
    units("GRID[Test Grid]/*[m_inunk]", "1"),
    nested("GRID[Test Grid]/*METRICS[load_one]", "SUM", "14.125", "1.50"),
    nested("GRID[Test Grid]/*METRICS[load_one]", "NUM", "13", "1"),
    nested("GRID[Test Grid]/*METRICS[only_grid]", "SUM", "33.5", "0.0"),
    nested("GRID[Test Grid]/*METRICS[only_grid]", "NUM", "5", "0"),
    nested("GRID[Test Grid]/*METRICS[cpu_num]", "SUM", "14", "4"),
    nested("GRID[Test Grid]/*METRICS[cpu_num]", "NUM", "6", "1"),
    duplicate("GRID[Test Grid]/*HOSTS", "UP", "2", "3"),
    duplicate("GRID[Test Grid]/*METRICS[both]", "SUM", "12.00", "13.00"),
    duplicate("GRID[Test Grid]/*METRICS[both]", "NUM", "2", "3"),
];

const fn units(path: &'static str, c: &'static str) -> Deviation {
    Deviation { document: "edge", path, what: "UNITS", ours: "", c, reason: MISSING_UNITS }
}

const fn nested(path: &'static str, what: &'static str, ours: &'static str, c: &'static str) -> Deviation {
    Deviation { document: "grid", path, what, ours, c, reason: NESTED_METRICS }
}

const fn duplicate(path: &'static str, what: &'static str, ours: &'static str, c: &'static str) -> Deviation {
    Deviation { document: "duplicates", path, what, ours, c, reason: DUPLICATE_HOST }
}

impl Deviation {
    fn explains(&self, document: &str, difference: &Difference) -> bool {
        self.document == document
            && self.path_matches(&difference.path)
            && self.what == difference.what
            && self.same(self.ours, &difference.ours)
            && self.same(self.c, &difference.c)
    }

    fn same(&self, expected: &str, seen: &str) -> bool {
        let numbers = expected.parse::<f64>().ok().zip(seen.parse::<f64>().ok());
        // How many decimals are printed is not what a line of the table is about.
        expected == seen || (self.what == "SUM" && numbers.is_some_and(|(a, b)| (a - b).abs() < 0.01))
    }

    fn path_matches(&self, path: &str) -> bool {
        match self.path.split_once('*') {
            Some((head, tail)) => {
                path.len() >= head.len() + tail.len() && path.starts_with(head) && path.ends_with(tail)
            }
            None => path == self.path,
        }
    }
}

/// Both daemons with a source each that sends the same.
struct Pair {
    document: &'static str,
    ours: Gmetad,
    c: Gmetad,
    seen: BTreeSet<usize>,
    _sources: [FakeGmond; 2],
}

impl Pair {
    /// Starts them and waits until both have polled often enough for the C daemon's tables to have settled: EXTRA_DATA of a
    /// summary comes with the second poll, the root's summary about a second after the first.
    fn polling(name: &'static str, bytes: &[u8]) -> Self {
        let sources = [FakeGmond::serving(bytes), FakeGmond::serving(bytes)];
        let start = |kind, source: &FakeGmond| Launch::new(kind).source("one", 1, source.address()).start();
        let (ours, c) = (start(Kind::Ours, &sources[0]), start(Kind::C, &sources[1]));
        for source in &sources {
            util::wait_until("four polls", util::SOON, || source.polls() >= 5);
        }
        ours.wait_root_summary();
        c.wait_root_summary();
        Self { document: name, ours, c, seen: BTreeSet::new(), _sources: sources }
    }

    /// Fails unless the two answers to `request` mean the same, but for the table.
    fn compare_trees(&mut self, request: &str, ours: &[u8], c: &[u8]) {
        let (ours, c) = (self.ours.parse(ours), self.c.parse(c));
        if under_test_is_c() {
            self.note_shown(&c, "");
        }
        let mut unexplained = Vec::new();
        for difference in differences(&ours, &c, &Options::default()) {
            let line = DEVIATIONS.iter().position(|deviation| deviation.explains(self.document, &difference));
            match line {
                Some(line) => drop(self.seen.insert(line)),
                None => unexplained.push(difference),
            }
        }
        assert!(unexplained.is_empty(), "{}: {request}:\n{}", self.document, compare::list(&unexplained));
    }

    /// With the C daemon on both sides nothing differs; then the table is held against what it shows.
    fn note_shown(&mut self, element: &Element, path: &str) {
        for (index, deviation) in DEVIATIONS.iter().enumerate().filter(|(_, line)| line.document == self.document) {
            let value = element.attribute(deviation.what);
            if deviation.path_matches(path) && value.is_some_and(|value| deviation.same(deviation.c, value)) {
                self.seen.insert(index);
            }
        }
        for child in &element.children {
            self.note_shown(child, &compare::below(path, child));
        }
    }

    fn compare_line(&mut self, line: &str) {
        let (ours, c) = (self.ours.query(line), self.c.query(line));
        self.compare_trees(line, &ours, &c);
    }

    fn compare_dumps(&mut self) {
        let (ours, c) = (self.ours.dump(), self.c.dump());
        self.compare_trees("XML port", &ours, &c);
    }

    /// Asks every form of request, and sees that the table's lines for this document came true.
    fn compare_all(mut self, cluster: &str, host: &str, metric: &str) {
        self.compare_dumps();
        for form in forms(cluster, host, metric) {
            let ask = |daemon: &Gmetad| net::ask(daemon.interactive_port(), &form.request, form.after).unwrap();
            let (ours, c) = (ask(&self.ours), ask(&self.c));
            let shown: String = String::from_utf8_lossy(&form.request).chars().take(60).collect();
            let (said_ours, said_c) = (ours.bytes.is_empty(), c.bytes.is_empty());
            assert_eq!(said_c, form.gives == Gives::Nothing, "{shown:?}: the C daemon gave {} bytes", c.bytes.len());
            assert_eq!(said_ours, said_c, "{shown:?}: ours gave {} bytes, C {}", ours.bytes.len(), c.bytes.len());
            assert_ne!(ours.ending, net::Ending::StillOpen, "{shown:?}: ours leaves the connection open");
            if form.gives == Gives::Answer {
                assert_same_header(&form.request, &ours, &c);
                self.compare_trees(&shown, ours.body(), c.body());
            }
        }
        for (index, deviation) in DEVIATIONS.iter().enumerate().filter(|(_, line)| line.document == self.document) {
            let Deviation { path, what, reason, .. } = deviation;
            assert!(self.seen.contains(&index), "{path} {what} was to differ, and did not ({reason})");
        }
    }
}

/// The lines of the HTTP header, none for plain requests. The C daemon ends one of them with a bare LF (defect 22). Whoever
/// sends headers gets three lines more from us; who sends a request line alone does not.
fn assert_same_header(request: &[u8], ours: &Answer, c: &Answer) {
    const MORE: [&str; 3] = ["ETag: W/", "Cache-Control: no-cache", "Vary: Accept-Encoding"];
    let wanted = |line: &&String| !line.starts_with("Server:") && !line.starts_with("Access-Control-");
    let lines = |answer: &Answer| answer.header().iter().filter(wanted).cloned().collect::<Vec<_>>();
    let (mut ours, c) = (lines(ours), lines(c));
    let request = String::from_utf8_lossy(request);
    if !under_test_is_c() && request.contains("\r\n\r\n") {
        for more in MORE {
            let at = ours.iter().position(|line| line.starts_with(more));
            ours.remove(at.unwrap_or_else(|| panic!("{request}: no {more} in {ours:?}")));
        }
    }
    assert_eq!(ours, c, "{request}: header");
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gives {
    /// A document.
    Answer,
    /// Not a byte.
    Nothing,
}

/// One way to ask, and what it is worth.
struct Form {
    request: Vec<u8>,
    after: After,
    gives: Gives,
}

/// Every form of request of section 6.4, for a source, a host and a metric that exist.
fn forms(c: &str, h: &str, m: &str) -> Vec<Form> {
    use Gives::{Answer, Nothing};
    let mut forms = Vec::new();
    let mut form =
        |gives, request: String| forms.push(Form { request: request.into_bytes(), after: After::KeepOpen, gives });

    // Paths.
    form(Answer, "/\n".into());
    form(Answer, format!("/{c}\n"));
    form(Answer, format!("/{c}/{h}\n"));
    form(Answer, format!("/{c}/{h}/{m}\n"));
    // A trailing slash, and what follows a metric, count for nothing.
    form(Answer, format!("/{c}/\n"));
    form(Answer, format!("/{c}/{h}/\n"));
    form(Answer, format!("/{c}/{h}/{m}/\n"));
    form(Answer, format!("/{c}/{h}/{m}/more/of/it\n"));
    // No match shows the deepest element that matches; names are matched exactly.
    form(Answer, "/nosuch\n".into());
    form(Answer, "/nosuch/nosuch/nosuch\n".into());
    form(Answer, format!("/{c}/nosuch\n"));
    form(Answer, format!("/{c}/nosuch/{m}\n"));
    form(Answer, format!("/{c}/{h}/nosuch\n"));
    form(Answer, format!("/{}\n", c.to_lowercase()));
    form(Answer, format!("/{c}/{}\n", h.to_uppercase()));
    form(Answer, format!("/{c}x\n"));
    form(Answer, format!("/ {c}\n"));
    // An empty name matches nothing.
    form(Answer, "//\n".into());
    form(Answer, format!("/{c}//{m}\n"));
    form(Answer, format!("//{c}\n"));
    // `*` is a name like another outside HTTP.
    form(Answer, "/*\n".into());
    form(Answer, format!("/{c}/*/{m}\n"));
    // The root grid is no part of a path.
    form(Answer, format!("/Test Grid/{c}\n"));

    // Filters: the key is irrelevant, the value exact.
    form(Answer, "/?filter=summary\n".into());
    form(Answer, "/?x=summary\n".into());
    form(Answer, format!("/{c}?filter=summary\n"));
    form(Answer, format!("/{c}/?filter=summary\n"));
    form(Answer, format!("/{c}/{h}?filter=summary\n"));
    form(Answer, format!("/{c}/{h}/{m}?filter=summary\n"));
    form(Answer, "/nosuch?filter=summary\n".into());
    form(Answer, format!("/{c}/nosuch?filter=summary\n"));
    form(Answer, format!("/{c}?filter=bogus\n"));
    form(Answer, format!("/{c}?filter=Summary\n"));
    form(Answer, format!("/{c}?filter=summary&x=1\n"));
    form(Answer, format!("/{c}?filter=\n"));
    form(Nothing, "/?\n".into());
    form(Nothing, format!("/{c}?filter\n"));

    // HTTP: no match shows only the tags around, `*` is a wildcard for one step.
    for version in ["1.0", "1.1"] {
        form(Answer, format!("GET / HTTP/{version}\n"));
        form(Answer, format!("GET /{c}/{h} HTTP/{version}\r\n"));
    }
    form(Answer, format!("GET /{c}/{h}/{m} HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n\r\n"));
    form(Answer, format!("GET /{c}?filter=summary HTTP/1.0\r\n"));
    form(Answer, "GET /?filter=summary HTTP/1.0\r\n".into());
    form(Answer, "GET /nosuch HTTP/1.1\r\n".into());
    form(Answer, format!("GET /{c}/nosuch HTTP/1.1\r\n"));
    form(Answer, format!("GET /{c}/{h}/nosuch HTTP/1.1\r\n"));
    form(Answer, "GET /* HTTP/1.0\r\n".into());
    form(Answer, "GET /*/* HTTP/1.0\r\n".into());
    form(Answer, format!("GET /*/*/{m} HTTP/1.0\r\n"));
    form(Answer, format!("GET /{c}/*/{m} HTTP/1.0\r\n"));
    form(Answer, format!("GET /*/{h} HTTP/1.0\r\n"));

    // Malformed: not a byte.
    for line in [
        "\n",
        "foo\n",
        " /\n",
        "\r\n",
        "GET /x\n",
        "get / HTTP/1.0\n",
        "GET / HTTP/2.0\n",
        "GET  HTTP/1.0\n",
        "POST / HTTP/1.0\n",
    ] {
        form(Nothing, line.into());
    }
    form(Nothing, "GET /Test%20Cluster HTTP/1.1\r\n".into());
    for forbidden in [">", "!", "@", "#", "$", "%", "`", ";", "|", "\"", "\\", "'", "<"] {
        form(Nothing, format!("/{c}{forbidden}\n"));
    }
    // Allowed, though they look odd.
    form(Answer, "/a&b+c:d~e\n".into());
    form(Answer, "/caf\u{e9}\n".into());

    // Line ends, and one answer a connection.
    form(Answer, format!("/{c}\r"));
    form(Answer, format!("/{c}\r\n"));
    form(Answer, format!("/{c}/{h}\n/{c}\n"));
    // The longest request, and one byte more.
    form(Answer, format!("/{}\n", "x".repeat(2046)));
    form(Nothing, format!("/{}\n", "x".repeat(2047)));
    form(Nothing, format!("/{}\n", "x".repeat(100_000)));

    // A client that closes its direction needs no line end.
    for (gives, request) in [(Answer, format!("/{c}/{h}")), (Answer, "/".to_owned()), (Nothing, String::new())] {
        forms.push(Form { request: request.into_bytes(), after: After::HalfClose, gives });
    }
    forms
}

#[test]
fn edge_cases_of_the_input() {
    if have_c_gmetad("edge_cases_of_the_input") {
        Pair::polling("edge", &util::data("edge-input.xml")).compare_all("C1", "H1", "m_src");
    }
}

#[test]
fn a_real_gmond_document() {
    if have_c_gmetad("a_real_gmond_document") {
        Pair::polling("gmond", &util::data("gmond.xml")).compare_all("Test Cluster", "node1.example.org", "load_one");
    }
}

#[test]
fn a_real_gmond_document_with_gmetric() {
    if have_c_gmetad("a_real_gmond_document_with_gmetric") {
        Pair::polling("gmetric", &util::data("gmond-gmetric.xml")).compare_all("Test Cluster", "spoof2", "g_float");
    }
}

#[test]
fn a_child_grid() {
    if have_c_gmetad("a_child_grid") {
        Pair::polling("grid", &util::data("grid-input.xml")).compare_all("Sub & Grid", "A1", "load_one");
    }
}

#[test]
fn a_gzipped_document() {
    if have_c_gmetad("a_gzipped_document") {
        let mut pair = Pair::polling("gmond", &document::gzip(&util::data("gmond.xml")));
        pair.compare_dumps();
        pair.compare_line("/?filter=summary");
    }
}

#[test]
fn a_host_that_comes_twice() {
    if have_c_gmetad("a_host_that_comes_twice") {
        let value = |value: &str| document::metric("both", value, "float", "both");
        let now = util::now();
        let hosts = [document::host("twin", now, &value("1.00")), document::host("twin", now, &value("2.00"))].concat();
        let hosts = hosts + &document::host("other", now, &value("10.00"));
        Pair::polling("duplicates", &document::of_cluster("C", now, &hosts)).compare_all("C", "twin", "both");
    }
}

/// More than what it means: the very lines, for a document in which nothing needs escaping.
#[test]
fn the_spelling_is_that_of_c() {
    if !have_c_gmetad("the_spelling_is_that_of_c") {
        return;
    }
    let pair = Pair::polling("gmond", &util::data("gmond.xml"));
    let prolog = document::prolog();
    for line in ["/", "/Test Cluster/node1.example.org/load_one", "/Test Cluster?filter=summary"] {
        let (ours, c) = (pair.ours.query(line), pair.c.query(line));
        assert!(ours.starts_with(&prolog) && c.starts_with(&prolog), "{line}: the first 2531 bytes");
        assert_eq!(compare::spelling(&ours), compare::spelling(&c), "{line}");
    }
}

#[test]
fn a_request_may_come_in_pieces() {
    use std::io::{Read, Write};
    if !have_c_gmetad("a_request_may_come_in_pieces") {
        return;
    }
    let pair = Pair::polling("gmond", &util::data("gmond.xml"));
    let expected = pair.ours.query("/Test Cluster/node1.example.org");
    for daemon in [&pair.ours, &pair.c] {
        let mut client = net::connect(daemon.interactive_port()).unwrap();
        client.write_all(b"/Test Cluster/no").unwrap();
        client.set_read_timeout(Some(std::time::Duration::from_millis(300))).unwrap();
        client.read(&mut [0; 16]).expect_err("without a line end there is no answer yet");
        client.write_all(b"de1.example.org\n").unwrap();
        let answer = net::read_answer(&mut client, util::SOON);
        let (now, whole) = (daemon.parse(&answer.bytes), pair.ours.parse(&expected));
        assert_same_meaning(&now, &whole, &Options { seconds: 5, ..Options::default() });
    }
}

#[test]
fn status_has_the_fields_of_c() {
    if !have_c_gmetad("status_has_the_fields_of_c") {
        return;
    }
    let pair = Pair::polling("gmond", &util::data("gmond.xml"));
    let fields = [
        "host",
        "gridname",
        "version",
        "stattime",
        "boottime",
        "uptime",
        "uptimeMillis",
        "metrics",
        "received",
        "sent",
        "rrdtool",
        "rrdcached",
        "graphite",
        "summarize",
        "requests",
        "interactive",
        "xml",
        "polls",
        "ok",
        "failed",
        "misses",
    ];
    for daemon in [&pair.ours, &pair.c] {
        for request in ["/status\n", "/STATUS\n", "/statusx\n", "GET /status HTTP/1.0\r\n"] {
            let answer = net::ask(daemon.interactive_port(), request.as_bytes(), After::KeepOpen).unwrap();
            let header = answer.header();
            assert_eq!(header.first().map(String::as_str), Some("HTTP/1.0 200 OK"), "{request:?}");
            assert!(
                header.iter().any(|line| line.starts_with("Content-Type: application/json")),
                "{request:?}: {header:?}"
            );
            let body = String::from_utf8_lossy(answer.body()).into_owned();
            assert!(body.starts_with('{') && body.ends_with("}\r\n"), "{request:?}: {body}");
            for field in fields {
                assert!(body.contains(&format!("\"{field}\":")), "{request:?}: no field {field} in {body}");
            }
        }
        let answer = daemon.query("/status?callback=show");
        assert!(
            // Ours puts an empty comment before the name: a browser must not take the answer for another kind of file.
            String::from_utf8_lossy(&answer).replace("/**/", "").contains("\r\n\r\nshow({"),
            "JSONP: {}",
            String::from_utf8_lossy(&answer)
        );
    }
}

/// gmond and gmetric of the system instead of captures: every type and slope, lifetimes, groups, hosts that are spoofed.
#[test]
fn a_living_gmond() {
    const TEST: &str = "a_living_gmond";
    if !have_c_gmetad(TEST) {
        return;
    }
    let Some(gmond) = RealGmond::start(TEST, "Live Cluster", "live.example.org") else { return };
    let values = [
        ("string", "some text"),
        ("int8", "-128"),
        ("uint8", "255"),
        ("int16", "-32768"),
        ("uint16", "65535"),
        ("int32", "-2147483648"),
        ("uint32", "4294967295"),
        ("float", "1.25"),
        ("double", "-123456789.125"),
    ];
    for (kind, value) in values {
        gmond.gmetric(&["--name", &format!("type_{kind}"), "--type", kind, "--value", value, "--units", "u/s"]);
    }
    for slope in ["zero", "positive", "negative", "both", "derivative"] {
        gmond.gmetric(&["--name", &format!("slope_{slope}"), "--type", "uint32", "--value", "7", "--slope", slope]);
    }
    gmond.gmetric(&[
        "--name", "lives", "--type", "float", "--value", "3.5", "--tmax", "30", "--dmax", "600", "--group", "a,b",
    ]);
    gmond.gmetric(&[
        "--name",
        "told",
        "--type",
        "string",
        "--value",
        "a & b < c > d",
        "--title",
        "A title",
        "--desc",
        "What it is",
    ]);
    let spoof = ["--type", "double", "--value", "0.001", "--spoof", "10.1.2.3:Spoofed-Host.Example.COM"];
    gmond.gmetric(&[&["--name", "spoofed"], &spoof[..]].concat());
    gmond.gmetric(&[&["--name", "type_float"], &spoof[..]].concat());
    let sent = gmond.xml();
    let metrics = String::from_utf8_lossy(&sent).matches("<METRIC ").count();
    assert!(metrics >= 18, "{}", String::from_utf8_lossy(&sent));

    let start = |kind| Launch::new(kind).source("live", 1, gmond.address()).start();
    let (ours, c) = (start(Kind::Ours), start(Kind::C));
    for daemon in [&ours, &c] {
        daemon.wait_tree("every metric", "/", |tree| (tree.count("METRIC") == metrics).then_some(()));
        // EXTRA_DATA of the C daemon's summary comes with the second poll.
        daemon.wait_tree("a summary with EXTRA_DATA", "/Live Cluster?filter=summary", |tree| {
            (tree.count("EXTRA_ELEMENT") >= 2).then_some(())
        });
        daemon.wait_root_summary();
    }
    for line in
        ["/", "/?filter=summary", "/Live Cluster/Spoofed-Host.Example.COM", "/Live Cluster/live.example.org/told"]
    {
        let (mine, theirs) = (ours.tree(line), c.tree(line));
        let found = differences(&mine, &theirs, &Options { seconds: 3, ..Options::default() });
        assert!(found.is_empty(), "{line}:\n{}", compare::list(&found));
    }
    assert_eq!(
        ours.tree("/Live Cluster/live.example.org")
            .at(&[("GRID", ""), ("CLUSTER", ""), ("HOST", ""), ("METRIC", "type_double"),])
            .and_then(|metric| metric.attribute("VAL")),
        Some("-123456789.125")
    );
}

/// What one poll of the RRD test gets. LOCALTIME follows the number of the poll, not the clock, so that both daemons file the
/// same points; after the last one the clock stands still, and what is sent then is refused by librrd ("illegal attempt").
fn rrd_document(poll: usize) -> Vec<u8> {
    // Multiples of every archive's step since the epoch; a gap, a gap longer than the heartbeat of 8, a clock set back.
    const START: u64 = 1_700_000_000 - 1_700_000_000 % 2400;
    const OFFSETS: [u64; RRD_POLLS] = [0, 1, 2, 4, 5, 6, 20, 21, 19, 22, 23, 24];
    let poll = poll.min(RRD_POLLS - 1);
    let time = START + OFFSETS[poll];
    let count = OFFSETS[poll];
    let metrics = |host: u64| {
        [
            document::metric("gauge", &format!("{}.25", count + host), "float", "both"),
            document::metric("fixed", "8", "uint16", "zero"),
            document::metric("counter", &(1000 * host + 7 * count).to_string(), "uint32", "positive"),
            document::metric("derived", &(500 + 3 * count).to_string(), "int32", "derivative"),
            document::metric("falling", &format!("-{count}"), "int32", "negative"),
            document::metric("unspecified slope", "1.5", "double", "unspecified"),
            document::metric("float_counter", "1.5", "float", "positive"),
            document::metric("large", "123456789012.5", "double", "both"),
            document::metric("exponent", "1.5e+03", "double", "both"),
            document::metric("words", "text", "string", "both"),
            document::metric("moment", "1700000000", "timestamp", "both"),
        ]
        .concat()
    };
    // The second host is down for a while: it has no points then, and the summaries count one host.
    let second = document::host("Second.Example.ORG", time, &metrics(2));
    let second =
        if (4..6).contains(&poll) { second.replace(" TN=\"1\" TMAX=\"20\"", " TN=\"99\" TMAX=\"20\"") } else { second };
    let hosts = document::host("first.example.org", time, &metrics(1)) + &second;
    document::of_cluster("RRD &amp; Cluster", time, &hosts)
}

const RRD_POLLS: usize = 12;

/// Keys of `rrdtool info` that depend on when a daemon started or on how often it ran: the root's summary has the daemon's clock.
fn depends_on_start(file: &str, key: &str) -> bool {
    file.starts_with("__SummaryInfo__/")
        && (key == "last_update"
            || key.contains("cdp_prep")
            || [".last_ds", ".value", ".unknown_sec"].iter().any(|end| key.ends_with(end)))
}

/// 7.4: the C daemon gives the DS `num` the type of `sum`, so that a constant number of hosts becomes the rate 0. Ours counts.
fn is_num_type(file: &str, key: &str) -> bool {
    let slope =
        file.ends_with("/counter.rrd") || file.ends_with("/derived.rrd") || file.ends_with("/float_counter.rrd");
    slope && file.contains("/__SummaryInfo__/") && (key.starts_with("ds[num].") || key.contains("].cdp_prep[1]."))
}

/// The files themselves, after the same points.
#[test]
fn the_same_rrd_files() {
    const TEST: &str = "the_same_rrd_files";
    if !have_c_gmetad(TEST) {
        return;
    }
    if util::find_program("rrdtool").is_none() {
        util::left_out(TEST, "no rrdtool");
        return;
    }
    let source = || FakeGmond::scripted(|poll| Reply::Bytes(rrd_document(poll)));
    let sources = [source(), source()];
    let start = |kind, source: &FakeGmond| Launch::new(kind).source("rrd", 1, source.address()).with_rrds().start();
    let (ours, c) = (start(Kind::Ours, &sources[0]), start(Kind::C, &sources[1]));
    for source in &sources {
        util::wait_until("all polls", util::SOON * 2, || source.polls() >= RRD_POLLS + 2);
    }
    let files = rrd::tree(&c.rrd_root());
    assert!(files.iter().filter(|file| file.ends_with(".rrd")).count() == 9 * 4, "the C daemon made {files:#?}");
    // Ours keeps points for four steps and writes them together.
    util::wait_until("all points are in our files", util::SOON * 2, || {
        files.iter().filter(|file| file.ends_with(".rrd") && !file.starts_with("__SummaryInfo__/")).all(|file| {
            let [mine, theirs] = [&ours, &c].map(|daemon| daemon.rrd_root().join(file));
            mine.exists() && rrd::info(&mine)["last_update"] == rrd::info(&theirs)["last_update"]
        })
    });
    let visible = |name: &&String| !name.starts_with('.');
    let mine: BTreeSet<_> = rrd::tree(&ours.rrd_root()).iter().filter(visible).cloned().collect();
    assert_eq!(mine, files, "names of files and directories");
    let mut wrong = Vec::new();
    for file in files.iter().filter(|file| file.ends_with(".rrd")) {
        compare_rrd(file, &ours, &c, &mut wrong);
    }
    assert!(wrong.is_empty(), "{} differences:\n{}", wrong.len(), wrong.join("\n"));
    for file in [GAUGE, "__SummaryInfo__/gauge.rrd", "RRD & Cluster/__SummaryInfo__/gauge.rrd"] {
        let size = |daemon: &Gmetad| daemon.rrd_root().join(file).metadata().unwrap().len();
        assert_eq!(size(&ours), size(&c), "{file}: bytes");
    }
}

const GAUGE: &str = "RRD & Cluster/first.example.org/gauge.rrd";

/// `last_ds` is the text of the last update: how many decimals it has is decided where sums are printed (5.2).
fn is_same_number(mine: &str, theirs: &str) -> bool {
    let number = |text: &str| text.trim_matches('"').parse::<f64>().ok();
    number(mine).is_some() && number(mine) == number(theirs)
}

fn compare_rrd(file: &str, ours: &Gmetad, c: &Gmetad, wrong: &mut Vec<String>) {
    let paths = [ours, c].map(|daemon| daemon.rrd_root().join(file));
    for (key, mine, theirs) in rrd::info_differences(&rrd::info(&paths[0]), &rrd::info(&paths[1])) {
        let meant = is_num_type(file, &key) && !under_test_is_c();
        let spelled_differently = key.ends_with(".last_ds") && is_same_number(&mine, &theirs);
        if !depends_on_start(file, &key) && !meant && !spelled_differently {
            wrong.push(format!("  {file} {key}: ours {mine}, C {theirs}"));
        }
        if key == "ds[num].type" && meant {
            assert_eq!(mine, "\"GAUGE\"", "{file}: a number of hosts is a gauge");
        }
    }
    if file.starts_with("__SummaryInfo__/") {
        return;
    }
    let last: u64 = rrd::info(&paths[1])["last_update"].parse().unwrap();
    let rows = paths.each_ref().map(|path| rrd::fetch(path, last - 40, last));
    assert!(rows[1].len() >= 30, "{file}: rrdtool fetch gives {} rows", rows[1].len());
    let columns = if is_num_type(file, "ds[num].") { 1 } else { usize::MAX };
    for (time, theirs) in &rows[1] {
        let mine = rows[0].get(time).cloned().unwrap_or_default();
        let cut = |row: &[f64]| row[..row.len().min(columns)].to_vec();
        if !rrd::same_row(&cut(&mine), &cut(theirs)) {
            wrong.push(format!("  {file} at {time}: ours {mine:?}, C {theirs:?}"));
        }
    }
}

/// A tower of daemons, each the only source of the next; the first polls `source`.
fn tower(kinds: &[Kind], source: &FakeGmond) -> Vec<Gmetad> {
    let mut daemons: Vec<Gmetad> = Vec::new();
    for (level, kind) in kinds.iter().enumerate() {
        let below = daemons.last().map_or(source.address(), Gmetad::xml_address);
        let launch = Launch::new(*kind).line(format!("gridname \"Level {level}\"")).source(level, 1, below);
        daemons.push(launch.start());
        let name = if level == 0 { "Test Cluster".to_owned() } else { format!("Level {}", level - 1) };
        daemons[level].wait_source(&name);
    }
    daemons
}

/// The metrics of a summary: name, sum, number.
fn sums(daemon: &Gmetad, line: &str, element: (&str, &str)) -> Option<Vec<(String, f64, String)>> {
    let tree = daemon.tree(line);
    let metrics = tree.at(&[("GRID", ""), element])?.all("METRICS").map(|metric| {
        let text = |name| metric.attribute(name).unwrap_or_default().to_owned();
        (text("NAME"), text("SUM").parse().unwrap(), text("NUM"))
    });
    let mut metrics: Vec<_> = metrics.collect();
    metrics.sort_by(|a, b| a.0.cmp(&b.0));
    Some(metrics)
}

/// Waits until the top of a tower shows the sums of its lowest level.
fn assert_sums_reach_the_top(kinds: &[Kind]) {
    let source = FakeGmond::serving(util::data("gmond.xml"));
    let daemons = tower(kinds, &source);
    let expected = sums(&daemons[0], "/Test Cluster?filter=summary", ("CLUSTER", "Test Cluster")).unwrap();
    assert!(expected.len() > 20 && expected.iter().all(|(_, _, number)| number == "1"), "{expected:?}");
    let top = daemons.last().unwrap();
    let below = format!("Level {}", kinds.len() - 2);
    let seen = std::cell::RefCell::new(String::new());
    let arrived = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        top.wait_tree("the sums of the lowest level", "/", |tree| {
            let shown = sums(top, "/", ("GRID", &below))?;
            *seen.borrow_mut() = format!("{shown:?}");
            assert_eq!(tree.child("GRID")?.children.len(), 1, "one source, no deeper details");
            (shown == expected).then_some(())
        });
    }));
    assert!(arrived.is_ok(), "{kinds:?}: at the bottom {expected:?}, at the top {}", seen.borrow());
    let hosts = top.tree(&format!("/{below}?filter=summary"));
    let hosts = hosts.at(&[("GRID", ""), ("GRID", ""), ("HOSTS", "")]).expect("HOSTS");
    assert_eq!((hosts.attribute("UP"), hosts.attribute("DOWN")), (Some("1"), Some("0")));
}

#[test]
fn c_is_our_parent() {
    if have_c_gmetad("c_is_our_parent") {
        assert_sums_reach_the_top(&[Kind::Ours, Kind::C]);
    }
}

#[test]
fn we_are_the_parent_of_c() {
    if have_c_gmetad("we_are_the_parent_of_c") {
        assert_sums_reach_the_top(&[Kind::C, Kind::Ours]);
    }
}

/// Three levels with ours on top. With the C daemon on top the sums are lost (defect 9), whoever is below.
#[test]
fn three_levels_lose_no_sums() {
    const TEST: &str = "three_levels_lose_no_sums";
    if under_test_is_c() {
        util::left_out(TEST, "the C gmetad as the program under test loses them (defect 9)");
        return;
    }
    assert_sums_reach_the_top(&[Kind::Ours, Kind::Ours, Kind::Ours]);
    if have_c_gmetad(TEST) {
        assert_sums_reach_the_top(&[Kind::C, Kind::C, Kind::Ours]);
        assert_sums_reach_the_top(&[Kind::C, Kind::Ours, Kind::Ours]);
    }
}

/// `scalable off` shows the clusters of a child in full instead of its sums (5.5).
#[test]
fn scalable_off() {
    if !have_c_gmetad("scalable_off") {
        return;
    }
    let bytes = util::data("grid-input.xml");
    let sources = [FakeGmond::serving(&bytes[..]), FakeGmond::serving(&bytes[..])];
    let start =
        |kind, source: &FakeGmond| Launch::new(kind).line("scalable off").source("grid", 1, source.address()).start();
    let (ours, c) = (start(Kind::Ours, &sources[0]), start(Kind::C, &sources[1]));
    for daemon in [&ours, &c] {
        daemon.wait_source("CA");
        daemon.wait_source("CB");
        daemon.wait_root_summary();
    }
    for line in ["/", "/CA/A1", "/CA?filter=summary"] {
        assert_same_meaning(&ours.tree(line), &c.tree(line), &Options::default());
    }
}

/// A source that went away stays to be seen, aged, and leaves the sums of the root (3.5).
#[test]
fn a_source_that_died() {
    if !have_c_gmetad("a_source_that_died") {
        return;
    }
    let living = FakeGmond::serving_now(document::honest("Living", 2, 3));
    let document = document::honest("Dying", 3, 3);
    let dying = FakeGmond::serving_now(document);
    let start = |kind| Launch::new(kind).source("a", 1, living.address()).source("b", 1, dying.address()).start();
    let (ours, c) = (start(Kind::Ours), start(Kind::C));
    let root_up = |daemon: &Gmetad, up: &str| {
        daemon.wait_tree(&format!("{up} hosts up"), "/?filter=summary", |tree| {
            let hosts = tree.child("GRID")?.child("HOSTS")?;
            (hosts.attribute("UP") == Some(up)).then_some(())
        });
    };
    for daemon in [&ours, &c] {
        root_up(daemon, "5");
        daemon.wait_tree("EXTRA_DATA of both", "/?filter=summary", |tree| {
            let clusters =
                tree.child("GRID")?.all("CLUSTER").filter(|cluster| cluster.count("EXTRA_ELEMENT") == 3).count();
            (clusters == 2).then_some(())
        });
    }
    drop(dying);
    for daemon in [&ours, &c] {
        root_up(daemon, "2");
    }
    for line in ["/Dying", "/?filter=summary"] {
        let options = Options { seconds: 3, ..Options::default() };
        let found = differences(&ours.tree(line), &c.tree(line), &options);
        assert!(found.is_empty(), "{line}:\n{}", compare::list(&found));
    }
}
