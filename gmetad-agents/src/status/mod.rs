//! Statuses: thresholds, debouncing, age, dependencies. No I/O, no clock.

mod depend;
mod judge;
mod range;
mod rules;
mod streak;

pub use depend::{Cycle, Depend, Own};
pub use judge::{Judge, STALE_PERIODS, is_stale, name, stale};
pub use range::{Range, RangeError};
pub(crate) use rules::{alert, is_positive, never_negative, of_instance};
pub use streak::Streaks;
