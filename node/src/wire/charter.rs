//! The charter: the owner's signed word on who else may sign rosters of members.

use fednode_proto::v1;
use libp2p_identity::ed25519;
use prost::Message;

use crate::core::limits;
use crate::core::membership::roster::Charter;
use crate::core::types::{FederationId, NodeId};
use crate::wire::sign::{self, Context};
use crate::wire::{WireError, at_most, decode, field, ids};

/// What is read here, in errors.
const WHAT: &str = "charter";

/// The encoded `SignedCharter`.
pub(super) fn seal(charter: &Charter, federation: &FederationId, owner: &ed25519::Keypair) -> Vec<u8> {
    let bytes = |nodes: &[NodeId]| nodes.iter().map(|node| node.0.to_vec()).collect();
    let body = v1::Charter {
        federation: federation.0.to_vec(),
        epoch: charter.epoch,
        owners: bytes(&charter.owners),
        admins: bytes(&charter.admins),
        expires_unix_s: charter.expires_unix_s,
    };
    let body = body.encode_to_vec();
    let signature = sign::sign(owner, Context::Charter, &body);
    v1::SignedCharter { body, signature }.encode_to_vec()
}

/// Reads a charter; it must be signed by `federation`'s owner.
pub(super) fn open(signed: &v1::SignedCharter, federation: &FederationId) -> Result<Charter, WireError> {
    sign::verify(&NodeId(federation.0), Context::Charter, &signed.body, &signed.signature)?;
    let proto: v1::Charter = decode(WHAT, &signed.body, limits::MESSAGE_BYTES_MAX)?;
    if ids::federation(WHAT, &proto.federation)? != *federation {
        return Err(field(WHAT, "it belongs to another federation"));
    }
    at_most("owners", &proto.owners, limits::SIGNERS_MAX)?;
    at_most("admins", &proto.admins, limits::SIGNERS_MAX)?;
    let nodes = |list: &[Vec<u8>]| {
        let mut nodes = list.iter().map(|node| ids::node(WHAT, node)).collect::<Result<Vec<_>, _>>()?;
        nodes.sort();
        nodes.dedup();
        Ok(nodes)
    };
    let (owners, admins) = (nodes(&proto.owners)?, nodes(&proto.admins)?);
    let signed = signed.encode_to_vec();
    Ok(Charter { epoch: proto.epoch, owners, admins, expires_unix_s: proto.expires_unix_s, signed })
}
