//! The shape of a host: its list of metric definitions, shared between polls and between like hosts.

use std::hash::BuildHasher;
use std::sync::Arc;

use hashbrown::HashTable;

use super::metric::{MetricAttrs, MetricDef, Parts};

/// A list of metric definitions and an index by name. Slots keep their place for as long as the shape lives.
#[derive(Debug)]
pub(crate) struct Shape {
    defs: Box<[Arc<MetricDef>]>,
    index: HashTable<u32>,
    hasher: foldhash::fast::FixedState,
}

impl Shape {
    fn new(defs: Box<[Arc<MetricDef>]>, hasher: foldhash::fast::FixedState) -> Self {
        let mut index = HashTable::with_capacity(defs.len());
        for slot in 0..defs.len() as u32 {
            let name = defs[slot as usize].name();
            index.insert_unique(hasher.hash_one(name), slot, |s| hasher.hash_one(defs[*s as usize].name()));
        }
        Self { defs, index, hasher }
    }

    pub(crate) fn defs(&self) -> &[Arc<MetricDef>] {
        &self.defs
    }

    /// The slot of the metric of that name; `guess` is tried first.
    pub(crate) fn slot(&self, name: &str, guess: usize) -> Option<usize> {
        if self.defs.get(guess).is_some_and(|def| def.name() == name) {
            return Some(guess);
        }
        self.index
            .find(self.hasher.hash_one(name), |slot| self.defs[*slot as usize].name() == name)
            .map(|slot| *slot as usize)
    }
}

/// Finds the definition or shape that is already there. One for each source; swept after each poll, so it never
/// grows beyond what the source's snapshot uses.
#[derive(Debug)]
pub(crate) struct Interner {
    hasher: foldhash::fast::FixedState,
    defs: HashTable<Arc<MetricDef>>,
    shapes: HashTable<Arc<Shape>>,
    /// How many of both there were after the last sweep.
    swept_at: usize,
    /// Bytes of the definitions that came since.
    grown: usize,
}

impl Default for Interner {
    fn default() -> Self {
        // Names come from the network: an unpredictable seed keeps anyone from choosing names that collide.
        let seed = foldhash::fast::RandomState::default().hash_one("gmetad");
        Self {
            hasher: foldhash::fast::FixedState::with_seed(seed),
            defs: HashTable::new(),
            shapes: HashTable::new(),
            swept_at: 0,
            grown: 0,
        }
    }
}

impl Interner {
    pub(crate) fn def(&mut self, attrs: &MetricAttrs<'_>, rendered: &[u8], parts: Parts) -> Arc<MetricDef> {
        let hasher = &self.hasher;
        let hash = hasher.hash_one(rendered);
        if let Some(def) = self.defs.find(hash, |def| def.rendered() == rendered) {
            return Arc::clone(def);
        }
        let def = Arc::new(MetricDef::new(attrs, rendered, parts));
        self.grown += rendered.len();
        self.defs.insert_unique(hash, Arc::clone(&def), |def| hasher.hash_one(def.rendered()));
        def
    }

    /// The shape of exactly these definitions in this order.
    pub(crate) fn shape(&mut self, defs: Vec<Arc<MetricDef>>) -> Arc<Shape> {
        let hasher = &self.hasher;
        let key = |defs: &[Arc<MetricDef>]| hasher.hash_one(defs.iter().map(Arc::as_ptr).collect::<Vec<_>>());
        let same = |shape: &Arc<Shape>| {
            shape.defs.len() == defs.len() && shape.defs.iter().zip(&defs).all(|(a, b)| Arc::ptr_eq(a, b))
        };
        let hash = key(&defs);
        if let Some(shape) = self.shapes.find(hash, same) {
            return Arc::clone(shape);
        }
        let shape = Arc::new(Shape::new(defs.into_boxed_slice(), hasher.clone()));
        self.shapes.insert_unique(hash, Arc::clone(&shape), |shape| key(&shape.defs));
        shape
    }

    /// Forgets what no snapshot uses any more. Costs nothing while nothing new came.
    pub(crate) fn sweep(&mut self) {
        if self.defs.len() + self.shapes.len() == self.swept_at {
            return;
        }
        self.shapes.retain(|shape| Arc::strong_count(shape) > 1);
        self.defs.retain(|def| Arc::strong_count(def) > 1);
        self.swept_at = self.defs.len() + self.shapes.len();
        self.grown = 0;
    }

    /// Bytes of the definitions that came since the last sweep.
    pub(crate) fn grown(&self) -> usize {
        self.grown
    }

    /// Something is used no more: the next sweep looks, also if nothing new came.
    pub(crate) fn expect_waste(&mut self) {
        self.swept_at = usize::MAX;
    }

    /// How many definitions and shapes there are.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.defs.len() + self.shapes.len()
    }
}
