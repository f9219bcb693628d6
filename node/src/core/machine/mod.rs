//! One node's decisions as one machine: `handle(now, input, outbox)` and `next_deadline()`. It joins membership, the
//! coordinator's seat, placement, residency, transfer and routing, and owns nothing of the world. The driver and the
//! simulator carry its outputs out.

mod advertising;
mod inventory;
mod io;
mod keeping;
mod lookout;
mod members;
mod planning;
mod previous;
mod readers;
mod residing;
mod routine;
mod routing;
mod settling;
mod steady;
#[cfg(test)]
mod tests;
mod trusting;
mod weights;
mod wishing;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::core::catalog::Catalog;
use crate::core::checks::Checks;
use crate::core::coordinator::{self, Coordinator};
use crate::core::demand::{Figures, Meter};
use crate::core::external::ExternalHere;
use crate::core::limits;
use crate::core::membership::advert::{Advert, Gossip};
use crate::core::membership::roster::{MemberRoster, Role};
use crate::core::membership::table::Table;
use crate::core::pins::Pins;
use crate::core::placement::plan::{Plan, Strategy};
use crate::core::placement::problem::Problem;
use crate::core::residency::Residency;
use crate::core::route::Router;
use crate::core::transfer::Transfers;
use crate::core::types::{Digest, Duration, NodeId, SlotName, Time};

use advertising::News;
pub use io::{Input, Output};
use planning::Sent;
use steady::Steady;

/// What a machine is told once, at its start.
#[derive(Clone, Debug)]
pub struct Config {
    /// This node.
    pub me: NodeId,
    /// Its name.
    pub name: String,
    /// Full or delegate.
    pub role: Role,
    /// Higher than at any start before.
    pub incarnation: u64,
    /// Highest epoch made durable before.
    pub epoch_highest: u64,
    /// The owner's wish for the coordinator's seat; higher first.
    pub priority: u32,
    /// Who belongs.
    pub members: Arc<MemberRoster>,
    /// What has been published.
    pub catalog: Catalog,
    /// How residency is weighed.
    pub strategy: Strategy,
    /// While this node sits it compares one replica's fingerprint this often.
    pub check_period: Duration,
}

/// One node's decisions.
#[derive(Clone, Debug)]
pub struct Machine {
    config: Config,
    table: Table,
    coordinator: Coordinator,
    residency: Residency,
    transfers: Transfers,
    router: Router,
    pins: Pins,
    /// Servers beside this node that stand in for slots.
    externals: Vec<ExternalHere>,
    /// What the plan wants on this disk.
    planned: BTreeSet<Digest>,
    on_disk: BTreeSet<Digest>,
    partial: BTreeMap<Digest, u32>,
    /// Found damaged and not whole again: fetched whether the plan wants it here or not.
    damaged: BTreeSet<Digest>,
    disk_free_bytes: u64,
    on_battery: bool,
    addresses: Vec<String>,
    sequence: u64,
    advertised: Option<Arc<Advert>>,
    advertised_at: Time,
    /// What others act on has changed since this node spoke.
    has_news: News,
    /// Somebody may wait for a slot who did not before, or no longer.
    wants_changed: bool,
    /// Who answers for which slot, and whether waiting helps, may be otherwise.
    routes_changed: bool,
    /// When a waiting request must be looked at although nothing changed.
    routes_due: Option<Time>,
    /// Nothing here asks for the machine before this, as it found when it last looked at everything.
    due: Option<Time>,
    /// When it did.
    settled: Option<Time>,
    plan_dirty_since: Option<Time>,
    plan_sent: BTreeMap<NodeId, Sent>,
    /// While this node sits: for which plan it last looked for members who lack it, and that it looks again no sooner than then.
    delivered: Option<((u64, u64), Time)>,
    /// When it does, as something happened meanwhile.
    delivery_due: Option<Time>,
    /// While this node sits: what was last planned for, and how.
    solved: Option<(Problem, Plan)>,
    /// While this node sits: on whose GPUs it counts.
    steady: Steady,
    synced: BTreeMap<NodeId, Time>,
    /// With whom to sync again, and when: the last one failed, or was made too short a while ago.
    resync: BTreeMap<NodeId, Time>,
    /// No sync is due before this.
    resync_at: Option<Time>,
    first_wanted: BTreeMap<SlotName, Time>,
    last_wanted: BTreeMap<SlotName, Time>,
    /// Requests that entered the federation here.
    meter: Meter,
    /// The demand this node plans with while it sits.
    figures: Figures,
    /// Slots that somebody wants loaded without asking them anything yet, and until when.
    asked: BTreeMap<SlotName, Time>,
    /// Whom this node examines while it sits.
    checks: Checks,
    /// What the plan holds against this node's own replicas, and was acted on.
    accused: BTreeSet<(SlotName, Digest)>,
    /// The process is about to end.
    leaving: bool,
    epoch_durable: u64,
    adopted: Option<(u64, u64, NodeId)>,
}

impl Machine {
    /// A node that has just started.
    pub fn new(now: Time, config: Config) -> Machine {
        let mut router = Router::new(trusting::seed(&config));
        router.crowd(config.members.members.len());
        Machine {
            table: Table::new(Arc::clone(&config.members)),
            coordinator: Coordinator::new(config.me, now, config.epoch_highest),
            residency: Residency::default(),
            transfers: Transfers::new(config.me),
            router,
            pins: Pins::default(),
            externals: Vec::new(),
            planned: BTreeSet::new(),
            on_disk: BTreeSet::new(),
            partial: BTreeMap::new(),
            damaged: BTreeSet::new(),
            disk_free_bytes: 0,
            on_battery: false,
            addresses: Vec::new(),
            sequence: 0,
            advertised: None,
            advertised_at: now,
            has_news: News::Prompt,
            wants_changed: true,
            routes_changed: true,
            routes_due: None,
            due: Some(now),
            settled: None,
            plan_dirty_since: None,
            plan_sent: BTreeMap::new(),
            delivered: None,
            delivery_due: None,
            solved: None,
            steady: Steady::default(),
            synced: BTreeMap::new(),
            resync: BTreeMap::new(),
            resync_at: None,
            first_wanted: BTreeMap::new(),
            last_wanted: BTreeMap::new(),
            meter: Meter::default(),
            figures: Figures::default(),
            asked: BTreeMap::new(),
            checks: Checks::new(config.check_period, trusting::seed(&config)),
            accused: BTreeSet::new(),
            leaving: false,
            epoch_durable: config.epoch_highest,
            adopted: None,
            config,
        }
    }

    /// Something happened at `now`; what is to be done about it is appended to `outbox`.
    pub fn handle(&mut self, now: Time, input: Input, outbox: &mut Vec<Output>) {
        if !self.take_lightly(now, &input) {
            self.heed(now, input, outbox);
        }
    }

    /// The second half: takes an input that [`Machine::take_lightly`] did not, and everything follows from it that follows.
    pub fn heed(&mut self, now: Time, input: Input, outbox: &mut Vec<Output>) {
        let heard = input.is_of_others();
        self.take(now, input, outbox);
        self.settle(now, !heard, outbox);
        self.due = self.find_due(now);
        self.settled = Some(now);
    }

    /// When [`Input::Tick`] is due if nothing else happens, or sooner.
    pub fn next_deadline(&self) -> Option<Time> {
        self.due
    }

    fn take(&mut self, now: Time, input: Input, outbox: &mut Vec<Output>) {
        self.note_subject(&input);
        match input {
            Input::Tick => {}
            Input::Slept | Input::Leave => {
                self.leaving |= matches!(input, Input::Leave);
                let actions = self.coordinator.leave(now);
                self.seat(now, actions, outbox);
            }
            Input::Hardware { domains, disk_free_bytes, on_battery } => {
                self.residency.capacity(domains);
                self.disk_free_bytes = disk_free_bytes;
                self.on_battery = on_battery;
                self.plan_dirty(now);
            }
            Input::Addresses(addresses) => self.addresses = addresses,
            Input::Connected(node) => self.connected(now, node, outbox),
            Input::Disconnected(node) => self.disconnected(now, node),
            Input::SyncFailed(node) => self.sync_failed(now, node),
            Input::DialFailed { node, refused } => self.dial_failed(now, node, refused),
            Input::Gossip(gossip) => self.gossip(now, gossip, outbox),
            Input::Greeting(advert) => self.advert(now, advert, true, outbox),
            Input::Members(roster) => self.members_changed(now, roster, outbox),
            Input::Record(record) => {
                if self.config.members.member(&record.author).is_some() && self.config.catalog.merge(*record) {
                    self.catalog_changed(now);
                }
            }
            Input::PlanOffered { from, plan } => self.plan_offered(from, plan, outbox),
            Input::PlanAnswered { from, plan, taken, epoch_highest } => {
                self.coordinator.saw_epoch(epoch_highest);
                self.plan_answered(now, from, plan, taken);
            }
            Input::EpochPersisted(epoch) => {
                self.epoch_durable = self.epoch_durable.max(epoch);
                let actions = self.coordinator.persisted(now, epoch);
                self.seat(now, actions, outbox);
            }
            Input::Request(request, ask) => {
                self.note_demand(now, &ask);
                if let Some(refusal) = self.router.ask(now, request, ask) {
                    outbox.push(Output::Reject(request, refusal));
                }
            }
            Input::FingerprintChecked(suspect, judged) => self.fingerprint_checked(now, &suspect, &judged),
            Input::RequestFailed { request, refusal, retryable } => {
                let failed = self.router.failed(now, request, refusal, retryable);
                self.after_failure(request, failed, outbox);
            }
            Input::Manifest(artifact, chunk_bytes) => {
                if self.transfers.manifest(artifact, chunk_bytes) {
                    outbox.push(Output::Begin(artifact));
                }
            }
            other => self.take_work(now, other),
        }
    }

    /// Inputs about weights, replicas and requests.
    fn take_work(&mut self, now: Time, input: Input) {
        match input {
            Input::Pins(pins) => {
                self.pins = pins;
                self.want();
            }
            Input::Externals(externals) => self.externals = externals,
            Input::Stored(artifact) => self.stored(now, artifact),
            Input::Dropped(artifact) => self.dropped(now, &artifact),
            Input::Damaged(artifact, sound) => self.found_damaged(now, artifact, sound),
            Input::Partial(artifact, chunks) => {
                self.partial.insert(artifact, chunks);
            }
            Input::ManifestFailed { artifact, from } => self.transfers.manifest_failed(now, artifact, from),
            Input::Begun(artifact, have) => self.begun(artifact, have),
            Input::TransferPaused(artifact, why) => self.transfers.paused(now, artifact, why),
            Input::Has { artifact, from, have } => self.transfers.has(now, artifact, from, have),
            Input::Chunk { artifact, chunk, from, outcome } => {
                self.transfers.chunk(now, artifact, chunk, from, outcome);
                if let Some(transfer) = self.transfers.get(&artifact) {
                    self.partial.insert(artifact, transfer.chunks_done());
                }
            }
            Input::Finished(artifact, result) => {
                let stored = result.is_ok();
                self.transfers.finished(now, artifact, result);
                if stored {
                    self.stored(now, artifact);
                }
            }
            Input::Loaded(slot, Err(death)) | Input::ReplicaDied(slot, death) => {
                self.residency.failed(now, &slot, death);
            }
            Input::Loaded(slot, result) => self.residency.loaded(now, &slot, result),
            Input::Seen(slot, seen) => self.residency.seen(&slot, seen),
            Input::Pressure(stall) => self.residency.pressure(stall),
            Input::Want(slot) => drop(self.asked.insert(slot, now.after(limits::LOAD_WISH_LIFE))),
            Input::PutAway(slot) => {
                let kept = self.is_kept(&slot);
                let _refused = self.residency.put_away(now, &slot, kept);
            }
            Input::Unloaded(slot) => self.residency.unloaded(&slot),
            Input::RoundTrip(node, span) => self.router.pinged(node, span),
            Input::RequestStarted(request) => self.router.started(now, request),
            Input::RequestAnswered(request, tokens) => self.router.answered(now, request, tokens),
            Input::RequestEnded(request, well) => self.router.ended(request, well),
            _ => {}
        }
    }

    fn gossip(&mut self, now: Time, gossip: Gossip, outbox: &mut Vec<Output>) {
        match gossip {
            Gossip::Advert(advert) => self.advert(now, advert, false, outbox),
            Gossip::Lease(lease) => {
                if self.config.members.member(&lease.coordinator).is_some() {
                    let actions = self.coordinator.heard(now, &lease);
                    self.seat(now, actions, outbox);
                }
            }
        }
    }

    fn advert(&mut self, now: Time, advert: Arc<Advert>, itself: bool, outbox: &mut Vec<Output>) {
        let from = advert.node;
        if from == self.config.me || self.config.members.member(&from).is_none() {
            return;
        }
        if self.disagrees(&advert) {
            self.agree(now, from, outbox);
        } else {
            self.agreed(&from);
        }
        outbox.push(Output::Know(from, advert.addresses.clone()));
        self.coordinator.saw_epoch(advert.epoch_highest);
        if self.table.advert(now, advert, itself) {
            self.router.heard(from);
            self.plan_dirty(now);
        }
    }

    fn plan_offered(&mut self, from: NodeId, plan: Arc<Plan>, outbox: &mut Vec<Output>) {
        let epoch = plan.epoch;
        let answer = if self.config.members.member(&from).is_none() {
            Err(coordinator::PlanRefusal::NotCoordinator)
        } else {
            self.coordinator.offered(from, plan)
        };
        if answer.is_ok() && epoch > self.epoch_durable {
            outbox.push(Output::PersistEpoch(epoch));
        }
        outbox.push(Output::AnswerPlan(answer));
    }

    fn seat(&mut self, now: Time, actions: Vec<coordinator::Action>, outbox: &mut Vec<Output>) {
        for action in actions {
            match action {
                coordinator::Action::PersistEpoch(epoch) => outbox.push(Output::PersistEpoch(epoch)),
                coordinator::Action::Announce(lease) => outbox.push(Output::Gossip(Gossip::Lease(lease))),
                coordinator::Action::Seated => self.begin_checks(now),
                coordinator::Action::Unseated => {
                    self.checks.end();
                    self.plan_sent.clear();
                    self.figures = Figures::default();
                }
            }
        }
    }
}
