//! The one view of a node that every reader gets: `GET /state`, `fednode status --json`, the dashboard. Plain data, filled
//! by the driver from the core's tables; field names are a contract (DESIGN 13).

mod band;
mod happened;
mod history;
mod local;
mod spread;
mod traffic;

use serde::{Deserialize, Serialize};

pub use crate::core::sizing::Band;
pub use happened::{HAPPENED_MAX, happened};
pub use history::{History, Sample};
pub use local::LocalView;
pub use spread::Spread;
pub use traffic::{LoadsView, RequestsView, TrafficView};

/// Everything one node knows, at one moment.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct State {
    /// The federation's id, hex.
    pub federation: String,
    /// This node.
    pub node: NodeView,
    /// Who publishes plans, if anyone is known to.
    pub coordinator: Option<CoordinatorView>,
    /// The current plan.
    pub plan: Option<PlanSummary>,
    /// Enrolled machines, this one first.
    pub members: Vec<MemberView>,
    /// Slots in roster order.
    pub slots: Vec<SlotView>,
    /// Servers beside this node that stand in for slots.
    #[serde(default)]
    pub engines: Vec<EngineView>,
    /// The small model of a machine that delegates, if it has one.
    #[serde(default)]
    pub local: Option<LocalView>,
    /// What this node keeps on its disk whatever the plan says: slots and artifacts, as they were pinned.
    #[serde(default)]
    pub pins: Vec<String>,
    /// This node's own store; `None` on a delegate.
    #[serde(default)]
    pub store: Option<StoreView>,
    /// Transfers into this node, current and finished since it started.
    pub transfers: Vec<TransferView>,
    /// Weights to and from this node since it started.
    #[serde(default)]
    pub traffic: TrafficView,
    /// Requests through this node since it started.
    pub requests: RequestsView,
    /// Loads of this node since it started.
    #[serde(default)]
    pub loads: LoadsView,
}

/// The node that was asked.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct NodeView {
    /// libp2p PeerId.
    pub peer_id: String,
    /// Its name in the roster of members.
    pub name: String,
    /// full | delegate.
    pub role: String,
    /// delegate | minimum | standard | high-end | griffith.
    pub tier: String,
    /// Where its HTTP API listens, as `http://ADDR`.
    pub api: String,
    /// Peer addresses, as multiaddresses.
    pub listen: Vec<String>,
    /// What it is to the coordinator's seat: follower | waiting | coordinator | solo | draining.
    #[serde(default)]
    pub seat: String,
    /// What its owner should look after, in a sentence; mostly empty.
    #[serde(default)]
    pub notice: String,
    /// fednode's version.
    pub version: String,
    /// Process id.
    pub pid: u32,
}

/// The elected coordinator as this node knows it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct CoordinatorView {
    /// Name in the roster of members.
    pub name: String,
    /// PeerId.
    pub peer_id: String,
    /// Its epoch.
    pub epoch: u64,
}

/// The plan this node follows.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct PlanSummary {
    /// Epoch it was issued under.
    pub epoch: u64,
    /// Revision within the epoch.
    pub revision: u64,
    /// Digest of its inputs, hex.
    pub digest: String,
    /// True when every planned replica is resident and every planned artifact stored, as far as this node knows.
    pub carried_out: bool,
    /// What is still missing, one sentence each.
    pub pending: Vec<String>,
}

/// One memory domain.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct DomainView {
    /// Such as `ram` or `gpu0`.
    pub name: String,
    /// vram | ram | unified.
    pub kind: String,
    /// All of it.
    pub total_bytes: u64,
    /// What admission could still give.
    pub free_bytes: u64,
    /// Kept for the system and other programs.
    pub reserve_bytes: u64,
    /// Held by managers.
    pub ours_bytes: u64,
    /// This build's engine can load models here.
    pub hosts: bool,
}

/// One enrolled machine.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct MemberView {
    /// Name in the roster of members.
    pub name: String,
    /// PeerId.
    pub peer_id: String,
    /// full | delegate.
    pub role: String,
    /// May sign invitations and revocations: an admin, or the owner's machine.
    pub admin: bool,
    /// Has the owner's key.
    #[serde(default)]
    pub owner: bool,
    /// When its certificate ends, seconds since the Unix epoch; zero: never.
    #[serde(default)]
    pub expires_unix_s: u64,
    /// Since it was last heard from, seconds; `None`: not since this node started.
    #[serde(default)]
    pub seen_s_ago: Option<u64>,
    /// alive | suspect | down | unseen | expired.
    pub state: String,
    /// Slots that its owner wants resident there whatever happens.
    #[serde(default)]
    pub pinned: Vec<String>,
    /// Its owner wants it to hold no replicas.
    #[serde(default)]
    pub drained: bool,
    /// Role in the plan: specialised | swapping | mixed | delegate.
    pub plan_role: String,
    /// Memory, VRAM and RAM apart.
    pub domains: Vec<DomainView>,
    /// Free disk in the store.
    pub disk_free_bytes: u64,
    /// Slots resident there.
    pub resident: Vec<String>,
    /// Artifacts stored there whole, hex.
    pub stored: Vec<String>,
}

/// One replica of a slot.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ReplicaView {
    /// The holder's name.
    pub node: String,
    /// Its PeerId.
    pub peer_id: String,
    /// The memory domain.
    pub memory_domain: String,
    /// fetching | loading | ready | distrusted (it is up, and nobody asks it) | draining | failed.
    pub state: String,
    /// Why it failed, was refused or is distrusted, or empty.
    pub reason: String,
    /// memory | pinned | dwell | stale | busy, if its holder refuses what its plan says; else empty.
    #[serde(default)]
    pub refusal: String,
    /// Resident bytes.
    pub bytes: u64,
    /// Requests in flight as advertised.
    pub in_flight: u32,
    /// How far its load is, or its fetch.
    #[serde(default)]
    pub load: Option<LoadView>,
}

/// How far a load is, or a fetch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadView {
    /// Bytes of the model's files in memory, or on the disk.
    pub read_bytes: u64,
    /// Of so many.
    pub total_bytes: u64,
    /// On average since it began; 0: not known.
    #[serde(default)]
    pub bytes_per_s: u64,
}

/// A server that the owner of this node put in for a slot. Never a replica: see `core::external`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EngineView {
    /// The slot.
    pub slot: String,
    /// Where it listens.
    pub url: String,
    /// What it calls its model.
    pub model: String,
    /// ready | away | refused (by the roster's floor).
    pub state: String,
    /// Why it is not ready, or why the last check failed; else empty.
    pub reason: String,
    /// `unverified`.
    pub precision: String,
    /// It is sent a key.
    pub has_key: bool,
}

/// An external engine of a slot, anywhere in the federation.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ExternalView {
    /// The name of the member beside which it runs.
    pub node: String,
    /// Its PeerId.
    pub peer_id: String,
    /// ready | away.
    pub state: String,
    /// `unverified`.
    pub precision: String,
    /// Requests in flight as advertised.
    pub in_flight: u32,
}

/// One published adapter of a slot.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct SlotDomainView {
    /// The domain's name.
    pub name: String,
    /// Its artifact, hex; empty while nothing is published.
    pub artifact: String,
    /// What it answers, on the base that fills the slot now, was recorded when it was published.
    #[serde(default)]
    pub fingerprint: bool,
}

/// One slot.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct SlotView {
    /// Such as `UFM`.
    pub name: String,
    /// Such as "Universal Federation Manager".
    pub title: String,
    /// The slot whose replicas serve it, if it is an adapter of what is in that one; else empty.
    #[serde(default)]
    pub base: String,
    /// pinned | swappable.
    pub policy: String,
    /// Published artifact, hex; empty while nothing is published.
    pub artifact: String,
    /// Name from the artifact.
    pub model: String,
    /// Version given at publication.
    pub version: String,
    /// resident | loading | stored | missing, or external: nothing is resident, and an external engine answers.
    pub state: String,
    /// Such as `F16`: of the published artifact.
    pub precision: String,
    /// What it answers was recorded when it was published.
    #[serde(default)]
    pub fingerprint: bool,
    /// Thousandths of a request per hour that were observed in the whole federation, decayed.
    #[serde(default)]
    pub observed_milli_per_hour: u64,
    /// Context the roster asks for, tokens.
    pub context: u32,
    /// Bytes on disk.
    pub bytes: u64,
    /// Loaded or loading copies.
    pub replicas: Vec<ReplicaView>,
    /// External engines that stand in for it while no replica is ready.
    #[serde(default)]
    pub externals: Vec<ExternalView>,
    /// Names of members that hold the whole artifact on disk.
    pub holders: Vec<String>,
    /// Adapters.
    pub domains: Vec<SlotDomainView>,
    /// Why a replica that should exist cannot, or empty.
    pub shortfall: String,
}

/// Bytes one source has given to a transfer.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct SourceView {
    /// The source's name.
    pub node: String,
    /// Verified bytes from it.
    pub bytes: u64,
    /// Verified chunks from it.
    pub chunks: u32,
    /// Corrupt chunks from it.
    pub strikes: u32,
    /// What comes from it now, all transfers together.
    #[serde(default)]
    pub bytes_per_s: u64,
}

/// One artifact on its way to this node, or arrived.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct TransferView {
    /// Artifact, hex.
    pub artifact: String,
    /// `SLOT` or `SLOT:domain`.
    pub slot: String,
    /// manifest | fetching | finishing | done | paused.
    pub state: String,
    /// Whole size.
    pub total_bytes: u64,
    /// Verified and written.
    pub done_bytes: u64,
    /// Chunks in all.
    pub chunks: u32,
    /// Chunks verified and written.
    pub chunks_done: u32,
    /// Chunks that failed verification.
    pub chunks_corrupt: u32,
    /// Chunks copied from other local artifacts, not fetched.
    pub chunks_local: u32,
    /// True once the whole file's hash was verified.
    pub verified: bool,
    /// Who gave what.
    pub sources: Vec<SourceView>,
    /// Bytes that came corrupt, or were asked for a second time near the end.
    #[serde(default)]
    pub wasted_bytes: u64,
    /// Verified bytes per second that come now.
    #[serde(default)]
    pub bytes_per_s: u64,
    /// At that rate it takes so many seconds more.
    #[serde(default)]
    pub eta_s: Option<u64>,
    /// Why it is paused, or empty.
    pub reason: String,
}

/// This node's own store.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct StoreView {
    /// What all artifacts take, those under way with their whole size.
    pub used_bytes: u64,
    /// What the owner allows; `None`: as much as the disk has.
    pub budget_bytes: Option<u64>,
    /// What may still be stored.
    pub free_bytes: u64,
    /// Artifacts found damaged and not whole again.
    pub damaged: Vec<DamageView>,
    /// The background scrub.
    pub scrub: ScrubView,
}

/// An artifact that was found damaged on this disk.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct DamageView {
    /// Artifact, hex.
    pub artifact: String,
    /// `SLOT` or `SLOT:domain`.
    pub slot: String,
    /// repairing | unrepairable.
    pub state: String,
    /// What is happening, or what the owner can do.
    pub reason: String,
}

/// The background scrub.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ScrubView {
    /// off | idle | scrubbing | yielding (to a transfer or a load).
    pub state: String,
    /// A full pass takes at most so many days; 0: off.
    pub days: u32,
    /// Bytes looked at in this pass.
    pub done_bytes: u64,
    /// Bytes of all whole artifacts.
    pub total_bytes: u64,
    /// When this pass began, seconds since the Unix epoch; 0: none is under way.
    pub since_unix_s: u64,
    /// When the last full pass ended; 0: none did yet.
    pub passed_unix_s: u64,
    /// Damaged chunks found since the start of the process.
    pub damaged_chunks: u64,
}
