//! Follows what the daemon polls, cluster by cluster, and says which hosts changed between up and down.

use std::collections::HashMap;
use std::error::Error;
use std::time::Duration;

use gmetad_core::Gmetad;
use gmetad_core::synthetic::{SyntheticCluster, SyntheticSource};

fn main() -> Result<(), Box<dyn Error>> {
    let mut cluster = SyntheticCluster::new("synthetic", 6, 4);
    cluster.down = 2;
    // Bounded: if we fall 64 transactions behind we miss some, and the daemon does not wait for us.
    let (builder, transactions) = Gmetad::builder()
        .custom_source("synthetic", Duration::from_secs(1), move || SyntheticSource::new(cluster.clone()))
        .subscribe(64);
    let gmetad = builder.start()?;
    let mut states = HashMap::new();
    for transaction in transactions.iter().filter(|transaction| transaction.cluster().is_some()).take(3) {
        let Some(cluster) = transaction.cluster() else { continue };
        println!("{}: {} hosts, polled at {}", cluster.name(), cluster.hosts().len(), transaction.time());
        for host in cluster.hosts() {
            if states.insert(host.name().to_owned(), host.is_up()) != Some(host.is_up()) {
                println!("  {} is {} now", host.name(), if host.is_up() { "up" } else { "down" });
            }
        }
    }

    gmetad.stop(Duration::from_secs(5)).map_err(|left| format!("still running: {left:?}"))?;
    Ok(())
}
