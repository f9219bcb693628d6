//! Bandwidth: every node has so many bytes a second up and down, and the chunks on their way share them. A flow gets the
//! smaller of an equal share of its source's way up and of its receiver's way down; what a flow cannot use because its
//! other end is slower is not given to its neighbours, so that a busy link carries somewhat less here than with max-min
//! sharing. Small messages (gossip, plans, questions) take latency and no bandwidth.

use std::collections::{BTreeMap, BTreeSet};

use fednode::core::types::Time;

/// A flow's number.
pub type FlowId = u64;

#[derive(Clone, Debug)]
struct Flow {
    from: usize,
    to: usize,
    bytes_left: u64,
    bytes_per_s: u64,
    /// When `bytes_left` was true.
    at: Time,
    /// The wake-up that is on its way.
    wake: Time,
}

#[derive(Clone, Debug, Default)]
struct End {
    up_bytes_per_s: u64,
    down_bytes_per_s: u64,
    sending: BTreeSet<FlowId>,
    receiving: BTreeSet<FlowId>,
}

/// All chunks on their way.
#[derive(Clone, Debug, Default)]
pub struct Flows {
    ends: Vec<End>,
    flows: BTreeMap<FlowId, Flow>,
}

/// A flow wants [`Flows::due`] at this time.
pub type Wake = (Time, FlowId);

impl Flows {
    /// Nodes with their bytes per second up and down.
    pub fn new(capacities: impl Iterator<Item = (u64, u64)>) -> Flows {
        let end =
            |(up, down): (u64, u64)| End { up_bytes_per_s: up.max(1), down_bytes_per_s: down.max(1), ..End::default() };
        Flows { ends: capacities.map(end).collect(), flows: BTreeMap::new() }
    }

    /// How many flows `node` sends.
    pub fn sending(&self, node: usize) -> usize {
        self.ends[node].sending.len()
    }

    /// Begins a flow; `wakes` takes what must be asked for again.
    pub fn begin(&mut self, now: Time, id: FlowId, from: usize, to: usize, bytes: u64, wakes: &mut Vec<Wake>) {
        let flow = Flow { from, to, bytes_left: bytes, bytes_per_s: 0, at: now, wake: Time(u64::MAX) };
        self.flows.insert(id, flow);
        self.ends[from].sending.insert(id);
        self.ends[to].receiving.insert(id);
        self.share(now, from, to, wakes);
    }

    /// Ends a flow, arrived or not; true if it was there.
    pub fn end(&mut self, now: Time, id: FlowId, wakes: &mut Vec<Wake>) -> bool {
        let Some(flow) = self.flows.remove(&id) else { return false };
        self.ends[flow.from].sending.remove(&id);
        self.ends[flow.to].receiving.remove(&id);
        self.share(now, flow.from, flow.to, wakes);
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

    /// Shares the two ends anew. A flow that became slower keeps its early wake-up and is asked again then.
    fn share(&mut self, now: Time, from: usize, to: usize, wakes: &mut Vec<Wake>) {
        let ends = [from, to].into_iter().flat_map(|node| self.ends[node].sending.union(&self.ends[node].receiving));
        let touched: BTreeSet<FlowId> = ends.copied().collect();
        for id in touched {
            let Some(flow) = self.flows.get_mut(&id) else { continue };
            flow.settle(now);
            let up = self.ends[flow.from].up_bytes_per_s / self.ends[flow.from].sending.len().max(1) as u64;
            let down = self.ends[flow.to].down_bytes_per_s / self.ends[flow.to].receiving.len().max(1) as u64;
            flow.bytes_per_s = up.min(down).max(1);
            let arrival = flow.arrival();
            if arrival < flow.wake {
                flow.wake = arrival;
                wakes.push((arrival, id));
            }
        }
    }
}

impl Flow {
    fn settle(&mut self, now: Time) {
        let moved = u128::from(now.since(self.at).0) * u128::from(self.bytes_per_s) / 1_000_000_000;
        self.bytes_left = self.bytes_left.saturating_sub(u64::try_from(moved).unwrap_or(u64::MAX));
        self.at = now;
    }

    fn arrival(&self) -> Time {
        let nanos = (u128::from(self.bytes_left) * 1_000_000_000).div_ceil(u128::from(self.bytes_per_s));
        Time(self.at.0.saturating_add(u64::try_from(nanos).unwrap_or(u64::MAX)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Plays flows of (from, to, bytes) that begin together and tells when each arrives, in milliseconds.
    fn arrivals(capacities: &[(u64, u64)], started: &[(usize, usize, u64)]) -> Vec<u64> {
        let mut flows = Flows::new(capacities.iter().copied());
        let mut wakes = Vec::new();
        for (id, &(from, to, bytes)) in (0..).zip(started) {
            flows.begin(Time(0), id, from, to, bytes, &mut wakes);
        }
        let mut arrived = vec![0; started.len()];
        while let Some(next) = wakes.iter().min().copied() {
            wakes.retain(|wake| *wake != next);
            if flows.due(next.0, next.1, &mut wakes) {
                flows.end(next.0, next.1, &mut wakes);
                arrived[next.1 as usize] = next.0.0 / 1_000_000;
            }
        }
        arrived
    }

    #[test]
    fn a_link_is_shared_equally_and_speeds_up_when_a_neighbour_is_done() {
        let nodes = [(1000, 1000), (1000, 1000), (1000, 1000)];
        assert_eq!(arrivals(&nodes, &[(0, 1, 1000)]), [1000]);
        // 500 bytes each in the first second; then the longer one has the link to itself.
        assert_eq!(arrivals(&nodes, &[(0, 1, 500), (0, 2, 1500)]), [1000, 2000]);
        // Two sources into one receiver share its way down.
        assert_eq!(arrivals(&nodes, &[(0, 2, 500), (1, 2, 500)]), [1000, 1000]);
    }

    #[test]
    fn the_slower_end_decides() {
        assert_eq!(arrivals(&[(100, 1), (1, 50)], &[(0, 1, 100)]), [2000]);
    }
}
