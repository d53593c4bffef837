//! dotconf's grammar: lines, words, quotes, variables. (Reference: gmetad.md, section 1.1.)
//!
//! Where this is more generous than C gmetad, the file failed there: any number of arguments, lines up to a
//! mebibyte, `${A}${B}`, a byte order mark, and a `#` in the middle of a first argument (`gridname a#b`).

use std::sync::Arc;

use super::error::{Cause, Fault, Notes, Place};

/// Longest line, continuations joined, and longest value after variables are filled in. C: 4095 bytes.
pub const MAX_LINE_BYTES: usize = 1 << 20;
/// Longest file.
pub const MAX_FILE_BYTES: usize = 16 << 20;

/// One argument: quotes removed, variables filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    /// The value.
    pub text: String,
    /// Where its first character stands.
    pub place: Place,
    /// An unquoted `#` stood inside. C gmetad ends the arguments there and drops the word; lists still do.
    pub hash: bool,
}

/// Writes a value so that it reads back as itself, here and in C gmetad: bare if that is safe, else quoted.
///
/// Only for values without control characters; a text with line breaks needs a here-document.
pub fn quote(value: &str) -> String {
    let safe = |c: char| c.is_ascii_alphanumeric() || "._:/@%+,=-".contains(c);
    if value.is_empty() {
        return "\"${:-}\"".to_owned(); // `""` would be no argument at all
    }
    if value.chars().all(safe) {
        return value.to_owned();
    }
    // Variables are replaced even when quoted or escaped; the default of one without a name is the way to write `${`.
    let inner = value.replace('\\', "\\\\").replace('"', "\\\"").replace("${", "${:-$}{");
    format!("\"{inner}\"")
}

/// A line with its continuations joined.
#[derive(Debug)]
pub(crate) struct Line {
    text: String,
    /// Byte offset in `text` where each physical line begins, and its number.
    starts: Vec<(usize, u32)>,
    /// The file ended where a continuation was announced.
    pub(crate) cut: bool,
}

/// Hands out a file line by line.
#[derive(Debug)]
pub(crate) struct Lines<'a> {
    rest: &'a str,
    number: u32,
    file: Arc<str>,
}

impl<'a> Lines<'a> {
    pub(crate) fn new(file: Arc<str>, text: &'a str) -> Lines<'a> {
        Lines { rest: text.strip_prefix('\u{feff}').unwrap_or(text), number: 0, file }
    }

    /// The next physical line without its end, whether there was an end, and its number.
    fn physical(&mut self) -> Option<(&'a str, bool, u32)> {
        if self.rest.is_empty() {
            return None;
        }
        let (line, rest, ended) = match self.rest.split_once('\n') {
            Some((line, rest)) => (line, rest, true),
            None => (self.rest, "", false),
        };
        self.rest = rest;
        self.number = self.number.saturating_add(1);
        Some((line.strip_suffix('\r').unwrap_or(line), ended, self.number))
    }

    /// The next physical line and its place.
    pub(crate) fn plain(&mut self) -> Option<(&'a str, Place)> {
        let (text, _, line) = self.physical()?;
        Some((text, Place { file: self.file.clone(), line, column: 1 }))
    }

    /// The next line with its continuations: a backslash that is not itself escaped, right before the end of line.
    pub(crate) fn joined(&mut self) -> Option<Result<Line, Fault>> {
        let mut line = Line { text: String::new(), starts: Vec::new(), cut: false };
        loop {
            let Some((text, ended, number)) = self.physical() else {
                line.cut = true;
                return (!line.starts.is_empty()).then_some(Ok(line));
            };
            line.starts.push((line.text.len(), number));
            let continued = ended && text.bytes().rev().take_while(|&b| b == b'\\').count() % 2 == 1;
            line.text.push_str(if continued { &text[..text.len() - 1] } else { text });
            if line.text.len() > MAX_LINE_BYTES {
                let place = Place { file: self.file.clone(), line: number, column: 1 };
                return Some(Err(Fault::at(&place, too_long("line"))));
            }
            if !continued {
                return Some(Ok(line));
            }
        }
    }

    /// A cursor on a line of this file.
    pub(crate) fn cursor<'l>(&self, line: &'l Line) -> Cursor<'l> {
        let number = line.starts.first().map_or(0, |start| start.1);
        let place = Place { file: self.file.clone(), line: number, column: 1 };
        let mut cursor = Cursor { text: &line.text, at: 0, starts: &line.starts, place };
        cursor.cross_line();
        cursor
    }

    /// The lines of a here-document up to one that starts with `delimiter`, as one value. No quotes, no variables,
    /// but continuations are joined.
    pub(crate) fn here_document(&mut self, delimiter: &str, start: &Place) -> Result<String, Fault> {
        let mut value = String::new();
        let mut first = true;
        while let Some(line) = self.joined() {
            let line = line?;
            if line.text.starts_with(delimiter) {
                return no_control(&value, "\t\n").map(|()| value).map_err(|cause| Fault::at(start, cause));
            }
            if !std::mem::take(&mut first) {
                value.push('\n');
            }
            value.push_str(&line.text);
            if value.len() > MAX_LINE_BYTES {
                return Err(Fault::at(start, too_long("here-document")));
            }
        }
        Err(Fault::at(start, Cause::OpenHereDocument { delimiter: delimiter.to_owned() }))
    }
}

/// Walks over a [`Line`], knowing its place.
#[derive(Debug, Clone)]
pub(crate) struct Cursor<'a> {
    text: &'a str,
    at: usize,
    starts: &'a [(usize, u32)],
    place: Place,
}

impl<'a> Cursor<'a> {
    /// A cursor on a text of one line that begins at `place`.
    pub(crate) fn on(text: &'a str, place: Place) -> Cursor<'a> {
        Cursor { text, at: 0, starts: &[], place }
    }

    pub(crate) fn place(&self) -> &Place {
        &self.place
    }

    pub(crate) fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    pub(crate) fn skip_blanks(&mut self) {
        while self.peek().is_some_and(is_blank) {
            self.bump();
        }
    }

    /// A run of non-blank characters, taken as it is.
    pub(crate) fn bare(&mut self) -> &'a str {
        let start = self.at;
        while self.peek().is_some_and(|c| !is_blank(c)) {
            self.bump();
        }
        &self.text[start..self.at]
    }

    /// All words up to a comment, an empty word (`""` ends the list, as in C) or the end of the line.
    pub(crate) fn words(
        &mut self,
        variable: &dyn Fn(&str) -> Option<String>,
        notes: &mut Notes,
    ) -> Result<Vec<Word>, Fault> {
        let mut words = Vec::new();
        while let Some(mut word) = self.word(notes) {
            let checked = expand(&word.text, variable).and_then(|text| no_control(&text, "\t").map(|()| text));
            word.text = checked.map_err(|cause| Fault::at(&word.place, cause))?;
            words.push(word);
        }
        Ok(words)
    }

    /// The words with their variables left alone.
    pub(crate) fn raw_words(&mut self) -> Vec<Word> {
        let mut notes = Notes::default();
        std::iter::from_fn(|| self.word(&mut notes)).collect()
    }

    fn word(&mut self, notes: &mut Notes) -> Option<Word> {
        self.skip_blanks();
        if self.peek().is_none_or(|c| c == '#') {
            return None;
        }
        let mut word = Word { text: String::new(), place: self.place.clone(), hash: false };
        let mut open: Option<char> = None;
        while let Some(c) = self.peek() {
            if open.is_none() && is_blank(c) {
                break;
            }
            self.bump();
            match c {
                '\\' => word.text.push(self.bump().unwrap_or('\\')),
                _ if open == Some(c) => open = None,
                '"' | '\'' if open.is_none() => open = Some(c),
                _ => {
                    word.hash |= c == '#' && open.is_none();
                    word.text.push(c);
                }
            }
        }
        if let Some(mark) = open {
            notes.warn(&word.place, format!("a {mark} is not closed; the value ends at the end of the line"));
        }
        (!word.text.is_empty()).then_some(word)
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn bump(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        self.place.column = self.place.column.saturating_add(1);
        self.cross_line();
        Some(c)
    }

    fn cross_line(&mut self) {
        while let Some((&(at, number), later)) = self.starts.split_first()
            && at <= self.at
        {
            if at > 0 {
                self.place.column = 1;
            }
            self.place.line = number;
            self.starts = later;
        }
    }
}

fn is_blank(c: char) -> bool {
    c.is_ascii_whitespace() || c == '\u{b}'
}

/// Replaces `${NAME}` and `${NAME:-default}`; what comes in is not looked at again.
fn expand(text: &str, variable: &dyn Fn(&str) -> Option<String>) -> Result<String, Cause> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        let (inside, behind) = after.split_once('}').ok_or(Cause::UnbalancedBrace)?;
        let (name, default) = inside.split_once(":-").unwrap_or((inside, ""));
        out.push_str(before);
        match variable(name) {
            Some(value) => out.push_str(&value),
            None => out.push_str(default),
        }
        if out.len() > MAX_LINE_BYTES {
            return Err(too_long("value"));
        }
        rest = behind;
    }
    out.push_str(rest);
    Ok(out)
}

fn no_control(text: &str, allowed: &str) -> Result<(), Cause> {
    match text.chars().find(|&c| (c < ' ' || c == '\u{7f}') && !allowed.contains(c)) {
        Some(c) => Err(Cause::ControlCharacter { code: u32::from(c) }),
        None => Ok(()),
    }
}

fn too_long(what: &'static str) -> Cause {
    Cause::TooMuch { what, limit: format!("{MAX_LINE_BYTES} bytes") }
}
