//! Executables as plugins: docs/plugins.md has the protocol.
//!
//! [`Executables`] is a directory of them, for a daemon: what to load at the start, what changes at a reload. An
//! [`ExecPlugin`] is one. In front of its process it has a thread, so that nobody but that thread ever waits for it, except
//! for the changes of a changer, and for those until a deadline.

mod changes;
mod directory;
mod json;
mod lines;
mod process;
mod protocol;
mod question;
mod session;
mod set;
mod settings;
mod shared;
mod talk;
mod wants;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use gmetad_core::conf::Section;
use gmetad_core::plugin::{Plugin, PluginError, Role, Transaction};
use gmetad_core::stats::{PluginStats, Stats};
use gmetad_process::user::Account;
use parking_lot::Mutex;

use changes::Changes;
pub use directory::{Directory, Fingerprint, Found, Refusal};

use session::Session;
pub use set::{Executables, Reload};
use settings::Settings;
pub use settings::SettingsError;
use shared::{Asked, Handle, Reply, Shared, Told};

/// How long nothing more is said of changes that are refused.
const SAY_AGAIN: Duration = Duration::from_secs(600);

/// What plugins are told of the daemon.
#[derive(Debug, Default)]
pub struct About {
    /// Name of the own grid.
    pub grid: String,
    /// The daemon's version.
    pub version: String,
    /// Name and interval, in seconds, of each data source. A process is told those that are here when it starts.
    pub sources: Mutex<Vec<(String, u64)>>,
}

/// An executable that speaks the protocol, as a plugin.
///
/// [`Plugin::start`] starts its thread, and that the process; neither is waited for. [`Plugin::stop`] only tells it to end:
/// the last of the plugin and its [`Executables`] that is dropped waits for that, four seconds at most.
pub struct ExecPlugin {
    name: String,
    path: PathBuf,
    about: Arc<About>,
    user: Account,
    section: Option<Section>,
    settings: Option<Settings>,
    stats: Arc<PluginStats>,
    all: Arc<Stats>,
    handle: Arc<Handle>,
    before: Option<Arc<Handle>>,
    owner: Option<u32>,
    /// When it was said that changes were refused.
    said: Option<Instant>,
}

impl ExecPlugin {
    /// A plugin of that name. Whether the file may be trusted is not looked at: [`Directory::scan`] does that.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn new(name: impl Into<String>, path: impl Into<PathBuf>, about: &Arc<About>) -> io::Result<Self> {
        let name = name.into();
        let all = Arc::new(Stats::default());
        Ok(Self {
            path: path.into(),
            about: Arc::clone(about),
            user: Account::current(),
            section: None,
            settings: None,
            stats: all.plugins.of(&name),
            name,
            all,
            handle: Arc::new(Handle { shared: Arc::new(Shared::new()?), thread: Mutex::new(None) }),
            before: None,
            owner: None,
            said: None,
        })
    }

    fn settings(&mut self) -> Result<Settings, SettingsError> {
        match &self.settings {
            Some(settings) => Ok(settings.clone()),
            None => Settings::read(self.section.as_ref(), &self.user),
        }
    }

    fn change(&mut self, transaction: &mut Transaction) -> Result<(), PluginError> {
        let time = self.settings()?.changer_deadline();
        match self.handle.shared.ask(transaction, time) {
            Asked::Replied(Reply::Changes(changes)) => self.make(changes, transaction),
            Asked::Replied(Reply::Refused) | Asked::NotWanted => {}
            Asked::Away => self.stats.dropped.add(1),
            Asked::Late => {
                let seconds = time.as_secs_f64();
                return Err(format!("no answer within {seconds} s; make it faster, or raise plugin_deadline").into());
            }
        }
        Ok(())
    }

    fn make(&mut self, changes: Changes, transaction: &mut Transaction) {
        changes.made.into_iter().for_each(|change| transaction.change(change));
        self.stats.refused.add(changes.refused);
        match changes.first {
            Some(why) if self.said.is_none_or(|said| said.elapsed() > SAY_AGAIN) => {
                log::warn!("plugin {}: {} changes are not understood, the first: {why}", self.name, changes.refused);
                self.said = Some(Instant::now());
            }
            _ => {}
        }
    }
}

impl Plugin for ExecPlugin {
    fn name(&self) -> &str {
        &self.name
    }

    /// A tap, unless its process has said that it is a changer.
    fn role(&self) -> Role {
        if self.handle.shared.is_changer() { Role::Changer } else { Role::Tap }
    }

    fn configure(&mut self, sections: &[Section]) -> Result<(), PluginError> {
        self.section = sections.iter().find(|section| section.id == self.name).cloned();
        self.settings = None;
        self.settings = Some(self.settings()?);
        Ok(())
    }

    fn attach(&mut self, stats: &Arc<Stats>) {
        self.stats = stats.plugins.of(&self.name);
        self.all = Arc::clone(stats);
    }

    fn start(&mut self) -> Result<(), PluginError> {
        let session = Session {
            name: self.name.clone(),
            path: self.path.clone(),
            section: self.section.clone(),
            settings: self.settings()?,
            about: Arc::clone(&self.about),
            shared: Arc::clone(&self.handle.shared),
            stats: Arc::clone(&self.stats),
            all: Arc::clone(&self.all),
            before: self.before.take(),
            owner: self.owner,
        };
        let thread = thread::Builder::new().name(self.name.clone()).spawn(move || session.run())?;
        *self.handle.thread.lock() = Some(thread);
        Ok(())
    }

    fn notify(&mut self, transaction: &mut Transaction) -> Result<(), PluginError> {
        if self.role() == Role::Changer {
            return self.change(transaction);
        }
        match self.handle.shared.tell(transaction, &self.stats) {
            Told::Taken => {}
            Told::Full => {
                self.stats.dropped.add(1);
                self.all.dropped.add(1);
            }
            Told::Away => self.stats.dropped.add(1),
        }
        Ok(())
    }

    fn stop(&mut self) {
        self.handle.shared.close();
    }
}

impl Drop for ExecPlugin {
    fn drop(&mut self) {
        self.handle.shared.close();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use gmetad_core::conf::{MemoryLoader, RawConfig, Section};

    /// A section as a configuration file has it, its body from line 2.
    pub(super) fn section(name: &str, body: &str) -> Section {
        let text = format!("{name} {{\n{body}\n}}\n");
        RawConfig::parse_str(&text, "gmetad.conf", &MemoryLoader::default()).sections.remove(0)
    }
}
