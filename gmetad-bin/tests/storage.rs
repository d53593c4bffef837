//! The way of points to RRD files and back: what waits, who sees it, what is left after a kill; with rrdtool, rrdcached and the
//! C gmetad as judges.
//!
//! The clock of a [`Cluster`] is the number of its polls, so that it can be told which points a file must have.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

#[allow(dead_code, unreachable_pub, missing_docs, reason = "each test program uses a part of the helpers")]
mod util;

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::ops::Range;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use gmetad_rrd::View;
use util::daemon::{Gmetad, Kind, Launch, have_c_gmetad, under_test, under_test_is_c};
use util::fake_gmond::{FakeGmond, Reply};
use util::{document, net, rrd};

/// Time of poll 0: a multiple of every step.
const START: u64 = 1_700_000_000 - 1_700_000_000 % 2400;
/// With a blank, which the protocol of rrdcached escapes.
const NAME: &str = "Blank Cluster";
const SMALL: &str = "RRAs \"RRA:AVERAGE:0.5:1:400\" \"RRA:AVERAGE:0.5:10:20\"";
/// What is written through is in its file within this time.
const PROMPT: Duration = Duration::from_secs(2);
const STOP: Duration = Duration::from_secs(5);
/// The user who may nothing.
const NOBODY: u32 = 65534;

/// True if these programs are missing, or ours is not under test; said.
fn left_out(test: &str, programs: &[&str]) -> bool {
    let missing = programs.iter().find(|program| util::find_program(program).is_none());
    if let Some(program) = missing {
        util::left_out(test, &format!("no {program} (Debian package {program})"));
    } else if under_test_is_c() {
        util::left_out(test, "the C gmetad keeps no points");
    }
    missing.is_some() || under_test_is_c()
}

fn tempdir() -> tempfile::TempDir {
    let dir = tempfile::Builder::new().prefix("gmetad-test-").tempdir().unwrap();
    fs::create_dir(dir.path().join("rrds")).unwrap();
    dir
}

/// Hosts `h0` … with metrics `m0` …; a host's file has at START + n what poll n said.
struct Cluster {
    source: FakeGmond,
    hosts: usize,
    metrics: usize,
}

impl Cluster {
    /// After `polls` polls the clock stands still: nothing new comes.
    fn ending(hosts: usize, metrics: usize, polls: usize) -> Self {
        let script = move |poll: usize| {
            let poll = poll.min(polls - 1);
            let time = START + poll as u64;
            let host = |host: usize| {
                let metric = |metric| {
                    document::metric(
                        &format!("m{metric}"),
                        &format!("{:.2}", value(host, metric, poll)),
                        "float",
                        "both",
                    )
                };
                document::host(&format!("h{host}"), time, &(0..metrics).map(metric).collect::<String>())
            };
            Reply::Bytes(document::of_cluster(NAME, time, &(0..hosts).map(host).collect::<String>()))
        };
        Self { source: FakeGmond::scripted(script), hosts, metrics }
    }

    fn endless(hosts: usize, metrics: usize) -> Self {
        Self::ending(hosts, metrics, usize::MAX)
    }

    fn launch(&self) -> Launch {
        self.launch_of(Kind::Ours)
    }

    fn launch_of(&self, kind: Kind) -> Launch {
        Launch::new(kind).with_rrds().line(SMALL).source("source", 1, self.source.address())
    }

    /// Polls so far.
    fn polls(&self) -> usize {
        self.source.polls()
    }

    fn wait_polls(&self, polls: usize) {
        util::wait_until(&format!("poll {polls}"), util::SOON * 2, || self.polls() >= polls);
    }

    /// The hosts' files, with their place in the script.
    fn files(&self, root: &Path) -> Vec<(usize, usize, PathBuf)> {
        let places = (0..self.hosts).flat_map(|host| (0..self.metrics).map(move |metric| (host, metric)));
        places.map(|(host, metric)| (host, metric, file(root, host, metric))).collect()
    }

    fn wait_files(&self, root: &Path) {
        util::wait_until("the files are made", util::SOON, || {
            self.files(root).iter().all(|(_, _, file)| file.exists())
        });
    }

    /// Fails unless the hosts' files have what these polls said.
    fn assert_has(&self, root: &Path, polls: Range<usize>) {
        let wrong = self.wrong(root, polls.clone());
        assert!(
            wrong.is_empty(),
            "of {polls:?}, {} are not there: {}",
            wrong.len(),
            wrong[..wrong.len().min(20)].join(", ")
        );
    }

    /// What the hosts' files do not have of these polls.
    fn wrong(&self, root: &Path, polls: Range<usize>) -> Vec<String> {
        let files = self.files(root);
        let paths: Vec<_> = files.iter().map(|(_, _, path)| path.clone()).collect();
        let at = |poll: usize| START + poll as u64;
        let rows = rrd::fetch_all(&paths, at(polls.start) - 1, at(polls.end));
        let mut wrong = Vec::new();
        for ((host, metric, _), rows) in files.iter().zip(rows) {
            for poll in polls.clone() {
                let found = rows.get(&at(poll));
                if !found.is_some_and(|row| rrd::same_row(row, &[value(*host, *metric, poll)])) {
                    wrong.push(format!("h{host}/m{metric} at {poll}: {found:?}"));
                }
            }
        }
        wrong
    }
}

fn value(host: usize, metric: usize, poll: usize) -> f64 {
    (host * 20_000 + metric * 150 + poll) as f64 + 0.25
}

fn file(root: &Path, host: usize, metric: usize) -> PathBuf {
    root.join(NAME).join(format!("h{host}/m{metric}.rrd"))
}

/// The poll of a file's newest point, read without leaving a trace in its access time.
fn newest(file: &Path) -> i64 {
    View::open(file).unwrap().last() - START.cast_signed()
}

fn rrdtool(arguments: &[&str], configure: impl FnOnce(&mut Command)) -> Result<String, String> {
    let mut command = Command::new("rrdtool");
    command.env("LC_ALL", "C").env_remove("RRDCACHED_ADDRESS").args(arguments);
    configure(&mut command);
    let output = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

fn run(arguments: &[&str]) -> (i32, String, String) {
    let Output { status, stdout, stderr } = Command::new(under_test()).args(arguments).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (status.code().unwrap(), text(stdout), text(stderr))
}

fn fsck_is_clean(root: &Path) {
    let (status, out, err) = run(&["--rrd-fsck", root.to_str().unwrap()]);
    assert!((0, "") == (status, err.as_str()), "{out}{err}");
    assert!(out.ends_with("0 problems, 0 files moved aside, 0 failures\n"), "{out}");
}

/// Ends it as a power button would.
fn kill(daemon: &mut Gmetad) {
    util::signal(daemon.pid(), "KILL");
    daemon.wait_exit(STOP);
}

fn stop(daemon: &mut Gmetad) {
    util::signal(daemon.pid(), "TERM");
    let status = daemon.wait_exit(STOP);
    assert!(status.success(), "{status}");
}

/// A figure of the store, from `/metrics`.
fn figure(http_port: u16, name: &str) -> u64 {
    let request = format!("GET /metrics HTTP/1.1\r\nHost: localhost:{http_port}\r\nConnection: close\r\n\r\n");
    let answer = net::ask(http_port, request.as_bytes(), net::After::KeepOpen).unwrap();
    let text = String::from_utf8_lossy(answer.body()).into_owned();
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("gmetad_rrd_{name} ")));
    line.unwrap_or_else(|| panic!("no {name} in {text}")).parse().unwrap()
}

/// The real rrdcached, with both kinds of sockets and without a journal.
struct Rrdcached {
    child: Child,
    dir: PathBuf,
    port: u16,
}

impl Rrdcached {
    /// Over `dir/rrds`.
    fn start(dir: &Path, port: u16) -> Self {
        let socket = dir.join("s");
        let _ = fs::remove_file(&socket);
        let _ = fs::remove_file(dir.join("pid"));
        let child = Command::new("rrdcached")
            .args(["-g", "-w", "300", "-z", "1", "-l", &format!("unix:{}", socket.display())])
            .args(["-l", &format!("127.0.0.1:{port}"), "-B", "-b", dir.join("rrds").to_str().unwrap()])
            .args([Path::new("-p"), &dir.join("pid")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let started = Self { child, dir: dir.to_owned(), port };
        util::wait_until("rrdcached listens", util::SOON, || {
            UnixStream::connect(&socket).is_ok() && TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        started
    }

    /// The first line of the answer.
    fn ask(&self, line: &str) -> String {
        let mut stream = UnixStream::connect(self.dir.join("s")).unwrap();
        stream.write_all(format!("{line}\n").as_bytes()).unwrap();
        let mut answer = String::new();
        BufReader::new(stream).read_line(&mut answer).unwrap();
        answer
    }

    /// Points that it has for a host's file.
    fn pending(&self, host: usize, metric: usize) -> usize {
        let path = file(&self.dir.join("rrds"), host, metric).display().to_string().replace(' ', "\\ ");
        self.ask(&format!("PENDING {path}")).split(' ').next().unwrap().parse().unwrap_or(0)
    }

    fn flush_all(&self) {
        let answer = self.ask("FLUSHALL");
        assert!(answer.starts_with("0 "), "{answer}");
    }
}

impl Drop for Rrdcached {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn through_rrdcached_the_files_are_those_of_the_native_writer() {
    const TEST: &str = "through_rrdcached_the_files_are_those_of_the_native_writer";
    const POLLS: usize = 6;
    if left_out(TEST, &["rrdtool", "rrdcached"]) {
        return;
    }
    let cluster = || Cluster::ending(2, 3, POLLS);
    let native = (tempdir(), cluster());
    let reference = native.1.launch().with_rrds_at(&native.0.path().join("rrds")).line("rrd_cache_seconds 0").start();
    let mut ways = ["unix", "tcp", "environment"].map(|way| {
        let (dir, cluster) = (tempdir(), cluster());
        let rrdcached = Rrdcached::start(dir.path(), util::free_port());
        let unix = format!("unix:{}/s", dir.path().display());
        let launch = cluster.launch().with_rrds_at(&dir.path().join("rrds"));
        let launch = match way {
            "unix" => launch
                .line(format!("rrdcached_address {unix}"))
                .line(format!("rrd_socket unix:{}/gmetad.sock", dir.path().display())),
            "tcp" => launch.line(format!("rrdcached_address 127.0.0.1:{}", rrdcached.port)),
            _ => launch.env("RRDCACHED_ADDRESS", &unix),
        };
        (way, launch.start(), cluster, rrdcached, dir)
    });
    let own = |name: &&String| !name.starts_with('.');
    let last = POLLS as i64 - 1;
    native.1.wait_polls(POLLS + 1);
    let is_rrd = |name: &&String| name.ends_with(".rrd");
    let names = util::wait_for("the native writer's files", util::SOON, || {
        let names: BTreeSet<_> = rrd::tree(&reference.rrd_root()).iter().filter(own).cloned().collect();
        (names.iter().filter(is_rrd).count() == 2 * 3 + 3 + 3).then_some(names)
    });
    // The root's summary has the clock of the daemon.
    let files: Vec<_> = names.iter().filter(is_rrd).filter(|name| !name.starts_with("__SummaryInfo__/")).collect();
    util::wait_until("the native writer's points", util::SOON, || {
        files.iter().all(|name| newest(&reference.rrd_root().join(name)) == last)
    });
    for (way, daemon, cluster, rrdcached, dir) in &mut ways {
        cluster.wait_polls(POLLS + 1);
        let root = daemon.rrd_root();
        util::wait_until("rrdcached has points", util::SOON, || {
            cluster.files(&root).iter().all(|(host, metric, file)| {
                let inside = newest(file); // what the file was made with
                rrdcached.pending(*host, *metric) as i64 == last - inside && inside < last
            })
        });
        if *way == "unix" {
            // Our own socket shows what rrdcached has, too.
            let (socket, one) = (format!("unix:{}/gmetad.sock", dir.path().display()), file(&root, 1, 2));
            let seen = rrdtool(&["last", "--daemon", &socket, one.to_str().unwrap()], |_| {});
            assert_eq!(seen, Ok(format!("{}\n", START as i64 + last)));
        }
        rrdcached.flush_all();
        util::wait_until("rrdcached has written", util::SOON, || {
            files.iter().all(|name| newest(&root.join(name)) == last)
        });
        cluster.assert_has(&root, 0..POLLS);
        let found: BTreeSet<_> = rrd::tree(&root).iter().filter(own).cloned().collect();
        assert_eq!(found, names, "{way}");
        for name in &files {
            let [mine, theirs] = [&root, &reference.rrd_root()].map(|root| root.join(name));
            let wrong = rrd::info_differences(&rrd::info(&mine), &rrd::info(&theirs));
            assert!(wrong.is_empty(), "{way}: {name}: {wrong:?}");
            let [mine, theirs] = [mine, theirs].map(|file| rrd::fetch(&file, START - 1, START + POLLS as u64));
            assert!(mine.iter().zip(&theirs).all(|(a, b)| a.0 == b.0 && rrd::same_row(a.1, b.1)), "{way}: {name}");
        }
        stop(daemon);
        assert_eq!(own_files(&root), ["lock"], "{way}");
        let log = daemon.log();
        assert!(!log.contains("rrdcached") && !log.contains("rror"), "{way}: {log}");
    }
}

#[test]
fn rrdcached_without_an_address_is_refused() {
    if left_out("rrdcached_without_an_address_is_refused", &[]) {
        return;
    }
    let (status, log) = Cluster::ending(1, 1, 1).launch().line("rrd_backend rrdcached").refused();
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(log.contains("rrd_backend rrdcached needs an address: add a line such as rrdcached_address "), "{log}");
}

/// What rrdcached had in memory is lost with it, nothing before and nothing after; not even if we end while it is away.
#[test]
fn rrdcached_dies_and_comes_back() {
    if left_out("rrdcached_dies_and_comes_back", &["rrdtool", "rrdcached"]) {
        return;
    }
    let (dir, cluster, port) = (tempdir(), Cluster::endless(2, 2), util::free_port());
    let root = dir.path().join("rrds");
    let mut rrdcached = Rrdcached::start(dir.path(), port);
    let address = format!("rrdcached_address unix:{}/s", dir.path().display());
    let mut daemon = cluster.launch().with_rrds_at(&root).line(address).start();
    cluster.wait_files(&root);
    cluster.wait_polls(4);
    rrdcached.flush_all();
    let files = cluster.files(&root);
    util::wait_until("it has written", util::SOON, || files.iter().all(|(_, _, file)| newest(file) >= 2));
    cluster.source.wait_polls(2);
    let inside = files.iter().map(|(_, _, file)| newest(file)).min().unwrap() as usize;
    rrdcached.child.kill().unwrap();
    rrdcached.child.wait().unwrap();
    let lost = cluster.polls();
    let log = daemon.dir().join("log");
    let told = |part: &str| fs::read_to_string(&log).unwrap().lines().filter(|line| line.contains(part)).count();
    util::wait_until("the loss is told", util::SOON, || told("kept in memory and tried again") > 0);
    cluster.source.wait_polls(3);
    let asked = Instant::now();
    let hosts = daemon.tree(&format!("/{NAME}")).count("HOST");
    assert!(hosts == 2 && asked.elapsed() < PROMPT, "{hosts} hosts after {:?}", asked.elapsed());

    let mut rrdcached = Rrdcached::start(dir.path(), port);
    util::wait_until("it is told that points are written again", util::SOON, || told("are written again after") > 0);
    let until = cluster.polls();
    cluster.wait_polls(until + 1);
    util::wait_until("all is written", util::SOON, || {
        rrdcached.flush_all();
        files.iter().all(|(_, _, file)| newest(file) >= until as i64)
    });
    cluster.assert_has(&root, 0..inside + 1);
    cluster.assert_has(&root, lost..until);
    let lines: Vec<_> = daemon.log().lines().filter(|line| line.contains("rrdcached")).map(str::to_owned).collect();
    assert!(lines.len() == 1 && told("are written again after") == 1, "{lines:#?}");

    rrdcached.child.kill().unwrap();
    rrdcached.child.wait().unwrap();
    let lost = cluster.polls();
    cluster.source.wait_polls(4);
    stop(&mut daemon);
    let ended = cluster.polls() - 1; // the last poll may have been cut
    assert_eq!(told("RRD points stay in the journal below "), 1);
    assert!(own_files(&root).len() > 1);
    let conf = daemon.conf_path();
    let flush = || run(&["--flush-and-exit", "-c", conf.to_str().unwrap()]);
    // Not without it.
    let (status, out, err) = flush();
    assert!(status == 1 && out.contains(" points were in the journal: 0 written now, "), "{status}: {out}{err}");
    assert!(err.contains("not all points are in the files"), "{err}");
    let rrdcached = Rrdcached::start(dir.path(), port);
    let (status, out, err) = flush();
    assert!(
        status == 0 && !out.starts_with("0 ") && out.ends_with(" 0 could not be written, 0 stay in the journal\n"),
        "{status}: {out}{err}"
    );
    assert_eq!(own_files(&root), ["lock"]);
    util::wait_until("all is written", util::SOON, || {
        rrdcached.flush_all();
        files.iter().all(|(_, _, file)| newest(file) >= ended as i64 - 1)
    });
    cluster.assert_has(&root, lost..ended);
}

/// `rrdtool --daemon` sees what waits; over both kinds of socket, by option and by environment.
#[test]
fn rrd_socket_shows_what_waits() {
    const TEST: &str = "rrd_socket_shows_what_waits";
    const POLLS: usize = 5;
    const LAST: usize = POLLS - 1;
    if left_out(TEST, &["rrdtool"]) {
        return;
    }
    let (dir, port, cluster) = (tempdir(), util::free_port(), Cluster::ending(4, 2, POLLS));
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let (root, unix) = (dir.path().join("rrds"), format!("unix:{}/gmetad.sock", dir.path().display()));
    let tcp = format!("127.0.0.1:{port}");
    let daemon = cluster
        .launch()
        .with_rrds_at(&root)
        .line("rrd_cache_seconds 3600")
        .line(format!("rrd_socket {unix} {tcp}"))
        .start();
    cluster.wait_files(&root);
    let newest_text = format!("{}\n", START + LAST as u64);
    for (host, address, by_option) in [(0, &unix, true), (1, &tcp, true), (2, &unix, false), (3, &tcp, false)] {
        let way = format!("{address}, {}", if by_option { "option" } else { "environment" });
        let there = file(&root, host, 0);
        // By TCP rrdtool wants relative paths.
        let name = if address == &tcp { there.strip_prefix(&root).unwrap() } else { &there }.to_str().unwrap();
        let ask = |arguments: &[&str]| {
            let options: &[&str] = if by_option { &["--daemon", address] } else { &[] };
            rrdtool(&[&arguments[..1], options, &arguments[1..]].concat(), |command| {
                if !by_option {
                    command.env("RRDCACHED_ADDRESS", address);
                }
            })
            .unwrap_or_else(|error| panic!("{way}: {arguments:?}: {error}"))
        };
        util::wait_until("the last point", util::SOON, || ask(&["last", name]) == newest_text);
        assert!(newest(&there) < LAST as i64, "{way}: it waits");
        let (start, end) = (&START.to_string(), &(START + LAST as u64).to_string());
        let fetched = ask(&["fetch", name, "AVERAGE", "-s", start, "-e", end]);
        for poll in 1..POLLS {
            let row = fetched.lines().find_map(|line| line.strip_prefix(&format!("{}: ", START + poll as u64)));
            let row = row.unwrap_or_else(|| panic!("{way}: {fetched}"));
            assert!(row.parse::<f64>().is_ok_and(|seen| seen == value(host, 0, poll)), "{way}: {poll}: {fetched}");
        }
        let png = dir.path().join("graph.png");
        let def = format!("DEF:a={}:sum:AVERAGE", name.replace(':', "\\:"));
        let prints = ["VDEF:last=a,LAST", "VDEF:most=a,MAXIMUM", "PRINT:last:%.2lf", "PRINT:most:%.2lf"];
        let graph = ["graph", png.to_str().unwrap(), "-s", start, "-e", end, &def, "LINE1:a#ff0000"];
        let printed = ask(&[&graph[..], &prints].concat());
        let numbers: Vec<f64> = printed.lines().skip(1).map(|line| line.parse().unwrap()).collect();
        assert_eq!(numbers, [value(host, 0, LAST); 2], "{way}: {printed}");
        assert!(fs::read(&png).unwrap().starts_with(b"\x89PNG"), "{way}");
        fs::remove_file(&png).unwrap();
        // All that without a write.
        let plain = rrdtool(&["last", there.to_str().unwrap()], |_| {}).unwrap();
        assert!(plain < newest_text, "{way}: the file has {plain}");
        // rrdtool has it written for these.
        let info = ask(&["info", name]);
        assert!(info.contains(&format!("last_update = {newest_text}")), "{way}: {info}");
        if address == &unix {
            let (last, number) = (START + LAST as u64, value(host, 0, LAST));
            let seen = ask(&["lastupdate", name]);
            assert!(seen.contains(&format!("{last}: {number}")), "{way}: {seen}");
        }
    }

    let there = file(&root, 1, 1);
    let name = there.to_str().unwrap();
    let update = |time: usize, uid: Option<u32>| {
        let point = format!("{}:7", START + time as u64);
        rrdtool(&["update", "--daemon", &unix, name, &point], |command| {
            if let Some(uid) = uid {
                command.uid(uid).gid(uid);
            }
        })
    };
    update(POLLS, None).unwrap();
    let (start, end) = (&START.to_string(), &(START + POLLS as u64).to_string());
    let fetch = ["fetch", "--daemon", &unix, name, "AVERAGE", "-s", start, "-e", end];
    let point = format!("{}: 7.0000000000e+00", START + POLLS as u64);
    assert!(rrdtool(&fetch, |_| {}).unwrap().contains(&point));
    if fs::metadata("/proc/self").unwrap().uid() != 0 {
        util::left_out(TEST, "another user's client, which only root can start");
    } else {
        let refused = update(POLLS + 1, Some(NOBODY)).unwrap_err();
        assert!(refused.contains("Permission denied"), "{refused}");
        let seen = rrdtool(&fetch, |command| _ = command.uid(NOBODY).gid(NOBODY)).unwrap();
        assert!(seen.contains(&point), "{seen}");
    }
    let refused =
        rrdtool(&["update", "--daemon", &tcp, &format!("{NAME}/h1/m1.rrd"), &format!("{}:7", START + 9)], |_| {});
    assert!(refused.as_ref().is_err_and(|error| error.contains("Permission denied")), "{refused:?}");
    assert_eq!(rrdtool(&["last", "--daemon", &unix, name], |_| {}).unwrap(), format!("{end}\n"));
    let log = daemon.log();
    assert!(!log.contains("rror"), "{log}");
}

/// Reads a file so that its access time tells; false if the file system keeps none.
fn is_seen_reading(path: &Path) -> bool {
    // Times have ticks: what is read in the tick of the last write is not known as read.
    let until = Instant::now() + Duration::from_secs(1);
    loop {
        fs::read(path).unwrap();
        let found = fs::metadata(path).unwrap();
        if (found.atime(), found.atime_nsec()) > (found.mtime(), found.mtime_nsec()) {
            return true;
        }
        if Instant::now() > until {
            return false;
        }
    }
}

#[test]
fn what_is_asked_for_or_read_is_written_through() {
    const TEST: &str = "what_is_asked_for_or_read_is_written_through";
    if left_out(TEST, &[]) {
        return;
    }
    let cluster = Cluster::endless(3, 2);
    let daemon = cluster.launch().line("rrd_cache_seconds 3600").start();
    let root = daemon.rrd_root();
    cluster.wait_files(&root);
    let host = |host: usize| [file(&root, host, 0), file(&root, host, 1)];
    let now = |files: &[PathBuf]| files.iter().map(|file| newest(file)).collect::<Vec<_>>();
    let others = [host(1), host(2)].concat();
    let all = [host(0), host(1), host(2)].concat();
    let summary = root.join(NAME).join("__SummaryInfo__/m0.rrd");
    // A poll that has begun is in the files soon; said with the number of the poll.
    let follow = |what: &str, files: &[PathBuf]| {
        let poll = cluster.polls() as i64 - 1;
        util::wait_until(&format!("{what} has poll {poll}"), PROMPT, || files.iter().all(|file| newest(file) >= poll));
        poll
    };
    let next_poll = || cluster.source.wait_polls(1);

    next_poll();
    let first = now(&all);
    let root_summary = root.join("__SummaryInfo__/m0.rrd");
    util::wait_until("the root's summary is made", util::SOON, || root_summary.exists());
    let first_of_root = newest(&root_summary);
    for request in ["/", "/?filter=summary", &format!("/{NAME}?filter=summary"), "/*", "/nosuch", "/nosuch/h0"] {
        assert!(!daemon.query(request).is_empty(), "{request}");
        next_poll();
        follow("the summary", std::slice::from_ref(&summary));
        assert_eq!(now(&all), first, "{request} has nothing written");
    }

    daemon.query(&format!("/{NAME}/h0"));
    for _ in 0..4 {
        follow("the host asked for", &host(0));
        follow("the summary", std::slice::from_ref(&summary));
        assert_eq!(now(&others), first[2..], "others wait");
        next_poll();
    }

    next_poll();
    follow("the host asked for", &host(0)); // what comes after the question waits again
    daemon.query(&format!("/{NAME}"));
    let poll = follow("the cluster asked for", &all);
    next_poll();
    follow("the host asked for", &host(0));
    let once = now(&others);
    next_poll();
    next_poll();
    follow("the host asked for", &host(0));
    assert_eq!(now(&others), once, "once");
    assert!(once.iter().all(|newest| *newest <= poll + 2), "{once:?} at {poll}");

    util::wait_until("the root's summary is written", util::SOON, || newest(&root_summary) > first_of_root);

    // Seen when the file is written the next time.
    let [read, unread] = host(2);
    if !is_seen_reading(&read) {
        return util::left_out(TEST, "this file system keeps no access times");
    }
    next_poll();
    assert_eq!(now(&others), once, "still");
    follow("the host asked for", &host(0));
    daemon.query(&format!("/{NAME}"));
    follow("the cluster asked for", &all);
    next_poll();
    for _ in 0..3 {
        follow("the file that was read", std::slice::from_ref(&read));
        next_poll();
    }
    let [read, unread, other] = [&read, &unread, &file(&root, 1, 0)].map(|file| newest(file));
    assert!(read >= unread + 2 && read >= other + 2, "{read} {unread} {other}");
}

/// With the timer instead of a request.
#[test]
fn a_file_that_is_read_is_written_through_after_the_next_flush() {
    const TEST: &str = "a_file_that_is_read_is_written_through_after_the_next_flush";
    if left_out(TEST, &[]) {
        return;
    }
    let cluster = Cluster::endless(1, 2);
    let daemon = cluster.launch().line("rrd_cache_seconds 6").start();
    let root = daemon.rrd_root();
    cluster.wait_files(&root);
    let [read, unread] = [file(&root, 0, 0), file(&root, 0, 1)];
    let flushed = newest(&unread);
    util::wait_until("a flush", util::SOON, || newest(&unread) > flushed);
    if !is_seen_reading(&read) {
        return util::left_out(TEST, "this file system keeps no access times");
    }
    util::wait_until("it is ahead of its neighbour", util::SOON, || {
        let (neighbour, own) = (newest(&unread), newest(&read));
        own >= neighbour + 2 && newest(&unread) == neighbour
    });
}

/// kill -9, `--flush-and-exit`, the C gmetad on the same tree, and ours again.
#[test]
fn there_and_back_to_the_c_gmetad() {
    const TEST: &str = "there_and_back_to_the_c_gmetad";
    const POLLS: usize = 4;
    if left_out(TEST, &["rrdtool"]) {
        return;
    }
    let (dir, first) = (tempdir(), Cluster::ending(3, 4, POLLS));
    let root = dir.path().join("rrds");
    let launch = |cluster: &Cluster, kind| cluster.launch_of(kind).with_rrds_at(&root);
    let cached = |cluster: &Cluster| launch(cluster, Kind::Ours).line("rrd_cache_seconds 3600");
    let mut daemon = cached(&first).start();
    first.wait_files(&root);
    first.wait_polls(POLLS + 3); // the journal is written each second
    kill(&mut daemon);
    let waiting = first.wrong(&root, 0..POLLS).len();
    assert!(waiting > 12, "only {waiting} points waited");
    let conf = daemon.conf_path();
    // A copy of it with a damaged file, and a directory that is no tree of ours: neither may look like success.
    let copy = dir.path().join("copy");
    let copied = Command::new("cp").arg("-a").arg(&root).arg(&copy).status().unwrap();
    assert!(copied.success());
    fs::write(copy.join(first.files(&root)[0].2.strip_prefix(&root).unwrap()), "no RRD file").unwrap();
    let elsewhere = |to: &Path| {
        let text = fs::read_to_string(&conf).unwrap().replace(root.to_str().unwrap(), to.to_str().unwrap());
        let file = dir.path().join("elsewhere.conf");
        fs::write(&file, text).unwrap();
        run(&["--flush-and-exit", "-c", file.to_str().unwrap()])
    };
    let (status, out, err) = elsewhere(&copy);
    assert!(status == 1 && !out.contains(", 0 could not be written"), "{out}{err}");
    assert!(err.contains("not all points are in the files"), "{err}");
    fs::create_dir(dir.path().join("wrong")).unwrap();
    let (status, out, err) = elsewhere(&dir.path().join("wrong"));
    assert!(status == 1 && out.is_empty() && err.contains("is it the right rrd_rootdir?"), "{out}{err}");
    let flush = || run(&["--flush-and-exit", "-c", conf.to_str().unwrap()]);
    let (status, out, err) = flush();
    assert_eq!(status, 0, "{out}{err}");
    assert!(out.contains(" points were in the journal: ") && !out.starts_with("0 "), "{out}{err}");
    first.assert_has(&root, 0..POLLS);
    assert_eq!(own_files(&root), ["lock"]);
    let (status, out, err) = flush();
    assert!(status == 0 && out.starts_with("0 points were in the journal: 0 "), "again: {out}{err}");
    fsck_is_clean(&root);
    if !have_c_gmetad(TEST) {
        return;
    }

    // The source goes on where its clock stood.
    let cluster = Cluster::endless(3, 4);
    let skip = |polls| (0..polls).for_each(|_| drop(net::dump(cluster.source.address().port())));
    skip(POLLS);
    let mut c = launch(&cluster, Kind::C).start();
    let files = cluster.files(&root);
    util::wait_until("the C gmetad writes", util::SOON, || {
        files.iter().all(|(_, _, file)| newest(file) > POLLS as i64 + 2)
    });
    util::signal(c.pid(), "TERM");
    c.wait_exit(STOP);
    let written = files.iter().map(|(_, _, file)| newest(file)).min().unwrap() as usize;
    for (host, metric, file) in &files {
        let info = rrd::info(file);
        let last = info["last_update"].parse::<usize>().unwrap() - START as usize;
        assert!(
            last >= written && info["ds[sum].last_ds"].starts_with(&format!("\"{:.2}", value(*host, *metric, last))),
            "{info:#?}"
        );
    }
    let log = c.log();
    assert!(!["RRD_", "rror", "illegal", "annot"].iter().any(|word| log.contains(word)), "{log}");
    cluster.assert_has(&root, 0..written + 1);
    fsck_is_clean(&root);

    let mut daemon = cached(&cluster).start();
    let goal = cluster.polls() + 3;
    cluster.wait_polls(goal + 1);
    stop(&mut daemon);
    // What was polled while nobody wrote is not there.
    cluster.assert_has(&root, 0..written + 1);
    cluster.assert_has(&root, goal - 2..goal);
    let log = daemon.log();
    assert!(!log.contains("RRD_update") && !log.contains("rror"), "{log}");
    fsck_is_clean(&root);
}

/// What is in the journal's directory.
fn own_files(root: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(root.join(".gmetad"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

#[test]
fn one_daemon_a_tree_and_its_figures() {
    if left_out("one_daemon_a_tree_and_its_figures", &[]) {
        return;
    }
    let (dir, cluster) = (tempdir(), Cluster::endless(2, 3));
    let (root, http_port) = (dir.path().join("rrds"), util::free_port());
    let cached = |cluster: &Cluster| cluster.launch().with_rrds_at(&root).line("rrd_cache_seconds 3600");
    let mut daemon = cached(&cluster).line(format!("http_port {http_port}")).start();
    cluster.wait_files(&root);
    util::wait_until("points wait", util::SOON, || figure(http_port, "points_pending") >= 6);
    let own = format!("the RRD tree {} is in use by process {} ", root.display(), daemon.pid());

    let (status, log) = cached(&Cluster::ending(1, 1, 1)).refused();
    assert!(status.code() == Some(1) && log.contains(&own), "{status}: {log}");
    let (status, out, err) = run(&["--flush-and-exit", "-c", daemon.conf_path().to_str().unwrap()]);
    assert!(status == 1 && out.is_empty() && err.contains(&own), "{status}: {out}{err}");
    fsck_is_clean(&root);
    assert!(figure(http_port, "points_pending") >= 6, "nothing was flushed");

    // Both pages show the figures, which move.
    let written = figure(http_port, "points_written_total");
    let accepted = figure(http_port, "points_accepted_total");
    cluster.source.wait_polls(2);
    util::wait_until("points_written grows", util::SOON, || figure(http_port, "points_written_total") > written);
    assert!(figure(http_port, "points_accepted_total") >= accepted + 6);
    let request = format!("GET /status HTTP/1.1\r\nHost: localhost:{http_port}\r\nConnection: close\r\n\r\n");
    let answer = net::ask(http_port, request.as_bytes(), net::After::KeepOpen).unwrap();
    let status = String::from_utf8_lossy(answer.body()).into_owned();
    let shown = |name: &str| {
        let (_, rrd) = status.split_once("\"rrd\":{").unwrap_or_else(|| panic!("{status}"));
        let (_, rest) = rrd.split_once(&format!("\"{name}\":")).unwrap_or_else(|| panic!("no {name}: {status}"));
        let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
        digits.parse::<u64>().unwrap()
    };
    assert!(shown("points_pending") >= 12 && shown("points_written") > written, "{status}");
    assert!(shown("points_pending") <= shown("points_accepted") && shown("points_dropped") == 0, "{status}");

    // What the reload cannot do is told.
    let told = || daemon.log().lines().filter(|line| line.contains("rrd_cache_") && line.contains("restart")).count();
    let lines = daemon.lines().to_vec();
    daemon.reload_with(&lines);
    util::wait_until("it has reloaded", util::SOON, || daemon.log().contains("reloaded: 1 sources kept"));
    assert_eq!(told(), 0, "nothing has changed");
    daemon.reload_with(&lines.iter().map(|line| line.replace("seconds 3600", "seconds 30")).collect::<Vec<_>>());
    util::wait_until("a restart is asked for", util::SOON, || told() == 1);
    stop(&mut daemon);
    assert_eq!(own_files(&root), ["lock"]);
    // Free again.
    let mut daemon = cached(&cluster).start();
    stop(&mut daemon);
}

#[test]
fn sigterm_writes_all_that_waits() {
    const POLLS: usize = 5;
    if left_out("sigterm_writes_all_that_waits", &["rrdtool"]) {
        return;
    }
    let cluster = Cluster::ending(33, 100, POLLS);
    let http_port = util::free_port();
    let mut daemon = cluster.launch().line("rrd_cache_seconds 3600").line(format!("http_port {http_port}")).start();
    let root = daemon.rrd_root();
    cluster.wait_files(&root);
    cluster.wait_polls(POLLS + 1);
    let accepted = POLLS as u64 * (3300 + 100);
    util::wait_until("all points", util::SOON, || figure(http_port, "points_accepted_total") >= accepted);
    assert!(figure(http_port, "points_pending") >= 3300);
    let begun = Instant::now();
    stop(&mut daemon);
    println!("3300 files written after {:?}", begun.elapsed());
    cluster.assert_has(&root, 0..POLLS);
    assert_eq!(own_files(&root), ["lock"]);
    fsck_is_clean(&root);
}
