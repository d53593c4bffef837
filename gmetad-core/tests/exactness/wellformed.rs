//! Which documents the oracle can judge: well-formed ones, with elements where the document type has them.

use std::borrow::Cow;

use gmetad_core::xml::PROLOG;
use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

use crate::mutate::tag;

/// The document in UTF-8, tag by tag as the daemon decodes it, if the oracle can judge it.
pub fn judged(document: &[u8]) -> Option<String> {
    let mut text = String::with_capacity(document.len() + 16);
    let starts = memchr::memchr_iter(b'<', document);
    let mut from = 0;
    for end in starts.chain([document.len()]) {
        let piece = &document[from..end];
        match std::str::from_utf8(piece) {
            Ok(piece) => text.push_str(piece),
            Err(_) => {
                // The tag for itself, and what is behind it.
                let (tag, behind) = piece.split_at(tag(document, from).range.end.clamp(from, end) - from);
                for part in [tag, behind] {
                    match std::str::from_utf8(part) {
                        Ok(part) => text.push_str(part),
                        Err(_) => text.extend(part.iter().map(|b| char::from(*b))),
                    }
                }
            }
        }
        from = end;
    }
    let mut reader = Reader::from_str(&text);
    reader.config_mut().check_comments = true;
    let mut open: Vec<String> = Vec::new();
    let mut roots = 0;
    loop {
        match reader.read_event().ok()? {
            Event::Start(tag) => {
                is_good(&tag, &open)?;
                roots += usize::from(open.is_empty());
                open.push(tag.name().0.to_owned());
            }
            Event::Empty(tag) => {
                is_good(&tag, &open)?;
                if open.is_empty() {
                    return None;
                }
            }
            // An end tag has nothing but blanks behind its name; quick-xml knows more kinds of them.
            Event::End(_) => drop(open.pop()?),
            Event::Text(outside) if open.is_empty() && !outside.trim_ascii().is_empty() => return None,
            Event::CData(_) | Event::GeneralRef(_) if open.is_empty() => return None,
            Event::DocType(_) if !document.starts_with(PROLOG) => return None,
            Event::Eof => break,
            _ => {}
        }
    }
    let plain = text.chars().all(|c| matches!(c, '\t' | '\n' | '\r' | ' '..) && !matches!(c, '\u{fffe}' | '\u{ffff}'));
    (open.is_empty() && roots == 1 && plain).then_some(text)
}

fn is_good(tag: &BytesStart<'_>, open: &[String]) -> Option<()> {
    let is_name = |name: &str| {
        name.starts_with(|c: char| c.is_ascii_alphabetic())
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'))
    };
    let name = tag.name();
    if !is_name(name.0) {
        return None;
    }
    for attribute in tag.attributes() {
        let attribute = attribute.ok()?;
        let value: Cow<'_, str> = quick_xml::escape::unescape(&attribute.value).ok()?;
        let is_char = |c: char| matches!(c, '\t' | '\n' | '\r' | ' '..) && !matches!(c, '\u{fffe}' | '\u{ffff}');
        if !is_name(attribute.key.0) || attribute.value.contains('<') || !value.chars().all(is_char) {
            return None;
        }
    }
    // The nearest element that means anything.
    let known = |name: &&str| {
        matches!(
            *name,
            "GANGLIA_XML"
                | "GRID"
                | "CLUSTER"
                | "HOST"
                | "METRIC"
                | "METRICS"
                | "EXTRA_DATA"
                | "HOSTS"
                | "EXTRA_ELEMENT"
        )
    };
    let parent = open.iter().map(String::as_str).rev().find(known).unwrap_or("");
    let allowed: &[&str] = match name.0 {
        "GANGLIA_XML" => &[""],
        "GRID" => &["GANGLIA_XML", "GRID"],
        "CLUSTER" => &["GANGLIA_XML", "GRID"],
        "HOST" => &["GANGLIA_XML", "CLUSTER"],
        "HOSTS" | "METRICS" => &["GRID", "CLUSTER"],
        "METRIC" => &["HOST"],
        "EXTRA_DATA" => &["METRIC", "METRICS"],
        "EXTRA_ELEMENT" => &["EXTRA_DATA"],
        _ => return Some(()),
    };
    allowed.contains(&parent).then_some(())
}
