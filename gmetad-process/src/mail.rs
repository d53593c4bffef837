//! Mail: headers, and sendmail, run without a shell, in a process group of its own, never longer than its caller wants.

use std::fmt::Write as _;
use std::io::{ErrorKind, Read, Write};
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
/// Why the message may not have been taken: what `check` said, the program's status, and the beginning of what it wrote on
/// standard error. It is not running any more then.
pub fn sendmail(program: &Path, message: &[u8], check: impl Fn() -> Result<(), String>) -> Result<(), String> {
    let mut command = Command::new(program);
    command.args(["-t", "-oi"]).current_dir("/").process_group(0);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| format!("cannot be started: {error}"))?;
    let mut complaints = Complaints::of(&mut child);
    let result = feed(&mut child, message, &check, &mut complaints);
    let result = result.and_then(|()| wait(&mut child, &check, &mut complaints));
    match result {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{status}{}", complaints.said())),
        Err(text) => {
            kill(&mut child);
            Err(format!("{text}{}", complaints.said()))
        }
    }
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

type Check<'a> = &'a dyn Fn() -> Result<(), String>;

/// Writes without ever waiting for longer than a slice: a sendmail may not read.
fn feed(child: &mut Child, mut message: &[u8], check: Check<'_>, complaints: &mut Complaints) -> Result<(), String> {
    let Some(mut stdin) = child.stdin.take() else { return Ok(()) };
    never_wait(&stdin).map_err(|error| format!("cannot be written to: {error}"))?;
    while !message.is_empty() {
        match stdin.write(message) {
            Ok(n) => message = message.get(n..).unwrap_or_default(),
            // It ended before it had read all; its status tells why.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(()),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                check()?;
                complaints.read();
                let mut fds = [PollFd::new(stdin.as_fd(), PollFlags::POLLOUT)];
                // What poll says shows at the next write.
                let _ = poll(&mut fds, PollTimeout::try_from(SLICE).unwrap_or(PollTimeout::ZERO));
            }
            Err(error) => return Err(format!("cannot be written to: {error}")),
        }
    }
    Ok(())
}

fn never_wait(fd: impl AsFd) -> nix::Result<()> {
    let flags = OFlag::from_bits_truncate(fcntl(fd.as_fd(), FcntlArg::F_GETFL)?);
    fcntl(fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK)).map(drop)
}

fn wait(child: &mut Child, check: Check<'_>, complaints: &mut Complaints) -> Result<ExitStatus, String> {
    let mut pause = Duration::from_millis(1);
    loop {
        if let Some(status) = child.try_wait().map_err(|error| format!("cannot be waited for: {error}"))? {
            return Ok(status);
        }
        check()?;
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
        let text = String::from_utf8_lossy(&self.kept).trim().to_owned();
        if text.is_empty() { text } else { format!(": {}", clean(&text, 400)) }
    }
}
