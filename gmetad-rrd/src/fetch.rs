//! Reading rows back: what `rrdtool fetch` prints (`rrdfetch(1)`).

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::error::RrdError;
use crate::format::double;
use crate::info::header;
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

/// Reads the archive of that CF which covers `start` to `end` (seconds since 1970) best at about `resolution` seconds a
/// row: of those that reach back to `start` the one nearest in resolution, else the one that reaches back the longest.
/// Archives of one PDP a row serve every CF, as in rrdtool. `Ok(None)`: the file has no archive for that CF, or `end` is before `start`, or the answer is over [`MAX_VALUES`].
///
/// # Errors
/// [`RrdError`] if the file cannot be read.
pub fn fetch(path: &Path, cf: Cf, start: i64, end: i64, resolution: u64) -> Result<Option<Fetched>, RrdError> {
    let (layout, state) = header(path)?;
    let schema = layout.schema();
    let span = |rra: &RraSpec| (schema.step * rra.steps).cast_signed();
    // The time of the newest and the oldest row of an archive.
    let newest = |rra: &RraSpec| state.last_update - state.last_update % span(rra);
    let oldest = |rra: &RraSpec| newest(rra).saturating_sub(span(rra).saturating_mul(rra.rows.cast_signed()));
    let (start, end) = (start.max(0), end.max(0));
    // Where a row is one PDP, all consolidation functions are the same.
    let candidates = || schema.rras.iter().enumerate().filter(|(_, rra)| rra.cf == cf || rra.steps == 1);
    let away = |rra: &RraSpec| (schema.step * rra.steps).abs_diff(resolution.max(1));
    let chosen = candidates()
        .filter(|(_, rra)| oldest(rra) <= start)
        .min_by_key(|(_, rra)| away(rra))
        .or_else(|| candidates().min_by_key(|(_, rra)| (oldest(rra).max(start), away(rra))));
    let Some((index, rra)) = chosen else { return Ok(None) };
    if end < start || end > 253_402_300_800 {
        return Ok(None);
    }
    let step = span(rra);
    let (first, last) = (start - start % step, end - end % step + step);
    let count = ((last - first) / step).cast_unsigned();
    let ds = schema.ds.len();
    if count.saturating_mul(ds as u64) > MAX_VALUES {
        return Ok(None);
    }
    let file = File::open(path).map_err(|e| RrdError::io("open", path, e))?;
    let mut archive = vec![0; (rra.rows as usize) * ds * 8];
    file.read_exact_at(&mut archive, layout.row_offset(index, 0)).map_err(|e| RrdError::io("read", path, e))?;
    let mut values = Vec::with_capacity(count as usize * ds);
    for row in 1..=count.cast_signed() {
        // How many rows before the newest one.
        let age = (newest(rra) - (first + row * step)) / step;
        if (0..rra.rows.cast_signed()).contains(&age) && first + row * step <= newest(rra) {
            let place = (state.cur_row[index] + rra.rows - age.cast_unsigned()) % rra.rows;
            values.extend((0..ds).map(|i| double(&archive, (place as usize * ds + i) * 8)));
        } else {
            values.extend(std::iter::repeat_n(f64::NAN, ds));
        }
    }
    let names = schema.ds.iter().map(|ds| ds.name.clone()).collect();
    Ok(Some(Fetched { start: first, end: last, step: step.cast_unsigned(), names, values }))
}
