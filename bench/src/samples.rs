//! Measured durations.

use std::time::Duration;

/// Durations of one thing, in the order of the rounds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Samples(Vec<Duration>);

impl Samples {
    pub(crate) fn push(&mut self, sample: Duration) {
        self.0.push(sample);
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Duration> + '_ {
        self.0.iter().copied()
    }

    /// The ratios to `other`, round by round: a slow moment of the machine hits both sides of its ratio.
    pub(crate) fn ratios_to(&self, other: &Self) -> Vec<f64> {
        let pairs = self.0.iter().zip(&other.0).filter(|(_, other)| !other.is_zero());
        pairs.map(|(own, other)| own.as_secs_f64() / other.as_secs_f64()).collect()
    }
}

impl Extend<Duration> for Samples {
    fn extend<I: IntoIterator<Item = Duration>>(&mut self, samples: I) {
        self.0.extend(samples);
    }
}

impl FromIterator<Duration> for Samples {
    fn from_iter<I: IntoIterator<Item = Duration>>(samples: I) -> Self {
        Self(samples.into_iter().collect())
    }
}
