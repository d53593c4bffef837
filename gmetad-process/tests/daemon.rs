//! The parts together, in a real process: `examples/daemon.rs`, started as users start a daemon.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// A directory with a configuration, and the daemon started in it, which does not outlive it.
struct Place(TempDir);

impl Place {
    fn new(conf: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("conf"), conf).unwrap();
        Place(dir)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    /// All names relative: they must survive the daemon's change of directory.
    fn command(&self, more: &[&str]) -> Command {
        let mut command = Command::new(example());
        command.current_dir(self.0.path()).args(["-c", "conf", "--pid-file=pid", "-l", "log"]).args(more);
        command.env_remove("NOTIFY_SOCKET").env_remove("JOURNAL_STREAM");
        command
    }

    fn start(&self) -> Output {
        self.command(&[]).output().unwrap()
    }

    fn pid(&self) -> u32 {
        self.read("pid").trim().parse().unwrap()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Ok(pid) = self.read("pid").trim().parse::<u32>() {
            // Only a process that runs our example; the number may be somebody else's by now.
            if fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe == example()) {
                signal(pid, "KILL");
            }
        }
    }
}

fn example() -> PathBuf {
    let deps = std::env::current_exe().unwrap();
    let example = deps.parent().unwrap().parent().unwrap().join("examples/daemon");
    // `cargo test` builds examples, `cargo test --test daemon` does not: no verdict about an old one.
    let changed = |file: &Path| fs::metadata(file).and_then(|meta| meta.modified()).ok();
    let sources = fs::read_to_string(example.with_extension("d")).unwrap_or_default();
    let newest = sources.split_whitespace().skip(1).filter_map(|source| changed(source.as_ref())).max();
    assert!(
        newest.is_some() && changed(&example) >= newest,
        "run `cargo build -p gmetad-process --example daemon` first"
    );
    example
}

fn signal(pid: u32, name: &str) {
    assert!(Command::new("kill").args(["-s", name, &pid.to_string()]).status().unwrap().success());
}

fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn alive(pid: u32) -> bool {
    !matches!(field(pid, "State").as_str(), "" | "Z (zombie)" | "X (dead)")
}

/// A field of /proc/PID/status.
fn field(pid: u32, name: &str) -> String {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(&format!("{name}:")));
    line.unwrap_or_default().trim().to_owned()
}

fn is_root() -> bool {
    fs::metadata("/proc/self").unwrap().uid() == 0
}

#[test]
fn goes_to_the_background_and_ends_in_good_order() {
    let place = Place::new("umask 0027\n");
    let out = place.start();
    assert!(out.status.success() && out.stdout.is_empty() && out.stderr.is_empty(), "{out:?}");

    let pid = place.pid(); // written before the shell got its prompt back
    assert_eq!(fs::metadata(place.path("pid")).unwrap().mode() & 0o7777, 0o664);
    for fd in 0..3 {
        assert_eq!(fs::read_link(format!("/proc/{pid}/fd/{fd}")).unwrap(), Path::new("/dev/null"));
    }
    assert_eq!(fs::read_link(format!("/proc/{pid}/cwd")).unwrap(), Path::new("/"));
    assert_eq!(field(pid, "Umask"), "0027");
    let ignored = u64::from_str_radix(&field(pid, "SigIgn"), 16).unwrap();
    assert_ne!(ignored & (1 << (13 - 1)), 0, "SIGPIPE");
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<_> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let (session, terminal) = (fields[3], fields[4]);
    assert!(session != pid.to_string() && terminal == "0", "not the leader, no terminal: {stat}");

    signal(pid, "TERM");
    wait_until("pid file removed", || !place.path("pid").exists());
    wait_until("process gone", || !alive(pid));
    assert!(place.read("log").ends_with(" INFO     stopped\n"), "{}", place.read("log"));
}

#[test]
fn the_shell_sees_a_failing_start() {
    let place = Place::new("setuid_username no-such-user-here\n");
    let out = place.start();
    assert_eq!(out.status.code(), Some(1));
    let said = String::from_utf8(out.stderr).unwrap();
    assert!(said.starts_with("Getpwnam error: ") && said.ends_with('\n'), "{said}");
    assert!(!place.path("pid").exists());
}

#[test]
fn the_shell_sees_a_daemon_that_dies_in_its_start() {
    let out = Place::new("die\n").start();
    assert_eq!(out.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&out.stderr).contains("ended before it was ready"), "{out:?}");
}

#[test]
fn bad_rootdir_is_told_in_the_words_of_the_c_daemon() {
    let out = Place::new("rrd_rootdir /nonexistent/rrds\n").start();
    assert_eq!(out.status.code(), Some(1));
    assert_eq!(
        String::from_utf8_lossy(&out.stderr),
        "Please make sure that /nonexistent/rrds exists: No such file or directory\n"
    );
}

#[test]
fn a_second_daemon_is_refused_and_the_first_unharmed() {
    let place = Place::new("");
    assert!(place.start().status.success());
    let pid = place.pid();
    let out = place.start();
    assert_eq!(out.status.code(), Some(1));
    assert_eq!(
        String::from_utf8_lossy(&out.stderr),
        format!("daemon already running: {} pid {pid}\n", place.path("pid").display())
    );
    assert!(alive(pid) && place.pid() == pid);

    signal(pid, "KILL"); // leaves its file behind
    wait_until("stale file replaced", || place.start().status.success()); // the kernel unlocks it in its own time
    assert_ne!(place.pid(), pid);
}

#[test]
fn descriptors_of_the_caller_are_not_kept() {
    // A shell script's lock file: `9>lock` stays locked for ever if the daemon inherits it.
    let place = Place::new("");
    let command = format!("exec 9>lock; exec {} -c conf -p pid", example().display());
    let out = Command::new("sh").arg("-c").arg(command).current_dir(place.0.path()).output().unwrap();
    assert!(out.status.success(), "{out:?}");
    let lock = place.path("lock").canonicalize().unwrap();
    let open: Vec<_> = fs::read_dir(format!("/proc/{}/fd", place.pid())).unwrap().flatten().collect();
    assert!(open.iter().filter_map(|fd| fs::read_link(fd.path()).ok()).all(|target| target != lock));
}

#[test]
fn hup_reopens_the_log() {
    let place = Place::new("");
    assert!(place.start().status.success());
    fs::rename(place.path("log"), place.path("log.1")).unwrap();
    signal(place.pid(), "HUP");
    wait_until("new log", || place.read("log").contains("log reopened"));
    signal(place.pid(), "USR1");
    wait_until("report", || place.read("log").contains("lines lost"));
}

#[test]
fn second_term_ends_a_stop_that_hangs() {
    let place = Place::new("stop_hangs\n");
    let mut child = place.command(&["-f"]).stderr(Stdio::null()).spawn().unwrap();
    wait_until("running", || place.read("log").contains("running as"));
    signal(child.id(), "TERM");
    wait_until("stopping", || place.read("log").contains("stopping, slowly"));
    assert!(child.try_wait().unwrap().is_none());
    signal(child.id(), "TERM");
    assert_eq!(child.wait().unwrap().code(), Some(1));
}

#[test]
fn foreground_speaks_on_stderr() {
    let place = Place::new("");
    let child = place.command(&["-d1"]).stderr(Stdio::piped()).spawn().unwrap();
    wait_until("running", || place.read("log").contains("running as"));
    assert_eq!(place.pid(), child.id(), "no fork");
    signal(child.id(), "INT");
    let out = child.wait_with_output().unwrap();
    let said = String::from_utf8(out.stderr).unwrap();
    assert!(out.status.success() && said.starts_with("running as ") && said.ends_with("\nstopped\n"), "{said}");
    assert!(!place.path("pid").exists());

    let failed = Place::new("setuid_username no-such-user-here\n").command(&["-f"]).output().unwrap();
    assert_eq!(failed.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&failed.stderr).starts_with("Getpwnam error: "));
}

#[test]
fn full_stderr_does_not_block() {
    // Nobody reads the pipe: after 64 KiB it takes nothing more, and the daemon must still obey.
    let place = Place::new("");
    let mut child = place.command(&["-f"]).stderr(Stdio::piped()).spawn().unwrap();
    wait_until("running", || place.read("log").contains("running as"));
    let stderr = fs::OpenOptions::new().write(true).open(format!("/proc/{}/fd/2", child.id())).unwrap();
    fill(stderr);
    signal(child.id(), "TERM");
    assert!(child.wait().unwrap().success());
    assert!(place.read("log").contains("stopped"));
}

/// Writes into a pipe until it is full.
fn fill(pipe: fs::File) {
    use nix::fcntl::{FcntlArg, OFlag, fcntl};
    use std::io::Write;
    fcntl(&pipe, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).unwrap(); // of this description alone: it was opened anew
    let mut pipe = pipe;
    while pipe.write(&[b'x'; 4096]).is_ok() {}
}

#[test]
fn root_is_given_up_for_good() {
    if !is_root() {
        eprintln!("left out: needs root");
        return;
    }
    let place = Place::new("setuid_username nobody\n");
    let out = place.start();
    assert!(out.status.success(), "{out:?}");
    let pid = place.pid();
    let ids = |name| field(pid, name).split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let passwd = fs::read_to_string("/etc/passwd").unwrap();
    let nobody: Vec<_> = passwd.lines().find(|line| line.starts_with("nobody:")).unwrap().split(':').collect();
    assert_eq!(ids("Uid"), vec![nobody[2]; 4]);
    assert_eq!(ids("Gid"), vec![nobody[3]; 4]);
    assert_eq!(ids("Groups"), [nobody[3]], "none of root's groups");
    assert_eq!(field(pid, "CapEff"), "0000000000000000");

    signal(pid, "TERM");
    wait_until("process gone", || !alive(pid));
    assert_eq!(place.read("pid"), "", "removed, or emptied where the directory is root's");
}

#[test]
fn only_root_may_change_the_user() {
    if !is_root() {
        eprintln!("left out: needs root to become somebody without rights");
        return;
    }
    use std::os::unix::process::CommandExt;
    let place = Place::new("setuid_username root\n");
    fs::set_permissions(place.0.path(), std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    // The build directory may be closed to others. Copied by another process: a child that a parallel test forks while we
    // write would hold the copy open, and it could not be run ("text file busy").
    let copy = place.path("daemon");
    assert!(Command::new("cp").arg(example()).arg(&copy).status().unwrap().success());
    let out = Command::new(copy).current_dir(place.0.path()).args(["-f", "-c", "conf"]).uid(65534).output().unwrap();
    assert_eq!(out.status.code(), Some(1));
    assert_eq!(String::from_utf8_lossy(&out.stderr), "Must be root to setuid to \"root\"\n");
}
