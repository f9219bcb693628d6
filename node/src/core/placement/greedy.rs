//! Placement without search, for questions too large for `exact`: slots one after another, each where it is cheapest or where
//! it leaves least room. Then `repair` exchanges what can be bettered.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::core::limits;
use crate::core::placement::objective::{Class, Cost, cost, crowding};
use crate::core::placement::repair;
use crate::core::placement::solve::Solver;
use crate::core::placement::space::{BinIndex, Layout, SlotIndex};

/// How a pass goes about it.
#[derive(Clone, Copy)]
struct Habit {
    /// Demand for its size before demand alone.
    dense: bool,
    /// Where it leaves least room, before where it costs least.
    tight: bool,
}

const HABITS: [Habit; 4] = [
    Habit { dense: false, tight: false },
    Habit { dense: false, tight: true },
    Habit { dense: true, tight: false },
    Habit { dense: true, tight: true },
];

/// The best plan that the habits find, from nothing; the first in which nothing is missing.
pub(super) fn fresh(solver: &Solver<'_>) -> Layout {
    let hosts = solver.space.hosts.len();
    let all = |slot: SlotIndex| solver.objective.worth(slot, solver.space.slots[slot].wanted.min(hosts));
    let everything: u128 = (0..solver.space.slots.len()).map(all).sum();
    let mut best: Option<(u128, Reverse<Cost>, Layout)> = None;
    for habit in HABITS {
        let mut layout = Layout::empty(&solver.space);
        let order = order(solver, habit.dense);
        for _ in 0..limits::PLACEMENT_ROUNDS_MAX {
            firsts(solver, &mut layout, &order, habit.tight);
            if !repair::improve(solver, &mut layout, true) {
                break;
            }
        }
        spares(solver, &mut layout);
        let (worth, cost) = (solver.objective.worth_of(&layout), Reverse(total(solver, &layout)));
        if best.as_ref().is_none_or(|(known, cheapest, _)| (worth, cost) > (*known, *cheapest)) {
            best = Some((worth, cost, layout));
        }
        if worth == everything {
            break;
        }
    }
    best.map_or_else(|| Layout::empty(&solver.space), |(.., layout)| layout)
}

/// `layout` with what is missing added where there is room.
pub(super) fn fill(solver: &Solver<'_>, mut layout: Layout) -> Layout {
    firsts(solver, &mut layout, &solver.order, false);
    spares(solver, &mut layout);
    layout
}

/// The order of claims, or within pinned, awaited and others by requests per hour and GiB.
fn order(solver: &Solver<'_>, dense: bool) -> Vec<SlotIndex> {
    let mut order = solver.order.clone();
    if dense {
        let density = |slot: SlotIndex| {
            let bytes = solver.space.slots[slot].input.footprint.total_bytes().max(1);
            (u128::from(solver.objective.demand[slot]) << 64) / u128::from(bytes)
        };
        // Who waits keeps its turn.
        order.sort_by_key(|&slot| {
            let class = solver.objective.class[slot];
            (class, Reverse(if matches!(class, Class::Awaited(_)) { 0 } else { density(slot) }))
        });
    }
    order
}

fn total(solver: &Solver<'_>, layout: &Layout) -> Cost {
    let space = &solver.space;
    let mut sum = Cost::default();
    for bin in (0..space.bins.len()).filter(|&bin| layout.used(bin) > 0) {
        sum = sum.plus(crowding(space, space.bins[bin].budget_bytes, layout.used(bin)));
        for &slot in layout.on(bin) {
            sum = sum.plus(cost(space, solver.objective.demand[slot], solver.before.has(slot, bin), slot, bin));
        }
    }
    sum
}

/// A first replica of each slot that has none. Goes round until nothing is added: a base that came with one slot may let in
/// another that was asked before.
fn firsts(solver: &Solver<'_>, layout: &mut Layout, order: &[SlotIndex], tight: bool) {
    loop {
        let mut added = false;
        for &slot in order.iter().filter(|&&slot| solver.objective.due[slot]) {
            if layout.count(slot) == 0
                && let Some(bin) = best(solver, layout, slot, tight)
            {
                layout.put(&solver.space, bin, slot);
                added = true;
            }
        }
        if !added {
            return;
        }
    }
}

/// The best domain for `slot` that takes it as things are.
fn best(solver: &Solver<'_>, layout: &Layout, slot: SlotIndex, tight: bool) -> Option<BinIndex> {
    let space = &solver.space;
    let key = |bin: BinIndex| {
        let left = layout.left(space, bin) - space.added(layout.on(bin), slot);
        let first = if tight { left } else { 0 };
        (first, solver.cost(layout, slot, bin), Reverse(left), bin)
    };
    let takes = (0..space.bins.len()).filter(|&bin| layout.takes(space, bin, slot));
    takes.map(key).min().map(|(.., bin)| bin)
}

/// Further replicas of resident slots, the most valuable first, as far as memory goes.
fn spares(solver: &Solver<'_>, layout: &mut Layout) {
    let before = layout.replicas();
    let mut queue: BinaryHeap<(u128, Reverse<usize>, SlotIndex)> = BinaryHeap::new();
    let mut places: Vec<std::vec::IntoIter<BinIndex>> = vec![Vec::new().into_iter(); solver.space.slots.len()];
    for (rank, &slot) in solver.order.iter().enumerate() {
        if (1..solver.space.slots[slot].wanted).contains(&layout.count(slot)) {
            places[slot] = candidates(solver, layout, slot).into_iter();
            queue.push((solver.objective.adds(slot, layout.count(slot) + 1), Reverse(rank), slot));
        }
    }
    while let Some((_, rank, slot)) = queue.pop() {
        let Some(bin) = places[slot].find(|&bin| layout.takes(&solver.space, bin, slot)) else { continue };
        layout.put(&solver.space, bin, slot);
        if layout.count(slot) < solver.space.slots[slot].wanted {
            queue.push((solver.objective.adds(slot, layout.count(slot) + 1), rank, slot));
        }
    }
    if layout.replicas() > before {
        spares(solver, layout);
    }
}

/// Where a further replica of `slot` fits now, the cheapest first. Of places that cost the same each slot begins elsewhere,
/// so that not all go to the same machines.
fn candidates(solver: &Solver<'_>, layout: &Layout, slot: SlotIndex) -> Vec<BinIndex> {
    let bins = solver.space.bins.len();
    let turned = |bin: BinIndex| (bin + bins - slot * bins / solver.space.slots.len().max(1)) % bins.max(1);
    let fits = (0..bins).filter(|&bin| layout.takes(&solver.space, bin, slot));
    let mut found: Vec<_> = fits.map(|bin| (solver.cost(layout, slot, bin), turned(bin), bin)).collect();
    found.sort_unstable();
    found.into_iter().map(|(.., bin)| bin).collect()
}
