//! gmetad.conf: from text to a [`Config`], in two stages.
//!
//! 1. *As written*: [`RawConfig`] is the file, includes followed, as an ordered list of directives with their
//!    words and sections with their lines; every word knows its [`Place`].
//! 2. *As meant*: [`RawConfig::resolve`] turns that into a [`Config`] of plain, checked, typed fields.
//!
//! The table behind [`directives`] is the only place a directive exists: the parser, [`help_list`],
//! [`sample_conf`], [`man_page`] and [`Config::describe`] all read it.
//!
//! Everything outside the text (files, environment, host name) comes through a [`Loader`], so this module does no
//! I/O of its own. All errors of a file are reported together, each with file, line, column and a remedy; what C
//! gmetad would have understood differently from what was probably meant is a [`Warning`].
//!
//! # Where C gmetad reads the same file differently
//!
//! Accepted here, refused there, a crash or nonsense: more than 15 arguments, lines over 4095 bytes, `${A}${B}`, a byte
//! order mark, `gridname a#b`, data sources only in included files, IPv6, `rrdcached_address` with a host name, a socket
//! or no port, sections.
//!
//! Refused here, accepted there: a number that is no number (0 in C), ports outside their range, a data_source without
//! hosts, control characters in values, `trusted_hosts` with a malformed network.
//!
//! Understood differently: `all_trusted off` is off. A quote that is not closed does not take the end of the line into
//! the value. A last line that ends in a continuation counts. An interval of `-5` is the default, not eternity.
//! `Include` with wildcards reads in the order of names and leaves hidden files out; a directory is a warning. An empty
//! word `""` ends a list; C then adds one empty word to a data_source.
//!
//! ```
//! use gmetad_core::conf::{Config, MemoryLoader};
//!
//! let text = r#"
//!     gridname "My Grid"
//!     data_source "web" 30 web1.example.com [2001:db8::7]:8650
//! "#;
//! let config = Config::parse_str(text, "gmetad.conf", &MemoryLoader::default())?;
//! assert_eq!(config.sources[0].interval.as_secs(), 30);
//! assert_eq!(config.sources[0].addresses[1].to_string(), "[2001:db8::7]:8650");
//! # Ok::<(), gmetad_core::conf::ConfError>(())
//! ```

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::panic))] // the build without tests still checks

mod config;
mod error;
mod glob;
mod lexer;
mod loader;
mod manual;
mod raw;
mod resolve;
mod section;
mod source;
mod table;
mod value;

#[cfg(test)]
mod tests;

pub use config::Config;
pub use error::{Cause, ConfError, Fault, Place, Warning};
pub use lexer::{MAX_FILE_BYTES, MAX_LINE_BYTES, Word, quote};
pub use loader::{Loader, MemoryLoader, SystemLoader};
pub use manual::{help_list, man_page, sample_conf};
pub use raw::{MAX_FILES, MAX_INCLUDE_DEPTH, RawConfig, RawDirective};
pub use section::{Entry, Section};
pub use source::{Address, DEFAULT_GMOND_PORT, DEFAULT_INTERVAL, SourceConfig};
pub use table::{Directive, Group, Origin, directives};
pub use value::{
    DEFAULT_RRDCACHED_PORT, Jitter, LogLevel, Protocol, RrdBackend, RrdcachedAddress, SocketUpdates, Trust,
};
