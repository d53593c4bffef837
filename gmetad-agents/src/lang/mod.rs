//! French and English.

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
            // Logs and mails get spaces that everything can show.
            Ok(value) if !unit.is_empty() => units::show(self, value, unit).replace(units::THIN, " "),
            _ if self == Self::French => text.replace('.', ","),
            _ => text.to_owned(),
        }
    }
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
        assert_eq!(Lang::French.message(&message), "1,5 Mio: 84,4 %");
        assert_eq!(Lang::French.message(&"1.5".into()), "1.5");
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
