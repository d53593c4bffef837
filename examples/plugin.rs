//! A plugin in Rust: it gets each cluster after each poll.

use std::error::Error;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use gmetad_core::plugin::PluginError;
use gmetad_core::synthetic::{SyntheticCluster, SyntheticSource};
use gmetad_core::{Gmetad, Plugin, Transaction};

/// Tells the mean load of each cluster.
struct MeanLoad {
    to: Sender<String>,
}

impl Plugin for MeanLoad {
    fn name(&self) -> &str {
        "mean_load"
    }

    fn notify(&mut self, transaction: &mut Transaction) -> Result<(), PluginError> {
        // Grids and the root come, too.
        let Some(cluster) = transaction.cluster() else { return Ok(()) };
        let Some(load) = transaction.summary().metric("load_one").filter(|load| load.num() > 0) else { return Ok(()) };
        let mean = load.sum() / load.num() as f64;
        let text = format!("{}: mean load {mean:.2} over {} hosts", cluster.name(), load.num());
        // An error is logged with the plugin's name and counted; nothing else stops.
        Ok(self.to.send(text)?)
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let (to, from) = channel();
    let cluster = SyntheticCluster::new("synthetic", 50, 33);
    let gmetad = Gmetad::builder()
        .custom_source("synthetic", Duration::from_secs(1), move || SyntheticSource::new(cluster.clone()))
        .plugin(MeanLoad { to })
        .start()?;
    println!("{}", from.recv_timeout(Duration::from_secs(10))?);
    gmetad.stop(Duration::from_secs(5)).map_err(|left| format!("still running: {left:?}"))?;
    Ok(())
}
