//! Reads one gmond without a daemon, a store or a thread.
//!
//! ```text
//! cargo run --example read_gmond                  # a synthetic gmond
//! cargo run --example read_gmond -- node1 8649    # a real one
//! ```

use std::error::Error;

use gmetad_core::source::Address;
use gmetad_core::synthetic::{SyntheticCluster, SyntheticGmond};
use gmetad_core::{GmondReader, ReaderOptions};

fn main() -> Result<(), Box<dyn Error>> {
    let synthetic = SyntheticGmond::start(SyntheticCluster::new("synthetic", 3, 8))?;
    let address = match (std::env::args().nth(1), std::env::args().nth(2)) {
        (Some(host), port) => Address::new(host, port.map_or(Ok(8649), |port| port.parse())?),
        (None, _) => synthetic.address().into(),
    };

    let now = gmetad_core::now();
    let snapshot = GmondReader::new(vec![address], ReaderOptions::default()).poll(now)?;
    for cluster in snapshot.clusters() {
        println!("cluster {}", cluster.name());
        for host in cluster.hosts() {
            println!("  {} is {}", host.name(), if host.is_up() { "up" } else { "down" });
            for metric in host.metrics() {
                println!("    {} = {} {} ({} s old)", metric.name(), metric.value(), metric.def().units(), metric.tn(now));
            }
        }
    }
    let report = snapshot.report();
    println!("{} bytes, {} hosts, {} metrics, {} elements skipped", report.bytes, report.hosts, report.metrics, report.skipped);
    Ok(())
}
