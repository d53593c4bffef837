//! Stock agents: what a Linux server has, from /proc, /sys and sockets.
//!
//! Each file has a kind, or some that share a source: its own keys, fields, thresholds and graphs, a pure function from what was
//! read to a measurement, and a probe that reads. docs/agents.md has the table of them.

mod cert;
mod command;
mod conntrack;
mod cpu;
mod diskio;
mod disks;
mod dns;
mod http;
mod load;
mod log;
mod mailq;
mod memory;
mod net;
mod network;
mod packages;
mod pids;
mod ping;
mod plan;
mod proc;
mod process;
mod processes;
mod rand;
mod services;
mod squid;
mod systemd;
mod tcp;
mod time;
mod trusted;
mod ups;
mod uptime;

use crate::kind::Kind;

/// The stock kinds, in the order in which their agents are shown.
pub const KINDS: &[Kind] = &[
    load::KIND,
    cpu::KIND,
    memory::MEMORY,
    memory::SWAP,
    uptime::KIND,
    processes::KIND,
    time::KIND,
    ups::KIND,
    log::KIND,
    disks::KIND,
    diskio::KIND,
    network::KIND,
    conntrack::KIND,
    ping::KIND,
    dns::KIND,
    process::KIND,
    systemd::KIND,
    tcp::KIND,
    http::KIND,
    mailq::KIND,
    squid::KIND,
    cert::KIND,
    packages::KIND,
    packages::PAQUET,
    rand::KIND,
];

/// A context for tests.
#[cfg(test)]
fn context() -> gmetad_core::agent::Context {
    let deadline = std::time::Duration::from_secs(20);
    let now = std::time::UNIX_EPOCH.elapsed().map_or(0, |time| time.as_secs() as _);
    gmetad_core::agent::Context { now, deadline, stop: gmetad_core::source::Stop::default() }
}

/// The first measurement of an agent with those keys.
#[cfg(test)]
fn measure_once(kind: &Kind, keys: &str) -> gmetad_core::agent::Measurement {
    (kind.build)(kind.name, keys.parse().unwrap()).unwrap().agent.measure(&context()).unwrap()
}

#[cfg(test)]
mod tests;
