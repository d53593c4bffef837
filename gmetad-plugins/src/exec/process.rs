//! A process and its pipes. Nothing here blocks but one poll with a deadline; reading and writing go on at the same time, so
//! that two who both write much cannot wait for each other.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use gmetad_process::child::{Child, Pipes, Signal, Spawn};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::EventFd;

use super::directory::Refusal;
use super::lines::Lines;
use super::talk::Talk;

/// Bytes read at a time.
const CHUNK: usize = 64 << 10;
/// Time between SIGTERM and SIGKILL.
const TERM: Duration = Duration::from_secs(1);
/// How long a process that closed a pipe is waited for, to tell how it ended.
const LAST_WORDS: Duration = Duration::from_millis(300);

/// Why a process has to be started anew.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("it cannot be started: {0}; look at its first line (#!), its interpreter, plugin_user and plugin_memory")]
    Spawn(io::Error),
    #[error("it ended ({0}); look at what it wrote before")]
    Ended(gmetad_process::child::Ended),
    #[error("it closed its standard {0} and went on; it must keep it open until \"stop\"")]
    Closed(&'static str),
    #[error("no answer to \"{0}\" within {1} s; make it faster, or raise plugin_deadline")]
    Late(&'static str, f64),
    #[error("more than {0} MB on its standard {1} for one answer; make it say less, or raise plugin_output")]
    TooMuch(usize, &'static str),
    #[error("{0} is not an answer of docs/plugins.md: {1}; write nothing but the protocol on standard output")]
    NotUnderstood(String, String),
    #[error("it answered {0} where transaction {1} was asked; answer each line in order with its id")]
    WrongId(String, u64),
    #[error("it answered \"{0}\" where {1} was asked")]
    Unexpected(&'static str, &'static str),
    #[error("it refused \"{0}\": {1}")]
    Refused(&'static str, String),
    #[error("{path} is not run: {1}", path = .0.display())]
    Untrusted(PathBuf, Refusal),
    #[error("{0}: {1}")]
    System(&'static str, io::Error),
}

/// A process with what is on its way.
pub(super) struct Process {
    child: Child,
    stdin: Option<File>,
    stdout: Option<File>,
    stderr: Option<File>,
    /// What is still to be written, from `written` on.
    out: Vec<u8>,
    written: usize,
    lines: Lines,
    /// Bytes on the standard output since [`Process::begin`].
    said: usize,
    /// The most of it.
    most: usize,
    pub(super) talk: Talk,
    /// It ended or closed this pipe: there will be no further answer.
    over: Option<&'static str>,
    chunk: Box<[u8]>,
}

impl Process {
    /// Starts it. `most` is the bound of one answer, in bytes.
    pub(super) fn start(spawn: &Spawn, name: &str, most: usize) -> Result<Self, Failure> {
        let mut child = spawn.spawn().map_err(Failure::Spawn)?;
        let Pipes { stdin, stdout, stderr } = child.take_pipes().map_err(Failure::Spawn)?;
        Ok(Self {
            child,
            stdin: Some(stdin),
            stdout: Some(stdout),
            stderr: Some(stderr),
            out: Vec::new(),
            written: 0,
            lines: Lines::default(),
            said: 0,
            most,
            talk: Talk::new(name),
            over: None,
            chunk: vec![0; CHUNK].into(),
        })
    }

    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Something new is asked: bounds begin anew. The line is to be appended to what this returns.
    pub(super) fn begin(&mut self) -> &mut Vec<u8> {
        self.talk.renew();
        self.said = 0;
        self.out.drain(..self.written);
        self.written = 0;
        &mut self.out
    }

    /// A line that came, without its end.
    pub(super) fn line(&mut self) -> Option<Vec<u8>> {
        self.lines.next()
    }

    /// Whether there will be no further line.
    pub(super) fn is_over(&self) -> bool {
        self.over.is_some()
    }

    /// Closes its standard input when everything is written.
    pub(super) fn close_stdin(&mut self) {
        if self.written >= self.out.len() {
            self.stdin = None;
        }
    }

    /// Waits until something happens: bytes, the end, `wake`, or the time is over. Moves what can be moved.
    pub(super) fn turn(&mut self, wake: Option<&EventFd>, until: Instant) -> Result<(), Failure> {
        if self.talk.renew_in_time() {
            // A line without an end stays counted.
            self.said = self.lines.waiting();
        }
        let nothing = PollFlags::empty();
        let (mut out, mut err, mut inp, mut end) = (nothing, nothing, nothing, nothing);
        {
            let mut fds = Vec::with_capacity(5);
            let mut places: Vec<&mut PollFlags> = Vec::with_capacity(5);
            let mut woken = nothing;
            let pending = self.written < self.out.len();
            let ended = self.child.end_fd();
            let files = [
                (wake.map(AsFd::as_fd), PollFlags::POLLIN, &mut woken),
                (self.stdout.as_ref().map(AsFd::as_fd), PollFlags::POLLIN, &mut out),
                (self.stderr.as_ref().map(AsFd::as_fd), PollFlags::POLLIN, &mut err),
                // Without anything to write it is watched for its other end being closed.
                (self.stdin.as_ref().map(AsFd::as_fd), if pending { PollFlags::POLLOUT } else { nothing }, &mut inp),
                (ended, PollFlags::POLLIN, &mut end),
            ];
            for (fd, flags, place) in files {
                if let Some(fd) = fd {
                    fds.push(PollFd::new(fd, flags));
                    places.push(place);
                }
            }
            let left = until.saturating_duration_since(Instant::now());
            // Rounded up, and at most a second: then the end is looked for where the system has no descriptor for it.
            let timeout = PollTimeout::from((left.as_millis() + 1).min(1000) as u16);
            match poll(&mut fds, timeout) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(error) => return Err(Failure::System("poll", error.into())),
            }
            for (fd, place) in fds.iter().zip(places) {
                *place = fd.revents().unwrap_or(nothing);
            }
        }
        if let Some(wake) = wake {
            // It is not ready where nobody woke us.
            let _ = wake.read();
        }
        if !out.is_empty() {
            self.read_stdout()?;
        }
        if !err.is_empty() {
            self.read_stderr()?;
        }
        if !inp.is_empty() {
            self.write_stdin()?;
        }
        let has_ended = !end.is_empty() || self.child.end_fd().is_none();
        if has_ended && self.child.ended().map_err(|error| Failure::System("waitid", error))?.is_some() {
            self.drain()?;
            self.over.get_or_insert("output");
        }
        Ok(())
    }

    fn write_stdin(&mut self) -> Result<(), Failure> {
        let Some(stdin) = &mut self.stdin else { return Ok(()) };
        while self.written < self.out.len() {
            match stdin.write(&self.out[self.written..]) {
                Ok(bytes) => self.written += bytes,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return self.closed("input"),
            }
        }
        if self.out.is_empty() {
            // Nothing was to be written: its other end is closed.
            return self.closed("input");
        }
        self.out.clear();
        self.written = 0;
        Ok(())
    }

    fn closed(&mut self, which: &'static str) -> Result<(), Failure> {
        self.stdin = None;
        self.drain()?;
        self.over.get_or_insert(which);
        Ok(())
    }

    /// Takes what is still in the pipes of a process that is over.
    fn drain(&mut self) -> Result<(), Failure> {
        while self.stdout.is_some() && self.read_stdout()? {}
        while self.stderr.is_some() && self.read_stderr()? {}
        self.talk.flush();
        Ok(())
    }

    /// Whether there may be more.
    fn read_stdout(&mut self) -> Result<bool, Failure> {
        match read(&mut self.stdout, &mut self.chunk) {
            Some(0) => {
                self.over.get_or_insert("output");
                Ok(false)
            }
            None => Ok(false),
            Some(bytes) => {
                self.said += bytes;
                if self.said > self.most {
                    return Err(Failure::TooMuch(self.most >> 20, "output"));
                }
                self.lines.put(&self.chunk[..bytes]);
                Ok(true)
            }
        }
    }

    fn read_stderr(&mut self) -> Result<bool, Failure> {
        match read(&mut self.stderr, &mut self.chunk) {
            // It may close this one.
            Some(0) | None => Ok(false),
            Some(bytes) => {
                if self.talk.complain(&self.chunk[..bytes]) > self.most {
                    return Err(Failure::TooMuch(self.most >> 20, "error"));
                }
                Ok(true)
            }
        }
    }

    /// Why it is over.
    pub(super) fn obituary(&mut self) -> Failure {
        let until = Instant::now() + LAST_WORDS;
        let which = self.over.unwrap_or("output");
        loop {
            match self.child.ended() {
                Ok(Some(ended)) => return Failure::Ended(ended),
                Err(error) => return Failure::System("waitid", error),
                Ok(None) if Instant::now() >= until => return Failure::Closed(which),
                Ok(None) => self.await_end(until),
            }
        }
    }

    /// Ends it, politely at first, and all that it started. Takes a second at most, and the bit that reaping takes.
    pub(super) fn end(mut self) {
        self.stdin = None;
        let until = Instant::now() + TERM;
        let is_running = |child: &mut Child| matches!(child.ended(), Ok(None));
        if is_running(&mut self.child) {
            self.child.kill_group(Signal::SIGTERM);
        }
        while is_running(&mut self.child) && Instant::now() < until {
            self.await_end(until);
        }
        self.talk.flush();
        self.talk.renew();
    }

    /// Waits for the end, a little. What it complains goes to the log; what it says now is not looked at.
    fn await_end(&mut self, until: Instant) {
        let left = until.saturating_duration_since(Instant::now()).as_millis() as u16;
        let most = if self.child.end_fd().is_some() { 100 } else { 10 };
        let fds = [self.child.end_fd(), self.stdout.as_ref().map(AsFd::as_fd), self.stderr.as_ref().map(AsFd::as_fd)];
        let mut fds: Vec<_> = fds.into_iter().flatten().map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
        // Whatever it says: the caller looks again.
        let _ = poll(&mut fds, PollTimeout::from((left + 1).min(most)));
        let _ = read(&mut self.stdout, &mut self.chunk);
        let _ = self.read_stderr();
    }
}

/// Bytes read; 0 if the other end is closed, and the file then is, too; `None` if there is nothing now.
fn read(file: &mut Option<File>, chunk: &mut [u8]) -> Option<usize> {
    loop {
        match file.as_mut()?.read(chunk) {
            Ok(0) => break,
            Ok(bytes) => return Some(bytes),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    *file = None;
    Some(0)
}
