//! What counts as planned before, when a plan is made: what the last plan says, where nothing answers that it does not know of.

use std::collections::{BTreeMap, BTreeSet};

use crate::core::membership::advert::{Advert, ReplicaState};
use crate::core::placement::plan::PlannedReplica;
use crate::core::placement::problem::{NodeInput, RoleWanted, SlotInput};
use crate::core::types::{NodeId, SlotName};

/// Replicas a node has or is about to have: what a coordinator without a plan of its own starts from.
pub(super) fn already_there(advert: &Advert) -> Vec<PlannedReplica> {
    let staying =
        advert.replicas.iter().filter(|replica| matches!(replica.state, ReplicaState::Ready | ReplicaState::Loading));
    let planned = staying.map(|replica| PlannedReplica {
        slot: replica.slot,
        node: advert.node,
        memory_domain: replica.memory_domain.clone(),
        artifact: replica.artifact,
        adapters: Vec::new(),
        context: 1,
        parallel: 1,
        bytes: replica.bytes,
        weights_bytes: 0,
    });
    planned.collect()
}

/// What is resident outweighs what is only planned: of a slot that answers somewhere, but nowhere where the plan has it, the
/// places where it answers count as planned before, and so do those where it loads if it does not even load where the plan has
/// it. So a plan that was made while those machines were out of reach does not take their replicas away when they are back,
/// and a load that was under way then and cannot be stopped is not for nothing.
///
/// But what is planned on a GPU and answers in host memory only is on its way, and goes on, as long as it can arrive. The second
/// of what is returned answers until it has.
pub(super) fn of(
    plan: &[PlannedReplica],
    alive: &[&Advert],
    nodes: &[NodeInput],
    slots: &[SlotInput],
) -> (Vec<PlannedReplica>, Vec<PlannedReplica>) {
    let present: BTreeSet<NodeId> = nodes.iter().map(|node| node.id).collect();
    let planned: Vec<PlannedReplica> = plan.iter().filter(|one| present.contains(&one.node)).cloned().collect();
    let there: Vec<PlannedReplica> = alive.iter().flat_map(|advert| already_there(advert)).collect();
    let mut states: BTreeMap<(NodeId, &SlotName), u8> = BTreeMap::new();
    for (advert, replica) in alive.iter().flat_map(|advert| advert.replicas.iter().map(move |held| (advert, held))) {
        let near = states.entry((advert.node, &replica.slot)).or_default();
        *near = nearness(replica.state).max(*near);
    }
    let state = |replica: &PlannedReplica| states.get(&(replica.node, &replica.slot)).copied().unwrap_or(0);
    let nearest = |replicas: &[PlannedReplica]| {
        replicas.iter().fold(BTreeMap::<SlotName, u8>::new(), |mut nearest, replica| {
            let near = nearest.entry(replica.slot).or_default();
            *near = state(replica).max(*near);
            nearest
        })
    };
    let named: BTreeSet<SlotName> = plan.iter().map(|one| one.slot).collect();
    let gpus = gpus(nodes);
    let on_gpu = |replica: &PlannedReplica| gpus.contains_key(&(replica.node, replica.memory_domain.as_str()));
    let mut climbing = climbing(&planned, alive, &gpus, slots);
    climbing.retain(|slot| !there.iter().any(|one| one.slot == *slot && on_gpu(one) && state(one) == READY));
    let (mut nearer, as_planned) = (nearest(&there), nearest(&planned));
    // Of a slot whose machines are all gone nothing is planned any more, and what answers still is all there is.
    let outweighs = |slot: &SlotName, near: u8| near > as_planned.get(slot).copied().unwrap_or(0);
    nearer.retain(|slot, near| named.contains(slot) && outweighs(slot, *near) && !climbing.contains(slot));
    let leaves = |one: &&PlannedReplica| {
        climbing.contains(&one.slot) && !on_gpu(one) && !planned.iter().any(|other| other.place() == one.place())
    };
    let leaving = there.iter().filter(leaves).cloned().collect();
    let kept = planned.iter().filter(|replica| !nearer.contains_key(&replica.slot)).cloned();
    let answering = there.iter().filter(|replica| nearer.get(&replica.slot) == Some(&state(replica))).cloned();
    (kept.chain(answering).collect(), leaving)
}

/// GPUs of machines that host, and what managers may use of each, bytes.
fn gpus(nodes: &[NodeInput]) -> BTreeMap<(NodeId, &str), u64> {
    let hosts = nodes.iter().filter(|node| node.role != RoleWanted::Delegate);
    let gpus = hosts.flat_map(|node| node.gpus().map(|gpu| (node.id, gpu)));
    gpus.map(|(node, gpu)| ((node, gpu.name.as_str()), gpu.budget_bytes)).collect()
}

/// Slots that are planned on a GPU which has the room that is planned on it and has not failed them, and that nobody wants on a
/// certain machine.
fn climbing(
    planned: &[PlannedReplica],
    alive: &[&Advert],
    gpus: &BTreeMap<(NodeId, &str), u64>,
    slots: &[SlotInput],
) -> BTreeSet<SlotName> {
    let mut needed: BTreeMap<(NodeId, &str), u64> = BTreeMap::new();
    for one in planned {
        let bytes = needed.entry((one.node, &one.memory_domain)).or_default();
        *bytes = bytes.saturating_add(one.bytes);
    }
    let failed = |one: &PlannedReplica| {
        let held = alive.iter().filter(|advert| advert.node == one.node).flat_map(|advert| &advert.replicas);
        held.into_iter().any(|held| held.slot == one.slot && held.state == ReplicaState::Failed)
    };
    let arrives = |one: &&PlannedReplica| {
        let gpu = (one.node, one.memory_domain.as_str());
        gpus.get(&gpu).is_some_and(|budget| budget >= &needed[&gpu]) && !failed(one)
    };
    let is_pinned = |slot: &SlotName| slots.iter().any(|input| input.name == *slot && !input.pinned_on.is_empty());
    planned.iter().filter(arrives).map(|one| one.slot).filter(|slot| !is_pinned(slot)).collect()
}

/// Until `leaving` answers on its GPU, the memory that it has is nobody else's who was not planned there before.
pub(super) fn keep_room(
    nodes: &mut [NodeInput],
    leaving: &PlannedReplica,
    previous: &[PlannedReplica],
    slots: &[SlotInput],
) {
    let here = |node: NodeId, domain: &str| (node, domain) == (leaving.node, &leaving.memory_domain);
    let needs = |one: &PlannedReplica| {
        let slot = slots.iter().find(|slot| slot.name == one.slot);
        slot.map_or(one.bytes, |slot| slot.footprint.total_bytes().max(one.bytes))
    };
    let planned = previous.iter().filter(|one| here(one.node, &one.memory_domain)).map(needs);
    let planned = planned.fold(0, u64::saturating_add);
    for node in nodes.iter_mut() {
        for domain in node.domains.iter_mut().filter(|domain| here(node.id, &domain.name)) {
            let budget = domain.budget_bytes;
            domain.budget_bytes = budget.saturating_sub(leaving.bytes).max(planned.min(budget));
        }
    }
}

/// [`nearness`] of what answers.
const READY: u8 = 2;

/// How near a replica is to answering.
fn nearness(state: ReplicaState) -> u8 {
    match state {
        ReplicaState::Ready => READY,
        ReplicaState::Loading => 1,
        _ => 0,
    }
}
