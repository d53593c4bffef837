//! The values directives take, and how each is written.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use super::source::Address;

/// Port of rrdcached if none is given.
pub const DEFAULT_RRDCACHED_PORT: u16 = 42217;

/// An enum whose variants are words of the file.
macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name { $($(#[$doc])* $variant,)* }

        impl $name {
            pub(crate) const WORDS: &'static [&'static str] = &[$($word),*];

            /// The word of the configuration file.
            pub fn as_str(self) -> &'static str {
                match self { $($name::$variant => $word),* }
            }

            pub(crate) fn parse(text: &str) -> Option<$name> {
                let text = text.to_ascii_lowercase();
                [$($name::$variant),*].into_iter().find(|known| known.as_str() == text)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

words! {
    /// Transport of an exporter.
    Protocol {
        /// A connection.
        #[default]
        Tcp = "tcp",
        /// Datagrams.
        Udp = "udp",
    }
}

words! {
    /// Which code writes RRD files.
    RrdBackend {
        /// Our own.
        #[default]
        Native = "native",
        /// librrd, loaded when the program starts.
        Librrd = "librrd",
        /// An rrdcached, over a socket.
        Rrdcached = "rrdcached",
    }
}

words! {
    /// Who may send updates to `rrd_socket`.
    SocketUpdates {
        /// Root and the user of the daemon, over a Unix socket.
        #[default]
        Owner = "owner",
        /// Whoever can connect.
        All = "all",
    }
}

words! {
    /// The least severe messages that are logged.
    LogLevel {
        /// Only what ends the program.
        Fatal = "fatal",
        /// Parts of the program that stopped working.
        Critical = "critical",
        /// Errors.
        Error = "error",
        /// Things that need attention.
        Warning = "warning",
        /// What C gmetad logs.
        #[default]
        Info = "info",
        /// Every step.
        Debug = "debug",
    }
}

/// By how much polls are spread around their interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Jitter {
    /// Percent of the data_source's interval, 0 to 100.
    Percent(u32),
    /// Seconds, 0 to 3600.
    Seconds(u32),
}

impl Default for Jitter {
    fn default() -> Jitter {
        Jitter::Percent(0)
    }
}

impl Jitter {
    pub(crate) fn parse(text: &str) -> Option<Jitter> {
        let jitter = match text.strip_suffix('s') {
            Some(seconds) => Jitter::Seconds(digits(seconds)?),
            None => Jitter::Percent(digits(text.strip_suffix('%').unwrap_or(text))?),
        };
        match jitter {
            Jitter::Percent(0..=100) | Jitter::Seconds(0..=3600) => Some(jitter),
            _ => None,
        }
    }
}

impl fmt::Display for Jitter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Jitter::Percent(percent) => write!(f, "{percent}%"),
            Jitter::Seconds(seconds) => write!(f, "{seconds}s"),
        }
    }
}

/// Who may read the XML ports.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Trust {
    /// Every address that agrees with this one in the first so many bits.
    Net(IpAddr, u8),
    /// The addresses of this host name, to be looked up.
    Name(String),
}

impl Trust {
    /// Whether an address belongs to the network; never for a name. An IPv4 address in IPv6 clothes counts as IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self, address.to_canonical()) {
            (Trust::Net(IpAddr::V4(net), prefix), IpAddr::V4(address)) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(*prefix).min(32)).unwrap_or(0);
                (net.to_bits() ^ address.to_bits()) & mask == 0
            }
            (Trust::Net(IpAddr::V6(net), prefix), IpAddr::V6(address)) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(*prefix).min(128)).unwrap_or(0);
                (net.to_bits() ^ address.to_bits()) & mask == 0
            }
            _ => false,
        }
    }

    /// `10.0.0.7`, `10.1`, `0x7f.1`, `10.0.0.0/8`, `2001:db8::/32`, `[::1]`, `host.example.com`.
    pub(crate) fn parse(text: &str) -> Option<Trust> {
        let (host, prefix) = match text.split_once('/') {
            Some((host, prefix)) => (host, Some(digits(prefix)?)),
            None => (text, None),
        };
        let ip = ip(host).or_else(|| inet_aton(host).map(IpAddr::V4));
        match (ip, prefix) {
            (Some(ip), prefix) => {
                let most = if ip.is_ipv4() { 32 } else { 128 };
                let prefix = prefix.unwrap_or(most);
                let clothes = if ip.is_ipv6() && ip.to_canonical().is_ipv4() && prefix >= 96 { 96 } else { 0 };
                let ip = if clothes > 0 { ip.to_canonical() } else { ip };
                (prefix <= most).then_some(Trust::Net(ip, u8::try_from(prefix - clothes).ok()?))
            }
            (None, Some(_)) => None,
            (None, None) => (!host.is_empty() && !host.contains(':')).then(|| Trust::Name(host.to_owned())),
        }
    }
}

impl fmt::Display for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Trust::Net(ip, prefix) => write!(f, "{ip}/{prefix}"),
            Trust::Name(name) => f.write_str(name),
        }
    }
}

/// Where rrdcached listens.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum RrdcachedAddress {
    /// A TCP port.
    Tcp(Address),
    /// A Unix socket.
    Unix(PathBuf),
}

impl RrdcachedAddress {
    /// `a.b.c.d:port` as in C; also host names, IPv6, no port (42217), `unix:PATH`, an absolute path.
    pub(crate) fn parse(text: &str) -> Option<RrdcachedAddress> {
        let path = text.strip_prefix("unix:").or_else(|| text.starts_with('/').then_some(text));
        match path {
            Some(path) => (!path.is_empty()).then(|| RrdcachedAddress::Unix(PathBuf::from(path))),
            None => Address::parse(text, DEFAULT_RRDCACHED_PORT).map(|found| RrdcachedAddress::Tcp(found.0)),
        }
    }
}

impl fmt::Display for RrdcachedAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RrdcachedAddress::Tcp(address) => address.fmt(f),
            RrdcachedAddress::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// A toggle as C reads it, and whether the word is one a reader would take the same way.
pub(crate) fn toggle(text: &str) -> (bool, bool) {
    let lower = text.to_ascii_lowercase();
    let on = lower.starts_with(['y', '1']) || lower.starts_with("on");
    let clear = matches!(lower.as_str(), "on" | "off" | "yes" | "no" | "1" | "0" | "y" | "n" | "false");
    (on, clear)
}

/// A number as C's `%li`: `0x` is hexadecimal, a leading 0 octal; and what is left behind it. `None`: no number.
pub(crate) fn c_integer(text: &str) -> Option<(i64, &str)> {
    let text = text.trim_start();
    let (negative, body) = match text.strip_prefix('-') {
        Some(body) => (true, body),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let hexadecimal = body.strip_prefix("0x").or_else(|| body.strip_prefix("0X"));
    let (radix, digits) = match hexadecimal.filter(|digits| digits.starts_with(|c: char| c.is_ascii_hexdigit())) {
        Some(digits) => (16, digits),
        None if body.starts_with('0') => (8, body),
        None => (10, body),
    };
    let end = digits.find(|c: char| !c.is_digit(radix)).unwrap_or(digits.len());
    if end == 0 {
        return None;
    }
    let value = i64::from_str_radix(&digits[..end], radix).unwrap_or(i64::MAX);
    Some((if negative { -value } else { value }, &digits[end..]))
}

/// Decimal digits and nothing else.
pub(crate) fn digits(text: &str) -> Option<u32> {
    let plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    plain.then(|| text.parse().unwrap_or(u32::MAX))
}

/// An IP address, IPv6 also in brackets.
pub(crate) fn ip(text: &str) -> Option<IpAddr> {
    match text.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')) {
        Some(inner) => inner.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        None => text.parse().ok(),
    }
}

/// All forms of inet_aton: one to four numbers, each decimal, octal or hexadecimal; the last fills what is left.
fn inet_aton(text: &str) -> Option<Ipv4Addr> {
    let number = |part: &str| match part.bytes().all(|b| b.is_ascii_alphanumeric()) {
        true => c_integer(part).filter(|found| found.1.is_empty()).and_then(|found| u32::try_from(found.0).ok()),
        false => None,
    };
    let parts: Vec<u32> = text.split('.').map(number).collect::<Option<_>>()?;
    let (&last, leading) = parts.split_last()?;
    if leading.len() > 3 || leading.iter().any(|&part| part > 255) {
        return None;
    }
    let left = 32 - 8 * leading.len() as u32;
    if left < 32 && last >> left != 0 {
        return None;
    }
    let high = leading.iter().enumerate().fold(0, |sum, (i, part)| sum | part << (24 - 8 * i));
    Some(Ipv4Addr::from_bits(high | last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_as_in_c() {
        for (text, expected) in [
            ("8651", Some((8651, ""))),
            ("0x10", Some((16, ""))),
            ("022", Some((18, ""))),
            ("089", Some((0, "89"))),
            ("0x", Some((0, "x"))),
            ("-5", Some((-5, ""))),
            ("+5 ", Some((5, " "))),
            ("12abc", Some((12, "abc"))),
            ("99999999999999999999", Some((i64::MAX, ""))),
            ("abc", None),
            ("", None),
            ("-", None),
        ] {
            assert_eq!(c_integer(text), expected, "{text}");
        }
    }

    #[test]
    fn trusted_hosts() {
        let net = |text: &str, prefix| Some(Trust::Net(text.parse().unwrap(), prefix));
        for (text, expected) in [
            ("10.1", net("10.0.0.1", 32)),
            ("0x7f.1", net("127.0.0.1", 32)),
            ("010.0.0.1", net("8.0.0.1", 32)),
            ("16909060", net("1.2.3.4", 32)),
            ("10.0.0.0/8", net("10.0.0.0", 8)),
            ("0/0", net("0.0.0.0", 0)),
            ("2001:db8::/32", net("2001:db8::", 32)),
            ("[::1]", net("::1", 128)),
            ("::ffff:10.0.0.1", net("10.0.0.1", 32)),
            ("::ffff:10.0.0.0/104", net("10.0.0.0", 8)),
            ("10.0.0.256", Some(Trust::Name("10.0.0.256".into()))),
            ("web.example.com", Some(Trust::Name("web.example.com".into()))),
            ("10.0.0.0/33", None),
            ("10.0.0.0/", None),
            ("10.0.0.0/255.0.0.0", None),
            ("web/8", None),
            ("::x", None),
        ] {
            assert_eq!(Trust::parse(text), expected, "{text}");
        }
    }

    #[test]
    fn networks_contain() {
        let inside = |net: &str, address: &str| Trust::parse(net).unwrap().contains(address.parse().unwrap());
        assert!(inside("10.1.2.3/8", "10.9.9.9"));
        assert!(!inside("10.1.2.3/8", "11.1.2.3"));
        assert!(inside("0.0.0.0/0", "255.1.2.3"));
        assert!(!inside("0.0.0.0/0", "::1"));
        assert!(inside("127.0.0.1", "::ffff:127.0.0.1"));
        assert!(inside("2001:db8::/32", "2001:db8:1::"));
        assert!(!inside("::1", "::2"));
    }

    #[test]
    fn toggles_as_in_c() {
        for (text, on) in [("yes", true), ("Y", true), ("1", true), ("ON", true), ("one", true), ("true", false)] {
            assert_eq!(toggle(text).0, on, "{text}");
        }
    }
}
