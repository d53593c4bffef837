//! The life of a plugin's thread: starts the process, talks with it, ends it, starts it again.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use gmetad_core::conf::Section;
use gmetad_core::plugin::{Subject, Transaction};
use gmetad_core::stats::{PluginStats, Stats};
use gmetad_process::child::Spawn;

use super::About;
use super::directory::{self, Refusal};
use super::json::{self, ClusterLine};
use super::process::{Failure, Process};
use super::protocol::{self, Answer};
use super::question::{Question, Said, understand, understood};
use super::settings::Settings;
use super::shared::{FINISH, Handle, Reply, Request, Shared, Work};
use super::wants::{Detail, Sent, Wants};

/// How long a process that failed is not started, at first and at most.
const REST: Duration = Duration::from_secs(1);
const LONGEST_REST: Duration = Duration::from_secs(300);
/// After so much good work the first rest is short again.
const GOOD_WORK: Duration = Duration::from_secs(600);
/// How often in a row a changer may be late before it is started anew.
const LATE: u32 = 3;
/// How long the process that went before is waited for.
const BEFORE: Duration = Duration::from_secs(5);

/// What a plugin's thread knows.
pub(super) struct Session {
    pub(super) name: String,
    pub(super) path: PathBuf,
    pub(super) section: Option<Section>,
    pub(super) settings: Settings,
    pub(super) about: Arc<About>,
    pub(super) shared: Arc<Shared>,
    pub(super) stats: Arc<PluginStats>,
    pub(super) all: Arc<Stats>,
    /// The one of that name that goes; two at once could be in each other's way.
    pub(super) before: Option<Arc<Handle>>,
    /// Who, beside root, may own the file; looked at before each start.
    pub(super) owner: Option<u32>,
}

/// What is known of a process while it lives.
struct Life {
    wants: Arc<Wants>,
    id: u64,
    /// Transactions that were given up and may still be answered.
    given_up: Vec<u64>,
    /// Answers in a row that came late.
    late: u32,
    sent: Sent,
}

/// Nobody waits for a thread that has ended, however it did.
struct Last(Arc<Shared>);

impl Drop for Last {
    fn drop(&mut self) {
        self.0.down();
        self.0.gone();
    }
}

impl Session {
    pub(super) fn run(mut self) {
        let _last = Last(Arc::clone(&self.shared));
        self.await_predecessor();
        let mut rest = REST;
        while self.shared.closing().is_none() {
            let began = Instant::now();
            let failure = match self.live() {
                Ok(()) => break,
                Err(failure) => failure,
            };
            self.shared.down();
            if self.shared.closing().is_some() {
                if !matches!(failure, Failure::Late("hello" | "config" | "start", _)) {
                    log::warn!("plugin {}: while it was to end: {failure}", self.name);
                }
                break;
            }
            self.count_failure();
            // What cannot be looked at, or is being written, may be there in a moment.
            let distrust = matches!(&failure, Failure::Untrusted(_, Refusal::Owner { .. } | Refusal::Writable { .. }));
            if distrust || matches!(failure, Failure::Refused(..)) {
                log::error!("plugin {}: {failure}; it is started again at the next reload (SIGHUP)", self.name);
                break;
            }
            if began.elapsed() >= GOOD_WORK {
                rest = REST;
            }
            log::error!("plugin {}: {failure}; it is started again in {} s", self.name, rest.as_secs());
            self.stats.set_resting(true);
            self.shared.rest(rest);
            self.stats.set_resting(false);
            rest = (rest * 2).min(LONGEST_REST);
        }
        self.shared.down();
        self.stats.dropped.add(self.shared.gone() as u64);
        self.stats.set_waiting(0);
    }

    fn await_predecessor(&mut self) {
        let Some(before) = self.before.take() else { return };
        let until = Instant::now() + BEFORE;
        while !before.is_finished() && Instant::now() < until && self.shared.closing().is_none() {
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn count_failure(&self) {
        self.stats.failed.add(1);
        self.all.plugin_errors.add(1);
    }

    /// One process from its start to its end.
    fn live(&self) -> Result<(), Failure> {
        if let Some(why) = self.owner.and_then(|owner| directory::judge(&self.path, &self.name, owner)) {
            return Err(Failure::Untrusted(self.path.clone(), why));
        }
        let mut spawn = Spawn::new(&self.path).dir("/").limits(self.settings.limits).dies_with_thread();
        spawn = spawn.without_env("NOTIFY_SOCKET");
        if let Some(user) = &self.settings.user {
            spawn = spawn.user(user.clone());
        }
        let mut process = Process::start(&spawn, &self.name, self.settings.output)?;
        let result = self.start(&mut process).and_then(|wants| {
            let role = if wants.changer { "changer" } else { "sink" };
            let wants = Arc::new(wants);
            self.stats.dropped.add(self.shared.up(&wants) as u64);
            log::info!("plugin {}: {} runs as process {}, a {role}", self.name, self.path.display(), process.id());
            let mut life = Life { wants, id: 0, given_up: Vec::new(), late: 0, sent: Sent::default() };
            self.serve(&mut process, &mut life)
        });
        self.shared.down();
        process.end();
        result
    }

    fn start(&self, process: &mut Process) -> Result<Wants, Failure> {
        let hello = serde_json::json!({
            "protocol": [protocol::VERSION], "program": "gmetad", "version": self.about.version, "plugin": self.name,
            "grid": self.about.grid,
        });
        let Said::Hello(wants) = self.ask(process, "hello", hello)? else {
            return Err(Failure::Unexpected("ok", "hello"));
        };
        let pairs = |section: &Section| -> Vec<[String; 2]> {
            section.entries.iter().map(|entry| [entry.directive.clone(), entry.rest.clone()]).collect()
        };
        let sources = self.about.sources.lock().clone();
        let sources: Vec<_> = sources
            .into_iter()
            .map(|(name, interval)| serde_json::json!({"name": name, "interval": interval}))
            .collect();
        let config = serde_json::json!({"section": self.section.as_ref().map(pairs), "sources": sources});
        self.ask(process, "config", config)?;
        self.ask(process, "start", serde_json::json!({}))?;
        Ok(wants)
    }

    /// Something that is no transaction: asks, and fails on `error`.
    fn ask(&self, process: &mut Process, what: &'static str, content: serde_json::Value) -> Result<Said, Failure> {
        let (began, time) = (Instant::now(), self.settings.deadline());
        json::message(process.begin(), what, content);
        match self.answer(process, Question { what, id: None, began, time })? {
            Said::Error(text) => Err(Failure::Refused(what, protocol::excerpt(text.as_bytes()))),
            said => Ok(said),
        }
    }

    fn serve(&self, process: &mut Process, life: &mut Life) -> Result<(), Failure> {
        loop {
            match self.shared.next(&self.stats) {
                Work::Tell(transaction) if life.wants.wants(&transaction) => self.tell(process, life, &transaction)?,
                Work::Tell(_) => {}
                Work::Ask(request) => self.request(process, life, &request)?,
                Work::Close => return self.farewell(process),
                Work::Nothing => {
                    self.listen(process, life)?;
                    if process.is_over() {
                        return Err(process.obituary());
                    }
                    process.turn(Some(self.shared.wake()), Instant::now() + Duration::from_secs(1))?;
                }
            }
        }
    }

    /// Sends a transaction; its id.
    fn send(&self, process: &mut Process, life: &mut Life, transaction: &Transaction) -> u64 {
        life.id += 1;
        let before = match transaction.subject() {
            Subject::Cluster(cluster) if life.wants.detail == Detail::Changed => {
                life.sent.put(transaction.key(), cluster)
            }
            _ => None,
        };
        let (hosts, gone) = match (transaction.cluster(), life.wants.detail) {
            (None, _) | (_, Detail::Summary) => (None, None),
            (Some(cluster), Detail::Hosts) => (Some(life.wants.hosts(cluster).collect()), None),
            (Some(cluster), Detail::Changed) => {
                let (hosts, gone) = Sent::changed(&life.wants, before.as_deref(), cluster);
                (Some(hosts), Some(gone))
            }
        };
        let (id, grid, metrics) = (life.id, self.about.grid.as_str(), &life.wants.metrics);
        json::line(process.begin(), &ClusterLine { id, transaction, grid, metrics, hosts, gone });
        id
    }

    fn tell(&self, process: &mut Process, life: &mut Life, transaction: &Transaction) -> Result<(), Failure> {
        let began = Instant::now();
        let id = self.send(process, life, transaction);
        let time = self.settings.deadline();
        let question = Question { what: "cluster", id: Some(id), began, time };
        match self.answer(process, question)? {
            Said::Error(text) => self.refused(transaction, &text),
            Said::Ok(changes) => {
                self.stats.notified.done(began.elapsed());
                let refused = changes.map_or(0, |changes| changes.made.len() as u64 + changes.refused);
                if refused > 0 && self.stats.refused.get() == 0 {
                    log::warn!(
                        "plugin {}: it is no changer, and its changes are ignored; see \"role\" of hello",
                        self.name
                    );
                }
                self.stats.refused.add(refused);
            }
            Said::Hello(_) => {}
        }
        Ok(())
    }

    fn request(&self, process: &mut Process, life: &mut Life, request: &Request) -> Result<(), Failure> {
        let id = self.send(process, life, &request.transaction);
        let (began, time) = (request.asked, request.time);
        let question = Question { what: "cluster", id: Some(id), began, time };
        match self.answer(process, question) {
            Ok(Said::Error(text)) => {
                self.refused(&request.transaction, &text);
                self.shared.reply(request.ticket, Reply::Refused);
            }
            Ok(Said::Ok(changes)) => self.shared.reply(request.ticket, Reply::Changes(changes.unwrap_or_default())),
            Ok(Said::Hello(_)) => {}
            // Who asked counts and names it.
            Err(Failure::Late(..)) if life.late + 1 < LATE => {
                life.late += 1;
                life.given_up.push(id);
                return Ok(());
            }
            Err(failure) => return Err(failure),
        }
        life.late = 0;
        // Answers come in order.
        life.given_up.clear();
        Ok(())
    }

    fn refused(&self, transaction: &Transaction, text: &str) {
        self.count_failure();
        let about = transaction.cluster().map_or("a summary", |cluster| cluster.name());
        log::warn!("plugin {}: error at {about}: {}", self.name, protocol::excerpt(text.as_bytes()));
    }

    /// Waits for the answer.
    fn answer(&self, process: &mut Process, question: Question) -> Result<Said, Failure> {
        loop {
            while let Some(line) = process.line() {
                if let Some(said) = understand(process, &line, question)? {
                    return Ok(said);
                }
            }
            if process.is_over() {
                return Err(process.obituary());
            }
            let whole = question.began + question.time;
            let deadline = match self.shared.closing() {
                Some(when) if question.id.is_some() => whole.min(when + FINISH),
                Some(when) => whole.min(when),
                None => whole,
            };
            if Instant::now() >= deadline {
                let time = if deadline < whole { question.began.elapsed() } else { question.time };
                return Err(Failure::Late(question.what, (time.as_secs_f64() * 10.0).round() / 10.0));
            }
            process.turn(Some(self.shared.wake()), deadline)?;
        }
    }

    /// What it says without being asked.
    fn listen(&self, process: &mut Process, life: &mut Life) -> Result<(), Failure> {
        while let Some(line) = process.line() {
            if line.trim_ascii().is_empty() {
                continue;
            }
            match understood(&line)? {
                Answer::Log { level, text } => process.talk.say(level, &text),
                Answer::Ok { id: Some(id), .. } | Answer::Error { id: Some(id), .. } if life.given_up.contains(&id) => {
                    life.given_up.retain(|given_up| *given_up != id);
                }
                Answer::Ok { .. } => return Err(Failure::Unexpected("ok", "nothing")),
                Answer::Error { .. } => return Err(Failure::Unexpected("error", "nothing")),
                Answer::Hello(_) => return Err(Failure::Unexpected("hello", "nothing")),
            }
        }
        Ok(())
    }

    /// Says "stop" and waits for its end, for a moment.
    fn farewell(&self, process: &mut Process) -> Result<(), Failure> {
        self.shared.down();
        let deadline = Instant::now() + FINISH;
        json::message(process.begin(), "stop", serde_json::json!({}));
        while !process.is_over() && Instant::now() < deadline {
            process.turn(None, deadline)?;
            process.close_stdin();
            // "ok", and whatever else.
            while let Some(line) = process.line() {
                if let Ok(Answer::Log { level, text }) = protocol::parse(&line) {
                    process.talk.say(level, &text);
                }
            }
        }
        if process.is_over() {
            return Ok(());
        }
        log::warn!("plugin {}: it did not end within {} s of \"stop\" and is killed", self.name, FINISH.as_secs());
        Ok(())
    }
}
