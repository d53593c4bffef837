//! Rows read back, and what becomes of them where there are more rows than points to draw. [`crate::View`] reads them.

use crate::format::double;
use crate::schema::{Cf, RraSpec};

/// Rows of one archive. Row `i` ends at `start + (i + 1) * step`.
#[derive(Debug, Clone, PartialEq)]
pub struct Fetched {
    /// Seconds since 1970: one step before the time of the first row.
    pub start: i64,
    /// Seconds since 1970 of the last row.
    pub end: i64,
    /// Seconds between rows.
    pub step: u64,
    /// Names of the data sources.
    pub names: Vec<String>,
    /// Row by row, one value a data source; NaN: unknown.
    pub values: Vec<f64>,
}

/// Most values returned at once (256 MB).
pub const MAX_VALUES: u64 = 1 << 25;

/// What times an archive covers, in seconds since 1970.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Span {
    /// Seconds a row.
    pub(crate) step: i64,
    /// One step before the oldest row; may be before 1970.
    pub(crate) oldest: i64,
    /// The newest row.
    pub(crate) newest: i64,
}

impl Span {
    pub(crate) fn of(step: u64, rra: &RraSpec, last_update: i64) -> Self {
        let step = (step * rra.steps).cast_signed();
        let newest = last_update - last_update % step;
        Self { step, oldest: newest.saturating_sub(step.saturating_mul(rra.rows.cast_signed())), newest }
    }
}

impl Fetched {
    /// At most `most` rows (fewer than 2 are taken for 2), each of the same number of the present ones, as few as will do:
    /// see [`Fetched::reduce`].
    #[must_use]
    pub fn consolidate(&self, cf: Cf, most: usize) -> Self {
        let rows = (self.values.len() / self.names.len().max(1)) as u64;
        let most = most.max(2) as u64;
        // Groups begin at multiples, so one more than rows / factor may be needed; `rows / (most - 1)` always does.
        let mut factor = rows.div_ceil(most).max(1);
        while self.groups(factor) > most {
            factor += 1;
        }
        self.reduce(cf, factor)
    }

    /// Merges `factor` rows into one; the new rows end at multiples of the new step. As in `rrdtool graph` and `xport`, rows
    /// that are unknown do not count, and a new row is unknown if all of its rows are; LAST is the last known one.
    ///
    /// Different on purpose: a first or last group that the range cuts is made of the rows there are; rrdtool gives it as
    /// unknown. And `consolidate` never gives more rows than wanted; rrdtool, which compares seconds, gives up to two more.
    #[must_use]
    pub fn reduce(&self, cf: Cf, factor: u64) -> Self {
        let ds = self.names.len().max(1);
        let step = self.merged_step(factor);
        let groups = self.groups(factor) as usize;
        let first = self.group_end(1, step);
        let mut values = vec![f64::NAN; groups * ds];
        let mut counts = vec![0u64; groups * ds];
        for (i, row) in (1..).zip(self.values.chunks_exact(ds)) {
            let group = ((self.group_end(i, step) - first) / step) as usize;
            for (column, &value) in row.iter().enumerate().filter(|(_, value)| !value.is_nan()) {
                let (merged, count) = (&mut values[group * ds + column], &mut counts[group * ds + column]);
                *count += 1;
                *merged = match cf {
                    _ if *count == 1 => value,
                    Cf::Average => *merged + value,
                    Cf::Min => merged.min(value),
                    Cf::Max => merged.max(value),
                    Cf::Last => value,
                };
            }
        }
        if cf == Cf::Average {
            values.iter_mut().zip(counts).for_each(|(value, count)| *value /= count as f64);
        }
        let start = first.cast_signed().saturating_sub(step.cast_signed());
        let end = start.saturating_add((groups as u64 * step).cast_signed());
        Self { start, end, step, names: self.names.clone(), values }
    }

    /// The time of the group that row `i`, counted from 1, falls in.
    fn group_end(&self, i: u64, step: u64) -> u64 {
        (self.start.max(0).cast_unsigned() + i * self.step).div_ceil(step) * step
    }

    /// Far beyond all times at most, so that sums do not overflow.
    fn merged_step(&self, factor: u64) -> u64 {
        self.step.saturating_mul(factor).clamp(1, 1 << 60)
    }

    fn groups(&self, factor: u64) -> u64 {
        let rows = (self.values.len() / self.names.len().max(1)) as u64;
        let step = self.merged_step(factor);
        if rows == 0 { 0 } else { (self.group_end(rows, step) - self.group_end(1, step)) / step + 1 }
    }
}

pub(crate) fn push_row(row: &[u8], values: &mut Vec<f64>) {
    values.extend((0..row.len()).step_by(8).map(|at| double(row, at)));
}
