//! RRD files as the program rrdtool sees them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Every directory (with a slash at its end) and file below `root`, relative to it.
pub fn tree(root: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut todo = vec![root.to_owned()];
    while let Some(directory) = todo.pop() {
        for entry in fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            let is_directory = path.symlink_metadata().unwrap().is_dir();
            let relative = path.strip_prefix(root).unwrap().to_string_lossy().into_owned();
            found.insert(if is_directory { format!("{relative}/") } else { relative });
            if is_directory {
                todo.push(path);
            }
        }
    }
    found
}

/// `rrdtool info`, without the file's name and without `cur_row`, which librrd picks at random when it creates a file.
pub fn info(file: &Path) -> BTreeMap<String, String> {
    let text = rrdtool(&["info", file.to_str().unwrap()]);
    let pairs = text.lines().filter_map(|line| line.split_once(" = "));
    pairs
        .filter(|(key, _)| *key != "filename" && !key.ends_with(".cur_row"))
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

/// `rrdtool fetch AVERAGE` at the finest resolution: time to one value a data source.
pub fn fetch(file: &Path, start: u64, end: u64) -> BTreeMap<u64, Vec<f64>> {
    let (start, end) = (start.to_string(), end.to_string());
    rows(&rrdtool(&["fetch", file.to_str().unwrap(), "AVERAGE", "-s", &start, "-e", &end]))
}

/// [`fetch`] from many files by one rrdtool.
pub fn fetch_all(files: &[PathBuf], start: u64, end: u64) -> Vec<BTreeMap<u64, Vec<f64>>> {
    let mut child = Command::new("rrdtool")
        .arg("-")
        .env("LC_ALL", "C")
        .env_remove("RRDCACHED_ADDRESS")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("rrdtool runs (Debian package rrdtool)");
    let lines: String =
        files.iter().map(|file| format!("fetch \"{}\" AVERAGE -s {start} -e {end}\n", file.display())).collect();
    let mut input = child.stdin.take().unwrap();
    let writer = std::thread::spawn(move || input.write_all(lines.as_bytes()));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(!text.contains("ERROR:"), "{}", text.lines().find(|line| line.contains("ERROR:")).unwrap());
    // Each answer ends with such a line.
    let mut answers: Vec<_> =
        text.split("OK u:").map(|answer| answer.split_once('\n').map_or("", |(_, rest)| rest)).collect();
    answers.pop();
    assert_eq!(answers.len(), files.len(), "{text}");
    answers.into_iter().map(rows).collect()
}

fn rows(text: &str) -> BTreeMap<u64, Vec<f64>> {
    let rows = text.lines().filter_map(|line| line.split_once(':'));
    rows.map(|(time, values)| {
        let values = values.split_whitespace().map(|value| value.parse().unwrap_or(f64::NAN)).collect();
        (time.trim().parse().unwrap(), values)
    })
    .collect()
}

/// The keys in which two [`info`]s differ, a line each.
pub fn info_differences(
    ours: &BTreeMap<String, String>,
    c: &BTreeMap<String, String>,
) -> Vec<(String, String, String)> {
    let keys: BTreeSet<_> = ours.keys().chain(c.keys()).collect();
    let get =
        |map: &BTreeMap<String, String>, key: &String| map.get(key).cloned().unwrap_or_else(|| "(missing)".to_owned());
    let all = keys.into_iter().map(|key| (key.clone(), get(ours, key), get(c, key)));
    all.filter(|(_, ours, c)| ours != c).collect()
}

/// True if two rows hold the same numbers; unknown is equal to unknown.
pub fn same_row(ours: &[f64], c: &[f64]) -> bool {
    let same = |(a, b): (&f64, &f64)| (a.is_nan() && b.is_nan()) || (a - b).abs() <= 1e-9 * a.abs().max(1.0);
    ours.len() == c.len() && ours.iter().zip(c).all(same)
}

fn rrdtool(arguments: &[&str]) -> String {
    let output = Command::new("rrdtool").args(arguments).env("LC_ALL", "C").env_remove("RRDCACHED_ADDRESS").output();
    let output = output.expect("rrdtool runs (Debian package rrdtool)");
    assert!(output.status.success(), "rrdtool {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}
