//! The program as users run it: in a scratch directory, on a free port, in the foreground.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

/// How long anything may take that is waited for.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Waits until something is there.
pub fn wait<T>(what: &str, mut it: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(it) = it() {
            return it;
        }
        assert!(Instant::now() < end, "in vain: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// A root of agents.
pub struct Root(pub tempfile::TempDir);

impl Root {
    pub fn new(files: &[(&str, &str)]) -> Self {
        let root = Self(tempfile::tempdir().unwrap());
        root.write("settings.toml", "");
        for (name, text) in files {
            root.write(name, text);
        }
        root
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// The program with this root, in English.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_z_stats"));
        command.args(args).arg("--root").arg(self.0.path()).arg("--settings").arg(self.path("settings.toml"));
        command.env("LC_ALL", "C").env_remove("NOTIFY_SOCKET").current_dir(self.0.path());
        command
    }

    /// Runs a command to its end.
    pub fn run(&self, args: &[&str]) -> (i32, String) {
        let Output { status, stdout, stderr } = self.command(args).output().unwrap();
        let text = String::from_utf8(stdout).unwrap() + &String::from_utf8(stderr).unwrap();
        (status.code().unwrap_or(-1), text)
    }

    /// The service, once it serves.
    pub fn start(&self, args: &[&str]) -> Service {
        Service::start(self.command(args).args(["-f", "--port", "0"]))
    }
}

/// A running program.
pub struct Service {
    pub child: Child,
    pub port: u16,
    pub log: Arc<Mutex<String>>,
}

impl Service {
    pub fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let log = Arc::new(Mutex::new(String::new()));
        for output in [
            Box::new(child.stdout.take().unwrap()) as Box<dyn Read + Send>,
            Box::new(child.stderr.take().unwrap()) as Box<dyn Read + Send>,
        ] {
            let log = Arc::clone(&log);
            thread::spawn(move || {
                for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
                    let line = String::from_utf8_lossy(&line).into_owned();
                    log.lock().unwrap().push_str(&(line + "\n"));
                }
            });
        }
        let mut service = Self { child, port: 0, log };
        service.port = wait("the address of the page", || {
            let log = service.text();
            assert!(service.child.try_wait().unwrap().is_none(), "it ended: {log}");
            log.split("://localhost:").nth(1)?.split('/').next()?.parse().ok()
        });
        service
    }

    pub fn text(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// Waits for a text in the log.
    pub fn logged(&self, text: &str) {
        wait(&format!("{text} in the log"), || self.text().contains(text).then_some(()));
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id() as i32), signal).unwrap();
    }

    /// Ends it; the status and how long that took.
    pub fn stop(mut self) -> (Option<i32>, Duration) {
        let begun = Instant::now();
        self.signal(Signal::SIGTERM);
        let status = wait("the end", || self.child.try_wait().unwrap());
        (status.code(), begun.elapsed())
    }

    /// Status and body of an answer.
    pub fn get(&self, path: &str) -> (u16, String) {
        get(self.port, path)
    }

    pub fn json(&self, path: &str) -> Value {
        let (status, body) = self.get(path);
        assert_eq!(status, 200, "{path}: {body}");
        serde_json::from_str(&body).unwrap()
    }

    /// What the overview says of an agent.
    pub fn agent(&self, name: &str) -> Option<Value> {
        let all = self.json("/api/v1/status");
        all["agents"].as_array().unwrap().iter().find(|agent| agent["name"] == name).cloned()
    }

    /// Waits until an agent has that status.
    pub fn has(&self, name: &str, status: &str) -> Value {
        wait(&format!("{name} is {status}: {:?}", self.agent(name)), || {
            self.agent(name).filter(|agent| agent["status"] == status)
        })
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn get(port: u16, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\nAccept-Language: en\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}
