//! Machines that find each other on a network that changes under them, and speak to nobody else. Each machine is a network
//! namespace, so these tests need root, or `unshare -Ur`.

#[path = "discovery/capture.rs"]
mod capture;
#[path = "discovery/doctor.rs"]
mod doctor;
#[path = "discovery/quiet.rs"]
mod quiet;
#[path = "discovery/relay.rs"]
mod relay;
#[path = "discovery/sleep.rs"]
mod sleep;
#[path = "discovery/strangers.rs"]
mod strangers;

use std::time::{Duration, Instant};

use fednode_tests::lan::{Lan, Machine};
use fednode_tests::until;

/// Generous: debug binaries on a busy machine.
const LIMIT: Duration = Duration::from_secs(30);

/// How long a test looks, unless the variable says otherwise.
fn seconds(variable: &str, default: u64) -> Duration {
    let given = std::env::var(variable).ok().and_then(|text| text.parse().ok());
    Duration::from_secs(given.unwrap_or(default))
}

/// Two members of one federation, `one` and `two`, at .1 and .2.
fn two(lan: &Lan) -> (Machine, Machine) {
    let (mut one, mut two) = (lan.machine("one").expect("a machine"), lan.machine("two").expect("a machine"));
    one.set_addresses(&["10.77.0.1/24", "fd77::1/64"]).expect("addresses");
    two.set_addresses(&["10.77.0.2/24", "fd77::2/64"]).expect("addresses");
    one.start(&["up", "--role", "full", "--memory", "1MiB"]).expect("up");
    join(&one, &mut two);
    (one, two)
}

/// The file of a new ticket.
fn invite(inviter: &Machine) -> String {
    let ticket = inviter.data_dir().with_extension("ticket").to_string_lossy().into_owned();
    let made = inviter.cli(&["invite", "--ticket-file", &ticket, "--json"]).expect("invite");
    assert_eq!(made.code, 0, "{}", made.stderr);
    ticket
}

fn join(inviter: &Machine, joiner: &mut Machine) {
    let ticket = invite(inviter);
    let line = ["join", "--ticket-file", &ticket, "--role", "full", "--memory", "1MiB"];
    joiner.start(&line).expect("joined");
    sees(inviter, joiner);
    sees(joiner, inviter);
}

/// Until `who` says that the other is alive; how long that took.
fn sees(who: &Machine, other: &Machine) -> Duration {
    let begin = Instant::now();
    until(&format!("{} seeing {}", who.name(), other.name()), LIMIT, || {
        let state = who.state().map_err(|error| error.to_string())?;
        let members = state["members"].as_array().cloned().unwrap_or_default();
        let alive = members.iter().any(|member| member["name"] == other.name() && member["state"] == "alive");
        if alive { Ok(begin.elapsed()) } else { Err(state["members"].to_string()) }
    })
    .expect("seen")
}

/// Forgets where others were, if it was told yet: a member is alive as soon as it is connected.
fn forget_addresses(machine: &Machine) {
    if let Err(error) = std::fs::remove_file(machine.data_dir().join("addresses.json")) {
        assert_eq!(error.kind(), std::io::ErrorKind::NotFound, "{error}");
    }
}

#[test]
fn members_with_new_addresses_find_each_other_by_mdns_alone() {
    let lan = Lan::new().expect("a network");
    let (mut one, mut two) = two(&lan);
    for (family, first, second) in [("IPv4", "10.77.0.11/24", "10.77.0.12/24"), ("IPv6", "fd77::11/64", "fd77::12/64")]
    {
        one.stop().expect("stopped");
        two.stop().expect("stopped");
        for (machine, address) in [(&one, first), (&two, second)] {
            forget_addresses(machine);
            machine.set_addresses(&[address]).expect("addresses");
        }
        one.start(&["up"]).expect("up again");
        two.start(&["up"]).expect("up again");
        let took = sees(&one, &two).max(sees(&two, &one));
        println!("found over {family} {took:?} after both answered");
    }
}

#[test]
fn without_mdns_new_addresses_are_not_found_and_a_given_one_is() {
    let lan = Lan::new().expect("a network");
    let (mut one, mut two) = two(&lan);
    one.stop().expect("stopped");
    two.stop().expect("stopped");
    for (machine, address) in [(&one, "10.77.0.11/24"), (&two, "10.77.0.12/24")] {
        forget_addresses(machine);
        machine.set_addresses(&[address]).expect("addresses");
    }
    let capture = capture::Capture::new(lan.namespace());
    one.start(&["up", "--no-mdns"]).expect("up again");
    two.start(&["up", "--no-mdns", "--peer", "10.77.0.11:7718"]).expect("up again");
    sees(&one, &two);
    sees(&two, &one);
    let mdns = capture::judge(&capture.seen(), &[]).kinds.keys().filter(|kind| kind.starts_with("mDNS")).count();
    assert_eq!(mdns, 0, "nothing is said on the network");
}

#[test]
fn running_members_whose_addresses_change_find_each_other_again() {
    let lan = Lan::new().expect("a network");
    let (one, two) = two(&lan);
    for (machine, addresses) in [(&one, ["10.77.0.21/24", "fd77::21/64"]), (&two, ["10.77.0.22/24", "fd77::22/64"])] {
        machine.set_addresses(&addresses).expect("addresses");
    }
    let begin = Instant::now();
    // Each hears of the other's new address, or is dialled from it first.
    for (who, other) in [(&one, ["10.77.0.22", "fd77::22"]), (&two, ["10.77.0.21", "fd77::21"])] {
        until("a connection to the new address", LIMIT, || {
            let log = who.log();
            let news = log.lines().filter(|line| line.contains("member found") || line.contains("member connected"));
            let found = news.into_iter().any(|line| other.iter().any(|address| line.contains(address)));
            if found { Ok(()) } else { Err("not found yet".to_owned()) }
        })
        .expect("found");
    }
    sees(&one, &two);
    sees(&two, &one);
    println!("found again {:?} after both moved", begin.elapsed());
}
