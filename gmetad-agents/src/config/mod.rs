//! Configuration: which agents there are, and what the page shows.

/// What `site.cfg` says: which agents the page shows, in what order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Layout {
    /// Names of agents in order; `None`: all are shown, by section, in the order of the configuration.
    pub shown: Option<Vec<String>>,
}
