//! The pages of a running daemon, asked over plain sockets.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use gmetad_core::Gmetad;
use gmetad_core::conf::Config;
use gmetad_core::source::Address;
use gmetad_http::Pages;
use serde_json::Value;

const C_STATUS: &str = include_str!("data/c-status.txt");

/// A daemon with a source that nobody answers for, and its ports.
fn start() -> (Gmetad, SocketAddr, SocketAddr) {
    let builder = Gmetad::builder()
        .grid("Test \"Grid\"", "")
        .interactive("127.0.0.1:0".parse().expect("address"))
        .source("one\"\\\u{2028}", Duration::from_secs(15), vec![Address::new("127.0.0.1", 1)]);
    let pages = Pages::new();
    let builder = pages.port(pages.status(builder), "127.0.0.1:0".parse().expect("address"));
    let gmetad = builder.start().expect("started");
    while gmetad.sources().iter().any(|source| source.alive.is_none()) {
        std::thread::sleep(Duration::from_millis(5));
    }
    let port = |name| gmetad.port(name).expect("bound");
    let (http, interactive) = (port("http_port"), port("interactive_port"));
    (gmetad, http, interactive)
}

/// Head and body of the answer to these bytes.
fn ask(address: SocketAddr, request: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).expect("connected");
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("set");
    stream.write_all(request.as_bytes()).expect("sent");
    read(stream)
}

fn read(mut stream: TcpStream) -> (String, String) {
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let bare = head.replace("\r\n", "").contains(['\r', '\n']);
    assert!(!(head.starts_with("HTTP/") && bare), "{head}");
    (head.to_owned(), body.to_owned())
}

fn get(address: SocketAddr, path: &str) -> (String, String) {
    ask(address, &format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"))
}

fn status(head: &str) -> &str {
    head.split(' ').nth(1).expect("a status line")
}

/// The keys of a JSON text in their order, as paths. Written for texts without escapes, as C's is.
fn keys(json: &str) -> Vec<String> {
    let (mut path, mut out, mut last) = (Vec::new(), Vec::new(), String::new());
    let mut rest = json;
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        match c {
            '"' => {
                let end = rest.find('"').expect("a closing quote");
                if rest[end + 1..].starts_with(':') {
                    last = rest[..end].to_owned();
                    out.push([path.join("."), last.clone()].join("."));
                }
                rest = &rest[end + 1..];
            }
            '{' => path.push(last.clone()),
            '}' => drop(path.pop()),
            _ => {}
        }
    }
    out
}

#[test]
fn status_has_the_keys_of_c_in_its_order() {
    let (gmetad, http, interactive) = start();
    let (head, body) = get(http, "/status");
    assert_eq!(status(&head), "200");
    let json: Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!(json["gridname"], "Test \"Grid\"");
    assert_eq!(json["version"], "3.7.2-1");
    assert_eq!(json["sources"][0]["name"], "one\"\\\u{2028}");
    assert_eq!(json["sources"][0]["state"], "down");
    assert_eq!(json["sources"][0]["failures"], 1);
    assert_eq!(json["metrics"]["polls"]["failed"]["num"], 1);
    if cfg!(target_os = "linux") {
        assert!(json["metrics"]["memory"]["mem_total"].as_f64().expect("a number") > 0.0);
        assert!(json["metrics"]["cpu"]["cpu_num"].as_u64().expect("a number") > 0);
    }
    let theirs = C_STATUS.split_once("\r\n\r\n").expect("a head").1;
    let theirs = keys(theirs);
    assert_eq!(theirs.len(), 103);
    let ours = body.replace("\\\"", "").replace("\\\\", "");
    let ours = keys(&ours);
    assert_eq!(ours[..theirs.len()], theirs);
    assert_eq!(ours[theirs.len()..theirs.len() + 2], [".program_version", ".sources"]);

    // The interactive port: without HTTP, with a header all the same, and the requests before counted.
    ask(interactive, "/?filter=summary\n");
    let (head, body) = ask(interactive, "/status\n");
    assert!(
        head.starts_with("HTTP/1.0 200 OK\r\nContent-Type: application/json\r\nServer: gmetad/3.7.2-1\r\n"),
        "{head}"
    );
    let json: Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!(json["metrics"]["requests"]["interactive"]["num"], 1);
    gmetad.stop(Duration::from_secs(5)).expect("every thread ended");
}

#[test]
fn faults_22_callbacks_are_names() {
    let (gmetad, http, interactive) = start();
    for answer in [get(http, "/status?callback=$.f_1"), ask(interactive, "GET /status?callback=f.f_1 HTTP/1.0\r\n\r\n")]
    {
        assert!(answer.0.contains("Content-Type: application/javascript\r\n"), "{}", answer.0);
        assert!(answer.1.starts_with("/**/") && answer.1.ends_with(");\r\n"), "{}", answer.1);
        assert!(!answer.1.contains('\u{2028}') && answer.1.contains("\\u2028"), "{}", answer.1);
    }
    for answer in [
        get(http, "/status?callback=alert(1)//"),
        get(http, "/status?callback=%3Cscript%3E%0d%0a"),
        ask(interactive, "/status?callback=alert(1)\n"),
    ] {
        assert!(answer.0.contains("Content-Type: application/json\r\n"), "{}", answer.0);
        serde_json::from_str::<Value>(&answer.1).expect("plain JSON");
    }
    gmetad.stop(Duration::from_secs(5)).expect("every thread ended");
}

#[test]
fn the_http_port_answers_every_request() {
    let (gmetad, http, _) = start();
    let (head, body) = get(http, "/");
    assert!(status(&head) == "200" && body.contains("<a href=\"/metrics\">"), "{head}\n{body}");
    let tag = head.lines().find_map(|line| line.strip_prefix("ETag: ")).expect("a tag");
    let again = format!("GET / HTTP/1.1\r\nHost: localhost\r\nIf-None-Match: {tag}\r\n\r\n");
    let (head, body) = ask(http, &again);
    assert_eq!((status(&head), body.as_str()), ("304", ""));

    let (head, body) = ask(http, "HEAD /status HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");
    assert_eq!((status(&head), body.as_str()), ("200", ""));
    assert!(head.contains("\r\nContent-Length: "), "{head}");

    let (head, body) = get(http, "/nothing");
    assert_eq!((status(&head), body.as_str()), ("404", "No such page. There are:\n/\n/status\n/metrics\n"));

    let large = format!("GET /{} HTTP/1.1\r\nHost: localhost\r\n\r\n", "a".repeat(9000));
    for (request, expected) in [
        ("GET /status HTTP/1.1\r\nHost: evil.example\r\n\r\n", "421"),
        ("GET /status HTTP/1.1\r\nHost: localhost\r\nSec-Fetch-Site: cross-site\r\n\r\n", "403"),
        ("POST /status HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc", "405"),
        ("GET /status\r\n\r\n", "400"),
        ("\u{16}\u{3}\u{1}\0\0", "400"),
        (&large, "431"),
    ] {
        assert_eq!(status(&ask(http, request).0), expected, "{request:?}");
    }
    gmetad.stop(Duration::from_secs(5)).expect("every thread ended");
}

#[test]
fn a_half_sent_head_waits_for_its_rest_and_delays_nobody() {
    let (gmetad, http, _) = start();
    let mut half = TcpStream::connect(http).expect("connected");
    half.write_all(b"GET /status HTTP/1.1\r\nHo").expect("sent");
    assert_eq!(status(&get(http, "/status").0), "200");
    half.write_all(b"st: localhost\r\n\r\n").expect("sent");
    assert_eq!(status(&read(half).0), "200");

    let mut half = TcpStream::connect(http).expect("connected");
    half.write_all(b"GET /status HTTP/1.1\r\nHo").expect("sent");
    half.shutdown(Shutdown::Write).expect("shut down");
    assert_eq!(status(&read(half).0), "400");
    gmetad.stop(Duration::from_secs(5)).expect("every thread ended");
}

#[test]
fn the_configuration_says_where() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr().expect("bound");
    let mut config = Config { http_port: free.port(), interactive_port: 0, xml_port: 0, ..Config::default() };
    let gmetad = gmetad_http::with_pages(Gmetad::builder().config(&config), &config).start().expect("started");
    assert_eq!(gmetad.port("http_port"), Some(free));
    assert_eq!(status(&get(free, "/status").0), "200");
    gmetad.stop(Duration::from_secs(5)).expect("every thread ended");
    config.http_port = 0;
    let gmetad = gmetad_http::with_pages(Gmetad::builder().config(&config), &config).start().expect("started");
    assert_eq!(gmetad.port("http_port"), None);
    gmetad.stop(Duration::from_secs(5)).expect("every thread ended");
}

#[test]
fn metrics_are_openmetrics() {
    let (gmetad, http, _) = start();
    let (head, body) = get(http, "/metrics");
    let content_type = "Content-Type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n";
    assert!(status(&head) == "200" && head.contains(content_type), "{head}");
    check_openmetrics(&body);
    for line in [
        "gmetad_source_up{source=\"one\\\"\\\\\u{2028}\"} 0\n",
        "gmetad_source_failures_total{source=\"one\\\"\\\\\u{2028}\"} 1\n",
        "gmetad_poll_duration_seconds_count{result=\"failed\"} 1\n",
        "gmetad_request_duration_seconds_count{port=\"http\"} 0\n",
    ] {
        assert!(body.contains(line), "{line}{body}");
    }
    let (_, body) = get(http, "/metrics");
    assert!(body.contains("gmetad_request_duration_seconds_count{port=\"http\"} 1\n"), "{body}");
    gmetad.stop(Duration::from_secs(5)).expect("every thread ended");
}

/// The rules of OpenMetrics 1.0 that a writer can break: one block a family, suffixes by type, no series twice, labels
/// well-formed, `# EOF` last.
fn check_openmetrics(text: &str) {
    let text = text.strip_suffix("# EOF\n").expect("# EOF last");
    let (mut families, mut series) = (std::collections::HashSet::new(), std::collections::HashSet::new());
    let (mut family, mut kind) = ("", "");
    let is_name = |name: &str| {
        name.starts_with(|c: char| c.is_ascii_lowercase())
            && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
    };
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            (family, kind) = rest.split_once(' ').expect("name and type");
            assert!(is_name(family) && families.insert(family), "{line}");
        } else if let Some(rest) = line.strip_prefix("# HELP ") {
            assert!(rest.starts_with(&format!("{family} ")), "{line}");
        } else {
            let (id, value) = line.rsplit_once(' ').expect("series and value");
            assert!(value.parse::<f64>().expect("a number").is_finite(), "{line}");
            assert!(series.insert(id), "twice: {line}");
            let (name, labels) = id.split_once('{').unwrap_or((id, "}"));
            let suffix = name.strip_prefix(family).expect("a sample of the family");
            let suffixes: &[&str] = match kind {
                "counter" => &["_total"],
                "summary" => &["_count", "_sum"],
                "info" => &["_info"],
                "gauge" => &[""],
                _ => &[],
            };
            assert!(suffixes.contains(&suffix), "{line}");
            check_labels(labels.strip_suffix('}').expect("a closing brace"));
        }
    }
}

fn check_labels(mut labels: &str) {
    while !labels.is_empty() {
        let (name, rest) = labels.split_once("=\"").expect("a label");
        assert!(name.chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{labels}");
        let mut escaped = false;
        let end = rest.find(|c| {
            let closes = c == '"' && !escaped;
            assert!(!escaped || matches!(c, '\\' | '"' | 'n'), "{labels}");
            escaped = c == '\\' && !escaped;
            closes
        });
        let rest = &rest[end.expect("a closing quote") + 1..];
        labels = rest.strip_prefix(',').unwrap_or(rest);
    }
}
