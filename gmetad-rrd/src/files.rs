//! Every call to the file system that the native writer makes, behind one trait, so that a test can fail any of them.

use std::ffi::OsString;
use std::fs::{DirBuilder, File, Metadata, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, PosixFadviseAdvice, fcntl, posix_fadvise};
use nix::libc;
use nix::unistd::syncfs;

/// Which file a path or descriptor stands for, and its size in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// Device.
    pub dev: u64,
    /// Inode.
    pub ino: u64,
    /// Size in bytes.
    pub size: u64,
    /// Somebody has read it since it was last written, as far as the file system keeps access times. Our own reading
    /// does not count.
    pub read: bool,
}

/// The calls. Errors are the system's; the writer adds the path.
pub trait Files: Send {
    /// Opens an existing file for reading and writing.
    fn open(&self, path: &Path) -> io::Result<File> {
        let open = |flags| OpenOptions::new().read(true).write(true).custom_flags(flags).open(path);
        let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
        let file = match open(flags | libc::O_NOATIME) {
            Err(e) if e.raw_os_error() == Some(libc::EPERM) => open(flags)?, // somebody else's file
            other => other?,
        };
        // A few bytes at the start and a few in each archive: reading ahead only costs. Advice may fail unheard.
        let _ = posix_fadvise(&file, 0, 0, PosixFadviseAdvice::POSIX_FADV_RANDOM);
        Ok(file)
    }

    /// Which file is at a path now.
    fn stat(&self, path: &Path) -> io::Result<Stamp> {
        path.metadata().and_then(|m| stamp(&m))
    }

    /// Which file is open.
    fn fstat(&self, file: &File) -> io::Result<Stamp> {
        file.metadata().and_then(|m| stamp(&m))
    }

    /// Takes the write lock on the whole file that librrd takes, without waiting. `false`: somebody else has it. The lock
    /// belongs to the descriptor, not to the process: other threads that read the file and close it do not end it.
    fn lock(&self, file: &File) -> io::Result<bool> {
        match fcntl(file, FcntlArg::F_OFD_SETLK(&whole_file(libc::F_WRLCK))) {
            Ok(_) => Ok(true),
            Err(Errno::EAGAIN | Errno::EACCES) => Ok(false),
            Err(e) => Err(e.into()),
        }
    }

    /// Gives the lock back.
    fn unlock(&self, file: &File) -> io::Result<()> {
        fcntl(file, FcntlArg::F_OFD_SETLK(&whole_file(libc::F_UNLCK)))?;
        Ok(())
    }

    /// Reads up to `buffer.len()` bytes; fewer only at the end of the file.
    fn read_at(&self, file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut done = 0;
        while done < buffer.len() {
            match file.read_at(&mut buffer[done..], offset + done as u64) {
                Ok(0) => break,
                Ok(n) => done += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(done)
    }

    /// Writes all bytes.
    fn write_at(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        file.write_all_at(bytes, offset)
    }

    /// Makes a new file with these bytes, mode 0644 less the umask as librrd's.
    fn write_new(&self, path: &Path, bytes: &[u8]) -> io::Result<File> {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o644).open(path)?;
        // Page by page: Linux keeps what comes in one piece in one piece, up to megabytes, and each later write of a few bytes
        // would go through all of it (measured: 17 us an update of a 630 kB file instead of 5).
        bytes.chunks(PAGE).try_for_each(|page| file.write_all(page))?;
        Ok(file)
    }

    /// Waits until what was written to these files is on the disk.
    fn sync(&self, files: &[&File]) -> io::Result<()> {
        match files {
            // One call for the file system costs less than many for files.
            [first, .., last] if files.len() > 4 => syncfs(first).and_then(|()| syncfs(last)).map_err(Into::into),
            few => few.iter().try_for_each(|file| file.sync_data()),
        }
    }

    /// Makes a directory and those above it, mode 0755 less the umask.
    fn make_dirs(&self, path: &Path) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o755).create(path)
    }

    /// Makes a directory, nobody else's business, if it is not there.
    fn make_private_dir(&self, path: &Path) -> io::Result<()> {
        match DirBuilder::new().mode(0o700).create(path) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            other => other,
        }
    }

    /// Makes a new, empty file, nobody else's business.
    fn create(&self, path: &Path) -> io::Result<File> {
        OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)
    }

    /// All of a file.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        std::fs::read(path)
    }

    /// The names in a directory.
    fn list(&self, path: &Path) -> io::Result<Vec<OsString>> {
        std::fs::read_dir(path)?.map(|entry| Ok(entry?.file_name())).collect()
    }

    /// Waits until everything written to the file system of this directory is on the disk.
    fn sync_tree(&self, dir: &Path) -> io::Result<()> {
        syncfs(&File::open(dir)?).map_err(Into::into)
    }

    /// Waits until the names in this directory are on the disk.
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }

    /// Renames within a directory.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }
}

/// The calls as they are.
#[derive(Debug, Default, Clone, Copy)]
pub struct Disk;

impl Files for Disk {}

impl<T: Files + Sync + ?Sized> Files for std::sync::Arc<T> {
    fn open(&self, path: &Path) -> io::Result<File> {
        (**self).open(path)
    }
    fn stat(&self, path: &Path) -> io::Result<Stamp> {
        (**self).stat(path)
    }
    fn fstat(&self, file: &File) -> io::Result<Stamp> {
        (**self).fstat(file)
    }
    fn lock(&self, file: &File) -> io::Result<bool> {
        (**self).lock(file)
    }
    fn unlock(&self, file: &File) -> io::Result<()> {
        (**self).unlock(file)
    }
    fn read_at(&self, file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        (**self).read_at(file, buffer, offset)
    }
    fn write_at(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        (**self).write_at(file, bytes, offset)
    }
    fn write_new(&self, path: &Path, bytes: &[u8]) -> io::Result<File> {
        (**self).write_new(path, bytes)
    }
    fn sync(&self, files: &[&File]) -> io::Result<()> {
        (**self).sync(files)
    }
    fn make_dirs(&self, path: &Path) -> io::Result<()> {
        (**self).make_dirs(path)
    }
    fn make_private_dir(&self, path: &Path) -> io::Result<()> {
        (**self).make_private_dir(path)
    }
    fn create(&self, path: &Path) -> io::Result<File> {
        (**self).create(path)
    }
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        (**self).read(path)
    }
    fn list(&self, path: &Path) -> io::Result<Vec<OsString>> {
        (**self).list(path)
    }
    fn sync_tree(&self, dir: &Path) -> io::Result<()> {
        (**self).sync_tree(dir)
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        (**self).sync_dir(dir)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        (**self).rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        (**self).remove(path)
    }
}

/// Bytes of a page of the page cache, on every machine that matters; elsewhere it is only slower.
const PAGE: usize = 4096;

/// Only regular files: a FIFO or device in the tree must not hang or be written to.
fn stamp(metadata: &Metadata) -> io::Result<Stamp> {
    if !metadata.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    let accessed = (metadata.atime(), metadata.atime_nsec());
    let read = accessed > (metadata.mtime(), metadata.mtime_nsec());
    Ok(Stamp { dev: metadata.dev(), ino: metadata.ino(), size: metadata.size(), read })
}

/// Whether another descriptor holds a write lock on any part of the file now. Takes none itself.
pub(crate) fn locked_by_other(file: &File) -> bool {
    let mut lock = whole_file(libc::F_RDLCK);
    // Where locks are not supported nobody has one.
    fcntl(file, FcntlArg::F_OFD_GETLK(&mut lock)).is_ok() && lock.l_type != libc::F_UNLCK as libc::c_short
}

fn whole_file(kind: libc::c_int) -> libc::flock {
    libc::flock {
        l_type: kind as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    }
}
