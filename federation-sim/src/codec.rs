//! What nodes say to each other as bytes, through fednode's own wire code: encode, and decode again with every check. A
//! message that goes to many is decoded once for all its receivers, since decoding is a function of the bytes alone; so
//! are catalogs, whose signatures would otherwise be verified thousands of times.

use std::collections::BTreeMap;
use std::rc::Rc;

use fednode::core::catalog::Record;
use fednode::core::limits;
use fednode::core::membership::advert::Gossip;
use fednode::core::placement::plan::Plan;
use fednode::core::types::{Digest, NodeId};
use fednode::wire;
use fednode_proto::v1;
use prost::Message;

/// A plan as its receivers read it.
#[derive(Clone, Debug)]
pub struct PlanMessage {
    /// What came out of the bytes.
    pub plan: Rc<Plan>,
    /// Of the bytes.
    pub digest: Digest,
    /// How many there were.
    pub bytes: usize,
}

/// Plans and catalogs that were decoded before, by the digest of their bytes.
#[derive(Clone, Debug, Default)]
pub struct Codec {
    plans: BTreeMap<Digest, PlanMessage>,
    catalogs: BTreeMap<Digest, Rc<Vec<Record>>>,
}

/// Decoded messages kept; beyond it the memory is emptied and fills again.
const KEPT_MAX: usize = 64;

/// Encodes and decodes gossip of `author`. Returns what receivers get, and the digest of the bytes.
pub fn gossip(author: &NodeId, gossip: &Gossip) -> Result<(Gossip, Digest), String> {
    let bytes = wire::gossip::encode(gossip);
    let digest = Digest::of(&bytes);
    let heard = wire::gossip::decode_from(author, &bytes).map_err(|error| error.to_string())?;
    Ok((heard, digest))
}

impl Codec {
    /// Encodes and decodes a plan.
    pub fn plan(&mut self, plan: &Plan) -> Result<PlanMessage, String> {
        let bytes = wire::plan::to_proto(plan).encode_to_vec();
        let digest = Digest::of(&bytes);
        if let Some(known) = self.plans.get(&digest) {
            return Ok(known.clone());
        }
        if bytes.len() > limits::MESSAGE_BYTES_MAX {
            return Err(format!("a plan of {} bytes exceeds {}", bytes.len(), limits::MESSAGE_BYTES_MAX));
        }
        let proto = v1::Plan::decode(bytes.as_slice()).map_err(|error| error.to_string())?;
        let plan = wire::plan::from_proto(&proto).map_err(|error| error.to_string())?;
        let message = PlanMessage { plan: Rc::new(plan), digest, bytes: bytes.len() };
        if self.plans.len() >= KEPT_MAX {
            self.plans.clear();
        }
        self.plans.insert(digest, message.clone());
        Ok(message)
    }

    /// Encodes, decodes and verifies a catalog.
    pub fn catalog<'a>(&mut self, records: impl Iterator<Item = &'a Record>) -> Result<Rc<Vec<Record>>, String> {
        let bytes = wire::catalog::to_proto(records).encode_to_vec();
        let digest = Digest::of(&bytes);
        if let Some(known) = self.catalogs.get(&digest) {
            return Ok(Rc::clone(known));
        }
        let proto = v1::Catalog::decode(bytes.as_slice()).map_err(|error| error.to_string())?;
        let (records, refused) = wire::catalog::from_proto(&proto);
        if let Some(error) = refused.first() {
            return Err(error.to_string());
        }
        let records = Rc::new(records);
        if self.catalogs.len() >= KEPT_MAX {
            self.catalogs.clear();
        }
        self.catalogs.insert(digest, Rc::clone(&records));
        Ok(records)
    }
}
