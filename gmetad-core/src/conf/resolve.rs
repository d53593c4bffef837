//! From as written to as meant.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use super::config::Config;
use super::error::{Cause, ConfError, Fault, Notes, Place};
use super::lexer::Word;
use super::loader::Loader;
use super::raw::RawConfig;
use super::table::{Directive, Kind};
use super::value::{self, RrdcachedAddress};

pub(crate) fn resolve(raw: RawConfig, loader: &dyn Loader) -> Result<Config, ConfError> {
    let RawConfig { directives, sections, mut notes, file } = raw;
    let mut config = Config::with_hostname(&loader.hostname());
    for line in &directives {
        let mut args = Args { directive: line.directive, words: &line.words, place: &line.place, notes: &mut notes };
        if let Err(fault) = line.directive.apply(&mut config, &mut args) {
            notes.faults.push(fault);
        }
    }
    let start = Place { file: file.as_str().into(), line: 1, column: 1 };
    finish(&mut config, loader, &start, &mut notes);
    // With other errors the sources may be what is missing because of them.
    if config.sources.is_empty() && notes.faults.is_empty() {
        notes.faults.push(Fault { place: None, cause: Cause::NoSources { file } });
    }
    notes.faults.sort_by(|a, b| a.place.cmp(&b.place));
    notes.warnings.sort_by(|a, b| a.place.cmp(&b.place));
    if !notes.faults.is_empty() {
        return Err(ConfError::new(notes.faults));
    }
    config.sections = sections;
    config.warnings = notes.warnings;
    Ok(config)
}

/// The rules that concern values whatever line they came from.
fn finish(config: &mut Config, loader: &dyn Loader, start: &Place, notes: &mut Notes) {
    if config.carbon_port == 0 {
        config.carbon_port = 2003;
    }
    if config.carbon_timeout.is_zero() {
        config.carbon_timeout = Duration::from_millis(500);
    }
    for (name, value) in
        [("graphite_prefix", &mut config.graphite_prefix), ("graphite_path", &mut config.graphite_path)]
    {
        if value.as_ref().is_some_and(|text| text.len() < 2) {
            notes.warn(start, format!("{name} is ignored, as in C gmetad: it needs at least 2 characters"));
            *value = None;
        }
    }
    if config.xml_port == config.interactive_port && config.xml_port != 0 && config.xml_bind == config.interactive_bind
    {
        let text = format!("xml_port and interactive_port are both {}: one of them cannot be bound", config.xml_port);
        notes.warn(start, text);
    }
    // librrd looks there by itself, and init scripts of several distributions rely on it.
    if config.rrdcached_address.is_none()
        && let Some(text) = loader.variable("RRDCACHED_ADDRESS").filter(|text| !text.is_empty())
    {
        config.rrdcached_address = RrdcachedAddress::parse(&text);
        if config.rrdcached_address.is_none() {
            notes.warn(start, format!("environment variable RRDCACHED_ADDRESS={text:?} is no address: ignored"));
        }
    }
}

/// A directive's arguments while they are applied.
pub(crate) struct Args<'a> {
    pub(crate) directive: &'static Directive,
    pub(crate) words: &'a [Word],
    pub(crate) place: &'a Place,
    pub(crate) notes: &'a mut Notes,
}

impl<'a> Args<'a> {
    pub(crate) fn place(&self) -> &'a Place {
        self.place
    }

    /// The only argument; others are ignored with a warning.
    pub(crate) fn single(&mut self) -> Result<&'a Word, Fault> {
        let words = self.words;
        let (first, others) = words.split_first().ok_or_else(|| self.missing())?;
        if let Some(second) = others.first() {
            self.warn(
                second,
                format!("ignored: {} takes one argument; quote it if it holds blanks", self.directive.name),
            );
        }
        Ok(first)
    }

    /// All arguments, up to a word with an unquoted `#` inside, where C ends the list and drops the word.
    pub(crate) fn list(&mut self) -> &'a [Word] {
        let words = self.words;
        match words.iter().position(|word| word.hash) {
            Some(end) => {
                let word = &words[end];
                let text = format!(
                    "{:?} and what follows is a comment: quote the word, or put a blank before the \"#\"",
                    word.text
                );
                self.warn(word, text);
                &words[..end]
            }
            None => words,
        }
    }

    pub(crate) fn warn(&mut self, word: &Word, text: String) {
        self.notes.warn(&word.place, text);
    }

    pub(crate) fn missing(&self) -> Fault {
        let syntax = format!("{} {}", self.directive.name, self.directive.syntax());
        Fault::at(self.place, Cause::MissingArgument { directive: self.directive.name, syntax })
    }

    pub(crate) fn bad(&self, word: &Word, expected: impl Into<String>) -> Fault {
        let (text, expected) = (word.text.clone(), expected.into());
        Fault::at(&word.place, Cause::BadValue { directive: self.directive.name, text, expected })
    }

    /// The only argument as C's `%li` reads it, except that no number at all is an error.
    pub(crate) fn integer(&mut self) -> Result<(&'a Word, i64), Fault> {
        let word = self.single()?;
        let (value, rest) = value::c_integer(&word.text).ok_or_else(|| self.bad(word, "a number"))?;
        if !rest.trim().is_empty() {
            let octal = if word.text.trim_start().starts_with('0') { "; a leading 0 means octal" } else { "" };
            self.warn(word, format!("{:?} is read as {value}: {rest:?} is ignored{octal}", word.text));
        }
        Ok((word, value))
    }

    /// An integer moved into a range, with a warning.
    pub(crate) fn ranged(&mut self, least: i64, most: i64) -> Result<u32, Fault> {
        let (word, value) = self.integer()?;
        let clamped = value.clamp(least, most);
        if clamped != value {
            self.warn(word, format!("{value} is out of range: {clamped} is used"));
        }
        Ok(u32::try_from(clamped).unwrap_or(0))
    }
}

impl Directive {
    /// Reads the arguments into the configuration.
    pub(crate) fn apply(&self, config: &mut Config, args: &mut Args<'_>) -> Result<(), Fault> {
        match self.kind {
            Kind::Text(at) => *at(config) = args.single()?.text.clone(),
            Kind::MaybeText(at) => *at(config) = Some(args.single()?.text.clone()),
            Kind::Path(at) => *at(config) = args.single()?.text.clone().into(),
            Kind::MaybePath(at) => *at(config) = Some(args.single()?.text.clone().into()),
            Kind::Port(at) => {
                let (word, value) = args.integer()?;
                *at(config) = u16::try_from(value).map_err(|_| args.bad(word, "a port from 0 to 65535"))?;
            }
            Kind::Number { least, most, at } => *at(config) = args.ranged(least, most)?,
            Kind::Flag(at) => *at(config) = args.integer()?.1 != 0,
            Kind::Toggle(at) => {
                let word = args.single()?;
                let (on, clear) = value::toggle(&word.text);
                if !clear {
                    let text = format!("{:?} means {} here: say on or off", word.text, on_off(on));
                    args.warn(word, text);
                }
                *at(config) = on;
            }
            Kind::UnlessOff(at) => {
                let word = args.single()?;
                let lower = word.text.to_ascii_lowercase();
                if word.text != "off" && !matches!(lower.as_str(), "on" | "yes" | "1" | "true") {
                    args.warn(word, format!("{:?} means on, as in C gmetad: say off", word.text));
                }
                *at(config) = word.text != "off";
            }
            Kind::Words { add, at } => {
                let words = args.list().iter().map(|word| word.text.clone());
                if !add {
                    at(config).clear();
                }
                at(config).extend(words);
            }
            Kind::Addresses(at) => {
                let mut found = Vec::new();
                let words = args.list();
                for word in words {
                    match word.text.to_ascii_lowercase().as_str() {
                        "any" | "*" => {}
                        "localhost" => found.extend([IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)]),
                        text => found.push(value::ip(text).ok_or_else(|| args.bad(word, "IP addresses, or any"))?),
                    }
                }
                let any = words.iter().find(|word| word.text == "*" || word.text.eq_ignore_ascii_case("any"));
                match any {
                    _ if words.is_empty() => return Err(args.missing()),
                    Some(word) if words.len() > 1 => return Err(args.bad(word, "any to stand alone")),
                    _ => *at(config) = dedup(found),
                }
            }
            Kind::Choice { words, set, .. } => {
                let word = args.single()?;
                if !set(config, &word.text) {
                    return Err(args.bad(word, words.join(" or ")));
                }
            }
            Kind::Custom { set, .. } => set(config, args)?,
        }
        Ok(())
    }
}

pub(crate) fn on_off(on: bool) -> &'static str {
    if on { "on" } else { "off" }
}

fn dedup(addresses: Vec<IpAddr>) -> Vec<IpAddr> {
    let mut kept = Vec::with_capacity(addresses.len());
    for address in addresses {
        if !kept.contains(&address) {
            kept.push(address);
        }
    }
    kept
}
