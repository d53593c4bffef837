//! Influx line protocol: `measurement,tag=value field=1i,other=2.5 1700000000000000000`.
//!
//! A field is called `<measurement>_<field>` (a field `value` just `<measurement>`). Tags name the instance: their values, in the
//! order of the line; the tag `host` does not count, unless it is asked for.

use gmetad_core::agent::{DescribedField, Message, Value};
use gmetad_core::message;

use super::names;
use super::reading::{Reading, Values};
use super::said;

/// Reads all lines; of a value that comes twice the last counts. `tags`: those that name the instance, in this order; empty:
/// all but `host`.
///
/// # Errors
/// No line of it is one of the protocol.
pub fn read(output: &[u8], tags: &[String]) -> Result<Reading, Message> {
    let text = names::lossy(output);
    let (mut values, mut notes, mut lines) = (Values::default(), Vec::new(), 0);
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let Some(point) = Point::of(line) else {
            if notes.len() < 5 {
                notes.push(message!("\"{}\" is no line of the influx protocol", names::line(names::cut(line, 80))));
            }
            continue;
        };
        lines += 1;
        let instance = point.instance(tags).map(|instance| names::name(&instance));
        for (key, value) in point.fields {
            let name = if key == "value" { point.measurement.clone() } else { format!("{}_{key}", point.measurement) };
            let name = names::name(&name);
            match value {
                Value::Number(number) => values.put_number(instance.as_deref(), DescribedField::new(name), number),
                Value::Text(_) => {
                    values.put(instance.as_deref(), name, value);
                }
            }
        }
    }
    if lines == 0 {
        if notes.is_empty() {
            return Err(said::nothing());
        }
        return Err(message!("{}; expected as in: {}", notes[0].clone(), "disk,path=/ free=12i,used=3.5"));
    }
    Ok(values.reading(notes))
}

/// By what a later line of a stream replaces an earlier one: measurement and tags.
pub(super) fn key(line: &str) -> Option<&str> {
    split(line, ' ').next().filter(|key| !key.is_empty() && Point::of(line).is_some())
}

#[derive(Debug)]
struct Point {
    measurement: String,
    tags: Vec<(String, String)>,
    fields: Vec<(String, Value)>,
}

impl Point {
    fn of(line: &str) -> Option<Self> {
        let mut parts = split(line, ' ').filter(|part| !part.is_empty());
        let (series, fields) = (parts.next()?, parts.next()?);
        if parts.next().is_some_and(|time| time.parse::<i64>().is_err()) || parts.next().is_some() {
            return None;
        }
        let mut series = split(series, ',');
        let measurement = unescape(series.next()?);
        let pair = |text: &str| {
            let mut parts = split(text, '=');
            let key = parts.next().filter(|key| !key.is_empty())?;
            Some((unescape(key), text.get(key.len() + 1..)?.to_owned()))
        };
        let tags = series.map(|tag| pair(tag).map(|(key, value)| (key, unescape(&value)))).collect::<Option<_>>()?;
        let fields = split(fields, ',').map(|field| pair(field).and_then(|(key, text)| Some((key, value(&text)?))));
        let fields = fields.collect::<Option<_>>()?;
        (!measurement.is_empty()).then_some(Self { measurement, tags, fields })
    }

    fn instance(&self, wanted: &[String]) -> Option<String> {
        let find = |name: &String| self.tags.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
        let values: Vec<&str> = if wanted.is_empty() {
            self.tags.iter().filter(|(key, _)| key != "host").map(|(_, value)| value.as_str()).collect()
        } else {
            wanted.iter().filter_map(find).collect()
        };
        // A single `/` is a name of its own.
        let parts: Vec<String> = if values.len() > 1 {
            values.into_iter().map(names::name).collect()
        } else {
            values.into_iter().map(str::to_owned).collect()
        };
        (!parts.is_empty()).then(|| parts.join("_"))
    }
}

/// Parts between separators that are neither escaped nor within the quotes of a value.
fn split(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let (mut escaped, mut quoted, mut before) = (false, false, ' ');
        for (at, c) in text.char_indices() {
            if escaped {
                escaped = false;
            } else if c == '\\' {
                escaped = true;
            } else if c == '"' && (quoted || before == '=') {
                quoted = !quoted;
            } else if c == separator && !quoted {
                rest = Some(&text[at + c.len_utf8()..]);
                return Some(&text[..at]);
            }
            before = c;
        }
        rest = None;
        Some(text)
    })
}

fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match chars.peek() {
            Some(&next) if c == '\\' && matches!(next, ',' | '=' | ' ' | '"' | '\\') => {
                out.push(next);
                chars.next();
            }
            _ => out.push(c),
        }
    }
    out
}

/// `1`, `1.5e3`, `1i`, `1u`, `t`, `"text"`.
fn value(text: &str) -> Option<Value> {
    if let Some(inner) = text.strip_prefix('"') {
        let inner = inner.strip_suffix('"')?;
        return Some(Value::Text(names::line(&unescape(inner))));
    }
    match text {
        "t" | "T" | "true" | "True" | "TRUE" => return Some(Value::Number(1.0)),
        "f" | "F" | "false" | "False" | "FALSE" => return Some(Value::Number(0.0)),
        _ => {}
    }
    let number: f64 = match (text.strip_suffix('i'), text.strip_suffix('u')) {
        (Some(integer), _) => integer.parse::<i64>().ok()? as f64,
        (_, Some(unsigned)) => unsigned.parse::<u64>().ok()? as f64,
        _ => text.parse().ok()?,
    };
    Some(Value::Number(number))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lines_of_all_sorts() {
        let output = "# comment\nload value=0.5\ncpu,host=web,cpu=cpu0 user=12i,idle=80.5,ok=t 1700000000000000000\n\
            disk,path=/ free=1u,kind=\"a \\\"b\\\", c=d\"\nwe\\ ird\\,name,a\\=b=c\\ d,e=f x\\ y=-1e3\n";
        let reading = read(output.as_bytes(), &[]).unwrap().measurement;
        let number = |instance: &str, field: &str| {
            reading.instances().find(|(name, _)| *name == instance).unwrap().1.get_number(field)
        };
        assert_eq!(reading.get_number("load"), Some(0.5));
        assert_eq!((number("cpu0", "cpu_user"), number("cpu0", "cpu_ok")), (Some(12.0), Some(1.0)));
        assert_eq!(number("root-29622bb2", "disk_free"), Some(1.0));
        let text = reading.instances().find(|(name, _)| *name == "root-29622bb2").unwrap().1.get("disk_kind").cloned();
        assert_eq!(text, Some(Value::Text("a \"b\", c=d".to_owned())));
        assert_eq!(number(&format!("{}_f", names::name("c d")), &names::name("we ird,name_x y")), Some(-1000.0));
    }

    #[test]
    fn chosen_tags_and_what_is_none() {
        let tags = ["host".to_owned(), "none".to_owned()];
        let reading = read(b"a,host=x,b=c v=1\nnonsense\n", &tags).unwrap();
        assert_eq!(reading.measurement.instances().next().map(|(name, _)| name), Some("x"));
        assert_eq!(reading.described.notes[0].to_string(), "\"nonsense\" is no line of the influx protocol");
        assert!(read(b"a b\n", &[]).unwrap_err().to_string().contains("expected as in"));
        assert_eq!(read(b"\n# none\n", &[]).unwrap_err().to_string(), "the program said nothing");
        for line in [
            "a v",
            "a =1",
            ",b=c v=1",
            "a v=1 x",
            "a v=1 2 3",
            "a v=1x",
            "a v=\"x",
            "a,b v=1",
            "a v=99999999999999999999i",
        ] {
            assert!(read(line.as_bytes(), &[]).is_err(), "{line}");
        }
        assert_eq!((key("a,b=c v=1"), key("x")), (Some("a,b=c"), None));
    }

    proptest! {
        #[test]
        fn no_output_panics(output in any::<Vec<u8>>(), near in "[ab,= \"\\\\1iut.é\n-]{0,60}") {
            for output in [&output[..], near.as_bytes()] {
                let _ = read(output, &[]);
                let _ = read(output, &["a".to_owned()]);
            }
        }
    }
}
