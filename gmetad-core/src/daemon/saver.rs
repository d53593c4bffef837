//! The thread that saves the tree, now and then and at the stop.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::Shared;
use crate::limits;
use crate::state::{Deadline, Saved, Saver, State, file_name};

pub(super) fn start(shared: &Arc<Shared>, state: Arc<State>, interval: Duration) -> io::Result<JoinHandle<()>> {
    let shared = Arc::clone(shared);
    thread::Builder::new().name("state".to_owned()).spawn(move || run(&shared, &state, interval))
}

fn run(shared: &Shared, state: &State, interval: Duration) {
    let mut saver = Saver::default();
    let deadline = Deadline::new(&shared.stop, limits::STATE_STOP);
    loop {
        let stopped = shared.stop.wait(interval);
        saver.save(state, &sources(shared), &deadline);
        if stopped {
            return;
        }
    }
}

/// All sources, with their last polls; a few pointers each, so that nothing is held while files are written.
fn sources(shared: &Shared) -> Vec<Saved> {
    let sources = shared.sources.lock().clone();
    let mut names: HashMap<String, usize> = HashMap::new();
    sources
        .iter()
        .map(|source| {
            let state = source.state();
            let nth = names.entry(state.name.clone()).or_default();
            let file = file_name(&state.name, *nth);
            *nth += 1;
            Saved { file, name: state.name, alive: state.alive == Some(true), snapshot: source.last() }
        })
        .collect()
}
