//! What fuzz targets share: signed envelopes around a fuzzed body, for a signature that does not hold hides all behind it.

use fednode::core::types::{FederationId, NodeId};
use fednode::wire::ids;
use fednode::wire::sign::{self, Context};
use fednode_proto::v1;
use libp2p_identity::ed25519::{Keypair, SecretKey};
use prost::Message;

/// The key of everything that is signed here.
pub fn key() -> Keypair {
    let secret = SecretKey::try_from_bytes([7u8; 32]).expect("32 bytes are a key");
    Keypair::from(secret)
}

/// The node with that key.
pub fn node() -> NodeId {
    ids::node_of_key(&key().public())
}

/// The federation whose owner has that key.
pub fn federation() -> FederationId {
    FederationId(key().public().to_bytes())
}

/// `body` as a signed manifest.
pub fn manifest(body: &[u8]) -> Vec<u8> {
    let signature = sign::sign(&key(), Context::Manifest, body);
    v1::SignedManifest { body: body.to_vec(), publisher: node().0.to_vec(), signature }.encode_to_vec()
}

/// `body` as a signed catalog record.
pub fn record(body: &[u8]) -> Vec<u8> {
    let signature = sign::sign(&key(), Context::Catalog, body);
    v1::SignedCatalogRecord { body: body.to_vec(), author: node().0.to_vec(), signature }.encode_to_vec()
}

/// `body` as a signed roster of members.
pub fn roster(body: &[u8]) -> Vec<u8> {
    let signature = sign::sign(&key(), Context::MemberRoster, body);
    v1::SignedMemberRoster { body: body.to_vec(), signature, admin: Vec::new() }.encode_to_vec()
}

/// `message` as a ticket's text.
pub fn ticket(message: &[u8]) -> String {
    let checksum = fednode::core::types::Digest::of(message);
    let digits: String = message.iter().chain(&checksum.0[..4]).map(|byte| format!("{byte:02x}")).collect();
    format!("fednode1:{digits}")
}
