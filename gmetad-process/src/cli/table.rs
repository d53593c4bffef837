//! Reading a command line by a table of options, with the rules of GNU `getopt_long` and the texts of C gmetad.
//!
//! Knows no option itself, so that other programs use it with tables of their own.

use std::ffi::OsString;

use lexopt::{Arg, Parser};

/// One option: everything parsing and the help text know about it.
#[derive(Debug)]
pub struct Opt<Id: 'static> {
    /// What the caller knows it by.
    pub id: Id,
    /// The letter, if it has one.
    pub short: Option<char>,
    /// Its long names; the first is the one shown.
    pub long: &'static [&'static str],
    /// Name of its value in the help text; `None` for a switch.
    pub value: Option<&'static str>,
    /// What it does, for the help text.
    pub help: &'static str,
    /// An option of the original program: abbreviations that were clear there stay clear, whatever was added since.
    pub original: bool,
}

/// What is wrong with a command line. The text is complete, program name and all.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{program}: {cause}")]
pub struct CliError {
    /// The program's name, as messages start.
    pub program: &'static str,
    /// The cause.
    pub cause: CliCause,
}

/// The causes of a [`CliError`].
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum CliCause {
    /// No such option.
    #[error("unrecognized option '{0}'; --help lists the options")]
    Unknown(String),
    /// An abbreviation of several options.
    #[error("option '{given}' is ambiguous; possibilities:{}", .names.iter().map(|n| format!(" '--{n}'")).collect::<String>())]
    Ambiguous {
        /// As typed.
        given: String,
        /// What it may stand for.
        names: Vec<&'static str>,
    },
    /// An option that may be given once.
    #[error("`--{long}'{} option given more than once", .short.map(|s| format!(" (`-{s}')")).unwrap_or_default())]
    Twice {
        /// Its shown name.
        long: &'static str,
        /// Its letter.
        short: Option<char>,
    },
    /// The value is missing.
    #[error("option '{0}' requires an argument; --help lists the options")]
    NoValue(String),
    /// A switch was given a value.
    #[error("option '{0}' doesn't allow an argument")]
    UnwantedValue(String),
    /// Not a number.
    #[error("invalid numeric value: {0}")]
    NotANumber(String),
    /// Not a port.
    #[error("invalid port {port}: a port is a number from 0 to 65535")]
    NotAPort {
        /// The number given.
        port: i64,
    },
    /// Two options that ask for different programs.
    #[error("`--{0}' and `--{1}' cannot be given together; choose one")]
    Exclusive(&'static str, &'static str),
    /// An option that means nothing without another.
    #[error("`--{0}' needs `--{1}'; --help lists the options")]
    Needs(&'static str, &'static str),
}

/// Walks over a command line, option by option, in the order given. Words that are no options are ignored.
pub struct Scanner<Id: 'static> {
    program: &'static str,
    table: &'static [Opt<Id>],
    parser: Parser,
    seen: Vec<Id>,
}

impl<Id: Copy + PartialEq> Scanner<Id> {
    /// `args` are the words after the program's name.
    pub fn new(program: &'static str, table: &'static [Opt<Id>], args: impl IntoIterator<Item = OsString>) -> Self {
        let words: Vec<OsString> = args.into_iter().collect();
        Scanner { program, table, parser: Parser::from_args(words), seen: Vec::new() }
    }

    /// The next option and its value (`Some` exactly if the table says it has one); `None` at the end.
    pub fn next_option(&mut self) -> Result<Option<(Id, Option<OsString>)>, CliError> {
        let mut is_long = false;
        let found = loop {
            match self.parser.next() {
                Ok(None) => return Ok(None),
                Ok(Some(Arg::Value(_))) => {}
                Ok(Some(Arg::Short(letter))) => break self.by_letter(letter),
                Ok(Some(Arg::Long(name))) => {
                    is_long = true;
                    break by_name(self.table, name);
                }
                Err(lexopt::Error::UnexpectedValue { option, .. }) => break Err(CliCause::UnwantedValue(option)),
                Err(other) => break Err(CliCause::Unknown(other.to_string())),
            }
        };
        let opt = found.map_err(|cause| self.error(cause))?;
        if self.seen.contains(&opt.id) {
            return Err(self.error(CliCause::Twice { long: opt.long[0], short: opt.short }));
        }
        self.seen.push(opt.id);
        if opt.value.is_none() {
            // What follows a letter is the next letter, not a value.
            if is_long && self.parser.optional_value().is_some() {
                return Err(self.error(CliCause::UnwantedValue(format!("--{}", opt.long[0]))));
            }
            return Ok(Some((opt.id, None)));
        }
        match self.parser.value() {
            Ok(value) => Ok(Some((opt.id, Some(value)))),
            Err(_) => Err(self.error(CliCause::NoValue(format!("--{}", opt.long[0])))),
        }
    }

    /// `cause` as an error of this program.
    pub fn error(&self, cause: CliCause) -> CliError {
        CliError { program: self.program, cause }
    }

    fn by_letter(&self, letter: char) -> Result<&'static Opt<Id>, CliCause> {
        let table = self.table;
        table.iter().find(|o| o.short == Some(letter)).ok_or_else(|| CliCause::Unknown(format!("-{letter}")))
    }
}

/// Exact name, else the one option `given` abbreviates. Original options are asked first.
fn by_name<Id>(table: &'static [Opt<Id>], given: &str) -> Result<&'static Opt<Id>, CliCause> {
    if let Some(exact) = table.iter().find(|o| o.long.contains(&given)) {
        return Ok(exact);
    }
    for original in [true, false] {
        let fits = |o: &&Opt<Id>| o.original == original && o.long.iter().any(|name| name.starts_with(given));
        let found: Vec<_> = table.iter().filter(fits).collect();
        match found[..] {
            [] => {}
            [one] => return Ok(one),
            _ => {
                let names = found.iter().map(|o| o.long[0]).collect();
                return Err(CliCause::Ambiguous { given: format!("--{given}"), names });
            }
        }
    }
    Err(CliCause::Unknown(format!("--{given}")))
}

/// The options as lines of a help text.
pub fn help_lines<Id>(table: &[Opt<Id>]) -> String {
    let mut text = String::new();
    for opt in table {
        let short = opt.short.map_or_else(|| "    ".to_owned(), |letter| format!("-{letter}, "));
        let value = opt.value.map(|name| format!("={name}")).unwrap_or_default();
        let names = format!("{short}--{}{value}", opt.long[0]);
        text.push_str(&format!("  {names:<31} {}\n", opt.help));
    }
    text
}

/// A whole number as C's `strtol` with base 0 reads it: blanks, a sign, `0x` for 16, `0` for 8, else 10; too large
/// numbers become the largest. `None` if anything else follows or nothing is there.
pub fn c_long(text: &str) -> Option<i64> {
    let text = text.trim_start_matches([' ', '\t', '\n', '\x0b', '\x0c', '\r']);
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (base, digits) = match digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        Some(hex) => (16, hex),
        None if digits.len() > 1 && digits.starts_with('0') => (8, &digits[1..]),
        None => (10, digits),
    };
    if digits.is_empty() {
        return None;
    }
    let mut value: i64 = 0; // kept negative, so that the smallest number fits
    for digit in digits.chars() {
        value = value.saturating_mul(base).saturating_sub(i64::from(digit.to_digit(u32::try_from(base).ok()?)?));
    }
    Some(if negative { value } else { value.saturating_neg() })
}
