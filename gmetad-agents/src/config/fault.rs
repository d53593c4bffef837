//! What is wrong with a piece of a file, and where.

use std::ops::Range;
use std::path::Path;

use gmetad_core::agent::Message;
use gmetad_core::message;
use toml::de::{DeTable, DeValue};

use crate::said::Said;

/// Something wrong at a place of a file.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Fault {
    /// Bytes of the file; `None`: the file as a whole, or the place is not known.
    pub(super) at: Option<Range<usize>>,
    /// What, and what to do.
    pub(super) what: Message,
}

impl Fault {
    pub(super) fn new(at: Range<usize>, what: Message) -> Self {
        Self { at: Some(at), what }
    }

    /// Where the place is not known, it is `at`.
    pub(super) fn or_at(mut self, at: Range<usize>) -> Self {
        self.at.get_or_insert(at);
        self
    }

    /// What toml or serde says.
    pub(super) fn of_toml(error: &toml::de::Error) -> Self {
        Self { at: error.span(), what: error.said() }
    }

    /// For people: `file:line:column: what`.
    pub(super) fn message(&self, file: &Path, text: &str) -> Message {
        let at = self.at.as_ref().map_or_else(String::new, |at| place(text, at.start));
        message!("{}: {}", format!("{}{at}", file.display()), self.what)
    }
}

/// What is wrong with a text in TOML: `file:line:column: what`.
pub fn mistake(file: &Path, text: &str, error: &toml::de::Error) -> Message {
    Fault::of_toml(error).message(file, text)
}

/// `:line:column` of a byte, both counted from 1, columns in characters.
fn place(text: &str, at: usize) -> String {
    let before = text.get(..at.min(text.len())).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    format!(":{}:{}", before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

/// The keys that lead to a place, as `rules.for`.
pub(super) fn path(table: &DeTable<'_>, at: &Range<usize>) -> Option<String> {
    let has = |place: Range<usize>| place.start <= at.start && at.end <= place.end && !place.is_empty();
    table.iter().find_map(|(key, value)| {
        let inner = match value.get_ref() {
            DeValue::Table(table) => path(table, at),
            DeValue::Array(all) => all.iter().find_map(|one| match one.get_ref() {
                DeValue::Table(table) => path(table, at),
                _ => None,
            }),
            _ => None,
        };
        match inner {
            Some(inner) => Some(format!("{}.{inner}", key.get_ref())),
            None => (has(value.span()) || has(key.span())).then(|| key.get_ref().to_string()),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_count_characters_from_one() {
        let text = "a = 1\né = \"x\"\n";
        let fault = |at| Fault::new(at..at + 1, "wrong".into()).message(Path::new("/x/y.agent"), text).to_string();
        assert_eq!(fault(0), "/x/y.agent:1:1: wrong");
        assert_eq!(fault(text.find('"').unwrap()), "/x/y.agent:2:5: wrong");
        assert_eq!(fault(10_000), "/x/y.agent:3:1: wrong", "beyond the end is the end");
        let whole = Fault { at: None, what: "wrong".into() };
        assert_eq!(whole.message(Path::new("f"), text).to_string(), "f: wrong");
    }
}
