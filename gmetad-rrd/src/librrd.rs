//! The same operations through librrd and the `rrd` crate (feature `librrd`): the alternative writer, and the judge of
//! the native one. librrd is opened at the first call; without it every call returns an error that says so.
//!
//! Limits of the `rrd` crate: limits of COUNTER, DERIVE and ABSOLUTE must be whole and not negative; a text is passed on as
//! the number it stands for, so `1.0` counts as `1`; paths must be UTF-8.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use librrd_forward as _; // the symbols `rrd` links against
use rrd::ConsolidationFn;
use rrd::ops::create::{self, Archive, DataSource, DataSourceName};
use rrd::ops::info;
use rrd::ops::update::{self, BatchTime, Datum};

use crate::error::RrdError;
use crate::schema::{Cf, DsKind, DsSpec, RraSpec, Schema};
use crate::store::Backend;
use crate::update::UpdateError;
use crate::value::{Point, Value, ValueError};

type Batch = (BatchTime, Vec<Datum>);

/// Writes RRD files with librrd.
#[derive(Debug)]
pub struct LibrrdStore(());

impl LibrrdStore {
    /// A store, if librrd is there.
    ///
    /// # Errors
    /// The reason why it is not, with the remedy.
    pub fn new() -> Result<Self, String> {
        librrd_forward::available().map(Self)
    }
}

impl Backend for LibrrdStore {
    fn create(&mut self, path: &Path, schema: &Schema, start: i64) -> Result<(), RrdError> {
        schema.check().map_err(|e| RrdError::schema(path, e))?;
        if let Some(parent) = path.parent() {
            let made = DirBuilder::new().recursive(true).mode(0o755).create(parent);
            made.map_err(|e| RrdError::io("make the directory of", path, e))?;
        }
        let ds = schema.ds.iter().map(data_source).collect::<Result<Vec<_>, _>>().map_err(|e| failed(path, e))?;
        let rras = schema.rras.iter().map(archive).collect::<Result<Vec<_>, _>>().map_err(|e| failed(path, e))?;
        let step = Duration::from_secs(schema.step);
        // Never a template: the crate would pass a pointer to a string already freed.
        create::create(path, time(start), step, false, None, &[], &ds, &rras).map_err(|e| failed(path, e))
    }

    fn update(&mut self, path: &Path, points: &[Point<'_>]) -> Result<(), RrdError> {
        match path.metadata() {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Err(RrdError::Missing { path: path.to_owned() }),
            _ => {}
        }
        let mut refused = 0;
        let mut first: Option<RrdError> = None;
        let mut batches: Vec<Batch> = Vec::with_capacity(points.len());
        for point in points {
            match batch(point) {
                Ok(batch) => batches.push(batch),
                Err(source) => {
                    refused += 1;
                    first.get_or_insert(RrdError::Refused { path: path.to_owned(), refused, source: source.into() });
                }
            }
        }
        if !batches.is_empty() && update::update_all(path, update::Options::default(), &batches).is_err() {
            // librrd stopped at the first point it did not like; the others are offered one by one.
            let last = last_update(path)?;
            for batch in batches.into_iter().filter(|batch| !taken(batch, last)) {
                if let Err(e) = update::update_all(path, update::Options::default(), &[batch]) {
                    first.get_or_insert(failed(path, e));
                }
            }
            // All points were taken, or are as old as the file: the batch failed on one of those.
            if first.is_none() {
                let past = points.iter().find(|point| point.time <= last).map_or(0, |point| point.time);
                let source = UpdateError::Past { time: past, last };
                first = Some(RrdError::Refused { path: path.to_owned(), refused: 1, source });
            }
        }
        first.map_or(Ok(()), Err)
    }
}

fn batch(point: &Point<'_>) -> Result<Batch, ValueError> {
    let values = point.values.iter().map(|&value| datum(value)).collect::<Result<_, _>>()?;
    Ok((BatchTime::Timestamp(time(point.time)), values))
}

fn datum(value: Value<'_>) -> Result<Datum, ValueError> {
    match value {
        Value::Unknown => Ok(Datum::Unspecified),
        Value::Text(text) if text.starts_with('U') => Ok(Datum::Unspecified),
        Value::Number(number) => Ok(Datum::Float(number)),
        Value::Text(text) => match (text.parse(), text.parse()) {
            (Ok(integer), _) => Ok(Datum::Int(integer)),
            (_, Ok(number)) => Ok(Datum::Float(number)),
            _ => Err(ValueError::Float(text.chars().take(60).flat_map(char::escape_debug).collect())),
        },
    }
}

fn taken(batch: &Batch, last: i64) -> bool {
    matches!(batch.0, BatchTime::Timestamp(at) if at <= time(last))
}

fn last_update(path: &Path) -> Result<i64, RrdError> {
    let info = info::info(path).map_err(|e| failed(path, e))?;
    let last = info.get("last_update").cloned().and_then(info::InfoValue::into_count);
    Ok(last.unwrap_or_default().cast_signed())
}

fn time(seconds: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds.max(0).cast_unsigned())
}

fn data_source(ds: &DsSpec) -> Result<DataSource, rrd::error::RrdError> {
    let name = DataSourceName::new(ds.name.as_str())?;
    let heartbeat = u32::try_from(ds.heartbeat).unwrap_or(u32::MAX);
    if ds.kind == DsKind::Gauge {
        let limit = |limit: f64| (!limit.is_nan()).then_some(limit);
        return Ok(DataSource::gauge(&name, heartbeat, limit(ds.min), limit(ds.max)));
    }
    let whole = |limit: f64| match limit {
        _ if limit.is_nan() => Ok(None),
        _ if limit.fract() == 0.0 && (0.0..1e18).contains(&limit) => Ok(Some(limit as u64)),
        _ => Err(rrd::error::RrdError::InvalidArgument(format!(
            "limit {limit} of data source {}: the rrd crate takes whole limits from 0 only; use the native writer",
            ds.name
        ))),
    };
    let (min, max) = (whole(ds.min)?, whole(ds.max)?);
    Ok(match ds.kind {
        DsKind::Counter => DataSource::counter(&name, heartbeat, min, max),
        DsKind::Derive => DataSource::derive(&name, heartbeat, min, max),
        DsKind::Absolute | DsKind::Gauge => DataSource::absolute(&name, heartbeat, min, max),
    })
}

fn archive(rra: &RraSpec) -> Result<Archive, rrd::error::RrdError> {
    let cf = match rra.cf {
        Cf::Average => ConsolidationFn::Avg,
        Cf::Min => ConsolidationFn::Min,
        Cf::Max => ConsolidationFn::Max,
        Cf::Last => ConsolidationFn::Last,
    };
    let small = |n: u64| u32::try_from(n).unwrap_or(u32::MAX); // both are bounded far below
    Ok(Archive::new(cf, rra.xff, small(rra.steps), small(rra.rows))?)
}

fn failed(path: &Path, error: rrd::error::RrdError) -> RrdError {
    let text = match error {
        rrd::error::RrdError::LibRrdError(text) => text,
        other => other.to_string(),
    };
    // librrd begins most texts with the path, as Display of our error does.
    let prefix = format!("{}: ", path.display());
    let text = text.strip_prefix(&prefix).map(str::to_owned).unwrap_or(text);
    RrdError::Librrd { path: path.to_owned(), text }
}
