//! The directives of a plugin's section that are the daemon's.

use std::time::Duration;

use gmetad_core::conf::{Entry, Section};
use gmetad_process::child::Limits;
use gmetad_process::user::{Account, UserError};

/// How long an answer may take: of a changer, for which others wait, and of others and before it is known.
const CHANGER_DEADLINE: Duration = Duration::from_secs(2);
const DEADLINE: Duration = Duration::from_secs(30);
const MEGABYTE: u64 = 1 << 20;

/// What the daemon wants to know of a plugin's section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Settings {
    deadline: Option<Duration>,
    /// Bytes.
    pub(super) output: usize,
    pub(super) limits: Limits,
    pub(super) user: Option<Account>,
}

/// What is wrong in a section.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// A value that is none.
    #[error("line {line}: {directive}: \"{value}\" is not {wanted}")]
    Value {
        /// Line in the configuration file.
        line: u32,
        /// The directive as written.
        directive: String,
        /// What it was given.
        value: String,
        /// What it takes.
        wanted: String,
    },
    /// The user of `plugin_user` cannot be.
    #[error("line {line}: plugin_user: {why}")]
    User {
        /// Line in the configuration file.
        line: u32,
        /// Why.
        why: String,
    },
}

impl Settings {
    /// Reads a section, or takes the defaults. `daemon` is who the daemon runs as.
    pub(super) fn read(section: Option<&Section>, daemon: &Account) -> Result<Self, SettingsError> {
        let mut settings =
            Self { deadline: None, output: 16 * MEGABYTE as usize, limits: Limits::default(), user: None };
        for entry in section.iter().flat_map(|section| &section.entries) {
            match entry.directive.to_ascii_lowercase().as_str() {
                "plugin_deadline" => {
                    let seconds = value(entry, "seconds from 0.1 to 3600", |text| {
                        text.parse().ok().filter(|seconds| (0.1..=3600.0).contains(seconds))
                    })?;
                    settings.deadline = Some(Duration::from_secs_f64(seconds));
                }
                "plugin_output" => settings.output = (number(entry, "megabytes", 1024)? * MEGABYTE) as usize,
                "plugin_memory" => settings.limits.memory = Some(number(entry, "megabytes", 1 << 30)? * MEGABYTE),
                "plugin_cpu" => settings.limits.cpu = Some(number(entry, "seconds", u64::MAX >> 1)?),
                "plugin_files" => settings.limits.files = Some(number(entry, "descriptors", 1 << 30)?),
                "plugin_user" => settings.user = Some(user(entry, daemon)?),
                _ => {}
            }
        }
        Ok(settings)
    }

    /// For each answer while it starts, and of a plugin that is not a changer.
    pub(super) fn deadline(&self) -> Duration {
        self.deadline.unwrap_or(DEADLINE)
    }

    /// For each answer of a changer.
    pub(super) fn changer_deadline(&self) -> Duration {
        self.deadline.unwrap_or(CHANGER_DEADLINE)
    }
}

fn value<T>(entry: &Entry, wanted: &str, parse: impl Fn(&str) -> Option<T>) -> Result<T, SettingsError> {
    let args = entry.split_args();
    let parsed = match &args[..] {
        [one] => parse(one),
        _ => None,
    };
    parsed.ok_or_else(|| SettingsError::Value {
        line: entry.line,
        directive: entry.directive.clone(),
        value: entry.rest.clone(),
        wanted: wanted.to_owned(),
    })
}

fn number(entry: &Entry, unit: &str, most: u64) -> Result<u64, SettingsError> {
    let wanted = format!("a whole number of {unit} from 1 to {most}");
    value(entry, &wanted, |text| text.parse().ok().filter(|number| (1..=most).contains(number)))
}

fn user(entry: &Entry, daemon: &Account) -> Result<Account, SettingsError> {
    let name = value(entry, "the name of a user", |text| Some(text.to_owned()))?;
    let failed = |why| SettingsError::User { line: entry.line, why };
    let account = Account::by_name(&name).map_err(|error| match error {
        UserError::Unknown(name) => failed(format!("no user \"{name}\"; create it, or name another")),
        error => failed(error.to_string()),
    })?;
    if account.uid != daemon.uid && daemon.uid != 0 {
        return Err(failed(format!(
            "the daemon runs as {} and cannot start a program as {name}; remove the line, or run the daemon as root (setuid off)",
            daemon.name
        )));
    }
    Ok(account)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn read(body: &str, daemon: &Account) -> Result<Settings, SettingsError> {
        let section = super::super::tests::section("x", body);
        Settings::read(Some(&section), daemon)
    }

    #[test]
    fn what_is_written_and_what_is_not() {
        let me = Account::current();
        let settings = read(
            "Plugin_Deadline 0.5\nplugin_output \"2\"\nplugin_memory 100\nplugin_cpu 60\nplugin_files 64\nother 1",
            &me,
        );
        let settings = settings.unwrap();
        assert_eq!([settings.deadline(), settings.changer_deadline()], [Duration::from_millis(500); 2]);
        assert_eq!(settings.output, 2 << 20);
        assert_eq!(settings.limits, Limits { memory: Some(100 << 20), cpu: Some(60), files: Some(64) });
        let plain = Settings::read(None, &me).unwrap();
        assert_eq!([plain.deadline(), plain.changer_deadline()], [DEADLINE, CHANGER_DEADLINE]);
    }

    #[test]
    fn mistakes_are_named_with_their_line() {
        let me = Account::current();
        for body in ["plugin_deadline", "plugin_deadline nan", "plugin_output 0", "plugin_output 1 2", "plugin_cpu -1"]
        {
            let error = read(body, &me).unwrap_err().to_string();
            assert!(error.starts_with("line 2: plugin_") && error.contains(" is not "), "{error}");
        }
        let nobody_else = Account { name: "ganglia".to_owned(), uid: 4242, gid: 4242 };
        assert!(read("plugin_user root", &nobody_else).unwrap_err().to_string().contains("setuid off"));
        let error = read("plugin_user no-such-user-here", &me).unwrap_err().to_string();
        assert_eq!(error, "line 2: plugin_user: no user \"no-such-user-here\"; create it, or name another");
    }
}
