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
        let stale = source.have.as_ref().is_none_or(|have| !have.is_full());
        if stale && !source.asked && now >= source.rests_until {
            source.asked = true;
            actions.push(Action::GetHave { artifact, from: holder.node });
        }
    }
    let usable: BTreeSet<NodeId> = holders.iter().map(|holder| holder.node).collect();
    transfer.reason = if usable.is_empty() { "no reachable member holds it".to_owned() } else { String::new() };
    if !can_ask(now, transfer, &usable, load) {
        return; // every input leads here, and ordering thousands of chunks for nobody costs milliseconds
    }
    for chunk in rarest_first(transfer, &usable) {
        let Some(from) = pick_source(now, transfer, chunk, &usable, load) else { continue };
        let bytes = transfer.chunk_bytes[chunk as usize];
        transfer.outstanding.insert(chunk, from);
        *load.entry(from).or_default() += 1;
        actions.push(Action::Fetch { artifact, chunk, bytes, from });
        if !can_ask(now, transfer, &usable, load) {
            break;
        }
    }
}

/// May one more chunk be asked for, and of anybody?
fn can_ask(now: Time, transfer: &Transfer, usable: &BTreeSet<NodeId>, load: &BTreeMap<NodeId, usize>) -> bool {
    let fit = |node: &NodeId| {
        transfer.sources.get(node).is_some_and(|source| source.have.is_some() && fits(now, node, source, load))
    };
    load.values().sum::<usize>() < limits::CHUNKS_IN_FLIGHT_MAX && usable.iter().any(fit)
}

/// Is the source rested, not struck out, and not asked for as much as it may be?
fn fits(now: Time, node: &NodeId, source: &Source, load: &BTreeMap<NodeId, usize>) -> bool {
    source.strikes < limits::STRIKES_MAX
        && now >= source.rests_until
        && load.get(node).is_none_or(|load| *load < limits::CHUNKS_IN_FLIGHT_PER_SOURCE)
}

/// Chunks still to be asked for, those that fewest sources have first.
fn rarest_first(transfer: &Transfer, usable: &BTreeSet<NodeId>) -> Vec<u32> {
    let missing =
        (0..transfer.chunks()).filter(|&chunk| !transfer.have.has(chunk) && !transfer.outstanding.contains_key(&chunk));
    let maps: Vec<&Bitmap> = usable.iter().filter_map(|node| transfer.sources.get(node)?.have.as_ref()).collect();
    let holders = |chunk: u32| maps.iter().filter(|have| have.has(chunk)).count();
    let mut chunks: Vec<(usize, u32)> =
        missing.map(|chunk| (holders(chunk), chunk)).filter(|(holders, _)| *holders > 0).collect();
    chunks.sort_unstable();
    chunks.into_iter().map(|(_, chunk)| chunk).collect()
}

/// The least loaded source that has the chunk, is rested, and has not been struck out.
fn pick_source(
    now: Time,
    transfer: &Transfer,
    chunk: u32,
    usable: &BTreeSet<NodeId>,
    load: &BTreeMap<NodeId, usize>,
) -> Option<NodeId> {
    let has = |source: &Source| source.have.as_ref().is_some_and(|have| have.has(chunk));
    let candidates = usable.iter().filter_map(|node| Some((node, transfer.sources.get(node)?)));
    let candidates = candidates.filter(|(node, source)| has(source) && fits(now, node, source, load));
    let in_flight = |node: &NodeId| load.get(node).copied().unwrap_or(0);
    candidates.min_by_key(|(node, _)| (in_flight(node), **node)).map(|(node, _)| *node)
}
