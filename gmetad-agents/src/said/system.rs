//! What the system says: error numbers, and names that cannot be looked up.

use std::io::{self, ErrorKind};

use gmetad_core::agent::Message;
use gmetad_core::message;
use nix::errno::Errno;

use super::{Said, quoted};

/// What error numbers mean.
const ERRNOS: &[(Errno, &str)] = &[
    (Errno::EPERM, "operation not permitted"),
    (Errno::ENOENT, "no such file or directory"),
    (Errno::ESRCH, "no such process"),
    (Errno::EINTR, "interrupted by a signal"),
    (Errno::EIO, "input/output error: look at the kernel's log, the device may be broken"),
    (Errno::ENXIO, "no such device or address"),
    (Errno::E2BIG, "too many arguments"),
    (Errno::ENOEXEC, "this file is no program: does a script lack its first line, as #!/bin/sh?"),
    (Errno::EBADF, "bad file descriptor"),
    (Errno::ECHILD, "no child process"),
    (Errno::EAGAIN, "resource temporarily unavailable"),
    (Errno::ENOMEM, "not enough memory"),
    (Errno::EACCES, "permission denied"),
    (Errno::EBUSY, "device or resource busy"),
    (Errno::EEXIST, "it exists already"),
    (Errno::EXDEV, "on another file system"),
    (Errno::ENODEV, "no such device"),
    (Errno::ENOTDIR, "a part of the path is no directory"),
    (Errno::EISDIR, "it is a directory"),
    (Errno::EINVAL, "invalid argument"),
    (Errno::ENFILE, "too many open files on this machine"),
    (Errno::EMFILE, "too many open files"),
    (Errno::ENOTTY, "not possible with this device"),
    (Errno::ETXTBSY, "this program's file is being written"),
    (Errno::EFBIG, "file too large"),
    (Errno::ENOSPC, "no space left on the device"),
    (Errno::ESPIPE, "not possible in a pipe"),
    (Errno::EROFS, "read-only file system"),
    (Errno::EMLINK, "too many links"),
    (Errno::EPIPE, "the other side has closed"),
    (Errno::ENAMETOOLONG, "file name too long"),
    (Errno::ENOLCK, "no locks left"),
    (Errno::ENOSYS, "this kernel does not have it"),
    (Errno::ENOTEMPTY, "directory not empty"),
    (Errno::ELOOP, "too many symbolic links, or one where none may be"),
    (Errno::EPROTO, "protocol error"),
    (Errno::EOVERFLOW, "value too large"),
    (Errno::EMSGSIZE, "message too long"),
    (Errno::EPROTONOSUPPORT, "this machine does not have this protocol"),
    (Errno::EOPNOTSUPP, "operation not supported"),
    (Errno::EAFNOSUPPORT, "this machine does not have this family of addresses (IPv6?)"),
    (Errno::EADDRINUSE, "address already in use"),
    (Errno::EADDRNOTAVAIL, "this machine does not have this address"),
    (Errno::ENETDOWN, "the network cannot be reached"),
    (Errno::ENETUNREACH, "the network cannot be reached"),
    (Errno::ECONNABORTED, "connection reset"),
    (Errno::ECONNRESET, "connection reset"),
    (Errno::ENOBUFS, "no buffers left"),
    (Errno::ENOTCONN, "not connected"),
    (Errno::ETIMEDOUT, "no answer in time"),
    (Errno::ECONNREFUSED, "connection refused"),
    (Errno::EHOSTDOWN, "the host cannot be reached"),
    (Errno::EHOSTUNREACH, "the host cannot be reached"),
    (Errno::ESTALE, "what the file server had is no longer there"),
    (Errno::EDQUOT, "disk quota exceeded"),
    (Errno::ECANCELED, "operation cancelled"),
];

/// What getaddrinfo says, of glibc and of musl, and what it means.
const LOOKUPS: &[(&[&str], &str)] = &[
    (&["Name or service not known", "Name does not resolve"], "no such name"),
    (&["No address associated with hostname", "Name has no usable address"], "the name has no address"),
    (&["Temporary failure in name resolution", "Try again"], "the name servers do not answer"),
    (&["Non-recoverable failure in name resolution", "Non-recoverable error"], "the name servers fail"),
    (&["Address family for hostname not supported"], "the name has no address of this family"),
    (&["Memory allocation failure", "Out of memory"], "not enough memory"),
    (&["System error"], "system error"),
];

/// What Rust's library says before it.
const LOOKUP: &str = "failed to lookup address information: ";

impl Said for Errno {
    fn said(&self) -> Message {
        match ERRNOS.iter().find(|(errno, _)| errno == self) {
            Some((_, meaning)) => Message::new(meaning, Vec::new()),
            None => message!("error {} of the system: \"{}\"", *self as i32, self.desc()),
        }
    }
}

impl Said for io::Error {
    fn said(&self) -> Message {
        if let Some(inner) = self.get_ref() {
            if let Some(said) = inner.downcast_ref::<Message>() {
                return said.clone();
            }
            if let Some(tls) = inner.downcast_ref::<rustls::Error>() {
                return tls.said();
            }
            if let Some(json) = inner.downcast_ref::<serde_json::Error>() {
                return json.said();
            }
            if let Some(why) = inner.to_string().strip_prefix(LOOKUP) {
                return lookup(why);
            }
        }
        match (self.raw_os_error(), self.kind()) {
            (Some(number), _) if Errno::from_raw(number) != Errno::UnknownErrno => Errno::from_raw(number).said(),
            (None, ErrorKind::UnexpectedEof) => message!("the data ended too early"),
            (None, ErrorKind::InvalidData) if self.get_ref().is_none() => message!("it is not UTF-8"),
            (None, kind) => of_kind(kind).map_or_else(|| quoted(&self.to_string()), |errno| errno.said()),
            (Some(_), _) => quoted(&self.to_string()),
        }
    }
}

/// A name that cannot be looked up.
fn lookup(why: &str) -> Message {
    let known = LOOKUPS.iter().find(|(words, _)| words.contains(&why));
    let why = known.map_or_else(|| quoted(why), |(_, meaning)| Message::new(meaning, Vec::new()));
    message!("the name cannot be looked up: {}", why)
}

/// The number that means the same.
fn of_kind(kind: ErrorKind) -> Option<Errno> {
    Some(match kind {
        ErrorKind::NotFound => Errno::ENOENT,
        ErrorKind::PermissionDenied => Errno::EACCES,
        ErrorKind::AlreadyExists => Errno::EEXIST,
        ErrorKind::IsADirectory => Errno::EISDIR,
        ErrorKind::NotADirectory => Errno::ENOTDIR,
        ErrorKind::WouldBlock => Errno::EAGAIN,
        ErrorKind::TimedOut => Errno::ETIMEDOUT,
        ErrorKind::Interrupted => Errno::EINTR,
        ErrorKind::ConnectionRefused => Errno::ECONNREFUSED,
        ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted => Errno::ECONNRESET,
        ErrorKind::NotConnected => Errno::ENOTCONN,
        ErrorKind::AddrInUse => Errno::EADDRINUSE,
        ErrorKind::AddrNotAvailable => Errno::EADDRNOTAVAIL,
        ErrorKind::HostUnreachable => Errno::EHOSTUNREACH,
        ErrorKind::NetworkUnreachable | ErrorKind::NetworkDown => Errno::ENETUNREACH,
        ErrorKind::BrokenPipe | ErrorKind::WriteZero => Errno::EPIPE,
        ErrorKind::StorageFull => Errno::ENOSPC,
        ErrorKind::QuotaExceeded => Errno::EDQUOT,
        ErrorKind::OutOfMemory => Errno::ENOMEM,
        ErrorKind::Unsupported => Errno::ENOSYS,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lang::{Lang, french_of};

    #[test]
    fn all_meanings_are_in_the_catalogue() {
        let meanings = ERRNOS.iter().map(|(_, meaning)| meaning).chain(LOOKUPS.iter().map(|(_, meaning)| meaning));
        for meaning in meanings {
            assert!(french_of(meaning).is_some(), "{meaning}");
        }
    }

    #[test]
    fn reasons_are_templates() {
        let french = |error: io::Error| Lang::French.message(&error.said());
        for (error, expected) in [
            (io::Error::from_raw_os_error(2), "fichier ou répertoire inexistant"),
            (io::Error::from_raw_os_error(13), "permission refusée"),
            (io::Error::from_raw_os_error(98), "adresse déjà utilisée"),
            (io::Error::from_raw_os_error(104), "connexion coupée par l'autre côté"),
            (ErrorKind::AddrInUse.into(), "adresse déjà utilisée"),
            (io::Error::new(ErrorKind::UnexpectedEof, "Peer disconnected"), "les données se terminent trop tôt"),
            (io::Error::other(message!("no answer in HTTP")), "la réponse n'est pas du HTTP"),
            (io::Error::other("odd\nwords"), "« odd words »"),
            (
                io::Error::other("failed to lookup address information: Name or service not known"),
                "impossible de résoudre ce nom : ce nom n'existe pas",
            ),
            (io::Error::from_raw_os_error(63), "erreur 63 du système : « Out of streams resources »"),
        ] {
            assert_eq!(french(error), expected);
        }
        assert_eq!(io::read_to_string(&b"\xff"[..]).unwrap_err().said().to_string(), "it is not UTF-8");
    }

    #[test]
    fn the_system_looks_names_up_in_known_words() {
        use std::net::ToSocketAddrs;
        // Whatever this machine's resolver says, it is in the table.
        let error = "no such name.invalid:1".to_socket_addrs().unwrap_err();
        let text = Lang::French.message(&error.said());
        assert!(text.starts_with("impossible de résoudre ce nom : ") && !text.contains('«'), "{error}: {text}");
    }
}
