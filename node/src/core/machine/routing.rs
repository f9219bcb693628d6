//! The machine's routing half: what is known about a slot when a request needs it.

use crate::core::external::{ExternalHere, Verification, may_answer};
use crate::core::limits;
use crate::core::machine::{Machine, Output};
use crate::core::membership::advert::{Advert, ReplicaState};
use crate::core::membership::table::Presence;
use crate::core::placement::plan::PlannedReplica;
use crate::core::route::{Action, Candidate, Failed, Knowledge, Place, Refusal, RequestId, Want};
use crate::core::seeded::{Bug, has};
use crate::core::types::{Digest, NodeId, SlotName, Time};

impl Machine {
    /// Sends waiting requests on their way.
    pub(super) fn route(&mut self, now: Time, outbox: &mut Vec<Output>) {
        let due = self.routes_due.is_some_and(|at| at <= now);
        if self.router.open() == 0 || !(due || std::mem::take(&mut self.routes_changed)) {
            return;
        }
        let mut router = std::mem::take(&mut self.router);
        let actions = router.schedule(now, self.config.me, |want| self.knowledge(now, want));
        self.routes_due = router.next_deadline(now);
        self.router = router;
        for action in actions {
            let output = match action {
                Action::Dispatch { request, to } => {
                    let here = verified(self.config.me);
                    if let Some(slot) = self.router.slot_of(request).filter(|_| to == here) {
                        self.residency.took(slot);
                    }
                    Output::Dispatch(request, to)
                }
                Action::Reject { request, refusal } => Output::Reject(request, refusal),
            };
            let twice = has(Bug::DispatchesTwice) && matches!(output, Output::Dispatch(..));
            outbox.extend(twice.then(|| output.clone()));
            outbox.push(output);
        }
    }

    /// What follows from a failed attempt.
    pub(super) fn after_failure(&mut self, request: RequestId, failed: Failed, outbox: &mut Vec<Output>) {
        match failed {
            Failed::Final => {
                outbox.push(Output::Final(request));
                outbox.extend(Some(Output::Final(request)).filter(|_| has(Bug::EndsTwice)));
            }
            Failed::Retry if has(Bug::ForgetsRequest) => self.router.ended(request, false),
            Failed::Retry | Failed::Ended => {}
        }
    }

    fn knowledge(&self, now: Time, want: &Want) -> Knowledge {
        let published = self.published(want);
        let mut candidates = if published.is_ok() { self.candidates(want) } else { Vec::new() };
        // Whoever has fallen silent may be gone; a question sent there would wait until pings have found out.
        let heard = |one: &Candidate| one.at.node == self.config.me || !self.table.is_quiet(now, &one.at.node);
        if candidates.iter().any(heard) {
            candidates.retain(heard);
        }
        let mut outside = self.external_candidates(want);
        outside.retain(heard);
        candidates.extend(outside);
        if !candidates.is_empty() {
            return Knowledge::Ready(candidates);
        }
        if let Err(refusal) = published {
            let away = || format!("nothing is published in {0}, and its external engine does not answer", want.slot);
            return if self.has_external(&want.slot) {
                Knowledge::Failing(away())
            } else {
                Knowledge::Hopeless(refusal)
            };
        }
        match self.hopeless(&want.slot) {
            Some(refusal) => Knowledge::Hopeless(refusal),
            None => self.failing(&want.slot).map_or(Knowledge::Waiting, Knowledge::Failing),
        }
    }

    /// Is there anything to answer with, anywhere?
    pub(super) fn published(&self, want: &Want) -> Result<(), Refusal> {
        let catalog = &self.config.catalog;
        let slot = &want.slot;
        let Some(roster) = catalog.roster().filter(|roster| roster.slot(slot).is_some()) else {
            let message = format!("there is no slot {slot} in this federation's roster; `fednode managers` lists them");
            return Err(Refusal { code: "model_not_found", message });
        };
        if catalog.publication(slot, None).is_none() {
            let message = format!("nothing is published in {slot} yet; `fednode publish PATH --as {slot}` fills it");
            return Err(Refusal { code: "model_not_found", message });
        }
        if let Some(domain) = &want.domain
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

    fn candidates(&self, want: &Want) -> Vec<Candidate> {
        let mut candidates = Vec::new();
        let mine = self.residency.ready(&want.slot);
        let attached = |replica: &&PlannedReplica| {
            want.domain.as_ref().is_none_or(|domain| replica.adapters.iter().any(|a| &a.domain == domain))
        };
        if let Some(here) = mine.filter(attached).filter(|_| !self.is_distrusted(&self.config.me, &want.slot)) {
            let places = self.residency.places(&want.slot);
            candidates.push(Candidate { at: verified(self.config.me), advertised: 0, places, parallel: here.parallel });
        }
        if want.local_only {
            return candidates;
        }
        let parallel = self.parallel(&want.slot);
        for (node, replica) in self.table.ready(&want.slot) {
            let attached = want.domain.as_ref().is_none_or(|domain| replica.domains.contains(domain));
            let reachable = self.table.get(&node).is_some_and(|entry| entry.connected);
            if attached && reachable && !self.is_distrusted(&node, &want.slot) {
                let advertised = replica.in_flight;
                candidates.push(Candidate { at: verified(node), advertised, places: u32::MAX, parallel });
            }
        }
        candidates
    }

    /// Answers that a member's replica of `slot` computes at once.
    fn parallel(&self, slot: &SlotName) -> u32 {
        let slot = self.config.catalog.roster().and_then(|roster| roster.slot(slot));
        slot.map_or(1, |slot| slot.parallel)
    }

    /// Can this node reach any machine that holds `slot`, in memory or on its disk, or an engine that stands in for it?
    pub fn has_holder(&self, slot: &SlotName) -> bool {
        let catalog = &self.config.catalog;
        let slot = catalog.roster().map_or(slot, |roster| roster.host_of(slot));
        let artifact = catalog.publication(slot, None).map(|base| base.artifact);
        let connected = |node: &NodeId| self.table.get(node).is_some_and(|entry| entry.connected);
        let holds = |advert: &Advert| {
            let resident = advert.replicas.iter().any(|replica| &replica.slot == slot);
            let stored = artifact.is_some_and(|artifact| advert.stores(&artifact));
            let stands_in = advert.externals.iter().any(|there| &there.slot == slot && there.ready);
            resident || stored || stands_in
        };
        let here = artifact.is_some_and(|artifact| self.on_disk.contains(&artifact))
            || self.externals.iter().any(|here| &here.slot == slot && self.external_answers(here));
        here || self.table.alive().any(|advert| connected(&advert.node) && holds(advert))
    }

    /// External engines that answer for the slot, here and beside members. They have no adapters.
    fn external_candidates(&self, want: &Want) -> Vec<Candidate> {
        let known = self.config.catalog.roster().is_some_and(|roster| roster.slot(&want.slot).is_some());
        if !known || want.domain.is_some() {
            return Vec::new();
        }
        let candidate = |node, verification, advertised| {
            let at = Place { node, verification };
            Candidate { at, advertised, places: u32::MAX, parallel: limits::EXTERNAL_PARALLEL }
        };
        let mine = self.externals.iter().filter(|here| here.slot == want.slot && self.external_answers(here));
        let mut candidates: Vec<_> = mine.map(|here| candidate(self.config.me, here.verification, 0)).collect();
        let reachable = |node: &NodeId| self.table.get(node).is_some_and(|entry| entry.connected);
        let outside = |advert: &&Advert| !advert.externals.is_empty() && reachable(&advert.node);
        for advert in self.table.answering().filter(|_| !want.local_only).filter(outside) {
            let theirs = advert.externals.iter().filter(|there| there.slot == want.slot && there.ready);
            candidates.extend(theirs.map(|there| candidate(advert.node, there.verification, there.in_flight)));
        }
        candidates.retain(|candidate| want.unverified || candidate.at.verification == Verification::Verified);
        candidates
    }

    /// Has somebody put an external engine in for this slot, whether it answers or not?
    fn has_external(&self, slot: &SlotName) -> bool {
        let mine = self.externals.iter().map(|here| &here.slot);
        let theirs = self.table.answering().flat_map(|advert| &advert.externals).map(|there| &there.slot);
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
            let theirs = self.table.get(&planned.node).and_then(|entry| entry.advert());
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
        let mut adverts = there.map(|(_, entry)| entry.advert());
        // A member that has not spoken yet may have it.
        adverts.any(|advert| advert.is_none_or(|a| a.holdings.iter().any(|held| &held.artifact == artifact)))
    }
}

fn verified(node: NodeId) -> Place {
    Place { node, verification: Verification::Verified }
}
