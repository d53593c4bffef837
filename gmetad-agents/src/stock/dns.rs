//! Names that a DNS server must answer, over UDP; what is too long for it is asked over TCP.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use gmetad_core::agent::{AgentError, Context, Measurement, Message, State, Status};
use gmetad_core::message;
use serde::Deserialize;
use simple_dns::rdata::RData;
use simple_dns::{CLASS, Name, Packet, PacketFlag, QTYPE, Question, RCODE, TYPE, header_buffer};
use toml::Table;

use super::net::{Address, Timed, Until};
use super::plan::{BLUE, Limits, MINUTE, Plan, Probe, area, clean, graph, keys};
use super::rand::random_bits;
use super::{net, proc};
use crate::kind::Kind;
use crate::said::quoted;
use crate::spec::Installed;

/// Longest answer that is taken: what servers send without EDNS is shorter.
const LONGEST: usize = 4096;
/// UDP may lose a question: it is asked again after this time.
const AGAIN: Duration = Duration::from_secs(2);
/// Most answers that are shown and compared.
const ANSWERS: usize = 64;

pub(super) const KIND: Kind = Kind { name: "dns", about: "Name server", section: "Network", build, default: Vec::new };

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {
    /// The name to ask for.
    query: String,
    /// The server; absent: the first of /etc/resolv.conf at each measurement.
    server: Option<String>,
    /// `A`, `AAAA`, `MX`, `NS`, `PTR`, `CNAME`, `TXT`, `SOA`.
    #[serde(default = "a")]
    r#type: String,
    /// Answers that must be among those that come.
    #[serde(default)]
    expect: Vec<String>,
}

fn a() -> String {
    "A".to_owned()
}

struct Dns {
    query: Name<'static>,
    server: Option<Address>,
    r#type: TYPE,
    expect: Vec<String>,
}

fn build(name: &str, mut own: Table) -> Result<Installed, Message> {
    let limits = Limits::take(&mut own)?;
    let Keys { query, server, r#type, expect } = keys(own)?;
    let wrong = || message!("query: \"{}\" is no name: write it as www.example.org", &query);
    let query = Name::new(query.trim_end_matches('.')).map_err(|_| wrong())?.into_owned();
    let r#type = match &*r#type {
        "A" => TYPE::A,
        "AAAA" => TYPE::AAAA,
        "MX" => TYPE::MX,
        "NS" => TYPE::NS,
        "PTR" => TYPE::PTR,
        "CNAME" => TYPE::CNAME,
        "TXT" => TYPE::TXT,
        "SOA" => TYPE::SOA,
        other => return Err(message!("type: \"{}\" is none of A, AAAA, MX, NS, PTR, CNAME, TXT, SOA", other)),
    };
    let server = server
        .map(|server| Address::parse(&server, Some(53)).map_err(|error| message!("server: {}", error)))
        .transpose()?;
    Ok(Plan::new(name, &KIND, MINUTE, Dns { query, server, r#type, expect })
        .gauge("seconds", message!("time of the answer"), "s")
        .gauge("answers", message!("answers"), "")
        .limited("seconds", "~:1", "", 2, limits)
        .graph(graph("time.png", message!("Time of the answer"), "s", vec![area("seconds", BLUE)]))
        .build())
}

impl Probe for Dns {
    fn measure(&mut self, context: &Context) -> Result<Measurement, AgentError> {
        let server = match &self.server {
            Some(server) => server.clone(),
            None => resolver(&proc::text("/etc/resolv.conf")?)
                .ok_or_else(|| message!("/etc/resolv.conf has no nameserver: write server = \"ADDRESS\""))?,
        };
        let began = Instant::now();
        let answers = match self.ask(&server, Until::of(context)) {
            Ok(answers) => answers,
            Err(problem) => {
                let status = Status::new(
                    State::Error,
                    message!("{} at {}: {}", self.query.to_string(), server.to_string(), problem),
                );
                return Ok(Measurement::new().judged(status));
            }
        };
        let measurement =
            Measurement::new().number("seconds", began.elapsed().as_secs_f64()).number("answers", answers.len() as f64);
        let status = match self.expect.iter().find(|expected| !answers.iter().any(|answer| same(answer, expected))) {
            _ if answers.is_empty() => {
                Status::new(State::Error, message!("{} has no answer of that type", self.query.to_string()))
            }
            Some(missing) => {
                let found = answers.join(", ");
                Status::new(
                    State::Error,
                    message!("{} should be {}, and is {}", self.query.to_string(), missing, found),
                )
            }
            None => Status::ok(),
        };
        Ok(measurement.text("found", answers.join(", ")).judged(status))
    }

    fn judge(&self, last: &Measurement) -> Status {
        let found = match last.get("found") {
            Some(gmetad_core::agent::Value::Text(found)) => found,
            _ => "",
        };
        Status::new(State::Ok, message!("{} is {}", self.query.to_string(), found))
    }
}

impl Dns {
    fn ask(&self, server: &Address, until: Until) -> Result<Vec<String>, Message> {
        let failed = |error: std::io::Error| net::problem(&error);
        let id = random_bits() as u16;
        let mut packet = Packet::new_query(id);
        packet.set_flags(PacketFlag::RECURSION_DESIRED);
        packet.questions.push(Question::new(self.query.clone(), QTYPE::TYPE(self.r#type), CLASS::IN.into(), false));
        let question = packet.build_bytes_vec().map_err(|error| quoted(&error.to_string()))?;
        let socket = server.udp().map_err(failed)?;
        let mut buffer = [0; LONGEST];
        loop {
            let turn = until.at_most(AGAIN);
            socket.send(&question).map_err(failed)?;
            // Answers to somebody else's question, or late ones to an earlier turn of ours, do not end it.
            while let Ok(left) = turn.left() {
                socket.set_read_timeout(Some(left)).map_err(failed)?;
                match socket.recv(&mut buffer) {
                    Ok(length) if is_cut(&buffer[..length], id) => {
                        return self.ask_tcp(server, &question, id, until);
                    }
                    Ok(length) => {
                        if let Some(answers) = read(&buffer[..length], id, self.r#type) {
                            return answers;
                        }
                    }
                    Err(error)
                        if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) =>
                    {
                        break;
                    }
                    Err(error) => return Err(failed(error)),
                }
            }
            until.left().map_err(failed)?;
        }
    }

    /// The whole of an answer that UDP has cut.
    fn ask_tcp(&self, server: &Address, question: &[u8], id: u16, until: Until) -> Result<Vec<String>, Message> {
        let over = || -> std::io::Result<Vec<u8>> {
            let mut stream = Timed { stream: server.connect(until)?, until };
            // Each message has its length before it.
            let mut framed = (question.len() as u16).to_be_bytes().to_vec();
            framed.extend_from_slice(question);
            stream.write_all(&framed)?;
            let mut length = [0; 2];
            stream.read_exact(&mut length)?;
            let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
            stream.read_exact(&mut answer)?;
            Ok(answer)
        };
        let answer = over()
            .map_err(|error| message!("the answer is too long for UDP, and over TCP: {}", net::problem(&error)))?;
        read(&answer, id, self.r#type).unwrap_or_else(|| Err(message!("the answer over TCP cannot be understood")))
    }
}

/// Whether the server says that there is more than it sent. That stands in the head: a record may be cut in its midst.
fn is_cut(answer: &[u8], to: u16) -> bool {
    let flags = PacketFlag::RESPONSE | PacketFlag::TRUNCATION;
    header_buffer::id(answer) == Ok(to) && header_buffer::has_flags(answer, flags) == Ok(true)
}

/// The first name server of a resolv.conf.
fn resolver(text: &str) -> Option<Address> {
    let servers = text.lines().filter_map(|line| line.strip_prefix("nameserver")?.split_ascii_whitespace().next());
    servers.filter_map(|server| Address::parse(server, Some(53)).ok()).next()
}

/// Answers of that type; `None`: this is no answer to our question.
fn read(bytes: &[u8], id: u16, r#type: TYPE) -> Option<Result<Vec<String>, Message>> {
    let packet = Packet::parse(bytes).ok()?;
    if packet.id() != id || !packet.has_flags(PacketFlag::RESPONSE) {
        return None;
    }
    Some(match packet.rcode() {
        RCODE::NoError => {
            let answers = packet.answers.iter().filter(|answer| answer.rdata.type_code() == r#type);
            Ok(answers.take(ANSWERS).map(|answer| clean(&text(&answer.rdata))).collect())
        }
        RCODE::NameError => Err(message!("no such name (NXDOMAIN)")),
        RCODE::ServerFailure => Err(message!("the server fails (SERVFAIL)")),
        RCODE::Refused => Err(message!("the server refuses to answer (REFUSED)")),
        other => Err(message!("the server answers {}", format!("{other:?}"))),
    })
}

fn text(data: &RData<'_>) -> String {
    match data {
        RData::A(a) => Ipv4Addr::from(a.address).to_string(),
        RData::AAAA(aaaa) => Ipv6Addr::from(aaaa.address).to_string(),
        RData::MX(mx) => format!("{} {}", mx.preference, mx.exchange),
        RData::NS(ns) => ns.0.to_string(),
        RData::PTR(ptr) => ptr.0.to_string(),
        RData::CNAME(cname) => cname.0.to_string(),
        RData::SOA(soa) => format!("{} {}", soa.mname, soa.serial),
        RData::TXT(txt) => txt.clone().try_into().unwrap_or_default(),
        other => format!("{:?}", other.type_code()),
    }
}

/// Names are the same in any case, with or without the last dot; addresses in any writing.
fn same(answer: &str, expected: &str) -> bool {
    let plain = |text: &str| text.trim().trim_end_matches('.').to_ascii_lowercase();
    let address = |text: &str| text.trim().parse::<std::net::IpAddr>().ok();
    plain(answer) == plain(expected) || (address(answer).is_some() && address(answer) == address(expected))
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, UdpSocket};
    use std::thread;

    use proptest::prelude::*;
    use simple_dns::ResourceRecord;
    use simple_dns::rdata::{A, MX};

    use super::*;

    /// A server that answers that many questions; its address.
    fn server(questions: usize, answer: impl Fn(usize, Packet<'_>) -> Option<Vec<u8>> + Send + 'static) -> String {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap().to_string();
        thread::spawn(move || {
            let mut buffer = [0; 1500];
            for count in 0..questions {
                let (length, from) = socket.recv_from(&mut buffer).unwrap();
                if let Some(answer) = answer(count, Packet::parse(&buffer[..length]).unwrap()) {
                    socket.send_to(&answer, from).unwrap();
                }
            }
        });
        address
    }

    fn reply(question: &Packet<'_>, address: [u8; 4]) -> Vec<u8> {
        let mut packet = Packet::new_reply(question.id());
        let name = question.questions[0].qname.clone();
        packet.answers.push(ResourceRecord::new(
            name.clone(),
            CLASS::IN,
            60,
            RData::A(A { address: u32::from(Ipv4Addr::from(address)) }),
        ));
        packet.answers.push(ResourceRecord::new(
            name.clone(),
            CLASS::IN,
            60,
            RData::MX(MX { preference: 10, exchange: name }),
        ));
        packet.build_bytes_vec().unwrap()
    }

    fn measure(server: &str, more: &str) -> Measurement {
        super::super::measure_once(&KIND, &format!("query = \"www.example.org\"\nserver = \"{server}\"\n{more}"))
    }

    #[test]
    fn an_answer_is_found_and_compared() {
        let server = server(4, |_, question| Some(reply(&question, [10, 1, 2, 3])));
        let measurement = measure(&server, "expect = [\"10.1.2.3\"]");
        assert_eq!(measurement.status(), Some(&Status::ok()));
        assert_eq!(measurement.get_number("answers"), Some(1.0));
        assert!(measurement.get_number("seconds").unwrap() < 2.0);
        let status = measure(&server, "expect = [\"10.9.9.9\"]").status().unwrap().to_string();
        assert_eq!(status, "Error: www.example.org should be 10.9.9.9, and is 10.1.2.3");
        assert_eq!(
            measure(&server, "type = \"AAAA\"").status().unwrap().to_string(),
            "Error: www.example.org has no answer of that type"
        );
        assert_eq!(measure(&server, "type = \"MX\"\nexpect = [\"10 WWW.example.org.\"]").status(), Some(&Status::ok()));
    }

    #[test]
    fn refusals_of_the_server_and_strangers() {
        let server = server(1, |_, question| {
            let mut packet = Packet::new_reply(question.id());
            *packet.rcode_mut() = RCODE::NameError;
            packet.build_bytes_vec().ok()
        });
        let expected = format!("Error: www.example.org at {server}: no such name (NXDOMAIN)");
        assert_eq!(measure(&server, "").status().unwrap().to_string(), expected);
        let question = Packet::new_query(7).build_bytes_vec().unwrap();
        assert_eq!(read(&question, 7, TYPE::A), None, "a question");
        assert_eq!(read(&Packet::new_reply(8).build_bytes_vec().unwrap(), 7, TYPE::A), None, "another's");
    }

    #[test]
    fn a_lost_question_is_asked_again() {
        let server = server(2, |count, question| (count > 0).then(|| reply(&question, [1, 1, 1, 1])));
        assert_eq!(measure(&server, "").status(), Some(&Status::ok()));
    }

    #[test]
    fn what_is_cut_is_asked_over_tcp() {
        fn cut(question: &Packet<'_>) -> Vec<u8> {
            let mut bytes = reply(question, [1, 1, 1, 1]);
            bytes[2] |= 2;
            // As many servers do it: after so many bytes, wherever that is.
            bytes.truncate(bytes.len() - 3);
            bytes
        }
        let server = server(2, |_, question| Some(cut(&question)));
        let status = measure(&server, "expect = [\"10.1.2.3\"]").status().unwrap().to_string();
        assert!(status.ends_with("too long for UDP, and over TCP: connection refused"), "{status}");
        let listener = TcpListener::bind(&*server).unwrap();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut length = [0; 2];
            stream.read_exact(&mut length).unwrap();
            let mut question = vec![0; usize::from(u16::from_be_bytes(length))];
            stream.read_exact(&mut question).unwrap();
            let answer = reply(&Packet::parse(&question).unwrap(), [10, 1, 2, 3]);
            stream.write_all(&(answer.len() as u16).to_be_bytes()).unwrap();
            stream.write_all(&answer).unwrap();
        });
        assert_eq!(measure(&server, "expect = [\"10.1.2.3\"]").status(), Some(&Status::ok()));
    }

    #[test]
    fn nobody_is_there() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        drop(socket);
        let status = measure(&address.to_string(), "").status().unwrap().to_string();
        assert!(status.ends_with("connection refused"), "{status}");
    }

    #[test]
    fn keys_and_resolv_conf() {
        assert_eq!(
            resolver("# x\nsearch a\nnameserver 10.0.0.1\nnameserver 10.0.0.2\n").unwrap().to_string(),
            "10.0.0.1:53"
        );
        assert_eq!(resolver("nameserver ::1").unwrap().to_string(), "[::1]:53");
        assert_eq!(resolver(""), None);
        let error = |text: &str| build("x", text.parse().unwrap()).unwrap_err().to_string();
        assert!(error("query = \"a\"\ntype = \"HINFO\"").contains("none of A, AAAA"));
        assert!(error(&format!("query = \"{}.org\"", "a".repeat(64))).starts_with("query: "));
        assert!(error("").contains("query"));
        assert!(same("2001:db8::1", "2001:0DB8:0::1") && !same("10.0.0.1", "10.0.0.2"));
    }

    proptest! {
        #[test]
        fn no_answer_panics(bytes in proptest::collection::vec(any::<u8>(), 0..100), at in 0_usize..60, with: u8) {
            let _ = (read(&bytes, 0, TYPE::A), is_cut(&bytes, 0));
            let mut question = Packet::new_query(5);
            question.questions.push(Question::new(Name::new("a.b").unwrap(), QTYPE::TYPE(TYPE::A), CLASS::IN.into(), false));
            let mut reply = reply(&question, [1, 2, 3, 4]);
            let at = at % reply.len();
            reply[at] = with;
            let _ = read(&reply, 5, TYPE::MX);
        }
    }
}
