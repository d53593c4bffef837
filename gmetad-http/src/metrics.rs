//! `/metrics`: the daemon's own counters and its sources in the text format of OpenMetrics 1.0. The metrics of the
//! clusters are not here.

use gmetad_core::daemon::{Observer, SourceState};
use gmetad_core::stats::{Counter, PluginStats, Stats, Timed};

use crate::openmetrics::OpenMetrics;
use crate::response::Response;
use crate::status::Daemon;

/// The page.
pub(crate) fn page(daemon: &Daemon, observer: &Observer) -> Response {
    let mut out = OpenMetrics::default();
    out.family("gmetad_build", "info", "Version of the program.");
    out.sample("_info", &[("version", env!("CARGO_PKG_VERSION"))], 1.0);
    out.family("gmetad_start_time_seconds", "gauge", "When the daemon started, since the epoch.");
    out.sample("", &[], daemon.boottime as f64 / 1e3);
    counters(&mut out, observer.stats());
    sources(&mut out, &observer.sources());
    out.response()
}

/// One family a line: its name, what it counts, and its samples by the value of a label.
fn counters(out: &mut OpenMetrics, stats: &Stats) {
    type Timings<'a> = (&'a str, &'a str, &'a str, &'a [(&'a str, &'a Timed)]);
    type Counters<'a> = (&'a str, &'a str, &'a str, &'a [(&'a str, &'a Counter)]);
    let timings: [Timings; 4] = [
        ("poll", "Polls of sources.", "result", &[("ok", &stats.polls_ok), ("failed", &stats.polls_failed)]),
        ("summary", "Summaries made.", "of", &[("cluster", &stats.summaries), ("root", &stats.root_summaries)]),
        (
            "request",
            "Requests answered.",
            "port",
            &[("xml", &stats.xml), ("interactive", &stats.interactive), ("http", &stats.pages)],
        ),
        ("rrd_update", "Points written to RRD files.", "", &[("", &stats.rrd)]),
    ];
    for (name, help, label, samples) in timings {
        out.family(&format!("gmetad_{name}_duration_seconds"), "summary", help);
        for (value, timed) in samples {
            out.sample("_count", &[(label, value)], timed.num() as f64);
            out.sample("_sum", &[(label, value)], timed.total_millis() as f64 / 1e3);
        }
    }
    let counters: [Counters; 9] = [
        ("received_metrics", "Metrics received.", "", &[("", &stats.metrics)]),
        ("received_bytes", "Bytes received, inflated.", "", &[("", &stats.bytes)]),
        ("polls_late", "Polls that began late because the one before took too long.", "", &[("", &stats.polls_late)]),
        (
            "elements_damaged",
            "Elements of sources' documents that were damaged.",
            "result",
            &[("skipped", &stats.skipped), ("mended", &stats.mended)],
        ),
        ("connections_accepted", "Connections accepted.", "", &[("", &stats.accepted)]),
        (
            "connections_closed",
            "Connections that were refused or cut off.",
            "reason",
            &[
                ("untrusted", &stats.untrusted),
                ("malformed", &stats.malformed),
                ("too_many", &stats.crowded_out),
                ("timeout", &stats.timed_out),
            ],
        ),
        ("transactions_dropped", "Transactions a full queue dropped or replaced.", "", &[("", &stats.dropped)]),
        ("plugin_errors", "Calls of plugins that failed.", "", &[("", &stats.plugin_errors)]),
        ("rrd_errors", "Points that could not be written to RRD files.", "", &[("", &stats.rrd_errors)]),
    ];
    for (name, help, label, samples) in counters {
        out.family(&format!("gmetad_{name}"), "counter", help);
        for (value, counter) in samples {
            out.sample("_total", &[(label, value)], counter.get() as f64);
        }
    }
    let plugins = stats.plugins.all();
    for (name, kind, help, value) in PLUGIN {
        out.family(&format!("gmetad_plugin_{name}"), kind, help);
        for plugin in &plugins {
            out.sample(if kind == "counter" { "_total" } else { "" }, &[("plugin", plugin.name())], value(plugin));
        }
    }
    for report in stats.reports.all() {
        for figure in report.figures() {
            let (kind, suffix) = if figure.gauge { ("gauge", "") } else { ("counter", "_total") };
            let words = figure.name.replace('_', " ");
            out.family(&format!("gmetad_{}_{}", report.name(), figure.name), kind, &format!("{words}."));
            out.sample(suffix, &[], figure.value as f64);
        }
        if let Some(rows) = report.rows() {
            out.family(&format!("gmetad_{}", report.name()), "gauge", "1 for each.");
            for row in rows {
                let labels: Vec<_> = row.labels.iter().map(|(name, text)| (*name, text.as_str())).collect();
                out.sample("", &labels, 1.0);
            }
        }
    }
}

/// Name, type, help, and the value of one plugin.
type OfPlugin = (&'static str, &'static str, &'static str, fn(&PluginStats) -> f64);

const PLUGIN: [OfPlugin; 8] = [
    ("transactions", "counter", "Transactions that it took.", |p| p.notified.num() as f64),
    ("seconds", "counter", "Time that took.", |p| p.notified.total_millis() as f64 / 1e3),
    ("failures", "counter", "Calls that failed.", |p| p.failed.get() as f64),
    ("dropped", "counter", "Transactions that it did not get.", |p| p.dropped.get() as f64),
    ("changes", "counter", "Changes that it asked for.", |p| p.changes.get() as f64),
    ("refused", "counter", "Changes that could not be made.", |p| p.refused.get() as f64),
    ("waiting", "gauge", "Transactions that wait for it.", |p| p.waiting() as f64),
    ("resting", "gauge", "1 while it rests after failures.", |p| f64::from(u8::from(p.is_resting()))),
];

/// Name, type, help, and the value of one source, if it has one.
type Family = (&'static str, &'static str, &'static str, fn(&SourceState) -> Option<f64>);

const SOURCE: [Family; 12] = [
    ("up", "gauge", "Whether the last poll reached it; missing before the first one ended.", |s| {
        s.alive.map(|up| f64::from(u8::from(up)))
    }),
    ("interval_seconds", "gauge", "Time between two polls.", |s| Some(s.interval.as_secs_f64())),
    ("hosts", "gauge", "Hosts in the last good poll.", |s| Some(s.report.hosts as f64)),
    ("metrics", "gauge", "Metrics in the last good poll.", |s| Some(s.report.metrics as f64)),
    ("bytes", "gauge", "Bytes of the last good poll, inflated.", |s| Some(s.report.bytes as f64)),
    ("skipped", "gauge", "Elements left out of the last good poll.", |s| Some(s.report.skipped as f64)),
    ("mended", "gauge", "Damaged elements of the last good poll that could be kept.", |s| Some(s.report.mended as f64)),
    ("poll_seconds", "gauge", "How long the last poll took.", |s| Some(s.took.as_secs_f64())),
    ("last_poll_timestamp_seconds", "gauge", "When the last good poll began, since the epoch.", |s| {
        Some(s.polled as f64).filter(|_| s.polls > 0)
    }),
    (
        "saved_timestamp_seconds",
        "gauge",
        "When what is shown was polled, if it was saved by an earlier process.",
        |s| s.saved.map(|saved| saved as f64),
    ),
    ("polls", "counter", "Good polls.", |s| Some(s.polls as f64)),
    ("failures", "counter", "Polls that brought nothing.", |s| Some(s.failures as f64)),
];

fn sources(out: &mut OpenMetrics, sources: &[SourceState]) {
    for (name, kind, help, value) in SOURCE {
        out.family(&format!("gmetad_source_{name}"), kind, help);
        for source in sources {
            if let Some(value) = value(source) {
                out.sample(if kind == "counter" { "_total" } else { "" }, &[("source", &source.name)], value);
            }
        }
    }
}
