//! What can happen, when, and how it enters the trace.

use fednode::core::machine::Input;
use fednode::core::membership::advert::Gossip;
use fednode::core::types::Time;

use crate::flows::FlowId;
use crate::world::calls::{Ask, Reply};
use crate::world::node::CallId;

/// Something that will happen. Those that name a node happen to it, and wait while it sleeps.
pub enum Event {
    /// A process starts.
    Boot { node: usize },
    /// A machine's deadline, unless the timer was set anew.
    Tick { node: usize, life: u64, due: Time },
    /// A node measures its hardware.
    Hardware { node: usize, life: u64 },
    /// A node looks at its store.
    Keep { node: usize, life: u64 },
    /// Gossip arrives at a node that slept when others heard it.
    Gossip { node: usize, gossip: Gossip },
    /// Gossip arrives at the next of those who hear it.
    Spreads { wave: Box<Wave> },
    /// A node dials a member that it is not connected to.
    Dial { node: usize, peer: usize, life: u64 },
    /// A dial failed.
    DialFailed { node: usize, peer: usize, life: u64, refused: bool },
    /// Two processes have shaken hands.
    LinkOpens { a: usize, b: usize, lives: [u64; 2] },
    /// A connection on which nothing passed is given up, unless something passes again.
    LinkSilent { a: usize, b: usize, link: u64 },
    /// One side notices that its connection is gone.
    LinkLost { node: usize, peer: usize, life: u64 },
    /// A question of a member arrives.
    Call { node: usize, from: usize, link: u64, call: CallId, ask: Box<Ask> },
    /// The answer to a question arrives.
    Reply { node: usize, from: usize, link: u64, call: CallId, reply: Box<Reply> },
    /// A question that was not answered in time.
    CallTimeout { node: usize, life: u64, call: CallId },
    /// A chunk may have arrived.
    FlowDue { flow: FlowId },
    /// A disk or an engine has done what it was asked.
    Done { node: usize, life: u64, input: Box<Input> },
    /// An engine has its first token, or its last.
    Computed { node: usize, life: u64, job: u64, first: bool },
    /// Somebody begins to chat.
    SessionBegins,
    /// A question of the recording is asked.
    Recorded { index: usize },
    /// Somebody asks the next question of a session.
    Question { node: usize, session: u64 },
    /// A fault begins.
    FaultBegins { index: usize },
    /// A fault ends.
    FaultEnds { index: usize },
}

/// Gossip on its way to many.
pub struct Wave {
    /// What is said.
    pub gossip: Gossip,
    /// When it is heard, and by whom: the last of these next.
    pub hearers: Vec<(Time, u32)>,
}

impl Event {
    /// The node whose process must be awake for this.
    pub fn of(&self) -> Option<usize> {
        match self {
            Event::Tick { node, .. }
            | Event::Hardware { node, .. }
            | Event::Keep { node, .. }
            | Event::Gossip { node, .. }
            | Event::Dial { node, .. }
            | Event::DialFailed { node, .. }
            | Event::LinkLost { node, .. }
            | Event::Call { node, .. }
            | Event::Reply { node, .. }
            | Event::CallTimeout { node, .. }
            | Event::Done { node, .. }
            | Event::Computed { node, .. }
            | Event::Question { node, .. } => Some(*node),
            Event::Boot { .. }
            | Event::LinkOpens { .. }
            | Event::LinkSilent { .. }
            | Event::Spreads { .. }
            | Event::FlowDue { .. }
            | Event::SessionBegins
            | Event::Recorded { .. }
            | Event::FaultBegins { .. }
            | Event::FaultEnds { .. } => None,
        }
    }
}

/// Adds an input to the trace. Gossip and plans enter as bytes where they are sent, so that here their kind is enough.
pub fn trace_input(trace: &mut blake3::Hasher, now: Time, node: usize, input: &Input) {
    let (kind, what): (u8, u64) = match input {
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
    };
    let mut line = [0; 21];
    line[..8].copy_from_slice(&now.0.to_le_bytes());
    line[8..12].copy_from_slice(&(node as u32).to_le_bytes());
    line[12] = kind;
    line[13..].copy_from_slice(&what.to_le_bytes());
    trace.update(&line);
}

fn word(bytes: &[u8; 32]) -> u64 {
    bytes[..8].iter().fold(0, |word, byte| word << 8 | u64::from(*byte))
}

fn text(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}
