//! Makes the changes that changers ask for. Hosts that nobody changes stay the ones of the snapshot; nothing is copied
//! for a transaction without changes.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use super::change::{self, Change, HostChange, MetricChange, NewMetric, Refused};
use super::{Subject, Transaction};
use crate::limits;
use crate::model::{
    Cell, Cluster, Host, HostDef, HostParts, Hosts, Interner, MetricAttrs, MetricDef, SeriesId, SeriesIds, UnixTime,
    c_number, decimals,
};
use crate::summary::Summary;

/// How long the series of an injected metric keeps its id without being injected, in seconds.
const REMEMBERED: UnixTime = 3600;

/// Metrics of a host that are looked through by name.
const FEW: usize = 64;

/// Ids of injected series with the time of their last use, by host and metric.
type Injected = HashMap<(Box<str>, Box<str>), (u64, UnixTime)>;

/// Makes changes. One for all changers of a chain: it remembers the series of injected metrics from poll to poll.
#[derive(Debug, Default)]
pub struct Editor {
    interner: Interner,
    /// By subject.
    injected: HashMap<u64, Injected>,
    tidied: UnixTime,
}

impl Editor {
    /// Makes the changes that a transaction has collected; those that could not be made, with the reason.
    pub fn apply(&mut self, transaction: &mut Transaction) -> Vec<Refused> {
        if transaction.changes.is_empty() {
            return Vec::new();
        }
        let changes = std::mem::take(&mut transaction.changes);
        let mut refused = Vec::new();
        let (key, time) = (transaction.key(), transaction.time);
        let mut sums: HashMap<String, (Option<f64>, Option<u64>)> = HashMap::new();
        let mut hosts: BTreeMap<String, Vec<Change>> = BTreeMap::new();
        for change in changes {
            let host = match &change {
                Change::Summary { metric, sum, num } => {
                    let entry = sums.entry(metric.clone()).or_default();
                    *entry = (sum.or(entry.0), num.or(entry.1));
                    continue;
                }
                Change::Host { host, .. }
                | Change::Metric { host, .. }
                | Change::Inject { host, .. }
                | Change::RemoveHost(host)
                | Change::RemoveMetric { host, .. } => host.clone(),
            };
            hosts.entry(host).or_default().push(change);
        }
        let summary = summary(transaction.summary(), sums, &mut refused);
        match &mut transaction.subject {
            Subject::Cluster(cluster) => {
                let edited =
                    if hosts.is_empty() { None } else { Some(self.cluster(cluster, hosts, key, time, &mut refused)) };
                if edited.is_some() || summary.is_some() {
                    let mut new = edited.unwrap_or_else(|| Cluster::clone(cluster));
                    if let Some(summary) = summary {
                        new.summary = summary;
                    }
                    *cluster = Arc::new(new);
                }
            }
            Subject::Grid(grid) => {
                refused.extend(hosts.into_values().flatten().map(|_| Refused::NoHosts("a grid")));
                if let Some(summary) = summary {
                    let mut new = crate::model::Grid::clone(grid);
                    new.summary = summary;
                    *grid = Arc::new(new);
                }
            }
            Subject::Root(root) => {
                refused.extend(hosts.into_values().flatten().map(|_| Refused::NoHosts("the root")));
                if let Some(summary) = summary {
                    *root = summary;
                }
            }
        }
        if self.interner.grown() > limits::EDITED_BYTES {
            self.interner.sweep();
        }
        refused
    }

    fn cluster(
        &mut self,
        before: &Cluster,
        changes: BTreeMap<String, Vec<Change>>,
        key: u64,
        time: UnixTime,
        refused: &mut Vec<Refused>,
    ) -> Cluster {
        let mut hosts: Vec<Arc<Host>> = before.hosts.iter().cloned().collect();
        let mut removed = HashSet::new();
        let mut same_names = true;
        let others: usize = self.injected.iter().filter(|(of, _)| **of != key).map(|(_, ids)| ids.len()).sum();
        let room = limits::INJECTED_SERIES.min((10 * limits::INJECTED_SERIES).saturating_sub(others));
        for (name, changes) in changes {
            let slot = before.host_slot(&name);
            let old = slot.map(|slot| Arc::clone(&hosts[slot]));
            let ids = self.injected.entry(key).or_default();
            let mut editing = match old {
                Some(old) => Editing::of(&old),
                None if changes.iter().any(|change| matches!(change, Change::Inject { .. })) && is_name(&name) => {
                    Editing::new(&name, before, time)
                }
                None => {
                    refused.extend(changes.iter().map(|_| Refused::NoHost(name.clone())));
                    continue;
                }
            };
            // A host that is not there comes with the first metric that can be injected.
            let mut gone = slot.is_none();
            for change in changes {
                if gone && !matches!(change, Change::Inject { .. }) {
                    refused.push(Refused::NoHost(name.clone()));
                    continue;
                }
                if gone {
                    editing = Editing::new(&name, before, time);
                }
                match editing.change(change, ids, room, &mut self.interner, time) {
                    Ok(removes) => gone = removes,
                    Err(why) => refused.push(why),
                }
            }
            match (slot, gone) {
                (Some(slot), true) => {
                    removed.insert(slot);
                    same_names = false;
                }
                (None, true) => {}
                (Some(slot), false) => hosts[slot] = Arc::new(editing.finish(&mut self.interner)),
                (None, false) => {
                    hosts.push(Arc::new(editing.finish(&mut self.interner)));
                    same_names = false;
                }
            }
        }
        let mut slot = 0;
        hosts.retain(|_| {
            slot += 1;
            !removed.contains(&(slot - 1))
        });
        Cluster { hosts: Hosts::new(hosts, Some(&before.hosts).filter(|_| same_names)), ..before.clone() }
    }

    /// Forgets what is no longer used; costs nothing before it is due. To be called with the time of every transaction, also of
    /// those without changes.
    pub fn tidy(&mut self, now: UnixTime) {
        if now - self.tidied < REMEMBERED / 10 {
            return;
        }
        self.tidied = now;
        for ids in self.injected.values_mut() {
            ids.retain(|_, (_, used)| now - *used < REMEMBERED);
        }
        self.injected.retain(|_, ids| !ids.is_empty());
        self.interner.expect_waste();
        self.interner.sweep();
    }
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && is_text(name)
}

fn is_text(text: &str) -> bool {
    !text.contains('\0')
}

fn summary(
    before: &Summary,
    sums: HashMap<String, (Option<f64>, Option<u64>)>,
    refused: &mut Vec<Refused>,
) -> Option<Arc<Summary>> {
    let mut new: Option<Summary> = None;
    for (metric, (sum, num)) in sums {
        if new.get_or_insert_with(|| before.clone()).set(&metric, sum, num).is_none() {
            refused.push(Refused::NoSummary(metric));
        }
    }
    new.map(Arc::new)
}

/// A host that is changed.
struct Editing {
    name: String,
    ip: String,
    location: String,
    tags: String,
    numbers: HostNumbers,
    metrics: Vec<EditedMetric>,
    /// Where they are, once there are many.
    index: HashMap<Box<str>, usize>,
    /// How many of them stand there.
    indexed: usize,
    bytes: usize,
}

struct HostNumbers {
    reported: u32,
    tn: u32,
    tmax: u32,
    dmax: u32,
    gmond_started: u32,
    polled: UnixTime,
    round: u64,
    up: bool,
}

struct EditedMetric {
    def: Arc<MetricDef>,
    value: String,
    tn: u32,
    fresh: bool,
    id: u64,
    gone: bool,
}

impl Editing {
    fn of(host: &Host) -> Self {
        let parts = host.parts();
        let metrics: Vec<_> = (parts.shape.defs().iter().enumerate())
            .zip(host.metrics())
            .map(|((slot, def), metric)| EditedMetric {
                def: Arc::clone(def),
                value: metric.value().to_owned(),
                tn: metric.cell().tn,
                fresh: metric.is_fresh(),
                id: parts.ids.get(slot),
                gone: false,
            })
            .collect();
        Self {
            name: parts.def.name.to_string(),
            ip: parts.def.ip.to_string(),
            location: parts.def.location.to_string(),
            tags: parts.def.tags.to_string(),
            numbers: HostNumbers {
                reported: parts.reported,
                tn: parts.tn,
                tmax: parts.tmax,
                dmax: parts.dmax,
                gmond_started: parts.gmond_started,
                polled: parts.polled,
                round: parts.round,
                up: parts.up,
            },
            bytes: parts.text.len(),
            metrics,
            index: HashMap::new(),
            indexed: 0,
        }
    }

    fn new(name: &str, cluster: &Cluster, time: UnixTime) -> Self {
        Self {
            name: name.to_owned(),
            ip: String::new(),
            location: "unspecified".to_owned(),
            tags: "unspecified".to_owned(),
            numbers: HostNumbers {
                reported: change::reported(time),
                tn: 0,
                tmax: change::NEW_HOST_TMAX,
                dmax: 0,
                gmond_started: 0,
                polled: time,
                round: cluster.round,
                up: true,
            },
            metrics: Vec::new(),
            index: HashMap::new(),
            indexed: 0,
            bytes: 0,
        }
    }

    /// Makes one change; whether the host is to go.
    fn change(
        &mut self,
        change: Change,
        ids: &mut Injected,
        room: usize,
        interner: &mut Interner,
        time: UnixTime,
    ) -> Result<bool, Refused> {
        match change {
            Change::Host { set, .. } => self.set(set)?,
            Change::Metric { metric, set, .. } => {
                let at = self.slot(&metric)?;
                self.set_metric(at, set, interner)?;
            }
            Change::Inject { metric: NewMetric { name, value, kind, rest }, .. } => {
                if !is_name(&name) {
                    return Err(Refused::BadText(name));
                }
                let rest = MetricChange {
                    value: Some(value),
                    kind: Some(kind),
                    units: Some(rest.units.unwrap_or_default()),
                    slope: Some(rest.slope.unwrap_or_else(|| "both".to_owned())),
                    source: Some(rest.source.unwrap_or_else(|| "gmetad".to_owned())),
                    tn: Some(rest.tn.unwrap_or(0)),
                    tmax: Some(rest.tmax.unwrap_or(0)),
                    dmax: Some(rest.dmax.unwrap_or(0)),
                    extra: Some(rest.extra.unwrap_or_default()),
                };
                let had = self.metrics.len();
                let at = match self.slot(&name) {
                    Ok(at) => at,
                    Err(_) => {
                        let key = (self.name.as_str().into(), name.as_str().into());
                        if ids.len() >= room && !ids.contains_key(&key) {
                            return Err(Refused::TooMuch(self.name.clone()));
                        }
                        let known = ids.entry(key).or_insert_with(|| (SeriesId::take(1), time));
                        known.1 = time;
                        let attrs =
                            MetricAttrs { name: &name, kind, units: "", slope: "", source: "", tmax: 0, dmax: 0 };
                        let mut rendered = Vec::new();
                        let parts = attrs.render(&mut rendered, std::iter::empty());
                        let def = Arc::new(MetricDef::new(&attrs, &rendered, parts, None, false));
                        let id = known.0;
                        self.metrics.push(EditedMetric {
                            def,
                            value: String::new(),
                            tn: 0,
                            fresh: true,
                            id,
                            gone: false,
                        });
                        self.metrics.len() - 1
                    }
                };
                if let Err(why) = self.set_metric(at, rest, interner) {
                    self.metrics.truncate(had);
                    // The new one was not looked for yet.
                    self.indexed = self.indexed.min(had);
                    return Err(why);
                }
                self.metrics[at].fresh = true;
            }
            Change::RemoveMetric { metric, .. } => {
                let at = self.slot(&metric)?;
                self.bytes -= self.metrics[at].value.len();
                self.metrics[at].value.clear();
                self.metrics[at].gone = true;
            }
            Change::RemoveHost(_) => return Ok(true),
            Change::Summary { .. } => {}
        }
        Ok(false)
    }

    fn slot(&mut self, name: &str) -> Result<usize, Refused> {
        let found = if self.metrics.len() <= FEW {
            self.metrics.iter().position(|metric| !metric.gone && metric.def.name() == name)
        } else {
            for (at, metric) in self.metrics.iter().enumerate().skip(self.indexed) {
                self.index.insert(metric.def.name().into(), at);
            }
            self.indexed = self.metrics.len();
            self.index.get(name).copied().filter(|at| !self.metrics[*at].gone)
        };
        found.ok_or_else(|| Refused::NoMetric(self.name.clone(), name.to_owned()))
    }

    fn set(&mut self, set: HostChange) -> Result<(), Refused> {
        let texts = [(&mut self.ip, set.ip), (&mut self.location, set.location), (&mut self.tags, set.tags)];
        for (text, new) in texts {
            if let Some(new) = new {
                if !is_text(&new) || new.len() > limits::TAG_BYTES {
                    return Err(Refused::BadText(new));
                }
                *text = new;
            }
        }
        let numbers = &mut self.numbers;
        for (number, new) in [
            (&mut numbers.reported, set.reported),
            (&mut numbers.tn, set.tn),
            (&mut numbers.tmax, set.tmax),
            (&mut numbers.dmax, set.dmax),
        ] {
            *number = new.unwrap_or(*number);
        }
        numbers.up = set.up.unwrap_or(numbers.up);
        Ok(())
    }

    fn set_metric(&mut self, at: usize, set: MetricChange, interner: &mut Interner) -> Result<(), Refused> {
        let texts = [&set.value, &set.units, &set.slope, &set.source].into_iter().flatten();
        let extra = set.extra.iter().flatten().flat_map(|(name, val)| [name, val]);
        if let Some(bad) = texts.chain(extra).find(|text| !is_text(text) || text.len() > limits::TAG_BYTES) {
            return Err(Refused::BadText(bad.chars().take(40).collect()));
        }
        let metric = &mut self.metrics[at];
        let def = &metric.def;
        let bytes = self.bytes - metric.value.len() + set.value.as_ref().unwrap_or(&metric.value).len();
        if bytes > limits::HOST_BYTES || set.extra.as_ref().is_some_and(|extra| extra.len() > limits::EXTRA_ELEMENTS) {
            return Err(Refused::TooMuch(self.name.clone()));
        }
        let only_value = MetricChange { value: None, tn: None, ..set.clone() } == MetricChange::default();
        if !only_value {
            let (units, slope, source) = (def.units(), def.slope_text(), def.source());
            let attrs = MetricAttrs {
                name: def.name(),
                kind: set.kind.unwrap_or(def.kind()),
                units: set.units.as_deref().unwrap_or(&units),
                slope: set.slope.as_deref().unwrap_or(&slope),
                source: set.source.as_deref().unwrap_or(&source),
                tmax: set.tmax.unwrap_or(def.tmax()),
                dmax: set.dmax.unwrap_or(def.dmax()),
            };
            let extra: Vec<(String, String)> = match set.extra {
                Some(extra) => extra,
                None => def.extra().map(|(name, val)| (name.into_owned(), val.into_owned())).collect(),
            };
            let mut rendered = Vec::new();
            let parts = attrs.render(&mut rendered, extra.iter().map(|(name, val)| (name.as_str(), val.as_str())));
            let new = interner.def(&attrs, &rendered, parts, |_| None);
            metric.def = new;
        }
        self.bytes = bytes;
        if let Some(value) = set.value {
            metric.value = value;
        }
        metric.tn = set.tn.unwrap_or(metric.tn);
        Ok(())
    }

    fn finish(mut self, interner: &mut Interner) -> Host {
        self.metrics.retain(|metric| !metric.gone);
        let mut text = String::with_capacity(self.bytes);
        let cells = (self.metrics.iter())
            .map(|metric| {
                text.push_str(&metric.value);
                let kind = metric.def.kind();
                let number = if kind.is_numeric() { c_number(&metric.value) } else { 0.0 };
                let digits = if kind.is_float() { decimals(&metric.value) } else { 0 };
                Cell::new(number, metric.tn, text.len(), digits, metric.fresh)
            })
            .collect();
        let ids = SeriesIds::from_list(self.metrics.iter().map(|metric| metric.id).collect());
        let shape = interner.shape(self.metrics.into_iter().map(|metric| metric.def).collect());
        let HostNumbers { reported, tn, tmax, dmax, gmond_started, polled, round, up } = self.numbers;
        Host::new(HostParts {
            def: Arc::new(HostDef {
                name: self.name.into(),
                ip: self.ip.into(),
                location: self.location.into(),
                tags: self.tags.into(),
            }),
            shape,
            ids,
            cells,
            text: text.into(),
            reported,
            tn,
            tmax,
            dmax,
            gmond_started,
            polled,
            round,
            up,
        })
    }
}

#[cfg(all(test, feature = "synthetic"))]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::Gmetad;
    use crate::synthetic::{SyntheticCluster, SyntheticSource};

    #[test]
    fn definitions_that_always_change_are_not_kept() {
        let source = || SyntheticSource::new(SyntheticCluster::new("a", 1, 4));
        let gmetad = Gmetad::builder().custom_source("a", Duration::from_secs(1), source).start().expect("start");
        let polled = gmetad.subscribe(1).recv_timeout(Duration::from_secs(30)).expect("a poll");
        let host = polled.cluster().and_then(|cluster| cluster.hosts().next()).expect("a host");
        let (host, metric) = (host.name().to_owned(), host.metrics().next().expect("a metric").name().to_owned());
        let mut editor = Editor::default();
        let bytes = 8 << 10;
        for n in 0..3 * limits::EDITED_BYTES / bytes {
            let mut transaction = Transaction::clone(&polled);
            let set = MetricChange { units: Some(format!("{n:0>bytes$}")), ..MetricChange::default() };
            transaction.change(Change::Metric { host: host.clone(), metric: metric.clone(), set });
            assert_eq!(editor.apply(&mut transaction), []);
            assert!(editor.interner.len() * bytes <= 2 * limits::EDITED_BYTES + 16 * bytes, "{n}");
        }
        // And in the end nothing, also if no change comes any more.
        editor.tidy(polled.time + REMEMBERED);
        assert_eq!(editor.interner.len(), 0);
    }
}
