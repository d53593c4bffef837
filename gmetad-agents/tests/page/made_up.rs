//! Agents that nobody measures: every state, instances, tables, long and hostile texts. For tests and to look at the page.

use std::f64::consts::TAU;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use gmetad_agents::config::Layout;
use gmetad_agents::spec::{Datasource, Draw, DsKind, Field, Graph, Graphs, Keep, Rule, Series, Spec};
use gmetad_agents::view::{Acknowledged, Change, Taken};
use gmetad_agents::{AgentView, Board, Control};
use gmetad_core::agent::{Cell, Element, Measurement, Message, State, Status, Table};
use gmetad_core::message;
use gmetad_core::model::UnixTime;
use gmetad_rrd::fetch::Fetched;
use gmetad_rrd::{Cf, RrdError};
use parking_lot::Mutex;

/// What a page must not run, nor let break out of anything.
pub(crate) const HOSTILE: &str = "\"'><script>document.title='run'</script><img src=x onerror=\"document.title='run'\"></title></textarea>\u{202e}\u{7}{}";

pub(crate) fn now() -> UnixTime {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs().cast_signed()
}

fn field(name: &str, label: &str, unit: &str) -> Field {
    Field { name: name.to_owned(), label: label.into(), unit: unit.to_owned() }
}

/// An agent that is well and was measured a moment ago.
pub(crate) fn agent(name: &str, description: &str, section: &str) -> AgentView {
    let spec = Spec {
        name: name.to_owned(),
        period: Duration::from_secs(60),
        timeout: Duration::from_secs(20),
        description: description.into(),
        section: section.into(),
        fields: Vec::new(),
        requires: Vec::new(),
        rules: Vec::new(),
        limits: Vec::new(),
        ruled: Vec::new(),
        keep: Keep::Last,
        debounce: 1,
        written: String::new(),
        origin: format!("/usr/share/eole/zephir/monitor/configs/{name}.agent"),
        load_error: false,
        stands_for: Vec::new(),
    };
    let now = now();
    AgentView {
        spec: Arc::new(spec),
        status: Status::ok(),
        since: now - 93_000,
        own: Status::ok(),
        max: Status::ok(),
        max_at: now - 93_000,
        last: None,
        before: Vec::new(),
        changes: Vec::new(),
        measured: 1543,
        failed: 2,
        skipped: 0,
        failure: None,
        running: None,
        next: now + 47,
        notes: Vec::new(),
        acknowledged: None,
        silenced: None,
        told: false,
        streaks: Default::default(),
    }
}

fn with(mut view: AgentView, change: impl FnOnce(&mut Spec)) -> AgentView {
    change(Arc::make_mut(&mut view.spec));
    view
}

pub(crate) fn taken(ago: i64, measurement: Measurement) -> Taken {
    Taken { time: now() - ago, took: 0.0123, measurement: Arc::new(measurement) }
}

fn measured(mut view: AgentView, measurement: Measurement) -> AgentView {
    view.last = Some(taken(13, measurement));
    view
}

fn judged(mut view: AgentView, state: State, message: impl Into<Message>, ago: i64) -> AgentView {
    view.status = Status::new(state, message);
    view.own = view.status.clone();
    view.since = now() - ago;
    if state > view.max.state {
        (view.max, view.max_at) = (view.status.clone(), view.since);
    }
    view
}

fn changes(mut view: AgentView, every: i64, states: &[State]) -> AgentView {
    view.changes.push(Change { time: view.since, status: view.status.clone() });
    for (place, state) in states.iter().enumerate() {
        let time = view.since - (place as i64 + 1) * every + (place as i64 * 7919) % (every / 2);
        let message =
            if *state == State::Ok { "".into() } else { message!("load {} is over {}", 4.2 + place as f64, 4) };
        view.changes.push(Change { time, status: Status::new(*state, message) });
    }
    view
}

fn load() -> AgentView {
    let series =
        |ds: &str, draw, color: &str| Series { ds: ds.to_owned(), draw, color: color.to_owned(), ..Series::default() };
    let graph = Graph {
        pngname: "load.png".to_owned(),
        title: "Charge".into(),
        series: vec![
            series("one", Draw::Area, "#6aa5e0"),
            series("five", Draw::Line2, ""),
            series("fifteen", Draw::Line2, ""),
        ],
        lower: Some(0.0),
        ..Graph::default()
    };
    let view = with(agent("load", "Load", "Usage"), |spec| {
        spec.fields =
            vec![field("one", "1 minute", ""), field("five", "5 minutes", ""), field("fifteen", "15 minutes", "")];
        spec.keep = Keep::Rrd(Graphs { graphs: vec![graph], ..Graphs::default() });
        spec.rules = vec![Rule {
            field: "five".to_owned(),
            warn: "1.5".parse().ok(),
            error: "8".parse().ok(),
            r#for: 3,
            nodata: None,
        }];
    });
    let view = measured(view, Measurement::new().number("one", 0.42).number("five", 0.57).number("fifteen", 0.61));
    let mut view = changes(
        view,
        9000,
        &[State::Warn, State::Ok, State::Error, State::Warn, State::Ok, State::Unknown, State::Ok, State::Warn],
    );
    view.max = Status::new(State::Warn, message!("load {} is over {}", 4.31, 4));
    view.max_at = now() - 90_000;
    view
}

fn memory() -> AgentView {
    let series = |ds: &str, draw| Series { ds: ds.to_owned(), draw, ..Series::default() };
    let graph = Graph {
        pngname: "memory.png".to_owned(),
        title: "Memory".into(),
        unit: "B".to_owned(),
        series: vec![
            series("used", Draw::Area),
            series("buffers", Draw::Stack),
            series("cached", Draw::Stack),
            series("free", Draw::Stack),
        ],
        ..Graph::default()
    };
    let view = with(agent("memory", "Memory", "Usage"), |spec| {
        spec.fields = vec![
            field("used", "used", "B"),
            field("buffers", "buffers", "B"),
            field("cached", "cached", "B"),
            field("free", "free", "B"),
            field("used_percent", "used", "%"),
        ];
        spec.keep = Keep::Rrd(Graphs { graphs: vec![graph], ..Graphs::default() });
    });
    let measurement = Measurement::new()
        .number("used", 3.2e9)
        .number("buffers", 2.1e8)
        .number("cached", 9.7e9)
        .number("free", 3.4e9)
        .number("used_percent", 19.4);
    judged(measured(view, measurement), State::Warn, message!("{} used, over {}", "91 %", "90 %"), 4200)
}

fn network() -> AgentView {
    let counter = |name: &str| Datasource {
        name: name.to_owned(),
        ds_type: DsKind::Derive,
        min_bound: Some(0.0),
        max_bound: None,
    };
    let view = with(agent("network", "Network interfaces", "Network"), |spec| {
        spec.fields = vec![
            field("rx_bytes", "received", "B/s"),
            field("tx_bytes", "sent", "B/s"),
            field("errors", "errors", "1/s"),
            field("state", "state", ""),
        ];
        let datasources = ["rx_bytes", "tx_bytes", "errors"].map(counter).to_vec();
        spec.keep = Keep::Rrd(Graphs { datasources, ..Graphs::default() });
    });
    let at = |seconds: f64| {
        let interface = |rx: f64, tx: f64, state: &str| {
            Measurement::new()
                .number("rx_bytes", 7e9 + rx * seconds)
                .number("tx_bytes", 3e8 + tx * seconds)
                .number("errors", 0.0)
                .text("state", state)
        };
        Measurement::new()
            .instance("eth0", interface(1.25e6, 3.4e5, "up"))
            .instance("eth1.204", interface(8.0e3, 1.0e3, "up"))
            .instance("lo", interface(150.0, 150.0, "unknown"))
    };
    let mut view = measured(view, at(60.0));
    view.before = vec![taken(73, at(0.0))];
    view
}

fn disks() -> AgentView {
    let view = with(agent("disks", "Disks", "Storage"), |spec| {
        spec.fields = vec![field("used_percent", "used", "%"), field("size", "size", "B"), field("free", "free", "B")];
        spec.rules = vec![Rule {
            field: "used_percent".to_owned(),
            warn: "85".parse().ok(),
            error: "95".parse().ok(),
            r#for: 1,
            nodata: None,
        }];
    });
    let disk = |percent: f64, size: f64| {
        Measurement::new()
            .number("used_percent", percent)
            .number("size", size)
            .number("free", size * (1.0 - percent / 100.0))
    };
    let measurement = Measurement::new()
        .instance("/", disk(61.2, 4.9e10))
        .instance("/home", disk(97.4, 1.9e12))
        .instance("/var/lib/very/long/path/that/does/not/want/to/be/broken/anywhere/at/all", disk(12.0, 5e9));
    let view = judged(measured(view, measurement), State::Error, message!("{} is {} full", "/home", "97.4 %"), 7520);
    changes(view, 40_000, &[State::Warn, State::Ok])
}

fn table() -> AgentView {
    let view = with(agent("mailq", "Mail queue", "Services"), |spec| {
        spec.keep = Keep::Table { rows: 5 };
        spec.fields = vec![field("waiting", "waiting", ""), field("oldest", "oldest", "s")];
    });
    let mut view = measured(view, Measurement::new().number("waiting", 12.0).number("oldest", 5400.0));
    view.before = (1..5)
        .map(|n| taken(13 + 60 * n, Measurement::new().number("waiting", 3.0 + n as f64).number("oldest", f64::NAN)))
        .collect();
    view
}

fn packages() -> AgentView {
    let html = "<p>The <b>slides'</b> own example: <a href='https://packages.debian.org/'>packages</a></p>\
        <ul><li>one<li>two</ul><script>document.title='run'</script><p onclick=\"document.title='run'\" style='position:fixed;top:0'>styled</p>\
        <iframe src='//evil.example'></iframe><img src='http://evil.example/x.png'>";
    let rows = [("openssl", "3.0.17", State::Error), ("bash", "5.2", State::Ok), (HOSTILE, "0", State::Warn)];
    let rows = rows.map(|(name, version, state)| {
        vec![Cell::Text(name.into()), Cell::Text(version.into()), Cell::Number(12_345.678), Cell::State(state)]
    });
    let columns = ["Package", "Version", "Size", "State"].map(Message::from).to_vec();
    let table = Table { title: "Packages that wait".into(), columns, rows: rows.to_vec() };
    let measurement = Measurement::new()
        .number("updates", 31.0)
        .number("security", 4.0)
        .element(Element::Text("Two lines of text\nfrom an agent.".into()))
        .element(Element::Html(html.to_owned()))
        .element(Element::Table(table));
    let view = measured(agent("packages", "Packages", "System"), measurement);
    let mut view = judged(view, State::Warn, message!("{} security updates wait", 4), 260_000);
    view.acknowledged = Some(Acknowledged {
        time: now() - 7000,
        by: "Léa".to_owned(),
        comment: "fenêtre de maintenance jeudi <b>soir</b>".to_owned(),
    });
    view
}

fn hostile() -> AgentView {
    let view = with(agent("hostile", HOSTILE, HOSTILE), |spec| {
        spec.fields = vec![field("a", HOSTILE, "%")];
        spec.keep = Keep::Rrd(Graphs::default());
        spec.origin = HOSTILE.to_owned();
    });
    let own = Measurement::new().number("a", 1.0).text(HOSTILE, HOSTILE).element(Element::Html(HOSTILE.to_owned()));
    let mut view = judged(measured(view, own), State::Unknown, HOSTILE, 60);
    view.failure = Some((now() - 30, HOSTILE.into()));
    view.notes = vec![HOSTILE.into()];
    view
}

/// Forty agents and one in each state, some of which are trying.
pub(crate) fn agents() -> Vec<AgentView> {
    let mut squid = with(agent("squid-stats", "Squid: entrées et sorties", "Usage"), |spec| {
        spec.requires = vec!["squid".to_owned(), "gone".to_owned()]
    });
    squid = judged(squid, State::Dependant, message!("depends on {}", "squid"), 1900);
    squid.own = Status::new(State::Error, "connection refused");
    squid.notes = vec![message!("requires {}, which does not exist", "gone")];
    let mut down = judged(
        agent("squid", "Proxy (squid)", "Services"),
        State::Error,
        message!("process {} is not running", "squid"),
        1900,
    );
    down.silenced = Some(now() + 5000);
    let mut stuck =
        judged(agent("ups", "UPS", "System"), State::Unknown, message!("no measurement since {}", "06:12"), 9900);
    stuck.failure =
        Some((now() - 9900, "upsc: Connection failure: Connection refused\nexit code 1\n  at line 3".into()));
    stuck.running = Some(now() - 55);
    let mut all = vec![load(), memory(), squid, network(), disks(), down, table(), packages(), stuck, hostile()];
    for n in 0..30 {
        let (name, description, section) = match n % 3 {
            0 => (format!("tcp-{n}"), format!("Service TCP n° {n}"), "Services"),
            1 => (format!("unit-{n}.service"), format!("Unit {n}"), "System"),
            _ => (format!("cert-{n}"), format!("Certificate of a host with quite a long name, number {n}"), "Security"),
        };
        let view =
            measured(agent(&name, &description, section), Measurement::new().number("seconds", 0.0123 * f64::from(n)));
        all.push(if n == 17 {
            judged(view, State::Warn, "Lorem ipsum dolor sit amet, ".repeat(40), 500)
        } else {
            view
        });
    }
    all
}

pub(crate) fn board() -> Arc<Board> {
    let board = Board::default();
    board.publish(agents().into_iter().map(Arc::new).collect(), Arc::new(Layout::default()));
    Arc::new(board)
}

/// Answers for agents; remembers what was asked.
#[derive(Default)]
pub(crate) struct Fake {
    pub(crate) board: Arc<Board>,
    pub(crate) asked: Mutex<Vec<String>>,
    /// How often files were read; while it is locked the disk hangs.
    pub(crate) disk: Mutex<usize>,
}

impl Control for Fake {
    fn measure(&self, agent: &str) -> Result<(), Message> {
        self.asked.lock().push(format!("measure {agent}"));
        if agent == "ups" { Err(message!("{} is being measured", agent)) } else { Ok(()) }
    }

    fn acknowledge(&self, agent: &str, who: Option<Acknowledged>) -> bool {
        let text = who.as_ref().map(|who| format!("{}: {}", who.by, who.comment)).unwrap_or_default();
        self.asked.lock().push(format!("acknowledge {agent} {text}"));
        self.change(agent, |view| view.acknowledged = who)
    }

    fn silence(&self, agent: &str, until: Option<UnixTime>) -> bool {
        self.asked.lock().push(format!("silence {agent} {}", until.is_some()));
        self.change(agent, |view| view.silenced = until)
    }

    fn kept(&self, agent: &str) -> Vec<(Option<String>, String)> {
        let own = |names: &[&str]| names.iter().map(|name| (None, (*name).to_owned())).collect();
        match agent {
            "load" => own(&["fifteen", "five", "one"]),
            "memory" => own(&["buffers", "cached", "free", "used", "used_percent"]),
            "hostile" => own(&["a"]),
            "network" => {
                let fields = ["errors", "rx_bytes", "tx_bytes"];
                ["eth0", "eth1.204"]
                    .iter()
                    .flat_map(|i| fields.map(|f| (Some((*i).to_owned()), f.to_owned())))
                    .collect()
            }
            _ => Vec::new(),
        }
    }

    fn rrd_file(&self, agent: &str, instance: Option<&str>, field: &str) -> Option<PathBuf> {
        Some(format!("/{agent}/{}/{field}.rrd", instance.unwrap_or("-")).into())
    }

    /// Days that look like days, an hour of which nothing is known, 60 days of it.
    fn series(
        &self,
        agent: &str,
        instance: Option<&str>,
        field: &str,
        cf: Cf,
        start: UnixTime,
        end: UnixTime,
        rows: usize,
    ) -> Result<Option<Fetched>, RrdError> {
        *self.disk.lock() += 1;
        let wide = (end - start).cast_unsigned() / rows.max(1) as u64;
        let step = if wide < 60 { 60 } else { wide.next_multiple_of(300) };
        if cf == Cf::Max && step < 300 {
            return Ok(None);
        }
        let signed = step.cast_signed();
        let (start, end) = (start / signed * signed, (end / signed + 1) * signed);
        let now = now();
        let seed = [agent, instance.unwrap_or(""), field]
            .concat()
            .bytes()
            .fold(7u32, |sum, b| sum.wrapping_mul(31).wrapping_add(b.into()));
        let level = match (agent, field) {
            ("memory", _) => [("used", 3.2e9), ("buffers", 2.1e8), ("cached", 9.7e9)]
                .iter()
                .find(|(own, _)| *own == field)
                .map_or(3.4e9, |(_, it)| *it),
            ("network", "errors") => 0.2,
            ("network", _) => 1.3e6,
            _ => 1.0,
        };
        let value = |time: i64| {
            let hour = (time % 86_400) as f64 / 86_400.0;
            let noise = |every: i64| {
                f64::from(
                    ((time / every) as u32).wrapping_mul(2_654_435_761).wrapping_add(seed).wrapping_mul(2_246_822_519)
                        >> 16
                        & 0xffff,
                ) / 65_536.0
            };
            let wave = 1.0 + 0.5 * (hour * TAU - f64::from(seed % 7)).sin() + 0.15 * noise(60) + 0.3 * noise(1800);
            let known = time <= now && time > now - 60 * 86_400 && !(now - 7200..now - 3600).contains(&time);
            let peak = if cf == Cf::Max { 1.25 } else { 1.0 };
            if known { level * wave * peak } else { f64::NAN }
        };
        let values = (1..=(end - start) / signed).map(|row| value(start + row * signed)).collect();
        Ok(Some(Fetched { start, end, step, names: vec!["value".to_owned()], values }))
    }
}

impl Fake {
    fn change(&self, agent: &str, change: impl FnOnce(&mut AgentView)) -> bool {
        let Some(view) = self.board.agent(agent) else { return false };
        let mut view = (*view).clone();
        change(&mut view);
        self.board.update([view]);
        true
    }
}
