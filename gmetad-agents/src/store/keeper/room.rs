//! How much room the RRD files of one agent may take.

use std::collections::HashSet;
use std::path::Path;
use std::time::{Duration, Instant};

use gmetad_core::agent::Message;
use gmetad_core::message;
use gmetad_rrd::Schema;
use gmetad_rrd::format::Layout;
use log::Level;

use super::super::files;
use super::{Keeper, shown};
use crate::said::Said;

/// RRD files of one agent, at most.
pub(in super::super) const MOST_FILES: usize = 2_000;
/// Bytes of them, at most: those of 2,000 with the standard archives and a measurement a minute fit in. What is more is not made;
/// what is there goes on.
pub(in super::super) const MOST_BYTES: u64 = 256 << 20;
/// Longest name of an instance or a field that gets a file: its path can be read back, and shown.
const LONGEST_NAME: usize = 80;
/// How long an instance was not measured whose files may go, where an agent has too many.
const FORGOTTEN: Duration = Duration::from_secs(30 * 86_400);
/// How often such are looked for.
const LOOK_EVERY: Duration = Duration::from_secs(3600);

/// What is known of the room that an agent takes.
#[derive(Debug, Default)]
pub(super) struct Room {
    /// Bytes of its files, also of those set aside; `None`: not counted yet.
    bytes: Option<u64>,
    /// When it was looked for files that could go.
    looked: Option<Instant>,
    /// What was said.
    told: HashSet<Bound>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Bound {
    Name,
    Files,
    Bytes,
}

impl Keeper {
    /// Whether a field gets a file. When it is first met, a file that there is is compared with what is wanted.
    pub(super) fn is_kept(
        &mut self,
        agent: &str,
        instance: Option<&str>,
        field: &str,
        path: &Path,
        wanted: &Schema,
    ) -> bool {
        if field.len() > LONGEST_NAME || instance.is_some_and(|name| name.len() > LONGEST_NAME) {
            let text = message!("agent {}: what has a name of over {} bytes gets no RRD file", agent, LONGEST_NAME);
            self.say_once(agent, Bound::Name, &text);
            return false;
        }
        let key = (instance.map(str::to_owned), field.to_owned());
        let known = self.shared.known.lock().get(agent).and_then(|known| known.get(&key).copied());
        match known {
            Some(true) => return true,
            Some(false) => self.compare(agent, path, wanted),
            None => {
                if let Some(bound) = self.bound(agent, wanted)
                    && (!self.make_room(agent) || self.bound(agent, wanted).is_some())
                {
                    let text = match bound {
                        Bound::Bytes => message!(
                            "agent {}: its RRD files have {} MiB: others are not kept; give it shorter archives or a longer period",
                            agent,
                            MOST_BYTES >> 20
                        ),
                        _ => message!("agent {} has {} RRD files: others are not kept", agent, MOST_FILES),
                    };
                    self.say_once(agent, bound, &text);
                    return false;
                }
                self.takes(agent, wanted);
            }
        }
        self.shared.known.lock().entry(agent.to_owned()).or_default().insert(key, true);
        true
    }

    /// A file of that schema is made.
    pub(super) fn takes(&mut self, agent: &str, wanted: &Schema) {
        if let Some(bytes) = self.rooms.get_mut(agent).and_then(|room| room.bytes.as_mut()) {
            *bytes = bytes.saturating_add(size(wanted));
        }
    }

    fn room(&mut self, agent: &str) -> &mut Room {
        self.rooms.entry(agent.to_owned()).or_default()
    }

    fn say_once(&mut self, agent: &str, bound: Bound, text: &Message) {
        if self.room(agent).told.insert(bound) {
            self.say(Level::Warn, text);
        }
    }

    /// What keeps another file from being made.
    fn bound(&mut self, agent: &str, wanted: &Schema) -> Option<Bound> {
        let count = self.shared.known.lock().get(agent).map_or(0, |known| known.len());
        if count >= MOST_FILES {
            return Some(Bound::Files);
        }
        let root = self.shared.root.clone();
        let bytes = *self.room(agent).bytes.get_or_insert_with(|| files::bytes(&root, agent));
        (bytes.saturating_add(size(wanted)) > MOST_BYTES).then_some(Bound::Bytes)
    }

    /// Removes what an agent has not measured for long; whether there was something, or may have been.
    fn make_room(&mut self, agent: &str) -> bool {
        let now = Instant::now();
        let room = self.room(agent);
        if room.looked.is_some_and(|looked| now.duration_since(looked) < LOOK_EVERY) {
            return false;
        }
        room.looked = Some(now);
        let before = files::bytes(&self.shared.root, agent);
        let removed = files::forget(&self.shared.root, agent, FORGOTTEN).unwrap_or_else(|error| {
            let text = message!("data of agent {} cannot be removed: {}", agent, error.said());
            self.failed(&error.said(), agent, text);
            Vec::new()
        });
        for (_, place) in &removed {
            let place = shown(place);
            let text = message!("{} is removed: not measured for long, and agent {} has too many files", place, agent);
            self.say(Level::Warn, &text);
        }
        // What is to be made in this turn is counted, and not there yet.
        let freed = before.saturating_sub(files::bytes(&self.shared.root, agent));
        let room = self.room(agent);
        room.bytes = room.bytes.map(|bytes| bytes.saturating_sub(freed));
        let mut all = self.shared.known.lock();
        let known = all.entry(agent.to_owned()).or_default();
        known.retain(|(instance, _), _| !removed.iter().any(|(gone, _)| instance.as_ref() == Some(gone)));
        true
    }
}

/// Bytes of a file.
fn size(schema: &Schema) -> u64 {
    Layout::new(schema.clone()).map_or(0, |layout| layout.file_size())
}
