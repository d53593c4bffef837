//! Everything together: files in their order, one agent a name.

use std::collections::HashSet;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

use gmetad_core::agent::Message;
use gmetad_core::message;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::agent::{self, Outcome, Sources, is_name};
use super::facts::Facts;
use super::fault::{Fault, mistake};
use super::site::Site;
use super::when::Conditions;
use super::{Layout, files, python, visible};
use crate::class::LoadErrorAgent;
use crate::kind::{self, Kind};
use crate::said::toml::unknown;
use crate::spec::Installed;

/// Most agents of a server; some ten times what large servers have.
pub const AGENTS: usize = 2000;
/// Most warnings of a load.
const WARNINGS: usize = 200;

/// Where the configuration is, and what it may refer to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigOptions {
    /// Has `configs/` and `site.cfg`.
    pub root: PathBuf,
    /// The module of the server, as `amon-1.5`; `None`: what the facts say.
    pub module: Option<String>,
    /// The facts file; `None`: there are no facts.
    pub facts: Option<PathBuf>,
    /// Directories with `*.agent` and `*.toml`; of agents of one name the later counts.
    pub drop_in: Vec<PathBuf>,
    /// Whether agents that make sense on this machine are there without being written down.
    pub defaults: bool,
}

impl ConfigOptions {
    /// The drop-in directories of packages and of the administrator.
    pub const DROP_IN: [&'static str; 2] = ["/usr/share/zstats/agents.d", "/etc/zstats/agents.d"];

    /// With the usual drop-in directories, and the agents that make sense everywhere.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        let drop_in = Self::DROP_IN.map(PathBuf::from).to_vec();
        Self { root: root.into(), module: None, facts: None, drop_in, defaults: true }
    }
}

/// What a configuration comes to.
#[derive(Debug, Default)]
pub struct Loaded {
    /// The agents, in order; those that could not be loaded are among them, as [`LoadErrorAgent`]s.
    pub agents: Vec<Installed>,
    /// What the page shows.
    pub layout: Layout,
    /// What is wrong without an agent suffering from it.
    pub warnings: Vec<Message>,
    /// What could not be loaded.
    pub failed: Vec<Failed>,
    /// Agents that are written down and not there.
    pub left: Vec<Left>,
    /// The module of this server.
    pub module: Option<String>,
}

/// An agent, or a file, that could not be loaded.
#[derive(Clone, Debug, PartialEq)]
pub struct Failed {
    /// The name of its [`LoadErrorAgent`].
    pub name: String,
    /// The file, as in [`Spec::origin`](crate::spec::Spec::origin).
    pub file: String,
    /// What is wrong: place, cause, remedy.
    pub what: Message,
}

/// An agent that is written down and not there.
#[derive(Clone, Debug, PartialEq)]
pub struct Left {
    /// Its name.
    pub name: String,
    /// The file.
    pub file: String,
    /// Why.
    pub why: Message,
}

/// Reads the whole configuration. Never fails: what is wrong becomes an agent in Error, or a warning.
pub fn load(options: &ConfigOptions) -> Loaded {
    let kinds: Vec<_> = kind::all().collect();
    load_with(options, &kinds, &[])
}

/// Reads the whole configuration, then these files as if they lay in the last directory, and tells of them alone.
pub fn check(options: &ConfigOptions, of: &[PathBuf]) -> Loaded {
    let kinds: Vec<_> = kind::all().collect();
    let mut loaded = load_with(options, &kinds, of);
    // Without the facts nothing is sure of any file.
    let of: HashSet<String> = of.iter().chain(&options.facts).map(|file| file.display().to_string()).collect();
    loaded.agents.retain(|agent| of.contains(&agent.spec.origin));
    loaded.failed.retain(|failed| of.contains(&failed.file));
    loaded.left.retain(|left| of.contains(&left.file));
    loaded
}

/// [`load`] with these kinds, and with further files.
pub(super) fn load_with(options: &ConfigOptions, kinds: &[&'static Kind], more: &[PathBuf]) -> Loaded {
    let (facts, complaints) = options.facts.as_deref().map_or_else(Default::default, Facts::read);
    let mut warnings = Vec::new();
    let module = options.module.clone().or_else(|| facts.module());
    let module = module.filter(|module| {
        let good = is_name(module);
        if !good {
            warnings.push(message!("module `{}` cannot be the name of a directory; it is ignored", module));
        }
        good
    });
    let sources = Sources { kinds, module: module.as_deref(), facts: &facts, conditions: Conditions::new(&facts) };
    let apart = more.iter().filter_map(|file| file.canonicalize().ok()).collect();
    let mut loader = Loader { sources, apart, slots: Vec::new(), warnings, failed: Vec::new(), left: Vec::new() };
    if options.defaults {
        loader.defaults();
    }
    for (directory, endings) in directories(options, module.as_deref()) {
        loader.directory(&directory, endings);
    }
    for file in more {
        // Two files of one name do not warn of each other: the one that is checked may be a new version.
        loader.file(file, None);
    }
    if let Some(file) = &options.facts {
        loader.broken_facts(file, complaints, options);
    }
    loader.finish(options, module.clone())
}

/// What is read, in order, and the endings that count there.
fn directories(options: &ConfigOptions, module: Option<&str>) -> Vec<(PathBuf, &'static [&'static str])> {
    // Of `amon-1.5`: first what is for every amon.
    let mut modules: Vec<&str> = Vec::new();
    if let Some(module) = module {
        modules.extend(module.split_once('-').map(|(plain, _)| plain).filter(|plain| is_name(plain)));
        modules.push(module);
    }
    let configs = options.root.join("configs");
    let mut all: Vec<(PathBuf, &'static [&'static str])> = vec![(configs.clone(), &[".agent"])];
    all.extend(modules.iter().map(|module| (configs.join(module), &[".agent"][..])));
    for directory in &options.drop_in {
        all.push((directory.clone(), &[".agent", ".toml"]));
        let modules = modules.iter().map(|module| directory.join("modules").join(module));
        all.extend(modules.map(|directory| (directory, &[".agent", ".toml"][..])));
    }
    all
}

/// A name and the agent that has it, unless it was taken away.
struct Slot {
    name: String,
    agent: Option<Installed>,
    /// The file that last said something; `None`: none did.
    file: Option<PathBuf>,
}

struct Loader<'a> {
    sources: Sources<'a>,
    /// Files that are read apart, after all others, so that what is wrong with them is told once.
    apart: Vec<PathBuf>,
    slots: Vec<Slot>,
    warnings: Vec<Message>,
    failed: Vec<Failed>,
    left: Vec<Left>,
}

impl Loader<'_> {
    fn warn(&mut self, warning: Message) {
        if self.warnings.len() < WARNINGS {
            self.warnings.push(warning);
        }
    }

    fn defaults(&mut self) {
        for kind in self.sources.kinds {
            let Ok(agents) = catch_unwind(kind.default) else {
                self.warn(message!("kind {} panicked while it looked for what is there; please report it", kind.name));
                continue;
            };
            for mut agent in agents {
                if agent.spec.section.is_empty() {
                    agent.spec.section = Message::new(kind.section, Vec::new());
                }
                let name = agent.spec.name.clone();
                if !is_name(&name) || self.slot(&name).is_some() {
                    self.warn(message!(
                        "kind {}: agent `{}` is there already, or cannot have this name",
                        kind.name,
                        name
                    ));
                } else if self.slots.len() < AGENTS {
                    self.slots.push(Slot { name, agent: Some(agent), file: None });
                }
            }
        }
    }

    fn slot(&self, name: &str) -> Option<usize> {
        self.slots.iter().position(|slot| slot.name == name)
    }

    fn directory(&mut self, directory: &Path, endings: &[&str]) {
        match files::list(directory, endings) {
            Ok((files, more)) => {
                if more > 0 {
                    let what = message!("more than {} files; {} {is|are} left out", files::FILES, more);
                    self.broken_file(directory, what);
                }
                for file in files {
                    let is_apart =
                        !self.apart.is_empty() && file.canonicalize().is_ok_and(|file| self.apart.contains(&file));
                    if !is_apart {
                        self.file(&file, Some(directory));
                    }
                }
            }
            Err(what) => self.broken_file(directory, what),
        }
    }

    /// A file; `directory` is where it was found, if one that is read as a whole.
    fn file(&mut self, file: &Path, directory: Option<&Path>) {
        let text = match files::text(file) {
            Ok(text) => text,
            Err(what) => return self.broken_file(file, what),
        };
        let document = match DeTable::parse(&text) {
            Ok(document) => document.into_inner(),
            Err(_) if python::is_python(&text) => return self.broken_file(file, python::message()),
            Err(error) => return self.failed(None, file, mistake(file, &text, &error), Message::default()),
        };
        let (agents, fault) = agents(&document);
        if let Some(fault) = fault {
            self.failed(None, file, fault.message(file, &text), Message::default());
        }
        let mut here = HashSet::new();
        for table in agents {
            // Tables know no place of their own.
            let place =
                ["name", "kind"].iter().find_map(|key| table.get_key_value(*key)).or_else(|| table.iter().next());
            let place = place.map(|(key, _)| key.span());
            let (name, fault) = match agent::name(table, self.sources.facts) {
                Ok(name) if !here.insert(name.clone()) => {
                    let what = message!(
                        "agent {} is in this file twice, the first one counts; give this one another name",
                        name
                    );
                    (None, Some(Fault { at: None, what }))
                }
                Ok(name) => match self.agent(&name, table, file, directory) {
                    Ok(()) => continue,
                    Err(fault) => (Some(name), Some(fault)),
                },
                Err(fault) => (None, Some(fault)),
            };
            let Some(mut fault) = fault else { continue };
            fault.at = fault.at.or(place);
            let section = match table.get("section").map(Spanned::get_ref) {
                Some(DeValue::String(section)) => visible(section).into(),
                _ => Message::default(),
            };
            self.failed(name, file, fault.message(file, &text), section);
        }
    }

    fn agent(&mut self, name: &str, table: &DeTable<'_>, file: &Path, directory: Option<&Path>) -> Result<(), Fault> {
        let at = self.slot(name);
        if at.is_none() && self.slots.len() >= AGENTS {
            // An agent for it would be one more.
            self.warn(message!("{}: more than {} agents; {} is left out", file.display().to_string(), AGENTS, name));
            return Ok(());
        }
        let mut earlier = at.and_then(|at| self.slots[at].agent.take());
        let result = self.sources.build(name, table, &mut earlier);
        let agent = match result? {
            Outcome::Agent(mut agent) => {
                agent.spec.origin = file.display().to_string();
                Some(*agent)
            }
            Outcome::Masked => {
                let why = message!("enabled = false");
                self.left.push(Left { name: name.to_owned(), file: file.display().to_string(), why });
                None
            }
            Outcome::Not(why) => {
                self.left.push(Left { name: name.to_owned(), file: file.display().to_string(), why });
                if let Some(at) = at {
                    self.slots[at].agent = earlier;
                }
                return Ok(());
            }
        };
        self.put(name, agent, file, directory);
        Ok(())
    }

    /// Puts an agent (or that there is none) in its place.
    fn put(&mut self, name: &str, agent: Option<Installed>, file: &Path, directory: Option<&Path>) {
        self.failed.retain(|failed| failed.name != name);
        let slot = Slot { name: name.to_owned(), agent, file: Some(file.to_owned()) };
        let Some(at) = self.slot(name) else { return self.slots.push(slot) };
        let before = std::mem::replace(&mut self.slots[at], slot).file;
        if let (Some(before), Some(directory)) = (before, directory)
            && before != file
            && before.parent() == Some(directory)
        {
            let (before, file) = (before.display().to_string(), file.display().to_string());
            self.warn(message!(
                "agent {} is in {} and in {}, the latter counts; give one of them another name",
                name,
                before,
                file
            ));
        }
    }

    /// A file or directory as a whole is of no use.
    fn broken_file(&mut self, file: &Path, what: Message) {
        let what = message!("{}: {}", file.display().to_string(), what);
        self.failed(None, file, what, Message::default());
    }

    /// The facts are not what they should be: an agent in Error says so, and stands for all agents that are not here for that
    /// reason, wherever they are written down.
    fn broken_facts(&mut self, file: &Path, complaints: Vec<Message>, options: &ConfigOptions) {
        let mut complaints = complaints.into_iter();
        let Some(first) = complaints.next() else { return };
        complaints.for_each(|complaint| self.warn(complaint));
        let what = message!("{}; until this is mended agents that depend on it are away, and their data stay", first);
        self.failed(None, file, what, Message::default());
        let name = self.failed.last().map(|failed| failed.name.as_str());
        if let Some(agent) = self.slots.iter_mut().find(|slot| Some(slot.name.as_str()) == name) {
            let places = std::iter::once(options.root.join("configs")).chain(options.drop_in.iter().cloned());
            let places = places.map(|place| place.display().to_string()).collect();
            agent.agent.iter_mut().for_each(|agent| agent.spec.stands_for.clone_from(&places));
        }
    }

    /// An agent in Error that says what is wrong; without a name it is called after the file.
    fn failed(&mut self, name: Option<String>, file: &Path, what: Message, section: Message) {
        let name = name.unwrap_or_else(|| self.free_name(file));
        if self.slot(&name).is_none() && self.slots.len() >= AGENTS {
            return self.warn(what);
        }
        let mut agent = Installed::new(LoadErrorAgent::new(name.clone(), what.clone()));
        agent.spec.description = message!("Configuration that cannot be loaded");
        agent.spec.section = section;
        agent.spec.written = what.to_string();
        agent.spec.origin = file.display().to_string();
        agent.spec.load_error = true;
        self.put(&name, Some(agent), file, None);
        self.failed.push(Failed { name, file: file.display().to_string(), what });
    }

    /// The name of a file as one of an agent that is not there yet.
    fn free_name(&self, file: &Path) -> String {
        let name = file.file_name().unwrap_or(file.as_os_str()).to_string_lossy();
        let allowed = |char: char| if char.is_ascii_alphanumeric() || "_-.+".contains(char) { char } else { '_' };
        // Room for a number.
        let mut name: String = name.trim_start_matches('.').chars().map(allowed).take(56).collect();
        if name.is_empty() {
            "configuration".clone_into(&mut name);
        }
        let numbered = (2..).map(|number| format!("{name}-{number}"));
        let is_free = |name: &String| self.slot(name).is_none();
        std::iter::once(name.clone()).chain(numbered).find(is_free).unwrap_or(name)
    }

    fn finish(mut self, options: &ConfigOptions, module: Option<String>) -> Loaded {
        let shown = self.site(&options.root);
        let Self { slots, warnings, failed, left, .. } = self;
        let agents = slots.into_iter().filter_map(|slot| slot.agent).collect();
        Loaded { agents, layout: Layout { shown }, warnings, failed, left, module }
    }

    /// What `site.cfg` has the page show, of the agents that are there. Those that could not be loaded are always shown.
    fn site(&mut self, root: &Path) -> Option<Vec<String>> {
        let places = [root.join("site.cfg"), root.join("configs/site.cfg")];
        let file = places.into_iter().find(|file| file.symlink_metadata().is_ok())?;
        let name = file.display().to_string();
        let Site { shown, complaints } = match files::bytes(&file) {
            Ok(bytes) => Site::parse(&bytes),
            Err(what) => {
                self.warn(message!("{}: {}; all agents are shown", name, what));
                return None;
            }
        };
        for complaint in complaints {
            self.warn(message!("{}: {}", &name, complaint));
        }
        if shown.is_empty() {
            self.warn(message!("{} names no agent; all agents are shown", name));
            return None;
        }
        let mut there = Vec::new();
        for (agent, heading) in shown {
            match self.slots.iter_mut().find(|slot| slot.name == agent).and_then(|slot| slot.agent.as_mut()) {
                Some(installed) => {
                    if let Some(heading) = heading {
                        installed.spec.section = visible(&heading).into();
                    }
                    there.push(agent);
                }
                // Not here, and the file may be that of many servers.
                None if self.left.iter().any(|left| left.name == agent) => {}
                None => self.warn(message!("{} names agent {}, which is not there", &name, agent)),
            }
        }
        for failed in &self.failed {
            if !there.contains(&failed.name) {
                there.push(failed.name.clone());
            }
        }
        Some(there)
    }
}

/// The agents of a document, and what is wrong with the rest of it.
fn agents<'d, 't>(document: &'d DeTable<'t>) -> (Vec<&'d DeTable<'t>>, Option<Fault>) {
    let mut fault = None;
    let mut agents = Vec::new();
    for (key, value) in document {
        match (key.get_ref().as_ref(), value.get_ref()) {
            ("agent", DeValue::Array(all)) => {
                for one in all {
                    match one.get_ref() {
                        DeValue::Table(table) => agents.push(table),
                        _ => {
                            fault = Some(Fault::new(
                                one.span(),
                                message!("an agent is written as a table, below [[agent]]"),
                            ))
                        }
                    }
                }
            }
            ("agent", DeValue::Table(table)) => agents.push(table),
            ("name" | "kind" | "period", _) => {
                fault = Some(Fault::new(
                    key.span(),
                    message!("this stands outside of any agent; write [[agent]] in the line above"),
                ));
            }
            (other, _) => {
                fault.get_or_insert_with(|| Fault::new(key.span(), unknown(other, ["agent"].into_iter())));
            }
        }
    }
    (agents, fault)
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
