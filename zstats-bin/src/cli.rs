//! The command line. [`OPTIONS`] and [`COMMANDS`] are the only places where an option or a command exists: parsing, the settings
//! files, the help and the manual page come from them.

use std::ffi::OsString;

use gmetad_agents::lang::Lang;
use gmetad_core::agent::Message;
use gmetad_core::message;
use lexopt::{Arg, Parser};

/// What the program is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Do {
    /// Be the service.
    Serve,
    /// Say what files would run.
    Check,
    /// Measure once.
    Run,
    /// Say how the service does.
    Status,
    /// List the kinds.
    Kinds,
    /// Show what it can do.
    Demo,
    /// Print the help.
    Help,
    /// Print the manual page.
    Man,
    /// Print the version.
    Version,
}

/// A command: the first word that is no option.
pub(crate) struct Command {
    pub(crate) name: &'static str,
    pub(crate) what: Do,
    /// What may follow.
    pub(crate) words: &'static str,
    pub(crate) help: &'static str,
    pub(crate) doc: &'static str,
}

/// All commands.
#[rustfmt::skip]
pub(crate) const COMMANDS: &[Command] = &[
    Command { name: "check", what: Do::Check, words: "[FILE...]", help: "say which agents these files (or all) give, run nothing",
        doc: "Reads the files as if they lay in the last drop-in directory, or everything if none is named. Exit status: 0 if all is well, 1 if there are warnings, 2 if something cannot be loaded." },
    Command { name: "run", what: Do::Run, words: "AGENT", help: "take one measurement of an agent and show it",
        doc: "Independent of the service. Exit status: as of status." },
    Command { name: "status", what: Do::Status, words: "[AGENT]", help: "say how the service's agents are",
        doc: "Asks the running service on loopback, or reads the data directory if it cannot be asked. Exit status, as of the monitoring plugins: 0 OK, 1 Warn, 2 Error, 3 Unknown; the worst of all agents." },
    Command { name: "kinds", what: Do::Kinds, words: "", help: "list what kind = \"...\" of an agent may be, and the keys of all",
        doc: "" },
];

/// The options.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Id {
    Root,
    Data,
    Config,
    NoDefaults,
    Module,
    Facts,
    Settings,
    Port,
    Bind,
    HostName,
    TlsCert,
    TlsKey,
    PasswordFile,
    TokenFile,
    MailTo,
    MailFrom,
    Sendmail,
    Foreground,
    PidFile,
    User,
    Lang,
    Debug,
    Demo,
    Json,
    Help,
    Man,
    Version,
}

/// An option.
pub(crate) struct Opt {
    pub(crate) id: Id,
    pub(crate) short: Option<char>,
    pub(crate) long: &'static str,
    /// Name of its value; `None`: it has none.
    pub(crate) value: Option<&'static str>,
    /// May be given several times.
    pub(crate) many: bool,
    /// May stand in a settings file.
    pub(crate) file: bool,
    pub(crate) help: &'static str,
}

/// All options.
#[rustfmt::skip]
pub(crate) const OPTIONS: &[Opt] = &[
    one (Id::Root,         None,      "root",          Some("DIR"),  "directory with configs/ and site.cfg (default /usr/share/eole/zephir/monitor)"),
    one (Id::Data,         None,      "data",          Some("DIR"),  "where data is kept (default: stats below the root)"),
    many(Id::Config,                  "config",        "DIR",        "another directory with *.agent and *.toml, read last"),
    one (Id::NoDefaults,   None,      "no-defaults",   None,         "only agents that are written down"),
    one (Id::Module,       None,      "module",        Some("NAME"), "module of this server, such as amon-1.5 (default: what the facts say)"),
    one (Id::Facts,        None,      "facts",         Some("FILE"), "variables of this server, as name=value or JSON (default /etc/zstats/facts if it is there)"),
    cli (Id::Settings,     None,      "settings",      Some("FILE"), "settings file to read instead of /etc/zstats/zstats.toml and zstats.toml below the root"),
    one (Id::Port,         None,      "port",          Some("N"),    "port of the page (default 8090; 0: a free one)"),
    many(Id::Bind,                    "bind",          "ADDR",       "address the page is shown on (default 127.0.0.1 and ::1; [::] for the network)"),
    one (Id::HostName,     None,      "host-name",     Some("NAME"), "name of this server on the page and in its address (default: the system's)"),
    one (Id::TlsCert,      None,      "tls-cert",      Some("FILE"), "certificate (PEM); the page is served over TLS alone"),
    one (Id::TlsKey,       None,      "tls-key",       Some("FILE"), "its key (PEM)"),
    one (Id::PasswordFile, None,      "password-file", Some("FILE"), "file with the password of the page"),
    one (Id::TokenFile,    None,      "token-file",    Some("FILE"), "file with the token for measuring, acknowledging and silencing"),
    many(Id::MailTo,                  "mail-to",       "ADDR",       "who gets mail when an agent goes to Error, and when it leaves it"),
    one (Id::MailFrom,     None,      "mail-from",     Some("ADDR"), "sender of mail (default: what sendmail says)"),
    one (Id::Sendmail,     None,      "sendmail",      Some("FILE"), "program that sends mail (default /usr/sbin/sendmail)"),
    one (Id::Foreground,   Some('f'), "foreground",    None,         "stay in the foreground, log to standard error"),
    one (Id::PidFile,      Some('p'), "pid-file",      Some("FILE"), "write the process id to FILE"),
    one (Id::User,         None,      "user",          Some("NAME"), "run as this user if started by root"),
    one (Id::Lang,         None,      "lang",          Some("LANG"), "fr or en (default: what LC_ALL, LC_MESSAGES or LANG say)"),
    one (Id::Debug,        Some('d'), "debug",         None,         "log more"),
    cli (Id::Demo,         None,      "demo",          None,         "show the page of this machine and of made-up agents; keeps nothing"),
    cli (Id::Json,         None,      "json",          None,         "with status: the answer of /api/v1/status"),
    cli (Id::Help,         Some('h'), "help",          None,         "print this text and exit"),
    cli (Id::Man,          None,      "man",           None,         "print the manual page and exit"),
    cli (Id::Version,      Some('V'), "version",       None,         "print the version and exit"),
];

type Value = Option<&'static str>;

const fn one(id: Id, short: Option<char>, long: &'static str, value: Value, help: &'static str) -> Opt {
    Opt { id, short, long, value, many: false, file: true, help }
}

const fn many(id: Id, long: &'static str, value: &'static str, help: &'static str) -> Opt {
    Opt { id, short: None, long, value: Some(value), many: true, file: true, help }
}

const fn cli(id: Id, short: Option<char>, long: &'static str, value: Value, help: &'static str) -> Opt {
    Opt { id, short, long, value, many: false, file: false, help }
}

/// A command line that was understood.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) what: Do,
    /// What follows the command.
    pub(crate) words: Vec<OsString>,
    /// The options, in order.
    pub(crate) given: Vec<(Id, OsString)>,
}

impl Line {
    pub(crate) fn has(&self, id: Id) -> bool {
        self.given.iter().any(|(given, _)| *given == id)
    }
}

/// What a line is about that may not be understood.
pub(crate) fn meant(args: &[OsString]) -> Do {
    let named = args.iter().find_map(|word| COMMANDS.iter().find(|command| word.to_str() == Some(command.name)));
    named.map_or(Do::Serve, |command| command.what)
}

/// Reads the words after the program's name. Options and command may come in any order; `--help` counts as soon as it is met.
pub(crate) fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Line, Message> {
    let mut parser = Parser::from_args(args);
    let mut line = Line { what: Do::Serve, words: Vec::new(), given: Vec::new() };
    let mut command: Option<&Command> = None;
    while let Some(arg) = parser.next().map_err(|error| wrong(&error))? {
        let mut is_long = false;
        let opt = match arg {
            Arg::Short(letter) => find(|opt| opt.short == Some(letter), format!("-{letter}"))?,
            Arg::Long(name) => {
                is_long = true;
                long(name)?
            }
            Arg::Value(word) => {
                match command {
                    Some(_) => line.words.push(word),
                    None => {
                        let found = COMMANDS.iter().find(|command| word.to_str() == Some(command.name));
                        command = Some(found.ok_or_else(|| {
                            message!("there is no command {}; z_stats --help lists them", word.to_string_lossy())
                        })?);
                    }
                }
                continue;
            }
        };
        match opt.id {
            Id::Help => return Ok(Line { what: Do::Help, ..line }),
            Id::Man => return Ok(Line { what: Do::Man, ..line }),
            Id::Version => return Ok(Line { what: Do::Version, ..line }),
            id if !opt.many && line.has(id) => return Err(message!("--{} is given twice", opt.long)),
            _ => {}
        }
        let value = match opt.value {
            Some(_) => parser
                .value()
                .map_err(|_| message!("--{} needs a value; z_stats --help lists the options", opt.long))?,
            // What follows a letter is the next letter, not a value.
            None if is_long && parser.optional_value().is_some() => {
                return Err(message!("{} takes no value", format!("--{}", opt.long)));
            }
            None => OsString::new(),
        };
        line.given.push((opt.id, value));
    }
    let demo = line.has(Id::Demo);
    line.what = match command {
        Some(_) if demo => return Err(message!("--demo and a command cannot be given together")),
        Some(command) => {
            let (least, most) = match command.what {
                Do::Run => (1, 1),
                Do::Status => (0, 1),
                Do::Check => (0, usize::MAX),
                _ => (0, 0),
            };
            if line.words.len() < least || line.words.len() > most {
                return Err(message!("it is written: z_stats {} {}", command.name, command.words));
            }
            command.what
        }
        None if demo => Do::Demo,
        None => Do::Serve,
    };
    if line.has(Id::Json) && line.what != Do::Status {
        return Err(message!("--json is for z_stats status"));
    }
    Ok(line)
}

/// What lexopt says.
fn wrong(error: &lexopt::Error) -> Message {
    match error {
        lexopt::Error::UnexpectedValue { option, .. } => message!("{} takes no value", option),
        lexopt::Error::NonUnicodeValue(value) => message!("{}: it is not UTF-8", value.to_string_lossy()),
        other => message!("the command line is not understood: \"{}\"", other.to_string()),
    }
}

/// The option of that name, or the one it abbreviates.
fn long(name: &str) -> Result<&'static Opt, Message> {
    if let Some(exact) = OPTIONS.iter().find(|opt| opt.long == name) {
        return Ok(exact);
    }
    let fits: Vec<_> = OPTIONS.iter().filter(|opt| opt.long.starts_with(name)).collect();
    match fits[..] {
        [one] => Ok(one),
        [] => find(|_| false, format!("--{name}")),
        _ => {
            let names: Vec<_> = fits.iter().map(|opt| format!("--{}", opt.long)).collect();
            Err(message!("--{} may be {}", name, names.join(", ")))
        }
    }
}

fn find(is: impl Fn(&Opt) -> bool, given: String) -> Result<&'static Opt, Message> {
    let found = OPTIONS.iter().find(|opt| is(opt));
    found.ok_or_else(|| message!("there is no option {}; z_stats --help lists the options", given))
}

/// The first line of the help.
pub(crate) const VERSION: &str = concat!("z_stats ", env!("CARGO_PKG_VERSION"));

/// The text of `--help`.
pub(crate) fn help(lang: Lang) -> String {
    let about = message!("agents that watch this server, and a page that shows them");
    let mut text = lang.message(&message!("{}: {}", VERSION, about)) + "\n\n";
    text += &format!("{}\n", lang.text("Usage: z_stats [OPTION...] [COMMAND]"));
    text += &format!("\n{}\n", lang.text("Without a command it is the service. Commands:"));
    for command in COMMANDS {
        text += &format!("  {:<20} {}\n", format!("{} {}", command.name, command.words), lang.text(command.help));
    }
    text += &format!("\n{}\n", lang.text("Options:"));
    for opt in OPTIONS {
        let short = opt.short.map_or_else(|| "    ".to_owned(), |letter| format!("-{letter}, "));
        let value = opt.value.map(|value| format!(" {value}")).unwrap_or_default();
        text += &format!("  {:<26} {}\n", format!("{short}--{}{value}", opt.long), lang.text(opt.help));
    }
    let more = "Options may be abbreviated, and most may stand in /etc/zstats/zstats.toml: port = 8090.";
    text + &format!("\n{}\n{}\n", lang.text(more), lang.text("First look: z_stats --demo"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> Result<Line, String> {
        parse(text.split_whitespace().map(OsString::from)).map_err(|error| error.to_string())
    }

    #[test]
    fn commands_and_options_in_any_order() {
        let given = |id, value: &str| (id, OsString::from(value));
        for (text, what, words, options) in [
            ("", Do::Serve, vec![], vec![]),
            ("-f --port 1", Do::Serve, vec![], vec![given(Id::Foreground, ""), given(Id::Port, "1")]),
            (
                "--po=1 -df",
                Do::Serve,
                vec![],
                vec![given(Id::Port, "1"), given(Id::Debug, ""), given(Id::Foreground, "")],
            ),
            (
                "check a --config x b --config y",
                Do::Check,
                vec!["a", "b"],
                vec![given(Id::Config, "x"), given(Id::Config, "y")],
            ),
            ("--root r run load", Do::Run, vec!["load"], vec![given(Id::Root, "r")]),
            ("status --json", Do::Status, vec![], vec![given(Id::Json, "")]),
            ("kinds", Do::Kinds, vec![], vec![]),
            ("--demo", Do::Demo, vec![], vec![given(Id::Demo, "")]),
            ("--help --nonsense", Do::Help, vec![], vec![]),
            ("-V", Do::Version, vec![], vec![]),
            ("--man", Do::Man, vec![], vec![]),
        ] {
            let words = words.into_iter().map(OsString::from).collect();
            assert_eq!(line(text), Ok(Line { what, words, given: options }), "{text}");
        }
    }

    #[test]
    fn errors_say_what_to_do() {
        for (text, error) in [
            ("--prot 1", "there is no option --prot; z_stats --help lists the options"),
            ("-x", "there is no option -x; z_stats --help lists the options"),
            ("--tls x", "--tls may be --tls-cert, --tls-key"),
            ("--port", "--port needs a value; z_stats --help lists the options"),
            ("--demo=1", "--demo takes no value"),
            ("--root a --root b", "--root is given twice"),
            ("start", "there is no command start; z_stats --help lists them"),
            ("run", "it is written: z_stats run AGENT"),
            ("kinds all", "it is written: z_stats kinds "),
            ("--demo status", "--demo and a command cannot be given together"),
            ("--json", "--json is for z_stats status"),
        ] {
            assert_eq!(line(text), Err(error.to_owned()), "{text}");
        }
    }

    #[test]
    fn the_help_has_everything_in_both_languages() {
        for lang in [Lang::English, Lang::French] {
            let text = help(lang);
            for opt in OPTIONS {
                assert!(text.contains(&format!("--{} ", opt.long)), "{}", opt.long);
            }
            assert!(text.lines().all(|line| line.chars().count() < 130), "{text}");
        }
        let texts = OPTIONS.iter().map(|opt| opt.help).chain(COMMANDS.iter().map(|command| command.help));
        let texts: Vec<_> = texts.collect();
        for text in texts {
            assert_ne!(Lang::French.text(text), text, "not translated");
        }
    }
}
