//! A machine's own changes of the roster of members, as it keeps them on its disk.

use fednode_proto::v1;
use fednode_proto::v1::member_change::Change as Kind;

use crate::core::membership::change::Change;
use crate::wire::members::{machine_name, member_from_proto, member_to_proto};
use crate::wire::{WireError, field, ids};

/// A numbered change, to be stored.
pub fn to_proto(number: u64, change: &Change) -> v1::MemberChange {
    let change = match change {
        Change::Admit(member) => Kind::Admit(member_to_proto(member)),
        Change::Revoke(node) => Kind::Revoke(node.0.to_vec()),
        Change::Rename(node, name) => Kind::Rename(v1::MemberRename { node: node.0.to_vec(), name: name.clone() }),
        Change::GrantAdmin(node) => Kind::GrantAdmin(node.0.to_vec()),
        Change::RevokeAdmin(node) => Kind::RevokeAdmin(node.0.to_vec()),
        Change::AddOwner(node) => Kind::AddOwner(node.0.to_vec()),
    };
    v1::MemberChange { number, change: Some(change) }
}

/// A numbered change, as stored.
pub fn from_proto(proto: &v1::MemberChange) -> Result<(u64, Change), WireError> {
    let what = "member change";
    let change = match proto.change.as_ref().ok_or_else(|| field(what, "of an unknown kind"))? {
        Kind::Admit(member) => Change::Admit(member_from_proto(member)?),
        Kind::Revoke(node) => Change::Revoke(ids::node(what, node)?),
        Kind::Rename(rename) => Change::Rename(ids::node(what, &rename.node)?, machine_name(&rename.name)?),
        Kind::GrantAdmin(node) => Change::GrantAdmin(ids::node(what, node)?),
        Kind::RevokeAdmin(node) => Change::RevokeAdmin(ids::node(what, node)?),
        Kind::AddOwner(node) => Change::AddOwner(ids::node(what, node)?),
    };
    Ok((proto.number, change))
}
