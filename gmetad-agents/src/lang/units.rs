//! Numbers for people.

use super::Lang;

/// Thin and not to be broken: what stands between a number and its unit, and between thousands.
pub(crate) const THIN: char = '\u{202f}';

/// A number with its unit. Bytes have binary prefixes, seconds become minutes and days; unknown is a dash.
pub(crate) fn show(lang: Lang, value: f64, unit: &str) -> String {
    if !value.is_finite() {
        return "–".to_owned();
    }
    let byte = if lang == Lang::French { "o" } else { "B" };
    match unit {
        "B" => scaled(lang, value, byte, ""),
        "B/s" => scaled(lang, value, byte, "/s"),
        "s" => seconds(lang, value),
        "" => number(lang, value),
        "1/s" => format!("{}{THIN}/s", number(lang, value)),
        _ => format!("{}{THIN}{unit}", number(lang, value)),
    }
}

/// The unit of the rate of what has this unit. A percentage is not counted: a counter of that unit is named for its rate.
pub(crate) fn per_second(unit: &str) -> String {
    match unit {
        "" | "1" => "1/s".to_owned(),
        "%" => unit.to_owned(),
        _ if unit.ends_with("/s") => unit.to_owned(),
        _ => format!("{unit}/s"),
    }
}

/// The unit of what was counted, of which this is the unit or that of its rate.
pub(crate) fn counted(unit: &str) -> &str {
    match unit {
        "%" | "1/s" => "",
        _ => unit.strip_suffix("/s").unwrap_or(unit),
    }
}

/// A date and a time, given as `2026-11-22 13:14:18`.
pub(crate) fn date(lang: Lang, text: &str) -> String {
    let parts = text.split_once(' ').map(|(day, time)| (day.split('-').collect::<Vec<_>>(), time));
    match (lang, parts) {
        (Lang::French, Some((day, time))) if day.len() == 3 => format!("{}/{}/{} {time}", day[2], day[1], day[0]),
        _ => text.to_owned(),
    }
}

/// A unit alone.
pub(crate) fn of(lang: Lang, unit: &str) -> String {
    match (lang, unit) {
        (Lang::French, "B") => "o".to_owned(),
        (Lang::French, "B/s") => "o/s".to_owned(),
        _ => unit.to_owned(),
    }
}

fn scaled(lang: Lang, value: f64, byte: &str, per: &str) -> String {
    let (mut value, mut prefix) = (value, "");
    for next in ["Ki", "Mi", "Gi", "Ti", "Pi"] {
        if value.abs() < 1023.5 {
            break;
        }
        (value, prefix) = (value / 1024.0, next);
    }
    format!("{}{THIN}{prefix}{byte}{per}", number(lang, value))
}

fn seconds(lang: Lang, value: f64) -> String {
    let size = value.abs();
    match () {
        () if size == 0.0 => format!("0{THIN}s"),
        () if size < 1e-3 => format!("{}{THIN}µs", number(lang, value * 1e6)),
        () if size < 1.0 => format!("{}{THIN}ms", number(lang, value * 1e3)),
        () if size < 120.0 => format!("{}{THIN}s", number(lang, value)),
        () if value < 0.0 => format!("−{}", span(lang, -value as i64)),
        () => span(lang, value as i64),
    }
}

/// A whole number in full, with thousands apart; any other with four digits that count.
pub(crate) fn number(lang: Lang, value: f64) -> String {
    let size = value.abs();
    // Beyond this not every whole number can be told from the next.
    if size >= 9e15 || (size < 1e-4 && size > 0.0) {
        return format!("{value:.3e}");
    }
    let decimals = match size {
        _ if value.fract() == 0.0 => 0,
        0.0..1.0 => 4,
        1.0..10.0 => 3,
        10.0..100.0 => 2,
        100.0..1000.0 => 1,
        _ => 0,
    };
    let text = format!("{size:.decimals$}");
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let mut out = String::new();
    if value < 0.0 && text.bytes().any(|b| matches!(b, b'1'..=b'9')) {
        out.push('−');
    }
    for (place, digit) in whole.chars().enumerate() {
        if place > 0 && (whole.len() - place) % 3 == 0 && whole.len() > 4 {
            out.push(THIN);
        }
        out.push(digit);
    }
    let fraction = fraction.trim_end_matches('0');
    if !fraction.is_empty() {
        out.push(if lang == Lang::French { ',' } else { '.' });
        out.push_str(fraction);
    }
    out
}

/// A duration in the two largest units that it has.
pub(crate) fn span(lang: Lang, seconds: i64) -> String {
    let seconds = seconds.max(0);
    let day = if lang == Lang::French { "j" } else { "d" };
    let two = |large: i64, name: &str, small: i64, unit: &str| match small {
        0 => format!("{large} {name}"),
        _ => format!("{large} {name} {small} {unit}"),
    };
    match seconds {
        0..60 => format!("{seconds} s"),
        60..600 => two(seconds / 60, "min", seconds % 60, "s"),
        600..3600 => format!("{} min", seconds / 60),
        3600..86_400 => two(seconds / 3600, "h", seconds / 60 % 60, "min"),
        86_400..8_640_000 => two(seconds / 86_400, day, seconds / 3600 % 24, "h"),
        _ => format!("{} {day}", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_are_readable() {
        for (value, unit, english, french) in [
            (0.0, "", "0", "0"),
            (-0.0, "", "0", "0"),
            (0.25, "", "0.25", "0,25"),
            (12.3456, "%", "12.35 %", "12,35 %"),
            (1234.0, "", "1234", "1234"),
            (1_234_567.0, "", "1 234 567", "1 234 567"),
            (-15_000.4, "", "−15 000", "−15 000"),
            (1e-7, "", "1.000e-7", "1.000e-7"),
            (1023.0, "B", "1023 B", "1023 o"),
            (1024.0, "B", "1 KiB", "1 Kio"),
            (1536.0, "B/s", "1.5 KiB/s", "1,5 Kio/s"),
            (3.5 * 1024.0 * 1024.0 * 1024.0, "B", "3.5 GiB", "3,5 Gio"),
            (0.0021, "s", "2.1 ms", "2,1 ms"),
            (0.00002, "s", "20 µs", "20 µs"),
            (90.0, "s", "90 s", "90 s"),
            (864_000.0, "s", "10 d", "10 j"),
            (f64::NAN, "B", "–", "–"),
            (f64::INFINITY, "", "–", "–"),
            (7.0, "1/s", "7 /s", "7 /s"),
        ] {
            let plain = |lang| show(lang, value, unit).replace(THIN, " ");
            assert_eq!((plain(Lang::English), plain(Lang::French)), (english.to_owned(), french.to_owned()));
        }
    }

    #[test]
    fn rates_have_units_of_their_own() {
        for (unit, rate, count) in [
            ("", "1/s", ""),
            ("1/s", "1/s", ""),
            ("B", "B/s", "B"),
            ("B/s", "B/s", "B"),
            ("%", "%", ""),
            ("s", "s/s", "s"),
        ] {
            assert_eq!((per_second(unit).as_str(), counted(unit)), (rate, count), "{unit}");
        }
    }

    #[test]
    fn dates_are_of_the_language() {
        for (text, french) in [("2026-11-22 13:14:18", "22/11/2026 13:14:18"), ("noon", "noon"), ("a b", "a b")] {
            assert_eq!([Lang::English, Lang::French].map(|lang| date(lang, text)), [text, french]);
        }
    }

    proptest! {
        #[test]
        fn any_number_has_a_short_text(value: f64, unit in "B|B/s|s|%|") {
            prop_assert!(show(Lang::French, value, &unit).chars().count() < 32);
        }
    }
}
