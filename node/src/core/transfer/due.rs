//! When transfers must be looked at again although nothing happened.

use crate::core::transfer::{Stage, Transfers};
use crate::core::types::Time;

impl Transfers {
    pub(super) fn find_due(&self, now: Time) -> Option<Time> {
        let wanted = || self.transfers.values().filter(|t| t.wanted);
        let paused = wanted().filter(|t| t.stage == Stage::Paused).map(|t| t.again_at);
        let fetching = || wanted().filter(|t| t.stage == Stage::Fetching);
        let used = fetching().flat_map(|t| t.sources.values().filter(|source| source.used && !source.is_out()));
        let resting = used.flat_map(|source| {
            let map = Some(source.ask_again_at).filter(|_| !source.complete && !source.asked);
            [Some(source.rests_until), map].into_iter().flatten()
        });
        let looking = fetching().filter_map(|t| t.look_at);
        let lanes = self.lanes.values().flat_map(|lane| [Some(lane.rests_until()), lane.stalls_at()]);
        paused.chain(resting).chain(looking).chain(lanes.flatten()).filter(|at| *at > now).min()
    }
}
