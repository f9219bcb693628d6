//! A run as plain data: a scenario, expanded by a seed into machines and a schedule of faults. `run --save` writes it and
//! `replay` reads it; the same data and seed give the same trace, and a person may delete a fault to see what is left.

use fednode::core::roster::RosterSlot;
use fednode::core::types::{DomainName, SlotName};
use serde::{Deserialize, Serialize};

use crate::fuzz::random;
use crate::rng::Rng;
use crate::scenario::{MachinePattern, Model, Options, Scenario, Workload};

/// Everything that a run depends on.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Run {
    /// The scenario's name.
    pub scenario: String,
    /// What latencies, losses and questions are drawn from.
    pub seed: u64,
    /// How long questions are asked and faults happen; the check for liveness comes on top.
    pub simulated_s: u64,
    /// Links, disks and sizes.
    pub options: Options,
    /// What the managers look like.
    pub model: Model,
    /// Who asks what.
    pub workload: Workload,
    /// The machines.
    #[serde(rename = "machine")]
    pub machines: Vec<Machine>,
    /// The roster of slots.
    #[serde(rename = "slot")]
    pub slots: Vec<RosterSlot>,
    /// What breaks when.
    #[serde(rename = "fault", default)]
    pub faults: Vec<Fault>,
    /// Questions that are asked beside the sessions of `workload`, in the order of their times.
    #[serde(rename = "question", default)]
    pub questions: Vec<Recorded>,
}

/// One machine of a run.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Machine {
    /// When its process first starts.
    pub starts_at_ms: u64,
    /// How much its clock is too fast, in millionths.
    pub clock_drift_ppm: i64,
    /// What it is.
    pub what: MachinePattern,
}

/// One question of a recording: who asked whom, when, and how much.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recorded {
    /// When it was asked.
    pub at_ms: u64,
    /// At which machine.
    pub node: usize,
    /// Which manager.
    pub slot: SlotName,
    /// Which of its adapters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<DomainName>,
    /// Length of the prompt.
    pub prompt_tokens: u64,
    /// Length of the answer.
    pub tokens: u64,
}

/// One fault.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// When it begins.
    pub at_ms: u64,
    /// How long it lasts.
    pub lasts_ms: u64,
    /// What happens.
    pub kind: FaultKind,
}

/// What happens.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// A process is killed; the machine refuses connections until it starts again.
    Crash(usize),
    /// A machine falls silent at once; its disk survives.
    PowerCut(usize),
    /// A machine sleeps: its process and its clock stand still.
    Sleep(usize),
    /// The engines of a node die.
    EnginesDie(usize),
    /// Nothing passes between these nodes and the others.
    Partition(Vec<usize>),
    /// Nothing passes from the first to the second; the other way works.
    OneWay(usize, usize),
    /// A node sends corrupt chunks.
    Lie(usize),
    /// All of these machines lose power at once.
    Blackout(Vec<usize>),
    /// A node's disk and engines take so many times as long.
    SlowNode(usize, u64),
    /// Other files take so many bytes of a node's disk.
    FullDisk(usize, u64),
    /// The owner allows the stores of these nodes only so many bytes.
    TightBudget(Vec<usize>, u64),
    /// Other programs take so many bytes of a machine's host memory, or what engines leave of it.
    MemoryTaken(usize, u64),
    /// A chunk of an artifact rots on a node's disk, which scrubbing finds when the fault ends. The number draws the
    /// artifact and the chunk. Spares copies that are promised or the last.
    BitRot(usize, u64),
    /// Engines of a node do not start.
    LoadsFail(usize),
    /// Between these two everything takes so many times as long, and of gossip a tenth is lost.
    SlowLink(usize, usize, u64),
    /// A node's clock runs too fast by so many millionths.
    Drift(usize, i64),
}

impl FaultKind {
    /// What it is called.
    pub fn name(&self) -> &'static str {
        match self {
            FaultKind::Crash(_) => "crash",
            FaultKind::PowerCut(_) => "power cut",
            FaultKind::Sleep(_) => "sleep",
            FaultKind::EnginesDie(_) => "engines die",
            FaultKind::Partition(_) => "partition",
            FaultKind::OneWay(..) => "one way",
            FaultKind::Lie(_) => "lie",
            FaultKind::Blackout(_) => "blackout",
            FaultKind::SlowNode(..) => "slow node",
            FaultKind::FullDisk(..) => "full disk",
            FaultKind::TightBudget(..) => "tight budget",
            FaultKind::MemoryTaken(..) => "memory taken",
            FaultKind::BitRot(..) => "bit rot",
            FaultKind::LoadsFail(_) => "loads fail",
            FaultKind::SlowLink(..) => "slow link",
            FaultKind::Drift(..) => "drift",
        }
    }

    /// The machines it names.
    pub fn nodes(&self) -> Vec<usize> {
        match self {
            FaultKind::Crash(node)
            | FaultKind::PowerCut(node)
            | FaultKind::Sleep(node)
            | FaultKind::EnginesDie(node)
            | FaultKind::Lie(node)
            | FaultKind::SlowNode(node, _)
            | FaultKind::FullDisk(node, _)
            | FaultKind::MemoryTaken(node, _)
            | FaultKind::BitRot(node, _)
            | FaultKind::LoadsFail(node)
            | FaultKind::Drift(node, _) => vec![*node],
            FaultKind::OneWay(a, b) | FaultKind::SlowLink(a, b, _) => vec![*a, *b],
            FaultKind::Partition(some) | FaultKind::Blackout(some) | FaultKind::TightBudget(some, _) => some.clone(),
        }
    }
}

/// Machines of one run: as many as a federation has.
pub const MACHINES_MAX: usize = fednode::core::limits::MEMBERS_MAX;
/// Faults of one run: a bound for files written by hand.
const FAULTS_MAX: usize = 100_000;
/// Recorded questions of one run: a bound for files from outside; a year of an office.
pub const QUESTIONS_MAX: usize = 1_000_000;

impl Run {
    /// Expands `scenario`. `faults`: false leaves them out.
    pub fn expand(scenario: &Scenario, nodes: usize, simulated_s: u64, seed: u64, faults: bool) -> Run {
        let mut rng = Rng::new(seed, "machines");
        let machines: Vec<Machine> =
            (0..nodes).map(|index| machine(pattern_at(&scenario.machines, index), index, &mut rng)).collect();
        let mut run = Run {
            scenario: scenario.name.clone(),
            seed,
            simulated_s,
            options: scenario.options.clone(),
            model: scenario.model.clone(),
            workload: scenario.workload.clone(),
            machines,
            slots: scenario.slots.clone(),
            faults: Vec::new(),
            questions: Vec::new(),
        };
        if faults {
            run.faults = schedule(scenario, &run);
        }
        run
    }

    /// Says what makes the data unusable, if anything does.
    pub fn check(&self) -> Result<(), String> {
        let nodes = self.machines.len();
        if nodes == 0 || nodes > MACHINES_MAX {
            return Err(format!("a run has 1 to {MACHINES_MAX} machines, this one has {nodes}"));
        }
        if self.faults.len() > FAULTS_MAX {
            return Err(format!("a run has at most {FAULTS_MAX} faults"));
        }
        match self.faults.iter().flat_map(|fault| fault.kind.nodes()).find(|node| *node >= nodes) {
            Some(node) => Err(format!("a fault names machine {node}, and there are only {nodes}")),
            None => self.check_questions(),
        }
    }

    fn check_questions(&self) -> Result<(), String> {
        if self.questions.len() > QUESTIONS_MAX {
            return Err(format!("a run has at most {QUESTIONS_MAX} recorded questions"));
        }
        if let Some(pair) = self.questions.windows(2).find(|pair| pair[0].at_ms > pair[1].at_ms) {
            return Err(format!("the question at {} ms stands after one at {} ms", pair[1].at_ms, pair[0].at_ms));
        }
        let nodes = self.machines.len();
        if let Some(asked) = self.questions.iter().find(|asked| asked.node >= nodes) {
            return Err(format!("the question at {} ms is asked at machine {} of {nodes}", asked.at_ms, asked.node));
        }
        let known = |asked: &Recorded| {
            let slot = self.slots.iter().find(|slot| slot.name == asked.slot);
            slot.is_some_and(|slot| asked.domain.as_ref().is_none_or(|domain| slot.domains.contains(domain)))
        };
        match self.questions.iter().find(|asked| !known(asked)) {
            Some(asked) => {
                let domain = asked.domain.as_ref().map_or_else(String::new, |domain| format!(":{domain}"));
                Err(format!(
                    "the question at {} ms is for {}{domain}, which is not in the roster",
                    asked.at_ms, asked.slot
                ))
            }
            None => Ok(()),
        }
    }
}

/// Machine number `index` of the pattern, repeated as often as needed.
fn pattern_at(patterns: &[MachinePattern], index: usize) -> &MachinePattern {
    let length: usize = patterns.iter().map(|pattern| pattern.count).sum();
    let mut left = index % length.max(1);
    for pattern in patterns {
        if left < pattern.count {
            return pattern;
        }
        left -= pattern.count;
    }
    &patterns[0]
}

fn machine(pattern: &MachinePattern, index: usize, rng: &mut Rng) -> Machine {
    let what = MachinePattern { name: format!("{}-{index}", pattern.name), count: 1, ..pattern.clone() };
    // Machines start within ten seconds of each other, the publisher first; quartz is off by up to 50 ppm.
    let starts_at_ms = if index == 0 { 0 } else { rng.below(10_000) };
    Machine { starts_at_ms, clock_drift_ppm: rng.below(101) as i64 - 50, what }
}

/// Draws the schedule: a Poisson process for each kind of fault.
fn schedule(scenario: &Scenario, run: &Run) -> Vec<Fault> {
    let rates = &scenario.faults;
    let nodes = run.machines.len() as u64;
    let laptops: Vec<usize> = (0..run.machines.len()).filter(|&node| run.machines[node].what.on_battery).collect();
    let some = |rng: &mut Rng| rng.below(nodes) as usize;
    let mut faults = Vec::new();
    let mut draw = |purpose: &str, per_100h: u64, kind: &mut dyn FnMut(&mut Rng) -> FaultKind| {
        let mut rng = Rng::new(run.seed, purpose);
        if per_100h == 0 {
            return;
        }
        let mut at_ms = rng.pause(360_000_000 / per_100h);
        while at_ms < run.simulated_s * 1000 {
            // Most faults are short: the square of a uniform draw, at least half a second.
            let long = rates.lasts_s_max.max(1) * 1000;
            let lasts_ms = (rng.below(long) * rng.below(long) / long).max(500).min(run.simulated_s * 1000 - at_ms);
            faults.push(Fault { at_ms, lasts_ms, kind: kind(&mut rng) });
            at_ms += rng.pause(360_000_000 / per_100h);
        }
    };
    draw("crashes", rates.crashes_per_node_100h * nodes, &mut |rng| FaultKind::Crash(some(rng)));
    draw("power", rates.power_cuts_per_node_100h * nodes, &mut |rng| FaultKind::PowerCut(some(rng)));
    draw("engines", rates.engine_deaths_per_node_100h * nodes, &mut |rng| FaultKind::EnginesDie(some(rng)));
    draw("lies", rates.lies_per_100h, &mut |rng| FaultKind::Lie(some(rng)));
    draw("others", rates.others_per_100h, &mut |rng| random::kind(run, rng));
    draw("one way", rates.one_way_cuts_per_100h, &mut |rng| {
        let from = some(rng);
        FaultKind::OneWay(from, (from + 1 + rng.below(nodes.saturating_sub(1)) as usize) % nodes as usize)
    });
    draw("partitions", rates.partitions_per_100h, &mut |rng| {
        FaultKind::Partition((0..nodes as usize).filter(|_| rng.chance(500_000)).collect())
    });
    let sleeps = rates.sleeps_per_node_100h * laptops.len() as u64;
    draw("sleep", sleeps, &mut |rng| FaultKind::Sleep(laptops[rng.below(laptops.len() as u64) as usize]));
    faults.sort_by_key(|fault| (fault.at_ms, fault.lasts_ms));
    faults.truncate(FAULTS_MAX);
    faults
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario;

    #[test]
    fn a_run_survives_toml_and_a_seed_gives_one_schedule() {
        let scenario = scenario::load("office").expect("named");
        let run = Run::expand(&scenario, 30, 36_000, 3, true);
        assert!(run.faults.len() > 10, "{}", run.faults.len());
        let text = toml::to_string(&run).expect("plain data");
        assert_eq!(toml::from_str::<Run>(&text).expect("its own output"), run);
        assert_eq!(Run::expand(&scenario, 30, 36_000, 3, true), run);
        assert_ne!(Run::expand(&scenario, 30, 36_000, 4, true).faults, run.faults);
        assert_eq!(run.check(), Ok(()));
    }
}
