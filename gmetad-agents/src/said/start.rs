//! What keeps the service from starting, from mailing, from keeping data.

use std::path::Path;

use gmetad_core::agent::Message;
use gmetad_core::message;
use gmetad_http::{SecretError, ServerError, TlsError};
use gmetad_process::daemon::DaemonError;
use gmetad_process::logger::LogError;
use gmetad_process::mail::{MailCause, MailError, clean};
use gmetad_process::pidfile::PidFileError;
use gmetad_process::user::UserError;

use super::Said;
use crate::monitor::MonitorError;
use crate::store::StoreError;

fn shown(path: &Path) -> String {
    path.display().to_string()
}

impl Said for ServerError {
    fn said(&self) -> Message {
        match self {
            Self::Listen { address, error } => message!(
                "cannot listen on {}: {}; choose another port (--port) or address (--bind), or stop what listens there",
                address.to_string(),
                error.said()
            ),
            Self::Start(error) => message!("cannot start serving: {}", error.said()),
        }
    }
}

impl Said for TlsError {
    fn said(&self) -> Message {
        match self {
            Self::Read(path, error) => {
                message!("{}: {}; z_stats must be able to read it", shown(path), error.said())
            }
            Self::Pem(path, _, wanted) if wanted.contains("key") => {
                message!("{}: a file in PEM with a private key is needed", shown(path))
            }
            Self::Pem(path, ..) => message!("{}: a file in PEM with certificates is needed", shown(path)),
            Self::Pair { certificate, key, error } => message!(
                "{} and {}: {}; give a certificate (with its chain) and the key that it was made for",
                shown(certificate),
                shown(key),
                error.said()
            ),
        }
    }
}

impl Said for SecretError {
    fn said(&self) -> Message {
        match self {
            Self::Read(path, error) => {
                message!(
                    "{}: {}; give a file that z_stats may read, with the secret in its first line",
                    shown(path),
                    error.said()
                )
            }
            Self::Open(path) => message!("{}: everybody may read it; chmod o-rwx it", shown(path)),
            Self::Empty(path) => message!("{}: the first line is empty; write the secret there", shown(path)),
        }
    }
}

impl Said for PidFileError {
    fn said(&self) -> Message {
        match self {
            Self::Running { path, pid } => {
                message!("the service runs already: {} has the process id {}", shown(path), pid)
            }
            Self::Io { path, source } => message!(
                "the pid file {} cannot be written: {}; name another with --pid-file",
                shown(path),
                source.said()
            ),
        }
    }
}

impl Said for DaemonError {
    fn said(&self) -> Message {
        match self {
            Self::Died => message!("the service ended before it was ready; see its log, or start it with --foreground"),
            Self::Threads(count) => {
                message!("cannot go to the background with {} {thread|threads} running; use --foreground", *count)
            }
            Self::System { what, source } => {
                message!("cannot go to the background: {}: {}; try --foreground", *what, source.said())
            }
        }
    }
}

impl Said for LogError {
    fn said(&self) -> Message {
        match self {
            Self::File { path, source } => message!("{}: cannot be written: {}", shown(path), source.said()),
            Self::Thread(error) => message!("no thread can be started: {}", error.said()),
            Self::Twice => message!("there is a log already"),
        }
    }
}

impl Said for UserError {
    fn said(&self) -> Message {
        match self {
            Self::Unknown(name) => message!("there is no user {}; create it, or name another one", name),
            Self::Lookup { name, source } => message!("the user {} cannot be looked up: {}", name, source.said()),
            Self::NotRoot(name) => message!("only root can become {}", name),
            Self::Step { name, step, source } => message!(
                "cannot become {}: {}: {}; grant CAP_SETUID and CAP_SETGID, or start as that user",
                name,
                *step,
                source.said()
            ),
            Self::NotDropped(name) => {
                message!("becoming {} did not give up root for good; start as that user instead", name)
            }
        }
    }
}

impl Said for MonitorError {
    fn said(&self) -> Message {
        match self {
            Self::Store(error) => error.said(),
            Self::Thread(error) => message!("no thread can be started: {}", error.said()),
        }
    }
}

impl Said for StoreError {
    fn said(&self) -> Message {
        match self {
            Self::InUse { path } => message!(
                "{}: another z_stats uses this directory; stop it, or give this one another with --data",
                shown(path)
            ),
            Self::Io { path, source } => message!(
                "{}: cannot be used for data: {}; give another directory with --data",
                shown(path),
                source.said()
            ),
            Self::Thread(error) => message!("no thread can be started: {}", error.said()),
        }
    }
}

impl Said for MailError<Message> {
    fn said(&self) -> Message {
        let cause = match &self.cause {
            MailCause::Start(error) => message!("cannot be started: {}", error.said()),
            MailCause::Write(error) => message!("cannot be written to: {}", error.said()),
            MailCause::Wait(error) => message!("cannot be waited for: {}", error.said()),
            MailCause::Ended(ended) => super::ended((*ended).into()),
            MailCause::Over(why) => why.clone(),
        };
        match &*self.complaint {
            "" => cause,
            complaint => message!("{}; it said: {}", cause, clean(complaint, 400)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::ExitStatus;

    use super::*;
    use crate::lang::Lang;

    #[test]
    fn mails_that_are_not_taken() {
        let failed =
            |cause, complaint: &str| Lang::French.message(&MailError { cause, complaint: complaint.to_owned() }.said());
        let ended = |status| MailCause::Ended(ExitStatus::from_raw(status));
        assert_eq!(failed(ended(75 << 8), "queue full"), "code de retour 75 ; message : queue full");
        assert_eq!(failed(ended(9), ""), "terminé par le signal SIGKILL");
        let missing = MailCause::Start(std::io::ErrorKind::NotFound.into());
        assert_eq!(failed(missing, ""), "démarrage impossible : fichier ou répertoire inexistant");
    }
}
