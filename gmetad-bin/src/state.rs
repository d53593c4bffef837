//! Where the tree is saved.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use gmetad_core::conf::Config;
use gmetad_core::daemon::Builder;
use gmetad_core::limits;

/// Where it is without `state_dir`, if that can be written.
const USUAL: &str = "/var/lib/gmetad";
/// The daemon's own directory in the RRD root; the RRD store has its journal there.
const IN_RRDS: &str = ".gmetad";
/// Seconds between saves, for tests.
const INTERVAL: &str = "GMETAD_TEST_STATE_SECONDS";

/// The directories to try, best first. Each daemon of a machine has one of its own, told apart by its port.
fn places(config: &Config) -> Vec<PathBuf> {
    let own = format!("tree-{}", config.xml_port);
    match &config.state_dir {
        Some(dir) => vec![dir.join(own)],
        None => {
            let hidden = config.write_rrds.then(|| config.rrd_rootdir.join(IN_RRDS).join(&own));
            [Path::new(USUAL).join(&own)].into_iter().chain(hidden).collect()
        }
    }
}

/// What `--check` says about it; a comment of gmetad.conf. Nothing is made, and who will run the daemon is not known.
pub(crate) fn describe(config: &Config) -> String {
    let places: Vec<_> = places(config).iter().map(|place| place.display().to_string()).collect();
    let otherwise = if config.state_dir.is_some() { "nowhere (an error)" } else { "nowhere" };
    format!("# the tree is saved in {}, or, if that cannot be written, {otherwise}\n", places.join(", or "))
}

/// Has the daemon save its tree where it can, as the user it is now.
pub(crate) fn save(builder: Builder, config: &Config) -> Builder {
    let mut tried = Vec::new();
    let place = places(config).into_iter().find(|place| match make_in_time(place) {
        Ok(()) => true,
        Err(error) => {
            tried.push(format!("{}: {error}", place.display()));
            false
        }
    });
    let Some(place) = place else {
        let tried = tried.join("; ");
        if config.state_dir.is_some() {
            log::error!("state_dir: {tried}: the tree is not saved; our user must be able to write there");
        } else {
            log::info!("the tree is not saved: {tried}; state_dir can name another place");
        }
        return builder;
    };
    log::debug!("the tree is saved in {}", place.display());
    let seconds = std::env::var(INTERVAL).ok().and_then(|text| text.parse().ok()).filter(|n| *n > 0.0);
    let builder = builder.state_dir(place);
    match seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()) {
        Some(interval) => builder.state_interval(interval),
        None => builder,
    }
}

/// Does that on a thread of its own: a disk that hangs must not keep the daemon from starting.
fn make_in_time(place: &Path) -> io::Result<()> {
    let (sender, result) = mpsc::channel();
    let place = place.to_owned();
    thread::Builder::new().name("state-probe".to_owned()).spawn(move || {
        let _ = sender.send(make(&place));
    })?;
    let hangs = |_| Err(io::Error::new(io::ErrorKind::TimedOut, "the disk does not answer"));
    result.recv_timeout(limits::STATE_IDLE).unwrap_or_else(hangs)
}

/// Makes the directory, readable by us alone, and finds out whether files can be made in it.
fn make(place: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(place)?;
    let probe = place.join("probe~");
    File::create(&probe)?;
    fs::remove_file(&probe)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::expect_used, reason = "a test fails by panicking")]

    use gmetad_core::conf::MemoryLoader;

    use super::*;

    fn of(lines: &str) -> Vec<String> {
        let conf = format!("data_source x localhost\nxml_port 7\nrrd_rootdir /r\n{lines}\n");
        let config = Config::parse_str(&conf, "test", &MemoryLoader::default()).expect("a configuration");
        places(&config).iter().map(|place| place.display().to_string()).collect()
    }

    #[test]
    fn each_configuration_has_its_places() {
        assert_eq!(of(""), ["/var/lib/gmetad/tree-7", "/r/.gmetad/tree-7"]);
        assert_eq!(of("write_rrds off"), ["/var/lib/gmetad/tree-7"]);
        assert_eq!(of("state_dir /s"), ["/s/tree-7"]);
    }

    #[test]
    fn a_place_that_cannot_be_made_is_an_error() {
        let dir = tempfile::tempdir().expect("a directory");
        make(&dir.path().join("a/b")).expect("made");
        assert_eq!(fs::read_dir(dir.path().join("a/b")).expect("there").count(), 0, "nothing stays in it");
        fs::write(dir.path().join("file"), "").expect("written");
        make(&dir.path().join("file/b")).expect_err("below a file");
    }
}
