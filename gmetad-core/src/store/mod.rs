//! The grid tree that everybody reads: one immutable snapshot a data source, merged by cluster name into a view.
//!
//! Publishing swaps one pointer, and nobody holds its lock for longer: readers never wait for pollers, nor pollers for
//! readers (invariant 1). What a poll does here does not grow with the number of sources.

mod merged;

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, OnceLock};

use merged::{Merged, Part};
use parking_lot::Mutex;

use crate::model::{Cluster, Grid, UnixTime};
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
    view: Mutex<Arc<ViewData>>,
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
    /// In the order of their ids.
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

    /// Whether both are clusters, or grids.
    fn is_kind_of(&self, other: &Self) -> bool {
        matches!((self, other), (Self::Cluster(_), Self::Cluster(_)) | (Self::Grid(_), Self::Grid(_)))
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

/// The items of a view, in pieces: of those that a poll leaves as they are a new view shares most.
#[derive(Clone, Debug)]
struct Items(Vec<Arc<[Shown]>>);

/// Items of a piece.
const PIECE: usize = 32;

impl Items {
    fn get(&self, at: usize) -> &Shown {
        &self.0[at / PIECE][at % PIECE]
    }

    fn set(&mut self, at: usize, shown: Shown) {
        Arc::make_mut(&mut self.0[at / PIECE])[at % PIECE] = shown;
    }

    fn iter(&self) -> impl Iterator<Item = &Shown> + Clone {
        self.0.iter().flat_map(|piece| piece.iter())
    }
}

impl From<Vec<Shown>> for Items {
    fn from(items: Vec<Shown>) -> Self {
        Self(items.chunks(PIECE).map(Arc::from).collect())
    }
}

#[derive(Debug)]
struct ViewData {
    identity: Arc<Identity>,
    rules: Arc<RootRules>,
    items: Items,
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
        let view = Mutex::new(Arc::new(inner.view(&last_root, HashMap::new(), None)));
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
            let at = inner.position(id)?;
            Some(inner.sources.remove(at))
        });
    }

    /// Shows what an earlier process saved of a source, until it is polled. `alive` is what it was then.
    pub(crate) fn restore(&self, id: SourceId, snapshot: SourceSnapshot, alive: bool) {
        self.change(|inner| {
            let slot = inner.slot(id)?;
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
        if !self.publish_like_before(id, &snapshot) {
            self.change(|inner| {
                let slot = inner.slot(id)?;
                (slot.alive, slot.saved) = (true, false);
                Some(std::mem::replace(&mut slot.snapshot, snapshot))
            })?;
        }
        let mut inner = self.inner.lock();
        // Removed meanwhile.
        inner.position(id)?;
        for cluster in &mut own {
            if let Some(merged) = inner.merged.get_mut(&cluster.name) {
                *cluster = Arc::new(Cluster { summary: merged.polled_summary(), ..Cluster::clone(cluster) });
            }
        }
        Some(own)
    }

    /// Shows a poll that has the clusters and grids the one before had: only they change in the view. False if it is
    /// otherwise.
    fn publish_like_before(&self, id: SourceId, snapshot: &SourceSnapshot) -> bool {
        let mut locked = self.inner.lock();
        let inner = &mut *locked;
        let since = inner.views + 1;
        let Some(slot) = inner.position(id) else { return false };
        let slot = &mut inner.sources[slot].1;
        let shown = self.view().0;
        let place = |(old, new): (Item, Item)| {
            let at = *shown.by_name.get(new.name()).filter(|_| old.name() == new.name() && old.is_kind_of(&new))?;
            let shown = &shown.items.get(at).item;
            if shown.is(&old) {
                return Some((at, new, None));
            }
            // Of a cluster that several sources have another object is shown.
            let (Item::Cluster(old), Item::Cluster(_)) = (&old, &new) else { return None };
            let merged =
                inner.merged.get(&old.name).filter(|merged| shown.is(&Item::Cluster(Arc::clone(&merged.result))))?;
            Some((at, new, Some(merged.position(id, old)?)))
        };
        let same_number = slot.snapshot.items().count() == snapshot.items().count();
        // What the document did not have came over as it was.
        let was_polled = slot.alive && !slot.saved;
        let changed = slot.snapshot.items().zip(snapshot.items()).filter(|(old, new)| !(was_polled && old.is(new)));
        let places: Option<Vec<_>> = changed.map(place).collect();
        let Some(places) = places.filter(|_| same_number) else { return false };
        let mut items = shown.items.clone();
        for (at, mut item, part) in places {
            if let (Some(part), Item::Cluster(cluster)) = (part, &mut item)
                && let Some(merged) = inner.merged.get_mut(&cluster.name)
            {
                merged.replace(part, Arc::clone(cluster));
                *cluster = Arc::clone(&merged.result);
            }
            items.set(at, Shown { item, alive: true, since });
        }
        let old_snapshot = std::mem::replace(&mut slot.snapshot, snapshot.clone());
        (slot.alive, slot.saved) = (true, false);
        inner.views += 1;
        // Only this source changed, and if it was polled before it was no reason for `saved`.
        let saved = if was_polled { shown.saved } else { inner.counts_saved() };
        let view = inner.view_of(&self.last_root, items, Arc::clone(&shown.by_name), saved);
        let old = std::mem::replace(&mut *self.view.lock(), Arc::new(view));
        drop(locked);
        drop((old, shown, old_snapshot));
        true
    }

    /// Marks a source as dead: its data stay, but leave the root summary; hosts whose DMAX is over at `now` go. Returns
    /// what it said last.
    pub fn mark_dead(&self, id: SourceId, now: UnixTime) -> SourceSnapshot {
        self.change(|inner| {
            let slot = inner.slot(id)?;
            let pruned = slot.snapshot.without_expired(now);
            let changed = std::mem::replace(&mut slot.alive, false) || pruned.is_some();
            changed.then(|| pruned.map(|pruned| std::mem::replace(&mut slot.snapshot, pruned)))
        });
        let mut inner = self.inner.lock();
        inner.slot(id).map(|slot| slot.snapshot.clone()).unwrap_or_default()
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
        GridView(Arc::clone(&self.view.lock()))
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
        let old = std::mem::replace(&mut *self.view.lock(), view);
        drop(inner);
        drop((old, shown));
        for warning in warnings {
            log::warn!("{warning}");
        }
        Some(changed)
    }
}

impl Inner {
    fn position(&self, id: SourceId) -> Option<usize> {
        self.sources.binary_search_by_key(&id, |(id, _)| *id).ok()
    }

    fn slot(&mut self, id: SourceId) -> Option<&mut SourceSlot> {
        self.position(id).map(|at| &mut self.sources[at].1)
    }

    fn counts_saved(&self) -> bool {
        self.sources.iter().any(|(_, slot)| slot.saved && slot.alive)
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
        for (id, slot) in &self.sources {
            for cluster in slot.snapshot.clusters().filter(|cluster| names[&cluster.name] > 1) {
                let part = Part::new(*id, Arc::clone(cluster), slot.alive, slot.saved);
                parts.entry(Arc::clone(&cluster.name)).or_default().push(part);
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
                    let same = |(a, b): (&Part, &Part)| a.is_like(b);
                    known.parts.len() == parts.len() && known.parts.iter().zip(&parts).all(same)
                };
                let merged = match known {
                    Some(known) if unchanged(&known) => known,
                    Some(known) => Merged::new(parts, &known.result.summary),
                    None => {
                        // Series ids go on from what was shown before, the cluster of one source.
                        let before = shown.cluster(&name).unwrap_or(&parts[0].cluster);
                        let before = Arc::clone(&before.summary);
                        Merged::new(parts, &before)
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
        self.view_of(last_root, items.into(), Arc::new(by_name), self.counts_saved())
    }

    fn view_of(
        &self,
        last_root: &Arc<LastRoot>,
        items: Items,
        by_name: Arc<HashMap<Arc<str>, usize>>,
        saved: bool,
    ) -> ViewData {
        ViewData {
            identity: Arc::clone(&self.identity),
            rules: Arc::clone(&self.rules),
            items,
            by_name,
            root: OnceLock::new(),
            last_root: Arc::clone(last_root),
            number: self.views,
            saved,
        }
    }
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

    pub(crate) fn items(&self) -> impl Iterator<Item = &Item> {
        self.0.items.iter().map(|shown| &shown.item)
    }

    pub(crate) fn item(&self, name: &str) -> Option<&Item> {
        self.shown(name).map(|shown| &shown.item)
    }

    fn shown(&self, name: &str) -> Option<&Shown> {
        self.0.by_name.get(name).map(|at| self.0.items.get(*at))
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
