//! Alerts: rules over metrics, hosts and clusters; mails and webhooks when a rule begins to hold and when it ends.
//!
//! The section `alert { }` of gmetad.conf, with the directives of gmetad-python's plugin and more: docs/plugins.md,
//! "Alerts". Conditions are a small language that is parsed once, when the plugin is configured, and can do nothing but
//! compute; nothing of what a source sends is ever code.
//!
//! ```
//! use gmetad_core::conf::{Config, MemoryLoader};
//! use gmetad_plugins::alert::AlertPlugin;
//!
//! let text = r#"
//! data_source lab localhost
//! alert {
//!     toaddress root
//!     metricrule load_one "$val > 5" "load of $host is $val" for 3
//! }
//! "#;
//! let config = Config::parse_str(text, "gmetad.conf", &MemoryLoader::default())?;
//! assert!(gmetad_plugins::alert::check(&config.sections).is_empty());
//! let mut builder = gmetad_core::Gmetad::builder().config(&config);
//! if AlertPlugin::is_configured(&config.sections) {
//!     let plugin = AlertPlugin::new();
//!     let active = plugin.active(); // for a status page
//!     assert!(active.list().is_empty());
//!     builder = builder.plugin(plugin);
//! }
//! # Ok::<(), gmetad_core::conf::ConfError>(())
//! ```

mod active;
mod ast;
mod config;
mod engine;
mod eval;
mod lexer;
mod mail;
mod notice;
mod parser;
mod poll;
mod sender;
mod state;
#[cfg(test)]
mod tests;
mod time;
mod webhook;
mod words;

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::{Duration, Instant};

use gmetad_core::conf::Section;
use gmetad_core::plugin::PluginError;
use gmetad_core::stats::{Report, Stats};
use gmetad_core::{Plugin, Transaction};

pub use active::{Active, ActiveAlerts, SHOWN};
pub use config::Fault;
#[doc(hidden)]
pub use sender::Times;

use active::Counts;
use config::Settings;
use engine::Engine;
use mail::Mailer;
use poll::Poll;
use sender::Outbox;
use webhook::Webhook;

/// The plugin `alert`.
pub struct AlertPlugin {
    settings: Option<Arc<Settings>>,
    engine: Option<Engine>,
    counts: Arc<Counts>,
    active: Arc<ActiveAlerts>,
    stats: Option<Arc<Stats>>,
    times: Times,
    outboxes: Vec<Arc<Outbox>>,
    /// Says when all senders have ended.
    ended: Option<Receiver<()>>,
    /// Alerts that receivers were too slow for were said.
    slow_said: bool,
}

/// What is wrong with the section `alert`, if there is one, in the order of the file: for `gmetad --check`. Reads the file
/// again to name columns.
pub fn check(sections: &[Section]) -> Vec<Fault> {
    let mut faults = Vec::new();
    if let Some(section) = config::section(sections) {
        config::read(section, &mut faults);
    }
    faults.sort_by(|a, b| a.place.cmp(&b.place));
    faults
}

impl Default for AlertPlugin {
    fn default() -> Self {
        Self::new()
    }
}

impl AlertPlugin {
    /// A plugin that does nothing until it is configured.
    pub fn new() -> Self {
        Self {
            settings: None,
            engine: None,
            counts: Arc::default(),
            active: Arc::default(),
            stats: None,
            times: Times::default(),
            outboxes: Vec::new(),
            ended: None,
            slow_said: false,
        }
    }

    /// Whether there is a section `alert`; without one the plugin has nothing to do.
    pub fn is_configured(sections: &[Section]) -> bool {
        config::section(sections).is_some()
    }

    /// The alerts that fire, for as long as the plugin runs.
    pub fn active(&self) -> Arc<ActiveAlerts> {
        Arc::clone(&self.active)
    }

    /// What it counts, as it also stands in [`Stats::reports`].
    pub fn report(&self) -> Arc<dyn Report> {
        Arc::clone(&self.counts) as _
    }

    /// Other deadlines, for tests.
    #[doc(hidden)]
    pub fn times(mut self, times: Times) -> Self {
        self.times = times;
        self
    }

    fn start_senders(&mut self, settings: &Settings) -> io::Result<()> {
        let (end, ended): (Sender<()>, _) = mpsc::channel();
        self.ended = Some(ended);
        if !settings.to.is_empty() {
            let limit = (&self.times, settings.max_mails);
            let counters: sender::Counters = |counts| (&counts.mails_sent, &counts.mails_failed);
            let mailer = Mailer::new(settings);
            self.outboxes.push(sender::start("alert-mail", mailer, &self.counts, counters, limit, end.clone())?);
        }
        for (number, url) in settings.webhooks.iter().enumerate() {
            let limit = (&self.times, usize::MAX);
            let counters: sender::Counters = |counts| (&counts.webhooks_sent, &counts.webhooks_failed);
            let webhook = Webhook::new(url, settings, self.times.deadline);
            let name = format!("alert-hook{number}");
            self.outboxes.push(sender::start(&name, webhook, &self.counts, counters, limit, end.clone())?);
        }
        Ok(())
    }
}

impl Plugin for AlertPlugin {
    fn name(&self) -> &str {
        "alert"
    }

    fn configure(&mut self, sections: &[Section]) -> Result<(), PluginError> {
        let Some(section) = config::section(sections) else { return Ok(()) };
        let mut faults = Vec::new();
        let settings = config::read(section, &mut faults);
        // As the ancestor: a line that is not understood is left out. It went on silently.
        for fault in &faults {
            if fault.fatal { log::error!("{fault}; the line is left out") } else { log::warn!("{fault}") }
        }
        self.counts.set_rules(settings.rules.len());
        self.settings = Some(Arc::new(settings));
        Ok(())
    }

    fn attach(&mut self, stats: &Arc<Stats>) {
        self.stats = Some(Arc::clone(stats));
    }

    fn start(&mut self) -> Result<(), PluginError> {
        let Some(settings) = self.settings.clone() else { return Ok(()) };
        self.start_senders(&settings)?;
        self.engine = Some(Engine::new(settings, Arc::clone(&self.counts), Arc::clone(&self.active)));
        if let Some(stats) = &self.stats {
            stats.reports.add(&self.report());
        }
        Ok(())
    }

    fn notify(&mut self, transaction: &mut Transaction) -> Result<(), PluginError> {
        let Some(engine) = &mut self.engine else { return Ok(()) };
        let mut dropped = 0;
        let (source, now) = (transaction.shared_source(), Instant::now());
        let notices = match Poll::of(transaction, &source) {
            Some(poll) => engine.notify(&poll, now),
            None => engine.sweep_all(now),
        };
        for notice in notices {
            for outbox in &self.outboxes {
                dropped += outbox.push(Arc::clone(&notice));
            }
        }
        self.counts.dropped.add(dropped);
        if dropped > 0 && !std::mem::replace(&mut self.slow_said, true) {
            log::error!("alert: {dropped} alerts were not sent: mail or a webhook is too slow or does not answer");
        }
        Ok(())
    }

    /// What waits is still tried, once.
    fn stop(&mut self) {
        let ends = Instant::now() + self.times.closing;
        self.outboxes.drain(..).for_each(|outbox| outbox.close(ends));
        // An end is the other side's being dropped. One that does not end in time ends with the process.
        if let Some(ended) = self.ended.take()
            && ended.recv_timeout(self.times.closing + Duration::from_millis(200))
                == Err(mpsc::RecvTimeoutError::Timeout)
        {
            log::warn!("alert: a webhook did not end in time");
        }
    }
}

impl Drop for AlertPlugin {
    fn drop(&mut self) {
        let now = Instant::now();
        self.outboxes.drain(..).for_each(|outbox| outbox.close(now));
    }
}
