//! A node's own clock: begins at zero with its process, stands still while the machine sleeps, and runs a little too fast
//! or too slow. Machines are told this time and no other.

use fednode::core::types::{Duration, Time};

/// One process's clock.
#[derive(Clone, Copy, Debug)]
pub struct LocalClock {
    /// What it showed when it began, or last changed its pace.
    base: Time,
    /// And when that was.
    started: Time,
    slept_ns: u64,
    stopped_at: Option<Time>,
    drift_ppm: i64,
}

impl LocalClock {
    /// Begins now.
    pub fn new(now: Time, drift_ppm: i64) -> LocalClock {
        LocalClock { base: Time::default(), started: now, slept_ns: 0, stopped_at: None, drift_ppm }
    }

    /// The machine falls asleep.
    pub fn stop(&mut self, now: Time) {
        self.stopped_at.get_or_insert(now);
    }

    /// The machine wakes.
    pub fn go_on(&mut self, now: Time) {
        if let Some(stopped_at) = self.stopped_at.take() {
            self.slept_ns += now.since(stopped_at).0;
        }
    }

    /// What the clock shows at `now`.
    pub fn local(&self, now: Time) -> Time {
        let now = self.stopped_at.unwrap_or(now);
        let awake = now.0.saturating_sub(self.started.0).saturating_sub(self.slept_ns);
        self.base.after(Duration(awake.saturating_add_signed(drift(awake, self.drift_ppm))))
    }

    /// From now on it runs too fast by so many millionths.
    pub fn drift(&mut self, now: Time, drift_ppm: i64) {
        let stopped_at = self.stopped_at.map(|_| now);
        *self = LocalClock { base: self.local(now), started: now, slept_ns: 0, stopped_at, drift_ppm };
    }

    /// When the clock will show `local`, or a moment later.
    pub fn world(&self, local: Time) -> Time {
        let rate = 1_000_000 + self.drift_ppm as i128;
        let local = local.0.saturating_sub(self.base.0);
        let awake = (i128::from(local) * 1_000_000).div_euclid(rate.max(1)) + 1;
        let awake = u64::try_from(awake).unwrap_or(u64::MAX);
        Time(awake.saturating_add(self.started.0).saturating_add(self.slept_ns))
    }
}

fn drift(nanos: u64, ppm: i64) -> i64 {
    // Whole milliseconds and the rest apart, so that 64 bits hold the products.
    let (whole, rest) = ((nanos / 1_000_000) as i64, (nanos % 1_000_000) as i64);
    whole.saturating_mul(ppm).saturating_add(rest * ppm / 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_is_due_when_its_timer_fires_and_not_much_later() {
        for drift_ppm in [-50, 0, 50] {
            let mut clock = LocalClock::new(Time(5_000_000_123), drift_ppm);
            clock.stop(Time(6_000_000_000));
            clock.go_on(Time(83_000_000_001));
            for deadline in [1_000_000_000, 1_999_999_999, 3_600_000_000_000, 36_000_000_000_007] {
                let at = clock.local(clock.world(Time(deadline)));
                assert!(at >= Time(deadline) && at.0 <= deadline + 3, "{drift_ppm} ppm, {deadline}: {at:?}");
            }
        }
    }

    #[test]
    fn a_clock_that_changes_its_pace_goes_on_from_where_it_was() {
        let mut clock = LocalClock::new(Time(0), 0);
        clock.drift(Time(1_000_000), 100_000);
        assert_eq!([1_000_000, 2_000_000].map(|now| clock.local(Time(now)).0), [1_000_000, 2_100_000]);
        let at = clock.local(clock.world(Time(5_000_000)));
        assert!((5_000_000..=5_000_003).contains(&at.0), "{at:?}");
        clock.stop(Time(3_000_000));
        clock.drift(Time(4_000_000), -100_000);
        clock.go_on(Time(5_000_000));
        assert_eq!([5_000_000, 6_000_000].map(|now| clock.local(Time(now)).0), [3_200_000, 4_100_000]);
    }
}
