//! A server with threads, asked over real sockets by clients that are slow, many, or wrong.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use gmetad_http::{Guard, HostRule, Request, Response, Router, Secret, Server, ServerOptions, Site, Tls};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

const LOCAL: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
/// Far longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);
const GET: &[u8] = b"GET /hello HTTP/1.1\r\nHost: localhost\r\n\r\n";

fn site() -> Site {
    let router = Router::new("t")
        .page("/hello", "", |_: &Request| Response::text(200, "hello"))
        .page("/big", "", |_: &Request| Response::text(200, vec![b'x'; 32 << 20]))
        .action("/echo", |request: &Request| Response::text(200, request.body()));
    Site::new(router, HostRule::bound_to(LOCAL, &[])).with_posts(10_000)
}

fn start(site: Site, options: ServerOptions) -> (Server, SocketAddr) {
    let options = ServerOptions { listen: vec![(LOCAL, 0).into()], ..options };
    let server = Server::start(site, options).expect("started");
    let address = server.addresses()[0];
    (server, address)
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("connected");
    stream.set_read_timeout(Some(PATIENCE)).expect("set");
    stream
}

/// Everything that comes until the server closes; what a reset cut off is not there.
fn rest(stream: &mut impl Read) -> String {
    let (mut answer, mut piece) = (Vec::new(), [0; 4096]);
    while let Ok(read @ 1..) = stream.read(&mut piece) {
        answer.extend_from_slice(&piece[..read]);
    }
    String::from_utf8_lossy(&answer).into_owned()
}

fn ask(address: SocketAddr, request: &[u8]) -> String {
    let mut stream = connect(address);
    stream.write_all(request).expect("sent");
    rest(&mut stream)
}

fn status(answer: &str) -> u16 {
    answer.get(9..12).and_then(|status| status.parse().ok()).unwrap_or(0)
}

fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn requests_in_pieces_and_with_bodies_are_answered() {
    let (server, address) = start(site(), ServerOptions::default());
    assert!(ask(address, GET).ends_with("\r\n\r\nhello"));
    let body = "y".repeat(10_000);
    let post = format!("POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10000\r\n\r\n{body}");
    let mut stream = connect(address);
    stream.set_nodelay(true).expect("set");
    for piece in [&post[..30], &post[30..79], &post[79..5000], &post[5000..]] {
        stream.write_all(piece.as_bytes()).expect("sent");
    }
    assert!(rest(&mut stream).ends_with(&body));
    // Refused while the client still sends: it must get to read why.
    let long = format!("POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 60000\r\n\r\n{}", "z".repeat(60_000));
    assert_eq!(status(&ask(address, long.as_bytes())), 413);
    assert_eq!(status(&ask(address, b"POST /hello HTTP/1.0\r\nContent-Length: 0\r\n\r\n")), 405);
    // As `curl -X POST` does.
    let empty = ask(address, b"POST /echo HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert!(status(&empty) == 200 && empty.ends_with("\r\n\r\n"), "{empty}");
    let chunks = b"POST /echo HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    assert_eq!(status(&ask(address, chunks)), 411);
    drop(connect(address));
    assert_eq!(server.stats().malformed.get(), 3);
    assert!(server.stop(PATIENCE));
    assert!(TcpStream::connect(address).is_err(), "the port is closed");
}

#[test]
fn half_open_connections_do_not_lock_out_a_good_client() {
    let (server, address) =
        start(site(), ServerOptions { head: Duration::from_secs(3600), ..ServerOptions::default() });
    let mut open: Vec<_> = (0..300).map(|_| connect(address)).collect();
    for stream in &mut open {
        let _ = stream.write_all(b"GET / HTTP/1.1\r\n");
    }
    wait_for("the others are refused at once", || server.stats().refused.get() >= 300 - 64 - 17);
    let start = Instant::now();
    wait_for("a good client is served", || status(&ask(address, GET)) == 200);
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    // From now on at once, every time: who dawdles makes room.
    for _ in 0..20 {
        assert_eq!(status(&ask(address, GET)), 200);
    }
    assert!(server.stats().crowded_out.get() >= 1);
    drop(server);
}

#[test]
fn bytes_that_drip_do_not_move_the_deadline() {
    let head = Duration::from_millis(400);
    let (server, address) = start(site(), ServerOptions { head, body: head, ..ServerOptions::default() });
    for first in ["G", "POST /echo HTTP/1.0\r\nContent-Length: 9999\r\n\r\n"] {
        let mut stream = connect(address);
        stream.write_all(first.as_bytes()).expect("sent");
        let start = Instant::now();
        stream.set_nonblocking(true).expect("set");
        wait_for("it is cut off", || {
            let _ = stream.write(b"x");
            std::thread::sleep(Duration::from_millis(10));
            let left = stream.read(&mut [0; 64]);
            matches!(left, Ok(0)) || left.is_err_and(|error| error.kind() != std::io::ErrorKind::WouldBlock)
        });
        assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
    }
    assert_eq!(server.stats().timed_out.get(), 2);
}

#[test]
fn who_does_not_take_an_answer_is_cut_off() {
    let answer = Duration::from_millis(300);
    let (server, address) = start(site(), ServerOptions { answer, ..ServerOptions::default() });
    let mut stream = connect(address);
    stream.write_all(b"GET /big HTTP/1.0\r\n\r\n").expect("sent");
    wait_for("it is cut off", || server.stats().timed_out.get() == 1);
    assert!(rest(&mut stream).len() < 32 << 20);
}

#[test]
fn wrong_passwords_are_refused_and_then_slow() {
    let guard = Guard::new("t", Secret::new("open"), None);
    let (server, address) = start(site().guarded(guard), ServerOptions::default());
    let get = |credentials: &str| {
        let text = format!("GET /hello HTTP/1.1\r\nHost: localhost\r\nAuthorization: Basic {credentials}\r\n\r\n");
        ask(address, text.as_bytes())
    };
    let asked = ask(address, GET);
    assert!(status(&asked) == 401 && asked.contains("WWW-Authenticate: Basic realm=\"t\""), "{asked}");
    assert_eq!(status(&get("YTpvcGVu")), 200); // a:open
    let statuses: Vec<_> = (0..8).map(|_| status(&get("YTp3cm9uZw=="))).collect(); // a:wrong
    assert_eq!(statuses[0], 401);
    assert_eq!(statuses[7], 429);
    assert!(server.stats().unauthorised.get() >= 9);
}

#[test]
fn tls_goes_the_same_way() {
    let dir = tempfile::tempdir().expect("a directory");
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let (certificate, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
    std::fs::write(&certificate, made.cert.pem()).expect("written");
    std::fs::write(&key, made.signing_key.serialize_pem()).expect("written");
    let tls = Some(Arc::new(Tls::from_files(&certificate, &key).expect("a pair")));
    let head = Duration::from_millis(600);
    let (server, address) = start(site(), ServerOptions { tls, head, ..ServerOptions::default() });

    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).expect("added");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let config = Arc::new(config);
    for path in ["/hello", "/big"] {
        let name = ServerName::try_from("localhost").expect("a name");
        let session = ClientConnection::new(Arc::clone(&config), name).expect("a session");
        let mut stream = StreamOwned::new(session, connect(address));
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes()).expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer and a farewell");
        assert_eq!(status(&answer), 200);
    }
    let plain = ask(address, GET);
    assert!(status(&plain) == 400 && plain.contains("https://"), "{plain}");
    // A handshake that never ends, and one that is none.
    let mut silent = connect(address);
    silent.write_all(&[22, 3, 1]).expect("sent");
    assert_eq!(rest(&mut silent), "");
    assert_eq!(server.stats().timed_out.get(), 1);
    ask(address, &[22; 100]);
    wait_for("it is counted", || server.stats().handshakes_failed.get() == 1);
    assert!(server.stop(PATIENCE));
}

#[test]
fn a_stop_waits_for_answers_but_not_for_dawdlers() {
    let (server, address) =
        start(site(), ServerOptions { head: Duration::from_secs(3600), ..ServerOptions::default() });
    let mut open = connect(address);
    open.write_all(b"GET").expect("sent");
    wait_for("it is served", || server.stats().accepted.get() == 1);
    let start = Instant::now();
    assert!(server.stop(Duration::from_millis(100)));
    assert!(start.elapsed() < Duration::from_secs(5));
    assert_eq!(rest(&mut open), "");
}

#[test]
fn an_address_that_is_taken_is_named() {
    let (_server, address) = start(site(), ServerOptions::default());
    // A second socket may share the port only if it asks as the first did and nobody listens.
    let error = Server::start(site(), ServerOptions { listen: vec![address], ..ServerOptions::default() });
    let error = error.expect_err("taken").to_string();
    assert!(error.contains(&address.to_string()) && error.contains("choose another port"), "{error}");
}
