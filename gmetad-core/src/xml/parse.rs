//! A document of gmond or gmetad, as it arrives, to the next snapshot of its source.
//!
//! Elements are handled wherever they stand, as the C daemon does (reference 4.1); damage costs the element it is in.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use quick_xml::events::attributes::Attribute;

use super::escape::{is_damaged, unescape};
use super::recognise::InputText;
use super::tags::{Tag, TagError, TagKind, TagSink, TagStream};
use crate::limits;
use crate::model::{
    ClusterAttrs, ClusterBuilder, Grid, HostAttrs, HostBuilder, Interner, MetricAttrs, MetricType, PollContext, Room,
    c_number, c_unsigned, decimals, without_expired,
};
use crate::source::{PollReport, SourceSnapshot};
use crate::summary::{Addend, Adder};

/// How documents are understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseOptions {
    /// `scalable`: keep only the sum of a GRID. Off: every CLUSTER inside counts as if it stood alone.
    pub scalable: bool,
}

impl Default for ParseOptions {
    fn default() -> Self {
        Self { scalable: true }
    }
}

/// Why a document was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DocumentError {
    /// It cannot be cut into tags.
    #[error(transparent)]
    Tag(#[from] TagError),
    /// The source closed the connection without sending anything.
    #[error("no element found: the answer is empty")]
    Empty,
    /// Not a document of Ganglia.
    #[error("no GANGLIA_XML element in {0} bytes: is this the XML port of a gmond or gmetad?")]
    NotGanglia(u64),
    /// The end is missing.
    #[error("the document ends at byte {0} without </GANGLIA_XML>: the source closed the connection too early")]
    Truncated(u64),
}

/// An element that was left out of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// The element and why it was left out or mended.
    pub what: String,
    /// The host it belongs to; empty outside hosts.
    pub host: String,
    /// Bytes of the document before it.
    pub offset: u64,
}

/// Reads one document. Made for each poll; the [`Interner`] and the buffers live with the reader.
pub(crate) struct DocumentParser<'a> {
    stream: TagStream,
    state: State<'a>,
}

struct State<'a> {
    options: &'a ParseOptions,
    interner: &'a mut Interner,
    scratch: &'a mut Scratch,
    before: Option<&'a SourceSnapshot>,
    context: PollContext,
    report: PollReport,
    room: Room,

    root: Root,
    /// VERSION is below 2.5.
    old: bool,
    /// Open GRIDs; the outermost one is summed.
    grids: u64,
    grid: Option<OpenGrid>,
    /// The open CLUSTER outside grids.
    cluster: Option<usize>,
    /// Open CLUSTERs, also within grids.
    host: InHost,
    /// The open host of a cluster is up.
    up: bool,
    /// The open metric, as long as its text may be kept to know it again.
    learning: Option<Learning>,
    clusters: Vec<ClusterBuilder>,
    by_name: HashMap<String, usize>,
    done_grids: Vec<Arc<Grid>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Root {
    Missing,
    Open,
    Closed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum InHost {
    No,
    /// Its metrics are not wanted: it is down, or has no name, or there is no room.
    Ignored,
    OfCluster,
    OfGrid,
}

struct OpenGrid {
    name: String,
    authority: String,
    localtime: u32,
    adder: Adder,
    before: Option<Arc<Grid>>,
}

/// Where things stand in the text of a METRIC.
struct Learning {
    /// Bytes of the document before it.
    offset: u64,
    /// VAL and TN, from there.
    val: Range<usize>,
    tn: Range<usize>,
    /// Elements skipped and mended when it began.
    damage: (u64, u64),
}

/// Buffers that are used for each element again.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    host: HostBuilder,
    host_attrs: HostAttrs,
    metric: MetricText,
}

/// The METRIC that is being read.
#[derive(Debug, Default)]
struct MetricText {
    open: bool,
    name: String,
    val: String,
    units: String,
    slope: String,
    source: String,
    kind: Option<MetricType>,
    tn: u32,
    tmax: u32,
    dmax: u32,
    extra: Vec<(Range<usize>, Range<usize>)>,
    extra_text: String,
}

impl<'a> DocumentParser<'a> {
    pub(crate) fn new(
        options: &'a ParseOptions,
        interner: &'a mut Interner,
        scratch: &'a mut Scratch,
        before: Option<&'a SourceSnapshot>,
        context: PollContext,
    ) -> Self {
        scratch.metric.open = false;
        let state = State {
            options,
            interner,
            scratch,
            before,
            context,
            report: PollReport::default(),
            room: Room::besides(before.into_iter().flat_map(SourceSnapshot::clusters)),
            root: Root::Missing,
            old: false,
            grids: 0,
            grid: None,
            cluster: None,
            host: InHost::No,
            up: false,
            learning: None,
            clusters: Vec::new(),
            by_name: HashMap::new(),
            done_grids: Vec::new(),
        };
        Self { stream: TagStream::default(), state }
    }

    /// Takes the next bytes.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Result<(), DocumentError> {
        Ok(self.stream.push(bytes, &mut self.state)?)
    }

    /// Bytes taken so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.stream.bytes()
    }

    /// The snapshot, if the document is whole.
    pub(crate) fn finish(mut self) -> Result<SourceSnapshot, DocumentError> {
        let bytes = self.bytes();
        match self.state.root {
            Root::Missing if bytes == 0 => return Err(DocumentError::Empty),
            Root::Missing => return Err(DocumentError::NotGanglia(bytes)),
            Root::Open => return Err(DocumentError::Truncated(bytes)),
            Root::Closed => {}
        }
        self.state.close_grids();
        self.state.report.bytes = bytes;
        Ok(self.state.into_snapshot())
    }
}

impl TagSink for State<'_> {
    fn recognise(&mut self, input: &[u8]) -> usize {
        if self.host != InHost::OfCluster || !self.up || self.scratch.metric.open {
            return 0;
        }
        let Some((slot, metric)) = self.scratch.host.recognise(input) else { return 0 };
        // Without room it is cut and understood as any other, and refused by name.
        if self.scratch.host.recognised(slot, &metric, &mut self.room) { metric.len } else { 0 }
    }

    fn tag(&mut self, tag: &Tag<'_>) {
        let close = tag.kind == TagKind::Close;
        if !matches!(tag.name(), "METRIC" | "EXTRA_DATA" | "EXTRA_ELEMENT") {
            // What is in between may mean more than the metric says.
            self.learning = None;
        }
        match tag.name() {
            "METRIC" => {
                let learning = if tag.kind == TagKind::Close { self.learning.take() } else { None };
                self.end_metric(learning.map(|learning| (learning, tag)));
                if !close {
                    self.start_metric(tag);
                }
                if tag.kind == TagKind::Empty {
                    let learning = self.learning.take();
                    self.end_metric(learning.map(|learning| (learning, tag)));
                }
            }
            "EXTRA_ELEMENT" if !close && self.scratch.metric.open => self.extra_element(tag),
            "HOST" => {
                self.end_host();
                if !close {
                    self.start_host(tag);
                }
                if tag.kind == TagKind::Empty {
                    self.end_host();
                }
            }
            "METRICS" if !close => self.summed_metric(tag),
            "HOSTS" if !close => self.summed_hosts(tag),
            "CLUSTER" => {
                self.end_cluster();
                if !close {
                    self.start_cluster(tag);
                }
                if tag.kind == TagKind::Empty {
                    self.end_cluster();
                }
            }
            "GRID" if self.options.scalable => match tag.kind {
                TagKind::Open => self.start_grid(tag),
                // Nested and empty: it neither begins nor ends anything.
                TagKind::Empty if self.grids > 0 || self.cluster.is_some() => {}
                TagKind::Empty => {
                    self.start_grid(tag);
                    self.end_grid();
                }
                TagKind::Close => self.end_grid(),
            },
            "GANGLIA_XML" if close => {
                self.end_cluster();
                if self.root == Root::Open {
                    self.root = Root::Closed;
                }
            }
            "GANGLIA_XML" => self.start_root(tag),
            _ => {}
        }
    }
}

impl State<'_> {
    fn start_root(&mut self, tag: &Tag<'_>) {
        // Also `<GANGLIA_XML …/>`: no daemon sends that, but damage can make it of something longer.
        self.root = Root::Open;
        let old = &mut self.old;
        self.report.attributes(tag, "", |key, value| {
            if key == "VERSION" {
                // Text, not number, as in C.
                *old = value.as_bytes().iter().take(3).lt(b"2.5".iter());
            }
        });
    }

    fn start_grid(&mut self, tag: &Tag<'_>) {
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
        let before = self.before.and_then(|before| before.grids().find(|grid| grid.name() == name)).cloned();
        let authority = authority.unwrap_or_else(|| "unspecified".to_owned());
        self.grid = Some(OpenGrid { name, authority, localtime, adder: Adder::default(), before });
    }

    fn end_grid(&mut self) {
        self.end_cluster();
        self.grids = self.grids.saturating_sub(1);
        if self.grids == 0 {
            self.close_grids();
        }
    }

    fn close_grids(&mut self) {
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
            summary: Arc::new(open.adder.finish()),
            polled: self.context.now,
        };
        self.done_grids.retain(|done| done.name != grid.name);
        self.done_grids.push(Arc::new(grid));
    }

    fn start_cluster(&mut self, tag: &Tag<'_>) {
        if self.grid.is_some() {
            return;
        }
        let mut attrs = ClusterAttrs::default();
        let mut named = false;
        self.report.attributes(tag, "", |key, value| match key {
            "NAME" => {
                value.clone_into(&mut attrs.name);
                named = true;
            }
            "LOCALTIME" => attrs.localtime = Some(c_unsigned(value)),
            "OWNER" => attrs.owner = Some(value.to_owned()),
            "LATLONG" => attrs.latlong = Some(value.to_owned()),
            "URL" => attrs.url = Some(value.to_owned()),
            _ => {}
        });
        if !named {
            self.report.mended("CLUSTER without NAME, taken as \"unspecified\"", "", tag.offset);
            attrs.name = "unspecified".to_owned();
        }
        self.open_cluster(attrs, tag.offset);
    }

    fn open_cluster(&mut self, attrs: ClusterAttrs, offset: u64) {
        if let Some(at) = self.by_name.get(&attrs.name) {
            self.cluster = Some(*at);
            self.clusters[*at].reopen(attrs);
            return;
        }
        if self.done_grids.len() + self.clusters.len() >= limits::CLUSTERS_PER_SOURCE {
            self.report.skipped("CLUSTER over the limit of a source", "", offset);
            return;
        }
        let before = self.before.and_then(|before| before.clusters().find(|c| c.name() == attrs.name)).cloned();
        self.by_name.insert(attrs.name.clone(), self.clusters.len());
        self.cluster = Some(self.clusters.len());
        self.clusters.push(ClusterBuilder::new(attrs, before));
    }

    fn end_cluster(&mut self) {
        self.end_host();
        self.cluster = None;
    }

    fn start_host(&mut self, tag: &Tag<'_>) {
        let attrs = &mut self.scratch.host_attrs;
        attrs.name.clear();
        attrs.ip.clear();
        (attrs.reported, attrs.tn, attrs.tmax, attrs.dmax, attrs.gmond_started) = (0, 0, 0, None, None);
        let (mut location, mut tags) = (false, false);
        let set = |to: &mut Option<String>, value: &str| value.clone_into(to.get_or_insert_default());
        let whole = self.report.attributes(tag, "", |key, value| match key {
            "NAME" => value.clone_into(&mut attrs.name),
            "IP" => value.clone_into(&mut attrs.ip),
            "REPORTED" => attrs.reported = c_unsigned(value),
            "TN" => attrs.tn = c_unsigned(value),
            "TMAX" => attrs.tmax = c_unsigned(value),
            "DMAX" => attrs.dmax = Some(c_unsigned(value)),
            "GMOND_STARTED" => attrs.gmond_started = Some(c_unsigned(value)),
            "LOCATION" => {
                set(&mut attrs.location, value);
                location = true;
            }
            "TAGS" => {
                set(&mut attrs.tags, value);
                tags = true;
            }
            _ => {}
        });
        if !location {
            attrs.location = None;
        }
        if !tags {
            attrs.tags = None;
        }
        self.host = InHost::Ignored;
        if !whole {
            // Half of its attributes would make it a host that is down: what is known of it says more.
            return;
        }
        if attrs.name.is_empty() {
            self.report.skipped("HOST without NAME", "", tag.offset);
            return;
        }
        if let Some(grid) = &mut self.grid {
            let up = attrs.is_up(grid.localtime, self.old);
            grid.adder.add_hosts(u64::from(up), u64::from(!up));
            if up {
                self.host = InHost::OfGrid;
            }
            return;
        }
        let cluster = match self.cluster {
            Some(cluster) => cluster,
            None => {
                // A gmond without a `cluster` section sends hosts like this.
                let name = "unspecified".to_owned();
                match self.by_name.get(&name) {
                    Some(known) => self.cluster = Some(*known),
                    None => self.open_cluster(ClusterAttrs { name, ..ClusterAttrs::default() }, tag.offset),
                }
                match self.cluster {
                    Some(cluster) => cluster,
                    None => return,
                }
            }
        };
        let attrs = &self.scratch.host_attrs;
        let cluster = &self.clusters[cluster];
        if cluster.is_new(&attrs.name) && !self.room.host() {
            self.report.skipped("HOST over the limit of a source", &attrs.name, tag.offset);
            return;
        }
        cluster.start_host(&attrs.name, &mut self.scratch.host);
        self.host = InHost::OfCluster;
        self.up = self.host_is_up();
    }

    /// Whether the open host of a cluster is up; LOCALTIME 0 or none means our own time.
    fn host_is_up(&self) -> bool {
        let localtime = self.cluster.map_or(0, |at| self.clusters[at].localtime());
        let localtime = if localtime == 0 { self.context.now.clamp(0, i64::from(u32::MAX)) as u32 } else { localtime };
        self.scratch.host_attrs.is_up(localtime, self.old)
    }

    fn end_host(&mut self) {
        self.end_metric(None);
        if self.host == InHost::OfCluster
            && let Some(at) = self.cluster
        {
            let Scratch { host, host_attrs, .. } = &mut *self.scratch;
            let metrics = self.clusters[at].finish_host(host, host_attrs, self.up, self.context, self.interner);
            self.report.hosts += 1;
            self.report.metrics += metrics as u64;
        }
        self.host = InHost::No;
    }

    fn start_metric(&mut self, tag: &Tag<'_>) {
        let metric = &mut self.scratch.metric;
        metric.clear();
        let (mut has_name, mut has_val, mut type_seen) = (false, false, false);
        let (mut val, mut tn) = (None, None);
        let damage = (self.report.skipped, self.report.mended);
        let host = match self.host {
            InHost::No => "",
            _ => self.scratch.host_attrs.name.as_str(),
        };
        let whole = self.report.attributes(tag, host, |key, value| match key {
            "NAME" => {
                value.clone_into(&mut metric.name);
                has_name = !value.is_empty();
            }
            "VAL" => {
                value.clone_into(&mut metric.val);
                has_val = true;
                val = tag.position(value);
            }
            "TYPE" => {
                metric.kind = MetricType::from_name(value);
                type_seen = true;
            }
            "UNITS" => value.clone_into(&mut metric.units),
            "TN" => {
                metric.tn = c_unsigned(value);
                tn = tag.position(value);
            }
            "TMAX" => metric.tmax = c_unsigned(value),
            "DMAX" => metric.dmax = c_unsigned(value),
            "SLOPE" => value.clone_into(&mut metric.slope),
            "SOURCE" => value.clone_into(&mut metric.source),
            _ => {}
        });
        let refusal = if !whole {
            return;
        } else if self.host == InHost::No {
            "METRIC outside a HOST"
        } else if !has_name {
            "METRIC without NAME"
        } else if !has_val {
            "METRIC without VAL"
        } else if !type_seen {
            "METRIC without TYPE"
        } else if metric.kind.is_none() {
            "METRIC of a TYPE that Ganglia does not have"
        } else {
            metric.open = self.host != InHost::Ignored && (metric.dmax == 0 || metric.tn <= metric.dmax);
            self.learning = match (val, tn) {
                (Some(val), Some(tn)) => Some(Learning { offset: tag.offset, val, tn, damage }),
                _ => None,
            };
            return;
        };
        self.report.skipped(refusal, host, tag.offset);
    }

    fn extra_element(&mut self, tag: &Tag<'_>) {
        let metric = &mut self.scratch.metric;
        if metric.extra.len() >= limits::EXTRA_ELEMENTS {
            return;
        }
        let (mut name, mut val) = (None, None);
        let text = &mut metric.extra_text;
        self.report.attributes(tag, &self.scratch.host_attrs.name, |key, value| {
            let mut keep = || {
                text.push_str(value);
                Some(text.len() - value.len()..text.len())
            };
            match key {
                "NAME" => name = keep(),
                "VAL" => val = keep(),
                _ => {}
            }
        });
        if let (Some(name), Some(val)) = (name, val) {
            metric.extra.push((name, val));
        }
    }

    /// Ends the open metric, if there is one. At its own end tag the text from its beginning may be learned.
    fn end_metric(&mut self, text: Option<(Learning, &Tag<'_>)>) {
        let Scratch { host, metric, .. } = &mut *self.scratch;
        let (true, Some(kind)) = (std::mem::take(&mut metric.open), metric.kind) else { return };
        let attrs = MetricAttrs {
            name: &metric.name,
            kind,
            units: &metric.units,
            slope: if metric.slope.is_empty() { "unspecified" } else { &metric.slope },
            source: if metric.source.is_empty() { "gmond" } else { &metric.source },
            tmax: metric.tmax,
            dmax: metric.dmax,
        };
        match (self.host, &mut self.grid) {
            // The metrics of a host that is down are ignored: its old ones stay and age (reference 4.5).
            (InHost::OfCluster, _) if self.up => {
                let extra_text = &metric.extra_text;
                let extra =
                    metric.extra.iter().map(|(name, val)| (&extra_text[name.clone()], &extra_text[val.clone()]));
                let Some(def) = host.metric(&attrs, &metric.val, metric.tn, extra, self.interner, &mut self.room)
                else {
                    self.report.skipped("METRIC over the limits of a host or source", &self.scratch.host_attrs.name, 0);
                    return;
                };
                if let Some((learning, end)) = text
                    && learning.damage == (self.report.skipped, self.report.mended)
                {
                    def.learn(|| InputText::new(end.input_from(learning.offset)?, learning.val, learning.tn));
                }
            }
            (InHost::OfGrid, Some(grid)) if kind.is_numeric() => {
                let decimals = if kind.is_float() { decimals(&metric.val) } else { 0 };
                let OpenGrid { adder, before, .. } = grid;
                adder.add(
                    &Addend {
                        name: attrs.name,
                        units: attrs.units,
                        slope: attrs.slope,
                        source: attrs.source,
                        sum: c_number(&metric.val),
                        num: 1,
                        decimals,
                    },
                    before.as_ref().map(|grid| grid.summary()),
                );
            }
            _ => {}
        }
    }

    fn summed_hosts(&mut self, tag: &Tag<'_>) {
        let Some(grid) = &mut self.grid else { return };
        let (mut up, mut down) = (0, 0);
        self.report.attributes(tag, "", |key, value| match key {
            "UP" => up = c_unsigned(value),
            "DOWN" => down = c_unsigned(value),
            _ => {}
        });
        grid.adder.add_hosts(up.into(), down.into());
    }

    fn summed_metric(&mut self, tag: &Tag<'_>) {
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
        let OpenGrid { adder, before, .. } = grid;
        adder.add(
            &Addend {
                name: &metric.name,
                units: &metric.units,
                slope: if metric.slope.is_empty() { "unspecified" } else { &metric.slope },
                source: if metric.source.is_empty() { "gmond" } else { &metric.source },
                sum,
                num: num.into(),
                decimals,
            },
            before.as_ref().map(|grid| grid.summary()),
        );
    }

    fn into_snapshot(self) -> SourceSnapshot {
        let context = self.context;
        let mut clusters: Vec<_> = self.clusters.into_iter().map(|builder| builder.finish(context)).collect();
        let mut grids = self.done_grids;
        // Clusters and grids that this document did not have stay as they are (reference 3.6).
        if let Some(before) = self.before {
            let absent = before.clusters().filter(|c| !self.by_name.contains_key(c.name()));
            clusters.extend(absent.map(|c| without_expired(c, context.now).map_or_else(|| Arc::clone(c), Arc::new)));
            let known: Vec<_> = grids.iter().map(|grid| Arc::clone(&grid.name)).collect();
            grids.extend(before.grids().filter(|grid| !known.contains(&grid.name)).cloned());
        }
        clusters.truncate(limits::CLUSTERS_PER_SOURCE);
        grids.truncate(limits::CLUSTERS_PER_SOURCE);
        SourceSnapshot { clusters, grids, polled: context.now, round: context.round, report: self.report }
    }
}

impl MetricText {
    fn clear(&mut self) {
        for text in
            [&mut self.name, &mut self.val, &mut self.units, &mut self.slope, &mut self.source, &mut self.extra_text]
        {
            text.clear();
        }
        self.extra.clear();
        self.open = false;
        self.kind = None;
        (self.tn, self.tmax, self.dmax) = (0, 0, 0);
    }
}

impl PollReport {
    /// Hands each attribute of `tag` to `each`, decoded. False if the element is too damaged to be used; it is
    /// counted and named then.
    fn attributes(&mut self, tag: &Tag<'_>, host: &str, mut each: impl FnMut(&str, &str)) -> bool {
        for attribute in tag.attributes() {
            let Attribute { key, value } = match attribute {
                Ok(attribute) => attribute,
                Err(error) => {
                    self.skipped(&format!("{}: {error}", tag.name()), host, tag.offset);
                    return false;
                }
            };
            if value.len() > limits::FIELD_BYTES {
                let what = format!("{}: {} is longer than {} bytes", tag.name(), key.0, limits::FIELD_BYTES);
                self.skipped(&what, host, tag.offset);
                return false;
            }
            if memchr::memchr2(b'&', b'<', value.as_bytes()).is_none() {
                each(key.0, &value);
                continue;
            }
            if is_damaged(value.as_bytes()) {
                self.mended(&format!("{}: {} holds a bare & or <, kept as text", tag.name(), key.0), host, tag.offset);
            }
            each(key.0, &unescape(&value));
        }
        true
    }

    fn skipped(&mut self, what: &str, host: &str, offset: u64) {
        self.skipped += 1;
        self.describe(what, host, offset);
    }

    fn mended(&mut self, what: &str, host: &str, offset: u64) {
        self.mended += 1;
        self.describe(what, host, offset);
    }

    fn describe(&mut self, what: &str, host: &str, offset: u64) {
        if self.described.len() < limits::SKIPS_DESCRIBED {
            self.described.push(Skipped { what: what.to_owned(), host: host.to_owned(), offset });
        }
    }
}
