//! Kinds of agents: what `kind = "…"` of an `.agent` file may say. The only list of them.

use gmetad_core::agent::Message;
use gmetad_core::message;
use serde::de::DeserializeOwned;
use toml::Table;

use crate::config::KEYS;
use crate::said::toml::of_keys;
use crate::spec::Installed;
use crate::{exec, stock};

/// A kind of agent.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    /// Its name in files.
    pub name: &'static str,
    /// What it watches, in a line; also the template of its agents' description.
    pub about: &'static str,
    /// The section of its agents, unless the file says another.
    pub section: &'static str,
    /// Makes an agent of that name from the keys that only this kind knows. The common keys (period, description, section,
    /// requires, rules, datasources …) are not among them and are put over the result's spec by the caller.
    pub build: fn(name: &str, own: Table) -> Result<Installed, Message>,
    /// The agents of this kind that make sense on this machine without any configuration, with their names; empty where
    /// there is nothing to watch.
    pub default: fn() -> Vec<Installed>,
}

/// The keys that only a kind knows.
///
/// # Errors
/// Names the key, and what could stand there.
pub(crate) fn keys<T: DeserializeOwned>(own: Table) -> Result<T, Message> {
    let common: Vec<_> = KEYS.iter().map(|key| key.name).collect();
    own.try_into().map_err(|error| of_keys(&error, &common))
}

/// The same; a mistake with this key, or that it is missing, comes with how to write it.
///
/// # Errors
/// As [`keys`].
pub(crate) fn keys_with<T: DeserializeOwned>(own: Table, key: &str, example: &Message) -> Result<T, Message> {
    keys(own).map_err(|what| {
        let text = what.to_string();
        let is_it = text == format!("the key `{key}` is missing") || text.starts_with(&format!("{key}: "));
        if is_it { message!("{}; {}", what, example.clone()) } else { what }
    })
}

/// The kind of that name.
pub fn find(name: &str) -> Option<&'static Kind> {
    all().find(|kind| kind.name == name)
}

/// All kinds, the stock agents first.
pub fn all() -> impl Iterator<Item = &'static Kind> {
    stock::KINDS.iter().chain(exec::KINDS)
}
