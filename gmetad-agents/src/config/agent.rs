//! One `[[agent]]`.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};

use gmetad_core::agent::Message;
use gmetad_core::message;
use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeTable, DeValue, ValueDeserializer};

use super::facts::Facts;
use super::fault::{Fault, path};
use super::overlay;
use super::when::{Conditions, When};
use super::written::{Common, KEYS, Words};
use crate::kind::Kind;
use crate::said::toml::{nearest, unknown_key};
use crate::spec::Installed;

/// Longest name of an agent, in bytes.
const NAME: usize = 64;

/// Whether this can be the name of an agent, and of a directory and in an address.
pub(super) fn is_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.+".contains(&byte);
    !name.is_empty() && name.len() <= NAME && !name.starts_with('.') && name.bytes().all(allowed)
}

/// What an `[[agent]]` comes to.
pub(super) enum Outcome {
    /// There is such an agent.
    Agent(Box<Installed>),
    /// There is none of that name.
    Masked,
    /// What is written does not count here.
    Not(Message),
}

/// Where agents come from.
pub(super) struct Sources<'a> {
    pub(super) kinds: &'a [&'static Kind],
    pub(super) module: Option<&'a str>,
    pub(super) facts: &'a Facts,
    pub(super) conditions: Conditions<'a>,
}

/// The name of an `[[agent]]`, if it has one that can be.
pub(super) fn name(table: &DeTable<'_>, facts: &Facts) -> Result<String, Fault> {
    let Some(value) = table.get("name") else {
        return Err(Fault { at: None, what: message!("this agent has no name; write name = `…`") });
    };
    let at = value.span();
    let DeValue::String(text) = value.get_ref() else {
        return Err(Fault::new(at, message!("the name is no text")));
    };
    let name = facts.fill(text).map_err(|what| Fault::new(at.clone(), what))?;
    if is_name(&name) {
        return Ok(name);
    }
    Err(Fault::new(
        at,
        message!(
            "`{}` cannot be the name of an agent: 1 to 64 letters (without accents), digits, `_`, `-`, `.`, `+`, not beginning with a dot",
            name
        ),
    ))
}

impl Sources<'_> {
    /// What a table says. `earlier` is the agent of that name that is there already; it is taken if it is changed.
    pub(super) fn build(
        &mut self,
        name: &str,
        table: &DeTable<'_>,
        earlier: &mut Option<Installed>,
    ) -> Result<Outcome, Fault> {
        if let Some(value) = table.get("enabled") {
            match value.get_ref() {
                DeValue::Boolean(true) => {}
                DeValue::Boolean(false) => return Ok(Outcome::Masked),
                _ => return Err(Fault::new(value.span(), message!("enabled is true or false"))),
            }
        }
        if let Some(why) = self.why_not(table)? {
            return Ok(Outcome::Not(why));
        }
        let strings = filled(table, self.facts, false)?;
        let typed = filled(table, self.facts, true)?;
        // An agent that is only changed cannot be tried twice, but what could go wrong there does not touch it.
        match self.make(name, &strings.table, earlier) {
            Err(fault) if typed.wholes > 0 => self.make(name, &typed.table, earlier).map_err(|_| fault),
            other => other,
        }
        .map(|installed| Outcome::Agent(Box::new(installed)))
    }

    /// Why the agent is not there on this machine; `None`: it is.
    fn why_not(&mut self, table: &DeTable<'_>) -> Result<Option<Message>, Fault> {
        if let Some(value) = table.get("modules") {
            let modules: Words = read(value.clone()).map_err(|fault| named(fault, "modules"))?;
            let module = self.module.unwrap_or_default();
            let plain = module.split('-').next().unwrap_or_default();
            if !modules.0.iter().any(|wanted| wanted == module || wanted == plain) {
                let module = if module.is_empty() { "-" } else { module };
                return Ok(Some(message!("it is for the modules {}, and this is {}", modules.0.join(", "), module)));
            }
        }
        let Some(value) = table.get("when") else { return Ok(None) };
        let mut value = value.clone();
        fill(&mut value, self.facts, false, &mut 0)?;
        let at = value.span();
        let when: When = read(value).map_err(|fault| named(fault, "when"))?;
        self.conditions.fails(&when).map_err(|what| Fault::new(at, what))
    }

    fn make(&self, name: &str, table: &DeTable<'_>, earlier: &mut Option<Installed>) -> Result<Installed, Fault> {
        let mut common = DeTable::new();
        let mut own = DeTable::new();
        for (key, value) in table {
            match key.get_ref().as_ref() {
                "name" | "kind" | "enabled" | "modules" | "when" => {}
                other if KEYS.iter().any(|key| key.name == other) => {
                    common.insert(key.clone(), value.clone());
                }
                _ => {
                    own.insert(key.clone(), value.clone());
                }
            }
        }
        let everything = 0..0; // tables know no place of their own; their keys do
        let common: Common = read(Spanned::new(everything.clone(), DeValue::Table(common))).map_err(|fault| {
            let key = fault.at.as_ref().and_then(|at| path(table, at));
            match key {
                Some(key) => named(fault, &key),
                None => fault,
            }
        })?;
        let own_text =
            toml::Table::deserialize(ValueDeserializer::from(Spanned::new(everything, DeValue::Table(own.clone()))))
                .map_err(|error| Fault::of_toml(&error))?;
        let written = own_text.to_string();
        let mut installed = match table.get("kind") {
            Some(value) => self.of_kind(name, value, own_text, &own)?,
            None => match (earlier.take(), own.keys().next()) {
                (Some(earlier), None) => earlier,
                (Some(_), Some(key)) => {
                    let what = message!(
                        "without a kind, only common keys can be changed, and `{}` is none; write the kind, too",
                        key.get_ref().as_ref()
                    );
                    return Err(Fault::new(key.span(), what));
                }
                (None, _) => {
                    return Err(Fault {
                        at: None,
                        what: message!(
                            "agent {} has no kind, and no agent of that name is there that could be changed; `z_stats kinds` lists the kinds",
                            name
                        ),
                    });
                }
            },
        };
        if table.get("kind").is_some() {
            installed.spec.written = written;
        }
        name.clone_into(&mut installed.spec.name);
        overlay::put(&mut installed.spec, common).map_err(|(key, what)| Fault { at: key_span(table, key), what })?;
        Ok(installed)
    }

    fn of_kind(
        &self,
        name: &str,
        value: &Spanned<DeValue<'_>>,
        own: toml::Table,
        spans: &DeTable<'_>,
    ) -> Result<Installed, Fault> {
        let DeValue::String(word) = value.get_ref() else {
            return Err(Fault::new(value.span(), message!("the kind is no text")));
        };
        let Some(kind) = self.kinds.iter().find(|kind| kind.name == word) else {
            let names = self.kinds.iter().map(|kind| kind.name);
            let what = match nearest(word, names) {
                Some(nearest) => message!("there is no kind `{}`; is `{}` meant?", word.as_ref(), nearest),
                None => message!("there is no kind `{}`; `z_stats kinds` lists the kinds", word.as_ref()),
            };
            return Err(Fault::new(value.span(), what));
        };
        // One kind's mistake must not cost the others.
        let built = catch_unwind(AssertUnwindSafe(|| (kind.build)(name, own)));
        let built = built.unwrap_or_else(|_| Err(message!("this kind panicked; please report it")));
        let mut installed = built.map_err(|error| of_kind(error, spans, value.span()))?;
        if installed.spec.section.is_empty() {
            installed.spec.section = Message::new(kind.section, Vec::new());
        }
        Ok(installed)
    }
}

/// What a kind complains about, at the first of its keys that the text has as a word.
fn of_kind(what: Message, own: &DeTable<'_>, kind: Range<usize>) -> Fault {
    let text = what.to_string();
    let words = text.split(|char: char| !(char.is_alphanumeric() || char == '_' || char == '-'));
    let place = unknown_key(&text).into_iter().chain(words).find_map(|word| key_span(own, word));
    Fault::new(place.unwrap_or(kind), what)
}

/// With the key that it is about, unless it names one.
fn named(fault: Fault, key: &str) -> Fault {
    if fault.what.to_string().starts_with("unknown key") {
        return fault;
    }
    Fault { what: message!("{}: {}", key, fault.what), ..fault }
}

fn key_span(table: &DeTable<'_>, key: &str) -> Option<Range<usize>> {
    table.get_key_value(key).map(|(key, _)| key.span())
}

fn read<'de, T: Deserialize<'de>>(value: Spanned<DeValue<'de>>) -> Result<T, Fault> {
    let at = value.span();
    T::deserialize(ValueDeserializer::from(value)).map_err(|error| {
        let fault = Fault::of_toml(&error);
        match fault.at {
            Some(place) if place.is_empty() && at.is_empty() => Fault { at: None, ..fault },
            _ => fault.or_at(at),
        }
    })
}

/// A table with facts filled in.
struct Filled<'t> {
    table: DeTable<'t>,
    /// Texts that are nothing but a fact that is a number.
    wholes: usize,
}

/// Fills facts in. `typed`: a text that is nothing but a fact that is a number becomes that number.
fn filled<'t>(table: &DeTable<'t>, facts: &'t Facts, typed: bool) -> Result<Filled<'t>, Fault> {
    let mut filled = Filled { table: table.clone(), wholes: 0 };
    for (_, value) in filled.table.iter_mut().filter(|(key, _)| !matches!(key.get_ref().as_ref(), "when" | "modules")) {
        fill(value, facts, typed, &mut filled.wholes)?;
    }
    Ok(filled)
}

fn fill<'t>(value: &mut Spanned<DeValue<'t>>, facts: &'t Facts, typed: bool, wholes: &mut usize) -> Result<(), Fault> {
    let at = value.span();
    match value.get_mut() {
        DeValue::String(text) if text.contains("${") => {
            let number = facts.whole(text).and_then(|fact| DeValue::parse(fact).ok()).map(Spanned::into_inner);
            let number = number.filter(DeValue::is_integer);
            *wholes += usize::from(number.is_some());
            match number.filter(|_| typed) {
                Some(number) => *value.get_mut() = number,
                None => *text = facts.fill(text).map_err(|what| Fault::new(at, what))?.into(),
            }
        }
        DeValue::Array(all) => all.iter_mut().try_for_each(|one| fill(one, facts, typed, wholes))?,
        DeValue::Table(all) => {
            // Keys too: services are named by their address.
            let keys = all.keys().filter(|key| key.get_ref().contains("${")).cloned().collect::<Vec<_>>();
            for key in keys {
                let name = facts.fill(key.get_ref()).map_err(|what| Fault::new(key.span(), what))?;
                if let Some(one) = all.remove(key.get_ref().as_ref()) {
                    all.insert(Spanned::new(key.span(), name.into()), one);
                }
            }
            all.iter_mut().try_for_each(|(_, one)| fill(one, facts, typed, wholes))?;
        }
        _ => {}
    }
    Ok(())
}
