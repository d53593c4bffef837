//! What was measured last.

use std::time::Duration;

use gmetad_core::agent::{Measurement, Value};
use gmetad_core::message;
use maud::{Markup, html};

use super::visit::{Visit, shortened, visible};
use super::when;
use crate::lang::units::{self, show};
use crate::spec::{Keep, Spec};
use crate::view::{AgentView, Taken};

/// Rows and columns of a table; a measurement may have more.
pub(super) const ROWS: usize = 200;
pub(super) const COLUMNS: usize = 24;
/// Rows of a table that is folded if graphs come after it.
const LONG: usize = 20;
/// Characters of a text that was measured.
const TEXT: usize = 400;
/// Rows of raw fields.
const RAW: usize = 1000;

/// What a field is called.
pub(super) fn label(visit: &Visit<'_>, view: &AgentView, name: &str) -> String {
    let known = view.spec.fields.iter().find(|field| field.name == name).map(|field| visit.title(&field.label));
    known.filter(|label| !label.is_empty()).unwrap_or_else(|| visible(name))
}

/// The head of a column: what the field is called, with its unit if another column is called the same.
fn head(visit: &Visit<'_>, view: &AgentView, names: &[&str], name: &str) -> String {
    let own = label(visit, view, name);
    let unit = units::of(visit.lang, view.spec.unit(name));
    let twice = names.iter().any(|other| *other != name && label(visit, view, other) == own);
    if twice && !unit.is_empty() { format!("{own} ({unit})") } else { own }
}

/// A long table: what comes after it is not to be searched for.
pub(super) fn folded(view: &AgentView, rows: usize, id: &str, title: &Markup, body: &Markup) -> Markup {
    html! {
        @if rows > LONG && matches!(view.spec.keep, Keep::Rrd(_)) {
            details class="long" id=(id) {
                summary { (title) }
                (body)
            }
        } @else {
            (title)
            (body)
        }
    }
}

/// A number of a field, with its unit; of a counter what it counted.
pub fn readable(lang: crate::lang::Lang, spec: &Spec, field: &str, number: f64) -> String {
    show(lang, number, spec.unit(field))
}

/// The names of fields, those of the spec first.
fn ordered<'a>(spec: &Spec, names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut names: Vec<_> = names.collect();
    let place = |name: &str| spec.fields.iter().position(|field| field.name == name).unwrap_or(usize::MAX);
    names.sort_by_key(|name| place(name));
    names
}

pub(super) fn section(visit: &Visit<'_>, view: &AgentView) -> Markup {
    let lang = visit.lang;
    let Some(taken) = &view.last else { return html! {} };
    let measurement = &*taken.measurement;
    let names = ordered(&view.spec, measurement.fields().map(|(name, _)| name));
    let before = view.before.first();
    html! {
        @if matches!(view.spec.keep, Keep::Table { .. }) { (table(visit, view, taken, &names)) }
        @else if !names.is_empty() {
            section class="values" {
                h2 { (lang.text("Last values")) }
                dl {
                    @for name in names.iter().take(ROWS) {
                        div {
                            dt { (label(visit, view, name)) }
                            dd { (value(visit, view, name, measurement, before.map(|before| (before, &*before.measurement)), taken)) }
                        }
                    }
                }
            }
        }
        @if measurement.instances().len() > 0 { (instances(visit, view, taken)) }
    }
}

/// A value, and how fast it grows if it only grows.
fn value(
    visit: &Visit<'_>,
    view: &AgentView,
    name: &str,
    of: &Measurement,
    before: Option<(&Taken, &Measurement)>,
    taken: &Taken,
) -> Markup {
    let lang = visit.lang;
    html! {
        @match of.get(name) {
            Some(Value::Number(number)) => {
                @let unit = view.spec.unit(name);
                @if view.spec.is_counter(name) && let Some(rate) = rate(name, *number, before, taken) {
                    (show(lang, rate, &view.spec.drawn_unit(name))) " " small { "(" (show(lang, *number, unit)) ")" }
                } @else { (show(lang, *number, unit)) }
            }
            Some(Value::Text(text)) => span class="text" dir="auto" { (shortened(&visible(text), TEXT)) },
            None => "–",
        }
    }
}

fn rate(name: &str, number: f64, before: Option<(&Taken, &Measurement)>, taken: &Taken) -> Option<f64> {
    let (earlier, measurement) = before?;
    let (grown, time) = (number - measurement.get_number(name)?, taken.time - earlier.time);
    (grown >= 0.0 && time > 0).then(|| grown / time as f64)
}

/// Things of a kind, a row each.
fn instances(visit: &Visit<'_>, view: &AgentView, taken: &Taken) -> Markup {
    let lang = visit.lang;
    let all: Vec<_> = taken.measurement.instances().collect();
    let mut names: Vec<&str> = Vec::new();
    for (_, instance) in all.iter().take(ROWS) {
        for (name, _) in instance.fields() {
            if names.len() < 4 * COLUMNS && !names.contains(&name) {
                names.push(name);
            }
        }
    }
    let names = ordered(&view.spec, names.into_iter());
    let before = |name: &str| {
        let earlier = view.before.first()?;
        earlier.measurement.instances().find(|(own, _)| *own == name).map(|(_, of)| (earlier, of))
    };
    let title = html! { h2 { (lang.text("Last values")) " " small { (all.len()) } } };
    let body = html! {
        div class="wide" {
            table {
                thead { tr { th scope="col" {} @for name in names.iter().take(COLUMNS) { th scope="col" class="n" { (head(visit, view, &names, name)) } } } }
                tbody {
                    @for (instance, of) in all.iter().take(ROWS) {
                        tr {
                            th scope="row" dir="auto" { (visible(instance)) }
                            @for name in names.iter().take(COLUMNS) { td class="n" { (value(visit, view, name, of, before(instance), taken)) } }
                        }
                    }
                }
            }
        }
        (more(visit, all.len(), ROWS))
    };
    html! { section class="instances" { (folded(view, all.len(), "instances", &title, &body)) } }
}

/// The last measurements, a row each, the newest first.
fn table(visit: &Visit<'_>, view: &AgentView, taken: &Taken, names: &[&str]) -> Markup {
    let lang = visit.lang;
    let rows: Vec<_> = std::iter::once(taken).chain(&view.before).collect();
    // Rows of one minute are told apart.
    let text = if view.spec.period < Duration::from_secs(60) { when::precise } else { when::brief };
    html! {
        section class="rows" {
            h2 { (lang.text("Last measurements")) }
            div class="wide" {
                table {
                    thead { tr { th scope="col" { (lang.text("Time")) } @for name in names.iter().take(COLUMNS) { th scope="col" class="n" { (head(visit, view, names, name)) } } } }
                    tbody {
                        @for (place, row) in rows.iter().enumerate().take(ROWS) {
                            tr {
                                th scope="row" { (when::element(lang, row.time, &text(lang, row.time, visit.now))) }
                                @for name in names.iter().take(COLUMNS) {
                                    td class="n" { (value(visit, view, name, &row.measurement, rows.get(place + 1).map(|before| (*before, &*before.measurement)), row)) }
                                }
                            }
                        }
                    }
                }
            }
            (more(visit, rows.len(), ROWS))
        }
    }
}

/// That there is more than is shown.
pub(super) fn more(visit: &Visit<'_>, all: usize, shown: usize) -> Markup {
    html! { @if all > shown { p class="nothing" { (visit.lang.message(&message!("and {} more", all - shown))) } } }
}

/// Everything as it was measured, by its own name.
pub(super) fn raw(visit: &Visit<'_>, view: &AgentView) -> Markup {
    let Some(taken) = &view.last else { return html! {} };
    let own = taken.measurement.fields().map(|(name, value)| (None, name, value));
    let of = taken
        .measurement
        .instances()
        .flat_map(|(instance, of)| of.fields().map(move |(name, value)| (Some(instance), name, value)));
    let all: Vec<_> = own.chain(of).collect();
    html! {
        @if !all.is_empty() {
            details class="raw" id="raw" {
                summary { (visit.lang.text("Raw fields")) " (" (all.len()) ")" }
                div class="wide" {
                    table {
                        @for (instance, name, value) in all.iter().take(RAW) {
                            tr {
                                th scope="row" { code { @if let Some(instance) = instance { (visible(instance)) " / " } (visible(name)) } }
                                td class="n" { code { @match value { Value::Number(number) => (number), Value::Text(text) => (shortened(&visible(text), TEXT)) } } }
                            }
                        }
                    }
                }
                (more(visit, all.len(), RAW))
            }
        }
    }
}
