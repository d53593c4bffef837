//! Texts of libraries that can only say texts, recognised by templates.

use gmetad_core::agent::Message;
use nix::errno::Errno;

use super::{Said, quoted};

/// What serde and those who fail through it say, and the template that says the same. Longer ones first.
#[rustfmt::skip]
const SERDE: &[(&str, &str)] = &[
    ("invalid type: {}, expected {}", "there stands {}, expected is {}"),
    ("invalid value: {}, expected {}", "there stands {}, expected is {}"),
    ("invalid length {}, expected {}", "there are {}, expected is {}"),
    ("unknown variant `{}`, expected one of {}", "there stands `{}`, expected is one of {}"),
    ("unknown variant `{}`, expected `{}` or `{}`", "there stands `{}`, expected is `{}` or `{}`"),
    ("unknown variant `{}`, expected {}", "there stands `{}`, expected is {}"),
    ("missing field `{}`", "the key `{}` is missing"),
    ("duplicate field `{}`", "the key `{}` is there twice"),
    ("data did not match any variant of untagged enum {}", "this can be written in several ways, and this is none of them"),
    ("wanted string or table", "a text or a table is expected"),
    ("integer number overflowed", "the number is too large"),
    ("floating-point number overflowed", "the number is too large"),
    ("\"{}\" is not a range: {}; write 10 (alert outside 0..10), 10: (below), ~:10 (above), 10:20 (outside) or @10:20 (inside)",
     "\"{}\" is not a range: {}; write 10 (alert outside 0..10), 10: (below), ~:10 (above), 10:20 (outside) or @10:20 (inside)"),
    ("a sequence", "a list"),
    ("sequence", "a list"),
    ("a map", "a table"),
    ("map", "a table"),
    ("struct {}", "a table"),
    ("a string", "a text"),
    ("a string key", "a text"),
    ("string \"{}\"", "the text \"{}\""),
    ("integer `{}`", "the number {}"),
    ("floating point `{}`", "the number {}"),
    ("boolean `{}`", "`{}`"),
    ("a boolean", "true or false"),
    ("null", "nothing"),
    ("unit value", "nothing"),
    ("u8", "a whole number"),
    ("u16", "a whole number"),
    ("u32", "a whole number"),
    ("u64", "a whole number"),
    ("i32", "a whole number"),
    ("i64", "a whole number"),
    ("usize", "a whole number"),
    ("f64", "a number"),
];

/// What our own readers say through serde: the text is the template.
const READERS: &[&str] = &[
    "\"{}\" is no time; write seconds, or 115s, 5m, 24h, 7d, 5w, 1y",
    "{} s is too short or too long: from 1 s to 31 days",
    "{} s is too short or too long: from 1 s to 10 years",
    "a limit is not a number",
    "the lower limit is above the upper one",
    "\"{}\" is none of ok, unknown, warn, error",
    "\"{}\" is no number of bytes; write as in \"512M\"",
    "\"{}\" is none of GAUGE, COUNTER, DERIVE, ABSOLUTE",
    "expected is a number of bytes, or a text as \"512M\"",
    "a time, such as 115, \"115s\" or \"5m\"",
    "a range, such as 10, \"10:\", \"~:10\", \"10:20\" or \"@10:20\"",
    "the name of a field, or a table with name, label, unit",
    "a text or a list of texts",
    "a number, or \"U\"",
    "a list",
    "more than {} of them",
    "{} is not between {} and {}",
    "{} is no time",
    "expected is a label, or a table { label = \"…\", min = 1, max = 10 }",
    "\"{}\" is none of {}",
    // Answers of programs, in JSON.
    "an object",
    "JSON",
    "too many members",
    "too many elements",
];

/// What other crates of ours say in the log and to browsers: the text is the template.
const CRATES: &[&str] = &[
    // gmetad-process.
    "pid file {} will be emptied at the end, not removed: {}",
    "pid file {} not removed ({}), emptied instead",
    "last message repeated {} times: {}",
    "{} log messages lost",
    "thread '{}' panicked at {}",
    "thread '{}' {}",
    // gmetad-http: the log.
    "HTTP connections cannot be served: {}: raise the limits on open files and tasks",
    "HTTP connection of {}: {}",
    "waiting for connections failed: {}",
    "the page {} panicked",
    // gmetad-http: browsers.
    "This is not a request of HTTP/1.0 or HTTP/1.1.",
    "Only GET and HEAD.",
    "Only {} here.",
    "At most {} bytes and {} header lines.",
    "At most {} bytes of body.",
    "A POST says its Content-Length, and sends its body in one piece.",
    "This page failed; the log has the reason.",
    "This needs a password.",
    "Too many wrong passwords from your address: try again in {} s.",
    "Too many connections: try again in a moment.",
    "Not for pages of another site.",
    "This port is for the machine itself: ask for localhost.",
    "This port speaks TLS: ask for https:// instead of http://.",
    "No such page. There are:\n/\n{}",
];

/// What serde says, as a template.
pub(crate) fn text(text: &str) -> Option<Message> {
    let text = text.trim_end();
    let all = SERDE.iter().copied().chain(READERS.iter().map(|own| (*own, *own)));
    let (args, template) = found(text, all)?;
    // What somebody wrote must stay as it is.
    let is_ours = |at: usize| text.starts_with("invalid ") || (at == 1 && text.contains("is not a range: "));
    let arg = |(at, arg): (usize, &str)| match is_ours(at) {
        true => self::text(arg).unwrap_or_else(|| quoted(arg)),
        false => arg.into(),
    };
    Some(Message::new(template, args.into_iter().enumerate().map(arg).collect()))
}

/// What gmetad-process and gmetad-http say in the log and to browsers, as a template.
pub fn of_crates(text: &str) -> Option<Message> {
    let (args, template) = found(text.trim_end(), CRATES.iter().map(|own| (*own, *own)))?;
    Some(Message::new(template, args.into_iter().map(of_system).collect()))
}

fn found(text: &str, mut all: impl Iterator<Item = (&'static str, &'static str)>) -> Option<(Vec<&str>, &'static str)> {
    all.find_map(|(said, template)| Some((filled(said, text)?, template)))
}

/// A text that ends with the number of the system's error, as Rust writes them.
fn of_system(text: &str) -> Message {
    let number = text.strip_suffix(')').and_then(|text| text.rsplit_once(" (os error ")?.1.parse().ok());
    number.map_or_else(|| text.into(), |number| Errno::from_raw(number).said())
}

/// What stands for each `{}`.
fn filled<'t>(template: &str, text: &'t str) -> Option<Vec<&'t str>> {
    let (first, others) = template.split_once("{}").unwrap_or((template, ""));
    let mut rest = text.strip_prefix(first)?;
    if first.len() == template.len() {
        return rest.is_empty().then(Vec::new);
    }
    let mut args = Vec::new();
    let mut parts = others.split("{}").peekable();
    while let Some(part) = parts.next() {
        let at = if parts.peek().is_none() { rest.strip_suffix(part)?.len() } else { rest.find(part)? };
        args.push(&rest[..at]);
        rest = &rest[at + part.len()..];
    }
    Some(args)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lang::{Lang, french_of};

    #[test]
    fn all_templates_are_in_the_catalogue() {
        for (said, template) in SERDE.iter().copied().chain(READERS.iter().chain(CRATES).map(|own| (*own, *own))) {
            assert!(said.matches("{}").count() >= template.matches("{}").count());
            assert!(french_of(template).is_some(), "{template}");
        }
    }

    #[test]
    fn what_serde_says() {
        let english = |said: &str| text(said).unwrap().to_string();
        let french = |said: &str| Lang::French.message(&text(said).unwrap());
        assert_eq!(
            french("invalid type: string \"1\", expected u64"),
            "il y a le texte « 1 », il faut un nombre entier"
        );
        assert_eq!(
            french("0 s is too short or too long: from 1 s to 31 days"),
            "0 s : trop court ou trop long (de 1 s à 31 jours)"
        );
        assert_eq!(french("unknown variant `x`, expected `a` or `b`"), "il y a `x`, il faut `a` ou `b`");
        assert_eq!(french("invalid type: map, expected odd things"), "il y a une table, il faut « odd things »");
        assert_eq!(english("invalid type: map, expected a {} b"), "there stands a table, expected is \"a {} b\"");
        assert_eq!(english("unknown variant `map`, expected `x`"), "there stands `map`, expected is `x`");
        assert_eq!(
            english("\"map\" is none of ok, unknown, warn, error"),
            "\"map\" is none of ok, unknown, warn, error"
        );
        assert_eq!(
            english("invalid type: string \"map\", expected u8"),
            "there stands the text \"map\", expected is a whole number"
        );
        assert_eq!(text("odd\nwords"), None);
        assert_eq!(filled("a {} b {}", "a 1 b 2 b 3"), Some(vec!["1", "2 b 3"]));
        assert_eq!((filled("a", "ab"), filled("{} b", "x"), filled("\"{}\"", "\"")), (None, None, None));
    }

    #[test]
    fn lines_of_the_log() {
        let line = "HTTP connections cannot be served: Too many open files (os error 24): raise the limits on open files and tasks";
        assert_eq!(
            Lang::French.message(&of_crates(line).unwrap()),
            "impossible de servir les connexions HTTP : trop de fichiers ouverts : relever les limites de fichiers ouverts et de tâches"
        );
        assert_eq!(of_crates("agent load: OK"), None);
    }
}
