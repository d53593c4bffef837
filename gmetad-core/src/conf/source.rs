//! `data_source NAME [INTERVAL] HOST[:PORT] …`. (Reference: gmetad.md, section 1.3.)

use std::fmt;
use std::net::Ipv6Addr;
use std::time::Duration;

use super::config::Config;
use super::error::{Cause, Fault, Place};
use super::lexer::quote;
use super::resolve::Args;
use super::value::{c_integer, digits};

/// Port of gmond's XML if none is given.
pub const DEFAULT_GMOND_PORT: u16 = 8649;
/// Time between two polls if none is given.
pub const DEFAULT_INTERVAL: Duration = Duration::from_secs(15);

/// One data_source. Equality ignores where it stands, so that a reload can tell what changed.
#[derive(Debug, Clone)]
pub struct SourceConfig {
    /// Its name: unique, for logs; not the name of a cluster.
    pub name: String,
    /// Time between two polls, whole seconds, at least 1.
    pub interval: Duration,
    /// Where to ask, in this order; at least one.
    pub addresses: Vec<Address>,
    /// Where the line stands.
    pub place: Place,
}

impl PartialEq for SourceConfig {
    fn eq(&self, other: &SourceConfig) -> bool {
        self.name == other.name && self.interval == other.interval && self.addresses == other.addresses
    }
}

/// A host and a port, not looked up yet; prints as `host:port` or `[v6]:port`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Address {
    /// A host name or an address, IPv6 without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

impl Address {
    /// `host`, `host:port`, `::1`, `[::1]`, `[::1]:port`; and the rubbish behind the port, which C ignores.
    pub(crate) fn parse(text: &str, default_port: u16) -> Option<(Address, &str)> {
        let (host, port) = match text.strip_prefix('[') {
            Some(inner) => {
                let (host, behind) = inner.split_once(']').filter(|found| is_ipv6(found.0))?;
                if behind.is_empty() { (host, None) } else { (host, Some(behind.strip_prefix(':')?)) }
            }
            None if is_ipv6(text) => (text, None),
            None => match text.split_once(':') {
                // `a:8649,b:8649` works in C, with the first host.
                Some((_, port)) if port.split(',').next().is_some_and(|first| first.contains(':')) => return None,
                Some((host, port)) => (host, Some(port)),
                None => (text, None),
            },
        };
        let (port, rubbish) = match port {
            None => (default_port, ""),
            Some(port) => {
                let end = port.find(|c: char| !c.is_ascii_digit()).unwrap_or(port.len());
                (port[..end].parse().ok().filter(|&port| port > 0)?, &port[end..])
            }
        };
        (!host.is_empty()).then(|| (Address { host: host.to_owned(), port }, rubbish))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// An IPv6 address, perhaps with a zone as in `fe80::1%eth0`.
fn is_ipv6(text: &str) -> bool {
    text.split('%').next().is_some_and(|address| address.parse::<Ipv6Addr>().is_ok())
}

/// Reads the arguments of a line into the configuration.
pub(crate) fn set(config: &mut Config, args: &mut Args<'_>) -> Result<(), Fault> {
    let words = args.list();
    let Some((name, mut rest)) = words.split_first() else { return Err(args.missing()) };
    let mut interval = DEFAULT_INTERVAL;
    if let Some(word) = rest.first() {
        match seconds(&word.text) {
            Seconds::Plain(seconds) => {
                interval = Duration::from_secs(seconds.into());
                rest = &rest[1..];
            }
            Seconds::Negative => {
                let default = DEFAULT_INTERVAL.as_secs();
                args.warn(word, format!("{:?} is no interval; {default} seconds are used", word.text));
                rest = &rest[1..];
            }
            Seconds::Like => {
                let text = format!("{:?} is taken for a host: an interval is a whole number of seconds", word.text);
                args.warn(word, text);
            }
            Seconds::No => {}
        }
    }
    if let [_, .., last] = rest
        && digits(&last.text).is_some()
    {
        let text = format!("{:?} is taken for a host: the interval stands right after the name", last.text);
        args.warn(last, text);
    }
    let mut addresses = Vec::with_capacity(rest.len());
    for word in rest {
        let expected = "HOST, HOST:PORT or [IPV6]:PORT with a port from 1 to 65535";
        let (address, rubbish) =
            Address::parse(&word.text, DEFAULT_GMOND_PORT).ok_or_else(|| args.bad(word, expected))?;
        if !rubbish.is_empty() {
            args.warn(word, format!("{rubbish:?} behind the port is ignored"));
        }
        addresses.push(address);
    }
    if addresses.is_empty() {
        return Err(Fault::at(args.place(), Cause::NoHost { name: name.text.clone() }));
    }
    let source = SourceConfig { name: name.text.clone(), interval, addresses, place: args.place().clone() };
    match config.sources.iter_mut().find(|known| known.name == source.name) {
        Some(known) => {
            args.warn(name, format!("data_source {:?} replaces the one at {}", source.name, known.place));
            *known = source;
        }
        None => config.sources.push(source),
    }
    Ok(())
}

/// One line a source.
pub(crate) fn show(config: &Config) -> Vec<String> {
    let line = |source: &SourceConfig| {
        let addresses = source.addresses.iter().map(|address| format!(" {}", quote(&address.to_string())));
        format!("{} {}{}", quote(&source.name), source.interval.as_secs(), addresses.collect::<String>())
    };
    config.sources.iter().map(line).collect()
}

enum Seconds {
    Plain(u32),
    /// C takes it for a huge number and hardly ever polls.
    Negative,
    /// Was meant as an interval, but is a host to C.
    Like,
    No,
}

fn seconds(text: &str) -> Seconds {
    match digits(text.strip_prefix('+').unwrap_or(text)) {
        Some(0) => Seconds::Like,
        Some(seconds) => Seconds::Plain(seconds),
        None if text.strip_prefix('-').and_then(digits).is_some() => Seconds::Negative,
        None => match c_integer(text).map(|found| found.1) {
            Some("s" | "sec" | "m" | "min" | "h") => Seconds::Like,
            Some(rest) if rest.strip_prefix('.').and_then(digits).is_some() => Seconds::Like,
            _ => Seconds::No,
        },
    }
}
