//! Who may connect.

use std::net::IpAddr;
use std::time::Duration;

use crate::source::Resolver;

/// An entry of `trusted_hosts`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trusted {
    /// All addresses with this prefix (length in bits).
    Net(IpAddr, u8),
    /// All addresses of this host, as they are at start or reload.
    Name(String),
}

/// The addresses that may connect. `127.0.0.1` and `::1` always may.
#[derive(Clone, Debug, Default)]
pub struct AccessList {
    all: bool,
    nets: Vec<(IpAddr, u8)>,
}

impl AccessList {
    /// Everybody.
    pub fn everybody() -> Self {
        Self { all: true, nets: Vec::new() }
    }

    /// These, with their names resolved. Returns the names that could not be.
    pub fn new(trusted: &[Trusted], resolver: &Resolver, timeout: Duration) -> (Self, Vec<String>) {
        let mut nets = Vec::new();
        let mut unresolved = Vec::new();
        for entry in trusted {
            match entry {
                Trusted::Net(ip, prefix) => nets.push((ip.to_canonical(), *prefix)),
                Trusted::Name(name) => match resolver.resolve(name, timeout) {
                    Ok(ips) => nets.extend(ips.into_iter().map(|ip| (ip.to_canonical(), bits(ip.to_canonical())))),
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
            || self.nets.iter().any(|(net, prefix)| within(peer, *net, *prefix))
    }
}

fn bits(ip: IpAddr) -> u8 {
    if ip.is_ipv4() { 32 } else { 128 }
}

fn within(peer: IpAddr, net: IpAddr, prefix: u8) -> bool {
    match (peer, net) {
        (IpAddr::V4(peer), IpAddr::V4(net)) => {
            (u32::from(peer) ^ u32::from(net)).checked_shr(32 - u32::from(prefix.min(32))).unwrap_or(0) == 0
        }
        (IpAddr::V6(peer), IpAddr::V6(net)) => {
            (u128::from(peer) ^ u128::from(net)).checked_shr(128 - u32::from(prefix.min(128))).unwrap_or(0) == 0
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_and_loopback_are_allowed() {
        let net = |ip: &str, prefix| Trusted::Net(ip.parse().expect("ip"), prefix);
        let list = [net("10.1.0.0", 16), net("192.0.2.7", 32), net("2001:db8::", 32)];
        let (list, unresolved) = AccessList::new(&list, &Resolver::default(), Duration::from_secs(1));
        assert!(unresolved.is_empty());
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
        let (all, _) = AccessList::new(&[net("0.0.0.0", 0)], &Resolver::default(), Duration::from_secs(1));
        assert!(all.allows(IpAddr::from([8, 8, 8, 8])) && !all.allows("2001:db8::".parse().expect("ip")));
        assert!(AccessList::everybody().allows("2001:db8::".parse().expect("ip")));
    }
}
