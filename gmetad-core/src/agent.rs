//! Agents: what measures an aspect of a machine at an interval and judges it. No I/O here: schedules, graphs, pages and
//! archives are the matter of whoever runs agents.
//!
//! Two duties, kept apart: [`Agent::measure`] takes a measurement and may take its time; [`Agent::check_status`] judges
//! what was measured, does no I/O and may be called at any moment.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::UnixTime;
use crate::source::Stop;

mod described;
mod message;

pub use described::{Counted, Described, DescribedField, DescribedGraph, DescribedSeries};
pub use message::{Argument, Message};

/// How an aspect does, from the best to the worst. A maximum is taken in this order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum State {
    /// It works.
    #[serde(rename = "OK")]
    Ok,
    /// It cannot be judged, because something it requires does not work. Low on purpose: what it requires carries the
    /// alarm.
    Dependant,
    /// It was never measured, cannot be measured, or the agent has no opinion.
    #[default]
    Unknown,
    /// It needs attention.
    Warn,
    /// It is broken.
    Error,
}

impl State {
    /// All, from the best to the worst.
    pub const ALL: [Self; 5] = [Self::Ok, Self::Dependant, Self::Unknown, Self::Warn, Self::Error];

    /// Its name: `OK`, `Dependant`, `Unknown`, `Warn`, `Error`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::Dependant => "Dependant",
            Self::Unknown => "Unknown",
            Self::Warn => "Warn",
            Self::Error => "Error",
        }
    }
}

/// A state and what there is to say about it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Status {
    /// The state.
    pub state: State,
    /// For people; may be empty.
    pub message: Message,
}

impl Status {
    /// A status.
    pub fn new(state: State, message: impl Into<Message>) -> Self {
        Self { state, message: message.into() }
    }

    /// It works; nothing to say.
    pub fn ok() -> Self {
        Self::new(State::Ok, "")
    }

    /// The worse of both; of two that are as bad, the first.
    #[must_use]
    pub fn worse(self, other: Self) -> Self {
        if other.state > self.state { other } else { self }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.state.name())?;
        if self.message.is_empty() { Ok(()) } else { write!(f, ": {}", self.message) }
    }
}

/// A measured value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Value {
    /// What graphs are drawn of; unknown is NaN, `null` when serialised.
    Number(#[serde(with = "nan_as_null")] f64),
    /// What only tables show.
    Text(String),
}

/// JSON has no NaN.
mod nan_as_null {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(number: &f64, to: S) -> Result<S::Ok, S::Error> {
        number.is_finite().then_some(*number).serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
        Ok(Option::deserialize(from)?.unwrap_or(f64::NAN))
    }
}

/// A cell of a [`Table`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Cell {
    /// A number; unknown is NaN.
    Number(#[serde(with = "nan_as_null")] f64),
    /// A text.
    Text(Message),
    /// A lamp.
    State(State),
}

/// A table on the page of an agent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Table {
    /// Above it; may be empty.
    pub title: Message,
    /// Heads of the columns.
    pub columns: Vec<Message>,
    /// Rows; those that are shorter than the head are filled up, those that are longer cut.
    pub rows: Vec<Vec<Cell>>,
}

/// What else the page of an agent shows, in this order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Element {
    /// A paragraph, or several lines.
    Text(Message),
    /// HTML; whoever shows it removes what could harm.
    Html(String),
    /// A table.
    Table(Table),
}

/// What one measurement found: values by name, in the order of the agent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Measurement {
    fields: Vec<(String, Value)>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    instances: Vec<(String, Measurement)>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    elements: Vec<Element>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    status: Option<Status>,
}

impl Measurement {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a number; a field of that name is replaced.
    #[must_use]
    pub fn number(self, name: impl Into<String>, value: f64) -> Self {
        self.field(name, Value::Number(value))
    }

    /// Adds a text; a field of that name is replaced.
    #[must_use]
    pub fn text(self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.field(name, Value::Text(value.into()))
    }

    /// Adds a value; a field of that name is replaced.
    #[must_use]
    pub fn field(mut self, name: impl Into<String>, value: Value) -> Self {
        let name = name.into();
        self.fields.retain(|(known, _)| *known != name);
        self.fields.push((name, value));
        self
    }

    /// Adds what was measured of one of several things of a kind (an interface, a disk); one of that name is replaced.
    #[must_use]
    pub fn instance(mut self, name: impl Into<String>, of_it: Self) -> Self {
        let name = name.into();
        self.instances.retain(|(known, _)| *known != name);
        self.instances.push((name, of_it));
        self
    }

    /// Adds something for the agent's page.
    #[must_use]
    pub fn element(mut self, element: Element) -> Self {
        self.elements.push(element);
        self
    }

    /// What the measurement itself says about the status, if the program that was asked judges (a check, say). The worst of
    /// this, of rules and of [`Agent::check_status`] counts.
    #[must_use]
    pub fn judged(mut self, status: Status) -> Self {
        self.status = Some(status);
        self
    }

    /// The value of that name.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.fields.iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }

    /// The number of that name; `None` for texts and for what was not measured.
    pub fn get_number(&self, name: &str) -> Option<f64> {
        match self.get(name) {
            Some(Value::Number(number)) => Some(*number),
            _ => None,
        }
    }

    /// All values.
    pub fn fields(&self) -> impl ExactSizeIterator<Item = (&str, &Value)> {
        self.fields.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// All instances.
    pub fn instances(&self) -> impl ExactSizeIterator<Item = (&str, &Self)> {
        self.instances.iter().map(|(name, of_it)| (name.as_str(), of_it))
    }

    /// What the page shows besides values.
    pub fn elements(&self) -> &[Element] {
        &self.elements
    }

    /// What the measurement says about the status.
    pub fn status(&self) -> Option<&Status> {
        self.status.as_ref()
    }
}

/// What an agent may know while it measures.
#[derive(Clone, Debug)]
pub struct Context {
    /// When the measurement began: seconds since the epoch.
    pub now: UnixTime,
    /// How long it may take; what takes longer is given up, and counts as not measured.
    pub deadline: Duration,
    /// Set when the measurement is given up or the program ends: waits should end then.
    pub stop: Stop,
}

/// Where an agent lives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// A directory of its own for what it wants to remember; made when it needs it, never read by others.
    pub state: PathBuf,
    /// The root of the configuration: `<root>/bin/` has helpers of agents.
    pub root: PathBuf,
    /// Time between two measurements.
    pub period: Duration,
    /// Fields that the configuration judges, or wants not to be judged: no agent judges them by limits of its own.
    pub ruled: Vec<String>,
}

/// What an agent judges by.
#[derive(Clone, Debug)]
pub struct History<'a> {
    /// Now: seconds since the epoch.
    pub now: UnixTime,
    /// The last measurement that succeeded, and when it began.
    pub last: Option<(UnixTime, &'a Measurement)>,
    /// The one before it.
    pub before: Option<(UnixTime, &'a Measurement)>,
    /// The status so far.
    pub status: &'a Status,
}

impl History<'_> {
    /// A number of the last measurement.
    pub fn number(&self, field: &str) -> Option<f64> {
        self.last.and_then(|(_, measurement)| measurement.get_number(field))
    }

    /// By how much a number grows per second, from the last two measurements.
    pub fn rate(&self, field: &str) -> Option<f64> {
        let ((then, before), (now, last)) = (self.before?, self.last?);
        let seconds = (now - then) as f64;
        (seconds > 0.0).then_some((last.get_number(field)? - before.get_number(field)?) / seconds)
    }
}

/// Why a measurement failed. The text goes to the log and into the status.
pub type AgentError = Box<dyn std::error::Error + Send + Sync>;

/// Measures an aspect of a machine and judges it.
///
/// ```
/// use gmetad_core::agent::{Agent, AgentError, Context, History, Measurement, State, Status};
///
/// struct Load;
///
/// impl Agent for Load {
///     fn name(&self) -> &str {
///         "load"
///     }
///
///     fn measure(&mut self, _context: &Context) -> Result<Measurement, AgentError> {
///         let text = std::fs::read_to_string("/proc/loadavg")?;
///         let one = text.split(' ').next().ok_or("/proc/loadavg is empty")?.parse()?;
///         Ok(Measurement::new().number("one", one))
///     }
///
///     fn check_status(&self, history: &History<'_>) -> Status {
///         match history.number("one") {
///             Some(load) if load > 8.0 => Status::new(State::Warn, format!("load {load}")),
///             Some(_) => Status::ok(),
///             None => Status::default(),
///         }
///     }
/// }
/// ```
pub trait Agent: Send {
    /// Its name, by which others require it.
    fn name(&self) -> &str;

    /// What it is about, for the title of its page.
    fn description(&self) -> &str {
        self.name()
    }

    /// The part of the overview it belongs to; empty: none.
    fn section(&self) -> &str {
        ""
    }

    /// Time between two measurements.
    fn period(&self) -> Duration {
        Duration::from_secs(60)
    }

    /// Names of agents that must be well for this one to be judged.
    fn requires(&self) -> &[String] {
        &[]
    }

    /// Told once, before the first measurement.
    fn init_data(&mut self, place: &Place) {
        let _ = place;
    }

    /// Takes one measurement. Never called while an earlier call has not returned.
    ///
    /// # Errors
    /// The reason; the measurement counts as not taken.
    fn measure(&mut self, context: &Context) -> Result<Measurement, AgentError>;

    /// Judges what was measured. Neutral unless written: [`State::Unknown`].
    fn check_status(&self, history: &History<'_>) -> Status {
        let _ = history;
        Status::default()
    }

    /// What it knows of its fields and graphs, if it knows more than its configuration. Asked after each measurement that
    /// succeeded; cheap, no I/O.
    fn describe(&self) -> Option<&Described> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_of_statuses_is_taken_in_order() {
        assert!(State::ALL.is_sorted());
        let worst = State::ALL.map(|state| Status::new(state, state.name())).into_iter().reduce(Status::worse);
        assert_eq!(worst.map(|status| status.to_string()), Some("Error: Error".to_owned()));
        let first = Status::new(State::Warn, "a").worse(Status::new(State::Warn, "b"));
        assert_eq!(first.message.to_string(), "a");
    }

    #[test]
    fn rates_come_from_two_measurements() {
        let (one, two) = (Measurement::new().number("n", 10.0), Measurement::new().number("n", 40.0).text("t", "x"));
        let status = Status::default();
        let mut history = History { now: 130, last: Some((115, &two)), before: Some((100, &one)), status: &status };
        assert_eq!((history.number("n"), history.rate("n"), history.rate("t")), (Some(40.0), Some(2.0), None));
        history.before = None;
        assert_eq!(history.rate("n"), None);
        assert_eq!(Measurement::new().number("a", 1.0).number("a", 2.0).fields().len(), 1);
    }
}
