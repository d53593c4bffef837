//! What a graph is drawn of: its curves read back and laid on one grid of times.

use std::time::Duration;

use gmetad_core::model::UnixTime;
use gmetad_rrd::fetch::Fetched;
use gmetad_rrd::{Cf, RrdError};

use super::curves::Plan;
use super::visit::Visit;
use crate::view::AgentView;

/// Rows that may be asked for at once: more than any screen has columns.
pub(super) const ROWS: usize = 4000;
/// The shortest and the longest time that is drawn: a minute, twenty years.
const SPAN: (i64, i64) = (60, 20 * 366 * 86_400);

/// Periods that pages offer, and their seconds. A month and a year are what people see of one.
pub(super) const PERIODS: [(&str, i64); 5] =
    [("hour", 3600), ("day", 86_400), ("week", 7 * 86_400), ("month", 31 * 86_400), ("year", 366 * 86_400)];

/// Measurements that an hour has, or it would be almost empty, too.
const POINTS: u32 = 6;
/// Until an agent is that old, a day of it would be almost empty.
const YOUNG: i64 = 6 * 3600;

/// The curves of a graph on one grid.
#[derive(Debug, PartialEq)]
pub(super) struct Drawn {
    /// Times of the rows: seconds since 1970, evenly spaced.
    pub(super) times: Vec<UnixTime>,
    /// Seconds between rows; 0 if there are none.
    pub(super) step: u64,
    /// By curve: its values, and the largest of each row where an archive has them.
    pub(super) curves: Vec<(Vec<f64>, Option<Vec<f64>>)>,
}

/// The period asked for by name, or a day.
pub(super) fn period(visit: &Visit<'_>) -> (&'static str, i64) {
    let asked = visit.parameter("period").unwrap_or_default();
    PERIODS.into_iter().find(|(name, _)| *name == asked).unwrap_or(PERIODS[1])
}

/// The period asked for, or one of which something is known: of a young agent that measures often the last hour.
pub(super) fn usual_period(visit: &Visit<'_>, view: &AgentView) -> &'static str {
    let oldest = since(view);
    let measured = view.measured.saturating_mul(view.spec.period.as_secs());
    let young = visit.now.saturating_sub(oldest) < YOUNG && measured < YOUNG.cast_unsigned();
    let often = view.spec.period * POINTS <= Duration::from_secs(PERIODS[0].1.cast_unsigned());
    if young && often && visit.parameter("period").is_none() { PERIODS[0].0 } else { period(visit).0 }
}

/// Since when there is an agent, as far as is known.
pub(super) fn since(view: &AgentView) -> UnixTime {
    view.changes.iter().map(|change| change.time).fold(view.since, UnixTime::min)
}

/// Start and end asked for: by time (`start`, `end`, seconds since 1970), else the period until now.
pub(super) fn range(visit: &Visit<'_>) -> (UnixTime, UnixTime) {
    let number = |name| visit.parameter(name).and_then(|text| text.parse::<f64>().ok()).filter(|it| it.is_finite());
    // Beyond what a clock shows there are no rows; held, so that sums do not overflow.
    let time = |name| number(name).map(|time| (time as i64).clamp(0, 1 << 40));
    let end = time("end").unwrap_or(visit.now);
    let start = time("start").unwrap_or_else(|| end.saturating_sub(period(visit).1));
    (start.clamp(end - SPAN.1, end - SPAN.0), end)
}

/// Reads the curves of a graph.
///
/// # Errors
/// A file cannot be read.
pub(super) fn read(
    visit: &Visit<'_>,
    agent: &str,
    plan: &Plan,
    start: UnixTime,
    end: UnixTime,
    rows: usize,
) -> Result<Drawn, RrdError> {
    let rows = rows.clamp(2, ROWS);
    let fetch = |field: &str, cf| {
        let control = &visit.pages.control;
        control.series(agent, plan.instance.as_deref(), field, cf, start, end, rows)
    };
    let mut fetched = Vec::new();
    for curve in &plan.curves {
        let values = fetch(&curve.field, curve.cf)?;
        let max = if curve.cf == Cf::Average { fetch(&curve.field, Cf::Max)? } else { None };
        fetched.push((values.map(|values| (curve.cf, values)), max));
    }
    Ok(lay(fetched))
}

type Pair = (Option<(Cf, Fetched)>, Option<Fetched>);

/// Lays curves on the coarsest of their grids.
fn lay(mut fetched: Vec<Pair>) -> Drawn {
    let step = fetched.iter().filter_map(|(values, _)| Some(values.as_ref()?.1.step)).max().unwrap_or(0);
    for (values, max) in &mut fetched {
        if let Some((cf, values)) = values {
            coarsen(values, *cf, step);
        }
        // The largest of five minutes says nothing of each minute.
        max.take_if(|max| max.step > step);
        if let Some(max) = max {
            coarsen(max, Cf::Max, step);
        }
    }
    let all = || fetched.iter().filter_map(|(values, _)| values.as_ref().map(|(_, values)| values));
    let (start, end) = (all().map(|it| it.start).min().unwrap_or(0), all().map(|it| it.end).max().unwrap_or(0));
    let signed = step.max(1).cast_signed();
    let rows = usize::try_from((end - start) / signed).unwrap_or(0).min(4 * ROWS);
    let place = |from: &Fetched| {
        let mut out = vec![f64::NAN; rows];
        // A grid that is not a part of ours is moved by less than a step.
        let shift = (from.start - start).div_euclid(signed);
        for (row, value) in (0i64..).zip(&from.values) {
            let at = usize::try_from(shift + row).ok().filter(|_| from.step == step);
            if let Some(slot) = at.and_then(|at| out.get_mut(at)) {
                *slot = *value;
            }
        }
        out
    };
    let curves = fetched
        .iter()
        .map(|(values, max)| match values {
            Some((_, values)) => (place(values), max.as_ref().map(place)),
            None => (vec![f64::NAN; rows], None),
        })
        .collect();
    Drawn { times: (1..=rows).map(|row| start + row as i64 * signed).collect(), step, curves }
}

fn coarsen(fetched: &mut Fetched, cf: Cf, step: u64) {
    if fetched.step > 0 && fetched.step < step && step.is_multiple_of(fetched.step) {
        *fetched = fetched.reduce(cf, step / fetched.step);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(start: i64, step: u64, values: &[f64]) -> Fetched {
        let end = start + (values.len() as u64 * step).cast_signed();
        Fetched { start, end, step, names: vec!["value".to_owned()], values: values.to_vec() }
    }

    #[test]
    fn curves_of_different_grids_are_laid_on_one() {
        let fine = rows(0, 10, &[1.0, 3.0, 5.0, 7.0]);
        let coarse = rows(20, 20, &[9.0, f64::NAN]);
        let max = rows(0, 20, &[3.0, 8.0]);
        let too_coarse = rows(0, 40, &[8.0]);
        let drawn = lay(vec![
            (Some((Cf::Average, fine)), Some(max)),
            (Some((Cf::Average, coarse)), Some(too_coarse)),
            (None, None),
        ]);
        assert_eq!((drawn.times, drawn.step), (vec![20, 40, 60], 20));
        let text = format!("{:?}", drawn.curves);
        assert_eq!(
            text,
            "[([2.0, 6.0, NaN], Some([3.0, 8.0, NaN])), ([NaN, 9.0, NaN], None), ([NaN, NaN, NaN], None)]"
        );
        let none = lay(vec![(None, None)]);
        assert_eq!((none.times.len(), none.curves.len(), none.step), (0, 1, 0));
    }
}
