//! The time where the machine stands.

pub use crate::sys::{LocalTime, local_time};
