//! Values of an update: what a text means for each DS type, as librrd 1.7.2 reads it (found by feeding it texts).

use std::fmt::Write as _;

use thiserror::Error;

use crate::format::LAST_DS;
use crate::schema::DsKind;

/// One value for one data source.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value<'a> {
    /// As gmond sent it. A text that begins with `U` is unknown.
    Text(&'a str),
    /// A number; the same as its shortest decimal text.
    Number(f64),
    /// Unknown: the same as the text `U`.
    Unknown,
}

/// All values of one moment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point<'a> {
    /// Seconds since 1970.
    pub time: i64,
    /// One a data source, in the file's order.
    pub values: &'a [Value<'a>],
}

/// A text which is no value for its DS type. Texts longer than 60 characters are shown cut.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ValueError {
    /// COUNTER takes digits only.
    #[error("not a simple unsigned integer: '{0}'")]
    Unsigned(String),
    /// DERIVE takes digits and a leading minus only.
    #[error("not a simple signed integer: '{0}'")]
    Signed(String),
    /// GAUGE and ABSOLUTE take numbers.
    #[error("Cannot convert '{0}' to float")]
    Float(String),
}

/// A value as read: the text to keep in the file, and its meaning.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reading {
    pub(crate) text: LastDs,
    pub(crate) meaning: Meaning,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Meaning {
    Unknown,
    Float(f64),
    Integer(Integer),
}

/// An integer text. librrd takes the difference of texts of different sign for unknown, and "-0" is one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Integer {
    negative: bool,
    value: i128,
}

/// The text of the last value, cut to 29 bytes as librrd cuts it.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct LastDs {
    bytes: [u8; LAST_DS],
    len: usize,
}

impl Reading {
    /// The text alone, for a value that cannot count.
    pub(crate) fn unread(value: Value<'_>) -> Self {
        let text = match value {
            Value::Unknown => LastDs::new("U"),
            Value::Text(text) => LastDs::new(text),
            Value::Number(number) => LastDs::new(&number.to_string()),
        };
        Self { text, meaning: Meaning::Unknown }
    }

    /// # Errors
    /// [`ValueError`] if the text is no value for that type.
    pub(crate) fn of(value: Value<'_>, kind: DsKind) -> Result<Self, ValueError> {
        match value {
            Value::Unknown => Ok(Self { text: LastDs::new("U"), meaning: Meaning::Unknown }),
            Value::Text(text) => Ok(Self { text: LastDs::new(text), meaning: meaning(text, kind)? }),
            Value::Number(number) if matches!(kind, DsKind::Gauge | DsKind::Absolute) => {
                let mut text = LastDs::default();
                let _ = write!(text, "{number}"); // never fails: what is too long is cut
                Ok(Self { text, meaning: Meaning::Float(number) })
            }
            Value::Number(number) => Self::of(Value::Text(&number.to_string()), kind),
        }
    }
}

fn meaning(text: &str, kind: DsKind) -> Result<Meaning, ValueError> {
    if text.starts_with('U') {
        return Ok(Meaning::Unknown);
    }
    match kind {
        // Rust takes and refuses what librrd does in decimal, which leaves hexadecimal out.
        DsKind::Gauge | DsKind::Absolute => match text.trim_start_matches(C_BLANKS) {
            number if number.parse::<f64>().is_err() => Err(ValueError::Float(shown(text))),
            number => Ok(Meaning::Float(decimal(number).unwrap_or_else(|| number.parse().unwrap_or(f64::NAN)))),
        },
        DsKind::Counter => match Integer::parse(text) {
            Some(integer) if !integer.negative => Ok(Meaning::Integer(integer)),
            _ => Err(ValueError::Unsigned(shown(text))),
        },
        DsKind::Derive => match Integer::parse(text) {
            Some(integer) => Ok(Meaning::Integer(integer)),
            None => Err(ValueError::Signed(shown(text))),
        },
    }
}

/// A decimal number in the simple way: its digits as one integer, then as many times ten as the dot and the exponent say,
/// by squaring. The last place may be off; librrd's numbers are off in the same places, so files stay the same to the byte.
/// `None` for what is no digits: inf, nan.
fn decimal(text: &str) -> Option<f64> {
    let (negative, text) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let (digits, exponent) = match text.split_once(['e', 'E']) {
        Some((digits, exponent)) => (digits, exponent.parse::<i32>().ok()?.clamp(-5000, 5000)),
        None => (text, 0),
    };
    let mut number = 0.0_f64;
    let mut exponent = exponent;
    let mut behind_dot = false;
    for b in digits.bytes() {
        match b {
            b'0'..=b'9' => number = number * 10.0 + f64::from(b - b'0'),
            b'.' if !behind_dot => {
                behind_dot = true;
                continue;
            }
            _ => return None,
        }
        exponent -= i32::from(behind_dot);
    }
    let mut power = 10.0_f64;
    let mut left = exponent.unsigned_abs();
    while left > 0 {
        if left & 1 == 1 {
            if exponent < 0 { number /= power } else { number *= power }
        }
        left >>= 1;
        power *= power;
    }
    Some(if negative { -number } else { number })
}

const C_BLANKS: [char; 6] = [' ', '\t', '\n', '\r', '\x0b', '\x0c'];

fn shown(text: &str) -> String {
    text.chars().take(60).flat_map(char::escape_debug).collect()
}

impl Integer {
    /// Digits, and a minus before them at most.
    fn parse(text: &str) -> Option<Self> {
        let negative = text.starts_with('-');
        let digits = if negative { &text[1..] } else { text };
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        Some(Self { negative, value: text.parse().ok()? })
    }

    /// `self` less an earlier reading.
    pub(crate) fn since(self, earlier: Self) -> Option<f64> {
        // The sign goes last, as in librrd: no difference between two negative values is -0.
        let difference = self.value.saturating_sub(earlier.value);
        // librrd reads the difference from its text: beyond 2^53 that is not the nearest number.
        let exact = difference.unsigned_abs() < 1 << f64::MANTISSA_DIGITS;
        let difference = if exact { difference as f64 } else { decimal(&difference.to_string())? };
        match (self.negative, earlier.negative) {
            (false, false) => Some(difference),
            (true, true) => Some(if difference == 0.0 { -0.0 } else { difference }),
            _ => None,
        }
    }
}

impl LastDs {
    pub(crate) fn new(text: &str) -> Self {
        let mut last = Self::default();
        let _ = last.write_str(text); // never fails
        last
    }

    pub(crate) fn bytes(&self) -> [u8; LAST_DS] {
        self.bytes
    }
}

impl std::fmt::Write for LastDs {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        let room = LAST_DS - 1 - self.len;
        let taken = &text.as_bytes()[..text.len().min(room)];
        self.bytes[self.len..self.len + taken.len()].copy_from_slice(taken);
        self.len += taken.len();
        Ok(())
    }
}

/// The text of a `last_ds` field, up to its first NUL.
pub(crate) fn last_text(field: &[u8]) -> &[u8] {
    let end = field.iter().position(|&b| b == 0).unwrap_or(field.len());
    &field[..end]
}

/// The integer at the start of a `last_ds` field: a text that was not looked at may go on after it.
pub(crate) fn last_integer(field: &[u8]) -> Option<Integer> {
    let text = last_text(field);
    let sign = usize::from(text.first() == Some(&b'-'));
    let digits = text[sign..].iter().take_while(|b| b.is_ascii_digit()).count();
    Integer::parse(std::str::from_utf8(&text[..sign + digits]).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::DsKind::{Absolute, Counter, Derive, Gauge};

    /// Each line was fed to librrd 1.7.2, except where a comment says otherwise.
    #[test]
    fn texts_are_taken_and_refused_as_by_librrd() {
        let good =
            [("1", "GCDA"), ("-5", "GDA"), ("+5", "GA"), (" 1", "GA"), ("1e5", "GA"), (".5", "GA"), ("5.", "GA")];
        let more =
            [("inf", "GA"), ("infinity", "GA"), ("NaN", "GA"), ("1e400", "GA"), ("U", "GCDA"), ("Unknown", "GCDA")];
        // librrd takes "1e" for 1 (GAUGE), "" (COUNTER, DERIVE) and "-" (DERIVE); they are refused here.
        let bad = ["", ".", "-", "1 ", "1,5", "0x10", "1abc", "u", "-U", "1e", "abc"].map(|text| (text, ""));
        for (text, kinds) in good.into_iter().chain(more).chain(bad) {
            for (letter, kind) in [('G', Gauge), ('C', Counter), ('D', Derive), ('A', Absolute)] {
                assert_eq!(meaning(text, kind).is_ok(), kinds.contains(letter), "{text:?} {kind:?}");
            }
        }
        assert_eq!(meaning("1.5", Counter).unwrap_err().to_string(), "not a simple unsigned integer: '1.5'");
        assert_eq!(meaning("1.5", Derive).unwrap_err().to_string(), "not a simple signed integer: '1.5'");
    }

    #[test]
    fn differences_are_exact_and_need_one_sign() {
        let since = |a: &str, b: &str| Integer::parse(a).unwrap().since(Integer::parse(b).unwrap());
        assert_eq!(since("18446744073709551615", "18446744073709551610"), Some(5.0));
        assert_eq!(since("-100", "-40"), Some(-60.0));
        assert_eq!(since("40", "-100"), None);
        assert_eq!(since("-0", "0"), None);
    }

    #[test]
    fn the_text_kept_is_29_bytes_long_at_most() {
        let of = |value| last_text(&Reading::of(value, Gauge).unwrap().text.bytes()).to_vec();
        assert_eq!(of(Value::Text("0.1234567890123456789012345678901")), b"0.123456789012345678901234567");
        assert_eq!(of(Value::Number(1e300)).len(), 29);
        assert_eq!(of(Value::Number(0.42)), b"0.42");
        assert_eq!(of(Value::Number(f64::NAN)), b"NaN");
    }
}
