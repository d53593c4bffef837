//! UPS, asked of Network UPS Tools (upsd, TCP 3493).

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;

use gmetad_core::agent::{AgentError, Context, Measurement, Message, State, Status};
use gmetad_core::message;
use serde::Deserialize;
use toml::Table;

use super::command::program;
use super::net::{Address, Timed, Until, problem};
use super::plan::{
    BLUE, GREEN, INSTANCES, Limits, MINUTE, ORANGE, Plan, Probe, RED, area, clean, graph, keys, line, percentages,
    plain, round,
};
use super::proc::text;
use super::uptime::span;
use crate::kind::Kind;
use crate::spec::Installed;

/// Most that upsd may say in one measurement: a UPS has some 100 variables of 60 bytes.
const LONGEST: u64 = 1 << 20;

pub(super) const KIND: Kind = Kind { name: "ups", about: "UPS", section: "System", build, default };

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Keys {
    server: String,
    /// Names of UPSs; empty: all that the server has.
    ups: Vec<String>,
}

impl Default for Keys {
    fn default() -> Self {
        Self { server: "127.0.0.1:3493".to_owned(), ups: Vec::new() }
    }
}

struct Ups {
    server: Address,
    names: Vec<String>,
    /// A threshold of the file judges the charge.
    is_limited: bool,
}

/// Variables of upsd and our fields.
const FIELDS: [(&str, &str); 6] = [
    ("battery.charge", "charge"),
    ("battery.runtime", "runtime"),
    ("ups.load", "load"),
    ("input.voltage", "input_voltage"),
    ("battery.voltage", "battery_voltage"),
    ("ups.temperature", "temperature"),
];

fn build(name: &str, mut own: Table) -> Result<Installed, Message> {
    let limits = Limits::take(&mut own)?;
    let Keys { server, ups } = keys(own)?;
    let server = Address::parse(&server, Some(3493)).map_err(|error| message!("server: {}", error))?;
    if let Some(name) = ups.iter().find(|name| !is_name(name)) {
        return Err(message!("ups: \"{}\" is no name of a UPS: write what stands in brackets in ups.conf", name));
    }
    let plan = Plan::new(name, &KIND, MINUTE, Ups { server, names: ups, is_limited: limits.is_said() })
        .shown("status", message!("state"), "")
        .percent("charge", message!("charge of the battery"))
        .gauge("runtime", message!("time left on battery"), "s")
        .gauge("load", message!("load"), "%")
        .gauge("input_voltage", message!("input voltage"), "V")
        .gauge("battery_voltage", message!("battery voltage"), "V")
        .signed("temperature", message!("temperature"), "°C")
        .rule("load", "~:80", "~:95", 3);
    // Without these the state and the charge are judged as one.
    let plan = if limits.is_said() { plan.limited("charge", "50:", "20:", 1, limits) } else { plan };
    Ok(plan
        .graph(percentages(
            "charge.png",
            message!("Charge and load"),
            vec![area("charge", GREEN), line("load", ORANGE)],
        ))
        .graph(graph("runtime.png", message!("Time left on battery"), "s", vec![line("runtime", BLUE)]))
        .graph(graph(
            "voltage.png",
            message!("Voltages"),
            "V",
            vec![line("input_voltage", RED), line("battery_voltage", BLUE)],
        ))
        .build())
}

fn default() -> Vec<Installed> {
    if is_configured(Path::new("/etc/nut")) && program("upsd").is_some() { plain(&KIND) } else { Vec::new() }
}

/// Whether somebody has set NUT up here: Debian installs it with `MODE=none`.
fn is_configured(directory: &Path) -> bool {
    let mode = text(directory.join("nut.conf")).unwrap_or_default();
    let mode = mode
        .lines()
        .filter_map(|line| line.trim().strip_prefix("MODE="))
        .next_back()
        .map(|mode| mode.trim_matches('"').to_owned());
    let serves =
        text(directory.join("ups.conf")).is_ok_and(|text| text.lines().any(|line| line.trim_start().starts_with('[')));
    serves || mode.is_some_and(|mode| matches!(&*mode, "standalone" | "netserver"))
}

/// Names go into a line of the protocol.
fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 64
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

impl Probe for Ups {
    fn measure(&mut self, context: &Context) -> Result<Measurement, AgentError> {
        let until = Until::of(context);
        let failed = |error: std::io::Error| message!("upsd at {}: {}", self.server.to_string(), problem(&error));
        let stream = self.server.connect(until).map_err(failed)?;
        let mut session = Session(BufReader::new(Timed { stream, until }.take(LONGEST)));
        let names = if self.names.is_empty() {
            let lines = session
                .list("UPS", "UPS ")
                .map_err(failed)?
                .map_err(|error| message!("upsd at {}: {}", self.server.to_string(), error))?;
            lines
                .iter()
                .filter_map(|line| line.split(' ').next())
                .filter(|name| is_name(name))
                .map(str::to_owned)
                .take(INSTANCES)
                .collect()
        } else {
            self.names.clone()
        };
        if names.is_empty() {
            return Err(message!("upsd at {} has no UPS: see ups.conf", self.server.to_string()).into());
        }
        let mut measurement = Measurement::new();
        let mut status = Status::ok();
        for name in names {
            match session.list(&format!("VAR {name}"), &format!("VAR {name} ")).map_err(failed)? {
                Ok(lines) => {
                    let ups = of(&lines);
                    status = status.worse(judge(&name, &ups, self.is_limited));
                    measurement = measurement.instance(name, ups);
                }
                // The driver has lost the UPS, or there is none of that name.
                Err(error) => status = status.worse(Status::new(State::Error, message!("{}: {}", name, error))),
            }
        }
        let _ = session.0.get_mut().get_mut().write_all(b"LOGOUT\n");
        Ok(measurement.judged(status))
    }

    fn judge(&self, last: &Measurement) -> Status {
        let charges = last.instances().map(|(name, ups)| match ups.get_number("charge") {
            Some(charge) => message!("{} {} %", name, round(charge)),
            None => name.into(),
        });
        Status::new(State::Ok, charges.reduce(|all, one| message!("{}, {}", all, one)).unwrap_or_default())
    }
}

struct Session(BufReader<std::io::Take<Timed>>);

impl Session {
    /// The lines of a list without what all begin with; the inner error is what upsd says.
    fn list(&mut self, what: &str, prefix: &str) -> std::io::Result<Result<Vec<String>, String>> {
        self.0.get_mut().get_mut().write_all(format!("LIST {what}\n").as_bytes())?;
        let mut lines = Vec::new();
        loop {
            let mut bytes = Vec::new();
            if self.0.read_until(b'\n', &mut bytes)? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            let line = String::from_utf8_lossy(&bytes);
            let line = line.trim_end();
            if let Some(error) = line.strip_prefix("ERR ") {
                return Ok(Err(clean(error)));
            }
            if line.starts_with("END LIST") {
                return Ok(Ok(lines));
            }
            lines.extend(line.strip_prefix(prefix).map(str::to_owned));
        }
    }
}

/// `name "value"` of a line.
fn variable(line: &str) -> Option<(&str, String)> {
    let (name, rest) = line.split_once(' ')?;
    let quoted = rest.strip_prefix('"')?;
    let mut value = String::new();
    let mut letters = quoted.chars();
    loop {
        match letters.next()? {
            '"' => return Some((name, value)),
            '\\' => value.push(letters.next()?),
            letter => value.push(letter),
        }
    }
}

fn of(lines: &[String]) -> Measurement {
    let variables: Vec<_> = lines.iter().filter_map(|line| variable(line)).collect();
    let value = |wanted: &str| variables.iter().find(|(name, _)| *name == wanted).map(|(_, value)| value);
    let mut measurement = Measurement::new();
    for (variable, field) in FIELDS {
        if let Some(number) =
            value(variable).and_then(|value| value.trim().parse().ok()).filter(|number: &f64| number.is_finite())
        {
            measurement = measurement.number(field, number);
        }
    }
    measurement.text("status", value("ups.status").map(|words| clean(words)).unwrap_or_default())
}

/// By the words of `ups.status`, and unless a threshold does it, by the charge.
fn judge(name: &str, ups: &Measurement, is_limited: bool) -> Status {
    let words = match ups.get("status") {
        Some(gmetad_core::agent::Value::Text(words)) => words.as_str(),
        _ => "",
    };
    let has = |word: &str| words.split_ascii_whitespace().any(|other| other == word);
    let left = || ups.get_number("runtime").map_or_else(|| Message::from("?"), span);
    let status = |state, message| Status::new(state, message);
    let charge = ups.get_number("charge").filter(|_| !is_limited).unwrap_or(f64::INFINITY);
    if words.is_empty() {
        status(State::Error, message!("{} does not say its state", name))
    } else if has("LB") || (has("OB") && charge < 20.0) {
        status(State::Error, message!("{}: battery low, {} left", name, left()))
    } else if has("OFF") {
        status(State::Error, message!("{} is off", name))
    } else if has("OB") {
        status(State::Warn, message!("{} runs on battery, {} left", name, left()))
    } else if has("RB") {
        status(State::Warn, message!("{}: the battery has to be replaced", name))
    } else if has("OVER") {
        status(State::Warn, message!("{} is overloaded", name))
    } else if has("BYPASS") {
        status(State::Warn, message!("{} does not protect: bypass", name))
    } else if charge < 50.0 {
        let state = if charge < 20.0 { State::Error } else { State::Warn };
        status(state, message!("{}: the battery has only {} % of its charge", name, round(charge)))
    } else {
        Status::ok()
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use proptest::prelude::*;

    use super::*;

    /// An upsd with one UPS in that state; its address.
    fn upsd(status: &'static str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            for line in BufReader::new(stream.try_clone().unwrap()).lines() {
                let answer = match &*line.unwrap() {
                    "LIST UPS" => "BEGIN LIST UPS\nUPS eaton \"Eaton 5P\"\nEND LIST UPS\n".to_owned(),
                    "LIST VAR eaton" => format!(
                        "BEGIN LIST VAR eaton\nVAR eaton battery.charge \"87\"\nVAR eaton battery.runtime \"754\"\n\
                         VAR eaton ups.mfr \"E\\\"aton\"\nVAR eaton ups.status \"{status}\"\nEND LIST VAR eaton\n"
                    ),
                    "LIST VAR gone" => "ERR UNKNOWN-UPS\n".to_owned(),
                    _ => return,
                };
                stream.write_all(answer.as_bytes()).unwrap();
            }
        });
        address
    }

    #[test]
    fn states() {
        for (words, expected) in [
            ("OL CHRG", "OK"),
            ("OB DISCHRG", "Warn: eaton runs on battery, 12 min left"),
            ("OB LB", "Error: eaton: battery low, 12 min left"),
            ("OL RB", "Warn: eaton: the battery has to be replaced"),
            ("", "Error: eaton does not say its state"),
        ] {
            let measurement = super::super::measure_once(&KIND, &format!("server = \"{}\"", upsd(words)));
            assert_eq!(measurement.status().unwrap().to_string(), expected);
            let (name, ups) = measurement.instances().next().unwrap();
            assert_eq!((name, ups.get_number("charge"), ups.get_number("runtime")), ("eaton", Some(87.0), Some(754.0)));
        }
        let of = |words: &str, charge: &str, is_limited| {
            let ups = of(&[format!("battery.charge \"{charge}\""), format!("ups.status \"{words}\"")]);
            judge("x", &ups, is_limited).to_string()
        };
        assert_eq!(of("OB", "19", false), "Error: x: battery low, ? left");
        assert_eq!(of("OB", "19", true), "Warn: x runs on battery, ? left", "the threshold says the rest");
        assert_eq!(of("OL", "49", false), "Warn: x: the battery has only 49 % of its charge");
        assert_eq!((&*of("OL", "19", true), &*of("OL", "60", false)), ("OK", "OK"));
        let gone =
            super::super::measure_once(&KIND, &format!("server = \"{}\"\nups = [\"eaton\", \"gone\"]", upsd("OL")));
        assert_eq!(gone.status().unwrap().to_string(), "Error: gone: UNKNOWN-UPS");
    }

    #[test]
    fn refusals_and_defaults() {
        let error = |text: &str| build("x", text.parse().unwrap()).unwrap_err().to_string();
        assert!(error("ups = [\"a\\nb\"]").contains("ups.conf"));
        let directory = tempfile::tempdir().unwrap();
        let configured = |file: &str, text: &str| {
            std::fs::write(directory.path().join(file), text).unwrap();
            is_configured(directory.path())
        };
        assert!(!configured("nut.conf", "# x\nMODE=none\n"));
        assert!(configured("nut.conf", "MODE=standalone\n"));
        assert!(!configured("nut.conf", "MODE=none\n") && configured("ups.conf", "[eaton]\n driver = usbhid-ups\n"));
    }

    proptest! {
        #[test]
        fn no_line_panics(line in "\\PC*|[a-z.]{0,3} \"[\\\\\"a]{0,9}", words in "[A-Z ]{0,9}") {
            let _ = variable(&line);
            let _ = judge("x", &of(&[line, format!("ups.status \"{words}\"")]), false);
        }
    }
}
