//! Who may speak with us, asked when a connection is made and again at every stream and message. A member is one while its
//! term runs, by this machine's clock at that moment. Written by the network task alone, read by every connection.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{PoisonError, RwLock};

use libp2p::PeerId;

use crate::core::membership::roster::Term;
use crate::core::types::NodeId;
use crate::net::Protocol;
use crate::net::door::Door;
use crate::net::join::unix_seconds;
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
}

/// The members and their terms.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Members(BTreeMap<NodeId, Term>);

impl Members {
    /// All of them, whether or not their term runs.
    pub(super) fn nodes(&self) -> BTreeSet<NodeId> {
        self.0.keys().copied().collect()
    }

    fn admit(&self, node: &NodeId) -> bool {
        self.0.get(node).is_some_and(|term| term.contains(unix_seconds()))
    }
}

impl From<BTreeMap<NodeId, Term>> for Members {
    fn from(terms: BTreeMap<NodeId, Term>) -> Members {
        Members(terms)
    }
}

impl From<BTreeSet<NodeId>> for Members {
    /// Without an end.
    fn from(nodes: BTreeSet<NodeId>) -> Members {
        Members(nodes.into_iter().map(|node| (node, Term::ALWAYS)).collect())
    }
}

/// The members, whether an invitation is open, and the door before both are asked.
pub(super) struct Admission {
    state: RwLock<State>,
    door: Door,
}

#[derive(Default)]
struct State {
    members: Members,
    invitation_open: bool,
    /// Members that proved who they are when we dialled them. A door that closes behind the encryption looks to who dialled
    /// like a broken line, but for this.
    answered: BTreeSet<NodeId>,
}

impl Admission {
    /// Admits `members` and nobody else.
    pub(super) fn new(members: Members) -> Admission {
        Admission { state: RwLock::new(State { members, ..State::default() }), door: Door::new() }
    }

    pub(super) fn set_members(&self, members: Members) {
        let nodes = members.nodes();
        self.door.retain(&nodes);
        self.write(|state| {
            state.answered.retain(|node| nodes.contains(node));
            state.members = members;
        });
    }

    pub(super) fn set_invitation_open(&self, open: bool) {
        self.write(|state| state.invitation_open = open);
    }

    pub(super) fn standing(&self, peer: &PeerId) -> Standing {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        match ids::node_id(peer) {
            Some(node) if state.members.admit(&node) => Standing::Member,
            Some(_) if state.invitation_open => Standing::Guest,
            _ => Standing::Stranger,
        }
    }

    pub(super) fn is_member(&self, node: &NodeId) -> bool {
        self.state.read().unwrap_or_else(PoisonError::into_inner).members.admit(node)
    }

    /// `peer`, whom we dialled, has proved who it is.
    pub(super) fn answered(&self, peer: &PeerId) {
        let Some(node) = ids::node_id(peer) else { return };
        self.write(|state| {
            if state.members.admit(&node) {
                state.answered.insert(node);
            }
        });
    }

    /// Has `peer`, since it was asked about last?
    pub(super) fn take_answered(&self, peer: &NodeId) -> bool {
        self.state.write().unwrap_or_else(PoisonError::into_inner).answered.remove(peer)
    }

    /// The door, which keeps a way free to wherever members are.
    pub(super) fn door(&self) -> &Door {
        &self.door
    }

    /// All of them.
    pub(super) fn members(&self) -> BTreeSet<NodeId> {
        self.state.read().unwrap_or_else(PoisonError::into_inner).members.nodes()
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
