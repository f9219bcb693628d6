//! Step 3 of `solve`: what runs in host memory moves to another machine's GPU that has room for it, the
//! most asked for first.

use std::cmp::Reverse;

use crate::core::membership::advert::DomainKind;
use crate::core::placement::solve::Solver;
use crate::core::placement::space::{BinIndex, Layout, SlotIndex};

/// `layout` with everything moved that may. The room that it leaves is for the plan after: until it runs on its GPU it answers
/// where it is.
pub(super) fn climb(solver: &Solver<'_>, mut layout: Layout) -> Layout {
    let gpus: Vec<BinIndex> = (0..solver.space.bins.len()).filter(|&bin| is_reliable_gpu(solver, bin)).collect();
    // Where a plan names machines that are gone, the bound on loads holds (`solve`), and the next plan does the rest.
    if gpus.is_empty() || solver.before.has_losses() {
        return layout;
    }
    let mut slots = solver.order.clone();
    slots.sort_by_key(|&slot| Reverse(solver.objective.demand[slot]));
    for slot in slots {
        let slow = layout.holders(slot).iter().copied();
        let slow = slow.filter(|&bin| !is_gpu(solver, bin) && !solver.space.pins(bin, slot));
        for from in slow.collect::<Vec<_>>() {
            layout.take(&solver.space, from, slot);
            let to = target(solver, &layout, slot, from, &gpus);
            layout.put(&solver.space, to.unwrap_or(from), slot);
        }
    }
    layout
}

impl Solver<'_> {
    /// Is the GPU of `bin` only too young for what runs in host memory on another machine?
    pub(super) fn will_climb(&self, layout: &Layout, bin: BinIndex, slot: SlotIndex) -> bool {
        let mut holders = layout.holders(slot).iter();
        let runs = |&holder: &BinIndex| {
            let elsewhere = self.space.bins[holder].host != self.space.bins[bin].host;
            elsewhere && !is_gpu(self, holder) && self.before.has(slot, holder) && !self.space.pins(holder, slot)
        };
        is_gpu(self, bin) && !is_reliable_gpu(self, bin) && layout.count(slot) > 0 && holders.all(runs)
    }
}

fn is_gpu(solver: &Solver<'_>, bin: BinIndex) -> bool {
    solver.space.bins[bin].kind == DomainKind::Vram
}

/// A GPU of a machine that the plan before knew and that has been there for a while.
fn is_reliable_gpu(solver: &Solver<'_>, bin: BinIndex) -> bool {
    is_gpu(solver, bin) && solver.before.known[solver.space.bins[bin].host] && !solver.space.host(bin).input.recent
}

/// The best of `gpus` for the replica of `slot` that was taken from `from`: on another machine, as on its own it would have to
/// end before it is loaded anew, and would be nowhere if that failed.
fn target(
    solver: &Solver<'_>,
    layout: &Layout,
    slot: SlotIndex,
    from: BinIndex,
    gpus: &[BinIndex],
) -> Option<BinIndex> {
    let space = &solver.space;
    let elsewhere = |bin: BinIndex| space.bins[bin].host != space.bins[from].host;
    let takes = gpus.iter().copied().filter(|&bin| elsewhere(bin) && layout.takes(space, bin, slot));
    takes.min_by_key(|&bin| (solver.cost(layout, slot, bin), bin))
}
