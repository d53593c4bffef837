//! What the parser needs from the world, as a trait.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::lexer::MAX_FILE_BYTES;

/// Files, environment and host name, as the parser sees them.
pub trait Loader {
    /// The content of a file. May stop after [`MAX_FILE_BYTES`] + 1 bytes: more is refused anyway.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;

    /// The names in a directory, in any order; for `Include` with wildcards. An empty path is the working directory.
    fn list(&self, directory: &Path) -> io::Result<Vec<String>>;

    /// An environment variable: `${NAME}`, `DC_INCLUDEPATH`, `RRDCACHED_ADDRESS`.
    fn variable(&self, name: &str) -> Option<String>;

    /// This machine's name, for the default `authority`.
    fn hostname(&self) -> String;
}

/// The real files and environment of this process.
///
/// The host name is passed in because the standard library cannot ask for it.
#[derive(Debug, Clone)]
pub struct SystemLoader {
    hostname: String,
    directory: PathBuf,
}

impl SystemLoader {
    /// A loader for this process on a machine called `hostname`.
    pub fn new(hostname: impl Into<String>) -> SystemLoader {
        SystemLoader { hostname: hostname.into(), directory: PathBuf::new() }
    }

    /// Reads relative names from this directory, whatever the working directory will be: a daemon moves to `/`, and its
    /// next reload is to find the same files.
    #[must_use]
    pub fn relative_to(mut self, directory: impl Into<PathBuf>) -> SystemLoader {
        self.directory = directory.into();
        self
    }
}

impl Loader for SystemLoader {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        File::open(self.directory.join(path))?.take(MAX_FILE_BYTES as u64 + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        let directory = self.directory.join(directory);
        let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { &directory };
        fs::read_dir(directory)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
    }

    fn variable(&self, name: &str) -> Option<String> {
        // The standard library only promises not to panic for proper names.
        let proper = !name.is_empty() && !name.contains(['=', '\0']);
        proper.then(|| std::env::var_os(name))?.map(|value| value.to_string_lossy().into_owned())
    }

    fn hostname(&self) -> String {
        self.hostname.clone()
    }
}

/// Files and environment in memory: for tests, and for programs that keep their configuration elsewhere.
#[derive(Debug, Clone, Default)]
pub struct MemoryLoader {
    /// Content by path.
    pub files: BTreeMap<PathBuf, Vec<u8>>,
    /// The environment.
    pub variables: BTreeMap<String, String>,
    /// The host name; empty means `localhost`.
    pub hostname: String,
}

impl Loader for MemoryLoader {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.files.get(path).cloned().ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        let inside = self.files.keys().filter(|path| path.parent() == Some(directory));
        Ok(inside.filter_map(|path| path.file_name()).map(|name| name.to_string_lossy().into_owned()).collect())
    }

    fn variable(&self, name: &str) -> Option<String> {
        self.variables.get(name).cloned()
    }

    fn hostname(&self) -> String {
        if self.hostname.is_empty() { "localhost".to_owned() } else { self.hostname.clone() }
    }
}
