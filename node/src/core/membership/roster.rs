//! The roster of members: which machines the owner admits, and until when. Signed as a whole by the owner or by an admin
//! (signatures are checked in `wire`), versioned, monotonic. This file holds what a roster says and which of two counts;
//! `change` holds who may change what.
//!
//! Of two rosters the one with the higher charter counts, then the higher version, then the owner's, then the higher digest:
//! a total order, so that all members agree whatever reaches them in whatever order. The charter comes first because the
//! owner alone can raise it: whatever a former admin signed, up to the highest version there is, is void by it.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::core::limits;
use crate::core::types::{Digest, FederationId, NodeId};

/// What a machine is to the federation.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Stores and hosts managers.
    #[default]
    Full,
    /// Hosts none and forwards requests.
    Delegate,
}

impl Role {
    /// The word used in the CLI and in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Full => "full",
            Role::Delegate => "delegate",
        }
    }
}

/// One enrolled machine.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Member {
    /// Its Ed25519 public key.
    pub node: NodeId,
    /// Its name, unique in the roster.
    pub name: String,
    /// Full or delegate.
    pub role: Role,
    /// Named in the charter, as it was when this roster was signed; the charter itself decides where there is one.
    pub admin: bool,
    /// Seconds since the Unix epoch.
    pub not_before_unix_s: u64,
    /// Seconds since the Unix epoch; zero: never.
    pub expires_unix_s: u64,
    /// Multiaddresses it was last reachable at.
    pub addresses: Vec<String>,
}

impl Member {
    /// One that is admitted at once and everywhere, for a person's machines do not agree on the time; how long is the
    /// roster's to say. Its advertisements say where it is: nothing else about addresses is believed.
    pub fn new(node: NodeId, name: impl Into<String>, role: Role) -> Member {
        Member {
            node,
            name: name.into(),
            role,
            admin: false,
            not_before_unix_s: 0,
            expires_unix_s: 0,
            addresses: Vec::new(),
        }
    }
}

/// Who may sign rosters besides whoever has the owner's key. Signed by the owner alone, and part of every roster.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Charter {
    /// Raised by every change of it: rosters under an older one no longer count.
    pub epoch: u64,
    /// Machines that have the owner's key: no admin can turn them out. Sorted.
    pub owners: Vec<NodeId>,
    /// Machines that may sign in the owner's place. Sorted.
    pub admins: Vec<NodeId>,
    /// Seconds since the Unix epoch; from then on nothing new of an admin is taken.
    pub expires_unix_s: u64,
    /// As the owner signed it; empty before.
    pub signed: Vec<u8>,
}

/// Whose signature a roster bears.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Signer {
    /// An admin's.
    Admin(NodeId),
    /// The owner's.
    Owner,
}

/// When a machine is admitted, in seconds since the Unix epoch. Clocks of a person's machines disagree, so that a term begins
/// and ends `EXPIRY_GRACE_S` beside what the roster says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Term {
    /// Not before.
    pub from_unix_s: u64,
    /// No longer from then on.
    pub until_unix_s: u64,
}

impl Term {
    /// Always.
    pub const ALWAYS: Term = Term { from_unix_s: 0, until_unix_s: u64::MAX };

    /// Is it running at this second?
    pub fn contains(&self, now_unix_s: u64) -> bool {
        self.from_unix_s <= now_unix_s && now_unix_s < self.until_unix_s
    }
}

/// All enrolled machines.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MemberRoster {
    /// The owner's key.
    pub federation: FederationId,
    /// Monotonic: a node never goes back.
    pub version: u64,
    /// Sorted by node.
    pub members: Vec<Member>,
    /// Who else may sign; `None` in the rosters of before there were charters.
    pub charter: Option<Charter>,
    /// How many changes of each machine this roster contains, sorted by machine: whoever misses its own makes them again.
    pub acts: Vec<(NodeId, u64)>,
    /// Who was revoked lately, and by whom, the newest last: an admission of before, made again by another signer that had not
    /// heard, does not bring it back. At most `TURNED_OUT_MAX`.
    pub turned_out: Vec<(NodeId, NodeId)>,
    /// Whose signature it bears.
    pub signer: Signer,
    /// Of what was signed; zero before.
    pub digest: Digest,
}

/// Why a roster is not taken.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RosterRefusal {
    /// Of another owner.
    #[error("this roster of members belongs to another federation")]
    OtherFederation,
    /// Older than or equal to what is known.
    #[error("roster version {offered} does not come after {known}")]
    NotNewer {
        /// What came.
        offered: u64,
        /// What is held.
        known: u64,
    },
}

impl MemberRoster {
    /// A federation of no members yet.
    pub fn new(federation: FederationId) -> MemberRoster {
        let (digest, signer) = (Digest::default(), Signer::Owner);
        let (members, acts, turned_out) = (Vec::new(), Vec::new(), Vec::new());
        MemberRoster { federation, version: 0, members, charter: None, acts, turned_out, signer, digest }
    }

    /// The member with this key.
    pub fn member(&self, node: &NodeId) -> Option<&Member> {
        self.place(node).and_then(|place| self.members.get(place))
    }

    /// Where it stands in `members`.
    pub fn place(&self, node: &NodeId) -> Option<usize> {
        self.members.binary_search_by(|member| member.node.cmp(node)).ok()
    }

    /// Does this machine have the owner's key, as far as the charter says?
    pub fn is_owners(&self, node: &NodeId) -> bool {
        match &self.charter {
            Some(charter) => charter.owners.contains(node),
            None => self.member(node).is_some_and(|member| member.admin),
        }
    }

    /// May this machine sign in the owner's place?
    pub fn is_admin(&self, node: &NodeId) -> bool {
        self.charter.as_ref().is_some_and(|charter| charter.admins.contains(node))
    }

    /// When `node` is admitted; `None` if it is no member. Whoever may sign is admitted for as long as it may: were it shut
    /// out, it could not bring the roster that renews the others.
    pub fn term(&self, node: &NodeId) -> Option<Term> {
        let member = self.member(node)?;
        let ends = |unix_s: u64| if unix_s == 0 { u64::MAX } else { unix_s.saturating_add(limits::EXPIRY_GRACE_S) };
        Some(match &self.charter {
            _ if self.is_owners(node) => Term::ALWAYS,
            Some(charter) if charter.admins.contains(node) => {
                Term { from_unix_s: 0, until_unix_s: ends(member.expires_unix_s).max(ends(charter.expires_unix_s)) }
            }
            _ => Term {
                from_unix_s: member.not_before_unix_s.saturating_sub(limits::EXPIRY_GRACE_S),
                until_unix_s: ends(member.expires_unix_s),
            },
        })
    }

    /// Everybody's term.
    pub fn terms(&self) -> BTreeMap<NodeId, Term> {
        self.members.iter().filter_map(|member| Some((member.node, self.term(&member.node)?))).collect()
    }

    /// Is `node` admitted at this wall-clock second?
    pub fn admits(&self, node: &NodeId, now_unix_s: u64) -> bool {
        self.term(node).is_some_and(|term| term.contains(now_unix_s))
    }

    /// How many changes of `node` this roster contains.
    pub fn acts_of(&self, node: &NodeId) -> u64 {
        self.acts.iter().find(|(known, _)| known == node).map_or(0, |(_, acts)| *acts)
    }

    /// The charter's epoch; zero without one.
    pub fn charter_epoch(&self) -> u64 {
        self.charter.as_ref().map_or(0, |charter| charter.epoch)
    }

    /// Differs between rosters that differ: what members tell each other, to notice that they should compare.
    pub fn mark(&self) -> u64 {
        let (head, _) = self.digest.0.split_first_chunk::<8>().expect("a digest has 32 bytes");
        self.version ^ u64::from_be_bytes(*head)
    }

    /// Of two rosters the one of the higher rank counts.
    fn rank(&self) -> (u64, u64, bool, Digest) {
        (self.charter_epoch(), self.version, self.signer == Signer::Owner, self.digest)
    }

    /// May its signer have signed this? The owner may all; an admin must be in the charter, and leave everybody who is in it a
    /// member. That the charter is the owner's is checked in `wire`.
    pub fn is_within_charter(&self) -> bool {
        let Signer::Admin(admin) = self.signer else { return true };
        let Some(charter) = &self.charter else { return false };
        let named = charter.owners.iter().chain(&charter.admins);
        charter.admins.contains(&admin) && named.into_iter().all(|node| self.member(node).is_some())
    }

    /// The member's name, or its key's first digits.
    pub fn name_of(&self, node: &NodeId) -> String {
        self.member(node).map_or_else(|| node.to_string()[..8].to_owned(), |member| member.name.clone())
    }

    /// May `offered` replace this roster?
    pub fn may_become(&self, offered: &MemberRoster) -> Result<(), RosterRefusal> {
        if offered.federation != self.federation {
            return Err(RosterRefusal::OtherFederation);
        }
        if offered.rank() <= self.rank() {
            return Err(RosterRefusal::NotNewer { offered: offered.version, known: self.version });
        }
        Ok(())
    }

    /// The next version, with `member` admitted (or replaced, if its key is known already). A name that is taken gets
    /// the lowest free number appended. `None` when the roster is full.
    pub fn admit(&self, mut member: Member) -> Option<MemberRoster> {
        let mut next = self.clone();
        next.members.retain(|known| known.node != member.node);
        if next.members.len() >= limits::MEMBERS_MAX {
            return None;
        }
        let taken: BTreeSet<&str> = next.members.iter().map(|known| known.name.as_str()).collect();
        if taken.contains(member.name.as_str()) {
            let numbered = (2u32..).map(|n| format!("{}-{n}", member.name)).find(|name| !taken.contains(name.as_str()));
            member.name = numbered?;
        }
        next.members.push(member);
        next.members.sort_by_key(|known| known.node);
        next.version += 1;
        Some(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(id: u8, name: &str) -> Member {
        Member {
            node: NodeId([id; 32]),
            name: name.to_owned(),
            role: Role::Full,
            admin: false,
            not_before_unix_s: 100,
            expires_unix_s: 200,
            addresses: Vec::new(),
        }
    }

    #[test]
    fn admission_has_a_beginning_and_an_end() {
        let mut roster = MemberRoster::new(FederationId([9; 32])).admit(member(1, "desk")).expect("room");
        let grace = limits::EXPIRY_GRACE_S;
        for (now, expect) in [(0, true), (199 + grace, true), (200 + grace, false)] {
            assert_eq!(roster.admits(&NodeId([1; 32]), now), expect, "at {now}");
        }
        assert!(!roster.admits(&NodeId([2; 32]), 150));
        roster.members[0].not_before_unix_s = grace + 5;
        assert!(!roster.admits(&NodeId([1; 32]), 4) && roster.admits(&NodeId([1; 32]), 5));
    }

    #[test]
    fn a_taken_name_gets_a_number_and_a_known_key_replaces_itself() {
        let roster = MemberRoster::new(FederationId([9; 32])).admit(member(1, "desk")).expect("room");
        let roster = roster.admit(member(2, "desk")).expect("room");
        assert_eq!(roster.name_of(&NodeId([2; 32])), "desk-2");
        let roster = roster.admit(member(2, "den")).expect("room");
        assert_eq!((roster.members.len(), roster.version), (2, 3));
    }

    #[test]
    fn a_roster_never_goes_back_or_changes_owner() {
        let one = MemberRoster::new(FederationId([9; 32])).admit(member(1, "desk")).expect("room");
        let two = one.admit(member(2, "den")).expect("room");
        assert_eq!(one.may_become(&two), Ok(()));
        assert_eq!(two.may_become(&one), Err(RosterRefusal::NotNewer { offered: 1, known: 2 }));
        let foreign = MemberRoster { federation: FederationId([8; 32]), ..two.clone() };
        assert_eq!(one.may_become(&foreign), Err(RosterRefusal::OtherFederation));
    }

    fn chartered(owners: &[u8], admins: &[u8], expires_unix_s: u64) -> MemberRoster {
        let mut roster = MemberRoster::new(FederationId([9; 32]));
        for id in 1..=4 {
            roster = roster.admit(member(id, &format!("n{id}"))).expect("room");
        }
        let nodes = |ids: &[u8]| ids.iter().map(|&id| NodeId([id; 32])).collect();
        let (owners, admins) = (nodes(owners), nodes(admins));
        roster.charter = Some(Charter { epoch: 1, owners, admins, expires_unix_s, signed: Vec::new() });
        roster
    }

    #[test]
    fn whoever_may_sign_is_admitted_for_as_long_as_it_may() {
        let roster = chartered(&[1], &[2], 500);
        let grace = limits::EXPIRY_GRACE_S;
        let check =
            |id: u8, now: u64, expect| assert_eq!(roster.admits(&NodeId([id; 32]), now), expect, "{id} at {now}");
        check(1, u64::MAX - 1, true);
        check(2, 499 + grace, true);
        check(2, 500 + grace, false);
        check(3, 499, true);
        check(3, 200 + grace, false);
    }

    #[test]
    fn an_admin_signs_only_within_the_charter() {
        let check = |change: &dyn Fn(&mut MemberRoster), expect| {
            let mut roster = chartered(&[1], &[2, 3], 500);
            roster.signer = Signer::Admin(NodeId([2; 32]));
            change(&mut roster);
            assert_eq!(roster.is_within_charter(), expect);
        };
        check(&|_| {}, true);
        check(&|roster| roster.members.retain(|member| member.node != NodeId([4; 32])), true);
        check(&|roster| roster.members.retain(|member| member.node != NodeId([1; 32])), false);
        check(&|roster| roster.members.retain(|member| member.node != NodeId([3; 32])), false);
        check(&|roster| roster.signer = Signer::Admin(NodeId([4; 32])), false);
        check(&|roster| roster.signer = Signer::Owner, true);
        check(&|roster| roster.charter = None, false);
    }

    #[test]
    fn the_charter_outweighs_the_version_the_owner_an_admin_and_the_digest_decides_the_rest() {
        let base = chartered(&[1], &[2], 500);
        let with = |epoch: u64, version: u64, signer: Signer, digest: u8| {
            let mut roster = MemberRoster { version, signer, digest: Digest([digest; 32]), ..base.clone() };
            roster.charter.as_mut().expect("a charter").epoch = epoch;
            roster
        };
        let admin = Signer::Admin(NodeId([2; 32]));
        let rising = [
            with(1, 7, admin, 3),
            with(1, 7, admin, 4),
            with(1, 7, Signer::Owner, 1),
            with(1, limits::ROSTER_VERSION_MAX, admin, 1),
            with(2, 1, Signer::Owner, 1),
        ];
        for (at, lower) in rising.iter().enumerate() {
            assert!(lower.may_become(lower).is_err());
            for higher in &rising[at + 1..] {
                assert_eq!(lower.may_become(higher), Ok(()));
                assert!(higher.may_become(lower).is_err());
            }
        }
    }
}
