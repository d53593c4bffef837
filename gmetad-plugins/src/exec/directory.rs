//! Which files of `plugins_dir` are plugins, and why others are not.

use std::collections::HashSet;
use std::fs::Metadata;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::{fs, io};

/// Names that the daemon's own plugins have.
const OWN: [&str; 3] = ["rrd", "rrdsummary", "alert"];

/// Links that are followed, one behind the other.
const LINKS: usize = 16;

/// What is in a directory of plugins.
#[derive(Debug)]
pub struct Directory {
    /// There is no such directory, which is nothing unusual.
    pub absent: bool,
    /// Its files in the order of their plugins' names (bytes), without hidden files, backups and subdirectories.
    pub found: Vec<Found>,
}

/// A file of it.
#[derive(Debug)]
pub struct Found {
    /// The file as it was found: a link is not followed.
    pub path: PathBuf,
    /// The name of the plugin: the file's without what follows the first dot, in lower case.
    pub name: String,
    /// What tells it from a later one; `None` if it is not there behind a link.
    pub fingerprint: Option<Fingerprint>,
    /// Why it is not run, if so.
    pub refused: Option<Refusal>,
}

/// Another file, or another content, has another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint {
    dev: u64,
    inode: u64,
    /// Seconds and nanoseconds.
    mtime: (i64, i64),
    size: u64,
}

/// Why a file is not run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A device, a socket, a link to a directory.
    #[error("it is not a regular file; move it elsewhere")]
    NotAFile,
    /// A link to nothing, or a path that we may not go.
    #[error("it cannot be looked at: {0}; remove it or make it readable")]
    Unreadable(String),
    /// No x bit.
    #[error("it is not executable; chmod 755 it, or call it .off")]
    NotExecutable,
    /// It belongs to somebody who is not to run programs as the daemon.
    #[error("{what} belongs to uid {owner}; chown it to root or to the user the daemon runs as (uid {ours})")]
    Owner {
        /// `it`, or the directory.
        what: String,
        /// Whose it is.
        owner: u32,
        /// Who we are.
        ours: u32,
    },
    /// The group or everybody may write.
    #[error("{what} is writable for group or others (mode {mode:03o}); chmod go-w it")]
    Writable {
        /// `it`, or the directory.
        what: String,
        /// Its permissions.
        mode: u32,
    },
    /// The name of another plugin.
    #[error("its name \"{0}\" is already taken; rename it")]
    Duplicate(String),
    /// Not a name of a section.
    #[error("its name is not one of a plugin; use letters, digits, \"_\", \"-\" and \"+\" before the first dot")]
    Name,
    /// What its section says, or cannot be done.
    #[error("{0}")]
    Section(String),
}

impl Directory {
    /// Looks at a directory; runs nothing. Owners must be root or `user`.
    ///
    /// # Errors
    /// It is there and cannot be read.
    pub fn scan(path: &Path, user: u32) -> io::Result<Self> {
        let entries = match fs::read_dir(path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Self { absent: true, found: Vec::new() });
            }
            Err(error) => return Err(error),
        };
        let directory = untrusted(&format!("the directory {}", path.display()), &fs::metadata(path)?, user);
        let mut paths = Vec::new();
        for entry in entries {
            paths.push(entry?.path());
        }
        paths.retain(|path| path.file_name().is_some_and(|name| !is_skipped(name.as_bytes())));
        let named = |path: &Path| {
            let file_name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            (file_name.split('.').next().unwrap_or_default().to_lowercase(), file_name)
        };
        paths.sort_by_cached_key(|path| named(path));
        let mut names: HashSet<String> = OWN.iter().map(ToString::to_string).collect();
        let mut found = Vec::new();
        for path in paths {
            let (name, _) = named(&path);
            let meta = fs::metadata(&path);
            if meta.as_ref().is_ok_and(Metadata::is_dir) && !path.is_symlink() {
                continue;
            }
            let fingerprint = meta.as_ref().ok().map(Fingerprint::of);
            let refused = match meta {
                Err(error) => Some(Refusal::Unreadable(error.to_string())),
                Ok(meta) => directory.clone().or_else(|| refusal(&path, &name, &meta, user)),
            };
            let refused = refused.or_else(|| (!names.insert(name.clone())).then(|| Refusal::Duplicate(name.clone())));
            found.push(Found { path, name, fingerprint, refused });
        }
        Ok(Self { absent: false, found })
    }
}

impl Fingerprint {
    fn of(meta: &Metadata) -> Self {
        Self { dev: meta.dev(), inode: meta.ino(), mtime: (meta.mtime(), meta.mtime_nsec()), size: meta.size() }
    }
}

/// Editors', packagers' and switched off files.
fn is_skipped(name: &[u8]) -> bool {
    let last = name.rsplit(|byte| *byte == b'.').next().filter(|last| last.len() < name.len()).unwrap_or_default();
    name.starts_with(b".")
        || name.ends_with(b"~")
        || [&b"off"[..], b"bak"].contains(&last)
        || last.starts_with(b"dpkg-")
        || last.starts_with(b"rpm")
}

fn refusal(path: &Path, name: &str, meta: &Metadata, user: u32) -> Option<Refusal> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || "_-+".contains(c);
    if name.is_empty() || !name.chars().all(is_name) {
        return Some(Refusal::Name);
    }
    if !meta.is_file() {
        return Some(Refusal::NotAFile);
    }
    if let Some(why) = untrusted("it", meta, user) {
        return Some(why);
    }
    if let Some(why) = untrusted_links(path, user) {
        return Some(why);
    }
    (meta.mode() & 0o111 == 0).then_some(Refusal::NotExecutable)
}

/// Whoever may write into a directory on the way of a link can put another file there.
fn untrusted_links(path: &Path, user: u32) -> Option<Refusal> {
    let unreadable = |error: io::Error| Some(Refusal::Unreadable(error.to_string()));
    let mut at = path.to_owned();
    for _ in 0..LINKS {
        if !at.is_symlink() {
            return None;
        }
        let to = match fs::read_link(&at) {
            Ok(to) => at.parent().unwrap_or(Path::new("/")).join(to),
            Err(error) => return unreadable(error),
        };
        let dir = match to.parent().unwrap_or(Path::new("/")).canonicalize() {
            Ok(dir) => dir,
            Err(error) => return unreadable(error),
        };
        match fs::metadata(&dir) {
            Ok(meta) => match untrusted(&format!("the directory {}", dir.display()), &meta, user) {
                None => at = dir.join(to.file_name().unwrap_or_default()),
                why => return why,
            },
            Err(error) => return unreadable(error),
        }
    }
    Some(Refusal::Unreadable(format!("more than {LINKS} links")))
}

/// Why the file is not to be run now, whatever it was when the directory was looked at.
pub(super) fn judge(path: &Path, name: &str, user: u32) -> Option<Refusal> {
    let dir = path.parent().unwrap_or(Path::new("/"));
    let look = || Ok((fs::metadata(dir)?, fs::metadata(path)?));
    match look() {
        Ok((of_dir, meta)) => untrusted(&format!("the directory {}", dir.display()), &of_dir, user)
            .or_else(|| refusal(path, name, &meta, user)),
        Err(error) => Some(Refusal::Unreadable(io::Error::to_string(&error))),
    }
}

fn untrusted(what: &str, meta: &Metadata, user: u32) -> Option<Refusal> {
    if meta.uid() != 0 && meta.uid() != user {
        return Some(Refusal::Owner { what: what.to_owned(), owner: meta.uid(), ours: user });
    }
    (meta.mode() & 0o022 != 0).then(|| Refusal::Writable { what: what.to_owned(), mode: meta.mode() & 0o7777 })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::fs::{Permissions, set_permissions};
    use std::os::unix::fs::{PermissionsExt, chown, symlink};

    use super::*;

    fn put(dir: &Path, name: &str, mode: u32) -> PathBuf {
        let path = dir.join(name);
        fs::write(&path, "#!/bin/sh\n").unwrap();
        set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        path
    }

    fn me() -> u32 {
        gmetad_process::user::Account::current().uid
    }

    fn scan(dir: &Path) -> Vec<(String, String)> {
        let found = Directory::scan(dir, me()).unwrap().found;
        let said = |file: &Found| file.refused.as_ref().map_or_else(String::new, ToString::to_string);
        found.iter().map(|file| (file.name.clone(), said(file))).collect()
    }

    fn trusted_dir() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
        dir
    }

    #[test]
    fn an_absent_directory_is_empty() {
        let dir = tempfile::tempdir().unwrap();
        let scan = Directory::scan(&dir.path().join("no"), me()).unwrap();
        assert!(scan.absent && scan.found.is_empty());
        assert!(Directory::scan(&put(dir.path(), "file", 0o644), me()).is_err(), "a file is not a directory");
    }

    #[test]
    fn names_order_and_what_is_skipped() {
        let dir = trusted_dir();
        for name in [
            "b.sh",
            "a.py",
            "B.pl",
            "10-first",
            "x y",
            "rrd.sh",
            ".hidden",
            "a~",
            "a.off",
            "a.bak",
            "a.dpkg-old",
            "a.rpmnew",
        ] {
            put(dir.path(), name, 0o755);
        }
        fs::create_dir(dir.path().join("__pycache__")).unwrap();
        symlink("nowhere", dir.path().join("z")).unwrap();
        let found = scan(dir.path());
        let names: Vec<_> = found.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["10-first", "a", "b", "b", "rrd", "x y", "z"], "by name: {found:?}");
        for (at, text) in
            [(0, ""), (1, ""), (2, ""), (3, "already taken"), (4, "already taken"), (5, "letters"), (6, "No such file")]
        {
            assert!(found[at].1.contains(text) && found[at].1.is_empty() == text.is_empty(), "{found:?}");
        }
    }

    #[test]
    fn files_that_others_could_have_written() {
        let dir = trusted_dir();
        put(dir.path(), "group", 0o775);
        put(dir.path(), "others", 0o757);
        put(dir.path(), "plain", 0o644);
        put(dir.path(), "good", 0o700);
        let foreign = put(dir.path(), "foreign", 0o755);
        let is_root = chown(&foreign, Some(4242), None).is_ok();
        let said = |name: &str| scan(dir.path()).into_iter().find(|(found, _)| found == name).unwrap().1;
        assert!(said("group").contains("mode 775") && said("others").contains("mode 757"));
        assert!(said("plain").contains("not executable"));
        assert_eq!(said("good"), "");
        if is_root {
            assert!(said("foreign").contains("uid 4242"), "{}", said("foreign"));
        }
        set_permissions(dir.path(), Permissions::from_mode(0o777)).unwrap();
        assert!(said("good").contains("the directory") && said("good").contains("chmod go-w"));
    }

    #[test]
    fn a_link_is_as_good_as_where_it_leads() {
        let (dir, other) = (trusted_dir(), trusted_dir());
        symlink(put(other.path(), "real", 0o755), dir.path().join("link")).unwrap();
        assert_eq!(scan(dir.path()), [("link".to_owned(), String::new())]);
        set_permissions(other.path(), Permissions::from_mode(0o777)).unwrap();
        assert!(scan(dir.path())[0].1.contains(&other.path().display().to_string()));
    }

    #[test]
    fn every_directory_on_the_way_of_a_link_counts() {
        let (dir, middle, other) = (trusted_dir(), trusted_dir(), trusted_dir());
        symlink(put(other.path(), "real", 0o755), middle.path().join("hop")).unwrap();
        symlink(middle.path().join("hop"), dir.path().join("link")).unwrap();
        assert_eq!(scan(dir.path()), [("link".to_owned(), String::new())]);
        assert_eq!(judge(&dir.path().join("link"), "link", me()), None);
        set_permissions(middle.path(), Permissions::from_mode(0o777)).unwrap();
        assert!(scan(dir.path())[0].1.contains(&middle.path().display().to_string()));
        assert!(judge(&dir.path().join("link"), "link", me()).is_some());
    }

    #[test]
    fn a_fingerprint_is_of_one_content() {
        let dir = trusted_dir();
        let print = || Directory::scan(dir.path(), me()).unwrap().found[0].fingerprint;
        let path = put(dir.path(), "a", 0o755);
        let first = print();
        assert_eq!(print(), first);
        fs::write(&path, "#!/bin/sh\necho\n").unwrap();
        assert_ne!(print(), first);
    }
}
