//! One request on its way to its end: where it is being answered, whom it leaves alone, and why it waits no longer.

use std::collections::BTreeMap;

use crate::core::limits;
use crate::core::route::{Ask, Knowledge, Place, Refusal};
use crate::core::types::{Duration, Time};

/// A request that has not ended.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) ask: Ask,
    pub(super) since: Time,
    /// `None`: it waits.
    pub(super) sent: Option<Sent>,
    /// When its first token went out.
    pub(super) started: Option<Time>,
    pub(super) attempts: u32,
    /// Places that failed this request, and until when they are left alone: one may be back by then.
    pub(super) rests: BTreeMap<Place, Time>,
    pub(super) last_failure: Option<Refusal>,
}

/// Where a request is being answered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent {
    pub(super) to: Place,
    pub(super) at: Time,
    /// The line's, as it was measured then.
    pub(super) round_trip: Duration,
    /// Nobody was before it.
    pub(super) at_once: bool,
}

impl Request {
    /// Why it waits no longer, if it does not.
    pub(super) fn gives_up(&self, now: Time, known: &Knowledge) -> Option<Refusal> {
        let slot = &self.ask.slot;
        let refuse = |code, message| Some(Refusal { code, message });
        let ready = matches!(known, Knowledge::Ready(_));
        match known {
            Knowledge::Hopeless(refusal) => Some(refusal.clone()),
            _ if self.ask.local_only && ready => {
                refuse("busy", format!("{slot} has no room for one more request here"))
            }
            _ if self.ask.local_only => refuse("not_resident", format!("{slot} is not resident here")),
            Knowledge::Failing(why) if now >= self.since.after(limits::FAILED_PATIENCE) => {
                refuse("not_resident", format!("{slot} cannot be loaded: {why}"))
            }
            _ if now < self.ask.deadline => None,
            _ if self.last_failure.is_some() => self.last_failure.clone(),
            _ if ready => {
                refuse("busy", format!("every replica of {slot} was busy until this request's time was over"))
            }
            _ => {
                let why = "did not become resident in time; see `fednode plan --explain`";
                refuse("not_resident", format!("{slot} {why}"))
            }
        }
    }
}
