//! The node as its edges see it: what HTTP, the other members and the command line can ask. Each call becomes an event for
//! the loop; nothing is decided here.

use std::collections::BTreeSet;
use std::sync::Arc;

use fednode_proto::v1;
use fednode_proto::v1::generate_event::Event as Kind;
use libp2p_identity::ed25519;
use prost::Message;
use tokio::sync::{mpsc, oneshot};
use tonic::Status;

use crate::core::artifact::Bitmap;
use crate::core::catalog::Entry;
use crate::core::coordinator::PlanRefusal;
use crate::core::keeping::holds::HoldRefusal;
use crate::core::machine::{Input, Machine};
use crate::core::membership::roster::Member;
use crate::core::placement::plan::Plan;
use crate::core::roster::SlotRoster;
use crate::core::route::auto::{Chosen, Said};
use crate::core::route::progress;
use crate::core::sizing::Tier;
use crate::core::types::{Digest, NodeId, SlotName};
use crate::core::view::State;
use crate::driver::bell::Bell;
use crate::driver::clock::{Clock, unix_seconds};
use crate::driver::event_loop::{Event, Events};
use crate::driver::externals::Externals;
use crate::driver::keeping::Keeper;
use crate::driver::loading::Loading;
use crate::driver::membership::Registry;
use crate::driver::owner_session::{self, OwnerSessions};
use crate::driver::pins::PinKeeper;
use crate::driver::planned::{self, Called, Planned};
use crate::driver::replicas::Replicas;
use crate::driver::requests::answer_channel;
use crate::driver::scrub::Scrubber;
use crate::driver::sync::{self, Admission};
use crate::driver::throttle::Throttle;
use crate::driver::view::Facts;
use crate::driver::watching::Watching;
use crate::http::{ApiError, Backend, Frame, Generation, OwnerAsk, StartInfo};
use crate::net::NetHandle;
use crate::net::join::{Invitation, JoinAuthority};
use crate::rpc::admin::AdminBackend;
use crate::rpc::peer::PeerBackend;
use crate::rpc::peers::Peers;
use crate::store::Store;
use crate::store::routes::RoutesFile;
use crate::wire;
use crate::wire::join::TicketId;

/// A running node, seen from its edges.
#[derive(Clone)]
pub struct Node {
    pub(super) me: NodeId,
    pub(super) key: ed25519::Keypair,
    pub(super) events: Events,
    pub(super) store: Option<Arc<Store>>,
    pub(super) registry: Registry,
    pub(super) net: NetHandle,
    pub(super) admission: Admission,
    pub(super) peers: Peers,
    pub(super) pins: PinKeeper,
    pub(super) externals: Externals,
    pub(super) bell: Bell,
    /// For the model `auto`.
    pub(super) routes: Arc<RoutesFile>,
    /// Held over a change of what is wished of a machine: it is read, changed and written whole.
    pub(super) wishing: Arc<tokio::sync::Mutex<()>>,
    /// `None` on a delegate, as the store.
    pub(super) keeper: Option<Keeper>,
    pub(super) scrubber: Option<Scrubber>,
    pub(super) replicas: Replicas,
    /// Held while what lies here is verified: once at a time, whoever asks.
    pub(super) verifying: Arc<tokio::sync::Mutex<()>>,
    pub(super) watching: Watching,
    pub(super) owner_sessions: OwnerSessions,
    /// The plan as HTTP was told it last.
    pub(super) plan_told: planned::Told,
}

impl Node {
    /// Reads something of the machine.
    pub(super) async fn read<T: Send + 'static>(&self, read: impl FnOnce(&Machine) -> T + Send + 'static) -> Option<T> {
        self.events.read(read).await
    }

    /// The plan, what it is made from, and what its machines are called.
    pub(super) async fn planned(&self) -> Result<(Planned, Called), Status> {
        let called = Called::new(self.names().await);
        let theirs = called.clone();
        let planned = self.read(move |machine| planned::read(machine, &theirs)).await.ok_or_else(ended)?;
        Ok((planned, called))
    }

    pub(super) async fn view(&self) -> State {
        let (answer, view) = oneshot::channel();
        self.events.send(Event::View(answer)).await;
        view.await.unwrap_or_default()
    }

    async fn ask(&self, request: v1::GenerateRequest, local_only: bool) -> mpsc::Receiver<v1::GenerateEvent> {
        let (answer, events) = answer_channel(request.max_tokens);
        self.events.send(Event::Request(request, local_only, answer)).await;
        events
    }

    /// Names alone: what else the view says is not asked of these.
    async fn names(&self) -> Facts {
        let unlimited = || Throttle::new(None);
        let (api, listen, names) = (String::new(), Vec::new(), Default::default());
        let (clock, tier, loading) = (Clock::new(), Tier::Delegate, Loading::new(NodeId::default()));
        let mut facts = Facts { api, listen, tier, names, clock, up: unlimited(), down: unlimited(), loading };
        facts.members_changed(&self.registry.roster());
        facts
    }

    /// Writes a catalog entry in this node's name. It is durable here when this returns.
    pub(super) async fn write_catalog(&self, entry: Entry) -> Result<(), Status> {
        let key = entry.key();
        let sequence = self.read(move |machine| machine.config().catalog.next_sequence(&key)).await.unwrap_or(1);
        let record = wire::catalog::seal(entry, sequence, &self.key);
        let (kept, durable) = oneshot::channel();
        self.events.send(Event::Write(Box::new(record), kept)).await;
        let ended = || Err("the node is ending".to_owned());
        durable.await.unwrap_or_else(|_| ended()).map_err(|why| {
            Status::internal(format!(
                "it is not durable, and a restart may forget it: {why}; free some disk and repeat"
            ))
        })
    }
}

impl Backend for Node {
    async fn state(&self) -> State {
        self.view().await
    }

    async fn whom(&self, model: &str, said: Said, slots: Option<BTreeSet<SlotName>>) -> Result<Chosen, ApiError> {
        Node::whom(self, model, said, slots).await
    }

    async fn generate(&self, request: v1::GenerateRequest) -> Result<Generation, ApiError> {
        let slot = request.slot.clone();
        let mut events = self.ask(request, false).await;
        let first = events.recv().await.and_then(|event| event.event);
        let start = match first {
            Some(Kind::Start(start)) => start,
            Some(Kind::Error(error)) => {
                let error = ApiError::from(error);
                let progress = if error.is_not_there() { progress::of(&self.view().await, &slot) } else { None };
                return Err(match progress {
                    Some(progress) => error.while_loading(progress),
                    None => error,
                });
            }
            _ => return Err(ApiError::from_code("engine_failed", "the node is ending; ask another one")),
        };
        let node = wire::array32("node", &start.node).map(NodeId).unwrap_or_default();
        // An external engine computes with nobody knows what.
        let artifact = wire::array32("artifact", &start.artifact).map(|artifact| Digest(artifact).to_string());
        let epoch = self.read(|machine| machine.coordinator().map_or(0, |(_, epoch)| epoch)).await.unwrap_or(0);
        let start = StartInfo {
            node_name: self.registry.roster().name_of(&node),
            node_peer_id: wire::ids::peer_id_text(&node),
            artifact_hex: artifact.unwrap_or_default(),
            precision: start.precision,
            route: start.route,
            epoch,
            prompt_tokens: start.prompt_tokens,
            cached_tokens: start.cached_tokens,
        };
        Ok(Generation { start, events })
    }

    async fn watch(&self) -> Option<mpsc::Receiver<Frame>> {
        self.watching.follow(&self.view().await)
    }

    async fn explained_plan(&self) -> Result<serde_json::Value, ApiError> {
        self.plan_told.now(self).await
    }

    fn is_owner(&self, secret: &str) -> bool {
        self.owner_sessions.knows(secret, unix_seconds())
    }

    async fn owner(&self, ask: OwnerAsk) -> Result<serde_json::Value, ApiError> {
        owner_session::ask(self, ask).await
    }
}

impl PeerBackend for Node {
    async fn sync(&self, from: NodeId, request: v1::SyncRequest) -> v1::SyncReply {
        let v1::SyncRequest { members, catalog, greeting, .. } = request;
        sync::receive(&self.registry, &self.events, from, members, catalog).await;
        sync::greeted(&self.events, from, &greeting).await;
        let known =
            |machine: &Machine| (wire::catalog::to_proto(machine.config().catalog.records()), sync::greeting(machine));
        let (catalog, greeting) = self.read(known).await.unzip();
        let members = v1::SignedMemberRoster::decode(self.registry.signed_roster().as_slice()).ok();
        v1::SyncReply { members, catalog, plan: None, greeting: greeting.unwrap_or_default() }
    }

    async fn plan(&self, from: NodeId, plan: Plan) -> (Result<(), PlanRefusal>, u64) {
        let (answer, answered) = oneshot::channel();
        self.events.send(Event::PlanOffered(from, Arc::new(plan), answer)).await;
        answered.await.unwrap_or((Err(PlanRefusal::Stale), 0))
    }

    fn manifest(&self, artifact: &Digest) -> Option<Vec<u8>> {
        self.store.as_ref()?.manifest(artifact).map(|verified| verified.signed.clone())
    }

    fn have(&self, artifact: &Digest) -> Option<Bitmap> {
        let store = self.store.as_ref()?;
        let partial = store.partial().into_iter().find(|(known, _)| known == artifact);
        let whole = || store.manifest(artifact).map(|verified| Bitmap::full(verified.manifest.chunk_count()));
        partial.map(|(_, have)| have).or_else(whole)
    }

    async fn promise_hold(&self, from: NodeId, artifact: Digest) -> Result<u64, String> {
        let keeper = self.keeper.clone().ok_or_else(|| HoldRefusal::NotHeld.to_string())?;
        let promised = tokio::task::spawn_blocking(move || keeper.promise(artifact, from)).await;
        promised.map_err(|error| error.to_string())?
    }

    async fn examine(&self, from: NodeId) -> v1::ExamineReply {
        self.examine_for(from).await
    }

    fn damage_reported(&self, from: NodeId, artifact: Digest, chunk: u32) {
        tracing::warn!(%from, artifact = %artifact.short(), chunk, "a chunk that this node sent was corrupt; its disk is looked at");
        if let Some(store) = &self.store {
            store.suspect(artifact, Some(chunk));
        }
    }

    async fn score(&self, request: v1::ScoreRequest) -> Result<v1::ScoreReply, Status> {
        self.replicas.score(request).await.map_err(Status::failed_precondition)
    }

    async fn verify(&self, request: v1::VerifyRequest, events: mpsc::Sender<Result<v1::VerifyEvent, Status>>) {
        super::verify::verify(self, request, events).await;
    }

    async fn generate(&self, request: v1::GenerateRequest) -> mpsc::Receiver<v1::GenerateEvent> {
        self.ask(request, true).await
    }
}

impl JoinAuthority for Node {
    fn invitation(&self, id: &TicketId, joiner: &NodeId) -> Option<Invitation> {
        let ticket = self.registry.ticket_for(id, joiner)?;
        Some(Invitation { secret: ticket.secret, role: ticket.role })
    }

    async fn admit(&self, id: TicketId, member: Member) -> Result<Vec<u8>, String> {
        let registry = self.registry.clone();
        let admitted = tokio::task::spawn_blocking(move || registry.admit(&id, member)).await;
        let sealed = admitted.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
        // Admitted here before the joiner hears of it, so that its first real connection is not turned away.
        self.admission.refresh().await;
        self.net.set_invitation_open(self.registry.invitation_open()).await;
        self.events.send(Event::Core(Input::Members(sealed.roster))).await;
        Ok(sealed.signed)
    }
}

pub(super) fn ended() -> Status {
    Status::unavailable("the node is ending")
}

pub(super) fn json<T: serde::Serialize>(document: &T) -> Result<Vec<u8>, Status> {
    serde_json::to_vec(document).map_err(|error| Status::internal(error.to_string()))
}

impl AdminBackend for Node {
    async fn state(&self) -> Result<Vec<u8>, Status> {
        json(&self.view().await)
    }

    async fn invite(&self, request: v1::InviteRequest) -> Result<v1::InviteReply, Status> {
        super::invitations::invite(self, request).await
    }

    async fn invitation(&self, request: v1::InvitationRequest) -> Result<v1::InvitationReply, Status> {
        super::invitations::status(self, &request)
    }

    async fn withdraw(&self, request: v1::WithdrawRequest) -> Result<v1::WithdrawReply, Status> {
        super::invitations::withdraw(self, &request).await
    }

    async fn publish(&self, request: v1::PublishRequest, events: mpsc::Sender<Result<v1::PublishEvent, Status>>) {
        super::publish::publish(self, request, events).await;
    }

    async fn plan(&self) -> Result<Vec<u8>, Status> {
        let (planned, called) = self.planned().await?;
        // Trial plans take a while.
        let document = tokio::task::spawn_blocking(move || planned.document(&called)).await;
        match document.map_err(|error| Status::internal(error.to_string()))? {
            Some(plan) => json(&plan),
            None => Err(Status::unavailable("there is no plan yet; a coordinator is elected within seconds")),
        }
    }

    async fn inventory(&self) -> Result<Vec<u8>, Status> {
        json(&self.planned().await?.0.inventory)
    }

    async fn roster(&self, toml: String) -> Result<Vec<u8>, Status> {
        if toml.is_empty() {
            let roster = self.read(|machine| machine.config().catalog.roster().cloned()).await.ok_or_else(ended)?;
            return match roster {
                Some(roster) => json(&roster),
                None => Err(Status::unavailable("no roster of slots has reached this node yet")),
            };
        }
        let refused = |why: String| Status::invalid_argument(format!("this roster cannot be applied: {why}"));
        let roster: SlotRoster = toml::from_str(&toml).map_err(|error| refused(error.to_string()))?;
        roster.check().map_err(|error| refused(error.to_string()))?;
        self.write_catalog(Entry::Roster(roster.clone())).await?;
        json(&roster)
    }

    async fn members(&self, request: v1::MembersRequest) -> Result<Vec<u8>, Status> {
        super::members::change(self, request).await
    }

    async fn import_owner(&self, recovery: String) -> Result<Vec<u8>, Status> {
        super::members::import_owner(self, recovery).await
    }

    async fn pin(&self, request: v1::PinRequest) -> Result<Vec<u8>, Status> {
        super::pins::pin(self, request).await
    }

    async fn load(&self, slot: String) -> Result<Vec<u8>, Status> {
        super::wishes::load(self, &slot).await
    }

    async fn evict(&self, slot: String) -> Result<Vec<u8>, Status> {
        super::wishes::evict(self, &slot).await
    }

    async fn drain(&self, request: v1::DrainRequest) -> Result<Vec<u8>, Status> {
        super::wishes::drain(self, request).await
    }

    async fn external(&self, request: v1::ExternalRequest) -> Result<Vec<u8>, Status> {
        super::externals::external(self, request).await
    }

    async fn gc(&self, request: v1::GcRequest) -> Result<Vec<u8>, Status> {
        super::gc::gc(self, request).await
    }

    async fn scrub(&self, request: v1::ScrubRequest, events: mpsc::Sender<Result<v1::ScrubEvent, Status>>) {
        super::scrub_now::scrub(self, request, events).await;
    }

    async fn verify_slot(
        &self,
        request: v1::VerifySlotRequest,
        events: mpsc::Sender<Result<v1::VerifySlotEvent, Status>>,
    ) {
        super::verify::verify_slot(self, request, events).await;
    }

    async fn doctor(&self) -> Result<Vec<u8>, Status> {
        json(&Node::examine(self).await)
    }

    async fn dashboard(&self) -> v1::DashboardReply {
        owner_session::open(self).await
    }

    async fn shutdown(&self) {
        self.events.send(Event::Stop).await;
    }
}
