//! The words of a line of the section, and where they stand in the file.

use std::path::Path;

use gmetad_core::conf::{Entry, MAX_FILE_BYTES, Place, Section};

use super::lexer::Mistake;

/// A word of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Word {
    pub(crate) text: String,
    /// The character of the line's rest that its text begins at, from 0; behind the quote, if it has one.
    pub(crate) at: usize,
    pub(crate) quoted: bool,
}

/// Cuts a line: words end at blanks and at `"`; `"…"` and `'…'` are one word each, without the quotes. There is no escape
/// (gmetad-python has none): what has quotes in it stands between quotes of the other kind. `#` begins a comment.
pub(crate) fn words(rest: &str) -> Result<Vec<Word>, Mistake> {
    let chars: Vec<char> = rest.chars().collect();
    let mut out = Vec::new();
    let mut at = 0;
    while let Some(&c) = chars.get(at) {
        if c.is_whitespace() {
            at += 1;
            continue;
        }
        if c == '#' {
            break;
        }
        let quoted = c == '"' || c == '\'';
        let start = at + usize::from(quoted);
        let ends = |other: &char| if quoted { *other == c } else { other.is_whitespace() || *other == '"' };
        let end = chars[start..].iter().position(ends).map(|len| start + len);
        if quoted && end.is_none() {
            return Err(Mistake::new(at, format!("the quote is not closed: write {c} where the text ends")));
        }
        let end = end.unwrap_or(chars.len());
        out.push(Word { text: chars[start..end].iter().collect(), at: start, quoted });
        at = end + usize::from(quoted);
    }
    Ok(out)
}

/// Knows the columns of a section's lines, which the section itself does not: it reads its file again.
pub(crate) struct Places<'a> {
    section: &'a Section,
    lines: Vec<String>,
}

impl<'a> Places<'a> {
    /// A file that cannot be read costs the exact columns.
    pub(crate) fn of(section: &'a Section) -> Self {
        let path = Path::new(&*section.place.file);
        let small = std::fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.len() <= MAX_FILE_BYTES as u64);
        let bytes = if small { std::fs::read(path).unwrap_or_default() } else { Vec::new() };
        let lines = String::from_utf8_lossy(&bytes).lines().map(str::to_owned).collect();
        Self { section, lines }
    }

    /// Where a character of the entry's rest stands.
    pub(crate) fn of_rest(&self, entry: &Entry, at: usize) -> Place {
        let file = self.section.place.file.clone();
        let (line, column) = self.find(entry, at).unwrap_or_else(|| {
            // As if it were written with one blank and no indent.
            (entry.line, entry.directive.chars().count() + 2 + at)
        });
        Place { file, line, column: u32::try_from(column).unwrap_or(u32::MAX) }
    }

    /// Where the entry begins.
    pub(crate) fn of_entry(&self, entry: &Entry) -> Place {
        let line = self.line(entry.line).map_or("", |line| line.as_str());
        let indent = line.chars().take_while(|c| c.is_whitespace()).count();
        Place {
            file: self.section.place.file.clone(),
            line: entry.line,
            column: u32::try_from(indent + 1).unwrap_or(1),
        }
    }

    fn line(&self, number: u32) -> Option<&String> {
        self.lines.get((number as usize).checked_sub(1)?)
    }

    /// Puts the line together again as the section was read, but knows where each character came from. `None` if the file
    /// says something else by now.
    fn find(&self, entry: &Entry, at: usize) -> Option<(u32, usize)> {
        let mut whole: Vec<(char, u32, usize)> = Vec::new();
        let mut number = entry.line;
        loop {
            let line = self.line(number)?;
            let indent = line.chars().take_while(|c| c.is_whitespace()).count();
            let trimmed = line.trim();
            let skipped = trimmed.is_empty() || !whole.is_empty() && line.starts_with('#');
            if !skipped {
                let body = trimmed.trim_end_matches('\\');
                whole.extend(body.chars().enumerate().map(|(i, c)| (c, number, indent + i + 1)));
                if body.len() == trimmed.len() {
                    break;
                }
            }
            number = number.checked_add(1)?;
        }
        let directive = whole.iter().take_while(|(c, ..)| !c.is_whitespace()).count();
        let blanks = whole[directive..].iter().take_while(|(c, ..)| c.is_whitespace()).count();
        let rest = &whole[directive + blanks..];
        let same = rest.iter().map(|(c, ..)| *c).zip(entry.rest.chars()).all(|(one, other)| one == other);
        if !same || rest.len() < entry.rest.chars().count() {
            return None;
        }
        match rest.get(at) {
            Some((_, line, column)) => Some((*line, *column)),
            None => rest.last().map(|(_, line, column)| (*line, column + 1)),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    #[test]
    fn words_are_cut_as_the_ancestor_cut_them() {
        let cut = |rest: &str| words(rest).unwrap().into_iter().map(|word| (word.text, word.at)).collect::<Vec<_>>();
        let expected = [("load_one".to_owned(), 0), ("$val > 5".to_owned(), 10), ("it's \\high".to_owned(), 21)];
        assert_eq!(cut("load_one \"$val > 5\" \"it's \\high\" # why"), expected);
        assert_eq!(cut("load_one\"$val > 5\"\"it's \\high\"").len(), 3, "no blanks needed");
        assert_eq!(cut("x '$val == \"a\"' \"\" for 3").len(), 5);
        assert_eq!(words("x \"abc").unwrap_err().at, 2);
    }
}
