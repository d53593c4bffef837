//! Files of names that had no hash in earlier versions: they go on under the name of today.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use gmetad_core::agent::Measurement;
use gmetad_core::message;
use gmetad_rrd::path;
use log::Level;

use super::super::files::{self, Key};
use super::room::MOST_FILES;
use super::{Keeper, shown};
use crate::said::Said;

impl Keeper {
    /// Gives files their new names, where there is no doubt whose they are.
    pub(super) fn rename(&self, agent: &str, measurement: &Measurement) {
        let root = &self.shared.root;
        let known = self.shared.known.lock();
        let pairs = known.get(agent).map(|known| earlier(root, agent, measurement, known)).unwrap_or_default();
        drop(known);
        for (from, to) in pairs.iter().filter(|(_, to)| !to.exists()) {
            match fs::rename(from, to) {
                Ok(()) => self.say(Level::Info, &message!("{} goes on as {}", shown(from), shown(to))),
                Err(error) => self.say(Level::Warn, &message!("{}: cannot be renamed: {}", shown(from), error.said())),
            }
        }
        if !pairs.is_empty() {
            self.shared.known.lock().insert(agent.to_owned(), files::known(root, agent, MOST_FILES));
        }
    }
}

/// What is there under the name without the hash: directories of instances, and files of fields.
fn earlier(root: &Path, agent: &str, taken: &Measurement, known: &BTreeMap<Key, bool>) -> Vec<(PathBuf, PathBuf)> {
    let instances: Vec<&str> = taken.instances().map(|(name, _)| name).collect();
    let is_instance = |name: &str| known.keys().any(|(instance, _)| instance.as_deref() == Some(name));
    let dir = |name: &str| {
        let mut path = path::agent_file(root, agent, Some(name), "");
        path.pop();
        path
    };
    let mut all: Vec<_> = sure(&instances, is_instance).map(|(from, to)| (dir(from), dir(to))).collect();
    let fields: Vec<&str> = taken.fields().map(|(name, _)| name).collect();
    let is_field = |name: &str| known.contains_key(&(None, name.to_owned()));
    let file = |name: &str| path::agent_file(root, agent, None, name);
    all.extend(sure(&fields, is_field).map(|(from, to)| (file(from), file(to))));
    all
}

/// Earlier and new names, where only one of those that are measured can have had the earlier one.
fn sure<'a>(names: &[&'a str], is_kept: impl Fn(&str) -> bool) -> impl Iterator<Item = (&'a str, &'a str)> {
    names.iter().filter_map(move |name| {
        let stem = stem(name)?;
        let is_only = names.iter().filter(|other| **other == stem || self::stem(other) == Some(stem)).count() == 1;
        (is_only && is_kept(stem) && !is_kept(name)).then_some((stem, *name))
    })
}

/// The name without the hash that it ends with.
fn stem(name: &str) -> Option<&str> {
    let (stem, hash) = name.rsplit_once('-')?;
    let is_hash = hash.len() == 8 && hash.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    (is_hash && !stem.is_empty()).then_some(stem)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::name;

    #[test]
    fn only_where_there_is_no_doubt() {
        let known = |keys: &[(Option<&str>, &str)]| -> BTreeMap<Key, bool> {
            keys.iter().map(|(instance, field)| ((instance.map(str::to_owned), (*field).to_owned()), false)).collect()
        };
        let root = Path::new("/r");
        let of = |names: &[&str]| {
            names.iter().fold(Measurement::new(), |all, it| all.instance(name(it), Measurement::new().number("a", 1.0)))
        };
        let before = known(&[(Some("root"), "a"), (Some("home"), "a"), (None, "C_x")]);
        let pairs = earlier(root, "d", &of(&["/", "/home", "/tmp"]).number(name("C: x"), 1.0), &before);
        let paths: Vec<_> = pairs.iter().map(|(from, to)| format!("{} {}", from.display(), to.display())).collect();
        assert_eq!(
            paths,
            [
                "/r/d/root /r/d/root-29622bb2".to_owned(),
                format!("/r/d/home /r/d/{}", name("/home")),
                format!("/r/d/C_x.rrd /r/d/{}.rrd", name("C: x")),
            ]
        );
        assert_eq!(earlier(root, "d", &of(&["/", "/root"]), &before), [], "whose was it?");
        assert_eq!(earlier(root, "d", &of(&["/", "root"]), &before), [], "it is still there");
        let both = known(&[(Some("root"), "a"), (Some("root-29622bb2"), "a")]);
        assert_eq!(earlier(root, "d", &of(&["/"]), &both), [], "it has files already");
    }
}
