//! The best way to add replicas to what is placed already, exactly, where the question is small enough: a dynamic programme
//! over machines.
//!
//! What a plan is worth depends on one thing: how many replicas of each slot there are. So machines are gone through one by
//! one, and for every vector of counts that the machines so far can make, the cheapest way of making it is kept. Each machine
//! offers *options*: sets of slots that fit into its domains together, with shared bases counted once and its disk counted as
//! a whole. That is exhaustive search without its repetitions: 4 machines and 5 slots of two replicas are 243 vectors, where
//! there are millions of plans. It is not a flow, since the sizes differ and bases are shared: a knapsack on each domain.
//!
//! The work is counted, never timed: more than `PLACEMENT_EXACT_STEPS_MAX` and the answer is `None`.

use std::collections::BTreeMap;

use crate::core::limits;
use crate::core::placement::objective::{Cost, Objective, cost, crowding};
use crate::core::placement::solve::Before;
use crate::core::placement::space::{BinIndex, Layout, SlotIndex, Space};

/// A set of open slots, by their positions.
type Mask = u16;

/// One thing a machine can do: the slots it takes in all, what that costs, and who takes what.
struct Offer {
    mask: Mask,
    cost: Cost,
    placed: Vec<(BinIndex, Mask)>,
}

struct Search<'s, 'a> {
    space: &'s Space<'a>,
    objective: &'s Objective,
    before: &'s Before,
    layout: &'s Layout,
    /// Slots that may get more replicas.
    open: Vec<SlotIndex>,
    /// How many more, each.
    more: Vec<usize>,
    /// What one more of each adds to the number of a state.
    radix: Vec<usize>,
    states: usize,
    steps: u64,
}

/// `layout` with the additions that are worth most, of these the cheapest; nothing in it moves. `None`: too large a question.
pub(super) fn fill(space: &Space<'_>, objective: &Objective, before: &Before, layout: &Layout) -> Option<Layout> {
    let hosts = space.hosts.len();
    let open = |slot: &SlotIndex| objective.due[*slot] && layout.count(*slot) < space.slots[*slot].wanted;
    let open: Vec<SlotIndex> = (0..space.slots.len()).filter(open).collect();
    if open.is_empty() || hosts == 0 {
        return Some(layout.clone());
    }
    if open.len() > limits::PLACEMENT_EXACT_SLOTS_MAX {
        return None;
    }
    let more: Vec<usize> =
        open.iter().map(|&slot| (space.slots[slot].wanted - layout.count(slot)).min(hosts)).collect();
    let mut radix = Vec::new();
    let mut states = 1usize;
    for more in &more {
        radix.push(states);
        states = states.checked_mul(more + 1).filter(|&states| states <= limits::PLACEMENT_EXACT_STATES_MAX)?;
    }
    Search { space, objective, before, layout, open, more, radix, states, steps: 0 }.run()
}

impl Search<'_, '_> {
    fn run(mut self) -> Option<Layout> {
        let mut best: Vec<Option<Cost>> = vec![None; self.states];
        best[0] = Some(Cost::default());
        let full: Vec<Mask> = (0..self.states).map(|state| self.full(state)).collect();
        let mut machines: Vec<(Vec<Offer>, Vec<u32>)> = Vec::new();
        for host in 0..self.space.hosts.len() {
            let offers = self.offers(host)?;
            let mut next = best.clone();
            let mut chosen = vec![u32::MAX; self.states];
            for (number, offer) in offers.iter().enumerate() {
                let step = self.step(offer.mask);
                self.spend(self.states as u64)?;
                for (state, so_far) in best.iter().enumerate() {
                    let Some(so_far) = so_far else { continue };
                    if full[state] & offer.mask != 0 {
                        continue;
                    }
                    let total = so_far.plus(offer.cost);
                    if next[state + step].is_none_or(|known| total < known) {
                        next[state + step] = Some(total);
                        chosen[state + step] = number as u32;
                    }
                }
            }
            best = next;
            machines.push((offers, chosen));
        }
        let reached = (0..self.states).filter_map(|state| Some((self.worth(state), best[state]?, state)));
        let (.., state) = reached.max_by(|a, b| a.0.cmp(&b.0).then(b.1.cmp(&a.1)).then(b.2.cmp(&a.2)))?;
        Some(self.laid_out(state, &machines))
    }

    fn spend(&mut self, steps: u64) -> Option<()> {
        self.steps += steps;
        (self.steps <= limits::PLACEMENT_EXACT_STEPS_MAX).then_some(())
    }

    fn step(&self, mask: Mask) -> usize {
        positions(mask).map(|position| self.radix[position]).sum()
    }

    fn count(&self, state: usize, position: usize) -> usize {
        state / self.radix[position] % (self.more[position] + 1)
    }

    /// The slots of which `state` has all.
    fn full(&self, state: usize) -> Mask {
        let full = (0..self.open.len()).filter(|&position| self.count(state, position) == self.more[position]);
        full.fold(0, |mask, position| mask | 1 << position)
    }

    fn worth(&self, state: usize) -> u128 {
        let worth = |(position, &slot): (usize, &SlotIndex)| {
            self.objective.worth(slot, self.layout.count(slot) + self.count(state, position))
        };
        self.open.iter().enumerate().map(worth).sum()
    }

    /// What a machine can do, each set of slots in the cheapest way; without doing nothing.
    fn offers(&mut self, host: usize) -> Option<Vec<Offer>> {
        let mut reached: BTreeMap<Mask, Offer> = BTreeMap::new();
        reached.insert(0, Offer { mask: 0, cost: Cost::default(), placed: Vec::new() });
        for bin in self.space.hosts[host].bins.clone() {
            let sets = self.sets(bin)?;
            let mut next: BTreeMap<Mask, Offer> = BTreeMap::new();
            for offer in reached.values() {
                for (mask, cost) in &sets {
                    self.spend(1)?;
                    if mask & offer.mask != 0 {
                        continue;
                    }
                    let total = offer.cost.plus(*cost);
                    let both = mask | offer.mask;
                    if next.get(&both).is_none_or(|known| total < known.cost) {
                        let placed = offer.placed.iter().copied().chain((*mask != 0).then_some((bin, *mask)));
                        next.insert(both, Offer { mask: both, cost: total, placed: placed.collect() });
                    }
                }
            }
            reached = next;
        }
        let stored = |offer: &Offer| {
            let slots = positions(offer.mask).map(|position| self.open[position]);
            self.space.disk_short(host, self.layout.of_host(self.space, host).chain(slots)) == 0
        };
        Some(reached.into_values().filter(|offer| offer.mask != 0 && stored(offer)).collect())
    }

    /// Sets of open slots that fit on one domain beside what is there, each with its cost.
    fn sets(&mut self, bin: BinIndex) -> Option<Vec<(Mask, Cost)>> {
        let host = self.space.bins[bin].host;
        let may = |&position: &usize| {
            let slot = self.open[position];
            self.space.role_allows(bin, slot) && !self.layout.on_host(self.space, host, slot)
        };
        let allowed: Vec<usize> = (0..self.open.len()).filter(may).collect();
        let (left, used) = (self.layout.left(self.space, bin), self.layout.used(bin));
        // With what is on the domain then, and the cost but for the room.
        let mut sets: Vec<(Mask, Vec<SlotIndex>, Cost)> = vec![(0, self.layout.on(bin).to_vec(), Cost::default())];
        let mut found = vec![(0, Cost::default())];
        for position in allowed {
            let slot = self.open[position];
            let plain = cost(self.space, self.objective.demand[slot], self.before.has(slot, bin), slot, bin);
            for index in 0..sets.len() {
                self.spend(1)?;
                let (mask, there, so_far) = &sets[index];
                let (mask, there) = (mask | 1 << position, there.iter().copied().chain([slot]).collect::<Vec<_>>());
                let bytes = self.space.footprint(&there);
                if bytes <= self.space.bins[bin].budget_bytes {
                    let plain = so_far.plus(plain);
                    found.push((mask, plain.plus(crowding(self.space, left, bytes - used))));
                    sets.push((mask, there, plain));
                }
            }
        }
        Some(found)
    }

    /// Goes back from the best state and puts everything where it was.
    fn laid_out(&self, mut state: usize, machines: &[(Vec<Offer>, Vec<u32>)]) -> Layout {
        let mut layout = self.layout.clone();
        for (offers, chosen) in machines.iter().rev() {
            let Some(offer) = offers.get(chosen[state] as usize) else { continue };
            state -= self.step(offer.mask);
            for &(bin, mask) in &offer.placed {
                positions(mask).for_each(|position| layout.put(self.space, bin, self.open[position]));
            }
        }
        layout
    }
}

fn positions(mask: Mask) -> impl Iterator<Item = usize> {
    (0..Mask::BITS as usize).filter(move |position| mask >> position & 1 == 1)
}
