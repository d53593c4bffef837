//! What can happen to a document.

use std::ops::Range;

use crate::START;
use crate::rng::Rng;

/// A change, and the number that decides where and with what.
#[derive(Clone, Copy, Debug)]
pub struct Mutation {
    pub kind: Kind,
    seed: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    // These leave a well-formed document well-formed, mostly.
    ReorderAttributes,
    Value,
    Number,
    DropElement,
    DoubleElement,
    MoveElement,
    ShuffleMetrics,
    SwapQuotes,
    LineEnds,
    Noise,
    DropAttribute,
    // These do not.
    Byte,
    Insert,
    Delete,
    Duplicate,
    Move,
    FromOther,
    DoubleAttribute,
    OddQuotes,
    HostileValue,
    Truncate,
}

const MILD: [Kind; 13] = [
    Kind::ReorderAttributes,
    Kind::Value,
    Kind::Value,
    Kind::Number,
    Kind::Number,
    Kind::DropElement,
    Kind::DoubleElement,
    Kind::MoveElement,
    Kind::ShuffleMetrics,
    Kind::SwapQuotes,
    Kind::LineEnds,
    Kind::Noise,
    Kind::DropAttribute,
];
const HARSH: [Kind; 15] = [
    Kind::Byte,
    Kind::Byte,
    Kind::Insert,
    Kind::Insert,
    Kind::Insert,
    Kind::Delete,
    Kind::Delete,
    Kind::Duplicate,
    Kind::Move,
    Kind::FromOther,
    Kind::DoubleAttribute,
    Kind::OddQuotes,
    Kind::HostileValue,
    Kind::HostileValue,
    Kind::Truncate,
];

const MILD_VALUES: [&[u8]; 26] = [
    b"0",
    b"1.25",
    b"-7.5",
    b"1e10",
    b"1.5e-3",
    b"2e-3",
    b".5",
    b"5.",
    b"+4",
    b" 7",
    b"12abc",
    b"0x1F",
    b"0x1.8p1",
    b"nan",
    b"-inf",
    b"1e400",
    b"",
    b"word",
    b"a &amp; b",
    b"&#233;&#x20ac;",
    "caf\u{e9}".as_bytes(),
    b"caf\xe9",
    b"123456789012345678",
    b"0.123456789012345678901",
    b"a>b",
    b"it's",
];
const HOSTILE_VALUES: [&[u8]; 20] = [
    b"a>b",
    b"a'b",
    b"'",
    b">",
    b"/>",
    b"'>",
    b"a\"b",
    b"\" VAL=\"9",
    b"\" TN=\"9",
    b"a<b",
    b"\n<",
    b"\n",
    b"\t",
    b"&",
    b"&nbsp;",
    b"&#0;",
    b"\0",
    b"\xff\xfe",
    b"</METRIC>",
    b"]]>",
];
const NUMBERS: [&[u8]; 22] = [
    b"0",
    b"1",
    b"9",
    b"10",
    b"11",
    b"60",
    b"61",
    b"100",
    b"101",
    b"999999999",
    b"1000000000",
    b"0000000007",
    b"4294967295",
    b"4294967296",
    b"99999999999",
    b"-1",
    b"+5",
    b" 5",
    b"\xa05",
    b"7s",
    b"",
    b"x",
];
const TOKENS: [&[u8]; 36] = [
    b"\"",
    b"\"",
    b"'",
    b"<",
    b"<",
    b">",
    b">",
    b"&",
    b"/",
    b"=",
    b" ",
    b"\n",
    b"\r\n",
    b"\n<",
    b"/>",
    b"<!--",
    b"-->",
    b"<!-->",
    b"]]>",
    b"<![CDATA[",
    b"</METRIC>",
    b"</HOST>",
    b"</EXTRA_DATA>",
    b"<METRIC ",
    b"\xe9",
    "\u{e9}".as_bytes(),
    b"\0",
    b"<?",
    b"?>",
    b"&amp;",
    // Elements where they do not belong.
    b"<GANGLIA_XML VERSION=\"2.4.1\">",
    b"<GANGLIA_XML VERSION=\"2.4.1\">",
    b"<HOST NAME=\"h1\" TN=\"9\" TMAX=\"20\">",
    b"</CLUSTER>",
    b"<GRID NAME=\"g\">",
    b"</GRID>",
];
const NOISE: [&[u8]; 9] = [
    b"<!-- x -->",
    b"<!-- <HOST NAME=\"no\"> -->",
    b"<!--> <METRIC NAME=\"no\" VAL=\"1\" TYPE=\"int8\"/> -->",
    b"<![CDATA[</METRIC>]]>",
    b"<?pi ' ?>",
    b"text",
    b"\n\n",
    b"<FUTURE A='1'/>",
    b"<FUTURE></FUTURE>",
];

/// A tag of a document, and its attributes.
#[derive(Clone, Debug)]
pub struct Tag {
    pub range: Range<usize>,
    pub name: Range<usize>,
    close: bool,
    empty: bool,
    /// Each from the first byte of its name to behind its quote; its name; its value.
    pub attributes: Vec<(Range<usize>, Range<usize>, Range<usize>)>,
}

/// The tags of a document, as far as it is one.
pub fn tags(document: &[u8]) -> Vec<Tag> {
    let mut all = Vec::new();
    let mut at = memchr::memmem::find(document, b"<GANGLIA_XML").unwrap_or(0);
    while let Some(open) = memchr::memchr(b'<', &document[at.min(document.len())..]) {
        let start = at + open;
        let rest = &document[start..];
        let until = |end: &[u8]| memchr::memmem::find(rest, end).map_or(document.len(), |n| start + n + end.len());
        match rest {
            [b'<', b'!', b'-', b'-', ..] => at = until(b"-->"),
            [b'<', b'!', b'[', ..] => at = until(b"]]>"),
            [b'<', b'!' | b'?', ..] => at = until(b">"),
            _ => {
                let tag = tag(document, start);
                at = tag.range.end;
                all.push(tag);
            }
        }
    }
    all
}

/// The tag that begins there.
pub fn tag(document: &[u8], start: usize) -> Tag {
    let close = document.get(start + 1) == Some(&b'/');
    let word = |from: usize| {
        let ends = |b: &u8| matches!(b, b' ' | b'\t' | b'\r' | b'\n' | b'=' | b'<' | b'>' | b'/' | b'"' | b'\'');
        from..document[from..].iter().position(ends).map_or(document.len(), |len| from + len)
    };
    let name = word(start + 1 + usize::from(close));
    let mut tag = Tag { range: start..document.len(), name: name.clone(), close, empty: false, attributes: Vec::new() };
    let mut at = name.end;
    while let Some(byte) = document.get(at) {
        match byte {
            b'>' => {
                tag.range.end = at + 1;
                break;
            }
            b'<' => {
                tag.range.end = at;
                break;
            }
            b' ' | b'\t' | b'\r' | b'\n' | b'=' | b'/' => {
                tag.empty = *byte == b'/';
                at += 1;
            }
            _ => {
                let key = word(at + 1);
                let key = at..key.end;
                at = key.end;
                let quote = document.get(at + 1).copied();
                if let (Some(b'='), Some(quote @ (b'"' | b'\''))) = (document.get(at), quote) {
                    let from = at + 2;
                    let end = memchr::memchr(quote, &document[from..]).map_or(document.len(), |n| from + n);
                    at = (end + 1).min(document.len());
                    tag.attributes.push((key.start..at, key, from..end));
                }
            }
        }
    }
    tag
}

/// The elements of that name, from tag to end tag.
pub fn elements(document: &[u8], tags: &[Tag], name: &str) -> Vec<Range<usize>> {
    let named = |tag: &Tag| document[tag.name.clone()] == *name.as_bytes();
    let mut found = Vec::new();
    for (at, tag) in tags.iter().enumerate().filter(|(_, tag)| named(tag) && !tag.close) {
        let end = if tag.empty { Some(tag) } else { tags[at..].iter().find(|tag| named(tag) && tag.close) };
        if let Some(end) = end {
            found.push(tag.range.start..end.range.end);
        }
    }
    found
}

/// The same document with what the next poll would change: values and ages.
pub fn next_poll(document: &mut Vec<u8>, seed: u64) {
    let mut rng = Rng::new(seed);
    let mut out = Vec::with_capacity(document.len() + 64);
    let mut copied = 0;
    for tag in tags(document) {
        let name = &document[tag.name.clone()];
        for (_, key, value) in tag.attributes {
            let new = match (name, &document[key]) {
                (b"METRIC", b"VAL") | (b"METRICS", b"SUM") => match rng.below(6) {
                    0 => continue,
                    1 => rng.pick(&MILD_VALUES).to_vec(),
                    2 => number(&mut rng),
                    _ => format!("{}.{:02}", rng.below(2000), rng.below(100)).into_bytes(),
                },
                (b"METRIC", b"TN") if rng.one_in(8) => rng.pick(&NUMBERS).to_vec(),
                (b"METRIC", b"TN") => rng.below(90).to_string().into_bytes(),
                (b"HOST", b"TN") if rng.one_in(8) => rng.pick(&NUMBERS).to_vec(),
                (b"HOST", b"TN") => rng.below(20).to_string().into_bytes(),
                (b"HOST", b"REPORTED") => (START - rng.below(90) as i64).to_string().into_bytes(),
                _ => continue,
            };
            out.extend_from_slice(&document[copied..value.start]);
            out.extend_from_slice(&new);
            copied = value.end;
        }
    }
    out.extend_from_slice(&document[copied..]);
    *document = out;
}

/// Some way to write a number.
fn number(rng: &mut Rng) -> Vec<u8> {
    let mut text = rng.pick(&["", "", "", "-", "+", " "]).to_string();
    let digits = |rng: &mut Rng| {
        let len = *rng.pick(&[0, 1, 1, 2, 3, 7, 8, 9, 15, 16, 17, 19, 20, 25]);
        (0..len).map(|_| char::from(b'0' + rng.below(10) as u8)).collect::<String>()
    };
    text += &digits(rng);
    if rng.one_in(2) {
        text.push('.');
        text += &digits(rng);
    }
    if rng.one_in(6) {
        text += rng.pick::<&str>(&["e", "E", "e+", "e-"]);
        text += &rng.below(40).to_string();
    }
    text.into_bytes()
}

impl Mutation {
    pub fn mild(rng: &mut Rng) -> Self {
        Self { kind: *rng.pick(&MILD), seed: rng.next() }
    }

    pub fn harsh(rng: &mut Rng) -> Self {
        let kind = *rng.pick(&HARSH);
        // Half a document is no snapshot, and of little use here.
        let kind = if kind == Kind::Truncate && !rng.one_in(4) { Kind::Byte } else { kind };
        Self { kind, seed: rng.next() }
    }

    /// Changes `document`; `other` is another one of the same source.
    pub fn apply(&self, document: &mut Vec<u8>, other: &[u8]) {
        let rng = &mut Rng::new(self.seed);
        let tags = tags(document);
        if tags.is_empty() {
            return;
        }
        match self.kind {
            Kind::ReorderAttributes => reorder_attributes(document, &tags, rng),
            Kind::Value => {
                let value = *rng.pick(&MILD_VALUES);
                set_value(
                    document,
                    &tags,
                    rng,
                    &[b"VAL", b"VAL", b"SUM", b"NAME", b"UNITS", b"TYPE", b"IP", b"TAGS", b"LOCATION"],
                    value,
                );
            }
            Kind::Number => {
                let value = *rng.pick(&NUMBERS);
                set_value(
                    document,
                    &tags,
                    rng,
                    &[b"TN", b"TN", b"TMAX", b"DMAX", b"REPORTED", b"LOCALTIME", b"GMOND_STARTED", b"NUM"],
                    value,
                );
            }
            Kind::HostileValue => {
                let value = *rng.pick(&HOSTILE_VALUES);
                set_value(
                    document,
                    &tags,
                    rng,
                    &[b"VAL", b"VAL", b"VAL", b"TN", b"NAME", b"UNITS", b"ODD", b"REPORTED", b"IP", b"TAGS"],
                    value,
                );
            }
            Kind::DropElement => {
                if let Some(range) = element(document, &tags, rng) {
                    document.drain(range);
                }
            }
            Kind::DoubleElement => {
                if let Some(range) = element(document, &tags, rng) {
                    let copy = document[range.clone()].to_vec();
                    document.splice(range.end..range.end, copy);
                }
            }
            Kind::MoveElement => {
                let names = ["METRIC", "METRIC", "HOST"];
                let all = elements(document, &tags, rng.pick::<&str>(&names));
                if all.is_empty() {
                    return;
                }
                let (from, to) = (rng.pick(&all).clone(), rng.pick(&all).end);
                if to >= from.end {
                    let copy = document[from.clone()].to_vec();
                    document.splice(to..to, copy);
                    document.drain(from);
                } else if to <= from.start {
                    let copy: Vec<u8> = document.drain(from).collect();
                    document.splice(to..to, copy);
                }
            }
            Kind::ShuffleMetrics => shuffle_metrics(document, &tags, rng),
            Kind::SwapQuotes => {
                let tag = rng.pick(&tags);
                for (whole, _, value) in &tag.attributes {
                    let quote = if document[value.start - 1] == b'"' { b'\'' } else { b'"' };
                    if !document[value.clone()].contains(&quote) && whole.end > value.end {
                        (document[value.start - 1], document[value.end]) = (quote, quote);
                    }
                }
            }
            Kind::LineEnds => {
                let end: &[u8] = rng.pick::<&[u8]>(&[b"\r\n", b"", b"\n\n", b"\r", b"\n\t"]);
                let only = rng.one_in(2).then(|| rng.pick(&tags).range.end);
                let mut out = Vec::new();
                for (at, byte) in document.iter().enumerate() {
                    match byte {
                        b'\n' if only.is_none_or(|only| only == at) => out.extend_from_slice(end),
                        byte => out.push(*byte),
                    }
                }
                *document = out;
            }
            Kind::Noise => {
                let at = rng.pick(&tags).range.end;
                document.splice(at..at, rng.pick(&NOISE).to_vec());
            }
            Kind::DropAttribute | Kind::DoubleAttribute => {
                let tag = rng.pick(&tags);
                if tag.attributes.is_empty() {
                    return;
                }
                let (whole, _, _) = rng.pick(&tag.attributes).clone();
                if self.kind == Kind::DropAttribute {
                    document.drain(whole);
                } else {
                    let copy = [b" ", &document[whole]].concat();
                    let at = rng.pick(&tag.attributes).0.end;
                    document.splice(at..at, copy);
                }
            }
            Kind::OddQuotes => {
                let tag = rng.pick(&tags);
                for _ in 0..rng.within(1..3) {
                    if let Some((_, key, _)) = tag.attributes.get(rng.below(tag.attributes.len())) {
                        let quote = *rng.pick(b"\"\"'");
                        document.splice(key.start..key.start, [b'q', quote, b'=', b'"', b'"', b' ']);
                    }
                }
            }
            Kind::Byte => {
                let at = place(&tags, rng).min(document.len() - 1);
                document[at] = if rng.one_in(2) { *rng.pick(b"<>\"'&/!-[]? =\n\0\xff0aV") } else { rng.next() as u8 };
            }
            Kind::Insert => {
                let at = place(&tags, rng);
                document.splice(at..at, rng.pick(&TOKENS).to_vec());
            }
            Kind::Delete => {
                let range = span(document, &tags, rng);
                document.drain(range);
            }
            Kind::Duplicate | Kind::Move => {
                let range = span(document, &tags, rng);
                let copy = document[range.clone()].to_vec();
                if self.kind == Kind::Move {
                    document.drain(range);
                }
                let at = place(&tags, rng).min(document.len());
                document.splice(at..at, copy);
            }
            Kind::FromOther => {
                let others = self::tags(other);
                if others.is_empty() {
                    return;
                }
                let copy = other[span(other, &others, rng)].to_vec();
                let range = if rng.one_in(2) {
                    span(document, &tags, rng)
                } else {
                    let at = place(&tags, rng);
                    at..at
                };
                document.splice(range, copy);
            }
            Kind::Truncate => document.truncate(place(&tags, rng)),
        }
    }
}

/// Somewhere in a tag, or right behind it: at its edges more often than in its middle.
fn place(tags: &[Tag], rng: &mut Rng) -> usize {
    let tag = rng.pick(tags);
    match (rng.below(4), tag.attributes.get(rng.below(tag.attributes.len()))) {
        (0, _) => tag.range.start,
        (1, _) => tag.range.end - rng.below(3).min(tag.range.len()),
        (2, Some((_, key, value))) => *rng.pick(&[key.start, key.end, value.start, value.end]),
        _ => tag.range.start + rng.below(tag.range.len()),
    }
}

/// A few bytes, or some tags.
fn span(document: &[u8], tags: &[Tag], rng: &mut Rng) -> Range<usize> {
    if rng.one_in(2) {
        let at = place(tags, rng);
        return at..(at + rng.within(1..30)).min(document.len()).max(at);
    }
    let at = rng.below(tags.len());
    let last = (at + rng.below(6)).min(tags.len() - 1);
    tags[at].range.start..tags[last].range.end
}

fn element(document: &[u8], tags: &[Tag], rng: &mut Rng) -> Option<Range<usize>> {
    let names =
        ["METRIC", "METRIC", "METRIC", "METRIC", "HOST", "HOST", "CLUSTER", "EXTRA_DATA", "EXTRA_ELEMENT", "METRICS"];
    let all = elements(document, tags, rng.pick::<&str>(&names));
    (!all.is_empty()).then(|| rng.pick(&all).clone())
}

/// Of the attributes that have one of the names, one gets another value.
fn set_value(document: &mut Vec<u8>, tags: &[Tag], rng: &mut Rng, keys: &[&[u8]], value: &[u8]) {
    let key = *rng.pick(keys);
    let all: Vec<_> =
        tags.iter().flat_map(|tag| &tag.attributes).filter(|(_, name, _)| document[name.clone()] == *key).collect();
    if all.is_empty() {
        return;
    }
    let (_, _, range) = (*rng.pick(&all)).clone();
    // Instead of what is there, or before or behind it.
    let range = match rng.below(6) {
        0 => range.start..range.start,
        1 => range.end..range.end,
        _ => range,
    };
    document.splice(range, value.iter().copied());
}

fn reorder_attributes(document: &mut Vec<u8>, tags: &[Tag], rng: &mut Rng) {
    let tag = rng.pick(tags);
    let (Some(first), Some(last)) = (tag.attributes.first(), tag.attributes.last()) else { return };
    let mut parts: Vec<_> = tag.attributes.iter().map(|(whole, ..)| document[whole.clone()].to_vec()).collect();
    rng.shuffle(&mut parts);
    let range = first.0.start..last.0.end;
    document.splice(range, parts.join(&b" "[..]));
}

fn shuffle_metrics(document: &mut Vec<u8>, tags: &[Tag], rng: &mut Rng) {
    let hosts = elements(document, tags, "HOST");
    if hosts.is_empty() {
        return;
    }
    let host = rng.pick(&hosts).clone();
    let metrics: Vec<_> = elements(document, tags, "METRIC")
        .into_iter()
        .filter(|metric| host.start < metric.start && metric.end <= host.end)
        .collect();
    // Damage may have put them into each other.
    if metrics.is_empty() || metrics.windows(2).any(|pair| pair[0].end > pair[1].start) {
        return;
    }
    let mut order: Vec<_> = (0..metrics.len()).collect();
    rng.shuffle(&mut order);
    let mut out = document[..metrics[0].start].to_vec();
    for (at, from) in order.iter().enumerate() {
        out.extend_from_slice(&document[metrics[*from].clone()]);
        let next = metrics.get(at + 1).map_or(document.len(), |next| next.start);
        out.extend_from_slice(&document[metrics[at].end..next]);
    }
    *document = out;
}
