//! `gmetad --demo`: a synthetic grid, to see the daemon at work. Needs nothing: no configuration, no root, no network.

use std::io::{IsTerminal, Write, stdout};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use gmetad_core::Gmetad;
use gmetad_core::conf::{Config, MemoryLoader};
use gmetad_core::daemon::SourceState;
use gmetad_core::synthetic::{SyntheticCluster, SyntheticGmond};
use gmetad_process::cli::Options;
use gmetad_process::signals::{Event, Signals};
use gmetad_rrd::{CacheOptions, RrdPlugin, RrdSettings};

use crate::{Fallible, STOP_WITHIN};

/// Where the ports are if nobody has them; else free ones are taken.
const XML_PORT: u16 = 8651;
const INTERACTIVE_PORT: u16 = 8652;
const HTTP_PORT: u16 = 8653;
/// Seconds between polls.
const INTERVAL: u64 = 5;

pub(crate) fn run(options: &Options) -> Fallible<()> {
    let scratch = Scratch::new()?;
    let mut clusters = [("compute", 48), ("web servers", 12), ("storage", 8)]
        .map(|(name, hosts)| SyntheticCluster::new(name, hosts, 33));
    clusters[1].down = 1;
    let gmonds = clusters.iter().cloned().map(SyntheticGmond::start).collect::<Result<Vec<_>, _>>()?;

    let port = |wanted: Option<u16>, usual| wanted.unwrap_or_else(|| free_port(usual));
    let mut conf = String::from("gridname \"Demo Grid\"\nauthority http://localhost/ganglia/\n");
    for (cluster, gmond) in clusters.iter().zip(&gmonds) {
        conf += &format!("data_source \"{}\" {INTERVAL} {}\n", cluster.name, gmond.address());
    }
    conf += &format!(
        "xml_bind 127.0.0.1\nxml_port {}\ninteractive_bind 127.0.0.1\ninteractive_port {}\nhttp_port {}\n\
         rrd_rootdir \"{}\"\nRRAs \"RRA:AVERAGE:0.5:1:360\" \"RRA:AVERAGE:0.5:12:720\"\n",
        port(options.xml_port, XML_PORT),
        port(options.interactive_port, INTERACTIVE_PORT),
        free_port(HTTP_PORT),
        scratch.0.display(),
    );
    let config = Config::parse_str(&conf, "demo", &MemoryLoader::default())?;
    // Every point at once, so that what is looked at is the newest.
    // Nothing of it is to outlive the demo.
    let cache = CacheOptions { cache: Some(Duration::ZERO), journal_sync: Duration::ZERO, ..CacheOptions::default() };
    let rrd = RrdSettings { rras: config.rras.clone(), cache, ..RrdSettings::new(&config.rrd_rootdir) };
    let (hosts, summaries) = RrdPlugin::pair(rrd);
    let builder = Gmetad::builder().config(&config).plugin(hosts).plugin(summaries);
    let gmetad = gmetad_http::with_pages(builder, &config).start()?;

    let (stop, stopped) = channel();
    Signals::new()?.spawn(move |event| {
        if event == Event::Stop {
            let _ = stop.send(());
        }
    })?;
    introduce(&config, &scratch.0);
    watch(&gmetad, || match stopped.recv_timeout(Duration::from_secs(1)) {
        Err(RecvTimeoutError::Timeout) => true,
        Ok(()) | Err(RecvTimeoutError::Disconnected) => false,
    })?;
    gmetad.stop(STOP_WITHIN).map_err(|left| format!("left behind at stop: {}", left.join(", ")))?;
    println!("\nStopped; {} is removed.", scratch.0.display());
    Ok(())
}

fn introduce(config: &Config, rrds: &Path) {
    let interactive = config.interactive_port;
    println!(
        "gmetad demo: a synthetic grid of three clusters, polled every {INTERVAL} s.\n\
         \n\
         \x20 XML dump   127.0.0.1:{}\n\
         \x20 queries    127.0.0.1:{interactive}\n\
         \x20 pages      http://127.0.0.1:{}/\n\
         \x20 RRD files  {}\n\
         \n\
         Try in another terminal:\n\
         \x20 curl -s 'http://127.0.0.1:{interactive}/?filter=summary' | tail -n +52 | head\n\
         \x20 curl -s 'http://127.0.0.1:{interactive}/compute/node00007.compute/load_one' | tail -n +52\n\
         \x20 rrdtool fetch '{}/compute/node00007.compute/load_one.rrd' AVERAGE -s -60s\n\
         \n\
         Ctrl-C stops it.\n",
        config.xml_port,
        config.http_port,
        rrds.display(),
        rrds.display(),
    );
}

/// Shows the sources: again and again on a terminal, else once when all were polled. `go_on` waits a moment.
fn watch(gmetad: &Gmetad, mut go_on: impl FnMut() -> bool) -> Fallible<()> {
    let live = stdout().is_terminal();
    let mut lines = 0;
    let mut shown = false;
    loop {
        let sources = gmetad.sources();
        let ready = sources.iter().all(|source| source.polls > 0);
        if live || (ready && !shown) {
            let table = table(&sources, gmetad.stats().rrd.num());
            let mut out = stdout().lock();
            if lines > 0 {
                // Back to the table's first line, and clear from there.
                write!(out, "\x1b[{lines}A\x1b[J")?;
            }
            out.write_all(table.as_bytes())?;
            out.flush()?;
            lines = table.lines().count();
            shown = true;
        }
        if !go_on() {
            return Ok(());
        }
    }
}

fn table(sources: &[SourceState], points: u64) -> String {
    let mut out = format!(
        "{:<14} {:<7} {:>6} {:>8} {:>7} {:>10} {:>9}\n",
        "SOURCE", "STATE", "HOSTS", "METRICS", "POLLS", "LAST POLL", "TOOK"
    );
    for source in sources {
        let state = match source.alive {
            None => "waiting",
            Some(true) => "up",
            Some(false) => "down",
        };
        let last = match source.polled {
            0 => "never".to_owned(),
            polled => format!("{} s ago", (gmetad_core::now() - polled).max(0)),
        };
        out += &format!(
            "{:<14} {state:<7} {:>6} {:>8} {:>7} {last:>10} {:>6.1} ms\n",
            source.name,
            source.report.hosts,
            source.report.metrics,
            source.polls,
            source.took.as_secs_f64() * 1e3,
        );
    }
    out + &format!("{points} points written to RRD files\n")
}

/// A line about a source, for the log.
pub(crate) fn source_line(source: &SourceState) -> String {
    let state = match (source.alive, source.running_since) {
        (None, _) => "not polled yet".to_owned(),
        (Some(true), _) => "up".to_owned(),
        (Some(false), _) => format!("down ({})", source.error),
    };
    let running = source.running_since.map_or(String::new(), |since: Instant| {
        format!(", a poll is under way for {:.1} s", since.elapsed().as_secs_f64())
    });
    let saved = source.saved.map_or(String::new(), |polled| {
        format!(", shows what was saved, {} s old", gmetad_core::now().saturating_sub(polled))
    });
    format!(
        "[{}] {state}: {} good polls, {} failed, {} hosts, {} metrics, last took {:.1} ms{running}{saved}",
        source.name,
        source.polls,
        source.failures,
        source.report.hosts,
        source.report.metrics,
        source.took.as_secs_f64() * 1e3
    )
}

/// The usual port if it is free, else a free one.
fn free_port(usual: u16) -> u16 {
    let bind = |port| TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], port))).and_then(|l| l.local_addr());
    bind(usual).or_else(|_| bind(0)).map_or(usual, |address| address.port())
}

/// A folder that goes when the demo ends.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Fallible<Self> {
        let dir = std::env::temp_dir().join(format!("gmetad-demo-{}", std::process::id()));
        std::fs::create_dir(&dir).map_err(|error| format!("{}: {error}", dir.display()))?;
        Ok(Self(dir))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            eprintln!("{}: {error}; remove it by hand", self.0.display());
        }
    }
}
