//! What a machine of a given size is good for, by fednode's own arithmetic: tier and reserve, the footprint of a manager, a
//! plan for that machine alone, and the waits that the plan expects. No run is played for this.

use fednode::core::membership::advert::DomainKind;
use fednode::core::placement::inventory::{DomainEntry, Inventory, NodeEntry, answer};
use fednode::core::placement::plan::Strategy;
use fednode::core::placement::problem::RoleWanted;
use fednode::core::sizing::{self, Tier};
use serde::Serialize;

use super::labels::{Disk, Link};
use super::{StudyError, cases, ground};
use crate::scenario::Model;

/// Contexts come in steps of this many tokens.
const CONTEXT_STEP: u32 = 256;
/// What disks of such a machine hold: all managers.
const DISK_BYTES: u64 = 500_000_000_000;

/// One size.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Size {
    /// All of its memory, GiB.
    pub gib: u64,
    /// Its tier.
    pub tier: &'static str,
    /// Does fednode host managers there unless its owner says otherwise?
    pub hosts: bool,
    /// Kept for the system and other programs, bytes.
    pub reserve_bytes: u64,
    /// What managers may use, bytes.
    pub budget_bytes: u64,
    /// What one manager needs at 4,096 tokens, bytes.
    pub manager_bytes: u64,
    /// How many bytes lack for it.
    pub short_bytes: u64,
    /// The longest context at which one manager fits, tokens.
    pub context: Option<u32>,
    /// Managers resident at once at 4,096 tokens.
    pub resident: usize,
    /// The longest expected wait for a manager on a local disk, milliseconds; `None`: it can never be loaded.
    pub wait_nvme_ms: Option<u64>,
    /// The same from a SATA disk.
    pub wait_sata_ms: Option<u64>,
}

/// Every size that owners ask about.
pub fn all(model: &Model) -> Result<Vec<Size>, StudyError> {
    cases::SIZES_GIB.into_iter().map(|gib| size(model, gib)).collect()
}

fn size(model: &Model, gib: u64) -> Result<Size, StudyError> {
    let total_bytes = gib << 30;
    let reserve_bytes = sizing::ram_reserve_bytes(total_bytes);
    let budget_bytes = total_bytes.saturating_sub(reserve_bytes);
    let tier = Tier::of(total_bytes);
    let shape = model.shape(model.weights_bytes);
    let manager_bytes = sizing::footprint(&shape, 4096, 1, 0).total_bytes();
    let fits = |context: &u32| sizing::footprint(&shape, *context, 1, 0).total_bytes() <= budget_bytes;
    let contexts = (1..=model.context_max / CONTEXT_STEP).map(|steps| steps * CONTEXT_STEP);
    let (resident, wait_nvme_ms) = planned(total_bytes, reserve_bytes, Disk::Nvme)?;
    let (_, wait_sata_ms) = planned(total_bytes, reserve_bytes, Disk::Sata)?;
    Ok(Size {
        gib,
        tier: tier.as_str(),
        hosts: tier.hosts(),
        reserve_bytes,
        budget_bytes,
        manager_bytes,
        short_bytes: manager_bytes.saturating_sub(budget_bytes),
        context: contexts.take_while(fits).last(),
        resident,
        wait_nvme_ms,
        wait_sata_ms,
    })
}

/// How many managers of the reference roster a plan for this machine alone makes resident, and the longest wait it expects.
fn planned(total_bytes: u64, reserve_bytes: u64, disk: Disk) -> Result<(usize, Option<u64>), StudyError> {
    let mut inventory = Inventory { strategy: Strategy::Mixed, ..ground::reference()? };
    let holds = inventory.roster.slots.iter().map(|slot| slot.artifact.clone()).collect();
    inventory.roster.slots.iter_mut().for_each(|slot| slot.replicas = 1);
    inventory.nodes = vec![NodeEntry {
        name: "machine".to_owned(),
        id: None,
        role: RoleWanted::Auto,
        disk_free_bytes: Some(DISK_BYTES),
        load_bytes_per_s: disk.bytes_per_s(),
        link_bytes_per_s: Link::Gbe1.bytes_per_s(),
        domains: vec![DomainEntry {
            name: "ram".to_owned(),
            kind: DomainKind::Ram,
            total_bytes,
            free_bytes: None,
            reserve_bytes,
        }],
        holds,
        claimed: Vec::new(),
        recent: false,
    }];
    let answer = answer(&inventory).map_err(|violation| StudyError::Plan(violation.to_string()))?;
    let waits: Option<Vec<u64>> = answer.document.waits.iter().map(|wait| wait.wait_ms).collect();
    Ok((answer.document.replicas.len(), waits.and_then(|waits| waits.into_iter().max())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario;

    #[test]
    fn a_machine_that_holds_one_manager_swaps_the_others_from_its_disk() {
        let base = scenario::load("study").expect("named");
        let sizes = all(&base.model).expect("sizes");
        let of = |gib: u64| sizes.iter().find(|size| size.gib == gib).expect("asked about");
        for gib in [8, 16] {
            let size = of(gib);
            assert!(!size.hosts && size.short_bytes > 0 && size.resident == 0, "{size:?}");
            assert_eq!(size.wait_nvme_ms, None);
        }
        for gib in [20, 24, 32] {
            let size = of(gib);
            assert!(size.hosts && size.short_bytes == 0 && size.resident == 1, "{size:?}");
            // 13.48 GB at the speed of the disk.
            assert_eq!(size.wait_nvme_ms, Some(13_481_025_536 / 3_000_000));
            assert_eq!(size.wait_sata_ms, Some(13_481_025_536 / 530_000));
        }
        assert!(of(20).context < of(24).context);
        assert_eq!(of(32).context, Some(16384));
    }
}
