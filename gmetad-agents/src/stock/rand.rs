//! Random numbers: the tutorial agent of the training slides, to see graphs and statuses move.

use std::hash::{BuildHasher, RandomState};

use gmetad_core::agent::{AgentError, Context, Measurement, Message};
use gmetad_core::message;
use serde::Deserialize;
use toml::Table;

use super::plan::{BLUE, Limits, MINUTE, Plan, Probe, area, graph, keys};
use crate::kind::Kind;
use crate::spec::Installed;

pub(super) const KIND: Kind =
    Kind { name: "rand", about: "Random numbers", section: "Usage", build, default: Vec::new };

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Keys {
    min: f64,
    max: f64,
}

impl Default for Keys {
    fn default() -> Self {
        Self { min: 0.0, max: 100.0 }
    }
}

struct Rand(Keys);

fn build(name: &str, mut own: Table) -> Result<Installed, Message> {
    let limits = Limits::take(&mut own)?;
    let keys: Keys = keys(own)?;
    if !(keys.min.is_finite() && keys.max.is_finite() && keys.min < keys.max) {
        return Err(message!("min = {}, max = {}: write two numbers, min below max", keys.min, keys.max));
    }
    Ok(Plan::new(name, &KIND, MINUTE, Rand(keys))
        .signed("value", message!("number"), "")
        .limited("value", "", "", 1, limits)
        .graph(graph("rand.png", message!("Random numbers"), "", vec![area("value", BLUE)]))
        .build())
}

impl Probe for Rand {
    fn measure(&mut self, _context: &Context) -> Result<Measurement, AgentError> {
        let Keys { min, max } = self.0;
        Ok(Measurement::new().number("value", min + (max - min) * random()))
    }
}

/// From 0 up to 1. The seed of a hash table is the only chance std has; it is as good as one needs here.
pub(super) fn random() -> f64 {
    (random_bits() >> 11) as f64 / (1_u64 << 53) as f64
}

/// Any number, not to be guessed.
pub(super) fn random_bits() -> u64 {
    RandomState::new().hash_one(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_differ_and_stay_between() {
        let mut agent = build("rand", "min = -5\nmax = 5".parse().unwrap()).unwrap().agent;
        let context = super::super::context();
        let mut numbers: Vec<_> =
            (0..1000).map(|_| agent.measure(&context).unwrap().get_number("value").unwrap()).collect();
        numbers.sort_by(f64::total_cmp);
        assert!(numbers[0] >= -5.0 && numbers[0] < -4.0 && numbers[999] < 5.0 && numbers[999] > 4.0);
        numbers.dedup();
        assert_eq!(numbers.len(), 1000);
        let error = build("rand", "min = 5\nmax = 5".parse().unwrap()).unwrap_err().to_string();
        assert!(error.contains("min below max"), "{error}");
    }
}
