//! What the page answers, asked without sockets.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use gmetad_agents::config::Layout;
use gmetad_agents::page::{PageOptions, site};
use gmetad_agents::spec::{Graph, Graphs, Keep};
use gmetad_agents::view::Acknowledged;
use gmetad_core::agent::{Measurement, State};
use gmetad_core::stats::Reports;
use gmetad_http::{Secret, Site};
use proptest::prelude::*;
use serde_json::Value;

use crate::made_up::{Fake, HOSTILE, agent, agents, board, now};

pub(crate) struct Rig {
    site: Site,
    pub(crate) control: Arc<Fake>,
}

pub(crate) struct Answer {
    status: u16,
    head: String,
    pub(crate) body: String,
}

impl Answer {
    fn json(&self) -> Value {
        assert!(self.head.contains("Content-Type: application/json"), "{}", self.head);
        serde_json::from_str(&self.body).expect("JSON")
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.split_once(": ").filter(|(own, _)| *own == name)).map(|(_, value)| value)
    }
}

impl Rig {
    fn new(change: impl FnOnce(&mut PageOptions)) -> Self {
        let board = board();
        let control = Arc::new(Fake { board: Arc::clone(&board), ..Fake::default() });
        let mut options =
            PageOptions { host: "node1".to_owned(), token: Secret::new("sesame"), ..PageOptions::default() };
        change(&mut options);
        Self { site: site(options, board, control.clone()), control }
    }

    fn send(&self, request: &str) -> Answer {
        let bytes = self.site.input(request.as_bytes(), true).expect("an answer").bytes;
        let text = String::from_utf8(bytes).expect("UTF-8");
        let (head, body) = text.split_once("\r\n\r\n").expect("a head");
        Answer { status: head[9..12].parse().expect("a status"), head: head.to_owned(), body: body.to_owned() }
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.send(&format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"))
    }

    fn post(&self, path: &str, headers: &str, body: &str) -> Answer {
        let kind = if body.starts_with('{') { "application/json" } else { "application/x-www-form-urlencoded" };
        let length = body.len();
        self.send(&format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\n{headers}Content-Length: {length}\r\n\r\n{body}"))
    }
}

pub(crate) fn rig() -> Rig {
    Rig::new(|_| {})
}

#[test]
fn the_overview_says_it_all_without_scripts() {
    let page = rig().get("/");
    assert_eq!(page.status, 200);
    for wanted in [
        "<html lang=\"en\">",
        "process squid is not running",
        "acknowledged by Léa",
        "silent until",
        "Error",
        "Dependant",
    ] {
        assert!(page.body.contains(wanted), "{wanted}");
    }
    let policy = page.header("Content-Security-Policy").expect("a policy");
    assert!(
        policy.contains("default-src 'none'") && policy.contains("script-src 'self'") && !policy.contains("unsafe")
    );
    assert!(!page.body.contains(" style=") && !page.body.contains("<style") && !page.body.contains(" onclick="));
    let filtered = rig().get("/?state=error");
    assert!(filtered.body.contains("id=\"agent-squid\"") && !filtered.body.contains("id=\"agent-load\""));
}

#[test]
fn french_is_french() {
    let rig = rig();
    for path in [
        "/",
        "/agents/load/",
        "/agents/packages/",
        "/agents/ups/",
        "/agents/squid-stats/",
        "/agents/network/",
        "/nothing",
    ] {
        let page = rig.get(&format!("{path}?lang=fr"));
        assert!(page.body.contains("<html lang=\"fr\">"), "{path}");
        assert_eq!(page.header("Set-Cookie").map(|cookie| cookie.starts_with("zstats_lang=fr;")), Some(true));
        for english in
            ["Since", "Last values", "All agents", "Needs attention", "Measure now", " ago<", "Thresholds", "There is"]
        {
            assert!(!page.body.contains(english), "{path}: {english}");
        }
    }
    let cookie = rig.send("GET / HTTP/1.1\r\nHost: localhost\r\nCookie: zstats_lang=fr\r\nAccept-Language: en\r\n\r\n");
    assert!(cookie.body.contains("Erreur"));
}

#[test]
fn programs_get_english_unless_they_ask() {
    let rig = Rig::new(|options| options.lang = gmetad_agents::lang::Lang::French);
    for (query, expected) in [("", "ups is being measured"), ("?lang=fr", "une mesure de ups est en cours")] {
        let answer = rig.post(&format!("/api/v1/agents/ups/measure{query}"), "Authorization: Bearer sesame\r\n", "");
        assert_eq!(answer.json()["error"].as_str(), Some(expected));
    }
    let page = rig.post("/agents/ups/measure", "", "token=sesame").body;
    assert!(page.contains("une mesure de ups est en cours"));
}

#[test]
fn long_tables_do_not_hide_graphs_and_the_young_show_their_hour() {
    let rig = rig();
    let chosen = |page: &str, seconds| page.contains(&format!("data-seconds=\"{seconds}\" aria-current=\"true\""));
    let mut view = (*rig.control.board.agent("network").expect("there")).clone();
    let page = rig.get("/agents/network/").body;
    assert!(!page.contains("<details class=\"long\"") && chosen(&page, "86400"));
    let mut last = view.last.clone().expect("measured");
    let mut measurement = (*last.measurement).clone();
    for place in 0..20 {
        measurement = measurement.instance(format!("/mnt/{place}"), Measurement::new().number("used", 1.0));
    }
    last.measurement = Arc::new(measurement);
    (view.last, view.since, view.measured) = (Some(last), now() - 60, 1);
    view.changes.clear();
    view.next = now();
    rig.control.board.update([view.clone()]);
    let page = rig.get("/agents/network/").body;
    assert!(page.contains("<details class=\"long\" id=\"instances\">") && chosen(&page, "3600"));
    assert!(page.contains("<dt>Next</dt><dd>now</dd>"));
    // An hour of what is measured every hour would be empty.
    Arc::make_mut(&mut view.spec).period = Duration::from_secs(3600);
    rig.control.board.update([view]);
    assert!(chosen(&rig.get("/agents/network/").body, "86400"));
}

#[test]
fn rows_of_one_minute_are_told_apart() {
    let rig = rig();
    let colons = || -> Vec<usize> {
        let page = rig.get("/agents/mailq/").body;
        let rows = page.split("<section class=\"rows\">").nth(1).and_then(|rest| rest.split("</section>").next());
        let rows = rows.expect("a table");
        let text = |row: &str| row.split("</time>").next().and_then(|time| time.rsplit('>').next().map(str::to_owned));
        let times = rows.split("<th scope=\"row\">").skip(1).filter_map(text);
        times.map(|time| time.matches(':').count()).collect()
    };
    assert_eq!(colons(), [1; 5]);
    let mut view = (*rig.control.board.agent("mailq").expect("there")).clone();
    Arc::make_mut(&mut view.spec).period = Duration::from_secs(5);
    rig.control.board.update([view]);
    assert_eq!(colons(), [2; 5]);
}

#[test]
fn a_percentage_that_is_counted_is_that_of_its_rate() {
    let rig = rig();
    let mut view = (*rig.control.board.agent("network").expect("there")).clone();
    let fields = &mut Arc::make_mut(&mut view.spec).fields;
    fields.iter_mut().find(|field| field.name == "rx_bytes").expect("there").unit = "%".to_owned();
    rig.control.board.update([view]);
    let page = rig.get("/agents/network/").body;
    assert!(page.contains("\u{202f}% <small>(7\u{202f}075\u{202f}000\u{202f}000)</small>"), "{page}");
    assert!(!page.contains("%/s"));
}

#[test]
fn who_gives_no_name_leaves_no_blank() {
    let rig = rig();
    let mut view = (*rig.control.board.agent("load").expect("there")).clone();
    for (by, expected) in [("", "soon (<time "), ("Léa", "soon (Léa <time ")] {
        view.acknowledged = Some(Acknowledged { time: now() - 1, by: by.to_owned(), comment: "soon".to_owned() });
        rig.control.board.update([view.clone()]);
        let page = rig.get("/agents/load/").body;
        assert!(page.contains(expected), "{page}");
    }
}

#[test]
fn the_page_is_as_lively_as_its_agents() {
    let rig = rig();
    let fresh = |path: &str| -> u64 {
        let page = rig.get(path).body;
        let seconds = page.split("data-fresh=\"").nth(1).and_then(|rest| rest.split('"').next()?.parse().ok());
        seconds.expect("a number")
    };
    assert_eq!(fresh("/agents/load/"), 30);
    assert!((5..=30).contains(&fresh("/")));
}

#[test]
fn enter_in_the_comment_acknowledges() {
    let page = rig().get("/agents/squid/").body;
    let first = page.split("<button").nth(1).and_then(|rest| rest.split('>').next());
    assert_eq!(first, Some(" formaction=\"/agents/squid/acknowledge\""));
}

#[test]
fn nothing_hostile_gets_out_of_its_place() {
    let rig = rig();
    for path in [
        "/",
        "/agents/hostile/",
        "/agents/packages/",
        "/?state=%3Cscript%3E",
        "/%3Cscript%3E",
        "/agents/%3Cscript%3E/",
        "/agents/load/?period=%22%3E%3Cscript%3E&instance=%3Cscript%3E",
    ] {
        let body = rig.get(path).body;
        assert!(!body.contains("<script>") && !body.contains("<img src=x") && !body.contains("onerror=\""), "{path}");
        assert!(!body.contains('\u{202e}') && !body.contains('\u{7}'), "{path}");
    }
    let page = rig.get("/agents/packages/").body;
    assert!(
        page.contains("<b>slides'</b>")
            && !page.contains("iframe")
            && !page.contains("evil")
            && !page.contains("position:fixed")
    );
}

#[test]
fn the_status_is_what_was_agreed() {
    let status = rig().get("/api/v1/status").json();
    assert_eq!((&status["host"], &status["worst"]), (&"node1".into(), &"Error".into()));
    assert_eq!(status["counts"]["Error"], 2);
    let list = status["agents"].as_array().expect("a list");
    assert_eq!(list.len(), agents().len());
    let load = &list[0];
    let keys: HashSet<_> = load.as_object().expect("an object").keys().map(String::as_str).collect();
    assert_eq!(keys, HashSet::from(["name", "section", "status", "message", "since", "last", "max"]));
    assert_eq!((&load["name"], &load["status"], &load["max"]), (&"load".into(), &"OK".into(), &"Warn".into()));
    assert!(load["last"].as_i64().is_some_and(|last| now() - last < 60));
    assert!(list.iter().any(|agent| agent["last"].is_null()));
}

#[test]
fn a_record_has_texts_where_messages_are() {
    let record = rig().get("/api/v1/agents/load").json();
    assert_eq!(record["spec"]["name"], "load");
    assert_eq!(record["max"]["message"], "load 4.31 is over 4");
    assert_eq!(record["last"]["measurement"]["fields"][0][0], "one");
    let missing = rig().get("/api/v1/agents/none");
    assert_eq!(missing.status, 404);
    assert!(missing.json()["remedy"].as_str().is_some_and(|text| text.contains("/api/v1/status")));
}

#[test]
fn series_come_on_one_grid_with_null_for_unknown() {
    let rig = rig();
    let end = now();
    let start = end - 6 * 3600;
    let data = rig.get(&format!("/api/v1/agents/load/series?graph=load.png&start={start}&end={end}&rows=100")).json();
    let times = data["time"].as_array().expect("times");
    assert!(times.len() <= 102 && times.len() > 50, "{}", times.len());
    let step = data["step"].as_i64().expect("a step");
    assert!(times.windows(2).all(|two| two[1].as_i64().expect("a time") - two[0].as_i64().expect("a time") == step));
    assert_eq!(
        data["limits"],
        serde_json::json!([{ "state": "warn", "value": 1.5 }, { "state": "error", "value": 8.0 }])
    );
    let curves = data["curves"].as_array().expect("curves");
    assert_eq!(
        curves.iter().map(|curve| curve["draw"].as_str().expect("a word")).collect::<Vec<_>>(),
        ["area", "line2", "line2"]
    );
    for curve in curves {
        let values = curve["values"].as_array().expect("values");
        assert_eq!(values.len(), times.len());
        assert!(values.iter().any(Value::is_null) && values.iter().any(Value::is_number), "a gap, and not only");
        assert_eq!(curve["max"].as_array().map(Vec::len), Some(times.len()));
    }
    let fine =
        rig.get(&format!("/api/v1/agents/load/series?graph=load.png&start={}&end={end}&rows=600", end - 3600)).json();
    assert_eq!((&fine["step"], &fine["curves"][0]["max"]), (&60.into(), &Value::Null));
    let network = rig.get("/api/v1/agents/network/series?graph=unit0&instance=eth0").json();
    assert_eq!((&network["unit"], &network["curves"][1]["label"]), (&"B/s".into(), &"sent".into()));
    for path in ["load/series?graph=none", "load/series", "network/series?graph=unit0", "disks/series?graph=unit0"] {
        let missing = rig.get(&format!("/api/v1/agents/{path}"));
        assert!(missing.status == 404 && missing.json()["error"].is_string(), "{path}");
    }
}

#[test]
fn a_graph_is_also_a_picture() {
    let rig = rig();
    for path in [
        "load/graph.svg?graph=load.png&period=week",
        "memory/graph.svg?graph=memory.png&width=1&height=99999",
        "hostile/graph.svg?graph=unit0",
    ] {
        let svg = rig.get(&format!("/agents/{path}"));
        assert_eq!((svg.status, svg.header("Content-Type")), (200, Some("image/svg+xml; charset=utf-8")), "{path}");
        assert!(
            svg.body.starts_with("<svg xmlns=") && svg.body.contains("<path") && !svg.body.contains("NaN"),
            "{path}"
        );
        assert!(!svg.body.contains("<script>"));
    }
    assert_eq!(rig.get("/agents/load/graph.svg?graph=x").status, 404);
}

#[test]
fn graphs_of_raw_arguments_are_drawn_by_the_hook() {
    let rig = Rig::new(|options| {
        options.png = Arc::new(|graph, file, start, end| match file("one") {
            Some(file) if end - start == 86_400 => Ok(format!("{} {}", file.display(), graph.pngname).into_bytes()),
            _ => Err("no <day>".into()),
        });
    });
    let mut view = agent("raw", "Raw", "");
    let graph = Graph {
        pngname: "http.png".to_owned(),
        vnamedefs: vec![("a".to_owned(), ("one".to_owned(), "AVERAGE".to_owned()))],
        ..Graph::default()
    };
    let spec = Arc::make_mut(&mut view.spec);
    spec.keep = Keep::Rrd(Graphs { graphs: vec![graph], datasources: Vec::new(), archives: Vec::new() });
    view.last = agents()[0].last.clone();
    rig.control.board.publish(vec![Arc::new(view)], Arc::new(Layout::default()));
    assert!(rig.get("/agents/raw/").body.contains("<img src=\"/agents/raw/http.png?period=day\""));
    let png = rig.get("/agents/raw/http.png?period=day");
    assert_eq!(
        (png.status, &*png.body, png.header("Content-Type")),
        (200, "/raw/-/one.rrd http.png", Some("image/png"))
    );
    let failed = rig.get("/agents/raw/http.png?period=hour");
    assert!(failed.status == 503 && failed.body.contains("no &lt;day&gt;"));
    assert_eq!(rig.get("/agents/raw/other.png").status, 404);
}

#[test]
fn metrics_are_openmetrics() {
    let text = rig().get("/metrics").body;
    let (mut families, mut family, mut samples) = (HashSet::new(), String::new(), HashSet::new());
    let mut lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.pop(), Some("# EOF"));
    for line in lines {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            family = rest.split(' ').next().expect("a name").to_owned();
            assert!(families.insert(family.clone()), "{family} comes twice");
        } else if !line.starts_with("# HELP ") {
            let (sample, value) = line.rsplit_once(' ').expect("a value");
            assert!(sample.starts_with(&family), "{line}");
            assert!(value.parse::<f64>().is_ok(), "{line}");
            assert!(samples.insert(sample.to_owned()), "{sample} comes twice");
            // Quotes inside of values are escaped, so that those that are not come in pairs.
            let bare = sample.replace("\\\\", "").replace("\\\"", "");
            assert_eq!(bare.matches('"').count() % 2, 0, "{line}");
        }
    }
    assert!(text.contains("zstats_agent_status{agent=\"squid\",section=\"Services\",state=\"Error\"} 1\n"));
    assert!(text.contains("zstats_value{agent=\"disks\",instance=\"/home\",field=\"used_percent\",unit=\"%\"} 97.4\n"));
    assert!(text.contains("zstats_value{agent=\"load\",field=\"one\"} 0.42\n"));
}

#[test]
fn the_service_tells_how_it_is() {
    assert_eq!(rig().get("/healthz").status, 200);
    let ill = Rig::new(|options| options.healthy = Arc::new(|| Err("the schedule stands still".to_owned())));
    let answer = ill.get("/healthz");
    assert_eq!((answer.status, &*answer.body), (503, "the schedule stands still\n"));
    let rig = Rig::new(|options| options.reports = Arc::new(Reports::default()));
    assert_eq!(rig.get("/metrics").status, 200);
}

#[test]
fn only_who_knows_the_token_has_something_done() {
    let rig = rig();
    let bearer = "Authorization: Bearer sesame\r\n";
    let path = "/api/v1/agents/load/measure";
    for (headers, body, status) in [
        ("", "", 401),
        ("", "token=wrong", 401),
        ("Sec-Fetch-Site: same-site\r\n", "token=sesame", 403),
        ("Origin: https://evil.example\r\n", "token=sesame", 403),
        ("", "token=sesame", 200),
        (bearer, "", 200),
        (bearer, "{}", 200),
        ("", "{\"token\":\"sesame\"}", 200),
    ] {
        let answer = rig.post(path, headers, body);
        assert_eq!(answer.status, status, "{headers:?} {body:?}: {}", answer.body);
        assert!(answer.json().get(if status == 200 { "done" } else { "remedy" }).is_some());
    }
    assert_eq!(rig.post(path, "Sec-Fetch-Site: cross-site\r\n", "token=sesame").status, 403, "not even to the page");
    assert_eq!(*rig.control.asked.lock(), vec!["measure load"; 4]);
    assert_eq!(rig.post("/api/v1/agents/none/measure", bearer, "").status, 404);
    assert_eq!(rig.post("/api/v1/agents/load/format", bearer, "").status, 404);
    let busy = rig.post("/api/v1/agents/ups/measure", bearer, "");
    assert_eq!((busy.status, busy.json()["error"].as_str()), (409, Some("ups is being measured")));
    assert_eq!(rig.get(path).status, 405);

    let off = Rig::new(|options| options.token = None);
    assert_eq!(off.post(path, bearer, "").status, 403);
    assert!(!off.get("/agents/load/").body.contains("<form") && rig.get("/agents/load/").body.contains("<form"));
}

#[test]
fn states_are_acknowledged_and_silenced() {
    let rig = rig();
    let bearer = "Authorization: Bearer sesame\r\n";
    let body = "by=L%C3%A9a&comment=%3Cb%3Ethursday%3C%2Fb%3E";
    assert_eq!(rig.post("/api/v1/agents/squid/acknowledge", bearer, body).status, 200);
    let page = rig.get("/agents/squid/").body;
    assert!(page.contains("&lt;b&gt;thursday&lt;/b&gt;") && page.contains("acknowledged by Léa"));
    assert_eq!(rig.post("/api/v1/agents/squid/acknowledge", bearer, "{\"clear\":true}").status, 200);
    assert!(!rig.get("/agents/squid/").body.contains("thursday"));
    for (body, status) in [
        ("seconds=60", 200),
        ("seconds=0", 400),
        ("seconds=-5", 400),
        ("until=99999999999999", 400),
        ("", 400),
        ("clear=1", 200),
        ("seconds=9223372036854775807", 400),
    ] {
        assert_eq!(rig.post("/api/v1/agents/load/silence", bearer, body).status, status, "{body}");
    }
}

#[test]
fn a_form_leads_back_and_the_browser_is_remembered() {
    let rig = rig();
    let answer = rig.post("/agents/load/measure", "Origin: http://localhost\r\n", "token=sesame&by=x");
    assert_eq!((answer.status, answer.header("Location")), (303, Some("/agents/load/?done=measure")));
    let cookie = answer.header("Set-Cookie").expect("a cookie").split(';').next().expect("a pair").to_owned();
    let page = rig.send(&format!("GET /agents/load/ HTTP/1.1\r\nHost: localhost\r\nCookie: {cookie}\r\n\r\n"));
    assert!(page.body.contains("<form") && !page.body.contains("name=\"token\""));
    assert_eq!(rig.post("/agents/load/silence", &format!("Cookie: {cookie}\r\n"), "seconds=3600").status, 303);
    let refused = rig.post("/agents/load/measure", "", "token=x");
    assert!(refused.status == 401 && refused.body.contains("The token is missing or wrong."));
}

#[test]
fn what_the_layout_leaves_out_is_counted() {
    let rig = rig();
    let shown = Some(vec!["mailq".to_owned(), "gone".to_owned(), "load".to_owned()]);
    rig.control.board.publish(agents().into_iter().map(Arc::new).collect(), Arc::new(Layout { shown }));
    let page = rig.get("/").body;
    assert!(
        page.contains("38 not shown") && page.contains("the worst of them:") && !page.contains("id=\"agent-squid\"")
    );
    let place = |name| page.find(&format!("id=\"agent-{name}\"")).expect("shown");
    assert!(place("mailq") < place("load"), "in the order of the layout");
    assert!(rig.control.board.worst() == State::Error);
}

#[test]
fn a_password_is_asked_for_before_anything() {
    let rig = Rig::new(|options| options.password = Secret::new("open"));
    assert_eq!(rig.get("/healthz").status, 200, "it says nothing that is secret");
    for path in ["/", "/metrics", "/static/page.css", "/healthz/", "/nothing"] {
        assert_eq!(rig.get(path).status, 401, "{path}");
    }
    let ask = |credentials: &str| {
        rig.send(&format!("GET / HTTP/1.1\r\nHost: localhost\r\nAuthorization: {credentials}\r\n\r\n")).status
    };
    assert_eq!((ask("Basic YTpvcGVu"), ask("Bearer sesame"), ask("Basic YTpvcGVv")), (200, 200, 401));
}

#[test]
fn files_are_kept_by_browsers_and_asked_for_again_when_they_change() {
    let rig = rig();
    let page = rig.get("/agents/load/").body;
    for name in ["page.css", "page.js", "graphs.js", "uplot.css", "uplot.js"] {
        let start = page.find(&format!("/static/{name}?v=")).expect(name);
        let address = page[start..].split('"').next().expect("an end");
        let file = rig.get(address);
        assert_eq!(file.status, 200);
        assert!(file.header("Cache-Control").is_some_and(|value| value.contains("immutable")), "{address}");
        let tag = file.header("ETag").expect("a tag");
        let plain = format!("/static/{name}");
        assert_eq!(rig.get(&plain).header("Cache-Control"), Some("no-cache"));
        let again = rig.send(&format!("GET {plain} HTTP/1.1\r\nHost: localhost\r\nIf-None-Match: {tag}\r\n\r\n"));
        assert_eq!(again.status, 304);
    }
    assert_eq!(rig.get("/static/../Cargo.toml").status, 404);
    assert_eq!(rig.get("/favicon.ico").header("Content-Type"), Some("image/svg+xml"));
}

#[test]
fn other_names_are_not_answered_on_loopback() {
    let rig = rig();
    assert_eq!(rig.send("GET / HTTP/1.1\r\nHost: node1:8090\r\n\r\n").status, 200);
    assert_eq!(rig.send("GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n").status, 421);
    let open = Rig::new(|options| options.listen = vec!["0.0.0.0:8090".parse().expect("an address")]);
    assert_eq!(open.send("GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n").status, 200);
    let moved = rig.get("/agents/load");
    assert_eq!((moved.status, moved.header("Location")), (303, Some("/agents/load/")));
    assert!(rig.get("/agents/nobody/").body.contains("There is no such agent"));
    assert!(!HOSTILE.is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn any_address_is_answered(
        path in "/|/agents/(load|network|hostile|x)/(|graph.svg|x.png)|/api/v1/(status|agents/load|agents/network/series)|/metrics|/static/[a-z.]{0,12}",
        names in proptest::collection::vec("graph|instance|period|start|end|rows|width|height|state|lang|done", 0..4),
        values in proptest::collection::vec("load.png|unit0|eth0|-?[0-9]{1,22}|[0-9]e[0-9]{1,3}|nan|inf|year|hour|%00|%C3%A9|", 4),
    ) {
        let query: Vec<_> = names.iter().zip(&values).map(|(name, value)| format!("{name}={value}")).collect();
        let answer = rig().get(&format!("{path}?{}", query.join("&")));
        prop_assert!(answer.status != 500 && answer.status != 503, "{}", answer.body);
    }
}
