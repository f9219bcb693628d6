//! Replicas of this node: engine processes by slot, started and ended as the core orders.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use fednode_proto::v1;

use crate::core::limits;
use crate::core::machine::Input;
use crate::core::placement::plan::PlannedReplica;
use crate::core::residency::{artifacts, private_bytes_allowed};
use crate::core::types::{Digest, SlotName};
use crate::driver::event_loop::{Event, Events};
use crate::driver::fingerprint;
use crate::driver::footprints::{Promise, Watched, load_failed};
use crate::driver::loading::Loading;
use crate::driver::locking::may_lock;
use crate::engine::{ChildEngine, Engine, Kills, LoadSpec, own_program};
use crate::store::{Store, gguf};

/// No child is held to less private memory than this, however small its model.
const PRIVATE_BYTES_MIN: u64 = 512 << 20;

/// The domain of an adapter whose fingerprint is read.
pub const READER_DOMAIN: &str = "read";

/// A replica that answers.
#[derive(Clone)]
pub struct Replica {
    /// What runs it.
    pub engine: Arc<dyn Engine>,
    /// Its base artifact.
    pub artifact: Digest,
    /// As read from the file's own tensor table when it was loaded.
    pub precision: String,
}

/// How a node's replicas compute.
pub struct How {
    /// Threads of each process, in turns.
    pub threads: u32,
    /// Weights of what is to stay resident are locked in memory.
    pub lock: bool,
    /// The GPUs of memory domains that have one, as the engine names them.
    pub devices: BTreeMap<String, String>,
}

/// All replicas of this node.
#[derive(Clone)]
pub struct Replicas {
    run_dir: PathBuf,
    threads: u32,
    /// Weights of what is to stay resident are locked in memory.
    lock: bool,
    /// The GPUs of memory domains that have one.
    devices: Arc<BTreeMap<String, String>>,
    store: Option<Arc<Store>>,
    loading: Loading,
    live: Arc<Mutex<BTreeMap<SlotName, Replica>>>,
}

impl Replicas {
    /// None yet. Sockets go into `run_dir`.
    pub fn new(run_dir: PathBuf, how: How, store: Option<Arc<Store>>, loading: Loading) -> Replicas {
        let How { threads, lock, devices } = how;
        Replicas { run_dir, threads, lock, devices: Arc::new(devices), store, loading, live: Arc::default() }
    }

    /// The replica of `slot`, if one is loaded.
    pub fn of(&self, slot: &SlotName) -> Option<Replica> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner).get(slot).cloned()
    }

    /// Loads what the core ordered, in a task, and compares it with its fingerprints; the result comes back as an
    /// input. `stays`: it is to stay resident, so that its weights may be locked in memory.
    pub fn load(&self, order: PlannedReplica, floor_f16: bool, stays: bool, events: Events) {
        let replicas = self.clone();
        tokio::spawn(async move {
            let slot = order.slot;
            let kills = Kills::so_far();
            replicas.loading.stop_staging();
            let started = replicas.start(&order, floor_f16, stays && replicas.lock, &events).await;
            replicas.loading.ended(&slot);
            match started {
                Ok((replica, resident_bytes)) => {
                    // Watched only once it can be found: an early death must not pass unseen.
                    replicas.insert(&slot, &replica);
                    replicas.watch(&order, &replica, events.clone()).await;
                    tracing::info!(slot = %slot, resident_bytes, "replica loaded");
                    events.send(Event::Core(Input::Loaded(slot, Ok(resident_bytes)))).await;
                }
                Err(why) => {
                    let death = load_failed(why, kills);
                    tracing::warn!(slot = %slot, why = death.why, "replica could not be loaded");
                    events.send(Event::Core(Input::Loaded(slot, Err(death)))).await;
                }
            }
        });
    }

    /// Reads some of what is loaded next into the page cache.
    pub fn stage(&self, artifact: Digest, bytes: u64) {
        let (Some(store), loading) = (self.store.clone(), self.loading.clone()) else { return };
        tokio::task::spawn_blocking(move || {
            let path = store.path_to_load(&artifact).map_err(|error| error.to_string());
            match path.and_then(|path| loading.stage(&path, bytes).map_err(|error| error.to_string())) {
                Ok(bytes) => tracing::debug!(%artifact, bytes, "staged"),
                // The load says it again, and stops.
                Err(why) => tracing::info!(%artifact, why, "could not be staged"),
            }
        });
    }

    fn insert(&self, slot: &SlotName, replica: &Replica) {
        self.live.lock().unwrap_or_else(PoisonError::into_inner).insert(*slot, replica.clone());
    }

    async fn start(
        &self,
        order: &PlannedReplica,
        floor_f16: bool,
        lock: bool,
        events: &Events,
    ) -> Result<(Replica, u64), String> {
        let store = self.store.clone().ok_or("this node stores nothing")?;
        let (base, adapters, of) = (order.artifact, order.adapters.clone(), order.clone());
        let found = tokio::task::spawn_blocking(move || {
            let adapters = adapters.into_iter().map(|adapter| (adapter.domain.to_string(), adapter.artifact));
            let (path, adapters) = paths(&store, base, adapters)?;
            let files: Vec<PathBuf> = adapters.iter().map(|(_, path)| path.clone()).chain([path.clone()]).collect();
            let precision = check_precision(&files, floor_f16).inspect_err(|_| suspect_all(&store, &of))?;
            Ok::<_, String>((path, adapters, precision))
        });
        let (path, adapters, precision) = found.await.map_err(|error| error.to_string())??;
        let mut spec = LoadSpec {
            parallel: order.parallel,
            lock: lock && lockable(order),
            ..self.spec(path, adapters, order.context, order.bytes)
        };
        if let Some(device) = self.devices.get(&order.memory_domain) {
            // What it was promised is the GPU's memory, and it computes beside those that share the CPU's threads.
            spec = LoadSpec {
                device: Some(device.clone()),
                lock: false,
                private_bytes_max: None,
                turn_folder: None,
                ..spec
            };
        }
        let started =
            ChildEngine::start(&own_program()?, &self.run_dir, &spec, |at| self.loading.is_at(&order.slot, at)).await;
        let (engine, loaded) = started.map_err(|error| error.to_string())?;
        if let Err(why) = self.compare(&engine, order, events).await {
            engine.stop().await;
            return Err(why);
        }
        let replica = Replica { engine: Arc::new(engine), artifact: order.artifact, precision };
        Ok((replica, loaded.resident_bytes))
    }

    /// Is it what was published? If not, the weights are hashed again: the file may not be the one that was verified.
    async fn compare(&self, engine: &ChildEngine, order: &PlannedReplica, events: &Events) -> Result<(), String> {
        let slot = &order.slot;
        for known in &fingerprint::known_soon(events, order).await {
            let what = known.domain.as_ref().map_or_else(String::new, |domain| format!("as {slot}:{domain} "));
            let why = match fingerprint::compare(engine, slot, known).await {
                Ok(judged) if judged.matches() => {
                    let (distance, threshold) = (judged.distance.text(), judged.threshold.text());
                    tracing::info!(slot = %slot, domain = ?known.domain, distance, threshold, "the fingerprint matches");
                    continue;
                }
                Ok(judged) => judged.to_string(),
                Err(error) => format!("its fingerprint cannot be compared: {error}"),
            };
            if let Some(store) = &self.store {
                store.suspect(known.artifact, None);
            }
            return Err(format!("{what}{why}; its file is read and hashed again"));
        }
        Ok(())
    }

    /// How likely the replica of a slot finds given tokens.
    pub async fn score(&self, request: v1::ScoreRequest) -> Result<v1::ScoreReply, String> {
        let slot = SlotName::new(&request.slot).map_err(|error| error.to_string())?;
        let replica = self.of(&slot).ok_or_else(|| format!("{slot} is not resident here"))?;
        replica.engine.score(request).await.map_err(|error| error.to_string())
    }

    /// An engine that only reads a fingerprint: outside the plan and its ledger, with little context, and gone in seconds.
    pub async fn reader(&self, base: Digest, adapter: Option<Digest>, bytes: u64) -> Result<ChildEngine, String> {
        let store = self.store.clone().ok_or("this node stores nothing")?;
        let found = tokio::task::spawn_blocking(move || {
            paths(&store, base, adapter.into_iter().map(|adapter| (READER_DOMAIN.to_owned(), adapter)))
        });
        let (path, adapters) = found.await.map_err(|error| error.to_string())??;
        let spec = self.spec(path, adapters, limits::FINGERPRINT_CONTEXT, bytes);
        let started = ChildEngine::start(&own_program()?, &self.run_dir, &spec, |_| {}).await;
        Ok(started.map_err(|error| error.to_string())?.0)
    }

    /// One sequence, in turns with this node's other engines, with so much memory promised.
    fn spec(&self, path: PathBuf, adapters: Vec<(String, PathBuf)>, context: u32, bytes: u64) -> LoadSpec {
        LoadSpec {
            path,
            adapters,
            context,
            parallel: 1,
            threads: self.threads,
            private_bytes_max: Some(private_bytes_max(bytes)),
            turn_folder: Some(self.run_dir.clone()),
            lock: false,
            device: None,
        }
    }

    /// Looks after a replica from now on, and reports its end unless that was asked for.
    async fn watch(&self, order: &PlannedReplica, replica: &Replica, events: Events) {
        let (live, engine) = (Arc::clone(&self.live), Arc::downgrade(&replica.engine));
        let watched = Watched {
            slot: order.slot,
            engine,
            promise: match self.devices.contains_key(&order.memory_domain) {
                true => Promise::Device,
                false => Promise::Host { private_bytes_max: private_bytes_allowed(order) },
            },
            period: std::time::Duration::from_nanos(limits::FOOTPRINT_PERIOD.0),
        };
        // Before anybody hears that it is ready: the ledger counts with what was seen.
        watched.look(&events).await;
        let (pid, exited, gone) = (replica.engine.pid(), replica.engine.exited(), replica.engine.exited());
        tokio::spawn(async move {
            let death = watched.follow(exited, &events).await;
            if forget(&live, &watched.slot, &watched.engine) {
                // Its memory is free only now.
                gone.await;
                tracing::warn!(slot = %watched.slot, pid, why = death.why, cause = ?death.cause, "replica died");
                events.send(Event::Core(Input::ReplicaDied(watched.slot, death))).await;
            }
        });
    }

    /// Ends a replica as the core ordered.
    pub fn unload(&self, slot: SlotName, events: Events) {
        let replica = self.live.lock().unwrap_or_else(PoisonError::into_inner).remove(&slot);
        tokio::spawn(async move {
            if let Some(replica) = replica {
                replica.engine.stop().await;
            }
            tracing::info!(slot = %slot, "replica unloaded");
            events.send(Event::Core(Input::Unloaded(slot))).await;
        });
    }

    /// Ends all of them.
    pub async fn stop(&self) {
        let live = std::mem::take(&mut *self.live.lock().unwrap_or_else(PoisonError::into_inner));
        futures::future::join_all(live.values().map(|replica| replica.engine.stop())).await;
    }
}

/// Where a base lies, and its adapters by domain.
fn paths(
    store: &Store,
    base: Digest,
    adapters: impl Iterator<Item = (String, Digest)>,
) -> Result<(PathBuf, Vec<(String, PathBuf)>), String> {
    let path_of = |artifact: &Digest| store.path_to_load(artifact).map_err(|error| error.to_string());
    let path = path_of(&base)?;
    let adapters = adapters.map(|(domain, adapter)| Ok((domain, path_of(&adapter)?)));
    Ok((path, adapters.collect::<Result<_, String>>()?))
}

/// Beyond its promise a child is stopped, not the machine; mapped weights do not count, and a third more than the promise is
/// allowed for what the estimate may have missed.
fn private_bytes_max(bytes: u64) -> u64 {
    bytes.saturating_add(bytes / 3).max(PRIVATE_BYTES_MIN)
}

/// What is below the roster's floor now was not when it was published: these files are not those. One whose manifest says the
/// same was published under another floor, and reading it again would show nothing.
fn suspect_all(store: &Store, order: &PlannedReplica) {
    for artifact in artifacts(order) {
        let published = store.manifest(&artifact);
        if published.is_some_and(|published| published.manifest.shape.precision.meets_f16_floor()) {
            store.suspect(artifact, None);
        }
    }
}

/// May its weights be locked in memory? If not, the owner is told what to do about it.
fn lockable(order: &PlannedReplica) -> bool {
    let allowed = may_lock(order.weights_bytes);
    if let Err(remedy) = &allowed {
        tracing::warn!(slot = %order.slot, "its weights are not locked in memory: {remedy}");
    }
    allowed.is_ok()
}

/// Removes the replica of this engine; false if it is gone already, because it was asked to end.
fn forget(live: &Mutex<BTreeMap<SlotName, Replica>>, slot: &SlotName, engine: &Weak<dyn Engine>) -> bool {
    let mut live = live.lock().unwrap_or_else(PoisonError::into_inner);
    let same = |replica: &Replica| std::ptr::addr_eq(Arc::as_ptr(&replica.engine), engine.as_ptr());
    let died = live.get(slot).is_some_and(same);
    let dead = if died { live.remove(slot) } else { None };
    // Unlocked first: with its last owner an engine is killed, and that takes a while.
    drop(live);
    drop(dead);
    died
}

/// Reads the tensor tables that are about to be loaded: the floor is the file's own word, not the manifest's.
fn check_precision(files: &[PathBuf], floor_f16: bool) -> Result<String, String> {
    let mut base = String::new();
    for file in files {
        let precision = gguf::inspect(file).map_err(|error| error.to_string())?.shape.precision;
        if floor_f16 && !precision.meets_f16_floor() {
            return Err(format!("its tensors are {}, below the roster's floor of F16", precision.name()));
        }
        base = precision.name().to_owned(); // the base comes last
    }
    Ok(base)
}
