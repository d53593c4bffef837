//! Files whose last value is of a time to come: the clock was ahead, and they would take nothing until it is there again.

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use gmetad_core::message;
use gmetad_rrd::{RrdError, Schema, UpdateError};
use log::Level;

use super::{Datasource, Entry, Keeper, aside, shown};
use crate::said::Said;

/// Seconds, and periods, within which a file takes values again by itself.
const SOON: i64 = 300;
const PERIODS: i64 = 10;
/// How long a clock may be wrong: at a boot it may be behind until the network is there, and then all files are right.
const GRACE: Duration = if cfg!(test) { Duration::ZERO } else { Duration::from_secs(180) };

/// Since when the files of an agent are ahead.
#[derive(Debug, Default)]
pub(super) struct Ahead(HashMap<String, Instant>);

impl Ahead {
    /// Whether they are for longer than `grace`.
    fn too_long(&mut self, agent: &str, now: Instant, grace: Duration) -> bool {
        let since = *self.0.entry(agent.to_owned()).or_insert(now);
        now.saturating_duration_since(since) >= grace
    }

    pub(super) fn leave(&mut self, agent: &str) {
        self.0.remove(agent);
    }
}

/// Whether a file refused a value since its last one is of a time to come, which is not soon.
fn is_ahead(error: &RrdError, schema: &Schema) -> bool {
    let step = i64::try_from(schema.step).unwrap_or(i64::MAX);
    match error {
        RrdError::Refused { source: UpdateError::Past { time, last }, .. } => {
            last.saturating_sub(*time) > step.saturating_mul(PERIODS).max(SOON)
        }
        _ => false,
    }
}

impl Keeper {
    /// Sets files aside that refused a value (one result an entry) and are ahead for too long; whether to write again.
    pub(super) fn catch_up(
        &mut self,
        agent: &str,
        entries: &[Entry],
        schemas: &[(Datasource, Schema)],
        errors: &[Option<RrdError>],
    ) -> bool {
        let refused = entries.iter().zip(errors).filter_map(|(entry, error)| Some((entry, error.as_ref()?)));
        let ahead: Vec<&Entry> = refused
            .filter(|(entry, error)| is_ahead(error, &schemas[entry.schema].1))
            .map(|(entry, _)| entry)
            .collect();
        if ahead.is_empty() {
            self.ahead.leave(agent);
            return false;
        }
        if !self.ahead.too_long(agent, Instant::now(), GRACE) {
            return false;
        }
        self.ahead.leave(agent);
        let mut gone: Vec<PathBuf> = Vec::new();
        for entry in ahead {
            let aside = aside(&entry.path);
            match fs::rename(&entry.path, &aside) {
                Ok(()) => {
                    self.takes(agent, &schemas[entry.schema].1);
                    gone.push(aside);
                }
                Err(error) => {
                    let text = message!("{} cannot be set aside: {}", shown(&entry.path), error.said());
                    self.failed(&error.said(), agent, text);
                }
            }
        }
        let Some(first) = gone.first() else { return false };
        let text = message!(
            "agent {}: the clock was ahead; {} {RRD file begins|RRD files begin} anew, what was before is kept, as {}",
            agent,
            gone.len(),
            shown(first)
        );
        self.say(Level::Warn, &text);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_wrong_for_a_moment_costs_nothing() {
        let mut ahead = Ahead::default();
        let begin = Instant::now();
        let at = |s: u64| begin + Duration::from_secs(s);
        let grace = Duration::from_secs(180);
        assert_eq!([0, 179, 180].map(|s| ahead.too_long("a", at(s), grace)), [false, false, true]);
        ahead.leave("a");
        assert!(!ahead.too_long("a", at(200), grace), "it is counted anew");
    }

    #[test]
    fn what_is_soon_is_waited_for() {
        let refused = |last: i64| RrdError::Refused {
            path: "a".into(),
            refused: 1,
            source: UpdateError::Past { time: 1_000_000, last: 1_000_000 + last },
        };
        let schema = |step: u64| Schema { step, ds: Vec::new(), rras: Vec::new() };
        let cases = [(0, 1), (300, 1), (301, 1), (600, 60), (601, 60), (10 * 86_400, 86_400)];
        let are = cases.map(|(last, step)| is_ahead(&refused(last), &schema(step)));
        assert_eq!(are, [false, false, true, false, true, false]);
    }
}
