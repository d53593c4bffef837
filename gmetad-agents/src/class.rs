//! The classes of agents: what is kept and shown of any [`Agent`].
//!
//! ```
//! # use gmetad_core::agent::{Agent, AgentError, Context, Measurement};
//! # struct Load;
//! # impl Agent for Load {
//! #     fn name(&self) -> &str { "load" }
//! #     fn measure(&mut self, _: &Context) -> Result<Measurement, AgentError> { Ok(Measurement::new().number("one", 0.5)) }
//! # }
//! use gmetad_agents::{Installed, RrdAgent, TableAgent};
//!
//! let simple = Installed::new(Load); // its last measurement
//! let table: Installed = TableAgent::new(Load, 60).into(); // the last 60, as a table
//! let graphs: Installed = RrdAgent::new(Load).into(); // RRD files and a graph of each numeric field
//! ```

use gmetad_core::agent::{Agent, AgentError, Context, History, Measurement, Message, State, Status};

use crate::spec::{Graph, Graphs, Installed, Keep};

/// An agent with RRD files and graphs of its numeric fields.
#[derive(Debug)]
pub struct RrdAgent<A> {
    agent: A,
    graphs: Graphs,
}

impl<A: Agent + 'static> RrdAgent<A> {
    /// A file for each numeric field, and a graph for each unit.
    pub fn new(agent: A) -> Self {
        Self { agent, graphs: Graphs::default() }
    }

    /// Files, archives and graphs as given.
    #[must_use]
    pub fn with(mut self, graphs: Graphs) -> Self {
        self.graphs = graphs;
        self
    }

    /// Another graph.
    #[must_use]
    pub fn graph(mut self, graph: Graph) -> Self {
        self.graphs.graphs.push(graph);
        self
    }
}

impl<A: Agent + 'static> From<RrdAgent<A>> for Installed {
    fn from(RrdAgent { agent, graphs }: RrdAgent<A>) -> Self {
        let mut installed = Self::new(agent);
        installed.spec.keep = Keep::Rrd(graphs);
        installed
    }
}

/// An agent that measures several things of a kind, each with the same RRD files and graphs: what its measurements have as
/// instances. They may come and go.
pub type MultiRrdAgent<A> = RrdAgent<A>;

/// An agent whose last measurements are shown as a table.
#[derive(Debug)]
pub struct TableAgent<A> {
    agent: A,
    rows: usize,
}

impl<A: Agent + 'static> TableAgent<A> {
    /// With that many rows.
    pub fn new(agent: A, rows: usize) -> Self {
        Self { agent, rows }
    }
}

impl<A: Agent + 'static> From<TableAgent<A>> for Installed {
    fn from(TableAgent { agent, rows }: TableAgent<A>) -> Self {
        let mut installed = Self::new(agent);
        installed.spec.keep = Keep::Table { rows };
        installed
    }
}

/// Stands for a configuration that could not be loaded, and is in Error for as long as it is there.
#[derive(Debug)]
pub struct LoadErrorAgent {
    name: String,
    error: Message,
}

impl LoadErrorAgent {
    /// `name` as by [`crate::spec::Spec::name`], made of the file's; `error` names the file, the place and the remedy.
    pub fn new(name: impl Into<String>, error: impl Into<Message>) -> Self {
        Self { name: name.into(), error: error.into() }
    }
}

impl Agent for LoadErrorAgent {
    fn name(&self) -> &str {
        &self.name
    }

    fn measure(&mut self, _context: &Context) -> Result<Measurement, AgentError> {
        Ok(Measurement::new())
    }

    fn check_status(&self, _history: &History<'_>) -> Status {
        Status::new(State::Error, self.error.clone())
    }
}
