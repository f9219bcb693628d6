//! Replicas that end unasked: what is remembered of them, and how long each rests before it is tried again. One that dies again
//! and again rests longer and longer; one that had run for a while begins anew.

use crate::core::limits;
use crate::core::placement::plan::PlannedReplica;
use crate::core::residency::{Residency, State, footing};
use crate::core::types::{Duration, SlotName, Time};

/// The end of a replica that nobody asked for, or of its load.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Death {
    /// For people.
    pub why: String,
    /// What kind of end it was.
    pub cause: Cause,
    /// The most memory it was seen to take, bytes; 0 if nobody looked.
    pub taken_bytes: u64,
}

/// Why a replica ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cause {
    /// It broke, or could not be loaded.
    Broke,
    /// It took more memory than it was promised, and the node stopped it.
    Exceeded,
    /// The system killed it because memory ran out.
    OutOfMemory,
}

impl From<String> for Death {
    fn from(why: String) -> Death {
        Death { why, cause: Cause::Broke, taken_bytes: 0 }
    }
}

/// A slot whose replica ended unasked.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    pub(super) again_at: Time,
    /// In a row.
    times: u32,
    pub(super) why: String,
}

impl Residency {
    /// A replica's process died by itself, or its load failed: it is tried again after a pause that grows.
    pub fn failed(&mut self, now: Time, slot: &SlotName, death: Death) {
        let held = self.actual.remove(slot);
        if let Some(held) = &held {
            self.remember(&held.order, death.taken_bytes);
        }
        if !self.desired.iter().any(|order| &order.slot == slot) {
            return;
        }
        let lasted =
            held.is_some_and(|held| held.state != State::Loading && now.since(held.since) >= limits::REPLICA_LASTED);
        let before = if lasted { 0 } else { self.failures.get(slot).map_or(0, |failure| failure.times) };
        let again_at = now.after(pause(death.cause, before));
        self.failures.insert(*slot, Failure { again_at, times: before.saturating_add(1), why: death.why });
    }

    /// Its last replica failed, and it is not tried again yet.
    pub(super) fn rests(&self, now: Time, slot: &SlotName) -> Option<&Failure> {
        self.failures.get(slot).filter(|failure| now < failure.again_at)
    }

    /// What such a replica was seen to take; the next one is admitted against it.
    pub(super) fn remember(&mut self, order: &PlannedReplica, bytes: u64) {
        let footing = footing(order);
        if self.measured.len() < limits::FOOTPRINTS_KEPT_MAX || self.measured.contains_key(&footing) {
            let known = self.measured.entry(footing).or_default();
            *known = bytes.max(*known);
        }
    }
}

/// How long a slot rests after it failed, having failed so many times in a row before.
fn pause(cause: Cause, before: u32) -> Duration {
    let (first, longest) = match cause {
        Cause::Broke | Cause::Exceeded => (limits::LOAD_BACKOFF, limits::LOAD_BACKOFF_MAX),
        Cause::OutOfMemory => (limits::OUT_OF_MEMORY_BACKOFF, limits::OUT_OF_MEMORY_BACKOFF_MAX),
    };
    first.times(1u64.checked_shl(before).unwrap_or(u64::MAX)).min(longest)
}

/// The most memory of its own, beside mapped weights, that a replica may take before the node stops it: what it was promised,
/// and some more for what an estimate may miss.
pub fn private_bytes_allowed(order: &PlannedReplica) -> u64 {
    let promised = order.bytes.saturating_sub(order.weights_bytes);
    promised.saturating_add((order.bytes / limits::PROMISE_SLACK_DIVISOR).max(limits::PROMISE_SLACK_BYTES_MIN))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_are_longer_where_memory_ran_out() {
        let seconds = |cause, before| pause(cause, before).as_millis() / 1000;
        assert_eq!([0, 1, 2, 3].map(|before| seconds(Cause::Broke, before)), [1, 2, 4, 8]);
        assert_eq!([0, 1].map(|before| seconds(Cause::OutOfMemory, before)), [30, 60]);
        for before in [20, 63, 64, u32::MAX] {
            assert_eq!(pause(Cause::Exceeded, before), limits::LOAD_BACKOFF_MAX);
            assert_eq!(pause(Cause::OutOfMemory, before), limits::OUT_OF_MEMORY_BACKOFF_MAX);
        }
    }
}
