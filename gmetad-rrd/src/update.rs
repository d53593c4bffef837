//! The arithmetic of an update: no I/O, no clock. One point goes into the [`State`], rows to be written come out.
//!
//! The rules are those of rrdtool (`rrdcreate(1)`, "The HEARTBEAT and the STEP") as librrd >= 1.7.1 applies them, found by
//! comparing files; `tests/oracle.rs` holds both side by side.
//!
//! Different on purpose: a refused point changes nothing (librrd has by then stored the texts of the values before the bad
//! one, which costs a COUNTER its next difference); a last update with microseconds, which only other programs make,
//! is not carried over a split step (librrd counts its fraction twice).

use thiserror::Error;

use crate::format::{Cdp, Layout, NAN, Pdp, State, push_f64};
use crate::schema::{Cf, DsKind, DsSpec, RraSpec};
use crate::value::{Meaning, Point, Reading, ValueError, last_integer};

/// Why a point was refused; the state is then unchanged. The wording is librrd's where admins may search for it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum UpdateError {
    /// Not newer than the last one.
    #[error("illegal attempt to update using time {time} when last update time is {last} (minimum one second step)")]
    Past {
        /// The point's time.
        time: i64,
        /// The file's last update.
        last: i64,
    },
    /// Another number of values than data sources.
    #[error("expected {expected} data source readings (got {got}) at time {time}")]
    Count {
        /// Data sources of the file.
        expected: usize,
        /// Values of the point.
        got: usize,
        /// The point's time.
        time: i64,
    },
    /// A time no clock shows: negative, or after the year 10000.
    #[error("time {0} is not between 1970 and the year 10000: check the clock of the source")]
    Time(i64),
    /// A text that is no value.
    #[error(transparent)]
    Value(#[from] ValueError),
}

/// Rows to be written, gathered over one or more points. Reused between files: it keeps its memory.
#[derive(Debug, Default)]
pub struct Rows {
    /// Offset in the file, and where the row begins in `bytes`; in order of time.
    rows: Vec<(u64, usize)>,
    bytes: Vec<u8>,
    row_size: usize,
    /// Scratch of [`apply`]: values in, and PDPs made of them.
    readings: Vec<Reading>,
    values: Vec<f64>,
    pdps: Vec<f64>,
}

impl Rows {
    /// Forgets the rows.
    pub fn clear(&mut self) {
        self.rows.clear();
        self.bytes.clear();
    }

    /// Whether nothing is to be written but the header.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Calls `write` with offset and bytes of each run of adjoining rows, each offset once (the latest row wins).
    ///
    /// # Errors
    /// The first error of `write`; runs behind it are left out.
    pub fn runs<E>(&mut self, mut write: impl FnMut(u64, &[u8]) -> Result<(), E>) -> Result<(), E> {
        // Stable: rows at one offset stay in order of time.
        self.rows.sort_by_key(|&(offset, _)| offset);
        let row_size = self.row_size;
        let mut run: Vec<u8> = Vec::new();
        let mut start = 0;
        let mut rows = self.rows.iter().peekable();
        while let Some(&(offset, at)) = rows.next() {
            if rows.peek().is_some_and(|&&(next, _)| next == offset) {
                continue; // a later row at the same place
            }
            let row = &self.bytes[at..at + row_size];
            let joins = rows.peek().is_some_and(|&&(next, _)| next == offset + row_size as u64);
            if run.is_empty() && !joins {
                write(offset, row)?; // the usual case: one row of this archive, no copy
                continue;
            }
            if run.is_empty() {
                start = offset;
            }
            run.extend_from_slice(row);
            if !joins {
                write(start, &run)?;
                run.clear();
            }
        }
        Ok(())
    }

    fn push(&mut self, offset: u64, row: impl Iterator<Item = f64>) {
        self.rows.push((offset, self.bytes.len()));
        for value in row {
            push_f64(&mut self.bytes, value);
        }
    }
}

/// Takes one point into the state and appends the rows it completes.
///
/// # Errors
/// [`UpdateError`]; then nothing has changed.
pub fn apply(layout: &Layout, state: &mut State, point: Point<'_>, out: &mut Rows) -> Result<(), UpdateError> {
    let schema = layout.schema();
    let Point { time, values } = point;
    if values.len() != schema.ds.len() {
        return Err(UpdateError::Count { expected: schema.ds.len(), got: values.len(), time });
    }
    let last = state.last_update;
    if time <= last {
        return Err(UpdateError::Past { time, last });
    }
    if !(0..253_402_300_800).contains(&time) {
        return Err(UpdateError::Time(time));
    }
    out.row_size = schema.ds.len() * 8;
    let fraction = state.last_usec as f64 / 1e6;
    let interval = (time - last) as f64 - fraction;
    out.readings.clear();
    for (&value, ds) in values.iter().zip(&schema.ds) {
        // After a gap beyond the heartbeat the value cannot count, and like librrd we do not look at its text.
        let late = interval > ds.heartbeat as f64;
        out.readings.push(if late { Reading::unread(value) } else { Reading::of(value, ds.kind)? });
    }

    out.values.clear();
    for ((pdp, ds), reading) in state.pdp.iter_mut().zip(&schema.ds).zip(&out.readings) {
        out.values.push(gathered(ds, pdp, reading.meaning, interval));
        pdp.last_ds = reading.text.bytes();
    }

    let step = schema.step.cast_signed();
    let boundary = last - last % step + step;
    let on_boundary = last % step == 0 && state.last_usec == 0;
    if time - time % step > boundary && !on_boundary {
        // More than one step has passed since the middle of a step: that step is completed by itself first, so that its
        // earlier part does not spread over the steps that follow (librrd >= 1.7.1).
        let before = (boundary - last) as f64 - fraction;
        let whole = std::mem::take(&mut out.values);
        out.values = whole.iter().map(|value| value * before / interval).collect();
        advance(layout, state, boundary, out);
        let first = std::mem::replace(&mut out.values, whole);
        for (value, first) in out.values.iter_mut().zip(first) {
            *value -= first;
        }
    }
    advance(layout, state, time, out);
    Ok(())
}

/// Rate × seconds that a reading brings, or NaN.
fn gathered(ds: &DsSpec, pdp: &Pdp, meaning: Meaning, interval: f64) -> f64 {
    if interval > ds.heartbeat as f64 {
        return NAN;
    }
    let (amount, rate) = match meaning {
        Meaning::Unknown => return NAN,
        Meaning::Float(value) if ds.kind == DsKind::Gauge => (value * interval, value),
        Meaning::Float(value) => (value, value / interval),
        Meaning::Integer(now) => match last_integer(&pdp.last_ds).and_then(|last| now.since(last)) {
            None => return NAN,
            Some(difference) => {
                let amount = if ds.kind == DsKind::Counter { unwrapped(difference) } else { difference };
                (amount, amount / interval)
            }
        },
    };
    // With a limit of NaN (none) both comparisons are false.
    if rate > ds.max || rate < ds.min { NAN } else { amount }
}

/// A counter that fell has wrapped, at 32 bit or else at 64. librrd counts one less than the wrap at 32 bit would give.
fn unwrapped(difference: f64) -> f64 {
    const WRAP_32: f64 = 4_294_967_295.0;
    const WRAP_64: f64 = 18_446_744_069_414_584_320.0; // 2^64 - 2^32, on top of the first
    if difference >= 0.0 {
        difference
    } else if difference + WRAP_32 >= 0.0 {
        difference + WRAP_32
    } else {
        difference + WRAP_32 + WRAP_64
    }
}

/// Takes `out.values`, gathered since the last update, to `time`.
fn advance(layout: &Layout, state: &mut State, time: i64, out: &mut Rows) {
    let schema = layout.schema();
    let step = schema.step.cast_signed();
    let last = state.last_update;
    let fraction = state.last_usec as f64 / 1e6;
    let interval = (time - last) as f64 - fraction;
    let (first_step, now_step) = (last / step, time / step);
    let elapsed = (now_step - first_step).cast_unsigned();

    if elapsed == 0 {
        for (pdp, &new) in state.pdp.iter_mut().zip(&out.values) {
            if new.is_nan() {
                pdp.unknown_sec = pdp.unknown_sec.saturating_add(interval as u64);
            } else {
                pdp.value = plus(pdp.value, new);
            }
        }
    } else {
        let before = (now_step * step - last) as f64 - fraction;
        let after = (time - now_step * step) as f64;
        out.pdps.clear();
        for ((pdp, ds), &new) in state.pdp.iter_mut().zip(&schema.ds).zip(&out.values) {
            out.pdps.push(complete(pdp, ds, new, interval, before, after, schema.step, elapsed));
        }
        let first_step = first_step.cast_unsigned();
        for (index, rra) in schema.rras.iter().enumerate() {
            consolidate(layout, state, index, rra, first_step, elapsed, out);
        }
    }
    state.last_update = time;
    state.last_usec = 0;
}

/// Completes the PDP in progress (and `elapsed - 1` like it), begins the next, and returns the completed one.
#[allow(clippy::too_many_arguments)] // times that belong together, used once
fn complete(
    pdp: &mut Pdp,
    ds: &DsSpec,
    new: f64,
    interval: f64,
    before: f64,
    after: f64,
    step: u64,
    elapsed: u64,
) -> f64 {
    let mut unknown = 0.0;
    if new.is_nan() {
        unknown = before;
    } else {
        let gathered = if pdp.value.is_nan() { 0.0 } else { pdp.value };
        pdp.value = gathered + new / interval * before;
    }
    let dead = interval > ds.heartbeat as f64 || pdp.unknown_sec as f64 > step as f64 / 2.0;
    let completed = if dead { NAN } else { pdp.value / ((elapsed * step) as f64 - pdp.unknown_sec as f64 - unknown) };
    if new.is_nan() {
        pdp.unknown_sec = after as u64;
        pdp.value = NAN;
    } else {
        pdp.unknown_sec = 0;
        pdp.value = new / interval * after;
    }
    completed
}

/// Takes `elapsed` PDPs, all of the value in `out.pdps`, into one archive.
fn consolidate(
    layout: &Layout,
    state: &mut State,
    index: usize,
    rra: &RraSpec,
    first_step: u64,
    elapsed: u64,
    out: &mut Rows,
) {
    let room = rra.steps - first_step % rra.steps;
    let rows = if elapsed < room { 0 } else { (elapsed - room) / rra.steps + 1 };
    let ds = layout.schema().ds.len();
    let cdps = index * ds..(index + 1) * ds;
    for (cdp, &pdp) in state.cdp[cdps.clone()].iter_mut().zip(&out.pdps) {
        if rra.steps == 1 {
            cdp.primary = pdp;
            if rows > 1 {
                cdp.secondary = pdp;
            }
        } else if rows == 0 {
            gather(cdp, rra.cf, pdp, elapsed);
        } else {
            finish_row(cdp, rra, pdp, room, (elapsed - room) % rra.steps);
        }
    }
    // The first row is the primary value, all others the secondary. An archive goes round once at most, as in librrd: its
    // oldest row then holds the primary value, and the current row stays.
    let rows = rows.min(rra.rows);
    for number in 0..rows {
        let row = (state.cur_row[index] + 1 + number) % rra.rows;
        let value = |cdp: &Cdp| if number == 0 { cdp.primary } else { cdp.secondary };
        out.push(layout.row_offset(index, row), state.cdp[cdps.clone()].iter().map(value));
    }
    state.cur_row[index] = (state.cur_row[index] + rows) % rra.rows;
}

/// Takes `count` like PDPs into an unfinished row.
fn gather(cdp: &mut Cdp, cf: Cf, pdp: f64, count: u64) {
    if pdp.is_nan() {
        cdp.unknown = cdp.unknown.saturating_add(count);
    } else {
        cdp.value = match cf {
            Cf::Average => plus(cdp.value, pdp * count as f64),
            Cf::Min if cdp.value.is_nan() || pdp < cdp.value => pdp,
            Cf::Max if cdp.value.is_nan() || pdp > cdp.value => pdp,
            Cf::Min | Cf::Max => cdp.value,
            Cf::Last => pdp,
        };
    }
}

/// Completes a row with `room` PDPs and begins the next with `rest`.
fn finish_row(cdp: &mut Cdp, rra: &RraSpec, pdp: f64, room: u64, rest: u64) {
    gather(cdp, rra.cf, pdp, room);
    cdp.secondary = pdp;
    cdp.primary = if cdp.unknown as f64 > rra.steps as f64 * rra.xff {
        NAN
    } else {
        match rra.cf {
            Cf::Average => plus(cdp.value, 0.0) / rra.steps.saturating_sub(cdp.unknown) as f64,
            Cf::Min | Cf::Max => cdp.value,
            Cf::Last => pdp, // unknown, if the last PDP is, whatever came before
        }
    };
    let carried = rest > 0 && !pdp.is_nan();
    cdp.value = match rra.cf {
        Cf::Average if carried => pdp * rest as f64,
        _ if carried => pdp,
        Cf::Average => 0.0,
        Cf::Min => f64::INFINITY,
        Cf::Max => f64::NEG_INFINITY,
        Cf::Last => NAN,
    };
    cdp.unknown = if pdp.is_nan() { rest } else { 0 };
}

/// The sum of a value that may still be unknown and a known one. Not `0 + more`, which would lose the sign of -0.
fn plus(sum: f64, more: f64) -> f64 {
    if sum.is_nan() { more } else { sum + more }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format;
    use crate::schema::Schema;
    use crate::value::Value;
    use proptest::prelude::*;

    fn layout(kind: DsKind) -> Layout {
        let rra = |cf, steps, rows| RraSpec { cf, xff: 0.5, steps, rows };
        let rras = [rra(Cf::Average, 1, 5), rra(Cf::Average, 3, 4), rra(Cf::Min, 2, 3), rra(Cf::Last, 4, 2)];
        Layout::new(Schema::summary(10, kind, DsKind::Gauge, &rras)).unwrap()
    }

    /// The file's bytes after the rows and the state were written.
    fn written(layout: &Layout, state: &State, rows: &mut Rows, mut file: Vec<u8>) -> Vec<u8> {
        let mut put = |at: usize, bytes: &[u8]| file[at..at + bytes.len()].copy_from_slice(bytes);
        rows.runs(|at, bytes| {
            put(at as usize, bytes);
            Ok::<(), ()>(())
        })
        .unwrap();
        let mut header = Vec::new();
        layout.encode_state(state, &mut header);
        put(layout.state_start(), &header);
        file
    }

    fn text() -> impl Strategy<Value = String> {
        prop_oneof!["[0-9]{1,4}", "-?[0-9]{1,40}", Just("U".to_owned()), "[-+0-9.eEinfa ]{0,8}", "\\PC{0,40}"]
    }

    fn kind() -> impl Strategy<Value = DsKind> {
        prop::sample::select(vec![DsKind::Gauge, DsKind::Counter, DsKind::Derive, DsKind::Absolute])
    }

    proptest! {
        #[test]
        fn points_together_are_the_same_as_one_by_one(
            kind in kind(),
            points in prop::collection::vec((-3i64..90, text(), text()), 1..40),
        ) {
            let layout = layout(kind);
            let (image, _) = layout.image(1_000_000_007, 3);
            let (_, mut one_by_one) = format::parse(&image, image.len() as u64).unwrap();
            let (mut together, mut file) = (one_by_one.clone(), image.clone());
            let (mut some, mut all) = (Rows::default(), Rows::default());
            let mut time = 1_000_000_007;
            for (interval, a, b) in &points {
                time += interval;
                let values = [Value::Text(a), Value::Text(b)];
                let point = Point { time, values: &values };
                some.clear();
                let before = one_by_one.clone();
                let result = apply(&layout, &mut one_by_one, point, &mut some);
                if result.is_err() {
                    prop_assert!(some.is_empty() && format!("{before:?}") == format!("{one_by_one:?}"), "refused, yet changed");
                }
                prop_assert_eq!(result, apply(&layout, &mut together, point, &mut all));
                file = written(&layout, &one_by_one, &mut some, file);
                prop_assert!(one_by_one.cur_row.iter().zip(&layout.schema().rras).all(|(&row, rra)| row < rra.rows));
            }
            prop_assert!(file == written(&layout, &together, &mut all, image));
        }

        #[test]
        fn no_damaged_header_makes_it_panic(
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..30),
            intervals in prop::collection::vec(prop_oneof![1i64..100, 1i64..300_000_000_000], 1..5),
        ) {
            let layout = layout(DsKind::Counter);
            let (mut image, _) = layout.image(1_000_000_007, 3);
            for (at, byte) in changes {
                let at = 24 + at.index(layout.header_size() - 24);
                image[at] = byte;
            }
            let Ok((layout, mut state)) = format::parse(&image, u64::MAX) else { return Ok(()) };
            if layout.file_size() > 1 << 20 {
                return Ok(());
            }
            let mut rows = Rows::default();
            let values = vec![Value::Text("5"); layout.schema().ds.len()];
            for interval in intervals {
                let point = Point { time: state.last_update.saturating_add(interval), values: &values };
                let _ = apply(&layout, &mut state, point, &mut rows);
            }
        }

        /// A gauge that never changes gives rows of that value wherever a row is known.
        #[test]
        fn a_constant_gauge_stays_constant(intervals in prop::collection::vec(1i64..100, 1..60), value in -1000i32..1000) {
            let layout = layout(DsKind::Gauge);
            let (image, _) = layout.image(1_000_000_007, 3);
            let (_, mut state) = format::parse(&image, image.len() as u64).unwrap();
            let (mut rows, mut time) = (Rows::default(), 1_000_000_007);
            for interval in intervals {
                time += interval;
                let values = [Value::Number(value.into()); 2];
                apply(&layout, &mut state, Point { time, values: &values }, &mut rows).unwrap();
            }
            let file = written(&layout, &state, &mut rows, image);
            for at in (layout.header_size()..file.len()).step_by(8) {
                let stored = format::double(&file, at);
                prop_assert!(stored.is_nan() || (stored - f64::from(value)).abs() <= 1e-9 * f64::from(value).abs());
            }
        }
    }
}
