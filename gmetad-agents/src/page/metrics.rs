//! `/metrics`: statuses, values and the service's own counters as OpenMetrics.

use std::sync::Arc;

use gmetad_core::agent::{Measurement, State, Value};
use gmetad_http::{OpenMetrics, Response};

use super::visit::Visit;
use crate::view::AgentView;

/// Values of an agent; more are left out.
const VALUES: usize = 10_000;

/// Name, type, help, and the value of an agent, if it has one.
type Family = (&'static str, &'static str, &'static str, fn(&AgentView) -> Option<f64>);

const FAMILIES: [Family; 9] = [
    ("zstats_agent_since_timestamp_seconds", "gauge", "Since when it has its state.", |view| Some(view.since as f64)),
    ("zstats_agent_last_timestamp_seconds", "gauge", "When its last good measurement began.", |view| {
        view.last.as_ref().map(|taken| taken.time as f64)
    }),
    ("zstats_agent_measurement_seconds", "gauge", "How long its last good measurement took.", |view| {
        view.last.as_ref().map(|taken| taken.took)
    }),
    ("zstats_agent_period_seconds", "gauge", "Time between two measurements.", |view| {
        Some(view.spec.period.as_secs_f64())
    }),
    ("zstats_agent_acknowledged", "gauge", "1 if somebody knows of its state.", |view| {
        Some(f64::from(u8::from(view.acknowledged.is_some())))
    }),
    ("zstats_agent_silenced_until_timestamp_seconds", "gauge", "Until when nobody is told of its states.", |view| {
        view.silenced.map(|until| until as f64)
    }),
    ("zstats_agent_measured", "counter", "Good measurements.", |view| Some(view.measured as f64)),
    ("zstats_agent_failed", "counter", "Measurements that failed.", |view| Some(view.failed as f64)),
    ("zstats_agent_skipped", "counter", "Measurements left out because the one before was not done.", |view| {
        Some(view.skipped as f64)
    }),
];

pub(super) fn page(visit: &Visit<'_>) -> Response {
    let agents = visit.pages.board.agents();
    let mut out = OpenMetrics::default();
    out.family("zstats_build", "info", "Version of the program.");
    out.sample("_info", &[("version", env!("CARGO_PKG_VERSION"))], 1.0);
    out.family("zstats_agent_status", "gauge", "1 for the state that the agent has, 0 for the others.");
    for agent in &agents {
        let section = agent.spec.section.to_string();
        for state in State::ALL {
            let labels = [("agent", agent.spec.name.as_str()), ("section", section.as_str()), ("state", state.name())];
            out.sample("", &labels, f64::from(u8::from(agent.status.state == state)));
        }
    }
    for (name, kind, help, value) in FAMILIES {
        out.family(name, kind, help);
        for agent in &agents {
            if let Some(value) = value(agent) {
                out.sample(if kind == "counter" { "_total" } else { "" }, &[("agent", &agent.spec.name)], value);
            }
        }
    }
    out.family("zstats_value", "gauge", "Numbers of the last good measurement, as measured.");
    for agent in &agents {
        values(&mut out, agent);
    }
    for report in visit.pages.options.reports.all() {
        for figure in report.figures() {
            let (kind, suffix) = if figure.gauge { ("gauge", "") } else { ("counter", "_total") };
            let help = format!("{}.", figure.name.replace('_', " "));
            out.family(&format!("zstats_{}_{}", report.name(), figure.name), kind, &help);
            out.sample(suffix, &[], figure.value as f64);
        }
    }
    out.response()
}

fn values(out: &mut OpenMetrics, agent: &Arc<AgentView>) {
    let Some(taken) = &agent.last else { return };
    fn fields<'a>(instance: &'a str, of: &'a Measurement) -> impl Iterator<Item = (&'a str, &'a str, &'a Value)> {
        of.fields().map(move |(name, value)| (instance, name, value))
    }
    let instances = taken.measurement.instances().flat_map(|(instance, of)| fields(instance, of));
    for (instance, field, value) in fields("", &taken.measurement).chain(instances).take(VALUES) {
        let Value::Number(number) = value else { continue };
        let unit = agent.spec.unit(field);
        let labels = [("agent", agent.spec.name.as_str()), ("instance", instance), ("field", field), ("unit", unit)];
        // A label that is empty is one that is missing.
        let labels: Vec<_> = labels.into_iter().filter(|(_, value)| !value.is_empty()).collect();
        out.sample("", &labels, *number);
    }
}
