//! Stock agents.

use crate::kind::Kind;

/// The stock kinds.
pub const KINDS: &[Kind] = &[];
