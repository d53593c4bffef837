//! What seldom changes of a metric: its definition.

use std::borrow::Cow;
use std::sync::OnceLock;

use super::intern::Definition;
use crate::xml::escape::{escape_into, unescape};
use crate::xml::recognise::{self, InputText, Printed, Recognised};

/// The TYPE of a metric (reference 4.3). An element with any other TYPE is ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names say it")]
pub enum MetricType {
    Int8,
    Int16,
    Int32,
    Uint8,
    Uint16,
    Uint32,
    Float,
    Double,
    Timestamp,
    String,
}

impl MetricType {
    /// All types with the names they have in XML.
    const NAMES: [(MetricType, &'static str); 10] = [
        (Self::Float, "float"),
        (Self::String, "string"),
        (Self::Uint32, "uint32"),
        (Self::Uint16, "uint16"),
        (Self::Double, "double"),
        (Self::Uint8, "uint8"),
        (Self::Int8, "int8"),
        (Self::Int16, "int16"),
        (Self::Int32, "int32"),
        (Self::Timestamp, "timestamp"),
    ];

    /// The type of that name; names are exact and lower-case.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(_, n)| *n == name).map(|(t, _)| *t)
    }

    /// The name in XML.
    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(t, _)| *t == self).map_or("", |(_, n)| n)
    }

    /// Whether metrics of this type are summed and have RRDs.
    pub fn is_numeric(self) -> bool {
        !matches!(self, Self::Timestamp | Self::String)
    }

    /// Whether sums of this type are printed with decimals.
    pub fn is_float(self) -> bool {
        matches!(self, Self::Float | Self::Double)
    }
}

/// The SLOPE of a metric as far as it has a meaning (reference 4.4); XML keeps the text as it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Slope {
    Zero,
    Positive,
    Negative,
    Both,
    Derivative,
    Unspecified,
}

impl Slope {
    /// The slope of that name; unknown words are [`Slope::Unspecified`].
    pub fn from_name(name: &str) -> Self {
        match name {
            "zero" => Self::Zero,
            "positive" => Self::Positive,
            "negative" => Self::Negative,
            "both" => Self::Both,
            "derivative" => Self::Derivative,
            _ => Self::Unspecified,
        }
    }
}

/// A metric without its value and age: shared by all hosts and polls where it is the same.
///
/// Its text is kept as it is printed, in three parts around VAL and TN, so that a dump copies bytes.
pub struct MetricDef {
    /// `<METRIC NAME="…" VAL="` · `" TYPE="…" UNITS="…" TN="` · `" TMAX="…" … </METRIC>` and a line feed.
    rendered: Box<str>,
    /// NAME where it is printed otherwise.
    escaped: Option<Box<str>>,
    head: u32,
    middle: u32,
    kind: MetricType,
    slope: Slope,
    tmax: u32,
    dmax: u32,
    /// The text it was understood from, to know it again.
    input: OnceLock<InputText>,
    /// It was read from a saved tree, and is for those who do not know better: it never learns.
    saved: bool,
}

impl std::fmt::Debug for MetricDef {
    /// What it means, not what it was read from.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("MetricDef").field(&self.rendered).finish()
    }
}

/// The attributes of a METRIC element, decoded, with their defaults; used to find or make a [`MetricDef`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct MetricAttrs<'a> {
    pub(crate) name: &'a str,
    pub(crate) kind: MetricType,
    pub(crate) units: &'a str,
    pub(crate) slope: &'a str,
    pub(crate) source: &'a str,
    pub(crate) tmax: u32,
    pub(crate) dmax: u32,
}

const BEFORE_NAME: &[u8] = b"<METRIC NAME=\"";
const BEFORE_VAL: &[u8] = b"\" VAL=\"";
/// Where NAME begins.
const NAME_AT: usize = BEFORE_NAME.len();

/// Where the parts of a rendered definition end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Parts {
    pub(crate) head: usize,
    pub(crate) middle: usize,
}

impl MetricAttrs<'_> {
    /// Writes the element as it will be printed into `out` (cleared first), with `extra` between its tags.
    pub(crate) fn render<'e>(&self, out: &mut Vec<u8>, extra: impl Iterator<Item = (&'e str, &'e str)>) -> Parts {
        out.clear();
        out.extend_from_slice(BEFORE_NAME);
        escape_into(out, self.name);
        out.extend_from_slice(BEFORE_VAL);
        let head = out.len();
        out.extend_from_slice(b"\" TYPE=\"");
        out.extend_from_slice(self.kind.name().as_bytes());
        out.extend_from_slice(b"\" UNITS=\"");
        escape_into(out, self.units);
        out.extend_from_slice(b"\" TN=\"");
        let middle = out.len();
        let mut number = itoa::Buffer::new();
        out.extend_from_slice(b"\" TMAX=\"");
        out.extend_from_slice(number.format(self.tmax).as_bytes());
        out.extend_from_slice(b"\" DMAX=\"");
        out.extend_from_slice(number.format(self.dmax).as_bytes());
        out.extend_from_slice(b"\" SLOPE=\"");
        escape_into(out, self.slope);
        out.extend_from_slice(b"\" SOURCE=\"");
        escape_into(out, self.source);
        out.extend_from_slice(b"\">\n<EXTRA_DATA>\n");
        for (name, val) in extra {
            render_extra(out, name, val);
        }
        out.extend_from_slice(b"</EXTRA_DATA>\n</METRIC>\n");
        Parts { head, middle }
    }
}

pub(crate) fn render_extra(out: &mut Vec<u8>, name: &str, val: &str) {
    out.extend_from_slice(b"<EXTRA_ELEMENT NAME=\"");
    escape_into(out, name);
    out.extend_from_slice(b"\" VAL=\"");
    escape_into(out, val);
    out.extend_from_slice(b"\"/>\n");
}

impl MetricDef {
    /// `input`: the text it was understood from, if that is known.
    pub(crate) fn new(
        attrs: &MetricAttrs<'_>,
        rendered: &[u8],
        parts: Parts,
        input: Option<InputText>,
        saved: bool,
    ) -> Self {
        let known = OnceLock::new();
        if let Some(input) = input {
            let _ = known.set(input);
        }
        let is_escaped = rendered.get(NAME_AT..parts.head - BEFORE_VAL.len()) != Some(attrs.name.as_bytes());
        Self {
            // Made of texts: nothing is lost.
            rendered: String::from_utf8_lossy(rendered).into(),
            escaped: is_escaped.then(|| attrs.name.into()),
            head: parts.head as u32,
            middle: parts.middle as u32,
            kind: attrs.kind,
            slope: Slope::from_name(attrs.slope),
            tmax: attrs.tmax,
            dmax: attrs.dmax,
            input: known,
            saved,
        }
    }

    /// NAME, decoded.
    pub fn name(&self) -> &str {
        match &self.escaped {
            Some(name) => name,
            None => self.rendered.get(NAME_AT..self.head as usize - BEFORE_VAL.len()).unwrap_or_default(),
        }
    }

    /// TYPE.
    pub fn kind(&self) -> MetricType {
        self.kind
    }

    /// SLOPE as far as it has a meaning.
    pub fn slope(&self) -> Slope {
        self.slope
    }

    /// SLOPE as it came.
    pub fn slope_text(&self) -> Cow<'_, str> {
        attribute(self.tail(), b"SLOPE=\"")
    }

    /// UNITS; empty if there were none.
    pub fn units(&self) -> Cow<'_, str> {
        attribute(self.middle(), b"UNITS=\"")
    }

    /// SOURCE: `gmond`, `gmetric`, …
    pub fn source(&self) -> Cow<'_, str> {
        attribute(self.tail(), b"SOURCE=\"")
    }

    /// TMAX: seconds between reports, at most.
    pub fn tmax(&self) -> u32 {
        self.tmax
    }

    /// DMAX: seconds after which the metric disappears; 0 is never.
    pub fn dmax(&self) -> u32 {
        self.dmax
    }

    /// The `EXTRA_ELEMENT`s as (NAME, VAL), in the order they came, repetitions kept.
    pub fn extra(&self) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
        extra_elements(self.tail())
    }

    /// What `input` says, if it begins with the text this was understood from.
    #[inline]
    pub(crate) fn recognise<'i>(&self, input: &'i [u8]) -> Option<Recognised<'i>> {
        self.input.get()?.find(input, self.printed())
    }

    /// The same for the text as we print it ourselves.
    pub(crate) fn recognise_own<'i>(&self, input: &'i [u8]) -> Option<Recognised<'i>> {
        recognise::find(self.printed(), [self.tail(), &[], &[]], input)
    }

    fn printed(&self) -> Printed<'_> {
        Printed { head: self.head(), middle: self.middle(), tail: self.tail() }
    }

    pub(crate) fn is_saved(&self) -> bool {
        self.saved
    }

    /// The text it was understood from, if it may be known again by that.
    pub(crate) fn input(&self) -> Option<&InputText> {
        self.input.get()
    }

    /// Keeps the text it was understood from; the first one stays.
    pub(crate) fn learn(&self, text: impl FnOnce(Printed<'_>) -> Option<InputText>) {
        if !self.saved
            && self.input.get().is_none()
            && let Some(text) = text(self.printed())
        {
            let _ = self.input.set(text);
        }
    }

    pub(crate) fn head(&self) -> &[u8] {
        &self.rendered()[..self.head as usize]
    }

    pub(crate) fn middle(&self) -> &[u8] {
        &self.rendered()[self.head as usize..self.middle as usize]
    }

    pub(crate) fn tail(&self) -> &[u8] {
        &self.rendered()[self.middle as usize..]
    }
}

impl Definition for MetricDef {
    fn rendered(&self) -> &[u8] {
        self.rendered.as_bytes()
    }
}

/// The value of an attribute in text we rendered: every quote inside a value is escaped there.
pub(crate) fn attribute<'a>(rendered: &'a [u8], key: &[u8]) -> Cow<'a, str> {
    let Some(start) = memchr::memmem::find(rendered, key).map(|i| i + key.len()) else { return Cow::Borrowed("") };
    let end = memchr::memchr(b'"', &rendered[start..]).map_or(rendered.len(), |i| start + i);
    unescape(std::str::from_utf8(&rendered[start..end]).unwrap_or(""))
}

/// The `EXTRA_ELEMENT`s in text we rendered.
pub(crate) fn extra_elements(rendered: &[u8]) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
    const TAG: &[u8] = b"<EXTRA_ELEMENT ";
    memchr::memmem::find_iter(rendered, TAG)
        .map(|at| (attribute(&rendered[at..], b"NAME=\""), attribute(&rendered[at + TAG.len()..], b" VAL=\"")))
}
