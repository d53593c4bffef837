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
    /// How many of them may be used by nobody.
    waste: usize,
}

impl<D: Definition> Definitions<D> {
    const fn new() -> Self {
        Self { table: HashTable::new(), waste: 0 }
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
        let def = Arc::downgrade(def);
        // A text that goes and comes needs one place, however often.
        match self.table.find_mut(hash, |(of, gone)| *of == hash && gone.strong_count() == 0) {
            Some((_, place)) => *place = def,
            None => _ = self.table.insert_unique(hash, (hash, def), |(hash, _)| *hash),
        }
    }

    /// Gives `def`'s place to another one that is printed like it.
    fn replace(&mut self, hash: u64, def: &Arc<D>, by: &Arc<D>) {
        if let Some((_, place)) = self.table.find_mut(hash, |(_, other)| Weak::as_ptr(other) == Arc::as_ptr(def)) {
            *place = Arc::downgrade(by);
        }
    }

    /// Forgets those that nobody uses; how many.
    fn sweep(&mut self) -> usize {
        let before = self.table.len();
        self.table.retain(|(_, def)| def.strong_count() > 0);
        if self.table.capacity() > 4 * self.table.len() {
            self.table.shrink_to(2 * self.table.len(), |(hash, _)| *hash);
        }
        self.waste = 0;
        before - self.table.len()
    }

    /// Somebody uses so many no more. Looks for those that nobody uses when they may be as many as the others.
    fn wasted(&mut self, count: usize) {
        self.waste += count;
        if self.waste > limits::COMMON_DEFINITIONS && self.waste > self.table.len() / 2 {
            self.sweep();
        }
    }

    /// Keeps one that was not found, for all.
    fn share(&mut self, hash: u64, def: D) -> Arc<D> {
        // A summary's go untold.
        self.wasted(1);
        let def = Arc::new(def);
        self.insert(hash, &def);
        def
    }
}

/// The definition of a summary metric that is printed like this.
pub(crate) fn summary_def(rendered: &[u8], name: &str, make: impl FnOnce() -> SummaryDef) -> Arc<SummaryDef> {
    let hash = HASHER.hash_one(rendered);
    let mut summaries = SUMMARIES.lock();
    summaries.find(hash, rendered, |def| def.name() == name).unwrap_or_else(|| summaries.share(hash, make()))
}

/// Finds the definition or shape that is already there. One for each source; swept after each poll, so it never
/// grows beyond what is in use.
#[derive(Debug)]
pub(crate) struct Interner {
    defs: Definitions<MetricDef>,
    shapes: HashTable<Arc<Shape>>,
    /// The first ones that came since the last sweep: what is dropped at once may come again at once.
    recent: Vec<Arc<MetricDef>>,
    /// So many sweeps have to look: something came, or is expected to have gone, and the snapshot before goes after that.
    dirty: u8,
    /// Bytes of the definitions that came since.
    grown: usize,
    /// A saved tree is being read: how the source itself sends its metrics is not known.
    saved: bool,
}

impl Default for Interner {
    fn default() -> Self {
        Self {
            defs: Definitions::new(),
            shapes: HashTable::new(),
            recent: Vec::new(),
            dirty: 0,
            grown: 0,
            saved: false,
        }
    }
}

impl Drop for Interner {
    fn drop(&mut self) {
        // Others of the source, who are dropped with it, still hold them.
        METRICS.lock().waste += self.defs.table.len();
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
        // What cannot be printed is printed alike.
        let known = self.defs.find(hash, rendered, |def| def.name() == attrs.name);
        let is_saved = known.as_ref().is_some_and(|def| def.is_saved());
        if let Some(def) = known.as_ref().filter(|_| self.saved || !is_saved) {
            def.learn(learn);
            return Arc::clone(def);
        }
        // A source with more definitions has some for each host.
        let is_common = is_saved || self.defs.table.len() < limits::COMMON_DEFINITIONS;
        let input = learn(Printed::new(rendered, parts));
        let def = if is_common && (self.saved || input.is_some()) {
            let right = |def: &MetricDef| {
                def.name() == attrs.name && def.is_saved() == self.saved && def.input() == input.as_ref()
            };
            let mut metrics = METRICS.lock();
            let found = metrics.find(hash, rendered, right);
            found.unwrap_or_else(|| metrics.share(hash, MetricDef::new(attrs, rendered, parts, input, self.saved)))
        } else {
            // It will learn.
            Arc::new(MetricDef::new(attrs, rendered, parts, input, false))
        };
        self.grown += rendered.len();
        self.dirty = 2;
        if self.recent.len() < limits::COMMON_DEFINITIONS && self.grown < limits::GRID_METRICS_BYTES {
            self.recent.push(Arc::clone(&def));
        }
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
        self.dirty = 2;
        let shape = Arc::new(Shape::new(defs.into_boxed_slice()));
        self.shapes.insert_unique(hash, Arc::clone(&shape), |shape| key(shape.defs()));
        shape
    }

    /// Forgets what no snapshot uses any more. Costs nothing while nothing new came.
    pub(crate) fn sweep(&mut self) {
        if self.dirty == 0 {
            return;
        }
        self.dirty -= 1;
        self.shapes.retain(|shape| Arc::strong_count(shape) > 1);
        self.recent = Vec::new();
        let gone = self.defs.sweep();
        if gone > 0 {
            METRICS.lock().wasted(gone);
        }
        self.grown = 0;
    }

    /// Bytes of the definitions that came since the last sweep.
    pub(crate) fn grown(&self) -> usize {
        self.grown
    }

    /// Something is used no more: the next sweep looks, also if nothing new came.
    pub(crate) fn expect_waste(&mut self) {
        self.dirty = 2;
    }

    /// A poll failed, and another node may answer the next one: how it sends its metrics is learned anew.
    pub(crate) fn forget(&mut self) {
        self.defs = Definitions::new();
        self.expect_waste();
    }

    /// Whether what comes now is a saved tree.
    pub(crate) fn set_saved(&mut self, saved: bool) {
        self.saved = saved;
    }

    /// How many definitions and shapes there are.
    #[cfg(test)]
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
        // What cannot be known again is a source's own, and learns when it can.
        let own = intern(&mut d, "shared", None);
        assert!(!Arc::ptr_eq(&first, &own) && own.input().is_none());
        assert!(Arc::ptr_eq(&own, &intern(&mut d, "shared", Some(OTHER))) && own.input().is_some());
        assert_eq!(d.len(), 1);
    }

    #[test]
    fn what_was_saved_is_shared_until_the_source_is_polled() {
        let [mut a, mut b, mut c] = std::array::from_fn(|_| Interner::default());
        a.set_saved(true);
        b.set_saved(true);
        let saved = intern(&mut a, "saved", None);
        assert!(Arc::ptr_eq(&saved, &intern(&mut b, "saved", None)) && saved.is_saved());
        let polled = intern(&mut c, "saved", Some(GMOND));
        assert!(!Arc::ptr_eq(&saved, &polled));
        a.set_saved(false);
        b.set_saved(false);
        assert!(Arc::ptr_eq(&polled, &intern(&mut a, "saved", Some(GMOND))));
        // In a way that cannot be known again, until it can.
        let own = intern(&mut b, "saved", None);
        assert!(!own.is_saved() && own.input().is_none());
        assert!(Arc::ptr_eq(&own, &intern(&mut b, "saved", Some(GMOND))) && own.input().is_some());
        assert_eq!((a.len(), b.len(), saved.input()), (1, 1, None));
    }

    #[test]
    fn another_node_is_learned_anew() {
        let [mut a, mut b] = std::array::from_fn(|_| Interner::default());
        let first = intern(&mut a, "node", Some(GMOND));
        assert!(Arc::ptr_eq(&first, &intern(&mut b, "node", Some(GMOND))));
        a.forget();
        assert!(intern(&mut a, "node", Some(OTHER)).recognise(OTHER.as_bytes()).is_some());
    }

    #[test]
    fn names_that_are_printed_alike_are_two() {
        let mut a = Interner::default();
        let [one, two] = ["ctrl\u{1}", "ctrl\u{2}"].map(|name| intern(&mut a, name, Some(GMOND)));
        assert_eq!((one.name(), two.name(), one.rendered()), ("ctrl\u{1}", "ctrl\u{2}", two.rendered()));
    }

    #[test]
    fn what_nobody_uses_is_forgotten() {
        let [mut a, mut b] = std::array::from_fn(|_| Interner::default());
        let used = intern(&mut a, "used", Some(GMOND));
        let gone = Arc::downgrade(&intern(&mut a, "gone", Some(GMOND)));
        assert!(gone.upgrade().is_some());
        a.sweep();
        assert!(gone.upgrade().is_none() && a.len() == 1);
        let again = intern(&mut a, "gone", Some(GMOND));
        assert!(Arc::ptr_eq(&again, &intern(&mut b, "gone", Some(GMOND))));
        drop(again);
        a.sweep();
        b.sweep();
        a.expect_waste();
        a.sweep();
        assert_eq!((a.len(), b.len()), (1, 0));
        drop(used);
        a.expect_waste();
        a.sweep();
        assert_eq!(a.len(), 0);
    }

    #[test]
    fn what_goes_and_comes_within_a_poll_is_the_same_one() {
        let mut a = Interner::default();
        let first = Arc::as_ptr(&intern(&mut a, "now and then", Some(GMOND)));
        for n in 0..1000 {
            intern(&mut a, "in between", Some(GMOND));
            assert_eq!(Arc::as_ptr(&intern(&mut a, "now and then", Some(GMOND))), first, "{n}");
        }
        assert_eq!((a.len(), a.recent.len()), (2, 2));
    }

    #[test]
    fn a_table_for_all_forgets_what_goes() {
        let mut common = Definitions::new();
        let def = |n: usize| {
            let attrs = MetricAttrs {
                name: &n.to_string(),
                kind: MetricType::Float,
                units: "",
                slope: "",
                source: "",
                tmax: 0,
                dmax: 0,
            };
            let mut rendered = Vec::new();
            let parts = attrs.render(&mut rendered, std::iter::empty());
            (HASHER.hash_one(&rendered), MetricDef::new(&attrs, &rendered, parts, None, false))
        };
        // One text again and again, without a sweep.
        for _ in 0..1000 {
            let (hash, def) = def(0);
            drop(common.share(hash, def));
        }
        assert_eq!(common.table.len(), 1);
        // Ever new ones.
        for n in 0..10 * limits::COMMON_DEFINITIONS {
            let (hash, def) = def(n);
            drop(common.share(hash, def));
            assert!(common.table.len() <= limits::COMMON_DEFINITIONS + 1);
        }
        // Many that stay cost no sweep each; when they go and that is told, they are forgotten.
        let many: Vec<_> = (0..4 * limits::COMMON_DEFINITIONS)
            .map(|n| {
                let (hash, def) = def(n);
                common.share(hash, def)
            })
            .collect();
        let count = many.len();
        drop(many);
        common.wasted(count);
        assert!(common.table.len() + common.table.capacity() < limits::COMMON_DEFINITIONS);
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
