//! Plans in words, within a terminal's columns.

use std::collections::BTreeMap;

use super::bars::{LEGEND, bars};
use crate::cli::table::{seconds, table_within, wrap};
use crate::cli::view::short;
use crate::core::placement::document::{
    MoveDocument, PlanDocument, RefusedDocument, RemedyDocument, ReplicaDocument, ShortfallDocument,
};
use crate::core::placement::evaluate::EvaluationDocument;
use crate::core::placement::inventory::WhatIfDocument;
use crate::core::types::human_bytes;

/// Hexadecimal digits of a digest.
const DIGEST_DIGITS: usize = 64;

/// A plan; with `explain`, why it is as it is.
pub(super) fn plan(plan: &PlanDocument, explain: bool, columns: usize) -> String {
    if plan.digest.is_empty() && plan.replicas.is_empty() {
        return "there is no plan yet; the coordinator makes one when it knows the members\n".to_owned();
    }
    let mut out = format!("plan {}, strategy {}, score {}\n", short(&plan.digest), plan.strategy, plan.score);
    match explain {
        true => explained(&mut out, plan, columns),
        false => summarised(&mut out, plan, columns),
    }
    out
}

fn summarised(out: &mut String, plan: &PlanDocument, columns: usize) {
    let row = |replica: &ReplicaDocument| {
        vec![replica.slot.clone(), replica.node.clone(), replica.domain.clone(), human_bytes(replica.bytes)]
    };
    let rows: Vec<Vec<String>> = plan.replicas.iter().map(row).collect();
    out.push('\n');
    out.push_str(&table_within(&["SLOT", "NODE", "DOMAIN", "MEMORY"], &rows, columns));
    lacking(out, plan, columns);
    section(out, "Moves:", plan.moves.iter().map(movement), columns);
}

fn explained(out: &mut String, plan: &PlanDocument, columns: usize) {
    out.push_str("\nManagers:\n");
    for slot in slots(plan) {
        manager(out, plan, slot, columns);
    }
    if !plan.memory.is_empty() {
        out.push_str(&format!("\nMemory ({LEGEND}):\n{}", bars(&plan.memory, columns)));
    }
    lacking(out, plan, columns);
    section(out, "Moves:", plan.moves.iter().map(movement), columns);
    section(out, "Stored:", stored(plan).into_iter(), columns);
    section(out, "Roles:", roles(plan).into_iter(), columns);
}

/// What falls short and what would help.
fn lacking(out: &mut String, plan: &PlanDocument, columns: usize) {
    section(out, "Short:", plan.shortfalls.iter().map(shortfall), columns);
    let distrusted = plan.distrusted.iter().map(|held| format!("{} on {}: {}", held.slot, held.node, held.why));
    section(out, "Not trusted, so that nobody asks it:", distrusted, columns);
    let all = plan.context_for_all.map(|context| format!("at context {context} every manager would be resident"));
    section(out, "Not resident, and what would help:", remedies(plan).into_iter().chain(all), columns);
}

/// Every slot that the plan speaks of, in order of name.
fn slots(plan: &PlanDocument) -> std::collections::BTreeSet<&str> {
    let placed = plan.replicas.iter().map(|it| it.slot.as_str());
    let refused = plan.refused.iter().map(|it| it.slot.as_str());
    let short = plan.shortfalls.iter().map(|it| it.slot.as_str());
    let helped = plan.remedies.iter().map(|it| it.slot.as_str());
    placed.chain(refused).chain(short).chain(helped).collect()
}

/// The places of one slot, then the places that were refused: those of one reason together.
fn manager(out: &mut String, plan: &PlanDocument, slot: &str, columns: usize) {
    let places = plan.replicas.iter().filter(|replica| replica.slot == slot);
    let places: Vec<String> =
        places.map(|it| format!("{} {} with {}", it.node, it.domain, human_bytes(it.bytes))).collect();
    let wait = plan.waits.iter().find(|wait| wait.slot == slot).and_then(|wait| wait.wait_ms);
    let on = match (places.is_empty(), wait) {
        (false, _) => format!("on {}", places.join(", ")),
        (true, Some(ms)) => format!("nowhere; a request waits {} until it is loaded", seconds(ms)),
        (true, None) => "nowhere".to_owned(),
    };
    hanging(out, &format!("{slot} is {on}"), "  ", columns);
    let mut reasons: Vec<(String, Vec<String>)> = Vec::new();
    for refused in plan.refused.iter().filter(|refused| refused.slot == slot) {
        let (why, place) = (because(refused), format!("{} {}", refused.node, refused.domain));
        match reasons.iter_mut().find(|(known, _)| *known == why) {
            Some((_, places)) => places.push(place),
            None => reasons.push((why, vec![place])),
        }
    }
    for (why, mut places) in reasons {
        places.sort();
        hanging(out, &format!("not on {}: {why}", places.join(", ")), "    ", columns);
    }
}

/// The reason, with the missing bytes unless it already speaks of them.
fn because(refused: &RefusedDocument) -> String {
    arithmetic(&refused.why, refused.bytes_short)
}

/// A changed federation.
pub(super) fn what_if(answer: &WhatIfDocument, explain: bool, columns: usize) -> String {
    let mut out = String::new();
    hanging(&mut out, &format!("what if: {}", answer.changes.join("; ")), "", columns);
    let listed = |slots: &[String]| if slots.is_empty() { "none".to_owned() } else { slots.join(" ") };
    out.push('\n');
    out.push_str(&format!("score:  {} before, {} after\n", answer.score_before, answer.score_after));
    for (what, slots) in [("gained:", &answer.gained), ("lost:  ", &answer.lost)] {
        let lines = wrap(&listed(slots), columns - 8);
        out.push_str(&format!("{what} {}\n", lines.join("\n        ")));
    }
    if explain {
        out.push('\n');
        out.push_str(&plan(&answer.plan, true, columns));
        return out;
    }
    section(&mut out, "Short before:", answer.shortfalls_before.iter().map(shortfall), columns);
    let rest = PlanDocument { moves: Vec::new(), ..answer.plan.clone() };
    lacking(&mut out, &rest, columns);
    section(&mut out, "Moves:", answer.moves.iter().map(movement), columns);
    if answer.moves.is_empty() {
        out.push_str("\nNothing moves.\n");
    }
    out
}

/// The verdict on somebody's plan.
pub(super) fn evaluation(verdict: &EvaluationDocument, columns: usize) -> String {
    let word = if verdict.feasible { "feasible" } else { "not feasible" };
    let mut out = format!("{word}, score {}; fednode's own plan scores {}\n", verdict.score, verdict.best_score);
    section(&mut out, "Violations:", verdict.violations.iter().cloned(), columns);
    out
}

fn section(out: &mut String, title: &str, sentences: impl Iterator<Item = String>, columns: usize) {
    let mut lines = String::new();
    for sentence in sentences {
        for (index, line) in wrap(&sentence, columns - 4).into_iter().enumerate() {
            lines.push_str(&format!("{}{line}\n", if index == 0 { "  - " } else { "    " }));
        }
    }
    if !lines.is_empty() {
        out.push_str(&format!("\n{title}\n{lines}"));
    }
}

/// `text` after `indent`; further lines stand four columns deeper.
fn hanging(out: &mut String, text: &str, indent: &str, columns: usize) {
    let width = columns.saturating_sub(indent.len() + 4);
    for (index, line) in wrap(text, width).into_iter().enumerate() {
        out.push_str(&format!("{indent}{}{line}\n", if index == 0 { "" } else { "    " }));
    }
}

fn shortfall(shortfall: &ShortfallDocument) -> String {
    format!("{} fits nowhere: {}", shortfall.slot, arithmetic(&shortfall.why, shortfall.bytes_short))
}

/// Slots that lack the same at the same place together.
fn remedies(plan: &PlanDocument) -> Vec<String> {
    let mut reasons: Vec<(&str, Vec<&str>)> = Vec::new();
    for RemedyDocument { slot, why, .. } in &plan.remedies {
        match reasons.iter_mut().find(|(known, _)| known == why) {
            Some((_, slots)) => slots.push(slot),
            None => reasons.push((why, vec![slot])),
        }
    }
    let each = |slots: &[&str]| if slots.len() > 1 { " (each)" } else { "" };
    reasons.iter().map(|(why, slots)| format!("{}{}: {why}", slots.join(", "), each(slots))).collect()
}

fn arithmetic(why: &str, bytes_short: u64) -> String {
    match bytes_short == 0 || why.contains("short") {
        true => why.to_owned(),
        false => format!("{why}, short {}", human_bytes(bytes_short)),
    }
}

fn movement(movement: &MoveDocument) -> String {
    match (movement.from.as_deref(), movement.to.as_deref()) {
        (Some(from), Some(to)) => format!("{} from {from} to {to}", movement.slot),
        (None, Some(to)) => format!("{} to {to}", movement.slot),
        (Some(from), None) => format!("{} leaves {from}", movement.slot),
        (None, None) => movement.slot.clone(),
    }
}

/// Each artifact with the machines that store it; those of one set of machines together.
fn stored(plan: &PlanDocument) -> Vec<String> {
    let mut nodes: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    plan.stored.iter().for_each(|it| nodes.entry(&it.artifact).or_default().push(&it.node));
    let mut artifacts: BTreeMap<Vec<&str>, Vec<String>> = BTreeMap::new();
    for (artifact, nodes) in nodes {
        let is_digest = artifact.len() == DIGEST_DIGITS && artifact.chars().all(|c| c.is_ascii_hexdigit());
        let name = if is_digest { short(artifact).to_owned() } else { artifact.to_owned() };
        artifacts.entry(nodes).or_default().push(name);
    }
    artifacts.iter().map(|(nodes, names)| format!("{} on {}", names.join(", "), nodes.join(", "))).collect()
}

fn roles(plan: &PlanDocument) -> Vec<String> {
    let mut nodes: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    plan.roles.iter().for_each(|(node, role)| nodes.entry(role).or_default().push(node));
    nodes.iter().map(|(role, nodes)| format!("{role}: {}", nodes.join(", "))).collect()
}
