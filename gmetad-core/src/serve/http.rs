//! What the HTTP of the interactive port and of the pages share: which coding a client takes, and entity tags.

use std::hash::{DefaultHasher, Hash, Hasher};

use crate::model::UnixTime;
use crate::query::Query;
use crate::store::GridStore;
use crate::xml::resolve;

/// Seconds that the ages in an answer may move before its tag changes without a poll.
const AGE_STEP: i64 = 60;

/// Whether a client whose `Accept-Encoding` lines have these values is to get gzip (RFC 9110, 12.5.3): it is acceptable, and
/// not liked less than plain text. No line at all, or one that is not understood, means plain.
pub fn accepts_gzip<'a>(values: impl IntoIterator<Item = &'a str>) -> bool {
    let (mut gzip, mut any, mut plain) = (None, None, None);
    for element in values.into_iter().flat_map(|value| value.split(',')) {
        let mut parts = element.split(';').map(str::trim);
        let coding = parts.next().unwrap_or_default();
        let quality = parts.find_map(|part| {
            let (key, value) = part.split_once('=')?;
            key.trim_end().eq_ignore_ascii_case("q").then(|| thousandths(value.trim_start()))
        });
        let quality = quality.unwrap_or(1000);
        let place = match coding {
            "*" => &mut any,
            _ if coding.eq_ignore_ascii_case("gzip") || coding.eq_ignore_ascii_case("x-gzip") => &mut gzip,
            _ if coding.eq_ignore_ascii_case("identity") => &mut plain,
            _ => continue,
        };
        *place = (*place).max(Some(quality));
    }
    let gzip = gzip.or(any).unwrap_or(0);
    gzip > 0 && gzip >= plain.unwrap_or(0)
}

/// A q-value; 0 if it is none.
fn thousandths(text: &str) -> u16 {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if fraction.len() > 3 || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return 0;
    }
    let fraction = format!("{fraction:0<3}").parse().unwrap_or(0);
    match (whole, fraction) {
        ("0", fraction) => fraction,
        ("1", 0) => 1000,
        _ => 0,
    }
}

/// Whether `If-None-Match` lines of these values have `tag` (its text without quotes), compared weakly (RFC 9110, 8.8.3.2),
/// or are `*`.
pub fn has_tag<'a>(values: impl IntoIterator<Item = &'a str>, tag: &str) -> bool {
    values.into_iter().any(|value| {
        let mut rest = value.trim();
        if rest == "*" {
            return true;
        }
        // A tag may have commas, so the list is read tag by tag; what is none ends it.
        loop {
            rest = rest.trim_start_matches([',', ' ', '\t']);
            let Some(quoted) = rest.strip_prefix("W/").unwrap_or(rest).strip_prefix('"') else { return false };
            let Some((known, after)) = quoted.split_once('"') else { return false };
            if known == tag {
                return true;
            }
            rest = after;
        }
    })
}

/// The tag (without quotes) of the answer to `query` at `now`: which store, which state of what is asked for, which question.
///
/// The state is the number of the view that showed the cluster or grid first as it is, or, for questions about more than
/// one, of the view itself; every poll that is published makes a new one. Within a state the ages (`TN`) and `LOCALTIME` of
/// the own grid still move with the clock: so the tag is a weak one. Where no poll comes to end a state, because the source
/// is dead or polled seldom, the age of what is shown counts in steps of a minute: `TN` is how a reader tells that a host is
/// down, and must not stand still for those who ask with a tag.
///
/// The question and the own grid's name are folded in, although tags are only compared for one URL: a client that mixes
/// them up gets the whole answer and not a wrong 304.
pub(crate) fn tag(store: &GridStore, query: &Query, now: UnixTime) -> String {
    let view = store.view();
    let mut query = query.clone();
    resolve(&view, &mut query);
    let (state, polled) = view.state(query.path.first().map(String::as_str));
    let age = polled.map_or(0, |polled| (now - polled).max(0) / AGE_STEP);
    // Its keys are fixed: the same question is the same number in every thread.
    let mut question = DefaultHasher::new();
    (&query.path, query.summary, query.strict, view.name(), view.authority()).hash(&mut question);
    format!("{:x}-{state:x}-{age:x}-{:x}", store.id(), question.finish())
}

/// The header lines that have arrived whole behind the request line, up to the empty line.
pub(crate) struct Arrived<'a> {
    lines: Vec<(&'a str, &'a str)>,
    /// The empty line is there, too.
    complete: bool,
}

impl<'a> Arrived<'a> {
    /// Reads what follows the request line; begins with that line's end.
    pub(crate) fn read(after: &'a [u8]) -> Self {
        let mut lines = Vec::new();
        let after = after.strip_prefix(b"\r").unwrap_or(after);
        let Some(mut rest) = after.strip_prefix(b"\n") else { return Self { lines, complete: false } };
        while let Some(end) = rest.iter().position(|b| *b == b'\n') {
            let line = rest[..end].strip_suffix(b"\r").unwrap_or(&rest[..end]);
            if line.is_empty() {
                return Self { lines, complete: true };
            }
            // What is no header is passed over: the C daemon looks at none of them.
            if let Some((name, value)) = std::str::from_utf8(line).ok().and_then(|line| line.split_once(':')) {
                lines.push((name, value.trim_matches([' ', '\t'])));
            }
            rest = &rest[end + 1..];
        }
        Self { lines, complete: false }
    }

    /// Whether this is a head with headers, and all of them have come.
    pub(crate) fn is_whole(&self) -> bool {
        self.complete && !self.lines.is_empty()
    }

    /// The values of the lines of this name.
    pub(crate) fn values(&self, name: &str) -> impl Iterator<Item = &'a str> {
        self.lines.iter().filter(move |(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, value)| *value)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::source::{GmondReader, ReaderOptions};
    use crate::store::Identity;
    use crate::summary::RootRules;

    #[test]
    fn codings_are_negotiated() {
        for (lines, wanted) in [
            (&[][..], false),
            (&[""], false),
            (&["gzip"], true),
            (&["GZIP"], true),
            (&["x-gzip"], true),
            (&["deflate, gzip;q=1.0, *;q=0.5"], true),
            (&["deflate, br"], false),
            (&["br", "gzip"], true),
            (&["gzip;q=0"], false),
            (&["gzip; q=0.000"], false),
            (&["gzip ; Q = 0.001"], true),
            (&["gzip;x=y;q=0"], false),
            (&["*"], true),
            (&["*;q=0"], false),
            (&["gzip;q=0, *"], false),
            (&["gzip, *;q=0"], true),
            (&["identity"], false),
            (&["identity;q=0, *"], true),
            (&["gzip;q=0.5, identity"], false),
            (&["gzip;q=0.5, identity;q=0.5"], true),
            (&["gzip;q=2"], false),
            (&["gzip;q=1.001"], false),
            (&["gzip;q=-1"], false),
            (&["gzip;q="], false),
            (&["gzip;q=nan"], false),
            (&["gzip;q=0.0001"], false),
            (&["gzipped"], false),
        ] {
            assert_eq!(accepts_gzip(lines.iter().copied()), wanted, "{lines:?}");
        }
    }

    #[test]
    fn tags_are_compared_weakly() {
        for (lines, wanted) in [
            (&[][..], false),
            (&["\"v1\""], true),
            (&["W/\"v1\""], true),
            (&["*"], true),
            (&[" * "], true),
            (&["\"v0\", W/\"v1\""], true),
            (&["\"v0\"", "\"v1\""], true),
            (&["\"v0\",\"v1\",\"v2\""], true),
            (&["\"a,\" , \"v1\""], true),
            (&["\"v0\", *"], false),
            (&["\"*\""], false),
            (&["v1"], false),
            (&["w/\"v1\""], false),
            (&["\"v1"], false),
            (&["\"v11\""], false),
            (&["\"\""], false),
        ] {
            assert_eq!(has_tag(lines.iter().copied(), "v1"), wanted, "{lines:?}");
        }
    }

    #[test]
    fn only_lines_that_are_there_count() {
        let read = |text: &'static str| {
            let arrived = Arrived::read(text.as_bytes());
            (arrived.values("a-b").collect::<Vec<_>>().join("|"), arrived.is_whole())
        };
        assert_eq!(read(""), (String::new(), false));
        assert_eq!(read("\r"), (String::new(), false));
        assert_eq!(read("\r\nA-B: x"), (String::new(), false));
        assert_eq!(read("\r\nA-B: x\r"), (String::new(), false));
        assert_eq!(read("\r\nA-B: x\r\n"), ("x".to_owned(), false));
        assert_eq!(
            read("\r\nA-B: x\r\nno header\r\na-b:\t y:z \r\nC: d\r\n\r\nA-B: body\r\n"),
            ("x|y:z".to_owned(), true)
        );
        assert_eq!(read("\na-B:x\n\n"), ("x".to_owned(), true));
        assert_eq!(read("\r\n\r\nA-B: body\r\n"), (String::new(), false));
    }

    #[test]
    fn a_tag_is_of_one_question_and_one_store() {
        let store = || GridStore::new(Identity::default(), RootRules::default());
        let (one, other) = (store(), store());
        let tag = |store, line| tag(store, &Query::parse(line).expect("a query"), 0);
        let lines = [
            "GET / HTTP/1.0",
            "GET /?filter=summary HTTP/1.0",
            "GET /a HTTP/1.0",
            "GET /a/b HTTP/1.0",
            "GET /*/b HTTP/1.0",
        ];
        for a in lines {
            assert_ne!(tag(&one, a), tag(&other, a));
            for b in lines {
                assert_eq!(tag(&one, a) == tag(&one, b), a == b, "{a} {b}");
            }
        }
        let before = tag(&one, lines[0]);
        one.set_identity(Identity { name: "other".to_owned(), ..Identity::default() }, Default::default());
        assert_ne!(tag(&one, lines[0]), before);
    }

    #[test]
    fn a_tag_changes_with_its_own_cluster_and_with_age() {
        let store = GridStore::new(Identity::default(), RootRules::default());
        let sources = [store.add_source("a"), store.add_source("b")];
        let publish = |n: usize| {
            let name = ["a", "b"][n];
            let text = format!("<GANGLIA_XML VERSION=\"3.7.2\"><CLUSTER NAME=\"{name}\"></CLUSTER></GANGLIA_XML>");
            let mut reader = GmondReader::new(Vec::new(), ReaderOptions::default());
            let snapshot = reader.read_document(text.as_bytes(), 100).expect("a document");
            store.publish(sources[n], snapshot).expect("a known source");
        };
        let at = |line: &str, now| tag(&store, &Query::parse(line).expect("a query"), now);
        let [all, a, b, none] = ["/", "/a", "/b", "/c"].map(|path| format!("GET {path} HTTP/1.0"));
        let tags = || [&all, &a, &b, &none].map(|line| at(line, 100));
        let changed = |before: [String; 4]| {
            let now = tags();
            [0, 1, 2, 3].map(|n| before[n] != now[n])
        };
        publish(0);
        publish(1);
        let first = tags();
        assert_eq!(changed(first.clone()), [false; 4]);
        publish(1);
        assert_eq!(changed(first), [true, false, true, true]);
        let second = tags();
        publish(0);
        assert_eq!(changed(second), [true, true, false, true]);
        let third = tags();
        store.mark_dead(sources[1], 100);
        assert_eq!(changed(third), [true, false, false, true], "the summary of the root changes");
        for line in [&all, &a] {
            assert_eq!(at(line, 100), at(line, 159));
            assert_ne!(at(line, 100), at(line, 160), "nobody polls, and TN grows");
            assert_eq!(at(line, 100), at(line, 90), "a clock that was put back");
        }
    }

    proptest! {
        #[test]
        fn any_header_is_understood_or_passed_over(bytes: Vec<u8>, text: String) {
            let arrived = Arrived::read(&bytes);
            accepts_gzip(arrived.values("accept-encoding"));
            accepts_gzip([&*text]);
            has_tag([&*text], "v1");
        }
    }
}
