//! French and English.

use gmetad_core::agent::Message;

mod fr;

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
        match self {
            Self::English => message.to_string(),
            Self::French => message.with(fr::find),
        }
    }
}

/// What the French catalogue has for a template.
#[cfg(test)]
pub(crate) fn french_of(english: &str) -> Option<&'static str> {
    fr::find(english)
}
