//! Executable plugins, with the real program: the examples of docs/plugins.md, hostile ones, SIGHUP, `--check`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

#[allow(dead_code, unreachable_pub, missing_docs, reason = "each test program uses a part of the helpers")]
mod util;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use util::daemon::{Launch, source_line, under_test};
use util::fake_gmond::FakeGmond;
use util::plugins::{SINK, cluster, directory, figure, left_out, metrics, put, status, wait_log};

const EXAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/plugins");

fn example(dir: &Path, name: &str) {
    put(dir, name, &fs::read_to_string(Path::new(EXAMPLES).join(name)).unwrap());
}

#[test]
fn the_examples_do_what_the_page_says() {
    if left_out("the_examples_do_what_the_page_says") {
        return;
    }
    let (source, dir) = (FakeGmond::serving_now(cluster("lab &quot;1&quot;", "3.00")), directory());
    example(dir.path(), "hosts-up.sh");
    example(dir.path(), "load-per-cpu.py");
    let file = dir.path().join("hosts-up.txt");
    let http = util::free_port();
    let daemon = Launch::ours()
        .with_rrds()
        .line(format!("http_port {http}"))
        .source("a source", 1, source.address())
        .line(format!("plugins_dir \"{}\"", dir.path().display()))
        .line(format!("hosts-up {{\n file {}\n}}", file.display()))
        .line("rrd_cache_seconds 0")
        .start();
    // What sh sees of a name with quotes is the JSON of it, up to the first one.
    util::wait_until("the plugin in sh", util::SOON * 2, || {
        fs::read_to_string(&file).is_ok_and(|text| text == "lab \\ 2 0\n")
    });
    let rrd = daemon.rrd_root().join("lab \"1\"/n2/load_per_cpu.rrd");
    util::wait_until("the RRD file of the injected metric", util::SOON * 2, || rrd.is_file());
    util::wait_until("its value", util::SOON * 2, || {
        let now = util::now();
        util::rrd::fetch(&rrd, now - 60, now).values().any(|values| values[0] == 0.75)
    });
    assert!(
        !String::from_utf8(daemon.dump()).unwrap().contains("load_per_cpu"),
        "the tree that is served never changes"
    );
    assert!(figure(&daemon, "load-per-cpu", "changes").unwrap() >= 2);
    assert_eq!(figure(&daemon, "load-per-cpu", "refused"), Some(0));
    let metrics = metrics(http);
    assert!(metrics.contains("gmetad_plugin_transactions_total{plugin=\"hosts-up\"}"), "{metrics}");
}

#[test]
fn sighup_takes_new_changed_and_removed_files() {
    if left_out("sighup_takes_new_changed_and_removed_files") {
        return;
    }
    let (source, dir) = (FakeGmond::serving_now(cluster("lab", "3.00")), directory());
    let lines = [
        format!("plugins_dir \"{}\"", dir.path().display()),
        format!("hosts-up {{\n file {}\n}}", dir.path().join("hosts-up.txt").display()),
        source_line("a source", 1, source.address()),
    ];
    let mut launch = Launch::ours();
    for line in &lines {
        launch = launch.line(line);
    }
    let daemon = launch.start();
    daemon.wait_source("lab");
    assert_eq!(figure(&daemon, "hosts-up", "transactions"), None, "nothing is there yet");
    example(dir.path(), "hosts-up.sh");
    put(dir.path(), "open.sh", "#!/bin/sh\nexit 1\n");
    fs::set_permissions(dir.path().join("open.sh"), fs::Permissions::from_mode(0o777)).unwrap();
    util::signal(daemon.pid(), "HUP");
    util::wait_until("the new plugin", util::SOON * 2, || figure(&daemon, "hosts-up", "transactions") >= Some(2));
    wait_log(&daemon, "open.sh");
    let children = |name: &str| -> Vec<String> {
        let output = Command::new("pgrep").args(["-P", &daemon.pid().to_string(), "-f", name]).output().unwrap();
        String::from_utf8(output.stdout).unwrap().split_whitespace().map(str::to_owned).collect()
    };
    let first = children("hosts-up");
    assert_eq!(first.len(), 1);
    // Nothing changed: the process stays.
    util::signal(daemon.pid(), "HUP");
    let seen = figure(&daemon, "hosts-up", "transactions");
    util::wait_until("more polls", util::SOON * 2, || {
        figure(&daemon, "hosts-up", "transactions") >= seen.map(|n| n + 2)
    });
    assert_eq!(children("hosts-up"), first);
    // What would be refused now is not started again after its end, either.
    let path = dir.path().join("hosts-up.sh");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).unwrap();
    util::signal(first[0].parse().unwrap(), "KILL");
    wait_log(&daemon, "hosts-up.sh is not run: it is writable");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    put(dir.path(), "hosts-up.sh", &(fs::read_to_string(Path::new(EXAMPLES).join("hosts-up.sh")).unwrap() + "# new\n"));
    util::signal(daemon.pid(), "HUP");
    util::wait_until("another process", util::SOON * 2, || {
        let now = children("hosts-up");
        now.len() == 1 && now != first
    });
    fs::remove_file(dir.path().join("hosts-up.sh")).unwrap();
    util::signal(daemon.pid(), "HUP");
    util::wait_until("its end", util::SOON * 2, || {
        children("hosts-up").is_empty() && figure(&daemon, "hosts-up", "transactions").is_none()
    });
}

#[test]
fn hostile_plugins_are_named_and_miss_no_poll() {
    if left_out("hostile_plugins_are_named_and_miss_no_poll") {
        return;
    }
    let (source, dir) = (FakeGmond::serving_now(cluster("lab", "3.00")), directory());
    let hello = r#"echo '{"type":"hello","protocol":1,"role":"changer"}'; read l; echo '{"type":"ok"}'; read l; echo '{"type":"ok"}'"#;
    // What each does, and what is said of it.
    let hostile = [
        ("a-dies", "exit 7\n".to_owned(), "it ended (exit status 7)"),
        ("b-hangs", format!("read l; {hello}\nwhile :; do sleep 1000; done\n"), "no answer within 1 s"),
        ("c-deaf", "trap '' TERM\nwhile :; do sleep 1000; done\n".to_owned(), "no answer to \"hello\" within 1 s"),
        ("d-prints", "head -c 1G /dev/zero | tr '\\0' x\n".to_owned(), "more than 16 MB on its standard output"),
        ("e-complains", "yes complaint | head -c 1G >&2\n".to_owned(), "more than 16 MB on its standard error"),
        ("f-forks", "sleep 1001 & sleep 1001 & exit 3\n".to_owned(), "it ended (exit status 3)"),
        (
            "g-rubbish",
            "read l; echo '{\"type\":\"hello\"'; sleep 1000\n".to_owned(),
            "is not an answer of docs/plugins.md",
        ),
        ("h-line", SINK.replace("rest=", "head -c 1G /dev/zero; rest="), "more than 16 MB on its standard output"),
    ];
    for (name, does, _) in &hostile {
        put(dir.path(), &format!("{name}.sh"), &format!("#!/bin/sh\n{does}"));
    }
    let file = dir.path().join("hosts-up.txt");
    example(dir.path(), "hosts-up.sh");
    let mut daemon = Launch::ours()
        .with_rrds()
        .source("a source", 1, source.address())
        .line(format!("plugins_dir \"{}\"", dir.path().display()))
        .line(format!("hosts-up {{\n file {}\n}}", file.display()))
        .line("b-hangs {\n plugin_deadline 1\n}")
        .line("c-deaf {\n plugin_deadline 1\n}")
        .start();
    util::wait_until("the good one", util::SOON * 2, || {
        fs::read_to_string(&file).is_ok_and(|text| text == "lab 2 0\n")
    });
    for (name, _, said) in &hostile {
        util::wait_until(&format!("the log to say of {name}: {said}"), util::SOON * 2, || {
            let begin = format!("plugin {name}: ");
            daemon.log().lines().any(|line| line.contains(&begin) && line.contains(said))
        });
    }
    wait_log(&daemon, "plugin e-complains: complaint");
    let complaints = daemon.log().matches("plugin e-complains: complaint").count();
    let starts = daemon.log().matches("plugin e-complains: more than 16 MB").count() + 1;
    assert!(complaints <= 200 * starts, "{complaints} lines of a flood in {starts} starts");
    util::wait_until("12 polls", Duration::from_secs(30), || figure(&daemon, "hosts-up", "transactions") >= Some(12));
    assert_eq!(figure(&daemon, "rrd", "dropped"), Some(0));
    assert_eq!(status(&daemon)["sources"][0]["failures"], 0, "no poll was missed");
    let (resident, _) = daemon.memory();
    assert!(resident < 100, "{resident} MiB");
    let took = daemon.end_by("TERM");
    assert!(took < Duration::from_secs(6), "{took:?}");
    util::wait_until("the end of all of them", util::SOON, || {
        let left = Command::new("pgrep").args(["-f", &dir.path().display().to_string()]).output().unwrap();
        left.stdout.is_empty()
    });
}

#[test]
fn check_lists_what_would_be_loaded_and_why_not() {
    if left_out("check_lists_what_would_be_loaded_and_why_not") {
        return;
    }
    let dir = directory();
    example(dir.path(), "load-per-cpu.py");
    put(dir.path(), "open.sh", "#!/bin/sh\n");
    fs::set_permissions(dir.path().join("open.sh"), fs::Permissions::from_mode(0o722)).unwrap();
    fs::write(dir.path().join("notes.txt"), "x").unwrap();
    let conf = dir.path().join("gmetad.conf");
    let text = format!(
        "data_source \"x\" localhost\nplugins_dir \"{}\"\nalert {{\n metricrule load_one \"$val > > 5\" \"too high\"\n}}\n",
        dir.path().display()
    );
    fs::write(&conf, text).unwrap();
    let check = || Command::new(under_test()).arg("--check").arg("-c").arg(&conf).output().unwrap();
    let output = check();
    let all = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert!(all.contains("load-per-cpu"), "{all}");
    assert!(all.lines().any(|line| line.contains("open.sh") && line.contains("writ")), "{all}");
    assert!(all.lines().any(|line| line.contains("notes.txt") && line.contains("executable")), "{all}");
    assert!(all.lines().any(|line| line.contains("gmetad.conf:4:30: alert")), "{all}");
    assert!(!output.status.success(), "a rule that is left out is an error of the check");
}
