//! SIGHUP.

use gmetad_core::Gmetad;
use gmetad_core::conf::{Config, Section};
use gmetad_core::serve::AccessList;
use gmetad_core::source::Resolver;
use gmetad_process::logger::Logger;
use gmetad_rrd::socket::RrdSocket;

use crate::plugins::{self, Running};
use crate::{Fallible, settings};

/// Takes over the file as it is now, if it can be read. `started` is what the program started with.
pub(crate) fn reload(
    new: Fallible<Config>,
    started: &Config,
    log: &Logger,
    gmetad: &Gmetad,
    running: &mut Running,
    rrd_socket: Option<&RrdSocket>,
) {
    if let Err(error) = log.reopen() {
        let file = started.logfile.as_deref().unwrap_or("?".as_ref()).display();
        log::error!(
            "cannot open {file} again: {error}; the old file stays in use: our user must be able to write there"
        );
    }
    match new {
        Ok(new) => {
            for warning in &new.warnings {
                log::warn!("{warning}");
            }
            let report = gmetad.reload(&new);
            plugins::reload(running, gmetad, &new);
            if let Some(socket) = rrd_socket {
                socket.set_access(AccessList::of_config(&new, &Resolver::default()));
            }
            let (new_ones, gone) = (report.started.join(", "), report.stopped.join(", "));
            log::info!("reloaded: {} sources kept, started [{new_ones}], stopped [{gone}]", report.kept);
            for text in report.refused.iter().chain(&needs_restart(started, &new)) {
                log::warn!("reload: {text}");
            }
        }
        Err(error) => log::error!("reload: {error}; the old configuration stays"),
    }
}

/// What differs from the configuration of the start and takes a restart.
fn needs_restart(old: &Config, new: &Config) -> Vec<String> {
    let changed = [
        ("setuid, setuid_username", old.setuid != new.setuid || old.setuid_username != new.setuid_username),
        ("umask", old.umask != new.umask),
        ("debug_level, log_level", old.debug_level != new.debug_level || old.log_level != new.log_level),
        ("logfile", old.logfile != new.logfile),
        ("state_dir", old.state_dir != new.state_dir),
        ("daemonize", old.daemonize != new.daemonize),
        ("http_port, http_bind", old.http_port != new.http_port || old.http_bind != new.http_bind),
        ("write_rrds", old.write_rrds != new.write_rrds),
        ("rrd_rootdir", old.rrd_rootdir != new.rrd_rootdir),
        ("rrd_backend", old.rrd_backend != new.rrd_backend),
        (
            "rrd_cache_…, rrd_journal_…, rrd_writers, rrd_socket",
            settings::rrd(old).cache != settings::rrd(new).cache
                || old.rrd_socket != new.rrd_socket
                || old.rrd_socket_updates != new.rrd_socket_updates,
        ),
        ("rrdcached_address", old.rrdcached_address != new.rrdcached_address),
        ("RRAs", old.rras != new.rras),
        ("case_sensitive_hostnames", old.case_sensitive_hostnames != new.case_sensitive_hostnames),
        ("unsummarized_metrics", old.unsummarized_metrics != new.unsummarized_metrics),
        ("unsummarized_sflow_vm_metrics", old.unsummarized_sflow_vm_metrics != new.unsummarized_sflow_vm_metrics),
        ("plugins_dir", old.plugins_dir != new.plugins_dir),
        ("sections rrd, rrdsummary, alert", own_sections(old) != own_sections(new)),
    ];
    changed
        .iter()
        .filter(|(_, changed)| *changed)
        .map(|(name, _)| format!("{name} changed: restart to use it"))
        .collect()
}

/// Sections of plugins that read them at the start only.
fn own_sections(config: &Config) -> Vec<&Section> {
    config.sections.iter().filter(|section| ["rrd", "rrdsummary", "alert"].contains(&section.id.as_str())).collect()
}
