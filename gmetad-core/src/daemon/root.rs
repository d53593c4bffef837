//! The thread that makes the root summary for the plugins and watches the sources.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::Shared;
use crate::plugin::{Subject, Transaction};

/// Most time between two root summaries: root RRDs have a step of 15 s.
const LONGEST: Duration = Duration::from_secs(15);
/// Intervals after which a poll that has not ended is logged.
const OVERDUE: u32 = 4;

pub(super) fn start(shared: &Arc<Shared>) -> io::Result<JoinHandle<()>> {
    let shared = Arc::clone(shared);
    thread::Builder::new().name("root".to_owned()).spawn(move || run(&shared))
}

fn run(shared: &Shared) {
    // Sources that were named, and how many good polls they had by then.
    let mut overdue: HashMap<String, u64> = HashMap::new();
    loop {
        // Half the shortest interval, as the C daemon means to have it.
        let states: Vec<_> = shared.sources.lock().iter().map(|s| (s.state(), s.running_since())).collect();
        let shortest = states.iter().map(|(state, _)| state.interval).min().unwrap_or(LONGEST);
        if shared.stop.wait((shortest / 2).clamp(Duration::from_secs(1), LONGEST)) {
            return;
        }
        let view = shared.store.view();
        // What an earlier process saved is no point of now; without it the sum would have a dip. It is a matter of one
        // poll: a source that cannot be polled leaves the sum.
        if view.items().next().is_some() && !view.counts_saved() {
            let began = Instant::now();
            let summary = Arc::clone(view.summary());
            shared.stats.root_summaries.done(began.elapsed());
            (shared.notify)(Transaction {
                subject: Subject::Root(summary),
                source: "".into(),
                interval: LONGEST,
                time: crate::now(),
                alive: true,
                changes: Vec::new(),
            });
        }
        for (state, since) in &states {
            let said = overdue.get(&state.name);
            let late = since.is_some_and(|since| since.elapsed() > state.interval * OVERDUE);
            // Once, until it brings something again.
            if late && said.is_none_or(|polls| *polls < state.polls) {
                log::warn!("data_thread() for [{}] has not finished its poll for {OVERDUE} intervals", state.name);
                overdue.insert(state.name.clone(), state.polls);
            }
        }
        overdue.retain(|name, _| states.iter().any(|(state, _)| state.name == *name));
    }
}
