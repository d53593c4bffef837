//! Sources and clients that mean harm, or are broken. Each test has an honest source beside them, and it is that one which
//! decides: it misses no poll, its data is shown in full, a summary is answered at once, memory stays small.
//!
//! Only for our program; the C daemon crashes, hangs or grows without end in most of these (reference, section 9).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

#[allow(dead_code, unreachable_pub, missing_docs, reason = "each test program uses a part of the helpers")]
mod util;

use std::io::{self, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use util::daemon::{Gmetad, Launch};
use util::fake_gmond::{FakeGmond, Reply, ResettingGmond};
use util::{document, net, rrd};

const HOSTS: usize = 20;
const METRICS: usize = 10;

/// A daemon with an honest source, polled every second, and whatever else a test brings.
struct Stage {
    daemon: Gmetad,
    honest: FakeGmond,
    hosts: usize,
    since: Instant,
}

impl Stage {
    /// Starts it with further sources and waits until the honest one is shown.
    fn start(more: impl FnOnce(Launch) -> Launch) -> Self {
        Self::with_honest(HOSTS, more)
    }

    fn with_honest(hosts: usize, more: impl FnOnce(Launch) -> Launch) -> Self {
        let honest = FakeGmond::serving_now(document::honest("Honest", hosts, METRICS));
        let daemon = more(Launch::ours().source("honest", 1, honest.address())).start();
        let since = Instant::now();
        daemon.wait_source("Honest");
        Self { daemon, honest, hosts, since }
    }

    /// Waits for two more polls of the honest source and looks whether all is well.
    fn check(&mut self) {
        self.honest.wait_polls(2);
        assert!(self.daemon.running(), "the daemon has ended:\n{}", self.daemon.log());
        let gap = self.honest.longest_gap(self.since);
        assert!(gap < Duration::from_millis(2900), "the honest source was not polled for {gap:?}, its interval is 1 s");

        let asked = Instant::now();
        let summary = self.daemon.tree("/?filter=summary");
        assert!(asked.elapsed() < Duration::from_secs(1), "a summary took {:?}", asked.elapsed());
        let up =
            summary.at(&[("GRID", ""), ("CLUSTER", "Honest"), ("HOSTS", "")]).and_then(|hosts| hosts.attribute("UP"));
        assert_eq!(up, Some(self.hosts.to_string().as_str()), "honest hosts up");

        // Two polls ago at most: nobody keeps the honest data from being renewed.
        let shown = self.daemon.tree("/Honest");
        let cluster = shown.at(&[("GRID", ""), ("CLUSTER", "Honest")]).expect("the honest cluster");
        assert_eq!(cluster.count("METRIC"), self.hosts * METRICS, "honest metrics");
        let age = util::now().saturating_sub(cluster.attribute("LOCALTIME").unwrap().parse().unwrap());
        assert!(age <= 4, "the honest data is {age} s old");

        let (_, peak) = self.daemon.memory();
        assert!(peak < 700, "peak of resident memory: {peak} MiB");
    }

    /// [`Stage::check`], after `source` has been polled `polls` more times.
    fn check_after(&mut self, source: &FakeGmond, polls: usize) {
        source.wait_polls(polls);
        self.check();
    }
}

/// A hostile source of interval 1 that sends `bytes` again and again, until it was heard three times.
fn survives(bytes: impl Into<Vec<u8>>) -> Stage {
    let source = FakeGmond::serving(bytes);
    let mut stage = Stage::start(|launch| launch.source("hostile", 1, source.address()));
    // The second poll of a source begins after the first has been dealt with.
    stage.check_after(&source, 2);
    stage
}

/// `GANGLIA_XML` and its cluster around something.
fn within_cluster(name: &str, inside: &str) -> Vec<u8> {
    document::of_cluster(name, util::now(), inside)
}

#[test]
fn every_capture_as_input_plain_and_gzipped() {
    let mut sources = Vec::new();
    for entry in std::fs::read_dir(util::data_dir()).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        sources.push(FakeGmond::serving(document::gzip(&bytes)));
        sources.push(FakeGmond::serving(bytes));
    }
    assert!(sources.len() > 30);
    let mut stage = Stage::start(|launch| {
        sources.iter().enumerate().fold(launch, |launch, (number, source)| launch.source(number, 1, source.address()))
    });
    for source in &sources {
        util::wait_until("each source is polled three times", util::SOON, || source.polls() >= 3);
    }
    for name in ["Test Cluster", "C1", "Sub & Grid", "Test Grid"] {
        stage.daemon.wait_source(name);
    }
    stage.check();
    stage.daemon.parse(&stage.daemon.dump());
}

/// Cuts a document at each tenth byte (each byte in the long run). What was polled in full before stays, and nothing of a cut
/// document is ever shown: a poll is published whole or not at all.
#[test]
fn documents_cut_anywhere() {
    const SOURCES: usize = 64;
    let text = |name: &str, value: &str| {
        let metrics: String =
            (0..8).map(|number| document::metric(&format!("m{number}"), value, "float", "both")).collect();
        let now = util::now();
        document::of_cluster(name, now, &document::host("cut.example.org", now, &metrics))
    };
    let step = if util::long() { 1 } else { 10 };
    let length = text("Cut 00", "9.99").len() - "</GANGLIA_XML>\n".len();
    let next = Arc::new(AtomicUsize::new(0));
    let sources: Vec<_> = (0..SOURCES)
        .map(|number| {
            let next = Arc::clone(&next);
            FakeGmond::scripted(move |poll| {
                let name = format!("Cut {number:02}");
                Reply::Bytes(if poll == 0 {
                    text(&name, "1.00")
                } else {
                    let cut = (next.fetch_add(1, Ordering::Relaxed) * step) % length;
                    let mut bytes = text(&name, "9.99");
                    bytes.truncate(cut);
                    bytes
                })
            })
        })
        .collect();
    let mut stage = Stage::start(|launch| {
        sources.iter().enumerate().fold(launch, |launch, (number, source)| launch.source(number, 1, source.address()))
    });
    let limit = util::SOON + Duration::from_secs((length / step / SOURCES) as u64 * 2);
    util::wait_until("every cut has been sent", limit, || {
        next.load(Ordering::Relaxed) * step >= length + SOURCES * step
    });
    stage.check();
    let dump = stage.daemon.dump();
    assert!(!String::from_utf8_lossy(&dump).contains("9.99"), "a part of a document that was cut is shown");
    let tree = stage.daemon.parse(&dump);
    for number in 0..SOURCES {
        let cluster =
            tree.at(&[("GRID", ""), ("CLUSTER", &format!("Cut {number:02}"))]).expect("the first document stays");
        assert_eq!(cluster.count("METRIC"), 8, "Cut {number:02}");
    }
}

#[test]
fn nothing_at_all() {
    survives(Vec::new());
}

#[test]
fn eighty_thousand_attributes() {
    let attributes: String = (0..80_000).map(|number| format!(" A{number}=\"x\"")).collect();
    let host = document::host("h", util::now(), "").replace(" IP=", &format!("{attributes} IP="));
    survives(within_cluster("Attributes", &host));
}

/// The same attribute name 80,000 times: a parser that looks for duplicates pairwise needs 3 billion comparisons.
#[test]
fn eighty_thousand_equal_attributes() {
    let host = document::host("h", util::now(), "").replace(" IP=", &format!("{} IP=", " A=\"x\"".repeat(80_000)));
    survives(within_cluster("Attributes", &host));
}

/// A tag of 1 GiB, streamed. The first connection gets it; later ones get nothing.
#[test]
fn a_gibibyte_without_an_end_of_tag() {
    endless(b"<GANGLIA_XML VERSION=\"", 1 << 30);
}

/// A gibibyte of well-formed but useless text: comments.
#[test]
fn a_gibibyte_of_comments() {
    endless(b"<GANGLIA_XML VERSION=\"3.7.2\" SOURCE=\"gmond\">\n<!-- --><!-- --><!-- -->", 1 << 30);
}

fn endless(head: &'static [u8], size: usize) {
    let done = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&done);
    let source = FakeGmond::scripted(move |poll| {
        if poll > 0 {
            return Reply::Bytes(Vec::new());
        }
        let done = Arc::clone(&told);
        Reply::Stream(Box::new(move |stream| {
            let result = stream_of(stream, head, size);
            done.store(true, Ordering::Relaxed);
            result
        }))
    });
    let mut stage = Stage::start(|launch| launch.source("hostile", 1, source.address()));
    util::wait_until("the daemon has read it or left", util::SOON * 3, || done.load(Ordering::Relaxed));
    stage.check_after(&source, 2);
}

fn stream_of(stream: &mut TcpStream, head: &[u8], size: usize) -> io::Result<()> {
    let tail = if head.ends_with(b"-->") { &b"<!-- aaaaaaaa -->"[..] } else { b"a" };
    let piece = tail.repeat((1 << 20) / tail.len());
    stream.write_all(head)?;
    for _ in 0..size / piece.len() {
        stream.write_all(&piece)?;
    }
    Ok(())
}

#[test]
fn an_entity_bomb() {
    let mut text = "<?xml version=\"1.0\"?>\n<!DOCTYPE GANGLIA_XML [\n<!ENTITY e0 \"ha\">\n".to_owned();
    for level in 1..30 {
        text += &format!("<!ENTITY e{level} \"{}\">\n", format!("&e{};", level - 1).repeat(10));
    }
    text += "]>\n<GANGLIA_XML VERSION=\"3.7.2\" SOURCE=\"gmond\"><CLUSTER NAME=\"&e29;\" LOCALTIME=\"1\">&e29;</CLUSTER></GANGLIA_XML>\n";
    survives(text);
}

#[test]
fn a_gzip_bomb() {
    survives(document::gzip_bomb(b"<GANGLIA_XML VERSION=\"", 1 << 30));
}

/// A truncated gzip stream makes the C daemon spin (defect 8).
#[test]
fn truncated_gzip() {
    let whole = document::gzip(&util::data("gmond.xml"));
    let lengths = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&lengths);
    let sources: Vec<_> = (0..8)
        .map(|_| {
            let (whole, counter) = (whole.clone(), Arc::clone(&counter));
            FakeGmond::scripted(move |_| {
                let number = counter.fetch_add(1, Ordering::Relaxed);
                let length = if number < 32 { number } else { number * 97 % whole.len() };
                Reply::Bytes(whole[..length].to_vec())
            })
        })
        .collect();
    let mut stage = Stage::start(|launch| {
        sources.iter().enumerate().fold(launch, |launch, (number, source)| launch.source(number, 1, source.address()))
    });
    util::wait_until("64 lengths", util::SOON * 2, || lengths.load(Ordering::Relaxed) >= 64);
    let (clock, used) = (Instant::now(), stage.daemon.cpu());
    stage.check();
    let (clock, used) = (clock.elapsed(), stage.daemon.cpu() - used);
    assert!(used < clock / 2, "{used:?} of processor time in {clock:?}");
}

/// One byte every 9 s keeps the C daemon reading for ever, silence and a reset are ordinary; the others go on meanwhile.
#[test]
fn sources_that_hang() {
    let drip = FakeGmond::scripted(|_| Reply::Drip(util::data("gmond.xml"), Duration::from_secs(9)));
    let fast_drip = FakeGmond::scripted(|_| Reply::Drip(util::data("gmond.xml"), Duration::from_millis(100)));
    let silent = FakeGmond::silent();
    let resetting = ResettingGmond::start();
    let refused = std::net::SocketAddr::from(([127, 0, 0, 1], util::free_port()));
    let mut stage = Stage::start(|launch| {
        let launch = launch.source("drip", 1, drip.address()).source("fast drip", 1, fast_drip.address());
        let launch = launch.source("silent", 1, silent.address()).source("reset", 1, resetting.address());
        launch.source("refused", 1, refused).line(format!("data_source \"failover\" 1 {refused} {}", silent.address()))
    });
    util::wait_until("all were polled", util::SOON, || {
        [&drip, &fast_drip, &silent].iter().all(|source| source.polls() > 0)
    });
    let polls = if util::long() { 40 } else { 4 };
    stage.honest.wait_polls(polls);
    stage.check();
    if util::long() {
        // The limit on a whole poll, not only on the time between two bytes.
        util::wait_until("the dripping source is given up", Duration::from_secs(120), || fast_drip.polls() > 1);
    }
}

#[test]
fn names_stay_within_the_rrd_root() {
    let now = util::now();
    let metric = |name: &str| document::metric(name, "1.00", "float", "both");
    let long = "n".repeat(300);
    let names = [
        "..",
        ".",
        "",
        "/",
        "../x",
        "../../x",
        "a/b",
        "/abs",
        "a/../../../x",
        "&#0;",
        "&#10;",
        "x\\..",
        &long,
        "__SummaryInfo__",
        "-r",
        "~",
    ];
    let hostile_metrics: String = names.iter().map(|name| metric(name)).collect();
    let metrics = hostile_metrics + &metric("fine");
    let documents = names.iter().map(|name| {
        let hosts: String =
            names.iter().filter(|host| **host != "&#0;").map(|host| document::host(host, now, &metric("m"))).collect();
        document::of_cluster(name, now, &(hosts + &document::host("good", now, &metrics.replace("&#0;", "zero"))))
    });
    let mut documents: Vec<_> = documents.collect();
    documents.push(document::of_cluster("Good", now, &document::host("good", now, &metrics.replace("&#0;", "zero"))));
    let grid = |name: &str| {
        let text = format!(
            "<GRID NAME=\"{name}\" AUTHORITY=\"a\" LOCALTIME=\"{now}\">\n<HOSTS UP=\"1\" DOWN=\"0\" SOURCE=\"gmetad\"/>\n\
             <METRICS NAME=\"../../m\" SUM=\"1\" NUM=\"1\" TYPE=\"double\" UNITS=\"\" SLOPE=\"both\" SOURCE=\"gmond\"/>\n</GRID>\n"
        );
        let text = format!("<GANGLIA_XML VERSION=\"3.7.2\" SOURCE=\"gmetad\">\n{text}</GANGLIA_XML>\n");
        [document::prolog(), text.into_bytes()].concat()
    };
    documents.extend(["../../grid", "/grid", ".."].map(grid));
    let sources: Vec<_> = documents.into_iter().map(FakeGmond::serving_now).collect();
    let mut stage = Stage::start(|launch| {
        let launch = launch.with_rrds();
        sources.iter().enumerate().fold(launch, |launch, (number, source)| launch.source(number, 1, source.address()))
    });
    for source in &sources {
        util::wait_until("three polls of each", util::SOON, || source.polls() >= 4);
    }
    let root = stage.daemon.rrd_root();
    for file in ["Honest/node0/m0.rrd", "Honest/__SummaryInfo__/m0.rrd", "Good/good/fine.rrd", "__SummaryInfo__/m0.rrd"]
    {
        util::wait_until(&format!("{file} exists"), util::SOON * 2, || root.join(file).is_file());
    }
    stage.check();
    let allowed = |name: &String| {
        ["deep/", "deep/er/", "gmetad.conf", "log"].contains(&name.as_str())
            || name.starts_with("deep/er/rrds/")
            || name.starts_with("state/")
    };
    let outside: Vec<_> = rrd::tree(stage.daemon.dir()).into_iter().filter(|name| !allowed(name)).collect();
    assert!(outside.is_empty(), "outside the RRD root: {outside:?}");
    for place in ["/x", "/x.rrd", "/abs", "/grid", "/abs.rrd"] {
        assert!(!std::path::Path::new(place).exists(), "{place}");
    }
    let state = rrd::tree(&stage.daemon.dir().join("state"));
    assert!(!state.iter().any(|name| name.ends_with(".rrd")), "{state:?}");
}

#[test]
fn three_hundred_thousand_nested_grids() {
    let mut text = "<GANGLIA_XML VERSION=\"3.7.2\" SOURCE=\"gmetad\">\n".to_owned();
    text += &"<GRID NAME=\"g\" LOCALTIME=\"1\">".repeat(300_000);
    text += &"</GRID>".repeat(300_000);
    text += "</GANGLIA_XML>\n";
    survives(text);
    let mut open = "<GANGLIA_XML VERSION=\"3.7.2\" SOURCE=\"gmetad\">\n".to_owned();
    open += &"<GRID NAME=\"g\" LOCALTIME=\"1\">".repeat(300_000);
    survives(open);
}

/// Elements in the wrong place or without what they need crash the C daemon (defect 2). Damage costs the element it is in.
#[test]
fn missing_attributes_and_misplaced_elements() {
    let now = util::now();
    let fine = document::metric("fine", "1.00", "float", "both");
    let metrics = "<METRIC VAL=\"1\" TYPE=\"float\"/><METRIC NAME=\"a\" TYPE=\"float\"/><METRIC NAME=\"b\" VAL=\"1\"/><METRIC/>\
         <EXTRA_DATA><EXTRA_ELEMENT/></EXTRA_DATA><EXTRA_ELEMENT NAME=\"x\"/><HOSTS/><METRICS/>";
    let hosts = format!(
        "<METRIC NAME=\"homeless\" VAL=\"1\" TYPE=\"float\"/><HOST/><HOST IP=\"1.2.3.4\">{fine}</HOST>{}",
        document::host("good", now, &format!("{metrics}{fine}"))
    );
    let partly = FakeGmond::serving_now(document::of_cluster("Partly", now, &hosts));
    let wrap =
        |inside: &str| format!("<GANGLIA_XML VERSION=\"3.7.2\" SOURCE=\"gmond\">{inside}</GANGLIA_XML>\n").into_bytes();
    let host = document::host("lost", now, &fine);
    let sources = [
        wrap(&host),
        wrap(&format!("<CLUSTER>{host}</CLUSTER>")),
        wrap("<CLUSTER/><GRID/><HOST/><METRIC/>"),
        within_cluster("Nested", &document::host("odd", now, &format!("<CLUSTER/><GRID/><HOST/>{fine}"))),
        wrap(&format!("<GRID>{host}</GRID>")),
        wrap(&format!("<GRID NAME=\"g\"><CLUSTER>{host}</CLUSTER><METRICS/><HOSTS/></GRID>")),
        b"<GANGLIA_XML/>".to_vec(),
        b"<GANGLIA_XML>".to_vec(),
        b"</GANGLIA_XML>".to_vec(),
        b"\xff\xfe<\0G\0".to_vec(),
        b"\0\0\0".to_vec(),
        [util::data("gmond.xml"), util::data("gmond.xml")].concat(),
        fine.into_bytes(),
    ]
    .map(FakeGmond::serving);
    let mut stage = Stage::start(|launch| {
        let launch = launch.source("partly", 1, partly.address());
        sources.iter().enumerate().fold(launch, |launch, (number, source)| launch.source(number, 1, source.address()))
    });
    for source in &sources {
        util::wait_until("three polls of each", util::SOON, || source.polls() >= 3);
    }
    stage.daemon.wait_source("Partly");
    let tree = stage.daemon.tree("/Partly/good/fine");
    let metric = tree.at(&[("GRID", ""), ("CLUSTER", "Partly"), ("HOST", "good"), ("METRIC", "fine")]);
    assert_eq!(metric.and_then(|metric| metric.attribute("VAL")), Some("1.00"));
    stage.check();
    stage.daemon.parse(&stage.daemon.dump());
}

/// Values that overflow the buffers of the C daemon (defects 4, 5 and 24).
#[test]
fn monstrous_values() {
    let now = util::now();
    let values = [
        "1e300",
        "-1e308",
        "1e-300",
        &"9".repeat(400),
        &format!("0.{}", "3".repeat(600)),
        "nan",
        "-inf",
        "",
        "0x",
        "1e999999999",
    ];
    let kinds = ["int8", "uint32", "float", "double", "string", "timestamp"];
    let mut metrics = document::metric("fine", "1.00", "float", "both");
    for (number, value) in values.iter().enumerate() {
        for kind in kinds {
            metrics += &document::metric(&format!("{kind}{number}"), value, kind, "both");
        }
    }
    metrics += &document::metric("megabyte", &"v".repeat(1 << 20), "string", "both");
    let extra: String =
        (0..5000).map(|number| format!("<EXTRA_ELEMENT NAME=\"E{number}\" VAL=\"{number}\"/>\n")).collect();
    metrics +=
        &document::metric("extra", "1", "int32", "both").replace("<EXTRA_DATA>\n", &format!("<EXTRA_DATA>\n{extra}"));
    metrics += &document::metric("numbers", "1", "int32", "both")
        .replace("TN=\"1\" TMAX=\"60\"", "TN=\"99999999999999999999\" TMAX=\"-1\"");
    let source = FakeGmond::serving_now(document::of_cluster("Monsters", now, &document::host("good", now, &metrics)));
    let mut stage = Stage::start(|launch| launch.with_rrds().source("monsters", 1, source.address()));
    stage.daemon.wait_source("Monsters");
    stage.check_after(&source, 3);
    let tree = stage.daemon.parse(&stage.daemon.dump());
    let host = tree.at(&[("GRID", ""), ("CLUSTER", "Monsters"), ("HOST", "good")]).expect("the host");
    let value =
        |name: &str| host.all("METRIC").find(|metric| metric.name() == name).and_then(|metric| metric.attribute("VAL"));
    assert_eq!(value("fine"), Some("1.00"));
    assert_eq!(value("double0"), Some("1e300"), "a large number is still a number");
    stage.daemon.parse(&stage.daemon.query("/Monsters?filter=summary"));
}

/// Clients that connect and stay silent, and clients that ask for much and never read it (defect 7).
#[test]
fn idle_clients_and_clients_that_never_read() {
    const TEST: &str = "idle_clients_and_clients_that_never_read";
    const WANTED: usize = 10_000;
    const READERS: usize = 200;
    let files = usize::try_from(util::raise_open_files()).unwrap();
    let idle = WANTED.min(files.saturating_sub(READERS + 800));
    if idle < 2_000 {
        util::left_out(TEST, &format!("only {files} open files allowed"));
        return;
    }
    println!("{idle} idle clients");
    let mut stage = Stage::with_honest(1000, |launch| launch);
    let mut clients = Vec::new();
    // A connection refused or closed at once is the daemon's good right; what counts is how the others fare.
    for _ in 0..READERS {
        clients.extend(net::connect(stage.daemon.xml_port()));
    }
    assert!(clients.len() > READERS / 2, "only {} connections to the XML port", clients.len());
    stage.check();
    let mut refused = 0;
    for number in 0..idle {
        match net::connect(stage.daemon.interactive_port()) {
            Ok(mut client) => {
                // A third says nothing, a third half a request, a third asks for everything and does not read it.
                let _ = match number % 3 {
                    0 => Ok(()),
                    1 => client.write_all(b"/Honest/no"),
                    _ => client.write_all(b"/\n"),
                };
                clients.push(client);
            }
            Err(error) => {
                refused += 1;
                assert!(refused < 20, "{refused} of {number} connections came to nothing, the last: {error}");
            }
        }
    }
    stage.check();
    assert_eq!(stage.daemon.parse(&stage.daemon.dump()).count("HOST"), 1000, "the XML port still answers in full");
    let used = stage.daemon.cpu();
    let clock = Instant::now();
    stage.check();
    let used = stage.daemon.cpu() - used;
    assert!(used < clock.elapsed(), "{used:?} of processor time in {:?} with idle clients", clock.elapsed());
    drop(clients);
    stage.check();
}
