//! French and English.

use std::sync::atomic::{AtomicBool, Ordering};

use gmetad_core::agent::Message;

mod fr;
pub(crate) mod units;

/// A language of pages, logs and the command line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Lang {
    /// English: the templates themselves.
    #[default]
    English,
    /// French.
    French,
}

impl Lang {
    /// Of a language tag or a locale: `fr`, `fr-CA`, `fr_FR.UTF-8`; anything that is not French is English.
    pub fn of_tag(tag: &str) -> Self {
        let word = tag.split(['-', '_', '.', '@', ';', ',']).next().unwrap_or_default().trim();
        if word.eq_ignore_ascii_case("fr") { Self::French } else { Self::English }
    }

    /// The tag: `en`, `fr`.
    pub fn tag(self) -> &'static str {
        match self {
            Self::English => "en",
            Self::French => "fr",
        }
    }

    /// A text of the program itself: a key of the catalogue.
    pub fn text(self, english: &str) -> &str {
        self.find(english).unwrap_or(english)
    }

    /// What the catalogue has for it; English has no catalogue.
    pub fn find(self, english: &str) -> Option<&'static str> {
        match self {
            Self::English => None,
            Self::French => fr::find(english),
        }
    }

    /// A message in this language; what the catalogue does not have stays English.
    pub fn message(self, message: &Message) -> String {
        message.with(|template| self.find(template), |text, unit| self.number(text, unit), |count| self.is_one(count))
    }

    /// Whether a count takes the singular.
    fn is_one(self, count: f64) -> bool {
        match self {
            Self::English => count == 1.0,
            Self::French => count.abs() < 2.0,
        }
    }

    /// A number of a message. Of one with a unit every digit that is not needed is left out, as on pages.
    fn number(self, text: &str, unit: &str) -> String {
        match text.parse() {
            _ if unit == Message::TIME => units::date(self, text),
            // Logs and mails get spaces that everything can show.
            Ok(value) if !unit.is_empty() => units::show(self, value, unit).replace(units::THIN, " "),
            _ if self == Self::French => text.replace('.', ","),
            _ => text.to_owned(),
        }
    }
}

/// Whether the log is in French.
static FRENCH_LOG: AtomicBool = AtomicBool::new(false);

/// Sets the language of the log, which a process has one of.
pub fn log_in(lang: Lang) {
    FRENCH_LOG.store(lang == Lang::French, Ordering::Relaxed);
}

/// A message as the log has it, for those who are told no language.
pub(crate) fn logged(message: &Message) -> String {
    let lang = if FRENCH_LOG.load(Ordering::Relaxed) { Lang::French } else { Lang::English };
    lang.message(message)
}

/// What the French catalogue has for a template.
#[cfg(test)]
pub(crate) fn french_of(english: &str) -> Option<&'static str> {
    fr::find(english)
}

#[cfg(test)]
mod tests {
    use gmetad_core::message;

    use super::*;

    #[test]
    fn numbers_of_messages_are_of_the_language() {
        let message = message!("load {}, {}, {}", 1.1, 1.85, 3.0);
        assert_eq!(Lang::English.message(&message), "load 1.1, 1.85, 3");
        assert_eq!(Lang::French.message(&message), "charge 1,1 ; 1,85 ; 3");
        let message = message!("{}: {}", Message::number(1.5 * 1048576.0, "B"), Message::number(84.4, "%"));
        assert_eq!(Lang::English.message(&message), "1.5 MiB: 84.4 %");
        assert_eq!(Lang::French.message(&message), "1,5 Mio : 84,4 %");
        assert_eq!(Lang::French.message(&"1.5".into()), "1.5");
    }

    #[test]
    fn counts_follow_the_language() {
        let said = |lang: Lang, count: i32| {
            let message = message!("{} {agent|agents}, {} of them in Warn or Error", count, 0);
            lang.message(&message)
        };
        assert_eq!(said(Lang::English, 1), "1 agent, 0 of them in Warn or Error");
        assert_eq!(
            [0, 1, 2].map(|count| said(Lang::French, count)),
            ["0 agent", "1 agent", "2 agents"].map(|text| format!("{text}, dont 0 en avertissement ou en erreur"))
        );
        let skipped = message!("{} {agent|agents}, {} not here, {} {warning|warnings}, {} {error|errors}", 3, 1, 1, 0);
        assert_eq!(Lang::French.message(&skipped), "3 agents, 1 absent, 1 avertissement, 0 erreur");
        assert_eq!(skipped.to_string(), "3 agents, 1 not here, 1 warning, 0 errors");
    }

    #[test]
    fn messages_of_earlier_versions_are_read() {
        let old: Message = serde_json::from_str(r#"{"template":"load {}","args":[{"template":"1.5"}]}"#).unwrap();
        assert_eq!(old.to_string(), "load 1.5");
        let new = message!("load {}", Message::number(1.5, "%"));
        let text = serde_json::to_string(&new).unwrap();
        assert_eq!(text, r#"{"template":"load {}","args":[{"template":"1.5","unit":"%"}]}"#);
        assert_eq!(serde_json::from_str::<Message>(&text).unwrap(), new);
    }
}
