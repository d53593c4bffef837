//! Where rrdcached listens.

use std::fmt;
use std::path::PathBuf;

use gmetad_core::conf::RrdcachedAddress;

/// Where rrdcached listens. Prints as `unix:PATH`, `host:port` or `[v6]:port`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Address {
    /// A Unix socket.
    Unix(PathBuf),
    /// A TCP port.
    Tcp {
        /// A name, an IPv4 address, or an IPv6 address without brackets. All addresses of a name are tried in turn.
        host: String,
        /// The port.
        port: u16,
    },
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
        }
    }
}

impl From<&RrdcachedAddress> for Address {
    fn from(address: &RrdcachedAddress) -> Self {
        match address {
            RrdcachedAddress::Unix(path) => Self::Unix(path.clone()),
            RrdcachedAddress::Tcp(tcp) => Self::Tcp { host: tcp.host.clone(), port: tcp.port },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_print_as_they_are_configured() {
        let tcp =
            |host: &str| Address::from(&RrdcachedAddress::Tcp(gmetad_core::Address::new(host, 42217))).to_string();
        assert_eq!(tcp("rrd.example.org"), "rrd.example.org:42217");
        assert_eq!(tcp("::1"), "[::1]:42217");
        assert_eq!(Address::from(&RrdcachedAddress::Unix("/run/r.sock".into())).to_string(), "unix:/run/r.sock");
    }
}
