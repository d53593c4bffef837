//! Mail: headers, and sendmail, run without a shell, in a process group of its own, never longer than its caller wants.

use std::fmt::Write as _;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

/// How long it is waited before the deadline and the stop are looked at again.
const SLICE: Duration = Duration::from_millis(20);

/// Gives `program` (called as `sendmail -t -oi`) a message on standard input and waits for its end. `check` is asked every few
/// milliseconds and says why it has to be over.
///
/// # Errors
/// Why the message may not have been taken. It is not running any more then.
pub fn sendmail<E>(program: &Path, message: &[u8], check: impl Fn() -> Result<(), E>) -> Result<(), MailError<E>> {
    let mut command = Command::new(program);
    command.args(["-t", "-oi"]).current_dir("/").process_group(0);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child =
        command.spawn().map_err(|error| MailError { cause: MailCause::Start(error), complaint: String::new() })?;
    let mut complaints = Complaints::of(&mut child);
    let result = feed(&mut child, message, &check, &mut complaints);
    let result = result.and_then(|()| wait(&mut child, &check, &mut complaints));
    let cause = match result {
        Ok(status) if status.success() => return Ok(()),
        Ok(status) => MailCause::Ended(status),
        Err(cause) => {
            kill(&mut child);
            cause
        }
    };
    Err(MailError { cause, complaint: complaints.said() })
}

/// Why a message may not have been taken.
#[derive(Debug, thiserror::Error)]
#[error("{cause}{}{complaint}", if complaint.is_empty() { "" } else { ": " })]
pub struct MailError<E> {
    /// What went wrong.
    pub cause: MailCause<E>,
    /// The beginning of what the program wrote on standard error, in a line.
    pub complaint: String,
}

/// What may go wrong with a message; `E` is what the caller said.
#[derive(Debug, thiserror::Error)]
pub enum MailCause<E> {
    /// The program is not there, say.
    #[error("cannot be started: {0}")]
    Start(io::Error),
    /// Its input.
    #[error("cannot be written to: {0}")]
    Write(io::Error),
    /// Its end.
    #[error("cannot be waited for: {0}")]
    Wait(io::Error),
    /// It did not succeed.
    #[error("{0}")]
    Ended(ExitStatus),
    /// It had to be over.
    #[error("{0}")]
    Over(E),
}

/// A text for a header: as it is, or in the words of RFC 2047.
pub fn header_text(text: &str) -> String {
    if text.bytes().all(|b| (b' '..=b'~').contains(&b)) && !text.contains("=?") {
        return text.to_owned();
    }
    let mut out = String::new();
    let mut word = String::new();
    for c in text.chars() {
        let mut bytes = [0; 4];
        let encoded = c.encode_utf8(&mut bytes).bytes().fold(String::new(), |mut out, b| {
            let _ = match b {
                b' ' => write!(out, "_"),
                b if b.is_ascii_alphanumeric() => write!(out, "{}", char::from(b)),
                b => write!(out, "={b:02X}"),
            };
            out
        });
        // An encoded word has 75 characters at most, and no character goes over its end.
        if word.len() + encoded.len() > 60 {
            let _ = write!(out, "=?UTF-8?Q?{word}?=\n ");
            word.clear();
        }
        word.push_str(&encoded);
    }
    let _ = write!(out, "=?UTF-8?Q?{word}?=");
    out
}

/// A text of the network for one line of text: without characters that steer, and cut.
pub fn clean(text: &str, most: usize) -> String {
    let steers = |c: char| {
        c.is_control() || matches!(c, '\u{200e}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let mut out = String::with_capacity(text.len().min(4 * most));
    for (n, c) in text.chars().enumerate() {
        if n == most {
            out.push_str("...");
            break;
        }
        out.push(if steers(c) { ' ' } else { c });
    }
    out
}

type Check<'a, E> = &'a dyn Fn() -> Result<(), E>;

/// Writes without ever waiting for longer than a slice: a sendmail may not read.
fn feed<E>(
    child: &mut Child,
    mut message: &[u8],
    check: Check<'_, E>,
    complaints: &mut Complaints,
) -> Result<(), MailCause<E>> {
    let Some(mut stdin) = child.stdin.take() else { return Ok(()) };
    never_wait(&stdin).map_err(|error| MailCause::Write(error.into()))?;
    while !message.is_empty() {
        match stdin.write(message) {
            Ok(n) => message = message.get(n..).unwrap_or_default(),
            // It ended before it had read all; its status tells why.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(()),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                check().map_err(MailCause::Over)?;
                complaints.read();
                let mut fds = [PollFd::new(stdin.as_fd(), PollFlags::POLLOUT)];
                // What poll says shows at the next write.
                let _ = poll(&mut fds, PollTimeout::try_from(SLICE).unwrap_or(PollTimeout::ZERO));
            }
            Err(error) => return Err(MailCause::Write(error)),
        }
    }
    Ok(())
}

fn never_wait(fd: impl AsFd) -> nix::Result<()> {
    let flags = OFlag::from_bits_truncate(fcntl(fd.as_fd(), FcntlArg::F_GETFL)?);
    fcntl(fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK)).map(drop)
}

fn wait<E>(child: &mut Child, check: Check<'_, E>, complaints: &mut Complaints) -> Result<ExitStatus, MailCause<E>> {
    let mut pause = Duration::from_millis(1);
    loop {
        if let Some(status) = child.try_wait().map_err(MailCause::Wait)? {
            return Ok(status);
        }
        check().map_err(MailCause::Over)?;
        complaints.read();
        thread::sleep(pause);
        pause = (pause * 2).min(SLICE);
    }
}

/// Ends it and what it started. SIGKILL is not to be caught, so the wait is short.
fn kill(child: &mut Child) {
    if let Ok(id) = i32::try_from(child.id()) {
        // It may have ended meanwhile.
        let _ = killpg(Pid::from_raw(id), Signal::SIGKILL);
    }
    let _ = child.kill();
    for _ in 0..100 {
        if matches!(child.try_wait(), Ok(Some(_)) | Err(_)) {
            return;
        }
        thread::sleep(SLICE);
    }
}

/// What it writes on standard error: read all the time, or it would wait for us; its beginning is kept.
struct Complaints {
    stderr: Option<ChildStderr>,
    kept: Vec<u8>,
}

impl Complaints {
    fn of(child: &mut Child) -> Self {
        let stderr = child.stderr.take().filter(|stderr| never_wait(stderr).is_ok());
        Self { stderr, kept: Vec::new() }
    }

    fn read(&mut self) {
        let mut bytes = [0; 4096];
        // A megabyte at a time, so that whoever writes without end is stopped by the deadline.
        for _ in 0..256 {
            let Some(n) = self.stderr.as_mut().and_then(|stderr| stderr.read(&mut bytes).ok()).filter(|n| *n > 0)
            else {
                return;
            };
            self.kept.extend_from_slice(&bytes[..n.min(400usize.saturating_sub(self.kept.len()))]);
        }
    }

    fn said(mut self) -> String {
        self.read();
        clean(String::from_utf8_lossy(&self.kept).trim(), 400)
    }
}
