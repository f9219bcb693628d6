//! Machines of one federation on a network of their own that can be cut: how they are started, filled, and looked at together.

use std::time::{Duration, Instant};

use fednode_tests::lan::{Lan, Machine};
use fednode_tests::{managers, until};
use serde_json::Value;

use crate::asking::Door;
use crate::{LIMIT, ROOM, plan, presence, seat, unanswered};

/// Between two looks at everything.
const LOOK: Duration = Duration::from_millis(50);
/// Agreement that lasts so long counts.
const LASTING: Duration = Duration::from_secs(4);

/// Machines of these names, the first of which began the federation. None has anything yet.
pub fn house<const N: usize>(lan: &Lan, names: [&str; N]) -> [Machine; N] {
    let mut machines = names.map(|name| lan.machine(name).expect("a machine"));
    for index in 0..N {
        machines[index].set_addresses(&[&format!("10.77.0.{}/24", index + 1)]).expect("addresses");
        let (before, rest) = machines.split_at_mut(index);
        let node = ["--role", "full", "--memory", ROOM, "-v"];
        match before.first() {
            None => rest[0].start(&[&["up"], &node[..]].concat()).expect("up"),
            Some(first) => {
                let ticket = first.data_dir().with_extension("ticket").to_string_lossy().into_owned();
                let made = first.cli(&["invite", "--ticket-file", &ticket]).expect("invite");
                assert_eq!(made.code, 0, "{}", made.stderr);
                rest[0].start(&[&["join", "--ticket-file", &ticket], &node[..]].concat()).expect("joined");
            }
        }
    }
    machines
}

/// Publishes these managers and adapters on one machine.
pub fn publish(machine: &Machine, models: &[&str]) {
    for model in models {
        let path = managers::file(model).to_string_lossy().into_owned();
        let mut line = vec!["publish", &path, "--as"];
        match model.split_once(':') {
            Some((slot, domain)) => line.extend([slot, "--domain", domain]),
            None => line.push(model),
        }
        let done = machine.cli(&line).expect("publish");
        assert_eq!(done.code, 0, "{model} on {}: {}", machine.name(), done.stderr);
    }
}

/// Where somebody asks `machine`.
pub fn door(machine: &Machine) -> Door {
    Door { name: machine.name().to_owned(), client: machine.client(), namespace: Some(machine.namespace()) }
}

/// What a machine's node says of everything.
pub fn state(machine: &Machine) -> Value {
    machine.state().expect("state")
}

/// Until all these machines follow one plan, carried out, with every one of these slots resident somewhere and every artifact of
/// the plan in its place.
pub fn settled(machines: &[&Machine], slots: &[&str]) {
    until("one plan, carried out", LIMIT, || {
        let states: Vec<Value> = machines.iter().map(|machine| state(machine)).collect();
        let mut missing: Vec<String> = Vec::new();
        for (machine, state) in machines.iter().zip(&states) {
            let (name, follows) = (machine.name(), &state["plan"]);
            if follows["carried_out"] != true {
                missing.push(format!("{name}: {}", follows["pending"]));
            }
            missing.extend(unanswered(state, slots).iter().map(|slot| format!("{name}: {slot} is nowhere")));
        }
        if states.windows(2).any(|pair| plan(&pair[0]) != plan(&pair[1])) {
            missing.push(format!("plans {:?}", states.iter().map(plan).collect::<Vec<_>>()));
        }
        if missing.is_empty() { Ok(()) } else { Err(missing.join("; ")) }
    })
    .expect("settled");
}

/// Until `machine` sees `other` so.
pub fn sees(machine: &Machine, other: &str, how: &str) {
    until(&format!("{} seeing {other} {how}", machine.name()), LIMIT, || match presence(&state(machine), other) {
        found if found == how => Ok(()),
        found => Err(found),
    })
    .expect("seen");
}

/// Looks until all machines have had the same coordinator, and its very plan, for a while; when that began, from `since` on.
pub fn one_plan(machines: &[&Machine], since: Instant) -> Duration {
    let mut agreed: Option<(_, Duration)> = None;
    let mut seen = Vec::new();
    while since.elapsed() < LIMIT {
        let looked = since.elapsed();
        seen = machines.iter().map(|machine| state(machine)).map(|state| (seat(&state), plan(&state))).collect();
        let (sits, follows) = &seen[0];
        let same = seen.iter().all(|other| other == &seen[0]) && !sits.0.is_empty() && follows.0 == sits.1;
        agreed = match agreed.take() {
            _ if !same => None,
            Some((known, begun)) if known == seen[0] => Some((known, begun)),
            _ => Some((seen[0].clone(), looked)),
        };
        if let Some((_, begun)) = &agreed
            && since.elapsed() > *begun + LASTING
        {
            return *begun;
        }
        std::thread::sleep(LOOK);
    }
    panic!("no lasting agreement within {LIMIT:?}: {seen:?}");
}
