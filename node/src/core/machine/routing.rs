//! The machine's routing half: what is known about a slot when a request needs it.

use crate::core::external::{ExternalHere, Verification, may_answer};
use crate::core::machine::{Machine, Output};
use crate::core::membership::advert::ReplicaState;
use crate::core::membership::table::Presence;
use crate::core::placement::plan::PlannedReplica;
use crate::core::route::{Action, Ask, Candidate, Knowledge, Place, Refusal};
use crate::core::types::{Digest, NodeId, SlotName, Time};

impl Machine {
    /// Sends waiting requests on their way.
    pub(super) fn route(&mut self, now: Time, outbox: &mut Vec<Output>) {
        if self.router.open() == 0 {
            return;
        }
        let mut router = std::mem::take(&mut self.router);
        let actions = router.schedule(now, self.config.me, |ask| self.knowledge(now, ask));
        self.router = router;
        for action in actions {
            outbox.push(match action {
                Action::Dispatch { request, to } => {
                    let here = verified(self.config.me);
                    if let Some(slot) = self.router.slot_of(request).filter(|_| to == here) {
                        self.residency.took(slot);
                    }
                    Output::Dispatch(request, to)
                }
                Action::Reject { request, refusal } => Output::Reject(request, refusal),
            });
        }
    }

    fn knowledge(&self, now: Time, ask: &Ask) -> Knowledge {
        let published = self.published(ask);
        let mut candidates = if published.is_ok() { self.candidates(ask) } else { Vec::new() };
        // Whoever has fallen silent may be gone; a question sent there would wait until pings have found out.
        let heard = |one: &Candidate| one.at.node == self.config.me || !self.table.is_quiet(now, &one.at.node);
        if candidates.iter().any(heard) {
            candidates.retain(heard);
        }
        let mut outside = self.external_candidates(ask);
        outside.retain(heard);
        candidates.extend(outside);
        if !candidates.is_empty() {
            return Knowledge::Ready(candidates);
        }
        if let Err(refusal) = published {
            let away = || format!("nothing is published in {0}, and its external engine does not answer", ask.slot);
            return if self.has_external(&ask.slot) {
                Knowledge::Failing(away())
            } else {
                Knowledge::Hopeless(refusal)
            };
        }
        match self.hopeless(&ask.slot) {
            Some(refusal) => Knowledge::Hopeless(refusal),
            None => self.failing(&ask.slot).map_or(Knowledge::Waiting, Knowledge::Failing),
        }
    }

    /// Is there anything to answer with, anywhere?
    pub(super) fn published(&self, ask: &Ask) -> Result<(), Refusal> {
        let catalog = &self.config.catalog;
        let slot = &ask.slot;
        let Some(roster) = catalog.roster().filter(|roster| roster.slot(slot).is_some()) else {
            let message = format!("there is no slot {slot} in this federation's roster; `fednode managers` lists them");
            return Err(Refusal { code: "model_not_found", message });
        };
        if catalog.publication(slot, None).is_none() {
            let message = format!("nothing is published in {slot} yet; `fednode publish PATH --as {slot}` fills it");
            return Err(Refusal { code: "model_not_found", message });
        }
        if let Some(domain) = &ask.domain
            && catalog.publication(slot, Some(domain)).is_none()
        {
            let name = roster.name_of(slot, Some(domain));
            let message = match name.split_once(':') {
                Some((slot, domain)) => {
                    format!("{slot} has no published domain {domain}; `fednode managers` lists them")
                }
                None => format!("nothing is published in {name} yet; `fednode publish PATH --as {name}` fills it"),
            };
            return Err(Refusal { code: "model_not_found", message });
        }
        Ok(())
    }

    fn candidates(&self, ask: &Ask) -> Vec<Candidate> {
        let mut candidates = Vec::new();
        let mine = self.residency.ready(&ask.slot);
        let attached = |replica: &&PlannedReplica| {
            ask.domain.as_ref().is_none_or(|domain| replica.adapters.iter().any(|a| &a.domain == domain))
        };
        if mine.filter(attached).is_some() && !self.is_distrusted(&self.config.me, &ask.slot) {
            let places = self.residency.places(&ask.slot);
            candidates.push(Candidate { at: verified(self.config.me), advertised: 0, places });
        }
        if ask.local_only {
            return candidates;
        }
        for (node, replica) in self.table.ready(&ask.slot) {
            let attached = ask.domain.as_ref().is_none_or(|domain| replica.domains.contains(domain));
            let reachable = self.table.get(&node).is_some_and(|entry| entry.connected);
            if attached && reachable && !self.is_distrusted(&node, &ask.slot) {
                candidates.push(Candidate { at: verified(node), advertised: replica.in_flight, places: u32::MAX });
            }
        }
        candidates
    }

    /// External engines that answer for the slot, here and beside members. They have no adapters.
    fn external_candidates(&self, ask: &Ask) -> Vec<Candidate> {
        let known = self.config.catalog.roster().is_some_and(|roster| roster.slot(&ask.slot).is_some());
        if !known || ask.domain.is_some() {
            return Vec::new();
        }
        let candidate = |node, verification, advertised| {
            let at = Place { node, verification };
            Candidate { at, advertised, places: u32::MAX }
        };
        let mine = self.externals.iter().filter(|here| here.slot == ask.slot && self.external_answers(here));
        let mut candidates: Vec<_> = mine.map(|here| candidate(self.config.me, here.verification, 0)).collect();
        let reachable = |node: &NodeId| self.table.get(node).is_some_and(|entry| entry.connected);
        for advert in self.table.alive().filter(|advert| !ask.local_only && reachable(&advert.node)) {
            let theirs = advert.externals.iter().filter(|there| there.slot == ask.slot && there.ready);
            candidates.extend(theirs.map(|there| candidate(advert.node, there.verification, there.in_flight)));
        }
        candidates.retain(|candidate| ask.unverified || candidate.at.verification == Verification::Verified);
        candidates
    }

    /// Has somebody put an external engine in for this slot, whether it answers or not?
    fn has_external(&self, slot: &SlotName) -> bool {
        let mine = self.externals.iter().map(|here| &here.slot);
        let theirs = self.table.alive().flat_map(|advert| &advert.externals).map(|there| &there.slot);
        mine.chain(theirs).any(|known| known == slot)
    }

    /// Does this external engine of ours answer, and may it under the roster of now?
    pub(super) fn external_answers(&self, here: &ExternalHere) -> bool {
        let floor_f16 = self.config.catalog.roster().is_none_or(|roster| roster.requires_f16());
        here.ready && may_answer(floor_f16, here.verification, here.unverified)
    }

    /// Why waiting for `slot` cannot help, if that is known.
    pub(super) fn hopeless(&self, slot: &SlotName) -> Option<Refusal> {
        let artifact = self.config.catalog.publication(slot, None)?.artifact;
        if !self.weights_may_return(&artifact) {
            let message = format!(
                "{slot} is resident nowhere, and no reachable member has its weights (artifact {}); start one of the machines \
                 that stored it, or publish it again",
                artifact.short()
            );
            return Some(Refusal { code: "not_resident", message });
        }
        let plan = self.plan()?;
        let author_there = plan.author == self.config.me
            || self.table.get(&plan.author).is_some_and(|entry| entry.presence == Presence::Alive);
        // It may fall short of where it is pinned, and be planned elsewhere.
        let planned = plan.replicas.iter().any(|replica| &replica.slot == slot);
        let believed = author_there && !planned;
        let shortfall = plan.shortfalls.iter().find(|shortfall| &shortfall.slot == slot).filter(|_| believed)?;
        Some(Refusal { code: "no_room", message: format!("{slot} fits nowhere now: {}", shortfall.why) })
    }

    /// Why every replica that is planned for `slot` could not be loaded, or is not trusted, if that is so.
    pub(super) fn failing(&self, slot: &SlotName) -> Option<String> {
        let mine = self.own_replicas();
        let planned: Vec<_> = self.plan()?.replicas.iter().filter(|replica| &replica.slot == slot).collect();
        let why = |planned: &&PlannedReplica| {
            let theirs = self.table.get(&planned.node).and_then(|entry| entry.advert.as_ref());
            let said = if planned.node == self.config.me { Some(&mine) } else { theirs.map(|advert| &advert.replicas) };
            let held = said?.iter().find(|held| &held.slot == slot)?;
            let distrust = self.plan()?.distrust(&planned.node, slot).map(|distrust| distrust.why.clone());
            distrust.or_else(|| (held.state == ReplicaState::Failed).then(|| held.reason.clone()))
        };
        let reasons: Vec<String> = planned.iter().filter_map(why).collect();
        if reasons.is_empty() || reasons.len() < planned.len() { None } else { reasons.into_iter().next() }
    }

    /// Does this node or a member that is not known to be gone have some of the artifact?
    fn weights_may_return(&self, artifact: &Digest) -> bool {
        if self.on_disk.contains(artifact) || self.partial.contains_key(artifact) {
            return true;
        }
        let there = self.table.iter().filter(|(_, entry)| entry.presence != Presence::Down);
        let mut adverts = there.map(|(_, entry)| entry.advert.as_ref());
        // A member that has not spoken yet may have it.
        adverts.any(|advert| advert.is_none_or(|a| a.holdings.iter().any(|held| &held.artifact == artifact)))
    }
}

fn verified(node: NodeId) -> Place {
    Place { node, verification: Verification::Verified }
}
