//! Load: how many tasks run or wait.

use gmetad_core::agent::{AgentError, Context, Measurement, Message, Status};
use gmetad_core::message;
use serde::Deserialize;
use toml::Table;

use super::plan::{BLUE, GREEN, Limits, MINUTE, ORANGE, Plan, Probe, area, graph, keys, line, plain, round};
use super::proc::{processors, strange, text};
use crate::kind::Kind;
use crate::spec::Installed;

const FILE: &str = "/proc/loadavg";

pub(super) const KIND: Kind = Kind { name: "load", about: "Load", section: "System", build, default: || plain(&KIND) };

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {}

struct Load;

fn build(name: &str, mut own: Table) -> Result<Installed, Message> {
    let limits = Limits::take(&mut own)?;
    let Keys {} = keys(own)?;
    Ok(Plan::new(name, &KIND, MINUTE, Load)
        .gauge("one", message!("load, 1 minute"), "")
        .gauge("five", message!("load, 5 minutes"), "")
        .gauge("fifteen", message!("load, 15 minutes"), "")
        .gauge("per_core", message!("load per processor, 5 minutes"), "")
        .shown("processors", message!("processors"), "")
        // A nightly job may load a machine for a quarter of an hour.
        .limited("per_core", "~:1.5", "~:4", 20, limits)
        .graph(graph(
            "load.png",
            message!("Load"),
            "",
            vec![area("one", GREEN), line("five", ORANGE), line("fifteen", BLUE)],
        ))
        .build())
}

impl Probe for Load {
    fn measure(&mut self, _context: &Context) -> Result<Measurement, AgentError> {
        let [one, five, fifteen] = parse(&text(FILE)?).ok_or_else(|| strange(FILE))?;
        let processors = processors() as f64;
        let measurement = Measurement::new().number("one", one).number("five", five).number("fifteen", fifteen);
        Ok(measurement.number("per_core", five / processors.max(1.0)).number("processors", processors))
    }

    fn judge(&self, last: &Measurement) -> Status {
        let [one, five, fifteen] =
            ["one", "five", "fifteen"].map(|field| round(last.get_number(field).unwrap_or(f64::NAN)));
        Status::new(gmetad_core::agent::State::Ok, message!("load {}, {}, {}", one, five, fifteen))
    }
}

fn parse(text: &str) -> Option<[f64; 3]> {
    let mut words = text.split_ascii_whitespace().map(|word| word.parse().ok().filter(|load: &f64| load.is_finite()));
    Some([words.next()??, words.next()??, words.next()??])
}

#[cfg(test)]
mod tests {
    use procfs_core::{FromRead, LoadAverage};
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn this_machine_and_a_recorded_one() {
        let recorded = "0.20 0.18 12.05 1/80 11206\n";
        assert_eq!(parse(recorded), Some([0.2, 0.18, 12.05]));
        let judge = LoadAverage::from_read(recorded.as_bytes()).unwrap();
        assert_eq!([judge.one, judge.five, judge.fifteen], [0.2, 0.18, 12.05]);
        assert_eq!((parse(""), parse("1 2"), parse("a b c"), parse("nan 1 1")), (None, None, None, None));
        let measurement = super::super::measure_once(&KIND, "");
        assert!(measurement.get_number("one").unwrap() >= 0.0);
        let per_core = measurement.get_number("five").unwrap() / measurement.get_number("processors").unwrap();
        assert_eq!(measurement.get_number("per_core"), Some(per_core));
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC*|[0-9. /\n]*") {
            let _ = parse(&text);
        }
    }
}
