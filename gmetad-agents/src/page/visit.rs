//! One request: who asks, in which language, when.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use gmetad_core::agent::{Message, State};
use gmetad_core::model::UnixTime;
use gmetad_http::Request;

use super::Pages;
use crate::lang::Lang;
use crate::view::AgentView;

/// Where the language is kept.
const COOKIE: &str = "zstats_lang";

pub(super) struct Visit<'a> {
    pub(super) pages: &'a Pages,
    pub(super) request: &'a Request,
    pub(super) lang: Lang,
    pub(super) now: UnixTime,
}

impl<'a> Visit<'a> {
    pub(super) fn new(pages: &'a Pages, request: &'a Request) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs().cast_signed());
        Self { pages, request, lang: language(request, pages.options.lang), now }
    }

    /// Remembers a language that was asked for.
    pub(super) fn cookie(&self) -> Option<String> {
        self.request.parameter("lang")?;
        let secure = if self.pages.options.tls { "; Secure" } else { "" };
        Some(format!("{COOKIE}={}; Path=/; Max-Age=31536000; SameSite=Lax{secure}", self.lang.tag()))
    }

    /// The agent that the path names.
    pub(super) fn agent(&self) -> Option<Arc<AgentView>> {
        self.pages.board.agent(self.request.captured("name")?)
    }

    pub(super) fn parameter(&self, name: &str) -> Option<&'a str> {
        self.request.parameter(name).filter(|value| !value.is_empty())
    }

    pub(super) fn message(&self, message: &Message) -> String {
        visible(&self.lang.message(message))
    }

    /// A title: also plain words that the catalogue knows, as sections of files are, are translated.
    pub(super) fn title(&self, message: &Message) -> String {
        visible(self.lang.text(&self.lang.message(message)))
    }

    /// What an agent is called.
    pub(super) fn description(&self, view: &AgentView) -> String {
        let text = self.title(&view.spec.description);
        if text.trim().is_empty() { view.spec.name.clone() } else { text }
    }
}

/// The language asked for now, the one asked for before, or the first of the browser's that we have.
pub(super) fn language(request: &Request, otherwise: Lang) -> Lang {
    let known = |tag: &str| {
        let word = tag.split(['-', ';']).next().unwrap_or_default().trim();
        [Lang::English, Lang::French].into_iter().find(|lang| lang.tag().eq_ignore_ascii_case(word))
    };
    let quality = |entry: &str| {
        let written = entry.split(';').find_map(|part| part.trim().strip_prefix("q=")?.trim().parse::<f32>().ok());
        written.unwrap_or(1.0)
    };
    let accepted = || {
        let entries = request.values("accept-language").flat_map(|line| line.split(',')).take(50);
        let entries = entries.filter_map(|entry| Some((known(entry)?, quality(entry)))).filter(|(_, q)| *q > 0.0);
        // Of two that are as welcome, the first.
        entries.reduce(|best, other| if other.1 > best.1 { other } else { best }).map(|(lang, _)| lang)
    };
    let asked = request.parameter("lang").and_then(known);
    asked.or_else(|| request.cookie(COOKIE).and_then(known)).or_else(accepted).unwrap_or(otherwise)
}

/// A text without characters that cannot be seen and could change how others are: controls, and marks of direction.
pub(super) fn visible(text: &str) -> String {
    let hidden = |c: char| {
        (c.is_control() && !matches!(c, '\n' | '\t')) || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars().map(|c| if hidden(c) { '\u{fffd}' } else { c }).collect()
}

/// At most so many characters of a text; where it was cut is seen.
pub(super) fn shortened(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// What a state is called.
pub(super) fn word(lang: Lang, state: State) -> &'static str {
    match state {
        State::Ok => "OK",
        State::Dependant => lang.text("Dependant"),
        State::Unknown => lang.text("Unknown"),
        State::Warn => lang.text("Warn"),
        State::Error => lang.text("Error"),
    }
}

/// A word for addresses and classes.
pub(super) fn slug(state: State) -> &'static str {
    match state {
        State::Ok => "ok",
        State::Dependant => "dependant",
        State::Unknown => "unknown",
        State::Warn => "warn",
        State::Error => "error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lang(target: &str, headers: &str) -> &'static str {
        let text = format!("GET {target} HTTP/1.0\r\n{headers}\r\n\r\n");
        let request = Request::parse(text.as_bytes()).unwrap().unwrap();
        language(&request, Lang::English).tag()
    }

    #[test]
    fn the_language_is_what_was_asked_for() {
        assert_eq!(lang("/", "X: y"), "en");
        assert_eq!(lang("/", "Accept-Language: fr-CA,en;q=0.5"), "fr");
        assert_eq!(lang("/", "Accept-Language: de, en;q=0.5, fr;q=0.7"), "fr");
        assert_eq!(lang("/", "Accept-Language: fr;q=0"), "en");
        assert_eq!(lang("/", "Accept-Language: fr\r\nCookie: zstats_lang=en"), "en");
        assert_eq!(lang("/?lang=fr", "Cookie: zstats_lang=en"), "fr");
        assert_eq!(lang("/?lang=xx", "Cookie: zstats_lang=fr"), "fr");
    }

    #[test]
    fn what_cannot_be_seen_is_shown() {
        assert_eq!(visible("a\u{0}b\nc\u{202e}d"), "a\u{fffd}b\nc\u{fffd}d");
        assert_eq!((shortened("été", 2), shortened("été", 3)), ("ét…".to_owned(), "été".to_owned()));
    }
}
