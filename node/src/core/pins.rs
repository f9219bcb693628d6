//! What the owner of this machine wants kept on its disk whatever the plan says: a slot's current artifacts, or one artifact
//! by its digest. Pinned artifacts are fetched when they are missing and never deleted. Pins are this node's own; they do
//! not travel.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use crate::core::catalog::Catalog;
use crate::core::limits;
use crate::core::types::{Digest, DomainName, SlotName};

/// One thing that is kept here.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Pin {
    /// Whatever fills this slot: with a domain only that adapter, without one the model and all its adapters.
    Slot(SlotName, Option<DomainName>),
    /// This artifact.
    Artifact(Digest),
}

/// What was wrong with a pin's text.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("expected SLOT, SLOT:DOMAIN, or an artifact's 64 hexadecimal digits")]
pub struct NotAPin;

impl FromStr for Pin {
    type Err = NotAPin;

    fn from_str(text: &str) -> Result<Pin, NotAPin> {
        if let Ok(artifact) = text.parse() {
            return Ok(Pin::Artifact(artifact));
        }
        let (slot, domain) = text.split_once(':').map_or((text, None), |(slot, domain)| (slot, Some(domain)));
        let slot = SlotName::new(slot).map_err(|_| NotAPin)?;
        Ok(Pin::Slot(slot, domain.map(DomainName::new).transpose().map_err(|_| NotAPin)?))
    }
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Pin::Slot(slot, None) => write!(f, "{slot}"),
            Pin::Slot(slot, Some(domain)) => write!(f, "{slot}:{domain}"),
            Pin::Artifact(artifact) => write!(f, "{artifact}"),
        }
    }
}

impl Pin {
    /// The artifacts this pin means now; none as long as nothing is published there.
    pub fn artifacts(&self, catalog: &Catalog) -> BTreeSet<Digest> {
        match self {
            Pin::Artifact(artifact) => BTreeSet::from([*artifact]),
            Pin::Slot(slot, domain) => {
                let seat = catalog.roster().and_then(|roster| roster.seat(slot, domain.as_ref()));
                let (slot, domain) = seat.map_or((*slot, *domain), |seat| (seat.slot, seat.domain));
                let named = |of: &Option<DomainName>| domain.is_none() || &domain == of;
                let publications = catalog.publications().filter(|p| p.slot == slot && named(&p.domain));
                publications.map(|publication| publication.artifact).collect()
            }
        }
    }
}

/// All pins of this node, at most `PINS_MAX`.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Pins(BTreeSet<Pin>);

impl Pins {
    /// Adds one; false if there are as many as there may be.
    pub fn add(&mut self, pin: Pin) -> bool {
        let room = self.0.len() < limits::PINS_MAX || self.0.contains(&pin);
        if room {
            self.0.insert(pin);
        }
        room
    }

    /// Takes one away; false if it was not there.
    pub fn remove(&mut self, pin: &Pin) -> bool {
        self.0.remove(pin)
    }

    /// In order.
    pub fn iter(&self) -> impl Iterator<Item = &Pin> {
        self.0.iter()
    }

    /// All artifacts that are pinned now.
    pub fn artifacts(&self, catalog: &Catalog) -> BTreeSet<Digest> {
        self.0.iter().flat_map(|pin| pin.artifacts(catalog)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::artifact::Shape;
    use crate::core::catalog::{Entry, Publication, Record};
    use crate::core::types::NodeId;

    fn catalog(publications: &[(&str, Option<&str>, u8)]) -> Catalog {
        let mut catalog = Catalog::default();
        for (slot, domain, artifact) in publications {
            let entry = Entry::Publication(Publication {
                slot: SlotName::new(slot).expect("a name"),
                domain: domain.map(|domain| SlotName::new(domain).expect("a name")),
                artifact: Digest([*artifact; 32]),
                artifact_bytes: 1,
                chunks: 1,
                shape: Shape::default(),
                name: String::new(),
                version: String::new(),
                fingerprint: None,
            });
            catalog.merge(Record { sequence: 1, author: NodeId::default(), entry, signed: vec![*artifact] });
        }
        catalog
    }

    #[test]
    fn a_pin_survives_text_and_refuses_everything_else() {
        for text in ["UCM", "ULM:core", &"0f".repeat(32)] {
            assert_eq!(text.parse::<Pin>().expect(text).to_string(), text);
        }
        for bad in ["", ":", "UCM:", ":core", "a/b", "ULM:core:more", "UCM ", &"0".repeat(63)] {
            assert_eq!(bad.parse::<Pin>(), Err(NotAPin), "{bad:?}");
        }
    }

    #[test]
    fn a_slot_means_all_that_fills_it_now() {
        let catalog = catalog(&[("UCM", None, 1), ("ULM", None, 2), ("ULM", Some("core"), 3)]);
        let mut pins = Pins::default();
        let artifacts = |pins: &Pins| pins.artifacts(&catalog).iter().map(|digest| digest.0[0]).collect::<Vec<_>>();
        let pin = |text: &str| text.parse::<Pin>().expect("a pin");
        pins.add(pin("ULM:core"));
        assert_eq!(artifacts(&pins), [3]);
        pins.add(pin("ULM"));
        pins.add(pin("UAM"));
        assert_eq!(artifacts(&pins), [2, 3]);
        pins.add(Pin::Artifact(Digest([9; 32])));
        assert!(pins.remove(&pin("ULM")) && !pins.remove(&pin("ULM")));
        assert_eq!(artifacts(&pins), [3, 9]);
    }

    #[test]
    fn there_is_a_bound() {
        let mut pins = Pins::default();
        for index in 0..limits::PINS_MAX {
            assert!(pins.add(Pin::Artifact(Digest::of(&index.to_le_bytes()))));
        }
        assert!(!pins.add(Pin::Artifact(Digest::of(b"one more"))));
        let known = pins.iter().next().cloned().expect("some");
        assert!(pins.add(known));
    }
}
