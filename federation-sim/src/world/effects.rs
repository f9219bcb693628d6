//! Carrying out what a machine wants: one `match`, as in the driver, and what disks and engines report back later.

use std::rc::Rc;

use fednode::core::catalog::Record;
use fednode::core::machine::{Input, Output};
use fednode::core::membership::advert::Gossip;
use fednode::core::placement::plan::{Plan, PlannedReplica};
use fednode::core::residency;
use fednode::core::types::{Duration, SlotName};

use crate::codec::{self, PlanMessage};
use crate::world::World;
use crate::world::calls::{Ask, Reply, Waiting};
use crate::world::costs::UNLOAD;
use crate::world::event::Event;
use crate::world::node::{CallId, Engine};

impl World {
    pub(super) fn carry_out(&mut self, node: usize, output: Output) {
        match output {
            Output::Gossip(gossip) => self.gossip(node, &gossip),
            Output::Know(..) | Output::Admit => {} // addresses and membership are fixed in a run
            Output::CheckFingerprint(_) | Output::Verify(_) => {} // nothing is published with a fingerprint
            Output::Sync(with) => {
                if let (Some(peer), Some(mine)) = (self.by_id.get(&with).copied(), self.catalog_message(node)) {
                    self.call(node, peer, Ask::Sync(mine), Waiting::Sync);
                }
            }
            Output::Reconnect(with) => {
                if let Some(peer) = self.by_id.get(&with).copied() {
                    self.break_link(node, peer, Duration(0));
                }
            }
            Output::DeliverPlan(to, plan) => {
                if let (Some(peer), Some(message)) = (self.by_id.get(&to).copied(), self.plan_message(node, &plan)) {
                    self.call(node, peer, Ask::Plan(message), Waiting::Plan);
                }
            }
            Output::AnswerPlan(answer) => self.nodes[node].answer = Some(answer.is_ok()),
            Output::PersistEpoch(epoch) => self.done_after(node, self.fsync(), Input::EpochPersisted(epoch)),
            Output::GetManifest { artifact, from } => {
                let peer = self.by_id[&from];
                self.call(node, peer, Ask::Manifest(artifact), Waiting::Manifest(artifact));
            }
            Output::Begin(artifact) => self.begin(node, artifact),
            Output::GetHave { artifact, from } => {
                let peer = self.by_id[&from];
                self.call(node, peer, Ask::Have(artifact), Waiting::Have(artifact));
            }
            Output::Fetch { artifact, chunk, bytes, from } => {
                self.stats.fetch_first.get_or_insert(self.now);
                let peer = self.by_id[&from];
                self.call(node, peer, Ask::Chunk(artifact, chunk, bytes), Waiting::Chunk(artifact, chunk));
            }
            Output::Cancel { artifact, chunk, from } => self.cancel_chunk(node, self.by_id[&from], artifact, chunk),
            Output::Finish(artifact) => self.finish(node, artifact),
            Output::Load(order) => self.load(node, *order),
            Output::Stage(artifact, bytes) => self.stage(node, artifact, bytes),
            Output::Unload(slot) => self.unload(node, slot),
            Output::Dispatch(request, to) => self.dispatch(node, request, self.by_id[&to.node]),
            Output::Reject(request, refusal) => self.give_up(node, request, Some(refusal)),
            Output::Final(request) => self.give_up(node, request, None),
        }
    }

    fn gossip(&mut self, node: usize, gossip: &Gossip) {
        let (heard, digest) = match codec::gossip(&self.nodes[node].id, gossip) {
            Ok(decoded) => decoded,
            Err(error) => return self.checkers.unreadable(self.now, node, &error),
        };
        self.trace.update(&digest.0);
        if let Gossip::Advert(advert) = gossip {
            self.checkers.advert(self.now, node, &self.nodes[node], advert);
        }
        let heard = Rc::new(heard);
        let (loss, twice) = match self.calm {
            true => (0, 0),
            false => (self.run.options.loss_ppm, self.run.options.duplicate_ppm),
        };
        for to in (0..self.nodes.len()).filter(|to| *to != node) {
            let copies = if self.link_rng.chance(twice) { 2 } else { 1 };
            for _ in 0..copies {
                if self.link_rng.chance(loss) {
                    continue;
                }
                if let Some(at) = self.gossip_arrives(node, to) {
                    self.at(at, Event::Gossip { node: to, gossip: Rc::clone(&heard) });
                }
            }
        }
    }

    pub(super) fn catalog_message(&mut self, node: usize) -> Option<Rc<Vec<Record>>> {
        let machine = &self.nodes[node].process.as_ref()?.machine;
        match self.codec.catalog(machine.config().catalog.records()) {
            Ok(records) => Some(records),
            Err(error) => {
                self.checkers.unreadable(self.now, node, &error);
                None
            }
        }
    }

    /// Records of another member: each is told, and what a full node then knows is durable.
    pub(super) fn take_records(&mut self, node: usize, records: &[Record]) {
        for record in records {
            self.tell(node, Input::Record(Box::new(record.clone())));
        }
        let full = self.nodes[node].is_full();
        let sim = &mut self.nodes[node];
        if let Some(process) = sim.process.as_ref().filter(|_| full) {
            sim.disk.catalog = process.machine.config().catalog.clone();
        }
    }

    fn plan_message(&mut self, node: usize, plan: &Plan) -> Option<PlanMessage> {
        match self.codec.plan(plan) {
            Ok(message) => {
                self.trace.update(&message.digest.0);
                let (now, pinned) = (self.now, self.pinned().cloned().collect::<Vec<_>>());
                self.checkers.plan(now, node, plan, message.digest, &pinned, &self.nodes[node]);
                self.stats.plan_bytes_max = self.stats.plan_bytes_max.max(message.bytes as u64);
                Some(message)
            }
            Err(error) => {
                self.checkers.unreadable(self.now, node, &error);
                None
            }
        }
    }

    pub(super) fn plan_offered(&mut self, node: usize, from: usize, link: u64, call: CallId, message: &PlanMessage) {
        self.nodes[node].answer = None;
        let sender = self.nodes[from].id;
        self.tell(node, Input::PlanOffered { from: sender, plan: Box::new((*message.plan).clone()) });
        let sim = &self.nodes[node];
        let Some(process) = sim.process.as_ref() else { return };
        if sim.answer.is_none() {
            return self.checkers.nonsense(self.now, node, "a plan that was not answered");
        }
        let epoch_highest = process.machine.epoch_highest();
        self.stats.plans_offered += 1;
        self.reply(node, from, link, call, Reply::PlanAnswered(epoch_highest));
    }

    fn load(&mut self, node: usize, order: PlannedReplica) {
        let missing = residency::artifacts(&order).any(|artifact| !self.nodes[node].disk.complete.contains(&artifact));
        if missing {
            self.checkers.unverified(self.now, node, "a replica is loaded whose weights were never verified here");
        }
        let fails = !self.calm && self.fault_rng.chance(self.run.options.load_failure_ppm);
        let wait = self.load_time(node, &order);
        let Some(process) = self.nodes[node].process.as_mut() else { return };
        let engine = Engine {
            memory_domain: order.memory_domain.clone(),
            bytes: order.bytes,
            mapped_bytes: if order.memory_domain == "ram" { order.weights_bytes } else { 0 },
            artifact: order.artifact,
            ready: false,
        };
        if process.engines.insert(order.slot.clone(), engine).is_some() {
            self.checkers.nonsense(self.now, node, "a slot loaded while its engine still lives");
        }
        self.stats.loads += 1;
        let result = if fails { Err("the engine gave up".to_owned().into()) } else { Ok(order.bytes) };
        self.stats.load_ordered(self.now, node);
        self.done_after(node, wait, Input::Loaded(order.slot, result));
    }

    fn unload(&mut self, node: usize, slot: SlotName) {
        let Some(process) = self.nodes[node].process.as_mut() else { return };
        let busy = process.jobs.iter().any(|job| job.slot == slot);
        if let Some(engine) = process.engines.get_mut(&slot) {
            engine.ready = false;
        }
        self.stats.unloads += 1;
        if busy {
            self.checkers.nonsense(self.now, node, "an engine ended under a request");
        }
        self.done_after(node, UNLOAD, Input::Unloaded(slot));
    }

    /// A disk or an engine will report `input`.
    pub(super) fn done_after(&mut self, node: usize, wait: Duration, input: Input) {
        if let Some(life) = self.nodes[node].life() {
            self.after(wait, Event::Done { node, life, input: Box::new(input) });
        }
    }

    pub(super) fn done(&mut self, node: usize, life: u64, input: Input) {
        let sim = &mut self.nodes[node];
        let Some(process) = sim.process.as_mut().filter(|process| process.life == life) else { return };
        match &input {
            Input::EpochPersisted(epoch) => sim.disk.epoch = sim.disk.epoch.max(*epoch),
            Input::Finished(artifact, Ok(())) => {
                self.stats.stored_last = Some(self.now);
                let artifact = *artifact;
                self.finished(node, artifact);
            }
            Input::Loaded(slot, Ok(_)) => {
                self.stats.loaded(self.now, node);
                if let Some(engine) = process.engines.get_mut(slot) {
                    engine.ready = true;
                }
            }
            Input::Loaded(slot, Err(_)) => {
                process.engines.remove(slot);
            }
            Input::Unloaded(slot) => {
                process.engines.remove(slot);
                self.stats.unloaded(self.now, node);
            }
            Input::RequestFailed { request, refusal, .. } => {
                return self.request_failed(node, *request, refusal.clone());
            }
            _ => {}
        }
        self.tell(node, input);
    }
}
