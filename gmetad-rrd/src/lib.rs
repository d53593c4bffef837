//! RRD files of metrics and summaries for gmetad, written natively: no librrd is needed to create or update them.
//!
//! Inside out: [`schema`] says what a file is made of, [`format`] lays it out as bytes, [`update`] is the arithmetic.
//! None of these does I/O or reads a clock.
#![forbid(unsafe_code)]

pub mod format;
pub mod schema;
pub mod update;
pub mod value;

pub use format::{FormatError, Layout, State};
pub use schema::{Cf, DsKind, DsSpec, RraSpec, Schema, SchemaError};
pub use update::{Rows, UpdateError};
pub use value::{Point, Value, ValueError};
