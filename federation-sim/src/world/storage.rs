//! Disks and what comes onto them: space, chunks and their durable bitmap, whole artifacts. A crash keeps what the last
//! checkpoint of the bitmap speaks of. Bytes are not simulated, only whether a chunk is what its hash says.

use std::collections::BTreeSet;

use fednode::core::artifact::Bitmap;
use fednode::core::limits;
use fednode::core::machine::Input;
use fednode::core::seeded::{Bug, has};
use fednode::core::sizing;
use fednode::core::transfer::ChunkOutcome;
use fednode::core::types::{Digest, Duration};

use crate::flows::{FlowId, Wake};
use crate::world::World;
use crate::world::calls::{Pending, Reply, Waiting};
use crate::world::event::Event;
use crate::world::node::{CallId, Partial};

/// A chunk on its way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Carried {
    from: usize,
    to: usize,
    link: u64,
    call: CallId,
    artifact: Digest,
    chunk: u32,
}

/// Of the chunks that a lying source sends, of a million, so many are corrupt: the rest keeps it in use.
const LIES_PPM: u32 = 500_000;

impl World {
    pub(super) fn bytes_of(&self, artifact: &Digest) -> u64 {
        self.published.chunks.get(artifact).into_iter().flatten().map(|&bytes| u64::from(bytes)).sum()
    }

    /// What the store takes: what is whole or begun takes its whole size.
    pub(super) fn stored_bytes(&self, node: usize) -> u64 {
        let disk = &self.nodes[node].disk;
        disk.complete.iter().chain(disk.partial.keys()).map(|artifact| self.bytes_of(artifact)).sum()
    }

    /// Free disk, beside other files and within the owner's budget.
    pub(super) fn disk_free(&self, node: usize) -> u64 {
        let (sim, stored) = (&self.nodes[node], self.stored_bytes(node));
        let free = sim.spec.what.disk_bytes.saturating_sub(stored + sim.strain.files);
        sim.strain.budget.map_or(free, |budget| free.min(budget.saturating_sub(stored)))
    }

    /// The chunks of an artifact that a node could give.
    pub(super) fn chunks_of(&self, node: usize, artifact: &Digest) -> Option<Bitmap> {
        let disk = &self.nodes[node].disk;
        if disk.complete.contains(artifact) {
            return self.published.chunks.get(artifact).map(|chunks| Bitmap::full(chunks.len() as u32));
        }
        disk.partial.get(artifact).map(|partial| partial.have.clone())
    }

    /// Prepares the disk for an artifact, if it has room.
    pub(super) fn begin(&mut self, node: usize, artifact: Digest) {
        let bytes = self.bytes_of(&artifact);
        let chunks = self.published.chunks.get(&artifact).map_or(0, Vec::len) as u32;
        let (free, needed) = (self.disk_free(node), sizing::disk_needed_bytes(bytes));
        let input = if free < needed && !self.nodes[node].disk.partial.contains_key(&artifact) {
            self.lacks_room(node, needed - free);
            Input::TransferPaused(artifact, "the disk is too full".to_owned())
        } else {
            let none = || Bitmap::empty(chunks);
            let empty =
                || Partial { have: none(), durable: none(), since: 0, unsound: BTreeSet::new(), resumed: false };
            Input::Begun(artifact, self.nodes[node].disk.partial.entry(artifact).or_insert_with(empty).have.clone())
        };
        self.done_after(node, self.fsync(), input);
    }

    pub(super) fn fsync(&self) -> Duration {
        Duration(self.run.options.fsync_us * 1000)
    }

    /// Finishes a whole artifact.
    pub(super) fn finish(&mut self, node: usize, artifact: Digest) {
        let full = self.nodes[node].disk.partial.get(&artifact).is_some_and(|partial| partial.have.is_full());
        if !full {
            self.checkers.nonsense(self.now, node, "an artifact to be finished that lacks chunks");
        }
        let result = if full { Ok(()) } else { Err("chunks are missing".to_owned()) };
        self.done_after(node, self.finish_time(node, &artifact), Input::Finished(artifact, result));
    }

    /// An artifact was verified and is in its place for good.
    pub(super) fn finished(&mut self, node: usize, artifact: Digest) {
        let disk = &mut self.nodes[node].disk;
        disk.partial.remove(&artifact);
        disk.complete.insert(artifact);
        self.stats.last_stored_ms = Some(self.now.0 / 1_000_000);
    }

    /// A member asks for a chunk (artifact, number, length).
    pub(super) fn chunk_asked(
        &mut self,
        node: usize,
        from: usize,
        link: u64,
        call: CallId,
        (artifact, chunk, bytes): (Digest, u32, u32),
    ) {
        let has = self.chunks_of(node, &artifact).is_some_and(|have| have.has(chunk));
        let busy = self.flows.sending(node) >= limits::CHUNKS_SERVED_MAX;
        let waits = self.nodes[from].process.as_ref().is_some_and(|process| process.pending.contains_key(&call));
        match (has, busy) {
            (false, _) => self.reply(node, from, link, call, Reply::Chunk(ChunkOutcome::Missing)),
            (true, true) => self.reply(node, from, link, call, Reply::Chunk(ChunkOutcome::Failed)),
            (true, false) if waits => {
                self.checkers.serves(self.now, node, &artifact, chunk, &self.nodes[node]);
                let flow = self.flow_next;
                self.flow_next += 1;
                self.flow_of.insert(flow, Carried { from: node, to: from, link, call, artifact, chunk });
                self.flow_by_call.insert((from, call), flow);
                let mut wakes = Vec::new();
                self.flows.begin(self.now, flow, node, from, u64::from(bytes), &mut wakes);
                self.wake_flows(wakes);
            }
            // The asker gave up while its question was on its way.
            (true, false) => {}
        }
    }

    fn wake_flows(&mut self, wakes: Vec<Wake>) {
        wakes.into_iter().for_each(|(at, flow)| self.at(at, Event::FlowDue { flow }));
    }

    pub(super) fn flow_due(&mut self, flow: FlowId) {
        let mut wakes = Vec::new();
        let arrived = self.flows.due(self.now, flow, &mut wakes);
        self.wake_flows(wakes);
        let Some(carried) = self.flow_of.get(&flow).copied().filter(|_| arrived) else { return };
        self.end_flow(flow);
        let source = &self.nodes[carried.from];
        let rotten = source.disk.rotten.get(&carried.artifact) == Some(&carried.chunk);
        let corrupt = rotten || (source.strain.lies && self.fault_rng.chance(LIES_PPM));
        let outcome = if corrupt { ChunkOutcome::Corrupt } else { ChunkOutcome::Stored };
        self.reply(carried.from, carried.to, carried.link, carried.call, Reply::Chunk(outcome));
    }

    fn end_flow(&mut self, flow: FlowId) {
        if let Some(carried) = self.flow_of.remove(&flow) {
            self.flow_by_call.remove(&(carried.to, carried.call));
        }
        let mut wakes = Vec::new();
        self.flows.end(self.now, flow, &mut wakes);
        self.wake_flows(wakes);
    }

    /// A question for a chunk is over, whether the chunk came or not.
    pub(super) fn end_flow_of(&mut self, node: usize, call: CallId) {
        if let Some(flow) = self.flow_by_call.get(&(node, call)).copied() {
            self.end_flow(flow);
        }
    }

    /// A question for a chunk is called off; what was on its way is lost.
    pub(super) fn cancel_chunk(&mut self, node: usize, peer: usize, artifact: Digest, chunk: u32) {
        let Some(process) = self.nodes[node].process.as_mut() else { return };
        let asked = |pending: &Pending| {
            pending.peer == peer && matches!(pending.waiting, Waiting::Chunk(a, c) if (a, c) == (artifact, chunk))
        };
        let call = process.pending.iter().find(|(_, pending)| asked(pending)).map(|(call, _)| *call);
        if let Some(call) = call {
            process.pending.remove(&call);
            self.end_flow_of(node, call);
        }
    }

    /// Chunks that `cut` names do not arrive: their ends are gone, asleep or cut off.
    pub(super) fn end_flows(&mut self, cut: impl Fn(usize, usize) -> bool) {
        let stopped = self.flow_of.iter().filter(|(_, carried)| cut(carried.from, carried.to));
        let stopped: Vec<FlowId> = stopped.map(|(flow, _)| *flow).collect();
        stopped.into_iter().for_each(|flow| self.end_flow(flow));
    }

    /// A chunk is here: it is verified, written, and every now and then the bitmap is made durable.
    pub(super) fn chunk_arrived(
        &mut self,
        node: usize,
        from: usize,
        artifact: Digest,
        chunk: u32,
        outcome: ChunkOutcome,
    ) {
        let bytes = self.published.chunks.get(&artifact).and_then(|chunks| chunks.get(chunk as usize)).copied();
        let partial = self.nodes[node].disk.partial.get_mut(&artifact);
        let outcome = match (outcome, partial) {
            (ChunkOutcome::Corrupt, Some(partial)) if has(Bug::SkipsHashes) => {
                partial.have.set(chunk);
                partial.unsound.insert(chunk);
                ChunkOutcome::Stored
            }
            (ChunkOutcome::Stored, Some(partial)) => {
                partial.have.set(chunk);
                partial.since += 1;
                if partial.since >= limits::CHUNKS_PER_CHECKPOINT || partial.have.is_full() {
                    partial.durable = partial.have.clone();
                    partial.since = 0;
                }
                self.stats.chunks += 1;
                self.stats.bytes_moved += bytes.map_or(0, u64::from);
                ChunkOutcome::Stored
            }
            (ChunkOutcome::Stored, None) => ChunkOutcome::Failed,
            (other, _) => other,
        };
        self.stats.chunks_corrupt += u64::from(outcome == ChunkOutcome::Corrupt);
        let from = self.nodes[from].id;
        self.tell(node, Input::Chunk { artifact, chunk, from, outcome });
    }
}
