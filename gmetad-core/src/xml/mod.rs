//! Ganglia's XML: bytes to model, and model to bytes.

pub(crate) mod escape;
mod parse;
pub(crate) mod recognise;
mod saved;
mod tags;
mod writer;

pub use escape::escaped;
pub use parse::{DocumentError, ParseOptions, Skipped};
pub(crate) use parse::{DocumentParser, Scratch};
pub use tags::TagError;
pub(crate) use writer::resolve;
pub use writer::{PROLOG, Progress, VERSION, XmlWriter};
