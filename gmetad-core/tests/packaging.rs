//! The sample file and the man page in `packaging/` are those of the table of directives.
//!
//! `UPDATE=1 cargo test -p gmetad-core --test packaging` writes them anew.
#![allow(clippy::expect_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;

use gmetad_core::conf::{Config, MemoryLoader, man_page, sample_conf};

fn is_current(name: &str, text: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging").join(name);
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&file, text).expect("packaging/ can be written");
    }
    let there = fs::read_to_string(&file).unwrap_or_default();
    assert!(there == text, "packaging/{name} is old: UPDATE=1 cargo test -p gmetad-core --test packaging");
}

#[test]
fn sample_and_man_page_are_those_of_the_table() {
    is_current("gmetad.conf", &sample_conf());
    is_current("gmetad.conf.5", &man_page());
    Config::parse_str(&sample_conf(), "gmetad.conf", &MemoryLoader::default()).expect("the sample is a configuration");
}
