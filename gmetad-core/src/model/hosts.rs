//! The hosts of a cluster in their slots, to be found by name.

use std::hash::BuildHasher;
use std::sync::Arc;

use hashbrown::HashTable;

use super::Host;

/// Hosts in slots; no two have one name. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Hosts(Kind);

#[derive(Clone, Debug)]
enum Kind {
    /// The index is shared between polls while the hosts and their order stay the same.
    List(Arc<[Arc<Host>]>, Arc<Index>),
    Joined(Arc<Joined>),
}

/// One after the other.
#[derive(Debug)]
struct Joined {
    parts: Vec<Hosts>,
    /// The slot behind the last one of each part.
    ends: Vec<usize>,
}

#[derive(Debug)]
struct Index {
    table: HashTable<u32>,
    hasher: foldhash::fast::RandomState,
}

impl Hosts {
    /// These, in this order. If `before` has the same names in the same slots, what it knows of them is used again.
    pub(crate) fn new(list: Vec<Arc<Host>>, before: Option<&Self>) -> Self {
        let index = match before {
            Some(Self(Kind::List(_, index))) => Arc::clone(index),
            _ => Arc::new(Index::new(&list)),
        };
        Self(Kind::List(list.into(), index))
    }

    /// Those of several clusters, none of which has a host of another one's.
    pub(crate) fn joined(parts: Vec<Self>) -> Self {
        let sum = |end: &mut usize, part: &Self| {
            *end += part.len();
            Some(*end)
        };
        let ends = parts.iter().scan(0, sum).collect();
        Self(Kind::Joined(Arc::new(Joined { parts, ends })))
    }

    /// Whether both have the same names in the same slots, as far as that is known without looking at them.
    pub(crate) fn are_named_like(&self, other: &Self) -> bool {
        matches!((&self.0, &other.0), (Kind::List(_, a), Kind::List(_, b)) if Arc::ptr_eq(a, b))
    }

    pub(crate) fn len(&self) -> usize {
        match &self.0 {
            Kind::List(list, _) => list.len(),
            Kind::Joined(joined) => joined.ends.last().copied().unwrap_or(0),
        }
    }

    pub(crate) fn get(&self, slot: usize) -> Option<&Arc<Host>> {
        match &self.0 {
            Kind::List(list, _) => list.get(slot),
            Kind::Joined(joined) => {
                let part = joined.ends.partition_point(|end| *end <= slot);
                joined.parts.get(part)?.get(slot - joined.start(part))
            }
        }
    }

    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = &Arc<Host>> + Clone {
        (0..self.len()).map(|slot| &self[slot])
    }

    /// The slot of the host of exactly that name.
    pub(crate) fn slot(&self, name: &str) -> Option<usize> {
        match &self.0 {
            Kind::List(list, index) => index.find(name, list),
            Kind::Joined(joined) => joined
                .parts
                .iter()
                .enumerate()
                .find_map(|(at, part)| part.slot(name).map(|slot| joined.start(at) + slot)),
        }
    }
}

impl std::ops::Index<usize> for Hosts {
    type Output = Arc<Host>;

    fn index(&self, slot: usize) -> &Arc<Host> {
        self.get(slot).expect("a slot that there is")
    }
}

impl Joined {
    fn start(&self, part: usize) -> usize {
        part.checked_sub(1).map_or(0, |before| self.ends[before])
    }
}

impl Index {
    fn new(hosts: &[Arc<Host>]) -> Self {
        let mut table = HashTable::with_capacity(hosts.len());
        let hasher = foldhash::fast::RandomState::default();
        for (slot, host) in hosts.iter().enumerate() {
            let hash = |slot: &u32| hasher.hash_one(hosts[*slot as usize].name());
            table.insert_unique(hasher.hash_one(host.name()), slot as u32, hash);
        }
        Self { table, hasher }
    }

    fn find(&self, name: &str, hosts: &[Arc<Host>]) -> Option<usize> {
        let slot = self.table.find(self.hasher.hash_one(name), |slot| hosts[*slot as usize].name() == name);
        slot.map(|slot| *slot as usize)
    }
}
