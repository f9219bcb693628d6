//! The only place where a clock is read for the core: monotonic time since the start, and whether the machine slept.

use std::time::{Duration as StdDuration, Instant, SystemTime, UNIX_EPOCH};

use crate::core::types::Time;

/// A jump of the boot-time clock against the process clock by more than this means that the machine slept (DESIGN 7).
const SLEEP_MIN: StdDuration = StdDuration::from_secs(5);

/// This process's clock.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
    asleep: StdDuration,
}

impl Clock {
    /// Begins at zero, now.
    pub fn new() -> Clock {
        Clock { start: Instant::now(), asleep: boot_ahead() }
    }

    /// Now, for the core.
    pub fn now(&self) -> Time {
        Time(u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    /// When `time` is, for tokio.
    pub fn instant(&self, time: Time) -> Instant {
        self.start + StdDuration::from_nanos(time.0)
    }

    /// Has the machine slept since this was last asked?
    pub fn slept(&mut self) -> bool {
        let ahead = boot_ahead();
        let slept = ahead.saturating_sub(self.asleep) > SLEEP_MIN;
        self.asleep = ahead;
        slept
    }
}

/// How far the clock that runs during sleep is ahead of the one that does not.
#[cfg(target_os = "linux")]
fn boot_ahead() -> StdDuration {
    use rustix::time::{ClockId, clock_gettime};
    let read = |clock| {
        let time = clock_gettime(clock);
        StdDuration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
    };
    read(ClockId::Boottime).saturating_sub(read(ClockId::Monotonic))
}

/// Elsewhere sleep is noticed by the lease's own age alone.
#[cfg(not(target_os = "linux"))]
fn boot_ahead() -> StdDuration {
    StdDuration::ZERO
}

/// Seconds since the Unix epoch, for tickets and rosters.
pub fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
