//! Bounding repeated messages: of equal ones, the first [`SHOWN`] of each [`WINDOW`] are shown, the rest counted.
//!
//! Pure: the time comes from outside. The summary of a window comes with the first message after its end, or with
//! [`Repeats::drain`].

use std::time::{Duration, Instant};

use log::Level;

/// How many equal messages are shown in one window.
pub(crate) const SHOWN: u64 = 10;
/// The window, from the first of the equal messages.
pub(crate) const WINDOW: Duration = Duration::from_secs(10);
/// How many different messages are remembered, so that memory is bounded; the oldest makes room.
pub(crate) const REMEMBERED: usize = 64;

#[derive(Debug, Default)]
pub(crate) struct Repeats(Vec<Seen>); // oldest window first

#[derive(Debug)]
struct Seen {
    level: Level,
    text: String,
    since: Instant,
    count: u64,
}

/// "last message repeated …" for a message of this level.
pub(crate) type Summary = (Level, String);

impl Repeats {
    /// Whether to show this message, and the summaries that are due before it.
    pub(crate) fn admit(&mut self, now: Instant, level: Level, text: &str) -> (bool, Vec<Summary>) {
        let expired = self.0.iter().take_while(|seen| now.saturating_duration_since(seen.since) >= WINDOW).count();
        let known = self.0[expired..].iter().position(|seen| seen.level == level && seen.text == text);
        let full = known.is_none() && self.0.len() - expired == REMEMBERED;
        let summaries = self.0.drain(..expired + usize::from(full)).filter_map(summary).collect();
        let show = match known {
            Some(index) => {
                self.0[index].count += 1;
                self.0[index].count <= SHOWN
            }
            None => {
                self.0.push(Seen { level, text: text.to_owned(), since: now, count: 1 });
                true
            }
        };
        (show, summaries)
    }

    /// Forgets everything; returns all summaries.
    pub(crate) fn drain(&mut self) -> Vec<Summary> {
        self.0.drain(..).filter_map(summary).collect()
    }
}

fn summary(seen: Seen) -> Option<Summary> {
    let hidden = seen.count.checked_sub(SHOWN).filter(|&hidden| hidden > 0)?;
    Some((seen.level, format!("last message repeated {hidden} times: {}", seen.text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_eleventh_is_counted_and_summarised() {
        let start = Instant::now();
        let mut repeats = Repeats::default();
        for n in 0..25 {
            let (show, summaries) = repeats.admit(start + Duration::from_millis(n), Level::Info, "a");
            assert_eq!((show, summaries.len()), (n < 10, 0));
        }
        assert!(repeats.admit(start, Level::Info, "b").0, "other texts are not held back");
        assert!(repeats.admit(start, Level::Error, "a").0, "other levels neither");
        let (show, summaries) = repeats.admit(start + WINDOW, Level::Info, "a");
        assert!(show, "a new window");
        assert_eq!(summaries, [(Level::Info, "last message repeated 15 times: a".to_owned())]);
        assert!(repeats.drain().is_empty());
    }

    #[test]
    fn memory_is_bounded_and_nothing_is_lost_silently() {
        let now = Instant::now();
        let mut repeats = Repeats::default();
        (0..12).for_each(|_| drop(repeats.admit(now, Level::Info, "first")));
        let told: Vec<_> =
            (0..1000).flat_map(|n| repeats.admit(now, Level::Info, &n.to_string()).1).map(|(_, text)| text).collect();
        assert_eq!(told, ["last message repeated 2 times: first"]);
        assert_eq!(repeats.0.len(), REMEMBERED);
    }

    #[test]
    fn drain_tells_what_is_hidden() {
        let mut repeats = Repeats::default();
        (0..11).for_each(|_| drop(repeats.admit(Instant::now(), Level::Warn, "x")));
        assert_eq!(repeats.drain(), [(Level::Warn, "last message repeated 1 times: x".to_owned())]);
    }
}
