//! The node's view as text: `status`, `managers`. Pure: a `State` and a width in, lines out.

use std::path::Path;

use clap::Args;

use super::exit::Failure;
use super::run::Out;
use super::table::{columns, push_labelled, table_within};
use super::watch::{self, What};
use super::{admin, scrub, transfers};
use crate::core::types::human_bytes;
use crate::core::view::{DomainView, LoadView, MemberView, PlanSummary, SlotView, State, StoreView};

/// Width of the words at the left of the first lines of `status`.
const LABEL: usize = 13;
/// Hex digits of a hash that people compare.
const SHORT_HEX: usize = 8;

/// `fednode status`.
#[derive(Args, Debug)]
pub(super) struct StatusArgs {
    /// Keep looking until q, Esc or Ctrl-C
    #[arg(long)]
    watch: bool,
}

pub(super) async fn run(out: Out, data_dir: &Path, args: StatusArgs) -> Result<(), Failure> {
    if args.watch {
        return watch::run(out, data_dir, What::Status, false).await;
    }
    let (value, state) = admin::state(data_dir).await?;
    out.either(&value, || status(&state, columns()));
    Ok(())
}

/// All of it as text.
pub(super) fn status(state: &State, columns: usize) -> String {
    let node = &state.node;
    let about = format!("{}, {}, tier {}", or_unknown(&node.name), or_unknown(&node.role), or_unknown(&node.tier));
    let coordinator = match &state.coordinator {
        Some(coordinator) => format!("{}, epoch {}", or_unknown(&coordinator.name), coordinator.epoch),
        None => "none known yet".to_owned(),
    };
    let mut out = String::new();
    let push_labelled =
        |out: &mut String, label: &str, text: &str| push_labelled(out, &format!("{label:<LABEL$}"), text, columns);
    push_labelled(&mut out, "federation", or_unknown(short(&state.federation)));
    push_labelled(&mut out, "node", &format!("{about}, API {}", or_unknown(&node.api)));
    if !node.notice.is_empty() {
        push_labelled(&mut out, "notice", &node.notice);
    }
    push_labelled(&mut out, "coordinator", &coordinator);
    push_labelled(&mut out, "plan", &plan_line(state.plan.as_ref()));
    for sentence in state.plan.iter().flat_map(|plan| &plan.pending) {
        push_labelled(&mut out, "", &format!("- {sentence}"));
    }
    for line in state.store.iter().flat_map(store_lines) {
        push_labelled(&mut out, "disk", &line);
    }
    let members: Vec<Vec<String>> = state.members.iter().map(member_row).collect();
    let slots: Vec<Vec<String>> = state.slots.iter().map(slot_row).collect();
    out.push('\n');
    out.push_str(&table_within(&["MEMBER", "ROLE", "STATE", "MEMORY", "RESIDENT"], &members, columns));
    out.push('\n');
    out.push_str(&table_within(&["SLOT", "STATE", "PRECISION", "WHERE"], &slots, columns));
    let active: Vec<_> = state.transfers.iter().filter(|transfer| transfer.state != "done").cloned().collect();
    if !active.is_empty() {
        out.push('\n');
        out.push_str(&transfers::transfers(&active, columns));
    }
    out
}

/// What lies on this disk, and what is wrong with it.
fn store_lines(store: &StoreView) -> Vec<String> {
    let used = human_bytes(store.used_bytes);
    let used = match store.budget_bytes {
        Some(budget) if store.used_bytes > budget => {
            format!("{used} stored, more than the budget of {}; `fednode gc` explains", human_bytes(budget))
        }
        Some(budget) => format!("{used} stored of a budget of {}", human_bytes(budget)),
        None => format!("{used} stored"),
    };
    let damaged = store.damaged.iter().map(|damage| format!("{} is damaged: {}", damage.slot, damage.reason));
    [format!("{used}; {}", scrub::line(&store.scrub))].into_iter().chain(damaged).collect()
}

/// `fednode managers`.
pub(super) fn managers(state: &State, columns: usize) -> String {
    let row = |slot: &SlotView| {
        let published = !slot.artifact.is_empty();
        let named = slot.domains.iter().map(|domain| match domain.artifact.is_empty() {
            true => format!("{} (empty)", domain.name),
            false if !domain.fingerprint => format!("{} (no fingerprint)", domain.name),
            false => domain.name.clone(),
        });
        let stands = (!slot.base.is_empty()).then(|| format!("(on {})", slot.base));
        let domains: Vec<String> = stands.into_iter().chain(named).collect();
        vec![
            slot.name.clone(),
            slot.state.clone(),
            precision(slot),
            or_dash(short(&slot.artifact)),
            if published { human_bytes(slot.bytes) } else { "-".to_owned() },
            or_dash(&slot.version),
            domains.join(", "),
        ]
    };
    let rows: Vec<Vec<String>> = state.slots.iter().map(row).collect();
    table_within(&["SLOT", "STATE", "PRECISION", "ARTIFACT", "SIZE", "VERSION", "DOMAINS"], &rows, columns)
}

/// Where nothing was recorded that a substituted copy could be told by, that is said.
fn precision(slot: &SlotView) -> String {
    match slot.artifact.is_empty() || slot.fingerprint {
        true => or_dash(&slot.precision),
        false => format!("{}\nno fingerprint", slot.precision),
    }
}

/// How far the plan is.
pub(super) fn plan_line(plan: Option<&PlanSummary>) -> String {
    let Some(plan) = plan else { return "none yet".to_owned() };
    let done = match (plan.carried_out, plan.pending.is_empty()) {
        (true, _) => "carried out",
        (false, true) => "being carried out",
        (false, false) => "being carried out; still missing:",
    };
    format!("{}.{}, {done}", plan.epoch, plan.revision)
}

fn member_row(member: &MemberView) -> Vec<String> {
    let role = match member.plan_role.as_str() {
        "" => member.role.clone(),
        plan_role if plan_role == member.role => member.role.clone(),
        plan_role => format!("{}, {plan_role}", member.role),
    };
    let memory: Vec<String> = member.domains.iter().map(memory).collect();
    let resident = if member.resident.is_empty() { "-".to_owned() } else { member.resident.join(", ") };
    let state = if member.drained { format!("{}, drained", member.state) } else { member.state.clone() };
    vec![member.name.clone(), role, state, memory.join("\n"), resident]
}

/// What managers hold of a memory domain.
fn memory(domain: &DomainView) -> String {
    let (ours, total) = (human_bytes(domain.ours_bytes), human_bytes(domain.total_bytes));
    match domain.hosts {
        true => format!("{} {ours} of {total}", domain.name),
        false => format!("{} {total}, not usable", domain.name),
    }
}

fn slot_row(slot: &SlotView) -> Vec<String> {
    // What answers, not what is published.
    let external = slot.externals.first().filter(|_| slot.state == "external").map(|there| there.precision.as_str());
    vec![slot.name.clone(), slot.state.clone(), or_dash(external.unwrap_or(&slot.precision)), whereabouts(slot)]
}

/// Replicas first, else who stores it; then why there are not more.
pub(super) fn whereabouts(slot: &SlotView) -> String {
    let replicas: Vec<String> = slot
        .replicas
        .iter()
        .map(|replica| {
            let reason = if replica.reason.is_empty() { String::new() } else { format!(": {}", replica.reason) };
            match (replica.state.as_str(), replica.load) {
                ("ready", _) => replica.node.clone(),
                ("loading", Some(LoadView { read_bytes, total_bytes, .. })) if total_bytes > 0 => {
                    let done = format!("{} of {}", human_bytes(read_bytes), human_bytes(total_bytes));
                    format!("{} (loading, {done})", replica.node)
                }
                (state, _) => format!("{} ({state}{reason})", replica.node),
            }
        })
        .collect();
    let externals = slot.externals.iter().map(|there| match there.state.as_str() {
        "ready" => format!("external engine on {} ({})", there.node, there.precision),
        state => format!("external engine on {} ({}, {state})", there.node, there.precision),
    });
    let externals: Vec<String> = externals.collect();
    let place = match (slot.artifact.is_empty(), replicas.is_empty(), slot.holders.is_empty()) {
        (true, _, _) => "nothing published".to_owned(),
        (false, false, _) => replicas.join(", "),
        (false, true, false) => format!("stored on {}", slot.holders.join(", ")),
        (false, true, true) => "no member that can be reached holds it".to_owned(),
    };
    let place = std::iter::once(place).chain(externals).collect::<Vec<_>>().join("; ");
    match slot.shortfall.as_str() {
        "" => place,
        shortfall => format!("{place}; short: {shortfall}"),
    }
}

/// The first digits of a hash.
pub(super) fn short(hex: &str) -> &str {
    hex.get(..SHORT_HEX).unwrap_or(hex)
}

pub(super) fn peer_end(peer_id: &str) -> String {
    let begin = peer_id.len().saturating_sub(SHORT_HEX);
    peer_id.get(begin..).filter(|_| begin > 0).map_or_else(|| peer_id.to_owned(), |end| format!("…{end}"))
}

fn or_dash(text: &str) -> String {
    if text.is_empty() { "-".to_owned() } else { text.to_owned() }
}

pub(super) fn or_unknown(text: &str) -> &str {
    if text.is_empty() { "unknown" } else { text }
}

#[cfg(test)]
#[path = "view_tests.rs"]
mod tests;
