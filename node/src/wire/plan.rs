//! Plans.

use fednode_proto::v1;

use crate::core::limits;
use crate::core::placement::plan::{
    Distrust, Plan, PlanRole, PlannedAdapter, PlannedReplica, PlannedStore, Refusal, Shortfall, Strategy,
};
use crate::core::types::Digest;
use crate::wire::catalog::slot_name;
use crate::wire::{WireError, array32, at_most, field, ids, text};

/// The most items of one kind that a plan may have: every slot on every member is far less for any real federation.
const ITEMS_MAX: usize = 1 << 16;

/// A plan as it travels.
pub fn to_proto(plan: &Plan) -> v1::Plan {
    v1::Plan {
        author: plan.author.0.to_vec(),
        epoch: plan.epoch,
        revision: plan.revision,
        inputs_digest: plan.inputs_digest.0.to_vec(),
        strategy: plan.strategy.as_str().to_owned(),
        replicas: plan.replicas.iter().map(replica_to_proto).collect(),
        stored: plan.stored.iter().map(stored_to_proto).collect(),
        roles: plan.roles.iter().map(role_to_proto).collect(),
        shortfalls: plan.shortfalls.iter().map(shortfall_to_proto).collect(),
        refused: plan.refused.iter().map(refusal_to_proto).collect(),
        distrusted: plan.distrusted.iter().map(distrust_to_proto).collect(),
    }
}

/// A plan from outside. Whether its author may publish is the coordinator's rules' to say.
pub fn from_proto(proto: &v1::Plan) -> Result<Plan, WireError> {
    at_most("plan replicas", &proto.replicas, ITEMS_MAX)?;
    at_most("plan stored", &proto.stored, ITEMS_MAX)?;
    at_most("plan roles", &proto.roles, limits::MEMBERS_MAX)?;
    at_most("plan shortfalls", &proto.shortfalls, ITEMS_MAX)?;
    at_most("plan refused", &proto.refused, ITEMS_MAX)?;
    at_most("plan distrusted", &proto.distrusted, limits::DISTRUSTS_MAX)?;
    let mut replicas = proto.replicas.iter().map(replica_from_proto).collect::<Result<Vec<_>, _>>()?;
    replicas.sort();
    let mut stored = proto.stored.iter().map(stored_from_proto).collect::<Result<Vec<_>, _>>()?;
    stored.sort();
    let mut roles = proto.roles.iter().map(role_from_proto).collect::<Result<Vec<_>, _>>()?;
    roles.sort();
    Ok(Plan {
        author: ids::node("plan author", &proto.author)?,
        epoch: proto.epoch,
        revision: proto.revision,
        inputs_digest: Digest(array32("plan inputs", &proto.inputs_digest)?),
        strategy: Strategy::parse(&proto.strategy).ok_or_else(|| field("plan", "unknown strategy"))?,
        replicas,
        stored,
        roles,
        shortfalls: proto.shortfalls.iter().map(shortfall_from_proto).collect::<Result<_, _>>()?,
        refused: proto.refused.iter().map(refusal_from_proto).collect::<Result<_, _>>()?,
        distrusted: proto.distrusted.iter().map(distrust_from_proto).collect::<Result<_, _>>()?,
    })
}

fn replica_to_proto(replica: &PlannedReplica) -> v1::PlannedReplica {
    let adapter = |adapter: &PlannedAdapter| v1::PlannedAdapter {
        domain: adapter.domain.to_string(),
        artifact: adapter.artifact.0.to_vec(),
    };
    v1::PlannedReplica {
        slot: replica.slot.to_string(),
        node: replica.node.0.to_vec(),
        memory_domain: replica.memory_domain.clone(),
        artifact: replica.artifact.0.to_vec(),
        adapters: replica.adapters.iter().map(adapter).collect(),
        context: replica.context,
        parallel: replica.parallel,
        bytes: replica.bytes,
        weights_bytes: replica.weights_bytes,
    }
}

fn replica_from_proto(proto: &v1::PlannedReplica) -> Result<PlannedReplica, WireError> {
    at_most("planned adapters", &proto.adapters, limits::DOMAINS_PER_SLOT_MAX)?;
    if proto.context == 0 || proto.context > 1 << 20 || proto.parallel == 0 || proto.parallel > 256 {
        return Err(field("planned replica", "context or parallel out of range"));
    }
    let adapter = |adapter: &v1::PlannedAdapter| -> Result<PlannedAdapter, WireError> {
        Ok(PlannedAdapter {
            domain: slot_name("domain", &adapter.domain)?,
            artifact: Digest(array32("adapter", &adapter.artifact)?),
        })
    };
    Ok(PlannedReplica {
        slot: slot_name("slot", &proto.slot)?,
        node: ids::node("planned node", &proto.node)?,
        memory_domain: text("memory domain", &proto.memory_domain, 64)?,
        artifact: Digest(array32("artifact", &proto.artifact)?),
        adapters: proto.adapters.iter().map(adapter).collect::<Result<_, _>>()?,
        context: proto.context,
        parallel: proto.parallel,
        bytes: proto.bytes.min(1 << 50),
        weights_bytes: proto.weights_bytes.min(proto.bytes),
    })
}

fn stored_to_proto(stored: &PlannedStore) -> v1::PlannedStore {
    v1::PlannedStore { artifact: stored.artifact.0.to_vec(), node: stored.node.0.to_vec() }
}

fn stored_from_proto(proto: &v1::PlannedStore) -> Result<PlannedStore, WireError> {
    Ok(PlannedStore {
        artifact: Digest(array32("artifact", &proto.artifact)?),
        node: ids::node("planned node", &proto.node)?,
    })
}

fn role_to_proto((node, role): &(crate::core::types::NodeId, PlanRole)) -> v1::NodeRole {
    v1::NodeRole { node: node.0.to_vec(), role: role.as_str().to_owned() }
}

fn role_from_proto(proto: &v1::NodeRole) -> Result<(crate::core::types::NodeId, PlanRole), WireError> {
    let role = PlanRole::parse(&proto.role).ok_or_else(|| field("plan role", "unknown"))?;
    Ok((ids::node("plan role", &proto.node)?, role))
}

fn shortfall_to_proto(shortfall: &Shortfall) -> v1::Shortfall {
    v1::Shortfall { slot: shortfall.slot.to_string(), bytes_short: shortfall.bytes_short, why: shortfall.why.clone() }
}

fn shortfall_from_proto(proto: &v1::Shortfall) -> Result<Shortfall, WireError> {
    Ok(Shortfall {
        slot: slot_name("slot", &proto.slot)?,
        bytes_short: proto.bytes_short,
        why: text("shortfall", &proto.why, 512)?,
    })
}

fn distrust_to_proto(distrust: &Distrust) -> v1::Distrust {
    v1::Distrust {
        node: distrust.node.0.to_vec(),
        slot: distrust.slot.to_string(),
        artifact: distrust.artifact.0.to_vec(),
        why: distrust.why.clone(),
    }
}

fn distrust_from_proto(proto: &v1::Distrust) -> Result<Distrust, WireError> {
    Ok(Distrust {
        node: ids::node("distrusted node", &proto.node)?,
        slot: slot_name("slot", &proto.slot)?,
        artifact: Digest(array32("artifact", &proto.artifact)?),
        why: text("distrust", &proto.why, 512)?,
    })
}

fn refusal_to_proto(refusal: &Refusal) -> v1::Refusal {
    v1::Refusal {
        slot: refusal.slot.to_string(),
        node: refusal.node.0.to_vec(),
        memory_domain: refusal.memory_domain.clone(),
        why: refusal.why.clone(),
        bytes_short: refusal.bytes_short,
    }
}

fn refusal_from_proto(proto: &v1::Refusal) -> Result<Refusal, WireError> {
    Ok(Refusal {
        slot: slot_name("slot", &proto.slot)?,
        node: ids::node("refused node", &proto.node)?,
        memory_domain: text("memory domain", &proto.memory_domain, 64)?,
        why: text("refusal", &proto.why, 512)?,
        bytes_short: proto.bytes_short,
    })
}
