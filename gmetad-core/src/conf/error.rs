//! Where something stands in a file, and what is wrong with it.

use std::fmt;
use std::sync::Arc;

/// A point in a configuration file, printed as `file:line:column`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// The file's name as it was given.
    pub file: Arc<str>,
    /// Line, from 1. Of a continued line: the physical line the word stands on.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// Something that is accepted but probably not what was meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// Where it stands.
    pub place: Place,
    /// What was understood, and what to write instead.
    pub text: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.text)
    }
}

/// Why a configuration was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Cause {
    /// A file, main or included, could not be read.
    #[error("Unable to open config file: {path}: {reason}")]
    Unreadable {
        /// The file.
        path: String,
        /// The system's words.
        reason: String,
    },
    /// Nothing to poll. The text is the one C gmetad prints.
    #[error("{file} doesn't have any data sources specified: add a line data_source NAME HOST")]
    NoSources {
        /// The main file.
        file: String,
    },
    /// Neither a directive nor the start of a section.
    #[error("unknown directive {word:?}{}", remedy(*nearest))]
    UnknownDirective {
        /// What was written.
        word: String,
        /// The closest directive, if one is close.
        nearest: Option<&'static str>,
    },
    /// The directive stands alone, or its first argument is `""`.
    #[error("{directive} needs an argument: {syntax}")]
    MissingArgument {
        /// The directive.
        directive: &'static str,
        /// How it is written.
        syntax: String,
    },
    /// An argument that cannot be understood.
    #[error("{directive} {text:?}: expected {expected}")]
    BadValue {
        /// The directive.
        directive: &'static str,
        /// What was written.
        text: String,
        /// What would be right.
        expected: String,
    },
    /// A data_source without addresses.
    #[error("data_source {name:?} has no host: write data_source {name:?} [SECONDS] HOST[:PORT] ...")]
    NoHost {
        /// Its name.
        name: String,
    },
    /// `${` without `}`.
    #[error("Unbalanced '{{': \"${{\" is not closed by \"}}\" in this word; quote a default that holds blanks")]
    UnbalancedBrace,
    /// A here-document that runs to the end of the file.
    #[error("here-document without end: expected a line starting with {delimiter:?}")]
    OpenHereDocument {
        /// The delimiter looked for.
        delimiter: String,
    },
    /// A section that runs to the end of the file.
    #[error("section {id:?} is not closed: its end is a line with only \"}}\"")]
    OpenSection {
        /// Name of the section.
        id: String,
    },
    /// Text behind the opening brace.
    #[error("section {id:?}: nothing may follow \"{{\" on its line; write one directive a line")]
    SectionOnOneLine {
        /// Name of the section.
        id: String,
    },
    /// A control character inside a word.
    #[error("control character {code:#04x} in a value: remove it")]
    ControlCharacter {
        /// Its code.
        code: u32,
    },
    /// A bound of the parser was hit.
    #[error("{what} exceeds the limit of {limit}")]
    TooMuch {
        /// What is too big.
        what: &'static str,
        /// The bound, with its unit.
        limit: String,
    },
}

fn remedy(nearest: Option<&str>) -> String {
    match nearest {
        Some(name) => format!(": did you mean {name:?}?"),
        None => ": see gmetad.conf(5); a section opens with \"NAME {\" on one line".to_owned(),
    }
}

/// One error and its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Where; absent for what concerns the whole file.
    pub place: Option<Place>,
    /// What.
    pub cause: Cause,
}

impl Fault {
    pub(crate) fn at(place: &Place, cause: Cause) -> Fault {
        Fault { place: Some(place.clone()), cause }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Some(place) => write!(f, "{place}: {}", self.cause),
            None => write!(f, "{}", self.cause),
        }
    }
}

/// All errors found in a configuration, by file, line and column; prints one a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfError {
    /// The errors; never empty, at most 100.
    pub faults: Vec<Fault>,
    /// How many more there were.
    pub more: usize,
}

const MAX_FAULTS: usize = 100;

impl ConfError {
    pub(crate) fn new(mut faults: Vec<Fault>) -> ConfError {
        let more = faults.len().saturating_sub(MAX_FAULTS);
        faults.truncate(MAX_FAULTS);
        ConfError { faults, more }
    }
}

impl std::error::Error for ConfError {}

impl fmt::Display for ConfError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, fault) in self.faults.iter().enumerate() {
            write!(f, "{}{fault}", if i > 0 { "\n" } else { "" })?;
        }
        if self.more > 0 {
            write!(f, "\nand {} more errors", self.more)?;
        }
        Ok(())
    }
}

/// What both stages collect on the way.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Notes {
    pub(crate) warnings: Vec<Warning>,
    pub(crate) faults: Vec<Fault>,
}

impl Notes {
    pub(crate) fn warn(&mut self, place: &Place, text: impl Into<String>) {
        self.warnings.push(Warning { place: place.clone(), text: text.into() });
    }

    pub(crate) fn fault(&mut self, place: &Place, cause: Cause) {
        self.faults.push(Fault::at(place, cause));
    }
}
