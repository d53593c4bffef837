//! All agents at a glance.

use std::collections::HashMap;
use std::sync::Arc;

use gmetad_core::agent::State;
use gmetad_core::message;
use gmetad_http::Response;
use maud::{Markup, PreEscaped, html};

use super::lamp::{lamp, named};
use super::shell::{Page, address, with};
use super::visit::{Visit, shortened, slug, word};
use super::{spark, when};
use crate::view::AgentView;

/// Characters of a message in a row; the agent's page has it all.
const MESSAGE: usize = 240;
/// Agents that are named above the sections because something is wrong with them.
const TROUBLES: usize = 12;

/// The agents that the page shows, in sections in order; and those that it does not.
pub(super) struct Shown {
    pub(super) sections: Vec<(String, Vec<Arc<AgentView>>)>,
    pub(super) hidden: Vec<Arc<AgentView>>,
}

impl Shown {
    pub(super) fn of(visit: &Visit<'_>) -> Self {
        let board = &visit.pages.board;
        let (mut agents, layout) = (board.agents(), board.layout());
        let mut hidden = Vec::new();
        if let Some(names) = &layout.shown {
            let place = |agent: &Arc<AgentView>| names.iter().position(|name| *name == agent.spec.name);
            (agents, hidden) = agents.into_iter().partition(|agent| place(agent).is_some());
            agents.sort_by_key(place);
        }
        let mut sections: Vec<(String, Vec<_>)> = Vec::new();
        for agent in agents {
            let title = visit.title(&agent.spec.section);
            match sections.iter_mut().find(|(known, _)| *known == title) {
                Some((_, agents)) => agents.push(agent),
                None => sections.push((title, vec![agent])),
            }
        }
        Self { sections, hidden }
    }

    fn agents(&self) -> impl Iterator<Item = &Arc<AgentView>> + Clone {
        self.sections.iter().flat_map(|(_, agents)| agents)
    }
}

/// How many agents have each state, from the worst to the best, those that none has left out.
fn counts<'a>(agents: impl Iterator<Item = &'a Arc<AgentView>> + Clone) -> Vec<(State, usize)> {
    let of = |state| agents.clone().filter(|agent| agent.status.state == state).count();
    State::ALL.into_iter().rev().map(|state| (state, of(state))).filter(|(_, count)| *count > 0).collect()
}

pub(super) fn page(visit: &Visit<'_>) -> Response {
    let lang = visit.lang;
    let shown = Shown::of(visit);
    let counts = counts(shown.agents());
    let worst = counts.first().map_or(State::Unknown, |(state, _)| *state);
    let only = visit.parameter("state").and_then(|own| State::ALL.into_iter().find(|state| slug(*state) == own));
    let seen = |agent: &&Arc<AgentView>| only.is_none_or(|state| agent.status.state == state);
    let curves = spark::curves(visit, shown.agents().filter(seen));
    let body = html! {
        div id="live" {
            (summary(visit, &shown, &counts, worst, only))
            @if only.is_none() { (troubles(visit, &shown)) }
            @for (title, agents) in &shown.sections { (section(visit, title, agents, only, &curves)) }
            @if shown.agents().next().is_none() {
                p class="nothing" { (lang.text("There are no agents.")) }
            } @else if let Some(state) = only && !counts.iter().any(|(own, _)| *own == state) {
                p class="nothing" { (lang.text("No agent has this state.")) " " a href="/" { (lang.text("All agents")) } }
            }
            (hidden(visit, &shown))
        }
    };
    let bad = counts.iter().filter(|(state, _)| *state >= State::Warn).map(|(_, count)| count).sum::<usize>();
    let host = &visit.pages.options.host;
    let title = if bad == 0 { host.clone() } else { format!("({bad}) {host}") };
    let mut page = Page::new(title, body);
    (page.state, page.live) = (worst, true);
    page.period = shown.agents().map(|agent| agent.spec.period).min();
    page.response(visit)
}

fn summary(visit: &Visit<'_>, shown: &Shown, counts: &[(State, usize)], worst: State, only: Option<State>) -> Markup {
    let lang = visit.lang;
    let all = counts.iter().map(|(_, count)| count).sum::<usize>();
    // The worst of today is as old as the oldest of its kind.
    let since = shown.agents().filter(|agent| agent.status.state == worst).map(|agent| agent.since).min();
    html! {
        section class={ "summary " (slug(worst)) } {
            (lamp(worst))
            div class="headline" {
                h1 { span class="word" { (word(lang, worst)) } " " span class="host" { (visit.pages.options.host) } }
                @if let Some(since) = since && worst != State::Ok {
                    p {
                        (lang.text("since")) " " (when::element(lang, since, &when::brief(lang, since, visit.now)))
                        ", " (when::ago(lang, since, visit.now))
                    }
                } @else if worst == State::Ok {
                    p { (lang.text("All agents are well.")) }
                }
            }
            nav class="counts" aria-label=(lang.text("Agents by state")) {
                (chip(visit, None, all, only))
                @for (state, count) in counts { (chip(visit, Some(*state), *count, only)) }
            }
        }
    }
}

/// A state, how many have it, and the way to see only those.
fn chip(visit: &Visit<'_>, state: Option<State>, count: usize, only: Option<State>) -> Markup {
    let class = state.map_or("all", slug);
    html! {
        a class={ "chip " (class) } href=(with(visit, "state", state.map(slug))) aria-current=[(state == only).then_some("true")] {
            @if let Some(state) = state { (lamp(state)) }
            span class="word" { (state.map_or(visit.lang.text("All"), |state| word(visit.lang, state))) }
            " " b { (count) }
        }
    }
}

/// What needs somebody, before anything else.
fn troubles(visit: &Visit<'_>, shown: &Shown) -> Markup {
    let lang = visit.lang;
    let wanted = |agent: &&Arc<AgentView>| agent.status.state >= State::Warn && agent.acknowledged.is_none();
    let mut agents: Vec<_> = shown.agents().filter(wanted).collect();
    agents.sort_by_key(|agent| (std::cmp::Reverse(agent.status.state), std::cmp::Reverse(agent.since)));
    html! {
        @if !agents.is_empty() {
            section class="troubles" id="troubles" {
                h2 { (lang.text("Needs attention")) }
                ul {
                    @for agent in agents.iter().take(TROUBLES) {
                        li class=(slug(agent.status.state)) data-key=(agent.spec.name) {
                            (named(lang, agent.status.state)) " "
                            a href=(address(&agent.spec.name)) { bdi { (visit.description(agent)) } } " "
                            span class="message" dir="auto" { (shortened(&visit.message(&agent.status.message), MESSAGE)) } " "
                            span class="age" { (when::element(lang, agent.since, &when::ago(lang, agent.since, visit.now))) }
                        }
                    }
                    @if agents.len() > TROUBLES {
                        li class="more" { (lang.message(&message!("and {} more", agents.len() - TROUBLES))) }
                    }
                }
            }
        }
    }
}

fn section(
    visit: &Visit<'_>,
    title: &str,
    agents: &[Arc<AgentView>],
    only: Option<State>,
    curves: &HashMap<String, Arc<str>>,
) -> Markup {
    let lang = visit.lang;
    let rows: Vec<_> = agents.iter().filter(|agent| only.is_none_or(|state| agent.status.state == state)).collect();
    let counts = counts(agents.iter());
    html! {
        @if !rows.is_empty() {
            section class="agents" data-key=(title) {
                h2 {
                    @if title.trim().is_empty() { (lang.text("Other")) } @else { bdi { (title) } }
                    span class="tally" {
                        @for (state, count) in &counts {
                            span title=(word(lang, *state)) { (lamp(*state)) span class="unseen" { (word(lang, *state)) " " } (count) }
                        }
                    }
                }
                table {
                    colgroup { @for column in ["s", "a", "m", "c", "t", "x", "g"] { col class=(column); } }
                    thead {
                        tr {
                            th scope="col" class="s" { (lang.text("State")) }
                            th scope="col" class="a" { (lang.text("Agent")) }
                            th scope="col" class="m" { (lang.text("Message")) }
                            th scope="col" class="c" { (lang.text("Trend")) }
                            th scope="col" class="t" { (lang.text("Since")) }
                            th scope="col" class="x" title=(lang.text("Worst state since the last transfer")) { (lang.text("Worst")) }
                            th scope="col" class="g" { (lang.text("Measured")) }
                        }
                    }
                    tbody { @for agent in rows { (row(visit, agent, curves.get(&agent.spec.name))) } }
                }
            }
        }
    }
}

fn row(visit: &Visit<'_>, agent: &AgentView, curve: Option<&Arc<str>>) -> Markup {
    let lang = visit.lang;
    let state = agent.status.state;
    html! {
        tr class=(slug(state)) id={ "agent-" (agent.spec.name) } {
            td class="s" { (named(lang, state)) }
            th scope="row" class="a" {
                a href=(address(&agent.spec.name)) { bdi { (visit.description(agent)) } }
                small { (agent.spec.name) }
            }
            td class="m" {
                span class="message" dir="auto" { (shortened(&visit.message(&agent.status.message), MESSAGE)) }
                (marks(visit, agent))
            }
            td class="c" { @if let Some(curve) = curve { (PreEscaped(&**curve)) } }
            td class="t" { (when::element(lang, agent.since, &when::brief(lang, agent.since, visit.now))) }
            td class="x" {
                @if agent.max.state > state {
                    span title={ (when::stamp(lang, agent.max_at)) " " (visit.message(&agent.max.message)) } {
                        (lamp(agent.max.state)) span class="unseen" { (word(lang, agent.max.state)) }
                    }
                }
            }
            td class="g" { (age(visit, agent)) }
        }
    }
}

/// That somebody knows, and that nobody is told.
pub(super) fn marks(visit: &Visit<'_>, agent: &AgentView) -> Markup {
    let lang = visit.lang;
    html! {
        @if let Some(known) = &agent.acknowledged {
            " " span class="mark known" title=(super::visit::visible(&known.comment)) {
                "✓ "
                @if known.by.is_empty() { (lang.text("acknowledged")) }
                @else { (lang.message(&message!("acknowledged by {}", super::visit::visible(&known.by)))) }
            }
        }
        @if let Some(until) = agent.silenced.filter(|until| *until > visit.now) {
            " " span class="mark silent" {
                "⊘ " (lang.message(&message!("silent until {}", when::brief(lang, until, visit.now))))
            }
        }
    }
}

/// How old what is shown is.
fn age(visit: &Visit<'_>, agent: &AgentView) -> Markup {
    let lang = visit.lang;
    html! {
        @match &agent.last {
            Some(taken) => (when::element(lang, taken.time, &when::ago(lang, taken.time, visit.now))),
            None => span class="never" { (lang.text("never")) },
        }
        @if agent.failure.is_some() { " " span class="failed" title=(lang.text("The last measurement failed")) { "✕" } }
    }
}

/// That there is more than is shown.
fn hidden(visit: &Visit<'_>, shown: &Shown) -> Markup {
    let lang = visit.lang;
    let worst = shown.hidden.iter().map(|agent| agent.status.state).max();
    html! {
        @if let Some(worst) = worst {
            p class="hidden" {
                (lang.message(&message!("{} not shown", shown.hidden.len())))
                @if worst >= State::Warn { ", " (lang.text("the worst of them:")) " " (named(lang, worst)) }
            }
        }
    }
}
