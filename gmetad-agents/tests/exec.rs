//! Agents that run programs: answers, bounds, environment, streams, and the examples of docs/agents-exec.md.
#![allow(clippy::unwrap_used, clippy::panic)] // in a test they are the report

mod programs;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use gmetad_agents::{Installed, described};
use gmetad_core::agent::{Counted, Element, History, Measurement, State, Status, Value};
use programs::{agent, left_out, script, within};

fn sh(text: &str, keys: &str, root: &Path) -> Installed {
    script(root, "program", &format!("#!/bin/sh\n{text}\n"));
    agent("exec", &format!("command = ['program', 'an argument']\ndescribe = false\n{keys}"), root)
}

fn measured(installed: &mut Installed) -> Measurement {
    installed.agent.measure(&within(20.0)).unwrap()
}

fn failed(installed: &mut Installed, seconds: f64) -> String {
    installed.agent.measure(&within(seconds)).unwrap_err().to_string()
}

fn checked(installed: &Installed, measurement: &Measurement) -> Status {
    let status = Status::default();
    installed.agent.check_status(&History { now: 100, last: Some((100, measurement)), before: None, status: &status })
}

fn text(measurement: &Measurement, field: &str) -> String {
    match measurement.get(field) {
        Some(Value::Text(text)) => text.clone(),
        other => panic!("{field} is {other:?}"),
    }
}

fn wait<T>(what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        if let Some(found) = attempt() {
            return found;
        }
        assert!(Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn environment_and_directory() {
    let root = tempfile::tempdir().unwrap();
    let print = r#"printf '{"fields":{"arg":"%s","dir":"%s","all":"%s","last":"%s","more":"%s"}}' "$1" "$(pwd)" "$(env | sed 's/=.*//' | sort | tr '\n' ' ')" "$(cat "$ZSTATS_LAST" 2>/dev/null | wc -c)" "$MORE""#;
    let mut installed = sh(print, "environment = { MORE = \"it's\" }", root.path());
    let first = measured(&mut installed);
    let state = root.path().join("stats/test/.state");
    assert_eq!((text(&first, "arg").as_str(), text(&first, "dir")), ("an argument", state.display().to_string()));
    let zone = if std::env::var_os("TZ").is_some() { "TZ " } else { "" };
    let expected = format!(
        "HOME LC_ALL MORE PATH PWD {zone}ZSTATS_AGENT ZSTATS_LAST ZSTATS_PERIOD ZSTATS_PROTOCOL ZSTATS_STATE_DIR"
    );
    assert_eq!(
        text(&first, "all").split_whitespace().filter(|name| *name != "_").collect::<Vec<_>>().join(" "),
        expected
    );
    assert_eq!((text(&first, "more").as_str(), text(&first, "last").as_str()), ("it's", "0"));
    assert_ne!(text(&measured(&mut installed), "last"), "0", "the previous answer");
    assert_eq!(checked(&installed, &first).state, State::Ok);
}

#[test]
fn failures_say_why() {
    let root = tempfile::tempdir().unwrap();
    assert_eq!(failed(&mut sh("echo oops >&2; exit 4", "", root.path()), 9.0), "exit status 4; it said: oops");
    let error = failed(&mut sh("echo hello", "", root.path()), 9.0);
    assert!(error.contains("its answer is not understood") && error.contains("it begins with \"hello\""), "{error}");
    let error = failed(&mut agent("exec", "command = ['no-such-program']", root.path()), 9.0);
    assert!(error.contains("there is no program no-such-program"), "{error}");
    script(root.path(), "odd", "#!/no/such/interpreter\n");
    let error = failed(&mut agent("exec", "command = ['odd']\ndescribe = false", root.path()), 9.0);
    assert!(error.contains("nor perhaps what its first line names"), "{error}");
    let error = failed(&mut sh("kill -SEGV $$", "", root.path()), 9.0);
    assert_eq!(error, "ended by the signal SIGSEGV");
    let error = failed(&mut sh("exit 0", "user = 'no-such-user'", root.path()), 9.0);
    assert!(error.contains("no user no-such-user"), "{error}");
}

#[test]
fn a_gibibyte_silence_and_noise() {
    let root = tempfile::tempdir().unwrap();
    for format in ["zstats", "nagios", "munin", "influx", "json", "collectd"] {
        script(root.path(), "program", "#!/bin/sh\nhead -c 1G /dev/zero\n");
        let keys = format!("command = ['program']\nformat = '{format}'\nmode = 'oneshot'\ndescribe = false");
        let start = Instant::now();
        assert_eq!(
            failed(&mut agent("exec", &keys, root.path()), 30.0),
            "it wrote more than 1048576 bytes",
            "{format}"
        );
        assert!(start.elapsed() < Duration::from_secs(20));
    }
    let start = Instant::now();
    let error = failed(&mut sh("echo begun >&2; sleep 60 & wait", "", root.path()), 1.0);
    // Rounded: some time goes by before it begins.
    assert!(
        ["0.9", "0.89"].iter().any(|time| error == format!("it took longer than {time} s; it said: begun")),
        "{error}"
    );
    assert!(start.elapsed() < Duration::from_secs(10));
    // Broken UTF-8, control characters, complaints.
    let noise = r#"printf '{"fields":{"a":1,"t":"x\\u0007\\u001b[2Jy"}}'; printf 'warn\377ing \033[31m\n' >&2"#;
    let measurement = measured(&mut sh(noise, "", root.path()));
    assert_eq!((measurement.get_number("a"), text(&measurement, "t").as_str()), (Some(1.0), "x  [2Jy"));
    let [Element::Text(complaint)] = measurement.elements() else { panic!() };
    assert_eq!(complaint.to_string(), "Standard error: warn\u{fffd}ing  [31m");
}

#[test]
fn children_that_stay_are_not_waited_for() {
    let root = tempfile::tempdir().unwrap();
    let start = Instant::now();
    let mut installed = sh(r#"setsid sleep 45 & sleep 45 & echo "{\"fields\":{\"in_group\":$!}}""#, "", root.path());
    let measurement = measured(&mut installed);
    assert!(start.elapsed() < Duration::from_secs(20));
    let pid = measurement.get_number("in_group").unwrap() as u32;
    wait("what stayed in its group is killed", || {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        (stat.is_empty() || stat.contains(") Z ")).then_some(())
    });
}

#[test]
fn limits_and_another_user() {
    let root = tempfile::tempdir().unwrap();
    let print =
        r#"echo "{\"fields\":{\"memory\":$(ulimit -v),\"files\":$(ulimit -n),\"cpu\":$(ulimit -t),\"uid\":$(id -u)}}""#;
    let measurement = measured(&mut sh(print, "memory = '512M'\ncpu = 9\nfiles = 40", root.path()));
    let number = |field| measurement.get_number(field).unwrap();
    assert_eq!((number("memory"), number("files"), number("cpu")), (524_288.0, 40.0, 9.0));
    if number("uid") != 0.0 {
        left_out("limits_and_another_user", "only root may run programs as somebody else");
        return;
    }
    // Others must be able to reach the program and the directory.
    let shared = tempfile::tempdir_in("/var/tmp").unwrap();
    fs::set_permissions(shared.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let mut installed = sh(
        r#"echo x >"$ZSTATS_STATE_DIR/own" && echo "{\"fields\":{\"uid\":$(id -u)}}""#,
        "user = 'nobody'",
        shared.path(),
    );
    assert_ne!(measured(&mut installed).get_number("uid"), Some(0.0));
    assert_ne!(measured(&mut installed).get_number("uid"), Some(0.0), "its last answer, ours, does not hinder it");
}

#[test]
fn verbs() {
    let root = tempfile::tempdir().unwrap();
    let text = r#"#!/bin/sh
echo "$1" >>"$ZSTATS_STATE_DIR/asked"
case $1 in
describe) printf 'description = "Jobs"\n[[fields]]\nname = "n"\nunit = "B"\n[[rules]]\nfield = "n"\nwarn = "3"\n' ;;
probe) exit "$NO" ;;
*) echo '{"fields":{"n":5}}' ;;
esac
"#;
    script(root.path(), "self", text);
    let mut installed = agent("exec", "command = ['self']\nprobe = true\nenvironment = { NO = '0' }", root.path());
    let measurement = measured(&mut installed);
    measured(&mut installed);
    let asked = fs::read_to_string(root.path().join("stats/test/.state/asked")).unwrap();
    assert_eq!(asked, "probe\ndescribe\n\n\n", "once each");
    assert_eq!(checked(&installed, &measurement).to_string(), "Warn: n: 5 B (warn above 3 B)");
    let spec = described::under(&installed.spec, installed.agent.describe().unwrap());
    assert_eq!(
        (spec.description.to_string().as_str(), spec.fields[0].unit.as_str(), spec.limits.len()),
        ("Jobs", "B", 1)
    );
    let mut no = agent("exec", "command = ['self']\nprobe = true\nenvironment = { NO = '7' }", root.path());
    let status = measured(&mut no).status().unwrap().to_string();
    assert_eq!(status, "Unknown: it says that it makes no sense here (exit status 7)");
    // A stream is asked, too, if that is wanted.
    let text = "#!/bin/sh\nif [ \"$1\" = describe ]; then echo 'section = \"S\"'; else echo '{}'; exec sleep 60; fi\n";
    script(root.path(), "stream", text);
    let mut stream = agent("exec", "command = ['stream']\nmode = 'stream'\ndescribe = true", root.path());
    measured(&mut stream);
    assert_eq!(stream.agent.describe().unwrap().section.to_string(), "S");
    // A program that knows no verbs.
    let mut plain = sh(r#"echo '{"fields":{"n":1}}'"#, "", root.path());
    assert_eq!(measured(&mut plain).get_number("n"), Some(1.0));
}

#[test]
fn a_description_with_a_mistake_does_not_undo_a_good_one() {
    let root = tempfile::tempdir().unwrap();
    let describes = |text: &str| {
        let answer = "echo '{\"fields\":{\"n\":5}}'";
        let text = format!("#!/bin/sh\nif [ \"$1\" = describe ]; then\ncat <<'E'\n{text}\nE\nelse {answer}; fi\n");
        script(root.path(), "self", &text);
        let mut installed = agent("exec", "command = ['self']", root.path());
        measured(&mut installed);
        let said = installed.agent.describe().unwrap();
        let counted = said.fields.iter().find(|field| field.name == "n").unwrap().counted;
        (counted, said.notes.iter().map(ToString::to_string).collect::<Vec<_>>())
    };
    let (counted, notes) = describes("[[datasources]]\nname = 'n'\nds_type = 'COUNTR'");
    assert_eq!(counted, Counted::Gauge);
    assert!(notes[0].contains("[[datasources]] n: \"COUNTR\" is none of") && notes.len() == 2, "{notes:?}");
    let (counted, notes) = describes("[[datasources]]\nname = 'n'\nds_type = 'COUNTER'\nfoo = 1");
    assert_eq!((counted, notes.len()), (Counted::Counter, 1), "{notes:?}");
    for wrong in ["this is [ not TOML", "[[datasources]]\nname = 'n'\nds_type = 'COUNTR'", "E\nexit 3\ncat <<'E'"] {
        let (counted, notes) = describes(wrong);
        assert_eq!(counted, Counted::Counter, "{wrong}: {notes:?}");
        assert!(notes.iter().any(|note| note.contains("before counts meanwhile")), "{wrong}: {notes:?}");
    }
    // A program that does not know the verb any more, and measures.
    assert_eq!(describes("{\"fields\":{\"n\":5}}"), (Counted::Gauge, Vec::new()));
    assert_eq!(describes("oops").0, Counted::Gauge, "what was said before is forgotten");
}

#[test]
fn a_slow_description_is_asked_for_again() {
    let root = tempfile::tempdir().unwrap();
    let text = r#"#!/bin/sh
cd "$ZSTATS_STATE_DIR" && echo "$1" >>asked
if [ "$1" = describe ]; then
    if ! [ -e slow ]; then echo >slow; sleep 60; fi
    printf '[[datasources]]\nname = "n"\nds_type = "counter"\n'
else
    echo '{"fields":{"n":5}}'
fi
"#;
    script(root.path(), "slow", text);
    let mut slow = agent("exec", "command = ['slow']", root.path());
    let error = failed(&mut slow, 1.5);
    assert!(error.contains("it took longer than 1.") && error.contains("it is asked again the next time"), "{error}");
    assert_eq!(measured(&mut slow).get_number("n"), Some(5.0));
    let described = slow.agent.describe().unwrap();
    assert_eq!(described.fields[0].counted, Counted::Counter);
    let asked = fs::read_to_string(root.path().join("stats/test/.state/asked")).unwrap();
    assert_eq!(asked, "describe\ndescribe\n\n", "not measured before it is known what a counter is");
    // One that never answers is measured in the end.
    script(root.path(), "deaf", "#!/bin/sh\n[ \"$1\" = describe ] && exec sleep 60\necho '{\"fields\":{\"n\":5}}'\n");
    let mut deaf = agent("exec", "command = ['deaf']", root.path());
    (0..3).for_each(|_| drop(failed(&mut deaf, 0.2)));
    assert_eq!(measured(&mut deaf).get_number("n"), Some(5.0));
    // Nor is one left out whose next measurement is far.
    let mut daily = agent("exec", "command = ['deaf']", root.path());
    let place = gmetad_core::agent::Place {
        state: root.path().join("daily"),
        root: root.path().into(),
        period: Duration::from_secs(86_400),
        ..Default::default()
    };
    daily.agent.init_data(&place);
    assert_eq!(daily.agent.measure(&within(4.0)).unwrap().get_number("n"), Some(5.0));
    // One that needs long for it has its whole time to measure.
    script(root.path(), "long", "#!/bin/sh\n[ \"$1\" = describe ] && sleep 1.2\necho '{\"fields\":{\"n\":5}}'\n");
    let mut long = agent("exec", "command = ['long']", root.path());
    let error = failed(&mut long, 4.0);
    assert!(error.ends_with(" s: it is measured the next time"), "{error}");
    assert_eq!(measured(&mut long).get_number("n"), Some(5.0));
}

#[test]
fn nothing_is_started_for_nobody() {
    let root = tempfile::tempdir().unwrap();
    script(root.path(), "verb", "#!/bin/sh\necho \"$1\" >>\"$ZSTATS_STATE_DIR/asked\"\nexec sleep 60\n");
    let mut installed = agent("exec", "command = ['verb']", root.path());
    let context = within(60.0);
    let asked = root.path().join("stats/test/.state/asked");
    let error = std::thread::scope(|scope| {
        let measuring = scope.spawn(|| installed.agent.measure(&context).unwrap_err().to_string());
        wait("it is asked", || asked.exists().then_some(()));
        context.stop.stop();
        measuring.join().unwrap()
    });
    assert_eq!((error.as_str(), fs::read_to_string(&asked).unwrap().as_str()), ("the run was stopped", "describe\n"));
}

#[test]
fn a_program_has_all_its_time() {
    let root = tempfile::tempdir().unwrap();
    let mut installed = sh("sleep 3.4; echo '{\"fields\":{\"n\":1}}'", "", root.path());
    assert_eq!(installed.agent.measure(&within(4.0)).unwrap().get_number("n"), Some(1.0));
}

#[test]
fn a_program_ends_with_who_measures() {
    let root = tempfile::tempdir().unwrap();
    // As seen from the program: the signal that it gets when its parent ends.
    let python = "#!/usr/bin/env python3\nimport ctypes\nsignal = ctypes.c_int()\nctypes.CDLL(None).prctl(2, ctypes.byref(signal))\nprint('{\"fields\":{\"signal\":%d}}' % signal.value)\n";
    if std::process::Command::new("python3").arg("-V").output().is_err() {
        left_out("a_program_ends_with_who_measures", "no python3");
        return;
    }
    script(root.path(), "parent", python);
    let mut installed = agent("exec", "command = ['parent']\ndescribe = false", root.path());
    assert_eq!(measured(&mut installed).get_number("signal"), Some(9.0));
}

#[test]
fn formats() {
    let root = tempfile::tempdir().unwrap();
    let of = |format: &str, more: &str, text: &str| {
        let mut installed = sh(text, &format!("format = '{format}'\nmode = 'oneshot'\n{more}"), root.path());
        measured(&mut installed)
    };
    assert_eq!(of("influx", "", "echo load value=1.5").get_number("load"), Some(1.5));
    assert_eq!(of("json", "keys = ['a']", r#"echo '{"a":{"b":2},"c":3}'"#).fields().len(), 1);
    assert_eq!(of("collectd", "", "echo 'PUTVAL h/x/gauge-n N:4'").get_number("gauge-n"), Some(4.0));
    let nagios = of("nagios", "", "echo 'BAD | n=5;3;4'; exit 2");
    assert_eq!((nagios.get_number("n"), nagios.status().unwrap().state), (Some(5.0), State::Error));
}

#[test]
fn silence_is_a_failure() {
    let root = tempfile::tempdir().unwrap();
    for format in ["influx", "collectd", "munin"] {
        let keys = format!("format = '{format}'\nmode = 'oneshot'");
        for text in ["exit 0", "echo; echo '# nothing today'", "[ \"$1\" = config ] && echo a.label A"] {
            let text = if format == "munin" { format!("{text}\nexit 0") } else { text.replace("a.label A", "'#'") };
            let error = failed(&mut sh(&format!("set -- \"$2\"\n{text}\nexit 0"), &keys, root.path()), 9.0);
            assert_eq!(error, "the program said nothing", "{format}: {text}");
        }
    }
    let unknown = "if [ \"$2\" = config ]; then echo a.label A; else echo a.value U; fi";
    let measurement = measured(&mut sh(unknown, "format = 'munin'", root.path()));
    assert!(measurement.get_number("a").unwrap().is_nan());
    let complains = "if [ \"$2\" = config ]; then echo a.label A; else echo 'no access' >&2; fi";
    let error = failed(&mut sh(complains, "format = 'munin'", root.path()), 9.0);
    assert_eq!(error, "the program said nothing; it said: no access");
}

#[test]
fn munin_configurations_are_kept_and_dirty_ones_not() {
    let root = tempfile::tempdir().unwrap();
    let of = |text: &str| {
        script(root.path(), "plugin", &format!("#!/bin/sh\necho \"run $1\" >>\"$ZSTATS_STATE_DIR/runs\"\n{text}\n"));
        let mut installed = agent("munin", "command = ['plugin']", root.path());
        let (first, second) = (measured(&mut installed), measured(&mut installed));
        assert_eq!((first.get_number("a"), second.get_number("a")), (Some(12.0), Some(12.0)));
        let runs = root.path().join("stats/test/.state/runs");
        let text = fs::read_to_string(&runs).unwrap();
        fs::remove_file(runs).unwrap();
        (installed, first, text)
    };
    let config = "echo 'graph_title T'; echo 'a.label A'; echo 'a.critical 10'";
    let (installed, first, runs) = of(&format!("if [ \"$1\" = config ]; then {config}; else echo a.value 12; fi"));
    assert_eq!(runs, "run config\nrun \nrun \n");
    assert_eq!(checked(&installed, &first).to_string(), "Error: A: 12 (error above 10)");
    let (_, _, runs) = of(&format!("{config}; [ \"$MUNIN_CAP_DIRTYCONFIG\" = 1 ] && echo a.value 12"));
    assert_eq!(runs, "run config\nrun config\n");
    // Both together take too long: the configuration is kept for the next time.
    let slow = "#!/bin/sh\nsleep 1.4\nif [ \"$1\" = config ]; then echo 'a.label A'; else echo 'a.value 1'; fi\n";
    script(root.path(), "plugin", slow);
    let mut installed = agent("munin", "command = ['plugin']", root.path());
    failed(&mut installed, 2.4);
    assert_eq!(installed.agent.measure(&within(2.4)).unwrap().get_number("a"), Some(1.0));
    script(root.path(), "plugin", "#!/bin/sh\necho broken >&2\nexit 1\n");
    assert_eq!(failed(&mut agent("munin", "command = ['plugin']", root.path()), 9.0), "exit status 1; it said: broken");
}

#[test]
fn streams() {
    let root = tempfile::tempdir().unwrap();
    let stream = |text: &str, keys: &str| sh(text, &format!("mode = 'stream'\n{keys}"), root.path());
    let mut ticking =
        stream(r#"n=0; while :; do n=$((n+1)); echo "{\"fields\":{\"n\":$n,\"pid\":$$}}"; sleep 0.05; done"#, "");
    let first = measured(&mut ticking);
    let pid = first.get_number("pid").unwrap();
    wait("a newer line", || (measured(&mut ticking).get_number("n") > first.get_number("n")).then_some(()));
    assert_eq!(measured(&mut ticking).get_number("pid"), Some(pid), "it is one process");
    drop(ticking);
    assert!(!Path::new(&format!("/proc/{pid}")).exists(), "it ends before its agent");

    // Ends, and is started again.
    let mut ending = stream(r#"echo "{\"fields\":{\"pid\":$$}}""#, "");
    let pid = measured(&mut ending).get_number("pid");
    wait("another process", || (measured(&mut ending).get_number("pid") != pid).then_some(()));

    let start = Instant::now();
    assert_eq!(failed(&mut stream("sleep 60", ""), 0.5), "no line came yet");
    assert!(start.elapsed() < Duration::from_secs(5));
    let error = failed(&mut stream("echo bad >&2; exit 9", ""), 1.0);
    assert_eq!(error, "no line came yet: it ended (exit status 9); it is started again in 1 s");
    let error = failed(&mut stream("head -c 1G /dev/zero", ""), 5.0);
    assert!(error.contains("it wrote a line of more than 262144 bytes"), "{error}");
    let collectd = "echo 'PUTVAL h/x/gauge-a N:1'; echo 'PUTVAL h/x/gauge-b N:2'; echo 'PUTVAL h/x/gauge-a N:3'; echo 'PUTNOTIF severity=warning message=careful'; sleep 60";
    let mut collectd = stream(collectd, "format = 'collectd'");
    let both = wait("all lines", || Some(measured(&mut collectd)).filter(|measurement| measurement.status().is_some()));
    assert_eq!((both.get_number("gauge-a"), both.get_number("gauge-b")), (Some(3.0), Some(2.0)));
    assert_eq!(both.status().unwrap().to_string(), "Warn: careful");
}

#[test]
fn a_silent_stream_goes_stale() {
    let root = tempfile::tempdir().unwrap();
    let mut installed = sh("echo '{\"fields\":{\"n\":1}}'; sleep 60", "mode = 'stream'", root.path());
    let period = Duration::from_millis(200);
    let place = gmetad_core::agent::Place {
        state: root.path().join("s"),
        root: root.path().into(),
        period,
        ..Default::default()
    };
    installed.agent.init_data(&place);
    assert_eq!(measured(&mut installed).get_number("n"), Some(1.0));
    let error = wait("stale", || installed.agent.measure(&within(0.01)).err());
    assert_eq!(error.to_string(), "no line came for over 0.5 s");
}

#[test]
fn the_examples_of_the_documentation() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/agents-exec.md");
    let docs = fs::read_to_string(docs).unwrap();
    let example = |marker: &str| {
        let (_, rest) = docs.split_once(&format!("<!-- {marker} -->\n```")).unwrap();
        let (_, rest) = rest.split_once('\n').unwrap();
        rest.split_once("\n```").unwrap().0.to_owned() + "\n"
    };
    let root = tempfile::tempdir().unwrap();
    script(root.path(), "spool", &example("run: spool"));
    let spool = root.path().join("waiting");
    fs::create_dir(&spool).unwrap();
    (0..101).for_each(|n| fs::write(spool.join(n.to_string()), "").unwrap());
    let mut installed =
        agent("exec", &format!("command = ['spool']\nenvironment = {{ SPOOL = '{}' }}", spool.display()), root.path());
    let measurement = measured(&mut installed);
    assert_eq!(measurement.status().unwrap().to_string(), "Warn: 101 files wait");
    assert_eq!(measurement.get_number("files"), Some(101.0));
    if std::process::Command::new("python3").arg("-V").output().is_err() {
        left_out("the_examples_of_the_documentation", "no python3");
        return;
    }
    script(root.path(), "disks", &example("run: disks"));
    let mut installed = agent("exec", "command = ['disks']\nenvironment = { MOUNTS = '/ /tmp' }", root.path());
    let measurement = measured(&mut installed);
    let names: Vec<_> =
        measurement.instances().map(|(name, disk)| (name.to_owned(), disk.get_number("used").is_some())).collect();
    assert_eq!(names, [("root-29622bb2".to_owned(), true), ("tmp-34b35e47".to_owned(), true)]);
    let spec = described::under(&installed.spec, installed.agent.describe().unwrap());
    assert_eq!(
        (spec.section.to_string().as_str(), spec.fields[0].unit.as_str(), spec.limits.len()),
        ("Storage", "%", 1)
    );
    script(root.path(), "ticks", &example("stream: ticks"));
    let mut installed =
        agent("exec", "command = ['ticks']\nmode = 'stream'\nenvironment = { PAUSE = '0.05' }", root.path());
    wait("a later tick", || (measured(&mut installed).get_number("ticks") > Some(2.0)).then_some(()));
}
