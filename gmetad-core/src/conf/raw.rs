//! The file as written: directives with their words, sections with their lines, includes followed.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::error::{Cause, ConfError, Fault, Notes, Place, Warning};
use super::lexer::{Cursor, Lines, MAX_FILE_BYTES, Word};
use super::loader::Loader;
use super::section::{self, Section};
use super::table::{self, Directive};
use super::{Config, glob};

/// How deep `Include` may nest.
pub const MAX_INCLUDE_DEPTH: usize = 16;
/// How many files a configuration may consist of.
pub const MAX_FILES: usize = 1024;

/// A configuration as written.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RawConfig {
    /// The directives, in order, of all files.
    pub directives: Vec<RawDirective>,
    /// The sections, in the order of their first appearance; of one name only the last body.
    pub sections: Vec<Section>,
    pub(super) notes: Notes,
    pub(super) file: String,
}

/// A directive as written.
#[derive(Debug, Clone, PartialEq)]
pub struct RawDirective {
    /// Its row in the table.
    pub directive: &'static Directive,
    /// Its arguments.
    pub words: Vec<Word>,
    /// Where its name stands.
    pub place: Place,
}

impl RawConfig {
    /// Reads a file and what it includes. Errors are collected: see [`RawConfig::check`].
    pub fn load(path: &Path, loader: &dyn Loader) -> RawConfig {
        let mut reader = Reader::new(path.display().to_string(), loader);
        match loader.read(path) {
            Ok(bytes) => reader.bytes(&bytes, &path.display().to_string(), 0),
            Err(error) => reader.raw.notes.faults.push(Fault { place: None, cause: unreadable(path, &error) }),
        }
        reader.raw
    }

    /// Reads a text called `name` and what it includes.
    pub fn parse_str(text: &str, name: &str, loader: &dyn Loader) -> RawConfig {
        let mut reader = Reader::new(name.to_owned(), loader);
        reader.bytes(text.as_bytes(), name, 0);
        reader.raw
    }

    /// The errors of this stage, if there are any.
    pub fn check(&self) -> Result<(), ConfError> {
        if self.notes.faults.is_empty() { Ok(()) } else { Err(ConfError::new(self.notes.faults.clone())) }
    }

    /// The warnings of this stage.
    pub fn warnings(&self) -> &[Warning] {
        &self.notes.warnings
    }

    /// The second stage: what was meant, or all errors of both stages.
    pub fn resolve(self, loader: &dyn Loader) -> Result<Config, ConfError> {
        super::resolve::resolve(self, loader)
    }
}

struct Reader<'a> {
    raw: RawConfig,
    loader: &'a dyn Loader,
    include_path: Option<PathBuf>,
    files: usize,
}

impl<'a> Reader<'a> {
    fn new(file: String, loader: &'a dyn Loader) -> Reader<'a> {
        let include_path = loader.variable("DC_INCLUDEPATH").map(PathBuf::from);
        Reader { raw: RawConfig { file, ..RawConfig::default() }, loader, include_path, files: 0 }
    }

    fn bytes(&mut self, bytes: &[u8], name: &str, depth: usize) {
        let file: Arc<str> = name.into();
        let start = Place { file: file.clone(), line: 1, column: 1 };
        if bytes.len() > MAX_FILE_BYTES {
            let limit = format!("{MAX_FILE_BYTES} bytes");
            self.raw.notes.fault(&start, Cause::TooMuch { what: "file", limit });
            return;
        }
        match std::str::from_utf8(bytes) {
            Ok(text) => self.text(text, file, depth),
            Err(_) => {
                self.raw.notes.warn(&start, "the file is not UTF-8: read as ISO-8859-1");
                let text: String = bytes.iter().copied().map(char::from).collect();
                self.text(&text, file, depth);
            }
        }
    }

    fn text(&mut self, text: &str, file: Arc<str>, depth: usize) {
        self.files += 1;
        let mut lines = Lines::new(file, text);
        while let Some(line) = lines.joined() {
            let outcome = line.and_then(|line| {
                let cursor = lines.cursor(&line);
                if line.cut {
                    let text = "the file ends after a \"\\\" that announces another line";
                    self.raw.notes.warn(cursor.place(), text);
                }
                self.line(cursor, &mut lines, depth)
            });
            if let Err(fault) = outcome {
                self.raw.notes.faults.push(fault);
            }
        }
    }

    fn line(&mut self, mut cursor: Cursor<'_>, lines: &mut Lines<'_>, depth: usize) -> Result<(), Fault> {
        cursor.skip_blanks();
        if cursor.rest().is_empty() || cursor.rest().starts_with('#') {
            return Ok(());
        }
        let place = cursor.place().clone();
        let name = cursor.bare();
        let directive = table::find(name);
        let include = ["Include", "IncludePath"].into_iter().find(|known| known.eq_ignore_ascii_case(name));
        if directive.is_none() && include.is_none() {
            return self.section_or_unknown(name, cursor.rest(), place, lines);
        }
        if let Some(directive) = directive.filter(|directive| directive.takes_here_document()) {
            cursor.skip_blanks();
            let here = cursor.place().clone();
            let delimiter = cursor.rest().strip_prefix("<<").and_then(|rest| rest.split_whitespace().next());
            if let Some(delimiter) = delimiter {
                let text = lines.here_document(delimiter, &here)?;
                let words = vec![Word { text, place: here, hash: false }];
                self.raw.directives.push(RawDirective { directive, words, place });
                return Ok(());
            }
        }
        let words = cursor.words(&|name| self.loader.variable(name), &mut self.raw.notes)?;
        match (directive, include) {
            (Some(directive), _) => self.raw.directives.push(RawDirective { directive, words, place }),
            (None, Some(name)) => {
                let Some(word) = words.into_iter().next() else {
                    return Err(Fault::at(&place, Cause::MissingArgument { directive: name, syntax: "a path".into() }));
                };
                if name == "Include" {
                    self.include(&word, depth)?;
                } else if self.loader.variable("DC_INCLUDEPATH").is_none() {
                    self.include_path = Some(PathBuf::from(word.text));
                }
            }
            (None, None) => {}
        }
        Ok(())
    }

    fn section_or_unknown(&mut self, name: &str, rest: &str, place: Place, lines: &mut Lines<'_>) -> Result<(), Fault> {
        let Some((id, behind)) = section::opening(name, rest) else {
            let cause = Cause::UnknownDirective { word: name.to_owned(), nearest: table::nearest(name) };
            return Err(Fault::at(&place, cause));
        };
        let comment = behind.starts_with('#');
        if !behind.is_empty() && !comment {
            self.raw.notes.fault(&place, Cause::SectionOnOneLine { id: id.clone() });
            if behind.ends_with('}') {
                return Ok(());
            }
        }
        let Some(section) = section::read(id, place, lines, &mut self.raw.notes) else { return Ok(()) };
        match self.raw.sections.iter_mut().find(|known| known.id == section.id) {
            Some(known) => {
                let text = format!("section {:?} replaces the one at {}", section.id, known.place);
                self.raw.notes.warn(&section.place, text);
                *known = section;
            }
            None => self.raw.sections.push(section),
        }
        Ok(())
    }

    /// `Include PATH`: `*` and `?` in the last component; matches are read in the order of their names (in C: of the
    /// directory). Relative to `IncludePath` or DC_INCLUDEPATH, else to the working directory.
    fn include(&mut self, word: &Word, depth: usize) -> Result<(), Fault> {
        let too_much = |what, limit: usize| Fault::at(&word.place, Cause::TooMuch { what, limit: limit.to_string() });
        if depth + 1 > MAX_INCLUDE_DEPTH {
            return Err(too_much("depth of Include", MAX_INCLUDE_DEPTH));
        }
        let path = match &self.include_path {
            Some(prefix) => prefix.join(&word.text),
            None => PathBuf::from(&word.text),
        };
        for path in self.wildcards(path, word) {
            if self.files >= MAX_FILES {
                return Err(too_much("number of files", MAX_FILES));
            }
            match self.loader.read(&path) {
                Ok(bytes) => self.bytes(&bytes, &path.display().to_string(), depth + 1),
                Err(error) if error.kind() == ErrorKind::IsADirectory => {
                    let text = format!("{} is a directory, nothing is included: write DIR/*.conf", path.display());
                    self.raw.notes.warn(&word.place, text);
                }
                Err(error) => self.raw.notes.fault(&word.place, unreadable(&path, &error)),
            }
        }
        Ok(())
    }

    fn wildcards(&mut self, path: PathBuf, word: &Word) -> Vec<PathBuf> {
        let (Some(directory), Some(pattern)) = (path.parent(), path.file_name().and_then(|name| name.to_str())) else {
            return vec![path];
        };
        if !pattern.contains(['*', '?']) {
            return vec![path];
        }
        let mut names = self.loader.list(directory).unwrap_or_else(|error| {
            self.raw.notes.warn(&word.place, format!("nothing is included: {}: {error}", directory.display()));
            Vec::new()
        });
        names.retain(|name| glob::matches(pattern, name));
        names.sort_unstable();
        names.into_iter().map(|name| directory.join(name)).collect()
    }
}

fn unreadable(path: &Path, error: &std::io::Error) -> Cause {
    Cause::Unreadable { path: path.display().to_string(), reason: error.to_string() }
}
