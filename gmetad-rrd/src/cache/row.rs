//! How the values of one moment wait, in memory and in the journal: the same few bytes in both.
//!
//! A row is a time and values for slots (files of a group). A decimal as gmond prints it takes one byte and those of its
//! digits as an integer: `0.42` two bytes, `1234567.000` five. Anything else stays a text. Reading gives back each text
//! exactly, because RRD files keep the text of the last value.
//!
//! ```text
//! row   = time (zigzag varint), then entries
//! entry = GOTO varint-slot, or one value code for each data source of the next slot
//! value = UNKNOWN | TEXT varint-length bytes | DECIMAL+n little-endian digits
//! ```

use crate::value::Value;

const UNKNOWN: u8 = 0;
const TEXT: u8 = 1;
const GOTO: u8 = 2;
/// First of the codes of decimals: `DECIMAL + (decimals * 2 + negative) * 9 + bytes`.
const DECIMAL: u8 = 3;
/// Most digits behind the dot.
const MAX_DECIMALS: usize = 12;
/// Most digits at all: their integer must fit into 64 bits.
const MAX_DIGITS: usize = 19;
/// Longest text kept: an RRD file keeps 29 bytes of it, and no longer text is a number anybody sends.
const MAX_TEXT: usize = 400;

/// The values that a group gets at one moment; writes one row after the other into the same memory.
#[derive(Debug, Default)]
pub struct RowWriter {
    time: i64,
    bytes: Vec<u8>,
    next: u32,
    points: u32,
}

impl RowWriter {
    /// Begins a row of this time (seconds since 1970).
    pub fn start(&mut self, time: i64) {
        self.time = time;
        self.bytes.clear();
        self.next = 0;
        self.points = 0;
        put_varint(&mut self.bytes, (time << 1 ^ time >> 63).cast_unsigned());
    }

    /// Adds the values of a slot, one a data source. Any order; ascending costs least.
    pub fn put(&mut self, slot: u32, values: &[Value<'_>]) {
        if slot != self.next {
            self.bytes.push(GOTO);
            put_varint(&mut self.bytes, u64::from(slot));
        }
        for value in values {
            match value {
                Value::Unknown => self.bytes.push(UNKNOWN),
                Value::Text(text) => put_text(&mut self.bytes, text),
                Value::Number(number) => put_text(&mut self.bytes, &number.to_string()),
            }
        }
        self.next = slot + 1;
        self.points += 1;
    }

    /// Seconds since 1970.
    pub(crate) fn time(&self) -> i64 {
        self.time
    }

    /// The row.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// How many slots it has values for.
    pub(crate) fn points(&self) -> u32 {
        self.points
    }
}

/// A row, read value by value.
#[derive(Debug)]
pub(crate) struct RowReader<'a> {
    rest: &'a [u8],
    time: i64,
    next: u32,
}

impl<'a> RowReader<'a> {
    /// `None`: this is no row.
    pub(crate) fn new(mut row: &'a [u8]) -> Option<Self> {
        let zigzag = take_varint(&mut row)?;
        let time = (zigzag >> 1).cast_signed() ^ -(zigzag & 1).cast_signed();
        Some(Self { rest: row, time, next: 0 })
    }

    /// Seconds since 1970.
    pub(crate) fn time(&self) -> i64 {
        self.time
    }

    /// The next slot that has values; they must be read before the next call. `None` at the end.
    pub(crate) fn slot(&mut self) -> Option<u32> {
        if *self.rest.first()? == GOTO {
            self.rest = &self.rest[1..];
            self.next = u32::try_from(take_varint(&mut self.rest)?).ok()?;
            self.rest.first()?;
        }
        let slot = self.next;
        self.next = slot.checked_add(1)?;
        Some(slot)
    }

    /// Appends the text of the next value, `U` for unknown. `None`: the row is damaged.
    pub(crate) fn value(&mut self, out: &mut String) -> Option<()> {
        let (&code, rest) = self.rest.split_first()?;
        self.rest = rest;
        match code {
            UNKNOWN => out.push('U'),
            TEXT => {
                let length = usize::try_from(take_varint(&mut self.rest)?).ok()?;
                out.push_str(std::str::from_utf8(self.rest.get(..length)?).ok()?);
                self.rest = &self.rest[length..];
            }
            GOTO => return None,
            _ => {
                let code = usize::from(code - DECIMAL);
                let (bytes, negative, decimals) = (code % 9, code / 9 % 2 == 1, code / 18);
                let mut digits = [0; 8];
                digits.get_mut(..bytes)?.copy_from_slice(self.rest.get(..bytes)?);
                self.rest = &self.rest[bytes..];
                push_decimal(out, u64::from_le_bytes(digits), negative, decimals);
            }
        }
        Some(())
    }
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    match decimal(text.as_bytes()) {
        Some((digits, negative, decimals)) => {
            let bytes = (64 - digits.leading_zeros() as usize).div_ceil(8);
            out.push(DECIMAL + ((decimals * 2 + usize::from(negative)) * 9 + bytes) as u8);
            out.extend_from_slice(&digits.to_le_bytes()[..bytes]);
        }
        None => {
            let end = (0..=text.len().min(MAX_TEXT)).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
            out.push(TEXT);
            put_varint(out, end as u64);
            out.extend_from_slice(&text.as_bytes()[..end]);
        }
    }
}

/// Digits as an integer, sign, and digits behind the dot, of a text that can be made of them again.
fn decimal(text: &[u8]) -> Option<(u64, bool, usize)> {
    let (negative, text) = match text.split_first()? {
        (b'-', rest) => (true, rest),
        _ => (false, text),
    };
    if text.len() > MAX_DIGITS {
        return None;
    }
    let mut digits = 0u64;
    let mut dot = None;
    for (at, &byte) in text.iter().enumerate() {
        match byte {
            b'0'..=b'9' => digits = digits * 10 + u64::from(byte - b'0'), // 19 digits fit
            b'.' if dot.is_none() => dot = Some(at),
            _ => return None,
        }
    }
    let whole = dot.unwrap_or(text.len());
    let decimals = text.len() - whole - usize::from(dot.is_some());
    // No digit before the dot, none behind it, or a leading zero that digits alone would not bring back.
    let plain = whole > 0 && (dot.is_none() || decimals > 0) && (whole == 1 || text[0] != b'0');
    (plain && decimals <= MAX_DECIMALS).then_some((digits, negative, decimals))
}

fn push_decimal(out: &mut String, digits: u64, negative: bool, decimals: usize) {
    if negative {
        out.push('-');
    }
    let mut buffer = itoa::Buffer::new();
    let digits = buffer.format(digits);
    if decimals == 0 {
        out.push_str(digits);
        return;
    }
    match digits.len().checked_sub(decimals) {
        None | Some(0) => {
            out.push_str("0.");
            out.extend(std::iter::repeat_n('0', decimals - digits.len()));
            out.push_str(digits);
        }
        Some(whole) => {
            out.push_str(&digits[..whole]);
            out.push('.');
            out.push_str(&digits[whole..]);
        }
    }
}

pub(crate) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

pub(crate) fn take_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f).checked_shl(shift)?;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Read = (i64, Vec<(u32, Vec<String>)>);

    fn read(row: &[u8], ds: usize) -> Option<Read> {
        let mut reader = RowReader::new(row)?;
        let mut out = Vec::new();
        while let Some(slot) = reader.slot() {
            let mut texts = Vec::new();
            for _ in 0..ds {
                let mut text = String::new();
                reader.value(&mut text)?;
                texts.push(text);
            }
            out.push((slot, texts));
        }
        Some((reader.time(), out))
    }

    #[test]
    fn usual_values_are_small() {
        let mut row = RowWriter::default();
        for (text, bytes) in [("0", 1), ("0.42", 2), ("100.0", 3), ("1234567.000", 5), ("-3", 2), ("U", 3), ("0.00", 1)]
        {
            row.start(0);
            let before = row.bytes().len();
            row.put(0, &[Value::Text(text)]);
            assert_eq!(row.bytes().len() - before, bytes, "{text}");
        }
    }

    fn text() -> impl Strategy<Value = String> {
        prop_oneof!["-?[0-9]{1,22}", "-?[0-9]{0,12}\\.[0-9]{0,14}", "-?0[0-9.]{0,6}", "[-+0-9.eU]{0,8}", "\\PC{0,40}",]
    }

    proptest! {
        #[test]
        fn every_text_comes_back(
            time in any::<i64>(),
            entries in prop::collection::vec((0u32..40, text(), text()), 0..40),
        ) {
            let mut row = RowWriter::default();
            row.start(time);
            for (slot, a, b) in &entries {
                row.put(*slot, &[Value::Text(a), Value::Text(b)]);
            }
            let expected: Vec<_> = entries.into_iter().map(|(slot, a, b)| (slot, vec![a, b])).collect();
            prop_assert_eq!(read(row.bytes(), 2), Some((time, expected)));
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = read(&bytes, 1);
            let _ = read(&bytes, 2);
        }
    }
}
