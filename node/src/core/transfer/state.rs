//! What one transfer knows: which chunks are here, which are asked for and of whom, and what each source has. It keeps
//! counts and sets up to date with every event, so that no event costs a walk over all chunks.

use std::collections::{BTreeMap, BTreeSet};

use crate::core::artifact::Bitmap;
use crate::core::limits;
use crate::core::transfer::Stage;
use crate::core::transfer::chunkset::{ChunkSet, Rarity};
use crate::core::transfer::lane::Meter;
use crate::core::transfer::sources::{Have, Source, weight};
use crate::core::types::{Digest, Duration, NodeId, Time};

/// A chunk request under way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Ask {
    pub(super) from: NodeId,
    pub(super) at: Time,
}

/// One artifact on its way here.
#[derive(Clone, Debug)]
pub struct Transfer {
    /// Where it stands.
    pub stage: Stage,
    /// The plan wants it here.
    pub(super) wanted: bool,
    /// Lengths of its chunks.
    pub(super) chunk_bytes: Vec<u32>,
    pub(super) chunk_bytes_max: u32,
    total_bytes: u64,
    have: ChunkSet,
    done_bytes: u64,
    /// Chunks that are neither here nor asked for.
    pub(super) free: ChunkSet,
    /// One request for each, two when the first is late in the end.
    outstanding: BTreeMap<u32, Vec<Ask>>,
    /// Who gave what.
    pub sources: BTreeMap<NodeId, Source>,
    pub(super) rarity: Rarity,
    /// Chunks that this node, among those that fetch the artifact, is the first to ask a whole holder for.
    pub(super) mine: ChunkSet,
    pub(super) sharers: BTreeSet<NodeId>,
    /// Where this node begins to ask: others begin elsewhere.
    start: u32,
    /// Verified bytes that came, of all sources.
    pub(super) meter: Meter,
    /// Bytes that were asked for again, or came corrupt.
    pub wasted_bytes: u64,
    /// Chunks that failed verification.
    pub corrupt: u32,
    /// Chunks found on this disk when the transfer began.
    pub local: u32,
    /// Why it is paused, or empty.
    pub reason: String,
    pub(super) again_at: Time,
    /// In the end game: when to look again for a source that is sooner done.
    pub(super) look_at: Option<Time>,
    pub(super) asked_for_manifest: Option<NodeId>,
    /// Who holds it has to be asked again.
    pub(super) stale: bool,
}

impl Transfer {
    pub(super) fn new() -> Transfer {
        Transfer {
            stage: Stage::Manifest,
            wanted: true,
            chunk_bytes: Vec::new(),
            chunk_bytes_max: 0,
            total_bytes: 0,
            have: ChunkSet::default(),
            done_bytes: 0,
            free: ChunkSet::default(),
            outstanding: BTreeMap::new(),
            sources: BTreeMap::new(),
            rarity: Rarity::default(),
            mine: ChunkSet::default(),
            sharers: BTreeSet::new(),
            start: 0,
            meter: Meter::default(),
            wasted_bytes: 0,
            corrupt: 0,
            local: 0,
            reason: String::new(),
            again_at: Time::default(),
            look_at: None,
            asked_for_manifest: None,
            stale: true,
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
        self.total_bytes
    }

    /// Bytes on disk, verified.
    pub fn done_bytes(&self) -> u64 {
        self.done_bytes
    }

    /// Wanted here and not here yet, whatever it waits for.
    pub fn is_under_way(&self) -> bool {
        self.wanted && self.stage != Stage::Done
    }

    /// Wanted here, and not waiting for something that may never come.
    pub fn is_active(&self) -> bool {
        self.wanted && matches!(self.stage, Stage::Beginning | Stage::Fetching | Stage::Finishing)
    }

    /// Verified bytes per second that come now, or zero.
    pub fn bytes_per_s(&self) -> u64 {
        if self.outstanding.is_empty() { 0 } else { self.meter.bytes_per_s() }
    }

    /// Chunk requests under way.
    pub fn in_flight(&self) -> usize {
        self.outstanding.values().map(Vec::len).sum()
    }

    pub(super) fn has_chunk(&self, chunk: u32) -> bool {
        self.have.has(chunk)
    }

    pub(super) fn is_full(&self) -> bool {
        self.have.is_full()
    }

    pub(super) fn bytes_of(&self, chunk: u32) -> u32 {
        self.chunk_bytes.get(chunk as usize).copied().unwrap_or(0)
    }

    pub(super) fn free(&self) -> &ChunkSet {
        &self.free
    }

    pub(super) fn rarity(&self) -> &Rarity {
        &self.rarity
    }

    pub(super) fn mine(&self) -> &ChunkSet {
        &self.mine
    }

    pub(super) fn start(&self) -> u32 {
        self.start
    }

    pub(super) fn outstanding(&self) -> impl Iterator<Item = (u32, &[Ask])> {
        self.outstanding.iter().map(|(chunk, asks)| (*chunk, asks.as_slice()))
    }

    /// It is tried again later. What is under way is told, to be called off.
    pub(super) fn pause(&mut self, now: Time, why: String) -> Vec<(u32, NodeId)> {
        self.stage = Stage::Paused;
        self.asked_for_manifest = None;
        self.reason = why;
        self.again_at = now.after(limits::LOAD_BACKOFF.times(5));
        self.asks_that(|_, _| true)
    }

    /// The manifest is here: nothing is known yet of what lies on the disk.
    pub(super) fn describe(&mut self, me: NodeId, artifact: Digest, chunk_bytes: Vec<u32>) {
        let chunks = chunk_bytes.len() as u32;
        self.total_bytes = chunk_bytes.iter().map(|&bytes| u64::from(bytes)).sum();
        self.chunk_bytes_max = chunk_bytes.iter().copied().max().unwrap_or(0);
        self.chunk_bytes = chunk_bytes;
        self.have = ChunkSet::empty(chunks);
        self.free = ChunkSet::empty(chunks);
        self.done_bytes = 0;
        self.rarity = Rarity::new(chunks, limits::PARTIAL_SOURCES_MAX);
        self.mine = ChunkSet::empty(chunks).complement();
        self.sharers.clear();
        self.start = (weight(&artifact.0, &me, 0) % u64::from(chunks.max(1))) as u32;
        for source in self.sources.values_mut() {
            (source.have, source.used, source.asked) = (Have::Unknown, false, false);
        }
        self.stale = true;
    }

    /// The disk is ready and holds `have` already.
    pub(super) fn begin(&mut self, have: &Bitmap) {
        self.have = ChunkSet::of(have, self.chunks());
        self.free = self.have.complement();
        let done = self.have.without(&self.free);
        self.done_bytes = done.map(|chunk| u64::from(self.chunk_bytes[chunk as usize])).sum();
        let under_way: Vec<u32> = self.outstanding.keys().copied().collect();
        under_way.into_iter().for_each(|chunk| {
            self.free.remove(chunk);
        });
        self.local = self.have.count();
        self.stage = Stage::Fetching;
    }

    /// A chunk is verified and on disk.
    fn store(&mut self, chunk: u32) {
        self.free.remove(chunk);
        if self.have.insert(chunk) {
            self.done_bytes += u64::from(self.bytes_of(chunk));
        }
    }

    /// A chunk came from a source, and is verified and on disk.
    pub(super) fn came(&mut self, now: Time, chunk: u32) {
        self.meter.add(now, u64::from(self.bytes_of(chunk)));
        self.store(chunk);
    }

    /// How long one chunk takes at the speed at which all of it comes.
    pub(super) fn pace(&self) -> Duration {
        match self.meter.bytes_per_s() {
            0 => Duration(0),
            rate => Duration(u64::from(self.chunk_bytes_max).saturating_mul(1_000_000_000) / rate),
        }
    }

    pub(super) fn ask(&mut self, now: Time, chunk: u32, from: NodeId) {
        if self.outstanding.is_empty() {
            self.meter.begins(now);
        }
        self.free.remove(chunk);
        self.outstanding.entry(chunk).or_default().push(Ask { from, at: now });
    }

    /// A request is over or given up; false if there was none. Without another the chunk is free for all again.
    pub(super) fn unask(&mut self, chunk: u32, from: NodeId) -> bool {
        let Some(asks) = self.outstanding.get_mut(&chunk) else { return false };
        let Some(index) = asks.iter().position(|ask| ask.from == from) else { return false };
        asks.swap_remove(index);
        if asks.is_empty() {
            self.outstanding.remove(&chunk);
            if !self.have.has(chunk) {
                self.free.insert(chunk);
            }
        }
        true
    }

    /// Requests under way that `which` picks by chunk and source.
    pub(super) fn asks_that(&self, which: impl Fn(u32, &NodeId) -> bool) -> Vec<(u32, NodeId)> {
        let all = self.outstanding.iter().flat_map(|(chunk, asks)| asks.iter().map(move |ask| (*chunk, ask.from)));
        all.filter(|(chunk, from)| which(*chunk, from)).collect()
    }
}
