//! Weights: nothing unverified is served, liars are left alone, and the last verified copy is never dropped.

use std::collections::BTreeMap;

use fednode::core::keeping::holds::Promise;
use fednode::core::limits;
use fednode::core::membership::advert::{Advert, ReplicaState};
use fednode::core::transfer::ChunkOutcome;
use fednode::core::types::{Digest, NodeId, Time};

use super::Checkers;
use crate::world::SimNode;

/// Corrupt chunks that came, by receiver, artifact and sender; of one life and one transfer of the receiver.
#[derive(Default)]
pub(super) struct Copies {
    corrupt: BTreeMap<(usize, Digest), (u64, BTreeMap<NodeId, u32>)>,
}

impl Copies {
    /// A transfer begins, or begins again: strikes of one before may be forgotten.
    pub(super) fn begins(&mut self, node: usize, artifact: &Digest) {
        self.corrupt.remove(&(node, *artifact));
    }

    pub(super) fn chunk_came(
        &mut self,
        node: usize,
        life: u64,
        from: NodeId,
        artifact: &Digest,
        outcome: ChunkOutcome,
    ) {
        if outcome != ChunkOutcome::Corrupt {
            return;
        }
        let known = self.corrupt.entry((node, *artifact)).or_default();
        if known.0 != life {
            *known = (life, BTreeMap::new());
        }
        *known.1.entry(from).or_default() += 1;
    }
}

impl Checkers {
    /// *Verified*: a node says that it has an artifact whole only if it was verified there, and that a replica is ready
    /// only if its engine is.
    pub(crate) fn advert(&mut self, now: Time, index: usize, node: &SimNode, advert: &Advert) {
        let Some(process) = node.process.as_ref() else { return };
        let false_claim =
            advert.holdings.iter().find(|held| held.complete && !node.disk.complete.contains(&held.artifact));
        if let Some(held) = false_claim {
            self.unverified(now, index, &format!("claims to hold {} whole", held.artifact.short()));
        }
        let ready = advert.replicas.iter().filter(|replica| replica.state == ReplicaState::Ready);
        for replica in ready {
            let engine = process.engines.get(&replica.slot);
            if engine.is_none_or(|engine| !engine.ready || engine.order.artifact != replica.artifact) {
                self.unverified(now, index, &format!("claims that {} is ready", replica.slot));
            }
        }
    }

    /// *Verified*: a chunk is passed on only if it was verified here. Does not check chunks that rotted on the disk since;
    /// receivers find those.
    pub(crate) fn serves(&mut self, now: Time, index: usize, artifact: &Digest, chunk: u32, node: &SimNode) {
        if node.disk.partial.get(artifact).is_some_and(|partial| partial.unsound.contains(&chunk)) {
            self.unverified(now, index, "passes on a chunk that was never verified here");
        }
    }

    pub(crate) fn unverified(&mut self, now: Time, index: usize, what: &str) {
        self.violation(now, "verified", index, what.to_owned());
    }

    /// *Strikes*: a source of so many corrupt chunks is asked no more within a transfer. Does not check that strikes are
    /// remembered from one transfer to the next.
    pub(super) fn fetches(&mut self, now: Time, index: usize, node: &SimNode, artifact: &Digest, from: &NodeId) {
        let Some((life, senders)) = self.copies.corrupt.get(&(index, *artifact)) else { return };
        let corrupt = senders.get(from).copied().unwrap_or(0);
        if Some(*life) == node.life() && corrupt >= limits::STRIKES_MAX {
            let what = format!("asks for a chunk again where {corrupt} were corrupt");
            self.violation(now, "strikes", index, what);
        }
    }

    /// *Copies*: whoever deletes an artifact has the durable promise of a member that has a whole, verified copy, and
    /// so the last one is never dropped. Does not check copies that rot, before they are promised or later: the
    /// world spares those. A node does not read its copy before it promises it; it is read every thirty days.
    pub(crate) fn discards(
        &mut self,
        now: Time,
        index: usize,
        by: Option<usize>,
        artifact: &Digest,
        unix_s: u64,
        nodes: &[SimNode],
    ) {
        let me = nodes[index].id;
        let others = (0..nodes.len()).filter(|other| *other != index);
        let copies = others.filter(|&other| nodes[other].disk.complete.contains(artifact)).count();
        if nodes[index].disk.complete.contains(artifact) && copies == 0 {
            self.violation(now, "copies", index, format!("drops the last verified copy of {}", artifact.short()));
        }
        let promised = by.map(|by| &nodes[by].disk).is_some_and(|holder| {
            let in_force = |promise: &Promise| promise.artifact == *artifact && promise.until_unix_s > unix_s;
            let mut promises = holder.promises.iter().filter(|promise| in_force(promise));
            holder.complete.contains(artifact) && promises.any(|promise| promise.to == me)
        });
        if !promised {
            let what = format!("drops {} without a durable promise of a holder", artifact.short());
            self.violation(now, "copies", index, what);
        }
    }
}
