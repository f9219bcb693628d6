//! Single exchanges on one domain: a slot that is resident nowhere takes the place of replicas that are worth less, or of one
//! that moves elsewhere. Every exchange raises the plan's worth, so they end; the work is counted all the same.
//!
//! Two sets of rules. *Fresh*: nothing runs yet, so whatever raises the worth is done. *Stable*: something runs, and the rules
//! at the head of `solve` say what may be disturbed for what.

use crate::core::limits;
use crate::core::placement::objective::{Class, Cost};
use crate::core::placement::plan::Strategy;
use crate::core::placement::solve::Solver;
use crate::core::placement::space::{BinIndex, Layout, SlotIndex};

/// A clear gain: as many times the requests of what goes.
const GAIN_MIN: u64 = 2;

/// One way for a slot to come in.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Exchange {
    /// Worth given up.
    loss: u128,
    /// Replicas to load, the slot's own not counted.
    loads: usize,
    cost: Cost,
    bin: BinIndex,
    /// What goes.
    out: Vec<SlotIndex>,
    /// Where it goes, if it does.
    to: Option<BinIndex>,
}

struct Repair<'s, 'a> {
    solver: &'s Solver<'a>,
    fresh: bool,
    steps: u64,
}

/// Lets every slot without a replica try once, by claim. Did one come in?
pub(super) fn improve(solver: &Solver<'_>, layout: &mut Layout, fresh: bool) -> bool {
    let mut repair = Repair { solver, fresh, steps: 0 };
    let mut changed = false;
    for &slot in &solver.order {
        if layout.count(slot) > 0 || repair.steps > limits::PLACEMENT_REPAIR_STEPS_MAX {
            continue;
        }
        let Some(exchange) = repair.best(layout, slot) else { continue };
        let mut next = layout.clone();
        for &out in &exchange.out {
            next.take(&solver.space, exchange.bin, out);
            if let Some(to) = exchange.to {
                next.put(&solver.space, to, out);
            }
        }
        next.put(&solver.space, exchange.bin, slot);
        if solver.before.loads(&next) <= solver.before.loads_max().max(solver.before.loads(layout)) {
            *layout = next;
            changed = true;
        }
    }
    changed
}

impl Repair<'_, '_> {
    /// The way for `slot` to come in that gives up least.
    fn best(&mut self, layout: &Layout, slot: SlotIndex) -> Option<Exchange> {
        let space = &self.solver.space;
        let mut targets: Vec<Option<Option<BinIndex>>> = vec![None; space.slots.len()];
        let mut best: Option<Exchange> = None;
        for bin in 0..space.bins.len() {
            self.steps += 1 + layout.on(bin).len() as u64;
            if !space.role_allows(bin, slot) || space.footprint(&[slot]) > space.bins[bin].budget_bytes {
                continue;
            }
            let evicting = self.evicting(layout, slot, bin);
            let moving = match self.fresh || self.solver.entitled(slot) {
                true => self.moving(layout, slot, bin, &mut targets),
                false => None,
            };
            for exchange in [evicting, moving].into_iter().flatten() {
                let gains = exchange.loss < self.solver.objective.adds(slot, 1);
                if gains && best.as_ref().is_none_or(|known| exchange < *known) {
                    best = Some(exchange);
                }
            }
        }
        best
    }

    /// Does `slot` fit on `bin` beside `there`?
    fn fits(&self, layout: &Layout, slot: SlotIndex, bin: BinIndex, there: &[SlotIndex]) -> bool {
        let space = &self.solver.space;
        let with: Vec<SlotIndex> = there.iter().copied().chain([slot]).collect();
        if space.footprint(&with) > space.bins[bin].budget_bytes {
            return false;
        }
        let host = space.bins[bin].host;
        let others = space.hosts[host].bins.clone().filter(|&other| other != bin);
        let others = others.flat_map(|other| layout.on(other).iter().copied());
        space.disk_short(host, others.chain(with)) == 0
    }

    /// Weaker claims leave `bin`, the weakest first, and no more of them than must.
    fn evicting(&self, layout: &Layout, slot: SlotIndex, bin: BinIndex) -> Option<Exchange> {
        let there = layout.on(bin);
        let mut weak: Vec<(bool, u128, SlotIndex)> = there
            .iter()
            .filter(|&&other| self.yields(layout, other, bin, slot))
            .map(|&other| (!self.spare(layout, other, bin), self.loss(layout, other, bin), other))
            .collect();
        weak.sort_unstable();
        let mut staying = there.to_vec();
        let mut out: Vec<(bool, u128, SlotIndex)> = Vec::new();
        for victim in weak {
            if self.fits(layout, slot, bin, &staying) {
                break;
            }
            staying.retain(|&other| other != victim.2);
            out.push(victim);
        }
        if !self.fits(layout, slot, bin, &staying) {
            return None;
        }
        // The strongest that was taken out may not have been in the way.
        for index in (0..out.len()).rev() {
            staying.push(out[index].2);
            if self.fits(layout, slot, bin, &staying) {
                out.remove(index);
            } else {
                staying.pop();
            }
        }
        let demand = out.iter().filter(|(sole, ..)| *sole).map(|&(.., other)| self.solver.objective.demand[other]);
        let clear = self.solver.objective.demand[slot] >= demand.sum::<u64>().saturating_mul(GAIN_MIN);
        if !self.fresh && self.solver.objective.class[slot] == Class::Other && !clear {
            return None;
        }
        let loss = out.iter().map(|(_, loss, _)| loss).sum();
        let (cost, out) = (self.solver.cost(layout, slot, bin), out.into_iter().map(|(.., other)| other).collect());
        Some(Exchange { loss, loads: 0, cost, bin, out, to: None })
    }

    /// One replica on `bin` moves to where there is room for it.
    fn moving(
        &mut self,
        layout: &Layout,
        slot: SlotIndex,
        bin: BinIndex,
        targets: &mut [Option<Option<BinIndex>>],
    ) -> Option<Exchange> {
        let mut best: Option<Exchange> = None;
        for &other in layout.on(bin).iter().filter(|&&other| !self.solver.space.pins(bin, other)) {
            let staying: Vec<SlotIndex> = layout.on(bin).iter().copied().filter(|&placed| placed != other).collect();
            if !self.fits(layout, slot, bin, &staying) {
                continue;
            }
            let far = match targets[other] {
                Some(target) => target,
                None => *targets[other].insert(self.target(layout, other)),
            };
            let Some(to) = self.beside(layout, slot, other, bin).or(far) else { continue };
            let loads = usize::from(self.solver.before.has(other, bin));
            let cost = self.solver.cost(layout, other, to);
            let exchange = Exchange { loss: 0, loads, cost, bin, out: vec![other], to: Some(to) };
            if best.as_ref().is_none_or(|known| exchange < *known) {
                best = Some(exchange);
            }
        }
        best
    }

    /// Another domain of the same machine that takes `other`, while `slot` comes to `bin`.
    fn beside(&self, layout: &Layout, slot: SlotIndex, other: SlotIndex, bin: BinIndex) -> Option<BinIndex> {
        let space = &self.solver.space;
        let host = space.bins[bin].host;
        let fits = |to: &BinIndex| *to != bin && layout.short(space, *to, other) == 0;
        let to = space.hosts[host].bins.clone().find(fits)?;
        let together = layout.of_host(space, host).chain([slot]);
        (space.disk_short(host, together) == 0).then_some(to)
    }

    /// The best domain of another machine that takes one more replica of `other`.
    fn target(&mut self, layout: &Layout, other: SlotIndex) -> Option<BinIndex> {
        let space = &self.solver.space;
        self.steps += space.bins.len() as u64;
        let known = |bin: &BinIndex| self.fresh || self.solver.before.known[space.bins[*bin].host];
        let takes = (0..space.bins.len()).filter(|&bin| layout.takes(space, bin, other));
        takes.filter(known).min_by_key(|&bin| (self.solver.cost(layout, other, bin), bin))
    }

    /// Is the replica of `other` on `bin` one of several? What a machine that joined just took does not count for others:
    /// otherwise it would make room on them.
    fn spare(&self, layout: &Layout, other: SlotIndex, bin: BinIndex) -> bool {
        let known = |bin: BinIndex| self.fresh || self.solver.before.known[self.solver.space.bins[bin].host];
        layout.holders(other).iter().any(|&holder| holder != bin && (known(holder) || !known(bin)))
    }

    fn loss(&self, layout: &Layout, other: SlotIndex, bin: BinIndex) -> u128 {
        let nth = if self.spare(layout, other, bin) { layout.count(other) } else { 1 };
        self.solver.objective.adds(other, nth)
    }

    /// May the replica of `other` on `bin` be given up for `slot`?
    fn yields(&self, layout: &Layout, other: SlotIndex, bin: BinIndex, slot: SlotIndex) -> bool {
        let Solver { objective, space, .. } = self.solver;
        if space.pins(bin, other) {
            return false;
        }
        if self.fresh || self.spare(layout, other, bin) {
            return true;
        }
        let (claim, weaker) = (objective.class[slot], objective.class[other]);
        let later = space.slots[other].input.last_wanted > space.slots[slot].input.last_wanted;
        let mixed = space.problem.strategy == Strategy::Mixed;
        claim < weaker || (claim == Class::Other && weaker == Class::Other && mixed && !later)
    }
}
