//! One agent as the monitor keeps it: who it is, where it is, when it is due, and what is known of it.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use gmetad_core::agent::{Agent, Message, State, Status};
use gmetad_core::message;
use gmetad_core::model::UnixTime;
use gmetad_core::source::Stop;
use gmetad_process::time::local_text;

use super::run::{Launch, Outcome, context};
use super::schedule::{Grid, bounded};
use crate::spec::{Installed, Keep, Spec};
use crate::status::{Judge, STALE_PERIODS, Streaks, is_stale, stale};
use crate::view::{AgentView, CHANGES, Change};

/// Most rows of a table of measurements.
const ROWS: usize = 1000;
/// Shortest time that a measurement may take.
const SHORTEST_TIMEOUT: Duration = Duration::from_millis(10);

/// Agents that keep their deadline themselves know better why it was missed: they have a quarter of it more to say so, but not
/// more than this.
const GRACE: Duration = Duration::from_secs(1);

/// Both clocks: the one that never jumps is for the schedule and for ages, the other one for people.
#[derive(Clone, Copy, Debug)]
pub(super) struct Now {
    pub(super) mono: Instant,
    pub(super) wall: UnixTime,
}

/// A measurement under way.
pub(super) struct Run {
    pub(super) began: Instant,
    wall: UnixTime,
    timeout: Duration,
    pub(super) stop: Stop,
    /// It was given up; the agent is away until it returns.
    pub(super) overdue: bool,
}

impl Run {
    /// When it is given up.
    pub(super) fn deadline(&self) -> Instant {
        self.began + self.timeout + (self.timeout / 4).min(GRACE)
    }
}

/// Whether somebody is to be told of an Error, or is being told; [`AgentView::told`] is whether a mail went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    Nothing,
    /// There is one to be told of since then.
    Since(Instant),
    /// It is on its way or was told, and not yet that it is over.
    Error,
}

/// A change of what is shown.
pub(super) struct Changed {
    pub(super) from: State,
    pub(super) status: Status,
    /// It is the first one of an agent of which nothing was known.
    pub(super) first: bool,
}

pub(super) struct Slot {
    /// Its spec as configured; that of the view has what the agent says of itself, too.
    pub(super) written: Arc<Spec>,
    /// What is known; times of the future are filled in by [`Slot::shown`].
    pub(super) view: AgentView,
    pub(super) generation: u64,
    /// `None`: it measures.
    pub(super) agent: Option<Box<dyn Agent>>,
    pub(super) run: Option<Run>,
    grid: Grid,
    /// The next moment of the grid.
    pub(super) due: Instant,
    /// It is to be measured now, and since when.
    pub(super) waiting: Option<Instant>,
    judge: Judge,
    /// When the last measurement that succeeded began, on the clock that does not jump; or how old it was, and when.
    fresh: Result<Instant, (Duration, Instant)>,
    /// What was loaded stands until the first result, or until then.
    loaded_until: Option<Instant>,
    /// Whether it is shown as too old.
    stale: bool,
    /// When it was asked to measure.
    pub(super) asked: Option<Instant>,
    pub(super) told: Told,
    /// Since when it is worse than ever, but what it requires may not have been measured since.
    unsure: Option<Instant>,
    /// The failure that was logged last.
    pub(super) logged: Option<Message>,
    pub(super) notes: Vec<Message>,
    /// What it remarks itself.
    pub(super) remarks: Vec<Message>,
}

impl Slot {
    /// A new agent, or what is known of it from an earlier process. The first measurement is due at `first`.
    pub(super) fn new(installed: Installed, loaded: Option<AgentView>, first: Instant, now: Now) -> Self {
        let Installed { spec, agent } = installed;
        let spec = Arc::new(spec);
        let is_known = loaded.is_some();
        let since = |time: UnixTime| Duration::from_secs(u64::try_from(now.wall.saturating_sub(time)).unwrap_or(0));
        let view = loaded.unwrap_or_else(|| AgentView::fresh(Arc::clone(&spec), now.wall));
        // What there is a gap in is no row.
        let results = view.last.iter().map(|last| last.time).chain(view.failure.iter().map(|(time, _)| *time));
        let is_row = results.max().is_some_and(|time| !is_stale(bounded(spec.period), since(time)));
        let judge = judge(&view, &spec, if is_row { view.streaks.clone() } else { Streaks::default() });
        let view = AgentView { spec: Arc::clone(&spec), running: None, ..view };
        let age = view.last.as_ref().map_or(Duration::ZERO, |last| since(last.time));
        let told = if view.told { Told::Error } else { Told::Nothing };
        let mut slot = Self {
            written: Arc::clone(&spec),
            judge,
            view,
            generation: 0,
            agent: None,
            run: None,
            grid: Grid::new(first, spec.period),
            due: first,
            waiting: None,
            fresh: Err((age, now.mono)),
            loaded_until: is_known.then(|| now.mono + bounded(spec.period) * STALE_PERIODS),
            stale: false,
            asked: None,
            told,
            unsure: None,
            logged: None,
            notes: Vec::new(),
            remarks: Vec::new(),
        };
        slot.view.changes.truncate(CHANGES);
        slot.cut();
        slot.agent = Some(agent);
        slot
    }

    /// Puts a changed agent in the place of this one; what was known stays. Gives back the old agent, if it is at home.
    pub(super) fn change(&mut self, installed: Installed, first: Instant) -> Option<Box<dyn Agent>> {
        let Installed { spec, agent } = installed;
        self.written = Arc::new(spec);
        self.judge = judge(&self.view, &self.written, self.judge.streaks());
        self.view.spec = Arc::clone(&self.written);
        self.view.running = None;
        self.grid = Grid::new(first, self.view.spec.period);
        self.due = first;
        self.waiting = None;
        self.logged = None;
        self.remarks.clear();
        self.cut();
        self.agent.replace(agent)
    }

    pub(super) fn name(&self) -> &str {
        &self.view.spec.name
    }

    /// Moves on along the grid; true if the agent is due. `lost`: an earlier one of its name still measures.
    pub(super) fn come(&mut self, now: Now, lost: bool) -> bool {
        if self.due > now.mono {
            return false;
        }
        let missed = match self.run {
            Some(_) => self.grid.count(self.due, now.mono),
            // The first time it only waits.
            None if lost => self.grid.count(self.due, now.mono).saturating_sub(u64::from(self.waiting.is_none())),
            None => 0,
        };
        self.view.skipped = self.view.skipped.saturating_add(missed);
        self.waiting = self.waiting.or(Some(self.due)).filter(|_| self.run.is_none());
        self.due = self.grid.after(now.mono);
        true
    }

    /// Begins a measurement, if the agent is at home.
    pub(super) fn launch(&mut self, now: Now) -> Option<Launch> {
        let agent = self.agent.take()?;
        self.waiting = None;
        let spec = &self.view.spec;
        let timeout = spec.timeout.min(bounded(spec.period)).max(SHORTEST_TIMEOUT);
        let stop = Stop::default();
        self.view.running = Some(now.wall);
        let launch = Launch {
            name: spec.name.clone(),
            generation: self.generation,
            agent,
            context: context(now.wall, timeout, &stop),
            last: self.view.last.clone(),
            status: self.view.status.clone(),
            written: Arc::clone(&self.written),
        };
        self.run = Some(Run { began: now.mono, wall: now.wall, timeout, stop, overdue: false });
        Some(launch)
    }

    /// Gives the measurement up if it is over its deadline; the reason.
    pub(super) fn give_up(&mut self, now: Now) -> Option<Message> {
        let run = self.run.as_mut().filter(|run| !run.overdue && run.deadline() <= now.mono)?;
        run.overdue = true;
        run.stop.stop();
        let wall = run.wall;
        let reason = message!("no answer within {} s", run.timeout.as_secs_f64());
        self.take(Outcome::Failed(reason.clone()), wall, now.mono);
        Some(reason)
    }

    /// The agent is back. Gives the outcome back if it came too late to count, with the seconds that it took.
    pub(super) fn back(&mut self, agent: Box<dyn Agent>, outcome: Outcome, now: Now) -> Result<(), f64> {
        self.agent = Some(agent);
        self.view.running = None;
        match self.run.take() {
            Some(run) if run.overdue => Err(now.mono.duration_since(run.began).as_secs_f64()),
            run => {
                let (began, wall) = run.map_or((now.mono, now.wall), |run| (run.began, run.wall));
                self.take(outcome, wall, began);
                Ok(())
            }
        }
    }

    fn take(&mut self, outcome: Outcome, wall: UnixTime, began: Instant) {
        self.loaded_until = None;
        let spec = Arc::clone(&self.view.spec);
        match outcome {
            Outcome::Taken(taken, checked) => {
                self.judge.measured(&spec, &taken.measurement, &checked);
                self.view.measured = self.view.measured.saturating_add(1);
                self.view.failure = None;
                self.fresh = Ok(began);
                // What only stands for an agent has measured nothing: the agent's own is there when it is mended.
                if !spec.load_error {
                    self.view.before.splice(0..0, self.view.last.replace(taken));
                }
                self.cut();
            }
            Outcome::Failed(reason) => {
                self.judge.failed(&spec, &reason);
                self.view.failed = self.view.failed.saturating_add(1);
                self.view.failure = Some((wall, reason));
            }
        }
    }

    /// Leaves as many earlier measurements as are shown.
    fn cut(&mut self) {
        if self.view.spec.load_error {
            return;
        }
        let before = match self.view.spec.keep {
            Keep::Table { rows } => rows.clamp(2, ROWS) - 1,
            Keep::Last | Keep::Rrd(_) => 1,
        };
        self.view.before.truncate(before);
    }

    fn age(&self, now: Now) -> Duration {
        match self.fresh {
            Ok(began) => now.mono.saturating_duration_since(began),
            Err((age, then)) => age + now.mono.saturating_duration_since(then),
        }
    }

    /// The moment from which its status will be too old, if nothing comes.
    pub(super) fn stale_at(&self) -> Option<Instant> {
        let most = bounded(self.view.spec.period) * STALE_PERIODS + Duration::from_millis(1);
        let at = match self.fresh {
            Ok(began) => began + most,
            Err((age, then)) => then + most.saturating_sub(age),
        };
        (!self.stale).then_some(at)
    }

    /// Whether what was loaded stands.
    pub(super) fn is_loaded(&self, now: Now) -> bool {
        self.loaded_until.is_some_and(|until| now.mono < until)
    }

    /// Its own status, aged; and whether it is blind.
    pub(super) fn own(&mut self, now: Now) -> (Cow<'_, Status>, bool) {
        self.stale = is_stale(bounded(self.view.spec.period), self.age(now));
        if self.stale {
            let since = self.view.last.as_ref().map(|last| local_text(last.time));
            let failure = self.view.failure.as_ref().map(|(_, reason)| reason);
            return (Cow::Owned(stale(since.as_deref(), failure)), true);
        }
        if self.is_loaded(now) {
            return (Cow::Borrowed(&self.view.own), false);
        }
        // Before its first result it may well be what others suffer from.
        (Cow::Borrowed(self.judge.own()), self.judge.is_failing() || self.is_new())
    }

    /// Whether there was no result at all.
    pub(super) fn is_new(&self) -> bool {
        self.view.measured == 0 && self.view.failed == 0
    }

    /// The state of the last result, not debounced.
    pub(super) fn latest(&self) -> State {
        self.judge.latest().state
    }

    /// Takes what is shown from now on; the change, if it is one of state.
    pub(super) fn show(&mut self, own: Status, shown: Status, now: Now) -> Option<Changed> {
        let first = self.view.measured + self.view.failed <= 1 && self.view.changes.is_empty();
        let (from, view) = (self.view.status.state, &mut self.view);
        view.own = own;
        // What there was before anything was known is no bad state that was.
        let changed = shown.state != from;
        if changed {
            self.unsure = None;
        }
        if first || (shown.state > view.max.state && view.spec.requires.is_empty()) {
            (view.max, view.max_at) = (shown.clone(), now.wall);
        } else if shown.state > view.max.state {
            self.unsure = self.unsure.or(Some(now.mono));
        }
        if changed {
            view.since = now.wall;
            view.acknowledged = None;
            view.changes.insert(0, Change { time: now.wall, status: shown.clone() });
            view.changes.truncate(CHANGES);
        }
        view.status = shown;
        changed.then(|| Changed { from, status: view.status.clone(), first })
    }

    /// When the worst state that was is worse, of one whose state may turn out to be another's fault.
    pub(super) fn sure_at(&self, settle: Duration) -> Option<Instant> {
        self.unsure.map(|since| since + settle)
    }

    /// Takes that it is the worst state that was; whether it is.
    pub(super) fn sure(&mut self, now: Now, settle: Duration) -> bool {
        let since = self.unsure.take_if(|since| *since + settle <= now.mono);
        let view = &mut self.view;
        let is_worse = since.is_some() && view.status.state > view.max.state;
        if is_worse {
            (view.max, view.max_at) = (view.status.clone(), view.since);
        }
        is_worse
    }

    /// Whether somebody should be told of an Error; the count of it begins and ends here.
    pub(super) fn watch(&mut self, now: Now, mails: bool) {
        let view = &self.view;
        let is_known = view.acknowledged.is_some() || view.silenced.is_some();
        let worth = mails && view.status.state == State::Error && !is_known;
        self.told = match self.told {
            Told::Nothing if worth => Told::Since(now.mono),
            Told::Since(_) if !worth => Told::Nothing,
            told => told,
        };
    }

    /// As it is published.
    pub(super) fn shown(&mut self, now: Now) -> AgentView {
        let overlay = match self.own(now) {
            (own, true) => Some(own.into_owned()),
            _ => None,
        };
        let mut view = AgentView { streaks: self.judge.streaks(), ..self.view.clone() };
        let left = self.due.saturating_duration_since(now.mono).as_secs();
        view.next = now.wall.saturating_add(i64::try_from(left).unwrap_or(0));
        view.notes.clone_from(&self.notes);
        view.notes.extend(self.remarks.iter().cloned());
        if let Some(own) = overlay.filter(|_| self.is_loaded(now)) {
            view.since = view.last.as_ref().map_or(view.since, |last| last.time);
            (view.status, view.own) = (own.clone(), own);
        } else {
            view.notes.extend(self.judge.pending(&self.view.spec));
        }
        view
    }

    /// As it is kept on the disk.
    pub(super) fn kept(&self) -> AgentView {
        AgentView { running: None, notes: Vec::new(), streaks: self.judge.streaks(), ..self.view.clone() }
    }
}

/// Who judges an agent of which that is known. Rows go on if they are those of the same rules.
fn judge(known: &AgentView, spec: &Spec, streaks: Streaks) -> Judge {
    let is_same = known.spec.rules == spec.rules && !known.spec.load_error && !spec.load_error;
    if is_same { Judge::resumed(known.own.clone(), streaks) } else { Judge::new(known.own.clone()) }
}
