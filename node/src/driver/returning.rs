//! The way back of a machine that was revoked: with a new ticket of the same federation, into the data directory that it has.

use crate::driver::membership::MembershipError;
use crate::store::datadir::DataDirView;
use crate::store::identity::Membership;
use crate::wire::join::Ticket;
use crate::wire::members::{self, VerifiedRoster};
use crate::wire::{field, ids};

/// Was this machine revoked from the ticket's federation? Then it may join again, and finds its files where they were.
pub(super) fn may_return(membership: &Membership, dir: &DataDirView, ticket: &Ticket) -> bool {
    let roster = members::open(&membership.signed_roster, &membership.federation);
    let me = dir.node_key().ok().flatten().map(|key| ids::node_of_key(&key.public()));
    let revoked = roster.is_ok_and(|known| me.is_some_and(|me| known.roster.member(&me).is_none()));
    revoked && ticket.federation == membership.federation
}

/// A roster never goes back, whoever hands it out.
pub(super) fn check_newer(known: Option<&Membership>, given: &VerifiedRoster) -> Result<(), MembershipError> {
    let Some(known) = known else { return Ok(()) };
    let known = members::open(&known.signed_roster, &known.federation)?;
    let newer = known.roster.may_become(&given.roster);
    newer.map_err(|refusal| field("the inviter's roster", refusal.to_string()).into())
}
