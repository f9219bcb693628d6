//! Who gives what: the sources of one transfer, their maps, and how those who fetch the same artifact share out whom to ask
//! for which chunk first.

use std::collections::BTreeSet;

use crate::core::artifact::Bitmap;
use crate::core::chance::mix;
use crate::core::limits;
use crate::core::transfer::Holder;
use crate::core::transfer::chunkset::ChunkSet;
use crate::core::transfer::state::Transfer;
use crate::core::types::{Digest, Duration, NodeId, Time};

/// What a source has.
#[derive(Clone, Debug, Default)]
pub(super) enum Have {
    /// It was not asked yet, or is to be asked again.
    #[default]
    Unknown,
    /// Everything.
    All,
    /// These chunks.
    Chunks(ChunkSet),
}

/// One source of one transfer.
#[derive(Clone, Debug, Default)]
pub struct Source {
    pub(super) have: Have,
    /// It says that it has all.
    pub(super) complete: bool,
    /// A living holder that is among those asked.
    pub(super) used: bool,
    /// A request for its map is under way.
    pub(super) asked: bool,
    /// A partial holder has grown by then: ask it again.
    pub(super) ask_again_at: Time,
    /// How long its map was left alone last; doubles while it has nothing new.
    pub(super) map_rest: Duration,
    pub(super) rests_until: Time,
    /// Chunks that it sent corrupt: not asked of it again.
    pub(super) refused: BTreeSet<u32>,
    /// Corrupt chunks it sent.
    pub strikes: u32,
    /// Verified chunks it sent.
    pub chunks: u32,
    /// Verified bytes it sent.
    pub bytes: u64,
}

impl Source {
    pub(super) fn is_out(&self) -> bool {
        self.strikes >= limits::STRIKES_MAX
    }

    pub(super) fn has(&self, chunk: u32) -> bool {
        match &self.have {
            Have::Unknown => false,
            Have::All => true,
            Have::Chunks(chunks) => chunks.has(chunk),
        }
    }
}

impl Transfer {
    /// A source has nothing that is known of any more.
    pub(super) fn forget_map(&mut self, node: &NodeId) {
        let Some(source) = self.sources.get_mut(node) else { return };
        if let Have::Chunks(chunks) = std::mem::take(&mut source.have)
            && !source.complete
        {
            chunks.without(&ChunkSet::default()).for_each(|chunk| self.rarity.count(chunk, false));
        }
    }

    /// A partial holder said what it has; true if it has more than was known.
    pub(super) fn learn_map(&mut self, node: &NodeId, map: &Bitmap) -> bool {
        let chunks = self.chunks();
        let Some(source) = self.sources.get_mut(node).filter(|source| source.used && !source.complete) else {
            return false;
        };
        let mut now = ChunkSet::of(map, chunks);
        source.refused.iter().for_each(|&chunk| {
            now.remove(chunk);
        });
        let before = match std::mem::take(&mut source.have) {
            Have::Chunks(chunks) => chunks,
            Have::Unknown | Have::All => ChunkSet::empty(chunks),
        };
        let mut grew = false;
        for chunk in now.without(&before) {
            self.rarity.count(chunk, true);
            grew = true;
        }
        before.without(&now).for_each(|chunk| self.rarity.count(chunk, false));
        source.have = Have::Chunks(now);
        grew
    }

    /// A source sent a corrupt chunk: it is not asked for that one again.
    pub(super) fn refuse(&mut self, node: &NodeId, chunk: u32) {
        let chunks = self.chunks();
        let Some(source) = self.sources.get_mut(node) else { return };
        source.refused.insert(chunk);
        match &mut source.have {
            Have::Unknown => {}
            Have::All => {
                let mut all = ChunkSet::empty(chunks).complement();
                all.remove(chunk);
                source.have = Have::Chunks(all);
            }
            Have::Chunks(has) => {
                if has.remove(chunk) && !source.complete {
                    self.rarity.count(chunk, false);
                }
            }
        }
    }

    /// A corrupt chunk that nobody else can give is asked of its source once more: perhaps only a cable was at fault, and if
    /// not, the third strike says so clearly.
    pub(super) fn forgive(&mut self, now: Time) {
        let usable = |source: &&Source| source.used && !source.is_out();
        let others = |chunk, node: &NodeId| {
            let mut others = self.sources.iter().filter(|(other, source)| *other != node && usable(source));
            others.any(|(_, source)| source.has(chunk) || matches!(source.have, Have::Unknown))
        };
        let refusing = self.sources.iter().filter(|(_, source)| usable(source));
        let refused = refusing.flat_map(|(node, source)| source.refused.iter().map(|chunk| (*node, *chunk)));
        let last: Vec<(NodeId, u32)> =
            refused.filter(|(node, chunk)| self.free.has(*chunk) && !others(*chunk, node)).collect();
        for (node, chunk) in last {
            let Some(source) = self.sources.get_mut(&node) else { continue };
            source.refused.remove(&chunk);
            match &mut source.have {
                Have::Chunks(has) if source.complete => {
                    has.insert(chunk);
                }
                _ => {
                    source.ask_again_at = now;
                    self.forget_map(&node);
                }
            }
        }
    }

    /// Who holds it now. All whole holders are used, and a bounded number of partial ones: each node prefers others, so
    /// that in a large federation every one of them is somebody's source.
    pub(super) fn know_holders(&mut self, me: NodeId, artifact: &Digest, holders: &[Holder]) {
        self.stale = false;
        let mut partial: Vec<(u64, NodeId)> = Vec::new();
        for holder in holders.iter().filter(|holder| !holder.complete) {
            self.share_with(me, holder.node);
            let source = self.sources.entry(holder.node).or_default();
            if !source.is_out() {
                partial.push((weight(&artifact.0, &holder.node, u64::from(prefix(&me.0) as u32)), holder.node));
            }
        }
        partial.sort_unstable_by(|a, b| b.cmp(a));
        partial.truncate(limits::PARTIAL_SOURCES_MAX);
        let partial: BTreeSet<NodeId> = partial.into_iter().map(|(_, node)| node).collect();
        let complete: BTreeSet<NodeId> =
            holders.iter().filter(|holder| holder.complete).map(|holder| holder.node).collect();
        let known: BTreeSet<NodeId> = self.sources.keys().copied().chain(complete.iter().copied()).collect();
        for node in known {
            let (whole, part) = (complete.contains(&node), partial.contains(&node));
            let source = self.sources.entry(node).or_default();
            if source.complete != whole || !(whole || part) {
                self.forget_map(&node);
            }
            let Some(source) = self.sources.get_mut(&node) else { continue };
            source.used = whole || part;
            source.complete = whole;
            if whole && matches!(source.have, Have::Unknown) {
                source.have = Have::All;
                let refused = source.refused.clone();
                refused.into_iter().for_each(|chunk| self.refuse(&node, chunk));
            }
        }
    }

    /// Another member fetches the artifact too: of each chunk, one of all who fetch is the first to ask a whole holder.
    fn share_with(&mut self, me: NodeId, node: NodeId) {
        if self.sharers.len() >= limits::SHARERS_MAX || !self.sharers.insert(node) {
            return;
        }
        for chunk in 0..self.chunks() {
            if owner_weight(chunk, &node) > owner_weight(chunk, &me) {
                self.mine.remove(chunk);
            }
        }
    }
}

fn prefix(bytes: &[u8; 32]) -> u64 {
    u64::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3], bytes[4], bytes[5], bytes[6], bytes[7]])
}

pub(super) fn weight(artifact: &[u8; 32], node: &NodeId, salt: u64) -> u64 {
    mix(prefix(artifact) ^ mix(prefix(&node.0) ^ mix(salt)))
}

/// Rendezvous hashing: the node of the highest weight is the first to ask for the chunk, and all nodes agree on it.
fn owner_weight(chunk: u32, node: &NodeId) -> u64 {
    mix(mix(u64::from(chunk)) ^ prefix(&node.0))
}
