//! What is wrong with the disk: said once for each cause, and when it is over.

use std::collections::{BTreeMap, BTreeSet};

use gmetad_core::agent::Message;
use gmetad_core::message;
use gmetad_rrd::{RrdError, UpdateError};

use crate::said::Said;

/// Seconds by which a measurement may come before the last one of its file without a word: clocks are corrected.
const SET_BACK: i64 = 60;

/// Causes, and the agents that suffer from each.
#[derive(Debug, Default)]
pub(super) struct Trouble(BTreeMap<Message, BTreeSet<String>>);

impl Trouble {
    /// An agent's data could not be written; true if that is to be said.
    pub(super) fn enter(&mut self, cause: &Message, agent: &str) -> bool {
        let is_new = !self.0.contains_key(cause);
        self.0.entry(cause.clone()).or_default().insert(agent.to_owned());
        is_new
    }

    /// All of an agent's data were written, or it is no more. What is to be said: the causes that are over.
    pub(super) fn leave(&mut self, agent: &str) -> Vec<Message> {
        let mut over = Vec::new();
        self.0.retain(|cause, agents| {
            if agents.remove(agent) && agents.is_empty() {
                over.push(message!("data of agents are written again: \"{}\" is over", cause.clone()));
            }
            !agents.is_empty()
        });
        over
    }
}

/// The cause of a file's error; `None`: it is none worth a word.
pub(super) fn of_rrd(error: &RrdError) -> Option<Message> {
    match error {
        // Two measurements in the same second: what is there stays.
        RrdError::Refused { source: UpdateError::Past { time, last }, .. } => {
            (last.saturating_sub(*time) > SET_BACK).then(|| message!("the clock was set back"))
        }
        RrdError::Io { source, .. } => Some(source.said()),
        RrdError::Locked { .. } => Some(message!("locked by another program")),
        // Of the file itself.
        other => Some(other.said()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_said_once_and_when_it_is_over() {
        let mut trouble = Trouble::default();
        let full = Message::from("full");
        assert_eq!(["a", "b", "a"].map(|agent| trouble.enter(&full, agent)), [true, false, false]);
        assert!(trouble.leave("a").is_empty() && trouble.leave("c").is_empty());
        let over: Vec<String> = trouble.leave("b").iter().map(Message::to_string).collect();
        assert_eq!(over, ["data of agents are written again: \"full\" is over"]);
        assert!(trouble.enter(&full, "a"));
    }
}
