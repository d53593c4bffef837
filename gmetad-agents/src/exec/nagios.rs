//! Checks for Nagios and its kin (monitoring-plugins): the exit status judges, the first line says why, performance data are
//! the fields.
//!
//! ```
//! use gmetad_agents::exec::{Ended, nagios};
//!
//! let reading = nagios::read(Ended::Exit(1), b"PING WARNING - RTA = 140 ms|rta=140ms;100;500;0 pl=0%;20;60;0\n");
//! assert_eq!(reading.measurement.get_number("rta"), Some(0.14)); // seconds
//! assert_eq!(reading.measurement.status().map(|status| status.to_string()).as_deref(), Some("Warn: PING WARNING - RTA = 140 ms"));
//! ```

use gmetad_core::agent::{Element, Message, State, Status};
use gmetad_core::message;
use gmetad_process::child::Ended;

use super::names;
use super::perfdata;
use super::reading::{Reading, Values};
use super::said;

/// Reads the answer of a check. It never fails: what is not understood is in the notes.
pub fn read(ended: Ended, output: &[u8]) -> Reading {
    let output = names::lossy(output);
    let Parts { message, long, perfdata } = parts(&output);
    let (mut values, mut notes) = (Values::default(), Vec::new());
    for datum in perfdata.iter().flat_map(|text| perfdata::parse(text)) {
        match datum {
            Ok(datum) => values.put_number(None, datum.field(), datum.value),
            Err(word) if notes.len() < 5 => {
                notes.push(message!("\"{}\" is no performance data", names::line(word)));
            }
            Err(_) => {}
        }
    }
    let mut reading = values.reading(notes);
    let message = names::line(message);
    let said = |state| Status::new(state, message.clone());
    let status = match ended {
        Ended::Exit(0) => said(State::Ok),
        Ended::Exit(1) => said(State::Warn),
        Ended::Exit(2) => said(State::Error),
        Ended::Exit(3) => said(State::Unknown),
        other => Status::new(State::Unknown, not_of_a_check(other, &message)),
    };
    reading.measurement = reading.measurement.judged(status);
    let long = names::shown(&long.join("\n"), names::TEXT);
    if !long.is_empty() {
        reading.measurement = reading.measurement.element(Element::Text(long.into()));
    }
    reading
}

fn not_of_a_check(ended: Ended, said: &str) -> Message {
    message!(
        "{}, which no check may have (0 OK, 1 warning, 2 critical, 3 unknown); it said: {}",
        said::ended(ended),
        said
    )
}

#[derive(Debug, Default)]
struct Parts<'a> {
    message: &'a str,
    long: Vec<&'a str>,
    perfdata: Vec<&'a str>,
}

/// The first line is the message; after its `|` there are performance data, as in all lines after the next `|`; lines between
/// are the long text.
fn parts(output: &str) -> Parts<'_> {
    let mut parts = Parts::default();
    let mut only_data = false;
    for (number, line) in output.lines().enumerate() {
        let (text, data) = match line.split_once('|') {
            _ if only_data => ("", line),
            // Texts may have a `|` of their own.
            Some((text, data)) if data.contains('=') || data.trim().is_empty() => (text, data),
            _ => (line, ""),
        };
        if number == 0 {
            parts.message = text;
        } else {
            only_data |= text.len() < line.len();
            parts.long.push(text);
        }
        if !data.is_empty() {
            parts.perfdata.push(data);
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn status(reading: &Reading) -> String {
        reading.measurement.status().map(ToString::to_string).unwrap_or_default()
    }

    #[test]
    fn message_long_text_and_data() {
        let output = "DISK OK - free | /=10MB;20;30;0;40\nfirst\nsecond | 'C:\\ x'=1%\n/tmp=3KB\n";
        let reading = read(Ended::Exit(0), output.as_bytes());
        assert_eq!(status(&reading), "OK: DISK OK - free");
        let fields: Vec<_> = reading.measurement.fields().map(|(name, _)| name.to_owned()).collect();
        assert_eq!(fields, ["root-29622bb2", "C_x-6f14820f", "tmp-34b35e47"]);
        assert_eq!(reading.measurement.get_number("tmp-34b35e47"), Some(3072.0));
        assert_eq!(reading.measurement.elements(), [Element::Text("first\nsecond".into())]);
    }

    #[test]
    fn a_bar_in_a_text_is_no_data() {
        let reading = read(Ended::Exit(1), b"careful | really");
        assert_eq!((status(&reading).as_str(), reading.measurement.fields().len()), ("Warn: careful | really", 0));
        assert_eq!(status(&read(Ended::Exit(2), b"a |\n")), "Error: a");
    }

    #[test]
    fn statuses_that_no_check_has() {
        let unknown = "which no check may have (0 OK, 1 warning, 2 critical, 3 unknown); it said: x";
        assert_eq!(status(&read(Ended::Exit(127), b"x")), format!("Unknown: exit status 127, {unknown}"));
        let killed = read(Ended::Signal(gmetad_process::child::Signal::SIGSEGV), b"x");
        assert_eq!(status(&killed), format!("Unknown: ended by the signal SIGSEGV, {unknown}"));
        assert_eq!(status(&read(Ended::Exit(3), b"")), "Unknown");
    }

    #[test]
    fn a_check_gone_wild_is_bounded() {
        let many: String = (0..5000).map(|n| format!(" f{n}=1")).collect();
        let reading = read(Ended::Exit(0), format!("x|{many}").as_bytes());
        assert_eq!(reading.measurement.fields().len(), names::FIELDS);
        assert!(reading.described.notes[0].to_string().starts_with("4500 values are left out"));
        let broken = read(Ended::Exit(0), &[b"\x1b[2J\xff\xfe|a=1 ", &[0, 7, 255][..], b"=2"].concat());
        assert_eq!(broken.measurement.get_number("a"), Some(1.0));
        assert_eq!(status(&broken), "OK: [2J\u{fffd}\u{fffd}");
    }

    proptest! {
        #[test]
        fn no_output_panics(output in any::<Vec<u8>>(), near in "[a-c'=|;:@~0-9.%sUB \n]{0,80}", exit in -1i32..300) {
            for output in [&output[..], near.as_bytes()] {
                let reading = read(Ended::Exit(exit), output);
                prop_assert!(reading.measurement.status().is_some());
            }
        }
    }
}
