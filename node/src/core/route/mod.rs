//! Requests: admission, whose turn it is, choice of a replica, in-flight accounting, and failover before the first token.
//!
//! A request names a slot (and perhaps a domain). While replicas are ready, the clients that wait for them take turns
//! ([`turns`]), and each request goes where its answer is expected soonest ([`choose`], by what [`speed`] remembers), or
//! where its conversation was answered before ([`affinity`]). If the replica fails before its first token another one is
//! tried; if no replica is ready the request waits, the slot counts as wanted, and the coordinator places it. What nobody
//! verified (`core::external`) answers only while no verified replica is ready, or after all of those failed this very
//! request. Every request ends exactly once. The same inputs make the same choices: what looks random is drawn from the
//! node's seed and the request's number.

mod affinity;
pub mod auto;
mod choose;
pub mod local;
pub mod naming;
pub mod progress;
#[cfg(test)]
mod properties;
mod request;
mod router;
mod speed;
#[cfg(test)]
mod tests;
mod turns;

use serde::Serialize;

use crate::core::external::Verification;
use crate::core::types::{DomainName, NodeId, SlotName, Time};

pub use router::{Counts, Failed, Router};
pub use speed::Tokens;

/// A request's number on this node.
pub type RequestId = u64;

/// Who asks, as far as turns are concerned: a number that the edge makes from the API key or the remote address.
pub type ClientId = u64;

/// What a request asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ask {
    /// The slot.
    pub slot: SlotName,
    /// One of its adapters.
    pub domain: Option<DomainName>,
    /// It came from another member: serve it here or refuse it, never pass it on.
    pub local_only: bool,
    /// What nobody verified may answer, if it must. A member that meant a verified replica here has others to ask.
    pub unverified: bool,
    /// Whose it is.
    pub client: ClientId,
    /// The same number for all requests of one conversation (`wire::asking`), if it may be one.
    pub conversation: Option<u64>,
    /// Tokens that it may take, prompt and answer, as far as the edge can tell.
    pub tokens: u32,
    /// When waiting for a replica ends.
    pub deadline: Time,
}

impl Ask {
    /// Anything that can answer for `slot`, for the one client there is, and short.
    pub fn new(slot: SlotName, deadline: Time) -> Ask {
        let (domain, conversation) = (None, None);
        Ask { slot, domain, local_only: false, unverified: true, client: 0, conversation, tokens: 0, deadline }
    }

    /// What must be there to answer it.
    pub fn want(&self) -> Want {
        let Ask { slot, domain, local_only, unverified, .. } = self;
        Want { slot: *slot, domain: *domain, local_only: *local_only, unverified: *unverified }
    }
}

/// What must be there to answer a request. Requests that want the same wait in one line.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Want {
    /// The slot.
    pub slot: SlotName,
    /// One of its adapters.
    pub domain: Option<DomainName>,
    /// Here, and nowhere else.
    pub local_only: bool,
    /// What nobody verified may answer, if it must.
    pub unverified: bool,
}

/// Why a request ends without an answer.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Refusal {
    /// model_not_found | not_resident | busy | engine_failed | deadline.
    pub code: &'static str,
    /// One sentence: what, why, what to do.
    pub message: String,
}

/// Where a request may be answered: a node's own replica, or the external engine beside it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Place {
    /// The node.
    pub node: NodeId,
    /// Which of the two.
    pub verification: Verification,
}

/// A replica that could answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Candidate {
    /// Its holder, and what is known of it.
    pub at: Place,
    /// Requests in flight there, as advertised; 0 for this node's own.
    pub advertised: u32,
    /// How many more it takes, beside those in flight.
    pub places: u32,
    /// Answers it computes at once.
    pub parallel: u32,
}

/// What is known about a slot when a request needs it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Knowledge {
    /// These can answer now (not empty).
    Ready(Vec<Candidate>),
    /// Nothing can answer now, but waiting may help.
    Waiting,
    /// Every planned replica could not be loaded, and why; one may heal.
    Failing(String),
    /// Waiting cannot help.
    Hopeless(Refusal),
}

/// What routing wants done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Action {
    /// Send the request to this node (perhaps this very one).
    Dispatch {
        /// Which request.
        request: RequestId,
        /// Whither.
        to: Place,
    },
    /// End the request with an error.
    Reject {
        /// Which request.
        request: RequestId,
        /// Why.
        refusal: Refusal,
    },
}
