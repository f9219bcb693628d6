//! The coordinator's seat: who publishes plans, under which epoch, and which plans a node accepts.
//!
//! Weights are immutable and placement can be recomputed, so no quorum is needed: two machines, or one, must work. A node
//! that sits renews its lease every 2 s; the others wait until it has been silent for the lease's life (or is known to be
//! gone) and then take over in order of rank. Every seat has an epoch higher than any seen before, durable before its
//! first use; nodes refuse older epochs, and on a tie the lower id wins. See DESIGN 7.

mod around;

use std::sync::Arc;

use crate::core::limits;
use crate::core::membership::advert::Lease;
use crate::core::placement::plan::Plan;
use crate::core::seeded::{Bug, has};
use crate::core::types::{NodeId, Time};

pub use around::Around;

/// What this node is to the seat.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Seat {
    /// Follows whoever holds the lease, if anyone.
    Follower,
    /// Claims the seat as soon as `epoch` is durable.
    Claiming {
        /// The epoch it asks for.
        epoch: u64,
    },
    /// Publishes plans.
    Coordinator {
        /// Its epoch.
        epoch: u64,
        /// When it last renewed its lease.
        renewed: Time,
    },
}

/// A lease of another node, as last heard.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SeenLease {
    /// Who holds it.
    pub coordinator: NodeId,
    /// Under which epoch.
    pub epoch: u64,
    /// When it was last renewed.
    pub heard: Time,
}

/// What a node is to the seat, for people: the states of DESIGN 7.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standing {
    /// Follows whoever holds the lease.
    Follower,
    /// Knows of no holder, or claims the seat itself.
    Waiting,
    /// Publishes plans for others.
    Coordinator,
    /// Publishes plans, and nobody else who could is there.
    Solo,
    /// On its way out: it leaves the seat to others.
    Draining,
}

impl Standing {
    /// The word used in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Standing::Follower => "follower",
            Standing::Waiting => "waiting",
            Standing::Coordinator => "coordinator",
            Standing::Solo => "solo",
            Standing::Draining => "draining",
        }
    }
}

/// What the election wants done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    /// Make this epoch durable, then tell [`Coordinator::persisted`].
    PersistEpoch(u64),
    /// Say this lease to everyone.
    Announce(Lease),
    /// The seat was taken: plan.
    Seated,
    /// The seat was left: stop issuing.
    Unseated,
}

/// Why a plan is not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PlanRefusal {
    /// Of an older epoch, or not newer than the one followed.
    #[error("stale")]
    Stale,
    /// Its sender is not its author.
    #[error("not_coordinator")]
    NotCoordinator,
}

/// One node's part in the election.
#[derive(Clone, Debug)]
pub struct Coordinator {
    me: NodeId,
    seat: Seat,
    lease: Option<SeenLease>,
    epoch_highest: u64,
    vacant_since: Time,
    plan: Option<Arc<Plan>>,
    revision: u64,
}

/// Turns to claim the seat that are counted beyond the one of now.
const TURNS_AHEAD: u64 = 16;

impl Coordinator {
    /// A node that has just started; `epoch_highest` is what it has made durable before.
    pub fn new(me: NodeId, now: Time, epoch_highest: u64) -> Coordinator {
        Coordinator { me, seat: Seat::Follower, lease: None, epoch_highest, vacant_since: now, plan: None, revision: 0 }
    }

    /// The highest epoch seen.
    pub fn epoch_highest(&self) -> u64 {
        self.epoch_highest
    }

    /// The plan this node follows.
    pub fn plan(&self) -> Option<&Arc<Plan>> {
        self.plan.as_ref()
    }

    /// The epoch this node publishes under, if it sits.
    pub fn seated(&self) -> Option<u64> {
        match self.seat {
            Seat::Coordinator { epoch, .. } => Some(epoch),
            Seat::Follower | Seat::Claiming { .. } => None,
        }
    }

    /// Who sits, as far as this node knows, and under which epoch.
    pub fn coordinator(&self) -> Option<(NodeId, u64)> {
        match self.seat {
            Seat::Coordinator { epoch, .. } => Some((self.me, epoch)),
            _ => self.lease.map(|lease| (lease.coordinator, lease.epoch)),
        }
    }

    /// The seat as people see it; `drains`: the node is about to leave, or its owner wants it to hold nothing.
    pub fn standing(&self, around: &impl Around, drains: bool) -> Standing {
        match self.seat {
            _ if drains => Standing::Draining,
            Seat::Coordinator { .. } if !around.company() => Standing::Solo,
            Seat::Coordinator { .. } => Standing::Coordinator,
            Seat::Follower if self.lease.is_some() && around.holder_gone_since().is_none() => Standing::Follower,
            Seat::Follower | Seat::Claiming { .. } => Standing::Waiting,
        }
    }

    /// Time passed, or the surroundings changed.
    pub fn tick(&mut self, now: Time, around: &impl Around) -> Vec<Action> {
        match self.seat {
            // Whoever has seen a higher epoch follows no plan of this one any more. If that epoch's holder lives, its lease
            // is heard before this node claims again; if not, the next claim goes beyond it.
            Seat::Coordinator { epoch, .. } if self.is_superseded(epoch) => self.step_down(now),
            Seat::Coordinator { epoch, renewed } => self.renew(now, epoch, renewed),
            Seat::Claiming { .. } => Vec::new(),
            Seat::Follower => {
                if around.holder_gone_since().is_none() && self.lease_expired(now) {
                    self.vacant_since = self.vacant_since.max(self.lease_end());
                }
                match self.claim_at(now, around) {
                    Some(at) if now >= at => {
                        let epoch = self.epoch_highest + 1;
                        // It is on its way to the disk: a plan of a lower one that comes meanwhile is too late.
                        self.epoch_highest = epoch;
                        self.seat = Seat::Claiming { epoch };
                        if has(Bug::SitsBeforeDurable) {
                            return self.persisted(now, epoch);
                        }
                        vec![Action::PersistEpoch(epoch)]
                    }
                    _ => Vec::new(),
                }
            }
        }
    }

    /// When [`Coordinator::tick`] must be called next, or sooner.
    pub fn next_deadline(&self, now: Time, around: &impl Around) -> Option<Time> {
        match self.seat {
            Seat::Coordinator { epoch, renewed } if self.epoch_highest > epoch => Some(renewed),
            Seat::Coordinator { renewed, .. } => Some(renewed.after(limits::LEASE_PERIOD)),
            Seat::Claiming { .. } => None,
            Seat::Follower => self.claim_at(now, around),
        }
    }

    /// Has this seat's epoch been overtaken, or has another author's plan that outranks it been accepted?
    fn is_superseded(&self, epoch: u64) -> bool {
        let outranked = |plan: &Plan| plan.author != self.me && outranks((plan.epoch, plan.author), (epoch, self.me));
        epoch < self.epoch_highest || self.plan.as_deref().is_some_and(outranked)
    }

    fn renew(&mut self, now: Time, epoch: u64, renewed: Time) -> Vec<Action> {
        if now.since(renewed) >= limits::LEASE_SELF_LIFE {
            // This process slept: others may have taken over meanwhile. Whoever sits now will be heard first.
            return self.step_down(now);
        }
        if now.since(renewed) < limits::LEASE_PERIOD {
            return Vec::new();
        }
        self.seat = Seat::Coordinator { epoch, renewed: now };
        let silent = has(Bug::NeverRenewsLease);
        if silent { Vec::new() } else { vec![Action::Announce(self.lease_of(epoch))] }
    }

    fn lease_of(&self, epoch: u64) -> Lease {
        Lease { coordinator: self.me, epoch, plan_revision: self.revision, resigns: false }
    }

    fn lease_end(&self) -> Time {
        self.lease.map_or(self.vacant_since, |lease| lease.heard.after(limits::LEASE_LIFE))
    }

    fn lease_expired(&self, now: Time) -> bool {
        self.lease.is_some() && now >= self.lease_end()
    }

    /// When this node claims the seat, if nothing changes; before anybody could claim it: when the first could.
    fn claim_at(&self, now: Time, around: &impl Around) -> Option<Time> {
        if !around.eligible() {
            return None;
        }
        if around.alone() {
            return Some(self.vacant_since);
        }
        let first = match (self.lease, around.holder_gone_since()) {
            (Some(lease), Some(gone)) => {
                // Whoever is heard through others lives, and only this node does not reach it.
                let since = if lease.heard > gone { lease.heard.after(limits::LEASE_PERIOD) } else { gone };
                since.after(limits::TAKEOVER_GONE)
            }
            (Some(_), None) => self.lease_end().after(limits::TAKEOVER_SILENT),
            (None, _) => {
                let known = self.vacant_since.after(limits::TAKEOVER_GONE);
                let unknown = self.vacant_since.after(limits::LEASE_LIFE).after(limits::TAKEOVER_SILENT);
                if now < known || around.all_accounted() { known } else { unknown }
            }
        };
        if now < first {
            return Some(first);
        }
        // Whose turn is far off, of a thousand candidates, looks again before it.
        let turns = now.since(first).0 / limits::TAKEOVER_STEP.0;
        Some(first.after(limits::TAKEOVER_STEP.times(around.rank(turns + TURNS_AHEAD))))
    }

    /// Would this lease only renew what is known, as far as this node is concerned?
    pub fn renews(&self, lease: &Lease) -> bool {
        let known = |seen: SeenLease| (seen.coordinator, seen.epoch) == (lease.coordinator, lease.epoch);
        self.seat == Seat::Follower && !lease.resigns && self.lease.is_some_and(known)
    }

    /// `epoch` is durable.
    pub fn persisted(&mut self, now: Time, epoch: u64) -> Vec<Action> {
        self.epoch_highest = self.epoch_highest.max(epoch);
        if self.seat != (Seat::Claiming { epoch }) {
            return Vec::new();
        }
        if epoch < self.epoch_highest {
            self.seat = Seat::Follower;
            return Vec::new();
        }
        self.seat = Seat::Coordinator { epoch, renewed: now };
        self.lease = None;
        self.revision = 0;
        vec![Action::Announce(self.lease_of(epoch)), Action::Seated]
    }

    /// Another node's lease arrived.
    pub fn heard(&mut self, now: Time, lease: &Lease) -> Vec<Action> {
        if lease.coordinator == self.me || !self.plausible(lease.epoch) {
            return Vec::new();
        }
        if lease.resigns {
            return self.resigned(now, lease);
        }
        if let Seat::Coordinator { epoch, .. } = self.seat
            && outranks((epoch, self.me), (lease.epoch, lease.coordinator))
        {
            // It does not know of this seat yet; say so at once.
            return vec![Action::Announce(self.lease_of(epoch))];
        }
        if self.lease.is_some_and(|known| {
            known.coordinator != lease.coordinator
                && now < known.heard.after(limits::LEASE_LIFE)
                && outranks((known.epoch, known.coordinator), (lease.epoch, lease.coordinator))
        }) {
            return Vec::new();
        }
        let actions = if self.seat == Seat::Follower { Vec::new() } else { self.step_down(now) };
        self.epoch_highest = self.epoch_highest.max(lease.epoch);
        self.lease = Some(SeenLease { coordinator: lease.coordinator, epoch: lease.epoch, heard: now });
        actions
    }

    /// `node` is no member any more: if it sat, its seat is vacant.
    pub fn turned_out(&mut self, now: Time, node: NodeId) -> Vec<Action> {
        self.resigned(now, &Lease { coordinator: node, epoch: 0, plan_revision: 0, resigns: true })
    }

    fn resigned(&mut self, now: Time, lease: &Lease) -> Vec<Action> {
        if self.lease.is_some_and(|known| known.coordinator == lease.coordinator) {
            self.lease = None;
            self.vacant_since = now;
        }
        Vec::new()
    }

    /// Leaves the seat without a word (another one took it, or this process slept).
    fn step_down(&mut self, now: Time) -> Vec<Action> {
        let sat = self.seated().is_some();
        self.seat = Seat::Follower;
        self.lease = None;
        self.vacant_since = now;
        if sat { vec![Action::Unseated] } else { Vec::new() }
    }

    /// The process slept or is about to end: leave the seat, saying so if there is anybody to tell.
    pub fn leave(&mut self, now: Time) -> Vec<Action> {
        let resignation = self.seated().map(|epoch| Action::Announce(Lease { resigns: true, ..self.lease_of(epoch) }));
        let mut actions: Vec<Action> = resignation.into_iter().collect();
        actions.extend(self.step_down(now));
        actions
    }

    /// Another member says it has seen this epoch: the next claim goes beyond it.
    pub fn saw_epoch(&mut self, epoch: u64) {
        if self.plausible(epoch) {
            self.epoch_highest = self.epoch_highest.max(epoch);
        }
    }

    /// A liar could exhaust the epochs; a personal federation takes over far fewer than 2^32 times.
    fn plausible(&self, epoch: u64) -> bool {
        epoch < self.epoch_highest.saturating_add(1 << 32) && epoch < u64::MAX - 1
    }

    /// Stamps a plan of this seat's own and follows it. `None` if this node does not sit.
    pub fn publish(&mut self, mut plan: Plan) -> Option<&Plan> {
        let epoch = self.seated()?;
        assert!(!self.is_superseded(epoch), "a superseded seat is left before it publishes");
        self.revision = if has(Bug::SameRevision) { 1 } else { self.revision + 1 };
        plan.author = self.me;
        plan.epoch = epoch;
        plan.revision = self.revision;
        self.plan = Some(Arc::new(plan));
        self.plan.as_deref()
    }

    /// A plan arrived from `from`. On success the caller makes `plan.epoch` durable before anything acts on it.
    pub fn offered(&mut self, from: NodeId, plan: Arc<Plan>) -> Result<(), PlanRefusal> {
        if plan.author != from {
            return Err(PlanRefusal::NotCoordinator);
        }
        let older = plan.epoch < self.epoch_highest
            || !self.plausible(plan.epoch)
            || self.plan.as_ref().is_some_and(|known| !plan.supersedes(known));
        let outranked = self.coordinator().is_some_and(|(holder, epoch)| {
            holder != plan.author && outranks((epoch, holder), (plan.epoch, plan.author))
        });
        if (older || outranked) && !has(Bug::IgnoresEpochs) {
            return Err(PlanRefusal::Stale);
        }
        self.epoch_highest = self.epoch_highest.max(plan.epoch);
        self.plan = Some(plan);
        Ok(())
    }
}

/// Does the first seat take precedence over the second? Higher epoch; on a tie the lower id.
fn outranks(first: (u64, NodeId), second: (u64, NodeId)) -> bool {
    first.0 > second.0 || (first.0 == second.0 && first.1 < second.1)
}

#[cfg(test)]
mod tests;
