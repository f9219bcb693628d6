//! Carrying out what the machine wants: one `match`, each arm a call into a room.

use std::sync::Arc;
use std::time::Duration;

use fednode_proto::v1;
use prost::Message;
use tokio::runtime::Handle;

use crate::core::checks::Suspect;
use crate::core::machine::{Input, Output};
use crate::core::types::NodeId;
use crate::driver::event_loop::{Driver, Event, Events};
use crate::driver::fingerprint;
use crate::driver::sync;
use crate::driver::writer::Writer;
use crate::store::datadir::DataDir;
use crate::wire;

/// Between two tries to make an epoch durable.
const EPOCH_RETRY: Duration = Duration::from_secs(1);

impl Driver {
    /// Does `output`, or starts it in a task whose end comes back as an event.
    pub(super) fn carry_out(&mut self, output: Output) {
        match output {
            Output::Gossip(mut gossip) => {
                self.facts.loading.tell(&mut gossip);
                let (net, bytes) = (self.net.clone(), wire::gossip::encode(&gossip));
                tokio::spawn(async move { net.publish(bytes).await });
            }
            Output::Know(node, addresses) => self.know(node, addresses),
            Output::Sync(node) => self.sync_with(node),
            Output::Reconnect(node) => self.reconnect(node),
            Output::DeliverPlan(to, plan) => self.deliver(to, plan),
            Output::AnswerPlan(answer) => {
                if let Some(waiting) = self.plan_answers.pop_front() {
                    let _ = waiting.send((answer, self.machine.epoch_highest()));
                }
            }
            Output::PersistEpoch(epoch) => self.persist_epoch(epoch),
            Output::Admit => {
                let admission = self.admission.clone();
                tokio::spawn(async move { admission.refresh().await });
            }
            Output::GetManifest { artifact, from } => self.weights.get_manifest(artifact, from),
            Output::Begin(artifact) => self.weights.begin(artifact),
            Output::GetHave { artifact, from } => self.weights.get_have(artifact, from),
            Output::Fetch { artifact, chunk, bytes, from } => self.weights.fetch(artifact, chunk, bytes, from),
            Output::Cancel { artifact, chunk, from } => self.weights.cancel(artifact, chunk, from),
            Output::Finish(artifact) => self.weights.finish(artifact),
            Output::Load(order) => {
                tracing::info!(slot = %order.slot, memory_domain = order.memory_domain, bytes = order.bytes, "loading");
                let floor_f16 = self.machine.config().catalog.roster().is_none_or(|roster| roster.requires_f16());
                let stays = self.machine.stays_resident(&order.slot);
                self.replicas.load(*order, floor_f16, stays, self.events.clone());
            }
            Output::Stage(artifact, bytes) => self.replicas.stage(artifact, bytes),
            Output::Unload(slot) => self.replicas.unload(slot, self.events.clone()),
            Output::CheckFingerprint(suspect) => self.check_fingerprint(suspect),
            Output::Verify(artifact) => {
                tracing::warn!(artifact = %artifact.short(), "the coordinator does not trust this node's copy; it is read and hashed again");
                if let Some(store) = &self.store {
                    store.suspect(artifact, None);
                }
            }
            Output::Dispatch(request, to) => self.requests.dispatch(request, to),
            Output::Reject(request, refusal) => self.requests.reject(request, &refusal),
            Output::Final(request) => self.requests.give_up(request),
        }
    }

    fn check_fingerprint(&self, suspect: Suspect) {
        let known = self.machine.config().catalog.fingerprint(&suspect.slot, suspect.domain.as_ref());
        let (peers, replicas, events) = (self.peers.clone(), self.replicas.clone(), self.events.clone());
        let here = suspect.node == self.machine.config().me;
        tokio::spawn(async move {
            let judged = match known.filter(|(artifact, _)| *artifact == suspect.artifact) {
                Some((_, known)) => {
                    let request = fingerprint::request(&known, &suspect.slot, suspect.domain.as_ref());
                    let reply = match here {
                        true => replicas.score(request).await,
                        false => peers.score(suspect.node, request).await.map_err(|error| error.to_string()),
                    };
                    reply.and_then(|reply| fingerprint::judge(&known, &reply).map_err(|error| error.to_string()))
                }
                None => Err("something else was published meanwhile".to_owned()),
            };
            match &judged {
                Ok(judged) if judged.matches() => {
                    tracing::info!(node = %suspect.node, slot = %suspect.slot, %judged, "fingerprint checked")
                }
                Ok(judged) => {
                    tracing::error!(node = %suspect.node, slot = %suspect.slot, %judged, "fingerprint checked")
                }
                Err(why) => tracing::info!(node = %suspect.node, slot = %suspect.slot, why, "fingerprint not checked"),
            }
            events.send(Event::Core(Input::FingerprintChecked(suspect, judged))).await;
        });
    }

    fn know(&mut self, node: NodeId, mut addresses: Vec<String>) {
        // A member speaks of its own addresses; a name would make this machine ask a name server about it.
        addresses.retain(|address| address.starts_with("/ip4/") || address.starts_with("/ip6/"));
        if self.addresses.learn(node, &addresses) {
            let net = self.net.clone();
            tokio::spawn(async move { net.know(node, addresses).await });
        }
    }

    fn persist_epoch(&self, epoch: u64) {
        let (dir, events, runtime) = (self.dir.clone(), self.events.clone(), Handle::current());
        let (writer, again) = (self.writer.clone(), self.writer.clone());
        writer.run(move || save_epoch(epoch, dir, events, runtime, again));
    }

    fn deliver(&self, to: NodeId, plan: Arc<crate::core::placement::plan::Plan>) {
        let (peers, events) = (self.peers.clone(), self.events.clone());
        tokio::spawn(async move {
            match peers.deliver_plan(to, &plan).await {
                Ok((answer, epoch_highest)) => {
                    tracing::debug!(%to, epoch = plan.epoch, revision = plan.revision, ?answer, "plan delivered");
                    let (taken, plan) = (answer.is_ok(), (plan.epoch, plan.revision));
                    events.send(Event::Core(Input::PlanAnswered { from: to, plan, taken, epoch_highest })).await;
                }
                Err(error) => tracing::debug!(%to, %error, "plan not delivered; it is tried again"),
            }
        });
    }

    fn sync_with(&self, node: NodeId) {
        let request = v1::SyncRequest {
            member_roster_version: self.machine.config().members.version,
            catalog_digest: self.machine.config().catalog.digest().0.to_vec(),
            plan_epoch: 0,
            plan_revision: 0,
            catalog: Some(wire::catalog::to_proto(self.machine.config().catalog.records())),
            members: v1::SignedMemberRoster::decode(self.registry.signed_roster().as_slice()).ok(),
            greeting: sync::greeting(&self.machine),
        };
        let (peers, events, registry) = (self.peers.clone(), self.events.clone(), self.registry.clone());
        tokio::spawn(async move {
            match peers.sync(node, request).await {
                Ok(reply) => {
                    sync::receive(&registry, &events, node, reply.members, reply.catalog).await;
                    sync::greeted(&events, node, &reply.greeting).await;
                }
                Err(error) => {
                    tracing::debug!(%node, %error, "no sync");
                    events.send(Event::Core(Input::SyncFailed(node))).await;
                }
            }
        });
    }

    fn reconnect(&self, node: NodeId) {
        tracing::warn!(%node, "a connected member says nothing; it is dialled again");
        let net = self.net.clone();
        tokio::spawn(async move { net.reconnect(node).await });
    }
}

/// Makes `epoch` durable on the writing thread. Without it this node may neither sit nor follow, so a failure (a full disk) is
/// said and tried again until it passes.
fn save_epoch(epoch: u64, dir: Arc<DataDir>, events: Events, runtime: Handle, writer: Writer) {
    match dir.save_epoch(epoch) {
        Ok(()) => drop(runtime.spawn(async move { events.send(Event::Core(Input::EpochPersisted(epoch))).await })),
        Err(error) => {
            tracing::error!(%error, epoch, "the epoch could not be made durable; trying again");
            let again = runtime.clone();
            runtime.spawn(async move {
                tokio::time::sleep(EPOCH_RETRY).await;
                let next = writer.clone();
                writer.run(move || save_epoch(epoch, dir, events, again, next));
            });
        }
    }
}
