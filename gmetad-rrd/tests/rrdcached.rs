//! The rrdcached back end against the real rrdcached, and against servers that are none.
#![allow(clippy::unwrap_used, clippy::panic)] // in a test they are the report

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use gmetad_rrd::rrdcached::{Address, Options, Timeouts};
use gmetad_rrd::{
    Backend, Cf, DsKind, Job, NativeStore, Point, RraSpec, RrdError, RrdcachedStore, Schema, UpdateError, Value, View,
};

/// Whether rrdcached is not there; without it tests are left out, but not on CI.
fn rrdcached_missing() -> bool {
    // There is no --version: it complains, which will do.
    if Command::new("rrdcached").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok() {
        return false;
    }
    assert!(std::env::var("CI").as_deref() != Ok("true"), "rrdcached is not installed (Debian package rrdcached)");
    println!("left out: rrdcached is not installed");
    true
}

struct Daemon {
    child: Child,
}

impl Daemon {
    /// Starts rrdcached with its Unix socket `s` and its base directory `rrds` in `dir`.
    fn start(dir: &Path, more: &[&str]) -> Self {
        let socket = dir.join("s");
        let _ = fs::remove_file(&socket);
        let _ = fs::remove_file(dir.join("pid"));
        fs::create_dir_all(dir.join("rrds")).unwrap();
        let child = Command::new("rrdcached")
            .args(["-g", "-w", "300", "-z", "1"])
            .args(more)
            .args(["-l", &format!("unix:{}", socket.display())])
            .args([Path::new("-b"), &dir.join("rrds"), Path::new("-p"), &dir.join("pid")])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        until("rrdcached listens", || UnixStream::connect(&socket).is_ok());
        Self { child }
    }

    fn send(&self, signal: &str) {
        let kill = format!("kill -{signal} {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
    }

    /// Has it write everything and end.
    fn stop(mut self) {
        self.send("TERM");
        self.child.wait().unwrap();
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !done() {
        assert!(Instant::now() < end, "{what}: not within 20 s");
        thread::sleep(Duration::from_millis(5));
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn unix(dir: &Path) -> RrdcachedStore {
    RrdcachedStore::new(Options::new(Address::Unix(dir.join("s")), dir.join("rrds")))
}

fn tcp(host: &str, port: u16, root: &Path) -> RrdcachedStore {
    RrdcachedStore::new(Options::new(Address::Tcp { host: host.into(), port }, root))
}

fn schema() -> Schema {
    let rra = |cf, steps, rows| RraSpec { cf, xff: 0.5, steps, rows };
    Schema::host(15, DsKind::Gauge, &[rra(Cf::Average, 1, 50), rra(Cf::Max, 4, 20)])
}

const START: i64 = 1_000_000_000;

/// Some points of each file, numbered from 0: every 15 seconds with a little jitter, some unknown.
fn write(store: &mut dyn Backend, paths: &[PathBuf], points: std::ops::Range<i64>) -> Vec<Result<(), RrdError>> {
    let schema = schema();
    let texts: Vec<Vec<String>> = (0..paths.len() as i64)
        .map(|file| {
            let text = |n: i64| if (file + n) % 17 == 5 { "U".into() } else { format!("{}.{}", file * n, n) };
            points.clone().map(text).collect()
        })
        .collect();
    let values: Vec<Vec<[Value<'_>; 1]>> =
        texts.iter().map(|texts| texts.iter().map(|text| [Value::Text(text)]).collect()).collect();
    let all: Vec<Vec<Point<'_>>> = values
        .iter()
        .map(|values| {
            let time = |n: i64| START + 15 * n + n % 3;
            points.clone().zip(values).map(|(n, values)| Point { time: time(n), values }).collect()
        })
        .collect();
    let jobs: Vec<Job<'_>> = paths
        .iter()
        .zip(&all)
        .map(|(path, points)| Job { path, schema: &schema, points, hot: true, create: true })
        .collect();
    store.write(&jobs).into_iter().map(|result| result.map(drop)).collect()
}

fn all_good(results: Vec<Result<(), RrdError>>) {
    for result in results {
        result.unwrap();
    }
}

/// The files must be to the byte what the native writer makes at the same place of these points.
fn assert_as_native(root: &Path, paths: &[PathBuf], points: std::ops::Range<i64>) {
    let ours: Vec<_> = paths.iter().map(|path| fs::read(path).unwrap()).collect();
    fs::remove_dir_all(root).unwrap();
    let mut native = NativeStore::new(gmetad_rrd::native::Options { sync_new: false, ..Default::default() });
    all_good(write(&mut native, paths, points));
    for (path, ours) in paths.iter().zip(ours) {
        assert!(fs::read(path).unwrap() == ours, "{}", path.display());
    }
}

#[test]
fn many_files_are_as_the_native_writer_makes_them() {
    if rrdcached_missing() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(dir.path(), &[]);
    let root = dir.path().join("rrds");
    let paths: Vec<_> = (0..1200).map(|i| root.join(format!("c/node{}/m{}.rrd", i / 50, i % 50))).collect();
    let mut store = unix(dir.path());
    for (from, to) in [(0, 3), (3, 4), (4, 19), (19, 20)] {
        all_good(write(&mut store, &paths, from..to)); // two batches
    }
    assert_eq!(store.pending(&paths[1]).unwrap().len(), 17, "the first three were in the new file");
    assert_eq!(store.pending(&paths[1]).unwrap()[0], "1000000045:3.3");
    store.flush(&paths[1]).unwrap();
    assert!(store.pending(&paths[1]).unwrap().is_empty());
    store.flush_all().unwrap();
    let written = |store: &mut RrdcachedStore| {
        let stats = store.stats().unwrap();
        assert_eq!(stats.len(), 9);
        stats.iter().find(|(name, _)| name == "DataSetsWritten").unwrap().1
    };
    until("all is written", || written(&mut store) == 20_400);
    daemon.stop();
    assert_as_native(&root, &paths, 0..20);
}

#[test]
fn over_tcp_with_names_and_files_made_by_rrdcached() {
    if rrdcached_missing() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let port = free_port();
    let daemon = Daemon::start(dir.path(), &["-B", "-R", "-l", &format!("127.0.0.1:{port}")]);
    let root = dir.path().join("rrds");
    let paths = |name: &str| (0..120).map(|i| root.join(format!("{name}/a host/{i}.rrd"))).collect::<Vec<_>>();
    let (here, there) = (paths("here"), paths("there"));
    // localhost may be ::1 first, where nobody listens.
    let mut near = tcp("localhost", port, &root);
    let mut far = tcp("127.0.0.1", port, Path::new("/no such directory"));
    for n in 0..20 {
        all_good(write(&mut near, &here, n..n + 1));
        all_good(write(&mut far, &there, n..n + 1));
    }
    daemon.stop();
    for (here, there) in here.iter().zip(&there) {
        // Where the archives begin is random in files librrd makes.
        let text = |path: &Path| {
            let text = View::open(path).unwrap().info_text("x");
            text.lines().filter(|line| !line.contains("cur_row")).map(|line| format!("{line}\n")).collect::<String>()
        };
        assert_eq!(text(here), text(there));
        let rows =
            |path: &Path| View::open(path).unwrap().fetch(Cf::Average, START, START + 300, 15).unwrap().unwrap().values;
        assert_eq!(format!("{:?}", rows(here)), format!("{:?}", rows(there)));
    }
    assert_as_native(&root, &here, 0..20);
}

#[test]
fn without_its_r_rrdcached_makes_no_directories() {
    if rrdcached_missing() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let port = free_port();
    let _daemon = Daemon::start(dir.path(), &["-B", "-l", &format!("127.0.0.1:{port}")]);
    let root = dir.path().join("rrds");
    let paths = ["a/1.rrd", "2.rrd", "b/3.rrd", "../4.rrd"].map(|name| root.join(name));
    let mut far = tcp("127.0.0.1", port, Path::new("/no such directory"));
    for _ in 0..2 {
        // Its two-line errors must not bring the answers out of step.
        let results = write(&mut far, &paths, 0..1);
        let text = |at: usize| results[at].as_ref().unwrap_err().to_string();
        assert!(text(0).ends_with("Did you pass -R to the daemon?") && text(0).contains("rrds/a/1.rrd"), "{}", text(0));
        assert!(text(2).contains("rrds/b/3.rrd: No permission to recursively create"), "{}", text(2));
        assert!(text(3).ends_with("4.rrd: Permission denied"), "{}", text(3));
        assert!(root.join("2.rrd").exists());
    }
}

#[test]
fn any_name_reaches_its_file() {
    if rrdcached_missing() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(dir.path(), &[]);
    let root = dir.path().join("rrds");
    let names = [
        "a b",
        " ",
        "back\\slash",
        "\\",
        "é ü 漢",
        "50% %s %n",
        "tab\there",
        "cr\r",
        "q\"uo'te",
        "a:b",
        "#;$(x)`",
        "\u{1}",
        "-O",
        "end\\ ",
    ];
    let paths: Vec<_> = names.iter().map(|name| root.join(format!("C {name}/{name}/{name}.rrd"))).collect();
    let mut store = unix(dir.path());
    for n in 0..10 {
        all_good(write(&mut store, &paths, n..n + 1));
    }
    for path in &paths {
        assert_eq!(store.pending(path).unwrap().len(), 9, "{}", path.display());
    }
    store.flush(&paths[2]).unwrap();
    let broken = [root.join("line\nbreak.rrd"), root.join("good.rrd")];
    let results = write(&mut store, &broken, 0..1);
    assert!(results[0].is_err() && results[1].is_ok(), "{results:?}");
    fs::remove_file(&broken[1]).unwrap();
    daemon.stop();
    assert_as_native(&root, &paths, 0..10);
}

#[test]
fn a_refused_point_costs_only_itself() {
    if rrdcached_missing() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(dir.path(), &[]);
    let path = dir.path().join("rrds/m.rrd");
    let mut store = unix(dir.path());
    let missing = store.update(&path, &[Point { time: START, values: &[Value::Unknown] }]).unwrap_err();
    assert!(matches!(missing, RrdError::Missing { .. }), "{missing}");
    assert!(matches!(store.flush(&path), Err(RrdError::Missing { .. })));
    store.create(&path, &schema(), START).unwrap();
    let good = [Value::Text("1")];
    let bad = [Value::Text("1 apple")];
    let poison = [Value::Text("1\nFLUSHALL")];
    let two = [Value::Unknown; 2];
    let point = |after, values| Point { time: START + after, values };
    let points = [
        point(-5, &good[..]),
        point(0, &good),
        point(5, &good),
        point(6, &bad),
        point(7, &two),
        point(8, &poison),
        point(9, &good),
        point(9, &good),
        point(10, &good),
    ];
    let schema = schema();
    let job = Job { path: &path, schema: &schema, points: &points, hot: true, create: true };
    let error = store.write_one(&job).unwrap_err();
    assert!(matches!(error, RrdError::Refused { refused: 6, .. }), "{error}");
    assert!(error.to_string().ends_with("Cannot convert '1 apple' to float (and 5 more points refused)"), "{error}");
    assert_eq!(store.pending(&path).unwrap(), [5, 9, 10].map(|after| format!("{}:1", START + after)));
    let error = store.write_one(&Job { points: &points[8..], ..job }).unwrap_err();
    let last = START + 10;
    assert!(
        matches!(error, RrdError::Refused { refused: 1, source: UpdateError::Past { time, last: l }, .. } if (time, l) == (last, last)),
        "{error}"
    );
    // What is in the way: each error at its own file.
    let other = |name: &str| dir.path().join("rrds").join(name);
    fs::create_dir(other("dir.rrd")).unwrap();
    fs::write(other("junk.rrd"), "x".repeat(500)).unwrap();
    let paths = [other("new.rrd"), other("dir.rrd"), other("new2.rrd"), other("junk.rrd"), other("m.rrd/x.rrd")];
    let results = write(&mut store, &paths, 1..2);
    assert!(results[0].is_ok() && results[2].is_ok(), "{results:?}");
    let text = |at: usize| results[at].as_ref().unwrap_err().to_string();
    assert!(text(1).contains("dir.rrd: Not a regular file"), "{}", text(1));
    assert!(text(3).contains("junk.rrd: RRD Error") && text(3).contains("is not an RRD file"), "{}", text(3));
    assert!(text(4).contains("m.rrd/x.rrd: stat failed"), "{}", text(4));
    // A new file in place of the old one, of which nothing is left in memory.
    store.create(&path, &schema, START - 100).unwrap();
    store.update(&path, &points[..1]).unwrap();
    assert_eq!(store.pending(&path).unwrap(), [format!("{}:1", START - 5)]);
    daemon.stop();
    assert_eq!(View::open(&path).unwrap().last(), START - 5);
}

#[test]
fn after_a_restart_all_points_are_there_and_none_twice() {
    if rrdcached_missing() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut daemon = Daemon::start(dir.path(), &[]);
    let root = dir.path().join("rrds");
    let paths: Vec<_> = (0..200).map(|i| root.join(format!("h{}/{i}.rrd", i % 7))).collect();
    let mut store = unix(dir.path());
    // As the caller does: the whole round again until all of it is taken. `down` is told of failures.
    let round = |store: &mut RrdcachedStore, n: i64, down: &mut dyn FnMut()| {
        until("the round is taken", || {
            let mut lost = false;
            for result in write(store, &paths, n..n + 1) {
                match result {
                    Err(RrdError::Rrdcached { .. }) => lost = true,
                    Ok(()) | Err(RrdError::Refused { source: UpdateError::Past { .. }, .. }) => {}
                    Err(other) => panic!("{other}"),
                }
            }
            if lost {
                down();
            }
            !lost
        });
    };
    for n in 0..5 {
        round(&mut store, n, &mut || panic!("nothing failed yet"));
    }
    // Told to stop while points come in: what it said yes to, it writes.
    daemon.send("TERM");
    let mut restarted = false;
    let mut n = 5;
    while !restarted {
        round(&mut store, n, &mut || {
            if daemon.child.try_wait().unwrap().is_some() {
                daemon = Daemon::start(dir.path(), &[]);
                restarted = true;
            }
        });
        n += 1;
    }
    // Killed when all is written. The store sees it before it sends.
    for path in &paths {
        store.flush(path).unwrap();
    }
    daemon.child.kill().unwrap();
    daemon.child.wait().unwrap();
    let daemon = Daemon::start(dir.path(), &[]);
    round(&mut store, n, &mut || panic!("the dead connection was not seen"));
    daemon.stop();
    assert_as_native(&root, &paths, 0..n + 1);
}

/// Passes everything between one client and rrdcached, but cuts the line when `cut` bytes have come back.
fn cutting_proxy(socket: PathBuf, cut: usize) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for (nth, client) in listener.incoming().enumerate() {
            let (mut client, server) = (client.unwrap(), UnixStream::connect(&socket).unwrap());
            let (mut from, mut to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            let there = thread::spawn(move || {
                let _ = std::io::copy(&mut from, &mut to);
                let _ = to.shutdown(Shutdown::Both);
            });
            let most = if nth == 0 { cut as u64 } else { u64::MAX };
            let _ = std::io::copy(&mut server.take(most), &mut client);
            let _ = client.shutdown(Shutdown::Both);
            there.join().unwrap();
        }
    });
    port
}

#[test]
fn what_was_taken_unheard_is_no_error_the_second_time() {
    if rrdcached_missing() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(dir.path(), &[]);
    let root = dir.path().join("rrds");
    let paths: Vec<_> = (0..50).map(|i| root.join(format!("{i}.rrd"))).collect();
    all_good(write(&mut unix(dir.path()), &paths, 0..1));
    // The answer to a batch is 48 bytes before its lines are sent, and "0 errors" behind.
    for (round, cut) in [0, 20, 47, 49, 53].into_iter().enumerate() {
        let mut store = tcp("127.0.0.1", cutting_proxy(dir.path().join("s"), cut), &root);
        let from = 1 + round as i64 * 3;
        let results = write(&mut store, &paths, from..from + 3);
        assert!(results.iter().all(|r| matches!(r, Err(RrdError::Rrdcached { .. }))), "{cut}: {results:?}");
        if cut > 48 {
            until("the points came through", || {
                store.pending(&paths[49]).is_ok_and(|lines| lines.len() as i64 >= from + 2)
            });
        }
        until("sent again", || match &write(&mut store, &paths, from..from + 3)[..] {
            results if results.iter().all(Result::is_ok) => true,
            results => {
                let waiting = results.iter().all(|r| matches!(r, Err(RrdError::Rrdcached { .. })));
                assert!(waiting, "{cut}: {results:?}");
                false
            }
        });
        // No doubt is left: now it is an error.
        assert!(matches!(write(&mut store, &paths, from..from + 3)[7], Err(RrdError::Refused { refused: 3, .. })));
    }
    daemon.stop();
    assert_as_native(&root, &paths, 0..16);
}

#[test]
fn commands_that_are_not_allowed() {
    if rrdcached_missing() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let _daemon = Daemon::start(dir.path(), &["-P", "UPDATE,STATS"]);
    let path = dir.path().join("rrds/m.rrd");
    let mut store = unix(dir.path());
    assert!(store.stats().is_ok());
    assert!(matches!(store.flush(&path), Err(RrdError::Librrd { .. })));
    let error = write(&mut store, &[path], 0..1).remove(0).unwrap_err().to_string();
    assert!(error.contains("rrdcached at unix:") && error.ends_with("\"-1 Permission denied.\""), "{error}");
}

/// A server that does `act` with each connection.
fn fake(act: impl Fn(TcpStream) + Send + 'static) -> RrdcachedStore {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || listener.incoming().for_each(|client| act(client.unwrap())));
    let short = Duration::from_millis(200);
    let timeouts = Timeouts { connect: Duration::from_secs(5), step: short, call: short * 3 };
    let address = Address::Tcp { host: "127.0.0.1".into(), port };
    RrdcachedStore::new(Options { timeouts, ..Options::new(address, "/no such directory") })
}

fn fails(store: &mut RrdcachedStore, part: &str) {
    let paths = [PathBuf::from("/no such directory/1.rrd"), PathBuf::from("/no such directory/2.rrd")];
    let begun = Instant::now();
    for result in write(store, &paths, 0..2) {
        let error = result.unwrap_err();
        assert!(matches!(error, RrdError::Rrdcached { .. }), "{error}");
        assert!(error.to_string().contains(part) && error.to_string().contains("rrdcached at "), "{part}: {error}");
        assert!(error.log_line().starts_with("RRD_update (/no such directory/"));
    }
    assert!(begun.elapsed() < Duration::from_secs(3));
    let error = store.stats().unwrap_err().to_string();
    assert!(error.contains(part) && error.contains("to be tried again in 0."), "within the back-off: {error}");
}

#[test]
fn servers_that_are_no_rrdcached() {
    let say = |text: &'static str| {
        fake(move |mut client| {
            let _ = client.write_all(text.as_bytes());
            let _ = client.read_to_end(&mut Vec::new());
        })
    };
    fails(&mut say("HTTP/1.1 400 Bad Request\r\n\r\n"), "its answer to BATCH is \"HTTP/1.1 400 Bad Request\"");
    fails(&mut say("0 Go ahea"), "no answer in time");
    fails(&mut say(""), "no answer in time");
    fails(&mut say("0 Go ahead.\n0 err"), "no answer in time");
    fails(&mut say("0 Go ahead.\n1 errors\n"), "no answer in time");
    fails(&mut say("0 Go ahead.\n-1 errors\n"), "its answer to a batch is \"-1 errors\"");
    fails(&mut say("0 Go ahead.\n99999999999 errors\n"), "99999999999 errors");
    fails(&mut say("0 Go ahead.\n1 errors\n7 what\n"), "7 what");
    fails(&mut say("0 Go ahead.\n2 errors\n2 what\n1 what\n"), "1 what");
    fails(&mut fake(drop), "it closed the connection");
    let mut endless = fake(|mut client| while client.write_all(&[b'x'; 4096]).is_ok() {});
    fails(&mut endless, "an answer without end");
    let mut slow = fake(|mut client| {
        while client.write_all(b"x").is_ok() {
            thread::sleep(Duration::from_millis(50)); // faster than a step's timeout, slower than a call's
        }
    });
    fails(&mut slow, "time"); // "no answer in time" or "no time left", whichever comes first
    // Reads nothing, until the buffers are full.
    let mut deaf = fake(|mut client| {
        client.write_all(b"0 Go ahead.\n").unwrap();
        thread::sleep(Duration::from_secs(60)); // holds the connection; the test does not wait for it
    });
    let paths: Vec<_> = (0..3000).map(|i| PathBuf::from(format!("/{}/{i}.rrd", "d".repeat(3000)))).collect();
    for result in write(&mut deaf, &paths, 0..1) {
        assert!(matches!(result, Err(RrdError::Rrdcached { .. })));
    }
}

#[test]
fn nobody_listens_and_no_such_name() {
    fails(&mut tcp("127.0.0.1", free_port(), Path::new("/no such directory")), "Connection refused");
    fails(&mut tcp("no-such-host.invalid", 1, Path::new("/no such directory")), "no-such-host.invalid:1");
    let dir = tempfile::tempdir().unwrap();
    fails(&mut unix(dir.path()), "No such file or directory");
}

#[test]
fn waits_grow_and_end() {
    if rrdcached_missing() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut store = unix(dir.path());
    let mut tried = Vec::new();
    until("three tries", || {
        let error = store.stats().unwrap_err().to_string();
        if !error.contains("tried again") {
            tried.push(Instant::now());
        }
        tried.len() == 3
    });
    let waited = [tried[1] - tried[0], tried[2] - tried[1]];
    assert!(waited[0] >= Duration::from_millis(249) && waited[1] >= Duration::from_millis(499), "{waited:?}");
    let _daemon = Daemon::start(dir.path(), &[]);
    until("connected again", || store.stats().is_ok());
}
