//! Carrying out what the machine wants: one `match`, each arm a call into a room.

use fednode_proto::v1;
use prost::Message;

use crate::core::machine::{Input, Output};
use crate::core::types::NodeId;
use crate::driver::event_loop::{Driver, Event};
use crate::wire;

impl Driver {
    /// Does `output`, or starts it in a task whose end comes back as an event.
    pub(super) fn carry_out(&mut self, output: Output) {
        match output {
            Output::Gossip(gossip) => {
                let (net, bytes) = (self.net.clone(), wire::gossip::encode(&gossip));
                tokio::spawn(async move { net.publish(bytes).await });
            }
            Output::Know(node, addresses) => self.know(node, addresses),
            Output::Sync(node) => self.sync_with(node),
            Output::DeliverPlan(to, plan) => self.deliver(to, *plan),
            Output::AnswerPlan(answer) => {
                if let Some(waiting) = self.plan_answers.pop_front() {
                    let _ = waiting.send((answer, self.machine.epoch_highest()));
                }
            }
            Output::PersistEpoch(epoch) => self.persist_epoch(epoch),
            Output::Admit(members) => {
                let (net, others) = (self.net.clone(), self.others(members));
                tokio::spawn(async move { net.set_members(others).await });
            }
            Output::GetManifest { artifact, from } => self.weights.get_manifest(artifact, from),
            Output::Begin(artifact) => self.weights.begin(artifact),
            Output::GetHave { artifact, from } => self.weights.get_have(artifact, from),
            Output::Fetch { artifact, chunk, bytes, from } => self.weights.fetch(artifact, chunk, bytes, from),
            Output::Finish(artifact) => self.weights.finish(artifact),
            Output::Load(order) => {
                tracing::info!(slot = %order.slot, memory_domain = order.memory_domain, bytes = order.bytes, "loading");
                let floor_f16 = self.machine.config().catalog.roster().is_none_or(|roster| roster.requires_f16());
                self.replicas.load(*order, floor_f16, self.events.clone());
            }
            Output::Unload(slot) => self.replicas.unload(slot, self.events.clone()),
            Output::Dispatch(request, to) => self.requests.dispatch(request, to),
            Output::Reject(request, refusal) => self.requests.reject(request, &refusal),
            Output::Final(request) => self.requests.give_up(request),
        }
    }

    fn know(&mut self, node: NodeId, addresses: Vec<String>) {
        if self.addresses.learn(node, &addresses) {
            let net = self.net.clone();
            tokio::spawn(async move { net.know(node, addresses).await });
        }
    }

    fn persist_epoch(&self, epoch: u64) {
        let (dir, events) = (self.dir.clone(), self.events.clone());
        tokio::spawn(async move {
            let saved = tokio::task::spawn_blocking(move || dir.save_epoch(epoch)).await;
            match saved {
                Ok(Ok(())) => events.send(Event::Core(Input::EpochPersisted(epoch))).await,
                // Without a durable epoch this node may neither sit nor follow: that is said, and tried at the next one.
                Ok(Err(error)) => tracing::error!(%error, epoch, "the epoch could not be made durable"),
                Err(error) => tracing::error!(%error, epoch, "the epoch could not be made durable"),
            }
        });
    }

    fn deliver(&self, to: NodeId, plan: crate::core::placement::plan::Plan) {
        let (peers, events) = (self.peers.clone(), self.events.clone());
        tokio::spawn(async move {
            match peers.deliver_plan(to, &plan).await {
                Ok((answer, epoch_highest)) => {
                    tracing::debug!(%to, epoch = plan.epoch, revision = plan.revision, ?answer, "plan delivered");
                    events.send(Event::Core(Input::PlanAnswered { epoch_highest })).await;
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
        };
        let (peers, events) = (self.peers.clone(), self.events.clone());
        tokio::spawn(async move {
            match peers.sync(node, request).await {
                Ok(reply) => events.send(Event::Synced(Box::new(reply), node)).await,
                Err(error) => tracing::debug!(%node, %error, "no sync"),
            }
        });
    }

    /// What a member has: everything in it is verified again here, whoever brought it.
    pub(super) fn synced(&mut self, reply: &v1::SyncReply, from: NodeId) {
        if let Some(members) = &reply.members {
            match self.registry.take(&members.encode_to_vec()) {
                Ok(Some(roster)) => {
                    tracing::info!(version = roster.version, %from, "newer roster of members");
                    self.facts.members_changed(&roster);
                    self.handle(Input::Members(roster));
                }
                Ok(None) => {}
                Err(error) => tracing::warn!(%from, %error, "a roster of members was refused"),
            }
        }
        if let Some(catalog) = &reply.catalog {
            let (records, refused) = wire::catalog::from_proto(catalog);
            for error in refused {
                tracing::warn!(%from, %error, "a catalog record was refused");
            }
            records.into_iter().for_each(|record| self.take_record(record));
        }
    }
}
