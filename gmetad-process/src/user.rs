//! Giving up root for good, and the checks of the RRD directory that go with it.
//!
//! ```
//! use gmetad_process::user::{self, Account};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let me = Account::current();
//! assert_eq!(user::switch_user(&me.name)?, me); // already that user: nothing to do
//! # Ok(()) }
//! ```

use std::ffi::CString;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::unistd::{self, Gid, Uid, User};

/// A user as the password database has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Login name; the number where the uid has none.
    pub name: String,
    /// User id.
    pub uid: u32,
    /// Primary group id.
    pub gid: u32,
}

impl Account {
    /// Looks `name` up.
    pub fn by_name(name: &str) -> Result<Self, UserError> {
        match User::from_name(name) {
            Ok(Some(user)) => Ok(Account { name: user.name, uid: user.uid.as_raw(), gid: user.gid.as_raw() }),
            Ok(None) => Err(UserError::Unknown(name.into())),
            Err(source) => Err(UserError::Lookup { name: name.into(), source }),
        }
    }

    /// The user this process acts as.
    pub fn current() -> Self {
        let (uid, gid) = (unistd::geteuid(), unistd::getegid());
        let name = User::from_uid(uid).ok().flatten().map_or_else(|| uid.to_string(), |user| user.name);
        Account { name, uid: uid.as_raw(), gid: gid.as_raw() }
    }
}

/// Why the user could not be changed. The texts people search for are the C daemon's.
#[derive(Debug, thiserror::Error)]
pub enum UserError {
    /// No such user.
    #[error("Getpwnam error: no user \"{0}\"; create it, or name another user")]
    Unknown(String),
    /// The database could not be asked.
    #[error("Getpwnam error: {} (looking up \"{name}\")", .source.desc())]
    Lookup {
        /// Who was asked for.
        name: String,
        /// What the system says.
        source: Errno,
    },
    /// Only root may.
    #[error("Must be root to setuid to \"{0}\"")]
    NotRoot(String),
    /// A step failed although we are root (a container without the capability, say).
    #[error("cannot become \"{name}\": {step}: {}; grant CAP_SETUID and CAP_SETGID, or start as that user", .source.desc())]
    Step {
        /// The user wanted.
        name: String,
        /// The call.
        step: &'static str,
        /// What the system says.
        source: Errno,
    },
    /// The ids are not what was set, or root could be regained. The process must not go on.
    #[error("changing to \"{0}\" did not give up root for good; start as that user instead")]
    NotDropped(String),
}

/// Becomes `name` for good: supplementary groups, group, user, in this order, each for the whole process, then verified.
///
/// Does nothing if the process is that user already. After an error other than [`UserError::Unknown`],
/// [`UserError::Lookup`] and [`UserError::NotRoot`] the ids may be half changed: exit.
pub fn switch_user(name: &str) -> Result<Account, UserError> {
    let account = Account::by_name(name)?;
    let (uid, gid) = (Uid::from_raw(account.uid), Gid::from_raw(account.gid));
    if unistd::geteuid() == uid && unistd::getuid() == uid {
        return Ok(account);
    }
    if !unistd::geteuid().is_root() {
        return Err(UserError::NotRoot(name.into()));
    }
    let failed = |step| move |source| UserError::Step { name: name.into(), step, source };
    let c_name = CString::new(name).map_err(|_| UserError::Unknown(name.into()))?;
    unistd::initgroups(&c_name, gid).map_err(failed("initgroups"))?;
    unistd::setresgid(gid, gid, gid).map_err(failed("setgid"))?;
    unistd::setresuid(uid, uid, uid).map_err(failed("setuid"))?;

    let uids = unistd::getresuid().map_err(failed("getresuid"))?;
    let gids = unistd::getresgid().map_err(failed("getresgid"))?;
    let is_set =
        [uids.real, uids.effective, uids.saved] == [uid; 3] && [gids.real, gids.effective, gids.saved] == [gid; 3];
    let regained = !uid.is_root() && unistd::seteuid(Uid::from_raw(0)).is_ok();
    if !is_set || regained {
        return Err(UserError::NotDropped(name.into()));
    }
    Ok(account)
}

/// What is wrong with the RRD directory. The texts are the C daemon's.
#[derive(Debug, thiserror::Error)]
pub enum RootdirError {
    /// It cannot be looked at.
    #[error("Please make sure that {} exists: {}", .dir.display(), .source.desc())]
    Missing {
        /// The directory.
        dir: PathBuf,
        /// What the system says.
        source: Errno,
    },
    /// It belongs to somebody else.
    #[error("Please make sure that {} is owned by {user}", .dir.display())]
    Owner {
        /// The directory.
        dir: PathBuf,
        /// Who should own it.
        user: String,
    },
    /// The owner may not write.
    #[error("Please make sure {user} has WRITE permission for {}", .dir.display())]
    NotWritable {
        /// The directory.
        dir: PathBuf,
        /// Its owner.
        user: String,
    },
}

/// Checks that `dir` exists, belongs to `user`, and that its owner may write. Groups and access lists do not count, as in
/// the C daemon. With `setuid off`, `user` is [`Account::current`].
pub fn check_rrd_rootdir(dir: &Path, user: &Account) -> Result<(), RootdirError> {
    let meta = std::fs::metadata(dir).map_err(|error| RootdirError::Missing {
        dir: dir.into(),
        source: error.raw_os_error().map_or(Errno::EINVAL, Errno::from_raw),
    })?;
    if meta.uid() != user.uid {
        return Err(RootdirError::Owner { dir: dir.into(), user: user.name.clone() });
    }
    if meta.mode() & 0o200 == 0 {
        return Err(RootdirError::NotWritable { dir: dir.into(), user: user.name.clone() });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::fs::{Permissions, set_permissions};
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn rootdir_texts() {
        let dir = tempfile::tempdir().unwrap();
        let name = dir.path().display().to_string();
        let me = Account::current();
        check_rrd_rootdir(dir.path(), &me).unwrap();
        let other = Account { name: "ganglia".into(), uid: me.uid + 1, gid: me.gid };
        let said = |dir: &Path, user: &Account| check_rrd_rootdir(dir, user).unwrap_err().to_string();
        assert_eq!(said(dir.path(), &other), format!("Please make sure that {name} is owned by ganglia"));
        assert_eq!(
            said(&dir.path().join("no"), &me),
            format!("Please make sure that {name}/no exists: No such file or directory")
        );
        set_permissions(dir.path(), Permissions::from_mode(0o500)).unwrap();
        assert_eq!(said(dir.path(), &me), format!("Please make sure {} has WRITE permission for {name}", me.name));
    }

    #[test]
    fn unknown_users() {
        for name in ["no-such-user-here", "", "a\0b"] {
            let error = switch_user(name).unwrap_err().to_string();
            assert!(error.starts_with("Getpwnam error: ") && !error.contains("configuration"), "{error}");
        }
    }
}
