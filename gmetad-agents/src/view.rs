//! What is known of an agent at a moment: everything a page, an answer or an archive says of it.

use std::sync::Arc;

use gmetad_core::agent::{Measurement, Message, Status};
use gmetad_core::model::UnixTime;
use serde::{Deserialize, Serialize};

use crate::spec::Spec;
use crate::status::{Streaks, stale};

/// Most changes of status that are remembered of an agent.
pub const CHANGES: usize = 100;

/// An agent at a moment. Immutable; the next measurement makes a new one. Serialised it is the agent's file on the disk, from
/// which the page can be made without the agent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AgentView {
    /// What it is.
    pub spec: Arc<Spec>,
    /// What is shown: after debouncing, age and dependencies.
    pub status: Status,
    /// Since when it has this state.
    pub since: UnixTime,
    /// Its own judgement, dependencies apart.
    pub own: Status,
    /// The worst since [`crate::Monitor::reset_max`].
    pub max: Status,
    /// When that was.
    pub max_at: UnixTime,
    /// The last measurement that succeeded.
    pub last: Option<Taken>,
    /// Those before it, newest first: one, or the rows of a table.
    #[serde(default)]
    pub before: Vec<Taken>,
    /// The last changes of state, newest first; [`CHANGES`] at most.
    #[serde(default)]
    pub changes: Vec<Change>,
    /// Measurements that succeeded.
    #[serde(default)]
    pub measured: u64,
    /// Measurements that failed, panicked or took too long.
    #[serde(default)]
    pub failed: u64,
    /// Times the agent was due while it was still measuring.
    #[serde(default)]
    pub skipped: u64,
    /// Why the last measurement failed, if it did, and when.
    #[serde(default)]
    pub failure: Option<(UnixTime, Message)>,
    /// When the measurement that is under way began.
    #[serde(default)]
    pub running: Option<UnixTime>,
    /// When it is due next.
    #[serde(default)]
    pub next: UnixTime,
    /// Requirements that do not exist, and the like.
    #[serde(default)]
    pub notes: Vec<Message>,
    /// Somebody knows of the present state; ends with it.
    #[serde(default)]
    pub acknowledged: Option<Acknowledged>,
    /// Until when nobody is to be told of it.
    #[serde(default)]
    pub silenced: Option<UnixTime>,
    /// A mail about its present Error went, and none yet that it is over.
    #[serde(default)]
    pub told: bool,
    /// Bad results in a row, so that a restart does not begin to count anew.
    #[serde(default, skip_serializing_if = "Streaks::is_empty")]
    pub streaks: Streaks,
}

impl AgentView {
    /// It only stood for configuration that could not be loaded, and not for an agent with a past.
    pub(crate) fn is_stand_in(&self) -> bool {
        self.spec.load_error && self.last.is_none() && self.before.is_empty()
    }

    /// Of an agent of which nothing is known.
    pub(crate) fn fresh(spec: Arc<Spec>, now: UnixTime) -> Self {
        let status = stale(None, None);
        Self {
            spec,
            own: status.clone(),
            max: status.clone(),
            status,
            since: now,
            max_at: now,
            last: None,
            before: Vec::new(),
            changes: Vec::new(),
            measured: 0,
            failed: 0,
            skipped: 0,
            failure: None,
            running: None,
            next: now,
            notes: Vec::new(),
            acknowledged: None,
            silenced: None,
            told: false,
            streaks: Streaks::default(),
        }
    }
}

/// A measurement and its time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Taken {
    /// When it began.
    pub time: UnixTime,
    /// How long it took, in seconds.
    pub took: f64,
    /// What was found.
    pub measurement: Arc<Measurement>,
}

/// A change of state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// When.
    pub time: UnixTime,
    /// To what.
    pub status: Status,
}

/// Who knows of a state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Acknowledged {
    /// When.
    pub time: UnixTime,
    /// Who, as that person said.
    pub by: String,
    /// Why, or what is being done.
    pub comment: String,
}
