//! A condition's text, cut into tokens.
//!
//! Lexer, parser and evaluation are by hand: the language is thirty words, its errors name a column, and nothing in it can
//! run longer than its text is long. Parser libraries bring more than this is.

use std::fmt;

/// Characters of a condition, at most.
pub(crate) const LONGEST: usize = 4096;

/// What is wrong with a condition, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mistake {
    /// Character of the condition, from 0.
    pub(crate) at: usize,
    /// What, and what would be right.
    pub(crate) text: String,
}

impl Mistake {
    pub(crate) fn new(at: usize, text: impl Into<String>) -> Self {
        Self { at, text: text.into() }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Token {
    Number(f64),
    /// `'…'` or `"…"`, without the quotes.
    Text(String),
    /// `$…`, without the dollar.
    Variable(String),
    Word(String),
    Sign(&'static str),
    /// A character that means nothing; the parser says so, if nothing before it is wrong.
    Other(char),
    End,
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Text(text) => write!(f, "'{text}'"),
            Self::Variable(name) => write!(f, "${name}"),
            Self::Word(word) => f.write_str(word),
            Self::Sign(sign) => f.write_str(sign),
            Self::Other(c) => write!(f, "{c:?}"),
            Self::End => f.write_str("the end of the condition"),
        }
    }
}

/// Longest first.
const SIGNS: [&str; 26] = [
    "**", "//", "==", "!=", "<>", "<=", ">=", "&&", "||", "<", ">", "+", "-", "*", "/", "%", "(", ")", "[", "]", ",",
    "!", "=", "&", "|", "^",
];

/// Signs that other languages have: what to write instead.
fn remedy(sign: &str) -> Option<&'static str> {
    Some(match sign {
        "=" => "\"=\" compares nothing: write ==",
        "&" => "\"&\" is not known: write and",
        "|" => "\"|\" is not known: write or",
        "^" => "\"^\" is not known: a power is **",
        _ => return None,
    })
}

/// The tokens, each with the character it begins at; the last is [`Token::End`].
pub(crate) fn tokens(text: &str) -> Result<Vec<(usize, Token)>, Mistake> {
    let chars: Vec<char> = text.chars().take(LONGEST + 1).collect();
    if chars.len() > LONGEST {
        return Err(Mistake::new(LONGEST, format!("a condition may have {LONGEST} characters: make two rules")));
    }
    let mut out = Vec::new();
    let mut at = 0;
    while let Some(&c) = chars.get(at) {
        if c.is_whitespace() {
            at += 1;
            continue;
        }
        let (token, end) = token(&chars, at)?;
        out.push((at, token));
        at = end;
    }
    out.push((chars.len(), Token::End));
    Ok(out)
}

/// The token at `at`, and where it ends.
fn token(chars: &[char], at: usize) -> Result<(Token, usize), Mistake> {
    let c = chars[at];
    let next = chars.get(at + 1).copied().unwrap_or(' ');
    if c.is_ascii_digit() || c == '.' && next.is_ascii_digit() {
        return number(chars, at);
    }
    if c == '\'' || c == '"' {
        let behind = &chars[at + 1..];
        let Some(len) = behind.iter().position(|other| *other == c) else {
            return Err(Mistake::new(at, format!("the text is not closed: write {c} behind it")));
        };
        return Ok((Token::Text(behind[..len].iter().collect()), at + len + 2));
    }
    if c == '$' {
        // A dot is part of the name, so that $metric.load_one is one word.
        let end = run(chars, at + 1, |c| c.is_alphanumeric() || c == '_' || c == '.');
        if end == at + 1 {
            return Err(Mistake::new(at, "\"$\" needs a name behind it, such as $val"));
        }
        return Ok((Token::Variable(chars[at + 1..end].iter().collect()), end));
    }
    if c.is_alphabetic() || c == '_' {
        let end = run(chars, at, |c| c.is_alphanumeric() || c == '_');
        return Ok((Token::Word(chars[at..end].iter().collect()), end));
    }
    let Some(sign) = SIGNS.into_iter().find(|sign| {
        let mut own = sign.chars();
        own.next() == Some(c) && own.next().is_none_or(|second| second == next)
    }) else {
        return Ok((Token::Other(c), at + 1));
    };
    match remedy(sign) {
        Some(text) => Err(Mistake::new(at, text)),
        None => Ok((Token::Sign(sign), at + sign.len())),
    }
}

/// Where the run of such characters from `at` ends.
fn run(chars: &[char], at: usize, of: impl Fn(char) -> bool) -> usize {
    at + chars[at..].iter().take_while(|c| of(**c)).count()
}

/// `1`, `1.5`, `.5`, `5.`, `1e3`, `0x1F`.
fn number(chars: &[char], at: usize) -> Result<(Token, usize), Mistake> {
    let hex = chars[at] == '0' && matches!(chars.get(at + 1), Some('x' | 'X'));
    let mut end;
    let number = if hex {
        end = run(chars, at + 2, |c| c.is_ascii_hexdigit());
        let digits: String = chars[at + 2..end].iter().collect();
        u64::from_str_radix(&digits, 16).ok().map(|n| n as f64)
    } else {
        end = run(chars, at, |c| c.is_ascii_digit());
        if chars.get(end) == Some(&'.') {
            end = run(chars, end + 1, |c| c.is_ascii_digit());
        }
        if matches!(chars.get(end), Some('e' | 'E')) {
            let sign = usize::from(matches!(chars.get(end + 1), Some('+' | '-')));
            let digits = run(chars, (end + 1 + sign).min(chars.len()), |c| c.is_ascii_digit());
            if digits > end + 1 + sign {
                end = digits;
            }
        }
        chars[at..end].iter().collect::<String>().parse().ok()
    };
    let behind = run(chars, end, |c| c.is_alphanumeric() || c == '_' || c == '.');
    match number {
        Some(number) if behind == end => Ok((Token::Number(number), end)),
        _ => {
            let word: String = chars[at..behind.max(end)].iter().collect();
            Err(Mistake::new(at, format!("{word:?} is not a number: write it in digits, without a unit")))
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    #[test]
    fn all_kinds_of_tokens_and_where_they_stand() {
        let tokens = tokens("é $val>=5.e1 and'x\"'!=.5 0x1F $metric.a_b").unwrap();
        let expected = [
            (0, Token::Word("é".to_owned())),
            (2, Token::Variable("val".to_owned())),
            (6, Token::Sign(">=")),
            (8, Token::Number(50.0)),
            (13, Token::Word("and".to_owned())),
            (16, Token::Text("x\"".to_owned())),
            (20, Token::Sign("!=")),
            (22, Token::Number(0.5)),
            (25, Token::Number(31.0)),
            (30, Token::Variable("metric.a_b".to_owned())),
            (41, Token::End),
        ];
        assert_eq!(tokens, expected);
    }

    #[test]
    fn what_is_no_token_is_named_with_its_place() {
        for (text, at, word) in [
            ("$val > 'x", 7, "not closed"),
            ("$val > 5GB", 7, "\"5GB\""),
            ("$val = 5", 5, "write =="),
            ("$val > $", 7, "needs a name"),
            ("1e", 0, "\"1e\""),
            ("0x", 0, "\"0x\""),
        ] {
            let mistake = tokens(text).unwrap_err();
            assert_eq!(mistake.at, at, "{text}: {}", mistake.text);
            assert!(mistake.text.contains(word), "{text}: {}", mistake.text);
        }
        assert_eq!(tokens(&"1".repeat(LONGEST + 1)).unwrap_err().at, LONGEST);
    }
}
