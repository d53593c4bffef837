//! The small curves of the overview.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use gmetad_agents::config::Layout;
use gmetad_agents::spec::{Graph, Graphs, Keep};
use gmetad_core::agent::Measurement;
use serde_json::json;

use crate::answers::rig;
use crate::browser;
use crate::made_up::{agent, now, taken};

/// The row of an agent in an overview.
fn row<'a>(page: &'a str, agent: &str) -> &'a str {
    let row = page.split(&format!("id=\"agent-{agent}\"")).nth(1).expect("a row");
    row.split("</tr>").next().expect("a row")
}

/// What a row says of its curve.
fn said<'a>(page: &'a str, agent: &str) -> Option<&'a str> {
    row(page, agent).split("role=\"img\" aria-label=\"").nth(1)?.split('"').next()
}

#[test]
fn rows_have_the_curve_that_matters() {
    let rig = rig();
    let page = rig.get("/").body;
    let load = said(&page, "load").expect("a curve");
    assert!(load.starts_with("1 minute, last hour: ") && load.contains(" to "), "{load}");
    assert!(row(&page, "load").contains("class=\"line\" d=\"M"), "{}", row(&page, "load"));
    assert!(row(&page, "load").contains("<span class=\"n\">0.42</span>"), "what was measured last");
    assert!(said(&page, "memory").is_some_and(|text| text.starts_with("used, last hour: ") && text.contains("GiB")));
    // lo has no file; of the others eth0 has received more.
    assert!(said(&page, "network").is_some_and(|text| text.starts_with("eth0 – received, last hour: ")), "{page}");
    assert!(row(&page, "network").contains("iB/s</span>"), "a rate");
    let table = said(&page, "mailq").expect("a curve of its rows");
    assert_eq!(table, "waiting, the last 12 min: 4 to 12");
    for nothing in ["tcp-0", "disks", "packages"] {
        assert!(row(&page, nothing).contains("<td class=\"c\"></td>"), "{}", row(&page, nothing));
    }
    let french = rig.get("/?lang=fr").body;
    assert!(said(&french, "load").is_some_and(|text| text.starts_with("1 minute, dernière heure : de 0,")), "{french}");
    assert!(!french.contains("last hour") && french.contains("Évolution"));
    assert!(!page.contains(" style=") && !page.contains("<style"), "the policy allows none");
    let filtered = rig.get("/?state=warn").body;
    assert!(said(&filtered, "memory").is_some());
}

#[test]
fn graphs_of_the_configuration_come_first_and_raw_ones_do_not_hide_fields() {
    let rig = rig();
    let mut view = (*rig.control.board.agent("memory").expect("there")).clone();
    let raw = Graph {
        pngname: "raw.png".to_owned(),
        vnamedefs: vec![("a".to_owned(), ("used".to_owned(), "AVERAGE".to_owned()))],
        ..Graph::default()
    };
    let percent = Graph { pngname: "percent.png".to_owned(), unit: "%".to_owned(), ..Graph::default() };
    for (graphs, expected) in [(vec![raw.clone(), percent], "used, last hour: "), (vec![raw], "used, last hour: ")] {
        let unit = if graphs.len() == 2 { "%" } else { "GiB" };
        let spec = Arc::make_mut(&mut view.spec);
        spec.keep = Keep::Rrd(Graphs { graphs, ..Graphs::default() });
        rig.control.board.update([view.clone()]);
        let page = rig.get("/").body;
        let text = said(&page, "memory").expect("a curve");
        assert!(text.starts_with(expected) && text.ends_with(unit), "{text}");
    }
}

#[test]
fn files_are_read_once_a_measurement() {
    let rig = rig();
    let reads = || *rig.control.disk.lock();
    let first = rig.get("/").body;
    let before = reads();
    assert!(before >= 4, "{before} reads");
    assert_eq!(said(&rig.get("/").body, "load"), said(&first, "load"));
    assert_eq!(reads(), before, "nothing was measured since");
    let mut view = (*rig.control.board.agent("load").expect("there")).clone();
    view.last = Some(taken(0, Measurement::new().number("one", 77.0)));
    rig.control.board.update([view]);
    assert!(row(&rig.get("/").body, "load").contains("<span class=\"n\">77</span>"));
    assert_eq!(reads(), before + 1, "of that agent alone");
}

#[test]
fn a_disk_that_hangs_delays_no_overview() {
    let rig = rig();
    let disk = rig.control.disk.lock();
    let begun = Instant::now();
    for _ in 0..20 {
        let page = rig.get("/").body;
        assert!(page.contains("process squid is not running") && said(&page, "load").is_none());
    }
    // Once, and not each time.
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    drop(disk);
    let end = Instant::now() + Duration::from_secs(30);
    while said(&rig.get("/").body, "load").is_none() {
        assert!(Instant::now() < end, "no curve came");
        thread::yield_now();
    }
}

#[test]
fn the_young_show_what_they_have() {
    let rig = rig();
    let mut view = agent("young", "Young", "");
    view.spec = Arc::new({
        let mut spec = (*view.spec).clone();
        (spec.keep, spec.period) = (Keep::Table { rows: 9 }, Duration::from_secs(5));
        spec
    });
    view.since = now() - 15;
    view.last = Some(taken(0, Measurement::new().number("one", -3.0)));
    view.before =
        vec![taken(5, Measurement::new().number("one", f64::NAN)), taken(10, Measurement::new().number("one", -1.0))];
    rig.control.board.publish(vec![Arc::new(view.clone())], Arc::new(Layout::default()));
    assert_eq!(said(&rig.get("/").body, "young"), Some("one, the last 1 min: −3 to −1"));
    // Long ago is not now: the curve ends, and there is no number.
    view.since = now() - 2000;
    (view.last, view.before) = (Some(taken(2000, Measurement::new().number("one", 5.0))), Vec::new());
    rig.control.board.update([view.clone()]);
    let page = rig.get("/").body;
    assert_eq!(said(&page, "young"), Some("one, the last 33 min: 5"));
    assert!(!row(&page, "young").contains("class=\"n\"") && !row(&page, "young").contains("<circle"));
    view.last = Some(taken(9000, Measurement::new().number("one", 5.0)));
    rig.control.board.update([view]);
    assert_eq!(said(&rig.get("/").body, "young"), None, "nothing is known of the last hour");
}

#[test]
fn curves_are_seen_and_rows_that_did_not_change_stay() {
    let Some(rig) = browser::rig("curves_are_seen_and_rows_that_did_not_change_stay") else { return };
    let browser = &rig.browser;
    rig.open("/?lang=en");
    let shown = "(box => box.width > 90 && box.height > 20 && box.right < innerWidth)(document.querySelector('#agent-load .spark').getBoundingClientRect())";
    assert_eq!(browser.get(shown), true);
    let drawn =
        |state: &str| browser.text(&format!("getComputedStyle(document.querySelector('{state} .spark .line')).stroke"));
    assert!(drawn("tr.ok").starts_with("rgb") && drawn("tr.ok") != drawn("tr.warn"), "{}", drawn("tr.ok"));
    browser.get("window.kept = [...document.querySelectorAll('#agent-tcp-0, #agent-load, #agent-load .spark, #agent-memory .spark, .agents[data-key=Usage]')]");
    let same = "window.kept.map(element => document.contains(element)).join()";
    let mut all = rig.control.board.agents();
    let mut load = (*all.remove(0)).clone();
    load.status.message = "it is new".into();
    // One has gone, one has come, and one has changed.
    all.retain(|view| view.spec.name != "ups");
    all.insert(0, Arc::new(load));
    all.insert(0, Arc::new(agent("aaa", "Come", "Usage")));
    rig.control.board.publish(all, Arc::new(Layout::default()));
    browser.get("document.querySelector('#agent-memory a').focus()");
    browser.get("document.dispatchEvent(new Event('visibilitychange'))");
    browser.wait("document.querySelector('#agent-load .message').innerText === 'it is new'");
    assert_eq!(browser.text(same), "true,true,true,true,true");
    assert_eq!(
        browser.get("[document.querySelector('#agent-aaa') !== null, document.querySelector('#agent-ups')]"),
        json!([true, null])
    );
    assert_eq!(browser.text("document.querySelector('.agents tbody tr').id"), "agent-aaa", "in its place");
    assert_eq!(browser.get("document.activeElement === document.querySelector('#agent-memory a')"), true);
    // Only where something was measured is a curve another one.
    let mut view = (*rig.control.board.agent("load").expect("there")).clone();
    view.last = Some(taken(0, Measurement::new().number("one", 77.0)));
    rig.control.board.update([view]);
    browser.get("window.line = document.querySelector('#agent-memory .spark .line')");
    browser.get("document.dispatchEvent(new Event('visibilitychange'))");
    browser.wait("document.querySelector('#agent-load .n').innerText === '77'");
    assert_eq!(browser.get("document.contains(window.line)"), true);
    // In the other order: still the same elements.
    let mut all = rig.control.board.agents();
    all.reverse();
    rig.control.board.publish(all, Arc::new(Layout::default()));
    browser.get("document.dispatchEvent(new Event('visibilitychange'))");
    browser.wait("document.querySelector('.agents[data-key=Usage] tbody tr:last-child').id === 'agent-aaa'");
    assert_eq!(browser.text(same), "true,true,true,true,true");
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

#[test]
fn an_agent_that_goes_is_said_to_be_gone() {
    let Some(rig) = browser::rig("an_agent_that_goes_is_said_to_be_gone") else { return };
    let browser = &rig.browser;
    rig.open("/agents/squid/?lang=en");
    let all = rig.control.board.agents();
    rig.control.board.publish(Vec::new(), Arc::new(Layout::default()));
    browser.get("document.dispatchEvent(new Event('visibilitychange'))");
    browser.wait("document.querySelector('#live .problem h1')?.innerText === 'There is no such agent'");
    assert_eq!(browser.get("document.querySelector('#fresh.lost')"), json!(null), "the service is there");
    rig.control.board.publish(all, Arc::new(Layout::default()));
    browser.get("document.dispatchEvent(new Event('visibilitychange'))");
    browser
        .wait("document.querySelector('#live .facts') !== null && document.querySelector('#live .problem') === null");
}

#[test]
fn curves_fit_a_phone() {
    let Some(rig) = browser::rig("curves_fit_a_phone") else { return };
    let browser = &rig.browser;
    browser.devtools(
        "Emulation.setDeviceMetricsOverride",
        json!({ "width": 360, "height": 740, "deviceScaleFactor": 1, "mobile": true }),
    );
    rig.open("/?lang=fr");
    let inside = "[...document.querySelectorAll('.trend')].every(it => (box => box.left >= 0 && box.right <= 360 && box.width > 90)(it.getBoundingClientRect()))";
    assert_eq!(browser.get(inside), true);
    assert_eq!(browser.get("document.querySelectorAll('.trend').length > 3"), true);
    assert_eq!(browser.get("document.documentElement.scrollWidth"), 360);
}

#[test]
fn fingers_zoom() {
    let Some(rig) = browser::rig("fingers_zoom") else { return };
    let browser = &rig.browser;
    browser.devtools("Emulation.setTouchEmulationEnabled", json!({ "enabled": true, "maxTouchPoints": 5 }));
    rig.open("/agents/network/");
    browser.wait("document.querySelector('figure.graph canvas') !== null");
    browser.get("document.querySelector('figure.graph').scrollIntoView()");
    let of = |side: &str| {
        browser
            .get(&format!("document.querySelector('figure.graph .u-over').getBoundingClientRect().{side}"))
            .as_f64()
            .expect("a number")
    };
    let (left, width, y) = (of("left"), of("width"), of("top") + of("height") / 2.0);
    // Parts of the width.
    let touch = |kind: &str, at: &[f64]| {
        let points: Vec<_> =
            at.iter().enumerate().map(|(id, at)| json!({ "x": left + width * at, "y": y, "id": id })).collect();
        browser.devtools("Input.dispatchTouchEvent", json!({ "type": kind, "touchPoints": points }));
    };
    let near = |expected: i64| {
        let span = rig.span();
        assert!((span - expected).abs() <= expected / 50 + 60, "{span} s, not {expected}");
    };
    let changed = |from: i64| {
        browser.wait(&format!("(d => d.end - d.start)(document.querySelector('figure.graph').dataset) !== {from}"));
    };
    near(86_400);
    // One finger from a quarter to three quarters.
    touch("touchStart", &[0.25]);
    touch("touchMove", &[0.5]);
    touch("touchMove", &[0.75]);
    touch("touchEnd", &[]);
    changed(86_400);
    near(43_200);
    // The other charts go along.
    let both = "(all => new Set([all[0], all[1]].map(it => it.dataset.end - it.dataset.start)).size)([...document.querySelectorAll('figure.graph')])";
    browser.wait(&format!("{both} === 1"));
    // Two fingers pull the middle half apart.
    let before = rig.span();
    touch("touchStart", &[0.4, 0.6]);
    touch("touchMove", &[0.35, 0.65]);
    touch("touchMove", &[0.3, 0.7]);
    touch("touchEnd", &[]);
    changed(before);
    near(21_600);
    // And together again.
    let before = rig.span();
    touch("touchStart", &[0.3, 0.7]);
    touch("touchMove", &[0.35, 0.65]);
    touch("touchMove", &[0.4, 0.6]);
    touch("touchEnd", &[]);
    changed(before);
    near(43_200);
    browser.click(".periods button");
    browser.wait("(d => d.end - d.start)(document.querySelector('figure.graph').dataset) === 86400");
    assert_eq!(browser.complaints(), Vec::<String>::new());
}
