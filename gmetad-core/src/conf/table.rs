//! The table: the only place a directive exists.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::config::{Config, text};
use super::error::Fault;
use super::lexer::quote;
use super::resolve::{Args, on_off};
use super::source;
use super::value::{self, Jitter, LogLevel, Protocol, RrdBackend, RrdcachedAddress, SocketUpdates, Trust};

/// A directive: how it is written, what it means, where it goes.
pub struct Directive {
    /// Its name; read without regard to case.
    pub name: &'static str,
    /// Who introduced it.
    pub origin: Origin,
    /// What it is about.
    pub group: Group,
    pub(crate) kind: Kind,
    /// The default, as it would stand in the file; empty: none.
    pub default: &'static str,
    /// An example for those without default.
    pub(crate) example: &'static str,
    /// One sentence.
    pub help: &'static str,
    /// More sentences; may be empty.
    pub doc: &'static str,
}

/// Who introduced a directive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// C gmetad.
    C,
    /// gmetad-python.
    Python,
    /// This program.
    New,
}

/// What a directive is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)] // see `title`
pub enum Group {
    Sources,
    Identity,
    Access,
    Ports,
    Process,
    Rrd,
    Summaries,
    Export,
}

impl Group {
    /// All groups, in the order of manuals.
    pub const ALL: [Group; 8] = [
        Group::Sources,
        Group::Identity,
        Group::Access,
        Group::Ports,
        Group::Process,
        Group::Rrd,
        Group::Summaries,
        Group::Export,
    ];

    /// A heading.
    pub fn title(self) -> &'static str {
        match self {
            Group::Sources => "Polling",
            Group::Identity => "This grid",
            Group::Access => "Access",
            Group::Ports => "Ports",
            Group::Process => "Process",
            Group::Rrd => "RRD files",
            Group::Summaries => "Summaries",
            Group::Export => "Export",
        }
    }
}

/// The field a directive sets.
type At<T> = fn(&mut Config) -> &mut T;

/// How arguments are read, and into which field.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    Text(At<String>),
    MaybeText(At<Option<String>>),
    Path(At<PathBuf>),
    MaybePath(At<Option<PathBuf>>),
    Port(At<u16>),
    /// A number; one outside the range is moved into it.
    Number {
        least: i64,
        most: i64,
        at: At<u32>,
    },
    /// A number, 0 or not.
    Flag(At<bool>),
    Toggle(At<bool>),
    /// On unless it says exactly `off`.
    UnlessOff(At<bool>),
    /// A list; `add`: to what is there.
    Words {
        add: bool,
        at: At<Vec<String>>,
    },
    /// Addresses to bind; empty is any.
    Addresses(At<Vec<IpAddr>>),
    Choice {
        words: &'static [&'static str],
        set: fn(&mut Config, &str) -> bool,
        get: fn(&Config) -> &'static str,
    },
    Custom {
        syntax: &'static str,
        set: fn(&mut Config, &mut Args<'_>) -> Result<(), Fault>,
        /// The arguments of each line that reproduces the value.
        show: fn(&Config) -> Vec<String>,
    },
}

/// All directives, grouped.
pub fn directives() -> &'static [Directive] {
    TABLE
}

/// The directive of this name.
pub(crate) fn find(name: &str) -> Option<&'static Directive> {
    TABLE.iter().find(|directive| directive.name.eq_ignore_ascii_case(name))
}

/// The directive a misspelt name probably means.
pub(crate) fn nearest(name: &str) -> Option<&'static str> {
    if name.len() > 64 {
        return None;
    }
    let lower = name.to_ascii_lowercase();
    let known = TABLE.iter().map(|directive| directive.name).chain(["Include", "IncludePath"]);
    let (far, best) = known.map(|known| (distance(&lower, &known.to_ascii_lowercase()), known)).min()?;
    (far <= 2.max(best.len() / 4) && far * 2 <= best.len()).then_some(best)
}

const TABLE: &[Directive] = &[
    Directive {
        name: "data_source",
        origin: Origin::C,
        group: Group::Sources,
        kind: Kind::Custom { syntax: "NAME [SECONDS] HOST[:PORT] ...", set: source::set, show: source::show },
        default: "",
        example: "\"my cluster\" localhost",
        help: "What to poll.",
        doc: "One line a cluster or grid; of two lines with the same name the later counts. NAME is for logs; the XML and the RRD tree use the name that is polled. SECONDS between polls: 15 if not given. The hosts are tried in order, port 8649 if not given; IPv6 addresses are written [::1]:8649.",
    },
    Directive {
        name: "poll_jitter",
        origin: Origin::New,
        group: Group::Sources,
        kind: Kind::Custom {
            syntax: "PERCENT% | SECONDSs",
            set: set_poll_jitter,
            show: |c| vec![c.poll_jitter.to_string()],
        },
        default: "5%",
        example: "",
        help: "By how much polls are spread around their interval.",
        doc: "Percent of the interval (5% or 5), or seconds (5s). It keeps many sources from being polled at once.",
    },
    Directive {
        name: "gridname",
        origin: Origin::C,
        group: Group::Identity,
        kind: Kind::Text(|c| &mut c.gridname),
        default: "unspecified",
        example: "",
        help: "Name of this grid.",
        doc: "NAME of the outermost GRID in the XML.",
    },
    Directive {
        name: "authority",
        origin: Origin::C,
        group: Group::Identity,
        kind: Kind::Text(|c| &mut c.authority),
        default: "http://HOSTNAME/ganglia/",
        example: "",
        help: "URL of this grid's web pages.",
        doc: "Parent grids link to it. HOSTNAME stands for this machine's name.",
    },
    Directive {
        name: "scalable",
        origin: Origin::C,
        group: Group::Identity,
        kind: Kind::UnlessOff(|c| &mut c.scalable),
        default: "on",
        example: "",
        help: "Keep polled grids as grids.",
        doc: "Only the exact word off turns it off.",
    },
    Directive {
        name: "trusted_hosts",
        origin: Origin::C,
        group: Group::Access,
        kind: Kind::Custom {
            syntax: "HOST|ADDRESS|NETWORK/BITS ...",
            set: set_trusted_hosts,
            show: show_trusted_hosts,
        },
        default: "",
        example: "127.0.0.1 10.0.0.0/8 2001:db8::/32 web.example.com",
        help: "Who may read the XML ports.",
        doc: "This machine (127.0.0.1, ::1) always may. May be repeated; all lines count.",
    },
    Directive {
        name: "all_trusted",
        origin: Origin::C,
        group: Group::Access,
        kind: Kind::Custom { syntax: "on|off", set: set_all_trusted, show: show_all_trusted },
        default: "off",
        example: "",
        help: "Let everybody read the XML ports.",
        doc: "on, yes, true, 1 or off. C gmetad trusted everybody as soon as the directive was there, even with off.",
    },
    Directive {
        name: "xml_port",
        origin: Origin::C,
        group: Group::Ports,
        kind: Kind::Port(|c| &mut c.xml_port),
        default: "8651",
        example: "",
        help: "Port of the full XML dump.",
        doc: "0 lets the system choose.",
    },
    Directive {
        name: "xml_bind",
        origin: Origin::New,
        group: Group::Ports,
        kind: Kind::Addresses(|c| &mut c.xml_bind),
        default: "any",
        example: "",
        help: "Addresses of xml_port.",
        doc: "IPv4 or IPv6 addresses, or any.",
    },
    Directive {
        name: "interactive_port",
        origin: Origin::C,
        group: Group::Ports,
        kind: Kind::Port(|c| &mut c.interactive_port),
        default: "8652",
        example: "",
        help: "Port of XML queries.",
        doc: "0 lets the system choose.",
    },
    Directive {
        name: "interactive_bind",
        origin: Origin::New,
        group: Group::Ports,
        kind: Kind::Addresses(|c| &mut c.interactive_bind),
        default: "any",
        example: "",
        help: "Addresses of interactive_port.",
        doc: "IPv4 or IPv6 addresses, or any.",
    },
    Directive {
        name: "http_port",
        origin: Origin::New,
        group: Group::Ports,
        kind: Kind::Port(|c| &mut c.http_port),
        default: "0",
        example: "",
        help: "Port of the HTTP server.",
        doc: "0: no HTTP server.",
    },
    Directive {
        name: "http_bind",
        origin: Origin::New,
        group: Group::Ports,
        kind: Kind::Addresses(|c| &mut c.http_bind),
        default: "127.0.0.1",
        example: "",
        help: "Addresses of http_port.",
        doc: "IPv4 or IPv6 addresses, localhost (both kinds of loopback), or any.",
    },
    Directive {
        name: "server_threads",
        origin: Origin::C,
        group: Group::Ports,
        kind: Kind::Number { least: 1, most: 1024, at: |c| &mut c.server_threads },
        default: "4",
        example: "",
        help: "Threads that answer the XML ports.",
        doc: "From 1 to 1024. Any number serves both ports.",
    },
    Directive {
        name: "debug_level",
        origin: Origin::C,
        group: Group::Process,
        kind: Kind::Number { least: 0, most: i32::MAX as i64, at: |c| &mut c.debug_level },
        default: "0",
        example: "",
        help: "Above 0: stay in the foreground and log to stderr.",
        doc: "2 and above log every step. The option -d has precedence.",
    },
    Directive {
        name: "log_level",
        origin: Origin::New,
        group: Group::Process,
        kind: Kind::Choice {
            words: LogLevel::WORDS,
            set: |c, text| put(&mut c.log_level, LogLevel::parse(text)),
            get: |c| c.log_level.as_str(),
        },
        default: "info",
        example: "",
        help: "Least severe messages that are logged.",
        doc: "fatal, critical, error, warning, info or debug.",
    },
    Directive {
        name: "logfile",
        origin: Origin::Python,
        group: Group::Process,
        kind: Kind::MaybePath(|c| &mut c.logfile),
        default: "",
        example: "/var/log/gmetad.log",
        help: "A log file, besides syslog or stderr.",
        doc: "It is opened before the user is changed.",
    },
    Directive {
        name: "daemonize",
        origin: Origin::Python,
        group: Group::Process,
        kind: Kind::Custom {
            syntax: "on|off",
            set: set_daemonize,
            show: |c| c.daemonize.map(|on| on_off(on).to_owned()).into_iter().collect(),
        },
        default: "",
        example: "off",
        help: "Go to the background.",
        doc: "Not given: exactly if debug_level is 0.",
    },
    Directive {
        name: "setuid",
        origin: Origin::C,
        group: Group::Process,
        kind: Kind::Toggle(|c| &mut c.setuid),
        default: "on",
        example: "",
        help: "Change user at start.",
        doc: "The RRD tree must belong to that user.",
    },
    Directive {
        name: "setuid_username",
        origin: Origin::C,
        group: Group::Process,
        kind: Kind::Text(|c| &mut c.setuid_username),
        default: "nobody",
        example: "",
        help: "The user to change to.",
        doc: "Distributions often set ganglia.",
    },
    Directive {
        name: "umask",
        origin: Origin::C,
        group: Group::Process,
        kind: Kind::Custom { syntax: "OCTAL", set: set_umask, show: |c| vec![format!("0{:03o}", c.umask)] },
        default: "0",
        example: "022",
        help: "Mask for the files of the daemon.",
        doc: "Write it with a leading 0 (octal). The owner's bits are never masked. It counts in the background only.",
    },
    Directive {
        name: "state_dir",
        origin: Origin::New,
        group: Group::Process,
        kind: Kind::MaybePath(|c| &mut c.state_dir),
        default: "",
        example: "/var/lib/gmetad",
        help: "Directory of the saved tree.",
        doc: "The tree is saved in it (in tree-PORT, the port being xml_port) at stop and every 5 minutes; after a start it is \
            shown, as old as it is, until each source is polled. Not given: /var/lib/gmetad or, if that cannot be written, \
            .gmetad in rrd_rootdir if RRDs are written; else nothing is saved. Given and not to be written: an error in the \
            log, and nothing is saved.",
    },
    Directive {
        name: "plugins_dir",
        origin: Origin::Python,
        group: Group::Process,
        kind: Kind::MaybePath(|c| &mut c.plugins_dir),
        default: "",
        example: "/usr/lib/gmetad/plugins",
        help: "Directory of executable plugins.",
        doc: "Not given: /usr/lib/ganglia/plugins, if it is there. Each plugin may have a section NAME { ... }; docs/plugins.md.",
    },
    Directive {
        name: "write_rrds",
        origin: Origin::C,
        group: Group::Rrd,
        kind: Kind::UnlessOff(|c| &mut c.write_rrds),
        default: "on",
        example: "",
        help: "Write RRD files.",
        doc: "Only the exact word off turns it off.",
    },
    Directive {
        name: "rrd_rootdir",
        origin: Origin::C,
        group: Group::Rrd,
        kind: Kind::Path(|c| &mut c.rrd_rootdir),
        default: "/var/lib/ganglia/rrds",
        example: "",
        help: "Root of the RRD tree.",
        doc: "It must exist and belong to the user of the daemon.",
    },
    Directive {
        name: "RRAs",
        origin: Origin::C,
        group: Group::Rrd,
        kind: Kind::Custom { syntax: "RRA:CF:XFF:STEPS:ROWS ...", set: set_rras, show: |c| vec![quote_all(&c.rras)] },
        default: "\"RRA:AVERAGE:0.5:1:5856\" \"RRA:AVERAGE:0.5:4:20160\" \"RRA:AVERAGE:0.5:40:52704\"",
        example: "",
        help: "Archives of new RRD files, as rrdtool create writes them.",
        doc: "The last line replaces all others. Existing files keep their archives.",
    },
    Directive {
        name: "rrd_backend",
        origin: Origin::New,
        group: Group::Rrd,
        kind: Kind::Choice {
            words: RrdBackend::WORDS,
            set: |c, text| put(&mut c.rrd_backend, RrdBackend::parse(text)),
            get: |c| c.rrd_backend.as_str(),
        },
        default: "native",
        example: "",
        help: "Code that writes RRD files.",
        doc: "native; librrd, which must be installed; or rrdcached, which rrdcached_address implies.",
    },
    Directive {
        name: "rrdcached_address",
        origin: Origin::C,
        group: Group::Rrd,
        kind: Kind::Custom {
            syntax: "HOST[:PORT] | unix:PATH",
            set: set_rrdcached,
            show: |c| c.rrdcached_address.iter().map(|at| text(&at.to_string())).collect(),
        },
        default: "",
        example: "unix:/run/rrdcached.sock",
        help: "Send updates to this rrdcached.",
        doc: "Port 42217 if not given. Without the directive, the environment variable RRDCACHED_ADDRESS counts.",
    },
    Directive {
        name: "rrd_cache_seconds",
        origin: Origin::New,
        group: Group::Rrd,
        kind: Kind::Custom {
            syntax: "SECONDS | auto",
            set: |c, args| set_auto(&mut c.rrd_cache, args),
            show: |c| show_auto(c.rrd_cache),
        },
        default: "auto",
        example: "",
        help: "How long RRD points wait to be written together.",
        doc: "Summaries, hosts that are asked for, and files that are read do not wait. auto: 4 steps, 60 at most; 0 where \
              the file system keeps no access times. 0: no point waits. Readers of rrd_socket see all points at once.",
    },
    Directive {
        name: "rrd_cache_jitter",
        origin: Origin::New,
        group: Group::Rrd,
        kind: Kind::Custom {
            syntax: "SECONDS | auto",
            set: |c, args| set_auto(&mut c.rrd_cache_jitter, args),
            show: |c| show_auto(c.rrd_cache_jitter),
        },
        default: "auto",
        example: "",
        help: "Seconds added to rrd_cache_seconds by chance, at most.",
        doc: "auto: as many as rrd_cache_seconds, so that a directory waits once to twice that long; none if that is auto.",
    },
    Directive {
        name: "rrd_cache_hot",
        origin: Origin::New,
        group: Group::Rrd,
        kind: Kind::Number { least: 0, most: 86400, at: |c| &mut c.rrd_cache_hot },
        default: "600",
        example: "",
        help: "Seconds during which files that were asked for or read do not wait.",
        doc: "A host is asked for on the interactive port; that a file was read is known by its access time.",
    },
    Directive {
        name: "rrd_cache_memory",
        origin: Origin::New,
        group: Group::Rrd,
        kind: Kind::Number { least: 1, most: 1048576, at: |c| &mut c.rrd_cache_memory },
        default: "512",
        example: "",
        help: "Most megabytes of RRD points that wait.",
        doc: "When the disk fails for long, the oldest points are dropped then.",
    },
    Directive {
        name: "rrd_journal_sync",
        origin: Origin::New,
        group: Group::Rrd,
        kind: Kind::Custom { syntax: "SECONDS", set: set_rrd_journal, show: show_rrd_journal },
        default: "1",
        example: "",
        help: "How often the journal of RRD points is written to the disk.",
        doc: "What a crash may lose. Decimals are allowed. 0: no journal. It lies in .gmetad of rrd_rootdir.",
    },
    Directive {
        name: "rrd_journal_size",
        origin: Origin::New,
        group: Group::Rrd,
        kind: Kind::Number { least: 1, most: 1048576, at: |c| &mut c.rrd_journal_size },
        default: "1024",
        example: "",
        help: "Most megabytes of that journal.",
        doc: "Beyond it the files its oldest part speaks of are written.",
    },
    Directive {
        name: "rrd_writers",
        origin: Origin::New,
        group: Group::Rrd,
        kind: Kind::Number { least: 1, most: 64, at: |c| &mut c.rrd_writers },
        default: "2",
        example: "",
        help: "Threads that write RRD files.",
        doc: "",
    },
    Directive {
        name: "rrd_socket",
        origin: Origin::New,
        group: Group::Rrd,
        kind: Kind::Custom {
            syntax: "HOST[:PORT] | unix:PATH ...",
            set: set_rrd_socket,
            show: |c| {
                if c.rrd_socket.is_empty() {
                    Vec::new()
                } else {
                    vec![quote_all(&c.rrd_socket.iter().map(ToString::to_string).collect::<Vec<_>>())]
                }
            },
        },
        default: "",
        example: "unix:/run/gmetad/rrd.sock",
        help: "Speak the protocol of rrdcached here.",
        doc: "For rrdtool --daemon and ganglia-web's rrdcached_socket. Over TCP trusted hosts may connect.",
    },
    Directive {
        name: "rrd_socket_updates",
        origin: Origin::New,
        group: Group::Rrd,
        kind: Kind::Choice {
            words: SocketUpdates::WORDS,
            set: |c, text| put(&mut c.rrd_socket_updates, SocketUpdates::parse(text)),
            get: |c| c.rrd_socket_updates.as_str(),
        },
        default: "owner",
        example: "",
        help: "Who may update RRD files through rrd_socket.",
        doc: "owner: root and the user of the daemon, over a Unix socket. all: whoever can connect.",
    },
    Directive {
        name: "case_sensitive_hostnames",
        origin: Origin::C,
        group: Group::Rrd,
        kind: Kind::Flag(|c| &mut c.case_sensitive_hostnames),
        default: "1",
        example: "",
        help: "0: host directories and Graphite host names in lower case.",
        doc: "XML and queries are not affected.",
    },
    Directive {
        name: "unsummarized_metrics",
        origin: Origin::C,
        group: Group::Summaries,
        kind: Kind::Words { add: true, at: |c| &mut c.unsummarized_metrics },
        default: "",
        example: "diskstat CPU",
        help: "Prefixes of metric names without summary RRDs.",
        doc: "They stay in the XML. May be repeated; all lines count.",
    },
    Directive {
        name: "unsummarized_sflow_vm_metrics",
        origin: Origin::C,
        group: Group::Summaries,
        kind: Kind::Toggle(|c| &mut c.unsummarized_sflow_vm_metrics),
        default: "off",
        example: "",
        help: "No summary RRDs of sFlow's metrics of virtual machines.",
        doc: "They are recognised by a v behind the first dot of the name.",
    },
    Directive {
        name: "summarized_metrics",
        origin: Origin::C,
        group: Group::Summaries,
        kind: Kind::Words { add: true, at: |c| &mut c.summarized_metrics },
        default: "",
        example: "load_one cpu_num",
        help: "Only these metrics enter the root summary.",
        doc: "Exact names. Not given: all. May be repeated; all lines count.",
    },
    Directive {
        name: "carbon_server",
        origin: Origin::C,
        group: Group::Export,
        kind: Kind::MaybeText(|c| &mut c.carbon_server),
        default: "",
        example: "graphite.example.com",
        help: "Send numeric metrics to this carbon (Graphite).",
        doc: "Not given: no export.",
    },
    Directive {
        name: "carbon_port",
        origin: Origin::C,
        group: Group::Export,
        kind: Kind::Port(|c| &mut c.carbon_port),
        default: "2003",
        example: "",
        help: "Port of carbon.",
        doc: "0 means 2003.",
    },
    Directive {
        name: "carbon_protocol",
        origin: Origin::C,
        group: Group::Export,
        kind: Kind::Choice {
            words: Protocol::WORDS,
            set: |c, text| put(&mut c.carbon_protocol, Protocol::parse(text)),
            get: |c| c.carbon_protocol.as_str(),
        },
        default: "tcp",
        example: "",
        help: "Transport to carbon.",
        doc: "tcp or udp.",
    },
    Directive {
        name: "carbon_timeout",
        origin: Origin::C,
        group: Group::Export,
        kind: Kind::Custom {
            syntax: "MILLISECONDS",
            set: set_carbon_timeout,
            show: |c| vec![c.carbon_timeout.as_millis().to_string()],
        },
        default: "500",
        example: "",
        help: "Milliseconds to wait for a connection to carbon.",
        doc: "0 means 500.",
    },
    Directive {
        name: "graphite_prefix",
        origin: Origin::C,
        group: Group::Export,
        kind: Kind::MaybeText(|c| &mut c.graphite_prefix),
        default: "",
        example: "ganglia",
        help: "First part of every Graphite path.",
        doc: "At least 2 characters.",
    },
    Directive {
        name: "graphite_path",
        origin: Origin::C,
        group: Group::Export,
        kind: Kind::MaybeText(|c| &mut c.graphite_path),
        default: "",
        example: "\"%s.%h.%m\"",
        help: "Pattern of Graphite paths.",
        doc: "%s is the cluster, %h the host, %m the metric. At least 2 characters.",
    },
    Directive {
        name: "memcached_parameters",
        origin: Origin::C,
        group: Group::Export,
        kind: Kind::MaybeText(|c| &mut c.memcached_parameters),
        default: "",
        example: "\"--SERVER=127.0.0.1\"",
        help: "Send metrics to memcached: libmemcached's configuration string.",
        doc: "Not given: no export.",
    },
    Directive {
        name: "memcached_include_cluster_in_key",
        origin: Origin::C,
        group: Group::Export,
        kind: Kind::Flag(|c| &mut c.memcached_include_cluster_in_key),
        default: "0",
        example: "",
        help: "Keys are CLUSTER/HOST/METRIC instead of HOST/METRIC.",
        doc: "Any number but 0.",
    },
    Directive {
        name: "riemann_server",
        origin: Origin::C,
        group: Group::Export,
        kind: Kind::MaybeText(|c| &mut c.riemann_server),
        default: "",
        example: "riemann.example.com",
        help: "Send metrics to this Riemann.",
        doc: "Not given: no export.",
    },
    Directive {
        name: "riemann_port",
        origin: Origin::C,
        group: Group::Export,
        kind: Kind::Port(|c| &mut c.riemann_port),
        default: "5555",
        example: "",
        help: "Port of Riemann.",
        doc: "",
    },
    Directive {
        name: "riemann_protocol",
        origin: Origin::C,
        group: Group::Export,
        kind: Kind::Choice {
            words: Protocol::WORDS,
            set: |c, text| put(&mut c.riemann_protocol, Protocol::parse(text)),
            get: |c| c.riemann_protocol.as_str(),
        },
        default: "udp",
        example: "",
        help: "Transport to Riemann.",
        doc: "tcp or udp.",
    },
    Directive {
        name: "riemann_attributes",
        origin: Origin::C,
        group: Group::Export,
        kind: Kind::Custom {
            syntax: "NAME=VALUE[,NAME=VALUE...]",
            set: set_riemann_attributes,
            show: show_riemann_attributes,
        },
        default: "",
        example: "\"customer=Acme Corp,environment=PROD\"",
        help: "Attributes added to every Riemann event.",
        doc: "",
    },
];

impl Directive {
    /// How its arguments are written.
    pub fn syntax(&self) -> &'static str {
        match self.kind {
            Kind::Text(_) | Kind::MaybeText(_) => "TEXT",
            Kind::Path(_) | Kind::MaybePath(_) => "PATH",
            Kind::Port(_) => "PORT",
            Kind::Number { .. } => "NUMBER",
            Kind::Flag(_) => "0|1",
            Kind::Toggle(_) | Kind::UnlessOff(_) => "on|off",
            Kind::Words { .. } => "WORD ...",
            Kind::Addresses(_) => "ADDRESS ... | any",
            Kind::Choice { words: ["tcp", ..], .. } => "tcp|udp",
            Kind::Choice { .. } => "WORD",
            Kind::Custom { syntax, .. } => syntax,
        }
    }

    /// Here-documents are for texts.
    pub(crate) fn takes_here_document(&self) -> bool {
        matches!(self.kind, Kind::Text(_) | Kind::MaybeText(_) | Kind::Path(_) | Kind::MaybePath(_))
            || matches!(self.name, "rrdcached_address" | "riemann_attributes")
    }

    /// The arguments of each line that reproduces the value; only reads.
    pub(crate) fn show(&self, config: &mut Config) -> Vec<String> {
        let path = |path: &PathBuf| text(&path.to_string_lossy());
        match self.kind {
            Kind::Text(at) => vec![text(at(config))],
            Kind::MaybeText(at) => at(config).iter().map(|value| text(value)).collect(),
            Kind::Path(at) => vec![path(at(config))],
            Kind::MaybePath(at) => at(config).iter().map(path).collect(),
            Kind::Port(at) => vec![at(config).to_string()],
            Kind::Number { at, .. } => vec![at(config).to_string()],
            Kind::Flag(at) => vec![u8::from(*at(config)).to_string()],
            Kind::Toggle(at) | Kind::UnlessOff(at) => vec![on_off(*at(config)).to_owned()],
            Kind::Words { add: false, at } => vec![quote_all(at(config))],
            Kind::Words { add: true, at } => at(config).chunks(8).map(quote_all).collect(),
            Kind::Addresses(at) if at(config).is_empty() => vec!["any".to_owned()],
            Kind::Addresses(at) => vec![at(config).iter().map(IpAddr::to_string).collect::<Vec<_>>().join(" ")],
            Kind::Choice { get, .. } => vec![get(config).to_owned()],
            Kind::Custom { show, .. } => show(config),
        }
    }
}

impl fmt::Debug for Directive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl PartialEq for Directive {
    fn eq(&self, other: &Directive) -> bool {
        self.name == other.name
    }
}

fn put<T>(field: &mut T, value: Option<T>) -> bool {
    value.map(|value| *field = value).is_some()
}

fn quote_all(words: &[String]) -> String {
    words.iter().map(|word| quote(word)).collect::<Vec<_>>().join(" ")
}

fn set_poll_jitter(config: &mut Config, args: &mut Args<'_>) -> Result<(), Fault> {
    let word = args.single()?;
    let expected = "0 to 100 percent (5%) or 0 to 3600 seconds (5s)";
    config.poll_jitter = Jitter::parse(&word.text).ok_or_else(|| args.bad(word, expected))?;
    Ok(())
}

fn set_trusted_hosts(config: &mut Config, args: &mut Args<'_>) -> Result<(), Fault> {
    for word in args.list() {
        let expected = "a host name, an address or a network such as 10.0.0.0/8 or 2001:db8::/32";
        config.trusted_hosts.push(Trust::parse(&word.text).ok_or_else(|| args.bad(word, expected))?);
    }
    Ok(())
}

fn show_trusted_hosts(config: &Config) -> Vec<String> {
    let words: Vec<String> = config.trusted_hosts.iter().map(Trust::to_string).collect();
    words.chunks(8).map(quote_all).collect()
}

/// In C the mere presence of the directive trusts everybody (reference, section 9, row 10).
fn set_all_trusted(config: &mut Config, args: &mut Args<'_>) -> Result<(), Fault> {
    let word = args.single()?;
    config.all_trusted = value::toggle(&word.text).0 || word.text.eq_ignore_ascii_case("true");
    if !config.all_trusted {
        let text = format!("all_trusted {:?} means off here; C gmetad trusted everybody", word.text);
        args.warn(word, text);
    }
    Ok(())
}

/// Nothing for off: C gmetad would take the line as on.
fn show_all_trusted(config: &Config) -> Vec<String> {
    if config.all_trusted { vec!["on".to_owned()] } else { Vec::new() }
}

/// Whether the words are archives; what is in them is checked by whoever makes the files.
fn set_rras(config: &mut Config, args: &mut Args<'_>) -> Result<(), Fault> {
    let words = args.list();
    if words.is_empty() {
        // C makes no file then.
        args.single()?;
    }
    for word in words {
        let fields: Vec<&str> = word.text.split(':').collect();
        let ["RRA", "AVERAGE" | "MIN" | "MAX" | "LAST", xff, steps, rows] = fields[..] else {
            return Err(args.bad(word, "an archive such as RRA:AVERAGE:0.5:1:5856, of AVERAGE, MIN, MAX or LAST"));
        };
        // Digits, or a duration such as 10d; the bounds are those of whoever makes the files.
        let count = |text: &str| {
            let digits = text.strip_suffix(['s', 'm', 'h', 'd', 'w', 'M', 'y']).unwrap_or(text);
            !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) && digits.bytes().any(|b| b != b'0')
        };
        if !xff.trim().parse::<f64>().is_ok_and(|xff| (0.0..1.0).contains(&xff)) {
            return Err(
                args.bad(word, "an archive whose third field is from 0 to less than 1, as in RRA:AVERAGE:0.5:1:5856")
            );
        }
        if !count(steps.trim()) || !count(rows.trim()) {
            return Err(args.bad(word, "an archive whose last two fields are counts, as in RRA:AVERAGE:0.5:1:5856"));
        }
    }
    config.rras = words.iter().map(|word| word.text.clone()).collect();
    Ok(())
}

fn set_daemonize(config: &mut Config, args: &mut Args<'_>) -> Result<(), Fault> {
    let word = args.single()?;
    let (on, clear) = value::toggle(&word.text);
    config.daemonize = Some(if clear { on } else { return Err(args.bad(word, "on or off")) });
    Ok(())
}

fn set_umask(config: &mut Config, args: &mut Args<'_>) -> Result<(), Fault> {
    config.umask = args.ranged(0, 0o7777)? & 0o7077;
    Ok(())
}

fn set_rrdcached(config: &mut Config, args: &mut Args<'_>) -> Result<(), Fault> {
    let word = args.single()?;
    let expected = "HOST, HOST:PORT, [IPV6]:PORT, unix:PATH or an absolute path";
    config.rrdcached_address = Some(RrdcachedAddress::parse(&word.text).ok_or_else(|| args.bad(word, expected))?);
    Ok(())
}

fn set_auto(field: &mut Option<Duration>, args: &mut Args<'_>) -> Result<(), Fault> {
    let word = args.single()?;
    if word.text.eq_ignore_ascii_case("auto") {
        *field = None;
        return Ok(());
    }
    let seconds = value::digits(&word.text).filter(|seconds| *seconds <= 86_400);
    *field = Some(match seconds {
        Some(seconds) => Duration::from_secs(seconds.into()),
        None => return Err(args.bad(word, "auto, or 0 to 86400 seconds")),
    });
    Ok(())
}

fn show_auto(time: Option<Duration>) -> Vec<String> {
    vec![time.map_or_else(|| "auto".to_owned(), |time| time.as_secs().to_string())]
}

fn set_rrd_journal(config: &mut Config, args: &mut Args<'_>) -> Result<(), Fault> {
    let word = args.single()?;
    let seconds = word.text.parse::<f64>().ok().filter(|seconds| *seconds == 0.0 || (0.01..=3600.0).contains(seconds));
    config.rrd_journal_sync = match seconds {
        Some(seconds) => Duration::from_secs_f64(seconds),
        None => return Err(args.bad(word, "0, or 0.01 to 3600 seconds")),
    };
    Ok(())
}

fn show_rrd_journal(config: &Config) -> Vec<String> {
    vec![config.rrd_journal_sync.as_secs_f64().to_string()]
}

fn set_rrd_socket(config: &mut Config, args: &mut Args<'_>) -> Result<(), Fault> {
    let expected = "HOST, HOST:PORT, [IPV6]:PORT, unix:PATH or an absolute path";
    if args.list().is_empty() {
        args.single()?; // says what is missing
    }
    for word in args.list() {
        config.rrd_socket.push(RrdcachedAddress::parse(&word.text).ok_or_else(|| args.bad(word, expected))?);
    }
    Ok(())
}

fn set_carbon_timeout(config: &mut Config, args: &mut Args<'_>) -> Result<(), Fault> {
    config.carbon_timeout = Duration::from_millis(args.ranged(0, 3_600_000)?.into());
    Ok(())
}

fn set_riemann_attributes(config: &mut Config, args: &mut Args<'_>) -> Result<(), Fault> {
    let word = args.single()?;
    let pairs = word.text.split(',').filter(|pair| !pair.is_empty());
    let pairs = pairs.map(|pair| pair.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned())));
    let expected = "NAME=VALUE, separated by commas";
    config.riemann_attributes = pairs.collect::<Option<_>>().ok_or_else(|| args.bad(word, expected))?;
    Ok(())
}

fn show_riemann_attributes(config: &Config) -> Vec<String> {
    let pairs: Vec<String> = config.riemann_attributes.iter().map(|(name, value)| format!("{name}={value}")).collect();
    if pairs.is_empty() { Vec::new() } else { vec![text(&pairs.join(","))] }
}

/// Levenshtein's distance.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let changed = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}
