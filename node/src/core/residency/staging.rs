//! Staging: while a load waits for another replica to go, as much of its weights as there is free memory for is read into the
//! page cache, so that the swap reads only the rest. It takes nothing from anybody: the system drops such pages first.

use crate::core::limits;
use crate::core::membership::advert::DomainKind;
use crate::core::placement::plan::PlannedReplica;
use crate::core::residency::{Action, Residency};

impl Residency {
    /// Stages `next`, which waits for memory, once.
    pub(super) fn stage(&mut self, next: &PlannedReplica) -> Option<Action> {
        // Weights pass through host memory wherever they are loaded.
        let host = self.domains.iter().find(|domain| domain.kind != DomainKind::Vram)?;
        let bytes = next.weights_bytes.min(self.with_ours(host).free_bytes);
        if bytes < limits::STAGED_BYTES_MIN || self.staged == Some(next.artifact) {
            return None;
        }
        self.staged = Some(next.artifact);
        Some(Action::Stage(next.artifact, bytes))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::core::residency::tests::{ME, at, disk, name, node, order};
    use crate::core::residency::{Around, Residency};

    const GIB: u64 = 1 << 30;

    fn contested(residency: &mut Residency, seconds: u64, on: &[&PlannedReplica], busy: u32) -> Vec<Action> {
        let (none, wanted) = (BTreeSet::new(), BTreeSet::from([name("B")]));
        let in_flight = BTreeMap::from([(name("A"), busy)]);
        let on_disk = disk(on);
        let around = Around {
            on_disk: &on_disk,
            in_flight: &in_flight,
            wanted: &wanted,
            pinned: &none,
            kept: &none,
            coming: &none,
        };
        residency.reconcile(at(seconds), &around)
    }

    fn resident(a: &PlannedReplica, b: &PlannedReplica, total: u64) -> Residency {
        let mut residency = node(total);
        residency.desire(ME, [a.clone()].into_iter());
        assert_eq!(contested(&mut residency, 0, &[a, b], 0), [Action::Load(a.clone())]);
        residency.loaded(at(1), &a.slot, Ok(a.bytes));
        residency.desire(ME, [b.clone()].into_iter());
        residency
    }

    #[test]
    fn what_is_loaded_next_is_staged_once_as_far_as_there_is_room() {
        let (a, b) = (order("A", 10 * GIB), order("B", 12 * GIB));
        let mut residency = resident(&a, &b, 13 * GIB);
        // A still answers somebody, so it drains and does not go; 3 of the 6 GiB of B's weights fit beside it.
        assert_eq!(contested(&mut residency, 10, &[&a, &b], 1), [Action::Stage(b.artifact, 3 * GIB)]);
        assert_eq!(contested(&mut residency, 11, &[&a, &b], 1), []);
        assert_eq!(contested(&mut residency, 12, &[&a, &b], 0), [Action::Unload(a.slot)]);
        residency.unloaded(&a.slot);
        assert_eq!(contested(&mut residency, 13, &[&a, &b], 0), [Action::Load(b.clone())]);
        assert_eq!(residency.staged, None, "and may be staged again another time");
    }

    #[test]
    fn nothing_is_staged_where_there_is_no_room_nor_on_a_disk_that_lacks_it() {
        let (a, b) = (order("A", 10 * GIB), order("B", 10 * GIB));
        assert_eq!(contested(&mut resident(&a, &b, 10 * GIB), 10, &[&a, &b], 1), []);
        assert_eq!(contested(&mut resident(&a, &b, 19 * GIB), 10, &[&a], 1), []);
    }
}
