//! The made-up agents of the demo: one in each status.

use std::f64::consts::TAU;
use std::path::Path;
use std::time::Duration;

use gmetad_agents::spec::{Archive, Field, Installed};
use gmetad_agents::{RrdAgent, TableAgent};
use gmetad_core::agent::{
    Agent, AgentError, Cell, Context, Element, History, Measurement, Message, State, Status, Table,
};
use gmetad_core::message;
use gmetad_core::model::UnixTime;
use gmetad_rrd::{Backend, DsKind, DsSpec, NativeStore, Point, RraSpec, RrdError, Schema, Value, native, path};

/// Their period.
const PERIOD: u64 = 2;
/// How much of a past they have, in seconds.
const PAST: i64 = 86_400;
/// Points written at once.
const AT_ONCE: usize = 4096;

/// A number that is made up of the time.
type Curve = fn(UnixTime) -> f64;

/// What is drawn: agent, field, curve.
const CURVES: [(&str, &str, Curve); 3] = [
    ("demo-ok", "tide", |time| 50.0 + 30.0 * wave(time, 22_357.0) + 5.0 * wave(time, 60.0)),
    ("demo-ok", "current", |time| 40.0 + 20.0 * wave(time + 5589, 22_357.0) + 8.0 * wave(time, 90.0)),
    ("demo-warn", "full", |time| 86.0 + 4.0 * wave(time, 14_400.0) + wave(time, 120.0)),
];

/// One wave in that many seconds.
fn wave(time: UnixTime, seconds: f64) -> f64 {
    (time as f64 * TAU / seconds).sin()
}

/// The curves of an agent at a time.
fn curves(agent: &str, time: UnixTime) -> Measurement {
    let own = CURVES.iter().filter(|(name, ..)| *name == agent);
    own.fold(Measurement::new(), |all, (_, field, curve)| all.number(*field, curve(time)))
}

/// Writes a day of curves, so that graphs have something to show.
pub(crate) fn past(data: &Path, now: UnixTime) -> Result<(), RrdError> {
    let archives = Archive::standard(Duration::from_secs(PERIOD));
    let rras = archives.iter().map(|archive| {
        let steps = archive.resolution.div_ceil(PERIOD);
        RraSpec { cf: archive.cf, xff: 0.5, steps, rows: archive.keep.div_ceil(steps * PERIOD) }
    });
    let unbound = f64::NAN;
    let ds = DsSpec { name: "value".to_owned(), kind: DsKind::Gauge, heartbeat: 5, min: unbound, max: unbound };
    let schema = Schema { step: PERIOD, ds: vec![ds], rras: rras.collect() };
    let mut store = NativeStore::new(native::Options::default());
    let times: Vec<UnixTime> = (now - PAST..now).step_by(PERIOD as usize).collect();
    for (agent, field, curve) in CURVES {
        let file = path::agent_file(data, agent, None, field);
        store.create(&file, &schema, now - PAST - 1)?;
        for times in times.chunks(AT_ONCE) {
            let texts: Vec<String> = times.iter().map(|time| curve(*time).to_string()).collect();
            let values: Vec<[Value<'_>; 1]> = texts.iter().map(|text| [Value::Text(text)]).collect();
            let points = times.iter().zip(&values).map(|(time, values)| Point { time: *time, values });
            store.update(&file, &points.collect::<Vec<_>>())?;
        }
    }
    Ok(())
}

/// What a made-up agent does.
type Does = fn(&Context) -> Result<Measurement, AgentError>;
/// What it thinks of that.
type Thinks = fn(&History<'_>) -> Status;

/// An agent that makes everything up.
struct MadeUp {
    name: &'static str,
    does: Does,
    thinks: Thinks,
}

impl Agent for MadeUp {
    fn name(&self) -> &str {
        self.name
    }

    fn period(&self) -> Duration {
        Duration::from_secs(PERIOD)
    }

    fn measure(&mut self, context: &Context) -> Result<Measurement, AgentError> {
        (self.does)(context)
    }

    fn check_status(&self, history: &History<'_>) -> Status {
        (self.thinks)(history)
    }
}

/// One in each status.
pub(crate) fn agents(section: Message) -> Vec<Installed> {
    let ok = MadeUp {
        name: "demo-ok",
        does: |context| Ok(curves("demo-ok", context.now)),
        thinks: |_| Status::new(State::Ok, message!("all is well")),
    };
    let warn = MadeUp {
        name: "demo-warn",
        does: |context| Ok(curves("demo-warn", context.now)),
        thinks: |history| {
            let full = history.number("full").unwrap_or(f64::NAN);
            Status::new(State::Warn, message!("{} % full, more than {} %", (full * 10.0).round() / 10.0, 80))
        },
    };
    let error = MadeUp {
        name: "demo-error",
        does: |_| {
            let row = |name: &str, state| vec![Cell::Text(name.into()), Cell::State(state)];
            let table = Table {
                title: message!("Tunnels"),
                columns: vec![message!("Name"), message!("Status")],
                rows: vec![row("siege", State::Ok), row("lycee-1", State::Error), row("college-7", State::Ok)],
            };
            Ok(Measurement::new().number("up", 2.0).number("down", 1.0).element(Element::Table(table)))
        },
        thinks: |_| Status::new(State::Error, message!("{} of {} tunnels is down", 1, 3)),
    };
    let dependant = MadeUp {
        name: "demo-dependant",
        does: |_| Ok(Measurement::new().text("answer", "none")),
        thinks: |_| Status::new(State::Error, message!("nobody answers through the tunnel")),
    };
    let unknown = MadeUp {
        name: "demo-unknown",
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
        agent.spec.section = section.clone();
        let field = |name: &str, label, unit: &str| Field { name: name.to_owned(), label, unit: unit.to_owned() };
        (agent.spec.description, agent.spec.fields) = match agent.spec.name.as_str() {
            "demo-ok" => {
                let fields = vec![field("tide", message!("tide"), "cm"), field("current", message!("current"), "cm")];
                (message!("A tide (made up)"), fields)
            }
            "demo-warn" => (message!("A disk that fills (made up)"), vec![field("full", message!("full"), "%")]),
            "demo-error" => (message!("Tunnels (made up)"), Vec::new()),
            "demo-dependant" => {
                agent.spec.requires = vec!["demo-error".to_owned()];
                (message!("What lies behind a tunnel (made up)"), Vec::new())
            }
            _ => (message!("A probe without a thermometer (made up)"), Vec::new()),
        };
    }
    all
}
