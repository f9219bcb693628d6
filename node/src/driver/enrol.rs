//! Who this node is and to which federation it belongs: known from its data directory, created now, or joined with a ticket.
//! Called by `start` before any room opens. A key that another machine may know by now is never thrown away.

use libp2p_identity::ed25519;

use crate::core::membership::roster::{Member, MemberRoster, Role};
use crate::core::types::NodeId;
use crate::driver::address_book;
use crate::driver::clock::unix_seconds;
use crate::driver::error::RunError;
use crate::driver::membership::{MembershipError, Registry};
use crate::driver::shunned;
use crate::net::join::{JoinError, JoinStep, redeem};
use crate::store::datadir::{DataDir, DataDirView};
use crate::store::identity::Membership;
use crate::wire::join::Ticket;
use crate::wire::{ids, members};

/// Who this node is, and to which federation it belongs.
pub(super) struct Identity {
    pub(super) key: ed25519::Keypair,
    pub(super) me: NodeId,
    pub(super) membership: Membership,
    /// Who let it in just now, and where that one is.
    pub(super) inviter: Option<(NodeId, Vec<String>)>,
    /// Whether it made its federation just now.
    pub(super) created: bool,
}

/// What a person who starts a node with a ticket wants to know before it runs.
#[derive(Debug)]
pub enum Enrolment<'a> {
    /// Joining goes on.
    Step(JoinStep),
    /// This machine is a member now, as the roster says.
    Joined {
        /// Its own entry.
        me: &'a Member,
        /// Who let it in.
        inviter: String,
        /// How many machines the federation has.
        members: usize,
    },
    /// It was a member of this federation before; the ticket was not used.
    Already {
        /// Its own entry.
        me: &'a Member,
    },
}

/// Whoever is told.
pub type Told<'a> = dyn Fn(Enrolment<'_>) + Send + Sync + 'a;

/// Refuses a ticket that would take the owner of this data directory out of its federation, before anything is written.
pub(super) fn check(known: &DataDirView, ticket: &Ticket) -> Result<(), RunError> {
    known.check_idle()?;
    match known.membership()? {
        Some(membership) if membership.federation != ticket.federation => {
            Err(RunError::AlreadyEnrolled(known.path().to_owned()))
        }
        _ => Ok(()),
    }
}

/// The identity of this node, called `name` where nobody knows it yet; with a ticket this may mean joining first.
pub(super) async fn identify(
    dir: &DataDir,
    name: &str,
    ticket: Option<Ticket>,
    role: Role,
    told: &Told<'_>,
) -> Result<Identity, RunError> {
    let known = dir.view().membership()?;
    let key = dir.node_key()?;
    let me = ids::node_of_key(&key.public());
    let Some(ticket) = ticket else {
        let created = known.is_none();
        let membership = known.map_or_else(|| Registry::create(dir, me, name, role), Ok)?;
        return Ok(Identity { key, me, membership, inviter: None, created });
    };
    let roster = known.as_ref().map(|known| roster_of(known, &ticket, dir)).transpose()?;
    if let (Some(membership), Some(roster)) = (&known, &roster) {
        // A member whose time is over, or that was revoked, also behind its back, may be invited again.
        let admitted = roster.admits(&me, unix_seconds()) && !shunned::was(dir.path());
        if let Some(member) = roster.member(&me).filter(|_| admitted) {
            told(Enrolment::Already { me: member });
            return Ok(Identity { key, me, membership: membership.clone(), inviter: None, created: false });
        }
    }
    let redeemed = redeem(&key, &ticket, name, role, &|step| told(Enrolment::Step(step))).await?;
    if roster.is_some_and(|known| known.may_become(&redeemed.roster.roster).is_err()) {
        let why = "its roster of members is older than the one known here".to_owned();
        return Err(RunError::Join(JoinError::BadReply { why }));
    }
    let tickets = known.map_or_else(Vec::new, |known| known.tickets);
    let membership = Membership { tickets, ..Membership::new(ticket.federation, redeemed.roster.signed) };
    // First: a member that is killed now must find the others when it comes back, and its ticket is burnt.
    address_book::remember(dir.path(), ticket.inviter, &ticket.addresses);
    dir.save_membership(&membership).map_err(RunError::NotKept)?;
    let roster = &redeemed.roster.roster;
    let (inviter, members) = (roster.name_of(&ticket.inviter), roster.members.len());
    told(Enrolment::Joined { me: &redeemed.member, inviter, members });
    Ok(Identity { key, me, membership, inviter: Some((ticket.inviter, ticket.addresses)), created: false })
}

/// The roster of this data directory, which must be of the ticket's federation.
fn roster_of(known: &Membership, ticket: &Ticket, dir: &DataDir) -> Result<MemberRoster, RunError> {
    match known.federation == ticket.federation {
        true => Ok(members::open(&known.signed_roster, &known.federation).map_err(MembershipError::from)?.roster),
        false => Err(RunError::AlreadyEnrolled(dir.path().to_owned())),
    }
}
