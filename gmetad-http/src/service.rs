//! A [`Site`] as a port of gmetad.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use gmetad_core::daemon::Observer;
use gmetad_core::serve::{Body, Progress, Service, Session, Step};
use gmetad_core::stats::Stats;

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
        self.site.limit()
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

#[cfg(test)]
mod tests {
    use gmetad_core::Gmetad;
    use gmetad_core::conf::Trust;

    use super::*;
    use crate::host::HostRule;
    use crate::router::Router;

    #[test]
    fn loopback_and_trusted_hosts_are_served() {
        let trusted = Trust::Net([192, 0, 2, 0].into(), 24);
        let gmetad = Gmetad::builder().trust([trusted]).start().expect("started");
        let site = Site::new(Router::new(""), HostRule::bound_to([0, 0, 0, 0].into(), &[]));
        let service = SiteService::new(site, gmetad.observer());
        for (peer, allowed) in [
            ("127.0.0.1", true),
            ("127.0.0.2", true),
            ("::1", true),
            ("::ffff:127.0.0.1", true),
            ("192.0.2.9", true),
            ("192.0.3.9", false),
            ("2001:db8::1", false),
        ] {
            assert_eq!(service.allows(peer.parse().expect("ip")), allowed, "{peer}");
        }
        gmetad.stop(Duration::from_secs(5)).expect("every thread ended");
    }
}
