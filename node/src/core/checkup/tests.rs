//! Each thing that blocks is named, and nothing is called well that was not looked at.

use super::*;
use crate::core::view::{DamageView, DomainView, MemberView, State, StoreView, TransferView};

fn machine() -> MachineFacts {
    let eth0 = InterfaceFacts { name: "eth0".to_owned(), multicast: Some(true), ipv4: true, ipv6: true };
    let service = ServiceFacts {
        manager: "systemd".to_owned(),
        installed: true,
        enabled: true,
        active: true,
        state: "active".to_owned(),
    };
    MachineFacts {
        interfaces: vec![eth0],
        disk_free_bytes: Some(50 << 30),
        memory: Some(MemoryFacts { total_bytes: 32 << 30, free_bytes: 20 << 30 }),
        stalled_of_60_s: Some(0),
        clock_synchronised: Some(true),
        now_unix_s: 1_800_000_000,
        service,
        open_files_max: Some(65_536),
        version: "0.1.0".to_owned(),
        ..MachineFacts::default()
    }
}

/// What the node on that machine sees.
fn state() -> State {
    let ram = DomainView {
        name: "ram".to_owned(),
        kind: "ram".to_owned(),
        total_bytes: 32 << 30,
        reserve_bytes: 4 << 30,
        ours_bytes: 15 << 30,
        hosts: true,
        ..DomainView::default()
    };
    let own = MemberView {
        name: "desk".to_owned(),
        peer_id: "desk-peer".to_owned(),
        role: "full".to_owned(),
        expires_unix_s: 1_800_000_000 + 60 * 86_400,
        domains: vec![ram],
        ..MemberView::default()
    };
    let mut state = State { members: vec![own], store: Some(StoreView::default()), ..State::default() };
    state.node.peer_id = "desk-peer".to_owned();
    state.node.version = "0.1.0".to_owned();
    state.node.api = "http://127.0.0.1:7717".to_owned();
    state
}

fn member(name: &str) -> MemberFacts {
    let reach = MemberReach { node: format!("{name}-key"), connected: true, ..MemberReach::default() };
    let reaches_us = Some(vec![report("/ip4/10.0.0.1/tcp/7718", "")]);
    MemberFacts { name: name.to_owned(), reach, clock_ahead_ms: Some(40), reaches_us, version: "0.1.0".to_owned() }
}

fn report(address: &str, why: &str) -> DialReport {
    DialReport { address: address.to_owned(), why: why.to_owned(), silent: !why.is_empty() }
}

fn node() -> NodeFacts {
    let eth0 = InterfaceReport { name: "eth0".into(), ip: "10.0.0.1".into(), error: None, sent: 3, echoed: 3 };
    let heard = HeardMember { ip: "10.0.0.2".to_owned(), seconds_ago: 1, clock_ahead_ms: 40 };
    NodeFacts {
        listen: vec!["/ip4/10.0.0.1/tcp/7718".to_owned()],
        members: vec![member("den"), member("attic")],
        discovery: DiscoveryReport {
            enabled: true,
            interfaces: vec![eth0],
            heard: [("den-key".to_owned(), heard)].into(),
            strangers: 0,
        },
    }
}

/// The check of this name, as word and sentence.
fn check(name: &str, machine: &MachineFacts, node: Option<&NodeFacts>) -> (Verdict, String) {
    let state = node.map(|_| state());
    let checks = judge(machine, node, state.as_ref());
    let found = checks.iter().find(|check| check.name == name).expect("a check of this name");
    let has_remedy = found.verdict != Verdict::Blocked || !found.remedy.is_empty();
    assert!(has_remedy, "{found:?} says nothing that could be done");
    (found.verdict, found.found.clone())
}

fn expect(name: &str, machine: &MachineFacts, node: Option<&NodeFacts>, verdict: Verdict, part: &str) {
    let (seen, found) = check(name, machine, node);
    assert!(seen == verdict && found.contains(part), "{name}: {seen:?}, {found}");
}

#[test]
fn a_healthy_machine_is_called_well() {
    let checks = judge(&machine(), Some(&node()), Some(&state()));
    assert!(checks.iter().all(|check| check.verdict == Verdict::Ok), "{checks:#?}");
    assert!(all_well(&checks));
}

#[test]
fn without_a_node_nothing_of_the_network_is_called_well() {
    let checks = judge(&machine(), None, None);
    assert!(!all_well(&checks));
    for name in ["mdns", "isolation", "firewall", "clock", "members", "store", "membership", "versions"] {
        expect(name, &machine(), None, Verdict::Unknown, "running node");
    }
    let taken = MachineFacts { ports_taken: vec!["0.0.0.0:7718 is".to_owned()], ..machine() };
    expect("port", &taken, None, Verdict::Blocked, "7718");
}

#[test]
fn what_the_machine_lacks_is_named() {
    let lonely = MachineFacts { interfaces: Vec::new(), ..machine() };
    expect("address", &lonely, None, Verdict::Blocked, "no address");
    let mut tunnel = machine();
    tunnel.interfaces[0].multicast = Some(false);
    expect("multicast", &tunnel, None, Verdict::Blocked, "no interface takes multicast");
    tunnel.interfaces[0].multicast = None;
    expect("multicast", &tunnel, None, Verdict::Unknown, "does not tell");
    let mut six = machine();
    six.interfaces[0].ipv4 = false;
    expect("address", &six, None, Verdict::Warning, "no IPv4");
    let full = MachineFacts { disk_free_bytes: Some(1 << 30), ..machine() };
    expect("disk", &full, None, Verdict::Blocked, "1.0 GiB free");
    expect("disk", &MachineFacts { disk_free_bytes: None, ..machine() }, None, Verdict::Unknown, "cannot be read");
}

#[test]
fn a_firewall_that_drops_mdns_is_told_by_the_missing_echo() {
    let mut node = node();
    node.discovery.interfaces[0].echoed = 0;
    expect("mdns", &machine(), Some(&node), Verdict::Blocked, "its own announcements");
    node.discovery.interfaces[0] = InterfaceReport { error: Some("EPERM".into()), sent: 0, ..Default::default() };
    expect("mdns", &machine(), Some(&node), Verdict::Blocked, "EPERM");
    node.discovery.interfaces.clear();
    expect("mdns", &machine(), Some(&node), Verdict::Unknown, "announced nothing");
    node.discovery.enabled = false;
    expect("mdns", &machine(), Some(&node), Verdict::Warning, "--no-mdns");
}

#[test]
fn a_member_that_is_heard_and_not_reached_is_isolated() {
    let mut node = node();
    node.members[0].reach.connected = false;
    node.members[0].reach.errors = vec![report("/ip4/10.0.0.2/tcp/7718", "no answer")];
    expect("isolation", &machine(), Some(&node), Verdict::Blocked, "den is heard");
    node.members[0].reach.errors = vec![report("/ip4/10.0.0.9/tcp/7718", "no answer")];
    expect("isolation", &machine(), Some(&node), Verdict::Unknown, "cannot be compared");
    node.discovery.heard.clear();
    expect("isolation", &machine(), Some(&node), Verdict::Unknown, "cannot be compared");
}

#[test]
fn a_closed_port_is_told_by_members_that_tried() {
    let mut node = node();
    for member in &mut node.members {
        member.reaches_us = Some(vec![report("/ip4/10.0.0.1/tcp/7718", "no answer")]);
    }
    expect("firewall", &machine(), Some(&node), Verdict::Blocked, "den cannot reach this node at /ip4/10.0.0.1");
    node.members[1].reach.came_in = true;
    expect("firewall", &machine(), Some(&node), Verdict::Warning, "cannot reach");
    for member in &mut node.members {
        member.reaches_us = None;
    }
    expect("firewall", &machine(), Some(&node), Verdict::Ok, "attic has connected");
    for member in &mut node.members {
        (member.reaches_us, member.reach.came_in) = (None, false);
    }
    expect("firewall", &machine(), Some(&node), Verdict::Unknown, "no other member");
}

#[test]
fn the_clock_that_differs_from_all_others_is_the_one_that_is_off() {
    let cases = [
        ([Some(31_000), Some(32_000)], Verdict::Blocked, "this machine's clock is 31 s behind all others"),
        ([Some(-90_000), Some(10)], Verdict::Blocked, "the clock of den is 90 s behind this machine's"),
        ([Some(30_000), Some(-30_000)], Verdict::Ok, "within 30 s"),
        ([None, Some(99_000)], Verdict::Blocked, "one of the two is wrong"),
        ([None, None], Verdict::Ok, "no member could be asked"),
    ];
    for (clocks, verdict, part) in cases {
        let mut node = node();
        node.discovery.heard.clear();
        for (member, clock) in node.members.iter_mut().zip(clocks) {
            member.clock_ahead_ms = clock;
        }
        expect("clock", &machine(), Some(&node), verdict, part);
    }
}

#[test]
fn each_member_that_is_away_is_named_with_what_was_tried() {
    let mut node = node();
    for member in &mut node.members {
        member.reach.connected = false;
        member.reach.last_good = Some("/ip4/10.0.0.7/tcp/7718".to_owned());
        member.reach.errors = vec![report("/ip4/10.0.0.7/tcp/7718", "no answer")];
    }
    expect("members", &machine(), Some(&node), Verdict::Blocked, "none of 2");
    expect("member", &machine(), Some(&node), Verdict::Warning, "den is not reached, last reached at /ip4/10.0.0.7");
    node.members[1].reach.connected = true;
    expect("members", &machine(), Some(&node), Verdict::Ok, "1 of 2");
    let reach = MemberReach { addresses: vec!["/dns/x/tcp/1".to_owned()], ..MemberReach::default() };
    node.members = vec![MemberFacts { reach, ..MemberFacts::default() }];
    expect("members", &machine(), Some(&node), Verdict::Ok, "only member");
    expect("member", &machine(), Some(&node), Verdict::Warning, "/dns/x/tcp/1 given with --peer");
}

/// The check of this name where a node runs and sees `state`.
fn seen(name: &str, machine: &MachineFacts, state: &State, verdict: Verdict, part: &str) {
    let checks = judge(machine, Some(&node()), Some(state));
    let found = checks.iter().find(|check| check.name == name).expect("a check of this name");
    assert!(found.verdict == verdict && found.found.contains(part), "{found:?}");
    assert!(
        verdict == Verdict::Ok || verdict == Verdict::Unknown || !found.remedy.is_empty(),
        "{found:?} has no remedy"
    );
}

#[test]
fn a_promise_of_memory_that_other_programs_break_is_told_with_what_is_left() {
    seen("memory", &machine(), &state(), Verdict::Ok, "managers may use 28.0 GiB and hold 15.0 GiB");
    let crowded =
        MachineFacts { memory: Some(MemoryFacts { total_bytes: 32 << 30, free_bytes: 6 << 30 }), ..machine() };
    seen("memory", &crowded, &state(), Verdict::Warning, "other programs leave them 7.0 GiB less");
    let checks = judge(&crowded, Some(&node()), Some(&state()));
    assert!(checks.iter().any(|check| check.remedy.contains("--memory 21GiB")), "{checks:#?}");
    let waiting = MachineFacts { stalled_of_60_s: Some(5_000), ..machine() };
    seen("memory", &waiting, &state(), Verdict::Warning, "wait for memory");
    let blind = MachineFacts { memory: None, ..machine() };
    expect("memory", &blind, None, Verdict::Unknown, "does not tell");
    expect("memory", &machine(), None, Verdict::Ok, "20.0 GiB of 32.0 GiB are free");
    let mut delegate = state();
    delegate.members[0].role = "delegate".to_owned();
    seen("memory", &crowded, &delegate, Verdict::Ok, "6.0 GiB of 32.0 GiB");
}

#[test]
fn a_gpu_that_cannot_be_used_is_told_with_why() {
    let gpus = |gpus, gpus_usable, note: &str| MachineFacts {
        gpus,
        gpus_usable,
        gpu_notes: Some(note.to_owned()).filter(|note| !note.is_empty()).into_iter().collect(),
        ..machine()
    };
    expect("gpu", &gpus(0, 0, ""), None, Verdict::Ok, "no GPU");
    expect("gpu", &gpus(2, 2, ""), None, Verdict::Ok, "2 of 2");
    expect("gpu", &gpus(2, 1, ""), None, Verdict::Warning, "1 of 2");
    expect("gpu", &gpus(0, 0, "its driver is not loaded"), None, Verdict::Warning, "driver is not loaded");
}

#[test]
fn a_service_that_is_missing_or_broken_is_told() {
    let service = |manager: &str, installed, enabled, active| MachineFacts {
        service: ServiceFacts { manager: manager.to_owned(), installed, enabled, active, state: "failed".to_owned() },
        ..machine()
    };
    expect("service", &service("", false, false, false), None, Verdict::Unknown, "neither");
    expect("service", &service("systemd", false, false, false), None, Verdict::Warning, "nothing starts fednode");
    expect("service", &service("systemd", true, false, true), None, Verdict::Warning, "not started with the machine");
    expect("service", &service("launchd", true, true, false), None, Verdict::Blocked, "launchd does not run: failed");
    seen("service", &service("systemd", true, true, false), &state(), Verdict::Warning, "does not run");
}

#[test]
fn versions_that_differ_are_named() {
    seen("versions", &machine(), &state(), Verdict::Ok, "as on the 2 other members");
    let newer = MachineFacts { version: "0.2.0".to_owned(), ..machine() };
    seen("versions", &newer, &state(), Verdict::Warning, "this command is 0.2.0");
    let mut facts = node();
    facts.members[0].version = "0.0.9".to_owned();
    expect("versions", &machine(), Some(&facts), Verdict::Warning, "0.1.0 here, 0.0.9 on den");
    for member in &mut facts.members {
        member.version.clear();
    }
    expect("versions", &machine(), Some(&facts), Verdict::Ok, "no other member could be asked");
}

#[test]
fn what_is_wrong_with_the_disk_and_the_store_is_told() {
    let network = MachineFacts { poor_disk: "NFS".to_owned(), ..machine() };
    expect("disk", &network, None, Verdict::Warning, "lies on NFS");
    seen("store", &machine(), &state(), Verdict::Ok, "nothing damaged");
    let with = |store| State { store, ..state() };
    seen("store", &machine(), &with(None), Verdict::Ok, "delegate");
    let full = StoreView { used_bytes: 9, budget_bytes: Some(8), ..StoreView::default() };
    seen("store", &machine(), &with(Some(full)), Verdict::Warning, "more than the budget");
    let damage = DamageView { slot: "UCM".to_owned(), reason: "it is fetched".to_owned(), ..DamageView::default() };
    let damaged = StoreView { damaged: vec![damage], ..StoreView::default() };
    seen("store", &machine(), &with(Some(damaged)), Verdict::Warning, "UCM is damaged");
    let paused = TransferView {
        slot: "UCM".into(),
        state: "paused".into(),
        reason: "no room".into(),
        ..TransferView::default()
    };
    seen("store", &machine(), &State { transfers: vec![paused], ..state() }, Verdict::Warning, "no room");
}

#[test]
fn the_api_the_files_and_the_membership_are_looked_at() {
    seen("api", &machine(), &state(), Verdict::Ok, "http://127.0.0.1:7717");
    let closed = MachineFacts { api_error: "connection refused".to_owned(), ..machine() };
    seen("api", &closed, &state(), Verdict::Blocked, "connection refused");
    expect("files", &MachineFacts { open_files_max: Some(256), ..machine() }, None, Verdict::Warning, "256 files");
    expect("files", &MachineFacts { open_files_max: None, ..machine() }, None, Verdict::Unknown, "not known");
    seen("membership", &machine(), &state(), Verdict::Ok, "good for 60 days");
    let until = |expires_unix_s| {
        let mut state = state();
        state.members[0].expires_unix_s = expires_unix_s;
        state
    };
    seen("membership", &machine(), &until(0), Verdict::Ok, "does not end");
    seen("membership", &machine(), &until(1_800_000_000 + 86_400), Verdict::Warning, "ends in 1 days");
    seen("membership", &machine(), &until(1_799_999_999), Verdict::Blocked, "has ended");
}

#[test]
fn alone_the_systems_own_word_on_its_clock_must_do() {
    let mut alone = node();
    alone.members.clear();
    alone.discovery.heard.clear();
    let machine = |clock_synchronised| MachineFacts { clock_synchronised, ..machine() };
    expect("clock", &machine(Some(true)), Some(&alone), Verdict::Ok, "follows a time server");
    expect("clock", &machine(Some(false)), Some(&alone), Verdict::Warning, "follows no time server");
    expect("clock", &machine(None), Some(&alone), Verdict::Unknown, "no member");
}
