//! What the options and the settings files mean.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

use gmetad_agents::config::{ConfigOptions, mistake};
use gmetad_agents::lang::Lang;
use gmetad_agents::said::Said;
use gmetad_core::agent::Message;
use gmetad_core::message;

use crate::cli::{Id, OPTIONS, Opt};

/// The root, where none is given.
pub(crate) const ROOT: &str = "/usr/share/eole/zephir/monitor";
/// Settings of the machine.
const SYSTEM: &str = "/etc/zstats/zstats.toml";
/// Facts, where no file is named and this one is there.
const FACTS: &str = "/etc/zstats/facts";
/// Port of the page.
pub(crate) const PORT: u16 = 8090;
/// Longest settings file, and longest password, in bytes.
const BYTES: u64 = 1 << 20;

/// Everything that can be set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    pub(crate) root: PathBuf,
    pub(crate) data: Option<PathBuf>,
    pub(crate) config: Vec<PathBuf>,
    pub(crate) defaults: bool,
    pub(crate) module: Option<String>,
    pub(crate) facts: Option<PathBuf>,
    pub(crate) port: u16,
    pub(crate) bind: Vec<IpAddr>,
    pub(crate) host_name: Option<String>,
    pub(crate) tls_cert: Option<PathBuf>,
    pub(crate) tls_key: Option<PathBuf>,
    pub(crate) password_file: Option<PathBuf>,
    pub(crate) token_file: Option<PathBuf>,
    pub(crate) mail_to: Vec<String>,
    pub(crate) mail_from: Option<String>,
    pub(crate) sendmail: PathBuf,
    pub(crate) foreground: bool,
    pub(crate) pid_file: Option<PathBuf>,
    pub(crate) user: Option<String>,
    pub(crate) lang: Lang,
    pub(crate) debug: bool,
}

impl Settings {
    /// Of the command line, over those of the files. Relative names are of `directory`, those in files of the file's.
    pub(crate) fn gather(given: &[(Id, OsString)], directory: &Path) -> Result<Self, Message> {
        let value = |id| given.iter().find(|(known, _)| *known == id).map(|(_, value)| directory.join(value));
        let mut level = Level::new(directory.to_owned());
        match value(Id::Settings) {
            Some(file) => level.file(&file, true)?,
            None => {
                level.file(Path::new(SYSTEM), false)?;
                let root = value(Id::Root).unwrap_or_else(|| level.settings.root.clone());
                level.file(&root.join("zstats.toml"), false)?;
            }
        }
        level.begin(directory);
        for (id, value) in given {
            let opt = OPTIONS.iter().find(|opt| opt.id == *id);
            opt.map_or(Ok(()), |opt| level.set(opt, value).map_err(|what| message!("--{}: {}", opt.long, what)))?;
        }
        level.settings.agree()
    }

    /// What cannot be together.
    fn agree(mut self) -> Result<Self, Message> {
        if self.tls_cert.is_some() != self.tls_key.is_some() {
            return Err(message!("--tls-cert and --tls-key are given together or not at all"));
        }
        if self.bind.is_empty() {
            self.bind = vec![Ipv4Addr::LOCALHOST.into()];
            // A free port would be another one, and not every machine has IPv6.
            if self.port != 0 && TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok() {
                self.bind.push(Ipv6Addr::LOCALHOST.into());
            }
        }
        if self.facts.is_none() && Path::new(FACTS).symlink_metadata().is_ok() {
            self.facts = Some(FACTS.into());
        }
        Ok(self)
    }

    /// Where data is kept.
    pub(crate) fn data(&self) -> PathBuf {
        self.data.clone().unwrap_or_else(|| self.root.join("stats"))
    }

    /// Where the page listens.
    pub(crate) fn listen(&self) -> Vec<SocketAddr> {
        self.bind.iter().map(|ip| SocketAddr::new(*ip, self.port)).collect()
    }

    /// The name of this server.
    pub(crate) fn host_name(&self) -> String {
        self.host_name.clone().unwrap_or_else(|| {
            let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
            let name = name.trim();
            if name.is_empty() { "localhost".to_owned() } else { name.to_owned() }
        })
    }

    /// Whether what differs from `before` is about agents alone.
    pub(crate) fn needs_no_restart_after(&self, before: &Self) -> bool {
        let Self { root, config, defaults, module, facts, .. } = before.clone();
        Self { root, config, defaults, module, facts, ..self.clone() } == *before
    }

    /// Whether only this machine sees the page.
    pub(crate) fn is_local(&self) -> bool {
        self.bind.iter().all(|ip| ip.to_canonical().is_loopback())
    }

    /// Where agents are written down.
    pub(crate) fn agents(&self) -> ConfigOptions {
        let mut options = ConfigOptions::new(&self.root);
        options.module = self.module.clone();
        options.facts = self.facts.clone();
        options.drop_in.extend(self.config.iter().cloned());
        options.defaults = self.defaults;
        options
    }
}

/// Settings in the making.
struct Level {
    settings: Settings,
    /// Of relative names.
    directory: PathBuf,
    /// Options that came from the present source: lists of earlier ones are replaced, not added to.
    seen: Vec<Id>,
}

impl Level {
    /// The defaults, in the language of the environment.
    fn new(directory: PathBuf) -> Self {
        let settings = Settings {
            root: ROOT.into(),
            data: None,
            config: Vec::new(),
            defaults: true,
            module: None,
            facts: None,
            port: PORT,
            bind: Vec::new(),
            host_name: None,
            tls_cert: None,
            tls_key: None,
            password_file: None,
            token_file: None,
            mail_to: Vec::new(),
            mail_from: None,
            sendmail: "/usr/sbin/sendmail".into(),
            foreground: false,
            pid_file: None,
            user: None,
            lang: env_lang(),
            debug: false,
        };
        Self { settings, directory, seen: Vec::new() }
    }

    fn begin(&mut self, directory: &Path) {
        directory.clone_into(&mut self.directory);
        self.seen.clear();
    }

    fn file(&mut self, file: &Path, must: bool) -> Result<(), Message> {
        let name = file.display().to_string();
        let text = match read(file) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && !must => return Ok(()),
            Err(error) => return Err(message!("{}: cannot be read: {}", name, error.said())),
        };
        let table: toml::Table = text.parse().map_err(|error| mistake(file, &text, &error))?;
        self.begin(file.parent().unwrap_or(Path::new("/")));
        for (key, value) in table {
            let Some(opt) = OPTIONS.iter().find(|opt| opt.file && opt.long == key) else {
                return Err(message!("{}: there is no setting {}; z_stats --help lists the options", name, key));
            };
            self.value(opt, value).map_err(|what| message!("{}: {}: {}", &name, key, what))?;
        }
        Ok(())
    }

    fn value(&mut self, opt: &Opt, value: toml::Value) -> Result<(), Message> {
        use toml::Value;
        match (opt.value, value) {
            (None, Value::Boolean(true)) => self.set(opt, OsStr::new("")),
            (None, Value::Boolean(false)) => Ok(()),
            (None, _) => Err(message!("it is true or false")),
            (Some(_), Value::String(text)) => self.set(opt, OsStr::new(&text)),
            (Some(_), Value::Integer(number)) => self.set(opt, OsStr::new(&number.to_string())),
            (Some(_), Value::Array(all)) if opt.many => all.into_iter().try_for_each(|one| match one {
                Value::String(text) => self.set(opt, OsStr::new(&text)),
                _ => Err(message!("it is a text, or a list of texts")),
            }),
            (Some(_), _) => Err(message!("it is a text")),
        }
    }

    fn set(&mut self, opt: &Opt, value: &OsStr) -> Result<(), Message> {
        let first = !self.seen.contains(&opt.id);
        if first {
            self.seen.push(opt.id);
        }
        let Self { settings: it, directory, .. } = self;
        let path = || Ok::<_, Message>(directory.join(value));
        let text = || value.to_str().map(ToOwned::to_owned).ok_or_else(|| message!("it is not UTF-8"));
        match opt.id {
            Id::Root => it.root = path()?,
            Id::Data => it.data = Some(path()?),
            Id::Config => add(&mut it.config, first, path()?),
            Id::NoDefaults => it.defaults = false,
            Id::Module => it.module = Some(text()?),
            Id::Facts => it.facts = Some(path()?),
            Id::Port => {
                let text = text()?;
                it.port = text.parse().map_err(|_| message!("`{}` is no port: a number from 0 to 65535", text))?;
            }
            Id::Bind => {
                let text = text()?;
                let plain = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(&text);
                let ip = plain
                    .parse()
                    .map_err(|_| message!("`{}` is no address, such as 127.0.0.1, 0.0.0.0 or [::]", text))?;
                add(&mut it.bind, first, ip);
            }
            Id::HostName => it.host_name = Some(text()?),
            Id::TlsCert => it.tls_cert = Some(path()?),
            Id::TlsKey => it.tls_key = Some(path()?),
            Id::PasswordFile => it.password_file = Some(path()?),
            Id::TokenFile => it.token_file = Some(path()?),
            Id::MailTo => {
                let text = text()?;
                // It becomes a header.
                if text.is_empty() || text.contains(|char: char| char.is_control() || ", ".contains(char)) {
                    return Err(message!("`{}` is no address of mail; give the option once for each", text));
                }
                add(&mut it.mail_to, first, text);
            }
            Id::MailFrom => {
                let text = text()?;
                if text.contains(char::is_control) {
                    return Err(message!("`{}` is no address of mail; give the option once for each", text));
                }
                it.mail_from = Some(text);
            }
            Id::Sendmail => it.sendmail = path()?,
            Id::Foreground => it.foreground = true,
            Id::PidFile => it.pid_file = Some(path()?),
            Id::User => it.user = Some(text()?),
            Id::Lang => it.lang = lang(&text()?)?,
            Id::Debug => it.debug = true,
            Id::Settings | Id::Demo | Id::Json | Id::Help | Id::Man | Id::Version => {}
        }
        Ok(())
    }
}

/// Adds to a list, which begins anew with the first of a source.
fn add<T>(list: &mut Vec<T>, first: bool, item: T) {
    if first {
        list.clear();
    }
    list.push(item);
}

fn lang(text: &str) -> Result<Lang, Message> {
    match text.get(..2) {
        Some("fr" | "en") => Ok(Lang::of_tag(text)),
        _ => Err(message!("`{}` is no language this program has; it has fr and en", text)),
    }
}

/// The language of the environment.
pub(crate) fn env_lang() -> Lang {
    let set = ["LC_ALL", "LC_MESSAGES", "LANG"]
        .into_iter()
        .find_map(|name| std::env::var(name).ok().filter(|it| !it.is_empty()));
    Lang::of_tag(&set.unwrap_or_default())
}

/// The language in which a command line that is not understood yet is complained about.
pub(crate) fn early_lang(args: &[OsString]) -> Lang {
    let words: Vec<_> = args.iter().map(|word| word.to_string_lossy()).collect();
    let named = words.iter().enumerate().find_map(|(at, word)| match word.strip_prefix("--lang")? {
        "" => words.get(at + 1).map(|next| next.to_string()),
        rest => rest.strip_prefix('=').map(ToOwned::to_owned),
    });
    named.and_then(|named| lang(&named).ok()).unwrap_or_else(env_lang)
}

fn read(file: &Path) -> std::io::Result<String> {
    use std::io::Read;
    if !fs::metadata(file)?.is_file() {
        return Err(std::io::Error::other(message!("it is no regular file")));
    }
    let mut text = String::new();
    fs::File::open(file)?.take(BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > BYTES {
        return Err(std::io::Error::other(message!("it is larger than {} bytes", BYTES)));
    }
    Ok(text)
}

/// The secret that a file has: its first line.
pub(crate) fn secret(file: &Path) -> Result<String, Message> {
    let name = file.display().to_string();
    let text = read(file).map_err(|error| message!("{}: cannot be read: {}", &name, error.said()))?;
    let line = text.lines().next().unwrap_or_default().trim();
    if line.is_empty() {
        return Err(message!("{}: the first line is empty; write the secret there", name));
    }
    Ok(line.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli;

    fn gather(line: &str, dir: &Path) -> Result<Settings, String> {
        let line = cli::parse(line.split_whitespace().map(OsString::from)).map_err(|error| error.to_string())?;
        Settings::gather(&line.given, dir).map_err(|error| error.to_string())
    }

    #[test]
    fn command_line_over_file_over_defaults() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("z.toml");
        fs::write(&file, "port = 1\nroot = 'r'\nbind = ['::', '10.0.0.1']\nmail-to = 'a@b'\nno-defaults = true\nlang = 'fr'\ndebug = false\n")
            .unwrap();
        let settings = gather("--settings z.toml --port 2 --mail-to c@d --mail-to e@f --data d", dir.path()).unwrap();
        assert_eq!((settings.port, settings.lang, settings.defaults, settings.debug), (2, Lang::French, false, false));
        assert_eq!((settings.root.clone(), settings.data()), (dir.path().join("r"), dir.path().join("d")));
        assert_eq!(settings.mail_to, ["c@d", "e@f"], "a list is replaced as a whole");
        assert_eq!(settings.listen(), ["[::]:2".parse().unwrap(), "10.0.0.1:2".parse().unwrap()]);
        assert!(!settings.is_local());
        let plain = gather("--root /nowhere", dir.path()).unwrap();
        assert!(plain.is_local() && plain.defaults);
        assert_eq!(plain.data(), Path::new("/nowhere/stats"));
        // The root's own file.
        fs::write(dir.path().join("zstats.toml"), "port = 7\ndata = 'here'\n").unwrap();
        let root = gather("--root .", dir.path()).unwrap();
        assert_eq!((root.port, root.data()), (7, dir.path().join(".").join("here")));
    }

    #[test]
    fn errors_name_the_option_or_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let file = |text: &str| fs::write(dir.path().join("z.toml"), text).unwrap();
        for (line, text, error) in [
            ("--port x", "", "--port: `x` is no port: a number from 0 to 65535"),
            ("--bind localhost", "", "--bind: `localhost` is no address, such as 127.0.0.1, 0.0.0.0 or [::]"),
            ("--lang de", "", "--lang: `de` is no language this program has; it has fr and en"),
            ("--tls-cert x", "", "--tls-cert and --tls-key are given together or not at all"),
            ("--mail-to a,b", "", "--mail-to: `a,b` is no address of mail; give the option once for each"),
            ("--settings z.toml", "prot = 1", "z.toml: there is no setting prot; z_stats --help lists the options"),
            ("--settings z.toml", "demo = true", "z.toml: there is no setting demo; z_stats --help lists the options"),
            ("--settings z.toml", "debug = 1", "z.toml: debug: it is true or false"),
            ("--settings z.toml", "root = 1.5", "z.toml: root: it is a text"),
            ("--settings none.toml", "", "none.toml: cannot be read: no such file or directory"),
        ] {
            file(text);
            let said = gather(line, dir.path()).unwrap_err().replace(&format!("{}/", dir.path().display()), "");
            assert_eq!(said, error);
        }
        file(&("port = 1\n".to_owned() + &" ".repeat(1 << 20) + "prot = 1"));
        assert!(gather("--settings z.toml", dir.path()).unwrap_err().contains("it is larger than 1048576 bytes"));
        file("port = [");
        assert!(
            gather("--settings z.toml", dir.path())
                .unwrap_err()
                .contains("z.toml:1:9: unclosed array; expected is `]`")
        );
        assert_eq!(early_lang(&["--lang".into(), "fr".into()]), Lang::French);
        assert_eq!(early_lang(&["--lang=en".into()]), Lang::English);
    }

    #[test]
    fn secrets_are_first_lines() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("secret");
        fs::write(&file, " open sesame \nmore\n").unwrap();
        assert_eq!(secret(&file).unwrap(), "open sesame");
        fs::write(&file, "\nx").unwrap();
        assert!(secret(&file).unwrap_err().to_string().contains("the first line is empty"));
    }
}
