//! What this node promised other members to hold and what it asks them to hold, on disk and over the wire; and the facts that
//! `core::keeping` decides from. The decisions are carried out in `gc`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::core::keeping::holds::{AskRefusal, Holds};
use crate::core::keeping::{OnDisk, Snapshot};
use crate::core::limits;
use crate::core::types::{Digest, NodeId};
use crate::driver::node::Node;
use crate::rpc::peers::Peers;
use crate::store::datadir::DataDir;
use crate::store::{Store, holds};

/// Hold promises of one node, given and asked for. Cheap to clone.
#[derive(Clone)]
pub struct Keeper {
    dir: Arc<DataDir>,
    pub(super) store: Arc<Store>,
    peers: Peers,
    /// Locked while a promise is made durable: never waited for on the runtime's own threads.
    holds: Arc<Mutex<Holds>>,
    /// Nothing is deleted before: promises that can no longer be read may be in force until then.
    quiet_until_unix_s: u64,
    /// One collection at a time.
    pub(super) turn: Arc<tokio::sync::Mutex<()>>,
}

/// A request to hold that a member granted: this node may delete until the request is over, which its end (`Drop`) says.
pub(super) struct Granted {
    keeper: Keeper,
    artifact: Digest,
    serial: u64,
    /// Who holds it instead; `None` for what is forgotten.
    pub by: Option<NodeId>,
}

impl Granted {
    /// May this node still rely on it, by the wall clock?
    pub(super) fn is_in_force(&self) -> bool {
        self.keeper.holds().granted(&self.artifact, self.serial, unix_now_s())
    }
}

impl Drop for Granted {
    fn drop(&mut self) {
        let (keeper, artifact, serial) = (self.keeper.clone(), self.artifact, self.serial);
        let end = move || keeper.holds().ended(&artifact, serial);
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(end)),
            Err(_) => end(),
        }
    }
}

/// Why no promise was got.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoPromise {
    /// This node may not even ask.
    #[error(transparent)]
    Ask(#[from] AskRefusal),
    /// Promises may be in force that could not be read.
    #[error("promises that this node gave could not be read after a crash; nothing is deleted for {0} s")]
    Quiet(u64),
    /// Nobody promised.
    #[error("nobody promised to hold it: {0}")]
    Nobody(String),
    /// Another holder asked at the same moment and goes first.
    #[error("another member is deleting its copy just now; this one stays")]
    GivenUp,
    /// Nobody waits for the answer any more.
    #[error("the node is ending")]
    Ending,
}

impl Keeper {
    /// With the promises in the data directory.
    pub fn open(dir: Arc<DataDir>, store: Arc<Store>, peers: Peers, me: NodeId) -> Keeper {
        let now = unix_now_s();
        let (kept, quiet_until_unix_s) = match holds::read(dir.path()) {
            Ok(kept) => (kept, 0),
            Err(error) => {
                tracing::error!(%error, "the hold promises of this node cannot be read; nothing is deleted until they have ended");
                (Vec::new(), now.saturating_add(limits::HOLD_LIFE_S))
            }
        };
        let holds = Arc::new(Mutex::new(Holds::new(me, kept, now)));
        Keeper { dir, store, peers, holds, quiet_until_unix_s, turn: Arc::default() }
    }

    fn holds(&self) -> MutexGuard<'_, Holds> {
        self.holds.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Works on the promises, where waiting is allowed.
    async fn with_holds<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Holds) -> T + Send + 'static,
    ) -> Result<T, NoPromise> {
        let keeper = self.clone();
        tokio::task::spawn_blocking(move || work(&mut keeper.holds())).await.map_err(|_| NoPromise::Ending)
    }

    /// Promises `from` to hold `artifact`, durably before this returns. Called where blocking is allowed.
    pub(super) fn promise(&self, artifact: Digest, from: NodeId) -> Result<u64, String> {
        let mut holds = self.holds();
        let held = self.store.is_sound(&artifact);
        let promise = holds.promise(artifact, from, held, unix_now_s()).map_err(|refusal| refusal.to_string())?;
        // Under the lock: this node may not begin to delete before the promise is on disk.
        if let Err(error) = holds::write(self.dir.path(), holds.promises()) {
            holds.take_back(&promise);
            return Err(format!("its promise cannot be made durable: {error}"));
        }
        tracing::info!(artifact = %artifact.short(), to = %from, until_unix_s = promise.until_unix_s, "promised to hold");
        Ok(promise.until_unix_s)
    }

    /// Asks `nodes`, one after another, to hold their copy of `artifact`; with none to ask (what is forgotten) only makes sure
    /// that this node itself has not promised it.
    pub(super) async fn ask(&self, artifact: Digest, nodes: &[NodeId]) -> Result<Granted, NoPromise> {
        let now = unix_now_s();
        if now < self.quiet_until_unix_s {
            return Err(NoPromise::Quiet(self.quiet_until_unix_s - now));
        }
        let serial = self.with_holds(move |holds| holds.ask(artifact, now)).await??;
        let mut granted = Granted { keeper: self.clone(), artifact, serial, by: None };
        let mut refusals = Vec::new();
        for node in nodes {
            match self.peers.promise_hold(*node, artifact).await {
                Ok(Ok(_)) => {
                    granted.by = Some(*node);
                    break;
                }
                Ok(Err(reason)) => refusals.push(reason),
                Err(error) => refusals.push(error.to_string()),
            }
        }
        if granted.by.is_none() && !nodes.is_empty() {
            return Err(NoPromise::Nobody(refusals.join("; ")));
        }
        let relied_on = self.with_holds(move |holds| holds.granted(&artifact, serial, unix_now_s())).await?;
        if relied_on { Ok(granted) } else { Err(NoPromise::GivenUp) }
    }

    fn promised(&self, artifacts: impl Iterator<Item = Digest>) -> BTreeMap<Digest, NodeId> {
        let (now, mut holds) = (unix_now_s(), self.holds());
        artifacts.filter_map(|artifact| Some((artifact, holds.promised_to(&artifact, now)?))).collect()
    }

    /// Everything a collection is decided from, as it is now; `None`: the node is ending.
    pub(super) async fn snapshot(&self, node: &Node, forget: BTreeSet<Digest>) -> Option<Snapshot> {
        let store = Arc::clone(&self.store);
        let here = tokio::task::spawn_blocking(move || {
            let on_disk = |stored: crate::store::keeping::Stored| OnDisk {
                artifact: stored.verified.artifact,
                bytes: stored.verified.manifest.bytes(),
                complete: stored.complete,
                idle_since: stored.since_unix_s,
            };
            store.inventory().into_iter().map(on_disk).collect::<Vec<_>>()
        });
        let here = here.await.ok()?;
        // Read from the keeper of pins, not from the core: a pin is durable there before the core hears of it.
        let pins = node.pins.now();
        let artifacts: Vec<Digest> = here.iter().map(|held| held.artifact).collect();
        let mut known = node.read(move |machine| machine.keeping_facts(&pins, &artifacts)).await?;
        let keeper = self.clone();
        let looked = tokio::task::spawn_blocking(move || {
            let promised = keeper.promised(here.iter().map(|held| held.artifact));
            (here, promised, keeper.store.under_repair())
        });
        let (here, promised, repaired) = looked.await.ok()?;
        // A repair without an end, because nobody else has the artifact any more, must not keep its owner from giving it up.
        known.under_way.retain(|artifact| !(forget.contains(artifact) && repaired.contains(artifact)));
        let over_budget_bytes = self.store.over_budget_bytes();
        Some(Snapshot { here, promised, forget, over_budget_bytes, ..known })
    }
}

/// The wall clock: it goes on while the machine sleeps, and over restarts.
pub(super) fn unix_now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
