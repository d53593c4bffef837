//! The shape of a host: its list of metric definitions, shared between polls and between like hosts.

use std::hash::BuildHasher;
use std::sync::Arc;

use hashbrown::HashTable;

use super::intern::HASHER;
use super::metric::MetricDef;

/// A list of metric definitions and an index by name. Slots keep their place for as long as the shape lives.
#[derive(Debug)]
pub(crate) struct Shape {
    defs: Box<[Arc<MetricDef>]>,
    index: HashTable<u32>,
}

impl Shape {
    pub(super) fn new(defs: Box<[Arc<MetricDef>]>) -> Self {
        let mut index = HashTable::with_capacity(defs.len());
        for slot in 0..defs.len() as u32 {
            let name = defs[slot as usize].name();
            index.insert_unique(HASHER.hash_one(name), slot, |s| HASHER.hash_one(defs[*s as usize].name()));
        }
        Self { defs, index }
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
            .find(HASHER.hash_one(name), |slot| self.defs[*slot as usize].name() == name)
            .map(|slot| *slot as usize)
    }
}
