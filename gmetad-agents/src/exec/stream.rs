//! A program that goes on running and writes a line for each measurement.
//!
//! A thread starts it, reads it, and starts it again when it ends, after a rest that doubles. Only the newest line is kept (of
//! formats with a line for each series: the newest of each).

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use gmetad_core::agent::Message;
use gmetad_core::message;
use gmetad_core::source::Stop;
use gmetad_process::child::{Child, Pipes, Spawn};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use parking_lot::{Condvar, Mutex};

use super::agent::unended;
use super::settings::Format;
use super::{collectd, influx, names};
use crate::lang::logged;
use crate::said::{self, Said};

/// Bytes of a line.
const LINE: usize = 256 << 10;
/// Series of a stream, and bytes of their lines.
const SERIES: usize = 2000;
const BYTES: usize = 1 << 20;
/// Bytes of the standard error that are kept.
const COMPLAINTS: usize = 4 << 10;
/// Bytes a second that are read: with more the program has to wait, and so does not take our processor.
const PACE: usize = 1 << 20;
/// How long a program that ended is not started, at first and at most.
const REST: Duration = Duration::from_secs(1);
const LONGEST_REST: Duration = Duration::from_secs(300);
/// After so much work the first rest is short again.
const GOOD_WORK: Duration = Duration::from_secs(600);
/// How often a measurement that waits looks whether it is still wanted.
const SLICE: Duration = Duration::from_millis(200);

/// A running program.
#[derive(Debug)]
pub(super) struct Stream {
    shared: Arc<Shared>,
    /// A word on it, or its end, ends the thread.
    wake: UnixStream,
    thread: Option<JoinHandle<()>>,
}

/// What a measurement takes.
#[derive(Debug)]
pub(super) struct Lines {
    pub(super) text: Vec<u8>,
    pub(super) complaints: Vec<u8>,
}

#[derive(Debug, Default)]
struct Shared {
    newest: Mutex<Newest>,
    came: Condvar,
}

#[derive(Debug, Default)]
struct Newest {
    /// By series; of formats with one line a measurement there is one.
    lines: HashMap<String, Line>,
    bytes: usize,
    /// When the newest came.
    at: Option<Instant>,
    count: u64,
    complaints: Vec<u8>,
    /// Why it does not run.
    failure: Option<Message>,
}

#[derive(Debug)]
struct Line {
    at: Instant,
    /// To keep them in the order of their first appearance.
    number: u64,
    text: Vec<u8>,
    /// It holds until it is replaced.
    stays: bool,
}

impl Stream {
    /// Starts the thread, which starts the program.
    pub(super) fn start(agent: &str, spawn: Spawn, format: Format) -> io::Result<Self> {
        let (wake, woken) = UnixStream::pair()?;
        woken.set_nonblocking(true)?;
        let shared = Arc::new(Shared::default());
        let reader = Reader { agent: agent.to_owned(), spawn, format, shared: Arc::clone(&shared), woken };
        let name = format!("stream {}", names::cut(agent, 40));
        let thread = thread::Builder::new().name(name).spawn(move || reader.live())?;
        Ok(Self { shared, wake, thread: Some(thread) })
    }

    /// The newest line, if it is not too old; otherwise the next one is waited for.
    pub(super) fn newest(&mut self, period: Duration, time: Duration, stop: &Stop) -> Result<Lines, Message> {
        // As the heartbeat of files: what is older is not known.
        let fresh = period.mul_f64(2.5);
        let end = Instant::now() + time.mul_f64(0.9);
        let mut newest = self.shared.newest.lock();
        loop {
            if newest.at.is_some_and(|at| at.elapsed() <= fresh) {
                return Ok(newest.take(fresh));
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() || stop.is_stopped() {
                break;
            }
            self.shared.came.wait_for(&mut newest, left.min(SLICE));
        }
        let silence = match newest.at {
            // How long exactly changes each time, and what is new is logged.
            Some(_) => message!("no line came for over {} s", (fresh.as_secs_f64() * 10.0).round() / 10.0),
            None => message!("no line came yet"),
        };
        Err(match &newest.failure {
            Some(failure) => message!("{}: {}", silence, failure.clone()),
            None => silence,
        })
    }
}

impl Newest {
    fn take(&mut self, fresh: Duration) -> Lines {
        self.lines.retain(|_, line| line.stays || line.at.elapsed() <= fresh);
        let mut lines: Vec<&Line> = self.lines.values().collect();
        lines.sort_unstable_by_key(|line| line.number);
        let text = lines.iter().fold(Vec::new(), |mut text, line| {
            text.extend_from_slice(&line.text);
            text.push(b'\n');
            text
        });
        self.bytes = text.len();
        Lines { text, complaints: self.complaints.clone() }
    }

    fn put(&mut self, format: Format, text: &[u8]) {
        if text.trim_ascii().is_empty() {
            return;
        }
        let lossy = names::lossy(text);
        let (key, stays) = match format {
            Format::Influx => match influx::key(&lossy) {
                Some(key) => (key.to_owned(), false),
                None => return,
            },
            Format::Collectd => match collectd::key(&lossy) {
                Some(key) => key,
                None => return,
            },
            _ => (String::new(), false),
        };
        let now = Instant::now();
        self.count += 1;
        let known = self.lines.get(&key);
        let number = known.map_or(self.count, |line| line.number);
        let before = known.map_or(0, |line| line.text.len() + 1);
        if (known.is_none() && self.lines.len() >= SERIES) || self.bytes - before.min(self.bytes) + text.len() > BYTES {
            return;
        }
        self.bytes = self.bytes.saturating_sub(before) + text.len() + 1;
        self.lines.insert(key, Line { at: now, number, text: text.to_vec(), stays });
        (self.at, self.failure) = (Some(now), None);
    }

    fn complain(&mut self, bytes: &[u8]) {
        self.complaints.extend_from_slice(bytes);
        let surplus = self.complaints.len().saturating_sub(COMPLAINTS);
        self.complaints.drain(..surplus);
    }
}

/// What the thread has.
struct Reader {
    agent: String,
    spawn: Spawn,
    format: Format,
    shared: Arc<Shared>,
    woken: UnixStream,
}

impl Reader {
    fn live(self) {
        let (mut rest, mut alive) = (REST, Vec::new());
        loop {
            let began = Instant::now();
            let failure = match unended(&mut alive) {
                Some(text) => text,
                None => match self.spawn.spawn() {
                    Ok(mut child) => {
                        // Nobody wants it any more.
                        let Some(failure) = self.read(&mut child) else { return };
                        alive = child.end();
                        failure
                    }
                    Err(error) => message!("it cannot be run: {}", error.said()),
                },
            };
            if began.elapsed() >= GOOD_WORK {
                rest = REST;
            }
            let whole = message!("{}; it is started again in {} s", failure, rest.as_secs());
            log::warn!("{}", logged(&message!("agent {}: {}", &self.agent, whole.clone())));
            self.shared.newest.lock().failure = Some(whole);
            self.shared.came.notify_all();
            if self.is_over(rest) {
                return;
            }
            rest = (rest * 2).min(LONGEST_REST);
        }
    }

    /// Waits; true: the agent is gone.
    fn is_over(&self, time: Duration) -> bool {
        let end = Instant::now() + time;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let mut fds = [PollFd::new(self.woken.as_fd(), PollFlags::POLLIN)];
            match poll(&mut fds, timeout(left)) {
                Ok(0) if !left.is_zero() => {}
                Ok(0) => return false,
                Ok(_) => return true,
                Err(Errno::EINTR) => {}
                Err(_) => return true,
            }
        }
    }

    /// Reads until it ends (then why is returned) or nobody wants it.
    fn read(&self, child: &mut Child) -> Option<Message> {
        let pipes = match child.take_pipes() {
            Ok(pipes) => pipes,
            Err(error) => return Some(error.said()),
        };
        // Its input stays open: some end when it does.
        let Pipes { stdin: _stdin, mut stdout, mut stderr } = pipes;
        let (mut partial, mut chunk) = (Vec::new(), vec![0; 64 << 10]);
        let mut has_err = true;
        let mut second = (Instant::now(), 0);
        loop {
            let mut fds = vec![
                PollFd::new(self.woken.as_fd(), PollFlags::POLLIN),
                PollFd::new(stdout.as_fd(), PollFlags::POLLIN),
            ];
            if has_err {
                fds.push(PollFd::new(stderr.as_fd(), PollFlags::POLLIN));
            }
            match poll(&mut fds, PollTimeout::NONE) {
                Ok(_) => {}
                Err(Errno::EINTR) => continue,
                Err(error) => return Some(error.said()),
            }
            if fds[0].any() == Some(true) {
                return None;
            }
            drop(fds);
            let out = match read(&mut stdout, &mut chunk) {
                Ok(None) => return Some(self.end_of(child)),
                Ok(Some(count)) => count,
                Err(error) => return Some(error.said()),
            };
            if !self.take(&mut partial, &chunk[..out]) {
                return Some(message!("it wrote a line of more than {} bytes", LINE));
            }
            let mut err = 0;
            if has_err {
                match read(&mut stderr, &mut chunk) {
                    Ok(Some(count)) => {
                        err = count;
                        self.shared.newest.lock().complain(&chunk[..count]);
                    }
                    Ok(None) | Err(_) => has_err = false,
                }
            }
            second.1 += out + err;
            if second.0.elapsed() >= Duration::from_secs(1) {
                second = (Instant::now(), 0);
            } else if second.1 > PACE && self.is_over(Duration::from_secs(1).saturating_sub(second.0.elapsed())) {
                return None;
            }
        }
    }

    /// Puts lines that are whole; false: one is too long.
    fn take(&self, partial: &mut Vec<u8>, mut bytes: &[u8]) -> bool {
        let mut came = false;
        while let Some(at) = bytes.iter().position(|byte| *byte == b'\n') {
            partial.extend_from_slice(&bytes[..at]);
            bytes = &bytes[at + 1..];
            if partial.len() > LINE {
                return false;
            }
            self.shared.newest.lock().put(self.format, partial);
            partial.clear();
            came = true;
        }
        partial.extend_from_slice(bytes);
        if came {
            self.shared.came.notify_all();
        }
        partial.len() <= LINE
    }

    /// It closed its output: it ends, or is ended.
    fn end_of(&self, child: &mut Child) -> Message {
        let end = Instant::now() + Duration::from_millis(500);
        while Instant::now() < end {
            match child.ended() {
                Ok(Some(ended)) => return message!("it ended ({})", said::ended(ended)),
                Ok(None) if !self.is_over(Duration::from_millis(10)) => {}
                _ => break,
            }
        }
        message!("it closed its output")
    }
}

/// Bytes that came; `None`: the end.
fn read(file: &mut impl Read, into: &mut [u8]) -> io::Result<Option<usize>> {
    match file.read(into) {
        Ok(0) => Ok(None),
        Ok(count) => Ok(Some(count)),
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => Ok(Some(0)),
        Err(error) => Err(error),
    }
}

fn timeout(left: Duration) -> PollTimeout {
    PollTimeout::from(u16::try_from(left.as_millis() + 1).unwrap_or(u16::MAX))
}

impl Drop for Stream {
    fn drop(&mut self) {
        let _ = self.wake.write_all(b"x");
        // Until the program is gone: the next one may want what it has.
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
