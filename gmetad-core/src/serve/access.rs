//! Who may connect.

use std::net::IpAddr;
use std::time::Duration;

use crate::conf::{Config, Trust};
use crate::limits;
use crate::source::Resolver;

/// The addresses that may connect. `127.0.0.1` and `::1` always may.
#[derive(Clone, Debug, Default)]
pub struct AccessList {
    all: bool,
    nets: Vec<Trust>,
}

impl AccessList {
    /// Everybody.
    pub fn everybody() -> Self {
        Self { all: true, nets: Vec::new() }
    }

    /// Whom a configuration trusts. Names that cannot be resolved are logged and trust nobody.
    pub fn of_config(config: &Config, resolver: &Resolver) -> Self {
        if config.all_trusted { Self::everybody() } else { Self::resolved(&config.trusted_hosts, resolver) }
    }

    pub(crate) fn resolved(trusted: &[Trust], resolver: &Resolver) -> Self {
        let (list, unresolved) = Self::new(trusted, resolver, limits::RESOLVE_TIMEOUT);
        for name in unresolved {
            log::warn!("Warning: we failed to resolve trusted host name {name}");
        }
        list
    }

    /// These, with their names resolved as they are now. Returns the names that could not be.
    pub fn new(trusted: &[Trust], resolver: &Resolver, timeout: Duration) -> (Self, Vec<String>) {
        let mut nets = Vec::new();
        let mut unresolved = Vec::new();
        for entry in trusted {
            match entry {
                Trust::Net(..) => nets.push(entry.clone()),
                Trust::Name(name) => match resolver.resolve(name, timeout) {
                    Ok(ips) => nets.extend(ips.into_iter().map(|ip| {
                        let ip = ip.to_canonical();
                        Trust::Net(ip, if ip.is_ipv4() { 32 } else { 128 })
                    })),
                    Err(_) => unresolved.push(name.clone()),
                },
            }
        }
        (Self { all: false, nets }, unresolved)
    }

    /// Whether `peer` may connect.
    pub fn allows(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        self.all
            || peer == IpAddr::from([127, 0, 0, 1])
            || peer == IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1u16])
            || self.nets.iter().any(|net| net.contains(peer))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_names_and_loopback_are_allowed() {
        let net = |ip: &str, prefix| Trust::Net(ip.parse().expect("ip"), prefix);
        let list = [net("10.1.0.0", 16), net("192.0.2.7", 32), net("2001:db8::", 32), Trust::Name("no.invalid".into())];
        let (list, unresolved) = AccessList::new(&list, &Resolver::default(), Duration::from_secs(2));
        assert_eq!(unresolved, ["no.invalid"]);
        for (ip, allowed) in [
            ("127.0.0.1", true),
            ("127.0.0.2", false),
            ("::1", true),
            ("10.1.255.1", true),
            ("10.2.0.1", false),
            ("192.0.2.7", true),
            ("192.0.2.8", false),
            ("2001:db8:1::5", true),
            ("2001:db9::", false),
            ("::ffff:10.1.2.3", true),
        ] {
            assert_eq!(list.allows(ip.parse().expect("ip")), allowed, "{ip}");
        }
        assert!(AccessList::everybody().allows("2001:db8::".parse().expect("ip")));
    }
}
