//! The changes that a changer answers: plain data that nobody vouches for.

use serde::Deserialize;
use serde::de::{self, SeqAccess, Visitor};
use serde_json::value::RawValue;

use gmetad_core::limits;
use gmetad_core::model::MetricType;
use gmetad_core::plugin::{Change, HostChange, MetricChange, NewMetric};

use super::protocol::excerpt;

/// The changes of an answer.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Changes {
    pub(super) made: Vec<Change>,
    /// How many could not be understood, and why the first.
    pub(super) refused: u64,
    pub(super) first: Option<String>,
}

impl Changes {
    /// Reads `changes`. One that is not understood costs only itself.
    ///
    /// # Errors
    /// It is not a list.
    pub(super) fn parse(raw: &RawValue) -> Result<Self, String> {
        serde_json::from_str(raw.get()).map_err(|error| format!("changes: {error}"))
    }

    fn refuse(&mut self, why: impl FnOnce() -> String) {
        self.refused += 1;
        self.first.get_or_insert_with(why);
    }
}

impl<'de> Deserialize<'de> for Changes {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List;
        impl<'de> Visitor<'de> for List {
            type Value = Changes;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a list of changes")
            }

            // One by one: what is refused needs no memory.
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Changes, A::Error> {
                let mut changes = Changes::default();
                while let Some(raw) = list.next_element::<&'de RawValue>()? {
                    let change = serde_json::from_str::<RawChange>(raw.get());
                    match change.map_err(|error| error.to_string()).and_then(RawChange::understand) {
                        Ok(_) if changes.made.len() >= limits::CHANGES => {
                            changes.refuse(|| format!("more than {} changes", limits::CHANGES));
                        }
                        Ok(change) => changes.made.push(change),
                        Err(why) => changes.refuse(|| format!("{why}: {}", excerpt(raw.get().as_bytes()))),
                    }
                }
                Ok(changes)
            }
        }
        deserializer.deserialize_seq(List)
    }
}

#[derive(Deserialize)]
struct RawChange {
    host: Option<String>,
    metric: Option<String>,
    summary: Option<String>,
    set: Option<Attributes>,
    inject: Option<Attributes>,
    #[serde(default)]
    remove: bool,
}

/// All that can be set of a host, a metric or a summary metric.
#[derive(Default, Deserialize)]
struct Attributes {
    name: Option<String>,
    ip: Option<String>,
    location: Option<String>,
    tags: Option<String>,
    reported: Option<u32>,
    up: Option<bool>,
    val: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
    units: Option<String>,
    tn: Option<u32>,
    tmax: Option<u32>,
    dmax: Option<u32>,
    slope: Option<String>,
    source: Option<String>,
    extra: Option<Vec<(String, String)>>,
    sum: Option<f64>,
    num: Option<u64>,
}

impl RawChange {
    fn understand(self) -> Result<Change, String> {
        let Self { host, metric, summary, set, inject, remove } = self;
        match (host, metric, summary, set, inject, remove) {
            (Some(host), None, None, Some(set), None, false) => Ok(Change::Host { host, set: set.host()? }),
            (Some(host), Some(metric), None, Some(set), None, false) => {
                Ok(Change::Metric { host, metric, set: set.metric()? })
            }
            (Some(host), None, None, None, Some(new), false) => Ok(Change::Inject { host, metric: new.inject()? }),
            (Some(host), None, None, None, None, true) => Ok(Change::RemoveHost(host)),
            (Some(host), Some(metric), None, None, None, true) => Ok(Change::RemoveMetric { host, metric }),
            (None, None, Some(metric), Some(Attributes { sum, num, .. }), None, false) => {
                if (sum, num) == (None, None) {
                    return Err(NOTHING.to_owned());
                }
                Ok(Change::Summary { metric, sum, num })
            }
            _ => Err("it is none of: host and set, inject or remove; host, metric and set or remove; summary and set"
                .to_owned()),
        }
    }
}

const NOTHING: &str = "it sets nothing that can be set";

impl Attributes {
    fn host(self) -> Result<HostChange, String> {
        let Self { ip, location, tags, reported, tn, tmax, dmax, up, .. } = self;
        let set = HostChange { ip, location, tags, reported, tn, tmax, dmax, up };
        if set == HostChange::default() { Err(NOTHING.to_owned()) } else { Ok(set) }
    }

    fn metric(self) -> Result<MetricChange, String> {
        let set = self.any_metric()?;
        if set == MetricChange::default() { Err(NOTHING.to_owned()) } else { Ok(set) }
    }

    fn any_metric(self) -> Result<MetricChange, String> {
        let Self { val, kind, units, slope, source, tn, tmax, dmax, extra, .. } = self;
        let kind = kind.map(|kind| MetricType::from_name(&kind).ok_or_else(|| format!("there is no type \"{kind}\"")));
        Ok(MetricChange { value: val, kind: kind.transpose()?, units, slope, source, tn, tmax, dmax, extra })
    }

    fn inject(mut self) -> Result<NewMetric, String> {
        let name = self.name.take();
        let mut rest = self.any_metric()?;
        let (Some(name), Some(value), Some(kind)) = (name, rest.value.take(), rest.kind.take()) else {
            return Err("inject needs name, val and type".to_owned());
        };
        let new = NewMetric::new(name, value, kind);
        rest.tmax = rest.tmax.or(new.rest.tmax);
        Ok(NewMetric { rest, ..new })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use proptest::prelude::*;
    use serde_json::json;

    use super::super::protocol::{Answer, parse};
    use super::*;

    fn changes(list: serde_json::Value) -> Changes {
        let line = json!({"type": "ok", "id": 7, "changes": list, "unknown": [{}]}).to_string();
        match parse(line.as_bytes()) {
            Ok(Answer::Ok { id: Some(7), changes: Some(raw) }) => Changes::parse(raw).unwrap(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_changes_of_the_manual() {
        let (host, metric) = ("n1".to_owned(), "load_one".to_owned());
        let parsed = changes(json!([
            {"host":"n1","metric":"load_one","set":{"val":"0.6","units":"cpus","new":1}},
            {"host":"n1","set":{"location":"1,2,3","up":false}},
            {"host":"n1","inject":{"name":"power","val":"230","type":"float","units":"W"}},
            {"host":"n1","metric":"load_one","remove":true},
            {"host":"n1","remove":true},
            {"summary":"load_one","set":{"sum":0.6,"num":1}},
        ]));
        let set = MetricChange { value: Some("0.6".into()), units: Some("cpus".into()), ..MetricChange::default() };
        let of_host = HostChange { location: Some("1,2,3".into()), up: Some(false), ..HostChange::default() };
        let mut new = NewMetric::new("power", "230", MetricType::Float);
        new.rest.units = Some("W".into());
        let expected = vec![
            Change::Metric { host: host.clone(), metric: metric.clone(), set },
            Change::Host { host: host.clone(), set: of_host },
            Change::Inject { host: host.clone(), metric: new },
            Change::RemoveMetric { host: host.clone(), metric: metric.clone() },
            Change::RemoveHost(host),
            Change::Summary { metric, sum: Some(0.6), num: Some(1) },
        ];
        assert_eq!(parsed, Changes { made: expected, refused: 0, first: None });
    }

    #[test]
    fn a_change_that_is_none_costs_only_itself() {
        for (bad, why) in [
            (json!(5), "invalid type"),
            (json!({}), "none of"),
            (json!({"host":"a","remove":false}), "none of"),
            (json!({"host":"a","set":{}}), "sets nothing"),
            (json!({"host":"a","metric":"b","set":{"location":"x"}}), "sets nothing"),
            (json!({"host":"a","metric":"b","set":{"tn":-1}}), "invalid value"),
            (json!({"host":"a","metric":"b","set":{"type":"number"}}), "no type \"number\""),
            (json!({"host":"a","inject":{"name":"b","val":"1"}}), "needs name, val and type"),
            (json!({"summary":"a","set":{"sum":null}}), "sets nothing"),
        ] {
            let parsed = changes(json!([bad, {"host":"n9","remove":true}]));
            assert_eq!((parsed.made.len(), parsed.refused), (1, 1));
            assert!(parsed.first.clone().unwrap().contains(why), "{parsed:?}");
        }
    }

    /// JSON that looks like changes.
    fn rough() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(json!(null)),
            any::<bool>().prop_map(|b| json!(b)),
            any::<i64>().prop_map(|n| json!(n)),
            any::<f64>().prop_map(|n| json!(n)),
            "[a-z\u{0}é]{0,4}".prop_map(|s| json!(s)),
            Just(json!("float")),
        ];
        let key = prop::sample::select(vec![
            "host", "metric", "summary", "set", "inject", "remove", "name", "val", "type", "sum", "num", "tn", "extra",
            "up", "x",
        ]);
        leaf.prop_recursive(4, 24, 5, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(|list| json!(list)),
                prop::collection::vec((key.clone(), inner), 0..5).prop_map(|pairs| serde_json::Value::Object(
                    pairs.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()
                )),
            ]
        })
    }

    proptest! {
        #[test]
        fn each_change_is_made_or_refused(list in prop::collection::vec(rough(), 0..8)) {
            let parsed = changes(json!(list));
            prop_assert_eq!(parsed.made.len() as u64 + parsed.refused, list.len() as u64);
            prop_assert_eq!(parsed.first.is_some(), parsed.refused > 0);
        }

        #[test]
        fn damaged_lines_never_panic(at in 0usize..200, byte: u8) {
            let mut line = br#"{"type":"ok","id":7,"changes":[{"host":"n1","metric":"m","set":{"val":"0.6","extra":[["A","b"]],"tn":3}},{"host":"n9","remove":true}]}"#.to_vec();
            let at = at % line.len();
            line[at] = byte;
            if let Ok(Answer::Ok { changes: Some(raw), .. }) = parse(&line) {
                let _ = Changes::parse(raw);
            }
        }
    }
}
