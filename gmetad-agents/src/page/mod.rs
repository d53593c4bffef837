//! The page: overview, agents, graphs, a JSON API, OpenMetrics. Everything is made from [`crate::AgentView`]s and
//! [`Control`]; nothing here waits for an agent.
//!
//! Pages need no JavaScript to be read; scripts draw graphs and keep what is shown fresh. Every text of an agent is escaped
//! (by maud), its HTML sanitised (by ammonia), and the policy lets a browser run nothing but our own files.

mod access;
mod actions;
mod agent;
mod api;
mod assets;
mod curves;
mod elements;
mod graphs;
mod history;
mod lamp;
mod metrics;
mod overview;
mod series;
mod shell;
mod spark;
mod svg;
mod values;
mod visit;
mod when;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use gmetad_core::agent::Message;
use gmetad_core::model::UnixTime;
use gmetad_core::stats::Reports;
use gmetad_http::{Guard, HostRule, Request, Response, Router, Secret, Site};

use crate::board::{Board, Control};
use crate::lang::Lang;
use crate::said::of_crates;
use crate::spec::Graph;
use access::Sessions;
use spark::Sparks;
use visit::Visit;

pub use values::readable;

/// Bytes of a form or of a request to the API: two short texts.
const POST_BYTES: usize = 8 << 10;

/// Draws a graph that has `vnamedefs`, between two times, as a PNG; the second argument knows the RRD files of its data sources.
pub type Png =
    Arc<dyn Fn(&Graph, &dyn Fn(&str) -> Option<PathBuf>, UnixTime, UnixTime) -> Result<Vec<u8>, Message> + Send + Sync>;

/// Pixels of the drawn part of a PNG.
const PNG: (u32, u32) = (700, 200);

/// Tells what is wrong with the service itself, if something is.
pub type Healthy = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;

/// How the page is.
#[derive(Clone)]
pub struct PageOptions {
    /// Name of the machine: on the page, and one of those that the page answers to on loopback.
    pub host: String,
    /// The language of those whose browser wants neither French nor English.
    pub lang: Lang,
    /// Where it will listen, which decides what names it answers to.
    pub listen: Vec<SocketAddr>,
    /// Whether it will be served with TLS: cookies are then for TLS only.
    pub tls: bool,
    /// What one has to know to see it; `None`: nothing.
    pub password: Option<Secret>,
    /// What one has to know to measure, acknowledge and silence; `None`: nobody can, and no buttons are shown.
    pub token: Option<Secret>,
    /// Draws graphs that have `vnamedefs`; unless changed, [`crate::graph::png`] does, so that `main` must know its word
    /// [`crate::graph::WORD`].
    pub png: Png,
    /// For `/healthz`.
    pub healthy: Healthy,
    /// Counters of the service, for `/metrics`.
    pub reports: Arc<Reports>,
}

impl Default for PageOptions {
    fn default() -> Self {
        Self {
            host: String::new(),
            lang: Lang::default(),
            listen: Vec::new(),
            tls: false,
            password: None,
            token: None,
            png: Arc::new(|graph, files, start, end| {
                crate::graph::png(graph, files, start, end, PNG.0, PNG.1).map_err(|why| why.message())
            }),
            healthy: Arc::new(|| Ok(())),
            reports: Arc::default(),
        }
    }
}

impl fmt::Debug for PageOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PageOptions").field("host", &self.host).field("listen", &self.listen).finish_non_exhaustive()
    }
}

/// What all pages have.
struct Pages {
    options: PageOptions,
    board: Arc<Board>,
    control: Arc<dyn Control>,
    sessions: Sessions,
    sparks: Arc<Sparks>,
}

/// The pages, for a [`gmetad_http::Server`].
pub fn site(options: PageOptions, board: Arc<Board>, control: Arc<dyn Control>) -> Site {
    let open = options.listen.iter().map(SocketAddr::ip).find(|ip| !ip.to_canonical().is_loopback());
    let rule = HostRule::bound_to(open.unwrap_or(IpAddr::from([127, 0, 0, 1])), &[&options.host]);
    let guard = Guard::new(format!("z_stats {}", options.host), options.password.clone(), options.token.clone())
        .except("/healthz");
    let otherwise = options.lang;
    let words = move |request: Option<&Request>, text: &str| {
        let lang = request.map_or(otherwise, |request| visit::language(request, otherwise));
        of_crates(text).map(|message| lang.message(&message) + "\n")
    };
    let pages = Arc::new(Pages { options, board, control, sessions: Sessions::default(), sparks: Arc::default() });
    Site::new(router(&pages), rule).with_posts(POST_BYTES).guarded(guard).worded(Box::new(words))
}

type Answer = fn(&Visit<'_>) -> Response;

fn router(pages: &Arc<Pages>) -> Router {
    let get: [(&str, Answer); 12] = [
        ("/", overview::page),
        ("/agents/{name}/", agent::page),
        ("/agents/{name}", agent::moved),
        ("/agents/{name}/graph.svg", svg::page),
        ("/agents/{name}/{png}", graphs::png),
        ("/static/{file}", assets::page),
        ("/api/v1/status", api::status),
        ("/api/v1/agents/{name}", api::agent),
        ("/api/v1/agents/{name}/series", api::series),
        ("/metrics", metrics::page),
        ("/healthz", api::healthz),
        ("/favicon.ico", assets::icon),
    ];
    let post: [(&str, Answer); 2] =
        [("/api/v1/agents/{name}/{action}", actions::api), ("/agents/{name}/{action}", actions::form)];
    let on = |answer: Answer| {
        let pages = Arc::clone(pages);
        move |request: &Request| pages.answer(request, answer)
    };
    let router = Router::new("z_stats").missing(on(shell::missing));
    let router = get.into_iter().fold(router, |router, (path, answer)| router.page(path, "", on(answer)));
    post.into_iter().fold(router, |router, (path, answer)| router.action(path, on(answer)))
}

impl Pages {
    fn answer(&self, request: &Request, answer: Answer) -> Response {
        let visit = Visit::new(self, request);
        let response = answer(&visit);
        match visit.cookie() {
            Some(cookie) => response.header("Set-Cookie", cookie),
            None => response,
        }
    }
}
