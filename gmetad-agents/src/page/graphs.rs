//! Graphs on an agent's page, and those that librrd draws.

use gmetad_core::message;
use gmetad_http::Response;
use maud::{Markup, html};

use super::curves::{self, GRAPHS, Plan};
use super::series::{PERIODS, range, usual_period};
use super::shell::{address, encoded, no_agent, with};
use super::svg;
use super::visit::{Visit, visible};
use crate::lang::Lang;
use crate::spec::Keep;
use crate::view::AgentView;

fn period_name(lang: Lang, period: &str) -> &str {
    match period {
        "hour" => lang.text("Hour"),
        "day" => lang.text("Day"),
        "week" => lang.text("Week"),
        "month" => lang.text("Month"),
        _ => lang.text("Year"),
    }
}

pub(super) fn section(visit: &Visit<'_>, view: &AgentView, plans: &[Plan]) -> Markup {
    let lang = visit.lang;
    html! {
        @if !plans.is_empty() {
            section class="graphs" id="graphs"
                data-zoomed=(lang.text("Back") ) data-nothing=(lang.text("Nothing is known of this time."))
                data-failed=(lang.text("The data cannot be read:")) data-now=(lang.text("last")) data-least=(lang.text("min"))
                data-mean=(lang.text("mean")) data-most=(lang.text("max")) {
                h2 {
                    (lang.text("Graphs"))
                    @if plans.iter().any(|plan| !plan.curves.is_empty()) {
                        small class="hint" { (lang.text("drag to zoom, double click or double tap to go back")) }
                    }
                }
                (chooser(visit, view))
                @for plan in plans { (graph(visit, view, plan)) }
                @if plans.len() == GRAPHS { p class="nothing" { (lang.message(&message!("No more than {} graphs are shown.", GRAPHS))) } }
            }
        }
    }
}

/// The instances, to see one of them alone.
fn chooser(visit: &Visit<'_>, view: &AgentView) -> Markup {
    let instances = curves::instances(visit, view);
    let chosen = visit.parameter("instance");
    html! {
        @if instances.len() > 1 {
            nav class="which" {
                a href=(with(visit, "instance", None)) aria-current=[chosen.is_none().then_some("true")] { (visit.lang.text("All")) }
                @for instance in &instances {
                    a href=(with(visit, "instance", Some(instance))) aria-current=[(chosen == Some(instance)).then_some("true")] {
                        bdi { (visible(instance)) }
                    }
                }
            }
        }
    }
}

fn graph(visit: &Visit<'_>, view: &AgentView, plan: &Plan) -> Markup {
    let lang = visit.lang;
    let shown = usual_period(visit, view);
    let name = encoded(&view.spec.name);
    let instance =
        plan.instance.as_deref().map(|instance| format!("&instance={}", encoded(instance))).unwrap_or_default();
    let which = format!("graph={}{instance}", encoded(&plan.key));
    let title = match &plan.instance {
        Some(instance) if plan.title.is_empty() => visible(instance),
        Some(instance) => format!("{} – {}", visible(instance), plan.title),
        None => plan.title.clone(),
    };
    let drawn_by_librrd = plan.curves.is_empty();
    let picture = |period: &str| match drawn_by_librrd {
        true => format!("{}{}?period={period}{instance}", address(&view.spec.name), encoded(&plan.key)),
        false => format!("{}graph.svg?{which}&period={period}&lang={}", address(&view.spec.name), lang.tag()),
    };
    html! {
        figure class={ "graph" @if drawn_by_librrd { " librrd" } }
            data-src=[(!drawn_by_librrd).then(|| format!("/api/v1/agents/{name}/series?{which}&lang={}", lang.tag()))] {
            figcaption {
                span class="title" dir="auto" { (title) }
                nav class="periods" aria-label=(lang.text("Period")) {
                    @for (name, seconds) in PERIODS {
                        a href=(with(visit, "period", Some(name))) data-period=(name) data-seconds=(seconds) data-picture=[drawn_by_librrd.then(|| picture(name))]
                            aria-current=[(name == shown).then_some("true")] { (period_name(lang, name)) }
                    }
                }
            }
            @if drawn_by_librrd { img src=(picture(shown)) alt=(title); }
            @else {
                div class="chart" {}
                noscript { img src=(picture(shown)) alt=(title) width="800" height="240"; }
            }
        }
    }
}

/// `/agents/NAME/NAME.png`: a graph with `vnamedefs`.
pub(super) fn png(visit: &Visit<'_>) -> Response {
    let lang = visit.lang;
    let Some(view) = visit.agent() else { return no_agent(visit) };
    let name = visit.request.captured("png").unwrap_or_default();
    let graph = match &view.spec.keep {
        Keep::Rrd(graphs) => graphs.graphs.iter().find(|graph| graph.pngname == name && !graph.vnamedefs.is_empty()),
        _ => None,
    };
    let Some(graph) = graph else { return super::shell::missing(visit) };
    let (start, end) = range(visit);
    let (agent, instance) = (&view.spec.name, visit.parameter("instance"));
    let file = |ds: &str| visit.pages.control.rrd_file(agent, instance, ds);
    match (visit.pages.options.png)(graph, &file, start, end) {
        Ok(png) => Response::new(200, "image/png", png),
        // Where a picture is expected, nothing else would be seen.
        Err(why) => svg::failure(503, lang.text("This graph cannot be drawn"), &visit.message(&why)),
    }
}
