//! What the configuration file means for this program.

use gmetad_core::conf::{Config, RrdBackend};
use gmetad_rrd::{BackendKind, RrdSettings};

/// Descriptors that each of the two RRD plugins keeps open, at most.
const RRD_DESCRIPTORS: usize = 16_384;

pub(crate) fn rrd(config: &Config) -> RrdSettings {
    RrdSettings {
        rras: config.rras.clone(),
        backend: match config.rrd_backend {
            RrdBackend::Native => BackendKind::Native,
            RrdBackend::Librrd => BackendKind::Librrd,
        },
        lower_case_hosts: !config.case_sensitive_hostnames,
        unsummarized: config.unsummarized_metrics.clone(),
        unsummarized_sflow_vm: config.unsummarized_sflow_vm_metrics,
        max_descriptors: RRD_DESCRIPTORS,
        ..RrdSettings::new(&config.rrd_rootdir)
    }
}

/// What stands in the file and has no effect in this version; better said than silently left out.
pub(crate) fn without_effect(config: &Config) -> Vec<String> {
    let set = [
        ("carbon_server", config.carbon_server.is_some()),
        ("memcached_parameters", config.memcached_parameters.is_some()),
        ("riemann_server", config.riemann_server.is_some()),
        ("rrdcached_address", config.rrdcached_address.is_some()),
        ("plugins_dir", config.plugins_dir.is_some()),
    ];
    let unclaimed = config.sections.iter().filter(|section| !section.id.eq_ignore_ascii_case("rrd"));
    set.iter()
        .filter(|(_, set)| *set)
        .map(|(name, _)| format!("{name}: this version does not do that yet; the line has no effect"))
        .chain(
            unclaimed.map(|s| format!("{}: section \"{}\": no plugin of that name; it has no effect", s.place, s.id)),
        )
        .collect()
}

/// What differs between two configurations and takes a restart.
pub(crate) fn needs_restart(old: &Config, new: &Config) -> Vec<String> {
    let changed = [
        ("setuid, setuid_username", old.setuid != new.setuid || old.setuid_username != new.setuid_username),
        ("umask", old.umask != new.umask),
        ("debug_level, log_level", old.debug_level != new.debug_level || old.log_level != new.log_level),
        ("logfile", old.logfile != new.logfile),
        ("daemonize", old.daemonize != new.daemonize),
        ("http_port, http_bind", old.http_port != new.http_port || old.http_bind != new.http_bind),
        ("write_rrds", old.write_rrds != new.write_rrds),
        (
            "rrd_rootdir, rrd_backend, RRAs, case_sensitive_hostnames, unsummarized_metrics",
            old.rrd_rootdir != new.rrd_rootdir
                || old.rrd_backend != new.rrd_backend
                || old.rras != new.rras
                || old.case_sensitive_hostnames != new.case_sensitive_hostnames
                || old.unsummarized_metrics != new.unsummarized_metrics
                || old.unsummarized_sflow_vm_metrics != new.unsummarized_sflow_vm_metrics,
        ),
        ("sections", old.sections != new.sections),
    ];
    changed
        .iter()
        .filter(|(_, changed)| *changed)
        .map(|(name, _)| format!("{name} changed: restart to use it"))
        .collect()
}
