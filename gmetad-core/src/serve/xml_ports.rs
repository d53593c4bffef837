//! The two ports of gmetad: the dump, and the interactive one.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;

use super::http::{Arrived, accepts_gzip, has_tag, tag};
use super::{AccessList, Body, Gzip, Progress, Requests, Service, Session, Step};
use crate::limits;
use crate::query::{Query, Request};
use crate::stats::Stats;
use crate::store::GridStore;
use crate::xml::XmlWriter;

/// Makes the HTTP answer to `/status` on the interactive port, from the query string.
pub type StatusPage = Arc<dyn Fn(&str) -> Vec<u8> + Send + Sync>;

/// The xml port: sends everything to whoever connects.
pub struct XmlPort {
    /// The tree.
    pub store: Arc<GridStore>,
    /// Who may connect; swapped by a reload.
    pub access: Arc<RwLock<AccessList>>,
    /// Where dumps are counted.
    pub stats: Arc<Stats>,
}

impl Service for XmlPort {
    fn open(&self, _peer: SocketAddr) -> Box<dyn Session> {
        let writer = XmlWriter::live(Arc::clone(&self.store), Query::dump(), crate::now());
        Box::new(Dump(Some(Xml { writer, stats: Arc::clone(&self.stats), dump: true })))
    }

    fn allows(&self, peer: IpAddr) -> bool {
        self.access.read().allows(peer)
    }
}

struct Dump(Option<Xml>);

impl Session for Dump {
    fn input(&mut self, _received: &[u8], _end: bool) -> Step {
        self.0.take().map_or(Step::Close, |xml| Step::Answer(Box::new(xml)))
    }

    /// Nothing is read on this port.
    fn limit(&self) -> usize {
        0
    }
}

/// The interactive port: one request, one answer.
pub struct InteractivePort {
    /// The tree.
    pub store: Arc<GridStore>,
    /// Who may connect; swapped by a reload.
    pub access: Arc<RwLock<AccessList>>,
    /// Where requests are counted.
    pub stats: Arc<Stats>,
    /// What `/status` shows; without it such a request is closed.
    pub status: Option<StatusPage>,
    /// Who wants to know what is asked for.
    pub requests: Arc<Requests>,
}

impl Service for InteractivePort {
    fn open(&self, peer: SocketAddr) -> Box<dyn Session> {
        Box::new(Interactive {
            store: Arc::clone(&self.store),
            stats: Arc::clone(&self.stats),
            status: self.status.clone(),
            requests: Arc::clone(&self.requests),
            peer: peer.ip().to_canonical(),
            accepted: crate::now(),
        })
    }

    fn allows(&self, peer: IpAddr) -> bool {
        self.access.read().allows(peer)
    }
}

struct Interactive {
    store: Arc<GridStore>,
    stats: Arc<Stats>,
    status: Option<StatusPage>,
    requests: Arc<Requests>,
    peer: IpAddr,
    accepted: i64,
}

const OK: &str = "HTTP/1.0 200 OK\r\nServer: gmetad/3.7.2-1\r\nAccess-Control-Allow-Origin: *\r\n\
    Content-Type: application/xml\r\nConnection: close\r\n";
const UNCHANGED: &str = "HTTP/1.0 304 Not Modified\r\nServer: gmetad/3.7.2-1\r\nAccess-Control-Allow-Origin: *\r\n\
    Connection: close\r\n";

impl Session for Interactive {
    fn input(&mut self, received: &[u8], end: bool) -> Step {
        let longest = &received[..received.len().min(limits::REQUEST_BYTES + 1)];
        let line = match longest.iter().position(|b| matches!(b, b'\n' | b'\r')) {
            Some(end) => &received[..end],
            None if received.len() > limits::REQUEST_BYTES => {
                log::info!("server_thread() could not read request from {}", self.peer);
                self.stats.malformed.add(1);
                return Step::Close;
            }
            None if end => received,
            None => return Step::Read,
        };
        match Request::parse(line) {
            Ok(Request::Xml { query, http, unknown_filter }) => {
                if let Some(filter) = unknown_filter {
                    log::info!("Got unknown filter filter={filter}");
                }
                self.requests.tell(&query, self.store.view().name());
                Step::Answer(if http {
                    self.over_http(query, &received[line.len()..])
                } else {
                    Box::new(self.xml(query))
                })
            }
            Ok(Request::Status { parameters }) => match &self.status {
                Some(status) => {
                    let stats = Arc::clone(&self.stats);
                    Step::Answer(Box::new(Counted { page: status(&parameters), stats }))
                }
                None => Step::Close,
            },
            Err(_) => {
                log::info!("Got a malformed path request from {}", self.peer);
                self.stats.malformed.add(1);
                Step::Close
            }
        }
    }

    fn limit(&self) -> usize {
        limits::REQUEST_HEAD
    }
}

impl Interactive {
    fn xml(&self, query: Query) -> Xml {
        let writer = XmlWriter::live(Arc::clone(&self.store), query, self.accepted);
        Xml { writer, stats: Arc::clone(&self.stats), dump: false }
    }

    /// The answer with its header. The C daemon answers as soon as it has the request line, and so do we: `after`, what has
    /// come behind it by now, tells what else the client understands. Who sends headers later, or none, gets C's answer.
    fn over_http(&self, query: Query, after: &[u8]) -> Box<dyn Body> {
        let headers = Arrived::read(after);
        let gzip = accepts_gzip(headers.values("accept-encoding"));
        let conditional = headers.values("if-none-match").next().is_some();
        if !(headers.is_whole() || gzip || conditional) {
            return Box::new(Headed { head: format!("{OK}\r\n").into(), body: self.xml(query) });
        }
        // Before the writer takes its view: the answer may be newer than its tag, never older.
        let tag = tag(&self.store, &query, self.accepted);
        let lines = format!("ETag: W/\"{tag}\"\r\nCache-Control: no-cache\r\nVary: Accept-Encoding\r\n");
        if conditional && has_tag(headers.values("if-none-match"), &tag) {
            let page = format!("{UNCHANGED}{lines}\r\n").into();
            return Box::new(Counted { page, stats: Arc::clone(&self.stats) });
        }
        let body = self.xml(query);
        if gzip {
            let head = format!("{OK}{lines}Content-Encoding: gzip\r\n\r\n").into();
            return Box::new(Headed { head, body: Gzip::new(body) });
        }
        Box::new(Headed { head: format!("{OK}{lines}\r\n").into(), body })
    }
}

struct Xml {
    writer: XmlWriter,
    stats: Arc<Stats>,
    dump: bool,
}

impl Body for Xml {
    fn fill(&mut self, out: &mut Vec<u8>, budget: usize) -> Progress {
        self.writer.fill(out, budget)
    }

    fn sent(&mut self, time: Duration) {
        if self.dump { self.stats.xml.done(time) } else { self.stats.interactive.done(time) }
    }
}

/// A page that counts as a request of this port.
struct Counted {
    page: Vec<u8>,
    stats: Arc<Stats>,
}

impl Body for Counted {
    fn fill(&mut self, out: &mut Vec<u8>, budget: usize) -> Progress {
        self.page.fill(out, budget)
    }

    fn sent(&mut self, time: Duration) {
        self.stats.interactive.done(time);
    }
}

struct Headed<B> {
    head: Vec<u8>,
    body: B,
}

impl<B: Body> Body for Headed<B> {
    fn fill(&mut self, out: &mut Vec<u8>, budget: usize) -> Progress {
        out.append(&mut self.head);
        self.body.fill(out, budget)
    }

    fn costly(&self) -> bool {
        self.body.costly()
    }

    fn sent(&mut self, time: Duration) {
        self.body.sent(time);
    }
}
