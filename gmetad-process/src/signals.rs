//! Signals as events, read by an ordinary thread.
//!
//! HUP means reload, TERM and INT mean stop, USR1 means report. The first TERM or INT arms the second, which ends the
//! process at once with status 1, whatever the stop is waiting for. PIPE stays ignored, as Rust's runtime has set it.
//!
//! ```no_run
//! use gmetad_process::signals::{Event, Signals};
//!
//! # fn main() -> std::io::Result<()> {
//! for event in Signals::new()? {
//!     match event {
//!         Event::Reload => log::info!("reading the configuration again"),
//!         Event::Report => log::info!("all is well"),
//!         Event::Stop => break,
//!     }
//! }
//! # Ok(()) }
//! ```

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread::{Builder, JoinHandle};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook::iterator::{Handle, Signals as Pending};

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// HUP: read the configuration again, reopen the log.
    Reload,
    /// TERM or INT: end in good order.
    Stop,
    /// USR1: say how things are.
    Report,
}

/// The signals of this process, as a blocking iterator of [`Event`]s. It ends when a [`Stopper`] says so.
///
/// To be made after the fork and before other threads do what a signal may interrupt; signals between two calls of `next`
/// are kept (equal ones are counted once).
#[derive(Debug)]
pub struct Signals {
    pending: Pending,
}

impl Signals {
    /// Takes the signals over. From here on TERM does not end the process by itself.
    pub fn new() -> io::Result<Self> {
        let stopping = Arc::new(AtomicBool::new(false));
        for signal in [SIGTERM, SIGINT] {
            // In this order: the first signal finds the flag unset and sets it.
            signal_hook::flag::register_conditional_shutdown(signal, 1, Arc::clone(&stopping))?;
            signal_hook::flag::register(signal, Arc::clone(&stopping))?;
        }
        Ok(Signals { pending: Pending::new([SIGHUP, SIGTERM, SIGINT, SIGUSR1])? })
    }

    /// Ends the iteration from elsewhere.
    pub fn stopper(&self) -> Stopper {
        Stopper(self.pending.handle())
    }

    /// Calls `handler` for each event, in a thread of its own, until a [`Stopper`] ends it.
    pub fn spawn(self, mut handler: impl FnMut(Event) + Send + 'static) -> io::Result<JoinHandle<()>> {
        Builder::new().name("signals".into()).spawn(move || self.for_each(&mut handler))
    }
}

impl Iterator for Signals {
    type Item = Event;

    fn next(&mut self) -> Option<Event> {
        Some(match self.pending.forever().next()? {
            SIGHUP => Event::Reload,
            SIGUSR1 => Event::Report,
            _ => Event::Stop,
        })
    }
}

/// Ends the iteration of [`Signals`].
#[derive(Debug, Clone)]
pub struct Stopper(Handle);

impl Stopper {
    /// `next` returns `None` from now on.
    pub fn stop(&self) {
        self.0.close();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::mpsc::channel;

    use signal_hook::low_level::raise;

    use super::*;

    #[test]
    fn events_in_order_and_stopper() {
        let signals = Signals::new().unwrap();
        let stopper = signals.stopper();
        let (sender, events) = channel();
        let thread = signals.spawn(move |event| sender.send(event).unwrap()).unwrap();
        for (signal, event) in [(SIGHUP, Event::Reload), (SIGUSR1, Event::Report), (SIGTERM, Event::Stop)] {
            raise(signal).unwrap();
            assert_eq!(events.recv().unwrap(), event);
        }
        stopper.stop();
        thread.join().unwrap();
    }
}
