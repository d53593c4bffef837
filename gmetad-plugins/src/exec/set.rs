//! The plugins of a directory: what is loaded, and what a reload changes.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use gmetad_core::conf::Section;
use gmetad_core::plugin::Plugin;
use gmetad_process::user::Account;
use parking_lot::Mutex;

use super::directory::{Directory, Fingerprint, Found, Refusal};
use super::settings::Settings;
use super::shared::Handle;
use super::{About, ExecPlugin};

/// The executables of `plugins_dir`, for a daemon. Keep it until the daemon has stopped, and drop it then: it waits for
/// processes that are still to end, four seconds at most.
pub struct Executables {
    dir: PathBuf,
    sections: Vec<Section>,
    about: Arc<About>,
    user: Account,
    loaded: Vec<Loaded>,
    /// Plugins that were removed and have not ended yet, by name, in the order they were removed.
    leaving: Vec<(String, Arc<Handle>)>,
}

struct Loaded {
    name: String,
    fingerprint: Option<Fingerprint>,
    section: Option<Section>,
    handle: Arc<Handle>,
}

/// What a reload changes. First everything in `remove` is to be removed from the daemon, then `add` is to be added.
#[derive(Default)]
pub struct Reload {
    /// New plugins, and new instances of changed ones, in order.
    pub add: Vec<Box<dyn Plugin>>,
    /// Names of those that are gone or have changed.
    pub remove: Vec<String>,
    /// A line for each plugin that was added, removed or started anew.
    pub texts: Vec<String>,
}

impl Executables {
    /// Describes the plugins of a directory; runs nothing. `sources` are names and intervals in seconds.
    pub fn new(
        dir: PathBuf,
        sections: &[Section],
        sources: Vec<(String, u64)>,
        grid: impl Into<String>,
        version: impl Into<String>,
    ) -> Self {
        Self {
            dir,
            sections: sections.to_vec(),
            about: Arc::new(About { grid: grid.into(), version: version.into(), sources: Mutex::new(sources) }),
            user: Account::current(),
            loaded: Vec::new(),
            leaving: Vec::new(),
        }
    }

    /// Judges files as if the daemon ran as another user: for a check by root of a daemon that will not be root.
    pub fn running_as(mut self, user: Account) -> Self {
        self.user = user;
        self
    }

    /// What processes that start from now on are told of the data sources.
    pub fn set_sources(&self, sources: Vec<(String, u64)>) {
        *self.about.sources.lock() = sources;
    }

    /// The plugins to start with, in order. Refused files are named in the log.
    pub fn load(&mut self) -> Vec<Box<dyn Plugin>> {
        self.reload(&self.sections.clone()).add
    }

    /// Looks at the directory again, with what the configuration says now. A file that is as it was, with its section as it
    /// was, goes on untouched, unless it had refused to start.
    pub fn reload(&mut self, sections: &[Section]) -> Reload {
        self.sections = sections.to_vec();
        self.leaving.retain(|(_, handle)| !handle.is_finished());
        let mut reload = Reload::default();
        let Some(found) = self.scan(&mut reload.texts) else { return reload };
        let mut before = std::mem::take(&mut self.loaded);
        for file in found {
            if let Some(why) = &file.refused {
                log::warn!("plugin {}: {} is not run: {why}", file.name, file.path.display());
                continue;
            }
            let section = self.section(&file.name).cloned();
            let known = before.iter().position(|old| old.name == file.name).map(|at| before.remove(at));
            let known = match known {
                Some(known) if known.is_current(&file, section.as_ref()) => {
                    self.loaded.push(known);
                    continue;
                }
                other => other,
            };
            let mut plugin = match ExecPlugin::new(&file.name, &file.path, &self.about) {
                Ok(plugin) => plugin,
                Err(error) => {
                    log::error!("plugin {}: {error}; raise the number of open files", file.name);
                    // What runs is not ended for that.
                    self.loaded.extend(known);
                    continue;
                }
            };
            let what = if known.is_some() { "changed, started anew" } else { "added" };
            reload.texts.push(format!("plugin {}: {what} ({})", file.name, file.path.display()));
            plugin.owner = Some(self.user.uid);
            reload.remove.extend(known.map(|known| self.leave(known)));
            plugin.before = self.last_of(&file.name);
            let handle = Arc::clone(&plugin.handle);
            self.loaded.push(Loaded { name: file.name, fingerprint: file.fingerprint, section, handle });
            reload.add.push(Box::new(plugin));
        }
        for gone in before {
            reload.texts.push(format!("plugin {}: removed", gone.name));
            reload.remove.push(self.leave(gone));
        }
        reload
    }

    /// Tells all to end; waits for nobody. For a stop: whoever waits for the changes of one that hangs is let go within a
    /// second. Transactions that come from now on are dropped.
    pub fn close(&self) {
        self.handles().for_each(|handle| {
            handle.shared.close();
        });
    }

    fn handles(&self) -> impl Iterator<Item = &Arc<Handle>> {
        self.loaded.iter().map(|loaded| &loaded.handle).chain(self.leaving.iter().map(|(_, handle)| handle))
    }

    /// For `--check`: a line for each file, with what would be loaded or why not. Looks, runs nothing.
    pub fn describe(&self) -> Vec<String> {
        let directory = match Directory::scan(&self.dir, self.user.uid) {
            Ok(directory) => directory,
            Err(error) => return vec![unreadable(&self.dir, &error)],
        };
        directory
            .found
            .into_iter()
            .map(|file| self.judge(file))
            .map(|file| {
                let path = file.path.display();
                match file.refused {
                    None => format!("plugin {}: {path}", file.name),
                    Some(why) => format!("plugin {}: {path} is not run: {why}", file.name),
                }
            })
            .collect()
    }

    fn scan(&self, texts: &mut Vec<String>) -> Option<Vec<Found>> {
        match Directory::scan(&self.dir, self.user.uid) {
            Ok(directory) => Some(directory.found.into_iter().map(|file| self.judge(file)).collect()),
            Err(error) => {
                let text = unreadable(&self.dir, &error);
                log::error!("{text}");
                texts.push(text);
                None
            }
        }
    }

    /// Looks at the file's section, too.
    fn judge(&self, mut file: Found) -> Found {
        let section = self.section(&file.name);
        if file.refused.is_none()
            && let Err(error) = Settings::read(section, &self.user)
        {
            let place = section.map_or("", |section| &section.place.file);
            file.refused = Some(Refusal::Section(format!("{place}: {error}")));
        }
        file
    }

    fn section(&self, name: &str) -> Option<&Section> {
        self.sections.iter().find(|section| section.id == name)
    }

    fn leave(&mut self, gone: Loaded) -> String {
        // At once: the chain may be slow to do it, and a successor does not wait for ever.
        gone.handle.shared.close();
        self.leaving.push((gone.name.clone(), gone.handle));
        gone.name
    }

    /// The one of that name that was removed last, if it has not ended; it ends after those before it.
    fn last_of(&self, name: &str) -> Option<Arc<Handle>> {
        let mut last = self.leaving.iter().rev().filter(|(own, handle)| own == name && !handle.is_finished());
        last.next().map(|(_, handle)| Arc::clone(handle))
    }
}

impl Loaded {
    /// Whether it may go on. One whose thread has ended (it refused its configuration, say) is to be started anew.
    fn is_current(&self, file: &Found, section: Option<&Section>) -> bool {
        self.fingerprint == file.fingerprint && self.section.as_ref() == section && !self.handle.is_finished()
    }
}

impl Drop for Executables {
    /// Tells all to end before the first is waited for.
    fn drop(&mut self) {
        self.close();
        self.handles().for_each(|handle| {
            handle.wait();
        });
    }
}

fn unreadable(dir: &Path, error: &std::io::Error) -> String {
    format!("plugins_dir {}: {error}; plugins stay as they are", dir.display())
}
