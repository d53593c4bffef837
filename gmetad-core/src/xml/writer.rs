//! The model to bytes, a piece at a time.

use std::sync::Arc;

use super::escape::escape_into;
use super::saved;
use crate::model::{Cluster, Grid, Host, UnixTime};
use crate::query::Query;
use crate::source::SourceSnapshot;
use crate::store::{GridStore, GridView, Item};
use crate::summary::Summary;

/// The XML declaration and document type that both daemons send: 2531 bytes.
pub const PROLOG: &[u8] = include_bytes!("prolog.xml");

/// VERSION of what we print; ganglia-web compares it.
pub const VERSION: &str = "3.7.2";

/// Whether a document is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Call again for more.
    More,
    /// That was all.
    Done,
}

/// Prints a query's answer, resumably: no more is made than was asked for.
#[derive(Debug)]
pub struct XmlWriter {
    grid: Views,
    query: Query,
    now: UnixTime,
    stage: Stage,
    /// Names of the clusters and grids to print.
    items: Vec<Arc<str>>,
    at: usize,
    /// The end tag of the item that is open.
    end: &'static [u8],
    /// For a file of our own, see [`saved`].
    saved: bool,
}

/// Where the tree comes from.
#[derive(Debug)]
enum Views {
    /// One view from beginning to end.
    Fixed(GridView),
    /// The view of each moment: a slow reader keeps nothing alive but the host it is being sent. Every host is whole,
    /// a long document may have hosts of different polls, as that of the C daemon does.
    Live(Arc<GridStore>),
}

#[derive(Clone, Debug)]
enum Stage {
    Prolog,
    /// A summary in progress, of the root or an item, and its next metric. Kept to its end: the next one may have
    /// another order.
    Root(Arc<Summary>, usize),
    NextItem,
    ItemSummary(Arc<Summary>, usize),
    /// The next host's slot, and the host printed last, to find the place again after a change.
    Hosts(usize, Option<Arc<Host>>),
    /// A host in progress: its slot and the next metric.
    Metrics(usize, Arc<Host>, usize),
    EndItem,
    Epilog,
    Done,
}

impl XmlWriter {
    /// A document of what `query` asks for in `view`; ages are those at `now` (seconds since the epoch).
    pub fn new(view: &GridView, query: Query, now: UnixTime) -> Self {
        Self::start(Views::Fixed(view.clone()), view, query, now)
    }

    /// The same of a store that goes on changing while a slow reader takes its time: each host is as it is when its
    /// turn comes, and nothing but that host is kept for the reader.
    pub fn live(store: Arc<GridStore>, query: Query, now: UnixTime) -> Self {
        let view = store.view();
        Self::start(Views::Live(store), &view, query, now)
    }

    /// The document of one source that is to be saved, with the ages of its poll.
    pub(crate) fn saved(snapshot: &SourceSnapshot) -> Self {
        let view = GridView::of_snapshot(snapshot);
        Self { saved: true, ..Self::new(&view, Query::default(), snapshot.polled()) }
    }

    fn start(grid: Views, view: &GridView, mut query: Query, now: UnixTime) -> Self {
        resolve(view, &mut query);
        let items = match query.path.first() {
            None => view.items().map(|item| Arc::clone(item.name())).collect(),
            Some(name) if query.strict && name == "*" => view.items().map(|item| Arc::clone(item.name())).collect(),
            Some(name) => view.item(name).map(|item| Arc::clone(item.name())).into_iter().collect(),
        };
        Self { grid, query, now, stage: Stage::Prolog, items, at: 0, end: b"", saved: false }
    }

    /// Appends about `budget` bytes to `out` (one element more at most).
    pub fn fill(&mut self, out: &mut Vec<u8>, budget: usize) -> Progress {
        let end = out.len().saturating_add(budget);
        let view = match &self.grid {
            Views::Fixed(view) => view.clone(),
            Views::Live(store) => store.view(),
        };
        while out.len() < end {
            let stage = std::mem::replace(&mut self.stage, Stage::Done);
            self.stage = match stage {
                Stage::Prolog => self.prolog(&view, out),
                Stage::Root(summary, from) => match summary_from(out, &summary, from, end) {
                    Some(next) => Stage::Root(summary, next),
                    None => Stage::NextItem,
                },
                Stage::NextItem => self.start_item(&view, out),
                Stage::ItemSummary(summary, from) => match summary_from(out, &summary, from, end) {
                    Some(next) => Stage::ItemSummary(summary, next),
                    None => Stage::EndItem,
                },
                Stage::Hosts(slot, last) => self.start_host(&view, out, slot, last),
                Stage::Metrics(slot, host, from) => self.metrics(out, slot, host, from, end),
                Stage::EndItem => {
                    out.extend_from_slice(self.end);
                    self.at += 1;
                    Stage::NextItem
                }
                Stage::Epilog => {
                    out.extend_from_slice(if self.saved { b"" } else { b"</GRID>\n" });
                    out.extend_from_slice(b"</GANGLIA_XML>\n");
                    Stage::Done
                }
                Stage::Done => return Progress::Done,
            };
        }
        if matches!(self.stage, Stage::Done) { Progress::Done } else { Progress::More }
    }

    /// The whole document at once.
    pub fn into_bytes(mut self) -> Vec<u8> {
        let mut out = Vec::new();
        while self.fill(&mut out, 1 << 20) == Progress::More {}
        out
    }

    fn item<'v>(&self, view: &'v GridView) -> Option<&'v Item> {
        self.items.get(self.at).and_then(|name| view.item(name))
    }

    fn prolog(&self, view: &GridView, out: &mut Vec<u8>) -> Stage {
        out.extend_from_slice(PROLOG);
        out.extend_from_slice(b"<GANGLIA_XML VERSION=\"");
        out.extend_from_slice(VERSION.as_bytes());
        out.extend_from_slice(b"\" SOURCE=\"gmetad\">\n");
        if self.saved {
            return Stage::NextItem;
        }
        grid_tag(out, view.name(), view.authority(), self.now.max(0) as u64);
        if self.query.summary && self.query.path.is_empty() {
            Stage::Root(Arc::clone(view.summary()), 0)
        } else {
            Stage::NextItem
        }
    }

    fn start_item(&mut self, view: &GridView, out: &mut Vec<u8>) -> Stage {
        if self.at >= self.items.len() {
            return Stage::Epilog;
        }
        match self.item(view) {
            // It went while the answer was on its way.
            None => {
                self.at += 1;
                Stage::NextItem
            }
            Some(Item::Grid(grid)) => {
                let Grid { name, authority, localtime, .. } = &**grid;
                grid_tag(out, name, authority, u64::from(*localtime));
                self.end = b"</GRID>\n";
                Stage::ItemSummary(Arc::clone(&grid.summary), 0)
            }
            Some(Item::Cluster(cluster)) => {
                cluster_tag(out, cluster);
                self.end = b"</CLUSTER>\n";
                if self.query.summary && self.query.path.len() <= 1 {
                    return Stage::ItemSummary(Arc::clone(&cluster.summary), 0);
                }
                match self.query.path.get(1) {
                    Some(name) if !(self.query.strict && name == "*") => match cluster.host_slot(name) {
                        Some(slot) => self.open_host(out, slot, cluster, &cluster.hosts[slot]),
                        None => Stage::EndItem,
                    },
                    _ => Stage::Hosts(0, None),
                }
            }
        }
    }

    fn start_host(&self, view: &GridView, out: &mut Vec<u8>, slot: usize, last: Option<Arc<Host>>) -> Stage {
        let Some(Item::Cluster(cluster)) = self.item(view) else { return Stage::EndItem };
        let slot = match last {
            // Hosts may have come or gone since: go on behind the one printed last.
            Some(last) if cluster.hosts.get(slot.wrapping_sub(1)).is_none_or(|host| host.name() != last.name()) => {
                cluster.host_slot(last.name()).map_or(slot, |at| at + 1)
            }
            _ => slot,
        };
        match cluster.hosts.get(slot) {
            Some(host) => self.open_host(out, slot, cluster, host),
            None => Stage::EndItem,
        }
    }

    fn open_host(&self, out: &mut Vec<u8>, slot: usize, cluster: &Cluster, host: &Arc<Host>) -> Stage {
        host_attributes(out, host, self.now);
        for (name, _) in [(saved::DOWN, !host.is_up()), (saved::ABSENT, !cluster.is_fresh(host))]
            .into_iter()
            .filter(|(_, is)| self.saved && *is)
        {
            number_attribute(out, name, 1);
        }
        out.extend_from_slice(b">\n");
        Stage::Metrics(slot, Arc::clone(host), 0)
    }

    fn metrics(&self, out: &mut Vec<u8>, slot: usize, host: Arc<Host>, from: usize, end: usize) -> Stage {
        let wanted = match self.query.path.get(2) {
            Some(name) if !(self.query.strict && name == "*") => Some(name),
            _ => None,
        };
        match wanted {
            Some(name) => {
                if let Some(metric) = host.metric(name).filter(|m| !m.is_expired(self.now)) {
                    write_metric(out, metric, self.now);
                }
            }
            None if self.query.summary && self.query.path.len() < 3 => {}
            None => {
                for (at, metric) in host.metrics().enumerate().skip(from) {
                    if out.len() >= end {
                        return Stage::Metrics(slot, Arc::clone(&host), at);
                    }
                    // What is no longer shown may still be summed.
                    if metric.is_expired(self.now) && !self.saved {
                        continue;
                    }
                    if self.saved && !metric.is_fresh() {
                        out.extend_from_slice(b"<");
                        out.extend_from_slice(saved::ABSENT.as_bytes());
                        out.extend_from_slice(b"/>");
                    }
                    write_metric(out, metric, self.now);
                }
            }
        }
        out.extend_from_slice(b"</HOST>\n");
        match self.query.path.get(1) {
            Some(name) if !(self.query.strict && name == "*") => Stage::EndItem,
            _ => Stage::Hosts(slot + 1, Some(host)),
        }
    }
}

/// Makes a path of what exists: the own grid's name in front is dropped, and, unless the query is strict, so is what
/// matches nothing (the whole level is printed then).
pub(crate) fn resolve(view: &GridView, query: &mut Query) {
    query.path.truncate(4);
    let path = &mut query.path;
    let is_host = |cluster: &str, host: &str| view.cluster(cluster).is_some_and(|c| c.host(host).is_some());
    if path.first().is_some_and(|first| first == view.name()) {
        let short = view.item(&path[0]).is_some();
        // Where a cluster has the grid's name the cluster wins, unless only the long form makes sense.
        let long = path.get(1).is_some_and(|next| view.item(next).is_some() && !is_host(&path[0], next));
        if !short || long {
            path.remove(0);
        }
    }
    path.truncate(3);
    if query.strict {
        return;
    }
    let known = match path.first().and_then(|name| view.item(name)) {
        None => 0,
        Some(Item::Grid(_)) => 1,
        Some(Item::Cluster(cluster)) => match path.get(1).and_then(|name| cluster.host(name)) {
            None => 1,
            Some(host) => 2 + usize::from(path.get(2).is_some_and(|name| host.metric(name).is_some())),
        },
    };
    path.truncate(known);
}

fn number(out: &mut Vec<u8>, n: impl itoa::Integer) {
    out.extend_from_slice(itoa::Buffer::new().format(n).as_bytes());
}

/// ` KEY="text"`
fn text_attribute(out: &mut Vec<u8>, key: &str, text: &str) {
    out.push(b' ');
    out.extend_from_slice(key.as_bytes());
    out.extend_from_slice(b"=\"");
    escape_into(out, text);
    out.push(b'"');
}

/// ` KEY="number"`
fn number_attribute(out: &mut Vec<u8>, key: &str, n: impl itoa::Integer) {
    out.push(b' ');
    out.extend_from_slice(key.as_bytes());
    out.extend_from_slice(b"=\"");
    number(out, n);
    out.push(b'"');
}

fn grid_tag(out: &mut Vec<u8>, name: &str, authority: &str, localtime: u64) {
    out.extend_from_slice(b"<GRID");
    text_attribute(out, "NAME", name);
    text_attribute(out, "AUTHORITY", authority);
    number_attribute(out, "LOCALTIME", localtime);
    out.extend_from_slice(b">\n");
}

fn cluster_tag(out: &mut Vec<u8>, cluster: &Cluster) {
    out.extend_from_slice(b"<CLUSTER");
    text_attribute(out, "NAME", cluster.name());
    number_attribute(out, "LOCALTIME", cluster.localtime());
    text_attribute(out, "OWNER", cluster.owner());
    text_attribute(out, "LATLONG", cluster.latlong());
    text_attribute(out, "URL", cluster.url());
    out.extend_from_slice(b">\n");
}

/// A HOST up to its last attribute.
fn host_attributes(out: &mut Vec<u8>, host: &Host, now: UnixTime) {
    out.extend_from_slice(b"<HOST");
    text_attribute(out, "NAME", host.name());
    text_attribute(out, "IP", host.ip());
    number_attribute(out, "REPORTED", host.reported());
    number_attribute(out, "TN", host.tn(now));
    number_attribute(out, "TMAX", host.tmax());
    number_attribute(out, "DMAX", host.dmax());
    text_attribute(out, "LOCATION", host.location());
    number_attribute(out, "GMOND_STARTED", host.gmond_started());
    text_attribute(out, "TAGS", host.tags());
}

fn write_metric(out: &mut Vec<u8>, metric: crate::model::Metric<'_>, now: UnixTime) {
    let def = metric.def();
    out.extend_from_slice(def.head());
    escape_into(out, metric.value());
    out.extend_from_slice(def.middle());
    number(out, metric.tn(now));
    out.extend_from_slice(def.tail());
}

/// HOSTS (if `from` is 0) and METRICS from there on; the next one to print if `end` was reached.
fn summary_from(out: &mut Vec<u8>, summary: &Summary, from: usize, end: usize) -> Option<usize> {
    if from == 0 {
        out.extend_from_slice(b"<HOSTS");
        number_attribute(out, "UP", summary.hosts_up());
        number_attribute(out, "DOWN", summary.hosts_down());
        out.extend_from_slice(b" SOURCE=\"gmetad\"/>\n");
    }
    for (at, metric) in summary.metrics().iter().enumerate().skip(from) {
        if out.len() >= end && at > from {
            return Some(at);
        }
        out.extend_from_slice(metric.def.head());
        crate::model::write_fixed(out, metric.sum, metric.decimals);
        out.extend_from_slice(b"\" NUM=\"");
        number(out, metric.num);
        out.extend_from_slice(metric.def.tail());
    }
    None
}
