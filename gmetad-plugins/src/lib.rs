//! Plugins that gmetad brings along: executables in any language ([`exec`]), and alerts ([`alert`]).
#![forbid(unsafe_code)]

pub mod alert;
pub mod exec;
mod pattern;
