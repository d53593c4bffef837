//! What receivers are told.

use std::sync::Arc;

use gmetad_core::model::UnixTime;
use gmetad_process::mail::clean;

use super::config::Rule;

/// What one rule has to say of one cluster after one poll.
#[derive(Debug)]
pub(crate) struct Notice {
    pub(crate) rule: Arc<Rule>,
    pub(crate) cluster: String,
    pub(crate) source: Arc<str>,
    /// Never empty.
    pub(crate) events: Vec<Event>,
}

/// Why something is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// It began.
    Fires,
    /// It goes on.
    Repeats,
    /// It ended, for this reason.
    Recovered(&'static str),
}

/// One alert that began, goes on or ended. Names and values are as they came from the network.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    pub(crate) kind: Kind,
    /// Empty for a cluster.
    pub(crate) host: Box<str>,
    /// Empty where the rule is not about a metric.
    pub(crate) metric: Box<str>,
    pub(crate) value: Box<str>,
    pub(crate) units: Box<str>,
    pub(crate) since: UnixTime,
    /// Now.
    pub(crate) time: UnixTime,
}

impl Event {
    pub(crate) fn is_over(&self) -> bool {
        matches!(self.kind, Kind::Recovered(_))
    }
}

impl Notice {
    /// The rule's message for an event, its variables filled in.
    pub(crate) fn message(&self, event: &Event) -> String {
        let mut out = String::with_capacity(self.rule.message.len() + 40);
        let mut rest = self.rule.message.as_str();
        while let Some(at) = rest.find('$') {
            out.push_str(&rest[..at]);
            rest = &rest[at + 1..];
            let end = rest.bytes().take_while(|b| b.is_ascii_alphanumeric() || *b == b'_').count();
            let value: &str = match &rest[..end] {
                "val" => &event.value,
                "name" => &event.metric,
                "units" => &event.units,
                "host" => &event.host,
                "cluster" => &self.cluster,
                "source" => &self.source,
                "severity" => &self.rule.severity,
                other => {
                    // Anything else may be a price.
                    out.push('$');
                    other
                }
            };
            out.push_str(&clean(value, LONGEST_VALUE));
            rest = &rest[end..];
        }
        out.push_str(rest);
        clean(&out, LONGEST_MESSAGE)
    }
}

/// Characters of a name or a value that are shown.
pub(crate) const LONGEST_VALUE: usize = 200;
/// Characters of a message that are shown.
const LONGEST_MESSAGE: usize = 4000;
