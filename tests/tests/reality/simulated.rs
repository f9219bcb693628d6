//! The same scenario, simulated.

use federation_sim::report::Report;
use federation_sim::schedule::{Recorded, Run};
use federation_sim::world::World;

use crate::measured::Measured;
use crate::{Asked, LINE_BYTES_PER_S, real};

/// Of 1514 bytes that `tc` counts, TCP gets 1448: Ethernet takes 14, IP 20, and TCP 32 with its timestamps.
const TCP_BYTES: u64 = 1448;
const FRAME_BYTES: u64 = 1514;
/// By then everything has come and the first manager is ready.
const ASKED_FROM_MS: u64 = 60_000;

/// How often it is played, each time with other ids.
const SEEDS: u64 = 15;

/// The run, as plain data: what is known of lines, and what was measured.
pub fn run(measured: &Measured, asked: &[Asked]) -> Run {
    let mut run: Run = toml::from_str(include_str!("three.toml")).expect("a run");
    let line = LINE_BYTES_PER_S * TCP_BYTES / FRAME_BYTES;
    for machine in &mut run.machines {
        let what = &mut machine.what;
        (what.up_bytes_per_s, what.down_bytes_per_s) = (line, line);
        what.load_bytes_per_s = measured.load_bytes_per_s;
        (what.engine_start_ms, what.question_ms) = (measured.engine_start_ms, measured.question_ms);
        (what.prompt_tokens_per_s, what.tokens_per_s) = (measured.prompt_tokens_per_s, measured.tokens_per_s);
    }
    run.machines[1].what.ram_bytes = real::memory_bytes(measured);
    run.model.weights_bytes = measured.model_bytes;
    let slot = |name: &str| run.slots.iter().find(|slot| slot.name.as_str() == name).expect("a slot").name;
    let recorded = |asked: &Asked| Recorded {
        at_ms: ASKED_FROM_MS + asked.at_ms,
        node: 2,
        slot: slot(asked.slot),
        domain: None,
        prompt_tokens: asked.prompt_tokens,
        tokens: asked.tokens,
    };
    run.questions = asked.iter().map(recorded).collect();
    run.simulated_s = (ASKED_FROM_MS + asked.iter().map(|asked| asked.at_ms).max().unwrap_or(0)) / 1000 + 60;
    run
}

/// Plays it with the ids of so many seeds. FEDNODE_REALITY_RUN names a file to keep the first in, for `federation-sim replay`.
pub fn play(run: &Run) -> Vec<Report> {
    if let Some(kept) = std::env::var_os("FEDNODE_REALITY_RUN") {
        std::fs::write(kept, toml::to_string(run).expect("plain data")).expect("kept");
    }
    assert_eq!(run.check(), Ok(()));
    (1..=SEEDS).map(|seed| World::new(Run { seed, ..run.clone() }).play()).collect()
}
