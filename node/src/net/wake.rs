//! Notices that this process stood still: stopped by a signal, starved, or asleep with its machine. Two clocks are needed: the
//! one that times everything stands still while the machine sleeps and runs on while a process is stopped.

use std::time::{Duration, Instant};

/// Looks at the clocks between two turns of a loop.
#[derive(Clone, Copy, Debug)]
pub struct Watch {
    looked: Instant,
    asleep: Duration,
}

/// How long nothing happened, and when that began.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pause {
    /// The last look before it.
    pub since: Instant,
    /// How long it was by a clock on the wall.
    pub length: Duration,
    /// How much of it the clock of this process has seen.
    pub awake: Duration,
}

impl Watch {
    /// Begins now.
    pub fn new(now: Instant) -> Watch {
        Watch { looked: now, asleep: asleep() }
    }

    /// What lies between the last look and this one.
    pub fn look(&mut self, now: Instant) -> Pause {
        self.look_at(now, asleep())
    }

    fn look_at(&mut self, now: Instant, asleep: Duration) -> Pause {
        let awake = now.saturating_duration_since(self.looked);
        let pause = Pause { since: self.looked, length: awake + asleep.saturating_sub(self.asleep), awake };
        *self = Watch { looked: now, asleep };
        pause
    }
}

/// How long the machine has slept since it started: the clock that runs during sleep less the one that does not.
#[cfg(target_os = "linux")]
fn asleep() -> Duration {
    use rustix::time::{ClockId, clock_gettime};
    let read = |clock| {
        let time = clock_gettime(clock);
        Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
    };
    read(ClockId::Boottime).saturating_sub(read(ClockId::Monotonic))
}

/// Elsewhere sleep is noticed by silence alone.
#[cfg(not(target_os = "linux"))]
fn asleep() -> Duration {
    Duration::ZERO
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sleep_and_standing_still_both_count() {
        let start = Instant::now();
        let seconds = Duration::from_secs;
        let mut watch = Watch { looked: start, asleep: seconds(100) };
        let mut check = |now: u64, asleep: u64, length: u64, awake: u64| {
            let since = watch.looked;
            let expect = Pause { since, length: seconds(length), awake: seconds(awake) };
            assert_eq!(watch.look_at(start + seconds(now), seconds(asleep)), expect);
        };
        check(1, 100, 1, 1);
        check(91, 100, 90, 90);
        check(92, 3700, 3601, 1);
        check(93, 3700, 1, 1);
    }
}
