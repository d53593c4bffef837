//! Agents in any language: executables.

pub use gmetad_process::child::Ended;

pub mod collectd;
pub mod influx;
pub mod json;
pub mod munin;
pub mod nagios;
mod names;
pub mod native;
mod pairs;
mod perfdata;
mod reading;

pub use names::{FIELDS, INSTANCES, VALUES, name};
pub use reading::Reading;

use crate::kind::Kind;

/// The kinds that run executables.
pub const KINDS: &[Kind] = &[];
