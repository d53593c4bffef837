//! Styles, scripts, icons: files in the program. Their addresses change with what is in them, so browsers keep them.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::LazyLock;

use gmetad_core::agent::State;
use gmetad_http::Response;

use super::visit::{Visit, slug};
use super::{lamp, shell};

struct Asset {
    name: &'static str,
    kind: &'static str,
    content: &'static str,
}

const CSS: &str = "text/css; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";

const ASSETS: [Asset; 5] = [
    Asset { name: "page.css", kind: CSS, content: include_str!("assets/page.css") },
    Asset { name: "page.js", kind: JS, content: include_str!("assets/page.js") },
    Asset { name: "graphs.js", kind: JS, content: include_str!("assets/graphs.js") },
    Asset { name: "uplot.css", kind: CSS, content: include_str!("assets/uplot/uPlot.min.css") },
    Asset { name: "uplot.js", kind: JS, content: include_str!("assets/uplot/uPlot.iife.min.js") },
];

static TAGS: LazyLock<[String; ASSETS.len()]> = LazyLock::new(|| ASSETS.each_ref().map(|asset| tag(asset.content)));

fn tag(content: &str) -> String {
    let mut hasher = DefaultHasher::new();
    content.hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

fn find(name: &str) -> Option<(&'static Asset, &'static str)> {
    ASSETS.iter().zip(TAGS.iter()).find(|(asset, _)| asset.name == name).map(|(asset, tag)| (asset, tag.as_str()))
}

/// Where a file is.
pub(super) fn address(name: &str) -> String {
    match find(name) {
        Some((_, tag)) => format!("/static/{name}?v={tag}"),
        None => format!("/static/{name}"),
    }
}

/// `/static/FILE`.
pub(super) fn page(visit: &Visit<'_>) -> Response {
    let name = visit.request.captured("file").unwrap_or_default();
    if let Some((asset, tag)) = find(name) {
        let response = Response::new(200, asset.kind, asset.content).etag(tag);
        return if visit.parameter("v") == Some(tag) { response.lasting() } else { response };
    }
    let state = State::ALL
        .into_iter()
        .find(|state| name.strip_prefix("lamp-").and_then(|rest| rest.strip_suffix(".svg")) == Some(slug(*state)));
    match state {
        Some(state) => lamp_file(state),
        None => shell::missing(visit),
    }
}

fn lamp_file(state: State) -> Response {
    let text = lamp::icon(state);
    let tag = tag(&text);
    Response::new(200, "image/svg+xml", text).etag(tag).header("Content-Security-Policy", "default-src 'none'")
}

/// What browsers ask for without being told.
pub(super) fn icon(visit: &Visit<'_>) -> Response {
    lamp_file(visit.pages.board.worst())
}
