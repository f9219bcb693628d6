//! Whose rosters are read, and whose are not.

use proptest::prelude::*;

use super::*;
use crate::core::membership::change::{By, Change};
use crate::core::membership::roster::Charter;

const NOW: u64 = 1_800_000_000;

fn key(seed: u8) -> ed25519::Keypair {
    ed25519::SecretKey::try_from_bytes([seed; 32]).expect("any 32 bytes are a secret key").into()
}

fn id(seed: u8) -> NodeId {
    ids::node_of_key(&key(seed).public())
}

fn federation() -> FederationId {
    FederationId(key(1).public().to_bytes())
}

fn machine(seed: u8) -> Member {
    let addresses = vec!["/ip4/127.0.0.1/tcp/1".into()];
    Member { addresses, ..Member::new(id(seed), format!("n{seed}"), Role::Full) }
}

/// The owner's machine 2, the admin 3, the member 4.
fn roster() -> VerifiedRoster {
    let by = By { machine: id(2), owner: true };
    let changes = [Change::Admit(machine(3)), Change::Admit(machine(4)), Change::GrantAdmin(id(3))];
    let mut roster = MemberRoster::new(federation()).founded(machine(2), NOW).expect("room");
    for (acts, change) in (1..).zip(changes) {
        roster = roster.changed(&change, acts, &by, NOW).expect("the owner may");
    }
    seal(roster, &key(1))
}

#[test]
fn only_the_owner_and_its_admins_can_write_the_roster() {
    let sealed = roster();
    assert_eq!(open(&sealed.signed, &federation()), Ok(sealed.clone()));
    let forged = seal(sealed.roster.clone(), &key(9));
    assert_eq!(open(&forged.signed, &federation()), Err(WireError::Signature("member roster")));

    let by = By { machine: id(3), owner: false };
    let next = sealed.roster.changed(&Change::Revoke(id(4)), 1, &by, NOW).expect("an admin may");
    let by_admin = seal_as_admin(next.clone(), &key(3));
    assert_eq!(open(&by_admin.signed, &federation()), Ok(by_admin.clone()));
    assert_eq!(sealed.roster.may_become(&by_admin.roster), Ok(()));
    for seed in [1, 2, 4, 9] {
        let other = seal_as_admin(next.clone(), &key(seed));
        assert!(matches!(open(&other.signed, &federation()), Err(WireError::Field { .. })), "signed by {seed}");
    }
    assert!(open(&by_admin.signed, &FederationId(key(2).public().to_bytes())).is_err());
}

#[test]
fn an_admin_cannot_write_its_own_charter() {
    let sealed = roster();
    let mine = |change: &dyn Fn(&mut Charter)| {
        let mut roster = sealed.roster.clone();
        let charter = roster.charter.as_mut().expect("a charter");
        change(charter);
        charter.signed = charter::seal(charter, &federation(), &key(3));
        open(&seal_as_admin(roster, &key(3)).signed, &federation())
    };
    let forged = Err(WireError::Signature("charter"));
    assert_eq!(mine(&|charter| charter.admins.push(id(4))), forged);
    assert_eq!(mine(&|charter| charter.epoch = 99), forged);
    assert_eq!(mine(&|charter| charter.expires_unix_s = u64::MAX), forged);
    // Nor may it pass the owner's signature on one body off as that on another.
    let envelope = v1::SignedMemberRoster::decode(&sealed.signed[..]).expect("an envelope");
    let by_admin = v1::SignedMemberRoster { admin: id(3).0.to_vec(), ..envelope };
    assert!(open(&by_admin.encode_to_vec(), &federation()).is_err());
}

#[test]
fn rosters_of_before_there_were_charters_are_read() {
    let old = v1::MemberRoster {
        federation: federation().0.to_vec(),
        version: 3,
        members: vec![member_to_proto(&Member { admin: true, ..machine(2) }), member_to_proto(&machine(4))],
        ..v1::MemberRoster::default()
    };
    let body = old.encode_to_vec();
    let signature = sign::sign(&key(1), Context::MemberRoster, &body);
    let signed = v1::SignedMemberRoster { body, signature, admin: Vec::new() }.encode_to_vec();
    let read = open(&signed, &federation()).expect("the owner signed it").roster;
    assert!(read.charter.is_none() && read.is_owners(&id(2)) && read.admits(&id(4), u64::MAX - 1));
}

#[test]
fn versions_that_leave_no_next_one_are_refused() {
    let roster = MemberRoster { version: limits::ROSTER_VERSION_MAX + 1, ..roster().roster };
    assert!(matches!(open(&seal(roster, &key(1)).signed, &federation()), Err(WireError::Field { .. })));
}

proptest! {
    /// Whatever is changed on the way, nothing is read.
    #[test]
    fn no_flipped_bit_passes(at in 0..10_000usize, bit in 0..8u8, by_admin in any::<bool>()) {
        let sealed = if by_admin { seal_as_admin(roster().roster, &key(3)) } else { roster() };
        let mut bytes = sealed.signed.clone();
        let at = at % bytes.len();
        bytes[at] ^= 1 << bit;
        let read = open(&bytes, &federation());
        // A length that runs into the next field may leave the same message; nothing else may pass.
        prop_assert!(read.is_err() || read.map(|read| read.roster) == Ok(sealed.roster));
    }
}
