//! Stock agents.

pub(super) const TEXTS: &[(&str, &str)] = &[];
