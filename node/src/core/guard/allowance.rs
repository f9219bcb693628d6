//! A token bucket: a steady rate, and how much of it may come at once. Kept as one instant, the one by which all that was
//! taken is earned back, so that nothing has to run when nothing happens.

use crate::core::types::{Duration, Time};

/// How much may pass.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rate {
    /// For ever.
    pub per_second: u64,
    /// At once, after silence.
    pub burst: u64,
}

/// What one peer has left of its rate.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Allowance {
    rate: Rate,
    earned_by: Time,
}

impl Allowance {
    /// Nothing taken yet.
    pub fn new(rate: Rate) -> Allowance {
        Allowance { rate, earned_by: Time(0) }
    }

    /// Takes `amount`, or nothing and answers false when there is not so much left.
    pub fn take(&mut self, now: Time, amount: u64) -> bool {
        let earned_by = self.after(now, amount);
        let fits = earned_by.since(now) <= self.costs(self.rate.burst);
        if fits {
            self.earned_by = earned_by;
        }
        fits
    }

    /// Takes `amount` that has come already, whatever is left.
    pub fn charge(&mut self, now: Time, amount: u64) {
        self.earned_by = self.after(now, amount);
    }

    /// How long until what was charged beyond the burst is earned back.
    pub fn wait(&self, now: Time) -> Duration {
        Duration(self.earned_by.since(now).0.saturating_sub(self.costs(self.rate.burst).0))
    }

    /// Is everything earned back?
    pub fn is_full(&self, now: Time) -> bool {
        self.earned_by <= now
    }

    fn after(&self, now: Time, amount: u64) -> Time {
        self.earned_by.max(now).after(self.costs(amount))
    }

    /// The time in which `amount` is earned; at least a nanosecond, so that nothing is free.
    fn costs(&self, amount: u64) -> Duration {
        let costs = (u128::from(amount) * 1_000_000_000).div_ceil(u128::from(self.rate.per_second.max(1)));
        Duration(u64::try_from(costs).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const RATE: Rate = Rate { per_second: 10, burst: 20 };

    fn at(ms: u64) -> Time {
        Time(ms * 1_000_000)
    }

    #[test]
    fn a_burst_passes_and_then_the_rate() {
        let mut allowance = Allowance::new(RATE);
        let passed = |allowance: &mut Allowance, now| (0..100).filter(|_| allowance.take(now, 1)).count();
        assert_eq!(passed(&mut allowance, at(5000)), 20);
        assert_eq!(passed(&mut allowance, at(5000)), 0);
        assert_eq!(passed(&mut allowance, at(6000)), 10);
        assert_eq!(passed(&mut allowance, at(60_000)), 20, "what was not used is not saved up beyond the burst");
    }

    #[test]
    fn what_came_beyond_the_burst_is_waited_for() {
        let mut allowance = Allowance::new(RATE);
        allowance.charge(at(0), 20);
        assert_eq!(allowance.wait(at(0)), Duration(0));
        allowance.charge(at(0), 5);
        assert_eq!(allowance.wait(at(0)), Duration::from_millis(500));
        assert_eq!(allowance.wait(at(500)), Duration(0));
        assert!(!allowance.is_full(at(2499)) && allowance.is_full(at(2500)));
    }

    proptest! {
        #[test]
        fn no_order_of_taking_gets_more_than_burst_and_rate(takes in prop::collection::vec((0u64..300, 0u64..8), 1..200)) {
            let (mut allowance, mut now, mut got) = (Allowance::new(RATE), 1_000u64, 0u64);
            for (pause, amount) in takes {
                now += pause;
                if allowance.take(at(now), amount) {
                    got += amount;
                }
            }
            prop_assert!(got * 1000 <= RATE.burst * 1000 + RATE.per_second * (now - 1_000) );
        }
    }
}
