//! Makes the next version of a cluster from the version before and the hosts of a document.

use std::collections::HashMap;
use std::sync::Arc;

use super::host::{Cell, Host, HostDef, HostParts, Metric, SeriesId, SeriesIds};
use super::metric::{MetricAttrs, MetricDef};
use super::{Cluster, Decimal, Definition, Hosts, Interner, MetricType, Shape, UnixTime, c_number, decimals};
use crate::limits;
use crate::summary;
use crate::xml::recognise::{InputText, Printed, plain_name};

/// The attributes of a CLUSTER element.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ClusterAttrs {
    pub(crate) name: String,
    pub(crate) localtime: Option<u32>,
    pub(crate) owner: Option<String>,
    pub(crate) latlong: Option<String>,
    pub(crate) url: Option<String>,
}

/// The attributes of a HOST element; missing ones as `None`. Its buffers are used again and again.
#[derive(Clone, Debug, Default)]
pub(crate) struct HostAttrs {
    pub(crate) name: String,
    pub(crate) ip: String,
    pub(crate) location: Option<String>,
    pub(crate) tags: Option<String>,
    pub(crate) reported: u32,
    pub(crate) tn: u32,
    pub(crate) tmax: u32,
    pub(crate) dmax: Option<u32>,
    pub(crate) gmond_started: Option<u32>,
    /// Of a saved tree: the host was down, or not in the poll that was saved.
    pub(crate) down: bool,
    pub(crate) absent: bool,
}

impl HostAttrs {
    /// The up/down rule at poll time (reference 4.5). `old` sources are those before 2.5.
    pub(crate) fn is_up(&self, localtime: u32, old: bool) -> bool {
        if old || self.tmax == 0 {
            localtime.abs_diff(self.reported) < 60
        } else {
            self.tn < self.tmax.saturating_mul(4)
        }
    }
}

/// What a poll is about, for all its hosts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PollContext {
    /// When the poll began, on our clock.
    pub(crate) now: UnixTime,
    /// Which poll of this source it is.
    pub(crate) round: u64,
}

impl PollContext {
    /// The round of what an earlier process saved: before the first poll.
    pub(crate) const SAVED: u64 = 0;
    /// The round of hosts that the last poll before the save did not have: that of no cluster.
    const ABSENT: u64 = u64::MAX;
}

/// A host that is being read. Its metrics come one by one; buffers are used for the next host again.
#[derive(Debug, Default)]
pub(crate) struct HostBuilder {
    base: Option<Arc<Host>>,
    shape: Option<Arc<Shape>>,
    /// What was seen for each slot of `shape`.
    seen: Vec<Seen>,
    /// Definitions that are not the slot's.
    replaced: Vec<(usize, Arc<MetricDef>)>,
    /// Metrics that `shape` has no slot for.
    added: Vec<(Arc<MetricDef>, Seen)>,
    added_names: HashMap<Box<str>, usize>,
    /// The values in the order they came; UTF-8.
    vals: Vec<u8>,
    /// Slots that were seen one after the other, from the first on.
    in_order: usize,
    /// Something was seen out of order, or twice.
    out_of_order: bool,
    next: usize,
    rendered: Vec<u8>,
    /// The next metric was not in the poll that was saved.
    absent: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    number: f64,
    tn: u32,
    /// Where its value stands in `vals`.
    start: u32,
    end: u32,
    decimals: u8,
    /// It was in the document.
    is: bool,
    /// And in the poll, which differs for a saved document.
    fresh: bool,
}

impl HostBuilder {
    fn start(&mut self, base: Option<Arc<Host>>, like: Option<&Arc<Shape>>) {
        self.shape = base.as_ref().map(|host| Arc::clone(&host.parts().shape)).or_else(|| like.cloned());
        self.base = base;
        self.seen.clear();
        self.seen.resize(self.shape.as_ref().map_or(0, |shape| shape.defs().len()), Seen::default());
        self.replaced.clear();
        self.added.clear();
        self.added_names.clear();
        self.vals.clear();
        (self.in_order, self.out_of_order, self.next) = (0, false, 0);
        self.absent = false;
    }

    /// Frees what only hosts with new metrics need: most polls have none.
    pub(crate) fn rest(&mut self) {
        (self.added, self.added_names) = (Vec::new(), HashMap::new());
    }

    /// The next metric of a saved tree was not in its poll.
    pub(crate) fn next_is_absent(&mut self) {
        self.absent = true;
    }

    /// Takes the next metric if its text is that of a slot: the slot probably next, or the one of its name. Returns how many
    /// bytes it has; 0 if it is to be understood anew, or has no room. `own`: what we printed ourselves is read, also if it is
    /// beyond its DMAX.
    pub(crate) fn recognise(&mut self, input: &[u8], own: bool, room: &mut Room) -> usize {
        let Some(shape) = self.shape.as_deref() else { return 0 };
        let mut slot = self.next;
        let (def, metric) = loop {
            if let Some(def) = shape.defs().get(slot)
                && let Some(found) = if own { def.recognise_own(input) } else { def.recognise(input) }
            {
                break (def, found);
            }
            let by_name = plain_name(input).and_then(|name| shape.slot(name, self.next));
            match by_name.filter(|by_name| slot == self.next && *by_name != slot) {
                Some(by_name) => slot = by_name,
                None => return 0,
            }
        };
        let kind = def.kind();
        if def.dmax() != 0 && metric.tn > def.dmax() && !own {
            return metric.len;
        }
        // Without room it is cut and understood as any other, and refused by name.
        if !self.has_room(Some(slot), "", metric.val.len(), room) {
            return 0;
        }
        let seen = self.seen_as(metric.val, metric.decimal, kind, metric.tn);
        self.see(slot, seen);
        metric.len
    }

    fn has_room(&self, slot: Option<usize>, name: &str, val: usize, room: &mut Room) -> bool {
        let known = match slot {
            Some(slot) => self.base.is_some() || self.seen[slot].is,
            None => self.added_names.contains_key(name),
        };
        self.vals.len() + val <= limits::HOST_BYTES && (known || room.series())
    }

    fn seen_as(&mut self, val: &[u8], decimal: Option<Decimal>, kind: MetricType, tn: u32) -> Seen {
        let start = self.vals.len() as u32;
        self.vals.extend_from_slice(val);
        let (number, digits) = match decimal {
            _ if !kind.is_numeric() => (0.0, 0),
            Some(Decimal { number, decimals, .. }) => (number, decimals),
            None => {
                let text = str::from_utf8(val).unwrap_or_default();
                (c_number(text), decimals(text))
            }
        };
        let decimals = if kind.is_float() { digits } else { 0 };
        let fresh = !std::mem::take(&mut self.absent);
        Seen { number, tn, start, end: self.vals.len() as u32, decimals, is: true, fresh }
    }

    fn see(&mut self, slot: usize, seen: Seen) {
        if slot == self.in_order {
            self.in_order += 1;
        } else {
            self.out_of_order = true;
        }
        if self.seen[slot].is {
            // The last one of a name counts, whole.
            self.replaced.retain(|(replaced, _)| *replaced != slot);
        }
        self.seen[slot] = seen;
        self.next = slot + 1;
    }

    /// Takes a metric of the host, and what it may be known again by; whether there is room for it.
    pub(crate) fn metric<'e>(
        &mut self,
        attrs: &MetricAttrs<'_>,
        (val, tn): (&str, u32),
        extra: impl Iterator<Item = (&'e str, &'e str)>,
        learn: impl FnOnce(Printed<'_>) -> Option<InputText>,
        interner: &mut Interner,
        room: &mut Room,
    ) -> bool {
        let slot = self.shape.as_ref().and_then(|shape| shape.slot(attrs.name, self.next));
        if !self.has_room(slot, attrs.name, val.len(), room) {
            return false;
        }
        let parts = attrs.render(&mut self.rendered, extra);
        let seen = self.seen_as(val.as_bytes(), None, attrs.kind, tn);
        if let (Some(shape), Some(slot)) = (&self.shape, slot) {
            let def = &shape.defs()[slot];
            if def.rendered() == self.rendered {
                def.learn(learn);
                self.see(slot, seen);
            } else {
                let def = interner.def(attrs, &self.rendered, parts, learn);
                self.see(slot, seen);
                self.replaced.push((slot, def));
            }
            return true;
        }
        let def = interner.def(attrs, &self.rendered, parts, learn);
        match self.added_names.get(attrs.name) {
            Some(at) => self.added[*at] = (def, seen),
            None => {
                self.added_names.insert(attrs.name.into(), self.added.len());
                self.added.push((def, seen));
            }
        }
        true
    }

    /// The cells and the text of the slots that are kept, then of what was added; and the slots, if not all are.
    fn cells(&self, context: PollContext) -> (Box<[Cell]>, Vec<u8>, Option<Vec<usize>>) {
        let cell = |seen: &Seen, end: usize| Cell::new(seen.number, seen.tn, end, seen.decimals, seen.fresh);
        if self.in_order == self.seen.len() && !self.out_of_order && self.added.is_empty() {
            // The values stand as they are to stand.
            return (self.seen.iter().map(|seen| cell(seen, seen.end as usize)).collect(), self.vals.to_vec(), None);
        }
        let slots = self.seen.len() + self.added.len();
        let (mut cells, mut kept) = (Vec::with_capacity(slots), Vec::with_capacity(self.seen.len()));
        let mut text = Vec::with_capacity(self.vals.len());
        for (slot, seen) in self.seen.iter().enumerate() {
            if seen.is {
                text.extend_from_slice(&self.vals[seen.start as usize..seen.end as usize]);
                cells.push(cell(seen, text.len()));
                kept.push(slot);
                continue;
            }
            // Not in this document: keeps its value and ages, unless its time is over.
            let Some(host) = &self.base else { continue };
            let keeps =
                |m: &Metric<'_>| !m.is_expired(context.now) && text.len() + m.value().len() <= 2 * limits::HOST_BYTES;
            let Some(metric) = host.metric_at(slot).filter(keeps) else { continue };
            text.extend_from_slice(metric.value().as_bytes());
            let fresh = metric.is_fresh() && host.parts().round == context.round;
            let decimals = metric.cell().decimals();
            cells.push(Cell::new(metric.number(), metric.tn(context.now), text.len(), decimals, fresh));
            kept.push(slot);
        }
        for (_, seen) in &self.added {
            text.extend_from_slice(&self.vals[seen.start as usize..seen.end as usize]);
            cells.push(cell(seen, text.len()));
        }
        let all = kept.len() == self.seen.len();
        (cells.into(), text, if all { None } else { Some(kept) })
    }

    fn finish(&mut self, attrs: &HostAttrs, up: bool, context: PollContext, interner: &mut Interner) -> Arc<Host> {
        let (cells, text, kept) = self.cells(context);
        self.replaced.sort_unstable_by_key(|(slot, _)| *slot);
        let base = self.base.take();
        let shape = self.shape.take();
        let old = base.as_ref().map(|host| host.parts());
        let same = kept.is_none() && self.added.is_empty() && self.replaced.is_empty();
        let kept = kept.unwrap_or_else(|| if same { Vec::new() } else { (0..self.seen.len()).collect() });
        let (shape, ids) = match (shape, old) {
            (Some(shape), Some(old)) if same => (shape, old.ids.clone()),
            (Some(shape), None) if same => {
                let ids = SeriesIds::Run(SeriesId::take(cells.len()));
                (shape, ids)
            }
            (shape, old) => {
                let slot_defs = shape.as_ref().map_or(&[][..], |shape| shape.defs());
                let defs = kept
                    .iter()
                    .map(|slot| {
                        let replaced = self.replaced.binary_search_by_key(slot, |(replaced, _)| *replaced);
                        Arc::clone(replaced.map_or(&slot_defs[*slot], |at| &self.replaced[at].1))
                    })
                    .chain(self.added.iter().map(|(def, _)| Arc::clone(def)))
                    .collect::<Vec<_>>();
                let ids = match old {
                    Some(old) => {
                        let first = SeriesId::take(self.added.len());
                        let known = kept.iter().map(|slot| old.ids.get(*slot));
                        SeriesIds::from_list(known.chain((0..self.added.len() as u64).map(|i| first + i)).collect())
                    }
                    None => SeriesIds::Run(SeriesId::take(defs.len())),
                };
                (interner.shape(defs), ids)
            }
        };
        let location = attrs.location.as_deref().unwrap_or("unspecified");
        let tags = attrs.tags.as_deref().unwrap_or("unspecified");
        let same_def = |def: &&Arc<HostDef>| {
            *def.name == *attrs.name && *def.ip == *attrs.ip && *def.location == *location && *def.tags == *tags
        };
        let def = old.map(|old| &old.def).filter(same_def).cloned().unwrap_or_else(|| {
            Arc::new(HostDef {
                name: attrs.name.as_str().into(),
                ip: attrs.ip.as_str().into(),
                location: location.into(),
                tags: tags.into(),
            })
        });
        Arc::new(Host::new(HostParts {
            def,
            shape,
            ids,
            cells,
            // All of it came as text.
            text: String::from_utf8(text).unwrap_or_default().into(),
            reported: attrs.reported,
            tn: attrs.tn,
            tmax: attrs.tmax,
            dmax: attrs.dmax.or(old.map(|old| old.dmax)).unwrap_or(0),
            gmond_started: attrs.gmond_started.or(old.map(|old| old.gmond_started)).unwrap_or(0),
            polled: context.now,
            round: if attrs.absent { PollContext::ABSENT } else { context.round },
            up,
        }))
    }
}

/// A cluster that is being read.
#[derive(Debug)]
pub(crate) struct ClusterBuilder {
    attrs: ClusterAttrs,
    before: Option<Arc<Cluster>>,
    /// Hosts of `before` in their slots, as far as this document had them, then new ones.
    slots: Vec<Option<Arc<Host>>>,
    added: HashMap<Box<str>, usize>,
    next: usize,
    /// The shape of the host read last: a new host is probably like it.
    like: Option<Arc<Shape>>,
}

impl ClusterBuilder {
    pub(crate) fn new(attrs: ClusterAttrs, before: Option<Arc<Cluster>>) -> Self {
        let slots = vec![None; before.as_ref().map_or(0, |before| before.hosts.len())];
        Self { attrs, before, slots, added: HashMap::new(), next: 0, like: None }
    }

    /// The attributes of a second CLUSTER element of the same name in one document; the last ones count.
    pub(crate) fn reopen(&mut self, attrs: ClusterAttrs) {
        let localtime = attrs.localtime.or(self.attrs.localtime);
        self.attrs = ClusterAttrs { localtime, ..attrs };
    }

    /// LOCALTIME, for the up/down rule.
    pub(crate) fn localtime(&self) -> u32 {
        self.attrs.localtime.or(self.before.as_ref().map(|before| before.localtime)).unwrap_or(0)
    }

    fn slot(&self, name: &str) -> Option<usize> {
        if let Some(before) = &self.before {
            if before.hosts.get(self.next).is_some_and(|host| host.name() == name) {
                return Some(self.next);
            }
            if let Some(slot) = before.host_slot(name) {
                return Some(slot);
            }
        }
        self.added.get(name).copied()
    }

    /// Whether a host of that name needs room that is not there yet.
    pub(crate) fn is_new(&self, name: &str) -> bool {
        self.slot(name).is_none()
    }

    /// Begins a host.
    pub(crate) fn start_host(&self, name: &str, host: &mut HostBuilder) {
        let base = self.slot(name).and_then(|slot| {
            let known = self.before.as_ref().and_then(|before| before.hosts.get(slot));
            self.slots[slot].as_ref().or(known).cloned()
        });
        host.start(base, self.like.as_ref());
    }

    /// Ends a host. Returns how many metrics the document had for it.
    pub(crate) fn finish_host(
        &mut self,
        host: &mut HostBuilder,
        attrs: &HostAttrs,
        up: bool,
        context: PollContext,
        interner: &mut Interner,
    ) -> usize {
        let slot = self.slot(&attrs.name);
        let host = host.finish(attrs, up, context, interner);
        let metrics = host.parts().cells.iter().filter(|cell| cell.is_fresh()).count();
        if up {
            self.like = Some(Arc::clone(&host.parts().shape));
        }
        match slot {
            Some(slot) => {
                self.slots[slot] = Some(host);
                self.next = slot + 1;
            }
            None => {
                self.added.insert(attrs.name.as_str().into(), self.slots.len());
                self.slots.push(Some(host));
            }
        }
        metrics
    }

    pub(crate) fn finish(self, context: PollContext) -> Arc<Cluster> {
        let before = self.before.as_deref();
        let mut hosts = Vec::with_capacity(self.slots.len());
        let mut same_slots = self.added.is_empty() && before.is_some();
        for (slot, host) in self.slots.into_iter().enumerate() {
            match host.or_else(|| Some(Arc::clone(before?.hosts.get(slot)?)).filter(|h| !h.is_expired(context.now))) {
                Some(host) => hosts.push(host),
                None => same_slots = false,
            }
        }
        let shared = |text: Option<String>, of: fn(&Cluster) -> &Arc<str>| -> Arc<str> {
            let text = text.as_deref().unwrap_or("unspecified");
            before.map(of).filter(|old| ***old == *text).cloned().unwrap_or_else(|| text.into())
        };
        let summary = summary::of_hosts(
            hosts.iter().map(|host| (&**host, host.parts().round == context.round)),
            before.map(|before| &*before.summary),
        );
        Arc::new(Cluster {
            name: shared(Some(self.attrs.name), |c| &c.name),
            owner: shared(self.attrs.owner, |c| &c.owner),
            latlong: shared(self.attrs.latlong, |c| &c.latlong),
            url: shared(self.attrs.url, |c| &c.url),
            localtime: self.attrs.localtime.or(before.map(|before| before.localtime)).unwrap_or(0),
            hosts: Hosts::new(hosts, before.map(|before| &before.hosts).filter(|_| same_slots)),
            summary: Arc::new(summary),
            pruned: false,
            polled: context.now,
            round: context.round,
        })
    }
}

/// The cluster without the hosts whose time is over at `now`; `None` if there are none. For sources that cannot be
/// polled: the hosts of others go when they are polled.
pub(crate) fn without_expired(cluster: &Cluster, now: UnixTime) -> Option<Cluster> {
    if !cluster.hosts().any(|host| host.is_expired(now)) {
        return None;
    }
    let hosts = cluster.hosts.iter().filter(|host| !host.is_expired(now)).cloned().collect();
    // The summary stays as it was: that of a source which is down is frozen (reference 3.5).
    Some(Cluster { hosts: Hosts::new(hosts, None), pruned: true, ..cluster.clone() })
}

/// What a source has, with what it said before and still counts: everything beyond the limits is new and skipped.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Room {
    hosts: usize,
    series: usize,
}

impl Room {
    /// The room that clusters have taken already.
    pub(crate) fn besides<'c>(clusters: impl Iterator<Item = &'c Arc<Cluster>>) -> Self {
        clusters.fold(Self::default(), |room, cluster| Self {
            hosts: room.hosts + cluster.hosts.len(),
            series: cluster.hosts.iter().fold(room.series, |n, host| n + host.parts().cells.len()),
        })
    }

    /// Takes the room of one more host, if it is there.
    pub(crate) fn host(&mut self) -> bool {
        self.hosts += 1;
        self.hosts <= limits::HOSTS_PER_SOURCE
    }

    /// Takes the room of one more series, if it is there.
    pub(crate) fn series(&mut self) -> bool {
        self.series += 1;
        self.series <= limits::SERIES_PER_SOURCE
    }
}
