//! NodeId ⇄ libp2p PeerId. Every node's identity is an Ed25519 key, so a PeerId is nothing but that key in another dress.

use std::cell::RefCell;
use std::collections::BTreeSet;

use libp2p_identity::{PeerId, PublicKey, ed25519};

use crate::core::types::{FederationId, NodeId};
use crate::wire::{WireError, array32, field};

/// The PeerId of `node`; `None` if its bytes are not a point on the curve.
pub fn peer_id(node: &NodeId) -> Option<PeerId> {
    let key = ed25519::PublicKey::try_from_bytes(&node.0).ok()?;
    Some(PublicKey::from(key).to_peer_id())
}

/// The PeerId as text, for people and JSON.
pub fn peer_id_text(node: &NodeId) -> String {
    peer_id(node).map_or_else(|| node.to_string(), |peer| peer.to_base58())
}

/// The node behind `peer`: an Ed25519 PeerId holds the whole key; any other kind is not ours.
pub fn node_id(peer: &PeerId) -> Option<NodeId> {
    let bytes = peer.to_bytes();
    // Identity multihash (0x00, 36) of the protobuf of a public key: type Ed25519 (08 01), 32 bytes (12 20).
    let key = bytes.strip_prefix(&[0x00, 0x24, 0x08, 0x01, 0x12, 0x20])?;
    Some(NodeId(key.try_into().ok()?))
}

/// The node whose public key this is.
pub fn node_of_key(key: &ed25519::PublicKey) -> NodeId {
    NodeId(key.to_bytes())
}

pub(crate) fn node(what: &'static str, bytes: &[u8]) -> Result<NodeId, WireError> {
    let node = NodeId(array32(what, bytes)?);
    if is_key(&node) { Ok(node) } else { Err(field(what, "not an Ed25519 public key")) }
}

/// Keys remembered as such; beyond it the memory is emptied and fills again.
const KEYS_MAX: usize = 4096;

/// Is it a point on the curve? To find out takes microseconds, and the same few members are named in every message: those
/// found good are remembered by each thread.
fn is_key(node: &NodeId) -> bool {
    thread_local! {
        static KEYS: RefCell<BTreeSet<NodeId>> = const { RefCell::new(BTreeSet::new()) };
    }
    KEYS.with_borrow_mut(|keys| {
        if keys.contains(node) {
            return true;
        }
        let good = peer_id(node).is_some();
        if good {
            if keys.len() >= KEYS_MAX {
                keys.clear();
            }
            keys.insert(*node);
        }
        good
    })
}

pub(crate) fn federation(what: &'static str, bytes: &[u8]) -> Result<FederationId, WireError> {
    node(what, bytes).map(|key| FederationId(key.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_id_and_a_node_id_are_the_same_key() {
        let keypair = ed25519::Keypair::from(
            ed25519::SecretKey::try_from_bytes([7u8; 32]).expect("any 32 bytes are a secret key"),
        );
        let node = node_of_key(&keypair.public());
        let peer = peer_id(&node).expect("a real key");
        assert_eq!(node_id(&peer), Some(node));
    }
}
