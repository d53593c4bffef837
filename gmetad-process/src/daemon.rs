//! Going to the background so that the shell learns whether the start succeeded.
//!
//! The C daemon's first process exits 0 before pid file, user and ports are tried, so a failing start shows only in
//! syslog. Here it waits, on a pipe, until the daemon says [`Ready::ok`] or [`Ready::fail`]; a daemon that dies without a
//! word counts as failed.
//!
//! ```no_run
//! # fn bind() -> std::io::Result<()> { Ok(()) }
//! let ready = gmetad_process::daemon::daemonize(0o022).expect("no thread was started");
//! match bind() {
//!     Ok(()) => ready.ok(),
//!     Err(error) => ready.fail(error), // and exit 1
//! }
//! ```

use std::fmt::Display;
use std::fs::File;
use std::io::{self, PipeReader, PipeWriter, Read, Write};

use nix::sys::stat::{Mode, umask as set_umask};
use nix::unistd;

use crate::sys::{self, Fork};

/// The permission bits a configured umask may take away: never the owner's, so that the daemon can use its own files.
pub const UMASK_BITS: u32 = 0o7077;

/// Longest message of a failed start that is passed on, in bytes.
const MESSAGE_LIMIT: u64 = 64 * 1024;

const OK: u8 = b'+';
const FAILED: u8 = b'-';

/// Why the process could not go to the background.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// A fork would lose the other threads.
    #[error("cannot go to the background with {0} threads running; fork before starting any, or use --foreground")]
    Threads(usize),
    /// The daemon said nothing.
    #[error("the daemon ended before it was ready; see its log, or start it with --foreground")]
    Died,
    /// A system call failed.
    #[error("cannot go to the background: {what}: {source}; try --foreground")]
    System {
        /// The step.
        what: &'static str,
        /// What the system says.
        source: io::Error,
    },
}

fn at<E: Into<io::Error>>(what: &'static str) -> impl FnOnce(E) -> DaemonError {
    move |source| DaemonError::System { what, source: source.into() }
}

/// The word owed to whoever started the program. Dropping it without one counts as a failed start.
#[derive(Debug)]
#[must_use = "the shell waits until ok or fail is called"]
pub struct Ready(Option<PipeWriter>);

impl Ready {
    /// For a program that stays in the foreground: nobody waits, a failure is printed on standard error.
    pub fn foreground() -> Self {
        Ready(None)
    }

    /// The start succeeded: the waiting process exits 0.
    pub fn ok(self) {
        self.send(OK, "");
    }

    /// [`Ready::ok`]; the waiting process prints `message` on its standard output before it ends.
    pub fn ok_saying(self, message: impl Display) {
        self.send(OK, &message.to_string());
    }

    /// Whether nobody waits: the process is in the foreground.
    pub fn is_foreground(&self) -> bool {
        self.0.is_none()
    }

    /// The start failed: the waiting process prints `message` on its standard error and exits 1. The caller should exit
    /// 1 as well.
    pub fn fail(self, message: impl Display) {
        match self.0 {
            None => eprintln!("{message}"),
            Some(_) => self.send(FAILED, &message.to_string()),
        }
    }

    fn send(self, first: u8, message: &str) {
        if let Some(mut pipe) = self.0 {
            let mut bytes = vec![first];
            bytes.extend_from_slice(message.as_bytes());
            let _ = pipe.write_all(&bytes); // the waiting process was killed: then nobody wants to know
        }
    }
}

/// Turns the process into a daemon: a session of its own without a terminal, in `/`, with `umask & 0o7077`, standard
/// descriptors on `/dev/null`, descriptors inherited from the caller closed (those without close-on-exec).
///
/// Only the daemon returns from here; the calling process waits for its word and exits. Fails, in the calling process, if
/// a thread was started before (also by an installed [`logger`](crate::logger) with a file).
pub fn daemonize(umask: u32) -> Result<Ready, DaemonError> {
    daemonize_saying(umask, &|error| error.to_string())
}

/// [`daemonize`]; what it prints itself, it prints in the words of `say`.
pub fn daemonize_saying(umask: u32, say: &dyn Fn(&DaemonError) -> String) -> Result<Ready, DaemonError> {
    let threads = sys::threads();
    if threads > 1 {
        return Err(DaemonError::Threads(threads));
    }
    let _ = io::stdout().flush(); // or both processes would print it
    let null = File::options().read(true).write(true).open("/dev/null").map_err(at("/dev/null"))?;
    let (reader, writer) = io::pipe().map_err(at("pipe"))?;
    match sys::fork().map_err(at("fork"))? {
        Fork::Parent(_) => {
            drop(writer);
            std::process::exit(wait(reader, say));
        }
        Fork::Child => drop(reader),
    }
    let ready = Ready(Some(writer));
    match detach(umask, &null) {
        Ok(()) => Ok(ready),
        Err(error) => {
            ready.fail(say(&error));
            sys::exit_now(1)
        }
    }
}

/// The second half, in the first child. The session leader ends, so that the daemon can never acquire a terminal.
fn detach(umask: u32, null: &File) -> Result<(), DaemonError> {
    unistd::setsid().map_err(at("setsid"))?;
    if let Fork::Parent(_) = sys::fork().map_err(at("fork"))? {
        sys::exit_now(0);
    }
    unistd::chdir("/").map_err(at("chdir to /"))?;
    set_umask(Mode::from_bits_truncate(umask & UMASK_BITS));
    unistd::dup2_stdin(null).map_err(at("standard input"))?;
    unistd::dup2_stdout(null).map_err(at("standard output"))?;
    unistd::dup2_stderr(null).map_err(at("standard error"))?;
    sys::close_inherited();
    Ok(())
}

/// Waits for the daemon's word; returns the exit status.
fn wait(reader: PipeReader, say: &dyn Fn(&DaemonError) -> String) -> i32 {
    let mut said = Vec::new();
    let _ = reader.take(MESSAGE_LIMIT).read_to_end(&mut said); // an error leaves it empty
    match said.split_first() {
        Some((&OK, message)) => {
            let _ = io::stdout().write_all(message).and_then(|()| io::stdout().flush()); // it may be closed
            0
        }
        Some((_, message)) => {
            eprintln!("{}", String::from_utf8_lossy(message));
            1
        }
        None => {
            eprintln!("{}", say(&DaemonError::Died));
            1
        }
    }
}
