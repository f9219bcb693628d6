//! The only place where a clock is read for the core: monotonic time since the start, and whether this node slept.

use std::time::{Duration as StdDuration, Instant, SystemTime, UNIX_EPOCH};

use crate::core::limits;
use crate::core::types::Time;
use crate::net::wake::{Pause, Watch};

/// A jump of the boot-time clock against the process clock by more than this means that the machine slept (DESIGN 7).
const SLEEP_MIN: StdDuration = StdDuration::from_secs(5);

/// This process's clock.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
    watch: Watch,
}

impl Clock {
    /// Begins at zero, now.
    pub fn new() -> Clock {
        let start = Instant::now();
        Clock { start, watch: Watch::new(start) }
    }

    /// Now, for the core.
    pub fn now(&self) -> Time {
        Time(u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    /// When `time` is, for tokio.
    pub fn instant(&self, time: Time) -> Instant {
        self.start + StdDuration::from_nanos(time.0)
    }

    /// Has the machine slept, or this process stood still, since this was last asked? It is asked before every decision,
    /// and a decision is due at least every two seconds.
    pub fn slept(&mut self) -> bool {
        is_sleep(&self.watch.look(Instant::now()))
    }
}

/// Standing still counts from when a coordinator's own lease would have ended: a starved process is no sleeper.
fn is_sleep(pause: &Pause) -> bool {
    let asleep = pause.length.saturating_sub(pause.awake);
    asleep > SLEEP_MIN || pause.length >= StdDuration::from_nanos(limits::LEASE_SELF_LIFE.0)
}

/// Milliseconds since the Unix epoch, for comparing clocks.
pub fn unix_milliseconds() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// Seconds since the Unix epoch, for tickets and rosters.
pub fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_sleep_and_a_long_stop_count_and_a_busy_machine_does_not() {
        let check = |awake: u64, asleep: u64, expect: bool| {
            let (awake, length) = (StdDuration::from_secs(awake), StdDuration::from_secs(awake + asleep));
            assert_eq!(is_sleep(&Pause { since: Instant::now(), length, awake }), expect, "{awake:?} of {length:?}");
        };
        check(2, 0, false);
        check(2, 6, true);
        check(9, 0, false);
        check(10, 0, true);
    }
}
