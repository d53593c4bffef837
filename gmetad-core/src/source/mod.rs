//! Where snapshots come from: gmonds and child gmetads over TCP, or memory.

mod reader;
mod resolve;

use std::io::{self, Read};
use std::sync::Arc;
use std::time::Duration;

pub use reader::{GmondReader, PollError, ReaderOptions};
pub use resolve::Resolver;

pub use crate::conf::Address;

use crate::model::{Cluster, Grid, UnixTime};
use crate::store::Item;
use crate::xml::Skipped;

/// Something that can be polled. [`GmondReader`] is one; an embedder may have others.
pub trait Source: Send {
    /// Takes the next snapshot. `now` is our clock at the beginning of the poll; the call may block for as long as
    /// its own deadlines allow, and must return soon after `stop` is set.
    fn poll(&mut self, now: UnixTime, stop: &Stop) -> Result<SourceSnapshot, PollError>;

    /// Understands what an earlier process saved of this source, which it had `polled` at that time; called before the
    /// first poll, if at all. To be read to its end: only there it shows whether it is whole. It is shown until the first
    /// good poll, which must bring nothing of it.
    ///
    /// `None` if this kind of source has no use for it.
    ///
    /// # Errors
    /// Those of `document`, and what is wrong with what it holds.
    fn restore(&mut self, document: &mut dyn Read, polled: UnixTime) -> io::Result<Option<SourceSnapshot>> {
        let _ = (document, polled);
        Ok(None)
    }
}

/// How long a look-up, a connect or a read blocks before the stop flag and the deadlines are looked at.
const SLICE: Duration = Duration::from_millis(250);

/// Tells a source that the daemon wants to stop.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<(parking_lot::Mutex<bool>, parking_lot::Condvar)>);

impl Stop {
    /// Stops everything that waits for it.
    pub fn stop(&self) {
        *self.0.0.lock() = true;
        self.0.1.notify_all();
    }

    /// Whether [`Stop::stop`] was called.
    pub fn is_stopped(&self) -> bool {
        *self.0.0.lock()
    }

    /// Waits for `time` or until stopped; true if stopped.
    pub fn wait(&self, time: Duration) -> bool {
        let mut stopped = self.0.0.lock();
        if !*stopped {
            self.0.1.wait_while_for(&mut stopped, |stopped| !*stopped, time);
        }
        *stopped
    }
}

/// What a poll brought, besides data.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PollReport {
    /// Bytes of the document, inflated.
    pub bytes: u64,
    /// Hosts in the document, with those that are down.
    pub hosts: u64,
    /// Metrics of those hosts, as kept.
    pub metrics: u64,
    /// Elements left out because they were damaged or over a limit.
    pub skipped: u64,
    /// Elements that were damaged and could be kept.
    pub mended: u64,
    /// The first few of both.
    pub described: Vec<Skipped>,
    /// Who answered.
    pub address: Option<Address>,
    /// Addresses that were tried before and did not, with the reason.
    pub unreachable: Vec<String>,
}

/// Everything one data source said at its last good poll, with what it said before and nobody took back. Immutable.
#[derive(Clone, Debug, Default)]
pub struct SourceSnapshot {
    pub(crate) clusters: Vec<Arc<Cluster>>,
    pub(crate) grids: Vec<Arc<Grid>>,
    pub(crate) polled: UnixTime,
    pub(crate) round: u64,
    pub(crate) report: PollReport,
}

impl SourceSnapshot {
    /// Its clusters.
    pub fn clusters(&self) -> impl ExactSizeIterator<Item = &Arc<Cluster>> {
        self.clusters.iter()
    }

    /// Its grids.
    pub fn grids(&self) -> impl ExactSizeIterator<Item = &Arc<Grid>> {
        self.grids.iter()
    }

    /// Both.
    pub(crate) fn items(&self) -> impl Iterator<Item = Item> {
        let clusters = self.clusters.iter().map(|cluster| Item::Cluster(Arc::clone(cluster)));
        clusters.chain(self.grids.iter().map(|grid| Item::Grid(Arc::clone(grid))))
    }

    /// When the poll began, on our clock.
    pub fn polled(&self) -> UnixTime {
        self.polled
    }

    /// Which good poll of its source it is, from 1; 0 is what an earlier process saved.
    pub fn round(&self) -> u64 {
        self.round
    }

    /// What the poll brought.
    pub fn report(&self) -> &PollReport {
        &self.report
    }

    /// The snapshot without hosts whose DMAX is over at `now`; `None` if there are none.
    pub(crate) fn without_expired(&self, now: UnixTime) -> Option<Self> {
        let mut changed = false;
        let clusters = self
            .clusters
            .iter()
            .map(|cluster| match crate::model::without_expired(cluster, now) {
                Some(cluster) => {
                    changed = true;
                    Arc::new(cluster)
                }
                None => Arc::clone(cluster),
            })
            .collect();
        changed.then(|| Self { clusters, ..self.clone() })
    }
}

impl Address {
    /// A host (name, IPv4, or IPv6 without brackets) and a port.
    pub fn new(host: impl Into<String>, port: u16) -> Self {
        Self { host: host.into(), port }
    }
}

impl From<std::net::SocketAddr> for Address {
    fn from(address: std::net::SocketAddr) -> Self {
        Self::new(address.ip().to_string(), address.port())
    }
}
