//! Host names to addresses, with a deadline.
//!
//! `getaddrinfo` may block for minutes and cannot be interrupted, so it runs on helper threads; whoever waits gives up
//! at the deadline and the helper's answer is kept for the next time.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, ToSocketAddrs};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::{SLICE, Stop};
use crate::limits;

/// Resolves names on helper threads. Clones share the helpers.
#[derive(Clone, Debug, Default)]
pub struct Resolver(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    lookups: Mutex<HashMap<String, Lookup>>,
    answered: Condvar,
}

#[derive(Clone, Debug)]
enum Lookup {
    Running,
    Done(Result<Vec<IpAddr>, String>),
}

impl Resolver {
    /// The addresses of `host`, in the order the system gives them. Literal addresses cost nothing.
    ///
    /// # Errors
    /// The resolver's own error, `TimedOut` after `timeout`, or `WouldBlock` when too many look-ups hang already.
    pub fn resolve(&self, host: &str, timeout: Duration) -> io::Result<Vec<IpAddr>> {
        self.resolve_until(host, timeout, &Stop::default())
    }

    /// [`Resolver::resolve`], given up soon after `stop` is set (`Interrupted`).
    pub(crate) fn resolve_until(&self, host: &str, timeout: Duration, stop: &Stop) -> io::Result<Vec<IpAddr>> {
        if let Ok(ip) = host.parse::<IpAddr>() {
            return Ok(vec![ip]);
        }
        let deadline = Instant::now() + timeout;
        let mut lookups = self.0.lookups.lock();
        if !lookups.contains_key(host) {
            let running = lookups.values().filter(|lookup| matches!(lookup, Lookup::Running)).count();
            if running >= limits::RESOLVER_THREADS {
                return Err(io::Error::new(io::ErrorKind::WouldBlock, "too many name look-ups are hanging"));
            }
            lookups.insert(host.to_owned(), Lookup::Running);
            drop(lookups);
            let shared = Arc::clone(&self.0);
            let name = host.to_owned();
            let spawned = thread::Builder::new().name("resolver".to_owned()).spawn(move || shared.run(&name));
            lookups = self.0.lookups.lock();
            if let Err(error) = spawned {
                // Nobody runs it: the next one may try again.
                lookups.remove(host);
                return Err(error);
            }
        }
        loop {
            if let Some(Lookup::Done(result)) = lookups.get(host) {
                let result = result.clone();
                lookups.remove(host);
                return result.map_err(io::Error::other);
            }
            if !lookups.contains_key(host) {
                // Somebody else took the answer of a look-up we shared.
                drop(lookups);
                return self.resolve_until(host, deadline.saturating_duration_since(Instant::now()), stop);
            }
            if stop.is_stopped() {
                return Err(io::Error::new(io::ErrorKind::Interrupted, "stopped"));
            }
            let slice = deadline.min(Instant::now() + SLICE);
            if self.0.answered.wait_until(&mut lookups, slice).timed_out() && Instant::now() >= deadline {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "the name look-up took too long"));
            }
        }
    }
}

impl Shared {
    fn run(&self, host: &str) {
        let result = (host, 0)
            .to_socket_addrs()
            .map(|addresses| {
                let mut ips: Vec<IpAddr> = Vec::new();
                for address in addresses {
                    if !ips.contains(&address.ip()) {
                        ips.push(address.ip());
                    }
                }
                ips
            })
            .map_err(|error| error.to_string());
        self.lookups.lock().insert(host.to_owned(), Lookup::Done(result));
        self.answered.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_literals_are_resolved() {
        let resolver = Resolver::default();
        let second = Duration::from_secs(5);
        assert_eq!(resolver.resolve("::1", second).expect("literal"), ["::1".parse::<IpAddr>().expect("ip")]);
        assert!(resolver.resolve("localhost", second).expect("localhost").iter().all(IpAddr::is_loopback));
        assert!(resolver.resolve("no-such-host.invalid", second).is_err());
    }
}
