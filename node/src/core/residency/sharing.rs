//! Sharing a memory domain that somebody waits for: how many new requests a replica that is to go may still take.

use crate::core::limits;
use crate::core::residency::{Actual, Residency};
use crate::core::types::SlotName;

impl Residency {
    /// A new request goes to the replica of `slot` here.
    pub fn took(&mut self, slot: &SlotName) {
        let counts = self.actual.get(slot).is_some_and(|held| self.must_share(held));
        if let Some(held) = self.actual.get_mut(slot).filter(|_| counts) {
            held.overtakes += 1;
        }
    }

    /// Is it to go, with somebody waiting for its memory, and those who waited for it served?
    fn must_share(&self, held: &Actual) -> bool {
        self.is_contested(held) && !self.wants(&held.order) && !held.first_turn
    }

    /// How many more new requests the replica of `slot` here may take.
    pub fn places(&self, slot: &SlotName) -> u32 {
        let sharing = self.actual.get(slot).filter(|held| self.must_share(held));
        sharing.map_or(u32::MAX, |held| limits::OVERTAKES_MAX.saturating_sub(held.overtakes))
    }
}
