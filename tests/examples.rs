//! The examples that need no network run, and say what they are to say.

use std::process::Command;

fn run(example: &str) -> String {
    // `cargo test` builds the examples before the tests, beside them.
    let mut path = std::env::current_exe().expect("a path");
    path.pop();
    path.pop();
    let output = Command::new(path.join("examples").join(example)).output().expect("cargo has built it");
    assert!(output.status.success(), "{example}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn plugin() {
    let said = run("plugin");
    assert!(said.starts_with("synthetic: mean load ") && said.contains("over 50 hosts"), "{said}");
}

#[test]
fn the_page_of_plugins_has_the_example() {
    let read =
        |path: &str| std::fs::read_to_string(format!("{}/{path}", env!("CARGO_MANIFEST_DIR"))).expect("it is there");
    let (page, example) = (read("docs/plugins.md"), read("examples/plugin.rs"));
    let block = page.split("```rust\n").nth(1).and_then(|rest| rest.split("```").next()).expect("a block of Rust");
    assert!(example.contains(block), "docs/plugins.md and examples/plugin.rs differ");
}

#[test]
fn memory_source() {
    assert!(!run("memory_source").is_empty());
}

#[test]
fn subscribe() {
    assert!(!run("subscribe").is_empty());
}

#[test]
fn agent() {
    assert!(!run("agent").is_empty());
}
