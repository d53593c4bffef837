//! `z_stats status`: how the service's agents are, for people and for whatever runs monitoring plugins.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use gmetad_agents::AgentView;
use gmetad_agents::said::Said;
use gmetad_agents::status::{STALE_PERIODS, name as state_name};
use gmetad_core::agent::{Message, State};
use gmetad_core::message;
use gmetad_process::mail::clean;
use rustls::pki_types::CertificateDer;
use serde_json::Value;

use crate::Printed;
use crate::exact;
use crate::settings::{Settings, secret};

/// How long the service has to answer: less than who runs plugins waits for us.
const WITHIN: Duration = Duration::from_secs(5);
/// Longest answer, in bytes.
const ANSWER: u64 = 64 << 20;
/// Most agents that are read from the data directory.
const AGENTS: usize = 10_000;
/// What the disk may lag behind beyond the time an agent is due, in seconds: views are written once a minute.
const GRACE: i64 = 120;
/// How long ago the last of all measurements may be if the service, which is to be asked, is not there: a restart, in seconds.
const YOUNG: i64 = 600;
/// Longest message that is shown, in characters.
const TEXT: usize = 500;

/// The exit status of a state, as of the monitoring plugins. What only depends on something else is no better known than that.
pub(crate) fn exit(state: State) -> ExitCode {
    ExitCode::from(match state {
        State::Ok => 0,
        State::Warn => 1,
        State::Error => 2,
        State::Unknown | State::Dependant => 3,
    })
}

/// An agent as it is told of.
struct Told {
    name: String,
    state: State,
    message: String,
}

/// Says how the agents are, or one of them.
pub(crate) fn run(settings: &Settings, json: bool, agent: Option<&str>) -> Result<Printed, Message> {
    let (answer, note) = match ask(settings) {
        Ok(answer) => (answer, None),
        Err(Unasked { reason, refused }) => (read(settings, &reason, refused)?, Some(reason)),
    };
    let mut agents = told(&answer);
    if let Some(name) = agent {
        agents.retain(|agent| agent.name == name);
        if agents.is_empty() {
            return Err(message!("there is no agent {}; z_stats check lists them", name));
        }
    }
    let worst = agents.iter().map(|agent| agent.state).max().unwrap_or(State::Unknown);
    if json {
        return Ok((format!("{answer}\n"), exit(worst)));
    }
    let lang = settings.lang;
    let count = |state| agents.iter().filter(|agent| agent.state == state).count();
    let counts = State::ALL.into_iter().rev().filter(|state| count(*state) > 0);
    let counts: Vec<_> = counts.map(|state| format!("{} {}", count(state), lang.message(&state_name(state)))).collect();
    let counts = if agents.is_empty() { lang.text("no agents").to_owned() } else { counts.join(", ") };
    let data: Vec<_> =
        State::ALL.map(|state| format!("{}={}", state.name().to_ascii_lowercase(), count(state))).into_iter().collect();
    let mut text = format!("ZSTATS {} - {counts} | {}\n", worst.name().to_ascii_uppercase(), data.join(" "));
    agents.sort_by_key(|agent| std::cmp::Reverse(agent.state));
    for Told { name, state, message } in agents.iter().filter(|told| agent.is_some() || told.state != State::Ok) {
        let (state, message) = (state_name(*state), clean(message, TEXT));
        let line = if message.is_empty() {
            message!("{}: {}", state, name)
        } else {
            message!("{}: {}: {}", state, name, message)
        };
        text += &format!("{}\n", lang.message(&line));
    }
    if let Some(reason) = note {
        text += &lang.message(&message!("(read from {}: {})", settings.data().display().to_string(), reason));
        text.push('\n');
    }
    Ok((text, exit(worst)))
}

fn told(answer: &Value) -> Vec<Told> {
    let agents = answer["agents"].as_array().map(Vec::as_slice).unwrap_or_default();
    let text = |agent: &Value, key: &str| agent[key].as_str().unwrap_or_default().to_owned();
    let told = agents.iter().map(|agent| {
        let state = State::ALL.into_iter().find(|state| agent["status"] == state.name());
        Told { name: text(agent, "name"), state: state.unwrap_or(State::Unknown), message: text(agent, "message") }
    });
    told.collect()
}

/// Why the service said nothing.
struct Unasked {
    reason: Message,
    /// Nobody listens: it does not run.
    refused: bool,
}

impl From<Message> for Unasked {
    fn from(reason: Message) -> Self {
        Self { reason, refused: false }
    }
}

/// What opens the service.
fn authorization(settings: &Settings) -> Option<String> {
    let of = |file: &Option<PathBuf>| file.as_deref().and_then(|file| secret(file).ok());
    let token = || Some(format!("Authorization: Bearer {}\r\n", of(&settings.token_file)?));
    let password = || {
        // Any user will do.
        let known = BASE64_STANDARD.encode(format!(":{}", of(&settings.password_file)?));
        Some(format!("Authorization: Basic {known}\r\n"))
    };
    token().or_else(password)
}

/// What the running service says.
fn ask(settings: &Settings) -> Result<Value, Unasked> {
    let certificate = settings.tls_cert.as_deref().map(exact::certificate).transpose()?;
    let ip = settings.bind.iter().map(|ip| if ip.is_unspecified() { IpAddr::from(Ipv4Addr::LOCALHOST) } else { *ip });
    let ip = ip.clone().find(IpAddr::is_loopback).or_else(|| ip.clone().next()).unwrap_or(Ipv4Addr::LOCALHOST.into());
    let address = SocketAddr::new(ip, settings.port);
    let failed = |error: std::io::Error| Unasked {
        reason: match &settings.tls_cert {
            Some(file) if exact::is_another(&error) => message!(
                "{} shows another certificate than {}: reload the service",
                address.to_string(),
                file.display().to_string()
            ),
            // A socket's own timeout, and ours.
            _ if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                message!("{} does not answer within {} s", address.to_string(), WITHIN.as_secs())
            }
            _ => message!("{} does not answer: {}", address.to_string(), error.said()),
        },
        refused: error.kind() == ErrorKind::ConnectionRefused,
    };
    let authorization = authorization(settings).unwrap_or_default();
    let lang = settings.lang.tag();
    let request = format!("GET /api/v1/status?lang={lang} HTTP/1.0\r\nHost: {address}\r\n{authorization}\r\n");
    let text = exchange(address, certificate, request.as_bytes()).map_err(failed)?;
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let first = head.lines().next().unwrap_or_default();
    if first.split(' ').nth(1) != Some("200") {
        return Err(message!("{} answers: {}", address.to_string(), clean(first, 100)).into());
    }
    let answer: Value = serde_json::from_str(body).unwrap_or_default();
    if answer["agents"].is_array() {
        return Ok(answer);
    }
    Err(message!("{} answers, but is not z_stats", address.to_string()).into())
}

fn exchange(
    address: SocketAddr,
    certificate: Option<CertificateDer<'static>>,
    request: &[u8],
) -> std::io::Result<String> {
    let end = Instant::now() + WITHIN;
    let socket = TcpStream::connect_timeout(&address, WITHIN)?;
    socket.set_write_timeout(Some(WITHIN))?;
    socket.set_read_timeout(Some(WITHIN))?;
    match certificate {
        Some(it) => talk(&mut exact::connection(socket.try_clone()?, it)?, &socket, request, end),
        None => talk(&mut &socket, &socket, request, end),
    }
}

fn talk(stream: &mut (impl Read + Write), socket: &TcpStream, request: &[u8], end: Instant) -> std::io::Result<String> {
    stream.write_all(request)?;
    let mut answer = Vec::new();
    let mut buffer = [0; 16 << 10];
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() || answer.len() as u64 > ANSWER {
            return Err(ErrorKind::TimedOut.into());
        }
        socket.set_read_timeout(Some(left))?;
        match stream.read(&mut buffer)? {
            0 => return Ok(String::from_utf8_lossy(&answer).into_owned()),
            length => answer.extend_from_slice(&buffer[..length]),
        }
    }
}

/// What the data directory says, in the shape of the service's answer. Agents that should have measured since are Unknown: the
/// service does not run. Where nobody listens (`refused`), all are if none has measured for a while.
fn read(settings: &Settings, reason: &Message, refused: bool) -> Result<Value, Message> {
    let data = settings.data();
    let failed = |error: std::io::Error| {
        let data = data.display().to_string();
        message!(
            "the service cannot be asked ({}), and {} cannot be read: {}; name its directory with --data",
            reason.clone(),
            data,
            error.said()
        )
    };
    let (mut views, mut unread) = (Vec::new(), Vec::new());
    for entry in fs::read_dir(&data).map_err(failed)?.take(AGENTS) {
        let path = entry.map_err(failed)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.starts_with('.') {
            continue;
        }
        match view(&path.join("agent.json")) {
            Ok(view) => views.push(view),
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {}
            Err(error) => unread.push((name, error)),
        }
    }
    views.sort_by(|one, other| one.spec.name.cmp(&other.spec.name));
    let newest = views.iter().map(measured).max().unwrap_or(0);
    let is_over = refused && gmetad_core::now() > newest + YOUNG;
    let mut agents: Vec<_> = views.iter().map(|view| listed(view, is_over, settings)).collect();
    // They are not left out: that would look as if all were well.
    agents.extend(unread.into_iter().map(|(name, error)| {
        let text = message!("{}: cannot be read: {}", "agent.json", error.said());
        let text = settings.lang.message(&text);
        serde_json::json!({ "name": name, "section": "", "status": State::Unknown.name(), "message": text })
    }));
    Ok(serde_json::json!({ "agents": agents }))
}

fn view(file: &Path) -> std::io::Result<AgentView> {
    let mut bytes = Vec::new();
    fs::File::open(file)?.take(ANSWER).read_to_end(&mut bytes)?;
    Ok(serde_json::from_slice(&bytes)?)
}

/// When an agent was measured, or was seen for the first time.
fn measured(view: &AgentView) -> i64 {
    let failed = view.failure.as_ref().map_or(i64::MIN, |(time, _)| *time);
    view.last.as_ref().map_or(view.since, |taken| taken.time).max(failed)
}

/// An agent as the service would say; `is_over`: it does not run, and has not for a while.
fn listed(view: &AgentView, is_over: bool, settings: &Settings) -> Value {
    let lang = settings.lang;
    let late = (view.spec.period * STALE_PERIODS).as_secs() as i64 + GRACE;
    let last = view.last.as_ref().map(|taken| taken.time);
    let (state, text) = if is_over || gmetad_core::now() > last.unwrap_or(view.since) + late {
        (State::Unknown, lang.text("the service does not run, or does not write here").to_owned())
    } else {
        (view.status.state, lang.message(&view.status.message))
    };
    serde_json::json!({
        "name": view.spec.name,
        "section": lang.message(&view.spec.section),
        "status": state.name(),
        "message": text,
        "since": view.since,
        "last": last,
        "max": view.max.state.name(),
    })
}
