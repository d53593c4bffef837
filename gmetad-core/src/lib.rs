//! The Ganglia grid daemon as a library: poll gmond, keep the grid tree, summarise it, serve it as XML.

pub mod conf;
pub mod daemon;
pub mod limits;
pub mod model;
pub mod plugin;
pub mod query;
mod queue;
pub mod serve;
pub mod source;
pub mod stats;
pub mod store;
pub mod summary;
#[cfg(any(test, feature = "synthetic"))]
pub mod synthetic;
pub mod xml;

pub use daemon::Gmetad;
pub use plugin::{Plugin, Transaction};
pub use query::Query;
pub use source::{Address, GmondReader, PollError, ReaderOptions, SourceSnapshot};
pub use store::{GridStore, GridView};
pub use xml::XmlWriter;

/// Our clock: seconds since the epoch.
pub fn now() -> model::UnixTime {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_secs() as i64)
}
