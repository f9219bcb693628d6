//! The choice itself: which holder is asked for a manifest, which chunk comes next, from whom, and what is taken from a
//! source that no longer gives.

use std::collections::BTreeMap;

use crate::core::limits;
use crate::core::transfer::chunkset::Search;
use crate::core::transfer::lane::Lane;
use crate::core::transfer::sources::{Have, Source};
use crate::core::transfer::state::Transfer;
use crate::core::transfer::{Action, Holder, Stage};
use crate::core::types::{Digest, Duration, NodeId, Time};

/// One round of choices.
pub(super) struct Round<'a> {
    pub(super) now: Time,
    pub(super) lanes: &'a mut BTreeMap<NodeId, Lane>,
    /// Chunk requests that may still be made, of all transfers together.
    pub(super) budget: usize,
    pub(super) actions: &'a mut Vec<Action>,
}

/// Asks one holder for the manifest, unless one is asked already.
pub(super) fn ask_for_manifest(
    artifact: Digest,
    transfer: &mut Transfer,
    holders: &[Holder],
    actions: &mut Vec<Action>,
) {
    if transfer.asked_for_manifest.is_some() {
        return;
    }
    // The source that failed least recently, whole holders first.
    let rests = |holder: &Holder| transfer.sources.get(&holder.node).map_or(Time::default(), |s| s.rests_until);
    let Some(holder) = holders.iter().min_by_key(|holder| (rests(holder), !holder.complete, holder.node)) else {
        transfer.reason = "no reachable member holds it".to_owned();
        return;
    };
    transfer.reason.clear();
    transfer.asked_for_manifest = Some(holder.node);
    actions.push(Action::GetManifest { artifact, from: holder.node });
}

impl Round<'_> {
    /// Hands out as many chunk requests as the sources allow, or finishes a transfer that has all.
    pub(super) fn fetch(&mut self, artifact: Digest, transfer: &mut Transfer) {
        transfer.look_at = None;
        if transfer.is_full() {
            transfer.stage = Stage::Finishing;
            return self.actions.push(Action::Finish { artifact });
        }
        self.take_from_stalled(artifact, transfer);
        if self.budget == 0 {
            return;
        }
        if transfer.in_flight() == 0 {
            transfer.forgive(self.now);
        }
        let mut open = self.open_sources(transfer);
        // Others fetch it too: what falls to them is asked of a whole holder one chunk at a time, for they ask for it soon.
        let shared = transfer.sources.values().any(|source| source.used && !source.complete && !source.is_out());
        while self.budget > 0 && !transfer.free().is_empty() && !open.is_empty() {
            let emptiest = (0..open.len()).min_by_key(|&index| self.preference(&open[index]));
            let Some(index) = emptiest else { break };
            let node = open[index];
            let steals = !shared || self.lanes.get(&node).is_none_or(|lane| lane.in_flight() == 0);
            let chunk = transfer.sources.get(&node).and_then(|source| pick(transfer, source, steals));
            if let Some(chunk) = chunk {
                self.ask(artifact, transfer, chunk, node);
            }
            if chunk.is_none() || !self.is_open(&node) {
                open.swap_remove(index);
            }
        }
        if self.budget > 0 && transfer.free().is_empty() {
            self.end_game(artifact, transfer);
        }
        self.ask_for_maps(artifact, transfer);
        self.explain(transfer);
    }

    fn lane(&mut self, node: NodeId) -> &mut Lane {
        self.lanes.entry(node).or_default()
    }

    fn is_open(&self, node: &NodeId) -> bool {
        self.lanes.get(node).is_none_or(|lane| lane.is_open(self.now))
    }

    /// The emptiest lane first; of equal ones the fastest.
    fn preference(&self, node: &NodeId) -> (usize, std::cmp::Reverse<u64>, NodeId) {
        let lane = self.lanes.get(node);
        let (full, rate) = lane.map_or((0, 0), |lane| (lane.fullness(), lane.bytes_per_s()));
        (full, std::cmp::Reverse(rate), *node)
    }

    fn is_askable(&self, source: &Source) -> bool {
        source.used && !source.is_out() && self.now >= source.rests_until && !matches!(source.have, Have::Unknown)
    }

    fn open_sources(&self, transfer: &Transfer) -> Vec<NodeId> {
        let askable = transfer.sources.iter().filter(|(node, source)| self.is_askable(source) && self.is_open(node));
        askable.map(|(node, _)| *node).collect()
    }

    fn ask(&mut self, artifact: Digest, transfer: &mut Transfer, chunk: u32, from: NodeId) {
        let (now, bytes) = (self.now, transfer.bytes_of(chunk));
        transfer.ask(now, chunk, from);
        self.lane(from).asked(now, bytes);
        self.budget = self.budget.saturating_sub(1);
        self.actions.push(Action::Fetch { artifact, chunk, bytes, from });
    }

    /// A source is silent for too long: what others have too is called off there and asked of them. What nobody else has
    /// stays with it until the request itself times out.
    fn take_from_stalled(&mut self, artifact: Digest, transfer: &mut Transfer) {
        let stalled = |lanes: &BTreeMap<NodeId, Lane>, node: &NodeId| lanes.get(node).is_some_and(Lane::is_stalled);
        if !self.lanes.values().any(Lane::is_stalled) {
            return;
        }
        let others: Vec<NodeId> =
            transfer.sources.iter().filter(|(_, s)| self.is_askable(s)).map(|(n, _)| *n).collect();
        let healthy: Vec<NodeId> = others.into_iter().filter(|node| !stalled(self.lanes, node)).collect();
        let elsewhere =
            |chunk: u32| healthy.iter().any(|node| transfer.sources.get(node).is_some_and(|s| s.has(chunk)));
        for (chunk, from) in transfer.asks_that(|chunk, from| stalled(self.lanes, from) && elsewhere(chunk)) {
            self.call_off(artifact, transfer, chunk, from);
        }
    }

    pub(super) fn call_off(&mut self, artifact: Digest, transfer: &mut Transfer, chunk: u32, from: NodeId) {
        if transfer.unask(chunk, from) {
            self.lane(from).ended(transfer.bytes_of(chunk));
            self.budget += 1;
            self.actions.push(Action::Cancel { artifact, chunk, from });
        }
    }

    /// Every chunk that is missing is asked for: what is late at a slow source is asked, once more, of one that would be
    /// done in half the time. Whoever comes first wins; the other is called off.
    fn end_game(&mut self, artifact: Digest, transfer: &mut Transfer) {
        let late: Vec<(u32, NodeId)> = transfer
            .outstanding()
            .filter(|(_, asks)| asks.len() == 1)
            .map(|(chunk, asks)| (chunk, asks[0].from))
            .collect();
        let mut others = false;
        for (chunk, from) in late {
            if self.budget == 0 {
                return;
            }
            let bytes = transfer.bytes_of(chunk);
            let left = self.lanes.get(&from).map_or(Duration(0), |lane| lane.remaining(self.now));
            let sooner = transfer.sources.iter().filter(|(node, source)| {
                **node != from && self.is_askable(source) && source.has(chunk) && self.is_open(node)
            });
            let takes = |node: &NodeId| self.lanes.get(node).and_then(|lane| lane.would_take(bytes));
            let best = sooner.filter_map(|(node, _)| Some((takes(node)?, *node))).min();
            others |= best.is_some();
            if let Some((_, node)) = best.filter(|(takes, _)| takes.times(2) < left) {
                transfer.wasted_bytes += u64::from(bytes);
                self.ask(artifact, transfer, chunk, node);
            }
        }
        if others {
            transfer.look_at = Some(self.now.after(limits::END_GAME_PERIOD));
        }
    }

    /// Partial holders of which little or nothing is left to ask for are asked what they have by now.
    fn ask_for_maps(&mut self, artifact: Digest, transfer: &mut Transfer) {
        let now = self.now;
        let due: Vec<NodeId> = transfer
            .sources
            .iter()
            .filter(|(_, source)| source.used && !source.complete && !source.is_out() && !source.asked)
            .filter(|(node, source)| now >= source.ask_again_at.max(source.rests_until) && self.is_open(node))
            .map(|(node, _)| *node)
            .collect();
        for node in due {
            if let Some(source) = transfer.sources.get_mut(&node) {
                source.asked = true;
                self.actions.push(Action::GetHave { artifact, from: node });
            }
        }
    }

    fn explain(&self, transfer: &mut Transfer) {
        let reason = if transfer.sources.values().any(|source| source.used && !source.is_out()) {
            ""
        } else if transfer.sources.values().any(Source::is_out) {
            "every reachable holder sent corrupt chunks"
        } else {
            "no reachable member holds it"
        };
        if transfer.reason != reason {
            transfer.reason = reason.to_owned();
        }
    }
}

/// The next chunk to ask `source` for: of those that fewest partial holders have, first the ones that fall to this node,
/// then the others, from the end at which those that ask for them arrive last.
fn pick(transfer: &Transfer, source: &Source, steals: bool) -> Option<u32> {
    let (free, mine, start) = (transfer.free(), transfer.mine(), transfer.start());
    transfer.rarity().levels().find_map(|level| match &source.have {
        Have::Unknown => None,
        Have::Chunks(has) if !source.complete => Search { within: &[free, level, has], without: None }.upwards(start),
        Have::Chunks(has) => Search { within: &[free, level, has, mine], without: None }.upwards(start).or_else(|| {
            Search { within: &[free, level, has], without: Some(mine) }.downwards(start).filter(|_| steals)
        }),
        Have::All => Search { within: &[free, level, mine], without: None }
            .upwards(start)
            .or_else(|| Search { within: &[free, level], without: Some(mine) }.downwards(start).filter(|_| steals)),
    })
}
