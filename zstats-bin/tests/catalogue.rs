//! Every text for people has a French one, with as many places for arguments, and nothing else is said.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use gmetad_agents::config::KEYS;
use gmetad_agents::kind;
use gmetad_agents::lang::Lang;
use gmetad_agents::said::of_crates;

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

/// The code of these directories, without comments and tests.
fn code(directories: &[&str]) -> Vec<(PathBuf, String)> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    directories.iter().for_each(|directory| sources(&here.join(directory), &mut files));
    let code = files.into_iter().map(|file| {
        let text = fs::read_to_string(&file).unwrap();
        let code = text.split("#[cfg(test)]\nmod tests").next().unwrap();
        let code = code.lines().filter(|line| !line.trim_start().starts_with("//"));
        (file, code.map(|line| line.to_owned() + "\n").collect())
    });
    code.collect()
}

/// The program's own.
fn own() -> Vec<(PathBuf, String)> {
    let mut all = code(&["src", "../gmetad-agents/src"]);
    all.retain(|(file, _)| !file.to_string_lossy().contains("/lang/"));
    all
}

#[test]
fn every_template_is_in_the_catalogue() {
    let own = own();
    let mut templates = BTreeSet::new();
    for (file, code) in &own {
        for opening in ["message!(", "lang.text(", "said(", "heading("] {
            templates.extend(literals(code, opening).map(|literal| (literal, file.clone())));
        }
    }
    let here = PathBuf::from("kinds and keys");
    templates.extend(KEYS.iter().map(|key| (key.about.to_owned(), here.clone())));
    templates
        .extend(kind::all().flat_map(|kind| [kind.about, kind.section]).map(|text| (text.to_owned(), here.clone())));
    assert!(templates.len() > 500, "{}", templates.len());
    let mut missing = Vec::new();
    for (english, file) in &templates {
        // Without a word or a mark there is nothing to translate; what is the same in both languages stands in the catalogue as such.
        let words = english.replace("{}", "");
        if words.contains(|char: char| char.is_alphabetic() || ":;\"".contains(char)) {
            match Lang::French.find(english) {
                None => missing.push(format!("{}: {english:?}", file.display())),
                Some(french) => assert_eq!(english.matches("{}").count(), french.matches("{}").count(), "{english:?}"),
            }
        }
    }
    assert!(missing.is_empty(), "not in the French catalogue:\n{}", missing.join("\n"));
}

#[test]
fn no_other_text_reaches_people() {
    let mut wrong = Vec::new();
    for (file, code) in own() {
        let mut complain = |what: &str| wrong.push(format!("{}: {what}", file.display()));
        // What others say is said by `Said`, or quoted.
        for (at, _) in code.match_indices("error.to_string()") {
            // The process that draws is asked by this program, not by people.
            let is_known = ["quoted(&", "fail(1, &"].iter().any(|before| code[..at].ends_with(before));
            if !is_known && !file.to_string_lossy().contains("/said/") {
                complain(code[..at].lines().last().unwrap_or_default());
            }
        }
        for level in ["error", "warn", "info", "debug"] {
            let opening = format!("log::{level}!(");
            literals(&code, &opening)
                .filter(|literal| literal.contains(char::is_alphabetic))
                .for_each(|it| complain(&it));
        }
        for opening in ["println!(", "eprint!("] {
            let named = literals(&code, opening).map(|literal| literal.replace("z_stats: ", "").replace("{text}", ""));
            named.filter(|literal| literal.contains(char::is_alphabetic)).for_each(|it| complain(&it));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_the_server_and_the_log_say_is_known() {
    let mut texts = BTreeSet::new();
    for (file, code) in code(&["../gmetad-http/src", "../gmetad-process/src"]) {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        // Status pages are gmetad's.
        if matches!(&*name, "status.rs" | "pages.rs" | "service.rs") {
            continue;
        }
        for level in ["error", "warn", "info"] {
            texts.extend(literals(&code, &format!("log::{level}!(")));
        }
        for status in ["400", "401", "403", "404", "405", "411", "413", "421", "429", "431", "500", "503"] {
            texts.extend(literals(&code, &format!("Response::text({status}, ")));
            texts.extend(literals(&code, &format!("Response::text({status}, format!(")));
        }
        texts.extend(literals(&code, "let text = format!("));
    }
    texts.remove("Basic realm=\"{}\", charset=\"UTF-8\"");
    assert!(texts.len() > 12, "{texts:?}");
    for text in texts {
        // Something for each argument.
        let sample: String = text
            .split('{')
            .enumerate()
            .map(|(at, part)| if at == 0 { part.to_owned() } else { format!("7{}", part.split_once('}').unwrap().1) })
            .collect();
        let said = of_crates(&sample).unwrap_or_else(|| panic!("not known: {sample:?}"));
        assert_ne!(Lang::French.message(&said), sample);
    }
}
