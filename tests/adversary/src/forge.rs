//! Rosters of members that nobody should believe.

use fednode::core::types::NodeId;
use fednode_proto::v1;
use libp2p::identity::ed25519;
use prost::Message;

/// What a roster's signature covers before its body.
const CONTEXT: &[u8] = b"fednode member roster v1\0";

/// From a real roster (an encoded `SignedMemberRoster`) a much newer one that also admits `intruder`, signed by another
/// owner: once in the name of the federation, and once in the other owner's own. `None` if the real one is none.
pub fn by_another_owner(real: &[u8], intruder: NodeId) -> Option<[Vec<u8>; 2]> {
    let signed = v1::SignedMemberRoster::decode(real).ok()?;
    let mut roster = v1::MemberRoster::decode(signed.body.as_slice()).ok()?;
    let owner = ed25519::Keypair::generate();
    roster.version += 1 << 40;
    roster.members.push(v1::Member {
        node: intruder.0.to_vec(),
        name: "intruder".to_owned(),
        role: v1::Role::Full.into(),
        ..v1::Member::default()
    });
    let own = v1::MemberRoster { federation: owner.public().to_bytes().to_vec(), ..roster.clone() };
    Some([roster, own].map(|roster| seal(roster.encode_to_vec(), &owner)))
}

fn seal(body: Vec<u8>, owner: &ed25519::Keypair) -> Vec<u8> {
    let signature = owner.sign(&[CONTEXT, &body].concat());
    v1::SignedMemberRoster { body, signature }.encode_to_vec()
}
