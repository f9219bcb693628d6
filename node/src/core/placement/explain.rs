//! Why a slot is not where it might have been: refusals of single domains and shortfalls of whole federations, each with its
//! arithmetic in words.

use crate::core::limits;
use crate::core::placement::plan::{Refusal, Shortfall};
use crate::core::placement::problem::SlotInput;
use crate::core::placement::solve::Solver;
use crate::core::placement::space::{BinIndex, Layout, SlotIndex};
use crate::core::roster::SlotPolicy;
use crate::core::types::human_bytes;

/// What a domain lacks for a slot.
#[derive(Clone, Copy)]
enum Lack {
    Role,
    Disk(u64),
    Memory(u64),
    /// Nothing, but time.
    Recent,
}

impl Lack {
    fn bytes_short(self) -> u64 {
        if let Lack::Memory(bytes) = self { bytes } else { 0 }
    }
}

impl Solver<'_> {
    /// The domains that could not take a slot although asked, with the arithmetic. In a large fleet of each slot only the
    /// ones that lack least, and the last of them says how many more there are.
    pub(super) fn refused(&self, layout: &Layout) -> Vec<Refusal> {
        let slots = self.space.slots.len();
        let of_each = limits::REFUSALS_MAX / slots.max(1);
        (0..slots).flat_map(|slot| self.refusals(layout, slot, of_each.max(1))).collect()
    }

    fn refusals(&self, layout: &Layout, slot: SlotIndex, most: usize) -> Vec<Refusal> {
        let bins = (0..self.space.bins.len()).filter(|&bin| !layout.has(bin, slot));
        let mut lacking: Vec<(BinIndex, Lack)> =
            bins.filter_map(|bin| Some((bin, self.lack(layout, bin, slot)?))).collect();
        let left_out = lacking.len().saturating_sub(most);
        if left_out > 0 {
            // Those that lack memory first, and of them the nearest.
            lacking.sort_by_key(|(bin, lack)| (lack.bytes_short() == 0, lack.bytes_short(), *bin));
            lacking.truncate(most);
            lacking.sort_by_key(|(bin, _)| *bin);
        }
        let refusal = |(bin, lack): &(BinIndex, Lack)| Refusal {
            slot: self.space.slots[slot].input.name,
            node: self.space.host(*bin).input.id,
            memory_domain: self.space.bins[*bin].name.to_owned(),
            why: self.why_not(layout, *bin, slot, *lack),
            bytes_short: lack.bytes_short(),
        };
        let mut refusals: Vec<Refusal> = lacking.iter().map(refusal).collect();
        if let Some(last) = refusals.last_mut().filter(|_| left_out > 0) {
            last.why.push_str(&format!("; {left_out} more places were refused, none of them nearer"));
        }
        refusals
    }

    fn lack(&self, layout: &Layout, bin: BinIndex, slot: SlotIndex) -> Option<Lack> {
        if !self.space.role_allows(bin, slot) {
            return Some(Lack::Role);
        }
        let disk = layout.disk_short(&self.space, bin, slot);
        let memory = layout.short(&self.space, bin, slot);
        match (disk, memory) {
            (0, 0) => self.will_climb(layout, bin, slot).then_some(Lack::Recent),
            (0, short) => Some(Lack::Memory(short)),
            (short, _) => Some(Lack::Disk(short)),
        }
    }

    fn why_not(&self, layout: &Layout, bin: BinIndex, slot: SlotIndex, lack: Lack) -> String {
        match lack {
            Lack::Role => {
                let input = self.space.slots[slot].input;
                format!("{} is not meant for {} slots", self.space.host(bin).input.name, policy_word(input))
            }
            Lack::Recent => {
                let minutes = limits::STEADY_AFTER.as_millis() / 60_000;
                format!("a manager that runs moves to a GPU once its machine has been there for {minutes} min")
            }
            Lack::Disk(short) => format!("its disk lacks {} to store it", human_bytes(short)),
            Lack::Memory(short) => format!(
                "needs {}, {} free after what is placed there, short {}",
                human_bytes(self.space.added(layout.on(bin), slot)),
                human_bytes(layout.left(&self.space, bin)),
                human_bytes(short)
            ),
        }
    }

    /// May the machine host `slot` at all, memory aside?
    fn allows(&self, bin: BinIndex, slot: SlotIndex) -> bool {
        self.space.role_allows(bin, slot) && self.space.disk_short(self.space.bins[bin].host, [slot]) == 0
    }

    /// Slots that should be resident and are nowhere: pinned ones, and awaited ones whose turn cannot come because they would
    /// not fit beside the pinned ones even if nothing else were there.
    pub(super) fn shortfalls(&self, layout: &Layout) -> Vec<Shortfall> {
        let nowhere = (0..self.space.slots.len()).filter(|&slot| layout.count(slot) == 0);
        let awaited = |slot: SlotIndex| self.space.slots[slot].input.wanted_rank.is_some();
        let due =
            nowhere.filter(|&slot| self.space.stays(slot) || (awaited(slot) && !self.may_have_a_turn(layout, slot)));
        due.map(|slot| self.shortfall(layout, slot)).chain(self.pinned_shortfalls(layout)).collect()
    }

    fn may_have_a_turn(&self, layout: &Layout, slot: SlotIndex) -> bool {
        let fits = |bin: BinIndex| {
            let lasts = |placed: SlotIndex| self.space.stays(placed) || self.space.pins(bin, placed);
            let lasting = layout.on(bin).iter().copied().filter(|&placed| lasts(placed));
            let together: Vec<SlotIndex> = lasting.chain([slot]).collect();
            self.space.footprint(&together) <= self.space.bins[bin].budget_bytes
        };
        (0..self.space.bins.len()).filter(|&bin| self.allows(bin, slot)).any(fits)
    }

    fn shortfall(&self, layout: &Layout, slot: SlotIndex) -> Shortfall {
        let input = self.space.slots[slot].input;
        let total = input.footprint.total_bytes();
        let best = (0..self.space.bins.len()).filter(|&bin| self.allows(bin, slot));
        let best = best.map(|bin| (layout.short(&self.space, bin, slot), bin)).min();
        let Some((short, bin)) = best else {
            let why = format!("needs {}, and no machine that is up can host a manager", human_bytes(total));
            return Shortfall { slot: input.name, bytes_short: total, why };
        };
        let (node, domain) = (&self.space.host(bin).input.name, self.space.bins[bin].name);
        let free = human_bytes(layout.left(&self.space, bin));
        let disk = layout.disk_short(&self.space, bin, slot);
        let why = match (short, disk) {
            (0, 1..) => {
                let disk = human_bytes(disk);
                format!("needs {}; {node} {domain} has {free} free, but its disk lacks {disk}", human_bytes(total))
            }
            _ => format!(
                "needs {}; the best place, {node} {domain}, has {free} free, short {}",
                human_bytes(total),
                human_bytes(short)
            ),
        };
        Shortfall { slot: input.name, bytes_short: short, why }
    }
}

fn policy_word(slot: &SlotInput) -> &'static str {
    match slot.policy {
        SlotPolicy::Pinned => "pinned",
        SlotPolicy::Swappable => "swappable",
    }
}
