//! Do two documents mean the same? The answer is a list of differences a person can read.

use std::fmt;

use super::xml::Element;

/// How closely to look.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// By how many seconds clocks and ages (LOCALTIME, REPORTED, TN) may differ.
    pub seconds: u32,
    /// Compare EXTRA_DATA of the METRICS of the outermost grid. The C daemon copies it when it first sees a name, which is
    /// normally before there is any: what it shows is a matter of luck (reference 5.4).
    pub root_extra_data: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { seconds: 2, root_extra_data: false }
    }
}

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Where: `GRID[Test Grid]/CLUSTER[C1]/HOST[H1]`, below GANGLIA_XML.
    pub path: String,
    /// What: the name of an attribute, `attributes` for their names and order, or `element`.
    pub what: String,
    pub ours: String,
    pub c: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} {}: ours {:?}, C {:?}", self.path, self.what, self.ours, self.c)
    }
}

/// The tree with siblings sorted by tag and NAME: their order is that of a hash table and means nothing (reference 6.3). Only
/// EXTRA_ELEMENTs stay as they are, for their order is the sender's.
pub fn canonical(mut tree: Element) -> Element {
    tree.children = tree.children.into_iter().map(canonical).collect();
    if tree.tag != "EXTRA_DATA" {
        tree.children.sort_by(|a, b| (&a.tag, a.name()).cmp(&(&b.tag, b.name())));
    }
    tree
}

/// Everything in which the two documents differ.
pub fn differences(ours: &Element, c: &Element, options: &Options) -> Vec<Difference> {
    let mut found = Vec::new();
    compare(&canonical(ours.clone()), &canonical(c.clone()), "", options, &mut found);
    found
}

/// Panics with the list if the two documents differ.
pub fn assert_same_meaning(ours: &Element, c: &Element, options: &Options) {
    let found = differences(ours, c, options);
    assert!(found.is_empty(), "{} differences:\n{}", found.len(), list(&found));
}

/// One difference a line.
pub fn list(differences: &[Difference]) -> String {
    differences.iter().map(|difference| format!("  {difference}\n")).collect()
}

fn compare(ours: &Element, c: &Element, path: &str, options: &Options, found: &mut Vec<Difference>) {
    compare_attributes(ours, c, path, options, found);
    let mut rest: Vec<&Element> = c.children.iter().collect();
    for child in &ours.children {
        let path = below(path, child);
        if !options.root_extra_data && is_root_extra_data(&path) {
            continue;
        }
        // Siblings of one tag and name are taken in their order.
        match rest.iter().position(|other| other.tag == child.tag && key(other) == key(child)) {
            Some(index) => compare(child, rest.remove(index), &path, options, found),
            None => found.push(element_difference(path, "present", "missing")),
        }
    }
    for other in rest {
        let path = below(path, other);
        if options.root_extra_data || !is_root_extra_data(&path) {
            found.push(element_difference(path, "missing", "present"));
        }
    }
    let order = |element: &Element| -> Vec<String> { element.children.iter().map(key).collect() };
    if ours.tag == "EXTRA_DATA" && (!is_root_extra_data(path) || options.root_extra_data) && order(ours) != order(c) {
        let what = "order".to_owned();
        found.push(Difference { path: path.to_owned(), what, ours: order(ours).join(" "), c: order(c).join(" ") });
    }
}

/// What tells siblings of one tag apart; an EXTRA_ELEMENT's name may occur many times.
fn key(element: &Element) -> String {
    match element.tag.as_str() {
        "EXTRA_ELEMENT" => format!("{}={}", element.name(), element.attribute("VAL").unwrap_or_default()),
        _ => element.name().to_owned(),
    }
}

/// The path of a child.
pub fn below(path: &str, child: &Element) -> String {
    let step = match child.name() {
        "" => child.tag.clone(),
        name => format!("{}[{name}]", child.tag),
    };
    if path.is_empty() { step } else { format!("{path}/{step}") }
}

fn is_root_extra_data(path: &str) -> bool {
    let tags: Vec<_> = path.split("]/").map(|step| step.split('[').next().unwrap_or_default()).collect();
    tags.len() >= 3 && tags[0] == "GRID" && tags[1] == "METRICS" && tags[2].starts_with("EXTRA_DATA")
}

fn element_difference(path: String, ours: &str, c: &str) -> Difference {
    Difference { path, what: "element".to_owned(), ours: ours.to_owned(), c: c.to_owned() }
}

fn compare_attributes(ours: &Element, c: &Element, path: &str, options: &Options, found: &mut Vec<Difference>) {
    let names =
        |element: &Element| element.attributes.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(" ");
    let mut differ = |what: &str, ours: &str, c: &str| {
        let (path, what) = (path.to_owned(), what.to_owned());
        found.push(Difference { path, what, ours: ours.to_owned(), c: c.to_owned() });
    };
    if names(ours) != names(c) {
        differ("attributes", &names(ours), &names(c));
    }
    for (name, value) in &ours.attributes {
        let Some(other) = c.attribute(name) else { continue };
        let same = match name.as_str() {
            "TN" | "LOCALTIME" | "REPORTED" => close(value, other, options.seconds),
            "SUM" => same_sum(value, other),
            _ => value == other,
        };
        if !same {
            differ(name, value, other);
        }
    }
}

/// Unsigned 32-bit numbers at most `seconds` apart, round the corner too: TN may have wrapped (reference 4.2).
fn close(a: &str, b: &str, seconds: u32) -> bool {
    match (a.parse::<u32>(), b.parse::<u32>()) {
        (Ok(a), Ok(b)) => a.wrapping_sub(b).min(b.wrapping_sub(a)) <= seconds,
        _ => a == b,
    }
}

/// The same sum within half a unit of the last digit that both print. How many digits the C daemon prints depends on which
/// host came first, and may flip from poll to poll (reference 5.2).
fn same_sum(a: &str, b: &str) -> bool {
    let (Ok(x), Ok(y)) = (a.parse::<f64>(), b.parse::<f64>()) else { return a == b };
    if x.is_nan() || x.is_infinite() || y.is_nan() || y.is_infinite() {
        return x.is_nan() == y.is_nan() && (x.is_nan() || x == y);
    }
    let digits = |text: &str| text.split_once('.').map_or(0, |(_, fraction)| fraction.len());
    let unit = 10_f64.powi(-i32::try_from(digits(a).min(digits(b))).unwrap());
    (x - y).abs() <= 0.5001 * unit + 1e-9 * x.abs()
}

/// The lines of a document, sorted, with the numbers that depend on the moment replaced: to compare the spelling of two
/// documents that mean the same.
pub fn spelling(document: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(document);
    let mut lines: Vec<String> = text
        .split_inclusive('\n')
        .map(|line| {
            [" TN=\"", " LOCALTIME=\"", " REPORTED=\""].iter().fold(line.to_owned(), |line, key| mask(&line, key))
        })
        .collect();
    lines.sort_unstable();
    lines
}

fn mask(line: &str, key: &str) -> String {
    let Some(at) = line.find(key) else { return line.to_owned() };
    let start = at + key.len();
    let end = start + line[start..].find('"').unwrap_or(0);
    format!("{}*{}", &line[..start], &line[end..])
}
