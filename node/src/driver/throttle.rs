//! The rate limits a person sets: a token bucket for what comes in and one for what goes out, over all members together.
//! They live at the edge: the core only sees that chunks take longer.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Bytes that pass at a steady rate; what was not used for a moment may be caught up with.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    bytes_per_s: u64,
    /// When the bytes admitted so far have all passed, nanoseconds since the start.
    full_until: u64,
}

/// Unused time that counts, nanoseconds: the scheduler's and the disk's jitter, and no more.
const BURST_NS: u64 = 100_000_000;

impl Bucket {
    /// Admits `bytes` and says how long they have to wait, nanoseconds.
    fn admit(&mut self, now: u64, bytes: u64) -> u64 {
        let begin = self.full_until.max(now.saturating_sub(BURST_NS));
        let takes = u128::from(bytes) * 1_000_000_000 / u128::from(self.bytes_per_s.max(1));
        self.full_until = begin.saturating_add(u64::try_from(takes).unwrap_or(u64::MAX));
        begin.saturating_sub(now)
    }
}

/// Bytes one way, limited or not, and counted. Cheap to clone; clones share the limit.
#[derive(Clone, Debug)]
pub struct Throttle(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    bytes_per_s: Option<u64>,
    bucket: Mutex<Bucket>,
    start: Instant,
    passed: AtomicU64,
}

impl Throttle {
    /// At most `bytes_per_s`; `None`: as fast as it goes.
    pub fn new(bytes_per_s: Option<u64>) -> Throttle {
        let bucket = Mutex::new(Bucket { bytes_per_s: bytes_per_s.unwrap_or(u64::MAX), full_until: 0 });
        Throttle(Arc::new(Shared { bytes_per_s, bucket, start: Instant::now(), passed: AtomicU64::new(0) }))
    }

    /// The limit.
    pub fn bytes_per_s(&self) -> Option<u64> {
        self.0.bytes_per_s
    }

    /// Bytes that were let pass since the start.
    pub fn passed_bytes(&self) -> u64 {
        self.0.passed.load(Ordering::Relaxed)
    }

    /// Waits until `bytes` more may pass.
    pub async fn pass(&self, bytes: u64) {
        let wait = self.admit(bytes);
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
    }

    /// The same on a thread that may block.
    pub fn pass_blocking(&self, bytes: u64) {
        let wait = self.admit(bytes);
        if !wait.is_zero() {
            std::thread::sleep(wait);
        }
    }

    fn admit(&self, bytes: u64) -> Duration {
        self.0.passed.fetch_add(bytes, Ordering::Relaxed);
        if self.0.bytes_per_s.is_none() {
            return Duration::ZERO;
        }
        let now = u64::try_from(self.0.start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        Duration::from_nanos(self.0.bucket.lock().unwrap_or_else(PoisonError::into_inner).admit(now, bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn bytes_pass_at_the_rate_and_never_faster_over_any_span() {
        let mut bucket = Bucket { bytes_per_s: 1_000_000, full_until: 0 };
        // Ten pieces that all come at once leave one after another.
        let waits: Vec<u64> = (0..10).map(|_| bucket.admit(0, 50_000) / MS).collect();
        assert_eq!(waits, [0, 50, 100, 150, 200, 250, 300, 350, 400, 450]);
    }

    #[test]
    fn a_short_pause_is_caught_up_with_and_a_long_one_is_not() {
        let mut bucket = Bucket { bytes_per_s: 1_000_000, full_until: 0 };
        bucket.admit(0, 100_000);
        // 50 ms late: the next may follow at once.
        assert_eq!(bucket.admit(150 * MS, 100_000), 0);
        assert_eq!(bucket.admit(150 * MS, 100_000), 50 * MS);
        // An hour later one burst's worth is free, not an hour's.
        let later = 3_600_000 * MS;
        assert_eq!(bucket.admit(later, 100_000), 0);
        assert_eq!(bucket.admit(later, 100_000), 0);
        assert_eq!(bucket.admit(later, 100_000), 100 * MS);
    }

    #[test]
    fn without_a_limit_nothing_waits_and_all_is_counted() {
        let throttle = Throttle::new(None);
        assert_eq!(throttle.admit(u64::MAX / 2), Duration::ZERO);
        assert_eq!(throttle.clone().passed_bytes(), u64::MAX / 2);
    }
}
