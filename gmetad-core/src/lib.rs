//! The Ganglia grid daemon as a library: poll gmonds, keep the grid tree, summarise it, serve it as XML.
//!
//! Read one gmond, without a thread or a store:
//!
//! ```no_run
//! use gmetad_core::{Address, GmondReader, ReaderOptions};
//!
//! let mut reader = GmondReader::new(vec![Address::new("node1", 8649)], ReaderOptions::default());
//! for cluster in reader.poll(gmetad_core::now())?.clusters() {
//!     println!("{}: {} hosts up", cluster.name(), cluster.summary().hosts_up());
//! }
//! # Ok::<(), gmetad_core::PollError>(())
//! ```
//!
//! Or run the whole daemon inside a program. This example runs as it is, on a source in memory:
//!
//! ```
//! use std::time::Duration;
//! use gmetad_core::synthetic::{SyntheticCluster, SyntheticSource};
//! use gmetad_core::{Gmetad, Query, XmlWriter};
//!
//! let (builder, polls) = Gmetad::builder()
//!     .grid("My Grid", "http://ganglia.example.org/")
//!     .custom_source("lab", Duration::from_secs(15), || SyntheticSource::new(SyntheticCluster::new("lab", 20, 33)))
//!     .subscribe(8);
//! let gmetad = builder.start()?;
//!
//! let polled = polls.recv_timeout(Duration::from_secs(10))?;
//! let load = polled.summary().metric("load_one").expect("every gmond has it");
//! println!("mean load of {} hosts: {:.2}", load.num(), load.sum() / load.num() as f64);
//!
//! let xml = XmlWriter::new(&gmetad.store().view(), Query::parse("/lab?filter=summary")?, gmetad_core::now()).into_bytes();
//! assert!(xml.ends_with(b"</GANGLIA_XML>\n"));
//! gmetad.stop(Duration::from_secs(5)).expect("every thread ended");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! | you want | take |
//! |---|---|
//! | the XML of one gmond or gmetad, understood | [`GmondReader`] |
//! | the tree of many, merged, readable while it changes | [`GridStore`], [`GridView`] |
//! | the tree as Ganglia XML, whole or a path, piece by piece | [`XmlWriter`], [`Query`] |
//! | each cluster after each poll | [`Plugin`], [`Gmetad::subscribe`] |
//! | a source of your own | [`source::Source`] |
//! | everything wired, with ports | [`Gmetad::builder`] |
//! | something that measures and judges | [`Agent`] |
//! | gmetad.conf | [`conf::Config`] |
//!
//! RRD files are written by the plugins of the crate `gmetad-rrd`.
//!
//! A program may have several daemons: nothing here touches signals, the logger, the umask or the working directory.
//! There is no async runtime; each source has a thread. Messages go to the `log` facade.
//!
//! **Features**: `synthetic` adds the module of that name, a gmond that makes its data up. **Rust**: 1.89 or later.
#![forbid(unsafe_code)]

pub mod agent;
pub mod conf;
pub mod daemon;
pub mod limits;
pub mod model;
pub mod plugin;
pub mod query;
mod queue;
pub mod serve;
pub mod source;
mod state;
pub mod stats;
pub mod store;
pub mod summary;
#[cfg(any(test, feature = "synthetic"))]
pub mod synthetic;
pub mod xml;

pub use agent::Agent;
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
