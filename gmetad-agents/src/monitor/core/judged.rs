//! What follows from results: statuses, dependencies, who is told, what is published.

use super::*;

impl Core {
    /// Judges all anew: one agent's state may be another one's cause.
    pub(super) fn judge_all(&mut self, now: Now) {
        self.stirred = false;
        let owns: Vec<_> = self
            .slots
            .iter_mut()
            .map(|slot| {
                let (own, blind) = slot.own(now);
                (own.into_owned(), blind)
            })
            .collect();
        let latest: Vec<State> = self.slots.iter().map(Slot::latest).collect();
        let as_seen: Vec<Own<'_>> =
            owns.iter().zip(latest).map(|((status, blind), latest)| Own { status, latest, blind: *blind }).collect();
        let hidden = self.depend.show(&as_seen);
        for (at, ((own, _), hidden)) in owns.into_iter().zip(hidden).enumerate() {
            let slot = &mut self.slots[at];
            if slot.is_loaded(now) {
                continue;
            }
            // One that has no result does not suffer from anything yet.
            let shown = hidden.filter(|_| !slot.is_new()).unwrap_or_else(|| own.clone());
            if slot.view.own == own && slot.view.status == shown {
                continue;
            }
            let changed = slot.show(own, shown, now);
            self.touched.entry(slot.name().to_owned()).or_default();
            if let Some(changed) = changed {
                self.effects.push(said(
                    slot.name(),
                    &changed.status.message,
                    changed.from,
                    changed.status.state,
                    changed.first,
                ));
                self.touch(at, true);
            }
        }
    }

    /// Tells of Errors that stayed, and of those that are over.
    pub(super) fn tell(&mut self, now: Now) {
        for at in 0..self.slots.len() {
            let slot = &mut self.slots[at];
            if slot.is_loaded(now) {
                continue;
            }
            slot.watch(now, self.pace.mails);
            let over = match (slot.told, slot.view.status.state) {
                (Told::Since(since), _) if since + self.pace.settle <= now.mono => false,
                (Told::Error, State::Ok | State::Warn) => true,
                _ => continue,
            };
            slot.told = if over { Told::Nothing } else { Told::Error };
            if self.pace.mails && slot.view.silenced.is_none() {
                let view = &slot.view;
                self.effects.push(Effect::Tell(Notice {
                    agent: slot.name().to_owned(),
                    description: view.spec.description.clone(),
                    status: view.status.clone(),
                    since: view.since,
                    over,
                }));
            } else {
                // That it is over is told by nobody; the next Error is a new one.
                slot.view.told = false;
                self.touch(at, true);
            }
        }
    }

    /// These notices went out, in this order: the next process need not tell again.
    pub(in super::super) fn sent(&mut self, notices: &[Notice], now: Now) -> Vec<Effect> {
        for Notice { agent, over, .. } in notices {
            let Some(at) = self.slots.iter().position(|slot| slot.name() == agent) else { continue };
            self.slots[at].view.told = !over;
            self.touch(at, true);
        }
        self.publish(now)
    }

    pub(super) fn touch(&mut self, at: usize, at_once: bool) {
        *self.touched.entry(self.slots[at].name().to_owned()).or_default() |= at_once;
    }

    /// Publishes what was touched, and gives back what else is to be done.
    pub(super) fn publish(&mut self, now: Now) -> Vec<Effect> {
        if !self.touched.is_empty() {
            let touched = std::mem::take(&mut self.touched);
            let mut views = Vec::with_capacity(touched.len());
            for slot in &mut self.slots {
                let Some(at_once) = touched.get(slot.name()) else { continue };
                let view = Arc::new(slot.shown(now));
                // What is only loaded is on the disk as it should be, but for what people said of it.
                let keep = if slot.is_loaded(now) { Arc::new(slot.kept()) } else { Arc::clone(&view) };
                if !slot.is_loaded(now) || *at_once {
                    self.effects.push(Effect::Save { view: keep, at_once: *at_once });
                }
                views.push(view);
            }
            self.board.update(views);
        }
        std::mem::take(&mut self.effects)
    }
}

/// The line of the log about a change.
fn said(agent: &str, text: &Message, from: State, to: State, first: bool) -> Effect {
    let level = match to {
        State::Warn | State::Error | State::Unknown => Level::Warn,
        // At the start everybody becomes OK.
        State::Ok if first => Level::Debug,
        State::Ok | State::Dependant => Level::Info,
    };
    let text = if text.is_empty() {
        message!("{}: {} -> {}", agent, name(from), name(to))
    } else {
        message!("{}: {} -> {}: {}", agent, name(from), name(to), text.clone())
    };
    Effect::Log(level, text)
}
