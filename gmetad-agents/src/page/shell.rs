//! What stands around every page.

use std::time::Duration;

use gmetad_core::agent::State;
use gmetad_core::message;
use gmetad_http::Response;
use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::visit::{Visit, slug};
use super::{assets, when};
use crate::lang::Lang;

/// Seconds after which a browser without scripts loads the page again; with scripts, after which they do: as often as something is
/// measured, within these.
const FRESH: (u64, u64) = (5, 30);

/// A page to be shown.
pub(super) struct Page {
    pub(super) status: u16,
    pub(super) title: String,
    /// What the tab's icon shows.
    pub(super) state: State,
    /// Whether it is made anew all the time; what has the id `live` is then kept fresh.
    pub(super) live: bool,
    /// The shortest time between two measurements of what it shows.
    pub(super) period: Option<Duration>,
    pub(super) charts: bool,
    pub(super) body: Markup,
}

impl Page {
    pub(super) fn new(title: impl Into<String>, body: Markup) -> Self {
        Self { status: 200, title: title.into(), state: State::Unknown, live: false, period: None, charts: false, body }
    }

    pub(super) fn response(self, visit: &Visit<'_>) -> Response {
        let lang = visit.lang;
        let Self { status, title, state, live, period, charts, body } = self;
        let fresh = period.map_or(FRESH.1, |period| period.as_secs().clamp(FRESH.0, FRESH.1));
        let PreEscaped(text) = html! {
            (DOCTYPE)
            html lang=(lang.tag()) {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="color-scheme" content="light dark";
                    title { (title) }
                    link rel="icon" type="image/svg+xml" href={ "/static/lamp-" (slug(state)) ".svg" };
                    @if charts { link rel="stylesheet" href=(assets::address("uplot.css")); }
                    link rel="stylesheet" href=(assets::address("page.css"));
                    @if live { noscript { meta http-equiv="refresh" content=(fresh); } }
                    @if charts { script defer src=(assets::address("uplot.js")) {} }
                    @if charts { script defer src=(assets::address("graphs.js")) {} }
                    @if live { script defer src=(assets::address("page.js")) {} }
                }
                body data-fresh=[live.then_some(fresh)] {
                    a class="skip" href="#main" { (lang.text("To the content")) }
                    header class="top" {
                        a class="home" href="/" { strong { (visit.pages.options.host) } " " span { "z_stats" } }
                        @if live {
                            p class="fresh" id="fresh" data-lost=(lang.text("No connection; this page is as of")) {
                                span class="pulse" aria-hidden="true" {}
                                span class="text" { (lang.text("As of")) } " "
                                span id="clock" { (when::element(lang, visit.now, &clock(lang, visit))) }
                            }
                        }
                        (languages(visit))
                    }
                    main id="main" { (body) }
                    footer {
                        span { "z_stats " (env!("CARGO_PKG_VERSION")) }
                        a href="/api/v1/status" { "API" }
                        a href="/metrics" { "OpenMetrics" }
                    }
                }
            }
        };
        let text = if lang == Lang::French { held_together(&text) } else { text };
        // Pages of two languages have one address.
        Response::html(status, text).header("Content-Language", lang.tag())
    }
}

/// French puts spaces before marks, where no line may end; in what was written by hand they stay as they are.
fn held_together(html: &str) -> String {
    let mut out = String::with_capacity(html.len() + 256);
    let mut verbatim = 0_usize;
    for piece in html.split_inclusive('>') {
        let (text, tag) = piece.split_at(piece.find('<').unwrap_or(piece.len()));
        if verbatim == 0 {
            let marks = [(" : ", "\u{a0}: "), (" ; ", "\u{a0}; "), (" ?", "\u{a0}?"), (" !", "\u{a0}!")];
            let marks = marks.into_iter().chain([("« ", "«\u{a0}"), (" »", "\u{a0}»")]);
            out += &marks.fold(text.to_owned(), |text, (plain, held)| text.replace(plain, held));
        } else {
            out += text;
        }
        out += tag;
        let name = tag.trim_start_matches(['<', '/']).split([' ', '>']).next().unwrap_or_default();
        if matches!(name, "pre" | "code" | "textarea" | "script" | "style") {
            verbatim = if tag.starts_with("</") { verbatim.saturating_sub(1) } else { verbatim + 1 };
        }
    }
    out
}

/// Time without the date.
fn clock(lang: Lang, visit: &Visit<'_>) -> String {
    let stamp = when::stamp(lang, visit.now);
    stamp.rsplit(' ').next().unwrap_or_default().to_owned()
}

/// The same page in the other language.
fn languages(visit: &Visit<'_>) -> Markup {
    html! {
        nav class="languages" aria-label=(visit.lang.text("Language")) {
            @for (lang, name) in [(Lang::English, "English"), (Lang::French, "Français")] {
                @if lang == visit.lang {
                    span aria-current="true" { (name) }
                } @else {
                    a href=(with(visit, "lang", Some(lang.tag()))) lang=(lang.tag()) hreflang=(lang.tag()) { (name) }
                }
            }
        }
    }
}

/// This page with another value of a parameter, or without it.
pub(super) fn with(visit: &Visit<'_>, name: &str, value: Option<&str>) -> String {
    let kept = visit.request.parameters().iter().map(|(own, value)| (own.as_str(), value.as_str()));
    let kept = kept.filter(|(own, _)| *own != name && matches!(*own, "state" | "period" | "instance"));
    let pairs: Vec<_> = kept.chain(value.map(|value| (name, value))).collect();
    let query: Vec<_> = pairs.iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect();
    if query.is_empty() { visit.request.path().to_owned() } else { format!("?{}", query.join("&")) }
}

/// A text as a part of an address.
pub(super) fn encoded(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'~');
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

/// The address of an agent's page.
pub(super) fn address(name: &str) -> String {
    format!("/agents/{}/", encoded(name))
}

/// A short page that says what is wrong, with the way back.
pub(super) fn problem(visit: &Visit<'_>, status: u16, title: &str, text: &str) -> Response {
    let body = html! {
        section class="problem" {
            h1 { (title) }
            p { (text) }
            p { a href="/" { (visit.lang.text("All agents")) } }
        }
    };
    let mut page = Page::new(title, body);
    page.status = status;
    page.response(visit)
}

/// For addresses that lead nowhere: a page for people, JSON for programs.
pub(super) fn missing(visit: &Visit<'_>) -> Response {
    if visit.request.path().starts_with("/api/") {
        let remedy = "GET /api/v1/status, /api/v1/agents/NAME, /api/v1/agents/NAME/series; POST \
            /api/v1/agents/NAME/measure, acknowledge, silence";
        let what = message!("there is nothing at this address");
        return super::api::error(super::api::language(visit), 404, &what, &remedy.into());
    }
    let lang = visit.lang;
    problem(
        visit,
        404,
        lang.text("There is no such page"),
        lang.text("The address may be mistyped, or what it led to is gone."),
    )
}

/// An agent that is not there (any more).
pub(super) fn no_agent(visit: &Visit<'_>) -> Response {
    let lang = visit.lang;
    problem(
        visit,
        404,
        lang.text("There is no such agent"),
        lang.text("It may have been renamed or removed from the configuration."),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_line_begins_with_a_mark() {
        let html =
            r#"<p title="a : b">a : b ; « c » ?</p><pre>x : <code>y ?</code> z : </pre><b>fin !</b> 1 > 0 : oui"#;
        let held = "<p title=\"a : b\">a\u{a0}: b\u{a0}; «\u{a0}c\u{a0}»\u{a0}?</p><pre>x : <code>y ?</code> z : </pre>\
            <b>fin\u{a0}!</b> 1 > 0\u{a0}: oui";
        assert_eq!(held_together(html), held);
    }
}
