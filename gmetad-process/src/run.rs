//! Running a program to its end, with bounds: on its time, on what it writes, on what it leaves behind.
//!
//! ```
//! use std::time::Duration;
//! use gmetad_process::child::{Ended, Spawn};
//! use gmetad_process::run::{Bounds, run};
//!
//! let output = run(&Spawn::new("/bin/sh").args(["-c", "cat; exit 2"]), b"hello", &Bounds::default(), &|| false)?;
//! assert_eq!((output.result, &output.stdout[..]), (Ok(Ended::Exit(2)), &b"hello"[..]));
//!
//! let late = Bounds { time: Duration::from_millis(50), ..Bounds::default() };
//! let output = run(&Spawn::new("/bin/sleep").args(["60"]), b"", &late, &|| false)?;
//! assert_eq!(output.result.unwrap_err().to_string(), "it took longer than 0.05 s");
//! # Ok::<(), std::io::Error>(())
//! ```

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use thiserror::Error;

use crate::child::{Child, Ended, Pipes, Signal, Spawn};
use crate::process::Process;

/// How often it is looked whether the run is still wanted.
const SLICE: Duration = Duration::from_millis(200);
/// The same where the end of a process cannot be polled for (before Linux 5.3).
const SHORT: Duration = Duration::from_millis(20);
/// Read at once.
const CHUNK: usize = 64 << 10;
/// What is still read of a process that has ended, beyond what its pipes hold: somebody else may go on writing into them.
const REST: usize = 1 << 20;

/// What a run may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// How long it may take.
    pub time: Duration,
    /// How long it may take to end after SIGTERM, before SIGKILL. On top of `time`.
    pub grace: Duration,
    /// Bytes of its standard output; with more it is ended.
    pub stdout: usize,
    /// Bytes of its standard error that are kept: the last ones.
    pub stderr: usize,
}

impl Default for Bounds {
    /// A minute, 1 s, 1 MiB, 4 KiB.
    fn default() -> Self {
        Self { time: Duration::from_secs(60), grace: Duration::from_secs(1), stdout: 1 << 20, stderr: 4 << 10 }
    }
}

/// What a run brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// How it ended, or why it was ended.
    pub result: Result<Ended, Cut>,
    /// What it wrote, as far as the bound allows.
    pub stdout: Vec<u8>,
    /// The end of what it complained.
    pub stderr: Vec<u8>,
    /// What of it could not be ended: it hangs in the kernel.
    pub alive: Vec<Process>,
}

/// Why a program was ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Cut {
    /// It took too long.
    #[error("it took longer than {} s", (.0.as_secs_f64() * 100.0).round() / 100.0)]
    Late(Duration),
    /// It wrote too much.
    #[error("it wrote more than {0} bytes")]
    Much(usize),
    /// Nobody wants it any more.
    #[error("the run was stopped")]
    Stopped,
}

/// Runs a program with that input, until it ends or a bound is reached. What is left of its process group is killed then; its
/// pipes are not waited for, should somebody it started keep them open. `stopped` is asked 5 times a second.
///
/// # Errors
/// It cannot be started, or the system's.
pub fn run(spawn: &Spawn, input: &[u8], bounds: &Bounds, stopped: &dyn Fn() -> bool) -> io::Result<Output> {
    let end = Instant::now() + bounds.time;
    let mut child = spawn.spawn()?;
    let Pipes { stdin, stdout, stderr } = child.take_pipes()?;
    let mut talk = Talk {
        stdin: Some(stdin),
        input,
        stdout: Some(stdout),
        stderr: Some(stderr),
        out: Vec::new(),
        complaints: VecDeque::new(),
        bounds,
        chunk: vec![0; CHUNK],
    };
    let result = loop {
        if let Some(ended) = child.ended()? {
            talk.drain()?;
            break if talk.is_too_much() { Err(Cut::Much(bounds.stdout)) } else { Ok(ended) };
        }
        talk.turn()?;
        let left = end.saturating_duration_since(Instant::now());
        let cut = match () {
            () if talk.is_too_much() => Cut::Much(bounds.stdout),
            () if left.is_zero() => Cut::Late(bounds.time),
            () if stopped() => Cut::Stopped,
            () => {
                talk.wait(&child, left)?;
                continue;
            }
        };
        talk.stdin = None;
        end_it(&mut child, bounds.grace, &mut talk)?;
        break Err(cut);
    };
    talk.out.truncate(bounds.stdout);
    Ok(Output { result, stdout: talk.out, stderr: talk.complaints.into(), alive: child.end() })
}

/// SIGTERM to all of it, some time, and (in the drop of the child) SIGKILL.
fn end_it(child: &mut Child, grace: Duration, talk: &mut Talk<'_>) -> io::Result<()> {
    child.kill_group(Signal::SIGTERM);
    let end = Instant::now() + grace;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if child.ended()?.is_some() {
            return talk.drain();
        }
        if left.is_zero() {
            return Ok(());
        }
        // What it writes meanwhile must not block it.
        talk.out.truncate(talk.bounds.stdout);
        talk.turn()?;
        talk.wait(child, left)?;
    }
}

struct Talk<'a> {
    stdin: Option<File>,
    input: &'a [u8],
    stdout: Option<File>,
    stderr: Option<File>,
    out: Vec<u8>,
    complaints: VecDeque<u8>,
    bounds: &'a Bounds,
    chunk: Vec<u8>,
}

impl Talk<'_> {
    fn is_too_much(&self) -> bool {
        self.out.len() > self.bounds.stdout
    }

    /// Writes and reads once what is possible at once.
    fn turn(&mut self) -> io::Result<()> {
        if let Some(stdin) = &mut self.stdin {
            match stdin.write(self.input) {
                Ok(taken) => self.input = &self.input[taken..],
                Err(error) if is_later(&error) => {}
                // It does not want it.
                Err(_) => self.input = &[],
            }
            if self.input.is_empty() {
                self.stdin = None;
            }
        }
        self.read_out()?;
        self.read_err()?;
        Ok(())
    }

    /// Bytes that came.
    fn read_out(&mut self) -> io::Result<usize> {
        let read = read(&mut self.stdout, &mut self.chunk)?;
        // One byte more than allowed is enough to know.
        let room = (self.bounds.stdout + 1).saturating_sub(self.out.len());
        self.out.extend_from_slice(&self.chunk[..read.min(room)]);
        Ok(read)
    }

    fn read_err(&mut self) -> io::Result<usize> {
        let read = read(&mut self.stderr, &mut self.chunk)?;
        self.complaints.extend(&self.chunk[..read]);
        let surplus = self.complaints.len().saturating_sub(self.bounds.stderr);
        self.complaints.drain(..surplus);
        Ok(read)
    }

    /// What the pipes hold.
    fn drain(&mut self) -> io::Result<()> {
        let mut rest = self.bounds.stdout.saturating_add(REST);
        while rest > 0 {
            let read = self.read_out()?;
            if read == 0 {
                break;
            }
            rest = rest.saturating_sub(read);
        }
        let mut rest = REST;
        while rest > 0 {
            let read = self.read_err()?;
            if read == 0 {
                break;
            }
            rest = rest.saturating_sub(read);
        }
        Ok(())
    }

    /// Until there is something to do, at most so long.
    fn wait(&self, child: &Child, most: Duration) -> io::Result<()> {
        let end = child.end_fd();
        let most = most.min(if end.is_some() { SLICE } else { SHORT });
        let mut fds = Vec::with_capacity(4);
        fds.extend(end.map(|end| PollFd::new(end, PollFlags::POLLIN)));
        fds.extend(self.stdin.as_ref().map(|pipe| PollFd::new(pipe.as_fd(), PollFlags::POLLOUT)));
        for pipe in [&self.stdout, &self.stderr] {
            fds.extend(pipe.as_ref().map(|pipe| PollFd::new(pipe.as_fd(), PollFlags::POLLIN)));
        }
        let most = u16::try_from(most.as_millis()).unwrap_or(u16::MAX).max(1);
        match poll(&mut fds, PollTimeout::from(most)) {
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// Bytes that were there; none, too, at the end of the pipe, which is closed then.
fn read(pipe: &mut Option<File>, into: &mut [u8]) -> io::Result<usize> {
    let Some(file) = pipe else { return Ok(0) };
    match file.read(into) {
        Ok(0) => {
            *pipe = None;
            Ok(0)
        }
        Ok(read) => Ok(read),
        Err(error) if is_later(&error) => Ok(0),
        Err(error) => Err(error),
    }
}

fn is_later(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    fn sh(script: &str, bounds: &Bounds) -> Output {
        run(&Spawn::new("/bin/sh").args(["-c", script]), b"", bounds, &|| false).unwrap()
    }

    #[test]
    fn output_input_and_end() {
        let output = sh("echo out; echo err >&2; exit 3", &Bounds::default());
        assert_eq!(
            (output.result, &output.stdout[..], &output.stderr[..]),
            (Ok(Ended::Exit(3)), &b"out\n"[..], &b"err\n"[..])
        );
        let long = vec![b'x'; 900_000];
        let output = run(&Spawn::new("/bin/cat"), &long, &Bounds::default(), &|| false).unwrap();
        assert_eq!(output.stdout.len(), long.len());
        // Who does not read its input is not waited for.
        let output = run(&Spawn::new("/bin/true"), &long, &Bounds::default(), &|| false).unwrap();
        assert_eq!(output.result, Ok(Ended::Exit(0)));
        assert!(run(&Spawn::new("/no/such/program"), b"", &Bounds::default(), &|| false).is_err());
    }

    #[test]
    fn a_gibibyte_is_cut() {
        let start = Instant::now();
        let output = sh("head -c 1G /dev/zero", &Bounds::default());
        assert_eq!((output.result, output.stdout.len()), (Err(Cut::Much(1 << 20)), 1 << 20));
        assert!(start.elapsed() < Duration::from_secs(20));
        let output = sh("head -c 100M /dev/zero >&2; echo end >&2", &Bounds::default());
        assert_eq!((output.result, output.stderr.len()), (Ok(Ended::Exit(0)), 4 << 10));
        assert!(output.stderr.ends_with(b"\0end\n"));
        let exact = Bounds { stdout: 10, ..Bounds::default() };
        assert_eq!(sh("printf 1234567890", &exact).result, Ok(Ended::Exit(0)));
        assert_eq!(sh("printf 1234567890x", &exact).result, Err(Cut::Much(10)));
    }

    #[test]
    fn who_keeps_the_pipes_open_is_not_waited_for() {
        let start = Instant::now();
        let output = sh("setsid sleep 40 & echo done", &Bounds::default());
        assert_eq!((output.result, &output.stdout[..]), (Ok(Ended::Exit(0)), &b"done\n"[..]));
        assert!(start.elapsed() < Duration::from_secs(20));
    }

    #[test]
    fn term_then_kill_at_the_deadline() {
        let short = Bounds { time: Duration::from_millis(300), grace: Duration::from_secs(15), ..Bounds::default() };
        // It gets the chance to say something, and everything else of its group ends as well.
        let output = sh("trap 'echo bye; exit 0' TERM; echo hello; sleep 60 & wait", &short);
        assert_eq!((output.result, &output.stdout[..]), (Err(Cut::Late(short.time)), &b"hello\nbye\n"[..]));
        let deaf = Bounds { grace: Duration::from_millis(300), ..short };
        let start = Instant::now();
        let output = sh("trap '' TERM; echo $$; while :; do sleep 1; done", &deaf);
        assert!(start.elapsed() < Duration::from_secs(15));
        let pid = String::from_utf8(output.stdout).unwrap();
        assert!(!std::path::Path::new(&format!("/proc/{}", pid.trim())).exists());
    }

    #[test]
    fn it_can_be_stopped() {
        let asked = AtomicBool::new(false);
        let stopped = || asked.swap(true, Ordering::Relaxed);
        let output = run(&Spawn::new("/bin/sleep").args(["60"]), b"", &Bounds::default(), &stopped).unwrap();
        assert_eq!(output.result, Err(Cut::Stopped));
    }
}
