//! What stock agents have in common: their own keys, thresholds, fields, graphs.

use std::time::Duration;

use gmetad_core::agent::{Agent, AgentError, Context, History, Measurement, Message, Status};
use gmetad_core::message;
use toml::{Table, Value};

use crate::kind::Kind;
pub(super) use crate::kind::{keys, keys_with};
use crate::said::Said;
use crate::spec::{Datasource, Draw, DsKind, Field, Graph, Graphs, Installed, Keep, Rule, Series, TIMEOUT};
use crate::status::Range;

/// Period of agents that say nothing else, in seconds.
pub(super) const MINUTE: u64 = 60;
/// Most things (interfaces, mounts, services …) one agent measures: beyond it a machine has a layout nobody looks at one by
/// one, and each costs a directory of RRD files.
pub(super) const INSTANCES: usize = 256;

/// Letters of others' texts that are shown.
const LONGEST: usize = 200;

pub(super) const GREEN: &str = "#2e9e5b";
pub(super) const BLUE: &str = "#2f6fd0";
pub(super) const ORANGE: &str = "#e08a1e";
pub(super) const RED: &str = "#d0342c";
pub(super) const PURPLE: &str = "#8250c4";
pub(super) const YELLOW: &str = "#d9b310";
pub(super) const GREY: &str = "#9aa3ad";
pub(super) const CYAN: &str = "#1ba3b8";

/// What a kind has to write: measuring, and what is said while no threshold alerts.
pub(super) trait Probe: Send + 'static {
    fn measure(&mut self, context: &Context) -> Result<Measurement, AgentError>;

    /// Of the last measurement; rules of the spec come besides.
    fn judge(&self, last: &Measurement) -> Status {
        let _ = last;
        Status::ok()
    }
}

/// A probe as an agent.
struct Stock<P> {
    name: String,
    kind: Kind,
    period: Duration,
    probe: P,
}

impl<P: Probe> Agent for Stock<P> {
    fn name(&self) -> &str {
        &self.name
    }

    fn description(&self) -> &str {
        self.kind.about
    }

    fn section(&self) -> &str {
        self.kind.section
    }

    fn period(&self) -> Duration {
        self.period
    }

    fn measure(&mut self, context: &Context) -> Result<Measurement, AgentError> {
        self.probe.measure(context)
    }

    fn check_status(&self, history: &History<'_>) -> Status {
        history.last.map_or_else(Status::default, |(_, last)| self.probe.judge(last))
    }
}

/// Makes an [`Installed`] step by step.
pub(super) struct Plan {
    installed: Installed,
    graphs: Graphs,
}

impl Plan {
    /// `period` in seconds.
    pub(super) fn new(name: &str, kind: &Kind, period: u64, probe: impl Probe) -> Self {
        let period = Duration::from_secs(period);
        let mut installed = Installed::new(Stock { name: name.to_owned(), kind: *kind, period, probe });
        // As templates, so that they are translated.
        installed.spec.description = Message::new(kind.about, Vec::new());
        installed.spec.section = Message::new(kind.section, Vec::new());
        Self { installed, graphs: Graphs::default() }
    }

    /// Seconds a measurement may take.
    pub(super) fn timeout(mut self, seconds: u64) -> Self {
        self.installed.spec.timeout = Duration::from_secs(seconds).min(self.installed.spec.period).min(TIMEOUT * 10);
        self
    }

    /// A field that is shown, and not kept.
    pub(super) fn shown(mut self, name: &str, label: Message, unit: &str) -> Self {
        self.installed.spec.fields.push(Field { name: name.to_owned(), label, unit: unit.to_owned() });
        self
    }

    /// A field that is kept as it is, never negative.
    pub(super) fn gauge(self, name: &str, label: Message, unit: &str) -> Self {
        self.shown(name, label, unit).source(name, DsKind::Gauge, Some(0.0), None)
    }

    /// A field that is kept as it is and may be negative.
    pub(super) fn signed(self, name: &str, label: Message, unit: &str) -> Self {
        self.shown(name, label, unit).source(name, DsKind::Gauge, None, None)
    }

    /// A field between 0 and 100 %.
    pub(super) fn percent(self, name: &str, label: Message) -> Self {
        self.shown(name, label, "%").source(name, DsKind::Gauge, Some(0.0), Some(100.0))
    }

    /// A field that only grows: its rate is kept. DERIVE, because a COUNTER takes a restart for an overflow.
    pub(super) fn counter(self, name: &str, label: Message, unit: &str) -> Self {
        self.shown(name, label, unit).source(name, DsKind::Derive, Some(0.0), None)
    }

    fn source(mut self, name: &str, ds_type: DsKind, min_bound: Option<f64>, max_bound: Option<f64>) -> Self {
        self.graphs.datasources.push(Datasource { name: name.to_owned(), ds_type, min_bound, max_bound });
        self
    }

    /// A threshold; either range may be empty. `consecutive` measurements must alert.
    pub(super) fn rule(self, field: &str, warn: &str, error: &str, consecutive: u32) -> Self {
        self.limited(field, warn, error, consecutive, Limits::default())
    }

    /// A threshold for which the file may say `warn`, `error` and `for`.
    pub(super) fn limited(mut self, field: &str, warn: &str, error: &str, consecutive: u32, own: Limits) -> Self {
        let range =
            |text: &str| (!text.is_empty()).then(|| text.parse::<Range>().expect("a range of the program's own"));
        let (warn, error) = (own.warn.or_else(|| range(warn)), own.error.or_else(|| range(error)));
        if warn.is_none() && error.is_none() {
            return self;
        }
        let rule =
            Rule { field: field.to_owned(), warn, error, r#for: own.consecutive.unwrap_or(consecutive), nodata: None };
        self.installed.spec.rules.push(rule);
        self
    }

    pub(super) fn graph(mut self, graph: Graph) -> Self {
        self.graphs.graphs.push(graph);
        self
    }

    pub(super) fn build(mut self) -> Installed {
        if !self.graphs.datasources.is_empty() {
            self.installed.spec.keep = Keep::Rrd(self.graphs);
        }
        self.installed
    }
}

/// A graph from zero.
pub(super) fn graph(pngname: &str, title: Message, unit: &str, series: Vec<Series>) -> Graph {
    Graph { pngname: pngname.to_owned(), title, unit: unit.to_owned(), lower: Some(0.0), series, ..Graph::default() }
}

/// A graph from 0 to 100 %.
pub(super) fn percentages(pngname: &str, title: Message, series: Vec<Series>) -> Graph {
    Graph { upper: Some(100.0), ..graph(pngname, title, "%", series) }
}

fn series(ds: &str, draw: Draw, color: &str) -> Series {
    Series { ds: ds.to_owned(), draw, color: color.to_owned(), ..Series::default() }
}

pub(super) fn line(ds: &str, color: &str) -> Series {
    series(ds, Draw::Line2, color)
}

pub(super) fn area(ds: &str, color: &str) -> Series {
    series(ds, Draw::Area, color)
}

pub(super) fn stack(ds: &str, color: &str) -> Series {
    series(ds, Draw::Stack, color)
}

/// What the file says of the kind's main threshold.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Limits {
    warn: Option<Range>,
    error: Option<Range>,
    consecutive: Option<u32>,
}

impl Limits {
    /// The range of Error that counts; `usual`: where the file says nothing.
    pub(super) fn error(&self, usual: &str) -> Range {
        self.error.unwrap_or_else(|| usual.parse().expect("a range of the program's own"))
    }

    /// Whether the file says anything.
    pub(super) fn is_said(&self) -> bool {
        *self != Self::default()
    }

    /// Takes `warn`, `error` and `for` out of the keys.
    pub(super) fn take(own: &mut Table) -> Result<Self, Message> {
        let consecutive = match own.remove("for") {
            None => None,
            Some(Value::Integer(count @ 1..=1000)) => Some(count as u32),
            Some(other) => {
                return Err(message!("for = {}: write how many measurements must alert, 1 to 1000", other.to_string()));
            }
        };
        Ok(Self { warn: range(own, "warn")?, error: range(own, "error")?, consecutive })
    }
}

fn range(own: &mut Table, key: &str) -> Result<Option<Range>, Message> {
    let text = match own.remove(key) {
        None => return Ok(None),
        Some(Value::String(text)) => text,
        Some(number @ (Value::Integer(_) | Value::Float(_))) => number.to_string(),
        Some(other) => {
            return Err(message!("{} = {}: write a range, as \"~:90\" (alert above 90)", key, other.to_string()));
        }
    };
    text.parse::<Range>().map(Some).map_err(|error| message!("{}: {}", key, error.said()))
}

/// The agent of a kind without any key, under the kind's name.
pub(super) fn plain(kind: &Kind) -> Vec<Installed> {
    (kind.build)(kind.name, Table::new()).into_iter().collect()
}

/// As many digits as a person wants.
pub(super) fn round(value: f64) -> Message {
    let digits = if value.abs() >= 10.0 || value == 0.0 {
        0
    } else if value.abs() >= 1.0 {
        1
    } else {
        2
    };
    Message::number(format!("{value:.digits$}").parse().unwrap_or(value), "")
}

/// A count, as it is; rates are [`round`]ed.
pub(super) fn count(value: f64) -> String {
    format!("{value:.0}")
}

/// A text of somebody else's as it may stand in a message or a log: one line, not long.
pub(super) fn clean(text: &str) -> String {
    text.trim().chars().map(|letter| if letter.is_control() { ' ' } else { letter }).take(LONGEST).collect()
}

/// Part of a whole in percent; of nothing it is 0.
pub(super) fn share(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { (100.0 * part / whole).clamp(0.0, 100.0) } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_main_threshold_can_be_said_in_several_ways() {
        let take = |text: &str| {
            let mut own: Table = text.parse().unwrap();
            let limits = Limits::take(&mut own)?;
            assert!(own.is_empty(), "{own}");
            Ok::<_, Message>(limits)
        };
        let of = |warn: &str| Some(warn.parse::<Range>().unwrap());
        assert_eq!(take("").unwrap(), Limits::default());
        assert_eq!(
            take("warn = 5\nerror = \"~:10\"\nfor = 3").unwrap(),
            Limits { warn: of("5"), error: of("~:10"), consecutive: Some(3) }
        );
        assert_eq!(take("warn = 0.5").unwrap().warn, of("0.5"));
        let error = |text| take(text).unwrap_err().to_string();
        assert!(error("warn = true").starts_with("warn = true: write a range"), "{}", error("warn = true"));
        assert!(error("error = \"x\"").starts_with("error: \"x\" is not a range"), "{}", error("error = \"x\""));
        assert!(error("for = 0").starts_with("for = 0: write how many"));
    }

    #[test]
    fn texts_of_others() {
        assert_eq!(clean(" a\nb\u{1b}[31m\t"), "a b [31m");
        assert_eq!(clean(&"é".repeat(1000)).chars().count(), LONGEST);
    }

    #[test]
    fn numbers_for_people() {
        assert_eq!(
            [0.0, 0.123, 1.26, 42.7, -3.12].map(|value| round(value).to_string()),
            ["0", "0.12", "1.3", "43", "-3.1"]
        );
        assert_eq!([0.0, 6.0, 204.0].map(count), ["0", "6", "204"]);
        assert_eq!((share(1.0, 4.0), share(1.0, 0.0), share(5.0, 4.0)), (25.0, 0.0, 100.0));
    }
}
