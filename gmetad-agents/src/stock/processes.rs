//! Processes by state, threads, open files, new processes.

use gmetad_core::agent::{AgentError, Context, Measurement, Message, State, Status};
use gmetad_core::message;
use serde::Deserialize;
use toml::Table;

use super::net::problem;
use super::pids;
use super::plan::{
    BLUE, CYAN, GREEN, GREY, Limits, MINUTE, ORANGE, PURPLE, Plan, Probe, RED, area, count, graph, keys, line, plain,
    share, stack,
};
use super::proc::{number, numbers, text};
use crate::kind::Kind;
use crate::spec::Installed;

pub(super) const KIND: Kind =
    Kind { name: "processes", about: "Processes", section: "System", build, default: || plain(&KIND) };

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {}

struct Processes;

fn build(name: &str, mut own: Table) -> Result<Installed, Message> {
    let limits = Limits::take(&mut own)?;
    let Keys {} = keys(own)?;
    let states = vec![
        line("total", CYAN),
        area("running", GREEN),
        stack("blocked", RED),
        stack("zombies", ORANGE),
        stack("stopped", PURPLE),
        stack("sleeping", BLUE),
        stack("idle", GREY),
    ];
    Ok(Plan::new(name, &KIND, MINUTE, Processes)
        .gauge("total", message!("processes"), "")
        .gauge("running", message!("running"), "")
        .gauge("sleeping", message!("sleeping"), "")
        .gauge("blocked", message!("waiting for a device"), "")
        .gauge("zombies", message!("zombies"), "")
        .gauge("stopped", message!("stopped"), "")
        .gauge("idle", message!("idle threads of the kernel"), "")
        .gauge("threads", message!("threads"), "")
        .shown("threads_percent", message!("threads, of those possible"), "%")
        .gauge("files", message!("open files"), "")
        .shown("files_percent", message!("open files, of those possible"), "%")
        .counter("forks", message!("processes started"), "")
        .limited("zombies", "~:20", "~:1000", 3, limits)
        .rule("blocked", "~:20", "", 5)
        .rule("threads_percent", "~:80", "~:95", 1)
        .rule("files_percent", "~:80", "~:95", 1)
        .graph(graph("states.png", message!("Processes by state"), "", states))
        .graph(graph("threads.png", message!("Threads"), "", vec![line("threads", BLUE)]))
        .graph(graph("files.png", message!("Open files"), "", vec![line("files", ORANGE)]))
        .graph(graph("forks.png", message!("Processes started"), "1/s", vec![area("forks", GREEN)]))
        .build())
}

impl Probe for Processes {
    fn measure(&mut self, _context: &Context) -> Result<Measurement, AgentError> {
        let mut states = [0_u64; 6];
        pids::each(|_, stat| states[state(stat.state)] += 1)
            .map_err(|error| message!("{}: {}", "/proc", problem(&error)))?;
        let [running, sleeping, blocked, zombies, stopped, idle] = states.map(|count| count as f64);
        let mut measurement = Measurement::new()
            .number("total", states.iter().sum::<u64>() as f64)
            .number("running", running)
            .number("sleeping", sleeping)
            .number("blocked", blocked)
            .number("zombies", zombies)
            .number("stopped", stopped)
            .number("idle", idle);
        if let Some(threads) = threads(&text("/proc/loadavg")?) {
            measurement = measurement.number("threads", threads);
            let limits = ["/proc/sys/kernel/threads-max", "/proc/sys/kernel/pid_max"].into_iter().filter_map(number);
            if let Some(most) = limits.min_by(f64::total_cmp) {
                measurement = measurement.number("threads_percent", share(threads, most));
            }
        }
        if let Some((open, most)) = open_files(&text("/proc/sys/fs/file-nr")?) {
            measurement = measurement.number("files", open).number("files_percent", share(open, most));
        }
        let forks = text("/proc/stat")?.lines().find_map(|line| line.strip_prefix("processes ")?.trim().parse().ok());
        Ok(measurement.number("forks", forks.unwrap_or(f64::NAN)))
    }

    fn judge(&self, last: &Measurement) -> Status {
        let [total, zombies] = ["total", "zombies"].map(|field| last.get_number(field).unwrap_or(f64::NAN));
        let message = if zombies > 0.0 {
            message!("{} {process|processes}, {} of them {a zombie|zombies}", count(total), count(zombies))
        } else {
            message!("{} {process|processes}", count(total))
        };
        Status::new(State::Ok, message)
    }
}

/// Where a state is counted.
fn state(letter: u8) -> usize {
    match letter {
        b'R' => 0,
        b'D' => 2,
        b'Z' | b'X' | b'x' => 3,
        b'T' | b't' => 4,
        b'I' => 5,
        _ => 1,
    }
}

/// Of /proc/loadavg.
fn threads(text: &str) -> Option<f64> {
    text.split_ascii_whitespace().nth(3)?.split_once('/')?.1.parse().ok().filter(|count: &f64| count.is_finite())
}

/// Of /proc/sys/fs/file-nr: open, and most that can be.
fn open_files(text: &str) -> Option<(f64, f64)> {
    let mut numbers = numbers(text);
    let (allocated, free, most) = (numbers.next()?, numbers.next()?, numbers.next()?);
    Some((allocated.saturating_sub(free) as f64, most as f64))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn recorded_and_here() {
        assert_eq!(threads("0.20 0.18 0.12 1/80 11206\n"), Some(80.0));
        assert_eq!(open_files("1024\t24\t9223372036854775807\n"), Some((1000.0, 9_223_372_036_854_775_807.0)));
        let mut child = std::process::Command::new("/bin/true").spawn().unwrap();
        let stat = format!("/proc/{}/stat", child.id());
        // It is a zombie once it has ended and nobody has waited for it.
        while !text(&stat).unwrap().contains(") Z ") {
            std::thread::yield_now();
        }
        let measurement = super::super::measure_once(&KIND, "");
        let get = |field| measurement.get_number(field).unwrap();
        assert!(get("zombies") >= 1.0 && get("total") >= 3.0 && get("threads") >= 2.0 && get("forks") > 1.0);
        assert!(get("files") > 1.0 && get("threads_percent") > 0.0, "{measurement:?}");
        child.wait().unwrap();
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC*|([0-9/]{0,20} ){0,5}", letter: u8) {
            let _ = (threads(&text), open_files(&text));
            prop_assert!(state(letter) < 6);
        }
    }
}
