//! What a changer may ask for: plain data, so that it can also come from another program.

use crate::model::{MetricType, UnixTime};

/// A change of a transaction, for the plugins that come later.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// Other attributes of a host that is there.
    Host {
        /// Its NAME.
        host: String,
        /// The attributes.
        set: HostChange,
    },
    /// Other attributes of a metric that is there.
    Metric {
        /// NAME of its host.
        host: String,
        /// Its NAME.
        metric: String,
        /// The attributes.
        set: MetricChange,
    },
    /// A metric more, or instead of the one of that name. A host that is not there is added, too. It must be asked for in
    /// each transaction; its series keeps its id as long as it is.
    Inject {
        /// NAME of its host.
        host: String,
        /// The metric.
        metric: NewMetric,
    },
    /// Takes a host out.
    RemoveHost(String),
    /// Takes a metric out.
    RemoveMetric {
        /// NAME of its host.
        host: String,
        /// Its NAME.
        metric: String,
    },
    /// Another SUM or NUM of a summary metric that is there. Nothing else changes a summary: it is what was polled.
    Summary {
        /// Its NAME.
        metric: String,
        /// SUM.
        sum: Option<f64>,
        /// NUM.
        num: Option<u64>,
    },
}

/// Attributes of a host; `None` stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostChange {
    /// IP.
    pub ip: Option<String>,
    /// LOCATION.
    pub location: Option<String>,
    /// TAGS.
    pub tags: Option<String>,
    /// REPORTED: seconds since the epoch.
    pub reported: Option<u32>,
    /// TN, in seconds.
    pub tn: Option<u32>,
    /// TMAX, in seconds.
    pub tmax: Option<u32>,
    /// DMAX, in seconds; 0 is never.
    pub dmax: Option<u32>,
    /// Whether it counts as up.
    pub up: Option<bool>,
}

/// Attributes of a metric; `None` stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MetricChange {
    /// VAL.
    pub value: Option<String>,
    /// TYPE.
    pub kind: Option<MetricType>,
    /// UNITS.
    pub units: Option<String>,
    /// SLOPE.
    pub slope: Option<String>,
    /// SOURCE.
    pub source: Option<String>,
    /// TN, in seconds.
    pub tn: Option<u32>,
    /// TMAX, in seconds.
    pub tmax: Option<u32>,
    /// DMAX, in seconds; 0 is never.
    pub dmax: Option<u32>,
    /// All `EXTRA_ELEMENT`s: (NAME, VAL).
    pub extra: Option<Vec<(String, String)>>,
}

/// A metric that no source sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewMetric {
    /// NAME.
    pub name: String,
    /// VAL.
    pub value: String,
    /// TYPE.
    pub kind: MetricType,
    /// All else; what is `None` is empty, 0, or for SLOPE `both` and for SOURCE `gmetad`.
    pub rest: MetricChange,
}

impl NewMetric {
    /// A metric without units.
    pub fn new(name: impl Into<String>, value: impl Into<String>, kind: MetricType) -> Self {
        let rest = MetricChange { tmax: Some(60), ..MetricChange::default() };
        Self { name: name.into(), value: value.into(), kind, rest }
    }
}

/// A change that was not made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The transaction has no such host.
    #[error("there is no host \"{0}\"")]
    NoHost(String),
    /// The host has no such metric.
    #[error("host \"{0}\" has no metric \"{1}\"")]
    NoMetric(String, String),
    /// The summary has no such metric.
    #[error("the summary has no metric \"{0}\"")]
    NoSummary(String),
    /// A grid or the root has no hosts.
    #[error("{0} has no hosts, only a summary")]
    NoHosts(&'static str),
    /// A name is empty, or a text has a byte 0.
    #[error("\"{0}\" cannot be a name or value of Ganglia XML")]
    BadText(String),
    /// There would be too much.
    #[error("host \"{0}\" would have more than a host may have")]
    TooMuch(String),
}

/// What an injected host begins with.
pub(super) const NEW_HOST_TMAX: u32 = 20;

pub(super) fn reported(time: UnixTime) -> u32 {
    time.clamp(0, i64::from(u32::MAX)) as u32
}
