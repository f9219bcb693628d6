//! Each thing that blocks is named, and nothing is called well that was not looked at.

use super::*;

fn machine() -> MachineFacts {
    let eth0 = InterfaceFacts { name: "eth0".to_owned(), multicast: Some(true), ipv4: true, ipv6: true };
    MachineFacts { interfaces: vec![eth0], disk_free_bytes: Some(50 << 30), ports_taken: Vec::new() }
}

fn member(name: &str) -> MemberFacts {
    let reach = MemberReach { node: format!("{name}-key"), connected: true, ..MemberReach::default() };
    let reaches_us = Some(vec![report("/ip4/10.0.0.1/tcp/7718", "")]);
    MemberFacts { name: name.to_owned(), reach, clock_ahead_ms: Some(40), reaches_us }
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
    let checks = judge(machine, node);
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
    let checks = judge(&machine(), Some(&node()));
    assert!(checks.iter().all(|check| check.verdict == Verdict::Ok), "{checks:#?}");
    assert!(all_well(&checks));
}

#[test]
fn without_a_node_nothing_of_the_network_is_called_well() {
    let checks = judge(&machine(), None);
    assert!(!all_well(&checks));
    for name in ["mdns", "isolation", "firewall", "clock", "members"] {
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
        ([None, None], Verdict::Unknown, "no member could be asked"),
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
