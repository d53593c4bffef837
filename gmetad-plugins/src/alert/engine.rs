//! Rules against transactions: what is to be told. No I/O, no clock.

use std::collections::HashMap;
use std::mem;
use std::sync::Arc;
use std::time::{Duration, Instant};

use gmetad_core::model::{Cluster, Host, Metric, UnixTime};

use super::active::{ActiveAlerts, Counts, SHOWN};
use super::ast::Scope;
use super::config::{Rule, Settings};
use super::eval::{Facts, holds};
use super::notice::{Event, Kind, Notice};
use super::poll::{Poll, current, is_down};
use super::state::{Fate, Seen, States, key};
use crate::pattern::Pattern;

/// Time without a transaction after which the source of a cluster is taken for gone; at least ten of its intervals.
const GONE: Duration = Duration::from_secs(3600);
/// Time between two looks for such.
const SWEEP: Duration = Duration::from_secs(60);

/// Judges transactions.
pub(crate) struct Engine {
    settings: Arc<Settings>,
    counts: Arc<Counts>,
    active: Arc<ActiveAlerts>,
    subjects: HashMap<u64, Watched>,
    /// States of all subjects.
    states: usize,
    /// States that fire, and those that do not yet.
    now: (usize, usize),
    /// Rules whose first answer "unknown" was said.
    said: Vec<bool>,
    full_said: bool,
    swept: Option<Instant>,
}

/// A cluster or grid of a source.
struct Watched {
    name: String,
    source: Arc<str>,
    interval: Duration,
    last: Instant,
    time: UnixTime,
    round: u64,
    /// By rule.
    states: Vec<States>,
}

/// What goes on while one rule looks at one subject.
struct Look<'a> {
    rule: &'a Rule,
    states: &'a mut States,
    events: Vec<Event>,
    /// Time, round.
    at: (UnixTime, u64),
    room: usize,
    key: String,
    unknown: u64,
    refused: u64,
    /// The first answer "unknown", with the host.
    why: Option<String>,
}

impl Engine {
    pub(crate) fn new(settings: Arc<Settings>, counts: Arc<Counts>, active: Arc<ActiveAlerts>) -> Self {
        let said = vec![false; settings.rules.len()];
        Self {
            settings,
            counts,
            active,
            subjects: HashMap::new(),
            states: 0,
            now: (0, 0),
            said,
            full_said: false,
            swept: None,
        }
    }

    /// What is to be told after this poll; `now` only tells which sources are silent.
    pub(crate) fn notify(&mut self, poll: &Poll<'_>, now: Instant) -> Vec<Arc<Notice>> {
        let mut notices = Vec::new();
        let mut watched = self.subjects.remove(&poll.id).unwrap_or_else(|| Watched {
            name: poll.name.to_owned(),
            source: Arc::clone(poll.source),
            interval: poll.interval,
            last: now,
            time: 0,
            round: 0,
            states: self.settings.rules.iter().map(|_| States::default()).collect(),
        });
        (watched.last, watched.time, watched.interval) = (now, poll.time, poll.interval);
        watched.round += 1;
        let had_states = watched.states.iter().any(|states| !states.is_empty());
        let before = counted(&watched.states);
        let settings = Arc::clone(&self.settings);
        for (index, rule) in settings.rules.iter().enumerate() {
            if !rule.cluster.matches(poll.name) {
                continue;
            }
            let Some(states) = watched.states.get_mut(index) else { continue };
            let own = states.len();
            let mut look = Look {
                rule,
                states,
                events: Vec::new(),
                at: (poll.time, watched.round),
                room: self.settings.max_active.saturating_sub(self.states - own.min(self.states)),
                key: String::new(),
                unknown: 0,
                refused: 0,
                why: None,
            };
            look.at(poll);
            let (events, unknown, refused, why) = (look.events, look.unknown, look.refused, look.why);
            self.states = self.states + states.len() - own;
            self.count(index, rule, poll.name, unknown, refused, why);
            self.tell(&mut notices, rule, &watched.name, &watched.source, events);
        }
        let after = counted(&watched.states);
        self.now = (self.now.0 + after.0 - before.0, self.now.1 + after.1 - before.1);
        if had_states || after != (0, 0) {
            self.publish(poll.id, &watched);
        }
        self.subjects.insert(poll.id, watched);
        self.sweep(now, &mut notices);
        notices
    }

    /// What is to be told though nothing was polled.
    pub(crate) fn sweep_all(&mut self, now: Instant) -> Vec<Arc<Notice>> {
        let mut notices = Vec::new();
        self.sweep(now, &mut notices);
        notices
    }

    fn tell(&self, to: &mut Vec<Arc<Notice>>, rule: &Arc<Rule>, cluster: &str, source: &Arc<str>, events: Vec<Event>) {
        if events.is_empty() {
            return;
        }
        for event in &events {
            match event.kind {
                Kind::Fires => self.counts.fired.add(1),
                Kind::Repeats => self.counts.repeated.add(1),
                Kind::Recovered(_) => self.counts.recovered.add(1),
            }
        }
        let (rule, source) = (Arc::clone(rule), Arc::clone(source));
        to.push(Arc::new(Notice { rule, cluster: cluster.to_owned(), source, events }));
    }

    /// Counts what could not be judged, and says it once.
    fn count(&mut self, index: usize, rule: &Rule, cluster: &str, unknown: u64, refused: u64, why: Option<String>) {
        self.counts.unknown.add(unknown);
        if let (Some(why), Some(said @ false)) = (why, self.said.get_mut(index)) {
            *said = true;
            log::warn!("alert: rule {}: {:?} cannot be answered in cluster {cluster:?}: {why}", rule.name, rule.text);
        }
        self.counts.dropped.add(refused);
        if refused > 0 && !mem::replace(&mut self.full_said, true) {
            log::error!(
                "alert: {} alerts are active or pending, further ones are dropped: rule {}, cluster {cluster:?}; raise maxactive",
                self.states,
                rule.name
            );
        }
        self.full_said &= self.states >= self.settings.max_active;
    }

    fn publish(&self, id: u64, watched: &Watched) {
        let mut list = Vec::new();
        for (rule, states) in self.settings.rules.iter().zip(&watched.states) {
            states.show(rule, &watched.name, &watched.source, &mut list);
        }
        list.sort_by_key(|active| std::cmp::Reverse(active.since));
        list.truncate(SHOWN);
        self.active.publish(id, list);
        *self.counts.now.lock() = (self.now.0 as u64, self.now.1 as u64);
    }

    /// Ends the alerts of sources that are not there any more.
    fn sweep(&mut self, now: Instant, notices: &mut Vec<Arc<Notice>>) {
        if self.swept.is_some_and(|last| now.saturating_duration_since(last) < SWEEP) {
            return;
        }
        self.swept = Some(now);
        let silent = |watched: &Watched| {
            now.saturating_duration_since(watched.last) > GONE.max(watched.interval.saturating_mul(10))
        };
        let gone: Vec<u64> = self.subjects.iter().filter(|(_, w)| silent(w)).map(|(id, _)| *id).collect();
        for id in gone {
            let Some(mut watched) = self.subjects.remove(&id) else { continue };
            let counts = counted(&watched.states);
            self.now = (self.now.0 - counts.0, self.now.1 - counts.1);
            self.states -= counts.0 + counts.1;
            let settings = Arc::clone(&self.settings);
            let silent = now.saturating_duration_since(watched.last);
            let time = watched.time + i64::try_from(silent.as_secs()).unwrap_or(0);
            for (rule, states) in settings.rules.iter().zip(&mut watched.states) {
                let events = states.end("the data source is gone", time);
                self.tell(notices, rule, &watched.name, &watched.source, events);
            }
            self.publish(id, &watched);
        }
    }
}

/// How many fire, and how many do not yet.
fn counted(states: &[States]) -> (usize, usize) {
    states.iter().filter(|states| !states.is_empty()).fold((0, 0), |(firing, pending), states| {
        let own = states.firing();
        (firing + own, pending + states.len() - own)
    })
}

impl Look<'_> {
    fn at(&mut self, poll: &Poll<'_>) {
        let facts = Facts {
            cluster: poll.name,
            source: poll.source,
            summary: poll.summary,
            now: poll.time,
            down: !poll.alive,
            host: None,
            metric: None,
        };
        if self.rule.scope == Scope::Cluster {
            // Of a cluster that is down nothing is known, unless the rule is about that.
            if poll.alive || self.rule.condition.asks_down {
                self.judge(&facts, None, Seen::default());
            }
            return;
        }
        let Some(cluster) = poll.cluster.filter(|_| poll.alive) else { return };
        for host in cluster.hosts() {
            if self.rule.host.matches(host.name()) && !host.is_expired(facts.now) {
                self.host(&facts, cluster, host);
            }
        }
        if !self.states.is_empty() {
            self.others(cluster, facts.now);
        }
    }

    fn host<'f>(&mut self, facts: &Facts<'f>, cluster: &Cluster, host: &'f Host) {
        let down = is_down(host, facts.now);
        if (down || !cluster.is_fresh(host)) && !self.rule.condition.asks_down {
            return;
        }
        let facts = Facts { host: Some(host), down, ..*facts };
        match (self.rule.scope, &self.rule.metric) {
            (Scope::Metric, Pattern::Name(name)) => {
                if let Some(metric) = current(host, name, facts.now) {
                    self.metric(&facts, host, metric, false);
                }
            }
            (Scope::Metric, pattern) => {
                for metric in host.metrics().filter(|metric| pattern.matches(metric.name())) {
                    if metric.is_fresh() && !metric.is_expired(facts.now) {
                        self.metric(&facts, host, metric, true);
                    }
                }
            }
            _ => self.judge(&facts, Some((host.name(), None)), Seen::default()),
        }
    }

    fn metric<'f>(&mut self, facts: &Facts<'f>, host: &'f Host, metric: Metric<'f>, several: bool) {
        let facts = Facts { metric: Some(metric), ..*facts };
        let name = metric.name();
        self.judge(
            &facts,
            Some((host.name(), several.then_some(name))),
            Seen { metric: name, value: metric.value(), units: "" },
        );
    }

    fn judge(&mut self, facts: &Facts<'_>, about: Option<(&str, Option<&str>)>, seen: Seen<'_>) {
        let rule = self.rule;
        let answer = holds(&rule.condition.expr, facts);
        if answer == Ok(false) && self.states.is_empty() {
            return;
        }
        let (host, metric) = about.unwrap_or_default();
        let key = key(&mut self.key, host, metric);
        match answer {
            Ok(true) => {
                let room = self.states.len() < self.room;
                let units = facts.metric.map(|metric| metric.def().units()).unwrap_or_default();
                match self.states.holds(key, Seen { units: &units, ..seen }, rule, self.at, room) {
                    Some(event) => self.events.extend(event),
                    None => self.refused += 1,
                }
            }
            Ok(false) => self.events.extend(self.states.ends(key, seen, self.at.0)),
            Err(unknown) => {
                self.unknown += 1;
                self.why.get_or_insert_with(|| match host {
                    "" => unknown.to_string(),
                    host => format!("host {host:?}: {unknown}"),
                });
                self.events.extend(self.states.unknown(key, self.at));
            }
        }
    }

    /// The states that no host of this poll answered for.
    fn others(&mut self, cluster: &Cluster, now: UnixTime) {
        let fate = |name: &str, metric: &str| match cluster.host(name) {
            None => Fate::Gone,
            Some(host) if host.is_expired(now) => Fate::Gone,
            Some(host) if is_down(host, now) || !cluster.is_fresh(host) => Fate::Frozen,
            Some(host) if metric.is_empty() || current(host, metric, now).is_some() => Fate::Frozen,
            Some(_) => Fate::Lost,
        };
        self.states.sweep(self.at, fate, &mut self.events);
    }
}
