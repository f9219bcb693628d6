//! `fednode pin`, node side: what is kept on this machine's disk. A pin is durable before anybody acts on it.

use std::sync::{Arc, Mutex, PoisonError};

use fednode_proto::v1;
use serde_json::json;
use tonic::Status;

use crate::core::machine::{Input, Machine};
use crate::core::pins::{Pin, Pins};
use crate::driver::event_loop::Event;
use crate::driver::node::{Node, ended, json};
use crate::driver::wishes;
use crate::store::datadir::DataDir;
use crate::store::pins::{self, PinsError};

/// The pins in memory and on disk.
#[derive(Clone)]
pub struct PinKeeper {
    dir: Arc<DataDir>,
    pins: Arc<Mutex<Pins>>,
    /// Held over a whole change, so that whoever only reads never waits for the disk.
    changing: Arc<Mutex<()>>,
}

impl PinKeeper {
    /// What the data directory says.
    pub fn open(dir: Arc<DataDir>) -> Result<PinKeeper, PinsError> {
        let pins = pins::read(&dir)?;
        Ok(PinKeeper { dir, pins: Arc::new(Mutex::new(pins)), changing: Arc::default() })
    }

    /// The pins now.
    pub fn now(&self) -> Pins {
        self.pins.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Changes the pins, durably, one change at a time; the refusal changes nothing. Called where blocking is allowed.
    fn change(&self, change: impl FnOnce(&mut Pins) -> Result<(), Status>) -> Result<Pins, Status> {
        let _turn = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = self.now();
        change(&mut next)?;
        pins::write(self.dir.path(), &next).map_err(|error| Status::internal(error.to_string()))?;
        self.pins.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&next);
        Ok(next)
    }
}

/// Adds or removes a pin, here or on a machine, if `request` names one, and lists them.
pub(super) async fn pin(node: &Node, request: v1::PinRequest) -> Result<Vec<u8>, Status> {
    if !request.on.is_empty() {
        wishes::pin_on(node, &request).await?;
    } else if !request.pin.is_empty() {
        if node.store.is_none() {
            return Err(Status::failed_precondition("this node delegates: it keeps no weights; pin on a full node"));
        }
        let pin: Pin = request.pin.parse().map_err(|error| Status::invalid_argument(format!("{error}")))?;
        let asked = pin.clone();
        let known = node.read(move |machine| known(machine, &asked)).await.ok_or_else(ended)?;
        let keeper = node.pins.clone();
        let changing = tokio::task::spawn_blocking(move || match request.remove {
            true => keeper.change(|pins| removed(pins, &pin)),
            false => known.and_then(|()| keeper.change(|pins| added(pins, pin))),
        });
        let pins = changing.await.map_err(|error| Status::internal(error.to_string()))??;
        node.events.send(Event::Core(Input::Pins(pins))).await;
    }
    let list = node.read(list).await.ok_or_else(ended)?;
    json(&list)
}

fn added(pins: &mut Pins, pin: Pin) -> Result<(), Status> {
    let full = || Status::failed_precondition("there are as many pins as there may be; unpin something first");
    pins.add(pin).then_some(()).ok_or_else(full)
}

fn removed(pins: &mut Pins, pin: &Pin) -> Result<(), Status> {
    let unknown = || Status::failed_precondition(format!("{pin} is not pinned here; `fednode pin` lists what is"));
    pins.remove(pin).then_some(()).ok_or_else(unknown)
}

/// A slot that the roster does not have is a slip of the hand; one that is empty so far is fine.
fn known(machine: &Machine, pin: &Pin) -> Result<(), Status> {
    let Pin::Slot(slot, domain) = pin else { return Ok(()) };
    let roster = machine.config().catalog.roster();
    let unknown = |what: String| Status::failed_precondition(format!("{what}; `fednode managers` lists the slots"));
    let found =
        roster.and_then(|roster| roster.slot(slot)).ok_or_else(|| unknown(format!("there is no slot {slot}")))?;
    match domain {
        Some(domain) if !found.domains.contains(domain) => Err(unknown(format!("slot {slot} has no domain {domain}"))),
        _ => Ok(()),
    }
}

fn list(machine: &Machine) -> serde_json::Value {
    let config = machine.config();
    let artifact = |artifact| json!({"artifact": artifact, "stored": machine.on_disk().contains(&artifact)});
    let entry = |pin: &Pin| {
        let artifacts: Vec<_> = pin.artifacts(&config.catalog).into_iter().map(artifact).collect();
        json!({"pin": pin.to_string(), "artifacts": artifacts})
    };
    json!({"pins": machine.pins().iter().map(entry).collect::<Vec<_>>(), "on": wishes::list(machine)})
}
