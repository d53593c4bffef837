//! What the RRD files of an agent are made of, and which of its values go there.

use std::time::Duration;

use gmetad_core::agent::{Measurement, Value as Measured};
use gmetad_rrd::format::NAN;
use gmetad_rrd::schema::{MAX_ROWS, MAX_RRAS, MAX_SECONDS, MAX_STEPS};
use gmetad_rrd::{DsKind, DsSpec, RraSpec, Schema};

use crate::spec::{Archive, Datasource, Graphs};

/// The data source of each file.
pub(super) const DS: &str = "value";
/// Part of a row that may be unknown.
const XFF: f64 = 0.5;

/// The file of a field: step and archives follow from the agent's period, the heartbeat is two periods and a half.
pub(super) fn schema(period: Duration, graphs: &Graphs, source: &Datasource) -> Schema {
    let step = period.as_secs().saturating_add(u64::from(period.subsec_nanos() > 0)).clamp(1, MAX_SECONDS / 3);
    let archives = if graphs.archives.is_empty() { Archive::standard(period) } else { graphs.archives.clone() };
    let rras = archives.iter().take(MAX_RRAS).map(|archive| {
        let steps = archive.resolution.div_ceil(step).clamp(1, MAX_STEPS);
        let rows = archive.keep.div_ceil(steps * step).clamp(1, MAX_ROWS);
        RraSpec { cf: archive.cf, xff: XFF, steps, rows }
    });
    let ds = DsSpec {
        name: DS.to_owned(),
        kind: source.ds_type,
        heartbeat: (step * 5).div_ceil(2),
        min: source.min_bound.unwrap_or(NAN),
        max: source.max_bound.unwrap_or(NAN),
    };
    Schema { step, ds: vec![ds], rras: rras.collect() }
}

/// The source of a field, if it is to be kept.
pub(super) fn source(graphs: &Graphs, field: &str) -> Option<Datasource> {
    if graphs.datasources.is_empty() {
        let name = field.to_owned();
        return Some(Datasource { name, ds_type: DsKind::Gauge, min_bound: None, max_bound: None });
    }
    graphs.datasources.iter().find(|source| source.name == field).cloned()
}

/// A number as its data source takes it; `None`: unknown.
pub(super) fn text(kind: DsKind, number: f64) -> Option<String> {
    match kind {
        _ if !number.is_finite() => None,
        DsKind::Counter if number < 0.0 => None,
        DsKind::Counter | DsKind::Derive => Some(format!("{:.0}", number.round() + 0.0)),
        DsKind::Gauge | DsKind::Absolute => Some(number.to_string()),
    }
}

/// All numbers of a measurement: instance, field, value.
pub(super) fn numbers(measurement: &Measurement) -> impl Iterator<Item = (Option<&str>, &str, f64)> {
    fn of(measurement: &Measurement) -> impl Iterator<Item = (&str, f64)> {
        measurement.fields().filter_map(|(field, value)| match value {
            Measured::Number(number) => Some((field, *number)),
            Measured::Text(_) => None,
        })
    }
    let instances = measurement.instances();
    of(measurement)
        .map(|(field, number)| (None, field, number))
        .chain(instances.flat_map(|(name, of_it)| of(of_it).map(move |(field, number)| (Some(name), field, number))))
}

#[cfg(test)]
mod tests {
    use gmetad_rrd::Cf;

    use super::*;

    #[test]
    fn archives_follow_from_the_period() {
        let archives = vec![Archive { cf: Cf::Max, resolution: 900, keep: 86_400 }];
        let graphs = Graphs { archives, ..Graphs::default() };
        let source = source(&graphs, "x").unwrap();
        let schema = schema(Duration::from_secs(120), &graphs, &source);
        assert_eq!((schema.step, schema.ds[0].heartbeat), (120, 300));
        // 900 s are no multiple of 120: 960 are, and the archive still covers a day.
        assert_eq!(schema.rras, [RraSpec { cf: Cf::Max, xff: 0.5, steps: 8, rows: 90 }]);
        schema.check().unwrap();
    }

    #[test]
    fn whatever_is_configured_makes_a_file() {
        let archive = Archive { cf: Cf::Last, resolution: u64::MAX, keep: u64::MAX };
        for (period, archives) in [
            (Duration::from_millis(1), vec![]),
            (Duration::from_millis(2500), vec![]),
            (Duration::from_secs(86_400), vec![]),
            (Duration::MAX, vec![archive]),
        ] {
            let graphs = Graphs { archives, ..Graphs::default() };
            schema(period, &graphs, &source(&graphs, "x").unwrap()).check().unwrap();
        }
    }

    #[test]
    fn counters_are_whole() {
        let texts = |kind| [1.5, -2.0, -0.2, 1e15, f64::NAN, f64::INFINITY].map(|number| text(kind, number));
        let of = |texts: [&str; 6]| texts.map(|text| (text != "U").then(|| text.to_owned()));
        assert_eq!(texts(DsKind::Gauge), of(["1.5", "-2", "-0.2", "1000000000000000", "U", "U"]));
        assert_eq!(texts(DsKind::Counter), of(["2", "U", "U", "1000000000000000", "U", "U"]));
        assert_eq!(texts(DsKind::Derive), of(["2", "-2", "0", "1000000000000000", "U", "U"]));
    }
}
