//! Where everybody sees how the agents are: one immutable view an agent, replaced as a whole.

use std::path::PathBuf;
use std::sync::Arc;

use gmetad_core::agent::{Message, State};
use gmetad_core::model::UnixTime;
use gmetad_rrd::fetch::Fetched;
use gmetad_rrd::{Cf, RrdError};
use parking_lot::RwLock;

use crate::config::Layout;
use crate::view::{Acknowledged, AgentView};

/// All agents, in the order of the configuration. Reading never waits for a measurement.
#[derive(Debug, Default)]
pub struct Board(RwLock<Contents>);

#[derive(Debug, Default, Clone)]
struct Contents {
    agents: Vec<Arc<AgentView>>,
    layout: Arc<Layout>,
}

impl Board {
    /// All agents, also those that the page does not show.
    pub fn agents(&self) -> Vec<Arc<AgentView>> {
        self.0.read().agents.clone()
    }

    /// The agent of that name.
    pub fn agent(&self, name: &str) -> Option<Arc<AgentView>> {
        self.0.read().agents.iter().find(|agent| agent.spec.name == name).cloned()
    }

    /// The worst state of all, `OK` if there are none.
    pub fn worst(&self) -> State {
        self.0.read().agents.iter().map(|agent| agent.status.state).max().unwrap_or(State::Ok)
    }

    /// Which agents the page shows, and how.
    pub fn layout(&self) -> Arc<Layout> {
        Arc::clone(&self.0.read().layout)
    }

    /// Replaces everything.
    pub fn publish(&self, agents: Vec<Arc<AgentView>>, layout: Arc<Layout>) {
        *self.0.write() = Contents { agents, layout };
    }

    /// Replaces the views of those agents that are there.
    pub fn update(&self, views: impl IntoIterator<Item = impl Into<Arc<AgentView>>>) {
        let mut contents = self.0.write();
        for view in views {
            let view: Arc<AgentView> = view.into();
            if let Some(agent) = contents.agents.iter_mut().find(|agent| agent.spec.name == view.spec.name) {
                *agent = view;
            }
        }
    }
}

/// What may be asked of running agents. [`crate::Monitor`] is one; tests of pages have their own.
pub trait Control: Send + Sync {
    /// Has an agent measure now; returns at once.
    ///
    /// # Errors
    /// Why not: no such agent, it is measuring, it was asked a moment ago.
    fn measure(&self, agent: &str) -> Result<(), Message>;

    /// Somebody knows of the present state (`None`: nobody does); false: no such agent.
    fn acknowledge(&self, agent: &str, who: Option<Acknowledged>) -> bool;

    /// Nobody is to be told of the agent's states until then (`None`: from now on they are); false: no such agent.
    fn silence(&self, agent: &str, until: Option<UnixTime>) -> bool;

    /// What an agent has RRD files of: instance (`None`: itself) and field, sorted.
    fn kept(&self, agent: &str) -> Vec<(Option<String>, String)>;

    /// The RRD file of a field, its data source is called `value`; `None`: no such agent, or the names are impossible.
    fn rrd_file(&self, agent: &str, instance: Option<&str>, field: &str) -> Option<PathBuf>;

    /// Rows between two times (seconds since the epoch), at most `rows` of them; `None`: no such file, or no archive of that
    /// function.
    ///
    /// # Errors
    /// The file cannot be read.
    #[allow(clippy::too_many_arguments, reason = "what a graph needs")]
    fn series(
        &self,
        agent: &str,
        instance: Option<&str>,
        field: &str,
        cf: Cf,
        start: UnixTime,
        end: UnixTime,
        rows: usize,
    ) -> Result<Option<Fetched>, RrdError>;
}
