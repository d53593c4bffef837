//! A running gmetad: ours or the C one, started the same way.

use std::fmt::Display;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use super::xml::Element;
use super::{net, wait_for};

/// Which program it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The program under test: this package's `gmetad`, or what the variable `GMETAD_UNDER_TEST` names.
    Ours,
    /// The C gmetad of the system (or what `GMETAD_C` names), the judge.
    C,
}

/// The program under test.
pub fn under_test() -> PathBuf {
    std::env::var_os("GMETAD_UNDER_TEST").map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_gmetad")), PathBuf::from)
}

/// The C gmetad, if this machine has it.
pub fn c_gmetad() -> Option<PathBuf> {
    std::env::var_os("GMETAD_C").map(PathBuf::from).or_else(|| super::find_program("gmetad")).filter(|path| is_c(path))
}

/// True if `GMETAD_UNDER_TEST` names a C gmetad. The harness was developed so: what it finds then is its own fault.
pub fn under_test_is_c() -> bool {
    static ANSWER: OnceLock<bool> = OnceLock::new();
    *ANSWER.get_or_init(|| is_c(&under_test()))
}

/// The C program says nothing but this; ours says more.
fn is_c(program: &Path) -> bool {
    Command::new(program).arg("--version").output().is_ok_and(|output| output.stdout == b"gmetad 3.7.2\n")
}

/// Says that `test` is left out unless the C gmetad is here. Use as `if !have_c_gmetad("name") { return; }`.
pub fn have_c_gmetad(test: &str) -> bool {
    let found = c_gmetad().is_some();
    if !found {
        super::left_out(test, "no C gmetad 3.7.2 (Debian package gmetad)");
    }
    found
}

/// What to start. Without further lines: grid `Test Grid`, no RRDs, no sources.
pub struct Launch {
    kind: Kind,
    lines: Vec<String>,
    rrds: bool,
    environment: Vec<(String, String)>,
    root: Option<PathBuf>,
    nobody: bool,
}

impl Launch {
    pub fn new(kind: Kind) -> Self {
        Self { kind, lines: Vec::new(), rrds: false, environment: Vec::new(), root: None, nobody: false }
    }

    /// The program under test.
    pub fn ours() -> Self {
        Self::new(Kind::Ours)
    }

    /// Another line of gmetad.conf.
    pub fn line(mut self, line: impl Into<String>) -> Self {
        self.lines.push(line.into());
        self
    }

    /// A `data_source` line.
    pub fn source(self, name: impl Display, interval: u32, address: SocketAddr) -> Self {
        self.line(source_line(name, interval, address))
    }

    /// Write RRDs below [`Gmetad::rrd_root`].
    pub fn with_rrds(mut self) -> Self {
        self.rrds = true;
        self
    }

    /// Write RRDs below `root`, which is the test's own and outlives the daemon.
    pub fn with_rrds_at(mut self, root: &Path) -> Self {
        self.root = Some(root.to_owned());
        self.with_rrds()
    }

    /// Run as the user nobody; only root can.
    pub fn by_nobody(mut self) -> Self {
        self.nobody = true;
        self
    }

    /// An environment variable of the daemon.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Starts it and waits until both ports accept connections.
    pub fn start(self) -> Gmetad {
        // A port can be taken between being chosen and being used.
        for _ in 0..3 {
            match self.start_once() {
                Ok(daemon) => return daemon,
                Err(Failure { log, .. }) if log.contains("listen") || log.contains("in use") => {}
                Err(Failure { status, log }) => panic!("{:?} gmetad did not start ({status}):\n{log}", self.kind),
            }
        }
        panic!("three times in a row the chosen ports were taken");
    }

    /// Starts what must refuse to start, and returns how it ended and what it said.
    pub fn refused(self) -> (ExitStatus, String) {
        match self.start_once() {
            Ok(_) => panic!("{:?} gmetad started", self.kind),
            Err(Failure { status, log }) => (status, log),
        }
    }

    fn start_once(&self) -> Result<Gmetad, Failure> {
        let dir = tempfile::Builder::new().prefix("gmetad-test-").tempdir().unwrap();
        let place = Place { xml_port: super::free_port(), interactive_port: super::free_port() };
        let conf = dir.path().join("gmetad.conf");
        // Two levels below, so that a path that climbs out of the root is still caught in our own directory.
        fs::create_dir_all(dir.path().join("deep/er/rrds")).unwrap();
        fs::create_dir(dir.path().join("state")).unwrap();
        if self.nobody {
            fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        }
        fs::write(&conf, self.conf(dir.path(), place)).unwrap();
        let log = dir.path().join("log");
        let output = File::create(&log).unwrap();
        let mut command = self.command(&conf);
        command.stdin(Stdio::null()).stdout(output.try_clone().unwrap()).stderr(output);
        let child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let (lines, root) = (self.lines.clone(), self.root.clone());
        let mut daemon = Gmetad { child, dir, place, kind: self.kind, lines, rrds: self.rrds, root };
        let end = Instant::now() + super::SOON;
        loop {
            if let Some(status) = daemon.child.try_wait().unwrap() {
                return Err(Failure { status, log: daemon.log() });
            }
            if [place.xml_port, place.interactive_port].into_iter().all(|port| net::connect(port).is_ok()) {
                return Ok(daemon);
            }
            assert!(Instant::now() < end, "{:?} gmetad opened no ports:\n{}", self.kind, daemon.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn command(&self, conf: &Path) -> Command {
        let c = self.kind == Kind::C || under_test_is_c();
        let program = if self.kind == Kind::C { c_gmetad().unwrap() } else { under_test() };
        let mut command = Command::new(if self.nobody { Path::new("setpriv") } else { &program });
        if self.nobody {
            command.args(["--reuid=nobody", "--regid=nogroup", "--clear-groups"]).arg(&program);
        }
        if !c {
            command.arg("-f");
        }
        command.args(["-d", "1", "-c"]).arg(conf).env_remove("RRDCACHED_ADDRESS");
        command.envs(self.environment.iter().cloned());
        command
    }

    fn conf(&self, dir: &Path, place: Place) -> String {
        conf(self.kind, place, self.rrds, &self.root(dir), dir, &self.lines)
    }

    fn root(&self, dir: &Path) -> PathBuf {
        self.root.clone().unwrap_or_else(|| dir.join(RRDS))
    }
}

/// A `data_source` line of gmetad.conf.
pub fn source_line(name: impl Display, interval: u32, address: SocketAddr) -> String {
    format!("data_source \"{name}\" {interval} {address}")
}

fn conf(kind: Kind, place: Place, rrds: bool, root: &Path, dir: &Path, lines: &[String]) -> String {
    let mut text = format!(
        "gridname \"Test Grid\"\nauthority \"http://grid.example.org/ganglia/\"\nsetuid off\n\
         xml_port {}\ninteractive_port {}\nrrd_rootdir \"{}\"\n",
        place.xml_port,
        place.interactive_port,
        root.display()
    );
    if !rrds {
        text.push_str("write_rrds off\n");
    }
    if kind == Kind::Ours && !under_test_is_c() {
        text.push_str(&format!("state_dir \"{}\"\n", dir.join("state").display()));
    }
    for line in lines {
        text.push_str(line);
        text.push('\n');
    }
    text
}

const RRDS: &str = "deep/er/rrds";

#[derive(Clone, Copy)]
struct Place {
    xml_port: u16,
    interactive_port: u16,
}

struct Failure {
    status: ExitStatus,
    log: String,
}

/// A gmetad in the foreground; dropping it kills it, and shows the end of its log if the test has failed.
pub struct Gmetad {
    child: Child,
    dir: tempfile::TempDir,
    place: Place,
    kind: Kind,
    lines: Vec<String>,
    rrds: bool,
    root: Option<PathBuf>,
}

impl Gmetad {
    /// Where its XML port is, for a parent's `data_source`.
    pub fn xml_address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.place.xml_port))
    }

    pub fn xml_port(&self) -> u16 {
        self.place.xml_port
    }

    pub fn interactive_port(&self) -> u16 {
        self.place.interactive_port
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The directory of this daemon alone: its configuration, log, state and, well below, its RRDs.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub fn rrd_root(&self) -> PathBuf {
        self.root.clone().unwrap_or_else(|| self.dir.path().join(RRDS))
    }

    pub fn conf_path(&self) -> PathBuf {
        self.dir.path().join("gmetad.conf")
    }

    /// What it has written to stdout and stderr.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.dir.path().join("log")).unwrap_or_default()).into_owned()
    }

    /// Everything its XML port says.
    pub fn dump(&self) -> Vec<u8> {
        net::dump(self.place.xml_port).unwrap_or_else(|error| panic!("XML port: {error}\n{}", self.log_tail()))
    }

    /// The answer to one line on its interactive port.
    pub fn query(&self, line: &str) -> Vec<u8> {
        let answer = net::query(self.place.interactive_port, line);
        answer.unwrap_or_else(|error| panic!("query {line}: {error}\n{}", self.log_tail()))
    }

    /// `bytes` as a tree: strictly for our program, leniently for the C one, which does not escape.
    pub fn parse(&self, bytes: &[u8]) -> Element {
        let c = self.kind == Kind::C || under_test_is_c();
        let parsed = if c { super::xml::parse_lenient(bytes) } else { super::xml::parse(bytes) };
        parsed.unwrap_or_else(|error| panic!("{:?} gmetad: {error}\n{}", self.kind, String::from_utf8_lossy(bytes)))
    }

    /// The answer to one line, as a tree.
    pub fn tree(&self, line: &str) -> Element {
        self.parse(&self.query(line))
    }

    /// Waits until its full answer holds what `find` looks for.
    pub fn wait_tree<T>(&self, what: &str, line: &str, find: impl Fn(&Element) -> Option<T>) -> T {
        wait_for(&format!("{:?} gmetad: {what}", self.kind), super::SOON * 2, || find(&self.tree(line)))
    }

    /// Waits until the cluster or grid `name` is shown.
    pub fn wait_source(&self, name: &str) {
        self.wait_tree(&format!("source {name}"), "/", |tree| {
            let grid = tree.child("GRID")?;
            grid.children.iter().find(|child| child.name() == name).map(|_| ())
        });
    }

    /// Waits until the summary of the root counts a host, which the C daemon makes in a thread of its own.
    pub fn wait_root_summary(&self) {
        self.wait_tree("summary of the root", "/?filter=summary", |tree| {
            let hosts = tree.child("GRID")?.child("HOSTS")?;
            (hosts.attribute("UP") != Some("0") || hosts.attribute("DOWN") != Some("0")).then_some(())
        });
    }

    /// Replaces the lines given at the launch and asks it to read its configuration again.
    pub fn reload_with(&self, lines: &[String]) {
        fs::write(self.conf_path(), conf(self.kind, self.place, self.rrds, &self.rrd_root(), self.dir(), lines))
            .unwrap();
        super::signal(self.pid(), "HUP");
    }

    /// Ends it with this signal, if it has not ended, and starts it again in the same place. Returns how long the end took.
    pub fn restart_after(&mut self, signal: &str) -> Duration {
        let took = self.end_by(signal);
        self.start_again();
        took
    }

    /// Ends it with this signal, if it has not ended. Returns how long the end took.
    pub fn end_by(&mut self, signal: &str) -> Duration {
        let began = Instant::now();
        super::signal(self.pid(), signal);
        self.wait_exit(super::SOON);
        began.elapsed()
    }

    /// Starts it again in the same place, when it has ended.
    pub fn start_again(&mut self) {
        let output = fs::OpenOptions::new().append(true).open(self.dir.path().join("log")).unwrap();
        let mut command = Command::new(under_test());
        command.args(["-f", "-d", "1", "-c"]).arg(self.conf_path()).env_remove("RRDCACHED_ADDRESS");
        command.stdin(Stdio::null()).stdout(output.try_clone().unwrap()).stderr(output);
        self.child = command.spawn().unwrap();
        super::wait_until("it is there again", super::SOON, || net::connect(self.place.interactive_port).is_ok());
    }

    /// The lines given at the launch.
    pub fn lines(&self) -> &[String] {
        &self.lines
    }

    /// True while it runs.
    pub fn running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Waits until it has ended by itself.
    pub fn wait_exit(&mut self, limit: Duration) -> ExitStatus {
        wait_for("the daemon ends", limit, || self.child.try_wait().unwrap())
    }

    /// Resident memory in MiB, now and at its peak.
    pub fn memory(&self) -> (u64, u64) {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let mebibytes = |key: &str| {
            let line = status.lines().find(|line| line.starts_with(key)).unwrap_or_default();
            line.split_whitespace().nth(1).and_then(|number| number.parse::<u64>().ok()).unwrap_or(0) / 1024
        };
        (mebibytes("VmRSS:"), mebibytes("VmHWM:"))
    }

    /// Processor time used so far.
    pub fn cpu(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap();
        let fields: Vec<u64> =
            stat.rsplit(')').next().unwrap().split_whitespace().map(|word| word.parse().unwrap_or(0)).collect();
        // utime and stime, in hundredths of a second on every Linux there is.
        Duration::from_millis((fields[11] + fields[12]) * 10)
    }

    fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }
}

impl Drop for Gmetad {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- end of the log of the {:?} gmetad ---\n{}\n---", self.kind, self.log_tail());
        }
    }
}
