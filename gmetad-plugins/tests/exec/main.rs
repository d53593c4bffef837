//! Executables as plugins: what they get, what they change, and that whatever they do costs nobody else anything.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod hostile;
mod rig;
mod set;
mod work;
