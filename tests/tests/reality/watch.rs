//! What a node says of itself, looked at every few milliseconds: which replicas it has ready, and what it has fetched.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use fednode_tests::lan::{self, Machine};
use serde_json::Value;

/// Between two looks; a look takes about one millisecond.
const PAUSE: Duration = Duration::from_millis(15);

/// One replica of the node.
#[derive(Clone, Debug)]
pub struct Here {
    /// Its slot.
    pub slot: String,
    /// Such as `ready`.
    pub state: String,
    /// What it takes.
    pub bytes: u64,
}

/// One look.
#[derive(Clone, Debug)]
pub struct Look {
    /// When.
    pub at: Instant,
    /// Replicas.
    pub here: Vec<Here>,
    /// Bytes that have come.
    pub fetched: u64,
    /// Artifacts that are whole.
    pub whole: usize,
}

impl Look {
    /// The state of a slot's replica here.
    pub fn state_of(&self, slot: &str) -> Option<&str> {
        self.here.iter().find(|replica| replica.slot == slot).map(|replica| replica.state.as_str())
    }

    /// Is this slot ready here?
    pub fn is_ready(&self, slot: &str) -> bool {
        self.state_of(slot) == Some("ready")
    }

    /// What a slot's replica takes.
    pub fn bytes_of(&self, slot: &str) -> u64 {
        self.here.iter().filter(|replica| replica.slot == slot).map(|replica| replica.bytes).sum()
    }
}

/// A thread that looks until it is dropped.
pub struct Watch {
    stop: Arc<AtomicBool>,
    looks: Arc<Mutex<Vec<Look>>>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    /// Of a machine, also before its node runs.
    pub fn begin(machine: &Machine) -> Watch {
        let (stop, looks) = (Arc::<AtomicBool>::default(), Arc::<Mutex<Vec<Look>>>::default());
        let (name, namespace, client) = (machine.name().to_owned(), machine.namespace(), machine.client());
        let (until, into) = (Arc::clone(&stop), Arc::clone(&looks));
        let work = move || {
            lan::enter(&namespace).expect("a namespace");
            while !until.load(Ordering::Relaxed) {
                if let Ok(reply) = client.get("/state") {
                    into.lock().unwrap_or_else(PoisonError::into_inner).push(look(&name, &reply.json()));
                }
                std::thread::sleep(PAUSE);
            }
        };
        Watch { stop, looks, thread: Some(std::thread::spawn(work)) }
    }

    /// All that was seen.
    pub fn looks(&self) -> Vec<Look> {
        self.looks.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What was seen last.
    pub fn last(&self) -> Option<Look> {
        self.looks.lock().unwrap_or_else(PoisonError::into_inner).last().cloned()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        drop(self.thread.take().map(JoinHandle::join));
    }
}

fn look(name: &str, state: &Value) -> Look {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let of_slot = |slot: &Value| {
        let replicas = list(&slot["replicas"]).into_iter().filter(|replica| replica["node"] == name);
        let here = |replica: Value| Here {
            slot: text(&slot["name"]),
            state: text(&replica["state"]),
            bytes: replica["bytes"].as_u64().unwrap_or(0),
        };
        replicas.map(here).collect::<Vec<_>>()
    };
    let transfers = list(&state["transfers"]);
    Look {
        at: Instant::now(),
        here: list(&state["slots"]).iter().flat_map(of_slot).collect(),
        fetched: transfers.iter().filter_map(|transfer| transfer["done_bytes"].as_u64()).sum(),
        whole: transfers.iter().filter(|transfer| transfer["state"] == "done").count(),
    }
}
