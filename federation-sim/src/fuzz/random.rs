//! A random short run: a few machines, managers, people and faults, all from a seed and a number. Sizes are such that some
//! things fit and others do not, and that loads and transfers take seconds.

use fednode::core::roster::{RosterSlot, SlotPolicy};
use fednode::core::types::{DomainName, SlotName};

use crate::rng::Rng;
use crate::scenario::{MachinePattern, Model, Options, Workload};
use crate::schedule::{Fault, FaultKind, Machine, Run};

const MIB: u64 = 1 << 20;
/// What a replica needs beside its weights, about.
const OWN_BYTES: u64 = 200 * MIB;
/// Free disk that a transfer leaves, and a bit.
const DISK_SPARE: u64 = 3 << 30;

/// How many kinds of faults [`fault`] draws from.
const KINDS: u64 = 16;

/// Run number `index` of the runs of `seed`.
pub fn run(seed: u64, index: u64) -> Run {
    let mut rng = Rng::new(seed, &format!("run {index}"));
    let nodes = rng.between(3, 9) as usize;
    let model = model(&mut rng);
    let slots: Vec<RosterSlot> = (0..rng.between(1, 5)).map(|slot| roster_slot(slot, &mut rng)).collect();
    let machines: Vec<Machine> =
        (0..nodes).map(|node| machine(node, model.weights_bytes, slots.len() as u64, &mut rng)).collect();
    let mut run = Run {
        scenario: format!("fuzz {seed}/{index}"),
        seed: rng.bits() >> 1, // TOML has no larger numbers
        simulated_s: rng.between(30, 180),
        options: options(&model, &mut rng),
        workload: workload(&mut rng),
        model,
        machines,
        slots,
        questions: Vec::new(),
        faults: Vec::new(),
    };
    let faults = rng.between(1, 12);
    run.faults = (0..faults).map(|_| fault(&run, &mut rng)).collect();
    run.faults.sort_by_key(|fault| (fault.at_ms, fault.lasts_ms));
    run
}

fn model(rng: &mut Rng) -> Model {
    let weights_bytes = [64 * MIB, 256 * MIB, 1024 * MIB, 4096 * MIB][rng.below(4) as usize];
    Model {
        weights_bytes,
        layers: 16,
        embedding: 1024,
        heads: 16,
        kv_heads: 4,
        head_dim: 64,
        context_max: 8192,
        vocabulary: 32_000,
        feed_forward: 4096,
    }
}

fn roster_slot(number: u64, rng: &mut Rng) -> RosterSlot {
    let replicas = rng.between(1, 3) as u32;
    let domains = if rng.chance(250_000) { rng.between(1, 2) } else { 0 };
    RosterSlot {
        name: SlotName::new(&format!("S{number}")).expect("a letter and a digit"),
        title: String::new(),
        base: None,
        context: 2048,
        parallel: rng.between(1, 2) as u32,
        replicas,
        replicas_max: if rng.chance(200_000) { replicas + 1 } else { 0 },
        policy: if rng.chance(350_000) { SlotPolicy::Pinned } else { SlotPolicy::Swappable },
        demand_per_hour: rng.between(1, 60) as u32,
        domains: (0..domains).map(|d| DomainName::new(&format!("d{d}")).expect("a letter and a digit")).collect(),
    }
}

fn machine(index: usize, weights: u64, slots: u64, rng: &mut Rng) -> Machine {
    let first = index == 0; // it publishes and stores everything
    let replica = weights + OWN_BYTES;
    let reserve_bytes = 512 * MIB;
    let gpus = if rng.chance(200_000) { 1 } else { 0 };
    let line = weights / rng.between(1, 20);
    let all = weights * slots + DISK_SPARE;
    let what = MachinePattern {
        name: format!("m{index}"),
        count: 1,
        role: if !first && rng.chance(200_000) { "delegate" } else { "full" }.to_owned(),
        priority: rng.below(2) as u32,
        on_battery: rng.chance(300_000),
        site: u32::from(rng.chance(200_000)),
        ram_bytes: replica * rng.between(50, 450) / 100 + reserve_bytes,
        reserve_bytes,
        vram_bytes: vec![replica * rng.between(80, 250) / 100; gpus],
        disk_bytes: if first { all * 3 } else { all * rng.between(50, 200) / 100 },
        load_bytes_per_s: weights * 10 / rng.between(5, 50),
        up_bytes_per_s: line.max(MIB),
        down_bytes_per_s: line.max(MIB),
        tokens_per_s: rng.between(10, 200),
        prompt_tokens_per_s: rng.between(200, 5000),
        gpu_tokens_per_s: 0,
        gpu_prompt_tokens_per_s: 0,
        engine_start_ms: rng.between(1, 500),
        question_ms: rng.between(1, 50),
    };
    let starts_at_ms = if first { 0 } else { rng.below(10_000) };
    Machine { starts_at_ms, clock_drift_ppm: rng.below(101) as i64 - 50, what }
}

fn options(model: &Model, rng: &mut Rng) -> Options {
    Options {
        lan_latency_us: rng.between(100, 2_000),
        wan_latency_us: rng.between(5_000, 80_000),
        jitter_percent: rng.between(0, 100),
        loss_ppm: [0, 1_000, 50_000][rng.below(3) as usize],
        duplicate_ppm: [0, 1_000, 50_000][rng.below(3) as usize],
        chunk_bytes: (model.weights_bytes / rng.between(4, 32)).max(4 * MIB) as u32,
        adapter_bytes: 8 * MIB,
        fsync_us: rng.between(500, 50_000),
        hash_bytes_per_s: 2_000_000_000,
        superseded: rng.below(4) as usize,
        load_failure_ppm: if rng.chance(200_000) { 100_000 } else { 0 },
        strategy: ["mixed", "specialised", "swapping"][rng.below(3) as usize].to_owned(),
        stocked: rng.chance(300_000),
    }
}

fn workload(rng: &mut Rng) -> Workload {
    Workload {
        sessions_per_node_hour: [0, 30, 200, 1_000][rng.below(4) as usize],
        sessions_per_hour: 0,
        first_after_s: 0,
        turns_max: rng.between(1, 4),
        think_s_max: rng.between(0, 10),
        tokens_max: rng.between(1, 200),
        prompt_tokens_max: rng.between(1, 500),
        zipf: rng.chance(500_000),
    }
}

fn fault(run: &Run, rng: &mut Rng) -> Fault {
    let at_ms = rng.below(run.simulated_s * 1000);
    let lasts_ms = rng.between(1, 7_000) * rng.between(1, 10);
    Fault { at_ms, lasts_ms, kind: kind(run, rng) }
}

/// Any kind of fault, at some machines of `run`.
pub fn kind(run: &Run, rng: &mut Rng) -> FaultKind {
    let nodes = run.machines.len();
    let node = rng.below(nodes as u64) as usize;
    let other = (node + 1 + rng.below(nodes.saturating_sub(1) as u64) as usize) % nodes;
    let what = &run.machines[node].what;
    let all = run.model.weights_bytes * run.slots.len() as u64;
    let some = |rng: &mut Rng| (0..nodes).filter(|_| rng.chance(500_000)).collect();
    match rng.below(KINDS) {
        0 => FaultKind::Crash(node),
        1 => FaultKind::PowerCut(node),
        2 => FaultKind::Sleep(node),
        3 => FaultKind::EnginesDie(node),
        4 => FaultKind::Partition(some(rng)),
        5 => FaultKind::OneWay(node, other),
        6 => FaultKind::Lie(node),
        7 => FaultKind::Blackout(some(rng)),
        8 => FaultKind::SlowNode(node, rng.between(2, 20)),
        9 => FaultKind::FullDisk(node, what.disk_bytes * rng.between(30, 100) / 100),
        10 => FaultKind::TightBudget(some(rng), all * rng.between(0, 120) / 100),
        11 => FaultKind::MemoryTaken(node, what.ram_bytes * rng.between(10, 100) / 100),
        12 => FaultKind::BitRot(node, rng.below(1 << 31)),
        13 => FaultKind::LoadsFail(node),
        14 => FaultKind::SlowLink(node, other, rng.between(2, 200)),
        _ => FaultKind::Drift(node, rng.below(200_001) as i64 - 100_000),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn random_runs_are_plain_data_that_can_be_saved_and_have_every_kind_of_fault() {
        let mut kinds = BTreeSet::new();
        for index in 0..100 {
            let made = run(7, index);
            assert_eq!(made.check(), Ok(()));
            let text = toml::to_string(&made).expect("plain data");
            assert_eq!(toml::from_str::<Run>(&text).expect("its own output"), made);
            assert_eq!(run(7, index), made);
            kinds.extend(made.faults.iter().map(|fault| fault.kind.name()));
        }
        assert_eq!(kinds.len() as u64, KINDS, "{kinds:?}");
        assert_ne!(run(7, 0), run(8, 0));
    }
}
