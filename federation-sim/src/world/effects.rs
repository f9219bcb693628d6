//! Carrying out what a machine wants: one `match`, as in the driver, and what disks and engines report back later.

use std::rc::Rc;
use std::sync::Arc;

use fednode::core::catalog::Record;
use fednode::core::machine::{Input, Output};
use fednode::core::membership::advert::Advert;
use fednode::core::placement::plan::{Plan, PlannedReplica};
use fednode::core::types::{Duration, SlotName};

use crate::codec::{CatalogMessage, PlanMessage};
use crate::world::World;
use crate::world::calls::{Ask, Reply, Waiting};
use crate::world::costs::UNLOAD;
use crate::world::event::Event;
use crate::world::node::{CallId, Engine};

impl World {
    pub(super) fn carry_out(&mut self, node: usize, output: Output) {
        self.checkers.output(self.now, node, &self.nodes[node], &output);
        match output {
            Output::Gossip(gossip) => self.gossip(node, &gossip),
            Output::Know(..) | Output::Admit => {} // addresses and membership are fixed in a run
            Output::CheckFingerprint(_) | Output::Verify(_) => {} // nothing is published with a fingerprint
            Output::Sync(with) => {
                if let (Some(peer), Some((mine, greeting))) = (self.by_id.get(&with).copied(), self.sync_message(node))
                {
                    self.call(node, peer, Ask::Sync(mine, greeting), Waiting::Sync);
                }
            }
            Output::Reconnect(with) => {
                if let Some(peer) = self.by_id.get(&with).copied() {
                    self.break_link(node, peer, Duration(0));
                }
            }
            Output::DeliverPlan(to, plan) => {
                if let (Some(peer), Some(message)) = (self.by_id.get(&to).copied(), self.plan_message(node, &plan)) {
                    let waiting = Waiting::Plan(plan.epoch, plan.revision);
                    self.call(node, peer, Ask::Plan(message), waiting);
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

    /// What a node brings to a sync: its catalog, and what it said of itself last, as everybody heard it.
    pub(super) fn sync_message(&mut self, node: usize) -> Option<(Rc<CatalogMessage>, Option<Arc<Advert>>)> {
        let sim = &self.nodes[node];
        let machine = &sim.process.as_ref()?.machine;
        match self.codec.catalog(&machine.config().catalog) {
            Ok(records) => Some((records, sim.said.clone())),
            Err(error) => {
                self.checkers.unreadable(self.now, node, &error);
                None
            }
        }
    }

    /// Records of another member: those that are news are told, and what a full node then knows is durable.
    pub(super) fn take_records(&mut self, node: usize, message: &CatalogMessage, greeting: Option<Arc<Advert>>) {
        let news = |world: &World, record: &Record| {
            let process = world.nodes[node].process.as_ref();
            process.is_some_and(|process| !process.machine.config().catalog.holds(record))
        };
        let process = self.nodes[node].process.as_ref();
        let same = process.is_some_and(|process| message.of == CatalogMessage::of(&process.machine.config().catalog));
        let records: &[Record] = if same { &[] } else { &message.records };
        let mut learned = false;
        for record in records {
            if news(self, record) {
                learned = true;
                self.tell(node, Input::Record(Box::new(record.clone())));
            }
        }
        let full = self.nodes[node].is_full();
        let sim = &mut self.nodes[node];
        if let Some(process) = sim.process.as_ref().filter(|_| full && learned) {
            sim.disk.catalog = process.machine.config().catalog.clone();
        }
        if let Some(advert) = greeting {
            self.tell(node, Input::Greeting(advert));
        }
    }

    fn plan_message(&mut self, node: usize, plan: &Arc<Plan>) -> Option<PlanMessage> {
        if let Some(message) = self.codec.same_plan(plan) {
            return Some(message);
        }
        match self.codec.plan(plan) {
            Ok(message) => {
                self.trace.bytes(&message.digest.0);
                self.checkers.plan(self.now, node, plan, message.digest, &self.nodes, &self.by_id);
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
        self.tell(node, Input::PlanOffered { from: sender, plan: Arc::clone(&message.plan) });
        let sim = &self.nodes[node];
        let Some(process) = sim.process.as_ref() else { return };
        let Some(taken) = sim.answer else {
            return self.checkers.nonsense(self.now, node, "a plan that was not answered");
        };
        let epoch_highest = process.machine.epoch_highest();
        self.stats.plans_offered += 1;
        self.reply(node, from, link, call, Reply::PlanAnswered(taken, epoch_highest));
    }

    fn load(&mut self, node: usize, order: PlannedReplica) {
        let by_chance = self.fault_rng.chance(self.run.options.load_failure_ppm);
        let fails = !self.calm && (by_chance || self.nodes[node].strain.loads_fail);
        let wait = self.load_time(node, &order);
        let Some(process) = self.nodes[node].process.as_mut() else { return };
        let mapped_bytes = if order.memory_domain == "ram" { order.weights_bytes } else { 0 };
        let engine = Engine { order: order.clone(), mapped_bytes, ready: false };
        if process.engines.insert(order.slot, engine).is_some() {
            self.checkers.nonsense(self.now, node, "a slot loaded while its engine still lives");
        }
        self.stats.loads += 1;
        self.count_memory();
        let result = if fails { Err("the engine gave up".to_owned().into()) } else { Ok(order.bytes) };
        self.stats.load_ordered(self.now, node);
        self.done_after(node, wait, Input::Loaded(order.slot, result));
    }

    fn unload(&mut self, node: usize, slot: SlotName) {
        let Some(process) = self.nodes[node].process.as_mut() else { return };
        let busy = process.jobs.values().flatten().any(|job| job.slot == slot);
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
            let wait = wait.times(self.nodes[node].strain.slow);
            self.after(wait, Event::Done { node, life, input: Box::new(input) });
        }
    }

    pub(super) fn done(&mut self, node: usize, life: u64, input: Input) {
        let sim = &mut self.nodes[node];
        let Some(process) = sim.process.as_mut().filter(|process| process.life == life) else { return };
        match &input {
            Input::EpochPersisted(epoch) => sim.disk.epoch = sim.disk.epoch.max(*epoch),
            Input::Finished(artifact, Ok(())) => {
                let artifact = *artifact;
                self.finished(node, artifact);
            }
            Input::Loaded(slot, Ok(_)) => {
                self.stats.loaded(self.now, node);
                if let Some(engine) = process.engines.get_mut(slot) {
                    engine.ready = true;
                }
                self.stats.first_ready_ms.get_or_insert(self.now.0 / 1_000_000);
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
