//! Who may speak with us, asked when a connection is made and again at every stream. Written by the network task alone,
//! read by every connection.

use std::collections::BTreeSet;
use std::sync::{PoisonError, RwLock};

use libp2p::PeerId;

use crate::core::types::NodeId;
use crate::net::Protocol;
use crate::wire::ids;

/// What a peer is to us now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Standing {
    /// Admitted by the roster.
    Member,
    /// Unknown, while an invitation is open: it may join and nothing else.
    Guest,
    /// Unknown: it gets no connection.
    Stranger,
}

/// Why a connection was not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(super) enum Denied {
    /// Not in the roster, and no invitation is open.
    #[error("not a member of this federation")]
    Stranger,
    /// Too many strangers knock.
    #[error("too many machines are joining at once")]
    Crowded,
}

/// The members and whether an invitation is open.
#[derive(Default)]
pub(super) struct Admission {
    state: RwLock<State>,
}

#[derive(Default)]
struct State {
    members: BTreeSet<NodeId>,
    invitation_open: bool,
}

impl Admission {
    /// Admits `members` and nobody else.
    pub(super) fn new(members: BTreeSet<NodeId>) -> Admission {
        Admission { state: RwLock::new(State { members, invitation_open: false }) }
    }

    pub(super) fn set_members(&self, members: BTreeSet<NodeId>) {
        self.write(|state| state.members = members);
    }

    pub(super) fn set_invitation_open(&self, open: bool) {
        self.write(|state| state.invitation_open = open);
    }

    pub(super) fn standing(&self, peer: &PeerId) -> Standing {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        match ids::node_id(peer) {
            Some(node) if state.members.contains(&node) => Standing::Member,
            Some(_) if state.invitation_open => Standing::Guest,
            _ => Standing::Stranger,
        }
    }

    pub(super) fn is_member(&self, node: &NodeId) -> bool {
        self.state.read().unwrap_or_else(PoisonError::into_inner).members.contains(node)
    }

    /// All of them.
    pub(super) fn members(&self) -> BTreeSet<NodeId> {
        self.state.read().unwrap_or_else(PoisonError::into_inner).members.clone()
    }

    /// May `peer` open a stream of `protocol` here?
    pub(super) fn serves(&self, peer: &PeerId, protocol: Protocol) -> bool {
        match self.standing(peer) {
            // A member whose reply got lost while it joined must be able to join once more.
            Standing::Member => true,
            Standing::Guest => protocol == Protocol::Join,
            Standing::Stranger => false,
        }
    }

    fn write(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.write().unwrap_or_else(PoisonError::into_inner));
    }
}
