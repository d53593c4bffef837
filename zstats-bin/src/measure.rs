//! `z_stats run AGENT`: one measurement, shown.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use gmetad_agents::config;
use gmetad_agents::lang::Lang;
use gmetad_agents::spec::{Installed, Spec};
use gmetad_agents::status::{Judge, name as state_name};
use gmetad_core::agent::{Cell, Context, Element, History, Measurement, Message, Place, Status, Value};
use gmetad_core::message;
use gmetad_core::source::Stop;
use gmetad_process::mail::clean;

use crate::Said;
use crate::settings::Settings;
use crate::status::exit;

/// Longest text of a value that is shown, in characters.
const TEXT: usize = 1000;

/// Measures once.
pub(crate) fn run(settings: &Settings, agent: &str) -> Result<Said, Message> {
    let loaded = config::load(&settings.agents());
    for warning in &loaded.warnings {
        eprintln!("{}", settings.lang.message(&message!("warning: {}", warning.clone())));
    }
    let Some(found) = loaded.agents.into_iter().find(|found| found.spec.name == agent) else {
        if let Some(left) = loaded.left.iter().find(|left| left.name == agent) {
            return Err(message!("agent {} is not here: {}", agent, left.why.clone()));
        }
        return Err(message!("there is no agent {}; z_stats check lists them", agent));
    };
    let spec = found.spec.clone();
    let begun = Instant::now();
    let result = measured(found, &settings.root);
    let took = begun.elapsed();
    let status = match &result {
        Ok((measurement, checked)) => {
            let mut judge = Judge::new(Status::ok());
            judge.measured(&spec, measurement, checked);
            judge.latest().clone()
        }
        Err(reason) => {
            let mut judge = Judge::new(Status::ok());
            judge.failed(&spec, reason);
            judge.latest().clone()
        }
    };
    let measurement = result.ok().map(|(measurement, _)| measurement);
    Ok((shown(&spec, measurement.as_ref(), &status, took, settings.lang), exit(status.state)))
}

/// The measurement and what the agent thinks of it, or why there is none.
fn measured(installed: Installed, root: &Path) -> Result<(Measurement, Status), Message> {
    let Installed { spec, mut agent } = installed;
    // The service's own is not touched: it may be measuring.
    let scratch = std::env::temp_dir().join(format!("z_stats-run-{}", std::process::id()));
    agent.init_data(&Place { state: scratch.clone(), root: root.to_owned(), period: spec.period });
    let (to, from) = mpsc::channel();
    let stop = Stop::default();
    let now = gmetad_core::now();
    let context = Context { now, deadline: spec.timeout, stop };
    let measure = move || {
        let result = catch_unwind(AssertUnwindSafe(|| {
            let measurement = agent.measure(&context)?;
            let status = Status::default();
            let history = History { now, last: Some((now, &measurement)), before: None, status: &status };
            let checked = agent.check_status(&history);
            Ok((measurement, checked))
        }));
        let result = result.unwrap_or_else(|_| Err("it panicked".into()));
        let _ = to.send(result.map_err(|error: gmetad_core::agent::AgentError| match error.downcast::<Message>() {
            Ok(message) => *message,
            Err(error) => error.to_string().into(),
        }));
    };
    let thread = thread::Builder::new().name(format!("agent {}", spec.name)).spawn(measure);
    thread.map_err(|error| message!("no thread can be started: {}", error.to_string()))?;
    // A little more, so that an agent that keeps its deadline can say why.
    let result = from.recv_timeout(spec.timeout + Duration::from_millis(500)).unwrap_or_else(|error| match error {
        RecvTimeoutError::Timeout => Err(message!("it did not end within {} s", spec.timeout.as_secs_f64())),
        RecvTimeoutError::Disconnected => Err(message!("its thread ended without a word")),
    });
    let _ = fs::remove_dir_all(scratch); // most agents did not make it
    result
}

fn shown(spec: &Spec, measurement: Option<&Measurement>, status: &Status, took: Duration, lang: Lang) -> String {
    let line = |name: &str, text: &str| format!("{name:<24} {}\n", clean(text, TEXT));
    let mut text = line(&spec.name, &lang.message(&spec.description));
    let mut state = lang.message(&state_name(status.state));
    if !status.message.is_empty() {
        state += &format!(": {}", lang.message(&status.message));
    }
    text += &line(lang.text("status"), &state);
    text += &line(lang.text("took"), &format!("{:.3} s", took.as_secs_f64()));
    let Some(measurement) = measurement else { return text };
    text += &fields(spec, measurement, "");
    for (name, instance) in measurement.instances() {
        text += &line(&format!("[{}]", clean(name, 100)), "");
        text += &fields(spec, instance, "  ");
    }
    for element in measurement.elements() {
        match element {
            Element::Text(message) => text += &line(lang.text("text"), &lang.message(message)),
            Element::Html(html) => text += &line("HTML", html),
            Element::Table(table) => {
                text += &line(lang.text("table"), &lang.message(&table.title));
                let heads: Vec<_> = table.columns.iter().map(|head| lang.message(head)).collect();
                text += &format!("  {}\n", clean(&heads.join(" | "), TEXT));
                for row in &table.rows {
                    let cells: Vec<_> = row.iter().map(|cell| cell_text(cell, lang)).collect();
                    text += &format!("  {}\n", clean(&cells.join(" | "), TEXT));
                }
            }
        }
    }
    text
}

fn cell_text(cell: &Cell, lang: Lang) -> String {
    match cell {
        Cell::Number(number) => number.to_string(),
        Cell::Text(text) => lang.message(text),
        Cell::State(state) => lang.message(&state_name(*state)),
    }
}

fn fields(spec: &Spec, measurement: &Measurement, indent: &str) -> String {
    let mut text = String::new();
    for (name, value) in measurement.fields() {
        let unit = spec.fields.iter().find(|field| field.name == name).map_or("", |field| field.unit.as_str());
        let value = match value {
            Value::Number(number) => format!("{number} {unit}"),
            Value::Text(text) => clean(text, TEXT),
        };
        let name = format!("{indent}{}", clean(name, 100));
        text += &format!("{name:<24} {}\n", value.trim_end());
    }
    text
}
