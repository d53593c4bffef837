//! The section `alert { }`.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use gmetad_core::conf::{Entry, Place, Section};

use super::ast::{Condition, Scope};
use super::lexer::Mistake;
use super::parser::parse;
use super::time;
use super::webhook;
use super::words::{Places, Word, words};
use crate::pattern::Pattern;

/// Rules of a section, at most.
const MAX_RULES: usize = 1000;
/// Receivers of webhooks, at most: each has a thread.
const MAX_WEBHOOKS: usize = 16;
/// Characters of a message, at most.
const MAX_MESSAGE: usize = 2000;

/// Something wrong with the section, printed as `file:line:column: text`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Where.
    pub place: Place,
    /// The line is left out, and `--check` fails; else it is a warning.
    pub fatal: bool,
    /// What is wrong, and the remedy.
    pub text: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: alert: {}", self.place, self.text)
    }
}

/// What a section says.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) to: String,
    pub(crate) from: String,
    pub(crate) sendmail: PathBuf,
    pub(crate) rules: Vec<Arc<Rule>>,
    pub(crate) webhooks: Vec<String>,
    pub(crate) headers: Vec<(String, String)>,
    /// Whom https is to trust instead of public authorities; empty: those.
    pub(crate) authorities: Vec<ureq::tls::Certificate<'static>>,
    pub(crate) external_url: String,
    pub(crate) max_active: usize,
    pub(crate) max_mails: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            to: String::new(),
            from: String::new(),
            sendmail: PathBuf::from("/usr/sbin/sendmail"),
            rules: Vec::new(),
            webhooks: Vec::new(),
            headers: Vec::new(),
            authorities: Vec::new(),
            external_url: String::new(),
            max_active: 100_000,
            max_mails: 10,
        }
    }
}

/// One rule.
#[derive(Debug)]
pub(crate) struct Rule {
    pub(crate) name: String,
    /// The name is the section's; else it is that of the metric, or made up.
    pub(crate) named: bool,
    pub(crate) scope: Scope,
    pub(crate) metric: Pattern,
    pub(crate) condition: Condition,
    /// The condition as written.
    pub(crate) text: String,
    pub(crate) message: String,
    /// Polls in a row.
    pub(crate) polls: u32,
    /// 0 is never.
    pub(crate) repeat: Duration,
    pub(crate) severity: String,
    pub(crate) cluster: Pattern,
    pub(crate) host: Pattern,
}

/// The section that counts: of several, the last.
pub(crate) fn section(sections: &[Section]) -> Option<&Section> {
    sections.iter().rfind(|section| section.id.eq_ignore_ascii_case("alert"))
}

/// Reads a section; what is wrong with it goes into `faults`.
pub(crate) fn read(section: &Section, faults: &mut Vec<Fault>) -> Settings {
    let mut reader = Reader { places: Places::of(section), settings: Settings::default(), faults };
    for entry in &section.entries {
        if let Err(mistake) = reader.entry(entry) {
            let place = reader.places.of_rest(entry, mistake.at);
            reader.faults.push(Fault { place, fatal: true, text: format!("{}: {}", entry.directive, mistake.text) });
        }
    }
    let settings = reader.settings;
    let mut warn = |text: &str| {
        faults.push(Fault { place: section.place.clone(), fatal: false, text: text.to_owned() });
    };
    if settings.to.is_empty() {
        if settings.webhooks.is_empty() {
            warn("nobody is told of alerts, they are only shown in /status: write toaddress ADDRESS, or webhook URL");
        } else {
            warn("no mail is sent: there is no toaddress");
        }
    }
    if settings.rules.is_empty() {
        warn("there are no rules: write metricrule METRIC \"CONDITION\" \"MESSAGE\"");
    }
    settings
}

struct Reader<'a> {
    places: Places<'a>,
    settings: Settings,
    faults: &'a mut Vec<Fault>,
}

impl Reader<'_> {
    fn warn(&mut self, entry: &Entry, text: String) {
        self.faults.push(Fault { place: self.places.of_entry(entry), fatal: false, text });
    }

    fn entry(&mut self, entry: &Entry) -> Result<(), Mistake> {
        let directive = entry.directive.to_ascii_lowercase();
        match directive.as_str() {
            "toaddress" => self.settings.to = address(&entry.rest)?,
            "fromaddress" => self.settings.from = address(&entry.rest)?,
            "sendmailpath" => {
                let path = one(&words(&entry.rest)?, "the path of a program")?.text.clone();
                if Path::new(&path).is_absolute() && Path::new(&path).is_file() {
                    self.settings.sendmail = path.into();
                } else {
                    let used = self.settings.sendmail.display();
                    let text =
                        format!("sendmailpath {path}: there is no such file, {used} is used: write its whole path");
                    self.warn(entry, text);
                }
            }
            "metricrule" => self.rule(entry, Scope::Metric)?,
            "hostrule" => self.rule(entry, Scope::Host)?,
            "clusterrule" => self.rule(entry, Scope::Cluster)?,
            "webhook" => {
                let words = words(&entry.rest)?;
                let word = one(&words, "a URL")?;
                webhook::check_url(&word.text).map_err(|text| Mistake::new(word.at, text))?;
                if self.settings.webhooks.len() >= MAX_WEBHOOKS {
                    return Err(Mistake::new(0, format!("there may be {MAX_WEBHOOKS} of them: remove some")));
                }
                self.settings.webhooks.push(word.text.clone());
            }
            "webhook_header" => {
                let words = words(&entry.rest)?;
                let word = one(&words, "\"Name: value\"")?;
                let header = webhook::header(&word.text).map_err(|text| Mistake::new(word.at, text))?;
                self.settings.headers.push(header);
            }
            "webhook_ca" => {
                let words = words(&entry.rest)?;
                let word = one(&words, "a file")?;
                let found = webhook::authorities(&word.text).map_err(|text| Mistake::new(word.at, text))?;
                self.settings.authorities.extend(found);
            }
            "external_url" => self.settings.external_url = one(&words(&entry.rest)?, "a URL")?.text.clone(),
            "maxactive" => self.settings.max_active = count(&entry.rest, 10_000_000)?,
            "maxmails" => self.settings.max_mails = count(&entry.rest, 1000)?,
            _ => {
                let text =
                    format!("unknown directive {:?} is ignored: see \"Alerts\" in docs/plugins.md", entry.directive);
                self.warn(entry, text);
            }
        }
        Ok(())
    }

    /// `[METRIC] "CONDITION" "MESSAGE" OPTION...`
    fn rule(&mut self, entry: &Entry, scope: Scope) -> Result<(), Mistake> {
        if self.settings.rules.len() >= MAX_RULES {
            return Err(Mistake::new(0, format!("there may be {MAX_RULES} rules: use patterns")));
        }
        let words = words(&entry.rest)?;
        let behind = Mistake::new(entry.rest.chars().count(), "");
        let missing = |what: &str| {
            let metric = if scope == Scope::Metric { " METRIC" } else { "" };
            let text = format!("the {what} is missing: write {}{metric} \"CONDITION\" \"MESSAGE\"", entry.directive);
            Mistake { text, ..behind.clone() }
        };
        let mut next = words.iter();
        let metric = match scope {
            Scope::Metric => Some(next.next().filter(|word| !word.text.is_empty()).ok_or_else(|| missing("metric"))?),
            _ => None,
        };
        let condition = next.next().ok_or_else(|| missing("condition"))?;
        let message = next.next().ok_or_else(|| missing("message"))?;
        for (word, what) in [(condition, "condition"), (message, "message")] {
            if !word.quoted {
                return Err(Mistake::new(word.at, format!("the {what} must stand in quotes: \"{}\"", word.text)));
            }
        }
        if message.text.chars().count() > MAX_MESSAGE {
            return Err(Mistake::new(message.at, format!("a message may have {MAX_MESSAGE} characters: shorten it")));
        }
        let parsed = parse(&condition.text, scope).map_err(|mistake| Mistake {
            at: condition.at + mistake.at,
            text: format!("condition {:?}: {}", condition.text, mistake.text),
        })?;
        let mut rule = Rule {
            name: self.free_name(match metric {
                Some(word) => &word.text,
                None if scope == Scope::Host => "host",
                None => "cluster",
            }),
            named: false,
            scope,
            metric: metric.map_or(Pattern::Any, |word| Pattern::new(&word.text)),
            condition: parsed,
            text: condition.text.clone(),
            message: message.text.clone(),
            polls: 1,
            repeat: Duration::from_secs(4 * 3600),
            severity: "warning".to_owned(),
            cluster: Pattern::Any,
            host: Pattern::Any,
        };
        let mut name_at = 0;
        while let Some(option) = next.next() {
            let value = next.next();
            rule.option(option, value)?;
            if option.text.eq_ignore_ascii_case("name") {
                name_at = value.map_or(0, |word| word.at);
            }
        }
        let free = self.free_name(&rule.name);
        if free != rule.name {
            // Not worth the rule; but two of a name would be one alert to receivers, and one series twice to /metrics.
            let directive = &entry.directive;
            let text = format!(
                "{directive}: name {:?}: another rule has it, this one is {free}: write another name",
                rule.name
            );
            let place = self.places.of_rest(entry, name_at);
            self.faults.push(Fault { place, fatal: false, text });
            rule.name = free;
        }
        self.settings.rules.push(Arc::new(rule));
        Ok(())
    }

    /// That name, with a number behind it if another rule has it.
    fn free_name(&self, name: &str) -> String {
        let mut free = name.to_owned();
        for number in 2.. {
            if self.settings.rules.iter().all(|rule| rule.name != free) {
                break;
            }
            free = format!("{name}-{number}");
        }
        free
    }
}

impl Rule {
    fn option(&mut self, option: &Word, value: Option<&Word>) -> Result<(), Mistake> {
        let name = option.text.to_ascii_lowercase();
        if option.quoted || !["for", "repeat", "severity", "cluster", "host", "name"].contains(&name.as_str()) {
            let text = format!("{:?} is no option: for, repeat, severity, cluster, host, name are there", option.text);
            return Err(Mistake::new(option.at, text));
        }
        let Some(word) = value else {
            let at = option.at + option.text.chars().count();
            return Err(Mistake::new(at, format!("a value is missing behind {name}")));
        };
        let bad = |expected: &str| Mistake::new(word.at, format!("{name} {:?}: expected {expected}", word.text));
        match name.as_str() {
            "for" => {
                let polls = word.text.parse().ok().filter(|polls| (1..=100_000).contains(polls));
                self.polls = polls.ok_or_else(|| bad("a number of polls, from 1"))?;
            }
            "repeat" => {
                self.repeat =
                    time::duration(&word.text).ok_or_else(|| bad("a time such as 30m or 4h, or 0 for never"))?;
            }
            "severity" => {
                self.severity = plain(word).ok_or_else(|| bad("a word of letters, digits, \"_\" and \"-\""))?
            }
            "name" => {
                self.name = plain(word).ok_or_else(|| bad("a word of letters, digits, \"_\" and \"-\""))?;
                self.named = true;
            }
            "host" if self.scope == Scope::Cluster => {
                return Err(Mistake::new(option.at, "a clusterrule sees no hosts: remove the option host"));
            }
            "host" => self.host = Pattern::new(&word.text),
            _ => self.cluster = Pattern::new(&word.text),
        }
        Ok(())
    }
}

/// The word if it is short and has nothing that would need quotes anywhere.
fn plain(word: &Word) -> Option<String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | ':');
    ((1..=100).contains(&word.text.len()) && word.text.chars().all(fits)).then(|| word.text.clone())
}

fn one<'a>(words: &'a [Word], what: &str) -> Result<&'a Word, Mistake> {
    match words {
        [word] if !word.text.is_empty() => Ok(word),
        [] | [_] => Err(Mistake::new(0, format!("{what} is missing"))),
        [_, second, ..] => Err(Mistake::new(second.at, format!("{:?} is too much: {what} is expected", second.text))),
    }
}

fn count(rest: &str, most: usize) -> Result<usize, Mistake> {
    let words = words(rest)?;
    let word = one(&words, "a number")?;
    let number = word.text.parse().ok().filter(|number| (1..=most).contains(number));
    number.ok_or_else(|| Mistake::new(word.at, format!("{:?}: expected a number from 1 to {most}", word.text)))
}

/// An address, or several with commas: quotes around it are left off, as gmetad-python does.
fn address(rest: &str) -> Result<String, Mistake> {
    let address = rest.trim().trim_matches('"').trim();
    match address.chars().position(|c| !c.is_ascii() || c.is_ascii_control()) {
        Some(_) => Err(Mistake::new(0, format!("{address:?}: an address is written in ASCII"))),
        None if address.len() > 900 => Err(Mistake::new(0, "may have 900 characters: use an alias of the mail system")),
        None => Ok(address.to_owned()),
    }
}
