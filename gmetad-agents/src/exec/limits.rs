//! Limits that a program describes and leaves to us to judge by.

use gmetad_core::agent::{DescribedField, History, Measurement, State, Status};
use gmetad_core::message;
use gmetad_core::model::UnixTime;

use crate::status::Range;

/// The worst of all fields, those of instances included; counters are judged by their rate, which needs two measurements.
pub(super) fn judge<'a>(fields: impl Iterator<Item = &'a DescribedField>, history: &History<'_>) -> Status {
    let Some((now, last)) = history.last else { return Status::default() };
    let mut worst = Status::ok();
    let limited = |field: &&'a DescribedField| field.warn.is_some() || field.error.is_some();
    for field in fields.filter(limited) {
        let before = history.before;
        let own = number(field, (now, last), before).map(|number| (None, number));
        let of_instances = last.instances().filter_map(|(name, instance)| {
            let before = before.and_then(|(then, measurement)| {
                let (_, instance) = measurement.instances().find(|(known, _)| *known == name)?;
                Some((then, instance))
            });
            Some((Some(name), number(field, (now, instance), before)?))
        });
        for (instance, number) in own.into_iter().chain(of_instances) {
            if let Some(status) = one(field, instance, number) {
                worst = worst.worse(status);
            }
        }
    }
    worst
}

fn number(
    field: &DescribedField,
    last: (UnixTime, &Measurement),
    before: Option<(UnixTime, &Measurement)>,
) -> Option<f64> {
    let value = last.1.get_number(&field.name)?;
    if !field.counted.is_rate() {
        return Some(value);
    }
    let (then, before) = before?;
    let seconds = (last.0 - then) as f64;
    let before = before.get_number(&field.name)?;
    // A counter that fell began anew.
    let grown = if field.counted == gmetad_core::agent::Counted::Absolute { value } else { value - before };
    (seconds > 0.0 && (grown >= 0.0 || field.min.is_none_or(|min| min < 0.0))).then_some(grown / seconds)
}

fn one(field: &DescribedField, instance: Option<&str>, number: f64) -> Option<Status> {
    for (state, text) in [(State::Error, &field.error), (State::Warn, &field.warn)] {
        let Some(text) = text else { continue };
        if !text.parse::<Range>().is_ok_and(|range| range.alerts(number)) {
            continue;
        }
        let label = if field.label.is_empty() { field.name.as_str().into() } else { field.label.clone() };
        let number = short(number);
        let message = match instance {
            Some(instance) => message!("{} of {} is {}, the limit is {}", label, instance, &number, text),
            None => message!("{} is {}, the limit is {}", label, &number, text),
        };
        return Some(Status::new(state, message));
    }
    None
}

/// Four digits that count.
fn short(number: f64) -> String {
    let digits = if number == 0.0 || !number.is_finite() { 0.0 } else { number.abs().log10().floor() };
    let places = (3.0 - digits).clamp(0.0, 9.0) as usize;
    let text = format!("{number:.places$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use gmetad_core::agent::Counted;

    use super::*;

    fn judged(field: &DescribedField, before: Option<&Measurement>, last: &Measurement) -> String {
        let status = Status::default();
        let history =
            History { now: 160, last: Some((160, last)), before: before.map(|before| (100, before)), status: &status };
        judge(std::iter::once(field), &history).to_string()
    }

    #[test]
    fn gauges_instances_and_rates() {
        let limited = |counted| DescribedField {
            counted,
            warn: Some("~:10".into()),
            error: Some("~:20".into()),
            ..DescribedField::new("n")
        };
        let of = |number: f64| Measurement::new().number("n", number);
        let gauge = limited(Counted::Gauge);
        assert_eq!(judged(&gauge, None, &of(10.0)), "OK");
        assert_eq!(judged(&gauge, None, &of(12.3456)), "Warn: n is 12.35, the limit is ~:10");
        assert_eq!(judged(&gauge, None, &of(f64::NAN)), "OK");
        let both = of(15.0).instance("sda", of(21_000.0));
        assert_eq!(judged(&gauge, None, &both), "Error: n of sda is 21000, the limit is ~:20");
        let derive = DescribedField { min: Some(0.0), ..limited(Counted::Derive) };
        assert_eq!(judged(&derive, None, &of(1e9)), "OK", "one number is no rate");
        assert_eq!(judged(&derive, Some(&of(0.0)), &of(660.0)), "Warn: n is 11, the limit is ~:10");
        assert_eq!(judged(&derive, Some(&of(1e9)), &of(5.0)), "OK", "it began anew");
    }

    #[test]
    fn short_numbers() {
        let shown = [0.0, 0.000_123_456, 12.0, 99.999, 123_456.7, -3.5, f64::NAN].map(short);
        assert_eq!(shown, ["0", "0.0001235", "12", "100", "123457", "-3.5", "NaN"]);
    }
}
