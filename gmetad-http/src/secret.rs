//! Passwords and tokens: from files, compared without telling by the time it takes how much of one was right.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use subtle::ConstantTimeEq;

/// Bytes of a secret's file.
const FILE_BYTES: u64 = 4096;

/// Something that a client has to know. Never shown, not even by `Debug`.
#[derive(Clone)]
pub struct Secret(String);

/// Why a file gives no secret.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The system's reason.
    #[error("{0}: {1}: give a file that this program may read, with the secret in its first line")]
    Read(PathBuf, #[source] io::Error),
    /// Everybody on the machine may read it.
    #[error("{0}: everybody may read it: chmod o-rwx it")]
    Open(PathBuf),
    /// Nothing in its first line.
    #[error("{0}: its first line is empty: write the secret there")]
    Empty(PathBuf),
}

impl Secret {
    /// This text; `None` if it is empty, since anybody knows that.
    pub fn new(text: impl Into<String>) -> Option<Self> {
        Some(text.into()).filter(|text| !text.is_empty()).map(Self)
    }

    /// The first line of a file, without blanks around it.
    ///
    /// # Errors
    /// [`SecretError`]: it cannot be read, is empty, or everybody may read it.
    pub fn from_file(path: &Path) -> Result<Self, SecretError> {
        let read = || {
            let file = File::open(path)?;
            let mode = file.metadata()?.mode();
            let mut text = String::new();
            file.take(FILE_BYTES).read_to_string(&mut text)?;
            Ok((mode, text))
        };
        let (mode, text) = read().map_err(|error| SecretError::Read(path.to_owned(), error))?;
        if mode & 0o007 != 0 {
            return Err(SecretError::Open(path.to_owned()));
        }
        Self::new(text.lines().next().unwrap_or_default().trim()).ok_or_else(|| SecretError::Empty(path.to_owned()))
    }

    /// Whether this is it. How long it takes tells at most the length.
    pub fn is(&self, guess: &str) -> bool {
        self.0.as_bytes().ct_eq(guess.as_bytes()).into()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{Permissions, set_permissions, write};
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_file_that_others_cannot_read_gives_its_first_line() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("secret");
        let ask = |text: &str, mode| {
            write(&path, text).expect("written");
            set_permissions(&path, Permissions::from_mode(mode)).expect("set");
            Secret::from_file(&path)
        };
        let secret = ask(" pässword \nnot this\n", 0o640).expect("a secret");
        assert!(secret.is("pässword") && !secret.is("pässwor") && !secret.is("") && !secret.is("pässwore"));
        assert_eq!(format!("{secret:?}"), "Secret");
        assert!(matches!(ask("x", 0o604), Err(SecretError::Open(_))));
        assert!(matches!(ask("\nx", 0o600), Err(SecretError::Empty(_))));
        assert!(matches!(Secret::from_file(&dir.path().join("no")), Err(SecretError::Read(..))));
        assert!(Secret::new("").is_none());
    }
}
