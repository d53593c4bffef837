//! gmetad's pages, put on its ports.

use std::net::SocketAddr;
use std::sync::Arc;

use gmetad_core::daemon::{Builder, Observer};

use crate::host::HostRule;
use crate::request::{Request, decode_query, find};
use crate::router::Router;
use crate::service::SiteService;
use crate::site::Site;
use crate::status::Daemon;
use crate::{metrics, status};

/// The pages of a daemon that starts now.
#[derive(Clone)]
pub struct Pages(Arc<Daemon>);

impl Pages {
    /// For one daemon; all its ports share them.
    #[allow(clippy::new_without_default)] // It reads the clock and starts a thread.
    pub fn new() -> Self {
        Self(Arc::new(Daemon::new()))
    }

    /// Answers `/status` on the interactive port, where C does.
    pub fn status(&self, builder: Builder) -> Builder {
        let daemon = Arc::clone(&self.0);
        builder.status(move |observer| {
            Arc::new(move |parameters| {
                let parameters = decode_query(parameters).unwrap_or_default();
                status::page(&daemon, &observer, find(&parameters, "callback")).render(0, true)
            })
        })
    }

    /// Serves `/`, `/status` and `/metrics` here, to loopback and to trusted hosts. Port 0 takes a free one;
    /// [`gmetad_core::Gmetad::port`] knows it as `http_port`.
    pub fn port(&self, builder: Builder, address: SocketAddr) -> Builder {
        let daemon = Arc::clone(&self.0);
        builder.service("http_port", address, move |gmetad| {
            let rule = HostRule::bound_to(address.ip(), &[&daemon.host]);
            let observer = gmetad.observer();
            Arc::new(SiteService::new(Site::new(router(&daemon, &observer), rule), observer))
        })
    }
}

fn router(daemon: &Arc<Daemon>, observer: &Observer) -> Router {
    let (status, metrics) = ((Arc::clone(daemon), observer.clone()), (Arc::clone(daemon), observer.clone()));
    Router::new("gmetad")
        .page("/status", "The daemon, its sources and its machine, as JSON", move |request: &Request| {
            status::page(&status.0, &status.1, request.parameter("callback"))
        })
        .page("/metrics", "The daemon's own counters and its sources, as OpenMetrics", move |_: &Request| {
            metrics::page(&metrics.0, &metrics.1)
        })
}
