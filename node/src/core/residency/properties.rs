//! Properties of one node's residency under any order of plans, loads, waits, requests and deaths.

use proptest::prelude::*;

use super::*;
use crate::core::membership::advert::{DomainKind, RefusalCode, ReplicaState};

const ME: NodeId = NodeId([1; 32]);
const SLOTS: u8 = 6;
const TOTAL: u64 = 100;

/// Something that may happen.
#[derive(Clone, Debug)]
enum Step {
    /// A plan: for each slot the domain it has here, if any.
    Plan(Vec<Option<bool>>),
    /// Somebody waits for these slots, and for no others.
    Wanted(Vec<bool>),
    /// A load ends: well, having taken so many bytes, or not.
    Loaded(u8, Option<u64>),
    Unloaded(u8),
    Died(u8),
    /// Requests come for a slot.
    Requests(u8, u32),
    Passes(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let slots = SLOTS as usize;
    let step = prop_oneof![
        2 => prop::collection::vec(prop::option::of(any::<bool>()), slots).prop_map(Step::Plan),
        2 => prop::collection::vec(prop::bool::weighted(0.3), slots).prop_map(Step::Wanted),
        6 => (0..SLOTS, prop::option::weighted(0.8, 1..60u64)).prop_map(|(slot, bytes)| Step::Loaded(slot, bytes)),
        6 => (0..SLOTS).prop_map(Step::Unloaded),
        1 => (0..SLOTS).prop_map(Step::Died),
        6 => (0..SLOTS, 1..12u32).prop_map(|(slot, times)| Step::Requests(slot, times)),
        4 => (1..3_000u64).prop_map(Step::Passes),
    ];
    prop::collection::vec(step, 1..60)
}

fn name(slot: u8) -> SlotName {
    SlotName::new(&format!("S{slot}")).expect("name")
}

fn domain(second: bool) -> &'static str {
    if second { "gpu0" } else { "ram" }
}

/// The node, and what an onlooker keeps of it.
struct Watched {
    residency: Residency,
    now: Time,
    wanted: BTreeSet<SlotName>,
    plan: Vec<PlannedReplica>,
    /// What is in memory, by the actions: its domain, its bytes, whether it still loads.
    memory: BTreeMap<SlotName, (String, u64, bool)>,
    ready_since: BTreeMap<SlotName, Time>,
    /// New requests that a replica took while it was to go and somebody waited for its memory.
    overtakes: BTreeMap<SlotName, u32>,
}

impl Watched {
    fn new() -> Watched {
        let mut residency = Residency::default();
        let memory = [(false, DomainKind::Ram), (true, DomainKind::Vram)].map(|(second, kind)| MemoryDomain {
            name: domain(second).into(),
            kind,
            total_bytes: TOTAL,
            free_bytes: TOTAL,
            reserve_bytes: 0,
            ours_bytes: 0,
            hosts: true,
        });
        residency.capacity(memory.to_vec());
        let (wanted, plan) = (BTreeSet::new(), Vec::new());
        let (memory, ready_since, overtakes) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Watched { residency, now: Time::default(), wanted, plan, memory, ready_since, overtakes }
    }

    fn happens(&mut self, step: &Step) {
        match step {
            Step::Plan(places) => {
                let placed = places.iter().zip(0..).filter_map(|(place, slot)| place.map(|second| order(slot, second)));
                self.plan = placed.collect();
                self.residency.desire(ME, self.plan.clone().into_iter());
            }
            Step::Wanted(slots) => {
                let wanted = slots.iter().zip(0..).filter(|(wanted, _)| **wanted).map(|(_, slot)| name(slot));
                self.wanted = wanted.collect();
            }
            Step::Loaded(slot, bytes) => self.loaded(&name(*slot), *bytes),
            Step::Unloaded(slot) => self.unloaded(&name(*slot)),
            Step::Died(slot) => self.died(&name(*slot)),
            Step::Requests(slot, times) => (0..*times).for_each(|_| self.request(&name(*slot))),
            Step::Passes(millis) => self.now = self.now.after(Duration::from_millis(*millis)),
        }
        self.reconcile();
    }

    fn loaded(&mut self, slot: &SlotName, bytes: Option<u64>) {
        let Some(held) = self.memory.get_mut(slot).filter(|(.., loading)| *loading) else { return };
        match bytes {
            Some(bytes) => {
                (held.1, held.2) = (held.1.max(bytes), false);
                self.ready_since.insert(*slot, self.now);
            }
            None => drop(self.memory.remove(slot)),
        }
        self.residency.loaded(self.now, slot, bytes.ok_or_else(|| "no".to_owned().into()));
    }

    fn unloaded(&mut self, slot: &SlotName) {
        if self.residency.actual.get(slot).is_some_and(|held| held.state == State::Unloading) {
            self.memory.remove(slot);
            self.residency.unloaded(slot);
        }
    }

    fn died(&mut self, slot: &SlotName) {
        if self.residency.ready(slot).is_some() {
            self.memory.remove(slot);
            self.residency.failed(self.now, slot, "killed".to_owned().into());
        }
    }

    /// As the router does it.
    fn request(&mut self, slot: &SlotName) {
        let Some(order) = self.residency.ready(slot).cloned() else { return };
        if self.residency.places(slot) == 0 {
            return;
        }
        let waits = |status: &crate::core::membership::advert::ReplicaStatus| {
            status.memory_domain == order.memory_domain
                && status.refusal == Some(RefusalCode::Memory)
                && self.wanted.contains(&status.slot)
        };
        let contested = self.residency.statuses(&BTreeMap::new(), |_| String::new()).iter().any(waits);
        let to_go = !self.plan.iter().any(|planned| same_replica(planned, &order));
        let had_its_turn = self.now.since(self.ready_since[slot]) >= limits::FIRST_TURN || !self.wanted.contains(slot);
        if contested && to_go && had_its_turn {
            let times = self.overtakes.entry(*slot).or_default();
            *times += 1;
            assert!(*times <= limits::OVERTAKES_MAX, "{times} requests for {slot} overtook who waits for its memory");
        }
        self.residency.took(slot);
    }

    fn reconcile(&mut self) {
        let on_disk = (0..SLOTS).map(|slot| order(slot, false).artifact).collect();
        let (in_flight, none) = (BTreeMap::new(), BTreeSet::new());
        let around = Around {
            on_disk: &on_disk,
            in_flight: &in_flight,
            wanted: &self.wanted,
            pinned: &none,
            kept: &none,
            coming: &none,
        };
        for action in self.residency.reconcile(self.now, &around) {
            match action {
                Action::Load(order) => {
                    let there = || self.memory.values().filter(|(domain, ..)| *domain == order.memory_domain);
                    assert!(there().all(|(.., loading)| !loading), "two loads at once on {}", order.memory_domain);
                    let bytes = order.bytes.max(self.residency.measured(footing(&order)));
                    let used: u64 = there().map(|(_, bytes, _)| bytes).sum();
                    assert!(used + bytes <= TOTAL, "{used} and {bytes} are too much for {}", order.memory_domain);
                    let known = self.memory.insert(order.slot, (order.memory_domain, bytes, true));
                    assert!(known.is_none(), "{} was there already", order.slot);
                }
                // The page cache is nobody's.
                Action::Stage(..) => {}
                Action::Unload(slot) => assert!(self.memory.contains_key(&slot), "{slot} was not there"),
            }
        }
        // A tenure ends, or the plan has it again.
        let (plan, residency) = (&self.plan, &self.residency);
        self.overtakes.retain(|slot, _| {
            residency.ready(slot).is_some_and(|held| !plan.iter().any(|planned| same_replica(planned, held)))
        });
    }
}

fn order(slot: u8, second: bool) -> PlannedReplica {
    PlannedReplica {
        slot: name(slot),
        node: ME,
        memory_domain: domain(second).into(),
        artifact: Digest([slot; 32]),
        adapters: Vec::new(),
        context: 512,
        parallel: 1,
        bytes: 20 + 9 * u64::from(slot),
        weights_bytes: 10 + 9 * u64::from(slot),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn no_order_of_events_overcommits_loads_two_at_once_or_lets_a_waiting_one_be_overtaken_for_ever(steps in steps()) {
        let mut watched = Watched::new();
        steps.iter().for_each(|step| watched.happens(step));
    }
}

proptest! {
    // Each case plays a minute of a busy node.
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn whoever_waits_is_served_in_the_end(steps in steps(), awaited in 0..SLOTS) {
        let mut watched = Watched::new();
        steps.iter().for_each(|step| watched.happens(step));
        // From here on the plan has what is waited for, and nothing else; people ask for all the rest all the time.
        let mut places = vec![None; SLOTS as usize];
        places[awaited as usize] = Some(false);
        let mut wanted = vec![false; SLOTS as usize];
        wanted[awaited as usize] = true;
        watched.happens(&Step::Plan(places));
        watched.happens(&Step::Wanted(wanted));
        for _ in 0..60 {
            (0..SLOTS).for_each(|slot| watched.happens(&Step::Requests(slot, 3)));
            (0..SLOTS).for_each(|slot| watched.happens(&Step::Loaded(slot, Some(1))));
            (0..SLOTS).for_each(|slot| watched.happens(&Step::Unloaded(slot)));
            watched.happens(&Step::Passes(1_000));
        }
        let statuses = watched.residency.statuses(&BTreeMap::new(), |_| String::new());
        let state = statuses.iter().find(|status| status.slot == name(awaited)).map(|status| status.state);
        prop_assert_eq!(state, Some(ReplicaState::Ready));
    }
}
