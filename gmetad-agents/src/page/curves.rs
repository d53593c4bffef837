//! Which graphs an agent has: those of its spec for each of its instances, or one for each unit.

use gmetad_core::agent::State;
use gmetad_rrd::Cf;

use super::values::{is_counter, label, per_second};
use super::visit::{Visit, visible};
use crate::spec::{Draw, Graph, Graphs, Keep, Series};
use crate::status::Range;
use crate::view::AgentView;

/// Graphs on a page; more are not drawn.
pub(super) const GRAPHS: usize = 48;
/// Instances that one can choose from.
const INSTANCES: usize = 500;
/// Curves of a graph; more would not be told apart.
const CURVES: usize = 12;

/// Colours that are told apart on light and on dark ground.
const COLOURS: [&str; CURVES] = [
    "#2f7ed8", "#e07b39", "#2a9d6f", "#b0559e", "#c9a227", "#5b6bc0", "#d1495b", "#3aa6b9", "#7a8b3c", "#8a6d5a",
    "#9467bd", "#17807a",
];

/// A graph that can be drawn.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Plan {
    /// By which it is asked for, with the instance.
    pub(super) key: String,
    pub(super) instance: Option<String>,
    pub(super) title: String,
    pub(super) unit: String,
    pub(super) lower: Option<f64>,
    pub(super) upper: Option<f64>,
    /// Where states begin that somebody judges by.
    pub(super) limits: Vec<(State, f64)>,
    /// Empty: librrd draws it.
    pub(super) curves: Vec<Curve>,
}

/// A line or an area.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Curve {
    pub(super) field: String,
    pub(super) cf: Cf,
    pub(super) draw: Draw,
    /// `#rrggbb`.
    pub(super) colour: String,
    pub(super) label: String,
}

/// The instances that have graphs, if there are some.
pub(super) fn instances(visit: &Visit<'_>, view: &AgentView) -> Vec<String> {
    let Keep::Rrd(graphs) = &view.spec.keep else { return Vec::new() };
    files(visit, view, graphs).into_iter().filter_map(|(instance, _)| instance).take(INSTANCES).collect()
}

/// The graphs of an agent, or of the instance that was asked for; at most [`GRAPHS`].
pub(super) fn plans(visit: &Visit<'_>, view: &AgentView) -> Vec<Plan> {
    let Keep::Rrd(graphs) = &view.spec.keep else { return Vec::new() };
    let mut plans = Vec::new();
    let only = visit.parameter("instance");
    for (instance, fields) in files(visit, view, graphs) {
        if only.is_some() && instance.as_deref() != only {
            continue;
        }
        let planner = Planner { visit, view, instance, fields: ordered(view, fields) };
        if graphs.graphs.is_empty() {
            plans.extend(planner.by_unit());
        } else {
            plans.extend(graphs.graphs.iter().enumerate().filter_map(|(place, graph)| planner.graph(place, graph)));
        }
        if plans.len() >= GRAPHS {
            break;
        }
    }
    plans.truncate(GRAPHS);
    plans
}

/// The graph of that key and instance.
pub(super) fn find(visit: &Visit<'_>, view: &AgentView) -> Option<Plan> {
    let (key, instance) = (visit.request.parameter("graph")?, visit.parameter("instance"));
    plans(visit, view).into_iter().find(|plan| plan.key == key && plan.instance.as_deref() == instance)
}

/// Instances and their fields that have files, or will have: before the first write, those of the last measurement.
fn files(visit: &Visit<'_>, view: &AgentView, graphs: &Graphs) -> Vec<(Option<String>, Vec<String>)> {
    let mut out: Vec<(Option<String>, Vec<String>)> = Vec::new();
    let mut add = |instance: Option<String>, field: String| match out.iter_mut().find(|(own, _)| *own == instance) {
        Some((_, fields)) => fields.push(field),
        None => out.push((instance, vec![field])),
    };
    let kept = visit.pages.control.kept(&view.spec.name);
    if !kept.is_empty() {
        kept.into_iter().for_each(|(instance, field)| add(instance, field));
    } else if !graphs.datasources.is_empty() {
        graphs.datasources.iter().for_each(|source| add(None, source.name.clone()));
    } else if let Some(taken) = &view.last {
        let numbers = taken.measurement.fields().filter(|(name, _)| taken.measurement.get_number(name).is_some());
        numbers.for_each(|(name, _)| add(None, name.to_owned()));
    }
    out
}

fn ordered(view: &AgentView, mut fields: Vec<String>) -> Vec<String> {
    fields.sort_by_key(|name| view.spec.fields.iter().position(|field| field.name == *name).unwrap_or(usize::MAX));
    fields
}

struct Planner<'a> {
    visit: &'a Visit<'a>,
    view: &'a AgentView,
    instance: Option<String>,
    fields: Vec<String>,
}

impl Planner<'_> {
    /// The unit of a field's curve: a counter is drawn as a rate.
    fn unit(&self, name: &str) -> String {
        let unit = self.view.spec.fields.iter().find(|field| field.name == name).map_or("", |field| &field.unit);
        if is_counter(&self.view.spec, name) { per_second(unit) } else { unit.to_owned() }
    }

    fn by_unit(&self) -> Vec<Plan> {
        let mut units: Vec<String> = Vec::new();
        for field in &self.fields {
            let unit = self.unit(field);
            if !units.contains(&unit) {
                units.push(unit);
            }
        }
        let plan = |(place, unit): (usize, &String)| {
            let curves = self.curves_of(unit);
            let names: Vec<_> = curves.iter().map(|curve| curve.label.clone()).collect();
            let title = if units.len() == 1 && names.len() > 2 { String::new() } else { names.join(", ") };
            self.plan(format!("unit{place}"), title, unit.clone(), curves)
        };
        units.iter().enumerate().map(plan).collect()
    }

    fn curves_of(&self, unit: &str) -> Vec<Curve> {
        let fields = self.fields.iter().filter(|field| self.unit(field) == unit);
        fields
            .take(CURVES)
            .enumerate()
            .map(|(place, field)| self.curve(place, &Series { ds: field.clone(), ..Series::default() }))
            .collect()
    }

    fn graph(&self, place: usize, graph: &Graph) -> Option<Plan> {
        let key = if graph.pngname.is_empty() { format!("graph{place}") } else { graph.pngname.clone() };
        let curves = if !graph.vnamedefs.is_empty() {
            Vec::new()
        } else if graph.series.is_empty() {
            self.curves_of(&graph.unit)
        } else {
            let known = graph.series.iter().filter(|series| self.fields.contains(&series.ds)).take(CURVES);
            known.enumerate().map(|(place, series)| self.curve(place, series)).collect()
        };
        if curves.is_empty() && graph.vnamedefs.is_empty() {
            return None;
        }
        let title = self.visit.title(&graph.title);
        let title = if title.is_empty() { visible(&graph.pngname) } else { title };
        let mut plan = self.plan(key, title, graph.unit.clone(), curves);
        (plan.lower, plan.upper) = (graph.lower.filter(|it| it.is_finite()), graph.upper.filter(|it| it.is_finite()));
        Some(plan)
    }

    fn plan(&self, key: String, title: String, unit: String, curves: Vec<Curve>) -> Plan {
        let limits = self.limits(&curves);
        Plan { key, instance: self.instance.clone(), title, unit, lower: None, upper: None, limits, curves }
    }

    fn limits(&self, curves: &[Curve]) -> Vec<(State, f64)> {
        let spec = &self.view.spec;
        // Rules judge what was measured, which of a counter is not what is drawn.
        let rules = spec.rules.iter().filter(|rule| !is_counter(spec, &rule.field));
        let rules = rules.map(|rule| (&rule.field, rule.warn, rule.error));
        let all = rules.chain(spec.limits.iter().map(|limit| (&limit.field, limit.warn, limit.error)));
        let drawn = all.filter(|(field, ..)| curves.iter().any(|curve| curve.field == **field));
        let mut limits = Vec::new();
        for (_, warn, error) in drawn {
            for (state, range) in [(State::Warn, warn), (State::Error, error)] {
                // A range that only says how much is too much begins at 0.
                let ends = range.into_iter().flat_map(Range::ends).flatten().filter(|end| *end != 0.0);
                limits.extend(ends.map(|end| (state, end)));
            }
        }
        limits.truncate(2 * CURVES);
        limits
    }

    fn curve(&self, place: usize, series: &Series) -> Curve {
        let legend = self.visit.title(&series.legend);
        let label = if legend.is_empty() { label(self.visit, self.view, &series.ds) } else { legend };
        let colour = colour(&series.color).unwrap_or_else(|| COLOURS[place % CURVES].to_owned());
        let cf = Cf::from_name(&series.cf.to_ascii_uppercase()).unwrap_or(Cf::Average);
        Curve { field: series.ds.clone(), cf, draw: series.draw, colour, label }
    }
}

/// A colour as `#rrggbb`, if it is one; what is behind that (rrdtool's transparency) is left out.
fn colour(text: &str) -> Option<String> {
    let digits = text.strip_prefix('#')?.get(..6)?;
    let known = matches!(text.len(), 7 | 9) && text[1..].bytes().all(|b| b.is_ascii_hexdigit());
    known.then(|| format!("#{}", digits.to_ascii_lowercase()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_colours_are_colours() {
        assert_eq!(colour("#00FF00"), Some("#00ff00".to_owned()));
        assert_eq!(colour("#00FF0080"), Some("#00ff00".to_owned()));
        for text in ["", "red", "#00FF0", "#00FF0g", "#ééé", "#00ff00\"onload=x", "#00ff00;x"] {
            assert_eq!(colour(text), None, "{text}");
        }
    }
}
