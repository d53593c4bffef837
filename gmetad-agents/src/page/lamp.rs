//! Lamps: a colour, a shape and a word for each state, so that no one of them is needed.

use gmetad_core::agent::State;
use maud::{Markup, PreEscaped, html};

use super::visit::{slug, word};
use crate::lang::Lang;

/// The shape, and the mark in it, in a square of 20.
fn shape(state: State) -> (&'static str, &'static str) {
    match state {
        // A disc with a tick.
        State::Ok => ("M10 1a9 9 0 1 1 0 18a9 9 0 1 1 0-18z", "M5.6 10.4l3 3l5.8-6.4"),
        // A diamond with an arrow: the reason is elsewhere.
        State::Dependant => ("M10 .6L19.4 10L10 19.4L.6 10z", "M10 14V6.4M6.9 9.2L10 6l3.1 3.2"),
        // A square with a question mark.
        State::Unknown => (
            "M4 2h12a2 2 0 0 1 2 2v12a2 2 0 0 1-2 2H4a2 2 0 0 1-2-2V4a2 2 0 0 1 2-2z",
            "M7.4 7.7a2.6 2.6 0 1 1 4 2.1c-1 .6-1.4 1-1.4 2M10 14.3v.3",
        ),
        // A triangle with an exclamation mark.
        State::Warn => ("M10 1.2L19.4 18a.7.7 0 0 1-.6 1H1.2a.7.7 0 0 1-.6-1z", "M10 7.4v5M10 15.5v.3"),
        // An octagon with a cross.
        State::Error => ("M6.3 1h7.4L19 6.3v7.4L13.7 19H6.3L1 13.7V6.3z", "M6.7 6.7l6.6 6.6M13.3 6.7l-6.6 6.6"),
    }
}

/// The lamp alone, for where the word stands beside it.
pub(super) fn lamp(state: State) -> Markup {
    let (body, mark) = shape(state);
    html! {
        svg class={ "lamp " (slug(state)) } viewBox="0 0 20 20" aria-hidden="true" {
            path class="body" d=(body) {}
            path class="mark" d=(mark) {}
        }
    }
}

/// Lamp and word.
pub(super) fn named(lang: Lang, state: State) -> Markup {
    html! { span class={ "state " (slug(state)) } { (lamp(state)) span class="word" { (word(lang, state)) } } }
}

/// Colours of a lamp and of its mark, where there is no style sheet.
pub(super) fn colours(state: State) -> (&'static str, &'static str) {
    match state {
        State::Ok => ("#1f8a4c", "#fff"),
        State::Dependant => ("#5b7aa8", "#fff"),
        State::Unknown => ("#6b7280", "#fff"),
        State::Warn => ("#f2a516", "#221700"),
        State::Error => ("#d0312d", "#fff"),
    }
}

/// The lamp as a file, for the browser's tab.
pub(super) fn icon(state: State) -> String {
    let (body, mark) = shape(state);
    let (colour, ink) = colours(state);
    let markup = html! {
        svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 20 20" {
            path fill=(colour) d=(body) {}
            path fill="none" stroke=(ink) stroke-width="2" stroke-linecap="round" stroke-linejoin="round" d=(mark) {}
        }
    };
    let PreEscaped(text) = markup;
    text
}
