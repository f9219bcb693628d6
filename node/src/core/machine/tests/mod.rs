//! The whole machine, a few nodes wired together by hand with a clock that jumps. The simulator goes far beyond this.

mod crowds;
mod externals;
mod households;
mod seats;
mod trusting;
mod wishes;

use std::collections::VecDeque;
use std::sync::Arc;

use super::*;
use crate::core::artifact::Shape;
use crate::core::catalog::{Entry, Publication, Record};
use crate::core::fingerprint::{Judgement, MicroNats};
use crate::core::membership::advert::{DomainKind, MemoryDomain};
use crate::core::membership::roster::Member;
use crate::core::placement::plan::Strategy;
use crate::core::roster::{RosterSlot, SlotPolicy, SlotRoster};
use crate::core::route::{Ask, Place};
use crate::core::transfer::ChunkOutcome;
use crate::core::types::{Duration, FederationId};

const GIB: u64 = 1 << 30;

fn id(node: u8) -> NodeId {
    NodeId([node; 32])
}

fn slot(name: &str) -> SlotName {
    SlotName::new(name).expect("name")
}

fn members(nodes: &[(u8, Role)]) -> MemberRoster {
    let mut roster = MemberRoster::new(FederationId([99; 32]));
    for (node, role) in nodes {
        roster = roster.admit(Member::new(id(*node), format!("n{node}"), *role)).expect("room");
    }
    roster
}

fn roster_record(names: &[&str]) -> Record {
    let slots = names.iter().map(|name| RosterSlot {
        name: slot(name),
        title: String::new(),
        base: None,
        context: 512,
        parallel: 1,
        replicas: 1,
        replicas_max: 0,
        policy: SlotPolicy::Swappable,
        demand_per_hour: 1,
        domains: Vec::new(),
    });
    let roster = SlotRoster { name: "test".into(), precision_floor: "f16".into(), slots: slots.collect() };
    Record { sequence: 1, author: id(1), entry: Entry::Roster(roster), signed: vec![1] }
}

fn publication(name: &str) -> Record {
    let shape = Shape { context_max: 512, weights_bytes: GIB, ..Shape::default() };
    let publication = Publication {
        slot: slot(name),
        domain: None,
        artifact: Digest::of(name.as_bytes()),
        artifact_bytes: GIB,
        chunks: 2,
        shape,
        name: name.into(),
        version: "1".into(),
        fingerprint: None,
    };
    Record { sequence: 1, author: id(1), entry: Entry::Publication(publication), signed: name.into() }
}

/// Nodes that hear each other at once, with disks and engines that always succeed at once.
pub(super) struct World {
    now: Time,
    pub(super) nodes: BTreeMap<NodeId, Machine>,
    log: Vec<(NodeId, String)>,
    dispatched: Vec<(NodeId, u64, NodeId)>,
    dispatched_at: Vec<(u64, Place)>,
    rejected: Vec<(NodeId, u64, &'static str)>,
    /// Pairs between which nothing passes.
    cut: BTreeSet<(NodeId, NodeId)>,
    /// Plans that are lost on their way to somebody.
    plans_lost: BTreeMap<NodeId, u32>,
    /// Epochs that take long to become durable.
    slow_disk: BTreeSet<NodeId>,
    /// Machines whose loads do not end by themselves.
    slow_loads: BTreeSet<NodeId>,
    /// Machines whose answers are not those that were recorded.
    altered: BTreeSet<NodeId>,
}

impl World {
    fn new(nodes: &[(u8, Role, u64)]) -> World {
        let roster = members(&nodes.iter().map(|(node, role, _)| (*node, *role)).collect::<Vec<_>>());
        let mut world = World {
            now: Time::default(),
            nodes: BTreeMap::new(),
            log: Vec::new(),
            dispatched: Vec::new(),
            dispatched_at: Vec::new(),
            rejected: Vec::new(),
            cut: BTreeSet::new(),
            plans_lost: BTreeMap::new(),
            slow_disk: BTreeSet::new(),
            slow_loads: BTreeSet::new(),
            altered: BTreeSet::new(),
        };
        for (node, role, memory) in nodes {
            let config = Config {
                me: id(*node),
                name: format!("n{node}"),
                role: *role,
                incarnation: 1,
                epoch_highest: 0,
                priority: 0,
                members: Arc::new(roster.clone()),
                catalog: Catalog::default(),
                strategy: Strategy::Mixed,
                check_period: limits::CHECK_PERIOD,
            };
            world.nodes.insert(id(*node), Machine::new(world.now, config));
            let domain = MemoryDomain {
                name: "ram".into(),
                kind: DomainKind::Ram,
                total_bytes: *memory,
                free_bytes: *memory,
                reserve_bytes: 0,
                ours_bytes: 0,
                hosts: *role == Role::Full,
            };
            world.tell(
                id(*node),
                Input::Hardware { domains: vec![domain], disk_free_bytes: 1 << 40, on_battery: false },
            );
        }
        let all: Vec<NodeId> = world.nodes.keys().copied().collect();
        for &a in &all {
            for &b in all.iter().filter(|b| **b != a) {
                world.tell(a, Input::Connected(b));
            }
        }
        world
    }

    /// Gives `input` to `node` and carries out whatever follows, everywhere, until nothing follows.
    fn tell(&mut self, node: NodeId, input: Input) {
        let mut queue = VecDeque::from([(node, input)]);
        while let Some((node, input)) = queue.pop_front() {
            let Some(machine) = self.nodes.get_mut(&node) else { continue };
            let mut outbox = Vec::new();
            machine.handle(self.now, input, &mut outbox);
            for output in outbox {
                self.carry_out(node, output, &mut queue);
            }
        }
    }

    fn carry_out(&mut self, node: NodeId, output: Output, queue: &mut VecDeque<(NodeId, Input)>) {
        match output {
            Output::Gossip(gossip) => {
                let others = self.nodes.keys().filter(|other| **other != node && !self.cut.contains(&(node, **other)));
                queue.extend(others.map(|other| (*other, Input::Gossip(gossip.clone()))));
            }
            Output::Sync(with) => {
                let Some(other) = self.nodes.get(&with).filter(|_| !self.cut.contains(&(node, with))) else { return };
                let theirs = other.config.catalog.records().cloned().collect::<Vec<_>>();
                queue.extend(theirs.into_iter().map(|record| (node, Input::Record(Box::new(record)))));
                for (who, from) in [(node, with), (with, node)] {
                    let greeting = self.nodes.get(&from).and_then(Machine::greeting);
                    queue.extend(greeting.map(|advert| (who, Input::Greeting(advert))));
                }
            }
            Output::DeliverPlan(to, plan) => {
                let lost = self.plans_lost.entry(to).or_default();
                let passes = *lost == 0 && !self.cut.contains(&(node, to));
                *lost = lost.saturating_sub(1);
                self.log.push((node, format!("deliver {}.{} to {}", plan.epoch, plan.revision, to.0[0])));
                if passes {
                    queue.push_back((to, Input::PlanOffered { from: node, plan }));
                }
            }
            Output::PersistEpoch(_) if self.slow_disk.contains(&node) => {}
            Output::PersistEpoch(epoch) => queue.push_back((node, Input::EpochPersisted(epoch))),
            Output::GetManifest { artifact, .. } => {
                queue.push_back((node, Input::Manifest(artifact, vec![4, 4])));
            }
            Output::Begin(artifact) => {
                queue.push_back((node, Input::Begun(artifact, crate::core::artifact::Bitmap::empty(2))));
            }
            Output::Fetch { artifact, chunk, from, .. } => {
                let outcome = ChunkOutcome::Stored;
                queue.push_back((node, Input::Chunk { artifact, chunk, from, outcome }));
            }
            Output::Finish(artifact) => queue.push_back((node, Input::Finished(artifact, Ok(())))),
            Output::Load(order) => {
                self.log.push((node, format!("load {}", order.slot)));
                if !self.slow_loads.contains(&node) {
                    queue.push_back((node, Input::Loaded(order.slot, Ok(0))));
                }
            }
            Output::Stage(..) => {}
            Output::Unload(slot) => {
                self.log.push((node, format!("unload {slot}")));
                queue.push_back((node, Input::Unloaded(slot)));
            }
            Output::CheckFingerprint(suspect) => {
                let distance = if self.altered.contains(&suspect.node) { 9_000 } else { 9 };
                let judged = Judgement { distance: MicroNats(distance), threshold: MicroNats(1_000) };
                self.log.push((node, format!("check {} on {}", suspect.slot, suspect.node.0[0])));
                queue.push_back((node, Input::FingerprintChecked(suspect, Ok(judged))));
            }
            Output::Verify(_) => self.log.push((node, "verify".to_owned())),
            Output::Dispatch(request, to) => {
                self.dispatched.push((node, request, to.node));
                self.dispatched_at.push((request, to));
            }
            Output::Reject(request, refusal) => self.rejected.push((node, request, refusal.code)),
            Output::Know(..) | Output::AnswerPlan(_) | Output::Admit | Output::GetHave { .. } | Output::Final(_) => {}
            Output::Cancel { .. } | Output::Reconnect(_) => {}
        }
    }

    /// Lets `seconds` pass, waking machines at their deadlines.
    fn run(&mut self, seconds: u64) {
        self.run_ms(seconds * 1000);
    }

    fn run_ms(&mut self, millis: u64) {
        let end = self.now.after(Duration::from_millis(millis));
        loop {
            let next = self.nodes.iter().filter_map(|(node, m)| m.next_deadline().map(|at| (at, *node))).min();
            let Some((at, node)) = next.filter(|(at, _)| *at <= end) else { break };
            self.now = self.now.max(at);
            self.tell(node, Input::Tick);
        }
        self.now = end;
    }

    /// `node`'s process is killed: connections close, redials are refused.
    fn kill(&mut self, node: NodeId) {
        self.nodes.remove(&node);
        for other in self.nodes.keys().copied().collect::<Vec<_>>() {
            self.tell(other, Input::Disconnected(node));
            self.tell(other, Input::DialFailed { node, refused: true });
        }
    }

    /// Nothing passes between two nodes any more, and both notice.
    fn part(&mut self, a: NodeId, b: NodeId) {
        self.cut.extend([(a, b), (b, a)]);
        self.tell(a, Input::Disconnected(b));
        self.tell(b, Input::Disconnected(a));
    }

    /// They find each other again.
    fn heal(&mut self, a: NodeId, b: NodeId) {
        self.cut.remove(&(a, b));
        self.cut.remove(&(b, a));
        self.tell(a, Input::Connected(b));
        self.tell(b, Input::Connected(a));
    }

    /// Who sits, as each node sees it.
    fn seats(&self) -> BTreeSet<Option<NodeId>> {
        self.nodes.values().map(|machine| machine.coordinator().map(|(holder, _)| holder)).collect()
    }

    /// Which plan each node follows.
    fn plans(&self) -> BTreeSet<Option<(u64, u64, NodeId)>> {
        self.nodes.values().map(|m| m.plan().map(|plan| (plan.epoch, plan.revision, plan.author))).collect()
    }

    fn publish(&mut self, node: NodeId, names: &[&str]) {
        self.tell(node, Input::Record(Box::new(roster_record(names))));
        for name in names {
            self.tell(node, Input::Stored(Digest::of(name.as_bytes())));
            self.tell(node, Input::Record(Box::new(publication(name))));
        }
    }

    fn ask(&mut self, node: NodeId, request: u64, name: &str) {
        let deadline = self.now.after(limits::REQUEST_WAIT);
        self.tell(node, Input::Request(request, Ask::new(slot(name), deadline)));
    }

    fn resident(&self, node: NodeId) -> Vec<String> {
        self.nodes[&node].own_advert().replicas.iter().map(|replica| replica.slot.to_string()).collect()
    }
}

/// A Griffith (1), a swapping node with room for one manager (2), a delegate (3); three managers published on the Griffith.
pub(super) fn household() -> World {
    let mut world =
        World::new(&[(1, Role::Full, 128 * GIB), (2, Role::Full, 3 * GIB / 2), (3, Role::Delegate, 16 * GIB)]);
    world.publish(id(1), &["A", "B", "C"]);
    world.run(40);
    world
}
