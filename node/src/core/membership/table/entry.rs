//! What is known of one member.

use std::sync::Arc;

use crate::core::limits;
use crate::core::membership::advert::Advert;
use crate::core::types::{Duration, Time};

/// Is a member there?
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Presence {
    /// Heard from, and not known to be gone.
    Alive,
    /// Its connection closed; its last words still count for a while.
    Suspect,
    /// Known to be gone, or silent for too long.
    Down,
}

impl Presence {
    /// The word used in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Presence::Alive => "alive",
            Presence::Suspect => "suspect",
            Presence::Down => "down",
        }
    }
}

/// What is known of one member. Every member has one of every other: 32 bytes, two to a line of a processor's cache.
#[derive(Clone, Debug)]
#[repr(align(32))]
pub struct Entry {
    /// Its newest advertisement, if one came.
    said: Option<Arc<Advert>>,
    /// What it said says nothing any more of what it is.
    void: bool,
    /// When that came.
    pub heard: Time,
    /// Is it there?
    pub presence: Presence,
    /// Since when `presence` holds.
    pub since: Time,
    /// A connection to it is open.
    pub connected: bool,
    /// It went down because its address refused: the process is gone, not merely silent.
    pub refused: bool,
}

impl Entry {
    /// Nothing was heard of it until now.
    pub(super) fn new(now: Time) -> Entry {
        Entry {
            said: None,
            void: false,
            heard: now,
            presence: Presence::Suspect,
            since: now,
            connected: false,
            refused: false,
        }
    }

    /// What it says, as far as that counts still.
    pub fn advert(&self) -> Option<&Advert> {
        self.said.as_deref().filter(|_| !self.void)
    }

    /// What it says, if it is alive and somebody waits there for a slot.
    pub(super) fn wants(&self) -> Option<Arc<Advert>> {
        let alive = self.presence == Presence::Alive && !self.void;
        self.said.as_ref().filter(|advert| alive && !advert.wanted.is_empty()).map(Arc::clone)
    }

    /// Is it alive, with replicas or external engines?
    pub(super) fn answers(&self) -> bool {
        let speaks = |advert: &Advert| !(advert.replicas.is_empty() && advert.externals.is_empty());
        self.presence == Presence::Alive && self.advert().is_some_and(speaks)
    }

    /// The newest advertisement that ever came, also when what it said is void by now.
    pub(super) fn newest(&self) -> Option<(u64, u64)> {
        self.said.as_deref().map(version)
    }

    /// Was this or something newer heard before, and does it still count?
    pub(super) fn has_heard(&self, advert: &Advert) -> bool {
        self.advert().is_some_and(|known| version(known) >= version(advert))
    }

    /// It says this now. Returns what it said before.
    pub(super) fn take(&mut self, advert: Arc<Advert>) -> Option<Arc<Advert>> {
        self.void = false;
        self.said.replace(advert)
    }

    /// It went, and is back: what it said before says nothing of what it is now.
    pub(super) fn forget(&mut self) {
        self.void = true;
    }

    /// Sets its presence; true if it was another.
    pub(super) fn set(&mut self, now: Time, presence: Presence) -> bool {
        let changed = self.presence != presence;
        if changed {
            self.presence = presence;
            self.since = now;
        }
        changed
    }

    /// How long what it says counts without being said again.
    pub(super) fn life(&self) -> Duration {
        self.advert().map_or(limits::ADVERT_LIFE, |advert| Duration::from_millis(u64::from(advert.ttl_ms)))
    }
}

/// Of two advertisements the one with the higher start counts, and of one start the later.
pub(super) fn version(advert: &Advert) -> (u64, u64) {
    (advert.incarnation, advert.sequence)
}

// On machines whose pointers have eight bytes.
#[cfg(target_pointer_width = "64")]
const _: () = assert!(size_of::<Option<Entry>>() == 32);
