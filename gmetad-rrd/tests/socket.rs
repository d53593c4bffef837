//! The server of rrdcached's protocol: rrdtool as its client, rrdcached beside it, and clients that mean no good.
#![allow(clippy::unwrap_used, clippy::panic)] // in a test they are the report

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use gmetad_core::serve::AccessList;
use gmetad_rrd::native::Options;
use gmetad_rrd::socket::{CONNECTIONS, Listen, RrdSocket, SocketOptions, Updates};
use gmetad_rrd::{
    Backend, Cached, Cf, DsKind, DsSpec, NativeStore, Point, RraSpec, RrdError, Schema, UpdateError, Value, View,
    format,
};
use tempfile::TempDir;

const START: i64 = 1_000_000_000;
const PATIENCE: Duration = Duration::from_secs(20);

/// Whether a program is there; without it tests are left out, but not on CI.
fn missing(program: &str) -> bool {
    let there = Command::new(program).arg("-h").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    assert!(
        there || std::env::var("CI").as_deref() != Ok("true"),
        "{program} is not installed (Debian package {program})"
    );
    if !there {
        println!("left out: {program} is not installed");
    }
    !there
}

fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "not seen: {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// Real files, and points that wait for them in a map.
struct Tree {
    root: PathBuf,
    state: Mutex<(NativeStore, BTreeMap<PathBuf, Vec<String>>)>,
    flushes: AtomicU64,
    views: AtomicU64,
    flush_alls: AtomicU64,
    /// While true, `flush_all` does not return.
    held: (Mutex<bool>, Condvar),
}

impl Tree {
    fn new(root: &Path) -> Arc<Self> {
        Arc::new(Self {
            root: root.to_owned(),
            state: Mutex::new((NativeStore::new(Options { sync_new: false, ..Options::default() }), BTreeMap::new())),
            flushes: AtomicU64::new(0),
            views: AtomicU64::new(0),
            flush_alls: AtomicU64::new(0),
            held: (Mutex::new(false), Condvar::new()),
        })
    }

    fn create(&self, name: &str) {
        self.state.lock().unwrap().0.create(&self.root.join(name), &schema(), START).unwrap();
    }

    fn hold(&self, on: bool) {
        *self.held.0.lock().unwrap() = on;
        self.held.1.notify_all();
    }

    fn check(&self, path: &Path) -> Result<(), RrdError> {
        assert!(path.starts_with(&self.root), "{path:?} came through");
        if path.is_file() { Ok(()) } else { Err(RrdError::Missing { path: path.to_owned() }) }
    }
}

impl Cached for Tree {
    fn flush(&self, path: &Path) -> Result<(), RrdError> {
        self.flushes.fetch_add(1, Ordering::Relaxed);
        self.check(path)?;
        let (store, pending) = &mut *self.state.lock().unwrap();
        for text in pending.remove(path).unwrap_or_default() {
            let mut fields = text.split(':');
            let time = fields.next().unwrap().parse().unwrap();
            let values: Vec<_> = fields.map(Value::Text).collect();
            store.update(path, &[Point { time, values: &values }])?;
        }
        Ok(())
    }

    fn flush_all(&self) {
        self.flush_alls.fetch_add(1, Ordering::Relaxed);
        let mut held = self.held.0.lock().unwrap();
        while *held {
            held = self.held.1.wait(held).unwrap();
        }
    }

    fn pending(&self, path: &Path) -> Result<Vec<String>, RrdError> {
        self.check(path)?;
        Ok(self.state.lock().unwrap().1.get(path).cloned().unwrap_or_default())
    }

    fn update(&self, path: &Path, updates: &[&str]) -> Result<usize, RrdError> {
        self.check(path)?;
        let view = View::open(path)?;
        let (_, pending) = &mut *self.state.lock().unwrap();
        let waiting = pending.entry(path.to_owned()).or_default();
        for (taken, text) in updates.iter().enumerate() {
            let fields: Vec<_> = text.split(':').collect();
            let time = fields[0].parse().unwrap();
            let last = waiting.last().map_or(view.last(), |text| text.split(':').next().unwrap().parse().unwrap());
            let (expected, got) = (view.layout().schema().ds.len(), fields.len() - 1);
            let source = if time <= last {
                UpdateError::Past { time, last }
            } else if expected != got {
                UpdateError::Count { expected, got, time }
            } else {
                waiting.push((*text).to_owned());
                continue;
            };
            return Err(RrdError::Refused { path: path.to_owned(), refused: updates.len() - taken, source });
        }
        Ok(updates.len())
    }

    fn view(&self, path: &Path) -> Result<View, RrdError> {
        self.views.fetch_add(1, Ordering::Relaxed);
        self.flush(path)?;
        View::open(path)
    }

    fn counters(&self) -> Vec<(&'static str, u64)> {
        vec![("FlushesReceived", self.flushes.load(Ordering::Relaxed)), ("Ours", 1)]
    }
}

fn schema() -> Schema {
    let ds = |name: &str, kind, min, max| DsSpec { name: name.into(), kind, heartbeat: 40, min, max };
    let rra = |cf, steps, rows| RraSpec { cf, xff: 0.5, steps, rows };
    Schema {
        step: 10,
        ds: vec![ds("sum", DsKind::Gauge, -5.0, 1e6), ds("num", DsKind::Derive, format::NAN, 100.0)],
        rras: vec![rra(Cf::Average, 1, 20), rra(Cf::Average, 4, 20), rra(Cf::Max, 3, 7)],
    }
}

/// A tree with two files, and a server for it.
struct Served {
    dir: TempDir,
    tree: Arc<Tree>,
    socket: RrdSocket,
}

impl Served {
    fn start(change: impl FnOnce(&mut SocketOptions)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let root = dir.path().join("rrds");
        fs::create_dir(&root).unwrap();
        let tree = Tree::new(&root);
        tree.create("m.rrd");
        tree.create("a b\\c.rrd");
        let mut options = SocketOptions::new(root);
        options.listen = vec![Listen::Unix(dir.path().join("s")), Listen::Tcp("127.0.0.1:0".parse().unwrap())];
        change(&mut options);
        let socket = RrdSocket::start(options, tree.clone()).unwrap();
        Self { dir, tree, socket }
    }

    fn unix(&self) -> PathBuf {
        self.dir.path().join("s")
    }

    fn file(&self, name: &str) -> String {
        self.tree.root.join(name).to_str().unwrap().to_owned()
    }

    fn client(&self) -> Client {
        Client::new(&self.unix())
    }
}

/// A connection that reads answers as they are framed.
struct Client(BufReader<UnixStream>);

impl Client {
    fn new(path: &Path) -> Self {
        let stream = UnixStream::connect(path).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(BufReader::new(stream))
    }

    fn send(&mut self, bytes: &[u8]) {
        self.0.get_mut().write_all(bytes).unwrap();
    }

    /// The next answer; empty at the end of the connection.
    fn answer(&mut self) -> String {
        let mut text = Vec::new();
        self.0.read_until(b'\n', &mut text).unwrap();
        let status = String::from_utf8_lossy(&text).split(' ').next().unwrap_or_default().parse().unwrap_or(0_i64);
        for _ in 0..status.max(0) {
            self.0.read_until(b'\n', &mut text).unwrap();
        }
        String::from_utf8_lossy(&text).into_owned()
    }

    fn ask(&mut self, request: &str) -> String {
        self.send(format!("{request}\n").as_bytes());
        self.answer()
    }

    /// Whether the connection ends, whatever comes before.
    fn ends(&mut self) -> bool {
        match self.0.read_to_end(&mut Vec::new()) {
            Ok(_) => true,
            Err(e) => e.kind() == ErrorKind::ConnectionReset,
        }
    }
}

fn rrdtool(arguments: &[&str], configure: impl FnOnce(&mut Command)) -> Result<String, String> {
    let mut command = Command::new("rrdtool");
    command.env("LC_ALL", "C").env("TZ", "UTC").env_remove("RRDCACHED_ADDRESS").args(arguments);
    configure(&mut command);
    let output = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
}

#[test]
fn rrdtool_prints_the_same_with_and_without_it() {
    if missing("rrdtool") {
        return;
    }
    let served = Served::start(|_| {});
    let daemon = format!("unix:{}", served.unix().display());
    for name in ["m.rrd", "a b\\c.rrd"] {
        let file = &served.file(name);
        let with =
            |arguments: &[&str]| rrdtool(&[&arguments[..1], &["--daemon", &daemon], &arguments[1..]].concat(), |_| {});
        let without = |arguments: &[&str]| rrdtool(arguments, |_| {});
        let points: Vec<_> = (1..30).map(|i| format!("{}:{}.5:{i}", START + i * 10, i * i)).collect();
        let points: Vec<_> = points.iter().map(String::as_str).collect();
        assert_eq!(with(&[&["update", file][..], &points].concat()), Ok(String::new()));
        assert_eq!(View::open(Path::new(file)).unwrap().last(), START, "nothing is written yet");
        let flushes = served.tree.flushes.load(Ordering::Relaxed);
        assert_eq!(with(&["flushcached", file]), Ok(String::new()));
        assert!(served.tree.flushes.load(Ordering::Relaxed) > flushes);
        assert_eq!(View::open(Path::new(file)).unwrap().last(), START + 290);

        let (start, end) = (&(START + 100).to_string(), &(START + 290).to_string());
        for arguments in [
            &["fetch", file, "AVERAGE", "-s", start, "-e", end][..],
            &["fetch", file, "MAX", "-s", start, "-e", "1000002000"],
            &["fetch", file, "AVERAGE"],
            &["info", file],
            &["first", file],
            &["first", "--rraindex", "1", file],
            &["last", file],
            &["lastupdate", file],
            &["dump", file],
        ] {
            // The times of `fetch` without any move with the clock: again if a step passed between the two.
            let same = (0..5).any(|_| with(arguments) == without(arguments));
            assert!(same, "{arguments:?}\nwith    {:?}\nwithout {:?}", with(arguments), without(arguments));
        }
        if name != "m.rrd" {
            continue; // the backslash would need escapes in DEF
        }
        let def = &format!("DEF:a={file}:sum:AVERAGE");
        let xport = ["xport", "-s", start, "-e", end, def, "XPORT:a"];
        assert_eq!(with(&xport), without(&xport));

        let png = |name: &str| served.dir.path().join(name);
        let graph = |name: &str, more: &[&str], configure: &dyn Fn(&mut Command)| {
            let png = png(name);
            let arguments = ["graph", png.to_str().unwrap(), "-s", start, "-e", end, def, "LINE1:a#ff0000"];
            rrdtool(&[&arguments[..], more].concat(), |command| configure(command)).unwrap();
            fs::read(png).unwrap()
        };
        let plain = graph("plain.png", &[], &|_| {});
        assert!(plain.starts_with(b"\x89PNG"));
        let views = served.tree.views.load(Ordering::Relaxed);
        assert!(graph("option.png", &["--daemon", &daemon], &|_| {}) == plain);
        assert!(served.tree.views.load(Ordering::Relaxed) > views, "rrdtool did not ask");
        let address = |command: &mut Command| {
            command.env("RRDCACHED_ADDRESS", &daemon);
        };
        assert!(graph("environment.png", &[], &address) == plain);
        assert!(served.tree.views.load(Ordering::Relaxed) > views + 1);
    }
    // Points that wait are in the graph without a flush by hand.
    let file = &served.file("m.rrd");
    let fetch = ["fetch", file, "AVERAGE", "-s", "1000000290", "-e", "1000000300", "--daemon", &daemon];
    assert!(!rrdtool(&fetch, |_| {}).unwrap().contains("1000000300: 7."));
    rrdtool(&["update", "--daemon", &daemon, file, "1000000300:7:30"], |_| {}).unwrap();
    assert!(rrdtool(&fetch, |_| {}).unwrap().contains("1000000300: 7.0000000000e+00"));
    assert_eq!(served.socket.stop(), 0);
}

#[test]
fn rrdtool_reads_by_tcp_and_writes_only_as_a_known_user() {
    if missing("rrdtool") {
        return;
    }
    let served = Served::start(|_| {});
    let tcp = served.socket.addresses()[0].to_string();
    let file = served.file("m.rrd");
    // By TCP rrdtool sends paths as they are, and only relative ones.
    let by_tcp = |arguments: &[&str]| {
        rrdtool(arguments, |command| {
            command.env("RRDCACHED_ADDRESS", &tcp);
        })
    };
    for command in ["info", "last", "first"] {
        let plain = rrdtool(&[command, &file], |_| {}).unwrap();
        let remote = by_tcp(&[command, "m.rrd"]).unwrap();
        assert_eq!(remote, plain, "{command}");
    }
    let times = ["AVERAGE", "-s", "1000000000", "-e", "1000000100"];
    let plain = rrdtool(&[&["fetch", &file][..], &times].concat(), |_| {});
    assert_eq!(by_tcp(&[&["fetch", "m.rrd"][..], &times].concat()), plain);
    let error = by_tcp(&["update", "m.rrd", "1000000010:1:1"]).unwrap_err();
    assert_eq!(error, format!("ERROR: rrdcached@{tcp}: Permission denied.\n"));

    let daemon = format!("unix:{}", served.unix().display());
    let update = ["update", "--daemon", &daemon, &file, "1000000010:1:1"];
    if !nix::unistd::geteuid().is_root() {
        println!("left out: another user's client, which only root can start");
    } else {
        let error = rrdtool(&update, |command| {
            command.uid(65534).gid(65534);
        })
        .unwrap_err();
        assert_eq!(error, format!("ERROR: rrdcached@{daemon}: Permission denied.\n"));
        let last = ["last", "--daemon", &daemon, &file];
        assert_eq!(
            rrdtool(&last, |command| {
                command.uid(65534);
            }),
            Ok("1000000000\n".into())
        );
    }
    rrdtool(&update, |_| {}).unwrap();

    let served = Served::start(|options| options.updates = Updates::All);
    let tcp = served.socket.addresses()[0].to_string();
    rrdtool(&["update", "--daemon", &tcp, "m.rrd", "1000000010:1:1"], |_| {}).unwrap();
    assert_eq!(served.client().ask("PENDING m.rrd"), "1 updates pending\n1000000010:1:1\n");
}

/// rrdcached itself, ended with the test.
struct Real(Child);

impl Drop for Real {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What is asked of both, one answer each. `|` is a line feed.
const SCRIPT: &[&str] = &[
    "PING",
    "ping x",
    " PING",
    "PING\r",
    "",
    "NOPE x",
    "PI\0NG",
    ".",
    "FLUSH",
    "FLUSH m.rrd",
    "flush ROOT/m.rrd x",
    "FLUSH nope.rrd",
    "FLUSH ../m.rrd",
    "FLUSH ROOT/../m.rrd",
    "FLUSH /etc/passwd",
    "FLUSHALL",
    "PENDING",
    "PENDING m.rrd",
    "PENDING nope.rrd",
    "UPDATE",
    "UPDATE m.rrd",
    "UPDATE nope.rrd 1:1",
    "UPDATE /etc/passwd 1:1",
    "UPDATE m.rrd N:1:2",
    "UPDATE m.rrd 1000000010",
    "UPDATE m.rrd 1000000010:1:2",
    "UPDATE m.rrd 1000000020:2.5:3 1000000030:U:4",
    "UPDATE m.rrd 1000000030:1:2",
    "UPDATE m.rrd -5:1:2",
    "UPDATE m.rrd  1000000040:1:2",
    "UPDATE m.rrd 1000000040:1:2 1000000040:1:3 1000000050:1:3",
    "PENDING m.rrd",
    "FLUSH m.rrd",
    "PENDING m.rrd",
    "FETCH",
    "FETCH m.rrd",
    "FETCH m.rrd average",
    "FETCH m.rrd HWPREDICT 1000000000 1000000040",
    "FETCH m.rrd AVERAGE 1000000000 1000000040",
    "FETCH m.rrd AVERAGE 999999900 1000000040",
    "FETCH m.rrd MAX 1000000000 1000000040 num",
    "FETCH m.rrd AVERAGE 1000000000 1000000040 num sum",
    "FETCH m.rrd AVERAGE 1000000000 1000000040 sum sum",
    "FETCH m.rrd AVERAGE 1000000000x +1000000000",
    "FETCH m.rrd AVERAGE 1000000000 x",
    "FETCH nope.rrd AVERAGE",
    "FETCH /etc/passwd AVERAGE",
    "FETCH a\\ b\\\\c.rrd AVERAGE 999999990 1000000000",
    "INFO",
    "INFO m.rrd",
    "INFO ROOT/./m.rrd",
    "INFO nope.rrd",
    "INFO ../x",
    "FIRST",
    "FIRST m.rrd",
    "FIRST m.rrd 0",
    "FIRST m.rrd 1",
    "FIRST m.rrd 2",
    "FIRST m.rrd 3",
    "FIRST m.rrd -1",
    "FIRST nope.rrd 0",
    "LAST",
    "LAST m.rrd",
    "LAST nope.rrd",
    "LAST \"m.rrd\"",
    "LAST m.rrd\\",
    "UPDATE a\\ b\\\\c.rrd 1000000017:1:1",
    "FLUSH a\\ b\\\\c.rrd",
    "LAST a\\ b\\\\c.rrd",
    "BATCH",
    "PING|UPDATE m.rrd 1000000050:1:1|update m.rrd 1000000050:1:1||FLUSH nope.rrd|FLUSH m.rrd|BATCH|NOPE|UPDATE|.",
    "BATCH x",
    ". x",
    "batch",
    "last m.rrd|.\r",
    "WROTE m.rrd",
    "FORGET m.rrd",
    "PENDING /etc/passwd",
    "FETCH m.rrd AVERAGE 1000000040 1000000000",
    "FIRST m.rrd x",
    "UPDATE m.rrd 1000000060.5:1:1",
    "PENDING m.rrd",
    "UPDATE m.rrd 1000000070:1",
    "STATS",
    "HELP",
    "HELP FLUSH",
    "HELP HELP",
    "QUIT",
];

/// Where the two may differ: the request, the answer of rrdcached, ours. Nothing else may, and these must.
/// Of STATS and HELP the first words are compared.
const DIFFERENT: &[(&str, &str, &str)] = &[
    ("WROTE m.rrd", "-1 Can't use 'WROTE' here.\n", "-1 Permission denied.\n"),
    ("FORGET m.rrd", "0 Gone!\n", "-1 Permission denied.\n"),
    ("PENDING /etc/passwd", "0 updates pending\n", "-1 /etc/passwd: Permission denied\n"),
    (
        "FETCH m.rrd AVERAGE 1000000040 1000000000",
        "-1 rrd_fetch_r failed: malloc fetch data area\n",
        "-1 rrd_fetch_r failed: the end is before the start\n",
    ),
    ("FIRST m.rrd x", "0 999999860\n", "-1 Invalid index specified (x)\n"),
    ("PENDING m.rrd", "1 updates pending\n1000000060.5:1:1\n", "1 updates pending\n1000000060:1:1\n"),
    (
        "UPDATE m.rrd 1000000070:1",
        "0 errors, enqueued 1 value(s).\n",
        "-1 ROOT/m.rrd: expected 2 data source readings (got 1) at time 1000000070\n",
    ),
    ("STATS", "9 Statistics", "10 Statistics"),
    ("HELP", "22 Command overview", "13 Command overview"),
    ("HELP FLUSH", "5 Help for FLUSH", "4 Help for FLUSH"),
];

#[test]
fn answers_are_those_of_rrdcached() {
    if missing("rrdcached") {
        return;
    }
    let served = Served::start(|_| {});
    let theirs = tempfile::tempdir().unwrap();
    let root = theirs.path().join("rrds");
    fs::create_dir(&root).unwrap();
    for name in ["m.rrd", "a b\\c.rrd"] {
        fs::copy(served.file(name), root.join(name)).unwrap();
    }
    let path = theirs.path().join("s");
    let (address, pid) = (format!("unix:{}", path.display()), theirs.path().join("pid"));
    let mut command = Command::new("rrdcached");
    command.args(["-g", "-B", "-w", "3600", "-f", "7200", "-l", &address]).arg("-b").arg(&root).arg("-p").arg(pid);
    let _real = Real(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    wait_for("rrdcached's socket", || UnixStream::connect(&path).is_ok());

    let mut ours = (served.client(), served.tree.root.to_str().unwrap().to_owned());
    let mut theirs = (Client::new(&path), root.to_str().unwrap().to_owned());
    let mut differ = 0;
    for request in SCRIPT {
        let ask = |(client, root): &mut (Client, String)| {
            client.ask(&request.replace("ROOT", root).replace('|', "\n")).replace(root.as_str(), "ROOT")
        };
        let (our, their) = (ask(&mut ours), ask(&mut theirs));
        if our == their {
            continue;
        }
        let known = DIFFERENT
            .iter()
            .any(|(asked, theirs, ours)| asked == request && their.starts_with(theirs) && our.starts_with(ours));
        assert!(known, "{request:?}\nours   {our:?}\ntheirs {their:?}");
        differ += 1;
    }
    assert_eq!(differ, DIFFERENT.len());
}

#[test]
fn too_many_connections_are_told_and_the_others_go_on() {
    let served = Served::start(|_| {});
    let mut idle: Vec<_> = (0..CONNECTIONS).map(|_| served.client()).collect();
    wait_for("all of them", || served.socket.connections() == CONNECTIONS);
    for _ in CONNECTIONS..100 {
        let mut one_more = served.client();
        assert_eq!(one_more.answer(), "-1 Too many connections\n");
        assert!(one_more.ends());
    }
    for client in &mut idle {
        assert_eq!(client.ask("PING"), "0 PONG\n");
    }
    drop(idle.pop());
    wait_for("a free place", || served.socket.connections() < CONNECTIONS);
    assert_eq!(served.client().ask("PING"), "0 PONG\n");
    assert_eq!(served.socket.stop(), 0);
    assert!(idle.iter_mut().all(Client::ends));
}

#[test]
fn half_and_huge_lines_cost_only_their_client() {
    let served = Served::start(|_| {});
    let mut half = served.client();
    half.send(b"PI");
    let mut other = served.client();
    assert_eq!(other.ask("PING"), "0 PONG\n");
    half.send(b"NG\nPING\nPI");
    assert_eq!((half.answer(), half.answer()), ("0 PONG\n".into(), "0 PONG\n".into()));
    assert_eq!(half.ask("NG"), "0 PONG\n");

    let longest = format!("PING {}", "x".repeat(4096 - 5));
    assert_eq!(other.ask(&longest), "0 PONG\n");
    let mut huge = served.client();
    let _ = huge.0.get_mut().write_all(&vec![b'x'; 1 << 20]); // fails when the server has had enough
    assert_eq!(huge.answer(), "-1 Line too long\n");
    assert!(huge.ends());
    let mut bytes = served.client();
    for _ in 0..50 {
        bytes.send(&(0..=255).collect::<Vec<u8>>());
    }
    assert_eq!(other.ask("PING"), "0 PONG\n");
}

#[test]
fn a_client_that_sends_no_whole_line_is_closed() {
    let served = Served::start(|options| options.idle = Duration::from_millis(200));
    let (mut silent, mut drips) = (served.client(), served.client());
    let begin = Instant::now();
    while drips.0.get_mut().write_all(b"x").is_ok() {
        assert!(begin.elapsed() < PATIENCE);
        thread::sleep(Duration::from_millis(5)); // the pace of the drip
    }
    assert!(silent.ends());
    wait_for("no connection", || served.socket.connections() == 0);
}

#[test]
fn a_slow_reader_holds_only_itself() {
    let served = Served::start(|options| options.write = Duration::from_millis(300));
    let mut slow = served.client();
    // 6 MB of text, of which nothing is read.
    slow.send(b"FETCH m.rrd AVERAGE 999000000 1000000000\n");
    wait_for("its view", || served.tree.views.load(Ordering::Relaxed) == 1);
    let mut other = served.client();
    assert_eq!(other.ask("LAST m.rrd"), "0 1000000000\n");
    wait_for("the slow one's end", || served.socket.connections() == 1);
    assert_eq!(other.ask("PING"), "0 PONG\n");
    // More than the bound is refused at once.
    let answer = other.ask("FETCH m.rrd AVERAGE 1 253402300000");
    assert!(answer.starts_with("-1 rrd_fetch_r failed: the answer would have more than"), "{answer}");
}

#[test]
fn errors_of_a_batch_are_kept_up_to_a_bound() {
    let served = Served::start(|_| {});
    let mut client = served.client();
    assert_eq!(client.ask("BATCH"), "0 Go ahead.  End with dot '.' on its own line.\n");
    let lines = "UPDATE nope.rrd 1:1\n".repeat(5000);
    client.send(lines.as_bytes());
    let answer = client.ask(".");
    let lines: Vec<_> = answer.lines().collect();
    assert_eq!((lines[0], lines.len(), lines[1001]), ("1001 errors", 1002, "5000 and 4000 more errors"));
}

#[test]
fn stop_does_not_wait_for_hanging_clients() {
    let served = Served::start(|_| {});
    let tree = Arc::clone(&served.tree);
    let mut clients: Vec<_> = (0..10).map(|_| served.client()).collect();
    clients[0].send(b"PI");
    clients[1].send(b"FETCH m.rrd AVERAGE 999000000 1000000000\n");
    clients[2].send(b"BATCH\nUPDATE");
    tree.hold(true);
    clients[3].send(b"FLUSHALL\n");
    wait_for("FETCH", || tree.views.load(Ordering::Relaxed) == 1);
    wait_for("FLUSHALL", || tree.flush_alls.load(Ordering::Relaxed) == 1);
    let begin = Instant::now();
    let held = served.socket.stop();
    assert!(begin.elapsed() < Duration::from_secs(3), "{:?}", begin.elapsed());
    assert_eq!(held, 1, "the one inside flush_all");
    assert!(!served.dir.path().join("s").exists());
    tree.hold(false);
    assert!(clients.iter_mut().all(Client::ends));
}

#[test]
fn socket_files_of_the_dead_are_replaced_and_those_of_the_living_left() {
    let served = Served::start(|options| options.mode = 0o660);
    let path = served.unix();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
    let mut options = SocketOptions::new(served.tree.root.clone());
    options.listen = vec![Listen::Unix(path.clone())];
    let error = RrdSocket::start(options.clone(), served.tree.clone()).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::AddrInUse);
    assert!(error.to_string().contains("another server answers on this socket"), "{error}");
    assert_eq!(served.client().ask("PING"), "0 PONG\n");
    served.socket.stop();

    drop(UnixListener::bind(&path).unwrap()); // leaves its file
    let socket = RrdSocket::start(options.clone(), served.tree.clone()).unwrap();
    assert_eq!(Client::new(&path).ask("PING"), "0 PONG\n");
    // Another's file in its place is not removed.
    fs::remove_file(&path).unwrap();
    fs::write(&path, "not a socket").unwrap();
    socket.stop();
    let error = RrdSocket::start(options, served.tree).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    assert_eq!(fs::read(&path).unwrap(), b"not a socket");
}

#[test]
fn only_known_addresses_may_connect_by_tcp() {
    let everywhere = |options: &mut SocketOptions| options.listen = vec![Listen::Tcp("0.0.0.0:0".parse().unwrap())];
    // An address of this machine which is not loopback: the one that would be used to leave it. Nothing is sent.
    let leaving = UdpSocket::bind("0.0.0.0:0").and_then(|udp| udp.connect("192.0.2.1:9").and(udp.local_addr()));
    let Some(ip) = leaving.ok().map(|address| address.ip()).filter(|ip| !ip.is_loopback()) else {
        println!("left out: this machine has only loopback addresses");
        return;
    };
    let ask = |served: &Served| {
        let mut stream = TcpStream::connect((ip, served.socket.addresses()[0].port())).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut answer = Vec::new();
        // An error where the server hung up first.
        let _ = stream.write_all(b"PING\nQUIT\n").and_then(|()| stream.read_to_end(&mut answer).map(drop));
        String::from_utf8(answer).unwrap()
    };
    assert_eq!(ask(&Served::start(everywhere)), "");
    let open = |options: &mut SocketOptions| {
        everywhere(options);
        options.access = AccessList::everybody();
    };
    assert_eq!(ask(&Served::start(open)), "0 PONG\n");
}

#[test]
fn ipv6_is_served() {
    if TcpListener::bind("[::1]:0").is_err() {
        println!("left out: this machine has no IPv6");
        return;
    }
    let served = Served::start(|options| options.listen = vec![Listen::Tcp("[::1]:0".parse().unwrap())]);
    let mut stream = TcpStream::connect(served.socket.addresses()[0]).unwrap();
    stream.write_all(b"LAST m.rrd\nBATCH\nQUIT\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "0 1000000000\n-1 Permission denied.\n");
}
