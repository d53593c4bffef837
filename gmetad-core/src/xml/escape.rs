//! The one place that escapes and decodes markup (invariant 6).

use std::borrow::Cow;
use std::fmt::Write as _;

/// Appends `text` as it must stand in an attribute: markup characters by name, everything that is not ASCII as a
/// numeric reference (right under each encoding), and U+FFFD for what XML cannot carry at all.
pub(crate) fn escape_into(out: &mut Vec<u8>, text: &str) {
    if text.bytes().all(is_plain) {
        out.extend_from_slice(text.as_bytes());
        return;
    }
    for c in text.chars() {
        match c {
            '&' => out.extend_from_slice(b"&amp;"),
            '<' => out.extend_from_slice(b"&lt;"),
            '>' => out.extend_from_slice(b"&gt;"),
            '"' => out.extend_from_slice(b"&quot;"),
            '\'' => out.extend_from_slice(b"&apos;"),
            ' '..='~' => out.push(c as u8),
            _ => {
                let code = if is_xml_char(c) { u32::from(c) } else { 0xfffd };
                out.extend_from_slice(b"&#");
                out.extend_from_slice(itoa::Buffer::new().format(code).as_bytes());
                out.push(b';');
            }
        }
    }
}

/// `text` as it must stand in an XML or HTML attribute or text: markup characters by name, everything that is not ASCII
/// as a numeric reference, and U+FFFD for what XML cannot carry at all.
pub fn escaped(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    escape_into(&mut out, text);
    String::from_utf8(out).unwrap_or_default()
}

fn is_plain(b: u8) -> bool {
    matches!(b, b' '..=b'~') && !matches!(b, b'&' | b'<' | b'>' | b'"' | b'\'')
}

/// XML 1.0, production 2.
fn is_xml_char(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | '\u{20}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..)
}

/// Decodes character references and the five named entities.
///
/// Lenient on purpose: gmond escapes string values only, so a bare `&` reaches us in units, titles and descriptions;
/// what is no reference stays as it is. [`is_damaged`] tells whether that happened. Other entities are never
/// expanded, so there is no entity bomb.
pub(crate) fn unescape(text: &str) -> Cow<'_, str> {
    let Some(mut amp) = memchr::memchr(b'&', text.as_bytes()) else { return Cow::Borrowed(text) };
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    loop {
        out.push_str(&rest[..amp]);
        rest = &rest[amp..];
        match reference(rest.as_bytes()) {
            Some((c, len)) => {
                out.push(c);
                rest = &rest[len..];
            }
            None => {
                out.push('&');
                rest = &rest[1..];
            }
        }
        match memchr::memchr(b'&', rest.as_bytes()) {
            Some(next) => amp = next,
            None => {
                out.push_str(rest);
                return Cow::Owned(out);
            }
        }
    }
}

/// Whether a raw attribute value holds what an XML parser would refuse: a bare `<`, or an `&` that starts no
/// reference.
pub(crate) fn is_damaged(raw: &[u8]) -> bool {
    memchr::memchr2_iter(b'<', b'&', raw).any(|at| raw[at] == b'<' || reference(&raw[at..]).is_none())
}

/// The reference at the start of `text`: what it stands for and its length.
fn reference(text: &[u8]) -> Option<(char, usize)> {
    let end = text.iter().take(12).position(|b| *b == b';')?;
    let name = std::str::from_utf8(&text[1..end]).ok()?;
    let c = match name {
        "amp" => '&',
        "lt" => '<',
        "gt" => '>',
        "quot" => '"',
        "apos" => '\'',
        _ => {
            let digits = name.strip_prefix('#')?;
            let code = match digits.strip_prefix('x') {
                Some(hex) => u32::from_str_radix(hex, 16),
                None => digits.parse(),
            };
            char::from_u32(code.ok()?).filter(|c| is_xml_char(*c))?
        }
    };
    Some((c, end + 1))
}

/// Widens ISO-8859-1 to UTF-8, unless the bytes are UTF-8 already (gmond declares the former and sends what it has).
pub(crate) fn to_utf8(bytes: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => {
            let mut text = String::with_capacity(bytes.len() + 16);
            for b in bytes {
                let _ = text.write_char(char::from(*b));
            }
            Cow::Owned(text)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn references_are_decoded_and_bare_ampersands_kept() {
        assert_eq!(
            unescape("a &amp; b &lt;c&gt; &quot;q&quot; &apos;s&apos; &#233; &#x20ac;"),
            "a & b <c> \"q\" 's' é €"
        );
        assert_eq!(unescape("u<&> & &nbsp; &#0; &#99999999999; &"), "u<&> & &nbsp; &#0; &#99999999999; &");
        assert!(is_damaged(b"u<&>") && is_damaged(b"a & b") && is_damaged(b"&nbsp;") && is_damaged(b"&"));
        assert!(!is_damaged(b"a &amp; &#233; > '"));
    }

    #[test]
    fn latin_1_is_widened_and_utf_8_kept() {
        assert_eq!(to_utf8(b"caf\xe9"), "café");
        assert_eq!(to_utf8("café".as_bytes()), "café");
    }

    proptest! {
        #[test]
        fn what_is_escaped_is_ascii_and_decodes_to_itself(text in "\\PC*") {
            let escaped = escaped(&text);
            prop_assert!(escaped.is_ascii());
            prop_assert!(!escaped.contains(['<', '>', '"', '\'']));
            prop_assert_eq!(unescape(&escaped), text);
        }

        #[test]
        fn any_bytes_can_be_read(bytes: Vec<u8>) {
            is_damaged(&bytes);
            unescape(&to_utf8(&bytes));
        }
    }
}
