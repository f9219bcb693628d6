//! Invitations as the inviter keeps them, a part of the membership file (`identity`): so one durable write admits a
//! machine and burns its ticket, and notes which machine that was. `driver::membership` calls this.

use crate::core::limits;
use crate::core::membership::roster::Role;
use crate::core::types::NodeId;
use crate::store::datadir::DataDir;
use crate::store::identity::{IdentityError, Membership};

/// What became of an invitation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TicketState {
    /// Whoever comes with it first is admitted, until it expires.
    Open,
    /// It admitted this machine. The same machine may hear its answer once more, nobody else may.
    Used(NodeId),
    /// Taken back by the person who made it.
    Withdrawn,
}

/// An invitation this node gave out. Kept until it expires, so that its maker can be told what became of it.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredTicket {
    /// The first 16 bytes of BLAKE3 of the secret.
    pub id: [u8; 16],
    /// 256 random bits.
    pub secret: [u8; 32],
    /// Seconds since the Unix epoch, by this machine's clock alone.
    pub expires_unix_s: u64,
    /// The most it grants.
    pub role: Role,
    /// What became of it.
    pub state: TicketState,
}

impl std::fmt::Debug for StoredTicket {
    /// Without the secret: tickets must not leak into logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StoredTicket").field("role", &self.role).field("state", &self.state).finish_non_exhaustive()
    }
}

impl StoredTicket {
    /// Does it still admit somebody?
    pub fn is_open(&self, now_unix_s: u64) -> bool {
        self.state == TicketState::Open && self.expires_unix_s > now_unix_s
    }
}

impl Membership {
    /// Adds an open invitation, forgetting those that expired before `now_unix_s`. Durable only once saved.
    pub fn invite(&mut self, ticket: StoredTicket, now_unix_s: u64) -> Result<(), IdentityError> {
        self.tickets.retain(|known| known.expires_unix_s > now_unix_s);
        if self.tickets.len() >= limits::TICKETS_MAX {
            return Err(IdentityError::TooManyTickets);
        }
        self.tickets.push(ticket);
        Ok(())
    }

    /// The invitation of this id, whatever became of it.
    pub fn ticket(&self, id: &[u8; 16]) -> Option<&StoredTicket> {
        self.tickets.iter().find(|ticket| &ticket.id == id)
    }

    /// Takes back the open invitation of this id, or all of them; how many there were. Durable only once saved.
    pub fn withdraw(&mut self, id: Option<&[u8; 16]>, now_unix_s: u64) -> u32 {
        let mut withdrawn = 0;
        let named = |ticket: &&mut StoredTicket| id.is_none_or(|id| id == &ticket.id);
        for ticket in self.tickets.iter_mut().filter(named).filter(|ticket| ticket.is_open(now_unix_s)) {
            ticket.state = TicketState::Withdrawn;
            withdrawn += 1;
        }
        withdrawn
    }
}

impl DataDir {
    /// Burns the open ticket `id` in favour of `joiner` and takes the roster that admits it, in one durable write.
    /// `membership` changes only if that write succeeded.
    pub fn admit(
        &self,
        membership: &mut Membership,
        id: &[u8; 16],
        joiner: NodeId,
        signed_roster: Vec<u8>,
        now_unix_s: u64,
    ) -> Result<(), IdentityError> {
        let mut next = membership.clone();
        let open = |ticket: &&mut StoredTicket| &ticket.id == id && ticket.is_open(now_unix_s);
        let ticket = next.tickets.iter_mut().find(open).ok_or(IdentityError::TicketSpent)?;
        ticket.state = TicketState::Used(joiner);
        next.signed_roster = signed_roster;
        self.save_membership(&next)?;
        *membership = next;
        Ok(())
    }
}

/// [`StoredTicket`] on disk.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct TicketRecord {
    #[prost(bytes = "vec", tag = "1")]
    secret: Vec<u8>,
    #[prost(uint64, tag = "2")]
    expires_unix_s: u64,
    #[prost(bool, tag = "3")]
    delegate: bool,
    /// Used or withdrawn.
    #[prost(bool, tag = "4")]
    burnt: bool,
    #[prost(bytes = "vec", tag = "5")]
    id: Vec<u8>,
    /// By whom; empty: by nobody.
    #[prost(bytes = "vec", tag = "6")]
    used_by: Vec<u8>,
}

impl TicketRecord {
    pub(super) fn from_ticket(ticket: &StoredTicket) -> TicketRecord {
        let used_by = match ticket.state {
            TicketState::Used(node) => node.0.to_vec(),
            TicketState::Open | TicketState::Withdrawn => Vec::new(),
        };
        TicketRecord {
            secret: ticket.secret.to_vec(),
            expires_unix_s: ticket.expires_unix_s,
            delegate: ticket.role == Role::Delegate,
            burnt: ticket.state != TicketState::Open,
            id: ticket.id.to_vec(),
            used_by,
        }
    }

    pub(super) fn into_ticket(self) -> Option<StoredTicket> {
        let state = match (self.burnt, self.used_by.is_empty()) {
            (false, _) => TicketState::Open,
            (true, true) => TicketState::Withdrawn,
            (true, false) => TicketState::Used(NodeId(self.used_by.try_into().ok()?)),
        };
        Some(StoredTicket {
            id: self.id.try_into().ok()?,
            secret: self.secret.try_into().ok()?,
            expires_unix_s: self.expires_unix_s,
            role: if self.delegate { Role::Delegate } else { Role::Full },
            state,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::types::FederationId;

    fn ticket(seed: u8, expires_unix_s: u64) -> StoredTicket {
        let state = TicketState::Open;
        StoredTicket { id: [seed; 16], secret: [seed; 32], expires_unix_s, role: Role::Delegate, state }
    }

    fn membership() -> Membership {
        Membership::new(FederationId([9; 32]), b"v1".to_vec())
    }

    #[test]
    fn admitting_burns_the_ticket_in_the_same_write() {
        let base = tempfile::tempdir().unwrap();
        let dir = DataDir::open(base.path()).unwrap();
        let mut membership = membership();
        membership.invite(ticket(1, 100), 0).unwrap();
        membership.invite(ticket(2, 100), 0).unwrap();
        dir.save_membership(&membership).unwrap();
        assert_eq!(dir.view().membership().unwrap().as_ref(), Some(&membership));
        dir.admit(&mut membership, &[1; 16], NodeId([7; 32]), b"v2".to_vec(), 50).unwrap();
        let stored = dir.view().membership().unwrap().unwrap();
        assert_eq!(stored, membership);
        assert_eq!(stored.signed_roster, b"v2");
        assert_eq!(stored.ticket(&[1; 16]).map(|ticket| ticket.state), Some(TicketState::Used(NodeId([7; 32]))));
        assert!(stored.ticket(&[2; 16]).is_some_and(|ticket| ticket.is_open(99) && !ticket.is_open(100)));
        for (id, now) in [([1; 16], 50), ([2; 16], 100), ([3; 16], 50)] {
            let again = dir.admit(&mut membership, &id, NodeId([7; 32]), b"v3".to_vec(), now);
            assert!(matches!(again, Err(IdentityError::TicketSpent)));
        }
        assert_eq!(dir.view().membership().unwrap(), Some(stored));
    }

    #[test]
    fn a_withdrawn_ticket_admits_nobody_and_a_used_one_stays_used() {
        let base = tempfile::tempdir().unwrap();
        let dir = DataDir::open(base.path()).unwrap();
        let mut membership = membership();
        for seed in 1..=4 {
            membership.invite(ticket(seed, 100 + u64::from(seed)), 0).unwrap();
        }
        dir.admit(&mut membership, &[1; 16], NodeId([7; 32]), b"v2".to_vec(), 50).unwrap();
        assert_eq!(membership.withdraw(Some(&[2; 16]), 50), 1);
        // The first is used, the second withdrawn, and the third has expired.
        assert_eq!(membership.withdraw(None, 103), 1);
        dir.save_membership(&membership).unwrap();
        let stored = dir.view().membership().unwrap().unwrap();
        let states: Vec<TicketState> = stored.tickets.iter().map(|ticket| ticket.state).collect();
        let used = TicketState::Used(NodeId([7; 32]));
        assert_eq!(states, [used, TicketState::Withdrawn, TicketState::Open, TicketState::Withdrawn]);
        let again = dir.admit(&mut membership, &[2; 16], NodeId([8; 32]), b"v3".to_vec(), 50);
        assert!(matches!(again, Err(IdentityError::TicketSpent)));
    }

    #[test]
    fn expired_invitations_are_forgotten_and_open_ones_are_bounded() {
        let mut membership = membership();
        for seed in 0..limits::TICKETS_MAX {
            membership.invite(ticket(seed as u8, 100), 50).unwrap();
        }
        assert!(matches!(membership.invite(ticket(1, 200), 99), Err(IdentityError::TooManyTickets)));
        membership.invite(ticket(1, 200), 100).unwrap();
        assert_eq!(membership.tickets.len(), 1);
    }
}
