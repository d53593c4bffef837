//! The service: agents, their page, signals.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use gmetad_agents::Installed;
use gmetad_agents::config::{self, Loaded};
use gmetad_agents::lang::Lang;
use gmetad_agents::monitor::{Monitor, MonitorOptions};
use gmetad_agents::notify::MailOptions;
use gmetad_agents::page::{self, PageOptions};
use gmetad_agents::said::{Said, of_crates};
use gmetad_core::agent::{Message, Place, State};
use gmetad_core::message;
use gmetad_core::stats::{Report, Reports};
use gmetad_http::{Secret, Server, ServerOptions, Tls};
use gmetad_process::daemon::{self, DaemonError, Ready};
use gmetad_process::logger::{Logger, Setup, Words};
use gmetad_process::pidfile::{PidFile, PidPath};
use gmetad_process::signals::{Event, Signals};
use gmetad_process::user::{self, Account};
use gmetad_process::{limits, notify};
use gmetad_rrd::path;
use parking_lot::Mutex;

use crate::cli::Id;
use crate::settings::{ROOT, Settings};

/// What syslog calls the service, as the ancestor's.
const IDENT: &str = "zephiragents";
/// Descriptors wanted: clients, files of agents.
const DESCRIPTORS: u64 = 8192;
/// Access of others to new files: none may write.
const UMASK: u32 = 0o022;
/// How long agents and disk have to end.
const STOP_WITHIN: Duration = Duration::from_secs(3);
/// How long answers have to be sent before that.
const ANSWERS_WITHIN: Duration = Duration::from_millis(500);

/// Anything that keeps the service from starting, as it is shown.
type Fallible<T> = Result<T, Message>;

/// Someone else's error as a message.
pub(crate) fn foreign(error: impl Said) -> Message {
    error.said()
}

/// What libraries write to the log, in this language.
pub(crate) fn words(lang: Lang) -> Words {
    match lang {
        Lang::English => |_| None,
        Lang::French => |line| of_crates(line).map(|message| Lang::French.message(&message)),
    }
}

/// Runs the service until a signal ends it.
pub(crate) fn run(given: &[(Id, OsString)], settings: &Settings, directory: &Path) -> Fallible<ExitCode> {
    let pid_path = settings.pid_file.as_deref().map(PidPath::new).transpose().map_err(foreign)?;
    let pid_path = pid_path.map(PidPath::lock_decides);
    let level = if settings.debug { log::LevelFilter::Debug } else { log::LevelFilter::Info };
    let log = Setup::new(IDENT, level).worded(words(settings.lang));
    let say = |error: &DaemonError| format!("z_stats: {}", settings.lang.message(&error.said()));
    let ready = match settings.foreground {
        true => Ready::foreground(),
        false => daemon::daemonize_saying(UMASK, &say).map_err(foreign)?,
    };
    let log = if settings.foreground { log.stderr() } else { log.syslog() };
    match start(settings, pid_path, log) {
        Ok(started) => {
            ready.ok_saying(settings.lang.message(&reach(settings, started.page.port())) + "\n");
            let log = started.log;
            started.serve(given, settings, directory);
            log.flush();
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => {
            let text = settings.lang.message(&error);
            if !ready.is_foreground() {
                log::error!(target: "fatal", "{text}");
            }
            ready.fail(format!("z_stats: {text}"));
            Ok(ExitCode::FAILURE)
        }
    }
}

/// The configuration, and what it complains about in the log.
pub(crate) fn load(settings: &Settings) -> Loaded {
    let mut loaded = config::load(&settings.agents());
    place(&mut loaded.agents, settings);
    for warning in &loaded.warnings {
        log::warn!("{}", settings.lang.message(warning));
    }
    for failed in &loaded.failed {
        log::error!("{}", settings.lang.message(&message!("agent {}: {}", &failed.name, failed.what.clone())));
    }
    for left in &loaded.left {
        log::debug!("{}", settings.lang.message(&message!("{}: not here: {}", &left.name, left.why.clone())));
    }
    let (agents, failed) = (loaded.agents.len() - loaded.failed.len(), loaded.failed.len());
    log::info!("{}", settings.lang.message(&message!("{} {agent|agents}, {} that cannot be loaded", agents, failed)));
    loaded
}

/// Tells agents where they live.
pub(crate) fn place(agents: &mut [Installed], settings: &Settings) {
    for Installed { spec, agent } in agents {
        let state = path::agent_dir(&settings.data(), &spec.name).join(".state");
        let (root, ruled) = (settings.root.clone(), spec.ruled.clone());
        agent.init_data(&Place { state, root, period: spec.period, ruled });
    }
}

/// What is served, and how it is reached.
pub(crate) struct Page {
    pub(crate) server: Server,
    tls: Option<Arc<Tls>>,
}

impl Page {
    /// What may fail before the user changes: secrets and certificates are root's.
    fn prepare(settings: &Settings) -> Fallible<(PageOptions, Option<Arc<Tls>>)> {
        let secret = |file: &Option<PathBuf>| file.as_deref().map(Secret::from_file).transpose().map_err(foreign);
        let tls = settings.tls_cert.as_ref().zip(settings.tls_key.as_ref());
        let tls = tls.map(|(cert, key)| Tls::from_files(cert, key).map(Arc::new)).transpose().map_err(foreign)?;
        let options = PageOptions {
            host: settings.host_name(),
            lang: settings.lang,
            listen: settings.listen(),
            tls: tls.is_some(),
            password: secret(&settings.password_file)?,
            token: secret(&settings.token_file)?,
            ..PageOptions::default()
        };
        Ok((options, tls))
    }

    fn start(mut options: PageOptions, tls: Option<Arc<Tls>>, monitor: &Arc<Monitor>) -> Fallible<Self> {
        let (watched, lang) = (Arc::clone(monitor), options.lang);
        options.healthy = Arc::new(move || match watched.health() {
            health if health.alive => Ok(()),
            _ => Err(lang.text("the schedule does not go on").to_owned()),
        });
        let reports: Arc<Reports> = Arc::default();
        options.reports = Arc::clone(&reports);
        let listen = options.listen.clone();
        let control: Arc<Monitor> = Arc::clone(monitor);
        let site = page::site(options, Arc::clone(monitor.board()), control);
        let server = ServerOptions { listen, tls: tls.clone(), ..ServerOptions::default() };
        let server = Server::start(site, server).map_err(foreign)?;
        let stats: Arc<dyn Report> = Arc::<gmetad_http::ServerStats>::clone(server.stats());
        reports.add(&stats);
        Ok(Self { server, tls })
    }

    /// The page of these settings over a monitor that runs.
    pub(crate) fn of(settings: &Settings, monitor: &Arc<Monitor>) -> Fallible<Self> {
        let (options, tls) = Self::prepare(settings)?;
        Self::start(options, tls, monitor)
    }

    pub(crate) fn port(&self) -> u16 {
        self.server.addresses().first().map_or(0, std::net::SocketAddr::port)
    }
}

/// How the page is reached, and how it is opened to others.
pub(crate) fn reach(settings: &Settings, port: u16) -> Message {
    let scheme = if settings.tls_cert.is_some() { "https" } else { "http" };
    if settings.is_local() {
        let address = format!("{scheme}://localhost:{port}/");
        return message!(
            "the page is at {}, for this machine alone; --bind '[::]' --password-file FILE opens it to the network",
            address
        );
    }
    let address = format!("{scheme}://{}:{port}/", settings.host_name());
    if settings.password_file.is_none() {
        return message!(
            "the page is at {}, for everybody who reaches this machine; --password-file FILE asks for a password",
            address
        );
    }
    message!("the page is at {}", address)
}

/// A service that serves.
struct Started {
    log: &'static Logger,
    monitor: Arc<Monitor>,
    page: Page,
    pid_file: Option<PidFile>,
    signals: Signals,
}

/// How agents are run.
pub(crate) fn monitor_options(settings: &Settings) -> MonitorOptions {
    let mut options = MonitorOptions::new(settings.data());
    options.lang = settings.lang;
    options.mail = (!settings.mail_to.is_empty()).then(|| MailOptions {
        from: settings.mail_from.clone().unwrap_or_default(),
        sendmail: settings.sendmail.clone(),
        ..MailOptions::new(settings.mail_to.join(", "), settings.host_name())
    });
    options
}

/// Everything that may fail before the service serves.
fn start(settings: &Settings, pid_path: Option<PidPath>, log: Setup) -> Fallible<Started> {
    let change = settings.user.as_deref().filter(|_| Account::current().uid == 0);
    let account = change.map(Account::by_name).transpose().map_err(foreign)?;
    let pid_path = match (&account, pid_path) {
        (Some(account), Some(path)) => Some(path.removable_by(account)),
        (_, path) => path,
    };
    let log = log.install().map_err(foreign)?;
    let pid_file = pid_path.map(PidPath::create).transpose().map_err(foreign)?;
    limits::raise_descriptors(DESCRIPTORS)
        .map_err(|error| message!("the limit of open files cannot be raised: {}", error.said()))?;
    let (options, tls) = Page::prepare(settings)?;
    if let Some(name) = change {
        user::switch_user(name).map_err(foreign)?;
    }
    if !settings.root.is_dir() {
        let root = settings.root.display().to_string();
        if settings.root != Path::new(ROOT) {
            return Err(message!("the root {} is not there: make it, or name another directory with --root", root));
        }
        let text = message!("{} is not there: no agents are configured in it; --root names another directory", root);
        log::warn!("{}", settings.lang.message(&text));
    }
    let loaded = load(settings);
    let monitor = Monitor::start(monitor_options(settings), loaded.agents, loaded.layout);
    let monitor = Arc::new(monitor.map_err(foreign)?);
    let page = Page::start(options, tls, &monitor)?;
    // Before anybody is told that it is ready: who was may send one at once.
    let signals = Signals::new().map_err(|error| message!("cannot take signals: {}", error.said()))?;
    log::info!("{}", settings.lang.message(&reach(settings, page.port())));
    Ok(Started { log, monitor, page, pid_file, signals })
}

impl Started {
    /// Until a signal says stop.
    fn serve(self, given: &[(Id, OsString)], settings: &Settings, directory: &Path) {
        let Self { log: _, monitor, page, pid_file, signals } = self;
        let lang = settings.lang;
        let reloader = Reloader {
            given: given.to_vec(),
            settings: settings.clone(),
            directory: directory.to_owned(),
            monitor: Arc::clone(&monitor),
            tls: page.tls.clone(),
            state: Mutex::default(),
        };
        let reloader = Arc::new(reloader);
        let _ = notify::ready();
        for event in signals {
            match event {
                Event::Stop => break,
                Event::Report => report(&monitor, lang),
                Event::Reload => reloader.ask(),
            }
        }
        reloader.state.lock().stopping = true;
        let _ = notify::stopping();
        page.server.stop(ANSWERS_WITHIN);
        if let Err(left) = monitor.stop(STOP_WITHIN) {
            log::warn!("{}", lang.message(&message!("left behind at the stop: {}", left.join(", "))));
        }
        drop(pid_file);
    }
}

/// Reads agents, layout and certificate again, on a thread: conditions may take their time, and a stop does not wait.
struct Reloader {
    given: Vec<(Id, OsString)>,
    settings: Settings,
    directory: PathBuf,
    monitor: Arc<Monitor>,
    tls: Option<Arc<Tls>>,
    state: Mutex<Reloading>,
}

#[derive(Default)]
struct Reloading {
    busy: bool,
    /// It was asked again meanwhile.
    again: bool,
    stopping: bool,
}

impl Reloader {
    fn ask(self: &Arc<Self>) {
        let mut state = self.state.lock();
        if state.busy {
            state.again = true;
            return;
        }
        state.busy = true;
        drop(state);
        let this = Arc::clone(self);
        let thread = thread::Builder::new().name("reload".to_owned()).spawn(move || this.run());
        if let Err(error) = thread {
            self.state.lock().busy = false;
            log::error!("{}", self.settings.lang.message(&message!("no thread can be started: {}", error.said())));
        }
    }

    fn run(&self) {
        loop {
            let _ = notify::reloading();
            self.reload();
            let mut state = self.state.lock();
            state.busy = std::mem::take(&mut state.again) && !state.stopping;
            // Within the lock, so that it does not come after what the stop says.
            if !state.stopping {
                let _ = notify::ready();
            }
            if !state.busy {
                return;
            }
        }
    }

    fn reload(&self) {
        let lang = self.settings.lang;
        let now = match Settings::gather(&self.given, &self.directory) {
            Ok(now) => now,
            Err(error) => return log::error!("{}", lang.message(&message!("nothing is read again: {}", error))),
        };
        if !now.needs_no_restart_after(&self.settings) {
            let text = message!("only settings of agents are taken over now; the others count after a restart");
            log::warn!("{}", lang.message(&text));
        }
        let loaded = load(&now);
        if self.state.lock().stopping {
            return;
        }
        self.monitor.replace(loaded.agents, loaded.layout);
        if let Some(Err(error)) = self.tls.as_ref().map(|tls| tls.reload()) {
            log::error!("{}", lang.message(&error.said()));
        }
    }
}

/// A line about each agent, in the log.
fn report(monitor: &Monitor, lang: Lang) {
    let views = monitor.board().agents();
    for view in &views {
        let status = lang.message(&message!(
            "{}: {}",
            gmetad_agents::status::name(view.status.state),
            view.status.message.clone()
        ));
        let text = message!(
            "agent {}: {}; {} {measurement|measurements}, {} failed, {} skipped",
            &view.spec.name,
            status,
            view.measured,
            view.failed,
            view.skipped
        );
        log::info!("{}", lang.message(&text));
    }
    let bad = views.iter().filter(|view| view.status.state >= State::Warn).count();
    log::info!("{}", lang.message(&message!("{} {agent|agents}, {} of them in Warn or Error", views.len(), bad)));
}
