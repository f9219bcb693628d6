//! What is on its way into this node's memory: how far loads are, and the reading ahead of one that waits.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::core::membership::advert::{Gossip, Moving, ReplicaState};
use crate::core::types::{NodeId, SlotName};
use crate::core::view::LoadView;
use crate::engine::LoadProgress;

/// One read of staging.
const READ_BYTES: usize = 4 << 20;

/// See the top of this file. Clones are one.
#[derive(Clone, Debug)]
pub struct Loading {
    me: NodeId,
    loads: Arc<Mutex<BTreeMap<SlotName, Load>>>,
    /// Counts what was staged: a later one ends the one before.
    staged: Arc<AtomicU64>,
}

/// One load: since when, and where it is.
#[derive(Clone, Copy, Debug)]
struct Load {
    since: Instant,
    /// Read when that was.
    first_bytes: u64,
    at: LoadProgress,
    told: Instant,
}

impl Load {
    /// On average since it was first heard of; 0 in its first moment.
    fn bytes_per_s(&self) -> u64 {
        let (bytes, span) = (self.at.read_bytes.saturating_sub(self.first_bytes), self.told - self.since);
        let rate = (u128::from(bytes) * 1000).checked_div(span.as_millis()).unwrap_or(0);
        u64::try_from(rate).unwrap_or(u64::MAX)
    }
}

impl Loading {
    /// Nothing yet.
    pub fn new(me: NodeId) -> Loading {
        Loading { me, loads: Arc::default(), staged: Arc::default() }
    }

    /// The load of `slot` is so far.
    pub fn is_at(&self, slot: &SlotName, progress: LoadProgress) {
        self.is_at_by(slot, progress, Instant::now());
    }

    fn is_at_by(&self, slot: &SlotName, at: LoadProgress, told: Instant) {
        let fresh = Load { since: told, first_bytes: at.read_bytes, at, told };
        let mut loads = self.lock();
        // One that has less than before is another load.
        let known = loads.get(slot).filter(|known| known.at.read_bytes <= at.read_bytes).copied();
        loads.insert(*slot, Load { at, told, ..known.unwrap_or(fresh) });
    }

    /// The load of `slot` has ended.
    pub fn ended(&self, slot: &SlotName) {
        self.lock().remove(slot);
    }

    /// How far the load of `slot` on `node` is, if that is this node and something is known.
    pub fn of(&self, node: &NodeId, slot: &SlotName) -> Option<LoadView> {
        let load = (*node == self.me).then(|| self.lock().get(slot).copied()).flatten()?;
        let LoadProgress { read_bytes, total_bytes } = load.at;
        Some(LoadView { read_bytes, total_bytes, bytes_per_s: load.bytes_per_s() })
    }

    /// Says in an advertisement of this node how far its loads are: bytes that the core does not follow.
    pub fn tell(&self, gossip: &mut Gossip) {
        let Gossip::Advert(advert) = gossip else { return };
        let advert = Arc::make_mut(advert);
        for replica in advert.replicas.iter_mut().filter(|replica| replica.state == ReplicaState::Loading) {
            let load = self.of(&advert.node, &replica.slot).filter(|load| load.total_bytes > 0);
            replica.moving = load.map(|load| Moving {
                done_bytes: load.read_bytes,
                total_bytes: load.total_bytes,
                bytes_per_s: load.bytes_per_s,
            });
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<SlotName, Load>> {
        self.loads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the reading ahead.
    pub fn stop_staging(&self) {
        self.staged.fetch_add(1, Ordering::Relaxed);
    }

    /// Reads the first `bytes` bytes of the file into the page cache, unless something else is staged or loaded meanwhile.
    /// Blocks.
    pub fn stage(&self, path: &PathBuf, bytes: u64) -> std::io::Result<u64> {
        let turn = self.staged.fetch_add(1, Ordering::Relaxed) + 1;
        let (mut file, mut block, mut done) = (File::open(path)?.take(bytes), vec![0u8; READ_BYTES], 0);
        while self.staged.load(Ordering::Relaxed) == turn {
            match file.read(&mut block) {
                Ok(0) => break,
                Ok(count) => done += count as u64,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_staged_is_read_up_to_its_bound() {
        let loading = Loading::new(NodeId([1; 32]));
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(10_000).unwrap();
        let path = file.path().to_owned();
        assert_eq!(loading.stage(&path, 7000).unwrap(), 7000);
        assert_eq!(loading.stage(&path, 70_000).unwrap(), 10_000);
        assert!(loading.stage(&path.join("not"), 1).is_err());
    }

    #[test]
    fn a_load_is_known_until_it_ends_and_only_here() {
        let (me, other) = (NodeId([1; 32]), NodeId([2; 32]));
        let (loading, slot) = (Loading::new(me), SlotName::new("UCM").unwrap());
        let start = Instant::now();
        let at = |read_bytes, millis| {
            let progress = LoadProgress { read_bytes, total_bytes: 9_000 };
            loading.is_at_by(&slot, progress, start + std::time::Duration::from_millis(millis));
            loading.of(&me, &slot).map(|view| (view.read_bytes, view.total_bytes, view.bytes_per_s))
        };
        assert_eq!(at(1_000, 0), Some((1_000, 9_000, 0)));
        assert_eq!(
            at(5_000, 2_000),
            Some((5_000, 9_000, 2_000)),
            "what was there when it began did not come in no time"
        );
        assert_eq!(at(100, 3_000), Some((100, 9_000, 0)), "another load");
        assert_eq!(loading.of(&other, &slot), None);
        loading.ended(&slot);
        assert_eq!(loading.of(&me, &slot), None);
    }
}
