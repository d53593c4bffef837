//! Why an RRD file could not be made, read or updated. Every text begins with the file's path.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use thiserror::Error;

use crate::format::FormatError;
use crate::schema::SchemaError;
use crate::update::UpdateError;

/// Failure of one file; no other file is touched by it.
#[derive(Debug, Error)]
pub enum RrdError {
    /// There is no such file (or it is empty): create it.
    #[error("{}: no such RRD file", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// The path leaves the tree.
    #[error("{}: not below the root of the RRD tree", path.display())]
    Outside {
        /// The path.
        path: PathBuf,
    },
    /// The operating system refused.
    #[error("{}: cannot {action}: {source}", path.display())]
    Io {
        /// What was tried: "open", "lock", "write rows of" …
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// Another program is writing the file. Try again with the next value.
    #[error("{}: could not lock RRD: another program is writing it", path.display())]
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// The file is damaged or needs librrd.
    #[error("{}: {source}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: FormatError,
    },
    /// The wanted file cannot be.
    #[error("{}: {source}", path.display())]
    Schema {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: SchemaError,
    },
    /// Some points were refused; all others are in the file.
    #[error("{}: {source}{}", path.display(), more(*refused))]
    Refused {
        /// The file.
        path: PathBuf,
        /// How many points.
        refused: usize,
        /// Why, for the first of them; only if all were too old it is [`UpdateError::Past`].
        source: UpdateError,
    },
    /// librrd or rrdcached refused, in its own words. Points before the refused one are in the file.
    #[error("{}: {text}", path.display())]
    Librrd {
        /// The file.
        path: PathBuf,
        /// librrd's text.
        text: String,
    },
    /// rrdcached cannot be reached or does not answer. Whether it took the points is not known: send them again, it refuses
    /// what it has.
    #[error("{}: rrdcached at {address}: {text}", path.display())]
    Rrdcached {
        /// The file.
        path: PathBuf,
        /// Where rrdcached should be.
        address: Arc<str>,
        /// The reason.
        text: Arc<str>,
    },
}

impl RrdError {
    /// The failure as gmetad has always written it to the log: `RRD_update (FILE): …`, `RRD_create: …`,
    /// `Unable to mkdir(DIR): …`.
    pub fn log_line(&self) -> String {
        match self {
            Self::Io { action: "make the directory of", path, source } => {
                let dir = path.parent().unwrap_or(path);
                format!("Unable to mkdir({}): {source}", dir.display())
            }
            Self::Io { action: "create", .. } | Self::Schema { .. } => format!("RRD_create: {self}"),
            Self::Missing { path }
            | Self::Io { path, .. }
            | Self::Locked { path }
            | Self::Format { path, .. }
            | Self::Refused { path, .. }
            | Self::Outside { path }
            | Self::Librrd { path, .. }
            | Self::Rrdcached { path, .. } => format!("RRD_update ({}): {self}", path.display()),
        }
    }

    pub(crate) fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::NotFound if action == "open" => Self::Missing { path },
            _ => Self::Io { action, path, source },
        }
    }

    pub(crate) fn format(path: &Path, source: FormatError) -> Self {
        Self::Format { path: path.to_owned(), source }
    }

    pub(crate) fn schema(path: &Path, source: SchemaError) -> Self {
        Self::Schema { path: path.to_owned(), source }
    }
}

fn more(refused: usize) -> String {
    if refused > 1 { format!(" (and {} more points refused)", refused - 1) } else { String::new() }
}
