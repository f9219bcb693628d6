//! The machine's planning half: from the table and the catalog to a problem, a plan, and its delivery.

use std::sync::Arc;

use crate::core::catalog::Publication;
use crate::core::limits;
use crate::core::machine::previous::{self, already_there};
use crate::core::machine::steady::Steady;
use crate::core::machine::{Machine, Output};
use crate::core::membership::advert::{Advert, MemoryDomain};
use crate::core::membership::roster::Role;
use crate::core::membership::table::Presence;
use crate::core::placement::plan::{Plan, PlanRole, PlannedAdapter};
use crate::core::placement::problem::{ArtifactInput, DomainInput, NodeInput, Problem, RoleWanted, SlotInput};
use crate::core::placement::{self};
use crate::core::roster::{RosterSlot, SlotRoster};
use crate::core::seeded::{Bug, has};
use crate::core::sizing;
use crate::core::types::{Duration, NodeId, Time};

/// A plan on its way to a member, or taken by it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent {
    /// Epoch and revision.
    plan: (u64, u64),
    /// When it was sent, or taken.
    at: Time,
    taken: bool,
}

impl Machine {
    /// Something changed that a plan depends on.
    pub(super) fn plan_dirty(&mut self, now: Time) {
        self.plan_dirty_since.get_or_insert(now);
    }

    /// Changes are gathered this long before they are planned for.
    pub(super) fn plan_settle(&self) -> Duration {
        limits::SETTLE.max(limits::PLAN_SHARE.times(self.config.members.members.len() as u64))
    }

    /// Publishes a new plan if this node sits, something changed, and the change has settled.
    pub(super) fn plan_if_due(&mut self, now: Time, outbox: &mut Vec<Output>) {
        if self.coordinator.seated().is_none() {
            self.solved = None;
            self.delivered = None;
            self.delivery_due = None;
            self.steady = Steady::default();
            return;
        }
        if self.steady.due.is_some_and(|due| due <= now) {
            self.steady.due = None;
            self.plan_dirty(now);
        }
        if let Some(since) = self.plan_dirty_since
            && now >= since.after(self.plan_settle())
        {
            self.plan_dirty_since = None;
            self.follow_demand();
            self.refresh_wants(now);
            self.look_who_is_steady(now);
            let problem = self.problem();
            if let Some(mut plan) = self.solve(problem) {
                if let Some((problem, plan)) = &self.solved {
                    self.steady.note(now, problem, plan);
                }
                plan.distrusted = self.distrusted();
                plan.shortfalls.retain(|_| !has(Bug::SilentShortfall));
                let seat = self.coordinator.seated();
                if self.coordinator.plan().is_none_or(|known| differs(known, &plan, seat, self.config.me)) {
                    self.coordinator.publish(plan);
                }
            }
        }
        self.deliver(now, outbox);
    }

    /// The plan that answers `problem`, unless it violates a rule. Much that is heard changes nothing placement looks at: the
    /// last problem is answered as it was.
    fn solve(&mut self, problem: Problem) -> Option<Plan> {
        if let Some((_, plan)) = self.solved.as_ref().filter(|(known, _)| *known == problem) {
            return Some(plan.clone());
        }
        let plan = placement::solve(&problem);
        let checked = placement::check(&problem, &plan);
        debug_assert!(checked.is_ok(), "the solver made a plan that violates its own rules: {checked:?}");
        checked.ok()?;
        Some(self.solved.insert((problem, plan)).1.clone())
    }

    /// Brings the current plan to every member that has not said it follows it. Looks for such members at once when there is a
    /// new plan, and again from time to time: the more there are, the less often.
    fn deliver(&mut self, now: Time, outbox: &mut Vec<Output>) {
        let Some(plan) = self.coordinator.plan().filter(|plan| plan.author == self.config.me) else {
            self.delivery_due = None;
            return;
        };
        let version = (plan.epoch, plan.revision);
        if let Some((_, next)) = self.delivered.filter(|(known, next)| *known == version && now < *next) {
            self.delivery_due = Some(next);
            return;
        }
        let pause = limits::PLAN_SHARE.times(self.config.members.members.len() as u64);
        self.delivered = Some((version, now.after(pause)));
        self.delivery_due = None;
        // Who took it says so with its next words; who does not must have lost it.
        let trust = self.advert_period().times(2);
        // Two sat under this epoch, apart from each other; the one whose plans go first is gone, and this member keeps to them.
        let rivals = |advert: &Advert| {
            advert.plan_epoch == plan.epoch && advert.plan_author.is_some_and(|author| author < plan.author)
        };
        let mut outranked = false;
        for (node, entry) in self.table.iter().filter(|(_, entry)| entry.connected) {
            outranked |= entry.advert().is_some_and(rivals);
            let follows = || entry.advert().is_some_and(|advert| advert.follows(plan));
            let rest = |sent: &Sent| if sent.taken { trust } else { limits::SETTLE.times(8) };
            let lately = |sent: &Sent| sent.plan == version && now < sent.at.after(rest(sent));
            let sent = self.plan_sent.get(node);
            if sent.is_some_and(lately) || follows() || (sent.is_some() && has(Bug::DeliversOnce)) {
                continue;
            }
            self.plan_sent.insert(*node, Sent { plan: version, at: now, taken: false });
            outbox.push(Output::DeliverPlan(*node, Arc::clone(plan)));
        }
        if outranked {
            self.coordinator.saw_epoch(version.0 + 1); // only a higher epoch is above both
        }
    }

    pub(super) fn plan_answered(&mut self, now: Time, from: NodeId, plan: (u64, u64), taken: bool) {
        if let Some(sent) = self.plan_sent.get_mut(&from).filter(|sent| sent.plan == plan && taken) {
            *sent = Sent { plan, at: now, taken };
        }
    }

    /// The question as this node sees it now.
    pub fn problem(&self) -> Problem {
        let mine = self.own_advert();
        // A suspect's last words still count: a blip of its connection moves nothing.
        let there = self.table.iter().filter(|(_, entry)| entry.presence != Presence::Down);
        let alive: Vec<&Advert> = there.filter_map(|(_, entry)| entry.advert()).chain([&mine]).collect();
        let mut nodes: Vec<NodeInput> = alive.iter().map(|advert| self.node_input(advert)).collect();
        let slots = self.slot_inputs();
        let previous = match self.coordinator.plan() {
            Some(plan) => {
                let (previous, leaving) = previous::of(&plan.replicas, &alive, &nodes, &slots);
                leaving.iter().for_each(|replica| previous::keep_room(&mut nodes, replica, &previous, &slots));
                previous
            }
            None => alive.iter().flat_map(|advert| already_there(advert)).collect(),
        };
        let known = self.coordinator.plan().iter().flat_map(|plan| &plan.roles).map(|(node, _)| *node).collect();
        Problem { strategy: self.config.strategy, nodes, slots, previous, known }.sorted()
    }

    fn slot_inputs(&self) -> Vec<SlotInput> {
        let Some(roster) = self.config.catalog.roster().map(SlotRoster::served) else { return Vec::new() };
        let published = roster.slots.iter().filter_map(|slot| {
            let base = self.config.catalog.publication(&slot.name, None)?;
            let fits_floor = !roster.requires_f16() || base.shape.precision.meets_f16_floor();
            fits_floor.then(|| self.slot_input(slot, base))
        });
        published.collect()
    }

    /// The estimate, or what a holder of this very artifact measured if that is more.
    fn learned(&self, slot: &RosterSlot, base: &Publication, estimate: sizing::Footprint) -> sizing::Footprint {
        let mine = self.own_replicas();
        let said = self.table.answering().flat_map(|advert| &advert.replicas).chain(&mine);
        let measured =
            said.filter(|held| held.slot == slot.name && held.artifact == base.artifact).map(|h| h.bytes).max();
        let adapters = self.config.catalog.adapters(&slot.name).count();
        let context = slot.context.min(base.shape.context_max.max(1));
        let before = self.residency.measured((base.artifact, context, slot.parallel, adapters));
        let more = measured.unwrap_or(0).max(before).saturating_sub(estimate.total_bytes());
        // Twice the estimate is more than any honest measurement.
        let more = more.min(estimate.total_bytes());
        sizing::Footprint { overhead_bytes: estimate.overhead_bytes.saturating_add(more), ..estimate }
    }

    fn slot_input(&self, slot: &RosterSlot, base: &Publication) -> SlotInput {
        let attached: Vec<&Publication> = self.config.catalog.adapters(&slot.name).collect();
        let adapters = attached.iter().filter_map(|publication| {
            let domain = publication.domain?;
            Some((PlannedAdapter { domain, artifact: publication.artifact }, publication.artifact_bytes))
        });
        let adapters: Vec<_> = adapters.collect();
        let adapter_bytes = attached.iter().map(|p| p.shape.weights_bytes).fold(0, u64::saturating_add);
        let context = slot.context.min(base.shape.context_max.max(1));
        let demand_per_hour = self.figures.of(&slot.name).unwrap_or(slot.demand_per_hour);
        let wanted = self.first_wanted.get(&slot.name);
        let rank = wanted.map(|since| {
            self.first_wanted.iter().filter(|(name, at)| (*at, *name) < (since, &slot.name)).count() as u32
        });
        SlotInput {
            name: slot.name,
            base: ArtifactInput { artifact: base.artifact, bytes: base.artifact_bytes },
            adapters,
            footprint: self.learned(slot, base, sizing::footprint(&base.shape, context, slot.parallel, adapter_bytes)),
            context,
            parallel: slot.parallel,
            replicas: slot.replicas_at(demand_per_hour),
            policy: slot.policy,
            demand_per_hour,
            pinned_on: self.config.catalog.pinned_on(&slot.name).collect(),
            wanted_rank: rank,
            last_wanted: self.last_wanted.get(&slot.name).map_or(0, |at| at.0),
        }
    }

    pub(super) fn node_input(&self, advert: &Advert) -> NodeInput {
        let domain = |domain: &MemoryDomain| DomainInput {
            name: domain.name.clone(),
            kind: domain.kind,
            budget_bytes: domain.budget_bytes() * if has(Bug::OverfillsDomains) { 2 } else { 1 },
        };
        let hosts = advert.role == Role::Full && !self.config.catalog.is_drained(&advert.node);
        let mut input = NodeInput {
            id: advert.node,
            name: advert.name.clone(),
            role: if hosts { RoleWanted::Auto } else { RoleWanted::Delegate },
            disk_free_bytes: advert.disk_free_bytes,
            load_bytes_per_s: 0,
            link_bytes_per_s: 0,
            domains: advert.domains.iter().map(domain).collect(),
            holds: advert.holdings.iter().filter(|held| held.complete).map(|held| held.artifact).collect(),
            claimed: advert.holdings.iter().filter(|held| !held.complete).map(|held| held.artifact).collect(),
            recent: false,
        };
        // Only whoever sits knows.
        input.recent = self.coordinator.seated().is_some() && self.steady.is_recent(&input);
        input
    }
}

/// Would `next` change what anybody does, or is `known` of another seat?
fn differs(known: &Plan, next: &Plan, seated: Option<u64>, me: NodeId) -> bool {
    // How many bytes a shortfall lacks changes with every breath of the machine; which slots fall short does not.
    let short = |plan: &Plan| plan.shortfalls.iter().map(|shortfall| shortfall.slot).collect::<Vec<_>>();
    // Who hosts nothing comes and goes.
    let hosts =
        |plan: &Plan| plan.roles.iter().copied().filter(|(_, role)| *role != PlanRole::Delegate).collect::<Vec<_>>();
    Some(known.epoch) != seated
        || known.author != me
        || known.replicas != next.replicas
        || known.stored != next.stored
        || hosts(known) != hosts(next)
        || known.distrusted != next.distrusted
        || short(known) != short(next)
}
