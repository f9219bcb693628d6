//! Hold promises (DESIGN 7, 9): before a node deletes its copy of an artifact, another holder promises to keep its own for a
//! while. Two nodes that delete at the same moment must not both rely on the other:
//!
//! - who asks does not promise, unless the other one asks too and has the lower [`NodeId`]: then it gives up its own request;
//! - who was promised something and is deleting promises nothing;
//! - who has promised does not ask before its promise has expired;
//! - a promise is durable before it is said, and is relied on only well before it expires.
//!
//! So of any set of holders one keeps its copy. Time is the wall clock in seconds, which goes on while a machine sleeps.

use std::collections::BTreeMap;

use crate::core::limits;
use crate::core::types::{Digest, NodeId};

/// A promise given to a member.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Promise {
    /// Of which artifact.
    pub artifact: Digest,
    /// To whom.
    pub to: NodeId,
    /// Until when, seconds since the Unix epoch.
    pub until_unix_s: u64,
}

/// Why a member does not promise.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum HoldRefusal {
    /// It has no whole, sound copy.
    #[error("it has no verified copy")]
    NotHeld,
    /// It is about to delete its own.
    #[error("it is about to delete its own copy")]
    Deleting,
    /// It has promised too much already.
    #[error("it has given as many promises as it may")]
    Full,
}

/// Why a node may not even ask.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum AskRefusal {
    /// Its own copy is promised to this member.
    #[error("this copy is promised to another member")]
    Promised(NodeId),
    /// Another collection of this node has asked already.
    #[error("another collection on this node is deleting it already")]
    Asking,
}

/// A request of this node that is under way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Request {
    serial: u64,
    since_unix_s: u64,
    deleting: bool,
}

/// What this node has promised, and what it is asking for.
#[derive(Clone, Debug)]
pub struct Holds {
    me: NodeId,
    promised: BTreeMap<(Digest, NodeId), u64>,
    requests: BTreeMap<Digest, Request>,
    serial: u64,
}

impl Holds {
    /// With the promises that were kept on disk. None is believed to last longer than one given now would: the clock may
    /// have been set back since.
    pub fn new(me: NodeId, kept: impl IntoIterator<Item = Promise>, now_unix_s: u64) -> Holds {
        let latest = now_unix_s.saturating_add(limits::HOLD_LIFE_S);
        let kept = kept.into_iter().take(limits::HOLD_PROMISES_MAX);
        let promised = kept.map(|p| ((p.artifact, p.to), p.until_unix_s.min(latest))).collect();
        let mut holds = Holds { me, promised, requests: BTreeMap::new(), serial: 0 };
        holds.expire(now_unix_s);
        holds
    }

    /// The promises in force, to be kept on disk.
    pub fn promises(&self) -> impl Iterator<Item = Promise> + '_ {
        self.promised.iter().map(|(&(artifact, to), &until_unix_s)| Promise { artifact, to, until_unix_s })
    }

    /// To whom `artifact` is promised now.
    pub fn promised_to(&mut self, artifact: &Digest, now_unix_s: u64) -> Option<NodeId> {
        self.expire(now_unix_s);
        self.promised
            .range((*artifact, NodeId([0; 32]))..=(*artifact, NodeId([255; 32])))
            .next()
            .map(|((_, to), _)| *to)
    }

    /// `from` is about to delete its copy and asks this node to hold its own; `held`: a whole, sound copy is here. The promise
    /// must be durable before it is said; [`Holds::take_back`] if that failed.
    pub fn promise(
        &mut self,
        artifact: Digest,
        from: NodeId,
        held: bool,
        now_unix_s: u64,
    ) -> Result<Promise, HoldRefusal> {
        self.expire(now_unix_s);
        if !held {
            return Err(HoldRefusal::NotHeld);
        }
        if let Some(request) = self.requests.get(&artifact) {
            if request.deleting || from > self.me {
                return Err(HoldRefusal::Deleting);
            }
            self.requests.remove(&artifact); // the lower one goes first
        }
        let known = self.promised.contains_key(&(artifact, from));
        if !known && self.promised.len() >= limits::HOLD_PROMISES_MAX {
            return Err(HoldRefusal::Full);
        }
        let until_unix_s = now_unix_s.saturating_add(limits::HOLD_LIFE_S);
        self.promised.insert((artifact, from), until_unix_s);
        Ok(Promise { artifact, to: from, until_unix_s })
    }

    /// A promise that could not be made durable was not given.
    pub fn take_back(&mut self, promise: &Promise) {
        self.promised.remove(&(promise.artifact, promise.to));
    }

    /// This node wants to delete its copy: it may now ask the other holders. The number names the request.
    pub fn ask(&mut self, artifact: Digest, now_unix_s: u64) -> Result<u64, AskRefusal> {
        if let Some(to) = self.promised_to(&artifact, now_unix_s) {
            return Err(AskRefusal::Promised(to));
        }
        if self.requests.contains_key(&artifact) {
            return Err(AskRefusal::Asking);
        }
        self.serial += 1;
        let request = Request { serial: self.serial, since_unix_s: now_unix_s, deleting: false };
        self.requests.insert(artifact, request);
        Ok(self.serial)
    }

    /// A holder promised. True: delete now, then [`Holds::ended`]. False: the request was given up meanwhile, or the answer
    /// came so late that the promise may be about to expire.
    pub fn granted(&mut self, artifact: &Digest, serial: u64, now_unix_s: u64) -> bool {
        let Some(request) = self.requests.get_mut(artifact).filter(|request| request.serial == serial) else {
            return false;
        };
        let fresh = now_unix_s >= request.since_unix_s
            && now_unix_s - request.since_unix_s <= limits::HOLD_LIFE_S - limits::HOLD_MARGIN_S;
        request.deleting = fresh;
        fresh
    }

    /// The copy is gone, or stays: the request is over.
    pub fn ended(&mut self, artifact: &Digest, serial: u64) {
        if self.requests.get(artifact).is_some_and(|request| request.serial == serial) {
            self.requests.remove(artifact);
        }
    }

    fn expire(&mut self, now_unix_s: u64) {
        self.promised.retain(|_, until| *until > now_unix_s);
    }
}
