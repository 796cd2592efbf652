//! When a container that has ended is started again (the kubelet's doBackOff over client-go's backoff.go).

use std::time::Duration;

use super::{spec::Backoff, time::Time};

/// The back-off of one container.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Series {
    /// The delay after the next exit and when the last restart was decided; `None` before the first restart.
    last: Option<(Duration, Time)>,
}

impl Series {
    /// How long after its end a container that ended at `finished` waits.
    pub(super) fn delay(&self, curve: &Backoff, finished: Time) -> Duration {
        self.current(curve, finished).unwrap_or_default()
    }

    /// Takes note that the restart after the end at `finished` takes place at `now`.
    pub(super) fn restarted(&mut self, curve: &Backoff, finished: Time, now: Time) {
        let next = match self.current(curve, finished) {
            Some(delay) => delay.saturating_mul(2).min(curve.max),
            None => curve.initial.min(curve.max),
        };
        self.last = Some((next, now));
    }

    fn current(&self, curve: &Backoff, finished: Time) -> Option<Duration> {
        self.last.filter(|(_, decided)| finished.since(*decided) <= curve.reset).map(|(delay, _)| delay)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Series;
    use crate::lifecycle::{spec::Backoff, time::Time};

    /// Delays in seconds that a container sees whose runs last that many seconds.
    fn delays(curve: &Backoff, runs: &[u64]) -> Vec<u64> {
        let (mut series, mut now, mut seen) = (Series::default(), Time::default(), Vec::new());
        for run in runs {
            let finished = now + Duration::from_secs(*run);
            let delay = series.delay(curve, finished);
            now = finished + delay;
            series.restarted(curve, finished, now);
            seen.push(delay.as_secs());
        }
        seen
    }

    #[test]
    fn i8_the_first_restart_is_immediate_and_the_delay_doubles_from_10_to_300_seconds() {
        assert_eq!(delays(&Backoff::default(), &[1; 10]), [0, 10, 20, 40, 80, 160, 300, 300, 300, 300]);
    }

    #[test]
    fn i8_a_run_of_more_than_600_seconds_starts_the_series_over() {
        assert_eq!(delays(&Backoff::default(), &[1, 1, 1, 600, 1, 601, 1, 1]), [0, 10, 20, 40, 80, 0, 10, 20]);
    }

    #[test]
    fn i9_a_maximum_below_the_initial_delay_lowers_it() {
        let curve = Backoff { max: Duration::from_secs(4), ..Backoff::default() };
        assert_eq!(delays(&curve, &[1; 4]), [0, 4, 4, 4]);
    }

    #[test]
    fn i9_another_curve_is_followed_as_exactly() {
        let secs = Duration::from_secs;
        let curve = Backoff { initial: secs(1), max: secs(60), reset: secs(5) };
        assert_eq!(delays(&curve, &[0, 0, 0, 0, 0, 0, 0, 0, 6, 0]), [0, 1, 2, 4, 8, 16, 32, 60, 0, 1]);
    }
}
