//! Keeps what is alike once: definitions and shapes of a source, and definitions that sources have in common.

use std::hash::BuildHasher;
use std::sync::{Arc, LazyLock, Weak};

use hashbrown::HashTable;
use parking_lot::Mutex;

use super::metric::{MetricAttrs, MetricDef, Parts};
use super::shape::Shape;
use crate::limits;
use crate::summary::SummaryDef;
use crate::xml::recognise::{InputText, Printed};

/// Names come from the network: an unpredictable seed keeps anyone from choosing names that collide.
pub(super) static HASHER: LazyLock<foldhash::fast::FixedState> =
    LazyLock::new(|| foldhash::fast::FixedState::with_seed(foldhash::fast::RandomState::default().hash_one("gmetad")));

/// The definitions of all sources that came as the same text: gmonds of a site mostly send the same ones.
static METRICS: Mutex<Definitions<MetricDef>> = Mutex::new(Definitions::new());

/// Those of all summaries.
static SUMMARIES: Mutex<Definitions<SummaryDef>> = Mutex::new(Definitions::new());

/// A definition, as it is printed.
pub(crate) trait Definition {
    fn rendered(&self) -> &[u8];
}

/// Definitions as long as somebody uses them, with their hashes.
#[derive(Debug)]
struct Definitions<D> {
    table: HashTable<(u64, Weak<D>)>,
    /// How many there were after the last sweep.
    swept_at: usize,
}

impl<D: Definition> Definitions<D> {
    const fn new() -> Self {
        Self { table: HashTable::new(), swept_at: 0 }
    }

    /// The one that is printed like this and is the `right` one.
    fn find(&self, hash: u64, rendered: &[u8], right: impl Fn(&D) -> bool) -> Option<Arc<D>> {
        let mut found = None;
        self.table.find(hash, |(of, def)| {
            let same = |def: &Arc<D>| def.rendered() == rendered && right(def);
            found = if *of == hash { def.upgrade().filter(same) } else { None };
            found.is_some()
        });
        found
    }

    fn insert(&mut self, hash: u64, def: &Arc<D>) {
        self.table.insert_unique(hash, (hash, Arc::downgrade(def)), |(hash, _)| *hash);
    }

    /// Gives `def`'s place to another one that is printed like it.
    fn replace(&mut self, hash: u64, def: &Arc<D>, by: &Arc<D>) {
        if let Some((_, place)) = self.table.find_mut(hash, |(_, other)| Weak::as_ptr(other) == Arc::as_ptr(def)) {
            *place = Arc::downgrade(by);
        }
    }

    fn sweep(&mut self) {
        self.table.retain(|(_, def)| def.strong_count() > 0);
        self.swept_at = self.table.len();
    }

    /// Keeps one that was not found, for all; now and then looks for those that nobody uses.
    fn share(&mut self, hash: u64, def: D) -> Arc<D> {
        if self.table.len() >= 2 * self.swept_at.max(limits::COMMON_DEFINITIONS) {
            self.sweep();
        }
        let def = Arc::new(def);
        self.insert(hash, &def);
        def
    }
}

/// The definition of a summary metric that is printed like this.
pub(crate) fn summary_def(rendered: &[u8], make: impl FnOnce() -> SummaryDef) -> Arc<SummaryDef> {
    let hash = HASHER.hash_one(rendered);
    let mut summaries = SUMMARIES.lock();
    summaries.find(hash, rendered, |_| true).unwrap_or_else(|| summaries.share(hash, make()))
}

/// Finds the definition or shape that is already there. One for each source; swept after each poll, so it never
/// grows beyond what the source's snapshot uses.
#[derive(Debug)]
pub(crate) struct Interner {
    defs: Definitions<MetricDef>,
    shapes: HashTable<Arc<Shape>>,
    /// How many of both there were after the last sweep.
    swept_at: usize,
    /// Bytes of the definitions that came since.
    grown: usize,
}

impl Default for Interner {
    fn default() -> Self {
        Self { defs: Definitions::new(), shapes: HashTable::new(), swept_at: 0, grown: 0 }
    }
}

impl Interner {
    /// The definition that is printed like this. `learn` is asked for the text it was understood from, unless that is known.
    pub(crate) fn def(
        &mut self,
        attrs: &MetricAttrs<'_>,
        rendered: &[u8],
        parts: Parts,
        learn: impl FnOnce(Printed<'_>) -> Option<InputText>,
    ) -> Arc<MetricDef> {
        let hash = HASHER.hash_one(rendered);
        let known = self.defs.find(hash, rendered, |_| true);
        if let Some(def) = known.as_ref().filter(|def| def.input().is_some()) {
            return Arc::clone(def);
        }
        // A source with so many definitions has some for each host.
        let is_common = self.defs.table.len() < limits::COMMON_DEFINITIONS;
        let make = |input| MetricDef::new(attrs, rendered, parts, input);
        let def = match learn(Printed::new(rendered, parts)) {
            Some(input) if is_common => {
                let mut metrics = METRICS.lock();
                let found = metrics.find(hash, rendered, |def| def.input() == Some(&input));
                found.unwrap_or_else(|| metrics.share(hash, make(Some(input))))
            }
            input => match known {
                Some(def) => {
                    def.learn(|_| input);
                    return def;
                }
                None => Arc::new(make(input)),
            },
        };
        self.grown += rendered.len();
        match known {
            Some(known) => self.defs.replace(hash, &known, &def),
            None => self.defs.insert(hash, &def),
        }
        def
    }

    /// The shape of exactly these definitions in this order.
    pub(crate) fn shape(&mut self, defs: Vec<Arc<MetricDef>>) -> Arc<Shape> {
        let key = |defs: &[Arc<MetricDef>]| HASHER.hash_one(defs.iter().map(Arc::as_ptr).collect::<Vec<_>>());
        let same = |shape: &Arc<Shape>| {
            shape.defs().len() == defs.len() && shape.defs().iter().zip(&defs).all(|(a, b)| Arc::ptr_eq(a, b))
        };
        let hash = key(&defs);
        if let Some(shape) = self.shapes.find(hash, same) {
            return Arc::clone(shape);
        }
        let shape = Arc::new(Shape::new(defs.into_boxed_slice()));
        self.shapes.insert_unique(hash, Arc::clone(&shape), |shape| key(shape.defs()));
        shape
    }

    /// Forgets what no snapshot uses any more. Costs nothing while nothing new came.
    pub(crate) fn sweep(&mut self) {
        if self.len() == self.swept_at {
            return;
        }
        self.shapes.retain(|shape| Arc::strong_count(shape) > 1);
        self.defs.sweep();
        self.swept_at = self.len();
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
    pub(crate) fn len(&self) -> usize {
        self.defs.table.len() + self.shapes.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::MetricType;

    /// The definition of `name`; `element` is the text it comes as, where VAL and TN are 1.
    fn intern(interner: &mut Interner, name: &str, element: Option<&str>) -> Arc<MetricDef> {
        let attrs =
            MetricAttrs { name, kind: MetricType::Float, units: "", slope: "both", source: "", tmax: 60, dmax: 0 };
        let mut rendered = Vec::new();
        let parts = attrs.render(&mut rendered, std::iter::empty());
        interner.def(&attrs, &rendered, parts, |printed| {
            let mut ones = element?.match_indices("\"1\"").map(|(at, _)| at + 1..at + 2);
            InputText::new(element?.as_bytes(), ones.next()?, ones.next()?, printed)
        })
    }

    const GMOND: &str = "<METRIC NAME=\"n\" VAL=\"1\" TN=\"1\"/>";
    const OTHER: &str = "<METRIC VAL=\"1\" TN=\"1\" NAME=\"n\"/>";

    #[test]
    fn sources_share_definitions_of_the_same_text_only() {
        let [mut a, mut b, mut c, mut d] = std::array::from_fn(|_| Interner::default());
        let first = intern(&mut a, "shared", Some(GMOND));
        assert!(Arc::ptr_eq(&first, &intern(&mut a, "shared", Some(OTHER))), "one of a source");
        assert!(Arc::ptr_eq(&first, &intern(&mut b, "shared", Some(GMOND))));
        // It comes otherwise from there, and is known again by that.
        let other = intern(&mut c, "shared", Some(OTHER));
        assert!(!Arc::ptr_eq(&first, &other));
        assert!(first.recognise(GMOND.as_bytes()).is_some() && first.recognise(OTHER.as_bytes()).is_none());
        assert!(other.recognise(OTHER.as_bytes()).is_some() && other.recognise(GMOND.as_bytes()).is_none());
        // From a saved tree: nobody knows yet how it comes.
        let saved = intern(&mut d, "shared", None);
        assert!(!Arc::ptr_eq(&first, &saved) && saved.input().is_none());
        assert!(Arc::ptr_eq(&saved, &intern(&mut d, "shared", None)));
        assert!(Arc::ptr_eq(&first, &intern(&mut d, "shared", Some(GMOND))));
        assert!(Arc::ptr_eq(&first, &intern(&mut d, "shared", None)) && d.len() == 1);
    }

    #[test]
    fn what_nobody_uses_is_forgotten() {
        let [mut a, mut b] = std::array::from_fn(|_| Interner::default());
        let used = intern(&mut a, "used", Some(GMOND));
        let gone = Arc::downgrade(&intern(&mut a, "gone", Some(GMOND)));
        // Both sources know its name; neither holds it.
        assert!(gone.upgrade().is_none());
        let again = intern(&mut a, "gone", Some(GMOND));
        assert!(Arc::ptr_eq(&again, &intern(&mut b, "gone", Some(GMOND))));
        drop(again);
        b.sweep();
        a.expect_waste();
        a.sweep();
        assert_eq!((a.len(), b.len()), (1, 0));
        drop(used);
        for n in 0..5 * limits::COMMON_DEFINITIONS {
            intern(&mut b, &format!("one of many {n}"), Some(GMOND));
            b.sweep();
        }
        assert!(METRICS.lock().table.len() <= 3 * limits::COMMON_DEFINITIONS);
    }

    #[test]
    fn a_source_with_very_many_keeps_further_ones_for_itself() {
        let [mut a, mut b] = std::array::from_fn(|_| Interner::default());
        let name = |n: usize| format!("very many {n}");
        let all: Vec<_> = (0..=limits::COMMON_DEFINITIONS).map(|n| intern(&mut a, &name(n), Some(GMOND))).collect();
        let shared = |n: usize, b: &mut Interner| Arc::ptr_eq(&all[n], &intern(b, &name(n), Some(GMOND)));
        assert!(shared(limits::COMMON_DEFINITIONS - 1, &mut b) && !shared(limits::COMMON_DEFINITIONS, &mut b));
    }

    #[test]
    fn names_are_read_from_the_printed_text() {
        for name in ["plain", "", "a&b", "\"", "é", "\" VAL=\"", "ends with &amp;"] {
            assert_eq!(intern(&mut Interner::default(), name, None).name(), name);
        }
    }
}
