//! Schedule, statuses, configuration, command line.

pub(super) const TEXTS: &[(&str, &str)] = &[];
