//! Executables and adapters.

pub(super) const TEXTS: &[(&str, &str)] = &[];
