//! The page in Chromium: what people see and click.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use gmetad_agents::config::Layout;
use gmetad_agents::page::{PageOptions, site};
use gmetad_agents::spec::{Graph, Graphs, Keep};
use gmetad_core::agent::{State, Status};
use gmetad_http::{Secret, Server, ServerOptions};
use serde_json::json;

use crate::made_up::{Fake, agent, agents, board};
use crate::webdriver::Browser;

pub(crate) struct Rig {
    pub(crate) browser: Browser,
    pub(crate) control: Arc<Fake>,
    base: String,
    _server: Server,
}

pub(crate) fn rig(test: &str) -> Option<Rig> {
    let browser = Browser::start(test)?;
    let board = board();
    let control = Arc::new(Fake { board: Arc::clone(&board), ..Fake::default() });
    let options = PageOptions { host: "node1".to_owned(), token: Secret::new("sesame"), ..PageOptions::default() };
    let listen = vec![(Ipv4Addr::LOCALHOST, 0).into()];
    let server =
        Server::start(site(options, board, control.clone()), ServerOptions { listen, ..ServerOptions::default() });
    let server = server.expect("started");
    let base = format!("http://{}", server.addresses()[0]);
    Some(Rig { browser, control, base, _server: server })
}

impl Rig {
    pub(crate) fn open(&self, path: &str) {
        self.browser.open(&format!("{}{path}", self.base));
    }

    /// Seconds between the ends of the first graph.
    pub(crate) fn span(&self) -> i64 {
        self.browser
            .get("(d => d.end - d.start)(document.querySelector('figure.graph').dataset)")
            .as_i64()
            .expect("a number")
    }

    fn fetched(&self) -> i64 {
        self.browser
            .get("performance.getEntriesByType('resource').filter(e => e.name.includes('/series?')).length")
            .as_i64()
            .expect("a number")
    }
}

#[test]
fn people_read_click_and_zoom() {
    let Some(rig) = rig("people_read_click_and_zoom") else { return };
    let browser = &rig.browser;
    rig.open("/?lang=en");
    assert_eq!(browser.text("document.documentElement.lang"), "en");
    assert_eq!(browser.text("document.querySelector('.summary h1').innerText"), "Error node1");
    for (state, word) in
        [("ok", "OK"), ("dependant", "Dependant"), ("unknown", "Unknown"), ("warn", "Warn"), ("error", "Error")]
    {
        assert_eq!(browser.text(&format!("document.querySelector('.agents .state.{state} .word').innerText")), word);
    }
    // Each state has a colour and a shape of its own.
    for of in ["getComputedStyle(body).fill", "body.getAttribute('d')"] {
        let each = format!("new Set([...document.querySelectorAll('.chip .body')].map(body => {of})).size");
        assert_eq!(browser.get(&each), 5, "{of}");
    }

    browser.click("#agent-load a");
    browser.wait("document.querySelector('figure.graph canvas') !== null");
    assert_eq!(rig.span(), 86_400);
    browser.click(".periods a[data-period=week]");
    browser.wait("(d => d.end - d.start)(document.querySelector('figure.graph').dataset) === 604800");
    assert_eq!(browser.text("location.search"), "?period=week");
    let (fetched, step) = (rig.fetched(), browser.get("Number(document.querySelector('figure.graph').dataset.step)"));
    browser.drag("figure.graph .u-over", -100, 20);
    browser.wait("(d => d.end - d.start)(document.querySelector('figure.graph').dataset) < 200000");
    let zoomed = rig.span();
    let width = browser.get("document.querySelector('figure.graph .u-over').clientWidth").as_i64().expect("a number");
    assert!((zoomed - 604_800 * 120 / width).abs() < 604_800 * 3 / width, "{zoomed} of {width} pixels");
    assert!(rig.fetched() > fetched, "data was fetched for it");
    assert!(
        browser.get("Number(document.querySelector('figure.graph').dataset.step)").as_i64() < step.as_i64(),
        "finer"
    );
    browser.double_click("figure.graph .u-over");
    browser.wait("(d => d.end - d.start)(document.querySelector('figure.graph').dataset) === 604800");
    browser.click(".legend button");
    browser.wait("document.querySelector('.legend tr.off') !== null");

    browser.click(".languages a[hreflang=fr]");
    browser.wait("document.documentElement.lang === 'fr' && document.querySelector('figure.graph canvas') !== null");
    assert_eq!(browser.text("document.querySelector('.periods a[data-period=week]').innerText"), "Semaine");
    assert_eq!(rig.span(), 604_800, "the period was kept");
    browser.click(".path a");
    assert_eq!(browser.text("document.querySelector('.summary h1').innerText"), "Erreur node1");
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

#[test]
fn all_graphs_show_one_time() {
    let Some(rig) = rig("all_graphs_show_one_time") else { return };
    let browser = &rig.browser;
    rig.open("/agents/network/?lang=en");
    let sight = |which: i32| {
        let figure = format!("document.querySelectorAll('figure.graph')[{which}]");
        browser.get(&format!("{figure}.scrollIntoView()"));
        browser.wait(&format!("{figure}.querySelector('canvas') !== null"));
    };
    // Of the first, the second and the last, whether they are in sight or not.
    let spans = "(all => [all[0], all[1], all.at(-1)].map(it => it.dataset.end - it.dataset.start))([...document.querySelectorAll('figure.graph')])";
    let shown = |figures: i32, is: &str| browser.wait(&format!("{spans}.slice(0, {figures}).every(span => {is})"));
    sight(3);
    sight(0);
    shown(3, "span === 86400");
    browser.drag("figure.graph .u-over", -100, 20);
    shown(2, "span < 40000");
    assert_eq!(browser.get(&format!("new Set({spans}.slice(0, 2)).size")), 1, "{}", browser.get(spans));
    sight(3);
    shown(3, "span < 40000");
    sight(0);
    // One goes back, and all do.
    browser.double_click("figure.graph:nth-of-type(2) .u-over");
    shown(2, "span === 86400");
    assert_eq!(browser.get("document.querySelectorAll('.periods button:not([hidden])').length"), 0);
    browser.drag("figure.graph:nth-of-type(2) .u-over", -100, 20);
    shown(2, "span < 40000");
    browser.click("figure.graph .periods button");
    shown(2, "span === 86400");
    browser.click("figure.graph:nth-of-type(2) .periods a[data-period=week]");
    shown(2, "span === 604800");
    let chosen = "document.querySelectorAll('.periods a[data-period=week][aria-current]').length";
    assert_eq!(browser.get(chosen), 4);
    sight(3);
    shown(3, "span === 604800");
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

#[test]
fn all_graphs_are_there_to_be_printed() {
    let Some(rig) = rig("all_graphs_are_there_to_be_printed") else { return };
    rig.open("/agents/load/");
    rig.browser.get("window.dispatchEvent(new Event('beforeprint'))");
    let all =
        "[...document.querySelectorAll('figure.graph[data-src]')].every(figure => figure.querySelector('canvas'))";
    rig.browser.wait(all);
    assert_eq!(rig.browser.complaints(), Vec::<String>::new());

    let mut view = agent("raw", "Raw", "");
    let vnamedefs = vec![("a".to_owned(), ("one".to_owned(), "AVERAGE".to_owned()))];
    let graph = Graph { pngname: "http.png".to_owned(), vnamedefs, ..Graph::default() };
    let graphs = Graphs { graphs: vec![graph], datasources: Vec::new(), archives: Vec::new() };
    let spec = Arc::make_mut(&mut view.spec);
    (spec.keep, spec.period) = (Keep::Rrd(graphs), Duration::from_secs(5));
    view.last = agents()[0].last.clone();
    rig.control.board.publish(vec![Arc::new(view)], Arc::new(Layout::default()));
    rig.open("/agents/raw/");
    assert_eq!(rig.browser.get("document.querySelectorAll('.graphs h2 .hint').length"), 0, "pictures are not zoomed");
    rig.browser.click(".periods a[data-period=week]");
    assert_eq!(rig.browser.text("location.search"), "?period=week");
    assert!(rig.browser.text("document.querySelector('figure.librrd img').src").contains("period=week"));
    rig.browser.wait("document.querySelector('figure.librrd img').src.includes('period=week&end=')");
}

#[test]
fn what_is_shown_stays_fresh() {
    let Some(rig) = rig("what_is_shown_stays_fresh") else { return };
    let browser = &rig.browser;
    rig.open("/");
    browser.get("window.before = 1");
    let mut view = (*rig.control.board.agent("load").expect("there")).clone();
    view.status = Status::new(State::Error, "now it is bad");
    rig.control.board.update([view]);
    // As when somebody comes back to the page.
    browser.get("document.dispatchEvent(new Event('visibilitychange'))");
    browser.wait("document.querySelector('#agent-load.error .message')?.innerText === 'now it is bad'");
    assert_eq!(browser.get("window.before"), 1, "without loading the page again");
    assert!(browser.text("document.title").starts_with("(6) "), "{}", browser.text("document.title"));
    assert_eq!(browser.complaints(), Vec::<String>::new());
    drop(rig._server);
    browser.get("document.dispatchEvent(new Event('visibilitychange'))");
    browser.wait("document.querySelector('#fresh.lost') !== null");
}

#[test]
fn hostile_texts_do_not_run() {
    let Some(rig) = rig("hostile_texts_do_not_run") else { return };
    let browser = &rig.browser;
    for path in ["/", "/agents/hostile/", "/agents/packages/"] {
        rig.open(path);
        if path == "/agents/hostile/" {
            browser.wait("document.querySelector('.legend') !== null");
        }
        assert_ne!(browser.text("document.title"), "run", "{path}");
        assert_eq!(browser.get("document.querySelectorAll('main script, main iframe, main img[onerror], main [style]:not(.chart *)').length"), 0);
        assert_eq!(browser.complaints(), Vec::<String>::new());
    }
    // And if something got in, the policy would stop it, and we would hear of it.
    browser.get("document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"document.title=\\'run\\'\">')");
    browser.get("document.body.appendChild(Object.assign(document.createElement('script'), {textContent: 'document.title=\"run\"'}))");
    browser.wait("document.querySelector('body > img').complete");
    assert_ne!(browser.text("document.title"), "run");
    let complaints = browser.complaints();
    assert!(complaints.iter().any(|text| text.contains("Content Security Policy")), "{complaints:?}");
}

#[test]
fn buttons_need_the_token() {
    let Some(rig) = rig("buttons_need_the_token") else { return };
    let browser = &rig.browser;
    rig.open("/agents/squid/?lang=en");
    browser.write("#token", "wrong");
    browser.click("button[formaction$=measure]");
    browser.wait("document.querySelector('.problem') !== null");
    assert!(rig.control.asked.lock().is_empty());
    rig.open("/agents/squid/");
    browser.write("#token", "sesame");
    browser.write("#by", "Léa");
    browser.write("#comment", "<b>jeudi</b>");
    browser.click("button[formaction$=acknowledge]");
    browser.wait("document.querySelector('.notice') !== null");
    assert_eq!(*rig.control.asked.lock(), ["acknowledge squid Léa: <b>jeudi</b>"]);
    assert!(browser.text("document.querySelector('.note.known').innerText").contains("<b>jeudi</b>"));
    // From now on this browser need not be asked.
    assert_eq!(browser.get("document.querySelector('#token')"), json!(null));
    browser.click("button[formaction$=measure]");
    browser.wait("document.querySelector('.notice')?.innerText === 'The agent measures now.'");
    assert_eq!(rig.control.asked.lock().len(), 2);
}

#[test]
fn a_phone_shows_all_of_its_width_and_no_more() {
    let Some(rig) = rig("a_phone_shows_all_of_its_width_and_no_more") else { return };
    let browser = &rig.browser;
    browser.devtools(
        "Emulation.setDeviceMetricsOverride",
        json!({ "width": 360, "height": 740, "deviceScaleFactor": 1, "mobile": true }),
    );
    for path in [
        "/",
        "/?lang=fr",
        "/agents/network/",
        "/agents/hostile/",
        "/agents/packages/",
        "/agents/disks/",
        "/agents/memory/",
    ] {
        rig.open(path);
        if path.contains("network") || path.contains("memory") || path.contains("hostile") {
            // Graphs are loaded when they come into sight.
            browser.get("document.querySelector('figure.graph').scrollIntoView()");
            browser.wait("document.querySelector('.legend') !== null");
        }
        assert_eq!(browser.get("[document.documentElement.scrollWidth, innerWidth]"), json!([360, 360]), "{path}");
    }
}
