//! GRIDs of other gmetads: everything inside is added up.

use std::collections::HashMap;
use std::sync::Arc;

use super::super::recognise::{InputText, Printed, plain_name};
use super::super::tags::Tag;
use super::State;
use crate::limits;
use crate::model::{Definition, Grid, Interner, MetricAttrs, MetricDef, MetricType, c_number, c_unsigned, decimals};
use crate::summary::{Addend, Adder};

/// The outermost GRID that is open.
pub(super) struct OpenGrid {
    pub(super) name: String,
    pub(super) authority: String,
    pub(super) localtime: u32,
    pub(super) adder: Adder,
    pub(super) before: Option<Arc<Grid>>,
}

/// The metrics of hosts in grids as they came last: the next host's are probably like them, and need not be understood
/// again to be added.
#[derive(Debug, Default)]
pub(crate) struct KnownMetrics {
    known: Vec<Known>,
    by_name: HashMap<Box<str>, usize>,
    next: usize,
    rendered: Vec<u8>,
    /// What they take, about.
    bytes: usize,
    grid: u64,
    document: u64,
}

#[derive(Debug)]
struct Known {
    def: Arc<MetricDef>,
    /// The grid it was added up in last, and where.
    entry: Option<(u64, usize)>,
    /// How often it was another one since.
    misses: u32,
    /// The document in which it was last seen.
    used: u64,
}

impl KnownMetrics {
    /// Another grid begins.
    fn start_grid(&mut self) {
        self.grid += 1;
    }

    /// Another document begins, after one that was taken, or not: what that had not, or what it brought, is forgotten.
    /// Whether there was such.
    pub(crate) fn start_document(&mut self) -> bool {
        self.document += 1;
        let last = self.document - 1;
        if self.known.iter().all(|known| known.used == last) {
            return false;
        }
        self.known.retain(|known| known.used == last);
        self.by_name = self.known.iter().enumerate().map(|(at, known)| (known.def.name().into(), at)).collect();
        self.bytes = self.known.iter().map(|known| cost(&known.def)).sum();
        true
    }

    /// The document was not taken.
    pub(crate) fn forget(&mut self) {
        (self.known, self.by_name, self.bytes) = (Vec::new(), HashMap::new(), 0);
    }

    /// A host begins.
    pub(super) fn start_host(&mut self) {
        self.next = 0;
    }

    /// Adds up the metric that `input` begins with, if it is a known one. Returns how many bytes it has; otherwise 0.
    pub(super) fn recognise(&mut self, input: &[u8], grid: &mut OpenGrid) -> usize {
        let expected = self.next;
        let recognised = |at: usize| Some((at, self.known.get(at)?.def.recognise(input)?));
        let by_name = || plain_name(input).and_then(|name| self.by_name.get(name).copied());
        let Some((at, metric)) =
            recognised(expected).or_else(|| by_name().filter(|at| *at != expected).and_then(recognised))
        else {
            return 0;
        };
        self.next = at + 1;
        let Known { def, entry, misses, used } = &mut self.known[at];
        (*misses, *used) = (0, self.document);
        if !def.kind().is_numeric() || (def.dmax() != 0 && metric.tn > def.dmax()) {
            return metric.len;
        }
        let (sum, digits) = match metric.decimal {
            Some(decimal) => (decimal.number, decimal.decimals),
            None => {
                let text = str::from_utf8(metric.val).unwrap_or_default();
                (c_number(text), decimals(text))
            }
        };
        let digits = if def.kind().is_float() { digits } else { 0 };
        match *entry {
            Some((in_grid, entry)) if in_grid == self.grid => grid.adder.add_to(entry, sum, 1, digits),
            _ => {
                let (units, slope, source) = (def.units(), def.slope_text(), def.source());
                let value = Addend {
                    name: def.name(),
                    units: &units,
                    slope: &slope,
                    source: &source,
                    sum,
                    num: 1,
                    decimals: digits,
                };
                *entry = grid.add(&value).map(|entry| (self.grid, entry));
            }
        }
        metric.len
    }

    /// Keeps a metric that was not recognised, unless it is not worth it: such as changes from host to host.
    pub(super) fn keep<'e>(
        &mut self,
        attrs: &MetricAttrs<'_>,
        extra: impl Iterator<Item = (&'e str, &'e str)>,
        entry: Option<usize>,
        learn: impl FnOnce(Printed<'_>) -> Option<InputText>,
        interner: &mut Interner,
    ) {
        let known = self.by_name.get(attrs.name).copied();
        if let Some(at) = known {
            self.next = at + 1;
            let Known { misses, used, .. } = &mut self.known[at];
            *misses = misses.saturating_add(1);
            *used = self.document;
            if *misses > 4 && !misses.is_power_of_two() {
                return;
            }
        }
        let parts = attrs.render(&mut self.rendered, extra);
        let cost = 2 * self.rendered.len() + KNOWN_COST;
        let freed = known.map_or(0, |at| self::cost(&self.known[at].def));
        if self.bytes - freed + cost > limits::GRID_METRICS_BYTES {
            return;
        }
        self.bytes = self.bytes - freed + cost;
        let def = interner.def(attrs, &self.rendered, parts, learn);
        let entry = entry.map(|entry| (self.grid, entry));
        match known {
            Some(at) => {
                self.known[at].def = def;
                self.known[at].entry = entry;
            }
            None => {
                self.by_name.insert(attrs.name.into(), self.known.len());
                self.known.push(Known { def, entry, misses: 0, used: self.document });
                self.next = self.known.len();
            }
        }
    }
}

/// Bytes that a known metric takes beside its text.
const KNOWN_COST: usize = 256;

/// What a known metric takes: its text as it is printed, and, at most, as it came.
fn cost(def: &MetricDef) -> usize {
    2 * def.rendered().len() + KNOWN_COST
}

impl OpenGrid {
    /// Adds a value; where it is summed.
    pub(super) fn add(&mut self, value: &Addend<'_>) -> Option<usize> {
        self.adder.add(value, self.before.as_ref().map(|grid| grid.summary()))
    }
}

impl State<'_> {
    pub(super) fn start_grid(&mut self, tag: &Tag<'_>) {
        self.end_cluster();
        self.grids += 1;
        if self.grids > 1 {
            return;
        }
        let (mut name, mut authority, mut localtime) = (None, None, 0);
        self.report.attributes(tag, "", |key, value| match key {
            "NAME" => name = Some(value.to_owned()),
            "AUTHORITY" => authority = Some(value.to_owned()),
            "LOCALTIME" => localtime = c_unsigned(value),
            _ => {}
        });
        let name = name.unwrap_or_else(|| {
            self.report.mended("GRID without NAME, taken as \"unspecified\"", "", tag.offset);
            "unspecified".to_owned()
        });
        self.scratch.known.start_grid();
        let before = self.before.and_then(|before| before.grids().find(|grid| grid.name() == name)).cloned();
        let authority = authority.unwrap_or_else(|| "unspecified".to_owned());
        self.grid = Some(OpenGrid { name, authority, localtime, adder: Adder::default(), before });
    }

    pub(super) fn end_grid(&mut self) {
        self.end_cluster();
        self.grids = self.grids.saturating_sub(1);
        if self.grids == 0 {
            self.close_grids();
        }
    }

    pub(super) fn close_grids(&mut self) {
        self.grids = 0;
        let Some(open) = self.grid.take() else { return };
        if self.done_grids.len() + self.clusters.len() >= limits::CLUSTERS_PER_SOURCE {
            self.report.skipped("GRID over the limit of a source", &open.name, 0);
            return;
        }
        let grid = Grid {
            name: open.name.into(),
            authority: open.authority.into(),
            localtime: open.localtime,
            summary: Arc::new(open.adder.finish(open.before.as_ref().map(|grid| grid.summary()))),
            polled: self.context.now,
        };
        self.done_grids.retain(|done| done.name != grid.name);
        self.done_grids.push(Arc::new(grid));
    }

    pub(super) fn summed_hosts(&mut self, tag: &Tag<'_>) {
        let Some(grid) = &mut self.grid else { return };
        let (mut up, mut down) = (0, 0);
        self.report.attributes(tag, "", |key, value| match key {
            "UP" => up = c_unsigned(value),
            "DOWN" => down = c_unsigned(value),
            _ => {}
        });
        grid.adder.add_hosts(up.into(), down.into());
    }

    pub(super) fn summed_metric(&mut self, tag: &Tag<'_>) {
        let Some(grid) = &mut self.grid else { return };
        let metric = &mut self.scratch.metric;
        metric.clear();
        let (mut sum, mut num, mut kind) = (None, 0, None);
        let whole = self.report.attributes(tag, "", |key, value| match key {
            "NAME" => value.clone_into(&mut metric.name),
            "SUM" => sum = Some((c_number(value), decimals(value))),
            "NUM" => num = c_unsigned(value),
            "TYPE" => kind = MetricType::from_name(value),
            "UNITS" => value.clone_into(&mut metric.units),
            "SLOPE" => value.clone_into(&mut metric.slope),
            "SOURCE" => value.clone_into(&mut metric.source),
            _ => {}
        });
        let (true, false, Some((sum, decimals)), true) =
            (whole, metric.name.is_empty(), sum, kind.is_none_or(MetricType::is_numeric))
        else {
            self.report.skipped("METRICS without NAME, SUM or a numeric TYPE", "", tag.offset);
            return;
        };
        grid.add(&Addend {
            name: &metric.name,
            units: &metric.units,
            slope: if metric.slope.is_empty() { "unspecified" } else { &metric.slope },
            source: if metric.source.is_empty() { "gmond" } else { &metric.source },
            sum,
            num: num.into(),
            decimals,
        });
    }
}
