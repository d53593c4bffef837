//! Plugins of a daemon under test.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::Value;

use super::daemon::{Gmetad, under_test_is_c};
use super::{document, net};

/// A sink in sh that takes summaries. What it does at a cluster begins with `rest=`, once.
pub const SINK: &str = r#"
while IFS= read -r line; do
  case $line in
  '{"type":"hello"'*) echo '{"type":"hello","protocol":1,"detail":"summary"}' ;;
  '{"type":"cluster"'*) rest=${line#*'"id":'}; echo "{\"type\":\"ok\",\"id\":${rest%%,*}}" ;;
  *) echo '{"type":"ok"}' ;;
  esac
done
"#;

/// Says that `test` is left out if the program under test is the C gmetad.
pub fn left_out(test: &str) -> bool {
    if under_test_is_c() {
        super::left_out(test, "the C gmetad has no plugins");
    }
    under_test_is_c()
}

/// A directory that only we may write to.
pub fn directory() -> tempfile::TempDir {
    let dir = tempfile::Builder::new().prefix("gmetad-plugins-").tempdir().unwrap();
    fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
    dir
}

/// Writes an executable.
pub fn put(dir: &Path, name: &str, text: &str) {
    // Whole and executable at once: the daemon may look at any time.
    let aside = dir.join(format!(".{name}"));
    fs::write(&aside, text).unwrap();
    fs::set_permissions(&aside, Permissions::from_mode(0o755)).unwrap();
    fs::rename(aside, dir.join(name)).unwrap();
}

/// What `/status` says.
pub fn status(daemon: &Gmetad) -> Value {
    let answer = net::ask(daemon.interactive_port(), b"/status\n", net::After::KeepOpen).unwrap();
    let json = answer.body();
    serde_json::from_slice(json).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(json)))
}

/// What `/status` says of a plugin.
pub fn figure(daemon: &Gmetad, plugin: &str, key: &str) -> Option<u64> {
    let status = status(daemon);
    status["plugins"].as_array()?.iter().find(|of| of["name"] == plugin)?[key].as_u64()
}

/// The page `/metrics`.
pub fn metrics(port: u16) -> String {
    let request = format!("GET /metrics HTTP/1.1\r\nHost: localhost:{port}\r\nConnection: close\r\n\r\n");
    let answer = net::ask(port, request.as_bytes(), net::After::KeepOpen).unwrap();
    String::from_utf8_lossy(&answer.bytes).into_owned()
}

/// Waits until the log has this text.
pub fn wait_log(daemon: &Gmetad, text: &str) {
    super::wait_until(&format!("the log to say {text:?}"), super::SOON * 2, || daemon.log().contains(text));
}

/// A cluster of two hosts, `n1` and `n2`, with this `load_one`.
pub fn cluster(name: &str, load: &str) -> Vec<u8> {
    let metrics = document::metric("load_one", load, "float", "both")
        + &document::metric("cpu_num", "4", "uint16", "zero")
        + &document::metric("os_name", "Linux", "string", "zero");
    let now = super::now();
    let hosts: String = ["n1", "n2"].map(|host| document::host(host, now, &metrics)).concat();
    document::of_cluster(name, now, &hosts)
}
