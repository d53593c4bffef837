//! Asking programs of the system: bounded in time and output, in English, and never left behind.

use std::io::{ErrorKind, Read};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::net::problem;
use super::plan::clean;
use crate::said::ended;
use gmetad_core::agent::{Context, Message};
use gmetad_core::message;
use gmetad_process::child::{Child, Ended, Spawn};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// Most output that is read. `apt-get -s upgrade` of a machine that was never updated has 1 MB; what comes after is thrown away.
const OUTPUT: usize = 4 << 20;
/// Most complaints that are kept.
const COMPLAINT: usize = 4 << 10;
/// How soon a stop of the program is seen.
const TURN: Duration = Duration::from_millis(250);

/// Where programs of administrators are, besides `PATH`: a service's often lacks them.
const DIRECTORIES: &[&str] = &["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// What a program wrote.
#[derive(Debug)]
pub(super) struct Output {
    pub(super) text: String,
    pub(super) complaint: String,
    pub(super) ended: Ended,
}

impl Output {
    /// Its text if it succeeded.
    pub(super) fn succeeded(self, program: &Path) -> Result<String, Message> {
        if self.ended == Ended::Exit(0) {
            return Ok(self.text);
        }
        let complaint = self.complaint.trim();
        let last = match complaint.lines().last() {
            Some(last) => clean(last).into(),
            None => message!("it says nothing"),
        };
        Err(message!("{}: {}: {}", program.display().to_string(), ended(self.ended), last))
    }
}

/// Where a program is.
pub(super) fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let directories = std::env::split_paths(&path).chain(DIRECTORIES.iter().map(PathBuf::from));
    directories
        .filter(|directory| directory.is_absolute())
        .map(|directory| directory.join(name))
        .find(|program| program.is_file())
}

/// Runs a program to its end.
///
/// # Errors
/// It cannot start, or takes too long: then it is killed with all it started.
pub(super) fn run(context: &Context, program: &Path, args: &[&str]) -> Result<Output, Message> {
    let end = Instant::now() + context.deadline.mul_f64(0.9);
    let cannot = |error| message!("{} cannot be run: {}", program.display().to_string(), problem(&error));
    // What is parsed must not be translated.
    let spawn =
        Spawn::new("/usr/bin/env").args(["LC_ALL=C", "LANGUAGE="]).args([program]).args(args).dies_with_thread();
    let mut child = spawn.dir("/").spawn().map_err(cannot)?;
    let pipes = child.take_pipes().map_err(cannot)?;
    drop(pipes.stdin);
    let (mut text, mut complaint) = (Vec::new(), Vec::new());
    let (mut stdout, mut stderr) = (Some(pipes.stdout), Some(pipes.stderr));
    let ended = loop {
        let ended = child.ended().map_err(cannot)?;
        drain(&mut stdout, &mut text, OUTPUT);
        drain(&mut stderr, &mut complaint, COMPLAINT);
        if let Some(ended) = ended {
            break ended;
        }
        if context.stop.is_stopped() {
            return Err(message!("{} was not waited for: the program ends", program.display().to_string()));
        }
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            let seconds = context.deadline.as_secs_f64() * 0.9;
            return Err(message!(
                "{} took more than {} s and was ended; give the agent a longer timeout",
                program.display().to_string(),
                format!("{seconds:.0}")
            ));
        }
        wait(&child, [&stdout, &stderr], left.min(TURN));
    };
    let of = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ok(Output { text: of(text), complaint: of(complaint), ended })
}

/// Takes what there is; at its end the pipe is dropped.
fn drain(pipe: &mut Option<impl Read>, to: &mut Vec<u8>, limit: usize) {
    let mut buffer = [0; 16 << 10];
    while let Some(open) = pipe {
        match open.read(&mut buffer) {
            Ok(0) => *pipe = None,
            Ok(length) => to.extend(&buffer[..length.min(limit.saturating_sub(to.len()))]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => *pipe = None,
        }
    }
}

/// Until it writes, ends, or the time is over.
fn wait(child: &Child, pipes: [&Option<impl AsFd>; 2], time: Duration) {
    let open = pipes.into_iter().flatten().map(AsFd::as_fd);
    let mut fds: Vec<_> = open.chain(child.end_fd()).map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
    // Where the end cannot be polled for, a program that closed its pipes is looked at now and then.
    let most = if child.end_fd().is_some() { TURN } else { Duration::from_millis(20) };
    let timeout = PollTimeout::try_from(time.min(most) + Duration::from_millis(1)).unwrap_or(PollTimeout::ZERO);
    let _ = poll(&mut fds, timeout);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(deadline: f64, script: &str) -> Result<Output, Message> {
        let context = Context { deadline: Duration::from_secs_f64(deadline), ..super::super::context() };
        run(&context, Path::new("/bin/sh"), &["-c", script])
    }

    #[test]
    fn output_status_and_language() {
        let output = sh(20.0, "echo $LC_ALL; echo no >&2; echo nothing at all >&2; exit 3").unwrap();
        assert_eq!((&*output.text, &*output.complaint), ("C\n", "no\nnothing at all\n"));
        assert_eq!(output.succeeded(Path::new("x")).unwrap_err().to_string(), "x: exit status 3: nothing at all");
        assert_eq!(sh(20.0, "printf é").unwrap().succeeded(Path::new("x")).unwrap(), "é");
    }

    #[test]
    fn endless_output_and_endless_time_are_bounded() {
        let output = sh(20.0, "head -c 20000000 /dev/zero").unwrap();
        assert_eq!(output.text.len(), OUTPUT);
        let began = Instant::now();
        let error = sh(0.3, "sleep 300").unwrap_err();
        assert!(error.to_string().contains("took more than"), "{error}");
        assert!(began.elapsed() < Duration::from_secs(20));
        // A child that keeps the pipes open does not keep us.
        assert!(sh(20.0, "sleep 300 & echo x").is_ok_and(|output| output.text == "x\n"));
        assert!(began.elapsed() < Duration::from_secs(20));
    }

    #[test]
    fn programs_are_found() {
        assert!(program("sh").is_some_and(|sh| sh.is_absolute()));
        assert_eq!(program("no-such-program"), None);
        let context = super::super::context();
        let error = run(&context, Path::new("/no/such"), &[]).unwrap().succeeded(Path::new("/no/such")).unwrap_err();
        assert!(error.to_string().contains("/no/such"), "{error}");
    }
}
