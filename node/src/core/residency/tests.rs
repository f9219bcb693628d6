//! The ledger and the swap, step by step.

use super::*;
use crate::core::membership::advert::DomainKind;
use crate::core::types::Duration;

const ME: NodeId = NodeId([1; 32]);

fn at(seconds: u64) -> Time {
    Time::default().after(Duration::from_secs(seconds))
}

fn name(slot: &str) -> SlotName {
    SlotName::new(slot).expect("name")
}

fn order(slot: &str, bytes: u64) -> PlannedReplica {
    PlannedReplica {
        slot: name(slot),
        node: ME,
        memory_domain: "ram".into(),
        artifact: Digest::of(slot.as_bytes()),
        adapters: Vec::new(),
        context: 512,
        parallel: 1,
        bytes,
        weights_bytes: bytes / 2,
    }
}

fn node(total_bytes: u64) -> Residency {
    let mut residency = Residency::default();
    residency.capacity(vec![MemoryDomain {
        name: "ram".into(),
        kind: DomainKind::Ram,
        total_bytes,
        free_bytes: total_bytes,
        reserve_bytes: 0,
        ours_bytes: 0,
        hosts: true,
    }]);
    residency
}

fn disk(orders: &[&PlannedReplica]) -> BTreeSet<Digest> {
    orders.iter().map(|order| order.artifact).collect()
}

#[test]
fn one_load_at_a_time_per_domain() {
    let (a, b) = (order("A", 10), order("B", 10));
    let mut residency = node(100);
    residency.desire(ME, [a.clone(), b.clone()].into_iter());
    let on_disk = disk(&[&a, &b]);
    assert_eq!(residency.reconcile(at(0), &on_disk, &BTreeMap::new()), [Action::Load(a.clone())]);
    assert!(residency.reconcile(at(1), &on_disk, &BTreeMap::new()).is_empty());
    residency.loaded(at(2), &a.slot, Ok(0));
    assert_eq!(residency.reconcile(at(2), &on_disk, &BTreeMap::new()), [Action::Load(b)]);
}

#[test]
fn a_swap_drains_then_evicts_then_loads() {
    let (a, b) = (order("A", 60), order("B", 60));
    let mut residency = node(100);
    let on_disk = disk(&[&a, &b]);
    residency.desire(ME, [a.clone()].into_iter());
    residency.reconcile(at(0), &on_disk, &BTreeMap::new());
    residency.loaded(at(4), &a.slot, Ok(0));
    residency.desire(ME, [b.clone()].into_iter());
    let busy = BTreeMap::from([(a.slot.clone(), 1)]);
    assert!(residency.reconcile(at(6), &on_disk, &busy).is_empty(), "it dwells as long as it loaded");
    assert_eq!(residency.next_deadline(at(6)), Some(at(8)));
    assert!(residency.reconcile(at(8), &on_disk, &busy).is_empty(), "it drains");
    assert!(residency.ready(&a.slot).is_none(), "and takes nothing new");
    assert_eq!(residency.reconcile(at(9), &on_disk, &BTreeMap::new()), [Action::Unload(a.slot.clone())]);
    assert!(residency.reconcile(at(9), &on_disk, &BTreeMap::new()).is_empty(), "its memory is not back yet");
    residency.unloaded(&a.slot);
    assert_eq!(residency.reconcile(at(10), &on_disk, &BTreeMap::new()), [Action::Load(b)]);
}

#[test]
fn a_plan_that_would_overcommit_is_refused_with_the_arithmetic() {
    let a = order("A", 101);
    let mut residency = node(100);
    residency.desire(ME, [a.clone()].into_iter());
    assert!(residency.reconcile(at(0), &disk(&[&a]), &BTreeMap::new()).is_empty());
    let status = &residency.statuses(&BTreeMap::new(), |_| String::new())[0];
    assert_eq!(status.reason, "needs 101 B, 100 B free after reserve, short 1 B");
}

#[test]
fn two_slots_of_one_base_share_its_weights() {
    let a = order("A", 60);
    let b = PlannedReplica { slot: name("B"), ..a.clone() };
    let mut residency = node(100);
    residency.desire(ME, [a.clone(), b.clone()].into_iter());
    residency.reconcile(at(0), &disk(&[&a]), &BTreeMap::new());
    residency.loaded(at(0), &a.slot, Ok(0));
    assert_eq!(residency.reconcile(at(0), &disk(&[&a]), &BTreeMap::new()), [Action::Load(b)]);
    assert_eq!(residency.ledger()[0].ours_bytes, 90);
}

#[test]
fn mapped_weights_are_not_free_whatever_the_system_says() {
    let a = order("A", 60);
    let mut residency = node(100);
    residency.desire(ME, [a.clone()].into_iter());
    residency.reconcile(at(0), &disk(&[&a]), &BTreeMap::new());
    residency.loaded(at(0), &a.slot, Ok(0));
    // Others use 20; of our 60 the system sees the 30 that are not mapped.
    let seen = MemoryDomain { free_bytes: 50, ..residency.domains[0].clone() };
    residency.capacity(vec![seen]);
    assert_eq!(residency.ledger()[0].free_bytes, 20);
}

#[test]
fn a_crashing_engine_is_retried_with_a_growing_pause() {
    let a = order("A", 10);
    let mut residency = node(100);
    residency.desire(ME, [a.clone()].into_iter());
    let on_disk = disk(&[&a]);
    let mut now = at(0);
    for pause in 1..4 {
        assert_eq!(residency.reconcile(now, &on_disk, &BTreeMap::new()).len(), 1);
        residency.failed(now, &a.slot, "killed by signal 9".into());
        assert!(residency.reconcile(now, &on_disk, &BTreeMap::new()).is_empty());
        now = now.after(Duration::from_secs(pause));
        assert_eq!(residency.next_deadline(Time(now.0 - 1)), Some(now));
    }
}

#[test]
fn nothing_is_loaded_before_its_weights_are_verified_on_disk() {
    let a = order("A", 10);
    let mut residency = node(100);
    residency.desire(ME, [a].into_iter());
    assert!(residency.reconcile(at(0), &BTreeSet::new(), &BTreeMap::new()).is_empty());
    assert_eq!(residency.statuses(&BTreeMap::new(), |_| String::new())[0].state, ReplicaState::Fetching);
}

#[test]
fn a_retry_that_is_due_and_must_wait_asks_for_no_timer_in_the_past() {
    // Both engines died; A loads again, and B, due as well, waits for it: a timer could only fire again and again.
    let (a, b) = (order("A", 10), order("B", 10));
    let mut residency = node(100);
    residency.desire(ME, [a.clone(), b.clone()].into_iter());
    for slot in [&a.slot, &b.slot] {
        residency.failed(at(0), slot, "killed".into());
    }
    assert_eq!(residency.next_deadline(at(0)), Some(at(1)));
    assert_eq!(residency.reconcile(at(1), &disk(&[&a, &b]), &BTreeMap::new()), [Action::Load(a)]);
    assert_eq!(residency.next_deadline(at(1)), None);
}

#[test]
fn what_a_swap_frees_is_free_before_anybody_measures_again() {
    let (a, b) = (order("A", 60), order("B", 60));
    let mut residency = node(100);
    let on_disk = disk(&[&a, &b]);
    residency.desire(ME, [a.clone()].into_iter());
    residency.reconcile(at(0), &on_disk, &BTreeMap::new());
    residency.loaded(at(0), &a.slot, Ok(0));
    let measured = |residency: &mut Residency, free_bytes| {
        let domain = MemoryDomain { free_bytes, ..residency.domains[0].clone() };
        residency.capacity(vec![domain]);
    };
    // Ten bytes are another program's, thirty are ours, and thirty more of ours are mapped, which the system calls free.
    measured(&mut residency, 60);
    assert_eq!((residency.ledger()[0].free_bytes, residency.ledger()[0].budget_bytes()), (30, 90));
    residency.desire(ME, [b.clone()].into_iter());
    assert_eq!(residency.reconcile(at(9), &on_disk, &BTreeMap::new()), [Action::Unload(a.slot.clone())]);
    residency.unloaded(&a.slot);
    assert_eq!((residency.ledger()[0].free_bytes, residency.ledger()[0].budget_bytes()), (90, 90));
    assert_eq!(residency.reconcile(at(9), &on_disk, &BTreeMap::new()), [Action::Load(b)]);
    assert_eq!((residency.ledger()[0].free_bytes, residency.ledger()[0].budget_bytes()), (30, 90));
}
