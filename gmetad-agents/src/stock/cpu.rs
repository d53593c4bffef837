//! Processor time: what part of the time since the measurement before was spent on what.

use gmetad_core::agent::{AgentError, Context, Measurement, Message, State, Status};
use gmetad_core::message;
use serde::Deserialize;
use std::time::Duration;
use toml::Table;

use super::plan::{
    BLUE, CYAN, GREEN, GREY, INSTANCES, Limits, MINUTE, ORANGE, PURPLE, Plan, Probe, RED, YELLOW, area, keys,
    percentages, plain, round, stack,
};
use super::proc::{numbers, strange, text};
use crate::kind::Kind;
use crate::spec::Installed;

const FILE: &str = "/proc/stat";
/// What the first measurement looks at, since it has none before it.
const FIRST: Duration = Duration::from_millis(250);
/// Fields, in the order of /proc/stat; guests are part of user and nice there.
const FIELDS: [&str; 8] = ["user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal"];
const IDLE: usize = 3;
const IOWAIT: usize = 4;

pub(super) const KIND: Kind =
    Kind { name: "cpu", about: "Processor time", section: "System", build, default: || plain(&KIND) };

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {
    /// Each processor besides the whole.
    #[serde(default)]
    each: bool,
}

struct Cpu {
    each: bool,
    before: Vec<Times>,
}

/// Ticks of a processor.
type Times = [u64; 8];

fn build(name: &str, mut own: Table) -> Result<Installed, Message> {
    let limits = Limits::take(&mut own)?;
    let Keys { each } = keys(own)?;
    let series = vec![
        area("system", RED),
        stack("user", BLUE),
        stack("nice", CYAN),
        stack("iowait", PURPLE),
        stack("irq", ORANGE),
        stack("softirq", YELLOW),
        stack("steal", GREY),
        stack("idle", "#dfe5ea"),
    ];
    Ok(Plan::new(name, &KIND, MINUTE, Cpu { each, before: Vec::new() })
        .percent("used", message!("busy"))
        .percent("user", message!("programs"))
        .percent("nice", message!("programs of low priority"))
        .percent("system", message!("kernel"))
        .percent("iowait", message!("waiting for disks"))
        .percent("irq", message!("interrupts"))
        .percent("softirq", message!("soft interrupts"))
        .percent("steal", message!("taken by other virtual machines"))
        .percent("idle", message!("idle"))
        .shown("processors", message!("processors"), "")
        .limited("used", "~:95", "", 20, limits)
        .graph(percentages("busy.png", message!("Busy"), vec![area("used", GREEN)]))
        .graph(percentages("cpu.png", message!("Processor time"), series))
        .build())
}

impl Probe for Cpu {
    fn measure(&mut self, context: &Context) -> Result<Measurement, AgentError> {
        if self.before.is_empty() {
            self.before = read()?;
            context.stop.wait(FIRST.min(context.deadline / 2));
        }
        let now = read()?;
        let whole = now.first().ok_or_else(|| strange(FILE))?;
        let before = self.before.first().unwrap_or(whole);
        let mut measurement = parts(before, whole);
        let processors = now.len() - 1;
        // A processor that came or went moves the others.
        if self.each && now.len() == self.before.len() {
            for (number, (before, now)) in self.before.iter().zip(&now).skip(1).take(INSTANCES).enumerate() {
                measurement = measurement.instance(format!("cpu{number}"), parts(before, now));
            }
        }
        self.before = now;
        Ok(measurement.number("processors", processors as f64))
    }

    fn judge(&self, last: &Measurement) -> Status {
        let used = round(last.get_number("used").unwrap_or(f64::NAN));
        Status::new(State::Ok, message!("{} % busy", used))
    }
}

fn read() -> Result<Vec<Times>, Message> {
    Some(parse(&text(FILE)?)).filter(|times| !times.is_empty()).ok_or_else(|| strange(FILE))
}

/// The whole, then each processor.
fn parse(text: &str) -> Vec<Times> {
    let lines = text.lines().map_while(|line| line.strip_prefix("cpu"));
    lines
        .map(|line| {
            let mut times = Times::default();
            let words = line.split_once(' ').map_or("", |(_, words)| words);
            times.iter_mut().zip(numbers(words)).for_each(|(time, number)| *time = number);
            times
        })
        .collect()
}

/// What the time between was spent on, in percent; nothing if there was none.
fn parts(before: &Times, now: &Times) -> Measurement {
    // Single numbers go back sometimes (iowait), and all of them when a virtual machine is moved.
    let spent: [u64; 8] = std::array::from_fn(|at| now[at].saturating_sub(before[at]));
    let sum = spent.iter().fold(0_u64, |sum, part| sum.saturating_add(*part));
    let percent = |part: u64| if sum == 0 { f64::NAN } else { (100.0 * part as f64 / sum as f64).min(100.0) };
    let measurement =
        Measurement::new().number("used", percent(sum - spent[IDLE].saturating_add(spent[IOWAIT]).min(sum)));
    FIELDS
        .into_iter()
        .zip(spent)
        .fold(measurement, |measurement, (field, part)| measurement.number(field, percent(part)))
}

#[cfg(test)]
mod tests {
    use procfs_core::{ExplicitSystemInfo, FromReadSI, KernelStats};
    use proptest::prelude::*;

    use super::*;

    const RECORDED: &str =
        "cpu  100 10 50 800 40 0 0 0 0 0\ncpu0 50 5 25 400 20 0 0 0 0 0\ncpu1 50 5 25 400 20 0 0 0 0 0\nintr 1 0\n";

    #[test]
    fn parts_of_the_time_between() {
        let before = parse(RECORDED);
        assert_eq!((before.len(), before[0]), (3, [100, 10, 50, 800, 40, 0, 0, 0]));
        let after = parse("cpu  150 10 75 900 35 10 10 5 7 0\n");
        let parts = parts(&before[0], &after[0]);
        let get = |field| parts.get_number(field).unwrap();
        assert_eq!(
            ["user", "system", "idle", "iowait", "irq", "softirq", "steal"].map(get),
            [25.0, 12.5, 50.0, 0.0, 5.0, 5.0, 2.5]
        );
        assert_eq!(get("used"), 50.0);
        assert!(super::parts(&before[0], &before[0]).get_number("used").unwrap().is_nan(), "no time went by");
    }

    #[test]
    fn this_machine() {
        let text = text(FILE).unwrap();
        let times = parse(&text);
        let here =
            ExplicitSystemInfo { boot_time_secs: 0, ticks_per_second: 100, page_size: 4096, is_little_endian: true };
        let judge = KernelStats::from_read(text.as_bytes(), &here).unwrap();
        assert_eq!(times.len(), judge.cpu_time.len() + 1);
        assert_eq!(
            times[0][..5],
            [judge.total.user, judge.total.nice, judge.total.system, judge.total.idle, judge.total.iowait.unwrap()]
        );

        let measurement = super::super::measure_once(&KIND, "each = true");
        let sum: f64 = FIELDS.map(|field| measurement.get_number(field).unwrap()).iter().sum();
        assert!((sum - 100.0).abs() < 0.01, "{measurement:?}");
        assert_eq!(measurement.instances().len(), times.len() - 1);
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "(cpu[0-9 -]{0,60}\n){0,4}\\PC*", other in "cpu( [0-9]{1,20}){0,12}") {
            let (one, two) = (parse(&text), parse(&other));
            if let (Some(one), Some(two)) = (one.first(), two.first()) {
                let used = parts(one, two).get_number("used").unwrap();
                prop_assert!(used.is_nan() || (0.0..=100.0).contains(&used));
            }
        }
    }
}
