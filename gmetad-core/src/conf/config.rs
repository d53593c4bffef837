//! The configuration as meant.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::error::{ConfError, Notes, Place, Warning};
use super::lexer::{Cursor, quote};
use super::loader::Loader;
use super::raw::RawConfig;
use super::resolve::Args;
use super::section::Section;
use super::source::SourceConfig;
use super::table::directives;
use super::value::{Jitter, LogLevel, Protocol, RrdBackend, RrdcachedAddress, SocketUpdates, Trust};

/// Declares the struct and, for this module alone, a value with everything empty, for the table to fill.
macro_rules! declare {
    ($(#[$meta:meta])* pub struct $name:ident { $($(#[$doc:meta])* pub $field:ident: $type:ty,)* }) => {
        $(#[$meta])*
        pub struct $name { $($(#[$doc])* pub $field: $type,)* }

        impl $name {
            fn blank() -> $name {
                $name { $($field: Default::default(),)* }
            }
        }
    };
}

declare! {
    /// A resolved configuration. Directives not given have the default of the table.
    #[derive(Debug, Clone, PartialEq)]
    pub struct Config {
        /// `data_source`: what to poll, in the order of the file; names are distinct.
        pub sources: Vec<SourceConfig>,

        /// `gridname`: NAME of the outermost GRID.
        pub gridname: String,
        /// `authority`: AUTHORITY of the outermost GRID, an URL.
        pub authority: String,
        /// `scalable`: off flattens polled grids.
        pub scalable: bool,

        /// `trusted_hosts`: who may read the XML ports besides 127.0.0.1 and ::1.
        pub trusted_hosts: Vec<Trust>,
        /// `all_trusted`: everybody may.
        pub all_trusted: bool,

        /// `xml_port`: the full dump. 0: the system chooses.
        pub xml_port: u16,
        /// `xml_bind`: addresses of that port; empty: all, IPv4 and IPv6.
        pub xml_bind: Vec<IpAddr>,
        /// `interactive_port`: queries. 0: the system chooses.
        pub interactive_port: u16,
        /// `interactive_bind`: addresses of that port; empty: all, IPv4 and IPv6.
        pub interactive_bind: Vec<IpAddr>,
        /// `http_port`: status and metrics over HTTP. 0: off.
        pub http_port: u16,
        /// `http_bind`: addresses of that port; empty: all, IPv4 and IPv6.
        pub http_bind: Vec<IpAddr>,
        /// `server_threads`: 1 to 1024.
        pub server_threads: u32,
        /// `poll_jitter`: by how much polls are spread.
        pub poll_jitter: Jitter,

        /// `debug_level`: above 0 stays in the foreground and logs to stderr.
        pub debug_level: u32,
        /// `log_level`: least severe messages that are logged.
        pub log_level: LogLevel,
        /// `logfile`: a log file besides syslog or stderr.
        pub logfile: Option<PathBuf>,
        /// `daemonize`: whether to go to the background; not given: decided by `debug_level`.
        pub daemonize: Option<bool>,
        /// `setuid`: change user at start.
        pub setuid: bool,
        /// `setuid_username`: to whom.
        pub setuid_username: String,
        /// `umask`: mask for the daemon's files; bits 07077 only.
        pub umask: u32,
        /// `state_dir`: saved tree; none: where it can be.
        pub state_dir: Option<PathBuf>,
        /// `plugins_dir`: executable plugins.
        pub plugins_dir: Option<PathBuf>,

        /// `write_rrds`: write RRD files.
        pub write_rrds: bool,
        /// `rrd_rootdir`: root of the RRD tree.
        pub rrd_rootdir: PathBuf,
        /// `RRAs`: archive definitions, as rrdtool writes them.
        pub rras: Vec<String>,
        /// `rrd_backend`: which code writes RRD files.
        pub rrd_backend: RrdBackend,
        /// `rrdcached_address`, or the environment variable RRDCACHED_ADDRESS.
        pub rrdcached_address: Option<RrdcachedAddress>,
        /// `rrd_cache_seconds`: how long points wait to be written together; none: `auto`.
        pub rrd_cache: Option<Duration>,
        /// `rrd_cache_jitter`: added to it by chance, at most; none: `auto`.
        pub rrd_cache_jitter: Option<Duration>,
        /// `rrd_cache_hot`: seconds files are written through after somebody asked for them or read them.
        pub rrd_cache_hot: u32,
        /// `rrd_cache_memory`: most megabytes (2^20 bytes) of points that wait.
        pub rrd_cache_memory: u32,
        /// `rrd_journal_sync`: how often the journal is written and synced; 0: no journal.
        pub rrd_journal_sync: Duration,
        /// `rrd_journal_size`: most megabytes of the journal.
        pub rrd_journal_size: u32,
        /// `rrd_writers`: threads that write files.
        pub rrd_writers: u32,
        /// `rrd_socket`: where the protocol of rrdcached is spoken.
        pub rrd_socket: Vec<RrdcachedAddress>,
        /// `rrd_socket_updates`: who may update files there.
        pub rrd_socket_updates: SocketUpdates,
        /// `case_sensitive_hostnames`: false writes host directories and Graphite host names in lower case.
        pub case_sensitive_hostnames: bool,

        /// `unsummarized_metrics`: prefixes of metric names without summary RRDs.
        pub unsummarized_metrics: Vec<String>,
        /// `unsummarized_sflow_vm_metrics`: no summary RRDs of sFlow's per-VM metrics.
        pub unsummarized_sflow_vm_metrics: bool,
        /// `summarized_metrics`: if not empty, only these metrics enter the root summary.
        pub summarized_metrics: Vec<String>,

        /// `carbon_server`: host of carbon; none: no Graphite export.
        pub carbon_server: Option<String>,
        /// `carbon_port`: never 0.
        pub carbon_port: u16,
        /// `carbon_protocol`.
        pub carbon_protocol: Protocol,
        /// `carbon_timeout`: for connecting, whole milliseconds, never 0.
        pub carbon_timeout: Duration,
        /// `graphite_prefix`: at least 2 characters.
        pub graphite_prefix: Option<String>,
        /// `graphite_path`: at least 2 characters, with %s, %h, %m.
        pub graphite_path: Option<String>,

        /// `memcached_parameters`: libmemcached's configuration string.
        pub memcached_parameters: Option<String>,
        /// `memcached_include_cluster_in_key`.
        pub memcached_include_cluster_in_key: bool,

        /// `riemann_server`: host of Riemann; none: no export.
        pub riemann_server: Option<String>,
        /// `riemann_port`.
        pub riemann_port: u16,
        /// `riemann_protocol`.
        pub riemann_protocol: Protocol,
        /// `riemann_attributes`: added to every event.
        pub riemann_attributes: Vec<(String, String)>,

        /// Sections for plugins, each name once.
        pub sections: Vec<Section>,
        /// What was accepted but is probably not meant; by file, line and column.
        pub warnings: Vec<Warning>,
    }
}

impl Config {
    /// Reads a file and what it includes; gives all errors of both stages together.
    pub fn load(path: &Path, loader: &dyn Loader) -> Result<Config, ConfError> {
        RawConfig::load(path, loader).resolve(loader)
    }

    /// Reads a text; `name` stands for it in messages.
    pub fn parse_str(text: &str, name: &str, loader: &dyn Loader) -> Result<Config, ConfError> {
        RawConfig::parse_str(text, name, loader).resolve(loader)
    }

    /// The section of this name, compared without regard to case.
    pub fn section(&self, id: &str) -> Option<&Section> {
        let id = id.to_lowercase();
        self.sections.iter().find(|section| section.id == id)
    }

    /// The configuration as a file: every directive that has a value, one a line (a value with line breaks as a
    /// here-document). Reads back as the same configuration.
    pub fn describe(&self) -> String {
        let mut copy = self.clone();
        let mut out = String::new();
        for directive in directives() {
            for arguments in directive.show(&mut copy) {
                let blank = if arguments.is_empty() { "" } else { " " };
                out += &format!("{}{blank}{arguments}\n", directive.name);
            }
        }
        for section in &self.sections {
            out += &format!("{} {{\n", section.id);
            for entry in &section.entries {
                out += format!("    {} {}", entry.directive, entry.rest).trim_end();
                out.push('\n');
            }
            out += "}\n";
        }
        out
    }

    /// The defaults on a machine of this name; no sources.
    pub(crate) fn with_hostname(hostname: &str) -> Config {
        let mut config = Config::blank();
        let place = Place { file: "default".into(), line: 1, column: 1 };
        for directive in directives().iter().filter(|directive| !directive.default.is_empty()) {
            let mut words = Cursor::on(directive.default, place.clone()).raw_words();
            for word in &mut words {
                word.text = word.text.replace("HOSTNAME", hostname);
            }
            let mut notes = Notes::default();
            let mut args = Args { directive, words: &words, place: &place, notes: &mut notes };
            let applied = directive.apply(&mut config, &mut args);
            debug_assert!(applied.is_ok(), "default of {}", directive.name);
        }
        config
    }
}

impl Default for Config {
    /// The table's defaults on a machine called `localhost`; no sources.
    fn default() -> Config {
        Config::with_hostname("localhost")
    }
}

/// A text as the argument of a directive: quoted, or a here-document.
pub(crate) fn text(value: &str) -> String {
    if !value.contains('\n') {
        return quote(value);
    }
    let mut delimiter = "EOT".to_owned();
    while value.split('\n').any(|line| line.starts_with(&delimiter)) {
        delimiter.push('_');
    }
    format!("<<{delimiter}\n{value}\n{delimiter}")
}
