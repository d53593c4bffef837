//! What a page of the program may see of a running daemon.

use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};

use super::{SourceState, SourceStatus};
use crate::serve::AccessList;
use crate::stats::Stats;
use crate::store::GridStore;

/// Looks at a daemon from one of its own ports, where no [`crate::Gmetad`] is at hand. Cheap to clone; follows reloads.
#[derive(Clone)]
pub struct Observer {
    pub(super) store: Arc<GridStore>,
    pub(super) stats: Arc<Stats>,
    pub(super) sources: Arc<Mutex<Vec<Arc<SourceStatus>>>>,
    pub(super) access: Arc<RwLock<AccessList>>,
}

impl Observer {
    /// The tree.
    pub fn store(&self) -> &Arc<GridStore> {
        &self.store
    }

    /// The counters.
    pub fn stats(&self) -> &Arc<Stats> {
        &self.stats
    }

    /// How each source does, in the order of the configuration.
    pub fn sources(&self) -> Vec<SourceState> {
        let sources = self.sources.lock().clone();
        sources.iter().map(|source| source.state()).collect()
    }

    /// Whether this address may read the XML ports.
    pub fn allows(&self, peer: IpAddr) -> bool {
        self.access.read().allows(peer)
    }
}
