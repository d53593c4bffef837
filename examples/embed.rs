//! The whole daemon inside another program: polls one gmond and prints a summary table.
//!
//! ```text
//! cargo run --example embed                  # a synthetic gmond
//! cargo run --example embed -- node1 8649    # a real one
//! ```

use std::error::Error;
use std::time::Duration;

use gmetad_core::Gmetad;
use gmetad_core::source::Address;
use gmetad_core::synthetic::{SyntheticCluster, SyntheticGmond};

fn main() -> Result<(), Box<dyn Error>> {
    let synthetic = SyntheticGmond::start(SyntheticCluster::new("synthetic", 20, 33))?;
    let address = match (std::env::args().nth(1), std::env::args().nth(2)) {
        (Some(host), port) => Address::new(host, port.map_or(Ok(8649), |port| port.parse())?),
        (None, _) => synthetic.address().into(),
    };

    let (builder, transactions) =
        Gmetad::builder().grid("Example", "").source("example", Duration::from_secs(5), vec![address]).subscribe(16);
    let gmetad = builder.start()?;

    // One transaction a cluster after each poll.
    let transaction = transactions.recv_timeout(Duration::from_secs(30))?;
    let summary = transaction.summary();
    println!("{} hosts up, {} down", summary.hosts_up(), summary.hosts_down());
    println!("{:<16} {:>16} {:>6} {:>14}", "METRIC", "SUM", "NUM", "MEAN");
    for metric in summary.metrics().iter().filter(|metric| metric.num() > 0) {
        let mean = metric.sum() / metric.num() as f64;
        println!("{:<16} {:>16} {:>6} {:>14.2}", metric.name(), metric.sum_text(), metric.num(), mean);
    }

    gmetad.stop(Duration::from_secs(5)).map_err(|left| format!("still running: {left:?}"))?;
    Ok(())
}
