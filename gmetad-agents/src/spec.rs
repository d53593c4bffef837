//! What is known of an agent besides how it measures: its name and place, when it runs, how it is judged, what is kept.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use gmetad_core::agent::{Agent, Message, State};
pub use gmetad_rrd::{Cf, DsKind};
use serde::{Deserialize, Serialize};

use crate::lang::units;
use crate::status::Range;

/// Longest a measurement may take, unless the agent says something else; never longer than its period.
pub const TIMEOUT: Duration = Duration::from_secs(60);

/// An agent, ready to be scheduled.
pub struct Installed {
    /// What is known of it.
    pub spec: Spec,
    /// What measures and judges.
    pub agent: Box<dyn Agent>,
}

impl Installed {
    /// A simple agent: its last measurement is shown, nothing is kept but statuses.
    pub fn new(agent: impl Agent + 'static) -> Self {
        Self { spec: Spec::of(&agent), agent: Box::new(agent) }
    }
}

impl fmt::Debug for Installed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Installed").field("spec", &self.spec).finish_non_exhaustive()
    }
}

/// What is known of an agent. Two equal specs of one name are the same agent: a reload keeps its state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spec {
    /// By which it is required, listed and addressed: 1 to 64 letters, digits, `_`, `-`, `.`, `+`, not beginning with a dot.
    pub name: String,
    /// Seconds between two measurements.
    #[serde(with = "seconds")]
    pub period: Duration,
    /// Seconds after which a measurement is given up.
    #[serde(with = "seconds")]
    pub timeout: Duration,
    /// Title of its page.
    pub description: Message,
    /// Part of the overview; may be empty.
    pub section: Message,
    /// What is known of fields, in the order in which they are shown; others follow.
    #[serde(default)]
    pub fields: Vec<Field>,
    /// Names of the agents it requires.
    #[serde(default)]
    pub requires: Vec<String>,
    /// By which it is judged, besides its own judgement.
    #[serde(default)]
    pub rules: Vec<Rule>,
    /// By which whoever measures judges: to be shown beside the fields, and in graphs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub limits: Vec<Limit>,
    /// Fields of which rules are written, also such as take others away: no limits of a program count for them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ruled: Vec<String>,
    /// What is kept of its measurements.
    #[serde(default)]
    pub keep: Keep,
    /// Consecutive results that a worse status of its own needs before it is shown; 1: at once.
    #[serde(default = "one")]
    pub debounce: u32,
    /// Its configuration as written, so that a change of what only the agent itself understands is seen. Empty: none. It may
    /// have passwords: it is neither served nor kept.
    #[serde(skip)]
    pub written: String,
    /// The file that it comes from; empty: none.
    #[serde(default)]
    pub origin: String,
    /// It only stands for configuration that cannot be loaded: other agents of that file may be missing for that reason.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub load_error: bool,
    /// Files and directories besides `origin` of which the same is true.
    #[serde(skip)]
    pub stands_for: Vec<String>,
}

/// Whether something comes from one of these files, or from a file in one of these directories.
pub(crate) fn is_of(origin: &str, places: &[String]) -> bool {
    !origin.is_empty() && places.iter().any(|place| Path::new(origin).starts_with(place))
}

fn one() -> u32 {
    1
}

impl Spec {
    /// What an agent says of itself.
    pub fn of(agent: &dyn Agent) -> Self {
        let period = agent.period().max(Duration::from_secs(1));
        Self {
            name: agent.name().to_owned(),
            period,
            timeout: period.min(TIMEOUT),
            description: agent.description().into(),
            section: agent.section().into(),
            fields: Vec::new(),
            requires: agent.requires().to_vec(),
            rules: Vec::new(),
            limits: Vec::new(),
            ruled: Vec::new(),
            keep: Keep::Last,
            debounce: 1,
            written: String::new(),
            origin: String::new(),
            load_error: false,
            stands_for: Vec::new(),
        }
    }

    /// Whether a field only grows, so that its rate is what matters.
    pub(crate) fn is_counter(&self, field: &str) -> bool {
        let Keep::Rrd(graphs) = &self.keep else { return false };
        let kind = graphs.datasources.iter().find(|source| source.name == field).map(|source| source.ds_type);
        matches!(kind, Some(DsKind::Counter | DsKind::Derive))
    }

    fn written_unit(&self, field: &str) -> &str {
        self.fields.iter().find(|known| known.name == field).map_or("", |known| known.unit.as_str())
    }

    /// The unit of a field as it is measured; of a counter that of what it counts.
    pub(crate) fn unit(&self, field: &str) -> &str {
        let unit = self.written_unit(field);
        if self.is_counter(field) { units::counted(unit) } else { unit }
    }

    /// The unit of a field as it is drawn; of a counter that of its rate.
    pub(crate) fn drawn_unit(&self, field: &str) -> String {
        let unit = self.written_unit(field);
        if self.is_counter(field) { units::per_second(unit) } else { unit.to_owned() }
    }
}

/// How a field is shown.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Field {
    /// The field.
    pub name: String,
    /// For people; empty: the name.
    #[serde(default)]
    pub label: Message,
    /// `B`, `%`, `B/s`, `s` …; bytes and seconds are shown readably.
    #[serde(default)]
    pub unit: String,
}

/// A threshold: outside of which ranges a field is a Warn or an Error.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rule {
    /// The field, also of each instance.
    pub field: String,
    /// Alerting range of Warn.
    #[serde(default)]
    pub warn: Option<Range>,
    /// Alerting range of Error.
    #[serde(default)]
    pub error: Option<Range>,
    /// Consecutive measurements that must alert before the rule does; 1: at once.
    #[serde(default = "one")]
    pub r#for: u32,
    /// What it means that the field is missing or unknown; `None`: nothing.
    #[serde(default)]
    pub nodata: Option<State>,
}

/// Limits that somebody else judges a field by: a check of another program, say.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Limit {
    /// The field, also of each instance.
    pub field: String,
    /// Range of Warn; of counters: of their rate.
    #[serde(default)]
    pub warn: Option<Range>,
    /// Range of Error.
    #[serde(default)]
    pub error: Option<Range>,
}

/// What is kept of the measurements of an agent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Keep {
    /// The last one.
    #[default]
    Last,
    /// The last `rows`, shown as a table.
    Table {
        /// How many.
        rows: usize,
    },
    /// RRD files: one for each numeric field, of each instance if there are some.
    Rrd(Graphs),
}

/// The RRD files and the graphs of an agent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Graphs {
    /// What gets an RRD file. Empty: each numeric field, as GAUGE without bounds.
    #[serde(default)]
    pub datasources: Vec<Datasource>,
    /// Archives of each file. Empty: see [`Archive::standard`].
    #[serde(default)]
    pub archives: Vec<Archive>,
    /// What is drawn. Empty: one graph for each unit.
    #[serde(default)]
    pub graphs: Vec<Graph>,
}

/// A data source: a field that gets an RRD file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Datasource {
    /// The field.
    pub name: String,
    /// Its type.
    #[serde(with = "kind", default = "gauge")]
    pub ds_type: DsKind,
    /// Smallest value that counts as known.
    #[serde(default)]
    pub min_bound: Option<f64>,
    /// Largest value that counts as known.
    #[serde(default)]
    pub max_bound: Option<f64>,
}

fn gauge() -> DsKind {
    DsKind::Gauge
}

/// An archive, by what it should show; steps and rows follow from the agent's period.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Archive {
    /// Consolidation function.
    #[serde(with = "consolidation", default = "average")]
    pub cf: Cf,
    /// Seconds a row; rounded up to a multiple of the period.
    pub resolution: u64,
    /// Seconds the whole archive covers.
    pub keep: u64,
}

fn average() -> Cf {
    Cf::Average
}

impl Archive {
    /// Hour, day, week, month and year: 30 hours of single measurements, then AVERAGE and MAX of 5 minutes for 8 days, of half
    /// an hour for 5 weeks, of 6 hours for 400 days.
    pub fn standard(period: Duration) -> Vec<Self> {
        const HOUR: u64 = 3600;
        let step = period.as_secs().max(1);
        let mut archives = vec![Self { cf: Cf::Average, resolution: step, keep: 30 * HOUR }];
        for (resolution, keep) in [(300, 192 * HOUR), (HOUR / 2, 840 * HOUR), (6 * HOUR, 9600 * HOUR)] {
            for cf in [Cf::Average, Cf::Max] {
                archives.push(Self { cf, resolution: resolution.max(step), keep });
            }
        }
        archives
    }
}

/// A graph.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Graph {
    /// Its name, as `http.png`: also that of the picture if librrd draws it.
    pub pngname: String,
    /// Above it.
    #[serde(default)]
    pub title: Message,
    /// Unit of the axis.
    #[serde(default)]
    pub unit: String,
    /// Where the axis begins at least.
    #[serde(default)]
    pub lower: Option<f64>,
    /// Where the axis ends at least.
    #[serde(default)]
    pub upper: Option<f64>,
    /// What is drawn. Empty (and no `vnamedefs`): each field of the same unit.
    #[serde(default)]
    pub series: Vec<Series>,
    /// Raw arguments of rrdgraph, drawn by librrd where it is installed: virtual name -> (data source, CF).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub vnamedefs: Vec<(String, (String, String))>,
    /// Raw arguments of rrdgraph, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<String>,
}

/// A line or an area.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Series {
    /// The data source.
    pub ds: String,
    /// `AVERAGE`, `MIN`, `MAX` or `LAST`; empty: AVERAGE.
    #[serde(default)]
    pub cf: String,
    /// How.
    #[serde(default)]
    pub draw: Draw,
    /// `#RRGGBB`; empty: chosen.
    #[serde(default)]
    pub color: String,
    /// Empty: the label of the field.
    #[serde(default)]
    pub legend: Message,
}

/// How a series is drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Draw {
    /// A line of one pixel.
    Line1,
    /// Of two.
    #[default]
    Line2,
    /// Of three.
    Line3,
    /// A filled area.
    Area,
    /// A filled area on top of the one before.
    Stack,
}

macro_rules! by_name {
    ($module:ident, $type:ty, $expected:literal) => {
        mod $module {
            use serde::de::Error;
            use serde::{Deserialize, Deserializer, Serializer};

            use super::*;

            pub(super) fn serialize<S: Serializer>(it: &$type, to: S) -> Result<S::Ok, S::Error> {
                to.serialize_str(it.name())
            }

            pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<$type, D::Error> {
                let name = String::deserialize(from)?;
                <$type>::from_name(&name)
                    .ok_or_else(|| D::Error::custom(format!("\"{name}\" is none of {}", $expected)))
            }
        }
    };
}

by_name!(kind, DsKind, "GAUGE, COUNTER, DERIVE, ABSOLUTE");
by_name!(consolidation, Cf, "AVERAGE, MIN, MAX, LAST");

/// Durations as numbers of seconds.
mod seconds {
    use super::*;
    use serde::{Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(time: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_f64(time.as_secs_f64())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        Duration::try_from_secs_f64(f64::deserialize(from)?).map_err(serde::de::Error::custom)
    }
}
