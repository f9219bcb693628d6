//! A thousand hostile connections at once against two members: chats between them go on, a machine that was invited joins,
//! and neither node holds more sockets or memory than its limits say. How long answers take meanwhile is measured by
//! `scripts/bench-hostile`; here nothing is timed.

use std::time::Duration;

use fednode_adversary::flood::{Flood, Targets};
use fednode_tests::{Federation, NodeSpec, managers, status_bytes, until};

const LIMIT: Duration = Duration::from_secs(60);
const CONNECTIONS: usize = 1000;
const CHATS: usize = 30;

/// Half-open connections of strangers and of known addresses (`core::limits`), what a browser or two would use, and slack.
const SOCKETS_MORE_MAX: usize = 128 + 256 + 300;
/// What these may take.
const BYTES_MORE_MAX: u64 = 256 << 20;

#[test]
fn a_thousand_hostile_connections_stop_no_chat_and_no_join() {
    let mut federation = Federation::new().expect("a temporary directory and a binary");
    federation.create(NodeSpec::full("north").memory("64GB")).expect("north starts");
    federation.join(NodeSpec::delegate("south"), "north").expect("south joins");
    federation.node("north").publish("UCM").expect("north publishes");
    federation.wait_carried_out(LIMIT, |_| {}).expect("UCM is ready");
    federation.wait_answered("south", "UCM", LIMIT).expect("it hears of it");
    let before = ["north", "south"].map(|name| Held::by(federation.node(name).pid()));

    let targets =
        |of: fn(&fednode_tests::NodeProcess) -> std::net::SocketAddr| federation.nodes().iter().map(of).collect();
    let targets = Targets {
        peers: targets(fednode_tests::NodeProcess::peer_address),
        apis: targets(fednode_tests::NodeProcess::api_address),
    };
    let flood = Flood::start(targets, CONNECTIONS).expect("a flood");
    until("a flood in full", LIMIT, || match flood.report() {
        report if report.made >= CONNECTIONS && report.encrypted > 0 => Ok(()),
        report => Err(format!("{report:?}")),
    })
    .expect("it flows");

    let known = managers::first_answer("UCM").expect("a known answer");
    for _ in 0..CHATS {
        let answer = federation.node("south").client().chat("UCM", &known.prompt).expect("a reply");
        assert_eq!((answer.text.as_str(), answer.node.as_deref()), (known.answer.as_str(), Some("north")));
    }
    federation.join(NodeSpec::delegate("late"), "north").expect("an invited machine joins meanwhile");
    for (name, before) in ["north", "south"].into_iter().zip(before) {
        let now = Held::by(federation.node(name).pid());
        assert!(now.sockets <= before.sockets + SOCKETS_MORE_MAX, "{name}: {now:?}, before {before:?}");
        assert!(now.bytes <= before.bytes + BYTES_MORE_MAX, "{name}: {now:?}, before {before:?}");
    }
    assert!(flood.report().made > CONNECTIONS, "whoever is closed comes again: {:?}", flood.report());
}

/// What a process has open and in memory, as Linux tells it; nothing elsewhere.
#[derive(Clone, Copy, Debug, Default)]
struct Held {
    sockets: usize,
    bytes: u64,
}

impl Held {
    fn by(pid: Option<u32>) -> Held {
        let pid = pid.expect("the node runs");
        let Ok(files) = std::fs::read_dir(format!("/proc/{pid}/fd")) else { return Held::default() };
        Held { sockets: files.count(), bytes: status_bytes(pid, "VmRSS").unwrap_or(0) }
    }
}
