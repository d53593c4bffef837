//! Which graphs an agent has: those of its spec for each of its instances, or one for each unit.

use std::collections::HashSet;

use gmetad_core::agent::{Measurement, State};
use gmetad_rrd::Cf;

use super::values::label;
use super::visit::{Visit, visible};
use crate::spec::{Draw, Graph, Graphs, Keep, Series, Spec};
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

/// The main curve of an agent, alone: the first of its first graph; of its first field, where librrd draws what graphs there are.
/// Of instances that of the worst, see [`worst`], or of `before`, the one that was chosen before.
pub(super) fn main(visit: &Visit<'_>, view: &AgentView, before: Option<&str>) -> Option<Plan> {
    let planner = |(instance, fields)| Planner { visit, view, instance, fields: ordered(view, fields) };
    let (planners, graphs): (Vec<_>, &[Graph]) = match &view.spec.keep {
        Keep::Rrd(graphs) => (files(visit, view, graphs).into_iter().map(planner).collect(), &graphs.graphs),
        Keep::Table { .. } => (vec![planner((None, numeric(view)))], &[]),
        Keep::Last => return None,
    };
    let plan = |planner: &Planner<'_>, place: usize| match graphs.get(place) {
        Some(graph) => planner.graph(place, graph).filter(|plan| !plan.curves.is_empty()),
        None => planner.by_unit().into_iter().next(),
    };
    let first = |place| planners.iter().find_map(|planner| plan(planner, place)).map(|plan| (place, plan));
    let (place, first) = (0..=graphs.len()).find_map(first)?;
    let field = &first.curves.first()?.field;
    let wanted = first.instance.as_ref().and_then(|_| {
        let known = planners.iter().filter(|planner| planner.fields.contains(field));
        let known = known.filter_map(|planner| planner.instance.as_deref()).collect();
        worst(&view.spec, &view.last.as_ref()?.measurement, field, &known, before)
    });
    let chosen = planners.iter().find(|planner| wanted.is_some() && planner.instance.as_deref() == wanted);
    let mut main = chosen.and_then(|planner| plan(planner, place)).unwrap_or(first);
    main.curves.truncate(1);
    Some(main)
}

/// The instance with the largest value of a field in the last measurement; with the smallest, if too little of it is what alerts. Of
/// a counter that is the one that counted most since it began, which is not another one every minute.
fn worst<'a>(
    spec: &Spec,
    last: &'a Measurement,
    field: &str,
    known: &HashSet<&str>,
    before: Option<&str>,
) -> Option<&'a str> {
    let rules = spec.rules.iter().map(|rule| (&rule.field, rule.warn.or(rule.error)));
    let mut limits = rules.chain(spec.limits.iter().map(|limit| (&limit.field, limit.warn.or(limit.error))));
    let range = limits.find(|(own, _)| *own == field).and_then(|(_, range)| range);
    let sign = if matches!(range.map(Range::ends), Some([Some(_), None])) { -1.0 } else { 1.0 };
    let instances = last.instances().filter(|(name, _)| known.contains(name));
    let measured = instances.filter_map(|(name, of)| Some((name, sign * of.get_number(field)?)));
    let mut all: Vec<_> = measured.filter(|(_, value)| !value.is_nan()).collect();
    if let Some((name, _)) = all.iter().find(|(name, _)| Some(*name) == before) {
        return Some(name);
    }
    // Of two that are as bad the first.
    all.reverse();
    all.into_iter().max_by(|(_, one), (_, two)| one.total_cmp(two)).map(|(name, _)| name)
}

/// Fields of its own that were a number the last time.
fn numeric(view: &AgentView) -> Vec<String> {
    let Some(taken) = &view.last else { return Vec::new() };
    let numbers = taken.measurement.fields().filter(|(name, _)| taken.measurement.get_number(name).is_some());
    numbers.map(|(name, _)| name.to_owned()).collect()
}

/// Instances and their fields that have files, or will have: before the first write, those of the last measurement.
fn files(visit: &Visit<'_>, view: &AgentView, graphs: &Graphs) -> Vec<(Option<String>, Vec<String>)> {
    let mut out: Vec<(Option<String>, Vec<String>)> = Vec::new();
    // They come sorted by instance.
    let mut add = |instance: Option<String>, field: String| match out.last_mut() {
        Some((own, fields)) if *own == instance => fields.push(field),
        _ => out.push((instance, vec![field])),
    };
    let kept = visit.pages.control.kept(&view.spec.name);
    if !kept.is_empty() {
        kept.into_iter().for_each(|(instance, field)| add(instance, field));
    } else if !graphs.datasources.is_empty() {
        graphs.datasources.iter().for_each(|source| add(None, source.name.clone()));
    } else {
        numeric(view).into_iter().for_each(|field| add(None, field));
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
    fn by_unit(&self) -> Vec<Plan> {
        let mut units: Vec<String> = Vec::new();
        for field in &self.fields {
            let unit = self.view.spec.drawn_unit(field);
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
        let fields = self.fields.iter().filter(|field| self.view.spec.drawn_unit(field) == unit);
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
        let rules = spec.rules.iter().filter(|rule| !spec.is_counter(&rule.field));
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
    use crate::spec::Rule;

    #[test]
    fn the_worst_instance_is_shown() {
        let mut spec = Spec::of(&crate::class::LoadErrorAgent::new("disks", "x"));
        let of = |value: f64| Measurement::new().number("used", value);
        let last = Measurement::new().instance("/", of(39.0)).instance("/home", of(97.0)).instance("/var", of(97.0));
        let last =
            last.instance("/gone", of(99.0)).instance("/odd", of(f64::NAN)).instance("/none", Measurement::new());
        let known = HashSet::from(["/", "/home", "/var", "/odd", "/none"]);
        let shown = |spec: &Spec, before| worst(spec, &last, "used", &known, before);
        assert_eq!(shown(&spec, None), Some("/home"), "the fullest that has a file");
        assert_eq!(shown(&spec, Some("/")), Some("/"), "the one chosen a moment ago stays");
        assert_eq!(shown(&spec, Some("/odd")), Some("/home"), "unless it is not measured any more");
        for (warn, expected) in [("~:80", "/home"), ("80", "/home"), ("20:", "/")] {
            let rule = Rule { field: "used".to_owned(), warn: warn.parse().ok(), error: None, r#for: 1, nodata: None };
            spec.rules = vec![rule];
            assert_eq!(shown(&spec, None), Some(expected), "{warn}");
        }
        assert_eq!(worst(&spec, &last, "free", &known, None), None);
    }

    #[test]
    fn only_colours_are_colours() {
        assert_eq!(colour("#00FF00"), Some("#00ff00".to_owned()));
        assert_eq!(colour("#00FF0080"), Some("#00ff00".to_owned()));
        for text in ["", "red", "#00FF0", "#00FF0g", "#ééé", "#00ff00\"onload=x", "#00ff00;x"] {
            assert_eq!(colour(text), None, "{text}");
        }
    }
}
