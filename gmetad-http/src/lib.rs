//! A small HTTP server's logic without I/O, and gmetad's own pages on top of it.
//!
//! The logic ([`Site`], [`Router`], [`Request`], [`Response`]) turns the bytes a client sent into the bytes it gets.
//! Who moves them is somebody else's business: gmetad's loop drives it through [`SiteService`]; a program that has no
//! loop starts a [`Server`], with threads, and with TLS if it likes.
//!
//! ```
//! use gmetad_http::{HostRule, Request, Response, Router, Site};
//!
//! let router = Router::new("Example").page("/hello", "says hello", |request: &Request| {
//!     Response::text(200, format!("Hello {}\n", request.parameter("name").unwrap_or("you")))
//! });
//! let site = Site::new(router, HostRule::bound_to([127, 0, 0, 1].into(), &[]));
//! let reply = site.input(b"GET /hello?name=gmond HTTP/1.1\r\nHost: localhost\r\n\r\n", false).expect("complete");
//! assert!(reply.bytes.ends_with(b"\r\n\r\nHello gmond\n"));
//! ```

#![forbid(unsafe_code)]

mod guard;
mod host;
mod machine;
mod metrics;
mod openmetrics;
mod pages;
mod request;
mod response;
mod router;
mod secret;
mod server;
mod service;
mod site;
mod status;

use std::net::{IpAddr, SocketAddr};

use gmetad_core::conf::Config;
use gmetad_core::daemon::Builder;

pub use guard::Guard;
pub use host::HostRule;
pub use openmetrics::OpenMetrics;
pub use pages::Pages;
pub use request::{HEAD_BYTES, HEADERS, Method, Refused, Request};
pub use response::Response;
pub use router::{Page, Router};
pub use secret::{Secret, SecretError};
pub use server::{Server, ServerError, ServerOptions, ServerStats, Tls, TlsError};
pub use service::SiteService;
pub use site::{Reply, Site, Words};

/// Adds `/status` on the interactive port, and [`Pages`] at `http_bind`, `http_port` if the configuration has them.
pub fn with_pages(builder: Builder, config: &Config) -> Builder {
    let pages = Pages::new();
    let builder = pages.status(builder);
    let everywhere = [IpAddr::from([0u16; 8])];
    let addresses = match &config.http_bind[..] {
        _ if config.http_port == 0 => &[],
        [] => &everywhere[..],
        some => some,
    };
    addresses.iter().fold(builder, |builder, ip| pages.port(builder, SocketAddr::new(*ip, config.http_port)))
}
