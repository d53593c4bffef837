//! The manual pages in `packaging/` are those of the table of options, and docs/zstats.md has all options and keys.
//!
//! `UPDATE=1 cargo test -p zstats-bin --test packaging` writes the manual pages anew.
#![allow(clippy::expect_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;
use std::process::Command;

fn output(args: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_z_stats")).args(args).env("LC_ALL", "C").output().expect("it runs");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

fn file(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name)
}

#[test]
fn the_manual_pages_are_those_of_the_table() {
    for (lang, name) in [("en", "packaging/z_stats.8"), ("fr", "packaging/z_stats.fr.8")] {
        let text = output(&["--man", "--lang", lang]);
        let file = file(name);
        if std::env::var_os("UPDATE").is_some() {
            fs::write(&file, &text).expect("packaging/ can be written");
        }
        let there = fs::read_to_string(&file).unwrap_or_default();
        assert!(there == text, "{name} is old: UPDATE=1 cargo test -p zstats-bin --test packaging");
    }
}

#[test]
fn the_docs_have_every_option_and_every_key() {
    let docs = fs::read_to_string(file("docs/zstats.md")).expect("docs/zstats.md");
    let help = output(&["--help"]);
    let options = help.split_whitespace().filter(|word| word.starts_with("--") && word.len() > 3);
    for option in options.map(|word| word.trim_end_matches([',', '.'])) {
        assert!(docs.contains(&format!("`{option}")), "{option} is not in docs/zstats.md");
    }
    let kinds = output(&["kinds"]);
    let keys = kinds.split("\n\n").nth(1).expect("keys").lines().skip(1);
    for key in keys.filter_map(|line| line.split_whitespace().next()) {
        assert!(docs.contains(&format!("`{key}")), "{key} is not in docs/zstats.md");
    }
}

#[test]
fn the_example_of_the_docs_loads() {
    let docs = fs::read_to_string(file("docs/zstats.md")).expect("docs/zstats.md");
    let examples: Vec<&str> = docs.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(examples.iter().any(|example| example.contains("[[agent]]")));
    for example in examples.into_iter().filter(|example| example.contains("[[agent]]")) {
        let dir = tempfile::tempdir().expect("a directory");
        let agents = dir.path().join("example.agent");
        let facts = dir.path().join("facts");
        fs::write(&agents, example).expect("written");
        fs::write(&facts, "adresse_ip_eth0=127.0.0.1\ninstall_squid=oui\nnombre_interfaces=3\n").expect("written");
        let root = dir.path().to_str().expect("UTF-8");
        let args =
            ["check", agents.to_str().expect("UTF-8"), "--root", root, "--facts", facts.to_str().expect("UTF-8")];
        let output = Command::new(env!("CARGO_BIN_EXE_z_stats")).args(args).env("LC_ALL", "C").output().expect("runs");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(text.contains(" 0 errors"), "{text}");
    }
}
