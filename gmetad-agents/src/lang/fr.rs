//! The French catalogue: pairs of an English template and the French one, a file for each part of the program.

use std::collections::HashMap;
use std::sync::LazyLock;

mod cli;
mod config;
mod engine;
mod exec;
mod man;
mod page;
mod said;
mod stock;
mod written;

static ALL: LazyLock<HashMap<&str, &str>> = LazyLock::new(|| pairs().collect());

/// What it has for an English template.
pub(super) fn find(english: &str) -> Option<&'static str> {
    ALL.get(english).copied()
}

fn pairs() -> impl Iterator<Item = (&'static str, &'static str)> {
    let parts = [
        cli::TEXTS,
        config::TEXTS,
        engine::TEXTS,
        exec::TEXTS,
        man::TEXTS,
        page::TEXTS,
        said::TEXTS,
        stock::TEXTS,
        written::TEXTS,
    ];
    parts.into_iter().flatten().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_has_one_french_text_with_its_places() {
        for (english, french) in pairs() {
            assert_eq!(find(english), Some(french), "{english}");
            assert_eq!(english.matches("{}").count(), french.matches("{}").count(), "{english}");
            // As sysadmins write to each other: infinitives.
            let vous = french.split(|c: char| !c.is_alphabetic()).find(|word| word.ends_with("ez") && *word != "assez");
            assert_eq!(vous, None, "{french}");
            // The space before them is that of French.
            for mark in [';', '?', '!'] {
                let is_bare = french.split(mark).rev().skip(1).any(|before| before.ends_with(char::is_alphabetic));
                assert!(!is_bare, "{french}");
            }
        }
    }
}
