//! Agents: what measures an aspect of a machine at an interval and judges it. No I/O here: schedules, graphs, pages and
//! archives are the matter of whoever runs agents.
//!
//! Two duties, kept apart: [`Agent::measure`] takes a measurement and may take its time; [`Agent::check_status`] judges
//! what was measured, does no I/O and may be called at any moment.

use std::fmt;
use std::time::Duration;

use crate::model::UnixTime;
use crate::source::Stop;

/// How an aspect does, from the best to the worst. A maximum is taken in this order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// It works.
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
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Status {
    /// The state.
    pub state: State,
    /// For people; may be empty.
    pub message: String,
}

impl Status {
    /// A status.
    pub fn new(state: State, message: impl Into<String>) -> Self {
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
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// What graphs are drawn of; unknown is NaN.
    Number(f64),
    /// What only tables show.
    Text(String),
}

/// What one measurement found: values by name, in the order of the agent.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Measurement {
    fields: Vec<(String, Value)>,
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

    fn field(mut self, name: impl Into<String>, value: Value) -> Self {
        let name = name.into();
        self.fields.retain(|(known, _)| *known != name);
        self.fields.push((name, value));
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
}

/// What an agent may know while it measures.
#[derive(Clone, Debug)]
pub struct Context {
    /// When the measurement began: seconds since the epoch.
    pub now: UnixTime,
    /// How long it may take; what takes longer is given up, and counts as not measured.
    pub deadline: Duration,
    /// Set when the program ends: waits should end then.
    pub stop: Stop,
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

    /// Time between two measurements.
    fn period(&self) -> Duration {
        Duration::from_secs(60)
    }

    /// Names of agents that must be well for this one to be judged.
    fn requires(&self) -> &[String] {
        &[]
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
        assert_eq!(first.message, "a");
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
