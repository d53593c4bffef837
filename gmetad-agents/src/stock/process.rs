//! Whether processes are alive (the ancestor's `PIDService`).

use std::collections::BTreeMap;

use gmetad_core::agent::{AgentError, Cell, Context, Element, Measurement, Message, State, Status, Table as Shown};
use gmetad_core::message;
use serde::Deserialize;
use std::time::Instant;
use toml::Table;

use super::memory::page_size;
use super::net::problem;
use super::pids;
use super::plan::{BLUE, GREEN, INSTANCES, MINUTE, ORANGE, Plan, Probe, area, graph, keys_with};
use super::proc::bytes;
use crate::kind::Kind;
use crate::spec::Installed;

/// Bytes of a process's name that the kernel keeps.
const NAME: usize = 15;

pub(super) const KIND: Kind =
    Kind { name: "process", about: "Processes that must run", section: "Services", build, default: Vec::new };

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {
    /// Name of the program -> label, or a table.
    process: BTreeMap<String, Wanted>,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "expected is a label, or a table { label = \"…\", min = 1, max = 10 }")]
enum Wanted {
    Label(String),
    Counted(Counted),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Counted {
    label: String,
    #[serde(default = "one")]
    min: u64,
    max: Option<u64>,
}

fn one() -> u64 {
    1
}

struct Process {
    wanted: Vec<(String, Counted)>,
    before: Option<(Instant, Vec<Found>)>,
}

/// The processes of a name.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Found {
    count: u64,
    pages: u64,
    threads: u64,
    ticks: u64,
}

fn build(name: &str, own: Table) -> Result<Installed, Message> {
    let Keys { process } = keys_with(own, "process", &message!("write process = { squid = \"Proxy\" }"))?;
    let labelled = |(program, wanted): (String, Wanted)| match wanted {
        Wanted::Label(label) => (program, Counted { label, min: 1, max: None }),
        Wanted::Counted(counted) => (program, counted),
    };
    let wanted: Vec<_> = process.into_iter().map(labelled).collect();
    if wanted.is_empty() || wanted.len() > INSTANCES {
        return Err(message!("process: write 1 to {} programs, as { squid = \"Proxy\" }", INSTANCES));
    }
    if let Some((program, _)) = wanted.iter().find(|(program, _)| program.is_empty() || program.contains('/')) {
        return Err(message!("process: \"{}\" is no name of a program: write it without its directory", program));
    }
    Ok(Plan::new(name, &KIND, MINUTE, Process { wanted, before: None })
        .gauge("count", message!("processes"), "")
        .gauge("memory", message!("memory"), "B")
        .gauge("threads", message!("threads"), "")
        .gauge("cpu", message!("processor time"), "%")
        .graph(graph("count.png", message!("Processes"), "", vec![area("count", GREEN)]))
        .graph(graph("memory.png", message!("Memory"), "B", vec![area("memory", BLUE)]))
        .graph(graph("cpu.png", message!("Processor time"), "%", vec![area("cpu", ORANGE)]))
        .build())
}

impl Probe for Process {
    fn measure(&mut self, _context: &Context) -> Result<Measurement, AgentError> {
        let names: Vec<&str> = self.wanted.iter().map(|(program, _)| program.as_str()).collect();
        let (found, now) = (find(&names)?, Instant::now());
        let page = page_size();
        let mut rows = Vec::new();
        let (mut status, mut bad) = (Status::ok(), 0);
        let mut measurement = Measurement::new();
        for (at, ((program, wanted), found)) in self.wanted.iter().zip(&found).enumerate() {
            let own = judge(wanted, program, found.count);
            rows.push(vec![
                Cell::State(own.state),
                Cell::Text(wanted.label.as_str().into()),
                Cell::Text(program.as_str().into()),
                Cell::Number(found.count as f64),
            ]);
            bad += usize::from(own.state == State::Error);
            status = status.worse(own);
            let before = self
                .before
                .as_ref()
                .and_then(|(then, before)| Some((now.duration_since(*then).as_secs_f64(), before.get(at)?)));
            // A process that ended takes its time away.
            let cpu = before.and_then(|(seconds, before)| {
                let ticks = found.ticks.checked_sub(before.ticks)?;
                (seconds > 0.0).then(|| 100.0 * ticks as f64 / pids::HERTZ / seconds)
            });
            let of_it = Measurement::new()
                .number("count", found.count as f64)
                .number("memory", found.pages as f64 * page)
                .number("threads", found.threads as f64)
                .number("cpu", cpu.unwrap_or(f64::NAN));
            measurement = measurement.instance(program, of_it);
        }
        if bad > 1 {
            status.message = message!("{} of {} fail; {}", bad, self.wanted.len(), status.message);
        }
        self.before = Some((now, found));
        let columns = vec![message!("State"), message!("Service"), message!("Program"), message!("Processes")];
        Ok(measurement.element(Element::Table(Shown { title: Message::default(), columns, rows })).judged(status))
    }

    fn judge(&self, _last: &Measurement) -> Status {
        let labels: Vec<_> = self.wanted.iter().map(|(_, wanted)| wanted.label.as_str()).collect();
        Status::new(State::Ok, labels.join(", "))
    }
}

fn judge(wanted: &Counted, program: &str, count: u64) -> Status {
    match (count, wanted.max) {
        (0, _) if wanted.min > 0 => Status::new(State::Error, message!("{} ({}) does not run", wanted.label, program)),
        (count, _) if count < wanted.min => Status::new(
            State::Error,
            message!("{} ({}): {} {process|processes}, at least {} expected", wanted.label, program, count, wanted.min),
        ),
        (count, Some(max)) if count > max => Status::new(
            State::Warn,
            message!("{} ({}): {} {process|processes}, at most {} expected", wanted.label, program, count, max),
        ),
        _ => Status::ok(),
    }
}

/// The living processes of each name, as pidof finds them: by the name of the program, or of the script it runs.
fn find(names: &[&str]) -> Result<Vec<Found>, Message> {
    let mut found = vec![Found::default(); names.len()];
    pids::each(|id, stat| {
        if matches!(stat.state, b'Z' | b'X' | b'x') {
            return;
        }
        let mut command = None;
        for (name, found) in names.iter().zip(&mut found) {
            let short = name.as_bytes().get(..NAME).unwrap_or(name.as_bytes());
            let is_it = if stat.name == short && name.len() <= NAME {
                true
            } else {
                // Threads of the kernel have no memory and no command.
                let command = command.get_or_insert_with(|| {
                    if stat.pages == 0 { Vec::new() } else { bytes(format!("/proc/{id}/cmdline")).unwrap_or_default() }
                });
                runs(command, name)
            };
            if is_it {
                *found = Found {
                    count: found.count + 1,
                    pages: found.pages.saturating_add(stat.pages),
                    threads: found.threads.saturating_add(stat.threads),
                    ticks: found.ticks.saturating_add(stat.ticks),
                };
            }
        }
    })
    .map_err(|error| message!("{}: {}", "/proc", problem(&error)))?;
    Ok(found)
}

/// Whether a command line is that of a program, or of an interpreter with it as its script.
fn runs(command: &[u8], name: &str) -> bool {
    let mut words = command.split(|byte| *byte == 0);
    let mut base = || words.next().and_then(|word| word.rsplit(|byte| *byte == b'/').next());
    let program = base().unwrap_or_default();
    // `nginx: master process`, `-bash`
    let program = program.split(|byte| *byte == b' ').next().unwrap_or_default();
    let program = program.strip_suffix(b":").unwrap_or(program);
    if program.strip_prefix(b"-").unwrap_or(program) == name.as_bytes() {
        return true;
    }
    let interpreter = ["python", "perl", "ruby", "bash", "sh", "dash", "php", "node", "java", "tclsh"];
    let is_one = interpreter.iter().any(|interpreter| {
        let version = program.strip_prefix(interpreter.as_bytes());
        version.is_some_and(|version| version.iter().all(|byte| byte.is_ascii_digit() || *byte == b'.'))
    });
    is_one && base() == Some(name.as_bytes())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn command_lines() {
        for (command, name) in [
            ("/usr/sbin/squid\0-N\0", "squid"),
            ("nginx: master process /usr/sbin/nginx\0", "nginx"),
            ("-bash\0", "bash"),
            ("/usr/bin/python3.11\0/usr/bin/fail2ban-server\0-x\0", "fail2ban-server"),
            ("sh\0/etc/run.sh\0", "run.sh"),
        ] {
            assert!(runs(command.as_bytes(), name), "{name}");
        }
        for (command, name) in [
            ("/usr/bin/vim\0squid\0", "squid"),
            ("", "squid"),
            ("/usr/bin/grep\0nginx\0", "nginx"),
            ("squid2\0", "squid"),
        ] {
            assert!(!runs(command.as_bytes(), name), "{name}");
        }
    }

    #[test]
    fn a_process_of_the_test_is_found_until_it_ends() {
        let directory = tempfile::tempdir().unwrap();
        let program = directory.path().join("a-service-with-a-long-name");
        std::fs::copy("/bin/sleep", &program).unwrap();
        let mut child = std::process::Command::new(&program).arg("300").spawn().unwrap();
        let keys = "process = { a-service-with-a-long-name = \"Le service\" }";
        let mut agent = build("process", keys.parse().unwrap()).unwrap().agent;
        let context = super::super::context();
        let measurement = agent.measure(&context).unwrap();
        assert_eq!(measurement.status(), Some(&Status::ok()));
        let (name, one) = measurement.instances().next().unwrap();
        assert_eq!((name, one.get_number("count")), ("a-service-with-a-long-name", Some(1.0)));
        assert!(one.get_number("memory").unwrap() > 10_000.0, "{one:?}");
        let keys = "process = { a-service-with-a-long-name = \"A\", no-such-one = \"B\", no-such-two = \"C\" }";
        let some = build("process", keys.parse().unwrap()).unwrap().agent.measure(&context).unwrap();
        assert_eq!(some.status().unwrap().to_string(), "Error: 2 of 3 fail; B (no-such-one) does not run");
        child.kill().unwrap();
        child.wait().unwrap();
        let measurement = agent.measure(&context).unwrap();
        assert_eq!(
            measurement.status().unwrap().to_string(),
            "Error: Le service (a-service-with-a-long-name) does not run"
        );
    }

    #[test]
    fn counts_and_refusals() {
        let wanted = Counted { label: "L".into(), min: 2, max: Some(3) };
        let of = |count| judge(&wanted, "p", count).to_string();
        assert_eq!(
            [of(1), of(2), of(4)],
            ["Error: L (p): 1 process, at least 2 expected", "OK", "Warn: L (p): 4 processes, at most 3 expected"]
        );
        let error = |text: &str| build("x", text.parse().unwrap()).unwrap_err().to_string();
        assert!(error("").contains("process"), "{}", error(""));
        assert!(error("process = {}").contains("1 to 256"));
        assert!(error("process = { \"/usr/sbin/squid\" = \"x\" }").contains("without its directory"));
        assert!(
            error("process = { squid = 5 }").contains("a label, or a table"),
            "{}",
            error("process = { squid = 5 }")
        );
    }

    proptest! {
        #[test]
        fn no_command_panics(command in proptest::collection::vec(any::<u8>(), 0..60), name in "\\PC{0,5}") {
            let _ = runs(&command, &name);
        }
    }
}
