//! Looks after one replica while it lives: tells the core what memory it takes, stops it when that is more than it was promised,
//! and says how it ended, and whether the system killed it for want of memory.

use std::sync::Weak;
use std::time::Duration;

use futures::future::BoxFuture;

use crate::core::machine::Input;
use crate::core::residency::{Cause, Death, Seen};
use crate::core::types::{SlotName, human_bytes};
use crate::driver::event_loop::{Event, Events};
use crate::engine::{Engine, Footprint, Kills, Verdict};

/// What changed by less is not worth an input.
const NEWS_BYTES: u64 = 1 << 20;

/// One replica that is looked after.
pub struct Watched {
    /// Of this slot.
    pub slot: SlotName,
    /// What runs it.
    pub engine: Weak<dyn Engine>,
    /// Where its memory is, and how much it may be.
    pub promise: Promise,
    /// How often it is looked at.
    pub period: Duration,
}

/// What a replica was admitted for.
#[derive(Clone, Copy, Debug)]
pub enum Promise {
    /// Host memory: of its own, without mapped files, it may take so much, and what it takes is told.
    Host {
        /// Bytes.
        private_bytes_max: u64,
    },
    /// A GPU's memory, which its process's own does not show. That one is bounded all the same.
    Device,
}

/// The host memory of a process that computes on a GPU: its driver's tables and buffers for what goes to and fro.
const DEVICE_PROCESS_BYTES_MAX: u64 = 4 << 30;

impl Promise {
    fn private_bytes_max(self) -> u64 {
        match self {
            Promise::Host { private_bytes_max } => private_bytes_max,
            Promise::Device => DEVICE_PROCESS_BYTES_MAX,
        }
    }

    fn is_told(self) -> bool {
        matches!(self, Promise::Host { .. })
    }
}

impl Watched {
    /// Looks at it now, and tells the core.
    pub async fn look(&self, events: &Events) -> Option<Seen> {
        if !self.promise.is_told() {
            return None;
        }
        let seen = seen(self.engine.upgrade()?.footprint()?);
        events.send(Event::Core(Input::Seen(self.slot, seen))).await;
        Some(seen)
    }

    /// Follows it until it has ended, or has to be ended because it takes too much: that is the caller's to do.
    pub async fn follow(&self, mut exited: BoxFuture<'static, String>, events: &Events) -> Death {
        let (mut kills, mut last) = (Kills::so_far(), Seen::default());
        loop {
            tokio::select! {
                how = &mut exited => return self.end(how, kills, last),
                () = tokio::time::sleep(self.period) => {}
            }
            let now = self.engine.upgrade().and_then(|engine| engine.footprint());
            // On its way out, it can no longer be looked at.
            let Some(now) = now.map(seen) else { continue };
            if self.promise.is_told() && news(&last, &now) {
                events.send(Event::Core(Input::Seen(self.slot, now))).await;
                last = now;
            }
            if now.private_bytes > self.promise.private_bytes_max() {
                return self.exceeded(&now);
            }
            kills = Kills::so_far();
        }
    }

    fn exceeded(&self, now: &Seen) -> Death {
        let (took, allowed) = (human_bytes(now.private_bytes), human_bytes(self.promise.private_bytes_max()));
        let why = format!(
            "its engine was stopped: beside its weights it took {took} of memory, and {allowed} is the most it may take"
        );
        Death { why, cause: Cause::Exceeded, taken_bytes: now.resident_bytes }
    }

    fn end(&self, how: String, kills: Kills, last: Seen) -> Death {
        let engine = self.engine.upgrade().filter(|engine| engine.was_killed_by_others());
        let verdict = engine.and_then(|engine| engine.pid()).map_or(Verdict::No, |pid| kills.verdict(pid));
        let (cause, because) = match verdict {
            Verdict::Certainly => (Cause::OutOfMemory, ": the system killed it, for memory ran out"),
            Verdict::Probably => (Cause::OutOfMemory, ": memory ran out, and the system probably killed it for that"),
            Verdict::No => (Cause::Broke, ""),
        };
        Death { why: format!("its engine was {how}{because}"), cause, taken_bytes: last.resident_bytes }
    }
}

/// The end of a load that came to nothing. `before`: as counted when it began.
pub fn load_failed(why: String, before: Kills) -> Death {
    if Kills::so_far() > before {
        let why = format!("{why}; memory ran out meanwhile, and the system probably killed it for that");
        return Death { why, cause: Cause::OutOfMemory, taken_bytes: 0 };
    }
    why.into()
}

/// Not the peak that the system counts: while a model is loaded, its file is mapped twice for a moment, and the same pages count
/// twice. What an engine once took for computing it keeps, so that looking now and then sees it.
fn seen(footprint: Footprint) -> Seen {
    let Footprint { resident_bytes, private_bytes, locked_bytes, .. } = footprint;
    Seen { resident_bytes, private_bytes, locked_bytes }
}

/// Has what the ledger counts with changed by enough?
fn news(last: &Seen, now: &Seen) -> bool {
    let far = |a: u64, b: u64| a.abs_diff(b) >= NEWS_BYTES;
    far(last.resident_bytes, now.resident_bytes)
        || far(last.private_bytes, now.private_bytes)
        || far(last.locked_bytes, now.locked_bytes)
}

#[cfg(test)]
mod tests;
