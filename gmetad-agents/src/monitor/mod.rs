//! What runs agents: measures them at their intervals, judges, publishes, keeps and tells.
//!
//! One thread has the schedule; each measurement has a thread of its own, which owns the agent until it returns. So no agent ever
//! runs twice at once, and one that hangs is missing, and delays nobody.

mod core;
mod prepare;
mod run;
mod schedule;
mod slot;

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use gmetad_core::agent::Message;
use gmetad_core::message;
use gmetad_core::model::UnixTime;
use gmetad_rrd::fetch::Fetched;
use gmetad_rrd::{Cf, RrdError};
use parking_lot::{Condvar, Mutex};
use thiserror::Error;

use self::core::{Core, Effect, HEARTBEAT, Mark, Pace, check};
use self::run::Return;
use self::slot::Now;
use crate::board::{Board, Control};
use crate::config::Layout;
use crate::lang::Lang;
use crate::notify::{MailOptions, Notice, Notifier};
use crate::said::Said;
use crate::spec::Installed;
use crate::store::{Store, StoreError};
use crate::view::Acknowledged;

/// How long the start waits for the disk to tell what an earlier process knew.
const LOADING: Duration = Duration::from_secs(10);

/// How a monitor works.
#[derive(Clone, Debug)]
pub struct MonitorOptions {
    /// Where agents are kept.
    pub data: PathBuf,
    /// First measurements are delayed by a random part of that, and of a tenth of the period, so that not all begin together.
    pub jitter: Duration,
    /// Measurements that begin at the same time; those that take longer than a moment do not count.
    pub at_once: usize,
    /// How long an Error must stay before somebody is told: by then it is known whose it is.
    pub settle: Duration,
    /// The language of the log and of mails.
    pub lang: Lang,
    /// Who is told of Errors; `None`: nobody.
    pub mail: Option<MailOptions>,
}

impl MonitorOptions {
    /// Jitter of 3 s, 16 measurements at once, 10 s until somebody is told, and nobody to tell.
    pub fn new(data: impl Into<PathBuf>) -> Self {
        Self {
            data: data.into(),
            jitter: Duration::from_secs(3),
            at_once: 16,
            settle: Duration::from_secs(10),
            lang: Lang::English,
            mail: None,
        }
    }
}

/// Why agents cannot be run.
#[derive(Debug, Error)]
pub enum MonitorError {
    /// There is no place to keep them.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is no thread to be had.
    #[error("no thread can be started: {0}")]
    Thread(#[from] io::Error),
}

/// How the monitor itself does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// Its schedule goes on.
    pub alive: bool,
    /// Agents that did not return in time and are away.
    pub hanging: Vec<String>,
    /// Numbers that were not written because the disk was too slow.
    pub dropped: u64,
}

/// Runs agents. [`Monitor::stop`] ends it; dropped, it ends without waiting.
#[derive(Debug)]
pub struct Monitor {
    shared: Arc<Shared>,
    board: Arc<Board>,
    scheduler: Mutex<Option<JoinHandle<()>>>,
    /// Held while agents are replaced: one reload at a time.
    replacing: Mutex<()>,
}

/// What the threads have in common.
struct Shared {
    core: Mutex<Core>,
    /// There may be something to do, or somebody ended.
    changed: Condvar,
    store: Store,
    notifier: OnceLock<Notifier>,
    lang: Lang,
    /// Agents that are being dropped.
    ending: Mutex<Vec<String>>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("store", &self.store).finish_non_exhaustive()
    }
}

fn now() -> Now {
    Now { mono: Instant::now(), wall: gmetad_core::now() }
}

impl Monitor {
    /// Loads what is known of the agents and begins to measure. An agent with an impossible name, or that requires itself, is
    /// shown in Error instead of being run.
    ///
    /// # Errors
    /// [`MonitorError`]: the directory cannot be used, or another process uses it.
    pub fn start(options: MonitorOptions, installed: Vec<Installed>, layout: Layout) -> Result<Self, MonitorError> {
        let MonitorOptions { data, jitter, at_once, settle, lang, mail } = options;
        let board = Arc::new(Board::default());
        let store = Store::start(data, lang)?;
        let pace = Pace { jitter, at_once: at_once.max(1), settle, mails: mail.is_some() };
        let core = Mutex::new(Core::new(Arc::clone(&board), pace, Instant::now()));
        let (changed, ending) = (Condvar::new(), Mutex::default());
        let shared = Arc::new(Shared { core, changed, store, notifier: OnceLock::new(), lang, ending });
        if let Some(mail) = mail {
            let theirs = Arc::downgrade(&shared);
            let sent = move |notices: &[Notice]| {
                if let Some(shared) = theirs.upgrade() {
                    shared.sent(notices);
                }
            };
            let _ = shared.notifier.set(Notifier::start(mail, lang, sent)?); // it is the first
        }
        let monitor = Self { shared, board, scheduler: Mutex::new(None), replacing: Mutex::new(()) };
        monitor.install(installed, layout, true);
        let shared = Arc::clone(&monitor.shared);
        let scheduler = thread::Builder::new().name("agents".to_owned()).spawn(move || shared.schedule())?;
        *monitor.scheduler.lock() = Some(scheduler);
        Ok(monitor)
    }

    /// Where it shows how the agents are.
    pub fn board(&self) -> &Arc<Board> {
        &self.board
    }

    /// Replaces the agents, as for SIGHUP. One with an equal spec goes on as it is, one with another is replaced and keeps its
    /// history and files; the data of those that are no more are put aside, and come back with them. Waits for the disk to
    /// tell what it has of new ones, for seconds at most.
    pub fn replace(&self, installed: Vec<Installed>, layout: Layout) {
        self.install(installed, layout, false);
    }

    fn install(&self, installed: Vec<Installed>, layout: Layout, first: bool) {
        let _one = self.replacing.lock();
        let (installed, wrong) = check(installed);
        self.shared.perform(wrong);
        let unknown = self.shared.core.lock().unknown(&installed);
        let loaded = if unknown.is_empty() && !first {
            Some(HashMap::new())
        } else {
            self.shared.store.adopt(unknown, first.then(|| core::broken(&installed)), LOADING)
        };
        let loaded = loaded.unwrap_or_else(|| {
            let text = message!("the disk does not answer: nothing is known of earlier measurements");
            log::error!("{}", self.shared.lang.message(&text));
            HashMap::new()
        });
        let effects = self.shared.core.lock().replace(installed, loaded, layout, now());
        self.shared.perform(effects);
        self.shared.changed.notify_all();
    }

    /// Forgets the worst states that were: the worst is the present one again.
    pub fn reset_max(&self) {
        let effects = self.shared.core.lock().reset_max(now());
        self.shared.perform(effects);
    }

    /// How the monitor itself does. Waits a second at most.
    pub fn health(&self) -> Health {
        let dropped = self.shared.store.dropped();
        let Some(core) = self.shared.core.try_lock_for(Duration::from_secs(1)) else {
            return Health { dropped, ..Health::default() };
        };
        let alive = !core.stopping && core.looked.elapsed() < HEARTBEAT * 3;
        Health { alive, hanging: core.hanging(), dropped }
    }

    /// Ends: nothing is measured any more, what is known is written. Takes as long as the measurements under way take to end,
    /// but not longer than `within`.
    ///
    /// # Errors
    /// Names of the agents that still measure or end, and of the directory if the disk hangs.
    pub fn stop(&self, within: Duration) -> Result<(), Vec<String>> {
        let end = Instant::now() + within;
        // The disk and the mail need time, too.
        let agents_end = end.checked_sub(within / 4).unwrap_or(end);
        self.shared.ask_to_stop();
        if let Some(scheduler) = self.scheduler.lock().take() {
            // It looks at the flag at once; it never panics, and if it did there is nothing to be done.
            let _ = scheduler.join();
        }
        let agents = self.shared.core.lock().take_agents();
        self.shared.perform(agents);
        let mut hanging = self.shared.wait_for_agents(agents_end);
        let rest = || end.saturating_duration_since(Instant::now());
        // Before the disk: what was told is to be kept.
        if let Some(notifier) = self.shared.notifier.get() {
            let _ = notifier.close(rest() / 2); // it says itself what it could not send
        }
        if !self.shared.store.close(rest()) {
            hanging.push(self.shared.store.root().display().to_string());
        }
        if hanging.is_empty() { Ok(()) } else { Err(hanging) }
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        self.shared.ask_to_stop();
        // Not on this thread: their ends may take time, panic or hang.
        let agents = self.shared.core.lock().take_agents();
        self.shared.perform(agents);
    }
}

/// How often it is looked whether agents may still end, when the monitor stops.
const AGAIN: Duration = Duration::from_millis(200);

impl Shared {
    /// The life of the scheduler.
    fn schedule(self: &Arc<Self>) {
        loop {
            let effects = {
                let mut core = self.core.lock();
                if core.stopping {
                    return;
                }
                core.tick(now())
            };
            self.perform(effects);
            let mut core = self.core.lock();
            let mono = Instant::now();
            let next = core.next(mono);
            if !core.stopping && next > mono {
                self.changed.wait_until(&mut core, next);
            }
        }
    }

    /// Does what is to be done; never with the lock of the core.
    fn perform(self: &Arc<Self>, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Log(level, text) => log::log!(level, "{}", self.lang.message(&text)),
                Effect::Save { view, at_once } => self.store.save(view, at_once),
                Effect::Points(spec, taken) => self.store.points(spec, taken),
                Effect::Retire(agents) => self.store.retire(agents),
                Effect::Tell(notice) => {
                    if let Some(notifier) = self.notifier.get() {
                        notifier.tell(notice);
                    }
                }
                Effect::End { name, generation, agent } => {
                    self.ending.lock().push(name.clone());
                    let shared = Arc::clone(self);
                    run::end(&name.clone(), agent, move || shared.ended(&name, generation));
                }
                Effect::Launch(launch) => {
                    let shared = Arc::clone(self);
                    if let Err(error) = run::start(launch, move |back| shared.back(back)) {
                        log::error!("{}", self.lang.message(&message!("no thread can be started: {}", error.said())));
                    }
                }
            }
        }
    }

    fn back(self: &Arc<Self>, back: Return) {
        let effects = {
            let mut core = self.core.lock();
            core.performing += 1;
            core.back(back, now())
        };
        self.perform(effects);
        self.core.lock().performing -= 1;
        self.changed.notify_all();
    }

    /// A mail about these went.
    fn sent(self: &Arc<Self>, notices: &[Notice]) {
        let effects = self.core.lock().sent(notices, now());
        self.perform(effects);
    }

    fn ended(&self, name: &str, generation: u64) {
        let mut ending = self.ending.lock();
        if let Some(at) = ending.iter().position(|other| other == name) {
            ending.swap_remove(at);
        }
        drop(ending);
        self.core.lock().ended(name, generation);
        self.changed.notify_all();
    }

    fn ask_to_stop(&self) {
        self.core.lock().stop();
        self.changed.notify_all();
    }

    /// Waits until nobody measures or ends any more; those who do then.
    fn wait_for_agents(&self, end: Instant) -> Vec<String> {
        let mut core = self.core.lock();
        loop {
            let (hopeful, mut names) = core.running();
            // Looked at once: they end without the lock of the core.
            let ending = self.ending.lock().clone();
            let is_worth_it = hopeful + core.performing > 0 || !ending.is_empty();
            names.extend(ending);
            names.sort();
            names.dedup();
            if !is_worth_it || Instant::now() >= end {
                return names;
            }
            // Looked at again at times: that there is hope may end by itself.
            self.changed.wait_until(&mut core, end.min(Instant::now() + AGAIN));
        }
    }
}

impl Control for Monitor {
    fn measure(&self, agent: &str) -> Result<(), Message> {
        self.shared.core.lock().ask(agent, Instant::now())?;
        self.shared.changed.notify_all();
        Ok(())
    }

    fn acknowledge(&self, agent: &str, who: Option<Acknowledged>) -> bool {
        self.mark(agent, Mark::Acknowledged(who))
    }

    fn silence(&self, agent: &str, until: Option<UnixTime>) -> bool {
        self.mark(agent, Mark::Silenced(until))
    }

    fn kept(&self, agent: &str) -> Vec<(Option<String>, String)> {
        self.shared.store.kept(agent)
    }

    fn rrd_file(&self, agent: &str, instance: Option<&str>, field: &str) -> Option<PathBuf> {
        let is_there = self.board.agent(agent).is_some();
        is_there.then(|| self.shared.store.file(agent, instance, field))
    }

    fn series(
        &self,
        agent: &str,
        instance: Option<&str>,
        field: &str,
        cf: Cf,
        start: UnixTime,
        end: UnixTime,
        rows: usize,
    ) -> Result<Option<Fetched>, RrdError> {
        if self.board.agent(agent).is_none() {
            return Ok(None);
        }
        self.shared.store.series(agent, instance, field, cf, start, end, rows)
    }
}

impl Monitor {
    fn mark(&self, agent: &str, mark: Mark) -> bool {
        let effects = self.shared.core.lock().mark(agent, mark, now());
        let found = effects.is_some();
        self.shared.perform(effects.unwrap_or_default());
        self.shared.changed.notify_all();
        found
    }
}
