//! Whether a browser was sent here by somebody else's page.
//!
//! A page on a loopback address trusts whoever reaches it, and every web site the user looks at can make the browser
//! reach it: under a name of its own that it lets point to 127.0.0.1 (DNS rebinding), or by naming the address in a
//! script tag. The first is told by `Host`, the second by `Sec-Fetch-Site`, which browsers send to loopback.

use std::net::IpAddr;

use crate::request::Request;
use crate::response::Response;

/// Which `Host` is answered.
#[derive(Clone, Debug)]
pub struct HostRule {
    /// The address of the port, if it is a loopback one; others answer to any name.
    loopback: Option<IpAddr>,
    names: Vec<String>,
}

impl HostRule {
    /// The rule of a port bound to `ip`. On loopback: `localhost`, any loopback address, and `names`; elsewhere the
    /// names a machine is known by cannot be known, and who may connect is decided by address.
    pub fn bound_to(ip: IpAddr, names: &[&str]) -> Self {
        let names = names.iter().filter(|name| !name.is_empty()).map(|&name| name.to_owned()).collect();
        Self { loopback: Some(ip.to_canonical()).filter(IpAddr::is_loopback), names }
    }

    /// The refusal, if there is one: 421 for a foreign host, 403 for what another site's page asks for.
    pub fn refuses(&self, request: &Request) -> Option<Response> {
        let is = |name, value: &str| request.header(name).is_some_and(|own| own.eq_ignore_ascii_case(value));
        if is("sec-fetch-site", "cross-site") && !is("sec-fetch-mode", "navigate") {
            return Some(Response::text(403, "Not for pages of another site.\n"));
        }
        // No browser sends HTTP/1.0 or leaves out Host.
        let host = request.host()?;
        if self.loopback.is_none() || self.knows(host) {
            return None;
        }
        Some(Response::text(421, "This port is for the machine itself: ask for localhost.\n"))
    }

    fn knows(&self, host: &str) -> bool {
        let (name, port) = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((name, port)) => (name, port),
            None => host.split_at(host.find(':').unwrap_or(host.len())),
        };
        let is_port = port.is_empty() || port.strip_prefix(':').is_some_and(|p| p.bytes().all(|b| b.is_ascii_digit()));
        let name = name.strip_suffix('.').unwrap_or(name);
        is_port
            && match name.parse::<IpAddr>() {
                Ok(ip) => ip.to_canonical().is_loopback(),
                Err(_) => {
                    name.eq_ignore_ascii_case("localhost")
                        || self.names.iter().any(|own| own.eq_ignore_ascii_case(name))
                }
            }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(bound: &str, headers: &str) -> Option<u16> {
        let text = format!("GET / HTTP/1.1\r\n{headers}\r\n\r\n");
        let request = Request::parse(text.as_bytes()).expect("well-formed").expect("complete");
        HostRule::bound_to(bound.parse().expect("ip"), &["node1", ""]).refuses(&request).map(|r| r.status())
    }

    #[test]
    fn loopback_pages_answer_to_names_of_the_machine_only() {
        for (host, status) in [
            ("localhost", None),
            ("LocalHost.:8653", None),
            ("127.0.0.1:8653", None),
            ("127.9.9.9", None),
            ("[::1]:8653", None),
            ("[::1]", None),
            ("[::ffff:127.0.0.1]", None),
            ("NODE1:8653", None),
            ("", Some(421)),
            ("evil.example", Some(421)),
            ("localhost.evil.example", Some(421)),
            ("192.0.2.1", Some(421)),
            ("localhost:x", Some(421)),
            ("[localhost", Some(421)),
            ("[::1]evil", Some(421)),
        ] {
            assert_eq!(refused("127.0.0.1", &format!("Host: {host}")), status, "{host}");
            assert_eq!(refused("::", &format!("Host: {host}")), None, "{host}");
        }
    }

    #[test]
    fn other_sites_pages_get_nothing() {
        for (headers, status) in [
            ("Sec-Fetch-Site: none\r\nSec-Fetch-Mode: navigate", None),
            ("Sec-Fetch-Site: same-origin\r\nSec-Fetch-Mode: no-cors", None),
            ("Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate", None),
            ("Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: no-cors", Some(403)),
        ] {
            assert_eq!(refused("::1", &format!("Host: localhost\r\n{headers}")), status, "{headers}");
        }
    }
}
