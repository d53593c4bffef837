//! Configuration: which agents there are, and what the page shows.
//!
//! Agents come, in this order, from
//!
//! 1. the kinds themselves: what makes sense on this machine ([`ConfigOptions::defaults`]),
//! 2. `<root>/configs/*.agent`,
//! 3. `<root>/configs/<module>/*.agent`, and of a module with a version (`amon-1.5`) before that `<root>/configs/amon/`,
//! 4. `*.agent` and `*.toml` of each drop-in directory, and of its `modules/<module>/`.
//!
//! Files of a directory are read in the order of their names. An agent that is written down again replaces the earlier one and
//! keeps its place; one without `kind` only changes what it names; `enabled = false` takes it away.
//!
//! Nothing that is wrong with a file keeps the others from being loaded, and nothing vanishes: what cannot be loaded is a
//! [`LoadErrorAgent`](crate::LoadErrorAgent) that says what, where, and what to do. Of broken programs and directories only so
//! much is read, and only so long waited for, as the constants beside the code say.

mod agent;
mod facts;
mod fault;
mod files;
mod load;
mod overlay;
mod python;
mod site;
mod when;
mod written;

pub use facts::Facts;
pub use fault::mistake;
pub use load::{AGENTS, ConfigOptions, Failed, Left, Loaded, check, load};
pub(crate) use written::RangeWritten;
pub use written::{KEYS, Key};

/// What `site.cfg` says: which agents the page shows, in what order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Layout {
    /// Names of agents in order; `None`: all are shown, by section, in the order of the configuration.
    pub shown: Option<Vec<String>>,
}

/// A text of a file as it may stand on a page and in a terminal: without control characters, and without those that turn the
/// direction of writing.
fn visible(text: &str) -> String {
    let turns = |c: char| matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let kept = text.chars().filter(|c| !turns(*c));
    kept.map(|c| if c.is_control() { ' ' } else { c }).collect::<String>().trim().to_owned()
}
