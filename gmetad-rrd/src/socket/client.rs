//! One connection: its lines, its times, and what its commands do.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use gmetad_core::limits;

use super::protocol::{self, Batch, Command, Context, Fetch, Place, Root, Rows};
use crate::cached::Cached;
use crate::error::RrdError;
use crate::fetch::MAX_VALUES;
use crate::schema::Cf;

/// Bytes of a line without its end, as rrdcached; over it the client is told so and the connection closed.
pub const LINE_BYTES: usize = 4096;
/// Values that all FETCH answers under way may have together (512 MB); over it a FETCH gets an error.
pub const VALUES_UNDER_WAY: u64 = 2 * MAX_VALUES;
/// A FETCH of this many values or fewer (512 kB) is not counted there, so that large ones never keep graphs out.
pub const SMALL_FETCH: u64 = 1 << 16;

/// Consolidation functions rrdtool knows and this crate does not.
const FOREIGN_CFS: [&[u8]; 5] = [b"HWPREDICT", b"MHWPREDICT", b"SEASONAL", b"DEVPREDICT", b"DEVSEASONAL"];

/// What all connections of a server share.
pub(super) struct Shared {
    pub(super) cached: Arc<dyn Cached>,
    pub(super) root: Root,
    pub(super) idle: Duration,
    pub(super) write: Duration,
    pub(super) stop: AtomicBool,
    /// Values of large FETCH answers under way.
    pub(super) values: AtomicU64,
}

/// A connection of either kind.
#[derive(Debug)]
pub(super) enum Stream {
    Unix(UnixStream),
    Tcp(TcpStream),
}

impl Stream {
    /// Makes every read and write, now and later, return at once. Errors mean that the connection is gone already.
    pub(super) fn hang_up(&self) {
        let _ = match self {
            Self::Unix(stream) => stream.shutdown(Shutdown::Both),
            Self::Tcp(stream) => stream.shutdown(Shutdown::Both),
        };
    }

    pub(super) fn set_nonblocking(&self, on: bool) -> io::Result<()> {
        match self {
            Self::Unix(stream) => stream.set_nonblocking(on),
            Self::Tcp(stream) => stream.set_nonblocking(on),
        }
    }

    pub(super) fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Unix(stream) => (&mut &*stream).read(buffer),
            Self::Tcp(stream) => (&mut &*stream).read(buffer),
        }
    }

    pub(super) fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Unix(stream) => (&mut &*stream).write(bytes),
            Self::Tcp(stream) => (&mut &*stream).write(bytes),
        }
    }

    fn set_times(&self, read: Option<Duration>, write: Option<Duration>) -> io::Result<()> {
        match self {
            Self::Unix(stream) => stream.set_read_timeout(read).and_then(|()| stream.set_write_timeout(write)),
            Self::Tcp(stream) => stream.set_read_timeout(read).and_then(|()| stream.set_write_timeout(write)),
        }
    }
}

/// What a command leads to.
enum Answer {
    Bytes(Vec<u8>),
    Rows(Rows, Reserved),
    Nothing,
    End,
}

/// A part of [`VALUES_UNDER_WAY`].
struct Reserved {
    shared: Arc<Shared>,
    values: u64,
}

impl Reserved {
    fn new(shared: &Arc<Shared>, values: u64) -> Option<Self> {
        let values = if values <= SMALL_FETCH { 0 } else { values.min(MAX_VALUES) };
        let more = |now: u64| Some(now + values).filter(|sum| *sum <= VALUES_UNDER_WAY);
        if values > 0 && shared.values.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_err() {
            return None;
        }
        Some(Self { shared: Arc::clone(shared), values })
    }

    /// Gives back what is over `values`.
    fn keep(&mut self, values: u64) {
        let over = self.values.saturating_sub(values);
        self.shared.values.fetch_sub(over, Ordering::Relaxed);
        self.values -= over;
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.keep(0);
    }
}

/// A connection being served.
pub(super) struct Client {
    shared: Arc<Shared>,
    stream: Arc<Stream>,
    updates: bool,
    batch: Option<Batch>,
}

impl Client {
    pub(super) fn new(shared: Arc<Shared>, stream: Arc<Stream>, updates: bool) -> Self {
        Self { shared, stream, updates, batch: None }
    }

    /// Serves until the client ends, errs or is too slow. Errors of the connection need no report: it is closed.
    pub(super) fn run(mut self) -> io::Result<()> {
        let mut buffer = Vec::new();
        let mut piece = [0; 4096];
        let mut deadline = Instant::now() + self.shared.idle;
        loop {
            let mut done = 0;
            while let Some(end) = buffer[done..].iter().position(|&b| b == b'\n').filter(|end| *end <= LINE_BYTES) {
                let line = done..done + end;
                done = line.end + 1;
                if !self.line(&buffer[line])? {
                    return Ok(());
                }
                deadline = Instant::now() + self.shared.idle;
            }
            buffer.drain(..done);
            if buffer.len() > LINE_BYTES {
                return self.send(&protocol::error(b"Line too long"));
            }
            // The time is for the whole line, so that single bytes do not win more of it.
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || self.stopping() {
                return Ok(());
            }
            self.stream.set_times(Some(left), Some(self.shared.write))?;
            match self.stream.read(&mut piece) {
                Ok(0) => return Ok(()),
                Ok(read) => buffer.extend_from_slice(&piece[..read]),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
    }

    fn stopping(&self) -> bool {
        self.shared.stop.load(Ordering::Relaxed)
    }

    /// `false`: the connection ends.
    fn line(&mut self, line: &[u8]) -> io::Result<bool> {
        if self.stopping() {
            return Ok(false);
        }
        let context = Context { updates: self.updates, batch: self.batch.is_some() };
        let answer = protocol::parse(line, context).and_then(|command| self.command(command));
        match (answer, &mut self.batch) {
            (Ok(Answer::End), _) => return Ok(false),
            (Ok(Answer::Nothing), _) => {}
            (Ok(_), Some(batch)) => batch.command(None),
            (Err(text), Some(batch)) => batch.command(Some(&text)),
            (Ok(Answer::Bytes(bytes)), None) => self.send(&bytes)?,
            (Ok(Answer::Rows(mut rows, _reserved)), None) => self.send_rows(&mut rows)?,
            (Err(text), None) => self.send(&protocol::error(&text))?,
        }
        Ok(true)
    }

    fn command(&mut self, command: Command) -> Result<Answer, Vec<u8>> {
        let cached = &self.shared.cached;
        let place = |path: &[u8]| self.shared.root.place(path);
        let good = |text: &[&[u8]]| Ok(Answer::Bytes(protocol::good(&text.concat())));
        match command {
            Command::Flush(path) => {
                let Place { shown, path } = place(&path)?;
                let waiting = cached.pending(&path).is_ok_and(|pending| !pending.is_empty());
                cached.flush(&path).map_err(|e| {
                    let dot: &[u8] = if matches!(e, RrdError::Missing { .. }) { b"." } else { b"" };
                    [&protocol::write_error(&shown, &e)[..], dot].concat()
                })?;
                good(&[if waiting { b"Successfully flushed " } else { b"Nothing to flush: " }, &shown, b"."])
            }
            Command::FlushAll => {
                cached.flush_all();
                good(&[b"Started flush."])
            }
            Command::Pending(path) => {
                let Place { shown, path } = place(&path)?;
                let pending = match cached.pending(&path) {
                    Err(RrdError::Missing { .. }) => Vec::new(),
                    other => other.map_err(|e| protocol::write_error(&shown, &e))?,
                };
                Ok(Answer::Bytes(protocol::list(b"updates pending", &pending)))
            }
            Command::Update(path, values) => {
                let Place { shown, path } = place(&path)?;
                self.update(&shown, &path, &values)
            }
            Command::Stats => Ok(Answer::Bytes(protocol::stats(&cached.counters()))),
            Command::Help(verb) => Ok(Answer::Bytes(protocol::help(verb))),
            Command::Ping => good(&[b"PONG"]),
            Command::Batch => {
                self.send(&protocol::good(b"Go ahead.  End with dot '.' on its own line."))
                    .map_err(|e| e.to_string().into_bytes())?;
                self.batch = Some(Batch::default());
                Ok(Answer::Nothing)
            }
            Command::EndOfBatch => Ok(Answer::Bytes(self.batch.take().unwrap_or_default().answer())),
            Command::Fetch(fetch) => self.fetch(&fetch),
            Command::Info(path) => self.read(&path, |place, view| {
                Ok(Answer::Bytes(protocol::info(&place.shown, view.layout(), view.state())))
            }),
            Command::First(path, index) => self.read(&path, |_, view| {
                let first = protocol::first(view.layout(), view.state(), index);
                let first = first.ok_or_else(|| b"RRD Error: invalid rraindex number".to_vec())?;
                Ok(Answer::Bytes(protocol::good(first.to_string().as_bytes())))
            }),
            Command::Last(path) => self.read(&path, |_, view| {
                let last = protocol::last(view.layout(), view.state());
                Ok(Answer::Bytes(protocol::good(last.to_string().as_bytes())))
            }),
            Command::Quit => Ok(Answer::End),
        }
    }

    fn update(&self, shown: &[u8], path: &std::path::Path, values: &[Vec<u8>]) -> Result<Answer, Vec<u8>> {
        let wrong = |e: &RrdError| protocol::write_error(shown, e);
        // The updates before the first that is none are taken, as by rrdcached.
        let mut texts = Vec::new();
        let mut bad = None;
        for written in values {
            match protocol::update_text(written) {
                Ok(text) => texts.push(text),
                Err(text) => {
                    bad = Some(text);
                    break;
                }
            }
        }
        let texts: Vec<_> = texts.iter().map(String::as_str).collect();
        // Also without any: a missing file is the error to tell.
        let taken = self.shared.cached.update(path, &texts).map_err(|e| wrong(&e))?;
        match bad {
            Some(text) => Err(text),
            None if values.is_empty() => Err(b"No values updated.".to_vec()),
            None => Ok(Answer::Bytes(protocol::good(format!("errors, enqueued {taken} value(s).").as_bytes()))),
        }
    }

    fn read<T>(
        &self,
        path: &[u8],
        then: impl FnOnce(&Place, &crate::View) -> Result<T, Vec<u8>>,
    ) -> Result<T, Vec<u8>> {
        let place = self.shared.root.place(path)?;
        let view = self.shared.cached.view(&place.path);
        let view = view.map_err(|e| [b"RRD Error: ", &protocol::read_error(&place.shown, &e)[..]].concat())?;
        then(&place, &view)
    }

    fn fetch(&self, fetch: &Fetch) -> Result<Answer, Vec<u8>> {
        let Place { shown, path } = self.shared.root.place(&fetch.path)?;
        let failed = |text: &[u8]| [b"rrd_fetch_r failed: ", text].concat();
        let Some(cf) = std::str::from_utf8(&fetch.cf).ok().and_then(Cf::from_name) else {
            return Err(match FOREIGN_CFS.contains(&&fetch.cf[..]) {
                true => failed(b"the RRD does not contain an RRA matching the chosen CF"),
                false => failed(&[b"unknown consolidation function '", &fetch.cf[..], b"'"].concat()),
            });
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs().cast_signed());
        let absolute = |time: i64| if time > 0 { time } else { now.saturating_add(time) };
        let (start, end) = (absolute(fetch.start), absolute(fetch.end));
        if end < start {
            return Err(failed(b"the end is before the start"));
        }
        let view = self.shared.cached.view(&path).map_err(|e| failed(&protocol::read_error(&shown, &e)))?;
        let schema = view.layout().schema();
        // As many as there are if the finest archive is taken.
        let rows = end.abs_diff(start.max(0)) / schema.step.max(1) + 2;
        let reserved = Reserved::new(&self.shared, rows.saturating_mul(schema.ds.len() as u64));
        let mut reserved = reserved.ok_or_else(|| failed(b"too many large answers are under way; try again later"))?;
        let fetched = match view.fetch(cf, start, end, 1) {
            Ok(Some(fetched)) => fetched,
            Ok(None) if schema.rras.iter().any(|rra| rra.cf == cf || rra.steps == 1) => {
                return Err(failed(format!("the answer would have more than {MAX_VALUES} values").as_bytes()));
            }
            Ok(None) => return Err(failed(b"the RRD does not contain an RRA matching the chosen CF")),
            Err(e) => return Err(failed(&protocol::read_error(&shown, &e))),
        };
        reserved.keep(fetched.values.len() as u64);
        Ok(Answer::Rows(Rows::new(fetched, &fetch.columns, &shown)?, reserved))
    }

    fn send_rows(&self, rows: &mut Rows) -> io::Result<()> {
        let deadline = Instant::now() + limits::ANSWER_TIMEOUT;
        let mut piece = rows.head();
        while !piece.is_empty() {
            self.send_until(&piece, deadline)?;
            piece = rows.next_piece();
        }
        Ok(())
    }

    fn send(&self, bytes: &[u8]) -> io::Result<()> {
        self.send_until(bytes, Instant::now() + limits::ANSWER_TIMEOUT)
    }

    /// One who takes a byte at a time keeps each write going; the deadline ends it.
    fn send_until(&self, mut bytes: &[u8], deadline: Instant) -> io::Result<()> {
        while !bytes.is_empty() {
            if self.stopping() || Instant::now() > deadline {
                return Err(io::ErrorKind::TimedOut.into());
            }
            match self.stream.write(bytes) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => bytes = &bytes[written..],
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }
}
