//! The whole daemon, wired: sources, store, plugins, ports. No signals, no logger, no files of its own but the saved tree,
//! where the embedder wants that ([`Builder::state_dir`]): a program may have several of these.

mod builder;
mod observer;
mod poller;
mod root;
mod saver;

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;
use parking_lot::{Mutex, RwLock};

pub use builder::{Builder, StartError};
pub use observer::Observer;
use poller::Poller;
pub use poller::{SourceState, SourceStatus};

use crate::conf::{Address, Config, Jitter, Section, SourceConfig};
use crate::plugin::{Chain, Plugin, PluginError, Transaction};
use crate::serve::{AccessList, ListenError, Listener, Requests, Server, Service};
use crate::source::{GmondReader, ReaderOptions, Resolver, Source, Stop};
use crate::state::State;
use crate::stats::Stats;
use crate::store::{GridStore, Identity};
use crate::summary::RootRules;

/// How long a change of ports waits for the threads of the old ones, which need a moment.
const PORT_CHANGE: Duration = Duration::from_secs(5);

/// A running grid daemon. Made by [`Gmetad::builder`].
///
/// ```
/// use std::time::Duration;
/// use gmetad_core::Gmetad;
///
/// let gmetad = Gmetad::builder()
///     .grid("My Grid", "http://ganglia.example.org/")
///     .interactive("127.0.0.1:0".parse()?)
///     .start()?;
/// println!("ask {} for /?filter=summary", gmetad.port("interactive_port").expect("bound"));
/// gmetad.stop(Duration::from_secs(5)).expect("every thread ended");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Gmetad {
    shared: Arc<Shared>,
    chain: Chain,
    pollers: Mutex<Vec<Poller>>,
    ports: Mutex<Ports>,
    requests: Arc<Requests>,
    root: Option<JoinHandle<()>>,
    saver: Option<JoinHandle<()>>,
}

/// What the threads of a daemon share.
pub(crate) struct Shared {
    pub(crate) store: Arc<GridStore>,
    pub(crate) stats: Arc<Stats>,
    pub(crate) stop: Stop,
    pub(crate) access: Arc<RwLock<AccessList>>,
    pub(crate) resolver: Resolver,
    pub(crate) sources: Arc<Mutex<Vec<Arc<SourceStatus>>>>,
    pub(crate) notify: Box<dyn Fn(Transaction) + Send + Sync>,
    /// Where the tree is saved, if it is.
    pub(crate) state: Option<Arc<State>>,
}

/// The bound ports and the threads that serve them.
struct Ports {
    bound: Vec<Port>,
    server: Option<Server>,
}

/// One bound address of a port.
pub(crate) struct Port {
    directive: String,
    wanted: SocketAddr,
    listener: Listener,
}

/// What a reload did; texts for the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReloadReport {
    /// Sources that are new or different now.
    pub started: Vec<String>,
    /// Sources that are gone or different now.
    pub stopped: Vec<String>,
    /// Sources that went on as they were.
    pub kept: usize,
    /// What could not be changed while running, and why.
    pub refused: Vec<String>,
}

impl Gmetad {
    /// Starts to describe a daemon.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// The tree.
    pub fn store(&self) -> &Arc<GridStore> {
        &self.shared.store
    }

    /// The counters.
    pub fn stats(&self) -> &Arc<Stats> {
        &self.shared.stats
    }

    /// How each source does, in the order of the configuration.
    pub fn sources(&self) -> Vec<SourceState> {
        self.shared.sources.lock().iter().map(|source| source.state()).collect()
    }

    /// The same three, for a page on one of the daemon's own ports.
    pub fn observer(&self) -> Observer {
        Observer {
            store: Arc::clone(&self.shared.store),
            stats: Arc::clone(&self.shared.stats),
            sources: Arc::clone(&self.shared.sources),
            access: Arc::clone(&self.shared.access),
        }
    }

    /// Where a port listens: `xml_port`, `interactive_port`, or one of the embedder's own. The first of several.
    pub fn port(&self, directive: &str) -> Option<SocketAddr> {
        let ports = self.ports.lock();
        ports.bound.iter().find(|port| port.directive == directive).and_then(|port| port.listener.local_addr().ok())
    }

    /// Gets every transaction from now on, as plugins do. A receiver that is `capacity` behind misses some.
    pub fn subscribe(&self, capacity: usize) -> Receiver<Arc<Transaction>> {
        let (sender, receiver) = crossbeam_channel::bounded(capacity);
        self.chain.subscribe(sender);
        receiver
    }

    /// Adds a plugin to the daemon that runs: a sink, or one that comes behind the plugins of the start, among those that
    /// were added in the order of their names.
    ///
    /// # Errors
    /// What its `configure` or `start` says, or the system has no more threads. It is not there then.
    pub fn add_plugin(&self, mut plugin: Box<dyn Plugin>, sections: &[Section]) -> Result<(), PluginError> {
        builder::prepare(&mut *plugin, &self.shared.stats, &self.requests, sections)?;
        Ok(self.chain.add(plugin)?)
    }

    /// Stops the plugins of a name, which were there from the start or added, when they have done what they are at. Does
    /// not wait for that.
    pub fn remove_plugin(&self, name: &str) {
        self.chain.remove(name);
        self.shared.stats.plugins.forget(name);
    }

    /// Takes over a changed configuration: sources, trusted hosts, names and ports. Unchanged sources go on as if
    /// nothing had happened; the data of removed ones leave the tree.
    pub fn reload(&self, config: &Config) -> ReloadReport {
        let mut report = ReloadReport::default();
        // Held to the end: one reload at a time. Nobody but a reload wants it while the daemon runs.
        let mut pollers = self.pollers.lock();
        self.shared.store.set_identity(identity(config), rules(config));
        let access = AccessList::of_config(config, &self.shared.resolver);
        *self.shared.access.write() = access;
        let reader = reader_options(config, &self.shared.resolver);

        let (kept, gone): (Vec<_>, Vec<_>) =
            pollers.drain(..).partition(|poller| poller.keeps(&config.sources, config.poll_jitter, config.scalable));
        *pollers = kept;
        report.kept = pollers.len();
        for poller in gone {
            report.stopped.push(poller.name().to_owned());
            poller.remove(&self.shared);
        }
        for source in &config.sources {
            if pollers.iter().any(|poller| poller.config() == Some(source)) {
                continue;
            }
            match Poller::start(Spec::from_config(source, config, &reader), &self.shared, None) {
                Ok(poller) => {
                    report.started.push(source.name.clone());
                    pollers.push(poller);
                }
                Err(error) => report.refused.push(format!("data_source [{}]: {error}", source.name)),
            }
        }
        let place = |name: &str| config.sources.iter().position(|source| source.name == name);
        self.shared.sources.lock().sort_by_key(|status| place(&status.state().name));
        self.move_ports(config, &mut report);
        report
    }

    /// Binds addresses that are new, lets go of those that are gone: for each of the two ports all, or nothing.
    fn move_ports(&self, config: &Config, report: &mut ReloadReport) {
        let mut ports = self.ports.lock();
        let wanted = builder::port_addresses(config);
        let mut changed = false;
        for directive in builder::CONFIGURED_PORTS {
            let wanted: Vec<_> =
                wanted.iter().filter(|(of, _)| *of == directive).map(|(_, address)| *address).collect();
            let bound =
                |address: &SocketAddr| ports.bound.iter().any(|p| p.directive == directive && p.wanted == *address);
            let Some(service) = ports.bound.iter().find(|p| p.directive == directive).map(|p| p.listener.service())
            else {
                report.refused.push(format!("{directive}: was off at start; restart to switch it on"));
                continue;
            };
            let new: Result<Vec<_>, _> = wanted
                .iter()
                .filter(|address| !bound(address))
                .map(|address| Port::bind(directive, *address, Arc::clone(&service)))
                .collect();
            match new {
                Err(error) => report.refused.push(format!("{error}; {directive} stays as it was")),
                Ok(new) => {
                    let before = ports.bound.len();
                    ports.bound.retain(|port| port.directive != directive || wanted.contains(&port.wanted));
                    changed |= !new.is_empty() || ports.bound.len() < before;
                    ports.bound.extend(new);
                }
            }
        }
        if !changed {
            return;
        }
        if let Some(old) = ports.server.take() {
            join(old.close(), Instant::now() + PORT_CHANGE);
        }
        match serve(&ports.bound, &self.shared.stats) {
            Ok(server) => ports.server = Some(server),
            Err(error) => report.refused.push(format!("the ports cannot be served: {error}")),
        }
    }

    /// Stops in order: ports, sources, root summary, plugins (which finish what they have).
    ///
    /// # Errors
    /// The names of threads that had not ended after `timeout`; they are left behind.
    pub fn stop(mut self, timeout: Duration) -> Result<(), Vec<String>> {
        let began = Instant::now();
        // Whatever hangs, a source in `connect` for example: half of the time is for the plugins, which have data.
        let (threads, saver) = (self.close(), self.saver.take());
        let mut left = join(threads, began + timeout / 2);
        // The tree is being saved meanwhile; a disk that hangs costs no more than the rest of the time.
        let mut last = self.chain.close();
        last.extend(saver);
        left.extend(join(last, began + timeout));
        if left.is_empty() { Ok(()) } else { Err(left) }
    }

    /// Tells all threads but the plugins' to end.
    fn close(&mut self) -> Vec<JoinHandle<()>> {
        self.shared.stop.stop();
        let mut threads = self.ports.get_mut().server.take().map(Server::close).unwrap_or_default();
        threads.extend(self.pollers.get_mut().drain(..).filter_map(Poller::stop));
        threads.extend(self.root.take());
        threads
    }
}

/// A daemon that is dropped (one that could not start, too) ends in its own time; [`Gmetad::stop`] waits for it.
impl Drop for Gmetad {
    fn drop(&mut self) {
        self.close();
        self.chain.close();
    }
}

/// Waits for threads; the names of those that did not end.
fn join(threads: Vec<JoinHandle<()>>, deadline: Instant) -> Vec<String> {
    let mut waiting = threads;
    loop {
        let (done, rest): (Vec<_>, Vec<_>) = waiting.into_iter().partition(JoinHandle::is_finished);
        for thread in done {
            let _ = thread.join();
        }
        if rest.is_empty() || Instant::now() >= deadline {
            return rest.iter().map(|t| t.thread().name().unwrap_or("?").to_owned()).collect();
        }
        waiting = rest;
        std::thread::sleep(Duration::from_millis(5));
    }
}

impl Port {
    fn bind(directive: &str, wanted: SocketAddr, service: Arc<dyn Service>) -> Result<Self, ListenError> {
        let listener = Listener::bind(directive, wanted, service)?;
        Ok(Self { directive: directive.to_owned(), wanted, listener })
    }
}

fn serve(ports: &[Port], stats: &Arc<Stats>) -> std::io::Result<Server> {
    let listeners = ports.iter().map(|port| port.listener.try_clone()).collect::<Result<_, _>>()?;
    Server::start(listeners, stats)
}

fn identity(config: &Config) -> Identity {
    Identity { name: config.gridname.clone(), authority: config.authority.clone() }
}

fn rules(config: &Config) -> RootRules {
    RootRules { only: config.summarized_metrics.clone() }
}

fn reader_options(config: &Config, resolver: &Resolver) -> ReaderOptions {
    let mut options = ReaderOptions { resolver: resolver.clone(), ..ReaderOptions::default() };
    options.parse.scalable = config.scalable;
    options
}

/// A source to be polled.
pub(crate) struct Spec {
    pub(crate) name: String,
    pub(crate) interval: Duration,
    pub(crate) jitter: Jitter,
    pub(crate) scalable: bool,
    /// The line it comes from, to compare with at a reload.
    pub(crate) config: Option<SourceConfig>,
    /// Makes the source; again after a panic.
    pub(crate) make: Box<dyn FnMut() -> Box<dyn Source> + Send>,
}

impl Spec {
    pub(crate) fn gmond(name: String, interval: Duration, addresses: Vec<Address>, options: ReaderOptions) -> Self {
        Self {
            name,
            interval,
            jitter: Jitter::Percent(5),
            scalable: options.parse.scalable,
            config: None,
            make: Box::new(move || Box::new(GmondReader::new(addresses.clone(), options.clone()))),
        }
    }

    pub(crate) fn from_config(source: &SourceConfig, config: &Config, options: &ReaderOptions) -> Self {
        Self {
            jitter: config.poll_jitter,
            config: Some(source.clone()),
            ..Self::gmond(source.name.clone(), source.interval, source.addresses.clone(), options.clone())
        }
    }
}
