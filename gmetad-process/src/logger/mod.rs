//! The log: standard error, syslog, a file, or several of them, behind the macros of the `log` crate.
//!
//! - Logging never makes a thread wait. What a target cannot take is dropped, counted ([`Logger::lost`]), and reported in
//!   the log once it works again.
//! - Of equal messages, ten are shown in ten seconds; then follows `last message repeated N times: TEXT`. Debug messages
//!   are exempt: who asks for them wants them all.
//! - A message is one line: control characters are escaped, so that a hostile host name cannot forge entries.
//!
//! ```
//! use gmetad_process::logger::{self, Setup};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let log = Setup::new("gmetad", logger::level_of_debug(0)).stderr().install()?;
//! log::info!("the C daemon's text, unchanged");
//! log.flush();
//! assert_eq!(log.lost(), 0);
//! # Ok(()) }
//! ```

mod format;
mod repeat;
mod sinks;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use log::{Level, LevelFilter, Log, Metadata, Record};
use parking_lot::Mutex;

use format::Stamp;
use repeat::Repeats;
use sinks::{LogFile, Sink, Stderr, Syslog};

/// What may go wrong in setting up the log.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The log file.
    #[error("cannot open log file {}: {source}; name another with --logfile", .path.display())]
    File {
        /// Its name.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Its thread.
    #[error("cannot start the log's thread: {0}; look at the limit of processes (ulimit -u)")]
    Thread(io::Error),
    /// A process has one log.
    #[error("a logger is installed already; install one only")]
    Twice,
}

/// The level of a name: `fatal`, `critical`, `error`, `warning`, `info`, `debug`. The `log` crate has no level above
/// error, so the first three are one.
pub fn level_of_name(name: &str) -> Option<LevelFilter> {
    Some(match name.to_ascii_lowercase().as_str() {
        "fatal" | "critical" | "error" => LevelFilter::Error,
        "warning" => LevelFilter::Warn,
        "info" => LevelFilter::Info,
        "debug" => LevelFilter::Debug,
        _ => return None,
    })
}

/// The level of the C daemon's `debug_level`: debug messages from 2 on. (0 also means syslog and background, 1 standard
/// error with the same texts; where to log is the caller's choice.)
pub fn level_of_debug(debug_level: i64) -> LevelFilter {
    if debug_level >= 2 { LevelFilter::Debug } else { LevelFilter::Info }
}

/// A log to be. Opens files now, starts threads at [`Setup::install`].
#[must_use = "nothing is logged until install"]
pub struct Setup {
    ident: String,
    level: LevelFilter,
    sinks: Vec<Box<dyn Sink>>,
    file: Option<(PathBuf, std::fs::File)>,
    only: &'static [&'static str],
    words: Words,
}

/// Another text for a line of the log.
pub type Words = fn(&str) -> Option<String>;

impl Setup {
    /// `ident` is the name syslog shows: the program as invoked.
    pub fn new(ident: impl Into<String>, level: LevelFilter) -> Self {
        Setup { ident: ident.into(), level, sinks: Vec::new(), file: None, only: &[], words: |_| None }
    }

    /// Shows messages of these log targets alone. `log` knows no level above error; programs have the targets `critical`
    /// (a part of the program stopped working) and `fatal` (the program ends) instead.
    pub fn only(mut self, targets: &'static [&'static str]) -> Self {
        self.only = targets;
        self
    }

    /// Says lines in other words: those that libraries and the log itself write in another language, say.
    pub fn worded(mut self, words: Words) -> Self {
        self.words = words;
        self
    }

    /// Gives the log file to the user that the process is going to be, so that it can be opened again.
    pub fn owned_by(self, account: &crate::user::Account) -> Result<Self, LogError> {
        if let Some((path, file)) = &self.file {
            let given = std::os::unix::fs::fchown(file, Some(account.uid), Some(account.gid));
            given.map_err(|source| LogError::File { path: path.clone(), source })?;
        }
        Ok(self)
    }

    /// Adds standard error: plain text, or with the journal's priority prefix if it is connected to the journal.
    pub fn stderr(mut self) -> Self {
        self.sinks.push(Box::new(Stderr::new()));
        self
    }

    /// Adds syslog (`/dev/log`, facility user). If nobody listens there, it is tried again later.
    pub fn syslog(mut self) -> Self {
        self.sinks.push(Box::new(Syslog::new("/dev/log".into(), self.ident.clone())));
        self
    }

    /// Adds a file, opened now (so: before the user changes) for appending. Lines are gmetad-python's:
    /// `Sat, 21 Nov 2026 19:15:25 ERROR    text`, in local time.
    pub fn file(mut self, name: &Path) -> Result<Self, LogError> {
        let failed = |source| LogError::File { path: name.into(), source };
        let path = std::path::absolute(name).map_err(failed)?;
        let file = LogFile::open(&path).map_err(failed)?;
        self.file = Some((path, file));
        Ok(self)
    }

    /// Makes this the log of the process, panics included. After the fork: a log file has a thread.
    pub fn install(mut self) -> Result<&'static Logger, LogError> {
        if let Some((path, file)) = self.file {
            self.sinks.push(Box::new(LogFile::start(path, file).map_err(LogError::Thread)?));
        }
        let targets = self.sinks.into_iter().map(|sink| Target { sink, unreported: AtomicU64::new(0) }).collect();
        let logger: &'static Logger = Box::leak(Box::new(Logger {
            targets,
            repeats: Mutex::default(),
            lost: AtomicU64::new(0),
            only: self.only,
            words: self.words,
        }));
        log::set_logger(logger).map_err(|_| LogError::Twice)?;
        log::set_max_level(self.level);
        // Standard error of a daemon is /dev/null: a thread that dies must not die unheard.
        std::panic::set_hook(Box::new(|panic| {
            let thread = std::thread::current();
            log::error!(target: "critical", "thread '{}' {panic}", thread.name().unwrap_or("unnamed"));
            log::logger().flush();
        }));
        Ok(logger)
    }
}

/// The installed log.
pub struct Logger {
    targets: Vec<Target>,
    repeats: Mutex<Repeats>,
    lost: AtomicU64,
    /// Log targets shown; all if empty.
    only: &'static [&'static str],
    words: Words,
}

struct Target {
    sink: Box<dyn Sink>,
    unreported: AtomicU64,
}

impl Logger {
    /// Changes what is shown.
    pub fn set_level(&self, level: LevelFilter) {
        log::set_max_level(level);
    }

    /// Opens the log file anew, for log rotation. On failure the old file stays in use.
    pub fn reopen(&self) -> io::Result<()> {
        self.targets.iter().try_for_each(|target| target.sink.reopen())
    }

    /// How many lines were not taken by a target since the start.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Says what repetitions are still held back and waits, for a bounded time, until the log file has everything. To be
    /// called before the process ends.
    pub fn flush(&self) {
        let held_back = self.repeats.lock().drain();
        for (level, text) in held_back {
            self.emit(&Stamp::now(), level, &self.worded(text));
        }
        self.targets.iter().for_each(|target| target.sink.flush());
    }

    fn worded(&self, text: String) -> String {
        (self.words)(&text).unwrap_or(text)
    }

    fn emit(&self, at: &Stamp, level: Level, text: &str) {
        for target in &self.targets {
            let unreported = target.unreported.load(Ordering::Relaxed);
            if unreported > 0
                && target.sink.send(at, Level::Warn, &self.worded(format!("{unreported} log messages lost")))
            {
                target.unreported.fetch_sub(unreported, Ordering::Relaxed);
            }
            if !target.sink.send(at, level, text) {
                target.unreported.fetch_add(1, Ordering::Relaxed);
                self.lost.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level() && (self.only.is_empty() || self.only.contains(&metadata.target()))
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let (at, level) = (Stamp::now(), record.level());
        let text = self.worded(format::text(*record.args()));
        let (show, summaries) =
            if level <= Level::Info { self.repeats.lock().admit(at.instant, level, &text) } else { (true, Vec::new()) };
        for (level, summary) in summaries {
            self.emit(&at, level, &self.worded(summary));
        }
        if show {
            self.emit(&at, level, &text);
        }
    }

    fn flush(&self) {
        Logger::flush(self);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes lines while it is open.
    #[derive(Clone, Default)]
    struct Memory(std::sync::Arc<Mutex<(bool, Vec<String>)>>);

    impl Sink for Memory {
        fn send(&self, _: &Stamp, _: Level, text: &str) -> bool {
            let mut memory = self.0.lock();
            let closed = memory.0;
            if !closed {
                memory.1.push(text.into());
            }
            !closed
        }
    }

    #[test]
    fn losses_are_counted_and_reported() {
        let memory = Memory::default();
        let target = Target { sink: Box::new(memory.clone()), unreported: AtomicU64::new(0) };
        let logger = Logger {
            targets: vec![target],
            repeats: Mutex::default(),
            lost: AtomicU64::new(0),
            only: &[],
            words: |_| None,
        };
        let say = |text| logger.emit(&Stamp::now(), Level::Info, text);
        say("a");
        memory.0.lock().0 = true;
        say("b");
        say("c");
        memory.0.lock().0 = false;
        say("d");
        say("e");
        assert_eq!(memory.0.lock().1, ["a", "2 log messages lost", "d", "e"]);
        assert_eq!(logger.lost(), 2);
    }

    #[test]
    fn levels() {
        assert_eq!(level_of_name("Critical"), Some(LevelFilter::Error));
        assert_eq!(level_of_name("WARNING"), Some(LevelFilter::Warn));
        assert_eq!(level_of_name("verbose"), None);
        assert_eq!([-1, 0, 1, 2, 9].map(level_of_debug), {
            use LevelFilter::{Debug, Info};
            [Info, Info, Info, Debug, Debug]
        });
    }
}
