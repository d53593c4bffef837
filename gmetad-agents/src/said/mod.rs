//! What others say (the system, the libraries), in templates that can be translated. What is not known is quoted in a sentence of
//! ours.

mod rrd;
mod start;
mod system;
mod tls;
pub(crate) mod toml;
mod words;

use gmetad_core::agent::{AgentError, Message};
use gmetad_core::message;
use gmetad_process::child::Ended;
use gmetad_process::mail::clean;
use gmetad_process::run::Cut;

pub use words::of_crates;
pub(crate) use words::text;

/// Characters of a foreign text that are quoted.
const LONGEST: usize = 500;

/// An error of somebody else's.
pub trait Said {
    /// It as a message.
    fn said(&self) -> Message;
}

/// Why an agent has not measured; a text that is not known is the agent's own, and stays.
pub fn by_agent(error: AgentError) -> Message {
    match error.downcast::<Message>() {
        Ok(message) => *message,
        Err(error) => match error.downcast_ref::<std::io::Error>() {
            Some(io) => io.said(),
            None => clean(error.to_string().trim(), LONGEST).into(),
        },
    }
}

/// Somebody's own words, in quotes.
pub(crate) fn quoted(text: &str) -> Message {
    message!("\"{}\"", clean(text.trim(), LONGEST))
}

/// A text with `…` for the name and the password that stand before the host of its URL.
pub(crate) fn without_credentials(text: &str) -> String {
    let Some((before, rest)) = text.split_once("://") else { return text.to_owned() };
    let authority = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    match rest[..authority].rfind('@') {
        Some(at) => format!("{before}://…{}", &rest[at..]),
        None => text.to_owned(),
    }
}

/// How a program ended.
pub fn ended(ended: Ended) -> Message {
    match ended {
        Ended::Exit(status) => message!("exit status {}", status),
        Ended::Signal(signal) => message!("ended by the signal {}", signal.as_str()),
    }
}

/// It ended well, and there is nothing to be read.
pub(crate) fn nothing() -> Message {
    message!("the program said nothing")
}

/// Why a program was ended.
pub(crate) fn cut(cut: Cut) -> Message {
    match cut {
        Cut::Late(time) => message!("it took longer than {} s", (time.as_secs_f64() * 100.0).round() / 100.0),
        Cut::Much(bytes) => message!("it wrote more than {} bytes", bytes),
        Cut::Stopped => message!("the run was stopped"),
    }
}
