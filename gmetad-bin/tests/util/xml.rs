//! Ganglia XML as a simple tree: tags, ordered attributes, children. No text, because it has none.

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

/// An element with its attributes in their order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Element {
    pub tag: String,
    pub attributes: Vec<(String, String)>,
    pub children: Vec<Element>,
}

impl Element {
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// NAME, or nothing.
    pub fn name(&self) -> &str {
        self.attribute("NAME").unwrap_or_default()
    }

    /// The first child with this tag.
    pub fn child(&self, tag: &str) -> Option<&Element> {
        self.children.iter().find(|child| child.tag == tag)
    }

    /// The children with this tag.
    pub fn all<'a>(&'a self, tag: &'a str) -> impl Iterator<Item = &'a Element> {
        self.children.iter().filter(move |child| child.tag == tag)
    }

    /// The descendant reached by steps of (tag, NAME); an empty NAME takes the first.
    pub fn at(&self, steps: &[(&str, &str)]) -> Option<&Element> {
        steps.iter().try_fold(self, |element, (tag, name)| {
            element.children.iter().find(|child| child.tag == *tag && (name.is_empty() || child.name() == *name))
        })
    }

    /// How many elements with this tag are below.
    pub fn count(&self, tag: &str) -> usize {
        self.children.iter().map(|child| usize::from(child.tag == tag) + child.count(tag)).sum()
    }
}

/// Reads a document that must be well-formed and pure ASCII (so that its label ISO-8859-1 is true, reference 6.1).
pub fn parse(bytes: &[u8]) -> Result<Element, String> {
    if !bytes.is_ascii() {
        return Err("a byte that is not ASCII".to_owned());
    }
    let mut reader = Reader::from_reader(bytes);
    reader.config_mut().check_end_names = true;
    let mut tree = Builder::default();
    loop {
        let at = reader.buffer_position();
        match reader.read_event().map_err(|error| format!("at byte {at}: {error}"))? {
            Event::Start(start) => tree.open(element(&start)?),
            Event::Empty(start) => {
                tree.open(element(&start)?);
                tree.close()?;
            }
            Event::End(_) => tree.close()?,
            Event::Text(text) if !text.trim_ascii().is_empty() => {
                return Err(format!("text before byte {}", reader.buffer_position()));
            }
            Event::Eof => return tree.finish(),
            _ => {}
        }
    }
}

fn element(start: &BytesStart) -> Result<Element, String> {
    let tag = start.name().as_ref().to_owned();
    let mut attributes = Vec::new();
    for attribute in start.attributes() {
        let attribute = attribute.map_err(|error| format!("{tag}: {error}"))?;
        let key = attribute.key.as_ref().to_owned();
        if attribute.value.contains('<') {
            return Err(format!("{tag} {key}: a bare <"));
        }
        let value = attribute.normalized_value(quick_xml::XmlVersion::Explicit1_0);
        let value = value.map_err(|error| format!("{tag} {key}: {error}"))?;
        attributes.push((key, value.into_owned()));
    }
    Ok(Element { tag, attributes, children: Vec::new() })
}

/// Reads what the C gmetad writes: one tag a line, values raw, so that a value may hold any of `& < > " '` and bytes of UTF-8.
///
/// A value ends at the first quote that is followed by another attribute or by the end of the tag and the line.
pub fn parse_lenient(bytes: &[u8]) -> Result<Element, String> {
    let text = String::from_utf8_lossy(bytes);
    let start = text.find("<GANGLIA_XML ").ok_or("no GANGLIA_XML")?;
    let mut tree = Builder::default();
    for line in text[start..].lines() {
        if line.starts_with("</") {
            tree.close()?;
        } else if let Some(inside) = line.strip_prefix('<').and_then(|line| line.strip_suffix('>')) {
            let (inside, empty) = inside.strip_suffix('/').map_or((inside, false), |inside| (inside, true));
            tree.open(lenient_element(inside).ok_or_else(|| format!("odd line: {line}"))?);
            if empty {
                tree.close()?;
            }
        } else {
            return Err(format!("odd line: {line}"));
        }
    }
    tree.finish()
}

fn lenient_element(inside: &str) -> Option<Element> {
    let (tag, mut rest) = inside.split_once(' ').unwrap_or((inside, ""));
    let mut attributes = Vec::new();
    while !rest.is_empty() {
        let (key, after) = rest.split_once("=\"")?;
        let end = after.match_indices('"').map(|(at, _)| at).find(|at| ends_value(&after[at + 1..]))?;
        attributes.push((key.to_owned(), after[..end].to_owned()));
        rest = after[end + 1..].trim_start();
    }
    Some(Element { tag: tag.to_owned(), attributes, children: Vec::new() })
}

/// True if `rest` is the end of the tag or begins with ` NAME="`.
fn ends_value(rest: &str) -> bool {
    let key = rest.strip_prefix(' ').and_then(|rest| rest.split_once("=\"")).map(|(key, _)| key);
    rest.is_empty() || key.is_some_and(|key| key.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_'))
}

#[derive(Default)]
struct Builder {
    open: Vec<Element>,
    root: Option<Element>,
}

impl Builder {
    fn open(&mut self, element: Element) {
        self.open.push(element);
    }

    fn close(&mut self) -> Result<(), String> {
        let element = self.open.pop().ok_or("an end tag too many")?;
        match self.open.last_mut() {
            Some(parent) => parent.children.push(element),
            None if self.root.is_none() => self.root = Some(element),
            None => return Err("a second root element".to_owned()),
        }
        Ok(())
    }

    fn finish(self) -> Result<Element, String> {
        match (self.open.last(), self.root) {
            (Some(open), _) => Err(format!("the document ends inside {}", open.tag)),
            (None, root) => root.ok_or_else(|| "an empty document".to_owned()),
        }
    }
}
