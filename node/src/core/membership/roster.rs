//! The roster of members: which machines the owner admits. Signed as a whole (the signature is checked in `wire`),
//! versioned, monotonic. This file holds the rules that need no cryptography.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::core::limits;
use crate::core::types::{FederationId, NodeId};

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
    /// May sign on the owner's behalf.
    pub admin: bool,
    /// Seconds since the Unix epoch.
    pub not_before_unix_s: u64,
    /// Seconds since the Unix epoch; zero: never.
    pub expires_unix_s: u64,
    /// Multiaddresses it was last reachable at.
    pub addresses: Vec<String>,
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
}

/// Why a roster is not taken.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RosterRefusal {
    /// Of another owner.
    #[error("this roster of members belongs to another federation")]
    OtherFederation,
    /// Older than or equal to what is known.
    #[error("roster version {offered} is not newer than {known}")]
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
        MemberRoster { federation, version: 0, members: Vec::new() }
    }

    /// The member with this key.
    pub fn member(&self, node: &NodeId) -> Option<&Member> {
        self.members.iter().find(|member| &member.node == node)
    }

    /// Is `node` admitted at this wall-clock second?
    pub fn admits(&self, node: &NodeId, now_unix_s: u64) -> bool {
        self.member(node).is_some_and(|member| {
            member.not_before_unix_s <= now_unix_s && (member.expires_unix_s == 0 || now_unix_s < member.expires_unix_s)
        })
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
        if offered.version <= self.version {
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
        let roster = MemberRoster::new(FederationId([9; 32])).admit(member(1, "desk")).expect("room");
        for (now, expect) in [(99, false), (100, true), (199, true), (200, false)] {
            assert_eq!(roster.admits(&NodeId([1; 32]), now), expect, "at {now}");
        }
        assert!(!roster.admits(&NodeId([2; 32]), 150));
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
}
