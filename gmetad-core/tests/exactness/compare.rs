//! Whether two snapshots are the same to everybody who looks at them.

use std::collections::HashMap;

use gmetad_core::model::{Cluster, Grid, Host, Metric, SeriesId};
use gmetad_core::store::{Identity, SourceId};
use gmetad_core::summary::{RootRules, Summary};
use gmetad_core::{GridStore, Query, SourceSnapshot, XmlWriter};

/// A grid of one source.
pub struct Shown {
    store: GridStore,
    source: SourceId,
}

impl Default for Shown {
    fn default() -> Self {
        let store = GridStore::new(Identity::default(), RootRules::default());
        let source = store.add_source("s");
        Self { store, source }
    }
}

impl Shown {
    pub fn publish(&self, snapshot: &SourceSnapshot) {
        self.store.publish(self.source, snapshot.clone());
    }

    pub fn print(&self, query: &str, now: i64) -> Vec<u8> {
        XmlWriter::new(&self.store.view(), Query::parse(query).expect("a query"), now).into_bytes()
    }
}

/// Which id of the one is which of the other: it must stay so.
#[derive(Default)]
pub struct Ids(HashMap<SeriesId, SeriesId>, HashMap<SeriesId, SeriesId>);

impl Ids {
    fn pair(&mut self, a: SeriesId, b: SeriesId) -> bool {
        *self.0.entry(a).or_insert(b) == b && *self.1.entry(b).or_insert(a) == a
    }
}

macro_rules! same {
    ($a:expr, $b:expr, $($what:tt)+) => {
        match (&$a, &$b) {
            (a, b) if a == b => {}
            (a, b) => return Err(format!("{}: {a:?} and {b:?}", format_args!($($what)+))),
        }
    };
}

/// Everything that accessors tell at `now` and other times.
pub fn snapshots(a: &SourceSnapshot, b: &SourceSnapshot, now: i64, ids: &mut Ids) -> Result<(), String> {
    same!(a.report(), b.report(), "report");
    same!((a.polled(), a.round()), (b.polled(), b.round()), "polled, round");
    same!(a.clusters().len(), b.clusters().len(), "clusters");
    for (a, b) in a.clusters().zip(b.clusters()) {
        clusters(a, b, now, ids)?;
    }
    same!(a.grids().len(), b.grids().len(), "grids");
    let of = |g: &Grid| (g.name().to_owned(), g.authority().to_owned(), g.localtime(), g.polled());
    for (a, b) in a.grids().zip(b.grids()) {
        same!(of(a), of(b), "grid");
        summaries(a.summary(), b.summary(), a.name(), ids)?;
    }
    Ok(())
}

fn clusters(a: &Cluster, b: &Cluster, now: i64, ids: &mut Ids) -> Result<(), String> {
    same!(
        (a.name(), a.owner(), a.latlong(), a.url(), a.localtime(), a.polled()),
        (b.name(), b.owner(), b.latlong(), b.url(), b.localtime(), b.polled()),
        "cluster"
    );
    same!(a.hosts().len(), b.hosts().len(), "hosts of {}", a.name());
    for (one, other) in a.hosts().zip(b.hosts()) {
        hosts(one, other, now, ids)?;
        same!(a.is_fresh(one), b.is_fresh(other), "{} fresh", one.name());
        same!(a.host(one.name()).map(Host::name), b.host(one.name()).map(Host::name), "found by name");
    }
    summaries(a.summary(), b.summary(), a.name(), ids)
}

fn hosts(a: &Host, b: &Host, now: i64, ids: &mut Ids) -> Result<(), String> {
    same!(
        (a.name(), a.ip(), a.location(), a.tags(), a.is_up(), a.polled()),
        (b.name(), b.ip(), b.location(), b.tags(), b.is_up(), b.polled()),
        "host"
    );
    same!(
        (a.reported(), a.tmax(), a.dmax(), a.gmond_started()),
        (b.reported(), b.tmax(), b.dmax(), b.gmond_started()),
        "{}",
        a.name()
    );
    for now in [now - 3, now, now + 61, now + 1_000_000] {
        same!((a.tn(now), a.is_expired(now)), (b.tn(now), b.is_expired(now)), "{} TN, expired", a.name());
    }
    same!(a.metrics().len(), b.metrics().len(), "metrics of {}", a.name());
    for (one, other) in a.metrics().zip(b.metrics()) {
        metrics(one, other, now, ids).map_err(|error| format!("{}, {error}", a.name()))?;
        let value = |host: &Host| host.metric(one.name()).map(|m| (m.value().to_owned(), m.number().to_bits()));
        same!(value(a), value(b), "{} found by name", one.name());
    }
    Ok(())
}

fn metrics(a: Metric<'_>, b: Metric<'_>, now: i64, ids: &mut Ids) -> Result<(), String> {
    same!(
        (a.name(), a.value(), a.number().to_bits(), a.is_fresh()),
        (b.name(), b.value(), b.number().to_bits(), b.is_fresh()),
        "metric"
    );
    for now in [now - 3, now, now + 61, now + 1_000_000] {
        same!((a.tn(now), a.is_expired(now)), (b.tn(now), b.is_expired(now)), "{} TN, expired", a.name());
    }
    let (d, e) = (a.def(), b.def());
    same!(
        (d.name(), d.kind(), d.slope(), d.tmax(), d.dmax()),
        (e.name(), e.kind(), e.slope(), e.tmax(), e.dmax()),
        "definition"
    );
    // The text that units, EXTRA_DATA and so on are taken from.
    same!(format!("{d:?}"), format!("{e:?}"), "definition");
    if ids.pair(a.series(), b.series()) { Ok(()) } else { Err(format!("{}: series ids changed", a.name())) }
}

fn summaries(a: &Summary, b: &Summary, of: &str, ids: &mut Ids) -> Result<(), String> {
    same!((a.hosts_up(), a.hosts_down()), (b.hosts_up(), b.hosts_down()), "summary of {of}: up, down");
    same!(a.metrics().len(), b.metrics().len(), "summary of {of}: names");
    for (a, b) in a.metrics().iter().zip(b.metrics()) {
        same!(
            (a.name(), a.sum().to_bits(), a.num(), a.decimals(), a.slope()),
            (b.name(), b.sum().to_bits(), b.num(), b.decimals(), b.slope()),
            "summary of {of}"
        );
        if !ids.pair(a.series(), b.series()) {
            return Err(format!("summary of {of}, {}: series ids changed", a.name()));
        }
    }
    Ok(())
}
