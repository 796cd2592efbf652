//! What may be said of figures: medians, and how far they can be trusted.

use serde::Serialize;

/// How sure an interval is to hold the true median.
pub(crate) const CONFIDENCE: f64 = 0.95;

/// The median of ratios and the interval in which the true one is, with [`CONFIDENCE`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Ratio {
    pub(crate) median: f64,
    /// Absent when there are too few rounds for one: five or less.
    pub(crate) interval: Option<Interval>,
    /// Rounds that it is made of.
    pub(crate) rounds: usize,
}

/// From the lowest to the highest value.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Interval {
    pub(crate) low: f64,
    pub(crate) high: f64,
}

/// Of ratios, one for each round; `None` without any.
///
/// The interval lies between two of the ratios themselves: between the k-th smallest and the k-th largest, for the
/// largest k at which the binomial distribution still gives the confidence. Nothing is assumed of how latencies are
/// distributed (they have long tails), nothing is drawn at random, and it is not narrower than it should be for few
/// rounds, as a bootstrap's is.
pub(crate) fn ratio(mut ratios: Vec<f64>) -> Option<Ratio> {
    ratios.sort_unstable_by(f64::total_cmp);
    let median = middle(&ratios)?;
    let interval = rank(ratios.len()).and_then(|rank| {
        Some(Interval { low: *ratios.get(rank - 1)?, high: *ratios.get(ratios.len().checked_sub(rank)?)? })
    });
    Some(Ratio { median, interval, rounds: ratios.len() })
}

/// One number by another; `None` when that is nothing.
pub(crate) fn quotient(number: u64, by: u64) -> Option<f64> {
    (by > 0).then(|| number as f64 / by as f64)
}

/// The median of numbers; `None` without any.
pub(crate) fn median(mut numbers: Vec<f64>) -> Option<f64> {
    numbers.sort_unstable_by(f64::total_cmp);
    middle(&numbers)
}

fn middle(sorted: &[f64]) -> Option<f64> {
    let (below, above) = (sorted.get(sorted.len().checked_sub(1)? / 2)?, sorted.get(sorted.len() / 2)?);
    Some(below.midpoint(*above))
}

/// The largest k for which the median lies between the k-th smallest and the k-th largest of `count` with
/// [`CONFIDENCE`]: it does not when fewer than k of them fall on one side of it, each with a chance of one half.
fn rank(count: usize) -> Option<usize> {
    let total = count as f64;
    // Of no sample on one side; in logarithms, because it is too small for a number when there are a thousand.
    let mut logarithm = -total * std::f64::consts::LN_2;
    let (mut beyond, mut best) = (logarithm.exp(), None);
    for k in 1..=count.div_ceil(2) {
        if 1.0 - 2.0 * beyond < CONFIDENCE {
            break;
        }
        best = Some(k);
        logarithm += ((total - k as f64 + 1.0) / k as f64).ln();
        beyond += logarithm.exp();
    }
    best
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ranks_are_those_of_the_tables_for_the_sign_test() {
        // For 95 %: the k-th smallest and largest, from the usual tables.
        for (count, expected) in
            [(5, None), (6, Some(1)), (8, Some(1)), (9, Some(2)), (20, Some(6)), (30, Some(10)), (100, Some(40))]
        {
            assert_eq!(rank(count), expected, "{count} samples");
        }
        assert!(rank(10_000).is_some_and(|rank| (4890..4910).contains(&rank)));
    }

    #[test]
    fn a_slow_round_changes_neither_the_median_nor_much_of_the_interval() {
        let mut ratios = vec![0.25; 19];
        ratios.push(40.0);
        let found = ratio(ratios).unwrap();
        assert_eq!(found.median, 0.25);
        assert_eq!(found.interval, Some(Interval { low: 0.25, high: 0.25 }));
        assert_eq!(ratio(vec![0.5; 5]).unwrap().interval, None);
        assert_eq!(ratio(Vec::new()), None);
    }

    #[test]
    fn the_median_of_an_even_number_is_between_the_middle_two() {
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(Vec::new()), None);
    }

    #[test]
    fn the_interval_holds_the_true_median_as_often_as_it_says() {
        // Skewed as latencies are; the median of -ln(u) is ln 2.
        let mut random = fastrand::Rng::with_seed(7);
        let runs = 4000;
        let holds = (0..runs).filter(|_| {
            let found = ratio((0..20).map(|_| -(1.0 - random.f64()).ln()).collect()).unwrap().interval.unwrap();
            (found.low..=found.high).contains(&std::f64::consts::LN_2)
        });
        let share = holds.count() as f64 / f64::from(runs);
        // The exact figure for twenty is 95.9 %.
        assert!((0.945..0.975).contains(&share), "{share}");
    }

    proptest! {
        #[test]
        fn the_median_is_inside_of_its_interval(ratios in proptest::collection::vec(0.001f64..100.0, 1..200)) {
            let found = ratio(ratios.clone()).unwrap();
            if let Some(interval) = found.interval {
                prop_assert!(interval.low <= found.median && found.median <= interval.high);
            }
            let inside = |bound: f64| ratios.contains(&bound);
            prop_assert!(found.interval.is_none_or(|interval| inside(interval.low) && inside(interval.high)));
        }

        #[test]
        fn more_rounds_never_make_the_ranks_less_central(count in 6usize..400) {
            let (fewer, more) = (rank(count).unwrap(), rank(count + 1).unwrap());
            prop_assert!(more == fewer || more == fewer + 1);
            prop_assert!(2 * more <= count + 2);
        }
    }
}
