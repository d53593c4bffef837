//! RRD files of metrics and summaries for gmetad, written natively: no librrd is needed to create or update them.
//!
//! Inside out: [`schema`] says what a file is made of, [`format`] lays it out as bytes, [`update`] is the arithmetic.
//! None of these does I/O or reads a clock.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::panic))] // in a test they are the report

pub mod error;
pub mod fetch;
pub mod files;
pub mod format;
pub mod info;
#[cfg(feature = "librrd")]
pub mod librrd;
pub mod native;
pub mod path;
pub mod schema;
pub mod store;
pub mod update;
pub mod value;

pub use error::RrdError;
pub use format::{FormatError, Layout, State};
pub use native::NativeStore;
pub use schema::{Cf, DsKind, DsSpec, RraSpec, Schema, SchemaError};
pub use store::{Backend, FileId};
pub use update::{Rows, UpdateError};
pub use value::{Point, Value, ValueError};
