//! What HTTP clients get that say what they understand: gzip, entity tags; and that nobody else notices. The program gzip is
//! the judge of what is compressed.
//!
//! Only for our program: the C daemon reads no header.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

#[allow(dead_code, unreachable_pub, missing_docs, reason = "each test program uses a part of the helpers")]
mod util;

use std::io::Write;
use std::thread;
use std::time::{Duration, Instant};

use util::compare::{Options, assert_same_meaning};
use util::daemon::{Gmetad, Launch};
use util::fake_gmond::FakeGmond;
use util::net::{self, After, Answer, Ending};
use util::{document, wait_for};

/// What a request line alone gets.
const PLAIN: &str = "HTTP/1.0 200 OK\r\nServer: gmetad/3.7.2-1\r\nAccess-Control-Allow-Origin: *\r\n\
    Content-Type: application/xml\r\nConnection: close\r\n\r\n";

/// A source that is not polled again within a test, and a daemon with it.
fn polled_once(hosts: usize, metrics: usize) -> (Gmetad, FakeGmond) {
    let source = FakeGmond::serving_now(document::honest("Quiet", hosts, metrics));
    let daemon = Launch::ours().source("quiet", 3600, source.address()).start();
    daemon.wait_source("Quiet");
    (daemon, source)
}

fn get(daemon: &Gmetad, path: &str, headers: &str) -> Answer {
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n");
    let answer = net::ask(daemon.interactive_port(), request.as_bytes(), After::KeepOpen).unwrap();
    assert_eq!(answer.ending, Ending::Closed, "{path}");
    answer
}

/// The value of the one header of this name.
fn header(answer: &Answer, name: &str) -> Option<String> {
    let lines = answer.header();
    let mut values = lines.iter().filter_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    let value = values.next().map(str::to_owned);
    assert_eq!(values.next(), None, "{name} twice: {lines:?}");
    value
}

fn status(answer: &Answer) -> u16 {
    answer.header()[0].split(' ').nth(1).unwrap().parse().unwrap()
}

fn tag(answer: &Answer) -> String {
    header(answer, "ETag").unwrap_or_else(|| panic!("no tag: {:?}", answer.header()))
}

fn ask_with(daemon: &Gmetad, path: &str, tag: &str) -> u16 {
    status(&get(daemon, path, &format!("If-None-Match: {tag}\r\n")))
}

#[test]
fn a_request_line_alone_is_answered_at_once_and_as_ever() {
    let (daemon, _source) = polled_once(5, 3);
    let begins = format!("{PLAIN}<?xml ");
    for late in ["", "Accept-Encoding: gzip\r\nIf-None-Match: *\r\n\r\n"] {
        for line in [
            "GET / HTTP/1.0\r\n",
            "GET / HTTP/1.1\r\n",
            "GET / HTTP/1.0\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: localhost\r\n",
            "GET /Quiet HTTP/1.1\n",
            "GET / HTTP/1.1\r\nAccept-Encoding: gzip",
        ] {
            let mut client = net::connect(daemon.interactive_port()).unwrap();
            client.write_all(line.as_bytes()).unwrap();
            thread::sleep(Duration::from_millis(30));
            let _ = client.write_all(late.as_bytes());
            let answer = net::read_answer(&mut client, util::SOON);
            assert!(answer.bytes.starts_with(begins.as_bytes()), "{line:?}: {:?}", answer.header());
            assert!(answer.bytes.ends_with(b"</GANGLIA_XML>\n"), "{line:?}");
        }
    }
    // Without HTTP there is nothing to negotiate.
    let request = b"/Quiet\r\nAccept-Encoding: gzip\r\nIf-None-Match: *\r\n\r\n";
    let answer = net::ask(daemon.interactive_port(), request, After::KeepOpen).unwrap();
    assert!(answer.bytes.starts_with(b"<?xml "));
}

/// One answer a connection, whatever the client wishes.
#[test]
fn a_connection_is_closed_after_its_answer() {
    let (daemon, _source) = polled_once(5, 3);
    for headers in ["Connection: keep-alive\r\n", "Accept-Encoding: gzip\r\n", "If-None-Match: *\r\n"] {
        let one = format!("GET /Quiet HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n");
        let answer = net::ask(daemon.interactive_port(), one.repeat(2).as_bytes(), After::KeepOpen).unwrap();
        assert_eq!(header(&answer, "Connection").as_deref(), Some("close"));
        let answers = answer.bytes.windows(9).filter(|window| window == b"HTTP/1.0 ").count();
        assert_eq!((answers, answer.ending), (1, Ending::Closed), "{headers}");
    }
}

#[test]
fn a_compressed_answer_means_the_same() {
    let (daemon, _source) = polled_once(1000, 20);
    let same = Options { seconds: 10, ..Options::default() };
    for path in
        ["/", "/Quiet", "/Quiet/node7", "/Quiet/node7/m3", "/?filter=summary", "/Quiet?filter=summary", "/nosuch"]
    {
        let packed = get(&daemon, path, "Accept-Encoding: br, gzip;q=0.8\r\n");
        assert_eq!(header(&packed, "Content-Encoding").as_deref(), Some("gzip"), "{path}");
        assert_eq!(header(&packed, "Vary").as_deref(), Some("Accept-Encoding"), "{path}");
        assert_eq!(header(&packed, "Content-Type").as_deref(), Some("application/xml"), "{path}");
        let plain = get(&daemon, path, "Accept-Encoding: gzip;q=0\r\n");
        assert_eq!(header(&plain, "Content-Encoding"), None, "{path}");
        assert_eq!(header(&plain, "Vary").as_deref(), Some("Accept-Encoding"), "{path}");
        assert_eq!(tag(&plain), tag(&packed), "{path}: weak, so both codings have the same");
        let inflated = document::gunzip(packed.body());
        assert_same_meaning(&daemon.parse(&inflated), &daemon.parse(plain.body()), &same);
        // The same length but for digits of the clock.
        assert!(inflated.len().abs_diff(plain.body().len()) <= 2 * 21_000, "{path}");
        if path == "/" {
            let (long, short) = (inflated.len(), packed.body().len());
            assert!(long > 3_000_000 && short * 8 < long, "{long} became {short}");
        }
    }
}

#[test]
fn who_has_this_state_is_told_so() {
    let (daemon, _source) = polled_once(50, 3);
    let paths = [
        "/",
        "/Quiet",
        "/Quiet/node1",
        "/Quiet/node2",
        "/Quiet/node1/m0",
        "/*/node1",
        "/?filter=summary",
        "/Quiet?filter=summary",
    ];
    let tags = paths.map(|path| tag(&get(&daemon, path, "")));
    for (path, own) in paths.iter().zip(&tags) {
        assert!(own.starts_with("W/\"") && own.ends_with('"'), "{own}");
        let unchanged = get(&daemon, path, &format!("If-None-Match: \"x\", {own}\r\nAccept-Encoding: gzip\r\n"));
        let text = String::from_utf8_lossy(&unchanged.bytes).into_owned();
        assert!(text.starts_with("HTTP/1.0 304 Not Modified\r\n") && text.ends_with("\r\n\r\n"), "{path}: {text}");
        assert!(!text.contains("Content-") && unchanged.body().is_empty(), "{path}: {text}");
        assert_eq!(&tag(&unchanged), own, "{path}");
        assert_eq!(ask_with(&daemon, path, own.trim_start_matches("W/")), 304, "{path}");
        assert_eq!(ask_with(&daemon, path, "*"), 304, "{path}");
        assert_eq!(ask_with(&daemon, path, "W/\"nothing\""), 200, "{path}");
        // A question is never answered with the tag of another.
        for other in tags.iter().filter(|other| *other != own) {
            assert_eq!(ask_with(&daemon, path, other), 200, "{path} {other}");
        }
        assert_eq!(tags.iter().filter(|other| *other == own).count(), 1, "{path}");
    }
    // Another process never takes a tag of this one for its own.
    let (other, _source) = polled_once(50, 3);
    for (path, own) in paths.iter().zip(&tags) {
        assert_eq!(ask_with(&other, path, own), 200, "{path}");
    }
}

#[test]
fn a_poll_ends_the_tags_of_its_cluster() {
    let quiet = FakeGmond::serving_now(document::honest("Quiet", 5, 3));
    let busy = FakeGmond::serving_now(document::honest("Busy", 5, 3));
    let launch = Launch::ours().source("quiet", 3600, quiet.address()).source("busy", 1, busy.address());
    let daemon = launch.start();
    daemon.wait_source("Quiet");
    daemon.wait_source("Busy");
    let of_quiet = tag(&get(&daemon, "/Quiet", ""));
    let began = Instant::now();
    for _ in 0..2 {
        // Between two polls a tag lasts; a poll may come between the two requests, but not each time.
        let lasting = || {
            let (before, own) = (busy.polls(), tag(&get(&daemon, "/Busy", "")));
            let status = ask_with(&daemon, "/Busy", &own);
            (status == 304 && busy.polls() == before).then_some(own)
        };
        let of_busy = wait_for("a tag that lasts", util::SOON, lasting);
        let of_all = tag(&get(&daemon, "/", ""));
        for (path, old) in [("/Busy", of_busy), ("/", of_all)] {
            let new = wait_for("a tag that ends with a poll", util::SOON, || {
                let answer = get(&daemon, path, &format!("If-None-Match: {old}\r\n"));
                (status(&answer) == 200).then(|| tag(&answer))
            });
            assert_ne!(new, old);
        }
        // After a minute without a poll its tag goes with age; on a machine that slow nothing is said here.
        if began.elapsed() < Duration::from_secs(50) {
            assert_eq!(ask_with(&daemon, "/Quiet", &of_quiet), 304);
        }
    }
}

#[test]
fn long_pages_are_compressed_and_have_no_tags() {
    let port = util::free_port();
    let source = FakeGmond::serving_now(document::honest("C", 5, 3));
    let _daemon = Launch::ours().source("c", 1, source.address()).line(format!("http_port {port}")).start();
    let get = |path: &str, headers: &str| {
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n");
        wait_for("the page", util::SOON, || net::ask(port, request.as_bytes(), After::KeepOpen).ok())
    };
    for (path, ends) in [("/metrics", "# EOF\n"), ("/status", "}\r\n")] {
        let (plain, packed) = (get(path, ""), get(path, "Accept-Encoding: gzip, deflate\r\n"));
        assert_eq!((header(&plain, "Content-Encoding"), header(&plain, "ETag")), (None, None), "{path}");
        assert!(plain.body().ends_with(ends.as_bytes()), "{path}");
        assert_eq!(header(&packed, "Content-Encoding").as_deref(), Some("gzip"), "{path}");
        for answer in [&plain, &packed] {
            assert_eq!(header(answer, "Vary").as_deref(), Some("Accept-Encoding"), "{path}");
            assert_eq!(header(answer, "Cache-Control").as_deref(), Some("no-store"), "{path}");
            assert_eq!(header(answer, "Content-Length"), Some(answer.body().len().to_string()), "{path}");
        }
        let inflated = document::gunzip(packed.body());
        assert!(inflated.ends_with(ends.as_bytes()) && packed.body().len() * 2 < inflated.len(), "{path}");
    }
    // Short, and the same for all.
    let index = get("/", "Accept-Encoding: gzip\r\n");
    assert_eq!((header(&index, "Content-Encoding"), header(&index, "Vary")), (None, None));
    let again = get("/", &format!("If-None-Match: {}\r\n", tag(&index)));
    assert_eq!((status(&again), again.body().len()), (304, 0));
}

/// A whole dump at once for each of many, plain and compressed: none of them costs a dump, or the state of a compressor.
#[test]
fn many_readers_of_a_long_answer_cost_little() {
    const EACH: usize = 150;
    if util::raise_open_files() < 1000 {
        return util::left_out("many_readers_of_a_long_answer_cost_little", "fewer than 1000 open files allowed");
    }
    // Values that do not compress well: the answers must be longer than what lies in the sockets.
    let mut state = 1u64;
    let mut noise = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        format!("{state:016x}")
    };
    let now = util::now();
    let hosts: String = (0..500)
        .map(|number| {
            let value = |_| document::metric(&noise(), &(0..12).map(|_| noise()).collect::<String>(), "string", "zero");
            document::host(&format!("node{number}"), now, &(0..20).map(value).collect::<String>())
        })
        .collect();
    let source = FakeGmond::serving(document::of_cluster("Noise", now, &hosts));
    let daemon = Launch::ours().source("noise", 3600, source.address()).start();
    daemon.wait_source("Noise");
    let request = "GET / HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: gzip\r\n\r\n";
    let size = net::ask(daemon.interactive_port(), request.as_bytes(), After::KeepOpen).unwrap().bytes.len();
    assert!(size > 1_000_000, "{size}");
    let (before, _) = daemon.memory();
    // What was answered whole.
    let answered = || {
        let status = String::from_utf8(daemon.query("/status")).unwrap();
        let (_, rest) = status.split_once("\"interactive\":{\"num\":").expect("a counter");
        rest.split(',').next().unwrap().parse::<usize>().unwrap()
    };
    let answered_before = answered();
    let mut clients = Vec::new();
    for line in [request, "/\n"] {
        for _ in 0..EACH {
            let mut client = net::connect(daemon.interactive_port()).unwrap();
            client.write_all(line.as_bytes()).unwrap();
            clients.push(client);
        }
    }
    // All are being answered, and none of them reads. Others are answered all the same.
    thread::sleep(Duration::from_secs(1));
    let clock = Instant::now();
    daemon.tree("/?filter=summary");
    assert!(clock.elapsed() < Duration::from_secs(2), "a summary took {:?}", clock.elapsed());
    let (_, during) = daemon.memory();
    let answered = answered() - answered_before;
    assert!(answered < 10, "{answered} answers were sent whole: they are too short for this test");
    // 64 kB each, once or twice, and the compressors of three threads.
    println!("{} readers: from {before} to {during} MiB", 2 * EACH);
    assert!(during - before < 30, "{} readers made {before} MiB grow to {during} MiB", 2 * EACH);
    for (number, mut client) in clients.into_iter().enumerate().step_by(50) {
        let answer = net::read_answer(&mut client, util::SOON);
        let plain = if number < EACH { document::gunzip(answer.body()) } else { answer.bytes };
        assert!(plain.ends_with(b"</GANGLIA_XML>\n"), "client {number}");
    }
}
