//! RRD files of metrics and summaries for gmetad, written natively: no librrd is needed to create, update or read them.
//!
//! ```
//! use gmetad_rrd::{Backend, DsKind, Job, NativeStore, Point, Schema, Value, path};
//!
//! let root = tempfile::tempdir()?;
//! let mut store = NativeStore::new(Default::default());
//! let schema = Schema::host(15, DsKind::Gauge, &Schema::ganglia_rras());
//! let path = path::host_file(root.path(), "Cluster", "node1", "load_one", false);
//! // One or many points at once; the file is made if it is missing.
//! let points = [Point { time: 1_000_000_015, values: &[Value::Text("0.42")] }];
//! store.write_one(&Job { path: &path, schema: &schema, points: &points, hot: true, create: true })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Inside out: [`schema`] says what a file is made of, [`mod@format`] lays it out as bytes, [`value`] reads texts, [`update`] is
//! the arithmetic, [`path`] makes names safe; none of these does I/O or reads a clock. [`native`] writes files, every call
//! going through [`files`]; `librrd` does the same with librrd, [`rrdcached`] lets another process do it. [`cache`] is the
//! store above them: points wait, are journalled, and written together. [`view`] reads, and adds the points that still
//! wait; [`tree`] looks after all files of a tree; [`socket`] serves them to the clients of rrdcached.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::panic))] // in a test they are the report

pub mod cache;
pub mod cached;
pub mod error;
pub mod fetch;
pub mod files;
pub mod format;
mod info;
#[cfg(feature = "librrd")]
pub mod librrd;
pub mod native;
pub mod path;
pub mod plugin;
pub mod rrdcached;
pub mod schema;
pub mod socket;
pub mod store;
pub mod tree;
pub mod update;
pub mod value;
pub mod view;

pub use cache::{CacheOptions, RrdStore, StoreError};
pub use cached::Cached;
pub use error::RrdError;
pub use format::{FormatError, Layout, State};
pub use native::NativeStore;
pub use plugin::{BackendKind, RrdPlugin, RrdSettings, RrdTree};
pub use rrdcached::RrdcachedStore;
pub use schema::{Cf, DsKind, DsSpec, RraSpec, Schema, SchemaError};
pub use store::{Backend, Job, Written};
pub use update::{Rows, UpdateError};
pub use value::{Point, Value, ValueError};
pub use view::View;
