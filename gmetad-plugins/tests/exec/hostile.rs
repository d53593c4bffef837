//! Plugins that do everything wrong. Each is fed as the chain feeds it, with a good one behind it.

use std::time::{Duration, Instant};

use gmetad_core::Plugin;
use gmetad_core::plugin::Role;

use crate::rig::{Rig, SECOND, is_alive, resident, transaction, until};

const GOOD: &str = "
begin(detail='summary')
while True:
    asked = ask()
    if asked['type'] == 'cluster':
        open('{dir}/got', 'a').write('x')
    answer(type='ok', id=asked.get('id'))
";

/// Feeds a plugin until the log has the texts; the good one behind it must get everything, and feeding must not take long.
#[track_caller]
fn feed(name: &str, script: &str, directives: &str, texts: &[&str]) -> Rig {
    let mut bad = Rig::start(name, script, directives);
    let mut good = Rig::start(&format!("behind-{name}"), GOOD, "");
    let transaction = transaction("lab", 3, 5);
    let before = resident();
    let (mut fed, mut longest, mut most) = (0, Duration::ZERO, 0);
    let mut waited = 0;
    until(&format!("{name}: {texts:?}"), || {
        let began = Instant::now();
        let was_changer = bad.plugin.role() == Role::Changer;
        let _ = bad.plugin.notify(&mut transaction.clone());
        if !was_changer {
            longest = longest.max(began.elapsed());
        }
        waited += u32::from(began.elapsed() > Duration::from_millis(200));
        if good.stats.waiting() == 0 {
            good.plugin.notify(&mut transaction.clone()).unwrap();
            fed += 1;
        }
        most = most.max(resident());
        texts.iter().all(|text| bad.logged(text) > 0)
    });
    assert!(longest < SECOND / 2, "a tap never waits: {longest:?}");
    until("the good one gets everything", || good.stats.notified.num() + good.stats.dropped.get() == fed);
    assert!(good.file("got").len() as u64 == good.stats.notified.num() && good.stats.failed.get() == 0);
    assert!(most - before.min(most) < 256 << 20, "memory: {} MB more", (most - before.min(most)) >> 20);
    until("it is counted", || bad.stats.failed.get() > 0 && bad.all.plugin_errors.get() > 0);
    good.stop();
    bad
}

#[track_caller]
fn ends_soon(rig: Rig) {
    let (_dir, time) = rig.stop();
    assert!(time < 4 * SECOND, "its end took {time:?}");
}

const AGAIN: &str = "it is started again in 1 s";

#[test]
fn hangs() {
    let late = "plugin_deadline 0.3";
    ends_soon(feed("hangs-hello", "time.sleep(1000)", late, &["no answer to \"hello\" within 0.3 s", AGAIN]));
    let config = "ask()\nanswer(type='hello', protocol=1)\ntime.sleep(1000)";
    ends_soon(feed("hangs-config", config, late, &["no answer to \"config\" within 0.3 s", AGAIN]));
    let cluster = "begin()\ntime.sleep(1000)";
    ends_soon(feed("hangs-cluster", cluster, late, &["no answer to \"cluster\" within 0.3 s", AGAIN]));
}

#[test]
fn a_changer_that_hangs_costs_three_deadlines() {
    let mut rig = Rig::start("hangs-changer", "begin(role='changer')\ntime.sleep(1000)", "plugin_deadline 0.3");
    until("it is a changer", || rig.plugin.role() == Role::Changer);
    let transaction = transaction("lab", 2, 5);
    for _ in 0..3 {
        let began = Instant::now();
        let error = rig.plugin.notify(&mut transaction.clone());
        let time = began.elapsed();
        assert!(time < Duration::from_millis(1500), "{time:?}");
        // The third may be found to be the last one first.
        if let Err(error) = error {
            assert!(error.to_string().contains("within 0.3 s"), "{error}");
            assert!(time >= Duration::from_millis(300), "{time:?}");
        }
    }
    rig.await_log("no answer to \"cluster\"");
    let dropped = rig.stats.dropped.get();
    let (began, mut transaction) = (Instant::now(), transaction);
    rig.plugin.notify(&mut transaction).unwrap();
    assert!(began.elapsed() < Duration::from_millis(100), "nobody waits for what is not there");
    assert_eq!(rig.stats.dropped.get(), dropped + 1);
    assert_eq!(rig.plugin.role(), Role::Changer, "and it keeps its place");
    ends_soon(rig);
}

#[test]
fn prints_a_gigabyte() {
    let small = "plugin_output 2";
    let line = "begin()\nwhile True:\n    os.write(1, b'x' * 65536)";
    ends_soon(feed("prints-stdout", line, small, &["more than 2 MB on its standard output", AGAIN]));
    let logs = r#"
begin()
while True:
    os.write(1, b'{"type":"log","level":"info","text":"again"}\n' * 1000)"#;
    let rig = feed("prints-logs", logs, small, &["more than 2 MB on its standard output", "more lines are not shown"]);
    let lines = rig.logged("INFO") + rig.logged("again");
    assert!(lines <= 101 * 10, "{lines} lines");
    ends_soon(rig);
    let stderr = "begin()\nwhile True:\n    os.write(2, b'traceback traceback traceback traceback\\n' * 1000)";
    let rig =
        feed("prints-stderr", stderr, small, &["more than 2 MB on its standard error", "more lines are not shown"]);
    assert!(rig.logged("traceback") >= 100);
    ends_soon(rig);
}

#[test]
fn dies() {
    ends_soon(feed("dies-at-once", "sys.exit(3)", "", &["it ended (exit status 3)", AGAIN]));
    ends_soon(feed(
        "dies-segv",
        "begin()\nask()\nos.kill(os.getpid(), signal.SIGSEGV)",
        "",
        &["it ended (signal SIGSEGV)"],
    ));
    ends_soon(feed("no-interpreter", "#!/no/such/interpreter\n", "", &["cannot be started", "#!", AGAIN]));
    let traceback = "begin()\nask()\nraise KeyError('what it was')";
    ends_soon(feed("dies-loudly", traceback, "", &["KeyError: 'what it was'", "it ended (exit status 1)"]));
    let three = "begin()\nfor n in range(3): answer(type='ok', id=ask()['id'])\nsys.exit(4)";
    let rig = feed("dies-after-three", three, "", &["it ended (exit status 4)", AGAIN]);
    assert!(rig.stats.notified.num() >= 3);
    // It comes back and works.
    until("a second process", || rig.logged("runs as process") >= 2);
    ends_soon(rig);
}

#[test]
fn an_idle_death_is_found_at_once() {
    let mut rig =
        Rig::start("dies-idle", "begin()\nanswer(type='ok', id=ask()['id'])\ntime.sleep(0.2)\nsys.exit(6)", "");
    rig.await_log("runs as process");
    rig.plugin.notify(&mut transaction("lab", 2, 5)).unwrap();
    until("it took one", || rig.stats.notified.num() == 1);
    let began = Instant::now();
    rig.await_log("it ended (exit status 6)");
    assert!(began.elapsed() < Duration::from_millis(900), "{:?}", began.elapsed());
    ends_soon(rig);
}

#[test]
fn children_that_outlive_it() {
    let forks = "
begin()
child = subprocess.Popen(['sleep', '1000'])
open('{dir}/child', 'w').write(str(child.pid))
ask()
os._exit(5)";
    let rig = feed("forks", forks, "", &["it ended (exit status 5)", AGAIN]);
    let child = rig.file("child");
    assert!(!child.is_empty());
    until("the whole group is killed", || !is_alive(&child));
    ends_soon(rig);
}

#[test]
fn rubbish() {
    let cluster = |answer: &str| format!("begin()\nask()\n{answer}\ntime.sleep(1000)");
    for (name, script, text) in [
        ("rubbish", cluster("print('Hello, world', flush=True)"), "\"Hello, world\" is not an answer"),
        ("rubbish-bytes", cluster("os.write(1, b'\\xff\\x00\\x1b\\n')"), "is not an answer"),
        ("rubbish-type", cluster("answer(type='okay')"), "no answer of type \"okay\""),
        ("rubbish-list", cluster("print('[1]', flush=True)"), "is not an answer"),
        (
            "rubbish-deep",
            cluster("print('{\"type\":\"ok\",\"x\":' + '['*100000 + '}', flush=True)"),
            "is not an answer",
        ),
        ("rubbish-changes", cluster("answer(type='ok', id=1, changes=5)"), "a list of changes"),
        ("wrong-id", cluster("answer(type='ok', id=77)"), "it answered transaction 77 where transaction 1 was asked"),
        ("no-id", cluster("answer(type='ok')"), "without an id"),
        ("hello-again", cluster("answer(type='hello', protocol=1)"), "it answered \"hello\" where cluster was asked"),
        ("old-protocol", "ask()\nanswer(type='hello', protocol=2)\ntime.sleep(9)".to_owned(), "it speaks protocol 2"),
        ("no-hello", "ask()\nanswer(type='ok')\ntime.sleep(9)".to_owned(), "it answered \"ok\" where hello was asked"),
        ("closes", cluster("os.close(1)"), "it closed its standard output"),
    ] {
        let rig = feed(name, &script, "plugin_deadline 10", &[text, AGAIN]);
        assert_eq!(rig.logged("\u{1b}") + rig.logged("\0"), 0, "no control characters");
        ends_soon(rig);
    }
}

#[test]
fn talks_without_being_asked() {
    let rig = Rig::start(
        "talks",
        "begin()\nanswer(type='log', text='this is fine')\nanswer(type='ok')\ntime.sleep(1000)",
        "",
    );
    rig.await_log("this is fine");
    rig.await_log("it answered \"ok\" where nothing was asked");
    ends_soon(rig);
}

#[test]
fn a_huge_line() {
    let script = "begin()\nasked = ask()\nanswer(type='ok', id=asked['id'], more='x' * 3000000)";
    ends_soon(feed("huge-line", script, "plugin_output 1", &["more than 1 MB on its standard output", AGAIN]));
}

#[test]
fn does_not_read_its_input() {
    let mut rig = Rig::start("deaf", "begin()\ntime.sleep(1000)", "plugin_deadline 0.5");
    rig.await_log("runs as process");
    let mut large = transaction("lab", 400, 33);
    let began = Instant::now();
    rig.plugin.notify(&mut large).unwrap();
    assert!(began.elapsed() < SECOND / 4);
    rig.await_log("no answer to \"cluster\" within 0.5 s");
    ends_soon(rig);
}

#[test]
fn ignores_sigterm() {
    let script = "
signal.signal(signal.SIGTERM, signal.SIG_IGN)
open('{dir}/pid', 'w').write(str(os.getpid()))
begin()
while True:
    time.sleep(1000)";
    let rig = feed("stubborn", script, "plugin_deadline 0.3", &["no answer to \"cluster\""]);
    let pid = rig.file("pid");
    until("it is killed", || !is_alive(&pid));
    until("another one", || rig.logged("runs as process") >= 2);
    let pid = rig.file("pid");
    ends_soon(rig);
    assert!(!is_alive(&pid), "at the stop, too");
}

#[test]
fn limits_are_kept() {
    let greedy = "begin()\nask()\nblocks = ['x' * (1 << 20) for n in range(1000)]\ntime.sleep(9)";
    ends_soon(feed("greedy", greedy, "plugin_memory 200", &["MemoryError", "it ended (exit status 1)"]));
    let busy = "begin()\nask()\nwhile True: pass";
    ends_soon(feed("busy", busy, "plugin_cpu 1", &["it ended (signal SIG", AGAIN]));
    let many = "begin()\nask()\nfiles = [open('/dev/null') for n in range(1000)]";
    ends_soon(feed("many-files", many, "plugin_files 20", &["Too many open files"]));
}
