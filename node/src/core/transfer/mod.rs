//! Which chunk from whom next. Bytes never enter the core: it hears that a chunk was stored, corrupt or not to be had.
//!
//! An artifact that the plan wants here and the disk lacks goes through: manifest (from any holder; its hash is its name),
//! begin (preallocate, copy what other local artifacts share), fetch (rarest chunk first, several in flight per source,
//! each source while it behaves), finish (whole-file hash, rename).
//!
//! A source has as many requests in flight as its measured speed is worth. One that falls silent loses what others have
//! too; what is still late at the very end is asked of a faster one as well. Three corrupt chunks end a source. Several
//! nodes that fetch the same artifact from one whole holder ask it for different chunks, and each other for the rest.

mod chunkset;
mod due;
mod lane;
mod schedule;
mod sources;
mod state;

use std::collections::{BTreeMap, BTreeSet};

use crate::core::artifact::Bitmap;
use crate::core::limits;
use crate::core::seeded::{Bug, has};
use crate::core::transfer::lane::Lane;
use crate::core::transfer::schedule::{Round, ask_for_manifest};
use crate::core::types::{Digest, NodeId, Time};

pub use sources::Source;
pub use state::Transfer;

/// How a chunk request ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ChunkOutcome {
    /// Verified and written.
    Stored,
    /// Its hash was wrong; nothing was written.
    Corrupt,
    /// The source does not have it.
    Missing,
    /// The source did not answer, or answered busy. No strike.
    Failed,
}

/// What a transfer wants done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Action {
    /// Ask `from` for the manifest; then [`Transfers::manifest`] or [`Transfers::manifest_failed`].
    GetManifest {
        /// Of this artifact.
        artifact: Digest,
        /// A holder.
        from: NodeId,
    },
    /// Ask a partial holder which chunks it has; then [`Transfers::has`].
    GetHave {
        /// Of this artifact.
        artifact: Digest,
        /// A partial holder.
        from: NodeId,
    },
    /// Fetch, verify and write one chunk; then [`Transfers::chunk`].
    Fetch {
        /// Of this artifact.
        artifact: Digest,
        /// Its number.
        chunk: u32,
        /// Its length, bytes.
        bytes: u32,
        /// The source.
        from: NodeId,
    },
    /// Stop fetching a chunk from a source, which frees its place at once. If it came meanwhile, say so all the same.
    Cancel {
        /// Of this artifact.
        artifact: Digest,
        /// Its number.
        chunk: u32,
        /// The source.
        from: NodeId,
    },
    /// Verify the whole and put it in place; then [`Transfers::finished`].
    Finish {
        /// This artifact.
        artifact: Digest,
    },
}

/// Where a transfer stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stage {
    /// Needs its manifest.
    Manifest,
    /// The disk is being prepared.
    Beginning,
    /// Chunks are coming.
    Fetching,
    /// The whole is being verified.
    Finishing,
    /// Whole, verified, in place.
    Done,
    /// The disk refused; tried again later.
    Paused,
}

impl Stage {
    /// The word used in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Stage::Manifest | Stage::Beginning => "manifest",
            Stage::Fetching => "fetching",
            Stage::Finishing => "finishing",
            Stage::Done => "done",
            Stage::Paused => "paused",
        }
    }
}

/// A member that holds some or all of an artifact.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Holder {
    /// Which.
    pub node: NodeId,
    /// All of it.
    pub complete: bool,
}

/// All transfers into this node.
#[derive(Clone, Debug)]
pub struct Transfers {
    me: NodeId,
    transfers: BTreeMap<Digest, Transfer>,
    /// The ways to the members that are or were asked for chunks.
    lanes: BTreeMap<NodeId, Lane>,
    /// Requests that were given up since the last schedule.
    cancels: Vec<Action>,
    /// Something happened since the last schedule.
    touched: bool,
    /// When there may be more to do although nothing happens.
    due: Option<Time>,
}

impl Transfers {
    /// None yet, into node `me`.
    pub fn new(me: NodeId) -> Transfers {
        let (transfers, lanes) = (BTreeMap::new(), BTreeMap::new());
        Transfers { me, transfers, lanes, cancels: Vec::new(), touched: false, due: None }
    }

    /// All transfers since the start, by artifact.
    pub fn iter(&self) -> impl Iterator<Item = (&Digest, &Transfer)> {
        self.transfers.iter()
    }

    /// The transfer of `artifact`, if there was one.
    pub fn get(&self, artifact: &Digest) -> Option<&Transfer> {
        self.transfers.get(artifact)
    }

    /// What comes from `node`, measured over all transfers: bytes per second, or zero while nothing is asked of it.
    pub fn bytes_per_s(&self, node: &NodeId) -> u64 {
        self.lanes.get(node).filter(|lane| lane.in_flight() > 0).map_or(0, Lane::bytes_per_s)
    }

    /// Sets what should come here; transfers no longer wanted stop asking, keeping what they have.
    pub fn want(&mut self, artifacts: &BTreeSet<Digest>) {
        self.touched = true;
        self.transfers.retain(|artifact, transfer| {
            transfer.wanted = artifacts.contains(artifact);
            // Chunks that were asked for still come, and count until they have.
            transfer.wanted || transfer.stage == Stage::Done || transfer.in_flight() > 0
        });
        for artifact in artifacts {
            let transfer = self.transfers.entry(*artifact).or_insert_with(Transfer::new);
            if transfer.stage == Stage::Done {
                // It was here and no longer is: start over.
                *transfer = Transfer::new();
            }
        }
    }

    /// Who holds what may have changed: the next [`Transfers::schedule`] asks for holders again.
    pub fn holders_changed(&mut self) {
        self.transfers.values_mut().for_each(|transfer| transfer.stale = true);
        self.touched |= !self.transfers.is_empty();
    }

    /// Next steps. `holders` says which living members hold an artifact; it is asked only after
    /// [`Transfers::holders_changed`], for every input leads here.
    pub fn schedule(&mut self, now: Time, holders: impl Fn(&Digest) -> Vec<Holder>) -> Vec<Action> {
        if !self.touched && self.due.is_none_or(|due| now < due) {
            return Vec::new();
        }
        self.touched = false;
        for lane in self.lanes.values_mut().filter(|lane| lane.stalls_at().is_some_and(|at| now >= at)) {
            lane.stall(now);
        }
        let mut actions = std::mem::take(&mut self.cancels);
        let in_flight: usize = self.lanes.values().map(Lane::in_flight).sum();
        let budget = match has(Bug::AsksWithoutBound) {
            true => 1 << 20,
            false => limits::CHUNKS_IN_FLIGHT_MAX.saturating_sub(in_flight),
        };
        let mut round = Round { now, lanes: &mut self.lanes, budget, actions: &mut actions };
        for (artifact, transfer) in self.transfers.iter_mut().filter(|(_, transfer)| transfer.wanted) {
            if transfer.stage == Stage::Paused && now >= transfer.again_at {
                transfer.reason.clear();
                transfer.stage = Stage::Manifest;
            }
            match transfer.stage {
                Stage::Manifest => ask_for_manifest(*artifact, transfer, &holders(artifact), round.actions),
                Stage::Fetching => {
                    if transfer.stale {
                        transfer.know_holders(self.me, artifact, &holders(artifact));
                    }
                    round.fetch(*artifact, transfer);
                }
                Stage::Beginning | Stage::Finishing | Stage::Done | Stage::Paused => {}
            }
        }
        self.due = self.find_due(now);
        actions
    }

    /// When [`Transfers::schedule`] may find more to do although nothing happened.
    pub fn next_deadline(&self, now: Time) -> Option<Time> {
        if self.touched { self.find_due(now) } else { self.due }
    }

    /// A manifest whose hash is `artifact` is here, with its chunks' lengths. True: now prepare the disk, then
    /// [`Transfers::begun`] or [`Transfers::paused`].
    pub fn manifest(&mut self, artifact: Digest, chunk_bytes: Vec<u32>) -> bool {
        self.touched = true;
        let Some(transfer) = self.transfers.get_mut(&artifact) else { return false };
        transfer.asked_for_manifest = None;
        if transfer.stage != Stage::Manifest {
            return false;
        }
        transfer.describe(self.me, artifact, chunk_bytes);
        transfer.stage = Stage::Beginning;
        true
    }

    /// `from` had no usable manifest.
    pub fn manifest_failed(&mut self, now: Time, artifact: Digest, from: NodeId) {
        self.touched = true;
        if let Some(transfer) = self.transfers.get_mut(&artifact) {
            transfer.asked_for_manifest = None;
            transfer.sources.entry(from).or_default().rests_until = now.after(limits::SOURCE_REST);
            if transfer.stage == Stage::Manifest {
                transfer.pause(now, "no holder gave its manifest".to_owned());
                transfer.again_at = now.after(limits::SOURCE_REST);
            }
        }
    }

    /// The disk is ready and holds `have` already.
    pub fn begun(&mut self, artifact: Digest, have: Bitmap) {
        self.touched = true;
        if let Some(transfer) = self.transfers.get_mut(&artifact)
            && transfer.stage == Stage::Beginning
            && have.len() == transfer.chunks()
        {
            transfer.begin(&have);
        }
    }

    /// The disk refused; nothing is lost, it is tried again later.
    pub fn paused(&mut self, now: Time, artifact: Digest, why: String) {
        self.touched = true;
        if let Some(transfer) = self.transfers.get_mut(&artifact) {
            let under_way = transfer.pause(now, why);
            self.call_off(artifact, under_way);
        }
    }

    fn call_off(&mut self, artifact: Digest, asks: Vec<(u32, NodeId)>) {
        let Some(transfer) = self.transfers.get_mut(&artifact) else { return };
        for (chunk, from) in asks {
            if transfer.unask(chunk, from) {
                self.lanes.entry(from).or_default().ended(transfer.bytes_of(chunk));
                self.cancels.push(Action::Cancel { artifact, chunk, from });
            }
        }
    }

    /// `from` said which chunks it has; `None`: it did not answer.
    pub fn has(&mut self, now: Time, artifact: Digest, from: NodeId, have: Option<Bitmap>) {
        self.touched = true;
        let Some(transfer) = self.transfers.get_mut(&artifact) else { return };
        let Some(source) = transfer.sources.get_mut(&from) else { return };
        source.asked = false;
        let grew = match &have {
            Some(map) if map.len() == transfer.chunks() => transfer.learn_map(&from, map),
            _ => {
                transfer.forget_map(&from);
                false
            }
        };
        // A map is worth asking for about as often as chunks come; of a holder that gains nothing, ever less often.
        let partial = transfer.sources.values().filter(|source| source.used && !source.complete).count() as u64;
        let shortest = limits::HAVE_REST_MIN.times(partial.div_ceil(4).max(1)).max(transfer.pace());
        if let Some(source) = transfer.sources.get_mut(&from) {
            source.map_rest = if grew { shortest } else { source.map_rest.times(2).max(shortest) };
            source.map_rest = source.map_rest.min(limits::HAVE_REST);
            source.ask_again_at = now.after(source.map_rest);
        }
    }

    /// A chunk request ended.
    pub fn chunk(&mut self, now: Time, artifact: Digest, chunk: u32, from: NodeId, outcome: ChunkOutcome) {
        self.touched = true;
        let Some(transfer) = self.transfers.get_mut(&artifact) else { return };
        let bytes = transfer.bytes_of(chunk);
        let asked = transfer.unask(chunk, from);
        let lane = self.lanes.entry(from).or_default();
        if asked {
            lane.ended(bytes);
        }
        let known = transfer.has_chunk(chunk);
        let Some(source) = transfer.sources.get_mut(&from) else { return };
        match outcome {
            ChunkOutcome::Corrupt if has(Bug::CountsCorrupt) => transfer.came(now, chunk),
            ChunkOutcome::Stored => {
                lane.came(now, bytes, transfer.chunk_bytes_max);
                if known {
                    // Asked of two sources, and both brought it.
                    transfer.wasted_bytes += u64::from(bytes);
                    return;
                }
                source.chunks += 1;
                source.bytes += u64::from(bytes);
                transfer.came(now, chunk);
                let others = transfer.asks_that(|other, _| other == chunk);
                self.call_off(artifact, others);
            }
            // A late answer to a request that was given up is no strike.
            _ if !asked => {}
            ChunkOutcome::Corrupt => {
                lane.came(now, bytes, transfer.chunk_bytes_max);
                source.strikes += u32::from(!has(Bug::NeverStrikes));
                let out = source.is_out();
                transfer.corrupt += 1;
                transfer.wasted_bytes += u64::from(bytes);
                transfer.refuse(&from, chunk);
                if out {
                    transfer.forget_map(&from);
                    transfer.stale = true;
                    let owed = transfer.asks_that(|_, source| *source == from);
                    self.call_off(artifact, owed);
                }
            }
            ChunkOutcome::Missing => {
                source.rests_until = now.after(limits::SOURCE_REST);
                // A whole holder that cannot read a chunk looks at it itself and, if need be, is whole no longer.
                if !source.complete {
                    transfer.forget_map(&from);
                }
            }
            ChunkOutcome::Failed => lane.failed(now),
        }
    }

    /// A member is gone: what it owed is given to others.
    pub fn lost(&mut self, node: NodeId) {
        self.lanes.remove(&node);
        self.touched |= !self.transfers.is_empty();
        for transfer in self.transfers.values_mut() {
            for (chunk, from) in transfer.asks_that(|_, from| *from == node) {
                transfer.unask(chunk, from);
            }
            transfer.forget_map(&node);
            if let Some(source) = transfer.sources.get_mut(&node) {
                (source.asked, source.used) = (false, false);
            }
            if transfer.asked_for_manifest == Some(node) {
                transfer.asked_for_manifest = None;
            }
            transfer.stale = true;
        }
    }

    /// The whole was verified and is in place, or chunks turned out damaged and must come again.
    pub fn finished(&mut self, now: Time, artifact: Digest, result: Result<(), String>) {
        self.touched = true;
        let Some(transfer) = self.transfers.get_mut(&artifact) else { return };
        match result {
            Ok(()) => transfer.stage = Stage::Done,
            Err(why) => {
                transfer.pause(now, why);
            }
        }
    }
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
