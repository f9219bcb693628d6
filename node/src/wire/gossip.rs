//! Advertisements and leases. The gossip layer has verified the author's signature; here the author must be the node the
//! message speaks of, and everything must be within its bounds.

use std::sync::Arc;

use fednode_proto::v1;
use prost::Message;

use crate::core::demand::Rate;
use crate::core::limits;
use crate::core::membership::advert::{
    Advert, DomainKind, Gossip, Holding, Lease, MemoryDomain, Moving, RefusalCode, ReplicaState, ReplicaStatus,
};
use crate::core::types::{Digest, NodeId, SlotName};
use crate::wire::catalog::slot_name;
use crate::wire::members::{addresses, machine_name, role_from_proto, role_to_proto};
use crate::wire::{WireError, array32, at_most, decode, external, field, ids, text};

/// Encodes a gossip message.
pub fn encode(gossip: &Gossip) -> Vec<u8> {
    let message = match gossip {
        Gossip::Advert(advert) => v1::gossip::Message::Advert(advert_to_proto(advert)),
        Gossip::Lease(lease) => v1::gossip::Message::Lease(v1::Lease {
            coordinator: lease.coordinator.0.to_vec(),
            epoch: lease.epoch,
            plan_revision: lease.plan_revision,
            resigns: lease.resigns,
        }),
    };
    v1::Gossip { message: Some(message) }.encode_to_vec()
}

/// Reads a gossip message that `author` signed.
pub fn decode_from(author: &NodeId, bytes: &[u8]) -> Result<Gossip, WireError> {
    let gossip: v1::Gossip = decode("gossip", bytes, limits::GOSSIP_BYTES_MAX)?;
    match gossip.message.ok_or(WireError::Encoding("gossip"))? {
        v1::gossip::Message::Advert(proto) => {
            let advert = advert_from_proto(&proto)?;
            if &advert.node != author {
                return Err(WireError::Impostor("advertisement"));
            }
            Ok(Gossip::Advert(Arc::new(advert)))
        }
        v1::gossip::Message::Lease(proto) => {
            let coordinator = ids::node("lease", &proto.coordinator)?;
            if &coordinator != author {
                return Err(WireError::Impostor("lease"));
            }
            let v1::Lease { epoch, plan_revision, resigns, .. } = proto;
            Ok(Gossip::Lease(Lease { coordinator, epoch, plan_revision, resigns }))
        }
    }
}

fn advert_to_proto(advert: &Advert) -> v1::Advert {
    v1::Advert {
        node: advert.node.0.to_vec(),
        incarnation: advert.incarnation,
        sequence: advert.sequence,
        ttl_ms: advert.ttl_ms,
        name: advert.name.clone(),
        role: role_to_proto(advert.role).into(),
        on_battery: advert.on_battery,
        domains: advert.domains.iter().map(domain_to_proto).collect(),
        disk_free_bytes: advert.disk_free_bytes,
        holdings: advert.holdings.iter().take(limits::HOLDINGS_PER_ADVERT_MAX).map(holding_to_proto).collect(),
        replicas: advert.replicas.iter().take(limits::REPLICAS_PER_ADVERT_MAX).map(replica_to_proto).collect(),
        member_roster_mark: advert.member_roster_mark,
        catalog_digest: advert.catalog_digest.0.to_vec(),
        plan_epoch: advert.plan_epoch,
        plan_revision: advert.plan_revision,
        addresses: advert.addresses.clone(),
        priority: advert.priority,
        epoch_highest: advert.epoch_highest,
        wanted: advert.wanted.iter().take(limits::WANTED_PER_ADVERT_MAX).map(SlotName::to_string).collect(),
        demand: advert.demand.iter().take(limits::DEMANDS_PER_ADVERT_MAX).map(demand_to_proto).collect(),
        plan_author: advert.plan_author.map(|author| author.0.to_vec()).unwrap_or_default(),
        wishes_digest: advert.wishes_digest.map(|digest| digest.0.to_vec()).unwrap_or_default(),
        externals: external::to_proto(&advert.externals),
    }
}

fn demand_to_proto(rate: &Rate) -> v1::SlotDemand {
    v1::SlotDemand { slot: rate.slot.to_string(), milli_per_hour: rate.milli_per_hour }
}

fn domain_to_proto(domain: &MemoryDomain) -> v1::MemoryDomain {
    let kind = match domain.kind {
        DomainKind::Vram => v1::DomainKind::Vram,
        DomainKind::Ram => v1::DomainKind::Ram,
        DomainKind::Unified => v1::DomainKind::Unified,
    };
    v1::MemoryDomain {
        name: domain.name.clone(),
        kind: kind.into(),
        total_bytes: domain.total_bytes,
        free_bytes: domain.free_bytes,
        reserve_bytes: domain.reserve_bytes,
        ours_bytes: domain.ours_bytes,
        hosts: domain.hosts,
    }
}

fn holding_to_proto(holding: &Holding) -> v1::Holding {
    let state = if holding.complete { v1::HoldState::Stored } else { v1::HoldState::Partial };
    v1::Holding { artifact: holding.artifact.0.to_vec(), state: state.into(), chunks: holding.chunks }
}

fn replica_to_proto(replica: &ReplicaStatus) -> v1::ReplicaStatus {
    let state = match replica.state {
        ReplicaState::Fetching => v1::ReplicaState::Fetching,
        ReplicaState::Loading => v1::ReplicaState::Loading,
        ReplicaState::Ready => v1::ReplicaState::Ready,
        ReplicaState::Draining => v1::ReplicaState::Draining,
        ReplicaState::Failed => v1::ReplicaState::Failed,
    };
    v1::ReplicaStatus {
        slot: replica.slot.to_string(),
        artifact: replica.artifact.0.to_vec(),
        domains: replica.domains.iter().map(SlotName::to_string).collect(),
        memory_domain: replica.memory_domain.clone(),
        state: state.into(),
        bytes: replica.bytes,
        in_flight: replica.in_flight,
        precision: replica.precision.clone(),
        reason: replica.reason.chars().filter(|c| !c.is_control()).take(120).collect(),
        refusal: replica.refusal.map(|code| code.as_str().to_owned()).unwrap_or_default(),
        moved_bytes: replica.moving.map_or(0, |moving| moving.done_bytes),
        to_move_bytes: replica.moving.map_or(0, |moving| moving.total_bytes),
        moved_bytes_per_s: replica.moving.map_or(0, |moving| moving.bytes_per_s),
    }
}

fn advert_from_proto(proto: &v1::Advert) -> Result<Advert, WireError> {
    at_most("memory domains", &proto.domains, limits::MEMORY_DOMAINS_MAX)?;
    at_most("holdings", &proto.holdings, limits::HOLDINGS_PER_ADVERT_MAX)?;
    at_most("replicas", &proto.replicas, limits::REPLICAS_PER_ADVERT_MAX)?;
    at_most("wanted", &proto.wanted, limits::SLOTS_MAX)?;
    let domains = proto.domains.iter().map(domain_from_proto).collect::<Result<Vec<_>, _>>()?;
    let distinct: std::collections::BTreeSet<&str> = domains.iter().map(|domain| domain.name.as_str()).collect();
    if distinct.len() != domains.len() {
        return Err(field("memory domains", "two of one name"));
    }
    Ok(Advert {
        node: ids::node("advertisement", &proto.node)?,
        incarnation: proto.incarnation,
        sequence: proto.sequence,
        ttl_ms: proto.ttl_ms.min(limits::ADVERT_LIFE_MAX.as_millis() as u32),
        name: machine_name(&proto.name)?,
        role: role_from_proto(proto.role)?,
        on_battery: proto.on_battery,
        priority: proto.priority,
        domains,
        disk_free_bytes: proto.disk_free_bytes.min(1 << 60),
        holdings: proto.holdings.iter().map(holding_from_proto).collect::<Result<_, _>>()?,
        replicas: proto.replicas.iter().map(replica_from_proto).collect::<Result<_, _>>()?,
        member_roster_mark: proto.member_roster_mark,
        catalog_digest: Digest(array32("catalog digest", &proto.catalog_digest)?),
        plan_epoch: proto.plan_epoch,
        plan_revision: proto.plan_revision,
        epoch_highest: proto.epoch_highest,
        addresses: addresses(&proto.addresses)?,
        wanted: proto.wanted.iter().map(|name| slot_name("wanted", name)).collect::<Result<_, _>>()?,
        demand: demand_from_proto(&proto.demand)?,
        plan_author: said(&proto.plan_author, |bytes| ids::node("plan author", bytes))?,
        wishes_digest: said(&proto.wishes_digest, |bytes| array32("wishes digest", bytes).map(Digest))?,
        externals: external::from_proto(&proto.externals)?,
    })
}

/// A field that older nodes leave empty.
fn said<T>(bytes: &[u8], read: impl Fn(&[u8]) -> Result<T, WireError>) -> Result<Option<T>, WireError> {
    if bytes.is_empty() { Ok(None) } else { read(bytes).map(Some) }
}

/// Rates of distinct slots, each capped: whether the roster has such a slot is for whoever sums them to see.
fn demand_from_proto(demand: &[v1::SlotDemand]) -> Result<Vec<Rate>, WireError> {
    at_most("demand", demand, limits::DEMANDS_PER_ADVERT_MAX)?;
    let rate = |proto: &v1::SlotDemand| -> Result<Rate, WireError> {
        let milli_per_hour = proto.milli_per_hour.min(limits::DEMAND_PER_HOUR_MAX * 1000);
        Ok(Rate { slot: slot_name("demand", &proto.slot)?, milli_per_hour })
    };
    let mut rates = demand.iter().map(rate).collect::<Result<Vec<_>, _>>()?;
    rates.sort();
    if rates.windows(2).any(|pair| pair[0].slot == pair[1].slot) {
        return Err(field("demand", "two of one slot"));
    }
    Ok(rates)
}

fn domain_from_proto(proto: &v1::MemoryDomain) -> Result<MemoryDomain, WireError> {
    let kind = match v1::DomainKind::try_from(proto.kind) {
        Ok(v1::DomainKind::Vram) => DomainKind::Vram,
        Ok(v1::DomainKind::Ram) => DomainKind::Ram,
        Ok(v1::DomainKind::Unified) => DomainKind::Unified,
        _ => return Err(field("memory domain", "unknown kind")),
    };
    let sizes = [proto.total_bytes, proto.free_bytes, proto.reserve_bytes, proto.ours_bytes];
    if sizes.iter().any(|&bytes| bytes > 1 << 50) {
        return Err(field("memory domain", "beyond a pebibyte"));
    }
    Ok(MemoryDomain {
        name: text("memory domain", &proto.name, 64)?,
        kind,
        total_bytes: proto.total_bytes,
        free_bytes: proto.free_bytes,
        reserve_bytes: proto.reserve_bytes,
        ours_bytes: proto.ours_bytes,
        hosts: proto.hosts,
    })
}

fn holding_from_proto(proto: &v1::Holding) -> Result<Holding, WireError> {
    let complete = match v1::HoldState::try_from(proto.state) {
        Ok(v1::HoldState::Stored) => true,
        Ok(v1::HoldState::Partial) => false,
        _ => return Err(field("holding", "unknown state")),
    };
    Ok(Holding { artifact: Digest(array32("holding", &proto.artifact)?), complete, chunks: proto.chunks })
}

fn replica_from_proto(proto: &v1::ReplicaStatus) -> Result<ReplicaStatus, WireError> {
    let state = match v1::ReplicaState::try_from(proto.state) {
        Ok(v1::ReplicaState::Fetching) => ReplicaState::Fetching,
        Ok(v1::ReplicaState::Loading) => ReplicaState::Loading,
        Ok(v1::ReplicaState::Ready) => ReplicaState::Ready,
        Ok(v1::ReplicaState::Draining) => ReplicaState::Draining,
        Ok(v1::ReplicaState::Failed) => ReplicaState::Failed,
        _ => return Err(field("replica", "unknown state")),
    };
    at_most("replica domains", &proto.domains, limits::DOMAINS_PER_SLOT_MAX)?;
    Ok(ReplicaStatus {
        slot: slot_name("replica slot", &proto.slot)?,
        artifact: Digest(array32("replica artifact", &proto.artifact)?),
        domains: proto.domains.iter().map(|name| slot_name("domain", name)).collect::<Result<_, _>>()?,
        memory_domain: text("memory domain", &proto.memory_domain, 64)?,
        state,
        bytes: proto.bytes.min(1 << 50),
        in_flight: proto.in_flight,
        precision: text("precision", &proto.precision, 16)?,
        reason: text("reason", &proto.reason, 600)?,
        refusal: RefusalCode::parse(&proto.refusal),
        moving: moving_from_proto(proto),
    })
}

fn moving_from_proto(proto: &v1::ReplicaStatus) -> Option<Moving> {
    let total_bytes = proto.to_move_bytes.min(1 << 50);
    let done_bytes = proto.moved_bytes.min(total_bytes);
    (total_bytes > 0).then_some(Moving { done_bytes, total_bytes, bytes_per_s: proto.moved_bytes_per_s.min(1 << 50) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::membership::roster::Role;

    fn advert(node: NodeId) -> Advert {
        Advert {
            node,
            incarnation: 1,
            sequence: 2,
            ttl_ms: 15_000,
            name: "desk".into(),
            role: Role::Full,
            on_battery: false,
            priority: 0,
            domains: vec![MemoryDomain {
                name: "ram".into(),
                kind: DomainKind::Ram,
                total_bytes: 10,
                free_bytes: 4,
                reserve_bytes: 2,
                ours_bytes: 4,
                hosts: true,
            }],
            disk_free_bytes: 9,
            holdings: vec![Holding { artifact: Digest([1; 32]), complete: true, chunks: 3 }],
            replicas: Vec::new(),
            member_roster_mark: 1,
            catalog_digest: Digest([2; 32]),
            plan_epoch: 1,
            plan_revision: 1,
            epoch_highest: 1,
            addresses: vec!["/ip4/127.0.0.1/tcp/1".into()],
            wanted: vec![SlotName::new("UCM").expect("name")],
            demand: vec![Rate { slot: SlotName::new("UCM").expect("name"), milli_per_hour: 1500 }],
            plan_author: Some(node),
            wishes_digest: Some(Digest([4; 32])),
            externals: Vec::new(),
        }
    }

    fn some_node(seed: u8) -> NodeId {
        let secret = libp2p_identity::ed25519::SecretKey::try_from_bytes([seed; 32]).expect("32 bytes");
        ids::node_of_key(&libp2p_identity::ed25519::Keypair::from(secret).public())
    }

    #[test]
    fn nobody_speaks_for_another_node() {
        let (me, other) = (some_node(1), some_node(2));
        let message = Gossip::Advert(Arc::new(advert(me)));
        assert_eq!(decode_from(&me, &encode(&message)), Ok(message.clone()));
        assert_eq!(decode_from(&other, &encode(&message)), Err(WireError::Impostor("advertisement")));
        let lease = Gossip::Lease(Lease { coordinator: me, epoch: 1, plan_revision: 0, resigns: false });
        assert_eq!(decode_from(&other, &encode(&lease)), Err(WireError::Impostor("lease")));
    }

    #[test]
    fn a_full_advertisement_fits_in_a_gossip_message() {
        let mut full = advert(some_node(1));
        let name = |index: usize| SlotName::new(&format!("coding-specialist-of-the-den-{index:03}")).expect("name");
        let slot = SlotName::new("coding-specialist").expect("name");
        let replica = ReplicaStatus {
            slot,
            artifact: Digest([3; 32]),
            domains: Vec::new(),
            memory_domain: "gpu0".into(),
            state: ReplicaState::Ready,
            bytes: u64::MAX >> 20,
            in_flight: 64,
            precision: "F16".into(),
            reason: String::new(),
            refusal: Some(RefusalCode::Pinned),
            moving: Some(Moving { done_bytes: 1 << 34, total_bytes: 1 << 34, bytes_per_s: 1 << 33 }),
        };
        let milli_per_hour = limits::DEMAND_PER_HOUR_MAX * 1000;
        full.demand = (0..256).map(|index| Rate { slot: name(index), milli_per_hour }).collect();
        full.wanted = (0..256).map(name).collect();
        full.replicas = vec![replica; limits::REPLICAS_PER_ADVERT_MAX];
        full.externals = (0..limits::EXTERNAL_ENGINES_MAX).map(|index| external::tests::replica(name(index))).collect();
        full.holdings = vec![Holding { artifact: Digest([1; 32]), complete: true, chunks: 4000 }; 500];
        assert!(encode(&Gossip::Advert(Arc::new(full))).len() < limits::GOSSIP_BYTES_MAX);
    }

    #[test]
    fn terminal_tricks_in_names_are_refused() {
        let mut bad = advert(some_node(1));
        bad.name = "desk\u{1b}[2J".into();
        assert!(decode_from(&some_node(1), &encode(&Gossip::Advert(Arc::new(bad)))).is_err());
    }

    #[test]
    fn demand_is_bounded_capped_and_of_distinct_slots() {
        let me = some_node(1);
        let rate = |slot: &str, milli_per_hour| Rate { slot: SlotName::new(slot).expect("name"), milli_per_hour };
        let read = |demand: Vec<Rate>| {
            let said = Gossip::Advert(Arc::new(Advert { demand, ..advert(me) }));
            match decode_from(&me, &encode(&said)) {
                Ok(Gossip::Advert(advert)) => Some(advert.demand.clone()),
                _ => None,
            }
        };
        assert_eq!(read(vec![rate("A", u64::MAX)]), Some(vec![rate("A", limits::DEMAND_PER_HOUR_MAX * 1000)]));
        assert_eq!(read(vec![rate("A", 1), rate("A", 2)]), None);
        let mut proto = advert_to_proto(&advert(me));
        proto.demand = vec![v1::SlotDemand { slot: "../A".into(), milli_per_hour: 1 }];
        assert!(advert_from_proto(&proto).is_err());
        proto.demand =
            (0..=limits::DEMANDS_PER_ADVERT_MAX).map(|n| demand_to_proto(&rate(&format!("S{n}"), 1))).collect();
        assert!(advert_from_proto(&proto).is_err());
    }

    #[test]
    fn what_older_nodes_leave_out_is_not_said() {
        let mut proto = advert_to_proto(&advert(some_node(1)));
        (proto.plan_author, proto.wishes_digest, proto.demand) = (Vec::new(), Vec::new(), Vec::new());
        let advert = advert_from_proto(&proto).expect("an advertisement of before");
        assert_eq!((advert.plan_author, advert.wishes_digest, advert.demand), (None, None, Vec::new()));
        proto.wishes_digest = vec![1; 31];
        assert!(advert_from_proto(&proto).is_err());
    }
}
