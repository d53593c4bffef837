//! The plugins of the daemon besides those that write RRD files: alerts, and the executables of `plugins_dir`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use gmetad_core::Gmetad;
use gmetad_core::conf::{Config, Section};
use gmetad_core::daemon::Builder;
use gmetad_core::stats::{Figure, Report, Row};
use gmetad_plugins::alert::{self, ActiveAlerts, AlertPlugin};
use gmetad_plugins::exec::{Directory, Executables};
use gmetad_process::user::Account;

/// Where executables are looked for if the configuration does not say.
const DIRECTORY: &str = "/usr/lib/ganglia/plugins";

/// What runs besides, for as long as the daemon does.
pub(crate) struct Running {
    executables: Executables,
    _alerts: Option<Arc<dyn Report>>,
}

impl Running {
    /// Tells the executables to end, and waits for nobody.
    pub(crate) fn close(&self) {
        self.executables.close();
    }
}

fn directory(config: &Config) -> PathBuf {
    config.plugins_dir.clone().unwrap_or_else(|| DIRECTORY.into())
}

fn executables(config: &Config) -> Executables {
    Executables::new(
        directory(config),
        &config.sections,
        sources(config),
        config.gridname.clone(),
        env!("CARGO_PKG_VERSION"),
    )
}

fn sources(config: &Config) -> Vec<(String, u64)> {
    config.sources.iter().map(|source| (source.name.clone(), source.interval.as_secs())).collect()
}

/// Adds the alert plugin, if there is a section for it. Before the start.
pub(crate) fn alerts(builder: Builder, config: &Config) -> (Builder, Option<Arc<ActiveAlerts>>) {
    if !AlertPlugin::is_configured(&config.sections) {
        return (builder, None);
    }
    let plugin = AlertPlugin::new();
    let active = plugin.active();
    (builder.plugin(plugin), Some(active))
}

/// Adds the executables to a daemon that runs.
pub(crate) fn start(gmetad: &Gmetad, config: &Config, active: Option<Arc<ActiveAlerts>>) -> Running {
    if let Some(dir) = config.plugins_dir.as_deref().filter(|dir| !dir.is_dir()) {
        log::warn!("plugins_dir {}: there is no such directory, so no plugin is loaded", dir.display());
    }
    let mut executables = executables(config);
    for plugin in executables.load() {
        add(gmetad, plugin, &config.sections);
    }
    let alerts = active.map(|active| {
        let report: Arc<dyn Report> = Arc::new(Alerts(active));
        gmetad.stats().reports.add(&report);
        report
    });
    Running { executables, _alerts: alerts }
}

fn add(gmetad: &Gmetad, plugin: Box<dyn gmetad_core::Plugin>, sections: &[Section]) {
    let name = plugin.name().to_owned();
    if let Err(error) = gmetad.add_plugin(plugin, sections) {
        log::error!("plugin {name}: {error}");
    }
}

/// Takes over what has changed in `plugins_dir` and in the sections of its plugins.
pub(crate) fn reload(running: &mut Running, gmetad: &Gmetad, config: &Config) {
    running.executables.set_sources(sources(config));
    let changed = running.executables.reload(&config.sections);
    changed.remove.iter().for_each(|name| gmetad.remove_plugin(name));
    changed.add.into_iter().for_each(|plugin| add(gmetad, plugin, &config.sections));
    changed.texts.iter().for_each(|text| log::info!("reload: {text}"));
}

/// What `--check` says of plugins: lines to print; and what the start would refuse, or warn of.
pub(crate) fn describe(config: &Config) -> (Vec<String>, Vec<String>, Vec<String>) {
    let user = user(config);
    let mut lines = vec![format!("# plugins in {}, in this order:", directory(config).display())];
    lines.extend(executables(config).running_as(user).describe().into_iter().map(|line| format!("# {line}")));
    let (fatal, warnings): (Vec<_>, Vec<_>) = alert::check(&config.sections).into_iter().partition(|fault| fault.fatal);
    let texts = |faults: Vec<alert::Fault>| faults.iter().map(ToString::to_string).collect();
    (lines, texts(fatal), texts(warnings))
}

fn user(config: &Config) -> Account {
    let current = Account::current();
    match Account::by_name(&config.setuid_username) {
        Ok(account) if config.setuid && current.uid == 0 => account,
        _ => current,
    }
}

/// Whether a section is a plugin's.
pub(crate) fn claims(config: &Config) -> impl Fn(&Section) -> bool {
    let dir: &Path = &directory(config);
    let found = Directory::scan(dir, user(config).uid).map_or(Vec::new(), |directory| directory.found);
    let names: Vec<String> = found.into_iter().map(|file| file.name).collect();
    move |section| ["rrd", "rrdsummary", "alert"].contains(&section.id.as_str()) || names.contains(&section.id)
}

/// The alerts that fire, on the pages.
struct Alerts(Arc<ActiveAlerts>);

impl Report for Alerts {
    fn name(&self) -> &str {
        "alert_firing"
    }

    fn figures(&self) -> Vec<Figure> {
        Vec::new()
    }

    fn rows(&self) -> Option<Vec<Row>> {
        let row = |active: alert::Active| Row {
            labels: vec![
                ("rule", active.rule),
                ("severity", active.severity),
                ("source", active.source.to_string()),
                ("cluster", active.cluster),
                ("host", active.host),
                ("metric", active.metric),
            ],
            more: vec![("value", active.value), ("since", active.since.to_string()), ("sent", active.sent.to_string())],
        };
        Some(self.0.list().into_iter().map(row).collect())
    }
}
