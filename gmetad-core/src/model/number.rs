//! Numbers as the C daemon reads and prints them.

use std::fmt::Write as _;

/// What C's `isspace` is true for.
const BLANKS: [char; 6] = [' ', '\t', '\n', '\r', '\x0b', '\x0c'];

/// A decimal as gmond prints most values: a sign, at most 15 digits, at most one dot with digits on both sides.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Decimal {
    pub(crate) number: f64,
    /// Digits behind the dot.
    pub(crate) decimals: u8,
    /// Bytes of its text.
    pub(crate) len: usize,
}

/// The decimal that is all of `text` before its first double quote, which must be within 16 bytes.
///
/// Its number is that of [`c_number`]: digits and power of ten are exact, so their quotient is rounded once. Sixteen bytes
/// are looked at together: a loop over them would end elsewhere for each value, which no processor foresees.
pub(crate) fn leading_decimal(text: &[u8]) -> Option<Decimal> {
    const POWERS: [f64; 16] = [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15];
    let word = word(text);
    let len = first(word, b'"');
    let negative = word as u8 == b'-';
    let start = usize::from(negative);
    if len > 15 || len <= start {
        return None;
    }
    let (word, size) = (word >> (8 * start), len - start);
    let dot = first(word, b'.').min(size);
    // Without the dot, if there is one.
    let before = (1u128 << (8 * dot)) - 1;
    let has_dot = usize::from(dot < size);
    let digits = size - has_dot;
    let decimals = digits - dot;
    let word = word & before | word >> (8 * has_dot) & !before;
    if dot == 0 || decimals < has_dot {
        return None;
    }
    let number = number(word, digits)? as f64 / POWERS[decimals];
    Some(Decimal { number: if negative { -number } else { number }, decimals: decimals as u8, len })
}

/// The number, and the length, of the digits that are all of `text` before its first double quote: nine at most.
pub(crate) fn leading_digits(text: &[u8]) -> Option<(u32, usize)> {
    let word = word(text);
    let len = first(word, b'"');
    if !(1..=9).contains(&len) {
        return None;
    }
    Some((number(word, len)? as u32, len))
}

/// The first 16 bytes of a text, with zeros if there are fewer.
fn word(text: &[u8]) -> u128 {
    u128::from_le_bytes(text.first_chunk().copied().unwrap_or_else(|| {
        let mut bytes = [0; 16];
        bytes[..text.len()].copy_from_slice(text);
        bytes
    }))
}

const ONES: u128 = u128::from_le_bytes([1; 16]);

/// Where that byte first stands in a text of 16 bytes; 16 if nowhere.
fn first(text: u128, byte: u8) -> usize {
    let zero = text ^ (ONES * u128::from(byte));
    // The lowest byte that is 0 is the lowest that gets its highest bit set here.
    ((zero.wrapping_sub(ONES) & !zero & (ONES << 7)).trailing_zeros() / 8) as usize
}

/// The number that the first 1 to 16 bytes of a text are, if they are digits.
fn number(text: u128, digits: usize) -> Option<u64> {
    let room = 8 * (16 - digits);
    let zeros = ONES * u128::from(b'0');
    // Zeros in front, and what comes behind the digits shifted out.
    let values = (text << room | zeros & ((1 << room) - 1)) ^ zeros;
    if (values.wrapping_add(ONES * 0x76) | values) & (ONES << 7) != 0 {
        return None;
    }
    Some(eight(values as u64) * 100_000_000 + eight((values >> 64) as u64))
}

/// The number of eight digits, the first one in the lowest byte: neighbours are joined to twos, fours, and eight.
fn eight(digits: u64) -> u64 {
    const LANES: u64 = 0x0000_00ff_0000_00ff;
    let twos = digits.wrapping_mul(10).wrapping_add(digits >> 8);
    let high = (twos & LANES).wrapping_mul(100 + (1_000_000 << 32));
    let low = (twos >> 16 & LANES).wrapping_mul(1 + (10_000 << 32));
    high.wrapping_add(low) >> 32
}

/// The number a C `strtod` reads at the start of `text`; 0 if there is none.
///
/// Accepts what gmetad accepts: `1.50`, `1.5e+10`, `0x10`, `nan`, `inf`, leading blanks, and a number followed by
/// other text (`12abc` is 12).
pub fn c_number(text: &str) -> f64 {
    let text = text.trim_start_matches(BLANKS);
    match text.parse::<f64>() {
        Ok(n) => n,
        Err(_) => number_prefix(text),
    }
}

fn number_prefix(text: &str) -> f64 {
    let (negative, rest) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    let sign = if negative { -1.0 } else { 1.0 };
    let bytes = rest.as_bytes();
    if bytes.len() > 2 && bytes[0] == b'0' && bytes[1] | 32 == b'x' && bytes[2].is_ascii_hexdigit() {
        return sign * hex_prefix(&bytes[2..]);
    }
    let has =
        |word: &str| rest.len() >= word.len() && rest.as_bytes()[..word.len()].eq_ignore_ascii_case(word.as_bytes());
    if has("inf") {
        return sign * f64::INFINITY;
    }
    if has("nan") {
        return f64::NAN.copysign(sign);
    }
    let digits = |from: usize| bytes[from..].iter().take_while(|b| b.is_ascii_digit()).count();
    let whole = digits(0);
    let mut end = whole;
    if bytes.get(end) == Some(&b'.') {
        let fraction = digits(end + 1);
        if whole + fraction == 0 {
            return 0.0;
        }
        end += 1 + fraction;
    } else if whole == 0 {
        return 0.0;
    }
    if bytes.get(end).is_some_and(|b| b | 32 == b'e') {
        let sign_len = usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
        let exponent = bytes.get(end + 1 + sign_len..).map_or(0, |_| digits(end + 1 + sign_len));
        if exponent > 0 {
            end += 1 + sign_len + exponent;
        }
    }
    sign * rest[..end].parse().unwrap_or(0.0)
}

/// Hexadecimal digits, an optional fraction and an optional binary exponent, as C99's `strtod` reads them.
fn hex_prefix(bytes: &[u8]) -> f64 {
    let digit = |b: &u8| char::from(*b).to_digit(16).map(f64::from);
    let mut value = 0.0;
    let mut at = 0;
    while let Some(d) = bytes.get(at).and_then(digit) {
        value = value * 16.0 + d;
        at += 1;
    }
    if bytes.get(at) == Some(&b'.') {
        let mut unit = 1.0 / 16.0;
        at += 1;
        while let Some(d) = bytes.get(at).and_then(digit) {
            value += d * unit;
            unit /= 16.0;
            at += 1;
        }
    }
    if bytes.get(at).is_some_and(|b| b | 32 == b'p') {
        let text: String = bytes[at + 1..].iter().take(8).map(|b| char::from(*b)).collect();
        let end =
            text.char_indices().take_while(|(i, c)| c.is_ascii_digit() || (*i == 0 && matches!(c, '+' | '-'))).count();
        if let Ok(exponent) = text[..end].parse::<i32>() {
            value *= 2f64.powi(exponent);
        }
    }
    value
}

/// An unsigned attribute as C's `atoi`/`strtoul` into 32 bits reads it: a leading number, negative ones wrap, none
/// is 0, and more than 32 bits saturate.
pub(crate) fn c_unsigned(text: &str) -> u32 {
    let text = text.trim_start_matches(BLANKS);
    let (negative, digits) = match text.as_bytes().first() {
        Some(b'-') => (true, &text.as_bytes()[1..]),
        Some(b'+') => (false, &text.as_bytes()[1..]),
        _ => (false, text.as_bytes()),
    };
    let mut value: u32 = 0;
    for b in digits.iter().take_while(|b| b.is_ascii_digit()) {
        value = value.saturating_mul(10).saturating_add(u32::from(b - b'0'));
    }
    if negative { value.wrapping_neg() } else { value }
}

/// Most decimals a sum is printed with.
const MOST_DECIMALS: i32 = 15;

/// How many decimals a value's text has: those after the dot, moved by the exponent, 15 at most.
///
/// The C daemon counts the characters behind the last dot of the first value it meets, so that its sums lose or gain
/// digits with the order of hosts; we take the most of all values.
pub(crate) fn decimals(text: &str) -> u8 {
    let bytes = text.as_bytes();
    let Some(dot) = memchr::memrchr(b'.', bytes) else {
        return match text.find(['e', 'E']) {
            Some(e) if bytes[0].is_ascii_digit() => (-exponent(&text[e + 1..])).clamp(0, MOST_DECIMALS) as u8,
            _ => 0,
        };
    };
    let fraction = bytes[dot + 1..].iter().take_while(|b| b.is_ascii_digit()).count();
    let rest = &text[dot + 1 + fraction..];
    let shift = if rest.starts_with(['e', 'E']) { exponent(&rest[1..]) } else { 0 };
    (fraction.min(64) as i32 - shift).clamp(0, MOST_DECIMALS) as u8
}

fn exponent(text: &str) -> i32 {
    let end = text
        .bytes()
        .enumerate()
        .take_while(|(i, b)| b.is_ascii_digit() || (*i == 0 && matches!(b, b'+' | b'-')))
        .count();
    text[..end].parse::<i32>().unwrap_or(0).clamp(-1000, 1000)
}

/// Prints `value` as C's `%.{decimals}f` does, `nan` and `inf` in C's spelling.
pub(crate) fn write_fixed(out: &mut Vec<u8>, value: f64, decimals: u8) {
    if value.is_nan() {
        out.extend_from_slice(if value.is_sign_negative() { b"-nan" } else { b"nan" });
    } else if value.is_infinite() {
        out.extend_from_slice(if value < 0.0 { b"-inf" } else { b"inf" });
    } else if decimals == 0 && value.fract() == 0.0 && value.abs() < 9e15 && (value != 0.0 || value.is_sign_positive())
    {
        out.extend_from_slice(itoa::Buffer::new().format(value as i64).as_bytes());
    } else {
        let mut text = String::with_capacity(24);
        // Writing to a String cannot fail.
        let _ = write!(text, "{value:.*}", usize::from(decimals));
        out.extend_from_slice(text.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_are_read_as_strtod_does() {
        for (text, value) in [
            ("1.50", 1.5),
            ("", 0.0),
            ("abc", 0.0),
            ("0x10", 16.0),
            ("0x1.8p1", 3.0),
            ("12abc", 12.0),
            (" 7", 7.0),
            ("1.5e+10", 1.5e10),
            ("1e", 1.0),
            ("1e+", 1.0),
            (".5", 0.5),
            (".", 0.0),
            ("-.5x", -0.5),
            ("5.", 5.0),
            ("-3", -3.0),
            ("+4 ", 4.0),
            ("0x", 0.0),
            ("-0x1F", -31.0),
            ("1_000", 1.0),
        ] {
            assert_eq!(c_number(text), value, "{text:?}");
        }
        assert!(c_number("nan").is_nan() && c_number("NAN(1)").is_nan());
        assert_eq!(c_number("inf"), f64::INFINITY);
        assert_eq!(c_number("-infinite"), f64::NEG_INFINITY);
    }

    proptest! {
        #[test]
        fn plain_decimals_are_what_c_reads(text in "-?[0-9]{0,17}(\\.[0-9]{0,17})?[\"x+ e]?[0-9\"]{0,3}") {
            let text = text + "\" UNITS=\"\" TN=\"";
            let digits = leading_digits(text.as_bytes());
            let expected = text.split_once('"').filter(|(own, _)| own.bytes().all(|b| b.is_ascii_digit()));
            prop_assert_eq!(
                digits,
                expected.filter(|(own, _)| (1..=9).contains(&own.len())).map(|(own, _)| (c_unsigned(own), own.len()))
            );
            if let Some(found) = leading_decimal(text.as_bytes()) {
                let own = &text[..found.len];
                prop_assert!(text[found.len..].starts_with('"'));
                prop_assert_eq!(found.number.to_bits(), c_number(own).to_bits());
                prop_assert_eq!(found.decimals, decimals(own));
            } else if let Some((own, _)) = text.split_once('"') {
                let digits = own.bytes().filter(u8::is_ascii_digit).count();
                let dots = own.starts_with("-.") || own.starts_with('.') || own.ends_with('.');
                prop_assert!(digits == 0 || own.len() > 15 || dots || own.contains(['x', '+', ' ', 'e']), "{}", own);
            }
        }
    }

    #[test]
    fn unsigned_attributes_wrap_and_saturate() {
        for (text, value) in [
            ("15", 15),
            ("", 0),
            ("x", 0),
            ("-5", 4_294_967_291),
            ("7s", 7),
            ("99999999999", u32::MAX),
            (" 3", 3),
            ("\u{a0}5", 0),
        ] {
            assert_eq!(c_unsigned(text), value, "{text:?}");
        }
    }

    #[test]
    fn decimals_follow_dot_and_exponent() {
        for (text, n) in [
            ("1.50", 2),
            ("7", 0),
            ("1.5e+10", 0),
            ("1.5e-3", 4),
            ("2e-3", 3),
            ("3.14159", 5),
            ("nan", 0),
            ("", 0),
            ("0.12345678901234567890", 15),
            ("1e-999", 15),
            (".5", 1),
            ("1.5abc", 1),
            ("1.5e", 1),
        ] {
            assert_eq!(decimals(text), n, "{text:?}");
        }
    }

    #[test]
    fn sums_are_printed_as_printf_does() {
        for (value, n, text) in [
            (0.64, 2, "0.64"),
            (3.75, 0, "4"),
            (2.5, 0, "2"),
            (-0.0, 0, "-0"),
            (15e9, 0, "15000000000"),
            (1e22, 0, "10000000000000000000000"),
            (f64::NAN, 2, "nan"),
            (f64::NEG_INFINITY, 0, "-inf"),
        ] {
            let mut out = Vec::new();
            write_fixed(&mut out, value, n);
            assert_eq!(String::from_utf8_lossy(&out), text);
        }
    }
}
