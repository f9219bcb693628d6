//! How long things took, counted in bounded buckets: enough for percentiles, and of one size whatever happens.

use serde::{Deserialize, Serialize};

/// The upper bounds of the buckets, milliseconds; what took longer than the last one is in a bucket of its own. From the first
/// token of a manager next door to the longest answer that a request may wait for.
pub const BOUNDS_MS: [u64; 14] = [5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000, 60_000, 120_000];

/// A histogram of durations.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Spread {
    /// Upper bounds, milliseconds.
    pub bounds_ms: Vec<u64>,
    /// How many took at most the bound of the same place and more than the one before; the last: more than all bounds.
    pub counts: Vec<u64>,
    /// Of all together, milliseconds.
    pub sum_ms: u64,
}

impl Default for Spread {
    fn default() -> Spread {
        Spread { bounds_ms: BOUNDS_MS.to_vec(), counts: vec![0; BOUNDS_MS.len() + 1], sum_ms: 0 }
    }
}

impl Spread {
    /// One more, which took `ms`.
    pub fn note(&mut self, ms: u64) {
        let at = self.bounds_ms.iter().position(|bound| ms <= *bound).unwrap_or(self.bounds_ms.len());
        if let Some(count) = self.counts.get_mut(at) {
            *count += 1;
        }
        self.sum_ms = self.sum_ms.saturating_add(ms);
    }

    /// How many there were.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_duration_is_counted_once_in_the_bucket_whose_bound_it_does_not_exceed() {
        let mut spread = Spread::default();
        let check = |spread: &Spread, at: usize, count: u64| assert_eq!(spread.counts[at], count, "{spread:?}");
        for ms in [0, 5, 6, 10, 120_000, 120_001, u64::MAX] {
            spread.note(ms);
        }
        check(&spread, 0, 2);
        check(&spread, 1, 2);
        check(&spread, BOUNDS_MS.len() - 1, 1);
        check(&spread, BOUNDS_MS.len(), 2);
        assert_eq!((spread.count(), spread.sum_ms), (7, u64::MAX));
        assert!(BOUNDS_MS.is_sorted_by(|a, b| a < b));
    }
}
