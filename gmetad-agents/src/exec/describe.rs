//! The verb `describe`: TOML keys, in the words of an agent's file, that count where the file says nothing.

use gmetad_core::agent::{Counted, Described, DescribedField, DescribedGraph, DescribedSeries, Message};
use gmetad_core::message;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use toml::{Table, Value};

use super::names::{self, FIELDS};
use crate::config::RangeWritten;
use crate::said::Said;

/// Graphs, and series of a graph.
const GRAPHS: usize = 50;
const SERIES: usize = 50;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Keys {
    description: String,
    section: String,
    fields: Vec<Table>,
    datasources: Vec<Table>,
    graphs: Vec<Table>,
    rules: Vec<Table>,
    #[serde(flatten)]
    others: Table,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct FieldKeys {
    name: String,
    label: String,
    unit: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct DatasourceKeys {
    name: String,
    ds_type: Option<String>,
    min_bound: Option<f64>,
    max_bound: Option<f64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
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
#[serde(default)]
struct RuleKeys {
    field: String,
    warn: Option<RangeWritten>,
    error: Option<RangeWritten>,
}

/// What is wrong with a description, by its weight.
#[derive(Debug, Default)]
struct Wrong {
    /// What it has besides.
    notes: Vec<Message>,
    /// What cannot be understood, and is left out.
    mistakes: Vec<Message>,
}

impl Wrong {
    /// The entries of a list that can be understood.
    fn entries<T: DeserializeOwned>(&mut self, part: &str, list: Vec<Table>, most: usize, keys: &[&str]) -> Vec<T> {
        let mut good = Vec::new();
        for (at, mut table) in list.into_iter().take(most).enumerate() {
            let name = keys.first().and_then(|key| table.get(*key)?.as_str());
            let name = name.filter(|name| !name.is_empty()).map_or_else(|| format!("#{}", at + 1), names::line);
            let others: Vec<String> = table.keys().filter(|key| !keys.contains(&key.as_str())).cloned().collect();
            if !others.is_empty() {
                others.iter().for_each(|key| drop(table.remove(key)));
                let others = names::line(&others.join(", "));
                self.notes.push(message!(
                    "`describe`, [[{}]] {}: it cannot have {}; take that out",
                    part,
                    name,
                    others
                ));
                if table.is_empty() {
                    continue;
                }
            }
            match Value::Table(table).try_into() {
                Ok(entry) => good.push(entry),
                Err(error) => self.mistake(part, &name, error.said()),
            }
        }
        good
    }

    fn mistake(&mut self, part: &str, name: &str, why: Message) {
        self.mistakes.push(message!("`describe`, [[{}]] {}: {}; it does not count", part, names::line(name), why));
    }
}

/// Reads what a program says of itself, and what of that cannot be understood. Names of fields become what they are in
/// measurements.
///
/// # Errors
/// It is no TOML: the place.
pub fn read(output: &[u8]) -> Result<(Described, Vec<Message>), Message> {
    let text = std::str::from_utf8(output).map_err(|_| message!("it is not UTF-8"))?;
    let keys: Keys = toml::from_str(text).map_err(|error: toml::de::Error| {
        let before = error.span().map_or(0, |span| span.start.min(output.len()));
        let line = output[..before].split(|byte| *byte == b'\n').count();
        message!("line {}: {}", line, error.said())
    })?;
    let mut wrong = Wrong::default();
    let text = |text: &str| Message::from(names::line(text));
    let mut described =
        Described { description: text(&keys.description), section: text(&keys.section), ..Described::default() };
    for field in wrong.entries::<FieldKeys>("fields", keys.fields, FIELDS, &["name", "label", "unit"]) {
        let unit = names::cut(&names::line(&field.unit), 20).to_owned();
        described.put(DescribedField::new(names::name(&field.name)).label(text(&field.label)).unit(unit));
    }
    let of_source = ["name", "ds_type", "min_bound", "max_bound"];
    for source in wrong.entries::<DatasourceKeys>("datasources", keys.datasources, FIELDS, &of_source) {
        let counted = counted(source.ds_type.as_deref());
        let field = field(&mut described, &source.name);
        match counted {
            Ok(counted) => field.counted = counted,
            Err(why) => wrong.mistake("datasources", &source.name, why),
        }
        (field.min, field.max) =
            (source.min_bound.filter(|it| it.is_finite()), source.max_bound.filter(|it| it.is_finite()));
        if let (Some(min), Some(max)) = (field.min, field.max)
            && min >= max
        {
            field.max = None;
            wrong.mistake("datasources", &source.name, message!("min_bound is not below max_bound"));
        }
    }
    for rule in wrong.entries::<RuleKeys>("rules", keys.rules, FIELDS, &["field", "warn", "error"]) {
        let field = field(&mut described, &rule.field);
        (field.warn, field.error) =
            (rule.warn.map(|range| range.0.to_string()), rule.error.map(|range| range.0.to_string()));
    }
    let of_graph = ["pngname", "title", "unit", "lower", "upper", "series"];
    let graphs = wrong.entries::<GraphKeys>("graphs", keys.graphs, GRAPHS, &of_graph);
    for (at, graph) in graphs.iter().enumerate() {
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
    described.notes.append(&mut wrong.notes);
    Ok((described, wrong.mistakes))
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
        let (described, mistakes) = read(
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
            (Some("10"), "done_all-f195ac7e", Counted::Counter, Some(0.0))
        );
        let colors: Vec<_> = described.graphs[0].series.iter().map(|series| series.color.as_str()).collect();
        assert_eq!((described.graphs[0].name.as_str(), colors), ("jobs", vec!["#00ff00", ""]));
        assert_eq!(described.notes[0].to_string(), "keys that a description cannot have: archives");
        assert!(mistakes.is_empty());
        for bad in ["{\"v\":1}", "a = [", "rules = 5"] {
            let said = read(format!("\n{bad}").as_bytes()).unwrap_err().to_string();
            assert!(said.starts_with("line 2: "), "{bad}: {said}");
        }
    }

    #[test]
    fn what_is_wrong_is_named_and_the_rest_counts() {
        let text = "[[datasources]]\nname = 'x'\nds_type = 'COUNTER'\nfoo = 1\n[[datasources]]\nname = 'y'\nds_type = 'FOO'\n\
            [[datasources]]\nname = 'z'\nmin_bound = 5\nmax_bound = 1\n[[rules]]\nfield = 'x'\nerror = 'abc'\n\
            [[rules]]\nfield = 'y'\nerror = 5\n[[fields]]\nlabel = 7\n";
        let (described, mistakes) = read(text.as_bytes()).unwrap();
        let texts = |list: &[Message]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(texts(&described.notes), ["`describe`, [[datasources]] x: it cannot have foo; take that out"]);
        let mistakes = texts(&mistakes);
        for (mistake, part) in mistakes.iter().zip([
            "[[fields]] #1: ",
            "[[datasources]] y: \"FOO\" is none of GAUGE, COUNTER, DERIVE, ABSOLUTE; it does not count",
            "[[datasources]] z: min_bound is not below max_bound",
            "[[rules]] x: \"abc\" is not a range",
        ]) {
            assert!(mistake.contains(part), "{mistake}");
        }
        assert_eq!(mistakes.len(), 4);
        let [x, y, _] = &described.fields[..] else { panic!("three") };
        assert_eq!((x.counted, y.error.as_deref()), (Counted::Counter, Some("5")));
    }

    proptest! {
        #[test]
        fn no_output_panics(output in any::<Vec<u8>>(), near in "(\\[\\[(fields|rules|graphs)\\]\\]\n|(name|warn|field) = ['0-9a:@]{0,9}\n){0,9}") {
            let _ = read(&output);
            let _ = read(near.as_bytes());
        }
    }
}
