//! Connections that the firewall keeps track of, and how many it can (the ancestor's `Connexions`).

use std::path::Path;

use gmetad_core::agent::{AgentError, Context, Measurement, Message, State, Status};
use gmetad_core::message;
use serde::Deserialize;
use toml::Table;

use super::plan::{BLUE, Limits, MINUTE, ORANGE, Plan, Probe, area, count, graph, keys, percentages, plain, share};
use super::proc::number;
use crate::kind::Kind;
use crate::spec::Installed;

const COUNT: &str = "/proc/sys/net/netfilter/nf_conntrack_count";
const MOST: &str = "/proc/sys/net/netfilter/nf_conntrack_max";

pub(super) const KIND: Kind =
    Kind { name: "conntrack", about: "Connections of the firewall", section: "Network", build, default };

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {}

struct Conntrack;

fn build(name: &str, mut own: Table) -> Result<Installed, Message> {
    let limits = Limits::take(&mut own)?;
    let Keys {} = keys(own)?;
    Ok(Plan::new(name, &KIND, MINUTE, Conntrack)
        .gauge("connections", message!("connections"), "")
        .shown("most", message!("connections possible"), "")
        .percent("used_percent", message!("used"))
        .limited("used_percent", "~:80", "~:95", 1, limits)
        .graph(graph("connections.png", message!("Connections"), "", vec![area("connections", BLUE)]))
        .graph(percentages("used.png", message!("Connections, of those possible"), vec![area("used_percent", ORANGE)]))
        .build())
}

fn default() -> Vec<Installed> {
    if Path::new(COUNT).exists() { plain(&KIND) } else { Vec::new() }
}

impl Probe for Conntrack {
    fn measure(&mut self, _context: &Context) -> Result<Measurement, AgentError> {
        let read = |path: &'static str| {
            number(path).ok_or_else(|| message!("{} cannot be read: the firewall keeps track of no connections", path))
        };
        Ok(measured(read(COUNT)?, read(MOST)?))
    }

    fn judge(&self, last: &Measurement) -> Status {
        let connections = count(last.get_number("connections").unwrap_or(f64::NAN));
        Status::new(State::Ok, message!("{} {connection|connections}", connections))
    }
}

fn measured(count: f64, most: f64) -> Measurement {
    Measurement::new().number("connections", count).number("most", most).number("used_percent", share(count, most))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recorded_and_here() {
        assert_eq!(measured(65_536.0, 262_144.0).get_number("used_percent"), Some(25.0));
        let mut agent = build("conntrack", Table::new()).unwrap().agent;
        match agent.measure(&super::super::context()) {
            Ok(measurement) => assert!(measurement.get_number("most").unwrap() > 0.0),
            Err(error) => assert!(error.to_string().contains(COUNT) && default().is_empty(), "{error}"),
        }
    }
}
