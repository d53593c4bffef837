//! The same for programs, as JSON.

use gmetad_core::agent::{Message, State};
use gmetad_core::message;
use gmetad_http::Response;
use serde_json::{Map, Value, json};

use super::curves;
use super::series::{ROWS, range, read};
use super::visit::{Visit, slug, visible};
use crate::lang::Lang;
use crate::said::{Said, quoted};
use crate::spec::Draw;

/// Rows of a graph unless told otherwise.
const USUAL_ROWS: usize = 600;
/// Depth of the record of an agent that is looked at for messages.
const DEPTH: usize = 40;

pub(super) fn json(status: u16, value: &Value) -> Response {
    Response::new(status, "application/json", format!("{value}\n"))
}

/// What is wrong, and what helps.
pub(super) fn error(lang: Lang, status: u16, what: &Message, remedy: &Message) -> Response {
    json(status, &json!({ "error": visible(&lang.message(what)), "remedy": lang.message(remedy) }))
}

/// Programs get English unless they ask: their texts must not depend on who set up the machine.
pub(super) fn language(visit: &Visit<'_>) -> Lang {
    visit.parameter("lang").map_or(Lang::English, Lang::of_tag)
}

pub(super) fn status(visit: &Visit<'_>) -> Response {
    let lang = language(visit);
    let board = &visit.pages.board;
    let agents = board.agents();
    let count = |state: State| agents.iter().filter(|agent| agent.status.state == state).count();
    let counts: Map<_, _> =
        State::ALL.into_iter().map(|state| (state.name().to_owned(), count(state).into())).collect();
    let list: Vec<_> = agents
        .iter()
        .map(|agent| {
            json!({
                "name": agent.spec.name,
                "section": lang.text(&lang.message(&agent.spec.section)),
                "status": agent.status.state.name(),
                "message": lang.message(&agent.status.message),
                "since": agent.since,
                "last": agent.last.as_ref().map(|taken| taken.time),
                "max": agent.max.state.name(),
            })
        })
        .collect();
    let worst = board.worst().name();
    json(
        200,
        &json!({ "host": visit.pages.options.host, "time": visit.now, "worst": worst, "counts": counts, "agents": list }),
    )
}

pub(super) fn agent(visit: &Visit<'_>) -> Response {
    let Some(view) = visit.agent() else { return no_agent(language(visit)) };
    match serde_json::to_value(&*view) {
        Ok(mut value) => {
            value.as_object_mut().map(|view| view.remove("streaks")); // nobody else's
            spoken(&mut value, language(visit), DEPTH);
            json(200, &value)
        }
        Err(why) => {
            let what = message!("the agent cannot be written as JSON: {}", quoted(&why.to_string()));
            error(language(visit), 500, &what, &message!("report it"))
        }
    }
}

fn no_agent(lang: Lang) -> Response {
    let remedy = message!("GET /api/v1/status lists those that there are");
    error(lang, 404, &message!("there is no agent of that name"), &remedy)
}

/// Messages as texts instead of templates and arguments.
fn spoken(value: &mut Value, lang: Lang, depth: usize) {
    let is_message = |map: &Map<String, Value>| {
        let more = ["args", "unit"].into_iter().filter(|key| map.contains_key(*key)).count();
        map.contains_key("template") && map.len() == 1 + more
    };
    match value {
        _ if depth == 0 => {}
        Value::Object(map) if is_message(map) => {
            if let Ok(message) = serde_json::from_value::<Message>(value.clone()) {
                *value = Value::String(lang.message(&message));
            }
        }
        Value::Object(map) => map.values_mut().for_each(|value| spoken(value, lang, depth - 1)),
        Value::Array(list) => list.iter_mut().for_each(|value| spoken(value, lang, depth - 1)),
        _ => {}
    }
}

/// The curves of a graph; unknown is `null`.
pub(super) fn series(visit: &Visit<'_>) -> Response {
    let Some(view) = visit.agent() else { return no_agent(language(visit)) };
    let plans = || curves::plans(visit, &view);
    let Some(plan) = curves::find(visit, &view).filter(|plan| !plan.curves.is_empty()) else {
        let which = |plan: curves::Plan| match plan.instance {
            Some(instance) => format!("graph={}&instance={instance}", plan.key),
            None => format!("graph={}", plan.key),
        };
        let known: Vec<_> = plans().into_iter().filter(|plan| !plan.curves.is_empty()).map(which).collect();
        let remedy = match &known[..] {
            [] => message!("this agent has none"),
            known => message!("there are: {}", known.join(", ")),
        };
        return error(language(visit), 404, &message!("there is no such graph"), &remedy);
    };
    let (start, end) = range(visit);
    let rows = visit.parameter("rows").and_then(|text| text.parse().ok()).unwrap_or(USUAL_ROWS).clamp(2, ROWS);
    let drawn = match read(visit, &view.spec.name, &plan, start, end, rows) {
        Ok(drawn) => drawn,
        Err(why) => {
            let remedy = message!("look at the file, or move it away: a new one is begun");
            return error(language(visit), 503, &why.said(), &remedy);
        }
    };
    let numbers = |values: &[f64]| Value::from_iter(values.iter().map(|value| value.is_finite().then_some(*value)));
    let limits: Vec<_> =
        plan.limits.iter().map(|(state, value)| json!({ "state": slug(*state), "value": value })).collect();
    let curve = |(curve, (values, max)): (&curves::Curve, &(Vec<f64>, Option<Vec<f64>>))| {
        let draw = match curve.draw {
            Draw::Line1 => "line1",
            Draw::Line2 => "line2",
            Draw::Line3 => "line3",
            Draw::Area => "area",
            Draw::Stack => "stack",
        };
        json!({
            "field": curve.field, "cf": curve.cf.name(), "label": curve.label, "colour": curve.colour, "draw": draw,
            "values": numbers(values), "max": max.as_deref().map(numbers),
        })
    };
    json(
        200,
        &json!({
            "agent": view.spec.name, "graph": plan.key, "instance": plan.instance, "title": plan.title, "unit": plan.unit,
            "lower": plan.lower, "upper": plan.upper, "limits": limits, "start": start, "end": end, "step": drawn.step, "time": drawn.times,
            "curves": Value::from_iter(plan.curves.iter().zip(&drawn.curves).map(curve)),
        }),
    )
}

pub(super) fn healthz(visit: &Visit<'_>) -> Response {
    match (visit.pages.options.healthy)() {
        Ok(()) => Response::text(200, "ok\n"),
        Err(why) => Response::text(503, format!("{}\n", visible(&why))),
    }
}
