//! What is known of each rule on each host: how long its condition has held, since when it fires, what was told.

use std::collections::HashMap;
use std::sync::Arc;

use gmetad_core::model::UnixTime;

use super::active::{Active, SHOWN};
use super::config::Rule;
use super::notice::{Event, Kind};

/// Seconds after which an alert whose metric is not there any more, on a host that is, is over.
pub(crate) const LOST_FOR: i64 = 3600;

/// A rule whose condition holds, or held at the last poll that could tell.
#[derive(Debug)]
pub(crate) struct State {
    /// Polls in a row that it held.
    polls: u32,
    /// When it began to fire; `None` while it has not held often enough.
    since: Option<UnixTime>,
    sent: UnixTime,
    value: Box<str>,
    units: Box<str>,
    metric: Box<str>,
    /// The first poll of those that could not tell though the host is there.
    lost: Option<UnixTime>,
    /// The round that looked at it last.
    pub(crate) round: u64,
}

/// The value that a condition was asked about.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Seen<'a> {
    pub(crate) metric: &'a str,
    pub(crate) value: &'a str,
    pub(crate) units: &'a str,
}

/// The states of one rule in one cluster.
#[derive(Debug, Default)]
pub(crate) struct States {
    /// By host and, for a rule with a pattern, metric.
    map: HashMap<Box<str>, State>,
}

/// Between host and metric of a key; no name has it.
const BETWEEN: char = '\0';

/// Makes a key in `out`.
pub(crate) fn key<'k>(out: &'k mut String, host: &str, metric: Option<&str>) -> &'k str {
    out.clear();
    out.push_str(host);
    if let Some(metric) = metric {
        out.push(BETWEEN);
        out.push_str(metric);
    }
    out
}

fn host_of(key: &str) -> &str {
    key.split_once(BETWEEN).map_or(key, |(host, _)| host)
}

/// What became of a state that a poll did not look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It stays as it is.
    Frozen,
    /// Its host is there and up, but has no such metric.
    Lost,
    /// Its host is gone for good.
    Gone,
}

impl States {
    pub(crate) fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.map.len()
    }

    pub(crate) fn firing(&self) -> usize {
        self.map.values().filter(|state| state.since.is_some()).count()
    }

    /// The condition holds. `None` if there is no `room` for one more state.
    pub(crate) fn holds(
        &mut self,
        key: &str,
        seen: Seen<'_>,
        rule: &Rule,
        (time, round): (UnixTime, u64),
        room: bool,
    ) -> Option<Option<Event>> {
        if !self.map.contains_key(key) {
            if !room {
                return None;
            }
            self.map.insert(key.into(), State::new(seen));
        }
        let state = self.map.get_mut(key)?;
        state.round = round;
        state.lost = None;
        state.see(seen);
        let kind = match state.since {
            Some(_) => {
                let repeat = i64::try_from(rule.repeat.as_secs()).unwrap_or(i64::MAX);
                if repeat == 0 || time.saturating_sub(state.sent) < repeat {
                    return Some(None);
                }
                Kind::Repeats
            }
            None => {
                state.polls = state.polls.saturating_add(1);
                if state.polls < rule.polls {
                    return Some(None);
                }
                state.since = Some(time);
                Kind::Fires
            }
        };
        state.sent = time;
        Some(state.event(host_of(key), kind, time))
    }

    /// The condition does not hold (any more).
    pub(crate) fn ends(&mut self, key: &str, seen: Seen<'_>, time: UnixTime) -> Option<Event> {
        let mut state = self.map.remove(key)?;
        state.see(seen);
        state.event(host_of(key), Kind::Recovered(""), time)
    }

    /// Nobody can tell whether it holds.
    pub(crate) fn unknown(&mut self, key: &str, (time, round): (UnixTime, u64)) -> Option<Event> {
        let state = self.map.get_mut(key)?;
        state.round = round;
        if !state.is_lost(time) {
            return None;
        }
        let state = self.map.remove(key)?;
        state.event(host_of(key), Kind::Recovered("nobody could tell for an hour"), time)
    }

    /// Decides about the states that `round` did not look at.
    pub(crate) fn sweep(
        &mut self,
        (time, round): (UnixTime, u64),
        fate: impl Fn(&str, &str) -> Fate,
        events: &mut Vec<Event>,
    ) {
        self.map.retain(|key, state| {
            if state.round == round {
                return true;
            }
            let host = host_of(key);
            let reason = match fate(host, &state.metric) {
                Fate::Frozen => return true,
                Fate::Lost if !state.is_lost(time) => return true,
                Fate::Lost => "the metric is gone",
                Fate::Gone => "the host is gone",
            };
            events.extend(state.event(host, Kind::Recovered(reason), time));
            false
        });
    }

    /// All are over.
    pub(crate) fn end(&mut self, reason: &'static str, time: UnixTime) -> Vec<Event> {
        self.map.drain().filter_map(|(key, state)| state.event(host_of(&key), Kind::Recovered(reason), time)).collect()
    }

    /// The newest of those that fire.
    pub(crate) fn show(&self, rule: &Rule, cluster: &str, source: &Arc<str>, out: &mut Vec<Active>) {
        let mut firing: Vec<_> =
            self.map.iter().filter_map(|(key, state)| Some((state.since?, host_of(key), state))).collect();
        if firing.len() > SHOWN {
            firing.select_nth_unstable_by(SHOWN, |a, b| b.0.cmp(&a.0));
            firing.truncate(SHOWN);
        }
        out.extend(firing.into_iter().map(|(since, host, state)| Active {
            rule: rule.name.clone(),
            severity: rule.severity.clone(),
            source: Arc::clone(source),
            cluster: cluster.to_owned(),
            host: host.to_owned(),
            metric: state.metric.to_string(),
            value: state.value.to_string(),
            since,
            sent: state.sent,
        }));
    }
}

impl State {
    fn new(seen: Seen<'_>) -> Self {
        Self {
            polls: 0,
            since: None,
            sent: 0,
            value: seen.value.into(),
            units: seen.units.into(),
            metric: seen.metric.into(),
            lost: None,
            round: 0,
        }
    }

    fn see(&mut self, seen: Seen<'_>) {
        if *self.value != *seen.value {
            self.value = seen.value.into();
        }
    }

    /// Whether nobody could tell for too long.
    fn is_lost(&mut self, time: UnixTime) -> bool {
        let since = *self.lost.get_or_insert(time);
        time.saturating_sub(since) >= LOST_FOR
    }

    /// An event, if anybody was told of this one.
    fn event(&self, host: &str, kind: Kind, time: UnixTime) -> Option<Event> {
        let (value, units, metric) = (self.value.clone(), self.units.clone(), self.metric.clone());
        Some(Event { kind, host: host.into(), metric, value, units, since: self.since?, time })
    }
}
