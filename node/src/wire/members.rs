//! The signed roster of members.

use fednode_proto::v1;
use libp2p_identity::ed25519;
use prost::Message;

use crate::core::limits;
use crate::core::membership::roster::{Member, MemberRoster, Role};
use crate::core::types::{FederationId, NodeId};
use crate::wire::sign::{self, Context};
use crate::wire::{WireError, at_most, decode, field, ids, text};

/// A roster whose owner's signature holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VerifiedRoster {
    /// What it says.
    pub roster: MemberRoster,
    /// The encoded `SignedMemberRoster`.
    pub signed: Vec<u8>,
}

/// Signs `roster` with the owner's key.
pub fn seal(roster: MemberRoster, owner: &ed25519::Keypair) -> VerifiedRoster {
    let members = roster.members.iter().map(member_to_proto).collect();
    let body =
        v1::MemberRoster { federation: roster.federation.0.to_vec(), version: roster.version, members }.encode_to_vec();
    let signature = sign::sign(owner, Context::MemberRoster, &body);
    let signed = v1::SignedMemberRoster { body, signature }.encode_to_vec();
    VerifiedRoster { roster, signed }
}

/// Reads an encoded `SignedMemberRoster`; it must be signed by `federation`'s owner.
pub fn open(signed: &[u8], federation: &FederationId) -> Result<VerifiedRoster, WireError> {
    let envelope: v1::SignedMemberRoster = decode("member roster", signed, limits::MESSAGE_BYTES_MAX)?;
    sign::verify(&NodeId(federation.0), Context::MemberRoster, &envelope.body, &envelope.signature)?;
    let proto: v1::MemberRoster = decode("member roster", &envelope.body, limits::MESSAGE_BYTES_MAX)?;
    if ids::federation("member roster", &proto.federation)? != *federation {
        return Err(field("member roster", "it belongs to another federation"));
    }
    at_most("members", &proto.members, limits::MEMBERS_MAX)?;
    let mut members = proto.members.iter().map(member_from_proto).collect::<Result<Vec<_>, _>>()?;
    members.sort_by_key(|member| member.node);
    if members.windows(2).any(|pair| pair[0].node == pair[1].node) {
        return Err(field("member roster", "one machine stands twice"));
    }
    let roster = MemberRoster { federation: *federation, version: proto.version, members };
    Ok(VerifiedRoster { roster, signed: signed.to_vec() })
}

/// A role as it travels.
pub fn role_to_proto(role: Role) -> v1::Role {
    match role {
        Role::Full => v1::Role::Full,
        Role::Delegate => v1::Role::Delegate,
    }
}

/// A role from outside.
pub fn role_from_proto(role: i32) -> Result<Role, WireError> {
    match v1::Role::try_from(role) {
        Ok(v1::Role::Full) => Ok(Role::Full),
        Ok(v1::Role::Delegate) => Ok(Role::Delegate),
        _ => Err(field("role", "neither full nor delegate")),
    }
}

/// A machine's name from outside.
pub fn machine_name(name: &str) -> Result<String, WireError> {
    if name.trim().is_empty() {
        return Err(field("name", "a machine needs a name"));
    }
    text("name", name.trim(), 63)
}

/// Addresses from outside, as text; `net` parses them.
pub fn addresses(list: &[String]) -> Result<Vec<String>, WireError> {
    at_most("addresses", list, limits::ADDRESSES_MAX)?;
    list.iter().map(|address| text("address", address, 256)).collect()
}

fn member_to_proto(member: &Member) -> v1::Member {
    v1::Member {
        node: member.node.0.to_vec(),
        name: member.name.clone(),
        role: role_to_proto(member.role).into(),
        admin: member.admin,
        not_before_unix_s: member.not_before_unix_s,
        expires_unix_s: member.expires_unix_s,
        addresses: member.addresses.clone(),
    }
}

fn member_from_proto(proto: &v1::Member) -> Result<Member, WireError> {
    Ok(Member {
        node: ids::node("member", &proto.node)?,
        name: machine_name(&proto.name)?,
        role: role_from_proto(proto.role)?,
        admin: proto.admin,
        not_before_unix_s: proto.not_before_unix_s,
        expires_unix_s: proto.expires_unix_s,
        addresses: addresses(&proto.addresses)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_owner_can_write_the_roster() {
        let key = |seed: u8| ed25519::Keypair::from(ed25519::SecretKey::try_from_bytes([seed; 32]).expect("32 bytes"));
        let owner = key(1);
        let federation = FederationId(owner.public().to_bytes());
        let member = Member {
            node: ids::node_of_key(&key(2).public()),
            name: "desk".into(),
            role: Role::Full,
            admin: false,
            not_before_unix_s: 0,
            expires_unix_s: 0,
            addresses: vec!["/ip4/127.0.0.1/tcp/1".into()],
        };
        let roster = MemberRoster::new(federation).admit(member).expect("room");
        let sealed = seal(roster.clone(), &owner);
        assert_eq!(open(&sealed.signed, &federation), Ok(sealed));
        let forged = seal(roster, &key(3));
        assert_eq!(open(&forged.signed, &federation), Err(WireError::Signature("member roster")));
    }
}
