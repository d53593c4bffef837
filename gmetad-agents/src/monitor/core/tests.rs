//! The schedule and the statuses with a clock of their own.

use gmetad_core::agent::{AgentError, Context, History, Measurement, Status};

use super::*;
use crate::spec::Spec;

const PERIOD: Duration = Duration::from_secs(60);

/// An agent that is never run: the test says what it measured.
struct Idle(String);

impl Agent for Idle {
    fn name(&self) -> &str {
        &self.0
    }
    fn measure(&mut self, _: &Context) -> Result<Measurement, AgentError> {
        Err("it is never run".into())
    }
    fn check_status(&self, _: &History<'_>) -> Status {
        Status::ok()
    }
}

/// A core and its clocks.
struct World {
    core: Core,
    board: Arc<Board>,
    start: Instant,
    now: Now,
    away: Vec<Launch>,
    told: Vec<String>,
    log: Vec<String>,
    ended: Vec<String>,
    retired: Vec<String>,
    /// Mails go.
    sends: bool,
    /// Agents end at once.
    ends: bool,
}

impl World {
    fn new(at_once: usize) -> Self {
        let board = Arc::new(Board::default());
        let now = Now { mono: Instant::now() + Duration::from_secs(100), wall: 1_000_000 };
        let pace = Pace { jitter: Duration::ZERO, at_once, settle: Duration::from_secs(10), mails: true };
        let core = Core::new(Arc::clone(&board), pace, now.mono);
        let (away, told, log, ended, retired) = Default::default();
        Self { core, board, start: now.mono, now, away, told, log, ended, retired, sends: true, ends: true }
    }

    fn install(&mut self, agents: &[Spec], loaded: Vec<AgentView>) {
        let installed = agents
            .iter()
            .map(|spec| Installed { spec: spec.clone(), agent: Box::new(Idle(spec.name.clone())) })
            .collect();
        let loaded = loaded.into_iter().map(|view| (view.spec.name.clone(), view)).collect();
        let effects = self.core.replace(installed, loaded, Layout::default(), self.now);
        self.take(effects);
    }

    fn take(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Launch(launch) => self.away.push(launch),
                Effect::Tell(notice) => {
                    let over = if notice.over { "over" } else { "down" };
                    self.told.push(format!("{} {over}", notice.agent));
                    if self.sends {
                        let effects = self.core.sent(&[notice], self.now);
                        self.take(effects);
                    }
                }
                Effect::Log(_, text) => self.log.push(text.to_string()),
                Effect::End { name, generation, .. } => {
                    if self.ends {
                        self.core.ended(&name, generation);
                    }
                    self.ended.push(name);
                }
                Effect::Retire(views) => self.retired.extend(views.iter().map(|view| view.spec.name.clone())),
                Effect::Save { .. } | Effect::Points(..) => {}
            }
        }
    }

    /// Goes on to a moment, in seconds since the start, and looks at the schedule whenever it wants to be looked at.
    fn go(&mut self, seconds: f64) {
        let end = self.start + Duration::from_secs_f64(seconds);
        let wall = self.now.wall - self.passed();
        loop {
            let effects = self.core.tick(self.now);
            self.take(effects);
            let next = self.core.next(self.now.mono);
            assert!(next > self.now.mono || self.core.again, "it goes on");
            if self.now.mono >= end {
                return;
            }
            self.now.mono = next.min(end);
            self.now.wall = wall + self.passed();
        }
    }

    fn passed(&self) -> i64 {
        self.now.mono.duration_since(self.start).as_secs() as i64
    }

    /// Lets an agent that measures come back.
    fn back(&mut self, name: &str, outcome: Result<(f64, State), &str>) {
        let at = self.away.iter().position(|launch| launch.name == name).expect("it measures");
        let Launch { name, generation, agent, context, .. } = self.away.remove(at);
        let outcome = match outcome {
            Ok((number, state)) => {
                let measurement = Arc::new(Measurement::new().number("n", number));
                Outcome::Taken(Taken { time: context.now, took: 0.1, measurement }, Status::new(state, "said"))
            }
            Err(reason) => Outcome::Failed(reason.into()),
        };
        let effects = self.core.back(Return { name, generation, agent, outcome, described: None }, self.now);
        self.take(effects);
        // What came back may be wanted again at once.
        let effects = self.core.tick(self.now);
        self.take(effects);
    }

    fn view(&self, name: &str) -> Arc<AgentView> {
        self.board.agent(name).unwrap()
    }

    fn status(&self, name: &str) -> String {
        self.view(name).status.to_string()
    }

    fn away(&self) -> Vec<&str> {
        self.away.iter().map(|launch| launch.name.as_str()).collect()
    }
}

fn spec(name: &str, requires: &[&str]) -> Spec {
    let mut spec = Spec::of(&Idle(name.to_owned()));
    spec.period = PERIOD;
    spec.timeout = Duration::from_secs(5);
    spec.requires = requires.iter().map(|name| (*name).to_owned()).collect();
    spec
}

#[test]
fn an_agent_that_hangs_is_given_up_skipped_and_welcome_again() {
    let mut world = World::new(16);
    world.install(&[spec("a", &[])], vec![]);
    assert_eq!(world.status("a"), "Unknown: no measurement yet");
    world.go(0.0);
    assert_eq!(world.view("a").running, Some(1_000_000));
    assert!(!world.away[0].context.stop.is_stopped());
    world.go(5.9);
    assert!(!world.away[0].context.stop.is_stopped(), "it may say itself why");
    world.go(6.0);
    assert!(world.away[0].context.stop.is_stopped(), "it is told");
    assert_eq!(world.status("a"), "Unknown: exception during measure: no answer within 5 s");
    world.go(200.0);
    let view = world.view("a");
    assert_eq!((view.measured, view.failed, view.skipped), (0, 1, 3));
    assert_eq!(world.core.hanging(), ["a"]);
    world.back("a", Ok((1.0, State::Ok)));
    assert_eq!((world.view("a").measured, world.away().len()), (0, 0), "what comes too late does not count");
    world.go(240.0);
    world.back("a", Ok((1.0, State::Ok)));
    let view = world.view("a");
    assert_eq!((view.status.to_string(), view.measured, view.failed), ("OK: said".to_owned(), 1, 1));
    let expected = [
        "exception during measure of a: no answer within 5 s",
        "agent a answers again, after 200 s",
        "a: Unknown -> OK: said",
    ];
    assert_eq!(world.log, expected);
}

#[test]
fn those_that_take_long_do_not_keep_others_from_beginning() {
    let mut world = World::new(2);
    let specs: Vec<Spec> = ["a", "b", "c", "d", "e"].iter().map(|name| spec(name, &[])).collect();
    world.install(&specs, vec![]);
    world.go(0.0);
    assert_eq!(world.away(), ["a", "b"]);
    world.back("b", Ok((1.0, State::Ok)));
    assert_eq!(world.away(), ["a", "c"], "in the order in which they were due");
    world.go(0.2);
    assert_eq!(world.away(), ["a", "c"]);
    world.go(0.3);
    assert_eq!(world.away(), ["a", "c", "d", "e"]);
}

#[test]
fn what_is_old_is_not_known_whatever_the_clock_on_the_wall_says() {
    let mut world = World::new(16);
    world.install(&[Spec { debounce: 5, ..spec("a", &[]) }], vec![]);
    world.go(0.0);
    world.back("a", Ok((1.0, State::Ok)));
    world.now.wall += 86_400;
    world.go(30.0);
    assert_eq!(world.status("a"), "OK: said");
    for minute in 1..=3 {
        world.go(f64::from(minute) * 60.0);
        world.back("a", Err("no"));
    }
    world.go(180.0);
    assert_eq!(world.status("a"), "OK: said", "debounced");
    assert!(world.core.next(world.now.mono) <= world.start + Duration::from_millis(180_002), "it is looked at in time");
    world.go(180.01);
    let status = world.status("a");
    assert!(status.starts_with("Unknown: no measurement since ") && status.ends_with(": no"), "{status}");
    assert_eq!(world.log.iter().filter(|line| *line == "exception during measure of a: no").count(), 1, "said once");
    world.go(240.0);
    world.back("a", Ok((1.0, State::Ok)));
    assert_eq!(world.status("a"), "OK: said");
}

#[test]
fn one_cause_is_told_once_and_its_end() {
    let mut world = World::new(16);
    world.install(&[spec("web", &["net"]), spec("page", &["web", "ghost"]), spec("net", &[])], vec![]);
    let all = |world: &mut World, states: [State; 3]| {
        for (name, state) in ["web", "page", "net"].iter().zip(states) {
            world.back(name, Ok((1.0, state)));
        }
    };
    world.go(0.0);
    all(&mut world, [State::Ok; 3]);
    assert_eq!(
        world.view("page").notes,
        ["requires ghost, which does not exist".to_owned()].map(|text| message!(
            "requires {}, which does not exist",
            text.split(' ').nth(1).unwrap().trim_end_matches(',')
        ))
    );
    world.go(60.0);
    world.back("web", Ok((1.0, State::Error)));
    assert_eq!(world.status("web"), "Error: said");
    assert_eq!(world.away(), ["page", "net"]);
    world.go(61.0);
    world.back("page", Ok((1.0, State::Error)));
    assert_eq!(world.status("page"), "Dependant: requires web, which is Error: said");
    world.back("net", Ok((1.0, State::Error)));
    assert_eq!(world.status("web"), "Dependant: requires net, which is Error: said");
    assert_eq!(world.status("page"), "Dependant: requires net, which is Error: said");
    assert_eq!(world.view("net").status.state, State::Error);
    world.go(100.0);
    assert_eq!(world.told, ["net down"]);
    // In trouble for good: what is required was asked by now, and is due in its own time.
    for name in world.away().iter().map(|name| (*name).to_owned()).collect::<Vec<_>>() {
        world.back(&name, Ok((1.0, State::Error)));
    }
    world.go(120.0);
    all(&mut world, [State::Ok; 3]);
    world.go(140.0);
    assert_eq!(world.told, ["net down", "net over"]);
    let changes: Vec<State> = world.view("web").changes.iter().map(|change| change.status.state).collect();
    assert_eq!(changes, [State::Ok, State::Dependant, State::Error, State::Ok]);
}

#[test]
fn trouble_looks_behind_itself_at_once() {
    let mut world = World::new(16);
    world.install(&[spec("web", &["net"]), spec("net", &[])], vec![]);
    world.go(0.0);
    world.back("net", Ok((1.0, State::Ok)));
    world.back("web", Ok((1.0, State::Ok)));
    world.go(60.0);
    world.back("net", Ok((1.0, State::Ok)));
    world.go(61.0);
    world.back("web", Ok((1.0, State::Error)));
    assert_eq!(world.away(), ["net"], "long before its time");
    world.back("net", Ok((1.0, State::Error)));
    assert_eq!(world.status("web"), "Dependant: requires net, which is Error: said");
}

#[test]
fn the_worst_is_its_own() {
    let mut world = World::new(16);
    world.install(&[spec("web", &["net"]), spec("net", &[])], vec![]);
    let max = |world: &World| (world.view("web").max.state, world.view("web").max_at);
    world.go(0.0);
    world.back("net", Ok((1.0, State::Ok)));
    world.back("web", Ok((1.0, State::Ok)));
    world.go(60.0);
    world.back("web", Ok((1.0, State::Error)));
    assert_eq!(world.status("web"), "Error: said");
    world.back("net", Ok((1.0, State::Error)));
    world.go(100.0);
    assert_eq!(max(&world).0, State::Ok.max(State::Dependant), "it only measured before its cause");
    assert_eq!(world.view("net").max.state, State::Error);
    world.go(120.0);
    world.back("net", Ok((1.0, State::Ok)));
    world.back("web", Ok((1.0, State::Warn)));
    world.go(131.0);
    assert_eq!(max(&world), (State::Warn, 1_000_120), "nobody else is at fault; it was no Error that it had since");
    world.go(180.0);
    world.back("net", Ok((1.0, State::Ok)));
    world.back("web", Ok((1.0, State::Error)));
    assert_eq!(max(&world).0, State::Warn);
    world.go(191.0);
    assert_eq!(max(&world), (State::Error, 1_000_180));
}

#[test]
fn at_the_start_nobody_is_blamed_before_its_cause_is_known() {
    let mut world = World::new(16);
    world.install(&[spec("web", &["net"]), spec("net", &[])], vec![]);
    assert_eq!(world.status("web"), "Unknown: no measurement yet");
    world.go(0.0);
    world.back("web", Ok((1.0, State::Error)));
    assert_eq!(world.status("web"), "Dependant: requires net, which is Unknown: no measurement yet");
    world.back("net", Ok((1.0, State::Ok)));
    assert_eq!(world.status("web"), "Error: said");
}

#[test]
fn nobody_is_told_of_what_is_known_or_silenced() {
    let mut world = World::new(16);
    world.install(&[spec("a", &[]), spec("b", &[]), spec("c", &[])], vec![]);
    world.go(0.0);
    for name in ["a", "b", "c"] {
        world.back(name, Ok((1.0, State::Error)));
    }
    let by = Acknowledged { time: 0, by: "me".to_owned(), comment: String::new() };
    let silence = world.core.mark("b", Mark::Silenced(Some(world.now.wall + 30)), world.now).unwrap();
    world.take(silence);
    let known = world.core.mark("a", Mark::Acknowledged(Some(by)), world.now).unwrap();
    world.take(known);
    assert!(world.core.mark("ghost", Mark::Silenced(None), world.now).is_none());
    world.go(20.0);
    assert_eq!(world.told, ["c down"]);
    assert_eq!(world.view("b").silenced, Some(1_000_030));
    world.go(50.0);
    assert_eq!(world.told, ["c down", "b down"], "the silence is over, and it still is in Error");
    assert_eq!(world.view("b").silenced, None);
    world.go(60.0);
    for name in ["a", "b", "c"] {
        world.back(name, Ok((1.0, State::Warn)));
    }
    assert_eq!(world.view("a").acknowledged, None, "it ends with the state");
    world.go(80.0);
    assert_eq!(world.told[2..], ["b over", "c over"]);
}

#[test]
fn a_flicker_is_told_to_nobody() {
    let mut world = World::new(16);
    world.install(&[spec("a", &[])], vec![]);
    world.go(0.0);
    world.back("a", Ok((1.0, State::Error)));
    world.go(6.0);
    world.core.ask("a", world.now.mono).unwrap();
    assert_eq!(world.core.ask("a", world.now.mono).unwrap_err().to_string(), "a is being measured");
    world.go(6.5);
    world.back("a", Ok((1.0, State::Ok)));
    let again = world.core.ask("a", world.now.mono).unwrap_err().to_string();
    assert_eq!(again, "a was measured a moment ago: try again in 5 s");
    assert_eq!(world.core.ask("ghost", world.now.mono).unwrap_err().to_string(), "there is no agent ghost");
    world.go(59.0);
    assert_eq!((world.told.len(), world.away().len()), (0, 0));
    world.go(60.0);
    assert_eq!(world.away(), ["a"], "the grid is where it was");
}

#[test]
fn the_worst_is_kept_until_it_is_reset() {
    let mut world = World::new(16);
    world.install(&[spec("a", &[])], vec![]);
    for (minute, (state, worst)) in
        [(State::Ok, State::Ok), (State::Error, State::Error), (State::Warn, State::Error)].into_iter().enumerate()
    {
        world.go(minute as f64 * 60.0);
        world.back("a", Ok((1.0, state)));
        assert_eq!(world.view("a").max.state, worst);
    }
    assert_eq!(world.view("a").max_at, 1_000_060);
    let effects = world.core.reset_max(world.now);
    world.take(effects);
    assert_eq!((world.view("a").max.state, world.view("a").max_at), (State::Warn, 1_000_120));
}

#[test]
fn what_an_earlier_process_knew_stands_until_there_is_a_result() {
    let mut world = World::new(16);
    world.install(&[spec("a", &[]), spec("b", &[])], vec![]);
    world.go(0.0);
    world.back("a", Ok((1.0, State::Error)));
    world.back("b", Ok((1.0, State::Error)));
    world.go(20.0);
    let views = vec![(*world.view("a")).clone(), (*world.view("b")).clone()];
    // A day later.
    let mut world = World::new(16);
    world.now.wall = views[0].since + 86_400;
    world.install(&[spec("a", &[]), spec("b", &[])], views.clone());
    let view = world.view("a");
    assert!(view.status.to_string().starts_with("Unknown: no measurement since 1970-01-1"), "{}", view.status);
    assert_eq!(view.since, views[0].last.as_ref().unwrap().time);
    world.go(1.0);
    world.back("a", Ok((2.0, State::Error)));
    let view = world.view("a");
    assert_eq!((view.status.state, view.since, view.measured), (State::Error, views[0].since, 2));
    assert_eq!((view.changes.len(), view.before.len()), (1, 1));
    world.go(30.0);
    assert!(world.told.is_empty(), "it was told by the earlier process");
    // b hangs: that is new, and its time.
    let view = world.view("b");
    assert_eq!((view.status.state, view.since), (State::Unknown, world.start_wall() + 6));
}

#[test]
fn a_restart_begins_no_row_anew() {
    let rule = |text: &str| crate::spec::Rule {
        field: "n".to_owned(),
        warn: None,
        error: text.parse().ok(),
        r#for: 3,
        nodata: None,
    };
    let ruled = |text: &str| Spec { rules: vec![rule(text)], ..spec("a", &[]) };
    // Two bad results, then a restart that takes so long.
    let after = |seconds: i64, ruled: Spec, old: Spec| {
        let mut world = World::new(16);
        world.install(&[old], vec![]);
        for minute in 0..2 {
            world.go(f64::from(minute) * 60.0);
            world.back("a", Ok((5.0, State::Ok)));
        }
        let view = serde_json::to_string(&*world.view("a")).unwrap();
        let mut next = World::new(16);
        next.now.wall = world.now.wall + seconds;
        next.install(&[ruled], vec![serde_json::from_str(&view).unwrap()]);
        let loaded = next.view("a").streaks == world.view("a").streaks;
        next.go(0.0);
        next.back("a", Ok((5.0, State::Ok)));
        (next.view("a").status.state, loaded)
    };
    assert_eq!(after(30, ruled("~:4"), ruled("~:4")), (State::Error, true), "the third in a row");
    assert_eq!(after(3600, ruled("~:4"), ruled("~:4")).0, State::Ok, "there is a gap");
    assert_eq!(after(30, ruled("~:3"), ruled("~:4")).0, State::Ok, "it is another rule");
    let mut world = World::new(16);
    world.install(&[ruled("~:4")], vec![]);
    for second in 1..=3 {
        world.install(&[Spec { written: second.to_string(), ..ruled("~:4") }], vec![]);
        world.go(f64::from(second));
        world.back("a", Ok((5.0, State::Ok)));
    }
    assert_eq!(world.status("a"), "Error: n: 5 (error above 4)", "nor does a reload");
}

#[test]
fn who_ends_before_it_is_told_tells_after_the_restart() {
    let mut world = World::new(16);
    world.install(&[spec("a", &[])], vec![]);
    world.go(0.0);
    world.back("a", Ok((1.0, State::Error)));
    world.go(5.0);
    let view = (*world.view("a")).clone();
    assert!(world.told.is_empty() && !view.told);
    let mut world = World::new(16);
    world.now.wall = view.since + 30;
    world.install(&[spec("a", &[])], vec![view]);
    world.go(1.0);
    world.back("a", Ok((1.0, State::Error)));
    world.go(20.0);
    assert_eq!(world.told, ["a down"]);
    let view = (*world.view("a")).clone();
    assert!(view.told);
    // Of what was told, its end is told by the next process.
    let mut world = World::new(16);
    world.now.wall = view.since + 60;
    world.install(&[spec("a", &[])], vec![view]);
    world.go(1.0);
    world.back("a", Ok((1.0, State::Ok)));
    world.go(2.0);
    assert_eq!(world.told, ["a over"]);
    assert!(!world.view("a").told);
}

/// Nobody is told twice, and nobody not at all, whatever becomes of mails and processes.
#[test]
fn an_error_counts_as_told_when_its_mail_went() {
    let begin = |view: Option<AgentView>, mails: bool, sends: bool| {
        let mut world = World::new(16);
        world.now.wall = view.as_ref().map_or(world.now.wall, |view| view.since + 30);
        (world.core.pace.mails, world.sends) = (mails, sends);
        world.install(&[spec("a", &[])], view.into_iter().collect());
        world.go(1.0);
        world.back("a", Ok((1.0, State::Error)));
        world.go(50.0);
        let told = std::mem::take(&mut world.told);
        (world, told)
    };
    let (world, told) = begin(None, false, false);
    assert!(told.is_empty() && !world.view("a").told, "there is nobody to be told");
    let (world, told) = begin(Some((*world.view("a")).clone()), true, false);
    assert!(told == ["a down"] && !world.view("a").told, "the mail did not go");
    let (world, told) = begin(Some((*world.view("a")).clone()), true, true);
    assert!(told == ["a down"] && world.view("a").told);
    let (world, told) = begin(Some((*world.view("a")).clone()), true, true);
    assert!(told.is_empty() && world.view("a").told, "once");
    // Without mail for a while: that it is over is not told, and the next one is.
    let (mut world, told) = begin(Some((*world.view("a")).clone()), false, false);
    assert!(told.is_empty() && world.view("a").told);
    world.go(60.0);
    world.back("a", Ok((1.0, State::Ok)));
    world.go(61.0);
    assert!(world.told.is_empty() && !world.view("a").told);
    // Its end is told by the next process if the mail about it did not go.
    let (world, _) = begin(Some((*world.view("a")).clone()), true, true);
    let (mut world, told) = begin(Some((*world.view("a")).clone()), true, false);
    world.go(60.0);
    world.back("a", Ok((1.0, State::Ok)));
    world.go(61.0);
    assert!(told.is_empty() && world.told == ["a over"] && world.view("a").told);
}

impl World {
    fn start_wall(&self) -> i64 {
        self.now.wall - self.passed()
    }
}

#[test]
fn a_reload_keeps_what_is_the_same() {
    let mut world = World::new(16);
    world.install(&[spec("a", &[]), spec("b", &[]), spec("c", &[]), spec("d", &[])], vec![]);
    world.go(0.0);
    for name in ["a", "b", "c"] {
        world.back(name, Ok((1.0, State::Warn)));
    }
    world.go(10.0);
    let changed = Spec { written: "x = 1".to_owned(), ..spec("b", &[]) };
    world.install(&[spec("d", &[]), changed.clone(), spec("a", &[]), spec("e", &[])], vec![]);
    let names: Vec<String> = world.board.agents().iter().map(|view| view.spec.name.clone()).collect();
    assert_eq!(names, ["d", "b", "a", "e"]);
    world.ended.sort();
    assert_eq!(world.ended, ["a", "b", "c", "d"], "the new a and d, the old b and c");
    world.go(10.0);
    assert_eq!(world.away(), ["d", "b", "e"], "d goes on, b and e begin, a waits for its time");
    assert_eq!((world.view("b").since, world.view("b").last.is_some()), (1_000_000, true));
    world.go(20.0);
    // An agent that measures while it is replaced: what it brings does not count, and it is dropped.
    let other = Spec { written: "x = 2".to_owned(), ..changed };
    world.install(&[other], vec![]);
    let stopped: Vec<bool> = world.away.iter().map(|launch| launch.context.stop.is_stopped()).collect();
    assert_eq!(stopped, [true, true, true], "given up or replaced");
    world.ended.clear();
    world.back("b", Ok((9.0, State::Error)));
    assert_eq!((world.ended.as_slice(), world.view("b").status.state), (&["b".to_owned()][..], State::Unknown));
    let mut hanging = world.core.hanging();
    hanging.sort();
    assert_eq!(hanging, ["d", "e"]);
}

#[test]
fn a_stopped_core_begins_nothing() {
    let mut world = World::new(16);
    world.install(&[spec("a", &[]), spec("b", &[])], vec![]);
    world.go(0.0);
    world.core.stop();
    assert!(world.away.iter().all(|launch| launch.context.stop.is_stopped()));
    assert_eq!(world.core.running(), (2, vec!["a".to_owned(), "b".to_owned()]));
    world.back("a", Err("interrupted"));
    assert_eq!(world.status("a"), "Unknown: no measurement yet", "that says nothing");
    assert_eq!((world.core.running().0, world.core.take_agents().len()), (1, 0));
    assert!(world.core.tick(world.now).is_empty());
    assert_eq!(world.core.ask("b", world.now.mono).unwrap_err().to_string(), "the service is being stopped");
}

#[test]
fn a_file_that_cannot_be_read_retires_nobody() {
    let from = |name: &str, origin: &str| Spec { origin: origin.to_owned(), ..spec(name, &[]) };
    let wrong = |name: &str, origin: &str| Spec { load_error: true, ..from(name, origin) };
    let mut world = World::new(16);
    world.install(&[from("a", "/c/x.agent"), from("b", "/c/x.agent"), from("c", "/c/y.agent")], vec![]);
    world.install(&[wrong("x.agent", "/c/x.agent")], vec![]);
    assert_eq!(world.retired, ["c"], "of the others nothing is known");
    world.install(&[from("c", "/c/y.agent"), wrong("c-dir", "/c")], vec![]);
    assert_eq!(world.retired, ["c", "x.agent"], "the whole directory cannot be read");
    world.retired.clear();
    world.install(&[from("c", "/c/y.agent"), from("a", "/c/x.agent")], vec![]);
    assert_eq!(world.retired, ["b", "c-dir"], "now it is known that it is no more");
    world.install(&[from("c", "/c/y.agent"), from("a", "/c/x.agent")], vec![]);
    assert_eq!(world.retired.len(), 2, "once");
}

/// First an agent of a file gets a mistake, then the file as a whole, then the service is started again.
#[test]
fn a_file_that_gets_worse_retires_nobody() {
    let from = |name: &str| Spec { origin: "/c/x.agent".to_owned(), ..spec(name, &[]) };
    let wrong = |name: &str| Spec { load_error: true, ..from(name) };
    let mut world = World::new(16);
    world.install(&[from("a"), from("b")], vec![]);
    world.go(1.0);
    world.back("b", Ok((1.0, State::Ok)));
    world.install(&[from("a"), wrong("b")], vec![]);
    let b = (*world.view("b")).clone();
    world.install(&[wrong("x.agent")], vec![]);
    assert!(world.retired.is_empty(), "{:?}", world.retired);
    let mut world = World::new(16);
    world.install(&[wrong("x.agent")], vec![b]);
    world.install(&[wrong("x.agent")], vec![]);
    let facts = Spec { origin: "/f".to_owned(), stands_for: vec!["/d".to_owned(), "/c".to_owned()], ..wrong("facts") };
    world.install(&[facts], vec![]);
    assert_eq!(world.retired, ["x.agent"], "b may be there without facts");
    world.retired.clear();
    world.install(&[wrong("x.agent")], vec![]);
    world.retired.clear();
    world.install(&[from("a")], vec![]);
    assert_eq!(world.retired, ["b", "x.agent"], "now it is known that it is no more");
}

/// It may be what was put there to mend that.
#[test]
fn one_that_hangs_in_the_kernel_does_not_keep_its_successor_for_ever() {
    let mut world = World::new(16);
    let number = |n: u32| Spec { written: n.to_string(), timeout: PERIOD, ..spec("a", &[]) };
    world.install(&[number(1)], vec![]);
    world.go(0.0);
    world.go(10.0);
    world.install(&[number(2)], vec![]);
    world.go(15.0);
    assert_eq!(world.away(), ["a"]);
    world.go(200.0);
    assert_eq!(world.away(), ["a", "a"]);
}

/// A mistake in its file must not cost a table its rows.
#[test]
fn what_stands_for_an_agent_keeps_its_past() {
    let mut world = World::new(16);
    let table = Spec { keep: Keep::Table { rows: 10 }, ..spec("a", &[]) };
    world.install(std::slice::from_ref(&table), vec![]);
    for n in 0..5u32 {
        world.go(f64::from(n) * 60.0 + 1.0);
        world.back("a", Ok((f64::from(n), State::Ok)));
    }
    let rows = world.view("a").before.len();
    assert!(rows >= 3, "{rows}");
    world.install(&[Spec { load_error: true, keep: Keep::Last, ..spec("a", &[]) }], vec![]);
    world.go(401.0);
    world.back("a", Ok((9.0, State::Error)));
    world.install(&[table], vec![]);
    assert_eq!(world.view("a").before.len(), rows);
}

/// It may still run a program, and have what its successor wants: a port, say.
#[test]
fn a_successor_waits_for_the_end_of_an_idle_agent() {
    let number = |n: u32| Spec { written: n.to_string(), ..spec("a", &[]) };
    let mut world = World::new(16);
    world.install(&[number(1)], vec![]);
    world.go(0.0);
    world.back("a", Ok((1.0, State::Ok)));
    world.ends = false;
    let generation = world.core.slots[0].generation;
    world.install(&[number(2)], vec![]);
    world.go(1.0);
    assert_eq!((world.ended.as_slice(), world.away().len()), (&["a".to_owned()][..], 0));
    assert!(world.core.hanging().is_empty() && world.core.running() == (0, vec![]));
    world.core.ended("a", generation);
    world.go(1.1);
    assert_eq!(world.away(), ["a"]);
    world.back("a", Ok((1.0, State::Ok)));
    world.install(&[number(3)], vec![]);
    world.go(3.0);
    assert!(world.away().is_empty());
    world.go(3.2);
    assert_eq!(world.away(), ["a"], "what does not end is not waited for for ever");
}

#[test]
fn there_are_never_two_of_one_agent() {
    let mut world = World::new(16);
    let number = |n: u32| Spec { written: n.to_string(), timeout: PERIOD, ..spec("a", &[]) };
    world.install(&[number(1)], vec![]);
    world.go(0.0);
    world.go(10.0);
    // It hangs, and is replaced, and retired and comes back: those after it wait.
    world.install(&[number(2)], vec![]);
    world.go(15.0);
    assert_eq!((world.away(), world.view("a").skipped), (vec!["a"], 0));
    world.install(&[], vec![]);
    world.install(&[number(3)], vec![]);
    assert_eq!(world.core.ask("a", world.now.mono).unwrap_err().to_string(), "a is being measured");
    assert_eq!(world.core.hanging(), ["a"]);
    // What says that something is wrong with it does not wait.
    world.install(&[Spec { load_error: true, ..number(4) }], vec![]);
    world.go(16.0);
    assert_eq!(world.away(), ["a", "a"]);
    world.away.pop();
    world.install(&[number(5)], vec![]);
    world.core.lost.pop(); // the one that stood for it
    world.go(17.0);
    assert_eq!(world.away(), ["a"]);
    world.back("a", Ok((1.0, State::Ok)));
    assert_eq!(world.away(), ["a"], "at once");
    assert_eq!(world.view("a").measured, 0, "what the first one brings does not count");
    world.back("a", Ok((1.0, State::Ok)));
    assert_eq!(world.view("a").measured, 1);
}
