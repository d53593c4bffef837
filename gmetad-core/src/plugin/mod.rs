//! Plugins: they get each cluster after each poll.
//!
//! Changers run first, in order, each seeing what the one before made of the transaction; the store never does. Then
//! every sink gets the result through a queue of its own, on a thread of its own: a slow one delays nobody.

mod chain;
mod change;
mod edit;

use std::sync::Arc;
use std::time::Duration;

pub(crate) use chain::{Chain, guarded, panic_text};
pub use change::{Change, HostChange, MetricChange, NewMetric, Refused};
pub use edit::Editor;

use crate::conf::Section;
use crate::model::{Cluster, Grid, UnixTime};
use crate::serve::Requests;
use crate::stats::Stats;
use crate::store::Item;
use crate::summary::Summary;

/// Why a plugin could not do its work. The text goes to the log behind the plugin's name.
pub type PluginError = Box<dyn std::error::Error + Send + Sync>;

/// What a plugin does with a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Changes what later plugins see.
    Changer,
    /// Only reads, on a thread of its own, from a queue of its own.
    Sink,
    /// Only reads, after the changers, and on their thread: it must take what it needs and return. For plugins that have a
    /// thread of their own.
    Tap,
}

/// What waits for a sink that is slower than the polls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// The newest transaction of each cluster.
    Newest,
    /// All of them, until they hold so many bytes of snapshots in memory.
    Bytes(usize),
}

/// Something that gets each cluster after each poll.
///
/// A panic or an error of a method is caught, logged with the plugin's name and counted; the rest goes on. After three
/// in a row the plugin rests for a second, and twice as long after each further one, up to five minutes: a sink's
/// transactions wait meanwhile, a changer is passed over.
pub trait Plugin: Send {
    /// Its name, and that of its thread and of its section of the configuration (its cfgID).
    fn name(&self) -> &str;

    /// Whether it changes transactions or only reads them. Sinks stay sinks; the others are asked at each transaction.
    fn role(&self) -> Role {
        Role::Sink
    }

    /// What waits for it while it is slow, if it is a sink. What does not fit is dropped and counted.
    fn keep(&self) -> Keep {
        Keep::Newest
    }

    /// Gets the sections `name { … }` of the configuration, before `start`. A plugin reads the one of its own name,
    /// and may read others'.
    ///
    /// # Errors
    /// An error here stops the start of the daemon; its text should name the directive and the remedy.
    fn configure(&mut self, sections: &[Section]) -> Result<(), PluginError> {
        let _ = sections;
        Ok(())
    }

    /// Gets the counters of the daemon it runs in, before `start`.
    fn attach(&mut self, stats: &Arc<Stats>) {
        let _ = stats;
    }

    /// Whether it counts the transactions that it has taken by itself, in the counters of `attach`: one that only hands them
    /// over, as a tap does, knows later than `notify`.
    fn counts(&self) -> bool {
        self.role() == Role::Tap
    }

    /// Gets what tells which clusters and hosts are asked for on the interactive port, before `configure`.
    fn requests(&mut self, requests: &Arc<Requests>) {
        let _ = requests;
    }

    /// Gets ready, after the change of user.
    ///
    /// # Errors
    /// An error here stops the start of the daemon.
    fn start(&mut self) -> Result<(), PluginError> {
        Ok(())
    }

    /// Gets a cluster, a grid or the root.
    ///
    /// # Errors
    /// The text is logged and counted.
    fn notify(&mut self, transaction: &mut Transaction) -> Result<(), PluginError>;

    /// Ends; nothing comes after it.
    fn stop(&mut self) {}
}

/// What a transaction is about.
#[derive(Clone, Debug)]
pub enum Subject {
    /// A cluster, polled from a gmond.
    Cluster(Arc<Cluster>),
    /// A grid, polled from another gmetad.
    Grid(Arc<Grid>),
    /// The sum of everything.
    Root(Arc<Summary>),
}

impl From<Item> for Subject {
    fn from(item: Item) -> Self {
        match item {
            Item::Cluster(cluster) => Self::Cluster(cluster),
            Item::Grid(grid) => Self::Grid(grid),
        }
    }
}

/// One cluster, grid or root after one poll.
#[derive(Clone, Debug)]
pub struct Transaction {
    pub(crate) subject: Subject,
    pub(crate) source: Arc<str>,
    pub(crate) interval: Duration,
    pub(crate) time: UnixTime,
    pub(crate) alive: bool,
    pub(crate) changes: Vec<Change>,
}

impl Transaction {
    /// What it is about.
    pub fn subject(&self) -> &Subject {
        &self.subject
    }

    /// The cluster, if it is one.
    pub fn cluster(&self) -> Option<&Cluster> {
        match &self.subject {
            Subject::Cluster(cluster) => Some(cluster),
            _ => None,
        }
    }

    /// The summary of what it is about.
    pub fn summary(&self) -> &Summary {
        match &self.subject {
            Subject::Cluster(cluster) => cluster.summary(),
            Subject::Grid(grid) => grid.summary(),
            Subject::Root(summary) => summary,
        }
    }

    /// Name of the data source; empty for the root.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// [`Transaction::source`], shared.
    pub fn shared_source(&self) -> Arc<str> {
        Arc::clone(&self.source)
    }

    /// Interval of the data source; for the root the time between two root summaries.
    pub fn interval(&self) -> Duration {
        self.interval
    }

    /// When the poll began: seconds since the epoch on our clock.
    pub fn time(&self) -> UnixTime {
        self.time
    }

    /// The time of its values: LOCALTIME of the source where it is known, else our own (reference 7.3).
    pub fn value_time(&self) -> UnixTime {
        let localtime = match &self.subject {
            Subject::Cluster(cluster) => cluster.localtime(),
            Subject::Grid(grid) => grid.localtime(),
            Subject::Root(_) => 0,
        };
        if localtime == 0 { self.time } else { localtime.into() }
    }

    /// Whether the poll brought data. False: the source could not be read, and this is what it said last.
    pub fn is_alive(&self) -> bool {
        self.alive
    }

    /// Changes it for the plugins that come later; the store never sees that. For changers. Changes are made when `notify`
    /// returns, all of them or, after an error, none.
    pub fn change(&mut self, change: Change) {
        if self.changes.len() < crate::limits::CHANGES {
            self.changes.push(change);
        }
    }

    /// The changes that were asked for since the last plugin returned.
    pub fn changes(&self) -> &[Change] {
        &self.changes
    }

    /// Puts another version of the cluster in place, for the plugins that come later. For changers.
    pub fn replace_cluster(&mut self, cluster: Arc<Cluster>) {
        self.subject = Subject::Cluster(cluster);
    }

    /// A number that names what it is about, to find the older transaction of the same thing by.
    pub fn key(&self) -> u64 {
        use std::hash::BuildHasher;
        let (kind, name): (u8, &str) = match &self.subject {
            Subject::Cluster(cluster) => (0, cluster.name()),
            Subject::Grid(grid) => (1, grid.name()),
            Subject::Root(_) => (2, ""),
        };
        foldhash::fast::FixedState::default().hash_one((kind, name, &*self.source))
    }

    /// Bytes of memory that it keeps from being freed, about.
    pub(crate) fn weight(&self) -> usize {
        let hosts = self.cluster().map_or(0, |cluster| {
            cluster
                .hosts
                .iter()
                .map(|host| 200 + 16 * host.parts().cells.len() + host.parts().text.len())
                .sum::<usize>()
        });
        500 + hosts + 100 * self.summary().metrics().len()
    }
}
