//! The page of one agent.

use gmetad_core::agent::State;
use gmetad_core::message;
use gmetad_http::Response;
use maud::{Markup, html};

use super::lamp::{lamp, named};
use super::shell::{Page, address, no_agent};
use super::visit::{Visit, slug, visible, word};
use super::{actions, elements, graphs, history, overview, values, when};
use crate::lang::units;
use crate::status::{Range, never_negative};
use crate::view::AgentView;

/// Without the slash at its end, relative addresses would lead elsewhere.
pub(super) fn moved(visit: &Visit<'_>) -> Response {
    Response::see_other(address(visit.request.captured("name").unwrap_or_default()))
}

pub(super) fn page(visit: &Visit<'_>) -> Response {
    let Some(view) = visit.agent() else { return no_agent(visit) };
    let lang = visit.lang;
    let plans = super::curves::plans(visit, &view);
    let body = html! {
        nav class="path" { a href="/" { "← " (lang.text("All agents")) } }
        (actions::notice(visit))
        div id="live" {
            (heading(visit, &view))
            (troubles(visit, &view))
            div class="columns" {
                (facts(visit, &view))
                (history::section(visit, &view))
            }
            (values::section(visit, &view))
            (elements::section(visit, &view))
        }
        (graphs::section(visit, &view, &plans))
        (actions::section(visit, &view))
        (values::raw(visit, &view))
    };
    let mut page = Page::new(format!("{} – {}", visit.description(&view), visit.pages.options.host), body);
    (page.state, page.live, page.charts) = (view.status.state, true, !plans.is_empty());
    page.period = Some(view.spec.period);
    page.response(visit)
}

fn heading(visit: &Visit<'_>, view: &AgentView) -> Markup {
    let (lang, state) = (visit.lang, view.status.state);
    html! {
        section class={ "summary agent " (slug(state)) } {
            (lamp(state))
            div class="headline" {
                h1 { bdi { (visit.description(view)) } }
                p {
                    strong class="word" { (word(lang, state)) } " "
                    (lang.text("since")) " " (when::element(lang, view.since, &when::brief(lang, view.since, visit.now)))
                    ", " (when::ago(lang, view.since, visit.now))
                    (overview::marks(visit, view))
                }
                @if !view.status.message.is_empty() {
                    p class="message" dir="auto" { (visit.message(&view.status.message)) }
                }
            }
        }
    }
}

/// Why there is no measurement, notes, and what is being done.
fn troubles(visit: &Visit<'_>, view: &AgentView) -> Markup {
    let lang = visit.lang;
    html! {
        @if let Some((time, why)) = &view.failure {
            section class="failure" {
                h2 { (lang.text("The last measurement failed")) " " small { (when::element(lang, *time, &when::ago(lang, *time, visit.now))) } }
                pre dir="auto" { (visit.message(why)) }
            }
        }
        @if let Some(began) = view.running && visit.now - began > 5 {
            p class="note" { (lang.message(&message!("A measurement has been running for {}.", when::span(lang, visit.now - began)))) }
        }
        @for note in view.notes.iter().take(20) { p class="note" dir="auto" { (visit.message(note)) } }
        @if let Some(known) = view.acknowledged.as_ref().filter(|known| !known.comment.is_empty()) {
            p class="note known" dir="auto" {
                (lang.text("Acknowledged:")) " " (visible(&known.comment))
                " (" @if !known.by.is_empty() { (visible(&known.by)) " " } (when::element(lang, known.time, &when::ago(lang, known.time, visit.now))) ")"
            }
        }
    }
}

fn facts(visit: &Visit<'_>, view: &AgentView) -> Markup {
    let lang = visit.lang;
    let time = |time| when::element(lang, time, &when::ago(lang, time, visit.now));
    let span = |time: std::time::Duration| when::span(lang, time.as_secs().cast_signed());
    html! {
        section class="facts" {
            h2 { (lang.text("Agent")) }
            dl {
                dt { (lang.text("Name")) } dd { code { (view.spec.name) } }
                dt { (lang.text("Last measurement")) }
                dd {
                    @match &view.last {
                        Some(taken) => {
                            (time(taken.time))
                            small { " (" (lang.message(&message!("took {}", units::show(lang, taken.took, "s")))) ")" }
                        }
                        None => (lang.text("never")),
                    }
                }
                dt { (lang.text("Next")) }
                dd { @if view.running.is_some() { (lang.text("measuring now")) } @else if view.next > visit.now { (time(view.next)) } @else if view.next > 0 { (lang.text("now")) } }
                dt { (lang.text("Period")) }
                dd { (span(view.spec.period)) small { " (" (lang.message(&message!("at most {} a measurement", span(view.spec.timeout)))) ")" } }
                @if view.max.state > view.status.state {
                    dt { (lang.text("Worst")) }
                    dd { (named(lang, view.max.state)) " " small { (time(view.max_at)) } " " span dir="auto" { (visit.message(&view.max.message)) } }
                }
                @if view.own != view.status {
                    dt { (lang.text("Own judgement")) }
                    dd { (named(lang, view.own.state)) " " span dir="auto" { (visit.message(&view.own.message)) } }
                }
                (others(visit, lang.text("Requires"), &view.spec.requires))
                (others(visit, lang.text("Required by"), &required_by(visit, view)))
                @if !view.spec.rules.is_empty() || !view.spec.limits.is_empty() {
                    dt { (lang.text("Thresholds")) }
                    dd {
                        ul class="rules" {
                            @for rule in view.spec.rules.iter().take(50) {
                                li {
                                    (values::label(visit, view, &rule.field)) (ranges(visit, view, &rule.field, view.spec.unit(&rule.field), [rule.warn, rule.error]))
                                    @if rule.r#for > 1 { " " small { (lang.message(&message!("{} times in a row", rule.r#for))) } }
                                }
                            }
                            @for limit in view.spec.limits.iter().take(50) {
                                li { (values::label(visit, view, &limit.field)) (ranges(visit, view, &limit.field, &view.spec.drawn_unit(&limit.field), [limit.warn, limit.error])) }
                            }
                        }
                    }
                }
                dt { (lang.text("Measurements")) }
                dd {
                    (lang.message(&message!("{} good, {} failed, {} left out", view.measured, view.failed, view.skipped)))
                }
                @if !view.spec.origin.is_empty() { dt { (lang.text("From")) } dd { code { (visible(&view.spec.origin)) } } }
            }
        }
    }
}

/// Which values of a field are a Warn, and an Error; as it was written where it is pointed at.
fn ranges(visit: &Visit<'_>, view: &AgentView, field: &str, unit: &str, [warn, error]: [Option<Range>; 2]) -> Markup {
    let positive = never_negative(&view.spec, field);
    html! {
        @for (state, range) in [(State::Warn, warn), (State::Error, error)] {
            @if let Some(range) = range {
                " " span class={ "limit " (slug(state)) } { span title=(range.to_string()) { (visit.message(&message!("{} if {}", word(visit.lang, state), range.message(unit, positive)))) } }
            }
        }
    }
}

fn required_by(visit: &Visit<'_>, view: &AgentView) -> Vec<String> {
    let agents = visit.pages.board.agents();
    let requires = |other: &AgentView| other.spec.requires.contains(&view.spec.name);
    agents.iter().filter(|other| requires(other)).map(|other| other.spec.name.clone()).collect()
}

/// Other agents, with their lamps.
fn others(visit: &Visit<'_>, title: &str, names: &[String]) -> Markup {
    let lang = visit.lang;
    html! {
        @if !names.is_empty() {
            dt { (title) }
            dd {
                ul class="others" {
                    @for name in names.iter().take(50) {
                        li {
                            @match visit.pages.board.agent(name) {
                                Some(other) => {
                                    (named(lang, other.status.state)) " " a href=(address(name)) { bdi { (visit.description(&other)) } }
                                }
                                None => { code { (visible(name)) } " " small { (lang.text("does not exist")) } }
                            }
                        }
                    }
                }
            }
        }
    }
}
