//! Two machines that sign, with their real files: what is taken, what is made again, and what a restart remembers.

use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::core::membership::roster::{Member, Role};
use crate::store::datadir::DataDir;

/// The owner's machine and an admin's, and a member that is only a name.
struct Two {
    folder: tempfile::TempDir,
    desk: Registry,
    den: Registry,
}

fn machine(node: NodeId, name: &str) -> Member {
    Member::new(node, name, Role::Full)
}

fn id(seed: u8) -> NodeId {
    let secret = ed25519::SecretKey::try_from_bytes([seed; 32]).expect("any 32 bytes are a secret key");
    ids::node_of_key(&ed25519::Keypair::from(secret).public())
}

fn two() -> Two {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = DataDir::open(&folder.path().join("desk")).expect("a data directory");
    let me = dir.node_id().expect("a key");
    let membership = Registry::create(&dir, me, "desk", Role::Full).expect("created");
    let desk = Registry::open(Arc::new(dir), membership).expect("open");
    let dir = DataDir::open(&folder.path().join("den")).expect("a data directory");
    let den = dir.node_id().expect("a key");
    desk.change(&Change::Admit(machine(den, "den"))).expect("room");
    desk.change(&Change::Admit(machine(id(7), "nas"))).expect("room");
    desk.change(&Change::Admit(machine(id(8), "tv"))).expect("room");
    let sealed = desk.change(&Change::GrantAdmin(den)).expect("the owner may");
    let membership = Membership::new(sealed.roster.federation, sealed.signed);
    dir.save_membership(&membership).expect("saved");
    let den = Registry::open(Arc::new(dir), membership).expect("open");
    Two { folder, desk, den }
}

/// As the next start finds it.
fn again(registry: Registry, folder: &Path, name: &str) -> Registry {
    drop(registry);
    let dir = DataDir::open(&folder.join(name)).expect("nobody holds it any more");
    let membership = dir.view().membership().expect("readable").expect("enrolled");
    Registry::open(Arc::new(dir), membership).expect("open")
}

#[test]
fn an_older_roster_is_never_taken_also_after_a_restart() {
    let Two { folder, desk, den } = two();
    let before = desk.signed_roster();
    let without = desk.change(&Change::Revoke(id(7))).expect("revoked");
    assert!(den.take(&without.signed).expect("valid").is_some());
    for registry in [again(desk, folder.path(), "desk"), again(den, folder.path(), "den")] {
        assert!(registry.roster().member(&id(7)).is_none());
        assert_eq!(registry.take(&before).expect("valid, and old"), None);
        assert_eq!(registry.take(&without.signed).expect("valid, and known"), None);
        assert!(registry.roster().member(&id(7)).is_none());
    }
}

#[test]
fn of_two_changes_at_once_neither_is_lost() {
    let Two { folder, desk, den } = two();
    let by_den = den.change(&Change::Revoke(id(7))).expect("an admin may");
    let by_desk = desk.change(&Change::Rename(id(8), "screen".to_owned())).expect("the owner may");
    assert_eq!(by_den.roster.version, by_desk.roster.version);
    assert_eq!(desk.take(&by_den.signed).expect("valid"), None, "the owner beats an admin");
    // A restart in between: what is to be made again is remembered on the disk.
    let den = again(den, folder.path(), "den");
    let both = den.take(&by_desk.signed).expect("valid").expect("it counts");
    assert!(both.member(&id(7)).is_none() && both.member(&id(8)).is_some_and(|member| member.name == "screen"));
    assert_eq!((both.version, both.signer), (by_desk.roster.version + 1, Signer::Admin(den.me())));
    assert_eq!(desk.take(&den.signed_roster()).expect("valid"), Some(both.clone()));
    let den = again(den, folder.path(), "den");
    assert_eq!(den.roster(), both, "in the same durable write");
    assert_eq!(den.take(&desk.signed_roster()).expect("valid"), None, "they agree");
}

#[test]
fn nothing_new_is_taken_from_an_admin_whose_charter_has_expired() {
    let Two { folder: _folder, desk, den } = two();
    let expired = {
        let mut roster = desk.roster();
        roster.version += 1;
        let charter = roster.charter.as_mut().expect("a charter");
        (charter.expires_unix_s, charter.signed) = (1, Vec::new());
        let by_owner = members::seal(roster, desk.inner().owner.as_ref().expect("the owner's key"));
        assert!(den.take(&by_owner.signed).expect("the owner's own word counts").is_some());
        den.change(&Change::Revoke(id(7))).expect("its own clock does not stop it")
    };
    assert!(matches!(desk.take(&expired.signed), Err(MembershipError::CharterExpired)));
    assert!(desk.roster().member(&id(7)).is_some());
}

#[test]
fn who_is_no_admin_any_more_changes_nothing_and_forgets_what_it_changed() {
    let Two { folder, desk, den } = two();
    den.change(&Change::Rename(id(8), "screen".to_owned())).expect("an admin may");
    let without = desk.change(&Change::RevokeAdmin(den.me())).expect("the owner may");
    let taken = den.take(&without.signed).expect("valid").expect("it counts");
    assert_eq!(taken, without.roster, "nothing is made again");
    let refused = den.change(&Change::Revoke(id(7)));
    assert!(matches!(refused, Err(MembershipError::Refused(ChangeRefusal::NotSigner))));
    let den = again(den, folder.path(), "den");
    assert!(!den.may_sign() && den.inner().membership.acts.is_empty());
}
