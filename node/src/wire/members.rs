//! The signed roster of members: what comes out of [`open`] bears the owner's signature, or that of an admin whom the owner's
//! charter names, and stays within what that admin may sign.

use fednode_proto::v1;
use libp2p_identity::ed25519;
use prost::Message;

use crate::core::limits;
use crate::core::membership::roster::{Member, MemberRoster, Role, Signer};
use crate::core::types::{Digest, FederationId, NodeId};
use crate::wire::sign::{self, Context};
use crate::wire::{WireError, at_most, charter, decode, field, ids, text};

/// What is read here, in errors.
const WHAT: &str = "member roster";

/// A roster whose signature holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VerifiedRoster {
    /// What it says.
    pub roster: MemberRoster,
    /// The encoded `SignedMemberRoster`.
    pub signed: Vec<u8>,
}

/// Signs `roster` with the owner's key, and its charter if it was changed.
pub fn seal(mut roster: MemberRoster, owner: &ed25519::Keypair) -> VerifiedRoster {
    if let Some(charter) = roster.charter.as_mut().filter(|charter| charter.signed.is_empty()) {
        charter.signed = charter::seal(charter, &roster.federation, owner);
    }
    sealed(roster, Signer::Owner, owner)
}

/// Signs `roster` with the key of this machine, an admin.
pub fn seal_as_admin(roster: MemberRoster, admin: &ed25519::Keypair) -> VerifiedRoster {
    sealed(roster, Signer::Admin(ids::node_of_key(&admin.public())), admin)
}

fn sealed(roster: MemberRoster, signer: Signer, key: &ed25519::Keypair) -> VerifiedRoster {
    let body = v1::MemberRoster {
        federation: roster.federation.0.to_vec(),
        version: roster.version,
        members: roster.members.iter().map(member_to_proto).collect(),
        charter: roster.charter.as_ref().and_then(|charter| v1::SignedCharter::decode(&charter.signed[..]).ok()),
        acts: roster.acts.iter().map(|(node, count)| v1::Acts { node: node.0.to_vec(), count: *count }).collect(),
        turned_out: roster
            .turned_out
            .iter()
            .map(|(node, by)| v1::TurnedOut { node: node.0.to_vec(), by: by.0.to_vec() })
            .collect(),
    };
    let body = body.encode_to_vec();
    let (context, admin) = match signer {
        Signer::Owner => (Context::MemberRoster, Vec::new()),
        Signer::Admin(node) => (Context::AdminRoster, node.0.to_vec()),
    };
    let (signature, digest) = (sign::sign(key, context, &body), Digest(*blake3::hash(&body).as_bytes()));
    let signed = v1::SignedMemberRoster { body, signature, admin }.encode_to_vec();
    VerifiedRoster { roster: MemberRoster { signer, digest, ..roster }, signed }
}

/// Reads an encoded `SignedMemberRoster` of `federation`. Whether it is newer, and whether a charter is still running, is
/// its reader's to ask: what lies on disk must open whatever the time.
pub fn open(signed: &[u8], federation: &FederationId) -> Result<VerifiedRoster, WireError> {
    let envelope: v1::SignedMemberRoster = decode(WHAT, signed, limits::MESSAGE_BYTES_MAX)?;
    let signer = match envelope.admin.as_slice() {
        [] => {
            sign::verify(&NodeId(federation.0), Context::MemberRoster, &envelope.body, &envelope.signature)?;
            Signer::Owner
        }
        key => {
            let admin = ids::node(WHAT, key)?;
            sign::verify(&admin, Context::AdminRoster, &envelope.body, &envelope.signature)?;
            Signer::Admin(admin)
        }
    };
    let proto: v1::MemberRoster = decode(WHAT, &envelope.body, limits::MESSAGE_BYTES_MAX)?;
    let digest = Digest(*blake3::hash(&envelope.body).as_bytes());
    let roster = MemberRoster { signer, digest, ..from_proto(&proto, federation)? };
    if !roster.is_within_charter() {
        return Err(field(WHAT, "its signer is no admin of this federation, or may not sign this"));
    }
    Ok(VerifiedRoster { roster, signed: signed.to_vec() })
}

fn from_proto(proto: &v1::MemberRoster, federation: &FederationId) -> Result<MemberRoster, WireError> {
    if ids::federation(WHAT, &proto.federation)? != *federation {
        return Err(field(WHAT, "it belongs to another federation"));
    }
    if proto.version > limits::ROSTER_VERSION_MAX {
        return Err(field(WHAT, "its version is beyond what there may be"));
    }
    at_most("members", &proto.members, limits::MEMBERS_MAX)?;
    at_most("acts", &proto.acts, limits::MEMBERS_MAX)?;
    let mut members = proto.members.iter().map(member_from_proto).collect::<Result<Vec<_>, _>>()?;
    members.sort_by_key(|member| member.node);
    let mut acts = proto.acts.iter().map(acts_from_proto).collect::<Result<Vec<_>, _>>()?;
    acts.sort();
    let twice = |pair: &[(NodeId, u64)]| pair[0].0 == pair[1].0;
    if members.windows(2).any(|pair| pair[0].node == pair[1].node) || acts.windows(2).any(twice) {
        return Err(field(WHAT, "one machine stands twice"));
    }
    at_most("turned out", &proto.turned_out, limits::TURNED_OUT_MAX)?;
    let turned_out = proto.turned_out.iter().map(|out| Ok((ids::node(WHAT, &out.node)?, ids::node(WHAT, &out.by)?)));
    let turned_out = turned_out.collect::<Result<Vec<_>, WireError>>()?;
    let charter = proto.charter.as_ref().map(|charter| charter::open(charter, federation)).transpose()?;
    Ok(MemberRoster { version: proto.version, members, charter, acts, turned_out, ..MemberRoster::new(*federation) })
}

fn acts_from_proto(proto: &v1::Acts) -> Result<(NodeId, u64), WireError> {
    match proto.count <= limits::ROSTER_VERSION_MAX {
        true => Ok((ids::node("acts", &proto.node)?, proto.count)),
        false => Err(field("acts", "more than anybody makes")),
    }
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

pub(crate) fn member_to_proto(member: &Member) -> v1::Member {
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

pub(crate) fn member_from_proto(proto: &v1::Member) -> Result<Member, WireError> {
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
#[path = "members_tests.rs"]
mod tests;
