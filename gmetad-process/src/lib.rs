//! What a daemon does and a library must not: command line, fork, user, pid file, log, signals, other programs, mail.
//!
//! The parts are independent of each other and of what the daemon does; a `main` strings them together. Order matters,
//! because a fork takes only the calling thread along and a user change cannot be undone:
//!
//! ```no_run
//! use gmetad_process::{cli, daemon, limits, logger, notify, pidfile, signals, user};
//!
//! # fn read_conf() -> (u32, String) { (0o022, "ganglia".into()) }
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let cli::Command::Run(options) = cli::parse(std::env::args_os().skip(1))? else { return Ok(()) };
//!     let (umask, username) = read_conf();
//!     let pid_path = options.pid_file.as_deref().map(pidfile::PidPath::new).transpose()?; // before the chdir
//!
//!     let ready = daemon::daemonize(umask)?; // before any thread
//!     let log = logger::Setup::new("gmetad", log::LevelFilter::Info).syslog().install()?;
//!     let pid_file = pid_path.map(pidfile::PidPath::create).transpose()?; // still as root
//!     limits::raise_descriptors(65_536)?;
//!     user::switch_user(&username)?;
//!     let mut events = signals::Signals::new()?;
//!     // … bind the ports, start the threads …
//!     ready.ok(); // only now does the shell get its prompt back
//!     notify::ready()?;
//!     for event in &mut events {
//!         match event {
//!             signals::Event::Reload => log.reopen()?,
//!             signals::Event::Report => log::info!("still here"),
//!             signals::Event::Stop => break,
//!         }
//!     }
//!     notify::stopping()?;
//!     drop(pid_file); // removes it
//!     Ok(())
//! }
//! ```
//!
//! A real `main` gives every error before [`daemon::Ready::ok`] to [`daemon::Ready::fail`]; `examples/daemon.rs` does.
//!
//! Written for Linux. `unsafe` is allowed in the private module `sys` alone.

#[forbid(unsafe_code)]
pub mod child;
#[forbid(unsafe_code)]
pub mod cli;
#[forbid(unsafe_code)]
pub mod clock;
#[forbid(unsafe_code)]
pub mod daemon;
#[forbid(unsafe_code)]
pub mod limits;
#[forbid(unsafe_code)]
pub mod logger;
#[forbid(unsafe_code)]
pub mod mail;
#[forbid(unsafe_code)]
pub mod notify;
#[forbid(unsafe_code)]
pub mod pidfile;
#[forbid(unsafe_code)]
pub mod process;
#[forbid(unsafe_code)]
pub mod run;
#[forbid(unsafe_code)]
pub mod signals;
mod sys;
#[forbid(unsafe_code)]
pub mod time;
#[forbid(unsafe_code)]
pub mod user;
