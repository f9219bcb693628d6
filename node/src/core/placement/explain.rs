//! Why a slot is not where it might have been: refusals of single domains and shortfalls of whole federations, each with its
//! arithmetic in words.

use crate::core::placement::pinned::is_pinned_on;
use crate::core::placement::plan::{Refusal, Shortfall};
use crate::core::placement::problem::SlotInput;
use crate::core::placement::solve::{Bin, Solver, footprint_together, stays};
use crate::core::roster::SlotPolicy;
use crate::core::types::human_bytes;

impl<'a> Solver<'a> {
    /// The domains that could not take `slot` although asked, with the arithmetic.
    fn refusals(&self, slot: &'a SlotInput) -> Vec<Refusal> {
        let candidates = self.bins.iter().filter(|bin| !bin.has(&slot.name));
        let refused = candidates.filter_map(|bin| {
            let (why, bytes_short) = self.why_not(bin, slot)?;
            let (node, memory_domain) = (bin.node.id, bin.name.to_owned());
            Some(Refusal { slot: slot.name.clone(), node, memory_domain, why, bytes_short })
        });
        refused.collect()
    }

    fn why_not(&self, bin: &Bin<'a>, slot: &'a SlotInput) -> Option<(String, u64)> {
        if !bin.role_allows(slot, self.problem.strategy) {
            return Some((format!("{} is not meant for {} slots", bin.node.name, policy_word(slot)), 0));
        }
        let disk_short = bin.disk_short(slot);
        if disk_short > 0 {
            return Some((format!("its disk lacks {} to store it", human_bytes(disk_short)), 0));
        }
        let short = bin.short(slot);
        if short == 0 {
            return None;
        }
        let free = bin.budget_bytes.saturating_sub(bin.used());
        let needs = bin.used_with(slot) - bin.used();
        let why = format!(
            "needs {}, {} free after what is placed there, short {}",
            human_bytes(needs),
            human_bytes(free),
            human_bytes(short)
        );
        Some((why, short))
    }

    pub(super) fn refused(&self) -> Vec<Refusal> {
        self.problem.slots.iter().flat_map(|slot| self.refusals(slot)).collect()
    }

    /// Slots that should be resident and are nowhere: pinned ones, and awaited ones whose turn cannot come because they would
    /// not fit beside the pinned ones even if nothing else were there.
    pub(super) fn shortfalls(&self) -> Vec<Shortfall> {
        let strategy = self.problem.strategy;
        let nowhere = self.problem.slots.iter().filter(|slot| self.holders(&slot.name).is_empty());
        let due =
            nowhere.filter(|slot| stays(slot, strategy) || (slot.wanted_rank.is_some() && !self.may_have_a_turn(slot)));
        due.map(|slot| self.shortfall(slot)).chain(self.pinned_shortfalls()).collect()
    }

    fn may_have_a_turn(&self, slot: &'a SlotInput) -> bool {
        let allowed = self.bins.iter().filter(|bin| bin.allows(slot, self.problem.strategy));
        let fits = |bin: &Bin<'a>| {
            let lasts = |placed: &SlotInput| stays(placed, self.problem.strategy) || is_pinned_on(placed, bin);
            let lasting = bin.slots.iter().copied().filter(|placed| lasts(placed));
            footprint_together(lasting.chain([slot])) <= bin.budget_bytes
        };
        allowed.into_iter().any(fits)
    }

    fn shortfall(&self, slot: &'a SlotInput) -> Shortfall {
        let total = slot.footprint.total_bytes();
        let best = self.bins.iter().filter(|bin| bin.allows(slot, self.problem.strategy));
        let best = best.min_by_key(|bin| (bin.short(slot), bin.node.id, bin.name));
        let Some(bin) = best else {
            let why = format!("needs {}, and no machine that is up can host a manager", human_bytes(total));
            return Shortfall { slot: slot.name.clone(), bytes_short: total, why };
        };
        let why = format!(
            "needs {}; the best place, {} {}, has {} free, short {}",
            human_bytes(total),
            bin.node.name,
            bin.name,
            human_bytes(bin.budget_bytes.saturating_sub(bin.used())),
            human_bytes(bin.short(slot))
        );
        Shortfall { slot: slot.name.clone(), bytes_short: bin.short(slot), why }
    }
}

fn policy_word(slot: &SlotInput) -> &'static str {
    match slot.policy {
        SlotPolicy::Pinned => "pinned",
        SlotPolicy::Swappable => "swappable",
    }
}
