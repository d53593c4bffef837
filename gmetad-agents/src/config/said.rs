//! What serde and the readers of [`written`](super::written) say, which can only fail with texts, as templates, so that it is
//! translated.

use std::ops::Range;

use gmetad_core::agent::Message;
use gmetad_core::message;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A text, and the template that says the same. Longer ones first.
#[rustfmt::skip]
const TEXTS: &[(&str, &str)] = &[
    ("\"{}\" is no time; write seconds, or 115s, 5m, 24h, 7d, 5w, 1y", "\"{}\" is no time; write seconds, or 115s, 5m, 24h, 7d, 5w, 1y"),
    ("{} s is too short or too long: from 1 s to 31 days", "{} s is too short or too long: from 1 s to 31 days"),
    ("{} s is too short or too long: from 1 s to 10 years", "{} s is too short or too long: from 1 s to 10 years"),
    ("\"{}\" is not a range: {}; write 10 (alert outside 0..10), 10: (below), ~:10 (above), 10:20 (outside) or @10:20 (inside)",
     "\"{}\" is not a range: {}; write 10 (alert outside 0..10), 10: (below), ~:10 (above), 10:20 (outside) or @10:20 (inside)"),
    ("a limit is not a number", "a limit is not a number"),
    ("the lower limit is above the upper one", "the lower limit is above the upper one"),
    ("\"{}\" is none of ok, unknown, warn, error", "\"{}\" is none of ok, unknown, warn, error"),
    ("{} is not between {} and {}", "{} is not between {} and {}"),
    ("more than {} of them", "more than {} of them"),
    ("{} is no time", "{} is no time"),
    ("invalid type: {}, expected {}", "there stands {}, expected is {}"),
    ("invalid value: {}, expected {}", "there stands {}, expected is {}"),
    ("unknown variant `{}`, expected one of {}", "there stands `{}`, expected is one of {}"),
    ("unknown variant `{}`, expected {}", "there stands `{}`, expected is {}"),
    ("missing field `{}`", "the key `{}` is missing"),
    ("a time, such as 115, \"115s\" or \"5m\"", "a time, such as 115, \"115s\" or \"5m\""),
    ("a range, such as 10, \"10:\", \"~:10\", \"10:20\" or \"@10:20\"", "a range, such as 10, \"10:\", \"~:10\", \"10:20\" or \"@10:20\""),
    ("the name of a field, or a table with name, label, unit", "the name of a field, or a table with name, label, unit"),
    ("a text or a list of texts", "a text or a list of texts"),
    ("a number, or \"U\"", "a number, or \"U\""),
    ("a list", "a list"),
    ("a sequence", "a list"),
    ("sequence", "a list"),
    ("a map", "a table"),
    ("map", "a table"),
    ("struct {}", "a table"),
    ("a string", "a text"),
    ("string \"{}\"", "the text \"{}\""),
    ("integer `{}`", "the number {}"),
    ("floating point `{}`", "the number {}"),
    ("boolean `{}`", "`{}`"),
    ("a boolean", "true or false"),
    ("u8", "a whole number"),
    ("u16", "a whole number"),
    ("u32", "a whole number"),
    ("u64", "a whole number"),
    ("i64", "a whole number"),
    ("usize", "a whole number"),
    ("f64", "a number"),
];

/// As a template, if it is one of those.
pub(super) fn message(text: &str) -> Message {
    let text = text.trim_end();
    let known = TEXTS.iter().find_map(|(text_of, template)| Some((filled(text_of, text)?, *template)));
    // What somebody wrote must stay as it is.
    let is_ours = |at: usize| text.starts_with("invalid ") || (at == 1 && text.contains("is not a range: "));
    let arg = |(at, arg): (usize, &str)| if is_ours(at) { message(arg) } else { arg.into() };
    match known {
        Some((args, template)) => Message::new(template, args.into_iter().enumerate().map(arg).collect()),
        None => text.replace('\n', ", ").into(),
    }
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

/// The only one of these keys whose value serde complains about, where it does not name it.
pub(super) fn meant<'t>(text: &str, own: &'t DeTable<'_>) -> Option<&'t str> {
    let what = ["invalid type: ", "invalid value: "]
        .iter()
        .find_map(|start| text.strip_prefix(start)?.split(", expected ").next());
    let what = what
        .map(str::to_owned)
        .or_else(|| Some(format!("string {:?}", text.strip_prefix("unknown variant `")?.split('`').next()?)))?;
    let is_it = |value: &Spanned<DeValue<'_>>| match value.get_ref() {
        DeValue::String(text) => what == format!("string {text:?}"),
        DeValue::Integer(number) => what == format!("integer `{}`", number.as_str()),
        DeValue::Float(number) => what == format!("floating point `{}`", number.as_str()),
        DeValue::Boolean(is) => what == format!("boolean `{is}`"),
        DeValue::Array(_) => what == "sequence",
        DeValue::Table(_) => what == "map",
        DeValue::Datetime(_) => false,
    };
    let mut found = own.iter().filter(|(_, value)| is_it(value)).map(|(key, _)| key.get_ref().as_ref());
    found.next().filter(|_| found.next().is_none())
}

/// Of a kind: `key: what`, or what serde says, with the key after or without it.
pub(super) fn of_kind(text: &str, own: &DeTable<'_>) -> Message {
    // toml's; a kind may have put a remedy behind it.
    if let Some((what, (key, remedy))) =
        text.rsplit_once(" in `").and_then(|(what, key)| Some((what, key.split_once('`')?)))
    {
        let what = message(what);
        return if remedy.is_empty() { message!("{}: {}", key, what) } else { message!("{}: {}{}", key, what, remedy) };
    }
    if let Some((key, what)) = text.split_once(": ").filter(|(key, _)| own.get(*key).is_some()) {
        return message!("{}: {}", key, message(what));
    }
    match meant(text, own) {
        Some(key) => message!("{}: {}", key, message(text)),
        None => message(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lang::{Lang, french_of};

    #[test]
    fn all_templates_are_in_the_catalogue() {
        for (text, template) in TEXTS {
            assert!(text.matches("{}").count() >= template.matches("{}").count());
            assert!(french_of(template).is_some(), "{template}");
        }
    }

    #[test]
    fn what_serde_says() {
        let french = |text: &str| Lang::French.message(&message(text));
        assert_eq!(
            french("invalid type: string \"1\", expected u64"),
            "il y a le texte « 1 », il faut un nombre entier"
        );
        assert_eq!(
            french("0 s is too short or too long: from 1 s to 31 days"),
            "0 s : trop court ou trop long (de 1 s à 31 jours)"
        );
        assert_eq!(
            message("invalid type: map, expected a {} b").to_string(),
            "there stands a table, expected is a {} b"
        );
        assert_eq!(message("unknown variant `map`, expected `x`").to_string(), "there stands `map`, expected is `x`");
        assert_eq!(
            message("\"map\" is none of ok, unknown, warn, error").to_string(),
            "\"map\" is none of ok, unknown, warn, error"
        );
        assert_eq!(
            message("invalid type: string \"map\", expected u8").to_string(),
            "there stands the text \"map\", expected is a whole number"
        );
        assert_eq!(message("odd\nwords").to_string(), "odd, words");
        assert_eq!(filled("a {} b {}", "a 1 b 2 b 3"), Some(vec!["1", "2 b 3"]));
        assert_eq!((filled("a", "ab"), filled("{} b", "x"), filled("\"{}\"", "\"")), (None, None, None));
    }

    #[test]
    fn the_key_is_named() {
        let own = DeTable::parse("cpu = \"1\"\nfiles = 3\nformat = \"xml\"\nuser = \"1x\"\n").unwrap().into_inner();
        let of = |text: &str| of_kind(text, &own).to_string();
        assert_eq!(
            of("invalid type: string \"1\", expected u64"),
            "cpu: there stands the text \"1\", expected is a whole number"
        );
        assert_eq!(
            of("invalid type: integer `3`, expected a map"),
            "files: there stands the number 3, expected is a table"
        );
        assert_eq!(
            of("unknown variant `xml`, expected one of `json`, `influx`"),
            "format: there stands `xml`, expected is one of `json`, `influx`"
        );
        assert_eq!(
            of("invalid type: string \"x\", expected u16 in `port`"),
            "port: there stands the text \"x\", expected is a whole number"
        );
        assert!(of("user: \"1x\" is no time").starts_with("user: "));
    }
}
