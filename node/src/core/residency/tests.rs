//! The ledger and the swap, step by step.

use super::*;
use crate::core::membership::advert::{DomainKind, RefusalCode, ReplicaState};
use crate::core::types::Duration;

pub(super) const ME: NodeId = NodeId([1; 32]);

pub(super) fn at(seconds: u64) -> Time {
    Time::default().after(Duration::from_secs(seconds))
}

pub(super) fn name(slot: &str) -> SlotName {
    SlotName::new(slot).expect("name")
}

pub(super) fn order(slot: &str, bytes: u64) -> PlannedReplica {
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

pub(super) fn node(total_bytes: u64) -> Residency {
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

/// A reconciliation while nobody waits for anything.
pub(super) fn step(
    residency: &mut Residency,
    now: Time,
    on_disk: &BTreeSet<Digest>,
    in_flight: &BTreeMap<SlotName, u32>,
) -> Vec<Action> {
    let none = BTreeSet::new();
    let around = Around { on_disk, in_flight, wanted: &none, pinned: &none, kept: &none, coming: &none };
    residency.reconcile(now, &around)
}

pub(super) fn disk(orders: &[&PlannedReplica]) -> BTreeSet<Digest> {
    orders.iter().map(|order| order.artifact).collect()
}

#[test]
fn one_load_at_a_time_per_domain() {
    let (a, b) = (order("A", 10), order("B", 10));
    let mut residency = node(100);
    residency.desire(ME, [a.clone(), b.clone()].into_iter());
    let on_disk = disk(&[&a, &b]);
    assert_eq!(step(&mut residency, at(0), &on_disk, &BTreeMap::new()), [Action::Load(a.clone())]);
    assert!(step(&mut residency, at(1), &on_disk, &BTreeMap::new()).is_empty());
    residency.loaded(at(2), &a.slot, Ok(0));
    assert_eq!(step(&mut residency, at(2), &on_disk, &BTreeMap::new()), [Action::Load(b)]);
}

#[test]
fn a_swap_drains_then_evicts_then_loads() {
    let (a, b) = (order("A", 60), order("B", 60));
    let mut residency = node(100);
    let on_disk = disk(&[&a, &b]);
    residency.desire(ME, [a.clone()].into_iter());
    step(&mut residency, at(0), &on_disk, &BTreeMap::new());
    residency.loaded(at(4), &a.slot, Ok(0));
    residency.desire(ME, [b.clone()].into_iter());
    let busy = BTreeMap::from([(a.slot, 1)]);
    assert!(step(&mut residency, at(6), &on_disk, &busy).is_empty(), "it dwells as long as it loaded");
    assert_eq!(residency.next_deadline(at(6)), Some(at(8)));
    assert!(step(&mut residency, at(8), &on_disk, &busy).is_empty(), "it drains");
    assert!(residency.ready(&a.slot).is_none(), "and takes nothing new");
    assert_eq!(step(&mut residency, at(9), &on_disk, &BTreeMap::new()), [Action::Unload(a.slot)]);
    assert!(step(&mut residency, at(9), &on_disk, &BTreeMap::new()).is_empty(), "its memory is not back yet");
    residency.unloaded(&a.slot);
    assert_eq!(step(&mut residency, at(10), &on_disk, &BTreeMap::new()), [Action::Load(b)]);
}

#[test]
fn a_plan_that_would_overcommit_is_refused_with_the_arithmetic() {
    let a = order("A", 101);
    let mut residency = node(100);
    residency.desire(ME, [a.clone()].into_iter());
    assert!(step(&mut residency, at(0), &disk(&[&a]), &BTreeMap::new()).is_empty());
    let status = &residency.statuses(&BTreeMap::new(), |_| String::new())[0];
    assert_eq!(status.reason, "needs 101 B, 100 B free after reserve, short 1 B");
}

#[test]
fn two_slots_of_one_base_share_its_weights() {
    let a = order("A", 60);
    let b = PlannedReplica { slot: name("B"), ..a.clone() };
    let mut residency = node(100);
    residency.desire(ME, [a.clone(), b.clone()].into_iter());
    step(&mut residency, at(0), &disk(&[&a]), &BTreeMap::new());
    residency.loaded(at(0), &a.slot, Ok(0));
    assert_eq!(step(&mut residency, at(0), &disk(&[&a]), &BTreeMap::new()), [Action::Load(b)]);
    assert_eq!(residency.ledger()[0].ours_bytes, 90);
}

#[test]
fn mapped_weights_are_not_free_whatever_the_system_says() {
    let a = order("A", 60);
    let mut residency = node(100);
    residency.desire(ME, [a.clone()].into_iter());
    step(&mut residency, at(0), &disk(&[&a]), &BTreeMap::new());
    residency.loaded(at(0), &a.slot, Ok(0));
    // Others use 20; of our 60 the system sees the 30 that are not mapped.
    let seen = MemoryDomain { free_bytes: 50, ..residency.domains[0].clone() };
    residency.capacity(vec![seen]);
    assert_eq!(residency.ledger()[0].free_bytes, 20);
}

#[test]
fn nothing_is_loaded_before_its_weights_are_verified_on_disk() {
    let a = order("A", 10);
    let mut residency = node(100);
    residency.desire(ME, [a].into_iter());
    assert!(step(&mut residency, at(0), &BTreeSet::new(), &BTreeMap::new()).is_empty());
    assert_eq!(residency.statuses(&BTreeMap::new(), |_| String::new())[0].state, ReplicaState::Fetching);
}

#[test]
fn a_retry_that_is_due_and_must_wait_asks_for_no_timer_in_the_past() {
    // Both engines died; A loads again, and B, due as well, waits for it: a timer could only fire again and again.
    let (a, b) = (order("A", 10), order("B", 10));
    let mut residency = node(100);
    residency.desire(ME, [a.clone(), b.clone()].into_iter());
    for slot in [&a.slot, &b.slot] {
        residency.failed(at(0), slot, "killed".to_owned().into());
    }
    assert_eq!(residency.next_deadline(at(0)), Some(at(1)));
    assert_eq!(step(&mut residency, at(1), &disk(&[&a, &b]), &BTreeMap::new()), [Action::Load(a)]);
    assert_eq!(residency.next_deadline(at(1)), None);
}

#[test]
fn what_a_swap_frees_is_free_before_anybody_measures_again() {
    let (a, b) = (order("A", 60), order("B", 60));
    let mut residency = node(100);
    let on_disk = disk(&[&a, &b]);
    residency.desire(ME, [a.clone()].into_iter());
    step(&mut residency, at(0), &on_disk, &BTreeMap::new());
    residency.loaded(at(0), &a.slot, Ok(0));
    let measured = |residency: &mut Residency, free_bytes| {
        let domain = MemoryDomain { free_bytes, ..residency.domains[0].clone() };
        residency.capacity(vec![domain]);
    };
    // Ten bytes are another program's, thirty are ours, and thirty more of ours are mapped, which the system calls free.
    measured(&mut residency, 60);
    assert_eq!((residency.ledger()[0].free_bytes, residency.ledger()[0].budget_bytes()), (30, 90));
    residency.desire(ME, [b.clone()].into_iter());
    assert_eq!(step(&mut residency, at(9), &on_disk, &BTreeMap::new()), [Action::Unload(a.slot)]);
    residency.unloaded(&a.slot);
    assert_eq!((residency.ledger()[0].free_bytes, residency.ledger()[0].budget_bytes()), (90, 90));
    assert_eq!(step(&mut residency, at(9), &on_disk, &BTreeMap::new()), [Action::Load(b)]);
    assert_eq!((residency.ledger()[0].free_bytes, residency.ledger()[0].budget_bytes()), (30, 90));
}

/// A node that holds A, loaded until second 60, and whose plan now has B in its place.
fn to_be_swapped() -> (Residency, PlannedReplica, PlannedReplica, BTreeSet<Digest>) {
    let (a, b) = (order("A", 60), order("B", 60));
    let mut residency = node(100);
    let on_disk = disk(&[&a, &b]);
    residency.desire(ME, [a.clone()].into_iter());
    step(&mut residency, at(0), &on_disk, &BTreeMap::new());
    residency.loaded(at(60), &a.slot, Ok(0));
    step(&mut residency, at(60), &on_disk, &BTreeMap::new());
    residency.desire(ME, [b.clone()].into_iter());
    (residency, a, b, on_disk)
}

/// What a node says of its replica of `slot`, and what kind of refusal.
pub(super) fn said(residency: &Residency, slot: &SlotName) -> Option<(ReplicaState, Option<RefusalCode>)> {
    let statuses = residency.statuses(&BTreeMap::new(), |_| String::new());
    statuses.into_iter().find(|status| &status.slot == slot).map(|status| (status.state, status.refusal))
}

/// A reconciliation while `wanted` is waited for, `pinned` pinned here, and `coming` planned elsewhere.
pub(super) fn step_with(
    residency: &mut Residency,
    now: Time,
    on_disk: &BTreeSet<Digest>,
    [wanted, pinned, coming]: [&[&str]; 3],
) -> Vec<Action> {
    let names = |slots: &[&str]| slots.iter().map(|slot| name(slot)).collect::<BTreeSet<_>>();
    let (wanted, pinned, coming) = (names(wanted), names(pinned), names(coming));
    let in_flight = BTreeMap::new();
    let around =
        Around { on_disk, in_flight: &in_flight, wanted: &wanted, pinned: &pinned, kept: &pinned, coming: &coming };
    residency.reconcile(now, &around)
}

#[test]
fn a_swap_that_is_waited_for_is_overtaken_by_so_many_requests_and_no_more() {
    let (mut residency, a, b, on_disk) = to_be_swapped();
    let contested = |residency: &mut Residency| step_with(residency, at(61), &on_disk, [&["B"], &[], &[]]);
    for taken in 0..limits::OVERTAKES_MAX {
        assert!(contested(&mut residency).is_empty(), "it dwells as long as it loaded");
        assert_eq!(said(&residency, &a.slot), Some((ReplicaState::Ready, Some(RefusalCode::Dwell))));
        assert_eq!(residency.places(&a.slot), limits::OVERTAKES_MAX - taken);
        residency.took(&a.slot);
    }
    assert_eq!(residency.places(&a.slot), 0);
    assert_eq!(contested(&mut residency), [Action::Unload(a.slot)], "long before its dwell has passed");
    residency.unloaded(&a.slot);
    assert_eq!(contested(&mut residency), [Action::Load(b)]);
}

#[test]
fn where_nobody_waits_for_its_memory_a_replica_takes_what_comes_for_its_whole_dwell() {
    let (mut residency, a, _, on_disk) = to_be_swapped();
    for _ in 0..100 {
        assert!(step(&mut residency, at(119), &on_disk, &BTreeMap::new()).is_empty());
        residency.took(&a.slot);
        assert_eq!(residency.places(&a.slot), u32::MAX);
    }
    assert_eq!(step(&mut residency, at(120), &on_disk, &BTreeMap::new()), [Action::Unload(a.slot)]);
}

#[test]
fn who_waited_for_a_replica_has_a_turn_before_it_goes_and_holds_up_the_others_only_so_long() {
    let a = order("A", 60);
    let b = order("B", 60);
    let on_disk = disk(&[&a, &b]);
    let just_loaded = || {
        let mut residency = node(100);
        residency.desire(ME, [a.clone()].into_iter());
        step(&mut residency, at(0), &on_disk, &BTreeMap::new());
        residency.loaded(at(0), &a.slot, Ok(0));
        residency.desire(ME, [b.clone()].into_iter());
        residency
    };
    let both = |residency: &mut Residency, now| step_with(residency, now, &on_disk, [&["A", "B"], &[], &[]]);
    let mut residency = just_loaded();
    for second in 0..5 {
        assert!(both(&mut residency, at(second)).is_empty(), "{second}");
        (0..20).for_each(|_| residency.took(&a.slot));
        assert_eq!(residency.places(&a.slot), u32::MAX, "these do not overtake: they waited as well");
    }
    let over = Time::default().after(limits::FIRST_TURN);
    assert_eq!(residency.next_deadline(at(4)), Some(over));
    assert_eq!(both(&mut residency, over), [Action::Unload(a.slot)]);
    // Once they were served nobody can have the first turn again.
    let mut residency = just_loaded();
    assert!(both(&mut residency, Time(1)).is_empty());
    assert!(step_with(&mut residency, Time(2), &on_disk, [&["B"], &[], &[]]).is_empty(), "it dwells a second");
    assert_eq!(both(&mut residency, at(1)), [Action::Unload(a.slot)]);
}

#[test]
fn what_the_owner_pinned_here_stays_whatever_a_plan_says_but_for_a_newer_version_of_itself() {
    let (mut residency, a, _, on_disk) = to_be_swapped();
    assert!(step_with(&mut residency, at(999), &on_disk, [&["B"], &["A"], &[]]).is_empty());
    assert_eq!(said(&residency, &a.slot), Some((ReplicaState::Ready, Some(RefusalCode::Pinned))));
    assert_eq!(said(&residency, &name("B")), Some((ReplicaState::Loading, Some(RefusalCode::Memory))));
    let newer = PlannedReplica { artifact: Digest::of(b"A2"), ..a.clone() };
    residency.desire(ME, [newer.clone()].into_iter());
    let on_disk = disk(&[&a, &newer]);
    assert_eq!(step_with(&mut residency, at(999), &on_disk, [&[], &["A"], &[]]), [Action::Unload(a.slot)]);
}

#[test]
fn a_replica_that_moves_stays_until_it_answers_elsewhere_unless_its_memory_is_needed() {
    let (mut residency, a, _, on_disk) = to_be_swapped();
    residency.desire(ME, std::iter::empty());
    assert!(step_with(&mut residency, at(999), &on_disk, [&[], &[], &["A"]]).is_empty());
    assert_eq!(said(&residency, &a.slot), Some((ReplicaState::Ready, Some(RefusalCode::Busy))));
    assert_eq!(step(&mut residency.clone(), at(999), &on_disk, &BTreeMap::new()), [Action::Unload(a.slot)]);
    residency.desire(ME, [order("B", 60)].into_iter());
    assert_eq!(step_with(&mut residency, at(999), &on_disk, [&[], &[], &["A"]]), [Action::Unload(a.slot)]);
}

#[test]
fn a_person_puts_away_what_is_neither_pinned_nor_just_loaded_until_it_is_asked_for() {
    let (a, b) = (order("A", 10), order("B", 10));
    let mut residency = node(100);
    let on_disk = disk(&[&a, &b]);
    residency.desire(ME, [a.clone(), b.clone()].into_iter());
    let code = |refused: Result<(), Refusal>| refused.map_err(|refusal| refusal.code());
    assert_eq!(code(residency.put_away(at(0), &a.slot, false)), Err(RefusalCode::Stale));
    step(&mut residency, at(0), &on_disk, &BTreeMap::new());
    assert_eq!(code(residency.put_away(at(0), &a.slot, false)), Err(RefusalCode::Busy));
    residency.loaded(at(9), &a.slot, Ok(0));
    assert_eq!(code(residency.put_away(at(10), &a.slot, false)), Err(RefusalCode::Dwell));
    assert_eq!(code(residency.put_away(at(99), &a.slot, true)), Err(RefusalCode::Pinned));
    assert_eq!(code(residency.put_away(at(99), &a.slot, false)), Ok(()));
    let busy = BTreeMap::from([(a.slot, 1)]);
    assert_eq!(step(&mut residency, at(99), &on_disk, &busy), [Action::Load(b)], "it drains first");
    assert_eq!(step(&mut residency, at(99), &on_disk, &BTreeMap::new()), [Action::Unload(a.slot)]);
    residency.unloaded(&a.slot);
    residency.loaded(at(99), &name("B"), Ok(0));
    assert!(step(&mut residency, at(200), &on_disk, &BTreeMap::new()).is_empty(), "although the plan has it here");
    assert_eq!(said(&residency, &a.slot), None);
    assert_eq!(step_with(&mut residency, at(200), &on_disk, [&["A"], &[], &[]]), [Action::Load(a)]);
}

#[test]
fn what_a_replica_took_once_is_what_it_is_admitted_against() {
    let (a, b) = (order("A", 50), order("B", 45));
    let mut residency = node(100);
    let on_disk = disk(&[&a, &b]);
    residency.desire(ME, [a.clone()].into_iter());
    step(&mut residency, at(0), &on_disk, &BTreeMap::new());
    residency.loaded(at(0), &a.slot, Ok(70));
    assert_eq!(residency.ledger()[0].ours_bytes, 70);
    residency.desire(ME, [b.clone()].into_iter());
    step(&mut residency, at(9), &on_disk, &BTreeMap::new());
    residency.unloaded(&a.slot);
    assert_eq!(step(&mut residency, at(9), &on_disk, &BTreeMap::new()), [Action::Load(b.clone())]);
    residency.loaded(at(9), &b.slot, Ok(45));
    residency.desire(ME, [a.clone(), b].into_iter());
    assert!(step(&mut residency, at(9), &on_disk, &BTreeMap::new()).is_empty(), "the plan's 50 would fit");
    let status = &residency.statuses(&BTreeMap::new(), |_| String::new())[1];
    assert_eq!(status.reason, "needs 70 B, 55 B free after reserve, short 15 B");
}
