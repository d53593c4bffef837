//! Results in a row: what a single bad one does not show yet.

use gmetad_core::agent::{Message, State, Status};
use serde::{Deserialize, Serialize};

/// How many results in a row were at least as bad as each state.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Streak {
    counts: [u32; State::ALL.len()],
    /// What was last said in each state.
    said: [Message; State::ALL.len()],
}

impl Streak {
    /// Another result.
    pub(super) fn push(&mut self, status: &Status) {
        for state in State::ALL {
            let count = &mut self.counts[state as usize];
            *count = if status.state >= state { count.saturating_add(1) } else { 0 };
        }
        self.said[status.state as usize] = status.message.clone();
    }

    /// The mildest of the last `results` ones (0 counts as 1); `None` while there are fewer.
    pub(super) fn confirmed(&self, results: u32) -> Option<Status> {
        let state = State::ALL.into_iter().rev().find(|state| self.counts[*state as usize] >= results.max(1))?;
        // Not all of them were worse than this state, so one was exactly that, and it was the last to say something there.
        Some(Status::new(state, self.said[state as usize].clone()))
    }

    /// Results in a row at least as bad as that.
    pub(super) fn count(&self, state: State) -> u32 {
        self.counts[state as usize]
    }

    /// Whether the last result was anything but OK: only then there is something to remember.
    pub(super) fn is_bad(&self) -> bool {
        self.counts[State::Dependant as usize] > 0
    }
}

/// All of an agent that is to be remembered over a restart.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Streaks {
    /// Of the agent's own status.
    pub(super) own: Streak,
    /// Of its rules: by their place, and by instance.
    pub(super) rules: Vec<(usize, Option<String>, Streak)>,
}

impl Streaks {
    /// Whether there is nothing to remember.
    pub fn is_empty(&self) -> bool {
        !self.own.is_bad() && self.rules.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_the_mildest_of_the_last(states in prop::collection::vec(0..5usize, 1..12), results in 1..5usize) {
            let mut streak = Streak::default();
            for state in &states {
                streak.push(&Status::new(State::ALL[*state], State::ALL[*state].name()));
            }
            let expected = states.len().checked_sub(results).and_then(|from| states[from..].iter().min());
            let expected = expected.map(|state| Status::new(State::ALL[*state], State::ALL[*state].name()));
            prop_assert_eq!(streak.confirmed(results as u32), expected);
        }
    }
}
