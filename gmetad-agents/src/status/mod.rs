//! Statuses: thresholds, debouncing, age, dependencies. No I/O, no clock.

mod range;

pub use range::{Range, RangeError};
