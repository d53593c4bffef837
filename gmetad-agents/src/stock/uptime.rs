//! Time since the machine was started.

use gmetad_core::agent::{AgentError, Context, Measurement, Message, State, Status};
use gmetad_core::message;
use serde::Deserialize;
use toml::Table;

use super::plan::{GREEN, Limits, MINUTE, Plan, Probe, area, graph, keys, plain};
use super::proc::{strange, text};
use crate::kind::Kind;
use crate::spec::Installed;

const FILE: &str = "/proc/uptime";

pub(super) const KIND: Kind =
    Kind { name: "uptime", about: "Time since the start", section: "System", build, default: || plain(&KIND) };

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {}

struct Uptime;

fn build(name: &str, mut own: Table) -> Result<Installed, Message> {
    let limits = Limits::take(&mut own)?;
    let Keys {} = keys(own)?;
    Ok(Plan::new(name, &KIND, MINUTE, Uptime)
        .gauge("seconds", message!("time since the start"), "s")
        .limited("seconds", "", "", 1, limits)
        .graph(graph("uptime.png", message!("Time since the start"), "s", vec![area("seconds", GREEN)]))
        .build())
}

impl Probe for Uptime {
    fn measure(&mut self, _context: &Context) -> Result<Measurement, AgentError> {
        Ok(Measurement::new().number("seconds", parse(&text(FILE)?).ok_or_else(|| strange(FILE))?))
    }

    fn judge(&self, last: &Measurement) -> Status {
        Status::new(State::Ok, message!("up for {}", span(last.get_number("seconds").unwrap_or(0.0))))
    }
}

/// A time as people say it, in its two largest units.
pub(super) fn span(seconds: f64) -> Message {
    let minutes = (seconds.max(0.0) / 60.0) as u64;
    match (minutes / 1440, minutes / 60 % 24, minutes % 60) {
        (0, 0, minutes) => message!("{} min", minutes),
        (0, hours, minutes) => message!("{} h {} min", hours, minutes),
        (days, hours, _) => message!("{} d {} h", days, hours),
    }
}

fn parse(text: &str) -> Option<f64> {
    text.split_ascii_whitespace().next()?.parse().ok().filter(|seconds: &f64| seconds.is_finite() && *seconds >= 0.0)
}

#[cfg(test)]
mod tests {
    use procfs_core::FromRead;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn recorded_and_here() {
        assert_eq!(parse("2578790.61 1999230.98\n"), Some(2_578_790.61));
        assert_eq!((parse(""), parse("-1"), parse("inf")), (None, None, None));
        let judge = procfs_core::Uptime::from_read(text(FILE).unwrap().as_bytes()).unwrap().uptime;
        let own = super::super::measure_once(&KIND, "").get_number("seconds").unwrap();
        assert!((own - judge).abs() < 10.0);
    }

    #[test]
    fn spans() {
        assert_eq!(
            [59.0, 3_660.0, 200_000.0, -5.0].map(|seconds| span(seconds).to_string()),
            ["0 min", "1 h 1 min", "2 d 7 h", "0 min"]
        );
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC*", seconds: f64) {
            let _ = parse(&text);
            let _ = span(seconds);
        }
    }
}
