//! An agent's own status: the worst of what the measurement, its instances, the rules and the agent say, debounced and aged.

use std::time::Duration;

use gmetad_core::agent::{Measurement, Message, State, Status};
use gmetad_core::message;

use super::rules::{Rules, of_instance};
use super::streak::{Streak, Streaks};
use crate::spec::Spec;

/// Periods without a measurement after which a status is no longer known.
pub const STALE_PERIODS: u32 = 3;

/// Judges the results of one agent, in their order.
#[derive(Clone, Debug)]
pub struct Judge {
    rules: Rules,
    streak: Streak,
    own: Status,
    latest: Status,
    failing: bool,
}

impl Judge {
    /// Before the first result, which is compared with `own`.
    pub fn new(own: Status) -> Self {
        Self { rules: Rules::default(), streak: Streak::default(), latest: own.clone(), own, failing: false }
    }

    /// Goes on where an earlier one was.
    pub fn resumed(own: Status, streaks: Streaks) -> Self {
        Self { rules: Rules::resumed(streaks.rules), streak: streaks.own, ..Self::new(own) }
    }

    /// What is to be remembered over a restart.
    pub fn streaks(&self) -> Streaks {
        if !self.streak.is_bad() {
            // A good result begins everything anew.
            return Streaks { rules: self.rules.streaks(), ..Streaks::default() };
        }
        Streaks { own: self.streak.clone(), rules: self.rules.streaks() }
    }

    /// A measurement that succeeded, and what [`gmetad_core::Agent::check_status`] said of it.
    pub fn measured(&mut self, spec: &Spec, measurement: &Measurement, checked: &Status) {
        self.failing = false;
        let status = worst(measurement, checked, self.rules.judge(spec, measurement));
        self.take(spec, status);
    }

    /// A measurement that failed.
    pub fn failed(&mut self, spec: &Spec, reason: &Message) {
        self.failing = true;
        self.take(spec, Status::new(State::Unknown, message!("exception during measure: {}", reason.clone())));
    }

    fn take(&mut self, spec: &Spec, status: Status) {
        self.streak.push(&status);
        if status.state <= self.own.state {
            self.own = status.clone();
        } else if let Some(confirmed) = self.streak.confirmed(spec.debounce)
            && confirmed.state >= self.own.state
        {
            self.own = confirmed;
        }
        self.latest = status;
    }

    /// The agent's own status: the last result, or a better one while there were fewer than [`Spec::debounce`] bad ones.
    pub fn own(&self) -> &Status {
        &self.own
    }

    /// The last result, not debounced.
    pub fn latest(&self) -> &Status {
        &self.latest
    }

    /// Whether the last measurement failed.
    pub fn is_failing(&self) -> bool {
        self.failing
    }

    /// What is worse than it is shown, if the last result was.
    pub fn pending(&self, spec: &Spec) -> Option<Message> {
        let Status { state, message } = &self.latest;
        (*state > self.own.state).then(|| {
            let count = self.streak.count(*state);
            message!("{}, in {} of {} results: {}", name(*state), count, spec.debounce, message.clone())
        })
    }
}

/// The name of a state, to be translated.
pub fn name(state: State) -> Message {
    match state {
        State::Ok => message!("OK"),
        State::Dependant => message!("Dependant"),
        State::Unknown => message!("Unknown"),
        State::Warn => message!("Warn"),
        State::Error => message!("Error"),
    }
}

/// Whether a measurement of that age is too old to tell anything.
pub fn is_stale(period: Duration, age: Duration) -> bool {
    age > period * STALE_PERIODS
}

/// The status of an agent that was not measured for too long: `since` is when it last was (as text), `failure` why.
pub fn stale(since: Option<&str>, failure: Option<&Message>) -> Status {
    let text = match (since.map(Message::time), failure) {
        (Some(since), Some(failure)) => message!("no measurement since {}: {}", since, failure.clone()),
        (Some(since), None) => message!("no measurement since {}", since),
        (None, Some(failure)) => message!("exception during measure: {}", failure.clone()),
        (None, None) => message!("no measurement yet"),
    };
    Status::new(State::Unknown, text)
}

/// The worst of all that has an opinion.
fn worst(measurement: &Measurement, checked: &Status, rules: Option<Vec<Status>>) -> Status {
    // The neutral status says nothing, so it hides nothing.
    let has_opinion = |status: &&Status| **status != Status::default();
    let mut opinions: Vec<Status> =
        measurement.status().into_iter().chain([checked]).filter(has_opinion).cloned().collect();
    opinions.extend(rules.into_iter().flat_map(|alerts| alerts.into_iter().chain([Status::ok()])));
    for (instance, of_it) in measurement.instances() {
        let status = of_it.status().filter(has_opinion);
        opinions.extend(status.map(|status| match status.state {
            // What goes well in one of many is not worth a word.
            State::Ok => Status::ok(),
            state => Status::new(state, of_instance(Some(instance), status.message.clone())),
        }));
    }
    let Some(state) = opinions.iter().map(|status| status.state).max() else { return Status::default() };
    let mut said = opinions.into_iter().filter(|status| status.state == state && !status.message.is_empty());
    let first = said.next().map(|status| status.message).unwrap_or_default();
    let more = said.filter(|status| status.message != first).count();
    let text = if more == 0 || state == State::Ok { first } else { message!("{} (and {} more)", first, more) };
    Status::new(state, text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::Rule;
    use crate::{Installed, LoadErrorAgent};

    fn spec(debounce: u32) -> Spec {
        let mut spec = Installed::new(LoadErrorAgent::new("a", "")).spec;
        spec.debounce = debounce;
        spec
    }

    fn rule(field: &str, warn: &str) -> Rule {
        Rule { field: field.to_owned(), warn: warn.parse().ok(), error: None, r#for: 1, nodata: None }
    }

    #[test]
    fn the_worst_opinion_counts_and_the_neutral_one_is_none() {
        let spec = Spec { rules: vec![rule("n", "10")], ..spec(1) };
        let judged = |measurement: &Measurement, checked: &Status| {
            let mut judge = Judge::new(Status::default());
            judge.measured(&spec, measurement, checked);
            judge.own().to_string()
        };
        let neutral = Status::default();
        let good = Measurement::new().number("n", 1.0);
        assert_eq!(judged(&Measurement::new(), &neutral), "Unknown");
        assert_eq!(judged(&good, &neutral), "OK", "rules that are content are an opinion");
        assert_eq!(judged(&good, &Status::new(State::Unknown, "cannot say")), "Unknown: cannot say");
        assert_eq!(judged(&good.judged(Status::new(State::Ok, "fine")), &neutral), "OK: fine");
        let bad = Measurement::new().number("n", 11.0).instance("x", Measurement::new().number("n", 12.0));
        assert_eq!(judged(&bad, &neutral), "Warn: n: 11 (warn outside 0 to 10) (and 1 more)");
        let worse = bad.instance("y", Measurement::new().judged(Status::new(State::Error, "down")));
        assert_eq!(judged(&worse, &Status::ok()), "Error: y: down");
        assert_eq!(judged(&worse, &Status::new(State::Error, "broken")), "Error: broken (and 1 more)");
    }

    #[test]
    fn worse_is_shown_when_it_stays_and_better_at_once() {
        let spec = spec(3);
        let mut judge = Judge::new(Status::ok());
        let mut states = |results: &[State]| -> Vec<State> {
            let mut shown = Vec::new();
            for state in results {
                let status = Status::new(*state, state.name());
                judge.measured(&spec, &Measurement::new(), &status);
                assert_eq!(judge.pending(&spec).is_some(), *state > judge.own().state);
                assert!(judge.own().message.is_empty() || judge.own().message.to_string() == judge.own().state.name());
                shown.push(judge.own().state);
            }
            shown
        };
        use State::{Error, Ok, Warn};
        assert_eq!(states(&[Error, Error, Ok]), [Ok, Ok, Ok]);
        assert_eq!(states(&[Error, Warn, Error, Error, Error]), [Ok, Ok, Warn, Warn, Error]);
        assert_eq!(states(&[Warn, Error, Ok]), [Warn, Warn, Ok]);
    }

    #[test]
    fn failures_are_unknown_and_debounced_like_all() {
        let spec = spec(2);
        let mut judge = Judge::new(Status::ok());
        judge.failed(&spec, &"no route".into());
        assert_eq!((judge.own().state, judge.is_failing()), (State::Ok, true));
        assert_eq!(
            judge.pending(&spec).unwrap().to_string(),
            "Unknown, in 1 of 2 results: exception during measure: no route"
        );
        judge.failed(&spec, &"no route".into());
        assert_eq!(judge.own().to_string(), "Unknown: exception during measure: no route");
        judge.measured(&spec, &Measurement::new(), &Status::ok());
        assert_eq!((judge.own().state, judge.is_failing()), (State::Ok, false));
    }

    #[test]
    fn a_row_goes_on_where_it_was() {
        let spec = Spec { rules: vec![Rule { r#for: 3, ..rule("n", "10") }], ..spec(2) };
        let bad = Measurement::new().number("n", 11.0).instance("x", Measurement::new().number("n", 12.0));
        let mut judge = Judge::new(Status::ok());
        let mut states = Vec::new();
        for _ in 0..4 {
            judge.measured(&spec, &bad, &Status::ok());
            states.push(judge.own().state);
            let text = serde_json::to_string(&judge.streaks()).unwrap();
            judge = Judge::resumed(judge.own().clone(), serde_json::from_str(&text).unwrap());
        }
        assert_eq!(states, [State::Ok, State::Ok, State::Ok, State::Warn], "the third breaks the rule, twice is shown");
        judge.measured(&spec, &Measurement::new().number("n", 1.0), &Status::ok());
        assert!(judge.streaks().is_empty());
    }

    #[test]
    fn age_ends_what_is_known() {
        let minute = Duration::from_secs(60);
        assert!(!is_stale(minute, Duration::from_secs(180)) && is_stale(minute, Duration::from_secs(181)));
        assert_eq!(stale(Some("noon"), None).to_string(), "Unknown: no measurement since noon");
        let failure = "it hangs".into();
        assert_eq!(stale(Some("noon"), Some(&failure)).to_string(), "Unknown: no measurement since noon: it hangs");
        let since = stale(Some("2026-11-22 13:14:18"), None).message;
        assert_eq!(since.to_string(), "no measurement since 2026-11-22 13:14:18");
        assert_eq!(crate::lang::Lang::French.message(&since), "aucune mesure depuis 22/11/2026 13:14:18");
        assert_eq!(stale(None, Some(&failure)).to_string(), "Unknown: exception during measure: it hangs");
        assert_eq!(stale(None, None).to_string(), "Unknown: no measurement yet");
    }
}
