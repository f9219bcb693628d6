//! The machine's tables as the one view that people and scripts read.

mod places;

use std::collections::BTreeMap;

use crate::core::catalog::{Catalog, Publication};
use crate::core::machine::Machine;
use crate::core::membership::advert::{Advert, ReplicaState};
use crate::core::membership::roster::MemberRoster;
use crate::core::membership::table::Presence;
use crate::core::placement::document::Names;
use crate::core::placement::plan::Plan;
use crate::core::roster::{RosterSlot, Seat, SlotPolicy, SlotRoster};
use crate::core::sizing::Tier;
use crate::core::types::{Digest, NodeId, SlotName, Time};
use crate::core::view::{
    CoordinatorView, DamageView, DomainView, MemberView, NodeView, PlanSummary, RequestsView, SlotDomainView, SlotView,
    SourceView, State, StoreView, TrafficView, TransferView,
};
use crate::driver::clock::{Clock, unix_seconds};
use crate::driver::externals::Externals;
use crate::driver::loading::Loading;
use crate::driver::scrub::Scrubber;
use crate::driver::throttle::Throttle;
use crate::wire::ids::peer_id_text;

/// What the view says that the core does not know.
#[derive(Clone, Debug)]
pub struct Facts {
    /// `http://ADDR`.
    pub api: String,
    /// Peer addresses.
    pub listen: Vec<String>,
    /// What this machine is good for.
    pub tier: Tier,
    /// Members' names.
    pub names: BTreeMap<NodeId, String>,
    /// Since when members were heard.
    pub clock: Clock,
    /// Weights that leave.
    pub up: Throttle,
    /// Weights that come.
    pub down: Throttle,
    /// Loads under way.
    pub loading: Loading,
}

impl Facts {
    /// Takes the names of a new roster.
    pub fn members_changed(&mut self, roster: &MemberRoster) {
        self.names = roster.members.iter().map(|member| (member.node, member.name.clone())).collect();
    }

    fn name(&self, node: &NodeId) -> String {
        self.names.get(node).cloned().unwrap_or_else(|| peer_id_text(node))
    }
}

impl Names for Facts {
    fn node(&self, node: NodeId) -> String {
        self.name(&node)
    }
    fn artifact(&self, artifact: Digest) -> String {
        artifact.to_string()
    }
}

/// The whole view.
pub fn state(machine: &Machine, facts: &Facts, engines: &Externals) -> State {
    let config = machine.config();
    let mine = machine.own_advert();
    let adverts = adverts(machine, &mine);
    let (in_flight, counts) = machine.requests();
    State {
        federation: config.members.federation.to_string(),
        node: node_view(machine, facts),
        coordinator: machine.coordinator().map(|(node, epoch)| CoordinatorView {
            name: facts.name(&node),
            peer_id: peer_id_text(&node),
            epoch,
        }),
        plan: machine.plan().map(|plan| plan_summary(plan, &config.catalog, &adverts, facts)),
        members: members(machine, facts, &adverts),
        slots: slots(machine, facts, &adverts),
        local: None,
        engines: engines.views(config.catalog.roster().is_none_or(|roster| roster.requires_f16())),
        pins: machine.pins().iter().map(ToString::to_string).collect(),
        store: None,
        transfers: transfers(machine, facts),
        traffic: TrafficView {
            served_bytes: facts.up.passed_bytes(),
            asked_bytes: facts.down.passed_bytes(),
            limit_up_bytes_per_s: facts.up.bytes_per_s(),
            limit_down_bytes_per_s: facts.down.bytes_per_s(),
        },
        requests: RequestsView {
            in_flight: in_flight as u64,
            done: counts.done,
            failed: counts.failed,
            retried: counts.retried,
            ..RequestsView::default()
        },
        loads: Default::default(),
    }
}

/// This node's own store.
pub fn store(machine: &Machine, scrubber: &Scrubber) -> StoreView {
    let damaged = machine.damaged().iter().map(|artifact| {
        let reason = machine.transfers().iter().find(|(known, _)| *known == artifact).map(|(_, t)| t.reason.as_str());
        let holders = machine.table().alive().filter(|advert| advert.stores(artifact)).count();
        let (state, reason) = match (holders, reason.unwrap_or_default()) {
            (0, _) => ("unrepairable", "no reachable member has a sound copy; publish the same file again"),
            (_, "") => ("repairing", "its damaged chunks are fetched from other members"),
            (_, reason) => ("repairing", reason),
        };
        let slot = label(&machine.config().catalog, artifact);
        DamageView { artifact: artifact.to_string(), slot, state: state.to_owned(), reason: reason.to_owned() }
    });
    StoreView {
        used_bytes: scrubber.store.used_bytes(),
        budget_bytes: scrubber.store.budget_bytes(),
        free_bytes: machine.own_advert().disk_free_bytes,
        damaged: damaged.collect(),
        scrub: scrubber.view(),
    }
}

/// The newest statement of every member that is not known to be gone, this node's own among them.
fn adverts<'a>(machine: &'a Machine, mine: &'a Advert) -> BTreeMap<NodeId, &'a Advert> {
    let there = machine.table().iter().filter(|(_, entry)| entry.presence != Presence::Down);
    let others = there.filter_map(|(node, entry)| Some((*node, entry.advert()?)));
    others.chain([(mine.node, mine)]).collect()
}

fn node_view(machine: &Machine, facts: &Facts) -> NodeView {
    let config = machine.config();
    NodeView {
        peer_id: peer_id_text(&config.me),
        name: facts.name(&config.me),
        role: config.role.as_str().to_owned(),
        tier: facts.tier.as_str().to_owned(),
        api: facts.api.clone(),
        listen: facts.listen.clone(),
        seat: machine.standing().as_str().to_owned(),
        notice: String::new(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
    }
}

/// What people call an artifact: the slot (and domain) it fills.
fn label(catalog: &Catalog, artifact: &Digest) -> String {
    let publication = catalog.publications().find(|publication| &publication.artifact == artifact);
    publication.map_or_else(
        || format!("artifact {}", artifact.short()),
        |p| match (catalog.roster(), &p.domain) {
            (Some(roster), domain) => roster.name_of(&p.slot, domain.as_ref()),
            (None, Some(domain)) => format!("{}:{domain}", p.slot),
            (None, None) => p.slot.to_string(),
        },
    )
}

fn plan_summary(plan: &Plan, catalog: &Catalog, adverts: &BTreeMap<NodeId, &Advert>, facts: &Facts) -> PlanSummary {
    let mut pending = Vec::new();
    for replica in &plan.replicas {
        let there = adverts.get(&replica.node).and_then(|advert| {
            advert.replicas.iter().find(|held| held.slot == replica.slot && held.artifact == replica.artifact)
        });
        let attached = there.is_some_and(|held| {
            held.state == ReplicaState::Ready && replica.adapters.iter().all(|a| held.domains.contains(&a.domain))
        });
        if !attached {
            let state = match there.map(|held| held.state) {
                None => "not there yet",
                Some(ReplicaState::Ready) => "to be loaded again with its new adapters",
                Some(state) => state.as_str(),
            };
            let reason = there.map(|held| held.reason.as_str()).filter(|reason| !reason.is_empty());
            let reason = reason.map(|reason| format!(" ({reason})")).unwrap_or_default();
            pending.push(format!("{} on {} is {state}{reason}", replica.slot, facts.name(&replica.node)));
        }
    }
    for stored in &plan.stored {
        let there = adverts.get(&stored.node).is_some_and(|advert| advert.stores(&stored.artifact));
        if !there {
            let node = facts.name(&stored.node);
            pending.push(format!("{} is not yet stored on {node}", label(catalog, &stored.artifact)));
        }
    }
    for held in &plan.distrusted {
        pending.push(format!("{} on {} is not trusted: {}", held.slot, facts.name(&held.node), held.why));
    }
    PlanSummary {
        epoch: plan.epoch,
        revision: plan.revision,
        digest: plan.inputs_digest.to_string(),
        carried_out: pending.is_empty(),
        pending,
    }
}

fn members(machine: &Machine, facts: &Facts, adverts: &BTreeMap<NodeId, &Advert>) -> Vec<MemberView> {
    let (config, unix_s, now) = (machine.config(), unix_seconds(), facts.clock.now());
    let seconds = |now: Time, heard: Time| now.since(heard).as_millis() / 1000;
    let mut views: Vec<(bool, MemberView)> = config
        .members
        .members
        .iter()
        .map(|member| {
            let mine = member.node == config.me;
            let entry = machine.table().get(&member.node);
            let presence = match entry {
                _ if !config.members.admits(&member.node, unix_s) => "expired",
                entry => entry.map_or("unseen", |entry| entry.presence.as_str()),
            };
            let advert = adverts.get(&member.node);
            let role = machine.plan().and_then(|plan| plan.role_of(&member.node));
            let view = MemberView {
                name: member.name.clone(),
                peer_id: peer_id_text(&member.node),
                role: member.role.as_str().to_owned(),
                admin: config.members.is_admin(&member.node) || config.members.is_owners(&member.node),
                owner: config.members.is_owners(&member.node),
                expires_unix_s: member.expires_unix_s,
                seen_s_ago: if mine { Some(0) } else { entry.map(|entry| seconds(now, entry.heard)) },
                state: if mine { "alive".to_owned() } else { presence.to_owned() },
                pinned: pinned(&config.catalog, &member.node),
                drained: config.catalog.is_drained(&member.node),
                plan_role: role.map(|role| role.as_str().to_owned()).unwrap_or_default(),
                domains: advert.map(|advert| domains(advert)).unwrap_or_default(),
                disk_free_bytes: advert.map_or(0, |advert| advert.disk_free_bytes),
                resident: advert.map(|advert| resident(advert)).unwrap_or_default(),
                stored: advert.map(|advert| stored(advert)).unwrap_or_default(),
            };
            (!mine, view)
        })
        .collect();
    views.sort_by(|a, b| (a.0, &a.1.name).cmp(&(b.0, &b.1.name)));
    debug_assert!(facts.names.len() >= views.len().min(1), "the facts follow the roster");
    views.into_iter().map(|(_, view)| view).collect()
}

fn pinned(catalog: &Catalog, node: &NodeId) -> Vec<String> {
    catalog.wishes(node).map(|wishes| wishes.pinned.iter().map(SlotName::to_string).collect()).unwrap_or_default()
}

fn domains(advert: &Advert) -> Vec<DomainView> {
    let view = |domain: &crate::core::membership::advert::MemoryDomain| DomainView {
        name: domain.name.clone(),
        kind: domain.kind.as_str().to_owned(),
        total_bytes: domain.total_bytes,
        free_bytes: domain.free_bytes,
        reserve_bytes: domain.reserve_bytes,
        ours_bytes: domain.ours_bytes,
        hosts: domain.hosts,
    };
    advert.domains.iter().map(view).collect()
}

fn resident(advert: &Advert) -> Vec<String> {
    let ready = advert.replicas.iter().filter(|replica| replica.state == ReplicaState::Ready);
    ready.map(|replica| replica.slot.to_string()).collect()
}

fn stored(advert: &Advert) -> Vec<String> {
    let whole = advert.holdings.iter().filter(|held| held.complete);
    whole.map(|held| held.artifact.to_string()).collect()
}

fn slots(machine: &Machine, facts: &Facts, adverts: &BTreeMap<NodeId, &Advert>) -> Vec<SlotView> {
    let Some(roster) = machine.config().catalog.roster() else { return Vec::new() };
    let view =
        |slot: &RosterSlot| Some(slot_view(machine, facts, adverts, roster, slot, roster.seat(&slot.name, None)?));
    roster.slots.iter().filter_map(view).collect()
}

fn slot_view(
    machine: &Machine,
    facts: &Facts,
    adverts: &BTreeMap<NodeId, &Advert>,
    roster: &SlotRoster,
    slot: &RosterSlot,
    seat: Seat,
) -> SlotView {
    let catalog = &machine.config().catalog;
    let published = catalog.publication(&seat.slot, seat.domain.as_ref());
    let holders = holders(adverts, facts, published);
    // One that has adapters only is where its host is.
    let shown = Seat { domain: seat.domain.filter(|_| published.is_some()), slot: seat.slot };
    let replicas = places::replicas(machine.plan(), adverts, facts, &shown);
    let externals = places::externals(adverts, facts, &slot.name);
    let has = |state: &str| replicas.iter().any(|replica| replica.state == state);
    let state = match published {
        _ if has("ready") => "resident",
        _ if externals.iter().any(|there| there.state == "ready") => "external",
        Some(_) if has("loading") || has("fetching") => "loading",
        Some(_) if !holders.is_empty() => "stored",
        _ => "missing",
    };
    let domain = |name: &SlotName| {
        let seat = roster.seat(&slot.name, Some(name));
        let of = seat.as_ref().and_then(|seat| catalog.publication(&seat.slot, seat.domain.as_ref()));
        SlotDomainView {
            name: name.to_string(),
            artifact: of.map(|p| p.artifact.to_string()).unwrap_or_default(),
            fingerprint: seat.is_some_and(|seat| catalog.fingerprint(&seat.slot, seat.domain.as_ref()).is_some()),
        }
    };
    let shortfall = machine.plan().and_then(|plan| plan.shortfalls.iter().find(|short| short.slot == seat.slot));
    let asked = roster.slot(&seat.slot).map_or(slot.context, |host| host.context);
    let base = catalog.publication(&seat.slot, None);
    let context = base.map_or(asked, |p| asked.min(p.shape.context_max.max(1)));
    SlotView {
        name: slot.name.to_string(),
        title: slot.title.clone(),
        base: slot.base.as_ref().map(SlotName::to_string).unwrap_or_default(),
        policy: if slot.policy == SlotPolicy::Pinned { "pinned".to_owned() } else { "swappable".to_owned() },
        artifact: published.map(|p| p.artifact.to_string()).unwrap_or_default(),
        model: published.map(|p| p.name.clone()).unwrap_or_default(),
        version: published.map(|p| p.version.clone()).unwrap_or_default(),
        state: state.to_owned(),
        precision: published.map(|p| p.shape.precision.name().to_owned()).unwrap_or_default(),
        fingerprint: catalog.fingerprint(&seat.slot, seat.domain.as_ref()).is_some(),
        observed_milli_per_hour: machine.demand_milli_per_hour(&slot.name),
        context,
        bytes: published.map_or(0, |p| p.artifact_bytes),
        domains: slot.domains.iter().map(domain).collect(),
        shortfall: shortfall.map(|short| short.why.clone()).unwrap_or_default(),
        replicas,
        externals,
        holders,
    }
}

fn holders(adverts: &BTreeMap<NodeId, &Advert>, facts: &Facts, published: Option<&Publication>) -> Vec<String> {
    let Some(published) = published else { return Vec::new() };
    let holding = adverts.iter().filter(|(_, advert)| advert.stores(&published.artifact));
    holding.map(|(node, _)| facts.name(node)).collect()
}

fn transfers(machine: &Machine, facts: &Facts) -> Vec<TransferView> {
    let catalog = &machine.config().catalog;
    let views = machine.transfers().iter().map(|(artifact, transfer)| TransferView {
        artifact: artifact.to_string(),
        slot: label(catalog, artifact),
        state: transfer.stage.as_str().to_owned(),
        total_bytes: transfer.total_bytes(),
        done_bytes: transfer.done_bytes(),
        chunks: transfer.chunks(),
        chunks_done: transfer.chunks_done(),
        chunks_corrupt: transfer.corrupt,
        chunks_local: transfer.local,
        verified: transfer.stage == crate::core::transfer::Stage::Done,
        sources: transfer
            .sources
            .iter()
            .filter(|(_, source)| source.chunks + source.strikes > 0)
            .map(source(machine, facts))
            .collect(),
        wasted_bytes: transfer.wasted_bytes,
        bytes_per_s: transfer.bytes_per_s(),
        eta_s: Some(transfer.bytes_per_s())
            .filter(|&rate| rate > 0)
            .map(|rate| (transfer.total_bytes() - transfer.done_bytes()).div_ceil(rate)),
        reason: transfer.reason.clone(),
    });
    views.collect()
}

fn source<'a>(
    machine: &'a Machine,
    facts: &'a Facts,
) -> impl Fn((&NodeId, &crate::core::transfer::Source)) -> SourceView + 'a {
    |(node, source)| SourceView {
        bytes_per_s: machine.transfers().bytes_per_s(node),
        node: facts.name(node),
        bytes: source.bytes,
        chunks: source.chunks,
        strikes: source.strikes,
    }
}
