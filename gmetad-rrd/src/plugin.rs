//! The plugins `rrd` (files of hosts' metrics) and `rrdsummary` (files of summaries).
//!
//! Which metrics have files, with which step, DS and times: gmetad's rules, see docs/compatibility.md. A file that
//! cannot be written costs that file only, and is named in the log once until it works again.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use gmetad_core::conf::Section;
use gmetad_core::model::{SeriesId, Slope};
use gmetad_core::plugin::{Keep, PluginError, Subject};
use gmetad_core::serve::Requests;
use gmetad_core::stats::Stats;
use gmetad_core::summary::SummaryMetric;
use gmetad_core::{Plugin, Transaction};
use parking_lot::Mutex;

use crate::cache::{CacheOptions, Group, MakeBackend, NotTaken, RowWriter, RrdStore, StoreError};
use crate::native::{NativeStore, Options};
use crate::path;
use crate::rrdcached::{self, RrdcachedStore};
use crate::schema::{DsKind, RraSpec, Schema};
use crate::store::Backend;
use crate::update::UpdateError;
use crate::value::Value;

/// Step of the root summary's files, in seconds, whatever the sources' intervals are.
const ROOT_STEP: u64 = 15;
/// How long the points that wait may take to be written at the end; the daemon as a whole has 5 s.
const CLOSE_WITHIN: Duration = Duration::from_millis(3500);
/// Time after which a cluster or grid that brings nothing is forgotten.
const GONE: Duration = Duration::from_secs(3600);
/// Bytes of snapshots that may wait for it. It only takes points into memory, so that seldom happens.
const WAITING: usize = 256 << 20;
/// Transactions of one subject after which a file that was not written any more loses its handle.
const FORGET_AFTER: u64 = 40;

/// What writes the files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BackendKind {
    /// This crate.
    Native,
    /// librrd, opened at run time; needs the feature `librrd`.
    Librrd,
    /// An rrdcached.
    Rrdcached(rrdcached::Address),
}

/// How files are made.
#[derive(Clone, Debug)]
pub struct RrdSettings {
    /// `rrd_rootdir`.
    pub root: PathBuf,
    /// `RRAs`, such as `RRA:AVERAGE:0.5:1:5856`.
    pub rras: Vec<String>,
    /// What writes.
    pub backend: BackendKind,
    /// `case_sensitive_hostnames 0`: directories of hosts have lower-case names.
    pub lower_case_hosts: bool,
    /// `unsummarized_metrics`: no summary file for names that begin with one of these.
    pub unsummarized: Vec<String>,
    /// `unsummarized_sflow_vm_metrics`: no summary file for names whose first dot is followed by `v`.
    pub unsummarized_sflow_vm: bool,
    /// Descriptors kept open by each writer.
    pub max_descriptors: usize,
    /// How points wait.
    pub cache: CacheOptions,
}

impl RrdSettings {
    /// Ganglia's defaults below `root`.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self {
            root: root.into(),
            rras: ["RRA:AVERAGE:0.5:1:5856", "RRA:AVERAGE:0.5:4:20160", "RRA:AVERAGE:0.5:40:52704"]
                .map(str::to_owned)
                .to_vec(),
            backend: BackendKind::Native,
            lower_case_hosts: false,
            unsummarized: Vec::new(),
            unsummarized_sflow_vm: false,
            max_descriptors: Options::default().max_descriptors,
            cache: CacheOptions::default(),
        }
    }

    /// What the section `rrd` changes, and whether the archives can be.
    ///
    /// # Errors
    /// File, line and what is wrong.
    pub fn configure(&mut self, sections: &[Section]) -> Result<(), PluginError> {
        self.read_sections(sections, What::Hosts)
    }

    fn read_sections(&mut self, sections: &[Section], what: What) -> Result<(), PluginError> {
        let section = |name: &str| sections.iter().find(|section| section.id.eq_ignore_ascii_case(name));
        // Both ancestors' summary plugins read the section `rrd`.
        if let Some(section) = section("rrd") {
            self.read_section(section, what)?;
        }
        // gmetad-python's sample file has this one, which nothing there reads; it says what the user wants.
        if let Some(section) = section("rrdsummary").filter(|_| what == What::Summaries) {
            self.read_summary_section(section);
        }
        self.rras(ROOT_STEP).map(drop)
    }

    fn read_summary_section(&mut self, section: &Section) {
        for entry in &section.entries {
            let place = format_args!("{}:{}: rrdsummary", section.place.file, entry.line);
            match entry.directive.as_str() {
                "RRAs" => self.rras = entry.split_args(),
                // All files are in one tree: it has one journal and one lock.
                "rrd_rootdir" if entry.split_args().first().map(PathBuf::from).as_ref() != Some(&self.root) => {
                    log::warn!(
                        "{place}: rrd_rootdir is ignored: summaries are in {}, beside the hosts",
                        self.root.display()
                    );
                }
                "rrd_rootdir" => {}
                other => log::warn!("{place}: unknown directive {other}, ignored"),
            }
        }
    }

    /// gmetad-python's section: `RRAs` and `rrd_rootdir`, which win over the directives of the same name.
    fn read_section(&mut self, section: &Section, what: What) -> Result<(), PluginError> {
        for entry in &section.entries {
            match entry.directive.as_str() {
                "RRAs" => self.rras = entry.split_args(),
                "rrd_rootdir" => match entry.split_args().first().map(PathBuf::from) {
                    Some(root) if root.is_dir() => self.root = root,
                    root => {
                        let root = root.unwrap_or_default();
                        return Err(format!(
                            "{}:{}: rrd_rootdir {} is not a directory: make it, or remove the line",
                            section.place.file,
                            entry.line,
                            root.display()
                        )
                        .into());
                    }
                },
                // Both plugins read the section; one of them says it.
                _ if what == What::Summaries => {}
                other => log::warn!("{}:{}: rrd: unknown directive {other}, ignored", section.place.file, entry.line),
            }
        }
        Ok(())
    }

    fn rras(&self, step: u64) -> Result<Vec<RraSpec>, PluginError> {
        self.rras
            .iter()
            .map(|text| RraSpec::parse_at_step(text, step).map_err(|error| format!("RRAs: {error}").into()))
            .collect()
    }

    fn is_summarized(&self, metric: &str) -> bool {
        let sflow =
            || self.unsummarized_sflow_vm && metric.split_once('.').is_some_and(|(_, rest)| rest.starts_with('v'));
        !self.unsummarized.iter().any(|prefix| metric.starts_with(prefix.as_str())) && !sflow()
    }

    /// The store of these files.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn open_store(&self, stats: &Arc<Stats>) -> Result<RrdStore, StoreError> {
        let settings = self.clone();
        let backend: MakeBackend = Box::new(move || settings.open_backend().map_err(|error| error.to_string()));
        RrdStore::open(&self.root, self.cache.clone(), &backend, Arc::clone(stats))
    }

    fn open_backend(&self) -> Result<Box<dyn Backend>, PluginError> {
        match &self.backend {
            BackendKind::Native => {
                Ok(Box::new(NativeStore::new(Options { max_descriptors: self.max_descriptors, ..Options::default() })))
            }
            BackendKind::Rrdcached(address) => {
                let options = rrdcached::Options::new(address.clone(), self.root.clone());
                Ok(Box::new(RrdcachedStore::new(options)))
            }
            #[cfg(feature = "librrd")]
            BackendKind::Librrd => Ok(Box::new(crate::librrd::LibrrdStore::new()?)),
            #[cfg(not(feature = "librrd"))]
            BackendKind::Librrd => Err("rrd_backend librrd: this program was built without the feature librrd".into()),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum What {
    Hosts,
    Summaries,
}

/// Writes RRD files. Two of them make the daemon's tree, over one [`RrdStore`]: [`RrdPlugin::pair`].
pub struct RrdPlugin {
    what: What,
    settings: RrdSettings,
    stats: Arc<Stats>,
    tree: RrdTree,
    store: Option<Arc<RrdStore>>,
    /// By whether it is the root, source and name: names may be anything.
    subjects: HashMap<(bool, String, String), Files>,
    /// When subjects that are gone were looked for.
    tidied: Instant,
    row: RowWriter,
}

/// The store of plugins that run, for those who read through it.
#[derive(Clone, Default)]
pub struct RrdTree(Arc<Mutex<Shared>>);

/// The store, and how many plugins use it.
#[derive(Default)]
struct Shared {
    store: Option<Arc<RrdStore>>,
    users: usize,
}

impl RrdTree {
    /// The store; `None` before the start of the plugins and after their end.
    pub fn store(&self) -> Option<Arc<RrdStore>> {
        self.0.lock().store.clone()
    }
}

/// The groups of one subject.
#[derive(Default)]
struct Files {
    /// By host; summaries have one, under the empty name.
    groups: HashMap<Box<str>, GroupFiles>,
    schemas: Schemas,
    round: u64,
    used: Option<Instant>,
}

/// The files of a host or summary.
struct GroupFiles {
    group: Arc<Group>,
    /// Series and its slot, in the order of the metrics.
    slots: Vec<(SeriesId, u32)>,
    /// The highest slot, and one.
    most: usize,
    /// When it was last written.
    round: u64,
}

impl RrdPlugin {
    /// The plugin `rrd` alone. (Both, over one tree, are made by [`RrdPlugin::pair`]: a tree has one store.)
    pub fn hosts(settings: RrdSettings) -> Self {
        Self::new(What::Hosts, settings, RrdTree::default())
    }

    /// The plugin `rrdsummary` alone.
    pub fn summaries(settings: RrdSettings) -> Self {
        Self::new(What::Summaries, settings, RrdTree::default())
    }

    /// The plugins `rrd` and `rrdsummary`.
    pub fn pair(settings: RrdSettings) -> (Self, Self) {
        let tree = RrdTree::default();
        (Self::new(What::Hosts, settings.clone(), tree.clone()), Self::new(What::Summaries, settings, tree))
    }

    /// The store that the plugin will use, and shares with its other half.
    pub fn tree(&self) -> RrdTree {
        self.tree.clone()
    }

    fn new(what: What, settings: RrdSettings, tree: RrdTree) -> Self {
        let (stats, subjects, row) = (Arc::default(), HashMap::new(), RowWriter::default());
        Self { what, settings, stats, tree, store: None, subjects, tidied: Instant::now(), row }
    }
}

impl Plugin for RrdPlugin {
    fn name(&self) -> &str {
        match self.what {
            What::Hosts => "rrd",
            What::Summaries => "rrdsummary",
        }
    }

    fn attach(&mut self, stats: &Arc<Stats>) {
        self.stats = Arc::clone(stats);
    }

    fn requests(&mut self, requests: &Arc<Requests>) {
        if self.what == What::Hosts {
            let (tree, settings) = (self.tree(), self.settings.clone());
            requests.listen(move |asked| {
                if let Some(store) = tree.store() {
                    store.asked(match asked.host {
                        Some(host) => path::host_dir(Path::new(""), asked.cluster, host, settings.lower_case_hosts),
                        None => path::source_dir(Path::new(""), asked.cluster),
                    });
                }
            });
        }
    }

    fn configure(&mut self, sections: &[Section]) -> Result<(), PluginError> {
        self.settings.read_sections(sections, self.what)
    }

    fn start(&mut self) -> Result<(), PluginError> {
        let mut shared = self.tree.0.lock();
        let store = match &shared.store {
            Some(store) => Arc::clone(store),
            None => Arc::clone(shared.store.insert(Arc::new(self.settings.open_store(&self.stats)?))),
        };
        shared.users += 1;
        self.store = Some(store);
        Ok(())
    }

    fn keep(&self) -> Keep {
        Keep::Bytes(WAITING)
    }

    fn notify(&mut self, transaction: &mut Transaction) -> Result<(), PluginError> {
        let Some(store) = &self.store else { return Err("not started".into()) };
        if !transaction.is_alive() {
            return Ok(());
        }
        let (name, root) = match transaction.subject() {
            Subject::Cluster(cluster) => (cluster.name(), false),
            Subject::Grid(grid) => (grid.name(), false),
            Subject::Root(_) => ("", true),
        };
        if self.what == What::Hosts && transaction.cluster().is_none() {
            return Ok(());
        }
        let step = if root { ROOT_STEP } else { transaction.interval().as_secs().max(1) };
        // A cluster of several data sources has one summary, and each of them brings it.
        let source = if self.what == What::Hosts { transaction.source() } else { "" };
        let files = self.subjects.entry((root, source.to_owned(), name.to_owned())).or_default();
        files.round += 1;
        files.used = Some(Instant::now());
        files.schemas.at(step, || self.settings.rras(step))?;
        let mut writer = Writer {
            settings: &self.settings,
            store,
            files,
            row: &mut self.row,
            time: transaction.value_time(),
            source: transaction.shared_source(),
            too_old: None,
        };
        match self.what {
            What::Hosts => writer.hosts(name, transaction),
            What::Summaries => writer.summary(name, root, transaction),
        }
        writer.tell();
        writer.forget();
        if self.tidied.elapsed() > GONE / 10 {
            self.subjects.retain(|_, files| files.used.is_some_and(|used| used.elapsed() < GONE));
            self.tidied = Instant::now();
        }
        Ok(())
    }

    fn stop(&mut self) {
        let Some(store) = self.store.take() else { return };
        let last = {
            let mut shared = self.tree.0.lock();
            shared.users -= 1;
            shared.users == 0
        };
        // The other plugin may be at work still; the last one closes.
        if last {
            let left = store.close(CLOSE_WITHIN);
            self.tree.0.lock().store = None;
            if left > 0 && !store.has_lock() {
                log::error!("{left} RRD points are lost: the lock of {} could not be had", store.root().display());
            } else if left > 0 {
                log::warn!(
                    "{left} RRD points stay in the journal below {}: the next start takes them, and gmetad --flush-and-exit \
                     writes them",
                    store.root().display()
                );
            }
        }
    }
}

impl Drop for RrdPlugin {
    /// A start that failed.
    fn drop(&mut self) {
        if self.store.is_some() {
            self.stop();
        }
    }
}

/// Hands over what one transaction brings.
struct Writer<'a> {
    settings: &'a RrdSettings,
    store: &'a RrdStore,
    files: &'a mut Files,
    row: &'a mut RowWriter,
    time: i64,
    source: Arc<str>,
    /// The first directory whose points are not taken from now on, its last time, and how many there are.
    too_old: Option<(Arc<Group>, i64, usize)>,
}

impl Writer<'_> {
    fn hosts(&mut self, cluster_name: &str, transaction: &Transaction) {
        let Some(cluster) = transaction.cluster() else { return };
        for host in cluster.hosts().filter(|host| host.is_up() && cluster.is_fresh(host)) {
            let (settings, store) = (self.settings, self.store);
            let dir = || path::host_dir(Path::new(""), cluster_name, host.name(), settings.lower_case_hosts);
            let Files { groups, schemas, round, .. } = &mut *self.files;
            if !groups.contains_key(host.name()) {
                groups.insert(host.name().into(), GroupFiles::new(store.group(&dir())));
            }
            let Some(files) = groups.get_mut(host.name()) else { continue };
            files.begin(*round, store);
            let (row, time) = (&mut *self.row, self.time);
            let taken = files.accept(store, row, &self.source, |files, row| {
                row.start(time);
                for (place, metric) in host.metrics().enumerate() {
                    if metric.is_fresh() && metric.def().kind().is_numeric() {
                        let slot = files.slot(
                            place,
                            metric.series(),
                            || {
                                let schema = schemas.get((kind_of(metric.def().slope()), None), store);
                                (path::metric_file(metric.name()), schema)
                            },
                            store,
                        );
                        if let Some(slot) = slot {
                            row.put(slot, &[Value::Text(metric.value())]);
                        }
                    }
                }
            });
            if let Err(TooOld(last)) = taken {
                self.too_old.get_or_insert_with(|| (Arc::clone(&files.group), last, 0)).2 += 1;
            }
        }
    }

    fn summary(&mut self, name: &str, root: bool, transaction: &Transaction) {
        let (settings, store) = (self.settings, self.store);
        let Files { groups, schemas, round, .. } = &mut *self.files;
        let files = groups.entry("".into()).or_insert_with(|| {
            let dir = if root { path::root_summary_dir(Path::new("")) } else { path::summary_dir(Path::new(""), name) };
            GroupFiles::new(store.group(&dir))
        });
        files.begin(*round, store);
        let (row, time) = (&mut *self.row, self.time);
        let taken = files.accept(store, row, &self.source, |files, row| {
            row.start(time);
            // What nobody reported in this poll gets no zeros.
            let reported = |metric: &&SummaryMetric| metric.num() > 0 && settings.is_summarized(metric.name());
            for (place, metric) in transaction.summary().metrics().iter().filter(reported).enumerate() {
                // The sum of the root has decimals, which COUNTER and DERIVE refuse; so did the C daemon decide.
                let kind = if root { DsKind::Gauge } else { kind_of(metric.slope()) };
                let sum = if root { format!("{:.5}", metric.sum()) } else { metric.sum_text() };
                let num = metric.num().to_string();
                // NUM is a count, not a rate: GAUGE (C 3.7.2 takes the sum's type, which makes it useless).
                let slot = files.slot(
                    place,
                    metric.series(),
                    || (path::metric_file(metric.name()), schemas.get((kind, Some(DsKind::Gauge)), store)),
                    store,
                );
                if let Some(slot) = slot {
                    row.put(slot, &[Value::Text(&sum), Value::Text(&num)]);
                }
            }
        });
        if let Err(TooOld(last)) = taken {
            self.too_old.get_or_insert_with(|| (Arc::clone(&files.group), last, 0)).2 += 1;
        }
    }

    /// Says, once for all hosts, that points were not taken because their time was not newer.
    fn tell(&self) {
        if let Some((group, last, hosts)) = &self.too_old {
            // As librrd says it of each file.
            let error = UpdateError::Past { time: self.time, last: *last };
            let dir = self.store.root().join(group.dir());
            let others = if *hosts > 1 { format!(", and {} more directories", hosts - 1) } else { String::new() };
            log::warn!("RRD_update ({}{others}): {error}; told once until it is over", dir.display());
        }
    }

    /// Groups of hosts that are gone; their points are the store's.
    fn forget(&mut self) {
        let Files { groups, round, .. } = &mut *self.files;
        if *round % FORGET_AFTER == 0 {
            groups.retain(|_, files| files.round + FORGET_AFTER > *round);
        }
    }
}

/// A row was not newer than the one of this time, and that is to be told.
struct TooOld(i64);

impl GroupFiles {
    fn new(group: Arc<Group>) -> Self {
        Self { group, slots: Vec::new(), most: 0, round: 0 }
    }

    /// A new poll. Metrics that come and go leave slots behind; when those are more than the others, the directory gets a new
    /// group.
    fn begin(&mut self, round: u64, store: &RrdStore) {
        self.round = round;
        if self.most > self.slots.len() * 2 + 100 && store.retire(&self.group) {
            self.renew(store);
        }
    }

    fn renew(&mut self, store: &RrdStore) {
        *self = Self { round: self.round, ..Self::new(store.group(self.group.dir())) };
    }

    /// Hands over the row that `fill` makes. Another source of the directory may have had its group replaced.
    fn accept(
        &mut self,
        store: &RrdStore,
        row: &mut RowWriter,
        source: &Arc<str>,
        mut fill: impl FnMut(&mut Self, &mut RowWriter),
    ) -> Result<(), TooOld> {
        loop {
            fill(self, row);
            match store.accept(&self.group, row, source) {
                Err(NotTaken::Retired) => self.renew(store),
                Err(NotTaken::TooOld { last, first: true }) => return Err(TooOld(last)),
                Ok(()) | Err(NotTaken::TooOld { .. }) => return Ok(()),
            }
        }
    }

    /// The slot of a series; `place` is where it was the last time, or is to be found from now on.
    fn slot(
        &mut self,
        place: usize,
        series: SeriesId,
        file: impl FnOnce() -> (String, Arc<Schema>),
        store: &RrdStore,
    ) -> Option<u32> {
        match self.slots.get(place) {
            Some(&(known, slot)) if known == series => Some(slot),
            _ => {
                let (name, schema) = file();
                let slot = store.slot(&self.group, &name, &schema)?;
                if place >= self.slots.len() {
                    self.slots.resize(place + 1, (series, slot));
                }
                self.slots[place] = (series, slot);
                self.most = self.most.max(slot as usize + 1);
                Some(slot)
            }
        }
    }
}

/// DS types of a file: of its sum, and of its num if it has one.
type Kinds = (DsKind, Option<DsKind>);

/// The schemas of one subject: few, so a list.
#[derive(Default)]
struct Schemas {
    step: u64,
    rras: Vec<RraSpec>,
    made: Vec<(Kinds, Arc<Schema>)>,
}

impl Schemas {
    fn at(&mut self, step: u64, rras: impl FnOnce() -> Result<Vec<RraSpec>, PluginError>) -> Result<(), PluginError> {
        if self.step != step {
            *self = Self { step, rras: rras()?, made: Vec::new() };
        }
        Ok(())
    }

    fn get(&mut self, kinds: Kinds, store: &RrdStore) -> Arc<Schema> {
        let at = match self.made.iter().position(|(made, _)| *made == kinds) {
            Some(at) => at,
            None => {
                let schema = match kinds {
                    (sum, None) => Schema::host(self.step, sum, &self.rras),
                    (sum, Some(num)) => Schema::summary(self.step, sum, num, &self.rras),
                };
                self.made.push((kinds, store.schema(schema)));
                self.made.len() - 1
            }
        };
        Arc::clone(&self.made[at].1)
    }
}

/// The DS type of a slope (reference 7.4).
fn kind_of(slope: Slope) -> DsKind {
    match slope {
        Slope::Positive => DsKind::Counter,
        Slope::Derivative => DsKind::Derive,
        _ => DsKind::Gauge,
    }
}
