//! Statistics of Squid, from its cache manager. Names of data sources as the ancestor had them: kilobytes, ratios, requests.

use std::io::{Read, Write};
use std::time::Duration;

use gmetad_core::agent::{AgentError, Context, Measurement, Message, State, Status};
use gmetad_core::message;
use serde::Deserialize;
use toml::Table;

use super::command::program;
use super::net::{Address, Timed, Until, problem};
use super::plan::{
    BLUE, GREEN, Limits, ORANGE, Plan, Probe, RED, area, clean, graph, keys, line, percentages, plain, round, share,
};
use super::proc::text;
use crate::kind::Kind;
use crate::spec::Installed;

const PERIOD: u64 = 120;
/// Longest answer: the counters are 4 kB.
const LONGEST: u64 = 256 << 10;
/// Squid is on this machine, or near.
const PATIENCE: Duration = Duration::from_secs(5);
const CONFIGURATIONS: &[&str] = &["/etc/squid/squid.conf", "/etc/squid3/squid.conf"];

pub(super) const KIND: Kind = Kind { name: "squid", about: "Proxy statistics", section: "Usage", build, default };

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct Keys {
    /// Absent: by squid.conf.
    server: Option<String>,
}

struct Squid {
    server: Address,
    before: Option<[f64; 4]>,
}

fn build(name: &str, mut own: Table) -> Result<Installed, Message> {
    let limits = Limits::take(&mut own)?;
    let Keys { server } = keys(own)?;
    let server = match server {
        Some(server) => Address::parse(&server, Some(3128)).map_err(|error| message!("server: {}", error))?,
        None => configured().unwrap_or(Address { host: "127.0.0.1".to_owned(), port: 3128 }),
    };
    Ok(Plan::new(name, &KIND, PERIOD, Squid { server, before: None })
        .counter("inko", message!("from clients"), "kB")
        .counter("outko", message!("to clients"), "kB")
        .percent("hitsratio", message!("requests answered from the cache"))
        .percent("bytesratio", message!("bytes answered from the cache"))
        .counter("clientreq", message!("requests of clients"), "")
        .counter("serverreq", message!("requests to servers"), "")
        .counter("errors", message!("errors"), "")
        .limited("hitsratio", "", "", 3, limits)
        .graph(graph(
            "http.png",
            message!("Traffic of the proxy"),
            "kB/s",
            vec![line("inko", GREEN), line("outko", BLUE)],
        ))
        .graph(percentages(
            "hits.png",
            message!("Answered from the cache"),
            vec![area("hitsratio", GREEN), line("bytesratio", ORANGE)],
        ))
        .graph(graph(
            "requests.png",
            message!("Requests"),
            "1/s",
            vec![line("clientreq", GREEN), line("serverreq", BLUE), line("errors", RED)],
        ))
        .build())
}

fn default() -> Vec<Installed> {
    let there = ["squid", "squid3"].into_iter().any(|name| program(name).is_some());
    if there && configured().is_some() { plain(&KIND) } else { Vec::new() }
}

fn configured() -> Option<Address> {
    CONFIGURATIONS.iter().find_map(|file| Some(port(&text(file).ok()?)))
}

/// Where a squid.conf has Squid listen for plain requests.
fn port(conf: &str) -> Address {
    let lines = conf.lines().filter_map(|line| line.trim().strip_prefix("http_port"));
    let ports =
        lines.filter(|line| !["intercept", "transparent", "tproxy", "accel"].iter().any(|word| line.contains(word)));
    let parse = |line: &str| {
        let word = line.split_ascii_whitespace().next()?;
        let (host, port) = word.rsplit_once(':').unwrap_or(("", word));
        let host = host.trim_matches(['[', ']']);
        let any = matches!(host, "" | "::" | "0.0.0.0");
        let host = if any { "127.0.0.1" } else { host };
        let port = port.parse().ok().filter(|port| *port > 0)?;
        Some(Address { host: host.to_owned(), port })
    };
    ports.filter_map(parse).next().unwrap_or(Address { host: "127.0.0.1".to_owned(), port: 3128 })
}

impl Probe for Squid {
    fn measure(&mut self, context: &Context) -> Result<Measurement, AgentError> {
        let answer = ask(&self.server, Until::of(context).at_most(PATIENCE))
            .map_err(|error| message!("Squid at {}: {}", self.server.to_string(), error))?;
        let counter = |name: &str| counter(&answer, name);
        let wanted =
            ["client_http.requests", "client_http.hits", "client_http.kbytes_out", "client_http.hit_kbytes_out"]
                .map(counter);
        let [Some(requests), Some(hits), Some(out), Some(hits_out)] = wanted else {
            return Err(message!("Squid at {} sends no counters", self.server.to_string()).into());
        };
        let now = [requests, hits, out, hits_out];
        let ratio = |part: usize, whole: usize| {
            let grown = |at: usize| self.before.map_or(f64::NAN, |before| now[at] - before[at]);
            // Nobody asked, or Squid began anew.
            if grown(whole) > 0.0 && grown(part) >= 0.0 { share(grown(part), grown(whole)) } else { f64::NAN }
        };
        let measurement = Measurement::new()
            .number("inko", counter("client_http.kbytes_in").unwrap_or(f64::NAN))
            .number("outko", out)
            .number("hitsratio", ratio(1, 0))
            .number("bytesratio", ratio(3, 2))
            .number("clientreq", requests)
            .number("serverreq", counter("server.all.requests").unwrap_or(f64::NAN))
            .number("errors", counter("client_http.errors").unwrap_or(f64::NAN));
        self.before = Some(now);
        Ok(measurement)
    }

    fn judge(&self, last: &Measurement) -> Status {
        match last.get_number("hitsratio").filter(|ratio| !ratio.is_nan()) {
            Some(ratio) => Status::new(State::Ok, message!("{} % answered from the cache", round(ratio))),
            None => Status::ok(),
        }
    }
}

/// The page of counters.
fn ask(server: &Address, until: Until) -> Result<String, Message> {
    let failed = |error: std::io::Error| problem(&error);
    let mut timed = Timed { stream: server.connect(until).map_err(failed)?, until };
    // 1.0: no chunks, and the connection ends with the page.
    let request = format!("GET /squid-internal-mgr/counters HTTP/1.0\r\nHost: {server}\r\nAccept: text/plain\r\n\r\n");
    timed.write_all(request.as_bytes()).map_err(failed)?;
    let mut bytes = Vec::new();
    timed.take(LONGEST).read_to_end(&mut bytes).map_err(failed)?;
    let text = String::from_utf8_lossy(&bytes);
    let (head, body) = text.split_once("\r\n\r\n").ok_or_else(|| message!("no answer in HTTP"))?;
    match head.split(' ').nth(1).unwrap_or_default() {
        "200" => Ok(body.to_owned()),
        status @ ("401" | "403") => {
            Err(message!("status {}: write \"http_access allow localhost manager\" into squid.conf", status))
        }
        status => Err(message!("status {}", clean(status))),
    }
}

fn counter(text: &str, name: &str) -> Option<f64> {
    let mut values = text.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(" = ")?.trim().parse().ok());
    values.find(|value: &f64| value.is_finite())
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::net::TcpListener;
    use std::thread;

    use proptest::prelude::*;

    use super::*;

    /// Answers those requests in turn.
    fn squid(answers: Vec<String>) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        thread::spawn(move || {
            for answer in answers {
                let (mut stream, _) = listener.accept().unwrap();
                let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
                assert!(lines.next().unwrap().starts_with("GET /squid-internal-mgr/counters "));
                lines.take_while(|line| !line.is_empty()).for_each(drop);
                stream.write_all(answer.as_bytes()).unwrap();
            }
        });
        address
    }

    fn page(requests: u64, hits: u64, out: u64, hit_out: u64) -> String {
        format!(
            "HTTP/1.1 200 OK\r\nServer: squid/5.7\r\n\r\nsample_time = 1700000000.1 (x)\nclient_http.requests = {requests}\nclient_http.hits = {hits}\n\
             client_http.errors = 1\nclient_http.kbytes_in = 77\nclient_http.kbytes_out = {out}\nclient_http.hit_kbytes_out = {hit_out}\n\
             server.all.requests = 5\n"
        )
    }

    #[test]
    fn counters_and_ratios() {
        let forbidden = "HTTP/1.1 403 Forbidden\r\n\r\n".to_owned();
        let address = squid(vec![page(100, 10, 1000, 50), page(200, 60, 3000, 550), forbidden]);
        let mut agent = build("squid", format!("server = \"{address}\"").parse().unwrap()).unwrap().agent;
        let context = super::super::context();
        assert!(agent.measure(&context).unwrap().get_number("hitsratio").unwrap().is_nan());
        let measurement = agent.measure(&context).unwrap();
        let get = |field| measurement.get_number(field).unwrap();
        let fields = ["inko", "outko", "hitsratio", "bytesratio", "clientreq", "serverreq", "errors"];
        assert_eq!(fields.map(get), [77.0, 3000.0, 50.0, 25.0, 200.0, 5.0, 1.0]);
        let error = agent.measure(&context).unwrap_err().to_string();
        assert!(error.contains("http_access allow localhost manager"), "{error}");
    }

    #[test]
    fn ports_of_squid_conf() {
        for (conf, expected) in [
            ("", "127.0.0.1:3128"),
            ("# http_port 1\nhttp_port 8080\n", "127.0.0.1:8080"),
            ("http_port 3129 intercept\n http_port 10.0.0.1:3128 name=a\n", "10.0.0.1:3128"),
            ("http_port [::]:81\n", "127.0.0.1:81"),
            ("http_port [2001:db8::1]:81\n", "[2001:db8::1]:81"),
        ] {
            assert_eq!(port(conf).to_string(), expected, "{conf}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "(client_http.hits|http_port)?( = )?\\PC*") {
            let _ = (counter(&text, "client_http.hits"), port(&text));
        }
    }
}
