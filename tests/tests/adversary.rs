//! An adversary against a running federation of two machines (`fednode-adversary`: a real libp2p client with a key of its
//! own). Each row of the tables is one threat; SECURITY.md names the tests. A row answers with what the adversary was told,
//! beyond refusals to negotiate: there must be nothing, and afterwards the federation must work as before.

use std::time::Duration;

use fednode_adversary::{Adversary, Security, forge};
use fednode_tests::{Federation, NodeSpec, managers, until};

#[path = "adversary/protocols.rs"]
mod protocols;

const LIMIT: Duration = Duration::from_secs(60);

/// Two members, a manager on the first, and somebody who was not invited.
struct World {
    federation: Federation,
    stranger: Adversary,
    /// A ticket that has admitted a member.
    used: String,
    /// A ticket that nobody used in time.
    expired: String,
}

impl World {
    fn new() -> World {
        let mut federation = Federation::new().expect("a temporary directory and a binary");
        federation.create(NodeSpec::full("north").memory("64GB")).expect("north starts");
        let ticket = federation.invite("north", "delegate").expect("north invites");
        let used = std::fs::read_to_string(&ticket).expect("a ticket file is text");
        federation.add(NodeSpec::delegate("south")).expect("a free port").join(&ticket).expect("south joins");
        let short = federation.folder().join("short");
        let path = short.to_str().expect("paths of this test are UTF-8");
        federation.node("north").command(&["invite", "--ttl", "1s", "--ticket-file", path]).expect("north invites");
        let expired = std::fs::read_to_string(&short).expect("a ticket file is text");
        federation.node("north").publish("UCM").expect("north publishes");
        federation.wait_carried_out(LIMIT, |_| {}).expect("UCM is ready");
        federation.wait_answered("south", "UCM", LIMIT).expect("it hears of it");
        let world = World { federation, stranger: Adversary::new().expect("a runtime"), used, expired };
        world.invitation_closed();
        world
    }

    fn at(&self, name: &str) -> std::net::SocketAddr {
        self.federation.node(name).peer_address()
    }

    /// The gate follows the tickets within seconds.
    fn invitation_closed(&self) {
        self.gate(false);
    }

    fn invitation_opens(&mut self) {
        self.federation.invite("north", "full").expect("north invites");
        self.gate(true);
    }

    fn gate(&self, open: bool) {
        until("the gate following the invitations", LIMIT, || {
            let answer = self.stranger.speak(self.at("north"), Security::Tls, "/fednode/join/1", b"");
            if answer.multiplexed == open { Ok(()) } else { Err(format!("{answer:?}")) }
        })
        .expect("the gate follows");
    }

    /// The delegate gets its answer from the other machine, and both see the same members.
    fn works(&self, after: &str, members: usize) {
        let known = managers::first_answer("UCM").expect("a known answer");
        let answer = self.federation.node("south").client().chat("UCM", &known.prompt).expect("a reply");
        assert_eq!((answer.text.as_str(), answer.node.as_deref()), (known.answer.as_str(), Some("north")), "{after}");
        for name in ["north", "south"] {
            let list = self.federation.node(name).command(&["members", "--json"]).expect("a list").json();
            assert_eq!(list["members"].as_array().map(Vec::len), Some(members), "members at {name} {after}: {list}");
        }
    }

    fn topic(&self) -> String {
        let state = self.federation.node("north").state().expect("state");
        format!("fednode/1/{}", state["federation"].as_str().expect("a federation"))
    }
}

/// One threat, and what was answered to it.
struct Row {
    threat: &'static str,
    attempt: fn(&World) -> Vec<String>,
}

fn run(world: &World, rows: &[Row], when: &str) {
    let mut faults = Vec::new();
    for row in rows {
        faults.extend((row.attempt)(world).into_iter().map(|told| format!("{}: {told}", row.threat)));
        world.works(&format!("after {:?}, {when}", row.threat), 2);
    }
    assert!(faults.is_empty(), "{when}, a stranger was told:\n  {}", faults.join("\n  "));
}

/// What a stranger may try at any time.
const AT_ANY_TIME: &[Row] = &[
    Row { threat: "every protocol, asked for", attempt: |world| every_protocol(world, b"") },
    Row { threat: "every protocol, with words ahead", attempt: |world| every_protocol(world, &[8; 512]) },
    Row { threat: "gossip, identification and pings of a whole node", attempt: whole_node },
    Row { threat: "QUIC", attempt: |world| both(world, |at| world.stranger.quic(at)) },
    Row { threat: "a replayed ticket", attempt: |world| ticket(world, &world.used) },
    Row { threat: "an expired ticket", attempt: |world| ticket(world, &world.expired) },
];

/// What is true besides while nobody is invited.
const WHILE_NOBODY_IS_INVITED: &[Row] = &[
    Row { threat: "an encrypted connection", attempt: |world| hung_up(world, b"") },
    Row {
        threat: "an encrypted connection and words ahead",
        attempt: |world| hung_up(world, b"\x13/multistream/1.0.0\n\x0d/yamux/1.0.0\n\0\x01\0\x01\0\0\0\x01\0\0\0\0"),
    },
];

#[test]
fn a_stranger_is_told_nothing_while_nobody_is_invited() {
    let world = World::new();
    run(&world, WHILE_NOBODY_IS_INVITED, "nobody is invited");
    run(&world, AT_ANY_TIME, "nobody is invited");
}

#[test]
fn a_stranger_is_told_nothing_while_somebody_else_is_invited() {
    let mut world = World::new();
    world.invitation_opens();
    run(&world, AT_ANY_TIME, "somebody else is invited");
    world.gate(true);
}

#[test]
fn a_hostile_member_changes_no_roster() {
    let mut world = World::new();
    world.federation.join(NodeSpec::delegate("mallory"), "north").expect("mallory joins");
    world.federation.node_mut("mallory").stop().expect("it stops");
    let file = std::fs::read(world.federation.node("mallory").data_dir().join("identity")).expect("its key");
    let mallory = Adversary::with_identity(&file).expect("its key");
    let north = world.at("north");
    let old = mallory.push_roster(north, None).expect("a member is answered");
    world.federation.join(NodeSpec::delegate("late"), "north").expect("late joins");
    let new = mallory.push_roster(north, None).expect("a member is answered");
    assert!(new.version > old.version, "{} after {}", new.version, old.version);
    until("south having the newer roster", LIMIT, || match mallory.push_roster(world.at("south"), None) {
        Ok(held) if held == new => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .expect("it travels");

    let rolled_back = ("a rolled-back roster", old.roster);
    let forged = forge::by_another_owner(&new.roster, world.stranger.node()).expect("a roster");
    let forged = forged.map(|roster| ("a roster signed by another owner", roster));
    world.invitation_closed();
    for (threat, roster) in [rolled_back].into_iter().chain(forged) {
        for name in ["north", "south"] {
            mallory.push_roster(world.at(name), Some(&roster)).expect("a member is answered");
            let held = mallory.push_roster(world.at(name), None).expect("a member is answered");
            assert_eq!(held, new, "{threat} at {name}");
        }
        assert_eq!(hung_up(&world, b""), Vec::<String>::new(), "{threat}");
        world.works(threat, 4);
    }
}

#[test]
fn a_revoked_identity_is_told_nothing() {
    let mut world = World::new();
    world.federation.join(NodeSpec::delegate("mallory"), "north").expect("mallory joins");
    world.federation.node_mut("mallory").stop().expect("it stops");
    let file = std::fs::read(world.federation.node("mallory").data_dir().join("identity")).expect("its key");
    let mallory = Adversary::with_identity(&file).expect("its key");
    let held = until("both answering the member", LIMIT, || {
        let held = ["north", "south"].map(|name| mallory.push_roster(world.at(name), None));
        if let [Ok(north), Ok(south)] = &held
            && north == south
        {
            Ok(north.clone())
        } else {
            Err(format!("{held:?}"))
        }
    })
    .expect("a member is answered");

    world.federation.node("north").command(&["members", "revoke", "mallory", "--yes"]).expect("north revokes it");
    world.invitation_closed();
    until("south knowing of it", LIMIT, || match told_to(&mallory, &world, b"") {
        told if told.is_empty() => Ok(()),
        told => Err(told.join("; ")),
    })
    .expect("it travels");
    for name in ["north", "south"] {
        for roster in [None, Some(held.roster.as_slice())] {
            let answer = mallory.push_roster(world.at(name), roster);
            assert!(answer.is_err(), "{name} answers a revoked identity: {answer:?}");
        }
        for protocol in protocols::all() {
            let answer = mallory.speak(world.at(name), Security::Tls, &protocol, &[8; 64]);
            assert!(answer.is_silent() && !answer.multiplexed, "{name}, {protocol}: {answer:?}");
        }
    }
    world.works("after a revoked identity tried", 2);
}

/// Whatever is said behind the encryption, the node hangs up without a word.
fn hung_up(world: &World, words: &[u8]) -> Vec<String> {
    told_to(&world.stranger, world, words)
}

fn told_to(adversary: &Adversary, world: &World, words: &[u8]) -> Vec<String> {
    both(world, |at| {
        let heard = Security::ALL.map(|security| (security, adversary.knock(at, security, words)));
        let told = heard.into_iter().filter(|(_, heard)| !(heard.encrypted && heard.closed && heard.bytes.is_empty()));
        told.map(|(security, heard)| format!("{security:?}: {heard:?}")).collect()
    })
}

/// On every stream there is nothing but the refusal to negotiate; only joining may be agreed on, by who invites.
fn every_protocol(world: &World, words: &[u8]) -> Vec<String> {
    let mut told = Vec::new();
    for protocol in protocols::all() {
        for security in Security::ALL {
            told.extend(both(world, |at| {
                let answer = world.stranger.speak(at, security, &protocol, words);
                let may_agree = protocol == "/fednode/join/1" && at == world.at("north");
                let silent = answer.is_silent() && (may_agree || !answer.agreed);
                if silent { Vec::new() } else { vec![format!("{protocol} over {security:?}: {answer:?}")] }
            }));
        }
    }
    told
}

fn whole_node(world: &World) -> Vec<String> {
    let topic = world.topic();
    both(world, |at| world.stranger.listen_in(at, &topic))
}

fn ticket(world: &World, text: &str) -> Vec<String> {
    let answers = Security::ALL.map(|security| world.stranger.redeem(world.at("north"), security, text));
    answers.into_iter().filter(|answer| !answer.is_silent()).map(|answer| format!("{answer:?}")).collect()
}

/// At both members.
fn both(world: &World, attempt: impl Fn(std::net::SocketAddr) -> Vec<String>) -> Vec<String> {
    let told = |name: &str| {
        let told = attempt(world.at(name));
        told.into_iter().map(|told| format!("{name}: {told}")).collect::<Vec<_>>()
    };
    ["north", "south"].into_iter().flat_map(told).collect()
}
