//! Trees as bad disks, killed daemons and hostile users leave them.
#![allow(clippy::unwrap_used, clippy::panic)] // in a test they are the report

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use gmetad_rrd::files::{Disk, Files};
use gmetad_rrd::tree::{self, Fsck, FsckReport, Prune, PruneReport, TreeError, fsck, prune};
use gmetad_rrd::{Backend, Cf, DsKind, NativeStore, RraSpec, Schema};

const NOW: i64 = 1_767_225_600; // 2026-01-01
const DAY: i64 = 86_400;

fn make(path: &Path, last: i64) {
    let rras = [RraSpec { cf: Cf::Average, xff: 0.5, steps: 1, rows: 10 }];
    NativeStore::new(gmetad_rrd::native::Options { sync_new: false, ..Default::default() })
        .create(path, &Schema::host(15, DsKind::Gauge, &rras), last)
        .unwrap();
}

fn tree(files: &[(&str, i64)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, age) in files {
        make(&dir.path().join(name), NOW - age);
    }
    dir
}

fn check(dir: &Path, repair: bool) -> (FsckReport, String) {
    let mut out = Vec::new();
    let report = fsck(dir, Fsck { repair, now: NOW }, &mut out).unwrap();
    (report, String::from_utf8(out).unwrap())
}

fn sweep(dir: &Path, days: u64, move_files: bool) -> Result<(PruneReport, String), TreeError> {
    let mut out = Vec::new();
    let report = prune(dir, Prune { older_than: days * DAY as u64, move_files, now: NOW }, &mut out)?;
    Ok((report, String::from_utf8(out).unwrap()))
}

/// Every file and empty directory, links not followed.
fn names(dir: &Path) -> Vec<String> {
    let (mut found, mut todo) = (Vec::new(), vec![dir.to_owned()]);
    while let Some(next) = todo.pop() {
        let entries: Vec<_> = fs::read_dir(&next).unwrap().map(|e| e.unwrap()).collect();
        if entries.is_empty() {
            found.push(format!("{}/", next.strip_prefix(dir).unwrap().display()));
        }
        for entry in entries {
            match entry.file_type().unwrap().is_dir() {
                true => todo.push(entry.path()),
                false => found.push(entry.path().strip_prefix(dir).unwrap().display().to_string()),
            }
        }
    }
    found.sort();
    found
}

/// A process id that nobody has.
fn dead() -> u32 {
    let mut child = Command::new("true").stdout(Stdio::null()).spawn().unwrap();
    child.wait().unwrap();
    child.id()
}

#[test]
fn fsck_tells_each_kind_of_damage_and_moves_what_is_broken() {
    let dir = tree(&[("c/h/good.rrd", 5), ("c/h/short.rrd", 5), ("c/h/row.rrd", 5), ("c/h/head.rrd", 5)]);
    let at = |name: &str| dir.path().join("c/h").join(name);
    let bytes = fs::read(at("good.rrd")).unwrap();
    let with = |name: &str, offset: usize, new: &[u8]| {
        let mut bytes = bytes.clone();
        bytes[offset..offset + new.len()].copy_from_slice(new);
        fs::write(at(name), bytes).unwrap();
    };
    fs::write(at("short.rrd"), &bytes[..bytes.len() - 8]).unwrap();
    with("row.rrd", bytes.len() - 88, &99u64.to_le_bytes());
    fs::write(at("head.rrd"), &bytes[..200]).unwrap();
    fs::write(at("empty.rrd"), "").unwrap();
    fs::write(at("text.rrd"), "a text").unwrap();
    with("version.rrd", 4, b"0001");
    with("hw.rrd", 248, b"HWPREDICT\0");
    make(&at("future.rrd"), NOW + DAY);
    assert!(Command::new("mkfifo").arg(at("fifo.rrd")).status().unwrap().success());
    let left = format!(".gmetad-rrd-{}-00000000deadbeef.new", dead());
    let busy = format!(".gmetad-rrd-{}-00000000deadbeef.new", std::process::id());
    fs::write(at(&left), "x").unwrap();
    fs::write(at(&busy), "x").unwrap();
    fs::write(at("notes.txt"), "x").unwrap();
    fs::create_dir_all(dir.path().join(".gmetad/broken/c/h")).unwrap();
    fs::write(dir.path().join(".gmetad/broken/c/h/text.rrd"), "an earlier one").unwrap();
    symlink("/", at("root")).unwrap();
    symlink("..", at("loop.rrd")).unwrap();

    let before = names(dir.path());
    let (report, text) = check(dir.path(), false);
    assert_eq!((report.files, report.problems, report.moved, report.failed), (9, 10, 0, 0), "{text}");
    assert_eq!((report.others, report.links, report.status()), (1, 2, 1));
    assert_eq!(report.layouts.iter().map(|(_, count)| count).sum::<u64>(), 2);
    assert_eq!(before, names(dir.path()), "nothing changed");
    for (name, part) in [
        ("short.rrd", "bytes where"),
        ("row.rrd", "current row of an archive is 99"),
        ("head.rrd", "damaged: 200 bytes"),
        ("empty.rrd", "empty"),
        ("text.rrd", "not an RRD file"),
        ("version.rrd", "\"0001\" is not supported"),
        ("hw.rrd", "needs librrd"),
        ("future.rrd", "in the future, 2026-01-02 00:00:00 UTC"),
        ("fifo.rrd", "not a regular file"),
        (&left, "killed"),
    ] {
        let line = text.lines().find(|line| line.contains(&format!("/{name}: ")));
        assert!(line.is_some_and(|line| line.contains(part)), "{name}: {part}\n{text}");
    }

    let (report, text) = check(dir.path(), true);
    assert_eq!((report.problems, report.moved, report.failed, report.status()), (10, 7, 0, 1), "{text}");
    let (report, text) = check(dir.path(), true);
    assert_eq!((report.files, report.problems, report.moved), (4, 3, 0), "{text}");
    let moved = |name: &str| dir.path().join(".gmetad/broken/c/h").join(name);
    assert_eq!(fs::read(moved("head.rrd")).unwrap(), &bytes[..200]);
    assert_eq!(fs::read(moved("text.rrd")).unwrap(), b"an earlier one");
    assert_eq!(fs::read(moved("text.rrd.1")).unwrap(), b"a text");
    assert_eq!(before.len(), names(dir.path()).len(), "nothing is lost");
    assert!(at(&busy).exists() && at("notes.txt").exists() && at("good.rrd").exists());
}

#[test]
fn prune_lists_then_moves_what_is_old_by_its_header() {
    let dir = tree(&[
        ("c/gone/a.rrd", 100 * DAY),
        ("c/gone/b.rrd", 95 * DAY),
        ("c/mixed/a.rrd", 91 * DAY),
        ("c/mixed/b.rrd", 90 * DAY),
        ("d/gone/a.rrd", 200 * DAY),
        ("d/kept/a.rrd", 200 * DAY),
        ("__SummaryInfo__/a.rrd", -DAY),
    ]);
    fs::write(dir.path().join("d/kept/a.txt"), "x").unwrap();
    fs::write(dir.path().join("c/mixed/broken.rrd"), "x").unwrap();
    fs::create_dir(dir.path().join("c/empty before")).unwrap();
    let before = names(dir.path());
    let (report, text) = sweep(dir.path(), 90, false).unwrap();
    assert_eq!((report.files, report.old, report.moved, report.status()), (8, 5, 0, 0), "{text}");
    assert_eq!(names(dir.path()), before);
    assert!(text.contains("c/gone/: all 2 files, the newest 95.0 days old"), "{text}");
    assert!(text.contains("c/mixed/a.rrd: 91.0 days old"), "{text}");
    assert!(!text.contains("b.rrd"), "{text}");

    let (report, text) = sweep(dir.path(), 90, true).unwrap();
    assert_eq!((report.old, report.moved, report.failed), (5, 5, 0), "{text}");
    let place = ".gmetad/pruned/2026-01-01";
    let mut expected = ["c/gone/a.rrd", "c/gone/b.rrd", "c/mixed/a.rrd", "d/gone/a.rrd", "d/kept/a.rrd"]
        .map(|name| format!("{place}/{name}"))
        .to_vec();
    let stays = ["__SummaryInfo__/a.rrd", "c/empty before/", "c/mixed/b.rrd", "c/mixed/broken.rrd", "d/kept/a.txt"];
    expected.extend(stays.map(str::to_owned));
    expected.sort();
    assert_eq!(names(dir.path()), expected);
    assert_eq!(sweep(dir.path(), 90, true).unwrap().0.old, 0);
}

#[test]
fn wrong_directories_are_refused() {
    let dir = tree(&[("c/h/a.rrd", 200 * DAY)]);
    fs::create_dir(dir.path().join("none")).unwrap();
    let refused = |path: &Path, move_files| sweep(path, 90, move_files).unwrap_err();
    assert!(matches!(refused(Path::new("/"), false), TreeError::Root(_)));
    assert!(matches!(refused(Path::new("/.."), false), TreeError::Root(_)));
    assert!(matches!(refused(&dir.path().join("none"), true), TreeError::Empty(_)));
    assert!(matches!(refused(&dir.path().join("missing"), false), TreeError::Look { .. }));
    assert!(matches!(refused(&dir.path().join("c/h/a.rrd"), false), TreeError::Look { .. }));
    // A part of a tree: the moved files would become a host there.
    fs::create_dir(dir.path().join(".gmetad")).unwrap();
    assert!(matches!(refused(&dir.path().join("c"), true), TreeError::Part { .. }));
    assert_eq!(sweep(&dir.path().join("c"), 90, false).unwrap().0.old, 1);
    // A link where the files would go leads them nowhere.
    let elsewhere = tempfile::tempdir().unwrap();
    symlink(elsewhere.path(), dir.path().join(".gmetad/pruned")).unwrap();
    let (report, text) = sweep(dir.path(), 90, true).unwrap();
    assert_eq!((report.moved, report.failed, report.status()), (0, 1, 1), "{text}");
    assert!(names(elsewhere.path()) == ["/"] && dir.path().join("c/h/a.rrd").exists());
}

#[test]
fn a_tree_that_a_daemon_holds_is_only_looked_at() {
    let dir = tree(&[("c/h/a.rrd", 200 * DAY), ("c/h/b.rrd", 5)]);
    fs::write(dir.path().join("c/h/b.rrd"), "broken").unwrap();
    fs::create_dir(dir.path().join(".gmetad")).unwrap();
    fs::write(dir.path().join(".gmetad/lock"), "4711\n").unwrap();
    assert_eq!(tree::tree_is_locked(dir.path()), None, "a file that nobody locks");
    let lock = Disk.open(&dir.path().join(".gmetad/lock")).unwrap();
    assert!(Disk.lock(&lock).unwrap());
    assert_eq!(tree::tree_is_locked(dir.path()).as_deref(), Some("pid 4711"));
    let before = names(dir.path());
    assert_eq!(check(dir.path(), false).0.problems, 1);
    let (report, text) = sweep(dir.path(), 90, false).unwrap();
    assert!(report.old == 1 && text.contains("warning: gmetad (pid 4711)"), "{text}");
    let refused = sweep(dir.path(), 90, true).unwrap_err();
    assert!(matches!(refused, TreeError::Locked { .. }) && refused.to_string().contains("pid 4711"), "{refused}");
    assert!(matches!(fsck(dir.path(), Fsck { repair: true, now: NOW }, Vec::new()), Err(TreeError::Locked { .. })));
    assert_eq!(before, names(dir.path()));
    Disk.unlock(&lock).unwrap(); // closing might leave it to a child that another test is starting
    assert_eq!(check(dir.path(), true).0.moved, 1);
}

#[test]
fn what_cannot_be_read_is_no_clean_bill() {
    let dir = tree(&[("c/h/a.rrd", 5), ("c/closed/b.rrd", 5)]);
    fs::set_permissions(dir.path().join("c/closed"), fs::Permissions::from_mode(0o000)).unwrap();
    if fs::read_dir(dir.path().join("c/closed")).is_ok() {
        println!("left out: root may read everything");
    } else {
        let (report, text) = check(dir.path(), false);
        assert_eq!((report.files, report.failed, report.status()), (1, 1, 2), "{text}");
        assert!(text.contains("c/closed: cannot be read"), "{text}");
    }
    fs::set_permissions(dir.path().join("c/closed"), fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn wide_and_deep_trees_and_names_of_all_kinds() {
    let dir = tree(&[("model.rrd", 5)]);
    let model = dir.path().join("model.rrd");
    for host in 0..100 {
        let host = dir.path().join(format!("c/h{host}"));
        fs::create_dir_all(&host).unwrap();
        for metric in 0..100 {
            fs::copy(&model, host.join(format!("m{metric}.rrd"))).unwrap();
        }
    }
    // Deeper than a path can be long: made and removed step by step, beyond the end of a path by a program that descends.
    let script = "i=0; while [ $i -lt 60 ]; do mkdir $0 && cd -P $0 || exit 1; i=$((i+1)); done; echo x > deep.rrd";
    let name = "d".repeat(100);
    let made = Command::new("sh").current_dir(dir.path()).args(["-c", script, &name]).status().unwrap().success();
    fs::write(dir.path().join("c/h0/line\nfeed\x1b[2J.rrd"), "x").unwrap();
    let (report, text) = check(dir.path(), false);
    assert_eq!(report.files, 10_002);
    assert_eq!(report.failed, u64::from(made), "{text}");
    assert!(text.contains("line\\nfeed\\u{1b}[2J.rrd: not an RRD file"), "{text}");
    assert_eq!(report.layouts.len(), 1);
    if made {
        assert!(Command::new("rm").arg("-rf").arg(dir.path().join(&name)).status().unwrap().success());
    }
    let here: PathBuf = dir.path().join("c/h0");
    assert_eq!(sweep(&here, 1, false).unwrap().0.files, 101);
}
