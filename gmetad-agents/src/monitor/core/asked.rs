//! What people and the program ask of agents.

use super::*;

impl Core {
    /// Has an agent measure as soon as there is room.
    pub(in super::super) fn ask(&mut self, agent: &str, now: Instant) -> Result<(), Message> {
        let at = self.slots.iter().position(|slot| slot.name() == agent);
        let at = at.ok_or_else(|| message!("there is no agent {}", agent))?;
        let lost = self.waits_for_lost(at, now);
        let slot = &mut self.slots[at];
        if self.stopping {
            return Err(message!("the service is being stopped"));
        }
        if slot.run.is_some() || slot.waiting.is_some() || lost {
            return Err(message!("{} is being measured", agent));
        }
        if let Some(left) = slot.asked.and_then(|asked| (asked + ASKED).checked_duration_since(now)) {
            let seconds = left.as_secs() + 1;
            return Err(message!("{} was measured a moment ago: try again in {} s", agent, seconds));
        }
        (slot.waiting, slot.asked) = (Some(now), Some(now));
        self.again = true;
        Ok(())
    }

    /// Changes what people said of an agent; `None`: there is no such agent.
    pub(in super::super) fn mark(&mut self, agent: &str, mark: Mark, now: Now) -> Option<Vec<Effect>> {
        let at = self.slots.iter().position(|slot| slot.name() == agent)?;
        let view = &mut self.slots[at].view;
        match mark {
            Mark::Acknowledged(by) => view.acknowledged = by,
            Mark::Silenced(until) => view.silenced = until.filter(|until| *until > now.wall),
        }
        self.touch(at, true);
        self.again = true;
        Some(self.publish(now))
    }

    /// Forgets the worst states that were.
    pub(in super::super) fn reset_max(&mut self, now: Now) -> Vec<Effect> {
        for at in 0..self.slots.len() {
            let view = &mut self.slots[at].view;
            (view.max, view.max_at) = (view.status.clone(), now.wall);
            self.touch(at, true);
        }
        self.publish(now)
    }

    /// Nothing is launched any more; those that measure are told to end.
    pub(in super::super) fn stop(&mut self) {
        self.stopping = true;
        let running = self.slots.iter().filter_map(|slot| slot.run.as_ref()).map(|run| &run.stop);
        running.chain(self.lost.iter().map(|lost| &lost.stop)).for_each(Stop::stop);
    }

    /// Who measures: those that may still end, and those that hang.
    pub(in super::super) fn running(&self) -> (usize, Vec<String>) {
        let runs = || self.slots.iter().filter_map(|slot| Some((slot.name(), slot.run.as_ref()?)));
        let hanging = runs().map(|(name, _)| name).chain(self.lost.iter().map(|lost| lost.name.as_str()));
        // Replaced just now, it may be about to return.
        let now = Instant::now();
        let lost = self.lost.iter().filter(|lost| now < lost.until).count();
        (runs().filter(|(_, run)| !run.overdue).count() + lost, hanging.map(str::to_owned).collect())
    }

    /// Who did not return in time.
    pub(in super::super) fn hanging(&self) -> Vec<String> {
        let overdue = |slot: &&Slot| slot.run.as_ref().is_some_and(|run| run.overdue);
        let names = self.slots.iter().filter(overdue).map(Slot::name);
        names.chain(self.lost.iter().map(|lost| lost.name.as_str())).map(str::to_owned).collect()
    }

    /// All agents that are at home.
    pub(in super::super) fn take_agents(&mut self) -> Vec<Effect> {
        let end = |slot: &mut Slot| {
            Some(Effect::End { name: slot.name().to_owned(), generation: slot.generation, agent: slot.agent.take()? })
        };
        self.slots.iter_mut().filter_map(end).collect()
    }
}

/// What people say of an agent.
pub(in super::super) enum Mark {
    Acknowledged(Option<Acknowledged>),
    Silenced(Option<UnixTime>),
}
