//! Changes of the roster of members: who may make which, what each does, and how two signers that changed it at the same time
//! come to agree without losing either's change. Pure; `wire` signs and checks signatures, `driver` makes durable.
//!
//! Every change makes one version more. Of two rosters one wins everywhere (see `roster`); the signer whose change is not in
//! the winner sees so by the count of its own changes in it, and makes the change again on top.

use crate::core::limits;
use crate::core::membership::roster::{Charter, Member, MemberRoster, Signer};
use crate::core::types::{Digest, NodeId};

/// One change of the roster.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    /// A machine joins.
    Admit(Member),
    /// A machine is turned out.
    Revoke(NodeId),
    /// A machine is called otherwise.
    Rename(NodeId, String),
    /// A machine may sign in the owner's place.
    GrantAdmin(NodeId),
    /// It no longer may.
    RevokeAdmin(NodeId),
    /// A machine has the owner's key.
    AddOwner(NodeId),
}

/// Who changes the roster.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct By {
    /// This machine,
    pub machine: NodeId,
    /// with the owner's key, or as an admin.
    pub owner: bool,
}

/// Why a change is not made.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ChangeRefusal {
    /// Neither the owner's machine nor an admin's.
    #[error(
        "only the owner's machine and admins can do this; run it there, or make this machine one with `fednode members grant-admin`"
    )]
    NotSigner,
    /// For the owner alone.
    #[error(
        "only the owner's machine can do this; run it there, or bring the owner's key here with `fednode owner import`"
    )]
    OwnerOnly,
    /// As many members as there may be.
    #[error("this federation has as many members as it may have; revoke one first")]
    Full,
    /// Whom?
    #[error("that machine is no member any more")]
    NoSuchMember,
    /// Who turns itself out could not say so any more.
    #[error("a machine cannot revoke itself; do it on another machine of the owner or of an admin")]
    Yourself,
    /// By an admin.
    #[error("only the owner can revoke a machine that may sign: the owner's own, or an admin")]
    Protected,
    /// Two machines, one name.
    #[error("another machine is called {0}; choose another name")]
    NameTaken(String),
    /// Nothing to do.
    #[error("it is an admin already")]
    AlreadyAdmin,
    /// Nothing to do.
    #[error("it is no admin")]
    NotAdmin,
    /// As many as there may be.
    #[error("{max} machines may sign already; take it from one first", max = limits::SIGNERS_MAX)]
    TooManySigners,
    /// Somebody used up all versions.
    #[error("the roster has no version left for an admin; the owner's machine can go on")]
    Exhausted,
}

impl MemberRoster {
    /// The next version, with `change` made by `by`, to be sealed. `acts` is the number of the change among those of its machine.
    pub fn changed(&self, change: &Change, acts: u64, by: &By, now_unix_s: u64) -> Result<MemberRoster, ChangeRefusal> {
        if matches!(change, Change::Revoke(node) if self.member(node).is_none()) {
            return Err(ChangeRefusal::NoSuchMember);
        }
        self.made(change, acts, by, now_unix_s)
    }

    /// The same for a change that was made before, on another roster. Whoever is turned out need not be here yet: the
    /// revocation is noted, and meets an admission that comes later.
    fn made(&self, change: &Change, acts: u64, by: &By, now_unix_s: u64) -> Result<MemberRoster, ChangeRefusal> {
        let mut next = self.next(by, now_unix_s)?;
        match change {
            Change::Admit(member) => {
                next.turned_out.retain(|(node, _)| *node != member.node);
                let expires_unix_s = match member.expires_unix_s {
                    0 => now_unix_s.saturating_add(limits::MEMBER_LIFE_S),
                    set => set,
                };
                let admitted = next.admit(Member { expires_unix_s, ..member.clone() }).ok_or(ChangeRefusal::Full)?;
                next.members = admitted.members;
            }
            Change::Revoke(node) => next.revoke(node, by, now_unix_s)?,
            Change::Rename(node, name) => next.rename(node, name)?,
            Change::GrantAdmin(node) | Change::RevokeAdmin(node) | Change::AddOwner(node) => {
                if !by.owner {
                    return Err(ChangeRefusal::OwnerOnly);
                }
                if next.member(node).is_none() {
                    return Err(ChangeRefusal::NoSuchMember);
                }
                next.recharter(change, node, now_unix_s)?;
            }
        }
        next.note(by.machine, acts);
        next.flag_signers();
        Ok(next)
    }

    /// This roster with those of `kept` made again that it does not contain; `None` if it contains all. A change that can no
    /// longer be made is left out: another signer's change made it pointless.
    pub fn with_lost(&self, kept: &[(u64, Change)], by: &By, now_unix_s: u64) -> Option<MemberRoster> {
        let contained = self.acts_of(&by.machine);
        let mut next: Option<MemberRoster> = None;
        for (acts, change) in kept.iter().filter(|(acts, _)| *acts > contained) {
            let base = next.as_ref().unwrap_or(self);
            let overruled = |node: &NodeId| base.turned_out.iter().any(|(out, who)| out == node && *who != by.machine);
            if matches!(change, Change::Admit(member) if overruled(&member.node)) {
                continue;
            }
            if let Ok(changed) = base.made(change, *acts, by, now_unix_s) {
                next = Some(changed);
            }
        }
        // However many were made again, it is one roster that follows this one.
        let next = next?;
        let one = self.next(by, now_unix_s).ok()?;
        let newer = next.charter_epoch() > one.charter_epoch();
        Some(MemberRoster { version: if newer { next.version } else { one.version }, ..next })
    }

    /// The next version, in which whatever is past half of its life lives a whole one again; `None` if it is not yet this
    /// signer's turn, or it may not sign. What an admin cannot renew, the charter, is left to the owner.
    pub fn renewed(&self, by: &By, now_unix_s: u64) -> Option<MemberRoster> {
        let mut next = self.next(by, now_unix_s).ok()?;
        let late = self.turn(by).saturating_mul(limits::RENEW_TURN_S);
        let due = |expires_unix_s: u64, life: u64| {
            let half = expires_unix_s.saturating_sub(life / 2);
            expires_unix_s == 0 || now_unix_s >= half.saturating_add(late)
        };
        let perpetual = |roster: &MemberRoster, member: &Member| roster.is_owners(&member.node);
        let charter_due =
            by.owner && self.charter.as_ref().is_none_or(|charter| due(charter.expires_unix_s, limits::CHARTER_LIFE_S));
        let mut certificates = self.members.iter().filter(|member| !perpetual(self, member));
        if !charter_due && !certificates.any(|member| due(member.expires_unix_s, limits::MEMBER_LIFE_S)) {
            return None;
        }
        if charter_due && let Some(charter) = next.charter.as_mut() {
            charter.renew(now_unix_s);
        }
        // All at once: those that are not due yet would each make a version of their own soon.
        let whole_life = now_unix_s.saturating_add(limits::MEMBER_LIFE_S);
        for member in &mut next.members {
            let owners = next.charter.as_ref().is_some_and(|charter| charter.owners.contains(&member.node));
            member.expires_unix_s = if owners { 0 } else { member.expires_unix_s.max(whole_life) };
        }
        next.flag_signers();
        Some(next)
    }

    /// May `by` make changes at all?
    pub fn may_sign(&self, by: &By) -> bool {
        (by.owner || self.is_admin(&by.machine)) && self.member(&by.machine).is_some()
    }

    /// A new federation of one machine, which has the owner's key.
    pub fn founded(&self, first: Member, now_unix_s: u64) -> Result<MemberRoster, ChangeRefusal> {
        let by = By { machine: first.node, owner: true };
        let mut roster = self.admit(Member { expires_unix_s: 0, ..first }).ok_or(ChangeRefusal::Full)?;
        roster.charter = Some(Charter::new(vec![by.machine], now_unix_s));
        roster.flag_signers();
        Ok(roster)
    }

    /// The same with a version more, if `by` may sign one at all.
    fn next(&self, by: &By, now_unix_s: u64) -> Result<MemberRoster, ChangeRefusal> {
        if !by.owner && !self.is_admin(&by.machine) {
            return Err(ChangeRefusal::NotSigner);
        }
        if self.member(&by.machine).is_none() {
            return Err(ChangeRefusal::NoSuchMember);
        }
        let signer = if by.owner { Signer::Owner } else { Signer::Admin(by.machine) };
        let mut next = MemberRoster { signer, digest: Digest::default(), version: self.version + 1, ..self.clone() };
        if by.owner && next.charter.is_none() {
            let flagged = self.members.iter().filter(|member| member.admin || member.node == by.machine);
            next.charter = Some(Charter::new(flagged.map(|member| member.node).collect(), now_unix_s));
        }
        if self.version >= limits::ROSTER_VERSION_MAX {
            let charter = next.charter.as_mut().filter(|_| by.owner).ok_or(ChangeRefusal::Exhausted)?;
            charter.renew(now_unix_s);
            next.version = 1;
        }
        Ok(next)
    }

    fn revoke(&mut self, node: &NodeId, by: &By, now_unix_s: u64) -> Result<(), ChangeRefusal> {
        if *node == by.machine {
            return Err(ChangeRefusal::Yourself);
        }
        let signs = self.is_owners(node) || self.is_admin(node);
        if signs && !by.owner {
            return Err(ChangeRefusal::Protected);
        }
        self.turned_out.retain(|known| *known != (*node, by.machine));
        self.turned_out.push((*node, by.machine));
        let surplus = self.turned_out.len().saturating_sub(limits::TURNED_OUT_MAX);
        self.turned_out.drain(..surplus);
        self.members.retain(|member| member.node != *node);
        self.acts.retain(|(machine, _)| machine != node);
        if let Some(charter) = self.charter.as_mut().filter(|_| signs) {
            charter.owners.retain(|owner| owner != node);
            charter.admins.retain(|admin| admin != node);
            charter.renew(now_unix_s);
        }
        Ok(())
    }

    fn rename(&mut self, node: &NodeId, name: &str) -> Result<(), ChangeRefusal> {
        if self.members.iter().any(|member| member.node != *node && member.name == name) {
            return Err(ChangeRefusal::NameTaken(name.to_owned()));
        }
        let member = self.members.iter_mut().find(|member| member.node == *node).ok_or(ChangeRefusal::NoSuchMember)?;
        member.name = name.to_owned();
        Ok(())
    }

    fn recharter(&mut self, change: &Change, node: &NodeId, now_unix_s: u64) -> Result<(), ChangeRefusal> {
        let charter = self.charter.get_or_insert_with(|| Charter::new(Vec::new(), now_unix_s));
        let signs = charter.owners.contains(node) || charter.admins.contains(node);
        let list = match change {
            Change::GrantAdmin(_) if signs => return Err(ChangeRefusal::AlreadyAdmin),
            Change::RevokeAdmin(_) if !charter.admins.contains(node) => return Err(ChangeRefusal::NotAdmin),
            Change::AddOwner(_) => &mut charter.owners,
            _ => &mut charter.admins,
        };
        list.retain(|known| known != node);
        if !matches!(change, Change::RevokeAdmin(_)) {
            list.push(*node);
            list.sort();
        }
        if matches!(change, Change::AddOwner(_)) {
            charter.admins.retain(|known| known != node);
        }
        if charter.owners.len() + charter.admins.len() > limits::SIGNERS_MAX {
            return Err(ChangeRefusal::TooManySigners);
        }
        charter.renew(now_unix_s);
        Ok(())
    }

    /// `machine` has made so many changes.
    fn note(&mut self, machine: NodeId, acts: u64) {
        self.acts.retain(|(known, _)| *known != machine);
        self.acts.push((machine, acts));
        self.acts.sort();
    }

    /// Members say themselves whether they are in the charter, for readers that know of none.
    fn flag_signers(&mut self) {
        let Some(charter) = &self.charter else { return };
        for member in &mut self.members {
            let owners = charter.owners.contains(&member.node);
            member.admin = owners || charter.admins.contains(&member.node);
            if owners {
                member.expires_unix_s = 0;
            }
        }
    }

    /// How many signers renew before `by`: the owner's machines come first.
    fn turn(&self, by: &By) -> u64 {
        let Some(charter) = &self.charter else { return 0 };
        let before = charter.owners.iter().chain(&charter.admins).take_while(|node| **node != by.machine);
        before.count() as u64
    }
}

impl Charter {
    fn new(mut owners: Vec<NodeId>, now_unix_s: u64) -> Charter {
        owners.sort();
        let expires_unix_s = now_unix_s.saturating_add(limits::CHARTER_LIFE_S);
        Charter { epoch: 1, owners, admins: Vec::new(), expires_unix_s, signed: Vec::new() }
    }

    /// To be signed anew: under a higher epoch, for a whole life.
    fn renew(&mut self, now_unix_s: u64) {
        self.epoch = self.epoch.saturating_add(1);
        self.expires_unix_s = self.expires_unix_s.max(now_unix_s.saturating_add(limits::CHARTER_LIFE_S));
        self.signed = Vec::new();
    }
}

#[cfg(test)]
#[path = "change_tests.rs"]
mod tests;
