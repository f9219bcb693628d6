//! What people ask for and wish: demand, pins on machines, drained machines, loads and evictions, and who waits for how long.

use super::*;
use crate::core::catalog::Wishes;
use crate::core::coordinator::Standing;
use crate::core::membership::advert::ReplicaState;
use crate::core::residency::Refusal;

/// A wish of machine `node`, written by machine 1.
fn wish(world: &mut World, node: u8, pinned: &[&str], drained: bool) {
    let wishes = Wishes { node: id(node), pinned: pinned.iter().map(|name| slot(name)).collect(), drained };
    let entry = Entry::Wishes(wishes);
    let writer = *world.nodes.keys().next().expect("somebody");
    let sequence = world.nodes[&writer].config().catalog.next_sequence(&entry.key());
    let signed = format!("{node}{pinned:?}{drained}{sequence}").into_bytes();
    world.tell(writer, Input::Record(Box::new(Record { sequence, author: writer, entry, signed })));
}

fn ready(world: &World, node: u8) -> Vec<String> {
    let replicas = world.nodes[&id(node)].own_advert().replicas;
    let ready = replicas.iter().filter(|replica| replica.state == ReplicaState::Ready);
    ready.map(|replica| replica.slot.to_string()).collect()
}

#[test]
fn a_forwarded_request_is_counted_once_and_all_members_rates_are_summed() {
    let mut world = household();
    for request in 0..10 {
        world.ask(id(3), request, "A");
        world.tell(id(3), Input::RequestEnded(request, true));
        // As the holder sees it: another member sent it.
        let forwarded = Ask { local_only: true, unverified: false, ..Ask::new(slot("A"), world.now) };
        world.tell(id(1), Input::Request(100 + request, forwarded));
        world.tell(id(1), Input::RequestEnded(100 + request, true));
    }
    world.ask(id(2), 1, "A");
    world.ask(id(2), 2, "NOPE");
    world.run(3);
    let rate = |node: u8| world.nodes[&id(node)].demand_milli_per_hour(&slot("A"));
    // Eleven requests, each ln 2 per hour; none of them counted twice.
    assert!((11 * 690..=11 * 694).contains(&rate(1)), "{}", rate(1));
    assert_eq!((rate(2), rate(3)), (rate(1), rate(1)), "and everybody sees the same");
    assert_eq!(world.nodes[&id(1)].own_advert().demand, []);
    assert_eq!(world.nodes[&id(2)].own_advert().demand.len(), 1, "what is in no roster is not counted");
}

#[test]
fn demand_moves_the_figures_of_a_plan_and_a_breath_of_traffic_publishes_none() {
    let mut world = household();
    let demand = |world: &World, name: &str| {
        let problem = world.nodes[&id(1)].problem();
        problem.slots.iter().find(|input| input.name == slot(name)).map(|input| input.demand_per_hour)
    };
    let plans = world.plans();
    for request in 0..5 {
        world.ask(id(3), request, "C");
        world.tell(id(3), Input::RequestEnded(request, true));
    }
    world.run(5);
    assert_eq!((demand(&world, "C"), world.plans()), (Some(1), plans.clone()));
    for request in 10..210 {
        world.ask(id(3), request, "C");
        world.tell(id(3), Input::RequestEnded(request, true));
    }
    world.run(5);
    assert!(demand(&world, "C") > Some(100), "{:?}", demand(&world, "C"));
    assert_eq!(world.plans(), plans, "nothing had to move");
}

#[test]
fn a_slot_that_is_pinned_on_a_machine_is_resident_there_and_may_go_when_it_is_unpinned() {
    let mut world = household();
    assert_eq!(ready(&world, 2).len(), 0, "one machine holds all");
    wish(&mut world, 2, &["B"], false);
    world.run(10);
    assert_eq!(ready(&world, 2), ["B"]);
    // Somebody asks for what would need its memory: it stays.
    world.kill(id(1));
    world.run(10);
    world.ask(id(3), 1, "C");
    world.run(10);
    assert_eq!((ready(&world, 2), world.dispatched.last()), (vec!["B".to_owned()], None));
    assert_eq!(world.rejected, [(id(3), 1, "no_room")]);
    wish(&mut world, 2, &[], false);
    world.ask(id(3), 2, "C");
    world.run(10);
    assert_eq!((ready(&world, 2), world.dispatched.last()), (vec!["C".to_owned()], Some(&(id(3), 2, id(2)))));
}

#[test]
fn a_pin_outlives_the_absence_of_its_machine_and_the_plan_says_why_it_is_not_met() {
    let mut world = household();
    let away = world.nodes.remove(&id(2)).expect("there");
    for other in [id(1), id(3)] {
        world.tell(other, Input::Disconnected(id(2)));
        world.tell(other, Input::DialFailed { node: id(2), refused: true });
    }
    wish(&mut world, 2, &["B"], false);
    world.run(5);
    let plan = world.nodes[&id(1)].plan().expect("a plan").clone();
    let why: Vec<_> = plan.shortfalls.iter().map(|short| (short.slot.as_str(), short.why.as_str())).collect();
    assert_eq!(why, [("B", "the machine that it is pinned on is not there")]);
    world.ask(id(3), 1, "B");
    assert_eq!(world.dispatched.last(), Some(&(id(3), 1, id(1))), "B answers where it was");
    world.nodes.insert(id(2), away);
    for other in [id(1), id(3)] {
        world.heal(id(2), other);
    }
    world.run(15);
    assert_eq!(ready(&world, 2), ["B"]);
}

#[test]
fn a_drained_machine_gives_its_replicas_and_its_seat_away_and_serves_until_others_do() {
    let mut world = World::new(&[(1, Role::Full, 4 * GIB), (2, Role::Full, 0), (3, Role::Delegate, 0)]);
    world.publish(id(1), &["A"]);
    world.run(20);
    assert_eq!((ready(&world, 1), world.nodes[&id(1)].standing()), (vec!["A".to_owned()], Standing::Coordinator));
    // The other machine has the room, but its disk is slow: A stays until it answers there.
    let roomy = MemoryDomain {
        free_bytes: 4 * GIB,
        total_bytes: 4 * GIB,
        ..world.nodes[&id(1)].own_advert().domains[0].clone()
    };
    world.tell(id(2), Input::Hardware { domains: vec![roomy], disk_free_bytes: 1 << 40, on_battery: false });
    world.slow_loads.insert(id(2));
    wish(&mut world, 1, &[], true);
    world.run(8);
    assert_eq!(world.nodes[&id(1)].standing(), Standing::Draining);
    assert_eq!(world.seats(), BTreeSet::from([Some(id(2))]));
    let mine = world.nodes[&id(1)].own_advert().replicas;
    assert_eq!((ready(&world, 1), mine[0].refusal.map(|code| code.as_str())), (vec!["A".to_owned()], Some("busy")));
    world.ask(id(3), 1, "A");
    assert_eq!(world.dispatched.last(), Some(&(id(3), 1, id(1))));
    world.tell(id(3), Input::RequestEnded(1, true));
    world.slow_loads.clear();
    world.tell(id(2), Input::Loaded(slot("A"), Ok(0)));
    world.run(3);
    assert_eq!((ready(&world, 1).len(), ready(&world, 2)), (0, vec!["A".to_owned()]));
    wish(&mut world, 1, &[], false);
    world.run(5);
    assert_eq!(world.nodes[&id(1)].standing(), Standing::Follower);
}

#[test]
fn what_is_put_away_comes_back_when_somebody_asks_and_a_load_is_wanted_until_it_is_there() {
    let mut world = household();
    let away = |world: &World, name: &str| world.nodes[&id(1)].may_put_away(world.now, &slot(name));
    assert_eq!(away(&world, "A"), Ok(()));
    world.tell(id(1), Input::PutAway(slot("A")));
    world.run(10);
    assert_eq!(ready(&world, 1), ["B", "C"]);
    assert_eq!(away(&world, "A"), Err(Refusal::Stale("A is not resident on this node".into())));
    world.ask(id(3), 1, "A");
    world.run(2);
    assert_eq!(world.dispatched.last(), Some(&(id(3), 1, id(1))));
    // Without asking it anything.
    world.run(2);
    world.tell(id(1), Input::PutAway(slot("A")));
    world.tell(id(3), Input::RequestEnded(1, true));
    world.run(2);
    assert!(!world.nodes[&id(3)].is_resident(&slot("A")));
    assert_eq!(world.nodes[&id(3)].may_want(&slot("A")), Ok(()));
    world.tell(id(3), Input::Want(slot("A")));
    assert_eq!(world.nodes[&id(3)].own_advert().wanted, [slot("A")]);
    world.run(2);
    assert!(world.nodes[&id(3)].is_resident(&slot("A")));
    assert_eq!(world.nodes[&id(3)].own_advert().wanted, []);
    wish(&mut world, 1, &["A"], false);
    world.run(2);
    assert_eq!(away(&world, "A"), Err(Refusal::Pinned));
    assert_eq!(world.nodes[&id(3)].may_want(&slot("NOPE")).map_err(|refusal| refusal.code), Err("model_not_found"));
}

/// One machine with room for one manager; people ask for the resident one without a pause, and one for the other.
#[test]
fn a_stream_of_requests_overtakes_a_waiting_one_only_so_often() {
    let mut world = World::new(&[(1, Role::Full, 3 * GIB / 2), (3, Role::Delegate, 0)]);
    world.publish(id(1), &["A", "B"]);
    world.run(20);
    let (first, second) = if ready(&world, 1) == ["A"] { ("A", "B") } else { ("B", "A") };
    world.ask(id(3), 0, second);
    let mut request = 1;
    let mut overtaken = 0;
    while world.dispatched.is_empty() || world.dispatched.iter().all(|(_, which, _)| *which != 0) {
        assert!(request < 2_000, "it waits for ever");
        world.ask(id(1), request, first);
        if world.dispatched.iter().any(|(_, which, _)| *which == request) {
            overtaken += 1;
            world.tell(id(1), Input::RequestEnded(request, true));
        }
        request += 1;
        world.run_ms(20);
    }
    // A few more while the plan is made: two settling times.
    assert!(overtaken <= limits::OVERTAKES_MAX + 20, "{overtaken}");
    assert_eq!(ready(&world, 1), [second]);
    // And those who wait for the first again have their turn.
    world.tell(id(3), Input::RequestEnded(0, true));
    world.run(10);
    assert_eq!(ready(&world, 1), [first]);
}
