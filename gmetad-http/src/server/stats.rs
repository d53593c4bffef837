//! What a server counts.

use std::io;
use std::time::{Duration, Instant};

use gmetad_core::stats::{Counter, Figure, Report, Timed};
use parking_lot::Mutex;

/// Failures of the system are logged at most this often.
const QUIET: Duration = Duration::from_secs(60);

/// Counters of a [`crate::Server`], for [`gmetad_core::stats::Reports`].
#[derive(Debug, Default)]
pub struct ServerStats {
    /// Connections accepted.
    pub accepted: Counter,
    /// Answers sent, and the time from the connection to there.
    pub answered: Timed,
    /// Connections that got 503 because all places were taken.
    pub refused: Counter,
    /// Connections that were cut off to make room, because they dawdled.
    pub crowded_out: Counter,
    /// Connections that passed a deadline.
    pub timed_out: Counter,
    /// Requests that were none, or too large.
    pub malformed: Counter,
    /// Requests without the password that is needed.
    pub unauthorised: Counter,
    /// TLS that did not come about.
    pub handshakes_failed: Counter,
    /// Failures of the system: no descriptors, no threads.
    pub failures: Counter,
    logged: Mutex<Option<Instant>>,
}

impl ServerStats {
    /// The system refused something.
    pub(super) fn failed(&self, error: &io::Error) {
        self.failures.add(1);
        let mut logged = self.logged.lock();
        if logged.is_none_or(|then| then.elapsed() > QUIET) {
            *logged = Some(Instant::now());
            drop(logged);
            log::warn!("HTTP connections cannot be served: {error}: raise the limits on open files and tasks");
        }
    }
}

impl Report for ServerStats {
    fn name(&self) -> &str {
        "http"
    }

    fn figures(&self) -> Vec<Figure> {
        let counters = [
            ("connections", &self.accepted),
            ("refused", &self.refused),
            ("crowded_out", &self.crowded_out),
            ("timed_out", &self.timed_out),
            ("malformed", &self.malformed),
            ("unauthorised", &self.unauthorised),
            ("handshakes_failed", &self.handshakes_failed),
            ("failures", &self.failures),
        ];
        let answers = Figure { name: "answers", gauge: false, value: self.answered.num() };
        let time = Figure { name: "answer_milliseconds", gauge: false, value: self.answered.total_millis() };
        let counters = counters.map(|(name, counter)| Figure { name, gauge: false, value: counter.get() });
        [answers, time].into_iter().chain(counters).collect()
    }
}
