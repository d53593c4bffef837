//! The native answer: one JSON object.
//!
//! ```
//! use gmetad_agents::exec::{Ended, native};
//!
//! let answer = br#"{"v":1,"fields":{"jobs":12,"queue":"mail"},"status":"warn","message":"12 jobs wait"}"#;
//! let reading = native::read(Ended::Exit(0), answer)?;
//! assert_eq!(reading.measurement.get_number("jobs"), Some(12.0));
//! assert_eq!(reading.measurement.status().map(|status| status.to_string()).as_deref(), Some("Warn: 12 jobs wait"));
//! # Ok::<(), gmetad_core::agent::Message>(())
//! ```

use gmetad_core::agent::{Cell, DescribedField, Element, Measurement, Message, State, Status, Table, Value};
use gmetad_core::message;
use gmetad_process::child::Ended;
use serde::Deserialize;

use super::names;
use super::pairs::{Json, Pairs};
use super::reading::{Reading, Values};
use super::said;

use crate::said::Said;

/// Tables of one answer, rows and columns of a table: a page is to be read.
const TABLES: usize = 10;
const ROWS: usize = 500;
const COLUMNS: usize = 20;
/// Bytes of HTML; what shows it removes what could harm.
const HTML: usize = 64 << 10;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Answer {
    v: Option<u32>,
    fields: Pairs<Json>,
    instances: Pairs<Pairs<Json>>,
    status: Option<String>,
    message: Option<String>,
    tables: Vec<RawTable>,
    text: Option<String>,
    html: Option<String>,
    #[serde(flatten)]
    others: std::collections::BTreeMap<String, serde::de::IgnoredAny>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RawTable {
    title: String,
    columns: Vec<String>,
    rows: Vec<Vec<Json>>,
}

/// Reads an answer.
///
/// # Errors
/// It is not one: the place, and what was expected; or how the program ended, if that was not well.
pub fn read(ended: Ended, output: &[u8]) -> Result<Reading, Message> {
    let answer: Answer = match serde_json::from_slice(output.trim_ascii()) {
        Ok(answer) => answer,
        Err(error) if ended == Ended::Exit(0) => {
            let begin = names::line(names::cut(&names::lossy(output), 60));
            return Err(message!(
                "its answer is not understood: {}; expected one object as {\"v\":1,\"fields\":{\"jobs\":12}}, it begins with \"{}\"",
                error.said(),
                begin
            ));
        }
        Err(_) => return Err(said::ended(ended)),
    };
    if let Some(version) = answer.v.filter(|version| *version != 1) {
        return Err(message!("its answer is of version {}; this program understands \"v\":1", version));
    }
    let (mut values, mut notes) = (Values::default(), Vec::new());
    for (name, value) in &answer.fields.0 {
        put(&mut values, None, names::name(name), value, name)?;
    }
    for (instance, fields) in &answer.instances.0 {
        let instance = names::name(instance);
        for (name, value) in &fields.0 {
            put(&mut values, Some(&instance), names::name(name), value, name)?;
        }
    }
    if !answer.others.is_empty() {
        let keys: Vec<&str> = answer.others.keys().map(String::as_str).take(10).collect();
        notes.push(message!("keys of the answer that are not known: {}", names::line(&keys.join(", "))));
    }
    let mut reading = values.reading(notes);
    let said = status(answer.status.as_deref(), answer.message.as_deref())?;
    let failed = (ended != Ended::Exit(0)).then(|| Status::new(State::Unknown, said::ended(ended)));
    let status = match (said, failed) {
        (Some(said), Some(failed)) => Some(said.worse(failed)),
        (said, failed) => said.or(failed),
    };
    let mut measurement = reading.measurement;
    if let Some(status) = status {
        measurement = measurement.judged(status);
    }
    reading.measurement = elements(measurement, answer.text, answer.html, answer.tables);
    Ok(reading)
}

/// Whether it is an answer, and not something else.
pub(super) fn is_answer(output: &[u8]) -> bool {
    serde_json::from_slice::<Answer>(output.trim_ascii()).is_ok_and(|answer| {
        let has_values = !answer.fields.0.is_empty() || !answer.instances.0.is_empty();
        let judges = answer.status.is_some() || answer.message.is_some();
        answer.v.is_some() || has_values || judges || answer.others.is_empty()
    })
}

fn put(values: &mut Values, instance: Option<&str>, field: String, value: &Json, name: &str) -> Result<(), Message> {
    match value {
        Json::Number(number) => values.put_number(instance, DescribedField::new(field), *number),
        Json::Bool(is_so) => values.put_number(instance, DescribedField::new(field), f64::from(u8::from(*is_so))),
        Json::Null => values.put_number(instance, DescribedField::new(field), f64::NAN),
        Json::Text(text) => {
            values.put(instance, field, Value::Text(names::line(text)));
        }
        Json::List(_) | Json::Object(_) => {
            return Err(message!("field \"{}\" of its answer is neither a number nor a text", names::line(name)));
        }
    }
    Ok(())
}

/// `None`: it does not judge.
fn status(state: Option<&str>, message: Option<&str>) -> Result<Option<Status>, Message> {
    let message = message.map(names::line).unwrap_or_default();
    let state = match state {
        None if message.is_empty() => return Ok(None),
        None => State::Ok,
        Some(word) => state_of(word).ok_or_else(|| {
            message!("the status \"{}\" of its answer is none of ok, warn, error, unknown", names::line(word))
        })?,
    };
    Ok(Some(Status::new(state, message)))
}

fn state_of(word: &str) -> Option<State> {
    match word.to_ascii_lowercase().as_str() {
        "ok" | "okay" => Some(State::Ok),
        "warn" | "warning" => Some(State::Warn),
        "error" | "critical" | "failure" => Some(State::Error),
        "unknown" => Some(State::Unknown),
        _ => None,
    }
}

fn elements(
    mut measurement: Measurement,
    text: Option<String>,
    html: Option<String>,
    tables: Vec<RawTable>,
) -> Measurement {
    let text = text.map(|text| names::shown(&text, names::TEXT)).filter(|text| !text.is_empty());
    if let Some(text) = text {
        measurement = measurement.element(Element::Text(text.into()));
    }
    if let Some(html) = html.filter(|html| !html.is_empty()) {
        measurement = measurement.element(Element::Html(names::cut(&html, HTML).to_owned()));
    }
    for table in tables.into_iter().take(TABLES) {
        measurement = measurement.element(Element::Table(table.into()));
    }
    measurement
}

impl From<RawTable> for Table {
    fn from(raw: RawTable) -> Self {
        let text = |text: &str| Message::from(names::line(text));
        Self {
            title: text(&raw.title),
            columns: raw.columns.iter().take(COLUMNS).map(|column| text(column)).collect(),
            rows: raw
                .rows
                .into_iter()
                .take(ROWS)
                .map(|row| row.into_iter().take(COLUMNS).map(cell).collect())
                .collect(),
        }
    }
}

/// A number, a text, or `{"status":"warn"}` for a lamp.
fn cell(json: Json) -> Cell {
    match json {
        Json::Number(number) => Cell::Number(number),
        Json::Text(text) => Cell::Text(names::line(&text).into()),
        Json::Bool(is_so) => Cell::Text(if is_so { message!("yes") } else { message!("no") }),
        Json::Object(Pairs(pairs)) => match &pairs[..] {
            [(key, Json::Text(word))] if key == "status" => Cell::State(state_of(word).unwrap_or_default()),
            _ => Cell::Text("…".into()),
        },
        Json::Null => Cell::Number(f64::NAN),
        Json::List(_) => Cell::Text("…".into()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn good(answer: &str) -> Reading {
        read(Ended::Exit(0), answer.as_bytes()).unwrap()
    }

    fn bad(answer: &str) -> String {
        read(Ended::Exit(0), answer.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn everything_an_answer_may_have() {
        let reading = good(
            r#"{"v":1,"fields":{"z":1,"a":null,"up":true,"who":"x\u0007y"},"instances":{"/":{"used":5},"sd a":{"used":6}},
               "status":"Warning","message":"a\nb","text":"some text","html":"<b>x</b>","new":1,
               "tables":[{"title":"T","columns":["a","b"],"rows":[[1,"x",{"status":"error"},null,true,[1]]]}]}"#,
        );
        let measurement = reading.measurement;
        assert_eq!(measurement.fields().map(|(name, _)| name).collect::<Vec<_>>(), ["z", "a", "up", "who"]);
        assert!(measurement.get_number("a").unwrap().is_nan());
        assert_eq!(
            (measurement.get_number("up"), measurement.get("who")),
            (Some(1.0), Some(&Value::Text("x y".into())))
        );
        assert_eq!(
            measurement.instances().map(|(name, _)| name).collect::<Vec<_>>(),
            ["root-29622bb2", "sd_a-edd2b0ed"]
        );
        assert_eq!(measurement.status().unwrap().to_string(), "Warn: a b");
        let [Element::Text(_), Element::Html(html), Element::Table(table)] = measurement.elements() else { panic!() };
        assert_eq!((html.as_str(), table.rows[0].len()), ("<b>x</b>", 6));
        assert_eq!((&table.rows[0][2], table.columns.len()), (&Cell::State(State::Error), 2));
        assert_eq!(reading.described.notes[0].to_string(), "keys of the answer that are not known: new");
    }

    #[test]
    fn statuses() {
        assert_eq!(good("{}").measurement.status(), None);
        assert_eq!(good(r#"{"message":"x"}"#).measurement.status().unwrap().to_string(), "OK: x");
        let ended = |answer: &str, status| read(Ended::Exit(status), answer.as_bytes());
        assert_eq!(ended("{}", 3).unwrap().measurement.status().unwrap().to_string(), "Unknown: exit status 3");
        assert_eq!(ended(r#"{"status":"error"}"#, 3).unwrap().measurement.status().unwrap().state, State::Error);
        assert_eq!(ended("Traceback", 1).unwrap_err().to_string(), "exit status 1");
    }

    #[test]
    fn errors_name_what_is_wrong() {
        assert!(bad("hello").contains("it begins with \"hello\""));
        assert!(bad("").contains("not understood"));
        assert_eq!(bad(r#"{"v":2}"#), "its answer is of version 2; this program understands \"v\":1");
        assert_eq!(bad(r#"{"fields":{"a":[1]}}"#), "field \"a\" of its answer is neither a number nor a text");
        assert_eq!(
            bad(r#"{"status":"fine"}"#),
            "the status \"fine\" of its answer is none of ok, warn, error, unknown"
        );
        assert!(bad(r#"{"fields":{"a":NaN}}"#).contains("line 1"));
        assert!(bad(r#"{"fields":{"a":1e400}}"#).contains("out of range"));
        assert!(bad(r#"{"fields":{"a":1e999}}"#).contains("line 1"));
    }

    #[test]
    fn it_is_bounded() {
        let many =
            format!(r#"{{"fields":{{{}}}}}"#, (0..3000).map(|n| format!("\"f{n}\":1")).collect::<Vec<_>>().join(","));
        let reading = good(&many);
        assert_eq!(reading.measurement.fields().len(), names::FIELDS);
        assert!(reading.described.notes[0].to_string().starts_with("2500 values are left out"));
    }

    proptest! {
        #[test]
        fn no_output_panics(output in any::<Vec<u8>>(), near in r#"[{}\[\]",:a1n\\e. -]{0,60}"#, field in any::<String>(), number in any::<f64>()) {
            let json = serde_json::json!({"fields": {field.clone(): number}, "instances": {field.clone(): {"a": field}}, "tables": [{"rows": [[number]]}]});
            for output in [&output[..], near.as_bytes(), json.to_string().as_bytes()] {
                let _ = read(Ended::Exit(0), output);
            }
        }
    }
}
