//! `when`: under which conditions an agent is there.

use std::collections::HashMap;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use std::{fs, io, thread};

use gmetad_core::agent::Message;
use gmetad_core::message;
use gmetad_process::child::{Ended, Pipes, Spawn};
use serde::Deserialize;

use super::facts::Facts;
use super::written::Words;
use crate::said::Said;

/// Longest a command of a condition may take.
const COMMAND: Duration = Duration::from_secs(5);
/// Longest all commands of a load may take together: the start waits for them.
const COMMANDS: Duration = Duration::from_secs(20);
/// How often it is looked whether a command has ended.
const LOOK: Duration = Duration::from_millis(5);
/// Most reads of each of its outputs a look.
const READS: usize = 16;

/// A condition as written: all its parts must hold.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct When {
    /// Files or directories that must be there.
    file: Words,
    /// A program and its arguments that must end with status 0.
    command: Vec<String>,
    /// Facts and what they must be.
    var: HashMap<String, toml::Value>,
    /// Programs that must be in the path.
    program: Words,
}

/// Asks conditions; a command that was asked already is not run again.
pub(super) struct Conditions<'f> {
    facts: &'f Facts,
    commands: HashMap<Vec<String>, Result<bool, Message>>,
    left: Duration,
}

impl<'f> Conditions<'f> {
    pub(super) fn new(facts: &'f Facts) -> Self {
        Self { facts, commands: HashMap::new(), left: COMMANDS }
    }

    /// Why a condition does not hold; `None`: it does.
    ///
    /// # Errors
    /// It cannot be told.
    pub(super) fn fails(&mut self, when: &When) -> Result<Option<Message>, Message> {
        for file in &when.file.0 {
            if !Path::new(file).exists() {
                return Ok(Some(message!("{} is not there", file)));
            }
        }
        for program in &when.program.0 {
            if in_path(program).is_none() {
                return Ok(Some(message!("the program {} is not installed", program)));
            }
        }
        let mut vars: Vec<_> = when.var.iter().collect();
        vars.sort_by_key(|(name, _)| *name);
        for (name, expected) in vars {
            if let Some(unsure) = self.facts.unsure(name) {
                return Ok(Some(unsure));
            }
            let fact = self.facts.get(name);
            if !holds(fact, expected).map_err(|what| message!("when.var.{}: {}", name, what))? {
                let expected = expected.as_str().map_or_else(|| expected.to_string(), ToOwned::to_owned);
                return Ok(Some(message!("the fact {} is {}, not {}", name, fact.unwrap_or("-"), expected)));
            }
        }
        if !when.command.is_empty() && !self.succeeds(&when.command)? {
            return Ok(Some(message!("{} does not succeed", when.command.join(" "))));
        }
        Ok(None)
    }

    fn succeeds(&mut self, command: &[String]) -> Result<bool, Message> {
        if let Some(known) = self.commands.get(command) {
            return known.clone();
        }
        let begun = Instant::now();
        let within = COMMAND.min(self.left);
        let result = run(command, within);
        self.left = self.left.saturating_sub(begun.elapsed());
        self.commands.insert(command.to_vec(), result.clone());
        result
    }
}

/// Whether a command ends with status 0; one that is not there does not.
fn run(command: &[String], within: Duration) -> Result<bool, Message> {
    let Some((program, args)) = command.split_first() else { return Ok(true) };
    let text = command.join(" ");
    if within.is_zero() {
        return Err(message!(
            "`{}` was not asked: the commands of other conditions took {} s together; make them quicker",
            text,
            COMMANDS.as_secs()
        ));
    }
    let started = Spawn::new(program).args(args).dir("/").spawn().and_then(|mut child| {
        let Pipes { stdin: _, stdout, stderr } = child.take_pipes()?;
        Ok((child, [stdout, stderr]))
    });
    let (mut child, mut outputs) = match started {
        Ok(started) => started,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(message!("`{}` cannot be run: {}", text, error.said())),
    };
    let end = Instant::now() + within;
    let mut unread = [0; 16 << 10];
    loop {
        for output in &mut outputs {
            // What it says does not matter, but it must be able to say it.
            for _ in 0..READS {
                if !matches!(output.read(&mut unread), Ok(1..)) {
                    break;
                }
            }
        }
        match child.ended() {
            Ok(Some(ended)) => return Ok(ended == Ended::Exit(0)),
            Ok(None) if Instant::now() < end => thread::sleep(LOOK),
            Ok(None) => {
                return Err(message!("`{}` did not end within {} s and was killed", text, within.as_secs().max(1)));
            }
            Err(error) => return Err(message!("`{}` cannot be waited for: {}", text, error.said())),
        }
    }
}

/// A program of the path, or one given with its path.
fn in_path(program: &str) -> Option<PathBuf> {
    let executable =
        |path: &Path| fs::metadata(path).is_ok_and(|it| it.is_file() && it.permissions().mode() & 0o111 != 0);
    if program.contains('/') {
        return Some(PathBuf::from(program)).filter(|path| executable(path));
    }
    // Services have a short path; what an admin would run lies in sbin, too.
    let path = std::env::var_os("PATH").unwrap_or_default();
    let always = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(always).map(|dir| dir.join(program)).find(|path| executable(path))
}

/// Operators of comparisons, the longer ones first.
const OPERATORS: [&str; 6] = [">=", "<=", "!=", ">", "<", "="];

/// Whether a fact is what is expected. One that is not there is nothing, and so only unequal to everything.
fn holds(fact: Option<&str>, expected: &toml::Value) -> Result<bool, Message> {
    use toml::Value;
    match expected {
        Value::Array(all) => all.iter().try_fold(false, |any, one| Ok(any || holds(fact, one)?)),
        Value::Boolean(expected) => match fact.map(truth) {
            None => Ok(false),
            Some(Some(truth)) => Ok(truth == *expected),
            Some(None) => Err(message!("the fact is `{}`, which is neither true nor false", fact.unwrap_or_default())),
        },
        Value::Integer(expected) => Ok(fact.and_then(number) == Some(*expected as f64)),
        Value::Float(expected) => Ok(fact.and_then(number) == Some(*expected)),
        Value::String(expected) => {
            let Some(operator) = OPERATORS.into_iter().find(|operator| expected.starts_with(operator)) else {
                return Ok(fact == Some(expected.as_str()));
            };
            let limit = expected[operator.len()..].trim();
            if let "!=" | "=" = operator {
                let equal = fact.is_some_and(|fact| match (number(fact), number(limit)) {
                    (Some(fact), Some(limit)) => fact == limit,
                    _ => fact == limit,
                });
                return Ok(equal == (operator == "="));
            }
            let Some(limit) = number(limit) else {
                return Err(message!("`{}` compares with something that is no number", expected));
            };
            let Some(fact) = fact else { return Ok(false) };
            let Some(fact) = number(fact) else {
                return Err(message!(
                    "the fact is `{}`, no number, and cannot be compared as {} wants",
                    fact,
                    expected
                ));
            };
            Ok(match operator {
                ">=" => fact >= limit,
                "<=" => fact <= limit,
                ">" => fact > limit,
                _ => fact < limit,
            })
        }
        Value::Datetime(_) | Value::Table(_) => {
            Err(message!("expected is a text, a number, true or false, or a list of them"))
        }
    }
}

fn number(text: &str) -> Option<f64> {
    text.trim().parse().ok().filter(|number: &f64| number.is_finite())
}

/// Truth as servers write it, in English and in French.
fn truth(text: &str) -> Option<bool> {
    match text.trim().to_ascii_lowercase().as_str() {
        "oui" | "yes" | "true" | "on" | "1" => Some(true),
        "non" | "no" | "false" | "off" | "0" | "" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(when: &str, facts: &str) -> Result<Option<String>, String> {
        let facts = Facts::parse(facts).0;
        let when: When = toml::from_str(when).unwrap();
        let failed = Conditions::new(&facts).fails(&when);
        failed.map(|why| why.map(|why| why.to_string())).map_err(|error| error.to_string())
    }

    #[test]
    fn facts_are_compared_by_type() {
        let facts = "nb=3\ndot=3.0\nsquid=oui\nvpn=non\nnom=amon\n";
        for (holds, var) in [
            (true, "nb = '>2'"),
            (true, "nb = '>=3'"),
            (false, "nb = '>3'"),
            (true, "nb = '<10'"), // as texts it would not
            (true, "nb = 3"),
            (true, "dot = 3"),
            (true, "nb = '!=4'"),
            (true, "nb = '=3.0'"),
            (false, "nb = '3.0'"),
            (true, "squid = 'oui'"),
            (true, "squid = true"),
            (true, "vpn = false"),
            (false, "vpn = 'oui'"),
            (true, "nom = ['scribe', 'amon']"),
            (false, "nom = ['scribe', 'horus']"),
            (false, "absent = 'oui'"),
            (false, "absent = '>0'"),
            (true, "absent = '!=oui'"),
            (false, "absent = false"),
            (false, "absent = true"),
        ] {
            let asked = asked(&format!("[var]\n{var}"), facts).unwrap();
            assert_eq!(asked.is_none(), holds, "{var}: {asked:?}");
        }
        for wrong in ["nom = '>2'", "nom = true", "nb = '> many'", "nb = { x = 1 }"] {
            assert!(asked(&format!("[var]\n{wrong}"), facts).is_err(), "{wrong}");
        }
    }

    #[test]
    fn files_programs_and_commands() {
        assert_eq!(asked("file = '/proc/self/status'\nprogram = 'sh'\ncommand = ['true']", ""), Ok(None));
        assert_eq!(asked("file = ['/', '/no/such']", ""), Ok(Some("/no/such is not there".into())));
        assert_eq!(
            asked("program = 'no-such-program'", ""),
            Ok(Some("the program no-such-program is not installed".into()))
        );
        assert_eq!(asked("command = ['false']", ""), Ok(Some("false does not succeed".into())));
        assert_eq!(asked("command = ['/no/such']", ""), Ok(Some("/no/such does not succeed".into())));
        // More than a pipe holds, and a child that outlives its parent.
        assert_eq!(asked("command = ['sh', '-c', 'head -c 1000000 /dev/zero; sleep 60 & exit 0']", ""), Ok(None));
    }

    #[test]
    fn a_command_that_hangs_is_killed_with_its_children() {
        let begun = Instant::now();
        let error = run(&["sh", "-c", "sleep 77 & wait"].map(Into::into), Duration::from_millis(200)).unwrap_err();
        assert!(error.to_string().contains("did not end within"), "{error}");
        assert!(begun.elapsed() < Duration::from_secs(4));
        assert!(run(&["true".into()], Duration::ZERO).is_err());
    }

    #[test]
    fn a_command_is_asked_once() {
        let dir = tempfile::tempdir().unwrap();
        let count = dir.path().join("count");
        let when: When = toml::from_str(&format!("command = ['sh', '-c', 'echo x >>{}']", count.display())).unwrap();
        let facts = Facts::default();
        let mut conditions = Conditions::new(&facts);
        for _ in 0..3 {
            assert_eq!(conditions.fails(&when), Ok(None));
        }
        assert_eq!(fs::read_to_string(count).unwrap(), "x\n");
    }
}
