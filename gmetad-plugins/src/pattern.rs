//! Patterns of names, in subscriptions and rules: `*` is any run of characters, `?` any one, everything else itself.

/// A name, or a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Pattern {
    /// Every name.
    Any,
    /// This one.
    Name(Box<str>),
    /// Those that match.
    Wild(Box<str>),
}

impl Pattern {
    pub(crate) fn new(text: &str) -> Self {
        if !text.is_empty() && text.bytes().all(|byte| byte == b'*') {
            Self::Any
        } else if text.contains(['*', '?']) {
            Self::Wild(text.into())
        } else {
            Self::Name(text.into())
        }
    }

    pub(crate) fn matches(&self, name: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Name(own) => **own == *name,
            Self::Wild(pattern) => matches(pattern, name),
        }
    }
}

/// Names that are wanted: those that match one of some patterns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Patterns(Vec<Pattern>);

impl Patterns {
    pub(crate) fn all() -> Self {
        Self(vec![Pattern::Any])
    }

    pub(crate) fn new(patterns: &[String]) -> Self {
        Self(patterns.iter().map(|pattern| Pattern::new(pattern)).collect())
    }

    pub(crate) fn matches(&self, name: &str) -> bool {
        self.0.iter().any(|pattern| pattern.matches(name))
    }
}

/// Goes back to the last `*` only: at most the product of both lengths.
fn matches(pattern: &str, name: &str) -> bool {
    let (mut pattern, mut name) = (pattern, name);
    let mut star: Option<(&str, &str)> = None; // what is behind the last `*`, and where the name goes on behind what it ate
    loop {
        let mut rest = pattern.chars();
        let mut left = name.chars();
        match (rest.next(), left.next()) {
            (Some('*'), _) => {
                pattern = rest.as_str();
                star = Some((pattern, name));
                continue;
            }
            (Some(wanted), Some(there)) if wanted == '?' || wanted == there => {
                (pattern, name) = (rest.as_str(), left.as_str());
                continue;
            }
            (None, None) => return true,
            _ => {}
        }
        let Some((behind, from)) = star else { return false };
        let mut eaten = from.chars();
        if eaten.next().is_none() {
            return false;
        }
        (pattern, name) = (behind, eaten.as_str());
        star = Some((behind, name));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The definition itself, exponential.
    fn plain(pattern: &[char], name: &[char]) -> bool {
        match (pattern.split_first(), name.split_first()) {
            (None, None) => true,
            (Some(('*', rest)), _) if plain(rest, name) => true,
            (Some(('*', _)), Some((_, left))) => plain(pattern, left),
            (Some((wanted, rest)), Some((there, left))) => (*wanted == '?' || wanted == there) && plain(rest, left),
            _ => false,
        }
    }

    #[test]
    fn some() {
        for (pattern, name, expected) in [
            ("", "", true),
            ("", "a", false),
            ("**", "", true),
            ("?", "é", true),
            ("node*.lab", "node1.lab", true),
            ("node*.lab", "node1.lab2", false),
            ("*a*b", "xaab", true),
            ("load_?n?", "load_one", true),
            (".*", "x", false),
        ] {
            assert_eq!(Patterns::new(&[pattern.to_owned()]).matches(name), expected, "{pattern} {name}");
        }
        assert!(!Patterns::new(&[]).matches("a"), "none of none");
    }

    #[test]
    fn what_would_take_for_ever_does_not() {
        let (pattern, name) = ("*a".repeat(200) + "b", "a".repeat(2_000));
        assert!(!matches(&pattern, &name));
    }

    proptest! {
        #[test]
        fn as_defined(pattern in "[ab*?é]{0,8}", name in "[abé*]{0,8}") {
            let chars = |text: &str| text.chars().collect::<Vec<_>>();
            prop_assert_eq!(matches(&pattern, &name), plain(&chars(&pattern), &chars(&name)));
        }
    }
}
