//! `--rrd-fsck` and `--rrd-prune` on a tree that the program itself has made.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

#[allow(dead_code, unreachable_pub, missing_docs, reason = "each test program uses a part of the helpers")]
mod util;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use util::daemon::{Launch, under_test, under_test_is_c};
use util::document;
use util::fake_gmond::FakeGmond;

/// Exit status, standard output and standard error.
fn run(arguments: &[&str]) -> (i32, String, String) {
    let output = Command::new(under_test()).args(arguments).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

/// The RRD files, relative to the root.
fn files(root: &Path) -> Vec<String> {
    util::rrd::tree(root).into_iter().filter(|name| name.ends_with(".rrd")).collect()
}

#[test]
fn a_tree_is_checked_repaired_listed_and_moved() {
    if under_test_is_c() {
        return util::left_out("tools", "the C gmetad has none");
    }
    let source = FakeGmond::serving_now(document::honest("Honest", 2, 3));
    let mut daemon = Launch::ours().with_rrds().source("x", 1, source.address()).start();
    let root = daemon.rrd_root();
    util::wait_until("files are made", util::SOON, || files(&root).len() >= 12);
    let dir = root.to_str().unwrap();
    let (status, out, err) = run(&["--rrd-fsck", dir]);
    assert!((0, "") == (status, err.as_str()), "of a running daemon: {out}{err}");
    util::signal(daemon.pid(), "TERM");
    daemon.wait_exit(Duration::from_secs(10));

    let all = files(&root);
    let (status, out, err) = run(&["--rrd-fsck", dir]);
    assert!((0, "") == (status, err.as_str()), "{out}{err}");
    assert!(out.contains(&format!("{} RRD files", all.len())) && out.contains(", sum GAUGE "), "{out}");
    assert!(out.ends_with("0 problems, 0 files moved aside, 0 failures\n"), "{out}");

    let broken = all.iter().find(|name| name.starts_with("Honest/")).unwrap();
    let bytes = fs::read(root.join(broken)).unwrap();
    fs::write(root.join(broken), &bytes[..bytes.len() / 2]).unwrap();
    let (status, out, _) = run(&["--rrd-fsck", dir]);
    assert!(status == 1 && out.contains(&format!("{broken}: damaged: ")) && root.join(broken).exists(), "{out}");
    let (status, out, _) = run(&["--rrd-fsck", dir, "--repair"]);
    assert!(status == 0 && out.contains("; moved to "), "{out}");
    assert!(!root.join(broken).exists() && root.join(".gmetad/broken").join(broken).exists());
    assert_eq!(run(&["--rrd-fsck", dir]).0, 0);

    let (status, out, _) = run(&["--rrd-prune", dir, "--older-than", "1d"]);
    assert!(status == 0 && out.starts_with("0 of "), "{out}");
    std::thread::sleep(Duration::from_millis(2500));
    let left = all.len() - 1;
    let (status, out, _) = run(&["--rrd-prune", dir, "--older-than=1s"]);
    assert!(status == 0 && out.contains(&format!("{left} of {left} files")) && out.contains("/: all "), "{out}");
    assert!(all.iter().filter(|name| root.join(name).exists()).count() == left, "only listed");
    let (status, out, _) = run(&["--rrd-prune", dir, "--older-than=1s", "--move"]);
    assert!(status == 0 && out.contains(&format!("{left} moved to {dir}/.gmetad/pruned/")), "{out}");
    let names: Vec<_> = fs::read_dir(&root).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, [".gmetad"], "directories that became empty are gone");
    assert_eq!(files(&root).len(), all.len(), "nothing is lost");
}

#[test]
fn what_cannot_be_is_refused() {
    if under_test_is_c() {
        return util::left_out("tools", "the C gmetad has none");
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_str().unwrap();
    for (arguments, part) in [
        (&["--rrd-fsck", "/nonexistent/rrds"][..], "/nonexistent/rrds: cannot be read"),
        (&["--rrd-prune", path, "--older-than", "soon"], "\"soon\" is not an age"),
        (&["--rrd-prune", path, "--older-than", "90d"], "no RRD file in it"),
        (&["--rrd-prune", "/", "--older-than", "90d"], "is not a tree of RRD files"),
    ] {
        let (status, out, err) = run(arguments);
        assert!(status == 2 && err.contains(part), "{arguments:?}: {status} {out}{err}");
    }
    assert_eq!(run(&["--rrd-fsck", path]).0, 0, "an empty tree is a clean one");
    let (status, _, err) = run(&["--rrd-prune", path]);
    assert!(status == 1 && err.contains("needs `--older-than'"), "{err}");
}
