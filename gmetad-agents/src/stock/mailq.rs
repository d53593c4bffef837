//! Mails that wait: of Postfix or Exim, from the spool where we may read it, else by the program.

use std::fs;
use std::path::{Path, PathBuf};

use gmetad_core::agent::{AgentError, Context, Measurement, Message, State, Status};
use gmetad_core::message;
use serde::Deserialize;
use toml::Table;

use super::command::{program, run};
use super::plan::{BLUE, GREEN, Limits, ORANGE, Plan, Probe, RED, area, count, graph, keys, plain, stack};
use crate::kind::Kind;
use crate::spec::Installed;

const PERIOD: u64 = 300;
/// Most files that are counted: a queue that long is broken whatever its length.
const MOST: u64 = 200_000;
/// How deep the spool's directories are (`deferred/A/B/`).
const DEEP: usize = 3;

/// Queues of Postfix: directories, and our fields.
const QUEUES: [(&str, &str); 5] = [
    ("maildrop", "incoming"),
    ("incoming", "incoming"),
    ("active", "active"),
    ("deferred", "deferred"),
    ("hold", "hold"),
];

pub(super) const KIND: Kind = Kind { name: "mailq", about: "Mail queue", section: "Services", build, default };

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct Keys {
    /// `postfix` or `exim`; absent: whichever is configured.
    program: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Mailer {
    Postfix,
    Exim,
}

struct Mailq {
    mailer: Mailer,
    root: PathBuf,
}

fn build(name: &str, mut own: Table) -> Result<Installed, Message> {
    let limits = Limits::take(&mut own)?;
    let Keys { program } = keys(own)?;
    let root = PathBuf::from("/");
    let mailer = match program.as_deref() {
        Some("postfix") => Mailer::Postfix,
        Some("exim") => Mailer::Exim,
        Some(other) => return Err(message!("program: \"{}\" is neither postfix nor exim", other)),
        None => found(&root).ok_or_else(|| {
            message!("neither Postfix nor Exim is configured here: write program = \"postfix\" or \"exim\"")
        })?,
    };
    Ok(Plan::new(name, &KIND, PERIOD, Mailq { mailer, root })
        .gauge("total", message!("mails that wait"), "")
        .gauge("incoming", message!("just come in"), "")
        .gauge("active", message!("being sent"), "")
        .gauge("deferred", message!("deferred"), "")
        .gauge("hold", message!("held"), "")
        .limited("total", "~:100", "~:1000", 2, limits)
        .graph(graph("queue.png", message!("Mail queue"), "", vec![area("total", BLUE)]))
        .graph(graph(
            "queues.png",
            message!("Queues"),
            "",
            vec![area("active", GREEN), stack("incoming", BLUE), stack("deferred", ORANGE), stack("hold", RED)],
        ))
        .build())
}

fn default() -> Vec<Installed> {
    // A package that was removed leaves its configuration.
    let installed = match found(Path::new("/")) {
        Some(Mailer::Postfix) => program("postqueue"),
        Some(Mailer::Exim) => program("exim4").or_else(|| program("exim")),
        None => None,
    };
    if installed.is_some() { plain(&KIND) } else { Vec::new() }
}

fn found(root: &Path) -> Option<Mailer> {
    let there = |path: &str| root.join(path).exists();
    if there("etc/postfix/main.cf") {
        return Some(Mailer::Postfix);
    }
    ["etc/exim4", "etc/exim/exim.conf", "etc/exim.conf"].into_iter().any(there).then_some(Mailer::Exim)
}

impl Probe for Mailq {
    fn measure(&mut self, context: &Context) -> Result<Measurement, AgentError> {
        Ok(match self.mailer {
            Mailer::Postfix => match postfix_spool(&self.root.join("var/spool/postfix")) {
                Some(counts) => queues(counts),
                None => {
                    let postqueue = program("postqueue")
                        .ok_or_else(|| message!("postqueue is not installed, and /var/spool/postfix cannot be read"))?;
                    queues(parse(&run(context, &postqueue, &["-p"])?.succeeded(&postqueue)?))
                }
            },
            Mailer::Exim => {
                let spools = ["var/spool/exim4/input", "var/spool/exim/input"];
                let total = match spools.iter().find_map(|spool| exim_spool(&self.root.join(spool))) {
                    Some(total) => total,
                    None => {
                        let exim = program("exim4")
                            .or_else(|| program("exim"))
                            .ok_or_else(|| message!("exim is not installed"))?;
                        let text = run(context, &exim, &["-bpc"])?.succeeded(&exim)?;
                        text.trim().parse().map_err(|_| message!("exim -bpc does not answer with a number"))?
                    }
                };
                Measurement::new().number("total", total as f64)
            }
        })
    }

    fn judge(&self, last: &Measurement) -> Status {
        match last.get_number("total") {
            Some(total) if total > 0.0 => Status::new(State::Ok, message!("{} {mail waits|mails wait}", count(total))),
            _ => Status::new(State::Ok, message!("no mail waits")),
        }
    }
}

/// By field: incoming, active, deferred, hold.
type Counts = [u64; 4];

const COUNTED: [&str; 4] = ["incoming", "active", "deferred", "hold"];

fn queues(counts: Counts) -> Measurement {
    let total = counts.iter().fold(0_u64, |sum, count| sum.saturating_add(*count));
    let measurement = Measurement::new().number("total", total as f64);
    COUNTED
        .into_iter()
        .zip(counts)
        .fold(measurement, |measurement, (field, count)| measurement.number(field, count as f64))
}

/// `None`: it may not be read.
fn postfix_spool(spool: &Path) -> Option<Counts> {
    let mut counts = Counts::default();
    for (directory, field) in QUEUES {
        let at = COUNTED.iter().position(|counted| *counted == field)?;
        counts[at] += files(&spool.join(directory), DEEP, &|_| true)?;
    }
    Some(counts)
}

/// Each mail has a file of its head.
fn exim_spool(spool: &Path) -> Option<u64> {
    files(spool, 2, &|name| name.ends_with("-H"))
}

/// Files in and below a directory.
fn files(directory: &Path, deep: usize, counts: &dyn Fn(&str) -> bool) -> Option<u64> {
    let mut count = 0_u64;
    for entry in fs::read_dir(directory).ok()?.flatten() {
        if count >= MOST {
            break;
        }
        match entry.file_type() {
            Ok(kind) if kind.is_dir() && deep > 1 => count += files(&entry.path(), deep - 1, counts).unwrap_or(0),
            Ok(kind) if kind.is_file() => count += u64::from(counts(&entry.file_name().to_string_lossy())),
            _ => {}
        }
    }
    Some(count)
}

/// `postqueue -p`: a line a mail, beginning with its id and `*` (being sent) or `!` (held); more lines indented.
fn parse(text: &str) -> Counts {
    let mut counts = Counts::default();
    for line in text.lines() {
        let Some(word) = line.split(' ').next().filter(|word| word.len() >= 6) else { continue };
        let id = word.trim_end_matches(['*', '!']);
        let is_mail = id.len() >= 6
            && id.bytes().all(|byte| byte.is_ascii_alphanumeric())
            && line.as_bytes().iter().any(|byte| byte.is_ascii_digit());
        if is_mail {
            counts[if word.ends_with('*') {
                1
            } else if word.ends_with('!') {
                3
            } else {
                2
            }] += 1;
        }
    }
    counts
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_recorded_queue() {
        let text = "-Queue ID-  --Size-- ----Arrival Time---- -Sender/Recipient-------\n\
            A1B2C3D4E5*     1234 Mon Jan  1 10:00:00  a@example.org\n                                         b@example.org\n\n\
            F1B2C3D4E5      1234 Mon Jan  1 10:00:00  MAILER-DAEMON\n(connect to x[10.0.0.1]:25: Connection timed out)\n                    c@example.org\n\n\
            4XyZb12nXyz!      12 Mon Jan  1 10:00:00  a@example.org\n\n-- 2 Kbytes in 3 Requests.\n";
        assert_eq!(parse(text), [0, 1, 1, 1]);
        assert_eq!(parse("Mail queue is empty\n"), [0; 4]);
    }

    #[test]
    fn spools() {
        let root = tempfile::tempdir().unwrap();
        let spool = root.path().join("var/spool/postfix");
        assert_eq!((postfix_spool(&spool), found(root.path())), (None, None));
        for path in ["maildrop/x", "incoming/y", "active/A1", "deferred/B/B1", "deferred/C/D/C2", "hold/Z"] {
            let path = spool.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        let measurement =
            Mailq { mailer: Mailer::Postfix, root: root.path().to_owned() }.measure(&super::super::context()).unwrap();
        let get = |field| measurement.get_number(field).unwrap();
        assert_eq!(["total", "incoming", "active", "deferred", "hold"].map(get), [6.0, 2.0, 1.0, 2.0, 1.0]);
        let input = root.path().join("var/spool/exim4/input");
        fs::create_dir_all(&input).unwrap();
        ["1abc-H", "1abc-D", "2abc-H"].iter().for_each(|name| fs::write(input.join(name), "").unwrap());
        let measurement =
            Mailq { mailer: Mailer::Exim, root: root.path().to_owned() }.measure(&super::super::context()).unwrap();
        assert_eq!(measurement.get_number("total"), Some(2.0));
    }

    #[test]
    fn refusals() {
        assert!(
            build("x", "program = \"qmail\"".parse().unwrap())
                .unwrap_err()
                .to_string()
                .contains("neither postfix nor exim")
        );
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "([A-F0-9]{4,10}[*!]? {1,3}[0-9a-z ]{0,9}\n){0,4}\\PC*") {
            let _ = parse(&text);
        }
    }
}
