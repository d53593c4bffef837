//! One measurement: a thread that owns the agent until it returns.

use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use gmetad_core::agent::{Agent, Context, History, Measurement, Message, State, Status};
use gmetad_core::message;
use gmetad_core::model::UnixTime;
use gmetad_core::source::Stop;
use gmetad_process::mail::clean;
use parking_lot::Mutex;

use crate::described;
use crate::lang::logged;
use crate::said::{Said, by_agent};
use crate::spec::Spec;
use crate::view::Taken;

/// Characters of what an agent says about its failure.
const LONGEST_REASON: usize = 500;

/// A measurement to be taken.
pub(super) struct Launch {
    pub(super) name: String,
    pub(super) generation: u64,
    pub(super) agent: Box<dyn Agent>,
    pub(super) context: Context,
    pub(super) last: Option<Taken>,
    pub(super) status: Status,
    /// Its spec as configured.
    pub(super) written: Arc<Spec>,
}

/// What became of it.
#[derive(Debug)]
pub(super) enum Outcome {
    /// A measurement, and what the agent thinks of it.
    Taken(Taken, Status),
    /// Why there is none.
    Failed(Message),
}

/// An agent that comes back.
pub(super) struct Return {
    pub(super) name: String,
    pub(super) generation: u64,
    pub(super) agent: Box<dyn Agent>,
    pub(super) outcome: Outcome,
    /// Its spec with what it says of itself, and its remarks, if it measured and says something.
    pub(super) described: Option<(Spec, Vec<Message>)>,
}

/// Takes the measurement on a thread of its own, which calls `done` in the end.
///
/// # Errors
/// There is no thread to be had; `done` was called with that outcome, on this one.
pub(super) fn start(launch: Launch, done: impl Fn(Return) + Send + Sync + 'static) -> io::Result<()> {
    let name = format!("agent {}", launch.name);
    // What cannot be started is dropped with all that it holds, and an agent must not be lost.
    let (launch, done) = (Arc::new(Mutex::new(Some(launch))), Arc::new(done));
    let (theirs, call) = (Arc::clone(&launch), Arc::clone(&done));
    let started = thread::Builder::new().name(name).spawn(move || {
        let launch = theirs.lock().take();
        if let Some(launch) = launch {
            call(measured(launch));
        }
    });
    started.map(drop).inspect_err(|error| {
        let launch = launch.lock().take();
        if let Some(Launch { name, generation, agent, .. }) = launch {
            let outcome = Outcome::Failed(message!("no thread can be started: {}", error.said()));
            done(Return { name, generation, agent, outcome, described: None });
        }
    })
}

fn measured(launch: Launch) -> Return {
    let Launch { name, generation, mut agent, context, last, status, written } = launch;
    let began = Instant::now();
    let outcome = match catch_unwind(AssertUnwindSafe(|| agent.measure(&context))) {
        Ok(Ok(measurement)) => {
            let took = began.elapsed().as_secs_f64();
            let checked = check(&*agent, context.now, &measurement, last.as_ref(), &status);
            Outcome::Taken(Taken { time: context.now, took, measurement: Arc::new(measurement) }, checked)
        }
        Ok(Err(error)) => Outcome::Failed(by_agent(error)),
        Err(panic) => Outcome::Failed(message!("panicked: {}", said(panic))),
    };
    let said = || match &outcome {
        Outcome::Taken(..) => agent.describe().map(|said| (described::under(&written, said), described::remarks(said))),
        Outcome::Failed(_) => None,
    };
    let described = catch_unwind(AssertUnwindSafe(said)).unwrap_or_else(|panic| {
        log::error!("{}", logged(&message!("agent {}: exception during describe: {}", &name, self::said(panic))));
        None
    });
    Return { name, generation, agent, outcome, described }
}

fn check(agent: &dyn Agent, now: UnixTime, measurement: &Measurement, last: Option<&Taken>, status: &Status) -> Status {
    let before = last.map(|taken| (taken.time, &*taken.measurement));
    let history = History { now, last: Some((now, measurement)), before, status };
    catch_unwind(AssertUnwindSafe(|| agent.check_status(&history)))
        .unwrap_or_else(|panic| Status::new(State::Unknown, message!("exception during check_status: {}", said(panic))))
}

/// What a panic said.
fn said(panic: Box<dyn Any + Send>) -> Message {
    let text = match panic.downcast::<String>().map_err(|panic| panic.downcast::<&str>()) {
        Ok(text) => *text,
        Err(Ok(text)) => (*text).to_owned(),
        Err(Err(other)) => {
            // What else it may be could panic when it is dropped.
            std::mem::forget(other);
            return message!("without a text");
        }
    };
    clean(text.trim(), LONGEST_REASON).into()
}

/// Drops an agent on a thread of its own, which calls `done` in the end: its end may take time, panic or hang.
pub(super) fn end(name: &str, agent: Box<dyn Agent>, done: impl FnOnce() + Send + 'static) {
    let kept = Arc::new(Mutex::new(Some((agent, done))));
    let theirs = Arc::clone(&kept);
    let drop_it = move || {
        let Some((agent, done)) = theirs.lock().take() else { return };
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| drop(agent))) {
            let _ = said(panic);
        }
        done();
    };
    if let Err(error) = thread::Builder::new().name(format!("end {name}")).spawn(drop_it) {
        let text = message!("agent {} is not ended properly: no thread can be started: {}", name, error.said());
        log::error!("{}", logged(&text));
        let Some((agent, done)) = kept.lock().take() else { return };
        std::mem::forget(agent);
        done();
    }
}

/// What an agent may know while it measures.
pub(super) fn context(now: UnixTime, deadline: Duration, stop: &Stop) -> Context {
    Context { now, deadline, stop: stop.clone() }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use gmetad_core::agent::AgentError;

    use super::*;

    enum Does {
        Well,
        Fails,
        Panics,
        PanicsTwice,
        PanicsJudging,
        PanicsEnding,
    }

    struct Acts(Does);

    /// What a panic may carry.
    struct Bomb;

    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("once more");
        }
    }

    impl Agent for Acts {
        fn name(&self) -> &str {
            "acts"
        }
        fn measure(&mut self, _: &Context) -> Result<Measurement, AgentError> {
            match self.0 {
                Does::Panics => panic!("no {}", "way"),
                Does::PanicsTwice => std::panic::panic_any(Bomb),
                Does::Fails => Err(message!("{} is away", "it").into()),
                _ => Ok(Measurement::new().number("n", 3.0)),
            }
        }
        fn check_status(&self, history: &History<'_>) -> Status {
            assert!(!matches!(self.0, Does::PanicsJudging), "cannot judge");
            Status::new(State::Ok, history.rate("n").map_or_else(String::new, |rate| rate.to_string()))
        }
    }

    impl Drop for Acts {
        fn drop(&mut self) {
            if matches!(self.0, Does::PanicsEnding) {
                panic!("never");
            }
        }
    }

    fn outcome(does: Does) -> String {
        let before = Measurement::new().number("n", 1.0);
        let launch = Launch {
            name: "acts".to_owned(),
            generation: 7,
            agent: Box::new(Acts(does)),
            context: context(102, Duration::from_secs(1), &Stop::default()),
            last: Some(Taken { time: 100, took: 0.0, measurement: Arc::new(before) }),
            status: Status::default(),
            written: Arc::new(Spec::of(&Acts(Does::Well))),
        };
        let (to, from) = mpsc::channel();
        start(launch, move |back| to.send(back).unwrap()).unwrap();
        let back = from.recv_timeout(Duration::from_secs(20)).unwrap();
        assert_eq!((back.name.as_str(), back.generation), ("acts", 7));
        let (to, from) = mpsc::channel();
        end("acts", back.agent, move || to.send(()).unwrap());
        from.recv_timeout(Duration::from_secs(20)).unwrap();
        match back.outcome {
            Outcome::Taken(taken, status) => format!("{} {status}", taken.measurement.get_number("n").unwrap()),
            Outcome::Failed(reason) => reason.to_string(),
        }
    }

    #[test]
    fn whatever_it_does_the_agent_comes_back() {
        let outcomes =
            [Does::Well, Does::Fails, Does::Panics, Does::PanicsTwice, Does::PanicsJudging, Does::PanicsEnding]
                .map(outcome);
        let expected = [
            "3 OK: 1",
            "it is away",
            "panicked: no way",
            "panicked: without a text",
            "3 Unknown: exception during check_status: cannot judge",
            "3 OK: 1",
        ];
        assert_eq!(outcomes, expected);
    }
}
