//! What a saved tree says beyond Ganglia's XML, so that it can be understood as it was and not as a poll would be.
//!
//! The document of a data source is what [`super::XmlWriter`] prints of its snapshot, without a GRID around it (a GRID
//! inside is one that was polled), and with these two words. Other readers of Ganglia's XML skip them.
//!
//! - A HOST has an attribute [`DOWN`] if it was down at its last poll: a poll finds that out from TN, which has grown since;
//!   and unlike a poll, its metrics are read. It has an attribute [`ABSENT`] if the last poll of its cluster did not have it:
//!   such hosts are shown and not summed.
//! - A tag [`ABSENT`] stands before a METRIC that the last poll of its host did not have. METRICs beyond their DMAX are there,
//!   too: they are not shown, but a cluster that its source no longer has sums them.

/// The host was down.
pub(crate) const DOWN: &str = "DOWN";
/// The last poll did not have it.
pub(crate) const ABSENT: &str = "ABSENT";
