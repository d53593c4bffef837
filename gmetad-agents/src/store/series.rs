//! Rows of a file for a graph.

use std::cmp::Reverse;
use std::path::Path;

use gmetad_core::model::UnixTime;
use gmetad_rrd::fetch::Fetched;
use gmetad_rrd::{Cf, RraSpec, RrdError, View};

/// Most rows that a graph gets.
const MOST: usize = 20_000;

/// Rows between two times, at most `rows`, from the archive that fits best. What no archive can have any more, and what has
/// not come yet, is cut off; where that archive has nothing yet, a finer one answers for the time that it has. `None`: no such file, or no archive of that function.
pub(super) fn series(
    path: &Path,
    cf: Cf,
    start: UnixTime,
    end: UnixTime,
    rows: usize,
) -> Result<Option<Fetched>, RrdError> {
    let view = match View::open(path) {
        Err(RrdError::Missing { .. }) => return Ok(None),
        other => other?,
    };
    let schema = view.layout().schema();
    let serves = |rra: &RraSpec| rra.cf == cf || rra.steps == 1;
    let archives: Vec<usize> = (0..schema.rras.len()).filter(|archive| serves(&schema.rras[*archive])).collect();
    let step =
        |archive: usize| i64::try_from(schema.step.saturating_mul(schema.rras[archive].steps)).unwrap_or(i64::MAX);
    let longest = archives.iter().map(|archive| step(*archive)).max().unwrap_or(1);
    // A request may ask for all times there are: rows that no archive has are not to be made of nothing.
    let oldest = archives.iter().filter_map(|archive| view.first(*archive)).min().unwrap_or(0);
    let start = start.max(oldest.saturating_sub(longest));
    let end = end.min(view.last().saturating_add(longest)).max(start);
    let rows = rows.clamp(2, MOST);
    let resolution = u64::try_from(end - start).unwrap_or(0).div_ceil(rows as u64).max(1);
    let Some(mut fetched) = view.fetch(cf, start, end, resolution)? else { return Ok(None) };
    let is_empty = |fetched: &Fetched| fetched.values.iter().all(|value| value.is_nan());
    if is_empty(&fetched) {
        // A file that is younger than one coarse row has something in its finer archives only.
        let mut finer = archives;
        finer.retain(|archive| step(*archive).unsigned_abs() < fetched.step);
        finer.sort_by_key(|archive| Reverse(step(*archive)));
        for archive in finer {
            let start = view.first(archive).map_or(start, |first| first.max(start));
            if let Some(found) = view.fetch_archive(archive, start, end)?.filter(|found| !is_empty(found)) {
                fetched = found;
                break;
            }
        }
    }
    Ok(Some(fetched.consolidate(cf, rows)))
}
