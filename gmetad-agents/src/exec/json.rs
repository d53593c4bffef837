//! Any JSON: its numbers are the fields, named by their place.
//!
//! ```
//! use gmetad_agents::exec::json::{self, Wanted};
//!
//! let output = br#"{"pool":{"name":"www","active":3},"disks":[{"dev":"sda","temp":40},{"dev":"sdb","temp":41}]}"#;
//! let all = json::read(output, &Wanted::default())?.measurement;
//! assert_eq!((all.get_number("pool_active"), all.get_number("disks_1_temp")), (Some(3.0), Some(41.0)));
//!
//! let wanted = Wanted { instances: "disks".into(), instance_name: "dev".into(), ..Wanted::default() };
//! let each = json::read(output, &wanted)?.measurement;
//! assert_eq!(each.instances().next().and_then(|(name, disk)| Some((name, disk.get_number("temp")?))), Some(("sda", 40.0)));
//! # Ok::<(), gmetad_core::agent::Message>(())
//! ```

use gmetad_core::agent::{DescribedField, Message, Value};
use gmetad_core::message;

use super::names;
use super::pairs::{Json, Pairs};
use super::reading::{Reading, Values};

use crate::said::Said;

/// Which parts of a JSON text count. Places are keys and positions with dots between: `pool.active`, `disks.0.temp`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Places, each with all below it; a text counts only if it is named. Empty: all numbers.
    pub keys: Vec<String>,
    /// The place of a list or an object whose parts are instances; empty: none. `.` is the whole text.
    pub instances: String,
    /// Which key of an instance has its name; empty: its key or position.
    pub instance_name: String,
}

/// Reads a text. Booleans count as 0 and 1.
///
/// # Errors
/// It is not JSON: the place.
pub fn read(output: &[u8], wanted: &Wanted) -> Result<Reading, Message> {
    let json: Json = serde_json::from_slice(output.trim_ascii()).map_err(|error| {
        let begin = names::line(names::cut(&names::lossy(output), 60));
        message!("its output is not JSON: {}; it begins with \"{}\"", error.said(), begin)
    })?;
    let mut flat = Flat { wanted, values: Values::default() };
    flat.walk(None, "", &json);
    Ok(flat.values.reading(Vec::new()))
}

struct Flat<'a> {
    wanted: &'a Wanted,
    values: Values,
}

impl Flat<'_> {
    /// `place` is within the instance, if there is one. The depth is bounded by the parser (128).
    fn walk(&mut self, instance: Option<&str>, place: &str, json: &Json) {
        if instance.is_none() && !self.wanted.instances.is_empty() && place == self.wanted.instances.trim_matches('.') {
            for (key, part) in parts(json) {
                let name = self.instance_name(&key, part);
                self.walk(Some(&name), "", part);
            }
            return;
        }
        match json {
            Json::Object(_) | Json::List(_) => {
                for (key, part) in parts(json) {
                    let place = if place.is_empty() { key.into_owned() } else { format!("{place}.{key}") };
                    self.walk(instance, &place, part);
                }
            }
            Json::Number(number) => self.put(instance, place, *number),
            Json::Bool(is_so) => self.put(instance, place, f64::from(u8::from(*is_so))),
            Json::Null if self.wanted.keys.iter().any(|key| key == place) => self.put(instance, place, f64::NAN),
            Json::Text(text) if self.wanted.keys.iter().any(|key| key == place) => {
                let name = self.name(place);
                self.values.put(instance, name, Value::Text(names::line(text)));
            }
            Json::Null | Json::Text(_) => {}
        }
    }

    fn put(&mut self, instance: Option<&str>, place: &str, number: f64) {
        let below = |key: &String| {
            place.strip_prefix(key.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        if self.wanted.keys.is_empty() || self.wanted.keys.iter().any(below) {
            let field = DescribedField::new(self.name(place));
            self.values.put_number(instance, field, number);
        }
    }

    fn name(&self, place: &str) -> String {
        // A text that is one number has no place.
        names::name(&if place.is_empty() { "value".to_owned() } else { place.replace('.', "_") })
    }

    fn instance_name(&self, key: &str, part: &Json) -> String {
        let own = match part {
            Json::Object(Pairs(pairs)) => pairs.iter().find(|(key, _)| *key == self.wanted.instance_name),
            _ => None,
        };
        let name = match own {
            Some((_, Json::Text(text))) => text.clone(),
            Some((_, Json::Number(number))) => number.to_string(),
            _ => key.to_owned(),
        };
        names::name(&name)
    }
}

fn parts(json: &Json) -> impl Iterator<Item = (std::borrow::Cow<'_, str>, &Json)> {
    let (pairs, list) = match json {
        Json::Object(Pairs(pairs)) => (&pairs[..], &[][..]),
        Json::List(list) => (&[][..], &list[..]),
        _ => (&[][..], &[][..]),
    };
    let pairs = pairs.iter().map(|(key, part)| (key.as_str().into(), part));
    pairs.chain(list.iter().enumerate().map(|(at, part)| (at.to_string().into(), part)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fields(output: &str, wanted: &Wanted) -> Vec<(String, Option<f64>)> {
        let measurement = read(output.as_bytes(), wanted).unwrap().measurement;
        measurement.fields().map(|(name, _)| (name.to_owned(), measurement.get_number(name))).collect()
    }

    #[test]
    fn keys_choose() {
        let output = r#"{"b":{"x":1,"y":2,"t":"text"},"bc":3,"a":null,"ok":true,"l":[4]}"#;
        let keys =
            |keys: &[&str]| Wanted { keys: keys.iter().map(|key| (*key).to_owned()).collect(), ..Wanted::default() };
        let name = |name: &str, number| (name.to_owned(), Some(number));
        assert_eq!(
            fields(output, &keys(&[])),
            [name("b_x", 1.0), name("b_y", 2.0), name("bc", 3.0), name("ok", 1.0), name("l_0", 4.0)]
        );
        assert_eq!(fields(output, &keys(&["b"])), [name("b_x", 1.0), name("b_y", 2.0)]);
        assert_eq!(fields(output, &keys(&["b.t", "l.0"])), [("b_t".to_owned(), None), name("l_0", 4.0)]);
        assert!(fields(output, &keys(&["a"]))[0].1.unwrap().is_nan());
        assert_eq!(fields("7", &keys(&[])), [name("value", 7.0)]);
    }

    #[test]
    fn instances_of_lists_and_objects() {
        let wanted = Wanted { instances: ".".into(), ..Wanted::default() };
        let measurement =
            read(br#"{"eth 0":{"rx":{"bytes":1}},"lo":{"rx":{"bytes":2}},"n":5}"#, &wanted).unwrap().measurement;
        let seen: Vec<_> =
            measurement.instances().map(|(name, it)| (name.to_owned(), it.get_number("rx_bytes"))).collect();
        assert_eq!(seen, [("eth_0-ef7c1f23".into(), Some(1.0)), ("lo".into(), Some(2.0)), ("n".into(), None)]);
        assert!(read(b"{", &wanted).unwrap_err().to_string().contains("it begins with \"{\""));
    }

    proptest! {
        #[test]
        fn no_output_panics(output in any::<Vec<u8>>(), near in r#"[{}\[\]",:a1n\\e. -]{0,60}"#) {
            let wanted = Wanted { instances: "a".into(), instance_name: "n".into(), ..Wanted::default() };
            for output in [&output[..], near.as_bytes()] {
                let _ = read(output, &wanted);
                let _ = read(output, &Wanted::default());
            }
        }
    }
}
