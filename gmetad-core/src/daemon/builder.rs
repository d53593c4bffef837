//! Describes a daemon before it starts.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender};
use parking_lot::{Mutex, RwLock};

use super::poller::{Loading, Poller};
use super::{Gmetad, Observer, Port, Ports, Shared, Spec, identity, reader_options, root, rules, saver, serve};
use crate::conf::{Address, Config, Section, Trust};
use crate::limits;
use crate::plugin::{Chain, Plugin, PluginError, Transaction, guarded};
use crate::serve::{AccessList, InteractivePort, ListenError, Requests, Service, StatusPage, XmlPort};
use crate::source::{ReaderOptions, Resolver, Source};
use crate::state::State;
use crate::stats::{Report, Stats};
use crate::store::{GridStore, Identity};
use crate::summary::RootRules;

/// Ports that a configuration file moves.
pub(super) const CONFIGURED_PORTS: [&str; 2] = ["xml_port", "interactive_port"];

/// Why a daemon did not start. Nothing runs then.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A port could not be bound.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// A plugin refused its configuration or could not start.
    #[error("plugin {0}: {1}")]
    Plugin(String, PluginError),
    /// The system has no threads or descriptors left.
    #[error("cannot start threads: {0}")]
    Threads(#[from] io::Error),
}

type MakeStatus = Box<dyn FnOnce(Observer) -> StatusPage>;
type MakeService = Box<dyn FnOnce(&Gmetad) -> Arc<dyn Service>>;

/// Describes a daemon; [`Builder::start`] starts it.
#[derive(Default)]
pub struct Builder {
    identity: Identity,
    rules: RootRules,
    sources: Vec<Spec>,
    from_config: Option<Config>,
    xml: Vec<SocketAddr>,
    interactive: Vec<SocketAddr>,
    trusted: Vec<Trust>,
    plugins: Vec<Box<dyn Plugin>>,
    subscribers: Vec<Sender<Arc<Transaction>>>,
    sections: Vec<Section>,
    status: Option<MakeStatus>,
    services: Vec<(String, SocketAddr, MakeService)>,
    state_dir: Option<PathBuf>,
    state_interval: Option<Duration>,
}

impl Builder {
    /// Everything a configuration file says that concerns the library: grid, sources, ports, trusted hosts, rules,
    /// sections of plugins. RRDs, exporters and the process are the program's.
    pub fn config(mut self, config: &Config) -> Self {
        self.identity = identity(config);
        self.rules = rules(config);
        self.sections.clone_from(&config.sections);
        for (directive, address) in port_addresses(config) {
            if directive == "xml_port" { self.xml.push(address) } else { self.interactive.push(address) }
        }
        self.from_config = Some(config.clone());
        self
    }

    /// Name and URL of the own grid.
    pub fn grid(mut self, name: impl Into<String>, authority: impl Into<String>) -> Self {
        self.identity = Identity { name: name.into(), authority: authority.into() };
        self
    }

    /// A gmond or gmetad to poll; the first address that answers is used.
    pub fn source(self, name: impl Into<String>, interval: Duration, addresses: Vec<Address>) -> Self {
        self.source_with(name, interval, addresses, ReaderOptions::default())
    }

    /// The same with deadlines and rules of one's own.
    pub fn source_with(
        mut self,
        name: impl Into<String>,
        interval: Duration,
        addresses: Vec<Address>,
        options: ReaderOptions,
    ) -> Self {
        self.sources.push(Spec::gmond(name.into(), interval, addresses, options));
        self
    }

    /// Another kind of source. `make` is called on the source's thread, and again should the source panic.
    pub fn custom_source<S: Source + 'static>(
        mut self,
        name: impl Into<String>,
        interval: Duration,
        mut make: impl FnMut() -> S + Send + 'static,
    ) -> Self {
        let spec = Spec::gmond(name.into(), interval, Vec::new(), ReaderOptions::default());
        self.sources.push(Spec { make: Box::new(move || Box::new(make())), ..spec });
        self
    }

    /// Sends the whole tree to whoever connects here. Port 0 takes a free one, see [`Gmetad::port`].
    pub fn xml(mut self, address: SocketAddr) -> Self {
        self.xml.push(address);
        self
    }

    /// Answers path queries here. Port 0 takes a free one, see [`Gmetad::port`].
    pub fn interactive(mut self, address: SocketAddr) -> Self {
        self.interactive.push(address);
        self
    }

    /// Who may connect, besides loopback.
    pub fn trust(mut self, trusted: impl IntoIterator<Item = Trust>) -> Self {
        self.trusted.extend(trusted);
        self
    }

    /// Adds a plugin. Changers run in the order they are added.
    pub fn plugin(mut self, plugin: impl Plugin + 'static) -> Self {
        self.plugins.push(Box::new(plugin));
        self
    }

    /// Gets every transaction from the first poll on, as plugins do; see [`Gmetad::subscribe`], which comes too late for
    /// the first one.
    pub fn subscribe(mut self, capacity: usize) -> (Self, Receiver<Arc<Transaction>>) {
        let (sender, receiver) = crossbeam_channel::bounded(capacity);
        self.subscribers.push(sender);
        (self, receiver)
    }

    /// Saves the tree in files of this directory (one a source; other sources' are removed), at the stop and every few
    /// minutes, and shows at the start what is there until each source is polled. The directory is of this daemon alone.
    /// Without this no file is read or written.
    pub fn state_dir(mut self, directory: impl Into<PathBuf>) -> Self {
        self.state_dir = Some(directory.into());
        self
    }

    /// Another time between saves, for tests.
    #[doc(hidden)]
    pub fn state_interval(mut self, interval: Duration) -> Self {
        self.state_interval = Some(interval);
        self
    }

    /// Makes the answer to `/status` on the interactive port.
    pub fn status(mut self, make: impl FnOnce(Observer) -> StatusPage + 'static) -> Self {
        self.status = Some(Box::new(make));
        self
    }

    /// Opens a port of the program's own; `name` is what [`Gmetad::port`] knows it by.
    pub fn service(
        mut self,
        name: impl Into<String>,
        address: SocketAddr,
        make: impl FnOnce(&Gmetad) -> Arc<dyn Service> + 'static,
    ) -> Self {
        self.services.push((name.into(), address, Box::new(make)));
        self
    }

    /// Configures and starts the plugins, binds the ports, starts the threads.
    ///
    /// # Errors
    /// [`StartError`]; nothing runs then.
    pub fn start(mut self) -> Result<Gmetad, StartError> {
        let stats = Arc::new(Stats::default());
        let store = Arc::new(GridStore::new(self.identity, self.rules));
        let resolver = Resolver::default();
        let allowed = match &self.from_config {
            Some(config) if self.trusted.is_empty() => AccessList::of_config(config, &resolver),
            _ => AccessList::resolved(&self.trusted, &resolver),
        };
        let access = Arc::new(RwLock::new(allowed));

        let requests = Arc::new(Requests::default());
        for plugin in &mut self.plugins {
            prepare(&mut **plugin, &stats, &requests, &self.sections)
                .map_err(|error| StartError::Plugin(plugin.name().to_owned(), error))?;
        }
        let sources = Arc::new(Mutex::default());
        let status = self.status.map(|make| {
            make(Observer {
                store: Arc::clone(&store),
                stats: Arc::clone(&stats),
                sources: Arc::clone(&sources),
                access: Arc::clone(&access),
            })
        });
        let xml: Arc<dyn Service> =
            Arc::new(XmlPort { store: Arc::clone(&store), access: Arc::clone(&access), stats: Arc::clone(&stats) });
        let interactive: Arc<dyn Service> = Arc::new(InteractivePort {
            store: Arc::clone(&store),
            access: Arc::clone(&access),
            stats: Arc::clone(&stats),
            status,
            requests: Arc::clone(&requests),
        });
        let mut bound = Vec::new();
        for (directive, addresses, service) in
            [("xml_port", self.xml, xml), ("interactive_port", self.interactive, interactive)]
        {
            for address in addresses {
                bound.push(Port::bind(directive, address, Arc::clone(&service))?);
            }
        }

        let chain = Chain::start(self.plugins, &stats)?;
        self.subscribers.into_iter().for_each(|subscriber| chain.subscribe(subscriber));
        let state = self.state_dir.map(|dir| Arc::new(State::new(dir)));
        if let Some(state) = &state {
            let report: Arc<dyn Report> = Arc::clone(state) as _;
            stats.reports.add(&report);
        }
        let shared = Arc::new(Shared {
            store,
            stats: Arc::clone(&stats),
            stop: crate::source::Stop::default(),
            access,
            resolver,
            sources,
            notify: chain.notifier(),
            state: state.clone(),
        });
        let mut gmetad = Gmetad {
            shared: Arc::clone(&shared),
            chain,
            pollers: Mutex::default(),
            ports: Mutex::new(Ports { bound, server: None }),
            requests,
            root: None,
            saver: None,
        };
        for (name, address, make) in self.services {
            let service = make(&gmetad);
            gmetad.ports.lock().bound.push(Port::bind(&name, address, service)?);
        }
        let mut specs = self.sources;
        if let Some(config) = &self.from_config {
            let options = reader_options(config, &shared.resolver);
            specs.extend(config.sources.iter().map(|source| Spec::from_config(source, config, &options)));
        }
        let (loading, loaded) = crossbeam_channel::bounded(0);
        for spec in specs {
            let poller = Poller::start(spec, &shared, Some(Loading::clone(&loading)))?;
            gmetad.pollers.lock().push(poller);
        }
        gmetad.root = Some(root::start(&shared)?);
        if let Some(state) = state {
            let interval = self.state_interval.unwrap_or(limits::STATE_INTERVAL);
            gmetad.saver = Some(saver::start(&shared, state, interval)?);
        }
        drop(loading);
        if shared.state.is_some() {
            // Who asks now waits in the queues of the ports, and gets the whole tree.
            let _ = loaded.recv_timeout(limits::STATE_START);
        }
        {
            let mut ports = gmetad.ports.lock();
            ports.server = Some(serve(&ports.bound, &stats)?);
        }
        Ok(gmetad)
    }
}

/// Makes a plugin ready to run.
pub(super) fn prepare(
    plugin: &mut dyn Plugin,
    stats: &Arc<Stats>,
    requests: &Arc<Requests>,
    sections: &[Section],
) -> Result<(), PluginError> {
    guarded(|| {
        plugin.attach(stats);
        plugin.requests(requests);
        plugin.configure(sections)?;
        plugin.start()
    })
}

/// Where a configuration wants its ports. Without a bind address that is everywhere.
pub(super) fn port_addresses(config: &Config) -> Vec<(&'static str, SocketAddr)> {
    let everywhere = [IpAddr::from([0u16; 8])];
    [
        ("xml_port", config.xml_port, &config.xml_bind),
        ("interactive_port", config.interactive_port, &config.interactive_bind),
    ]
    .into_iter()
    .flat_map(|(directive, port, bind)| {
        let addresses = if bind.is_empty() { &everywhere[..] } else { bind };
        addresses.iter().map(move |ip| (directive, SocketAddr::new(*ip, port))).collect::<Vec<_>>()
    })
    .collect()
}
