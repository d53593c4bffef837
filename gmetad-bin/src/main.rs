//! gmetad: the Ganglia grid daemon. Options, configuration, user, signals; everything else is in the libraries.

use std::error::Error;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use gmetad_core::conf::{Config, RrdBackend, SystemLoader, help_list};
use gmetad_core::stats::Stats;
use gmetad_core::{Gmetad, Plugin};
use gmetad_process::cli::{self, Command, Options};
use gmetad_process::daemon::{self, Ready};
use gmetad_process::logger::{Logger, Setup};
use gmetad_process::pidfile::{PidFile, PidPath};
use gmetad_process::signals::{Event, Signals};
use gmetad_process::user::{self, Account};
use gmetad_process::{limits, notify};
use gmetad_rrd::socket::RrdSocket;
use gmetad_rrd::{Cached, RrdPlugin};

mod demo;
mod plugins;
mod reload;
mod settings;
mod state;
mod tools;

use plugins::Running;

type Fallible<T> = Result<T, Box<dyn Error>>;

/// Descriptors wanted: clients, sources and open RRD files. What the system does not give is done without.
const DESCRIPTORS: u64 = 65_536;
/// How long `--flush-and-exit` may take.
const FLUSH_WITHIN: Duration = Duration::from_secs(3600);
/// How long everything has to end after SIGTERM.
const STOP_WITHIN: Duration = Duration::from_secs(5);
/// How long plugins may take for what is there then, before the executables among them are told to end.
const PASS_ON_WITHIN: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    limits::share_arenas();
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
        Ok(Command::RrdFsck { dir, repair }) => return tools::fsck(&dir, repair),
        Ok(Command::RrdPrune { dir, older_than, move_files }) => return tools::prune(&dir, &older_than, move_files),
        Ok(Command::FlushAndExit(options)) => flush(&options),
        Ok(Command::Run(options)) => return run(options),
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
fn load(options: &Options, directory: &Path) -> Fallible<Config> {
    let hostname = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let mut config = Config::load(options.conf(), &SystemLoader::new(hostname.trim()).relative_to(directory))?;
    if config.rrd_backend == RrdBackend::Rrdcached && config.rrdcached_address.is_none() {
        let remedy = "add a line such as rrdcached_address unix:/run/rrdcached.sock";
        return Err(format!("{}: rrd_backend rrdcached needs an address: {remedy}", options.conf().display()).into());
    }
    config.xml_port = options.xml_port.unwrap_or(config.xml_port);
    config.interactive_port = options.interactive_port.unwrap_or(config.interactive_port);
    if let Some(file) = &options.logfile {
        config.logfile = Some(file.clone());
    }
    Ok(config)
}

fn check(options: &Options) -> Fallible<()> {
    Setup::new("gmetad", log::LevelFilter::Warn).stderr().install()?;
    let config = load(options, &std::env::current_dir()?)?;
    for warning in config.warnings.iter().map(ToString::to_string).chain(settings::without_effect(&config)) {
        eprintln!("warning: {warning}");
    }
    // What the start would refuse.
    RrdPlugin::hosts(settings::rrd(&config)).configure(&config.sections).map_err(|error| error.to_string())?;
    let (lines, fatal, warnings) = plugins::describe(&config);
    warnings.iter().for_each(|warning| eprintln!("warning: {warning}"));
    print!("{}{}", config.describe(), state::describe(&config));
    lines.iter().for_each(|line| println!("{line}"));
    if fatal.is_empty() { Ok(()) } else { Err(fatal.join("\n").into()) }
}

/// Writes what an earlier run left in the journal, as for a return to another daemon.
fn flush(options: &Options) -> Fallible<()> {
    Setup::new("gmetad", log::LevelFilter::Info).stderr().install()?;
    let config = load(options, &std::env::current_dir()?)?;
    if config.setuid && Account::current().uid == 0 {
        user::switch_user(&config.setuid_username)?;
    }
    let mut rrd = settings::rrd(&config);
    rrd.configure(&config.sections).map_err(|error| error.to_string())?;
    if !rrd.root.is_dir() {
        return Err(format!("Please make sure that {} exists", rrd.root.display()).into());
    }
    // A wrong directory must not look like one with nothing to do.
    let own = rrd.root.join(gmetad_rrd::path::OWN_PREFIX);
    if let Err(error) = std::fs::read_dir(&own) {
        let text =
            format!("{}: {error}; this daemon has no journal there, is it the right rrd_rootdir?", own.display());
        return Err(text.into());
    }
    let store = rrd.open_store(&Arc::new(Stats::default()))?;
    if !store.has_lock() {
        let user = Account::current().name;
        return Err(format!("{}: {user} cannot write there, so nothing was done", rrd.root.display()).into());
    }
    let left = store.close(FLUSH_WITHIN);
    let counters = store.counters();
    let figure = |name| counters.iter().find(|(known, _)| *known == name).map_or(0, |(_, value)| *value);
    println!(
        "{} points were in the journal: {} written now, {} were in their files already, {} were of files that have been removed, \
         {} could not be written, {left} stay in the journal",
        figure("journal_replayed"),
        figure("points_written"),
        figure("points_past"),
        figure("points_removed"),
        figure("points_failed") + figure("points_dropped"),
    );
    if left > 0 || figure("points_failed") + figure("points_dropped") > 0 {
        return Err("not all points are in the files; the reason is told above".into());
    }
    match figure("journal_damaged") {
        0 => Ok(()),
        _ => Err("parts of the journal could not be read, as told above; all else is in the files".into()),
    }
}

fn run(mut options: Options) -> ExitCode {
    let prepared = (|| -> Fallible<_> {
        // A reload finds the files from `/`, too.
        let directory = std::env::current_dir()?;
        options.conf = Some(directory.join(options.conf()));
        let config = load(&options, &directory)?;
        let pid_path = options.pid_file.as_deref().map(PidPath::new).transpose()?;
        let debug = options.debug.unwrap_or(config.debug_level.into());
        let log = settings::log(&options, &config, debug)?;
        let foreground = options.foreground || debug > 0 || config.daemonize == Some(false);
        let ready = if foreground { Ready::foreground() } else { daemon::daemonize(config.umask)? };
        Ok((config, directory, pid_path, if foreground { log.stderr() } else { log.syslog() }, ready))
    })();
    let (config, directory, pid_path, log, ready) = match prepared {
        Ok(prepared) => prepared,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    match start(&config, pid_path, log) {
        Ok(started) => {
            ready.ok();
            let (log, pid_file) = (started.log, serve(&options, &directory, config, started));
            drop(pid_file);
            log.flush();
            ExitCode::SUCCESS
        }
        Err(error) => {
            if !ready.is_foreground() {
                log::error!(target: "fatal", "{error}");
            }
            ready.fail(error);
            ExitCode::FAILURE
        }
    }
}

/// Everything that may fail before the daemon serves.
fn start(config: &Config, pid_path: Option<PidPath>, log: Setup) -> Fallible<Started> {
    let (log, pid_path) = match Account::by_name(&config.setuid_username) {
        Ok(account) if config.setuid && Account::current().uid == 0 => {
            (log.owned_by(&account)?, pid_path.map(|path| path.removable_by(&account)))
        }
        _ => (log, pid_path),
    };
    let log = log.install()?;
    let pid_file = pid_path.map(PidPath::create).transpose()?;
    limits::raise_descriptors(DESCRIPTORS)?;
    let account = if config.setuid { user::switch_user(&config.setuid_username)? } else { Account::current() };
    for warning in config.warnings.iter().map(ToString::to_string).chain(settings::without_effect(config)) {
        log::warn!("{warning}");
    }
    let mut builder = Gmetad::builder().config(config);
    let mut tree = None;
    if config.write_rrds {
        user::check_rrd_rootdir(&config.rrd_rootdir, &account)?;
        let (hosts, summaries) = RrdPlugin::pair(settings::rrd(config));
        tree = Some(hosts.tree());
        builder = builder.plugin(hosts).plugin(summaries);
    }
    let (builder, active) = plugins::alerts(state::save(builder, config), config);
    let gmetad = gmetad_http::with_pages(builder, config).start()?;
    let rrd_socket = match tree.and_then(|tree| tree.store()) {
        Some(store) if !config.rrd_socket.is_empty() => {
            Some(RrdSocket::start(settings::rrd_socket(config, store.root())?, store)?)
        }
        _ => None,
    };
    let running = plugins::start(&gmetad, config, active);
    // Before anybody is told that it is ready: who was may send one at once.
    let signals = Signals::new().map_err(|error| format!("cannot take signals: {error}"))?;
    Ok(Started { log, gmetad, running, rrd_socket, pid_file, signals })
}

/// A daemon that serves.
struct Started {
    log: &'static Logger,
    gmetad: Gmetad,
    running: Running,
    rrd_socket: Option<RrdSocket>,
    pid_file: Option<PidFile>,
    signals: Signals,
}

/// Stops the daemon. A changer that hangs would hold up all plugins behind it until its own deadline: if the daemon has not
/// ended in a moment, which is enough to pass on what is there, the executables are told to end.
fn stop(gmetad: Gmetad, running: &Running) -> Result<(), Vec<String>> {
    let (ended, wait) = mpsc::channel::<()>();
    thread::scope(|scope| {
        let close = move || {
            if wait.recv_timeout(PASS_ON_WITHIN) == Err(RecvTimeoutError::Timeout) {
                running.close();
            }
        };
        if let Err(error) = thread::Builder::new().name("stop".to_owned()).spawn_scoped(scope, close) {
            log::warn!("no thread for the stop: {error}");
        }
        let result = gmetad.stop(STOP_WITHIN);
        drop(ended);
        result
    })
}

/// Runs until a signal says stop. What is left is to be dropped last.
fn serve(options: &Options, directory: &Path, config: Config, started: Started) -> Option<PidFile> {
    let Started { log, gmetad, mut running, rrd_socket, pid_file, signals } = started;
    let _ = notify::ready();
    for event in signals {
        match event {
            Event::Stop => break,
            Event::Report => gmetad.sources().iter().for_each(|source| log::info!("{}", demo::source_line(source))),
            Event::Reload => {
                let _ = notify::reloading();
                reload::reload(load(options, directory), &config, log, &gmetad, &mut running, rrd_socket.as_ref());
                let _ = notify::ready();
            }
        }
    }
    let _ = notify::stopping();
    drop(rrd_socket); // before the store, so that no update comes too late
    if let Err(left) = stop(gmetad, &running) {
        log::warn!("left behind at stop: {}", left.join(", "));
    }
    drop(running); // waits for the processes of plugins
    pid_file
}
