//! What becomes of replicas that die, and of a machine whose memory other programs need.

use super::tests::*;
use super::*;
use crate::core::membership::advert::{RefusalCode, ReplicaState};

fn death(cause: Cause, taken_bytes: u64) -> Death {
    Death { why: "it ended".to_owned(), cause, taken_bytes }
}

/// A node with room for `total`, whose plan has `orders`, all of them on disk.
fn planned(total: u64, orders: &[&PlannedReplica]) -> (Residency, BTreeSet<Digest>) {
    let mut residency = node(total);
    residency.desire(ME, orders.iter().map(|order| (*order).clone()));
    (residency, disk(orders))
}

/// Loads whatever is due at `now`; at once.
fn load_all(residency: &mut Residency, now: Time, on_disk: &BTreeSet<Digest>) -> Vec<PlannedReplica> {
    let mut loaded = Vec::new();
    loop {
        let actions = step(residency, now, on_disk, &BTreeMap::new());
        let due: Vec<PlannedReplica> = actions
            .into_iter()
            .filter_map(|action| match action {
                Action::Load(order) => Some(order),
                Action::Stage(..) | Action::Unload(_) => None,
            })
            .collect();
        if due.is_empty() {
            return loaded;
        }
        due.iter().for_each(|order| residency.loaded(now, &order.slot, Ok(0)));
        loaded.extend(due);
    }
}

#[test]
fn one_that_dies_at_once_rests_longer_each_time_and_one_that_lasted_begins_anew() {
    let a = order("A", 10);
    let (mut residency, on_disk) = planned(100, &[&a]);
    let mut now = at(0);
    // It loads well, and dies at once: no load of it may make it forget that.
    for pause in [1, 2, 4, 8, 16, 32, 60, 60] {
        assert_eq!(load_all(&mut residency, now, &on_disk).len(), 1);
        residency.failed(now, &a.slot, death(Cause::Broke, 0));
        assert_eq!(said(&residency, &a.slot), Some((ReplicaState::Failed, None)));
        assert!(step(&mut residency, now, &on_disk, &BTreeMap::new()).is_empty());
        now = now.after(Duration::from_secs(pause));
        assert_eq!(residency.next_deadline(Time(now.0 - 1)), Some(now));
    }
    assert_eq!(load_all(&mut residency, now, &on_disk).len(), 1);
    now = now.after(limits::REPLICA_LASTED);
    residency.failed(now, &a.slot, death(Cause::Broke, 0));
    assert_eq!(residency.next_deadline(now), Some(now.after(limits::LOAD_BACKOFF)));
}

#[test]
fn one_that_ended_as_asked_is_not_called_failed_for_what_was_before() {
    let (a, b) = (order("A", 60), order("B", 60));
    let (mut residency, on_disk) = planned(100, &[&a]);
    residency.failed(at(0), &a.slot, death(Cause::Broke, 0));
    load_all(&mut residency, at(1), &on_disk);
    residency.desire(ME, [b.clone()].into_iter());
    let on_disk = disk(&[&a, &b]);
    assert_eq!(step(&mut residency, at(99), &on_disk, &BTreeMap::new()), [Action::Unload(a.slot)]);
    residency.desire(ME, [a.clone()].into_iter());
    residency.unloaded(&a.slot);
    assert_eq!(said(&residency, &a.slot), Some((ReplicaState::Fetching, None)));
}

#[test]
fn what_was_killed_for_memory_rests_long_and_is_admitted_against_what_it_took() {
    let a = order("A", 50);
    let (mut residency, on_disk) = planned(100, &[&a]);
    load_all(&mut residency, at(0), &on_disk);
    residency.failed(at(0), &a.slot, death(Cause::OutOfMemory, 70));
    let again = at(0).after(limits::OUT_OF_MEMORY_BACKOFF);
    assert!(step(&mut residency, Time(again.0 - 1), &on_disk, &BTreeMap::new()).is_empty());
    let loaded = load_all(&mut residency, again, &on_disk);
    assert_eq!(loaded.iter().map(|order| order.bytes).collect::<Vec<_>>(), [70], "and held to it");
    residency.failed(again, &a.slot, death(Cause::Exceeded, 120));
    let later = again.after(limits::OUT_OF_MEMORY_BACKOFF_MAX);
    assert!(load_all(&mut residency, later, &on_disk).is_empty());
    residency.failures.clear();
    let status = &residency.statuses(&BTreeMap::new(), |_| String::new())[0];
    assert_eq!(status.reason, "needs 120 B, 100 B free after reserve, short 20 B");
}

#[test]
fn what_a_replica_was_promised_and_has_not_taken_yet_is_not_free() {
    let a = order("A", 60);
    let (mut residency, on_disk) = planned(100, &[&a]);
    load_all(&mut residency, at(0), &on_disk);
    // Of its 30 bytes beside weights it has taken 10; another program has 15. The system sees 75 free, mapped weights among them.
    let look = |residency: &mut Residency, free_bytes, private_bytes, locked_bytes| {
        residency.seen(&a.slot, Seen { resident_bytes: 40, private_bytes, locked_bytes });
        residency.capacity(vec![MemoryDomain { free_bytes, ..residency.domains[0].clone() }]);
        residency.ledger()[0].free_bytes
    };
    assert_eq!(look(&mut residency, 75, 10, 0), 100 - 15 - 60);
    assert_eq!(look(&mut residency, 55, 30, 0), 100 - 15 - 60);
    // Locked weights are no longer called free by the system.
    assert_eq!(look(&mut residency, 25, 30, 30), 100 - 15 - 60);
    assert_eq!(look(&mut residency, 45, 30, 10), 100 - 15 - 60);
}

#[test]
fn what_others_took_of_mapped_pages_is_missing_when_the_replica_goes() {
    let a = order("A", 60);
    let (mut residency, on_disk) = planned(100, &[&a]);
    load_all(&mut residency, at(0), &on_disk);
    // Others have 60: the 30 that are A's own remain, and of its 30 of mapped weights the system could keep 10.
    residency.capacity(vec![MemoryDomain { free_bytes: 10, ..residency.domains[0].clone() }]);
    assert_eq!(residency.ledger()[0].free_bytes, 0);
    residency.unloaded(&a.slot);
    assert_eq!(residency.ledger()[0].free_bytes, 40);
}

#[test]
fn what_one_that_ends_has_given_back_already_is_not_free_twice() {
    let a = order("A", 60);
    let (mut residency, on_disk) = planned(100, &[&a]);
    load_all(&mut residency, at(0), &on_disk);
    residency.desire(ME, std::iter::empty());
    assert_eq!(step(&mut residency, at(99), &on_disk, &BTreeMap::new()), [Action::Unload(a.slot)]);
    // It is nearly gone: the system sees free what it had of its own, another program has 15.
    residency.seen(&a.slot, Seen { resident_bytes: 60, private_bytes: 30, locked_bytes: 30 });
    residency.capacity(vec![MemoryDomain { free_bytes: 85, ..residency.domains[0].clone() }]);
    assert_eq!(residency.ledger()[0].free_bytes, 100 - 15 - 60);
    residency.unloaded(&a.slot);
    assert_eq!(residency.ledger()[0].free_bytes, 100 - 15);
}

#[test]
fn under_pressure_nothing_is_loaded_and_nothing_goes_for_what_may_not_be_loaded() {
    let (a, b) = (order("A", 60), order("B", 60));
    let (mut residency, on_disk) = planned(100, &[&a]);
    residency.pressure(Stall { of_10_s: 2345, of_60_s: 1000 });
    assert!(load_all(&mut residency, at(0), &on_disk).is_empty());
    assert_eq!(said(&residency, &a.slot), Some((ReplicaState::Loading, Some(RefusalCode::Memory))));
    let why = "memory is short on this machine: programs waited for it 23.4 % of the last 10 s and 10.0 % of the last minute; \
               nothing more is loaded until that is at most 1.0 %";
    assert_eq!(residency.statuses(&BTreeMap::new(), |_| String::new())[0].reason, why);
    residency.pressure(Stall::default());
    assert_eq!(load_all(&mut residency, at(1), &on_disk).len(), 1);
    // A plan that swaps: what is here goes as the plan says, but is not hurried for what must wait.
    residency.desire(ME, [b.clone()].into_iter());
    residency.pressure(Stall { of_10_s: 10_000, of_60_s: 10_000 });
    let on_disk = disk(&[&a, &b]);
    assert!(step_with(&mut residency, at(1), &on_disk, [&["B"], &[], &[]]).is_empty());
    assert_eq!(residency.places(&a.slot), u32::MAX, "nobody waits for its memory: only for the pressure to end");
}

#[test]
fn under_pressure_what_was_used_longest_ago_goes_one_at_a_time_and_comes_back_when_asked_for() {
    let [a, b, c, d] = ["A", "B", "C", "D"].map(|slot| order(slot, 10));
    let (mut residency, on_disk) = planned(100, &[&a, &b, &c, &d]);
    assert_eq!(load_all(&mut residency, at(0), &on_disk).len(), 4);
    let high = Stall { of_10_s: 5_000, of_60_s: 5_000 };
    let busy = BTreeMap::from([(d.slot, 1)]);
    let (wanted, kept) = (BTreeSet::new(), BTreeSet::from([c.slot]));
    let at_work = |residency: &mut Residency, now, wanted: &BTreeSet<SlotName>| {
        let none = BTreeSet::new();
        let around = Around { on_disk: &on_disk, in_flight: &busy, wanted, pinned: &none, kept: &kept, coming: &none };
        residency.reconcile(now, &around)
    };
    // A was asked something at second 20.
    at_work(&mut residency, at(20), &BTreeSet::from([a.slot]));
    residency.pressure(high);
    assert!(at_work(&mut residency, at(29), &wanted).is_empty(), "nothing has been idle for long");
    assert_eq!(at_work(&mut residency, at(30), &wanted), [Action::Unload(b.slot)]);
    residency.unloaded(&b.slot);
    let next = at(30).after(limits::PRESSURE_REST);
    assert!(at_work(&mut residency, Time(next.0 - 1), &wanted).is_empty());
    assert_eq!(at_work(&mut residency, next, &wanted), [Action::Unload(a.slot)]);
    residency.unloaded(&a.slot);
    // C must be resident, D is at work; and what went comes back only when somebody asks, and when there is no pressure.
    assert!(at_work(&mut residency, at(999), &wanted).is_empty());
    let asked = BTreeSet::from([b.slot]);
    assert!(at_work(&mut residency, at(999), &asked).is_empty());
    residency.pressure(Stall::default());
    assert_eq!(at_work(&mut residency, at(999), &wanted), [Action::Load(b)]);
}
