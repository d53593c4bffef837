//! Limits that a program describes and leaves to us to judge by.

use gmetad_core::agent::{DescribedField, History, Measurement, Status};
use gmetad_core::model::UnixTime;

use crate::lang::units::per_second;
use crate::status::{Range, alert, is_positive, of_instance};

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
    let label = if field.label.is_empty() { field.name.as_str().into() } else { field.label.clone() };
    let unit = if field.counted.is_rate() { per_second(&field.unit) } else { field.unit.clone() };
    let positive = is_positive(&unit) || field.min.is_some_and(|min| min >= 0.0);
    let ranges = [&field.warn, &field.error].map(|text| text.as_deref()?.parse::<Range>().ok());
    let status = alert(label, number, &unit, positive, ranges)?;
    Some(Status::new(status.state, of_instance(instance, status.message)))
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
        assert_eq!(judged(&gauge, None, &of(12.3456)), "Warn: n: 12.346 (warn above 10)");
        assert_eq!(judged(&gauge, None, &of(f64::NAN)), "OK");
        let both = of(15.0).instance("sda", of(21_000.0));
        assert_eq!(judged(&gauge, None, &both), "Error: sda: n: 21000 (error above 20)");
        let derive = DescribedField { min: Some(0.0), ..limited(Counted::Derive) };
        assert_eq!(judged(&derive, None, &of(1e9)), "OK", "one number is no rate");
        assert_eq!(judged(&derive, Some(&of(0.0)), &of(660.0)), "Warn: n: 11 1/s (warn above 10 1/s)");
        assert_eq!(judged(&derive, Some(&of(1e9)), &of(5.0)), "OK", "it began anew");
    }
}
