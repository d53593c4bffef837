//! Units of systemd: those that failed, and those that must be active.

use std::path::Path;

use gmetad_core::agent::{AgentError, Cell, Context, Element, Measurement, Message, State, Status, Table as Shown};
use gmetad_core::message;
use serde::Deserialize;
use toml::Table;

use super::command::{program, run};
use super::plan::{INSTANCES, Limits, Plan, Probe, RED, area, clean, graph, keys, plain};
use super::proc::fits;
use crate::kind::Kind;
use crate::spec::Installed;

/// systemctl costs some milliseconds.
const PERIOD: u64 = 120;
/// Most failed units that are shown.
const SHOWN: usize = 50;

pub(super) const KIND: Kind = Kind { name: "systemd", about: "Units of systemd", section: "Services", build, default };

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct Keys {
    /// Units that must be active, as `ssh.service`.
    units: Vec<String>,
    /// Failed units that do not matter (`*` stands for anything).
    skip: Vec<String>,
}

struct Systemd(Keys);

fn build(name: &str, mut own: Table) -> Result<Installed, Message> {
    let limits = Limits::take(&mut own)?;
    let mut keys: Keys = keys(own)?;
    let is_unit = |unit: &String| !unit.is_empty() && !unit.starts_with('-') && !unit.contains(['*', ' ', '\n']);
    if let Some(unit) = keys.units.iter().find(|unit| !is_unit(unit)) {
        return Err(message!("units: \"{}\" is no unit: write it as ssh.service", unit));
    }
    if keys.units.len() > INSTANCES {
        return Err(message!("units: at most {}; make several agents", INSTANCES));
    }
    for unit in keys.units.iter_mut().filter(|unit| !unit.contains('.')) {
        unit.push_str(".service");
    }
    Ok(Plan::new(name, &KIND, PERIOD, Systemd(keys))
        .gauge("failed", message!("units that failed"), "")
        .gauge("inactive", message!("units that are not active, and should be"), "")
        .limited("failed", "", "", 1, limits)
        .graph(graph("failed.png", message!("Units that failed"), "", vec![area("failed", RED)]))
        .build())
}

fn default() -> Vec<Installed> {
    let there = Path::new("/run/systemd/system").is_dir() && program("systemctl").is_some();
    if there { plain(&KIND) } else { Vec::new() }
}

impl Probe for Systemd {
    fn measure(&mut self, context: &Context) -> Result<Measurement, AgentError> {
        let systemctl =
            program("systemctl").ok_or_else(|| message!("systemctl is not installed: this machine has no systemd"))?;
        let ask = |args: &[&str]| run(context, &systemctl, args)?.succeeded(&systemctl);
        let text = ask(&["list-units", "--state=failed", "--plain", "--no-legend", "--full", "--no-pager", "--all"])?;
        let failed: Vec<_> = failed(&text).into_iter().filter(|(unit, _)| !fits(&self.0.skip, unit)).collect();
        let mut states = Vec::new();
        if !self.0.units.is_empty() {
            let args = ["show", "--no-pager", "--property=Id,LoadState,ActiveState,SubState", "--"];
            let args: Vec<&str> = args.into_iter().chain(self.0.units.iter().map(String::as_str)).collect();
            states = self.0.units.iter().cloned().zip(shown(&ask(&args)?)).collect();
        }
        Ok(measured(&failed, &states))
    }

    fn judge(&self, _last: &Measurement) -> Status {
        Status::new(State::Ok, message!("no unit failed"))
    }
}

/// Units and their descriptions.
fn failed(text: &str) -> Vec<(String, String)> {
    let unit = |line: &str| {
        // Some versions put a dot before it, also with `--plain`.
        let mut words = line
            .trim_start_matches(|letter: char| !letter.is_ascii_alphanumeric() && letter != '-')
            .split_ascii_whitespace();
        let unit = words.next()?.to_owned();
        let (_load, active, _sub) = (words.next()?, words.next()?, words.next()?);
        (active == "failed").then(|| (clean(&unit), clean(&words.collect::<Vec<_>>().join(" "))))
    };
    text.lines().filter_map(unit).collect()
}

/// State of a unit: whether it is active, and systemd's words.
#[derive(Debug, PartialEq)]
struct Unit {
    is_active: bool,
    words: String,
}

/// `systemctl show`: blocks of `Name=value`, in the order of the question.
fn shown(text: &str) -> Vec<Unit> {
    let block = |block: &str| {
        let value = |name: &str| block.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("?");
        let (load, active, sub) = (value("LoadState="), value("ActiveState="), value("SubState="));
        let is_active = matches!(active, "active" | "reloading" | "activating") && sub != "auto-restart";
        let words = if load == "not-found" { "not-found".to_owned() } else { format!("{active} ({sub})") };
        Unit { is_active, words: clean(&words) }
    };
    text.split("\n\n").filter(|text| !text.trim().is_empty()).map(block).collect()
}

fn measured(failed: &[(String, String)], units: &[(String, Unit)]) -> Measurement {
    let mut rows = Vec::new();
    let mut status = Status::ok();
    for (unit, found) in units {
        let state = if found.is_active { State::Ok } else { State::Error };
        if state == State::Error {
            status = status.worse(Status::new(State::Error, message!("{} is {}", unit, found.words)));
        }
        rows.push(vec![Cell::State(state), Cell::Text(unit.as_str().into()), Cell::Text(found.words.as_str().into())]);
    }
    for (unit, description) in failed.iter().take(SHOWN) {
        rows.push(vec![
            Cell::State(State::Warn),
            Cell::Text(unit.as_str().into()),
            Cell::Text(description.as_str().into()),
        ]);
    }
    if let Some((first, _)) = failed.first() {
        let names: Vec<_> = failed.iter().take(3).map(|(unit, _)| unit.as_str()).collect();
        let message = if failed.len() == 1 {
            message!("{} failed", first)
        } else {
            message!("{} units failed: {}", failed.len(), names.join(", "))
        };
        status = status.worse(Status::new(State::Warn, message));
    }
    let inactive = units.iter().filter(|(_, unit)| !unit.is_active).count();
    let columns = vec![message!("State"), message!("Unit"), message!("Description")];
    Measurement::new()
        .number("failed", failed.len() as f64)
        .number("inactive", inactive as f64)
        .element(Element::Table(Shown { title: Message::default(), columns, rows }))
        .judged(status)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn recorded_answers() {
        let text = "nginx.service loaded failed failed A high performance web server\n● \u{20}x@1.mount not-found failed failed x\n\
                    ssh.service loaded active running OpenBSD\n";
        let failed = failed(text);
        assert_eq!(failed[0], ("nginx.service".to_owned(), "A high performance web server".to_owned()));
        assert_eq!((failed.len(), &*failed[1].0), (2, "x@1.mount"));
        let text = "Id=ssh.service\nLoadState=loaded\nActiveState=active\nSubState=running\n\nId=no.service\nLoadState=not-found\nActiveState=inactive\nSubState=dead\n\n\
                    Id=l.service\nLoadState=loaded\nActiveState=activating\nSubState=auto-restart\n";
        let units = shown(text);
        assert_eq!(units.iter().map(|unit| unit.is_active).collect::<Vec<_>>(), [true, false, false]);
        let names = ["ssh.service", "no.service", "l.service"].map(str::to_owned);
        let measurement = measured(&failed, &names.into_iter().zip(units).collect::<Vec<_>>());
        assert_eq!(measurement.status().unwrap().to_string(), "Error: no.service is not-found");
        assert_eq!((measurement.get_number("failed"), measurement.get_number("inactive")), (Some(2.0), Some(2.0)));
    }

    #[test]
    fn refusals() {
        let error = |text: &str| build("x", text.parse().unwrap()).unwrap_err().to_string();
        assert!(error("units = [\"--now\"]").contains("ssh.service"));
        assert!(error("units = [\"a b\"]").contains("ssh.service"));
    }

    #[test]
    fn this_machine() {
        let mut agent = build("systemd", "units = [\"no-such-unit\"]".parse().unwrap()).unwrap().agent;
        match agent.measure(&super::super::context()) {
            Ok(measurement) => assert_eq!(measurement.get_number("inactive"), Some(1.0)),
            Err(error) => assert!(error.to_string().contains("systemctl"), "{error}"),
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC*|([a-z.]{0,5} ?){0,6}\n(ActiveState=[a-z]{0,6}\n){0,2}") {
            let units = shown(&text).into_iter().map(|unit| ("u".to_owned(), unit)).collect::<Vec<_>>();
            let _ = measured(&failed(&text), &units);
        }
    }
}
