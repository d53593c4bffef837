//! `z_stats --demo`: this machine's agents at short periods, and one made-up agent in each status. Needs no configuration, no root
//! and no network, and leaves nothing behind.

use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use gmetad_agents::config::{ConfigOptions, Layout, load};
use gmetad_agents::lang::Lang;
use gmetad_agents::monitor::{Monitor, MonitorOptions};
use gmetad_agents::said::Said;
use gmetad_core::agent::Message;
use gmetad_core::message;
use gmetad_process::logger::Setup;
use gmetad_process::signals::{Event, Signals};

use crate::service::{Page, foreign, place, words};
use crate::settings::Settings;
use crate::{made_up, show};

/// Periods of the demo: short, so that graphs are seen to move.
const PERIOD: Duration = Duration::from_secs(5);
/// What is measured less often keeps its period.
const MINUTE: Duration = Duration::from_secs(60);
/// How long everything has to end.
const STOP_WITHIN: Duration = Duration::from_secs(3);

/// Runs until it is interrupted.
pub(crate) fn run(settings: &Settings) -> Result<ExitCode, Message> {
    Setup::new("z_stats", log::LevelFilter::Warn).stderr().worded(words(settings.lang)).install().map_err(foreign)?;
    let scratch = Scratch::new(settings.lang)?;
    let settings = Settings { root: scratch.0.clone(), data: None, port: free_port(settings), ..settings.clone() };
    let options = ConfigOptions { drop_in: settings.config.clone(), ..settings.agents() };
    let mut agents = load(&options).agents;
    // What is not measured every minute is slow to measure, or slow to change.
    for agent in agents.iter_mut().filter(|agent| agent.spec.period <= MINUTE) {
        agent.spec.period = agent.spec.period.min(PERIOD);
        agent.spec.timeout = agent.spec.timeout.min(agent.spec.period);
    }
    place(&mut agents, &settings);
    let quick = agents.iter().filter(|agent| agent.spec.period <= PERIOD).count();
    let names: Vec<String> = agents.iter().map(|agent| agent.spec.name.clone()).collect();
    made_up::past(&settings.data(), gmetad_core::now()).map_err(foreign)?;
    agents.extend(made_up::agents(message!("Demo")));
    let options = MonitorOptions {
        lang: settings.lang,
        jitter: Duration::from_millis(500),
        ..MonitorOptions::new(settings.data())
    };
    let monitor = Arc::new(Monitor::start(options, agents, Layout::default()).map_err(foreign)?);
    let page = Page::of(&settings, &monitor)?;
    let mut signals = Signals::new().map_err(|error| message!("cannot take signals: {}", error.said()))?;
    introduce(&settings, page.port(), &names, quick);
    let stopped = signals.any(|event| event == Event::Stop);
    page.server.stop(Duration::ZERO);
    let _ = monitor.stop(STOP_WITHIN);
    drop(monitor);
    if stopped {
        show(&format!(
            "\n{}\n",
            settings.lang.message(&message!("Stopped; {} is removed.", scratch.0.display().to_string()))
        ));
    }
    Ok(ExitCode::SUCCESS)
}

fn introduce(settings: &Settings, port: u16, names: &[String], quick: usize) {
    let (lang, data) = (settings.lang, settings.data().display().to_string());
    let url = format!("http://localhost:{port}/");
    let lines = [
        message!(
            "z_stats demo: {} {agent|agents} of this machine, {} of them every {} s, and one made-up agent in each status.",
            names.len(),
            quick,
            PERIOD.as_secs()
        ),
        "".into(),
        message!("  page       {}", &url),
        message!("  answers    {}api/v1/status   {}metrics   {}healthz", &url, &url, &url),
        message!("  RRD files  {}", &data),
        "".into(),
        message!("Try in another terminal:"),
        format!("  z_stats status --port {port}").into(),
        format!("  z_stats run {}", names.first().map_or("load", String::as_str)).into(),
        format!("  z_stats check; z_stats kinds; z_stats --help --lang {}", lang.tag()).into(),
        "".into(),
        message!("Ctrl-C stops it."),
    ];
    show(&lines.map(|line| lang.message(&line) + "\n").concat());
}

/// The port asked for if it is free, else a free one.
fn free_port(settings: &Settings) -> u16 {
    let free = |port| settings.bind.iter().all(|ip| TcpListener::bind((*ip, port)).is_ok());
    if free(settings.port) {
        return settings.port;
    }
    let any = settings.bind.first().and_then(|ip| TcpListener::bind((*ip, 0)).ok());
    any.and_then(|listener| listener.local_addr().ok()).map_or(settings.port, |address| address.port())
}

/// A directory that goes when the demo ends.
struct Scratch(PathBuf, Lang);

impl Scratch {
    fn new(lang: Lang) -> Result<Self, Message> {
        let dir = std::env::temp_dir().join(format!("z_stats-demo-{}", std::process::id()));
        let failed = |error: std::io::Error| message!("{}: {}", dir.display().to_string(), error.said());
        fs::create_dir(&dir).map_err(failed)?;
        Ok(Self(dir.clone(), lang))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("{}: {}", self.0.display(), self.1.message(&error.said()));
        }
    }
}
