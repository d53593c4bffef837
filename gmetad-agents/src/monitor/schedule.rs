//! When an agent is due: on a fixed grid, whatever a measurement takes.

use std::time::{Duration, Instant};

/// Shortest period: below it the schedule would be all there is.
const SHORTEST: Duration = Duration::from_millis(10);
/// Longest period, so that times cannot overflow.
const LONGEST: Duration = Duration::from_secs(366 * 86_400);

/// The moments at which an agent is due.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grid {
    origin: Instant,
    period: Duration,
}

impl Grid {
    /// From a first moment on.
    pub(super) fn new(origin: Instant, period: Duration) -> Self {
        Self { origin, period: bounded(period) }
    }

    /// The first moment after `now`.
    pub(super) fn after(&self, now: Instant) -> Instant {
        let Some(passed) = now.checked_duration_since(self.origin) else { return self.origin };
        self.origin + self.period * (self.steps(passed) + 1)
    }

    /// Moments from `due`, which is one of them, to `now`, with both.
    pub(super) fn count(&self, due: Instant, now: Instant) -> u64 {
        now.checked_duration_since(due).map_or(0, |passed| u64::from(self.steps(passed)) + 1)
    }

    fn steps(&self, passed: Duration) -> u32 {
        // 2^32 periods of the shortest length are more than a year.
        u32::try_from(passed.as_nanos() / self.period.as_nanos()).unwrap_or(u32::MAX - 1)
    }
}

/// A period as it is scheduled.
pub(super) fn bounded(period: Duration) -> Duration {
    period.clamp(SHORTEST, LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_do_not_drift() {
        let start = Instant::now() + Duration::from_secs(10);
        let grid = Grid::new(start, Duration::from_secs(60));
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        assert_eq!(grid.after(start - Duration::from_secs(1)), start);
        assert_eq!([grid.after(start), grid.after(at(59)), grid.after(at(60))], [at(60), at(60), at(120)]);
        assert_eq!(grid.after(at(6_000_001)), at(6_000_060), "a long sleep is not caught up with");
        assert_eq!([grid.count(at(60), at(59)), grid.count(at(60), at(60)), grid.count(at(60), at(185))], [0, 1, 3]);
    }

    #[test]
    fn no_period_overflows() {
        let now = Instant::now();
        for period in [Duration::ZERO, Duration::MAX] {
            let grid = Grid::new(now, period);
            assert!(grid.after(now + Duration::from_secs(1)) > now);
        }
    }
}
