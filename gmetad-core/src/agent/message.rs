//! Texts for people, as templates, so that they can still be translated.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};

/// A text for people that can still be translated: a template with `{}` for each of its arguments, and `{one|several}` for
/// words that depend on the number before them (or, at the beginning, on the first).
///
/// ```
/// use gmetad_core::{agent::Message, message};
///
/// let message = message!("{} {tunnel is|tunnels are} down of {}", 1, 7);
/// assert_eq!(message.to_string(), "1 tunnel is down of 7");
/// let french = |template: &str| template.starts_with("{} {tunnel").then_some("{arrêté|arrêtés} : {} sur {}");
/// let number = |number: &str, unit: &str| format!("{number} {unit}");
/// assert_eq!(message.with(french, number, |count| count < 2.0), "arrêté : 1 sur 7");
/// assert_eq!(Message::from("what {} a program said").to_string(), "what {} a program said");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Message {
    template: Cow<'static, str>,
    /// Absent: the text is to be shown as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    args: Option<Vec<Message>>,
    /// Present: the text is a number, with a dot, of this unit, which may be empty; or a [`Message::TIME`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    unit: Option<Cow<'static, str>>,
}

impl Message {
    /// A template and its arguments; [`crate::message!`] is shorter.
    pub fn new(template: &'static str, args: Vec<Self>) -> Self {
        Self { template: Cow::Borrowed(template), args: Some(args), unit: None }
    }

    /// A number that each language writes in its own way; the unit may be empty. Three decimals, or three digits that count.
    pub fn number(value: f64, unit: &str) -> Self {
        Self { template: readable(value).into(), args: None, unit: Some(unit.to_owned().into()) }
    }

    /// What a time has for a unit.
    pub const TIME: &str = "yyyy-mm-dd hh:mm:ss";

    /// A date and a time, which each language writes in its own way; given as `2026-11-22 13:14:18`.
    pub fn time(text: &str) -> Self {
        Self { template: text.to_owned().into(), args: None, unit: Some(Self::TIME.into()) }
    }

    /// Whether there is nothing to say.
    pub fn is_empty(&self) -> bool {
        self.template.is_empty()
    }

    /// The text, with templates (also those of arguments) replaced by what `translate` knows for them. `number` writes numbers:
    /// it is given their digits with a dot, and their unit, which may be empty. `is_one` tells which counts are not several.
    pub fn with<'a>(
        &self,
        translate: impl Fn(&str) -> Option<&'a str> + Copy,
        number: impl Fn(&str, &str) -> String + Copy,
        is_one: impl Fn(f64) -> bool + Copy,
    ) -> String {
        if let Some(unit) = &self.unit {
            return number(&self.template, unit);
        }
        let Some(args) = &self.args else { return self.template.clone().into_owned() };
        let mut rest = translate(&self.template).unwrap_or(&self.template);
        let mut text = String::new();
        let mut used = 0;
        while let Some(at) = rest.find('{') {
            text += &rest[..at];
            rest = &rest[at..];
            if let Some(after) = rest.strip_prefix("{}") {
                text += &args.get(used).map(|arg| arg.with(translate, number, is_one)).unwrap_or_default();
                (used, rest) = (used + 1, after);
            } else if let Some((one, several, after)) = choice(rest) {
                let count = args.get(used.saturating_sub(1)).and_then(Self::value);
                text += if count.is_some_and(is_one) { one } else { several };
                rest = after;
            } else {
                text.push('{');
                rest = &rest[1..];
            }
        }
        text + rest
    }

    /// The number that it is.
    fn value(&self) -> Option<f64> {
        self.template.parse().ok().filter(|_| self.args.is_none())
    }
}

/// `{one|several}` at the beginning of a text, and what follows.
fn choice(text: &str) -> Option<(&str, &str, &str)> {
    let (inner, after) = text.strip_prefix('{')?.split_once('}')?;
    let (one, several) = inner.split_once('|').filter(|_| !inner.contains('{'))?;
    Some((one, several, after))
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = |text: &str, unit: &str| match unit {
            "" | Self::TIME => text.to_owned(),
            _ => format!("{text} {unit}"),
        };
        f.write_str(&self.with(|_| None, number, |count| count == 1.0))
    }
}

/// So that an agent may fail with a text that can be translated: `Err(message!("{} does not answer", address).into())`.
impl std::error::Error for Message {}

impl From<String> for Message {
    fn from(text: String) -> Self {
        Self { template: Cow::Owned(text), args: None, unit: None }
    }
}

impl From<&str> for Message {
    fn from(text: &str) -> Self {
        text.to_owned().into()
    }
}

/// A [`Message`](crate::agent::Message) of a template and what stands for each `{}`: texts, numbers, other messages.
#[macro_export]
macro_rules! message {
    ($template:literal $(, $arg:expr)* $(,)?) => {
        $crate::agent::Message::new($template, vec![$($crate::agent::Argument::argument(&$arg)),*])
    };
}

/// A number for people: three decimals, or three digits that count.
fn readable(value: f64) -> String {
    let size = value.abs();
    let digits = if size > 0.0 && size < 1.0 { (2 - size.log10().floor() as i32).clamp(0, 12) } else { 3 };
    let text = format!("{value:.*}", digits as usize);
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    if text == "-0" { "0".to_owned() } else { text.to_owned() }
}

/// What may be an argument of a [`Message`]: messages, numbers, and whatever can be displayed.
pub trait Argument {
    /// It as a message.
    fn argument(&self) -> Message;
}

impl Argument for Message {
    fn argument(&self) -> Message {
        self.clone()
    }
}

impl Argument for f64 {
    fn argument(&self) -> Message {
        Message::number(*self, "")
    }
}

macro_rules! displayed {
    ($($type:ty),*) => {
        $(impl Argument for $type {
            fn argument(&self) -> Message {
                self.to_string().into()
            }
        })*
    };
}

displayed!(str, &str, String, &String, Cow<'_, str>, i32, i64, u16, u32, u64, usize);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_for_people() {
        let values = [0.0, -0.0, 5.0, 85.2567, 1e12, 0.000_123_456, -0.5, f64::INFINITY];
        let texts = values.map(|value| Message::number(value, "").to_string());
        assert_eq!(texts, ["0", "0", "5", "85.257", "1000000000000", "0.000123", "-0.5", "inf"]);
        assert_eq!(message!("{} and {}", 84.4, Message::number(2.5, "%")).to_string(), "84.4 and 2.5 %");
        let comma = |text: &str, unit: &str| text.replace('.', ",") + unit;
        assert_eq!(
            message!("{} and {}", 84.4, Message::number(2.5, "%")).with(|_| None, comma, |_| true),
            "84,4 and 2,5%"
        );
        assert_eq!(Message::from("1.5").with(|_| None, comma, |_| true), "1.5", "a text is no number");
    }

    #[test]
    fn words_follow_the_number_before_them() {
        let said = |count: i32| message!("{} {error|errors}, {} {is|are} new {a", count, 1).to_string();
        assert_eq!([0, 1, 2].map(said), ["0 errors, 1 is new {a", "1 error, 1 is new {a", "2 errors, 1 is new {a"]);
        assert_eq!(message!("{unit|units} failed: {}", 1.0).to_string(), "unit failed: 1");
        assert_eq!(message!("{} {unit|units}", "no").to_string(), "no units");
        assert_eq!(message!("{ a = 1 } {{}|b} {}", "x").to_string(), "{ a = 1 } {x|b} ");
    }
}
