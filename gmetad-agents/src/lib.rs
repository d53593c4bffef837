//! Agents that watch a server: they measure at an interval, are judged, have graphs, and are shown on a page.
//!
//! [`gmetad_core::agent::Agent`] is what measures; here is what runs it.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::panic))] // in a test they are the report

pub mod board;
pub mod class;
pub mod config;
pub mod described;
pub mod exec;
pub mod graph;
pub mod kind;
pub mod lang;
pub mod monitor;
pub mod notify;
pub mod page;
pub mod said;
pub mod spec;
pub mod status;
pub mod stock;
mod store;
pub mod view;

pub use board::{Board, Control};
pub use class::{LoadErrorAgent, MultiRrdAgent, RrdAgent, TableAgent};
pub use monitor::{Health, Monitor, MonitorError, MonitorOptions};
pub use notify::MailOptions;
pub use spec::{Installed, Spec};
pub use view::AgentView;
