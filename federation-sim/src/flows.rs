//! Bandwidth: every node has so many bytes a second up and down, and the chunks on their way share them max-min fairly:
//! what a flow cannot use because its other end is slower is given to its neighbours, until each flow meets a line that
//! is full and on which no other has more. Small messages (gossip, plans, questions) take latency and no bandwidth.
//!
//! Every end of a line keeps one number, its level: the most that it gives to one flow. A flow has the smaller of its two
//! ends' levels. A level follows from its neighbours' by progressive filling of this one end; when one changes, the ends
//! beyond its flows are filled anew, and so on, until nothing changes. The smallest level depends on no other, so it is
//! right the first time, then the next one: this ends, and where it ends is the max-min fair share, which is unique
//! (Bertsekas and Gallager, Data Networks, 6.5.2). A change therefore costs what it changes, not what there is.
//!
//! A level rises only if it rises by more than one part in [`CALM`]: otherwise the end of every chunk would change every
//! flow of a swarm by a few bytes a second. It falls at once, so that no line ever carries more than it can.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use fednode::core::types::Time;

/// A flow's number.
pub type FlowId = u64;

/// Less than one part in so many of a level is not worth giving: a line may stay that much below what it could carry.
const CALM: u64 = 64;

/// Levels that may rise for one change, for each end there is. A bound, not a tuning: beyond it levels only fall, each
/// once, and the next change nearby gives what was left over.
const RISES_PER_END: usize = 4;

#[derive(Clone, Debug)]
struct Flow {
    up: EndId,
    down: EndId,
    bytes_left: u64,
    bytes_per_s: u64,
    /// When `bytes_left` was true.
    at: Time,
    /// The wake-up that is on its way.
    wake: Time,
}

/// Twice a node's index is its way up, one more its way down.
type EndId = usize;

#[derive(Clone, Debug)]
struct End {
    bytes_per_s: u64,
    /// Most bytes per second of one flow; `u64::MAX` while all its flows are slower elsewhere.
    level: u64,
    /// Its flows in the order they began, each with its other end.
    flows: Vec<(FlowId, EndId)>,
    /// Waits to be filled anew.
    queued: bool,
}

/// All chunks on their way.
#[derive(Clone, Debug)]
pub struct Flows {
    ends: Vec<End>,
    flows: BTreeMap<FlowId, Flow>,
    /// As [`CALM`]; 0: a level follows whatever it could be.
    calm: u64,
    /// Room for the levels of neighbours.
    limits: Vec<u64>,
}

/// A flow wants [`Flows::due`] at this time.
pub type Wake = (Time, FlowId);

impl Flows {
    /// Nodes with their bytes per second up and down.
    pub fn new(capacities: impl Iterator<Item = (u64, u64)>) -> Flows {
        let end = |bytes: u64| End { bytes_per_s: bytes.max(1), level: u64::MAX, flows: Vec::new(), queued: false };
        let ends = capacities.flat_map(|(up, down)| [end(up), end(down)]).collect();
        Flows { ends, flows: BTreeMap::new(), calm: CALM, limits: Vec::new() }
    }

    /// How many flows `node` sends.
    pub fn sending(&self, node: usize) -> usize {
        self.ends[2 * node].flows.len()
    }

    /// Begins a flow; `wakes` takes what must be asked for again.
    pub fn begin(&mut self, now: Time, id: FlowId, from: usize, to: usize, bytes: u64, wakes: &mut Vec<Wake>) {
        let (up, down) = (2 * from, 2 * to + 1);
        self.flows.insert(id, Flow { up, down, bytes_left: bytes, bytes_per_s: 0, at: now, wake: Time(u64::MAX) });
        self.ends[up].flows.push((id, down));
        self.ends[down].flows.push((id, up));
        self.share(now, up, down, wakes);
    }

    /// Ends a flow, arrived or not; true if it was there.
    pub fn end(&mut self, now: Time, id: FlowId, wakes: &mut Vec<Wake>) -> bool {
        let Some(flow) = self.flows.remove(&id) else { return false };
        for end in [flow.up, flow.down] {
            self.ends[end].flows.retain(|(other, _)| *other != id);
        }
        self.share(now, flow.up, flow.down, wakes);
        true
    }

    /// A wake-up came. True: the last byte has arrived, end it. If the flow became slower meanwhile it wants another.
    pub fn due(&mut self, now: Time, id: FlowId, wakes: &mut Vec<Wake>) -> bool {
        let Some(flow) = self.flows.get_mut(&id).filter(|flow| flow.wake == now) else { return false };
        flow.settle(now);
        if flow.bytes_left == 0 {
            return true;
        }
        flow.wake = flow.arrival();
        wakes.push((flow.wake, id));
        false
    }

    /// The flows of two ends have changed: levels there and wherever that leads, then the speeds that follow from them.
    fn share(&mut self, now: Time, up: EndId, down: EndId, wakes: &mut Vec<Wake>) {
        let mut changed = BTreeSet::from([up, down]);
        let mut queue = VecDeque::from([up, down]);
        let mut rises_left = RISES_PER_END * self.ends.len();
        while let Some(end) = queue.pop_front() {
            self.ends[end].queued = false;
            let (before, could) = (self.ends[end].level, self.level(end));
            let rises = could > before;
            if could == before || rises && (rises_left == 0 || could < worth(before, self.calm)) {
                continue;
            }
            rises_left -= usize::from(rises);
            self.ends[end].level = could;
            changed.insert(end);
            self.queue_beyond(end, before, &mut queue);
        }
        for end in changed {
            for place in 0..self.ends[end].flows.len() {
                let (id, other) = self.ends[end].flows[place];
                let bytes_per_s = self.ends[end].level.min(self.ends[other].level);
                if let Some(flow) = self.flows.get_mut(&id).filter(|flow| flow.bytes_per_s != bytes_per_s) {
                    flow.adjust(now, bytes_per_s).inspect(|at| wakes.push((*at, id)));
                }
            }
        }
    }

    /// Progressive filling of one end: its flows get alike, but none more than its other end gives it.
    fn level(&mut self, end: EndId) -> u64 {
        let this = &self.ends[end];
        self.limits.clear();
        self.limits.extend(this.flows.iter().map(|&(_, other)| self.ends[other].level));
        self.limits.sort_unstable();
        let (mut left, mut flows) = (this.bytes_per_s, self.limits.len() as u64);
        for &limit in &self.limits {
            let alike = left / flows;
            if limit > alike {
                // A line never stands still, however many share it.
                return alike.max(1);
            }
            left -= limit;
            flows -= 1;
        }
        u64::MAX
    }

    /// Queues the ends whose level may depend on that of `end`, which was `before`.
    fn queue_beyond(&mut self, end: EndId, before: u64, queue: &mut VecDeque<EndId>) {
        let after = self.ends[end].level;
        for place in 0..self.ends[end].flows.len() {
            let (_, beyond) = self.ends[end].flows[place];
            let other = &mut self.ends[beyond];
            // Above what the other end could give, this one's level makes no difference.
            let reach = worth(other.level, self.calm);
            if !other.queued && before.min(reach) != after.min(reach) {
                other.queued = true;
                queue.push_back(beyond);
            }
        }
    }
}

/// The level that a higher one must reach to be worth a change.
fn worth(level: u64, calm: u64) -> u64 {
    level.saturating_add(level.checked_div(calm).unwrap_or(0)).max(level.saturating_add(1))
}

impl Flow {
    /// Another speed from now on, and the wake-up that is wanted. A flow that became slower keeps its early one and is
    /// asked again then.
    fn adjust(&mut self, now: Time, bytes_per_s: u64) -> Option<Time> {
        self.settle(now);
        self.bytes_per_s = bytes_per_s;
        let arrival = self.arrival();
        if arrival >= self.wake {
            return None;
        }
        self.wake = arrival;
        Some(arrival)
    }

    fn settle(&mut self, now: Time) {
        let moved = u128::from(now.since(self.at).0) * u128::from(self.bytes_per_s) / 1_000_000_000;
        self.bytes_left = self.bytes_left.saturating_sub(u64::try_from(moved).unwrap_or(u64::MAX));
        self.at = now;
    }

    fn arrival(&self) -> Time {
        let nanos = (u128::from(self.bytes_left) * 1_000_000_000).div_ceil(u128::from(self.bytes_per_s.max(1)));
        Time(self.at.0.saturating_add(u64::try_from(nanos).unwrap_or(u64::MAX)))
    }
}

#[cfg(test)]
mod tests;
