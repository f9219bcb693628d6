//! Rosters of members that nobody should believe.

use fednode::core::types::NodeId;
use fednode_proto::v1;
use libp2p::identity::ed25519;
use prost::Message;

/// What a roster's signature covers before its body: the owner's, and an admin's.
const BY_OWNER: &[u8] = b"fednode member roster v1\0";
const BY_ADMIN: &[u8] = b"fednode member roster by admin v1\0";

/// From a real roster (an encoded `SignedMemberRoster`) a newer one that also admits `intruder`, signed by another owner: in
/// the name of the federation, in the other owner's own, and as an admin whom nobody made one. `None` if the real one is
/// none.
pub fn by_another_owner(real: &[u8], intruder: NodeId) -> Option<[Vec<u8>; 3]> {
    let signed = v1::SignedMemberRoster::decode(real).ok()?;
    let mut roster = v1::MemberRoster::decode(signed.body.as_slice()).ok()?;
    let owner = ed25519::Keypair::generate();
    let key = owner.public().to_bytes().to_vec();
    roster.version += 1000;
    roster.members.push(v1::Member {
        node: intruder.0.to_vec(),
        name: "intruder".to_owned(),
        role: v1::Role::Full.into(),
        ..v1::Member::default()
    });
    let of_another = v1::MemberRoster { federation: key.clone(), ..roster.clone() };
    Some([
        seal(&roster, &owner, BY_OWNER, Vec::new()),
        seal(&of_another, &owner, BY_OWNER, Vec::new()),
        seal(&roster, &owner, BY_ADMIN, key),
    ])
}

fn seal(roster: &v1::MemberRoster, owner: &ed25519::Keypair, context: &[u8], admin: Vec<u8>) -> Vec<u8> {
    let body = roster.encode_to_vec();
    let signature = owner.sign(&[context, &body].concat());
    v1::SignedMemberRoster { body, signature, admin }.encode_to_vec()
}
