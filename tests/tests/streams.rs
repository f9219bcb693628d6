//! Many streams at once through one delegate to two holders: none is lost, none gets another's text, and when a holder is killed
//! every stream without a token yet is answered by the other one. `FEDNODE_STREAMS` and `FEDNODE_STREAM_SECONDS` make more of it.

use std::time::{Duration, Instant};

use fednode_tests::load::Load;
use fednode_tests::{Federation, NodeProcess, NodeSpec, managers, status_bytes, until};

const LIMIT: Duration = Duration::from_secs(60);
/// One answer among hundreds that share two cores.
const ANSWER_LIMIT: Duration = Duration::from_secs(120);
/// Of a delegate's memory: idle, and under five hundred streams.
const IDLE_BYTES_MAX: u64 = 40_000_000;
const BUSY_BYTES_MAX: u64 = 80_000_000;
const ROSTER: &str = "name = \"streams\"\n\n[[slot]]\nname = \"UCM\"\ncontext = 512\nparallel = 16\nreplicas = 2\n";

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn federation() -> Federation {
    let mut federation = Federation::new().expect("a federation");
    federation.create(NodeSpec::full("north").memory("64GB")).expect("up");
    federation.join(NodeSpec::full("south").memory("64GB"), "north").expect("joined");
    federation.join(NodeSpec::delegate("laptop"), "north").expect("joined");
    let file = federation.folder().join("roster.toml");
    std::fs::write(&file, ROSTER).expect("written");
    let north = federation.node("north");
    north.command(&["roster", "apply", &file.to_string_lossy()]).expect("applied");
    north.publish("UCM").expect("published");
    federation.wait_answered("laptop", "UCM", LIMIT).expect("an answer");
    let both = until("two holders", LIMIT, || match federation.node("laptop").holders("UCM") {
        Ok(holders) if holders.len() == 2 => Ok(()),
        other => Err(format!("{other:?}")),
    });
    both.expect("two holders");
    federation
}

#[test]
fn no_stream_is_lost_or_mixed_and_memory_stays_flat() {
    let (streams, seconds) = (number("FEDNODE_STREAMS", 100) as usize, number("FEDNODE_STREAM_SECONDS", 8));
    let federation = federation();
    let laptop = federation.node("laptop");
    let idle = resident_bytes(laptop);
    let known = managers::answers("UCM").expect("known answers");
    let load = Load::start(laptop.client().base(), streams, &known, ANSWER_LIMIT);
    let (begin, mut seen) = (Instant::now(), Vec::new());
    while begin.elapsed() < Duration::from_secs(seconds) {
        std::thread::sleep(Duration::from_millis(500));
        seen.push(resident_bytes(laptop));
    }
    let open = load.open();
    let outcome = load.stop();
    let most = seen.iter().copied().max().unwrap_or_default();
    let settled = seen[seen.len() / 2..].to_vec();
    println!("{streams} streams for {seconds} s: {} whole, {open} open at the end", outcome.whole);
    println!(
        "laptop: idle {idle} bytes, at most {most}, second half {:?}..{:?}",
        settled.iter().min(),
        settled.iter().max()
    );
    assert_eq!((outcome.wrong.as_slice(), outcome.cut, outcome.refused), ([].as_slice(), 0, 0));
    assert!(outcome.whole >= streams, "every client had an answer: {}", outcome.whole);
    assert!(idle <= IDLE_BYTES_MAX && most <= BUSY_BYTES_MAX, "idle {idle}, at most {most}");
    for name in ["north", "south", "laptop"] {
        federation.node(name).wait_idle(LIMIT).expect("nothing in flight");
    }
}

#[test]
fn a_killed_holder_costs_only_the_answers_that_had_begun() {
    let streams = number("FEDNODE_STREAMS", 100) as usize;
    let mut federation = federation();
    let known = managers::answers("UCM").expect("known answers");
    let load = Load::start(federation.node("laptop").client().base(), streams, &known, ANSWER_LIMIT);
    let busy = until("answers from both", LIMIT, || match load.outcome().whole {
        some if some >= streams => Ok(()),
        few => Err(format!("{few} answers")),
    });
    busy.expect("answers");
    federation.node_mut("south").kill9();
    let before = load.outcome().whole;
    let after = until("answers after it", LIMIT, || match load.outcome().whole - before {
        some if some >= 2 * streams => Ok(()),
        few => Err(format!("{few} answers since")),
    });
    after.expect("the other one answers");
    let outcome = load.stop();
    println!("{streams} streams, a holder killed: {} whole, {} cut", outcome.whole, outcome.cut);
    assert_eq!((outcome.wrong.as_slice(), outcome.refused), ([].as_slice(), 0));
    federation.node("laptop").wait_idle(LIMIT).expect("nothing in flight");
    federation.node("north").wait_idle(LIMIT).expect("nothing in flight");
}

fn resident_bytes(node: &NodeProcess) -> u64 {
    node.pid().and_then(|pid| status_bytes(pid, "VmRSS")).expect("it runs")
}
