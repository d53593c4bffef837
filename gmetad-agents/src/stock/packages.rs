//! Updates that wait for installation (apt), and whether a restart is pending. Asked without root: apt only simulates.

use std::path::Path;
use std::time::SystemTime;

use gmetad_core::agent::{AgentError, Cell, Context, Element, Measurement, Message, State, Status, Table as Shown};
use gmetad_core::message;
use serde::Deserialize;
use toml::Table;

use super::command::{program, run};
use super::plan::{BLUE, Limits, Plan, Probe, RED, area, clean, graph, keys, line, plain};
use crate::kind::Kind;
use crate::spec::{Installed, Keep};

/// apt works for a second, and lists change once a day.
const PERIOD: u64 = 6 * 3600;
/// A slow disk and a full list: apt reads some 100 MB.
const TIMEOUT: u64 = 300;
/// Most packages that are shown.
const SHOWN: usize = 300;
/// Measurements in the table of `paquet`.
const ROWS: usize = 60;

const LISTS: &str = "/var/lib/apt/lists";
const RESTART: &[&str] = &["/run/reboot-required", "/var/run/reboot-required"];

pub(super) const KIND: Kind = Kind { name: "packages", about: "Package updates", section: "Security", build, default };

/// The tutorial agent of the training slides: the same, its measurements as a table.
pub(super) const PAQUET: Kind = Kind { name: "paquet", build: build_table, default: Vec::new, ..KIND };

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {}

struct Packages;

fn build(name: &str, mut own: Table) -> Result<Installed, Message> {
    let limits = Limits::take(&mut own)?;
    let Keys {} = keys(own)?;
    Ok(Plan::new(name, &KIND, PERIOD, Packages)
        .timeout(TIMEOUT)
        .gauge("updates", message!("updates"), "")
        .gauge("security", message!("security updates"), "")
        .shown("restart", message!("restart pending"), "")
        .shown("lists_age", message!("age of the package lists"), "s")
        .limited("security", "~:0", "", 1, limits)
        .rule("lists_age", "~:1209600", "", 1)
        .graph(graph("updates.png", message!("Updates"), "", vec![area("updates", BLUE), line("security", RED)]))
        .build())
}

fn build_table(name: &str, own: Table) -> Result<Installed, Message> {
    let mut installed = build(name, own)?;
    installed.spec.keep = Keep::Table { rows: ROWS };
    Ok(installed)
}

fn default() -> Vec<Installed> {
    let there = Path::new(LISTS).is_dir() && program("apt-get").is_some();
    if there { plain(&KIND) } else { Vec::new() }
}

impl Probe for Packages {
    fn measure(&mut self, context: &Context) -> Result<Measurement, AgentError> {
        let apt = program("apt-get")
            .ok_or_else(|| message!("apt-get is not installed: this agent is for Debian and its kin"))?;
        let args =
            ["-s", "-q", "-o", "Debug::NoLocking=1", "-o", "APT::Get::Show-User-Simulation-Note=0", "dist-upgrade"];
        let text = run(context, &apt, &args)?.succeeded(&apt)?;
        let restart = RESTART.iter().any(|file| Path::new(file).exists());
        Ok(measured(&parse(&text), restart, age(Path::new(LISTS))))
    }

    fn judge(&self, last: &Measurement) -> Status {
        let [updates, security] = ["updates", "security"].map(|field| last.get_number(field).unwrap_or(0.0));
        let message = match (updates, security) {
            (0.0, _) => message!("all packages are up to date"),
            (updates, 0.0) => message!("{} {update waits|updates wait}", updates),
            (updates, security) => {
                message!("{} {update waits|updates wait}, {} of them for security", updates, security)
            }
        };
        Status::new(State::Ok, message)
    }
}

/// Seconds since the lists were fetched; apt writes their directory each time something is new, and `partial` each time.
fn age(lists: &Path) -> Option<f64> {
    let times =
        [lists.to_owned(), lists.join("partial")].into_iter().filter_map(|path| path.metadata().ok()?.modified().ok());
    let stamp =
        Path::new("/var/lib/apt/periodic/update-success-stamp").metadata().and_then(|file| file.modified()).ok();
    let newest: SystemTime = times.chain(stamp).max()?;
    Some(newest.elapsed().unwrap_or_default().as_secs_f64())
}

#[derive(Debug, PartialEq)]
struct Update {
    name: String,
    installed: String,
    new: String,
    security: bool,
}

/// `Inst name [installed] (new origin, origin [architecture])`; packages that would be new are no updates.
fn parse(text: &str) -> Vec<Update> {
    let update = |line: &str| {
        let (name, rest) = line.strip_prefix("Inst ")?.split_once(' ')?;
        let (installed, rest) = rest.trim_start().strip_prefix('[')?.split_once(']')?;
        let (what, _) = rest.trim_start().strip_prefix('(')?.split_once(')')?;
        let (new, origins) = what.split_once(' ').unwrap_or((what, ""));
        let security = origins.to_ascii_lowercase().contains("security");
        Some(Update { name: clean(name), installed: clean(installed), new: clean(new), security })
    };
    text.lines().filter_map(update).collect()
}

fn measured(updates: &[Update], restart: bool, age: Option<f64>) -> Measurement {
    let security = updates.iter().filter(|update| update.security).count();
    // What matters first, so that it is not cut.
    let (first, then): (Vec<_>, Vec<_>) = updates.iter().partition(|update| update.security);
    let row = |update: &&Update| {
        let text = |text: &str| Cell::Text(text.into());
        let lamp = if update.security { Cell::State(State::Warn) } else { Cell::State(State::Ok) };
        vec![lamp, text(&update.name), text(&update.installed), text(&update.new)]
    };
    let rows = first.iter().chain(&then).take(SHOWN).map(row).collect();
    let columns = vec![message!("Security"), message!("Package"), message!("Installed"), message!("New")];
    let status = if restart {
        Status::new(State::Warn, message!("updates wait for a restart of the machine"))
    } else {
        Status::ok()
    };
    let measurement = Measurement::new()
        .number("updates", updates.len() as f64)
        .number("security", security as f64)
        .number("restart", f64::from(u8::from(restart)));
    let measurement = age.into_iter().fold(measurement, |measurement, age| measurement.number("lists_age", age));
    measurement.element(Element::Table(Shown { title: Message::default(), columns, rows })).judged(status)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RECORDED: &str = "Reading package lists...\nThe following packages will be upgraded:\n  libc6 vim\n\
        Inst libc6 [2.36-9] (2.36-9+deb12u4 Debian:12.5/stable, Debian-Security:12/stable-security [amd64]) []\n\
        Inst vim [2:9.0.1378-2] (2:9.0.1378-3 Debian:12.5/stable [amd64])\nInst linux-image-6.1.0-18 (6.1.76-1 Debian:12.5/stable [amd64])\n\
        Conf libc6 (2.36-9+deb12u4 Debian:12.5/stable [amd64])\n2 upgraded, 1 newly installed, 0 to remove and 0 not upgraded.\n";

    #[test]
    fn a_recorded_answer() {
        let updates = parse(RECORDED);
        let expected =
            Update { name: "libc6".into(), installed: "2.36-9".into(), new: "2.36-9+deb12u4".into(), security: true };
        assert_eq!((updates.len(), &updates[0], updates[1].security), (2, &expected, false));
        let measurement = measured(&updates, true, Some(5.0));
        let get = |field| measurement.get_number(field).unwrap();
        assert_eq!(["updates", "security", "restart", "lists_age"].map(get), [2.0, 1.0, 1.0, 5.0]);
        assert_eq!(measurement.status().unwrap().to_string(), "Warn: updates wait for a restart of the machine");
        assert_eq!(measured(&[], false, None).status(), Some(&Status::ok()));
    }

    #[test]
    fn this_machine() {
        if default().is_empty() {
            return;
        }
        let measurement = super::super::measure_once(&PAQUET, "");
        let apt = std::process::Command::new("apt-get")
            .args(["-s", "-o", "Debug::NoLocking=1", "dist-upgrade"])
            .env("LC_ALL", "C")
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&apt.stdout).into_owned();
        let summary = text.lines().find_map(|line| line.split_once(" upgraded, ")?.0.parse::<f64>().ok());
        assert_eq!(measurement.get_number("updates"), summary, "{text}");
        assert!(matches!(build_table("paquet", Table::new()).unwrap().spec.keep, Keep::Table { rows: ROWS }));
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "(Inst [a-z]{0,3} ?\\[?[0-9]{0,3}\\]? ?\\(?[a-zS ]{0,9}\\)?\n){0,3}\\PC*") {
            let _ = measured(&parse(&text), false, None);
        }
    }
}
