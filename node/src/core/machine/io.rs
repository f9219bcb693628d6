//! What goes into the machine and what comes out: the whole contract between the core and the world.

use std::sync::Arc;

use crate::core::artifact::Bitmap;
use crate::core::catalog::Record;
use crate::core::checks::Suspect;
use crate::core::coordinator::PlanRefusal;
use crate::core::external::ExternalHere;
use crate::core::fingerprint::Judgement;
use crate::core::membership::advert::{Advert, Gossip, MemoryDomain};
use crate::core::membership::roster::MemberRoster;
use crate::core::pins::Pins;
use crate::core::placement::plan::{Plan, PlannedReplica};
use crate::core::residency::{Death, Seen, Stall};
use crate::core::route::{Ask, Place, Refusal, RequestId, Tokens};
use crate::core::transfer::ChunkOutcome;
use crate::core::types::{Digest, Duration, NodeId, SlotName};

/// Something happened.
#[derive(Clone, Debug)]
pub enum Input {
    /// Time passed: a deadline is due.
    Tick,
    /// The process slept: its clocks did not run while the world's did.
    Slept,
    /// The node is about to end.
    Leave,
    /// The hardware as measured now.
    Hardware {
        /// Memory domains; `ours_bytes` is the ledger's to fill.
        domains: Vec<MemoryDomain>,
        /// Free disk in the store.
        disk_free_bytes: u64,
        /// Runs on battery.
        on_battery: bool,
    },
    /// Where this node can be dialled.
    Addresses(Vec<String>),
    /// The first connection to a member opened.
    Connected(NodeId),
    /// The last connection to a member closed.
    Disconnected(NodeId),
    /// A ping to a member and its answer took so long.
    RoundTrip(NodeId, Duration),
    /// A dial failed; `refused`: nothing listens there.
    DialFailed {
        /// Whom.
        node: NodeId,
        /// The address refused, so that the process is gone.
        refused: bool,
    },
    /// Verified gossip of a member.
    Gossip(Gossip),
    /// A member's statement, said by itself on its own connection as they met.
    Greeting(Arc<Advert>),
    /// A verified roster of members, durable.
    Members(MemberRoster),
    /// What the owner of this machine wants kept here, durable.
    Pins(Pins),
    /// All external engines of this node as they are now.
    Externals(Vec<ExternalHere>),
    /// A verified catalog record.
    Record(Box<Record>),
    /// A plan over a stream.
    PlanOffered {
        /// Who sent it.
        from: NodeId,
        /// The plan.
        plan: Arc<Plan>,
    },
    /// A member answered to a plan that was delivered to it.
    PlanAnswered {
        /// Who.
        from: NodeId,
        /// Epoch and revision of the plan.
        plan: (u64, u64),
        /// It follows that plan from now on.
        taken: bool,
        /// The highest epoch it has seen.
        epoch_highest: u64,
    },
    /// [`Output::Sync`] with a member came to nothing.
    SyncFailed(NodeId),
    /// This epoch is durable.
    EpochPersisted(u64),
    /// An artifact is whole and verified on disk: imported, or there since before the start.
    Stored(Digest),
    /// An artifact was deleted here.
    Dropped(Digest),
    /// Scrubbing found chunks of an artifact damaged; so many are still sound.
    Damaged(Digest, u32),
    /// Chunks of an artifact are on disk since before the start.
    Partial(Digest, u32),
    /// A manifest arrived and its hash is the artifact's name; the lengths of its chunks.
    Manifest(Digest, Vec<u32>),
    /// A member had no usable manifest.
    ManifestFailed {
        /// Of this artifact.
        artifact: Digest,
        /// The member.
        from: NodeId,
    },
    /// The disk is ready for an artifact.
    Begun(Digest, Bitmap),
    /// The disk refused an artifact, or a chunk of it.
    TransferPaused(Digest, String),
    /// A partial holder said what it has; `None`: no answer.
    Has {
        /// Of this artifact.
        artifact: Digest,
        /// The holder.
        from: NodeId,
        /// Its chunks.
        have: Option<Bitmap>,
    },
    /// A chunk request ended.
    Chunk {
        /// Of this artifact.
        artifact: Digest,
        /// Its number.
        chunk: u32,
        /// The source.
        from: NodeId,
        /// How it ended.
        outcome: ChunkOutcome,
    },
    /// Verification of a whole artifact ended.
    Finished(Digest, Result<(), String>),
    /// A load ended: measured bytes, or why not.
    Loaded(SlotName, Result<u64, Death>),
    /// Somebody looked at the memory of a replica here.
    Seen(SlotName, Seen),
    /// The kernel's word on pressure on memory.
    Pressure(Stall),
    /// Somebody wants this slot resident, without asking it anything yet.
    Want(SlotName),
    /// Somebody wants this slot out of this node's memory until it is asked for again.
    PutAway(SlotName),
    /// A replica's process ended as asked.
    Unloaded(SlotName),
    /// A replica's process ended by itself.
    ReplicaDied(SlotName, Death),
    /// [`Output::CheckFingerprint`] ended, or came to nothing.
    FingerprintChecked(Suspect, Result<Judgement, String>),
    /// A new request.
    Request(RequestId, Ask),
    /// Its first token went out.
    RequestStarted(RequestId),
    /// Its answer is complete, and so long.
    RequestAnswered(RequestId, Tokens),
    /// The same without a length (true), or its client went away or the error is final (false).
    RequestEnded(RequestId, bool),
    /// Its replica failed.
    RequestFailed {
        /// Which.
        request: RequestId,
        /// Why.
        refusal: Refusal,
        /// Another holder may be tried.
        retryable: bool,
    },
}

impl Input {
    /// The member that it speaks of, if it speaks of one's presence or words.
    pub(super) fn subject(&self) -> Option<(&NodeId, Option<&Advert>)> {
        match self {
            Input::Connected(node) | Input::Disconnected(node) | Input::DialFailed { node, .. } => Some((node, None)),
            Input::Gossip(Gossip::Advert(advert)) | Input::Greeting(advert) => Some((&advert.node, Some(advert))),
            _ => None,
        }
    }

    /// Does it speak only of other machines, so that what this node says of itself stays true?
    pub(super) fn is_of_others(&self) -> bool {
        matches!(
            self,
            Input::Connected(_)
                | Input::Disconnected(_)
                | Input::RoundTrip(..)
                | Input::DialFailed { .. }
                | Input::Gossip(_)
                | Input::Greeting(_)
                | Input::SyncFailed(_)
                | Input::PlanAnswered { .. }
        )
    }
}

/// Something to be done.
#[derive(Clone, Debug)]
pub enum Output {
    /// Say this to all members.
    Gossip(Gossip),
    /// These addresses of a member are worth dialling.
    Know(NodeId, Vec<String>),
    /// Bring roster of members and catalog into agreement with a member, and greet it with [`Machine::greeting`].
    ///
    /// [`Machine::greeting`]: super::Machine::greeting
    Sync(NodeId),
    /// Close the connections to a member and dial it again.
    Reconnect(NodeId),
    /// Bring a plan to a member.
    DeliverPlan(NodeId, Arc<Plan>),
    /// The answer to [`Input::PlanOffered`], in order.
    AnswerPlan(Result<(), PlanRefusal>),
    /// Make an epoch durable, then [`Input::EpochPersisted`].
    PersistEpoch(u64),
    /// The roster of members changed: admit who is in it now, and close everyone else's connections.
    Admit,
    /// Get a manifest.
    GetManifest {
        /// Of this artifact.
        artifact: Digest,
        /// From this member.
        from: NodeId,
    },
    /// Prepare the disk.
    Begin(Digest),
    /// Ask which chunks a member has.
    GetHave {
        /// Of this artifact.
        artifact: Digest,
        /// The member.
        from: NodeId,
    },
    /// Fetch, verify, write.
    Fetch {
        /// Of this artifact.
        artifact: Digest,
        /// Its number.
        chunk: u32,
        /// Its length.
        bytes: u32,
        /// From this member.
        from: NodeId,
    },
    /// Stop fetching a chunk from a member; if it came meanwhile, say so all the same.
    Cancel {
        /// Of this artifact.
        artifact: Digest,
        /// Its number.
        chunk: u32,
        /// The source.
        from: NodeId,
    },
    /// Verify the whole and put it in place.
    Finish(Digest),
    /// Load a replica.
    Load(Box<PlannedReplica>),
    /// Read so many bytes of an artifact into the page cache, in its own time.
    Stage(Digest, u64),
    /// End a replica's process.
    Unload(SlotName),
    /// Compare the fingerprint of a replica, perhaps one of this node.
    CheckFingerprint(Suspect),
    /// The coordinator does not trust a replica here: read and hash this artifact again.
    Verify(Digest),
    /// Send a request to a node (perhaps this one): to its own replica, or to the external engine beside it.
    Dispatch(RequestId, Place),
    /// End a request with an error. Follows either a new request or a failed attempt.
    Reject(RequestId, Refusal),
    /// The error that was reported for a request is final.
    Final(RequestId),
}
