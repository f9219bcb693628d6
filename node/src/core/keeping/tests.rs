//! Whatever is on the disk and whoever holds it elsewhere: nothing that must stay is deleted; and of any number of nodes that
//! collect at the same moment, over a network that delays, loses and a world that crashes and sleeps, one keeps its copy.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::holds::{AskRefusal, HoldRefusal, Holds, Promise};
use super::*;
use crate::core::limits;

const ARTIFACTS: u8 = 8;

fn digest(n: u8) -> Digest {
    Digest([n; 32])
}

fn node(n: u8) -> NodeId {
    NodeId([n; 32])
}

fn on_disk(n: u8, bytes: u64) -> OnDisk {
    OnDisk { artifact: digest(n), bytes, complete: true, idle_since: u64::from(n) }
}

fn held_by(nodes: &[(u8, bool)]) -> Vec<Holder> {
    nodes.iter().map(|&(n, connected)| Holder { node: node(n), connected }).collect()
}

fn why(decision: &Decision, n: u8) -> String {
    let kept = decision.keep.iter().find(|kept| kept.artifact == digest(n)).expect("it is kept");
    kept.why.sentence(|node| format!("node {}", node.0[0]))
}

#[test]
fn each_reason_to_stay_is_named() {
    let snapshot = Snapshot {
        here: (1..=8).map(|n| on_disk(n, 10)).collect(),
        named: [digest(3)].into(),
        pinned: [digest(1)].into(),
        planned: Some([digest(3)].into()),
        resident: [digest(2)].into(),
        under_way: [digest(4)].into(),
        promised: [(digest(5), node(7))].into(),
        holders: [(digest(7), held_by(&[(9, false)])), (digest(8), held_by(&[(8, false), (9, true)]))].into(),
        ..Snapshot::default()
    };
    let decision = decide(&snapshot, Need::All);
    let expect = [
        (1, "pinned on this node"),
        (2, "resident on this node"),
        (3, "wanted here by the plan"),
        (4, "a transfer or a repair is working on it"),
        (5, "held for node 7, which deleted or is deleting its own copy"),
        (6, "the last verified copy in the federation"),
        (7, "the only other holder, node 9, is not connected"),
    ];
    for (n, sentence) in expect {
        assert_eq!(why(&decision, n), sentence);
    }
    let deletion = Deletion { artifact: digest(8), bytes: 10, why: Why::Superseded, ask: vec![node(9)] };
    assert_eq!(decision.delete, [deletion]);
    assert_eq!(decision.bytes(), 10);
}

#[test]
fn garbage_goes_before_what_a_slot_names_and_no_more_than_is_needed() {
    let everywhere = |n| (digest(n), held_by(&[(9, true)]));
    let snapshot = Snapshot {
        here: (1..=4).map(|n| on_disk(n, 100)).collect(),
        named: [digest(1), digest(2)].into(),
        planned: Some(BTreeSet::new()),
        holders: (1..=4).map(everywhere).collect(),
        ..Snapshot::default()
    };
    let order: Vec<Digest> = decide(&snapshot, Need::All).delete.iter().map(|deletion| deletion.artifact).collect();
    assert_eq!(order, [3, 4, 1, 2].map(digest));
    let decision = decide(&snapshot, Need::Bytes(101));
    assert_eq!(decision.delete.len(), 2);
    assert_eq!(why(&decision, 2), "enough is freed without it");
}

#[test]
fn over_budget_spare_copies_go_last_and_only_as_many_as_it_takes() {
    let everywhere = |n| (digest(n), held_by(&[(9, true)]));
    let mut snapshot = Snapshot {
        here: (1..=4).map(|n| on_disk(n, 100)).collect(),
        named: (1..=3).map(digest).collect(),
        planned: Some((1..=3).map(digest).collect()),
        needed: [digest(1)].into(),
        holders: (1..=4).map(everywhere).collect(),
        over_budget_bytes: 150,
        ..Snapshot::default()
    };
    let gone = |snapshot: &Snapshot| -> Vec<(Digest, Why)> {
        decide(snapshot, Need::All).delete.iter().map(|deletion| (deletion.artifact, deletion.why)).collect()
    };
    assert_eq!(gone(&snapshot), [(digest(4), Why::Superseded), (digest(2), Why::Spare)]);
    snapshot.holders.remove(&digest(2));
    assert_eq!(
        gone(&snapshot),
        [(digest(4), Why::Superseded), (digest(3), Why::Spare)],
        "held elsewhere, or not at all"
    );
    snapshot.over_budget_bytes = 0;
    assert_eq!(gone(&snapshot), [(digest(4), Why::Superseded)]);
}

#[test]
fn only_the_owner_makes_a_last_copy_go_and_only_of_what_no_slot_names() {
    let forget: BTreeSet<Digest> = [digest(1), digest(2)].into();
    let here = vec![on_disk(1, 1), on_disk(2, 1)];
    let snapshot = Snapshot { here, named: [digest(2)].into(), forget, planned: None, ..Snapshot::default() };
    let decision = decide(&snapshot, Need::All);
    assert_eq!(decision.delete.len(), 1);
    assert_eq!((decision.delete[0].artifact, decision.delete[0].why), (digest(1), Why::Forgotten));
    assert_eq!(why(&decision, 2), "a slot names it, and no plan has reached this node yet");
}

#[test]
fn a_budget_refuses_with_its_arithmetic() {
    assert_eq!(BudgetShort::check(6, 4, 10), Ok(()));
    let refusal = BudgetShort::check(6 << 30, 5 << 30, 10 << 30).expect_err("over");
    assert_eq!(refusal.short_bytes(), 1 << 30);
    let expect =
        "not enough disk budget: 6.0 GiB are used and 5.0 GiB needed, together 11.0 GiB of 10.0 GiB, short 1.0 GiB";
    assert_eq!(refusal.to_string(), expect);
    assert!(BudgetShort::check(u64::MAX, u64::MAX, 1).is_err());
}

fn some_artifacts() -> impl Strategy<Value = BTreeSet<Digest>> {
    prop::collection::btree_set((0..ARTIFACTS).prop_map(digest), 0..5)
}

fn snapshots() -> impl Strategy<Value = Snapshot> {
    let here = prop::collection::btree_map(0..ARTIFACTS, (any::<bool>(), 1u64..100, 0u64..5), 0..8);
    let holders = prop::collection::btree_map(
        (0..ARTIFACTS).prop_map(digest),
        prop::collection::vec((10u8..14, any::<bool>()), 0..3),
        0..8,
    );
    let sets = (
        some_artifacts(),
        some_artifacts(),
        prop::option::of(some_artifacts()),
        some_artifacts(),
        some_artifacts(),
        some_artifacts(),
    );
    let promised = prop::collection::btree_map((0..ARTIFACTS).prop_map(digest), (10u8..14).prop_map(node), 0..3);
    let budget = (some_artifacts(), 0u64..200);
    (here, holders, sets, promised, budget).prop_map(|(here, holders, sets, promised, budget)| {
        let (needed, over_budget_bytes) = budget;
        let (named, pinned, planned, resident, under_way, forget) = sets;
        let here = here.into_iter().map(|(n, (complete, bytes, idle_since))| OnDisk {
            artifact: digest(n),
            bytes,
            complete,
            idle_since,
        });
        let holders = holders.into_iter().map(|(artifact, list)| (artifact, held_by(&list))).collect();
        Snapshot {
            here: here.collect(),
            named,
            pinned,
            planned,
            needed,
            over_budget_bytes,
            resident,
            under_way,
            promised,
            holders,
            forget,
        }
    })
}

proptest! {
    // Rare combinations matter here, and a case costs microseconds.
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn nothing_that_must_stay_is_deleted(snapshot in snapshots(), need in prop::option::of(0u64..400)) {
        let need = need.map_or(Need::All, Need::Bytes);
        let decision = decide(&snapshot, need);
        prop_assert_eq!(decision.delete.len() + decision.keep.len(), snapshot.here.len(), "everything is accounted for");
        for deletion in &decision.delete {
            let artifact = &deletion.artifact;
            prop_assert!(!snapshot.pinned.contains(artifact) && !snapshot.resident.contains(artifact));
            prop_assert!(!snapshot.under_way.contains(artifact) && !snapshot.promised.contains_key(artifact));
            let planned = snapshot.planned.as_ref().is_some_and(|planned| planned.contains(artifact));
            prop_assert_eq!(planned, deletion.why == Why::Spare);
            prop_assert!(!planned || (snapshot.over_budget_bytes > 0 && !snapshot.needed.contains(artifact)));
            prop_assert!(snapshot.planned.is_some() || !snapshot.named.contains(artifact));
            let holders = snapshot.holders.get(artifact).cloned().unwrap_or_default();
            let connected = |node: &NodeId| holders.iter().any(|holder| holder.node == *node && holder.connected);
            prop_assert!(deletion.ask.iter().all(connected));
            if deletion.ask.is_empty() {
                prop_assert_eq!(deletion.why, Why::Forgotten);
                prop_assert!(snapshot.forget.contains(artifact) && !snapshot.named.contains(artifact));
            }
        }
        if let Need::Bytes(bytes) = need {
            let last = decision.delete.last().map_or(0, |deletion| deletion.bytes);
            prop_assert!(decision.delete.is_empty() || decision.bytes() - last < bytes, "no more than it takes");
        }
        prop_assert_eq!(decide(&snapshot, need), decision);
    }
}

#[test]
fn of_two_that_ask_each_other_the_lower_goes_first() {
    let x = digest(1);
    let (mut low, mut high) = (Holds::new(node(1), [], 0), Holds::new(node(2), [], 0));
    let (low_asks, high_asks) = (low.ask(x, 100).expect("may ask"), high.ask(x, 100).expect("may ask"));
    assert_eq!(low.promise(x, node(2), true, 100), Err(HoldRefusal::Deleting));
    assert!(high.promise(x, node(1), true, 100).is_ok());
    assert!(low.granted(&x, low_asks, 101));
    assert!(!high.granted(&x, high_asks, 101), "its request was given up");
    assert_eq!(high.ask(x, 101), Err(AskRefusal::Promised(node(1))));
    low.ended(&x, low_asks);
    assert!(high.ask(x, 100 + limits::HOLD_LIFE_S).is_ok(), "a promise ends");
}

#[test]
fn a_promise_survives_a_restart_and_a_clock_that_was_set_back() {
    let kept = Promise { artifact: digest(1), to: node(2), until_unix_s: 5_000 };
    let mut holds = Holds::new(node(1), [kept], 4_500);
    assert_eq!(holds.ask(digest(1), 4_999), Err(AskRefusal::Promised(node(2))));
    assert!(holds.ask(digest(1), 5_000).is_ok());
    let mut set_back = Holds::new(node(1), [kept], 10);
    assert!(set_back.ask(digest(1), 11 + limits::HOLD_LIFE_S).is_ok(), "it is not believed for an hour");
    assert_eq!(set_back.promise(digest(2), node(2), false, 20), Err(HoldRefusal::NotHeld));
}

#[test]
fn a_late_answer_is_not_relied_on() {
    let mut holds = Holds::new(node(1), [], 0);
    let serial = holds.ask(digest(1), 1_000).expect("may ask");
    assert!(!holds.granted(&digest(1), serial, 1_001 + limits::HOLD_LIFE_S - limits::HOLD_MARGIN_S));
    assert!(!holds.granted(&digest(1), serial, 999), "the clock was set back");
    assert!(!holds.granted(&digest(1), serial + 1, 1_000), "the answer to another request");
}

/// A world of a few nodes that all hold one artifact and all want to be rid of it.
struct World {
    random: u64,
    now: u64,
    nodes: Vec<Party>,
    /// Requests and answers under way: (to, from, serial, answer).
    wire: Vec<(usize, usize, u64, Option<bool>)>,
}

struct Party {
    holds: Holds,
    /// What lies on its disk: the copy, and its promises.
    has: bool,
    kept: Vec<Promise>,
    asleep: bool,
    /// Granted and about to delete.
    deleting: Option<u64>,
}

impl World {
    fn new(seed: u64) -> World {
        let mut world =
            World { random: seed.wrapping_mul(2).wrapping_add(1), now: 10_000, nodes: Vec::new(), wire: Vec::new() };
        let count = 2 + world.below(4);
        let party = |n: usize| Party {
            holds: Holds::new(node(n as u8), [], 0),
            has: true,
            kept: Vec::new(),
            asleep: false,
            deleting: None,
        };
        world.nodes = (0..count).map(party).collect();
        world
    }

    fn below(&mut self, n: usize) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 11) as usize % n
    }

    fn step(&mut self) {
        let at = self.below(self.nodes.len());
        match self.below(20) {
            0 => self.now += [1, 200, 700, 4_000][self.below(4)],
            1 => self.nodes[at].asleep = !self.nodes[at].asleep,
            2 => self.crash(at),
            3..=7 => self.collect(at),
            8..=10 => self.delete(at),
            _ => self.deliver(),
        }
    }

    /// Forgets what was only in memory.
    fn crash(&mut self, at: usize) {
        let party = &mut self.nodes[at];
        (party.holds, party.deleting) = (Holds::new(node(at as u8), party.kept.clone(), self.now), None);
    }

    /// Asks somebody who, as far as anybody may think, still has a copy.
    fn collect(&mut self, at: usize) {
        let other = self.below(self.nodes.len());
        let now = self.now;
        let party = &mut self.nodes[at];
        if party.asleep || !party.has || other == at {
            return;
        }
        if let Ok(serial) = party.holds.ask(digest(1), now) {
            self.wire.push((other, at, serial, None));
        }
    }

    fn deliver(&mut self) {
        if self.wire.is_empty() {
            return;
        }
        let at = self.below(self.wire.len());
        let (to, from, serial, answer) = self.wire.swap_remove(at);
        if self.nodes[to].asleep || self.below(8) == 0 {
            return self.lost(to, from, serial, answer);
        }
        let now = self.now;
        let party = &mut self.nodes[to];
        match answer {
            None => {
                let promised = party.holds.promise(digest(1), node(from as u8), party.has, now).is_ok();
                party.kept = party.holds.promises().collect();
                self.wire.push((from, to, serial, Some(promised)));
            }
            Some(true) if party.holds.granted(&digest(1), serial, now) => party.deleting = Some(serial),
            Some(_) => party.holds.ended(&digest(1), serial),
        }
    }

    /// Whoever waits for an answer that does not come gives up.
    fn lost(&mut self, to: usize, from: usize, serial: u64, answer: Option<bool>) {
        let asker = if answer.is_none() { from } else { to };
        self.nodes[asker].holds.ended(&digest(1), serial);
    }

    fn delete(&mut self, at: usize) {
        let party = &mut self.nodes[at];
        if let Some(serial) = party.deleting.filter(|_| !party.asleep) {
            (party.has, party.deleting) = (false, None);
            party.holds.ended(&digest(1), serial);
        }
    }
}

#[test]
fn whoever_collects_whenever_one_copy_stays() {
    let mut deletions = BTreeMap::new();
    for seed in 0..4_000 {
        let mut world = World::new(seed);
        for step in 0..400 {
            world.step();
            let copies = world.nodes.iter().filter(|party| party.has).count();
            assert!(copies > 0, "seed {seed}, step {step}: the last copy is gone");
        }
        let gone = world.nodes.iter().filter(|party| !party.has).count();
        *deletions.entry((world.nodes.len(), gone)).or_insert(0) += 1;
    }
    // The test would be worth nothing if nobody ever deleted: often all but one do.
    for count in 2..=5 {
        assert!(deletions.get(&(count, count - 1)).is_some_and(|worlds| *worlds > 50), "{deletions:?}");
    }
}
