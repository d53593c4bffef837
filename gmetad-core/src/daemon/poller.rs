//! One thread a source: polls it on time, publishes, tells the plugins.

use std::convert::Infallible;
use std::hash::BuildHasher;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;
use parking_lot::Mutex;

use super::{Shared, Spec};
use crate::conf::{Jitter, SourceConfig};
use crate::model::UnixTime;
use crate::plugin::{Subject, Transaction, panic_text};
use crate::source::{PollError, PollReport, Source, SourceSnapshot, Stop};
use crate::state::{Refusal, State, file_name};
use crate::store::SourceId;

/// How a source does.
#[derive(Clone, Debug, Default)]
pub struct SourceState {
    /// Name in the configuration.
    pub name: String,
    /// Seconds between polls.
    pub interval: Duration,
    /// Whether the last poll reached it; `None` before the first one ended.
    pub alive: Option<bool>,
    /// Good polls.
    pub polls: u64,
    /// Polls that brought nothing.
    pub failures: u64,
    /// When the last good poll began: seconds since the epoch; 0 is never.
    pub polled: UnixTime,
    /// How long the last poll took, publishing included.
    pub took: Duration,
    /// Why the last poll brought nothing; empty if it did bring something.
    pub error: String,
    /// What the last good poll brought.
    pub report: PollReport,
    /// When the poll that is under way began.
    pub running_since: Option<Instant>,
    /// When what is shown of it was polled by an earlier process that saved it; `None` if it is its own poll's.
    pub saved: Option<UnixTime>,
}

/// The state of a source, shared with those who want to see it.
#[derive(Debug, Default)]
pub struct SourceStatus {
    state: Mutex<SourceState>,
    /// The last good poll, for the file; only if there are files.
    last: Mutex<Option<SourceSnapshot>>,
}

impl SourceStatus {
    /// As it is now.
    pub fn state(&self) -> SourceState {
        self.state.lock().clone()
    }

    /// What its last good poll brought.
    pub(super) fn last(&self) -> Option<SourceSnapshot> {
        self.last.lock().clone()
    }

    pub(super) fn running_since(&self) -> Option<Instant> {
        self.state.lock().running_since
    }
}

/// Held by everyone who has not yet shown what an earlier process saved; nothing is ever sent.
pub(super) type Loading = Sender<Infallible>;

/// The thread of one source.
pub(super) struct Poller {
    config: Option<SourceConfig>,
    jitter: Jitter,
    scalable: bool,
    id: SourceId,
    stop: Stop,
    status: Arc<SourceStatus>,
    thread: Option<JoinHandle<()>>,
}

impl Poller {
    /// Starts the thread. With `loading` it first shows what an earlier process saved, and lets go of that then.
    pub(super) fn start(spec: Spec, shared: &Arc<Shared>, loading: Option<Loading>) -> io::Result<Self> {
        let id = shared.store.add_source(&spec.name);
        let state = SourceState { name: spec.name.clone(), interval: spec.interval, ..SourceState::default() };
        let status = Arc::new(SourceStatus { state: Mutex::new(state), last: Mutex::default() });
        let nth = {
            let mut sources = shared.sources.lock();
            let nth = sources.iter().filter(|source| source.state.lock().name == spec.name).count();
            sources.push(Arc::clone(&status));
            nth
        };
        let saved = loading.map(|loading| (file_name(&spec.name, nth), loading));
        let stop = Stop::default();
        let mut poller = Self {
            config: spec.config.clone(),
            jitter: spec.jitter,
            scalable: spec.scalable,
            id,
            stop,
            status,
            thread: None,
        };
        let run = Run {
            name: spec.name.as_str().into(),
            spec,
            id,
            stop: poller.stop.clone(),
            status: Arc::clone(&poller.status),
            shared: Arc::clone(shared),
            failures: Vec::new(),
            unreachable: Vec::new(),
            down_since: None,
            damage: (0, 0),
            shows_saved: false,
        };
        poller.thread = Some(thread::Builder::new().name(format!("poll {}", run.name)).spawn(move || run.run(saved))?);
        Ok(poller)
    }

    pub(super) fn name(&self) -> &str {
        self.config.as_ref().map_or("", |config| &config.name)
    }

    pub(super) fn config(&self) -> Option<&SourceConfig> {
        self.config.as_ref()
    }

    /// Whether a new configuration leaves this source as it is.
    pub(super) fn keeps(&self, sources: &[SourceConfig], jitter: Jitter, scalable: bool) -> bool {
        self.config
            .as_ref()
            .is_none_or(|own| sources.contains(own) && self.jitter == jitter && self.scalable == scalable)
    }

    /// Ends the thread; it may take a moment to notice.
    pub(super) fn stop(mut self) -> Option<JoinHandle<()>> {
        self.stop.stop();
        self.thread.take()
    }

    /// Ends the thread and takes the source out of the grid.
    pub(super) fn remove(self, shared: &Shared) {
        // From here on the thread publishes into nothing.
        shared.store.remove_source(self.id);
        shared.sources.lock().retain(|status| !Arc::ptr_eq(status, &self.status));
        self.stop();
    }
}

/// What the thread of a source has.
struct Run {
    name: Arc<str>,
    spec: Spec,
    id: SourceId,
    stop: Stop,
    status: Arc<SourceStatus>,
    shared: Arc<Shared>,
    /// The kinds of failure that were logged since the source answered.
    failures: Vec<&'static str>,
    /// The addresses that did not answer when the source did, as logged.
    unreachable: Vec<String>,
    down_since: Option<Instant>,
    /// Skipped and mended elements that were logged last.
    damage: (u64, u64),
    /// The grid shows what an earlier process saved.
    shows_saved: bool,
}

impl Run {
    fn run(mut self, saved: Option<(String, Loading)>) {
        let mut source = (self.spec.make)();
        if let (Some((file, _loading)), Some(state)) = (saved, self.shared.state.clone()) {
            let restored = catch_unwind(AssertUnwindSafe(|| self.restore(&mut *source, &state, &file)));
            if let Err(panic) = restored {
                log::error!("saved tree {file}: a panic of the source: {}", panic_text(&*panic));
                source = (self.spec.make)();
            }
        }
        let random = foldhash::fast::RandomState::default();
        for turn in 0u64.. {
            let began = Instant::now();
            if catch_unwind(AssertUnwindSafe(|| self.poll(&mut *source, began)))
                .map_err(|panic| self.panicked(&*panic, began))
                .is_err()
            {
                source = (self.spec.make)();
            }
            self.status.state.lock().running_since = None;
            let pause = pause(self.spec.interval, self.spec.jitter, random.hash_one(turn));
            let left = pause.saturating_sub(began.elapsed());
            if left.is_zero() && began.elapsed() > self.spec.interval {
                self.shared.stats.polls_late.add(1);
            }
            if self.stop.wait(left) {
                return;
            }
        }
    }

    /// Shows what an earlier process saved, if that can be read, without telling the plugins.
    fn restore(&mut self, source: &mut dyn Source, state: &State, file: &str) {
        let now = crate::now();
        match state.load(file, &self.name, now, &self.stop, source) {
            Ok(None) => {}
            Ok(Some((snapshot, alive))) => {
                let polled = snapshot.polled();
                self.shared.store.restore(self.id, snapshot, alive);
                self.shows_saved = true;
                self.status.state.lock().saved = Some(polled);
                state.loaded.add(1);
                log::info!("[{}] shows what was saved, {} s old, until it is polled", self.name, now - polled);
            }
            Err(_) if self.stop.is_stopped() => {}
            Err(Refusal::Old(age)) => {
                log::info!("[{}] is not shown as it was saved: that was polled {age} s ago", self.name);
            }
            Err(refusal) => {
                state.refused.add(1);
                log::warn!("saved tree {file} of [{}]: {refusal}; going on without it", self.name);
            }
        }
    }

    fn poll(&mut self, source: &mut dyn Source, began: Instant) {
        self.status.state.lock().running_since = Some(began);
        let now = crate::now();
        match source.poll(now, &self.stop) {
            Ok(snapshot) => self.publish(snapshot, began),
            Err(PollError::Stopped) => {}
            Err(error) => self.failed(&error, now, began),
        }
    }

    fn publish(&mut self, snapshot: SourceSnapshot, began: Instant) {
        let (round, time, report) = (snapshot.round(), snapshot.polled(), snapshot.report().clone());
        let grids: Vec<_> = snapshot.grids().filter(|grid| grid.polled() == time).cloned().collect();
        if self.shared.state.is_some() {
            *self.status.last.lock() = Some(snapshot.clone());
        }
        self.shows_saved = false;
        // A reload took the source away meanwhile: nobody wants to hear of it any more.
        let Some(clusters) = self.shared.store.publish(self.id, snapshot) else { return };
        let mut summaries = grids.len() as u64;
        for cluster in clusters.into_iter().filter(|cluster| cluster.round == round) {
            self.notify(Subject::Cluster(cluster), time, true);
            summaries += 1;
        }
        for grid in grids {
            self.notify(Subject::Grid(grid), time, true);
        }
        let stats = &self.shared.stats;
        // Their time is part of the poll's.
        stats.summaries.done_many(summaries, Duration::ZERO);
        stats.polls_ok.done(began.elapsed());
        stats.metrics.add(report.metrics);
        stats.bytes.add(report.bytes);
        stats.skipped.add(report.skipped);
        stats.mended.add(report.mended);
        self.failures.clear();
        if self.unreachable != report.unreachable {
            for node in report.unreachable.iter().filter(|node| !self.unreachable.contains(node)) {
                log::info!("data_thread() for [{}] failed to contact node {node}", self.name);
            }
            self.unreachable.clone_from(&report.unreachable);
        }
        if let Some(since) = self.down_since.take() {
            log::info!("data_thread() for [{}] answers again after {} s", self.name, since.elapsed().as_secs());
        }
        self.log_damage(&report);
        let mut state = self.status.state.lock();
        state.alive = Some(true);
        state.polls += 1;
        state.polled = time;
        state.took = began.elapsed();
        state.error.clear();
        state.saved = None;
        state.report = report;
    }

    /// Says once which elements were left out or mended, and again when their number changes.
    fn log_damage(&mut self, report: &PollReport) {
        let damage = (report.skipped, report.mended);
        if std::mem::replace(&mut self.damage, damage) == damage || damage == (0, 0) {
            return;
        }
        let examples: Vec<_> = report
            .described
            .iter()
            .map(|s| match s.host.as_str() {
                "" => format!("{} (byte {})", s.what, s.offset),
                host => format!("{} (host {host}, byte {})", s.what, s.offset),
            })
            .collect();
        log::warn!(
            "Process XML ({}): {} elements skipped, {} mended: {}",
            self.name,
            report.skipped,
            report.mended,
            examples.join("; ")
        );
    }

    fn failed(&mut self, error: &PollError, now: UnixTime, began: Instant) {
        // Nobody in this process has heard of a source that shows what was saved: there is no flag that could stay as it was.
        let dead = error.is_dead() || self.shows_saved;
        self.log_failure(error);
        if dead {
            let said = self.shared.store.mark_dead(self.id, now);
            // Plugins hear of it: what the source said last, and that it is down. They did not hear of what was saved.
            for item in said.items().filter(|_| !self.shows_saved) {
                self.notify(item.into(), now, false);
            }
            self.down_since.get_or_insert(began);
        }
        self.shared.stats.polls_failed.done(began.elapsed());
        let mut state = self.status.state.lock();
        if dead {
            state.alive = Some(false);
        }
        state.failures += 1;
        state.took = began.elapsed();
        state.error = error.to_string();
    }

    /// One line when a source begins to fail and one when it fails in another way; the words are those of the C
    /// daemon (reference 2.6), with the reason behind them.
    fn log_failure(&mut self, error: &PollError) {
        let ds = &self.name;
        if let PollError::Connect(tried) = error {
            for (address, reason) in tried {
                log::debug!("data_thread() for [{ds}] failed to contact node {address}: {reason}");
            }
        }
        let (kind, text) = match error {
            PollError::Connect(tried) => {
                let reasons: Vec<_> = tried.iter().map(|(address, reason)| format!("{address}: {reason}")).collect();
                ("connect", format!("data_thread() got no answer from any [{ds}] datasource ({})", reasons.join("; ")))
            }
            PollError::Idle { index, bytes, .. } | PollError::Deadline { index, bytes, .. } => (
                "timeout",
                format!("poll() timeout from source {index} for [{ds}] data source after {bytes} bytes read ({error})"),
            ),
            PollError::Read { error: reason, bytes, .. } if reason.kind() == io::ErrorKind::ConnectionReset => (
                "reset",
                format!(
                    "The remote machine closed connection for [{ds}] data source after {bytes} bytes read ({error})"
                ),
            ),
            PollError::Read { .. } => {
                ("read", format!("data_thread() unable to read() socket for [{ds}] data source ({error})"))
            }
            PollError::Gzip { error, .. } => {
                ("gzip", format!("InflateError! for [{ds}] data source, failed to call inflate ({error})"))
            }
            PollError::Document { .. } => {
                ("document", format!("Process XML ({ds}): XML_ParseBuffer() error at the end: {error}"))
            }
            PollError::Stopped => return,
            PollError::Other(text) => ("other", format!("data_thread() for [{ds}] failed: {text}")),
        };
        // Each kind once until the source answers again, also when kinds take turns.
        if !self.failures.contains(&kind) {
            self.failures.push(kind);
            log::error!("{text}");
        }
    }

    fn panicked(&mut self, panic: &(dyn std::any::Any + Send), began: Instant) {
        let text = format!("panicked and starts anew: {}", panic_text(panic));
        self.failed(&PollError::Other(text), crate::now(), began);
    }

    fn notify(&self, subject: Subject, time: UnixTime, alive: bool) {
        let source = Arc::clone(&self.name);
        let changes = Vec::new();
        (self.shared.notify)(Transaction { subject, source, interval: self.spec.interval, time, alive, changes });
    }
}

/// Time from the start of a poll to the start of the next; `random` is uniform over all its values.
fn pause(interval: Duration, jitter: Jitter, random: u64) -> Duration {
    let spread = match jitter {
        Jitter::Percent(percent) => interval.as_secs_f64() * f64::from(percent) / 100.0,
        Jitter::Seconds(seconds) => f64::from(seconds),
    };
    let uniform = random as f64 / u64::MAX as f64 * 2.0 - 1.0;
    Duration::from_secs_f64((interval.as_secs_f64() + spread * uniform).max(0.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_stays_within_its_jitter() {
        let fifteen = Duration::from_secs(15);
        assert_eq!(pause(fifteen, Jitter::Percent(5), 0), Duration::from_secs_f64(14.25));
        assert_eq!(pause(fifteen, Jitter::Percent(5), u64::MAX), Duration::from_secs_f64(15.75));
        assert_eq!(pause(fifteen, Jitter::Seconds(20), 0), Duration::ZERO);
        assert_eq!(pause(fifteen, Jitter::Percent(0), 1234), fifteen);
    }
}
