//! Performance data of monitoring-plugins: `'label'=value[unit];warn;crit;min;max`.

use gmetad_core::agent::{Counted, DescribedField};

use super::names;
use crate::status::Range;

/// One of them. Numbers are in units without a prefix: seconds, bytes.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Datum {
    pub(super) label: String,
    /// NaN: the check did not know.
    pub(super) value: f64,
    unit: &'static str,
    counted: Counted,
    warn: Option<Range>,
    crit: Option<Range>,
    min: Option<f64>,
    max: Option<f64>,
}

impl Datum {
    /// What is known of it. A maximum is not taken as a bound, percents apart: disks grow, and values above a bound are lost.
    pub(super) fn field(&self) -> DescribedField {
        let name = names::name(&self.label);
        let label = if name == self.label { String::new() } else { names::line(&self.label) };
        let unit = match (self.counted.is_rate(), self.unit) {
            (true, "") => "1/s",
            (_, unit) => unit,
        };
        DescribedField {
            name,
            label: label.into(),
            unit: unit.to_owned(),
            counted: self.counted,
            min: if self.counted.is_rate() { Some(0.0) } else { self.min },
            max: self.max.filter(|_| self.unit == "%"),
            warn: self.warn.map(|range| range.to_string()),
            error: self.crit.map(|range| range.to_string()),
        }
    }
}

/// All of a text; what is none is returned as it is.
pub(super) fn parse(text: &str) -> impl Iterator<Item = Result<Datum, &str>> {
    let mut rest = text;
    std::iter::from_fn(move || {
        rest = rest.trim_start();
        let word = next_word(rest)?;
        rest = &rest[word.len()..];
        Some(datum(word).ok_or(word))
    })
}

/// Up to the next blank that is not within quotes. A quote without an end is one of the word's letters.
fn next_word(text: &str) -> Option<&str> {
    let mut start = 0;
    if text.starts_with('\'') {
        start = quoted(text).map_or(0, |(_, rest)| text.len() - rest.len());
    }
    let end = text[start..].find(char::is_whitespace).map_or(text.len(), |at| start + at);
    (end > 0).then(|| &text[..end])
}

/// A label within quotes, in which a doubled one stands for one, and what follows.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut rest = text.strip_prefix('\'')?;
    let mut label = String::new();
    loop {
        let (part, after) = rest.split_once('\'')?;
        label += part;
        match after.strip_prefix('\'') {
            Some(more) => {
                label.push('\'');
                rest = more;
            }
            None => return Some((label, after)),
        }
    }
}

fn datum(word: &str) -> Option<Datum> {
    let (label, rest) = match quoted(word).and_then(|(label, rest)| Some((label, rest.strip_prefix('=')?))) {
        Some(parts) => parts,
        // The last sign: labels may have some, as `dhcp://a=b=3`.
        None => word.rsplit_once('=').map(|(label, rest)| (label.to_owned(), rest))?,
    };
    if label.is_empty() {
        return None;
    }
    let mut parts = rest.split(';');
    let (number, suffix) = number_and_unit(parts.next()?)?;
    let (unit, factor, counted) = unit_of(suffix);
    let mut range = || parts.next().and_then(|text| scaled(text, factor));
    let (warn, crit) = (range(), range());
    let mut bound = || {
        let (number, _) = number_and_unit(parts.next()?)?;
        Some(number * factor).filter(|number| number.is_finite())
    };
    let (min, max) = (bound(), bound());
    Some(Datum { label, value: number * factor, unit, counted, warn, crit, min, max })
}

/// The number that a text begins with, and the rest of it; `U` is NaN. A comma counts as a point: some checks print in the
/// language of the machine.
fn number_and_unit(text: &str) -> Option<(f64, &str)> {
    if let Some(rest) = text.strip_prefix('U') {
        return Some((f64::NAN, rest));
    }
    let bytes = text.as_bytes();
    let digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_digit);
    let mut end = usize::from(matches!(bytes.first(), Some(b'-' | b'+')));
    while digit(end) || matches!(bytes.get(end), Some(b'.' | b',')) {
        end += 1;
    }
    if matches!(bytes.get(end), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(bytes.get(end + 1), Some(b'-' | b'+')));
        let mut after = end + 1 + sign;
        if digit(after) {
            while digit(after) {
                after += 1;
            }
            end = after;
        }
    }
    let number: f64 = text[..end].replace(',', ".").parse().ok()?;
    Some((if number.is_finite() { number } else { f64::NAN }, &text[end..]))
}

/// The unit as it is shown, by what numbers are multiplied, and what they are. `KB` and its kin are of 1024 bytes: so does
/// check_disk count.
fn unit_of(suffix: &str) -> (&'static str, f64, Counted) {
    const K: f64 = 1024.0;
    let gauge = |unit, factor| (unit, factor, Counted::Gauge);
    match suffix {
        "s" => gauge("s", 1.0),
        "ms" => gauge("s", 1e-3),
        "us" | "µs" => gauge("s", 1e-6),
        "ns" => gauge("s", 1e-9),
        "%" => gauge("%", 1.0),
        "c" => ("", 1.0, Counted::Derive),
        "B" => gauge("B", 1.0),
        "KB" | "kB" | "KiB" => gauge("B", K),
        "MB" | "MiB" => gauge("B", K * K),
        "GB" | "GiB" => gauge("B", K * K * K),
        "TB" | "TiB" => gauge("B", K * K * K * K),
        "PB" | "PiB" => gauge("B", K * K * K * K * K),
        "C" | "°C" => gauge("°C", 1.0),
        "V" => gauge("V", 1.0),
        "A" => gauge("A", 1.0),
        "W" => gauge("W", 1.0),
        "rpm" | "RPM" => gauge("rpm", 1.0),
        _ => gauge("", 1.0),
    }
}

/// A range whose limits are multiplied.
fn scaled(text: &str, factor: f64) -> Option<Range> {
    let range: Range = text.parse().ok()?;
    range.scaled(factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str) -> Vec<Result<Datum, &str>> {
        parse(text).collect()
    }

    fn one(text: &str) -> Datum {
        parse(text).next().unwrap().unwrap()
    }

    fn field(text: &str) -> DescribedField {
        one(text).field()
    }

    #[test]
    fn labels_with_and_without_quotes() {
        let labels = |text| parse(text).map(|datum| datum.map(|datum| datum.label)).collect::<Vec<_>>();
        let own = |label: &str| Ok(label.to_owned());
        assert_eq!(labels("a=1 'b c'=2 'it''s'=3 ''''=4"), [own("a"), own("b c"), own("it's"), own("'")]);
        assert_eq!(labels("x y=1 =2 z= 'q=3"), [Err("x"), own("y"), Err("=2"), Err("z="), own("'q")]);
        assert_eq!(labels("http://a?b=c=1"), [own("http://a?b=c")]);
        assert_eq!(labels("  "), []);
    }

    #[test]
    fn values_and_units() {
        let is = |text: &str, value: f64, unit: &str| {
            let datum = one(&format!("x={text}"));
            assert!((datum.value - value).abs() <= value.abs() * 1e-12, "{text}: {datum:?}");
            assert_eq!(datum.unit, unit, "{text}");
        };
        is("1.5s", 1.5, "s");
        is("250ms", 0.25, "s");
        is("12us", 12e-6, "s");
        is("-3", -3.0, "");
        is("7%", 7.0, "%");
        is("2KB", 2048.0, "B");
        is("3MB", 3_145_728.0, "B");
        is("1TB", 1_099_511_627_776.0, "B");
        is("1,5GB", 1_610_612_736.0, "B");
        is("1e3B", 1000.0, "B");
        is("5sec", 5.0, "");
        assert!(one("x=U").value.is_nan() && one("x=1e999").value.is_nan());
        assert_eq!(one("x=12c").counted, Counted::Derive);
        for none in ["x=", "x=nan", "x=1.2.3", "x=abc", "x=-", "x=inf"] {
            assert_eq!(all(none), [Err(none)]);
        }
    }

    #[test]
    fn limits_become_what_is_shown() {
        let rta = field("rta=32ms;100;@200:500;0;1000");
        assert_eq!((rta.warn.as_deref(), rta.error.as_deref()), (Some("0.1"), Some("@0.2:0.5")));
        assert_eq!((rta.min, rta.max), (Some(0.0), None));
        let percent = field("pl=0%;20;;0;100");
        assert_eq!((percent.max, percent.error), (Some(100.0), None));
        let bad = field("x=1;high;~:;;");
        assert_eq!((bad.warn, bad.error.as_deref()), (None, Some("~:")));
        let count = field("'total c'=5c");
        assert_eq!((count.min, count.unit.as_str(), count.label.to_string().as_str()), (Some(0.0), "1/s", "total c"));
    }
}
