//! Sections `name { … }`, gmetad-python's way to configure plugins. (Reference: gmetad-python.md, section 1.4.)

use super::error::{Cause, Fault, Notes, Place};
use super::lexer::{Cursor, Lines, MAX_LINE_BYTES};

/// A section: uninterpreted lines for a plugin. Equality ignores where it stands.
#[derive(Debug, Clone)]
pub struct Section {
    /// Its name in lower case; names are matched without regard to case.
    pub id: String,
    /// Its lines, in order, repetitions kept.
    pub entries: Vec<Entry>,
    /// Where it begins.
    pub place: Place,
}

/// A line of a section. Equality ignores where it stands.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The first word, as written.
    pub directive: String,
    /// Everything behind it, as written (quotes and case kept) without blanks at its ends; may be empty.
    pub rest: String,
    /// Line number in the section's file, from 1.
    pub line: u32,
}

impl PartialEq for Section {
    fn eq(&self, other: &Section) -> bool {
        self.id == other.id && self.entries == other.entries
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Entry) -> bool {
        self.directive == other.directive && self.rest == other.rest
    }
}

impl Section {
    /// The values of a directive, in order; compared without regard to case.
    pub fn values<'a>(&'a self, directive: &'a str) -> impl Iterator<Item = &'a str> {
        let wanted = move |entry: &&Entry| entry.directive.eq_ignore_ascii_case(directive);
        self.entries.iter().filter(wanted).map(|entry| entry.rest.as_str())
    }
}

impl Entry {
    /// The arguments by the rules of the main file: quotes, backslashes, comments. No variables.
    pub fn split_args(&self) -> Vec<String> {
        split_args(&self.rest)
    }
}

/// Splits a text as the arguments of a directive are split; variables are left alone.
pub(crate) fn split_args(text: &str) -> Vec<String> {
    let place = Place { file: "".into(), line: 1, column: 1 };
    let words = Cursor::on(text, place).raw_words();
    words.into_iter().map(|word| word.text).collect()
}

/// Whether a line that is not a directive opens a section: `name {` or `name{`. Gives its id and what follows the
/// brace.
pub(crate) fn opening<'a>(name: &'a str, rest: &'a str) -> Option<(String, &'a str)> {
    if let Some((id, behind)) = name.split_once('{') {
        return (!id.is_empty()).then(|| (id.to_lowercase(), if behind.is_empty() { rest.trim() } else { behind }));
    }
    rest.trim_start().strip_prefix('{').map(|behind| (name.to_lowercase(), behind.trim()))
}

/// Reads the body up to a line whose first word is `}`. One-word lines are kept, with an empty rest; comments may be
/// indented.
pub(crate) fn read(id: String, place: Place, lines: &mut Lines<'_>, notes: &mut Notes) -> Option<Section> {
    let mut section = Section { id, entries: Vec::new(), place };
    let mut pending = String::new(); // of a continued line, what came so far
    let mut continues = false;
    let mut start = 0;
    while let Some((text, place)) = lines.plain() {
        let line = text.trim();
        if line.is_empty() || if continues { text.starts_with('#') } else { line.starts_with('#') } {
            continue;
        }
        if !continues {
            start = place.line;
        }
        let body = line.trim_end_matches('\\');
        continues = body.len() < line.len();
        if pending.len() + body.len() > MAX_LINE_BYTES {
            let limit = format!("{MAX_LINE_BYTES} bytes");
            notes.fault(&place, Cause::TooMuch { what: "line", limit });
            pending.clear();
            continue;
        }
        pending.push_str(body);
        if continues {
            continue;
        }
        let whole = std::mem::take(&mut pending);
        let whole = whole.trim();
        let (directive, rest) = whole.split_once(char::is_whitespace).unwrap_or((whole, ""));
        if directive == "}" {
            if !rest.trim().is_empty() {
                notes.warn(&place, "text after \"}\" is ignored");
            }
            return Some(section);
        }
        if !directive.is_empty() && !directive.starts_with('#') {
            let (directive, rest) = (directive.to_owned(), rest.trim().to_owned());
            section.entries.push(Entry { directive, rest, line: start });
        }
    }
    notes.faults.push(Fault::at(&section.place, Cause::OpenSection { id: section.id }));
    None
}
