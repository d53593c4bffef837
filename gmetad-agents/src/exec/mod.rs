//! Agents in any language: executables.

use crate::kind::Kind;

/// The kinds that run executables.
pub const KINDS: &[Kind] = &[];
