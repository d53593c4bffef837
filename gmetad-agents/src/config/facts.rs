//! Facts of the server: variables that configurations refer to, as `${adresse_ip_eth0}` or in `when`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use gmetad_core::agent::Message;
use gmetad_core::message;

use super::files;
use crate::said::Said;
use crate::said::toml::nearest;

/// Most facts that are kept.
const FACTS: usize = 20_000;
/// Longest text with its facts filled in, in bytes: facts may be long, and named often.
const FILLED: usize = 64 << 10;
/// Most lines that are complained about.
const COMPLAINTS: usize = 20;

/// The variables of a facts file.
///
/// Two shapes are read: lines `name=value`, quoted as in a shell (`export`, comments and blank lines may be there; nothing is
/// expanded), and a JSON object of texts, numbers, truth values, lists (joined by blanks), or objects with `val`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Facts {
    values: BTreeMap<String, String>,
    file: Option<PathBuf>,
    /// Something is wrong with the file: what is not among the values may be in it.
    is_broken: bool,
}

impl Facts {
    /// Those of a file, and what is wrong with it.
    pub fn read(path: &Path) -> (Self, Vec<Message>) {
        let at = |what: Message| message!("{}: {}", path.display().to_string(), what);
        let bytes = match files::bytes(path) {
            Ok(bytes) => bytes,
            Err(what) => {
                return (Self { file: Some(path.into()), is_broken: true, ..Self::default() }, vec![at(what)]);
            }
        };
        // Old servers have ISO-8859-1; a value that is not even that does not exist.
        let text = String::from_utf8(bytes)
            .unwrap_or_else(|error| error.as_bytes().iter().map(|byte| char::from(*byte)).collect());
        let (mut facts, complaints) = Self::parse(&text);
        facts.file = Some(path.into());
        (facts, complaints.into_iter().map(at).collect())
    }

    /// Those of a text, and what is wrong with it.
    pub fn parse(text: &str) -> (Self, Vec<Message>) {
        let mut complaints = Vec::new();
        let mut values = if text.trim_start().starts_with('{') {
            of_json(text).unwrap_or_else(|error| {
                complaints.push(error);
                BTreeMap::new()
            })
        } else {
            of_lines(text, &mut complaints)
        };
        if values.len() > FACTS {
            complaints.push(message!("has more than {} facts; the others are left out", FACTS));
            while values.len() > FACTS {
                values.pop_last();
            }
        }
        complaints.truncate(COMPLAINTS);
        (Self { values, file: None, is_broken: !complaints.is_empty() }, complaints)
    }

    /// A fact.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    /// Why it cannot be told whether there is such a fact; `None`: it can.
    pub(super) fn unsure(&self, name: &str) -> Option<Message> {
        let file = self.file.as_deref().unwrap_or(Path::new("-")).display().to_string();
        (self.is_broken && self.get(name).is_none())
            .then(|| message!("the fact {} is not known as long as {} is broken", name, file))
    }

    /// Number of facts.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The module of the server, as `amon-1.5`: the fact `module`, else `eole_module` and, if there is one, `eole_version`
    /// (also in capitals, as in `/etc/eole/release`).
    pub fn module(&self) -> Option<String> {
        let either = |name: &str| self.get(name).or_else(|| self.get(&name.to_ascii_uppercase()));
        let full = |text: &&str| !text.is_empty();
        if let Some(module) = either("module").filter(full) {
            return Some(module.to_owned());
        }
        let module = either("eole_module").filter(full)?;
        Some(match either("eole_version").filter(full) {
            Some(version) => format!("{module}-{version}"),
            None => module.to_owned(),
        })
    }

    /// That there is no such fact, and what to do.
    fn missing(&self, name: &str) -> Message {
        if let Some(unsure) = self.unsure(name) {
            return unsure;
        }
        let Some(file) = &self.file else {
            return message!(
                "there is no fact `{}`, since there is no facts file; name one with --facts, or write $${ for a plain ${",
                name
            );
        };
        let file = file.display().to_string();
        match nearest(name, self.values.keys().map(String::as_str)) {
            Some(nearest) => message!("{} has no fact `{}`; is `{}` meant?", file, name, nearest),
            None => message!("{} has no fact `{}`; write $${ for a plain ${", file, name),
        }
    }

    /// A text with each `${name}` replaced; `$${` becomes `${`.
    ///
    /// # Errors
    /// A fact that is not there, a name that does not end.
    pub fn fill(&self, text: &str) -> Result<String, Message> {
        let mut filled = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find("${") {
            let (before, after) = (&rest[..at], &rest[at + 2..]);
            if let Some(before) = before.strip_suffix('$') {
                filled += before;
                filled += "${";
                rest = after;
                continue;
            }
            filled += before;
            let Some((name, after)) = after.split_once('}') else {
                return Err(message!("`${` without `}`; write $${ for a plain ${"));
            };
            filled += self.get(name).ok_or_else(|| self.missing(name))?;
            if filled.len() > FILLED {
                return Err(message!("with its facts this is longer than {} bytes", FILLED));
            }
            rest = after;
        }
        Ok(filled + rest)
    }

    /// The fact that a text consists of, if it is nothing but `${name}`.
    pub(super) fn whole<'t>(&self, text: &'t str) -> Option<&str> {
        let name: &'t str = text.strip_prefix("${")?.strip_suffix('}')?;
        self.get(name)
    }
}

fn of_json(text: &str) -> Result<BTreeMap<String, String>, Message> {
    let all: BTreeMap<String, serde_json::Value> =
        serde_json::from_str(text).map_err(|error| message!("is no JSON object of facts: {}", error.said()))?;
    Ok(all.into_iter().filter_map(|(name, value)| Some((name, json_text(value)?))).collect())
}

/// A JSON value as a text; `None`: it has none.
fn json_text(value: serde_json::Value) -> Option<String> {
    use serde_json::Value;
    match value {
        Value::Null => None,
        Value::Bool(it) => Some(it.to_string()),
        Value::Number(it) => Some(it.to_string()),
        Value::String(it) => Some(it),
        Value::Array(all) => Some(all.into_iter().filter_map(json_text).collect::<Vec<_>>().join(" ")),
        Value::Object(mut it) => json_text(it.remove("val")?),
    }
}

fn of_lines(text: &str, complaints: &mut Vec<Message>) -> BTreeMap<String, String> {
    let mut values = BTreeMap::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let line = line.strip_prefix("export ").unwrap_or(line).trim_start();
        let pair = line.split_once('=').filter(|(name, _)| is_name(name));
        match pair.and_then(|(name, value)| Some((name, unquoted(value)?))) {
            Some((name, value)) => {
                values.insert(name.to_owned(), value);
            }
            None if complaints.len() < COMPLAINTS => {
                complaints
                    .push(message!("line {} is not name=value, or a quote does not end; it is left out", number + 1));
            }
            None => {}
        }
    }
    values
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
}

/// A word of a shell without its quotes. `None`: a quote does not end.
fn unquoted(value: &str) -> Option<String> {
    let mut text = String::new();
    let mut chars = value.chars();
    let mut quote = None;
    // Blanks behind it are not part of the word, and begin a comment.
    let mut end = 0;
    let mut after_blank = true;
    while let Some(char) = chars.next() {
        let is_blank = quote.is_none() && char.is_whitespace();
        match (quote, char) {
            (None, '\'' | '"') => quote = Some(char),
            (Some(open), _) if open == char => quote = None,
            (None, '#') if after_blank => break,
            (None, '\\') => text.extend(chars.next()),
            (Some('"'), '\\') => match chars.next()? {
                escaped @ ('"' | '\\' | '$' | '`') => text.push(escaped),
                other => text.extend(['\\', other]),
            },
            _ => text.push(char),
        }
        after_blank = is_blank;
        if !is_blank {
            end = text.len();
        }
    }
    text.truncate(end);
    quote.is_none().then_some(text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lines_as_shells_write_them() {
        let text = "# facts\nadresse_ip_eth0=10.1.2.3\nexport nom_machine='amon du lycée'\nlibelle=\"a \\\"b\\\" \\n\" # why\n\
                    bare = 1\nempty=\nnombre=3 # three\nopen='x\nEOLE_MODULE=amon\nEOLE_VERSION=2.8\n";
        let (facts, complaints) = Facts::parse(text);
        assert_eq!(facts.get("adresse_ip_eth0"), Some("10.1.2.3"));
        assert_eq!(facts.get("nom_machine"), Some("amon du lycée"));
        assert_eq!(facts.get("libelle"), Some("a \"b\" \\n"));
        assert_eq!((facts.get("empty"), facts.get("nombre"), facts.get("open")), (Some(""), Some("3"), None));
        assert_eq!(facts.module().as_deref(), Some("amon-2.8"));
        let lines: Vec<_> = complaints.iter().map(ToString::to_string).collect();
        assert!(lines[0].starts_with("line 5 ") && lines[1].starts_with("line 8 ") && lines.len() == 2, "{lines:?}");
    }

    #[test]
    fn blanks_and_comments_behind_a_word_are_no_part_of_it() {
        for (value, word) in [
            ("\"oui\" # yes", "oui"),
            ("oui \t# yes", "oui"),
            ("' x '  ", " x "),
            ("'a '#b", "a #b"),
            ("x\\ ", "x "),
            ("a\"b c\"d # '", "ab cd"),
            ("a#b", "a#b"),
            ("# none", ""),
            ("a  b", "a  b"),
        ] {
            assert_eq!(unquoted(value).as_deref(), Some(word), "{value}");
        }
    }

    #[test]
    fn json_also_as_eole_writes_it() {
        let text = r#"{"a": "x", "n": 3, "b": true, "none": null, "many": ["1", "2"],
            "activer_squid": {"owner": "gen_config", "val": "oui"}, "module": "scribe-2.9"}"#;
        let (facts, complaints) = Facts::parse(text);
        assert!(complaints.is_empty(), "{complaints:?}");
        let all = ["a", "n", "b", "many", "activer_squid"].map(|name| facts.get(name).unwrap_or("-"));
        assert_eq!(all, ["x", "3", "true", "1 2", "oui"]);
        assert_eq!((facts.get("none"), facts.module().as_deref()), (None, Some("scribe-2.9")));
        assert!(Facts::parse("{\"a\":").1[0].to_string().starts_with("is no JSON object of facts: "));
    }

    #[test]
    fn facts_are_filled_in() {
        let (mut facts, _) = Facts::parse("ip=10.0.0.1\nport=3128\n");
        assert_eq!(facts.fill("${ip}:${port} $${ip} $ip $").unwrap(), "10.0.0.1:3128 ${ip} $ip $");
        assert!(facts.fill("${prot}").unwrap_err().to_string().contains("--facts"));
        facts.file = Some("/etc/facts".into());
        assert_eq!(facts.fill("${prot}").unwrap_err().to_string(), "/etc/facts has no fact `prot`; is `port` meant?");
        assert!(facts.fill("${ip").is_err());
        facts.values.insert("long".into(), "x".repeat(1000));
        assert!(facts.fill(&"${long}".repeat(100)).unwrap_err().to_string().contains("longer than 65536"));
        assert_eq!((facts.whole("${ip}"), facts.whole("x${ip}")), (Some("10.0.0.1"), None));
    }

    proptest! {
        #[test]
        fn no_text_panics_and_quoting_comes_back(text in any::<String>(), value in "[^'\\r\\n]{0,30}") {
            let (facts, complaints) = Facts::parse(&text);
            prop_assert!(facts.len() <= FACTS && complaints.len() <= COMPLAINTS);
            let _ = facts.fill(&text);
            let (facts, _) = Facts::parse(&format!("x='{value}'"));
            prop_assert_eq!(facts.get("x"), Some(value.as_str()));
        }
    }
}
