//! Signed catalog records.

use std::sync::Arc;

use fednode_proto::v1;
use libp2p_identity::ed25519;
use prost::Message;

use crate::core::catalog::{Entry, Publication, Record, Wishes};
use crate::core::limits;
use crate::core::roster::{RosterSlot, SlotPolicy, SlotRoster};
use crate::core::types::{Digest, SlotName};
use crate::wire::manifest::{shape_from_proto, shape_to_proto};
use crate::wire::sign::{self, Context};
use crate::wire::{WireError, array32, at_most, decode, field, fingerprint, ids, text};

/// Writes and signs a record.
pub fn seal(entry: Entry, sequence: u64, author: &ed25519::Keypair) -> Record {
    let record = match &entry {
        Entry::Roster(roster) => v1::catalog_record::Record::Roster(roster_to_proto(roster)),
        Entry::Publication(publication) => {
            v1::catalog_record::Record::Publication(publication_to_proto(publication, sequence))
        }
        Entry::Wishes(wishes) => v1::catalog_record::Record::Wishes(wishes_to_proto(wishes)),
    };
    let body = v1::CatalogRecord { record: Some(record), sequence }.encode_to_vec();
    let signature = sign::sign(author, Context::Catalog, &body);
    let node = ids::node_of_key(&author.public());
    let signed = v1::SignedCatalogRecord { body, author: node.0.to_vec(), signature }.encode_to_vec();
    Record { sequence, author: node, entry, signed }
}

/// Reads an encoded `SignedCatalogRecord`. Whether its author is a member is the caller's to know.
pub fn open(signed: &[u8]) -> Result<Record, WireError> {
    let envelope: v1::SignedCatalogRecord = decode("catalog record", signed, limits::MESSAGE_BYTES_MAX)?;
    let author = ids::node("catalog author", &envelope.author)?;
    sign::verify(&author, Context::Catalog, &envelope.body, &envelope.signature)?;
    let body: v1::CatalogRecord = decode("catalog record", &envelope.body, limits::MESSAGE_BYTES_MAX)?;
    let entry = match body.record.ok_or_else(|| field("catalog record", "empty"))? {
        v1::catalog_record::Record::Roster(roster) => Entry::Roster(roster_from_proto(&roster)?),
        v1::catalog_record::Record::Publication(publication) => {
            Entry::Publication(publication_from_proto(&publication)?)
        }
        v1::catalog_record::Record::Wishes(wishes) => Entry::Wishes(wishes_from_proto(&wishes)?),
    };
    Ok(Record { sequence: body.sequence, author, entry, signed: signed.to_vec() })
}

/// All records as they travel.
pub fn to_proto<'a>(records: impl Iterator<Item = &'a Record>) -> v1::Catalog {
    let (wishes, records): (Vec<&Record>, Vec<&Record>) = records.partition(|record| record.is_wish());
    let signed = |record: &Record| v1::SignedCatalogRecord::decode(record.signed.as_slice()).ok();
    v1::Catalog {
        records: records.into_iter().filter_map(signed).collect(),
        wishes: wishes.into_iter().filter_map(signed).collect(),
    }
}

/// Records from outside; those that do not hold are left out, each with its reason.
pub fn from_proto(catalog: &v1::Catalog) -> (Vec<Record>, Vec<WireError>) {
    let mut records = Vec::new();
    let mut refused = Vec::new();
    let signed = catalog.records.iter().take(limits::CATALOG_RECORDS_MAX);
    for signed in signed.chain(catalog.wishes.iter().take(limits::WISHES_MAX)) {
        match open(&signed.encode_to_vec()) {
            Ok(record) => records.push(record),
            Err(error) => refused.push(error),
        }
    }
    (records, refused)
}

pub(crate) fn slot_name(what: &'static str, name: &str) -> Result<SlotName, WireError> {
    SlotName::new(name).map_err(|error| field(what, error.to_string()))
}

fn publication_to_proto(publication: &Publication, sequence: u64) -> v1::Publication {
    v1::Publication {
        slot: publication.slot.to_string(),
        domain: publication.domain.as_ref().map(SlotName::to_string).unwrap_or_default(),
        sequence,
        artifact: publication.artifact.0.to_vec(),
        artifact_bytes: publication.artifact_bytes,
        chunks: publication.chunks,
        shape: Some(shape_to_proto(&publication.shape)),
        name: publication.name.clone(),
        version: publication.version.clone(),
        fingerprint: publication.fingerprint.as_deref().map(fingerprint::to_proto),
    }
}

fn publication_from_proto(proto: &v1::Publication) -> Result<Publication, WireError> {
    if proto.chunks > limits::CHUNKS_PER_ARTIFACT_MAX || proto.artifact_bytes > 1 << 50 {
        return Err(field("publication", "larger than any model"));
    }
    let domain = match proto.domain.as_str() {
        "" => None,
        name => Some(slot_name("domain", name)?),
    };
    let shape = proto.shape.as_ref().ok_or_else(|| field("publication", "no shape"))?;
    Ok(Publication {
        slot: slot_name("slot", &proto.slot)?,
        domain,
        artifact: Digest(array32("artifact", &proto.artifact)?),
        artifact_bytes: proto.artifact_bytes,
        chunks: proto.chunks,
        shape: shape_from_proto(shape)?,
        name: text("publication name", &proto.name, 128)?,
        version: version(&proto.version)?,
        fingerprint: proto.fingerprint.as_ref().map(fingerprint::from_proto).transpose()?.map(Arc::new),
    })
}

/// What people call a version of a publication: at most 64 bytes, no control characters.
pub fn version(version: &str) -> Result<String, WireError> {
    text("publication version", version, 64)
}

fn wishes_to_proto(wishes: &Wishes) -> v1::NodeWishes {
    v1::NodeWishes {
        node: wishes.node.0.to_vec(),
        pinned: wishes.pinned.iter().map(SlotName::to_string).collect(),
        drained: wishes.drained,
    }
}

fn wishes_from_proto(proto: &v1::NodeWishes) -> Result<Wishes, WireError> {
    at_most("pinned slots", &proto.pinned, limits::PINNED_PER_NODE_MAX)?;
    Ok(Wishes {
        node: ids::node("wishes", &proto.node)?,
        pinned: proto.pinned.iter().map(|name| slot_name("pinned slot", name)).collect::<Result<_, _>>()?,
        drained: proto.drained,
    })
}

fn roster_to_proto(roster: &SlotRoster) -> v1::SlotRoster {
    let slot = |slot: &RosterSlot| v1::RosterSlot {
        name: slot.name.to_string(),
        title: slot.title.clone(),
        base: slot.base.as_ref().map(SlotName::to_string).unwrap_or_default(),
        context: slot.context,
        parallel: slot.parallel,
        replicas: slot.replicas,
        replicas_max: slot.replicas_max,
        policy: match slot.policy {
            SlotPolicy::Pinned => v1::SlotPolicy::Pinned.into(),
            SlotPolicy::Swappable => v1::SlotPolicy::Swappable.into(),
        },
        demand_per_hour: slot.demand_per_hour,
        domains: slot.domains.iter().map(SlotName::to_string).collect(),
    };
    v1::SlotRoster {
        name: roster.name.clone(),
        precision_floor: roster.precision_floor.clone(),
        slots: roster.slots.iter().map(slot).collect(),
    }
}

fn roster_from_proto(proto: &v1::SlotRoster) -> Result<SlotRoster, WireError> {
    at_most("slots", &proto.slots, limits::SLOTS_MAX)?;
    let slots = proto.slots.iter().map(slot_from_proto).collect::<Result<Vec<_>, _>>()?;
    let roster = SlotRoster {
        name: text("roster name", &proto.name, 128)?,
        precision_floor: proto.precision_floor.clone(),
        slots,
    };
    roster.check().map_err(|error| field("roster", error.to_string()))?;
    Ok(roster)
}

fn slot_from_proto(proto: &v1::RosterSlot) -> Result<RosterSlot, WireError> {
    at_most("domains", &proto.domains, limits::DOMAINS_PER_SLOT_MAX)?;
    let policy = match v1::SlotPolicy::try_from(proto.policy) {
        Ok(v1::SlotPolicy::Pinned) => SlotPolicy::Pinned,
        Ok(v1::SlotPolicy::Swappable) => SlotPolicy::Swappable,
        _ => return Err(field("slot policy", "neither pinned nor swappable")),
    };
    Ok(RosterSlot {
        name: slot_name("slot", &proto.name)?,
        title: text("slot title", &proto.title, 128)?,
        base: match proto.base.as_str() {
            "" => None,
            base => Some(slot_name("base", base)?),
        },
        context: proto.context,
        parallel: proto.parallel,
        replicas: proto.replicas,
        replicas_max: proto.replicas_max,
        policy,
        demand_per_hour: proto.demand_per_hour,
        domains: proto.domains.iter().map(|name| slot_name("domain", name)).collect::<Result<_, _>>()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> ed25519::Keypair {
        let secret = ed25519::SecretKey::try_from_bytes([3; 32]).expect("32 bytes");
        ed25519::Keypair::from(secret)
    }

    fn wishes(slots: usize) -> Entry {
        let pinned = (0..slots).map(|slot| SlotName::new(&format!("S{slot}")).expect("name")).collect();
        Entry::Wishes(Wishes { node: ids::node_of_key(&key().public()), pinned, drained: true })
    }

    #[test]
    fn wishes_come_back_as_they_were_and_no_flipped_bit_passes() {
        let record = seal(wishes(limits::PINNED_PER_NODE_MAX), 7, &key());
        assert_eq!(open(&record.signed), Ok(record.clone()));
        for at in (0..record.signed.len()).step_by(13) {
            let mut bent = record.signed.clone();
            bent[at] ^= 1;
            assert_ne!(open(&bent), Ok(record.clone()), "byte {at}");
        }
        let many = seal(wishes(limits::PINNED_PER_NODE_MAX + 1), 7, &key());
        assert!(matches!(open(&many.signed), Err(WireError::Field { what: "pinned slots", .. })));
    }

    #[test]
    fn wishes_travel_where_older_nodes_do_not_look() {
        let record = seal(wishes(1), 1, &key());
        let proto = to_proto(std::iter::once(&record));
        assert_eq!((proto.records.len(), proto.wishes.len()), (0, 1));
        assert_eq!(from_proto(&proto), (vec![record], Vec::new()));
    }
}
