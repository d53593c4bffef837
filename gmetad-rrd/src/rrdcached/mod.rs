//! The back end that lets rrdcached write: it keeps points in memory and writes them to the files later.
//!
//! Many files go in one `BATCH`, all points of a file on one line. A file that rrdcached does not know is made here, by the
//! native writer and with its points in it, if rrdcached is on this machine (a Unix socket, a loopback address) and the root
//! of the tree is too; else rrdcached is told to `CREATE` it, which needs version 1.5, and its `-R` for directories.
//!
//! A lost connection leaves unknown which points were taken. They are to be sent again: those rrdcached has it refuses as
//! too old, and the store, which remembers what was under way, does not call that an error.
//!
//! What no client can know: rrdcached says yes before it writes. A file that is removed while rrdcached has it in its
//! memory is not made again until rrdcached forgets it, a value it cannot write it tells only its own log, and what it keeps in
//! memory dies with it (its journal is buffered).

mod address;
mod connection;
mod protocol;

use std::borrow::Cow;
use std::collections::{HashMap, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use gmetad_core::source::Resolver;

pub use address::Address;

use crate::error::RrdError;
use crate::native::{self, NativeStore};
use crate::schema::Schema;
use crate::store::{Backend, Job, Written};
use crate::value::Point;
use connection::Connection;
use protocol::Task;

/// Most commands of one batch. rrdcached answers when it is through, and reads the header of each file it does not have in
/// memory: on a slow disk more would not be done within a step's time.
pub const MAX_BATCH_LINES: usize = 1000;
/// Bytes after which a batch takes no further line.
pub const MAX_BATCH_BYTES: usize = 1 << 20;
/// Most files rrdcached is told to make in one batch: each may have a megabyte.
const MAX_BATCH_CREATES: usize = 50;
/// Files whose last points may have been taken; of more, the points refused as too old are told.
const MAX_DOUBTS: usize = 100_000;

const FIRST_WAIT: Duration = Duration::from_millis(250);
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// How a [`RrdcachedStore`] works.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where rrdcached listens.
    pub address: Address,
    /// The root of the RRD tree. If it does not exist on this machine, rrdcached makes the files.
    pub root: PathBuf,
    /// How long anything may take.
    pub timeouts: Timeouts,
}

impl Options {
    /// With the usual timeouts.
    pub fn new(address: Address, root: impl Into<PathBuf>) -> Self {
        Self { address, root: root.into(), timeouts: Timeouts::default() }
    }
}

/// How long anything may take.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// Looking up the name, and connecting to each address.
    pub connect: Duration,
    /// Each read and write.
    pub step: Duration,
    /// A call as a whole: what is not done then has failed. (Making files here does not count.)
    pub call: Duration,
}

impl Default for Timeouts {
    /// 5 s, 5 s and 30 s.
    fn default() -> Self {
        Self { connect: Duration::from_secs(5), step: Duration::from_secs(5), call: Duration::from_secs(30) }
    }
}

/// Hands points to rrdcached. The connection is made at the first call and kept; after a failure it is tried again not before
/// 0.25 s, then 0.5 s, up to 30 s have passed, and calls until then fail at once.
#[derive(Debug)]
pub struct RrdcachedStore {
    options: Options,
    address: Arc<str>,
    resolver: Resolver,
    /// Makes missing files.
    native: NativeStore,
    connection: Option<Connection>,
    trouble: Option<Trouble>,
    /// Files with points under way when a connection was lost, and the newest of these.
    doubts: HashMap<PathBuf, i64>,
    out: Vec<u8>,
}

#[derive(Debug)]
struct Trouble {
    wait: Duration,
    until: Instant,
    text: String,
}

impl RrdcachedStore {
    /// A store. Nothing is connected yet.
    pub fn new(options: Options) -> Self {
        Self {
            address: options.address.to_string().into(),
            options,
            resolver: Resolver::default(),
            native: NativeStore::new(native::Options { max_descriptors: 0, ..native::Options::default() }),
            connection: None,
            trouble: None,
            doubts: HashMap::new(),
            out: Vec::new(),
        }
    }

    /// Has the queued points of a file written, and waits for that.
    ///
    /// # Errors
    /// [`RrdError::Missing`], [`RrdError::Librrd`] if rrdcached refuses, [`RrdError::Rrdcached`].
    pub fn flush(&mut self, path: &Path) -> Result<(), RrdError> {
        self.file_command("FLUSH", path).map(drop)
    }

    /// Has all queued points written; does not wait for that.
    ///
    /// # Errors
    /// As [`RrdcachedStore::flush`], with the root as the path.
    pub fn flush_all(&mut self) -> Result<(), RrdError> {
        let root = self.options.root.clone();
        self.command(&root, b"FLUSHALL\n").map(drop)
    }

    /// The queued points of a file as `time:value[:value]…`, oldest first; none if rrdcached does not have the file.
    ///
    /// # Errors
    /// As [`RrdcachedStore::flush`].
    pub fn pending(&mut self, path: &Path) -> Result<Vec<String>, RrdError> {
        self.file_command("PENDING", path)
    }

    /// rrdcached's counters, as rrdcached(1) explains them ("Performance Values").
    ///
    /// # Errors
    /// As [`RrdcachedStore::flush_all`].
    pub fn stats(&mut self) -> Result<Vec<(String, u64)>, RrdError> {
        let root = self.options.root.clone();
        let lines = self.command(&root, b"STATS\n")?;
        let pair = |line: &String| {
            let (name, value) = line.split_once(':')?;
            Some((name.to_owned(), value.trim().parse().ok()?))
        };
        Ok(lines.iter().filter_map(pair).collect())
    }

    fn file_command(&mut self, word: &str, path: &Path) -> Result<Vec<String>, RrdError> {
        let path = absolute(path);
        let mut line = Vec::new();
        let sendable = protocol::put_command(word, &path, &mut line);
        line.push(b'\n');
        if !sendable || line.len() > protocol::MAX_LINE {
            return Err(protocol::unsendable(&path));
        }
        self.command(&path, &line)
    }

    fn command(&mut self, path: &Path, line: &[u8]) -> Result<Vec<String>, RrdError> {
        match self.connected(|_, connection, deadline| connection.command(line, deadline)) {
            Ok(answer) => answer.map_err(|text| protocol::refusal(path, &text)),
            Err(text) => Err(self.unreachable(path, &text)),
        }
    }

    fn unreachable(&self, path: &Path, text: &Arc<str>) -> RrdError {
        RrdError::Rrdcached { path: path.to_owned(), address: Arc::clone(&self.address), text: Arc::clone(text) }
    }

    /// Runs `run` with a connection. After any failure the connection is closed: who knows what is still to come on it.
    fn connected<T>(
        &mut self,
        run: impl FnOnce(&mut Self, &mut Connection, Instant) -> io::Result<T>,
    ) -> Result<T, Arc<str>> {
        let now = Instant::now();
        let Timeouts { call, .. } = self.options.timeouts;
        let deadline = now + call;
        let connection = match (self.connection.take().filter(|kept| !kept.is_stale()), &self.trouble) {
            (Some(kept), _) => Ok(kept),
            (None, Some(trouble)) if now < trouble.until => {
                let seconds = (trouble.until - now).as_secs_f64();
                return Err(format!("{} (to be tried again in {seconds:.1} s)", trouble.text).into());
            }
            (None, _) => Connection::open(&self.options.address, &self.resolver, self.options.timeouts, deadline),
        };
        let result = connection.and_then(|mut connection| {
            let done = run(self, &mut connection, deadline)?;
            self.connection = Some(connection);
            Ok(done)
        });
        match result {
            Ok(done) => {
                self.trouble = None;
                Ok(done)
            }
            Err(e) => {
                let wait = self.trouble.as_ref().map_or(FIRST_WAIT, |trouble| (trouble.wait * 2).min(LONGEST_WAIT));
                let text = e.to_string();
                self.trouble = Some(Trouble { wait, until: Instant::now() + wait, text: text.clone() });
                Err(text.into())
            }
        }
    }

    /// Brings every task to its result, or fails.
    fn run(&mut self, tasks: &mut [Task<'_>], connection: &mut Connection, deadline: Instant) -> io::Result<()> {
        let mut waiting: VecDeque<usize> = (0..tasks.len()).collect();
        while !waiting.is_empty() {
            let mut missing = Vec::new();
            while let Some(sent) = self.take_lines(tasks, &mut waiting) {
                let complaints = connection.batch(&self.out, sent.len(), deadline).inspect_err(|_| {
                    for &at in &sent {
                        self.doubt(&tasks[at]);
                    }
                })?;
                let mut complaints = complaints.into_iter().peekable();
                for (command, at) in sent.into_iter().enumerate() {
                    let task = &mut tasks[at];
                    match complaints.next_if(|complaint| complaint.command == command) {
                        Some(complaint) => task.refused(&complaint.text),
                        None => task.taken(),
                    }
                    match task.result {
                        None => waiting.push_back(at),
                        Some(Err(RrdError::Missing { .. })) if task.schema.is_some() && !task.made => missing.push(at),
                        Some(_) => {}
                    }
                }
            }
            if connection.is_local() && self.options.root.is_dir() {
                self.make_here(tasks, &missing);
            } else {
                self.make_there(tasks, &missing, connection, deadline)?;
                waiting.extend(missing.into_iter().filter(|&at| tasks[at].result.is_none()));
            }
        }
        Ok(())
    }

    /// Puts the lines of the next batch together; gives the task of each.
    fn take_lines(&mut self, tasks: &mut [Task<'_>], waiting: &mut VecDeque<usize>) -> Option<Vec<usize>> {
        let mut sent = Vec::new();
        self.out.clear();
        while sent.len() < MAX_BATCH_LINES
            && self.out.len() < MAX_BATCH_BYTES
            && let Some(at) = waiting.pop_front()
        {
            if tasks[at].put_line(&mut self.out) {
                sent.push(at);
            }
        }
        self.out.extend_from_slice(b".\n");
        (!sent.is_empty()).then_some(sent)
    }

    /// Makes missing files, with their points, without rrdcached.
    fn make_here(&mut self, tasks: &mut [Task<'_>], missing: &[usize]) {
        let mut made = Vec::new();
        let mut jobs = Vec::new();
        for &at in missing {
            let task = &mut tasks[at];
            // Whoever sees other files than we do must not make us write beside him.
            if task.path.symlink_metadata().is_ok() {
                let text = "rrdcached does not see this file, which is here: does it run in another root?".to_owned();
                task.result = Some(Err(RrdError::Librrd { path: task.path.to_owned(), text }));
            } else if let Some(schema) = task.schema {
                made.push(at);
                jobs.push(Job { path: task.path, schema, points: task.rest(), hot: false, create: true });
            }
        }
        for (at, result) in made.into_iter().zip(self.native.write(&jobs)) {
            tasks[at].result = Some(result.and_then(|_| tasks[at].verdict()));
        }
    }

    /// Has rrdcached make missing files; those with a result have failed.
    fn make_there(
        &mut self,
        tasks: &mut [Task<'_>],
        missing: &[usize],
        connection: &mut Connection,
        deadline: Instant,
    ) -> io::Result<()> {
        for chunk in missing.chunks(MAX_BATCH_CREATES) {
            self.out.clear();
            let mut sent = Vec::new();
            for &at in chunk {
                let task = &mut tasks[at];
                let (Some(schema), Some(first)) = (task.schema, task.rest().first()) else { continue };
                let start = first.time.saturating_sub(1);
                match protocol::put_create(task.path, schema, start, false, &mut self.out) {
                    Ok(()) => {
                        (task.made, task.result) = (true, None);
                        sent.push(at);
                    }
                    Err(e) => task.result = Some(Err(e)),
                }
            }
            if sent.is_empty() {
                continue;
            }
            self.out.extend_from_slice(b".\n");
            for complaint in connection.batch(&self.out, sent.len(), deadline)? {
                let task = &mut tasks[sent[complaint.command]];
                // Made by somebody else meanwhile: as good.
                if !complaint.text.ends_with("File exists") {
                    task.result = Some(Err(protocol::refusal(task.path, &complaint.text)));
                }
            }
        }
        Ok(())
    }

    fn doubt(&mut self, task: &Task<'_>) {
        if self.doubts.len() < MAX_DOUBTS || self.doubts.contains_key(task.path) {
            let newest = self.doubts.entry(task.path.to_owned()).or_insert(i64::MIN);
            *newest = task.newest_sent().max(*newest);
        }
    }

    fn bring(&mut self, mut tasks: Vec<Task<'_>>) -> Vec<Result<(), RrdError>> {
        let failure = self.connected(|store, connection, deadline| store.run(&mut tasks, connection, deadline)).err();
        let mut results = Vec::with_capacity(tasks.len());
        for task in tasks {
            results.push(match (task.result, &failure) {
                // Not made yet.
                (Some(Err(RrdError::Missing { .. })), Some(text)) => Err(self.unreachable(task.path, text)),
                (Some(result), _) => {
                    if !self.doubts.is_empty() {
                        self.doubts.remove(task.path);
                    }
                    result
                }
                (None, Some(text)) => Err(self.unreachable(task.path, text)),
                (None, None) => Ok(()), // `run` leaves none
            });
        }
        results
    }

    fn task<'a>(&self, path: &'a Path, schema: Option<&'a Schema>, points: &'a [Point<'a>]) -> Task<'a> {
        Task::new(path, schema, points, self.doubts.get(path).copied())
    }
}

impl Backend for RrdcachedStore {
    /// What rrdcached has queued for an existing file is forgotten.
    fn create(&mut self, path: &Path, schema: &Schema, start: i64) -> Result<(), RrdError> {
        let path = &*absolute(path);
        let mut lines = Vec::new();
        if !protocol::put_command("FORGET", path, &mut lines) || lines.len() >= protocol::MAX_LINE {
            return Err(protocol::unsendable(path));
        }
        lines.push(b'\n');
        let forget = lines.len();
        protocol::put_create(path, schema, start, true, &mut lines)?;
        let created = self.connected(|store, connection, deadline| {
            let here = connection.is_local() && store.options.root.is_dir();
            if here {
                lines.truncate(forget);
            }
            lines.extend_from_slice(b".\n");
            let complaints = connection.batch(&lines, if here { 1 } else { 2 }, deadline)?;
            Ok(match complaints.into_iter().find(|complaint| complaint.command == 1) {
                None if here => store.native.create(path, schema, start),
                None => Ok(()),
                Some(complaint) => Err(protocol::refusal(path, &complaint.text)),
            })
        });
        created.unwrap_or_else(|text| Err(self.unreachable(path, &text)))
    }

    fn update(&mut self, path: &Path, points: &[Point<'_>]) -> Result<(), RrdError> {
        let path = absolute(path);
        let task = self.task(&path, None, points);
        self.bring(vec![task]).pop().unwrap_or(Ok(()))
    }

    fn write(&mut self, jobs: &[Job<'_>]) -> Vec<Result<Written, RrdError>> {
        let paths: Vec<_> = jobs.iter().map(|job| absolute(job.path)).collect();
        let both = jobs.iter().zip(&paths);
        let tasks = both.map(|(job, path)| self.task(path, job.create.then_some(job.schema), job.points)).collect();
        self.bring(tasks).into_iter().map(|result| result.map(|()| Written::default())).collect()
    }

    fn write_one(&mut self, job: &Job<'_>) -> Result<Written, RrdError> {
        self.write(&[*job]).pop().unwrap_or(Ok(Written::default()))
    }

    fn keeps_points(&self) -> bool {
        true
    }

    fn write_out(&mut self, path: &Path) -> Result<(), RrdError> {
        self.flush(path)
    }

    fn rest(&mut self) {
        self.connection = None;
        self.native.rest();
    }
}

/// rrdcached has a working directory of its own.
fn absolute(path: &Path) -> Cow<'_, Path> {
    if path.is_absolute() {
        return Cow::Borrowed(path);
    }
    std::path::absolute(path).map_or(Cow::Borrowed(path), Cow::Owned)
}
