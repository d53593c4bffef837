//! Times and durations for people, in the time zone of the machine.

use std::time::{Duration, UNIX_EPOCH};

use gmetad_core::message;
use gmetad_core::model::UnixTime;
use gmetad_process::clock::{LocalTime, local_time};
use maud::{Markup, html};

use crate::lang::Lang;
pub(super) use crate::lang::units::span;

fn local(time: UnixTime) -> LocalTime {
    let since = Duration::from_secs(time.clamp(0, 253_402_300_799).cast_unsigned());
    local_time(UNIX_EPOCH + since)
}

/// Date and time in full.
pub(super) fn stamp(lang: Lang, time: UnixTime) -> String {
    let LocalTime { year, month, day, hour, minute, second, .. } = local(time);
    let month = month + 1;
    match lang {
        Lang::English => format!("{year}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}"),
        Lang::French => format!("{day:02}/{month:02}/{year} {hour:02}:{minute:02}:{second:02}"),
    }
}

/// The time, with the date unless that is today, and with the year unless that is this one.
pub(super) fn brief(lang: Lang, time: UnixTime, now: UnixTime) -> String {
    let (then, today) = (local(time), local(now));
    let LocalTime { year, month, day, hour, minute, .. } = then;
    let month = month + 1;
    if (then.year, then.month, then.day) == (today.year, today.month, today.day) {
        return format!("{hour:02}:{minute:02}");
    }
    match (lang, year == today.year) {
        (Lang::English, true) => format!("{month:02}-{day:02} {hour:02}:{minute:02}"),
        (Lang::English, false) => format!("{year}-{month:02}-{day:02}"),
        (Lang::French, true) => format!("{day:02}/{month:02} {hour:02}:{minute:02}"),
        (Lang::French, false) => format!("{day:02}/{month:02}/{year}"),
    }
}

/// The same with seconds where there is a time of the day.
pub(super) fn precise(lang: Lang, time: UnixTime, now: UnixTime) -> String {
    let text = brief(lang, time, now);
    if text.contains(':') { format!("{text}:{:02}", local(time).second) } else { text }
}

/// How long ago.
pub(super) fn ago(lang: Lang, time: UnixTime, now: UnixTime) -> String {
    if time > now {
        // Clocks of clients and ours are the same one, but it may have been set back.
        return lang.message(&message!("in {}", span(lang, time.saturating_sub(now))));
    }
    lang.message(&message!("{} ago", span(lang, now.saturating_sub(time))))
}

/// A text that stands for a time, which is told in full where it is pointed at.
pub(super) fn element(lang: Lang, time: UnixTime, text: &str) -> Markup {
    let LocalTime { year, month, day, hour, minute, second, .. } = local(time);
    let machine = format!("{year:04}-{:02}-{day:02}T{hour:02}:{minute:02}:{second:02}", month + 1);
    html! { time datetime=(machine) title=(stamp(lang, time)) { (text) } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_two_units() {
        for (seconds, english) in [
            (-5, "0 s"),
            (59, "59 s"),
            (60, "1 min"),
            (61, "1 min 1 s"),
            (3599, "59 min"),
            (3600, "1 h"),
            (7500, "2 h 5 min"),
            (90_000, "1 d 1 h"),
            (86_400 * 400 + 5, "400 d"),
            (i64::MAX, "106751991167300 d"),
        ] {
            assert_eq!(span(Lang::English, seconds), english, "{seconds}");
        }
        assert_eq!(span(Lang::French, 90_000), "1 j 1 h");
        assert_eq!(ago(Lang::French, 10, 70), "il y a 1 min");
        assert_eq!(ago(Lang::English, 70, 10), "in 1 min");
        let _ =
            (ago(Lang::English, i64::MIN, i64::MAX), stamp(Lang::French, i64::MIN), brief(Lang::French, i64::MAX, 0));
    }

    #[test]
    fn seconds_follow_a_time_of_the_day() {
        // Hours are those of the machine.
        let now = 1_795_352_058;
        assert_eq!(precise(Lang::English, now - 1, now), brief(Lang::English, now - 1, now) + ":17");
        assert_eq!(precise(Lang::French, 0, now), brief(Lang::French, 0, now), "a date");
    }
}
