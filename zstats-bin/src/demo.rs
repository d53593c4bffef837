//! `z_stats --demo`: this machine's agents at short periods, and one made-up agent in each status. Needs no configuration, no root
//! and no network, and leaves nothing behind.

use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use gmetad_agents::config::{ConfigOptions, Layout, load};
use gmetad_agents::monitor::{Monitor, MonitorOptions};
use gmetad_agents::spec::{Field, Installed};
use gmetad_agents::{RrdAgent, TableAgent};
use gmetad_core::agent::{
    Agent, AgentError, Cell, Context, Element, History, Measurement, Message, State, Status, Table,
};
use gmetad_core::message;
use gmetad_process::logger::Setup;
use gmetad_process::signals::{Event, Signals};

use crate::service::{Page, foreign, place};
use crate::settings::Settings;

/// Periods of the demo: short, so that graphs are seen to move.
const PERIOD: Duration = Duration::from_secs(5);
/// What is measured less often keeps its period.
const MINUTE: Duration = Duration::from_secs(60);
/// Period of the made-up agents.
const MADE_UP: Duration = Duration::from_secs(2);
/// How long everything has to end.
const STOP_WITHIN: Duration = Duration::from_secs(3);

/// Runs until it is interrupted.
pub(crate) fn run(settings: &Settings) -> Result<ExitCode, Message> {
    Setup::new("z_stats", log::LevelFilter::Warn).stderr().install().map_err(foreign)?;
    let scratch = Scratch::new()?;
    let settings = Settings { root: scratch.0.clone(), data: None, port: free_port(settings), ..settings.clone() };
    let options = ConfigOptions { drop_in: settings.config.clone(), ..settings.agents() };
    let mut agents = load(&options).agents;
    // What is not measured every minute is slow to measure, or slow to change.
    for agent in agents.iter_mut().filter(|agent| agent.spec.period <= MINUTE) {
        agent.spec.period = agent.spec.period.min(PERIOD);
        agent.spec.timeout = agent.spec.timeout.min(agent.spec.period);
    }
    place(&mut agents, &settings);
    let names: Vec<String> = agents.iter().map(|agent| agent.spec.name.clone()).collect();
    agents.extend(made_up(settings.lang.text("Demo")));
    let options = MonitorOptions {
        lang: settings.lang,
        jitter: Duration::from_millis(500),
        ..MonitorOptions::new(settings.data())
    };
    let monitor = Arc::new(Monitor::start(options, agents, Layout::default()).map_err(foreign)?);
    let page = Page::of(&settings, &monitor)?;
    introduce(&settings, page.port(), &names);
    let stopped = Signals::new().map_err(foreign)?.any(|event| event == Event::Stop);
    page.server.stop(Duration::ZERO);
    let _ = monitor.stop(STOP_WITHIN);
    drop(monitor);
    if stopped {
        println!("\n{}", settings.lang.message(&message!("Stopped; {} is removed.", scratch.0.display().to_string())));
    }
    Ok(ExitCode::SUCCESS)
}

fn introduce(settings: &Settings, port: u16, names: &[String]) {
    let (lang, data) = (settings.lang, settings.data().display().to_string());
    let url = format!("http://localhost:{port}/");
    let lines = [
        message!(
            "z_stats demo: {} agents of this machine, every {} s, and one made-up agent in each status.",
            names.len(),
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
    for line in lines {
        println!("{}", lang.message(&line));
    }
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
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Result<Self, Message> {
        let dir = std::env::temp_dir().join(format!("z_stats-demo-{}", std::process::id()));
        let failed = |error: std::io::Error| message!("{}: {}", dir.display().to_string(), error.to_string());
        fs::create_dir(&dir).map_err(failed)?;
        Ok(Self(dir.clone()))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("{}: {error}", self.0.display());
        }
    }
}

/// What a made-up agent does.
type Does = fn(&Context) -> Result<Measurement, AgentError>;
/// What it thinks of that.
type Thinks = fn(&History<'_>) -> Status;

/// An agent that makes everything up.
struct MadeUp {
    name: &'static str,
    about: &'static str,
    does: Does,
    thinks: Thinks,
}

impl Agent for MadeUp {
    fn name(&self) -> &str {
        self.name
    }

    fn description(&self) -> &str {
        self.about
    }

    fn period(&self) -> Duration {
        MADE_UP
    }

    fn measure(&mut self, context: &Context) -> Result<Measurement, AgentError> {
        (self.does)(context)
    }

    fn check_status(&self, history: &History<'_>) -> Status {
        (self.thinks)(history)
    }
}

/// A wave around `middle`, one in `seconds`.
fn wave(context: &Context, seconds: f64, middle: f64, size: f64) -> f64 {
    middle + size * ((context.now as f64) * std::f64::consts::TAU / seconds).sin()
}

/// One in each status.
fn made_up(section: &str) -> Vec<Installed> {
    let ok = MadeUp {
        name: "demo-ok",
        about: "OK",
        does: |context| {
            let tide = |seconds, middle| wave(context, seconds, middle, 20.0);
            Ok(Measurement::new().number("tide", tide(60.0, 50.0)).number("counter-tide", tide(90.0, 40.0)))
        },
        thinks: |_| Status::new(State::Ok, message!("all is well")),
    };
    let warn = MadeUp {
        name: "demo-warn",
        about: "Warn",
        does: |context| Ok(Measurement::new().number("full", wave(context, 120.0, 88.0, 3.0))),
        thinks: |history| {
            let full = history.number("full").unwrap_or(f64::NAN);
            Status::new(State::Warn, message!("{} % full, more than {} %", format!("{full:.1}"), 80))
        },
    };
    let error = MadeUp {
        name: "demo-error",
        about: "Error",
        does: |_| {
            let row = |name: &str, state| vec![Cell::Text(name.into()), Cell::State(state)];
            let table = Table {
                title: message!("Tunnels"),
                columns: vec![message!("Name"), message!("Status")],
                rows: vec![row("siege", State::Ok), row("lycee-1", State::Error), row("college-7", State::Ok)],
            };
            Ok(Measurement::new().number("up", 2.0).number("down", 1.0).element(Element::Table(table)))
        },
        thinks: |_| Status::new(State::Error, message!("{} of {} tunnels are down", 1, 3)),
    };
    let dependant = MadeUp {
        name: "demo-dependant",
        about: "Dependant",
        does: |_| Ok(Measurement::new().text("answer", "none")),
        thinks: |_| Status::new(State::Error, message!("nobody answers through the tunnel")),
    };
    let unknown = MadeUp {
        name: "demo-unknown",
        about: "Unknown",
        does: |_| Err(message!("the probe has no thermometer").into()),
        thinks: |_| Status::default(),
    };
    let mut all: Vec<Installed> = vec![
        RrdAgent::new(ok).into(),
        RrdAgent::new(warn).into(),
        RrdAgent::new(error).into(),
        TableAgent::new(dependant, 10).into(),
        Installed::new(unknown),
    ];
    for agent in &mut all {
        agent.spec.section = section.into();
        agent.spec.fields = match agent.spec.name.as_str() {
            "demo-warn" => vec![Field { name: "full".to_owned(), unit: "%".to_owned(), ..Field::default() }],
            "demo-dependant" => {
                agent.spec.requires = vec!["demo-error".to_owned()];
                Vec::new()
            }
            _ => Vec::new(),
        };
    }
    all
}
