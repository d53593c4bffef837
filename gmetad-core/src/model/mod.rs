//! The grid tree as it is kept in memory: read-only views with accessors.
//!
//! A [`Host`] is a shared shape (what seldom changes: names, types, units, `EXTRA_DATA`, already escaped for output)
//! and one block of values. Shapes are shared between polls and between like hosts, so a series costs about two dozen
//! bytes. Nothing here changes after it was published: a poll makes new hosts and shares what stayed the same.

mod build;
mod cluster;
mod host;
mod hosts;
mod intern;
mod metric;
mod number;
mod shape;

pub(crate) use build::{ClusterAttrs, ClusterBuilder, HostAttrs, HostBuilder, PollContext, Room, without_expired};
pub use cluster::{Cluster, Grid};
pub(crate) use host::{Cell, HostDef, HostParts, SeriesIds};
pub use host::{Host, Metric, SeriesId};
pub(crate) use hosts::Hosts;
pub(crate) use intern::{Definition, Interner, summary_def};
pub(crate) use metric::{MetricAttrs, Parts, attribute, extra_elements, render_extra};
pub use metric::{MetricDef, MetricType, Slope};
pub use number::c_number;
pub(crate) use number::{Decimal, c_unsigned, decimals, leading_decimal, leading_digits, write_fixed};
pub(crate) use shape::Shape;

/// Seconds since the epoch on our own clock.
pub type UnixTime = i64;
