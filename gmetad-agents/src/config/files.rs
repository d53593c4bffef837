//! Files of the configuration, read with bounds and without waiting for anybody.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use gmetad_core::agent::Message;
use gmetad_core::message;
use nix::fcntl::OFlag;

use crate::said::Said;

/// Longest file, in bytes: a thousand agents of a thousand bytes.
pub(super) const BYTES: u64 = 1 << 20;
/// Most files of a directory that are read.
pub(super) const FILES: usize = 1000;
/// Most names of a directory that are looked at.
const NAMES: usize = 100_000;

/// The bytes of a regular file, or what is wrong with it.
pub(super) fn bytes(path: &Path) -> Result<Vec<u8>, Message> {
    // Not to wait for who writes into a FIFO.
    let file = File::options().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path).map_err(|error| {
        match fs::read_link(path) {
            Ok(target) if error.kind() == std::io::ErrorKind::NotFound => {
                message!(
                    "it is a link to {}, which is not there; remove the link or mend it",
                    target.display().to_string()
                )
            }
            _ => message!("cannot be read: {}", error.said()),
        }
    })?;
    let failed = |error: std::io::Error| message!("cannot be read: {}", error.said());
    if !file.metadata().map_err(failed)?.is_file() {
        return Err(message!("is not a regular file; remove it from this directory"));
    }
    let mut bytes = Vec::new();
    file.take(BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > BYTES {
        return Err(message!(
            "is longer than {} bytes; this is no configuration of agents, or it has to be split",
            BYTES
        ));
    }
    Ok(bytes)
}

/// The text of a regular file.
pub(super) fn text(path: &Path) -> Result<String, Message> {
    String::from_utf8(bytes(path)?).map_err(|error| {
        let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = valid.iter().filter(|byte| **byte == b'\n').count() + 1;
        message!("is not UTF-8 in line {}; `iconv -f ISO-8859-1 -t UTF-8` converts what older editors wrote", line)
    })
}

/// The files of a directory with one of these endings, in the order of their names; none where there is no such directory.
/// Names that begin with a dot do not count. The second part: how many were too many.
pub(super) fn list(dir: &Path, endings: &[&str]) -> Result<(Vec<PathBuf>, usize), Message> {
    let failed = |error: std::io::Error| message!("cannot be read: {}", error.said());
    let names = match fs::read_dir(dir) {
        Ok(names) => names,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok((Vec::new(), 0)),
        Err(error) => return Err(failed(error)),
    };
    let mut files = Vec::new();
    for name in names.take(NAMES) {
        let name = name.map_err(failed)?.file_name();
        let bytes = name.as_encoded_bytes();
        if !bytes.starts_with(b".") && endings.iter().any(|ending| bytes.ends_with(ending.as_bytes())) {
            files.push(dir.join(name));
        }
    }
    files.sort();
    let more = files.len().saturating_sub(FILES);
    files.truncate(FILES);
    Ok((files, more))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use nix::sys::stat::Mode;

    use super::*;

    #[test]
    fn whatever_lies_there_is_named_and_nothing_hangs() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        nix::unistd::mkfifo(&at("fifo.agent"), Mode::S_IRWXU).unwrap();
        fs::create_dir(at("dir.agent")).unwrap();
        symlink("/nowhere/x", at("link.agent")).unwrap();
        File::create(at("big.agent")).unwrap().set_len(1 << 30).unwrap();
        fs::write(at("latin.agent"), b"# one\n# caf\xe9\n").unwrap();
        fs::write(at("good.toml"), "x").unwrap();
        fs::write(at(".hidden.agent"), "x").unwrap();
        fs::write(at("backup.agent~"), "x").unwrap();
        let (files, more) = list(dir.path(), &[".agent", ".toml"]).unwrap();
        let said: Vec<_> = files
            .iter()
            .map(|path| {
                let said = text(path).unwrap_or_else(|error| error.to_string());
                format!("{}: {}", path.file_name().unwrap().to_str().unwrap(), said)
            })
            .collect();
        assert_eq!(more, 0);
        for (line, start) in said.iter().zip([
            "big.agent: is longer than 1048576 bytes",
            "dir.agent: is not a regular file",
            "fifo.agent: is not a regular file",
            "good.toml: x",
            "latin.agent: is not UTF-8 in line 2",
            "link.agent: it is a link to /nowhere/x",
        ]) {
            assert!(line.starts_with(start), "{line}");
        }
        assert_eq!(said.len(), 6);
        assert_eq!(list(&at("missing"), &[".agent"]).unwrap(), (Vec::new(), 0));
        assert!(list(&at("good.toml"), &[".agent"]).is_err());
    }
}
