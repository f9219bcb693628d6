//! A household: swaps, deaths, damage, and machines that come and go.

use super::*;
use crate::core::membership::advert::{ReplicaState, ReplicaStatus};
use crate::core::pins::Pin;
use crate::core::placement::plan::PlannedReplica;
use crate::core::placement::problem::SlotInput;
use crate::core::transfer;

#[test]
fn the_griffith_holds_all_and_the_swapping_node_stores_all() {
    let world = household();
    assert_eq!(world.resident(id(1)), ["A", "B", "C"]);
    assert_eq!(world.nodes[&id(2)].on_disk().len(), 3);
    assert_eq!(world.nodes[&id(3)].on_disk().len(), 0, "a delegate stores nothing");
    let coordinators: BTreeSet<_> = world.nodes.values().map(|m| m.coordinator().map(|(node, _)| node)).collect();
    assert_eq!(coordinators.len(), 1);
}

#[test]
fn a_delegate_is_answered_by_the_holder_and_after_its_death_by_the_other_after_a_swap() {
    let mut world = household();
    world.ask(id(3), 1, "B");
    assert_eq!(world.dispatched, [(id(3), 1, id(1))]);
    world.kill(id(1));
    world.dispatched.clear();
    world.ask(id(3), 2, "C");
    assert!(world.dispatched.is_empty(), "nobody can answer yet");
    world.run(12);
    assert_eq!(world.dispatched, [(id(3), 2, id(2))]);
    world.tell(id(3), Input::RequestEnded(2, true));
    world.ask(id(3), 3, "A");
    world.run(12);
    assert_eq!(world.dispatched.last(), Some(&(id(3), 3, id(2))));
    assert!(world.rejected.is_empty());
}

#[test]
fn what_is_pinned_is_fetched_wherever_the_plan_wants_it_and_a_delegate_keeps_nothing() {
    let mut world = World::new(&[(1, Role::Full, 4 * GIB), (2, Role::Full, 0), (3, Role::Delegate, 16 * GIB)]);
    // Without a roster no plan wants it anywhere.
    world.tell(id(1), Input::Stored(Digest::of(b"A")));
    world.run(20);
    let pins = |pin: Pin| {
        let mut pins = Pins::default();
        assert!(pins.add(pin));
        Input::Pins(pins)
    };
    for node in [2, 3] {
        assert!(!world.nodes[&id(node)].on_disk().contains(&Digest::of(b"A")));
        world.tell(id(node), pins(Pin::Artifact(Digest::of(b"A"))));
    }
    assert!(world.nodes[&id(2)].on_disk().contains(&Digest::of(b"A")));
    let stages: Vec<_> = world.nodes[&id(2)].transfers().iter().map(|(_, transfer)| transfer.stage).collect();
    assert_eq!(stages, [transfer::Stage::Done]);
    assert!(world.nodes[&id(3)].transfers().iter().next().is_none());
    // A slot that is pinned before anything is in it.
    world.tell(id(2), pins(Pin::Slot(slot("B"), None)));
    world.tell(id(1), Input::Stored(Digest::of(b"B")));
    world.run(4);
    for node in [1, 2] {
        world.tell(id(node), Input::Record(Box::new(publication("B"))));
    }
    assert!(world.nodes[&id(2)].on_disk().contains(&Digest::of(b"B")));
}

#[test]
fn when_nobody_left_has_the_weights_the_error_says_so_at_once() {
    let mut world = World::new(&[(1, Role::Full, 128 * GIB), (3, Role::Delegate, 16 * GIB)]);
    world.publish(id(1), &["A"]);
    world.run(20);
    world.kill(id(1));
    world.ask(id(3), 1, "A");
    assert_eq!(world.rejected, [(id(3), 1, "not_resident")]);
    world.ask(id(3), 2, "NOPE");
    assert_eq!(world.rejected[1], (id(3), 2, "model_not_found"));
}

#[test]
fn a_plan_once_carried_out_is_followed_by_no_other() {
    let mut world = household();
    let revisions = |world: &World| world.nodes.values().map(|m| m.plan().map(|p| p.revision)).collect::<Vec<_>>();
    let before = revisions(&world);
    world.run(120);
    assert_eq!(revisions(&world), before);
}

#[test]
fn a_plan_made_without_a_node_takes_nothing_from_it() {
    let mut world = household();
    let plan = world.nodes[&id(1)].plan().expect("there is one").clone();
    let mut foreign = Plan { author: id(2), epoch: plan.epoch + 1, ..plan };
    foreign.replicas.retain(|replica| replica.node != id(1));
    foreign.roles.retain(|(node, _)| *node != id(1));
    world.tell(id(1), Input::PlanOffered { from: id(2), plan: Arc::new(foreign) });
    assert_eq!(world.resident(id(1)), ["A", "B", "C"]);
}

#[test]
fn a_replica_that_answers_outweighs_one_that_is_only_planned() {
    let world = household();
    // Node 2 sat in a partition and planned C for itself; now it hears the Griffith again, where C answers.
    let plan = world.nodes[&id(1)].plan().expect("there is one");
    let planned = PlannedReplica { node: id(2), slot: slot("C"), ..plan.replicas[0].clone() };
    let mut there = world.nodes[&id(1)].own_advert();
    let mut elsewhere = Advert { node: id(2), replicas: Vec::new(), ..there.clone() };
    let check = |there: &Advert, elsewhere: &Advert, expect: u8| {
        let nodes = [there, elsewhere].map(|advert| world.nodes[&id(1)].node_input(advert));
        let previous = previous::of(std::slice::from_ref(&planned), &[there, elsewhere], &nodes, &[]).0;
        let previous: Vec<_> = previous.iter().map(|replica| (replica.slot.as_str(), replica.node)).collect();
        assert_eq!(previous, [("C", id(expect))]);
    };
    check(&there, &elsewhere, 1);
    // So does one that loads already, until it loads where it is planned too.
    let of_c = there.replicas.iter_mut().find(|replica| replica.slot == slot("C")).expect("it is there");
    of_c.state = ReplicaState::Loading;
    elsewhere.replicas = vec![ReplicaStatus { state: ReplicaState::Fetching, ..of_c.clone() }];
    check(&there, &elsewhere, 1);
    elsewhere.replicas[0].state = ReplicaState::Loading;
    check(&there, &elsewhere, 2);
}

#[test]
fn what_is_on_its_way_to_a_gpu_goes_on_and_what_answers_meanwhile_keeps_its_memory() {
    let world = household();
    let there = world.nodes[&id(1)].own_advert();
    let mut elsewhere = Advert { node: id(2), replicas: Vec::new(), ..there.clone() };
    elsewhere.domains[0] = MemoryDomain { name: "gpu0".into(), kind: DomainKind::Vram, ..there.domains[0].clone() };
    let plan = world.nodes[&id(1)].plan().expect("there is one");
    let of_c = plan.replicas.iter().find(|replica| replica.slot == slot("C")).expect("it is there").clone();
    let planned = PlannedReplica { node: id(2), memory_domain: "gpu0".into(), ..of_c };
    let of = |there: &Advert, elsewhere: &Advert, slots: &[SlotInput]| {
        let nodes = [there, elsewhere].map(|advert| world.nodes[&id(1)].node_input(advert));
        let (before, leaving) = previous::of(std::slice::from_ref(&planned), &[there, elsewhere], &nodes, slots);
        (before.iter().map(|one| one.node.0[0]).collect::<Vec<_>>(), leaving)
    };
    let (before, leaving) = of(&there, &elsewhere, &[]);
    assert_eq!((before, leaving.len()), (vec![2], 1));
    assert_eq!((leaving[0].slot, leaving[0].node), (slot("C"), id(1)));
    // Where it cannot arrive it counts as planned where it answers.
    let arrives = |elsewhere: &Advert, slots: &[SlotInput]| {
        let (before, leaving) = of(&there, elsewhere, slots);
        assert_eq!(before.len() + leaving.len(), if before == [2] { 2 } else { 1 });
        before == [2]
    };
    let mut tight = elsewhere.clone();
    (tight.domains[0].free_bytes, tight.domains[0].ours_bytes) = (GIB / 2, 0);
    let status = there.replicas.iter().find(|replica| replica.slot == slot("C")).expect("it is there").clone();
    let failed = ReplicaStatus { state: ReplicaState::Failed, memory_domain: "gpu0".into(), ..status };
    let failing = Advert { replicas: vec![failed], ..elsewhere.clone() };
    let problem = world.nodes[&id(1)].problem();
    let input = problem.slots.iter().find(|input| input.name == slot("C")).expect("it is published");
    let pinned = SlotInput { pinned_on: vec![id(1)], ..input.clone() };
    let delegate = Advert { role: Role::Delegate, ..elsewhere.clone() };
    assert!(arrives(&elsewhere, std::slice::from_ref(input)));
    assert!(!arrives(&tight, &[]) && !arrives(&failing, &[]) && !arrives(&delegate, &[]));
    assert!(!arrives(&elsewhere, &[pinned]));
    // Its GPU is gone: what answers is all there is.
    let nodes = [world.nodes[&id(1)].node_input(&there)];
    let (before, leaving) = previous::of(std::slice::from_ref(&planned), &[&there], &nodes, &[]);
    assert_eq!((before[0].node, leaving.len()), (id(1), 0));
    // From one GPU to another nothing goes.
    let mut fast = there.clone();
    fast.domains[0].kind = DomainKind::Vram;
    let (before, leaving) = of(&fast, &elsewhere, &[]);
    assert_eq!((before, leaving.len()), (vec![1], 0));
}

#[test]
fn the_memory_of_what_answers_meanwhile_is_kept_but_not_from_what_was_planned_there() {
    let world = household();
    let problem = world.nodes[&id(1)].problem();
    let of = |name: &str| problem.previous.iter().find(|one| one.slot == slot(name)).expect("it is there").clone();
    let (leaving, staying) = (of("C"), of("A"));
    let check = |before: &[PlannedReplica], free: u64, expect: u64| {
        let mut nodes = problem.nodes.clone();
        nodes[0].domains[0].budget_bytes = leaving.bytes + free;
        previous::keep_room(&mut nodes, &leaving, before, &problem.slots);
        assert_eq!(nodes[0].domains[0].budget_bytes, expect);
    };
    check(&[], 7, 7);
    check(std::slice::from_ref(&staying), staying.bytes, staying.bytes);
    // What was planned there before needs more by now.
    let more = PlannedReplica { bytes: staying.bytes + 9, ..staying.clone() };
    check(&[more], staying.bytes, staying.bytes + 9);
}

#[test]
fn a_replica_that_moves_answers_until_it_is_there_also_if_another_answers() {
    let mut world = World::new(&[1, 2, 3, 4].map(|node| (node, Role::Full, 8 * GIB)));
    world.publish(id(1), &["A"]);
    world.run(40);
    let plan = world.nodes[&id(1)].plan().expect("there is one").clone();
    assert_eq!((plan.replicas.len(), plan.author), (1, id(1)));
    let at = |node: u8| PlannedReplica { node: id(node), ..plan.replicas[0].clone() };
    let follow = |world: &mut World, revision: u64, replicas: Vec<PlannedReplica>| {
        let next = Arc::new(Plan { revision: plan.revision + revision, replicas, ..plan.clone() });
        for node in [2, 3] {
            world.tell(id(node), Input::PlanOffered { from: id(1), plan: Arc::clone(&next) });
        }
    };
    follow(&mut world, 1, vec![at(2), at(3)]);
    assert_eq!((world.resident(id(2)), world.resident(id(3))), (vec!["A".to_owned()], vec!["A".to_owned()]));
    // One of both moves to machine 4, which has not heard of it yet.
    follow(&mut world, 2, vec![at(3), at(4)]);
    world.run(2);
    assert_eq!(world.resident(id(2)), ["A"]);
}

#[test]
fn damaged_weights_take_their_replica_along_and_bring_it_back_once_repaired() {
    let mut world = household();
    let artifact = Digest::of(b"A");
    world.log.clear();
    world.tell(id(1), Input::Damaged(artifact, 1));
    assert!(world.nodes[&id(1)].on_disk().contains(&artifact), "fetched again from the other machine");
    assert!(world.nodes[&id(1)].damaged().is_empty());
    let of_griffith: Vec<&str> =
        world.log.iter().filter(|(node, _)| *node == id(1)).map(|(_, what)| what.as_str()).collect();
    assert_eq!(of_griffith, ["unload A", "load A"]);

    // Nobody else has it: it stays damaged, is not said to be whole, and is not loaded.
    world.kill(id(2));
    world.tell(id(1), Input::Damaged(artifact, 1));
    world.run(20);
    let griffith = &world.nodes[&id(1)];
    assert!(griffith.damaged().contains(&artifact) && !griffith.own_advert().stores(&artifact));
    let ready = |slot: &str| {
        let replicas = griffith.own_advert().replicas;
        replicas.iter().any(|replica| replica.slot.as_str() == slot && replica.state == ReplicaState::Ready)
    };
    assert!(!ready("A") && ready("B"));

    // Published again, it is whole.
    world.tell(id(1), Input::Stored(artifact));
    world.run(5);
    assert!(world.nodes[&id(1)].own_advert().stores(&artifact) && world.nodes[&id(1)].damaged().is_empty());
    // What was deleted is no longer said to be here.
    world.tell(id(1), Input::Dropped(Digest::of(b"B")));
    assert!(!world.nodes[&id(1)].own_advert().stores(&Digest::of(b"B")));
}

/// The machine that sits and holds everything is revoked: nothing of it is left, the seat is taken by another, which also
/// takes over what the others can hold.
#[test]
fn a_revoked_coordinator_leaves_its_seat_and_its_replicas_to_the_others() {
    let mut world = household();
    let gone = world.nodes[&id(2)].coordinator().expect("somebody sits").0;
    assert_eq!(gone, id(1));
    let roster = MemberRoster::clone(&world.nodes[&gone].config().members);
    let members = roster.members.iter().filter(|member| member.node != gone).cloned().collect();
    let without = MemberRoster { members, version: roster.version + 1, ..roster };
    world.nodes.remove(&gone);
    for node in [id(2), id(3)] {
        world.tell(node, Input::Members(without.clone()));
        let machine = &world.nodes[&node];
        assert!(machine.table().get(&gone).is_none() && machine.coordinator().is_none_or(|(holder, _)| holder != gone));
        // The network's word on what it has just cut comes after, and brings nothing back.
        world.tell(node, Input::Disconnected(gone));
        world.tell(node, Input::Connected(gone));
        assert!(world.nodes[&node].table().get(&gone).is_none());
    }
    world.run(40);
    assert_eq!(world.nodes[&id(3)].coordinator().map(|(holder, _)| holder), Some(id(2)));
    let plan = world.nodes[&id(3)].plan().expect("a plan of the new holder");
    assert!(plan.roles.iter().all(|(node, _)| *node != gone) && plan.replicas.iter().all(|r| r.node == id(2)));
    assert_eq!(world.resident(id(2)).len(), 1);
    world.ask(id(3), 1, &world.resident(id(2))[0].clone());
    assert_eq!(world.dispatched.last(), Some(&(id(3), 1, id(2))));
}

/// What machine 2 has on its GPU after so many seconds.
fn on_the_gpu(world: &mut World, seconds: u64) -> Vec<String> {
    world.run(seconds);
    let replicas = world.nodes[&id(2)].own_advert().replicas;
    let there =
        replicas.iter().filter(|replica| replica.memory_domain == "gpu0" && replica.state == ReplicaState::Ready);
    there.map(|replica| replica.slot.to_string()).collect()
}

#[test]
fn a_manager_moves_to_a_gpu_whose_machine_has_been_there_for_a_while() {
    let mut world = household();
    let domain = |name: &str, kind, bytes| MemoryDomain {
        name: name.into(),
        kind,
        total_bytes: bytes,
        free_bytes: bytes,
        reserve_bytes: 0,
        ours_bytes: 0,
        hosts: true,
    };
    let domains = vec![domain("ram", DomainKind::Ram, GIB), domain("gpu0", DomainKind::Vram, 2 * GIB)];
    world.tell(id(2), Input::Hardware { domains, disk_free_bytes: 1 << 40, on_battery: false });
    let (young, old) = (limits::STEADY_AFTER.as_millis() / 1000 - 60, 90);
    assert!(on_the_gpu(&mut world, young).is_empty(), "it has not been there for long");
    world.tell(id(1), Input::Disconnected(id(2)));
    world.tell(id(1), Input::Connected(id(2)));
    assert!(on_the_gpu(&mut world, old).is_empty(), "it was away for a moment");
    // Until it runs there it answers where it is, however long that takes.
    world.slow_loads.insert(id(2));
    assert!(on_the_gpu(&mut world, young).is_empty());
    let of_2 = world.nodes[&id(2)].own_advert().replicas;
    let moving = of_2.iter().find(|replica| replica.memory_domain == "gpu0").expect("it loads").slot;
    assert_eq!((world.resident(id(1)).len(), world.plans().len()), (3, 1));
    world.tell(id(2), Input::Loaded(moving, Ok(0)));
    assert_eq!(on_the_gpu(&mut world, 5), [moving.to_string()]);
    assert_eq!((world.resident(id(1)).len(), world.plans().len()), (2, 1));
}
