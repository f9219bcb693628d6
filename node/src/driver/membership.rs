//! The federation this node belongs to, on disk and in memory: the signed roster of members, tickets, and the key that signs,
//! where this machine may. Whatever changes is durable before anyone hears of it. Changes other than admitting are in
//! `signing`.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use libp2p_identity::ed25519;

use crate::core::membership::change::{Change, ChangeRefusal};
use crate::core::membership::roster::{Member, MemberRoster, Role};
use crate::core::types::{FederationId, NodeId};
use crate::driver::clock::unix_seconds;
use crate::store::datadir::DataDir;
use crate::store::identity::{IdentityError, Membership};
use crate::store::tickets::{StoredTicket, TicketState};
use crate::wire::WireError;
use crate::wire::join::{Ticket, TicketId, ticket_id};
use crate::wire::members::{self, VerifiedRoster};

/// Why membership could not be changed.
#[derive(Debug, thiserror::Error)]
pub enum MembershipError {
    /// Only who may sign may admit.
    #[error("only the owner's machine and admins can invite; run `fednode invite` there")]
    NotOwner,
    /// A change that may not be made.
    #[error(transparent)]
    Refused(#[from] ChangeRefusal),
    /// What an admin signed after its time.
    #[error(
        "it was signed by an admin whose charter has expired; the owner's machine renews it, or this machine's clock is wrong"
    )]
    CharterExpired,
    /// A recovery file of somebody else.
    #[error(
        "this recovery file is of the federation {found}, and this machine belongs to {known}; import it on a machine of its own federation"
    )]
    OtherOwner {
        /// The file's federation.
        found: FederationId,
        /// This machine's federation.
        known: FederationId,
    },
    /// There is nothing to own here.
    #[error(
        "this machine belongs to no federation yet: import the recovery file on one that is a member, then invite this one. If no member is left, there is nothing to recover: `fednode up` makes a new federation"
    )]
    NotEnrolled,
    /// Nothing to export.
    #[error("this machine does not have the owner's key; export it on the machine that made the federation")]
    NoOwnerKey,
    /// On disk.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// A signature or a field.
    #[error(transparent)]
    Wire(#[from] WireError),
}

#[derive(Clone)]
pub(super) struct Inner {
    pub(super) membership: Membership,
    pub(super) roster: MemberRoster,
    pub(super) owner: Option<ed25519::Keypair>,
}

impl Inner {
    /// Did this ticket make `joiner` the member that it still is?
    fn admitted_by(&self, ticket: &StoredTicket, joiner: &NodeId) -> bool {
        ticket.state == TicketState::Used(*joiner) && self.roster.admits(joiner, unix_seconds())
    }
}

/// The registry of members of one node.
#[derive(Clone)]
pub struct Registry {
    pub(super) dir: Arc<DataDir>,
    pub(super) key: ed25519::Keypair,
    /// Held over a whole change, also while it is made durable.
    inner: Arc<Mutex<Inner>>,
    /// As the last change left it: whoever only reads never waits for the disk.
    seen: Arc<RwLock<Arc<Inner>>>,
}

/// The registry while it is changed; what was changed is seen by all when this ends.
pub(super) struct Changing<'a> {
    inner: MutexGuard<'a, Inner>,
    seen: &'a RwLock<Arc<Inner>>,
}

impl Deref for Changing<'_> {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.inner
    }
}

impl DerefMut for Changing<'_> {
    fn deref_mut(&mut self) -> &mut Inner {
        &mut self.inner
    }
}

impl Drop for Changing<'_> {
    fn drop(&mut self) {
        *self.seen.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(self.inner.clone());
    }
}

impl Registry {
    /// What the data directory says.
    pub fn open(dir: Arc<DataDir>, membership: Membership) -> Result<Registry, MembershipError> {
        let (owner, key) = (dir.view().owner_key()?, dir.node_key()?);
        let roster = members::open(&membership.signed_roster, &membership.federation)?.roster;
        let inner = Inner { membership, roster, owner };
        let seen = Arc::new(RwLock::new(Arc::new(inner.clone())));
        Ok(Registry { dir, key, inner: Arc::new(Mutex::new(inner)), seen })
    }

    /// A new federation whose owner and only member is this machine.
    pub fn create(dir: &DataDir, me: NodeId, name: &str, role: Role) -> Result<Membership, MembershipError> {
        let owner = match dir.view().owner_key()? {
            // A start that was cut short after it made the key.
            Some(key) => key,
            None => dir.create_owner_key()?,
        };
        let federation = FederationId(owner.public().to_bytes());
        let roster = MemberRoster::new(federation).founded(Member::new(me, name, role), unix_seconds())?;
        let membership = Membership::new(federation, members::seal(roster, &owner).signed);
        dir.save_membership(&membership)?;
        Ok(membership)
    }

    /// For a change. Called where blocking is allowed.
    pub(super) fn inner(&self) -> Changing<'_> {
        Changing { inner: self.inner.lock().unwrap_or_else(PoisonError::into_inner), seen: &self.seen }
    }

    /// As it is now.
    pub(super) fn seen(&self) -> Arc<Inner> {
        Arc::clone(&self.seen.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The roster of members now.
    pub fn roster(&self) -> MemberRoster {
        self.seen().roster.clone()
    }

    /// The signed roster, to pass on.
    pub fn signed_roster(&self) -> Vec<u8> {
        self.seen().membership.signed_roster.clone()
    }

    /// Makes a ticket. Durable when this returns.
    pub fn invite(
        &self,
        inviter: NodeId,
        role: Role,
        ttl_s: u64,
        addresses: Vec<String>,
    ) -> Result<Ticket, MembershipError> {
        if !self.may_sign() {
            return Err(MembershipError::NotOwner);
        }
        let now = unix_seconds();
        let secret: [u8; 32] = rand::random();
        let expires_unix_s = now.saturating_add(ttl_s);
        let state = TicketState::Open;
        let stored = StoredTicket { id: ticket_id(&secret), secret, expires_unix_s, role, state };
        let mut inner = self.inner();
        let mut next = inner.membership.clone();
        next.invite(stored, now)?;
        self.dir.save_membership(&next)?;
        inner.membership = next;
        let federation = inner.membership.federation;
        Ok(Ticket { federation, inviter, addresses, secret, expires_unix_s, role })
    }

    /// Is any invitation open?
    pub fn invitation_open(&self) -> bool {
        let now = unix_seconds();
        self.seen().membership.tickets.iter().any(|ticket| ticket.is_open(now))
    }

    /// The ticket of this id as it is good for `joiner`: open, or used by that machine, which is still a member and may
    /// have lost the answer.
    pub fn ticket_for(&self, id: &TicketId, joiner: &NodeId) -> Option<StoredTicket> {
        let inner = self.seen();
        let ticket = inner.membership.ticket(id)?;
        (ticket.is_open(unix_seconds()) || inner.admitted_by(ticket, joiner)).then(|| ticket.clone())
    }

    /// The ticket of this id, whatever became of it.
    pub fn ticket(&self, id: &TicketId) -> Option<StoredTicket> {
        self.seen().membership.ticket(id).cloned()
    }

    /// Takes back the open ticket of this id, or all of them; how many there were. Durable when this returns.
    pub fn withdraw(&self, id: Option<&TicketId>) -> Result<u32, MembershipError> {
        let mut inner = self.inner();
        let mut next = inner.membership.clone();
        let withdrawn = next.withdraw(id, unix_seconds());
        if withdrawn > 0 {
            self.dir.save_membership(&next)?;
            inner.membership = next;
        }
        Ok(withdrawn)
    }

    /// Burns the ticket and admits `member` in one durable write; the new roster, and its signed encoding. Of two machines
    /// one at most is admitted; one that was admitted with this ticket before is told again and changes nothing.
    pub fn admit(&self, id: &TicketId, member: Member) -> Result<VerifiedRoster, MembershipError> {
        let mut inner = self.inner();
        let known = inner.membership.ticket(id);
        if known.is_some_and(|ticket| inner.admitted_by(ticket, &member.node)) {
            let signed = inner.membership.signed_roster.clone();
            return Ok(VerifiedRoster { roster: inner.roster.clone(), signed });
        }
        let (joiner, member) = (member.node, Member { not_before_unix_s: 0, ..member });
        let (mut next, sealed) = self.signed(&inner, &Change::Admit(member))?;
        self.dir.admit(&mut next, id, joiner, sealed.signed.clone(), unix_seconds())?;
        (inner.membership, inner.roster) = (next, sealed.roster.clone());
        Ok(sealed)
    }
}

#[cfg(test)]
#[path = "membership_tests.rs"]
mod tests;
