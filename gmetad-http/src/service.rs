//! A [`Site`] as a port of gmetad.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use gmetad_core::daemon::Observer;
use gmetad_core::serve::{Body, Progress, Service, Session, Step};
use gmetad_core::stats::Stats;

use crate::request::HEAD_BYTES;
use crate::site::Site;

/// Serves a site to loopback and to those who may read the XML ports.
pub struct SiteService {
    site: Arc<Site>,
    observer: Observer,
}

impl SiteService {
    /// Serves `site`; `observer` knows who is trusted and counts.
    pub fn new(site: Site, observer: Observer) -> Self {
        Self { site: Arc::new(site), observer }
    }
}

impl Service for SiteService {
    fn open(&self, _peer: SocketAddr) -> Box<dyn Session> {
        Box::new(Connection { site: Arc::clone(&self.site), stats: Arc::clone(self.observer.stats()) })
    }

    fn allows(&self, peer: IpAddr) -> bool {
        peer.to_canonical().is_loopback() || self.observer.allows(peer)
    }
}

struct Connection {
    site: Arc<Site>,
    stats: Arc<Stats>,
}

impl Session for Connection {
    fn input(&mut self, received: &[u8], end: bool) -> Step {
        // Connected and closed without a byte, as port checks do.
        if end && received.is_empty() {
            return Step::Close;
        }
        let Some(reply) = self.site.input(received, end) else { return Step::Read };
        if matches!(reply.status, 400 | 405 | 431) {
            self.stats.malformed.add(1);
        }
        Step::Answer(Box::new(Answer { bytes: reply.bytes, stats: Arc::clone(&self.stats) }))
    }

    fn limit(&self) -> usize {
        HEAD_BYTES + 1
    }
}

struct Answer {
    bytes: Vec<u8>,
    stats: Arc<Stats>,
}

impl Body for Answer {
    fn fill(&mut self, out: &mut Vec<u8>, budget: usize) -> Progress {
        self.bytes.fill(out, budget)
    }

    fn sent(&mut self, time: Duration) {
        self.stats.pages.done(time);
    }
}
