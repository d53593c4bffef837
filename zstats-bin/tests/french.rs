//! Every text for people has a French one, with as many places for arguments.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use gmetad_agents::config::KEYS;
use gmetad_agents::kind;
use gmetad_agents::lang::Lang;

fn sources(dir: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, into);
        } else if path.extension().is_some_and(|ending| ending == "rs") && !path.ends_with("tests.rs") {
            into.push(path);
        }
    }
}

/// The string literals that follow `opening`, as the compiler reads them.
fn literals<'t>(text: &'t str, opening: &'t str) -> impl Iterator<Item = String> + 't {
    text.split(opening).skip(1).filter_map(|rest| {
        let mut chars = rest.trim_start().strip_prefix('"')?.chars().peekable();
        let mut literal = String::new();
        loop {
            match chars.next()? {
                '"' => return Some(literal),
                '\\' => match chars.next()? {
                    'n' => literal.push('\n'),
                    '\n' => while chars.next_if(|char| char.is_whitespace()).is_some() {},
                    other => literal.push(other),
                },
                other => literal.push(other),
            }
        }
    })
}

#[test]
fn nothing_is_left_in_english() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    sources(&here.join("src"), &mut files);
    sources(&here.join("../gmetad-agents/src"), &mut files);
    let mut templates = BTreeSet::new();
    for file in files.iter().filter(|file| !file.to_string_lossy().contains("/lang/")) {
        let text = fs::read_to_string(file).unwrap();
        let code = text.split("#[cfg(test)]").next().unwrap();
        let code: String = code
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"))
            .map(|line| line.to_owned() + "\n")
            .collect();
        for opening in ["message!(", "lang.text("] {
            templates.extend(literals(&code, opening).map(|literal| (literal, file.clone())));
        }
    }
    let here = PathBuf::from("kinds and keys");
    templates.extend(KEYS.iter().map(|key| (key.about.to_owned(), here.clone())));
    templates
        .extend(kind::all().flat_map(|kind| [kind.about, kind.section]).map(|text| (text.to_owned(), here.clone())));
    assert!(templates.len() > 200, "{}", templates.len());
    let mut missing = Vec::new();
    for (english, file) in &templates {
        // Without a word there is nothing to translate; what is the same in both languages stands in the catalogue as such.
        let words = english.replace("{}", "");
        if words.chars().any(char::is_alphabetic) {
            match Lang::French.find(english) {
                None => missing.push(format!("{}: {english:?}", file.display())),
                Some(french) => assert_eq!(english.matches("{}").count(), french.matches("{}").count(), "{english:?}"),
            }
        }
    }
    assert!(missing.is_empty(), "not in the French catalogue:\n{}", missing.join("\n"));
}
