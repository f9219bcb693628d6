//! Two machines cut apart: each goes on with what it has and plans for itself; when they meet again one plan remains, and with
//! it every manager that either of them had.

use std::time::{Duration, Instant};

use fednode_tests::lan::{Lan, Machine};
use fednode_tests::until;

use crate::asking::{Asked, Asking, longest};
use crate::house::{door, house, one_plan, publish, sees, settled, state};
use crate::{LIMIT, held_by, number, plan, seat};

/// Longer than a lease and the takeover after it. Longer cuts make for rarer dials: FEDNODE_CUT_S=120.
const CUT_S: u64 = 24;
/// What the issue asks for.
const ONE_PLAN: Duration = Duration::from_secs(20);
/// Published before the cut; one more on either side during it.
const BEFORE: [&str; 6] = ["UFM", "UCM", "URM", "ULM", "UIM", "ULM:personal"];
const AFTER: [&str; 8] = ["UFM", "UCM", "URM", "ULM", "UIM", "UAM", "UDM", "ULM:personal"];

#[test]
fn two_halves_both_serve_and_become_one_again_without_losing_a_manager() {
    let lan = Lan::new().expect("a network");
    let machines = house(&lan, ["left", "right"]);
    let [left, right] = &machines;
    publish(left, &BEFORE);
    settled(&[left, right], &BEFORE[..5]);
    let held = machines.each_ref().map(|machine| held_by(&state(machine), machine.name()));
    let doors: Vec<_> = machines.iter().zip(&held).map(|(machine, held)| (door(machine), held.clone())).collect();
    let epoch = seat(&state(left)).1;

    let asking = Asking::begin(&doors, 1);
    lan.unplug(right).expect("unplugged");
    let cut = Instant::now();
    for (machine, other) in [(left, "right"), (right, "left")] {
        out_of_routes(machine, other, cut);
    }
    for machine in &machines {
        sits_alone(machine, epoch, cut);
    }
    publish(left, &["UAM"]);
    publish(right, &["UDM"]);
    std::thread::sleep(Duration::from_secs(number("FEDNODE_CUT_S", CUT_S)).saturating_sub(cut.elapsed()));

    lan.plug(right).expect("plugged");
    let healed = Instant::now();
    println!("cut for {:?}", healed - cut);
    sees(left, "right", "alive");
    sees(right, "left", "alive");
    println!("they met {:?} after the cut was healed", healed.elapsed());
    let took = one_plan(&[left, right], healed);
    println!("one plan of {:?} since {took:?} after the cut was healed", seat(&state(left)));
    assert!(took < ONE_PLAN, "{took:?}");
    settled(&[left, right], &AFTER[..7]);
    let asked = asking.end();
    println!("{} answers meanwhile, {:?} at the longest; held were {held:?}", asked.len(), longest(&asked));
    let apart = asked.iter().filter(|asked| asked.begun > cut && asked.begun < healed);
    assert!(["left", "right"].iter().all(|name| apart.clone().filter(|asked| asked.through == *name).count() > 10));
    assert_eq!(asked.iter().filter_map(Asked::fault).collect::<Vec<_>>(), Vec::<String>::new());
    for machine in &machines {
        let faults = AFTER.iter().filter_map(|model| door(machine).ask(model).fault());
        assert_eq!(faults.collect::<Vec<_>>(), Vec::<String>::new());
    }
}

/// Until `machine` counts on no replica of `other` any more.
fn out_of_routes(machine: &Machine, other: &str, since: Instant) {
    until(&format!("{} giving {other} up", machine.name()), LIMIT, || match held_by(&state(machine), other) {
        left if left.is_empty() => Ok(()),
        left => Err(format!("{left:?}")),
    })
    .expect("it is noticed");
    println!("{other} was out of every route at {} after {:?}", machine.name(), since.elapsed());
}

/// Until `machine` coordinates and follows a plan of its own, of no epoch that was before.
fn sits_alone(machine: &Machine, epoch: u64, since: Instant) {
    let name = machine.name();
    until(&format!("{name} planning for itself"), LIMIT, || {
        let state = state(machine);
        let (sits, follows) = (seat(&state), plan(&state));
        let alone = sits.0 == name && sits.1 >= epoch && follows.0 == sits.1;
        if alone { Ok(()) } else { Err(format!("{sits:?} {follows:?}")) }
    })
    .expect("it takes the seat");
    println!("{name} planned for itself after {:?}", since.elapsed());
}
