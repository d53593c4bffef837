//! The thread that writes.

mod ahead;
mod lock;
mod renamed;
pub(super) mod room;

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use gmetad_core::agent::Message;
use gmetad_core::message;
use gmetad_rrd::native::Options;
use gmetad_rrd::{Backend as _, Job, NativeStore, Point, RrdError, Schema, Value, View, path};
use log::Level;

use self::ahead::Ahead;
pub(super) use self::lock::take;
use self::room::{MOST_FILES, Room};
use super::files::{self, Loaded};
use super::trouble::{self, Trouble};
use super::{Active, Shared, Task, Waiting, schema};
use crate::lang::Lang;
use crate::said::Said;
use crate::spec::{Datasource, Graphs, Keep, Spec, is_of};
use crate::view::{AgentView, Taken};

/// Files of one source that are set aside.
const MOST_ASIDE: u32 = 9;

pub(super) struct Keeper {
    shared: Arc<Shared>,
    lang: Lang,
    files: NativeStore,
    active: Active,
    /// The directory is.
    is_ours: bool,
    trouble: Trouble,
    /// What the files of agents take, and what was said of that.
    rooms: HashMap<String, Room>,
    ahead: Ahead,
    /// Points dropped that were told.
    dropped: u64,
}

/// What is to be done now.
struct Work {
    tasks: Vec<Task>,
    views: Vec<Arc<AgentView>>,
    dropped: u64,
}

/// A number on its way to its file.
struct Entry {
    path: PathBuf,
    schema: usize,
    text: Option<String>,
}

impl Keeper {
    pub(super) fn new(shared: Arc<Shared>, lang: Lang) -> Self {
        // Files are written once a period: it does not pay to keep them open.
        let files = NativeStore::new(Options { max_descriptors: 0, ..Options::default() });
        Self {
            shared,
            lang,
            files,
            active: Active::default(),
            is_ours: true,
            trouble: Trouble::default(),
            rooms: HashMap::new(),
            ahead: Ahead::default(),
            dropped: 0,
        }
    }

    pub(super) fn run(&mut self) {
        while let Some(work) = self.next() {
            self.is_ours = self.lock();
            for task in work.tasks {
                match task {
                    Task::Points { spec, taken, .. } => self.points(&spec, &taken),
                    Task::Adopt { agents, only, to } => {
                        // Who asked may have given up.
                        let _ = to.send(self.adopt(agents, only));
                    }
                    Task::Retire(agents) => agents.iter().for_each(|view| self.retire(&view.spec.name, Some(view))),
                }
            }
            if self.is_ours {
                work.views.iter().for_each(|view| self.save(view));
            } else {
                self.keep_waiting(work.views);
            }
            if work.dropped > self.dropped {
                let now = work.dropped - self.dropped;
                self.dropped = work.dropped;
                self.say(
                    Level::Error,
                    &message!("the disk is too slow: {} {value|values} of agents {was|were} dropped", now),
                );
            }
        }
        self.shared.inbox.lock().ended = true;
        self.shared.changed.notify_all();
    }

    /// Waits for work; `None` when all is done and no more will come.
    fn next(&self) -> Option<Work> {
        let mut inbox = self.shared.inbox.lock();
        loop {
            let now = Instant::now();
            let closed = inbox.closed;
            let is_due = |waiting: &Waiting| closed || waiting.due <= now;
            if !inbox.tasks.is_empty() || inbox.views.values().any(is_due) {
                let tasks = inbox.tasks.drain(..).collect();
                inbox.waiting = 0;
                let due: Vec<String> =
                    inbox.views.iter().filter(|(_, waiting)| is_due(waiting)).map(|(name, _)| name.clone()).collect();
                let mut views = Vec::with_capacity(due.len());
                for name in due {
                    views.extend(inbox.views.remove(&name).map(|waiting| waiting.view));
                    inbox.written.insert(name, now);
                }
                return Some(Work { tasks, views, dropped: inbox.dropped });
            }
            if closed {
                return None;
            }
            match inbox.views.values().map(|waiting| waiting.due).min() {
                Some(due) => drop(self.shared.changed.wait_until(&mut inbox, due)),
                None => self.shared.changed.wait(&mut inbox),
            }
        }
    }

    fn say(&self, level: Level, text: &Message) {
        log::log!(level, "{}", self.lang.message(text));
    }

    fn adopt(&mut self, agents: Vec<String>, only: Option<Vec<String>>) -> HashMap<String, AgentView> {
        if !self.is_ours {
            self.active.extend(agents);
            return HashMap::new();
        }
        let root = self.shared.root.clone();
        let mut views = HashMap::new();
        if let Some(but) = only {
            if let Err((file, error)) = files::make_private(&root) {
                let text =
                    message!("{} may be read by others, and has passwords perhaps: {}", shown(&file), error.said());
                self.say(Level::Warn, &text);
            }
            for stranger in files::strangers(&root, &agents) {
                match files::load(&root, &stranger) {
                    Ok(Loaded::View(view)) if is_of(&view.spec.origin, &but) && !view.is_stand_in() => {
                        views.insert(stranger, *view);
                    }
                    Ok(Loaded::View(view)) => self.retire(&stranger, Some(&view)),
                    // It may come from one of those files.
                    _ if !but.is_empty() => {}
                    _ => self.retire(&stranger, None),
                }
            }
        }
        for agent in agents {
            match files::restore(&root, &agent) {
                Ok(Some(from)) => {
                    let text = message!("agent {} is back: its data were taken from {}", agent, shown(&from));
                    self.say(Level::Info, &text);
                }
                Ok(None) => {}
                Err(error) => {
                    let text = message!("data of agent {} cannot be read: {}", agent, error.said());
                    self.failed(&error.said(), &agent, text);
                }
            }
            match files::load(&root, &agent) {
                Ok(Loaded::View(view)) => drop(views.insert(agent.clone(), *view)),
                Ok(Loaded::Damaged(text)) => self.say(Level::Error, &text),
                Ok(Loaded::Nothing) => {}
                Err(error) => {
                    let text = message!("data of agent {} cannot be read: {}", agent, error.said());
                    self.failed(&error.said(), &agent, text);
                }
            }
            let known = files::known(&root, &agent, MOST_FILES);
            self.shared.known.lock().insert(agent.clone(), known);
            self.active.insert(agent);
        }
        views
    }

    /// Puts the data of an agent aside; `view` is what is known of it, if that is not on the disk.
    fn retire(&mut self, agent: &str, view: Option<&AgentView>) {
        if let Some(view) = view.filter(|_| self.is_ours && path::agent_dir(&self.shared.root, agent).is_dir()) {
            self.save(view);
        }
        self.active.remove(agent);
        self.rooms.remove(agent);
        self.ahead.leave(agent);
        self.shared.known.lock().remove(agent);
        {
            let mut inbox = self.shared.inbox.lock();
            inbox.views.remove(agent);
            inbox.written.remove(agent);
        }
        let over = self.trouble.leave(agent);
        over.iter().for_each(|text| self.say(Level::Info, text));
        if !self.is_ours {
            return;
        }
        let root = self.shared.root.clone();
        if view.is_some_and(AgentView::is_stand_in) && files::remove_view(&root, agent) {
            return;
        }
        match files::retire(&root, agent, gmetad_core::now()) {
            Ok(Some(place)) => {
                let text = message!("agent {} is no more: its data are in {}", agent, shown(&place));
                self.say(Level::Info, &text);
            }
            Ok(None) => {}
            Err(error) => {
                let text = message!("data of agent {} cannot be set aside: {}", agent, error.said());
                self.say(Level::Error, &text);
            }
        }
        match files::prune(&root, gmetad_core::now()) {
            Ok(removed) => {
                for place in removed {
                    let text =
                        message!("{} is removed: more than {} retired agents", shown(&place), files::MOST_RETIRED);
                    self.say(Level::Warn, &text);
                }
            }
            Err(error) => {
                let text = message!("data of retired agents cannot be removed: {}", error.said());
                self.say(Level::Error, &text);
            }
        }
    }

    fn save(&mut self, view: &AgentView) {
        let agent = view.spec.name.as_str();
        if !self.active.contains(agent) {
            return;
        }
        if let Err(error) = files::save(&self.shared.root, view) {
            let text = message!("data of agent {} cannot be written: {}", agent, error.said());
            self.failed(&error.said(), agent, text);
        } else if !matches!(view.spec.keep, Keep::Rrd(_)) {
            self.well(agent);
        }
    }

    fn failed(&mut self, cause: &Message, agent: &str, text: Message) {
        if self.trouble.enter(cause, agent) {
            self.say(Level::Error, &text);
        }
    }

    fn well(&mut self, agent: &str) {
        let over = self.trouble.leave(agent);
        over.iter().for_each(|text| self.say(Level::Info, text));
    }

    fn points(&mut self, spec: &Spec, taken: &Taken) {
        let Keep::Rrd(graphs) = &spec.keep else { return };
        let agent = spec.name.as_str();
        if !self.is_ours || !self.active.contains(agent) {
            return;
        }
        self.rename(agent, &taken.measurement);
        // Where that fails, writing will tell.
        let _ = files::make_of_agent(&path::agent_dir(&self.shared.root, agent));
        let mut schemas: Vec<(Datasource, Schema)> = Vec::new();
        let mut entries = Vec::new();
        for (instance, field, number) in schema::numbers(&taken.measurement) {
            let Some(source) = schema::source(graphs, field) else { continue };
            let at = of_source(&mut schemas, spec, graphs, source);
            let (source, wanted) = &schemas[at];
            let path = path::agent_file(&self.shared.root, agent, instance, field);
            let text = schema::text(source.ds_type, number);
            let wanted = wanted.clone();
            if self.is_kept(agent, instance, field, &path, &wanted) {
                entries.push(Entry { path, schema: at, text });
            }
        }
        self.write(agent, taken.time, &entries, &schemas);
    }

    /// Sets a file aside that is not made as it should be, or is damaged.
    fn compare(&mut self, agent: &str, path: &Path, wanted: &Schema) {
        let why = match View::open(path) {
            Ok(view) => {
                let found = view.layout().schema();
                let kinds = |schema: &Schema| schema.ds.iter().map(|ds| (ds.name.clone(), ds.kind)).collect::<Vec<_>>();
                if found.step != wanted.step {
                    message!("its step is {} s and not {} s", found.step, wanted.step)
                } else if kinds(found) != kinds(wanted) {
                    message!("its data source is of another type")
                } else if found.rras != wanted.rras {
                    message!("its archives are others")
                } else {
                    let bounds = |schema: &Schema| -> Vec<[u64; 2]> {
                        schema
                            .ds
                            .iter()
                            .map(|ds| [ds.min, ds.max].map(|bound| if bound.is_nan() { 0 } else { bound.to_bits() }))
                            .collect()
                    };
                    if bounds(found) != bounds(wanted) {
                        let text = message!("{} keeps the bounds that it was made with", shown(path));
                        self.say(Level::Warn, &text);
                    }
                    return;
                }
            }
            Err(RrdError::Format { source, .. }) => source.said(),
            // Missing: it will be made. Else writing it will tell.
            Err(_) => return,
        };
        let aside = aside(path);
        match fs::rename(path, &aside) {
            Ok(()) => {
                self.takes(agent, wanted);
                let text = message!("{} is set aside as {} and begins anew: {}", shown(path), shown(&aside), why);
                self.say(Level::Warn, &text);
            }
            Err(error) => {
                let text = message!("{} cannot be set aside: {}", shown(path), error.said());
                self.failed(&error.said(), agent, text);
            }
        }
    }

    fn write(&mut self, agent: &str, time: i64, entries: &[Entry], schemas: &[(Datasource, Schema)]) {
        let values: Vec<[Value<'_>; 1]> =
            entries.iter().map(|entry| [entry.text.as_deref().map_or(Value::Unknown, Value::Text)]).collect();
        let points: Vec<[Point<'_>; 1]> = values.iter().map(|values| [Point { time, values }]).collect();
        let jobs: Vec<Job<'_>> = entries
            .iter()
            .zip(&points)
            .map(|(Entry { path, schema, .. }, points)| Job {
                path,
                schema: &schemas[*schema].1,
                points,
                hot: false,
                create: true,
            })
            .collect();
        let mut errors: Vec<_> = self.files.write(&jobs).into_iter().map(Result::err).collect();
        if self.catch_up(agent, entries, schemas, &errors) {
            errors = self.files.write(&jobs).into_iter().map(Result::err).collect();
        }
        let mut is_well = true;
        for error in errors.into_iter().flatten() {
            if let Some(cause) = trouble::of_rrd(&error) {
                is_well = false;
                self.failed(&cause, agent, error.log_line().into());
            }
        }
        if is_well {
            self.well(agent);
        }
    }
}

/// The place of the schema for such a source.
fn of_source(schemas: &mut Vec<(Datasource, Schema)>, spec: &Spec, graphs: &Graphs, source: Datasource) -> usize {
    let same = |known: &Datasource| {
        (known.ds_type, known.min_bound, known.max_bound) == (source.ds_type, source.min_bound, source.max_bound)
    };
    if let Some(at) = schemas.iter().position(|(known, _)| same(known)) {
        return at;
    }
    let schema = schema::schema(spec.period, graphs, &source);
    schemas.push((source, schema));
    schemas.len() - 1
}

/// Where a file is set aside: the first name that is free. With all taken the last is replaced, and not the first, which has most.
fn aside(path: &Path) -> PathBuf {
    let old = path.with_extension("rrd.old");
    let numbered = (2..=MOST_ASIDE).map(|number| path.with_extension(format!("rrd.old.{number}")));
    let mut names = std::iter::once(old).chain(numbered);
    let free = names.find(|name| fs::symlink_metadata(name).is_err());
    free.unwrap_or_else(|| path.with_extension(format!("rrd.old.{MOST_ASIDE}")))
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}
