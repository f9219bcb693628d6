//! Scrubbing: stored weights are read from the disk and hashed again, slowly in the background and at once when the owner
//! asks. An artifact with damaged chunks goes back among the partial ones; the usual transfer repairs it from other members.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fednode_proto::v1;

use crate::core::limits;
use crate::core::machine::Input;
use crate::core::types::Digest;
use crate::core::view::ScrubView;
use crate::driver::event_loop::Event;
use crate::driver::keeping::unix_now_s;
use crate::driver::node::Node;
use crate::store::Store;
use crate::store::error::StoreError;
use crate::store::meta::ScrubCursor;
use crate::store::scrub::{ScrubBuffer, Verdict};

/// Between two looks when there is nothing to scrub, or something more urgent to do.
const IDLE: Duration = Duration::from_secs(2);
/// Chunks between two times that the place is kept: what a restart repeats.
const CHUNKS_PER_KEEP: u32 = 32;

/// The background scrub, as its owner and the view know it. Cheap to clone.
#[derive(Clone)]
pub struct Scrubber {
    pub(super) store: Arc<Store>,
    days: u32,
    view: Arc<Mutex<ScrubView>>,
}

impl Scrubber {
    /// A full pass each `days` days; 0: only what is suspected is looked at.
    pub fn new(store: Arc<Store>, days: u32) -> Scrubber {
        let state = if days == 0 { "off" } else { "idle" }.to_owned();
        let view = ScrubView { state, days, ..ScrubView::default() };
        Scrubber { store, days, view: Arc::new(Mutex::new(view)) }
    }

    /// Where it stands.
    pub fn view(&self) -> ScrubView {
        self.note().clone()
    }

    fn note(&self) -> MutexGuard<'_, ScrubView> {
        self.view.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn state(&self, state: &str) {
        self.note().state = state.to_owned();
    }

    /// Runs as long as the node does.
    pub fn start(self, node: Node) {
        tokio::spawn(async move {
            let mut pass = Pass::resume(&self);
            loop {
                while let Some((artifact, chunk)) = self.store.take_suspect() {
                    self.look_at(&node, artifact, chunk).await;
                }
                let pause = match pass.as_mut().filter(|_| self.days > 0) {
                    Some(pass) => pass.step(&self, &node).await,
                    None => IDLE,
                };
                tokio::time::sleep(pause).await;
            }
        });
    }

    /// Something was reported: that chunk is looked at, and only if it is damaged the whole artifact.
    async fn look_at(&self, node: &Node, artifact: Digest, chunk: Option<u32>) {
        if let Some(chunk) = chunk
            && self.verify(artifact, chunk).await != Some(Verdict::Damaged)
        {
            return;
        }
        let damaged = self.damaged_chunks(artifact, |_| {}).await;
        self.put_back(node, artifact, &damaged).await;
    }

    /// One chunk; `None`: it could not be looked at now.
    async fn verify(&self, artifact: Digest, chunk: u32) -> Option<Verdict> {
        let store = self.store.clone();
        let verify = move || store.verify_chunk(&artifact, chunk, &mut ScrubBuffer::default());
        said(tokio::task::spawn_blocking(verify).await.ok()?)
    }

    /// All damaged chunks of a whole artifact, at full speed; `progress` hears of each chunk's bytes.
    pub(super) async fn damaged_chunks(
        &self,
        artifact: Digest,
        progress: impl FnMut(u64) + Send + 'static,
    ) -> Vec<u32> {
        let store = self.store.clone();
        let all = move || damaged_chunks(&store, &artifact, progress);
        tokio::task::spawn_blocking(all).await.unwrap_or_default()
    }

    /// Puts an artifact with damaged chunks back for repair, and tells the core. False: it could not be put back, or there was
    /// no damage.
    pub(super) async fn put_back(&self, node: &Node, artifact: Digest, damaged: &[u32]) -> bool {
        if damaged.is_empty() {
            return false;
        }
        tracing::warn!(artifact = %artifact.short(), chunks = damaged.len(), "damaged on this disk; to be repaired from other members");
        self.note().damaged_chunks += damaged.len() as u64;
        let (store, chunks) = (self.store.clone(), damaged.to_vec());
        let demoted = tokio::task::spawn_blocking(move || store.demote(&artifact, &chunks)).await;
        match demoted {
            Ok(Ok(left)) => {
                node.events.send(Event::Core(Input::Damaged(artifact, left.count()))).await;
                true
            }
            // Somebody else found it at the same moment and put it back.
            Ok(Err(StoreError::Unknown(_))) => true,
            Ok(Err(error)) => {
                tracing::error!(artifact = %artifact.short(), %error, "a damaged artifact cannot be repaired yet");
                // The disk may have room again by then.
                self.store.suspect(artifact, None);
                false
            }
            Err(_) => false,
        }
    }
}

fn damaged_chunks(store: &Store, artifact: &Digest, mut progress: impl FnMut(u64)) -> Vec<u32> {
    let Some(verified) = store.manifest(artifact) else { return Vec::new() };
    let lengths = verified.manifest.files.iter().flat_map(|file| &file.chunks).map(|chunk| u64::from(chunk.bytes));
    let (mut damaged, mut buffer) = (Vec::new(), ScrubBuffer::default());
    for (index, bytes) in (0..).zip(lengths) {
        match said(store.verify_chunk(artifact, index, &mut buffer)) {
            Some(Verdict::Damaged) => damaged.push(index),
            Some(Verdict::Gone) => return damaged,
            Some(Verdict::Sound) | None => {}
        }
        progress(bytes);
    }
    damaged
}

fn said(verdict: Result<Verdict, StoreError>) -> Option<Verdict> {
    verdict.inspect_err(|error| tracing::warn!(%error, "a chunk could not be looked at")).ok()
}

/// One pass over everything, in order of digest and chunk.
struct Pass {
    cursor: ScrubCursor,
    since_kept: u32,
}

impl Pass {
    /// Goes on where the last process was; `None`: that cannot be read, and the store has other troubles than rot.
    fn resume(scrubber: &Scrubber) -> Option<Pass> {
        let kept = scrubber.store.meta().scrub_cursor();
        let cursor = kept.inspect_err(|error| tracing::error!(%error, "no scrub")).ok()?.unwrap_or_default();
        scrubber.note().passed_unix_s = cursor.passed_unix_s;
        Some(Pass { cursor, since_kept: 0 })
    }

    /// Looks at one chunk, unless the disk has more urgent work; how long to wait before the next.
    async fn step(&mut self, scrubber: &Scrubber, node: &Node) -> Duration {
        if node.read(|machine| machine.disk_is_busy()).await.unwrap_or(true) {
            scrubber.state("yielding");
            return IDLE;
        }
        let whole = Whole::of(&scrubber.store);
        let due = self.cursor.since_unix_s != 0
            || unix_now_s() >= self.cursor.passed_unix_s.saturating_add(u64::from(scrubber.days) * 86_400);
        let Some((artifact, chunk, bytes)) = whole.at(&self.cursor).filter(|_| due) else {
            if due && self.cursor.since_unix_s != 0 {
                self.end(scrubber).await;
            }
            scrubber.state("idle");
            return IDLE;
        };
        if self.cursor.since_unix_s == 0 {
            self.cursor.since_unix_s = unix_now_s().max(1);
        }
        self.show(scrubber, &whole, artifact, chunk);
        if scrubber.verify(artifact, chunk).await == Some(Verdict::Damaged) {
            scrubber.look_at(node, artifact, None).await;
        }
        (self.cursor.artifact, self.cursor.chunk) = (artifact, chunk + 1);
        self.since_kept += 1;
        if self.since_kept >= CHUNKS_PER_KEEP {
            self.keep(scrubber).await;
        }
        let rate = whole.bytes / (u64::from(scrubber.days.max(1)) * 86_400);
        Duration::from_millis(u64::from(bytes) * 1000 / rate.max(limits::SCRUB_RATE_MIN))
    }

    fn show(&self, scrubber: &Scrubber, whole: &Whole, artifact: Digest, chunk: u32) {
        let mut view = scrubber.note();
        view.state = "scrubbing".to_owned();
        (view.done_bytes, view.total_bytes) = (whole.before(&artifact, chunk), whole.bytes);
        view.since_unix_s = self.cursor.since_unix_s;
    }

    /// The pass is over.
    async fn end(&mut self, scrubber: &Scrubber) {
        let now = unix_now_s();
        tracing::info!(
            seconds = now.saturating_sub(self.cursor.since_unix_s),
            "all stored weights were read and hashed again"
        );
        self.cursor = ScrubCursor { passed_unix_s: now, ..ScrubCursor::default() };
        {
            let mut view = scrubber.note();
            (view.done_bytes, view.since_unix_s, view.passed_unix_s) = (0, 0, now);
        }
        self.keep(scrubber).await;
    }

    async fn keep(&mut self, scrubber: &Scrubber) {
        let (store, cursor) = (scrubber.store.clone(), self.cursor);
        let kept = tokio::task::spawn_blocking(move || store.meta().put_scrub_cursor(&cursor)).await;
        match kept {
            Ok(Ok(())) => self.since_kept = 0,
            Ok(Err(error)) => tracing::debug!(%error, "where the scrub stands was not kept"),
            Err(_) => {}
        }
    }
}

/// The whole artifacts, in order, with their chunks' lengths.
struct Whole {
    artifacts: BTreeMap<Digest, Vec<u32>>,
    bytes: u64,
}

impl Whole {
    fn of(store: &Store) -> Whole {
        let lengths = |artifact: Digest| {
            let verified = store.manifest(&artifact)?;
            let chunks = verified.manifest.files.iter().flat_map(|file| &file.chunks);
            Some((artifact, chunks.map(|chunk| chunk.bytes).collect::<Vec<u32>>()))
        };
        let artifacts: BTreeMap<Digest, Vec<u32>> = store.complete().into_iter().filter_map(lengths).collect();
        let bytes = artifacts.values().flatten().map(|&bytes| u64::from(bytes)).sum();
        Whole { artifacts, bytes }
    }

    /// The chunk at the cursor, or the first one after it.
    fn at(&self, cursor: &ScrubCursor) -> Option<(Digest, u32, u32)> {
        let from_here = self.artifacts.range(cursor.artifact..);
        let mut chunks = from_here.flat_map(|(artifact, lengths)| {
            let first = if *artifact == cursor.artifact { cursor.chunk } else { 0 };
            // A manifest has at most CHUNKS_PER_ARTIFACT_MAX chunks.
            (0..).zip(lengths).skip(first as usize).map(|(chunk, bytes)| (*artifact, chunk, *bytes))
        });
        chunks.next()
    }

    /// Bytes before this chunk.
    fn before(&self, artifact: &Digest, chunk: u32) -> u64 {
        let earlier = self.artifacts.range(..artifact).flat_map(|(_, lengths)| lengths);
        let here = self.artifacts.get(artifact).into_iter().flatten().take(chunk as usize);
        earlier.chain(here).map(|&bytes| u64::from(bytes)).sum()
    }
}

/// Progress of `fednode scrub --now`.
pub(super) fn progress(done_bytes: u64, total_bytes: u64, damaged: u32, repairing: bool) -> v1::ScrubEvent {
    let progress = v1::ScrubProgress { done_bytes, total_bytes, damaged, repairing };
    v1::ScrubEvent { event: Some(v1::scrub_event::Event::Progress(progress)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cursor_walks_over_everything_once_and_over_what_is_gone() {
        let artifact = |n: u8| Digest([n; 32]);
        let artifacts = BTreeMap::from([(artifact(1), vec![4, 4, 2]), (artifact(3), vec![8])]);
        let whole = Whole { artifacts, bytes: 18 };
        let mut cursor = ScrubCursor::default();
        let mut seen = Vec::new();
        while let Some((artifact, chunk, bytes)) = whole.at(&cursor) {
            seen.push((artifact.0[0], chunk, bytes, whole.before(&artifact, chunk)));
            (cursor.artifact, cursor.chunk) = (artifact, chunk + 1);
        }
        assert_eq!(seen, [(1, 0, 4, 0), (1, 1, 4, 4), (1, 2, 2, 8), (3, 0, 8, 10)]);
        let gone = ScrubCursor { artifact: artifact(2), chunk: 1000, ..ScrubCursor::default() };
        assert_eq!(whole.at(&gone), Some((artifact(3), 0, 8)), "the next one begins at its beginning");
        let beyond = ScrubCursor { artifact: artifact(3), chunk: u32::MAX, ..ScrubCursor::default() };
        assert_eq!(whole.at(&beyond), None);
    }
}
