//! `site.cfg`: which agents the page shows.

use gmetad_core::agent::Message;
use gmetad_core::message;

use super::agent::is_name;

/// Most names.
const NAMES: usize = 10_000;
/// Most lines that are complained about.
const COMPLAINTS: usize = 20;

/// What a `site.cfg` says.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Site {
    /// Names in order, each with the heading above it.
    pub(super) shown: Vec<(String, Option<String>)>,
    /// What was not understood.
    pub(super) complaints: Vec<Message>,
}

impl Site {
    /// Reads one: a name a line; several, with commas, quotes, brackets or blanks between them, are taken, too. `[Heading]` is the
    /// title of the section of those below it, `#` begins a comment.
    pub(super) fn parse(bytes: &[u8]) -> Self {
        let text = match std::str::from_utf8(bytes) {
            Ok(text) => text.to_owned(),
            // What old editors wrote.
            Err(_) => bytes.iter().map(|byte| char::from(*byte)).collect(),
        };
        let mut site = Self::default();
        let mut heading = None;
        for (number, line) in text.lines().enumerate() {
            let line = line.split('#').next().unwrap_or_default().trim();
            if let Some(title) = title(line) {
                heading = Some(title.to_owned()).filter(|title| !title.is_empty());
                continue;
            }
            let separators = |char: char| char.is_whitespace() || ",;:=\"'()[]{}".contains(char);
            for word in line.split(separators).filter(|word| !word.is_empty() && *word != "-") {
                if !is_name(word) {
                    if site.complaints.len() < COMPLAINTS {
                        site.complaints.push(message!(
                            "line {}: `{}` cannot be the name of an agent",
                            number + 1,
                            word
                        ));
                    }
                } else if site.shown.len() < NAMES && !site.shown.iter().any(|(known, _)| known == word) {
                    site.shown.push((word.to_owned(), heading.clone()));
                }
            }
        }
        site
    }
}

/// The heading a line is, if it is one: what stands in brackets, and is no list in quotes.
fn title(line: &str) -> Option<&str> {
    let inner = line.strip_prefix('[')?.strip_suffix(']')?;
    (!inner.contains(['"', ',', '[', ']', '\''])).then(|| inner.trim())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(text: &str) -> Vec<String> {
        let shown = Site::parse(text.as_bytes()).shown.into_iter();
        shown.map(|(name, heading)| heading.map_or(name.clone(), |heading| format!("{heading}/{name}"))).collect()
    }

    #[test]
    fn many_spellings() {
        assert_eq!(shown("load\n\n# not this\ncpu # nor that\n  load\n"), ["load", "cpu"]);
        assert_eq!(shown("load, cpu;disk\n'squid', \"dns\"\n- ntp\n"), ["load", "cpu", "disk", "squid", "dns", "ntp"]);
        assert_eq!(
            shown("first\n[Réseau]\nping\n[ Services web ]\nsquid\n[]\nlast"),
            ["first", "Réseau/ping", "Services web/squid", "last"]
        );
        assert_eq!(shown("['load', 'cpu']\n[load, dns]\n"), ["load", "cpu", "dns"]);
        let latin = Site::parse(b"[R\xe9seau]\nping\n");
        assert_eq!(latin.shown[0].1.as_deref(), Some("Réseau"));
        let site = Site::parse("a\nlycée\n../x\n".as_bytes());
        assert_eq!(site.complaints[0].to_string(), "line 2: `lycée` cannot be the name of an agent");
        assert_eq!((site.shown.len(), site.complaints.len()), (1, 2));
    }

    proptest! {
        #[test]
        fn nothing_panics_and_names_are_names(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let site = Site::parse(&bytes);
            prop_assert!(site.shown.iter().all(|(name, _)| is_name(name)));
        }
    }
}
