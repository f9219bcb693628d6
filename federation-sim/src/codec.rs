//! What nodes say to each other as bytes, through fednode's own wire code: encode, and decode again with every check. A
//! message that goes to many is decoded once for all its receivers, since decoding is a function of the bytes alone; so
//! are catalogs, whose signatures would otherwise be verified thousands of times.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use fednode::core::catalog::{Catalog, Record};
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
    pub plan: Arc<Plan>,
    /// Of the bytes.
    pub digest: Digest,
    /// How many there were.
    pub bytes: usize,
}

/// A catalog as its receivers read it.
#[derive(Clone, Debug)]
pub struct CatalogMessage {
    /// What tells it from others: see [`CatalogMessage::of`].
    pub of: (Digest, Digest),
    /// What came out of the bytes.
    pub records: Vec<Record>,
}

impl CatalogMessage {
    /// Catalogs with the same records have the same digests.
    pub fn of(catalog: &Catalog) -> (Digest, Digest) {
        (catalog.digest(), catalog.wishes_digest())
    }
}

/// Plans and catalogs that were decoded before, by the digest of their bytes or of their records.
#[derive(Clone, Debug, Default)]
pub struct Codec {
    plans: BTreeMap<Digest, PlanMessage>,
    last: Option<(Arc<Plan>, PlanMessage)>,
    catalogs: BTreeMap<(Digest, Digest), Rc<CatalogMessage>>,
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
    /// The message of the plan that was encoded last, if it is this very one.
    pub fn same_plan(&self, plan: &Arc<Plan>) -> Option<PlanMessage> {
        let (last, message) = self.last.as_ref()?;
        Arc::ptr_eq(last, plan).then(|| message.clone())
    }

    /// Encodes and decodes a plan.
    pub fn plan(&mut self, plan: &Arc<Plan>) -> Result<PlanMessage, String> {
        let bytes = wire::plan::to_proto(plan).encode_to_vec();
        let digest = Digest::of(&bytes);
        if let Some(known) = self.plans.get(&digest) {
            self.last = Some((Arc::clone(plan), known.clone()));
            return Ok(known.clone());
        }
        if bytes.len() > limits::MESSAGE_BYTES_MAX {
            return Err(format!("a plan of {} bytes exceeds {}", bytes.len(), limits::MESSAGE_BYTES_MAX));
        }
        let proto = v1::Plan::decode(bytes.as_slice()).map_err(|error| error.to_string())?;
        let heard = wire::plan::from_proto(&proto).map_err(|error| error.to_string())?;
        let message = PlanMessage { plan: Arc::new(heard), digest, bytes: bytes.len() };
        self.last = Some((Arc::clone(plan), message.clone()));
        if self.plans.len() >= KEPT_MAX {
            self.plans.clear();
        }
        self.plans.insert(digest, message.clone());
        Ok(message)
    }

    /// Encodes, decodes and verifies a catalog.
    pub fn catalog(&mut self, catalog: &Catalog) -> Result<Rc<CatalogMessage>, String> {
        let digest = CatalogMessage::of(catalog);
        if let Some(known) = self.catalogs.get(&digest) {
            return Ok(Rc::clone(known));
        }
        let bytes = wire::catalog::to_proto(catalog.records()).encode_to_vec();
        let proto = v1::Catalog::decode(bytes.as_slice()).map_err(|error| error.to_string())?;
        let (records, refused) = wire::catalog::from_proto(&proto);
        if let Some(error) = refused.first() {
            return Err(error.to_string());
        }
        let records = Rc::new(CatalogMessage { of: digest, records });
        if self.catalogs.len() >= KEPT_MAX {
            self.catalogs.clear();
        }
        self.catalogs.insert(digest, Rc::clone(&records));
        Ok(records)
    }
}
