//! What is wrong with RRD files.

use gmetad_core::agent::Message;
use gmetad_core::message;
use gmetad_rrd::{FormatError, RrdError, SchemaError, UpdateError};

use super::{Said, quoted};

impl Said for RrdError {
    fn said(&self) -> Message {
        let (path, why) = match self {
            Self::Missing { path } => (path, message!("no such RRD file")),
            Self::Outside { path } => (path, message!("outside of the directory of data")),
            Self::Io { path, source, .. } => (path, source.said()),
            Self::Locked { path } => (path, message!("locked by another program")),
            Self::Format { path, source } => (path, source.said()),
            Self::Schema { path, source } => (path, message!("such a file cannot be made: {}", source.said())),
            Self::Refused { path, source, .. } => (path, source.said()),
            Self::Librrd { path, text } => (path, quoted(text)),
            Self::Rrdcached { path, text, .. } => (path, quoted(text)),
        };
        message!("{}: {}", path.display().to_string(), why)
    }
}

impl Said for FormatError {
    fn said(&self) -> Message {
        let why = match self {
            Self::NotRrd => message!("it does not begin as an RRD file does"),
            Self::Version(version) => message!("it is of version {}, and only 0003 and 0004 are known", version),
            Self::Architecture => message!("it was written on a machine of another architecture"),
            Self::Truncated { have, need } => message!("it has {} bytes where {} belong", *have, *need),
            Self::DsKind { kind, .. } => message!("it has a data source of the type {}, which is not known", kind),
            Self::Cf { cf, .. } => message!("it has an archive of {}, which is not known", cf),
            Self::Word { what, word } => message!("{} is {}", *what, word),
            Self::Damaged { what, value } => message!("{} is {}", *what, *value),
            Self::Schema(error) => error.said(),
        };
        message!("this is no whole RRD file: {}", why)
    }
}

impl Said for SchemaError {
    fn said(&self) -> Message {
        match self {
            Self::DsTwice(name) => message!("data source {} is there twice", name),
            Self::Limits(name) => message!("data source {}: min must be below max", name),
            other => quoted(&other.to_string()),
        }
    }
}

impl Said for UpdateError {
    fn said(&self) -> Message {
        match self {
            Self::Past { .. } => message!("the file has a later value already"),
            Self::Time(_) => message!("the clock is wrong"),
            other => message!("the value is refused: {}", quoted(&other.to_string())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lang::Lang;

    #[test]
    fn a_damaged_file_is_described_in_french() {
        let error = RrdError::Format { path: "/x.rrd".into(), source: FormatError::Truncated { have: 5, need: 9 } };
        assert_eq!(
            Lang::French.message(&error.said()),
            "/x.rrd : ce n'est pas un fichier RRD entier : il a 5 octets au lieu de 9"
        );
    }
}
