//! Where agents are kept: what is known of each as `<data>/<agent>/agent.json`, its numbers as RRD files beside it.
//!
//! A thread writes, behind a bounded queue: a disk that is slow, full or hangs delays neither measurements nor statuses.

pub(crate) mod files;
mod keeper;
mod schema;
mod series;
mod trouble;

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use gmetad_core::message;
use gmetad_core::model::UnixTime;
use gmetad_rrd::fetch::Fetched;
use gmetad_rrd::{Cf, RrdError, path};
use parking_lot::{Condvar, Mutex};
use thiserror::Error;

use self::files::Key;
use self::keeper::Keeper;
use crate::lang::Lang;
use crate::said::Said;
use crate::spec::Spec;
use crate::view::{AgentView, Taken};

/// Numbers that wait to be written, at most: some hours of a machine with many agents, and 20 MB.
const MOST_WAITING: usize = 200_000;
/// What is known of an agent is written that often, unless it matters; in tests nobody waits for it.
const EVERY: Duration = if cfg!(test) { Duration::from_millis(100) } else { Duration::from_secs(60) };

/// Why agents cannot be kept there.
#[derive(Debug, Error)]
pub enum StoreError {
    /// Another process has the directory.
    #[error("{}: another z_stats uses this directory: stop it, or give this one another with --data", path.display())]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// The operating system refused.
    #[error("{}: cannot be used for data: {source}; give another directory with --data", path.display())]
    Io {
        /// The directory.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// There is no thread to be had.
    #[error("no thread can be started: {0}")]
    Thread(io::Error),
}

/// Writes what is known of agents, and reads it back.
#[derive(Debug)]
pub(crate) struct Store {
    shared: Arc<Shared>,
}

/// What the store and its thread have in common.
#[derive(Debug)]
struct Shared {
    root: PathBuf,
    /// Held until all is written.
    lock: Mutex<Option<Arc<File>>>,
    inbox: Mutex<Inbox>,
    /// Something was put in, or the thread has ended.
    changed: Condvar,
    /// The RRD files there are, and whether they were compared with what is wanted.
    known: Mutex<HashMap<String, BTreeMap<Key, bool>>>,
}

impl Shared {
    /// Gives the directory free.
    fn unlock(&self) {
        let held = self.lock.lock().take();
        drop(held); // a system call
    }
}

#[derive(Debug, Default)]
struct Inbox {
    tasks: VecDeque<Task>,
    /// Numbers in `tasks`.
    waiting: usize,
    /// Numbers that were dropped.
    dropped: u64,
    views: HashMap<String, Waiting>,
    written: HashMap<String, Instant>,
    closed: bool,
    ended: bool,
}

/// A view to be written, and when.
#[derive(Debug)]
struct Waiting {
    view: Arc<AgentView>,
    due: Instant,
}

/// What the thread is to do, in order.
#[derive(Debug)]
enum Task {
    Points { spec: Arc<Spec>, taken: Taken, numbers: usize },
    Adopt { agents: Vec<String>, only: Option<Vec<String>>, to: mpsc::Sender<HashMap<String, AgentView>> },
    Retire(Vec<Arc<AgentView>>),
}

impl Store {
    /// Makes the directory if it is missing, locks it, and starts the thread.
    pub(crate) fn start(root: PathBuf, lang: Lang) -> Result<Self, StoreError> {
        let lock = match keeper::take(&root) {
            Ok(lock) => Some(Arc::new(lock)),
            // It may have room again; statuses are shown without.
            Err(StoreError::Io { source, path })
                if matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) =>
            {
                let path = path.display().to_string();
                let text = message!("{}: nothing can be kept now: {}", path, source.said());
                log::error!("{}", lang.message(&text));
                None
            }
            Err(error) => return Err(error),
        };
        let (inbox, changed, known) = Default::default();
        let shared = Arc::new(Shared { root, lock: Mutex::new(lock), inbox, changed, known });
        let mut keeper = Keeper::new(Arc::clone(&shared), lang);
        let run = move || keeper.run();
        thread::Builder::new().name("keeper".to_owned()).spawn(run).map_err(StoreError::Thread)?;
        Ok(Self { shared })
    }

    /// Reads what earlier processes knew of these agents, whose data are written from now on. With `only`, those of all other
    /// agents are put aside, unless they come from these files: what is known of such is given back, too. `None`: the disk has
    /// not answered in time; what is not read is not known.
    pub(crate) fn adopt(
        &self,
        agents: Vec<String>,
        only: Option<Vec<String>>,
        within: Duration,
    ) -> Option<HashMap<String, AgentView>> {
        let (to, from) = mpsc::channel();
        self.put(Task::Adopt { agents, only, to });
        from.recv_timeout(within).ok()
    }

    /// Has what is known of an agent written, soon or at once.
    pub(crate) fn save(&self, view: Arc<AgentView>, at_once: bool) {
        let name = view.spec.name.clone();
        let now = Instant::now();
        let mut inbox = self.shared.inbox.lock();
        let later = inbox.written.get(&name).map_or(now, |written| *written + EVERY);
        let due = if at_once { now } else { later };
        let waiting = inbox.views.get(&name).map(|waiting| waiting.due);
        inbox.views.insert(name, Waiting { view, due: waiting.map_or(due, |waiting| waiting.min(due)) });
        drop(inbox);
        if waiting.is_none_or(|waiting| due < waiting) {
            self.shared.changed.notify_all();
        }
    }

    /// Has the numbers of a measurement written. What is too much goes, the oldest first.
    pub(crate) fn points(&self, spec: Arc<Spec>, taken: Taken) {
        let numbers = schema::numbers(&taken.measurement).count();
        if numbers > 0 {
            self.put(Task::Points { spec, taken, numbers });
        }
    }

    /// Has the data of these agents put aside, with what is known of them.
    pub(crate) fn retire(&self, agents: Vec<Arc<AgentView>>) {
        self.put(Task::Retire(agents));
    }

    fn put(&self, task: Task) {
        let mut gone = Vec::new();
        let mut inbox = self.shared.inbox.lock();
        if let Task::Points { numbers, .. } = &task {
            inbox.waiting += numbers;
        }
        inbox.tasks.push_back(task);
        while inbox.waiting > MOST_WAITING
            && let Some(at) = inbox.tasks.iter().position(|task| matches!(task, Task::Points { .. }))
            && let Some(Task::Points { numbers, .. }) = gone_at(&mut inbox.tasks, at, &mut gone)
        {
            inbox.waiting -= numbers;
            inbox.dropped += *numbers as u64;
        }
        drop(inbox);
        self.shared.changed.notify_all();
    }

    /// What an agent has RRD files of, sorted.
    pub(crate) fn kept(&self, agent: &str) -> Vec<Key> {
        self.shared.known.lock().get(agent).map(|known| known.keys().cloned().collect()).unwrap_or_default()
    }

    /// The RRD file of a field.
    pub(crate) fn file(&self, agent: &str, instance: Option<&str>, field: &str) -> PathBuf {
        path::agent_file(&self.shared.root, agent, instance, field)
    }

    /// Rows of a field, see [`crate::Control::series`].
    #[allow(clippy::too_many_arguments, reason = "what a graph needs")]
    pub(crate) fn series(
        &self,
        agent: &str,
        instance: Option<&str>,
        field: &str,
        cf: Cf,
        start: UnixTime,
        end: UnixTime,
        rows: usize,
    ) -> Result<Option<Fetched>, RrdError> {
        series::series(&self.file(agent, instance, field), cf, start, end, rows)
    }

    /// Its directory.
    pub(crate) fn root(&self) -> &Path {
        &self.shared.root
    }

    /// Numbers that were dropped because the disk was too slow.
    pub(crate) fn dropped(&self) -> u64 {
        self.shared.inbox.lock().dropped
    }

    /// Lets everything be written, and gives the directory free; false if that takes longer.
    pub(crate) fn close(&self, within: Duration) -> bool {
        let end = Instant::now() + within;
        let mut inbox = self.shared.inbox.lock();
        inbox.closed = true;
        self.shared.changed.notify_all();
        while !inbox.ended && !self.shared.changed.wait_until(&mut inbox, end).timed_out() {}
        let ended = inbox.ended;
        drop(inbox);
        if ended {
            self.shared.unlock();
        }
        ended
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.shared.inbox.lock().closed = true;
        self.shared.changed.notify_all();
    }
}

/// Takes a task out, to be dropped outside the lock.
fn gone_at<'a>(tasks: &mut VecDeque<Task>, at: usize, gone: &'a mut Vec<Task>) -> Option<&'a Task> {
    gone.extend(tasks.remove(at));
    gone.last()
}

/// Names of agents whose data are written.
type Active = HashSet<String>;

#[cfg(test)]
mod tests;
