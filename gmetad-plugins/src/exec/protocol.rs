//! What a plugin says: lines of JSON that nobody vouches for.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::wants::{Detail, Wants};
use crate::pattern::Patterns;

/// The protocol that is spoken here.
pub(super) const VERSION: u64 = 1;

/// A line from a plugin.
#[derive(Debug)]
pub(super) enum Answer<'a> {
    Hello(Wants),
    Ok { id: Option<u64>, changes: Option<&'a RawValue> },
    Error { id: Option<u64>, text: String },
    Log { level: log::Level, text: String },
}

#[derive(Deserialize)]
struct RawAnswer<'a> {
    #[serde(rename = "type")]
    kind: String,
    id: Option<u64>,
    text: Option<String>,
    level: Option<String>,
    #[serde(borrow)]
    changes: Option<&'a RawValue>,
    protocol: Option<u64>,
    role: Option<String>,
    detail: Option<String>,
    clusters: Option<Vec<String>>,
    hosts: Option<Vec<String>>,
    metrics: Option<Vec<String>>,
    #[serde(default)]
    grids: bool,
    #[serde(default)]
    root: bool,
}

/// Understands a line, or tells what is wrong with it.
pub(super) fn parse(line: &[u8]) -> Result<Answer<'_>, String> {
    let raw: RawAnswer<'_> = serde_json::from_slice(line).map_err(|error| error.to_string())?;
    Ok(match raw.kind.as_str() {
        "ok" => Answer::Ok { id: raw.id, changes: raw.changes },
        "error" => Answer::Error { id: raw.id, text: raw.text.unwrap_or_default() },
        "log" => {
            let level = raw.level.as_deref().unwrap_or("info");
            let level = match level {
                "error" => log::Level::Error,
                "warn" => log::Level::Warn,
                "info" => log::Level::Info,
                "debug" => log::Level::Debug,
                _ => return Err(format!("there is no level \"{}\"", excerpt(level.as_bytes()))),
            };
            Answer::Log { level, text: raw.text.unwrap_or_default() }
        }
        "hello" => Answer::Hello(hello(raw)?),
        other => return Err(format!("there is no answer of type \"{}\"", excerpt(other.as_bytes()))),
    })
}

fn hello(raw: RawAnswer<'_>) -> Result<Wants, String> {
    if raw.protocol != Some(VERSION) {
        let said = raw.protocol.map_or_else(|| "none".to_owned(), |version| version.to_string());
        return Err(format!("it speaks protocol {said}, we {VERSION}"));
    }
    let changer = match raw.role.as_deref().unwrap_or("sink") {
        "sink" => false,
        "changer" => true,
        other => return Err(format!("there is no role \"{}\"", excerpt(other.as_bytes()))),
    };
    let detail = match raw.detail.as_deref().unwrap_or("hosts") {
        "hosts" => Detail::Hosts,
        "changed" => Detail::Changed,
        "summary" => Detail::Summary,
        other => return Err(format!("there is no detail \"{}\"", excerpt(other.as_bytes()))),
    };
    let patterns = |list: Option<Vec<String>>| list.map_or_else(Patterns::all, |list| Patterns::new(&list));
    let (clusters, hosts, metrics) = (patterns(raw.clusters), patterns(raw.hosts), patterns(raw.metrics));
    Ok(Wants { changer, detail, clusters, hosts, metrics, grids: raw.grids, root: raw.root })
}

/// The beginning of a text from outside, fit for the log.
pub(super) fn excerpt(text: &[u8]) -> String {
    let cut = &text[..text.len().min(120)];
    let mut clean = printable(&String::from_utf8_lossy(cut));
    if cut.len() < text.len() {
        clean.push('…');
    }
    clean
}

/// A text without control characters.
pub(super) fn printable(text: &str) -> String {
    text.chars()
        .map(|c| {
            if c == '\t' {
                ' '
            } else if c.is_control() {
                '\u{fffd}'
            } else {
                c
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn hellos() {
        let Ok(Answer::Hello(wants)) = parse(br#"{"type":"hello","protocol":1}"#) else { panic!() };
        assert_eq!((wants.changer, wants.detail, wants.grids, wants.root), (false, Detail::Hosts, false, false));
        assert_eq!((wants.clusters, wants.metrics), (Patterns::all(), Patterns::all()));
        for (line, why) in [
            (r#"{"type":"hello"}"#, "protocol none"),
            (r#"{"type":"hello","protocol":1,"role":"tap"}"#, "no role \"tap\""),
            (r#"{"type":"hello","protocol":1,"detail":"all"}"#, "no detail"),
            (r#"{"type":"hello","protocol":1,"hosts":"*"}"#, "invalid type"),
            (r#"{"type":"log","level":"fatal"}"#, "no level"),
            ("{}", "missing field `type`"),
        ] {
            assert!(parse(line.as_bytes()).unwrap_err().contains(why), "{line}");
        }
    }

    #[test]
    fn excerpts_are_short_and_printable() {
        assert_eq!(excerpt(b"a\x1b[31m\tb\xff"), "a\u{fffd}[31m b\u{fffd}");
        assert!(excerpt("é".repeat(1000).as_bytes()).chars().count() <= 62);
    }

    proptest! {
        #[test]
        fn bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&bytes);
            let _ = excerpt(&bytes);
        }
    }
}
