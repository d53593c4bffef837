//! How the state of an agent changed: a strip of time and a list.

use gmetad_core::agent::State;
use gmetad_core::model::UnixTime;
use maud::{Markup, html};

use super::lamp::named;
use super::visit::{Visit, shortened, slug, word};
use super::when;
use crate::view::AgentView;

const HOUR: i64 = 3600;
/// The strip covers the shortest of these that has what is known.
const SPANS: [i64; 4] = [HOUR, 24 * HOUR, 7 * 24 * HOUR, 30 * 24 * HOUR];
/// Changes listed before one asks for all.
const LISTED: usize = 6;
/// Width of the strip.
const WIDTH: i64 = 1000;

pub(super) fn section(visit: &Visit<'_>, view: &AgentView) -> Markup {
    let lang = visit.lang;
    let (first, rest) = view.changes.split_at(view.changes.len().min(LISTED));
    html! {
        section class="history" {
            h2 { (lang.text("History of the state")) }
            (strip(visit, view))
            @if view.changes.is_empty() { p class="nothing" { (lang.text("It has not changed yet.")) } }
            @else {
                ol { @for change in first { (item(visit, change)) } }
                @if !rest.is_empty() {
                    details id="all-changes" {
                        summary { (lang.text("Earlier changes")) " (" (rest.len()) ")" }
                        ol { @for change in rest { (item(visit, change)) } }
                    }
                }
            }
        }
    }
}

fn item(visit: &Visit<'_>, change: &crate::view::Change) -> Markup {
    let lang = visit.lang;
    html! {
        li {
            (when::element(lang, change.time, &when::brief(lang, change.time, visit.now))) " "
            (named(lang, change.status.state)) " "
            span class="message" dir="auto" { (shortened(&visit.message(&change.status.message), 160)) }
        }
    }
}

/// A stretch of one state.
fn stretches(view: &AgentView, start: UnixTime, now: UnixTime) -> Vec<(UnixTime, UnixTime, State)> {
    let mut out = Vec::new();
    let mut end = now;
    // Newest first. What was before the oldest is not known.
    let present = std::iter::once((view.since, view.status.state));
    let earlier = view.changes.iter().map(|change| (change.time, change.status.state));
    for (time, state) in present.chain(earlier) {
        let from = time.clamp(start, end);
        if from < end {
            out.push((from, end, state));
            end = from;
        }
    }
    out.reverse();
    out
}

fn strip(visit: &Visit<'_>, view: &AgentView) -> Markup {
    let (lang, now) = (visit.lang, visit.now);
    let oldest = view.changes.last().map_or(view.since, |change| change.time.min(view.since));
    let span = SPANS.into_iter().find(|span| oldest > now.saturating_sub(*span)).unwrap_or(SPANS[3]);
    let start = now.saturating_sub(span);
    let x = |time: UnixTime| (time - start) * WIDTH / span;
    html! {
        figure class="strip" {
            svg viewBox={ "0 0 " (WIDTH) " 24" } preserveAspectRatio="none" role="img" aria-label=(lang.text("History of the state")) {
                rect class="unknown-past" x="0" y="0" width=(WIDTH) height="24" {}
                @for (from, to, state) in stretches(view, start, now) {
                    // A state of a moment is still seen.
                    rect class={ "is " (slug(state)) } x=(x(from)) y="0" width=((x(to) - x(from)).max(3)) height="24" {
                        title { (word(lang, state)) ", " (when::brief(lang, from, now)) " – " (when::brief(lang, to, now)) }
                    }
                }
            }
            figcaption {
                span { (when::element(lang, start, &when::brief(lang, start, now))) }
                span { (lang.text("now")) }
            }
        }
    }
}
