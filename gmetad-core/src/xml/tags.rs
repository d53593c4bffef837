//! Cuts a stream of bytes into tags. Resumable: bytes come as they arrive, what is incomplete waits.

use std::borrow::Cow;
use std::ops::Range;

use quick_xml::events::attributes::Attributes;

use super::escape::to_utf8;
use crate::limits;

/// A start or end tag.
#[derive(Debug)]
pub(crate) struct Tag<'a> {
    /// Everything between `<` (or `</`) and `>` (or `/>`), decoded to UTF-8.
    text: Cow<'a, str>,
    pub(crate) kind: TagKind,
    /// Bytes of the document before this tag.
    pub(crate) offset: u64,
    /// The input at hand, up to and with this tag.
    window: &'a [u8],
    /// Bytes of the tag itself.
    len: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TagKind {
    Open,
    Empty,
    Close,
}

impl Tag<'_> {
    pub(crate) fn name(&self) -> &str {
        &self.text[..self.name_len()]
    }

    /// The input from `offset` (bytes of the document) to the end of this tag, if all of it is at hand.
    pub(crate) fn input_from(&self, offset: u64) -> Option<&[u8]> {
        let wanted = usize::try_from((self.offset + self.len as u64).checked_sub(offset)?).ok()?;
        self.window.get(self.window.len().checked_sub(wanted)?..)
    }

    /// Where `part`, a piece of an attribute of this tag, stands from the tag's beginning; `None` if it is a decoded
    /// copy.
    pub(crate) fn position(&self, part: &str) -> Option<Range<usize>> {
        let tag = &self.window[self.window.len() - self.len..];
        let start = (part.as_ptr() as usize).checked_sub(tag.as_ptr() as usize)?;
        (start + part.len() <= tag.len()).then_some(start..start + part.len())
    }

    fn name_len(&self) -> usize {
        self.text.bytes().position(|b| b.is_ascii_whitespace()).unwrap_or(self.text.len())
    }

    /// The attributes, by quick-xml. Repetitions are let through: the last one wins.
    pub(crate) fn attributes(&self) -> Attributes<'_> {
        let mut attributes = Attributes::new(&self.text, self.name_len());
        attributes.with_checks(false);
        attributes
    }
}

/// Why a stream cannot be cut any further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TagError {
    /// A tag (or comment, or document type) without an end.
    #[error("no end of the tag at byte {0} within {limit} bytes", limit = limits::TAG_BYTES)]
    Endless(u64),
    /// More bytes than [`limits::DOCUMENT_BYTES`].
    #[error("the document is longer than {limit} bytes", limit = limits::DOCUMENT_BYTES)]
    TooLong,
}

/// What gets the tags.
pub(crate) trait TagSink {
    /// Looks at input that begins with `<`. Returns how many bytes of it were understood as they are; 0 to have the
    /// next tag cut.
    fn recognise(&mut self, input: &[u8]) -> usize;

    /// Takes a tag.
    fn tag(&mut self, tag: &Tag<'_>);
}

/// Bytes that are joined with an unfinished tag at first: most METRICs end within.
const JOIN: usize = 2048;

/// Keeps the tail of a stream that is not a whole tag yet.
#[derive(Debug, Default)]
pub(crate) struct TagStream {
    tail: Vec<u8>,
    /// Bytes of the document before `tail`.
    offset: u64,
}

impl TagStream {
    /// Hands every tag that `bytes` completes to `sink`.
    pub(crate) fn push(&mut self, bytes: &[u8], sink: &mut impl TagSink) -> Result<(), TagError> {
        if self.offset + (self.tail.len() + bytes.len()) as u64 > limits::DOCUMENT_BYTES {
            return Err(TagError::TooLong);
        }
        // What is left of the tag before is joined with as little as completes it; the rest is read where it is.
        let mut joined = std::mem::take(&mut self.tail);
        let mut rest = bytes;
        while !joined.is_empty() {
            let (more, behind) = rest.split_at(rest.len().min(JOIN.max(joined.len())));
            let old = joined.len();
            joined.extend_from_slice(more);
            let taken = self.cut(&joined, sink)?;
            if taken >= old {
                rest = &rest[taken - old..];
                break;
            }
            joined.drain(..taken);
            rest = behind;
            if rest.is_empty() {
                self.tail = joined;
                return Ok(());
            }
        }
        let taken = self.cut(rest, sink)?;
        self.tail = rest[taken..].to_vec();
        Ok(())
    }

    /// Hands every whole tag of `input` to `sink`; how many bytes there are before the first one that is not whole.
    fn cut(&mut self, input: &[u8], sink: &mut impl TagSink) -> Result<usize, TagError> {
        let mut at = 0;
        while let Some(open) = memchr::memchr(b'<', &input[at..]) {
            at += open;
            let recognised = sink.recognise(&input[at..]);
            if recognised > 0 {
                at += recognised;
                continue;
            }
            let len = markup_len(&input[at..]);
            // However the bytes are cut, the same tag is too long.
            if len.unwrap_or(input.len() - at) > limits::TAG_BYTES {
                return Err(TagError::Endless(self.offset + at as u64));
            }
            let Some(len) = len else {
                self.offset += at as u64;
                return Ok(at);
            };
            if let Some(tag) = tag(&input[..at + len], len, self.offset + at as u64) {
                sink.tag(&tag);
            }
            at += len;
        }
        self.offset += input.len() as u64;
        Ok(input.len())
    }

    /// Bytes taken in so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.offset + self.tail.len() as u64
    }
}

/// The tag that the last `len` bytes of `window` are; `None` for comments, declarations and the like.
fn tag(window: &[u8], len: usize, offset: u64) -> Option<Tag<'_>> {
    // A tag that was cut at its line's end still has that end.
    let (content, kind) = match window[window.len() - len..].trim_ascii_end() {
        [b'<', b'!' | b'?', ..] => return None,
        [b'<', b'/', content @ .., b'>'] => (content, TagKind::Close),
        [b'<', content @ .., b'/', b'>'] => (content, TagKind::Empty),
        [b'<', content @ .., b'>'] => (content, TagKind::Open),
        _ => return None,
    };
    Some(Tag { text: to_utf8(content), kind, offset, window, len })
}

/// Length of the markup that `input` starts with; `None` if its end is not there yet.
fn markup_len(input: &[u8]) -> Option<usize> {
    let after = |start: usize, end: &[u8]| memchr::memmem::find(&input[start..], end).map(|i| start + i + end.len());
    let until = |end: &[u8]| after(0, end);
    match input {
        [b'<'] | [b'<', b'!'] | [b'<', b'!', b'-'] => None,
        // `<!-->` is only the beginning of one.
        [b'<', b'!', b'-', b'-', ..] => after(4, b"-->"),
        [b'<', b'?', ..] => until(b"?>"),
        [b'<', b'!', b'[', ..] => until(b"]]>"),
        [b'<', b'!', ..] => document_type_len(input),
        _ => tag_len(input),
    }
}

/// A tag ends at the first `>` outside quotes.
///
/// In well-formed XML there is no `<` inside a tag. So a `<` at the start of a line inside quotes means that a quote
/// is one too many: then the tag ends where its line does, and costs only itself.
fn tag_len(input: &[u8]) -> Option<usize> {
    let mut at = 1;
    loop {
        let stop = at + memchr::memchr3(b'>', b'"', b'\'', &input[at..])?;
        if input[stop] == b'>' {
            return Some(stop + 1);
        }
        let quote = input[stop];
        match memchr::memchr2(quote, b'\n', &input[stop + 1..]) {
            Some(end) if input[stop + 1 + end] == quote => at = stop + 1 + end + 1,
            Some(mut newline) => {
                // Rare: a line end inside quotes.
                loop {
                    let after = stop + 1 + newline + 1;
                    match input.get(after) {
                        None => return None,
                        Some(b'<') => return Some(after),
                        Some(_) => {}
                    }
                    let next = memchr::memchr2(quote, b'\n', &input[after..])?;
                    if input[after + next] == quote {
                        at = after + next + 1;
                        break;
                    }
                    newline = after + next - (stop + 1);
                }
            }
            None => return None,
        }
    }
}

/// A document type ends at the first `>` outside its brackets, quotes and comments.
fn document_type_len(input: &[u8]) -> Option<usize> {
    let mut brackets = 0u32;
    let mut at = 2;
    while at < input.len() {
        match input[at] {
            b'[' => brackets += 1,
            b']' => brackets = brackets.saturating_sub(1),
            b'>' if brackets == 0 => return Some(at + 1),
            b'<' if input[at..].starts_with(b"<!--") => {
                at += 4 + memchr::memmem::find(&input[at + 4..], b"-->")? + 2;
            }
            quote @ (b'"' | b'\'') => at += 1 + memchr::memchr(quote, &input[at + 1..])?,
            _ => {}
        }
        at += 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Keeps the tags.
    #[derive(Default)]
    struct Kept(Vec<(String, TagKind, u64)>);

    impl TagSink for Kept {
        fn recognise(&mut self, _input: &[u8]) -> usize {
            0
        }

        fn tag(&mut self, tag: &Tag<'_>) {
            tag.attributes().for_each(drop);
            assert!(tag.input_from(tag.offset).is_some_and(|input| input.starts_with(b"<")));
            self.0.push((tag.text.to_string(), tag.kind, tag.offset));
        }
    }

    fn tags(pieces: &[&[u8]]) -> Vec<(String, TagKind, u64)> {
        let mut stream = TagStream::default();
        let mut kept = Kept::default();
        for piece in pieces {
            stream.push(piece, &mut kept).expect("cut");
        }
        kept.0
    }

    #[test]
    fn tags_are_cut_out_of_everything_else() {
        let doc = b"<?xml version='1.0'?><!DOCTYPE A [ <!-- don't ]> --> <!ELEMENT A ANY> ]>\n<A X=\"a>b\"><!-- <B> -->text<C/></A>";
        let expected = [("A X=\"a>b\"", TagKind::Open, 73), ("C", TagKind::Empty, 100), ("A", TagKind::Close, 104)];
        assert_eq!(tags(&[doc]), expected.map(|(t, k, o)| (t.to_owned(), k, o)));
    }

    #[test]
    fn a_comment_does_not_end_in_its_own_beginning() {
        let doc = b"<!DOCTYPE A [ <!--> <!ELEMENT B ANY> ]> --> ]><A><!--> <B/> --><!----><C/></A>";
        let names: Vec<_> = tags(&[doc]).into_iter().map(|t| t.0).collect();
        assert_eq!(names, ["A", "C", "A"]);
    }

    #[test]
    fn a_quote_too_many_costs_its_own_line() {
        let doc = b"<M A=\"x\"y\" B=\"1\">\n<N B=\"2\"/>\n<O C=\"line\nbreak\"/>";
        let texts: Vec<_> = tags(&[doc]).into_iter().map(|t| t.0).collect();
        assert_eq!(texts[1..], ["N B=\"2\"", "O C=\"line\nbreak\""]);
    }

    #[test]
    fn a_tag_without_end_is_refused() {
        let mut stream = TagStream::default();
        let error = (0..80).find_map(|_| stream.push(&[b'<'; 65536], &mut Kept::default()).err());
        assert_eq!(error, Some(TagError::Endless(0)));
    }

    proptest! {
        /// However the bytes are cut on their way, the tags are the same.
        #[test]
        fn cuts_do_not_matter(
            parts in proptest::collection::vec(prop_oneof![
                Just("<A B=\"c > d\">".to_owned()), Just("<!-- x -->".to_owned()), Just("</A>".to_owned()),
                Just("<E X='\"'/>".to_owned()), Just("<F Y=\"\n<\">".to_owned()), "[ -~\n]{0,12}"
            ], 0..12),
            cuts in proptest::collection::vec(0usize..200, 0..6),
        ) {
            let doc = parts.concat().into_bytes();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|c| c.min(doc.len())).collect();
            cuts.sort_unstable();
            let mut pieces = Vec::new();
            let mut from = 0;
            for cut in cuts.into_iter().chain([doc.len()]) {
                pieces.push(&doc[from..cut]);
                from = cut;
            }
            prop_assert_eq!(tags(&[&doc]), tags(&pieces));
        }

        #[test]
        fn any_bytes_are_cut(bytes: Vec<u8>) {
            let mut stream = TagStream::default();
            let _ = stream.push(&bytes, &mut Kept::default());
        }
    }
}
