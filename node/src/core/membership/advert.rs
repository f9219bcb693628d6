//! What nodes say of themselves: advertisements and the coordinator's lease, as plain data.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::core::demand::Rate;
use crate::core::external::ExternalReplica;
use crate::core::membership::roster::Role;
use crate::core::placement::plan::Plan;
use crate::core::types::{Digest, DomainName, NodeId, SlotName};

/// What kind of memory a domain is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DomainKind {
    /// One GPU's memory.
    Vram,
    /// Host memory.
    Ram,
    /// Memory a CPU and a GPU share.
    Unified,
}

impl DomainKind {
    /// The word used in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            DomainKind::Vram => "vram",
            DomainKind::Ram => "ram",
            DomainKind::Unified => "unified",
        }
    }
}

/// One pool of memory a model can live in. Domains are never summed together.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MemoryDomain {
    /// Such as `ram` or `gpu0`.
    pub name: String,
    /// VRAM, RAM or unified.
    pub kind: DomainKind,
    /// All of it, bytes.
    pub total_bytes: u64,
    /// What admission could still give, bytes: never more than total − reserve − ours.
    pub free_bytes: u64,
    /// Kept for the system and other programs, bytes.
    pub reserve_bytes: u64,
    /// Held by our replicas, bytes.
    pub ours_bytes: u64,
    /// The node's engine can load models here.
    pub hosts: bool,
}

impl MemoryDomain {
    /// What managers may use in all: what is free plus what they hold already.
    pub fn budget_bytes(&self) -> u64 {
        if !self.hosts {
            return 0;
        }
        let cap = self.total_bytes.saturating_sub(self.reserve_bytes);
        self.free_bytes.saturating_add(self.ours_bytes).min(cap)
    }
}

/// An artifact a node has on disk, wholly or in part.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Holding {
    /// Which artifact.
    pub artifact: Digest,
    /// All chunks verified, whole file verified.
    pub complete: bool,
    /// Verified chunks on disk.
    pub chunks: u32,
}

/// Where a replica is in its life.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReplicaState {
    /// Its weights are on their way to this node's disk.
    Fetching,
    /// Its weights are going from disk into memory.
    Loading,
    /// Answers.
    Ready,
    /// Finishes what it has and takes nothing new.
    Draining,
    /// Could not be loaded; tried again after a while.
    Failed,
}

impl ReplicaState {
    /// The word used in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            ReplicaState::Fetching => "fetching",
            ReplicaState::Loading => "loading",
            ReplicaState::Ready => "ready",
            ReplicaState::Draining => "draining",
            ReplicaState::Failed => "failed",
        }
    }
}

/// Why a node does not do, or not yet, what its plan says (DESIGN 7): the node disposes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RefusalCode {
    /// There is no room.
    Memory,
    /// Its owner wants it resident here.
    Pinned,
    /// It was loaded just now, for somebody.
    Dwell,
    /// The plan speaks of what is no longer so.
    Stale,
    /// Something else must end first.
    Busy,
}

impl RefusalCode {
    /// The word used in JSON and on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            RefusalCode::Memory => "memory",
            RefusalCode::Pinned => "pinned",
            RefusalCode::Dwell => "dwell",
            RefusalCode::Stale => "stale",
            RefusalCode::Busy => "busy",
        }
    }

    /// The inverse of [`RefusalCode::as_str`]; a word that a newer node uses is none.
    pub fn parse(word: &str) -> Option<RefusalCode> {
        use RefusalCode::{Busy, Dwell, Memory, Pinned, Stale};
        [Memory, Pinned, Dwell, Stale, Busy].into_iter().find(|code| code.as_str() == word)
    }
}

/// One replica as its holder describes it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ReplicaStatus {
    /// The slot it serves.
    pub slot: SlotName,
    /// Its base artifact.
    pub artifact: Digest,
    /// Adapters attached.
    pub domains: Vec<DomainName>,
    /// The memory domain it lives in.
    pub memory_domain: String,
    /// Where it is in its life.
    pub state: ReplicaState,
    /// Bytes promised to it.
    pub bytes: u64,
    /// Requests in flight.
    pub in_flight: u32,
    /// As read from the file's tensor table.
    pub precision: String,
    /// Why it failed or waits, or empty.
    pub reason: String,
    /// What kind of refusal that is, if its holder refuses what its plan says.
    pub refusal: Option<RefusalCode>,
    /// How far its fetch or its load is, while it is one of these. Said to people, never acted on.
    pub moving: Option<Moving>,
}

/// How far bytes on their way to a disk or into memory are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Moving {
    /// So many are there.
    pub done_bytes: u64,
    /// Of so many, not 0.
    pub total_bytes: u64,
    /// 0: not known.
    pub bytes_per_s: u64,
}

/// A node's statement of capacity, residency and load.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Advert {
    /// Who speaks.
    pub node: NodeId,
    /// Rises with every start of the process.
    pub incarnation: u64,
    /// Rises with every advertisement of one incarnation.
    pub sequence: u64,
    /// How long this may be believed, milliseconds.
    pub ttl_ms: u32,
    /// Its name.
    pub name: String,
    /// Full or delegate.
    pub role: Role,
    /// Runs on battery now.
    pub on_battery: bool,
    /// The owner's wish for the coordinator's seat; higher first.
    pub priority: u32,
    /// Memory domains.
    pub domains: Vec<MemoryDomain>,
    /// Free disk in its store, bytes.
    pub disk_free_bytes: u64,
    /// Artifacts on disk.
    pub holdings: Vec<Holding>,
    /// Replicas.
    pub replicas: Vec<ReplicaStatus>,
    /// Tells its roster of members from others, see `MemberRoster::mark`.
    pub member_roster_mark: u64,
    /// Digest of its catalog.
    pub catalog_digest: Digest,
    /// Epoch of the plan it follows.
    pub plan_epoch: u64,
    /// Revision of the plan it follows.
    pub plan_revision: u64,
    /// Highest epoch it has seen.
    pub epoch_highest: u64,
    /// Where it can be dialled.
    pub addresses: Vec<String>,
    /// Slots asked for there and resident nowhere.
    pub wanted: Vec<SlotName>,
    /// How much slots are asked for through it.
    pub demand: Vec<Rate>,
    /// Who made the plan it follows; `None`: it does not say.
    pub plan_author: Option<NodeId>,
    /// Digest of the wishes in its catalog; `None`: it knows of no such thing.
    pub wishes_digest: Option<Digest>,
    /// External engines beside it. They are no replicas: only routing looks at them.
    pub externals: Vec<ExternalReplica>,
}

impl Advert {
    /// Does it follow this plan, as far as it says?
    pub fn follows(&self, plan: &Plan) -> bool {
        (self.plan_epoch, self.plan_revision) == (plan.epoch, plan.revision)
            && self.plan_author.is_none_or(|author| author == plan.author)
    }

    /// Does it hold what `other` does, the same of it whole?
    pub fn holds_as(&self, other: &Advert) -> bool {
        let held = self.holdings.iter().map(|held| (held.artifact, held.complete));
        held.eq(other.holdings.iter().map(|held| (held.artifact, held.complete)))
    }

    /// Does it hold `artifact` whole?
    pub fn stores(&self, artifact: &Digest) -> bool {
        self.holdings.iter().any(|held| held.complete && &held.artifact == artifact)
    }
}

/// The coordinator's heartbeat.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lease {
    /// Who coordinates.
    pub coordinator: NodeId,
    /// Under which epoch.
    pub epoch: u64,
    /// Revision of its newest plan.
    pub plan_revision: u64,
    /// It leaves the seat now.
    pub resigns: bool,
}

/// What travels by gossip.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Gossip {
    /// A node's statement.
    Advert(Arc<Advert>),
    /// The coordinator's heartbeat.
    Lease(Lease),
}
