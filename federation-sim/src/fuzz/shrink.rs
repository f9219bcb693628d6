//! Makes a run that fails smaller while the same checker still reports: fewer faults (delta debugging), fewer machines,
//! less time, fewer questions and slots, shorter faults. Deterministic: the same run gives the same rest.

use crate::fuzz::judge;
use crate::schedule::{FaultKind, Run};

/// Rounds over all kinds of steps; a round that changes nothing is the last.
const ROUNDS_MAX: usize = 5;

/// A run's size, in words.
pub fn size(run: &Run) -> String {
    format!(
        "{} faults, {} machines, {} s, {} slots, {} sessions an hour",
        run.faults.len(),
        run.machines.len(),
        run.simulated_s,
        run.slots.len(),
        run.workload.sessions_per_node_hour
    )
}

/// What is left of `run`; `checker` reports in it as in the whole. `progress` hears of every step that helped.
pub fn shrink(run: &Run, checker: &str, mut progress: impl FnMut(&str)) -> Run {
    let mut small = run.clone();
    let fails = |run: &Run| run.check().is_ok() && judge(run).has(checker);
    for _ in 0..ROUNDS_MAX {
        let before = small.clone();
        fewer_faults(&mut small, &fails);
        fewer_machines(&mut small, &fails);
        less_time(&mut small, &fails);
        fewer_questions(&mut small, &fails);
        fewer_slots(&mut small, &fails);
        shorter_faults(&mut small, &fails);
        plain_options(&mut small, &fails);
        if small == before {
            break;
        }
        progress(&size(&small));
    }
    small
}

/// Takes `smaller` for `run` if it still fails.
fn take(run: &mut Run, smaller: Run, fails: &impl Fn(&Run) -> bool) -> bool {
    let better = smaller != *run && fails(&smaller);
    if better {
        *run = smaller;
    }
    better
}

/// Delta debugging (Zeller, Hildebrandt 2002): leaves out ever smaller parts.
fn fewer_faults(run: &mut Run, fails: &impl Fn(&Run) -> bool) {
    let mut part = run.faults.len().max(1);
    while part > 0 {
        let mut at = 0;
        while at < run.faults.len() {
            let mut smaller = run.clone();
            smaller.faults.drain(at..(at + part).min(run.faults.len()));
            if !take(run, smaller, fails) {
                at += part;
            }
        }
        part /= 2;
    }
}

fn fewer_machines(run: &mut Run, fails: &impl Fn(&Run) -> bool) {
    let mut node = run.machines.len();
    // The first one publishes.
    while node > 1 {
        node -= 1;
        take(run, without(run, node), fails);
    }
}

/// Without machine `gone`: those behind it move up, faults that name only it go.
fn without(run: &Run, gone: usize) -> Run {
    let mut smaller = run.clone();
    smaller.machines.remove(gone);
    let moved = |node: usize| if node > gone { node - 1 } else { node };
    let some = |nodes: &[usize]| nodes.iter().filter(|node| **node != gone).map(|node| moved(*node)).collect();
    let names_several = |kind: &FaultKind| {
        matches!(kind, FaultKind::Partition(_) | FaultKind::Blackout(_) | FaultKind::TightBudget(..))
    };
    smaller.faults.retain(|fault| names_several(&fault.kind) || !fault.kind.nodes().contains(&gone));
    for fault in &mut smaller.faults {
        match &mut fault.kind {
            FaultKind::Partition(nodes) | FaultKind::Blackout(nodes) | FaultKind::TightBudget(nodes, _) => {
                *nodes = some(nodes);
            }
            FaultKind::OneWay(a, b) | FaultKind::SlowLink(a, b, _) => (*a, *b) = (moved(*a), moved(*b)),
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
            | FaultKind::Drift(node, _) => *node = moved(*node),
        }
    }
    smaller
}

fn less_time(run: &mut Run, fails: &impl Fn(&Run) -> bool) {
    let mut less = run.simulated_s / 2;
    while less > 0 {
        let mut smaller = run.clone();
        smaller.simulated_s -= less;
        smaller.faults.retain(|fault| fault.at_ms < smaller.simulated_s * 1000);
        if smaller.simulated_s == 0 || !take(run, smaller, fails) {
            less /= 2;
        } else {
            less = less.min(run.simulated_s / 2);
        }
    }
}

fn fewer_questions(run: &mut Run, fails: &impl Fn(&Run) -> bool) {
    for sessions in [0, run.workload.sessions_per_node_hour / 4, run.workload.sessions_per_node_hour / 2] {
        let mut smaller = run.clone();
        smaller.workload.sessions_per_node_hour = sessions;
        if take(run, smaller, fails) {
            break;
        }
    }
    let mut smaller = run.clone();
    smaller.workload.turns_max = 1;
    take(run, smaller, fails);
}

fn fewer_slots(run: &mut Run, fails: &impl Fn(&Run) -> bool) {
    let mut slot = run.slots.len();
    while slot > 0 {
        slot -= 1;
        let mut smaller = run.clone();
        smaller.slots.remove(slot);
        if smaller.slots.is_empty() || !take(run, smaller, fails) {
            let mut smaller = run.clone();
            smaller.slots[slot].domains.clear();
            take(run, smaller, fails);
        }
    }
}

fn shorter_faults(run: &mut Run, fails: &impl Fn(&Run) -> bool) {
    for fault in 0..run.faults.len() {
        let mut smaller = run.clone();
        smaller.faults[fault].lasts_ms /= 2;
        while smaller.faults[fault].lasts_ms > 500 && take(run, smaller.clone(), fails) {
            smaller.faults[fault].lasts_ms /= 2;
        }
    }
}

/// Without what merely disturbs.
fn plain_options(run: &mut Run, fails: &impl Fn(&Run) -> bool) {
    let mut change = |change: fn(&mut Run)| {
        let mut smaller = run.clone();
        change(&mut smaller);
        take(run, smaller, fails);
    };
    change(|run| run.options.loss_ppm = 0);
    change(|run| run.options.duplicate_ppm = 0);
    change(|run| run.options.jitter_percent = 0);
    change(|run| run.options.load_failure_ppm = 0);
    change(|run| run.machines.iter_mut().for_each(|machine| machine.clock_drift_ppm = 0));
    change(|run| run.machines.iter_mut().for_each(|machine| machine.starts_at_ms = 0));
}
