//! What the configuration file means for this program.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use gmetad_core::conf::{Address, Config, LogLevel, RrdBackend, RrdcachedAddress, SocketUpdates};
use gmetad_core::limits;
use gmetad_core::serve::AccessList;
use gmetad_core::source::Resolver;
use gmetad_process::cli::Options;
use gmetad_process::logger::{self, LogError, Setup};
use gmetad_rrd::socket::{Listen, SocketOptions, Updates};
use gmetad_rrd::{BackendKind, CacheOptions, RrdSettings};

/// Descriptors that the writers of RRD files keep open, at most.
const RRD_DESCRIPTORS: usize = 32_768;

pub(crate) fn rrd(config: &Config) -> RrdSettings {
    RrdSettings {
        rras: config.rras.clone(),
        backend: match (config.rrd_backend, &config.rrdcached_address) {
            (RrdBackend::Librrd, _) => BackendKind::Librrd,
            (_, Some(address)) => BackendKind::Rrdcached(address.into()),
            _ => BackendKind::Native,
        },
        lower_case_hosts: !config.case_sensitive_hostnames,
        unsummarized: config.unsummarized_metrics.clone(),
        unsummarized_sflow_vm: config.unsummarized_sflow_vm_metrics,
        max_descriptors: RRD_DESCRIPTORS / config.rrd_writers as usize,
        cache: CacheOptions {
            cache: config.rrd_cache,
            jitter: config.rrd_cache_jitter,
            hot: Duration::from_secs(config.rrd_cache_hot.into()),
            memory: (config.rrd_cache_memory as usize) << 20,
            journal_sync: config.rrd_journal_sync,
            journal_bytes: u64::from(config.rrd_journal_size) << 20,
            writers: config.rrd_writers as usize,
            ..CacheOptions::default()
        },
        ..RrdSettings::new(&config.rrd_rootdir)
    }
}

/// Where the protocol of rrdcached is spoken.
pub(crate) fn rrd_socket(config: &Config, root: &Path) -> Result<SocketOptions, String> {
    let resolver = Resolver::default();
    let mut options = SocketOptions::new(root.to_owned());
    for address in &config.rrd_socket {
        match address {
            RrdcachedAddress::Unix(path) => options.listen.push(Listen::Unix(path.clone())),
            RrdcachedAddress::Tcp(Address { host, port }) => {
                let ips = resolver
                    .resolve(host, limits::RESOLVE_TIMEOUT)
                    .map_err(|error| format!("rrd_socket {host}: {error}"))?;
                options.listen.extend(ips.into_iter().map(|ip| Listen::Tcp(SocketAddr::new(ip, *port))));
            }
        }
    }
    options.access = AccessList::of_config(config, &resolver);
    options.updates = match config.rrd_socket_updates {
        SocketUpdates::Owner => Updates::Own,
        SocketUpdates::All => Updates::All,
    };
    Ok(options)
}

/// What stands in the file and has no effect in this version; better said than silently left out.
pub(crate) fn without_effect(config: &Config) -> Vec<String> {
    let set = [
        ("carbon_server", config.carbon_server.is_some()),
        ("memcached_parameters", config.memcached_parameters.is_some()),
        ("riemann_server", config.riemann_server.is_some()),
        ("rrd_socket without write_rrds", !config.rrd_socket.is_empty() && !config.write_rrds),
    ];
    let claims = crate::plugins::claims(config);
    let unclaimed = config.sections.iter().filter(|section| !claims(section));
    set.iter()
        .filter(|(_, set)| *set)
        .map(|(name, _)| format!("{name}: this version does not do that yet; the line has no effect"))
        .chain(
            unclaimed.map(|s| format!("{}: section \"{}\": no plugin of that name; it has no effect", s.place, s.id)),
        )
        .collect()
}

/// The log as it is to be. `log_level` decides if it was moved from its default and the command line does not say
/// otherwise; else `debug_level`, as in C.
pub(crate) fn log(options: &Options, config: &Config, debug: i64) -> Result<Setup, LogError> {
    let ident = std::env::args().next().unwrap_or_else(|| "gmetad".to_owned());
    let by_name = config.log_level != LogLevel::Info && options.debug.is_none();
    let named = logger::level_of_name(config.log_level.as_str()).filter(|_| by_name);
    let mut log = Setup::new(ident, named.unwrap_or_else(|| logger::level_of_debug(debug)));
    match config.log_level {
        LogLevel::Fatal if by_name => log = log.only(&["fatal"]),
        LogLevel::Critical if by_name => log = log.only(&["fatal", "critical"]),
        _ => {}
    }
    match &config.logfile {
        Some(file) => log.file(file),
        None => Ok(log),
    }
}
