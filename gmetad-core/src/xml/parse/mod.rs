//! A document of gmond or gmetad, as it arrives, to the next snapshot of its source.
//!
//! Elements are handled wherever they stand, as the C daemon does (reference 4.1); damage costs the element it is in.

mod attributes;
mod grid;
mod host;
mod metric;

use std::collections::HashMap;
use std::sync::Arc;

use grid::{KnownMetrics, OpenGrid};
use metric::{Learning, MetricText};

use super::saved;
use super::tags::{Tag, TagError, TagKind, TagSink, TagStream};
use crate::limits;
use crate::model::{
    ClusterBuilder, Grid, HostAttrs, HostBuilder, Interner, PollContext, Room, UnixTime, without_expired,
};
use crate::source::{PollReport, SourceSnapshot};

/// How documents are understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseOptions {
    /// `scalable`: keep only the sum of a GRID. Off: every CLUSTER inside counts as if it stood alone.
    pub scalable: bool,
    /// Understands each element anew and recognises none by its text. For the tests that compare both ways.
    #[doc(hidden)]
    pub plain: bool,
}

impl Default for ParseOptions {
    fn default() -> Self {
        Self { scalable: true, plain: false }
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
    /// It is a tree that an earlier process saved, see [`super::saved`].
    saved: bool,
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

/// Buffers that are used for each element again.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    host: HostBuilder,
    host_attrs: HostAttrs,
    metric: MetricText,
    known: KnownMetrics,
}

impl Scratch {
    /// The poll is over.
    pub(crate) fn rest(&mut self) {
        self.host.rest();
    }

    /// The document was not taken: what it brought is forgotten.
    pub(crate) fn forget(&mut self) {
        self.known.forget();
    }
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
        interner.set_saved(false);
        if scratch.known.start_document() {
            interner.expect_waste();
        }
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
            saved: false,
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

    /// A reader of a tree that was `polled` and saved by an earlier process.
    pub(crate) fn saved(interner: &'a mut Interner, scratch: &'a mut Scratch, polled: UnixTime) -> Self {
        // It has nothing but what the source's snapshot had, in which a GRID is a sum already.
        static OPTIONS: ParseOptions = ParseOptions { scalable: true, plain: false };
        let context = PollContext { now: polled, round: PollContext::SAVED };
        let mut parser = Self::new(&OPTIONS, interner, scratch, None, context);
        parser.state.saved = true;
        parser.state.interner.set_saved(true);
        parser
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
        if self.options.plain || self.scratch.metric.open {
            return 0;
        }
        match (self.host, &mut self.grid) {
            (InHost::OfCluster, _) if self.up || self.saved => {
                self.scratch.host.recognise(input, self.saved, &mut self.room)
            }
            (InHost::OfGrid, Some(grid)) => self.scratch.known.recognise(input, grid),
            _ => 0,
        }
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
            saved::ABSENT if self.saved => self.scratch.host.next_is_absent(),
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
