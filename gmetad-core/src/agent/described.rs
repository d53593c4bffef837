//! What an agent can say of its fields and graphs only once it has measured, or better than its configuration does: units,
//! labels, limits of another program that it asks.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::Message;

/// What an agent says of itself. It counts where the agent's file says nothing.
///
/// ```
/// use gmetad_core::agent::{Counted, Described, DescribedField};
///
/// let described = Described::default()
///     .field(DescribedField::new("free").unit("B"))
///     .field(DescribedField { counted: Counted::Derive, min: Some(0.0), ..DescribedField::new("read").unit("B") });
/// assert_eq!(described.fields.len(), 2);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Described {
    /// Title of its page; empty: what it is otherwise.
    pub description: Message,
    /// Part of the overview; empty: what it is otherwise.
    pub section: Message,
    /// Its fields, also those of its instances, in the order in which they are to be shown.
    pub fields: Vec<DescribedField>,
    /// What is to be drawn; empty: a graph for each unit.
    pub graphs: Vec<DescribedGraph>,
    /// What the reader of its page should know: things that were not understood, say.
    pub notes: Vec<Message>,
}

impl Described {
    /// Adds a field; one of that name is replaced, where it is.
    #[must_use]
    pub fn field(mut self, field: DescribedField) -> Self {
        self.put(field);
        self
    }

    /// As [`Described::field`].
    pub fn put(&mut self, field: DescribedField) {
        match self.fields.iter_mut().find(|known| known.name == field.name) {
            Some(known) => *known = field,
            None => self.fields.push(field),
        }
    }
}

/// A field, as whoever measures it knows it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DescribedField {
    /// The field of the measurement.
    pub name: String,
    /// For people; empty: the name.
    pub label: Message,
    /// Of what is shown and drawn: `B`, `%`, `s`, of counters `B/s` …; may be empty.
    pub unit: String,
    /// What its numbers are.
    pub counted: Counted,
    /// Smallest value (of counters: rate) that can be; smaller ones are not known.
    pub min: Option<f64>,
    /// Largest value (of counters: rate) that can be; larger ones are not known.
    pub max: Option<f64>,
    /// Outside of which monitoring-plugins range it is judged a Warn *by whoever describes it*: to be shown.
    pub warn: Option<String>,
    /// The same of Error.
    pub error: Option<String>,
}

impl DescribedField {
    /// A field of which nothing else is known.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), ..Self::default() }
    }

    /// With that unit.
    #[must_use]
    pub fn unit(mut self, unit: impl Into<String>) -> Self {
        self.unit = unit.into();
        self
    }

    /// With that label.
    #[must_use]
    pub fn label(mut self, label: impl Into<Message>) -> Self {
        self.label = label.into();
        self
    }
}

/// What the numbers of a field are: types of RRD data sources.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Counted {
    /// The value itself.
    #[default]
    Gauge,
    /// A counter that only grows, and wraps at 2^32 or 2^64.
    Counter,
    /// A number whose change per second is meant; with `min` 0 a counter that may start anew.
    Derive,
    /// What came since the last measurement.
    Absolute,
}

impl Counted {
    /// Its name: `GAUGE`, `COUNTER`, `DERIVE`, `ABSOLUTE`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gauge => "GAUGE",
            Self::Counter => "COUNTER",
            Self::Derive => "DERIVE",
            Self::Absolute => "ABSOLUTE",
        }
    }

    /// Whether what is drawn is a rate, not the number itself.
    pub fn is_rate(self) -> bool {
        self != Self::Gauge
    }
}

impl fmt::Display for Counted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Counted {
    type Err = String;

    /// In capitals or not.
    fn from_str(text: &str) -> Result<Self, String> {
        let all = [Self::Gauge, Self::Counter, Self::Derive, Self::Absolute];
        let found = all.into_iter().find(|one| one.name().eq_ignore_ascii_case(text));
        found.ok_or_else(|| format!("\"{text}\" is none of GAUGE, COUNTER, DERIVE, ABSOLUTE"))
    }
}

/// A graph, as whoever measures would draw it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DescribedGraph {
    /// Its name among the graphs of the agent: letters, digits, `_`, `-`, `.`.
    pub name: String,
    /// Above it.
    pub title: Message,
    /// Unit of the axis.
    pub unit: String,
    /// Where the axis begins at least.
    pub lower: Option<f64>,
    /// Where the axis ends at least.
    pub upper: Option<f64>,
    /// Its lines and areas, in order.
    pub series: Vec<DescribedSeries>,
}

/// A line or an area.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DescribedSeries {
    /// The field.
    pub field: String,
    /// `line1`, `line2`, `line3`, `area`, `stack`; empty: as is usual.
    pub draw: String,
    /// `#RRGGBB`; empty: chosen.
    pub color: String,
    /// Empty: the label of the field.
    pub legend: Message,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_stays_where_it_is() {
        let described = Described::default().field(DescribedField::new("a")).field(DescribedField::new("b"));
        let described = described.field(DescribedField::new("a").unit("B"));
        let seen: Vec<_> = described.fields.iter().map(|field| (field.name.as_str(), field.unit.as_str())).collect();
        assert_eq!(seen, [("a", "B"), ("b", "")]);
        assert_eq!("derive".parse(), Ok(Counted::Derive));
        assert!("".parse::<Counted>().is_err());
    }
}
