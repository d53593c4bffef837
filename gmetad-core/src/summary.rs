//! Summaries: hosts → cluster or grid → root. Pure functions (invariant 3).
//!
//! Every metric of a numeric type on a host that is up adds its value to SUM and one to NUM of its name. A sum is
//! printed with the most decimals any of its values had.

use std::borrow::Cow;
use std::hash::BuildHasher;
use std::sync::Arc;

use hashbrown::HashTable;

use crate::limits;
use crate::model::{Definition, Host, MetricDef, SeriesId, Shape, Slope, summary_def};
use crate::xml::escape::escape_into;

/// What seldom changes of a summary metric, with its printed text around SUM and NUM.
#[derive(Debug)]
pub struct SummaryDef {
    name: Box<str>,
    /// `<METRICS NAME="…" SUM="` · `" TYPE="double" … </METRICS>` and a line feed.
    rendered: Box<[u8]>,
    head: u32,
    slope: Slope,
}

impl SummaryDef {
    /// The definition of these, kept once for all summaries.
    pub(crate) fn of<'e>(
        name: &str,
        units: &str,
        slope: &str,
        source: &str,
        extra: impl Iterator<Item = (&'e str, &'e str)>,
    ) -> Arc<Self> {
        let mut out = Vec::with_capacity(1024);
        out.extend_from_slice(b"<METRICS NAME=\"");
        escape_into(&mut out, name);
        out.extend_from_slice(b"\" SUM=\"");
        let head = out.len() as u32;
        out.extend_from_slice(b"\" TYPE=\"double\" UNITS=\"");
        escape_into(&mut out, units);
        out.extend_from_slice(b"\" SLOPE=\"");
        escape_into(&mut out, slope);
        out.extend_from_slice(b"\" SOURCE=\"");
        escape_into(&mut out, source);
        out.extend_from_slice(b"\">\n<EXTRA_DATA>\n");
        for (name, val) in extra {
            crate::model::render_extra(&mut out, name, val);
        }
        out.extend_from_slice(b"</EXTRA_DATA>\n</METRICS>\n");
        let make = || Self { name: name.into(), rendered: out.as_slice().into(), head, slope: Slope::from_name(slope) };
        summary_def(&out, name, make)
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn head(&self) -> &[u8] {
        &self.rendered[..self.head as usize]
    }

    pub(crate) fn tail(&self) -> &[u8] {
        &self.rendered[self.head as usize..]
    }
}

impl Definition for SummaryDef {
    fn rendered(&self) -> &[u8] {
        &self.rendered
    }
}

/// One metric of a summary.
#[derive(Clone, Debug)]
pub struct SummaryMetric {
    pub(crate) def: Arc<SummaryDef>,
    pub(crate) sum: f64,
    pub(crate) num: u64,
    pub(crate) decimals: u8,
    pub(crate) series: u64,
}

impl SummaryMetric {
    /// The same with nothing added yet.
    fn zero(&self) -> Self {
        Self { sum: 0.0, num: 0, decimals: 0, ..self.clone() }
    }

    /// NAME.
    pub fn name(&self) -> &str {
        &self.def.name
    }

    /// SUM of the values.
    pub fn sum(&self) -> f64 {
        self.sum
    }

    /// NUM: how many values were added; 0 if the metric is known but nobody reported it.
    pub fn num(&self) -> u64 {
        self.num
    }

    /// How many decimals the sum is printed with.
    pub fn decimals(&self) -> u8 {
        self.decimals
    }

    /// SUM as it is printed.
    pub fn sum_text(&self) -> String {
        let mut out = Vec::new();
        crate::model::write_fixed(&mut out, self.sum, self.decimals);
        String::from_utf8(out).unwrap_or_default()
    }

    /// SLOPE of the first metric of that name, as far as it has a meaning.
    pub fn slope(&self) -> Slope {
        self.def.slope
    }

    /// UNITS of the first metric of that name.
    pub fn units(&self) -> Cow<'_, str> {
        crate::model::attribute(self.def.tail(), b"UNITS=\"")
    }

    /// SLOPE of the first metric of that name, as it came.
    pub fn slope_text(&self) -> Cow<'_, str> {
        crate::model::attribute(self.def.tail(), b"SLOPE=\"")
    }

    /// SOURCE of the first metric of that name.
    pub fn source(&self) -> Cow<'_, str> {
        crate::model::attribute(self.def.tail(), b"SOURCE=\"")
    }

    /// The `EXTRA_ELEMENT`s of all metrics of that name, each pair once.
    pub fn extra(&self) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
        crate::model::extra_elements(self.def.tail())
    }

    /// The id of its series.
    pub fn series(&self) -> SeriesId {
        SeriesId(self.series)
    }
}

/// The summary of a cluster, a grid, or the root.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    hosts_up: u64,
    hosts_down: u64,
    metrics: Vec<SummaryMetric>,
    names: Arc<Names>,
    layout: Option<Arc<Layout>>,
    parts: Option<Arc<Parts>>,
}

impl Summary {
    /// Hosts that are up.
    pub fn hosts_up(&self) -> u64 {
        self.hosts_up
    }

    /// Hosts that are down.
    pub fn hosts_down(&self) -> u64 {
        self.hosts_down
    }

    /// The metrics in the order in which its hosts, or parts, have them.
    pub fn metrics(&self) -> &[SummaryMetric] {
        &self.metrics
    }

    /// Another SUM or NUM of a metric; `None` if there is no such metric.
    pub(crate) fn set(&mut self, name: &str, sum: Option<f64>, num: Option<u64>) -> Option<()> {
        let at = self.names.find(name, |i| &self.metrics[i].def.name)?;
        let metric = &mut self.metrics[at];
        metric.sum = sum.unwrap_or(metric.sum);
        metric.num = num.unwrap_or(metric.num);
        Some(())
    }

    /// The metric of that name.
    pub fn metric(&self, name: &str) -> Option<&SummaryMetric> {
        self.names.find(name, |i| &self.metrics[i].def.name).map(|i| &self.metrics[i])
    }
}

impl Summary {
    /// Adds what a part has; of one that does not count only how exact it is.
    fn add(&mut self, part: &Self, map: &[u32], counts: bool) {
        if counts {
            self.hosts_up = self.hosts_up.saturating_add(part.hosts_up);
            self.hosts_down = self.hosts_down.saturating_add(part.hosts_down);
        }
        for (metric, at) in part.metrics.iter().zip(map) {
            let Some(entry) = self.metrics.get_mut(*at as usize) else { continue };
            if counts {
                entry.sum += metric.sum;
                entry.num = entry.num.saturating_add(metric.num);
            }
            entry.decimals = entry.decimals.max(metric.decimals);
        }
    }
}

/// Names of a summary, to find entries by.
#[derive(Clone, Debug, Default)]
struct Names {
    table: HashTable<u32>,
    hasher: foldhash::fast::RandomState,
}

impl Names {
    fn find<'a>(&self, name: &str, name_of: impl Fn(usize) -> &'a str) -> Option<usize> {
        self.table.find(self.hasher.hash_one(name), |i| name_of(*i as usize) == name).map(|i| *i as usize)
    }

    fn insert<'a>(&mut self, name: &str, at: usize, name_of: impl Fn(usize) -> &'a str) {
        let hasher = &self.hasher;
        self.table.insert_unique(hasher.hash_one(name), at as u32, |i| hasher.hash_one(name_of(*i as usize)));
    }
}

/// How the slots of each shape of a cluster map to the entries of its summary. Kept from poll to poll while the
/// shapes stay the same, so that summing needs no name.
#[derive(Debug)]
struct Layout {
    shapes: Vec<Arc<Shape>>,
    /// For each shape, for each slot: the entry, or [`NONE`] for types that are not summed.
    maps: Vec<Box<[u32]>>,
    by_pointer: HashTable<(usize, u32)>,
}

const NONE: u32 = u32::MAX;

impl Layout {
    fn position(&self, shape: &Arc<Shape>, guess: usize) -> Option<usize> {
        if self.shapes.get(guess).is_some_and(|s| Arc::ptr_eq(s, shape)) {
            return Some(guess);
        }
        let key = Arc::as_ptr(shape) as usize;
        self.by_pointer.find(pointer_hash(key), |(p, _)| *p == key).map(|(_, i)| *i as usize)
    }
}

fn pointer_hash(pointer: usize) -> u64 {
    foldhash::fast::FixedState::default().hash_one(pointer)
}

/// The summary of hosts. `counted` tells whether a host was in the last poll; the others' metrics are listed, with
/// nothing added. `before` is the summary of the poll before, whose series ids go on.
pub(crate) fn of_hosts<'h>(hosts: impl Iterator<Item = (&'h Host, bool)> + Clone, before: Option<&Summary>) -> Summary {
    // Only if it is the one that would be made now: what is listed, and in which order, is a matter of these hosts alone.
    let usable = before.and_then(|b| b.layout.as_ref()).filter(|layout| {
        let (mut at, mut met) = (0, 0);
        let all_met = hosts.clone().all(|(host, _)| match layout.position(&host.parts().shape, at) {
            Some(i) if i <= met => {
                (at, met) = (i, met.max(i + 1));
                true
            }
            _ => false,
        });
        all_met && met == layout.shapes.len()
    });
    let mut summary = match (usable, before) {
        (Some(layout), Some(before)) => Summary {
            hosts_up: 0,
            hosts_down: 0,
            metrics: before.metrics.iter().map(SummaryMetric::zero).collect(),
            names: Arc::clone(&before.names),
            layout: Some(Arc::clone(layout)),
            parts: None,
        },
        _ => lay_out(hosts.clone(), before),
    };
    let Some(layout) = summary.layout.clone() else { return summary };
    let mut at = 0;
    for (host, counted) in hosts {
        if !counted {
            continue;
        }
        if !host.is_up() {
            summary.hosts_down += 1;
            continue;
        }
        summary.hosts_up += 1;
        let parts = host.parts();
        at = layout.position(&parts.shape, at).unwrap_or(at);
        for (cell, entry) in parts.cells.iter().zip(&layout.maps[at]) {
            if *entry == NONE || !cell.is_fresh() {
                continue;
            }
            let metric = &mut summary.metrics[*entry as usize];
            metric.sum += cell.number;
            metric.num += 1;
            metric.decimals = metric.decimals.max(cell.decimals());
        }
    }
    summary
}

/// The entries and their text, from the shapes; sums are zero.
fn lay_out<'h>(hosts: impl Iterator<Item = (&'h Host, bool)>, before: Option<&Summary>) -> Summary {
    let mut layout = Layout { shapes: Vec::new(), maps: Vec::new(), by_pointer: HashTable::new() };
    for (host, _) in hosts {
        let shape = &host.parts().shape;
        if layout.position(shape, layout.shapes.len().wrapping_sub(1)).is_none() {
            let key = Arc::as_ptr(shape) as usize;
            layout
                .by_pointer
                .insert_unique(pointer_hash(key), (key, layout.shapes.len() as u32), |(p, _)| pointer_hash(*p));
            layout.shapes.push(Arc::clone(shape));
        }
    }
    let mut entries: Vec<Entry> = Vec::new();
    let mut names = Names::default();
    for shape in &layout.shapes {
        let mut map = vec![NONE; shape.defs().len()];
        for (slot, def) in shape.defs().iter().enumerate().filter(|(_, def)| def.kind().is_numeric()) {
            let at = match names.find(def.name(), |i| entries[i].first.name()) {
                Some(at) => at,
                None if entries.len() >= limits::SUMMARY_METRICS => continue,
                None => {
                    entries.push(Entry { first: Arc::clone(def), last: std::ptr::null(), extra: Vec::new() });
                    let at = entries.len() - 1;
                    names.insert(def.name(), at, |i| entries[i].first.name());
                    at
                }
            };
            entries[at].add_extra(def);
            map[slot] = at as u32;
        }
        layout.maps.push(map.into());
    }
    let mut fresh_ids = FreshIds::new(entries.len());
    let metrics: Vec<_> = entries
        .iter()
        .map(|entry| {
            let def = &entry.first;
            SummaryMetric {
                def: SummaryDef::of(
                    def.name(),
                    &def.units(),
                    &def.slope_text(),
                    &def.source(),
                    entry.extra.iter().map(|(n, v)| (n.as_str(), v.as_str())),
                ),
                sum: 0.0,
                num: 0,
                decimals: 0,
                series: fresh_ids.id_of(before, def.name()),
            }
        })
        .collect();
    let names = names_like(before, &metrics, names);
    Summary { metrics, names, layout: Some(Arc::new(layout)), ..Summary::default() }
}

/// `before`'s names if it had the same entries, so that sums know it again by them.
fn names_like(before: Option<&Summary>, metrics: &[SummaryMetric], names: Names) -> Arc<Names> {
    let same = |(a, b): (&SummaryMetric, &SummaryMetric)| Arc::ptr_eq(&a.def, &b.def);
    let like =
        before.filter(|before| before.metrics.len() == metrics.len() && before.metrics.iter().zip(metrics).all(same));
    like.map_or_else(|| Arc::new(names), |before| Arc::clone(&before.names))
}

struct Entry {
    first: Arc<MetricDef>,
    /// The definition whose extra elements were added last: like hosts share theirs.
    last: *const MetricDef,
    extra: Vec<(String, String)>,
}

impl Entry {
    /// Unites pairs, compared without case, in order of appearance, SPOOF_HOST left out (reference 5.1).
    fn add_extra(&mut self, def: &Arc<MetricDef>) {
        if self.last == Arc::as_ptr(def) || self.extra.len() >= limits::SUMMARY_EXTRA_ELEMENTS {
            return;
        }
        self.last = Arc::as_ptr(def);
        for (name, val) in def.extra() {
            let known = self.extra.iter().any(|(n, v)| n.eq_ignore_ascii_case(&name) && v.eq_ignore_ascii_case(&val));
            if !known && name != "SPOOF_HOST" && self.extra.len() < limits::SUMMARY_EXTRA_ELEMENTS {
                self.extra.push((name.into_owned(), val.into_owned()));
            }
        }
    }
}

/// Series ids for names that had none before.
struct FreshIds {
    next: Option<u64>,
    room: usize,
}

impl FreshIds {
    fn new(room: usize) -> Self {
        Self { next: None, room }
    }

    fn id_of(&mut self, before: Option<&Summary>, name: &str) -> u64 {
        if let Some(known) = before.and_then(|b| b.metric(name)) {
            return known.series;
        }
        let id = *self.next.get_or_insert_with(|| SeriesId::take(self.room.max(1)));
        self.next = Some(id + 1);
        id
    }
}

/// Adds up values that come one by one, for grids: `HOST`s and `METRIC`s, `HOSTS` and `METRICS`.
#[derive(Debug, Default)]
pub(crate) struct Adder {
    summary: Summary,
    names: Names,
}

/// One value for an [`Adder`].
pub(crate) struct Addend<'a> {
    pub(crate) name: &'a str,
    pub(crate) units: &'a str,
    pub(crate) slope: &'a str,
    pub(crate) source: &'a str,
    pub(crate) sum: f64,
    pub(crate) num: u64,
    pub(crate) decimals: u8,
}

impl Adder {
    pub(crate) fn add_hosts(&mut self, up: u64, down: u64) {
        self.summary.hosts_up = self.summary.hosts_up.saturating_add(up);
        self.summary.hosts_down = self.summary.hosts_down.saturating_add(down);
    }

    /// Adds a value; its text is used if it is the first of its name. `before` as in [`of_hosts`]. Returns the entry of the
    /// name; `None` if there is no room for it.
    pub(crate) fn add(&mut self, value: &Addend<'_>, before: Option<&Summary>) -> Option<usize> {
        let metrics = &mut self.summary.metrics;
        let at = match self.names.find(value.name, |i| &metrics[i].def.name) {
            Some(at) => at,
            None if metrics.len() >= limits::SUMMARY_METRICS => return None,
            None => {
                let series = FreshIds::new(1).id_of(before, value.name);
                let def = before
                    .and_then(|b| b.metric(value.name))
                    .filter(|m| m.units() == value.units && m.slope_text() == value.slope && m.source() == value.source)
                    .map(|m| Arc::clone(&m.def));
                let def = def.unwrap_or_else(|| {
                    SummaryDef::of(value.name, value.units, value.slope, value.source, std::iter::empty())
                });
                metrics.push(SummaryMetric { def, sum: 0.0, num: 0, decimals: 0, series });
                let at = metrics.len() - 1;
                self.names.insert(value.name, at, |i| &metrics[i].def.name);
                at
            }
        };
        self.add_to(at, value.sum, value.num, value.decimals);
        Some(at)
    }

    /// Adds to an entry that is there.
    pub(crate) fn add_to(&mut self, entry: usize, sum: f64, num: u64, decimals: u8) {
        let metric = &mut self.summary.metrics[entry];
        metric.sum += sum;
        metric.num = metric.num.saturating_add(num);
        metric.decimals = metric.decimals.max(decimals);
    }

    /// `before` as in [`Adder::add`].
    pub(crate) fn finish(mut self, before: Option<&Summary>) -> Summary {
        self.summary.names = names_like(before, &self.summary.metrics, self.names);
        self.summary
    }
}

/// Which names enter the root summary.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RootRules {
    /// If not empty, only these exact names (`summarized_metrics`).
    pub only: Vec<String>,
}

/// How the entries of each part of a sum map to its own. Kept from sum to sum while the parts have the names they had.
#[derive(Debug)]
struct Parts {
    rules: RootRules,
    names: Vec<Arc<Names>>,
    /// For each part, for each entry: the root's, or [`NONE`] for what does not enter it.
    maps: Vec<Box<[u32]>>,
}

impl Parts {
    /// Of these parts; entries that are not there yet are added.
    fn new<'s>(
        parts: impl Iterator<Item = &'s Summary>,
        rules: RootRules,
        before: Option<&Summary>,
        metrics: &mut Vec<SummaryMetric>,
        names: &mut Arc<Names>,
    ) -> Self {
        let mut this = Self { rules, names: Vec::new(), maps: Vec::new() };
        for part in parts {
            let map = part.metrics.iter().map(|metric| {
                if !this.rules.only.is_empty() && !this.rules.only.iter().any(|n| n == metric.name()) {
                    return NONE;
                }
                match names.find(metric.name(), |i| &metrics[i].def.name) {
                    Some(at) => at as u32,
                    None if metrics.len() >= limits::SUMMARY_METRICS => NONE,
                    None => {
                        let series = FreshIds::new(1).id_of(before, metric.name());
                        metrics.push(SummaryMetric { series, ..metric.zero() });
                        let at = metrics.len() - 1;
                        Arc::make_mut(names).insert(metric.name(), at, |i| &metrics[i].def.name);
                        at as u32
                    }
                }
            });
            let map = map.collect();
            this.maps.push(map);
            this.names.push(Arc::clone(&part.names));
        }
        this
    }

    fn are<'s>(&self, parts: impl Iterator<Item = &'s Summary>, rules: &RootRules) -> bool {
        self.rules == *rules && parts.map(|part| Arc::as_ptr(&part.names)).eq(self.names.iter().map(Arc::as_ptr))
    }
}

/// The sum of summaries: the root. A name keeps the text of the first summary that has it, and each metric's series
/// id from `before`.
pub(crate) fn of_summaries<'s>(
    parts: impl Iterator<Item = (&'s Summary, bool)> + Clone,
    rules: &RootRules,
    before: Option<&Summary>,
) -> Summary {
    let summaries = parts.clone().map(|(part, _)| part);
    let mut root = like_before(summaries.clone(), rules, before).unwrap_or_else(|| {
        let (mut metrics, mut names) = (Vec::new(), Arc::default());
        let parts = Parts::new(summaries, rules.clone(), before, &mut metrics, &mut names);
        Summary { metrics, names, parts: Some(Arc::new(parts)), ..Summary::default() }
    });
    let Some(layout) = root.parts.clone() else { return root };
    for ((part, alive), map) in parts.zip(&layout.maps) {
        root.add(part, map, alive);
    }
    root
}

/// The summary of a cluster whose hosts come from several sources, none of them from two: that of the parts that count,
/// with what the others' metrics are listed, too. The text of an entry is that of all `hosts`, as in [`of_hosts`], when a part
/// got another name last.
pub(crate) fn of_parts<'s, 'h>(
    parts: impl Iterator<Item = (&'s Summary, bool)> + Clone,
    hosts: impl Iterator<Item = &'h Host>,
    before: Option<&Summary>,
) -> Summary {
    let summaries = parts.clone().map(|(part, _)| part);
    let rules = RootRules::default();
    let mut sum = like_before(summaries.clone(), &rules, before).unwrap_or_else(|| {
        let mut sum = lay_out(hosts.map(|host| (host, true)), before);
        let Summary { metrics, names, .. } = &mut sum;
        let parts = Parts::new(summaries, rules, before, metrics, names);
        (sum.layout, sum.parts) = (None, Some(Arc::new(parts)));
        sum
    });
    let Some(layout) = sum.parts.clone() else { return sum };
    for ((part, _), map) in parts.zip(&layout.maps).filter(|((_, counted), _)| *counted) {
        sum.add(part, map, true);
    }
    sum
}

/// `before` with nothing added, if its parts had the entries that they have now.
fn like_before<'s>(
    parts: impl Iterator<Item = &'s Summary>,
    rules: &RootRules,
    before: Option<&Summary>,
) -> Option<Summary> {
    let before = before?;
    before.parts.as_ref().filter(|known| known.are(parts, rules)).map(|known| Summary {
        hosts_up: 0,
        hosts_down: 0,
        metrics: before.metrics.iter().map(SummaryMetric::zero).collect(),
        names: Arc::clone(&before.names),
        layout: None,
        parts: Some(Arc::clone(known)),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::source::{GmondReader, ReaderOptions};

    const FIXED: &str = "<GANGLIA_XML VERSION=\"3.7.2\" SOURCE=\"gmond\"><CLUSTER NAME=\"c\">\
        <HOST NAME=\"z\" IP=\"\" REPORTED=\"0\" TN=\"1\" TMAX=\"20\"><METRIC NAME=\"b\" VAL=\"1\" TYPE=\"float\" TN=\"1\" TMAX=\"60\"/></HOST>\
        </CLUSTER></GANGLIA_XML>";

    /// Hosts that come and go, with metrics that do, and are not the same on all.
    fn any_poll() -> impl Strategy<Value = String> {
        let metric = ("[a-c]", 0..3u32, "u|v", 0..2u32).prop_map(|(name, val, units, dmax)| {
            let dmax = 20 * dmax;
            format!(
                "<METRIC NAME=\"{name}\" VAL=\"{val}.5\" TYPE=\"float\" UNITS=\"{units}\" TN=\"1\" TMAX=\"60\" DMAX=\"{dmax}\">\
                 <EXTRA_DATA><EXTRA_ELEMENT NAME=\"TITLE\" VAL=\"{units}{dmax}\"/></EXTRA_DATA></METRIC>"
            )
        });
        let host = ("[p-s]", 0..2u32, 0..100u32, prop::collection::vec(metric, 0..4)).prop_map(
            |(name, dmax, tn, metrics)| {
                let (dmax, metrics) = (20 * dmax, metrics.concat());
                format!("<HOST NAME=\"{name}\" IP=\"\" REPORTED=\"0\" TN=\"{tn}\" TMAX=\"20\" DMAX=\"{dmax}\">{metrics}</HOST>")
            },
        );
        prop::collection::vec(host, 0..5).prop_map(|hosts| {
            let hosts = hosts.concat();
            format!(
                "<GANGLIA_XML VERSION=\"3.7.2\" SOURCE=\"gmond\"><CLUSTER NAME=\"c\">{hosts}</CLUSTER></GANGLIA_XML>"
            )
        })
    }

    proptest! {
        /// What is kept from poll to poll saves time and is never seen.
        #[test]
        fn a_summary_is_a_matter_of_its_hosts(polls in prop::collection::vec(any_poll(), 1..8)) {
            let mut reader = GmondReader::new(Vec::new(), ReaderOptions::default());
            let mut before: Option<Summary> = None;
            let mut sums: Option<(Summary, Summary)> = None;
            let fixed = GmondReader::new(Vec::new(), ReaderOptions::default()).read_document(FIXED.as_bytes(), 1000).expect("whole");
            let fixed_cluster = fixed.clusters().next().expect("a cluster");
            let fixed = fixed_cluster.summary();
            for (poll, now) in polls.iter().zip((1000..).step_by(15)) {
                let snapshot = reader.read_document(poll.as_bytes(), now).expect("whole");
                let cluster = snapshot.clusters().next().expect("a cluster");
                let kept = cluster.summary();
                let anew = of_hosts(cluster.hosts().map(|host| (host, cluster.is_fresh(host))), None);
                let seen = |of: &Summary| {
                    let metric = |m: &SummaryMetric| (m.def.rendered().to_vec(), m.sum.to_bits(), m.num, m.decimals);
                    (of.hosts_up, of.hosts_down, of.metrics.iter().map(metric).collect::<Vec<_>>())
                };
                prop_assert_eq!(seen(kept), seen(&anew));
                for metric in kept.metrics() {
                    prop_assert_eq!(kept.metric(metric.name()).map(SummaryMetric::series), Some(metric.series()));
                    if let Some(old) = before.as_ref().and_then(|before| before.metric(metric.name())) {
                        prop_assert_eq!(old.series(), metric.series());
                    }
                }
                // And sums of them.
                let rules = RootRules::default();
                let parts = [fixed, kept];
                let root = |before| of_summaries(parts.iter().map(|part| (*part, true)), &rules, before);
                let merged = |before| {
                    let hosts = fixed_cluster.hosts().chain(cluster.hosts());
                    of_parts(parts.iter().map(|part| (*part, true)), hosts, before)
                };
                let kept_sums = (root(sums.as_ref().map(|(root, _)| root)), merged(sums.as_ref().map(|(_, merged)| merged)));
                prop_assert_eq!(seen(&kept_sums.0), seen(&root(None)));
                prop_assert_eq!(seen(&kept_sums.1), seen(&merged(None)));
                sums = Some(kept_sums);
                before = Some(kept.clone());
            }
        }
    }
}
