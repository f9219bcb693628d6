//! Whom a client means by `model`: a slot, a slot and domain, an artifact by its name or its digest, or `auto`. In this order, so
//! that a roster may call a slot whatever it likes.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::core::catalog::Catalog;
use crate::core::route::auto::{Chosen, Routes, Said};
use crate::core::types::{BadName, DomainName, SlotName};

/// The model that stands for whichever manager the rules choose.
pub const AUTO: &str = "auto";

/// A slot, or one of its domains, as people write it: `SLOT` or `SLOT:domain`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Target {
    /// The slot.
    pub slot: SlotName,
    /// One of its domains.
    pub domain: Option<DomainName>,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.domain {
            Some(domain) => write!(f, "{}:{domain}", self.slot),
            None => self.slot.fmt(f),
        }
    }
}

impl FromStr for Target {
    type Err = BadName;
    fn from_str(text: &str) -> Result<Target, BadName> {
        match text.split_once(':') {
            Some((slot, domain)) => Ok(Target { slot: SlotName::new(slot)?, domain: Some(SlotName::new(domain)?) }),
            None => Ok(Target { slot: SlotName::new(text)?, domain: None }),
        }
    }
}

impl TryFrom<String> for Target {
    type Error = BadName;
    fn try_from(text: String) -> Result<Target, BadName> {
        text.parse()
    }
}

impl From<Target> for String {
    fn from(target: Target) -> String {
        target.to_string()
    }
}

/// Why nobody is meant.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Nobody {
    /// Nothing is called so.
    #[error("no manager is called so here; `fednode managers` and GET /v1/models list those there are")]
    Unknown,
    /// Several artifacts are.
    #[error("{} managers have an artifact of this name; ask for one of them: {}", .0.len(), list(.0))]
    Several(Vec<Target>),
    /// `auto`, and nothing to choose from.
    #[error(
        "nothing is published in this federation that `auto` could choose; `fednode publish PATH --as SLOT` fills a slot"
    )]
    Nothing,
}

fn list(targets: &[Target]) -> String {
    targets.iter().map(Target::to_string).collect::<Vec<_>>().join(", ")
}

/// Everything that something is published in and `may` be used, in the roster's order, slots before their domains.
pub fn published(catalog: &Catalog, may: impl Fn(&SlotName) -> bool) -> Vec<Target> {
    let slots = catalog.roster().into_iter().flat_map(|roster| roster.slots.iter().map(move |slot| (roster, slot)));
    let mut found = Vec::new();
    for (roster, slot) in slots.filter(|(_, slot)| may(&slot.name)) {
        for domain in std::iter::once(None).chain(slot.domains.iter().map(Some)) {
            let seat = roster.seat(&slot.name, domain);
            let is_there = seat.is_some_and(|seat| catalog.publication(&seat.slot, seat.domain.as_ref()).is_some());
            if is_there {
                found.push(Target { slot: slot.name, domain: domain.cloned() });
            }
        }
    }
    found
}

/// Whom `model` names, and by which rule if it is `auto`. A slot of the roster is meant whether something is published in it or
/// not: routing says what it lacks. `may`: slots that the client may use.
pub fn resolve(
    model: &str,
    said: &Said,
    routes: &Routes,
    catalog: &Catalog,
    may: impl Fn(&SlotName) -> bool,
) -> Result<Chosen, Nobody> {
    let named = |slot: Target| Chosen { slot, task: String::new() };
    if let Ok(target) = model.parse::<Target>()
        && catalog.roster().is_some_and(|roster| roster.slot(&target.slot).is_some())
    {
        return Ok(named(target));
    }
    let published = published(catalog, may);
    if model == AUTO {
        return routes.choose(said, &published).ok_or(Nobody::Nothing);
    }
    let mut called: Vec<Target> =
        published.into_iter().filter(|target| is_artifact_of(catalog, target, model)).collect();
    match called.len() {
        0 => Err(Nobody::Unknown),
        1 => Ok(named(called.remove(0))),
        // One artifact in two slots answers alike in both.
        _ if is_digest(model) => Ok(named(called.remove(0))),
        _ => Err(Nobody::Several(called)),
    }
}

fn is_digest(model: &str) -> bool {
    model.parse::<crate::core::types::Digest>().is_ok()
}

fn is_artifact_of(catalog: &Catalog, target: &Target, model: &str) -> bool {
    let seat = catalog.roster().and_then(|roster| roster.seat(&target.slot, target.domain.as_ref()));
    let publication = seat.and_then(|seat| catalog.publication(&seat.slot, seat.domain.as_ref()));
    publication.is_some_and(|known| known.name == model || known.artifact.to_string() == model)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::artifact::Shape;
    use crate::core::catalog::{Entry, Publication, Record};
    use crate::core::roster::SlotRoster;
    use crate::core::types::{Digest, NodeId};

    fn take(catalog: &mut Catalog, entry: Entry) {
        let signed = format!("{:?}", entry.key()).into_bytes();
        assert!(catalog.merge(Record { sequence: 1, author: NodeId([1; 32]), entry, signed }));
    }

    /// Slots A (two domains), B and `auto-pilot`; published: A, A:one and B, each under a name.
    fn catalog(names: [&str; 3]) -> Catalog {
        let mut catalog = Catalog::default();
        let slot = |name: &str, domains: &[&str]| serde_json::json!({"name": name, "domains": domains});
        let slots = [slot("A", &["one", "two"]), slot("B", &[]), slot("auto-pilot", &[])];
        let roster = serde_json::json!({"name": "test", "slot": slots});
        let roster: SlotRoster = serde_json::from_value(roster).expect("a roster");
        take(&mut catalog, Entry::Roster(roster));
        for (at, name) in ["A", "A:one", "B"].into_iter().zip(names) {
            let Target { slot, domain } = at.parse().expect("a target");
            let artifact = Digest::of(at.as_bytes());
            let publication = Publication {
                slot,
                domain,
                artifact,
                artifact_bytes: 1,
                chunks: 1,
                shape: Shape::default(),
                name: name.into(),
                version: "1".into(),
                fingerprint: None,
            };
            take(&mut catalog, Entry::Publication(publication));
        }
        catalog
    }

    fn check(model: &str, names: [&str; 3], expect: Result<(&str, &str), Nobody>) {
        let routes = Routes { default: "B".parse().ok(), rules: Vec::new() };
        let found = resolve(model, &Said::default(), &routes, &catalog(names), |_| true);
        let found = found.map(|chosen| (chosen.slot.to_string(), chosen.task));
        assert_eq!(found, expect.map(|(slot, task)| (slot.to_owned(), task.to_owned())), "{model}");
    }

    #[test]
    fn a_model_is_a_slot_a_domain_an_artifact_or_auto() {
        let names = ["org/base-7B.v2", "base one", "B's"];
        check("A", names, Ok(("A", "")));
        check("A:one", names, Ok(("A:one", "")));
        check("A:two", names, Ok(("A:two", "")));
        check("auto-pilot", names, Ok(("auto-pilot", "")));
        check("auto", names, Ok(("B", "default")));
        check("org/base-7B.v2", names, Ok(("A", "")));
        check("base one", names, Ok(("A:one", "")));
        check(&Digest::of(b"B").to_string(), names, Ok(("B", "")));
        for unknown in ["", "a", "C", "C:one", "A:one:two", "base"] {
            check(unknown, names, Err(Nobody::Unknown));
        }
    }

    #[test]
    fn a_name_that_several_have_is_no_name_and_a_slot_comes_before_an_artifact() {
        let both = ["A".parse().expect("target"), "B".parse().expect("target")].to_vec();
        check("same", ["same", "other", "same"], Err(Nobody::Several(both.clone())));
        assert!(Nobody::Several(both).to_string().contains("A, B"));
        check("A", ["x", "y", "A"], Ok(("A", "")));
    }

    #[test]
    fn whoever_may_use_some_slots_is_given_no_other() {
        let routes = Routes { default: "B".parse().ok(), rules: Vec::new() };
        let catalog = catalog(["x", "y", "z"]);
        let only_a = |model: &str| {
            let may = |slot: &SlotName| slot.as_str() == "A";
            resolve(model, &Said::default(), &routes, &catalog, may).map(|chosen| chosen.slot.to_string())
        };
        assert_eq!(only_a("auto"), Ok("A".to_owned()));
        assert_eq!(only_a("z"), Err(Nobody::Unknown));
        let none = resolve("auto", &Said::default(), &routes, &catalog, |_| false);
        assert_eq!(none, Err(Nobody::Nothing));
    }
}
