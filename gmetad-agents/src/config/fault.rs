//! What is wrong with a piece of a file, and where.

use std::ops::Range;
use std::path::Path;

use gmetad_core::agent::Message;
use gmetad_core::message;

use super::said;

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

    /// What toml or serde says; unknown keys with the one that was probably meant.
    pub(super) fn of_toml(error: &toml::de::Error) -> Self {
        let text = error.message();
        Self { at: error.span(), what: explained(text, &[]).unwrap_or_else(|| said::message(text)) }
    }

    /// For people: `file:line:column: what`.
    pub(super) fn message(&self, file: &Path, text: &str) -> Message {
        let at = self.at.as_ref().map_or_else(String::new, |at| place(text, at.start));
        message!("{}: {}", format!("{}{at}", file.display()), self.what)
    }
}

/// `:line:column` of a byte, both counted from 1, columns in characters.
fn place(text: &str, at: usize) -> String {
    let before = text.get(..at.min(text.len())).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    format!(":{}:{}", before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

/// serde's complaint about an unknown key in other words; `more` are further keys that would be right in that place.
pub(super) fn explained(text: &str, more: &[&str]) -> Option<Message> {
    let key = unknown_key(text)?;
    let quoted: Vec<&str> = text.split('`').skip(3).step_by(2).collect();
    Some(unknown(key, quoted.iter().chain(more).copied()))
}

/// The key of which serde (or a kind, in the same words) says that it is unknown.
pub(super) fn unknown_key(text: &str) -> Option<&str> {
    let at = ["unknown field `", "unknown key `"].iter().find_map(|start| Some(text.find(start)? + start.len()))?;
    text[at..].split('`').next()
}

/// A key that nobody knows; `known` is what might have been meant.
pub(super) fn unknown<'a>(key: &str, known: impl Iterator<Item = &'a str> + Clone) -> Message {
    match nearest(key, known.clone()) {
        Some(nearest) => message!("unknown key `{}`; is `{}` meant?", key, nearest),
        None => {
            let mut known: Vec<_> = known.collect();
            known.sort_unstable();
            known.dedup();
            message!("unknown key `{}`; known here are {}", key, known.join(", "))
        }
    }
}

/// Longest word that is compared with others, in bytes: the cost grows with its square.
const WORD: usize = 64;

/// The word a misspelt one probably means.
pub(super) fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    if word.len() > WORD {
        return None;
    }
    let lower = word.to_ascii_lowercase();
    let known = known.filter(|known| known.len() <= WORD);
    let (far, best) =
        known.map(|known| (strsim::damerau_levenshtein(&lower, &known.to_ascii_lowercase()), known)).min()?;
    (far <= 2.max(best.len() / 4) && far * 2 <= best.len()).then_some(best)
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

    #[test]
    fn unknown_keys_name_the_nearest() {
        let serde = "unknown field `wran`, expected one of `field`, `warn`, `error`";
        assert_eq!(explained(serde, &[]).unwrap().to_string(), "unknown key `wran`; is `warn` meant?");
        let far = "unknown field `zzzzzz`, expected `field` or `warn`";
        let text = explained(far, &["period"]).unwrap().to_string();
        assert_eq!(text, "unknown key `zzzzzz`; known here are field, period, warn");
        let more = explained("unknown field `peroid`, expected `url`", &["period"]).unwrap().to_string();
        assert_eq!(more, "unknown key `peroid`; is `period` meant?");
        assert_eq!(explained("invalid type: string `x`, expected u16", &[]), None);
        assert_eq!(nearest(&"x".repeat(1000), ["x"].into_iter()), None);
    }
}
