//! TCP services that must take connections (the ancestor's `TCPServices`).

use std::collections::BTreeMap;
use std::time::Instant;

use gmetad_core::agent::{AgentError, Context, Measurement, Message, Status};
use gmetad_core::message;
use serde::Deserialize;
use toml::Table;

use super::net::{Address, Until, problem};
use super::plan::{BLUE, GREEN, Limits, MINUTE, Plan, Probe, area, graph, keys_with};
use super::services::{Answer, Asked, ask, asked, measurement, well};
use crate::kind::Kind;
use crate::spec::Installed;

pub(super) const KIND: Kind =
    Kind { name: "tcp", about: "TCP services", section: "Services", build, default: Vec::new };

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {
    /// `host:port` -> label.
    services: BTreeMap<String, String>,
}

struct Tcp(Vec<Asked<Address>>);

fn build(name: &str, mut own: Table) -> Result<Installed, Message> {
    let limits = Limits::take(&mut own)?;
    let example = message!("write services = { \"host:port\" = \"label\" }");
    let Keys { services } = keys_with(own, "services", &example)?;
    let services = asked("services", services, |text| Address::parse(text, None))?;
    Ok(plan(Plan::new(name, &KIND, MINUTE, Tcp(services)), limits).build())
}

/// Fields, threshold and graphs of kinds that ask services.
pub(super) fn plan(plan: Plan, limits: Limits) -> Plan {
    plan.gauge("up", message!("answers"), "")
        .gauge("seconds", message!("time of the answer"), "s")
        .limited("seconds", "~:2", "", 2, limits)
        .graph(graph("time.png", message!("Time of the answer"), "s", vec![area("seconds", BLUE)]))
        .graph(graph("up.png", message!("Answers"), "", vec![area("up", GREEN)]))
}

impl Probe for Tcp {
    fn measure(&mut self, context: &Context) -> Result<Measurement, AgentError> {
        let until = Until::of(context);
        let answers = ask(&self.0, |service| {
            let began = Instant::now();
            match service.what.connect(until) {
                Ok(_) => Answer {
                    measurement: Measurement::new().number("seconds", began.elapsed().as_secs_f64()),
                    problem: None,
                },
                Err(error) => Answer { measurement: Measurement::new(), problem: Some(problem(&error)) },
            }
        });
        Ok(measurement(&self.0, answers))
    }

    fn judge(&self, _last: &Measurement) -> Status {
        well(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn one_listens_and_one_does_not() {
        let open = TcpListener::bind("127.0.0.1:0").unwrap();
        let closed = TcpListener::bind("127.0.0.1:0").unwrap();
        let addresses = [open.local_addr().unwrap(), closed.local_addr().unwrap()].map(|address| address.to_string());
        drop(closed);
        let keys = format!("services = {{ \"{}\" = \"Open\", \"{}\" = \"Closed\" }}", addresses[0], addresses[1]);
        let measurement = super::super::measure_once(&KIND, &keys);
        let expected = format!("Error: Closed ({}): connection refused", addresses[1]);
        assert_eq!(measurement.status().unwrap().to_string(), expected);
        let get = |wanted: &str, field: &str| {
            measurement.instances().find(|(name, _)| *name == wanted).unwrap().1.get_number(field)
        };
        assert_eq!((get("Open", "up"), get("Closed", "up"), get("Closed", "seconds")), (Some(1.0), Some(0.0), None));
        assert!(get("Open", "seconds").is_some_and(|seconds| seconds < 10.0));
    }

    #[test]
    fn refusals() {
        let error = |text: &str| build("x", text.parse().unwrap()).unwrap_err().to_string();
        assert!(error("").contains("services = {"), "{}", error(""));
        assert!(error("services = { \"host\" = \"x\" }").contains("HOST:PORT"));
    }
}
