//! What a program is asked besides measuring: whether it makes sense here, and what it is.

use std::io::Read as _;
use std::path::PathBuf;

use super::*;

/// How long it holds that a program was asked whether it makes sense here, if it said no.
const PROBE: Duration = Duration::from_secs(3600);
/// After so many times in a row without an answer to `describe` it is measured without, and asked again after this.
const TRIES: u32 = 3;
const ASK_AGAIN: Duration = Duration::from_secs(3600);
/// A measurement is left out for a description only if the next one comes within that time.
const SOON: Duration = Duration::from_secs(600);
/// Longest that the verbs may take.
const VERB: Duration = Duration::from_secs(10);
/// Bytes of a description.
const DESCRIPTION: usize = 64 << 10;

impl ExecAgent {
    /// Asks what is to be asked before the first measurement; a reading that says so if it makes no sense here.
    pub(super) fn verbs(&mut self, program: &Program, context: &Context) -> Result<Option<Reading>, Message> {
        let began = Instant::now();
        if let Some(ended) = self.probe(program, context)? {
            let text = message!("it says that it makes no sense here ({})", said::ended(ended));
            let measurement = Measurement::new().judged(Status::new(State::Unknown, text));
            return Ok(Some(Reading { measurement, ..Reading::default() }));
        }
        let is_unanswered = self.unanswered.is_some_and(|(asked, times)| times >= TRIES && asked.elapsed() < ASK_AGAIN);
        let may_wait = self.may_wait();
        if self.settings.is_described() && self.is_undescribed() && !is_unanswered {
            let left = context.deadline.saturating_sub(began.elapsed());
            self.describe_itself(program, context, if may_wait { left } else { left.min(context.deadline / 4) })?;
        }
        // With what is left it would be cut short for no fault of its measuring.
        let took = began.elapsed();
        if took > context.deadline / 4 && may_wait {
            let seconds = (took.as_secs_f64() * 10.0).round() / 10.0;
            return Err(message!("to say what it is took it {} s: it is measured the next time", seconds));
        }
        Ok(None)
    }

    /// How it ended if it says that it makes no sense here.
    fn probe(&mut self, program: &Program, context: &Context) -> Result<Option<Ended>, Message> {
        if !self.settings.probe {
            return Ok(None);
        }
        if let Some((asked, said)) = self.probed
            && (said.is_none() || asked.elapsed() < PROBE)
        {
            return Ok(said);
        }
        let output = self.run(program, Some("probe"), context, VERB.min(context.deadline / 3), DESCRIPTION)?;
        let ended = self.ended(&output)?;
        let said = (ended != Ended::Exit(0)).then_some(ended);
        self.probed = Some((Instant::now(), said));
        Ok(said)
    }

    /// Whether it has not said what it is, or has to be asked again because that was wrong.
    fn is_undescribed(&self) -> bool {
        let is_due = self.mistakes.as_ref().is_some_and(|(asked, _)| asked.elapsed() >= ASK_AGAIN);
        self.description.is_none() || is_due
    }

    /// Asks what it says of itself. A program that does not know the verb measures instead, or complains: then it says nothing.
    /// One that does not answer may say something the next time, and until then counters would be kept as if they were none.
    fn describe_itself(&mut self, program: &Program, context: &Context, time: Duration) -> Result<(), Message> {
        let output = self.run(program, Some("describe"), context, VERB.min(time), DESCRIPTION)?;
        let before = self.said_before(program);
        let (said, mistakes) = match output.result {
            Ok(Ended::Exit(0)) if native::is_answer(&output.stdout) => (Described::default(), Vec::new()),
            Ok(Ended::Exit(0)) => describe::read(&output.stdout).unwrap_or_else(|error| {
                (
                    Described::default(),
                    vec![message!("what it says of itself (`describe`) is not understood: {}", error)],
                )
            }),
            Ok(ended @ Ended::Exit(_)) => {
                let why = message!("it does not describe itself: {}", said::ended(ended));
                self.log(log::Level::Debug, &why);
                // Who never knew the verb made no mistake.
                (Described::default(), if before.is_some() { vec![why] } else { Vec::new() })
            }
            Err(cut @ Cut::Much(_)) => {
                (Described::default(), vec![message!("it does not describe itself: {}", said::cut(cut))])
            }
            Err(Cut::Stopped) => return Err(said::cut(Cut::Stopped)),
            Err(cut @ Cut::Late(_)) => return self.without_answer(program, said::cut(cut)),
            Ok(ended @ Ended::Signal(_)) => return self.without_answer(program, said::ended(ended)),
        };
        self.unanswered = None;
        if mistakes.is_empty() {
            self.mistakes = None;
            self.keep(program, &output.stdout, said != Described::default());
            said.notes.iter().for_each(|note| self.log(log::Level::Warn, note));
            self.description = Some(said);
            return Ok(());
        }
        let mut notes = mistakes;
        let mut in_force = match before {
            Some(before) => {
                notes.push(message!("what it said of itself before counts meanwhile"));
                before
            }
            None => said,
        };
        notes.push(message!(
            "once `describe` is corrected, restart the service, or wait for an hour: it is asked again"
        ));
        if self.mistakes.as_ref().is_none_or(|(_, known)| *known != notes) {
            notes.iter().for_each(|note| self.log(log::Level::Warn, note));
        }
        notes.extend(std::mem::take(&mut in_force.notes));
        in_force.notes.clone_from(&notes);
        self.mistakes = Some((Instant::now(), notes));
        self.description = Some(in_force);
        Ok(())
    }

    /// Where what it said is kept: beside its directory, which may be another user's.
    fn place_of_description(program: &Program) -> Option<PathBuf> {
        let mut place = program.state.clone()?.into_os_string();
        place.push(".describe");
        Some(place.into())
    }

    /// As the first line of that file: what another command said is worth nothing.
    fn of_command(&self) -> String {
        format!("# {:?}\n", self.settings.command)
    }

    /// What it said the last time that it was understood.
    fn said_before(&self, program: &Program) -> Option<Described> {
        let file = std::fs::File::open(Self::place_of_description(program)?).ok()?;
        let mut text = Vec::new();
        file.take(2 * DESCRIPTION as u64).read_to_end(&mut text).ok()?;
        let (said, mistakes) = describe::read(text.strip_prefix(self.of_command().as_bytes())?).ok()?;
        mistakes.is_empty().then_some(said)
    }

    /// Keeps what it said for a time when it says something wrong. A disk that is full must not hinder measuring.
    fn keep(&self, program: &Program, text: &[u8], is_something: bool) {
        let Some(place) = Self::place_of_description(program) else { return };
        let kept = if is_something {
            let aside = place.with_extension("describe.new");
            write(&aside, &place, &[self.of_command().as_bytes(), text].concat())
        } else {
            std::fs::remove_file(&place)
        };
        match kept {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                let text = message!("{}: cannot be written: {}", place.display().to_string(), error.said());
                self.log(log::Level::Debug, &text);
            }
            _ => {}
        }
    }

    /// Whether a measurement may be left out for the sake of a description: not again and again, and not if the next one is far.
    fn may_wait(&self) -> bool {
        let is_soon = self.place.as_ref().is_none_or(|place| place.period <= SOON);
        is_soon && self.unanswered.is_none_or(|(_, times)| times < TRIES)
    }

    /// There was no answer to `describe`.
    fn without_answer(&mut self, program: &Program, why: Message) -> Result<(), Message> {
        let times = self.unanswered.map_or(1, |(_, times)| times.saturating_add(1));
        self.unanswered = Some((Instant::now(), times));
        if self.may_wait() {
            return Err(message!("asked what it is (`describe`): {}; it is asked again the next time", why));
        }
        self.before = self.said_before(program);
        let text = message!("it is measured without an answer to `describe` (describe = false spares asking): {}", why);
        self.log(log::Level::Warn, &text);
        Ok(())
    }
}
