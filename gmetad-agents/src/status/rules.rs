//! Thresholds: [`Rule`]s over the fields of a measurement and of its instances.

use std::collections::HashMap;

use gmetad_core::agent::{Measurement, Message, State, Status, Value};
use gmetad_core::message;

use super::range::Range;
use super::streak::Streak;
use crate::spec::{Keep, Rule, Spec};

/// What the rules of an agent saw in a row. Only what alerts is remembered, so it is never larger than the measurement.
#[derive(Clone, Debug, Default)]
pub(super) struct Rules {
    streaks: HashMap<(usize, Option<String>), Streak>,
}

impl Rules {
    /// As they were.
    pub(super) fn resumed(streaks: Vec<(usize, Option<String>, Streak)>) -> Self {
        Self { streaks: streaks.into_iter().map(|(rule, instance, streak)| ((rule, instance), streak)).collect() }
    }

    /// To be resumed.
    pub(super) fn streaks(&self) -> Vec<(usize, Option<String>, Streak)> {
        let mut all: Vec<_> =
            self.streaks.iter().map(|((rule, instance), streak)| (*rule, instance.clone(), streak.clone())).collect();
        all.sort_by(|one, other| (one.0, &one.1).cmp(&(other.0, &other.1)));
        all
    }

    /// What the rules say of another measurement: of each field that alerts for as long as its rule wants. `None`: no rule had
    /// anything to judge.
    pub(super) fn judge(&mut self, spec: &Spec, measurement: &Measurement) -> Option<Vec<Status>> {
        let mut saw = false;
        let mut before = std::mem::take(&mut self.streaks);
        let mut alerts = Vec::new();
        for (index, rule) in spec.rules.iter().enumerate() {
            for (instance, value) in values(rule, measurement) {
                let Some(status) = judge_one(spec, rule, instance, value) else { continue };
                saw = true;
                let key = (index, instance.map(str::to_owned));
                let mut streak = before.remove(&key).unwrap_or_default();
                streak.push(&status);
                alerts.extend(streak.confirmed(rule.r#for).filter(|status| status.state > State::Ok));
                if streak.is_bad() {
                    self.streaks.insert(key, streak);
                }
            }
        }
        saw.then_some(alerts)
    }
}

/// Where a rule finds its field, and what is there. If only instances have it, it is not missing above them; if nobody has it,
/// it is missing once.
fn values<'a>(rule: &Rule, measurement: &'a Measurement) -> Vec<(Option<&'a str>, Option<f64>)> {
    let number = |of: &Measurement| match of.get(&rule.field) {
        Some(Value::Number(number)) => Some(*number).filter(|number| !number.is_nan()),
        _ => None,
    };
    let anywhere = measurement.instances().any(|(_, of_it)| of_it.get(&rule.field).is_some());
    let mut values = Vec::new();
    if measurement.get(&rule.field).is_some() || !anywhere {
        values.push((None, number(measurement)));
    }
    if anywhere {
        values.extend(measurement.instances().map(|(name, of_it)| (Some(name), number(of_it))));
    }
    values
}

/// `None`: the rule has nothing to say where there is no value.
fn judge_one(spec: &Spec, rule: &Rule, instance: Option<&str>, value: Option<f64>) -> Option<Status> {
    let field = spec.fields.iter().find(|field| field.name == rule.field);
    let label = field.map(|field| &field.label).filter(|label| !label.is_empty()).cloned();
    let label = label.unwrap_or_else(|| rule.field.as_str().into());
    let Some(value) = value else {
        let state = rule.nodata?;
        return Some(Status::new(state, of_instance(instance, message!("{} is unknown", label))));
    };
    let (unit, positive) = (spec.unit(&rule.field), never_negative(spec, &rule.field));
    let status = alert(label, value, unit, positive, [rule.warn, rule.error]);
    let status = status.map(|status| Status::new(status.state, of_instance(instance, status.message)));
    Some(status.unwrap_or_else(Status::ok))
}

/// Warn or Error, if a value is in one of these ranges, with the one text for it: "used: 96 % (error above 95 %)".
pub(crate) fn alert(
    label: Message,
    value: f64,
    unit: &str,
    positive: bool,
    [warn, error]: [Option<Range>; 2],
) -> Option<Status> {
    let number = Message::number(value, unit);
    let limit = |range: Option<Range>| range.filter(|range| range.alerts(value)).map(|it| it.message(unit, positive));
    if let Some(limit) = limit(error) {
        return Some(Status::new(State::Error, message!("{}: {} (error {})", label, number, limit)));
    }
    limit(warn).map(|limit| Status::new(State::Warn, message!("{}: {} (warn {})", label, number, limit)))
}

/// What is said of an instance.
pub(crate) fn of_instance(instance: Option<&str>, text: Message) -> Message {
    match instance {
        Some(instance) if text.is_empty() => instance.into(),
        Some(instance) => message!("{}: {}", instance, text),
        None => text,
    }
}

/// Whether a field cannot be below 0: by its unit, or because its file takes nothing below.
pub(crate) fn never_negative(spec: &Spec, field: &str) -> bool {
    let unit = spec.fields.iter().find(|known| known.name == field).map_or("", |known| &known.unit);
    let Keep::Rrd(graphs) = &spec.keep else { return is_positive(unit) };
    let bounded =
        graphs.datasources.iter().any(|source| source.name == field && source.min_bound.is_some_and(|min| min >= 0.0));
    bounded || is_positive(unit)
}

/// Whether nothing of this unit is below 0.
pub(crate) fn is_positive(unit: &str) -> bool {
    matches!(unit, "%" | "B" | "B/s" | "1/s")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::Field;

    fn spec(rules: Vec<Rule>) -> Spec {
        let mut spec = crate::Installed::new(crate::LoadErrorAgent::new("disks", "")).spec;
        spec.fields = vec![Field { name: "used".to_owned(), label: "used space".into(), unit: "%".to_owned() }];
        spec.rules = rules;
        spec
    }

    fn rule(warn: &str, error: &str, times: u32, nodata: Option<State>) -> Rule {
        let range = |text: &str| (!text.is_empty()).then(|| text.parse().unwrap());
        Rule { field: "used".to_owned(), warn: range(warn), error: range(error), r#for: times, nodata }
    }

    fn used(value: f64) -> Measurement {
        Measurement::new().number("used", value)
    }

    fn texts(statuses: Option<Vec<Status>>) -> Option<Vec<String>> {
        statuses.map(|statuses| statuses.iter().map(Status::to_string).collect())
    }

    #[test]
    fn the_message_names_field_value_and_limit() {
        let spec = spec(vec![rule("85", "95", 1, None)]);
        let mut rules = Rules::default();
        assert_eq!(texts(rules.judge(&spec, &used(50.0))), Some(vec![]));
        let warn = texts(rules.judge(&spec, &used(85.25)));
        assert_eq!(warn, Some(vec!["Warn: used space: 85.25 % (warn above 85 %)".to_owned()]));
        let measurement = Measurement::new().instance("/", used(96.0)).instance("/home", used(1.0));
        let error = texts(rules.judge(&spec, &measurement));
        assert_eq!(error, Some(vec!["Error: /: used space: 96 % (error above 95 %)".to_owned()]));
    }

    #[test]
    fn so_many_in_a_row() {
        let spec = spec(vec![rule("85", "95", 3, None)]);
        let mut rules = Rules::default();
        let mut states = |values: &[f64]| -> Vec<State> {
            let judged = values.iter().map(|value| rules.judge(&spec, &used(*value)).unwrap());
            judged.map(|alerts| alerts.first().map_or(State::Ok, |status| status.state)).collect()
        };
        assert_eq!(states(&[90.0, 96.0, 90.0]), [State::Ok, State::Ok, State::Warn]);
        assert_eq!(states(&[96.0, 96.0, 96.0]), [State::Warn, State::Warn, State::Error]);
        assert_eq!(states(&[50.0, 96.0]), [State::Ok, State::Ok], "a good one begins again");
    }

    #[test]
    fn instances_have_rows_of_their_own() {
        let spec = spec(vec![rule("85", "", 2, None)]);
        let mut rules = Rules::default();
        let both = |a, b| Measurement::new().instance("a", used(a)).instance("b", used(b));
        assert_eq!(texts(rules.judge(&spec, &both(90.0, 1.0))), Some(vec![]));
        assert_eq!(texts(rules.judge(&spec, &both(1.0, 90.0))), Some(vec![]));
        assert_eq!(rules.judge(&spec, &both(90.0, 90.0)).unwrap().len(), 1);
        assert_eq!(texts(rules.judge(&spec, &Measurement::new().instance("a", used(90.0)))).unwrap().len(), 1);
        assert!(texts(rules.judge(&spec, &both(1.0, 90.0))).unwrap().is_empty(), "b was away");
    }

    #[test]
    fn what_is_missing_counts_only_where_wanted() {
        let quiet = spec(vec![rule("85", "", 1, None)]);
        for measurement in [Measurement::new(), used(f64::NAN), Measurement::new().text("used", "90")] {
            assert_eq!(Rules::default().judge(&quiet, &measurement), None);
            let strict = spec(vec![rule("85", "", 1, Some(State::Error))]);
            let alerts = texts(Rules::default().judge(&strict, &measurement));
            assert_eq!(alerts, Some(vec!["Error: used space is unknown".to_owned()]));
        }
        let strict = spec(vec![rule("85", "", 1, Some(State::Unknown))]);
        let measurement = Measurement::new().instance("a", used(1.0)).instance("b", Measurement::new());
        let alerts = texts(Rules::default().judge(&strict, &measurement));
        assert_eq!(alerts, Some(vec!["Unknown: b: used space is unknown".to_owned()]), "not of the agent itself");
    }
}
