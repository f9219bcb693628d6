//! What the owner pinned on one machine: it is placed there before anything else is asked, in the place of whatever is not
//! pinned there too, or the plan says why it cannot be.

use std::cmp::Reverse;

use crate::core::membership::advert::DomainKind;
use crate::core::placement::plan::Shortfall;
use crate::core::placement::problem::SlotInput;
use crate::core::placement::solve::{Bin, Solver};
use crate::core::types::{NodeId, human_bytes};

/// Is `slot` pinned on the machine of `bin`?
pub(super) fn is_pinned_on(slot: &SlotInput, bin: &Bin<'_>) -> bool {
    slot.pinned_on.contains(&bin.node.id)
}

impl<'a> Solver<'a> {
    /// Places every slot on the machines where it is pinned, strongest claim first.
    pub(super) fn place_pinned_on(&mut self, order: &[&'a SlotInput]) {
        for &slot in order {
            for &node in &slot.pinned_on {
                if !self.holders(&slot.name).contains(&node) {
                    self.place_on(slot, node, order);
                }
            }
        }
    }

    /// On the domain of `node` where the fewest must go, VRAM before RAM, the roomiest.
    fn place_on(&mut self, slot: &'a SlotInput, node: NodeId, order: &[&'a SlotInput]) {
        let there = self.bins.iter().enumerate().filter(|(_, bin)| bin.node.id == node && bin.disk_short(slot) == 0);
        let kept = there.filter_map(|(index, bin)| Some((index, bin, kept(bin, slot, order)?)));
        let best = kept.min_by_key(|(_, bin, kept)| {
            (bin.slots.len() - kept.len(), bin.kind != DomainKind::Vram, Reverse(bin.budget_bytes), bin.name)
        });
        let Some((index, _, mut slots)) = best else { return };
        slots.push(slot);
        self.bins[index].slots = slots;
    }

    /// Slots that are not where they are pinned, with the reason.
    pub(super) fn pinned_shortfalls(&self) -> Vec<Shortfall> {
        let wishes = self.problem.slots.iter().flat_map(|slot| slot.pinned_on.iter().map(move |node| (slot, *node)));
        let unmet = wishes.filter(|(slot, node)| !self.holders(&slot.name).contains(node));
        unmet.map(|(slot, node)| self.unmet(slot, node)).collect()
    }

    fn unmet(&self, slot: &'a SlotInput, node: NodeId) -> Shortfall {
        let total = slot.footprint.total_bytes();
        let short = |bytes_short, why| Shortfall { slot: slot.name.clone(), bytes_short, why };
        let Some(machine) = self.problem.nodes.iter().find(|machine| machine.id == node) else {
            return short(total, "the machine that it is pinned on is not there".to_owned());
        };
        let bins = self.bins.iter().filter(|bin| bin.node.id == node && bin.budget_bytes > 0);
        let Some(bin) = bins.min_by_key(|bin| (pinned_short(bin, slot), bin.name)) else {
            return short(total, format!("it is pinned on {}, which hosts no managers", machine.name));
        };
        let disk_short = bin.disk_short(slot);
        if disk_short > 0 {
            let lacks = human_bytes(disk_short);
            return short(0, format!("it is pinned on {}, whose disk lacks {lacks} to store it", machine.name));
        }
        let bytes_short = pinned_short(bin, slot);
        let why = format!(
            "it is pinned on {}, whose {} lacks {} for it beside what else is pinned there",
            machine.name,
            bin.name,
            human_bytes(bytes_short)
        );
        short(bytes_short, why)
    }
}

/// What `bin` keeps if `slot` moves in: the weakest claims go first, those pinned there never.
fn kept<'a>(bin: &Bin<'a>, slot: &'a SlotInput, order: &[&'a SlotInput]) -> Option<Vec<&'a SlotInput>> {
    let mut trial = bin.clone();
    let mut victims = order.iter().rev().filter(|other| bin.has(&other.name) && !is_pinned_on(other, bin));
    while trial.short(slot) > 0 {
        let victim = victims.next()?;
        trial.slots.retain(|placed| placed.name != victim.name);
    }
    Some(trial.slots)
}

/// Bytes that `slot` lacks beside what else is pinned on the machine and stands on `bin`.
fn pinned_short<'a>(bin: &Bin<'a>, slot: &'a SlotInput) -> u64 {
    let mut only_pinned = bin.clone();
    only_pinned.slots.retain(|placed| is_pinned_on(placed, bin));
    only_pinned.short(slot)
}
