//! What a munin plugin says of itself by `config`.

use std::collections::HashMap;
use std::hash::Hash;

use gmetad_core::agent::{Counted, Described, DescribedField, DescribedGraph, DescribedSeries, Message};
use gmetad_core::message;

use super::munin::{attribute, finite, key, number};
use super::names;

/// Graphs of one plugin: a root graph and one of each of its things.
const GRAPHS: usize = 200;
/// Remarks about what is not understood.
const NOTES: usize = 10;

#[derive(Debug, Default)]
pub(super) struct Plugin {
    pub(super) graphs: Vec<Graph>,
    pub(super) fields: Vec<Field>,
    /// Values within the configuration.
    pub(super) found: Vec<(String, f64)>,
    pub(super) notes: Vec<Message>,
}

#[derive(Debug, Default)]
pub(super) struct Graph {
    /// Of a plugin with several graphs.
    pub(super) name: String,
    title: String,
    vlabel: String,
    category: String,
    args: String,
    pub(super) info: String,
    order: Vec<String>,
}

#[derive(Debug, Default)]
pub(super) struct Field {
    /// Which graph.
    pub(super) graph: usize,
    pub(super) name: String,
    pub(super) key: String,
    label: String,
    /// Within its graph, if that is not the label.
    legend: String,
    counted: Counted,
    min: Option<f64>,
    max: Option<f64>,
    warn: Option<String>,
    error: Option<String>,
    draw: String,
    color: String,
    cdef: String,
    is_hidden: bool,
    negative: String,
}

impl Plugin {
    pub(super) fn of(config: &str) -> Self {
        let mut plugin = Self { graphs: vec![Graph::default()], ..Self::default() };
        for line in config.lines() {
            plugin.line(line.trim());
        }
        plugin.tell_apart();
        for field in plugin.fields.iter().filter(|field| !field.cdef.is_empty()).take(NOTES) {
            plugin.notes.push(message!("{}: the cdef \"{}\" is not applied", &field.key, names::line(&field.cdef)));
        }
        plugin
    }

    fn line(&mut self, line: &str) {
        if let Some(name) = line.strip_prefix("multigraph ") {
            if self.graphs.len() < GRAPHS {
                // A graph of which nothing was said was only the beginning.
                self.graphs.push(Graph { name: name.trim().to_owned(), ..Graph::default() });
            }
            return;
        }
        let at = self.graphs.len() - 1;
        if let Some((word, rest)) = line.strip_prefix("graph_").map(|rest| rest.split_once(' ').unwrap_or((rest, ""))) {
            let graph = &mut self.graphs[at];
            let rest = rest.trim();
            match word {
                "title" => graph.title = rest.to_owned(),
                "vlabel" => graph.vlabel = rest.to_owned(),
                "category" => graph.category = rest.to_owned(),
                "args" => graph.args = rest.to_owned(),
                "info" => graph.info = rest.to_owned(),
                "order" => {
                    graph.order = rest.split_whitespace().take(names::FIELDS).map(str::to_owned).collect();
                }
                _ => {}
            }
        } else if let Some((name, attribute, value)) = attribute(line) {
            let key = names::name(&key(&self.graphs[at].name, name));
            if attribute == "value" && self.found.len() < names::VALUES {
                self.found.push((key.clone(), number(value)));
            }
            let known = self.fields.iter().position(|field| field.key == key);
            let field = match known {
                Some(known) => &mut self.fields[known],
                None if self.fields.len() < names::FIELDS => {
                    self.fields.push(Field { graph: at, name: name.to_owned(), key, ..Field::default() });
                    let last = self.fields.len() - 1;
                    &mut self.fields[last]
                }
                None => return,
            };
            if let Some(note) = field.set(attribute, value).filter(|_| self.notes.len() < NOTES) {
                self.notes.push(note);
            }
        }
    }

    /// Fields that are called the same, as a disk in each of its graphs, get the title of the graph, or else their own name.
    fn tell_apart(&mut self) {
        let own: Vec<_> = self.fields.iter().map(|field| (field.graph, field.called().to_owned())).collect();
        let own = own.iter().zip(twice(&own)).zip(&self.fields);
        let within: Vec<String> = own
            .map(|(((_, called), twice), field)| match twice {
                true => format!("{called} ({})", field.name),
                false => called.clone(),
            })
            .collect();
        let titled = |(field, within): (&Field, &String)| match names::line(&period(&self.graphs[field.graph].title)) {
            title if title.is_empty() => within.clone(),
            title => format!("{title} – {within}"),
        };
        let titled: Vec<String> = self.fields.iter().zip(&within).map(titled).collect();
        let (is_within, is_titled) = (twice(&within), twice(&titled));
        for (at, (within, titled)) in within.into_iter().zip(titled).enumerate() {
            let field = &mut self.fields[at];
            let label = match (is_within[at], is_titled[at]) {
                (false, _) => within.clone(),
                (true, false) => titled,
                (true, true) => format!("{} ({})", field.called(), field.key),
            };
            if label != field.called() {
                field.legend = if label == within { String::new() } else { within };
                field.label = label;
            }
        }
    }

    pub(super) fn describe(&self, described: &mut Described) {
        let first = self.graphs.iter().find(|graph| !graph.category.is_empty() || !graph.title.is_empty());
        described.section = first.map(|graph| section(&graph.category)).unwrap_or_default();
        let roots = self.graphs.iter().filter(|graph| !graph.title.is_empty() && !graph.name.contains('.'));
        if let [only] = roots.collect::<Vec<_>>()[..] {
            described.description = names::line(&period(&only.title)).into();
        }
        for (at, graph) in self.graphs.iter().enumerate() {
            let series = self.series(at);
            if !series.is_empty() {
                described.graphs.push(graph.described(series, described.fields.iter()));
            }
        }
    }

    /// What is drawn, in the order wanted.
    fn series(&self, at: usize) -> Vec<DescribedSeries> {
        let graph = &self.graphs[at];
        let of_it: Vec<&Field> = self.fields.iter().filter(|field| field.graph == at).collect();
        let place = |field: &Field| graph.order.iter().position(|name| *name == field.name).unwrap_or(usize::MAX);
        let below = |name: &str| of_it.iter().any(|field| field.negative == name);
        let mut drawn: Vec<&&Field> = of_it.iter().filter(|field| !field.is_hidden || below(&field.name)).collect();
        drawn.sort_by_key(|field| place(field)); // stable
        let mut is_stacked = false;
        let series = drawn.into_iter().map(|field| {
            let draw = match field.draw.as_str() {
                "AREA" => "area",
                "STACK" => "stack",
                "AREASTACK" => {
                    if is_stacked {
                        "stack"
                    } else {
                        "area"
                    }
                }
                "LINE1" => "line1",
                "LINE3" => "line3",
                _ => "line2",
            };
            is_stacked = matches!(draw, "area" | "stack");
            DescribedSeries {
                field: field.key.clone(),
                draw: draw.to_owned(),
                color: field.color.clone(),
                legend: field.legend.as_str().into(),
            }
        });
        series.collect()
    }
}

impl Graph {
    fn described<'a>(
        &self,
        series: Vec<DescribedSeries>,
        mut fields: impl Iterator<Item = &'a DescribedField>,
    ) -> DescribedGraph {
        let unit =
            fields.find(|field| field.name == series[0].field).map(|field| field.unit.clone()).unwrap_or_default();
        let limit = |short: &str, long: &str| argument(&self.args, short, long).filter(|limit| limit.is_finite());
        DescribedGraph {
            name: names::name(if self.name.is_empty() { "graph" } else { &self.name }),
            title: names::line(&period(&self.title)).into(),
            unit: if unit.is_empty() { names::line(&period(&self.vlabel)) } else { unit },
            lower: limit("-l", "--lower-limit"),
            upper: limit("-u", "--upper-limit"),
            series,
        }
    }
}

impl Field {
    /// What it is called.
    fn called(&self) -> &str {
        if self.label.is_empty() { &self.key } else { &self.label }
    }

    /// What was said of it; a remark if that is not understood.
    fn set(&mut self, attribute: &str, value: &str) -> Option<Message> {
        match attribute {
            "label" => self.label = names::line(value),
            "type" => match value.parse() {
                Ok(counted) => self.counted = counted,
                Err(_) => return Some(message!("{}: the type \"{}\" is not known", &self.key, names::line(value))),
            },
            "min" => self.min = finite(value),
            "max" => self.max = finite(value),
            "warning" => self.warn = range(value),
            "critical" => self.error = range(value),
            "draw" => self.draw = value.to_owned(),
            "colour" if value.len() == 6 && value.bytes().all(|b| b.is_ascii_hexdigit()) => {
                self.color = format!("#{value}")
            }
            "cdef" => self.cdef = value.to_owned(),
            "graph" => self.is_hidden = value == "no",
            "negative" => self.negative = value.to_owned(),
            _ => {}
        }
        None
    }

    pub(super) fn described(&self, graph: &Graph) -> DescribedField {
        DescribedField {
            name: self.key.clone(),
            label: if self.label == self.key { "" } else { &self.label }.into(),
            unit: self.unit(&graph.vlabel).to_owned(),
            counted: self.counted,
            min: self.min,
            max: self.max.filter(|max| self.min.is_none_or(|min| min < *max)),
            warn: self.warn.clone(),
            error: self.error.clone(),
        }
    }

    /// The axis is labelled for people; these are the labels that plugins use.
    fn unit(&self, vlabel: &str) -> &'static str {
        let label = vlabel.to_ascii_lowercase();
        let is_rate = self.counted.is_rate()
            || label.contains("${graph_period}")
            || label.contains("/s")
            || label.contains("per second");
        // A cdef is not applied: what it makes of bytes stays bytes.
        let is_eight_times = self.cdef.replace(' ', "").ends_with(",8,*");
        match (is_rate, &label) {
            (_, label) if label.starts_with('%') || label.contains("percent") => "%",
            (true, label) if label.contains("bits") && !is_eight_times => "bit/s",
            (false, label) if label.contains("bits") && !is_eight_times => "bit",
            (true, label) if label.contains("byte") || label.contains("bits") => "B/s",
            (false, label) if label.contains("byte") || label.contains("bits") => "B",
            (false, label) if label.contains("seconds") => "s",
            (true, _) => "1/s",
            _ => "",
        }
    }
}

/// Of each, whether another one is the same.
fn twice<T: Eq + Hash>(all: &[T]) -> Vec<bool> {
    let mut counts: HashMap<&T, usize> = HashMap::new();
    for one in all {
        *counts.entry(one).or_default() += 1;
    }
    all.iter().map(|one| counts.get(one).is_some_and(|count| *count > 1)).collect()
}

/// Munin's `max`, `min:`, `:max`, `min:max` as a monitoring-plugins range.
fn range(text: &str) -> Option<String> {
    let (low, high) = text.split_once(':').unwrap_or(("", text));
    let limit = |text: &str| if text.trim().is_empty() { Some(None) } else { finite(text).map(Some) };
    match (limit(low)?, limit(high)?) {
        (None, None) => None,
        (None, Some(high)) => Some(format!("~:{high}")),
        (Some(low), None) => Some(format!("{low}:")),
        (Some(low), Some(high)) => (low <= high).then(|| format!("{low}:{high}")),
    }
}

/// The number behind an option of rrdgraph: `-l 0`, `-l0`, `--lower-limit 0`, `--lower-limit=0`.
fn argument(args: &str, short: &str, long: &str) -> Option<f64> {
    let mut words = args.split_whitespace();
    while let Some(word) = words.next() {
        if word == short || word == long {
            return finite(words.next()?);
        }
        let joined = word.strip_prefix(long).and_then(|rest| rest.strip_prefix('='));
        let joined = joined.or_else(|| word.strip_prefix(short).filter(|_| !word.starts_with("--")));
        if let Some(number) = joined {
            return finite(number);
        }
    }
    None
}

fn period(text: &str) -> String {
    text.replace("${graph_period}", "second")
}

/// The part of the overview for a category.
fn section(category: &str) -> Message {
    match category.to_ascii_lowercase().as_str() {
        "" => "".into(),
        "system" | "processes" | "sensors" | "time" | "cpu" | "memory" => message!("System"),
        "network" | "wireless" | "voip" => message!("Network"),
        "disk" | "filesystem" | "fs" => message!("Storage"),
        "security" | "auth" | "spamfilter" | "antivirus" => message!("Security"),
        "munin" | "other" => message!("Usage"),
        _ => message!("Services"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_and_arguments() {
        for (text, expected) in [
            ("92", Some("~:92")),
            (":5", Some("~:5")),
            ("3:", Some("3:")),
            ("1:2", Some("1:2")),
            (":", None),
            ("x", None),
            ("5:1", None),
        ] {
            assert_eq!(range(text).as_deref(), expected, "{text}");
            if let Some(range) = expected {
                assert!(range.parse::<crate::status::Range>().is_ok());
            }
        }
        let lower = |args| argument(args, "-l", "--lower-limit");
        assert_eq!(
            (lower("--base 1000 -l 0"), lower("-l-5"), lower("--lower-limit=3"), lower("--logarithmic -l")),
            (Some(0.0), Some(-5.0), Some(3.0), None)
        );
    }
}
