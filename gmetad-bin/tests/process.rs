//! The program as an administrator meets it: options, messages, exit statuses, signals, the pid file, access.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

#[allow(dead_code, unreachable_pub, missing_docs, reason = "each test program uses a part of the helpers")]
mod util;

use std::fs;
use std::io::{Read, Seek};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use util::daemon::{Gmetad, Launch, source_line, under_test, under_test_is_c};
use util::fake_gmond::FakeGmond;
use util::{document, net};

/// Within this time a daemon that was told to stop has stopped.
const STOP: Duration = Duration::from_secs(5);

/// Runs the program under test to its end. One that goes on when it should not is killed, and fails the test.
fn run(arguments: &[&str]) -> Output {
    finish(Command::new(under_test()).args(arguments))
}

fn finish(command: &mut Command) -> Output {
    // Into files, not pipes: a daemon that leaves its parent may keep them open.
    let [mut stdout, mut stderr] = [(); 2].map(|()| tempfile::tempfile().unwrap());
    command.stdin(Stdio::null()).stdout(stdout.try_clone().unwrap()).stderr(stderr.try_clone().unwrap());
    let mut child = command.spawn().unwrap();
    let end = Instant::now() + util::SOON;
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if Instant::now() > end {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("{command:?} did not end by itself: {}", text(&contents(&mut stderr)));
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    Output { status, stdout: contents(&mut stdout), stderr: contents(&mut stderr) }
}

fn contents(file: &mut fs::File) -> Vec<u8> {
    let mut bytes = Vec::new();
    file.rewind().unwrap();
    file.read_to_end(&mut bytes).unwrap();
    bytes
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A directory with a gmetad.conf: these lines, free ports and a place for RRDs.
struct Files {
    dir: tempfile::TempDir,
    xml_port: u16,
}

impl Files {
    fn with(lines: &str) -> Self {
        let dir = tempfile::Builder::new().prefix("gmetad-test-").tempdir().unwrap();
        let (xml_port, interactive_port) = (util::free_port(), util::free_port());
        let path = dir.path().display();
        fs::create_dir(dir.path().join("rrds")).unwrap();
        let mut conf = format!(
            "{lines}\nsetuid off\nxml_port {xml_port}\ninteractive_port {interactive_port}\nrrd_rootdir \"{path}/rrds\"\n"
        );
        if !under_test_is_c() {
            fs::create_dir(dir.path().join("state")).unwrap();
            conf += &format!("state_dir \"{path}/state\"\n");
        }
        fs::write(dir.path().join("gmetad.conf"), conf).unwrap();
        Self { dir, xml_port }
    }

    fn conf(&self) -> String {
        self.path("gmetad.conf").display().to_string()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}

/// A program that was told to start in the foreground and must refuse: its output.
fn refuses(conf: &str) -> Output {
    let mut command = Command::new(under_test());
    if !under_test_is_c() {
        command.arg("-f");
    }
    finish(command.args(["-d", "1", "-c", conf]))
}

#[test]
fn version() {
    for option in ["--version", "-V"] {
        let output = run(&[option]);
        assert!(output.status.success(), "{option}: {output:?}");
        assert!(text(&output.stdout).starts_with("gmetad "), "{option}: {output:?}");
        assert!(output.stderr.is_empty(), "{option}: {output:?}");
    }
}

#[test]
fn help() {
    for option in ["--help", "-h"] {
        let output = run(&[option]);
        assert!(output.status.success(), "{option}: {output:?}");
        for wanted in ["--conf", "--debug", "--pid-file", "--version"] {
            assert!(text(&output.stdout).contains(wanted), "{option} does not mention {wanted}: {output:?}");
        }
    }
}

#[test]
fn unknown_options_are_refused() {
    let output = run(&["--no-such-option"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(text(&output.stderr).contains("no-such-option"), "{output:?}");
}

#[test]
fn a_missing_configuration() {
    let output = run(&["-d", "1", "-c", "/nonexistent/gmetad.conf"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(text(&output.stderr).contains("/nonexistent/gmetad.conf"), "{output:?}");
}

#[test]
fn an_unknown_directive_is_refused() {
    let files = Files::with("data_source \"x\" 127.0.0.1:1\nno_such_directive 1");
    let output = refuses(&files.conf());
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(text(&output.stderr).contains("no_such_directive"), "{output:?}");
}

#[test]
fn no_data_source_is_refused() {
    let files = Files::with("gridname \"x\"");
    let output = refuses(&files.conf());
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(text(&output.stderr).contains("data source"), "{output:?}");
}

#[test]
fn check_of_a_good_configuration() {
    if under_test_is_c() {
        return util::left_out("check_of_a_good_configuration", "the C gmetad has no --check");
    }
    let files = Files::with("data_source \"x\" 127.0.0.1:1");
    let output = run(&["--check", "-c", &files.conf()]);
    assert!(output.status.success(), "{output:?}");
    net::connect(files.xml_port).expect_err("--check starts nothing");
    let place = format!("# the tree is saved in {}/tree-{},", files.path("state").display(), files.xml_port);
    assert!(text(&output.stdout).contains(&place), "no {place} in {output:?}");
    assert_eq!(fs::read_dir(files.path("state")).unwrap().count(), 0, "--check makes nothing");
}

#[test]
fn check_of_a_bad_configuration_names_the_place() {
    if under_test_is_c() {
        return util::left_out("check_of_a_bad_configuration_names_the_place", "the C gmetad has no --check");
    }
    let files = Files::with("data_source \"x\" 127.0.0.1:1\n\n  no_such_directive 1");
    let output = run(&["--check", "-c", &files.conf()]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let place = format!("{}:3:3", files.conf());
    assert!(text(&output.stderr).contains(&place), "no {place} in {output:?}");
    assert!(text(&output.stderr).contains("no_such_directive"), "{output:?}");
    let output = run(&["--check", "-c", "/nonexistent/gmetad.conf"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
}

#[test]
fn a_busy_xml_port() {
    let files = Files::with("data_source \"x\" 127.0.0.1:1");
    let _occupied = TcpListener::bind((Ipv4Addr::UNSPECIFIED, files.xml_port)).unwrap();
    let output = refuses(&files.conf());
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(text(&output.stderr).contains("xml_port"), "{output:?}");
}

#[test]
fn a_missing_rrd_rootdir() {
    let files = Files::with("data_source \"x\" 127.0.0.1:1");
    fs::remove_dir(files.path("rrds")).unwrap();
    let output = refuses(&files.conf());
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(text(&output.stderr).contains("rrds"), "{output:?}");
}

/// Kills what a pid file names, should a test fail before it has stopped it.
struct KillAtEnd(PathBuf);

impl Drop for KillAtEnd {
    fn drop(&mut self) {
        if let Some(pid) = read_pid(&self.0).filter(|pid| util::alive(*pid)) {
            util::signal(pid, "KILL");
        }
    }
}

fn read_pid(file: &Path) -> Option<u32> {
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

#[test]
fn a_daemon_has_a_pid_file_and_stops_at_sigterm() {
    let source = FakeGmond::serving_now(document::honest("Honest", 1, 1));
    let files = Files::with(&source_line("x", 1, source.address()));
    let pid_file = files.path("gmetad.pid");
    let guard = KillAtEnd(pid_file.clone());
    let status = finish(Command::new(under_test()).args(["-c", &files.conf(), "-p"]).arg(&pid_file)).status;
    assert!(status.success(), "the parent's {status}");
    let pid = util::wait_for("the pid file", util::SOON, || read_pid(&pid_file));
    assert!(fs::read_to_string(&pid_file).unwrap().ends_with('\n'));
    util::wait_until("it polls and serves", util::SOON, || {
        source.polls() > 1 && net::dump(files.xml_port).is_ok_and(|bytes| text(&bytes).contains("Honest"))
    });
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let session: u32 = stat.rsplit(')').next().unwrap().split_whitespace().nth(3).unwrap().parse().unwrap();
    assert_ne!(
        session,
        fs::read_to_string("/proc/self/stat")
            .map(|own| { own.rsplit(')').next().unwrap().split_whitespace().nth(3).unwrap().parse::<u32>().unwrap() })
            .unwrap(),
        "it has a session of its own"
    );
    if !under_test_is_c() {
        for descriptor in ["0", "1", "2"] {
            let target = fs::read_link(format!("/proc/{pid}/fd/{descriptor}")).unwrap();
            assert_eq!(target, Path::new("/dev/null"), "descriptor {descriptor}");
        }
    }

    // A second one with the same pid file does not start.
    let other = Files::with(&source_line("x", 1, source.address()));
    let _ = finish(Command::new(under_test()).args(["-c", &other.conf(), "-p"]).arg(&pid_file));
    assert_eq!(read_pid(&pid_file), Some(pid), "the pid file is still that of the first");
    net::connect(other.xml_port).expect_err("the second does not serve");

    util::signal(pid, "TERM");
    util::wait_until("it has stopped", STOP, || !util::alive(pid));
    if under_test_is_c() {
        util::left_out("removal of the pid file", "the C gmetad leaves it behind");
        fs::remove_file(&pid_file).unwrap();
    }
    assert!(!pid_file.exists(), "the pid file is removed");
    drop(guard);
}

/// The usual set-up: started by root, the pid file in a directory of root's, then another user. At a stop, and killed.
#[test]
fn root_s_pid_file_is_removed_after_a_change_of_user() {
    let name = "root_s_pid_file_is_removed_after_a_change_of_user";
    if under_test_is_c() {
        return util::left_out(name, "the C gmetad leaves it behind");
    }
    if fs::metadata("/proc/self").unwrap().uid() != 0 {
        return util::left_out(name, "only root can change the user");
    }
    for signal in ["TERM", "KILL"] {
        let source = FakeGmond::serving_now(document::honest("Honest", 1, 1));
        let files = Files::with(&source_line("x", 1, source.address()));
        let directory = fs::canonicalize(files.path("")).unwrap();
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o755)).unwrap();
        assert!(Command::new("chown").arg("nobody").arg(files.path("rrds")).status().unwrap().success());
        let conf = fs::read_to_string(files.conf()).unwrap();
        fs::write(files.conf(), conf.replace("setuid off", "setuid_username nobody")).unwrap();
        let pid_file = files.path("gmetad.pid");
        let _guard = KillAtEnd(pid_file.clone());
        let status = finish(Command::new(under_test()).args(["-c", &files.conf(), "-p"]).arg(&pid_file)).status;
        assert!(status.success(), "the parent's {status}");
        let pid = util::wait_for("the pid file", util::SOON, || read_pid(&pid_file));
        assert_ne!(fs::metadata(format!("/proc/{pid}")).unwrap().uid(), 0, "it is root no more");
        util::signal(pid, signal);
        util::wait_until("it has stopped", STOP, || !util::alive(pid));
        if signal == "TERM" {
            assert!(!pid_file.exists(), "gone before the daemon is");
        }
        util::wait_until("the pid file is removed", util::SOON, || !pid_file.exists());
    }
}

#[test]
fn the_demo_polls_serves_writes_and_leaves_nothing() {
    if under_test_is_c() {
        return util::left_out("the_demo_polls_serves_writes_and_leaves_nothing", "the C gmetad has no demo");
    }
    let scratch = tempfile::tempdir().unwrap();
    let [xml, interactive] = [(); 2].map(|()| {
        TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port() // free again at once
    });
    let mut child = Command::new(under_test())
        .args(["--demo", "-x", &xml.to_string(), "-i", &interactive.to_string()])
        .env("TMPDIR", scratch.path())
        .stdout(Stdio::null())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap();
    let names = || fs::read_dir(scratch.path()).unwrap().map(|entry| entry.unwrap().path()).collect::<Vec<_>>();
    util::wait_until("the demo serves and writes", util::SOON, || {
        assert!(child.try_wait().unwrap().is_none(), "the demo ended");
        net::dump(xml).is_ok_and(|bytes| text(&bytes).contains("node00007.compute"))
            && names().iter().any(|dir| dir.join("compute/node00007.compute/load_one.rrd").is_file())
    });
    util::signal(child.id(), "INT");
    // It removes its files, for which a busy disk takes its time.
    util::wait_until("it has stopped", util::SOON, || child.try_wait().unwrap().is_some());
    assert_eq!(names(), Vec::<PathBuf>::new(), "the scratch folder is removed");
}

/// Also while a source hangs and clients are connected.
#[test]
fn sigterm_and_sigint_stop_it_at_once() {
    for signal in ["TERM", "INT"] {
        let (silent, honest) = (FakeGmond::silent(), FakeGmond::serving_now(document::honest("Honest", 2, 2)));
        let launch = Launch::ours().source("silent", 1, silent.address()).source("honest", 1, honest.address());
        let mut daemon = launch.start();
        daemon.wait_source("Honest");
        let _idle = net::connect(daemon.interactive_port()).unwrap();
        util::signal(daemon.pid(), signal);
        let status = daemon.wait_exit(STOP);
        assert!(under_test_is_c() || status.success(), "SIG{signal}: {status}");
    }
}

#[test]
fn sighup_reads_the_configuration_again() {
    const TEST: &str = "sighup_reads_the_configuration_again";
    if under_test_is_c() {
        return util::left_out(TEST, "the C gmetad has no reload");
    }
    let source = |name: &str| FakeGmond::serving_now(document::honest(name, 2, 2));
    let (kept, removed, added) = (source("Kept"), source("Removed"), source("Added"));
    let launch = Launch::ours().source("kept", 1, kept.address()).source("removed", 1, removed.address());
    let mut daemon = launch.start();
    daemon.wait_source("Kept");
    daemon.wait_source("Removed");

    daemon.reload_with(&[source_line("kept", 1, kept.address()), source_line("added", 1, added.address())]);
    daemon.wait_source("Added");
    daemon.wait_tree("the removed source is gone", "/", |tree| {
        let grid = tree.child("GRID")?;
        (!grid.children.iter().any(|child| child.name() == "Removed")).then_some(())
    });
    daemon.wait_source("Kept");
    kept.wait_polls(2);

    // A file with an error changes nothing.
    let polls = removed.polls();
    daemon.reload_with(&[source_line("removed", 1, removed.address()), "no_such_directive 1".to_owned()]);
    util::wait_until("the error is logged", util::SOON, || daemon.log().contains("no_such_directive"));
    kept.wait_polls(2);
    added.wait_polls(2);
    assert_eq!(removed.polls(), polls, "the source of the refused file is not polled");
    assert!(daemon.running());
    daemon.wait_source("Kept");
    daemon.wait_source("Added");
}

/// How many bytes both ports give to a client of this address.
fn given_to(daemon: &Gmetad, address: &str) -> Option<[usize; 2]> {
    let xml = net::bytes_seen_from(address, daemon.xml_port(), "")?;
    Some([xml, net::bytes_seen_from(address, daemon.interactive_port(), "/")?])
}

#[test]
fn only_trusted_hosts_are_answered() {
    const TEST: &str = "only_trusted_hosts_are_answered";
    let source = FakeGmond::serving_now(document::honest("Honest", 1, 1));
    let start = |line: &str| {
        let daemon = Launch::ours().line(line).source("honest", 1, source.address()).start();
        daemon.wait_source("Honest");
        daemon
    };
    let served = |bytes: [usize; 2]| bytes.iter().all(|count| *count > 2531);
    let daemon = start("# trusted_hosts: none");
    let Some(stranger) = given_to(&daemon, "127.0.0.2") else {
        return util::left_out(TEST, "no perl to connect from another address");
    };
    assert_eq!(stranger, [0, 0], "127.0.0.2 is not trusted");
    assert!(served(given_to(&daemon, "127.0.0.1").unwrap()), "127.0.0.1 is always trusted");

    let daemon = start("trusted_hosts 127.0.0.2 127.0.0.9");
    assert!(served(given_to(&daemon, "127.0.0.2").unwrap()), "127.0.0.2 is trusted");
    assert_eq!(given_to(&daemon, "127.0.0.3"), Some([0, 0]), "127.0.0.3 is not");

    let daemon = start("all_trusted on");
    assert!(served(given_to(&daemon, "127.0.0.3").unwrap()), "all_trusted");
    if !under_test_is_c() {
        let daemon = start("all_trusted off");
        assert_eq!(given_to(&daemon, "127.0.0.3"), Some([0, 0]), "all_trusted off trusts nobody (defect 10)");
    }
}

/// libxml2 as another judge of what both ports say.
#[test]
fn xmllint_accepts_every_answer() {
    use std::io::Write;
    const TEST: &str = "xmllint_accepts_every_answer";
    if util::find_program("xmllint").is_none() {
        return util::left_out(TEST, "no xmllint (Debian package libxml2-utils)");
    }
    let documents = ["gmond.xml", "edge-input.xml", "grid-input.xml", "gmond-gmetric.xml"];
    let documents = if under_test_is_c() { &documents[..1] } else { &documents[..] };
    for name in documents {
        let source = FakeGmond::serving(util::data(name));
        let daemon = Launch::ours().source("one", 1, source.address()).start();
        daemon.wait_root_summary();
        for answer in [daemon.dump(), daemon.query("/"), daemon.query("/?filter=summary")] {
            // Without --valid: gmetad's elements are in an order and have slopes that its own DTD does not foresee.
            let mut child = Command::new("xmllint")
                .args(["--noout", "--nonet", "-"])
                .stdin(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            child.stdin.take().unwrap().write_all(&answer).unwrap();
            let output = child.wait_with_output().unwrap();
            assert!(output.status.success(), "{name}: {}", text(&output.stderr));
        }
    }
}
