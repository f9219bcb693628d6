//! The trace of a run: a hash over everything that every machine was told, and when, and over every byte that was sent. Two
//! runs of the same data have the same.

use fednode::core::machine::Input;
use fednode::core::membership::advert::Gossip;
use fednode::core::types::{Digest, Time};

/// Hashed at once: many lanes of BLAKE3 work side by side only on long inputs.
const BUFFER: usize = 1 << 14;

/// See the module.
#[derive(Default)]
pub struct Trace {
    hasher: blake3::Hasher,
    buffer: Vec<u8>,
}

impl Trace {
    /// Adds bytes.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= BUFFER {
            self.hasher.update(&self.buffer);
            self.buffer.clear();
        }
    }

    /// Adds what `node` is told.
    pub fn input(&mut self, now: Time, node: usize, input: &Input) {
        let (kind, what) = gist(input);
        let mut line = [0; 21];
        line[..8].copy_from_slice(&now.0.to_le_bytes());
        line[8..12].copy_from_slice(&(node as u32).to_le_bytes());
        line[12] = kind;
        line[13..].copy_from_slice(&what.to_le_bytes());
        self.bytes(&line);
    }

    /// The hash.
    pub fn finish(mut self) -> Digest {
        self.hasher.update(&self.buffer);
        Digest(*self.hasher.finalize().as_bytes())
    }
}

/// What an input is, and of what. Gossip and plans enter as bytes where they are sent, so that here their kind is enough.
fn gist(input: &Input) -> (u8, u64) {
    match input {
        Input::Tick => (0, 0),
        Input::Slept => (1, 0),
        Input::Leave => (2, 0),
        Input::Hardware { disk_free_bytes, .. } => (3, *disk_free_bytes),
        Input::Addresses(addresses) => (4, addresses.len() as u64),
        Input::Connected(peer) => (5, word(&peer.0)),
        Input::Disconnected(peer) => (6, word(&peer.0)),
        Input::DialFailed { node, refused } => (7, word(&node.0) ^ u64::from(*refused)),
        Input::Gossip(Gossip::Advert(advert)) => (8, word(&advert.node.0) ^ advert.sequence),
        Input::Greeting(advert) => (43, word(&advert.node.0) ^ advert.sequence),
        Input::Gossip(Gossip::Lease(lease)) => (9, word(&lease.coordinator.0) ^ lease.epoch),
        Input::Members(roster) => (10, roster.version),
        Input::Record(record) => (11, record.sequence),
        Input::PlanOffered { plan, .. } => (12, plan.epoch << 32 ^ plan.revision),
        Input::PlanAnswered { epoch_highest, .. } => (13, *epoch_highest),
        Input::EpochPersisted(epoch) => (14, *epoch),
        Input::Stored(artifact) => (15, word(&artifact.0)),
        Input::Partial(artifact, chunks) => (16, word(&artifact.0) ^ u64::from(*chunks)),
        Input::Manifest(artifact, _) => (17, word(&artifact.0)),
        Input::ManifestFailed { artifact, .. } => (18, word(&artifact.0)),
        Input::Begun(artifact, have) => (19, word(&artifact.0) ^ u64::from(have.count())),
        Input::TransferPaused(artifact, _) => (20, word(&artifact.0)),
        Input::Has { artifact, from, .. } => (21, word(&artifact.0) ^ word(&from.0)),
        Input::Chunk { artifact, chunk, from, outcome } => {
            (22, word(&artifact.0) ^ word(&from.0) ^ (u64::from(*chunk) << 2) ^ *outcome as u64)
        }
        Input::Finished(artifact, result) => (23, word(&artifact.0) ^ u64::from(result.is_ok())),
        Input::Loaded(slot, result) => (24, text(slot.as_str()) ^ u64::from(result.is_ok())),
        Input::Unloaded(slot) => (25, text(slot.as_str())),
        Input::ReplicaDied(slot, _) => (26, text(slot.as_str())),
        Input::Request(request, ask) => (27, *request ^ text(ask.slot.as_str())),
        Input::RequestStarted(request) => (28, *request),
        Input::RequestEnded(request, well) => (29, request << 1 | u64::from(*well)),
        Input::RequestFailed { request, retryable, .. } => (30, request << 1 | u64::from(*retryable)),
        Input::Pins(pins) => (31, pins.iter().count() as u64),
        Input::Dropped(artifact) => (32, word(&artifact.0)),
        Input::SyncFailed(peer) => (36, word(&peer.0)),
        Input::Want(slot) => (34, text(slot.as_str())),
        Input::PutAway(slot) => (35, text(slot.as_str())),
        Input::Seen(slot, seen) => (37, text(slot.as_str()) ^ seen.resident_bytes),
        Input::Pressure(stall) => (38, u64::from(stall.of_10_s)),
        Input::FingerprintChecked(suspect, result) => (40, word(&suspect.node.0) ^ u64::from(result.is_ok())),
        Input::Externals(externals) => (39, externals.len() as u64),
        Input::RoundTrip(peer, span) => (41, word(&peer.0) ^ span.0),
        Input::RequestAnswered(request, tokens) => (42, request << 32 ^ u64::from(tokens.answer)),
        Input::Damaged(artifact, sound) => (33, word(&artifact.0) ^ u64::from(*sound)),
    }
}

fn word(bytes: &[u8; 32]) -> u64 {
    bytes[..8].iter().fold(0, |word, byte| word << 8 | u64::from(*byte))
}

fn text(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}
