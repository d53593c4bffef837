//! Moving files to a place below `DIR/.gmetad`, under the same relative path.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, chown};
use std::path::{Path, PathBuf};

use super::OWN_DIR;

/// Files of one name that are kept beside each other.
const NUMBERS: u32 = 1000;

/// Where files go: `ROOT/PLACE`.
pub(super) struct Aside<'a> {
    pub(super) root: &'a Path,
    pub(super) place: PathBuf,
}

impl<'a> Aside<'a> {
    /// A place below the daemon's own directory.
    pub(super) fn new(root: &'a Path, place: &[&str]) -> Self {
        Self { root, place: [OWN_DIR].iter().chain(place).collect() }
    }

    /// Renames the file; a number is put behind a name that is taken. Returns where it is now.
    pub(super) fn take(&self, path: &Path) -> io::Result<PathBuf> {
        let relative = path.strip_prefix(self.root).map_err(io::Error::other)?;
        let target = self.place.join(relative);
        let directory = target.parent().unwrap_or(&self.place);
        self.make(directory)?;
        let free = (0..NUMBERS).map(|number| numbered(&self.root.join(&target), number));
        for name in free {
            match name.symlink_metadata() {
                Err(e) if e.kind() == io::ErrorKind::NotFound => return fs::rename(path, &name).map(|()| name),
                Err(e) => return Err(e),
                Ok(_) => {}
            }
        }
        Err(io::Error::new(io::ErrorKind::AlreadyExists, "too many of that name were moved before"))
    }

    /// Makes `ROOT/directory`, step by step, for the owner of the root: it also becomes the daemon's. A link within would
    /// lead files out of the tree.
    fn make(&self, directory: &Path) -> io::Result<()> {
        let owner = self.root.metadata()?;
        let mut path = self.root.to_owned();
        for step in directory {
            path.push(step);
            match path.symlink_metadata() {
                Ok(metadata) if metadata.is_dir() => {}
                Ok(_) => return Err(io::Error::new(io::ErrorKind::NotADirectory, "the place for it is no directory")),
                Err(e) if e.kind() == io::ErrorKind::NotFound => {
                    DirBuilder::new().mode(0o755).create(&path)?;
                    let _ = chown(&path, Some(owner.uid()), Some(owner.gid())); // only root may, only root needs
                }
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }
}

fn numbered(path: &Path, number: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    if number > 0 {
        name.push(format!(".{number}"));
    }
    name.into()
}
