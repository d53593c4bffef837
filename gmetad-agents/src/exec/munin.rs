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

use gmetad_core::agent::{DescribedField, Element};

use super::munin_config::Plugin;
use super::names;
use super::reading::{Reading, Values};

/// Whether a `config` has values, too ("dirtyconfig"): then there is no need to run the plugin again.
pub fn is_dirty(config: &[u8]) -> bool {
    has_values(config)
}

/// Whether there is a value, be it `U`.
pub(super) fn has_values(output: &[u8]) -> bool {
    let text = names::lossy(output);
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
        let key = names::name(&key(graph, name));
        values.put_number(None, DescribedField::new(key), value);
    }
    let mut reading = values.reading(std::mem::take(&mut plugin.notes));
    for graph in plugin.graphs.iter().filter(|graph| !graph.info.is_empty() && !graph.name.contains('.')) {
        reading.measurement = reading.measurement.element(Element::Text(names::shown(&graph.info, names::TEXT).into()));
    }
    plugin.describe(&mut reading.described);
    reading
}

/// `FIELD.ATTRIBUTE VALUE`.
pub(super) fn attribute(line: &str) -> Option<(&str, &str, &str)> {
    let (head, value) = line.trim().split_once(char::is_whitespace)?;
    let (field, attribute) = head.split_once('.')?;
    let is_good = !field.is_empty() && field.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    is_good.then_some((field, attribute, value.trim()))
}

/// The name of a field among all graphs of a plugin. The dot, because neither graphs nor fields have one of their own: with `_`
/// the field `vda_rd` of `io` would be the field `rd` of `io.vda`.
pub(super) fn key(graph: &str, field: &str) -> String {
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
pub(super) fn number(text: &str) -> f64 {
    let text = text.rsplit_once(':').map_or(text, |(_, value)| value);
    finite(text).unwrap_or(f64::NAN)
}

pub(super) fn finite(text: &str) -> Option<f64> {
    text.trim().parse::<f64>().ok().filter(|number| number.is_finite())
}

#[cfg(test)]
mod tests {
    use gmetad_core::agent::Counted;
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
