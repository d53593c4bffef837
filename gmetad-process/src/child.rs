//! Other programs that the daemon keeps running: a process group of their own, limits, pipes that never block us.
//!
//! ```
//! use std::io::Read;
//! use std::time::{Duration, Instant};
//! use gmetad_process::child::Spawn;
//!
//! let mut child = Spawn::new("/bin/sh").args(["-c", "exit 3"]).spawn()?;
//! let end = Instant::now() + Duration::from_secs(10);
//! while child.ended()?.is_none() && Instant::now() < end {
//!     std::thread::sleep(Duration::from_millis(1));
//! }
//! assert_eq!(child.ended()?.map(|ended| ended.to_string()).as_deref(), Some("exit status 3"));
//! # Ok::<(), std::io::Error>(())
//! ```

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::resource::Resource;
pub use nix::sys::signal::Signal;
use nix::sys::signal::killpg;
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;

use parking_lot::Mutex;

use crate::process::Process;
use crate::sys;
use crate::user::Account;

/// Bytes that the kernel takes for a program ahead of what it has read, if it allows.
const STDIN_BYTES: i32 = 512 << 10;
/// How long [`Child`]'s drop waits for the end of a killed process, and how often it looks.
const REAP: Duration = Duration::from_millis(200);
const STEP: Duration = Duration::from_millis(2);

/// Processes that were killed and hang in the kernel (a dead disk, say). Whoever starts another one reaps those that have ended.
static UNENDED: Mutex<Vec<std::process::Child>> = Mutex::new(Vec::new());

fn reap(unended: &mut Vec<std::process::Child>) {
    unended.retain_mut(|child| matches!(child.try_wait(), Ok(None)));
}

/// What a program may use; `None` is what the daemon may.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Address space, in bytes (`RLIMIT_AS`).
    pub memory: Option<u64>,
    /// Processor time, in seconds (`RLIMIT_CPU`).
    pub cpu: Option<u64>,
    /// Descriptors (`RLIMIT_NOFILE`).
    pub files: Option<u64>,
}

/// Describes a program to run.
#[derive(Clone, Debug)]
pub struct Spawn {
    program: PathBuf,
    args: Vec<OsString>,
    dir: Option<PathBuf>,
    user: Option<Account>,
    without: Vec<OsString>,
    /// Nothing is inherited.
    bare: bool,
    env: Vec<(OsString, OsString)>,
    limits: Limits,
    dies_with_thread: bool,
}

impl Spawn {
    /// A program without arguments, in the daemon's directory and with its environment and user.
    pub fn new(program: impl Into<PathBuf>) -> Self {
        Self {
            program: program.into(),
            args: Vec::new(),
            dir: None,
            user: None,
            without: Vec::new(),
            bare: false,
            env: Vec::new(),
            limits: Limits::default(),
            dies_with_thread: false,
        }
    }

    /// Further arguments.
    pub fn args(mut self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// The directory it begins in.
    pub fn dir(mut self, dir: impl AsRef<Path>) -> Self {
        self.dir = Some(dir.as_ref().to_owned());
        self
    }

    /// The user it runs as, with that user's primary group and no other. Only root may name somebody else.
    pub fn user(mut self, user: Account) -> Self {
        self.user = Some(user);
        self
    }

    /// A variable that it does not inherit.
    pub fn without_env(mut self, name: impl AsRef<OsStr>) -> Self {
        self.without.push(name.as_ref().to_owned());
        self
    }

    /// It inherits no variable: only those of [`Spawn::env`] are there.
    pub fn bare_env(mut self) -> Self {
        self.bare = true;
        self
    }

    /// A variable that it gets, whatever it inherits. Names with `=` or NUL, and values with NUL, make [`Spawn::spawn`] fail.
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env.push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// What it may use.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// It gets SIGKILL when the *thread* that calls [`Spawn::spawn`] ends, so that none outlives a daemon that was killed.
    /// Its own children do not.
    pub fn dies_with_thread(mut self) -> Self {
        self.dies_with_thread = true;
        self
    }

    /// Starts it, with three pipes, no other descriptor, and a process group of its own.
    ///
    /// # Errors
    /// The system's: no such file, not executable, a limit too low to begin with, no right to change the user.
    pub fn spawn(&self) -> io::Result<Child> {
        reap(&mut UNENDED.lock());
        let mut command = Command::new(&self.program);
        command.args(&self.args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        if let Some(dir) = &self.dir {
            command.current_dir(dir);
        }
        if self.bare {
            command.env_clear();
        }
        for name in &self.without {
            command.env_remove(name);
        }
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        let current = Account::current();
        if let Some(user) = self.user.as_ref().filter(|user| (user.uid, user.gid) != (current.uid, current.gid)) {
            // std drops the supplementary groups then, if we are root.
            command.uid(user.uid).gid(user.gid);
        }
        let Limits { memory, cpu, files } = self.limits;
        let limits = [(Resource::RLIMIT_AS, memory), (Resource::RLIMIT_CPU, cpu), (Resource::RLIMIT_NOFILE, files)];
        let limits = limits.map(|(resource, limit)| limit.map(|limit| (resource, limit)));
        sys::before_exec(&mut command, sys::BeforeExec { limits, dies_with_thread: self.dies_with_thread });
        let child = command.spawn()?;
        let id = child.id();
        Ok(Child { child: Some(child), id, pidfd: sys::pidfd(id), ended: None })
    }
}

/// The pipes of a [`Child`]: reading and writing them never blocks (`WouldBlock`).
#[derive(Debug)]
pub struct Pipes {
    /// What it reads.
    pub stdin: File,
    /// What it writes.
    pub stdout: File,
    /// What it complains.
    pub stderr: File,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// By itself, with that status.
    Exit(i32),
    /// By a signal.
    Signal(Signal),
}

impl From<ExitStatus> for Ended {
    fn from(status: ExitStatus) -> Self {
        let signal = status.signal().and_then(|signal| Signal::try_from(signal).ok());
        signal.map_or_else(|| Self::Exit(status.code().unwrap_or(-1)), Self::Signal)
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exit(status) => write!(f, "exit status {status}"),
            Self::Signal(signal) => write!(f, "signal {signal}"),
        }
    }
}

/// A running program. Dropping it kills its process group and reaps it.
#[derive(Debug)]
pub struct Child {
    /// Taken by the drop only: until then the process is not reaped, so that its id names nobody else's group.
    child: Option<std::process::Child>,
    id: u32,
    pidfd: Option<OwnedFd>,
    ended: Option<Ended>,
}

impl Child {
    /// Its process id, which is also that of its group.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// Its pipes, once.
    ///
    /// # Errors
    /// `NotFound` if they were taken before; the system's.
    pub fn take_pipes(&mut self) -> io::Result<Pipes> {
        let child = self.child.as_mut();
        let pipes = child.and_then(|child| Some((child.stdin.take()?, child.stdout.take()?, child.stderr.take()?)));
        let (stdin, stdout, stderr) = pipes.ok_or(io::ErrorKind::NotFound)?;
        let stdin = non_blocking(stdin.into())?;
        // The default is 64 kB; where it cannot be more, it only costs more turns.
        let _ = fcntl(&stdin, FcntlArg::F_SETPIPE_SZ(STDIN_BYTES));
        Ok(Pipes { stdin, stdout: non_blocking(stdout.into())?, stderr: non_blocking(stderr.into())? })
    }

    /// Becomes readable when the process has ended; `None` if the system is too old (Linux 5.3).
    pub fn end_fd(&self) -> Option<BorrowedFd<'_>> {
        self.pidfd.as_ref().map(AsFd::as_fd)
    }

    /// How it ended, if it has. It stays a zombie until it is dropped.
    ///
    /// # Errors
    /// The system's.
    pub fn ended(&mut self) -> io::Result<Option<Ended>> {
        if self.ended.is_none() {
            let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
            self.ended = match waitid(Id::Pid(self.pid()), flags)? {
                WaitStatus::Exited(_, status) => Some(Ended::Exit(status)),
                WaitStatus::Signaled(_, signal, _) => Some(Ended::Signal(signal)),
                _ => None,
            };
        }
        Ok(self.ended)
    }

    /// Sends a signal to it and to all that it started and that did not leave its group. Those that are gone do not matter.
    pub fn kill_group(&self, signal: Signal) {
        let _ = killpg(self.pid(), signal);
    }

    /// Kills it and its group, as its drop does, and tells what of it is alive all the same: it hangs in the kernel.
    pub fn end(self) -> Vec<Process> {
        let id = self.id;
        drop(self);
        let mut alive = Process::of_group(id);
        for _ in 0..REAP.as_millis() / STEP.as_millis() {
            // What it started may need a moment; it itself had one.
            if alive.is_empty() || alive.iter().any(|process| process.id() == id) {
                break;
            }
            thread::sleep(STEP);
            alive.retain(Process::is_alive);
        }
        alive
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.id as i32)
    }
}

fn non_blocking(pipe: OwnedFd) -> io::Result<File> {
    fcntl(&pipe, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    Ok(pipe.into())
}

impl Drop for Child {
    fn drop(&mut self) {
        self.kill_group(Signal::SIGKILL);
        let Some(mut child) = self.child.take() else { return };
        for _ in 0..REAP.as_millis() / STEP.as_millis() {
            if !matches!(child.try_wait(), Ok(None)) {
                return;
            }
            thread::sleep(STEP);
        }
        UNENDED.lock().push(child);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::io::Read;
    use std::time::Instant;

    use super::*;

    fn sh(script: &str) -> Spawn {
        Spawn::new("/bin/sh").args(["-c", script])
    }

    /// What it wrote until it ended, and how that was.
    fn output(spawn: &Spawn) -> (String, Ended) {
        let mut child = spawn.spawn().unwrap();
        let mut pipes = child.take_pipes().unwrap();
        let mut text = Vec::new();
        let end = Instant::now() + Duration::from_secs(20);
        loop {
            let ended = child.ended().unwrap();
            let _ = pipes.stdout.read_to_end(&mut text);
            if let Some(ended) = ended {
                return (String::from_utf8(text).unwrap(), ended);
            }
            assert!(Instant::now() < end, "it ends");
            thread::sleep(Duration::from_millis(2));
        }
    }

    fn is_alive(pid: u32) -> bool {
        // A zombie that init has not reaped yet is dead.
        std::fs::read_to_string(format!("/proc/{pid}/stat"))
            .is_ok_and(|stat| !stat.rsplit(')').next().unwrap_or("").trim_start().starts_with('Z'))
    }

    #[test]
    fn statuses_signals_and_what_cannot_start() {
        assert_eq!(output(&sh("exit 7")).1, Ended::Exit(7));
        assert_eq!(output(&sh("kill -SEGV $$")).1.to_string(), "signal SIGSEGV");
        assert_eq!(Spawn::new("/no/such/program").spawn().unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn directory_limits_environment_and_descriptors() {
        let leaked = File::open("/dev/null").unwrap();
        fcntl(&leaked, FcntlArg::F_SETFD(nix::fcntl::FdFlag::empty())).unwrap(); // as a careless library would
        let limits = Limits { memory: Some(1 << 30), cpu: Some(77), files: Some(55) };
        let script = "pwd; ulimit -v; ulimit -t; ulimit -n; echo ${PATH+set}; set -- /proc/$$/fd/*; echo $#";
        let (text, _) = output(&sh(script).dir("/").limits(limits).without_env("PATH"));
        // `PATH` unset leaves the shell its built-in default.
        let lines: Vec<_> = text.lines().map(str::trim).collect();
        assert_eq!(lines[..4], ["/", "1048576", "77", "55"]);
        let fds: usize = lines.last().unwrap().parse().unwrap();
        assert!(fds <= 4, "0, 1, 2 and the one it looks with: {text}");
        drop(leaked);
    }

    #[test]
    fn what_hung_is_reaped_by_who_starts_another() {
        // It stands for one that SIGKILL does not end.
        let child = Command::new("/bin/sleep").arg("300").stdin(Stdio::null()).spawn().unwrap();
        let process = Process::of(child.id()).unwrap();
        UNENDED.lock().push(child);
        drop(sh("true").spawn().unwrap());
        assert!(process.is_alive());
        nix::sys::signal::kill(Pid::from_raw(process.id() as i32), Signal::SIGKILL).unwrap();
        let end = Instant::now() + Duration::from_secs(20);
        while Path::new(&format!("/proc/{}", process.id())).exists() {
            assert!(Instant::now() < end, "reaped");
            drop(sh("true").spawn().unwrap());
        }
        assert!(!process.is_alive());
    }

    #[test]
    fn what_ends_when_it_is_killed_is_not_alive() {
        assert_eq!(sh("sleep 300 & sleep 300 & wait").spawn().unwrap().end(), []);
    }

    #[test]
    fn who_spins_is_ended_by_a_signal_that_says_so() {
        let limits = Limits { cpu: Some(1), ..Limits::default() };
        assert_eq!(output(&sh("while :; do :; done").limits(limits)).1, Ended::Signal(Signal::SIGXCPU));
        assert_eq!(output(&sh("trap '' XCPU; while :; do :; done").limits(limits)).1, Ended::Signal(Signal::SIGKILL));
    }

    #[test]
    fn a_bare_environment_has_what_was_chosen() {
        let env = Spawn::new("/usr/bin/env").bare_env().env("A", "1").env("B", "x y").env("A", "2");
        assert_eq!(output(&env).0, "A=2\nB=x y\n");
        let error = sh("true").env("A", "a\0b").spawn().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }

    #[test]
    fn the_group_dies_with_it() {
        let mut child = sh("sleep 300 & echo $!; wait").spawn().unwrap();
        let mut pipes = child.take_pipes().unwrap();
        let mut text = Vec::new();
        while !text.contains(&b'\n') {
            let _ = pipes.stdout.read_to_end(&mut text);
        }
        let grandchild: u32 = String::from_utf8(text).unwrap().trim().parse().unwrap();
        assert!(is_alive(grandchild));
        let id = child.id();
        drop(child);
        let end = Instant::now() + Duration::from_secs(20);
        while is_alive(grandchild) {
            assert!(Instant::now() < end, "killed");
            thread::sleep(Duration::from_millis(2));
        }
        assert!(!Path::new(&format!("/proc/{id}")).exists(), "reaped");
    }

    #[test]
    fn it_dies_with_the_thread_that_started_it() {
        let start = || sh("exec sleep 300").dies_with_thread().spawn().unwrap();
        let mut child = thread::spawn(start).join().unwrap();
        let end = Instant::now() + Duration::from_secs(20);
        while child.ended().unwrap() != Some(Ended::Signal(Signal::SIGKILL)) {
            assert!(Instant::now() < end, "killed");
            thread::sleep(Duration::from_millis(2));
        }
    }

    #[test]
    fn the_end_can_be_polled_for() {
        use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
        let mut child = sh("sleep 300 & exec sleep 0.05").spawn().unwrap();
        let Some(fd) = child.end_fd() else { return };
        assert_eq!(poll(&mut [PollFd::new(fd, PollFlags::POLLIN)], PollTimeout::from(20_000u16)).unwrap(), 1);
        assert_eq!(child.ended().unwrap(), Some(Ended::Exit(0)));
    }

    #[test]
    fn another_user_is_for_root() {
        let Ok(nobody) = Account::by_name("nobody") else { return };
        let spawn = sh("id -u; id -G").user(nobody.clone());
        if Account::current().uid == 0 {
            assert_eq!(output(&spawn).0, format!("{}\n{}\n", nobody.uid, nobody.gid));
        } else {
            assert_eq!(spawn.spawn().unwrap_err().kind(), io::ErrorKind::PermissionDenied);
        }
    }
}
