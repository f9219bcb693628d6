//! The choice itself: which holder is asked for a manifest, which chunk comes next, and from whom.

use std::collections::BTreeSet;

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

/// Hands out as many chunk requests as `budget` and the sources allow, or finishes a transfer that has all.
pub(super) fn fetch(
    now: Time,
    artifact: Digest,
    transfer: &mut Transfer,
    holders: &[Holder],
    budget: &mut usize,
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
        let stale = source.have.as_ref().is_none_or(|have| !have.is_full());
        if stale && !source.asked && now >= source.rests_until {
            source.asked = true;
            actions.push(Action::GetHave { artifact, from: holder.node });
        }
    }
    let usable: BTreeSet<NodeId> = holders.iter().map(|holder| holder.node).collect();
    transfer.reason = if usable.is_empty() { "no reachable member holds it".to_owned() } else { String::new() };
    for chunk in rarest_first(transfer, &usable) {
        if *budget == 0 {
            break;
        }
        let Some(from) = pick_source(now, transfer, chunk, &usable) else { continue };
        let bytes = transfer.chunk_bytes[chunk as usize];
        transfer.outstanding.insert(chunk, from);
        transfer.sources.entry(from).or_default().in_flight += 1;
        *budget -= 1;
        actions.push(Action::Fetch { artifact, chunk, bytes, from });
    }
}

/// Chunks still to be asked for, those that fewest sources have first.
fn rarest_first(transfer: &Transfer, usable: &BTreeSet<NodeId>) -> Vec<u32> {
    let missing =
        (0..transfer.chunks()).filter(|&chunk| !transfer.have.has(chunk) && !transfer.outstanding.contains_key(&chunk));
    let holders = |chunk: u32| {
        let sources = transfer.sources.iter().filter(|(node, _)| usable.contains(node));
        sources.filter(|(_, source)| source.have.as_ref().is_some_and(|have| have.has(chunk))).count()
    };
    let mut chunks: Vec<(usize, u32)> =
        missing.map(|chunk| (holders(chunk), chunk)).filter(|(holders, _)| *holders > 0).collect();
    chunks.sort_unstable();
    chunks.into_iter().map(|(_, chunk)| chunk).collect()
}

/// The least loaded source that has the chunk, is rested, and has not been struck out.
fn pick_source(now: Time, transfer: &Transfer, chunk: u32, usable: &BTreeSet<NodeId>) -> Option<NodeId> {
    let fit = |(node, source): &(&NodeId, &Source)| {
        usable.contains(*node)
            && source.strikes < limits::STRIKES_MAX
            && now >= source.rests_until
            && source.in_flight < limits::CHUNKS_IN_FLIGHT_PER_SOURCE
            && source.have.as_ref().is_some_and(|have| have.has(chunk))
    };
    let candidates = transfer.sources.iter().filter(fit);
    candidates.min_by_key(|(node, source)| (source.in_flight, **node)).map(|(node, _)| *node)
}
