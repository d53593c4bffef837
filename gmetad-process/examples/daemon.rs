//! A daemon that does nothing, properly: how the parts of gmetad-process are strung together.
//!
//! ```text
//! cargo run -p gmetad-process --example daemon -- --conf example.conf --pid-file /tmp/example.pid --foreground
//! ```
//!
//! Its configuration file holds lines `umask 022`, `setuid_username NAME`, `rrd_rootdir DIR`, `stop_hangs`, `die`.

use std::error::Error;
use std::path::Path;
use std::process::ExitCode;

use gmetad_process::cli::{self, Command, Options};
use gmetad_process::daemon::{self, Ready};
use gmetad_process::logger::{self, Logger, Setup};
use gmetad_process::pidfile::{PidFile, PidPath};
use gmetad_process::signals::{Event, Signals};
use gmetad_process::user::{self, Account};
use gmetad_process::{limits, notify};

type Fallible<T> = Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    match cli::parse(std::env::args_os().skip(1)) {
        Ok(Command::Help) => println!("{}", cli::help("example 1.0", "  umask, setuid_username, rrd_rootdir")),
        Ok(Command::Version) => println!("example 1.0"),
        Ok(Command::Check(options) | Command::Demo(options) | Command::Run(options)) => return run(&options),
        Ok(Command::FlushAndExit(_) | Command::RrdFsck { .. } | Command::RrdPrune { .. }) => {
            println!("the example has no RRD files")
        }
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

/// What can be done before the fork, the fork, and the word owed to the shell.
fn run(options: &Options) -> ExitCode {
    let before = || -> Fallible<(Conf, Option<PidPath>, Setup)> {
        let conf = Conf::read(options.conf())?;
        let pid_path = options.pid_file.as_deref().map(PidPath::new).transpose()?;
        let mut log = Setup::new(ident(), logger::level_of_debug(options.debug.unwrap_or(0)));
        if let Some(name) = &options.logfile {
            log = log.file(name)?;
        }
        Ok((conf, pid_path, log))
    };
    let (conf, pid_path, log) = match before() {
        Ok(all) => all,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    let (ready, log) = if options.foreground || options.debug.unwrap_or(0) > 0 {
        (Ready::foreground(), log.stderr())
    } else {
        match daemon::daemonize(conf.umask) {
            Ok(ready) => (ready, log.syslog()),
            Err(error) => {
                eprintln!("{error}");
                return ExitCode::FAILURE;
            }
        }
    };
    match start(&conf, pid_path, log) {
        Ok((log, signals, pid_file)) => {
            ready.ok();
            serve(&conf, log, signals);
            drop(pid_file);
            log.flush();
            ExitCode::SUCCESS
        }
        Err(error) => {
            ready.fail(error);
            ExitCode::FAILURE
        }
    }
}

/// What may fail in the daemon.
fn start(conf: &Conf, pid_path: Option<PidPath>, log: Setup) -> Fallible<(&'static Logger, Signals, Option<PidFile>)> {
    let log = log.install()?;
    let pid_file = pid_path.map(PidPath::create).transpose()?;
    let limit = limits::raise_descriptors(4096)?;
    let account = match &conf.user {
        Some(name) => user::switch_user(name)?,
        None => Account::current(),
    };
    if let Some(dir) = &conf.rootdir {
        user::check_rrd_rootdir(Path::new(dir), &account)?;
    }
    if conf.die {
        std::process::abort();
    }
    let signals = Signals::new()?;
    log::info!("running as {} with {limit} descriptors", account.name);
    notify::ready()?;
    Ok((log, signals, pid_file))
}

fn serve(conf: &Conf, log: &Logger, signals: Signals) {
    for event in signals {
        match event {
            Event::Reload => match log.reopen() {
                Ok(()) => log::info!("log reopened"),
                Err(error) => log::error!("cannot reopen the log: {error}; the old file stays in use"),
            },
            Event::Report => log::info!("{} log lines lost", log.lost()),
            Event::Stop if conf.stop_hangs => log::info!("stopping, slowly"),
            Event::Stop => break,
        }
    }
    let _ = notify::stopping();
    log::info!("stopped");
}

fn ident() -> String {
    std::env::args().next().unwrap_or_else(|| "example".into())
}

#[derive(Default)]
struct Conf {
    umask: u32,
    user: Option<String>,
    rootdir: Option<String>,
    stop_hangs: bool,
    die: bool,
}

impl Conf {
    fn read(path: &Path) -> Fallible<Self> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| format!("Error opening configuration file '{}': {error}", path.display()))?;
        let mut conf = Conf { umask: 0o022, ..Conf::default() };
        for line in text.lines() {
            match line.split_once(' ').unwrap_or((line, "")) {
                ("umask", value) => conf.umask = u32::from_str_radix(value, 8)?,
                ("setuid_username", value) => conf.user = Some(value.into()),
                ("rrd_rootdir", value) => conf.rootdir = Some(value.into()),
                ("stop_hangs", _) => conf.stop_hangs = true,
                ("die", _) => conf.die = true,
                _ => return Err(format!("unknown directive: {line}").into()),
            }
        }
        Ok(conf)
    }
}
