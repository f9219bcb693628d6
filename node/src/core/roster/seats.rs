//! Managers that are adapters of another manager's model. A roster slot with a `base` has no replica of its own: its adapter
//! is attached to the replicas of the base's slot, as a domain of that slot, so that a whole roster can be served by one
//! replica and needs the memory of one. A [`Seat`] is where a slot is served; everything behind it knows only seats.

use std::collections::BTreeSet;

use super::{RosterError, RosterSlot, SlotPolicy, SlotRoster};
use crate::core::limits;
use crate::core::types::{DomainName, SlotName};

/// Where a slot, or one of its domains, is published and served.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Seat {
    /// The slot whose replicas serve it.
    pub slot: SlotName,
    /// As this domain of that slot; `None`: as its model.
    pub domain: Option<DomainName>,
}

impl SlotRoster {
    /// Where `slot`, or its domain, is served. `None`: the roster has no such slot or domain. A seat of another slot is no
    /// domain to ask for: who may use a slot is decided by its name.
    pub fn seat(&self, slot: &SlotName, domain: Option<&DomainName>) -> Option<Seat> {
        let known = self.slot(slot)?;
        let own = domain.is_none_or(|domain| known.domains.contains(domain));
        own.then(|| known.seat(domain)).flatten()
    }

    /// The slot whose replicas serve `slot`: itself, for most.
    pub fn host_of<'a>(&'a self, slot: &'a SlotName) -> &'a SlotName {
        self.slot(slot).and_then(|known| known.base.as_ref()).unwrap_or(slot)
    }

    /// The name under which people know a seat.
    pub fn name_of(&self, slot: &SlotName, domain: Option<&DomainName>) -> String {
        let seat = Seat { slot: *slot, domain: domain.cloned() };
        let guest = self.guests(slot).find_map(|guest| {
            let each = std::iter::once(None).chain(guest.domains.iter().map(Some));
            each.into_iter().find(|own| guest.seat(*own).as_ref() == Some(&seat)).map(|own| (&guest.name, own))
        });
        match guest.unwrap_or((slot, domain)) {
            (slot, Some(domain)) => format!("{slot}:{domain}"),
            (slot, None) => slot.to_string(),
        }
    }

    /// Whether replicas of `slot` must always be resident, for itself or for a slot that they serve.
    pub fn policy_of(&self, slot: &SlotName) -> Option<SlotPolicy> {
        let own = self.slot(slot)?.policy;
        let pinned = self.guests(slot).any(|guest| guest.policy == SlotPolicy::Pinned);
        Some(if pinned { SlotPolicy::Pinned } else { own })
    }

    /// The roster as replicas are planned for it: without the slots that others serve, whose demand and whose right to be
    /// always resident pass to their hosts.
    pub fn served(&self) -> SlotRoster {
        let hosts = self.slots.iter().filter(|slot| slot.base.is_none()).map(|host| {
            let guests = self.guests(&host.name).map(|guest| guest.demand_per_hour);
            let demand_per_hour = guests.fold(host.demand_per_hour, u32::saturating_add);
            let policy = self.policy_of(&host.name).unwrap_or(host.policy);
            RosterSlot { demand_per_hour, policy, ..host.clone() }
        });
        SlotRoster { slots: hosts.collect(), ..self.clone() }
    }

    fn guests<'a>(&'a self, host: &'a SlotName) -> impl Iterator<Item = &'a RosterSlot> {
        self.slots.iter().filter(move |slot| slot.base.as_ref() == Some(host))
    }

    pub(super) fn check_bases(&self) -> Result<(), RosterError> {
        for slot in self.slots.iter().filter(|slot| slot.base.is_some()) {
            self.check_guest(slot)?;
        }
        for host in self.slots.iter().filter(|slot| slot.base.is_none()) {
            let mut taken: BTreeSet<DomainName> = host.domains.iter().cloned().collect();
            for guest in self.guests(&host.name) {
                for domain in std::iter::once(None).chain(guest.domains.iter().map(Some)) {
                    let seat = guest.seat(domain).and_then(|seat| seat.domain);
                    if !seat.is_some_and(|seat| taken.insert(seat)) {
                        let domain = domain.map_or_else(String::new, |domain| format!(":{domain}"));
                        return Err(RosterError::Seat { host: host.name, name: format!("{}{domain}", guest.name) });
                    }
                }
            }
            if taken.len() > limits::DOMAINS_PER_SLOT_MAX {
                return Err(RosterError::Domains(host.name));
            }
        }
        Ok(())
    }

    fn check_guest(&self, slot: &RosterSlot) -> Result<(), RosterError> {
        let Some(base) = &slot.base else { return Ok(()) };
        if self.slot(base).is_none_or(|host| host.base.is_some()) {
            return Err(RosterError::Base { slot: slot.name, base: *base });
        }
        let own = [
            ("context", slot.context != super::default_context()),
            ("parallel", slot.parallel != 1),
            ("replicas", slot.replicas != 1),
            ("replicas_max", slot.replicas_max != 0),
        ];
        match own.into_iter().find(|(_, says)| *says) {
            Some((field, _)) => Err(RosterError::Guest { slot: slot.name, base: *base, field }),
            None => Ok(()),
        }
    }
}

impl RosterSlot {
    /// `None` where the two names are too long for one.
    fn seat(&self, domain: Option<&DomainName>) -> Option<Seat> {
        let Some(host) = &self.base else { return Some(Seat { slot: self.name, domain: domain.cloned() }) };
        let own = match domain {
            None => self.name,
            Some(domain) => SlotName::new(&format!("{}-{domain}", self.name)).ok()?,
        };
        Some(Seat { slot: *host, domain: Some(own) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn roster(slots: serde_json::Value) -> SlotRoster {
        serde_json::from_value(json!({"name": "r", "slot": slots})).expect("a roster")
    }

    fn name(text: &str) -> SlotName {
        SlotName::new(text).expect("a name")
    }

    fn shared() -> SlotRoster {
        roster(json!([
            {"name": "UFM", "demand_per_hour": 5, "domains": ["night"]},
            {"name": "UCM", "base": "UFM", "demand_per_hour": 7, "policy": "pinned"},
            {"name": "ULM", "base": "UFM", "domains": ["core"]},
            {"name": "UAM", "demand_per_hour": 1},
        ]))
    }

    #[test]
    fn a_guest_is_served_as_a_domain_of_its_base_and_known_by_its_own_name() {
        let roster = shared();
        roster.check().expect("it is sound");
        let seat = |slot: &str, domain: Option<&str>| {
            let seat = roster.seat(&name(slot), domain.map(name).as_ref())?;
            Some((seat.slot.to_string(), seat.domain.map(|domain| domain.to_string()).unwrap_or_default()))
        };
        let at = |slot: &str, domain: &str| Some((slot.to_owned(), domain.to_owned()));
        assert_eq!(seat("UFM", None), at("UFM", ""));
        assert_eq!(seat("UFM", Some("night")), at("UFM", "night"));
        assert_eq!(seat("UCM", None), at("UFM", "UCM"));
        assert_eq!(seat("ULM", Some("core")), at("UFM", "ULM-core"));
        assert_eq!(seat("UAM", None), at("UAM", ""));
        // Asked for as a domain of its host, a guest would be had without leave to use it.
        for (slot, domain) in [("UFM", "UCM"), ("UFM", "ULM-core"), ("ULM", "night"), ("UAM", "core"), ("UXM", "core")]
        {
            assert_eq!(seat(slot, Some(domain)), None, "{slot}:{domain}");
        }
        assert_eq!(seat("UXM", None), None);
        let named = |slot: &str, domain: Option<&str>| roster.name_of(&name(slot), domain.map(name).as_ref());
        assert_eq!(named("UFM", Some("UCM")), "UCM");
        assert_eq!(named("UFM", Some("ULM-core")), "ULM:core");
        assert_eq!(named("UFM", Some("night")), "UFM:night");
        assert_eq!((named("UFM", None), named("UAM", None)), ("UFM".to_owned(), "UAM".to_owned()));
        assert_eq!((roster.host_of(&name("ULM")), roster.host_of(&name("UAM"))), (&name("UFM"), &name("UAM")));
    }

    #[test]
    fn what_guests_are_due_passes_to_their_host() {
        let served = shared().served();
        let slots: Vec<_> = served.slots.iter().map(|s| (s.name.as_str(), s.demand_per_hour, s.policy)).collect();
        assert_eq!(slots, [("UFM", 13, SlotPolicy::Pinned), ("UAM", 1, SlotPolicy::Swappable)]);
    }

    #[test]
    fn a_base_must_be_there_and_stand_on_nothing_and_seats_are_distinct() {
        let why = |slots| roster(slots).check().expect_err("it is refused").to_string();
        let absent = why(json!([{"name": "A", "base": "B"}]));
        assert!(absent.contains("slot A stands on B"), "{absent}");
        assert!(why(json!([{"name": "A", "base": "A"}])).contains("A stands on A"));
        let chain = json!([{"name": "A"}, {"name": "B", "base": "A"}, {"name": "C", "base": "B"}]);
        assert!(why(chain).contains("C stands on B"));
        for own in ["context", "parallel", "replicas", "replicas_max"] {
            let said = why(json!([{"name": "A"}, {"name": "B", "base": "A", own: 2}]));
            assert!(said.contains(own) && said.contains("A's replicas"), "{said}");
        }
        assert!(why(json!([{"name": "A", "domains": ["B"]}, {"name": "B", "base": "A"}])).contains("cannot serve B"));
        let twice = json!([{"name": "A"}, {"name": "B", "base": "A", "domains": ["c"]}, {"name": "B-c", "base": "A"}]);
        assert!(why(twice).contains("cannot serve B-c"));
        let long = json!([{"name": "A"}, {"name": "B".repeat(20), "base": "A", "domains": ["c".repeat(20)]}]);
        assert!(why(long).contains("cannot serve B"));
        let many: Vec<_> =
            (0..=limits::DOMAINS_PER_SLOT_MAX).map(|n| json!({"name": format!("G{n}"), "base": "A"})).collect();
        let many: Vec<_> = std::iter::once(json!({"name": "A"})).chain(many).collect();
        assert!(why(json!(many)).contains("more than"));
    }
}
