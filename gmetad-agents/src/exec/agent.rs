//! The agent that runs a program.

mod verbs;

use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use gmetad_core::agent::{
    Agent, AgentError, Context, Described, Element, History, Measurement, Message, Place, State, Status,
};
use gmetad_core::message;
use gmetad_process::child::Ended;
use gmetad_process::process::Process;
use gmetad_process::run::{Bounds, Cut, Output, run};

use super::names;
use super::program::{LAST, Program};
use super::reading::Reading;
use super::settings::{Format, Settings};
use super::stream::Stream;
use super::{collectd, describe, influx, json, limits, munin, nagios, native};
use crate::lang::logged;
use crate::said::{self, Said};

/// How long what a munin plugin says of itself holds.
const CONFIG: Duration = Duration::from_secs(3600);
/// What is taken off a deadline: whoever runs us should see the reason, not only that nothing came.
const MARGIN: Duration = Duration::from_millis(100);
/// How long a program may take to end after SIGTERM, at most: the monitor waits for a second beyond the deadline, or a quarter of
/// it.
const GRACE: Duration = Duration::from_millis(600);
/// Bytes of the standard error in the text of a failure.
const COMPLAINT: usize = 300;

/// Runs a program and reads its answer.
#[derive(Debug)]
pub(super) struct ExecAgent {
    name: String,
    settings: Settings,
    place: Option<Place>,
    /// What the program says by `describe`.
    description: Option<Described>,
    /// What it said so when that was good, in an earlier process perhaps.
    before: Option<Described>,
    /// What was wrong with it, and when it was asked.
    mistakes: Option<(Instant, Vec<Message>)>,
    /// When it was asked in vain, and how often in a row.
    unanswered: Option<(Instant, u32)>,
    /// What is known of fields and graphs: that, and what its answers said so far.
    described: Described,
    /// The configuration of a munin plugin, and when it was asked.
    config: Option<(Instant, Vec<u8>)>,
    /// When it was asked whether it makes sense here, and how it said no.
    probed: Option<(Instant, Option<Ended>)>,
    /// What it complained of last: that is logged once.
    complaint: String,
    last: Vec<u8>,
    stream: Option<Stream>,
    /// What could not be ended of earlier runs.
    alive: Vec<Process>,
}

impl ExecAgent {
    pub(super) fn new(name: &str, settings: Settings) -> Self {
        Self {
            name: name.to_owned(),
            settings,
            place: None,
            description: None,
            before: None,
            mistakes: None,
            unanswered: None,
            described: Described::default(),
            config: None,
            probed: None,
            complaint: String::new(),
            last: Vec::new(),
            stream: None,
            alive: Vec::new(),
        }
    }

    fn one_shot(&mut self, context: &Context, began: Instant) -> Result<Reading, Message> {
        let program = Program::find(&self.name, &self.settings, self.place.as_ref())?;
        if let Some(no) = self.verbs(&program, context)? {
            return Ok(no);
        }
        if self.settings.format == Format::Munin {
            return self.munin(&program, context, began);
        }
        let left = context.deadline.saturating_sub(began.elapsed());
        let output = self.run(&program, None, context, left, Bounds::default().stdout)?;
        let ended = self.ended(&output)?;
        let reading = self.read(ended, &output.stdout).map_err(|error| with_complaint(error, &output.stderr))?;
        if self.settings.format == Format::Zstats {
            self.remember(&program, &output.stdout);
        }
        Ok(self.complained(reading, &output.stderr))
    }

    /// A munin plugin: what there is, unless that is known, then how much.
    fn munin(&mut self, program: &Program, context: &Context, began: Instant) -> Result<Reading, Message> {
        let is_known =
            self.config.as_ref().is_some_and(|(asked, config)| asked.elapsed() < CONFIG && !munin::is_dirty(config));
        let mut complaints = Vec::new();
        if !is_known {
            let left = context.deadline.saturating_sub(began.elapsed());
            let output = self.run(program, Some("config"), context, left, Bounds::default().stdout)?;
            self.good(&output)?;
            complaints = output.stderr;
            self.config = Some((Instant::now(), output.stdout));
        }
        let Some((_, config)) = &self.config else { return Ok(Reading::default()) };
        if munin::is_dirty(config) {
            let reading = munin::read(config, b"");
            return Ok(self.complained(reading, &complaints));
        }
        let left = context.deadline.saturating_sub(began.elapsed());
        let output = self.run(program, None, context, left, Bounds::default().stdout)?;
        // Cut short says nothing of the configuration: asking for it each time would leave it too little time forever.
        let is_cut = matches!(output.result, Err(Cut::Late(_) | Cut::Stopped));
        if output.result != Ok(Ended::Exit(0)) && !is_cut {
            self.config = None;
        }
        self.good(&output)?;
        // A single `U` is something: that it is not known.
        if !munin::has_values(&output.stdout) {
            self.config = None;
            return Err(with_complaint(said::nothing(), &output.stderr));
        }
        complaints.extend(output.stderr);
        let config = self.config.as_ref().map(|(_, config)| &config[..]).unwrap_or_default();
        let reading = munin::read(config, &output.stdout);
        Ok(self.complained(reading, &complaints))
    }

    fn read(&self, ended: Ended, output: &[u8]) -> Result<Reading, Message> {
        match self.settings.format {
            Format::Zstats => native::read(ended, output),
            Format::Nagios => Ok(nagios::read(ended, output)),
            Format::Munin => Ok(munin::read(b"", output)),
            _ if ended != Ended::Exit(0) => Err(said::ended(ended)),
            Format::Influx => influx::read(output, &self.settings.tags),
            Format::Json => json::read(output, &self.settings.wanted()),
            Format::Collectd => collectd::read(output),
        }
    }

    fn run(
        &mut self,
        program: &Program,
        verb: Option<&str>,
        context: &Context,
        time: Duration,
        stdout: usize,
    ) -> Result<Output, Message> {
        // Nobody waits for it any more: the next measurement may be under way already.
        if context.stop.is_stopped() {
            return Err(said::cut(Cut::Stopped));
        }
        if let Some(text) = unended(&mut self.alive) {
            return Err(text);
        }
        let grace = GRACE.min(context.deadline / 8);
        let bounds = Bounds { time: time.saturating_sub(MARGIN.min(time / 10)), grace, stdout, ..Bounds::default() };
        let output = run(&program.spawn(verb), b"", &bounds, &|| context.stop.is_stopped());
        let mut output = output.map_err(|error| self.not_started(&error))?;
        self.alive = std::mem::take(&mut output.alive);
        Ok(output)
    }

    fn not_started(&self, error: &io::Error) -> Message {
        let word = self.settings.command.first().map(String::as_str).unwrap_or_default();
        match error.kind() {
            io::ErrorKind::NotFound => message!(
                "{} is not there, nor perhaps what its first line names; install it, or correct `command`",
                word
            ),
            io::ErrorKind::PermissionDenied => message!(
                "{} cannot be run: {}; is it executable, and may the user it runs as reach it?",
                word,
                error.said()
            ),
            _ => message!("{} cannot be run: {}", word, error.said()),
        }
    }

    /// How it ended; if it had to be ended, why.
    fn ended(&self, output: &Output) -> Result<Ended, Message> {
        output.result.map_err(|cut| with_complaint(said::cut(cut), &output.stderr))
    }

    /// It ended well.
    fn good(&self, output: &Output) -> Result<(), Message> {
        match self.ended(output)? {
            Ended::Exit(0) => Ok(()),
            ended => Err(with_complaint(said::ended(ended), &output.stderr)),
        }
    }

    /// Adds what it complained of to the page, and logs it if it is new.
    fn complained(&mut self, mut reading: Reading, stderr: &[u8]) -> Reading {
        let text = names::shown(&names::lossy(stderr), 4 << 10);
        if !text.is_empty() {
            if text != self.complaint {
                self.log(log::Level::Warn, &message!("Standard error: {}", &text));
            }
            reading.measurement = reading.measurement.element(Element::Text(message!("Standard error: {}", &text)));
        }
        self.complaint = text;
        reading
    }

    /// Keeps the answer for the next run. A disk that is full must not hinder measuring.
    fn remember(&mut self, program: &Program, answer: &[u8]) {
        let Some(state) = &program.state else { return };
        if self.last == answer {
            return;
        }
        match write(&state.join(".last.new"), &state.join(LAST), answer) {
            Ok(()) => self.last = answer.to_owned(),
            Err(error) => {
                let file = state.join(LAST).display().to_string();
                self.log(log::Level::Debug, &message!("{}: cannot be written: {}", file, error.said()));
            }
        }
    }

    fn log(&self, level: log::Level, text: &Message) {
        log::log!(level, "{}", names::line(&logged(&message!("agent {}: {}", &self.name, text.clone()))));
    }

    fn streamed(&mut self, context: &Context, began: Instant) -> Result<Reading, Message> {
        if self.stream.is_none() {
            let program = Program::find(&self.name, &self.settings, self.place.as_ref())?;
            if let Some(no) = self.verbs(&program, context)? {
                return Ok(no);
            }
            if context.stop.is_stopped() {
                return Err(said::cut(Cut::Stopped));
            }
            let stream = Stream::start(&self.name, program.spawn(None), self.settings.format);
            self.stream = Some(stream.map_err(|error| message!("no thread can be started: {}", error.said()))?);
        }
        let Some(stream) = &mut self.stream else { return Ok(Reading::default()) };
        let period = self.place.as_ref().map_or(Duration::from_secs(60), |place| place.period);
        let lines = stream.newest(period, context.deadline.saturating_sub(began.elapsed()), &context.stop)?;
        let reading = self.read(Ended::Exit(0), &lines.text)?;
        Ok(self.complained(reading, &lines.complaints))
    }
}

/// What is said while an earlier run cannot be ended: one more each time would hang as well, until there is no room for others.
pub(super) fn unended(alive: &mut Vec<Process>) -> Option<Message> {
    alive.retain(Process::is_alive);
    let first = alive.first()?.id();
    Some(message!(
        "an earlier run (process {}) cannot be ended: it hangs in the kernel, on a disk or a network file system that does not answer perhaps; it is measured again when that process is gone",
        first
    ))
}

/// A failure, with the last line that the program complained of.
fn with_complaint(failure: Message, stderr: &[u8]) -> Message {
    let text = names::lossy(stderr);
    match text.lines().rev().map(str::trim).find(|line| !line.is_empty()) {
        Some(line) => message!("{}; it said: {}", failure, names::line(names::cut(line, COMPLAINT))),
        None => failure,
    }
}

/// Replaces a file in a directory that may be another user's: nothing that is there is followed.
fn write(aside: &Path, file: &Path, text: &[u8]) -> io::Result<()> {
    match std::fs::remove_file(aside) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        removed => removed?,
    }
    std::fs::OpenOptions::new().write(true).create_new(true).open(aside)?.write_all(text)?;
    std::fs::rename(aside, file)
}

impl Agent for ExecAgent {
    fn name(&self) -> &str {
        &self.name
    }

    fn init_data(&mut self, place: &Place) {
        self.place = Some(place.clone());
    }

    fn measure(&mut self, context: &Context) -> Result<Measurement, AgentError> {
        let began = Instant::now();
        let Reading { measurement, described } =
            if self.settings.is_stream() { self.streamed(context, began) } else { self.one_shot(context, began) }?;
        let mut described = describe::together(
            self.description.as_ref().or(self.before.as_ref()).unwrap_or(&Described::default()),
            described,
        );
        // Fields that are missing today may be back tomorrow: an answer without performance data, say.
        for known in std::mem::take(&mut self.described.fields) {
            if described.fields.len() < names::FIELDS && !described.fields.iter().any(|field| field.name == known.name)
            {
                described.fields.push(known);
            }
        }
        if described.graphs.is_empty() {
            described.graphs = std::mem::take(&mut self.described.graphs);
        }
        self.described = described;
        Ok(measurement)
    }

    /// The program judged; here are the limits that it described, where the agent's file has no rules.
    fn check_status(&self, history: &History<'_>) -> Status {
        match self.settings.format {
            // A check knows its limits: they are only shown.
            Format::Nagios => Status::ok(),
            _ => {
                let ruled = self.place.as_ref().map(|place| &place.ruled[..]).unwrap_or_default();
                limits::judge(self.described.fields.iter().filter(|field| !ruled.contains(&field.name)), history)
            }
        }
    }

    fn describe(&self) -> Option<&Described> {
        Some(&self.described)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_started_while_an_earlier_run_cannot_be_ended() {
        let toml = "command = ['/bin/echo', '{\"fields\":{\"x\":1}}']\ndescribe = false".parse().unwrap();
        let mut agent = ExecAgent::new("x", Settings::of(toml, None).unwrap());
        let context = Context { now: 1, deadline: Duration::from_secs(20), stop: Default::default() };
        // It stands for one that SIGKILL does not end.
        let mut hangs = std::process::Command::new("/bin/sleep").arg("300").spawn().unwrap();
        agent.alive.extend(Process::of(hangs.id()));
        for _ in 0..2 {
            let text = agent.measure(&context).unwrap_err().to_string();
            assert!(text.starts_with(&format!("an earlier run (process {}) cannot be ended", hangs.id())), "{text}");
        }
        hangs.kill().unwrap();
        hangs.wait().unwrap();
        assert_eq!(agent.measure(&context).unwrap().get_number("x"), Some(1.0));
    }
}
