//! All agents and what happens to them. No thread, no I/O and no clock of its own: everything is told with its time, and what
//! is to be done comes back as [`Effect`]s, to be done without the lock.

mod asked;
mod judged;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::{Duration, Instant};

use gmetad_core::agent::{Agent, Message, State};
use gmetad_core::message;
use gmetad_core::model::UnixTime;
use gmetad_core::source::Stop;
use log::Level;

pub(super) use self::asked::Mark;
use super::prepare::prepared;
use super::run::{Launch, Outcome, Return};
use super::slot::{Now, Slot, Told};
use crate::board::Board;
use crate::class::LoadErrorAgent;
use crate::config::Layout;
use crate::notify::Notice;
use crate::spec::{Installed, Keep, Spec, is_of};
use crate::status::{Depend, Own, name};
use crate::view::{Acknowledged, AgentView, Taken};

/// How long a measurement counts among those that run at the same time. One that takes longer waits for something, mostly, and
/// does not compute: the others must not wait for it.
const COUNTS_FOR: Duration = Duration::from_millis(250);
/// An agent is not asked to measure more often than that.
const ASKED: Duration = Duration::from_secs(5);
/// What is required is not looked at again, because of who requires it, for so long.
const LOOKED_AT: Duration = Duration::from_secs(3);
/// Largest part of a period by which a first measurement is delayed.
const JITTER_PART: u32 = 10;
/// What is given up has that long to end before another one of its name measures.
const LOST_WAIT: Duration = Duration::from_secs(2);
/// Replaced and retired agents that hang, at most: each has a thread.
const LOST: usize = 64;
/// The schedule is looked at at least that often, so that it is seen to be alive.
pub(super) const HEARTBEAT: Duration = Duration::from_secs(10);

/// What is to be done.
pub(super) enum Effect {
    Log(Level, Message),
    /// To the disk; at once if it matters.
    Save {
        view: Arc<AgentView>,
        at_once: bool,
    },
    /// Into the RRD files.
    Points(Arc<Spec>, Taken),
    /// These agents' data are no longer needed; what is known of them comes with them.
    Retire(Vec<Arc<AgentView>>),
    /// To whom it may concern.
    Tell(Notice),
    /// To be dropped; then [`Core::ended`] is told.
    End {
        name: String,
        generation: u64,
        agent: Box<dyn Agent>,
    },
    Launch(Launch),
}

/// How the schedule goes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// First measurements are delayed by that at most.
    pub(super) jitter: Duration,
    /// Measurements that begin at the same time.
    pub(super) at_once: usize,
    /// How long an Error must stay before somebody is told.
    pub(super) settle: Duration,
    /// There is somebody to be told.
    pub(super) mails: bool,
}

/// A measurement that does not count any more, and is still under way.
struct Lost {
    name: String,
    generation: u64,
    stop: Stop,
    /// How long its successor waits: what has not ended by then hangs in the kernel, and must not keep the one that was put in its
    /// place, which may be there to mend that, from ever measuring.
    until: Instant,
}

/// An agent that is being dropped, with what it still runs: its successor waits, but not longer than that.
struct Ending {
    name: String,
    generation: u64,
    until: Instant,
}

pub(super) struct Core {
    slots: Vec<Slot>,
    depend: Depend,
    layout: Arc<Layout>,
    board: Arc<Board>,
    pace: Pace,
    /// Those that were replaced or retired while they measured.
    lost: Vec<Lost>,
    ending: Vec<Ending>,
    /// Those that are not there, but whose file cannot be read now: their data stay where they are. Also of earlier processes.
    held: HashMap<String, Arc<AgentView>>,
    generation: u64,
    /// Something changed what agents say of themselves.
    stirred: bool,
    /// Agents to be published, and whether to be saved at once.
    touched: HashMap<String, bool>,
    effects: Vec<Effect>,
    pub(super) stopping: bool,
    /// Threads that do what [`Core::back`] gave them to do.
    pub(super) performing: usize,
    /// Something happened since the last [`Core::tick`].
    again: bool,
    /// When the schedule was looked at.
    pub(super) looked: Instant,
}

impl Core {
    pub(super) fn new(board: Arc<Board>, pace: Pace, now: Instant) -> Self {
        Self {
            slots: Vec::new(),
            depend: Depend::default(),
            layout: Arc::default(),
            board,
            pace,
            lost: Vec::new(),
            ending: Vec::new(),
            held: HashMap::new(),
            generation: 0,
            stirred: false,
            touched: HashMap::new(),
            effects: Vec::new(),
            stopping: false,
            performing: 0,
            again: true,
            looked: now,
        }
    }

    /// Names of agents of which nothing is known yet.
    pub(super) fn unknown(&self, installed: &[Installed]) -> Vec<String> {
        let known: HashSet<&str> = self.slots.iter().map(Slot::name).collect();
        let names = installed.iter().map(|installed| &installed.spec.name);
        names.filter(|name| !known.contains(name.as_str())).cloned().collect()
    }

    /// Replaces all agents; those whose spec is the same go on, with the agent that there is. `loaded` are views of an earlier
    /// process, also of agents whose file cannot be read now. To be called with what [`prepared`] made.
    pub(super) fn replace(
        &mut self,
        installed: Vec<Installed>,
        mut loaded: HashMap<String, AgentView>,
        layout: Layout,
        now: Now,
    ) -> Vec<Effect> {
        let mut old: HashMap<String, Slot> = self.slots.drain(..).map(|slot| (slot.name().to_owned(), slot)).collect();
        let broken = broken(&installed);
        let random = RandomState::new();
        for installed in installed {
            let name = installed.spec.name.clone();
            let most = (installed.spec.period / JITTER_PART).min(self.pace.jitter).as_micros().max(1);
            let jitter = u128::from(random.hash_one(&name)) % most;
            let first = now.mono + Duration::from_micros(u64::try_from(jitter).unwrap_or(0));
            let slot = match old.remove(&name) {
                Some(slot) if *slot.written == installed.spec => {
                    // It never ran, so nobody waits for its end.
                    self.effects.push(Effect::End { name, generation: 0, agent: installed.agent });
                    slot
                }
                Some(slot) => self.changed(slot, installed, first, now.mono),
                None => {
                    self.generation += 1;
                    let mut slot = Slot::new(installed, loaded.remove(&name), first, now);
                    slot.generation = self.generation;
                    slot
                }
            };
            self.slots.push(slot);
        }
        let gone: Vec<Arc<AgentView>> = old.values().map(|slot| Arc::new(slot.kept())).collect();
        // What an earlier process held.
        self.held.extend(loaded.into_iter().map(|(name, view)| (name, Arc::new(view))));
        let there: HashSet<&str> = self.slots.iter().map(Slot::name).collect();
        self.held.retain(|name, _| !there.contains(name.as_str()));
        let (held, mut retired): (Vec<_>, Vec<_>) =
            gone.into_iter().partition(|view| !view.is_stand_in() && is_of(&view.spec.origin, &broken));
        retired.extend(self.held.extract_if(|_, view| !is_of(&view.spec.origin, &broken)).map(|(_, view)| view));
        for view in held {
            self.effects.push(Effect::Save { view: Arc::clone(&view), at_once: true });
            self.held.insert(view.spec.name.clone(), view);
        }
        retired.sort_by(|one, other| one.spec.name.cmp(&other.spec.name));
        for (name, mut slot) in old {
            self.lose(&mut slot);
            if let Some(agent) = slot.agent.take() {
                let end = self.end(name, slot.generation, agent, now.mono);
                self.effects.push(end);
            }
        }
        if !retired.is_empty() {
            self.effects.push(Effect::Retire(retired));
        }
        self.depend = Depend::new(self.slots.iter().map(|slot| (slot.name(), slot.view.spec.requires.as_slice())));
        for (at, slot) in self.slots.iter_mut().enumerate() {
            slot.notes.clear();
            for missing in self.depend.missing(at) {
                slot.notes.push(message!("requires {}, which does not exist", missing));
                let text = message!("agent {} requires {}, which does not exist: ignored", slot.name(), missing);
                self.effects.push(Effect::Log(Level::Warn, text));
            }
        }
        self.layout = Arc::new(layout);
        self.again = true;
        self.judge_all(now);
        // All of them, in their order; what was touched is among them.
        let touched = std::mem::take(&mut self.touched);
        let mut views = Vec::with_capacity(self.slots.len());
        for slot in &mut self.slots {
            views.push(Arc::new(slot.shown(now)));
            if let Some(at_once) = touched.get(slot.name()) {
                self.effects.push(Effect::Save { view: Arc::new(slot.kept()), at_once: *at_once });
            }
        }
        self.board.publish(views, Arc::clone(&self.layout));
        std::mem::take(&mut self.effects)
    }

    fn changed(&mut self, mut slot: Slot, mut installed: Installed, first: Instant, now: Instant) -> Slot {
        let name = slot.name().to_owned();
        if slot.run.is_some() && self.lost.len() >= LOST {
            let text = message!("{} agents that were replaced still hang, and this one too: restart the service", LOST);
            installed.agent = Box::new(LoadErrorAgent::new(name.as_str(), text));
            // It is not what is configured: the next reload tries again.
            installed.spec.load_error = true;
        }
        self.lose(&mut slot);
        let generation = slot.generation;
        self.generation += 1;
        slot.generation = self.generation;
        if let Some(agent) = slot.change(installed, first) {
            let end = self.end(name.clone(), generation, agent, now);
            self.effects.push(end);
        }
        self.touched.insert(name, true);
        slot
    }

    /// Has an agent dropped, and its successor wait for that.
    fn end(&mut self, name: String, generation: u64, agent: Box<dyn Agent>, now: Instant) -> Effect {
        self.ending.retain(|ending| now < ending.until);
        self.ending.push(Ending { name: name.clone(), generation, until: now + LOST_WAIT });
        Effect::End { name, generation, agent }
    }

    /// An agent was dropped.
    pub(super) fn ended(&mut self, name: &str, generation: u64) {
        self.ending.retain(|ending| (ending.name.as_str(), ending.generation) != (name, generation));
        self.again = true;
    }

    /// A measurement under way will not count any more.
    fn lose(&mut self, slot: &mut Slot) {
        if let Some(run) = slot.run.take() {
            run.stop.stop();
            let until = run.deadline() + LOST_WAIT;
            self.lost.push(Lost { name: slot.name().to_owned(), generation: slot.generation, stop: run.stop, until });
        }
    }

    /// What is due now. To be called again at [`Core::next`], or when something was asked or came back.
    pub(super) fn tick(&mut self, now: Now) -> Vec<Effect> {
        self.looked = now.mono;
        self.again = false;
        if self.stopping {
            return Vec::new();
        }
        for at in 0..self.slots.len() {
            let slot = &mut self.slots[at];
            if let Some(reason) = slot.give_up(now) {
                self.failed(at, reason);
            }
            let slot = &mut self.slots[at];
            if slot.view.silenced.is_some_and(|until| until <= now.wall) {
                slot.view.silenced = None;
                self.touch(at, true);
            }
            let lost = self.waits_for_lost(at, now.mono);
            let slot = &mut self.slots[at];
            if slot.come(now, lost) && (slot.run.is_some() || lost) {
                self.touch(at, false);
            }
            if self.slots[at].sure(now, self.pace.settle) {
                self.touch(at, true);
            }
            self.stirred |= self.slots[at].stale_at().is_some_and(|then| then <= now.mono);
        }
        self.launch(now);
        if self.stirred {
            self.judge_all(now);
        }
        self.tell(now);
        self.publish(now)
    }

    /// Whether an agent has to wait for an earlier one of its name, which was replaced and still measures or ends. What only
    /// stands for an agent touches nothing that the other one does.
    fn waits_for_lost(&self, at: usize, now: Instant) -> bool {
        let slot = &self.slots[at];
        let lost = self.lost.iter().any(|lost| lost.name == slot.name() && now < lost.until);
        let ending = self.ending.iter().any(|ending| ending.name == slot.name() && now < ending.until);
        !slot.written.load_error && (lost || ending)
    }

    /// Launches those that wait, in the order in which they were due.
    fn launch(&mut self, now: Now) {
        let young = |slot: &Slot| slot.run.as_ref().is_some_and(|run| run.began + COUNTS_FOR > now.mono);
        let free = self.pace.at_once.saturating_sub(self.slots.iter().filter(|slot| young(slot)).count());
        let waits =
            |(at, slot): (usize, &Slot)| Some((slot.waiting.filter(|_| !self.waits_for_lost(at, now.mono))?, at));
        let mut waiting: Vec<(Instant, usize)> = self.slots.iter().enumerate().filter_map(waits).collect();
        waiting.sort_unstable();
        for (_, at) in waiting.into_iter().take(free) {
            if let Some(launch) = self.slots[at].launch(now) {
                self.effects.push(Effect::Launch(launch));
                self.touch(at, false);
            }
        }
    }

    /// An agent is back.
    pub(super) fn back(&mut self, back: Return, now: Now) -> Vec<Effect> {
        let Return { name, generation, agent, outcome, described } = back;
        let found = self.slots.iter().position(|slot| slot.generation == generation && slot.name() == name);
        let Some(at) = found else {
            self.lost.retain(|lost| (&lost.name, lost.generation) != (&name, generation));
            return vec![self.end(name, generation, agent, now.mono)];
        };
        if self.stopping {
            // It may have been cut short: that says nothing.
            self.slots[at].run = None;
            return vec![Effect::End { name, generation, agent }];
        }
        // Before its points are kept: counters are to be known as such.
        if let Some((spec, remarks)) = described {
            let slot = &mut self.slots[at];
            if spec != *slot.view.spec {
                slot.view.spec = Arc::new(spec);
            }
            slot.remarks = remarks;
        }
        let points = match (&outcome, &self.slots[at].view.spec.keep) {
            (Outcome::Taken(taken, _), Keep::Rrd(_)) => Some(taken.clone()),
            _ => None,
        };
        let failure = match &outcome {
            Outcome::Failed(reason) => Some(reason.clone()),
            Outcome::Taken(..) => None,
        };
        let slot = &mut self.slots[at];
        let before = slot.latest();
        match slot.back(agent, outcome, now) {
            Ok(()) => {
                self.effects.extend(points.map(|taken| Effect::Points(Arc::clone(&slot.view.spec), taken)));
                match failure {
                    Some(reason) => self.failed(at, reason),
                    None => slot.logged = None,
                }
                self.look_behind(at, before, now);
                self.stirred = true;
            }
            Err(seconds) => {
                let text = message!("agent {} answers again, after {} s", name, seconds.round());
                self.effects.push(Effect::Log(Level::Info, text));
            }
        }
        self.touch(at, false);
        self.again = true;
        if self.stirred {
            self.judge_all(now);
        }
        self.publish(now)
    }

    fn failed(&mut self, at: usize, reason: Message) {
        let slot = &mut self.slots[at];
        self.stirred = true;
        if slot.logged.as_ref() != Some(&reason) {
            let text = message!("exception during measure of {}: {}", slot.name(), reason);
            self.effects.push(Effect::Log(Level::Error, text));
            slot.logged = Some(reason);
        }
        self.touch(at, false);
    }

    /// What an agent requires is measured before its time when the agent gets into trouble: then it soon shows whose it is.
    fn look_behind(&mut self, at: usize, before: State, now: Now) {
        if before != State::Ok || self.slots[at].latest() == State::Ok {
            return;
        }
        for of in self.depend.all_required(at) {
            let slot = &mut self.slots[of];
            let recently = slot.asked.is_some_and(|asked| now.mono < asked + LOOKED_AT);
            if slot.agent.is_some() && slot.waiting.is_none() && !recently {
                (slot.waiting, slot.asked) = (Some(now.mono), Some(now.mono));
            }
        }
    }

    /// When [`Core::tick`] has something to do, if nothing happens meanwhile.
    pub(super) fn next(&self, now: Instant) -> Instant {
        if self.again {
            return now;
        }
        let waits = self.slots.iter().any(|slot| slot.waiting.is_some());
        let of = |slot: &Slot| {
            let run = slot.run.as_ref().filter(|run| !run.overdue);
            let settled = match slot.told {
                Told::Since(since) => Some(since + self.pace.settle),
                _ => None,
            };
            let sure = slot.sure_at(self.pace.settle);
            let free = run.filter(|_| waits).map(|run| run.began + COUNTS_FOR).filter(|then| *then > now);
            [Some(slot.due), run.map(super::slot::Run::deadline), slot.stale_at(), settled, sure, free]
        };
        let lost = self.lost.iter().map(|lost| lost.until).chain(self.ending.iter().map(|ending| ending.until));
        let next = self.slots.iter().flat_map(of).flatten().chain(lost.filter(|until| *until > now)).min();
        next.map_or(now + HEARTBEAT, |next| next.min(now + HEARTBEAT))
    }
}

/// Files and directories of which not everything could be loaded.
pub(super) fn broken(installed: &[Installed]) -> Vec<String> {
    let broken = installed.iter().map(|installed| &installed.spec).filter(|spec| spec.load_error);
    broken
        .flat_map(|spec| [&spec.origin].into_iter().chain(&spec.stands_for))
        .filter(|at| !at.is_empty())
        .cloned()
        .collect()
}

/// Checks what is to be installed; what is wrong with it comes back as lines of the log.
pub(super) fn check(installed: Vec<Installed>) -> (Vec<Installed>, Vec<Effect>) {
    let (installed, wrong) = prepared(installed);
    (installed, wrong.into_iter().map(|text| Effect::Log(Level::Error, text)).collect())
}
