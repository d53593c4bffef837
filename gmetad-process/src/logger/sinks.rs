//! Where lines go. Sending never waits: what a target cannot take now is refused, and counted by the caller.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use log::Level;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use parking_lot::Mutex;

use super::format::{Stamp, file_line, stderr_line, syslog_line};

/// Lines a log file may lag behind (at most 4 KiB each).
const FILE_QUEUE: usize = 1024;
/// Distance of attempts to reach an absent syslog daemon.
const SYSLOG_RETRY: Duration = Duration::from_secs(2);
/// How long `flush` and `reopen` wait for a disk.
const DISK_PATIENCE: Duration = Duration::from_secs(2);

/// A target of the log.
pub(crate) trait Sink: Send + Sync {
    /// Sends without waiting; false if the line is lost.
    fn send(&self, at: &Stamp, level: Level, text: &str) -> bool;
    /// Waits, for a bounded time, until everything sent is out.
    fn flush(&self) {}
    /// Opens its file again.
    fn reopen(&self) -> io::Result<()> {
        Ok(())
    }
}

/// Standard error.
pub(crate) struct Stderr {
    journal: bool,
    writing: Mutex<()>,
}

impl Stderr {
    pub(crate) fn new() -> Self {
        let stream = std::env::var("JOURNAL_STREAM").ok();
        let meta = std::fs::metadata("/proc/self/fd/2").ok();
        let journal = stream.zip(meta).is_some_and(|(stream, meta)| is_journal(&stream, meta.dev(), meta.ino()));
        Stderr { journal, writing: Mutex::new(()) }
    }
}

/// Whether JOURNAL_STREAM (systemd.exec(5)) speaks of this descriptor: the variable is also inherited by programs whose
/// output goes elsewhere.
fn is_journal(stream: &str, dev: u64, ino: u64) -> bool {
    stream == format!("{dev}:{ino}")
}

impl Sink for Stderr {
    fn send(&self, _: &Stamp, level: Level, text: &str) -> bool {
        let line = stderr_line(self.journal, level, text);
        let stderr = io::stderr();
        // The lock makes the question and the write one step. Nobody holds it for long: a pipe, socket or terminal that
        // says it is ready takes 4096 bytes without waiting.
        let _writing = self.writing.lock();
        let mut ready = [PollFd::new(std::os::fd::AsFd::as_fd(&stderr), PollFlags::POLLOUT)];
        let writable = poll(&mut ready, PollTimeout::ZERO).is_ok_and(|n| n > 0);
        writable && nix::unistd::write(&stderr, line.as_bytes()).is_ok_and(|n| n == line.len())
    }
}

/// The syslog daemon.
pub(crate) struct Syslog {
    path: PathBuf,
    ident: String,
    connection: Mutex<Connection>,
}

#[derive(Default)]
struct Connection {
    socket: Option<UnixDatagram>,
    tried: Option<Instant>,
}

impl Syslog {
    pub(crate) fn new(path: PathBuf, ident: String) -> Self {
        Syslog { path, ident, connection: Mutex::default() }
    }
}

impl Sink for Syslog {
    fn send(&self, at: &Stamp, level: Level, text: &str) -> bool {
        let line = syslog_line(&at.local, &self.ident, std::process::id(), level, text);
        self.connection.lock().send(&self.path, at.instant, line.as_bytes()) // held over calls that do not wait
    }
}

impl Connection {
    fn send(&mut self, path: &Path, now: Instant, line: &[u8]) -> bool {
        if let Some(socket) = &self.socket {
            match socket.send(line) {
                Ok(_) => return true,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
                Err(_) => self.socket = None, // the daemon was restarted, or is gone
            }
        }
        if self.tried.is_some_and(|tried| now.saturating_duration_since(tried) < SYSLOG_RETRY) {
            return false;
        }
        self.tried = Some(now);
        self.socket = connect(path).ok();
        self.socket.as_ref().is_some_and(|socket| socket.send(line).is_ok())
    }
}

fn connect(path: &Path) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    socket.connect(path)?;
    Ok(socket)
}

/// A log file. A disk can keep a writer waiting, so a thread of its own writes.
pub(crate) struct LogFile(SyncSender<Job>);

enum Job {
    Line(String),
    Flush(SyncSender<io::Result<()>>),
    Reopen(SyncSender<io::Result<()>>),
}

impl LogFile {
    /// Opens for appending; the thread starts with [`LogFile::start`].
    pub(crate) fn open(path: &Path) -> io::Result<File> {
        File::options().append(true).create(true).open(path)
    }

    pub(crate) fn start(path: PathBuf, file: File) -> io::Result<Self> {
        let (sender, jobs) = sync_channel(FILE_QUEUE);
        std::thread::Builder::new().name("log".into()).spawn(move || write_jobs(&path, file, &jobs))?;
        Ok(LogFile(sender))
    }

    fn ask(&self, job: impl FnOnce(SyncSender<io::Result<()>>) -> Job) -> io::Result<()> {
        let (sender, answer) = sync_channel(1);
        self.0.try_send(job(sender)).map_err(|_| io::Error::from(io::ErrorKind::WouldBlock))?;
        answer.recv_timeout(DISK_PATIENCE).map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
    }
}

impl Sink for LogFile {
    fn send(&self, at: &Stamp, level: Level, text: &str) -> bool {
        self.0.try_send(Job::Line(file_line(&at.local, level, text))).is_ok()
    }

    fn flush(&self) {
        let _ = self.ask(Job::Flush); // a log that cannot be written has nowhere to say so
    }

    fn reopen(&self) -> io::Result<()> {
        self.ask(Job::Reopen)
    }
}

/// The thread "log": ends with the process.
fn write_jobs(path: &Path, mut file: File, jobs: &Receiver<Job>) {
    let mut lost = 0_u64;
    for job in jobs {
        match job {
            Job::Line(line) => {
                if lost > 0 {
                    let note = format!("{lost} log messages lost: the log could not be written");
                    if file.write_all(file_line(&Stamp::now().local, Level::Warn, &note).as_bytes()).is_ok() {
                        lost = 0;
                    }
                }
                lost += u64::from(file.write_all(line.as_bytes()).is_err());
            }
            Job::Flush(done) => drop(done.try_send(Ok(()))),
            Job::Reopen(done) => drop(done.try_send(LogFile::open(path).map(|new| file = new))),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn receive(socket: &UnixDatagram) -> String {
        let mut buffer = [0; 4096];
        let length = socket.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }

    #[test]
    fn syslog_may_come_late_and_restart() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let syslog = Syslog::new(path.clone(), "gmetad".into());
        let mut at = Stamp::now();
        assert!(!syslog.send(&at, Level::Info, "nobody there"));
        let daemon = UnixDatagram::bind(&path).unwrap();
        assert!(!syslog.send(&at, Level::Info, "not tried again so soon"));
        at.instant += SYSLOG_RETRY;
        assert!(syslog.send(&at, Level::Info, "hello"));
        let line = receive(&daemon);
        assert!(
            line.starts_with("<14>") && line.ends_with(&format!(" gmetad[{}]: hello", std::process::id())),
            "{line}"
        );

        drop(daemon);
        std::fs::remove_file(&path).unwrap();
        let daemon = UnixDatagram::bind(&path).unwrap();
        at.instant += SYSLOG_RETRY;
        assert!(syslog.send(&at, Level::Error, "again"), "reconnected at once");
        assert!(receive(&daemon).ends_with("again"));
    }

    #[test]
    fn full_syslog_does_not_block() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let _daemon = UnixDatagram::bind(&path).unwrap(); // never reads
        let syslog = Syslog::new(path, "gmetad".into());
        let refused = (0..100_000).find(|_| !syslog.send(&Stamp::now(), Level::Info, "x"));
        assert!(refused.is_some());
    }

    #[test]
    fn log_file_follows_its_name_on_reopen() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("gmetad.log");
        let log = LogFile::start(path.clone(), LogFile::open(&path).unwrap()).unwrap();
        assert!(log.send(&Stamp::now(), Level::Info, "one"));
        log.flush();
        std::fs::rename(&path, dir.path().join("old")).unwrap();
        log.reopen().unwrap();
        assert!(log.send(&Stamp::now(), Level::Error, "two"));
        log.flush();
        assert!(std::fs::read_to_string(dir.path().join("old")).unwrap().ends_with(" INFO     one\n"));
        assert!(std::fs::read_to_string(&path).unwrap().ends_with(" ERROR    two\n"));

        std::fs::remove_dir_all(dir.path()).unwrap();
        assert!(log.reopen().is_err(), "the old file stays in use");
        assert!(log.send(&Stamp::now(), Level::Info, "three"));
    }

    #[test]
    fn journal_only_if_the_variable_means_this_descriptor() {
        assert!(is_journal("9:1234", 9, 1234));
        assert!(!is_journal("9:1234", 9, 1235) && !is_journal("", 0, 0));
    }
}
