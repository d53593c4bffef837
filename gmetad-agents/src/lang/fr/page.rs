//! The page.

pub(super) const TEXTS: &[(&str, &str)] = &[];
