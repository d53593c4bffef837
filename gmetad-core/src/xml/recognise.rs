//! Recognises a METRIC element by its text.
//!
//! The text of a poll is mostly that of the poll before. Once an element was understood, its text is kept with the
//! definition it led to; the same text with another VAL and TN leads to the same definition, so comparing bytes is
//! enough. Anything else is cut and understood anew, which is also what the property tests compare with.

use std::ops::Range;

use crate::model::{Decimal, Parts, leading_decimal, leading_digits};

/// Longest VAL that is recognised; longer ones are understood in the plain way.
const VAL_BYTES: usize = 1024;

/// The text of an element from `<METRIC` to the end of `</METRIC>`, without its VAL and TN. Most of it is like the text
/// that is printed, and kept there only.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum InputText {
    /// Up to TN as it is printed; then so many bytes of what is printed, own ones, and what is printed from there.
    Like { same: u32, own: Box<[u8]>, from: u32 },
    /// Otherwise; with the places where VAL was, and where TN was.
    Whole { text: Box<[u8]>, val: u32, tn: u32 },
}

/// The text of an element as it is printed: before VAL, between VAL and TN, behind TN.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Printed<'a> {
    pub(crate) head: &'a [u8],
    pub(crate) middle: &'a [u8],
    pub(crate) tail: &'a [u8],
}

impl<'a> Printed<'a> {
    pub(crate) fn new(rendered: &'a [u8], Parts { head, middle }: Parts) -> Self {
        Self { head: &rendered[..head], middle: &rendered[head..middle], tail: &rendered[middle..] }
    }
}

/// What a recognised element says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Recognised<'i> {
    pub(crate) val: &'i [u8],
    /// VAL as a number, if it is a plain one.
    pub(crate) decimal: Option<Decimal>,
    pub(crate) tn: u32,
    /// Bytes of the element.
    pub(crate) len: usize,
}

impl InputText {
    /// Keeps `element`, where VAL and TN stand at these places; `None` if where the tags end may depend on them, or on
    /// what comes behind.
    pub(crate) fn new(element: &[u8], val: Range<usize>, tn: Range<usize>, printed: Printed<'_>) -> Option<Self> {
        if val.end > tn.start || tn.end > element.len() {
            return None;
        }
        let (head, middle, tail) = (&element[..val.start], &element[val.end..tn.start], &element[tn.end..]);
        let this = if head == printed.head && middle == printed.middle {
            let pairs = || tail.iter().zip(printed.tail);
            let same = pairs().take_while(|(a, b)| a == b).count();
            // What is printed ends with a line feed, an element does not.
            let end = printed.tail.trim_ascii_end();
            let pairs = tail[same..].iter().rev().zip(end[same.min(end.len())..].iter().rev());
            let behind = pairs.take_while(|(a, b)| a == b).count();
            let own = tail[same..tail.len() - behind].into();
            Self::Like { same: u32::try_from(same).ok()?, own, from: u32::try_from(end.len() - behind).ok()? }
        } else {
            let at = u32::try_from(head.len()).ok()?;
            let tn = at + u32::try_from(middle.len()).ok()?;
            Self::Whole { text: [head, middle, tail].concat().into(), val: at, tn }
        };
        // A tag with quotes too many ends with its line, but only if `<` follows.
        let ends_by_itself = element.ends_with(b">");
        let is_plain = this.find(element, printed).is_some_and(|found| found.len == element.len());
        (ends_by_itself && is_plain).then_some(this)
    }

    /// What `input` says, if it begins with this text, some plain VAL and a TN in digits.
    #[inline]
    pub(crate) fn find<'i>(&self, input: &'i [u8], printed: Printed<'_>) -> Option<Recognised<'i>> {
        match self {
            Self::Like { same, own, from } => {
                let end = printed.tail.len() - 1;
                let tail = [&printed.tail[..*same as usize], own, &printed.tail[*from as usize..end]];
                find(printed, tail, input)
            }
            Self::Whole { text, val, tn } => {
                let (head, rest) = text.split_at(*val as usize);
                let (middle, tail) = rest.split_at((*tn - *val) as usize);
                find(Printed { head, middle, tail }, [tail, &[], &[]], input)
            }
        }
    }
}

/// What `input` says, if it begins with that head, some plain VAL, that middle, a TN in digits, and the parts of `tail`.
#[inline]
pub(crate) fn find<'i>(around: Printed<'_>, tail: [&[u8]; 3], input: &'i [u8]) -> Option<Recognised<'i>> {
    let after_head = input.strip_prefix(around.head)?;
    let decimal = leading_decimal(after_head);
    let val = match decimal {
        Some(decimal) => &after_head[..decimal.len],
        None => until_quote(after_head)?,
    };
    let after_middle = after_head[val.len()..].strip_prefix(around.middle)?;
    let (tn, digits) = leading_digits(after_middle)?;
    // An empty part has no place in memory; some processors take long to find out that it need not be looked at.
    let mut parts = tail.iter().filter(|part| !part.is_empty());
    let after = parts.try_fold(&after_middle[digits..], |rest, part| rest.strip_prefix(*part))?;
    Some(Recognised { val, decimal, tn, len: input.len() - after.len() })
}

/// The NAME of an element that begins like all of gmond's do; `None` if it is anything but plain.
pub(crate) fn plain_name(input: &[u8]) -> Option<&str> {
    std::str::from_utf8(until_quote(input.strip_prefix(b"<METRIC NAME=\"")?)?).ok()
}

/// What stands before the next double quote, if it is plain ASCII that means itself, whatever quotes were before: with
/// quotes in its attributes' names, a tag can end in what is a value to others.
fn until_quote(input: &[u8]) -> Option<&[u8]> {
    let end = memchr::memchr(b'"', &input[..input.len().min(VAL_BYTES)])?;
    let text = &input[..end];
    let plain = text.iter().all(|b| matches!(b, b' '..=b'~') && !matches!(b, b'&' | b'<' | b'>' | b'\''));
    plain.then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ELEMENT: &[u8] = b"<METRIC NAME=\"a\" VAL=\"1.5\" UNITS=\"\" TN=\"7\" TMAX=\"60\"><EXTRA_DATA/></METRIC>";

    /// As it is printed, with a SOURCE that the element does not have.
    const PRINTED: Printed<'_> = Printed {
        head: b"<METRIC NAME=\"a\" VAL=\"",
        middle: b"\" UNITS=\"\" TN=\"",
        tail: b"\" TMAX=\"60\" SOURCE=\"gmond\"><EXTRA_DATA/></METRIC>\n",
    };
    const OTHERWISE: Printed<'_> = Printed { head: b"<METRIC VAL=\"", ..PRINTED };

    #[test]
    fn the_same_text_with_other_values_is_recognised() {
        recognised(PRINTED);
        recognised(OTHERWISE);
    }

    fn recognised(printed: Printed<'_>) {
        let text = InputText::new(ELEMENT, 22..25, 40..41, printed).expect("in order");
        let like = matches!(&text, InputText::Like { own, .. } if own.is_empty());
        assert_eq!(like, printed.head == PRINTED.head);
        let value = |r: Recognised<'_>| (String::from_utf8_lossy(r.val).into_owned(), r.tn, r.len);
        let found = |input: &str| text.find(input.as_bytes(), printed).map(value);
        let with = |val: &str, tn: &str| {
            format!("<METRIC NAME=\"a\" VAL=\"{val}\" UNITS=\"\" TN=\"{tn}\" TMAX=\"60\"><EXTRA_DATA/></METRIC>")
        };
        assert_eq!(found(&with("1.5", "7")), Some(("1.5".to_owned(), 7, ELEMENT.len())));
        assert_eq!(found(&(with("", "0123") + "<X>")), Some((String::new(), 123, ELEMENT.len())));
        for (val, tn) in [
            ("&lt;", "7"),
            ("é", "7"),
            ("<", "7"),
            (">", "7"),
            ("it's", "7"),
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
        assert!(InputText::new(ELEMENT, 40..41, 22..25, printed).is_none());
        let learned = |element: &str| InputText::new(element.as_bytes(), 9..10, 16..17, printed).is_some();
        assert!(learned("<M  VAL=\"1\" TN=\"7\"/>"));
        for element in ["<M  VAL=\"'\" TN=\"7\"/>", "<M  VAL=\"1\" TN=\">\"/>", "<M  VAL=\"1\" TN=\"7\"/>\n"] {
            assert!(!learned(element), "{element}");
        }
    }
}
