//! A cluster with its hosts, and a grid that is known by its summary only.

use std::sync::Arc;

use super::hosts::Hosts;
use super::{Host, UnixTime};
use crate::summary::Summary;

/// A cluster at one poll. Opaque: read it through its accessors.
#[derive(Clone, Debug)]
pub struct Cluster {
    pub(crate) name: Arc<str>,
    pub(crate) owner: Arc<str>,
    pub(crate) latlong: Arc<str>,
    pub(crate) url: Arc<str>,
    pub(crate) localtime: u32,
    pub(crate) hosts: Hosts,
    pub(crate) summary: Arc<Summary>,
    /// Hosts that the summary counts have gone since.
    pub(crate) pruned: bool,
    pub(crate) polled: UnixTime,
    pub(crate) round: u64,
}

impl Cluster {
    /// NAME.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// OWNER; `unspecified` if there was none.
    pub fn owner(&self) -> &str {
        &self.owner
    }

    /// LATLONG; `unspecified` if there was none.
    pub fn latlong(&self) -> &str {
        &self.latlong
    }

    /// URL; `unspecified` if there was none.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// LOCALTIME of the last good poll: seconds since the epoch on the source's clock.
    pub fn localtime(&self) -> u32 {
        self.localtime
    }

    /// When the last good poll began, on our clock.
    pub fn polled(&self) -> UnixTime {
        self.polled
    }

    /// Its hosts, those that are no longer reported included.
    pub fn hosts(&self) -> impl ExactSizeIterator<Item = &Host> + Clone {
        self.hosts.iter().map(|host| &**host)
    }

    /// The host of exactly that name.
    pub fn host(&self, name: &str) -> Option<&Host> {
        self.host_slot(name).map(|slot| &*self.hosts[slot])
    }

    pub(crate) fn host_slot(&self, name: &str) -> Option<usize> {
        self.hosts.slot(name)
    }

    /// Whether the last good poll had this host (which must be one of [`Cluster::hosts`]). For the clusters of snapshots
    /// and transactions; in a view a cluster of several sources has hosts of several polls.
    pub fn is_fresh(&self, host: &Host) -> bool {
        host.parts().round == self.round
    }

    /// The summary over its hosts at the last good poll.
    pub fn summary(&self) -> &Summary {
        &self.summary
    }
}

/// A grid that was polled from another gmetad: its summary, no hosts.
#[derive(Clone, Debug)]
pub struct Grid {
    pub(crate) name: Arc<str>,
    pub(crate) authority: Arc<str>,
    pub(crate) localtime: u32,
    pub(crate) summary: Arc<Summary>,
    pub(crate) polled: UnixTime,
}

impl Grid {
    /// NAME.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// AUTHORITY: the URL of the grid's own pages.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// LOCALTIME of the last good poll: seconds since the epoch on the source's clock.
    pub fn localtime(&self) -> u32 {
        self.localtime
    }

    /// When the last good poll began, on our clock.
    pub fn polled(&self) -> UnixTime {
        self.polled
    }

    /// Everything inside the grid, summed.
    pub fn summary(&self) -> &Summary {
        &self.summary
    }
}
