//! What counts as planned before, when a plan is made: what the last plan says, where nothing answers that it does not know of.

use std::collections::{BTreeMap, BTreeSet};

use crate::core::membership::advert::{Advert, DomainKind, ReplicaState};
use crate::core::placement::plan::PlannedReplica;
use crate::core::placement::problem::NodeInput;
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

/// What is resident outweighs what is only planned: of a slot that answers somewhere, but nowhere where `planned` has it,
/// the places where it answers count as planned before, and so do those where it loads if it does not even load where
/// `planned` has it. So a plan that was made while those machines were out of reach does not take their replicas away when
/// they are back, and a load that was under way then and cannot be stopped is not for nothing.
///
/// But what is on its way from host memory to a GPU goes on. The second of what is returned answers until it is there.
pub(super) fn of(
    planned: Vec<PlannedReplica>,
    there: Vec<PlannedReplica>,
    alive: &[&Advert],
) -> (Vec<PlannedReplica>, Vec<PlannedReplica>) {
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
    let gpus = gpus(alive);
    let on_gpu = |replica: &PlannedReplica| gpus.contains(&(replica.node, replica.memory_domain.as_str()));
    let goes_to_gpu: BTreeSet<SlotName> = planned.iter().filter(|one| on_gpu(one)).map(|one| one.slot).collect();
    let (mut nearer, as_planned) = (nearest(&there), nearest(&planned));
    nearer.retain(|slot, near| {
        let there_already = || there.iter().any(|one| one.slot == *slot && on_gpu(one) && state(one) == *near);
        as_planned.get(slot).is_some_and(|planned| *near > *planned) && (!goes_to_gpu.contains(slot) || there_already())
    });
    let is_planned = |one: &PlannedReplica| planned.iter().any(|other| place(other) == place(one));
    let leaves = |one: &&PlannedReplica| {
        let stays = on_gpu(one) || nearer.contains_key(&one.slot) || is_planned(one);
        goes_to_gpu.contains(&one.slot) && !stays
    };
    let leaving = there.iter().filter(leaves).cloned().collect();
    let kept = planned.iter().filter(|replica| !nearer.contains_key(&replica.slot)).cloned();
    let answering = there.iter().filter(|replica| nearer.get(&replica.slot) == Some(&state(replica))).cloned();
    (kept.chain(answering).collect(), leaving)
}

fn place(replica: &PlannedReplica) -> (SlotName, NodeId, &str) {
    (replica.slot, replica.node, &replica.memory_domain)
}

fn gpus<'a>(alive: &[&'a Advert]) -> BTreeSet<(NodeId, &'a str)> {
    let gpu = |advert: &'a Advert| {
        let gpus = advert.domains.iter().filter(|domain| domain.kind == DomainKind::Vram);
        gpus.map(|domain| (advert.node, domain.name.as_str()))
    };
    alive.iter().copied().flat_map(gpu).collect()
}

/// Until `leaving` answers on its GPU, the memory that it has is nobody else's who was not planned there before.
pub(super) fn keep_room(nodes: &mut [NodeInput], leaving: &PlannedReplica, previous: &[PlannedReplica]) {
    let here = |node: NodeId, domain: &str| (node, domain) == (leaving.node, &leaving.memory_domain);
    let planned = previous.iter().filter(|one| here(one.node, &one.memory_domain)).map(|one| one.bytes);
    let planned = planned.fold(0, u64::saturating_add);
    for node in nodes.iter_mut() {
        for domain in node.domains.iter_mut().filter(|domain| here(node.id, &domain.name)) {
            let budget = domain.budget_bytes;
            domain.budget_bytes = budget.saturating_sub(leaving.bytes).max(planned.min(budget));
        }
    }
}

/// How near a replica is to answering.
fn nearness(state: ReplicaState) -> u8 {
    match state {
        ReplicaState::Ready => 2,
        ReplicaState::Loading => 1,
        _ => 0,
    }
}
