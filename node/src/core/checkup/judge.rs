//! From what is known to what it means. A check for which nothing is known says so.

use super::{Check, MachineFacts, MemberFacts, NodeFacts, Verdict, here};
use crate::core::limits;
use crate::core::view::State;

const RUN: &str = "start it with `fednode up`";
const OPEN_TCP: &str = "open this node's TCP port (7718 unless chosen otherwise) to the local network in the firewall";
const OPEN_MDNS: &str = "open UDP port 5353 (mDNS) in the firewall of this machine";
const GIVE_PEER: &str = "give another member's address with `fednode up --peer HOST:7718`";

/// Nothing is blocked.
pub fn all_well(checks: &[Check]) -> bool {
    checks.iter().all(|check| check.verdict != Verdict::Blocked)
}

/// Every check, in the order in which a person would look. `node`: what the running node knows of its network, if one runs, and
/// `state`: its view.
pub fn judge(machine: &MachineFacts, node: Option<&NodeFacts>, state: Option<&State>) -> Vec<Check> {
    let mut checks = vec![running(node), here::service(machine, node.is_some()), ports(machine, node)];
    checks.extend(state.map(|state| here::api(machine, state)));
    checks.extend([addresses(machine), multicast(machine)]);
    checks.extend([mdns(node), isolation(node), firewall(node), clock(machine, node)]);
    checks.extend([here::disk(machine), here::store(state), here::memory(machine, state), here::gpu(machine)]);
    checks.extend([here::files(machine), here::certificate(machine, state), here::versions(machine, node, state)]);
    checks.extend(members(node));
    checks
}

pub(super) fn check(name: &str, verdict: Verdict, found: impl Into<String>, remedy: impl Into<String>) -> Check {
    Check { name: name.to_owned(), verdict, found: found.into(), remedy: remedy.into() }
}

pub(super) fn ok(name: &str, found: impl Into<String>) -> Check {
    check(name, Verdict::Ok, found, "")
}

pub(super) fn unknown(name: &str, why: impl Into<String>, remedy: impl Into<String>) -> Check {
    check(name, Verdict::Unknown, why, remedy)
}

pub(super) fn without_node(name: &str) -> Check {
    unknown(name, "only a running node can tell", RUN)
}

fn running(node: Option<&NodeFacts>) -> Check {
    match node {
        Some(_) => ok("node", "a node runs here"),
        None => check("node", Verdict::Blocked, "no node runs with this data directory", RUN),
    }
}

fn ports(machine: &MachineFacts, node: Option<&NodeFacts>) -> Check {
    match node {
        Some(node) if node.listen.is_empty() => {
            let found = "the node listens on no address that others could dial";
            check("port", Verdict::Blocked, found, "start it with `--listen 0.0.0.0:7718`")
        }
        Some(node) if node.listen.iter().all(|address| is_loopback(address)) => {
            let found = format!("the node listens for this machine alone: {}", node.listen.join(", "));
            check("port", Verdict::Warning, found, "start it without --listen, or with `--listen 0.0.0.0:7718`")
        }
        Some(node) => ok("port", format!("it listens on {}", node.listen.join(", "))),
        None if machine.ports_taken.is_empty() => ok("port", "ports 7718 and 7717 are free for a node"),
        None => {
            let found = format!("{} held by another program", machine.ports_taken.join(" and "));
            check("port", Verdict::Blocked, found, "stop that program, or choose others with --listen and --api")
        }
    }
}

fn is_loopback(address: &str) -> bool {
    address.starts_with("/ip4/127.") || address.starts_with("/ip6/::1/")
}

fn addresses(machine: &MachineFacts) -> Check {
    let (four, six) = (machine.interfaces.iter().any(|one| one.ipv4), machine.interfaces.iter().any(|one| one.ipv6));
    match (four, six) {
        (true, true) => ok("address", "this machine has IPv4 and IPv6 addresses"),
        (true, false) => {
            ok("address", "this machine has IPv4 addresses and no IPv6; members with IPv6 alone cannot reach it")
        }
        (false, true) => {
            let found = "this machine has IPv6 addresses and no IPv4";
            check(
                "address",
                Verdict::Warning,
                found,
                "members need IPv6 too to reach it; connect it to a network with IPv4 if they have none",
            )
        }
        (false, false) => {
            let found = "this machine has no address on any network";
            check("address", Verdict::Blocked, found, "connect it to the network the others are on")
        }
    }
}

fn multicast(machine: &MachineFacts) -> Check {
    let with_address: Vec<_> = machine.interfaces.iter().filter(|one| one.ipv4 || one.ipv6).collect();
    let able: Vec<&str> =
        with_address.iter().filter(|one| one.multicast == Some(true)).map(|one| one.name.as_str()).collect();
    if !able.is_empty() {
        return ok("multicast", format!("multicast on {}", able.join(", ")));
    }
    if with_address.iter().any(|one| one.multicast.is_none()) {
        return unknown("multicast", "this system does not tell which interfaces take multicast", "");
    }
    let remedy = format!("use another interface (VPN tunnels often have none), or {GIVE_PEER}");
    check("multicast", Verdict::Blocked, "no interface takes multicast, so members cannot be found by mDNS", remedy)
}

/// A node hears what it says itself, through the same firewall as what others say.
fn mdns(node: Option<&NodeFacts>) -> Check {
    const NAME: &str = "mdns";
    let Some(node) = node else { return without_node(NAME) };
    let seen = &node.discovery;
    if !seen.enabled {
        return check(NAME, Verdict::Warning, "mDNS is off (--no-mdns)", "members must be known by their addresses");
    }
    let broken = seen.interfaces.iter().find_map(|one| one.error.as_ref().map(|error| (one, error)));
    let echoed: u64 = seen.interfaces.iter().map(|one| one.echoed).sum();
    let sent: u64 = seen.interfaces.iter().map(|one| one.sent).sum();
    match (sent, echoed, broken) {
        (0, _, Some((one, error))) => {
            let found = format!("nothing can be announced on {} ({}): {error}", one.name, one.ip);
            check(NAME, Verdict::Blocked, found, OPEN_MDNS)
        }
        (0, _, None) => unknown(NAME, "the node has announced nothing: it listens on no address of a network", ""),
        (_, 0, _) => {
            let found = "this node does not even hear its own announcements: a firewall here drops them";
            check(NAME, Verdict::Blocked, found, OPEN_MDNS)
        }
        _ => {
            let heard = seen.heard.values().filter(|heard| heard.seconds_ago <= limits::HEARD_FRESH_S).count();
            ok(
                NAME,
                format!("announcements are sent and heard; {heard} of {} other members heard", named(node).count()),
            )
        }
    }
}

pub(super) fn named(node: &NodeFacts) -> impl Iterator<Item = &MemberFacts> {
    node.members.iter().filter(|member| !member.name.is_empty())
}

/// Heard, but not to be dialled: the network lets broadcasts through and not machines to each other.
fn isolation(node: Option<&NodeFacts>) -> Check {
    const NAME: &str = "isolation";
    let Some(node) = node else { return without_node(NAME) };
    let heard = |member: &&MemberFacts| {
        let heard = node.discovery.heard.get(&member.reach.node);
        heard.is_some_and(|heard| heard.seconds_ago <= limits::HEARD_FRESH_S)
    };
    let isolated = |member: &&MemberFacts| {
        let Some(heard) = node.discovery.heard.get(&member.reach.node) else { return false };
        let there = |address: &str| address.contains(&format!("/{}/", heard.ip));
        !member.reach.connected && member.reach.errors.iter().any(|error| error.silent && there(&error.address))
    };
    if let Some(member) = named(node).filter(heard).find(isolated) {
        let found = format!("{} is heard by mDNS and does not answer when dialled", member.name);
        let remedy = "turn off client or AP isolation in the Wi-Fi's settings, or a guest network; \
                      otherwise open TCP port 7718 in that machine's firewall";
        return check(NAME, Verdict::Blocked, found, remedy);
    }
    match named(node).find(heard) {
        Some(member) if member.reach.connected => ok(NAME, format!("{} is heard by mDNS and connected", member.name)),
        _ => unknown(NAME, "no member was heard by mDNS lately, so it cannot be compared with dialling", ""),
    }
}

/// What members say of dialling this node now, or else that somebody did.
fn firewall(node: Option<&NodeFacts>) -> Check {
    const NAME: &str = "firewall";
    let Some(node) = node else { return without_node(NAME) };
    let asked = || named(node).filter_map(|member| member.reaches_us.as_ref().map(|tried| (member, tried)));
    for (member, tried) in asked() {
        if let Some(good) = tried.iter().find(|report| report.why.is_empty()) {
            return ok(NAME, format!("{} reaches this node at {}", member.name, good.address));
        }
    }
    let came_in = named(node).find(|member| member.reach.came_in);
    if let Some((member, report)) = asked().find_map(|(member, tried)| Some((member, tried.first()?))) {
        let found = format!("{} cannot reach this node at {}: {}", member.name, report.address, report.why);
        // It came in by another way, such as a forwarded port, or before a firewall was closed.
        let verdict = if came_in.is_some() { Verdict::Warning } else { Verdict::Blocked };
        return check(NAME, verdict, found, OPEN_TCP);
    }
    if let Some(member) = came_in {
        return ok(NAME, format!("{} has connected to this node", member.name));
    }
    unknown(NAME, "no other member is connected that could try to reach this node", OPEN_TCP)
}

fn clock(machine: &MachineFacts, node: Option<&NodeFacts>) -> Check {
    const NAME: &str = "clock";
    let Some(node) = node else { return without_node(NAME) };
    let heard = |member: &MemberFacts| node.discovery.heard.get(&member.reach.node).map(|heard| heard.clock_ahead_ms);
    let known: Vec<(&str, i64)> = named(node)
        .filter_map(|member| Some((member.name.as_str(), member.clock_ahead_ms.or_else(|| heard(member))?)))
        .collect();
    let is_off = |ahead_ms: i64| ahead_ms.unsigned_abs() > limits::CLOCK_OFF_MS;
    let off: Vec<(&str, i64)> = known.iter().copied().filter(|(_, ahead)| is_off(*ahead)).collect();
    let remedy = "turn on the system's time synchronisation (NTP) there; tickets and rosters expire by these clocks";
    match (off.as_slice(), known.len()) {
        (_, 0) => alone(machine),
        ([], asked) => ok(
            NAME,
            format!(
                "within {} s of the clocks of {asked} other{}",
                limits::CLOCK_OFF_MS / 1000,
                if asked == 1 { "" } else { "s" }
            ),
        ),
        ([(name, ahead), rest @ ..], asked) if asked > 1 && rest.len() + 1 == asked => {
            let found = format!("this machine's clock is {} all others, such as {name}", apart(-*ahead));
            check(NAME, Verdict::Blocked, found, remedy)
        }
        ([(name, ahead), ..], 1) => {
            let found = format!("the clock of {name} is {} this machine's: one of the two is wrong", apart(*ahead));
            check(NAME, Verdict::Blocked, found, remedy)
        }
        ([(name, ahead), ..], _) => {
            let found = format!("the clock of {name} is {} this machine's", apart(*ahead));
            check(NAME, Verdict::Blocked, found, remedy)
        }
    }
}

/// With nobody to compare with, the system's own word must do.
fn alone(machine: &MachineFacts) -> Check {
    const NAME: &str = "clock";
    match machine.clock_synchronised {
        Some(true) => ok(NAME, "no member could be asked for its time; the system says that it follows a time server"),
        Some(false) => {
            let found = "no member could be asked for its time, and this system's clock follows no time server";
            check(NAME, Verdict::Warning, found, "turn on the system's time synchronisation (NTP)")
        }
        None => unknown(NAME, "no member could be asked for its time", ""),
    }
}

fn apart(ahead_ms: i64) -> String {
    let seconds = ahead_ms.unsigned_abs() / 1000;
    format!("{seconds} s {}", if ahead_ms > 0 { "ahead of" } else { "behind" })
}

/// Whether anybody is reached, and each who is not.
fn members(node: Option<&NodeFacts>) -> Vec<Check> {
    const NAME: &str = "members";
    let Some(node) = node else { return vec![without_node(NAME)] };
    let (all, there) = (named(node).count(), named(node).filter(|member| member.reach.connected).count());
    let mut checks = vec![match (all, there) {
        (0, _) => ok(NAME, "this node is the only member; `fednode invite` brings others"),
        (_, 0) => {
            let remedy = format!("see the other checks; if all machines are on, {GIVE_PEER}");
            check(NAME, Verdict::Blocked, format!("none of {all} other members is reached"), remedy)
        }
        _ => ok(NAME, format!("{there} of {all} other members are connected")),
    }];
    checks.extend(node.members.iter().filter(|member| !member.reach.connected).map(away));
    checks
}

fn away(member: &MemberFacts) -> Check {
    let who = match member.name.as_str() {
        "" => format!("the address {} given with --peer", member.reach.addresses.join(", ")),
        name => name.to_owned(),
    };
    let last_good = member.reach.last_good.as_ref().map(|address| format!(", last reached at {address}"));
    let errors: Vec<String> =
        member.reach.errors.iter().map(|error| format!("{}: {}", error.address, error.why)).collect();
    let tried = match (errors.is_empty(), member.reach.addresses.is_empty()) {
        (false, _) => errors.join("; "),
        (true, true) => "no address of it is known".to_owned(),
        (true, false) => format!("being dialled at {}", member.reach.addresses.join(", ")),
    };
    let found = format!("{who} is not reached{}: {tried}", last_good.unwrap_or_default());
    let remedy = if member.name.is_empty() {
        "check the address; a member must answer there".to_owned()
    } else {
        format!(
            "see that {who} is on, awake and runs fednode; if its address changed and mDNS cannot tell, {GIVE_PEER}"
        )
    };
    check("member", Verdict::Warning, found, remedy)
}
