//! Kinds of agents: what `kind = "…"` of an `.agent` file may say. The only list of them.

use toml::Table;

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
    pub build: fn(name: &str, own: Table) -> Result<Installed, String>,
    /// The agents of this kind that make sense on this machine without any configuration, with their names; empty where
    /// there is nothing to watch.
    pub default: fn() -> Vec<Installed>,
}

/// The kind of that name.
pub fn find(name: &str) -> Option<&'static Kind> {
    all().find(|kind| kind.name == name)
}

/// All kinds, the stock agents first.
pub fn all() -> impl Iterator<Item = &'static Kind> {
    stock::KINDS.iter().chain(exec::KINDS)
}
