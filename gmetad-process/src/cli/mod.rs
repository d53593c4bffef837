//! The command line of gmetad: what the C daemon takes, what gmetad-python added, `--check`, `--demo` and the tools
//! for RRD files.
//!
//! Long options may be abbreviated, an option given twice is an error, words that are no options are ignored: as in the
//! C daemon, whose texts are kept. [`OPTIONS`] is the only place where an option exists.
//!
//! ```
//! use gmetad_process::cli::{self, Command};
//!
//! let words = ["-d2", "--conf=/tmp/gmetad.conf"].map(Into::into);
//! let Ok(Command::Run(options)) = cli::parse(words.into_iter()) else { panic!("it is correct") };
//! assert_eq!(options.debug, Some(2));
//! assert_eq!(options.conf().to_str(), Some("/tmp/gmetad.conf"));
//! ```

mod table;
#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

pub use table::{CliCause, CliError, Opt, Scanner, c_long, help_lines};

/// The configuration file, where none is given.
pub const DEFAULT_CONF: &str = "/etc/ganglia/gmetad.conf";

/// The name messages start with.
const PROGRAM: &str = "gmetad";

/// What the user asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Print [`help`], exit 0.
    Help,
    /// Print the version, exit 0.
    Version,
    /// Read the configuration, say what is wrong with it, run nothing.
    Check(Options),
    /// Run on synthetic data.
    Demo(Options),
    /// Write what the journal of RRD points has into the files, run nothing.
    FlushAndExit(Options),
    /// Check a tree of RRD files.
    RrdFsck {
        /// `--rrd-fsck`.
        dir: PathBuf,
        /// `--repair`.
        repair: bool,
    },
    /// List or move RRD files that are no longer written.
    RrdPrune {
        /// `--rrd-prune`.
        dir: PathBuf,
        /// `--older-than`, as written.
        older_than: String,
        /// `--move`.
        move_files: bool,
    },
    /// Run.
    Run(Options),
}

/// The values given. `None` means not given: the configuration file decides.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// `-c`; see [`Options::conf`].
    pub conf: Option<PathBuf>,
    /// `-d`: overrides `debug_level`, also when it is 0.
    pub debug: Option<i64>,
    /// `-p`, as written; relative to the directory the program was started in.
    pub pid_file: Option<PathBuf>,
    /// `-f`: never goes to the background.
    pub foreground: bool,
    /// `-l`, as written; relative to the directory the program was started in.
    pub logfile: Option<PathBuf>,
    /// `-i`.
    pub interactive_port: Option<u16>,
    /// `-x`.
    pub xml_port: Option<u16>,
}

impl Options {
    /// The configuration file: the one given or [`DEFAULT_CONF`].
    pub fn conf(&self) -> &Path {
        self.conf.as_deref().unwrap_or(Path::new(DEFAULT_CONF))
    }
}

/// The options of gmetad.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Id {
    /// `--help`
    Help,
    /// `--version`
    Version,
    /// `--conf`
    Conf,
    /// `--debug`
    Debug,
    /// `--pid-file`
    PidFile,
    /// `--foreground`
    Foreground,
    /// `--logfile`
    Logfile,
    /// `--interactive_port`
    InteractivePort,
    /// `--xml_port`
    XmlPort,
    /// `--check`
    Check,
    /// `--demo`
    Demo,
    /// `--flush-and-exit`
    FlushAndExit,
    /// `--rrd-fsck`
    RrdFsck,
    /// `--repair`
    Repair,
    /// `--rrd-prune`
    RrdPrune,
    /// `--older-than`
    OlderThan,
    /// `--move`
    Move,
}

#[rustfmt::skip]
const fn opt(
    id: Id, short: Option<char>, long: &'static [&'static str], value: Option<&'static str>, original: bool, help: &'static str,
) -> Opt<Id> {
    Opt { id, short, long, value, help, original }
}

/// Every option: parsing and help come from here.
#[rustfmt::skip]
pub static OPTIONS: &[Opt<Id>] = &[
    opt(Id::Help,       Some('h'), &["help"],                  None,         true,  "print this text and exit"),
    opt(Id::Version,    Some('V'), &["version"],               None,         true,  "print the version and exit"),
    opt(Id::Conf,       Some('c'), &["conf"],                  Some("FILE"), true,  "configuration file (default /etc/ganglia/gmetad.conf)"),
    opt(Id::Debug,      Some('d'), &["debug"],                 Some("N"),    true,  "overrides debug_level; above 0: stay in the foreground"),
    opt(Id::PidFile,    Some('p'), &["pid-file", "pid_file"],  Some("FILE"), true,  "write the process id to FILE"),
    opt(Id::Foreground, Some('f'), &["foreground"],            None,         false, "stay in the foreground at any debug level"),
    opt(Id::Logfile,    Some('l'), &["logfile"],               Some("FILE"), false, "write the log to FILE as well"),
    opt(Id::InteractivePort, Some('i'), &["interactive_port", "interactive-port"], Some("PORT"), false, "overrides interactive_port"),
    opt(Id::XmlPort,    Some('x'), &["xml_port", "xml-port"],  Some("PORT"), false, "overrides xml_port"),
    opt(Id::Check,      None,      &["check"],                 None,         false, "check the configuration, report, and exit"),
    opt(Id::Demo,       None,      &["demo"],                  None,         false, "run on synthetic data; needs no configuration"),
    opt(Id::FlushAndExit, None,    &["flush-and-exit"],        None,         false, "write the points of the journal into the RRD files, and exit"),
    opt(Id::RrdFsck,    None,      &["rrd-fsck"],              Some("DIR"),  false, "check the RRD files below DIR, report, and exit"),
    opt(Id::Repair,     None,      &["repair"],                None,         false, "with rrd-fsck: move broken files to DIR/.gmetad/broken"),
    opt(Id::RrdPrune,   None,      &["rrd-prune"],             Some("DIR"),  false, "list RRD files below DIR without updates, and exit"),
    opt(Id::OlderThan,  None,      &["older-than"],            Some("AGE"),  false, "with rrd-prune: for how long, as in 90d (s m h d w y)"),
    opt(Id::Move,       None,      &["move"],                  None,         false, "with rrd-prune: move them to DIR/.gmetad/pruned"),
];

/// Reads the words after the program's name. `--help` and `--version` count as soon as they are met.
pub fn parse(args: impl Iterator<Item = OsString>) -> Result<Command, CliError> {
    let mut scan = Scanner::new(PROGRAM, OPTIONS, args);
    let mut options = Options::default();
    let (mut check, mut demo, mut flush, mut repair, mut move_files) = (false, false, false, false, false);
    let (mut fsck, mut prune, mut older_than) = (None::<PathBuf>, None::<PathBuf>, None);
    while let Some((id, value)) = scan.next_option()? {
        let value = value.unwrap_or_default();
        let number = || {
            let text = value.to_string_lossy();
            c_long(&text).ok_or_else(|| scan.error(CliCause::NotANumber(text.into_owned())))
        };
        let port =
            || number().and_then(|port| u16::try_from(port).map_err(|_| scan.error(CliCause::NotAPort { port })));
        match id {
            Id::Help => return Ok(Command::Help),
            Id::Version => return Ok(Command::Version),
            Id::Debug => options.debug = Some(number()?),
            Id::InteractivePort => options.interactive_port = Some(port()?),
            Id::XmlPort => options.xml_port = Some(port()?),
            Id::Conf => options.conf = Some(value.into()),
            Id::PidFile => options.pid_file = Some(value.into()),
            Id::Logfile => options.logfile = Some(value.into()),
            Id::Foreground => options.foreground = true,
            Id::Check => check = true,
            Id::Demo => demo = true,
            Id::FlushAndExit => flush = true,
            Id::RrdFsck => fsck = Some(value.into()),
            Id::Repair => repair = true,
            Id::RrdPrune => prune = Some(value.into()),
            Id::OlderThan => older_than = Some(value.to_string_lossy().into_owned()),
            Id::Move => move_files = true,
        }
    }
    let asked = [
        (check, "check"),
        (demo, "demo"),
        (flush, "flush-and-exit"),
        (fsck.is_some(), "rrd-fsck"),
        (prune.is_some(), "rrd-prune"),
    ];
    let mut asked = asked.into_iter().filter(|(given, _)| *given);
    if let (Some((_, one)), Some((_, other))) = (asked.next(), asked.next()) {
        return Err(scan.error(CliCause::Exclusive(one, other)));
    }
    let needs = |option, other| Err(scan.error(CliCause::Needs(option, other)));
    match (fsck, prune, older_than) {
        (None, _, _) if repair => needs("repair", "rrd-fsck"),
        (_, None, _) if move_files => needs("move", "rrd-prune"),
        (_, None, Some(_)) => needs("older-than", "rrd-prune"),
        (_, Some(_), None) => needs("rrd-prune", "older-than"),
        (_, Some(dir), Some(older_than)) => Ok(Command::RrdPrune { dir, older_than, move_files }),
        (Some(dir), ..) => Ok(Command::RrdFsck { dir, repair }),
        _ if check => Ok(Command::Check(options)),
        _ if flush => Ok(Command::FlushAndExit(options)),
        _ if demo => Ok(Command::Demo(options)),
        _ => Ok(Command::Run(options)),
    }
}

/// The text of `--help`: `version` is the program's first line, `directives` the list of configuration directives, one a
/// line.
pub fn help(version: &str, directives: &str) -> String {
    format!(
        "{version}\n\nUsage: {PROGRAM} [OPTION]...\n\n{}\nLong options may be abbreviated.\n\n\
         Directives of the configuration file:\n{directives}\n",
        help_lines(OPTIONS)
    )
}
