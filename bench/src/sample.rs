//! Measured durations and what is said of them.

use std::time::Duration;

/// Durations of one phase of one runtime class, in the order of the rounds.
#[derive(Debug, Clone, Default)]
pub struct Samples(Vec<Duration>);

impl Samples {
    /// Adds one.
    pub fn push(&mut self, sample: Duration) {
        self.0.push(sample);
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The sample below which `percent` of all lie (nearest rank); `None` without samples.
    pub fn percentile(&self, percent: u32) -> Option<Duration> {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let rank = (sorted.len() * percent.min(100) as usize).div_ceil(100);
        sorted.get(rank.saturating_sub(1)).copied()
    }

    /// Median of the ratios to `other`, round by round: a slow moment of the machine hits both sides of its ratio.
    pub fn ratio_to(&self, other: &Self) -> Option<f64> {
        let mut ratios: Vec<f64> =
            self.0.iter().zip(&other.0).map(|(own, other)| own.as_secs_f64() / other.as_secs_f64()).collect();
        ratios.sort_unstable_by(f64::total_cmp);
        ratios.get(ratios.len() / 2).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(millis: &[u64]) -> Samples {
        Samples(millis.iter().copied().map(Duration::from_millis).collect())
    }

    #[test]
    fn percentiles_are_samples_of_the_nearest_rank() {
        let found = samples(&[5, 1, 4, 2, 3]);
        let at = |percent| found.percentile(percent).unwrap().as_millis();
        assert_eq!((at(0), at(50), at(80), at(81), at(100)), (1, 3, 4, 5, 5));
        assert_eq!(Samples::default().percentile(50), None);
    }

    #[test]
    fn a_slow_round_does_not_change_the_ratio() {
        let (own, other) = (samples(&[10, 100, 10]), samples(&[40, 400, 40]));
        assert!((own.ratio_to(&other).unwrap() - 0.25).abs() < 1e-9);
    }
}
