//! What bounds an executable plugin, with the real program: its user, its limits, its process group.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

#[allow(dead_code, unreachable_pub, missing_docs, reason = "each test program uses a part of the helpers")]
mod util;

use std::fs;
use std::path::Path;
use std::process::Command;

use util::daemon::{Gmetad, Launch};
use util::fake_gmond::FakeGmond;
use util::plugins::{SINK, cluster, directory, figure, left_out, put, status, wait_log};

/// A sink in Python; `AT` is what it does at a cluster.
const PYTHON: &str = r#"#!/usr/bin/env python3
import json, sys
kept = []
for line in sys.stdin:
    message = json.loads(line)
    if message["type"] == "hello":
        print('{"type":"hello","protocol":1,"detail":"summary"}', flush=True)
        continue
    if message["type"] == "cluster":
        AT
    print(json.dumps({"type": "ok", "id": message.get("id")}), flush=True)
"#;

fn launch(source: &FakeGmond, dir: &Path) -> Launch {
    Launch::ours().source("a source", 1, source.address()).line(format!("plugins_dir \"{}\"", dir.display()))
}

fn source() -> FakeGmond {
    FakeGmond::serving_now(cluster("lab", "3.00"))
}

/// Waits until the plugin `good` has taken `count` more transactions; the source must not have been missed once.
fn wait_good(daemon: &Gmetad, count: u64) {
    let goal = figure(daemon, "good", "transactions").unwrap_or(0) + count;
    util::wait_until("the good plugin goes on", util::SOON * 2, || {
        figure(daemon, "good", "transactions") >= Some(goal)
    });
    let source = &status(daemon)["sources"][0];
    assert_eq!((&source["state"], &source["failures"]), (&"up".into(), &0.into()), "{source}");
    let last = source["last_poll"].as_u64().unwrap();
    assert!(last + 5 > util::now(), "polled lately: {source}");
}

/// What the program `id` says.
fn id(args: &[&str]) -> String {
    let output = Command::new("id").args(args).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn plugin_user_is_who_runs_it() {
    if left_out("plugin_user_is_who_runs_it") {
        return;
    }
    if !util::is_root() {
        return util::left_out("plugin_user_is_who_runs_it", "only root can start programs as another user");
    }
    let (source, dir) = (source(), directory());
    let who = format!("#!/bin/sh\necho \"uid $(id -u), groups $(id -G), in $(pwd)\" >&2\n{SINK}");
    put(dir.path(), "other.sh", &who);
    put(dir.path(), "same.sh", &who);
    put(dir.path(), "unknown.sh", &who);
    put(dir.path(), "good.sh", &format!("#!/bin/sh\n{SINK}"));
    let daemon = launch(&source, dir.path())
        .line("other {\n plugin_user nobody\n}")
        .line("unknown {\n plugin_user no-such-user-here\n}")
        .start();
    let (uid, group) = (id(&["-u", "nobody"]), id(&["-g", "nobody"]));
    wait_log(&daemon, &format!("plugin other: uid {uid}, groups {group}, in /"));
    wait_log(&daemon, &format!("plugin same: uid 0, groups {}, in /", id(&["-G"])));
    wait_log(&daemon, "plugin unknown: ");
    let log = daemon.log();
    let refused = log.lines().find(|line| line.contains("plugin unknown: ")).unwrap();
    for part in
        ["unknown.sh is not run: ", "gmetad.conf: line ", "plugin_user: no user \"no-such-user-here\"; create it"]
    {
        assert!(refused.contains(part), "{part}: {refused}");
    }
    wait_good(&daemon, 3);
    assert!(figure(&daemon, "other", "transactions") >= Some(1), "another user's plugin works like any");
    assert_eq!(figure(&daemon, "unknown", "transactions"), None);
}

#[test]
fn plugin_user_is_for_root() {
    if left_out("plugin_user_is_for_root") {
        return;
    }
    let (source, dir) = (source(), directory());
    put(dir.path(), "good.sh", &format!("#!/bin/sh\n{SINK}"));
    put(dir.path(), "other.sh", &format!("#!/bin/sh\n{SINK}"));
    let launch = launch(&source, dir.path()).line("other {\n plugin_user root\n}");
    let daemon = if util::is_root() { launch.by_nobody().start() } else { launch.start() };
    let user = if util::is_root() { "nobody".to_owned() } else { id(&["-un"]) };
    wait_log(
        &daemon,
        &format!(
            "plugin_user: the daemon runs as {user} and cannot start a program as root; remove the line, or run the \
             daemon as root (setuid off)"
        ),
    );
    wait_good(&daemon, 3);
    assert_eq!(figure(&daemon, "other", "transactions"), None);
}

#[test]
fn who_passes_a_limit_is_named_and_started_again() {
    if left_out("who_passes_a_limit_is_named_and_started_again") {
        return;
    }
    let (source, dir) = (source(), directory());
    put(dir.path(), "memory.py", &PYTHON.replace("AT", "kept.append(b'x' * (1 << 30))"));
    put(dir.path(), "files.py", &PYTHON.replace("AT", "kept.extend([open('/dev/null') for _ in range(1000)])"));
    put(dir.path(), "spins.sh", &format!("#!/bin/sh\n{}", SINK.replace("rest=", "while :; do :; done; rest=")));
    put(dir.path(), "good.sh", &format!("#!/bin/sh\n{SINK}"));
    let daemon = launch(&source, dir.path())
        .line("memory {\n plugin_memory 300\n}")
        .line("files {\n plugin_files 30\n}")
        .line("spins {\n plugin_cpu 1\n}")
        .start();
    // Each does what it should not at its first transaction, every time.
    let ends = [("memory", "exit status 1"), ("files", "exit status 1"), ("spins", "signal SIGXCPU")];
    for rest in [1, 2] {
        for (name, how) in ends {
            wait_log(
                &daemon,
                &format!(
                    "plugin {name}: it ended ({how}); look at what it wrote before; it is started again in {rest} s"
                ),
            );
        }
    }
    wait_log(&daemon, "plugin memory: MemoryError");
    wait_log(&daemon, "plugin files: OSError: [Errno 24] Too many open files");
    wait_good(&daemon, 3);
    for (name, _) in ends {
        assert!(figure(&daemon, name, "failures") >= Some(2), "{name}");
        assert_eq!(figure(&daemon, name, "transactions"), Some(0), "{name}");
    }
    assert_eq!(figure(&daemon, "good", "failures"), Some(0));
    assert_eq!(figure(&daemon, "good", "dropped"), Some(0));
}

#[test]
fn what_a_plugin_started_ends_with_it() {
    if left_out("what_a_plugin_started_ends_with_it") {
        return;
    }
    let (source, dir) = (source(), directory());
    let pids = dir.path().join("pids");
    // One child holds its pipes, one does not and cannot be asked to end. It ends itself at its second transaction.
    let forks = format!(
        "#!/bin/sh\nsleep 3000 & echo $! >>{0}\n(trap '' TERM; exec sleep 3000 </dev/null >/dev/null 2>&1) & echo $! >>{0}\n{1}",
        pids.display(),
        SINK.replace("rest=", "[ -z \"$seen\" ] || exit 5; seen=1; rest=")
    );
    put(dir.path(), "forks.sh", &forks);
    put(dir.path(), "good.sh", &format!("#!/bin/sh\n{SINK}"));
    let mut daemon = launch(&source, dir.path()).start();
    let children = || -> Vec<u32> {
        fs::read_to_string(&pids).unwrap_or_default().lines().map(|pid| pid.parse().unwrap()).collect()
    };
    wait_log(&daemon, "plugin forks: it ended (exit status 5); ");
    util::wait_until("its third start", util::SOON * 2, || children().len() >= 6);
    let before = &children()[..4];
    util::wait_until("the end of the first four", util::SOON, || before.iter().all(|pid| !util::alive(*pid)));
    wait_good(&daemon, 2);
    let took = daemon.end_by("TERM");
    assert!(took < util::SOON / 4, "{took:?}");
    let all = children();
    util::wait_until("the end of all", util::SOON, || all.iter().all(|pid| !util::alive(*pid)));
}
