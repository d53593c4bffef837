//! Agents in any language: executables.
//!
//! An agent of kind `exec` runs a program (no shell, a process group, a directory and an environment of its own, bounds on
//! everything) and reads its answer by an adapter: the native JSON object ([`native`]), a check for Nagios ([`nagios`]), a munin
//! plugin ([`munin`]), lines of influx ([`influx`]) or collectd ([`collectd`]), any JSON ([`json`]). Adapters are pure functions.
//! `docs/agents-exec.md` is for those who write such programs.

pub use gmetad_process::child::Ended;

mod agent;
pub mod collectd;
pub mod describe;
pub mod influx;
pub mod json;
mod limits;
pub mod munin;
mod munin_config;
pub mod nagios;
mod names;
pub mod native;
mod pairs;
mod perfdata;
mod program;
mod reading;
mod settings;
mod stream;

pub use names::{FIELDS, INSTANCES, VALUES, name};
pub use reading::Reading;
pub use settings::{Format, Mode, Settings};

use gmetad_core::agent::Message;
use toml::Table;

use crate::class::RrdAgent;
use crate::kind::Kind;
use crate::said;
use crate::spec::Installed;

/// The kinds that run executables.
pub const KINDS: &[Kind] = &[
    Kind {
        name: "exec",
        about: "Executable",
        section: "Services",
        build: |name, own| build(name, own, None),
        default: Vec::new,
    },
    Kind {
        name: "nagios",
        about: "Check of Nagios (monitoring-plugins)",
        section: "Services",
        build: |name, own| build(name, own, Some("nagios")),
        default: Vec::new,
    },
    Kind {
        name: "munin",
        about: "Munin plugin",
        section: "System",
        build: |name, own| build(name, own, Some("munin")),
        default: Vec::new,
    },
];

/// Nothing is run here: a start must not wait for foreign programs. They are asked what they are at their first measurement.
fn build(name: &str, own: Table, format: Option<&str>) -> Result<Installed, Message> {
    let settings = Settings::of(own, format)?;
    Ok(RrdAgent::new(agent::ExecAgent::new(name, settings)).into())
}
