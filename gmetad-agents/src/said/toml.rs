//! What toml, JSON and regular expressions say of what is written in files.

use gmetad_core::agent::Message;
use gmetad_core::message;

use super::{Said, quoted, text};

/// What is wrong with the syntax of TOML.
const SYNTAX: &[&str] = &[
    "`_` may only go between digits",
    "could not allocate for string",
    "cannot recurse further; max recursion depth met",
    "carriage return must be followed by newline",
    "duplicate key",
    "extra `=`",
    "extra assignment between key-value pairs",
    "extra comma in array",
    "extra comma in inline table",
    "integers with a radix cannot be signed",
    "invalid basic string",
    "invalid binary number",
    "invalid boolean",
    "invalid comment character",
    "invalid date",
    "invalid date-time",
    "invalid datetime",
    "invalid exponent",
    "invalid float",
    "invalid fraction",
    "invalid hexadecimal number",
    "invalid inline table element",
    "invalid integer number",
    "invalid key",
    "invalid key-value pair",
    "invalid literal string",
    "invalid mantissa",
    "invalid multi-line basic string",
    "invalid multi-line literal string",
    "invalid octal number",
    "invalid offset",
    "invalid string",
    "invalid table",
    "invalid time",
    "invalid unquoted key",
    "invalid value",
    "key with no value",
    "keys cannot be multi-line basic strings",
    "keys cannot be multi-line literal strings",
    "missing array opening",
    "missing assignment between key-value pairs",
    "missing comma between array elements",
    "missing comma between key-value pairs",
    "missing comment start",
    "missing escaped value",
    "missing inline table opening",
    "missing key for inline table element",
    "missing opening quote",
    "missing table open",
    "missing value",
    "missing value for key",
    "radix must be lowercase",
    "recursion limit",
    "redundant integer number prefix",
    "redundant numeric sign",
    "string values must be quoted",
    "too few unicode value digits",
    "unclosed array",
    "unclosed array table",
    "unclosed inline table",
    "unclosed table",
    "unexpected `=` in array",
    "unexpected content",
    "unexpected content between comment and newline",
    "unexpected key or value",
    "unexpected leading zero",
    "unexpected sign",
    "unquoted keys cannot be empty",
];

/// What could stand there, besides what is in `…` and the same in all languages.
const EXPECTED: &[&str] = &[
    "basic string",
    "characters",
    "digits",
    "key",
    "letters",
    "literal string",
    "multi-line basic string",
    "multi-line literal string",
    "newline",
    "non-double-quote visible characters",
    "non-single-quote characters",
    "non-single-quote visible characters",
    "numbers",
    "printable characters",
    "unicode hexadecimal value",
    "unquoted string",
    "value",
    "`T` between date and time",
    "`-` (YYYY-MM) or `:` (HH:MM)",
    "a four-digit year (YYYY)",
    "a two-digit day (DD)",
    "a two-digit hour (HH)",
    "a two-digit minute (MM)",
    "a two-digit month (MM)",
    "a two-digit second (SS)",
    "day",
    "hour",
    "hour between 00 and 23",
    "hours between 00 and 23",
    "minute",
    "minute between 00 and 59",
    "minutes between 00 and 59",
    "month",
    "month between 01 and 12",
    "nanosecond",
    "nanoseconds overflowed",
    "second",
    "second between 00 and 60",
    "year or hour",
];

/// What is wrong with JSON.
const JSON: &[&str] = &[
    "EOF while parsing a list",
    "EOF while parsing an object",
    "EOF while parsing a string",
    "EOF while parsing a value",
    "expected `:`",
    "expected `,` or `]`",
    "expected `,` or `}`",
    "expected `\"`",
    "expected ident",
    "expected value",
    "invalid escape",
    "invalid number",
    "number out of range",
    "invalid unicode code point",
    "control character (\\u0000-\\u001F) found while parsing a string",
    "key must be a string",
    "lone leading surrogate in hex escape",
    "trailing comma",
    "trailing characters",
    "unexpected end of hex escape",
    "recursion limit exceeded",
];

/// What is wrong with a regular expression.
const REGEX: &[&str] = &[
    "unclosed group",
    "unopened group",
    "unclosed character class",
    "unclosed counted repetition",
    "repetition operator missing expression",
    "unrecognized escape sequence",
    "incomplete escape sequence, reached end of pattern prematurely",
    "invalid character class range, the start must be <= the end",
    "invalid repetition count range, the start must be <= the end",
    "backreferences are not supported",
    "look-around, including look-ahead and look-behind, is not supported",
];

/// A template of one of these lists, without arguments.
fn known(list: &[&'static str], text: &str) -> Option<Message> {
    list.iter().find(|known| **known == text).map(|known| Message::new(known, Vec::new()))
}

impl Said for toml::de::Error {
    fn said(&self) -> Message {
        let said = self.message().trim_end();
        explained(said, &[])
            .or_else(|| syntax(said))
            .or_else(|| text(said))
            .unwrap_or_else(|| message!("incorrect TOML: {}", quoted(said)))
    }
}

/// The description of a mistake, and what was expected.
fn syntax(text: &str) -> Option<Message> {
    let (what, expected) = text.split_once(", expected ").unwrap_or((text, "nothing"));
    let what = match what.strip_prefix("cannot extend value of type ").and_then(|rest| rest.strip_suffix(DOTTED)) {
        Some(kind) => message!("{} cannot be extended by a key with dots", of_type(kind)),
        None => known(SYNTAX, what)?,
    };
    // Texts may stand in other quotes, too.
    if expected == "nothing" || expected == "literal string" {
        return Some(what);
    }
    // A description may have a comma of its own.
    let one = |word: &str| known(EXPECTED, word).or_else(|| word.starts_with('`').then(|| word.into()));
    let all = |text: &str| text.split(", ").map(one).collect::<Option<Vec<_>>>();
    let all = one(expected).filter(|_| !expected.contains(", ")).map(|one| vec![one]).or_else(|| all(expected))?;
    let all = all.into_iter().reduce(|all, one| message!("{}, {}", all, one))?;
    Some(message!("{}; expected is {}", what, all))
}

const DOTTED: &str = " with a dotted key";

/// A value of a type, as toml calls it.
fn of_type(name: &str) -> Message {
    match name {
        "string" => message!("a text"),
        "integer" => message!("a whole number"),
        "float" => message!("a number"),
        "boolean" => message!("true or false"),
        "datetime" => message!("a date"),
        "array" => message!("a list"),
        _ => message!("a table in braces"),
    }
}

/// What is wrong with the keys of a kind: the key it is about before it. `more` are further keys that would be right there.
pub(crate) fn of_keys(error: &toml::de::Error, more: &[&str]) -> Message {
    if let Some(unknown) = explained(error.message(), more) {
        return unknown;
    }
    // toml tells the key in this way alone.
    let shown = error.to_string();
    let key = shown.trim_end().rsplit_once("\nin `").and_then(|(_, key)| key.strip_suffix('`'));
    match key {
        Some(key) => message!("{}: {}", key, error.said()),
        None => error.said(),
    }
}

/// serde's complaint about an unknown key in other words; `more` are further keys that would be right in that place.
pub(crate) fn explained(text: &str, more: &[&str]) -> Option<Message> {
    let key = unknown_key(text)?;
    let quoted: Vec<&str> = text.split('`').skip(3).step_by(2).collect();
    Some(unknown(key, quoted.iter().chain(more).copied()))
}

/// The key of which serde (or we, in the same words) say that it is unknown.
pub(crate) fn unknown_key(text: &str) -> Option<&str> {
    let at = ["unknown field `", "unknown key `"].iter().find_map(|start| Some(text.find(start)? + start.len()))?;
    text[at..].split('`').next()
}

/// A key that nobody knows; `known` is what might have been meant.
pub(crate) fn unknown<'a>(key: &str, known: impl Iterator<Item = &'a str> + Clone) -> Message {
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
pub(crate) fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    if word.len() > WORD {
        return None;
    }
    let lower = word.to_ascii_lowercase();
    let known = known.filter(|known| known.len() <= WORD);
    let (far, best) =
        known.map(|known| (strsim::damerau_levenshtein(&lower, &known.to_ascii_lowercase()), known)).min()?;
    (far <= 2.max(best.len() / 4) && far * 2 <= best.len()).then_some(best)
}

impl Said for serde_json::Error {
    fn said(&self) -> Message {
        let shown = self.to_string();
        let (what, _) = shown.rsplit_once(" at line ").unwrap_or((&shown, ""));
        let what =
            known(JSON, what).or_else(|| explained(what, &[])).or_else(|| text(what)).unwrap_or_else(|| quoted(what));
        message!("{} (line {}, column {})", what, self.line(), self.column())
    }
}

impl Said for regex::Error {
    fn said(&self) -> Message {
        match self {
            Self::CompiledTooBig(limit) => message!("the pattern needs more than {} bytes", *limit),
            other => {
                let shown = other.to_string();
                let why = shown.rsplit_once("error: ").map_or(&*shown, |(_, why)| why).trim();
                known(REGEX, why).unwrap_or_else(|| quoted(why))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lang::{Lang, french_of};

    #[test]
    fn all_of_them_are_in_the_catalogue() {
        for text in [SYNTAX, EXPECTED, JSON, REGEX].concat() {
            assert!(french_of(text).is_some(), "{text}");
        }
    }

    #[test]
    fn mistakes_in_toml_are_known() {
        // Whatever a newer toml says instead must be put into the lists.
        for (toml, french) in [
            ("a = [1", "liste non fermée ; attendu : `]`"),
            ("a = ", "un texte se met entre guillemets"),
            ("a", "clé sans valeur ; attendu : `=`"),
            ("[a", "table non fermée ; attendu : `]`"),
            ("[[a]", ""),
            ("a = 1\na = 2", "clé en double"),
            ("a = \"x", "texte entre guillemets doubles incorrect ou non fermé ; attendu : `\"`"),
            ("a = 'x", ""),
            ("a = \"\"\"x", ""),
            ("a = x", "un texte se met entre guillemets"),
            ("a = { b = 1", ""),
            ("a = ['1' '2']", "virgule manquante entre deux éléments de la liste ; attendu : `,`"),
            ("a = [,]", ""),
            ("a = { , }", ""),
            ("= 1", ""),
            ("a = 1 b = 2", ""),
            ("a == 1", ""),
            ("a = 01", "zéro de trop en tête du nombre"),
            ("a = 1__0", ""),
            ("a = 0x", ""),
            ("a = 1e", ""),
            ("a = +-1", ""),
            ("a = 2026-13-01", "date incorrecte ; attendu : mois de 01 à 12"),
            ("a = 2026-01-01T25:00:00", ""),
            ("a = 12:60", ""),
            ("a = \"\\q\"", ""),
            ("a = \"\\u12\"", ""),
            ("a = \"\u{1}\"", ""),
            ("a.b = 1\na = 2", ""),
            ("a = 1\na.b = 2", "un nombre entier ne s'étend pas par une clé à points"),
            ("a = {}\n[a.b]", ""),
            ("a = [1]\n[[a]]", ""),
            ("a = tru", ""),
            ("a = truefalse", ""),
            ("é = 1", ""),
            ("# \u{1}", ""),
            ("a = \"x\" y", ""),
            ("[]", ""),
            ("[a] b", ""),
            ("a = 1979-05-27 07", ""),
        ] {
            let error = toml.parse::<toml::Table>().unwrap_err();
            let said = Lang::French.message(&error.said());
            println!("{toml:?}: {said}");
            assert!(said.starts_with(french) && !said.contains("incorrect TOML"), "{toml}: {error}: {said}");
            assert!(!said.contains("syntaxe TOML incorrecte"), "{toml}: {error}: {said}");
        }
        let deep = format!("a = {}", "[".repeat(200));
        let error = deep.parse::<toml::Table>().unwrap_err();
        assert!(!Lang::French.message(&error.said()).contains('«'), "{error}");
    }

    #[test]
    fn what_is_not_known_is_quoted() {
        let error: toml::de::Error = serde::de::Error::custom("odd\nwords");
        assert_eq!(error.said().to_string(), "incorrect TOML: \"odd words\"");
        assert_eq!(Lang::French.message(&error.said()), "syntaxe TOML incorrecte : « odd words »");
    }

    #[test]
    fn mistakes_in_json_and_patterns() {
        for (json, french) in [
            ("{\"a\":", "le JSON s'arrête au milieu d'une valeur (ligne 1, colonne 5)"),
            ("{a", "une clé est un texte entre guillemets (ligne 1, colonne 2)"),
            ("[1 2]", "attendu : `,` ou `]` (ligne 1, colonne 4)"),
            ("[1,]", "virgule de trop à la fin (ligne 1, colonne 4)"),
            ("x", "valeur attendue (ligne 1, colonne 1)"),
            ("1 2", "il y a quelque chose après la fin (ligne 1, colonne 3)"),
        ] {
            let error = serde_json::from_str::<serde_json::Value>(json).unwrap_err();
            assert_eq!(Lang::French.message(&error.said()), french, "{error}");
        }
        let error = serde_json::from_str::<Vec<u8>>("[\"x\"]").unwrap_err();
        assert_eq!(
            Lang::French.message(&error.said()),
            "il y a le texte « x », il faut un nombre entier (ligne 1, colonne 4)"
        );
        for (pattern, french) in [
            ("(", "parenthèse non fermée"),
            ("[", "crochet non fermé"),
            ("*", "rien à répéter avant l'opérateur"),
            ("\\", "l'échappement s'arrête à la fin du motif"),
            ("(?=x)", "les assertions avant et arrière (look-around) n'existent pas ici"),
            ("(?P<1>x)", "« invalid capture group character »"),
        ] {
            let error = regex::Regex::new(pattern).unwrap_err();
            assert_eq!(Lang::French.message(&error.said()), french, "{error}");
        }
    }

    #[test]
    fn keys_are_named() {
        #[derive(serde::Deserialize, Debug)]
        #[serde(deny_unknown_fields)]
        struct Keys {
            #[serde(rename = "count")]
            _count: u32,
        }
        let said = |text: &str| {
            let table: toml::Table = text.parse().unwrap();
            of_keys(&table.try_into::<Keys>().unwrap_err(), &["period"]).to_string()
        };
        assert_eq!(said("count = 1\ncuont = 2"), "unknown key `cuont`; is `count` meant?");
        assert_eq!(said("count = 1\nperoid = 2"), "unknown key `peroid`; is `period` meant?");
        assert_eq!(said("count = \"x\""), "count: there stands the text \"x\", expected is a whole number");
        assert_eq!(said(""), "the key `count` is missing");
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
