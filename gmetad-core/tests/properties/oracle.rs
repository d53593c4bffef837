//! What a source has said, the slow way: quick-xml's reader, maps, and the rules of the reference one after the other.

use std::collections::{BTreeMap, BTreeSet};

use gmetad_core::model::{Cluster, Grid, MetricType};
use gmetad_core::summary::Summary;
use gmetad_core::{GridStore, Query, SourceSnapshot, XmlWriter};
use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

type Attributes = BTreeMap<String, String>;

#[derive(Clone, Debug, Default)]
pub struct Oracle {
    pub scalable: bool,
    pub clusters: BTreeMap<String, OracleCluster>,
    pub grids: BTreeMap<String, OracleGrid>,
}

#[derive(Clone, Debug, Default)]
pub struct OracleCluster {
    attributes: Attributes,
    localtime: u32,
    /// As they were at the last poll that had the cluster.
    pub sums: Sums,
    came: u64,
    pub hosts: BTreeMap<String, OracleHost>,
}

#[derive(Clone, Debug, Default)]
pub struct OracleHost {
    /// The how manieth host of its cluster it was when it came: sums of f64 depend on the order.
    place: u64,
    attributes: Attributes,
    dmax: u32,
    started: u32,
    /// Clock minus TN.
    since: i64,
    up: bool,
    fresh: bool,
    pub metrics: BTreeMap<String, OracleMetric>,
}

#[derive(Clone, Debug)]
pub struct OracleMetric {
    attributes: Attributes,
    extra: Vec<(String, String)>,
    since: i64,
    fresh: bool,
}

#[derive(Clone, Debug, Default)]
pub struct OracleGrid {
    attributes: Attributes,
    sums: Sums,
}

/// Hosts up and down; per name sum, number and decimals.
#[derive(Clone, Debug, Default)]
pub struct Sums {
    pub up: u64,
    pub down: u64,
    pub metrics: BTreeMap<String, (f64, u64, u8)>,
}

impl PartialEq for Sums {
    /// NaN is NaN here.
    fn eq(&self, other: &Self) -> bool {
        let same = |a: f64, b: f64| a == b || (a.is_nan() && b.is_nan());
        (self.up, self.down, self.metrics.len()) == (other.up, other.down, other.metrics.len())
            && self.metrics.iter().zip(&other.metrics).all(|((name, sum), (other_name, other))| {
                name == other_name && same(sum.0, other.0) && (sum.1, sum.2) == (other.1, other.2)
            })
    }
}

impl Sums {
    pub fn add(&mut self, name: &str, sum: f64, num: u64, decimals: u8) {
        let entry = self.metrics.entry(name.to_owned()).or_default();
        *entry = (entry.0 + sum, entry.1 + num, entry.2.max(decimals));
    }

    /// What a summary says, without the names that nobody reported.
    pub fn of(summary: &Summary) -> Self {
        let metrics = summary.metrics().iter().filter(|m| m.num() > 0);
        Self {
            up: summary.hosts_up(),
            down: summary.hosts_down(),
            metrics: metrics.map(|m| (m.name().to_owned(), (m.sum(), m.num(), m.decimals()))).collect(),
        }
    }

    fn without_zeros(mut self) -> Self {
        self.metrics.retain(|_, (_, num, _)| *num > 0);
        self
    }
}

/// C's blanks.
fn trimmed(text: &str) -> &str {
    text.trim_start_matches([' ', '\t', '\n', '\r', '\u{b}', '\u{c}'])
}

/// C's atoi into 32 bits, which saturates.
fn number(attributes: &Attributes, key: &str) -> Option<u32> {
    let text = trimmed(attributes.get(key)?);
    let digits: String =
        text.strip_prefix(['-', '+']).unwrap_or(text).chars().take_while(char::is_ascii_digit).collect();
    let n = if digits.is_empty() { 0 } else { digits.parse().unwrap_or(u32::MAX) };
    Some(if text.starts_with('-') { n.wrapping_neg() } else { n })
}

/// C's strtod, the slow way: the longest beginning that is a number.
fn float(text: &str) -> f64 {
    let text = trimmed(text);
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if let Some(n) = unsigned.strip_prefix("0x").or(unsigned.strip_prefix("0X")).and_then(hexadecimal) {
        return if text.starts_with('-') { -n } else { n };
    }
    let ends = text.char_indices().map(|(at, _)| at).chain([text.len()]).rev();
    ends.filter_map(|end| text[..end].parse().ok()).next().unwrap_or(0.0)
}

fn hexadecimal(text: &str) -> Option<f64> {
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_hexdigit).count();
    let whole = digits(text);
    if whole == 0 {
        return None;
    }
    let fraction = text[whole..].strip_prefix('.').map_or("", |rest| &rest[..digits(rest)]);
    let dot = usize::from(text[whole..].starts_with('.'));
    // Exact for up to 13 digits, as the product's.
    let all = text[..whole].chars().chain(fraction.chars()).filter_map(|c| c.to_digit(16));
    let mantissa = all.fold(0.0, |n, digit| n * 16.0 + f64::from(digit));
    let mut power = -4 * fraction.len() as i32;
    if let Some(rest) = text[whole + dot + fraction.len()..].strip_prefix(['p', 'P']) {
        let ends = (1..=rest.len()).rev().filter(|end| rest.is_char_boundary(*end));
        power += ends.filter_map(|end| rest[..end].parse::<i32>().ok()).next().unwrap_or(0);
    }
    Some(mantissa * 2f64.powi(power))
}

/// How many digits a number's text has behind the dot, moved by the exponent.
fn digits_behind(text: &str) -> u8 {
    let (fraction, exponent) = match text.rsplit_once('.') {
        Some((_, rest)) => rest.split_at(rest.bytes().take_while(u8::is_ascii_digit).count()),
        None if text.starts_with(|c: char| c.is_ascii_digit()) => {
            text.find(['e', 'E']).map_or(("", ""), |at| ("", &text[at..]))
        }
        None => ("", ""),
    };
    let exponent = exponent.strip_prefix(['e', 'E']).unwrap_or("");
    let ends = (1..=exponent.len()).rev().filter(|end| exponent.is_char_boundary(*end));
    let exponent = ends.filter_map(|end| exponent[..end].parse::<i64>().ok()).next().unwrap_or(0);
    (fraction.len() as i64 - exponent).clamp(0, 15) as u8
}

fn value_of(text: &str, kind: &str) -> (f64, u8) {
    (float(text), if matches!(kind, "float" | "double") { digits_behind(text) } else { 0 })
}

fn is_numeric(kind: &str) -> bool {
    !matches!(kind, "string" | "timestamp")
}

fn is_known(kind: &str) -> bool {
    MetricType::from_name(kind).is_some()
}

fn is_up(host: &Attributes, localtime: u32, old: bool) -> bool {
    let get = |key| number(host, key).unwrap_or(0);
    if old || get("TMAX") == 0 {
        u64::from(localtime).abs_diff(u64::from(get("REPORTED"))) < 60
    } else {
        u64::from(get("TN")) < (4 * u64::from(get("TMAX"))).min(u32::MAX.into())
    }
}

/// Where in a document the oracle is.
#[derive(Default)]
struct Place {
    old: bool,
    grids: u32,
    grid: Option<(String, OracleGrid)>,
    cluster: Option<String>,
    host: Option<Option<(Attributes, bool)>>,
    metric: Option<(Attributes, Vec<(String, String)>)>,
    seen_clusters: BTreeSet<String>,
}

impl Oracle {
    pub fn new(scalable: bool) -> Self {
        Self { scalable, ..Self::default() }
    }

    /// Takes a well-formed document that was polled at `now`.
    pub fn poll(&mut self, document: &[u8], now: i64) {
        for host in self.clusters.values_mut().flat_map(|c| c.hosts.values_mut()) {
            host.fresh = false;
        }
        let mut place = Place::default();
        let mut reader = Reader::from_str(std::str::from_utf8(document).unwrap());
        loop {
            match reader.read_event().expect("the document is well-formed") {
                Event::Start(tag) => self.start(&tag, &mut place, now),
                // An empty GRID in a cluster (that of a stray HOST, too) says nothing.
                Event::Empty(tag) if tag.name().0 == "GRID" && place.cluster.is_some() => {}
                Event::Empty(tag) => {
                    self.start(&tag, &mut place, now);
                    self.end(tag.name().0, &mut place, now);
                }
                Event::End(tag) => self.end(tag.name().0, &mut place, now),
                Event::Eof => break,
                _ => {}
            }
        }
        for cluster in self.clusters.values_mut() {
            let age = |host: &OracleHost| (now - host.since).clamp(0, u32::MAX.into());
            cluster.hosts.retain(|_, host| host.fresh || host.dmax == 0 || age(host) <= i64::from(host.dmax));
            for host in cluster.hosts.values_mut() {
                host.metrics.retain(|_, metric| !metric.is_expired(now));
            }
        }
        for (name, cluster) in &mut self.clusters {
            if place.seen_clusters.contains(name) {
                cluster.sums = cluster.sum();
            }
        }
    }

    fn start(&mut self, tag: &BytesStart<'_>, place: &mut Place, now: i64) {
        let attributes: Attributes = tag
            .attributes()
            .map(|a| a.expect("a good attribute"))
            .map(|a| (a.key.0.to_owned(), quick_xml::escape::unescape(&a.value).unwrap().into_owned()))
            .collect();
        match tag.name().0 {
            "GANGLIA_XML" => place.old = attributes.get("VERSION").is_some_and(|v| v.as_str() < "2.5"),
            "GRID" if self.scalable => {
                place.grids += 1;
                if place.grids == 1 {
                    let name = attributes.get("NAME").map_or("unspecified", |n| n).to_owned();
                    place.grid = Some((name, OracleGrid { attributes, sums: Sums::default() }));
                }
            }
            "CLUSTER" if place.grid.is_none() => {
                let name = attributes.get("NAME").map_or("unspecified", |n| n).to_owned();
                self.open_cluster(name, attributes, place);
            }
            "HOST" => self.start_host(attributes, place, now),
            "METRIC" => {
                let has = |key| attributes.get(key).is_some_and(|v: &String| key == "VAL" || !v.is_empty());
                let known = attributes.get("TYPE").is_some_and(|kind| is_known(kind));
                if has("NAME") && has("VAL") && known {
                    place.metric = Some((attributes, Vec::new()));
                }
            }
            "EXTRA_ELEMENT" => {
                if let (Some((_, extra)), Some(name), Some(val)) =
                    (&mut place.metric, attributes.get("NAME"), attributes.get("VAL"))
                    && extra.len() < 32
                {
                    extra.push((name.clone(), val.clone()));
                }
            }
            "HOSTS" => {
                if let Some((_, grid)) = &mut place.grid {
                    grid.sums.up += u64::from(number(&attributes, "UP").unwrap_or(0));
                    grid.sums.down += u64::from(number(&attributes, "DOWN").unwrap_or(0));
                }
            }
            "METRICS" => {
                if let (Some((_, grid)), Some(name), Some(sum)) =
                    (&mut place.grid, attributes.get("NAME").filter(|name| !name.is_empty()), attributes.get("SUM"))
                    && attributes.get("TYPE").is_none_or(|kind| is_numeric(kind))
                {
                    let (sum, decimals) = value_of(sum, "double");
                    grid.sums.add(name, sum, number(&attributes, "NUM").unwrap_or(0).into(), decimals);
                }
            }
            _ => {}
        }
    }

    fn open_cluster(&mut self, name: String, attributes: Attributes, place: &mut Place) {
        let cluster = self.clusters.entry(name.clone()).or_default();
        cluster.localtime = number(&attributes, "LOCALTIME").unwrap_or(cluster.localtime);
        cluster.attributes = attributes;
        place.seen_clusters.insert(name.clone());
        place.cluster = Some(name);
    }

    fn start_host(&mut self, attributes: Attributes, place: &mut Place, now: i64) {
        place.host = Some(None);
        let Some(name) = attributes.get("NAME").filter(|name| !name.is_empty()).cloned() else { return };
        if let Some((_, grid)) = &mut place.grid {
            let up = is_up(&attributes, number(&grid.attributes, "LOCALTIME").unwrap_or(0), place.old);
            *(if up { &mut grid.sums.up } else { &mut grid.sums.down }) += 1;
            place.host = Some(Some((attributes, up)));
            return;
        }
        if place.cluster.is_none() {
            let known = place.seen_clusters.contains("unspecified");
            let attributes = if known { self.clusters["unspecified"].attributes.clone() } else { Attributes::new() };
            self.open_cluster("unspecified".to_owned(), attributes, place);
        }
        let cluster = self.clusters.get_mut(place.cluster.as_ref().unwrap()).unwrap();
        // A cluster without LOCALTIME is taken to have ours.
        let localtime = if cluster.localtime == 0 { now as u32 } else { cluster.localtime };
        let up = is_up(&attributes, localtime, place.old);
        cluster.came += 1;
        let place_of_new = cluster.came;
        let host =
            cluster.hosts.entry(name).or_insert_with(|| OracleHost { place: place_of_new, ..OracleHost::default() });
        // The second element of a host in one document adds to the first.
        if !host.fresh {
            host.metrics.values_mut().for_each(|metric| metric.fresh = false);
        }
        host.fresh = true;
        host.up = up;
        host.dmax = number(&attributes, "DMAX").unwrap_or(host.dmax);
        host.started = number(&attributes, "GMOND_STARTED").unwrap_or(host.started);
        host.since = now - i64::from(number(&attributes, "TN").unwrap_or(0));
        host.attributes = attributes.clone();
        place.host = Some(Some((attributes, up)));
    }

    fn end(&mut self, name: &str, place: &mut Place, now: i64) {
        match name {
            "GRID" if self.scalable => {
                place.grids -= 1;
                if place.grids == 0 {
                    let (name, grid) = place.grid.take().unwrap();
                    self.grids.insert(name, grid);
                    place.cluster = None;
                }
            }
            "CLUSTER" | "GANGLIA_XML" => place.cluster = None,
            "HOST" => place.host = None,
            "METRIC" => {
                let (Some((attributes, extra)), Some(Some((host, true)))) = (place.metric.take(), &place.host) else {
                    return;
                };
                let tn = number(&attributes, "TN").unwrap_or(0);
                let dmax = number(&attributes, "DMAX").unwrap_or(0);
                if dmax != 0 && tn > dmax {
                    return;
                }
                let name = attributes["NAME"].clone();
                if let Some((_, grid)) = &mut place.grid {
                    let kind = &attributes["TYPE"];
                    if is_numeric(kind) {
                        let (value, decimals) = value_of(&attributes["VAL"], kind);
                        grid.sums.add(&name, value, 1, decimals);
                    }
                    return;
                }
                let cluster = self.clusters.get_mut(place.cluster.as_ref().unwrap()).unwrap();
                let metric = OracleMetric { attributes, extra, since: now - i64::from(tn), fresh: true };
                cluster.hosts.get_mut(&host["NAME"]).unwrap().metrics.insert(name, metric);
            }
            _ => {}
        }
    }

    /// Panics where the snapshot, polled at `now`, is anything else.
    pub fn check(&self, snapshot: &SourceSnapshot, now: i64) {
        let names: BTreeSet<_> = snapshot.clusters().map(|c| c.name()).collect();
        assert_eq!(names, self.clusters.keys().map(String::as_str).collect(), "clusters");
        for cluster in snapshot.clusters() {
            self.clusters[cluster.name()].check(cluster, now);
        }
        let names: BTreeSet<_> = snapshot.grids().map(|g| g.name()).collect();
        assert_eq!(names, self.grids.keys().map(String::as_str).collect(), "grids");
        snapshot.grids().for_each(|grid| self.grids[grid.name()].check(grid));
    }
}

fn or<'a>(attributes: &'a Attributes, key: &str, otherwise: &'a str) -> &'a str {
    attributes.get(key).map_or(otherwise, |value| value)
}

impl OracleCluster {
    fn check(&self, cluster: &Cluster, now: i64) {
        let text = |key| or(&self.attributes, key, "unspecified");
        assert_eq!(
            (cluster.owner(), cluster.latlong(), cluster.url(), cluster.localtime()),
            (text("OWNER"), text("LATLONG"), text("URL"), self.localtime)
        );
        let names: BTreeSet<_> = cluster.hosts().map(|h| h.name()).collect();
        assert_eq!(names, self.hosts.keys().map(String::as_str).collect(), "hosts of {}", cluster.name());
        assert_eq!(names.len(), cluster.hosts().len(), "a host once");
        for (name, expected) in &self.hosts {
            expected.check(cluster.host(name).expect("found by name"), now);
        }
        assert!(cluster.host("no such host").is_none());
        assert_eq!(Sums::of(cluster.summary()), self.sums, "summary of {}", cluster.name());
    }

    fn sum(&self) -> Sums {
        let mut sums = Sums::default();
        let mut hosts: Vec<_> = self.hosts.values().filter(|host| host.fresh).collect();
        hosts.sort_by_key(|host| host.place);
        for host in hosts {
            *(if host.up { &mut sums.up } else { &mut sums.down }) += 1;
            for (name, metric) in host.metrics.iter().filter(|(_, m)| host.up && m.fresh) {
                if is_numeric(&metric.attributes["TYPE"]) {
                    let (value, decimals) = value_of(&metric.attributes["VAL"], &metric.attributes["TYPE"]);
                    sums.add(name, value, 1, decimals);
                }
            }
        }
        sums
    }
}

impl OracleHost {
    fn check(&self, host: &gmetad_core::model::Host, now: i64) {
        let attributes = &self.attributes;
        assert_eq!(
            (host.ip(), host.location(), host.tags()),
            (
                or(attributes, "IP", ""),
                or(attributes, "LOCATION", "unspecified"),
                or(attributes, "TAGS", "unspecified")
            )
        );
        let get = |key| number(attributes, key).unwrap_or(0);
        assert_eq!(
            (host.reported(), host.tmax(), host.dmax(), host.gmond_started()),
            (get("REPORTED"), get("TMAX"), self.dmax, self.started)
        );
        assert_eq!(host.is_up(), self.up, "{} up", host.name());
        for later in [0, 7] {
            assert_eq!(i64::from(host.tn(now + later)), (now + later - self.since).clamp(0, u32::MAX.into()));
        }
        let shown: Vec<_> = host.metrics().filter(|metric| !metric.is_expired(now)).collect();
        let names: BTreeSet<_> = shown.iter().map(|m| m.name()).collect();
        assert_eq!(names, self.metrics.keys().map(String::as_str).collect(), "metrics of {}", host.name());
        assert_eq!(names.len(), shown.len(), "a metric once");
        for (name, expected) in &self.metrics {
            let metric = host.metric(name).expect("found by name");
            let attributes = &expected.attributes;
            let get = |key| number(attributes, key).unwrap_or(0);
            let def = metric.def();
            let not_empty = |key, otherwise| Some(or(attributes, key, otherwise)).filter(|t| !t.is_empty());
            assert_eq!(metric.value(), attributes["VAL"], "{name}");
            assert_eq!(def.kind().name(), attributes["TYPE"]);
            let number = if is_numeric(&attributes["TYPE"]) { float(&attributes["VAL"]) } else { 0.0 };
            let is_number = metric.number() == number || (metric.number().is_nan() && number.is_nan());
            assert!(is_number, "{name}: {} is {number} and not {}", attributes["VAL"], metric.number());
            assert_eq!(def.units(), or(attributes, "UNITS", ""));
            assert_eq!(def.slope_text(), not_empty("SLOPE", "").unwrap_or("unspecified"));
            assert_eq!(def.source(), not_empty("SOURCE", "").unwrap_or("gmond"));
            assert_eq!((def.tmax(), def.dmax()), (get("TMAX"), get("DMAX")));
            assert_eq!(i64::from(metric.tn(now)), (now - expected.since).clamp(0, u32::MAX.into()), "{name} TN");
            assert_eq!(metric.is_fresh(), expected.fresh, "{name} fresh");
            let extra: Vec<_> = def.extra().map(|(n, v)| (n.into_owned(), v.into_owned())).collect();
            assert_eq!(extra, expected.extra);
        }
    }
}

impl OracleMetric {
    fn is_expired(&self, now: i64) -> bool {
        let dmax = number(&self.attributes, "DMAX").unwrap_or(0);
        dmax != 0 && (now - self.since).clamp(0, u32::MAX.into()) > i64::from(dmax)
    }
}

impl OracleGrid {
    fn check(&self, grid: &Grid) {
        assert_eq!(grid.authority(), or(&self.attributes, "AUTHORITY", "unspecified"));
        assert_eq!(grid.localtime(), number(&self.attributes, "LOCALTIME").unwrap_or(0));
        assert_eq!(Sums::of(grid.summary()), self.sums.clone().without_zeros(), "summary of {}", grid.name());
    }
}

/// A snapshot as text, summaries included: equal texts, equal snapshots.
pub fn text(snapshot: &SourceSnapshot, now: i64) -> String {
    let store = GridStore::new(gmetad_core::store::Identity::default(), gmetad_core::summary::RootRules::default());
    store.publish(store.add_source("s"), snapshot.clone());
    let text = |query: &str| {
        let writer = XmlWriter::new(&store.view(), Query::parse(query).unwrap(), now);
        String::from_utf8(writer.into_bytes()).unwrap()
    };
    text("/") + &text("/?filter=summary")
}
