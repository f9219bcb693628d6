//! Weights on their way: manifests, chunks and whole artifacts, between the members' streams and this node's disk. Bytes
//! pass here and never through the core.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::oneshot;

use crate::core::limits;
use crate::core::machine::Input;
use crate::core::transfer::ChunkOutcome;
use crate::core::types::{Digest, NodeId};
use crate::driver::buffers::{Buffer, Buffers};
use crate::driver::event_loop::{Event, Events};
use crate::driver::throttle::Throttle;
use crate::net::weights::{ChunkMissing, ChunkSource, FetchError, WeightsClient};
use crate::rpc::peers::Peers;
use crate::store::Store;
use crate::store::error::StoreError;
use crate::wire::manifest::VerifiedManifest;

/// What other members read from this node's store.
pub struct StoreChunks {
    /// Where they are.
    pub store: Arc<Store>,
    /// How fast they may leave.
    pub up: Throttle,
}

impl ChunkSource for StoreChunks {
    fn read(&self, artifact: &Digest, chunk: u32, from: u32, piece: &mut Vec<u8>) -> Result<u32, ChunkMissing> {
        self.store.read_piece(artifact, chunk, from, piece).map_err(|error| {
            tracing::debug!(%error, artifact = %artifact.short(), chunk, "chunk not served");
            ChunkMissing
        })
    }

    fn pass(&self, bytes: usize) -> BoxFuture<'_, ()> {
        self.up.pass(bytes as u64).boxed()
    }

    fn served_max(&self) -> usize {
        // As many as come within half the time that one piece may take.
        let limit =
            self.up.bytes_per_s().map(|rate| rate.saturating_mul(SERVED_SPAN_S) / u64::from(limits::CHUNK_BYTES_MAX));
        limit.map_or(limits::CHUNKS_SERVED_MAX, |served| served.clamp(1, limits::CHUNKS_SERVED_MAX as u64) as usize)
    }
}

/// Under `--limit-up` so many seconds' worth of chunks are served at once, and whoever else asks is told to come again: all of
/// them together would be late.
const SERVED_SPAN_S: u64 = 15;

/// Carries out what `core::transfer` wants.
#[derive(Clone)]
pub struct Weights {
    store: Option<Arc<Store>>,
    client: WeightsClient,
    peers: Peers,
    manifests: Arc<Mutex<BTreeMap<Digest, VerifiedManifest>>>,
    /// Chunks being fetched, as many as the core asks for at once: dropping the sender calls one off.
    fetching: Arc<Mutex<BTreeMap<Fetching, Running>>>,
    fetches: Arc<AtomicU64>,
    buffers: Buffers,
    /// How fast chunks may come.
    down: Throttle,
    events: Events,
}

/// Which chunk, and from whom.
type Fetching = (Digest, u32, NodeId);

/// A fetch's number, so that one that ends never calls off the next of the same chunk, and the way to call it off.
type Running = (u64, oneshot::Sender<()>);

impl Weights {
    /// Over `client` and `peers` into `store`.
    pub fn new(
        store: Option<Arc<Store>>,
        client: WeightsClient,
        peers: Peers,
        down: Throttle,
        events: Events,
    ) -> Weights {
        Weights {
            store,
            client,
            peers,
            manifests: Arc::default(),
            fetching: Arc::default(),
            fetches: Arc::default(),
            buffers: Buffers::default(),
            down,
            events,
        }
    }

    /// A member's connection ended.
    pub fn forget(&self, node: &NodeId) {
        self.client.forget(node);
        self.peers.forget(node);
    }

    async fn input(&self, input: Input) {
        self.events.send(Event::Core(input)).await;
    }

    /// Gets a manifest and keeps it until the artifact is begun.
    pub fn get_manifest(&self, artifact: Digest, from: NodeId) {
        let weights = self.clone();
        tokio::spawn(async move {
            match weights.peers.manifest(from, artifact).await {
                Ok(verified) => {
                    let chunks = verified.manifest.files.iter().flat_map(|file| &file.chunks);
                    let lengths = chunks.map(|chunk| chunk.bytes).collect();
                    lock(&weights.manifests).insert(artifact, verified);
                    weights.input(Input::Manifest(artifact, lengths)).await;
                }
                Err(error) => {
                    tracing::warn!(artifact = %artifact.short(), %from, %error, "no manifest");
                    weights.input(Input::ManifestFailed { artifact, from }).await;
                }
            }
        });
    }

    /// Prepares the disk, and copies what other artifacts here share with this one.
    pub fn begin(&self, artifact: Digest) {
        let weights = self.clone();
        tokio::spawn(async move {
            let verified = lock(&weights.manifests).remove(&artifact);
            let begun = match (weights.store.clone(), verified) {
                (Some(store), Some(verified)) => blocking(move || {
                    let chunks = verified.manifest.chunk_count();
                    store.begin(verified)?;
                    store.copy_local_chunks(&artifact)?;
                    let partial = store.partial().into_iter().find(|(known, _)| *known == artifact);
                    Ok(partial.map_or_else(|| crate::core::artifact::Bitmap::full(chunks), |(_, have)| have))
                })
                .await
                .map_err(|error| error.to_string()),
                _ => Err("this node stores nothing".to_owned()),
            };
            let input = match begun {
                Ok(have) => Input::Begun(artifact, have),
                Err(why) => Input::TransferPaused(artifact, why),
            };
            weights.input(input).await;
        });
    }

    /// Asks a partial holder what it has.
    pub fn get_have(&self, artifact: Digest, from: NodeId) {
        let weights = self.clone();
        tokio::spawn(async move {
            let chunks = weights.store.as_ref().and_then(|store| store.manifest(&artifact));
            let chunks = chunks.map_or(0, |verified| verified.manifest.chunk_count());
            let have = weights.peers.have(from, artifact, chunks).await.ok().flatten();
            weights.input(Input::Has { artifact, from, have }).await;
        });
    }

    /// Fetches, verifies and writes one chunk.
    pub fn fetch(&self, artifact: Digest, chunk: u32, bytes: u32, from: NodeId) {
        let weights = self.clone();
        let (running, called_off) = oneshot::channel::<()>();
        let number = self.fetches.fetch_add(1, Ordering::Relaxed);
        lock(&self.fetching).insert((artifact, chunk, from), (number, running));
        tokio::spawn(async move {
            let fetched = tokio::select! {
                fetched = weights.fetch_chunk(artifact, chunk, bytes, from) => fetched,
                // Ends the stream, and with it what is still on its way; the core has given up this request.
                _ = called_off => return,
            };
            weights.fetched(&(artifact, chunk, from), number);
            let outcome = match (fetched, weights.store.clone()) {
                (Ok((buffer, digest)), Some(store)) => {
                    match blocking(move || store.write_hashed(&artifact, chunk, buffer.bytes(), digest)).await {
                        Ok(true) => ChunkOutcome::Stored,
                        Ok(false) => {
                            tracing::warn!(artifact = %artifact.short(), chunk, %from, "corrupt chunk refused");
                            weights.report_damage(artifact, chunk, from);
                            ChunkOutcome::Corrupt
                        }
                        Err(error) => {
                            tracing::warn!(artifact = %artifact.short(), chunk, %error, "chunk not written");
                            weights.input(Input::TransferPaused(artifact, error.to_string())).await;
                            return;
                        }
                    }
                }
                (Err(FetchError::Missing), _) => ChunkOutcome::Missing,
                (Err(error), _) => {
                    tracing::debug!(artifact = %artifact.short(), chunk, %from, %error, "chunk not fetched");
                    ChunkOutcome::Failed
                }
                (Ok(_), None) => ChunkOutcome::Failed,
            };
            weights.input(Input::Chunk { artifact, chunk, from, outcome }).await;
        });
    }

    /// Gets one chunk into memory, hashed as it came.
    async fn fetch_chunk(
        &self,
        artifact: Digest,
        chunk: u32,
        bytes: u32,
        from: NodeId,
    ) -> Result<(Buffer, Digest), FetchError> {
        self.down.pass(u64::from(bytes)).await;
        let manifest = self.store.as_ref().and_then(|store| store.manifest(&artifact));
        let place = manifest.and_then(|verified| verified.manifest.chunk(chunk));
        let offset = place.map_or(0, |(_, chunk)| chunk.offset);
        let mut buffer = self.buffers.take(bytes.min(limits::CHUNK_BYTES_MAX), offset);
        let mut hasher = blake3::Hasher::new();
        let mut seen = |piece: &[u8]| {
            hasher.update(piece);
        };
        let fetched = self.client.fetch(from, artifact, chunk, buffer.bytes_mut(), &mut seen).await;
        let length = fetched.inspect_err(|_| self.down.give_back(u64::from(bytes)))?;
        buffer.shorten(length);
        Ok((buffer, Digest(*hasher.finalize().as_bytes())))
    }

    fn fetched(&self, what: &Fetching, number: u64) {
        let mut fetching = lock(&self.fetching);
        if fetching.get(what).is_some_and(|(running, _)| *running == number) {
            fetching.remove(what);
        }
    }

    /// Stops fetching a chunk. One that has arrived already is written and told all the same.
    pub fn cancel(&self, artifact: Digest, chunk: u32, from: NodeId) {
        drop(lock(&self.fetching).remove(&(artifact, chunk, from)));
    }

    /// Tells a source that what it sent was corrupt: its disk may be at fault, and it can repair itself.
    fn report_damage(&self, artifact: Digest, chunk: u32, from: NodeId) {
        let peers = self.peers.clone();
        tokio::spawn(async move {
            if let Err(error) = peers.report_damage(from, artifact, chunk).await {
                tracing::debug!(%from, %error, "damage not reported");
            }
        });
    }

    /// Verifies the whole and puts it in place.
    pub fn finish(&self, artifact: Digest) {
        let weights = self.clone();
        tokio::spawn(async move {
            let finished = match weights.store.clone() {
                Some(store) => blocking(move || store.finish(&artifact)).await.map_err(|error| error.to_string()),
                None => Err("this node stores nothing".to_owned()),
            };
            weights.buffers.release();
            match &finished {
                Ok(()) => tracing::info!(artifact = %artifact.short(), "artifact verified and in place"),
                Err(why) => tracing::warn!(artifact = %artifact.short(), why, "artifact not finished"),
            }
            weights.input(Input::Finished(artifact, finished)).await;
        });
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs what waits for a disk where waiting harms nobody.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    let ended = tokio::task::spawn_blocking(work).await;
    // A panic below (the database's, say) is an error of this transfer, which tries again, and not its silent end.
    ended.unwrap_or_else(|error| {
        let source = std::io::Error::other(error.to_string());
        Err(StoreError::Io { what: "work on", path: std::path::PathBuf::from("the store"), source })
    })
}
