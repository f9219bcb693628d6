//! What happened between two looks at a node, in plain words: for those who watch. It compares views and knows nothing else, so
//! that whoever looks seldom hears less, and nothing has to be remembered for those who do not look.

use std::collections::BTreeMap;

use super::{MemberView, ReplicaView, SlotView, State, TransferView};
use crate::core::types::human_bytes;

/// Sentences about one pair of views, at most: more than these nobody reads.
pub const HAPPENED_MAX: usize = 20;

/// What is true now and was not before, a sentence each: the federation first, then members, slots, transfers and this node.
pub fn happened(before: &State, now: &State) -> Vec<String> {
    let mut told = Vec::new();
    if before.node.pid != 0 && before.node.pid != now.node.pid {
        told.push("the node was restarted".to_owned());
    }
    seat(before, now, &mut told);
    members(before, now, &mut told);
    slots(before, now, &mut told);
    transfers(before, now, &mut told);
    store(before, now, &mut told);
    told.truncate(HAPPENED_MAX);
    told
}

fn seat(before: &State, now: &State, told: &mut Vec<String>) {
    let seat = |state: &State| state.coordinator.as_ref().map(|seat| (seat.name.clone(), seat.epoch));
    match (seat(before), seat(now)) {
        (was, is) if was == is => {}
        (_, Some((name, epoch))) => told.push(format!("{name} coordinates, epoch {epoch}")),
        (_, None) => told.push("no coordinator is known any more".to_owned()),
    }
    let Some(plan) = &now.plan else { return };
    let same = before.plan.as_ref().filter(|was| (was.epoch, was.revision) == (plan.epoch, plan.revision));
    if same.is_none() {
        told.push(format!("plan {}.{} was made", plan.epoch, plan.revision));
    }
    if plan.carried_out && !same.is_some_and(|was| was.carried_out) {
        told.push(format!("plan {}.{} is carried out", plan.epoch, plan.revision));
    }
}

fn members(before: &State, now: &State, told: &mut Vec<String>) {
    fn by_peer(state: &State) -> BTreeMap<&str, &MemberView> {
        state.members.iter().map(|member| (member.peer_id.as_str(), member)).collect()
    }
    let (was, is) = (by_peer(before), by_peer(now));
    for member in &now.members {
        match was.get(member.peer_id.as_str()) {
            None => told.push(format!("{} has joined the federation as {}", member.name, member.role)),
            Some(known) => member_changed(known, member, told),
        }
    }
    let gone = before.members.iter().filter(|member| !is.contains_key(member.peer_id.as_str()));
    told.extend(gone.map(|member| format!("{} is no longer a member", member.name)));
}

fn member_changed(was: &MemberView, is: &MemberView, told: &mut Vec<String>) {
    if was.name != is.name {
        told.push(format!("{} is called {} now", was.name, is.name));
    }
    if was.state != is.state {
        told.push(match is.state.as_str() {
            "alive" => format!("{} is there", is.name),
            "suspect" => format!("{} does not answer", is.name),
            "down" => format!("{} is down", is.name),
            "expired" => format!("{}'s certificate has ended", is.name),
            other => format!("{} is {other}", is.name),
        });
    }
    if was.drained != is.drained {
        let what = if is.drained { "holds no managers from now on" } else { "may hold managers again" };
        told.push(format!("{} {what}", is.name));
    }
}

fn slots(before: &State, now: &State, told: &mut Vec<String>) {
    let was: BTreeMap<&str, &SlotView> = before.slots.iter().map(|slot| (slot.name.as_str(), slot)).collect();
    let nothing = SlotView::default();
    for slot in &now.slots {
        let known = was.get(slot.name.as_str()).copied().unwrap_or(&nothing);
        if slot.artifact != known.artifact && !slot.artifact.is_empty() {
            told.push(format!("{} was published, {}", slot.name, human_bytes(slot.bytes)));
        }
        replicas(known, slot, told);
        if slot.state == "external" && known.state != "external" {
            told.push(format!("{} is answered by an external engine", slot.name));
        }
        if slot.shortfall != known.shortfall && !slot.shortfall.is_empty() {
            told.push(format!("{} has no room: {}", slot.name, slot.shortfall));
        }
    }
}

/// A place of a slot: a member's memory domain.
fn place(replica: &ReplicaView) -> (&str, &str) {
    (if replica.peer_id.is_empty() { &replica.node } else { &replica.peer_id }, &replica.memory_domain)
}

fn replicas(was: &SlotView, is: &SlotView, told: &mut Vec<String>) {
    let before: BTreeMap<_, _> = was.replicas.iter().map(|replica| (place(replica), replica)).collect();
    let now: BTreeMap<_, _> = is.replicas.iter().map(|replica| (place(replica), replica)).collect();
    for (place, replica) in &now {
        if before.get(place).is_some_and(|known| known.state == replica.state) {
            continue;
        }
        let (slot, node) = (&is.name, &replica.node);
        let why = if replica.reason.is_empty() { String::new() } else { format!(": {}", replica.reason) };
        told.push(match replica.state.as_str() {
            "fetching" => format!("{node} fetches {slot}"),
            "loading" => format!("{slot} is being loaded on {node}"),
            "ready" => format!("{slot} is resident on {node}"),
            "draining" => format!("{slot} ends its answers on {node} and leaves"),
            "distrusted" => format!("{slot} on {node} is not what was published{why}"),
            "failed" => format!("{slot} failed on {node}{why}"),
            other => format!("{slot} is {other} on {node}{why}"),
        });
    }
    let left = before.iter().filter(|(place, replica)| replica.state == "ready" && !now.contains_key(*place));
    let left = left.chain(before.iter().filter(|(place, one)| one.state == "draining" && !now.contains_key(*place)));
    told.extend(left.map(|(_, replica)| format!("{} has left the memory of {}", is.name, replica.node)));
}

fn transfers(before: &State, now: &State, told: &mut Vec<String>) {
    let was: BTreeMap<&str, &TransferView> = before.transfers.iter().map(|one| (one.artifact.as_str(), one)).collect();
    for transfer in &now.transfers {
        let known = was.get(transfer.artifact.as_str()).map(|known| known.state.as_str());
        if known == Some(transfer.state.as_str()) {
            continue;
        }
        let what = &transfer.slot;
        match (transfer.state.as_str(), known) {
            ("done", _) if transfer.verified => told.push(format!("{what} has arrived on this disk, verified")),
            ("done", _) => told.push(format!("{what} has arrived on this disk")),
            ("paused", _) => told.push(format!("the transfer of {what} waits: {}", transfer.reason)),
            (_, Some("paused")) => told.push(format!("the transfer of {what} goes on")),
            (_, None) => told.push(format!("the transfer of {what} to this disk has begun")),
            _ => {}
        }
    }
}

fn store(before: &State, now: &State, told: &mut Vec<String>) {
    let damaged = |state: &State| -> BTreeMap<String, (String, String)> {
        let all = state.store.iter().flat_map(|store| &store.damaged);
        all.map(|one| (one.artifact.clone(), (one.slot.clone(), one.reason.clone()))).collect()
    };
    let (was, is) = (damaged(before), damaged(now));
    let new = is.iter().filter(|(artifact, _)| !was.contains_key(*artifact));
    told.extend(new.map(|(_, (slot, reason))| format!("{slot} is damaged on this disk: {reason}")));
    if now.store.is_some() {
        let whole = was.iter().filter(|(artifact, _)| !is.contains_key(*artifact));
        told.extend(whole.map(|(_, (slot, _))| format!("{slot} is whole again on this disk")));
    }
    if before.node.notice != now.node.notice && !now.node.notice.is_empty() {
        told.push(now.node.notice.clone());
    }
    match now.requests.failed.checked_sub(before.requests.failed) {
        None | Some(0) => {}
        Some(1) => told.push("a request failed".to_owned()),
        Some(count) => told.push(format!("{count} requests failed")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::view::{CoordinatorView, DamageView, PlanSummary, StoreView};

    fn member(name: &str, state: &str) -> MemberView {
        let text = str::to_owned;
        MemberView {
            name: text(name),
            peer_id: format!("peer-{name}"),
            role: text("full"),
            state: text(state),
            ..MemberView::default()
        }
    }

    fn replica(node: &str, state: &str) -> ReplicaView {
        ReplicaView { node: node.to_owned(), state: state.to_owned(), ..ReplicaView::default() }
    }

    fn slot(name: &str, replicas: Vec<ReplicaView>) -> SlotView {
        SlotView { name: name.to_owned(), artifact: "ab".to_owned(), bytes: 1 << 30, replicas, ..SlotView::default() }
    }

    fn transfer(state: &str) -> TransferView {
        TransferView {
            slot: "UCM".to_owned(),
            artifact: "ab".to_owned(),
            state: state.to_owned(),
            ..TransferView::default()
        }
    }

    #[track_caller]
    fn check(before: &State, now: &State, expect: &[&str]) {
        assert_eq!(happened(before, now), expect);
        assert_eq!(happened(now, now), [""; 0], "nothing happened between a view and itself");
    }

    #[test]
    fn the_seat_and_the_plan() {
        let seat = |name: &str, epoch| CoordinatorView { name: name.to_owned(), epoch, ..CoordinatorView::default() };
        let plan = |revision, carried_out| PlanSummary { epoch: 3, revision, carried_out, ..PlanSummary::default() };
        let state = |seat, plan| State { coordinator: seat, plan, ..State::default() };
        let first = state(Some(seat("desk", 3)), Some(plan(1, false)));
        check(&State::default(), &first, &["desk coordinates, epoch 3", "plan 3.1 was made"]);
        check(&first, &state(Some(seat("desk", 3)), Some(plan(1, true))), &["plan 3.1 is carried out"]);
        check(&first, &state(None, Some(plan(1, false))), &["no coordinator is known any more"]);
        let both = ["den coordinates, epoch 4", "plan 3.2 was made", "plan 3.2 is carried out"];
        check(&first, &state(Some(seat("den", 4)), Some(plan(2, true))), &both);
    }

    #[test]
    fn machines_that_come_and_go() {
        let state = |members| State { members, ..State::default() };
        let before = state(vec![member("desk", "alive"), member("den", "alive"), member("nas", "down")]);
        let renamed = MemberView { name: "attic".to_owned(), drained: true, ..member("nas", "alive") };
        let now = state(vec![member("desk", "suspect"), renamed, member("loft", "unseen")]);
        let expect = [
            "desk does not answer",
            "nas is called attic now",
            "attic is there",
            "attic holds no managers from now on",
            "loft has joined the federation as full",
            "den is no longer a member",
        ];
        check(&before, &now, &expect);
    }

    #[test]
    fn managers_that_come_and_go() {
        let state = |slots| State { slots, ..State::default() };
        let before =
            state(vec![slot("UFM", vec![replica("desk", "ready")]), slot("UCM", vec![replica("desk", "loading")])]);
        let mut failed = replica("den", "failed");
        failed.reason = "out of memory".to_owned();
        let short = SlotView { shortfall: "short 1.2 GiB".to_owned(), ..slot("ULM", vec![]) };
        let now = state(vec![slot("UFM", vec![failed]), slot("UCM", vec![replica("desk", "ready")]), short]);
        let expect = [
            "UFM failed on den: out of memory",
            "UFM has left the memory of desk",
            "UCM is resident on desk",
            "ULM was published, 1.0 GiB",
            "ULM has no room: short 1.2 GiB",
        ];
        check(&before, &now, &expect);
    }

    #[test]
    fn weights_that_travel_and_break() {
        let state = |transfers, damaged: Option<DamageView>, failed| {
            let store = StoreView { damaged: damaged.into_iter().collect(), ..StoreView::default() };
            let mut state = State { transfers, store: Some(store), ..State::default() };
            state.requests.failed = failed;
            state
        };
        let damage = DamageView {
            artifact: "cd".into(),
            slot: "ULM".into(),
            reason: "it is fetched".into(),
            ..DamageView::default()
        };
        let begun = state(vec![transfer("fetching")], Some(damage), 1);
        let quiet = state(vec![], None, 0);
        let expect = [
            "the transfer of UCM to this disk has begun",
            "ULM is damaged on this disk: it is fetched",
            "a request failed",
        ];
        check(&quiet, &begun, &expect);
        let done = TransferView { verified: true, ..transfer("done") };
        check(
            &begun,
            &state(vec![done], None, 4),
            &["UCM has arrived on this disk, verified", "ULM is whole again on this disk", "3 requests failed"],
        );
        let paused = TransferView { reason: "the disk is full".to_owned(), ..transfer("paused") };
        let paused = state(vec![paused], None, 0);
        check(&quiet, &paused, &["the transfer of UCM waits: the disk is full"]);
        check(&paused, &state(vec![transfer("fetching")], None, 0), &["the transfer of UCM goes on"]);
    }

    #[test]
    fn a_restart_is_told_and_a_thousand_changes_are_bounded() {
        let mut before = State::default();
        before.node.pid = 7;
        let mut now =
            State { members: (0..1000).map(|n| member(&format!("m{n}"), "alive")).collect(), ..State::default() };
        now.node.pid = 8;
        let told = happened(&before, &now);
        assert_eq!((told.len(), told[0].as_str()), (HAPPENED_MAX, "the node was restarted"));
    }
}
