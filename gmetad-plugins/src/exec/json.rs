//! What the daemon says: lines of JSON, written straight from the snapshot.

use serde::ser::{Serialize, SerializeMap, Serializer};

use gmetad_core::model::{Cluster, Host, Metric, UnixTime};
use gmetad_core::plugin::{Subject, Transaction};
use gmetad_core::summary::{Summary, SummaryMetric};

use crate::pattern::Patterns;

/// Appends a document and a line feed.
pub(super) fn line(out: &mut Vec<u8>, document: &impl Serialize) {
    // Writing to memory fails for maps with keys that are not strings only; there are none.
    let _ = serde_json::to_writer(&mut *out, document);
    out.push(b'\n');
}

/// Appends a small document: its type first, as all that the daemon sends.
pub(super) fn message(out: &mut Vec<u8>, kind: &str, content: serde_json::Value) {
    let mut all = Vec::new();
    line(&mut all, &content);
    out.extend_from_slice(b"{\"type\":\"");
    out.extend_from_slice(kind.as_bytes());
    out.push(b'"');
    if all.len() > b"{}\n".len() {
        out.push(b',');
    }
    out.extend_from_slice(&all[1..]);
}

/// A transaction as it is sent.
pub(super) struct ClusterLine<'a> {
    pub(super) id: u64,
    pub(super) transaction: &'a Transaction,
    /// Name of the own grid, which is that of the root.
    pub(super) grid: &'a str,
    pub(super) metrics: &'a Patterns,
    /// Hosts to be told; `None` with a summary only.
    pub(super) hosts: Option<Vec<&'a Host>>,
    /// Names of hosts that went; `None` if that is not told.
    pub(super) gone: Option<Vec<&'a str>>,
}

impl Serialize for ClusterLine<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let transaction = self.transaction;
        let mut map = serializer.serialize_map(None)?;
        let (kind, name) = match transaction.subject() {
            Subject::Cluster(cluster) => ("cluster", cluster.name()),
            Subject::Grid(grid) => ("grid", grid.name()),
            Subject::Root(_) => ("root", self.grid),
        };
        map.serialize_entry("type", "cluster")?;
        map.serialize_entry("id", &self.id)?;
        map.serialize_entry("kind", kind)?;
        map.serialize_entry("name", name)?;
        map.serialize_entry("source", transaction.source())?;
        map.serialize_entry("interval", &transaction.interval().as_secs())?;
        map.serialize_entry("time", &transaction.time())?;
        map.serialize_entry("alive", &transaction.is_alive())?;
        match transaction.subject() {
            Subject::Cluster(cluster) => {
                map.serialize_entry("localtime", &cluster.localtime())?;
                map.serialize_entry("owner", cluster.owner())?;
                map.serialize_entry("latlong", cluster.latlong())?;
                map.serialize_entry("url", cluster.url())?;
            }
            Subject::Grid(grid) => {
                map.serialize_entry("localtime", &grid.localtime())?;
                map.serialize_entry("authority", grid.authority())?;
            }
            Subject::Root(_) => {}
        }
        map.serialize_entry("summary", &SummaryPart { summary: transaction.summary(), metrics: self.metrics })?;
        if let (Some(hosts), Some(cluster)) = (&self.hosts, transaction.cluster()) {
            map.serialize_entry("hosts", &Hosts { hosts, cluster, now: transaction.time(), metrics: self.metrics })?;
        }
        if let Some(gone) = &self.gone {
            map.serialize_entry("gone", gone)?;
        }
        map.end()
    }
}

struct SummaryPart<'a> {
    summary: &'a Summary,
    metrics: &'a Patterns,
}

impl Serialize for SummaryPart<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("up", &self.summary.hosts_up())?;
        map.serialize_entry("down", &self.summary.hosts_down())?;
        map.serialize_entry("metrics", &Sums(self))?;
        map.end()
    }
}

struct Sums<'a>(&'a SummaryPart<'a>);

impl Serialize for Sums<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let wanted = self.0.summary.metrics().iter().filter(|metric| self.0.metrics.matches(metric.name()));
        serializer.collect_seq(wanted.map(Sum))
    }
}

struct Sum<'a>(&'a SummaryMetric);

impl Serialize for Sum<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("name", self.0.name())?;
        map.serialize_entry("sum", &self.0.sum())?; // null if it is not finite
        map.serialize_entry("num", &self.0.num())?;
        map.serialize_entry("units", &self.0.units())?;
        map.serialize_entry("slope", &self.0.slope_text())?;
        map.serialize_entry("source", &self.0.source())?;
        map.end()
    }
}

struct Hosts<'a> {
    hosts: &'a [&'a Host],
    cluster: &'a Cluster,
    now: UnixTime,
    metrics: &'a Patterns,
}

impl Serialize for Hosts<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.hosts.iter().map(|host| HostPart { host, of: self }))
    }
}

struct HostPart<'a> {
    host: &'a Host,
    of: &'a Hosts<'a>,
}

impl Serialize for HostPart<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (host, now) = (self.host, self.of.now);
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("name", host.name())?;
        map.serialize_entry("ip", host.ip())?;
        map.serialize_entry("up", &host.is_up())?;
        map.serialize_entry("fresh", &self.of.cluster.is_fresh(host))?;
        map.serialize_entry("location", host.location())?;
        map.serialize_entry("tags", host.tags())?;
        map.serialize_entry("reported", &host.reported())?;
        map.serialize_entry("tn", &host.tn(now))?;
        map.serialize_entry("tmax", &host.tmax())?;
        map.serialize_entry("dmax", &host.dmax())?;
        map.serialize_entry("gmond_started", &host.gmond_started())?;
        map.serialize_entry("metrics", &Metrics(self))?;
        map.end()
    }
}

struct Metrics<'a>(&'a HostPart<'a>);

impl Serialize for Metrics<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let of = self.0.of;
        let wanted = self.0.host.metrics().filter(|metric| of.metrics.matches(metric.name()));
        serializer.collect_seq(wanted.map(|metric| MetricPart { metric, now: of.now }))
    }
}

struct MetricPart<'a> {
    metric: Metric<'a>,
    now: UnixTime,
}

impl Serialize for MetricPart<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let def = self.metric.def();
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("name", def.name())?;
        map.serialize_entry("val", self.metric.value())?;
        map.serialize_entry("type", def.kind().name())?;
        map.serialize_entry("units", &def.units())?;
        map.serialize_entry("tn", &self.metric.tn(self.now))?;
        map.serialize_entry("tmax", &def.tmax())?;
        map.serialize_entry("dmax", &def.dmax())?;
        map.serialize_entry("slope", &def.slope_text())?;
        map.serialize_entry("source", &def.source())?;
        map.serialize_entry("fresh", &self.metric.is_fresh())?;
        map.serialize_entry("extra", &Extra(self.metric))?;
        map.end()
    }
}

struct Extra<'a>(Metric<'a>);

impl Serialize for Extra<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.def().extra())
    }
}
