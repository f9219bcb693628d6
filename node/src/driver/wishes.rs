//! `fednode pin --on`, `load`, `evict` and `drain`, node side: what the owner wishes of machines and of slots. A wish of a machine
//! is a signed record of the catalog: it reaches every member, and holds whoever coordinates and whether that machine is up.

use std::time::{Duration, Instant};

use fednode_proto::v1;
use serde_json::json;
use tokio::sync::oneshot;
use tonic::Status;

use crate::core::catalog::{Entry, Wishes};
use crate::core::limits;
use crate::core::machine::{Input, Machine};
use crate::core::membership::advert::ReplicaState;
use crate::core::membership::roster::{MemberRoster, Role};
use crate::core::pins::Pin;
use crate::core::types::{NodeId, SlotName};
use crate::driver::event_loop::Event;
use crate::driver::members::find;
use crate::driver::node::{Node, ended, json};
use crate::driver::seats;
use crate::wire::ids::peer_id_text;

/// How often a waiting `fednode load` looks.
const LOOK: Duration = Duration::from_millis(200);

/// Pins a slot on a machine, or takes such a pin back.
pub(super) async fn pin_on(node: &Node, request: &v1::PinRequest) -> Result<(), Status> {
    let roster = node.registry.roster();
    let target = find(&roster, &request.on)?;
    let slot = match (request.pin.as_str(), request.remove) {
        ("", true) => None,
        ("", false) => return Err(Status::invalid_argument("say which slot, such as `fednode pin UCM --on den`")),
        (pin, _) => Some(seats::host(node, slot_of(pin)?.as_str()).await?),
    };
    match (slot, request.remove) {
        (slot, true) => change(node, target, |wishes| unpinned(wishes, slot, &roster)).await.map(drop),
        (Some(slot), false) => {
            may_pin(node, &roster, target, &slot).await?;
            change(node, target, |wishes| pinned(wishes, slot)).await.map(drop)
        }
        (None, false) => Err(Status::invalid_argument("say which slot")),
    }
}

fn slot_of(pin: &str) -> Result<SlotName, Status> {
    match pin.parse() {
        Ok(Pin::Slot(slot, None)) => Ok(slot),
        _ => Err(Status::invalid_argument(
            "only a whole slot can be resident on a machine: a replica has all its adapters",
        )),
    }
}

/// Slips of the hand, told before anything is written.
async fn may_pin(node: &Node, roster: &MemberRoster, target: NodeId, slot: &SlotName) -> Result<(), Status> {
    let name = roster.name_of(&target);
    if roster.member(&target).is_some_and(|member| member.role == Role::Delegate) {
        return Err(Status::failed_precondition(format!("{name} delegates: it hosts no managers")));
    }
    let asked = *slot;
    let read = move |machine: &Machine| {
        let catalog = &machine.config().catalog;
        (catalog.roster().is_some_and(|roster| roster.slot(&asked).is_some()), catalog.is_drained(&target))
    };
    match node.read(read).await.ok_or_else(ended)? {
        (false, _) => Err(no_slot(slot)),
        (true, true) => Err(Status::failed_precondition(format!(
            "{name} is drained and holds no replicas; `fednode drain {name} --back` lets it hold some again"
        ))),
        (true, false) => Ok(()),
    }
}

fn no_slot(slot: &SlotName) -> Status {
    Status::failed_precondition(format!("there is no slot {slot}; `fednode managers` lists the slots"))
}

fn pinned(wishes: &mut Wishes, slot: SlotName) -> Result<(), Status> {
    if wishes.pinned.len() >= limits::PINNED_PER_NODE_MAX && !wishes.pinned.contains(&slot) {
        return Err(Status::failed_precondition("as many slots are pinned there as may be; unpin one first"));
    }
    wishes.pinned.insert(slot);
    Ok(())
}

fn unpinned(wishes: &mut Wishes, slot: Option<SlotName>, roster: &MemberRoster) -> Result<(), Status> {
    let name = roster.name_of(&wishes.node);
    match slot {
        None if wishes.pinned.is_empty() => Err(Status::failed_precondition(format!("nothing is pinned on {name}"))),
        None => {
            wishes.pinned.clear();
            Ok(())
        }
        Some(slot) if wishes.pinned.remove(&slot) => Ok(()),
        Some(slot) => {
            let message = format!("{slot} is not pinned on {name}; `fednode pin` lists what is");
            Err(Status::failed_precondition(message))
        }
    }
}

/// Changes what is wished of `target`, one change at a time, and tells everybody.
async fn change(
    node: &Node,
    target: NodeId,
    change: impl FnOnce(&mut Wishes) -> Result<(), Status>,
) -> Result<Wishes, Status> {
    let _turn = node.wishing.lock().await;
    let read = move |machine: &Machine| machine.config().catalog.wishes(&target).cloned();
    let before = node.read(read).await.ok_or_else(ended)?;
    let mut wishes = before.clone().unwrap_or_else(|| Wishes::none(target));
    change(&mut wishes)?;
    if before.as_ref() != Some(&wishes) {
        node.write_catalog(Entry::Wishes(wishes.clone())).await?;
        let taken = node.read(read).await.ok_or_else(ended)?;
        if taken.as_ref() != Some(&wishes) {
            return Err(Status::failed_precondition("there are wishes for as many machines as may be"));
        }
    }
    Ok(wishes)
}

/// All pins on machines, for people.
pub(super) fn list(machine: &Machine) -> serde_json::Value {
    let config = machine.config();
    let of = |member: &crate::core::membership::roster::Member| {
        let wishes = config.catalog.wishes(&member.node)?;
        let slots: Vec<&str> = wishes.pinned.iter().map(SlotName::as_str).collect();
        let peer_id = peer_id_text(&member.node);
        let any = !slots.is_empty() || wishes.drained;
        any.then(|| json!({"name": member.name, "peer_id": peer_id, "slots": slots, "drained": wishes.drained}))
    };
    config.members.members.iter().filter_map(of).collect()
}

/// Makes `slot` wanted, and waits until it answers somewhere. Whoever stops waiting stops nothing.
pub(super) async fn load(node: &Node, slot: &str) -> Result<Vec<u8>, Status> {
    let slot = seats::host(node, slot).await?;
    let asked = slot;
    let may = node.read(move |machine| machine.may_want(&asked)).await.ok_or_else(ended)?;
    may.map_err(|refusal| Status::failed_precondition(refusal.message))?;
    node.events.send(Event::Core(Input::Want(slot))).await;
    let mut failing_since = None;
    loop {
        let asked = slot;
        let look =
            move |machine: &Machine| (holders(machine, &asked), machine.may_want(&asked), machine.why_failing(&asked));
        let (nodes, may, failing) = node.read(look).await.ok_or_else(ended)?;
        if !nodes.is_empty() {
            return json(&json!({"slot": slot, "state": "resident", "nodes": nodes}));
        }
        may.map_err(|refusal| Status::failed_precondition(refusal.message))?;
        match failing {
            None => failing_since = None,
            Some(why) => {
                let since = *failing_since.get_or_insert_with(Instant::now);
                if since.elapsed() >= Duration::from_nanos(limits::FAILED_PATIENCE.0) {
                    let message = format!("{slot} cannot be loaded: {why}; it is tried again from time to time");
                    return Err(Status::failed_precondition(message));
                }
            }
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Names of the members where `slot` answers.
fn holders(machine: &Machine, slot: &SlotName) -> Vec<String> {
    let mine = machine.own_advert();
    let ready = |replica: &crate::core::membership::advert::ReplicaStatus| {
        &replica.slot == slot && replica.state == ReplicaState::Ready
    };
    let here = mine.replicas.iter().any(ready).then_some(mine.node);
    let there = machine.table().ready(slot).map(|(node, _)| node);
    here.into_iter().chain(there).map(|node| machine.config().members.name_of(&node)).collect()
}

/// Puts the replica of `slot` here out of memory until it is asked for again.
pub(super) async fn evict(node: &Node, slot: &str) -> Result<Vec<u8>, Status> {
    let slot = seats::host(node, slot).await?;
    let (answer, answered) = oneshot::channel();
    node.events.send(Event::PutAway(slot, answer)).await;
    let refused = |refusal: crate::core::residency::Refusal| {
        Status::failed_precondition(format!("{}: {refusal}", refusal.code().as_str()))
    };
    answered.await.map_err(|_| ended())?.map_err(refused)?;
    json(&json!({"slot": slot, "state": "draining"}))
}

/// Lets a machine hold no replicas, or again.
pub(super) async fn drain(node: &Node, request: v1::DrainRequest) -> Result<Vec<u8>, Status> {
    let roster = node.registry.roster();
    let target = if request.node.is_empty() { node.me } else { find(&roster, &request.node)? };
    let name = roster.name_of(&target);
    if roster.member(&target).is_some_and(|member| member.role == Role::Delegate) {
        return Err(Status::failed_precondition(format!("{name} delegates: it holds no replicas anyway")));
    }
    let drained = !request.back;
    let wishes = change(node, target, |wishes| {
        wishes.drained = drained;
        Ok(())
    });
    let wishes = wishes.await?;
    let holds = move |machine: &Machine| {
        let mine = machine.own_advert();
        let theirs = machine.table().get(&target).and_then(|entry| entry.advert());
        let advert = if target == mine.node { Some(&mine) } else { theirs };
        let replicas = advert.into_iter().flat_map(|advert| &advert.replicas);
        replicas.filter(|replica| replica.state == ReplicaState::Ready).map(|r| r.slot.to_string()).collect::<Vec<_>>()
    };
    let resident = node.read(holds).await.ok_or_else(ended)?;
    json(&json!({"name": name, "peer_id": peer_id_text(&target), "drained": wishes.drained, "resident": resident}))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::membership::roster::Member;
    use crate::core::types::FederationId;

    fn roster() -> MemberRoster {
        let member = Member::new(NodeId([2; 32]), "den", Role::Full);
        MemberRoster::new(FederationId([9; 32])).admit(member).expect("room")
    }

    fn name(index: usize) -> SlotName {
        SlotName::new(&format!("S{index}")).expect("name")
    }

    #[test]
    fn pins_on_a_machine_have_a_bound_and_are_taken_back_one_by_one_or_all() {
        let mut wishes = Wishes::none(NodeId([2; 32]));
        let said = |done: Result<(), Status>| done.map_err(|status| status.message().to_owned());
        assert_eq!(said(unpinned(&mut wishes, None, &roster())), Err("nothing is pinned on den".into()));
        for index in 0..limits::PINNED_PER_NODE_MAX {
            assert_eq!(said(pinned(&mut wishes, name(index))), Ok(()));
        }
        assert!(pinned(&mut wishes, name(0)).is_ok(), "it is there already");
        assert!(pinned(&mut wishes, name(limits::PINNED_PER_NODE_MAX)).is_err());
        assert_eq!(said(unpinned(&mut wishes, Some(name(3)), &roster())), Ok(()));
        let unknown = "S3 is not pinned on den; `fednode pin` lists what is".to_owned();
        assert_eq!(said(unpinned(&mut wishes, Some(name(3)), &roster())), Err(unknown));
        assert_eq!((said(unpinned(&mut wishes, None, &roster())), wishes.pinned.len()), (Ok(()), 0));
    }

    #[test]
    fn only_whole_slots_are_resident_on_a_machine() {
        assert!(slot_of("UCM").is_ok());
        for bad in ["ULM:core", &"0f".repeat(32), "../UCM", ""] {
            assert_eq!(slot_of(bad).map_err(|status| status.code()), Err(tonic::Code::InvalidArgument), "{bad}");
        }
    }
}
