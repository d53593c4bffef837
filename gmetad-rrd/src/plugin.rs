//! The plugins `rrd` (files of hosts' metrics) and `rrdsummary` (files of summaries).
//!
//! Which metrics have files, with which step, DS and times: gmetad's rules, see docs/compatibility.md. A file that
//! cannot be written costs that file only, and is named in the log once until it works again.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use gmetad_core::conf::Section;
use gmetad_core::model::{SeriesId, Slope};
use gmetad_core::plugin::{PluginError, Subject};
use gmetad_core::stats::Stats;
use gmetad_core::summary::SummaryMetric;
use gmetad_core::{Plugin, Transaction};

use crate::native::{NativeStore, Options};
use crate::path;
use crate::schema::{DsKind, RraSpec, Schema};
use crate::store::{Backend, Job};
use crate::value::{Point, Value};

/// Step of the root summary's files, in seconds, whatever the sources' intervals are.
const ROOT_STEP: u64 = 15;
/// Transactions of one subject after which a file that was not written any more loses its handle.
const FORGET_AFTER: u64 = 40;

/// What writes the files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackendKind {
    /// This crate.
    Native,
    /// librrd, opened at run time; needs the feature `librrd`.
    Librrd,
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
    /// Descriptors kept open by each of the two plugins.
    pub max_descriptors: usize,
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

    fn open_backend(&self) -> Result<Box<dyn Backend>, PluginError> {
        match self.backend {
            BackendKind::Native => {
                Ok(Box::new(NativeStore::new(Options { max_descriptors: self.max_descriptors, sync_new: false })))
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

/// Writes RRD files. Two of them make the daemon's tree: [`RrdPlugin::hosts`] and [`RrdPlugin::summaries`].
pub struct RrdPlugin {
    what: What,
    settings: RrdSettings,
    stats: Option<Arc<Stats>>,
    backend: Option<Box<dyn Backend>>,
    subjects: HashMap<String, Files>,
}

/// The files of one subject.
#[derive(Default)]
struct Files {
    open: HashMap<SeriesId, Handle>,
    round: u64,
}

struct Handle {
    file: Box<Path>,
    /// When it was last written.
    round: u64,
    /// Time of its last point, and the source that brought it.
    last: (i64, Arc<str>),
    /// Its last write failed, which was logged.
    failing: bool,
}

impl RrdPlugin {
    /// The plugin `rrd`.
    pub fn hosts(settings: RrdSettings) -> Self {
        Self::new(What::Hosts, settings)
    }

    /// The plugin `rrdsummary`.
    pub fn summaries(settings: RrdSettings) -> Self {
        Self::new(What::Summaries, settings)
    }

    fn new(what: What, settings: RrdSettings) -> Self {
        Self { what, settings, stats: None, backend: None, subjects: HashMap::new() }
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
        self.stats = Some(Arc::clone(stats));
    }

    fn configure(&mut self, sections: &[Section]) -> Result<(), PluginError> {
        // Both ancestors' summary plugins read the section `rrd`.
        if let Some(section) = sections.iter().find(|section| section.id.eq_ignore_ascii_case("rrd")) {
            self.settings.read_section(section, self.what)?;
        }
        self.settings.rras(ROOT_STEP).map(drop)
    }

    fn start(&mut self) -> Result<(), PluginError> {
        self.backend = Some(self.settings.open_backend()?);
        Ok(())
    }

    fn notify(&mut self, transaction: &mut Transaction) -> Result<(), PluginError> {
        let Some(backend) = self.backend.as_deref_mut() else { return Err("not started".into()) };
        if !transaction.is_alive() {
            return Ok(());
        }
        let (name, root) = match transaction.subject() {
            Subject::Cluster(cluster) => (cluster.name().to_owned(), false),
            Subject::Grid(grid) => (grid.name().to_owned(), false),
            Subject::Root(_) => (String::new(), true),
        };
        if self.what == What::Hosts && transaction.cluster().is_none() {
            return Ok(());
        }
        let step = if root { ROOT_STEP } else { transaction.interval().as_secs().max(1) };
        // A cluster of several data sources has one summary, and each of them brings it.
        let source = if self.what == What::Hosts { transaction.source() } else { "" };
        let files = self.subjects.entry(format!("{source}/{name}")).or_default();
        files.round += 1;
        let mut writer = Writer {
            settings: &self.settings,
            backend,
            files,
            schemas: Schemas { step, rras: self.settings.rras(step)?, made: Vec::new() },
            time: transaction.value_time(),
            source: transaction.shared_source(),
            points: 0,
            errors: 0,
            began: Instant::now(),
        };
        match self.what {
            What::Hosts => writer.hosts(&name, transaction),
            What::Summaries => writer.summary(&name, root, transaction),
        }
        writer.finish(self.stats.as_deref());
        Ok(())
    }

    fn stop(&mut self) {
        self.backend = None;
    }
}

/// Writes what one transaction brings.
struct Writer<'a> {
    settings: &'a RrdSettings,
    backend: &'a mut dyn Backend,
    files: &'a mut Files,
    schemas: Schemas,
    time: i64,
    source: Arc<str>,
    points: u64,
    errors: u64,
    began: Instant,
}

impl Writer<'_> {
    fn hosts(&mut self, cluster_name: &str, transaction: &Transaction) {
        let Some(cluster) = transaction.cluster() else { return };
        for host in cluster.hosts().filter(|host| host.is_up() && cluster.is_fresh(host)) {
            for metric in host.metrics().filter(|metric| metric.is_fresh() && metric.def().kind().is_numeric()) {
                let kind = kind_of(metric.def().slope());
                let (root, lower) = (&self.settings.root, self.settings.lower_case_hosts);
                let path = || path::host_file(root, cluster_name, host.name(), metric.name(), lower);
                self.write(metric.series(), path, (kind, None), &[Value::Text(metric.value())]);
            }
        }
    }

    fn summary(&mut self, name: &str, root: bool, transaction: &Transaction) {
        // What nobody reported in this poll gets no zeros.
        let reported = |metric: &&SummaryMetric| metric.num() > 0 && self.settings.is_summarized(metric.name());
        let metrics: Vec<_> = transaction.summary().metrics().iter().filter(reported).collect();
        for metric in metrics {
            // The sum of the root has decimals, which COUNTER and DERIVE refuse; so did the C daemon decide.
            let kind = if root { DsKind::Gauge } else { kind_of(metric.slope()) };
            let sum = if root { format!("{:.5}", metric.sum()) } else { metric.sum_text() };
            let num = metric.num().to_string();
            let dir: &Path = &self.settings.root;
            let path = || {
                if root {
                    path::root_summary_file(dir, metric.name())
                } else {
                    path::summary_file(dir, name, metric.name())
                }
            };
            // NUM is a count, not a rate: GAUGE (C 3.7.2 takes the sum's type, which makes it useless).
            let values = [Value::Text(&sum), Value::Text(&num)];
            self.write(metric.series(), path, (kind, Some(DsKind::Gauge)), &values);
        }
    }

    fn write(
        &mut self,
        series: SeriesId,
        path: impl FnOnce() -> PathBuf,
        kinds: (DsKind, Option<DsKind>),
        values: &[Value<'_>],
    ) {
        let round = self.files.round;
        let backend = &mut *self.backend;
        let handle = self.files.open.entry(series).or_insert_with(|| Handle {
            file: path().into_boxed_path(),
            round,
            last: (i64::MIN, Arc::clone(&self.source)),
            failing: false,
        });
        handle.round = round;
        let (last, by) = &handle.last;
        if self.time <= *last && *by != self.source {
            // Another source of the same cluster brought this second already.
            return;
        }
        let schema = self.schemas.get(kinds);
        let points = [Point { time: self.time, values }];
        match backend.write_one(&Job { path: &handle.file, schema, points: &points, hot: true }) {
            Ok(()) => {
                handle.failing = false;
                handle.last = (self.time, Arc::clone(&self.source));
                self.points += 1;
            }
            Err(error) => {
                if !std::mem::replace(&mut handle.failing, true) {
                    log::warn!("{}", error.log_line());
                }
                self.errors += 1;
            }
        }
    }

    fn finish(self, stats: Option<&Stats>) {
        let Files { open, round } = self.files;
        if *round % FORGET_AFTER == 0 {
            open.retain(|_, handle| handle.round + FORGET_AFTER > *round);
        }
        if let Some(stats) = stats {
            stats.rrd.done_many(self.points, self.began.elapsed());
            stats.rrd_errors.add(self.errors);
        }
    }
}

/// The schemas of one transaction: few, so a list.
struct Schemas {
    step: u64,
    rras: Vec<RraSpec>,
    made: Vec<((DsKind, Option<DsKind>), Schema)>,
}

impl Schemas {
    fn get(&mut self, kinds: (DsKind, Option<DsKind>)) -> &Schema {
        let at = match self.made.iter().position(|(made, _)| *made == kinds) {
            Some(at) => at,
            None => {
                let schema = match kinds {
                    (sum, None) => Schema::host(self.step, sum, &self.rras),
                    (sum, Some(num)) => Schema::summary(self.step, sum, num, &self.rras),
                };
                self.made.push((kinds, schema));
                self.made.len() - 1
            }
        };
        &self.made[at].1
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
