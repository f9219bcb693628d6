//! What a plan is worth: the one objective, for the solver, `score`, and whoever evaluates a plan.
//!
//! In this order, each counting only between plans that are equal in all before it:
//!
//! 1. **pinned**: how many pinned slots are resident;
//! 2. **awaited**: slots that somebody waits for and that are resident; who waited longest outweighs all after it;
//! 3. **demand**: Σ requests per hour of the resident slots, each at least 1;
//! 4. **spares**: for the k-th replica beyond the first, of those the roster wants, 4 × demand ÷ k, at least 1.
//!
//! The score is one number, of which these are the digits: `((pinned · A + awaited) · D + demand) · S + spares`, where `A`, `D`
//! and `S` are one more than the most that the digits behind them can be. They depend on the roster alone, so scores of one
//! roster on different machines can be compared, and what fits on less memory is worth as much on more. With one replica
//! of each slot and nobody waiting it is `pinned · (1 + Σ demand) + demand`.
//!
//! Under `swapping` a slot counts only if it is due: pinned, awaited, or resident before. Under `specialised` nobody is
//! evicted for a request, so waiting counts for nothing.
//!
//! What the score does not say is `Cost`: of plans of one score the cheapest is taken.

use std::collections::BTreeSet;

use crate::core::limits;
use crate::core::membership::advert::DomainKind;
use crate::core::placement::plan::{Plan, Strategy};
use crate::core::placement::problem::{Problem, SlotInput};
use crate::core::placement::space::{BinIndex, Layout, SlotIndex, Space, artifacts_of, on_disk};
use crate::core::roster::SlotPolicy;
use crate::core::types::{NodeId, SlotName};

/// The longest waiting slots that are told apart; those behind them count alike.
const RANKED_MAX: usize = 16;

/// How strong a slot's claim to memory is; the lower the stronger.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Class {
    Pinned,
    /// By rank: 0 has waited longest.
    Awaited(u32),
    Other,
}

/// The worth of replicas under one problem.
pub(super) struct Objective {
    /// Per slot: its class.
    pub(super) class: Vec<Class>,
    /// Per slot: does it count at all?
    pub(super) due: Vec<bool>,
    /// Per slot: requests per hour, at least 1.
    pub(super) demand: Vec<u64>,
    /// Per slot: the worth of its first replica.
    first: Vec<u128>,
    /// Per slot: replicas wanted, bounded.
    wanted: Vec<usize>,
}

/// The worth of the `k`-th replica beyond the first.
fn spare_worth(demand: u64, k: usize) -> u64 {
    (4 * demand / k as u64).max(1)
}

impl Objective {
    pub(super) fn new(problem: &Problem) -> Objective {
        let present: BTreeSet<NodeId> = problem.nodes.iter().map(|node| node.id).collect();
        let there = problem.previous.iter().filter(|replica| present.contains(&replica.node));
        let resident: BTreeSet<&SlotName> = there.map(|replica| &replica.slot).collect();
        let class: Vec<Class> = problem.slots.iter().map(|slot| class(slot, problem.strategy)).collect();
        let due = |(slot, class): (&SlotInput, &Class)| {
            let asked = *class != Class::Other || !slot.pinned_on.is_empty();
            problem.strategy != Strategy::Swapping || asked || resident.contains(&slot.name)
        };
        let due: Vec<bool> = problem.slots.iter().zip(&class).map(due).collect();
        let demand: Vec<u64> = problem.slots.iter().map(|slot| u64::from(slot.demand_per_hour.max(1))).collect();
        let wanted = problem.slots.iter().map(|slot| slot.replicas_wanted().min(limits::MEMBERS_MAX));
        let wanted: Vec<usize> = wanted.collect();
        let awaited = awaited_worths(&class);
        let spares = |slot: usize| (1..wanted[slot]).map(|k| u128::from(spare_worth(demand[slot], k))).sum::<u128>();
        let spares: u128 = 1 + (0..class.len()).map(spares).sum::<u128>();
        let demands: u128 = 1 + demand.iter().copied().map(u128::from).sum::<u128>();
        let waits: u128 = 1 + awaited.iter().sum::<u128>();
        let first = |slot: usize| {
            let pinned = u128::from(class[slot] == Class::Pinned);
            ((pinned * waits + awaited[slot]) * demands + u128::from(demand[slot])) * spares
        };
        let first = (0..class.len()).map(first).collect();
        Objective { class, due, demand, first, wanted }
    }

    /// What the `nth` replica of `slot` adds, from 1.
    pub(super) fn adds(&self, slot: SlotIndex, nth: usize) -> u128 {
        match nth {
            _ if !self.due[slot] || nth == 0 || nth > self.wanted[slot] => 0,
            1 => self.first[slot],
            _ => u128::from(spare_worth(self.demand[slot], nth - 1)),
        }
    }

    /// What `count` replicas of `slot` are worth together.
    pub(super) fn worth(&self, slot: SlotIndex, count: usize) -> u128 {
        (1..=count.min(self.wanted[slot])).map(|nth| self.adds(slot, nth)).sum()
    }

    pub(super) fn worth_of(&self, layout: &Layout) -> u128 {
        (0..self.first.len()).map(|slot| self.worth(slot, layout.count(slot))).sum()
    }
}

fn class(slot: &SlotInput, strategy: Strategy) -> Class {
    match slot.wanted_rank {
        _ if slot.policy == SlotPolicy::Pinned => Class::Pinned,
        Some(rank) if strategy != Strategy::Specialised => Class::Awaited(rank),
        _ => Class::Other,
    }
}

/// Per slot, its worth among the awaited ones: twice that of the next, down to those that count alike.
fn awaited_worths(class: &[Class]) -> Vec<u128> {
    let rank = |slot: &usize| match class[*slot] {
        Class::Awaited(rank) => Some((rank, *slot)),
        _ => None,
    };
    let mut order: Vec<(u32, usize)> = (0..class.len()).filter_map(|slot| rank(&slot)).collect();
    order.sort_unstable();
    let ranked = order.len().min(RANKED_MAX);
    let alike = (order.len() - ranked) as u128;
    let mut worths = vec![0; class.len()];
    for (place, (_, slot)) in order.iter().enumerate() {
        worths[*slot] = if place < ranked { (alike + 1) << (ranked - 1 - place) } else { 1 };
    }
    worths
}

/// The score of `plan` (see the head of this file). Says nothing about whether it fits: that is `check`'s.
pub fn score(problem: &Problem, plan: &Plan) -> u64 {
    let objective = Objective::new(problem);
    let mut counts = vec![0; problem.slots.len()];
    for replica in &plan.replicas {
        if let Ok(slot) = problem.slots.binary_search_by(|slot| slot.name.cmp(&replica.slot)) {
            counts[slot] += 1;
        }
    }
    let worth = counts.iter().enumerate().map(|(slot, &count)| objective.worth(slot, count)).sum::<u128>();
    u64::try_from(worth).unwrap_or(u64::MAX)
}

/// What tells plans of one score apart, in this order: fewest loads; the busiest in VRAM; the room that is left, spread; fewest
/// fetches; shortest loads, milliseconds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug)]
pub(super) struct Cost(pub(super) [u64; 5]);

impl Cost {
    pub(super) fn plus(self, other: Cost) -> Cost {
        let mut sum = self.0;
        for (mine, theirs) in sum.iter_mut().zip(other.0) {
            *mine = mine.saturating_add(theirs);
        }
        Cost(sum)
    }
}

/// The replicas of the plan before, as far as their places still exist, sorted.
pub(super) fn planned_before(space: &Space<'_>) -> Vec<(SlotIndex, BinIndex)> {
    let place = |replica: &crate::core::placement::plan::PlannedReplica| {
        let slot = space.problem.slots.binary_search_by(|slot| slot.name.cmp(&replica.slot)).ok()?;
        Some((slot, space.find(replica.node, &replica.memory_domain)?))
    };
    let mut before: Vec<_> = space.problem.previous.iter().filter_map(place).collect();
    before.sort_unstable();
    before.dedup();
    before
}

/// What one replica of `slot` on `bin` costs, but for the room it takes.
pub(super) fn cost(space: &Space<'_>, demand: u64, before: bool, slot: SlotIndex, bin: BinIndex) -> Cost {
    let node = space.host(bin).input;
    let input = space.slots[slot].input;
    let fetches = artifacts_of(input).filter(|artifact| !on_disk(node, &artifact.artifact));
    let fetched = fetches.map(|artifact| artifact.bytes).fold(0, u64::saturating_add);
    let loaded = artifacts_of(input).map(|artifact| artifact.bytes).fold(0, u64::saturating_add);
    let wait = millis(fetched, node.link_bytes_per_s).saturating_add(millis(loaded, node.load_bytes_per_s));
    let slow = if space.bins[bin].kind == DomainKind::Vram { 0 } else { demand };
    Cost([u64::from(!before), slow, 0, u64::from(fetched > 0), wait])
}

/// What it costs to take `added_bytes` of the `left_bytes` of a domain. Of all ways to take so much the cheapest leaves the
/// least sum of squares of room over all domains: it takes where most is left. In parts of the largest domain so fine that a
/// small manager counts on a large machine.
pub(super) fn crowding(space: &Space<'_>, left_bytes: u64, added_bytes: u64) -> Cost {
    const PARTS: u64 = 1 << 20;
    let part = |bytes: u64| {
        u64::try_from(u128::from(bytes) * u128::from(PARTS) / u128::from(space.widest_bytes.max(1))).unwrap_or(PARTS)
    };
    let (added, gone) = (part(added_bytes).clamp(1, PARTS), PARTS - part(left_bytes).min(PARTS));
    Cost([0, 0, added * (2 * gone + added), 0, 0])
}

/// Milliseconds for `bytes`; 0 where the speed is not known.
pub fn millis(bytes: u64, bytes_per_s: u64) -> u64 {
    let millis = (u128::from(bytes) * 1000).checked_div(u128::from(bytes_per_s)).unwrap_or(0);
    u64::try_from(millis).unwrap_or(u64::MAX)
}
