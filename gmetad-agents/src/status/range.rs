//! Ranges of the monitoring-plugins guidelines.

use std::fmt;
use std::str::FromStr;

use gmetad_core::agent::Message;
use gmetad_core::message;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::said::Said;

/// Values that alert: `10` means outside of 0 to 10, `10:` below 10, `~:10` above 10, `10:20` outside, `@10:20` inside.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Range {
    low: f64,
    high: f64,
    inside: bool,
}

/// A text that is no range.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "\"{text}\" is not a range: {remedy}; write 10 (alert outside 0..10), 10: (below), ~:10 (above), 10:20 (outside) or @10:20 (inside)"
)]
pub struct RangeError {
    text: String,
    remedy: &'static str,
}

impl Said for RangeError {
    fn said(&self) -> Message {
        crate::said::text(&self.to_string()).unwrap_or_else(|| self.to_string().into())
    }
}

impl Range {
    /// Whether a value alerts; NaN does not.
    pub fn alerts(self, value: f64) -> bool {
        let within = self.low <= value && value <= self.high;
        !value.is_nan() && within == self.inside
    }

    /// Where it ends, below and above; `None`: nowhere.
    pub fn ends(self) -> [Option<f64>; 2] {
        [self.low, self.high].map(|end| Some(end).filter(|end| end.is_finite()))
    }

    /// The same of values that are multiplied by a factor above 0; `None` if a limit would be no number.
    pub fn scaled(self, factor: f64) -> Option<Self> {
        let (low, high) = (self.low * factor, self.high * factor);
        let is_good = |limit: f64, was: f64| !limit.is_nan() && limit.is_finite() == was.is_finite();
        (factor > 0.0 && is_good(low, self.low) && is_good(high, self.high)).then_some(Self { low, high, ..self })
    }

    /// Which values alert, for people: "above 80 %". What is never negative cannot be outside 0 to 80 in any other way.
    pub(crate) fn message(self, unit: &str, never_negative: bool) -> Message {
        let low = (self.low > f64::NEG_INFINITY).then(|| Message::number(self.low, unit));
        let low = low.filter(|_| self.inside || self.low != 0.0 || !never_negative || self.high == f64::INFINITY);
        let high = (self.high < f64::INFINITY).then(|| Message::number(self.high, unit));
        match (self.inside, low, high) {
            (false, None, Some(high)) => message!("above {}", high),
            (false, Some(low), None) => message!("below {}", low),
            (false, Some(low), Some(_)) if self.low == self.high => message!("other than {}", low),
            (false, Some(low), Some(high)) => message!("outside {} to {}", low, high),
            (true, None, Some(high)) => message!("at most {}", high),
            (true, Some(low), None) => message!("at least {}", low),
            (true, Some(low), Some(high)) => message!("between {} and {}", low, high),
            (_, None, None) => self.to_string().into(),
        }
    }

    /// The smallest and the largest value between the limits; infinite where there is none.
    pub fn limits(self) -> (f64, f64) {
        (self.low, self.high)
    }
}

impl FromStr for Range {
    type Err = RangeError;

    fn from_str(text: &str) -> Result<Self, RangeError> {
        let error = |remedy| RangeError { text: text.to_owned(), remedy };
        let number = |word: &str| {
            let number = word.parse::<f64>().ok().filter(|number| number.is_finite());
            number.ok_or_else(|| error("a limit is not a number"))
        };
        let trimmed = text.trim();
        let (inside, limits) = match trimmed.strip_prefix('@') {
            Some(rest) => (true, rest),
            None => (false, trimmed),
        };
        let (low, high) = match limits.split_once(':') {
            None => (0.0, number(limits)?),
            Some((low, high)) => (
                if low == "~" {
                    f64::NEG_INFINITY
                } else if low.is_empty() {
                    0.0
                } else {
                    number(low)?
                },
                if high.is_empty() { f64::INFINITY } else { number(high)? },
            ),
        };
        if low > high {
            return Err(error("the lower limit is above the upper one"));
        }
        Ok(Self { low, high, inside })
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.inside {
            f.write_str("@")?;
        }
        match (self.low, self.high) {
            (0.0, high) if high.is_finite() => write!(f, "{high}"),
            (f64::NEG_INFINITY, high) if high.is_finite() => write!(f, "~:{high}"),
            (f64::NEG_INFINITY, _) => f.write_str("~:"),
            (low, high) if high.is_finite() => write!(f, "{low}:{high}"),
            (low, _) => write!(f, "{low}:"),
        }
    }
}

impl TryFrom<String> for Range {
    type Error = RangeError;

    fn try_from(text: String) -> Result<Self, RangeError> {
        text.parse()
    }
}

impl From<Range> for String {
    fn from(range: Range) -> Self {
        range.to_string()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_guidelines_examples() {
        for (text, alerting, fine) in [
            ("10", &[-1.0, 10.5][..], &[0.0, 5.0, 10.0][..]),
            ("10:", &[9.9, -5.0], &[10.0, 1e300]),
            ("~:10", &[10.1], &[-1e300, 10.0]),
            ("10:20", &[9.0, 21.0], &[10.0, 20.0]),
            ("@10:20", &[10.0, 15.0, 20.0], &[9.9, 20.1]),
            ("0", &[-1.0, 1.0], &[0.0]),
        ] {
            let range: Range = text.parse().unwrap();
            assert!(alerting.iter().all(|value| range.alerts(*value)), "{text}");
            assert!(!fine.iter().any(|value| range.alerts(*value)), "{text}");
            assert!(!range.alerts(f64::NAN), "{text}");
            assert_eq!(range.to_string(), text);
        }
        for text in ["", "a", "10:5", "1:2:3", "@", "inf", "nan:", "~"] {
            let error = text.parse::<Range>().unwrap_err().to_string();
            assert!(error.starts_with(&format!("\"{text}\" is not a range: ")), "{error}");
        }
    }

    #[test]
    fn people_read_what_alerts() {
        use crate::lang::Lang;

        for (text, unit, never_negative, english, french) in [
            ("~:1.5", "", false, "above 1.5", "plus de 1,5"),
            ("~:1209600", "s", false, "above 14 d", "plus de 14 j"),
            ("900000000000:", "B", true, "below 838.2 GiB", "moins de 838,2 Gio"),
            ("0:", "", true, "below 0", "moins de 0"),
            ("50:70", "%", true, "outside 50 % to 70 %", "hors de 50 % à 70 %"),
            ("@50:70", "%", true, "between 50 % and 70 %", "entre 50 % et 70 %"),
            ("@~:3", "", false, "at most 3", "3 au plus"),
            ("@3:", "", false, "at least 3", "3 au moins"),
            ("85", "%", true, "above 85 %", "plus de 85 %"),
            ("0.5", "", false, "outside 0 to 0.5", "hors de 0 à 0,5"),
            ("1:1", "", true, "other than 1", "différent de 1"),
            ("~:", "", false, "~:", "~:"),
        ] {
            let message = text.parse::<Range>().unwrap().message(unit, never_negative);
            assert_eq!(Lang::English.message(&message), english, "{text}");
            assert_eq!(Lang::French.message(&message), french, "{text}");
        }
    }

    #[test]
    fn in_other_units() {
        let scaled = |text: &str, factor| text.parse::<Range>().unwrap().scaled(factor).map(|range| range.to_string());
        assert_eq!(scaled("@100:500", 1e-3).as_deref(), Some("@0.1:0.5"));
        assert_eq!(scaled("~:2", 1024.0).as_deref(), Some("~:2048"));
        assert_eq!((scaled("1e300", 1e300), scaled("1", 0.0), scaled("1", f64::NAN)), (None, None, None));
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read_back(low in -1e6f64..1e6, more in 0f64..1e6, inside: bool) {
            let range = Range { low, high: low + more, inside };
            prop_assert_eq!(range.to_string().parse::<Range>(), Ok(range));
        }
    }
}
