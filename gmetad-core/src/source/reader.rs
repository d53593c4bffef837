//! Polls one data source: failover, deadlines, gzip; bytes go into the parser as they arrive.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use flate2::write::GzDecoder;

use crate::conf::Address;

use super::{Resolver, SLICE, Source, SourceSnapshot, Stop};
use crate::limits;
use crate::model::{Interner, PollContext, UnixTime};
use crate::xml::{DocumentError, DocumentParser, ParseOptions, Scratch};

/// Deadlines and rules of a [`GmondReader`]; the defaults are those of the daemon.
#[derive(Clone, Debug)]
pub struct ReaderOptions {
    /// Time to connect to one address.
    pub connect_timeout: Duration,
    /// Time without a byte.
    pub idle_timeout: Duration,
    /// Time for a whole poll.
    pub poll_timeout: Duration,
    /// How documents are understood.
    pub parse: ParseOptions,
    /// Resolves host names; readers of one program best share one.
    pub resolver: Resolver,
}

impl Default for ReaderOptions {
    fn default() -> Self {
        Self {
            connect_timeout: limits::CONNECT_TIMEOUT,
            idle_timeout: limits::IDLE_TIMEOUT,
            poll_timeout: limits::POLL_TIMEOUT,
            parse: ParseOptions::default(),
            resolver: Resolver::default(),
        }
    }
}

/// Why a poll brought no snapshot. The data of the poll before stay.
#[derive(Debug, thiserror::Error)]
pub enum PollError {
    /// No address of the source could be reached; each with its reason.
    #[error("no address answers: {}", .0.iter().map(|(a, e)| format!("{a}: {e}")).collect::<Vec<_>>().join("; "))]
    Connect(Vec<(Address, io::Error)>),
    /// No byte for too long.
    #[error("{address} sent nothing for {} s after {bytes} bytes", .timeout.as_secs())]
    Idle {
        /// Who was asked.
        address: Address,
        /// Which of the source's addresses that is, from 0.
        index: usize,
        /// How long it was waited for.
        timeout: Duration,
        /// Bytes that had come.
        bytes: u64,
    },
    /// The whole poll took too long.
    #[error("{address} did not finish within {} s, {bytes} bytes had come", .timeout.as_secs())]
    Deadline {
        /// Who was asked.
        address: Address,
        /// Which of the source's addresses that is, from 0.
        index: usize,
        /// The time allowed.
        timeout: Duration,
        /// Bytes that had come.
        bytes: u64,
    },
    /// The connection broke.
    #[error("{address}: {error} after {bytes} bytes")]
    Read {
        /// Who was asked.
        address: Address,
        /// What happened.
        error: io::Error,
        /// Bytes that had come.
        bytes: u64,
    },
    /// The answer began like gzip and is none.
    #[error("{address}: the gzip stream is damaged or cut: {error}")]
    Gzip {
        /// Who was asked.
        address: Address,
        /// What is wrong with it.
        error: io::Error,
    },
    /// The answer is no whole document.
    #[error("{address}: {error}")]
    Document {
        /// Who was asked.
        address: Address,
        /// What is wrong with it.
        error: DocumentError,
    },
    /// The daemon stops.
    #[error("stopped")]
    Stopped,
    /// Another kind of source failed.
    #[error("{0}")]
    Other(String),
}

impl PollError {
    /// Whether the source counts as dead after this (reference 3.4): an answer that came but could not be read
    /// leaves the flag as it was.
    pub fn is_dead(&self) -> bool {
        !matches!(self, Self::Document { .. } | Self::Stopped)
    }
}

/// Polls a gmond or gmetad. Usable alone: no store, no thread of its own.
///
/// ```no_run
/// use gmetad_core::{Address, GmondReader, ReaderOptions};
///
/// let mut reader = GmondReader::new(vec![Address::new("localhost", 8649)], ReaderOptions::default());
/// let snapshot = reader.poll(gmetad_core::now())?;
/// for cluster in snapshot.clusters() {
///     println!("{}: {} hosts up", cluster.name(), cluster.summary().hosts_up());
/// }
/// # Ok::<(), gmetad_core::PollError>(())
/// ```
#[derive(Debug)]
pub struct GmondReader {
    addresses: Vec<Address>,
    /// What each address stood for when it was looked up last. Used until it fails: a resolver that is down must not
    /// take sources with it.
    resolved: Vec<Vec<IpAddr>>,
    options: ReaderOptions,
    /// The address that answered last.
    good: Option<usize>,
    interner: Interner,
    scratch: Scratch,
    before: Option<SourceSnapshot>,
    round: u64,
}

impl GmondReader {
    /// A reader of a source that has these addresses, tried in order.
    pub fn new(addresses: Vec<Address>, options: ReaderOptions) -> Self {
        Self {
            resolved: vec![Vec::new(); addresses.len()],
            addresses,
            options,
            good: None,
            interner: Interner::default(),
            scratch: Scratch::default(),
            before: None,
            round: 0,
        }
    }

    /// Polls once: connects to the address that answered last, else to all in order, and reads to the end.
    ///
    /// `now` is the time that ages count from, in seconds since the epoch.
    ///
    /// # Errors
    /// See [`PollError`]; what earlier polls brought is kept for the next one.
    pub fn poll(&mut self, now: UnixTime) -> Result<SourceSnapshot, PollError> {
        Source::poll(self, now, &Stop::default())
    }

    /// Understands a document that is in memory already, as if it had been polled.
    ///
    /// # Errors
    /// [`DocumentError`] if it is not whole.
    pub fn read_document(&mut self, document: &[u8], now: UnixTime) -> Result<SourceSnapshot, DocumentError> {
        self.read_pieces([document], now)
    }

    /// [`GmondReader::read_document`] of a document that comes in pieces. For the tests that compare ways of cutting.
    ///
    /// # Errors
    /// [`DocumentError`] if it is not whole.
    #[doc(hidden)]
    pub fn read_pieces<'p>(
        &mut self,
        pieces: impl IntoIterator<Item = &'p [u8]>,
        now: UnixTime,
    ) -> Result<SourceSnapshot, DocumentError> {
        let mut parser = self.parser(now);
        let result = pieces.into_iter().try_for_each(|piece| parser.push(piece)).and_then(|()| parser.finish());
        self.keep(result)
    }

    fn parser(&mut self, now: UnixTime) -> DocumentParser<'_> {
        let context = PollContext { now, round: self.round + 1 };
        DocumentParser::new(&self.options.parse, &mut self.interner, &mut self.scratch, self.before.as_ref(), context)
    }

    /// Ends a poll. What a failed one brought is forgotten, too: a source that fails for ever must not grow.
    fn keep<E>(&mut self, result: Result<SourceSnapshot, E>) -> Result<SourceSnapshot, E> {
        if let Ok(snapshot) = &result {
            self.round = snapshot.round;
            self.before = Some(snapshot.clone());
        } else {
            self.scratch.forget();
            self.interner.forget();
        }
        self.scratch.rest();
        self.interner.sweep();
        result
    }

    /// Connects: first to the address that answered last, then to all in order (reference 3.2). Also returns those that
    /// did not answer.
    fn connect(&mut self, deadline: Instant, stop: &Stop) -> Result<(usize, TcpStream, Unreachable), PollError> {
        let order = self.good.into_iter().chain(0..self.addresses.len());
        let mut tried = Vec::new();
        let mut failed = None;
        for at in order {
            // The one that answered last failed a moment ago.
            if failed == Some(at) {
                continue;
            }
            if stop.is_stopped() {
                return Err(PollError::Stopped);
            }
            match self.connect_to(at, deadline, stop) {
                Ok(stream) => {
                    self.good = Some(at);
                    return Ok((at, stream, tried));
                }
                Err(error) => tried.push((self.addresses[at].clone(), error)),
            }
            failed = failed.or(Some(at));
        }
        if stop.is_stopped() {
            return Err(PollError::Stopped);
        }
        self.good = None;
        Err(PollError::Connect(tried))
    }

    /// Connects to one address: as it was looked up last, and if that fails as it is looked up now.
    fn connect_to(&mut self, at: usize, deadline: Instant, stop: &Stop) -> io::Result<TcpStream> {
        let Address { host, port } = &self.addresses[at];
        let left = || deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        let timeout = self.options.connect_timeout;
        let try_all = |ips: &[IpAddr]| {
            let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
            for ip in ips {
                match connect(SocketAddr::new(*ip, *port), timeout.min(left()), stop) {
                    Ok(stream) => return Ok(stream),
                    Err(error) => last = error,
                }
            }
            Err(last)
        };
        let known = &mut self.resolved[at];
        let failed = match try_all(known) {
            Ok(stream) => return Ok(stream),
            Err(error) => error,
        };
        match self.options.resolver.resolve_until(host, limits::RESOLVE_TIMEOUT.min(left()), stop) {
            Ok(ips) if ips == *known => Err(failed),
            Ok(ips) => {
                *known = ips;
                try_all(known)
            }
            Err(_) if !known.is_empty() => Err(failed),
            Err(error) => {
                let text = format!("Warning: we failed to resolve data source name {host}: {error}");
                Err(io::Error::new(error.kind(), text))
            }
        }
    }
}

impl Source for GmondReader {
    fn poll(&mut self, now: UnixTime, stop: &Stop) -> Result<SourceSnapshot, PollError> {
        let deadline = Instant::now() + self.options.poll_timeout;
        let (at, stream, unreachable) = self.connect(deadline, stop)?;
        let address = self.addresses[at].clone();
        let timeouts = (self.options.idle_timeout, self.options.poll_timeout);
        let mut input = Input::new(self.parser(now));
        let mut result = read_all(stream, &mut input, (at, &address), timeouts, deadline, stop)
            .and_then(|()| input.finish().map_err(|error| error.at(address.clone())));
        if let Ok(snapshot) = &mut result {
            snapshot.report.unreachable = unreachable.iter().map(|(node, error)| format!("{node}: {error}")).collect();
            snapshot.report.address = Some(address);
        }
        // After a failure in the middle the next address has its turn (reference 3.2).
        if result.as_ref().is_err_and(PollError::is_dead) {
            self.good = Some(at + 1).filter(|next| *next < self.addresses.len());
        }
        self.keep(result)
    }

    // The next poll has no snapshot before it (`before` stays as it is), so nothing of this one can get into it but
    // definitions, through the interner.
    fn restore(&mut self, document: &mut dyn Read, polled: UnixTime) -> io::Result<Option<SourceSnapshot>> {
        let mut parser = DocumentParser::saved(&mut self.interner, &mut self.scratch, polled);
        let result = copy_into(document, &mut parser).and_then(|()| parser.finish().map_err(invalid));
        if result.is_err() {
            self.interner.sweep();
        }
        result.map(Some)
    }
}

/// Hands all of `document` to a parser.
fn copy_into(document: &mut dyn Read, parser: &mut DocumentParser<'_>) -> io::Result<()> {
    let mut buffer = vec![0; limits::ANSWER_CHUNK];
    loop {
        match document.read(&mut buffer)? {
            0 => return Ok(()),
            n => parser.push(&buffer[..n]).map_err(invalid)?,
        }
    }
}

fn invalid(error: DocumentError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// Addresses that did not answer, with the reason.
type Unreachable = Vec<(Address, io::Error)>;

/// Connects within `timeout`, or until stopped.
fn connect(address: SocketAddr, timeout: Duration, stop: &Stop) -> io::Result<TcpStream> {
    let deadline = Instant::now() + timeout;
    let mut stream = mio::net::TcpStream::connect(address)?;
    let mut poll = mio::Poll::new()?;
    poll.registry().register(&mut stream, mio::Token(0), mio::Interest::WRITABLE)?;
    let mut events = mio::Events::with_capacity(4);
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match poll.poll(&mut events, Some(SLICE.min(left))) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        if let Some(error) = stream.take_error()? {
            return Err(error);
        }
        if !events.is_empty() && stream.peer_addr().is_ok() {
            poll.registry().deregister(&mut stream)?;
            let stream = TcpStream::from(stream);
            stream.set_nonblocking(false)?;
            return Ok(stream);
        }
        if stop.is_stopped() {
            return Err(io::Error::new(io::ErrorKind::Interrupted, "stopped"));
        }
        if left.is_zero() {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "connection timed out"));
        }
    }
}

fn read_all(
    mut stream: TcpStream,
    input: &mut Input<'_>,
    (index, address): (usize, &Address),
    (idle, total): (Duration, Duration),
    deadline: Instant,
    stop: &Stop,
) -> Result<(), PollError> {
    let broken = |error, bytes| PollError::Read { address: address.clone(), error, bytes };
    stream.set_read_timeout(Some(SLICE.min(idle))).map_err(|error| broken(error, 0))?;
    let mut buffer = vec![0; 64 << 10];
    let mut bytes = 0;
    let mut heard = Instant::now();
    loop {
        if stop.is_stopped() {
            return Err(PollError::Stopped);
        }
        let now = Instant::now();
        if now >= deadline {
            return Err(PollError::Deadline { address: address.clone(), index, timeout: total, bytes });
        }
        match stream.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(n) => {
                bytes += n as u64;
                heard = Instant::now();
                input.push(&buffer[..n]).map_err(|error| error.at(address.clone()))?;
            }
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut if heard.elapsed() >= idle => {
                    return Err(PollError::Idle { address: address.clone(), index, timeout: idle, bytes });
                }
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted => {}
                _ => return Err(broken(error, bytes)),
            },
        }
    }
}

/// What is wrong with the bytes, before the address is known.
enum InputError {
    Document(DocumentError),
    Gzip(io::Error),
}

impl InputError {
    fn at(self, address: Address) -> PollError {
        match self {
            Self::Document(error) => PollError::Document { address, error },
            Self::Gzip(error) => PollError::Gzip { address, error },
        }
    }
}

/// Bytes from the network, inflated if they begin like gzip.
enum Input<'a> {
    /// Fewer than two bytes so far.
    Unknown(Vec<u8>, Box<DocumentParser<'a>>),
    Plain(Box<DocumentParser<'a>>),
    Gzip(Box<GzDecoder<Sink<'a>>>),
    /// After an error.
    Broken,
}

/// Lets the inflater write into a parser, and keeps the parser's error.
struct Sink<'a> {
    parser: DocumentParser<'a>,
    error: Option<DocumentError>,
}

impl Write for Sink<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.parser.push(bytes) {
            Ok(()) => Ok(bytes.len()),
            Err(error) => {
                self.error = Some(error);
                Err(io::ErrorKind::InvalidData.into())
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> Input<'a> {
    fn new(parser: DocumentParser<'a>) -> Self {
        Self::Unknown(Vec::new(), Box::new(parser))
    }

    fn push(&mut self, bytes: &[u8]) -> Result<(), InputError> {
        match self {
            Self::Plain(parser) => parser.push(bytes).map_err(InputError::Document),
            Self::Gzip(decoder) => match decoder.write_all(bytes) {
                // The stream has ended; what comes behind it is ignored, as C does.
                Err(error) if error.kind() == io::ErrorKind::WriteZero => Ok(()),
                result => result.map_err(|error| gzip_error(decoder, error)),
            },
            Self::Broken => Ok(()),
            Self::Unknown(..) => {
                let Self::Unknown(mut head, parser) = std::mem::replace(self, Self::Broken) else { return Ok(()) };
                head.extend_from_slice(bytes);
                *self = match head[..] {
                    [] | [0x1f] => {
                        *self = Self::Unknown(head, parser);
                        return Ok(());
                    }
                    [0x1f, 0x8b, ..] => Self::Gzip(Box::new(GzDecoder::new(Sink { parser: *parser, error: None }))),
                    _ => Self::Plain(parser),
                };
                self.push(&head)
            }
        }
    }

    fn finish(self) -> Result<SourceSnapshot, InputError> {
        match self {
            Self::Unknown(_, parser) | Self::Plain(parser) => parser.finish().map_err(InputError::Document),
            Self::Gzip(mut decoder) => match decoder.try_finish() {
                Ok(()) => match decoder.finish() {
                    Ok(sink) => sink.parser.finish().map_err(InputError::Document),
                    Err(error) => Err(InputError::Gzip(error)),
                },
                Err(error) => Err(gzip_error(&mut decoder, error)),
            },
            Self::Broken => Err(InputError::Document(DocumentError::Empty)),
        }
    }
}

fn gzip_error(decoder: &mut GzDecoder<Sink<'_>>, error: io::Error) -> InputError {
    match decoder.get_mut().error.take() {
        Some(error) => InputError::Document(error),
        None => InputError::Gzip(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xml::PROLOG;

    fn reader() -> GmondReader {
        GmondReader::new(Vec::new(), ReaderOptions::default())
    }

    fn document(body: &str, end: &str) -> Vec<u8> {
        let text = format!("<GANGLIA_XML VERSION=\"3.7.2\" SOURCE=\"gmond\"><CLUSTER NAME=\"c\">{body}</CLUSTER>{end}");
        [PROLOG, text.as_bytes()].concat()
    }

    #[test]
    fn documents_that_fail_for_ever_leave_nothing() {
        let mut reader = reader();
        for n in 0..50 {
            let body = format!(
                "<HOST NAME=\"h\" TMAX=\"20\"><METRIC NAME=\"m{n}\" VAL=\"1\" TYPE=\"int8\"/></HOST><HOST NAME=\"i\"/>"
            );
            assert!(reader.read_document(&document(&body, ""), n).is_err());
            assert!(reader.interner.len() < 10, "{} definitions and shapes", reader.interner.len());
        }
    }

    /// A source with a new name for its hosts at each poll, and no DMAX, must not grow beyond its limit.
    #[test]
    fn hosts_that_are_no_longer_reported_count_for_the_limit() {
        let mut reader = reader();
        let mut hosts = 0;
        for poll in 0..3 {
            let body: String =
                (0..limits::HOSTS_PER_SOURCE * 2 / 5).map(|n| format!("<HOST NAME=\"{poll}-{n}\"/>")).collect();
            let snapshot = reader.read_document(&document(&body, "</GANGLIA_XML>"), poll).expect("whole");
            hosts = snapshot.clusters().map(|cluster| cluster.hosts().len()).sum();
        }
        assert_eq!(hosts, limits::HOSTS_PER_SOURCE);
    }

    /// Metrics of hosts in GRIDs are known again, as long as each document has them, and no further.
    #[test]
    fn what_is_known_of_grids_goes_with_the_documents() {
        let grid = |names: std::ops::Range<u32>, units: &str| {
            let metric =
                |n| format!("<METRIC NAME=\"m{n}\" VAL=\"1\" TYPE=\"int8\" UNITS=\"{units}\" TN=\"1\"></METRIC>");
            let metrics: String = names.map(metric).collect();
            let host = format!("<HOST NAME=\"h\" REPORTED=\"1\" TN=\"1\" TMAX=\"20\">{metrics}</HOST>");
            format!("<GANGLIA_XML VERSION=\"3.7.2\"><GRID NAME=\"g\" LOCALTIME=\"1\">{host}</GRID></GANGLIA_XML>")
        };
        let mut reader = reader();
        reader.read_document(grid(0..10, "").as_bytes(), 1).expect("whole");
        assert_eq!(reader.interner.len(), 10);
        for poll in 2..4 {
            reader.read_document(grid(5..8, "").as_bytes(), poll).expect("whole");
        }
        reader.read_document(grid(5..8, "").as_bytes(), 4).expect("whole");
        assert_eq!(reader.interner.len(), 3, "the others went");
        let whole = grid(0..10, "");
        reader.read_document(&whole.as_bytes()[..whole.len() - 20], 5).expect_err("cut");
        assert_eq!(reader.interner.len(), 0, "what a failed poll brought is forgotten");
        let large = "x".repeat(60_000);
        reader.read_document(grid(0..200, &large).as_bytes(), 6).expect("whole");
        assert!((40..100).contains(&reader.interner.len()), "{} of 200 that are too large", reader.interner.len());
    }
}
