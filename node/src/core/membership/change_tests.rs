//! Who may change the roster, and random worlds of signers that change it at the same time and meet in any order.

use proptest::prelude::*;

use super::*;
use crate::core::membership::roster::Role;
use crate::core::types::FederationId;

const OWNER: By = By { machine: NodeId([1; 32]), owner: true };
const ADMIN: By = By { machine: NodeId([2; 32]), owner: false };
const DAY: u64 = 24 * 3600;
/// Some day in 2027.
const NOW: u64 = 1_800_000_000;

fn id(n: u8) -> NodeId {
    NodeId([n; 32])
}

fn machine(n: u8) -> Member {
    Member::new(id(n), format!("n{n}"), Role::Full)
}

/// Machine 1 has the owner's key, 2 and 3 are admins, 4 and 5 are members.
fn federation() -> MemberRoster {
    let mut roster = MemberRoster::new(FederationId([9; 32])).founded(machine(1), NOW).expect("room");
    for (acts, n) in (1..).zip(2..=5) {
        roster = roster.changed(&Change::Admit(machine(n)), acts, &OWNER, NOW).expect("room");
    }
    for (acts, n) in (5..).zip(2..=3) {
        roster = roster.changed(&Change::GrantAdmin(id(n)), acts, &OWNER, NOW).expect("the owner may");
    }
    sealed(roster)
}

/// A digest of its own, as a signature would give it.
fn sealed(roster: MemberRoster) -> MemberRoster {
    MemberRoster { digest: Digest(*blake3::hash(format!("{roster:?}").as_bytes()).as_bytes()), ..roster }
}

#[test]
fn each_may_change_what_is_its_own_to_change() {
    let roster = federation();
    let check = |by: By, change: Change, expect: Result<(), ChangeRefusal>| {
        let changed = roster.changed(&change, 9, &by, NOW);
        assert_eq!(changed.as_ref().map(|_| ()).map_err(Clone::clone), expect, "{change:?} by {by:?}");
        if let Ok(changed) = changed {
            assert!(roster.may_become(&changed).is_ok() && changed.is_within_charter());
            assert_eq!(changed.acts_of(&by.machine), 9);
        }
    };
    let member = By { machine: id(4), owner: false };
    let stranger = By { machine: id(8), owner: true };
    for by in [OWNER, ADMIN] {
        check(by, Change::Admit(machine(6)), Ok(()));
        check(by, Change::Revoke(id(4)), Ok(()));
        check(by, Change::Rename(id(4), "den".to_owned()), Ok(()));
        check(by, Change::Rename(id(4), "n5".to_owned()), Err(ChangeRefusal::NameTaken("n5".to_owned())));
        check(by, Change::Revoke(id(8)), Err(ChangeRefusal::NoSuchMember));
        check(by, Change::Revoke(by.machine), Err(ChangeRefusal::Yourself));
    }
    check(OWNER, Change::Revoke(id(3)), Ok(()));
    check(OWNER, Change::GrantAdmin(id(4)), Ok(()));
    check(OWNER, Change::GrantAdmin(id(2)), Err(ChangeRefusal::AlreadyAdmin));
    check(OWNER, Change::RevokeAdmin(id(2)), Ok(()));
    check(OWNER, Change::RevokeAdmin(id(4)), Err(ChangeRefusal::NotAdmin));
    check(OWNER, Change::AddOwner(id(2)), Ok(()));
    for (change, why) in [
        (Change::Revoke(id(1)), ChangeRefusal::Protected),
        (Change::Revoke(id(3)), ChangeRefusal::Protected),
        (Change::GrantAdmin(id(4)), ChangeRefusal::OwnerOnly),
        (Change::RevokeAdmin(id(3)), ChangeRefusal::OwnerOnly),
        (Change::AddOwner(id(2)), ChangeRefusal::OwnerOnly),
    ] {
        check(ADMIN, change, Err(why));
    }
    check(member, Change::Revoke(id(5)), Err(ChangeRefusal::NotSigner));
    check(stranger, Change::Revoke(id(5)), Err(ChangeRefusal::NoSuchMember));
}

#[test]
fn what_a_former_admin_signed_is_void_whatever_its_version() {
    let roster = federation();
    let mut greedy = roster.changed(&Change::Revoke(id(4)), 1, &ADMIN, NOW).expect("it is an admin");
    greedy.version = limits::ROSTER_VERSION_MAX;
    let without = roster.changed(&Change::RevokeAdmin(id(2)), 7, &OWNER, NOW).expect("the owner may");
    let (greedy, without) = (sealed(greedy), sealed(without));
    assert_eq!(greedy.may_become(&without), Ok(()));
    assert!(without.may_become(&greedy).is_err());
    assert_eq!(without.changed(&Change::Revoke(id(4)), 2, &ADMIN, NOW), Err(ChangeRefusal::NotSigner));
    assert_eq!(greedy.changed(&Change::Revoke(id(5)), 2, &ADMIN, NOW), Err(ChangeRefusal::Exhausted));
    let beyond = greedy.changed(&Change::Revoke(id(5)), 8, &OWNER, NOW).expect("the owner goes on");
    assert_eq!(greedy.may_become(&beyond), Ok(()));
}

#[test]
fn certificates_are_renewed_past_half_of_their_life_by_one_signer_after_the_other() {
    let roster = federation();
    let half = NOW + limits::MEMBER_LIFE_S / 2;
    assert_eq!(roster.renewed(&OWNER, half - 1), None);
    assert_eq!(roster.renewed(&ADMIN, half), None, "the owner's turn comes first");
    assert!(roster.renewed(&ADMIN, half + limits::RENEW_TURN_S).is_some());
    assert_eq!(roster.renewed(&By { machine: id(4), owner: false }, half), None);
    let renewed = roster.renewed(&OWNER, half).expect("due");
    assert_eq!((renewed.version, renewed.charter_epoch()), (roster.version + 1, roster.charter_epoch()));
    for member in &renewed.members {
        let expect = if member.node == id(1) { 0 } else { half + limits::MEMBER_LIFE_S };
        assert_eq!(member.expires_unix_s, expect, "{}", member.name);
    }
    assert_eq!(renewed.renewed(&OWNER, half), None);
    // A signer whose clock is behind takes nobody's time away.
    let behind = renewed.changed(&Change::Rename(id(4), "den".to_owned()), 9, &OWNER, NOW).expect("allowed");
    assert_eq!(behind.member(&id(4)).map(|m| m.expires_unix_s), renewed.member(&id(4)).map(|m| m.expires_unix_s));
}

#[test]
fn the_charter_is_renewed_by_the_owner_alone() {
    let roster = federation();
    let late = NOW + limits::CHARTER_LIFE_S / 2;
    let by_admin = roster.renewed(&ADMIN, late).expect("certificates are due");
    assert_eq!(by_admin.charter, roster.charter);
    let by_owner = by_admin.renewed(&OWNER, late).expect("the charter is due");
    assert_eq!(by_owner.charter_epoch(), roster.charter_epoch() + 1);
    assert_eq!(by_owner.charter.map(|charter| charter.expires_unix_s), Some(late + limits::CHARTER_LIFE_S));
}

#[test]
fn a_roster_of_before_there_were_charters_gets_one_from_the_owner() {
    let mut old = MemberRoster::new(FederationId([9; 32]));
    for n in 1..=3 {
        old = old.admit(Member { admin: n == 1, ..machine(n) }).expect("room");
    }
    assert!(old.admits(&id(2), u64::MAX - 1), "its certificates did not expire");
    assert_eq!(old.changed(&Change::Revoke(id(3)), 1, &ADMIN, NOW), Err(ChangeRefusal::NotSigner));
    let renewed = old.renewed(&OWNER, NOW).expect("due at once");
    assert_eq!(old.may_become(&renewed), Ok(()));
    assert!(renewed.is_owners(&id(1)) && !renewed.is_owners(&id(2)) && !renewed.is_admin(&id(2)));
    assert!(!renewed.admits(&id(2), NOW + 92 * DAY) && renewed.admits(&id(1), NOW + 4000 * DAY));
}

#[test]
fn an_admission_made_again_does_not_bring_a_revoked_machine_back() {
    let other = By { machine: id(3), owner: false };
    // The owner's change, which knows of neither, wins; the revocation is made again before the admission it revoked.
    let owners = federation().changed(&Change::GrantAdmin(id(4)), 7, &OWNER, NOW).expect("allowed");
    let revoked = owners.with_lost(&[(1, Change::Revoke(id(9)))], &other, NOW).expect("noted");
    assert_eq!(revoked.turned_out, [(id(9), id(3))]);
    assert_eq!(revoked.with_lost(&[(1, Change::Admit(machine(9)))], &ADMIN, NOW), None);
    // Invited anew, it is a member again.
    let again = revoked.changed(&Change::Admit(machine(9)), 2, &ADMIN, NOW).expect("allowed");
    assert!(again.member(&id(9)).is_some() && again.turned_out.is_empty());
    // Whoever revoked it may have invited it again: in that order.
    let both = [(1, Change::Revoke(id(9))), (2, Change::Admit(machine(9)))];
    assert!(owners.with_lost(&both, &other, NOW).is_some_and(|roster| roster.member(&id(9)).is_some()));
}

/// What a random world does.
#[derive(Clone, Debug)]
enum Step {
    /// A signer (0 the owner's machine, 1 and 2 the admins) makes a change.
    Change(usize, Change),
    /// One node tells another what it has.
    Tell(usize, usize),
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        (10..20u8).prop_map(|n| Change::Admit(machine(n))),
        prop_oneof![1..20u8, 50..60u8, 90..100u8].prop_map(|n| Change::Revoke(id(n))),
        (1..20u8, 0..5u8).prop_map(|(n, name)| Change::Rename(id(n), format!("name {name}"))),
        (2..6u8).prop_map(|n| Change::GrantAdmin(id(n))),
        (2..6u8).prop_map(|n| Change::RevokeAdmin(id(n))),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..3usize, change()).prop_map(|(signer, change)| Step::Change(signer, change)),
        (0..5usize, 0..5usize).prop_map(|(from, to)| Step::Tell(from, to)),
    ]
}

/// One node of a world: what it holds, and its own changes.
#[derive(Clone)]
struct Node {
    by: By,
    roster: MemberRoster,
    kept: Vec<(u64, Change)>,
}

impl Node {
    fn change(&mut self, change: &Change) -> bool {
        let acts = self.kept.last().map_or(0, |(acts, _)| *acts).max(self.roster.acts_of(&self.by.machine)) + 1;
        let Ok(changed) = self.roster.changed(change, acts, &self.by, NOW) else { return false };
        self.kept.push((acts, change.clone()));
        self.roster = sealed(changed);
        true
    }

    fn take(&mut self, offered: &MemberRoster) -> bool {
        assert!(offered.is_within_charter());
        if self.roster.may_become(offered).is_err() {
            return false;
        }
        let mine = offered.with_lost(&self.kept, &self.by, NOW).map(sealed);
        if let Some(mine) = &mine {
            assert_eq!(offered.may_become(mine), Ok(()));
        }
        self.roster = mine.unwrap_or_else(|| offered.clone());
        if !self.roster.may_sign(&self.by) {
            self.kept.clear();
        }
        true
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    /// However they meet, all agree in the end; whoever was turned out by a machine that may still sign stays out; the admins
    /// are those that the owner named, and its machine is never lost.
    #[test]
    fn signers_that_change_at_the_same_time_agree_and_lose_nothing(steps in prop::collection::vec(step(), 1..40)) {
        let start = federation();
        let node = |n: u8| Node { by: By { machine: id(n), owner: n == 1 }, roster: start.clone(), kept: Vec::new() };
        let mut nodes: Vec<Node> = (1..=5).map(node).collect();
        let (mut revoked, mut admins) = (Vec::new(), vec![id(2), id(3)]);
        for step in &steps {
            match step {
                Step::Change(signer, change) => {
                    // A machine joins through one signer: its ticket says which.
                    let change = &match change {
                        Change::Admit(member) => Change::Admit(machine(member.node.0[0] + 40 * *signer as u8)),
                        other => other.clone(),
                    };
                    if !nodes[*signer].change(change) {
                        continue;
                    }
                    match change {
                        Change::Revoke(node) => revoked.push((*signer, *node)),
                        Change::GrantAdmin(node) => admins.push(*node),
                        Change::RevokeAdmin(node) => admins.retain(|admin| admin != node),
                        Change::Admit(member) => revoked.retain(|(_, node)| *node != member.node),
                        _ => {}
                    }
                }
                Step::Tell(from, to) => {
                    let said = nodes[*from].roster.clone();
                    nodes[*to].take(&said);
                }
            }
        }
        let mut rounds = 0;
        loop {
            let mut news = false;
            for from in 0..nodes.len() {
                for to in 0..nodes.len() {
                    let said = nodes[from].roster.clone();
                    news |= nodes[to].take(&said);
                }
            }
            if !news {
                break;
            }
            rounds += 1;
            prop_assert!(rounds < 20, "they never agree");
        }
        let last = &nodes[0].roster;
        for node in &nodes {
            prop_assert_eq!(&node.roster, last);
        }
        prop_assert!(last.is_owners(&id(1)) && last.member(&id(1)).is_some());
        for (signer, node) in revoked {
            let remembers = nodes[signer].kept.iter().any(|(_, change)| *change == Change::Revoke(node));
            // The owner may have made it an admin meanwhile: its word counts.
            let overruled = last.is_admin(&node);
            prop_assert!(!remembers || overruled || last.member(&node).is_none(), "{node} is back");
        }
        admins.retain(|admin| last.member(admin).is_some());
        admins.sort();
        prop_assert_eq!(&last.charter.as_ref().expect("a charter").admins, &admins);
    }
}
