//! The verb `describe`: TOML keys, in the words of an agent's file, that count where the file says nothing.

use gmetad_core::agent::{Counted, Described, DescribedField, DescribedGraph, DescribedSeries, Message};
use gmetad_core::message;
use serde::Deserialize;

use super::names::{self, FIELDS};
use crate::said::Said;
use crate::status::Range;

/// Graphs, and series of a graph.
const GRAPHS: usize = 50;
const SERIES: usize = 50;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Keys {
    description: String,
    section: String,
    fields: Vec<FieldKeys>,
    datasources: Vec<DatasourceKeys>,
    graphs: Vec<GraphKeys>,
    rules: Vec<RuleKeys>,
    #[serde(flatten)]
    others: toml::Table,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct FieldKeys {
    name: String,
    label: String,
    unit: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct DatasourceKeys {
    name: String,
    ds_type: Option<String>,
    min_bound: Option<f64>,
    max_bound: Option<f64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct GraphKeys {
    pngname: String,
    title: String,
    unit: String,
    lower: Option<f64>,
    upper: Option<f64>,
    series: Vec<SeriesKeys>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct SeriesKeys {
    ds: String,
    draw: String,
    color: String,
    legend: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RuleKeys {
    field: String,
    warn: Option<Range>,
    error: Option<Range>,
}

/// Reads what a program says of itself. Names of fields become what they are in measurements.
///
/// # Errors
/// It is no TOML, or a key has an impossible value: the place.
pub fn read(output: &[u8]) -> Result<Described, Message> {
    let text = std::str::from_utf8(output).map_err(|_| message!("it is not UTF-8"))?;
    let keys: Keys = toml::from_str(text).map_err(|error: toml::de::Error| error.said())?;
    let text = |text: &str| Message::from(names::line(text));
    let mut described =
        Described { description: text(&keys.description), section: text(&keys.section), ..Described::default() };
    for field in keys.fields.iter().take(FIELDS) {
        let unit = names::cut(&names::line(&field.unit), 20).to_owned();
        described.put(DescribedField::new(names::name(&field.name)).label(text(&field.label)).unit(unit));
    }
    for source in keys.datasources.iter().take(FIELDS) {
        let field = field(&mut described, &source.name);
        field.counted = counted(source.ds_type.as_deref())?;
        (field.min, field.max) =
            (source.min_bound.filter(|it| it.is_finite()), source.max_bound.filter(|it| it.is_finite()));
    }
    for rule in keys.rules.iter().take(FIELDS) {
        let field = field(&mut described, &rule.field);
        (field.warn, field.error) =
            (rule.warn.map(|range| range.to_string()), rule.error.map(|range| range.to_string()));
    }
    for (at, graph) in keys.graphs.iter().take(GRAPHS).enumerate() {
        let name = graph.pngname.strip_suffix(".png").unwrap_or(&graph.pngname);
        let series = graph.series.iter().take(SERIES).map(|series| DescribedSeries {
            field: names::name(&series.ds),
            draw: series.draw.to_ascii_lowercase(),
            color: if is_color(&series.color) { series.color.clone() } else { String::new() },
            legend: text(&series.legend),
        });
        described.graphs.push(DescribedGraph {
            name: if name.is_empty() { format!("graph{at}") } else { names::name(name) },
            title: text(&graph.title),
            unit: names::line(&graph.unit),
            lower: graph.lower.filter(|it| it.is_finite()),
            upper: graph.upper.filter(|it| it.is_finite()),
            series: series.collect(),
        });
    }
    if !keys.others.is_empty() {
        let others: Vec<&str> = keys.others.keys().map(String::as_str).take(10).collect();
        described.notes.push(message!("keys that a description cannot have: {}", names::line(&others.join(", "))));
    }
    Ok(described)
}

fn counted(ds_type: Option<&str>) -> Result<Counted, Message> {
    let Some(text) = ds_type else { return Ok(Counted::Gauge) };
    text.parse().map_err(|_: String| message!("\"{}\" is none of GAUGE, COUNTER, DERIVE, ABSOLUTE", text))
}

fn field<'a>(described: &'a mut Described, name: &str) -> &'a mut DescribedField {
    let name = names::name(name);
    let at = described.fields.iter().position(|field| field.name == name).unwrap_or_else(|| {
        described.fields.push(DescribedField::new(name));
        described.fields.len() - 1
    });
    &mut described.fields[at]
}

pub(super) fn is_color(text: &str) -> bool {
    text.strip_prefix('#').is_some_and(|digits| digits.len() == 6 && digits.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// What a description and a measurement say together: of a field what the description says, where it says something.
pub(super) fn together(description: &Described, measured: Described) -> Described {
    let mut all = measured;
    for known in &description.fields {
        match all.fields.iter_mut().find(|field| field.name == known.name) {
            Some(field) => {
                let bare = std::mem::replace(field, known.clone());
                if field.unit.is_empty() {
                    field.unit = bare.unit;
                }
            }
            None => all.fields.push(known.clone()),
        }
    }
    if !description.description.is_empty() {
        all.description = description.description.clone();
    }
    if !description.section.is_empty() {
        all.section = description.section.clone();
    }
    if !description.graphs.is_empty() {
        all.graphs.clone_from(&description.graphs);
    }
    all.notes.extend(description.notes.iter().cloned());
    all
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn all_keys() {
        let described = read(
            br##"description = "Jobs"
section = "Services"
archives = []
[[fields]]
name = "jobs"
label = "Jobs that wait"
[[fields]]
name = "done/all"
unit = "1/s"
[[datasources]]
name = "done/all"
ds_type = "COUNTER"
min_bound = 0
[[rules]]
field = "jobs"
warn = "10"
[[graphs]]
pngname = "jobs.png"
[[graphs.series]]
ds = "jobs"
draw = "area"
color = "#00ff00"
[[graphs.series]]
ds = "done/all"
color = "red"
"##,
        )
        .unwrap();
        assert_eq!((described.description.to_string(), described.fields.len()), ("Jobs".to_owned(), 2));
        let [jobs, done] = &described.fields[..] else { panic!("two") };
        assert_eq!(
            (jobs.warn.as_deref(), done.name.as_str(), done.counted, done.min),
            (Some("10"), "done_all", Counted::Counter, Some(0.0))
        );
        let colors: Vec<_> = described.graphs[0].series.iter().map(|series| series.color.as_str()).collect();
        assert_eq!((described.graphs[0].name.as_str(), colors), ("jobs", vec!["#00ff00", ""]));
        assert_eq!(described.notes[0].to_string(), "keys that a description cannot have: archives");
        for bad in ["{\"v\":1}", "[[rules]]\nwarn = 'x'", "[[datasources]]\nds_type = 'NONE'", "[[fields]]\nnam = ''"] {
            assert!(read(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_output_panics(output in any::<Vec<u8>>(), near in "(\\[\\[(fields|rules|graphs)\\]\\]\n|(name|warn|field) = ['0-9a:@]{0,9}\n){0,9}") {
            let _ = read(&output);
            let _ = read(near.as_bytes());
        }
    }
}
