//! Weights on their way: manifests, chunks and whole artifacts, between the members' streams and this node's disk. Bytes
//! pass here and never through the core.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::core::machine::Input;
use crate::core::transfer::ChunkOutcome;
use crate::core::types::{Digest, NodeId};
use crate::driver::event_loop::{Event, Events};
use crate::net::weights::{ChunkMissing, ChunkSource, FetchError, WeightsClient};
use crate::rpc::peers::Peers;
use crate::store::Store;
use crate::store::error::StoreError;
use crate::wire::manifest::VerifiedManifest;

/// What other members read from this node's store.
pub struct StoreChunks(pub Arc<Store>);

impl ChunkSource for StoreChunks {
    fn read(&self, artifact: &Digest, chunk: u32) -> Result<Vec<u8>, ChunkMissing> {
        self.0.read_chunk(artifact, chunk).map_err(|error| {
            tracing::debug!(%error, artifact = %artifact.short(), chunk, "chunk not served");
            ChunkMissing
        })
    }
}

/// Carries out what `core::transfer` wants.
#[derive(Clone)]
pub struct Weights {
    store: Option<Arc<Store>>,
    client: WeightsClient,
    peers: Peers,
    manifests: Arc<Mutex<BTreeMap<Digest, VerifiedManifest>>>,
    events: Events,
}

impl Weights {
    /// Over `client` and `peers` into `store`.
    pub fn new(store: Option<Arc<Store>>, client: WeightsClient, peers: Peers, events: Events) -> Weights {
        Weights { store, client, peers, manifests: Arc::default(), events }
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
                    weights.manifests.lock().unwrap_or_else(PoisonError::into_inner).insert(artifact, verified);
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
            let verified = weights.manifests.lock().unwrap_or_else(PoisonError::into_inner).remove(&artifact);
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
        tokio::spawn(async move {
            let fetched = weights.client.fetch(from, artifact, chunk, bytes).await;
            let outcome = match (fetched, weights.store.clone()) {
                (Ok(bytes), Some(store)) => match blocking(move || store.write_chunk(&artifact, chunk, &bytes)).await {
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
                },
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
            match &finished {
                Ok(()) => tracing::info!(artifact = %artifact.short(), "artifact verified and in place"),
                Err(why) => tracing::warn!(artifact = %artifact.short(), why, "artifact not finished"),
            }
            weights.input(Input::Finished(artifact, finished)).await;
        });
    }
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
