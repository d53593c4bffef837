//! Hosts that must answer to ICMP echo.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use gmetad_core::agent::{AgentError, Context, Measurement, Message, State, Status};
use gmetad_core::message;
use serde::Deserialize;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use toml::Table;

use super::net;
use super::net::{Address, Until};
use super::plan::{BLUE, GREEN, Limits, MINUTE, Plan, Probe, RED, area, graph, keys_with, percentages};
use super::rand::random_bits;
use super::services::{Answer, Asked, ask, asked, measurement};
use crate::kind::Kind;
use crate::said::Said;
use crate::spec::Installed;

/// How long one answer is waited for.
const WAIT: Duration = Duration::from_secs(1);
/// Between two questions: some routers answer only a few a second.
const PAUSE: Duration = Duration::from_millis(200);
/// Most questions a measurement: with [`WAIT`] they fit into the patience of a question over the network.
const MOST: u32 = 8;

pub(super) const KIND: Kind =
    Kind { name: "ping", about: "Hosts that answer", section: "Network", build, default: Vec::new };

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {
    /// Host name or address -> label.
    hosts: BTreeMap<String, String>,
    /// Questions a measurement.
    #[serde(default = "three")]
    count: u32,
}

fn three() -> u32 {
    3
}

struct Ping {
    hosts: Vec<Asked<Host>>,
    count: u32,
}

struct Host(Address);

impl std::fmt::Display for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0.host)
    }
}

fn build(name: &str, mut own: Table) -> Result<Installed, Message> {
    let limits = Limits::take(&mut own)?;
    let example = message!("write hosts = { \"address\" = \"label\" }");
    let Keys { hosts, count } = keys_with(own, "hosts", &example)?;
    if !(1..=MOST).contains(&count) {
        return Err(message!("count = {}: write 1 to {}", count, MOST));
    }
    let host = |text: &str| {
        let address = Address::parse(text, Some(1)).ok().filter(|address| address.port == 1);
        address.map(Host).ok_or_else(|| message!("\"{}\" is no host: write a name or an address without a port", text))
    };
    let hosts = asked("hosts", hosts, host)?;
    Ok(Plan::new(name, &KIND, MINUTE, Ping { hosts, count })
        .gauge("up", message!("answers"), "")
        .gauge("seconds", message!("time of the answer"), "s")
        .percent("loss", message!("lost"))
        .limited("seconds", "", "", 3, limits)
        .rule("loss", "~:20", "~:60", 2)
        .graph(graph("time.png", message!("Time of the answer"), "s", vec![area("seconds", BLUE)]))
        .graph(percentages("loss.png", message!("Lost packets"), vec![area("loss", RED)]))
        .graph(graph("up.png", message!("Answers"), "", vec![area("up", GREEN)]))
        .build())
}

impl Probe for Ping {
    fn measure(&mut self, context: &Context) -> Result<Measurement, AgentError> {
        // Once for all: without the right no host is to blame.
        open(true).map_err(forbidden)?;
        let until = Until::of(context);
        let answers = ask(&self.hosts, |host| match self.ask(&host.what.0, context, until) {
            Ok((asked, times)) => {
                let lost = 100.0 * (1.0 - times.len() as f64 / f64::from(asked.max(1)));
                let measurement = Measurement::new().number("loss", lost);
                if times.is_empty() {
                    return Answer { measurement, problem: Some(message!("no answer in time")) };
                }
                let average = times.iter().sum::<Duration>().as_secs_f64() / times.len() as f64;
                Answer { measurement: measurement.number("seconds", average), problem: None }
            }
            Err(error) => Answer { measurement: Measurement::new(), problem: Some(net::problem(&error)) },
        });
        Ok(measurement(&self.hosts, answers))
    }

    fn judge(&self, _last: &Measurement) -> Status {
        match &*self.hosts {
            [only] => Status::new(State::Ok, only.label.as_str()),
            all => Status::new(State::Ok, message!("{} hosts answer", all.len())),
        }
    }
}

impl Ping {
    /// How often was asked, and the times of those questions that were answered.
    fn ask(&self, host: &Address, context: &Context, until: Until) -> io::Result<(u32, Vec<Duration>)> {
        let address = host.resolve()?.into_iter().next().ok_or(io::ErrorKind::NotFound)?;
        let mut socket = open(address.is_ipv4())?;
        socket.connect(&SockAddr::from(SocketAddr::new(address.ip(), 0)))?;
        let (mut asked, mut times) = (0, Vec::new());
        while asked < self.count {
            // What there is no time for is not lost.
            if asked > 0 && (context.stop.wait(PAUSE) || until.left().is_err()) {
                break;
            }
            asked += 1;
            let token = random_bits().to_be_bytes();
            let began = Instant::now();
            let turn = until.at_most(WAIT);
            if socket.write(&question(address.is_ipv4(), asked as u16, token)).is_err() {
                continue; // the answer to an earlier one: no route, say
            }
            while let Ok(left) = turn.left() {
                socket.set_read_timeout(Some(left))?;
                let mut buffer = [0; 512];
                match socket.read(&mut buffer) {
                    Ok(length) if is_answer(&buffer[..length], address.is_ipv4(), token) => {
                        times.push(began.elapsed());
                        break;
                    }
                    // Without the right kind of socket we hear others' pings, too.
                    Ok(_) => {}
                    Err(_) => break,
                }
            }
        }
        Ok((asked, times))
    }
}

/// A socket for echoes, which users may have where the system is told so; for root a raw one.
fn open(v4: bool) -> io::Result<Socket> {
    let (domain, protocol) = if v4 { (Domain::IPV4, Protocol::ICMPV4) } else { (Domain::IPV6, Protocol::ICMPV6) };
    Socket::new(domain, Type::DGRAM, Some(protocol)).or_else(|_| Socket::new(domain, Type::RAW, Some(protocol)))
}

fn forbidden(error: io::Error) -> Message {
    message!(
        "ICMP is not allowed ({}): as root, sysctl net.ipv4.ping_group_range=\"0 2147483647\", or AmbientCapabilities=CAP_NET_RAW in the service",
        error.said()
    )
}

/// An echo request. The kernel replaces identifier and checksum where it knows better.
fn question(v4: bool, number: u16, token: [u8; 8]) -> [u8; 16] {
    let mut packet = [0; 16];
    packet[0] = if v4 { 8 } else { 128 };
    packet[4..6].copy_from_slice(&token[..2]);
    packet[6..8].copy_from_slice(&number.to_be_bytes());
    packet[8..].copy_from_slice(&token);
    let sum = packet.chunks_exact(2).fold(0_u32, |sum, pair| sum + u32::from(u16::from_be_bytes([pair[0], pair[1]])));
    let folded = (sum & 0xffff) + (sum >> 16);
    let folded = (folded & 0xffff) + (folded >> 16);
    packet[2..4].copy_from_slice(&(!(folded as u16)).to_be_bytes());
    packet
}

/// Whether it is the echo of that token; raw sockets of IPv4 deliver the head of the packet, too.
fn is_answer(bytes: &[u8], v4: bool, token: [u8; 8]) -> bool {
    let body = match bytes.first() {
        Some(first) if v4 && first >> 4 == 4 => bytes.get(usize::from(first & 15) * 4..),
        _ => Some(bytes),
    };
    let reply = if v4 { 0 } else { 129 };
    body.is_some_and(|body| body.len() >= 16 && body[0] == reply && body[1] == 0 && body[8..16] == token)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn this_machine_answers() {
        let mut agent = build("ping", "hosts = { \"127.0.0.1\" = \"here\", \"::1\" = \"here, too\" }".parse().unwrap())
            .unwrap()
            .agent;
        match agent.measure(&super::super::context()) {
            Ok(measurement) => {
                let (_, here) = measurement.instances().next().unwrap();
                assert_eq!((here.get_number("up"), here.get_number("loss")), (Some(1.0), Some(0.0)), "{measurement:?}");
                assert!(here.get_number("seconds").unwrap() < 1.0);
            }
            Err(error) => assert!(error.to_string().contains("ping_group_range"), "{error}"),
        }
    }

    #[test]
    fn packets() {
        let token = *b"12345678";
        let packet = question(true, 7, token);
        let sum =
            packet.chunks_exact(2).fold(0_u32, |sum, pair| sum + u32::from(u16::from_be_bytes([pair[0], pair[1]])));
        assert_eq!((sum & 0xffff) + (sum >> 16), 0xffff, "RFC 1071");
        let mut reply = packet;
        reply[0] = 0;
        assert!(
            is_answer(&reply, true, token)
                && !is_answer(&packet, true, token)
                && !is_answer(&reply, true, *b"87654321")
        );
        let mut raw = vec![0x45; 20];
        raw.extend(reply);
        assert!(is_answer(&raw, true, token));
    }

    #[test]
    fn refusals() {
        let error = |text: &str| build("x", text.parse().unwrap()).unwrap_err().to_string();
        assert!(error("hosts = { \"a:80\" = \"x\" }").contains("without a port"));
        assert!(error("hosts = { \"a\" = \"x\" }\ncount = 0").contains("1 to 8"));
        assert!(forbidden(io::ErrorKind::PermissionDenied.into()).to_string().contains("CAP_NET_RAW"));
    }

    proptest! {
        #[test]
        fn no_answer_panics(bytes in proptest::collection::vec(any::<u8>(), 0..40), v4: bool) {
            let _ = is_answer(&bytes, v4, [0; 8]);
        }
    }
}
