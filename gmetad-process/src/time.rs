//! Times for people.

use std::time::{Duration, UNIX_EPOCH};

use crate::sys::local_time;

/// A time (seconds since 1970) in the time zone of the system: `2026-11-22 07:45:48`. Before 1970 and where the C library fails:
/// 1970.
pub fn local_text(time: i64) -> String {
    let at = local_time(UNIX_EPOCH + Duration::from_secs(u64::try_from(time).unwrap_or(0).min(253_402_300_799)));
    let (month, day) = (at.month + 1, at.day);
    format!("{:04}-{month:02}-{day:02} {:02}:{:02}:{:02}", at.year, at.hour, at.minute, at.second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_has_its_length_whatever_the_time() {
        // The zone of the machine decides the hours; the seconds are the same in all of them.
        for (time, seconds) in [(-1, ":00"), (0, ":00"), (1_795_329_948, ":48"), (i64::MAX, ":59")] {
            let text = local_text(time);
            assert!(text.len() >= 19 && text.ends_with(seconds), "{text}");
        }
        assert!(local_text(1_795_329_948).starts_with("2026-11-2"));
    }
}
