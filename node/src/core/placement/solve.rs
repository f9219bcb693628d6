//! Problem → plan. Integer arithmetic, no clock: the same problem gives the same plan everywhere.
//!
//! *Without a plan before*, the best plan of all is searched: exactly where the question is small (`exact`), else by several
//! greedy passes, each bettered by single exchanges (`greedy`, `repair`), of which the best is taken.
//!
//! *With a plan before*, what it placed stays where it is, as far as it still fits. Then, repeated until nothing changes:
//!
//! 1. What is missing is added where there is room (exactly where the question is small). Nothing moves for it.
//! 2. Whatever is entitled to be resident and still is nowhere (pinned; awaited; all under `specialised`) takes the place of
//!    weaker claims on one domain, or of one replica that moves to another. Under `mixed` a manager that nobody waits for
//!    replaces others of which nobody waited later, if at least twice as many requests want it as want them: a clear gain.
//! 3. What runs in host memory moves to another machine's GPU that still has room for it (`climb`): another clear gain, and one
//!    that lasts, as long as the GPU's machine is neither new to the plan nor `recent`.
//!
//! Before all of that, what is pinned on a machine is placed there (`pinned`), and neither goes nor moves from then on.
//!
//! From that follows how little moves. *A machine joins:* the plan before left nothing that 1 or 2 could do on the old
//! machines, but where 3 made room, and nothing is moved to a machine that the plan before did not know; so only the newcomer
//! loads, and what would need it to make room elsewhere comes with the plan after. *A machine leaves:* only what it held is
//! missing; each of those is loaded once, and makes at most one other be loaded anew; where the plan before names it, that is
//! enforced. *Planning again* from a plan finds nothing left to do, but for the room that 3 has left.

use std::collections::BTreeSet;

use crate::core::limits;
use crate::core::placement::objective::{Class, Cost, Objective, cost, crowding, planned_before};
use crate::core::placement::plan::Plan;
use crate::core::placement::problem::Problem;
use crate::core::placement::space::{BinIndex, Layout, SlotIndex, Space};
use crate::core::placement::{climb, exact, greedy, repair};
use crate::core::types::NodeId;

pub use crate::core::placement::space::footprint_together;

/// What was planned before, as a plan that is made now sees it.
#[derive(Clone, Debug, Default)]
pub(super) struct Before {
    /// Replicas whose places still exist, sorted.
    pairs: Vec<(SlotIndex, BinIndex)>,
    /// Per machine: did the plan before know it?
    pub(super) known: Vec<bool>,
    /// Replicas on machines that are gone.
    lost: usize,
}

impl Before {
    fn new(space: &Space<'_>) -> Before {
        let pairs = planned_before(space);
        let problem = space.problem;
        let present: BTreeSet<NodeId> = problem.nodes.iter().map(|node| node.id).collect();
        let lost = problem.previous.iter().filter(|replica| !present.contains(&replica.node)).count();
        let used: BTreeSet<usize> = pairs.iter().map(|&(_, bin)| space.bins[bin].host).collect();
        let known = space
            .hosts
            .iter()
            .enumerate()
            .map(|(index, host)| used.contains(&index) || problem.known.binary_search(&host.input.id).is_ok());
        Before { known: known.collect(), pairs, lost }
    }

    /// As the next plan would see `layout`.
    fn of(space: &Space<'_>, layout: &Layout) -> Before {
        let slots = 0..space.slots.len();
        let mut pairs: Vec<_> =
            slots.flat_map(|slot| layout.holders(slot).iter().map(move |&bin| (slot, bin))).collect();
        pairs.sort_unstable();
        Before { pairs, known: vec![true; space.hosts.len()], lost: 0 }
    }

    pub(super) fn has(&self, slot: SlotIndex, bin: BinIndex) -> bool {
        self.pairs.binary_search(&(slot, bin)).is_ok()
    }

    /// Replicas that would have to be loaded.
    pub(super) fn loads(&self, layout: &Layout) -> usize {
        let kept = self.pairs.iter().filter(|&&(slot, bin)| layout.has(bin, slot)).count();
        layout.replicas() - kept
    }

    /// Did machines go that held replicas?
    pub(super) fn has_losses(&self) -> bool {
        self.lost > 0
    }

    /// The most replicas that may be loaded because machines are gone.
    pub(super) fn loads_max(&self) -> usize {
        if self.has_losses() { limits::LOADS_PER_LOSS_MAX * self.lost } else { usize::MAX }
    }
}

/// Everything one run of the solver works on.
pub(super) struct Solver<'a> {
    pub(super) space: Space<'a>,
    pub(super) objective: Objective,
    pub(super) before: Before,
    /// Slots that are due, in the order of their claim.
    pub(super) order: Vec<SlotIndex>,
}

/// Answers `problem`. Author, epoch and revision are the coordinator's to fill in.
pub fn solve(problem: &Problem) -> Plan {
    let mut solver = Solver::new(problem);
    let layout = solver.layout();
    solver.plan(&layout)
}

impl<'a> Solver<'a> {
    pub(super) fn new(problem: &'a Problem) -> Solver<'a> {
        let space = Space::new(problem);
        let objective = Objective::new(problem);
        let before = Before::new(&space);
        let order = claims(&space, &objective, &before);
        Solver { space, objective, before, order }
    }

    fn layout(&mut self) -> Layout {
        let mut kept = self.keep();
        self.place_pinned_on(&mut kept);
        if kept.replicas() > 0 {
            return self.rest(kept);
        }
        if let Some(best) = self.fill_exactly(&kept) {
            return best;
        }
        // So that planning again from this plan moves nothing, it must be one that the rules for plans before leave alone.
        let mut layout = greedy::fresh(self);
        let before = self.before.clone();
        for _ in 0..limits::PLACEMENT_ROUNDS_MAX {
            self.before = Before::of(&self.space, &layout);
            let next = self.rest(layout.clone());
            let same = next == layout;
            layout = next;
            if same {
                break;
            }
        }
        self.before = before;
        layout
    }

    /// What was planned before, as far as it is still wanted, allowed, and fits.
    fn keep(&self) -> Layout {
        let mut layout = Layout::empty(&self.space);
        for &slot in &self.order {
            let first = self.before.pairs.partition_point(|&pair| pair < (slot, 0));
            let places = self.before.pairs[first..].iter().take_while(|&&(other, _)| other == slot);
            let mut places: Vec<(bool, Cost, BinIndex)> =
                places.map(|&(_, bin)| (!self.space.pins(bin, slot), self.cost(&layout, slot, bin), bin)).collect();
            places.sort_unstable();
            for (.., bin) in places {
                if layout.count(slot) < self.space.slots[slot].wanted && layout.takes(&self.space, bin, slot) {
                    layout.put(&self.space, bin, slot);
                }
            }
        }
        layout
    }

    /// From what stays to a plan, by the three steps above.
    fn rest(&self, layout: Layout) -> Layout {
        climb::climb(self, self.settle(layout))
    }

    /// The first two of them.
    fn settle(&self, mut layout: Layout) -> Layout {
        for round in 0..limits::PLACEMENT_ROUNDS_MAX {
            let mut next = self.fill(&layout);
            if round > 0 {
                // What fits only into room that was made by step 2 counts as caused by the loss.
                next = self.at_most(&layout, next);
            }
            let changed = repair::improve(self, &mut next, false);
            if next == layout {
                break;
            }
            layout = next;
            if !changed {
                break;
            }
        }
        layout
    }

    fn fill_exactly(&self, layout: &Layout) -> Option<Layout> {
        exact::fill(&self.space, &self.objective, &self.before, layout)
    }

    /// `layout` with what is missing, where there is room.
    fn fill(&self, layout: &Layout) -> Layout {
        self.fill_exactly(layout).unwrap_or_else(|| greedy::fill(self, layout.clone()))
    }

    /// Of what `filled` adds to `layout`, the most valuable, as far as the bound on loads allows.
    fn at_most(&self, layout: &Layout, filled: Layout) -> Layout {
        let spare = self.before.loads_max().saturating_sub(self.before.loads(layout));
        if filled.replicas() - layout.replicas() <= spare {
            return filled;
        }
        let mut next = layout.clone();
        let added = (0..self.space.slots.len()).flat_map(|slot| {
            let new = filled.holders(slot).iter().filter(move |&&bin| !layout.has(bin, slot));
            new.enumerate().map(move |(nth, &bin)| (self.objective.adds(slot, layout.count(slot) + 1 + nth), slot, bin))
        });
        let mut added: Vec<_> = added.collect();
        added.sort_unstable_by(|a, b| b.0.cmp(&a.0).then((a.1, a.2).cmp(&(b.1, b.2))));
        for (_, slot, bin) in added {
            if self.before.loads(&next) < self.before.loads_max() && next.takes(&self.space, bin, slot) {
                next.put(&self.space, bin, slot);
            }
        }
        next
    }

    /// What one more replica of `slot` on `bin` costs beside what is in `layout`.
    pub(super) fn cost(&self, layout: &Layout, slot: SlotIndex, bin: BinIndex) -> Cost {
        let (left, added) = (layout.left(&self.space, bin), self.space.added(layout.on(bin), slot));
        let plain = cost(&self.space, self.objective.demand[slot], self.before.has(slot, bin), slot, bin);
        plain.plus(crowding(&self.space, left, added))
    }

    /// Is `slot` entitled to be resident, whatever that moves?
    pub(super) fn entitled(&self, slot: SlotIndex) -> bool {
        self.space.stays(slot) || matches!(self.objective.class[slot], Class::Awaited(_))
    }
}

/// Slots that are due, by their claim: pinned, then awaited (longest first), then resident before (latest asked for first),
/// then by demand, then the larger.
fn claims(space: &Space<'_>, objective: &Objective, before: &Before) -> Vec<SlotIndex> {
    use std::cmp::Reverse;
    let resident: BTreeSet<SlotIndex> = before.pairs.iter().map(|&(slot, _)| slot).collect();
    let mut order: Vec<SlotIndex> = (0..space.slots.len()).filter(|&slot| objective.due[slot]).collect();
    order.sort_by_key(|&slot| {
        let input = space.slots[slot].input;
        (
            objective.class[slot],
            !resident.contains(&slot),
            Reverse(input.last_wanted),
            Reverse(objective.demand[slot]),
            Reverse(input.footprint.total_bytes()),
            slot,
        )
    });
    order
}
