//! The helpers of the end-to-end tests, tested themselves: a comparer that cannot see a difference is worth nothing.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

#[allow(dead_code, unreachable_pub, missing_docs, reason = "each test program uses a part of the helpers")]
mod util;

use std::io::Read;
use std::process::{Command, Stdio};

use util::compare::{Options, differences, list};
use util::fake_gmond::{FakeGmond, Reply, ResettingGmond};
use util::xml::{Element, parse, parse_lenient};
use util::{document, net};

fn grid(inside: &str) -> Element {
    parse(format!("<GANGLIA_XML VERSION=\"3.7.2\" SOURCE=\"gmetad\">\n{inside}</GANGLIA_XML>\n").as_bytes()).unwrap()
}

fn found(ours: &str, c: &str) -> String {
    list(&differences(&grid(ours), &grid(c), &Options::default()))
}

#[test]
fn both_parsers_read_a_plain_document_alike() {
    let bytes = util::data("gmetad-dump.xml");
    let tree = parse(&bytes).unwrap();
    assert_eq!(tree, parse_lenient(&bytes).unwrap());
    assert_eq!(tree.count("METRIC"), 32);
}

#[test]
fn the_lenient_parser_reads_raw_values() {
    let tree =
        parse_lenient(b"<GANGLIA_XML A=\"1\">\n<M NAME=\"a & <b> \"q\" 's'\" VAL=\"x=\"1\"\"/>\n</GANGLIA_XML>\n")
            .unwrap();
    let wanted =
        [("NAME", "a & <b> \"q\" 's'"), ("VAL", "x=\"1\"")].map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(tree.children[0].attributes, wanted);
}

#[test]
fn the_strict_parser_refuses_what_is_not_xml() {
    for bad in [
        "<A B=\"&\"/>",
        "<A B=\"<\"/>",
        "<A B=\"1\" B=\"2\"/>",
        "<A>",
        "<A></B>",
        "<A>text</A>",
        "<A/><A/>",
        "",
        "<A B=\"\u{e9}\"/>",
        "<A B=\"&nosuch;\"/>",
    ] {
        parse(bad.as_bytes()).expect_err(bad);
    }
    assert_eq!(parse(b"<A B=\"&#233;&amp;&lt;\"/>").unwrap().attribute("B"), Some("\u{e9}&<"));
}

#[test]
fn every_kind_of_difference_is_found() {
    let metric = "<GRID NAME=\"G\">\n<M NAME=\"m\" VAL=\"1\" TN=\"5\"/>\n</GRID>\n";
    assert_eq!(found(metric, metric), "");
    let changed = [
        ("VAL=\"1\"", "VAL=\"2\"", "GRID[G]/M[m] VAL"),
        ("VAL=\"1\" TN=\"5\"", "TN=\"5\" VAL=\"1\"", "GRID[G]/M[m] attributes"),
        (" TN=\"5\"", "", "GRID[G]/M[m] attributes"),
        ("TN=\"5\"", "TN=\"8\"", "GRID[G]/M[m] TN"),
        ("NAME=\"m\"", "NAME=\"n\"", "GRID[G]/M[m] element"),
        ("<M NAME=\"m\" VAL=\"1\" TN=\"5\"/>\n", "", "GRID[G]/M[m] element"),
    ];
    for (from, to, wanted) in changed {
        let other = metric.replace(from, to);
        assert!(found(metric, &other).contains(wanted), "{from} -> {to}: {}", found(metric, &other));
        assert!(!found(&other, metric).is_empty(), "{to} -> {from}");
    }
}

#[test]
fn clocks_digits_and_the_order_of_siblings_are_forgiven() {
    let same = [
        ("<M TN=\"5\"/>", "<M TN=\"7\"/>"),
        ("<M TN=\"4294967295\"/>", "<M TN=\"1\"/>"),
        ("<M SUM=\"1.75\"/>", "<M SUM=\"2\"/>"),
        ("<M SUM=\"14.125\"/>", "<M SUM=\"14.12\"/>"),
        ("<M SUM=\"-nan\"/>", "<M SUM=\"nan\"/>"),
        ("<M NAME=\"a\"/><M NAME=\"b\"/>", "<M NAME=\"b\"/><M NAME=\"a\"/>"),
    ];
    for (ours, c) in same {
        assert_eq!(found(ours, c), "", "{ours} {c}");
    }
    let extra = |inside: &str| format!("<M NAME=\"m\"><EXTRA_DATA>{inside}</EXTRA_DATA></M>");
    let (a, b) = ("<EXTRA_ELEMENT NAME=\"GROUP\" VAL=\"a\"/>", "<EXTRA_ELEMENT NAME=\"GROUP\" VAL=\"b\"/>");
    assert!(found(&extra(&[a, b].concat()), &extra(&[b, a].concat())).contains("order"));
    for (ours, c) in [
        ("<M SUM=\"1.75\"/>", "<M SUM=\"1.8\"/>"),
        ("<M SUM=\"inf\"/>", "<M SUM=\"-inf\"/>"),
        ("<M SUM=\"0\"/>", "<M SUM=\"1\"/>"),
    ] {
        // 1.75 rounds to 1.8; the two others do not mean the same.
        assert_eq!(found(ours, c).is_empty(), c.contains("1.8"), "{ours} {c}");
    }
}

#[test]
fn documents_are_moved_in_time() {
    let moved =
        document::at_time(b"<C LOCALTIME=\"1000\"><H REPORTED=\"990\" TN=\"1\"/><H REPORTED=\"10\"/></C>", 5000);
    assert_eq!(moved, b"<C LOCALTIME=\"5000\"><H REPORTED=\"4990\" TN=\"1\"/><H REPORTED=\"4010\"/></C>");
}

#[test]
fn the_gzip_bomb_inflates() {
    let bomb = document::gzip_bomb(b"<GANGLIA_XML\xff>", 1_000_000);
    assert!(bomb.len() < 7_000, "{} bytes", bomb.len());
    let mut gzip = Command::new("gzip")
        .arg("-dc")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut gzip.stdin.take().unwrap(), &bomb).unwrap();
    let mut inflated = Vec::new();
    gzip.stdout.take().unwrap().read_to_end(&mut inflated).unwrap();
    gzip.wait().unwrap();
    assert!(inflated.starts_with(b"<GANGLIA_XML\xff>aaaa") && inflated.len() > 990_000, "{} bytes", inflated.len());
}

#[test]
fn sources_do_what_they_are_told() {
    let source = FakeGmond::scripted(|poll| match poll {
        0 => Reply::Bytes(b"whole".to_vec()),
        1 => Reply::Drip(b"drip".to_vec(), std::time::Duration::from_millis(50)),
        _ => Reply::Silence,
    });
    let port = source.address().port();
    assert_eq!(net::dump(port).unwrap(), b"whole");
    assert_eq!(net::dump(port).unwrap(), b"drip");
    let mut client = net::connect(port).unwrap();
    let answer = net::read_answer(&mut client, std::time::Duration::from_millis(300));
    assert_eq!((answer.bytes.len(), answer.ending), (0, net::Ending::StillOpen));
    assert_eq!(source.polls(), 3);
    let resetting = ResettingGmond::start();
    util::wait_until("a connection is reset", util::SOON, || {
        net::connect(resetting.address().port())
            .is_ok_and(|mut client| net::read_answer(&mut client, util::SOON).ending == net::Ending::Reset)
    });
}

#[test]
fn the_limit_of_open_files_is_raised() {
    let files = util::raise_open_files();
    let mut open = Vec::new();
    // As many as a common limit of 1024 forbids, where more are allowed.
    for _ in 0..files.saturating_sub(100).min(1500) {
        open.push(std::fs::File::open("/dev/null").unwrap());
    }
    println!("{files} open files");
}
