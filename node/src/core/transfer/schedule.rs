//! The choice itself: which holder is asked for a manifest, which chunk comes next, and from whom.

use std::collections::{BTreeMap, BTreeSet};

use crate::core::artifact::Bitmap;
use crate::core::limits;
use crate::core::transfer::{Action, Holder, Source, Stage, Transfer};
use crate::core::types::{Digest, NodeId, Time};

/// Asks one holder for the manifest, unless one is asked already.
pub(super) fn ask_for_manifest(
    artifact: Digest,
    transfer: &mut Transfer,
    holders: &[Holder],
    actions: &mut Vec<Action>,
) {
    if transfer.asked_for_manifest.is_some() {
        return;
    }
    // The source that failed least recently, whole holders first.
    let rests = |holder: &Holder| transfer.sources.get(&holder.node).map_or(Time::default(), |s| s.rests_until);
    let Some(holder) = holders.iter().min_by_key(|holder| (rests(holder), !holder.complete, holder.node)) else {
        transfer.reason = "no reachable member holds it".to_owned();
        return;
    };
    transfer.reason.clear();
    transfer.asked_for_manifest = Some(holder.node);
    actions.push(Action::GetManifest { artifact, from: holder.node });
}

/// Hands out as many chunk requests as the sources allow, or finishes a transfer that has all.
pub(super) fn fetch(
    now: Time,
    artifact: Digest,
    transfer: &mut Transfer,
    holders: &[Holder],
    load: &mut BTreeMap<NodeId, usize>,
    actions: &mut Vec<Action>,
) {
    if transfer.have.is_full() {
        transfer.stage = Stage::Finishing;
        actions.push(Action::Finish { artifact });
        return;
    }
    let chunks = transfer.chunks();
    for holder in holders {
        let source = transfer.sources.entry(holder.node).or_default();
        if holder.complete && source.have.is_none() {
            source.have = Some(Bitmap::full(chunks));
        }
    }
    let usable: BTreeSet<NodeId> = holders.iter().map(|holder| holder.node).collect();
    transfer.reason = if usable.is_empty() { "no reachable member holds it".to_owned() } else { String::new() };
    let budget = limits::CHUNKS_IN_FLIGHT_MAX.saturating_sub(load.values().sum::<usize>());
    let picked = picks(now, transfer, &usable, load, budget);
    if picked.len() < budget {
        ask_partial_holders(now, artifact, transfer, holders, actions);
    }
    for (chunk, from) in picked {
        let bytes = transfer.chunk_bytes[chunk as usize];
        transfer.outstanding.insert(chunk, from);
        *load.entry(from).or_default() += 1;
        actions.push(Action::Fetch { artifact, chunk, bytes, from });
    }
}

/// Are as many chunks asked for as may be?
pub(super) fn is_full(load: &BTreeMap<NodeId, usize>) -> bool {
    load.values().sum::<usize>() >= limits::CHUNKS_IN_FLIGHT_MAX
}

/// There is room for more requests than the known maps allow: asks those who have more by now.
fn ask_partial_holders(
    now: Time,
    artifact: Digest,
    transfer: &mut Transfer,
    holders: &[Holder],
    actions: &mut Vec<Action>,
) {
    for holder in holders.iter().filter(|holder| !holder.complete) {
        let source = transfer.sources.entry(holder.node).or_default();
        let stale = source.have.as_ref().is_none_or(|have| !have.is_full());
        if stale && !source.asked && now >= source.ask_again_at.max(source.rests_until) {
            source.asked = true;
            actions.push(Action::GetHave { artifact, from: holder.node });
        }
    }
}

/// At most `budget` chunks to be asked for, those that fewest sources have first, each of the least loaded source that has
/// it, is rested and has not been struck out. Every input leads here: sources that cannot be asked now are left out before
/// any chunk is looked at.
fn picks(
    now: Time,
    transfer: &Transfer,
    usable: &BTreeSet<NodeId>,
    load: &BTreeMap<NodeId, usize>,
    budget: usize,
) -> Vec<(u32, NodeId)> {
    let with_map = |node: &NodeId| {
        let source = transfer.sources.get(node)?;
        Some((*node, source, source.have.as_ref()?))
    };
    let sources: Vec<(NodeId, &Source, &Bitmap)> = usable.iter().filter_map(with_map).collect();
    let rested =
        sources.iter().filter(|(_, source, _)| source.strikes < limits::STRIKES_MAX && now >= source.rests_until);
    let mut askable: Vec<(usize, NodeId, &Bitmap)> =
        rested.map(|(node, _, have)| (load.get(node).copied().unwrap_or(0), *node, *have)).collect();
    askable.retain(|(load, ..)| *load < limits::CHUNKS_IN_FLIGHT_PER_SOURCE);
    if budget == 0 || askable.is_empty() {
        return Vec::new();
    }
    let due = |chunk: &u32| {
        askable.iter().any(|(_, _, have)| have.has(*chunk))
            && !transfer.have.has(*chunk)
            && !transfer.outstanding.contains_key(chunk)
    };
    let holders = |chunk: u32| sources.iter().filter(|(_, _, have)| have.has(chunk)).count();
    let mut chunks: Vec<(usize, u32)> =
        (0..transfer.chunks()).filter(due).map(|chunk| (holders(chunk), chunk)).collect();
    chunks.sort_unstable();
    let mut picked = Vec::new();
    for (_, chunk) in chunks {
        let free = |(load, _, have): &&mut (usize, NodeId, &Bitmap)| {
            *load < limits::CHUNKS_IN_FLIGHT_PER_SOURCE && have.has(chunk)
        };
        let Some(best) = askable.iter_mut().filter(free).min_by_key(|(load, node, _)| (*load, *node)) else { continue };
        best.0 += 1;
        picked.push((chunk, best.1));
        if picked.len() == budget {
            break;
        }
    }
    picked
}
