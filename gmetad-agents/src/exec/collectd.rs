//! Lines of collectd's exec plugin: `PUTVAL "host/plugin-instance/type-instance" interval=10 N:1:U` and
//! `PUTNOTIF severity=warning time=1 message="…"`.
//!
//! The field is the last part of the identifier, the instance that of the plugin (`df-root` -> `root`).

use gmetad_core::agent::{Counted, DescribedField, Message, State, Status};
use gmetad_core::message;

use super::names;
use super::reading::{Reading, Values};
use super::said;

/// Types with several values, or whose values are no gauges, of those that scripts use (collectd's types.db).
const TYPES: &[(&str, Counted, &str, &[&str])] = &[
    ("absolute", Counted::Absolute, "1/s", &[]),
    ("bytes", Counted::Gauge, "B", &[]),
    ("counter", Counted::Counter, "1/s", &[]),
    ("cpu", Counted::Derive, "1/s", &[]),
    ("derive", Counted::Derive, "1/s", &[]),
    ("df", Counted::Gauge, "B", &["used", "free"]),
    ("df_complex", Counted::Gauge, "B", &[]),
    ("disk_merged", Counted::Derive, "1/s", &["read", "write"]),
    ("disk_octets", Counted::Derive, "B/s", &["read", "write"]),
    ("disk_ops", Counted::Derive, "1/s", &["read", "write"]),
    ("disk_time", Counted::Derive, "1/s", &["read", "write"]),
    ("duration", Counted::Gauge, "s", &[]),
    ("if_dropped", Counted::Derive, "1/s", &["rx", "tx"]),
    ("if_errors", Counted::Derive, "1/s", &["rx", "tx"]),
    ("if_octets", Counted::Derive, "B/s", &["rx", "tx"]),
    ("if_packets", Counted::Derive, "1/s", &["rx", "tx"]),
    ("io_octets", Counted::Derive, "B/s", &["rx", "tx"]),
    ("latency", Counted::Gauge, "s", &[]),
    ("load", Counted::Gauge, "", &["shortterm", "midterm", "longterm"]),
    ("memory", Counted::Gauge, "B", &[]),
    ("operations", Counted::Derive, "1/s", &[]),
    ("percent", Counted::Gauge, "%", &[]),
    ("ps_count", Counted::Gauge, "", &["processes", "threads"]),
    ("ps_cputime", Counted::Derive, "1/s", &["user", "syst"]),
    ("requests", Counted::Gauge, "1/s", &[]),
    ("response_time", Counted::Gauge, "s", &[]),
    ("swap", Counted::Gauge, "B", &[]),
    ("temperature", Counted::Gauge, "°C", &[]),
    ("total_bytes", Counted::Derive, "B/s", &[]),
    ("uptime", Counted::Gauge, "s", &[]),
];

/// Reads all lines; of an identifier that comes twice the last counts. The status is the worst of the notifications.
///
/// # Errors
/// No line of it is one of collectd.
pub fn read(output: &[u8]) -> Result<Reading, Message> {
    let text = names::lossy(output);
    let (mut values, mut notes, mut lines) = (Values::default(), Vec::new(), 0);
    let mut status: Option<Status> = None;
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        match Line::of(line) {
            Some(Line::Values { instance, kind, name, numbers }) => {
                let (counted, unit, parts) = type_of(&kind, numbers.len());
                let instance = instance.map(|instance| names::name(&instance));
                for (at, number) in numbers.into_iter().enumerate() {
                    let name = match parts.get(at) {
                        Some(part) => format!("{name}_{part}"),
                        None => name.clone(),
                    };
                    let min = counted.is_rate().then_some(0.0);
                    let field = DescribedField { counted, min, ..DescribedField::new(names::name(&name)).unit(unit) };
                    values.put_number(instance.as_deref(), field, number);
                }
            }
            Some(Line::Notification(said)) => {
                status = Some(match status {
                    Some(status) => status.worse(said),
                    None => said,
                });
            }
            None => {
                if notes.len() < 5 {
                    notes.push(message!(
                        "\"{}\" is no line of collectd's exec plugin",
                        names::line(names::cut(line, 80))
                    ));
                }
                continue;
            }
        }
        lines += 1;
    }
    if lines == 0 {
        if notes.is_empty() {
            return Err(said::nothing());
        }
        return Err(message!("{}; expected as in: {}", notes[0].clone(), "PUTVAL \"host/plugin/gauge-name\" N:1"));
    }
    let mut reading = values.reading(notes);
    if let Some(status) = status {
        reading.measurement = reading.measurement.judged(status);
    }
    Ok(reading)
}

/// By what a later line of a stream replaces an earlier one, and whether it stays until that: notifications do.
pub(super) fn key(line: &str) -> Option<(String, bool)> {
    Line::of(line)?;
    let words = words(line);
    if words.first()?.eq_ignore_ascii_case("PUTVAL") {
        return Some((words.get(1)?.clone(), false));
    }
    let about = words.iter().filter(|word| {
        ["host=", "plugin=", "plugin_instance=", "type=", "type_instance="].iter().any(|key| word.starts_with(key))
    });
    Some((about.fold("PUTNOTIF".to_owned(), |all, word| all + "\n" + word), true))
}

#[derive(Debug)]
enum Line {
    Values { instance: Option<String>, kind: String, name: String, numbers: Vec<f64> },
    Notification(Status),
}

impl Line {
    fn of(line: &str) -> Option<Self> {
        let words = words(line);
        let (command, rest) = words.split_first()?;
        if command.eq_ignore_ascii_case("PUTVAL") {
            let (identifier, rest) = rest.split_first()?;
            let mut parts = identifier.splitn(3, '/').skip(1);
            let (plugin, name) = (parts.next()?, parts.next()?.to_owned());
            let kind = name.split_once('-').map_or(name.as_str(), |(kind, _)| kind).to_owned();
            let instance =
                plugin.split_once('-').map(|(_, instance)| instance.to_owned()).filter(|instance| !instance.is_empty());
            // Options, then one or more values; the last one is the newest.
            let values = rest.iter().rfind(|word| !word.contains('='))?;
            let (time, numbers) = values.split_once(':')?;
            let is_time = time == "N" || time.parse::<f64>().is_ok();
            let numbers: Option<Vec<f64>> = numbers.split(':').take(names::FIELDS).map(number).collect();
            return Some(Self::Values {
                instance,
                kind,
                name,
                numbers: numbers.filter(|_| is_time && !name_is_empty(identifier))?,
            });
        }
        if !command.eq_ignore_ascii_case("PUTNOTIF") {
            return None;
        }
        let option = |name: &str| rest.iter().find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
        let state = match option("severity")?.to_ascii_lowercase().as_str() {
            "okay" | "ok" => State::Ok,
            "warning" => State::Warn,
            "failure" => State::Error,
            _ => return None,
        };
        Some(Self::Notification(Status::new(state, names::line(option("message").unwrap_or_default()))))
    }
}

fn name_is_empty(identifier: &str) -> bool {
    identifier.split('/').any(str::is_empty)
}

/// `U` is NaN.
fn number(text: &str) -> Option<f64> {
    if text == "U" { Some(f64::NAN) } else { text.parse().ok() }
}

fn type_of(kind: &str, count: usize) -> (Counted, &'static str, Vec<String>) {
    let known = TYPES.iter().find(|(name, _, _, parts)| *name == kind && parts.len().max(1) == count);
    match known {
        Some((_, counted, unit, parts)) => (*counted, unit, parts.iter().map(|part| (*part).to_owned()).collect()),
        None if count == 1 => (Counted::Gauge, "", Vec::new()),
        None => (Counted::Gauge, "", (0..count).map(|at| at.to_string()).collect()),
    }
}

/// Words between blanks; within quotes blanks belong to the word and a backslash takes the next sign as it is.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut is_quoted, mut has_word) = (Vec::new(), String::new(), false, false);
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' => (is_quoted, has_word) = (!is_quoted, true),
            '\\' if is_quoted => word.extend(chars.next()),
            c if c.is_whitespace() && !is_quoted => {
                if has_word {
                    words.push(std::mem::take(&mut word));
                }
                has_word = false;
            }
            c => {
                word.push(c);
                has_word = true;
            }
        }
    }
    if has_word {
        words.push(word);
    }
    words
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn values_of_all_sorts() {
        let output = "PUTVAL \"my host/df-root/df_complex-used\" interval=10 N:1024\nPUTVAL h/interface-eth0/if_octets 1700000000:10:20\n\
            PUTVAL h/exec/gauge-jobs interval=10 N:3 N:U\nputval h/x/load N:1:2:3\nPUTVAL h/x/odd-a 1:1:2\n";
        let Reading { measurement, described } = read(output.as_bytes()).unwrap();
        let of = |instance: &str, field: &str| {
            measurement.instances().find(|(name, _)| *name == instance).unwrap().1.get_number(field)
        };
        assert_eq!(
            (of("root", "df_complex-used"), of("eth0", "if_octets_rx"), of("eth0", "if_octets_tx")),
            (Some(1024.0), Some(10.0), Some(20.0))
        );
        assert!(measurement.get_number("gauge-jobs").unwrap().is_nan());
        assert_eq!((measurement.get_number("load_midterm"), measurement.get_number("odd-a_1")), (Some(2.0), Some(2.0)));
        let octets = described.fields.iter().find(|field| field.name == "if_octets_rx").unwrap();
        assert_eq!((octets.counted, octets.min, octets.unit.as_str()), (Counted::Derive, Some(0.0), "B/s"));
    }

    #[test]
    fn notifications_judge() {
        let output = "PUTNOTIF severity=okay time=1 message=\"fine\"\nPUTNOTIF type=x severity=failure time=1 message=\"disk \\\"a\\\" died\"\n";
        assert_eq!(
            read(output.as_bytes()).unwrap().measurement.status().unwrap().to_string(),
            "Error: disk \"a\" died"
        );
        assert!(read(b"hello").unwrap_err().to_string().contains("expected as in"));
        assert_eq!(read(b"").unwrap_err().to_string(), "the program said nothing");
        for line in [
            "PUTVAL",
            "PUTVAL h/p/t",
            "PUTVAL h/p/t x:1",
            "PUTVAL h/p N:1",
            "PUTVAL h//t N:1",
            "PUTVAL h/p/t N:x",
            "PUTNOTIF severity=bad",
            "PUTNOTIF message=x",
        ] {
            assert!(read(line.as_bytes()).is_err(), "{line}");
        }
        assert_eq!(key("PUTVAL \"h/p/t\" N:1"), Some(("h/p/t".to_owned(), false)));
        assert_eq!(key("PUTNOTIF severity=okay type=x message=y"), Some(("PUTNOTIF\ntype=x".to_owned(), true)));
    }

    proptest! {
        #[test]
        fn no_output_panics(output in any::<Vec<u8>>(), near in "(PUTVAL|PUTNOTIF) [a/ \"=N:U1\\\\-]{0,40}\n") {
            for output in [&output[..], near.as_bytes()] {
                let _ = read(output);
                key(&String::from_utf8_lossy(output));
            }
        }
    }
}
