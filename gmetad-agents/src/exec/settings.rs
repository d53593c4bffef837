//! The keys of an agent that runs an executable.

use gmetad_core::agent::Message;
use gmetad_core::message;
use serde::Deserialize;
use toml::Table;

use super::json::Wanted;
use crate::kind;

/// Words of a command.
const WORDS: usize = 256;
/// Least memory that may be set: programs need so much to begin at all.
const MEMORY: u64 = 1 << 20;

/// In what form a program answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// [`super::native`].
    #[default]
    Zstats,
    /// [`super::nagios`].
    Nagios,
    /// [`super::munin`].
    Munin,
    /// [`super::influx`].
    Influx,
    /// [`super::json`].
    Json,
    /// [`super::collectd`].
    Collectd,
}

/// How long a program lives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// It is run for each measurement.
    #[default]
    Oneshot,
    /// It goes on running; the newest line that it wrote is the measurement.
    Stream,
}

/// What an agent's file says that only this kind knows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The program and its arguments; no shell. A name without `/` is looked for in `<root>/bin`, where the plugins of that
    /// format usually are, and in the search path.
    pub command: Vec<String>,
    /// In what form it answers.
    pub format: Format,
    /// How long it lives; `None`: collectd's scripts go on running, the others do not.
    pub mode: Option<Mode>,
    /// Variables that it gets besides those of every agent.
    pub environment: std::collections::BTreeMap<String, String>,
    /// Who it runs as; `None`: who we are. Only root may name somebody else.
    pub user: Option<String>,
    /// Bytes of address space: a number, or a text as `512M`.
    #[serde(deserialize_with = "bytes")]
    pub memory: Option<u64>,
    /// Seconds of processor time for a run.
    pub cpu: Option<u64>,
    /// Descriptors.
    pub files: Option<u64>,
    /// The name by which it is called through a link, for plugins that look at their own name (`if_eth0` of munin's `if_`).
    pub link: Option<String>,
    /// Whether it is asked to describe itself (`describe`); `None`: of programs that answer in our own format.
    pub describe: Option<bool>,
    /// Whether it is asked if it makes sense here (`probe`).
    pub probe: bool,
    /// `json`: which places count.
    pub keys: Vec<String>,
    /// `json`: where the instances are.
    pub instances: String,
    /// `json`: which key of an instance is its name.
    pub instance_name: String,
    /// `influx`: the tags that name the instance.
    pub tags: Vec<String>,
}

impl Settings {
    /// Reads the keys. `format`: that of a kind which has only one.
    ///
    /// # Errors
    /// The key, what is wrong with it, and what to write.
    pub(super) fn of(mut own: Table, format: Option<&str>) -> Result<Self, Message> {
        if let Some(format) = format {
            if own.contains_key("format") {
                return Err(message!("format: it is {} for this kind; take it out, or write kind = \"exec\"", format));
            }
            own.insert("format".to_owned(), format.into());
        }
        if own.get("command").is_some_and(toml::Value::is_str) {
            return Err(message!(
                "command: an array is expected, a text for each word, as in [\"check_load\", \"-w\", \"5\"]; there is no shell"
            ));
        }
        let settings: Self = kind::keys(own)?;
        settings.check()?;
        Ok(settings)
    }

    fn check(&self) -> Result<(), Message> {
        let Some(program) = self.command.first().filter(|program| !program.is_empty()) else {
            return Err(message!("command: which program? Write an array as in [\"check_load\", \"-w\", \"5\"]"));
        };
        if self.command.len() > WORDS {
            return Err(message!("command: it has more than {} words", WORDS));
        }
        if self.command.iter().any(|word| word.contains('\0')) {
            return Err(message!("command: a word has a NUL"));
        }
        if program.contains('/') && !program.starts_with('/') {
            return Err(message!("command: \"{}\" is relative; write the whole path, or only a name", program));
        }
        let is_name = |name: &String| !name.is_empty() && !name.contains(['=', '\0']);
        if let Some((name, _)) = self.environment.iter().find(|(name, value)| !is_name(name) || value.contains('\0')) {
            return Err(message!("environment: \"{}\" cannot be a variable", name.escape_debug().to_string()));
        }
        if self.link.as_ref().is_some_and(|link| super::names::name(link) != *link) {
            return Err(message!("link: it is a name of letters, digits, `_`, `-` and `.`"));
        }
        if self.memory.is_some_and(|memory| memory < MEMORY) {
            return Err(message!("memory: less than 1M is not enough for any program; a number counts bytes"));
        }
        if self.is_stream() && matches!(self.format, Format::Nagios | Format::Munin) {
            return Err(message!(
                "mode: a check and a munin plugin are run for each measurement; stream is for zstats, json, influx and collectd"
            ));
        }
        for (key, is_there, format) in [
            ("keys", !self.keys.is_empty(), Format::Json),
            ("instances", !self.instances.is_empty(), Format::Json),
            ("instance_name", !self.instance_name.is_empty(), Format::Json),
            ("tags", !self.tags.is_empty(), Format::Influx),
        ] {
            if is_there && self.format != format {
                return Err(message!("{}: it is for format = \"{}\"", key, format!("{format:?}").to_lowercase()));
            }
        }
        Ok(())
    }

    pub(super) fn is_stream(&self) -> bool {
        let usual = if self.format == Format::Collectd { Mode::Stream } else { Mode::Oneshot };
        self.mode.unwrap_or(usual) == Mode::Stream
    }

    pub(super) fn is_described(&self) -> bool {
        self.describe.unwrap_or(self.format == Format::Zstats && !self.is_stream())
    }

    pub(super) fn wanted(&self) -> Wanted {
        Wanted { keys: self.keys.clone(), instances: self.instances.clone(), instance_name: self.instance_name.clone() }
    }
}

fn bytes<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Written {
        Number(u64),
        Text(String),
    }
    let parse = |text: &str| {
        let (digits, shift) = match text.as_bytes().last()? {
            b'K' | b'k' => (&text[..text.len() - 1], 10),
            b'M' => (&text[..text.len() - 1], 20),
            b'G' => (&text[..text.len() - 1], 30),
            _ => (text, 0),
        };
        digits.trim().parse::<u64>().ok()?.checked_mul(1 << shift)
    };
    match Written::deserialize(from)
        .map_err(|_| serde::de::Error::custom("expected is a number of bytes, or a text as \"512M\""))?
    {
        Written::Number(number) => Ok(Some(number)),
        Written::Text(text) => parse(&text)
            .map(Some)
            .ok_or_else(|| serde::de::Error::custom(format!("\"{text}\" is no number of bytes; write as in \"512M\""))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(toml: &str) -> Result<Settings, String> {
        Settings::of(toml.parse().unwrap(), None).map_err(|error| error.to_string())
    }

    #[test]
    fn all_keys() {
        let settings = of("command = ['/bin/x', '-a']\nformat = 'json'\nmode = 'stream'\nenvironment = { A = 'b' }\nuser = 'nobody'\n\
            memory = '512M'\ncpu = 5\nfiles = 64\nlink = 'if_eth0'\nkeys = ['a.b']\ninstances = 'x'\ninstance_name = 'n'\nprobe = true\n").unwrap();
        assert!(settings.is_stream() && !settings.is_described());
        assert_eq!((settings.memory, settings.cpu), (Some(512 << 20), Some(5)));
        assert!(of("command = ['x']\nformat = 'collectd'").unwrap().is_stream());
        assert!(of("command = ['x']").unwrap().is_described());
        assert_eq!(Settings::of("command = ['x']".parse().unwrap(), Some("nagios")).unwrap().format, Format::Nagios);
    }

    #[test]
    fn errors_name_the_key() {
        for (toml, begin) in [
            ("", "command: which program?"),
            ("command = 'check_load -w 5'", "command: an array is expected"),
            ("command = []", "command: which"),
            ("command = ['']", "command: which"),
            ("command = ['a/b']", "command: \"a/b\" is relative"),
            ("command = [\"a\\u0000\"]", "command: a word has a NUL"),
            ("command = ['x']\nenvironment = { 'a=b' = '' }", "environment: \"a=b\""),
            ("command = ['x']\nformat = 'xml'", "format: there stands `xml`"),
            ("command = ['x']\nformatt = 'json'", "unknown key `formatt`; is `format` meant?"),
            ("command = ['x']\nformat = 'munin'\nmode = 'stream'", "mode: a check"),
            ("command = ['x']\nkeys = ['a']", "keys: it is for format = \"json\""),
            ("command = ['x']\ntags = ['a']", "tags: it is for format = \"influx\""),
            ("command = ['x']\nmemory = '5 apples'", "memory: \"5 apples\""),
            ("command = ['x']\nmemory = 5", "memory: less than 1M"),
            ("command = ['x']\nlink = '../x'", "link: it is a name"),
        ] {
            let error = of(toml).unwrap_err();
            assert!(error.starts_with(begin), "{toml}: {error}");
        }
        let error = Settings::of("command = ['x']\nformat = 'json'".parse().unwrap(), Some("nagios")).unwrap_err();
        assert!(error.to_string().starts_with("format: it is nagios"), "{error}");
    }
}
