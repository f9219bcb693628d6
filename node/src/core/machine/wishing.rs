//! The machine's listening half: what is asked for, how often, and what the owner wishes of single machines.

use std::collections::BTreeSet;
use std::collections::btree_map::Entry;

use crate::core::coordinator::{Around, Standing};
use crate::core::demand::{Observed, Rate};
use crate::core::machine::{Machine, Output};
use crate::core::placement::plan::{Plan, PlanRole};
use crate::core::residency;
use crate::core::roster::SlotPolicy;
use crate::core::route::{Ask, Refusal, Want};
use crate::core::types::{SlotName, Time};

impl Machine {
    /// A request came. One that another member forwarded was counted where it entered the federation.
    pub(super) fn note_demand(&mut self, now: Time, ask: &Ask) {
        let known = self.config.catalog.roster().is_some_and(|roster| roster.slot(&ask.slot).is_some());
        if known && !ask.local_only {
            self.meter.count(now, &ask.slot);
        }
    }

    /// A newer record: slots may have gone, weights may have come, machines may be meant otherwise.
    pub(super) fn catalog_changed(&mut self, now: Time) {
        if let Some(roster) = self.config.catalog.roster() {
            self.meter.retain(|slot| roster.slot(slot).is_some());
        }
        self.want();
        self.plan_dirty(now);
    }

    /// What everybody says is asked for.
    fn observed(&self) -> Observed {
        let mine: Vec<Rate> = self.meter.rates();
        Observed::sum(self.table.alive().flat_map(|advert| &advert.demand).chain(&mine))
    }

    /// Before a plan: takes what is observed into the figures it is made with.
    pub(super) fn follow_demand(&mut self) {
        let observed = self.observed();
        if let Some(roster) = self.config.catalog.roster() {
            self.figures.follow(&roster.served(), &observed);
        }
    }

    /// Gathers which slots somebody waits for, anywhere.
    pub(super) fn note_wants(&mut self, now: Time) {
        let mut asked = std::mem::take(&mut self.asked);
        asked.retain(|slot, until| now < *until && !self.is_resident(slot) && self.may_want(slot).is_ok());
        self.asked = asked;
        let roster = self.config.catalog.roster();
        let mut wanted: Vec<SlotName> = self.waited_for_here().chain(self.table.wanted().copied()).collect();
        wanted.retain(|slot| roster.is_some_and(|roster| roster.slot(slot).is_some()));
        wanted.sort_unstable();
        wanted.dedup();
        if wanted.iter().eq(self.first_wanted.keys()) {
            return;
        }
        let ended = self.first_wanted.extract_if(.., |slot, _| wanted.binary_search(slot).is_err());
        self.last_wanted.extend(ended.map(|(slot, _)| (slot, now)));
        for slot in wanted {
            if let Entry::Vacant(new) = self.first_wanted.entry(slot) {
                new.insert(now);
                self.last_wanted.insert(slot, now);
            }
        }
        self.plan_dirty(now);
    }

    /// Before a plan: who waits, waits still.
    pub(super) fn refresh_wants(&mut self, now: Time) {
        self.last_wanted.extend(self.first_wanted.keys().map(|slot| (*slot, now)));
    }

    /// Slots that somebody waits for, anywhere, as last gathered.
    pub(super) fn wanted(&self) -> BTreeSet<SlotName> {
        self.first_wanted.keys().cloned().collect()
    }

    /// Slots that somebody waits for at this node.
    pub(super) fn wanted_here(&self) -> BTreeSet<SlotName> {
        self.waited_for_here().collect()
    }

    fn waited_for_here(&self) -> impl Iterator<Item = SlotName> + '_ {
        self.router.wanted().chain(self.asked.keys().copied())
    }

    /// Must the replica of `slot` here stay, whatever anybody asks?
    pub(super) fn is_kept(&self, slot: &SlotName) -> bool {
        let catalog = &self.config.catalog;
        let roster_says = catalog.roster().and_then(|roster| roster.policy_of(slot));
        roster_says == Some(SlotPolicy::Pinned) || catalog.is_pinned_on(slot, &self.config.me)
    }

    /// Is the replica of `slot` here to stay: kept whatever anybody asks, or on a machine that swaps nothing?
    pub fn stays_resident(&self, slot: &SlotName) -> bool {
        let me = self.config.me;
        let specialised = |plan: &&Plan| plan.roles.contains(&(me, PlanRole::Specialised));
        self.is_kept(slot) || self.plan().filter(specialised).is_some()
    }

    /// A drained machine gives up its seat as soon as somebody else can take it.
    pub(super) fn make_way(&mut self, now: Time, outbox: &mut Vec<Output>) {
        let drained = || self.config.catalog.is_drained(&self.config.me);
        if self.coordinator.seated().is_some() && drained() && self.lookout().company() {
            let actions = self.coordinator.leave(now);
            self.seat(now, actions, outbox);
        }
    }

    /// What this node is to the coordinator's seat, in the words of DESIGN 7.
    pub fn standing(&self) -> Standing {
        let drains = self.leaving || self.config.catalog.is_drained(&self.config.me);
        self.coordinator.standing(&self.lookout(), drains)
    }

    /// What `slot` is asked for in the whole federation, thousandths of a request per hour.
    pub fn demand_milli_per_hour(&self, slot: &SlotName) -> u64 {
        self.observed().milli_per_hour(slot)
    }

    /// Could wishing for `slot` make it resident, as far as this node knows?
    pub fn may_want(&self, slot: &SlotName) -> Result<(), Refusal> {
        self.published(&Want { slot: *slot, domain: None, local_only: false, unverified: false })?;
        self.hopeless(slot).map_or(Ok(()), Err)
    }

    /// Why every replica that is planned for `slot` could not be loaded, if that is so.
    pub fn why_failing(&self, slot: &SlotName) -> Option<String> {
        self.failing(slot)
    }

    /// Does `slot` answer somewhere, as far as this node knows?
    pub fn is_resident(&self, slot: &SlotName) -> bool {
        self.residency.ready(slot).is_some() || self.table.ready(slot).next().is_some()
    }

    /// Would this node let its replica of `slot` go until it is asked for again?
    pub fn may_put_away(&self, now: Time, slot: &SlotName) -> Result<(), residency::Refusal> {
        self.residency.may_put_away(now, slot, self.is_kept(slot))
    }
}
