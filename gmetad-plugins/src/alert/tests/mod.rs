//! Tests of what the plugin's parts do together, without threads and clocks.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod language;
mod mails;
mod rules;

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use gmetad_core::conf::{Config, MemoryLoader, Section};
use gmetad_core::model::{Cluster, UnixTime};
use gmetad_core::{GmondReader, ReaderOptions};

use super::active::{Active, ActiveAlerts, Counts};
use super::config::{self, Settings};
use super::engine::Engine;
use super::notice::{Kind, Notice};
use super::poll::Poll;

const START: UnixTime = 1_800_000_000;

fn sections(body: &str) -> Vec<Section> {
    let text = format!("data_source lab localhost\nalert {{\n{body}\n}}\n");
    Config::parse_str(&text, "/nowhere/gmetad.conf", &MemoryLoader::default()).unwrap().sections
}

/// Settings of a section without mistakes.
fn settings(body: &str) -> Arc<Settings> {
    let mut faults = Vec::new();
    let settings = config::read(&sections(body)[0], &mut faults);
    assert!(faults.iter().all(|fault| !fault.fatal), "{faults:?}");
    Arc::new(settings)
}

/// A host of a document: its name, TN, DMAX, and metrics as name, type, value.
type Host<'a> = (&'a str, u32, u32, &'a [(&'a str, &'a str, &'a str)]);

fn document(cluster: &str, hosts: &[Host<'_>], now: UnixTime) -> Vec<u8> {
    let mut out = String::from("<GANGLIA_XML VERSION=\"3.7.2\" SOURCE=\"gmond\">\n");
    let _ = writeln!(out, "<CLUSTER NAME=\"{cluster}\" LOCALTIME=\"{now}\" OWNER=\"o\" LATLONG=\"l\" URL=\"u\">");
    for (name, tn, dmax, metrics) in hosts {
        let _ = writeln!(
            out,
            "<HOST NAME=\"{name}\" IP=\"10.0.0.1\" REPORTED=\"{}\" TN=\"{tn}\" TMAX=\"20\" DMAX=\"{dmax}\" LOCATION=\"l\" GMOND_STARTED=\"1\">",
            now - i64::from(*tn)
        );
        for (metric, kind, value) in *metrics {
            let _ = writeln!(
                out,
                "<METRIC NAME=\"{metric}\" VAL=\"{value}\" TYPE=\"{kind}\" UNITS=\"%\" TN=\"7\" TMAX=\"70\" DMAX=\"0\" SLOPE=\"both\"/>"
            );
        }
        out.push_str("</HOST>\n");
    }
    out.push_str("</CLUSTER>\n</GANGLIA_XML>\n");
    out.into_bytes()
}

/// Rules, and a cluster `lab` that is polled every 15 seconds.
struct Lab {
    engine: Engine,
    counts: Arc<Counts>,
    active: Arc<ActiveAlerts>,
    reader: GmondReader,
    time: UnixTime,
    began: Instant,
    last: Option<Arc<Cluster>>,
}

impl Lab {
    fn new(rules: &str) -> Self {
        let (counts, active) = (Arc::<Counts>::default(), Arc::<ActiveAlerts>::default());
        Self {
            engine: Engine::new(settings(rules), Arc::clone(&counts), Arc::clone(&active)),
            counts,
            active,
            reader: GmondReader::new(Vec::new(), ReaderOptions::default()),
            time: START,
            began: Instant::now(),
            last: None,
        }
    }

    /// The next poll brings these hosts: what is told.
    fn poll(&mut self, hosts: &[Host<'_>]) -> Vec<Arc<Notice>> {
        self.time += 15;
        let document = document("lab", hosts, self.time);
        let snapshot = self.reader.read_document(&document, self.time).unwrap();
        self.last = snapshot.clusters().next().map(Arc::clone);
        self.notify(true)
    }

    /// One host with a load.
    fn load(&mut self, value: &str) -> Vec<String> {
        lines(&self.poll(&[("n1", 3, 0, &[("load_one", "float", value)])]))
    }

    /// The next poll fails.
    fn fails(&mut self) -> Vec<Arc<Notice>> {
        self.time += 15;
        self.notify(false)
    }

    fn notify(&mut self, alive: bool) -> Vec<Arc<Notice>> {
        let cluster = self.last.clone().unwrap();
        let source: Arc<str> = "lab source".into();
        let poll = Poll {
            id: 7,
            name: cluster.name(),
            source: &source,
            interval: Duration::from_secs(15),
            time: self.time,
            alive,
            cluster: Some(&cluster),
            summary: cluster.summary(),
        };
        self.engine.notify(&poll, self.now())
    }

    fn now(&self) -> Instant {
        self.began + Duration::from_secs((self.time - START).unsigned_abs())
    }

    fn figure(&self, name: &str) -> u64 {
        use gmetad_core::stats::Report;
        self.counts.figures().into_iter().find(|figure| figure.name == name).unwrap().value
    }

    fn list(&self) -> Vec<Active> {
        self.active.list()
    }
}

/// Each event as one line: what, rule, host, metric, value.
fn lines(notices: &[Arc<Notice>]) -> Vec<String> {
    let mut out = Vec::new();
    for notice in notices {
        for event in &notice.events {
            let kind = match event.kind {
                Kind::Fires => "fires".to_owned(),
                Kind::Repeats => "repeats".to_owned(),
                Kind::Recovered(reason) => format!("recovered({reason})"),
            };
            out.push(format!("{kind} {} {} {} {}", notice.rule.name, event.host, event.metric, event.value));
        }
    }
    out
}
