//! What the owner pinned on one machine: it is placed there before anything else is asked, in the place of whatever is not
//! pinned there too, or the plan says why it cannot be.

use std::cmp::Reverse;

use crate::core::membership::advert::DomainKind;
use crate::core::placement::plan::Shortfall;
use crate::core::placement::solve::Solver;
use crate::core::placement::space::{BinIndex, Layout, SlotIndex, Space};
use crate::core::types::{NodeId, human_bytes};

impl Space<'_> {
    /// Is `slot` pinned on the machine of `bin`?
    pub(super) fn pins(&self, bin: BinIndex, slot: SlotIndex) -> bool {
        self.slots[slot].input.pinned_on.binary_search(&self.host(bin).input.id).is_ok()
    }
}

impl Solver<'_> {
    /// Places every slot on the machines where it is pinned, strongest claim first. Replicas beyond those that are wanted then
    /// leave the other machines.
    pub(super) fn place_pinned_on(&self, layout: &mut Layout) {
        for &slot in &self.order {
            for &node in &self.space.slots[slot].input.pinned_on {
                let host = self.space.hosts.binary_search_by_key(&node, |host| host.input.id);
                if let Ok(host) = host
                    && !layout.on_host(&self.space, host, slot)
                {
                    self.place_on(layout, slot, host);
                }
            }
            if self.space.slots[slot].input.pinned_on.is_empty() {
                continue;
            }
            while layout.count(slot) > self.space.slots[slot].wanted
                && let Some(&bin) = layout.holders(slot).iter().rev().find(|&&bin| !self.space.pins(bin, slot))
            {
                layout.take(&self.space, bin, slot);
            }
        }
    }

    /// On the domain of a machine where the fewest must go, VRAM before RAM, the roomiest.
    fn place_on(&self, layout: &mut Layout, slot: SlotIndex, host: usize) {
        let bins = self.space.hosts[host].bins.clone();
        let leaving = bins.filter_map(|bin| Some((self.leaving(layout, slot, bin)?, bin)));
        let best = leaving.min_by_key(|(leaving, bin)| {
            let place = &self.space.bins[*bin];
            (leaving.len(), place.kind != DomainKind::Vram, Reverse(place.budget_bytes), *bin)
        });
        let Some((leaving, bin)) = best else { return };
        leaving.into_iter().for_each(|other| layout.take(&self.space, bin, other));
        layout.put(&self.space, bin, slot);
    }

    /// Who leaves `bin` for `slot`: the weakest claims first, those pinned there never. `None`: that is not enough.
    fn leaving(&self, layout: &Layout, slot: SlotIndex, bin: BinIndex) -> Option<Vec<SlotIndex>> {
        let mut trial = layout.clone();
        let there = |other: &&SlotIndex| layout.has(bin, **other) && !self.space.pins(bin, **other);
        let mut weakest_first = self.order.iter().rev().filter(there);
        let mut leaving = Vec::new();
        while trial.short(&self.space, bin, slot) > 0 || trial.disk_short(&self.space, bin, slot) > 0 {
            let &victim = weakest_first.next()?;
            trial.take(&self.space, bin, victim);
            leaving.push(victim);
        }
        Some(leaving)
    }

    /// Slots that are not where they are pinned, with the reason.
    pub(super) fn pinned_shortfalls(&self, layout: &Layout) -> Vec<Shortfall> {
        let slots = 0..self.space.slots.len();
        let wishes =
            slots.flat_map(|slot| self.space.slots[slot].input.pinned_on.iter().map(move |node| (slot, *node)));
        let met = |slot: SlotIndex, node: NodeId| {
            layout.holders(slot).iter().any(|&bin| self.space.host(bin).input.id == node)
        };
        let unmet = wishes.filter(|&(slot, node)| !met(slot, node));
        unmet.map(|(slot, node)| self.unmet(layout, slot, node)).collect()
    }

    fn unmet(&self, layout: &Layout, slot: SlotIndex, node: NodeId) -> Shortfall {
        let input = self.space.slots[slot].input;
        let short = |bytes_short, why| Shortfall { slot: input.name, bytes_short, why };
        let Some(machine) = self.space.problem.nodes.iter().find(|machine| machine.id == node) else {
            return short(input.footprint.total_bytes(), "the machine that it is pinned on is not there".to_owned());
        };
        let host = self.space.hosts.binary_search_by_key(&node, |host| host.input.id).ok();
        let bins = host.map_or(0..0, |host| self.space.hosts[host].bins.clone());
        let hosting = bins.filter(|&bin| self.space.bins[bin].budget_bytes > 0);
        let Some((bytes_short, bin)) = hosting.map(|bin| (self.pinned_short(layout, slot, bin), bin)).min() else {
            let bytes = input.footprint.total_bytes();
            return short(bytes, format!("it is pinned on {}, which hosts no managers", machine.name));
        };
        if bytes_short == 0 {
            let lacks = human_bytes(layout.disk_short(&self.space, bin, slot));
            return short(0, format!("it is pinned on {}, whose disk lacks {lacks} to store it", machine.name));
        }
        let why = format!(
            "it is pinned on {}, whose {} lacks {} for it beside what else is pinned there",
            machine.name,
            self.space.bins[bin].name,
            human_bytes(bytes_short)
        );
        short(bytes_short, why)
    }

    /// Bytes that `slot` lacks beside what else is pinned on the machine and stands on `bin`.
    fn pinned_short(&self, layout: &Layout, slot: SlotIndex, bin: BinIndex) -> u64 {
        let pinned = layout.on(bin).iter().copied().filter(|&placed| self.space.pins(bin, placed));
        let together: Vec<SlotIndex> = pinned.chain([slot]).collect();
        self.space.footprint(&together).saturating_sub(self.space.bins[bin].budget_bytes)
    }
}
