//! gmetad: the Ganglia grid daemon. Options, configuration, user, signals; everything else is in the libraries.

use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

use gmetad_core::Gmetad;
use gmetad_core::conf::{Config, LogLevel, SystemLoader, help_list};
use gmetad_process::cli::{self, Command, Options};
use gmetad_process::daemon::{self, Ready};
use gmetad_process::logger::{self, Logger, Setup};
use gmetad_process::pidfile::{PidFile, PidPath};
use gmetad_process::signals::{Event, Signals};
use gmetad_process::{limits, notify, user};
use gmetad_rrd::RrdPlugin;

mod demo;
mod settings;

type Fallible<T> = Result<T, Box<dyn Error>>;

/// Descriptors wanted: clients, sources and open RRD files. What the system does not give is done without.
const DESCRIPTORS: u64 = 65_536;
/// How long everything has to end after SIGTERM.
const STOP_WITHIN: Duration = Duration::from_secs(5);

fn main() -> ExitCode {
    let version = concat!("gmetad ", env!("CARGO_PKG_VERSION"), " (compatible with Ganglia gmetad 3.7.2)");
    let result = match cli::parse(std::env::args_os().skip(1)) {
        Ok(Command::Help) => {
            println!("{}", cli::help(version, &help_list()));
            Ok(())
        }
        Ok(Command::Version) => {
            println!("{version}");
            Ok(())
        }
        Ok(Command::Check(options)) => check(&options),
        Ok(Command::Demo(options)) => demo::run(&options),
        Ok(Command::Run(options)) => run(&options),
        Err(error) => Err(error.into()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// The configuration as it is meant, with the command line's changes.
fn load(options: &Options) -> Fallible<Config> {
    let hostname = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let mut config = Config::load(options.conf(), &SystemLoader::new(hostname.trim()))?;
    config.xml_port = options.xml_port.unwrap_or(config.xml_port);
    config.interactive_port = options.interactive_port.unwrap_or(config.interactive_port);
    if let Some(file) = &options.logfile {
        config.logfile = Some(file.clone());
    }
    Ok(config)
}

fn check(options: &Options) -> Fallible<()> {
    let config = load(options)?;
    for warning in config.warnings.iter().map(ToString::to_string).chain(settings::without_effect(&config)) {
        eprintln!("warning: {warning}");
    }
    print!("{}", config.describe());
    Ok(())
}

fn run(options: &Options) -> Fallible<()> {
    let config = load(options)?;
    let debug = options.debug.unwrap_or(config.debug_level.into());
    let pid_path = options.pid_file.as_deref().map(PidPath::new).transpose()?;
    let ident = std::env::args().next().unwrap_or_else(|| "gmetad".to_owned());
    let mut log = Setup::new(ident, level(&config, debug));
    if let Some(file) = &config.logfile {
        log = log.file(file)?;
    }
    let foreground = options.foreground || debug > 0 || config.daemonize == Some(false);
    let (ready, log) =
        if foreground { (Ready::foreground(), log.stderr()) } else { (daemon::daemonize(config.umask)?, log.syslog()) };
    match start(&config, pid_path, log) {
        Ok((log, gmetad, pid_file)) => {
            ready.ok();
            serve(options, config, log, gmetad);
            drop(pid_file);
            log.flush();
            Ok(())
        }
        Err(error) => {
            ready.fail(&error);
            Err(error)
        }
    }
}

/// `log_level` decides if it was raised above its default; else `debug_level`, as in C.
fn level(config: &Config, debug: i64) -> log::LevelFilter {
    match config.log_level {
        LogLevel::Info => logger::level_of_debug(debug),
        other => logger::level_of_name(other.as_str()).unwrap_or(log::LevelFilter::Info),
    }
}

/// Everything that may fail before the daemon serves.
fn start(
    config: &Config,
    pid_path: Option<PidPath>,
    log: Setup,
) -> Fallible<(&'static Logger, Gmetad, Option<PidFile>)> {
    let log = log.install()?;
    let pid_file = pid_path.map(PidPath::create).transpose()?;
    limits::raise_descriptors(DESCRIPTORS)?;
    let account = if config.setuid { user::switch_user(&config.setuid_username)? } else { user::Account::current() };
    for warning in config.warnings.iter().map(ToString::to_string).chain(settings::without_effect(config)) {
        log::warn!("{warning}");
    }
    let mut builder = Gmetad::builder().config(config);
    if config.write_rrds {
        user::check_rrd_rootdir(&config.rrd_rootdir, &account)?;
        let rrd = settings::rrd(config);
        builder = builder.plugin(RrdPlugin::hosts(rrd.clone())).plugin(RrdPlugin::summaries(rrd));
    }
    let gmetad = gmetad_http::with_pages(builder, config).start()?;
    Ok((log, gmetad, pid_file))
}

/// Runs until a signal says stop.
fn serve(options: &Options, mut config: Config, log: &Logger, gmetad: Gmetad) {
    let _ = notify::ready();
    let signals = match Signals::new() {
        Ok(signals) => signals,
        Err(error) => return log::error!("cannot take signals: {error}"),
    };
    for event in signals {
        match event {
            Event::Stop => break,
            Event::Report => gmetad.sources().iter().for_each(|source| log::info!("{}", demo::source_line(source))),
            Event::Reload => {
                let _ = notify::reloading();
                reload(options, &mut config, log, &gmetad);
                let _ = notify::ready();
            }
        }
    }
    let _ = notify::stopping();
    if let Err(left) = gmetad.stop(STOP_WITHIN) {
        log::warn!("left behind at stop: {}", left.join(", "));
    }
}

fn reload(options: &Options, config: &mut Config, log: &Logger, gmetad: &Gmetad) {
    if let Err(error) = log.reopen() {
        log::error!("cannot reopen the log file: {error}");
    }
    match load(options) {
        Ok(new) => {
            for warning in &new.warnings {
                log::warn!("{warning}");
            }
            let report = gmetad.reload(&new);
            let (started, stopped) = (report.started.join(", "), report.stopped.join(", "));
            log::info!("reloaded: {} sources kept, started [{started}], stopped [{stopped}]", report.kept);
            for text in report.refused.iter().chain(&settings::needs_restart(config, &new)) {
                log::warn!("reload: {text}");
            }
            *config = new;
        }
        Err(error) => log::error!("reload: {error}; the old configuration stays"),
    }
}
