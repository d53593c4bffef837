//! Runs sendmail: without a shell, in a process group of its own, never longer than its deadline.

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

use super::notice::clean;
use super::sender::{Closing, Failure};

/// How long it is waited before the deadline and the stop are looked at again.
const SLICE: Duration = Duration::from_millis(20);

/// Gives it the message on standard input and waits for its end.
pub(crate) fn run(program: &Path, message: &[u8], closing: &Closing) -> Result<(), Failure> {
    let mut command = Command::new(program);
    command.args(["-t", "-oi"]).current_dir("/").process_group(0);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| Failure::Later(format!("cannot be started: {error}")))?;
    let mut complaints = Complaints::of(&mut child);
    let result = feed(&mut child, message, closing, &mut complaints);
    let result = result.and_then(|()| wait(&mut child, closing, &mut complaints));
    match result {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(Failure::Later(format!("{status}{}", complaints.said()))),
        Err(text) => {
            kill(&mut child);
            Err(Failure::Later(format!("{text}{}", complaints.said())))
        }
    }
}

/// Writes without ever waiting for longer than a slice: a sendmail may not read.
fn feed(child: &mut Child, mut message: &[u8], closing: &Closing, complaints: &mut Complaints) -> Result<(), String> {
    let Some(mut stdin) = child.stdin.take() else { return Ok(()) };
    never_wait(&stdin).map_err(|error| format!("cannot be written to: {error}"))?;
    while !message.is_empty() {
        match stdin.write(message) {
            Ok(n) => message = message.get(n..).unwrap_or_default(),
            // It ended before it had read all; its status tells why.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(()),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                closing.check()?;
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

fn wait(child: &mut Child, closing: &Closing, complaints: &mut Complaints) -> Result<ExitStatus, String> {
    let mut pause = Duration::from_millis(1);
    loop {
        if let Some(status) = child.try_wait().map_err(|error| format!("cannot be waited for: {error}"))? {
            return Ok(status);
        }
        closing.check()?;
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
