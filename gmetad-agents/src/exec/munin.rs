//! Munin plugins: `config` says what there is, a run without arguments says how much.
//!
//! ```
//! use gmetad_agents::exec::munin;
//!
//! let config = b"graph_title Load\ngraph_vlabel load\ngraph_category system\nload.label 5 minutes\nload.warning 10\n";
//! let reading = munin::read(config, b"load.value 0.42\n");
//! assert_eq!(reading.measurement.get_number("load"), Some(0.42));
//! assert_eq!(reading.described.section.to_string(), "System");
//! assert_eq!(reading.described.fields[0].warn.as_deref(), Some("~:10"));
//! ```

use std::collections::{HashMap, HashSet};

use gmetad_core::agent::{Counted, Described, DescribedField, DescribedGraph, DescribedSeries, Element, Message};
use gmetad_core::message;

use super::names::{self, Names};
use super::reading::{Reading, Values};

/// Graphs of one plugin: a root graph and one of each of its things.
const GRAPHS: usize = 200;
/// Remarks about what is not understood.
const NOTES: usize = 10;

/// Whether a `config` has values, too ("dirtyconfig"): then there is no need to run the plugin again.
pub fn is_dirty(config: &[u8]) -> bool {
    let text = names::lossy(config);
    text.lines().any(|line| matches!(attribute(line), Some((_, "value", _))))
}

/// Reads both outputs; values may also be in the first. It never fails: what is not understood is left out.
pub fn read(config: &[u8], values: &[u8]) -> Reading {
    let (config, output) = (names::lossy(config), names::lossy(values));
    let mut plugin = Plugin::of(&config);
    let fetched: HashMap<(&str, &str), f64> =
        each_value(&output).map(|(graph, name, value)| ((graph, name), value)).collect();
    let known: HashSet<(&str, &str)> =
        plugin.fields.iter().map(|field| (plugin.graphs[field.graph].name.as_str(), field.name.as_str())).collect();
    let others: Vec<_> =
        each_value(&output).filter(|(graph, name, _)| !known.contains(&(graph, name))).take(names::VALUES).collect();
    let mut values = Values::default();
    // In the order of the configuration, whatever the order of the values is.
    for at in 0..plugin.fields.len() {
        let (field, key) = (&plugin.fields[at], plugin.fields[at].key.clone());
        let value = plugin.found.iter().find(|(known, _)| *known == key).map(|(_, value)| *value);
        let described = field.described(&plugin.graphs[field.graph]);
        let value =
            value.or_else(|| fetched.get(&(plugin.graphs[field.graph].name.as_str(), field.name.as_str())).copied());
        values.put_number(None, described, value.unwrap_or(f64::NAN));
    }
    // What it measures but does not configure.
    for (graph, name, value) in others {
        let key = plugin.names.of(&key(graph, name));
        values.put_number(None, DescribedField::new(key), value);
    }
    let mut reading = values.reading(std::mem::take(&mut plugin.notes));
    for graph in plugin.graphs.iter().filter(|graph| !graph.info.is_empty() && !graph.name.contains('.')) {
        reading.measurement = reading.measurement.element(Element::Text(names::shown(&graph.info, names::TEXT).into()));
    }
    plugin.describe(&mut reading.described);
    reading
}

#[derive(Debug, Default)]
struct Plugin {
    graphs: Vec<Graph>,
    fields: Vec<Field>,
    names: Names,
    /// Values within the configuration.
    found: Vec<(String, f64)>,
    notes: Vec<Message>,
}

#[derive(Debug, Default)]
struct Graph {
    /// Of a plugin with several graphs.
    name: String,
    title: String,
    vlabel: String,
    category: String,
    args: String,
    info: String,
    order: Vec<String>,
}

#[derive(Debug, Default)]
struct Field {
    /// Which graph.
    graph: usize,
    name: String,
    key: String,
    label: String,
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
    fn of(config: &str) -> Self {
        let mut plugin = Self { graphs: vec![Graph::default()], ..Self::default() };
        for line in config.lines() {
            plugin.line(line.trim());
        }
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
            let key = self.names.of(&key(&self.graphs[at].name, name));
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

    fn describe(&self, described: &mut Described) {
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
                legend: Message::default(),
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

    fn described(&self, graph: &Graph) -> DescribedField {
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

/// `FIELD.ATTRIBUTE VALUE`.
fn attribute(line: &str) -> Option<(&str, &str, &str)> {
    let (head, value) = line.trim().split_once(char::is_whitespace)?;
    let (field, attribute) = head.split_once('.')?;
    let is_good = !field.is_empty() && field.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    is_good.then_some((field, attribute, value.trim()))
}

/// The name of a field among all graphs of a plugin. The dot, because neither graphs nor fields have one of their own: with `_`
/// the field `vda_rd` of `io` would be the field `rd` of `io.vda`.
fn key(graph: &str, field: &str) -> String {
    if graph.is_empty() { field.to_owned() } else { format!("{graph}.{field}") }
}

/// Each value of an output, with its graph.
fn each_value(output: &str) -> impl Iterator<Item = (&str, &str, f64)> {
    let mut graph = "";
    output.lines().filter_map(move |line| {
        if let Some(name) = line.trim().strip_prefix("multigraph ") {
            graph = name.trim();
        }
        match attribute(line) {
            Some((field, "value", value)) => Some((graph, field, number(value))),
            _ => None,
        }
    })
}

/// A value; `U` and whatever is no number is NaN. It may have a time before it: `1700000000:12`.
fn number(text: &str) -> f64 {
    let text = text.rsplit_once(':').map_or(text, |(_, value)| value);
    finite(text).unwrap_or(f64::NAN)
}

fn finite(text: &str) -> Option<f64> {
    text.trim().parse::<f64>().ok().filter(|number| number.is_finite())
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
    use proptest::prelude::*;

    use super::*;

    const TRAFFIC: &str = "graph_order down up\ngraph_title eth0 traffic\ngraph_args --base 1000 -l0 --upper-limit=100\n\
        graph_vlabel bits in (-) / out (+) per ${graph_period}\ngraph_category network\ngraph_info Hello.\n\
        up.label bps\nup.type DERIVE\nup.negative down\nup.cdef up,8,*\nup.min 0\nup.max 1e6\nup.draw AREA\nup.colour 00ff00\n\
        down.label received\ndown.type DERIVE\ndown.graph no\ndown.cdef down,8,*\ndown.min 0\ndown.colour COLOUR3\n";

    #[test]
    fn a_usual_plugin() {
        let Reading { measurement, described } =
            read(TRAFFIC.as_bytes(), b"down.value 165456542\nup.value U\nmore.value 1\n");
        assert_eq!(measurement.get_number("down"), Some(165_456_542.0));
        assert!(measurement.get_number("up").unwrap().is_nan());
        assert_eq!(measurement.get_number("more"), Some(1.0));
        assert_eq!(measurement.elements(), [Element::Text("Hello.".into())]);
        let up = &described.fields[0];
        assert_eq!(
            (up.name.as_str(), up.unit.as_str(), up.counted, up.min, up.max),
            ("up", "B/s", Counted::Derive, Some(0.0), Some(1e6))
        );
        let graph = &described.graphs[0];
        assert_eq!((graph.unit.as_str(), graph.lower, graph.upper), ("B/s", Some(0.0), Some(100.0)));
        let drawn: Vec<_> =
            graph.series.iter().map(|one| (one.field.as_str(), one.draw.as_str(), one.color.as_str())).collect();
        assert_eq!(drawn, [("down", "line2", ""), ("up", "area", "#00ff00")]);
        assert_eq!(
            (described.description.to_string(), described.section.to_string()),
            ("eth0 traffic".to_owned(), "Network".to_owned())
        );
        assert_eq!(described.notes[0].to_string(), "up: the cdef \"up,8,*\" is not applied");
    }

    #[test]
    fn several_graphs_and_values_in_the_configuration() {
        let config = "multigraph io\ngraph_title IO\nsda.label a\nsda.value 1\nmultigraph io.sda\ngraph_title sda\nsda.label b\nsda.value 2\n";
        assert!(is_dirty(config.as_bytes()) && !is_dirty(TRAFFIC.as_bytes()));
        let Reading { measurement, described } = read(config.as_bytes(), b"");
        let fields: Vec<_> =
            measurement.fields().map(|(name, _)| (name.to_owned(), measurement.get_number(name))).collect();
        assert_eq!(fields, [("io.sda".to_owned(), Some(1.0)), ("io.sda.sda".to_owned(), Some(2.0))]);
        let names: Vec<_> = described.graphs.iter().map(|graph| graph.name.as_str()).collect();
        assert_eq!(names, ["io", "io.sda"]);
        assert_eq!(described.description.to_string(), "IO");
        let fetched = read(
            b"multigraph io\na.label a\nmultigraph io.x\na.label a\n",
            b"multigraph io.x\na.value 5\nmultigraph io\na.value 1700000000:4e1\n",
        );
        assert_eq!(
            (fetched.measurement.get_number("io.a"), fetched.measurement.get_number("io.x.a")),
            (Some(40.0), Some(5.0))
        );
    }

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

    proptest! {
        #[test]
        fn no_output_panics(output in any::<Vec<u8>>(), config in "(multigraph [ab.]{0,3}\n|graph_[a-z]{0,5} ?[-a-z0-9 ]{0,9}\n|[ab].(value|label|type|min|max|warning|draw|cdef) [U0-9:.eE%A-Z-]{0,6}\n|.{0,9}\n){0,20}") {
            for (config, values) in [(&output[..], &output[..]), (config.as_bytes(), config.as_bytes())] {
                read(config, values);
                is_dirty(config);
            }
        }
    }
}
