//! `scripts/bench-hostile`: how long chats through another member take before, during and after a flood of hostile
//! connections, each run in a federation of its own. Prints JSON lines.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use fednode_adversary::flood::{Flood, Targets};
use fednode_tests::{Error, Federation, NodeProcess, NodeSpec, managers, until};
use serde_json::json;

const LIMIT: Duration = Duration::from_secs(60);
const CONNECTIONS: usize = 1000;

fn main() -> Result<(), Error> {
    let number =
        |at: usize, default: usize| std::env::args().nth(at).and_then(|text| text.parse().ok()).unwrap_or(default);
    let (runs, chats) = (number(1, 3), number(2, 400));
    for run in 1..=runs {
        measure(run, chats)?;
    }
    Ok(())
}

fn measure(run: usize, chats: usize) -> Result<(), Error> {
    let mut federation = Federation::new()?;
    federation.create(NodeSpec::full("north").memory("64GB"))?;
    federation.join(NodeSpec::delegate("south"), "north")?;
    federation.node("north").publish("UCM")?;
    federation.wait_carried_out(LIMIT, |_| {})?;
    federation.wait_answered("south", "UCM", LIMIT)?;
    // The first answers warm caches.
    ask(&federation, chats / 10)?;

    let before = ask(&federation, chats)?;
    let of = |address: fn(&NodeProcess) -> SocketAddr| federation.nodes().iter().map(address).collect();
    let targets = Targets { peers: of(NodeProcess::peer_address), apis: of(NodeProcess::api_address) };
    let flood = Flood::start(targets, CONNECTIONS).map_err(|error| Error::Wrong(error.to_string()))?;
    until("a flood in full", LIMIT, || match flood.report() {
        report if report.made >= CONNECTIONS => Ok(()),
        report => Err(format!("{report:?}")),
    })?;
    let (began, first) = (Instant::now(), flood.report());
    let during = ask(&federation, chats)?;
    let (seconds, last) = (began.elapsed().as_secs_f64(), flood.report());
    let joining = Instant::now();
    federation.join(NodeSpec::delegate("late"), "north")?;
    let joined = joining.elapsed();
    drop(flood);
    let after = ask(&federation, chats)?;

    let ratio = during.p99.as_secs_f64() / before.p99.as_secs_f64();
    let line = json!({
        "run": run, "chats": chats, "connections": CONNECTIONS, "open": last.open,
        "connections_per_s": (last.made - first.made) as f64 / seconds, "handshakes_per_s": (last.encrypted - first.encrypted) as f64 / seconds,
        "before_ms": before.json(), "during_ms": during.json(), "after_ms": after.json(),
        "p99_ratio": ratio, "join_during_s": joined.as_secs_f64(),
    });
    println!("{line}");
    Ok(())
}

/// How long answers took.
struct Times {
    p50: Duration,
    p99: Duration,
}

impl Times {
    fn json(&self) -> serde_json::Value {
        json!({"p50": self.p50.as_secs_f64() * 1e3, "p99": self.p99.as_secs_f64() * 1e3})
    }
}

/// Asks on the machine without the manager, one question after the other.
fn ask(federation: &Federation, chats: usize) -> Result<Times, Error> {
    let known = managers::first_answer("UCM")?;
    let client = federation.node("south").client();
    let mut times = Vec::with_capacity(chats);
    for _ in 0..chats {
        let begin = Instant::now();
        let answer = client.chat("UCM", &known.prompt)?;
        times.push(begin.elapsed());
        if answer.text != known.answer || answer.node.as_deref() != Some("north") {
            return Err(Error::Wrong(format!("another answer: {}", answer.summary())));
        }
    }
    times.sort();
    let at = |per_cent: usize| times.get((times.len() * per_cent / 100).min(times.len().saturating_sub(1))).copied();
    Ok(Times { p50: at(50).unwrap_or_default(), p99: at(99).unwrap_or_default() })
}
