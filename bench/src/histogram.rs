//! Percentiles, from an HDR histogram: three digits at every size.

use std::time::Duration;

use anyhow::{Context as _, Result};
use hdrhistogram::Histogram;
use serde::Serialize;

/// Digits that are kept of a duration.
const DIGITS: u8 = 3;

/// What is said of many durations, in microseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Figures {
    /// How many there are.
    pub count: u64,
    /// The shortest.
    pub min_us: f64,
    /// Half of them took no longer.
    pub p50_us: f64,
    /// 90 % took no longer.
    pub p90_us: f64,
    /// 99 % took no longer.
    pub p99_us: f64,
    /// The longest.
    pub max_us: f64,
}

/// How many durations lie in a bucket of the histogram.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Bucket {
    /// The highest duration that counts here, in microseconds.
    pub(crate) up_to_us: f64,
    pub(crate) count: u64,
}

/// Durations in buckets of nanoseconds.
#[derive(Debug)]
pub struct Durations(Histogram<u64>);

impl Durations {
    /// Of all samples.
    ///
    /// Errors: a sample of more than 500 years.
    pub fn of(samples: impl IntoIterator<Item = Duration>) -> Result<Self> {
        let mut histogram = Histogram::new(DIGITS).context("make a histogram")?;
        for sample in samples {
            let nanos = u64::try_from(sample.as_nanos()).context("a duration that fits")?;
            histogram.record(nanos.max(1)).context("record a duration")?;
        }
        Ok(Self(histogram))
    }

    /// `None` without samples.
    pub fn figures(&self) -> Option<Figures> {
        let at = |share| micros(self.0.value_at_quantile(share));
        (!self.0.is_empty()).then(|| Figures {
            count: self.0.len(),
            min_us: micros(self.0.min()),
            p50_us: at(0.5),
            p90_us: at(0.9),
            p99_us: at(0.99),
            max_us: micros(self.0.max()),
        })
    }

    /// The buckets that are not empty, in rising order.
    pub(crate) fn buckets(&self) -> Vec<Bucket> {
        let recorded = self.0.iter_recorded();
        recorded
            .map(|value| Bucket {
                up_to_us: micros(value.value_iterated_to()),
                count: value.count_since_last_iteration(),
            })
            .collect()
    }
}

fn micros(nanos: u64) -> f64 {
    round(nanos as f64 / 1000.0)
}

/// A duration in microseconds, to a tenth.
pub(crate) fn in_micros(duration: Duration) -> f64 {
    round(duration.as_secs_f64() * 1e6)
}

fn round(micros: f64) -> f64 {
    (micros * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(micros: &[u64]) -> Durations {
        Durations::of(micros.iter().copied().map(Duration::from_micros)).unwrap()
    }

    #[test]
    fn percentiles_are_of_the_nearest_rank() {
        let millis: Vec<u64> = (1..=100).map(|number| number * 1000).collect();
        let found = of(&millis).figures().unwrap();
        for (figure, expected) in [
            (found.min_us, 1e3),
            (found.p50_us, 50e3),
            (found.p90_us, 90e3),
            (found.p99_us, 99e3),
            (found.max_us, 100e3),
        ] {
            assert!((figure / expected - 1.0).abs() < 0.001, "{figure} for {expected}");
        }
        assert_eq!(of(&[]).figures(), None);
    }

    proptest! {
        #[test]
        fn every_sample_is_in_a_bucket_and_figures_rise(micros in proptest::collection::vec(1u64..10_000_000, 1..100)) {
            let durations = of(&micros);
            let buckets = durations.buckets();
            prop_assert_eq!(buckets.iter().map(|bucket| bucket.count).sum::<u64>(), micros.len() as u64);
            prop_assert!(buckets.is_sorted_by(|a, b| a.up_to_us < b.up_to_us));
            let found = durations.figures().unwrap();
            let rising = [found.min_us, found.p50_us, found.p90_us, found.p99_us, found.max_us];
            prop_assert!(rising.is_sorted());
        }
    }
}
