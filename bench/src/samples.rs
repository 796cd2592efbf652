//! Measured durations.

use std::{collections::BTreeMap, time::Duration};

use crate::statistics;

/// Durations of one thing, in the order of the rounds: none, one or several of each round.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Samples(Vec<(u32, Duration)>);

impl Samples {
    /// Adds one that was measured in a round.
    pub(crate) fn push(&mut self, round: u32, sample: Duration) {
        self.0.push((round, sample));
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Duration> + '_ {
        self.0.iter().map(|(_, sample)| *sample)
    }

    /// The ratios to `other`, one for each round that both have samples of: a slow moment of the machine hits both sides of
    /// its ratio. Several samples of a round are not independent of each other, and only their median counts.
    pub(crate) fn ratios_to(&self, other: &Self) -> Vec<f64> {
        let others = other.by_round();
        let pairs = self.by_round().into_iter().filter_map(|(round, own)| Some((own, *others.get(&round)?)));
        pairs.filter(|(_, other)| *other > 0.0).map(|(own, other)| own / other).collect()
    }

    /// The median of each round, in seconds.
    fn by_round(&self) -> BTreeMap<u32, f64> {
        let mut rounds: BTreeMap<u32, Vec<f64>> = BTreeMap::new();
        for (round, sample) in &self.0 {
            rounds.entry(*round).or_default().push(sample.as_secs_f64());
        }
        rounds.into_iter().filter_map(|(round, samples)| Some((round, statistics::median(samples)?))).collect()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn one_of_each_round(all: impl Iterator<Item = Duration>) -> Samples {
        Samples((0..).zip(all).collect())
    }

    fn samples(all: &[(u32, u64)]) -> Samples {
        Samples(all.iter().map(|(round, seconds)| (*round, Duration::from_secs(*seconds))).collect())
    }

    #[test]
    fn a_round_of_which_one_side_has_nothing_does_not_shift_the_others() {
        let (own, other) = (samples(&[(1, 2), (2, 6), (3, 8)]), samples(&[(0, 100), (1, 4), (3, 32)]));
        assert_eq!(own.ratios_to(&other), [0.5, 0.25]);
    }

    #[test]
    fn of_several_samples_in_a_round_their_median_counts_once() {
        let (own, other) = (samples(&[(0, 1), (0, 2), (0, 90), (1, 5)]), samples(&[(0, 4), (0, 4), (1, 10)]));
        assert_eq!(own.ratios_to(&other), [0.5, 0.5]);
    }
}
