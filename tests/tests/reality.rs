//! The simulator is right about reality: one scenario of three machines, played by real processes on lines and disks of
//! known speed, and by the simulator, which is told those speeds and what one node alone was measured to do. How long
//! transfers and swaps take and people wait agrees. Who fetches what from whom depends on the nodes' ids, which are
//! drawn anew each time: of the simulator the middle of several runs counts. Machines are network namespaces, so this
//! needs root, or `unshare -Ur`.

#[path = "reality/cache.rs"]
mod cache;
#[path = "reality/measured.rs"]
mod measured;
#[path = "reality/real.rs"]
mod real;
#[path = "reality/simulated.rs"]
mod simulated;
#[path = "reality/watch.rs"]
mod watch;

use std::time::Duration;

use federation_sim::report::{Report, Waits};
use fednode_tests::lan::Lan;

/// For whatever is not measured.
const LIMIT: Duration = Duration::from_secs(90);
/// Of each line, each way, as `tc` counts it.
const LINE_BYTES_PER_S: u64 = 25_000_000;
/// Of each disk.
const DISK_BYTES_PER_S: u64 = 50_000_000;
/// How far the simulator may be off.
const PERCENT_MAX: f64 = 15.0;

const ROSTER: &str = "name = \"reality\"\n\n[[slot]]\nname = \"UCM\"\ncontext = 512\ndemand_per_hour = 60\n\n\
                      [[slot]]\nname = \"UIM\"\ncontext = 512\ndemand_per_hour = 30\n";

/// What people at c ask: when in milliseconds, whom, words of the prompt, tokens of the answer. Two managers in turns.
const QUESTIONS: [(u64, &str, usize, u64); 24] = [
    (0, "UCM", 4, 4),
    (400, "UCM", 8, 4),
    (2000, "UIM", 4, 4),
    (3500, "UIM", 6, 4),
    (8500, "UIM", 4, 8),
    (9000, "UIM", 8, 4),
    (10_000, "UCM", 4, 4),
    (11_500, "UCM", 8, 4),
    (16_500, "UCM", 4, 8),
    (17_000, "UCM", 4, 4),
    (18_000, "UIM", 4, 4),
    (19_500, "UIM", 4, 4),
    (24_500, "UIM", 8, 4),
    (25_000, "UIM", 4, 4),
    (26_000, "UCM", 4, 4),
    (27_500, "UCM", 6, 4),
    (32_500, "UCM", 4, 8),
    (33_000, "UCM", 8, 4),
    (34_000, "UIM", 4, 4),
    (35_500, "UIM", 4, 4),
    (40_500, "UIM", 6, 4),
    (41_000, "UIM", 4, 4),
    (42_000, "UCM", 4, 4),
    (43_500, "UCM", 4, 4),
];

/// One question as it went.
#[derive(Debug)]
struct Asked {
    at_ms: u64,
    slot: &'static str,
    prompt_tokens: u64,
    tokens: u64,
    /// Until the first token.
    wait: Duration,
}

/// What came of the scenario.
#[derive(Debug)]
struct Played {
    transfer: Duration,
    swaps: Vec<Duration>,
    asked: Vec<Asked>,
}

#[test]
fn the_simulator_is_right_about_transfers_swaps_and_waits() {
    let lan = Lan::new().expect("a network");
    let roster = lan.folder().join("roster.toml");
    std::fs::write(&roster, ROSTER).expect("a roster");
    let measured = measured::alone(&lan, &roster);
    println!("alone: {measured:?}");
    let real = real::play(&lan, &measured, &roster);
    let runs = simulated::play(&simulated::run(&measured, &real.asked));
    for report in &runs {
        assert_eq!((report.violations, report.requests.ok), (0, QUESTIONS.len() as u64), "{report}");
    }
    let millis = |durations: &[Duration]| durations.iter().map(|one| one.as_millis() as u64).collect::<Vec<_>>();
    let waits = millis(&real.asked.iter().map(|asked| asked.wait).collect::<Vec<_>>());
    let swaps = millis(&real.swaps);
    println!("real waits {waits:?} ms, swaps {swaps:?} ms");
    let middle = |of: fn(&Report) -> u64| Waits::of(&runs.iter().map(of).collect::<Vec<_>>()).p50;
    let compared = [
        ("transfer", real.transfer.as_millis() as u64, middle(|run| run.transfer_ms)),
        ("swap, half of them", Waits::of(&swaps).p50, middle(|run| run.swap_ms.p50)),
        ("wait, p95", Waits::of(&waits).p95, middle(|run| run.wait_ms.p95)),
    ];
    let off = |real: u64, simulated: u64| (simulated as f64 / real as f64 - 1.0) * 100.0;
    for (what, real, simulated) in compared {
        println!("{what:<20} real {real:>6} ms, simulated {simulated:>6} ms: {:+.1} %", off(real, simulated));
    }
    let wrong = compared.iter().find(|(_, real, simulated)| off(*real, *simulated).abs() > PERCENT_MAX);
    assert_eq!(wrong, None, "more than {PERCENT_MAX} % off");
}
