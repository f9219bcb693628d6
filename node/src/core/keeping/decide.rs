//! The decision itself: everything on the disk is either kept for one reason or deleted for one, in a fixed order.

use crate::core::keeping::{Decision, Deletion, Keep, Kept, Need, OnDisk, Snapshot, Why};
use crate::core::seeded::{Bug, has};
use crate::core::types::NodeId;

/// What may go, in order, until `need` is met; and why the rest stays.
pub fn decide(snapshot: &Snapshot, need: Need) -> Decision {
    let mut candidates = Vec::new();
    let mut decision = Decision::default();
    for held in &snapshot.here {
        match judge(snapshot, held) {
            Ok((why, ask)) => candidates.push((why, held, ask)),
            Err(why) => decision.keep.push(Kept { artifact: held.artifact, bytes: held.bytes, why }),
        }
    }
    // Half-fetched before whole: it serves nobody yet.
    candidates.sort_by_key(|(why, held, _)| (*why, held.complete, held.idle_since, held.artifact));
    for (why, held, ask) in candidates {
        let enough = matches!(need, Need::Bytes(bytes) if decision.bytes() >= bytes);
        // Spare copies are worth keeping: of them no more goes than the budget asks for.
        if enough || (why == Why::Spare && decision.bytes() >= snapshot.over_budget_bytes) {
            decision.keep.push(Kept { artifact: held.artifact, bytes: held.bytes, why: Keep::Enough });
        } else {
            decision.delete.push(Deletion { artifact: held.artifact, bytes: held.bytes, why, ask });
        }
    }
    decision.keep.sort_by_key(|kept| kept.artifact);
    decision
}

/// May it go, and who must promise first; or why not. The strongest reason is named.
fn judge(snapshot: &Snapshot, held: &OnDisk) -> Result<(Why, Vec<NodeId>), Keep> {
    let artifact = &held.artifact;
    let named = snapshot.named.contains(artifact);
    if snapshot.pinned.contains(artifact) {
        return Err(Keep::Pinned);
    }
    if snapshot.resident.contains(artifact) {
        return Err(Keep::Resident);
    }
    let spare = snapshot.over_budget_bytes > 0 && held.complete && !snapshot.needed.contains(artifact);
    let planned = snapshot.planned.as_ref().is_some_and(|planned| planned.contains(artifact));
    match &snapshot.planned {
        Some(_) if planned && !spare => return Err(Keep::Planned),
        None if named => return Err(Keep::NoPlan),
        _ => {}
    }
    if snapshot.under_way.contains(artifact) {
        return Err(Keep::UnderWay);
    }
    if let Some(to) = snapshot.promised.get(artifact) {
        return Err(Keep::Promised(*to));
    }
    let holders = snapshot.holders.get(artifact).map(Vec::as_slice).unwrap_or_default();
    let ask: Vec<NodeId> = holders.iter().filter(|holder| holder.connected).map(|holder| holder.node).collect();
    let forget = !named && snapshot.forget.contains(artifact);
    match (ask.is_empty(), holders.is_empty()) {
        (true, _) if planned => Err(Keep::Planned),
        (true, _) if forget => Ok((Why::Forgotten, ask)),
        (true, true) if has(Bug::DropsLastCopy) => Ok((Why::Forgotten, ask)),
        (true, true) => Err(Keep::LastCopy),
        (true, false) => Err(Keep::HoldersAway(holders.iter().map(|holder| holder.node).collect())),
        (false, _) if planned => Ok((Why::Spare, ask)),
        (false, _) if named => Ok((Why::Unwanted, ask)),
        (false, _) => Ok((Why::Superseded, ask)),
    }
}
