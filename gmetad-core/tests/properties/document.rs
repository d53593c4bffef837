//! Documents of Ganglia as they could be sent, from a few names and texts, so that hosts and metrics meet again.

use std::fmt::Write as _;

use proptest::collection::vec;
use proptest::option::weighted;
use proptest::prelude::*;
use proptest::sample::select;

/// The clock of the first poll.
pub const START: i64 = 1_700_000_000;

#[derive(Clone, Debug)]
pub enum Node {
    Element {
        name: &'static str,
        attributes: Vec<(&'static str, String)>,
        children: Vec<Node>,
    },
    /// What a parser must step over.
    Noise(&'static str),
}

/// How a document is written down, which must not matter.
#[derive(Clone, Copy, Debug)]
pub struct Spelling {
    newline: bool,
    single_quotes: bool,
    references: bool,
}

pub fn element(
    name: &'static str,
    attributes: impl IntoIterator<Item = (&'static str, String)>,
    children: Vec<Node>,
) -> Node {
    Node::Element { name, attributes: attributes.into_iter().collect(), children }
}

impl Node {
    pub fn write(&self, spelling: Spelling) -> Vec<u8> {
        let mut out = String::from_utf8(gmetad_core::xml::PROLOG.to_vec()).unwrap();
        self.append(&mut out, spelling);
        out.into_bytes()
    }

    /// As gmond writes: a tag a line.
    pub fn lines(&self) -> Vec<u8> {
        self.write(Spelling { newline: true, single_quotes: false, references: false })
    }

    fn append(&self, out: &mut String, spelling: Spelling) {
        let end = if spelling.newline { "\n" } else { "" };
        match self {
            Self::Noise(text) => out.push_str(text),
            Self::Element { name, attributes, children } => {
                let _ = write!(out, "<{name}");
                for (key, value) in attributes {
                    let quote = if spelling.single_quotes { '\'' } else { '"' };
                    let _ = write!(out, " {key}={quote}{}{quote}", escape(value, spelling.references));
                }
                if children.is_empty() {
                    let _ = write!(out, "/>{end}");
                    return;
                }
                let _ = write!(out, ">{end}");
                children.iter().for_each(|child| child.append(out, spelling));
                let _ = write!(out, "</{name}>{end}");
            }
        }
    }
}

fn escape(text: &str, references: bool) -> String {
    text.chars().fold(String::new(), |mut out, c| {
        match c {
            '&' | '<' | '>' | '"' | '\'' if references => write!(out, "&#x{:x};", u32::from(c)).unwrap(),
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&apos;"),
            c if references && !c.is_ascii() => write!(out, "&#{};", u32::from(c)).unwrap(),
            c => out.push(c),
        }
        out
    })
}

pub fn spelling() -> impl Strategy<Value = Spelling> {
    any::<[bool; 3]>().prop_map(|[newline, single_quotes, references]| Spelling { newline, single_quotes, references })
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => select(&["", "a", "unspecified", "a & b", "<x y='1'>", "caf\u{e9} \u{20ac} \u{1d11e}", "]]>", " x ", "%s"][..])
            .prop_map(str::to_owned),
        1 => "[ -~\u{a1}-\u{2ff}]{0,6}",
    ]
}

/// VALs that are sums of small powers of two, so that a sum does not depend on its order.
pub const NUMBERS: [(&str, f64, u8); 9] = [
    ("0.5", 0.5, 1),
    ("1.250", 1.25, 3),
    ("3", 3.0, 0),
    ("-2.50", -2.5, 2),
    ("1e3", 1000.0, 0),
    ("0x10", 16.0, 0),
    ("abc", 0.0, 0),
    ("25e-1", 2.5, 1),
    ("12 files", 12.0, 0),
];

const TYPES: [&str; 13] = [
    "int8",
    "int16",
    "int32",
    "uint8",
    "uint16",
    "uint32",
    "float",
    "float",
    "double",
    "timestamp",
    "string",
    "Double",
    "int64",
];

fn one_of(values: &'static [&'static str]) -> impl Strategy<Value = String> {
    select(values).prop_map(str::to_owned)
}

type Attributes = Vec<(&'static str, String)>;

/// Leaves out what is `None`, and shuffles.
fn attributes<const N: usize>(values: [(&'static str, Option<String>); N]) -> impl Strategy<Value = Attributes> {
    let present: Attributes = values.into_iter().filter_map(|(key, value)| Some((key, value?))).collect();
    Just(present).prop_shuffle()
}

fn age() -> impl Strategy<Value = Option<String>> {
    weighted(0.9, one_of(&["0", "5", "30", "79", "80", "81", "1000", "-5", "7s"]))
}

fn tmax() -> impl Strategy<Value = Option<String>> {
    weighted(0.9, one_of(&["0", "20", "20", "20", "60"]))
}

fn dmax() -> impl Strategy<Value = Option<String>> {
    weighted(0.8, one_of(&["0", "0", "30", "100"]))
}

fn value() -> impl Strategy<Value = String> {
    // What the number of any other text is, is another test's matter: these have none.
    let words = text().prop_map(|text| format!("~{text}"));
    prop_oneof![3 => select(&NUMBERS[..]).prop_map(|(text, ..)| text.to_owned()), 1 => words]
}

fn slope() -> impl Strategy<Value = Option<String>> {
    weighted(0.8, one_of(&["zero", "positive", "negative", "both", "derivative", "steep", "unspecified", ""]))
}

fn extra() -> impl Strategy<Value = Vec<Node>> {
    let one = (weighted(0.95, one_of(&["GROUP", "TITLE", "SPOOF_HOST", "a&b"])), weighted(0.95, text()))
        .prop_flat_map(|(name, val)| attributes([("NAME", name), ("VAL", val)]))
        .prop_map(|attributes| element("EXTRA_ELEMENT", attributes, Vec::new()));
    vec(one, 0..4).prop_map(|elements| match elements.is_empty() {
        true => Vec::new(),
        false => vec![element("EXTRA_DATA", [], elements)],
    })
}

fn metric() -> impl Strategy<Value = Node> {
    (
        weighted(0.97, one_of(&["load", "cpu", "disk free", "m\u{e9}m", "a<b", "os"])),
        weighted(0.97, value()),
        weighted(0.97, select(&TYPES[..]).prop_map(str::to_owned)),
        weighted(0.8, text()),
        (age(), tmax(), dmax()),
        slope(),
        weighted(0.3, one_of(&["gmond", "gmetric", "a\"b"])),
        weighted(0.1, text()),
        extra(),
    )
        .prop_flat_map(|(name, val, kind, units, (tn, tmax, dmax), slope, source, odd, extra)| {
            let attributes = attributes([
                ("NAME", name),
                ("VAL", val),
                ("TYPE", kind),
                ("UNITS", units),
                ("TN", tn),
                ("TMAX", tmax),
                ("DMAX", dmax),
                ("SLOPE", slope),
                ("SOURCE", source),
                ("ODD", odd),
            ]);
            (attributes, Just(extra))
        })
        .prop_map(|(attributes, extra)| element("METRIC", attributes, extra))
}

fn noise() -> impl Strategy<Value = Node> {
    select(
        &[
            "<!-- <HOST NAME=\"no\"> -->",
            "<![CDATA[</GANGLIA_XML><METRIC NAME=\"no\" VAL=\"1\" TYPE=\"int8\"/>]]>",
            "<?php echo '>' ?>",
            "text \"",
            "\n",
        ][..],
    )
    .prop_map(Node::Noise)
}

/// Children with noise between them and now and then an unknown element around them.
fn strewn(child: impl Strategy<Value = Node> + 'static, most: usize) -> impl Strategy<Value = Vec<Node>> {
    let child = child.boxed();
    let wrapped = vec(child.clone(), 1..3).prop_map(|children| element("FUTURE", [("A", "1>0".to_owned())], children));
    vec(prop_oneof![16 => child, 1 => wrapped, 1 => noise()], 0..most)
}

fn time(away: i64) -> String {
    (START - away).to_string()
}

fn host() -> impl Strategy<Value = Node> {
    (
        weighted(0.97, one_of(&["h1", "h2", "h3", "H1", "n\u{f6}de", "a'b"])),
        weighted(0.95, one_of(&["10.0.0.1", "::1"])),
        weighted(0.95, select(&[0i64, 10, 100][..]).prop_map(time)),
        (age(), tmax(), dmax()),
        weighted(0.7, text()),
        weighted(0.7, select(&[5000i64, 6000][..]).prop_map(time)),
        weighted(0.7, text()),
        strewn(metric(), 7),
    )
        .prop_flat_map(|(name, ip, reported, (tn, tmax, dmax), location, started, tags, metrics)| {
            let attributes = attributes([
                ("NAME", name),
                ("IP", ip),
                ("REPORTED", reported),
                ("TN", tn),
                ("TMAX", tmax),
                ("DMAX", dmax),
                ("LOCATION", location),
                ("GMOND_STARTED", started),
                ("TAGS", tags),
            ]);
            (attributes, Just(metrics))
        })
        .prop_map(|(attributes, metrics)| element("HOST", attributes, metrics))
}

pub fn cluster() -> impl Strategy<Value = Node> {
    (
        weighted(0.95, one_of(&["Alpha", "Beta & Co", "\u{3b3}"])),
        weighted(0.9, select(&[0i64, 30][..]).prop_map(time)),
        weighted(0.8, text()),
        weighted(0.8, text()),
        weighted(0.8, text()),
        strewn(host(), 6),
    )
        .prop_flat_map(|(name, localtime, owner, latlong, url, hosts)| {
            let attributes = attributes([
                ("NAME", name),
                ("LOCALTIME", localtime),
                ("OWNER", owner),
                ("LATLONG", latlong),
                ("URL", url),
            ]);
            (attributes, Just(hosts))
        })
        .prop_map(|(attributes, hosts)| element("CLUSTER", attributes, hosts))
}

fn summed() -> impl Strategy<Value = Node> {
    let number = || select(&["0", "3", "12"][..]).prop_map(str::to_owned);
    let hosts = (number(), number()).prop_map(|(up, down)| element("HOSTS", [("UP", up), ("DOWN", down)], Vec::new()));
    let metrics = (
        weighted(0.97, one_of(&["load", "cpu", "only & here"])),
        weighted(0.97, select(&NUMBERS[..]).prop_map(|(text, ..)| text.to_owned())),
        one_of(&["1", "3"]),
        weighted(0.9, one_of(&["double", "double", "string"])),
        weighted(0.8, text()),
        slope(),
    )
        .prop_flat_map(|(name, sum, num, kind, units, slope)| {
            attributes([
                ("NAME", name),
                ("SUM", sum),
                ("NUM", Some(num)),
                ("TYPE", kind),
                ("UNITS", units),
                ("SLOPE", slope),
            ])
        })
        .prop_map(|attributes| element("METRICS", attributes, Vec::new()));
    prop_oneof![1 => hosts, 3 => metrics]
}

fn grid() -> impl Strategy<Value = Node> {
    let inner = prop_oneof![2 => cluster().boxed(), 3 => summed().boxed()].boxed();
    let tree = inner.prop_recursive(2, 12, 4, |inner| {
        vec(inner, 0..4).prop_map(|children| element("GRID", [("NAME", "inner".to_owned())], children))
    });
    (
        weighted(0.95, one_of(&["East", "W\u{e9}st"])),
        weighted(0.8, text()),
        weighted(0.9, Just(time(0))),
        vec(tree, 0..4),
    )
        .prop_flat_map(|(name, authority, localtime, children)| {
            (attributes([("NAME", name), ("AUTHORITY", authority), ("LOCALTIME", localtime)]), Just(children))
        })
        .prop_map(|(attributes, children)| element("GRID", attributes, children))
}

fn root(children: impl Strategy<Value = Vec<Node>>) -> impl Strategy<Value = Node> {
    (one_of(&["3.7.2", "3.7.2", "3.1.7", "2.4.1", "10.0"]), children).prop_map(|(version, mut children)| {
        // A root without children would be written as one tag.
        children.push(Node::Noise("\n"));
        element("GANGLIA_XML", [("VERSION", version), ("SOURCE", "gmond".to_owned())], children)
    })
}

/// Everything there is.
pub fn any_document() -> impl Strategy<Value = Node> {
    root(strewn(prop_oneof![6 => cluster().boxed(), 2 => grid().boxed(), 1 => host().boxed()], 4))
}

/// What a gmond sends.
pub fn clusters() -> impl Strategy<Value = Node> {
    root(vec(cluster(), 0..3))
}

/// A document and the clock.
#[derive(Clone)]
pub struct Poll {
    pub document: Vec<u8>,
    pub now: i64,
}

impl std::fmt::Debug for Poll {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let body = self.document.strip_prefix(gmetad_core::xml::PROLOG).unwrap_or(&self.document);
        write!(f, "at {}: {}", self.now, String::from_utf8_lossy(body))
    }
}

/// Polls of one source.
pub fn polls(document: impl Strategy<Value = Node>, most: usize) -> impl Strategy<Value = Vec<Poll>> {
    vec((document, spelling(), select(&[0i64, 1, 15, 40, 200][..])), 1..=most).prop_map(|polls| {
        let mut now = START;
        polls
            .into_iter()
            .map(|(document, spelling, later)| {
                now += later;
                Poll { document: document.write(spelling), now }
            })
            .collect()
    })
}
