//! An agent as written: the keys that all kinds have in common.

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use gmetad_core::agent::{Message, State};
use gmetad_core::message;
use serde::de::{Deserializer, Error, IntoDeserializer as _, MapAccess, SeqAccess, Visitor, value};
use serde::{Deserialize, de};

use crate::exec;
use crate::spec::{Cf, Datasource, Draw};
use crate::status::Range;

/// A key that agents of all kinds have.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Its name.
    pub name: &'static str,
    /// What it says, in a line.
    pub about: &'static str,
}

const fn key(name: &'static str, about: &'static str) -> Key {
    Key { name, about }
}

/// The keys that agents of all kinds have; all others are the kind's own.
#[rustfmt::skip]
pub const KEYS: &[Key] = &[
    key("name",        "by which it is required, listed and addressed"),
    key("kind",        "what it is, see `z_stats kinds`; without it an agent that is there already is changed"),
    key("enabled",     "false takes the agent away"),
    key("modules",     "modules on which it is there: amon, or amon-1.5"),
    key("when",        "conditions under which it is there: file, command, program, var"),
    key("period",      "time between two measurements: 115s, 5m, or seconds"),
    key("timeout",     "after which a measurement is given up; at most the period"),
    key("description", "title of its page"),
    key("section",     "part of the overview it is shown in"),
    key("fields",      "what is known of its fields, in the order they are shown: names, or name, label, unit"),
    key("requires",    "agents that must be well for it to be judged"),
    key("debounce",    "results in a row that a worse status needs before it is shown"),
    key("rules",       "thresholds: field, warn, error, for, nodata"),
    key("keep",        "what is kept: last, table or rrd"),
    key("rows",        "measurements kept as a table"),
    key("datasources", "fields that get an RRD file: name, ds_type, min_bound, max_bound"),
    key("archives",    "what RRD files keep: cf, and rows and steps or resolution and keep"),
    key("graphs",      "what is drawn: pngname, title, unit, lower, upper, series, or vnamedefs and options"),
];

/// Those common keys that are put over the agent's spec.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Common {
    pub(super) period: Option<Period>,
    pub(super) timeout: Option<Period>,
    pub(super) description: Option<String>,
    pub(super) section: Option<String>,
    pub(super) fields: Option<Few<FieldWritten>>,
    pub(super) requires: Option<Few<String>>,
    pub(super) debounce: Option<Times>,
    pub(super) rules: Option<Few<RuleWritten>>,
    pub(super) keep: Option<KeepWritten>,
    pub(super) rows: Option<Rows>,
    pub(super) datasources: Option<Few<DatasourceWritten>>,
    pub(super) archives: Option<Few<ArchiveWritten>>,
    pub(super) graphs: Option<Few<GraphWritten>>,
}

/// Longest list of a key.
const FEW: usize = 256;

/// A list with a bound.
#[derive(Clone, Debug)]
pub(super) struct Few<T>(pub(super) Vec<T>);

impl<T> Default for Few<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Few<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct All<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for All<T> {
            type Value = Few<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Few<T>, A::Error> {
                let mut all = Vec::new();
                while let Some(one) = list.next_element()? {
                    if all.len() == FEW {
                        return Err(A::Error::custom(format!("more than {FEW} of them")));
                    }
                    all.push(one);
                }
                Ok(Few(all))
            }
        }

        from.deserialize_seq(All(PhantomData))
    }
}

/// A text, or a list of texts.
#[derive(Clone, Debug, Default)]
pub(super) struct Words(pub(super) Vec<String>);

impl<'de> Deserialize<'de> for Words {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Either;

        impl<'de> Visitor<'de> for Either {
            type Value = Words;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text or a list of texts")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Words, E> {
                Ok(Words(vec![text.to_owned()]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Words, A::Error> {
                let all: Few<String> = Few::deserialize(value::SeqAccessDeserializer::new(list))?;
                Ok(Words(all.0))
            }
        }

        from.deserialize_any(Either)
    }
}

/// Reads a duration: a number of seconds, or one with `s`, `m`, `h`, `d`, `w` or `y`.
///
/// # Errors
/// What is wrong with it.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    const UNITS: [(&str, f64); 9] = [
        ("ms", 0.001),
        ("min", 60.0),
        ("s", 1.0),
        ("m", 60.0),
        ("h", 3600.0),
        ("d", 86_400.0),
        ("w", 604_800.0),
        ("y", 31_536_000.0),
        ("", 1.0),
    ];
    let wrong = || format!("\"{text}\" is no time; write seconds, or 115s, 5m, 24h, 7d, 5w, 1y");
    let trimmed = text.trim();
    let (number, unit) =
        UNITS.iter().find_map(|(name, unit)| Some((trimmed.strip_suffix(name)?, unit))).ok_or_else(wrong)?;
    let number: f64 = number.trim().parse().map_err(|_| wrong())?;
    Duration::try_from_secs_f64(number * unit).map_err(|_| wrong())
}

/// A number of seconds, or a text with a unit.
struct Time;

impl Visitor<'_> for Time {
    type Value = Duration;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a time, such as 115, \"115s\" or \"5m\"")
    }

    fn visit_i64<E: Error>(self, seconds: i64) -> Result<Duration, E> {
        self.visit_f64(seconds as f64)
    }

    fn visit_f64<E: Error>(self, seconds: f64) -> Result<Duration, E> {
        Duration::try_from_secs_f64(seconds).map_err(|_| E::custom(format!("{seconds} is no time")))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Duration, E> {
        duration(text).map_err(E::custom)
    }
}

/// Longest period: a month.
const LONGEST: Duration = Duration::from_secs(31 * 86_400);

/// A period: 1 s to 31 days, in whole seconds from one second on (RRD files know no others).
#[derive(Clone, Copy, Debug)]
pub(super) struct Period(pub(super) Duration);

impl<'de> Deserialize<'de> for Period {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let time = from.deserialize_any(Time)?;
        if time < Duration::from_secs(1) || time > LONGEST {
            return Err(D::Error::custom(format!(
                "{} s is too short or too long: from 1 s to 31 days",
                time.as_secs_f64()
            )));
        }
        Ok(Self(Duration::from_secs(time.as_secs_f64().round() as u64)))
    }
}

/// How long an archive keeps, or how much a row stands for: up to ten years.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span(pub(super) u64);

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let time = from.deserialize_any(Time)?.as_secs_f64().round();
        if !(1.0..=10.0 * 31_536_000.0).contains(&time) {
            return Err(D::Error::custom(format!("{time} s is too short or too long: from 1 s to 10 years")));
        }
        Ok(Self(time as u64))
    }
}

macro_rules! bounded {
    ($(#[$doc:meta])* $name:ident, $type:ty, $least:literal, $most:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        pub(super) struct $name(pub(super) $type);

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let number = i64::deserialize(from)?;
                match <$type>::try_from(number) {
                    Ok(fits) if ($least..=$most).contains(&fits) => Ok(Self(fits)),
                    _ => Err(D::Error::custom(format!("{number} is not between {} and {}", $least, $most))),
                }
            }
        }
    };
}

bounded!(
    /// Results in a row.
    Times, u32, 1, 1000
);
bounded!(
    /// Rows of a table.
    Rows, usize, 1, 10_000
);
bounded!(
    /// Rows of an archive.
    ArchiveRows, u64, 1, 1_000_000
);
bounded!(
    /// Measurements a row of an archive.
    Steps, u64, 1, 1_000_000
);

/// What is kept, by a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum KeepWritten {
    Last,
    Table,
    Rrd,
}

/// A field, as the program names it: `/home` is as good as the name that becomes of it.
fn field<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    let text = String::deserialize(from)?;
    Ok(if text.is_empty() { text } else { exec::name(&text) })
}

/// A field: its name, or a table.
#[derive(Clone, Debug)]
pub(super) struct FieldWritten {
    pub(super) name: String,
    pub(super) label: Option<String>,
    pub(super) unit: Option<String>,
}

impl<'de> Deserialize<'de> for FieldWritten {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Full {
            #[serde(deserialize_with = "field")]
            name: String,
            label: Option<String>,
            unit: Option<String>,
        }

        struct Either;

        impl<'de> Visitor<'de> for Either {
            type Value = FieldWritten;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of a field, or a table with name, label, unit")
            }

            fn visit_str<E: Error>(self, name: &str) -> Result<FieldWritten, E> {
                Ok(FieldWritten { name: field(name.into_deserializer())?, label: None, unit: None })
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<FieldWritten, A::Error> {
                let Full { name, label, unit } = Full::deserialize(value::MapAccessDeserializer::new(map))?;
                Ok(FieldWritten { name, label, unit })
            }
        }

        from.deserialize_any(Either)
    }
}

/// A range, also as a plain number.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RangeWritten(pub(crate) Range);

impl<'de> Deserialize<'de> for RangeWritten {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Either;

        impl Visitor<'_> for Either {
            type Value = RangeWritten;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a range, such as 10, \"10:\", \"~:10\", \"10:20\" or \"@10:20\"")
            }

            fn visit_i64<E: Error>(self, limit: i64) -> Result<RangeWritten, E> {
                self.visit_str(&limit.to_string())
            }

            fn visit_f64<E: Error>(self, limit: f64) -> Result<RangeWritten, E> {
                self.visit_str(&limit.to_string())
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<RangeWritten, E> {
                text.parse().map(RangeWritten).map_err(E::custom)
            }
        }

        from.deserialize_any(Either)
    }
}

/// A rule.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RuleWritten {
    #[serde(deserialize_with = "field")]
    pub(super) field: String,
    pub(super) warn: Option<RangeWritten>,
    pub(super) error: Option<RangeWritten>,
    #[serde(rename = "for")]
    pub(super) times: Option<Times>,
    pub(super) nodata: Option<StateWritten>,
}

/// A state, whatever the capitals.
#[derive(Clone, Copy, Debug)]
pub(super) struct StateWritten(pub(super) State);

impl<'de> Deserialize<'de> for StateWritten {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let word = String::deserialize(from)?;
        let known = [State::Ok, State::Unknown, State::Warn, State::Error];
        let state = known.into_iter().find(|state| state.name().eq_ignore_ascii_case(&word));
        state.map(Self).ok_or_else(|| D::Error::custom(format!("\"{word}\" is none of ok, unknown, warn, error")))
    }
}

/// A data source.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DatasourceWritten {
    #[serde(deserialize_with = "field")]
    pub(super) name: String,
    ds_type: Option<String>,
    min_bound: Option<Bound>,
    max_bound: Option<Bound>,
}

/// A bound: a number, or `U` as in RRDtool.
#[derive(Clone, Copy, Debug)]
struct Bound(Option<f64>);

impl<'de> Deserialize<'de> for Bound {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Either;

        impl Visitor<'_> for Either {
            type Value = Bound;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number, or \"U\"")
            }

            fn visit_i64<E: Error>(self, bound: i64) -> Result<Bound, E> {
                Ok(Bound(Some(bound as f64)))
            }

            fn visit_f64<E: Error>(self, bound: f64) -> Result<Bound, E> {
                Ok(Bound(Some(bound).filter(|bound| bound.is_finite())))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Bound, E> {
                if text == "U" { Ok(Bound(None)) } else { Err(E::invalid_value(de::Unexpected::Str(text), &self)) }
            }
        }

        from.deserialize_any(Either)
    }
}

impl DatasourceWritten {
    /// As meant.
    pub(super) fn meant(self) -> Result<Datasource, Message> {
        let ds_type = self.ds_type.as_deref().unwrap_or("GAUGE");
        let kind = crate::spec::DsKind::from_name(&ds_type.to_ascii_uppercase());
        let (min, max) = (self.min_bound.and_then(|it| it.0), self.max_bound.and_then(|it| it.0));
        if let (Some(min), Some(max)) = (min, max)
            && min >= max
        {
            return Err(message!("min_bound {} of {} is not below its max_bound {}", min, &self.name, max));
        }
        let expected =
            || message!("ds_type \"{}\" of {} is none of GAUGE, COUNTER, DERIVE, ABSOLUTE", ds_type, &self.name);
        Ok(Datasource { ds_type: kind.ok_or_else(expected)?, name: self.name, min_bound: min, max_bound: max })
    }
}

/// An archive: rows and steps, as in the ancestor, or resolution and keep.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ArchiveWritten {
    pub(super) cf: Option<String>,
    pub(super) rows: Option<ArchiveRows>,
    pub(super) steps: Option<Steps>,
    pub(super) resolution: Option<Span>,
    pub(super) keep: Option<Span>,
}

/// A consolidation function.
pub(super) fn consolidation(name: &str) -> Result<Cf, Message> {
    Cf::from_name(&name.to_ascii_uppercase())
        .ok_or_else(|| message!("cf \"{}\" is none of AVERAGE, MIN, MAX, LAST", name))
}

/// A graph.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct GraphWritten {
    pub(super) pngname: String,
    pub(super) title: Option<String>,
    pub(super) unit: Option<String>,
    pub(super) lower: Option<f64>,
    pub(super) upper: Option<f64>,
    #[serde(default)]
    pub(super) series: Few<SeriesWritten>,
    #[serde(default)]
    pub(super) vnamedefs: toml::map::Map<String, toml::Value>,
    #[serde(default)]
    pub(super) options: Few<String>,
}

/// A line or an area.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SeriesWritten {
    #[serde(deserialize_with = "field")]
    pub(super) ds: String,
    pub(super) cf: Option<String>,
    #[serde(default)]
    pub(super) draw: Draw,
    pub(super) color: Option<String>,
    pub(super) legend: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        for (text, seconds) in [
            ("115s", 115.0),
            ("5m", 300.0),
            ("2 min", 120.0),
            ("1.5h", 5400.0),
            ("7d", 604_800.0),
            ("60", 60.0),
            ("250ms", 0.25),
        ] {
            assert_eq!(duration(text).unwrap().as_secs_f64(), seconds, "{text}");
        }
        for text in ["", "s", "-5s", "5 minutes", "nan", "1e400", "é"] {
            assert!(duration(text).unwrap_err().contains("is no time"), "{text}");
        }
    }

    #[test]
    fn common_keys_are_those_of_the_table() {
        let expected: Vec<&str> = {
            let error = toml::from_str::<Common>("zzz = 1").unwrap_err().message().to_owned();
            error
                .split('`')
                .skip(3)
                .step_by(2)
                .map(|word| KEYS.iter().find(|key| key.name == word).unwrap().name)
                .collect()
        };
        let others = ["name", "kind", "enabled", "modules", "when"];
        assert_eq!(expected.len() + others.len(), KEYS.len());
        assert!(others.iter().all(|other| KEYS.iter().any(|key| key.name == *other)));
    }

    #[test]
    fn bounds_of_numbers() {
        for (good, text) in [
            (true, "period = 60"),
            (true, "period = '60'"),
            (false, "period = 0"),
            (false, "period = '32d'"),
            (false, "period = true"),
            (true, "debounce = 1"),
            (false, "debounce = 0"),
            (false, "debounce = -1"),
            (true, "rules = [{ field = 'x', warn = 10, error = '~:20', for = 3, nodata = 'Unknown' }]"),
            (false, "rules = [{ field = 'x', warn = 'much' }]"),
            (false, "rules = [{ field = 'x', nodata = 'dependant' }]"),
            (true, "fields = ['a', { name = 'b', unit = 'B' }]"),
            (false, "fields = [{ nam = 'b' }]"),
            (false, "keep = 'all'"),
            (true, "datasources = [{ name = 'a', min_bound = 'U', max_bound = 1 }]"),
            (false, "datasources = [{ name = 'a', min_bound = 'x' }]"),
        ] {
            let read = toml::from_str::<Common>(text);
            assert_eq!(read.is_ok(), good, "{text}: {read:?}");
        }
        let many = format!("requires = [{}]", "'x',".repeat(FEW + 1));
        assert!(toml::from_str::<Common>(&many).unwrap_err().message().contains("more than 256"));
    }
}
