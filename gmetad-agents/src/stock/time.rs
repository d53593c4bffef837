//! How far the clock is off: asked of an NTP server, of chrony, of ntpd, or of systemd-timesyncd.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use gmetad_core::agent::{AgentError, Context, Measurement, Message, State, Status};
use gmetad_core::message;
use serde::Deserialize;
use toml::Table;

use super::command::{self, program};
use super::net::{Address, Until, problem};
use super::plan::{BLUE, Limits, ORANGE, Plan, Probe, graph, keys, line};
use super::rand::random_bits;
use super::uptime::span;
use crate::kind::Kind;
use crate::spec::{Graph, Installed};

/// Clocks run away slowly, and public servers ask to be asked rarely.
const PERIOD: u64 = 300;
/// Touched by systemd-timesyncd at each synchronisation.
const TIMESYNCD: &str = "/run/systemd/timesync/synchronized";
/// UDP may lose a question.
const AGAIN: Duration = Duration::from_secs(3);
/// Seconds from 1900 to 1970.
const NTP_EPOCH: u64 = 2_208_988_800;

pub(super) const KIND: Kind = Kind { name: "time", about: "Clock", section: "System", build, default };

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct Keys {
    /// An NTP server.
    server: Option<String>,
    /// `chrony`, `ntpd`, `timesyncd`; absent: the server, or whichever there is.
    source: Option<String>,
}

#[derive(Debug, PartialEq)]
enum Source {
    Server(Address),
    Chrony(PathBuf),
    Ntpd(PathBuf),
    Timesyncd,
}

struct Time(Source);

fn build(name: &str, mut own: Table) -> Result<Installed, Message> {
    let limits = Limits::take(&mut own)?;
    let Keys { server, source } = keys(own)?;
    let missing = |name: &str| {
        message!("source = \"{}\": the program that asks it is not installed; write server = \"HOST\" instead", name)
    };
    let source = match (server, source.as_deref()) {
        (Some(server), None) => {
            Source::Server(Address::parse(&server, Some(123)).map_err(|error| message!("server: {}", error))?)
        }
        (None, None) => found(Path::new("/"))
            .ok_or_else(|| message!("nothing here keeps the time: write server = \"HOST\" (an NTP server)"))?,
        (None, Some("chrony")) => Source::Chrony(program("chronyc").ok_or_else(|| missing("chrony"))?),
        (None, Some("ntpd")) => Source::Ntpd(program("ntpq").ok_or_else(|| missing("ntpd"))?),
        (None, Some("timesyncd")) => Source::Timesyncd,
        (None, Some(other)) => return Err(message!("source: \"{}\" is none of chrony, ntpd, timesyncd", other)),
        (Some(_), Some(_)) => return Err(message!("server and source exclude each other: remove one")),
    };
    let offset = graph("offset.png", message!("Offset of the clock"), "s", vec![line("offset", ORANGE)]);
    let plan = Plan::new(name, &KIND, PERIOD, Time(source));
    Ok(plan
        .signed("offset", message!("offset"), "s")
        .gauge("delay", message!("time of the answer"), "s")
        .shown("stratum", message!("distance from a reference clock"), "")
        .shown("age", message!("time since the last synchronisation"), "s")
        .limited("offset", "-0.5:0.5", "-5:5", 2, limits)
        .rule("age", "~:86400", "", 1)
        .graph(Graph { lower: None, ..offset })
        .graph(graph("delay.png", message!("Time of the answer"), "s", vec![line("delay", BLUE)]))
        .build())
}

fn default() -> Vec<Installed> {
    if found(Path::new("/")).is_some() { super::plan::plain(&KIND) } else { Vec::new() }
}

/// What keeps the time on this machine.
fn found(root: &Path) -> Option<Source> {
    let there = |path: &str| root.join(path).exists();
    if there("etc/chrony/chrony.conf") || there("etc/chrony.conf") {
        return program("chronyc").map(Source::Chrony);
    }
    if there("etc/ntpsec/ntp.conf") || there("etc/ntp.conf") {
        return program("ntpq").map(Source::Ntpd);
    }
    there("run/systemd/timesync").then_some(Source::Timesyncd)
}

impl Probe for Time {
    fn measure(&mut self, context: &Context) -> Result<Measurement, AgentError> {
        let ask = |program: &Path, args: &[&str]| command::run(context, program, args)?.succeeded(program);
        Ok(match &self.0 {
            Source::Server(server) => {
                let answer =
                    sntp(server, Until::of(context)).map_err(|error| message!("{}: {}", server.to_string(), error))?;
                let measurement = Measurement::new().number("offset", answer.offset).number("delay", answer.delay);
                measurement.number("stratum", f64::from(answer.stratum))
            }
            Source::Chrony(program) => chrony(&ask(program, &["-c", "-n", "tracking"])?)
                .ok_or_else(|| message!("{} answers strangely", "chronyc"))?,
            Source::Ntpd(program) => ntpd(&ask(program, &["-c", "rv 0 leap,stratum,offset,rootdelay"])?)
                .ok_or_else(|| message!("{} answers strangely", "ntpq"))?,
            Source::Timesyncd => match fs::metadata(TIMESYNCD).and_then(|file| file.modified()) {
                Ok(time) => Measurement::new().number("age", time.elapsed().unwrap_or_default().as_secs_f64()),
                Err(_) => Measurement::new().judged(unsynchronised()),
            },
        })
    }

    fn judge(&self, last: &Measurement) -> Status {
        let message = match (last.get_number("offset"), last.get_number("age")) {
            (Some(offset), _) => message!("{} ms off", (offset * 10_000.0).round() / 10.0 + 0.0),
            (None, Some(age)) => message!("synchronised {} ago", span(age)),
            (None, None) => return Status::ok(),
        };
        Status::new(State::Ok, message)
    }
}

fn unsynchronised() -> Status {
    Status::new(State::Warn, message!("the clock is not synchronised"))
}

/// `chronyc -c tracking`: one line of CSV.
fn chrony(text: &str) -> Option<Measurement> {
    let words: Vec<&str> = text.trim().split(',').collect();
    let number = |at: usize| words.get(at)?.parse().ok().filter(|number: &f64| number.is_finite());
    let measurement = Measurement::new().number("stratum", number(2)?);
    if words.get(13).is_none_or(|leap| leap.eq_ignore_ascii_case("not synchronised")) {
        return Some(measurement.judged(unsynchronised()));
    }
    Some(measurement.number("offset", number(4)?).number("delay", number(10)?))
}

/// `ntpq -c "rv 0 …"`: `name=value`, separated by commas; times in milliseconds.
fn ntpd(text: &str) -> Option<Measurement> {
    let value = |name: &str| {
        let pairs = text.split([',', '\n']).filter_map(|pair| pair.trim().split_once('='));
        pairs.filter(|(key, _)| *key == name).map(|(_, value)| value).next()
    };
    let number = |name: &str| value(name)?.parse().ok().filter(|number: &f64| number.is_finite());
    let measurement = Measurement::new().number("stratum", number("stratum")?);
    if matches!(value("leap")?, "11" | "3") {
        return Some(measurement.judged(unsynchronised()));
    }
    Some(
        measurement
            .number("offset", number("offset")? / 1000.0)
            .number("delay", number("rootdelay").unwrap_or(f64::NAN) / 1000.0),
    )
}

/// What a server answered, in seconds.
#[derive(Debug, PartialEq)]
struct Answer {
    /// By how much the server is ahead of us.
    offset: f64,
    delay: f64,
    stratum: u8,
}

/// Asks a server (RFC 4330).
fn sntp(server: &Address, until: Until) -> Result<Answer, Message> {
    let failed = |error: std::io::Error| problem(&error);
    let socket = server.udp().map_err(failed)?;
    loop {
        let turn = until.at_most(AGAIN);
        // A number instead of our time: it says nothing about us, and only who got it can answer.
        let cookie = random_bits();
        let mut question = [0; 48];
        question[0] = 0x23; // version 4, client
        question[40..].copy_from_slice(&cookie.to_be_bytes());
        let sent = now();
        socket.send(&question).map_err(failed)?;
        while let Ok(left) = turn.left() {
            socket.set_read_timeout(Some(left)).map_err(failed)?;
            let mut buffer = [0; 512];
            match socket.recv(&mut buffer) {
                Ok(length) => {
                    if let Some(answer) = read(&buffer[..length], cookie, sent, now()) {
                        return answer;
                    }
                }
                Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {
                    break;
                }
                Err(error) => return Err(failed(error)),
            }
        }
        until.left().map_err(failed)?;
    }
}

/// Now, as NTP writes it: seconds since 1900 and their 2^32nd parts.
fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let parts = (u64::from(now.subsec_nanos()) << 32) / 1_000_000_000;
    (now.as_secs().wrapping_add(NTP_EPOCH) << 32) | parts
}

/// `None`: it is no answer to us.
fn read(bytes: &[u8], cookie: u64, sent: u64, came: u64) -> Option<Result<Answer, Message>> {
    let bytes: &[u8; 48] = bytes.first_chunk()?;
    let time = |at: usize| bytes[at..at + 8].iter().fold(0_u64, |time, byte| time << 8 | u64::from(*byte));
    if bytes[0] & 7 != 4 || time(24) != cookie {
        return None;
    }
    let stratum = bytes[1];
    if stratum == 0 {
        let word: String = bytes[12..16].iter().map(|byte| char::from(*byte)).filter(char::is_ascii_graphic).collect();
        return Some(Err(message!("the server does not want to be asked ({})", word)));
    }
    if bytes[0] >> 6 == 3 || stratum > 15 {
        return Some(Err(message!("the server is not synchronised itself")));
    }
    let (received, replied) = (time(32), time(40));
    // Differences are right even when the 32 bits of seconds overflow (in 2036).
    let seconds = |later: u64, earlier: u64| later.wrapping_sub(earlier) as i64 as f64 / 4_294_967_296.0;
    let offset = f64::midpoint(seconds(received, sent), seconds(replied, came));
    let delay = (seconds(came, sent) - seconds(replied, received)).max(0.0);
    Some(Ok(Answer { offset, delay, stratum }))
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::thread;

    use proptest::prelude::*;

    use super::*;

    /// A server whose clock is ahead by that many seconds; it first sends a packet that is not meant for us.
    fn server(ahead: f64, stratum: u8) -> String {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap().to_string();
        thread::spawn(move || {
            let mut buffer = [0; 100];
            let (_, from) = socket.recv_from(&mut buffer).unwrap();
            let mut answer = [0; 48];
            answer[0] = 0x24;
            answer[1] = stratum;
            answer[12..16].copy_from_slice(b"RATE");
            socket.send_to(&answer, from).unwrap();
            answer[24..32].copy_from_slice(&buffer[40..48]);
            let time = now().wrapping_add((ahead * 4_294_967_296.0) as i64 as u64).to_be_bytes();
            answer[32..40].copy_from_slice(&time);
            answer[40..].copy_from_slice(&time);
            socket.send_to(&answer, from).unwrap();
        });
        address
    }

    #[test]
    fn a_server_ahead_and_one_behind() {
        for ahead in [12.5, -3.25] {
            let measurement = super::super::measure_once(&KIND, &format!("server = \"{}\"", server(ahead, 2)));
            let get = |field| measurement.get_number(field).unwrap();
            assert!((get("offset") - ahead).abs() < 0.5, "{measurement:?}");
            assert!(get("delay") < 1.0 && get("stratum") == 2.0);
        }
        let mut agent = build("time", format!("server = \"{}\"", server(0.0, 0)).parse().unwrap()).unwrap().agent;
        let error = agent.measure(&super::super::context()).unwrap_err().to_string();
        assert!(error.ends_with("does not want to be asked (RATE)"), "{error}");
    }

    #[test]
    fn the_offset_is_of_the_language() {
        use crate::lang::Lang;
        let probe = Time(Source::Timesyncd);
        let said =
            |lang: Lang, offset| lang.message(&probe.judge(&Measurement::new().number("offset", offset)).message);
        let both = |offset| [said(Lang::English, offset), said(Lang::French, offset)];
        assert_eq!(both(0.000_12), ["0.1 ms off", "décalage de 0,1 ms"]);
        assert_eq!(both(-12.5), ["-12500 ms off", "décalage de -12500 ms"]);
        assert_eq!(both(-0.000_001), ["0 ms off", "décalage de 0 ms"]);
    }

    #[test]
    fn the_overflow_of_2036() {
        let mut answer = [0; 48];
        (answer[0], answer[1]) = (0x24, 1);
        answer[24..32].copy_from_slice(&7_u64.to_be_bytes());
        let second = |second: i64| (second as u64) << 32;
        answer[32..40].copy_from_slice(&second(3).to_be_bytes());
        answer[40..48].copy_from_slice(&second(3).to_be_bytes());
        let expected = Answer { offset: 5.0, delay: 0.0, stratum: 1 };
        assert_eq!(read(&answer, 7, second(-2), second(-2)), Some(Ok(expected)));
        assert_eq!(read(&answer, 8, 0, 0), None);
    }

    #[test]
    fn other_programs() {
        let text = "C0A80101,192.168.1.1,3,1700000000.123,-0.000123,0.000100,0.000200,-5.1,0.001,0.02,0.015,0.001,64.2,Normal\n";
        let measurement = chrony(text).unwrap();
        assert_eq!(
            ["offset", "delay", "stratum"].map(|field| measurement.get_number(field).unwrap()),
            [-0.000_123, 0.015, 3.0]
        );
        let lost = chrony("7F7F0101,,0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,1.0,1.0,0.0,Not synchronised\n").unwrap();
        assert_eq!(lost.status(), Some(&unsynchronised()));
        let measurement = ntpd("leap=00, stratum=2, offset=-1.500,\nrootdelay=20.0\n").unwrap();
        assert_eq!(["offset", "delay"].map(|field| measurement.get_number(field).unwrap()), [-0.0015, 0.02]);
        assert_eq!(ntpd("leap=11,stratum=16,offset=0").unwrap().status(), Some(&unsynchronised()));
        assert!(chrony("").is_none() && ntpd("").is_none());
    }

    #[test]
    fn which_one_is_found() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(found(root.path()), None);
        fs::create_dir_all(root.path().join("run/systemd/timesync")).unwrap();
        assert_eq!(found(root.path()), Some(Source::Timesyncd));
        let error = |text: &str| build("x", text.parse().unwrap()).unwrap_err().to_string();
        assert!(error("source = \"x\"").contains("none of"));
        assert!(error("source = \"timesyncd\"\nserver = \"a\"").contains("remove one"));
    }

    proptest! {
        #[test]
        fn no_answer_panics(bytes in proptest::collection::vec(any::<u8>(), 0..60), text in "([a-z]{0,7}=?[0-9.-]{0,5},){0,15}", times: (u64, u64)) {
            let cookie = bytes.get(24..32).map_or(0, |word| word.iter().fold(0_u64, |time, byte| time << 8 | u64::from(*byte)));
            let _ = read(&bytes, cookie, times.0, times.1);
            let _ = (chrony(&text), ntpd(&text));
        }
    }
}
