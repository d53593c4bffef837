//! Recognises a METRIC element by its text.
//!
//! The text of a poll is mostly that of the poll before. Once an element was understood, its text is kept with the
//! definition it led to; the same text with another VAL and TN leads to the same definition, so comparing bytes is
//! enough. Anything else is cut and understood anew, which is also what the property tests compare with.

use std::ops::Range;

/// Longest VAL that is recognised; longer ones are understood in the plain way.
const VAL_BYTES: usize = 1024;
/// Digits of TN that always fit.
const TN_DIGITS: usize = 9;

/// The text of an element from `<METRIC` to the end of `</METRIC>`, without its VAL and TN.
#[derive(Debug)]
pub(crate) struct InputText {
    text: Box<[u8]>,
    /// Where VAL was, and where TN was.
    val: u32,
    tn: u32,
}

/// What a recognised element says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Recognised<'i> {
    pub(crate) val: &'i str,
    pub(crate) tn: u32,
    /// Bytes of the element.
    pub(crate) len: usize,
}

impl InputText {
    /// Keeps `element`, where VAL and TN stand at these places; `None` if they stand the other way round.
    pub(crate) fn new(element: &[u8], val: Range<usize>, tn: Range<usize>) -> Option<Self> {
        if val.end > tn.start || tn.end > element.len() {
            return None;
        }
        let text = [&element[..val.start], &element[val.end..tn.start], &element[tn.end..]].concat();
        let at = u32::try_from(val.start).ok()?;
        Some(Self { text: text.into(), val: at, tn: at + u32::try_from(tn.start - val.end).ok()? })
    }

    /// What `input` says, if it begins with this text, some plain VAL and a TN in digits.
    pub(crate) fn find<'i>(&self, input: &'i [u8]) -> Option<Recognised<'i>> {
        let (head, rest) = self.text.split_at(self.val as usize);
        let (middle, tail) = rest.split_at((self.tn - self.val) as usize);
        find([head, middle, tail], input)
    }
}

/// What `input` says, if it begins with the first of these texts, some plain VAL, the second, a TN in digits, the third.
pub(crate) fn find<'i>([head, middle, tail]: [&[u8]; 3], input: &'i [u8]) -> Option<Recognised<'i>> {
    let after_head = input.strip_prefix(head)?;
    let val = until_quote(after_head)?;
    let after_middle = after_head[val.len()..].strip_prefix(middle)?;
    let digits = after_middle.iter().take(TN_DIGITS + 1).take_while(|b| b.is_ascii_digit()).count();
    if !(1..=TN_DIGITS).contains(&digits) {
        return None;
    }
    let after = after_middle[digits..].strip_prefix(tail)?;
    let tn = after_middle[..digits].iter().fold(0, |n, b| n * 10 + u32::from(b - b'0'));
    Some(Recognised { val, tn, len: input.len() - after.len() })
}

/// The NAME of an element that begins like all of gmond's do; `None` if it is anything but plain.
pub(crate) fn plain_name(input: &[u8]) -> Option<&str> {
    until_quote(input.strip_prefix(b"<METRIC NAME=\"")?)
}

/// What stands before the next double quote, if it is plain ASCII that means itself.
fn until_quote(input: &[u8]) -> Option<&str> {
    let end = memchr::memchr(b'"', &input[..input.len().min(VAL_BYTES)])?;
    let text = &input[..end];
    let plain = text.iter().all(|b| matches!(b, b' '..=b'~') && !matches!(b, b'&' | b'<'));
    if plain { std::str::from_utf8(text).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ELEMENT: &[u8] = b"<METRIC NAME=\"a\" VAL=\"1.5\" UNITS=\"\" TN=\"7\" TMAX=\"60\"><EXTRA_DATA/></METRIC>";

    fn text() -> InputText {
        InputText::new(ELEMENT, 22..25, 40..41).expect("in order")
    }

    #[test]
    fn the_same_text_with_other_values_is_recognised() {
        let found = |input: &str| text().find(input.as_bytes()).map(|r| (r.val.to_owned(), r.tn, r.len));
        let with = |val: &str, tn: &str| {
            format!("<METRIC NAME=\"a\" VAL=\"{val}\" UNITS=\"\" TN=\"{tn}\" TMAX=\"60\"><EXTRA_DATA/></METRIC>")
        };
        assert_eq!(found(&with("1.5", "7")), Some(("1.5".to_owned(), 7, ELEMENT.len())));
        assert_eq!(found(&(with("", "0123") + "<X>")), Some((String::new(), 123, ELEMENT.len())));
        for (val, tn) in [
            ("&lt;", "7"),
            ("é", "7"),
            ("<", "7"),
            ("\t", "7"),
            ("1", ""),
            ("1", "-7"),
            ("1", "1234567890"),
            ("1", "7x"),
        ] {
            assert_eq!(found(&with(val, tn)), None, "{val} {tn}");
        }
        assert_eq!(found(&with("1.5", "7")[..60]), None, "not all there yet");
        assert_eq!(found(&with("1.5", "7").replace("60", "61")), None);
        assert!(InputText::new(ELEMENT, 40..41, 22..25).is_none());
    }
}
