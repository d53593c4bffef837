//! How a message looks: escaping, lengths, and the line of each target. Pure functions.

use std::fmt::{self, Write};
use std::time::{Instant, SystemTime};

use log::Level;

use crate::sys::{LocalTime, local_time};

/// Longest text of one message in bytes. With any prefix it stays below 4096, which a pipe takes whole or not at all.
pub(crate) const MAX_TEXT: usize = 3500;

const DAYS: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// Syslog facility "user".
const FACILITY: u8 = 1 << 3;

/// When something was said, in both clocks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stamp {
    pub(crate) instant: Instant,
    pub(crate) local: LocalTime,
}

impl Stamp {
    pub(crate) fn now() -> Self {
        Stamp { instant: Instant::now(), local: local_time(SystemTime::now()) }
    }
}

/// The message as one printable line: control characters and those that reorder or break lines are escaped as Rust
/// writes them (`\n`, `\u{1b}`), long texts end in `…`.
pub(crate) fn text(message: fmt::Arguments<'_>) -> String {
    let mut line = OneLine(String::new());
    if line.write_fmt(message).is_err() {
        line.0.push('…');
    }
    line.0
}

struct OneLine(String);

impl Write for OneLine {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        for c in part.chars() {
            if self.0.len() >= MAX_TEXT {
                return Err(fmt::Error); // stops the formatting, however long the rest is
            }
            let hostile = c.is_control() || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
            if hostile { self.0.extend(c.escape_default()) } else { self.0.push(c) }
        }
        Ok(())
    }
}

/// The syslog severity.
pub(crate) fn severity(level: Level) -> u8 {
    match level {
        Level::Error => 3,
        Level::Warn => 4,
        Level::Info => 6,
        Level::Debug | Level::Trace => 7,
    }
}

/// For a terminal: the text alone, as the C daemon prints it. For the journal: with its `<N>` prefix.
pub(crate) fn stderr_line(journal: bool, level: Level, text: &str) -> String {
    if journal { format!("<{}>{text}\n", severity(level)) } else { format!("{text}\n") }
}

/// The datagram the C library sends: `<14>Nov  1 09:05:00 gmetad[17]: text`.
pub(crate) fn syslog_line(at: &LocalTime, ident: &str, pid: u32, level: Level, text: &str) -> String {
    let month = MONTHS.get(at.month).unwrap_or(&MONTHS[0]);
    let (day, hour, minute, second) = (at.day, at.hour, at.minute, at.second);
    let priority = FACILITY | severity(level);
    format!("<{priority}>{month} {day:>2} {hour:02}:{minute:02}:{second:02} {ident}[{pid}]: {text}")
}

/// The line of gmetad-python's log file: `Sat, 21 Nov 2026 19:15:25 ERROR    text`, in local time.
pub(crate) fn file_line(at: &LocalTime, level: Level, text: &str) -> String {
    let name = match level {
        Level::Error => "ERROR",
        Level::Warn => "WARNING",
        Level::Info => "INFO",
        Level::Debug | Level::Trace => "DEBUG",
    };
    let weekday = DAYS.get(at.weekday).unwrap_or(&DAYS[0]);
    let month = MONTHS.get(at.month).unwrap_or(&MONTHS[0]);
    let (day, year, hour, minute, second) = (at.day, at.year, at.hour, at.minute, at.second);
    format!("{weekday}, {day:02} {month} {year} {hour:02}:{minute:02}:{second:02} {name:<8} {text}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: LocalTime = LocalTime { year: 2026, month: 10, day: 1, weekday: 0, hour: 9, minute: 5, second: 0 };

    #[test]
    fn lines() {
        assert_eq!(syslog_line(&AT, "gmetad", 17, Level::Info, "x"), "<14>Nov  1 09:05:00 gmetad[17]: x");
        assert_eq!(syslog_line(&AT, "./gmetad", 1, Level::Error, "x"), "<11>Nov  1 09:05:00 ./gmetad[1]: x");
        assert_eq!(file_line(&AT, Level::Warn, "x"), "Sun, 01 Nov 2026 09:05:00 WARNING  x\n");
        assert_eq!(stderr_line(false, Level::Error, "x"), "x\n");
        assert_eq!(stderr_line(true, Level::Debug, "x"), "<7>x\n");
    }

    #[test]
    fn hostile_names_cannot_forge_lines() {
        assert_eq!(
            text(format_args!("[{}]", "a\nb\r\u{1b}[2J\0\u{85}\u{202e}é")),
            "[a\\nb\\r\\u{1b}[2J\\u{0}\\u{85}\\u{202e}é]"
        );
    }

    #[test]
    fn long_texts_are_cut() {
        let long = text(format_args!("{}", "é".repeat(1_000_000)));
        assert!(long.len() <= MAX_TEXT + 4 && long.ends_with("é…"), "{}", long.len());
        assert!(text(format_args!("{}", "\u{202e}".repeat(9999))).len() < MAX_TEXT + 16);
    }
}
