//! What tests that run programs share.
#![allow(dead_code, unreachable_pub)] // each test file uses some of it

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use gmetad_agents::Installed;
use gmetad_core::agent::{Context, Place};
use gmetad_core::source::Stop;

/// Says that `test` (or a part of it) was not run, and why. `scripts/test` collects these lines and, in CI, fails on any.
pub fn left_out(test: &str, why: &str) {
    let line = format!("left out: {test}: {why}");
    println!("{line}");
    if let Some(path) = std::env::var_os("GMETAD_TEST_LEFT_OUT") {
        let mut file =
            fs::OpenOptions::new().create(true).append(true).open(path).expect("GMETAD_TEST_LEFT_OUT is writable");
        writeln!(file, "{line}").expect("GMETAD_TEST_LEFT_OUT is writable");
    }
}

pub fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

/// A context with that much time.
pub fn within(seconds: f64) -> Context {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    Context { now: now as i64, deadline: Duration::from_secs_f64(seconds), stop: Stop::default() }
}

/// An agent of that kind, with a place below `root`.
pub fn agent(kind: &str, keys: &str, root: &Path) -> Installed {
    let kind = gmetad_agents::kind::find(kind).unwrap();
    let mut installed = (kind.build)("test", keys.parse().unwrap()).unwrap();
    let place = Place {
        state: root.join("stats/test/.state"),
        root: root.to_owned(),
        period: Duration::from_secs(30),
        ..Place::default()
    };
    installed.agent.init_data(&place);
    installed
}

/// An executable in `<root>/bin`.
pub fn script(root: &Path, name: &str, text: &str) -> PathBuf {
    let path = root.join("bin").join(name);
    fs::create_dir_all(root.join("bin")).unwrap();
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}
