//! Ports and threads of a running daemon under clients and sources that do not behave.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "a test fails by panicking")]

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use gmetad_core::conf::Config;
use gmetad_core::daemon::Builder;
use gmetad_core::plugin::PluginError;
use gmetad_core::serve::{Service, Session};
use gmetad_core::source::{Source, Stop};
use gmetad_core::{Gmetad, GmondReader, Plugin, PollError, ReaderOptions, SourceSnapshot, Transaction};

const LONG: Duration = Duration::from_secs(10);

/// A source with hosts enough for an answer of some MB.
struct Memory(GmondReader);

impl Source for Memory {
    fn poll(&mut self, now: i64, _stop: &Stop) -> Result<SourceSnapshot, PollError> {
        let hosts: String = (0..5000)
            .map(|n| format!("<HOST NAME=\"h{n}\" TMAX=\"20\"><METRIC NAME=\"m\" VAL=\"1\" TYPE=\"int8\"/></HOST>"))
            .collect();
        let text = format!("<GANGLIA_XML VERSION=\"3.7.2\"><CLUSTER NAME=\"c\">{hosts}</CLUSTER></GANGLIA_XML>");
        self.0.read_document(text.as_bytes(), now).map_err(|error| PollError::Other(error.to_string()))
    }
}

fn local() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

fn builder() -> Builder {
    Gmetad::builder().grid("g", "").xml(local()).interactive(local())
}

fn daemon() -> Gmetad {
    let make = || Memory(GmondReader::new(Vec::new(), ReaderOptions::default()));
    let daemon = builder().custom_source("memory", LONG, make).start().unwrap();
    let began = Instant::now();
    while daemon.store().view().cluster("c").is_none() {
        assert!(began.elapsed() < LONG, "no poll");
        std::thread::sleep(Duration::from_millis(5));
    }
    daemon
}

fn connect(daemon: &Gmetad, port: &str) -> TcpStream {
    let stream = TcpStream::connect(daemon.port(port).unwrap()).unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    stream.set_write_timeout(Some(LONG)).unwrap();
    stream
}

fn rest(mut stream: TcpStream) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

#[test]
fn requests_come_in_many_ways() {
    let daemon = daemon();
    let whole = |text: &str| text.ends_with("</GANGLIA_XML>\n") && text.matches("<GANGLIA_XML ").count() == 1;
    // No line end, but nothing more to come.
    let mut half = connect(&daemon, "interactive_port");
    half.write_all(b"/c/h7/m").unwrap();
    half.shutdown(Shutdown::Write).unwrap();
    let half = rest(half);
    assert!(whole(&half) && half.contains("NAME=\"h7\"") && !half.contains("NAME=\"h8\""));
    // Byte by byte.
    let mut slow = connect(&daemon, "interactive_port");
    for byte in b"/c/h7/m\n" {
        slow.write_all(&[*byte]).unwrap();
        std::thread::sleep(Duration::from_millis(2));
    }
    assert_eq!(rest(slow), half);
    // Two requests: one answer.
    let mut two = connect(&daemon, "interactive_port");
    two.write_all(b"/c/h7/m\n/c/h8/m\n").unwrap();
    assert_eq!(rest(two), half);
    // A long answer, which a worker finishes, though the client has ended its side.
    let mut long = connect(&daemon, "interactive_port");
    long.write_all(b"GET / HTTP/1.0\r\nHost: x\r\n\r\n").unwrap();
    long.shutdown(Shutdown::Write).unwrap();
    let long = rest(long);
    assert!(whole(&long) && long.contains("NAME=\"h4999\""));
    assert!(whole(&rest(connect(&daemon, "xml_port"))));
    // Too long a request.
    let mut endless = connect(&daemon, "interactive_port");
    endless.write_all(&[b'/'; 2048]).unwrap();
    assert_eq!(endless.read(&mut [0; 1]).unwrap_or(0), 0);
    daemon.stop(LONG).unwrap();
}

#[test]
fn a_client_that_sends_without_end_is_closed() {
    let daemon = daemon();
    let mut client = connect(&daemon, "xml_port");
    let began = Instant::now();
    let error = loop {
        if let Err(error) = client.write_all(&[b'x'; 4096]) {
            break error;
        }
        assert!(began.elapsed() < LONG, "still served");
    };
    assert!(matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe), "{error}");
    daemon.stop(LONG).unwrap();
}

#[test]
fn a_client_that_dribbles_after_its_answer_is_closed() {
    let daemon = daemon();
    let mut client = connect(&daemon, "interactive_port");
    client.write_all(b"/c/h7\n").unwrap();
    let began = Instant::now();
    while client.write_all(b"x").is_ok() {
        assert!(began.elapsed() < LONG, "still there");
        std::thread::sleep(Duration::from_millis(100));
    }
    daemon.stop(LONG).unwrap();
}

/// A source that cannot be interrupted, as `connect` to a host that is off.
struct Hanging;

impl Source for Hanging {
    fn poll(&mut self, _now: i64, _stop: &Stop) -> Result<SourceSnapshot, PollError> {
        std::thread::sleep(Duration::from_secs(3));
        Err(PollError::Other("off".to_owned()))
    }
}

struct Sink(Arc<AtomicBool>);

impl Plugin for Sink {
    fn name(&self) -> &str {
        "sink"
    }

    fn notify(&mut self, _transaction: &mut Transaction) -> Result<(), PluginError> {
        Ok(())
    }

    fn stop(&mut self) {
        std::thread::sleep(Duration::from_millis(200));
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_hanging_source_leaves_the_plugins_time_to_finish() {
    let finished = Arc::new(AtomicBool::new(false));
    let daemon =
        builder().custom_source("hanging", LONG, || Hanging).plugin(Sink(Arc::clone(&finished))).start().unwrap();
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(daemon.stop(Duration::from_secs(1)), Err(vec!["poll hanging".to_owned()]));
    assert!(finished.load(Ordering::Relaxed));
}

fn ends(address: SocketAddr) {
    let began = Instant::now();
    while TcpStream::connect(address).is_ok() {
        assert!(began.elapsed() < LONG, "{address} still serves");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A port of an embedder's own that cannot be bound.
struct Nothing;

impl Service for Nothing {
    fn open(&self, _peer: SocketAddr) -> Box<dyn Session> {
        panic!("nobody gets this far")
    }

    fn allows(&self, _peer: IpAddr) -> bool {
        false
    }
}

#[test]
fn a_daemon_that_is_dropped_or_cannot_start_ends() {
    let daemon = daemon();
    let address = daemon.port("xml_port").unwrap();
    drop(daemon);
    ends(address);

    let taken = TcpListener::bind(local()).unwrap();
    let finished = Arc::new(AtomicBool::new(false));
    let started = builder()
        .plugin(Sink(Arc::clone(&finished)))
        .service("own", taken.local_addr().unwrap(), |_| Arc::new(Nothing))
        .start();
    assert!(started.is_err());
    let began = Instant::now();
    while !finished.load(Ordering::Relaxed) {
        assert!(began.elapsed() < LONG, "the plugin was not stopped");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_reload_moves_ports_or_leaves_them() {
    let one = IpAddr::from([127, 0, 0, 1]);
    let mut config = Config { xml_port: 0, interactive_port: 0, xml_bind: vec![one], ..Config::default() };
    config.interactive_bind = vec![one];
    let daemon = Gmetad::builder().config(&config).start().unwrap();
    let (xml, interactive) = (daemon.port("xml_port").unwrap(), daemon.port("interactive_port").unwrap());
    assert_eq!(daemon.reload(&config).refused, Vec::<String>::new());
    assert_eq!(daemon.port("xml_port"), Some(xml), "nothing changed");

    let taken = TcpListener::bind((IpAddr::from([127, 0, 0, 2]), 0)).unwrap();
    config.xml_bind = vec![one, taken.local_addr().unwrap().ip()];
    config.xml_port = taken.local_addr().unwrap().port();
    config.interactive_bind = vec![IpAddr::from([127, 0, 0, 3])];
    let report = daemon.reload(&config);
    assert_eq!(report.refused.len(), 1, "{report:?}");
    assert!(report.refused[0].contains("xml_port stays as it was"), "{report:?}");
    assert_eq!(daemon.port("xml_port"), Some(xml), "all or nothing");
    let moved = daemon.port("interactive_port").unwrap();
    assert_eq!(moved.ip(), config.interactive_bind[0]);
    ends(interactive);
    for port in ["xml_port", "interactive_port"] {
        let mut client = connect(&daemon, port);
        client.write_all(b"/\n").unwrap();
        assert!(rest(client).ends_with("</GANGLIA_XML>\n"));
    }
    daemon.stop(LONG).unwrap();
}
