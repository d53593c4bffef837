//! Agents that do as they are told, and a log that is read.
#![allow(dead_code, unreachable_pub, reason = "each test uses some of it")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Once};
use std::thread;
use std::time::{Duration, Instant};

use gmetad_agents::Installed;
use gmetad_agents::spec::{Graphs, Keep};
use gmetad_core::agent::{Agent, AgentError, Context, History, Measurement, Status};

type Measure = Box<dyn FnMut(&Context) -> Result<Measurement, AgentError> + Send>;
type Judge = Box<dyn Fn(&History<'_>) -> Status + Send>;

/// An agent that does as it is told.
pub struct Acts {
    name: String,
    measure: Measure,
    judge: Judge,
    requires: Vec<String>,
    ended: Option<Arc<AtomicUsize>>,
}

impl Acts {
    pub fn new(name: &str, measure: impl FnMut(&Context) -> Result<Measurement, AgentError> + Send + 'static) -> Self {
        log_lines();
        let judge = Box::new(|_: &History<'_>| Status::default());
        Self { name: name.to_owned(), measure: Box::new(measure), judge, requires: Vec::new(), ended: None }
    }

    pub fn judging(mut self, judge: impl Fn(&History<'_>) -> Status + Send + 'static) -> Self {
        self.judge = Box::new(judge);
        self
    }

    pub fn requiring(mut self, names: &[&str]) -> Self {
        self.requires = names.iter().map(|name| (*name).to_owned()).collect();
        self
    }

    /// Counts its end.
    pub fn ending(mut self, ended: &Arc<AtomicUsize>) -> Self {
        self.ended = Some(Arc::clone(ended));
        self
    }

    pub fn installed(self, period: Duration) -> Installed {
        let mut installed = Installed::new(self);
        installed.spec.period = period;
        installed.spec.timeout = period.min(Duration::from_secs(60));
        installed
    }
}

/// Keeps RRD files of all its numbers.
pub trait Rrd {
    fn rrd(self) -> Self;
}

impl Rrd for Installed {
    fn rrd(mut self) -> Self {
        self.spec.keep = Keep::Rrd(Graphs::default());
        self
    }
}

impl Agent for Acts {
    fn name(&self) -> &str {
        &self.name
    }
    fn requires(&self) -> &[String] {
        &self.requires
    }
    fn measure(&mut self, context: &Context) -> Result<Measurement, AgentError> {
        (self.measure)(context)
    }
    fn check_status(&self, history: &History<'_>) -> Status {
        (self.judge)(history)
    }
}

impl Drop for Acts {
    fn drop(&mut self) {
        if let Some(ended) = &self.ended {
            ended.fetch_add(1, Ordering::SeqCst);
        }
    }
}

/// Waits for it.
pub fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !is_so() {
        assert!(Instant::now() < end, "{what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// A program.
pub fn script(dir: &Path, text: &str) -> PathBuf {
    let path = dir.join("program");
    fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

static LINES: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// What was logged so far.
pub fn log_lines() -> Vec<String> {
    struct Lines;
    impl log::Log for Lines {
        fn enabled(&self, _: &log::Metadata<'_>) -> bool {
            true
        }
        fn log(&self, record: &log::Record<'_>) {
            LINES.lock().unwrap().push(format!("{} {}", record.level(), record.args()));
        }
        fn flush(&self) {}
    }
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        log::set_logger(&Lines).unwrap();
        log::set_max_level(log::LevelFilter::Info);
    });
    LINES.lock().unwrap().clone()
}
