//! Foreign texts: made fit to be shown, to be names of fields and of instances, and bounded.

/// Fields of one measurement, those of its instances counted apart. Each number gets an RRD file: a program gone wild must
/// not fill the disk.
pub const FIELDS: usize = 500;
/// Instances of one measurement.
pub const INSTANCES: usize = 500;
/// Values of one measurement, those of all instances together.
pub const VALUES: usize = 2000;
/// Bytes of a message: a line of a page.
pub(super) const MESSAGE: usize = 1 << 10;
/// Bytes of a text of several lines.
pub(super) const TEXT: usize = 16 << 10;
/// Characters of a name: as many as an agent's.
const NAME: usize = 64;

/// What a program wrote, as text: broken UTF-8 replaced.
pub(super) fn lossy(bytes: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

/// A text that can be shown: at most `most` bytes, control characters (line feeds apart) and those that turn the direction
/// of writing replaced by blanks, nothing blank around it.
pub(super) fn shown(text: &str, most: usize) -> String {
    let out: String = cut(text.trim(), most).chars().map(|c| if is_harmless(c) { c } else { ' ' }).collect();
    let mut out = out.trim().to_owned();
    if text.trim().len() > most {
        out.push('…');
    }
    out
}

/// As [`shown`], in one line.
pub(super) fn line(text: &str) -> String {
    shown(text, MESSAGE).replace(['\n', '\t'], " ")
}

fn is_harmless(c: char) -> bool {
    let turns = matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    matches!(c, '\n' | '\t') || !(c.is_control() || turns)
}

/// The longest beginning of at most `most` bytes that does not cut a character.
pub(super) fn cut(text: &str, most: usize) -> &str {
    let mut end = most.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// The name that a foreign text becomes: 1 to 64 letters, digits, `_`, `-`, `.`, not beginning with a dot or a dash. A text that
/// is one already stays. In others, what a name may not have becomes `_`, or nothing at the beginning and at the end, `/` alone
/// becomes `root`, and a hash of the text follows: so each text has a name of its own, whatever else is in an answer.
pub fn name(text: &str) -> String {
    if is_name(text) {
        return text.to_owned();
    }
    let mut out = String::with_capacity(NAME);
    for c in if text.trim() == "/" { "root" } else { text }.chars() {
        match c {
            'a'..='z' | 'A'..='Z' | '0'..='9' | '_' | '-' | '.' => out.push(c),
            _ if !out.ends_with('_') => out.push('_'),
            _ => {}
        }
        if out.len() > 2 * NAME {
            break;
        }
    }
    let kept = out.trim_start_matches(['.', '-', '_']).trim_end_matches('_');
    match kept.len() {
        0 => format!("x{:08x}", hash(text)),
        1..=NAME => format!("{}-{:08x}", cut(kept, NAME - 9), hash(text)),
        _ => format!("{}_{:08x}", cut(kept, NAME - 9), hash(text)),
    }
}

fn is_name(text: &str) -> bool {
    let is_letter = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
    (1..=NAME).contains(&text.len()) && text.bytes().all(is_letter) && !text.starts_with(['.', '-'])
}

/// FNV-1a, folded: the same in every run.
fn hash(text: &str) -> u32 {
    let hash = text
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    (hash ^ (hash >> 32)) as u32
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_of_usual_texts() {
        for (text, expected) in [
            ("load1", "load1"),
            ("root", "root"),
            ("/", "root-"),
            ("/boot/efi", "boot_efi-"),
            (" C: used % ", "C_used-"),
            ("_dev_vda", "_dev_vda"),
            ("-a.b-", "a.b--"),
        ] {
            assert!(name(text).starts_with(expected), "{}", name(text));
        }
        for text in ["é", "..", "", "___ "] {
            let name = name(text);
            assert!(name.starts_with('x') && name.len() == 9, "{name}");
        }
        let all = ["/", "/root", "root", "a b", "a/b", "a_b", " / "].map(name);
        assert_eq!(all.iter().collect::<std::collections::HashSet<_>>().len(), all.len(), "{all:?}");
    }

    #[test]
    fn texts_are_bounded_and_printable() {
        assert_eq!(shown("  a\x1b[31mb\n c\u{202e} ", 100), "a [31mb\n c");
        assert_eq!(shown("ééé", 5), "éé…");
        assert_eq!(line("a\nb"), "a b");
    }

    proptest! {
        #[test]
        fn any_text_is_a_name(text in any::<String>(), long in "[a-z/é]{0,200}") {
            for text in [text, long] {
                let name = name(&text);
                prop_assert!((1..=NAME).contains(&name.len()), "{name}");
                prop_assert!(name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b)), "{name}");
                prop_assert!(!name.starts_with(['.', '-']), "{name}");
                prop_assert_eq!(&super::name(&name), &name);
            }
        }
    }
}
