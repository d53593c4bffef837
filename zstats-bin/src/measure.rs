//! `z_stats run AGENT`: one measurement, shown.

use std::fs::{self, DirBuilder};
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use gmetad_agents::lang::Lang;
use gmetad_agents::page::readable;
use gmetad_agents::said::{Said, by_agent};
use gmetad_agents::spec::{Installed, Spec};
use gmetad_agents::status::{Judge, name as state_name};
use gmetad_agents::{config, described};
use gmetad_core::agent::{Cell, Context, Described, Element, History, Measurement, Message, Place, Status, Value};
use gmetad_core::message;
use gmetad_core::source::Stop;
use gmetad_process::mail::clean;
use gmetad_process::user::Account;

use crate::Printed;
use crate::settings::Settings;
use crate::status::exit;

/// Longest text of a value that is shown, in characters.
const TEXT: usize = 1000;

/// Longest label that is shown, in characters.
const LABEL: usize = 100;
/// How long a measurement that is given up may take to end what it started.
const ENDING: Duration = Duration::from_secs(1);
/// Names that are tried for a directory.
const TRIES: usize = 100;

/// What a measurement brought.
struct Measured {
    measurement: Measurement,
    /// What the agent thinks of it.
    checked: Status,
    /// What it says of itself.
    described: Option<Described>,
}

/// A directory that nobody else can have prepared; it goes with all that is in it.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> io::Result<Self> {
        // Programs may run as another user, who has to reach a directory of their own in it: of root's the way is open, no more.
        let mode = if Account::current().uid == 0 { 0o711 } else { 0o700 };
        for attempt in 0..TRIES {
            let random = RandomState::new().hash_one(attempt);
            let path = std::env::temp_dir().join(format!("z_stats-run-{random:016x}"));
            match DirBuilder::new().mode(mode).create(&path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                made => return made.map(|()| Self(path)),
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Measures once.
pub(crate) fn run(settings: &Settings, agent: &str) -> Result<Printed, Message> {
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
    let mut spec = found.spec.clone();
    let begun = Instant::now();
    let result = measured(found, &settings.root);
    let took = begun.elapsed();
    let mut remarks = Vec::new();
    if let Ok(Measured { described: Some(said), .. }) = &result {
        spec = described::under(&spec, said);
        remarks = described::remarks(said);
    }
    let status = match &result {
        Ok(Measured { measurement, checked, .. }) => {
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
    let mut text =
        shown(&spec, result.ok().map(|measured| measured.measurement).as_ref(), &status, took, settings.lang);
    for remark in remarks {
        text += &format!("{:<24} {}\n", settings.lang.text("note"), clean(&settings.lang.message(&remark), TEXT));
    }
    Ok((text, exit(status.state)))
}

/// What the agent measured, or why there is nothing.
fn measured(installed: Installed, root: &Path) -> Result<Measured, Message> {
    let Installed { spec, mut agent } = installed;
    // The service's own is not touched: it may be measuring.
    let scratch = Scratch::new().map_err(|error| {
        let dir = std::env::temp_dir().display().to_string();
        message!("no directory can be made in {}: {}", dir, error.said())
    })?;
    let state = scratch.0.join("state");
    agent.init_data(&Place { state, root: root.to_owned(), period: spec.period, ruled: spec.ruled.clone() });
    let (to, from) = mpsc::channel();
    let stop = Stop::default();
    let now = gmetad_core::now();
    let context = Context { now, deadline: spec.timeout, stop: stop.clone() };
    let measure = move || {
        let result = catch_unwind(AssertUnwindSafe(|| {
            let measurement = agent.measure(&context)?;
            let status = Status::default();
            let history = History { now, last: Some((now, &measurement)), before: None, status: &status };
            let checked = agent.check_status(&history);
            let described = agent.describe().cloned();
            Ok(Measured { measurement, checked, described })
        }));
        let result = result.unwrap_or_else(|_| Err(message!("it panicked").into()));
        let _ = to.send(result.map_err(by_agent));
    };
    let thread = thread::Builder::new().name(format!("agent {}", spec.name)).spawn(measure);
    thread.map_err(|error| message!("no thread can be started: {}", error.said()))?;
    // A little more, as much as the service: so that an agent that keeps its deadline can say why.
    let most = spec.timeout + (spec.timeout / 4).min(Duration::from_secs(1));
    from.recv_timeout(most).unwrap_or_else(|error| match error {
        RecvTimeoutError::Timeout => {
            // What it started is to be gone before its directory is.
            stop.stop();
            let _ = from.recv_timeout(ENDING);
            Err(message!("it did not end within {} s", spec.timeout.as_secs_f64()))
        }
        RecvTimeoutError::Disconnected => Err(message!("its thread ended without a word")),
    })
}

fn shown(spec: &Spec, measurement: Option<&Measurement>, status: &Status, took: Duration, lang: Lang) -> String {
    let line = |name: &str, text: &str| format!("{name:<24} {}\n", clean(text, TEXT));
    let mut text = line(&spec.name, &lang.message(&spec.description));
    let state = match status.message.is_empty() {
        true => state_name(status.state),
        false => message!("{}: {}", state_name(status.state), status.message.clone()),
    };
    text += &line(lang.text("status"), &lang.message(&state));
    text += &line(lang.text("took"), &lang.message(&Message::number(took.as_secs_f64(), "s")));
    let Some(measurement) = measurement else { return text };
    text += &fields(spec, measurement, "", lang);
    for (name, instance) in measurement.instances() {
        text += &line(&format!("[{}]", clean(name, 100)), "");
        text += &fields(spec, instance, "  ", lang);
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
        Cell::Number(number) => lang.message(&Message::number(*number, "")),
        Cell::Text(text) => lang.message(text),
        Cell::State(state) => lang.message(&state_name(*state)),
    }
}

fn fields(spec: &Spec, measurement: &Measurement, indent: &str, lang: Lang) -> String {
    let mut text = String::new();
    for (name, value) in measurement.fields() {
        let value = match value {
            Value::Number(number) => number_text(spec, name, *number, lang),
            Value::Text(text) => clean(text, TEXT),
        };
        let label = spec.fields.iter().find(|field| field.name == name).map(|field| lang.message(&field.label));
        let label = label.filter(|label| label != name).map_or_else(String::new, |label| clean(&label, LABEL));
        let name = format!("{indent}{}", clean(name, 100));
        text += format!("{name:<24} {value:<28} {label}").trim_end();
        text.push('\n');
    }
    text
}

/// A number to be read, and as it was measured where that says more.
fn number_text(spec: &Spec, field: &str, number: f64, lang: Lang) -> String {
    let readable = clean(&readable(lang, spec, field, number).replace('\u{202f}', " "), LABEL);
    let plain = number.to_string();
    let bare = readable.replace(' ', "").replace('−', "-").replace(',', ".");
    let rest = bare.strip_prefix(&plain).filter(|rest| !rest.starts_with(|c: char| c.is_ascii_digit() || c == '.'));
    if rest.is_some() || !number.is_finite() {
        return readable;
    }
    let plain = if lang == Lang::French { plain.replace('.', ",") } else { plain };
    format!("{readable} ({plain})")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn directories_are_private_and_go() {
        let (one, other) = (Scratch::new().unwrap(), Scratch::new().unwrap());
        assert_ne!(one.0, other.0);
        assert_eq!(fs::metadata(&one.0).unwrap().permissions().mode() & 0o766, 0o700, "nobody may list or write");
        fs::create_dir_all(one.0.join("state.link/x")).unwrap();
        let path = one.0.clone();
        drop(one);
        assert!(!path.exists());
    }
}
