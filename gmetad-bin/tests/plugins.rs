//! Executable plugins and alerts, with the real program: the examples of docs/plugins.md, hostile ones, SIGHUP, `--check`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

#[allow(dead_code, unreachable_pub, missing_docs, reason = "each test program uses a part of the helpers")]
mod util;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use util::daemon::{Gmetad, Launch, source_line, under_test, under_test_is_c};
use util::document;
use util::fake_gmond::FakeGmond;

const EXAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/plugins");

fn left_out(test: &str) -> bool {
    if under_test_is_c() {
        util::left_out(test, "the C gmetad has no plugins");
    }
    under_test_is_c()
}

/// A directory that only we may write to.
fn plugins_dir() -> tempfile::TempDir {
    let dir = tempfile::Builder::new().prefix("gmetad-plugins-").tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    dir
}

fn put(dir: &Path, name: &str, text: &str) {
    // Whole and executable at once: the daemon may look at any time.
    let aside = dir.join(format!(".{name}"));
    fs::write(&aside, text).unwrap();
    fs::set_permissions(&aside, fs::Permissions::from_mode(0o755)).unwrap();
    fs::rename(aside, dir.join(name)).unwrap();
}

fn example(dir: &Path, name: &str) {
    put(dir, name, &fs::read_to_string(Path::new(EXAMPLES).join(name)).unwrap());
}

/// What `/status` says of a plugin: the number behind `key`.
fn figure(daemon: &Gmetad, plugin: &str, key: &str) -> Option<u64> {
    let status = String::from_utf8(daemon.query("/status")).unwrap();
    let at = status.find(&format!("{{\"name\":\"{plugin}\",\"transactions\""))?;
    let of_plugin = &status[at..at + status[at..].find('}')?];
    let number = &of_plugin[of_plugin.find(&format!("\"{key}\":"))? + key.len() + 3..];
    number[..number.find(|c: char| !c.is_ascii_digit()).unwrap_or(number.len())].parse().ok()
}

fn metrics(port: u16) -> String {
    let request = format!("GET /metrics HTTP/1.1\r\nHost: localhost:{port}\r\nConnection: close\r\n\r\n");
    let answer = util::net::ask(port, request.as_bytes(), util::net::After::KeepOpen).unwrap();
    String::from_utf8_lossy(&answer.bytes).into_owned()
}

fn wait_log(daemon: &Gmetad, text: &str) {
    util::wait_until(&format!("the log to say {text:?}"), util::SOON * 2, || daemon.log().contains(text));
}

fn cluster(name: &str) -> Vec<u8> {
    let metrics = document::metric("load_one", "3.00", "float", "both")
        + &document::metric("cpu_num", "4", "uint16", "zero")
        + &document::metric("os_name", "Linux", "string", "zero");
    let now = util::now();
    let hosts: String = ["n1", "n2"].map(|host| document::host(host, now, &metrics)).concat();
    document::of_cluster(name, now, &hosts)
}

#[test]
fn the_examples_do_what_the_page_says() {
    if left_out("the_examples_do_what_the_page_says") {
        return;
    }
    let (source, dir) =
        (FakeGmond::serving_now(cluster("lab \\\"1\\\"".replace("\\\"", "&quot;").as_str())), plugins_dir());
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
    let (source, dir) = (FakeGmond::serving_now(cluster("lab")), plugins_dir());
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
    let (source, dir) = (FakeGmond::serving_now(cluster("lab")), plugins_dir());
    let hello = r#"echo '{"type":"hello","protocol":1,"role":"changer"}'; read l; echo '{"type":"ok"}'; read l; echo '{"type":"ok"}'"#;
    put(dir.path(), "a-dies.sh", "#!/bin/sh\nexit 7\n");
    put(dir.path(), "b-hangs.sh", &format!("#!/bin/sh\nread l; {hello}\nwhile :; do sleep 1000; done\n"));
    put(dir.path(), "c-deaf.sh", "#!/bin/sh\ntrap '' TERM\nwhile :; do sleep 1000; done\n");
    put(dir.path(), "d-prints.sh", "#!/bin/sh\nhead -c 1073741824 /dev/zero | tr '\\0' x\n");
    put(dir.path(), "e-complains.sh", "#!/bin/sh\nyes complaint | head -c 1073741824 >&2\n");
    put(dir.path(), "f-forks.sh", "#!/bin/sh\nsleep 1001 & sleep 1001 & exit 3\n");
    put(dir.path(), "g-rubbish.sh", "#!/bin/sh\nread l; echo '{\"type\":\"hello\"'; sleep 1000\n");
    let file = dir.path().join("hosts-up.txt");
    example(dir.path(), "hosts-up.sh");
    let mut daemon = Launch::ours()
        .with_rrds()
        .source("a source", 1, source.address())
        .line(format!("plugins_dir \"{}\"", dir.path().display()))
        .line(format!("hosts-up {{\n file {}\n}}", file.display()))
        .line("b-hangs {\n plugin_deadline 1\n}")
        .start();
    util::wait_until("the good one", util::SOON * 2, || {
        fs::read_to_string(&file).is_ok_and(|text| text == "lab 2 0\n")
    });
    for name in ["a-dies", "b-hangs", "d-prints", "f-forks", "g-rubbish"] {
        wait_log(&daemon, &format!("plugin {name}: "));
    }
    util::wait_until("12 polls", Duration::from_secs(30), || figure(&daemon, "hosts-up", "transactions") >= Some(12));
    assert_eq!(figure(&daemon, "rrd", "dropped"), Some(0));
    let status = String::from_utf8(daemon.query("/status")).unwrap();
    assert!(status.contains("\"failures\":0,\"error\""), "no poll was missed: {status}");
    let resident = fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    let resident: u64 = resident
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.parse().ok())
        .unwrap();
    assert!(resident < 100_000, "{resident} kB");
    // Each restart has killed the group of the one before, so there is one pair of sleepers at most.
    let sleepers = Command::new("pgrep").args(["-f", "sleep 1001"]).output().unwrap();
    assert!(String::from_utf8(sleepers.stdout).unwrap().lines().count() <= 2);
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
    let dir = plugins_dir();
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

#[test]
fn an_alert_is_mailed_when_it_begins_and_when_it_ends() {
    if left_out("an_alert_is_mailed_when_it_begins_and_when_it_ends") {
        return;
    }
    let (source, dir) = (FakeGmond::serving_now(cluster("lab")), plugins_dir());
    let sendmail = dir.path().join("sendmail");
    put(
        dir.path(),
        "sendmail",
        &format!(
            "#!/bin/sh\nhead -c 200000 /dev/zero >&2\n{{ echo \"ARGS $*\"; cat; }} >>{}/mails\n",
            dir.path().display()
        ),
    );
    let http = util::free_port();
    let daemon = Launch::ours()
        .line(format!("http_port {http}"))
        .source("a source", 1, source.address())
        .line("plugins_dir /nonexistent-directory-of-plugins")
        .line(format!(
            "alert {{\n toaddress root@localhost\n fromaddress gmetad@localhost\n sendmailpath {}\n \
             metricrule load_one \"$val > 2\" \"load is too high\"\n}}",
            sendmail.display()
        ))
        .start();
    let mails = || fs::read_to_string(dir.path().join("mails")).unwrap_or_default();
    util::wait_until("the mail", util::SOON * 2, || mails().contains("load is too high"));
    let first = mails();
    assert!(first.contains("To: root@localhost") && first.contains("n1") && first.contains("lab"), "{first}");
    assert!(String::from_utf8(daemon.query("/status")).unwrap().contains("\"alert\""));
    let metrics = metrics(http);
    assert!(metrics.contains("gmetad_alert_active 2"), "{metrics}");
    assert!(metrics.contains("gmetad_alert_firing{rule=\""), "{metrics}");
}
