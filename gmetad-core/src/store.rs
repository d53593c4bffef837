//! The grid tree that everybody reads: one immutable snapshot a data source, merged by cluster name into a view.
//!
//! Publishing swaps one pointer: readers never wait for pollers, nor pollers for readers (invariant 1).

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use crate::model::{Cluster, Grid, Host, HostIndex, UnixTime};
use crate::source::SourceSnapshot;
use crate::summary::{self, RootRules, Summary};

/// Who we are: the outermost GRID of everything we print.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// `gridname`.
    pub name: String,
    /// `authority`: the URL of the grid's pages.
    pub authority: String,
}

impl Default for Identity {
    fn default() -> Self {
        Self { name: "unspecified".to_owned(), authority: String::new() }
    }
}

/// A data source of one store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SourceId(u64);

/// Holds what all sources said last.
#[derive(Debug)]
pub struct GridStore {
    inner: Mutex<Inner>,
    view: ArcSwap<ViewData>,
    last_root: Arc<LastRoot>,
    /// Random: tells this store's numbers of views from those of any other, an earlier process's included.
    id: u64,
}

/// The root summary of the newest view that has one: its series ids go on. The lock is held while a root is summed, so
/// that two views never give the same name different ids; nobody but those who want a root summary waits for it.
type LastRoot = Mutex<(u64, Option<Arc<Summary>>)>;

#[derive(Debug)]
struct Inner {
    identity: Arc<Identity>,
    rules: Arc<RootRules>,
    sources: Vec<(SourceId, SourceSlot)>,
    next: u64,
    views: u64,
    /// Clusters that more than one source has.
    merged: HashMap<Arc<str>, Merged>,
}

#[derive(Debug)]
struct SourceSlot {
    name: String,
    snapshot: SourceSnapshot,
    alive: bool,
    /// The snapshot is what an earlier process saved: readers are shown it, RRDs must not be.
    saved: bool,
}

/// The cluster of one of several sources, and whether that source is alive.
type Part = (Arc<Cluster>, bool);

#[derive(Debug)]
struct Merged {
    parts: Vec<Part>,
    result: Arc<Cluster>,
}

/// A cluster or a grid of the view.
#[derive(Clone, Debug)]
pub(crate) enum Item {
    Cluster(Arc<Cluster>),
    Grid(Arc<Grid>),
}

impl Item {
    pub(crate) fn name(&self) -> &Arc<str> {
        match self {
            Self::Cluster(cluster) => &cluster.name,
            Self::Grid(grid) => &grid.name,
        }
    }

    /// Whether both are the same object.
    fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Cluster(a), Self::Cluster(b)) => Arc::ptr_eq(a, b),
            (Self::Grid(a), Self::Grid(b)) => Arc::ptr_eq(a, b),
            _ => false,
        }
    }

    pub(crate) fn summary(&self) -> &Arc<Summary> {
        match self {
            Self::Cluster(cluster) => &cluster.summary,
            Self::Grid(grid) => &grid.summary,
        }
    }

    fn polled(&self) -> UnixTime {
        match self {
            Self::Cluster(cluster) => cluster.polled,
            Self::Grid(grid) => grid.polled,
        }
    }
}

/// An item of a view.
#[derive(Clone, Debug)]
struct Shown {
    item: Item,
    /// Whether a source of it answers.
    alive: bool,
    /// The number of the view that showed exactly this object first.
    since: u64,
}

#[derive(Debug)]
struct ViewData {
    identity: Arc<Identity>,
    rules: Arc<RootRules>,
    items: Vec<Shown>,
    by_name: Arc<HashMap<Arc<str>, usize>>,
    root: OnceLock<Arc<Summary>>,
    last_root: Arc<LastRoot>,
    /// Views are numbered in the order they are shown.
    number: u64,
    /// The root summary counts what an earlier process saved.
    saved: bool,
}

/// The whole grid at one moment. Cheap to take and to clone; it never changes.
#[derive(Clone, Debug)]
pub struct GridView(Arc<ViewData>);

impl GridStore {
    /// An empty grid.
    pub fn new(identity: Identity, rules: RootRules) -> Self {
        let inner = Inner {
            identity: Arc::new(identity),
            rules: Arc::new(rules),
            sources: Vec::new(),
            next: 0,
            views: 0,
            merged: HashMap::new(),
        };
        let last_root = Arc::default();
        let view = ArcSwap::from_pointee(inner.view(&last_root, HashMap::new(), None));
        let id = RandomState::new().hash_one(std::process::id());
        Self { inner: Mutex::new(inner), view, last_root, id }
    }

    /// Announces a data source; it shows nothing until it publishes. `name` is for log texts.
    pub fn add_source(&self, name: &str) -> SourceId {
        let mut inner = self.inner.lock();
        inner.next += 1;
        let id = SourceId(inner.next);
        let slot = SourceSlot { name: name.to_owned(), snapshot: SourceSnapshot::default(), alive: true, saved: false };
        inner.sources.push((id, slot));
        id
    }

    /// Takes a data source and all it said out of the grid.
    pub fn remove_source(&self, id: SourceId) {
        self.change(|inner| {
            let at = inner.sources.iter().position(|(known, _)| *known == id)?;
            Some(inner.sources.remove(at))
        });
    }

    /// Shows what an earlier process saved of a source, until it is polled. `alive` is what it was then.
    pub(crate) fn restore(&self, id: SourceId, snapshot: SourceSnapshot, alive: bool) {
        self.change(|inner| {
            let (_, slot) = inner.sources.iter_mut().find(|(known, _)| *known == id)?;
            (slot.alive, slot.saved) = (alive, true);
            Some(std::mem::replace(&mut slot.snapshot, snapshot))
        });
    }

    /// Shows a poll. The source counts as alive.
    ///
    /// Returns the clusters of the snapshot as they are in the grid: with the summary over all sources where a
    /// cluster has more than one (those left out that show what an earlier process saved: what is returned becomes
    /// points of RRDs). `None` if the source was removed.
    pub fn publish(&self, id: SourceId, snapshot: SourceSnapshot) -> Option<Vec<Arc<Cluster>>> {
        let mut own = snapshot.clusters.clone();
        if self.publish_like_before(id, &snapshot) {
            return Some(own);
        }
        self.change(|inner| {
            let (_, slot) = inner.sources.iter_mut().find(|(known, _)| *known == id)?;
            (slot.alive, slot.saved) = (true, false);
            Some(std::mem::replace(&mut slot.snapshot, snapshot))
        })?;
        let inner = self.inner.lock();
        for cluster in &mut own {
            if let Some(merged) = inner.merged.get(&cluster.name) {
                let summary = match inner.polled_parts(&cluster.name) {
                    Some(polled) => union(&polled, &merged.result.summary).summary,
                    None => Arc::clone(&merged.result.summary),
                };
                *cluster = Arc::new(Cluster { summary, ..Cluster::clone(cluster) });
            }
        }
        Some(own)
    }

    /// Shows a poll that has the clusters and grids the one before had, none of them shared with another source: only
    /// they change in the view. False if it is otherwise.
    fn publish_like_before(&self, id: SourceId, snapshot: &SourceSnapshot) -> bool {
        let mut inner = self.inner.lock();
        if !inner.merged.is_empty() {
            return false;
        }
        let since = inner.views + 1;
        let Some((_, slot)) = inner.sources.iter_mut().find(|(known, _)| *known == id) else { return false };
        let shown = self.view.load();
        let mut items = None;
        for (old, new) in slot.snapshot.items().zip(snapshot.items()) {
            let at = shown.by_name.get(new.name()).copied().filter(|at| shown.items[*at].item.is(&old));
            let (Some(at), true) = (at, old.name() == new.name()) else { return false };
            items.get_or_insert_with(|| shown.items.clone())[at] = Shown { item: new, alive: true, since };
        }
        let same_number = slot.snapshot.items().count() == snapshot.items().count();
        let (Some(items), true) = (items, same_number) else { return false };
        let old_snapshot = std::mem::replace(&mut slot.snapshot, snapshot.clone());
        (slot.alive, slot.saved) = (true, false);
        inner.views += 1;
        let view = inner.view_of(&self.last_root, items, Arc::clone(&shown.by_name));
        drop(shown);
        let old = self.view.swap(Arc::new(view));
        drop(inner);
        drop((old, old_snapshot));
        true
    }

    /// Marks a source as dead: its data stay, but leave the root summary; hosts whose DMAX is over at `now` go. Returns
    /// what it said last.
    pub fn mark_dead(&self, id: SourceId, now: UnixTime) -> SourceSnapshot {
        self.change(|inner| {
            let (_, slot) = inner.sources.iter_mut().find(|(known, _)| *known == id)?;
            let pruned = slot.snapshot.without_expired(now);
            let changed = std::mem::replace(&mut slot.alive, false) || pruned.is_some();
            changed.then(|| pruned.map(|pruned| std::mem::replace(&mut slot.snapshot, pruned)))
        });
        let inner = self.inner.lock();
        inner.sources.iter().find(|(known, _)| *known == id).map(|(_, slot)| slot.snapshot.clone()).unwrap_or_default()
    }

    /// Changes who we are; for a reload of the configuration.
    pub fn set_identity(&self, identity: Identity, rules: RootRules) {
        self.change(|inner| {
            inner.identity = Arc::new(identity);
            inner.rules = Arc::new(rules);
            Some(())
        });
    }

    /// A random number that no other store has, in this process or an earlier one.
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// The grid as it is now.
    pub fn view(&self) -> GridView {
        GridView(self.view.load_full())
    }

    /// Changes something and, if that returns anything, shows it. What it returns is dropped outside the lock, and what
    /// there is to log is logged there (invariant 1).
    fn change<T>(&self, change: impl FnOnce(&mut Inner) -> Option<T>) -> Option<T> {
        let mut inner = self.inner.lock();
        let changed = change(&mut inner)?;
        inner.views += 1;
        let shown = self.view();
        let (merged, warnings) = inner.merge(&shown);
        let view = Arc::new(inner.view(&self.last_root, merged, Some(&shown)));
        let old = self.view.swap(view);
        drop(inner);
        drop((old, shown));
        for warning in warnings {
            log::warn!("{warning}");
        }
        Some(changed)
    }
}

impl Inner {
    /// The parts of a cluster that were polled by this process, if there is one that was not.
    fn polled_parts(&self, name: &str) -> Option<Vec<Part>> {
        let parts = |saved: bool| {
            let slots = self.sources.iter().filter(move |(_, slot)| slot.saved == saved);
            slots.flat_map(move |(_, slot)| {
                let clusters = slot.snapshot.clusters().filter(move |cluster| *cluster.name == *name);
                clusters.map(|cluster| (Arc::clone(cluster), slot.alive))
            })
        };
        parts(true).next().is_some().then(|| parts(false).collect())
    }

    /// Brings `merged` up to date; returns the cluster of each name that several sources have, and what to log.
    fn merge(&mut self, shown: &GridView) -> (HashMap<Arc<str>, Arc<Cluster>>, Vec<String>) {
        let mut parts: HashMap<Arc<str>, Vec<Part>> = HashMap::new();
        let mut names: HashMap<&Arc<str>, usize> = HashMap::new();
        for (_, slot) in &self.sources {
            for cluster in slot.snapshot.clusters() {
                *names.entry(&cluster.name).or_default() += 1;
            }
        }
        if names.values().all(|n| *n == 1) {
            self.merged.clear();
            return (HashMap::new(), Vec::new());
        }
        for (_, slot) in &self.sources {
            for cluster in slot.snapshot.clusters().filter(|cluster| names[&cluster.name] > 1) {
                parts.entry(Arc::clone(&cluster.name)).or_default().push((Arc::clone(cluster), slot.alive));
            }
        }
        let mut warnings = Vec::new();
        for name in parts.keys().filter(|name| !self.merged.contains_key(*name)) {
            let sources: Vec<_> = self
                .sources
                .iter()
                .filter(|(_, slot)| slot.snapshot.clusters().any(|cluster| cluster.name == *name))
                .map(|(_, slot)| slot.name.as_str())
                .collect();
            warnings.push(format!(
                "cluster [{name}] comes from several data sources ({}): their hosts are merged",
                sources.join(", ")
            ));
        }
        let mut before = std::mem::take(&mut self.merged);
        self.merged = parts
            .into_iter()
            .map(|(name, parts)| {
                let known = before.remove(&name);
                let unchanged = |known: &Merged| {
                    let same = |((a, a_alive), (b, b_alive)): (&Part, &Part)| Arc::ptr_eq(a, b) && a_alive == b_alive;
                    known.parts.len() == parts.len() && known.parts.iter().zip(&parts).all(same)
                };
                let merged = match known {
                    Some(known) if unchanged(&known) => known,
                    _ => {
                        // Series ids go on from what was shown before, be it a union or the cluster of one source.
                        let before = shown.cluster(&name).unwrap_or(&parts[0].0);
                        Merged { result: Arc::new(union(&parts, before.summary())), parts }
                    }
                };
                (name, merged)
            })
            .collect();
        let merged = self.merged.iter().map(|(name, merged)| (Arc::clone(name), Arc::clone(&merged.result))).collect();
        (merged, warnings)
    }

    /// The view of what there is now, after `before`.
    fn view(
        &self,
        last_root: &Arc<LastRoot>,
        merged: HashMap<Arc<str>, Arc<Cluster>>,
        before: Option<&GridView>,
    ) -> ViewData {
        let mut items: Vec<Shown> = Vec::new();
        let mut by_name: HashMap<Arc<str>, usize> = HashMap::new();
        for (_, slot) in &self.sources {
            for mut item in slot.snapshot.items() {
                if let (Item::Cluster(_), Some(merged)) = (&item, merged.get(item.name())) {
                    item = Item::Cluster(Arc::clone(merged));
                }
                match by_name.get(item.name()) {
                    // A cluster of several sources is alive while one of them is.
                    Some(at) => items[*at].alive |= slot.alive,
                    None => {
                        by_name.insert(Arc::clone(item.name()), items.len());
                        let known = before.and_then(|view| view.shown(item.name())).filter(|old| old.item.is(&item));
                        let since = known.map_or(self.views, |old| old.since);
                        items.push(Shown { item, alive: slot.alive, since });
                    }
                }
            }
        }
        self.view_of(last_root, items, Arc::new(by_name))
    }

    fn view_of(
        &self,
        last_root: &Arc<LastRoot>,
        items: Vec<Shown>,
        by_name: Arc<HashMap<Arc<str>, usize>>,
    ) -> ViewData {
        ViewData {
            identity: Arc::clone(&self.identity),
            rules: Arc::clone(&self.rules),
            items,
            by_name,
            root: OnceLock::new(),
            last_root: Arc::clone(last_root),
            number: self.views,
            saved: self.sources.iter().any(|(_, slot)| slot.saved && slot.alive),
        }
    }
}

/// The union of the hosts of clusters of one name; of a host that is in several the one with the newer REPORTED. The
/// summary counts the hosts of sources that are alive, or, if none is, stays what it was, as that of any dead source.
fn union(parts: &[Part], before: &Summary) -> Cluster {
    let (newest, _) = parts.iter().max_by_key(|(part, _)| part.localtime).unwrap_or(&parts[0]);
    let all_dead = parts.iter().all(|(_, alive)| !alive);
    let mut hosts: Vec<(Arc<Host>, bool)> = Vec::new();
    let mut by_name: HashMap<&str, usize> = HashMap::new();
    for (part, alive) in parts {
        for host in part.hosts.iter() {
            let counted = part.is_fresh(host) && (*alive || all_dead);
            match by_name.get(host.name()) {
                Some(at) if host.reported() > hosts[*at].0.reported() => hosts[*at] = (Arc::clone(host), counted),
                Some(_) => {}
                None => {
                    by_name.insert(host.name(), hosts.len());
                    hosts.push((Arc::clone(host), counted));
                }
            }
        }
    }
    let summary = summary::of_hosts(hosts.iter().map(|(host, counted)| (&**host, *counted)), Some(before));
    let hosts: Arc<[Arc<Host>]> = hosts.into_iter().map(|(host, _)| host).collect();
    Cluster { index: Arc::new(HostIndex::new(&hosts)), hosts, summary: Arc::new(summary), ..Cluster::clone(newest) }
}

impl GridView {
    /// NAME of the own grid.
    pub fn name(&self) -> &str {
        &self.0.identity.name
    }

    /// AUTHORITY of the own grid.
    pub fn authority(&self) -> &str {
        &self.0.identity.authority
    }

    /// All clusters.
    pub fn clusters(&self) -> impl Iterator<Item = &Cluster> {
        self.items().filter_map(|item| match item {
            Item::Cluster(cluster) => Some(&**cluster),
            Item::Grid(_) => None,
        })
    }

    /// All grids that were polled from other gmetads.
    pub fn grids(&self) -> impl Iterator<Item = &Grid> {
        self.items().filter_map(|item| match item {
            Item::Grid(grid) => Some(&**grid),
            Item::Cluster(_) => None,
        })
    }

    /// The cluster of exactly that name.
    pub fn cluster(&self, name: &str) -> Option<&Cluster> {
        match self.item(name) {
            Some(Item::Cluster(cluster)) => Some(cluster),
            _ => None,
        }
    }

    /// The polled grid of exactly that name.
    pub fn grid(&self, name: &str) -> Option<&Grid> {
        match self.item(name) {
            Some(Item::Grid(grid)) => Some(grid),
            _ => None,
        }
    }

    /// The root summary: the sum over all sources that are alive. Made when first asked for.
    pub fn summary(&self) -> &Arc<Summary> {
        let data = &*self.0;
        data.root.get_or_init(|| {
            let mut last = data.last_root.lock();
            let parts = data.items.iter().map(|shown| (&**shown.item.summary(), shown.alive));
            let root = Arc::new(summary::of_summaries(parts, &data.rules, last.1.as_deref()));
            if data.number >= last.0 {
                *last = (data.number, Some(Arc::clone(&root)));
            }
            root
        })
    }

    /// What one source said, alone; for its file.
    pub(crate) fn of_snapshot(snapshot: &SourceSnapshot) -> Self {
        let store = GridStore::new(Identity::default(), RootRules::default());
        let id = store.add_source("");
        store.publish(id, snapshot.clone());
        store.view()
    }

    /// Whether the root summary counts what an earlier process saved.
    pub(crate) fn counts_saved(&self) -> bool {
        self.0.saved
    }

    pub(crate) fn items(&self) -> impl ExactSizeIterator<Item = &Item> {
        self.0.items.iter().map(|shown| &shown.item)
    }

    pub(crate) fn item(&self, name: &str) -> Option<&Item> {
        self.shown(name).map(|shown| &shown.item)
    }

    fn shown(&self, name: &str) -> Option<&Shown> {
        self.0.by_name.get(name).map(|at| &self.0.items[*at])
    }

    /// Which state of the item of that name this is, or of everything if there is none: a number that grows with each
    /// change, and when the oldest of what is shown was polled.
    pub(crate) fn state(&self, name: Option<&str>) -> (u64, Option<UnixTime>) {
        match name.and_then(|name| self.shown(name)) {
            Some(shown) => (shown.since, Some(shown.item.polled())),
            None => (self.0.number, self.items().map(Item::polled).min()),
        }
    }
}
