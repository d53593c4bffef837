//! The pid file: decimal pid and a newline, mode 0664.
//!
//! It is locked while the daemon lives. A file that is not locked but names a living process group other than ours is
//! respected too (the C daemon does not lock), unless the [lock decides](PidPath::lock_decides); any other content is stale
//! and replaced.
//!
//! A daemon that gives up root cannot remove a name from a directory of root's. For that case a small process of its own,
//! forked before, stays root, holds nothing but a pipe, and removes the file when the daemon closes its end: at exit, or
//! by dying of whatever cause.
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

use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::io::{self, PipeReader, PipeWriter, Read, Seek, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, FcntlArg, OFlag, fcntl, openat};
use nix::libc;
use nix::sys::prctl;
use nix::sys::signal::SigSet;
use nix::sys::stat::{Mode, fstatat};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{self, Pid, UnlinkatFlags, getpgid, unlinkat};

use crate::sys::{self, Fork};
use crate::user::Account;

/// Access to the file, as the C daemon creates it.
const MODE: u32 = 0o664;

/// How often a file that vanishes under our hands is opened again.
const ATTEMPTS: u32 = 10;

/// How long the daemon waits at its end for the removal by the process that stays root.
const REMOVER_TIME: Duration = Duration::from_secs(1);

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
#[derive(Debug)]
pub struct PidPath {
    path: PathBuf,
    remover: Option<Remover>,
    lock_decides: bool,
}

impl PidPath {
    /// Makes `name` absolute; fails only for an empty name or a current directory that is gone.
    pub fn new(name: &Path) -> Result<Self, PidFileError> {
        let path = std::path::absolute(name).map_err(|source| PidFileError::Io { path: name.into(), source })?;
        Ok(PidPath { path, remover: None, lock_decides: false })
    }

    /// Nobody else keeps such a file without a lock: whom one names that is not locked is a stranger with a number that was
    /// given again.
    pub fn lock_decides(self) -> Self {
        PidPath { lock_decides: true, ..self }
    }

    /// Sees to it that the file can still be removed once this process, now root, has become `account`: where its
    /// directory is not that user's, a process is forked that stays root. To be called by the process that shall call
    /// [`PidPath::create`], before it has threads; where that cannot be done, the file will be emptied at the end.
    pub fn removable_by(self, account: &Account) -> Self {
        let dir = self.path.parent().map(File::open);
        let (Some(Ok(dir)), Some(name)) = (dir, self.path.file_name()) else { return self };
        let theirs = dir.metadata().is_ok_and(|dir| dir.uid() == account.uid);
        if theirs || account.uid == unistd::geteuid().as_raw() {
            return self;
        }
        match Remover::fork(dir, name) {
            Ok(remover) => PidPath { remover: Some(remover), ..self },
            Err(error) => {
                log::warn!("pid file {} will be emptied at the end, not removed: {error}", self.path.display());
                self
            }
        }
    }

    /// Creates, or takes over, the file and locks it. To be called in the process whose pid it shall hold.
    pub fn create(self) -> Result<PidFile, PidFileError> {
        let PidPath { path, mut remover, lock_decides } = self;
        match claim(&path, lock_decides) {
            Ok(Claim::Ours(file)) => {
                if let Some(remover) = &mut remover {
                    remover.charge(&file).map_err(|source| PidFileError::Io { path: path.clone(), source })?;
                }
                Ok(PidFile { path, file, owner: std::process::id(), remover })
            }
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
    remover: Option<Remover>,
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
            if let Some(remover) = self.remover.take() {
                remover.finish();
            }
            if !same_file(&self.path, &self.file) {
                return;
            }
            // The directory is not ours to change, and nobody was left to do it; the open file still is ours.
            log::debug!("pid file {} not removed ({error}), emptied instead", self.path.display());
            let _ = self.file.set_len(0);
        }
    }
}

/// The process that stays root to remove the file.
#[derive(Debug)]
struct Remover {
    pid: Pid,
    pipe: PipeWriter,
}

/// Device and inode of the file to remove, as they go through the pipe.
type FileId = [u8; 16];

impl Remover {
    fn fork(dir: File, name: &OsStr) -> io::Result<Self> {
        if sys::threads() > 1 {
            return Err(io::Error::other("threads are running already"));
        }
        let (reader, pipe) = io::pipe()?;
        let daemon = Pid::this();
        match sys::fork()? {
            Fork::Parent(pid) => Ok(Remover { pid, pipe }),
            Fork::Child => {
                remove_at_end(&dir, name, reader, daemon);
                sys::exit_now(0)
            }
        }
    }

    /// Says which file is ours; without this word the process removes nothing.
    fn charge(&mut self, file: &File) -> io::Result<()> {
        let meta = file.metadata()?;
        self.pipe.write_all(&file_id(meta.dev(), meta.ino()))
    }

    /// Lets the process do its work, and waits for its end, but not for long: somebody may have stopped it.
    fn finish(self) {
        drop(self.pipe);
        let until = Instant::now() + REMOVER_TIME;
        while Instant::now() < until && waitpid(self.pid, Some(WaitPidFlag::WNOHANG)) == Ok(WaitStatus::StillAlive) {
            thread::sleep(Duration::from_millis(1));
        }
    }
}

/// The life of the process that stays root. It takes no signal, so that one sent to all of the daemon's processes or to
/// the terminal's does not end it first, and keeps nothing open that somebody could wait for. It unlinks nothing but
/// that name in that directory, and only a file that the daemon has said is its own and that still names it.
fn remove_at_end(dir: &File, name: &OsStr, mut pipe: PipeReader, daemon: Pid) {
    let _ = SigSet::all().thread_block();
    let _ = unistd::setsid();
    let _ = unistd::chdir("/");
    let _ = prctl::set_name(c"gmetad-pidfile");
    sys::close_all_but([dir.as_raw_fd(), pipe.as_raw_fd()]);
    let mut id = FileId::default();
    let charged = pipe.read_exact(&mut id).is_ok();
    let _ = io::copy(&mut pipe, &mut io::sink()); // until the daemon is gone
    let ours = || -> nix::Result<bool> {
        let found = fstatat(dir, name, AtFlags::AT_SYMLINK_NOFOLLOW)?;
        let file =
            File::from(openat(dir, name, OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK, Mode::empty())?);
        let mut content = String::new();
        let _ = file.take(64).read_to_string(&mut content); // what is not read is not its number
        Ok(file_id(found.st_dev, found.st_ino) == id && content.trim() == daemon.to_string())
    };
    if charged && ours() == Ok(true) {
        let _ = unlinkat(dir, name, UnlinkatFlags::NoRemoveDir);
    }
}

fn file_id(dev: u64, ino: u64) -> FileId {
    (u128::from(dev) << 64 | u128::from(ino)).to_ne_bytes()
}

enum Claim {
    Ours(File),
    Theirs(String),
}

fn claim(path: &Path, lock_decides: bool) -> io::Result<Claim> {
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
        if !locked || !lock_decides && names_other_daemon(&content) {
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
        let held = PidPath::new(&path).unwrap().lock_decides().create().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("{}\n", std::process::id()));
        assert!(matches!(PidPath::new(&path).unwrap().lock_decides().create(), Err(PidFileError::Running { .. })));
        drop(held);
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
