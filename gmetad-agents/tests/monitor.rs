//! The real monitor: threads, disk, mail.
#![allow(clippy::unwrap_used, clippy::panic)]

mod acts;

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use acts::{Acts, Rrd, eventually, log_lines};
use gmetad_agents::config::Layout;
use gmetad_agents::view::Acknowledged;
use gmetad_agents::{Control, Installed, MailOptions, Monitor, MonitorError, MonitorOptions};
use gmetad_core::agent::{Measurement, State, Status};

fn options(data: &std::path::Path) -> MonitorOptions {
    MonitorOptions { jitter: Duration::ZERO, settle: Duration::from_millis(200), ..MonitorOptions::new(data) }
}

fn start(data: &std::path::Path, agents: Vec<Installed>) -> Monitor {
    Monitor::start(options(data), agents, Layout::default()).unwrap()
}

fn state(monitor: &Monitor, agent: &str) -> State {
    monitor.board().agent(agent).unwrap().status.state
}

/// A value that only says OK.
fn good(name: &str) -> Acts {
    Acts::new(name, |_| Ok(Measurement::new().judged(Status::ok())))
}

#[test]
fn fifty_that_hang_delay_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let period = Duration::from_secs(2);
    let over = Arc::new(AtomicBool::new(false));
    let times: Arc<Mutex<Vec<Vec<Instant>>>> = Arc::new(Mutex::new(vec![Vec::new(); 200]));
    let mut agents = Vec::new();
    let (mut hanging, mut panicking) = (HashSet::new(), HashSet::new());
    for number in 0..200 {
        let name = format!("storm{number}");
        let (over, times) = (Arc::clone(&over), Arc::clone(&times));
        let agent = match number {
            _ if number % 4 == 0 => {
                hanging.insert(name.clone());
                Acts::new(&name, |_| {
                    loop {
                        thread::park();
                    }
                })
            }
            _ if number % 40 == 1 => {
                hanging.insert(name.clone());
                good(&name).judging(move |_| {
                    while !over.load(Ordering::Relaxed) {
                        std::hint::spin_loop();
                    }
                    Status::ok()
                })
            }
            _ if number % 20 == 2 => {
                panicking.insert(name.clone());
                Acts::new(&name, |_| panic!("it always does"))
            }
            _ => Acts::new(&name, move |_| {
                times.lock().unwrap()[number].push(Instant::now());
                Ok(Measurement::new().judged(Status::ok()))
            }),
        };
        let mut installed = agent.installed(period);
        installed.spec.timeout = Duration::from_secs(1);
        agents.push(installed);
    }
    assert_eq!((hanging.len(), panicking.len()), (55, 10));
    let begin = Instant::now();
    let monitor = start(dir.path(), agents);
    eventually("each has measured four times", || {
        times.lock().unwrap().iter().all(|times| times.is_empty() || times.len() >= 4)
            && times.lock().unwrap().iter().filter(|times| !times.is_empty()).count() == 135
    });
    let took = begin.elapsed();
    let views = monitor.board().agents();
    for view in &views {
        let name = &view.spec.name;
        if hanging.contains(name) {
            let text = "Unknown: exception during measure: no answer within 1 s";
            let status = view.status.to_string();
            assert!(status == text || status.ends_with("no answer within 1 s"), "{name}: {status}");
            assert!(view.running.is_some() && view.skipped >= 2 && view.failed == 1, "{view:?}");
        } else if panicking.contains(name) {
            assert!(view.status.to_string().ends_with("panicked: it always does"), "{name}: {}", view.status);
            assert!(view.failed >= 3, "{name}: it is due again, {}", view.failed);
        } else {
            assert_eq!((view.status.state, view.failed, view.skipped), (State::Ok, 0, 0), "{name}");
        }
    }
    // On time: the first as soon as there is room, the others on the grid, although two processors spin.
    let times = times.lock().unwrap().clone();
    let times = || times.iter().filter(|times| !times.is_empty());
    let first = times().map(|times| times[0]).max().unwrap().duration_since(begin);
    let off_grid = |times: &Vec<Instant>| {
        let due = (1u32..).map(|n| begin + period * n);
        let late = |(time, due): (&Instant, Instant)| time.saturating_duration_since(due).max(due - *time);
        times[1..].iter().zip(due).map(late).max().unwrap()
    };
    let worst = times().map(off_grid).max().unwrap();
    println!(
        "135 agents beside 55 that hang, four times in {took:?}: first after {first:?} at most, then {worst:?} off"
    );
    assert!(first < period * 2 && worst < period / 2, "{first:?} {worst:?}");

    let named: HashSet<String> = monitor.health().hanging.into_iter().collect();
    assert_eq!(named, hanging);
    assert!(monitor.health().alive);
    let begin = Instant::now();
    let named: HashSet<String> = monitor.stop(Duration::from_secs(4)).unwrap_err().into_iter().collect();
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
    assert_eq!(named, hanging);
    over.store(true, Ordering::Relaxed);
    let lines = log_lines();
    let of_one = |line: &&String| line.starts_with("ERROR exception during measure of storm4: ");
    assert_eq!(
        lines.iter().filter(of_one).collect::<Vec<_>>(),
        ["ERROR exception during measure of storm4: no answer within 1 s"]
    );
    let of_one = |line: &&String| line.as_str() == "ERROR exception during measure of storm2: panicked: it always does";
    assert_eq!(lines.iter().filter(of_one).count(), 1, "said once");
}

#[test]
fn a_stop_lets_those_end_who_listen() {
    let dir = tempfile::tempdir().unwrap();
    let (to, began) = mpsc::channel();
    let waits = Acts::new("waits", move |context| {
        to.send(()).unwrap();
        assert!(context.stop.wait(Duration::from_secs(60)), "stopped");
        Err("stopped".into())
    });
    let ended = Arc::new(AtomicUsize::new(0));
    let agents = vec![
        waits.ending(&ended).installed(Duration::from_secs(60)),
        good("idle").ending(&ended).installed(Duration::from_secs(60)),
    ];
    let monitor = start(dir.path(), agents);
    began.recv_timeout(Duration::from_secs(20)).unwrap();
    let begin = Instant::now();
    assert_eq!(monitor.stop(Duration::from_secs(20)), Ok(()));
    assert!(begin.elapsed() < Duration::from_secs(10));
    assert_eq!(ended.load(Ordering::SeqCst), 2, "both agents were dropped");
    assert_eq!(monitor.stop(Duration::from_secs(1)), Ok(()), "twice does no harm");
    assert!(monitor.measure("idle").is_err() && !monitor.health().alive);
}

#[test]
fn a_restart_keeps_what_was_known() {
    let dir = tempfile::tempdir().unwrap();
    let agents = |state: State| {
        let agent = Acts::new("r", move |_| Ok(Measurement::new().judged(Status::new(state, state.name()))));
        vec![agent.installed(Duration::from_secs(60)), good("damaged").installed(Duration::from_secs(60))]
    };
    let monitor = start(dir.path(), agents(State::Error));
    eventually("it is in Error", || state(&monitor, "r") == State::Error && state(&monitor, "damaged") == State::Ok);
    let by = Acknowledged { time: 5, by: "me".to_owned(), comment: "on it".to_owned() };
    assert!(monitor.acknowledge("r", Some(by.clone())) && monitor.silence("r", Some(i64::MAX)));
    assert!(!monitor.acknowledge("ghost", None) && !monitor.silence("ghost", None));
    let error = Monitor::start(options(dir.path()), vec![], Layout::default()).unwrap_err();
    assert!(matches!(&error, MonitorError::Store(_)) && error.to_string().contains("another z_stats"), "{error}");
    let before = monitor.board().agent("r").unwrap();
    monitor.stop(Duration::from_secs(20)).unwrap();
    drop(monitor);

    fs::write(dir.path().join("damaged/agent.json"), "{").unwrap();
    let monitor = start(dir.path(), agents(State::Error));
    eventually("it measures again", || monitor.board().agent("r").unwrap().measured == 2);
    let after = monitor.board().agent("r").unwrap();
    assert_eq!((after.since, after.max.clone(), after.max_at), (before.since, before.max.clone(), before.max_at));
    assert_eq!((&after.changes, &after.acknowledged), (&before.changes, &Some(by)));
    assert_eq!((after.silenced, after.before.len()), (Some(i64::MAX), 1));
    assert!(dir.path().join("damaged/agent.json.damaged").exists());
    monitor.stop(Duration::from_secs(20)).unwrap();
    drop(monitor);

    let monitor = start(dir.path(), agents(State::Ok));
    eventually("it is well", || state(&monitor, "r") == State::Ok);
    let after = monitor.board().agent("r").unwrap();
    assert_eq!((after.max.state, after.acknowledged.as_ref(), after.changes.len()), (State::Error, None, 2));
    monitor.reset_max();
    assert_eq!(monitor.board().agent("r").unwrap().max.state, State::Ok);
    monitor.stop(Duration::from_secs(20)).unwrap();
}

#[test]
fn a_reload_keeps_the_running_agent_and_the_data_of_others() {
    let dir = tempfile::tempdir().unwrap();
    let made = Arc::new(AtomicUsize::new(0));
    // Says which one of its name it is.
    let agent = |name: &str, written: &str| {
        let number = made.fetch_add(1, Ordering::SeqCst);
        let agent = Acts::new(name, move |_| Ok(Measurement::new().number("made", number as f64).judged(Status::ok())));
        let mut installed = agent.installed(Duration::from_millis(200)).rrd();
        installed.spec.written = written.to_owned();
        installed
    };
    let last =
        |monitor: &Monitor, name: &str| monitor.board().agent(name)?.last.as_ref()?.measurement.get_number("made");
    let layout = |names: &[&str]| Layout { shown: Some(names.iter().map(|name| (*name).to_owned()).collect()) };
    let monitor = start(dir.path(), vec![agent("same", ""), agent("changed", "1"), agent("gone", "")]);
    eventually("all measured", || ["same", "changed", "gone"].iter().all(|name| last(&monitor, name).is_some()));
    eventually("and are on the disk", || dir.path().join("gone/made.rrd").exists());
    let since = monitor.board().agent("changed").unwrap().since;
    monitor.replace(vec![agent("changed", "2"), agent("same", "")], layout(&["same"]));
    eventually("the new one measures", || last(&monitor, "changed") == Some(3.0));
    let views = monitor.board().agents();
    assert_eq!(views.iter().map(|view| view.spec.name.as_str()).collect::<Vec<_>>(), ["changed", "same"]);
    assert_eq!((views[0].since, views[0].spec.written.as_str(), last(&monitor, "same")), (since, "2", Some(0.0)));
    assert_eq!(monitor.board().layout().shown, layout(&["same"]).shown);
    eventually("the data are put aside", || !dir.path().join("gone").exists());
    let retired = fs::read_dir(dir.path().join(".retired")).unwrap().next().unwrap().unwrap().path();
    assert!(retired.join("made.rrd").exists() && retired.join("agent.json").exists(), "{retired:?}");
    assert!(monitor.rrd_file("gone", None, "made").is_none() && monitor.kept("gone").is_empty());

    monitor.replace(vec![agent("gone", "")], Layout::default());
    let view = monitor.board().agent("gone").unwrap();
    assert!(view.measured >= 1 && dir.path().join("gone/made.rrd").exists(), "it is back with its data");
    monitor.stop(Duration::from_secs(20)).unwrap();
    drop(monitor);
    // What an earlier configuration left is put aside at the start, too; what is somebody else's stays.
    fs::create_dir(dir.path().join("other")).unwrap();
    let monitor = start(dir.path(), vec![]);
    eventually("the data are put aside", || !dir.path().join("gone").exists());
    assert!(dir.path().join("other").exists());
    monitor.stop(Duration::from_secs(20)).unwrap();
}

#[test]
fn measuring_is_asked_for_and_refused_in_haste() {
    let dir = tempfile::tempdir().unwrap();
    let monitor = start(dir.path(), vec![good("asked").installed(Duration::from_secs(3600))]);
    let measured = || monitor.board().agent("asked").unwrap().measured;
    eventually("it measures", || measured() == 1);
    monitor.measure("asked").unwrap();
    eventually("it measures again", || measured() == 2);
    assert!(monitor.measure("asked").unwrap_err().to_string().contains("a moment ago"));
    assert_eq!(monitor.measure("ghost").unwrap_err().to_string(), "there is no agent ghost");
    monitor.stop(Duration::from_secs(20)).unwrap();
}

#[test]
fn who_requires_itself_is_in_error_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let agents = vec![
        good("ring1").requiring(&["ring2"]).installed(Duration::from_secs(60)),
        good("ring2").requiring(&["ring1"]).installed(Duration::from_secs(60)),
        good("free").installed(Duration::from_secs(60)),
    ];
    let monitor = start(dir.path(), agents);
    let status = |name: &str| monitor.board().agent(name).unwrap().status.to_string();
    let expected = "Error: requires itself: ring1 -> ring2 -> ring1; remove one of these from \"requires\"";
    eventually("it is said", || status("ring1") == expected && status("free") == "OK");
    monitor.stop(Duration::from_secs(20)).unwrap();
}

#[test]
fn one_mail_about_one_cause() {
    let dir = tempfile::tempdir().unwrap();
    let mails = dir.path().join("mails");
    let sendmail = acts::script(dir.path(), &format!("cat >> {}; echo ----- >> {}", mails.display(), mails.display()));
    let down = Arc::new(AtomicBool::new(false));
    let agent = |name: &str| {
        let down = Arc::clone(&down);
        let text = format!("{name} says no");
        Acts::new(name, move |_| {
            let status =
                if down.load(Ordering::SeqCst) { Status::new(State::Error, text.as_str()) } else { Status::ok() };
            Ok(Measurement::new().judged(status))
        })
    };
    let mut agents = vec![agent("net").installed(Duration::from_millis(300))];
    for number in 0..20 {
        agents.push(agent(&format!("site{number}")).requiring(&["net"]).installed(Duration::from_millis(300)));
    }
    let mail = MailOptions {
        sendmail,
        collect: Duration::from_millis(300),
        pause: Duration::from_millis(10),
        ..MailOptions::new("admin@ecole.example", "amon")
    };
    let options = MonitorOptions { mail: Some(mail), settle: Duration::from_secs(1), ..options(dir.path()) };
    let monitor = Monitor::start(options, agents, Layout::default()).unwrap();
    let all = |state: State| monitor.board().agents()[1..].iter().all(|view| view.status.state == state);
    eventually("all are well", || all(State::Ok));
    down.store(true, Ordering::SeqCst);
    eventually("all are down", || all(State::Dependant));
    assert_eq!(state(&monitor, "net"), State::Error);
    let read = || fs::read_to_string(&mails).unwrap_or_default();
    eventually("a mail came", || read().contains("-----"));
    down.store(false, Ordering::SeqCst);
    eventually("and another", || read().matches("-----").count() == 2);
    monitor.stop(Duration::from_secs(20)).unwrap();
    let text = read();
    assert!(text.contains("Subject: amon: net Error\n") && text.contains("Subject: amon: net OK\n"), "{text}");
    assert!(!text.contains("site"), "{text}");
}

/// Else the next process would send it again.
#[test]
fn a_mail_that_goes_during_the_stop_counts() {
    let dir = tempfile::tempdir().unwrap();
    let [begun, go] = ["begun", "go"].map(|name| dir.path().join(name));
    let script = format!("touch {}; until [ -e {} ]; do sleep 0.01; done", begun.display(), go.display());
    let mail = MailOptions {
        sendmail: acts::script(dir.path(), &script),
        collect: Duration::ZERO,
        ..MailOptions::new("root", "amon")
    };
    let data = dir.path().join("stats");
    let options = MonitorOptions { mail: Some(mail), ..options(&data) };
    let ended = Arc::new(AtomicUsize::new(0));
    let bad = Acts::new("bad", |_| Ok(Measurement::new().judged(Status::new(State::Error, "down"))));
    let agents = vec![bad.ending(&ended).installed(Duration::from_secs(60))];
    let monitor = Monitor::start(options, agents, Layout::default()).unwrap();
    eventually("a mail is on its way", || begun.exists());
    assert!(!monitor.board().agent("bad").unwrap().told);
    let stopping = thread::spawn(move || {
        eventually("the stop has begun", || ended.load(Ordering::SeqCst) > 0);
        fs::write(go, "").unwrap();
    });
    monitor.stop(Duration::from_secs(20)).unwrap();
    stopping.join().unwrap();
    let kept = fs::read_to_string(data.join("bad/agent.json")).unwrap();
    assert!(kept.contains("\"told\":true"), "{kept}");
}

#[test]
fn configuration_with_passwords_is_nobody_elses() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("stats");
    // What an earlier process left is not private.
    fs::create_dir_all(data.join("old")).unwrap();
    fs::write(data.join("old/agent.json.new"), "").unwrap();
    fs::create_dir_all(data.join(".retired/older-5")).unwrap();
    fs::write(data.join(".retired/older-5/agent.json"), "").unwrap();
    let fresh = dir.path().join("fresh/stats");
    for data in [&data, &fresh] {
        let mut one = good("secretive").installed(Duration::from_secs(60));
        one.spec.written = "password = 'sesame'".to_owned();
        let monitor = start(data, vec![one, good("old").installed(Duration::from_secs(60))]);
        eventually("they measure", || ["secretive", "old"].iter().all(|name| state(&monitor, name) == State::Ok));
        let view = monitor.board().agent("secretive").unwrap();
        assert!(!serde_json::to_string(&*view).unwrap().contains("sesame"), "it is not served");
        monitor.stop(Duration::from_secs(20)).unwrap();
        let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        for name in ["secretive", "old"] {
            let file = data.join(name).join("agent.json");
            assert!(!fs::read_to_string(&file).unwrap().contains("sesame"));
            assert_eq!(mode(&file), 0o600, "{file:?}");
        }
        let retired = data.join(".retired/older-5/agent.json");
        assert!(!retired.exists() || mode(&retired) == 0o600, "{retired:?}");
        let modes = [data.clone(), data.join("old")].map(|path| mode(&path) & 0o007);
        assert!(
            *data != fresh || modes == [1, 0],
            "others may pass, for programs of theirs, and see nothing: {modes:?}"
        );
    }
}

#[test]
fn a_file_that_cannot_be_read_costs_no_data() {
    let dir = tempfile::tempdir().unwrap();
    let agent = |origin: &str, load_error: bool| {
        let mut agent = good(if load_error { "x.agent" } else { "precious" }).installed(Duration::from_secs(60));
        (agent.spec.origin, agent.spec.load_error) = (origin.to_owned(), load_error);
        agent
    };
    let monitor = start(dir.path(), vec![agent("/c/x.agent", false)]);
    let file = dir.path().join("precious/agent.json");
    eventually("it measures", || state(&monitor, "precious") == State::Ok && file.exists());
    let wrong = dir.path().join("x.agent");
    for _ in 0..2 {
        monitor.replace(vec![agent("/c/x.agent", true)], Layout::default());
        eventually("the mistake is shown", || wrong.exists());
        assert!(file.exists());
        monitor.replace(vec![agent("/c/x.agent", false)], Layout::default());
        assert!(monitor.board().agent("precious").unwrap().measured >= 1, "it is known");
        eventually("of the mistake nothing is left", || !wrong.exists());
    }
    monitor.stop(Duration::from_secs(20)).unwrap();
    drop(monitor);
    // And at a start, however often, also if nobody knows whose data they are.
    for round in 0..3 {
        let monitor = start(dir.path(), vec![agent("/c/x.agent", true)]);
        eventually("the mistake is shown", || wrong.exists());
        monitor.stop(Duration::from_secs(20)).unwrap();
        assert!(dir.path().join("precious").exists() && !dir.path().join(".retired").exists(), "{round}");
        if round == 1 {
            fs::create_dir(dir.path().join("damaged")).unwrap();
            fs::write(dir.path().join("damaged/agent.json"), "{").unwrap();
        }
    }
    assert!(dir.path().join("damaged").exists());
    // Once the file is well, and has it no more, its data are put aside: by the process that did not know it itself.
    let monitor = start(dir.path(), vec![agent("/c/x.agent", true)]);
    monitor.replace(vec![good("other").installed(Duration::from_secs(60))], Layout::default());
    eventually("it is put aside", || !dir.path().join("precious").exists());
    monitor.stop(Duration::from_secs(20)).unwrap();
}
