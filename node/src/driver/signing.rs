//! Changing the roster of members: signed with the owner's key where this machine has it, else as an admin, and durable before
//! anyone hears of it. And taking the roster of another signer, with what it lacks of this machine's changes made again.

use libp2p_identity::ed25519;

use crate::core::limits;
use crate::core::membership::change::{By, Change, ChangeRefusal};
use crate::core::membership::roster::{MemberRoster, Signer};
use crate::core::types::{FederationId, NodeId};
use crate::driver::clock::unix_seconds;
use crate::driver::membership::{Inner, MembershipError, Registry};
use crate::store::identity::Membership;
use crate::wire::ids;
use crate::wire::members::{self, VerifiedRoster};

impl Registry {
    /// May this machine sign rosters?
    pub fn may_sign(&self) -> bool {
        let inner = self.seen();
        inner.roster.may_sign(&self.by(&inner))
    }

    /// Is this machine still a member, as far as it knows?
    pub fn is_enrolled(&self) -> bool {
        self.roster().member(&self.me()).is_some()
    }

    /// Makes `change`, one version more. Durable when this returns.
    pub fn change(&self, change: &Change) -> Result<VerifiedRoster, MembershipError> {
        let mut inner = self.inner();
        let (next, sealed) = self.signed(&inner, change)?;
        self.keep(&mut inner, next, sealed.roster.clone())?;
        Ok(sealed)
    }

    /// Renews what is past half of its life, if it is this machine's turn. Durable when this returns.
    pub fn renew(&self) -> Result<Option<MemberRoster>, MembershipError> {
        let mut inner = self.inner();
        let by = self.by(&inner);
        let Some(renewed) = inner.roster.renewed(&by, unix_seconds()) else { return Ok(None) };
        let sealed = self.seal(&inner, renewed);
        let next = Membership { signed_roster: sealed.signed, ..inner.membership.clone() };
        self.keep(&mut inner, next, sealed.roster.clone())?;
        Ok(Some(sealed.roster))
    }

    /// Takes a newer roster that the owner or an admin signed; `None` if it is not newer. Changes of this machine that it lacks
    /// are made again on top, in the same durable write. Durable when this returns.
    pub fn take(&self, signed: &[u8]) -> Result<Option<MemberRoster>, MembershipError> {
        let mut inner = self.inner();
        let offered: VerifiedRoster = members::open(signed, &inner.membership.federation)?;
        let now = unix_seconds();
        if inner.roster.may_become(&offered.roster).is_err() {
            return Ok(None);
        }
        let expired = |roster: &MemberRoster| {
            let ends = roster.charter.as_ref().map_or(0, |charter| charter.expires_unix_s);
            matches!(roster.signer, Signer::Admin(_)) && now >= ends.saturating_add(limits::EXPIRY_GRACE_S)
        };
        if expired(&offered.roster) {
            return Err(MembershipError::CharterExpired);
        }
        let mut next = Membership { signed_roster: offered.signed, ..inner.membership.clone() };
        let (by, mut roster) = (self.by(&inner), offered.roster);
        if let Some(mine) = roster.with_lost(&next.acts, &by, now) {
            let sealed = self.seal(&inner, mine);
            tracing::info!(
                version = sealed.roster.version,
                "another signer's roster won; this machine's changes are made again"
            );
            (next.signed_roster, roster) = (sealed.signed, sealed.roster);
        }
        if !roster.may_sign(&by) {
            next.acts.clear();
        }
        self.keep(&mut inner, next, roster.clone())?;
        Ok(Some(roster))
    }

    /// Keeps the owner's key of a recovery file, and tells the federation that this machine has it. The new roster, unless it
    /// was known already. Durable when this returns.
    pub fn import_owner(&self, key: &ed25519::Keypair) -> Result<Option<MemberRoster>, MembershipError> {
        let mut inner = self.inner();
        let (found, known) = (FederationId(key.public().to_bytes()), inner.membership.federation);
        if found != known {
            return Err(MembershipError::OtherOwner { found, known });
        }
        if inner.roster.member(&self.me()).is_none() {
            return Err(MembershipError::NotEnrolled);
        }
        self.dir.keep_owner_key(key)?;
        inner.owner = Some(key.clone());
        if inner.roster.charter.is_some() && inner.roster.is_owners(&self.me()) {
            return Ok(None);
        }
        let (next, sealed) = self.signed(&inner, &Change::AddOwner(self.me()))?;
        self.keep(&mut inner, next, sealed.roster.clone())?;
        Ok(Some(sealed.roster))
    }

    /// The record and the roster with `change` made by this machine, signed and not yet durable.
    pub(super) fn signed(&self, inner: &Inner, change: &Change) -> Result<(Membership, VerifiedRoster), ChangeRefusal> {
        let by = self.by(inner);
        let newest = inner.membership.acts.last().map_or(0, |(number, _)| *number);
        let number = newest.max(inner.roster.acts_of(&by.machine)) + 1;
        let sealed = self.seal(inner, inner.roster.changed(change, number, &by, unix_seconds())?);
        let mut next = Membership { signed_roster: sealed.signed.clone(), ..inner.membership.clone() };
        next.note(number, change.clone());
        Ok((next, sealed))
    }

    fn seal(&self, inner: &Inner, roster: MemberRoster) -> VerifiedRoster {
        match &inner.owner {
            Some(owner) => members::seal(roster, owner),
            None => members::seal_as_admin(roster, &self.key),
        }
    }

    fn keep(&self, inner: &mut Inner, next: Membership, roster: MemberRoster) -> Result<(), MembershipError> {
        self.dir.save_membership(&next)?;
        (inner.membership, inner.roster) = (next, roster);
        Ok(())
    }

    fn by(&self, inner: &Inner) -> By {
        By { machine: self.me(), owner: inner.owner.is_some() }
    }

    pub(super) fn me(&self) -> NodeId {
        ids::node_of_key(&self.key.public())
    }
}

#[cfg(test)]
#[path = "signing_tests.rs"]
mod tests;
