//! A synthetic gmond: what the demo, the benches, the examples and the tests poll.
//!
//! Hosts have the metrics of a stock gmond (33 of them, then `app_metric_0033` and so on). Values follow smooth curves
//! with some noise, all from a seed, so that the same cluster at the same time is the same document.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::model::UnixTime;
use crate::source::{GmondReader, PollError, ReaderOptions, Source, SourceSnapshot, Stop};
use crate::xml::PROLOG;

/// Name, type, units, slope, group, lowest and highest value.
type Metric = (&'static str, &'static str, &'static str, &'static str, &'static str, f64, f64);

/// What a stock gmond sends.
const STOCK: [Metric; 33] = [
    ("load_one", "float", " ", "both", "load", 0.0, 64.0),
    ("load_five", "float", " ", "both", "load", 0.0, 64.0),
    ("load_fifteen", "float", " ", "both", "load", 0.0, 64.0),
    ("cpu_user", "float", "%", "both", "cpu", 0.0, 60.0),
    ("cpu_system", "float", "%", "both", "cpu", 0.0, 20.0),
    ("cpu_idle", "float", "%", "both", "cpu", 20.0, 100.0),
    ("cpu_nice", "float", "%", "both", "cpu", 0.0, 5.0),
    ("cpu_wio", "float", "%", "both", "cpu", 0.0, 10.0),
    ("cpu_aidle", "float", "%", "both", "cpu", 50.0, 100.0),
    ("cpu_steal", "float", "%", "both", "cpu", 0.0, 2.0),
    ("cpu_num", "uint16", "CPUs", "zero", "cpu", 64.0, 64.0),
    ("cpu_speed", "uint32", "MHz", "zero", "cpu", 2600.0, 2600.0),
    ("mem_total", "float", "KB", "zero", "memory", 263_856_192.0, 263_856_192.0),
    ("mem_free", "float", "KB", "both", "memory", 1e7, 2e8),
    ("mem_cached", "float", "KB", "both", "memory", 1e6, 1e8),
    ("mem_buffers", "float", "KB", "both", "memory", 1e5, 1e6),
    ("mem_shared", "float", "KB", "both", "memory", 0.0, 1e5),
    ("swap_total", "float", "KB", "zero", "memory", 8_388_604.0, 8_388_604.0),
    ("swap_free", "float", "KB", "both", "memory", 8e6, 8_388_604.0),
    ("bytes_in", "float", "bytes/sec", "both", "network", 0.0, 1e9),
    ("bytes_out", "float", "bytes/sec", "both", "network", 0.0, 1e9),
    ("pkts_in", "float", "packets/sec", "both", "network", 0.0, 1e6),
    ("pkts_out", "float", "packets/sec", "both", "network", 0.0, 1e6),
    ("proc_run", "uint32", " ", "both", "process", 0.0, 64.0),
    ("proc_total", "uint32", " ", "both", "process", 400.0, 2000.0),
    ("disk_total", "double", "GB", "both", "disk", 1787.5, 1787.5),
    ("disk_free", "double", "GB", "both", "disk", 200.0, 1700.0),
    ("part_max_used", "float", "%", "both", "disk", 10.0, 90.0),
    ("boottime", "uint32", "s", "zero", "system", 1_760_000_000.0, 1_760_000_000.0),
    ("os_name", "string", "", "zero", "system", 0.0, 0.0),
    ("os_release", "string", "", "zero", "system", 0.0, 0.0),
    ("machine_type", "string", "", "zero", "system", 0.0, 0.0),
    ("gexec", "string", "", "zero", "core", 0.0, 0.0),
];

/// How the documents of a cluster differ from poll to poll.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Change {
    /// Values and ages change, as of a real gmond.
    #[default]
    Values,
    /// Values change, and the metrics of a host come in another order each time.
    Order,
    /// Nothing but LOCALTIME and REPORTED.
    Nothing,
    /// Values change, and every 15 seconds a tenth of the hosts has gone for ever and as many new ones have come.
    Hosts,
}

/// A synthetic cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyntheticCluster {
    /// CLUSTER NAME.
    pub name: String,
    /// Hosts, `node00000.NAME` and on.
    pub hosts: usize,
    /// Metrics of each host.
    pub metrics: usize,
    /// The last so many hosts are down.
    pub down: usize,
    /// Each host has a DESC of its own for each metric.
    pub unique_extra: bool,
    /// What changes from poll to poll.
    pub change: Change,
}

impl SyntheticCluster {
    /// A cluster of hosts that are up, as a stock gmond would describe them.
    pub fn new(name: impl Into<String>, hosts: usize, metrics: usize) -> Self {
        Self { name: name.into(), hosts, metrics, down: 0, unique_extra: false, change: Change::Values }
    }

    /// Its document at `now`.
    pub fn document(&self, now: UnixTime) -> Vec<u8> {
        let mut out = String::with_capacity(256 + self.hosts * (200 + self.metrics * 330));
        // Writing to a String cannot fail.
        let _ = writeln!(out, "<GANGLIA_XML VERSION=\"3.7.2\" SOURCE=\"gmond\">");
        let _ = writeln!(
            out,
            "<CLUSTER NAME=\"{}\" LOCALTIME=\"{now}\" OWNER=\"demo\" LATLONG=\"N48.86 E2.35\" URL=\"http://www.example.org/\">",
            crate::xml::escape::escaped(&self.name)
        );
        let gone = if self.change == Change::Hosts {
            now.max(0) as usize / 15 % 100_000 * (self.hosts / 10).max(1)
        } else {
            0
        };
        for host in gone..gone + self.hosts {
            self.host(&mut out, host, gone + self.hosts, now);
        }
        out.push_str("</CLUSTER>\n</GANGLIA_XML>\n");
        [PROLOG, out.as_bytes()].concat()
    }

    fn host(&self, out: &mut String, host: usize, end: usize, now: UnixTime) {
        let down = host + self.down >= end;
        let seed = mix(self.name.bytes().fold(host as u64, |seed, b| mix(seed ^ u64::from(b))));
        let then = if self.change == Change::Nothing { 0 } else { now };
        let dmax = if self.change == Change::Hosts { 30 } else { 0 };
        let tn = if down { 600 } else { mix(seed ^ then as u64) % 10 };
        let _ = writeln!(
            out,
            "<HOST NAME=\"node{host:05}.{}\" IP=\"10.{}.{}.{}\" TAGS=\"\" REPORTED=\"{}\" TN=\"{tn}\" TMAX=\"20\" DMAX=\"{dmax}\" \
             LOCATION=\"unspecified\" GMOND_STARTED=\"1760000100\">",
            crate::xml::escape::escaped(&self.name.to_lowercase().replace(' ', "-")),
            seed % 250,
            host / 250 % 250,
            host % 250 + 1,
            now - tn as i64,
        );
        let mut order: Vec<usize> = (0..self.metrics).collect();
        if self.change == Change::Order {
            order.sort_by_key(|at| mix(seed ^ mix(now as u64) ^ *at as u64));
        }
        for at in order {
            self.metric(out, at, host, seed, then);
        }
        out.push_str("</HOST>\n");
    }

    fn metric(&self, out: &mut String, at: usize, host: usize, seed: u64, now: UnixTime) {
        let app;
        let (name, kind, units, slope, group, low, high) = match STOCK.get(at) {
            Some(stock) => *stock,
            None => {
                app = format!("app_metric_{at:04}");
                (&*app, "float", "req/s", "both", "app", 0.0, 1e5)
            }
        };
        let random = mix(seed ^ mix(at as u64));
        let noise = mix(random ^ now as u64);
        let _ = write!(out, "<METRIC NAME=\"{name}\" VAL=\"");
        let value = || {
            // A wave of 5 to 60 minutes and a little noise.
            let period = 300.0 + (random % 3300) as f64;
            let phase = (random >> 12) as f64 % period;
            let wave = ((now as f64 + phase) / period * std::f64::consts::TAU).sin() * 0.45 + 0.5;
            let noise = (noise % 1000) as f64 / 10_000.0 - 0.05;
            low + (high - low) * (wave + noise).clamp(0.0, 1.0)
        };
        let _ = match (kind, name) {
            (_, "os_name") => write!(out, "Linux"),
            (_, "os_release") => write!(out, "6.1.0-18-amd64"),
            (_, "machine_type") => write!(out, "x86_64"),
            ("string", _) => write!(out, "OFF"),
            ("float" | "double", _) => write!(out, "{:.*}", 1 + (random % 3) as usize, value()),
            _ => write!(out, "{:.0}", value()),
        };
        let title = name.replace('_', " ");
        let of = if self.unique_extra { format!("host {host}") } else { "this host".to_owned() };
        let _ = writeln!(
            out,
            "\" TYPE=\"{kind}\" UNITS=\"{units}\" TN=\"{}\" TMAX=\"70\" DMAX=\"0\" SLOPE=\"{slope}\">\n<EXTRA_DATA>\n\
             <EXTRA_ELEMENT NAME=\"GROUP\" VAL=\"{group}\"/>\n<EXTRA_ELEMENT NAME=\"DESC\" VAL=\"Synthetic {name} of {of}\"/>\n\
             <EXTRA_ELEMENT NAME=\"TITLE\" VAL=\"{title}\"/>\n</EXTRA_DATA>\n</METRIC>",
            noise >> 20 & 15,
        );
    }
}

/// SplitMix64's last step: spreads the bits of a number.
fn mix(mut n: u64) -> u64 {
    n = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
    n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ (n >> 31)
}

/// The cluster as a source in memory: no socket, no other thread.
#[derive(Debug)]
pub struct SyntheticSource {
    cluster: SyntheticCluster,
    reader: GmondReader,
}

impl SyntheticSource {
    /// A source that is always there.
    pub fn new(cluster: SyntheticCluster) -> Self {
        Self { cluster, reader: GmondReader::new(Vec::new(), ReaderOptions::default()) }
    }
}

impl Source for SyntheticSource {
    fn poll(&mut self, now: UnixTime, _stop: &Stop) -> Result<SourceSnapshot, PollError> {
        let document = self.cluster.document(now);
        self.reader.read_document(&document, now).map_err(|error| PollError::Other(error.to_string()))
    }

    fn restore(&mut self, document: &mut dyn io::Read, polled: UnixTime) -> io::Result<Option<SourceSnapshot>> {
        self.reader.restore(document, polled)
    }
}

/// The cluster behind a TCP port on loopback, as a gmond.
pub struct SyntheticGmond {
    address: SocketAddr,
    stop: Stop,
    thread: Option<JoinHandle<()>>,
}

impl SyntheticGmond {
    /// Listens on a free port.
    ///
    /// # Errors
    /// The system's, if it has no port or thread left.
    pub fn start(cluster: SyntheticCluster) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let stop = Stop::default();
        let stopped = stop.clone();
        let cluster = Arc::new(cluster);
        let thread = thread::Builder::new().name("gmond".to_owned()).spawn(move || {
            for stream in listener.incoming() {
                if stopped.is_stopped() {
                    return;
                }
                let Ok(mut stream) = stream else { continue };
                let _ = stream.set_write_timeout(Some(Duration::from_secs(10)));
                // A client that goes away early is its own business.
                let _ = stream.write_all(&cluster.document(crate::now()));
            }
        })?;
        Ok(Self { address, stop, thread: Some(thread) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for SyntheticGmond {
    fn drop(&mut self) {
        self.stop.stop();
        // The listener wakes up by being asked.
        let _ = std::net::TcpStream::connect_timeout(&self.address, Duration::from_secs(1));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_synthetic_cluster_is_what_it_says() {
        let mut cluster = SyntheticCluster::new("A & B", 5, 40);
        cluster.down = 2;
        let mut source = SyntheticSource::new(cluster);
        let snapshot = source.poll(1_800_000_000, &Stop::default()).expect("poll");
        let cluster = snapshot.clusters().next().expect("cluster");
        assert_eq!((cluster.name(), cluster.hosts().len()), ("A & B", 5));
        assert_eq!((cluster.summary().hosts_up(), cluster.summary().hosts_down()), (3, 2));
        let host = cluster.hosts().next().expect("host");
        assert_eq!(host.metrics().len(), 40);
        assert_eq!(cluster.summary().metric("cpu_num").map(|m| (m.sum(), m.num())), Some((192.0, 3)));
        assert_eq!(snapshot.report().skipped + snapshot.report().mended, 0);
    }
}
