//! The pid file: decimal pid and a newline, mode 0664.
//!
//! It is locked while the daemon lives. A file that is not locked but names a living process group other than ours is
//! respected too (the C daemon does not lock); any other content is stale and replaced.
//!
//! ```
//! use gmetad_process::pidfile::PidPath;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let dir = tempfile::tempdir()?;
//! # let name = dir.path().join("gmetad.pid");
//! let path = PidPath::new(&name)?; // before a daemon leaves its directory
//! let file = path.create()?; // in the daemon, still as root
//! assert_eq!(std::fs::read_to_string(&name)?, format!("{}\n", std::process::id()));
//! drop(file);
//! assert!(!name.exists());
//! # Ok(()) }
//! ```

use std::fs::{self, File, Permissions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::libc;
use nix::unistd::{Pid, getpgid};

/// Access to the file, as the C daemon creates it.
const MODE: u32 = 0o664;

/// How often a file that vanishes under our hands is opened again.
const ATTEMPTS: u32 = 10;

/// Why there is no pid file.
#[derive(Debug, thiserror::Error)]
pub enum PidFileError {
    /// Another daemon owns it. The text is the C daemon's.
    #[error("daemon already running: {} pid {pid}", .path.display())]
    Running {
        /// The file.
        path: PathBuf,
        /// What it says.
        pid: String,
    },
    /// It cannot be written.
    #[error("cannot write pid file {}: {source}; name another with --pid-file", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

/// The name of a pid file to be, absolute, so that it survives the daemon's change of directory.
#[derive(Debug, Clone)]
pub struct PidPath(PathBuf);

impl PidPath {
    /// Makes `name` absolute; fails only for an empty name or a current directory that is gone.
    pub fn new(name: &Path) -> Result<Self, PidFileError> {
        let path = std::path::absolute(name).map_err(|source| PidFileError::Io { path: name.into(), source })?;
        Ok(PidPath(path))
    }

    /// Creates, or takes over, the file and locks it. To be called in the process whose pid it shall hold.
    pub fn create(self) -> Result<PidFile, PidFileError> {
        let path = self.0;
        match claim(&path) {
            Ok(Claim::Ours(file)) => Ok(PidFile { path, file, owner: std::process::id() }),
            Ok(Claim::Theirs(pid)) => Err(PidFileError::Running { path, pid }),
            Err(source) => Err(PidFileError::Io { path, source }),
        }
    }
}

/// A pid file held by this process. Dropping it removes the file if it is still ours.
#[derive(Debug)]
pub struct PidFile {
    path: PathBuf,
    file: File, // holds the lock
    owner: u32,
}

impl PidFile {
    /// The file's absolute name.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        if self.owner != std::process::id() || !same_file(&self.path, &self.file) {
            return; // a forked child, or somebody else's file by now
        }
        if let Err(error) = fs::remove_file(&self.path) {
            // After a change of user the directory is usually not ours to change; the open file still is.
            log::debug!("pid file {} not removed ({error}), emptied instead", self.path.display());
            let _ = self.file.set_len(0);
        }
    }
}

enum Claim {
    Ours(File),
    Theirs(String),
}

fn claim(path: &Path) -> io::Result<Claim> {
    for _ in 0..ATTEMPTS {
        let mut file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(MODE)
            .custom_flags((OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits()) // no detour by a symlink, no wait for a fifo
            .open(path)?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        let locked = lock(&file)?;
        if locked && !same_file(path, &file) {
            continue; // its owner removed it between our open and our lock
        }
        let mut content = Vec::new();
        (&file).take(64).read_to_end(&mut content)?;
        let content = String::from_utf8_lossy(&content).trim().to_owned();
        if !locked || names_other_daemon(&content) {
            return Ok(Claim::Theirs(content));
        }
        file.set_permissions(Permissions::from_mode(MODE))?; // whatever the umask
        file.set_len(0)?;
        file.rewind()?;
        file.write_all(format!("{}\n", std::process::id()).as_bytes())?;
        return Ok(Claim::Ours(file));
    }
    Err(io::Error::other("it keeps being replaced"))
}

/// Takes the write lock of the open file; false if somebody has it. Such a lock needs write access, so that not everybody
/// who may read the file can keep the daemon from starting (as with `flock`).
fn lock(file: &File) -> io::Result<bool> {
    let whole_file =
        libc::flock { l_type: libc::F_WRLCK as _, l_whence: libc::SEEK_SET as _, l_start: 0, l_len: 0, l_pid: 0 };
    match fcntl(file, FcntlArg::F_OFD_SETLK(&whole_file)) {
        Ok(_) => Ok(true),
        Err(Errno::EAGAIN | Errno::EACCES) => Ok(false),
        Err(other) => Err(other.into()),
    }
}

/// Whether `content` is the pid of a living process that does not belong to our process group (rule of the C daemon). A
/// zombie does not live: in a container nobody may ever collect it.
fn names_other_daemon(content: &str) -> bool {
    let Ok(pid) = content.parse::<i32>() else { return false };
    pid > 0 && getpgid(Some(Pid::from_raw(pid))).is_ok_and(|group| Ok(group) != getpgid(None)) && !is_zombie(pid)
}

fn is_zombie(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('Z')) // the name before may hold anything
}

fn same_file(path: &Path, file: &File) -> bool {
    match (fs::symlink_metadata(path), file.metadata()) {
        (Ok(named), Ok(open)) => (named.dev(), named.ino()) == (open.dev(), open.ino()),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn place() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("gmetad.pid");
        (dir, path)
    }

    #[test]
    fn content_mode_and_removal() {
        let (_dir, path) = place();
        let file = PidPath::new(&path).unwrap().create().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("{}\n", std::process::id()));
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o664);
        drop(file);
        assert!(!path.exists());
    }

    #[test]
    fn stale_content_is_replaced() {
        // 4194305 is above the highest pid Linux gives; our own pid is what a container's next start finds.
        for stale in
            ["", "rubbish\n", "4194305\n", "-1\n", "0\n", &format!("{}\n", std::process::id()), "1234567890123"]
        {
            let (_dir, path) = place();
            fs::write(&path, stale).unwrap();
            let _held = PidPath::new(&path).unwrap().create().unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), format!("{}\n", std::process::id()), "{stale:?}");
        }
    }

    #[test]
    fn living_daemon_is_respected() {
        let (_dir, path) = place();
        fs::write(&path, "1\n").unwrap();
        let error = PidPath::new(&path).unwrap().create().unwrap_err();
        assert_eq!(error.to_string(), format!("daemon already running: {} pid 1", path.display()));
        assert_eq!(fs::read_to_string(&path).unwrap(), "1\n");
    }

    #[test]
    fn locked_file_is_respected_whatever_it_says() {
        let (_dir, path) = place();
        let held = PidPath::new(&path).unwrap().create().unwrap();
        assert!(matches!(PidPath::new(&path).unwrap().create(), Err(PidFileError::Running { .. })));
        drop(held);
        PidPath::new(&path).unwrap().create().unwrap();
    }

    #[test]
    fn a_file_of_somebody_else_stays() {
        let (_dir, path) = place();
        let held = PidPath::new(&path).unwrap().create().unwrap();
        fs::remove_file(&path).unwrap();
        fs::write(&path, "1\n").unwrap();
        drop(held);
        assert!(path.exists());
    }

    #[test]
    fn symlinks_and_missing_directories_are_errors() {
        let (dir, path) = place();
        std::os::unix::fs::symlink(dir.path().join("target"), &path).unwrap();
        assert!(PidPath::new(&path).unwrap().create().is_err());
        assert!(!dir.path().join("target").exists());
        let error = PidPath::new(&dir.path().join("no/p")).unwrap().create().unwrap_err().to_string();
        assert!(error.contains("cannot write pid file") && error.contains("no/p"), "{error}");
    }
}
