//! What is known of the way to one member, whatever is fetched over it: how fast chunks come, how many may be under way,
//! and when silence means that it stalled. Transfers share it, as they share the line.

use crate::core::limits;
use crate::core::seeded::{Bug, has};
use crate::core::types::{Duration, Time};

/// How fast something comes: bytes over spans of at least `limits::RATE_SPAN`, older spans counting ever less.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Meter {
    bytes_per_s: u64,
    span_start: Time,
    span_bytes: u64,
    last: Time,
}

impl Meter {
    /// Zero: not known yet.
    pub(super) fn bytes_per_s(&self) -> u64 {
        self.bytes_per_s
    }

    /// What comes from now on was asked for just now: the idle time before is nobody's slowness.
    pub(super) fn begins(&mut self, now: Time) {
        if self.span_bytes == 0 || now.since(self.last) > limits::RATE_SPAN {
            self.span_start = now;
            self.span_bytes = 0;
        }
    }

    /// `bytes` came.
    pub(super) fn add(&mut self, now: Time, bytes: u64) {
        self.span_bytes = self.span_bytes.saturating_add(bytes);
        self.last = now;
        let span = now.since(self.span_start);
        if span < limits::RATE_SPAN {
            return;
        }
        let rate = per_second(self.span_bytes, span).max(1);
        self.bytes_per_s = if self.bytes_per_s == 0 { rate } else { (self.bytes_per_s / 4) * 3 + rate / 4 }.max(1);
        self.span_start = now;
        self.span_bytes = 0;
    }
}

fn per_second(bytes: u64, span: Duration) -> u64 {
    let rate = u128::from(bytes) * 1_000_000_000 / u128::from(span.0.max(1));
    u64::try_from(rate).unwrap_or(u64::MAX)
}

/// How long `bytes` take at `bytes_per_s`.
fn time_for(bytes: u64, bytes_per_s: u64) -> Duration {
    let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(bytes_per_s.max(1));
    Duration(u64::try_from(nanos).unwrap_or(u64::MAX))
}

/// The way to one member.
#[derive(Clone, Debug)]
pub(super) struct Lane {
    meter: Meter,
    in_flight: usize,
    in_flight_bytes: u64,
    window: usize,
    /// When a chunk last came, or the first of those under way was asked for.
    progress_at: Time,
    /// It is silent for too long and is asked for nothing more until a chunk comes or nothing is owed.
    stalled: bool,
    /// Stalls since a chunk last came.
    stalls: u32,
    /// Failures since a chunk last came, those of one moment counted once.
    failures: u32,
    rests_until: Time,
}

impl Default for Lane {
    fn default() -> Lane {
        Lane {
            meter: Meter::default(),
            in_flight: 0,
            in_flight_bytes: 0,
            window: limits::CHUNKS_IN_FLIGHT_FIRST,
            progress_at: Time::default(),
            stalled: false,
            stalls: 0,
            failures: 0,
            rests_until: Time::default(),
        }
    }
}

impl Lane {
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight
    }

    pub(super) fn bytes_per_s(&self) -> u64 {
        self.meter.bytes_per_s()
    }

    pub(super) fn rests_until(&self) -> Time {
        self.rests_until
    }

    pub(super) fn is_stalled(&self) -> bool {
        self.stalled
    }

    /// May one more chunk be asked for?
    pub(super) fn is_open(&self, now: Time) -> bool {
        !self.stalled && (self.in_flight < self.window || has(Bug::AsksWithoutBound)) && now >= self.rests_until
    }

    /// How full it is, in parts of its window: the emptiest is asked first, so that each gets its share.
    pub(super) fn fullness(&self) -> usize {
        self.in_flight * limits::CHUNKS_IN_FLIGHT_PER_SOURCE / self.window.max(1)
    }

    pub(super) fn asked(&mut self, now: Time, bytes: u32) {
        if self.in_flight == 0 {
            self.progress_at = now;
            self.meter.begins(now);
        }
        self.in_flight += 1;
        self.in_flight_bytes += u64::from(bytes);
    }

    /// A request is over or was given up, whatever came of it.
    pub(super) fn ended(&mut self, bytes: u32) {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.in_flight_bytes = self.in_flight_bytes.saturating_sub(u64::from(bytes));
        if self.in_flight == 0 {
            self.stalled = false;
        }
    }

    /// A chunk came, sound or not. `chunk_bytes_max`: the largest of its artifact, the measure of a request.
    pub(super) fn came(&mut self, now: Time, bytes: u32, chunk_bytes_max: u32) {
        self.meter.add(now, u64::from(bytes));
        self.progress_at = now;
        (self.stalled, self.stalls, self.failures) = (false, 0, 0);
        self.window = match self.meter.bytes_per_s() {
            0 => self.window + 1,
            rate => Lane::window_at(rate, chunk_bytes_max),
        }
        .min(limits::CHUNKS_IN_FLIGHT_PER_SOURCE);
    }

    /// As many as come within `limits::IN_FLIGHT_SPAN` and one more, so that the line never falls idle; of a source so slow
    /// that one takes seconds, one.
    fn window_at(bytes_per_s: u64, chunk_bytes: u32) -> usize {
        let chunk = time_for(u64::from(chunk_bytes), bytes_per_s);
        if chunk >= limits::CHUNK_SLOW {
            return 1;
        }
        1 + usize::try_from(limits::IN_FLIGHT_SPAN.0.div_ceil(chunk.0.max(1))).unwrap_or(usize::MAX - 1)
    }

    /// It did not answer, or was busy.
    pub(super) fn failed(&mut self, now: Time) {
        if now < self.rests_until {
            return; // one of several that failed together
        }
        self.window = (self.window / 2).max(1);
        self.rests_until = now.after(limits::SOURCE_REST.times(1 << self.failures.min(2)));
        self.failures += 1;
    }

    /// When its silence means that it stalled: several times what it has shown to need, at least some seconds, and each
    /// time twice as long, so that a source that is merely slow is not cut off again and again.
    pub(super) fn stalls_at(&self) -> Option<Time> {
        if self.in_flight == 0 || self.stalled {
            return None;
        }
        let rate = match self.meter.bytes_per_s() {
            0 => limits::RATE_UNKNOWN_BYTES_PER_S,
            rate => rate,
        };
        let patience = time_for(self.in_flight_bytes, rate).times(4).0.max(limits::STALL_MIN.0);
        Some(self.progress_at.after(Duration(patience).times(1 << self.stalls.min(8))))
    }

    pub(super) fn stall(&mut self, now: Time) {
        self.stalled = true;
        self.window = 1;
        self.rests_until = self.rests_until.max(now.after(limits::STALL_MIN.times(1 << self.stalls.min(4))));
        self.stalls = self.stalls.saturating_add(1);
    }

    /// When what is under way will have come, from now on. Overdue: as long again as it has been silent.
    pub(super) fn remaining(&self, now: Time) -> Duration {
        let silent = now.since(self.progress_at).0;
        let rate = match self.meter.bytes_per_s() {
            0 => limits::RATE_UNKNOWN_BYTES_PER_S,
            rate => rate,
        };
        let needed = time_for(self.in_flight_bytes, rate).0;
        Duration(if needed > silent { needed - silent } else { silent })
    }

    /// When one more chunk of `bytes` would have come, were it asked for now; `None` while its speed is unknown.
    pub(super) fn would_take(&self, bytes: u32) -> Option<Duration> {
        let rate = Some(self.meter.bytes_per_s()).filter(|&rate| rate > 0)?;
        Some(time_for(self.in_flight_bytes + u64::from(bytes), rate))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHUNK: u32 = 4 << 20;

    fn at(millis: u64) -> Time {
        Time(millis * 1_000_000)
    }

    /// A lane over which chunks come every `millis` for ten seconds, as many under way as it allows.
    fn used(millis: u64) -> Lane {
        let mut lane = Lane::default();
        let mut now = 0;
        while now < 10_000 {
            while lane.is_open(at(now)) {
                lane.asked(at(now), CHUNK);
            }
            now += millis;
            lane.ended(CHUNK);
            lane.came(at(now), CHUNK, CHUNK);
        }
        lane
    }

    #[test]
    fn a_fast_source_gets_the_full_depth_and_a_slow_one_a_single_request() {
        assert_eq!(used(2).window, limits::CHUNKS_IN_FLIGHT_PER_SOURCE);
        assert_eq!(used(160).window, 3); // 26 MB/s
        assert_eq!(used(2100).window, 1);
        let rate = used(160).bytes_per_s();
        assert!(rate.abs_diff(u64::from(CHUNK) * 1000 / 160) < 1_000_000, "{rate}");
    }

    #[test]
    fn patience_follows_what_the_source_has_shown_and_grows_with_each_stall() {
        let mut lane = used(1000);
        let owed = lane.in_flight() as u64 + 1;
        lane.asked(at(10_000), CHUNK);
        let patience = lane.stalls_at().unwrap().since(lane.progress_at).as_millis();
        assert!(patience.abs_diff(owed * 4000) < 100, "{patience}");
        lane.stall(at(20_000));
        assert_eq!(lane.stalls_at(), None);
        assert!(!lane.is_open(at(60_000)));
        (0..owed).for_each(|_| lane.ended(CHUNK));
        assert!(lane.is_open(at(60_000)) && !lane.is_open(at(20_100)));
        lane.asked(at(60_000), CHUNK);
        let again = lane.stalls_at().unwrap().since(at(60_000)).as_millis();
        assert!(again.abs_diff(2 * 4000) < 100, "{again}");
    }

    #[test]
    fn failures_of_one_moment_count_once() {
        let mut lane = Lane::default();
        (0..5).for_each(|_| lane.failed(at(0)));
        assert_eq!((lane.failures, lane.rests_until()), (1, at(500)));
        lane.failed(at(500));
        assert_eq!(lane.rests_until(), at(1500));
    }
}
