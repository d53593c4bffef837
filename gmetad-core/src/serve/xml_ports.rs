//! The two ports of gmetad: the dump, and the interactive one.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;

use super::{AccessList, Body, Progress, Requests, Service, Session, Step};
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
    pub access: Arc<ArcSwap<AccessList>>,
    /// Where dumps are counted.
    pub stats: Arc<Stats>,
}

impl Service for XmlPort {
    fn open(&self, _peer: SocketAddr) -> Box<dyn Session> {
        let writer = XmlWriter::live(Arc::clone(&self.store), Query::dump(), crate::now());
        Box::new(Dump(Some(Xml { writer, stats: Arc::clone(&self.stats), dump: true })))
    }

    fn allows(&self, peer: IpAddr) -> bool {
        self.access.load().allows(peer)
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
    pub access: Arc<ArcSwap<AccessList>>,
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
        self.access.load().allows(peer)
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

const HTTP_HEADER: &[u8] = b"HTTP/1.0 200 OK\r\nServer: gmetad/3.7.2-1\r\nAccess-Control-Allow-Origin: *\r\n\
    Content-Type: application/xml\r\nConnection: close\r\n\r\n";

impl Session for Interactive {
    fn input(&mut self, received: &[u8], end: bool) -> Step {
        let line = match received.iter().position(|b| matches!(b, b'\n' | b'\r')) {
            Some(end) => &received[..end],
            None if end => received,
            None if received.len() > limits::REQUEST_BYTES => {
                log::info!("server_thread() could not read request from {}", self.peer);
                self.stats.malformed.add(1);
                return Step::Close;
            }
            None => return Step::Read,
        };
        match Request::parse(line) {
            Ok(Request::Xml { query, http, unknown_filter }) => {
                if let Some(filter) = unknown_filter {
                    log::info!("Got unknown filter filter={filter}");
                }
                self.requests.tell(&query, self.store.view().name());
                let writer = XmlWriter::live(Arc::clone(&self.store), query, self.accepted);
                let xml = Xml { writer, stats: Arc::clone(&self.stats), dump: false };
                Step::Answer(if http { Box::new(Headed { head: HTTP_HEADER, body: xml }) } else { Box::new(xml) })
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

struct Headed {
    head: &'static [u8],
    body: Xml,
}

impl Body for Headed {
    fn fill(&mut self, out: &mut Vec<u8>, budget: usize) -> Progress {
        out.extend_from_slice(std::mem::take(&mut self.head));
        self.body.fill(out, budget)
    }

    fn sent(&mut self, time: Duration) {
        self.body.sent(time);
    }
}
