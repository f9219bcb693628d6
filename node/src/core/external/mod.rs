//! External engines: OpenAI-compatible servers that the owner of a machine runs beside its node and puts in for a slot.
//!
//! What such a server computes, and in which precision, nobody has verified. So it never counts as a replica of its slot:
//! placement, residency and the ledger do not know of it; it is said apart from replicas in advertisements, and a request
//! goes to it only while no verified replica is ready (`core::route`). Whoever comes to know better, such as a comparison of
//! fingerprints, says so in [`Verification`], which every place where a request may be answered carries.
//!
//! Pure. `engine/external` speaks to the servers, `driver/externals` looks after them.

mod url;

use std::collections::BTreeMap;
use std::fmt;

use crate::core::limits;
use crate::core::types::SlotName;

pub use url::{EngineUrl, NotAUrl};

/// Is it known that what answers is the slot's own artifact, in the precision that the roster asks for?
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub enum Verification {
    /// The node loaded the artifact itself, from files whose hashes and tensor table it had read.
    Verified,
    /// Somebody says so.
    #[default]
    Unverified,
}

/// The word that stands for the precision of what nobody verified.
pub const UNVERIFIED: &str = "unverified";

/// A secret for a server. It is shown nowhere, not even in logs.
#[derive(Clone, PartialEq, Eq)]
pub struct EngineKey(String);

impl fmt::Debug for EngineKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EngineKey(..)")
    }
}

impl EngineKey {
    /// What may stand in an HTTP header, without spaces. `None`: it cannot be a key.
    pub fn new(text: &str) -> Option<EngineKey> {
        let fine =
            (1..=limits::EXTERNAL_KEY_BYTES_MAX).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
        fine.then(|| EngineKey(text.to_owned()))
    }

    /// For the header, and for the file it is kept in.
    pub fn secret(&self) -> &str {
        &self.0
    }
}

/// May this be the name of a server's model? It stands in requests, lists and logs.
pub fn is_model_name(text: &str) -> bool {
    (1..=limits::EXTERNAL_MODEL_BYTES_MAX).contains(&text.len()) && !text.chars().any(char::is_control)
}

/// One external engine as its owner put it in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Registration {
    /// Where it listens.
    pub url: EngineUrl,
    /// What the server calls the model.
    pub model: String,
    /// Sent as a bearer token.
    pub key: Option<EngineKey>,
    /// The owner lets it answer though nobody verified its precision.
    pub unverified: bool,
}

/// Why an engine cannot be added.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum AddRefusal {
    /// The roster's floor.
    #[error(
        "the roster's floor for {0} is F16, and nobody can say in which precision this server computes; add --unverified to let \
         it answer when no verified replica of {0} is ready (its answers are marked unverified, and it never counts as a replica)"
    )]
    Floor(SlotName),
    /// One for each slot.
    #[error("{slot} has the external engine {url} on this node already; `fednode engine remove {slot}` takes it out")]
    Taken {
        /// The slot.
        slot: SlotName,
        /// What is there.
        url: EngineUrl,
    },
    /// The bound.
    #[error("this node has as many external engines as it may have ({max}); remove one first", max = limits::EXTERNAL_ENGINES_MAX)]
    Full,
}

/// May an engine whose owner said `unverified` answer for a slot of a roster with this floor?
pub fn may_answer(floor_f16: bool, verification: Verification, unverified: bool) -> bool {
    !floor_f16 || unverified || verification == Verification::Verified
}

/// All external engines of one node, by slot; at most `EXTERNAL_ENGINES_MAX`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Registrations(BTreeMap<SlotName, Registration>);

impl Registrations {
    /// Adds one.
    pub fn add(&mut self, slot: SlotName, registration: Registration) -> Result<(), AddRefusal> {
        if let Some(there) = self.0.get(&slot) {
            return Err(AddRefusal::Taken { slot, url: there.url.clone() });
        }
        if self.0.len() >= limits::EXTERNAL_ENGINES_MAX {
            return Err(AddRefusal::Full);
        }
        self.0.insert(slot, registration);
        Ok(())
    }

    /// Takes out what `what` names: the engine of a slot, or all at an address. The slots that lost theirs.
    pub fn remove(&mut self, what: &str) -> Vec<SlotName> {
        let url: Option<EngineUrl> = what.parse().ok();
        let meant = |slot: &SlotName, there: &Registration| slot.as_str() == what || url.as_ref() == Some(&there.url);
        let gone: Vec<SlotName> =
            self.iter().filter(|(slot, there)| meant(slot, there)).map(|(slot, _)| *slot).collect();
        gone.iter().for_each(|slot| drop(self.0.remove(slot)));
        gone
    }

    /// All of them, by slot.
    pub fn iter(&self) -> impl Iterator<Item = (&SlotName, &Registration)> {
        self.0.iter()
    }

    /// The engine of a slot.
    pub fn get(&self, slot: &SlotName) -> Option<&Registration> {
        self.0.get(slot)
    }
}

/// What checks of a server say of it: ready at the first answer, away after several failures in a row.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Health {
    failures: u32,
    ready: bool,
    why: String,
}

impl Default for Health {
    fn default() -> Health {
        Health { failures: 0, ready: false, why: "not asked yet".to_owned() }
    }
}

impl Health {
    /// A check ended; `Err` says why it failed. True: whether it is ready, or why not, has changed.
    pub fn checked(&mut self, result: Result<(), String>) -> bool {
        let before = self.clone();
        match result {
            Ok(()) => *self = Health { failures: 0, ready: true, why: String::new() },
            Err(why) => {
                self.failures = self.failures.saturating_add(1);
                self.ready &= self.failures < limits::EXTERNAL_FAILURES_MAX;
                self.why = why;
            }
        }
        (before.ready, before.why) != (self.ready, self.why.clone())
    }

    /// May it be sent requests?
    pub fn is_ready(&self) -> bool {
        self.ready
    }

    /// Why the last check failed; empty after one that did not.
    pub fn why(&self) -> &str {
        &self.why
    }
}

/// An external engine as its node speaks of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ExternalReplica {
    /// The slot it stands in for.
    pub slot: SlotName,
    /// It answers.
    pub ready: bool,
    /// Requests of this node that it works on.
    pub in_flight: u32,
    /// What is known of its precision.
    pub verification: Verification,
}

/// The same as its own node knows it: what it is told at every change.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ExternalHere {
    /// The slot it stands in for.
    pub slot: SlotName,
    /// It answers.
    pub ready: bool,
    /// Its owner lets it answer unverified.
    pub unverified: bool,
    /// What is known of its precision.
    pub verification: Verification,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot(name: &str) -> SlotName {
        SlotName::new(name).expect("a name")
    }

    fn at(url: &str) -> Registration {
        let url = url.parse().expect("an address");
        Registration { url, model: "m".into(), key: EngineKey::new("sk-secret"), unverified: true }
    }

    #[test]
    fn three_failures_in_a_row_and_it_is_away_until_it_answers() {
        let mut health = Health::default();
        let fail = |health: &mut Health| health.checked(Err("no answer".into()));
        assert!(!health.is_ready() && fail(&mut health));
        assert!(health.checked(Ok(())) && health.is_ready() && health.why().is_empty());
        assert!(!health.checked(Ok(())), "nothing new");
        for _ in 0..limits::EXTERNAL_FAILURES_MAX - 1 {
            fail(&mut health);
            assert!(health.is_ready(), "a hiccup");
        }
        health.checked(Ok(()));
        for _ in 0..limits::EXTERNAL_FAILURES_MAX - 1 {
            fail(&mut health);
        }
        assert!(health.is_ready(), "only failures in a row count");
        assert!(fail(&mut health) && !health.is_ready());
        assert_eq!(health.why(), "no answer");
        assert!(health.checked(Ok(())) && health.is_ready());
    }

    #[test]
    fn the_floor_needs_the_owners_word_or_a_proof() {
        let cases = [
            (false, Verification::Unverified, false, true),
            (true, Verification::Unverified, false, false),
            (true, Verification::Unverified, true, true),
            (true, Verification::Verified, false, true),
        ];
        for (floor, verification, unverified, may) in cases {
            assert_eq!(may_answer(floor, verification, unverified), may, "{floor} {verification:?} {unverified}");
        }
    }

    #[test]
    fn one_engine_for_each_slot_and_not_more_than_there_may_be() {
        let mut all = Registrations::default();
        assert_eq!(all.add(slot("UCM"), at("http://127.0.0.1:8080")), Ok(()));
        let taken = all.add(slot("UCM"), at("http://127.0.0.1:9090"));
        assert!(matches!(&taken, Err(AddRefusal::Taken { url, .. }) if url.to_string() == "http://127.0.0.1:8080"));
        for index in 1..limits::EXTERNAL_ENGINES_MAX {
            assert_eq!(all.add(slot(&format!("S{index}")), at("http://127.0.0.1:9090/")), Ok(()));
        }
        assert_eq!(all.add(slot("X"), at("http://127.0.0.1:1")), Err(AddRefusal::Full));
        assert_eq!(all.remove("http://127.0.0.1:9090/v1").len(), limits::EXTERNAL_ENGINES_MAX - 1);
        assert_eq!((all.remove("nobody"), all.remove("UCM")), (vec![], vec![slot("UCM")]));
        assert_eq!(all.iter().count(), 0);
    }

    #[test]
    fn a_key_is_shown_nowhere() {
        let registration = at("http://127.0.0.1:8080");
        assert!(!format!("{registration:?}").contains("secret"));
        for bad in ["", "two words", "line\nbreak", "ключ", &"k".repeat(limits::EXTERNAL_KEY_BYTES_MAX + 1)] {
            assert_eq!(EngineKey::new(bad), None, "{bad}");
        }
    }
}
