//! Which chunk from whom next. Bytes never enter the core: it hears that a chunk was stored, corrupt or not to be had.
//!
//! An artifact that the plan wants here and the disk lacks goes through: manifest (from any holder; its hash is its name),
//! begin (preallocate, copy what other local artifacts share), fetch (rarest chunk first, several in flight per source,
//! each source while it behaves), finish (whole-file hash, rename). Three corrupt chunks end a source.

mod schedule;

use std::collections::{BTreeMap, BTreeSet};

use crate::core::artifact::Bitmap;
use crate::core::limits;
use crate::core::transfer::schedule::{ask_for_manifest, fetch, is_full};
use crate::core::types::{Digest, NodeId, Time};

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

/// One source of one transfer.
#[derive(Clone, Debug, Default)]
pub struct Source {
    /// Chunks it has; `None` until a partial holder was asked.
    have: Option<Bitmap>,
    asked: bool,
    /// A partial holder has grown by then: ask it again.
    ask_again_at: Time,
    rests_until: Time,
    /// Corrupt chunks it sent.
    pub strikes: u32,
    /// Verified chunks it sent.
    pub chunks: u32,
    /// Verified bytes it sent.
    pub bytes: u64,
}

/// One artifact on its way here.
#[derive(Clone, Debug)]
pub struct Transfer {
    /// Where it stands.
    pub stage: Stage,
    /// The plan wants it here.
    wanted: bool,
    /// Lengths of its chunks.
    chunk_bytes: Vec<u32>,
    have: Bitmap,
    outstanding: BTreeMap<u32, NodeId>,
    /// Who gave what.
    pub sources: BTreeMap<NodeId, Source>,
    /// Chunks that failed verification.
    pub corrupt: u32,
    /// Chunks found on this disk when the transfer began.
    pub local: u32,
    /// Why it is paused, or empty.
    pub reason: String,
    again_at: Time,
    asked_for_manifest: Option<NodeId>,
}

impl Transfer {
    fn new() -> Transfer {
        Transfer {
            stage: Stage::Manifest,
            wanted: true,
            chunk_bytes: Vec::new(),
            have: Bitmap::default(),
            outstanding: BTreeMap::new(),
            sources: BTreeMap::new(),
            corrupt: 0,
            local: 0,
            reason: String::new(),
            again_at: Time::default(),
            asked_for_manifest: None,
        }
    }

    /// Chunks in all.
    pub fn chunks(&self) -> u32 {
        self.chunk_bytes.len() as u32
    }

    /// Chunks on disk.
    pub fn chunks_done(&self) -> u32 {
        self.have.count()
    }

    /// Bytes in all.
    pub fn total_bytes(&self) -> u64 {
        self.chunk_bytes.iter().map(|&bytes| u64::from(bytes)).sum()
    }

    /// Bytes on disk.
    pub fn done_bytes(&self) -> u64 {
        (0u32..).zip(&self.chunk_bytes).filter(|(index, _)| self.have.has(*index)).map(|(_, &b)| u64::from(b)).sum()
    }

    /// Wanted here and not here yet, whatever it waits for.
    pub fn is_under_way(&self) -> bool {
        self.wanted && self.stage != Stage::Done
    }

    /// Wanted here, and not waiting for something that may never come.
    pub fn is_active(&self) -> bool {
        self.wanted && matches!(self.stage, Stage::Beginning | Stage::Fetching | Stage::Finishing)
    }

    fn pause(&mut self, now: Time, why: String) {
        self.stage = Stage::Paused;
        self.asked_for_manifest = None;
        self.reason = why;
        self.again_at = now.after(limits::LOAD_BACKOFF.times(5));
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
#[derive(Clone, Debug, Default)]
pub struct Transfers {
    transfers: BTreeMap<Digest, Transfer>,
}

impl Transfers {
    /// All transfers since the start, by artifact.
    pub fn iter(&self) -> impl Iterator<Item = (&Digest, &Transfer)> {
        self.transfers.iter()
    }

    /// Sets what should come here; transfers no longer wanted stop asking, keeping what they have.
    pub fn want(&mut self, artifacts: &BTreeSet<Digest>) {
        self.transfers.retain(|artifact, transfer| {
            transfer.wanted = artifacts.contains(artifact);
            // Chunks that were asked for still come, and count until they have.
            transfer.wanted || transfer.stage == Stage::Done || !transfer.outstanding.is_empty()
        });
        for artifact in artifacts {
            let transfer = self.transfers.entry(*artifact).or_insert_with(Transfer::new);
            if transfer.stage == Stage::Done {
                // It was here and no longer is: start over.
                *transfer = Transfer::new();
            }
        }
    }

    /// Next steps. `holders` says which living members hold an artifact.
    pub fn schedule(&mut self, now: Time, holders: impl Fn(&Digest) -> Vec<Holder>) -> Vec<Action> {
        let mut load = self.load();
        let mut actions = Vec::new();
        for (artifact, transfer) in self.transfers.iter_mut().filter(|(_, transfer)| transfer.wanted) {
            match transfer.stage {
                Stage::Manifest => ask_for_manifest(*artifact, transfer, &holders(artifact), &mut actions),
                // Every input leads here; with all places taken there is nothing to look for.
                Stage::Fetching if !transfer.have.is_full() && is_full(&load) => {}
                Stage::Fetching => fetch(now, *artifact, transfer, &holders(artifact), &mut load, &mut actions),
                Stage::Paused if now >= transfer.again_at => {
                    transfer.reason.clear();
                    transfer.stage = Stage::Manifest;
                    ask_for_manifest(*artifact, transfer, &holders(artifact), &mut actions);
                }
                Stage::Beginning | Stage::Finishing | Stage::Done | Stage::Paused => {}
            }
        }
        actions
    }

    /// Chunk requests in flight, by source: of all transfers together, for they share the sources and this node's memory.
    fn load(&self) -> BTreeMap<NodeId, usize> {
        let mut load = BTreeMap::new();
        for source in self.transfers.values().flat_map(|transfer| transfer.outstanding.values()) {
            *load.entry(*source).or_default() += 1;
        }
        load
    }

    /// When [`Transfers::schedule`] may find more to do although nothing happened.
    pub fn next_deadline(&self, now: Time) -> Option<Time> {
        let wanted = || self.transfers.values().filter(|t| t.wanted);
        let paused = wanted().filter(|t| t.stage == Stage::Paused).map(|t| t.again_at);
        let fetching = wanted().filter(|t| t.stage == Stage::Fetching);
        let resting =
            fetching.flat_map(|t| t.sources.values().flat_map(|source| [source.rests_until, source.ask_again_at]));
        paused.chain(resting).filter(|at| *at > now).min()
    }

    /// A manifest whose hash is `artifact` is here, with its chunks' lengths. True: now prepare the disk, then
    /// [`Transfers::begun`] or [`Transfers::paused`].
    pub fn manifest(&mut self, artifact: Digest, chunk_bytes: Vec<u32>) -> bool {
        let Some(transfer) = self.transfers.get_mut(&artifact) else { return false };
        transfer.asked_for_manifest = None;
        if transfer.stage != Stage::Manifest {
            return false;
        }
        transfer.have = Bitmap::empty(chunk_bytes.len() as u32);
        transfer.chunk_bytes = chunk_bytes;
        transfer.stage = Stage::Beginning;
        true
    }

    /// `from` had no usable manifest.
    pub fn manifest_failed(&mut self, now: Time, artifact: Digest, from: NodeId) {
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
        if let Some(transfer) = self.transfers.get_mut(&artifact)
            && transfer.stage == Stage::Beginning
            && have.len() == transfer.chunks()
        {
            transfer.local = have.count();
            transfer.have = have;
            transfer.stage = Stage::Fetching;
        }
    }

    /// The disk refused; nothing is lost, it is tried again later.
    pub fn paused(&mut self, now: Time, artifact: Digest, why: String) {
        if let Some(transfer) = self.transfers.get_mut(&artifact) {
            transfer.outstanding.clear();
            transfer.pause(now, why);
        }
    }

    /// `from` said which chunks it has; `None`: it did not answer.
    pub fn has(&mut self, now: Time, artifact: Digest, from: NodeId, have: Option<Bitmap>) {
        if let Some(transfer) = self.transfers.get_mut(&artifact) {
            let source = transfer.sources.entry(from).or_default();
            source.asked = false;
            source.ask_again_at = now.after(limits::HAVE_REST);
            source.have = have;
        }
    }

    /// A chunk request ended.
    pub fn chunk(&mut self, now: Time, artifact: Digest, chunk: u32, from: NodeId, outcome: ChunkOutcome) {
        let Some(transfer) = self.transfers.get_mut(&artifact) else { return };
        if transfer.outstanding.get(&chunk) != Some(&from) {
            // A late answer to a request that was given to another source: welcome if it was stored, no strike if not.
            if outcome == ChunkOutcome::Stored {
                transfer.have.set(chunk);
            }
            return;
        }
        transfer.outstanding.remove(&chunk);
        let source = transfer.sources.entry(from).or_default();
        match outcome {
            ChunkOutcome::Stored => {
                transfer.have.set(chunk);
                source.chunks += 1;
                source.bytes += transfer.chunk_bytes.get(chunk as usize).copied().map_or(0, u64::from);
            }
            ChunkOutcome::Corrupt => {
                source.strikes += 1;
                transfer.corrupt += 1;
            }
            ChunkOutcome::Missing => {
                source.have = None;
                source.rests_until = now.after(limits::SOURCE_REST);
            }
            ChunkOutcome::Failed => source.rests_until = now.after(limits::SOURCE_REST),
        }
    }

    /// A member is gone: what it owed is given to others.
    pub fn lost(&mut self, node: NodeId) {
        for transfer in self.transfers.values_mut() {
            transfer.outstanding.retain(|_, source| *source != node);
            if let Some(source) = transfer.sources.get_mut(&node) {
                source.have = None;
                source.asked = false;
            }
            if transfer.asked_for_manifest == Some(node) {
                transfer.asked_for_manifest = None;
            }
        }
    }

    /// The whole was verified and is in place, or chunks turned out damaged and must come again.
    pub fn finished(&mut self, now: Time, artifact: Digest, result: Result<(), String>) {
        let Some(transfer) = self.transfers.get_mut(&artifact) else { return };
        match result {
            Ok(()) => transfer.stage = Stage::Done,
            Err(why) => transfer.pause(now, why),
        }
    }
}

#[cfg(test)]
mod tests;
