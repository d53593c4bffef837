//! `/status`: the keys of the C daemon in its order (reference 6.4), with counters that count, and our own behind them.

use std::collections::BTreeMap;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use gmetad_core::daemon::{Observer, SourceState};
use gmetad_core::stats::{PluginStats, Row, Stats, Timed};
use serde::Serialize;

use crate::machine::{Machine, Sampler};
use crate::response::Response;

/// What C calls itself, here and in its HTTP headers.
const C_VERSION: &str = "3.7.2-1";
/// The longest name of a callback.
const CALLBACK: usize = 64;

/// What the pages know besides what a daemon counts.
pub(crate) struct Daemon {
    pub(crate) host: String,
    /// Milliseconds since the epoch.
    pub(crate) boottime: u64,
    started: Instant,
    machine: Sampler,
}

impl Daemon {
    /// A daemon that starts now on this machine.
    pub(crate) fn new() -> Self {
        let host = nix::unistd::gethostname().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        Self { host, boottime: millis_now(), started: Instant::now(), machine: Sampler::new() }
    }
}

/// The page; a `callback` that is a name of JavaScript gets it as a script (JSONP), any other is ignored.
pub(crate) fn page(daemon: &Daemon, observer: &Observer, callback: Option<&str>) -> Response {
    // Serializing strings and numbers cannot fail.
    let json = serde_json::to_string(&status(daemon, observer)).unwrap_or_default();
    let response = match callback.filter(|name| is_callback(name)) {
        // These two end a line in old JavaScript. The comment keeps a name from being taken for a file's first bytes.
        Some(name) => {
            let json = json.replace('\u{2028}', "\\u2028").replace('\u{2029}', "\\u2029");
            Response::new(200, "application/javascript", format!("/**/{name}({json});\r\n"))
        }
        None => Response::new(200, "application/json", json + "\r\n"),
    };
    response.header("Server", format!("gmetad/{C_VERSION}"))
}

fn is_callback(name: &str) -> bool {
    let first = |c: char| c.is_ascii_alphabetic() || matches!(c, '_' | '$');
    name.len() <= CALLBACK
        && name.starts_with(first)
        && name.chars().all(|c| first(c) || c.is_ascii_digit() || c == '.')
}

#[derive(Serialize)]
struct Status<'a> {
    host: &'a str,
    gridname: String,
    version: &'static str,
    stattime: u64,
    boottime: u64,
    uptime: u64,
    #[serde(rename = "uptimeMillis")]
    uptime_millis: u64,
    metrics: Metrics,
    program_version: &'static str,
    #[serde(flatten)]
    reports: BTreeMap<String, BTreeMap<&'static str, u64>>,
    #[serde(flatten)]
    lists: BTreeMap<String, Vec<BTreeMap<&'static str, String>>>,
    sources: Vec<Source>,
    plugins: Vec<Plugin>,
}

#[derive(Serialize)]
struct Plugin {
    name: String,
    transactions: u64,
    took_ms: u64,
    failures: u64,
    dropped: u64,
    changes: u64,
    refused: u64,
    waiting: u64,
    resting: bool,
}

#[derive(Serialize)]
struct Metrics {
    received: Received,
    sent: Sent,
    summarize: Summarize,
    requests: Requests,
    polls: Polls,
    #[serde(flatten)]
    machine: Machine,
}

#[derive(Serialize)]
struct Received {
    all: u64,
}

#[derive(Serialize)]
struct Sent {
    all: Count,
    rrdtool: CountLast,
    rrdcached: CountLast,
    graphite: CountLast,
    memcached: CountLast,
    riemann: CountLast,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Summarize {
    cluster: u64,
    root: u64,
    total_millis: u64,
    last_time: u64,
}

#[derive(Serialize)]
struct Requests {
    all: Count,
    interactive: Count,
    xml: Count,
}

#[derive(Serialize)]
struct Polls {
    ok: CountLast,
    failed: CountLast,
    misses: u64,
}

#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Count {
    num: u64,
    total_millis: u64,
}

#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct CountLast {
    num: u64,
    total_millis: u64,
    last_time: u64,
}

#[derive(Serialize)]
struct Source {
    name: String,
    /// Seconds.
    interval: u64,
    state: &'static str,
    hosts: u64,
    metrics: u64,
    bytes: u64,
    /// Who answered last.
    address: Option<String>,
    skipped: u64,
    mended: u64,
    last_poll: i64,
    /// When what is shown was polled, if another process did that and saved it.
    saved: Option<i64>,
    took_ms: u64,
    polls: u64,
    failures: u64,
    error: String,
}

fn status<'a>(daemon: &'a Daemon, observer: &Observer) -> Status<'a> {
    let uptime = daemon.started.elapsed();
    Status {
        host: &daemon.host,
        gridname: observer.store().view().name().to_owned(),
        version: C_VERSION,
        stattime: millis_now(),
        boottime: daemon.boottime,
        uptime: uptime.as_secs(),
        uptime_millis: uptime.as_millis() as u64,
        metrics: metrics(observer.stats(), daemon.machine.machine(gmetad_core::now())),
        program_version: env!("CARGO_PKG_VERSION"),
        reports: observer
            .stats()
            .reports
            .all()
            .iter()
            .filter(|report| report.rows().is_none())
            .map(|report| {
                let figures = report.figures().into_iter().map(|figure| (figure.name, figure.value));
                (report.name().to_owned(), figures.collect())
            })
            .collect(),
        lists: observer
            .stats()
            .reports
            .all()
            .iter()
            .filter_map(|report| {
                let row = |row: Row| row.labels.into_iter().chain(row.more).collect();
                Some((report.name().to_owned(), report.rows()?.into_iter().map(row).collect()))
            })
            .collect(),
        sources: observer.sources().into_iter().map(source).collect(),
        plugins: observer.stats().plugins.all().iter().map(|plugin| self::plugin(plugin)).collect(),
    }
}

fn plugin(plugin: &PluginStats) -> Plugin {
    Plugin {
        name: plugin.name().to_owned(),
        transactions: plugin.notified.num(),
        took_ms: plugin.notified.total_millis(),
        failures: plugin.failed.get(),
        dropped: plugin.dropped.get(),
        changes: plugin.changes.get(),
        refused: plugin.refused.get(),
        waiting: plugin.waiting(),
        resting: plugin.is_resting(),
    }
}

fn metrics(stats: &Stats, machine: Machine) -> Metrics {
    let (summaries, root) = (&stats.summaries, &stats.root_summaries);
    Metrics {
        received: Received { all: stats.metrics.get() },
        sent: Sent {
            all: (&stats.rrd).into(),
            rrdtool: (&stats.rrd).into(),
            rrdcached: CountLast::default(),
            graphite: CountLast::default(),
            memcached: CountLast::default(),
            riemann: CountLast::default(),
        },
        summarize: Summarize {
            cluster: summaries.num(),
            root: root.num(),
            total_millis: summaries.total_millis() + root.total_millis(),
            last_time: summaries.last_millis().max(root.last_millis()),
        },
        requests: Requests {
            all: Count {
                num: stats.interactive.num() + stats.xml.num(),
                total_millis: stats.interactive.total_millis() + stats.xml.total_millis(),
            },
            interactive: (&stats.interactive).into(),
            xml: (&stats.xml).into(),
        },
        polls: Polls {
            ok: (&stats.polls_ok).into(),
            failed: (&stats.polls_failed).into(),
            misses: stats.polls_late.get(),
        },
        machine,
    }
}

fn source(state: SourceState) -> Source {
    Source {
        name: state.name,
        interval: state.interval.as_secs(),
        state: match state.alive {
            Some(true) => "up",
            Some(false) => "down",
            None => "unknown",
        },
        hosts: state.report.hosts,
        metrics: state.report.metrics,
        bytes: state.report.bytes,
        address: state.report.address.as_ref().map(ToString::to_string),
        skipped: state.report.skipped,
        mended: state.report.mended,
        last_poll: state.polled,
        saved: state.saved,
        took_ms: state.took.as_millis() as u64,
        polls: state.polls,
        failures: state.failures,
        error: state.error,
    }
}

impl From<&Timed> for Count {
    fn from(timed: &Timed) -> Self {
        Self { num: timed.num(), total_millis: timed.total_millis() }
    }
}

impl From<&Timed> for CountLast {
    fn from(timed: &Timed) -> Self {
        Self { num: timed.num(), total_millis: timed.total_millis(), last_time: timed.last_millis() }
    }
}

fn millis_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_are_callbacks() {
        for name in ["f", "_f", "$.a.b", "jQuery1_2", &"x".repeat(64)] {
            assert!(is_callback(name), "{name}");
        }
        for name in ["", "1f", ".f", "alert(1)//", "a b", "a\r\n", "é", "a-b", &"x".repeat(65)] {
            assert!(!is_callback(name), "{name}");
        }
    }
}
