//! A host with its metrics at one poll.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::shape::Shape;
use super::{MetricDef, UnixTime};

/// A number that names one series (a metric of a host of a source, or of a summary) for as long as it lives, so that
/// sinks can keep handles instead of building paths. Never used twice in one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SeriesId(pub(crate) u64);

impl SeriesId {
    /// The number itself.
    pub fn get(self) -> u64 {
        self.0
    }

    /// Takes `n` numbers that nobody had; returns the first.
    pub(crate) fn take(n: usize) -> u64 {
        // One counter for the process: unique across sources and stores without either knowing the other.
        static NEXT: AtomicU64 = AtomicU64::new(1);
        NEXT.fetch_add(n as u64, Ordering::Relaxed)
    }
}

/// The series ids of a host's slots: mostly one run.
#[derive(Clone, Debug)]
pub(crate) enum SeriesIds {
    Run(u64),
    List(Arc<[u64]>),
}

impl SeriesIds {
    pub(crate) fn get(&self, slot: usize) -> u64 {
        match self {
            Self::Run(first) => first + slot as u64,
            Self::List(list) => list[slot],
        }
    }

    pub(crate) fn from_list(list: Vec<u64>) -> Self {
        match list.first() {
            Some(first) if list.iter().enumerate().any(|(i, id)| *id != first + i as u64) => Self::List(list.into()),
            Some(first) => Self::Run(*first),
            None => Self::Run(0),
        }
    }
}

/// What seldom changes of a host.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct HostDef {
    pub(crate) name: Box<str>,
    pub(crate) ip: Box<str>,
    pub(crate) location: Box<str>,
    pub(crate) tags: Box<str>,
}

/// What a metric says at one poll. Sixteen bytes and its text.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cell {
    pub(crate) number: f64,
    /// TN at the host's `polled` time.
    pub(crate) tn: u32,
    /// Where its VAL ends in the host's text, 27 bits; how many decimals it has, 4 bits; the highest bit marks a metric
    /// that was not in the last poll.
    packed: u32,
}

const END: u32 = (1 << 27) - 1;
const DECIMALS: u32 = 15;
const STALE: u32 = 1 << 31;

/// What a host's text may have: what a poll brought, and as much that is kept of earlier ones.
const _: () = assert!(2 * crate::limits::HOST_BYTES <= END as usize);

impl Cell {
    pub(crate) fn new(number: f64, tn: u32, end: usize, decimals: u8, fresh: bool) -> Self {
        let decimals = u32::from(decimals).min(DECIMALS) << 27;
        Self { number, tn, packed: end as u32 & END | decimals | if fresh { 0 } else { STALE } }
    }

    fn end(self) -> usize {
        (self.packed & END) as usize
    }

    /// Digits behind the dot of a value that is summed and printed with them; 0 for types without.
    pub(crate) fn decimals(self) -> u8 {
        (self.packed >> 27 & DECIMALS) as u8
    }

    pub(crate) fn is_fresh(self) -> bool {
        self.packed & STALE == 0
    }
}

/// A host of a cluster. Opaque: read it through its accessors.
#[derive(Debug)]
pub struct Host {
    parts: HostParts,
}

/// What a [`Host`] is made of.
#[derive(Debug)]
pub(crate) struct HostParts {
    pub(crate) def: Arc<HostDef>,
    pub(crate) shape: Arc<Shape>,
    pub(crate) ids: SeriesIds,
    pub(crate) cells: Box<[Cell]>,
    pub(crate) text: Box<str>,
    pub(crate) reported: u32,
    /// TN at `polled`.
    pub(crate) tn: u32,
    pub(crate) tmax: u32,
    pub(crate) dmax: u32,
    pub(crate) gmond_started: u32,
    /// When its values were polled.
    pub(crate) polled: UnixTime,
    /// The round of its source that last had it.
    pub(crate) round: u64,
    pub(crate) up: bool,
}

impl Host {
    pub(crate) fn new(parts: HostParts) -> Self {
        Self { parts }
    }

    pub(crate) fn parts(&self) -> &HostParts {
        &self.parts
    }

    /// NAME.
    pub fn name(&self) -> &str {
        &self.parts.def.name
    }

    /// IP as the source says it.
    pub fn ip(&self) -> &str {
        &self.parts.def.ip
    }

    /// LOCATION; `unspecified` if there was none.
    pub fn location(&self) -> &str {
        &self.parts.def.location
    }

    /// TAGS; `unspecified` if there were none.
    pub fn tags(&self) -> &str {
        &self.parts.def.tags
    }

    /// REPORTED: seconds since the epoch on the host's own clock.
    pub fn reported(&self) -> u32 {
        self.parts.reported
    }

    /// TN at `now`: seconds since the host was heard of.
    pub fn tn(&self, now: UnixTime) -> u32 {
        aged(self.parts.tn, self.parts.polled, now)
    }

    /// TMAX: seconds between reports, at most.
    pub fn tmax(&self) -> u32 {
        self.parts.tmax
    }

    /// DMAX: seconds after which the host disappears; 0 is never.
    pub fn dmax(&self) -> u32 {
        self.parts.dmax
    }

    /// GMOND_STARTED: seconds since the epoch.
    pub fn gmond_started(&self) -> u32 {
        self.parts.gmond_started
    }

    /// Whether the host was up at the last poll that had it (reference 4.5).
    pub fn is_up(&self) -> bool {
        self.parts.up
    }

    /// When its values were polled.
    pub fn polled(&self) -> UnixTime {
        self.parts.polled
    }

    /// Whether the host is to be removed at `now` (reference 3.8).
    pub fn is_expired(&self, now: UnixTime) -> bool {
        self.parts.dmax != 0 && self.tn(now) > self.parts.dmax
    }

    /// Its metrics, those that are no longer reported included.
    pub fn metrics(&self) -> impl ExactSizeIterator<Item = Metric<'_>> {
        (0..self.parts.cells.len()).map(|slot| Metric { host: &self.parts, slot })
    }

    /// The metric of that name.
    pub fn metric(&self, name: &str) -> Option<Metric<'_>> {
        self.parts.shape.slot(name, 0).map(|slot| Metric { host: &self.parts, slot })
    }

    pub(crate) fn metric_at(&self, slot: usize) -> Option<Metric<'_>> {
        (slot < self.parts.cells.len()).then_some(Metric { host: &self.parts, slot })
    }
}

/// TN or age `tn` of the moment `polled`, at `now`.
fn aged(tn: u32, polled: UnixTime, now: UnixTime) -> u32 {
    (i64::from(tn) + (now - polled)).clamp(0, i64::from(u32::MAX)) as u32
}

/// A metric of a host.
#[derive(Clone, Copy, Debug)]
pub struct Metric<'a> {
    host: &'a HostParts,
    slot: usize,
}

impl<'a> Metric<'a> {
    /// NAME.
    pub fn name(&self) -> &'a str {
        self.def().name()
    }

    /// What seldom changes: TYPE, UNITS, SLOPE, `EXTRA_DATA`, …
    pub fn def(&self) -> &'a MetricDef {
        &self.host.shape.defs()[self.slot]
    }

    /// VAL, decoded.
    pub fn value(&self) -> &'a str {
        let start = match self.slot.checked_sub(1) {
            Some(before) => self.host.cells[before].end(),
            None => 0,
        };
        &self.host.text[start..self.cell().end()]
    }

    /// VAL as a C `strtod` reads it; 0 for types that are not numeric.
    pub fn number(&self) -> f64 {
        self.cell().number
    }

    /// TN at `now`: seconds since the metric was reported.
    pub fn tn(&self, now: UnixTime) -> u32 {
        aged(self.cell().tn, self.host.polled, now)
    }

    /// Whether the last poll of its host had it.
    pub fn is_fresh(&self) -> bool {
        self.cell().is_fresh()
    }

    /// Whether the metric is hidden at `now`: DMAX is not 0 and TN is beyond it.
    pub fn is_expired(&self, now: UnixTime) -> bool {
        let dmax = self.def().dmax();
        dmax != 0 && self.tn(now) > dmax
    }

    /// The id of its series.
    pub fn series(&self) -> SeriesId {
        SeriesId(self.host.ids.get(self.slot))
    }

    pub(crate) fn cell(&self) -> Cell {
        self.host.cells[self.slot]
    }
}
