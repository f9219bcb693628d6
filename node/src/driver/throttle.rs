//! The rate limits a person sets: a token bucket for what comes in and one for what goes out, over all members together.
//! They live at the edge: the core only sees that chunks take longer.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
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
    /// How long the next bytes have to wait, nanoseconds.
    fn wait(&self, now: u64) -> u64 {
        self.full_until.saturating_sub(now)
    }

    /// `bytes` pass from now on.
    fn admit(&mut self, now: u64, bytes: u64) {
        let begin = self.full_until.max(now.saturating_sub(BURST_NS));
        self.full_until = begin.saturating_add(self.takes(bytes));
    }

    /// `bytes` that were admitted did not pass after all.
    fn give_back(&mut self, bytes: u64) {
        self.full_until = self.full_until.saturating_sub(self.takes(bytes));
    }

    fn takes(&self, bytes: u64) -> u64 {
        let takes = u128::from(bytes) * 1_000_000_000 / u128::from(self.bytes_per_s.max(1));
        u64::try_from(takes).unwrap_or(u64::MAX)
    }
}

/// Bytes one way, limited or not, and counted. Cheap to clone; clones share the limit.
#[derive(Clone, Debug)]
pub struct Throttle(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    bytes_per_s: Option<u64>,
    bucket: Mutex<Bucket>,
    /// Held by who waits at the front.
    turn: tokio::sync::Mutex<()>,
    start: Instant,
    passed: AtomicU64,
}

impl Throttle {
    /// At most `bytes_per_s`; `None`: as fast as it goes.
    pub fn new(bytes_per_s: Option<u64>) -> Throttle {
        let bucket = Mutex::new(Bucket { bytes_per_s: bytes_per_s.unwrap_or(u64::MAX), full_until: 0 });
        Throttle(Arc::new(Shared {
            bytes_per_s,
            bucket,
            turn: Default::default(),
            start: Instant::now(),
            passed: AtomicU64::new(0),
        }))
    }

    /// The limit.
    pub fn bytes_per_s(&self) -> Option<u64> {
        self.0.bytes_per_s
    }

    /// Bytes that were let pass since the start.
    pub fn passed_bytes(&self) -> u64 {
        self.0.passed.load(Ordering::Relaxed)
    }

    /// Waits until `bytes` more may pass. Whoever gives up waiting has used nothing up: one waits at the front, and only
    /// when its time has come are its bytes counted.
    pub async fn pass(&self, bytes: u64) {
        if self.0.bytes_per_s.is_some() {
            let _turn = self.0.turn.lock().await;
            loop {
                let wait = self.bucket().wait(self.now());
                if wait == 0 {
                    break;
                }
                tokio::time::sleep(Duration::from_nanos(wait)).await;
            }
            let now = self.now();
            self.bucket().admit(now, bytes);
        }
        self.0.passed.fetch_add(bytes, Ordering::Relaxed);
    }

    /// `bytes` that were let pass did not: whoever should have sent them did not.
    pub fn give_back(&self, bytes: u64) {
        self.bucket().give_back(bytes);
        self.0.passed.fetch_sub(bytes, Ordering::Relaxed);
    }

    fn bucket(&self) -> MutexGuard<'_, Bucket> {
        self.0.bucket.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nanoseconds since the start.
    fn now(&self) -> u64 {
        u64::try_from(self.0.start.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    /// How long a piece waits that comes at `now` and then passes.
    fn passes(bucket: &mut Bucket, now: u64, bytes: u64) -> u64 {
        let wait = bucket.wait(now);
        bucket.admit(now + wait, bytes);
        wait
    }

    #[test]
    fn bytes_pass_at_the_rate_and_never_faster_over_any_span() {
        let mut bucket = Bucket { bytes_per_s: 1_000_000, full_until: 0 };
        // Ten pieces that all come at once leave one after another.
        let mut now = 0;
        let times: Vec<u64> = (0..10)
            .map(|_| {
                now += passes(&mut bucket, now, 50_000);
                now / MS
            })
            .collect();
        assert_eq!(times, [0, 50, 100, 150, 200, 250, 300, 350, 400, 450]);
    }

    #[test]
    fn a_short_pause_is_caught_up_with_and_a_long_one_is_not() {
        let mut bucket = Bucket { bytes_per_s: 1_000_000, full_until: 0 };
        bucket.admit(0, 100_000);
        // 50 ms late: the next may follow at once.
        assert_eq!(passes(&mut bucket, 150 * MS, 100_000), 0);
        assert_eq!(passes(&mut bucket, 150 * MS, 100_000), 50 * MS);
        // An hour later one burst's worth is free, not an hour's.
        let later = 3_600_000 * MS;
        assert_eq!(passes(&mut bucket, later, 100_000), 0);
        assert_eq!(passes(&mut bucket, later, 100_000), 0);
        assert_eq!(passes(&mut bucket, later, 100_000), 100 * MS);
    }

    #[tokio::test]
    async fn whoever_gives_up_has_used_nothing() {
        let throttle = Throttle::new(Some(1_000_000));
        throttle.pass(1_000_000).await;
        let full = throttle.bucket().full_until;
        for _ in 0..5 {
            let given_up = tokio::time::timeout(Duration::from_millis(1), throttle.pass(1_000_000)).await;
            assert!(given_up.is_err(), "a second has to pass");
        }
        assert_eq!((throttle.passed_bytes(), throttle.bucket().full_until), (1_000_000, full));
        throttle.give_back(1_000_000);
        assert!(throttle.bucket().full_until <= full - 1_000 * MS);
        assert_eq!(throttle.passed_bytes(), 0);
    }
}
